//! Faults planted in the unsafe parts of a program, one by name; with "mended" behind it the same steps without the fault. And arenas that
//! check mode can do less for.
//!
//! `own_faults FAULT [mended]`: prints what the arena says of itself, which is the same with and without the fault, watched or not.
#![allow(unsafe_code)] // Raw pointers are what is misused here.

use allocator_api2_04::alloc::Allocator;
use arenascope::{Arena, OwnedArena};
use std::alloc::Layout;
use std::hint::black_box;
use std::mem::MaybeUninit;
use std::ptr::NonNull;

const BYTES: usize = 24;

fn planted() -> OwnedArena {
    Arena::builder().name("planted").capacity(4096).build().expect("an arena")
}

/// Writes beside a pointer, where the compiler cannot see it.
fn write(block: *mut u8, at: isize) {
    // SAFETY: none: with the fault planted this is the fault.
    unsafe { black_box(block).offset(black_box(at)).write_volatile(b'X') };
}

/// A neighbour below, the block, and a neighbour above.
fn blocks(arena: &Arena) -> *mut u8 {
    arena.alloc_slice_fill_copy(40, b'b');
    let block = arena.alloc_slice_fill_copy(BYTES, b'o').as_mut_ptr(); // the block
    arena.alloc_slice_fill_copy(16, b'a');
    block
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (fault, mended) = (words.first().map_or("", String::as_str), words.len() > 1);
    let mut arena = planted();
    match fault {
        "overflow" => write(blocks(&arena), if mended { 23 } else { 24 + 3 }),
        "underflow" => write(blocks(&arena), if mended { 0 } else { -5 }),
        "double-free" => {
            let layout = Layout::array::<u8>(BYTES).expect("a layout");
            let block: NonNull<u8> = Allocator::allocate(&*arena, layout).expect("room").cast(); // the block freed twice
            arena.alloc(1u64);
            // SAFETY: a living block of the arena; the second time it is none: that is the fault.
            unsafe {
                Allocator::deallocate(&*arena, block, layout); // the first free
                if !mended {
                    Allocator::deallocate(&*arena, block, layout); // the second free
                }
            }
        }
        "use-after-free" => {
            let layout = Layout::array::<u8>(BYTES).expect("a layout");
            let block: NonNull<u8> = Allocator::allocate(&*arena, layout).expect("room").cast(); // the block freed once
            arena.alloc(1u64);
            write(block.as_ptr(), 0);
            // SAFETY: a living block of the arena.
            unsafe { Allocator::deallocate(&*arena, block, layout) }; // the only free
            if !mended {
                write(block.as_ptr(), 9);
            }
        }
        "use-after-rewind" => {
            let checkpoint = arena.checkpoint();
            let block = blocks(&arena);
            if mended {
                write(block, 5);
            }
            arena.rewind(&checkpoint).expect("a rewind in order"); // the rewind
            if !mended {
                write(block, 5);
            }
        }
        "use-after-scope" => {
            let kept = arena.scope(|scope| {
                let block = scope.alloc_slice_fill_copy(BYTES, b's').as_mut_ptr(); // the block in a scope
                if mended {
                    write(block, 5);
                }
                block
            });
            if !mended {
                write(kept, 5);
            }
        }
        "use-after-reset" => {
            let block = blocks(&arena);
            if mended {
                write(block, 5);
            }
            arena.reset(); // the reset
            if !mended {
                write(block, 5);
            }
        }
        "stale-after-resize" => {
            let (small, large) = (Layout::array::<u8>(BYTES), Layout::array::<u8>(10 * BYTES));
            let (small, large) = (small.expect("a layout"), large.expect("a layout"));
            let block: NonNull<u8> = Allocator::allocate(&*arena, small).expect("room").cast(); // the block that moves
            arena.alloc(1u64);
            // SAFETY: a living block of the arena.
            let moved = unsafe { Allocator::grow(&*arena, block, small, large) }.expect("room"); // the resize
            write(if mended { moved.cast().as_ptr() } else { block.as_ptr() }, 5);
        }
        "guard" => write(blocks(&arena), if mended { 23 } else { 24 + 11 }),
        // What check mode can do less for.
        "locked" => {
            // SAFETY: a call without pointers.
            let locked = unsafe { libc::mlockall(libc::MCL_CURRENT | libc::MCL_FUTURE | libc::MCL_ONFAULT) };
            assert_eq!(locked, 0, "memory can be locked");
            write(blocks(&arena), 23);
        }
        "buffer" => {
            let mut bytes = [MaybeUninit::uninit(); 1000];
            let arena = Arena::in_buffer(&mut bytes).expect("an arena");
            write(blocks(&arena), 23);
        }
        "call-alloc" | "call-destroy" => {
            println!("{} of {}", arena.offset(), arena.capacity());
            let raw = arena.into_raw();
            if mended && fault == "call-alloc" {
                // SAFETY: the arena lives.
                let _ = unsafe { raw.as_ref() }.try_alloc(1u64);
            }
            // SAFETY: from `into_raw`, and nobody else has it.
            unsafe { OwnedArena::from_raw(raw) }.destroy(); // the end
            if !mended && fault == "call-alloc" {
                // SAFETY: none: the arena has ended, which is the fault.
                let _ = unsafe { black_box(raw).as_ref() }.try_alloc(1u64); // the call of a dead arena
            } else if !mended {
                // SAFETY: none: the arena has ended, which is the fault.
                unsafe { OwnedArena::from_raw(black_box(raw)) }.destroy(); // the second end
            }
            return;
        }
        "use-after-drop" => {
            let block = blocks(&arena);
            println!("{} of {}", arena.offset(), arena.capacity());
            if mended {
                write(block, 5);
            }
            drop(arena); // the drop
            if !mended {
                write(block, 5);
            }
            return;
        }
        other => panic!("no fault {other:?}"),
    }
    println!("{} of {}", arena.offset(), arena.capacity());
}

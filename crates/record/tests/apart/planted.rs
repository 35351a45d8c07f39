//! Planted faults, each found at its block and offset; the mended twin of each is silent.
#![allow(unsafe_code)] // Writes where it may not.

use crate::checker::{GUARDED, PLOTS, apart, found, observer};
use arenascope::{Arena, OwnedArena};
use arenascope_event::Zone;
use arenascope_record::{Apart, Fate, Found, Told};
use std::alloc::Layout;
use std::collections::HashSet;
use std::ptr::NonNull;
use std::sync::OnceLock;

fn arena(capacity: usize) -> OwnedArena {
    found();
    // SAFETY: the observer keeps to its thread's lists.
    unsafe { Arena::builder().capacity(capacity).observer(observer(apart())) }.build().expect("memory")
}

fn layout(size: usize) -> Layout {
    Layout::from_size_align(size, 8).expect("a layout")
}

/// Writes one byte, as only a broken program would.
fn smash(block: NonNull<u8>, at: isize) {
    // SAFETY: memory of the checker's, mapped; nobody's.
    unsafe { block.as_ptr().offset(at).write(0x41) };
}

fn one(found: &[Found]) -> &Found {
    assert_eq!(found.len(), 1, "{found:?}");
    &found[0]
}

#[test]
fn one_byte_past_the_end_of_any_block_is_found_when_it_is_freed() {
    for size in [0, 1, 7, 8, 13, 16, 24, 100, 511, 512, 5000, 40_000, 70_000, 300_000] {
        let arena = arena(1 << 20);
        let _below = arena.alloc_layout(layout(24));
        let block = arena.alloc_layout(layout(size));
        let _above = arena.alloc_layout(layout(24));
        smash(block, size as isize);
        assert!(found().is_empty());
        // SAFETY: a living block with its layout.
        unsafe { arena.free(block, layout(size)) };
        let all = found();
        let told = one(&all);
        assert_eq!((told.block, told.size, told.zone), (block.addr().get() as u64, size as u64, Zone::After), "{size}");
        assert_eq!((told.address, told.len, told.bytes[0]), (told.block + told.size, 1, 0x41));
        drop(arena);
        assert!(found().is_empty(), "told once");
    }
}

#[test]
fn one_byte_before_a_block_is_its_underflow() {
    for first in [true, false] {
        let mut arena = arena(4096);
        if !first {
            arena.alloc_layout(layout(32));
        }
        let block = arena.alloc_layout(layout(24));
        smash(block, -1);
        arena.reset();
        let all = found();
        let told = one(&all);
        assert_eq!((told.block, told.zone), (block.addr().get() as u64, Zone::Before));
        assert_eq!(told.address + 1, told.block);
    }
}

#[test]
fn bytes_of_dead_blocks_tell_what_ended_them() {
    type End = fn(&mut OwnedArena, NonNull<u8>);
    let ends: [(&str, End); 4] = [
        // SAFETY: a living block with its layout.
        ("free", |arena, block| unsafe { arena.free(block, layout(48)) }),
        ("rewind", |_, _| ()),
        ("scope", |_, _| ()),
        ("reset", |arena, _| arena.reset()),
    ];
    for (word, end) in ends {
        let mut arena = arena(4096);
        let place = arena.checkpoint();
        let block = match word {
            "scope" => arena.scope(|scope| scope.alloc_layout(layout(48))),
            _ => arena.alloc_layout(layout(48)),
        };
        end(&mut arena, block);
        if word == "rewind" {
            arena.rewind(&place).expect("a fresh checkpoint");
        }
        assert!(found().is_empty(), "{word}");
        smash(block, 17);
        arena.reset();
        let all = found();
        let told = one(&all);
        assert_eq!((told.block, told.size, told.zone), (block.addr().get() as u64, 48, Zone::Dead), "{word}");
        assert_eq!(told.address, told.block + 17);
        assert!(told.ended.is_some());
    }
}

#[test]
fn a_look_at_everything_finds_what_no_event_has_looked_at() {
    let arena = arena(4096);
    let block = arena.alloc_layout(layout(24));
    smash(block, 24);
    smash(block, 30);
    apart().look_at_all(&mut |told| match told {
        Told::Found(told) if told.block == block.addr().get() as u64 => {
            crate::checker::FOUND.with_borrow_mut(|all| all.push(*told));
        }
        _ => {}
    });
    let all = found();
    assert_eq!(one(&all).len, 7);
    drop(arena);
    assert!(found().is_empty());
}

#[test]
fn a_second_free_changes_nothing() {
    let arena = arena(4096);
    let first = arena.alloc_layout(layout(24));
    let second = arena.alloc_layout(layout(24));
    // SAFETY: the second free is the fault; the checker answers that it is none.
    unsafe {
        arena.free(second, layout(24));
        arena.free(first, layout(24));
        arena.free(second, layout(24));
    }
    assert_eq!(arena.offset(), 0);
    assert!(found().is_empty());
}

/// True when reading a byte there ends a child by SIGSEGV.
fn faults(address: *const u8) -> bool {
    // SAFETY: the child reads one byte and ends.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: restores the action that the test harness may have changed; then the read that is the question.
        unsafe {
            libc::signal(libc::SIGSEGV, libc::SIG_DFL);
            address.read_volatile();
            libc::_exit(0)
        }
    }
    let mut status = 0;
    // SAFETY: waits for the child made above.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGSEGV
}

#[test]
fn a_destroyed_arena_s_blocks_cannot_be_touched_and_are_known() {
    for size in [24, 5000, 200_000] {
        let arena = arena(1 << 20);
        let id = arena.id();
        let block = arena.alloc_layout(layout(size));
        assert!(!faults(block.as_ptr()));
        drop(arena);
        assert!(faults(block.as_ptr()));
        let touched = apart().touched(block.addr().get() as u64 + 5).expect("a block was there");
        assert!(touched.over);
        assert_eq!((touched.arena, touched.size, touched.at, touched.fate), (id, size as u64, 5, Fate::Destroyed));
        let behind = apart().touched((block.addr().get() + size + 3) as u64).expect("near a block");
        assert_eq!((behind.block, behind.at), (block.addr().get() as u64, size as i64 + 3));
    }
}

#[test]
fn a_guarded_block_ends_where_touching_ends() {
    for size in [8, 16, 24, 4096, 5000, 100_000] {
        GUARDED.set(true);
        let arena = arena(1 << 20);
        GUARDED.set(false);
        let block = arena.alloc_layout(layout(size));
        let twin = arena.alloc_layout(layout(size));
        for block in [block, twin] {
            // SAFETY: inside the block, or one past it.
            let (last, past) = unsafe { (block.as_ptr().add(size - 1), block.as_ptr().add(size)) };
            assert!(!faults(last), "{size}");
            assert!(faults(past), "{size}");
            let touched = apart().touched(past.addr() as u64).expect("a block");
            assert_eq!(
                (touched.block, touched.at, touched.fate),
                (block.addr().get() as u64, size as i64, Fate::Lives)
            );
        }
        // A size that is no multiple of 8 leaves a few bytes before the guard, which are looked at.
        let odd = arena.alloc_layout(layout(size + 3));
        smash(odd, size as isize + 3);
        drop(arena);
        let all = found();
        assert_eq!(one(&all).block, odd.addr().get() as u64);
    }
}

#[test]
fn what_left_the_quarantine_cannot_be_touched() {
    let mut arena = arena(1 << 20);
    let first = arena.alloc_layout(layout(1000));
    for _ in 0..40 {
        arena.reset();
        (0..1000).for_each(|_| _ = arena.alloc_layout(layout(1000)));
    }
    assert!(faults(first.as_ptr()));
    assert_eq!(apart().touched(first.addr().get() as u64).map(|touched| touched.fate), Some(Fate::Reset));
    drop(arena);
    assert!(found().is_empty());
}

#[test]
fn memory_that_is_given_twice_is_told_so_and_before_that_it_is_not() {
    static APART: OnceLock<Apart> = OnceLock::new();
    let apart = APART.get_or_init(|| Apart::new(64, 8, false).expect("addresses"));
    let mut late = None;
    PLOTS.take();
    for round in 0..200 {
        // SAFETY: the observer keeps to its thread's lists.
        let arena = unsafe { Arena::builder().capacity(4096).observer(observer(apart)) }.build().expect("memory");
        let block = arena.alloc_layout(layout(24));
        let first = *late.get_or_insert(block);
        if round > 0 && block == first {
            // A late write through a pointer of the first arena, behind its block, hits the present one's zone.
            smash(first, 24 + 3);
        }
        drop(arena);
    }
    let plots = PLOTS.take();
    let mut seen = HashSet::new();
    plots.iter().for_each(|(start, again)| assert_eq!(seen.insert(*start), !again, "{start:#x}"));
    assert_eq!((plots.len(), seen.len()), (200, 64));
    let all = found();
    assert!(!all.is_empty());
    let given_again = |found: &Found| plots.iter().any(|(start, again)| *again && start + 16 == found.block);
    assert!(all.iter().all(given_again), "the trace says of each that its memory was given twice: {all:#?}");
}

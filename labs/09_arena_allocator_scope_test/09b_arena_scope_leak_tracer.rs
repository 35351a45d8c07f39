//! 09b in Rust: a block that nobody keeps, and an "overflow" that is none. By the library.
//!
//! Prints what the C program prints. The lost block is as lost here: an arena gives nothing back one by one. The overflow would
//! not happen here either: the last copy ends exactly at the block's end, and one byte more would be a panic.

use arenascope::{Arena, Error};

const ARENA_SIZE: usize = 256;
const BLOCK_SIZE: usize = 32;

/// Hands out the next block, and says so. `None` when it does not fit.
fn arena_alloc(arena: &Arena) -> Option<&mut [u8; BLOCK_SIZE]> {
    let Ok(block) = arena.try_alloc([0; BLOCK_SIZE]) else {
        eprintln!("❌ Arena out of memory at offset {}", arena.offset());
        return None;
    };
    println!("✅ arena_alloc({BLOCK_SIZE}) → {:p} (offset now {})", block, arena.offset());
    Some(block)
}

/// As `strcpy` at an offset, terminating zero included.
fn copy(block: &mut [u8; BLOCK_SIZE], at: usize, text: &str) {
    block[at..at + text.len()].copy_from_slice(text.as_bytes());
    block[at + text.len()] = 0;
}

fn main() -> Result<(), Error> {
    let arena = Arena::init(ARENA_SIZE)?;
    println!("🎯 Arena initialized at {:p} ({} bytes)", arena.base(), arena.capacity());

    let (first, second) = (arena_alloc(&arena), arena_alloc(&arena));
    if let (Some(first), Some(second)) = (first, second) {
        copy(first, 0, "First block ok.");
        copy(second, 0, "Second block too.");
    }

    // The result is dropped, the block stays: 32 bytes out of reach until the arena ends.
    let _ = arena_alloc(&arena);
    println!("⚠️  Leaked 32 bytes — no tracking.");

    if let Some(last) = arena_alloc(&arena) {
        copy(last, 0, "This will overwrite next");
        // 11 bytes and the zero, at 20 of 32: the block's own end.
        copy(last, 20, " 🤡 Oops!");
    }

    print!("{}", arena.dump());

    drop(arena);
    println!("🧹 Arena memory freed");
    Ok(())
}

//! 09a in Rust: the same arena, by the library. `Arena::init` maps the region; base, offset and capacity say everything about it.
//!
//! Prints what the C program prints. The difference is in what cannot be written here: a block that outlives the arena, a second
//! free, an allocation whose refusal nobody looks at.

use arenascope::{Arena, Error};

const ARENA_SIZE: usize = 4096;
const BLOCK_SIZE: usize = 64;

/// Hands out the next block, and says so. `None` when it does not fit.
fn arena_alloc(arena: &Arena) -> Option<&mut [u8; BLOCK_SIZE]> {
    let Ok(block) = arena.try_alloc([0; BLOCK_SIZE]) else {
        eprintln!("❌ Arena out of memory!");
        return None;
    };
    println!("✅ arena_alloc({BLOCK_SIZE}) → {:p} (offset = {})", block, arena.offset());
    Some(block)
}

/// As `strcpy`, but for the end: what does not fit is an error, and not the next block's.
fn copy(to: Option<&mut [u8; BLOCK_SIZE]>, text: &str) {
    if let Some(place) = to.and_then(|block| block.get_mut(..text.len())) {
        place.copy_from_slice(text.as_bytes());
    }
}

fn main() -> Result<(), Error> {
    let arena = Arena::init(ARENA_SIZE)?;
    println!("📦 Arena initialized at {:p} ({} bytes)", arena.base(), arena.capacity());

    let first = arena_alloc(&arena);
    let second = arena_alloc(&arena);
    let third = arena_alloc(&arena);
    copy(first, "Hello arena");
    copy(second, "Scoped allocator is born");
    copy(third, "This is not malloc");

    print!("🧠 Arena dump:\n{:#}", arena.dump());

    // Every block dies here, at once. One that is used below this line does not compile.
    drop(arena);
    println!("🧹 Arena memory freed");
    Ok(())
}

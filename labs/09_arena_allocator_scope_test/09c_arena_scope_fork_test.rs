//! 09c in Rust: fork after allocating. By the library, whose arenas are private: the child gets a copy, and its blocks stay its own.
//!
//! The first of the C program's three parts. A shared cursor lies in shared memory there; an arena of this library keeps its cursor
//! at the start of its own region, so that memory and cursor are either both private or both shared, never mixed.
#![allow(unsafe_code)] // fork and waitpid, which the standard library does not have.

use arenascope::{Arena, Error};
use std::io::Write;

const ARENA_SIZE: usize = 4096;
const BLOCK_SIZE: usize = 64;

unsafe extern "C" {
    safe fn fork() -> i32;
    fn waitpid(pid: i32, status: *mut i32, options: i32) -> i32;
    safe fn _exit(status: i32) -> !;
}

/// A block with a text in it, and where it lies.
fn put(arena: &Arena, text: &str) -> usize {
    let block = arena.alloc([0u8; BLOCK_SIZE]);
    for (to, from) in block.iter_mut().zip(text.bytes()) {
        *to = from;
    }
    block.as_ptr().addr() - arena.base().addr()
}

fn main() -> Result<(), Error> {
    let arena = Arena::init(ARENA_SIZE)?;
    println!("📦 private memory, private cursor");
    put(&arena, "parent, before the fork");
    let _ = std::io::stdout().flush();
    let child = fork();
    if child == 0 {
        let at = put(&arena, "child");
        println!("✅ child:  block at +{at}, offset {}", arena.offset());
        let _ = std::io::stdout().flush();
        _exit(0);
    }
    // SAFETY: the status is not asked for, so there is no pointer to be valid.
    unsafe { waitpid(child, std::ptr::null_mut(), 0) };
    println!("🧠 parent: offset {}", arena.offset());
    let at = put(&arena, "parent");
    println!("✅ parent: block at +{at}, offset {}", arena.offset());
    Ok(())
}

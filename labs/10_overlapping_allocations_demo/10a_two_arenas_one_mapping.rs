//! 10a in Rust: two arenas in one buffer. By the library, and `split_at_mut` says where the one ends and the other begins.
//!
//! The mended program: the other one does not compile, see 10a_two_arenas_one_mapping_forbidden.rs.

use arenascope::{Arena, Error};
use std::mem::MaybeUninit;

const ARENA_SIZE: usize = 4096;

fn main() -> Result<(), Error> {
    let mut memory = [MaybeUninit::uninit(); 2 * ARENA_SIZE];
    let (left, right) = memory.split_at_mut(ARENA_SIZE);
    let names = Arena::in_buffer(left)?;
    let numbers = Arena::in_buffer(right)?;

    let mut last = None;
    for i in 1..=4 {
        last = Some(names.alloc_fmt(format_args!("name {i}")));
    }
    println!("🧠 the last name is {last:?}");
    let number = numbers.alloc_str("42");
    println!("✅ a number: {number:?}");
    println!("🧠 the last name is {last:?}");

    let end = names.base().addr() + names.capacity();
    println!("📦 shared bytes: {}", end.saturating_sub(numbers.base().addr()));
    Ok(())
}

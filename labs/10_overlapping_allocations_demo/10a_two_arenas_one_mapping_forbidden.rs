//! Two arenas whose memory overlaps. Does not compile: bytes that one arena borrowed cannot be lent to another.

use arenascope::{Arena, Error};
use std::mem::MaybeUninit;

fn main() -> Result<(), Error> {
    let mut memory = [MaybeUninit::uninit(); 8192];
    let names = Arena::in_buffer(&mut memory[..4096])?;
    let numbers = Arena::in_buffer(&mut memory[3072..7168])?;
    println!("{} {}", names.alloc_str("name"), numbers.alloc_str("42"));
    Ok(())
}

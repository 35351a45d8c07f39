//! A write one byte past a block. Does not compile where the compiler can count, and is a panic where it cannot.

use arenascope::{Arena, Error};

const BLOCK_SIZE: usize = 32;

fn main() -> Result<(), Error> {
    let arena = Arena::init(512)?;
    let block = arena.alloc([b'-'; BLOCK_SIZE]);
    block[BLOCK_SIZE] = 0;
    println!("{block:?}");
    Ok(())
}

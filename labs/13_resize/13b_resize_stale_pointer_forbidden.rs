//! A second pointer to a block that moves. Does not compile: moving takes the block, and a borrow of it is still in use.

use arenascope::{Arena, ArenaBox, Error};

/// A longer copy of `block`, which is gone afterwards.
fn resize<'a>(arena: &'a Arena, block: ArenaBox<'a, [u8]>, size: usize) -> ArenaBox<'a, [u8]> {
    arena.alloc_box_iter((0..size).map(|at| block.get(at).copied().unwrap_or(0)))
}

fn main() -> Result<(), Error> {
    let arena = Arena::init(4096)?;
    let mut line = arena.alloc_box_iter(*b"one, two");
    let shown = &mut line[..3];
    let line = resize(&arena, line, 64);
    shown.copy_from_slice(b"ONE");
    println!("{line:?}");
    Ok(())
}

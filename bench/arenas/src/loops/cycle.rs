//! Create an arena, fill it with blocks of 64 bytes, destroy it. A unit is one such life.

use super::{Took, timed};
use crate::memory::{Life, Put};
use std::hint::black_box;

/// One block.
type Block = [u64; 8];

/// With the plain constructor.
pub fn new<A: Life + Put<Block>, const BYTES: usize>(units: u64) -> Took {
    cycle::<A>(units, BYTES, A::new)
}

/// With the capacity told to the constructor.
pub fn with_capacity<A: Life + Put<Block>, const BYTES: usize>(units: u64) -> Took {
    cycle::<A>(units, BYTES, || A::with_capacity(BYTES))
}

/// One arena, reset after each filling: not a life, but what a program can do instead.
pub fn kept<A: Life + Put<Block>, const BYTES: usize>(units: u64) -> Took {
    let mut arena = A::with_capacity(BYTES);
    fill(&arena, BYTES);
    arena.reset();
    let ns = timed(|| {
        for _ in 0..units {
            fill(&arena, BYTES);
            arena.reset();
        }
    });
    Took { ns, ..Took::default() }
}

fn cycle<A: Life + Put<Block>>(units: u64, bytes: usize, create: impl Fn() -> A) -> Took {
    // The first life pays for what a process pays once.
    fill(&create(), bytes);
    let ns = timed(|| {
        for _ in 0..units {
            fill(&create(), bytes);
        }
    });
    Took { ns, ..Took::default() }
}

/// Blocks of so many bytes in all.
#[inline(never)]
pub fn fill<A: Put<Block>>(arena: &A, bytes: usize) {
    // Counted down, so that the loop's own share is two instructions.
    let mut left = (bytes / size_of::<Block>()) as u64;
    while left != 0 {
        black_box(arena.put([left; 8]));
        left -= 1;
    }
}

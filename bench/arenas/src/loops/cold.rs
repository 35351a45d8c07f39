//! Fill fresh memory with blocks of 64 bytes, then drop it. A unit is 1 MiB; a run is one arena.

use super::{Took, timed};
use crate::memory::{Life, Put};
use std::hint::black_box;

type Block = [u64; 8];

/// The first time is the filling, the second the drop.
pub fn fill_and_drop<A: Life + Put<Block>>(units: u64) -> Took {
    let mut arena = None;
    let ns = timed(|| fill(arena.insert(A::new()), units));
    let second_ns = timed(|| drop(arena));
    Took { ns, second_ns }
}

#[inline(never)]
fn fill<A: Put<Block>>(arena: &A, mebibytes: u64) {
    let mut left = mebibytes * ((1 << 20) / size_of::<Block>() as u64);
    while left != 0 {
        black_box(arena.put([left; 8]));
        left -= 1;
    }
}

/// The limit: one mapping of huge pages, populated 2 MiB at a time just before they are filled by plain stores.
pub fn limit(units: u64) -> Took {
    let bytes = units as usize * (1 << 20);
    let mut region = crate::machine::Region::of_huge_pages(bytes);
    let ns = timed(|| {
        for step in (0..bytes).step_by(2 << 20) {
            store(region.populated(step, 2 << 20));
        }
    });
    let second_ns = timed(|| drop(region));
    Took { ns, second_ns }
}

#[inline(never)]
fn store(memory: &mut [std::mem::MaybeUninit<Block>]) {
    for (place, i) in memory.iter_mut().zip(0..) {
        black_box(place.write([i; 8]));
    }
}

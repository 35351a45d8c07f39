//! Blocks from memory that is warm: constant sizes, and layouts known only at run time.
//!
//! A unit is a batch of [`OPS`] allocations and one reset. The arena has room for a batch from the start and was filled
//! once before, so that nothing grows and every page is there.
#![allow(unsafe_code)] // The first byte of each block is written through its pointer; the limit counts for itself.

use super::{Random, Took, timed};
use crate::memory::{Lay, Life, Put};
use std::alloc::Layout;
use std::hint::black_box;
use std::mem::MaybeUninit;

/// Allocations in a unit: up to 640 KB, which fits the L2.
pub const OPS: u64 = 10_000;

const SLACK: usize = 4096;

/// Blocks of `WORDS` words.
pub fn values<A: Life + Put<[u64; WORDS]>, const WORDS: usize>(units: u64) -> Took {
    let mut arena = A::with_capacity(OPS as usize * WORDS * 8 + SLACK);
    fill(&arena);
    arena.reset();
    let ns = timed(|| {
        for _ in 0..units {
            fill(&arena);
            arena.reset();
        }
    });
    Took { ns, ..Took::default() }
}

#[inline(never)]
fn fill<A: Put<[u64; WORDS]>, const WORDS: usize>(arena: &A) {
    // Counted down, so that the loop's own share is two instructions.
    let mut left = OPS;
    while left != 0 {
        black_box(arena.put([left; WORDS]));
        left -= 1;
    }
}

/// What no arena can beat: the same stores through a cursor in a register.
pub fn limit<const WORDS: usize>(units: u64) -> Took {
    let mut buffer = Vec::<[u64; WORDS]>::with_capacity(OPS as usize);
    let places = buffer.spare_capacity_mut();
    store(places);
    let ns = timed(|| (0..units).for_each(|_| store(places)));
    Took { ns, ..Took::default() }
}

#[inline(never)]
fn store<const WORDS: usize>(places: &mut [MaybeUninit<[u64; WORDS]>]) {
    let mut left = OPS;
    let mut places = places.iter_mut();
    while left != 0 {
        // SAFETY: there are OPS places, and `left` counts them.
        let place = unsafe { places.next().unwrap_unchecked() };
        black_box(place.write([left; WORDS]));
        left -= 1;
    }
}

/// Layouts of 1 to 64 bytes with alignments of 1 to 16.
pub fn layouts<A: Life + Lay>(units: u64) -> Took {
    let list = black_box(list());
    let mut arena = A::with_capacity(OPS as usize * 80 + SLACK);
    fill_layouts(&arena, &list);
    arena.reset();
    let ns = timed(|| {
        for _ in 0..units {
            for _ in 0..OPS / LAYOUTS {
                fill_layouts(&arena, &list);
            }
            arena.reset();
        }
    });
    Took { ns, ..Took::default() }
}

const LAYOUTS: u64 = 1000;

fn list() -> Vec<Layout> {
    let mut random = Random::new(7);
    let layout = |random: &mut Random| {
        // Seven of eight at most word-aligned, as programs have it.
        let align = [1, 2, 4, 4, 8, 8, 8, 16][random.below(8) as usize];
        let size = (1 + random.below(64) as usize).next_multiple_of(align);
        Layout::from_size_align(size, align).expect("small")
    };
    (0..LAYOUTS).map(|_| layout(&mut random)).collect()
}

#[inline(never)]
fn fill_layouts<A: Lay>(arena: &A, list: &[Layout]) {
    for &layout in list {
        let block = arena.lay(layout);
        // SAFETY: every layout here has a byte at least, and `lay` returned such a block.
        unsafe { block.write(1) };
        black_box(block);
    }
}

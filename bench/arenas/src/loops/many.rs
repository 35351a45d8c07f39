//! Very many arenas alive at once, one small block in each. A unit is one arena.
//!
//! The handles are kept in a vector that has its room from the start; its bytes count, for a program keeps them, too.

use super::{Took, timed};
use crate::memory::Put;
use std::hint::black_box;

/// One small block.
pub type Block = [u64; 1];

/// The first time is creating them, the second dropping them.
pub fn lives<A: Put<Block>>(units: u64, create: impl Fn() -> A) -> Took {
    let mut arenas = Vec::with_capacity(units as usize);
    let ns = timed(|| make(units, &create, &mut arenas));
    let second_ns = timed(|| drop(arenas));
    Took { ns, second_ns }
}

/// What they add to the process's memory, in bytes, in the place of a time.
pub fn memory<A: Put<Block>>(units: u64, create: impl Fn() -> A) -> Took {
    let before = resident();
    let mut arenas = Vec::with_capacity(units as usize);
    make(units, &create, &mut arenas);
    Took { ns: resident().saturating_sub(before) as f64, ..Took::default() }
}

/// What they add to the process's mappings, in the place of a time.
pub fn mappings<A: Put<Block>>(units: u64, create: impl Fn() -> A) -> Took {
    let before = mapped();
    let mut arenas = Vec::with_capacity(units as usize);
    make(units, &create, &mut arenas);
    Took { ns: mapped().saturating_sub(before) as f64, ..Took::default() }
}

#[inline(never)]
fn make<A: Put<Block>>(units: u64, create: &impl Fn() -> A, arenas: &mut Vec<A>) {
    for unit in 0..units {
        let arena = create();
        black_box(arena.put([unit]));
        arenas.push(arena);
    }
}

fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).map_or(0, |pages| pages * 4096)
}

fn mapped() -> usize {
    std::fs::read("/proc/self/maps").unwrap_or_default().iter().filter(|byte| **byte == b'\n').count()
}

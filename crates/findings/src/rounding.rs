//! Whether an arena's allocator rounds sizes up, as the distances between its blocks tell: bytes behind a block that a program
//! may rightly use when it asks how large the block really is.
//!
//! May be relied on: a few words per arena, O(1) per block; nothing is said of an arena whose blocks all have the same gap
//! behind them (a header, or none: packed), of one that frees blocks one by one (a slot may have held a larger one before), nor
//! of one that only aligns to less than [`CLASS`]. Absent on purpose: what follows from it.

use crate::damage::growth;
use arenascope_replay::{Effect, What};

/// Sizes that are multiples of this, bytes, may be classes that callers know; what is less is alignment alone.
const CLASS: u64 = 16;
/// Distances needed before anything is said.
const ENOUGH: u32 = 4;

/// What was learned of one extent of an arena in a mode that asks for larger blocks than the program does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Rounding {
    /// The highest block: its extent, start and bytes.
    last: Option<(u32, u64, u64)>,
    /// A block was freed: distances may be those of slots that held others before.
    freed: bool,
    /// Distances between starts of neighbours: how many, and what all are multiples of.
    seen: u32,
    step: u64,
    /// All were powers of two.
    powers: bool,
    /// Bytes between what was asked for and the next block: the least and the most.
    least: u64,
    most: u64,
}

const fn gcd(mut left: u64, mut right: u64) -> u64 {
    while right != 0 {
        (left, right) = (right, left % right);
    }
    left
}

impl Rounding {
    /// Takes note of what an event of this arena did.
    pub(crate) fn observe(&mut self, effect: &Effect) {
        match (effect.what, &effect.block) {
            (What::Allocated, Some(block)) => self.placed(block.extent, block.address.0, block.size),
            // The outer function's size is what the program asked for.
            (What::HandedOn { .. }, Some(block)) => match &mut self.last {
                Some((_, start, size)) if *start == block.address.0 => *size = block.size,
                _ => {}
            },
            (What::Freed, _) => self.freed = true,
            (What::Rewound | What::Reset | What::Destroyed, _) => self.last = None,
            _ => {}
        }
    }

    fn placed(&mut self, extent: u32, start: u64, size: u64) {
        // What lies below the highest is a place that was freed, and its size another block's.
        if self.last.is_some_and(|(other, highest, _)| other == extent && start <= highest) {
            return;
        }
        let last = self.last.replace((extent, start, size)).filter(|(other, ..)| *other == extent);
        let Some((_, below, asked)) = last.filter(|(_, below, _)| *below < start) else { return };
        let distance = start.wrapping_sub(below);
        // A block that was not grown, and what is no neighbour.
        let grown = asked.saturating_add(growth(asked));
        let Some(gap) = distance.checked_sub(grown).or_else(|| distance.checked_sub(asked)) else { return };
        if gap > grown.saturating_add(64) {
            return;
        }
        let first = self.seen == 0;
        self.seen = self.seen.saturating_add(1);
        self.step = gcd(self.step, distance);
        self.powers = distance.is_power_of_two() && (first || self.powers);
        self.least = if first { gap } else { self.least.min(gap) };
        self.most = self.most.max(gap);
    }

    /// How many bytes a block of `size` bytes has for all that is known, where the allocator rounds sizes up.
    pub(crate) fn usable(&self, size: u64) -> Option<u64> {
        if self.freed || self.seen < ENOUGH || self.least == self.most || self.step < CLASS {
            return None;
        }
        let header = self.least;
        let asked = size.checked_add(header)?;
        let rounded = asked.checked_next_multiple_of(self.step)?;
        let rounded = if self.powers { rounded.max(asked.checked_next_power_of_two()?) } else { rounded };
        rounded.checked_sub(header).filter(|usable| *usable > size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Blocks of these sizes, each so many bytes behind the one before.
    fn learned(blocks: &[(u64, u64)]) -> Rounding {
        let mut rounding = Rounding::default();
        let mut start = 0x1_0000;
        for (size, distance) in blocks {
            rounding.placed(1, start, *size);
            start += distance;
        }
        rounding.placed(1, start, 1);
        rounding
    }

    #[test]
    fn classes_of_powers_of_two_and_multiples_of_sixteen_have_slack() {
        let powers = learned(&[(20, 64), (40, 128), (99, 256), (7, 64), (64, 128)]);
        assert_eq!([20, 3, 99, 300].map(|size| powers.usable(size)), [Some(64), Some(64), Some(128), Some(512)]);
        let sixteens = learned(&[(20, 64), (33, 80), (7, 48), (16, 48)]);
        assert_eq!([20, 32, 33].map(|size| sixteens.usable(size)), [Some(32), None, Some(48)]);
    }

    #[test]
    fn packed_blocks_headers_and_alignment_have_none() {
        for blocks in [
            &[(32, 64), (32, 64), (48, 80), (16, 48), (16, 48)][..],
            &[(32, 80), (32, 80), (48, 96), (16, 64), (16, 64)],
            &[(20, 56), (33, 72), (7, 40), (16, 48), (9, 48)],
            &[(20, 64), (33, 80)],
        ] {
            assert_eq!(learned(blocks).usable(21), None, "{blocks:?}");
        }
    }
}

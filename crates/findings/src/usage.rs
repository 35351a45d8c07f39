//! Whether a block was used, as far as the captured bytes of its arena tell.
//!
//! May be relied on: "untouched" is said only of blocks whose bytes are all zero and for whose zeros no other usual reason
//! is in sight. Absent on purpose: whether the memory was used before the block, or by another process; the rule knows.

use crate::contents::{Contents, contents};
use alloc::vec::Vec;
use arenascope_event::{Address, CaptureReason};
use arenascope_replay::{Arena, Block};

/// What the bytes tell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Usage {
    /// All zero.
    Untouched,
    /// Different bytes: somebody wrote here.
    Written,
    /// Nothing.
    Unclear,
}

/// Fewer bytes than this that are zero are as likely a number or a flag that is zero.
const LEAST_BYTES: u64 = 8;

/// The usage of each living block of `arena` that lies in `captured`, whole or known to be written.
pub(crate) fn usages<'a>(
    arena: &'a Arena,
    reason: CaptureReason,
    base: Address,
    captured: &[u8],
) -> Vec<(&'a Block, Usage)> {
    let blocks = arena.blocks();
    let seen: Vec<(&Block, Contents)> = blocks
        .iter()
        .map(|block| (*block, contents(block, base, captured)))
        .filter(|(_, contents)| *contents != Contents::Unknown)
        .collect();
    // Zeros prove nothing when the blocks of all other calls hold zeros too: somebody may have wiped the arena.
    let mut sites = seen.iter().map(|(block, _)| block.site);
    let of_one_site = sites.next().is_none_or(|first| sites.all(|site| site == first));
    let wiped = !of_one_site && seen.iter().all(|(_, contents)| *contents == Contents::Zero);
    // Taken and given back at once: a call that shall only bring the memory in.
    let newest = blocks.iter().map(|block| block.number).max();
    let brought_in = |block: &Block| reason == CaptureReason::Reset && Some(block.number) == newest;
    let usage = |block: &Block, contents| match contents {
        Contents::Written => Usage::Written,
        Contents::Zero if !wiped && block.size >= LEAST_BYTES && !brought_in(block) && !aligns(block) => {
            Usage::Untouched
        }
        _ => Usage::Unclear,
    };
    seen.into_iter().map(|(block, contents)| (block, usage(block, contents))).collect()
}

/// True for a block from an uneven place to the next line or page: a call that shall only move the cursor there.
fn aligns(block: &Block) -> bool {
    let (start, end) = (block.address.0.trailing_zeros(), block.end().0.trailing_zeros());
    (end >= 6 && start < 3) || (end >= 12 && start < 4)
}

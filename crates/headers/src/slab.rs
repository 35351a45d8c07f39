//! The head of a mapping that holds small arenas in a row.

use crate::layout::{self, u64_at};
use crate::memory::Mappings;
use crate::settle::{Verdict, agree};

/// More slots than any slab has (the library makes 512 at most).
const MOST_SLOTS: u64 = 1 << 16;
/// Larger distances than any slab has, in bytes (small arenas have 64 KiB at most).
const MOST_STRIDE: u64 = 1 << 20;

pub(crate) const READ: usize = layout::SLAB_BYTES as usize;

/// A row of slots.
#[derive(Clone, Copy)]
pub(crate) struct Slots {
    pub(crate) stride: u64,
    pub(crate) carved: u64,
}

impl Slots {
    /// The address of each slot that was ever used.
    pub(crate) fn addresses(self, slab: u64) -> impl Iterator<Item = u64> {
        (0..self.carved).map(move |index| slab + layout::SLAB_BYTES + index * self.stride)
    }
}

/// Magic, distance, number of slots.
pub(crate) fn same(a: &[u8; READ], b: &[u8; READ]) -> bool {
    agree(a, b, &[(0, 24)])
}

/// Judges one reading of the slab at `at`.
pub(crate) fn judge(at: u64, head: &[u8; READ], mappings: &Mappings) -> Verdict<Slots> {
    if u64_at(head, 0) != layout::MAGIC_SLAB {
        return Verdict::Other;
    }
    let (stride, slots, carved) = (u64_at(head, 8), u64_at(head, 16), u64_at(head, 24));
    let why = if !(layout::HEADER_BYTES..=MOST_STRIDE).contains(&stride) || !stride.is_multiple_of(layout::STEP) {
        format!("slots of {stride} bytes")
    } else if !(1..=MOST_SLOTS).contains(&slots) {
        format!("{slots} slots")
    } else if carved > slots {
        format!("{carved} slots used of {slots}")
    } else if !mappings.cover(at, layout::SLAB_BYTES + slots * stride) {
        format!("{slots} slots of {stride} bytes are not all mapped")
    } else {
        return Verdict::Sound(Slots { stride, carved });
    };
    Verdict::Contradiction(why)
}

//! What both sides of the coding remember within one segment, and what they expect next.
//!
//! The encoder writes the difference to the expectation, the decoder adds it back: both call these functions, in the
//! same order, so that they cannot drift apart. All state begins anew with each segment; a segment decodes alone.
//! All arithmetic wraps: any number in, some number out.

use crate::record::{MAX_FRAMES, NO_SITE};

/// Time is kept in units of 16 ticks of the time stamp counter: 5 to 8 ns, well below what a clock read costs.
pub(crate) const TICK_SHIFT: u32 = 4;

/// How many arenas are remembered; a power of two. Threads switch between few arenas at a time, and each entry costs
/// 32 bytes of hot state in the target.
const SLOTS: usize = 8;

/// What is remembered about one arena.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    pub arena: u32,
    /// Site of its last alloc.
    pub site: u32,
    pub next_order: u64,
    /// End of its last block.
    pub end: u64,
    /// Size of its last block.
    pub size: u64,
}

/// Everything remembered within a segment.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    /// Time of the last event, in units of 16 ticks.
    pub ticks: u64,
    /// The last address of any kind: most addresses lie near some other.
    pub address: u64,
    /// The last mark.
    pub mark: u64,
    /// The last arena.
    pub arena: u32,
    /// The last site of a record other than alloc.
    pub site: u32,
    slots: [Slot; SLOTS],
    /// The last site defined, innermost frame first.
    pub frames: [u64; MAX_FRAMES],
    pub frame_count: usize,
}

impl Model {
    pub(crate) const fn new(base_tsc: u64) -> Self {
        const EMPTY: Slot = Slot { arena: u32::MAX, site: NO_SITE, next_order: 0, end: 0, size: 0 };
        Model {
            ticks: base_tsc >> TICK_SHIFT,
            address: 0,
            mark: 0,
            arena: 0,
            site: NO_SITE,
            slots: [EMPTY; SLOTS],
            frames: [0; MAX_FRAMES],
            frame_count: 0,
        }
    }

    /// The time of an event at `tsc` as a step from the last; time never runs backwards within a writer.
    #[inline(always)]
    pub(crate) fn step_time(&mut self, tsc: u64) -> u64 {
        let step = (tsc >> TICK_SHIFT).saturating_sub(self.ticks);
        self.ticks = self.ticks.wrapping_add(step);
        step
    }

    /// What is remembered about `arena`; when another arena took its place, a fresh entry that expects order 0 and a
    /// block near the last address.
    #[inline(always)]
    pub(crate) fn slot(&mut self, arena: u32) -> &mut Slot {
        let slot = &mut self.slots[arena as usize & (SLOTS - 1)];
        if slot.arena != arena {
            *slot = Slot { arena, site: NO_SITE, next_order: 0, end: self.address, size: 0 };
        }
        slot
    }
}

/// Where the next block is likely to begin: right behind the last, or at the next multiple of 8 or 16.
#[inline(always)]
pub(crate) const fn rounded(end: u64, mode: u8) -> u64 {
    let mask = match mode {
        2 => 7,
        3 => 15,
        _ => 0,
    };
    end.wrapping_add(mask) & !mask
}

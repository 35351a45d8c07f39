//! The living blocks of one arena: found by address, by overlap, and by the order in which they were placed.
//!
//! May be relied on: blocks that occupy bytes never share one (the caller removes what a new block overlaps first);
//! every operation costs O(log n) per block touched. Absent on purpose: why a block dies, and whose extent it is in.
//!
//! *Placement* counts allocations and moves within one arena. It is what a mark saves: going back to a mark kills
//! the blocks placed after it. A block that never moved has its own number as placement only until the first move.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use arenascope_event::{Address, EventNumber, SiteId, ThreadNumber};

/// How a block died.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum How {
    /// Given back alone.
    Freed,
    /// The arena went back to a mark.
    Rewound,
    /// The arena was emptied.
    Reset,
    /// The arena was destroyed.
    Destroyed,
    /// Its memory was unmapped.
    Unmapped,
    /// The malloc block it lay in was freed.
    HeapFreed,
    /// Another arena was created over its arena.
    Replaced,
    /// A newer block of the same arena took its bytes: an unseen free, rewind or reset, or a bug.
    Overwritten,
}

impl How {
    /// A plain word for texts and JSON.
    pub const fn word(self) -> &'static str {
        match self {
            How::Freed => "freed",
            How::Rewound => "rewound",
            How::Reset => "reset",
            How::Destroyed => "destroyed",
            How::Unmapped => "unmapped",
            How::HeapFreed => "heap-freed",
            How::Replaced => "replaced",
            How::Overwritten => "overwritten",
        }
    }
}

/// When and how a block died.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Death {
    /// The event that killed it.
    pub moment: EventNumber,
    /// How.
    pub how: How,
}

/// Where a block lies in its arena.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Place {
    /// Number of the extent, from 1 in order of first use.
    pub extent: u32,
    /// Bytes from the extent's start.
    pub offset: u64,
}

/// One block: the bytes the caller got.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Block {
    /// Counts the arena's blocks over its whole life, from 1. A resized block keeps its number.
    pub number: u64,
    /// First byte. Changes when a resize or mremap moves the block.
    pub address: Address,
    /// Bytes asked for; 0 also when no role names a size.
    pub size: u64,
    /// The alignment asked for, bytes.
    pub align: Option<u64>,
    /// The extent it lies in: see [`crate::Arena::place`].
    pub extent: u32,
    /// Where it was allocated.
    pub site: Option<SiteId>,
    /// Who allocated it.
    pub thread: ThreadNumber,
    /// When.
    pub born: EventNumber,
    /// The last resize, if any.
    pub resized: Option<EventNumber>,
    /// True when it was born in the parent process, whose trace `born` and `resized` then point into.
    pub inherited: bool,
    /// When and how it died; `None` while it lives.
    pub died: Option<Death>,
    pub(crate) placement: u64,
}

impl Block {
    /// One past the last byte, saturating.
    pub fn end(&self) -> Address {
        self.address.plus(self.size)
    }

    /// Bytes it can have at most at its address: `size`, cut at the end of the address space.
    pub(crate) fn footprint(&self) -> u64 {
        self.end().0 - self.address.0
    }
}

/// The living blocks of one arena.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct LivingBlocks {
    by_placement: BTreeMap<u64, Block>,
    /// Blocks that occupy bytes, by first byte.
    spans: BTreeMap<u64, u64>,
    /// Blocks of no bytes, by address and placement.
    empty: BTreeMap<(u64, u64), ()>,
    /// What a block of size 0 occupies: 1 where sizes are not known (an address given twice is then a reuse), else 0.
    least: u64,
    bytes: u64,
}

impl LivingBlocks {
    pub(crate) fn new(sizes_known: bool) -> LivingBlocks {
        LivingBlocks { least: u64::from(!sizes_known), ..LivingBlocks::default() }
    }

    pub(crate) fn len(&self) -> u64 {
        self.by_placement.len() as u64
    }

    /// Sum of sizes.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// In order of placement.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &Block> {
        self.by_placement.values()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Block> {
        self.by_placement.values_mut()
    }

    pub(crate) fn get(&self, placement: u64) -> Option<&Block> {
        self.by_placement.get(&placement)
    }

    fn occupied(&self, address: u64, size: u64) -> u64 {
        size.max(self.least).min(u64::MAX - address)
    }

    /// Placement of the block that starts exactly here; one that occupies bytes goes before empty ones, and of the
    /// empty ones the newest.
    pub(crate) fn starting_at(&self, address: Address) -> Option<u64> {
        if let Some(placement) = self.spans.get(&address.0) {
            return Some(*placement);
        }
        self.empty.range((address.0, 0)..=(address.0, u64::MAX)).next_back().map(|((_, placement), ())| *placement)
    }

    /// Placements of the blocks that share a byte with `size` bytes at `address`, in address order.
    pub(crate) fn overlapping(&self, address: Address, size: u64) -> Vec<u64> {
        let start = address.0;
        let end = start + self.occupied(start, size);
        let mut found = Vec::new();
        if start == end {
            return found;
        }
        if let Some((_, placement)) = self.spans.range(..start).next_back()
            && self.span_end(*placement) > start
        {
            found.push(*placement);
        }
        found.extend(self.spans.range(start..end).map(|(_, placement)| *placement));
        found
    }

    /// Placements of all blocks, empty ones too, that touch the range `start..end`.
    pub(crate) fn touching(&self, start: u64, end: u64) -> Vec<u64> {
        let mut found = self.overlapping(Address(start), end.saturating_sub(start));
        if start < end {
            found.extend(self.empty.range((start, 0)..(end, 0)).map(|((_, placement), ())| *placement));
        }
        found
    }

    /// Placements of the empty blocks exactly at `address` in extent `extent`: those at the very end of a full one.
    pub(crate) fn empty_at(&self, address: u64, extent: u32) -> Vec<u64> {
        let here = self.empty.range((address, 0)..=(address, u64::MAX)).map(|((_, placement), ())| *placement);
        here.filter(|placement| self.get(*placement).is_some_and(|block| block.extent == extent)).collect()
    }

    /// Placements of all blocks that start at or after `start`.
    pub(crate) fn at_or_after(&self, start: u64) -> Vec<u64> {
        let spans = self.spans.range(start..).map(|(_, placement)| *placement);
        spans.chain(self.empty.range((start, 0)..).map(|((_, placement), ())| *placement)).collect()
    }

    /// True when a block starts before `cut` and ends after it.
    pub(crate) fn straddled(&self, cut: u64) -> bool {
        self.spans.range(..cut).next_back().is_some_and(|(_, placement)| self.span_end(*placement) > cut)
    }

    fn span_end(&self, placement: u64) -> u64 {
        self.get(placement).map_or(0, |block| block.address.0 + self.occupied(block.address.0, block.size))
    }

    /// Adds a block under `block.placement`. The caller has removed what it overlaps.
    pub(crate) fn insert(&mut self, block: Block) {
        if self.occupied(block.address.0, block.size) == 0 {
            self.empty.insert((block.address.0, block.placement), ());
        } else {
            self.spans.insert(block.address.0, block.placement);
        }
        // Living blocks are disjoint, so their footprints add up to less than the address space.
        self.bytes = self.bytes.saturating_add(block.footprint());
        self.by_placement.insert(block.placement, block);
    }

    pub(crate) fn remove(&mut self, placement: u64) -> Option<Block> {
        let block = self.by_placement.remove(&placement)?;
        self.forget_address(&block);
        Some(block)
    }

    fn forget_address(&mut self, block: &Block) {
        if self.spans.get(&block.address.0) == Some(&block.placement) {
            self.spans.remove(&block.address.0);
        }
        self.empty.remove(&(block.address.0, block.placement));
        self.bytes = self.bytes.saturating_sub(block.footprint());
    }

    /// Removes every block placed after `placement`, in order of placement.
    pub(crate) fn take_after(&mut self, placement: u64) -> Vec<Block> {
        let Some(first) = placement.checked_add(1) else { return Vec::new() };
        let taken: Vec<Block> = self.by_placement.split_off(&first).into_values().collect();
        for block in &taken {
            self.forget_address(block);
        }
        taken
    }

    /// Removes all, in order of placement.
    pub(crate) fn take_all(&mut self) -> Vec<Block> {
        self.spans.clear();
        self.empty.clear();
        self.bytes = 0;
        core::mem::take(&mut self.by_placement).into_values().collect()
    }

    /// Moves every block that starts inside `start..end` so that what lay at `start` lies at `to`, in extent `extent`
    /// (a block from before that memory was known lay in another one). Returns the blocks that a moved one overlaps
    /// (only events that cannot be true do that); they no longer live.
    pub(crate) fn shift(&mut self, start: u64, end: u64, to: u64, extent: u32) -> Vec<Block> {
        let mut moving = Vec::new();
        let mut inside = self.touching(start, end);
        inside.extend(self.empty_at(end, extent));
        for placement in inside {
            if self.get(placement).is_some_and(|block| block.address.0 >= start) {
                moving.extend(self.remove(placement));
            }
        }
        let mut struck = Vec::new();
        for mut block in moving {
            block.address = Address((block.address.0 - start).saturating_add(to));
            block.extent = extent;
            for placement in self.overlapping(block.address, block.size) {
                struck.extend(self.remove(placement));
            }
            self.insert(block);
        }
        struck
    }
}

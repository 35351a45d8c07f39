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
///
/// Blocks stand in slots that are used again; two indices lead to them. The index by placement keeps entries of dead
/// blocks until they are the majority (then it is swept, which costs O(1) per block that ever lived), so that freeing by
/// address, what malloc's users do millions of times, touches one tree only.
#[derive(Clone, Debug, Default)]
pub(crate) struct LivingBlocks {
    slots: Vec<Option<Block>>,
    vacant: Vec<u32>,
    /// Placement and slot, ascending by placement. An entry is stale when its slot does not hold that placement.
    order: Vec<(u64, u32)>,
    /// Slots of the blocks that occupy bytes, by first byte.
    spans: BTreeMap<u64, u32>,
    /// Blocks of no bytes, by address and placement.
    empty: BTreeMap<(u64, u64), ()>,
    /// What a block of size 0 occupies: 1 where sizes are not known (an address given twice is then a reuse), else 0.
    least: u64,
    living: u64,
    bytes: u64,
}

impl PartialEq for LivingBlocks {
    /// The same blocks; where they stand and what else stood there is no difference.
    fn eq(&self, other: &LivingBlocks) -> bool {
        self.least == other.least && self.bytes == other.bytes && self.iter().eq(other.iter())
    }
}

/// Stale entries of the order that are not worth a sweep.
const STALE_KEPT: u64 = 64;

impl LivingBlocks {
    pub(crate) fn new(sizes_known: bool) -> LivingBlocks {
        LivingBlocks { least: u64::from(!sizes_known), ..LivingBlocks::default() }
    }

    pub(crate) fn len(&self) -> u64 {
        self.living
    }

    /// Sum of sizes.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// In order of placement.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &Block> {
        self.order.iter().filter_map(|&entry| self.of_entry(entry))
    }

    /// In no particular order.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Block> {
        self.slots.iter_mut().flatten()
    }

    /// O(log n).
    pub(crate) fn get(&self, placement: u64) -> Option<&Block> {
        self.in_slot(self.slot_of(placement)?)
    }

    fn in_slot(&self, slot: u32) -> Option<&Block> {
        self.slots.get(slot as usize)?.as_ref()
    }

    fn of_entry(&self, (placement, slot): (u64, u32)) -> Option<&Block> {
        self.in_slot(slot).filter(|block| block.placement == placement)
    }

    fn slot_of(&self, placement: u64) -> Option<u32> {
        let at = self.order.binary_search_by_key(&placement, |entry| entry.0).ok()?;
        let entry = *self.order.get(at)?;
        self.of_entry(entry).map(|_| entry.1)
    }

    fn occupied(&self, address: u64, size: u64) -> u64 {
        size.max(self.least).min(u64::MAX - address)
    }

    /// Placement of the block that starts exactly here; one that occupies bytes goes before empty ones, and of the
    /// empty ones the newest.
    pub(crate) fn starting_at(&self, address: Address) -> Option<u64> {
        if let Some(slot) = self.spans.get(&address.0) {
            return self.in_slot(*slot).map(|block| block.placement);
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
        // Blocks are disjoint, so their ends ascend as their starts do: the first from above that ends too early ends it.
        for (_, slot) in self.spans.range(..end).rev() {
            let Some(block) = self.in_slot(*slot).filter(|block| self.end_of(block) > start) else { break };
            found.push(block.placement);
        }
        found.reverse();
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
        let spans = self.spans.range(start..).filter_map(|(_, slot)| self.in_slot(*slot).map(|block| block.placement));
        spans.chain(self.empty.range((start, 0)..).map(|((_, placement), ())| *placement)).collect()
    }

    /// True when a block starts before `cut` and ends after it.
    pub(crate) fn straddled(&self, cut: u64) -> bool {
        let before = self.spans.range(..cut).next_back().and_then(|(_, slot)| self.in_slot(*slot));
        before.is_some_and(|block| self.end_of(block) > cut)
    }

    fn end_of(&self, block: &Block) -> u64 {
        block.address.0 + self.occupied(block.address.0, block.size)
    }

    /// Adds a block under `block.placement`. The caller has removed what it overlaps.
    pub(crate) fn insert(&mut self, block: Block) {
        let (placement, address) = (block.placement, block.address.0);
        let occupied = self.occupied(address, block.size);
        // Living blocks are disjoint, so their footprints add up to less than the address space.
        self.bytes = self.bytes.saturating_add(block.footprint());
        self.living += 1;
        let slot = match self.vacant.pop() {
            Some(slot) => slot,
            // More than 2^32 living blocks would take half a terabyte of them.
            None => {
                self.slots.push(None);
                (self.slots.len() - 1) as u32
            }
        };
        if let Some(place) = self.slots.get_mut(slot as usize) {
            *place = Some(block);
        }
        if occupied == 0 {
            self.empty.insert((address, placement), ());
        } else {
            self.spans.insert(address, slot);
        }
        match self.order.last() {
            Some((last, _)) if *last >= placement => self.put_back(placement, slot),
            _ => {
                if self.order.len() as u64 > self.living.saturating_mul(2).saturating_add(STALE_KEPT) {
                    self.sweep();
                }
                self.order.push((placement, slot));
            }
        }
    }

    /// A block that was there before comes back, perhaps elsewhere: its placement is not the newest.
    fn put_back(&mut self, placement: u64, slot: u32) {
        match self.order.binary_search_by_key(&placement, |entry| entry.0) {
            Ok(at) => {
                if let Some(entry) = self.order.get_mut(at) {
                    entry.1 = slot;
                }
            }
            Err(at) => self.order.insert(at, (placement, slot)),
        }
    }

    /// Drops the stale entries of the order.
    fn sweep(&mut self) {
        let slots = &self.slots;
        let holds = |(placement, slot): &(u64, u32)| {
            slots.get(*slot as usize).and_then(Option::as_ref).is_some_and(|block| block.placement == *placement)
        };
        self.order.retain(holds);
    }

    pub(crate) fn remove(&mut self, placement: u64) -> Option<Block> {
        self.vacate(self.slot_of(placement)?)
    }

    /// Removes the block that [`LivingBlocks::starting_at`] names.
    pub(crate) fn take_starting_at(&mut self, address: Address) -> Option<Block> {
        match self.spans.get(&address.0) {
            Some(slot) => self.vacate(*slot),
            None => self.remove(self.starting_at(address)?),
        }
    }

    /// Takes the block out of its slot and out of the indices by address; its entry in the order is stale then.
    fn vacate(&mut self, slot: u32) -> Option<Block> {
        let block = self.slots.get_mut(slot as usize)?.take()?;
        self.vacant.push(slot);
        self.living -= 1;
        self.bytes = self.bytes.saturating_sub(block.footprint());
        if self.occupied(block.address.0, block.size) == 0 {
            self.empty.remove(&(block.address.0, block.placement));
        } else {
            self.spans.remove(&block.address.0);
        }
        Some(block)
    }

    /// Removes every block placed after `placement`, in order of placement.
    pub(crate) fn take_after(&mut self, placement: u64) -> Vec<Block> {
        let first = self.order.partition_point(|entry| entry.0 <= placement);
        let entries = self.order.split_off(first);
        let living = |this: &Self, entry: (u64, u32)| this.of_entry(entry).map(|_| entry.1);
        entries.into_iter().filter_map(|entry| living(self, entry).and_then(|slot| self.vacate(slot))).collect()
    }

    /// Removes all, in order of placement.
    pub(crate) fn take_all(&mut self) -> Vec<Block> {
        let least = self.least;
        let mut all = core::mem::replace(self, LivingBlocks { least, ..LivingBlocks::default() });
        all.empty_out()
    }

    fn empty_out(&mut self) -> Vec<Block> {
        let order = core::mem::take(&mut self.order);
        let take = |(placement, slot): (u64, u32)| {
            let place = self.slots.get_mut(slot as usize)?;
            if place.as_ref()?.placement == placement { place.take() } else { None }
        };
        order.into_iter().filter_map(take).collect()
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

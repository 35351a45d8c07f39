//! The memory that stands: mappings and recorded malloc blocks, and which living arenas use them.
//!
//! May be relied on: mappings never share a byte with each other, nor malloc blocks with each other (a malloc block
//! may well lie in a mapping); ranges are whole pages for mappings. Absent on purpose: arenas; callers are handed
//! [`Cut`]s that say what became of a region and who used it.

use crate::arena::ArenaId;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use arenascope_event::{Address, EventNumber, SiteId, ThreadNumber};

/// Page size of x86-64 Linux; the kernel rounds lengths of mmap, munmap and mremap up to it.
const PAGE_BYTES: u64 = 4096;

/// One region, by order of appearance. A region that a partial unmap splits keeps its id for the lower part.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RegionId(pub u64);

/// What a region is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum RegionKind {
    /// The range of an `mmap` call.
    Mapping,
    /// A mapping found in the memory map.
    Observed,
    /// A block of the C library's allocator.
    HeapBlock,
}

/// A mapping or malloc block that stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Region {
    /// Its id.
    pub id: RegionId,
    /// What it is.
    pub kind: RegionKind,
    /// First byte.
    pub start: Address,
    /// Bytes; whole pages for mappings, the asked size for malloc blocks.
    pub len: u64,
    /// The event that made it.
    pub born: EventNumber,
    /// Its site.
    pub site: Option<SiteId>,
    /// Its thread.
    pub thread: ThreadNumber,
    /// True when it was there before a fork made this process.
    pub inherited: bool,
    /// The process whose trace `born` points into, when that is another one.
    pub owner: Option<u32>,
    /// True when a forked process and this one have the same bytes here (MAP_SHARED), not a copy each.
    pub shared: bool,
    /// The arena that came last to use it.
    pub last_user: Option<ArenaId>,
    pub(crate) users: BTreeSet<ArenaId>,
}

impl Region {
    /// One past the last byte, saturating.
    pub fn end(&self) -> Address {
        self.start.plus(self.len)
    }

    /// Living arenas that have an extent in it.
    pub fn users(&self) -> impl Iterator<Item = ArenaId> {
        self.users.iter().copied()
    }
}

/// What an unmap did to one region.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Cut {
    pub(crate) region: RegionId,
    /// The struck range, within the region.
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// The part below, which keeps the id.
    pub(crate) left: bool,
    /// The part above: its id (new when there is also a part below) and its length.
    pub(crate) right: Option<(RegionId, u64)>,
    pub(crate) users: Vec<ArenaId>,
}

/// Who made a region, and when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    pub(crate) born: EventNumber,
    pub(crate) site: Option<SiteId>,
    pub(crate) thread: ThreadNumber,
    pub(crate) inherited: bool,
    pub(crate) shared: bool,
}

/// All standing regions.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Regions {
    all: BTreeMap<RegionId, Region>,
    mappings: BTreeMap<u64, RegionId>,
    heap: BTreeMap<u64, RegionId>,
    next: u64,
}

/// The range in whole pages that a call on `len` bytes at `start` concerns: `None` when it is empty or leaves the
/// address space.
pub(crate) fn pages(start: u64, len: u64) -> Option<(u64, u64)> {
    let len = len.checked_next_multiple_of(PAGE_BYTES)?;
    let end = start.checked_add(len)?;
    if start < end { Some((start, end)) } else { None }
}

impl Regions {
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    pub(crate) fn get(&self, id: RegionId) -> Option<&Region> {
        self.all.get(&id)
    }

    pub(crate) fn get_mut(&mut self, id: RegionId) -> Option<&mut Region> {
        self.all.get_mut(&id)
    }

    /// In order of appearance.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Region> {
        self.all.values()
    }

    /// The innermost region that holds the byte at `address`: a malloc block goes before a mapping.
    pub(crate) fn holding(&self, address: u64) -> Option<&Region> {
        [&self.heap, &self.mappings].into_iter().find_map(|index| {
            let (_, id) = index.range(..=address).next_back()?;
            self.all.get(id).filter(|region| address < region.end().0)
        })
    }

    /// A fork: whatever stands came from the process `parent`, or through it from one of its own parents.
    pub(crate) fn inherit(&mut self, parent: u32) {
        for region in self.all.values_mut() {
            region.inherited = true;
            region.owner.get_or_insert(parent);
        }
    }

    /// The mapping that holds the byte at `address`, and its range.
    pub(crate) fn holding_mapping(&self, address: u64) -> Option<(RegionId, u64, u64)> {
        let (start, id) = self.mappings.range(..=address).next_back()?;
        let end = self.all.get(id)?.end().0;
        if address < end { Some((*id, *start, end)) } else { None }
    }

    /// The malloc block that starts at `address`.
    pub(crate) fn heap_block(&self, address: u64) -> Option<&Region> {
        self.all.get(self.heap.get(&address)?)
    }

    /// Ids of the mappings that share a byte with `start..end`, by address.
    pub(crate) fn mappings_in(&self, start: u64, end: u64) -> Vec<RegionId> {
        self.touching(&self.mappings, start, end)
    }

    /// Ids of the malloc blocks that share a byte with `start..end`, by address.
    pub(crate) fn heap_in(&self, start: u64, end: u64) -> Vec<RegionId> {
        self.touching(&self.heap, start, end)
    }

    fn touching(&self, index: &BTreeMap<u64, RegionId>, start: u64, end: u64) -> Vec<RegionId> {
        let mut found = Vec::new();
        if start < end {
            if let Some((_, id)) = index.range(..start).next_back() {
                found.extend(self.all.get(id).filter(|region| region.end().0 > start).map(|region| region.id));
            }
            found.extend(index.range(start..end).map(|(_, id)| *id));
        }
        found
    }

    /// Adds a region. The caller has removed what it overlaps, and `start + len` does not overflow.
    pub(crate) fn add(&mut self, kind: RegionKind, start: u64, len: u64, origin: Origin) -> RegionId {
        let id = self.fresh();
        let region = Region {
            id,
            kind,
            start: Address(start),
            len,
            born: origin.born,
            site: origin.site,
            thread: origin.thread,
            inherited: origin.inherited,
            owner: None,
            shared: origin.shared,
            last_user: None,
            users: BTreeSet::new(),
        };
        self.index(kind).insert(start, id);
        self.all.insert(id, region);
        id
    }

    fn fresh(&mut self) -> RegionId {
        self.next = self.next.saturating_add(1);
        RegionId(self.next)
    }

    fn index(&mut self, kind: RegionKind) -> &mut BTreeMap<u64, RegionId> {
        match kind {
            RegionKind::Mapping | RegionKind::Observed => &mut self.mappings,
            RegionKind::HeapBlock => &mut self.heap,
        }
    }

    /// Puts a removed region back as it was, without users. The caller has seen that nothing stands there.
    pub(crate) fn restore(&mut self, mut region: Region) {
        region.users.clear();
        self.index(region.kind).insert(region.start.0, region.id);
        self.all.insert(region.id, region);
    }

    pub(crate) fn remove(&mut self, id: RegionId) -> Option<Region> {
        let region = self.all.remove(&id)?;
        self.index(region.kind).remove(&region.start.0);
        Some(region)
    }

    /// Takes `start..end` out of the mappings.
    pub(crate) fn cut_mappings(&mut self, start: u64, end: u64) -> Vec<Cut> {
        let mut cuts = Vec::new();
        for id in self.mappings_in(start, end) {
            let Some(mut region) = self.remove(id) else { continue };
            let (old_start, old_end) = (region.start.0, region.end().0);
            let users: Vec<ArenaId> = region.users().collect();
            let left = old_start < start;
            let mut right = None;
            if end < old_end {
                let right_id = if left { self.fresh() } else { id };
                right = Some((right_id, old_end - end));
                let upper = Region { id: right_id, start: Address(end), len: old_end - end, ..region.clone() };
                self.mappings.insert(end, right_id);
                self.all.insert(right_id, upper);
            }
            if left {
                region.len = start - old_start;
                self.mappings.insert(old_start, id);
                self.all.insert(id, region);
            }
            cuts.push(Cut { region: id, start: start.max(old_start), end: end.min(old_end), left, right, users });
        }
        cuts
    }

    /// Gives a mapping another place and length. The caller has removed what it then overlaps.
    pub(crate) fn relocate(&mut self, id: RegionId, start: u64, len: u64) {
        if let Some(mut region) = self.remove(id) {
            region.start = Address(start);
            region.len = len;
            self.index(region.kind).insert(start, id);
            self.all.insert(id, region);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORIGIN: Origin =
        Origin { born: EventNumber(1), site: None, thread: ThreadNumber(1), inherited: false, shared: false };

    fn ranges(regions: &Regions) -> Vec<(u64, u64, u64)> {
        regions.iter().map(|region| (region.id.0, region.start.0, region.len)).collect()
    }

    #[test]
    fn a_hole_splits_a_mapping_and_the_lower_part_keeps_its_id() {
        let mut regions = Regions::default();
        regions.add(RegionKind::Mapping, 0x1000, 0x4000, ORIGIN);
        let cuts = regions.cut_mappings(0x2000, 0x3000);
        assert_eq!(ranges(&regions), [(1, 0x1000, 0x1000), (2, 0x3000, 0x2000)]);
        assert_eq!(cuts.len(), 1);
        assert!(cuts[0].left);
        assert_eq!(cuts[0].right, Some((RegionId(2), 0x2000)));
    }

    #[test]
    fn trimming_the_head_keeps_the_id_and_moves_the_start() {
        let mut regions = Regions::default();
        regions.add(RegionKind::Mapping, 0x1000, 0x4000, ORIGIN);
        regions.cut_mappings(0, 0x2000);
        assert_eq!(ranges(&regions), [(1, 0x2000, 0x3000)]);
        assert!(regions.holding(0x1fff).is_none());
        assert!(regions.holding(0x2000).is_some());
        assert!(regions.holding(0x5000).is_none());
    }

    #[test]
    fn a_malloc_block_goes_before_the_mapping_around_it() {
        let mut regions = Regions::default();
        regions.add(RegionKind::Mapping, 0x1000, 0x4000, ORIGIN);
        regions.add(RegionKind::HeapBlock, 0x1010, 0x20, ORIGIN);
        assert_eq!(regions.holding(0x1010).map(|region| region.kind), Some(RegionKind::HeapBlock));
        assert_eq!(regions.holding(0x1030).map(|region| region.kind), Some(RegionKind::Mapping));
    }

    #[test]
    fn lengths_are_rounded_to_pages_and_never_leave_the_address_space() {
        assert_eq!(pages(0x1000, 256), Some((0x1000, 0x2000)));
        assert_eq!(pages(0x1000, 4096), Some((0x1000, 0x2000)));
        assert_eq!(pages(0x1000, 0), None);
        assert_eq!(pages(u64::MAX - 10, 1), None);
        assert_eq!(pages(0x1000, u64::MAX), None);
    }
}

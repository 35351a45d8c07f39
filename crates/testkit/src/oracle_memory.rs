//! The model's memory: what mmap, munmap, mremap, malloc and free do to arenas. See `oracle` for its spirit.

use crate::oracle::{Model, ModelBlock, ModelExtent, ModelRegion, Now, kill, touches};
use alloc::vec::Vec;

/// Blocks of unknown memory this close to each other share an extent.
const NEIGHBOUR_BYTES: u64 = 64 * 1024;

const PAGE_BYTES: u64 = 4096;

fn pages(start: u64, len: u64) -> Option<(u64, u64)> {
    let end = start.checked_add(len.checked_next_multiple_of(PAGE_BYTES)?)?;
    if start < end { Some((start, end)) } else { None }
}

impl Model {
    pub(crate) fn map(&mut self, now: Now, address: u64, len: u64, observed: bool) {
        let Some((start, end)) = pages(address, len) else { return };
        if !observed {
            self.strike(now, start, end);
            self.region(now, "mapping", start, end);
        } else if !self
            .regions
            .iter()
            .any(|region| region.kind != "heap-block" && start < region.end && region.start < end)
        {
            self.next_region += 1;
            self.regions.push(ModelRegion { id: self.next_region, kind: "observed", start, end });
        }
    }

    pub(crate) fn unmap(&mut self, now: Now, address: u64, len: u64) {
        if let Some((start, end)) = pages(address, len) {
            self.strike(now, start, end);
        }
    }

    pub(crate) fn heap_alloc(&mut self, now: Now, address: u64, size: u64) {
        let end = address + size;
        let stale = |region: &&ModelRegion| {
            let shares = address < end && region.start < end && address < region.end;
            region.kind == "heap-block" && (shares || region.start == address)
        };
        let stale: Vec<ModelRegion> = self.regions.iter().filter(stale).cloned().collect();
        for region in stale {
            self.heap_free(now, region.start);
        }
        if size > 0 {
            self.region(now, "heap-block", address, end);
        }
    }

    pub(crate) fn heap_free(&mut self, now: Now, address: u64) {
        let here = |region: &ModelRegion| region.kind == "heap-block" && region.start == address;
        let Some(at) = self.regions.iter().position(here) else { return };
        let region = self.regions.remove(at);
        self.cut(now, &region, region.start, region.end, None, "heap-freed");
        self.strike_objects(now, region.start, region.end, "heap-freed");
    }

    pub(crate) fn remap(&mut self, now: Now, old: u64, old_len: u64, new: u64, new_len: u64) {
        let Some((new, new_end)) = pages(new, new_len) else { return };
        let Some((old, old_end)) = pages(old, old_len) else {
            self.strike(now, new, new_end);
            self.region(now, "mapping", new, new_end);
            return;
        };
        let (old_bytes, new_bytes) = (old_end - old, new_end - new);
        if new_bytes < old_bytes {
            self.strike(now, old + new_bytes, old_end);
        }
        let kept_end = old + old_bytes.min(new_bytes);
        let holds = |region: &&ModelRegion| region.kind != "heap-block" && region.start <= old && old < region.end;
        let region = self.regions.iter().find(holds).cloned();
        let region = region.filter(|region| region.end == kept_end && (region.start == old || new == old));
        match region {
            Some(region) if new == old => {
                self.strike(now, kept_end, new_end);
                let start = region.start;
                self.relocate(now, region.id, (start, kept_end), start, new_end);
            }
            Some(region) if new_end <= old || kept_end <= new => {
                self.strike(now, new, new_end);
                self.relocate(now, region.id, (old, kept_end), new, new_end);
            }
            _ if new == old => {
                self.strike(now, kept_end, new_end);
                if kept_end < new_end {
                    self.region(now, "mapping", kept_end, new_end);
                }
            }
            _ => {
                self.strike(now, old, kept_end);
                self.strike(now, new, new_end);
                self.region(now, "mapping", new, new_end);
            }
        }
    }

    /// True when realloc can have moved the malloc block at `old` to `start`, as far as addresses tell.
    pub(crate) fn would_move(&self, old: u64, start: u64, size: u64) -> bool {
        let here = |region: &&ModelRegion| region.kind == "heap-block" && region.start == old;
        let Some(region) = self.regions.iter().find(here) else { return false };
        let used = self.arenas.iter().any(|arena| {
            let ours = |extent: &&ModelExtent| extent.region == Some(region.id);
            let inside = arena.object != 0 && region.start <= arena.object && arena.object < region.end;
            arena.ended.is_none() && (inside || arena.standing().iter().any(ours))
        });
        used && (start == old || start + size <= old || region.end <= start)
    }

    /// A malloc block moves or changes its size, with all that lives in it.
    pub(crate) fn move_heap_block(&mut self, now: Now, old: u64, start: u64, size: u64) {
        let here = |region: &&ModelRegion| region.kind == "heap-block" && region.start == old;
        let Some(region) = self.regions.iter().find(here).cloned() else { return };
        let kept_end = region.end.min(old + size);
        if kept_end < region.end {
            self.cut(now, &region, kept_end, region.end, None, "heap-freed");
        }
        let stale = |other: &&ModelRegion| {
            let overlaps = other.start < start + size && start < other.end;
            other.kind == "heap-block" && other.id != region.id && overlaps
        };
        let stale: Vec<u64> = self.regions.iter().filter(stale).map(|region| region.start).collect();
        for address in stale {
            self.heap_free(now, address);
        }
        self.relocate(now, region.id, (old, kept_end), start, start + size);
    }

    fn region(&mut self, now: Now, kind: &'static str, start: u64, end: u64) {
        self.next_region += 1;
        self.regions.push(ModelRegion { id: self.next_region, kind, start, end });
        self.made.push((now.thread, now.thread_event, self.next_region));
    }

    /// The range `start..end` of the mappings goes.
    fn strike(&mut self, now: Now, start: u64, end: u64) {
        if start >= end {
            return;
        }
        let hit = |region: &ModelRegion| region.kind != "heap-block" && region.start < end && start < region.end;
        let mut struck: Vec<ModelRegion> = self.regions.iter().filter(|region| hit(region)).cloned().collect();
        struck.sort_by_key(|region| region.start);
        self.regions.retain(|region| !hit(region));
        let mut known = 0;
        for region in struck {
            let (from, to) = (start.max(region.start), end.min(region.end));
            known += to - from;
            let below = region.start < from;
            let mut upper = None;
            if to < region.end {
                if below {
                    self.next_region += 1;
                }
                let id = if below { self.next_region } else { region.id };
                upper = Some(id);
                self.regions.push(ModelRegion { id, start: to, ..region.clone() });
            }
            if below {
                self.regions.push(ModelRegion { end: from, ..region.clone() });
            }
            self.cut(now, &region, from, to, upper, "unmapped");
        }
        if known < end - start {
            self.strike_loose(now, start, end);
        }
        self.strike_objects(now, start, end, "unmapped");
    }

    fn strike_objects(&mut self, now: Now, start: u64, end: u64, ending: &'static str) {
        for index in 0..self.arenas.len() {
            let object = self.arenas[index].object;
            if object != 0 && start <= object && object < end {
                self.end(now, index, ending, ending);
            }
        }
    }

    /// `from..to` of a region goes: what that does to the arenas with an extent in it.
    fn cut(&mut self, now: Now, region: &ModelRegion, from: u64, to: u64, upper: Option<u64>, how: &'static str) {
        let least = self.least();
        for index in 0..self.arenas.len() {
            let arena = &mut self.arenas[index];
            let ours = |extent: &ModelExtent| extent.gone.is_none() && extent.region == Some(region.id);
            let Some(at) = arena.extents.iter().position(ours).filter(|_| arena.ended.is_none()) else { continue };
            let extent = &mut arena.extents[at];
            let number = extent.number;
            // An empty block at the very end goes with the last byte before it.
            let at_end = |block: &ModelBlock| {
                block.size.max(least) == 0 && block.address == to && block.extent == number && upper.is_none()
            };
            kill(&mut arena.blocks, now, how, |block| {
                touches(block.address, block.size, least, from, to) || at_end(block)
            });
            let mut above = extent.clone();
            let below = extent.start < from;
            if below {
                extent.end = from;
                extent.low = extent.low.min(from);
                extent.high = extent.high.min(from);
            }
            if let Some(id) = upper {
                above.start = to;
                above.region = Some(id);
                above.low = above.low.max(to);
                above.high = above.high.max(to);
                if below {
                    above.number = arena.next_extent;
                    arena.next_extent += 1;
                    for block in arena.blocks.iter_mut().filter(|block| block.died.is_none()) {
                        if block.extent == number && block.address >= to {
                            block.extent = above.number;
                        }
                    }
                    arena.extents.push(above);
                } else {
                    arena.extents[at] = above;
                }
            } else if !below {
                extent.gone = Some(now.event);
            }
            if arena.standing().is_empty() && !arena.outlives_memory() {
                self.end(now, index, how, how);
            }
        }
    }

    fn strike_loose(&mut self, now: Now, start: u64, end: u64) {
        let least = self.least();
        for index in 0..self.arenas.len() {
            let arena = &mut self.arenas[index];
            let loose = |extent: &ModelExtent| extent.gone.is_none() && extent.region.is_none();
            let hit = |extent: &ModelExtent| extent.start < end && start < extent.end.max(extent.start + 1);
            if arena.ended.is_some() || !arena.extents.iter().any(|extent| loose(extent) && hit(extent)) {
                continue;
            }
            kill(&mut arena.blocks, now, "unmapped", |block| touches(block.address, block.size, least, start, end));
            let alive = |block: &&ModelBlock| block.died.is_none();
            let inhabited: Vec<u32> = arena.blocks.iter().filter(alive).map(|block| block.extent).collect();
            let mut gone = Vec::new();
            for extent in arena.extents.iter_mut().filter(|extent| loose(extent)) {
                if start <= extent.start && extent.end <= end && !inhabited.contains(&extent.number) {
                    extent.gone = Some(now.event);
                    gone.push(extent.number);
                }
            }
            arena.loose.retain(|(_, _, number)| !gone.contains(number));
            if arena.standing().is_empty() && !arena.outlives_memory() {
                self.end(now, index, "unmapped", "unmapped");
            }
        }
    }

    /// A mapping moves, with blocks and arena objects.
    fn relocate(&mut self, now: Now, id: u64, from: (u64, u64), to: u64, to_end: u64) {
        let (start, end) = from;
        let inside = |address: u64| start <= address && address < end;
        for region in self.regions.iter_mut().filter(|region| region.id == id) {
            (region.start, region.end) = (to, to_end);
        }
        let least = self.least();
        for index in 0..self.arenas.len() {
            if self.arenas[index].ended.is_some() {
                continue;
            }
            let arena = &mut self.arenas[index];
            let ours = |extent: &&mut ModelExtent| extent.gone.is_none() && extent.region == Some(id);
            if let Some(extent) = arena.extents.iter_mut().find(ours) {
                (extent.start, extent.end) = (to, to_end);
                extent.low = extent.low - start + to;
                extent.high = extent.high - start + to;
                let number = extent.number;
                let at_end =
                    |block: &ModelBlock| block.size.max(least) == 0 && block.address == end && block.extent == number;
                if start != to {
                    let mut moved: Vec<usize> = (0..arena.blocks.len())
                        .filter(|at| arena.blocks[*at].died.is_none())
                        .filter(|at| inside(arena.blocks[*at].address) || at_end(&arena.blocks[*at]))
                        .collect();
                    moved.sort_by_key(|at| arena.blocks[*at].address);
                    for at in &moved {
                        arena.blocks[*at].address = arena.blocks[*at].address - start + to;
                        arena.blocks[*at].extent = number;
                    }
                    // A block that lay across the end of the mapping may now lie over another one.
                    for at in &moved {
                        let (address, size, placement) =
                            (arena.blocks[*at].address, arena.blocks[*at].size, arena.blocks[*at].placement);
                        kill(&mut arena.blocks, now, "overwritten", |block| {
                            size.max(least) > 0
                                && block.size.max(least) > 0
                                && block.placement != placement
                                && touches(block.address, block.size, least, address, address + size.max(least))
                        });
                    }
                }
            }
            if start != to && arena.object != 0 && inside(arena.object) {
                let there = arena.object - start + to;
                for other in self.arenas.iter_mut().filter(|other| other.key.is_none() && other.object == there) {
                    // Two arenas at one address: only the newcomer can be found again.
                    other.key = Some(u32::MAX);
                }
                self.arenas[index].object = there;
                self.arenas[index].key = None;
            }
        }
    }

    /// A block in memory nobody told us about: the extent is all blocks connected to it by short gaps.
    pub(crate) fn settle_loose(&mut self, index: usize, address: u64, size: u64, kind: &'static str) -> u32 {
        let arena = &mut self.arenas[index];
        let same: Vec<u32> = arena.standing().iter().filter(|extent| extent.kind == kind).map(|e| e.number).collect();
        let mut joined: Vec<(u64, u64, u32)> = Vec::new();
        let mut hull = (address, address + size);
        loop {
            let near = |range: &&(u64, u64, u32)| {
                let close = hull.0 <= range.1 + NEIGHBOUR_BYTES && range.0 <= hull.1 + NEIGHBOUR_BYTES;
                same.contains(&range.2) && close && !joined.contains(range)
            };
            let Some(range) = arena.loose.iter().find(near).copied() else { break };
            hull = (hull.0.min(range.0), hull.1.max(range.1));
            joined.push(range);
        }
        let number = joined.iter().map(|range| range.2).min().unwrap_or_else(|| {
            arena.next_extent += 1;
            arena.next_extent - 1
        });
        let merged = |other: u32| joined.iter().any(|range| range.2 == other);
        arena.extents.retain(|extent| extent.gone.is_some() || !merged(extent.number));
        for block in arena.blocks.iter_mut().filter(|block| block.died.is_none() && merged(block.extent)) {
            block.extent = number;
        }
        for range in arena.loose.iter_mut().filter(|range| merged(range.2)) {
            range.2 = number;
        }
        arena.loose.push((address, address + size, number));
        let (start, end) = hull;
        arena.extents.push(ModelExtent {
            number,
            start,
            end,
            kind,
            gone: None,
            region: None,
            low: start,
            high: end,
            presumed: false,
        });
        number
    }
}

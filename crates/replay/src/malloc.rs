//! The C library's own arenas: their ranges as its records tell them, and the blocks in which other arenas live.
//!
//! Rules. The first range told of a key makes its arena one of malloc's; it never ends with memory, because malloc gives
//! memory back and gets new. A range grows and shrinks in place. A block of malloc becomes a region (see `regions`) when
//! another arena is found to live in it, and not before: most never hold one. What is freed takes the arenas in it
//! along, as with any malloc block. May be relied on: O(log n) an event, plus the number of malloc's arenas.
//! Absent on purpose: what a block is to its arena (`calls`).

use crate::arena::{ArenaId, Ending, Extent, ExtentKind};
use crate::blocks::{Block, How};
use crate::effect::{Effect, What};
use crate::regions::{Origin, RegionId, RegionKind};
use crate::replay::{Call, Replay};
use crate::state::State;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use arenascope_event::{Address, ArenaKey, MallocKind};

/// A thread's heap, and what it is a multiple of (glibc, malloc/arena.c, HEAP_MAX_SIZE).
const HEAP_BYTES: u64 = 64 << 20;

/// Blocks remembered per thread, for the create call that got them.
const RECENT_BLOCKS: usize = 8;

impl Replay {
    /// The C library's own record of a range was read.
    pub(crate) fn heap_segment(&mut self, call: Call, key: ArenaKey, start: Address, len: u64, top: Address) -> Effect {
        let mut effect = Effect::of(What::Memory);
        let id = match self.state.living_of(key).or_else(|| self.rebind(key)) {
            Some(id) => id,
            None => {
                let Some(id) = self.birth(call, key, false) else { return effect };
                effect.born = true;
                id
            }
        };
        effect.arena = Some(id);
        let threads = self.state.malloc_arenas.iter().filter_map(|id| self.state.arena(*id));
        let of_threads = threads.filter(|arena| arena.malloc == Some(MallocKind::Thread)).count();
        let Some(arena) = self.state.arena_mut(id) else { return effect };
        if arena.malloc.is_none() {
            let kind = MallocKind::of(arena.object, start, len);
            arena.malloc = Some(kind);
            arena.name = name(kind, of_threads);
            self.state.malloc_arenas.push(id);
        }
        if len > 0 {
            self.state.tell_segment(id, start, len, top);
        }
        effect
    }
}

fn name(kind: MallocKind, of_threads: usize) -> String {
    match kind {
        MallocKind::Main => "main arena".into(),
        MallocKind::Thread => format!("thread arena {}", of_threads.saturating_add(1)),
        MallocKind::Mapped => "mapped chunks".into(),
        MallocKind::Foreign => "malloc".into(),
    }
}

impl State {
    /// Gives the arena the range `start..start + len`, or the one it overlaps its new bounds.
    fn tell_segment(&mut self, id: ArenaId, start: Address, len: u64, top: Address) {
        let Some(arena) = self.arena_mut(id) else { return };
        let end = start.plus(len);
        let top_chunk = (start <= top && top < end).then_some(top);
        let overlaps =
            |extent: &&mut Extent| extent.kind == ExtentKind::HeapSegment && extent.start < end && start < extent.end();
        if top_chunk.is_some() {
            // There is one top chunk in an arena.
            arena.extents.values_mut().for_each(|extent| extent.top_chunk = None);
        }
        if let Some(extent) = arena.extents.values_mut().find(overlaps) {
            extent.start = start;
            extent.len = len;
            extent.top_chunk = top_chunk;
            arena.measure_span();
            return;
        }
        // Another thread's block may have come first: then it was taken to lie in the whole mapping that the segment is in.
        let taken = |extent: &&mut Extent| extent.kind != ExtentKind::HeapSegment && extent.contains(start.0);
        if let Some(extent) = arena.extents.values_mut().find(taken) {
            let region = extent.region.take();
            (extent.kind, extent.start, extent.len) = (ExtentKind::HeapSegment, start, len);
            (extent.top_chunk, extent.presumed) = (top_chunk, false);
            if let Some(region) = region {
                arena.by_region.remove(&region);
            }
            arena.measure_span();
            self.loose.insert(id);
            return;
        }
        arena.add_extent(Extent {
            number: 0,
            start,
            len,
            kind: ExtentKind::HeapSegment,
            region: None,
            site: None,
            bottom: start,
            top: start,
            presumed: false,
            top_chunk,
            gone: None,
        });
        self.loose.insert(id);
    }

    /// The range of malloc's that a new block of it lies in; `None` when none was told.
    pub(crate) fn settle_segment(&mut self, id: ArenaId, address: Address, size: u64) -> Option<u32> {
        let arena = self.arena_mut(id)?;
        let of_thread = arena.malloc == Some(MallocKind::Thread);
        let end = address.plus(size);
        // A heap that has grown since it was last told: another thread will tell its new end.
        let holds = |extent: &&mut Extent| {
            let in_heap = extent.start.0 / HEAP_BYTES == address.0 / HEAP_BYTES && extent.start <= address;
            extent.kind == ExtentKind::HeapSegment && (extent.contains(address.0) || in_heap && of_thread)
        };
        let extent = arena.extents.values_mut().find(holds)?;
        extent.len = extent.len.max(end.0.saturating_sub(extent.start.0));
        let before = extent.high_water();
        let end = address.plus(size).min(extent.end());
        extent.top = extent.top.max(end);
        let (number, after) = (extent.number, extent.high_water());
        arena.span = arena.span.saturating_sub(before).saturating_add(after);
        Some(number)
    }

    /// The first block of an arena of malloc's tells where it was first asked for, and by whom.
    pub(crate) fn first_block(&mut self, call: Call, id: ArenaId) {
        if let Some(arena) = self.arena_mut(id) {
            arena.born_site = arena.born_site.or(call.site);
            arena.born_by = call.thread;
        }
    }

    /// True for an arena of malloc's.
    pub(crate) fn is_malloc(&self, id: ArenaId) -> bool {
        self.arena(id).is_some_and(|arena| arena.malloc.is_some())
    }

    /// A block of malloc's was handed out: what else was known of its bytes is past; an arena may move with it, when
    /// this is the second half of a realloc.
    pub(crate) fn malloc_block_begins(&mut self, call: Call, address: Address, size: u64, effect: &mut Effect) {
        let Some(end) = address.0.checked_add(size) else { return };
        if !self.reallocated(call, address.0, end, effect) {
            for stale in self.regions.heap_in(address.0, end) {
                self.strike_heap_block(call, stale, effect);
            }
        }
        let recent = &mut self.threads.entry(call.thread).or_default().recent_blocks;
        if recent.len() >= RECENT_BLOCKS {
            recent.pop_front();
        }
        recent.push_back((call.thread_event, address));
    }

    /// A block of malloc's was freed: the arenas in it go.
    pub(crate) fn malloc_block_ends(&mut self, call: Call, block: &Block, effect: &mut Effect) {
        if let Some(region) = self.regions.heap_block(block.address.0).cloned() {
            self.strike_heap_block(call, region.id, effect);
            self.remember_freed(call, region, effect);
        } else {
            let (start, end) = (block.address.0, block.end().0);
            self.strike_objects(call, start, end, Ending::HeapFreed, How::HeapFreed, effect);
        }
    }

    /// Makes a region of the block of malloc's that holds the byte at `address`, unless it is one. `None`: no living
    /// block of malloc's holds it.
    pub(crate) fn region_of_block(&mut self, address: Address) -> Option<RegionId> {
        let block = self.malloc_arenas.iter().find_map(|id| {
            let arena = self.arena(*id)?;
            let placement = *arena.living.overlapping(address, 1).first()?;
            arena.living.get(placement)
        })?;
        if let Some(known) = self.regions.heap_block(block.address.0) {
            return Some(known.id);
        }
        let (start, len) = (block.address.0, block.size);
        let (born, site, thread, inherited) = (block.born, block.site, block.thread, block.inherited);
        let origin = Origin { born, site, thread, inherited, shared: false };
        Some(self.regions.add(RegionKind::HeapBlock, start, len, origin))
    }

    /// Before a block of another arena than malloc's finds its extent: the block of malloc's that it lies in is known
    /// as a region.
    pub(crate) fn look_into_malloc(&mut self, id: ArenaId, address: Address) {
        if self.malloc_arenas.is_empty() {
            return;
        }
        let known = |extent: &Extent| extent.region.is_some() && !extent.presumed && extent.contains(address.0);
        if !self.arena(id).is_some_and(|arena| arena.extents.values().any(known)) {
            self.region_of_block(address);
        }
    }

    /// The blocks of malloc's that a thread got while `inside` holds become regions, those of at least `size` bytes.
    pub(crate) fn look_into_recent(&mut self, call: Call, size: u64, inside: impl Fn(u64) -> bool) {
        let Some(thread) = self.threads.get(&call.thread) else { return };
        let recent: Vec<(u64, Address)> =
            thread.recent_blocks.iter().filter(|(index, _)| inside(*index)).copied().collect();
        for (index, address) in recent {
            let Some(region) = self.region_of_block(address) else { continue };
            if self.regions.get(region).is_none_or(|region| region.len < size) {
                continue;
            }
            let regions = &mut self.threads.entry(call.thread).or_default().recent;
            if regions.iter().all(|(_, known)| *known != region) {
                regions.push_back((index, region));
            }
        }
    }
}

//! What happens to the memory under the arenas: mappings and malloc blocks come, go, shrink and move.
//!
//! Rules. Memory that goes takes the blocks that touch it. An arena that had extents and has none left has ended (but not
//! an allocator such as malloc, which gives memory back when its last block was freed: [`Arena`] knows), and so has one
//! whose arena object lay in the memory that went (nobody can call it any more). An mmap over a mapping we know means
//! that an munmap was not seen. A mapping that mremap moves takes its arenas, their blocks and their objects along.
//! Absent on purpose: the arenas' own events (`calls`).

use crate::arena::{Arena, ArenaId, Ending, Extent, ExtentKind};
use crate::blocks::How;
use crate::effect::{Died, Effect, What};
use crate::regions::{Cut, Origin, RegionId, RegionKind, pages};
use crate::replay::{Call, Replay, bury};
use crate::state::State;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use arenascope_event::{Address, EventNumber};
use core::ops::Range;

/// A block of unknown memory joins the extent of its neighbours when it is no further away than this.
pub(crate) const NEIGHBOUR_BYTES: u64 = 64 * 1024;

/// Regions remembered per thread, for the create call that got them.
const RECENT_REGIONS: usize = 8;

impl Replay {
    pub(crate) fn map(&mut self, call: Call, address: Address, len: u64, flags: u32, observed: bool) -> Effect {
        let Some((start, end)) = pages(address.0, len) else { return Effect::nothing() };
        let mut effect = Effect::of(What::Memory);
        if observed {
            // The memory map shows what we may know better already.
            if self.state.regions.mappings_in(start, end).is_empty() {
                let origin = Origin { shared: is_shared(flags), ..origin(call) };
                self.state.regions.add(RegionKind::Observed, start, end - start, origin);
            }
        } else {
            self.state.strike_mappings(call, start, end, &mut effect);
            let region = self.state.new_region(call, RegionKind::Mapping, start, end - start);
            self.state.mark_shared(region, is_shared(flags));
        }
        finish(effect)
    }

    pub(crate) fn unmap(&mut self, call: Call, address: Address, len: u64) -> Effect {
        let Some((start, end)) = pages(address.0, len) else { return Effect::nothing() };
        let mut effect = Effect::of(What::Memory);
        self.state.strike_mappings(call, start, end, &mut effect);
        finish(effect)
    }

    pub(crate) fn heap_alloc(&mut self, call: Call, address: Address, size: u64) -> Effect {
        let mut effect = Effect::of(What::Memory);
        let Some(end) = address.0.checked_add(size) else { return finish(effect) };
        // A forked child's recorder lists the malloc blocks it inherited; a call always has a site.
        let inherited = self.ground.forked && call.site.is_none();
        let known = self.state.regions.heap_block(address.0).is_some_and(|region| region.len == size);
        if inherited && known {
            return finish(effect);
        }
        if self.state.reallocated(call, address.0, end, &mut effect) {
            return finish(effect);
        }
        // Whatever we knew here was freed unseen.
        let mut stale = self.state.regions.heap_in(address.0, end);
        if size == 0 {
            stale.extend(self.state.regions.heap_block(address.0).map(|region| region.id));
        }
        for region in stale {
            self.state.strike_heap_block(call, region, &mut effect);
        }
        if size > 0 {
            let region = self.state.new_region(call, RegionKind::HeapBlock, address.0, size);
            if let Some(region) = self.state.regions.get_mut(region) {
                region.inherited = inherited;
            }
        }
        finish(effect)
    }

    pub(crate) fn heap_free(&mut self, call: Call, address: Address) -> Effect {
        let mut effect = Effect::of(What::Memory);
        if let Some(region) = self.state.regions.heap_block(address.0).cloned() {
            self.state.strike_heap_block(call, region.id, &mut effect);
            self.state.remember_freed(call, region, &effect);
        }
        finish(effect)
    }

    pub(crate) fn remap(&mut self, call: Call, old: Address, old_len: u64, new: Address, new_len: u64) -> Effect {
        let mut effect = Effect::of(What::Memory);
        let Some((new_start, new_end)) = pages(new.0, new_len) else { return finish(effect) };
        let state = &mut self.state;
        let Some((old_start, old_end)) = pages(old.0, old_len) else {
            // An old length of 0 makes a second view of a shared mapping: a new mapping like any other.
            state.strike_mappings(call, new_start, new_end, &mut effect);
            let region = state.new_region(call, RegionKind::Mapping, new_start, new_end - new_start);
            state.mark_shared(region, true);
            return finish(effect);
        };
        let (old_bytes, new_bytes) = (old_end - old_start, new_end - new_start);
        if new_bytes < old_bytes {
            state.strike_mappings(call, old_start + new_bytes, old_end, &mut effect);
        }
        let kept_end = old_start + old_bytes.min(new_bytes);
        let whole = state.regions.holding_mapping(old_start).filter(|(_, start, end)| {
            let same_start = *start == old_start;
            (same_start || new_start == old_start) && *end == kept_end
        });
        match whole {
            Some((region, start, _)) if new_start == old_start => {
                state.strike_mappings(call, kept_end, new_end, &mut effect);
                state.relocate(call, region, start..kept_end, start, new_end - start);
            }
            Some((region, ..)) if new_end <= old_start || kept_end <= new_start => {
                state.strike_mappings(call, new_start, new_end, &mut effect);
                state.relocate(call, region, old_start..kept_end, new_start, new_bytes);
            }
            _ if new_start == old_start => {
                // A mapping we do not know, or not as it is: only what is new about it is certain.
                state.strike_mappings(call, kept_end, new_end, &mut effect);
                if kept_end < new_end {
                    state.new_region(call, RegionKind::Mapping, kept_end, new_end - kept_end);
                }
            }
            _ => {
                // Only a part of a mapping moved, or one we do not know: its blocks lost their addresses anyway.
                state.strike_mappings(call, old_start, kept_end, &mut effect);
                state.strike_mappings(call, new_start, new_end, &mut effect);
                state.new_region(call, RegionKind::Mapping, new_start, new_bytes);
            }
        }
        finish(effect)
    }
}

fn origin(call: Call) -> Origin {
    Origin { born: call.moment, site: call.site, thread: call.thread, inherited: false, shared: false }
}

/// MAP_SHARED or MAP_SHARED_VALIDATE among the flags of mmap (include/uapi/linux/mman.h).
fn is_shared(flags: u32) -> bool {
    matches!(flags & 0xf, 1 | 3)
}

fn finish(mut effect: Effect) -> Effect {
    effect.ended.sort_unstable();
    effect
}

impl State {
    fn mark_shared(&mut self, region: RegionId, shared: bool) {
        if let Some(region) = self.regions.get_mut(region) {
            region.shared = shared;
        }
    }

    fn new_region(&mut self, call: Call, kind: RegionKind, start: u64, len: u64) -> RegionId {
        let region = self.regions.add(kind, start, len, origin(call));
        let recent = &mut self.threads.entry(call.thread).or_default().recent;
        if recent.len() >= RECENT_REGIONS {
            recent.pop_front();
        }
        recent.push_back((call.thread_event, region));
        region
    }

    /// The range `start..end` of the mappings goes.
    fn strike_mappings(&mut self, call: Call, start: u64, end: u64, effect: &mut Effect) {
        if start >= end {
            return;
        }
        let cuts = self.regions.cut_mappings(start, end);
        let mut known: u64 = 0;
        for cut in &cuts {
            known = known.saturating_add(cut.end - cut.start);
            for user in &cut.users {
                self.cut_extent(call, *user, cut, effect);
            }
        }
        if known < end - start {
            self.strike_loose(call, start, end, effect);
        }
        self.strike_objects(call, start, end, Ending::Unmapped, How::Unmapped, effect);
    }

    pub(crate) fn strike_heap_block(&mut self, call: Call, region: RegionId, effect: &mut Effect) {
        let Some(region) = self.regions.remove(region) else { return };
        let (start, end) = (region.start.0, region.end().0);
        let cut =
            Cut { region: region.id, start, end, left: false, right: None, users: region.users().collect::<Vec<_>>() };
        for user in &cut.users {
            self.cut_extent(call, *user, &cut, effect);
        }
        self.strike_objects(call, start, end, Ending::HeapFreed, How::HeapFreed, effect);
    }

    /// One arena loses a part of one of its extents, or the whole.
    pub(crate) fn cut_extent(&mut self, call: Call, id: ArenaId, cut: &Cut, effect: &mut Effect) {
        let Some(arena) = self.arena_mut(id) else { return };
        let extent = arena.by_region.get(&cut.region).and_then(|number| arena.extents.get(number));
        let Some((number, kind)) = extent.map(|extent| (extent.number, extent.kind)) else { return };
        let (how, ending) = match kind {
            ExtentKind::HeapBlock => (How::HeapFreed, Ending::HeapFreed),
            _ => (How::Unmapped, Ending::Unmapped),
        };
        let mut struck = arena.living.touching(cut.start, cut.end);
        if cut.right.is_none() {
            struck.extend(arena.living.empty_at(cut.end, number));
        }
        strike_blocks(arena, call, struck, how, &mut effect.died);
        arena.cut(cut, call.moment);
        if arena.extents.is_empty() && !arena.outlives_memory() {
            self.end_struck(call, id, ending, how, effect);
        }
    }

    /// Extents whose bounds are only blocks: they go when the struck range holds them whole.
    fn strike_loose(&mut self, call: Call, start: u64, end: u64, effect: &mut Effect) {
        let loose: Vec<ArenaId> = self.loose.iter().copied().collect();
        for id in loose {
            let Some(arena) = self.arena(id) else { continue };
            let touched = |extent: &&Extent| {
                extent.region.is_none() && extent.start.0 < end && start < extent.end().0.max(extent.start.plus(1).0)
            };
            if arena.extents.values().find(touched).is_none() {
                continue;
            }
            let Some(arena) = self.arena_mut(id) else { continue };
            let struck = arena.living.touching(start, end);
            strike_blocks(arena, call, struck, How::Unmapped, &mut effect.died);
            // An empty block at the very end of an extent touches nothing of it, and keeps it.
            let inhabited: BTreeSet<u32> = arena.living.iter().map(|block| block.extent).collect();
            let whole = |extent: &&Extent| extent.region.is_none() && start <= extent.start.0 && extent.end().0 <= end;
            let gone: Vec<u32> = arena.extents.values().filter(whole).map(|extent| extent.number).collect();
            for number in gone.into_iter().filter(|number| !inhabited.contains(number)) {
                arena.drop_extent(number, call.moment);
            }
            if arena.extents.is_empty() && !arena.outlives_memory() {
                self.end_struck(call, id, Ending::Unmapped, How::Unmapped, effect);
            } else if arena.extents.values().all(|extent| extent.region.is_some()) {
                self.loose.remove(&id);
            }
        }
    }

    /// Arenas whose object lay in the memory that went.
    pub(crate) fn strike_objects(
        &mut self,
        call: Call,
        start: u64,
        end: u64,
        ending: Ending,
        how: How,
        effect: &mut Effect,
    ) {
        let first = (start, ArenaId(0));
        let last = (end, ArenaId(0));
        let lost: Vec<ArenaId> = self.objects.range(first..last).map(|(_, id)| *id).collect();
        for id in lost {
            self.end_struck(call, id, ending, how, effect);
        }
    }

    fn end_struck(&mut self, call: Call, id: ArenaId, ending: Ending, how: How, effect: &mut Effect) {
        if self.arena(id).is_some_and(Arena::is_alive) {
            let died = self.end_arena(call, id, ending, how);
            effect.died.blocks = effect.died.blocks.saturating_add(died.blocks);
            effect.died.bytes = effect.died.bytes.saturating_add(died.bytes);
            effect.ended.push(id);
        }
    }

    /// The region at `from` moves to `to` and becomes `len` bytes long, with all that lives in it.
    pub(crate) fn relocate(&mut self, call: Call, region: RegionId, from: Range<u64>, to: u64, len: u64) {
        let Range { start, end } = from;
        self.regions.relocate(region, to, len);
        let users: Vec<ArenaId> = self.regions.get(region).map(|region| region.users().collect()).unwrap_or_default();
        for id in users {
            if let Some(arena) = self.arena_mut(id) {
                arena.relocate(call, region, start..end, to, len);
            }
        }
        if start == to {
            return;
        }
        let moved: Vec<(u64, ArenaId)> = self.objects.range((start, ArenaId(0))..(end, ArenaId(0))).copied().collect();
        for (object, id) in moved {
            let there = (object - start).saturating_add(to);
            self.objects.remove(&(object, id));
            self.objects.insert((there, id));
            let Some(arena) = self.arena_mut(id) else { continue };
            arena.object = Address(there);
            let key = arena.key;
            if self.unbound.get(&object) == Some(&id) {
                self.unbound.remove(&object);
            }
            if let Some(known) = self.keys.get_mut(&key)
                && known.living == Some(id)
            {
                known.living = None;
            }
            self.unbound.insert(there, id);
        }
    }
}

/// Kills blocks, given by placement; they stay in the portrait until the arena's next own event.
fn strike_blocks(arena: &mut Arena, call: Call, struck: Vec<u64>, how: How, died: &mut Died) {
    let struck = struck.into_iter().filter_map(|placement| arena.living.remove(placement)).collect();
    let dead = bury(died, struck, call.moment, how);
    arena.fallen.extend(dead);
}

impl Arena {
    /// Takes an extent out; it stays in the portrait until the next own event.
    fn drop_extent(&mut self, number: u32, moment: EventNumber) {
        if let Some(mut extent) = self.extents.remove(&number) {
            if let Some(region) = extent.region {
                self.by_region.remove(&region);
            }
            self.span = self.span.saturating_sub(extent.high_water());
            extent.gone = Some(moment);
            self.fallen_extents.push(extent);
        }
    }

    fn cut(&mut self, cut: &Cut, moment: EventNumber) {
        let Some(number) = self.by_region.get(&cut.region).copied() else { return };
        if !cut.left && cut.right.is_none() {
            self.drop_extent(number, moment);
            return;
        }
        let Some(mut extent) = self.extents.remove(&number) else { return };
        let mut upper = None;
        if let Some((region, len)) = cut.right {
            let mut above = extent.clone();
            above.start = Address(cut.end);
            above.len = len;
            above.region = Some(region);
            above.bottom = above.bottom.max(above.start);
            above.top = above.top.max(above.start);
            if cut.left {
                above.number = self.next_extent;
                self.next_extent = self.next_extent.saturating_add(1);
                self.by_region.insert(region, above.number);
                for block in self.living.iter_mut() {
                    if block.extent == number && block.address >= above.start {
                        block.extent = above.number;
                    }
                }
            }
            upper = Some(above);
        }
        if cut.left {
            extent.len = cut.start.saturating_sub(extent.start.0);
            extent.bottom = extent.bottom.min(extent.end());
            extent.top = extent.top.min(extent.end());
            self.extents.insert(number, extent);
        }
        if let Some(upper) = upper {
            self.extents.insert(upper.number, upper);
        }
        self.measure_span();
    }

    fn relocate(&mut self, call: Call, region: RegionId, from: Range<u64>, to: u64, len: u64) {
        let Range { start, end } = from;
        let Some(extent) = self.by_region.get(&region).and_then(|number| self.extents.get_mut(number)) else { return };
        let number = extent.number;
        let there = |address: Address| Address((address.0.saturating_sub(start)).saturating_add(to));
        extent.start = Address(to);
        extent.len = len;
        extent.bottom = there(extent.bottom);
        extent.top = there(extent.top);
        if start != to {
            let struck = self.living.shift(start, end, to, number);
            self.fallen.extend(bury(&mut Died::default(), struck, call.moment, How::Overwritten));
        }
    }

    /// The span from scratch: needed where extents were split or joined.
    pub(crate) fn measure_span(&mut self) {
        self.span = self.extents.values().fold(0, |sum, extent| sum.saturating_add(extent.high_water()));
    }
}

//! The arenas' own events: create, alloc, resize, free, mark, rewind, reset, destroy; of our own library also the begin and end of scopes,
//! what its header says of its bounds, and how it is checked.
//!
//! Rules. The first alloc, resize or mark on a key without a living arena is an arena's birth; a free, rewind, reset
//! or destroy there is an anomaly and no birth. A create is a birth, and the end of what lived under the key before,
//! unless that was born inside this very call. A NULL changes nothing but counts. A new block kills the living ones
//! it overlaps. An alloc function that calls another one and returns its block makes one block, not two. An arena that
//! a create function returned by value may be copied before it is used: nobody tells us, but the first block handed out
//! for an object not known so far then lies in the memory that the create call got, and the arena is at that object.
//! Absent on purpose: memory under the arenas (`memory`), the meaning of saved cursors (`cursor`).

use crate::anomaly::{Anomaly, AnomalyKind};
use crate::arena::{
    Arena, ArenaId, Born, Bounds, Created, Ending, Extent, ExtentKind, LastAlloc, LastFree, Mark, Peak, Refusal,
};
use crate::blocks::{Block, How};
use crate::cursor;
use crate::effect::{Effect, What};
use crate::memory::NEIGHBOUR_BYTES;
use crate::regions::{Region, RegionId, RegionKind};
use crate::replay::{Call, Ground, Replay, bury, on};
use crate::state::{LastRefusal, State};
use alloc::borrow::ToOwned;
use alloc::vec::Vec;
use arenascope_event::{Address, ArenaKey, BoundsKind, Checking, EventNumber, MarkValue, Role};
use core::cmp::Reverse;

/// A growing arena is drawn in whole pages.
const PAGE_BYTES: u64 = 4096;
/// Marks kept per arena; when there are more, the older half is forgotten.
const MARKS_KEPT: usize = 4096;

/// Whether an event may be the birth of an arena.
#[derive(Clone, Copy, Debug)]
enum Births {
    /// Yes; the block it hands out, or the mark (of which nobody knows whether it is an address).
    At(Address),
    /// No.
    Never,
}

impl Replay {
    pub(crate) fn create(
        &mut self,
        call: Call,
        key: ArenaKey,
        size: Option<u64>,
        parent: Option<ArenaKey>,
        name: Option<&str>,
        nested: u64,
    ) -> Effect {
        let before = call.thread_event.saturating_sub(1).saturating_sub(call.announced);
        let inside = |index: u64| index > before.saturating_sub(nested) && index <= before;
        let living = self.state.living_of(key).or_else(|| self.rebind(key));
        let adopted = living.filter(|id| {
            self.state.arena(*id).is_some_and(|arena| arena.born_by == call.thread && inside(arena.birth_thread_event))
        });
        let mut effect = Effect::of(What::Created { adopted: adopted.is_some() });
        let id = match adopted {
            Some(id) => id,
            None => {
                if let Some(previous) = living.filter(|id| !self.leave_copied(key, *id)) {
                    effect.died = self.state.end_arena(call, previous, Ending::Replaced, How::Replaced);
                    effect.ended.push(previous);
                }
                let Some(id) = self.birth(call, key, true) else { return effect };
                effect.born = true;
                id
            }
        };
        effect.arena = Some(id);
        let parent = parent.and_then(|parent| self.state.living_of(parent)).filter(|parent| *parent != id);
        let Some(arena) = self.state.arena_mut(id) else { return effect };
        touch(arena, call);
        // Where one create function calls another, the inner one knows the size best and the outer one the caller.
        let inner = arena.created;
        let size = inner.and_then(|created| created.size).or(size);
        arena.created = Some(Created { moment: call.moment, site: call.site, thread: call.thread, size });
        arena.born = Born::Explicit(call.moment);
        arena.born_site = call.site;
        arena.parent = arena.parent.or(parent);
        if let Some(name) = name.filter(|name| !name.is_empty()) {
            arena.name = name.to_owned();
        }
        if arena.extents.is_empty() && arena.counts.allocs == 0 {
            self.state.presume_extent(call, id, size.unwrap_or(0), inside);
        }
        effect
    }

    pub(crate) fn alloc(
        &mut self,
        call: Call,
        key: ArenaKey,
        address: Address,
        size: u64,
        align: Option<u64>,
    ) -> Effect {
        let Some((id, born)) = self.own(call, key, Births::At(address)) else { return Effect::of(What::NoArena) };
        let mut effect = on(id, What::Allocated);
        effect.born = born;
        if address.is_null() {
            self.refuse(call, id, size);
            effect.what = What::Refused;
            return effect;
        }
        if self.state.is_malloc(id) {
            self.state.malloc_block_begins(call, address, size, &mut effect);
            if born || self.state.arena(id).is_some_and(|arena| arena.counts.allocs == 0) {
                self.state.first_block(call, id);
            }
            let mut effect = self.place_block(call, id, address, size, align, effect);
            effect.ended.sort_unstable();
            return effect;
        }
        if let Some((from, block)) = self.hand_on(call, id, address, size, align) {
            effect.what = What::HandedOn { from };
            return self.with_block(effect, block);
        }
        self.place_block(call, id, address, size, align, effect)
    }

    /// An ordinary new block.
    fn place_block(
        &mut self,
        call: Call,
        id: ArenaId,
        address: Address,
        size: u64,
        align: Option<u64>,
        mut effect: Effect,
    ) -> Effect {
        let state = &mut self.state;
        let Some(number) = state.arena(id).map(|arena| arena.next_number) else { return effect };
        state.overwrite(call, id, address, size, number, &mut effect);
        let extent = state.settle(&self.ground, id, address, size);
        let Some(arena) = state.arena_mut(id) else { return effect };
        let placement = arena.next_placement;
        arena.next_number = number.saturating_add(1);
        arena.next_placement = placement.saturating_add(1);
        let block = Block {
            number,
            address,
            size,
            align,
            extent,
            site: call.site,
            thread: call.thread,
            born: call.moment,
            resized: None,
            inherited: false,
            died: None,
            placement,
        };
        arena.living.insert(block.clone());
        arena.counts.allocs = arena.counts.allocs.saturating_add(1);
        arena.counts.bytes = arena.counts.bytes.saturating_add(size);
        arena.last_alloc = Some(LastAlloc { placement, thread: call.thread, told: call.told, site: call.site });
        note_peak(arena, call.moment);
        self.with_block(effect, block)
    }

    /// The previous event of this thread was an alloc inside this very call, and this call returns (a part of) its
    /// block: the block is the outer caller's. Returns the inner site and the block.
    fn hand_on(
        &mut self,
        call: Call,
        id: ArenaId,
        address: Address,
        size: u64,
        align: Option<u64>,
    ) -> Option<(Option<arenascope_event::SiteId>, Block)> {
        let ground = &self.ground;
        let arena = self.state.arena_mut(id)?;
        let last = arena.last_alloc.filter(|last| follows(last.thread, last.told, call, 1))?;
        let inner = arena.living.get(last.placement)?;
        let end = address.0.checked_add(size)?;
        let within = inner.address <= address && end <= inner.end().0;
        if !within || !ground.encloses(call.site, last.site) {
            return None;
        }
        let mut block = arena.living.remove(last.placement)?;
        block.address = address;
        block.size = size;
        block.align = align.or(block.align);
        block.site = call.site;
        block.born = call.moment;
        arena.living.insert(block.clone());
        arena.last_alloc = Some(LastAlloc { told: call.told, site: call.site, ..last });
        Some((last.site, block))
    }

    fn refuse(&mut self, call: Call, id: ArenaId, size: u64) {
        let ground = &self.ground;
        let thread = self.state.threads.entry(call.thread).or_default();
        let repeated = thread.last_refusal.is_some_and(|last| {
            last.arena == id && follows(call.thread, last.told, call, 1) && ground.encloses(call.site, last.site)
        });
        let Some(arena) = self.state.arena_mut(id) else { return };
        let refusal = Refusal { moment: call.moment, site: call.site, size };
        if repeated {
            // The outer function hands the inner one's NULL on: the same refusal, seen from its caller.
            if arena.counts.refused == 1 {
                arena.first_refusal = Some(refusal);
            }
        } else {
            arena.counts.refused = arena.counts.refused.saturating_add(1);
            arena.first_refusal.get_or_insert(refusal);
        }
        let last = LastRefusal {
            moment: call.moment,
            arena: id,
            site: call.site,
            size,
            live_bytes: arena.live_bytes(),
            capacity: arena.capacity(),
            told: call.told,
        };
        self.state.threads.entry(call.thread).or_default().last_refusal = Some(last);
    }

    pub(crate) fn resize(&mut self, call: Call, key: ArenaKey, old: Address, new: Address, size: u64) -> Effect {
        let births = if !new.is_null() || old.is_null() { Births::At(new) } else { Births::Never };
        let Some((id, born)) = self.own(call, key, births) else {
            return self.no_arena(call, Role::Resize);
        };
        let mut effect = on(id, What::Allocated);
        effect.born = born;
        let known = self.state.arena(id).and_then(|arena| arena.living.starting_at(old)).filter(|_| !old.is_null());
        if new.is_null() {
            // As in realloc, a size of 0 gives the block back; otherwise it was refused and the old block stands.
            if size == 0 && known.is_some() {
                return self.free(call, key, old);
            }
            effect.what = What::Refused;
            self.refuse(call, id, size);
            return effect;
        }
        let inner = self.inner_of_resize(call, id, new);
        match (known, inner) {
            (Some(placement), inner) => {
                if let (Some(inner), Some(arena)) =
                    (inner.filter(|inner| *inner != placement), self.state.arena_mut(id))
                {
                    take_back(arena, inner);
                }
                self.resize_block(call, id, placement, new, size, effect)
            }
            (None, Some(placement)) => {
                // Resized by alloc and free of its own: the new block is there already.
                let Some(arena) = self.state.arena_mut(id) else { return effect };
                let Some(mut block) = arena.living.remove(placement) else { return effect };
                let from = block.site;
                block.site = call.site;
                arena.living.insert(block.clone());
                effect.what = What::HandedOn { from };
                self.with_block(effect, block)
            }
            (None, None) => {
                if !old.is_null() {
                    self.anomaly(call, Some(id), AnomalyKind::ResizeOfUnknown { address: old });
                }
                self.place_block(call, id, new, size, None, effect)
            }
        }
    }

    /// The block at `new`, when an alloc inside this very resize call made it.
    fn inner_of_resize(&self, call: Call, id: ArenaId, new: Address) -> Option<u64> {
        let arena = self.state.arena(id)?;
        // The alloc, then perhaps a free of the old block, then this event.
        let last = arena.last_alloc.filter(|last| follows(last.thread, last.told, call, 2))?;
        let placement = arena.living.starting_at(new)?;
        let inside = self.ground.encloses(call.site, last.site);
        if placement == last.placement && inside { Some(placement) } else { None }
    }

    fn resize_block(
        &mut self,
        call: Call,
        id: ArenaId,
        placement: u64,
        new: Address,
        size: u64,
        mut effect: Effect,
    ) -> Effect {
        let state = &mut self.state;
        let Some(mut block) = state.arena_mut(id).and_then(|arena| arena.living.remove(placement)) else {
            return effect;
        };
        let moved = block.address != new;
        effect.before = Some(block.clone());
        state.overwrite(call, id, new, size, block.number, &mut effect);
        block.extent = state.settle(&self.ground, id, new, size);
        let Some(arena) = state.arena_mut(id) else { return effect };
        block.address = new;
        block.size = size;
        block.resized = Some(call.moment);
        if moved {
            block.placement = arena.next_placement;
            arena.next_placement = arena.next_placement.saturating_add(1);
            arena.counts.moves = arena.counts.moves.saturating_add(1);
        }
        arena.counts.resizes = arena.counts.resizes.saturating_add(1);
        arena.living.insert(block.clone());
        arena.last_alloc = None;
        note_peak(arena, call.moment);
        effect.what = What::Resized { moved };
        self.with_block(effect, block)
    }

    pub(crate) fn free(&mut self, call: Call, key: ArenaKey, address: Address) -> Effect {
        if address.is_null() {
            return Effect { arena: self.state.living_of(key), ..Effect::nothing() };
        }
        let Some((id, _)) = self.own(call, key, Births::Never) else { return self.no_arena(call, Role::Free) };
        let mut effect = on(id, What::Freed);
        let ground = &self.ground;
        let Some(arena) = self.state.arena_mut(id) else { return effect };
        let Some(block) = arena.living.take_starting_at(address) else {
            // A free function that calls another one on the same block gives it back once.
            let outer = arena.last_free.is_some_and(|last| {
                last.address == address
                    && follows(last.thread, last.told, call, 1)
                    && ground.encloses(last.site, call.site)
            });
            if outer {
                // An inner one of the inner one follows this one.
                arena.last_free = arena.last_free.map(|last| LastFree { told: call.told, ..last });
                effect.what = What::Nothing;
            } else {
                self.anomaly(call, Some(id), AnomalyKind::FreeOfUnknown { address });
            }
            return effect;
        };
        effect.place = Some(arena.place(&block));
        effect.block = bury(&mut effect.died, Vec::from([block]), call.moment, How::Freed).pop();
        arena.counts.frees = arena.counts.frees.saturating_add(1);
        arena.last_free = Some(LastFree { address, thread: call.thread, told: call.told, site: call.site });
        if arena.malloc.is_some()
            && let Some(block) = effect.block.take()
        {
            self.state.malloc_block_ends(call, &block, &mut effect);
            effect.ended.sort_unstable();
            effect.block = Some(block);
        }
        effect
    }

    pub(crate) fn mark(&mut self, call: Call, key: ArenaKey, value: MarkValue) -> Effect {
        let Some((id, born)) = self.own(call, key, Births::At(Address(value.0))) else {
            return Effect::of(What::NoArena);
        };
        let effect = Effect { born, ..on(id, What::Marked) };
        let Some(arena) = self.state.arena_mut(id) else { return effect };
        arena.counts.marks = arena.counts.marks.saturating_add(1);
        let placement = arena.next_placement.saturating_sub(1);
        let mark = Mark { value, moment: call.moment, site: call.site, placement };
        match arena.marks.last_mut() {
            // The same cursor saved again: one mark is enough, or loops would pile them up.
            Some(last) if last.value == value && last.placement == placement => *last = mark,
            _ => {
                if arena.marks.len() >= MARKS_KEPT {
                    arena.marks.drain(..MARKS_KEPT / 2);
                }
                arena.marks.push(mark);
            }
        }
        effect
    }

    pub(crate) fn rewind(&mut self, call: Call, key: ArenaKey, mark: MarkValue) -> Effect {
        let Some((id, _)) = self.own(call, key, Births::Never) else { return self.no_arena(call, Role::Rewind) };
        let mut effect = on(id, What::Rewound);
        let Some(arena) = self.state.arena_mut(id) else { return effect };
        arena.counts.rewinds = arena.counts.rewinds.saturating_add(1);
        arena.generation = arena.generation.saturating_add(1);
        match cursor::rewind(arena, mark) {
            Some(blocks) => effect.dead = bury(&mut effect.died, blocks, call.moment, How::Rewound),
            None => self.anomaly(call, Some(id), AnomalyKind::RewindToUnknown { mark }),
        }
        effect
    }

    /// A scope began: a mark that only its end goes back to.
    pub(crate) fn scope_enter(&mut self, call: Call, key: ArenaKey, cursor: Address) -> Effect {
        let Some((id, born)) = self.own(call, key, Births::At(cursor)) else { return Effect::of(What::NoArena) };
        let effect = Effect { born, ..on(id, What::ScopeBegan) };
        let Some(arena) = self.state.arena_mut(id) else { return effect };
        arena.counts.scopes = arena.counts.scopes.saturating_add(1);
        let placement = arena.next_placement.saturating_sub(1);
        let mark = Mark { value: MarkValue(cursor.0), moment: call.moment, site: call.site, placement };
        if arena.marks.len() >= MARKS_KEPT {
            arena.marks.drain(..MARKS_KEPT / 2);
        }
        arena.marks.push(mark);
        effect
    }

    /// A scope ended. Everything above the cursor dies; the borrow checker lets scopes end in order only.
    pub(crate) fn scope_exit(&mut self, call: Call, key: ArenaKey, cursor: Address) -> Effect {
        let Some((id, _)) = self.own(call, key, Births::Never) else { return self.no_arena(call, Role::Rewind) };
        let mut effect = on(id, What::ScopeEnded);
        let Some(arena) = self.state.arena_mut(id) else { return effect };
        arena.generation = arena.generation.saturating_add(1);
        let blocks = cursor::scope_end(arena, cursor.0);
        effect.dead = bury(&mut effect.died, blocks, call.moment, How::Rewound);
        effect
    }

    /// The header of an arena of our library says where its blocks lie.
    pub(crate) fn bounds(&mut self, call: Call, key: ArenaKey, bounds: Bounds) -> Effect {
        let Some((id, born)) = self.own(call, key, Births::At(bounds.base)) else { return Effect::of(What::NoArena) };
        let effect = Effect { born, arena: Some(id), ..Effect::nothing() };
        self.state.drop_presumed(id);
        let Some(arena) = self.state.arena_mut(id) else { return effect };
        if bounds.kind == BoundsKind::Copied {
            arena.copied = true;
            return effect;
        }
        if !bounds.kind.is_plot() || arena.bounds.is_none() {
            arena.bounds = Some(bounds);
        }
        let len = if bounds.kind == BoundsKind::Growing { 0 } else { bounds.capacity };
        let kind = if bounds.kind.is_plot() { ExtentKind::Plot } else { ExtentKind::Payload };
        let found = arena.extents.values_mut().find(|extent| match kind {
            // Plots that follow each other are one extent.
            ExtentKind::Plot => extent.kind == kind && extent.end() == bounds.base,
            _ => extent.kind == kind && extent.start == bounds.base,
        });
        match found {
            Some(extent) if kind == ExtentKind::Plot => extent.len = extent.len.saturating_add(len),
            // A lease that became longer.
            Some(extent) => extent.len = extent.len.max(len),
            None => {
                arena.add_extent(Extent {
                    number: 0,
                    start: bounds.base,
                    len,
                    kind,
                    region: None,
                    site: call.site,
                    bottom: bounds.base,
                    top: bounds.base,
                    presumed: false,
                    top_chunk: None,
                    gone: None,
                });
            }
        }
        effect
    }

    /// Check mode looks after the arena, or says why not.
    pub(crate) fn checked(&mut self, call: Call, key: ArenaKey, how: Checking) -> Effect {
        let Some((id, born)) = self.own(call, key, Births::At(Address::NULL)) else { return Effect::of(What::NoArena) };
        if let Some(arena) = self.state.arena_mut(id) {
            arena.checking = Some(how);
        }
        Effect { born, arena: Some(id), ..Effect::nothing() }
    }

    pub(crate) fn reset(&mut self, call: Call, key: ArenaKey) -> Effect {
        let Some((id, _)) = self.own(call, key, Births::Never) else { return self.no_arena(call, Role::Reset) };
        let mut effect = on(id, What::Reset);
        let Some(arena) = self.state.arena_mut(id) else { return effect };
        arena.counts.resets = arena.counts.resets.saturating_add(1);
        arena.generation = arena.generation.saturating_add(1);
        arena.marks.clear();
        let blocks = arena.living.take_all();
        if arena.bounds.is_some_and(|bounds| bounds.kind == BoundsKind::Lease) {
            // A reset of a shared arena takes all leases back: the same bytes may be another thread's next.
            arena.extents.retain(|_, extent| extent.kind != ExtentKind::Payload);
            arena.measure_span();
        }
        effect.dead = bury(&mut effect.died, blocks, call.moment, How::Reset);
        effect
    }

    pub(crate) fn destroy(&mut self, call: Call, key: ArenaKey) -> Effect {
        let Some(id) = self.state.living_of(key).or_else(|| self.rebind(key)) else {
            return self.no_arena(call, Role::Destroy);
        };
        let mut effect = on(id, What::Destroyed);
        if let Some(arena) = self.state.arena_mut(id) {
            arena.threads.insert(call.thread);
        }
        effect.died = self.state.end_arena(call, id, Ending::Destroyed, How::Destroyed);
        effect.ended.push(id);
        effect
    }

    /// The living arena of an own event, and whether this event is its birth.
    fn own(&mut self, call: Call, key: ArenaKey, births: Births) -> Option<(ArenaId, bool)> {
        let living = self.state.living_of(key).or_else(|| self.rebind(key));
        let (id, born) = match (living, births) {
            (Some(id), _) => (id, false),
            (None, Births::At(address)) => match self.copied(key, address) {
                Some(id) => (id, false),
                None => (self.birth(call, key, false)?, true),
            },
            (None, Births::Never) => return None,
        };
        touch(self.state.arena_mut(id)?, call);
        Some((id, born))
    }

    /// The arena that was copied to this key's object: one created over the memory that `address` lies in, and not used
    /// since. Of several the latest. It is found by the new key from now on.
    fn copied(&mut self, key: ArenaKey, address: Address) -> Option<ArenaId> {
        let object = self.state.keys.get(&key).map(|known| known.object).filter(|object| !object.is_null())?;
        let region = self.state.regions.holding(address.0)?;
        let users = region.users().filter_map(|id| self.state.arena(id));
        let id = users.filter(|arena| arena.is_alive() && arena.is_unused()).map(|arena| arena.id).max()?;
        let arena = self.state.arena_mut(id)?;
        let (old_key, old_object) = (arena.key, arena.object);
        (arena.key, arena.object) = (key, object);
        self.state.objects.remove(&(old_object.0, id));
        self.state.objects.insert((object.0, id));
        if self.state.unbound.get(&old_object.0) == Some(&id) {
            self.state.unbound.remove(&old_object.0);
        }
        if let Some(known) = self.state.keys.get_mut(&old_key).filter(|known| known.living == Some(id)) {
            known.living = None;
        }
        self.state.keys.entry(key).or_default().living = Some(id);
        Some(id)
    }

    /// A create function that returns by value may write its next arena to the same temporary: the one before, not used
    /// there, lives on where it was copied to. No key leads to it until its first block shows where that is.
    fn leave_copied(&mut self, key: ArenaKey, previous: ArenaId) -> bool {
        let copied = self.ground.returns_arenas && self.state.arena(previous).is_some_and(Arena::is_unused);
        if copied && let Some(known) = self.state.keys.get_mut(&key) {
            known.living = None;
        }
        copied
    }

    /// An arena without a key (its object moved, or it came from the parent process) is this key's when it has this
    /// key's object.
    pub(crate) fn rebind(&mut self, key: ArenaKey) -> Option<ArenaId> {
        let known = self.state.keys.entry(key).or_default();
        let id = self.state.unbound.remove(&known.object.0)?;
        known.living = Some(id);
        self.state.arena_mut(id)?.key = key;
        Some(id)
    }

    fn no_arena(&mut self, call: Call, role: Role) -> Effect {
        self.anomaly(call, None, AnomalyKind::NoArena { role });
        Effect::of(What::NoArena)
    }

    fn anomaly(&mut self, call: Call, arena: Option<ArenaId>, kind: AnomalyKind) {
        self.state.anomalies.add(anomaly(call, arena, kind));
    }

    fn with_block(&self, mut effect: Effect, block: Block) -> Effect {
        effect.place = effect.arena.and_then(|id| self.state.arena(id)).map(|arena| arena.place(&block));
        effect.block = Some(block);
        effect
    }
}

fn anomaly(call: Call, arena: Option<ArenaId>, kind: AnomalyKind) -> Anomaly {
    Anomaly { moment: call.moment, thread: call.thread, site: call.site, arena, kind }
}

/// True when `call` comes at most `within` events after an earlier event of the same thread, asides not counted.
fn follows(thread: arenascope_event::ThreadNumber, told: u64, call: Call, within: u64) -> bool {
    let distance = call.told.saturating_sub(told);
    thread == call.thread && 0 < distance && distance <= within
}

/// Every own event but destroy: what memory events took since the last one is no longer part of the portrait.
fn touch(arena: &mut Arena, call: Call) {
    arena.last_event = call.moment;
    if !arena.threads.contains(&call.thread) {
        arena.threads.insert(call.thread);
    }
    if !arena.fallen.is_empty() {
        arena.fallen = Vec::new();
    }
    if !arena.fallen_extents.is_empty() {
        arena.fallen_extents = Vec::new();
    }
}

/// The block that an alloc inside a resize made was never a block of its own.
fn take_back(arena: &mut Arena, placement: u64) {
    if let Some(block) = arena.living.remove(placement) {
        arena.counts.allocs = arena.counts.allocs.saturating_sub(1);
        arena.counts.bytes = arena.counts.bytes.saturating_sub(block.size);
        if block.number.saturating_add(1) == arena.next_number {
            arena.next_number = block.number;
        }
    }
}

fn note_peak(arena: &mut Arena, moment: EventNumber) {
    let bytes = arena.living.bytes();
    if bytes > arena.peak.bytes {
        arena.peak = Peak { bytes, moment };
    }
    if arena.span > arena.peak_span.bytes {
        arena.peak_span = Peak { bytes: arena.span, moment };
    }
    arena.peak_blocks = arena.peak_blocks.max(arena.living.len());
}

impl State {
    /// Kills what a block about to be placed overlaps.
    fn overwrite(&mut self, call: Call, id: ArenaId, address: Address, size: u64, newer: u64, effect: &mut Effect) {
        let Some(arena) = self.arena_mut(id) else { return };
        let struck = arena.living.overlapping(address, size);
        if struck.is_empty() {
            return;
        }
        let struck: Vec<Block> = struck.into_iter().filter_map(|placement| arena.living.remove(placement)).collect();
        let dead = bury(&mut effect.died, struck, call.moment, How::Overwritten);
        arena.counts.overwritten = arena.counts.overwritten.saturating_add(dead.len() as u64);
        for block in &dead {
            self.anomalies.add(anomaly(call, Some(id), AnomalyKind::Overlap { older: block.number, newer }));
        }
        effect.dead = dead;
    }

    /// Finds or makes the extent that a block lies in; returns its number.
    fn settle(&mut self, ground: &Ground, id: ArenaId, address: Address, size: u64) -> u32 {
        if self.is_malloc(id) {
            if let Some(number) = self.settle_segment(id, address, size) {
                return number;
            }
        } else if let Some(number) = self.settle_payload(id, address, size) {
            return number;
        } else {
            self.look_into_malloc(id, address);
        }
        let Some(region) = self.region_for(ground, id, address, size) else {
            return self.settle_loose(ground, id, address, size);
        };
        let Some((kind, start, len, site)) =
            self.regions.get(region).map(|region| (region.kind, region.start, region.len, region.site))
        else {
            return 0;
        };
        let end = address.plus(size);
        let Some(arena) = self.arena_mut(id) else { return 0 };
        if let Some(number) = arena.by_region.get(&region).copied() {
            if let Some(extent) = arena.extents.get_mut(&number) {
                let before = extent.high_water();
                extent.bottom = if extent.presumed { address } else { extent.bottom.min(address) };
                extent.top = if extent.presumed { end } else { extent.top.max(end) };
                extent.presumed = false;
                arena.span = arena.span.saturating_sub(before).saturating_add(extent.high_water());
            }
            return number;
        }
        self.drop_presumed(id);
        let Some(arena) = self.arena_mut(id) else { return 0 };
        let number = arena.add_extent(Extent {
            number: 0,
            start,
            len,
            kind: extent_kind(kind),
            region: Some(region),
            site,
            bottom: address,
            top: end,
            presumed: false,
            top_chunk: None,
            gone: None,
        });
        self.use_region(region, id);
        number
    }

    /// The payload that a block of our library's arena lies in.
    fn settle_payload(&mut self, id: ArenaId, address: Address, size: u64) -> Option<u32> {
        let bounds = self.arena(id)?.bounds?;
        let arena = self.arena_mut(id)?;
        let end = address.plus(size);
        let holds = |extent: &&mut Extent| {
            let reach = match (extent.kind, bounds.kind) {
                (ExtentKind::Payload, BoundsKind::Growing) => bounds.reserved,
                (ExtentKind::Payload | ExtentKind::Plot, _) => extent.len,
                _ => return false,
            };
            extent.start <= address && end <= extent.start.plus(reach)
        };
        let Some(extent) = arena.extents.values_mut().rev().find(holds) else {
            // A big block of a shared arena takes no lease: its place is its own.
            return (bounds.kind == BoundsKind::Lease).then(|| {
                arena.add_extent(Extent {
                    number: 0,
                    start: address,
                    len: size,
                    kind: ExtentKind::Payload,
                    region: None,
                    site: None,
                    bottom: address,
                    top: end,
                    presumed: false,
                    top_chunk: None,
                    gone: None,
                })
            });
        };
        let before = extent.high_water();
        extent.top = extent.top.max(end);
        if bounds.kind == BoundsKind::Growing && extent.kind == ExtentKind::Payload {
            extent.len = extent.len.max(extent.high_water().next_multiple_of(PAGE_BYTES).min(bounds.reserved));
        }
        let (number, after) = (extent.number, extent.high_water());
        arena.span = arena.span.saturating_sub(before).saturating_add(after);
        Some(number)
    }

    fn region_for(&self, ground: &Ground, id: ArenaId, address: Address, size: u64) -> Option<RegionId> {
        let holding = match self.is_malloc(id) {
            true => self.regions.holding_mapping(address.0).and_then(|(region, ..)| self.regions.get(region)),
            false => self.regions.holding(address.0),
        };
        if let Some(region) = holding {
            // The memory map knows a module's static memory as one of its mappings; the arena has only a part of it.
            let is_static = region.kind == RegionKind::Observed && ground.in_module(address.0);
            return if is_static { None } else { Some(region.id) };
        }
        // An empty block at the very end of a full extent.
        let before = address.0.checked_sub(1).filter(|_| size == 0 && ground.sizes_known)?;
        let region = self.regions.holding(before)?.id;
        self.arena(id).filter(|arena| arena.by_region.contains_key(&region)).map(|_| region)
    }

    /// A block in memory that we know nothing about: extents grow around the blocks seen.
    fn settle_loose(&mut self, ground: &Ground, id: ArenaId, address: Address, size: u64) -> u32 {
        let kind = if ground.in_module(address.0) { ExtentKind::Static } else { ExtentKind::Unknown };
        self.drop_presumed(id);
        self.loose.insert(id);
        let Some(arena) = self.arena_mut(id) else { return 0 };
        let end = address.plus(size);
        let near = |extent: &&Extent| {
            extent.kind == kind
                && address.0 <= extent.end().0.saturating_add(NEIGHBOUR_BYTES)
                && extent.start.0 <= end.0.saturating_add(NEIGHBOUR_BYTES)
        };
        let joined: Vec<u32> = arena.extents.values().filter(near).map(|extent| extent.number).collect();
        let Some((first, others)) = joined.split_first() else {
            return arena.add_extent(Extent {
                number: 0,
                start: address,
                len: end.0 - address.0,
                kind,
                region: None,
                site: None,
                bottom: address,
                top: end,
                presumed: false,
                top_chunk: None,
                gone: None,
            });
        };
        let mut low = address;
        let mut high = end;
        for number in &joined {
            if let Some(extent) = arena.extents.get(number) {
                low = low.min(extent.start);
                high = high.max(extent.end());
            }
        }
        for number in others {
            arena.extents.remove(number);
        }
        if !others.is_empty() {
            for block in arena.living.iter_mut().filter(|block| others.contains(&block.extent)) {
                block.extent = *first;
            }
        }
        if let Some(extent) = arena.extents.get_mut(first) {
            extent.start = low;
            extent.len = high.0 - low.0;
            extent.bottom = low;
            extent.top = high;
        }
        arena.measure_span();
        *first
    }

    /// Of the regions that this thread got inside the create call, one is taken for the arena's until its first block
    /// says otherwise: the first that can hold `size` bytes, and where no size is known the largest. (Later ones may
    /// be anything, such as the buffer of stdout when the create function prints.)
    fn presume_extent(&mut self, call: Call, id: ArenaId, size: u64, inside: impl Fn(u64) -> bool) {
        self.look_into_recent(call, size, &inside);
        let Some(thread) = self.threads.get(&call.thread) else { return };
        let recent = thread.recent.iter().filter(|(index, _)| inside(*index));
        let standing = recent.filter_map(|(_, region)| self.regions.get(*region)).filter(|region| region.len >= size);
        let rank = |region: &&Region| (if size > 0 { 0 } else { region.len }, Reverse(region.id));
        let Some(region) = standing.max_by_key(rank).cloned() else { return };
        let Some(arena) = self.arena_mut(id) else { return };
        arena.add_extent(Extent {
            number: 0,
            start: region.start,
            len: region.len,
            kind: extent_kind(region.kind),
            region: Some(region.id),
            site: region.site,
            bottom: region.start,
            top: region.start,
            presumed: true,
            top_chunk: None,
            gone: None,
        });
        self.use_region(region.id, id);
    }

    fn drop_presumed(&mut self, id: ArenaId) {
        let Some(arena) = self.arena(id) else { return };
        if !arena.extents.values().any(|extent| extent.presumed) {
            return;
        }
        let Some(arena) = self.arena_mut(id) else { return };
        let presumed: Vec<Extent> = arena.extents.values().filter(|extent| extent.presumed).cloned().collect();
        for extent in presumed.iter().rev() {
            arena.extents.remove(&extent.number);
            // Nothing ever lay there: its number may go to the extent that takes its place.
            if extent.number.saturating_add(1) == arena.next_extent {
                arena.next_extent = extent.number;
            }
            if let Some(region) = extent.region {
                arena.by_region.remove(&region);
            }
        }
        for region in presumed.iter().filter_map(|extent| extent.region) {
            if let Some(region) = self.regions.get_mut(region) {
                region.users.remove(&id);
                if region.last_user == Some(id) {
                    region.last_user = None;
                }
            }
        }
    }

    fn use_region(&mut self, region: RegionId, id: ArenaId) {
        if let Some(region) = self.regions.get_mut(region) {
            region.users.insert(id);
            region.last_user = Some(id);
        }
    }
}

fn extent_kind(kind: RegionKind) -> ExtentKind {
    match kind {
        RegionKind::Mapping => ExtentKind::Mapping,
        RegionKind::Observed => ExtentKind::Observed,
        RegionKind::HeapBlock => ExtentKind::HeapBlock,
    }
}

impl Arena {
    /// Adds an extent under the next number.
    pub(crate) fn add_extent(&mut self, mut extent: Extent) -> u32 {
        extent.number = self.next_extent;
        self.next_extent = self.next_extent.saturating_add(1);
        if let Some(region) = extent.region {
            self.by_region.insert(region, extent.number);
        }
        self.span = self.span.saturating_add(extent.high_water());
        let number = extent.number;
        self.extents.insert(number, extent);
        number
    }
}

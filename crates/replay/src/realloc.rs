//! A malloc block that grows: the recorder sees `realloc` as a free and an alloc, and the arena in it must not end.
//!
//! Rule: a free of a malloc block, directly followed on the same thread by an alloc from the very same call site, is a
//! realloc (no call can be to both functions). Where malloc itself is watched, its own mappings may come in between. What the free took comes back, and moves with the block. May be relied
//! on: when anything else happened in between, the free stays a free. Absent on purpose: looking ahead; between
//! the two events the state says "freed".

use crate::arena::{Arena, ArenaId, Reach};
use crate::blocks::Block;
use crate::effect::Effect;
use crate::regions::{Cut, Region};
use crate::replay::Call;
use crate::state::State;
use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use arenascope_event::{EventNumber, SiteId};

/// A freed malloc block that may turn out to be realloc's.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Freed {
    thread_event: u64,
    site: SiteId,
    moment: EventNumber,
    region: Region,
    arenas: Vec<ArenaId>,
}

impl Freed {
    /// Malloc got or gave back memory of its own inside the realloc: that is no event in between.
    pub(crate) fn pass_over(&mut self) {
        self.thread_event = self.thread_event.saturating_add(1);
    }
}

impl State {
    /// To be called when a free has struck `region`, as it was before.
    pub(crate) fn remember_freed(&mut self, call: Call, region: Region, effect: &Effect) {
        let Some(site) = call.site else { return };
        let arenas: BTreeSet<ArenaId> = region.users().chain(effect.ended.iter().copied()).collect();
        if arenas.is_empty() {
            return;
        }
        let arenas = arenas.into_iter().collect();
        let freed = Freed { thread_event: call.thread_event, site, moment: call.moment, region, arenas };
        self.threads.entry(call.thread).or_default().freed = Some(Box::new(freed));
    }

    /// If the alloc of `start..end` is the second half of a realloc: moves the freed block and its arenas there.
    pub(crate) fn reallocated(&mut self, call: Call, start: u64, end: u64, effect: &mut Effect) -> bool {
        let Some(freed) = self.threads.entry(call.thread).or_default().freed.take() else { return false };
        let follows = freed.thread_event.checked_add(1) == Some(call.thread_event) && call.site == Some(freed.site);
        let (old_start, old_end) = (freed.region.start.0, freed.region.end().0);
        let apart = end <= old_start || old_end <= start;
        let vacant = self.regions.heap_in(old_start, old_end).is_empty();
        if !follows || start >= end || !vacant || (start != old_start && !apart) {
            return false;
        }
        let id = freed.region.id;
        self.regions.restore(freed.region.clone());
        for arena in &freed.arenas {
            if self.revive(*arena, &freed) {
                effect.revived.push(*arena);
            }
        }
        let kept_end = old_start.saturating_add(end - start).min(old_end);
        if kept_end < old_end {
            let users = self.regions.get(id).map(|region| region.users().collect()).unwrap_or_default();
            let cut = Cut { region: id, start: kept_end, end: old_end, left: true, right: None, users };
            for user in &cut.users {
                self.cut_extent(call, *user, &cut, effect);
            }
        }
        for stale in self.regions.heap_in(start, end).into_iter().filter(|stale| *stale != id) {
            self.strike_heap_block(call, stale, effect);
        }
        self.relocate(call, id, old_start..kept_end, start, end - start);
        true
    }

    /// Undoes what the free did to one arena. False when other events have had their say since.
    fn revive(&mut self, id: ArenaId, freed: &Freed) -> bool {
        let Some(arena) = self.arena(id) else { return false };
        let ended_by_it = arena.ended.is_some_and(|end| end.moment == freed.moment);
        let taken = match arena.reach {
            Reach::Key => self.keys.get(&arena.key).is_some_and(|known| known.living.is_some()),
            Reach::Object => self.unbound.contains_key(&arena.object.0),
            Reach::Nothing => false,
        };
        let ended = arena.ended.is_some();
        if arena.last_event > freed.moment || (ended && (!ended_by_it || taken)) {
            return false;
        }
        let standing: BTreeSet<_> = self.regions.iter().map(|region| region.id).collect();
        let Some(arena) = self.arena_mut(id) else { return false };
        let given_back = arena.portrait.len() as u64;
        arena.take_back(freed.moment, |extent| extent.is_none_or(|region| standing.contains(&region)));
        let (key, object, reach) = (arena.key, arena.object, arena.reach);
        let regions: Vec<_> = arena.by_region.keys().copied().collect();
        let loose = arena.extents.values().any(|extent| extent.region.is_none());
        for region in regions {
            if let Some(region) = self.regions.get_mut(region) {
                region.users.insert(id);
            }
        }
        if ended {
            self.portraits.retain(|other| *other != id);
            self.portrait_blocks = self.portrait_blocks.saturating_sub(given_back);
            match reach {
                Reach::Key => self.keys.entry(key).or_default().living = Some(id),
                Reach::Object => drop(self.unbound.insert(object.0, id)),
                Reach::Nothing => {}
            }
            if !object.is_null() {
                self.objects.insert((object.0, id));
            }
            if loose {
                self.loose.insert(id);
            }
        }
        true
    }
}

impl Arena {
    /// Blocks and extents that the event at `moment` took live again; what went before stays gone.
    fn take_back(&mut self, moment: EventNumber, stands: impl Fn(Option<crate::RegionId>) -> bool) {
        let killed = |block: &Block| block.died.is_some_and(|death| death.moment == moment);
        let mut dead = core::mem::take(&mut self.fallen);
        dead.append(&mut self.portrait);
        let (back, gone): (Vec<Block>, Vec<Block>) = dead.into_iter().partition(killed);
        for mut block in back {
            block.died = None;
            self.living.insert(block);
        }
        self.fallen = gone;
        let mut extents = core::mem::take(&mut self.fallen_extents);
        extents.extend(core::mem::take(&mut self.extents).into_values());
        for mut extent in extents {
            let went_before = extent.gone.is_some_and(|gone| gone != moment);
            if stands(extent.region) && !went_before {
                extent.gone = None;
                if let Some(region) = extent.region {
                    self.by_region.insert(region, extent.number);
                }
                self.extents.insert(extent.number, extent);
            } else {
                self.fallen_extents.push(extent);
            }
        }
        self.ended = None;
        self.measure_span();
    }
}

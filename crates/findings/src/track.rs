//! Where each arena placed its last block, whether it only ever went up, and what was told of its object.
//!
//! May be relied on: O(1) per own event of an arena, a few words per arena, and what was last told per thread. A rule asks
//! before it lets the tracks see the event, and so learns how things stood at the call. Absent on purpose: any judgement.

use crate::cursor::{self, Cursor};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use arenascope_event::{Address, ArenaKey, Event, EventKind, EventNumber, ThreadNumber};
use arenascope_replay::{Arena, ArenaId, Block, Effect, State, What};

/// The block placed last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Last {
    pub(crate) number: u64,
    pub(crate) extent: u32,
    pub(crate) start: u64,
    pub(crate) end: u64,
}

/// One arena.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Track {
    /// `None` at the start, and after the arena went back: nobody knows where its cursor stands then.
    pub(crate) last: Option<Last>,
    /// A block was placed below the one before it, without a rewind, reset or free that explains it.
    pub(crate) went_down: bool,
    /// Blocks placed.
    pub(crate) placed: u64,
    /// The last time that a block did not follow the one before it while a word of the object did; 0 for never.
    pub(crate) changed: EventNumber,
}

/// The bytes of an arena object after the last block was handed out, and after the next.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    arena: ArenaKey,
    pub(crate) before: Vec<u8>,
    pub(crate) after: Vec<u8>,
}

/// All arenas of a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tracks {
    all: Vec<Track>,
    /// What belongs to each thread's next own event.
    told: BTreeMap<ThreadNumber, Told>,
}

fn index(arena: ArenaId) -> Option<usize> {
    usize::try_from(arena.0.checked_sub(1)?).ok()
}

impl Tracks {
    /// How things stand with `arena`.
    pub(crate) fn of(&self, arena: ArenaId) -> Track {
        index(arena).and_then(|index| self.all.get(index)).copied().unwrap_or_default()
    }

    /// True when something was told of the object of this very event's arena.
    pub(crate) fn is_told(&self, event: &Event) -> bool {
        !self.told.is_empty() && self.told_of(event).is_some()
    }

    fn told_of(&self, event: &Event) -> Option<&Told> {
        let (key, _) = event.kind.arena_order()?;
        self.told.get(&event.thread).filter(|told| told.arena == key)
    }

    /// The cursor of `arena`, as far as what was told of its object shows it; `event` has placed `block`.
    pub(crate) fn cursor(
        &self,
        event: &Event,
        effect: &Effect,
        arena: &Arena,
        block: &Block,
    ) -> Option<(Cursor, &Told)> {
        let told = self.told_of(event)?;
        let last = self.of(arena.id).last?;
        let extent = arena.extent(last.extent)?;
        // An extent of unknown bounds may have grown down to this very block: then its lowest block counted before.
        let older = arena.blocks().into_iter().chain(&effect.dead).filter(|older| older.number != block.number);
        let lowest = older.filter(|older| older.extent == last.extent).map(|older| older.address).min();
        let bases: Vec<Address> = [Some(extent.start), Some(extent.bottom), lowest].into_iter().flatten().collect();
        let end = block.end().0;
        Some((cursor::find(&told.before, &told.after, (last.start, last.end), end, &bases)?, told))
    }

    fn track(&mut self, arena: ArenaId) -> Option<&mut Track> {
        let index = index(arena)?;
        if index >= self.all.len() {
            self.all.resize(index.checked_add(1)?, Track::default());
        }
        self.all.get_mut(index)
    }

    /// Takes note of an event.
    pub(crate) fn observe(&mut self, event: &Event, effect: &Effect, state: &State) {
        if let EventKind::ObjectChanged { arena, before, after, .. } = &event.kind {
            if let Some(living) = state.arena_of_key(*arena)
                && let Some(track) = self.track(living.id)
            {
                track.changed = event.number;
            }
            let told = Told { arena: *arena, before: before.clone(), after: after.clone() };
            self.told.insert(event.thread, told);
            return;
        }
        if !self.told.is_empty() && event.kind.arena_order().is_some() {
            self.told.remove(&event.thread);
        }
        let Some(arena) = effect.arena else { return };
        match (effect.what, &effect.block) {
            (What::Allocated, Some(block)) => self.placed(arena, block),
            (What::HandedOn { .. } | What::Resized { .. }, Some(block)) => {
                let Some(track) = self.track(arena) else { return };
                if track.last.is_some_and(|last| last.number == block.number)
                    || effect.what == (What::Resized { moved: true })
                {
                    track.last = Some(last(block));
                }
            }
            (What::Rewound | What::Reset | What::Destroyed | What::Created { .. }, _) => {
                if let Some(track) = self.track(arena) {
                    track.last = None;
                }
            }
            (What::Freed, Some(block)) => {
                let Some(track) = self.track(arena) else { return };
                // A stack-like allocator takes its cursor back.
                if track.last.is_some_and(|last| last.number == block.number) {
                    track.last = None;
                }
            }
            _ => {}
        }
    }

    fn placed(&mut self, arena: ArenaId, block: &Block) {
        let Some(track) = self.track(arena) else { return };
        let below = |last: Last| last.extent == block.extent && block.address.0 < last.start;
        if track.last.is_some_and(below) {
            track.went_down = true;
        }
        track.placed = track.placed.saturating_add(1);
        track.last = Some(last(block));
    }
}

fn last(block: &Block) -> Last {
    Last { number: block.number, extent: block.extent, start: block.address.0, end: block.end().0 }
}

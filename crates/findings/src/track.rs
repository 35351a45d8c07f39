//! Where each arena placed its last block, whether it only ever went up, and when its object was changed by hand.
//!
//! May be relied on: O(1) per own event of an arena, a few words per arena. A rule asks before it lets the tracks see the
//! event, and so learns how things stood at the call. Absent on purpose: any judgement.

use alloc::vec::Vec;
use arenascope_event::{Event, EventKind, EventNumber};
use arenascope_replay::{ArenaId, Block, Effect, State, What};

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
    /// The last time that the bytes of the arena object were found changed between two events; 0 for never.
    pub(crate) changed: EventNumber,
}

/// All arenas of a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tracks {
    all: Vec<Track>,
}

fn index(arena: ArenaId) -> Option<usize> {
    usize::try_from(arena.0.checked_sub(1)?).ok()
}

impl Tracks {
    /// How things stand with `arena`.
    pub(crate) fn of(&self, arena: ArenaId) -> Track {
        index(arena).and_then(|index| self.all.get(index)).copied().unwrap_or_default()
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
        if let EventKind::ObjectChanged { arena, .. } = event.kind {
            if let Some(arena) = state.arena_of_key(arena)
                && let Some(track) = self.track(arena.id)
            {
                track.changed = event.number;
            }
            return;
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

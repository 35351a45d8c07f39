//! Any moment of a long trace again: snapshots at growing distances, and a replay of what lies between.
//!
//! May be relied on: at most [`Limits::snapshots`] snapshots and about [`Limits::bytes`] of memory (the newest
//! snapshot is kept even when it alone weighs more); the state at a moment is the one that a replay from the start
//! gives. When a limit is hit, every other snapshot goes and the distance doubles, so that a trace of N events costs
//! at most N / snapshots × 2 events of replay. Absent on purpose: reading events; the caller hands in how.

use crate::replay::{Ground, Replay};
use crate::state::State;
use alloc::sync::Arc;
use alloc::vec::Vec;
use arenascope_event::{Event, EventNumber};

/// How much a [`Timeline`] may keep.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Snapshots; at least 2 are taken for granted.
    pub snapshots: usize,
    /// Bytes, estimated as if snapshots shared nothing.
    pub bytes: u64,
    /// Events between the first snapshots.
    pub spacing: u64,
}

impl Default for Limits {
    /// 64 snapshots, 512 MiB, 65,536 events.
    fn default() -> Limits {
        Limits { snapshots: 64, bytes: 512 << 20, spacing: 1 << 16 }
    }
}

/// Snapshots of one replay.
#[derive(Clone, Debug)]
pub struct Timeline {
    limits: Limits,
    spacing: u64,
    start: State,
    /// In order of moment, with their weights.
    snapshots: Vec<(State, u64)>,
    last: EventNumber,
    ground: Arc<Ground>,
}

impl Timeline {
    /// For a replay that has not begun. `replay` is where the trace starts: nothing, or a parent's state.
    pub fn new(replay: &Replay, limits: Limits) -> Timeline {
        Timeline {
            limits,
            spacing: limits.spacing.max(1),
            start: replay.state().clone(),
            snapshots: Vec::new(),
            last: replay.state().moment,
            ground: replay.ground.clone(),
        }
    }

    /// Replays `events` from the start and takes snapshots on the way; returns the timeline and the state at the end.
    pub fn build(replay: Replay, events: impl IntoIterator<Item = Event>, limits: Limits) -> (Timeline, State) {
        let mut replay = replay;
        let mut timeline = Timeline::new(&replay, limits);
        for event in events {
            replay.apply(&event);
            timeline.observe(&replay);
        }
        (timeline, replay.state)
    }

    /// To be called after each event of the one replay this timeline belongs to.
    pub fn observe(&mut self, replay: &Replay) {
        let moment = replay.state().moment;
        self.last = moment;
        let before = self.snapshots.last().map_or(self.start.moment, |(state, _)| state.moment);
        if moment.0.saturating_sub(before.0) < self.spacing {
            return;
        }
        let weight = replay.state().weight();
        self.snapshots.push((replay.state().clone(), weight));
        while self.snapshots.len() > 1 && self.too_much() {
            self.thin();
        }
    }

    fn too_much(&self) -> bool {
        let bytes = self.snapshots.iter().fold(0_u64, |sum, (_, weight)| sum.saturating_add(*weight));
        self.snapshots.len() > self.limits.snapshots.max(2) || bytes > self.limits.bytes
    }

    /// Every other snapshot goes; the newest stays when their number is even, so that progress is kept.
    fn thin(&mut self) {
        let mut index = 0_usize;
        self.snapshots.retain(|_| {
            index = index.wrapping_add(1);
            index.is_multiple_of(2)
        });
        self.spacing = self.spacing.saturating_mul(2);
    }

    /// The last event observed.
    pub fn last(&self) -> EventNumber {
        self.last
    }

    /// Moments of the snapshots.
    pub fn moments(&self) -> impl Iterator<Item = EventNumber> {
        self.snapshots.iter().map(|(state, _)| state.moment)
    }

    /// The state after event `moment` (0: before the first event; past the end: at the end). `reread` is asked once
    /// for the events from a number on; more than needed may follow, they are not pulled.
    pub fn at<I>(&self, moment: EventNumber, reread: impl FnOnce(EventNumber) -> I) -> State
    where
        I: IntoIterator<Item = Event>,
    {
        let mut replay = self.nearest(moment);
        run_to(&mut replay, moment, reread);
        replay.state
    }

    /// Calls `visit` with the state at each of `moments`, which must be in ascending order (a moment that goes back
    /// is visited where the replay stands). Replays each stretch of events at most once.
    pub fn visit<I>(
        &self,
        moments: &[EventNumber],
        mut reread: impl FnMut(EventNumber) -> I,
        mut visit: impl FnMut(EventNumber, &State),
    ) where
        I: IntoIterator<Item = Event>,
    {
        let mut replay: Option<Replay> = None;
        for moment in moments {
            let nearest = self.nearest_snapshot(*moment);
            let go_on = replay.take().filter(|replay| replay.state().moment >= nearest.moment);
            let mut here = go_on.unwrap_or_else(|| Replay::resume(nearest.clone(), self.ground.clone()));
            run_to(&mut here, *moment, &mut reread);
            visit(*moment, here.state());
            replay = Some(here);
        }
    }

    fn nearest(&self, moment: EventNumber) -> Replay {
        Replay::resume(self.nearest_snapshot(moment).clone(), self.ground.clone())
    }

    fn nearest_snapshot(&self, moment: EventNumber) -> &State {
        let later = self.snapshots.partition_point(|(state, _)| state.moment <= moment);
        let at_or_before = later.checked_sub(1).and_then(|index| self.snapshots.get(index));
        at_or_before.map_or(&self.start, |(state, _)| state)
    }
}

fn run_to<I>(replay: &mut Replay, moment: EventNumber, reread: impl FnOnce(EventNumber) -> I)
where
    I: IntoIterator<Item = Event>,
{
    if replay.state().moment >= moment {
        return;
    }
    let from = EventNumber(replay.state().moment.0.saturating_add(1));
    for event in reread(from) {
        if event.number > moment {
            break;
        }
        replay.apply(&event);
        if event.number == moment {
            break;
        }
    }
}

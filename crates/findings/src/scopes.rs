//! Rewinds that do not nest: what `out-of-order-rewind` and `unbalanced-scope` judge, gathered in one pass.
//!
//! May be relied on: O(1) amortised per mark and rewind; memory bounded per arena with marks (replay keeps at most some
//! thousand marks, this as many, and [`PASSED`] that were passed). Absent on purpose: the judgement.

use crate::finding::Finding;
use crate::watch::Rule;
use crate::{out_of_order_rewind, trust, unbalanced_scope};
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use arenascope_event::{ArenaKey, Event, EventKind, EventNumber, MarkValue, ProcessFacts, Role, SiteId, ThreadNumber};
use arenascope_replay::{ArenaId, Effect, State, What};

/// Passed marks remembered per arena, and misfits told apart.
const PASSED: usize = 64;
const GROUPS: usize = 1024;

/// The gathering.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scopes {
    arenas: BTreeMap<ArenaId, Marks>,
    misfits: BTreeMap<(ArenaId, bool, Option<SiteId>, Option<SiteId>), Misfit>,
    library: BTreeSet<ArenaKey>,
}

/// The marks of one arena.
#[derive(Clone, Debug, Default)]
struct Marks {
    /// Those that stand, as replay has them.
    standing: Vec<Taken>,
    /// Those that a rewind to an older one or a reset has passed.
    passed: VecDeque<Passed>,
}

/// A mark.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Taken {
    pub(crate) value: MarkValue,
    pub(crate) moment: EventNumber,
    pub(crate) site: Option<SiteId>,
    pub(crate) thread: ThreadNumber,
    /// No block lived when it was taken: going back to it is a reset whenever it happens.
    pub(crate) empty: bool,
}

/// A mark whose scope has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Passed {
    pub(crate) mark: Taken,
    pub(crate) moment: EventNumber,
    pub(crate) site: Option<SiteId>,
    pub(crate) thread: ThreadNumber,
    /// By a reset, not a rewind.
    pub(crate) reset: bool,
}

/// Rewinds to a mark whose scope had ended: the first, and how many.
#[derive(Clone, Debug)]
pub(crate) struct Misfit {
    pub(crate) arena: ArenaId,
    pub(crate) passed: Passed,
    pub(crate) moment: EventNumber,
    pub(crate) site: Option<SiteId>,
    pub(crate) threads: BTreeSet<ThreadNumber>,
    pub(crate) count: u64,
}

impl Scopes {
    /// At the start of a trace.
    pub(crate) fn new() -> Scopes {
        Scopes::default()
    }

    fn marked(&mut self, event: &Event, state: &State, id: ArenaId, value: MarkValue) {
        let Some(arena) = state.arena(id) else { return };
        let marks = self.arenas.entry(id).or_default();
        // Replay drops the older half when there are too many, and keeps one where the same cursor is saved again.
        let kept = arena.marks.len().saturating_sub(1);
        if marks.standing.len() > kept.saturating_add(1) {
            let forgotten = marks.standing.len().saturating_sub(kept);
            marks.standing.drain(..forgotten);
        }
        marks.standing.truncate(kept);
        marks.passed.retain(|passed| passed.mark.value != value);
        let empty = arena.live_blocks() == 0;
        marks.standing.push(Taken { value, moment: event.number, site: event.site, thread: event.thread, empty });
    }

    fn rewound(&mut self, event: &Event, state: &State, id: ArenaId, value: MarkValue) {
        let Some(marks) = self.arenas.get(&id) else { return };
        if marks.standing.iter().any(|mark| mark.value == value) {
            return;
        }
        let Some(passed) = marks.passed.iter().rev().find(|passed| passed.mark.value == value).copied() else { return };
        if passed.mark.empty || state.arena(id).is_none_or(|arena| arena.inherited) {
            return;
        }
        let by_other = passed.thread != passed.mark.thread && passed.mark.thread == event.thread && !passed.reset;
        let key = (id, by_other, event.site, passed.mark.site);
        let known = self.misfits.len();
        if let Some(misfit) = self.misfits.get_mut(&key) {
            misfit.count = misfit.count.saturating_add(1);
            misfit.threads.insert(event.thread);
        } else if known < GROUPS {
            let threads = [event.thread, passed.thread, passed.mark.thread].into();
            let (moment, site) = (event.number, event.site);
            self.misfits.insert(key, Misfit { arena: id, passed, moment, site, threads, count: 1 });
        }
    }

    /// After a rewind, reset or end: which marks do not stand any more.
    fn pass(&mut self, event: &Event, state: &State, id: ArenaId) {
        let (Some(marks), Some(arena)) = (self.arenas.get_mut(&id), state.arena(id)) else { return };
        let last = arena.marks.last().map_or(EventNumber(0), |mark| mark.moment);
        while let Some(mark) = marks.standing.last().copied().filter(|mark| mark.moment > last) {
            marks.standing.pop();
            if marks.passed.len() >= PASSED {
                marks.passed.pop_front();
            }
            let reset = !matches!(event.kind, EventKind::Rewind { .. });
            let (moment, site, thread) = (event.number, event.site, event.thread);
            marks.passed.push_back(Passed { mark, moment, site, thread, reset });
        }
    }
}

impl Rule for Scopes {
    fn observe(&mut self, event: &Event, effect: &Effect, state: &State, _: &[u8]) {
        match (effect.what, effect.arena, &event.kind) {
            (What::Marked, Some(arena), EventKind::Mark { mark, .. }) => self.marked(event, state, arena, *mark),
            (What::Rewound, Some(arena), EventKind::Rewind { mark, .. }) => {
                self.rewound(event, state, arena, *mark);
                self.pass(event, state, arena);
            }
            (What::Reset, Some(arena), _) => self.pass(event, state, arena),
            (What::Destroyed, Some(arena), _) => drop(self.arenas.remove(&arena)),
            (_, _, EventKind::HeapSegment { arena, .. }) => drop(self.library.insert(*arena)),
            _ => {}
        }
    }

    fn finish(self: Box<Self>, state: &State, facts: &ProcessFacts) -> Vec<Finding> {
        let roles = [Role::Mark, Role::Rewind, Role::Reset, Role::Create, Role::Destroy];
        if trust::unseen(facts, &roles).is_some() {
            return Vec::new();
        }
        let judged = self
            .misfits
            .iter()
            .filter(|(_, misfit)| state.arena(misfit.arena).is_some_and(|arena| !self.library.contains(&arena.key)));
        let judged = judged.map(|((_, by_other, ..), misfit)| {
            if *by_other {
                unbalanced_scope::judge(misfit, state, facts)
            } else {
                out_of_order_rewind::judge(misfit, state, facts)
            }
        });
        judged.collect()
    }
}

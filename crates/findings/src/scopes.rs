//! Rewinds that do not nest: what `out-of-order-rewind` and `unbalanced-scope` judge, gathered in one pass.
//!
//! May be relied on: O(1) amortised per mark and rewind; memory bounded per arena with marks (replay keeps at most some
//! thousand marks, this as many, and [`PASSED`] that were passed). Absent on purpose: what each rule claims.

use crate::finding::{Certainty, Class, Finding, SiteRole};
use crate::watch::Rule;
use crate::{out_of_order_rewind, trust, unbalanced_scope, wording};
use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use arenascope_event::{ArenaKey, Event, EventKind, EventNumber, MarkValue, ProcessFacts, Role, SiteId, ThreadNumber};
use arenascope_replay::{ArenaId, Block, Effect, State, What};

/// Passed marks remembered per arena, and misfits told apart.
const PASSED: usize = 64;
const GROUPS: usize = 1024;
/// A block that begins this far behind a mark, bytes, was placed from there: alignment, a header, a redzone.
const NEAR: u64 = 8192;

/// What misfits are grouped by: arena, whether another thread ended the scope, the rewind's site, the mark's.
type Key = (ArenaId, bool, Option<SiteId>, Option<SiteId>);

/// The gathering.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scopes {
    arenas: BTreeMap<ArenaId, Marks>,
    misfits: BTreeMap<Key, Misfit>,
    library: BTreeSet<ArenaKey>,
}

/// The marks of one arena.
#[derive(Clone, Debug, Default)]
struct Marks {
    /// Those that stand, as replay has them.
    standing: Vec<Taken>,
    /// Those that a rewind to an older one or a reset has passed.
    passed: VecDeque<Passed>,
    /// The newest block since there are marks.
    newest: Option<Newest>,
    /// A rewind to a passed mark that the next block judges: an allocator that only goes back leaves its cursor below.
    open: Option<(Key, Misfit)>,
}

/// The newest block of an arena.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Newest {
    number: u64,
    born: EventNumber,
    end: u64,
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
    /// Where the cursor stood then, as blocks tell; `None` when none died with it, or they did not lie upwards.
    pub(crate) stood: Option<Stood>,
}

/// Where a cursor stood when a mark was taken, and where it went when the mark was passed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Stood {
    pub(crate) extent: u32,
    /// The first block after the mark, or the end of the last one before it.
    pub(crate) top: u64,
    /// The first block that died.
    pub(crate) floor: u64,
}

impl Stood {
    /// Of blocks that died when `mark` was passed, in the order in which they were placed, which is that of birth.
    fn of(dead: &[Block], mark: &Taken) -> Option<Stood> {
        let since = dead.partition_point(|block| block.born <= mark.moment);
        let before = since.checked_sub(1).and_then(|index| dead.get(index));
        let (extent, top) = match (dead.get(since), before) {
            (Some(first), _) => (first.extent, first.address.0),
            (None, Some(last)) => (last.extent, last.end().0),
            (None, None) => return None,
        };
        let floor = dead.iter().find(|block| block.extent == extent)?.address.0;
        (floor < top).then_some(Stood { extent, top, floor })
    }
}

/// True when a block may begin at `start` because a cursor at `floor` was aligned for it: sizes are multiples of the alignment.
fn is_aligned_up(floor: u64, start: u64, size: u64) -> bool {
    const USUAL: u64 = 16;
    let step = start.saturating_sub(floor).saturating_add(1).next_power_of_two();
    start.is_multiple_of(step) && step <= size.max(USUAL)
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

/// What one of the two rules says of a misfit in its own words.
pub(crate) struct Words {
    pub(crate) rule: &'static str,
    pub(crate) message: String,
    pub(crate) because: String,
    pub(crate) next: &'static str,
}

impl Misfit {
    /// The finding; a note where events were lost.
    pub(crate) fn finding(&self, words: Words, state: &State, facts: &ProcessFacts) -> Finding {
        let Words { rule, mut message, mut because, next } = words;
        let (class, certainty) = match trust::missing(state, facts) {
            0 => (Class::Finding, Certainty::Certain),
            lost => {
                because.push_str(&format!("; but {lost} events were lost, and what explains it may be among them"));
                (Class::Note, Certainty::Possible)
            }
        };
        if self.count > 1 {
            message.push_str(&format!("; {} times", self.count));
        }
        let passed = self.passed;
        let ended = if passed.reset { SiteRole::Reset } else { SiteRole::Rewound };
        let mut sites = Vec::new();
        sites.extend(self.site.map(|site| (SiteRole::Rewound, site)));
        sites.extend(passed.site.map(|site| (ended, site)));
        sites.extend(passed.mark.site.map(|site| (SiteRole::Touched, site)));
        Finding {
            rule,
            class,
            certainty,
            message,
            arena: Some(wording::arena_ref(state, facts, self.arena)),
            block: None,
            moment: self.moment,
            threads: self.threads.iter().copied().collect(),
            sites,
            calls: Vec::new(),
            because,
            evidence: Vec::new(),
            disproof: "a mark of the same value, taken by a function that no role names".to_owned(),
            next: next.to_owned(),
            count: self.count,
            bytes: 0,
        }
    }
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

    fn rewound(&mut self, event: &Event, effect: &Effect, state: &State, id: ArenaId, value: MarkValue) {
        let Some(marks) = self.arenas.get_mut(&id) else { return };
        // What the last one came to, no block will tell.
        marks.open = None;
        if marks.standing.iter().any(|mark| mark.value == value) {
            return;
        }
        let Some(passed) = marks.passed.iter().rev().find(|passed| passed.mark.value == value).copied() else { return };
        let Some(arena) = state.arena(id).filter(|arena| !arena.inherited && !passed.mark.empty) else { return };
        let by_other = passed.thread != passed.mark.thread && passed.mark.thread == event.thread && !passed.reset;
        let key = (id, by_other, event.site, passed.mark.site);
        let threads = [event.thread, passed.thread, passed.mark.thread].into();
        let (moment, site) = (event.number, event.site);
        let misfit = Misfit { arena: id, passed, moment, site, threads, count: 1 };
        let cuts = |newest: Newest| {
            let lived = || {
                effect.dead.iter().any(|block| block.number == newest.number)
                    || arena.block(newest.number).is_some_and(|block| block.died.is_none())
            };
            newest.born > passed.moment && passed.stood.is_some_and(|stood| newest.end > stood.top) && lived()
        };
        if by_other || marks.newest.is_some_and(cuts) {
            self.add(key, misfit);
        } else {
            marks.open = Some((key, misfit));
        }
    }

    fn add(&mut self, key: Key, misfit: Misfit) {
        let known = self.misfits.len();
        if let Some(there) = self.misfits.get_mut(&key) {
            there.count = there.count.saturating_add(1);
            there.threads.extend(misfit.threads);
        } else if known < GROUPS {
            self.misfits.insert(key, misfit);
        }
    }

    /// A block shows where the arena's cursor stood.
    fn handed_out(&mut self, event: &Event, id: ArenaId, block: &Block) {
        let Some(marks) = self.arenas.get_mut(&id) else { return };
        let (start, end) = (block.address.0, block.end().0);
        let newest = marks.newest.replace(Newest { number: block.number, born: event.number, end });
        let Some((key, misfit)) = marks.open.take() else { return };
        let went_there = |stood: Stood| {
            // Where it would be, had the rewind changed nothing.
            let since = newest.filter(|newest| newest.born > misfit.passed.moment);
            let floor = since.map_or(stood.floor, |newest| newest.end);
            block.extent == stood.extent
                && floor < stood.top
                && start.checked_sub(stood.top).is_some_and(|behind| behind < NEAR)
                && !is_aligned_up(floor, start, block.size)
        };
        if misfit.passed.stood.is_some_and(went_there) {
            self.add(key, misfit);
        }
    }

    /// After a rewind, reset or end: which marks do not stand any more.
    fn pass(&mut self, event: &Event, state: &State, id: ArenaId, dead: &[Block]) {
        let (Some(marks), Some(arena)) = (self.arenas.get_mut(&id), state.arena(id)) else { return };
        if !matches!(event.kind, EventKind::Rewind { .. }) {
            marks.open = None;
        }
        let last = arena.marks.last().map_or(EventNumber(0), |mark| mark.moment);
        while let Some(mark) = marks.standing.last().copied().filter(|mark| mark.moment > last) {
            marks.standing.pop();
            if marks.passed.len() >= PASSED {
                marks.passed.pop_front();
            }
            let reset = !matches!(event.kind, EventKind::Rewind { .. });
            let (moment, site, thread) = (event.number, event.site, event.thread);
            let stood = Stood::of(dead, &mark);
            marks.passed.push_back(Passed { mark, moment, site, thread, reset, stood });
        }
    }
}

impl Rule for Scopes {
    fn observe(&mut self, event: &Event, effect: &Effect, state: &State, _: &[u8]) {
        match (effect.what, effect.arena, &event.kind) {
            (What::Marked, Some(arena), EventKind::Mark { mark, .. }) => self.marked(event, state, arena, *mark),
            (What::Rewound, Some(arena), EventKind::Rewind { mark, .. }) => {
                self.rewound(event, effect, state, arena, *mark);
                self.pass(event, state, arena, &effect.dead);
            }
            (What::Reset, Some(arena), _) => self.pass(event, state, arena, &effect.dead),
            (What::Allocated, Some(arena), _) if !self.arenas.is_empty() => {
                if let Some(block) = &effect.block {
                    self.handed_out(event, arena, block);
                }
            }
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

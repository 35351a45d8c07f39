//! All rules over one replay.
//!
//! May be relied on: [`Watch::finish`] sorts findings before notes, then by moment, then by rule. Absent on purpose:
//! the replay itself, which the caller owns and may use for other things in the same pass.

use crate::finding::{Certainty, Class, Finding, SiteRole};
use crate::frees::Frees;
use crate::scopes::Scopes;
use crate::{
    CalledEnded, CursorCorrupted, DoubleFree, GrowthWaste, InvalidFree, NeverStored, NeverUnmapped, NullUsed,
    OffsetNotReset, OnlyGrows, OutOfOrderRewind, Overflow, OverlappingArenas, OverlappingBlocks, PaddingWaste, Precise,
    StaleBytes, StalePointerAfterResize, Touched, UnbalancedScope, Unreachable, UnsynchronisedSharing, UseAfter,
    UseAfterUnmap, WrongArenaFree, fork_private_write, fork_same_block, lifetime_inversion,
};
use alloc::boxed::Box;
use alloc::vec::Vec;
use arenascope_event::{BlobId, Event, EventKind, Mode, ProcessFacts};
use arenascope_replay::{ArenaId, Effect, Replay, State};

/// A rule: observes every event with what it did and the state after it; concludes at the end.
///
/// Facts are only complete at the end of a run (fates of results are decoded then), so rules collect first and judge
/// last. Memory must not grow with the number of events.
pub trait Rule {
    /// One event, its effect, and the state after it. `captured` are the bytes of a capture, as many as were kept; empty
    /// for every other event.
    fn observe(&mut self, event: &Event, effect: &Effect, state: &State, captured: &[u8]);
    /// True for a rule that may judge malloc's own arenas, too, where it is certain. Most may not: malloc's users are
    /// others' business (memcheck, the sanitizers), its arenas live as long as the process by design, and backtraces through
    /// libraries without frame pointers leave callers out.
    fn judges_malloc(&self) -> bool {
        false
    }
    /// The verdict.
    fn finish(self: Box<Self>, state: &State, facts: &ProcessFacts) -> Vec<Finding>;
}

/// What a user may read about a rule.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RuleFacts {
    /// The name, as in `--fail-on`.
    pub name: &'static str,
    /// Bug or note.
    pub class: Class,
    /// What it claims.
    pub claims: &'static str,
}

/// Every rule there is, in the order in which they are listed to users.
pub const RULES: [RuleFacts; 28] = [
    RuleFacts {
        name: NeverStored::NAME,
        class: Class::Finding,
        claims: "the result was thrown away: the code after the call overwrites or abandons it before any read",
    },
    RuleFacts {
        name: NullUsed::NAME,
        class: Class::Finding,
        claims: "the allocator said NULL and the program used it",
    },
    RuleFacts {
        name: Overflow::NAME,
        class: Class::Finding,
        claims: "bytes right behind a block were changed (check mode; precise: or read)",
    },
    RuleFacts {
        name: Overflow::UNDER,
        class: Class::Finding,
        claims: "bytes right before a block were changed (check mode; precise: or read)",
    },
    RuleFacts {
        name: DoubleFree::NAME,
        class: Class::Finding,
        claims: "a block was given back, and given back again before anybody got it anew",
    },
    RuleFacts {
        name: InvalidFree::NAME,
        class: Class::Finding,
        claims: "what was given back is no living block: inside one, or its arena had ended",
    },
    RuleFacts {
        name: WrongArenaFree::NAME,
        class: Class::Finding,
        claims: "a block of one arena was given back to another",
    },
    RuleFacts {
        name: UseAfter::FREE,
        class: Class::Finding,
        claims: "a block was changed after it had been freed (check mode; precise: or read)",
    },
    RuleFacts {
        name: UseAfter::REWIND,
        class: Class::Finding,
        claims: "a block was changed after its arena had gone back behind it (check mode; precise: or read)",
    },
    RuleFacts {
        name: UseAfter::RESET,
        class: Class::Finding,
        claims: "a block was changed after its arena had been emptied (check mode; precise: or read)",
    },
    RuleFacts {
        name: UseAfterUnmap::NAME,
        class: Class::Finding,
        claims: "memory of an arena was touched after it had been unmapped",
    },
    RuleFacts {
        name: OverlappingBlocks::NAME,
        class: Class::Finding,
        claims: "a new block begins in the middle of an older one that still lives",
    },
    RuleFacts {
        name: OverlappingArenas::NAME,
        class: Class::Finding,
        claims: "two living arenas hand out the same bytes, or one was mapped over another",
    },
    RuleFacts {
        name: CursorCorrupted::NAME,
        class: Class::Finding,
        claims: "the arena's cursor left its place without a call, or a block lies outside the arena's memory",
    },
    RuleFacts {
        name: UnsynchronisedSharing::NAME,
        class: Class::Finding,
        claims: "two threads were inside one arena at once, and nothing keeps them apart",
    },
    RuleFacts {
        name: fork_same_block::NAME,
        class: Class::Finding,
        claims: "both sides of a fork were given the same bytes of shared memory",
    },
    RuleFacts {
        name: UnbalancedScope::NAME,
        class: Class::Finding,
        claims: "scopes of two threads in one arena cut across each other",
    },
    RuleFacts {
        name: OutOfOrderRewind::NAME,
        class: Class::Finding,
        claims: "an arena was rewound to a mark whose scope had already ended",
    },
    RuleFacts {
        name: StalePointerAfterResize::NAME,
        class: Class::Finding,
        claims: "a resize moved the block, and an old pointer to it was used",
    },
    RuleFacts {
        name: lifetime_inversion::NAME,
        class: Class::Finding,
        claims: "a block of an outer scope still pointed into a scope that had ended, and was used (check mode; precise: or read)",
    },
    RuleFacts {
        name: Unreachable::NAME,
        class: Class::Note,
        claims: "nothing in the process's memory points at these blocks, and the arena keeps them (run --scan)",
    },
    RuleFacts {
        name: NeverUnmapped::NAME,
        class: Class::Note,
        claims: "the arena's memory stood at exit: never destroyed, unmapped or freed",
    },
    RuleFacts {
        name: OnlyGrows::NAME,
        class: Class::Note,
        claims: "an arena took blocks through the whole run and never gave any back",
    },
    RuleFacts {
        name: OffsetNotReset::NAME,
        class: Class::Note,
        claims: "an arena was emptied, and its cursor stayed where it was",
    },
    RuleFacts { name: StaleBytes::NAME, class: Class::Note, claims: "a new block shows bytes of a previous owner" },
    RuleFacts { name: PaddingWaste::NAME, class: Class::Note, claims: "bytes between blocks, lost to alignment" },
    RuleFacts {
        name: GrowthWaste::NAME,
        class: Class::Note,
        claims: "bytes lost to copies that growing blocks left behind",
    },
    RuleFacts {
        name: fork_private_write::NAME,
        class: Class::Note,
        claims: "a child used a private arena that it inherited, and its parent went on with it",
    },
];

/// Rules that compare the distance of blocks with the sizes asked for: redzones change it.
const MISLED_BY_REDZONES: [&str; 1] = [PaddingWaste::NAME];

/// All rules at work.
pub struct Watch {
    rules: Vec<Box<dyn Rule>>,
}

impl Default for Watch {
    fn default() -> Watch {
        Watch::new()
    }
}

impl Watch {
    /// Every rule that needs no more than events, at the start of a trace.
    pub fn new() -> Watch {
        Watch {
            rules: Vec::from([
                Box::new(NeverStored::new()) as Box<dyn Rule>,
                Box::new(NullUsed::new()),
                Box::new(UseAfterUnmap::new()),
                Box::new(CalledEnded::new()),
                Box::new(UnsynchronisedSharing::new()),
                Box::new(Frees::new()),
                Box::new(OverlappingBlocks::new()),
                Box::new(OverlappingArenas::new()),
                Box::new(CursorCorrupted::new()),
                Box::new(Scopes::new()),
                Box::new(StalePointerAfterResize::new()),
                Box::new(NeverUnmapped::new()),
                Box::new(OnlyGrows::new()),
                Box::new(OffsetNotReset::new()),
                Box::new(StaleBytes::new()),
                Box::new(PaddingWaste::new()),
                Box::new(GrowthWaste::new()),
            ]),
        }
    }

    /// Every rule that can say something of a process run as `facts` says: those that need a mode of their own cost
    /// something at every event.
    pub fn of(facts: &ProcessFacts) -> Watch {
        if facts.sample_bytes > 0 {
            return Watch { rules: Vec::new() };
        }
        let mut watch = Watch::new();
        if facts.mode == Mode::Check {
            watch.rules.push(Box::new(Overflow::new()));
            watch.rules.push(Box::new(UseAfter::new()));
            watch.rules.push(Box::new(Touched::new()));
        }
        if !facts.scans.is_empty() {
            watch.rules.push(Box::new(Unreachable::new(facts)));
        }
        if !facts.reports.is_empty() {
            watch.rules.push(Box::new(Precise::new(facts)));
        }
        watch
    }

    /// How many rules were not asked about this process: each needs all events, or what only another mode records, and a trace of samples
    /// has neither.
    pub fn unasked(facts: &ProcessFacts) -> usize {
        if facts.sample_bytes > 0 { RULES.len() } else { 0 }
    }

    /// One event, the effect that `Replay::apply` returned for it, the state after it, and for a capture its bytes
    /// (what could not be read is an empty slice, for any event).
    pub fn observe(&mut self, event: &Event, effect: &Effect, state: &State, captured: &[u8]) {
        let own = event.kind.arena_order().is_some() && effect.ended.is_empty();
        let of_malloc = own && effect.arena.is_some_and(|id| is_malloc(state, id));
        for rule in &mut self.rules {
            if !of_malloc || rule.judges_malloc() {
                rule.observe(event, effect, state, captured);
            }
        }
    }

    /// The verdicts, in order.
    pub fn finish(self, state: &State, facts: &ProcessFacts) -> Vec<Finding> {
        let mut all: Vec<Finding> = Vec::new();
        for rule in self.rules {
            let judges_malloc = rule.judges_malloc();
            let may_say = |finding: &Finding| {
                let of_malloc = finding.arena.as_ref().is_some_and(|arena| is_malloc(state, arena.id));
                !of_malloc || (judges_malloc && finding.certainty == Certainty::Certain)
            };
            all.extend(rule.finish(state, facts).into_iter().filter(may_say));
        }
        if matches!(facts.mode, Mode::Check | Mode::Precise) {
            all.retain(|finding| !MISLED_BY_REDZONES.contains(&finding.rule));
        }
        // What an access proves needs no second word about what it left behind.
        let by_access = |one: &Finding| one.sites.first().is_some_and(|(role, _)| *role == SiteRole::Touched);
        let left_behind = [StaleBytes::NAME, StalePointerAfterResize::NAME];
        let told: Vec<_> =
            all.iter().filter(|one| left_behind.contains(&one.rule) && by_access(one)).map(about).collect();
        all.retain(|one| by_access(one) || !told.contains(&about(one)));
        // A stable sort: what a rule put in order stays so.
        all.sort_by(|left, right| (left.class, left.moment, left.rule).cmp(&(right.class, right.moment, right.rule)));
        all
    }
}

/// What a finding says, and of which block.
fn about(finding: &Finding) -> (&'static str, Option<ArenaId>, Option<u64>) {
    (finding.rule, finding.arena.as_ref().map(|arena| arena.id), finding.block.map(|block| block.number))
}

fn is_malloc(state: &State, id: ArenaId) -> bool {
    state.arena(id).is_some_and(|arena| arena.malloc.is_some())
}

/// Replays `events` from the start of a process and returns what all rules say. `captured` gives the bytes of a
/// capture.
pub fn findings<B: AsRef<[u8]>>(
    facts: &ProcessFacts,
    events: impl IntoIterator<Item = Event>,
    captured: impl Fn(BlobId) -> Option<B>,
) -> Vec<Finding> {
    let mut replay = Replay::new(facts);
    let mut watch = Watch::of(facts);
    for event in events {
        let effect = replay.apply(&event);
        let bytes = match event.kind {
            EventKind::Capture { bytes, .. } => captured(bytes),
            _ => None,
        };
        watch.observe(&event, &effect, replay.state(), bytes.as_ref().map_or(&[], AsRef::as_ref));
    }
    watch.finish(replay.state(), facts)
}

//! `growth-waste`: copies that growing blocks left behind.
//!
//! - **Claims**: resizes moved blocks, and the places they left were never handed out again: so many bytes hold old copies. A note.
//! - **Needs** events only, and a resize role: growing by hand (a new block and a copy) cannot be told from two blocks.
//! - **Evidence**: the moves, and that no later block of the arena began in a place that was left. At least 4 KiB and a tenth
//!   of what the arenas handed out.
//! - **Disproof**: a free that no role names, so that the old place was given back and only happened not to be used.
//! - **Silent**: where a free role is watched, or a block was handed out between the places left since the arena was last emptied
//!   (the allocator uses places again); when events were lost.
//! - **Lab**: none plants it; 13b moves one block.
//!
//! Grouped by the line that resizes. Memory: a few words for each arena and site.

use crate::finding::{BlockRef, Certainty, Class, Finding, SiteRole};
use crate::watch::Rule;
use crate::wording::{self, CallingLine};
use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::vec::Vec;
use arenascope_event::{Address, Event, EventNumber, ProcessFacts, Role, SiteId, ThreadNumber};
use arenascope_replay::{ArenaId, Effect, State, What};

const LEAST_BYTES: u64 = 4096;

/// Blocks that one site moved.
#[derive(Clone, Debug)]
struct Moves {
    arena: ArenaId,
    block: BlockRef,
    moment: EventNumber,
    allocated: Option<SiteId>,
    count: u64,
    bytes: u64,
    threads: BTreeSet<ThreadNumber>,
}

/// The rule.
#[derive(Clone, Debug, Default)]
pub struct GrowthWaste {
    moves: BTreeMap<Option<SiteId>, Moves>,
    /// Lowest and highest byte left in an arena that moved a block, since it went back.
    left: BTreeMap<ArenaId, (Address, Address)>,
    /// Bytes handed out by resizes; those of allocs are in the arenas' counts.
    grown: u64,
    /// A place that was left was handed out again.
    reuses: bool,
}

impl GrowthWaste {
    /// Its name.
    pub const NAME: &'static str = "growth-waste";

    /// At the start of a trace.
    pub fn new() -> GrowthWaste {
        GrowthWaste::default()
    }

    fn place(&mut self, arena: ArenaId, from: Address, to: Address) {
        if let Some((low, high)) = self.left.get(&arena)
            && from < *high
            && *low < to
        {
            self.reuses = true;
        }
    }
}

impl Rule for GrowthWaste {
    fn observe(&mut self, event: &Event, effect: &Effect, state: &State, _: &[u8]) {
        if effect.arena.and_then(|id| state.arena(id)).is_some_and(arenascope_replay::Arena::lies_apart) {
            return;
        }
        let (Some(arena), Some(block)) = (effect.arena, &effect.block) else {
            if let (What::Reset | What::Rewound | What::Destroyed, Some(arena)) = (effect.what, effect.arena)
                && !self.left.is_empty()
            {
                self.left.remove(&arena);
            }
            return;
        };
        match (effect.what, &effect.before, effect.place) {
            (What::Allocated | What::HandedOn { .. }, ..) if !self.left.is_empty() => {
                self.place(arena, block.address, block.end());
            }
            (What::Resized { moved: true }, Some(before), Some(place)) => {
                self.place(arena, block.address, block.end());
                self.grown = self.grown.saturating_add(block.size);
                let left = self.left.entry(arena).or_insert((before.address, before.end()));
                // Blocks between two places that were left are none: only what lies before all of them counts as below.
                *left = (left.0.min(before.address), left.1.max(before.end()));
                let moves = self.moves.entry(event.site).or_insert_with(|| Moves {
                    arena,
                    block: BlockRef {
                        number: block.number,
                        extent: place.extent,
                        offset: place.offset,
                        size: block.size,
                    },
                    moment: event.number,
                    allocated: block.site,
                    count: 0,
                    bytes: 0,
                    threads: BTreeSet::new(),
                });
                moves.count = moves.count.saturating_add(1);
                moves.bytes = moves.bytes.saturating_add(before.size);
                if !moves.threads.contains(&event.thread) {
                    moves.threads.insert(event.thread);
                }
            }
            _ => {}
        }
    }

    fn finish(self: Box<Self>, state: &State, facts: &ProcessFacts) -> Vec<Finding> {
        let frees = facts.hooks.iter().any(|hook| hook.decl.role == Role::Free);
        // What malloc's own arenas do says nothing of the others.
        let arenas = || state.arenas().filter(|arena| arena.malloc.is_none());
        let freed = arenas().any(|arena| arena.counts.frees > 0);
        if frees || freed || self.reuses || facts.lost.events() > 0 || state.missing > 0 {
            return Vec::new();
        }
        let handed_out = arenas().fold(self.grown, |sum, arena| sum.saturating_add(arena.counts.bytes));
        let mut lines: BTreeMap<CallingLine, (Option<SiteId>, Moves)> = BTreeMap::new();
        for (site, moves) in self.moves {
            match lines.entry(CallingLine::of(facts, site)) {
                alloc::collections::btree_map::Entry::Vacant(entry) => {
                    entry.insert((site, moves));
                }
                alloc::collections::btree_map::Entry::Occupied(mut entry) => {
                    let (first, joined) = entry.get_mut();
                    let (count, bytes) =
                        (joined.count.saturating_add(moves.count), joined.bytes.saturating_add(moves.bytes));
                    let threads: BTreeSet<ThreadNumber> = joined.threads.union(&moves.threads).copied().collect();
                    if moves.moment < joined.moment {
                        (*first, *joined) = (site, moves);
                    }
                    (joined.count, joined.bytes, joined.threads) = (count, bytes, threads);
                }
            }
        }
        let much = |moves: &Moves| moves.bytes >= LEAST_BYTES && moves.bytes >= handed_out / 10;
        let lines = lines.into_values().filter(|(_, moves)| much(moves));
        lines.map(|(site, moves)| note(state, facts, site, &moves, handed_out)).collect()
    }
}

fn note(state: &State, facts: &ProcessFacts, site: Option<SiteId>, moves: &Moves, handed_out: u64) -> Finding {
    let per_cent = moves.bytes.saturating_mul(100) / handed_out.max(1);
    let mut sites: Vec<(SiteRole, SiteId)> = site.map(|site| (SiteRole::Allocated, site)).into_iter().collect();
    sites.extend(moves.allocated.map(|site| (SiteRole::Allocated, site)));
    Finding {
        rule: GrowthWaste::NAME,
        class: Class::Note,
        certainty: Certainty::Likely,
        message: format!(
            "{} lie in copies that growing blocks left behind, {per_cent} % of all that was handed out: this call moved a block {} \
             times",
            wording::bytes(moves.bytes),
            moves.count
        ),
        arena: Some(wording::arena_ref(state, facts, moves.arena)),
        block: Some(moves.block),
        moment: moves.moment,
        threads: moves.threads.iter().copied().collect(),
        sites,
        calls: Vec::new(),
        because: "a resize that moves leaves the old place as it is, and no later block began there".to_owned(),
        evidence: Vec::new(),
        disproof: "a free that no role names, which gave the old places back".to_owned(),
        next: "ask for the final size at once, grow in larger steps, or keep what grows the last block of its arena"
            .to_owned(),
        count: moves.count.max(1),
        bytes: moves.bytes,
    }
}

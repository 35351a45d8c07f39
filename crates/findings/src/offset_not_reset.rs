//! `offset-not-reset`: an arena was emptied, and its cursor stayed where it was.
//!
//! - **Claims**: what the arena handed out before it was emptied can never be handed out again, for the next blocks began behind
//!   it. A note: capacity is lost over time, nothing is broken.
//! - **Needs** events only.
//! - **Evidence**: at least twice, the first block after a reset (or after the arena was destroyed and made anew over the same
//!   memory) began where the last one had ended, or later in the same extent, and none ever began lower again. Certain when
//!   the arena then refused a block that would have fitted into what was lost; else likely.
//! - **Disproof**: memory that shall not be used again so soon (a ring, halves used by turns), or a role that is wrong: a
//!   function that is called reset and only clears.
//! - **Silent**: after one reset; where a later block lies lower (a ring that came round); where a reset empties several extents
//!   (chunks are given back, others taken); when events were lost. Blocks freed one by one are no
//!   reset: many arenas free nothing until they end.
//! - **Lab**: 15a.
//!
//! Grouped by the line that empties. Memory: a few words for each arena object.

use crate::finding::{Certainty, Class, Finding, SiteRole};
use crate::watch::Rule;
use crate::wording::{self, CallingLine};
use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::vec::Vec;
use arenascope_event::{Address, ArenaKey, Event, EventKind, EventNumber, ProcessFacts, SiteId, ThreadNumber};
use arenascope_replay::{Arena, ArenaId, Block, Effect, How, State, What};

/// Times that an arena must go on behind what it gave back.
const LEAST_TIMES: u64 = 2;

/// What an arena had handed out when it was emptied: `from..to` in the extent from `start` to `end`.
#[derive(Clone, Copy, Debug)]
struct Emptied {
    from: Address,
    to: Address,
    start: Address,
    end: Address,
    role: SiteRole,
    site: Option<SiteId>,
    moment: EventNumber,
}

/// What was lost so far under one arena object.
#[derive(Clone, Debug)]
struct Lost {
    arena: ArenaId,
    times: u64,
    bytes: u64,
    /// Lowest byte lost: a block that begins before the last one's end here came back.
    from: Address,
    to: Address,
    first: Emptied,
    refused: Option<(EventNumber, u64, Option<SiteId>)>,
    thread: ThreadNumber,
}

/// Arenas emptied by one line.
#[derive(Clone, Debug)]
struct Group {
    worst: Lost,
    arenas: u64,
    times: u64,
    bytes: u64,
    threads: BTreeSet<ThreadNumber>,
}

/// The rule.
#[derive(Clone, Debug, Default)]
pub struct OffsetNotReset {
    emptied: BTreeMap<ArenaKey, Emptied>,
    lost: BTreeMap<ArenaKey, Lost>,
}

impl OffsetNotReset {
    /// Its name.
    pub const NAME: &'static str = "offset-not-reset";

    /// At the start of a trace.
    pub fn new() -> OffsetNotReset {
        OffsetNotReset::default()
    }

    /// Takes note of what `arena` had handed out, if all of it lay in one extent.
    fn empty<'a>(&mut self, key: ArenaKey, arena: &Arena, blocks: impl Iterator<Item = &'a Block>, event: &Event) {
        self.emptied.remove(&key);
        let mut range: Option<(u32, Address, Address)> = None;
        for block in blocks {
            range = match range {
                None => Some((block.extent, block.address, block.end())),
                Some((extent, from, to)) if extent == block.extent => {
                    Some((extent, from.min(block.address), to.max(block.end())))
                }
                Some(_) => return,
            };
        }
        let Some((extent, from, to)) = range else { return };
        let Some(extent) = arena.extent(extent).filter(|_| from < to) else { return };
        let role = match event.kind {
            EventKind::Destroy { .. } => SiteRole::Destroyed,
            _ => SiteRole::Reset,
        };
        let (start, end) = (extent.start, extent.end());
        self.emptied.insert(key, Emptied { from, to, start, end, role, site: event.site, moment: event.number });
    }

    /// The first block after that.
    fn go_on(&mut self, key: ArenaKey, arena: ArenaId, block: &Block, thread: ThreadNumber) {
        let came_back = self.lost.get(&key).is_some_and(|lost| lost.from <= block.address && block.address < lost.to);
        if came_back {
            self.lost.remove(&key);
        }
        let Some(emptied) = self.emptied.remove(&key) else { return };
        // Memory of another range: chunks, or an arena made anew elsewhere.
        let behind = emptied.to <= block.address && block.end() <= emptied.end && emptied.start <= emptied.from;
        if !behind {
            self.lost.remove(&key);
            return;
        }
        let lost = self.lost.entry(key).or_insert(Lost {
            arena,
            times: 0,
            bytes: 0,
            from: emptied.from,
            to: emptied.to,
            first: emptied,
            refused: None,
            thread,
        });
        lost.times = lost.times.saturating_add(1);
        lost.bytes = lost.bytes.saturating_add(emptied.to.0.saturating_sub(emptied.from.0));
        lost.from = lost.from.min(emptied.from);
        lost.to = lost.to.max(emptied.to);
        lost.arena = arena;
    }
}

impl Rule for OffsetNotReset {
    fn observe(&mut self, event: &Event, effect: &Effect, state: &State, _: &[u8]) {
        let Some((key, _)) = event.kind.arena_order() else { return };
        let Some(id) = effect.arena else { return };
        if state.arena(id).is_some_and(Arena::lies_apart) {
            return;
        }
        match (effect.what, &effect.block) {
            (What::Reset, _) if !effect.dead.is_empty() => {
                if let Some(arena) = state.arena(id) {
                    self.empty(key, arena, effect.dead.iter(), event);
                }
            }
            (What::Destroyed, _) => {
                if let Some(arena) = state.arena(id).filter(|arena| arena.generation == 0) {
                    let blocks =
                        arena.portrait().filter(|block| block.died.is_some_and(|died| died.how == How::Destroyed));
                    self.empty(key, arena, blocks, event);
                }
            }
            (What::Allocated, Some(block)) if !(self.emptied.is_empty() && self.lost.is_empty()) => {
                self.go_on(key, id, block, event.thread);
            }
            (What::Refused, _) => {
                let (EventKind::Alloc { size, .. } | EventKind::Resize { size, .. }) = event.kind else { return };
                if let Some(lost) = self.lost.get_mut(&key).filter(|lost| lost.arena == id && size <= lost.bytes) {
                    // Emptied once more, and not back this time either.
                    if let Some(emptied) = self.emptied.remove(&key) {
                        lost.times = lost.times.saturating_add(1);
                        lost.bytes = lost.bytes.saturating_add(emptied.to.0.saturating_sub(emptied.from.0));
                    }
                    lost.refused.get_or_insert((event.number, size, event.site));
                }
            }
            _ => {}
        }
    }

    fn finish(self: Box<Self>, state: &State, facts: &ProcessFacts) -> Vec<Finding> {
        if facts.lost.events() > 0 || state.missing > 0 {
            return Vec::new();
        }
        let mut groups: BTreeMap<CallingLine, Group> = BTreeMap::new();
        for lost in self.lost.into_values().filter(|lost| lost.times >= LEAST_TIMES) {
            let line = CallingLine::of(facts, lost.first.site);
            let fresh = || Group { worst: lost.clone(), arenas: 0, times: 0, bytes: 0, threads: BTreeSet::new() };
            let group = groups.entry(line).or_insert_with(fresh);
            group.arenas = group.arenas.saturating_add(1);
            group.times = group.times.saturating_add(lost.times);
            group.bytes = group.bytes.saturating_add(lost.bytes);
            group.threads.insert(lost.thread);
            let rank = |lost: &Lost| (lost.refused.is_some(), lost.bytes);
            if rank(&lost) > rank(&group.worst) {
                group.worst = lost;
            }
        }
        groups.into_values().map(|group| note(state, facts, &group)).collect()
    }
}

fn note(state: &State, facts: &ProcessFacts, group: &Group) -> Finding {
    let worst = &group.worst;
    let arena = wording::arena_ref(state, facts, worst.arena);
    let done = if worst.first.role == SiteRole::Destroyed { "destroyed and made again" } else { "reset" };
    let others = match group.arenas {
        0 | 1 => "".to_owned(),
        count => format!(" (as {} more arenas did)", count.saturating_sub(1)),
    };
    let bytes = wording::bytes(worst.bytes);
    let message = format!(
        "arena {} was {done} {} times and went on behind what it had given back: {bytes} cannot be handed out again{others}",
        arena.id, worst.times
    );
    let first = worst.first;
    let mut because = format!(
        "the block after #{} began at or after +{}, where the last one had ended, and no later block began lower",
        first.moment.0,
        first.to.0.saturating_sub(first.start.0)
    );
    if let Some((moment, size, _)) = worst.refused {
        because.push_str(&format!("; at #{} the arena refused {}", moment.0, wording::bytes(size)));
    }
    let mut sites: Vec<(SiteRole, SiteId)> = first.site.map(|site| (first.role, site)).into_iter().collect();
    sites.extend(worst.refused.and_then(|(_, _, site)| site).map(|site| (SiteRole::Allocated, site)));
    Finding {
        rule: OffsetNotReset::NAME,
        class: Class::Note,
        certainty: if worst.refused.is_some() { Certainty::Certain } else { Certainty::Likely },
        message,
        arena: Some(arena),
        block: None,
        moment: first.moment,
        threads: group.threads.iter().copied().collect(),
        sites,
        calls: Vec::new(),
        because,
        evidence: Vec::new(),
        disproof: "memory that shall rest before it is used again (a ring, halves by turns); or a role that is wrong: the function \
                   only clears"
            .to_owned(),
        next: "set the offset back where the arena is emptied".to_owned(),
        count: group.times.max(1),
        bytes: group.bytes,
    }
}

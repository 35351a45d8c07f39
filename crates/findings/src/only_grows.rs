//! `only-grows`: an arena took blocks through the whole run and never gave any back.
//!
//! - **Claims**: this arena is as old as the program's work, its use grew all the time, and nothing ever emptied it. A note: some
//!   programs shall do that (a compiler, a tool that ends soon); in a program that stays it is a leak with a roof.
//! - **Needs** events only.
//! - **Evidence**: no reset, rewind, free or destroy; at least 1,000 blocks and 64 KiB; in each eighth of the run at least a fair
//!   share of the bytes; a run of at least ten seconds.
//! - **Disproof**: an end that the run did not reach; a reset that is no call, or that no role names.
//! - **Silent**: short runs; arenas filled at the start; arenas that anything was given back to; when events were lost; in a
//!   process that was forked (what its parent did is not here); the malloc family. Possible, never more: the future is not known.
//! - **Lab**: none; tests only.
//!
//! Memory: a growth curve of sixteen steps for each arena.

use crate::finding::{Certainty, Class, Finding, SiteRole};
use crate::watch::Rule;
use crate::wording::{self, CallingLine};
use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::vec::Vec;
use arenascope_event::{Event, ProcessFacts};
use arenascope_replay::{Arena, ArenaId, Effect, State, What};

const LEAST_BLOCKS: u64 = 1000;
const LEAST_BYTES: u64 = 64 << 10;
const LEAST_NS: u64 = 10_000_000_000;
/// Steps of a curve: twice as many as are looked at, for the last one kept may be anywhere between half full and full.
const STEPS: usize = 16;
/// Parts of the run, each of which must have had its share.
const PARTS: u64 = 8;

/// Bytes handed out in equal stretches of time from the start of the trace.
#[derive(Clone, Copy, Debug)]
struct Curve {
    step_ns: u64,
    bytes: [u64; STEPS],
}

impl Curve {
    const FIRST_STEP_NS: u64 = 1 << 20;

    fn new() -> Curve {
        Curve { step_ns: Curve::FIRST_STEP_NS, bytes: [0; STEPS] }
    }

    fn add(&mut self, time_ns: u64, bytes: u64) {
        while time_ns / self.step_ns >= STEPS as u64 && self.step_ns < 1 << 62 {
            let mut halved = [0_u64; STEPS];
            for (pair, place) in self.bytes.chunks(2).zip(&mut halved) {
                *place = pair.iter().fold(0, |sum, bytes| sum.saturating_add(*bytes));
            }
            (self.bytes, self.step_ns) = (halved, self.step_ns.saturating_mul(2));
        }
        let step = usize::try_from(time_ns / self.step_ns).unwrap_or(STEPS);
        if let Some(place) = self.bytes.get_mut(step) {
            *place = place.saturating_add(bytes);
        }
    }

    /// Whether each part of `end_ns` had at least a quarter of an even share.
    fn grew_throughout(&self, end_ns: u64) -> bool {
        let steps = end_ns / self.step_ns;
        let Ok(whole) = usize::try_from(steps) else { return false };
        let Some(bytes) = self.bytes.get(..whole).filter(|bytes| bytes.len() as u64 >= PARTS) else { return false };
        let total = bytes.iter().fold(0_u64, |sum, bytes| sum.saturating_add(*bytes));
        let fair = total / (bytes.len() as u64).saturating_mul(4).max(1);
        bytes.iter().all(|bytes| *bytes >= fair.max(1))
    }
}

/// The rule.
#[derive(Clone, Debug, Default)]
pub struct OnlyGrows {
    curves: BTreeMap<ArenaId, Curve>,
    last: Option<(ArenaId, Curve)>,
}

impl OnlyGrows {
    /// Its name.
    pub const NAME: &'static str = "only-grows";

    /// At the start of a trace.
    pub fn new() -> OnlyGrows {
        OnlyGrows::default()
    }
}

impl Rule for OnlyGrows {
    fn observe(&mut self, event: &Event, effect: &Effect, _: &State, _: &[u8]) {
        let Some(arena) = effect.arena else { return };
        match (effect.what, &effect.block) {
            (What::Allocated, Some(block)) => {
                // Blocks come in runs from one arena.
                if self.last.is_none_or(|(last, _)| last != arena) {
                    if let Some((last, curve)) = self.last.take() {
                        self.curves.insert(last, curve);
                    }
                    self.last = Some((arena, self.curves.remove(&arena).unwrap_or_else(Curve::new)));
                }
                if let Some((_, curve)) = &mut self.last {
                    curve.add(event.time_ns, block.size);
                }
            }
            (What::Destroyed | What::Created { .. }, _) => {
                for ended in &effect.ended {
                    self.curves.remove(ended);
                }
            }
            _ => {}
        }
    }

    fn finish(mut self: Box<Self>, state: &State, facts: &ProcessFacts) -> Vec<Finding> {
        if let Some((last, curve)) = self.last.take() {
            self.curves.insert(last, curve);
        }
        let complete = facts.lost.events() == 0 && state.missing == 0;
        if !complete || facts.fork_id != 0 || facts.watches_malloc || state.time_ns < LEAST_NS {
            return Vec::new();
        }
        let kept = |arena: &&Arena| {
            let counts = &arena.counts;
            let never = counts.resets == 0 && counts.rewinds == 0 && counts.frees == 0 && counts.overwritten == 0;
            let much = counts.allocs >= LEAST_BLOCKS && counts.bytes >= LEAST_BYTES;
            let grew = self.curves.get(&arena.id).is_some_and(|curve| curve.grew_throughout(state.time_ns));
            never && much && grew && arena.is_alive()
        };
        let mut lines: BTreeMap<CallingLine, (&Arena, u64, u64)> = BTreeMap::new();
        for arena in state.arenas().filter(kept) {
            let line = lines.entry(CallingLine::of(facts, arena.born_site)).or_insert((arena, 0, 0));
            line.1 = line.1.saturating_add(1);
            line.2 = line.2.saturating_add(arena.live_bytes());
        }
        lines.into_values().map(|(arena, count, bytes)| note(state, facts, arena, count, bytes)).collect()
    }
}

fn note(state: &State, facts: &ProcessFacts, arena: &Arena, count: u64, bytes: u64) -> Finding {
    let seconds = state.time_ns / 1_000_000_000;
    let others = match count {
        0 | 1 => "".to_owned(),
        count => format!(" (as {} more did)", count.saturating_sub(1)),
    };
    Finding {
        rule: OnlyGrows::NAME,
        class: Class::Note,
        certainty: Certainty::Possible,
        message: format!(
            "arena {} grew through all {seconds} seconds of the run, to {} in {} blocks, and gave nothing back{others}",
            arena.id,
            wording::bytes(arena.live_bytes()),
            arena.live_blocks()
        ),
        arena: Some(wording::arena_ref(state, facts, arena.id)),
        block: None,
        moment: arena.born.moment(),
        threads: arena.threads.iter().copied().collect(),
        sites: arena.born_site.map(|site| (SiteRole::Created, site)).into_iter().collect(),
        calls: Vec::new(),
        because: "no reset, rewind, free or destroy of it was seen, and every eighth of the run added its share"
            .to_owned(),
        evidence: Vec::new(),
        disproof: "a reset that no role names, or an end of its use that the run did not reach".to_owned(),
        next: "empty it where a piece of work ends; nothing, if the program ends soon anyway".to_owned(),
        count: count.max(1),
        bytes,
    }
}

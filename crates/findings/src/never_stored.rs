//! `never-stored`: the allocator's result was thrown away.
//!
//! Evidence: the caller's machine code after the call, decoded once per site by the launcher (`SiteFacts::fate`).
//! Only `Dropped` accuses: on every path the result is overwritten or abandoned before anything reads it. What is
//! read, returned to unknown callers, or not decoded for sure is silent. So is every alloc function that hands the
//! block out through a pointer, for its result is not the block; events do not say which function they came from, so
//! one such function among the watched silences the rule. Grouped by the chain of calls up to the one that drops.

use crate::finding::{BlockRef, Certainty, Class, Finding, SiteRole};
use crate::watch::Rule;
use crate::wording;
use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use arenascope_event::{
    Address, Argument, Event, EventNumber, FateKind, ProcessFacts, Role, SiteFacts, SiteId, ThreadNumber,
};
use arenascope_replay::{ArenaId, Effect, State, What};

/// The first block of a site.
#[derive(Clone, Copy, Debug)]
struct First {
    moment: EventNumber,
    arena: ArenaId,
    block: BlockRef,
}

/// Blocks allocated at one site.
#[derive(Clone, Debug, Default)]
struct Tally {
    first: Option<First>,
    count: u64,
    bytes: u64,
    threads: BTreeSet<ThreadNumber>,
}

impl Tally {
    fn join(&mut self, other: Tally) {
        let earlier = |one: &First, two: &First| one.moment <= two.moment;
        self.first = match (self.first, other.first) {
            (Some(one), Some(two)) => Some(if earlier(&one, &two) { one } else { two }),
            (one, two) => one.or(two),
        };
        self.count = self.count.saturating_add(other.count);
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.threads.extend(other.threads);
    }
}

/// The rule.
#[derive(Clone, Debug, Default)]
pub struct NeverStored {
    sites: BTreeMap<SiteId, Tally>,
}

impl NeverStored {
    /// Its name.
    pub const NAME: &'static str = "never-stored";

    /// At the start of a trace.
    pub fn new() -> NeverStored {
        NeverStored::default()
    }
}

impl Rule for NeverStored {
    fn observe(&mut self, event: &Event, effect: &Effect, _: &State) {
        let (Some(arena), Some(block), Some(place)) = (effect.arena, &effect.block, effect.place) else { return };
        match effect.what {
            // A resize of nothing, or of an unknown block, is an effect of the same kind, but its result is not ours.
            What::Allocated if matches!(event.kind, arenascope_event::EventKind::Alloc { .. }) => {}
            What::HandedOn { from } => {
                // The inner function's block is its outer caller's: what became of the inner result says nothing.
                if let Some(tally) = from.and_then(|from| self.sites.get_mut(&from)) {
                    tally.count = tally.count.saturating_sub(1);
                    tally.bytes = tally.bytes.saturating_sub(block.size);
                    let this = |first: &First| first.arena == arena && first.block.number == block.number;
                    if tally.first.as_ref().is_some_and(this) {
                        tally.first = None;
                    }
                }
                if !matches!(event.kind, arenascope_event::EventKind::Alloc { .. }) {
                    return;
                }
            }
            _ => return,
        }
        let Some(site) = event.site else { return };
        let tally = self.sites.entry(site).or_default();
        let block = BlockRef { number: block.number, extent: place.extent, offset: place.offset, size: block.size };
        tally.first.get_or_insert(First { moment: event.number, arena, block });
        tally.count = tally.count.saturating_add(1);
        tally.bytes = tally.bytes.saturating_add(block.size);
        tally.threads.insert(event.thread);
    }

    fn finish(self: Box<Self>, state: &State, facts: &ProcessFacts) -> Vec<Finding> {
        if hands_out_through_a_pointer(facts) {
            return Vec::new();
        }
        let mut groups: BTreeMap<Vec<Address>, (SiteId, Tally)> = BTreeMap::new();
        for (site, tally) in self.sites {
            let known = usize::try_from(site.0).ok().and_then(|index| facts.sites.get(index));
            let Some(known) = known.filter(|known| known.fate.kind == FateKind::Dropped) else { continue };
            if tally.count == 0 || tally.first.is_none() {
                continue;
            }
            match groups.entry(chain(known)) {
                alloc::collections::btree_map::Entry::Vacant(entry) => {
                    entry.insert((site, tally));
                }
                alloc::collections::btree_map::Entry::Occupied(mut entry) => {
                    let (first_site, joined) = entry.get_mut();
                    let before = joined.first.map(|first| first.moment);
                    joined.join(tally);
                    if joined.first.map(|first| first.moment) != before {
                        *first_site = site;
                    }
                }
            }
        }
        let mut findings: Vec<Finding> =
            groups.into_values().filter_map(|(site, tally)| accuse(state, facts, site, &tally)).collect();
        findings.sort_by_key(|finding| finding.moment);
        findings
    }
}

/// The calls from the allocator's direct caller up to the one that dropped the result.
fn chain(site: &SiteFacts) -> Vec<Address> {
    let frames = usize::try_from(site.fate.depth).unwrap_or(usize::MAX).saturating_add(1);
    site.addresses.iter().take(frames).copied().collect()
}

/// Where a caller further out dropped what its callee had returned: `; main does so at f.c:33`. Nothing when the direct
/// caller did, whose line the finding's site is.
fn dropped_at(site: &SiteFacts) -> Option<String> {
    let depth = usize::try_from(site.fate.depth).ok().filter(|depth| *depth > 0)?;
    let address = *site.addresses.get(depth)?;
    let frame = site.frames.iter().find(|frame| frame.address == address && !frame.file.is_empty())?;
    let file = frame.file.rsplit('/').next().unwrap_or(&frame.file);
    Some(format!("; {} does so at {file}:{}", frame.function, frame.line))
}

fn hands_out_through_a_pointer(facts: &ProcessFacts) -> bool {
    let allocs = facts.hooks.iter().filter(|hook| hook.decl.role == Role::Alloc);
    let mut arguments = allocs.flat_map(|hook| &hook.decl.arguments);
    arguments.any(|argument| *argument == Argument::BlockOut)
}

fn accuse(state: &State, facts: &ProcessFacts, site: SiteId, tally: &Tally) -> Option<Finding> {
    let first = tally.first?;
    let block = first.block;
    let arena = wording::arena_ref(state, facts, first.arena);
    let what = if block.size == 0 { "a block".to_owned() } else { wording::bytes(block.size) };
    let them = if block.size > 1 { "them" } else { "it" };
    let chunk = if block.extent > 1 { format!(" of extent {}", block.extent) } else { String::new() };
    let more = match tally.count {
        0 | 1 => String::new(),
        count => format!(" ({count} times here, {} in all)", wording::bytes(tally.bytes)),
    };
    let known = facts.sites.get(usize::try_from(site.0).ok()?)?;
    let fate = &known.fate;
    let mut because = if fate.because.is_empty() {
        "the code after the call overwrites the result before anything reads it".to_owned()
    } else {
        fate.because.clone()
    };
    if let Some(place) = dropped_at(known) {
        because.push_str(&place);
    }
    Some(Finding {
        rule: NeverStored::NAME,
        class: Class::Finding,
        certainty: Certainty::Certain,
        message: format!(
            "{what} at +{}{chunk}, block {} of arena {}: allocated, and nobody kept {them}{more}",
            block.offset, block.number, arena.id
        ),
        arena: Some(arena),
        block: Some(block),
        moment: first.moment,
        threads: tally.threads.iter().copied().collect(),
        sites: Vec::from([(SiteRole::Allocated, site)]),
        because,
        disproof: "an instruction after the call that reads the result before it is overwritten, on any path"
            .to_owned(),
        next: "keep the pointer, or drop the call".to_owned(),
        count: tally.count.max(1),
        bytes: tally.bytes,
    })
}

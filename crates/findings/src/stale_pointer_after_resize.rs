//! `stale-pointer-after-resize`: a resize moved the block, and an old pointer to it was used.
//!
//! - **Claims**: bytes where the block had been were written after it had moved away, and nobody had been handed them since.
//! - **Needs** events and captures: the recorder saves what a moved block left, up to 1 KiB, just after the resize returned; the
//!   capture of the arena before its next reset, its end or the exit shows the same place again.
//! - **Evidence**: both, and which bytes differ. Reads leave nothing behind: they need `--precise`.
//! - **Disproof**: an allocator that writes into memory it has taken back; a program that goes on with the old copy on purpose.
//! - **Silent**: in shared mappings, which other processes write to; where any block was freed, rewound or handed out near the old
//!   place meanwhile; changes that are only pointers into the arena or a module (links of free lists), or leave one value
//!   throughout (wiped, filled); when events were lost; when an alloc function is not watched in full: its blocks may lie there.
//!   Where a free role is watched the allocator may keep the old place on a list: then also where the arena ever freed a block
//!   or handed one out since, and for words that became zero or point into the arena object. Likely, not certain, then, and
//!   with roles found by shape in an arena of several extents.
//! - **Lab**: 13b.
//!
//! Grouped by the line that resizes. Memory: at most 512 places left, and one tally for each site.

use crate::finding::{BlockRef, Certainty, Class, Evidence, Finding, SiteRole};
use crate::watch::Rule;
use crate::wording::{self, CallingLine};
use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::vec::Vec;
use arenascope_event::{
    Address, ArenaKey, CaptureReason, Event, EventKind, EventNumber, HookStatus, ProcessFacts, Role, SiteId,
    ThreadNumber, Watched,
};
use arenascope_replay::{Arena, ArenaId, Block, Effect, State, What};
use core::ops::Range;

/// Places kept; the oldest by address go first.
const PLACES: usize = 512;
/// The longest place the recorder saves.
const PLACE_BYTES: u64 = 1024;
/// Linux's MAP_SHARED, and how many such mappings are kept apart; with more the rule says nothing.
const MAP_SHARED: u32 = 1;
const SHARED: usize = 256;
/// An arena object is taken to be this long.
const OBJECT_BYTES: u64 = 4096;
/// Around a new block this much may be the allocator's own.
const AROUND_BYTES: u64 = 64;

/// Where a block had been.
#[derive(Clone, Debug)]
struct Place {
    arena: ArenaId,
    number: u64,
    /// From the extent's start.
    offset: u64,
    now: BlockRef,
    bytes: Vec<u8>,
    moment: EventNumber,
    resized: Option<SiteId>,
    allocated: Option<SiteId>,
    thread: ThreadNumber,
    /// The arena has more than one extent.
    chunked: bool,
}

/// A place that changed.
#[derive(Clone, Debug)]
struct Used {
    place: Place,
    /// The arena handed out a block since it was left.
    went_on: bool,
    address: Address,
    found: Vec<u8>,
    changed: Vec<Range<usize>>,
    seen: EventNumber,
    count: u64,
}

/// The rule.
#[derive(Clone, Debug, Default)]
pub struct StalePointerAfterResize {
    pending: BTreeMap<ThreadNumber, (ArenaKey, Address, Vec<u8>)>,
    places: BTreeMap<Address, Place>,
    /// The last event, of each arena with places, that may have changed a list of free memory. An entry each, not a mark in each place:
    /// they are many, and allocs come often.
    went_on: BTreeMap<ArenaId, EventNumber>,
    used: BTreeMap<Option<SiteId>, Used>,
    /// Mappings that other processes may write to.
    shared: Vec<(Address, Address)>,
}

impl StalePointerAfterResize {
    /// Its name.
    pub const NAME: &'static str = "stale-pointer-after-resize";

    /// At the start of a trace.
    pub fn new() -> StalePointerAfterResize {
        StalePointerAfterResize::default()
    }

    /// Somebody was handed `block`: places it touches are somebody's again.
    fn hand_out(&mut self, block: &Block) {
        let from = Address(block.address.0.saturating_sub(AROUND_BYTES));
        let to = block.end().plus(AROUND_BYTES);
        let low = Address(from.0.saturating_sub(PLACE_BYTES));
        let near = self.places.range(low..to);
        let touched: Vec<Address> =
            near.filter(|(at, place)| at.plus(place.bytes.len() as u64) > from).map(|(at, _)| *at).collect();
        for address in touched {
            self.places.remove(&address);
        }
    }

    /// The block has moved away: from now on nobody owns its old place.
    fn leave(&mut self, event: &Event, effect: &Effect, arena: &Arena, captured: &[u8]) {
        let (Some(before), Some(block), Some(place)) = (&effect.before, &effect.block, effect.place) else { return };
        let len = usize::try_from(before.size).unwrap_or(usize::MAX).min(captured.len());
        let bytes = captured.get(..len).unwrap_or(&[]);
        let shared = |(start, end): &(Address, Address)| *start <= before.address && before.address < *end;
        if bytes.is_empty() || self.shared.len() > SHARED || self.shared.iter().any(shared) {
            return;
        }
        if self.places.len() >= PLACES {
            self.places.pop_first();
        }
        let now = BlockRef { number: block.number, extent: place.extent, offset: place.offset, size: block.size };
        self.places.insert(
            before.address,
            Place {
                arena: arena.id,
                number: block.number,
                offset: arena.place(before).offset,
                now,
                bytes: bytes.to_owned(),
                moment: event.number,
                resized: event.site,
                allocated: block.site,
                thread: event.thread,
                chunked: arena.extents().count() > 1,
            },
        );
        self.went_on.entry(arena.id).or_insert(event.number);
        // The new place may reach into the old one.
        self.hand_out_exactly(block);
    }

    /// The arena did what may change a list of free memory.
    fn goes_on(&mut self, arena: Option<ArenaId>, moment: EventNumber) {
        if let Some(last) = arena.and_then(|arena| self.went_on.get_mut(&arena)) {
            *last = moment;
        }
    }

    fn hand_out_exactly(&mut self, block: &Block) {
        let overlapped: Vec<Address> = self
            .places
            .range(Address(block.address.0.saturating_sub(PLACE_BYTES))..block.end())
            .filter(|(at, place)| at.plus(place.bytes.len() as u64) > block.address)
            .map(|(at, _)| *at)
            .collect();
        for address in overlapped {
            self.places.remove(&address);
        }
    }

    /// Compares every place of `arena` that lies in `captured`.
    fn look(&mut self, moment: EventNumber, arena: &Arena, base: Address, captured: &[u8]) {
        let end = base.plus(captured.len() as u64);
        let inside: Vec<Address> = self.places.range(base..end).map(|(at, _)| *at).collect();
        for address in inside {
            let Some(place) = self.places.get(&address).filter(|place| place.arena == arena.id) else { continue };
            let start = usize::try_from(address.0.saturating_sub(base.0)).unwrap_or(usize::MAX);
            let found = start.checked_add(place.bytes.len()).and_then(|end| captured.get(start..end));
            let Some(found) = found.filter(|found| *found != place.bytes) else { continue };
            let changed = changed(arena, address, &place.bytes, found);
            let Some(place) = self.places.remove(&address).filter(|_| !changed.is_empty()) else { continue };
            let site = place.resized;
            let went_on = self.went_on.get(&arena.id).is_some_and(|last| *last > place.moment);
            let used = Used { place, went_on, address, found: found.to_owned(), changed, seen: moment, count: 0 };
            let used = self.used.entry(site).or_insert(used);
            used.count = used.count.saturating_add(1);
        }
    }
}

/// Runs of bytes that differ, without words that are links and without a place that was wiped or filled.
fn changed(arena: &Arena, address: Address, was: &[u8], is: &[u8]) -> Vec<Range<usize>> {
    let filled = is.iter().zip(is.iter().skip(1)).all(|(one, next)| one == next);
    if filled {
        return Vec::new();
    }
    let links = |word: &[u8]| {
        let Ok(value) = word.try_into().map(u64::from_le_bytes) else { return false };
        arena.extents().any(|extent| extent.start.0 <= value && value <= extent.end().0)
    };
    // Words of memory, wherever the block begins.
    let skew = usize::try_from(address.0 % 8).unwrap_or(0);
    let mut runs: Vec<Range<usize>> = Vec::new();
    for (index, _) in was.iter().zip(is).enumerate().filter(|(_, (was, is))| was != is) {
        let word = index.saturating_add(skew) / 8 * 8;
        let word = word.checked_sub(skew).and_then(|word| is.get(word..word.saturating_add(8)));
        if word.is_some_and(links) {
            continue;
        }
        match runs.last_mut() {
            Some(run) if run.end == index => run.end = index.saturating_add(1),
            _ => runs.push(index..index.saturating_add(1)),
        }
    }
    runs
}

impl Rule for StalePointerAfterResize {
    fn observe(&mut self, event: &Event, effect: &Effect, state: &State, captured: &[u8]) {
        match event.kind {
            EventKind::Capture { arena, reason: CaptureReason::Resize, base, .. } => {
                self.pending.insert(event.thread, (arena, base, captured.to_owned()));
                return;
            }
            EventKind::Capture { reason, base, .. } if !self.places.is_empty() && !reason.is_of_one_block() => {
                if let Some(arena) = effect.arena.and_then(|id| state.arena(id)) {
                    self.look(event.number, arena, base, captured);
                }
                return;
            }
            EventKind::Map { address, len, flags, .. } if flags & MAP_SHARED != 0 && self.shared.len() <= SHARED => {
                self.shared.push((address, address.plus(len)));
            }
            EventKind::Resize { arena: key, .. } => {
                let seen = self.pending.remove(&event.thread);
                let arena = effect.arena.and_then(|id| state.arena(id));
                let moved = effect.what == What::Resized { moved: true };
                if let Some(block) = &effect.block {
                    self.hand_out(block);
                    self.goes_on(effect.arena, event.number);
                }
                let at = effect.before.as_ref().map(|before| before.address);
                if let (true, Some((of, base, bytes)), Some(arena)) = (moved, seen, arena)
                    && of == key
                    && Some(base) == at
                {
                    self.leave(event, effect, arena, &bytes);
                }
            }
            _ if self.places.is_empty() => return,
            EventKind::Unmap { .. } | EventKind::Remap { .. } | EventKind::HeapFree { .. }
                if effect.died.blocks > 0 || !effect.ended.is_empty() =>
            {
                // Memory under some arena went: which places are left is not worth finding out.
                self.places.clear();
            }
            _ => {}
        }
        match (effect.what, effect.arena, &effect.block) {
            (What::Allocated | What::HandedOn { .. }, arena, Some(block)) => {
                self.hand_out(block);
                self.goes_on(arena, event.number);
            }
            (What::Freed | What::Rewound | What::Reset | What::Destroyed, Some(arena), _) => {
                self.places.retain(|_, place| place.arena != arena);
            }
            _ => {}
        }
        if !effect.ended.is_empty() {
            self.places.retain(|_, place| !effect.ended.contains(&place.arena));
            self.went_on.retain(|arena, _| !effect.ended.contains(arena));
        }
    }

    fn finish(self: Box<Self>, state: &State, facts: &ProcessFacts) -> Vec<Finding> {
        let frees = facts.hooks.iter().any(|hook| hook.decl.role == Role::Free);
        let allocs = facts.hooks.iter().filter(|hook| matches!(hook.decl.role, Role::Alloc | Role::Resize));
        let in_full = allocs.into_iter().all(|hook| matches!(hook.status, HookStatus::Watched));
        if !in_full || facts.lost.events() > 0 || state.missing > 0 {
            return Vec::new();
        }
        let mut lines: BTreeMap<CallingLine, Used> = BTreeMap::new();
        let explained = |used: &Used| frees && may_be_listed(state, used);
        for (site, used) in self.used.into_iter().filter(|(_, used)| !explained(used)) {
            match lines.entry(CallingLine::of(facts, site)) {
                alloc::collections::btree_map::Entry::Vacant(entry) => {
                    entry.insert(used);
                }
                alloc::collections::btree_map::Entry::Occupied(mut entry) => {
                    let joined = entry.get_mut();
                    let count = joined.count.saturating_add(used.count);
                    if used.place.moment < joined.place.moment {
                        *joined = used;
                    }
                    joined.count = count;
                }
            }
        }
        let used = lines.into_values().filter(|used| !links_modules(facts, used));
        used.map(|used| accuse(state, facts, &used, frees)).collect()
    }
}

/// The word of memory that the first byte of `run` lies in, when all of it was seen.
fn word(used: &Used, run: &Range<usize>) -> Option<u64> {
    let skew = usize::try_from(used.address.0 % 8).unwrap_or(0);
    let start = (run.start.saturating_add(skew) / 8 * 8).checked_sub(skew)?;
    let word = used.found.get(start..start.saturating_add(8))?;
    word.try_into().map(u64::from_le_bytes).ok()
}

/// True when the first change wrote a pointer to static memory: where allocators keep the heads of their lists.
fn links_modules(facts: &ProcessFacts, used: &Used) -> bool {
    let value = used.changed.first().and_then(|run| word(used, run));
    value.is_some_and(|value| facts.modules.iter().any(|module| module.start.0 <= value && value < module.end.0))
}

/// True when an allocator that keeps lists of free memory may have written what was found.
fn may_be_listed(state: &State, used: &Used) -> bool {
    let Some(arena) = state.arena(used.place.arena) else { return true };
    let of_lists = |run: &Range<usize>| {
        word(used, run).is_some_and(|value| value == 0 || value.wrapping_sub(arena.object.0) < OBJECT_BYTES)
    };
    used.went_on || arena.counts.frees > 0 || used.changed.iter().all(of_lists)
}

fn accuse(state: &State, facts: &ProcessFacts, used: &Used, frees: bool) -> Finding {
    let place = &used.place;
    let arena = wording::arena_ref(state, facts, place.arena);
    let bytes = used.changed.iter().map(|run| run.len()).sum::<usize>() as u64;
    let more = match used.count {
        0 | 1 => "".to_owned(),
        count => format!(" ({count} blocks of this call)"),
    };
    let sure = (facts.watched == Watched::Given || !place.chunked) && !frees;
    let shown = |bytes: &[u8]| wording::text(bytes).map(|text| format!(" (\"{text}\")")).unwrap_or_default();
    let written = used.changed.first().and_then(|run| used.found.get(run.clone())).map(shown).unwrap_or_default();
    let sites = [place.resized, place.allocated];
    let offset = i64::try_from(place.offset)
        .unwrap_or(i64::MAX)
        .saturating_sub(i64::try_from(place.now.offset).unwrap_or(i64::MAX));
    let evidence = |label: &str, bytes: &[u8], damaged: Vec<Range<usize>>| Evidence {
        label: label.to_owned(),
        address: used.address,
        offset,
        bytes: bytes.to_owned(),
        damaged,
    };
    Finding {
        rule: StalePointerAfterResize::NAME,
        class: Class::Finding,
        certainty: if sure { Certainty::Certain } else { Certainty::Likely },
        message: format!(
            "block {} of arena {} was resized and moved from +{} to +{}, and {} of its old place were written afterwards{more}",
            place.number,
            place.arena,
            place.offset,
            place.now.offset,
            wording::bytes(bytes)
        ),
        arena: Some(arena),
        block: Some(place.now),
        moment: place.moment,
        threads: Vec::from([place.thread]),
        sites: sites.into_iter().flatten().map(|site| (SiteRole::Allocated, site)).collect(),
        calls: Vec::new(),
        because: format!(
            "between the resize at #{} and #{} these bytes changed{written}; nobody was handed them, and nothing of this arena was \
             freed meanwhile",
            place.moment.0, used.seen.0
        ),
        evidence: Vec::from([
            evidence("the old place just after the move", &place.bytes, Vec::new()),
            evidence(&format!("the same at #{}", used.seen.0), &used.found, used.changed.clone()),
        ]),
        disproof:
            "an allocator that writes into memory it took back, or a program that goes on with the old copy on purpose"
                .to_owned(),
        next: "after a resize use only the pointer it returned: look for copies of the old one made before".to_owned(),
        count: used.count.max(1),
        bytes,
    }
}

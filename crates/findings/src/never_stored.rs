//! `never-stored`: the allocator's result was thrown away, and nobody came to use the block.
//!
//! Evidence, both parts needed for a finding:
//! 1. The caller's machine code after the call, decoded once per site by the launcher (`SiteFacts::fate`): on every path
//!    the result is overwritten or abandoned before anything reads it. What is read, returned to unknown callers, or not
//!    decoded for sure is silent. So is every alloc function that hands the block out through a pointer, for its result
//!    is not the block; events do not say which function they came from, so one such function among the watched
//!    silences the rule.
//! 2. The block's own bytes when its arena was captured: still all zero. A result may be thrown away in a correct
//!    program that reaches the block by other means: an array that grows by consecutive calls, an object that is built
//!    step by step, an allocator that also keeps the pointer in its own struct. Such a block gets written. So:
//!
//! | bytes of the call's blocks | said |
//! |---|---|
//! | one of them written, in memory that was not used before | nothing: it is in use |
//! | some zero, none unclear | finding, certain; likely where there are several and each follows another block without a gap |
//! | the same, blocks as small as numbers and pointers: that may be an array of zeros | note, possible |
//! | the same, and one ends a row of blocks of its size, or of multiples (below) | note, possible |
//! | not captured, unclear ones, or only memory that had been used before | note, possible |
//!
//! A list may end with an element of zeros, pushed behind the others, whose address nobody needs. So a block that directly
//! follows one of another call and of a multiple of its size is only noted where no block of its size follows it in turn, or
//! where a row of two blocks of one call comes before; and with it all others of its size in its arena, for where one list ends
//! another may begin.
//!
//! What a capture says of one block is `usage`'s question. Grouped by the chain of calls up to the one that drops.

use crate::finding::{BlockRef, Certainty, Class, Finding, SiteRole};
use crate::usage::{Usage, usages};
use crate::watch::Rule;
use crate::wording;
use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use arenascope_event::{
    Address, Argument, CaptureReason, Event, EventKind, EventNumber, FateKind, ProcessFacts, Role, SiteFacts, SiteId,
    ThreadNumber,
};
use arenascope_replay::{Arena, ArenaId, Block, Effect, State, What};

/// What may lie between two neighbours, bytes: nothing, or the redzones of the modes that ask for more than the program does.
const REDZONES: [u64; 4] = [0, 32, 64, 4096];

/// Arenas and sizes remembered.
const SIZES: usize = 1024;

/// Blocks up to this size are single elements: two numbers or pointers.
const ELEMENT_BYTES: u64 = 16;

/// The first block of a site.
#[derive(Clone, Copy, Debug)]
struct First {
    moment: EventNumber,
    arena: ArenaId,
    block: BlockRef,
}

/// Where an arena's newest block ends, and where the one before it did.
#[derive(Clone, Copy, Debug, Default)]
struct Edge {
    end: Address,
    before: Address,
}

/// What captures showed of the blocks of one site.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    /// Captured, and all zero.
    zero: u64,
    /// Captured in memory that was not used before, with bytes in them.
    written: u64,
    /// Captured, and nothing can be told.
    unclear: u64,
    /// Captured in memory that was used before: as if not captured.
    reused: u64,
}

/// Blocks allocated at one site.
#[derive(Clone, Debug, Default)]
struct Tally {
    first: Option<First>,
    count: u64,
    bytes: u64,
    threads: BTreeSet<ThreadNumber>,
    seen: Seen,
    /// The first block whose captured bytes were all zero, and the capture.
    untouched: Option<(First, EventNumber)>,
    /// Blocks that began where the arena's newest block ended.
    contiguous: u64,
    /// Arenas and sizes of the captured blocks that were all zero; those beyond [`SIZES`] are let be.
    sizes: BTreeSet<(ArenaId, u64)>,
    /// Those of them that may be the last element of a list.
    rows: BTreeSet<(ArenaId, u64)>,
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
        self.seen.zero = self.seen.zero.saturating_add(other.seen.zero);
        self.seen.written = self.seen.written.saturating_add(other.seen.written);
        self.seen.unclear = self.seen.unclear.saturating_add(other.seen.unclear);
        self.seen.reused = self.seen.reused.saturating_add(other.seen.reused);
        self.untouched = match (self.untouched, other.untouched) {
            (Some(one), Some(two)) => Some(if earlier(&one.0, &two.0) { one } else { two }),
            (one, two) => one.or(two),
        };
        self.contiguous = self.contiguous.saturating_add(other.contiguous);
        self.sizes.extend(other.sizes);
        self.rows.extend(other.rows);
    }

    /// What may be said of these blocks; `None` where they are in use. `rows`: arenas and sizes of blocks that end a row.
    fn verdict(&self, rows: &BTreeSet<(ArenaId, u64)>) -> Option<Verdict> {
        let array = self.count > 1 && self.contiguous.saturating_add(1) >= self.count;
        match self.seen {
            Seen { written: 1.., .. } => None,
            Seen { zero: 1.., unclear: 0, .. } => {
                let (first, capture) = self.untouched?;
                if !self.sizes.is_disjoint(rows) {
                    return Some(Verdict::Unproved {
                        first,
                        because: "; its bytes are still zero, but it stands where a list in a row of blocks may end with an \
                                  element of zeros",
                    });
                }
                if array && first.block.size <= ELEMENT_BYTES {
                    return Some(Verdict::Unproved {
                        first,
                        because: "; all of these blocks hold zeros, and they lie side by side: they may be an array",
                    });
                }
                Some(Verdict::Untouched { first, capture, array })
            }
            Seen { zero, unclear, reused, .. } => {
                let because = if zero > 0 || unclear > 0 || reused > 0 {
                    "; whether the block is used through another pointer cannot be told from its bytes"
                } else {
                    "; whether the block is used through another pointer is not known: its bytes were not captured"
                };
                Some(Verdict::Unproved { first: self.first?, because })
            }
        }
    }
}

/// How much the rule may say.
#[derive(Clone, Copy, Debug)]
enum Verdict {
    /// The bytes stayed zero; `array`: but block lies after block.
    Untouched { first: First, capture: EventNumber, array: bool },
    /// Nothing shows whether the block was used.
    Unproved { first: First, because: &'static str },
}

/// The rule.
#[derive(Clone, Debug, Default)]
pub struct NeverStored {
    sites: BTreeMap<SiteId, Tally>,
    /// When an arena first took memory back: later blocks may lie where others lay.
    reclaimed: BTreeMap<ArenaId, EventNumber>,
    edges: BTreeMap<ArenaId, Edge>,
    /// The last fork: what the child did to a block is not seen here.
    forked: Option<EventNumber>,
}

impl NeverStored {
    /// Its name.
    pub const NAME: &'static str = "never-stored";

    /// At the start of a trace.
    pub fn new() -> NeverStored {
        NeverStored::default()
    }
}

impl NeverStored {
    /// Files what a capture shows of each living block under the block's site.
    fn look(&mut self, event: &Event, arena: Option<&Arena>, captured: &[u8]) {
        let EventKind::Capture { base, reason, .. } = event.kind else { return };
        // Bytes of one block tell of an earlier owner, if of anybody; what lives on after a rewind may be written later.
        if reason.is_of_one_block() || reason == CaptureReason::Rewind {
            return;
        }
        let Some(arena) = arena.filter(|_| !captured.is_empty()) else { return };
        let reclaimed = self.reclaimed.get(&arena.id).copied();
        for (block, usage) in usages(arena, reason, base, captured) {
            let Some(site) = block.site.filter(|_| !block.inherited) else { continue };
            let row = usage == Usage::Untouched && ends_a_row(arena, block, &self.sites);
            let Some(tally) = self.sites.get_mut(&site) else { continue };
            let reused = reclaimed.is_some_and(|since| block.born >= since);
            let forked = self.forked.is_some_and(|fork| block.born < fork);
            let untouched = usage == Usage::Untouched && !reused && !forked;
            let count = match usage {
                _ if reused => &mut tally.seen.reused,
                Usage::Untouched if untouched => &mut tally.seen.zero,
                Usage::Written => &mut tally.seen.written,
                Usage::Untouched | Usage::Unclear => &mut tally.seen.unclear,
            };
            *count = count.saturating_add(1);
            if untouched && tally.sizes.len() < SIZES {
                tally.sizes.insert((arena.id, block.size));
            }
            if row && tally.rows.len() < SIZES {
                tally.rows.insert((arena.id, block.size));
            }
            if untouched && tally.untouched.is_none() {
                let place = arena.place(block);
                let block_ref =
                    BlockRef { number: block.number, extent: place.extent, offset: place.offset, size: block.size };
                let first = First { moment: block.born, arena: arena.id, block: block_ref };
                tally.untouched = Some((first, event.number));
            }
        }
    }

    /// Whether `block`, just handed out, began where the arena's newest block had ended.
    fn follows(&mut self, arena: ArenaId, block: &Block, handed_on: bool) -> bool {
        let edge = self.edges.entry(arena).or_default();
        if !handed_on {
            *edge = Edge { end: block.end(), before: edge.end };
        }
        block.size > 0 && edge.before == block.address
    }
}

impl Rule for NeverStored {
    fn observe(&mut self, event: &Event, effect: &Effect, state: &State, captured: &[u8]) {
        match event.kind {
            EventKind::Capture { .. } => {
                return self.look(event, effect.arena.and_then(|id| state.arena(id)), captured);
            }
            EventKind::Fork { .. } => self.forked = Some(event.number),
            _ => {}
        }
        if let (What::Freed | What::Rewound | What::Reset | What::Resized { .. }, Some(arena)) =
            (effect.what, effect.arena)
        {
            self.reclaimed.entry(arena).or_insert(event.number);
        }
        let (Some(arena), Some(block), Some(place)) = (effect.arena, &effect.block, effect.place) else { return };
        match effect.what {
            // A resize of nothing, or of an unknown block, is an effect of the same kind, but its result is not ours.
            What::Allocated if matches!(event.kind, EventKind::Alloc { .. }) => {}
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
                if !matches!(event.kind, EventKind::Alloc { .. }) {
                    return;
                }
            }
            _ => return,
        }
        let follows = self.follows(arena, block, matches!(effect.what, What::HandedOn { .. }));
        let Some(site) = event.site else { return };
        let tally = self.sites.entry(site).or_default();
        tally.contiguous = tally.contiguous.saturating_add(u64::from(follows));
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
        let dropped = |site: &SiteId| {
            let known = usize::try_from(site.0).ok().and_then(|index| facts.sites.get(index));
            known.is_some_and(|known| known.fate.kind == FateKind::Dropped)
        };
        let of_dropped = self.sites.iter().filter(|(site, _)| dropped(site));
        let rows: BTreeSet<(ArenaId, u64)> = of_dropped.flat_map(|(_, tally)| tally.rows.iter().copied()).collect();
        let mut groups: BTreeMap<Vec<Address>, (SiteId, Vec<SiteId>, Tally)> = BTreeMap::new();
        for (site, tally) in self.sites {
            let known = usize::try_from(site.0).ok().and_then(|index| facts.sites.get(index));
            let Some(known) = known.filter(|known| known.fate.kind == FateKind::Dropped) else { continue };
            if tally.count == 0 || tally.first.is_none() {
                continue;
            }
            match groups.entry(chain(known)) {
                alloc::collections::btree_map::Entry::Vacant(entry) => {
                    entry.insert((site, Vec::from([site]), tally));
                }
                alloc::collections::btree_map::Entry::Occupied(mut entry) => {
                    let (first_site, calls, joined) = entry.get_mut();
                    calls.push(site);
                    let before = joined.first.map(|first| first.moment);
                    joined.join(tally);
                    if joined.first.map(|first| first.moment) != before {
                        *first_site = site;
                    }
                }
            }
        }
        let mut findings: Vec<Finding> = groups
            .into_values()
            .filter_map(|(site, calls, tally)| accuse(state, facts, site, &calls, &tally, &rows))
            .collect();
        findings.sort_by_key(|finding| finding.moment);
        findings
    }
}

/// The living block that ends where `block` begins, or a redzone before.
fn before<'a>(arena: &'a Arena, block: &Block) -> Option<&'a Block> {
    let ends = |gap: u64| {
        let older = arena.block_over(Address(block.address.0.checked_sub(gap.checked_add(1)?)?))?;
        (older.end().0.checked_add(gap) == Some(block.address.0)).then_some(older)
    };
    REDZONES.into_iter().find_map(ends)
}

/// True when `block` may be the element that ends a list: see the head of this file.
fn ends_a_row(arena: &Arena, block: &Block, sites: &BTreeMap<SiteId, Tally>) -> bool {
    let Some(older) = before(arena, block) else { return false };
    if older.site == block.site || block.size == 0 || !older.size.is_multiple_of(block.size) {
        return false;
    }
    let after = REDZONES.into_iter().find_map(|gap| arena.block_at(block.end().plus(gap)));
    if after.is_none_or(|after| after.size != block.size) {
        return true;
    }
    let in_a_row = |first: &Block| first.site == older.site && first.size == older.size;
    let repeated = older.site.and_then(|site| sites.get(&site)).is_some_and(|tally| tally.count > 1);
    older.size == block.size && repeated && before(arena, older).is_some_and(in_a_row)
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

/// The sites whose blocks `findings` say nobody kept: bugs, not notes.
pub fn never_kept(findings: &[Finding]) -> BTreeSet<SiteId> {
    let accused = findings.iter().filter(|one| one.rule == NeverStored::NAME && one.class == Class::Finding);
    accused.flat_map(|one| one.calls.iter().copied()).collect()
}

fn accuse(
    state: &State,
    facts: &ProcessFacts,
    site: SiteId,
    calls: &[SiteId],
    tally: &Tally,
    rows: &BTreeSet<(ArenaId, u64)>,
) -> Option<Finding> {
    let verdict = tally.verdict(rows)?;
    let (Verdict::Untouched { first, .. } | Verdict::Unproved { first, .. }) = verdict;
    let block = first.block;
    let arena = wording::arena_ref(state, facts, first.arena);
    let what = if block.size == 0 { "a block".to_owned() } else { wording::bytes(block.size) };
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
    let place = format!("{what} at +{}{chunk}, block {} of arena {}", block.offset, block.number, arena.id);
    let (class, certainty, message) = match verdict {
        Verdict::Untouched { capture, array, .. } => {
            let them = if block.size > 1 { "them" } else { "it" };
            let stayed = if block.size > 1 { "bytes are" } else { "byte is" };
            because.push_str(&format!("; at #{} the block's {stayed} still zero", capture.0));
            let certainty = if array { Certainty::Likely } else { Certainty::Certain };
            (Class::Finding, certainty, format!("{place}: allocated, and nobody kept {them}{more}"))
        }
        Verdict::Unproved { because: why, .. } => {
            because.push_str(why);
            let message = format!("{place}: the result of the call was thrown away{more}");
            (Class::Note, Certainty::Possible, message)
        }
    };
    Some(Finding {
        rule: NeverStored::NAME,
        class,
        certainty,
        message,
        arena: Some(arena),
        block: Some(block),
        moment: first.moment,
        threads: tally.threads.iter().copied().collect(),
        sites: Vec::from([(SiteRole::Allocated, site)]),
        calls: calls.to_vec(),
        because,
        evidence: Vec::new(),
        disproof: "an instruction after the call that reads the result before it is overwritten, on any path; or another \
                   pointer that reaches the block: an array that grows by consecutive calls, or whose last element is of \
                   zeros, an allocator that keeps the address in its own struct; or a use that left nothing but zeros"
            .to_owned(),
        next: match class {
            Class::Finding => "keep the pointer, or drop the call".to_owned(),
            Class::Note => "nothing, if another pointer reaches the block; else keep this one, or drop the call".to_owned(),
        },
        count: tally.count.max(1),
        bytes: tally.bytes,
    })
}

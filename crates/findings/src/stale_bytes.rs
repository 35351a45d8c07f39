//! `stale-bytes`: a new block shows bytes of whoever had its memory before.
//!
//! - **Claims**: this block, when the allocator handed it out, still held bytes that an earlier owner had written, and nobody had
//!   written over them when the place was looked at again. A note: an allocator may leave clearing to its callers, and they write
//!   a block before they read it. It is a bug only where somebody reads before writing, which `--precise` shows.
//! - **Needs** captures: the recorder looks at the first bytes of the first blocks after a reset, rewind or free; and a later one of
//!   the same place.
//! - **Evidence**: the bytes just after the call; the same bytes, none of them changed, in the next capture of the arena (before
//!   its reset, its end, the exit), or when the next block is handed out there; and, after a reset, the same bytes at
//!   the same place in the capture from before it: then it is certain. After a rewind or a free there is no such capture, and it
//!   is likely.
//! - **Disproof**: the allocator itself writes these bytes.
//! - **Silent**: a block whose owner wrote any of the bytes that were looked at (at most 64), which is what blocks are for; one that is
//!   freed, or whose place is handed out again unseen, before the second look; one that the same calls handed out as the former
//!   owner's (rounds of a loop write the same again); bytes that are all alike or a pattern of four or eight bytes (an allocator
//!   that wipes or fills); words that point into the arena, and the first 16 bytes of a block freed before (links and sizes of
//!   free lists); bytes that differ from those before the reset (the allocator wrote them); memory that nobody of this arena had
//!   before; a cursor that the program sets back by hand, of which the recorder knows nothing; an arena destroyed and made again;
//!   check mode, which fills memory itself; the one global arena that nothing creates (malloc and its like: everybody knows that
//!   it clears nothing). An alloc function with an argument of unknown meaning may copy something into the block (`strndup(arena,
//!   text, size)`), and where events were lost another block may have been the owner: then only possible.
//! - **Lab**: 15b.
//!
//! Grouped by the calling line; more than a few lines are one note, for then it is the allocator's way. Memory: what lay first
//! in each arena before its last reset, some dead blocks of each, blocks that wait for their second look, one tally for each
//! site; the first three have limits over all arenas.

use crate::finding::{BlockRef, Certainty, Class, Evidence, Finding, SiteRole};
use crate::watch::Rule;
use crate::wording::{self, CallingLine};
use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use arenascope_event::{
    Address, ArenaKey, Argument, CaptureReason, Event, EventKind, EventNumber, Mode, ProcessFacts, Role, SiteId,
    ThreadNumber,
};
use arenascope_replay::{Arena, ArenaId, Block, Effect, How, State, What};
use core::ops::Range;

/// Bytes kept of what an arena held before its last reset, and of all arenas together.
const KEPT_BYTES: usize = 16 << 10;
const ALL_KEPT_BYTES: usize = 16 << 20;
/// Dead blocks kept of one arena, and of all.
const KEPT_BLOCKS: usize = 32;
const ALL_KEPT_BLOCKS: usize = 1 << 16;
/// Bytes at the start of a freed block that allocators use for themselves.
const FREE_LIST_BYTES: usize = 16;
/// The most that is looked at of a new block.
const LOOK_BYTES: usize = 64;
/// Fewer bytes than this prove nothing.
const LEAST_BYTES: usize = 4;
/// Blocks that wait for a second look; those beyond are not told. The recorder looks at fewer in the life of a process.
const WAITING: usize = 1 << 12;
/// Calling lines that get a note of their own. With more it is the allocator's way, and one note says so.
const NOTES: usize = 3;

/// A block that lost its memory.
#[derive(Clone, Copy, Debug)]
struct Dead {
    number: u64,
    address: Address,
    size: u64,
    site: Option<SiteId>,
    how: How,
    moment: EventNumber,
    by: Option<SiteId>,
}

impl Dead {
    fn covers(&self, address: Address) -> bool {
        self.address <= address && address < self.address.plus(self.size)
    }
}

/// What lay in the memory that an arena's object hands out.
#[derive(Clone, Debug, Default)]
struct Before {
    /// Bytes from before a reset.
    bytes: Vec<(Address, Vec<u8>)>,
    /// More captures of the same moment may come.
    open: bool,
    /// That reset was the last time that the arena went back.
    done: bool,
    /// Blocks that died lately, oldest first.
    dead: VecDeque<Dead>,
}

impl Before {
    fn byte(&self, address: Address) -> Option<u8> {
        self.bytes.iter().find_map(|(base, bytes)| {
            let index = usize::try_from(address.0.checked_sub(base.0)?).ok()?;
            bytes.get(index).copied()
        })
    }

    fn kept(&self) -> usize {
        self.bytes.iter().map(|(_, bytes)| bytes.len()).sum()
    }
}

/// One block that showed bytes of an earlier owner.
#[derive(Clone, Debug)]
struct Shown {
    moment: EventNumber,
    arena: ArenaId,
    block: BlockRef,
    address: Address,
    bytes: Vec<u8>,
    stale: Vec<Range<usize>>,
    /// Equal to what lay there before the reset.
    proved: bool,
    owner: Option<Dead>,
    /// All of them are that owner's.
    alone: bool,
    /// When they were still there.
    seen: EventNumber,
}

/// A block that showed such bytes, until its place is looked at again.
#[derive(Clone, Debug)]
struct Waiting {
    shown: Shown,
    site: Option<SiteId>,
    thread: ThreadNumber,
}

/// Blocks of one site.
#[derive(Clone, Debug)]
struct Tally {
    first: Shown,
    count: u64,
    bytes: u64,
    threads: BTreeSet<ThreadNumber>,
}

/// Sites of one calling line, that of the example first, and what their blocks showed.
type Group = (Vec<Option<SiteId>>, Tally);

/// The rule.
#[derive(Clone, Debug, Default)]
pub struct StaleBytes {
    before: BTreeMap<ArenaKey, Before>,
    kept_bytes: usize,
    kept_blocks: usize,
    /// Bytes of a block about to be told, by thread.
    pending: BTreeMap<ThreadNumber, (ArenaKey, Address, Vec<u8>)>,
    /// By the block's first byte.
    waiting: BTreeMap<Address, Waiting>,
    sites: BTreeMap<Option<SiteId>, Tally>,
}

impl StaleBytes {
    /// Its name.
    pub const NAME: &'static str = "stale-bytes";

    /// At the start of a trace.
    pub fn new() -> StaleBytes {
        StaleBytes::default()
    }

    /// Keeps the first bytes of what is about to be given back.
    fn keep_bytes(&mut self, key: ArenaKey, base: Address, captured: &[u8]) {
        if self.kept_bytes > ALL_KEPT_BYTES {
            self.before.values_mut().for_each(|before| before.bytes = Vec::new());
            self.kept_bytes = 0;
        }
        let before = self.before.entry(key).or_default();
        if !before.open {
            self.kept_bytes = self.kept_bytes.saturating_sub(before.kept());
            before.bytes.clear();
            (before.open, before.done) = (true, false);
        }
        let room = KEPT_BYTES.saturating_sub(before.kept());
        let kept = captured.get(..room).unwrap_or(captured);
        self.kept_bytes = self.kept_bytes.saturating_add(kept.len());
        before.bytes.push((base, kept.to_owned()));
    }

    /// Remembers the first of the blocks that `event` killed: the next ones will lie where they lay.
    fn bury<'a>(&mut self, key: ArenaKey, blocks: impl Iterator<Item = &'a Block>, event: &Event) {
        if self.kept_blocks > ALL_KEPT_BLOCKS {
            self.before.values_mut().for_each(|before| before.dead = VecDeque::new());
            self.kept_blocks = 0;
        }
        let before = self.before.entry(key).or_default();
        for block in blocks.take(KEPT_BLOCKS) {
            if before.dead.len() >= KEPT_BLOCKS {
                before.dead.pop_front();
            } else {
                self.kept_blocks = self.kept_blocks.saturating_add(1);
            }
            before.dead.push_back(Dead {
                number: block.number,
                address: block.address,
                size: block.size,
                site: block.site,
                how: block.died.map_or(How::Freed, |death| death.how),
                moment: event.number,
                by: event.site,
            });
        }
    }

    /// Judges the bytes that `block` showed.
    fn judge(&self, key: ArenaKey, arena: &Arena, block: &Block, bytes: &[u8], moment: EventNumber) -> Option<Shown> {
        let before = self.before.get(&key)?;
        let owner = before.dead.iter().rev().find(|dead| dead.covers(block.address) && dead.moment < moment).copied();
        let bytes = bytes.get(..usize::try_from(block.size).unwrap_or(bytes.len())).unwrap_or(bytes);
        if is_pattern(bytes) {
            return None;
        }
        let freed = owner.is_some_and(|dead| dead.how == How::Freed);
        let own = if freed { FREE_LIST_BYTES } else { 0 };
        let known = before.done && !freed && before.byte(block.address).is_some();
        let links = links(arena, block.address, bytes);
        // A word at a time: single bytes are alike by chance.
        let mut stale = Vec::with_capacity(bytes.len());
        for (word, start) in bytes.chunks(8).zip((0..).step_by(8)) {
            let at = |index: usize| block.address.plus(index.saturating_add(start) as u64);
            let equal = word.iter().enumerate().all(|(index, byte)| before.byte(at(index)) == Some(*byte));
            let told = start >= own && !links.contains(&start) && (equal || !known);
            stale.extend(word.iter().map(|byte| told && *byte != 0));
        }
        let count = stale.iter().filter(|stale| **stale).count();
        if count < LEAST_BYTES || (!known && owner.is_none()) {
            return None;
        }
        let stale = ranges(&stale);
        let at = |index: Option<usize>| block.address.plus(index.unwrap_or(0) as u64);
        let (first, last) = (at(stale.first().map(|run| run.start)), at(stale.last().map(|run| run.end)));
        let owner = before.dead.iter().rev().find(|dead| dead.covers(first) && dead.moment < moment).copied();
        let place = arena.place(block);
        Some(Shown {
            moment,
            arena: arena.id,
            block: BlockRef { number: block.number, extent: place.extent, offset: place.offset, size: block.size },
            address: block.address,
            bytes: bytes.to_owned(),
            stale,
            proved: known,
            alone: owner.is_some_and(|owner| last <= owner.address.plus(owner.size)),
            owner,
            seen: moment,
        })
    }

    /// The bytes at `base` are looked at: blocks there that wait are told if they show what they showed, and are forgotten if not.
    fn look_again(&mut self, base: Address, captured: &[u8], moment: EventNumber) {
        let end = base.plus(captured.len() as u64);
        let inside: Vec<Address> = self.waiting.range(base..end).map(|(at, _)| *at).collect();
        for address in inside {
            let start = usize::try_from(address.0.saturating_sub(base.0)).unwrap_or(usize::MAX);
            let now = captured.get(start..).unwrap_or(&[]);
            let Some(mut waiting) = self.waiting.remove(&address) else { continue };
            let seen = waiting.shown.bytes.len().min(now.len());
            let stale = |run: &Range<usize>| run.start.saturating_add(LEAST_BYTES) <= seen;
            if waiting.shown.stale.iter().any(stale) && waiting.shown.bytes.get(..seen) == now.get(..seen) {
                waiting.shown.seen = moment;
                self.tell(waiting);
            }
        }
    }

    /// Somebody was handed `block`, or gave it back: what waits there is looked at no more.
    fn forget(&mut self, block: &Block) {
        let low = Address(block.address.0.saturating_sub(LOOK_BYTES as u64));
        let touched = self.waiting.range(low..block.end());
        let touched = touched.filter(|(at, waiting)| at.plus(waiting.shown.bytes.len() as u64) > block.address);
        let touched: Vec<Address> = touched.map(|(at, _)| *at).collect();
        for address in touched {
            self.waiting.remove(&address);
        }
    }

    fn tell(&mut self, Waiting { shown, site, thread }: Waiting) {
        // The same code once more: it writes the same again.
        if site.is_some() && shown.owner.is_some_and(|owner| owner.site == site) {
            return;
        }
        let stale = shown.stale.iter().fold(0_u64, |sum, run| sum.saturating_add(run.len() as u64));
        let tally = self.sites.entry(site).or_insert_with(|| Tally {
            first: shown.clone(),
            count: 0,
            bytes: 0,
            threads: BTreeSet::new(),
        });
        if shown.proved && !tally.first.proved {
            tally.first = shown;
        }
        tally.count = tally.count.saturating_add(1);
        tally.bytes = tally.bytes.saturating_add(stale);
        tally.threads.insert(thread);
    }
}

/// True for bytes that are all alike, or repeat every four or eight.
fn is_pattern(bytes: &[u8]) -> bool {
    let repeats = |period: usize| bytes.iter().zip(bytes.iter().skip(period)).all(|(one, next)| one == next);
    repeats(1) || (bytes.len() >= 12 && repeats(4)) || (bytes.len() >= 24 && repeats(8))
}

/// Where words begin that point into the arena.
fn links(arena: &Arena, address: Address, bytes: &[u8]) -> BTreeSet<usize> {
    let inside = |value: u64| arena.extents().any(|extent| extent.start.0 <= value && value <= extent.end().0);
    // Blocks are aligned to eight bytes where they hold pointers.
    let words = bytes.chunks_exact(8).enumerate().filter(|_| address.0.is_multiple_of(8));
    let value = |word: &[u8]| word.try_into().map_or(0, u64::from_le_bytes);
    words.filter(|(_, word)| inside(value(word))).map(|(index, _)| index.saturating_mul(8)).collect()
}

/// Runs of `true`.
fn ranges(stale: &[bool]) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for (index, _) in stale.iter().enumerate().filter(|(_, stale)| **stale) {
        match runs.last_mut() {
            Some(run) if run.end == index => run.end = index.saturating_add(1),
            _ => runs.push(index..index.saturating_add(1)),
        }
    }
    runs
}

impl Rule for StaleBytes {
    fn observe(&mut self, event: &Event, effect: &Effect, state: &State, captured: &[u8]) {
        let key = match event.kind {
            EventKind::Capture { arena, reason, base, .. } => {
                let of_arena = !reason.is_of_one_block() || reason == CaptureReason::Alloc;
                if of_arena && !self.waiting.is_empty() {
                    self.look_again(base, captured, event.number);
                }
                match reason {
                    CaptureReason::Reset => self.keep_bytes(arena, base, captured),
                    CaptureReason::Alloc if !captured.is_empty() => {
                        self.pending.insert(event.thread, (arena, base, captured.to_owned()));
                    }
                    _ => {}
                }
                return;
            }
            EventKind::Alloc { arena, .. }
            | EventKind::Resize { arena, .. }
            | EventKind::Free { arena, .. }
            | EventKind::Rewind { arena, .. }
            | EventKind::Reset { arena, .. } => arena,
            _ => return,
        };
        if !effect.dead.is_empty() {
            self.bury(key, effect.dead.iter(), event);
        }
        match (effect.what, &effect.block) {
            (What::Freed, Some(block)) => {
                self.forget(block);
                self.bury(key, core::iter::once(block), event);
            }
            (What::Resized { moved: true }, Some(block)) => self.forget(block),
            (What::Rewound, _) => {
                if let Some(before) = self.before.get_mut(&key) {
                    (before.open, before.done) = (false, false);
                }
            }
            (What::Reset, _) => {
                if let Some(before) = self.before.get_mut(&key) {
                    (before.open, before.done) = (false, before.open);
                }
            }
            (What::Allocated | What::HandedOn { .. }, Some(block)) => {
                self.forget(block);
                let Some((seen, base, bytes)) = self.pending.remove(&event.thread) else { return };
                let arena = effect.arena.and_then(|id| state.arena(id));
                let Some(arena) = arena.filter(|_| seen == key && base == block.address) else { return };
                if (arena.object.is_null() && arena.created.is_none()) || self.waiting.len() >= WAITING {
                    return;
                }
                let Some(shown) = self.judge(key, arena, block, &bytes, event.number) else { return };
                self.waiting.insert(block.address, Waiting { shown, site: event.site, thread: event.thread });
            }
            _ => {}
        }
    }

    fn finish(self: Box<Self>, state: &State, facts: &ProcessFacts) -> Vec<Finding> {
        if facts.mode == Mode::Check {
            return Vec::new();
        }
        let mut groups: BTreeMap<CallingLine, Group> = BTreeMap::new();
        for (site, tally) in self.sites {
            match groups.entry(CallingLine::of(facts, site)) {
                alloc::collections::btree_map::Entry::Vacant(entry) => {
                    entry.insert((Vec::from([site]), tally));
                }
                alloc::collections::btree_map::Entry::Occupied(mut entry) => {
                    let (sites, joined) = entry.get_mut();
                    join(sites, joined, site, tally);
                }
            }
        }
        let mut groups: Vec<Group> = groups.into_values().collect();
        // What is proved goes first, then what came first.
        groups.sort_by_key(|(_, tally)| (!tally.first.proved, tally.first.moment));
        match groups.split_first() {
            Some(((sites, tally), others)) if groups.len() > NOTES => {
                Vec::from([note(state, facts, sites, tally, others)])
            }
            _ => groups.iter().map(|(sites, tally)| note(state, facts, sites, tally, &[])).collect(),
        }
    }
}

/// Adds the tally of `site` to the tally of the same line, whose first site is that of its example.
fn join(sites: &mut Vec<Option<SiteId>>, joined: &mut Tally, site: Option<SiteId>, tally: Tally) {
    sites.push(site);
    let rank = |shown: &Shown| (!shown.proved, shown.moment);
    if rank(&tally.first) < rank(&joined.first) {
        let last = sites.len().saturating_sub(1);
        sites.swap(0, last);
        joined.first = tally.first;
    }
    joined.count = joined.count.saturating_add(tally.count);
    joined.bytes = joined.bytes.saturating_add(tally.bytes);
    joined.threads.extend(tally.threads);
}

/// True when an alloc function may put something into the block by itself.
fn may_fill(facts: &ProcessFacts) -> bool {
    let allocs = facts.hooks.iter().filter(|hook| hook.decl.role == Role::Alloc);
    allocs.flat_map(|hook| &hook.decl.arguments).any(|argument| *argument == Argument::Ignored)
}

fn note(state: &State, facts: &ProcessFacts, calls: &[Option<SiteId>], tally: &Tally, others: &[Group]) -> Finding {
    let shown = &tally.first;
    let arena = wording::arena_ref(state, facts, shown.arena);
    let stale = shown.stale.iter().map(|run| run.len()).sum::<usize>() as u64;
    let how = shown.owner.map(|owner| owner.how);
    let (role, back) = match how {
        Some(How::Rewound) => (SiteRole::Rewound, "rewind"),
        Some(How::Freed) => (SiteRole::Freed, "free"),
        Some(How::Overwritten) => (SiteRole::Touched, "new block"),
        _ => (SiteRole::Reset, "reset"),
    };
    let whose = match shown.owner {
        Some(owner) if shown.alone => format!("block {}", owner.number),
        Some(owner) => format!("block {} and what lay behind it", owner.number),
        None => "an earlier block".to_owned(),
    };
    let more = match tally.count {
        0 | 1 => String::new(),
        count => format!(" ({count} times here)"),
    };
    let rest = match others.len() {
        0 => String::new(),
        1 => "; so do those of one more call".to_owned(),
        count => format!("; so do those of {count} more calls"),
    };
    let place = format!("block {} of arena {} (at +{})", shown.block.number, shown.arena, shown.block.offset);
    let message = format!("{place} shows {} of {whose}, from before the {back}{more}{rest}", wording::bytes(stale));
    let text = shown.stale.first().and_then(|run| wording::text(shown.bytes.get(run.clone())?));
    let held = text.map_or_else(|| "they".to_owned(), |text| format!("they held \"{text}\", which"));
    let when = shown.owner.map(|owner| format!(" at #{}", owner.moment.0)).unwrap_or_default();
    let before = if shown.proved {
        format!("{held} stood at the same place before the {back}{when}")
    } else {
        format!(
            "{held} lay there when the block was handed out, after the {back}{when}; the bytes before it were not captured"
        )
    };
    let because = format!("{before}. At #{} they still lay there: nobody had written over them", shown.seen.0);
    let complete = facts.lost.events() == 0 && state.missing == 0;
    let certainty = match (shown.proved, may_fill(facts) || !complete) {
        (_, true) => Certainty::Possible,
        (true, false) => Certainty::Certain,
        (false, false) => Certainty::Likely,
    };
    let site = calls.first().copied().flatten();
    let mut sites: Vec<(SiteRole, SiteId)> = site.map(|site| (SiteRole::Allocated, site)).into_iter().collect();
    if let Some(owner) = shown.owner {
        sites.extend(owner.by.map(|site| (role, site)));
        sites.extend(owner.site.map(|site| (SiteRole::Allocated, site)));
    }
    let all = calls.iter().chain(others.iter().flat_map(|(calls, _)| calls)).copied().flatten();
    let all: BTreeSet<SiteId> = all.collect();
    Finding {
        rule: StaleBytes::NAME,
        class: Class::Note,
        certainty,
        message,
        arena: Some(arena),
        block: Some(shown.block),
        moment: shown.moment,
        threads: tally.threads.iter().copied().collect(),
        sites,
        calls: all.into_iter().collect(),
        because,
        evidence: Vec::from([Evidence {
            label: format!("block {} when it was handed out", shown.block.number),
            address: shown.address,
            offset: 0,
            bytes: shown.bytes.clone(),
            damaged: shown.stale.clone(),
        }]),
        disproof: "an allocator that writes these very bytes itself".to_owned(),
        next: format!(
            "nothing, where the block is written before it is read; else clear it, or what the {back} gives back"
        ),
        count: tally.count.max(1),
        bytes: tally.bytes,
    }
}

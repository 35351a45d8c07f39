//! What differs between two moments: blocks that appeared, died, moved, were resized or hold other bytes; growth by place.
//!
//! The moments are two of one trace (blocks are matched by arena and number) or one each of two traces (arenas by the place
//! they were created at and its order, blocks within them by backtrace and order; never by address). May be relied on:
//! bytes are compared only where both sides saved them at or before their moment while the block lay where it lies, and
//! what was not saved is counted as unknown. Absent: layout; whether a change is a mistake (a rule may say so).

use crate::narrate::{arena_name, site_facts, site_view};
use crate::pattern::ArenaPattern;
use crate::place;
use crate::points::{self, Point, SavedSpan};
use crate::view::{Moment, Site};
use arenascope_event::{BlobId, CaptureReason, ProcessFacts, SiteId};
use arenascope_replay::{Arena, ArenaId, Block, default_name};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

/// One side of a comparison.
pub struct Side<'a> {
    /// The moment.
    pub point: &'a Point,
    /// Facts of the process.
    pub facts: &'a ProcessFacts,
    /// Facts of the process that inherited arenas come from.
    pub parent: Option<&'a ProcessFacts>,
    /// The bytes of a capture.
    pub blob: &'a dyn Fn(BlobId) -> Option<Vec<u8>>,
    /// Also dead arenas, each as it was just before its end.
    pub dead_too: bool,
}

impl Side<'_> {
    /// The arenas that are looked at.
    pub(crate) fn arenas(&self, pattern: Option<&ArenaPattern>) -> impl Iterator<Item = &Arena> {
        let arenas = self.point.state.arenas().filter(|arena| self.dead_too || arena.is_alive());
        arenas.filter(move |arena| self.means(arena.id, pattern))
    }

    /// True for an arena that the pattern means.
    pub(crate) fn means(&self, id: ArenaId, pattern: Option<&ArenaPattern>) -> bool {
        let Some(pattern) = pattern else { return true };
        let default_name = default_name(&self.facts.hooks);
        let name = self.point.state.arena(id).map_or("", |arena| arena_name(arena, &default_name));
        pattern.matches(u64::from(id.0), name)
    }
}

/// Where a block lay on one side.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Placed {
    /// Number within its arena.
    pub number: u64,
    /// Range of the arena, from 1.
    pub extent: u32,
    /// Offset from the start of its range, bytes.
    pub offset: u64,
    /// Bytes.
    pub size: u64,
    /// Address in the process.
    pub address: u64,
    /// The event that allocated it.
    pub born: u64,
}

/// Saved bytes of a block on one side.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SavedBytes {
    /// The event that saved them.
    pub event: u64,
    /// Why.
    pub reason: CaptureReason,
    /// The bytes, from the block's start; fewer than its size when not all could be saved.
    pub bytes: Vec<u8>,
}

/// Bytes that differ.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChangedBytes {
    /// Before.
    pub before: SavedBytes,
    /// After.
    pub after: SavedBytes,
    /// Which of them differ: ascending, disjoint, as far as both sides have bytes.
    pub ranges: Vec<Range<usize>>,
    /// The block before this one in memory, when one run of changed bytes goes from its end into the start of this block and
    /// stops there: its number, and the offset in it at which the run begins.
    pub run_from: Option<(u64, u64)>,
}

/// One block that is not the same on both sides.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BlockChange {
    /// Before; `None` when it appeared.
    pub before: Option<Placed>,
    /// After; `None` when it died.
    pub after: Option<Placed>,
    /// Where it was allocated.
    pub site: Option<Arc<Site>>,
    /// How it died, as far as its arena tells.
    pub died: Option<&'static str>,
    /// Its bytes, when they differ.
    pub bytes: Option<ChangedBytes>,
}

impl BlockChange {
    /// "appeared", "died", "moved", "resized" or "changed": the first of these that is true.
    pub fn what(&self) -> &'static str {
        match (&self.before, &self.after) {
            (Some(before), Some(after)) if before.offset == after.offset && before.extent == after.extent => {
                match (before.size == after.size, &self.bytes) {
                    (false, _) => "resized",
                    (true, Some(_)) => "changed",
                    (true, None) => "moved",
                }
            }
            (Some(_), Some(_)) => "moved",
            (None, _) => "appeared",
            (Some(_), None) => "died",
        }
    }
}

/// One arena on both sides.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ArenaDiff {
    /// Number and name before.
    pub before: Option<(u64, String)>,
    /// Number and name after.
    pub after: Option<(u64, String)>,
    /// "destroyed", "unmapped": how it ended between the two moments.
    pub ended: Option<&'static str>,
    /// Living blocks and their bytes, before and after.
    pub blocks: [u64; 2],
    /// Bytes of those blocks.
    pub bytes: [u64; 2],
    /// What differs, in the order of the blocks.
    pub changes: Vec<BlockChange>,
    /// Blocks on both sides whose bytes are known on both and the same.
    pub same: u64,
    /// Blocks on both sides whose bytes are not known on one of them, or not saved in between.
    pub unknown: u64,
}

/// Blocks of one place on both sides.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PlaceDiff {
    /// The place; `None` for blocks without a backtrace.
    pub site: Option<Arc<Site>>,
    /// Living blocks, before and after.
    pub blocks: [u64; 2],
    /// Their bytes.
    pub bytes: [u64; 2],
    /// Blocks handed out between the moments (of one trace), or on either side until its moment.
    pub handed: [u64; 2],
}

impl PlaceDiff {
    /// Bytes more after than before.
    pub fn growth(&self) -> i128 {
        i128::from(self.bytes[1]) - i128::from(self.bytes[0])
    }
}

/// Everything that differs.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Diff {
    /// The moments.
    pub moments: [Moment; 2],
    /// Arenas in which something differs, in order.
    pub arenas: Vec<ArenaDiff>,
    /// Arenas in which nothing does, as far as is known.
    pub alike: u64,
    /// Blocks of those whose bytes are not known on one side.
    pub alike_unknown: u64,
    /// Places whose living blocks differ in number or bytes, the most growth first.
    pub places: Vec<PlaceDiff>,
    /// True when blocks and arenas of both sides have no backtrace in common.
    pub nothing_in_common: bool,
}

/// Compares two moments of one trace.
pub fn of_one_trace(before: &Side<'_>, after: &Side<'_>, pattern: Option<&ArenaPattern>) -> Diff {
    compare(before, after, pattern, true)
}

/// Compares two traces, each at its own moment.
pub fn of_two_traces(before: &Side<'_>, after: &Side<'_>, pattern: Option<&ArenaPattern>) -> Diff {
    compare(before, after, pattern, false)
}

/// Which arena, on both sides.
type ArenaKey = (String, u64);
/// Which block of it.
type BlockKey = (usize, u64);

fn compare(before: &Side<'_>, after: &Side<'_>, pattern: Option<&ArenaPattern>, one_trace: bool) -> Diff {
    let mut sites = Sites::default();
    let [left, right] = [before, after].map(|side| Keyed::new(side, &mut sites, pattern, one_trace));
    let keys: BTreeSet<&ArenaKey> = left.arenas.keys().chain(right.arenas.keys()).collect();
    let mut diff = Diff { moments: [before.point.moment, after.point.moment], ..Diff::default() };
    let mut places: BTreeMap<usize, PlaceDiff> = BTreeMap::new();
    for (index, keyed) in [&left, &right].into_iter().enumerate() {
        for (site, block) in keyed.arenas.values().flat_map(|arena| arena.blocks.values()) {
            let place = sites.place_of(*site);
            let told = places.entry(place).or_insert_with(|| sites.place(place));
            told.blocks[index] += 1;
            told.bytes[index] = told.bytes[index].saturating_add(block.size);
        }
        for ((arena, site), handed) in &keyed.side.point.handed {
            if !keyed.side.means(*arena, pattern) {
                continue;
            }
            let site = sites.stack(keyed.side, *site, false);
            let place = sites.place_of(site);
            let told = places.entry(place).or_insert_with(|| sites.place(place));
            told.handed[index] = told.handed[index].saturating_add(handed.blocks);
        }
    }
    let lookups = [Lookup::new(before), Lookup::new(after)];
    let mut ordered: Vec<ArenaDiff> = Vec::new();
    for key in keys {
        let told =
            arena_diff(left.arenas.get(key), right.arenas.get(key), [&left, &right], &lookups, &sites, one_trace);
        if told.changes.is_empty() && told.before.is_some() && told.after.is_some() {
            diff.alike += 1;
            diff.alike_unknown += told.unknown;
        } else {
            ordered.push(told);
        }
    }
    ordered.sort_by_key(|told| told.after.as_ref().or(told.before.as_ref()).map(|(id, _)| *id));
    diff.arenas = ordered;
    let mut told: Vec<PlaceDiff> = places.into_values().collect();
    if one_trace {
        for place in &mut told {
            place.handed = [0, place.handed[1].saturating_sub(place.handed[0])];
        }
    }
    told.retain(|place| place.blocks[0] != place.blocks[1] || place.bytes[0] != place.bytes[1]);
    told.sort_by_key(|place| std::cmp::Reverse(place.growth()));
    diff.places = told;
    diff.nothing_in_common = !one_trace && left.stacks.is_disjoint(&right.stacks);
    diff
}

fn arena_diff(
    left: Option<&KeyedArena<'_>>,
    right: Option<&KeyedArena<'_>>,
    keyed: [&Keyed<'_>; 2],
    lookups: &[Lookup<'_>; 2],
    sites: &Sites,
    one_trace: bool,
) -> ArenaDiff {
    let name = |arena: Option<&KeyedArena<'_>>| arena.map(|arena| (u64::from(arena.arena.id.0), arena.name.clone()));
    let mut told = ArenaDiff { before: name(left), after: name(right), ..ArenaDiff::default() };
    // Gone on the second side: what the state there says of it.
    let later = left.filter(|_| one_trace).and_then(|arena| keyed[1].side.point.state.arena(arena.arena.id));
    told.ended = later.filter(|_| right.is_none()).and_then(|arena| arena.ended).map(|end| end.how.word());
    for (index, arena) in [left, right].into_iter().enumerate() {
        let Some(arena) = arena else { continue };
        told.blocks[index] = arena.blocks.len() as u64;
        told.bytes[index] = arena.blocks.values().fold(0, |sum, (_, block)| sum.saturating_add(block.size));
    }
    let none = BTreeMap::new();
    let (old, new) = (left.map_or(&none, |arena| &arena.blocks), right.map_or(&none, |arena| &arena.blocks));
    let died = match (left, later) {
        (_, Some(arena)) if arena.ended.is_some() => told.ended,
        (Some(old), Some(new)) if old.arena.generation != new.generation => Some("freed, rewound or reset"),
        (Some(_), Some(_)) => Some("freed"),
        _ => None,
    };
    let keys: BTreeSet<&BlockKey> = old.keys().chain(new.keys()).collect();
    for key in keys {
        let (was, is) = (old.get(key), new.get(key));
        let site = is.or(was).and_then(|(site, _)| sites.view(*site));
        let [was, is] = [was, is].map(|known| known.map(|(_, block)| *block));
        let before = was.zip(left).map(|(block, arena)| placed(block, arena.arena));
        let after = is.zip(right).map(|(block, arena)| placed(block, arena.arena));
        let bytes = match was.zip(is).zip(left.zip(right)) {
            Some(((was, is), arenas)) => match changed([was, is], [arenas.0.arena, arenas.1.arena], lookups, one_trace)
            {
                Compared::Unknown => {
                    told.unknown += 1;
                    None
                }
                Compared::Same => {
                    told.same += 1;
                    None
                }
                Compared::Changed(bytes) => Some(bytes),
            },
            None => None,
        };
        let elsewhere = before.as_ref().zip(after.as_ref()).is_some_and(|(before, after)| {
            before.size != after.size
                || before.extent != after.extent
                || before.offset != after.offset
                || one_trace && before.address != after.address
        });
        if before.is_some() && after.is_some() && bytes.is_none() && !elsewhere {
            continue;
        }
        let died = if is.is_none() { died } else { None };
        told.changes.push(BlockChange { before, after, site, died, bytes });
    }
    told.changes.sort_by_key(|change| {
        let place = change.after.as_ref().or(change.before.as_ref());
        place.map(|place| (place.extent, place.offset, place.number))
    });
    told
}

pub(crate) fn placed(block: &Block, arena: &Arena) -> Placed {
    let place = arena.place(block);
    Placed {
        number: block.number,
        extent: place.extent,
        offset: place.offset,
        size: block.size,
        address: block.address.0,
        born: block.born.0,
    }
}

enum Compared {
    Unknown,
    Same,
    Changed(ChangedBytes),
}

fn changed(blocks: [&Block; 2], arenas: [&Arena; 2], lookups: &[Lookup<'_>; 2], one_trace: bool) -> Compared {
    let [Some(before), Some(after)] = [0, 1].map(|index| lookups[index].bytes(blocks[index])) else {
        return Compared::Unknown;
    };
    // One and the same capture knows of no change.
    if one_trace && before.event == after.event {
        return Compared::Unknown;
    }
    let ranges = differing(&before.bytes, &after.bytes);
    if ranges.is_empty() {
        let whole = before.bytes.len() as u64 == blocks[0].size && after.bytes.len() as u64 == blocks[1].size;
        return if whole { Compared::Same } else { Compared::Unknown };
    }
    let run_from = if one_trace { run_from(blocks, arenas, lookups, &ranges) } else { None };
    Compared::Changed(ChangedBytes { before, after, ranges, run_from })
}

/// Ranges in which `left` and `right` differ, as far as both go.
pub fn differing(left: &[u8], right: &[u8]) -> Vec<Range<usize>> {
    let mut ranges: Vec<Range<usize>> = Vec::new();
    for (index, _) in left.iter().zip(right).enumerate().filter(|(_, (left, right))| left != right) {
        match ranges.last_mut() {
            Some(range) if range.end == index => range.end += 1,
            _ => ranges.push(index..index + 1),
        }
    }
    ranges
}

/// The block whose end the changes at this block's start run on from: see [`ChangedBytes::run_from`].
fn run_from(
    blocks: [&Block; 2],
    arenas: [&Arena; 2],
    lookups: &[Lookup<'_>; 2],
    ranges: &[Range<usize>],
) -> Option<(u64, u64)> {
    let [first] = ranges else { return None };
    if first.start != 0 || first.end as u64 >= blocks[1].size || blocks[0].address != blocks[1].address {
        return None;
    }
    // The nearest block below, the same one on both sides.
    let below = arenas[1].blocks().into_iter().rfind(|block| block.size > 0 && block.end() <= blocks[1].address)?;
    let was = arenas[0].block(below.number).filter(|was| was.address == below.address && was.size == below.size)?;
    let gap = blocks[1].address.0.checked_sub(below.end().0)?;
    // Padding, not a hole.
    if below.extent != blocks[1].extent || gap > 64 {
        return None;
    }
    let len = usize::try_from(below.size.checked_add(gap)?).ok()?;
    let before = lookups[0].range(below.address.0, len, points::since(was))?;
    let after = lookups[1].range(below.address.0, len, points::since(below))?;
    let last = differing(&before, &after).pop().filter(|range| range.end == len)?;
    let start = last.start as u64;
    (start < below.size).then_some((below.number, start))
}

/// Saved bytes of one side; the last few captures stay decoded.
struct Lookup<'a> {
    side: &'a Side<'a>,
    decoded: RefCell<Vec<(BlobId, Arc<Vec<u8>>)>>,
}

/// Captures that stay decoded at once: at most 1 MiB each.
const DECODED: usize = 32;

impl<'a> Lookup<'a> {
    fn new(side: &'a Side<'a>) -> Lookup<'a> {
        Lookup { side, decoded: RefCell::new(Vec::new()) }
    }

    fn decode(&self, blob: BlobId) -> Option<Arc<Vec<u8>>> {
        let mut decoded = self.decoded.borrow_mut();
        if let Some((_, bytes)) = decoded.iter().find(|(known, _)| *known == blob) {
            return Some(bytes.clone());
        }
        let bytes = Arc::new((self.side.blob)(blob)?);
        if decoded.len() >= DECODED {
            decoded.remove(0);
        }
        decoded.push((blob, bytes.clone()));
        Some(bytes)
    }

    fn cut(&self, span: SavedSpan, address: u64, len: usize) -> Option<Vec<u8>> {
        let bytes = self.decode(span.bytes)?;
        let start = usize::try_from(address.checked_sub(span.base)?).ok()?;
        let rest = bytes.get(start..)?;
        Some(rest.get(..len).unwrap_or(rest).to_vec())
    }

    fn bytes(&self, block: &Block) -> Option<SavedBytes> {
        let span = self.side.point.saved.holding(block.address.0, points::since(block))?;
        let len = usize::try_from(block.size).unwrap_or(usize::MAX);
        let bytes = self.cut(span, block.address.0, len)?;
        (!bytes.is_empty()).then_some(SavedBytes { event: span.event, reason: span.reason, bytes })
    }

    /// Exactly these bytes, out of one capture.
    fn range(&self, address: u64, len: usize, since: u64) -> Option<Vec<u8>> {
        let span = self.side.point.saved.holding(address, since)?;
        self.cut(span, address, len).filter(|bytes| bytes.len() == len)
    }
}

struct KeyedArena<'a> {
    arena: &'a Arena,
    name: String,
    /// With the number of the backtrace.
    blocks: BTreeMap<BlockKey, (usize, &'a Block)>,
}

/// The arenas and blocks of a side under names that the other side understands.
struct Keyed<'a> {
    side: &'a Side<'a>,
    arenas: BTreeMap<ArenaKey, KeyedArena<'a>>,
    /// Backtraces of blocks and births.
    stacks: BTreeSet<usize>,
}

impl<'a> Keyed<'a> {
    fn new(side: &'a Side<'a>, sites: &mut Sites, pattern: Option<&ArenaPattern>, one_trace: bool) -> Keyed<'a> {
        let default_name = default_name(&side.facts.hooks);
        let mut keyed = Keyed { side, arenas: BTreeMap::new(), stacks: BTreeSet::new() };
        let mut born: BTreeMap<String, u64> = BTreeMap::new();
        for arena in side.arenas(pattern) {
            let name = arena_name(arena, &default_name).to_owned();
            let birth =
                sites.stack(side, arena.created.map_or(arena.born_site, |created| created.site), arena.inherited);
            let key = if one_trace {
                (String::new(), u64::from(arena.id.0))
            } else {
                let place = format!("{birth} {name}");
                let nth = born.entry(place.clone()).or_default();
                *nth += 1;
                (place, *nth)
            };
            let mut blocks = BTreeMap::new();
            let mut nth: BTreeMap<usize, u64> = BTreeMap::new();
            let mut all = arena.blocks();
            all.sort_by_key(|block| block.number);
            for block in all {
                let site = sites.stack(side, block.site, block.inherited);
                let nth = nth.entry(site).or_default();
                *nth += 1;
                blocks.insert(if one_trace { (0, block.number) } else { (site, *nth) }, (site, block));
                if site != Sites::NOWHERE {
                    keyed.stacks.insert(site);
                }
            }
            if birth != Sites::NOWHERE {
                keyed.stacks.insert(birth);
            }
            keyed.arenas.insert(key, KeyedArena { arena, name, blocks });
        }
        keyed
    }
}

/// Backtraces of both sides under common numbers, and the places they stand for.
#[derive(Default)]
pub(crate) struct Sites {
    known: BTreeMap<(usize, bool, Option<SiteId>), usize>,
    stacks: BTreeMap<String, usize>,
    views: Vec<Arc<Site>>,
    places: Vec<usize>,
    by_place: BTreeMap<String, usize>,
}

impl Sites {
    /// No backtrace.
    pub(crate) const NOWHERE: usize = 0;

    /// The number of a site of `side`.
    pub(crate) fn stack(&mut self, side: &Side<'_>, site: Option<SiteId>, inherited: bool) -> usize {
        let facts = if inherited { side.parent } else { Some(side.facts) };
        let Some((facts, site)) = facts.zip(site) else { return Sites::NOWHERE };
        // The facts' address tells the sides apart: numbers of sites mean nothing in another trace.
        let key = (std::ptr::from_ref(facts).addr(), inherited, Some(site));
        if let Some(known) = self.known.get(&key) {
            return *known;
        }
        let (stack, place) = spelt(facts, site);
        let number = match self.stacks.get(&stack) {
            Some(number) => *number,
            None => {
                self.views.push(Arc::new(site_view(facts, Some(site)).unwrap_or_default()));
                let number = self.views.len();
                self.stacks.insert(stack, number);
                self.places.push(*self.by_place.entry(place).or_insert(number));
                number
            }
        };
        self.known.insert(key, number);
        number
    }

    fn view(&self, stack: usize) -> Option<Arc<Site>> {
        self.views.get(stack.checked_sub(1)?).cloned()
    }

    /// The number that stands for all backtraces of the same line.
    pub(crate) fn place_of(&self, stack: usize) -> usize {
        stack.checked_sub(1).and_then(|index| self.places.get(index)).copied().unwrap_or(Sites::NOWHERE)
    }

    fn place(&self, place: usize) -> PlaceDiff {
        PlaceDiff { site: self.view(place), blocks: [0; 2], bytes: [0; 2], handed: [0; 2] }
    }

    /// The site that a place is shown by.
    pub(crate) fn shown(&self, place: usize) -> Option<Arc<Site>> {
        self.view(place)
    }
}

/// A backtrace and its telling line in words that are the same in every run of a program.
fn spelt(facts: &ProcessFacts, site: SiteId) -> (String, String) {
    let Some(known) = site_facts(facts, Some(site)) else { return (String::new(), String::new()) };
    let within = |address: u64| {
        let module = facts.modules.iter().find(|module| module.start.0 <= address && address < module.end.0);
        match module {
            Some(module) => {
                let file = module.path.rsplit('/').next().unwrap_or_default();
                format!("{file}+{:#x}", address.wrapping_sub(module.bias))
            }
            None => "?".to_owned(),
        }
    };
    let frame = |frame: &arenascope_event::Frame| match (frame.line, frame.function.is_empty()) {
        (0, true) => within(frame.address.0),
        (0, false) => frame.function.clone(),
        (line, _) => format!("{} {}:{line}", frame.function, frame.file.rsplit('/').next().unwrap_or_default()),
    };
    if known.frames.is_empty() {
        let all: Vec<String> = known.addresses.iter().map(|address| within(address.0)).collect();
        let first = all.first().cloned().unwrap_or_default();
        return (all.join(" < "), first);
    }
    let all: Vec<String> = known.frames.iter().map(frame).collect();
    let told = place::telling(&known.frames).map(frame).unwrap_or_default();
    (all.join(" < "), told)
}

//! `unreachable`: nobody points at these bytes.
//!
//! - **Claims**: at the end, no word of the process's memory leads to these living blocks: not from a stack, static data, a heap, or
//!   another block that something leads to. What is meant is a long life: an arena that is never emptied and keeps what nobody
//!   can use. A note; a finding where an earlier scan, at a mark of the user's, had found blocks of the same line unreached
//!   that still are, and the line has lost more since.
//! - **Needs** scans (`run --scan`), read by the launcher while the process waited.
//! - **Evidence**: how many of the arena's blocks are pointed at, and that these are not; all of one line, at least 4 KiB, or a tenth of
//!   what lives in the arena and 256 bytes.
//! - **Disproof**: a pointer kept in another form (an offset, an index, a difference, xored with another), or only by the kernel or a
//!   device; a function that hands out blocks unseen.
//! - **Silent**: arenas with a reset, rewind, destroy or mark, where dropping every pointer is normal use; arenas less than a quarter of
//!   whose blocks are pointed at (they do not live by pointers, or their root is gone); lines half of whose unreached blocks are
//!   known by their offset somewhere; lines whose result is thrown away (`never-stored` has them); when events were lost;
//!   malloc's arenas; arenas of our own library in check mode, whose blocks lie elsewhere; and always where the launcher could not scan (it says why): other threads run, memory beyond the limit.
//! - **Lab**: 20b.
//!
//! Memory: a number for each arena of each scan, then the unreached blocks, which the scan bounds.

use crate::finding::{BlockRef, Certainty, Class, Finding, SiteRole};
use crate::trust;
use crate::watch::Rule;
use crate::wording::{self, CallingLine};
use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::vec::Vec;
use arenascope_event::{ArenaKey, Event, EventNumber, FateKind, ProcessFacts, Scan, ScannedArena};
use arenascope_replay::{Arena, Block, Effect, State};

const LEAST_BYTES: u64 = 4 << 10;
const LEAST_SHARE_BYTES: u64 = 256;
/// A tenth.
const SHARE: u64 = 10;
/// A quarter of the blocks: in an arena that lives by indices a few are pointed at all the same.
const POINTED: u64 = 4;

/// The rule.
#[derive(Clone, Debug, Default)]
pub struct Unreachable {
    /// Events that came right after a scan, once they came: blocks born before were there.
    next: BTreeMap<(ArenaKey, u64), Option<EventNumber>>,
}

/// Unreached blocks of one calling line.
struct Line<'a> {
    arena: &'a Arena,
    first: &'a Block,
    arenas: BTreeSet<u32>,
    blocks: u64,
    bytes: u64,
    by_offset: u64,
    /// Those of them that an earlier scan had found unreached, their bytes, and its mark.
    before: (u64, u64, u64),
    /// Living bytes of the arenas.
    alive: u64,
    /// Of their blocks: all, and those reached.
    share: (u64, u64),
}

impl Unreachable {
    /// Its name.
    pub const NAME: &'static str = "unreachable";

    /// At the start of the trace of a process with these facts.
    pub fn new(facts: &ProcessFacts) -> Unreachable {
        let scanned = facts.scans.iter().flat_map(|scan| &scan.arenas);
        Unreachable { next: scanned.map(|arena| ((arena.arena, arena.before), None)).collect() }
    }

    /// True when `block` was there at the scan.
    fn was_there(&self, scanned: &ScannedArena, block: &Block) -> bool {
        let next = self.next.get(&(scanned.arena, scanned.before)).copied().flatten();
        next.is_none_or(|next| block.born < next)
    }

    /// The blocks that this scan found unreached and that still live, with whether their offset was seen.
    fn still<'a>(&self, scanned: &ScannedArena, arena: &'a Arena) -> BTreeMap<u64, (&'a Block, bool)> {
        let blocks = scanned.unreached.iter().filter_map(|one| {
            let block = arena.block_at(one.address).filter(|block| self.was_there(scanned, block))?;
            Some((block.number, (block, one.by_offset)))
        });
        blocks.collect()
    }
}

/// An arena that keeps everything by its nature, and lives by pointers.
fn keeps(arena: &Arena, scanned: &ScannedArena) -> bool {
    let counts = &arena.counts;
    let emptied = counts.resets > 0 || counts.rewinds > 0 || counts.marks > 0 || counts.overwritten > 0;
    let pointed = scanned.reached.saturating_mul(POINTED) >= scanned.blocks;
    arena.is_alive() && !arena.inherited && !emptied && pointed && arena.malloc.is_none()
}

fn thrown_away(facts: &ProcessFacts, block: &Block) -> bool {
    let site = block.site.and_then(|site| facts.sites.get(usize::try_from(site.0).ok()?));
    site.is_some_and(|site| site.fate.kind == FateKind::Dropped)
}

impl Rule for Unreachable {
    fn observe(&mut self, event: &Event, _: &Effect, _: &State, _: &[u8]) {
        if let Some(at) = event.kind.arena_order()
            && let Some(place) = self.next.get_mut(&at)
        {
            *place = Some(event.number);
        }
    }

    fn finish(self: Box<Self>, state: &State, facts: &ProcessFacts) -> Vec<Finding> {
        let Some((last, earlier)) = facts.scans.split_last().filter(|(last, _)| last.mark.is_none()) else {
            return Vec::new();
        };
        if trust::missing(state, facts) > 0 || facts.fork_id != 0 {
            return Vec::new();
        }
        let mut lines: BTreeMap<CallingLine, Line<'_>> = BTreeMap::new();
        for scanned in &last.arenas {
            let Some(arena) =
                state.arena_of_key(scanned.arena).filter(|arena| keeps(arena, scanned) && arena.checking.is_none())
            else {
                continue;
            };
            let known: Vec<(u64, BTreeSet<u64>)> =
                earlier.iter().filter_map(|scan| Some((scan.mark?, self.known(scan, arena)))).collect();
            for (number, (block, by_offset)) in self.still(scanned, arena) {
                if thrown_away(facts, block) {
                    continue;
                }
                let line = lines.entry(CallingLine::of(facts, block.site)).or_insert_with(|| Line {
                    arena,
                    first: block,
                    arenas: BTreeSet::new(),
                    blocks: 0,
                    bytes: 0,
                    by_offset: 0,
                    before: (0, 0, 0),
                    alive: 0,
                    share: (0, 0),
                });
                if line.arenas.insert(arena.id.0) {
                    line.alive = line.alive.saturating_add(arena.live_bytes());
                    line.share.0 = line.share.0.saturating_add(scanned.blocks);
                    line.share.1 = line.share.1.saturating_add(scanned.reached);
                }
                line.blocks = line.blocks.saturating_add(1);
                line.bytes = line.bytes.saturating_add(block.size);
                line.by_offset = line.by_offset.saturating_add(u64::from(by_offset));
                if let Some((mark, _)) = known.iter().find(|(_, blocks)| blocks.contains(&number)) {
                    let (blocks, bytes, first) = line.before;
                    let first = if blocks == 0 { *mark } else { first.min(*mark) };
                    line.before = (blocks.saturating_add(1), bytes.saturating_add(block.size), first);
                }
            }
        }
        lines.into_values().filter(worth_telling).map(|line| tell(state, facts, last, &line)).collect()
    }
}

impl Unreachable {
    fn known(&self, scan: &Scan, arena: &Arena) -> BTreeSet<u64> {
        let scanned = scan.arenas.iter().find(|scanned| scanned.arena == arena.key);
        scanned.map_or_else(BTreeSet::new, |scanned| self.still(scanned, arena).into_keys().collect())
    }
}

fn is_much(bytes: u64, alive: u64) -> bool {
    bytes >= LEAST_BYTES || (bytes >= LEAST_SHARE_BYTES && bytes.saturating_mul(SHARE) >= alive)
}

fn worth_telling(line: &Line<'_>) -> bool {
    is_much(line.bytes, line.alive) && line.by_offset.saturating_mul(2) < line.blocks
}

fn tell(state: &State, facts: &ProcessFacts, scan: &Scan, line: &Line<'_>) -> Finding {
    let Line { arena, first, blocks, bytes, before, .. } = line;
    let place = arena.place(first);
    let (class, certainty) = if is_much(before.1, line.alive) && before.0 < *blocks {
        (Class::Finding, Certainty::Likely)
    } else {
        (Class::Note, Certainty::Possible)
    };
    let of = match line.arenas.len() {
        0 | 1 => format!("arena {}", arena.id),
        arenas => format!("{arenas} arenas"),
    };
    let message = match blocks {
        1 => format!("{} in a block of {of}: nothing points at it any more", wording::bytes(*bytes)),
        _ => format!("{} in {blocks} blocks of {of}: nothing points at them any more", wording::bytes(*bytes)),
    };
    let mut because = format!(
        "at the end all {} of the process's memory were read: pointers lead to {} of the {} blocks there, and to none of these",
        wording::bytes(scan.bytes),
        line.share.1,
        line.share.0
    );
    if before.0 > 0 {
        because.push_str(&format!("; {} of them were unreached at mark {} already", before.0, before.2));
    }
    let mut sites = Vec::new();
    sites.extend(first.site.map(|site| (SiteRole::Allocated, site)));
    sites.extend(arena.born_site.map(|site| (SiteRole::Created, site)));
    Finding {
        rule: Unreachable::NAME,
        class,
        certainty,
        message,
        arena: Some(wording::arena_ref(state, facts, arena.id)),
        block: Some(BlockRef { number: first.number, extent: place.extent, offset: place.offset, size: first.size }),
        moment: first.born,
        threads: Vec::new(),
        sites,
        calls: Vec::new(),
        because,
        evidence: Vec::new(),
        disproof: "a pointer in another form (an offset, an index, a difference, xored), or one that only the kernel keeps".to_owned(),
        next: "an arena of their own for what lives shortly, or a mark and a rewind around it; nothing, if the program ends soon anyway"
            .to_owned(),
        count: (*blocks).max(1),
        bytes: *bytes,
    }
}

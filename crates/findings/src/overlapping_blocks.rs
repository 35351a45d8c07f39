//! `overlapping-blocks`: a new block begins in the middle of an older one that still lives.
//!
//! - **Claims**: the allocator handed out bytes that it had handed out before and not taken back.
//! - **Needs**: events, every call of the functions that hand out blocks or take them back; for certainty the arena object's
//!   bytes around such a block (`ObjectChanged`).
//! - **Evidence**: both blocks and their allocations. A cursor that goes back by hand goes back to where it stood once: to the
//!   start or the end of a block. So a new block at such a place proves nothing and is passed over, however many blocks it
//!   covers: a reset or rewind that no role names looks just like that. When one begins inside a block, and the word of
//!   the arena object that is the cursor already stood there when the older block was handed out, the allocator itself moved on
//!   by too little: certain.
//! - **Disproof**: sizes that mean something else than bytes; a function that no role names and that gave back the end of the
//!   older block, or all of it.
//! - **Silent**: for the one arena of functions without an arena argument; when the cursor stood right after the older block (it
//!   was moved by hand: `cursor-corrupted` asks where to); when several arenas use the memory (`overlapping-arenas`, or copies
//!   of one arena object); when blocks went down before (free lists); in arenas of several threads, whose events may stand in
//!   another order than the object's bytes; where watched functions have calls that are not seen; for `malloc`.
//!   A note where the cursor was not seen in the arena object (it may be moved unseen), where every other block overlaps (the
//!   size argument may be misread), and where events were lost.
//! - **Lab**: 10c.

use crate::finding::{BlockRef, Certainty, Class, Finding, SiteRole};
use crate::frees::block_ref;
use crate::track::Tracks;
use crate::watch::Rule;
use crate::{trust, wording};
use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use arenascope_event::{ArenaKey, Event, EventKind, EventNumber, ProcessFacts, Role, SiteId, ThreadNumber};
use arenascope_replay::{Arena, ArenaId, Block, Effect, How, Place, State, What};

/// Pairs of places told apart; those beyond are not told.
const GROUPS: usize = 1024;

/// From this many overlaps on, an arena where every other block overlaps is taken for one whose sizes are misread.
const CUSTOM: u64 = 8;

/// The rule.
#[derive(Clone, Debug, Default)]
pub struct OverlappingBlocks {
    tracks: Tracks,
    pairs: BTreeMap<(ArenaId, Option<SiteId>, Option<SiteId>), Pair>,
    counts: BTreeMap<ArenaId, u64>,
    library: BTreeSet<ArenaKey>,
}

/// Overlaps of blocks from the same two places: the first, and how many.
#[derive(Clone, Debug)]
struct Pair {
    newer: BlockRef,
    older: BlockRef,
    moment: EventNumber,
    older_born: EventNumber,
    threads: BTreeSet<ThreadNumber>,
    /// Bytes from the older block's start to the newer one's.
    at: u64,
    /// Bytes from the older block's start to where its own alloc had left the cursor, where that was seen.
    left: Option<u64>,
    count: u64,
    shared: u64,
}

impl OverlappingBlocks {
    /// Its name.
    pub const NAME: &'static str = "overlapping-blocks";

    /// At the start of a trace.
    pub fn new() -> OverlappingBlocks {
        OverlappingBlocks::default()
    }

    fn placed(&mut self, event: &Event, effect: &Effect, state: &State, arena: &Arena, newer: &Block, place: Place) {
        let inside = |older: &&Block| older.address < newer.address && newer.address < older.end();
        let overwritten = |block: &&Block| block.died.is_some_and(|death| death.how == How::Overwritten);
        let Some(older) = effect.dead.iter().filter(overwritten).find(inside) else { return };
        let track = self.tracks.of(arena.id);
        if arena.object.is_null() || track.went_down || arena.threads.len() > 1 || older.inherited {
            return;
        }
        let was_last = track.last.is_some_and(|last| last.number == older.number);
        let left = match self.tracks.cursor(event, effect, arena, newer) {
            Some((cursor, _)) if was_last && older.address.0 < cursor.stood && cursor.stood < older.end().0 => {
                Some(cursor.stood.saturating_sub(older.address.0))
            }
            Some(_) => return,
            None => None,
        };
        let Some(extent) = arena.extent(newer.extent) else { return };
        let users =
            extent.region.and_then(|region| state.region(region)).map_or(1, |region| region.users().take(2).count());
        if users > 1 {
            return;
        }
        let shared = older.end().0.min(newer.end().0).saturating_sub(newer.address.0);
        let count = self.counts.entry(arena.id).or_default();
        *count = count.saturating_add(1);
        let key = (arena.id, newer.site, older.site);
        if let Some(pair) = self.pairs.get_mut(&key) {
            pair.count = pair.count.saturating_add(1);
            pair.shared = pair.shared.saturating_add(shared);
            pair.threads.insert(event.thread);
        } else if self.pairs.len() < GROUPS {
            self.pairs.insert(
                key,
                Pair {
                    newer: block_ref(newer, place),
                    older: block_ref(older, arena.place(older)),
                    moment: event.number,
                    older_born: older.born,
                    threads: [event.thread, older.thread].into(),
                    at: newer.address.0.saturating_sub(older.address.0),
                    left,
                    count: 1,
                    shared,
                },
            );
        }
    }
}

impl Rule for OverlappingBlocks {
    fn observe(&mut self, event: &Event, effect: &Effect, state: &State, _: &[u8]) {
        if let EventKind::HeapSegment { arena, .. } = event.kind {
            self.library.insert(arena);
        }
        if !effect.dead.is_empty()
            && effect.what == What::Allocated
            && let (Some(block), Some(place)) = (&effect.block, effect.place)
            && let Some(arena) = effect.arena.and_then(|id| state.arena(id))
        {
            self.placed(event, effect, state, arena, block, place);
        }
        self.tracks.observe(event, effect, state);
    }

    fn finish(self: Box<Self>, state: &State, facts: &ProcessFacts) -> Vec<Finding> {
        let roles = [Role::Alloc, Role::Resize, Role::Free, Role::Rewind, Role::Reset, Role::Destroy, Role::Create];
        if trust::unseen(facts, &roles).is_some() {
            return Vec::new();
        }
        let judged = self.pairs.iter().filter_map(|(key, pair)| {
            let (id, newer_site, older_site) = *key;
            let arena = state.arena(id)?;
            if trust::is_library(facts, arena) || self.library.contains(&arena.key) {
                return None;
            }
            let count = self.counts.get(&id).copied().unwrap_or_default();
            let custom = count >= CUSTOM && count.saturating_mul(2) > self.tracks.of(id).placed;
            Some(finding(state, facts, id, pair, custom, [newer_site, older_site]))
        });
        judged.collect()
    }
}

fn finding(
    state: &State,
    facts: &ProcessFacts,
    arena: ArenaId,
    pair: &Pair,
    custom: bool,
    [newer_site, older_site]: [Option<SiteId>; 2],
) -> Finding {
    let lost = trust::missing(state, facts);
    let mut because = format!(
        "block {} was given {} at #{}, and nothing that was seen took them back before #{}",
        pair.older.number,
        wording::bytes(pair.older.size),
        pair.older_born.0,
        pair.moment.0
    );
    match pair.left {
        Some(left) => because.push_str(&format!(
            "; the call that handed it out left the cursor {} behind its start",
            wording::bytes(left)
        )),
        None => because.push_str("; but the cursor was not seen in the arena object, and may have been moved by hand"),
    }
    if custom {
        because.push_str("; but every other block overlaps, so the size argument may mean something else");
    }
    if lost > 0 {
        because.push_str(&format!("; but {lost} events were lost, and what explains it may be among them"));
    }
    let doubted = pair.left.is_none() || custom || lost > 0;
    let (class, certainty) =
        if doubted { (Class::Note, Certainty::Possible) } else { (Class::Finding, Certainty::Certain) };
    let times = if pair.count > 1 { format!("; {} times", pair.count) } else { String::new() };
    let mut sites = Vec::new();
    sites.extend(newer_site.map(|site| (SiteRole::Allocated, site)));
    sites.extend(older_site.filter(|site| Some(*site) != newer_site).map(|site| (SiteRole::Allocated, site)));
    Finding {
        rule: OverlappingBlocks::NAME,
        class,
        certainty,
        message: format!(
            "{}: begins {} inside block {} ({} at +{}), which still lives{times}",
            wording::block(&pair.newer, arena),
            wording::bytes(pair.at),
            pair.older.number,
            wording::bytes(pair.older.size),
            pair.older.offset
        ),
        arena: Some(wording::arena_ref(state, facts, arena)),
        block: Some(pair.newer),
        moment: pair.moment,
        threads: pair.threads.iter().copied().collect(),
        sites,
        calls: Vec::new(),
        because,
        evidence: Vec::new(),
        disproof: "a function that no role names and that gave the end of the older block back".to_owned(),
        next: "look at how the alloc function moves its cursor on: by at least the size it returns, rounded up"
            .to_owned(),
        count: pair.count,
        bytes: pair.shared,
    }
}

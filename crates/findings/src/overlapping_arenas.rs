//! `overlapping-arenas`: two living arenas hand out the same bytes, or one was mapped over another.
//!
//! - **Claims**: a block of one arena shares bytes with a living block of another, and both arenas are in use; or `mmap` with
//!   MAP_FIXED put new pages where an arena's living blocks lay, another arena took them, and the first was used after.
//! - **Needs**: events, every call of the functions that hand out blocks; the arena objects' bytes (`ObjectChanged`).
//! - **Evidence**: both blocks, their allocations, and what shows that both arenas are in use. Either of: 1 both were made by
//!   create calls, and the older arena handed out its block after the younger one was made; 2 after the overlap the older
//!   block's arena went on behind that block, freed or resized it, or was destroyed as an arena of its own, beside another that
//!   had been created. Where that one is no more than an object that was never created, its blocks begin in the midst of the
//!   older arena's, and the older one was destroyed, it is a note: a copy of the object, changed by hand, looks the same after a
//!   rewind made by hand.
//! - **Disproof**: a reset of the older arena that no role names; an arena that is a window on the other by design.
//! - **Silent**: for arenas inside a block of another (a sub-arena, a chunk, a pool on malloc memory): one block holds the
//!   other, or they come from one call through two layers; for an arena and its parent; for copies of an arena object, of
//!   which one is used after the other (the scratch arenas that are passed by value); when the older arena's object was
//!   changed by hand after its block was placed (a hand-made reset); when an arena replaces its own pages (MAP_FIXED to give
//!   memory back); with more than eight arenas in one mapping only for those asked; where watched functions have calls
//!   that are not seen; for `malloc`. A note where events were lost.
//! - **Lab**: 10a (two arenas over one mapping), 10b (MAP_FIXED over a living arena).

use crate::finding::{BlockRef, Certainty, Class, Finding, SiteRole};
use crate::frees::block_ref;
use crate::track::Tracks;
use crate::watch::Rule;
use crate::{trust, wording};
use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::vec::Vec;
use arenascope_event::{Address, ArenaKey, Event, EventKind, EventNumber, ProcessFacts, SiteId, ThreadNumber};
use arenascope_replay::{Arena, ArenaId, Block, Born, Effect, How, Place, State, What};

/// MAP_FIXED (include/uapi/asm-generic/mman-common.h).
const MAP_FIXED: u32 = 0x10;

/// Arenas in the same memory that are asked for each new block.
const ASKED: usize = 8;

/// Overlaps that wait for their proof, and pairs of arenas told.
const PAIRS: usize = 256;

/// The rule.
#[derive(Clone, Debug, Default)]
pub struct OverlappingArenas {
    tracks: Tracks,
    /// By the older block's arena and the newer one's.
    shared: BTreeMap<(ArenaId, ArenaId), Shared>,
    /// The last event of a thread, when it was an unmap that took blocks.
    unmaps: BTreeMap<ThreadNumber, Unmapped>,
    covered: Vec<Covered>,
    library: BTreeSet<ArenaKey>,
}

/// Why both arenas are in use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Proof {
    /// The older block was handed out after the younger arena was created.
    BothCreated,
    /// The older block's arena was used again.
    UsedAgain(EventNumber, Option<SiteId>),
    /// The older block's arena was destroyed; the other one is an object that was never created.
    Ended(EventNumber),
}

/// Two arenas with blocks that share bytes.
#[derive(Clone, Debug)]
struct Shared {
    older: Side,
    newer: Side,
    /// The newer block does not begin where the older arena's memory does: no copy of it that was emptied by hand.
    amid: bool,
    proof: Option<Proof>,
    count: u64,
    bytes: u64,
    threads: BTreeSet<ThreadNumber>,
}

/// One block of an overlap.
#[derive(Clone, Copy, Debug)]
struct Side {
    block: BlockRef,
    address: Address,
    moment: EventNumber,
    site: Option<SiteId>,
}

impl Side {
    fn end(&self) -> Address {
        self.address.plus(self.block.size)
    }
}

/// An unmap that took blocks.
#[derive(Clone, Debug)]
struct Unmapped {
    moment: EventNumber,
    /// The thread's events up to it.
    events: u64,
    range: (Address, u64),
    ended: Vec<ArenaId>,
}

/// An arena that lost blocks to new pages.
#[derive(Clone, Debug)]
struct Covered {
    arena: ArenaId,
    key: ArenaKey,
    side: Side,
    moment: EventNumber,
    site: Option<SiteId>,
    range: (u64, u64),
    by: Option<ArenaId>,
    used: Option<(EventNumber, Option<SiteId>)>,
    given_up: bool,
    threads: BTreeSet<ThreadNumber>,
}

fn side(block: &Block, place: Place) -> Side {
    Side {
        block: block_ref(block, place),
        address: block.address,
        moment: block.resized.unwrap_or(block.born),
        site: block.site,
    }
}

fn explicit(arena: &Arena) -> bool {
    matches!(arena.born, Born::Explicit(_))
}

impl OverlappingArenas {
    /// Its name.
    pub const NAME: &'static str = "overlapping-arenas";

    /// At the start of a trace.
    pub fn new() -> OverlappingArenas {
        OverlappingArenas::default()
    }

    fn placed(&mut self, event: &Event, state: &State, arena: &Arena, newer: &Block, place: Place) {
        self.used_again(event, arena, newer);
        let region = arena.extent(newer.extent).and_then(|extent| state.region(extent.region?));
        let Some(region) = region.filter(|region| region.users().nth(1).is_some()) else { return };
        for other in region.users().filter(|id| *id != arena.id).take(ASKED).filter_map(|id| state.arena(id)) {
            let related = other.parent == Some(arena.id) || arena.parent == Some(other.id);
            if related || other.key == arena.key || other.inherited || arena.inherited {
                continue;
            }
            if let Some(older) = other.blocks_in(newer.address, newer.size).first() {
                self.overlap(event, arena, newer, place, other, older);
            }
        }
    }

    fn overlap(&mut self, event: &Event, arena: &Arena, newer: &Block, place: Place, other: &Arena, older: &Block) {
        let lies_in = |inner: &Block, outer: &Block| outer.address <= inner.address && inner.end() <= outer.end();
        // A larger arena than the block does not lie in the block.
        let too_large = |arena: &Arena, outer: &Block| {
            arena.created.and_then(|created| created.size).is_some_and(|size| size > outer.size) && explicit(other)
        };
        let same = newer.address == older.address && newer.size == older.size;
        let one_call = newer.born.0.saturating_sub(older.born.0) <= 3 && newer.thread == older.thread;
        let nested = if same {
            one_call && !too_large(arena, older)
        } else {
            (lies_in(newer, older) && !too_large(arena, older)) || lies_in(older, newer)
        };
        let since = older.resized.unwrap_or(older.born);
        // Only of an arena that was created is it known that it is no copy of another one's object.
        if nested || !explicit(other) || self.tracks.of(other.id).changed > since {
            return;
        }
        let both = explicit(arena) && explicit(other);
        let made = arena.created.map(|created| created.moment);
        let proof =
            (both && other.id < arena.id && made.is_some_and(|made| made < older.born)).then_some(Proof::BothCreated);
        let shared = newer.end().0.min(older.end().0).saturating_sub(newer.address.0.max(older.address.0));
        let pairs = self.shared.len();
        match self.shared.get_mut(&(other.id, arena.id)) {
            Some(known) => {
                known.count = known.count.saturating_add(1);
                known.bytes = known.bytes.saturating_add(shared);
                known.proof = known.proof.or(proof);
                known.threads.insert(event.thread);
            }
            None if pairs < PAIRS => {
                let known = Shared {
                    older: side(older, other.place(older)),
                    newer: side(newer, place),
                    amid: other.extent(older.extent).is_some_and(|extent| {
                        extent.start < newer.address && other.blocks().iter().any(|one| one.end() <= newer.address)
                    }),
                    proof,
                    count: 1,
                    bytes: shared,
                    threads: [event.thread, older.thread].into(),
                };
                self.shared.insert((other.id, arena.id), known);
            }
            None => {}
        }
    }

    /// An arena whose block another one overlaps places its next: behind that block it goes on as if nothing had happened.
    fn used_again(&mut self, event: &Event, arena: &Arena, block: &Block) {
        if self.shared.is_empty() {
            return;
        }
        let changed = self.tracks.of(arena.id).changed;
        let pairs = self.shared.range_mut((arena.id, ArenaId(0))..=(arena.id, ArenaId(u32::MAX)));
        for (_, pair) in pairs.filter(|(_, pair)| pair.proof.is_none()) {
            if pair.older.block.extent == block.extent
                && pair.older.end() <= block.address
                && changed <= pair.older.moment
            {
                pair.proof = Some(Proof::UsedAgain(event.number, event.site));
            }
        }
    }

    fn destroyed(&mut self, event: &Event, state: &State, arena: ArenaId) {
        let changed = self.tracks.of(arena).changed;
        let made = |id: ArenaId| state.arena(id).is_some_and(explicit);
        let pairs = self.shared.range_mut((arena, ArenaId(0))..=(arena, ArenaId(u32::MAX)));
        for ((_, other), pair) in pairs.filter(|(_, pair)| pair.proof.is_none()) {
            if !made(arena) || changed > pair.older.moment {
                continue;
            }
            if made(*other) {
                pair.proof = Some(Proof::UsedAgain(event.number, event.site));
            } else if pair.amid {
                pair.proof = Some(Proof::Ended(event.number));
            }
        }
    }

    /// A block was freed or resized: for its arena it lived.
    fn lived(&mut self, event: &Event, arena: ArenaId, number: u64) {
        let pairs = self.shared.range_mut((arena, ArenaId(0))..=(arena, ArenaId(u32::MAX)));
        for (_, pair) in pairs.filter(|(_, pair)| pair.proof.is_none() && pair.older.block.number == number) {
            pair.proof = Some(Proof::UsedAgain(event.number, event.site));
        }
    }

    /// The pages of `event`, a mapping with MAP_FIXED, replace others.
    fn mapped_over(&mut self, event: &Event, state: &State, unmapped: &Unmapped) {
        let (start, len) = unmapped.range;
        let ended = unmapped.ended.iter().filter_map(|id| state.arena(*id));
        for arena in state.living_arenas().chain(ended) {
            if self.covered.len() >= PAIRS {
                return;
            }
            let taken = |block: &&Block| {
                block.died.is_some_and(|death| death.moment == unmapped.moment && death.how == How::Unmapped)
            };
            let ended_blocks = if arena.is_alive() { Vec::new() } else { arena.blocks() };
            let lost = arena.fallen().iter().find(taken).or_else(|| ended_blocks.into_iter().find(taken));
            let Some(block) = lost.filter(|block| !block.inherited) else { continue };
            self.covered.push(Covered {
                arena: arena.id,
                key: arena.key,
                side: side(block, arena.place(block)),
                moment: event.number,
                site: event.site,
                range: (start.0, start.plus(len).0),
                by: None,
                used: None,
                given_up: false,
                threads: [event.thread, block.thread].into(),
            });
        }
    }

    /// An own event of an arena, while some arena's pages were replaced.
    fn own_event(&mut self, event: &Event, effect: &Effect, state: &State, key: ArenaKey) {
        for covered in self.covered.iter_mut().filter(|covered| covered.used.is_none() && !covered.given_up) {
            if key == covered.key {
                match event.kind {
                    EventKind::Create { .. } | EventKind::Reset { .. } | EventKind::Rewind { .. } => {
                        covered.given_up = true
                    }
                    // It goes on in memory of its own choice only where its cursor says so.
                    _ if self.tracks.of(covered.arena).changed > covered.moment => covered.given_up = true,
                    _ if covered.by.is_some() => covered.used = Some((event.number, event.site)),
                    _ => {}
                }
            } else if covered.by.is_none()
                && let (Some(arena), Some(block)) = (effect.arena, &effect.block)
                && covered.range.0 <= block.address.0
                && block.address.0 < covered.range.1
                && state.arena(arena).is_some_and(|arena| !arena.inherited)
            {
                covered.by = Some(arena);
                covered.threads.insert(event.thread);
            }
        }
    }
}

impl Rule for OverlappingArenas {
    fn observe(&mut self, event: &Event, effect: &Effect, state: &State, _: &[u8]) {
        if let (What::Freed | What::Resized { .. }, Some(arena), Some(block)) =
            (effect.what, effect.arena, &effect.block)
            && !self.shared.is_empty()
        {
            self.lived(event, arena, block.number);
        }
        match event.kind {
            EventKind::Alloc { .. } | EventKind::Resize { .. } => {
                if let (What::Allocated | What::Resized { .. }, Some(block), Some(place)) =
                    (effect.what, &effect.block, effect.place)
                    && let Some(arena) = effect.arena.and_then(|id| state.arena(id))
                {
                    self.placed(event, state, arena, block, place);
                }
            }
            EventKind::Destroy { .. } if !self.shared.is_empty() => {
                if let Some(arena) = effect.arena {
                    self.destroyed(event, state, arena);
                }
            }
            EventKind::Unmap { address, len } if effect.died.blocks > 0 => {
                let events = state.thread(event.thread).map_or(0, |thread| thread.events);
                let unmapped =
                    Unmapped { moment: event.number, events, range: (address, len), ended: effect.ended.clone() };
                self.unmaps.insert(event.thread, unmapped);
            }
            EventKind::Map { address, len, flags, observed: false, .. } if flags & MAP_FIXED != 0 => {
                let events = state.thread(event.thread).map_or(0, |thread| thread.events);
                let unmapped = self.unmaps.remove(&event.thread);
                let directly = |unmapped: &Unmapped| {
                    unmapped.events.checked_add(1) == Some(events) && unmapped.range == (address, len)
                };
                if let Some(unmapped) = unmapped.filter(directly) {
                    self.mapped_over(event, state, &unmapped);
                }
            }
            EventKind::HeapSegment { arena, .. } => {
                self.library.insert(arena);
            }
            _ => {}
        }
        if !self.covered.is_empty()
            && let Some((key, _)) = event.kind.arena_order()
        {
            self.own_event(event, effect, state, key);
        }
        self.tracks.observe(event, effect, state);
    }

    fn finish(self: Box<Self>, state: &State, facts: &ProcessFacts) -> Vec<Finding> {
        if trust::unseen(facts, &trust::HANDS_OUT).is_some() {
            return Vec::new();
        }
        let ours = |id: ArenaId| {
            let arena = state.arena(id)?;
            (!trust::is_library(facts, arena) && !self.library.contains(&arena.key)).then_some(arena)
        };
        let mut found = Vec::new();
        for ((older, newer), pair) in &self.shared {
            if let (Some(older), Some(newer), Some(proof)) = (ours(*older), ours(*newer), pair.proof) {
                found.push(sharing(state, facts, older, newer, pair, proof));
            }
        }
        for covered in &self.covered {
            if let (Some(arena), Some(by), Some(used)) = (ours(covered.arena), covered.by.and_then(ours), covered.used)
            {
                found.push(mapping(state, facts, arena, by, covered, used));
            }
        }
        found
    }
}

fn sureness(state: &State, facts: &ProcessFacts, sure: Certainty) -> (Class, Certainty, alloc::string::String) {
    match trust::missing(state, facts) {
        0 => (Class::Finding, sure, alloc::string::String::new()),
        lost => (
            Class::Note,
            Certainty::Possible,
            format!("; but {lost} events were lost, and what explains it may be among them"),
        ),
    }
}

fn sharing(state: &State, facts: &ProcessFacts, older: &Arena, newer: &Arena, pair: &Shared, proof: Proof) -> Finding {
    let in_use = match proof {
        Proof::BothCreated => format!(
            "arena {} was created at #{}, before arena {} handed out its block at #{}: both were in use",
            newer.id,
            newer.created.map_or(0, |created| created.moment.0),
            older.id,
            pair.older.moment.0
        ),
        Proof::UsedAgain(moment, _) => {
            format!("arena {} was used again at #{}: both are in use", older.id, moment.0)
        }
        Proof::Ended(moment) => format!(
            "no reset or rewind of arena {} was seen before it was destroyed at #{}; but what stands here as arena {} was never \
             created, and may be a copy of the other's object, set back by hand",
            older.id, moment.0, newer.id
        ),
    };
    let sure = match proof {
        Proof::BothCreated => Certainty::Certain,
        Proof::UsedAgain(..) => Certainty::Likely,
        Proof::Ended(_) => Certainty::Possible,
    };
    let (class, certainty, doubt) = sureness(state, facts, sure);
    let class = if sure == Certainty::Possible { Class::Note } else { class };
    let mut sites = Vec::new();
    sites.extend(pair.newer.site.map(|site| (SiteRole::Allocated, site)));
    sites.extend(pair.older.site.map(|site| (SiteRole::Allocated, site)));
    for arena in [newer, older] {
        sites.extend(arena.born_site.filter(|_| explicit(arena)).map(|site| (SiteRole::Created, site)));
    }
    let times = if pair.count > 1 { format!("; {} blocks so far", pair.count) } else { alloc::string::String::new() };
    Finding {
        rule: OverlappingArenas::NAME,
        class,
        certainty,
        message: format!(
            "{}: shares bytes with block {} of arena {} ({} at +{}), which lives{times}",
            wording::block(&pair.newer.block, newer.id),
            pair.older.block.number,
            older.id,
            wording::bytes(pair.older.block.size),
            pair.older.block.offset
        ),
        arena: Some(wording::arena_ref(state, facts, newer.id)),
        block: Some(pair.newer.block),
        moment: pair.newer.moment,
        threads: pair.threads.iter().copied().collect(),
        sites,
        calls: Vec::new(),
        because: format!("{in_use}{doubt}"),
        evidence: Vec::new(),
        disproof: "a reset of the older arena that no role names, or an arena that is a window on the other by design"
            .to_owned(),
        next: "give each arena a range of its own: base and capacity of one must end where the next begins".to_owned(),
        count: pair.count,
        bytes: pair.bytes,
    }
}

fn mapping(
    state: &State,
    facts: &ProcessFacts,
    arena: &Arena,
    by: &Arena,
    covered: &Covered,
    (used, used_at): (EventNumber, Option<SiteId>),
) -> Finding {
    let (class, certainty, doubt) = sureness(state, facts, Certainty::Certain);
    let mut sites = Vec::new();
    sites.extend(covered.site.map(|site| (SiteRole::Unmapped, site)));
    sites.extend(by.born_site.filter(|_| explicit(by)).map(|site| (SiteRole::Created, site)));
    sites.extend(covered.side.site.map(|site| (SiteRole::Allocated, site)));
    sites.extend(used_at.map(|site| (SiteRole::Touched, site)));
    let bytes = covered.range.1.saturating_sub(covered.range.0);
    Finding {
        rule: OverlappingArenas::NAME,
        class,
        certainty,
        message: format!(
            "{}: new pages were mapped over it at #{} (MAP_FIXED, {}), and arena {} took them",
            wording::block(&covered.side.block, arena.id),
            covered.moment.0,
            wording::bytes(bytes),
            by.id
        ),
        arena: Some(wording::arena_ref(state, facts, arena.id)),
        block: Some(covered.side.block),
        moment: covered.moment,
        threads: covered.threads.iter().copied().collect(),
        sites,
        calls: Vec::new(),
        because: format!(
            "nothing had freed the block or reset arena {} before, and the arena was used again at #{}{doubt}",
            arena.id, used.0
        ),
        evidence: Vec::new(),
        disproof: "a reset or an end of the first arena that no role names".to_owned(),
        next:
            "map without MAP_FIXED and let the kernel find free space, or use MAP_FIXED_NOREPLACE, which fails instead"
                .to_owned(),
        count: 1,
        bytes,
    }
}

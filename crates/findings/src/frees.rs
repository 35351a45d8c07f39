//! Frees that fit no living block: what `double-free`, `invalid-free` and `wrong-arena-free` judge, gathered in one pass.
//!
//! May be relied on: time per event is O(log n), and next to nothing for events that are no free; memory is bounded
//! ([`DeadBlocks::SLOTS`], [`GROUPS`]): what was forgotten is never accused. Absent on purpose: the judgement, which is
//! the three rules'.

use crate::finding::{BlockRef, Certainty, Class, Finding, SiteRole};
use crate::watch::Rule;
use crate::{double_free, invalid_free, trust, wording, wrong_arena_free};
use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use arenascope_event::{
    Address, ArenaKey, BoundsKind, Event, EventKind, EventNumber, ProcessFacts, SiteId, ThreadNumber,
};
use arenascope_replay::{Arena, ArenaId, Block, Effect, How, Place, State, What};

/// Misfrees told apart, by what they are and where. Those beyond are not told.
const GROUPS: usize = 1024;

/// Arenas asked for a block that was freed through another one.
const ASKED: usize = 16;

/// The gathering.
#[derive(Clone, Debug, Default)]
pub(crate) struct Frees {
    dead: DeadBlocks,
    /// The last arena of each key.
    latest: BTreeMap<ArenaKey, ArenaId>,
    /// What frees of each arena with a misfree came to.
    tallies: BTreeMap<ArenaId, Tally>,
    groups: BTreeMap<GroupKey, Misfree>,
    /// Doubly freed blocks that may be handed out twice now.
    doubled: BTreeMap<(ArenaId, u64), GroupKey>,
    /// The C library's arenas.
    library: BTreeSet<ArenaKey>,
    earlier: EarlierFrees,
    /// What check mode said of the address that each thread is about to free.
    none_there: BTreeMap<ThreadNumber, (ArenaKey, Address)>,
    /// Memory of check mode's that was given twice: begin and end of each part.
    again: BTreeMap<u64, u64>,
}

/// What was recorded of the earlier free of a block that is about to be freed again: whether it changed the arena object,
/// which says that the allocator took the block. Told for the thread's next event, and gone after it.
#[derive(Clone, Debug, Default)]
pub(crate) struct EarlierFrees {
    changed: BTreeMap<ThreadNumber, (ArenaKey, bool)>,
}

impl EarlierFrees {
    /// To be called for every event, after the question about it.
    pub(crate) fn observe(&mut self, event: &Event) {
        if let EventKind::ObjectChanged { arena, before, after, .. } = &event.kind {
            self.changed.insert(event.thread, (*arena, before != after));
        } else if !self.changed.is_empty() && event.kind.arena_order().is_some() {
            self.changed.remove(&event.thread);
        }
    }

    /// True when the earlier free of what `event`, a free in `arena`, frees took the block.
    pub(crate) fn took(&self, event: &Event, arena: ArenaKey) -> bool {
        self.changed.get(&event.thread) == Some(&(arena, true))
    }
}

/// What tells misfrees apart: the kind, the place of the free, and the place of what came before.
type GroupKey = (ArenaId, u8, Option<SiteId>, Option<SiteId>);

/// Frees of one arena that fit no living block.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Tally {
    /// Of blocks that were free already.
    pub(crate) double: u64,
    /// Of addresses inside a living block.
    pub(crate) interior: u64,
    /// Of another arena's blocks.
    pub(crate) foreign: u64,
    /// After the arena's end.
    pub(crate) late: u64,
    /// Of addresses never handed out as far as seen, and resizes of such: other functions hand out blocks, too.
    pub(crate) strange: u64,
}

/// A block that no longer lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Dead {
    pub(crate) block: BlockRef,
    pub(crate) how: DeadHow,
    pub(crate) allocated: Option<SiteId>,
    pub(crate) born: EventNumber,
    pub(crate) by: ThreadNumber,
    /// When it died, where, and by which thread.
    pub(crate) died: EventNumber,
    pub(crate) site: Option<SiteId>,
    pub(crate) thread: ThreadNumber,
}

/// How it died.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum DeadHow {
    /// By one of the ways blocks die.
    Died(How),
    /// A resize moved it away from this address.
    Moved,
}

/// What is wrong with a free.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wrong {
    /// The block was freed before.
    Double {
        /// Later the same bytes were handed out twice: the second of those allocs and its site.
        proof: Option<(EventNumber, Option<SiteId>)>,
        /// The arena object changed in the first free: the allocator took the block.
        taken: bool,
    },
    /// A rewind or reset had taken the block.
    Stale,
    /// The arena had ended.
    Ended {
        /// Its end's site.
        site: Option<SiteId>,
        /// When.
        moment: EventNumber,
    },
    /// The address lies this many bytes inside a living block.
    Interior {
        /// Bytes from the block's start.
        at: u64,
    },
    /// Another arena's living block.
    Foreign {
        /// The arena it was freed through.
        through: ArenaId,
    },
    /// An address where no block ever was.
    Nowhere {
        /// It.
        address: Address,
        /// Check mode says so: in memory that it has for the arena's blocks.
        sure: bool,
    },
}

impl Wrong {
    const fn code(&self) -> u8 {
        match self {
            Wrong::Double { .. } => 0,
            Wrong::Stale => 1,
            Wrong::Ended { .. } => 2,
            Wrong::Interior { .. } => 3,
            Wrong::Foreign { .. } => 4,
            Wrong::Nowhere { sure: false, .. } => 5,
            Wrong::Nowhere { sure: true, .. } => 6,
        }
    }
}

/// Frees of one kind and place that fit no living block: the first, and how many.
#[derive(Clone, Debug)]
pub(crate) struct Misfree {
    pub(crate) wrong: Wrong,
    /// The arena of the block (of `Nowhere`: the arena it was freed through).
    pub(crate) arena: ArenaId,
    /// The block as it was, or is; for `Nowhere` one of no bytes.
    pub(crate) dead: Dead,
    pub(crate) moment: EventNumber,
    pub(crate) site: Option<SiteId>,
    pub(crate) threads: BTreeSet<ThreadNumber>,
    pub(crate) count: u64,
    pub(crate) bytes: u64,
}

/// Blocks that died lately, by arena and address. A newer one may take the place of an older one in the table: then the
/// older one is forgotten.
#[derive(Clone, Debug, Default)]
struct DeadBlocks {
    slots: Vec<Option<(ArenaId, Address, Dead)>>,
}

impl DeadBlocks {
    const SLOTS: usize = 1 << 15;

    fn index(arena: ArenaId, address: Address) -> usize {
        let mixed = (address.0 ^ (u64::from(arena.0) << 44)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        usize::try_from(mixed >> 49).unwrap_or(0)
    }

    fn put(&mut self, arena: ArenaId, address: Address, dead: Dead) {
        if self.slots.is_empty() {
            self.slots.resize(Self::SLOTS, None);
        }
        if let Some(slot) = self.slots.get_mut(Self::index(arena, address)) {
            *slot = Some((arena, address, dead));
        }
    }

    fn get(&self, arena: ArenaId, address: Address) -> Option<Dead> {
        let slot = self.slots.get(Self::index(arena, address))?.as_ref();
        slot.filter(|(known, at, _)| *known == arena && *at == address).map(|(.., dead)| *dead)
    }

    /// The address was handed out again.
    fn forget(&mut self, arena: ArenaId, address: Address) {
        if let Some(slot) = self.slots.get_mut(Self::index(arena, address))
            && slot.as_ref().is_some_and(|(known, at, _)| *known == arena && *at == address)
        {
            *slot = None;
        }
    }

    fn any(&self) -> bool {
        !self.slots.is_empty()
    }
}

pub(crate) fn block_ref(block: &Block, place: Place) -> BlockRef {
    BlockRef { number: block.number, extent: place.extent, offset: place.offset, size: block.size }
}

fn dead(block: &Block, place: Place, event: &Event, how: DeadHow) -> Dead {
    Dead {
        block: block_ref(block, place),
        how,
        allocated: block.site,
        born: block.born,
        by: block.thread,
        died: event.number,
        site: event.site,
        thread: event.thread,
    }
}

impl Frees {
    /// At the start of a trace.
    pub(crate) fn new() -> Frees {
        Frees::default()
    }

    fn handed_out(&mut self, event: &Event, effect: &Effect, arena: ArenaId) {
        let Some(block) = &effect.block else { return };
        self.dead.forget(arena, block.address);
        if !self.doubled.is_empty()
            && let Some(key) = self.doubled.get(&(arena, block.address.0))
            && effect.dead.iter().any(|older| older.address == block.address)
        {
            if let Some(Misfree { wrong: Wrong::Double { proof, .. }, .. }) = self.groups.get_mut(key) {
                proof.get_or_insert((event.number, event.site));
            }
            self.doubled.remove(&(arena, block.address.0));
        }
    }

    fn resized(&mut self, event: &Event, effect: &Effect, state: &State, arena: ArenaId, old: Address) {
        match (effect.what, &effect.block, effect.place) {
            (What::Resized { moved: true }, Some(block), Some(place)) => {
                self.dead.put(arena, old, dead(block, place, event, DeadHow::Moved));
            }
            (What::Allocated, ..) if !old.is_null() && self.dead.get(arena, old).is_none() => {
                // Of the C library's kin nobody knows what a resize through another arena does; ours never takes it.
                let through = state.arena(arena).filter(|arena| is_ours(arena));
                match through.and_then(|through| foreign(state, through, old)) {
                    Some((owner, block)) if is_ours(owner) => {
                        self.tally(arena).foreign += 1;
                        let lives = dead(block, owner.place(block), event, DeadHow::Moved);
                        self.add(event, owner.id, Wrong::Foreign { through: arena }, lives);
                    }
                    _ => self.tally(arena).strange += 1,
                }
            }
            _ => {}
        }
        self.handed_out(event, effect, arena);
    }

    /// True in memory of check mode's that dead blocks had before.
    fn given_twice(&self, address: Address) -> bool {
        self.again.range(..=address.0).next_back().is_some_and(|(_, end)| address.0 < *end)
    }

    fn tally(&mut self, arena: ArenaId) -> &mut Tally {
        self.tallies.entry(arena).or_default()
    }

    fn freed(&mut self, event: &Event, effect: &Effect, state: &State, key: ArenaKey, address: Address) {
        match (effect.what, effect.arena, &effect.block) {
            (What::Freed, Some(arena), Some(block)) => {
                if let Some(place) = effect.place {
                    self.dead.put(arena, address, dead(block, place, event, DeadHow::Died(How::Freed)));
                }
            }
            (What::Freed, Some(arena), None) => {
                if let Some(arena) = state.arena(arena) {
                    self.unknown(event, state, arena, address);
                }
            }
            (What::NoArena, ..) => self.after_the_end(event, state, key, address),
            _ => {}
        }
    }

    /// No block of `arena` lives at `address`.
    fn unknown(&mut self, event: &Event, state: &State, arena: &Arena, address: Address) {
        let id = arena.id;
        if let Some((owner, block)) = foreign(state, arena, address) {
            if self.given_twice(address) {
                // The address may be that of a dead block of this arena's.
                return;
            }
            self.tally(id).foreign += 1;
            let lives = dead(block, owner.place(block), event, DeadHow::Died(How::Freed));
            return self.add(event, owner.id, Wrong::Foreign { through: id }, lives);
        }
        match self.dead.get(id, address) {
            Some(dead) => match dead.how {
                DeadHow::Died(How::Freed) => {
                    self.tally(id).double += 1;
                    let taken = self.earlier.took(event, arena.key);
                    self.add(event, id, Wrong::Double { proof: None, taken }, dead);
                }
                DeadHow::Died(How::Rewound | How::Reset) => self.add(event, id, Wrong::Stale, dead),
                DeadHow::Died(_) | DeadHow::Moved => {}
            },
            None => match arena.block_over(address) {
                Some(block) => {
                    self.tally(id).interior += 1;
                    let at = address.0.saturating_sub(block.address.0);
                    let lives = dead(block, arena.place(block), event, DeadHow::Died(How::Freed));
                    self.add(event, id, Wrong::Interior { at }, lives);
                }
                None => {
                    let nowhere = Dead {
                        block: BlockRef { number: 0, extent: 0, offset: 0, size: 0 },
                        how: DeadHow::Moved,
                        allocated: None,
                        born: EventNumber::default(),
                        by: event.thread,
                        died: event.number,
                        site: event.site,
                        thread: event.thread,
                    };
                    let sure = self.none_there.get(&event.thread) == Some(&(arena.key, address));
                    self.tally(id).strange += u64::from(!sure);
                    self.add(event, id, Wrong::Nowhere { address, sure }, nowhere);
                }
            },
        }
    }

    /// No arena lives behind `key`: was the block one of its last?
    fn after_the_end(&mut self, event: &Event, state: &State, key: ArenaKey, address: Address) {
        let Some(arena) = self.latest.get(&key).and_then(|id| state.arena(*id)) else { return };
        let Some(end) = arena.ended else { return };
        self.tally(arena.id).late += 1;
        if self.tally(arena.id).late > ASKED as u64 {
            // Every look costs as much as the arena had blocks.
            return;
        }
        let blocks = arena.blocks();
        let Some(block) = blocks.iter().find(|block| block.address == address && block.died.is_some()) else {
            return;
        };
        let gone = dead(block, arena.place(block), event, DeadHow::Died(How::Destroyed));
        let gone = Dead { died: end.moment, site: end.site, thread: end.thread, ..gone };
        self.add(event, arena.id, Wrong::Ended { site: end.site, moment: end.moment }, gone);
    }

    fn add(&mut self, event: &Event, arena: ArenaId, wrong: Wrong, dead: Dead) {
        let key = (arena, wrong.code(), event.site, dead.allocated);
        let known = self.groups.len();
        if let Some(group) = self.groups.get_mut(&key) {
            if matches!(wrong, Wrong::Nowhere { .. }) && group.wrong != wrong {
                // Another address: the tally tells that there are several.
                return;
            }
            if let (Wrong::Double { taken, .. }, Wrong::Double { taken: true, .. }) = (&mut group.wrong, wrong) {
                *taken = true;
            }
            group.count = group.count.saturating_add(1);
            group.bytes = group.bytes.saturating_add(dead.block.size);
            group.threads.insert(event.thread);
            return;
        }
        if known >= GROUPS {
            return;
        }
        let threads = match wrong {
            Wrong::Nowhere { .. } => [event.thread].into(),
            _ => [event.thread, dead.by, dead.thread].into(),
        };
        let (moment, site) = (event.number, event.site);
        let bytes = dead.block.size;
        self.groups.insert(key, Misfree { wrong, arena, dead, moment, site, threads, count: 1, bytes });
    }
}

/// True for an arena of our library that is no handle of a shared one, and no child's copy: it has its blocks to itself.
pub(crate) fn is_ours(arena: &Arena) -> bool {
    arena.bounds.is_some_and(|bounds| bounds.kind != BoundsKind::Lease) && !arena.copied && !arena.inherited
}

/// A living block of another arena that begins exactly at `address`, in memory that `arena` has no part of.
fn foreign<'a>(state: &'a State, arena: &Arena, address: Address) -> Option<(&'a Arena, &'a Block)> {
    // Without blocks nobody knows where its memory is, but where its header says so.
    if (arena.counts.allocs == 0 && arena.bounds.is_none())
        || arena.extents().any(|extent| extent.start <= address && address < extent.end())
    {
        return None;
    }
    // Handles of shared arenas take each other's blocks (arenascope_shared.h), and nothing happens.
    let leased = |arena: &Arena| arena.bounds.is_some_and(|bounds| bounds.kind == BoundsKind::Lease);
    let owner_of = |other: &'a Arena| {
        let apart = other.id != arena.id && other.key != arena.key && !(leased(arena) && leased(other));
        other.block_at(address).filter(|_| apart).map(|block| (other, block))
    };
    match state.region_holding(address) {
        Some(region) => region.users().take(ASKED).filter_map(|id| state.arena(id)).find_map(owner_of),
        None => state.living_arenas().take(ASKED).find_map(owner_of),
    }
}

impl Rule for Frees {
    fn observe(&mut self, event: &Event, effect: &Effect, state: &State, _: &[u8]) {
        if effect.born
            && let (Some((key, _)), Some(id)) = (event.kind.arena_order(), effect.arena)
        {
            self.latest.insert(key, id);
        }
        match event.kind {
            EventKind::Alloc { .. } if self.dead.any() => {
                if let Some(arena) = effect.arena {
                    self.handed_out(event, effect, arena);
                }
            }
            EventKind::Resize { old, .. } => {
                if let Some(arena) = effect.arena {
                    self.resized(event, effect, state, arena, old);
                }
            }
            EventKind::Free { arena, block, .. } if !block.is_null() => {
                self.freed(event, effect, state, arena, block);
                if let (What::Freed, Some(id), None) = (effect.what, effect.arena, &effect.block)
                    && self.doubled.len() < GROUPS
                    && let Some(dead) = self.dead.get(id, block)
                {
                    self.doubled.insert((id, block.0), (id, 0, event.site, dead.allocated));
                }
            }
            EventKind::NoBlock { arena, address } => {
                self.none_there.insert(event.thread, (arena, address));
            }
            EventKind::Bounds { base, capacity, kind: BoundsKind::PlotAgain, .. } => {
                self.again.insert(base.0, base.plus(capacity).0);
            }
            EventKind::HeapSegment { arena, .. } => {
                self.library.insert(arena);
            }
            _ => {}
        }
        self.earlier.observe(event);
        if !self.none_there.is_empty() && event.kind.arena_order().is_some() {
            self.none_there.remove(&event.thread);
        }
        if !effect.dead.is_empty()
            && self.dead.any()
            && let Some(arena) = effect.arena.and_then(|id| state.arena(id))
        {
            for block in &effect.dead {
                let how = block.died.map_or(How::Overwritten, |death| death.how);
                // A block that took this one's very place is the one that lives there now.
                if arena.block_at(block.address).is_none() {
                    let gone = dead(block, arena.place(block), event, DeadHow::Died(how));
                    self.dead.put(arena.id, block.address, gone);
                }
            }
        }
    }

    fn finish(self: Box<Self>, state: &State, facts: &ProcessFacts) -> Vec<Finding> {
        let mut found = Vec::new();
        let interior = self.tallies.values().fold(0_u64, |sum, tally| sum.saturating_add(tally.interior));
        for misfree in self.groups.values() {
            let Some(arena) = state.arena(misfree.arena) else { continue };
            if trust::is_library(facts, arena) || self.library.contains(&arena.key) {
                continue;
            }
            let through = match misfree.wrong {
                Wrong::Foreign { through } => through,
                _ => misfree.arena,
            };
            let case = Case {
                misfree,
                arena,
                tally: self.tallies.get(&through).copied().unwrap_or_default(),
                interior,
                unseen: trust::unseen(facts, &trust::HANDS_OUT).is_some(),
                lost: trust::missing(state, facts),
                state,
                facts,
            };
            found.extend(match misfree.wrong {
                Wrong::Double { proof, taken } => double_free::judge(&case, proof, taken),
                Wrong::Foreign { through } => wrong_arena_free::judge(&case, through),
                _ => invalid_free::judge(&case),
            });
        }
        found
    }
}

/// A misfree with all that a judgement needs.
pub(crate) struct Case<'a> {
    pub(crate) misfree: &'a Misfree,
    /// The arena of the block.
    pub(crate) arena: &'a Arena,
    /// Of the arena that it was freed through.
    pub(crate) tally: Tally,
    /// Frees of addresses inside living blocks, in all arenas.
    pub(crate) interior: u64,
    /// Blocks are handed out by calls that are not seen.
    pub(crate) unseen: bool,
    /// Arena events that are missing.
    pub(crate) lost: u64,
    pub(crate) state: &'a State,
    pub(crate) facts: &'a ProcessFacts,
}

/// What one of the three rules says of a misfree in its own words.
pub(crate) struct Words {
    pub(crate) class: Class,
    pub(crate) certainty: Certainty,
    pub(crate) message: String,
    pub(crate) because: String,
    pub(crate) disproof: &'static str,
    pub(crate) next: &'static str,
}

impl Case<'_> {
    /// The finding of `rule`.
    pub(crate) fn finding(&self, rule: &'static str, words: Words, sites: Vec<(SiteRole, SiteId)>) -> Finding {
        let misfree = self.misfree;
        let Words { class, certainty, mut message, mut because, disproof, next } = words;
        because.push_str(&self.doubt());
        if misfree.count > 1 {
            message.push_str(&format!("; {} times", misfree.count));
        }
        let in_block = !matches!(misfree.wrong, Wrong::Nowhere { .. });
        Finding {
            rule,
            class,
            certainty,
            message,
            arena: Some(wording::arena_ref(self.state, self.facts, misfree.arena)),
            block: in_block.then_some(misfree.dead.block),
            moment: misfree.moment,
            threads: misfree.threads.iter().copied().collect(),
            sites,
            calls: Vec::new(),
            because,
            evidence: Vec::new(),
            disproof: disproof.to_owned(),
            next: next.to_owned(),
            count: misfree.count,
            bytes: misfree.bytes,
        }
    }

    /// The doubt that missing events cast, as the end of a sentence.
    fn doubt(&self) -> String {
        match self.lost {
            0 => String::new(),
            lost => format!("; {lost} events were lost, and what explains it may be among them"),
        }
    }
}

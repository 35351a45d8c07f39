//! What check mode saw, put together with what the arena did next: the ground of `overflow` and of the `use-after-` rules.
//!
//! May be relied on: one [`Told`] for each damage event, with the block it is about, when its bytes were last right, and
//! the arena's own event that had them looked at. Absent on purpose: the verdict.
//! Memory: a short history per arena (of arenas of our own library up to [`ENDS_OWN`] ends of blocks), the blocks of living arenas, and at most [`Damages::KEPT`] damages.

use crate::finding::{BlockRef, Evidence};
use alloc::borrow::ToOwned;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;
use arenascope_event::{
    Address, ArenaKey, BoundsKind, Event, EventKind, EventNumber, ProcessFacts, SiteId, ThreadNumber, Zone,
};
use arenascope_replay::{ArenaId, Effect, State, What};

/// Own events of an arena that are remembered.
const HISTORY: usize = 16;
/// Frees, rewinds and resets of an arena that are remembered.
const ENDS: usize = 64;
/// The same of an arena of our own library, whose dead blocks are looked at much later: 56 MiB of them at most.
const ENDS_OWN: usize = 1 << 20;
/// MAP_SHARED and MAP_SHARED_VALIDATE (include/uapi/linux/mman.h).
const SHARED: u32 = 1;
/// Shared mappings that are remembered.
const SHARED_RANGES: usize = 256;
/// Bytes between two blocks that alignment, a header and a redzone explain.
const SLACK_BYTES: u64 = 64;

/// An own event of an arena.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Own {
    pub order: u64,
    pub moment: EventNumber,
    pub thread: ThreadNumber,
    pub site: Option<SiteId>,
    /// Extent of the block concerned; 0 when there is none.
    pub extent: u32,
    pub what: Act,
}

/// What it did, as far as it matters here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Act {
    /// Handed out a block: its address and bytes.
    Alloc(Address, u64),
    Free,
    Rewind,
    Reset,
    /// Resized a block, which moved: its new address and bytes. Only where check mode looks after the arena's blocks itself.
    Moved(Address, u64),
    Other,
}

/// A block as it was handed out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Known {
    pub number: u64,
    pub size: u64,
    pub extent: u32,
    pub offset: u64,
    pub site: Option<SiteId>,
    pub thread: ThreadNumber,
    pub born: EventNumber,
}

impl Known {
    /// For findings.
    pub(crate) fn block(&self) -> BlockRef {
        BlockRef { number: self.number, extent: self.extent, offset: self.offset, size: self.size }
    }
}

/// One damage.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Told {
    pub moment: EventNumber,
    pub thread: ThreadNumber,
    pub arena: ArenaId,
    pub key: ArenaKey,
    pub block: Address,
    pub size: u64,
    pub zone: Zone,
    pub address: Address,
    pub expected: u8,
    pub found: Vec<u8>,
    pub end: Address,
    /// The block, if its handing out was seen.
    pub known: Option<Known>,
    /// The living block right above the zone: its address and what is known of it.
    pub above: Option<(Address, Known)>,
    /// The last own event after which the bytes were right.
    pub right: Option<Own>,
    /// The event that took the block back.
    pub ended: Option<Own>,
    /// The arena's own event that had the bytes looked at; `None` when it was the end of memory or process.
    pub follow: Option<Own>,
    /// The arena never took a block back by itself.
    pub never_freed: bool,
    /// Blocks of this arena have followed each other without gaps.
    pub tight: bool,
    /// Other arenas have blocks there, or other processes may write there.
    pub others: bool,
    /// Zones found all zero by the same look.
    pub wiped_too: u64,
    /// The bytes lay in memory of check mode's, which nobody else has ever been given: an arena of our library.
    pub own: bool,
    /// It is memory that dead blocks had before, of this arena or of others.
    pub twice: bool,
}

#[derive(Clone, Debug, Default)]
struct OfArena {
    history: VecDeque<Own>,
    ends: VecDeque<Own>,
    blocks: BTreeMap<u64, Known>,
    last_end: Option<u64>,
    loose: bool,
    /// Check mode has its blocks in memory of its own.
    own: bool,
}

impl OfArena {
    /// The event of this order, if it ended blocks. They are in order, but for what was lost or came late.
    fn end(&self, order: u64) -> Option<Own> {
        let near = self.ends.binary_search_by_key(&order, |own| own.order).ok().and_then(|at| self.ends.get(at));
        near.or_else(|| self.ends.iter().rev().find(|own| own.order == order)).copied()
    }
}

/// Collects them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Damages {
    arenas: BTreeMap<ArenaKey, OfArena>,
    shared: Vec<(u64, u64)>,
    /// Memory of check mode's that was given twice: where each such part begins and ends. There are 2^20 of them at most.
    again: BTreeMap<u64, u64>,
    forked: bool,
    told: Vec<Told>,
    /// First of `told` whose following event is still to come.
    open: usize,
    /// Damages beyond those kept.
    pub more: u64,
}

impl Damages {
    /// Damages that are kept; more are counted.
    pub const KEPT: usize = 4096;

    /// Takes the next event. `effect` and `state` are those after it.
    pub fn observe(&mut self, event: &Event, effect: &Effect, state: &State) {
        match event.kind {
            EventKind::Map { address, len, flags, .. } if flags & SHARED != 0 && self.shared.len() < SHARED_RANGES => {
                self.shared.push((address.0, address.plus(len).0));
            }
            EventKind::Fork { .. } => self.forked = true,
            EventKind::Bounds { base, capacity, kind: BoundsKind::PlotAgain, .. } => {
                self.again.insert(base.0, base.plus(capacity).0);
            }
            EventKind::Damage { .. } => self.damage(event, state),
            EventKind::Checked { arena, how } => self.arenas.entry(arena).or_default().own = how.works(),
            _ => {}
        }
        if let Some((key, order)) = event.kind.arena_order() {
            self.own(key, order, event, effect);
        }
    }

    /// What is known of a block, as long as its arena lives.
    pub fn block_at(&self, key: ArenaKey, block: Address, size: u64) -> Option<Known> {
        self.arenas.get(&key)?.blocks.get(&block.0).copied().filter(|known| known.size == size)
    }

    /// True for an address in memory of check mode's that was given twice: who has a pointer there may have it from a former owner.
    pub fn given_twice(&self, address: Address) -> bool {
        self.again.range(..=address.0).next_back().is_some_and(|(_, end)| address.0 < *end)
    }

    /// The event of an arena that ended blocks, by its order.
    pub fn end_of(&self, key: ArenaKey, order: u64) -> Option<Own> {
        self.arenas.get(&key)?.end(order)
    }

    /// All damages, in order.
    pub fn finish(self) -> Vec<Told> {
        self.told
    }

    fn own(&mut self, key: ArenaKey, order: u64, event: &Event, effect: &Effect) {
        let checked = self.arenas.get(&key).is_some_and(|arena| arena.own);
        let what = match event.kind {
            EventKind::Resize { old, new, size, .. } if checked && !new.is_null() && old != new => {
                Act::Moved(new, size)
            }
            EventKind::Alloc { block, size, .. } | EventKind::Resize { new: block, size, .. } if !block.is_null() => {
                Act::Alloc(block, size)
            }
            EventKind::Free { .. } => Act::Free,
            EventKind::Rewind { .. } | EventKind::ScopeExit { .. } => Act::Rewind,
            EventKind::Reset { .. } => Act::Reset,
            _ => Act::Other,
        };
        let extent = effect.place.map_or(0, |place| place.extent);
        let own = Own { order, moment: event.number, thread: event.thread, site: event.site, extent, what };
        // A damage belongs to the next own event of its thread.
        let mut rest = self.told.get_mut(self.open..).unwrap_or(&mut []).iter_mut();
        rest.by_ref()
            .filter(|told| told.key == key && told.thread == event.thread && told.follow.is_none())
            .for_each(|told| told.follow = Some(own));
        while self.told.get(self.open).is_some_and(|told| told.follow.is_some()) {
            self.open = self.open.saturating_add(1);
        }
        let arena = self.arenas.entry(key).or_default();
        if arena.history.len() == HISTORY {
            arena.history.pop_front();
        }
        arena.history.push_back(own);
        if matches!(what, Act::Free | Act::Rewind | Act::Reset | Act::Moved(..)) {
            if arena.ends.len() >= if arena.own { ENDS_OWN } else { ENDS } {
                arena.ends.pop_front();
            }
            arena.ends.push_back(own);
            arena.last_end = None;
        }
        if matches!(event.kind, EventKind::Create { .. } | EventKind::Destroy { .. }) {
            *arena = OfArena { history: core::mem::take(&mut arena.history), ..OfArena::default() };
        }
        if let (What::Allocated | What::Resized { .. }, Some(block), Some(place)) =
            (effect.what, &effect.block, effect.place)
        {
            let (start, end) = (block.address.0, block.end().0);
            // Whoever had these bytes before is no longer asked about.
            let gone: Vec<u64> =
                arena.blocks.range(start..end.max(start.saturating_add(1))).map(|(at, _)| *at).collect();
            for at in gone {
                arena.blocks.remove(&at);
            }
            if let Some(last) = arena.last_end
                && start.saturating_sub(last) > SLACK_BYTES.saturating_add(growth(block.size))
            {
                arena.loose = true;
            }
            arena.last_end = Some(end.saturating_add(growth(block.size)));
            let known = Known {
                number: block.number,
                size: block.size,
                extent: place.extent,
                offset: place.offset,
                site: block.site,
                thread: block.thread,
                born: block.born,
            };
            arena.blocks.insert(start, known);
        }
    }

    fn damage(&mut self, event: &Event, state: &State) {
        let EventKind::Damage { arena: key, block, size, zone, address, expected, ref found, end, since, ended } =
            event.kind
        else {
            return;
        };
        let Some(arena) = state.arena_of_key(key) else { return };
        if self.told.len() >= Damages::KEPT {
            self.more = self.more.saturating_add(1);
            return;
        }
        let twice = self.given_twice(block);
        let of_arena = self.arenas.entry(key).or_default();
        let own = of_arena.own;
        let known = of_arena.blocks.get(&block.0).copied().filter(|known| known.size == size);
        // Where check mode knows whose zone it is, it says so.
        let above = if own { None } else { of_arena.blocks.range(end.0..=end.0.saturating_add(SLACK_BYTES)).next() };
        let above = above.map(|(at, known)| (Address(*at), *known)).filter(|(at, _)| arena.block_at(*at).is_some());
        let right = of_arena.history.iter().rev().find(|own| own.order < since).copied();
        // Too long ago: the history begins after it.
        let right = right.filter(|own| own.order.saturating_add(1) == since);
        let ended = ended.and_then(|order| of_arena.end(order));
        let shared = self.shared.iter().any(|(start, stop)| *start <= address.0 && address.0 < *stop);
        let covered = |other: &arenascope_replay::Arena| {
            other.id != arena.id
                && other
                    .blocks()
                    .iter()
                    .any(|one| one.address <= address && address < one.end() && one.born > born(known))
        };
        let wiped =
            found.len() as u64 >= end.0.saturating_sub(block.plus(size).0).min(64) && found.iter().all(|b| *b == 0);
        let told = Told {
            moment: event.number,
            thread: event.thread,
            arena: arena.id,
            key,
            block,
            size,
            zone,
            address,
            expected,
            found: found.clone(),
            end,
            known,
            above,
            right,
            ended,
            follow: None,
            never_freed: arena.counts.frees == 0,
            tight: !of_arena.loose,
            others: !own
                && ((shared && (self.forked || state.arenas().any(|arena| arena.inherited)))
                    || state.arenas().any(covered)),
            wiped_too: if own { 0 } else { u64::from(wiped) },
            own,
            twice,
        };
        let mut told = told;
        if wiped && !own {
            let open = self.told.get_mut(self.open..).unwrap_or(&mut []).iter_mut();
            for other in open.filter(|other| other.key == key && other.follow.is_none() && other.wiped_too > 0) {
                other.wiped_too = other.wiped_too.saturating_add(1);
                told.wiped_too = other.wiped_too;
            }
        }
        self.told.push(told);
    }
}

/// Who else may have a pointer to an address in memory of check mode's that was given twice.
pub(crate) fn former(address: Address, now: Option<ArenaId>, state: &State) -> String {
    let had = |arena: &&arenascope_replay::Arena| {
        Some(arena.id) != now && arena.extents().any(|extent| extent.start <= address && address < extent.end())
    };
    let named = |arena: &arenascope_replay::Arena| match arena.name.as_str() {
        "" => alloc::format!("arena {}", arena.id),
        name => alloc::format!("arena {} {name:?}", arena.id),
    };
    let others: Vec<String> = state.arenas().filter(had).take(4).map(named).collect();
    let whose = match others.as_slice() {
        [] => "dead blocks of the same arena".to_owned(),
        all => alloc::format!("blocks of {}", all.join(", ")),
    };
    alloc::format!(
        "addresses had run out, and {whose} lay at this place before: an old pointer to one of them may have been used, which only a run \
         with fewer arenas checked (--only), or more addresses (ulimit -v), can tell"
    )
}

fn born(known: Option<Known>) -> EventNumber {
    known.map_or(EventNumber::default(), |known| known.born)
}

/// How much larger check mode asks for a block of `size` bytes.
pub(crate) const fn growth(size: u64) -> u64 {
    match size {
        0 => 0,
        size if size.is_multiple_of(4096) => 4096,
        size if size.is_multiple_of(64) => 64,
        _ => 32,
    }
}

impl Told {
    /// "at +32", the same in every run.
    pub fn place(&self) -> String {
        match self.known {
            Some(known) => {
                alloc::format!("block {} ({} at +{})", known.number, crate::wording::bytes(self.size), known.offset)
            }
            None => alloc::format!("a block of {}", crate::wording::bytes(self.size)),
        }
    }

    /// "between #5 and #6", or as much of it as is known.
    pub fn window(&self) -> String {
        // Numbers of damage events are ours; people look for what the program did.
        let by = match self.follow {
            Some(own) => alloc::format!("#{}", own.moment.0),
            None => alloc::format!("#{}", self.moment.0.saturating_add(1)),
        };
        match (self.right, self.known) {
            (Some(right), _) => alloc::format!("between #{} and {by}", right.moment.0),
            (None, Some(known)) if self.zone != Zone::Dead => alloc::format!("between #{} and {by}", known.born.0),
            _ => alloc::format!("before {by}"),
        }
    }

    /// Threads that are known to have been there.
    pub fn threads(&self) -> Vec<ThreadNumber> {
        let mut threads = Vec::from([self.thread]);
        threads.extend(self.right.map(|own| own.thread));
        threads.sort_unstable();
        threads.dedup();
        threads
    }

    /// The bytes that were found, as proof; `start` is the first byte of the block that they are told from.
    pub fn evidence(&self, label: String, start: Address) -> Vec<Evidence> {
        Vec::from([Evidence {
            label,
            address: self.address,
            offset: (self.address.0 as i64).wrapping_sub(start.0 as i64),
            bytes: self.found.clone(),
            damaged: self.wrong(),
        }])
    }

    /// How many bytes are wrong.
    pub fn wrong_bytes(&self) -> u64 {
        self.wrong().iter().map(|range| range.len() as u64).sum()
    }

    /// Which bytes of `found` are wrong.
    pub fn wrong(&self) -> Vec<core::ops::Range<usize>> {
        let mut ranges: Vec<core::ops::Range<usize>> = Vec::new();
        for (index, byte) in self.found.iter().enumerate() {
            if *byte == self.expected {
                continue;
            }
            match ranges.last_mut() {
                Some(last) if last.end == index => last.end = index.saturating_add(1),
                _ => ranges.push(index..index.saturating_add(1)),
            }
        }
        ranges
    }

    /// "0x41 'A'", for one byte.
    pub fn value(&self) -> String {
        match self.found.as_slice() {
            [byte @ 0x20..=0x7e] => alloc::format!("to 0x{byte:02x} '{}'", char::from(*byte)),
            [byte] => alloc::format!("to 0x{byte:02x}"),
            _ => String::new(),
        }
    }
}

/// Why nothing certain can be said in this run at all; `None` when all that is needed was seen.
pub(crate) fn doubt(state: &State, facts: &ProcessFacts) -> Option<String> {
    use arenascope_event::{HookStatus, Role};
    let lost = facts.lost.events().saturating_add(state.missing);
    if lost > 0 {
        return Some(alloc::format!("{lost} events were lost, and blocks may have died unseen"));
    }
    let ends = |role| matches!(role, Role::Create | Role::Free | Role::Rewind | Role::Reset | Role::Destroy);
    let unseen = facts.hooks.iter().find(|hook| ends(hook.decl.role) && hook.status != HookStatus::Watched)?;
    Some(alloc::format!("not all calls of {} were seen, and blocks may have died unseen", unseen.decl.function))
}

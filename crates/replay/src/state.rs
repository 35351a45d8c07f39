//! The state of a traced process at one moment.
//!
//! May be relied on: `arenas` holds every arena ever born, the dead ones with their portrait; cloning is cheap where
//! nothing changed since (arenas are shared until one of the clones writes to one). Memory: living blocks, standing
//! regions, one record per arena ever born, and at most [`State::PORTRAIT_BLOCKS`] blocks in portraits (the oldest
//! portraits are given up first and say so). Absent on purpose: how events change it.

use crate::anomaly::Anomalies;
use crate::arena::{Arena, ArenaId};
use crate::realloc::Freed;
use crate::regions::{Region, RegionId, Regions};
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use arenascope_event::{Address, ArenaKey, EventNumber, SiteId, ThreadNumber};

/// The last NULL that a thread got.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LastRefusal {
    /// The event.
    pub moment: EventNumber,
    /// The arena.
    pub arena: ArenaId,
    /// The site of the call.
    pub site: Option<SiteId>,
    /// Bytes asked for.
    pub size: u64,
    /// Bytes alive in the arena then.
    pub live_bytes: u64,
    /// Its capacity then, if known.
    pub capacity: Option<u64>,
    pub(crate) told: u64,
}

/// One thread.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Thread {
    /// The kernel's id; 0 when its start was not seen.
    pub tid: u32,
    /// The thread that created it.
    pub parent: Option<ThreadNumber>,
    /// When it was first seen.
    pub first: EventNumber,
    /// When it ended.
    pub exited: Option<EventNumber>,
    /// Its events so far.
    pub events: u64,
    /// Those of them that are no asides: captures, and what else belongs to the thread's next event.
    pub(crate) told: u64,
    /// How many of its latest events, without a break, only announced arenas: they may stand between the return of
    /// a create call and its event, and the call does not count them.
    pub(crate) announced: u64,
    /// The malloc block that its last event freed, if an arena lay in it.
    pub(crate) freed: Option<Box<Freed>>,
    /// The last NULL it got.
    pub last_refusal: Option<LastRefusal>,
    /// Regions it got lately, each with the thread's own event count then: where a create call's memory is found.
    pub(crate) recent: VecDeque<(u64, RegionId)>,
    /// The same for blocks of malloc, where those are watched.
    pub(crate) recent_blocks: VecDeque<(u64, Address)>,
}

/// How the trace says the process ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ProcessEnd {
    /// It exited.
    Exit {
        /// When.
        moment: EventNumber,
        /// Status.
        status: i32,
    },
    /// A fatal signal arrived.
    Fault {
        /// When.
        moment: EventNumber,
        /// Thread.
        thread: ThreadNumber,
        /// Where, if a backtrace was taken.
        site: Option<SiteId>,
        /// Signal number.
        signal: u32,
        /// Address.
        address: Address,
        /// Instruction.
        pc: Address,
        /// True when the thread caused it itself.
        synchronous: bool,
    },
    /// It executed another program (or tried to: later events of that thread take this back).
    Exec {
        /// When.
        moment: EventNumber,
        /// Thread.
        thread: ThreadNumber,
        /// Path as given.
        path: String,
    },
}

/// What is known of a recorder's key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct KeyState {
    pub(crate) object: Address,
    pub(crate) living: Option<ArenaId>,
    pub(crate) next_order: u64,
}

/// The state at one moment.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct State {
    /// The last event applied; 0 at the start.
    pub moment: EventNumber,
    /// Its time, nanoseconds since the start.
    pub time_ns: u64,
    /// What did not fit.
    pub anomalies: Anomalies,
    /// Own events of arenas that are missing, told by gaps in their order.
    pub missing: u64,
    /// How the process ended, once an event said so.
    pub end: Option<ProcessEnd>,
    /// The fault that a thread caused itself and that the process did not survive ([`ProcessEnd::Fault`]). Not always its
    /// end: a handler of the program's own may have exited or aborted.
    pub fault: Option<ProcessEnd>,
    pub(crate) arenas: Vec<Arc<Arena>>,
    pub(crate) keys: BTreeMap<ArenaKey, KeyState>,
    pub(crate) regions: Regions,
    pub(crate) threads: BTreeMap<ThreadNumber, Thread>,
    /// Arena objects of living arenas, for the memory events that take the object away.
    pub(crate) objects: BTreeSet<(u64, ArenaId)>,
    /// Living arenas without a key, by object address: their object moved, or they came from the parent process.
    pub(crate) unbound: BTreeMap<u64, ArenaId>,
    /// Living arenas with an extent whose bounds are only the blocks seen.
    pub(crate) loose: BTreeSet<ArenaId>,
    /// Arenas of malloc's.
    pub(crate) malloc_arenas: Vec<ArenaId>,
    pub(crate) portraits: VecDeque<ArenaId>,
    pub(crate) portrait_blocks: u64,
}

impl State {
    /// Most blocks kept in portraits of dead arenas (about 130 bytes each).
    pub const PORTRAIT_BLOCKS: u64 = 1 << 18;

    /// Every arena ever born, in order of id.
    pub fn arenas(&self) -> impl DoubleEndedIterator<Item = &Arena> + ExactSizeIterator {
        self.arenas.iter().map(|arena| &**arena)
    }

    /// Those alive now.
    pub fn living_arenas(&self) -> impl DoubleEndedIterator<Item = &Arena> {
        self.arenas().filter(|arena| arena.is_alive())
    }

    /// The arena with this id.
    pub fn arena(&self, id: ArenaId) -> Option<&Arena> {
        let index = usize::try_from(id.0.checked_sub(1)?).ok()?;
        self.arenas.get(index).map(|arena| &**arena)
    }

    /// The living arena behind a recorder's key.
    pub fn arena_of_key(&self, key: ArenaKey) -> Option<&Arena> {
        self.arena(self.keys.get(&key)?.living?)
    }

    /// The arena that was destroyed last at a key's object, if no arena lives there now. O(arenas).
    pub(crate) fn ended_of_key(&self, key: ArenaKey) -> Option<ArenaId> {
        if self.living_of(key).is_some() {
            return None;
        }
        let of_key = self.arenas().filter(|arena| arena.key == key);
        let last = of_key.max_by_key(|arena| arena.id).filter(|arena| arena.ended.is_some());
        last.map(|arena| arena.id)
    }

    /// Mappings and malloc blocks that stand, in order of appearance.
    pub fn regions(&self) -> impl Iterator<Item = &Region> {
        self.regions.iter()
    }

    /// The region with this id, if it stands.
    pub fn region(&self, id: RegionId) -> Option<&Region> {
        self.regions.get(id)
    }

    /// The innermost standing region that holds this byte: a malloc block goes before a mapping.
    pub fn region_holding(&self, address: Address) -> Option<&Region> {
        self.regions.holding(address.0)
    }

    /// Threads by number.
    pub fn threads(&self) -> impl Iterator<Item = (ThreadNumber, &Thread)> {
        self.threads.iter().map(|(number, thread)| (*number, thread))
    }

    /// One thread.
    pub fn thread(&self, number: ThreadNumber) -> Option<&Thread> {
        self.threads.get(&number)
    }

    /// Rough size in memory, bytes: what a snapshot costs when nothing is shared.
    pub fn weight(&self) -> u64 {
        let living = self.arenas.iter().fold(0_u64, |sum, arena| sum.saturating_add(arena.live_blocks()));
        let blocks = living.saturating_add(self.portrait_blocks).saturating_mul(200);
        let arenas = (self.arenas.len() as u64).saturating_mul(900);
        let regions = (self.regions.len() as u64).saturating_mul(160);
        blocks.saturating_add(arenas).saturating_add(regions).saturating_add(4096)
    }

    pub(crate) fn arena_mut(&mut self, id: ArenaId) -> Option<&mut Arena> {
        let index = usize::try_from(id.0.checked_sub(1)?).ok()?;
        self.arenas.get_mut(index).map(Arc::make_mut)
    }

    pub(crate) fn living_of(&self, key: ArenaKey) -> Option<ArenaId> {
        self.keys.get(&key)?.living
    }
}

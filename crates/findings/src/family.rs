//! Processes that came from one another by fork, judged together.
//!
//! [`Kin`] observes one process and keeps the little that its relatives must know ([`Member`]): its forks, the first blocks
//! that it handed out in shared memory after each, what it did in private memory that it had inherited. [`judge`] compares
//! the members. May be relied on: pure; same members in the same order, same findings; memory bounded by arenas and by
//! [`BLOCKS`], never by the number of events. Absent on purpose: finding the traces of the relatives, which needs files.

use crate::finding::{ArenaRef, BlockRef, Finding, SiteRole};
use crate::wording;
use crate::{fork_private_write, fork_same_block};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use arenascope_event::{Event, EventKind, EventNumber, ProcessFacts, Role, SiteId, ThreadNumber, Watched};
use arenascope_replay::{
    Arena, ArenaId, Block, Effect, Ending, Extent, ExtentKind, Place, ProcessEnd, Region, State, What,
};

/// Blocks in shared memory that are kept of each arena after each fork: a cursor of one's own gives the same block twice
/// at once or not at all.
const FIRST: u32 = 16;
/// Most blocks kept of one process.
const BLOCKS: usize = 4096;
/// Most of them watched for their end at once.
const OPEN: usize = 256;
/// Most forks kept of one process.
const FORKS: usize = 65_536;

/// A fork, seen by the parent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Forked {
    /// Ties it to the child's trace.
    pub fork_id: u64,
    /// The child; 0 when not known.
    pub child: u32,
    pub(crate) moment: EventNumber,
    pub(crate) site: Option<SiteId>,
}

/// Which shared mapping: the process that made it, and the event there.
pub(crate) type Mapping = (u32, EventNumber);

/// A block handed out in shared memory after a fork.
#[derive(Clone, Debug)]
pub(crate) struct SharedBlock {
    pub arena: ArenaId,
    pub at: BlockRef,
    pub mapping: Mapping,
    pub address: u64,
    pub moment: EventNumber,
    pub thread: ThreadNumber,
    pub site: Option<SiteId>,
    /// CLOCK_MONOTONIC, ns; in [`Kin`] since the start of the trace.
    pub born_ns: u64,
    pub died_ns: Option<u64>,
    /// The arena object, and with it the cursor, lies in memory that each process has a copy of.
    pub own_cursor: bool,
}

impl SharedBlock {
    pub(crate) fn end(&self) -> u64 {
        self.address.saturating_add(self.at.size)
    }
}

/// True for memory that a fork copies, as far as no mapping tells: a module's own, and what our library says is a copy.
fn is_copied(arena: &Arena, extent: &Extent) -> bool {
    extent.kind == ExtentKind::Static || (extent.kind == ExtentKind::Payload && arena.copied)
}

/// What a child did in one arena of private memory that it had inherited.
#[derive(Clone, Debug)]
pub(crate) struct PrivateUse {
    pub blocks: u64,
    pub bytes: u64,
    pub rewinds: u64,
    pub resets: u64,
    pub moment: EventNumber,
    pub role: SiteRole,
    pub site: Option<SiteId>,
    pub block: Option<BlockRef>,
    pub threads: BTreeSet<ThreadNumber>,
}

/// What the relatives of a process must know of it.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its pid.
    pub pid: u32,
    /// Ties it to its parent's fork; 0 when it came from none that was watched.
    pub fork_id: u64,
    /// Its own forks, in order.
    pub forks: Vec<Forked>,
    pub(crate) blocks: Vec<SharedBlock>,
    pub(crate) private: BTreeMap<ArenaId, PrivateUse>,
    /// Names of the arenas spoken of.
    pub(crate) arenas: BTreeMap<ArenaId, ArenaRef>,
    /// Arenas in which a block was handed out over a living one: frees or resets are not all seen.
    pub(crate) unsure: BTreeSet<ArenaId>,
    /// Of each arena, the last event that used or ended it.
    pub(crate) used: BTreeMap<ArenaId, EventNumber>,
    /// Where each arena was born, as the process that bore it numbers sites.
    pub(crate) born: BTreeMap<ArenaId, Option<SiteId>>,
    /// CLOCK_MONOTONIC at the start of its trace, ns.
    pub(crate) started_ns: u64,
    /// CLOCK_MONOTONIC of its end, ns, when that was seen.
    pub(crate) ended_ns: Option<u64>,
    /// It ended by executing another program.
    pub(crate) executed: bool,
    /// No event is missing.
    pub(crate) complete: bool,
    /// The roles were given, not found by shape.
    pub(crate) given: bool,
}

/// A finding about several processes.
#[derive(Clone, Debug)]
pub struct FamilyFinding {
    /// The claim. Its arena, block, moment and threads are those of `member`; its own list of sites is empty.
    pub finding: Finding,
    /// The process in whose trace the claim stands: an index into the members.
    pub member: usize,
    /// Where, in the order of the story: the site's number is one of the member beside it.
    pub sites: Vec<(SiteRole, usize, SiteId)>,
    /// All members concerned, ascending.
    pub members: Vec<usize>,
}

/// Observes one process for its relatives.
#[derive(Clone, Debug)]
pub struct Kin {
    pid: u32,
    fork_id: u64,
    forks: Vec<Forked>,
    /// Blocks kept of each arena since the last fork.
    since_fork: BTreeMap<ArenaId, u32>,
    blocks: Vec<SharedBlock>,
    /// Those of them that live, by index.
    open: Vec<usize>,
    private: BTreeMap<ArenaId, PrivateUse>,
    /// Some watched function creates or destroys arenas.
    has_ends: bool,
    watches_malloc: bool,
}

impl Kin {
    /// At the start of the trace of this process.
    pub fn new(facts: &ProcessFacts) -> Kin {
        Kin {
            pid: facts.pid,
            fork_id: facts.fork_id,
            forks: Vec::new(),
            since_fork: BTreeMap::new(),
            blocks: Vec::new(),
            open: Vec::new(),
            private: BTreeMap::new(),
            has_ends: facts.hooks.iter().any(|hook| matches!(hook.decl.role, Role::Create | Role::Destroy)),
            watches_malloc: facts.watches_malloc,
        }
    }

    /// One event, what it did, and the state after it. A process without relatives costs a comparison.
    pub fn observe(&mut self, event: &Event, effect: &Effect, state: &State) {
        if let EventKind::Fork { child, fork_id } = event.kind {
            if self.forks.len() < FORKS {
                self.forks.push(Forked { fork_id, child, moment: event.number, site: event.site });
            }
            self.since_fork.clear();
            return;
        }
        if self.fork_id == 0 && self.forks.is_empty() {
            return;
        }
        if !self.open.is_empty() && (effect.died.blocks > 0 || !effect.ended.is_empty()) {
            self.bury(state, event.time_ns);
        }
        // A child has a copy of malloc's memory by design.
        let arena = effect.arena.and_then(|id| state.arena(id)).filter(|arena| arena.malloc.is_none());
        let Some(arena) = arena else { return };
        match (effect.what, &effect.block, effect.place) {
            (What::Allocated, Some(block), Some(place)) => self.handed_out(event, arena, block, place, state),
            (What::Rewound | What::Reset, ..) if arena.inherited && self.is_spoken_of(arena) => {
                self.gone_back(event, arena, effect.what, state);
            }
            _ => {}
        }
    }

    fn bury(&mut self, state: &State, now: u64) {
        let blocks = &mut self.blocks;
        self.open.retain(|index| {
            let Some(block) = blocks.get_mut(*index) else { return false };
            let standing = state.arena(block.arena).filter(|arena| arena.is_alive());
            let here = standing.and_then(|arena| arena.block_at(arena_address(block)));
            let lives = here.is_some_and(|living| living.number == block.at.number);
            if !lives {
                block.died_ns = Some(now);
            }
            lives
        });
    }

    fn handed_out(&mut self, event: &Event, arena: &Arena, block: &Block, place: Place, state: &State) {
        let Some(extent) = arena.extent(place.extent) else { return };
        let at = BlockRef { number: block.number, extent: place.extent, offset: place.offset, size: block.size };
        let region = extent.region.and_then(|region| state.region(region));
        if let Some(region) = region.filter(|region| region.shared) {
            self.keep(event, arena, block, at, region, state);
            return;
        }
        let private = region.is_some() || is_copied(arena, extent);
        if arena.inherited && private && self.is_spoken_of(arena) {
            let used = self.private_use(event, arena.id, SiteRole::Allocated, Some(at));
            used.blocks = used.blocks.saturating_add(1);
            used.bytes = used.bytes.saturating_add(block.size);
        }
    }

    fn keep(&mut self, event: &Event, arena: &Arena, block: &Block, at: BlockRef, region: &Region, state: &State) {
        let kept = self.since_fork.entry(arena.id).or_default();
        if *kept >= FIRST || self.blocks.len() >= BLOCKS || self.open.len() >= OPEN || block.size == 0 {
            return;
        }
        *kept = kept.saturating_add(1);
        let object = arena.object;
        let own_cursor = object.is_null() || state.region_holding(object).is_none_or(|region| !region.shared);
        self.open.push(self.blocks.len());
        self.blocks.push(SharedBlock {
            arena: arena.id,
            at,
            mapping: (region.owner.unwrap_or(self.pid), region.born),
            address: block.address.0,
            moment: event.number,
            thread: event.thread,
            site: event.site,
            born_ns: event.time_ns,
            died_ns: None,
            own_cursor,
        });
    }

    /// False for an allocator such as malloc, which every child uses and nobody expects to share.
    fn is_spoken_of(&self, arena: &Arena) -> bool {
        let created = arena.created.is_some();
        created || (!self.watches_malloc && (self.has_ends || !arena.object.is_null()))
    }

    fn gone_back(&mut self, event: &Event, arena: &Arena, what: What, state: &State) {
        let private = |extent: &Extent| match extent.region.and_then(|region| state.region(region)) {
            Some(region) => !region.shared,
            None => is_copied(arena, extent),
        };
        let mut extents = arena.extents().peekable();
        if extents.peek().is_none() || !extents.all(private) {
            return;
        }
        let role = if what == What::Reset { SiteRole::Reset } else { SiteRole::Rewound };
        let used = self.private_use(event, arena.id, role, None);
        match role {
            SiteRole::Reset => used.resets = used.resets.saturating_add(1),
            _ => used.rewinds = used.rewinds.saturating_add(1),
        }
    }

    fn private_use(
        &mut self,
        event: &Event,
        arena: ArenaId,
        role: SiteRole,
        block: Option<BlockRef>,
    ) -> &mut PrivateUse {
        let used = self.private.entry(arena).or_insert_with(|| PrivateUse {
            blocks: 0,
            bytes: 0,
            rewinds: 0,
            resets: 0,
            moment: event.number,
            role,
            site: event.site,
            block,
            threads: BTreeSet::new(),
        });
        used.threads.insert(event.thread);
        used
    }

    /// The summary. `started_ns`: CLOCK_MONOTONIC at the start of the trace.
    pub fn finish(self, state: &State, facts: &ProcessFacts, started_ns: u64) -> Member {
        let mut blocks = self.blocks;
        for block in &mut blocks {
            block.born_ns = block.born_ns.saturating_add(started_ns);
            block.died_ns = block.died_ns.map(|died| died.saturating_add(started_ns));
        }
        let spoken: BTreeSet<ArenaId> =
            blocks.iter().map(|block| block.arena).chain(self.private.keys().copied()).collect();
        let known = |id: &ArenaId| state.arena(*id);
        let overwritten = |id: &&ArenaId| known(id).is_some_and(|arena| arena.counts.overwritten > 0);
        let parents = if self.forks.is_empty() { None } else { Some(state) };
        let ended = |arena: &Arena| {
            let end = arena.ended.filter(|end| end.how != Ending::Replaced);
            end.map_or(arena.last_event, |end| end.moment)
        };
        Member {
            pid: self.pid,
            fork_id: self.fork_id,
            forks: self.forks,
            arenas: spoken.iter().map(|id| (*id, wording::arena_ref(state, facts, *id))).collect(),
            unsure: spoken.iter().filter(overwritten).copied().collect(),
            born: spoken.iter().map(|id| (*id, known(id).and_then(|arena| arena.born_site))).collect(),
            used: parents.into_iter().flat_map(State::arenas).map(|arena| (arena.id, ended(arena))).collect(),
            blocks,
            private: self.private,
            started_ns,
            ended_ns: match state.end {
                Some(ProcessEnd::Exit { .. } | ProcessEnd::Fault { .. }) => {
                    Some(started_ns.saturating_add(state.time_ns))
                }
                _ => None,
            },
            executed: matches!(state.end, Some(ProcessEnd::Exec { .. })),
            complete: facts.lost.events() == 0 && state.missing == 0 && started_ns != 0,
            given: facts.watched == Watched::Given,
        }
    }
}

fn arena_address(block: &SharedBlock) -> arenascope_event::Address {
    arenascope_event::Address(block.address)
}

/// Who came from whom.
pub(crate) struct Lineage<'m> {
    members: &'m [Member],
    /// Of each member, its parent among them and the fork there.
    parents: Vec<Option<(usize, Forked)>>,
}

impl<'m> Lineage<'m> {
    fn new(members: &'m [Member]) -> Lineage<'m> {
        let mut forks: BTreeMap<u64, (usize, Forked)> = BTreeMap::new();
        for (index, member) in members.iter().enumerate() {
            forks.extend(member.forks.iter().map(|fork| (fork.fork_id, (index, *fork))));
        }
        let parent = |member: &Member| forks.get(&member.fork_id).copied().filter(|_| member.fork_id != 0);
        Lineage { members, parents: members.iter().map(parent).collect() }
    }

    pub(crate) fn members(&self) -> &'m [Member] {
        self.members
    }

    pub(crate) fn parent(&self, member: usize) -> Option<(usize, Forked)> {
        self.parents.get(member).copied().flatten()
    }

    /// The fork of `ancestor` through which `member` came from it.
    pub(crate) fn fork_between(&self, ancestor: usize, member: usize) -> Option<Forked> {
        let mut at = member;
        // A chain is never longer than there are members; damaged traces may make a circle.
        for _ in self.members {
            let (parent, fork) = self.parent(at)?;
            if parent == ancestor {
                return Some(fork);
            }
            at = parent;
        }
        None
    }

    /// The latest fork that both came through: of the nearest common ancestor, for sites; `None` when they are no relatives.
    pub(crate) fn parting(&self, left: usize, right: usize) -> Option<(usize, Forked)> {
        if let Some(fork) = self.fork_between(left, right) {
            return Some((left, fork));
        }
        let mut at = left;
        for _ in self.members {
            let (parent, fork) = self.parent(at)?;
            if parent == right || self.fork_between(parent, right).is_some() {
                return Some((parent, fork));
            }
            at = parent;
        }
        None
    }
}

/// What the rules about forks say of these processes: findings, then notes.
pub fn judge(members: &[Member]) -> Vec<FamilyFinding> {
    let lineage = Lineage::new(members);
    let mut all = fork_same_block::judge(&lineage);
    all.extend(fork_private_write::judge(&lineage));
    all
}

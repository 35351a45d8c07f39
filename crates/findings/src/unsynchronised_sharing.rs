//! `unsynchronised-sharing`: two threads were inside one arena at once, and nothing keeps them apart.
//!
//! Claims: two calls that change one arena overlapped in time, and its functions do not order threads by themselves; or
//! two overlapping calls were given the same bytes. Two threads taking turns is no finding, under whatever lock.
//!
//! Needs: complete events (silent when some were lost); for calls that merely overlapped also the launcher's verdict
//! [`Synchronises::No`] on every watched function of the roles concerned.
//!
//! Evidence: the recorder saw other threads' events of the arena between entry and return of a call. The event is
//! recorded before its function returns, so a caller's lock held around both calls would have kept the windows apart.
//! Besides, one cursor must be seen to serve both calls: their blocks share bytes, or follow each other without a gap in
//! one mapping, malloc block or static range; or the later call's block shares bytes with a living one of the other thread.
//!
//! Disproof: a lock held by both callers; an allocator that gives each thread a part of its own.
//!
//! Correct programs that look alike, and why they are silent: an outer lock (no overlap); a lock, an atomic or a
//! thread-local cursor inside (not `No`); a cursor per thread in one object, chosen by an argument (overlapping calls then
//! get blocks of different parts);
//! one malloc or mmap a block (no common extent); a free that does nothing, a call that gave NULL or no byte (not
//! counted); frees and resizes that are not watched (same bytes then prove nothing by themselves).
//!
//! Lab: 16, two threads and one arena.

use crate::finding::{BlockRef, Certainty, Class, Finding, SiteRole};
use crate::watch::Rule;
use crate::wording;
use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use arenascope_event::{
    ArenaKey, Event, EventKind, EventNumber, HookFact, HookStatus, ProcessFacts, Role, SiteId, Synchronises,
    ThreadNumber, Watched,
};
use arenascope_replay::{ArenaId, Effect, ExtentKind, State, What};

/// Blocks of one cursor lie this close: alignment and headers between them, bytes.
const GAP: u64 = 64;

/// So many overlapping calls with blocks one behind the other, and it is no chance that parts of two threads meet there.
const SURE: u64 = 2;

/// The rule. In a process with several threads it remembers the last two callers of every arena.
#[derive(Clone, Debug, Default)]
pub struct UnsynchronisedSharing {
    /// The process has several threads.
    several: bool,
    /// By thread: its next own event in this arena overlapped others from this order on.
    pending: BTreeMap<ThreadNumber, (ArenaKey, u64)>,
    arenas: BTreeMap<ArenaId, Shared>,
}

/// A block that a call handed out.
#[derive(Clone, Copy, Debug)]
struct Given {
    at: BlockRef,
    address: u64,
    /// The extent's bounds come from the memory itself.
    firm: bool,
}

/// A call that changed an arena.
#[derive(Clone, Copy, Debug)]
struct Call {
    order: u64,
    moment: EventNumber,
    thread: ThreadNumber,
    site: Option<SiteId>,
    role: Role,
    block: Option<Given>,
}

/// Two calls that overlapped, the one that was recorded first before the other.
#[derive(Clone, Copy, Debug)]
struct Pair {
    first: Call,
    second: Call,
}

/// One arena with several callers.
#[derive(Clone, Debug, Default)]
struct Shared {
    last: Option<Call>,
    /// The latest of another thread than that of `last`.
    before: Option<Call>,
    overlaps: u64,
    first: Option<Pair>,
    /// Overlapping calls whose blocks are neighbours.
    close: u64,
    /// Overlapping calls whose blocks share bytes.
    doubled: u64,
    first_doubled: Option<Pair>,
    /// Overlapping calls of which the later was given bytes of a living block of the other thread.
    taken: u64,
    /// The first of them, with that block in place of the overlapping call's.
    first_taken: Option<Pair>,
    /// The same with the overlapping call.
    taken_during: Option<Pair>,
    threads: BTreeSet<ThreadNumber>,
    roles: BTreeSet<Role>,
}

impl UnsynchronisedSharing {
    /// Its name.
    pub const NAME: &'static str = "unsynchronised-sharing";

    /// At the start of a trace.
    pub fn new() -> UnsynchronisedSharing {
        UnsynchronisedSharing::default()
    }
}

impl Rule for UnsynchronisedSharing {
    fn observe(&mut self, event: &Event, effect: &Effect, state: &State, _: &[u8]) {
        if let EventKind::Overlapped { arena, since } = event.kind {
            self.pending.insert(event.thread, (arena, since));
            return;
        }
        let Some((key, order)) = event.kind.arena_order() else { return };
        let since = match self.pending.get(&event.thread) {
            Some((arena, since)) if *arena == key => {
                let since = *since;
                self.pending.remove(&event.thread);
                Some(since)
            }
            _ => None,
        };
        let Some(id) = effect.arena else { return };
        self.several = self.several || state.threads().nth(1).is_some();
        if !self.several {
            return;
        }
        let shared = self.arenas.entry(id).or_default();
        if let Some(call) = changes(event, order, effect, state) {
            shared.take(call, since, state, effect);
        } else if effect.what == What::Freed {
            shared.forget(|given| effect.block.as_ref().is_some_and(|block| block.address.0 == given.address));
        }
        for ended in &effect.ended {
            if self.arenas.get(ended).is_some_and(|shared| shared.overlaps == 0) {
                self.arenas.remove(ended);
            }
        }
    }

    fn finish(self: Box<Self>, state: &State, facts: &ProcessFacts) -> Vec<Finding> {
        if facts.lost.events() > 0 || state.missing > 0 {
            // A number taken by an event that was lost looks like one of another thread.
            return Vec::new();
        }
        self.arenas.iter().filter_map(|(id, shared)| accuse(state, facts, *id, shared)).collect()
    }
}

/// The call of this event, if it changed the arena for sure.
fn changes(event: &Event, order: u64, effect: &Effect, state: &State) -> Option<Call> {
    let role = match (&event.kind, effect.what) {
        (EventKind::Alloc { .. }, What::Allocated) => Role::Alloc,
        (EventKind::Resize { .. }, What::Allocated | What::Resized { .. }) => Role::Resize,
        (_, What::Rewound) => Role::Rewind,
        (_, What::Reset) => Role::Reset,
        (_, What::Destroyed) => Role::Destroy,
        _ => return None,
    };
    let block = match (&effect.block, effect.place) {
        (Some(block), Some(place)) => {
            let extent = effect.arena.and_then(|id| state.arena(id)?.extent(place.extent));
            let kind = extent.map(|extent| extent.kind);
            let firm = matches!(kind, Some(ExtentKind::Mapping | ExtentKind::HeapBlock | ExtentKind::Static));
            let at = BlockRef { number: block.number, extent: place.extent, offset: place.offset, size: block.size };
            Some(Given { at, address: block.address.0, firm })
        }
        _ => None,
    };
    let hands_out = matches!(role, Role::Alloc | Role::Resize);
    if hands_out && block.is_none_or(|given| given.at.size == 0) {
        return None;
    }
    Some(Call { order, moment: event.number, thread: event.thread, site: event.site, role, block })
}

impl Given {
    fn end(&self) -> u64 {
        self.address.saturating_add(self.at.size)
    }

    fn shares_bytes(&self, other: &Given) -> bool {
        self.address < other.end() && other.address < self.end()
    }

    /// True when one lies directly behind the other in the same memory.
    fn follows(&self, other: &Given) -> bool {
        let near = |low: u64, high: u64| high.checked_sub(low).is_some_and(|gap| gap <= GAP);
        self.firm
            && other.firm
            && self.at.extent == other.at.extent
            && (near(other.end(), self.address) || near(self.end(), other.address))
    }
}

impl Shared {
    fn take(&mut self, call: Call, since: Option<u64>, state: &State, effect: &Effect) {
        let other = [self.last, self.before].into_iter().flatten().find(|earlier| earlier.thread != call.thread);
        if let Some(first) = other.filter(|first| since.is_some_and(|since| since <= first.order)) {
            self.overlap(Pair { first, second: call }, state, effect);
        }
        if matches!(call.role, Role::Rewind | Role::Reset | Role::Destroy) {
            self.forget(|_| true);
        }
        if self.last.is_some_and(|last| last.thread != call.thread) {
            self.before = self.last;
        }
        self.last = Some(call);
    }

    fn overlap(&mut self, pair: Pair, state: &State, effect: &Effect) {
        let Pair { first, second } = pair;
        self.overlaps = self.overlaps.saturating_add(1);
        self.first.get_or_insert(pair);
        self.threads.extend([first.thread, second.thread]);
        self.roles.extend([first.role, second.role]);
        let mut overwritten = effect.dead.iter().filter(|block| block.thread == first.thread);
        if let (Role::Alloc | Role::Resize, Some(block)) = (second.role, overwritten.next_back()) {
            self.taken = self.taken.saturating_add(1);
            let arena = effect.arena.and_then(|id| state.arena(id));
            if let (None, Some(place)) = (self.first_taken, arena.map(|arena| arena.place(block))) {
                let at =
                    BlockRef { number: block.number, extent: place.extent, offset: place.offset, size: block.size };
                let given = Given { at, address: block.address.0, firm: false };
                let first =
                    Call { moment: block.born, site: block.site, role: Role::Alloc, block: Some(given), ..first };
                self.first_taken = Some(Pair { first, second });
                self.taken_during = Some(pair);
            }
        }
        let (Some(new), Some(old)) = (second.block, first.block) else { return };
        if new.shares_bytes(&old) {
            self.doubled = self.doubled.saturating_add(1);
            self.first_doubled.get_or_insert(pair);
        } else if new.follows(&old) {
            self.close = self.close.saturating_add(1);
        }
    }

    /// Blocks that are no longer anybody's.
    fn forget(&mut self, gone: impl Fn(&Given) -> bool) {
        for call in [&mut self.last, &mut self.before].into_iter().flatten() {
            call.block = call.block.filter(|given| !gone(given));
        }
    }
}

fn watched(facts: &ProcessFacts) -> impl Iterator<Item = &HookFact> {
    facts.hooks.iter().filter(|hook| !matches!(hook.status, HookStatus::NotWatched(_)))
}

/// What the watched functions allow to be said.
fn judge(facts: &ProcessFacts, shared: &Shared) -> Option<(Class, Certainty)> {
    let mut concerned = watched(facts).filter(|hook| shared.roles.contains(&hook.decl.role)).peekable();
    if concerned.peek().is_some() && concerned.all(|hook| hook.synchronises == Synchronises::No) {
        if shared.doubled > 0 || shared.taken > 0 || shared.close >= SURE {
            return Some((Class::Finding, Certainty::Certain));
        }
        return (shared.close > 0).then_some((Class::Finding, Certainty::Likely));
    }
    if shared.doubled == 0 || watched(facts).any(|hook| matches!(hook.decl.role, Role::Free | Role::Resize)) {
        return None;
    }
    match facts.watched {
        Watched::Given => Some((Class::Finding, Certainty::Likely)),
        // A reset that nobody watches may lie between the two calls.
        Watched::FoundByShape | Watched::Nothing => Some((Class::Note, Certainty::Possible)),
    }
}

fn accuse(state: &State, facts: &ProcessFacts, id: ArenaId, shared: &Shared) -> Option<Finding> {
    let (class, certainty) = judge(facts, shared)?;
    let Pair { first, second } = shared.first_doubled.or(shared.first_taken).or(shared.first)?;
    let arena = wording::arena_ref(state, facts, id);
    let inside = format!("threads {} and {} were inside arena {} at once", first.thread.0, second.thread.0, arena.id);
    let what = match (first.block, second.block) {
        (Some(old), Some(new)) if old.shares_bytes(&new) => {
            format!("{inside}, and both were given the same memory: {} and {}", told(&old), told(&new))
        }
        (Some(old), Some(new)) => format!("{inside}: while one was given {}, the other got {}", told(&old), told(&new)),
        (_, Some(new)) => format!("{inside}: one got {} while the other {}", told(&new), deed(first.role)),
        _ => inside,
    };
    let more = match shared.overlaps {
        0 | 1 => String::new(),
        count if shared.taken > 1 => format!(" ({count} times, {} of them with the same memory)", shared.taken),
        count => format!(" ({count} times)"),
    };
    let functions = functions(facts, &shared.roles);
    let by_themselves = if certainty == Certainty::Certain || shared.doubled == 0 {
        format!(
            "no locked instruction, fence, system call or thread-local memory in {functions}, nor in what it calls: nothing \
             there keeps threads apart"
        )
    } else {
        format!(
            "whatever {functions} does to keep threads apart, two living blocks share bytes, and nothing that was seen gave the first one back"
        )
    };
    // A block taken over may be older than the call that overlapped.
    let overlap = shared.first_doubled.or(shared.first_taken.and(shared.taken_during)).or(shared.first)?;
    let because = format!(
        "thread {} entered its call before #{} of thread {} was recorded, and left it at #{}; {by_themselves}",
        overlap.second.thread.0, overlap.first.moment.0, overlap.first.thread.0, overlap.second.moment.0
    );
    let disproof = if certainty == Certainty::Certain {
        "a lock held by both callers: one call would then have ended before the other began"
    } else {
        "a reset or release of the arena that was not watched; a part of the arena for each thread"
    };
    let sites = [first, second].iter().filter_map(|call| Some((site_role(call.role), call.site?))).collect();
    Some(Finding {
        rule: UnsynchronisedSharing::NAME,
        class,
        certainty,
        message: format!("{what}{more}"),
        arena: Some(arena),
        block: second.block.map(|given| given.at),
        moment: second.moment,
        threads: shared.threads.iter().copied().collect(),
        sites,
        calls: Vec::new(),
        because,
        evidence: Vec::new(),
        disproof: disproof.to_owned(),
        next: "hold one lock around every call on this arena, or give each thread an arena of its own".to_owned(),
        count: shared.overlaps,
        bytes: second.block.map_or(0, |given| given.at.size),
    })
}

fn told(given: &Given) -> String {
    let chunk = if given.at.extent > 1 { format!(" of extent {}", given.at.extent) } else { String::new() };
    format!("block {}, {} at +{}{chunk}", given.at.number, wording::bytes(given.at.size), given.at.offset)
}

fn deed(role: Role) -> &'static str {
    match role {
        Role::Rewind => "rewound it",
        Role::Reset => "reset it",
        Role::Destroy => "destroyed it",
        _ => "changed it",
    }
}

fn site_role(role: Role) -> SiteRole {
    match role {
        Role::Rewind => SiteRole::Rewound,
        Role::Reset => SiteRole::Reset,
        Role::Destroy => SiteRole::Destroyed,
        _ => SiteRole::Allocated,
    }
}

/// "arena_alloc", "arena_alloc and arena_reset", "arena_alloc and 3 others".
fn functions(facts: &ProcessFacts, roles: &BTreeSet<Role>) -> String {
    let concerned = watched(facts).filter(|hook| roles.contains(&hook.decl.role));
    let names: BTreeSet<&str> = concerned.map(|hook| hook.decl.function.as_str()).collect();
    let mut names = names.into_iter();
    match (names.next(), names.next(), names.count()) {
        (None, ..) => "the allocator".to_owned(),
        (Some(one), None, _) => one.to_owned(),
        (Some(one), Some(two), 0) => format!("{one} and {two}"),
        (Some(one), Some(_), more) => format!("{one} and {} others", more.saturating_add(1)),
    }
}

//! The machine: takes events one by one, keeps the state, says what each event did.
//!
//! May be relied on: [`Replay::apply`] never fails; time per event is O(log n) in living blocks, regions and arenas,
//! plus what the event kills. Holds the few facts of the process that the rules of life need (module ranges, whether
//! sizes are known, the stacks of sites), so that it outlives them. Absent on purpose: the rules themselves (`calls`
//! for arenas' own events, `memory` for what happens to the memory under them, `cursor` for rewinds).

use crate::arena::{Arena, ArenaId, Born, Bounds, Counts, Ending, Peak, Reach};
use crate::blocks::{Block, Death, How, LivingBlocks};
use crate::effect::{Died, Effect, What};
use crate::state::{KeyState, ProcessEnd, State};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use arenascope_event::{
    Address, ArenaKey, Argument, Event, EventKind, EventNumber, HookFact, ProcessFacts, Result_, Role, SiteFacts,
    SiteId, ThreadNumber,
};

/// What the rules of life know of the process besides its events.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ground {
    modules: Vec<(u64, u64)>,
    pub(crate) sizes_known: bool,
    pub(crate) forked: bool,
    /// A watched create function returns the arena, perhaps by value.
    pub(crate) returns_arenas: bool,
    stacks: Vec<Vec<Address>>,
    /// Per site: the direct caller is itself a watched alloc or resize function.
    from_watched: Vec<bool>,
}

/// How many frames an alloc function may lie above the inner one whose block it hands on.
const WRAPPER_FRAMES: usize = 4;

impl Ground {
    pub(crate) fn new(facts: &ProcessFacts) -> Ground {
        let allocs = || facts.hooks.iter().filter(|hook| hook.decl.role == Role::Alloc);
        let says_size = |argument: &Argument| matches!(argument, Argument::Size | Argument::Count);
        let hands_out = |hook: &&HookFact| matches!(hook.decl.role, Role::Alloc | Role::Resize);
        let watched: BTreeSet<&str> =
            facts.hooks.iter().filter(hands_out).map(|hook| plain(&hook.decl.function)).collect();
        let called_from_watched = |site: &SiteFacts| {
            let first = site.addresses.first();
            let mut frames = site.frames.iter().take_while(|frame| Some(&frame.address) == first);
            frames.any(|frame| watched.contains(plain(&frame.function)))
        };
        let returns_arena = |hook: &HookFact| hook.decl.role == Role::Create && hook.decl.result == Result_::Arena;
        Ground {
            returns_arenas: facts.hooks.iter().any(returns_arena),
            from_watched: facts.sites.iter().map(called_from_watched).collect(),
            modules: facts.modules.iter().map(|module| (module.start.0, module.end.0)).collect(),
            sizes_known: allocs().next().is_none() || allocs().any(|hook| hook.decl.arguments.iter().any(says_size)),
            forked: facts.fork_id != 0,
            stacks: facts.sites.iter().map(|site| site.addresses.clone()).collect(),
        }
    }

    pub(crate) fn in_module(&self, address: u64) -> bool {
        self.modules.iter().any(|(start, end)| *start <= address && address < *end)
    }

    /// True when the call at `outer` contains the call at `inner`: the inner backtrace, without its innermost
    /// frames, is the outer one. Recursion does not fool it, because the outer call's own return address must be
    /// among the inner one's frames. Where a backtrace is only one frame long, the function it lies in decides.
    pub(crate) fn encloses(&self, outer: Option<SiteId>, inner: Option<SiteId>) -> bool {
        let stack = |site: Option<SiteId>| {
            let index = usize::try_from(site?.0).ok()?;
            self.stacks.get(index)
        };
        let inner_site = inner;
        let (Some(outer), Some(inner)) = (stack(outer), stack(inner)) else { return false };
        if inner.len() == 1 {
            // Code without frame pointers: all we have is the caller, and who that is.
            let index = inner_site.and_then(|site| usize::try_from(site.0).ok());
            return index.and_then(|index| self.from_watched.get(index)).is_some_and(|watched| *watched);
        }
        (1..=WRAPPER_FRAMES).any(|skip| {
            let above = inner.get(skip..).unwrap_or(&[]);
            !above.is_empty() && !outer.is_empty() && above.iter().zip(outer).all(|(left, right)| left == right)
        })
    }
}

/// A function's name without module prefix, signature and clone suffix.
fn plain(function: &str) -> &str {
    let name = function.rsplit_once('!').map_or(function, |(_, name)| name);
    let name = name.split_once('(').map_or(name, |(name, _)| name);
    name.split_once('.').map_or(name, |(name, _)| name)
}

/// One event's circumstances.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    pub(crate) moment: EventNumber,
    pub(crate) thread: ThreadNumber,
    /// Position among the thread's own events, from 1.
    pub(crate) thread_event: u64,
    /// The same without asides: what "directly after" is measured by.
    pub(crate) told: u64,
    /// Events of the thread directly before this one that only announced arenas.
    pub(crate) announced: u64,
    pub(crate) site: Option<SiteId>,
}

/// Events in, state out.
#[derive(Clone, Debug)]
pub struct Replay {
    pub(crate) state: State,
    pub(crate) ground: Arc<Ground>,
}

impl Replay {
    /// At the start of a process.
    pub fn new(facts: &ProcessFacts) -> Replay {
        Replay { state: State::default(), ground: Arc::new(Ground::new(facts)) }
    }

    /// At the start of a forked child, whose memory is a copy of `parent`'s at its fork event. `facts` are the
    /// child's. Living arenas go on under their ids; dead ones stay as they were; all are marked as inherited.
    pub fn forked(parent: &State, facts: &ProcessFacts) -> Replay {
        let mut state = parent.clone();
        state.moment = EventNumber::default();
        state.time_ns = 0;
        state.anomalies = Default::default();
        state.missing = 0;
        state.end = None;
        state.fault = None;
        state.threads.clear();
        state.regions.inherit(facts.parent_pid);
        let mut unbound = BTreeMap::new();
        for arena in &mut state.arenas {
            let arena = Arc::make_mut(arena);
            arena.inherited = true;
            arena.last_alloc = None;
            arena.last_free = None;
            arena.birth_thread_event = 0;
            arena.living.iter_mut().chain(&mut arena.portrait).for_each(|block| block.inherited = true);
            if arena.is_alive() {
                unbound.insert(arena.object.0, arena.id);
            }
        }
        state.unbound = unbound;
        state.keys.clear();
        Replay { state, ground: Arc::new(Ground::new(facts)) }
    }

    pub(crate) fn resume(state: State, ground: Arc<Ground>) -> Replay {
        Replay { state, ground }
    }

    /// The state after the events so far.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Takes the next event.
    pub fn apply(&mut self, event: &Event) -> Effect {
        let call = self.count(event);
        if let Some((key, order)) = event.kind.arena_order() {
            self.note_order(key, order);
        }
        match event.kind {
            EventKind::Create { arena, size, parent, ref name, nested, .. } => {
                self.create(call, arena, size, parent, name.as_deref(), nested)
            }
            EventKind::Alloc { arena, block, size, align, .. } => self.alloc(call, arena, block, size, align),
            EventKind::Resize { arena, old, new, size, .. } => self.resize(call, arena, old, new, size),
            EventKind::Free { arena, block, .. } => self.free(call, arena, block),
            EventKind::Mark { arena, mark, .. } => self.mark(call, arena, mark),
            EventKind::Rewind { arena, mark, .. } => self.rewind(call, arena, mark),
            EventKind::Reset { arena, .. } => self.reset(call, arena),
            EventKind::Destroy { arena, .. } => self.destroy(call, arena),
            EventKind::ArenaSeen { arena, object } => {
                self.state.keys.entry(arena).or_default().object = object;
                Effect::nothing()
            }
            EventKind::Map { address, len, flags, observed, .. } => self.map(call, address, len, flags, observed),
            EventKind::Unmap { address, len } => self.unmap(call, address, len),
            EventKind::Remap { old, old_len, new, new_len } => self.remap(call, old, old_len, new, new_len),
            EventKind::ScopeEnter { arena, cursor, .. } => self.scope_enter(call, arena, cursor),
            EventKind::ScopeExit { arena, cursor, .. } => self.scope_exit(call, arena, cursor),
            EventKind::Bounds { arena, base, capacity, reserved, kind } => {
                self.bounds(call, arena, Bounds { kind, base, capacity, reserved })
            }
            EventKind::Checked { arena, how } => self.checked(call, arena, how),
            EventKind::Touched { arena, .. } | EventKind::NoBlock { arena, .. } => match self.state.arena_of_key(arena)
            {
                Some(found) => on(found.id, What::Nothing),
                None => Effect::nothing(),
            },
            // The arena that ended last at this key's object, and none has begun there since.
            EventKind::CalledEnded { arena } => match self.state.ended_of_key(arena) {
                Some(found) => on(found, What::Nothing),
                None => Effect::nothing(),
            },
            EventKind::HeapSegment { arena, start, len, top } => self.heap_segment(call, arena, start, len, top),
            EventKind::HeapAlloc { address, size } => self.heap_alloc(call, address, size),
            EventKind::HeapFree { address } => self.heap_free(call, address),
            EventKind::ThreadStart { tid, parent } => {
                let thread = self.state.threads.entry(call.thread).or_default();
                thread.tid = tid;
                thread.parent = parent;
                Effect::nothing()
            }
            EventKind::ThreadExit => {
                self.state.threads.entry(call.thread).or_default().exited = Some(call.moment);
                Effect::nothing()
            }
            EventKind::Exec { ref path } => {
                let (moment, thread) = (call.moment, call.thread);
                self.state.end = Some(ProcessEnd::Exec { moment, thread, path: path.clone() });
                Effect::nothing()
            }
            EventKind::Exit { status } => {
                self.state.end = Some(ProcessEnd::Exit { moment: call.moment, status });
                Effect::nothing()
            }
            EventKind::Fault { signal, address, pc, synchronous, .. } => {
                let (moment, thread, site) = (call.moment, call.thread, call.site);
                let end = ProcessEnd::Fault { moment, thread, site, signal, address, pc, synchronous };
                if synchronous {
                    self.state.fault = Some(end.clone());
                }
                self.state.end = Some(end);
                Effect::nothing()
            }
            EventKind::Capture { arena, .. } => Effect { arena: self.state.living_of(arena), ..Effect::nothing() },
            EventKind::Fork { .. }
            | EventKind::Vfork
            | EventKind::ModuleLoaded { .. }
            | EventKind::Sampling { .. }
            | EventKind::UserMark { .. }
            | EventKind::Damage { .. }
            | EventKind::Overlapped { .. }
            | EventKind::ObjectChanged { .. } => Effect::nothing(),
        }
    }

    /// Counts the event in its thread, and takes back an exec that evidently failed.
    fn count(&mut self, event: &Event) -> Call {
        let state = &mut self.state;
        state.moment = event.number;
        state.time_ns = event.time_ns;
        let watches_malloc = !state.malloc_arenas.is_empty();
        let thread = state.threads.entry(event.thread).or_default();
        if thread.events == 0 {
            thread.first = event.number;
        }
        thread.events = thread.events.saturating_add(1);
        let thread_event = thread.events;
        thread.told = thread.told.saturating_add(u64::from(!is_aside(&event.kind)));
        let told = thread.told;
        if let Some(freed) = thread.freed.as_mut()
            && watches_malloc
            && is_malloc_s_own(&event.kind)
        {
            freed.pass_over();
        }
        let announced = thread.announced;
        let announces = matches!(event.kind, EventKind::ArenaSeen { .. });
        thread.announced = if announces { announced.saturating_add(1) } else { 0 };
        if matches!(&state.end, Some(ProcessEnd::Exec { thread, .. }) if *thread == event.thread) {
            state.end = None;
        }
        Call { moment: event.number, thread: event.thread, thread_event, told, announced, site: event.site }
    }

    /// A gap in an arena key's order means events that were lost.
    fn note_order(&mut self, key: ArenaKey, order: u64) {
        let fresh = self.state.keys.get(&key).is_none_or(|known| known.next_order == 0);
        let known = self.state.keys.entry(key).or_default();
        let inherited = fresh && self.ground.forked;
        if order > known.next_order && !inherited {
            self.state.missing = self.state.missing.saturating_add(order - known.next_order);
        }
        known.next_order = known.next_order.max(order.saturating_add(1));
    }

    /// Brings an arena into the world. `None` when there are more than ids (2^32 - 1).
    pub(crate) fn birth(&mut self, call: Call, key: ArenaKey, explicit: bool) -> Option<ArenaId> {
        let id = ArenaId(u32::try_from(self.state.arenas.len()).ok()?.checked_add(1)?);
        let known: &mut KeyState = self.state.keys.entry(key).or_default();
        known.living = Some(id);
        let object = known.object;
        if !object.is_null() {
            self.state.objects.insert((object.0, id));
        }
        let arena = Arena {
            id,
            key,
            object,
            name: String::new(),
            bounds: None,
            copied: false,
            checking: None,
            malloc: None,
            born: if explicit { Born::Explicit(call.moment) } else { Born::Implicit(call.moment) },
            born_site: call.site,
            born_by: call.thread,
            created: None,
            ended: None,
            inherited: false,
            parent: None,
            last_event: call.moment,
            counts: Counts::default(),
            generation: 0,
            peak: Peak::default(),
            peak_span: Peak::default(),
            peak_blocks: 0,
            first_refusal: None,
            threads: BTreeSet::new(),
            marks: Vec::new(),
            forgotten_blocks: 0,
            extents: BTreeMap::new(),
            by_region: BTreeMap::new(),
            next_extent: 1,
            living: LivingBlocks::new(self.ground.sizes_known),
            next_number: 1,
            next_placement: 1,
            last_alloc: None,
            last_free: None,
            fallen: Vec::new(),
            fallen_extents: Vec::new(),
            portrait: Vec::new(),
            reach: Reach::Key,
            birth_thread_event: call.thread_event,
            span: 0,
        };
        self.state.arenas.push(Arc::new(arena));
        Some(id)
    }
}

impl State {
    /// Ends an arena: its living blocks die, the portrait is taken, nothing refers to it as living any more.
    pub(crate) fn end_arena(&mut self, call: Call, id: ArenaId, how: Ending, blocks: How) -> Died {
        let mut died = Died::default();
        let Some(arena) = self.arena_mut(id) else { return died };
        if arena.ended.is_some() {
            return died;
        }
        arena.ended = Some(crate::End { moment: call.moment, how, site: call.site, thread: call.thread });
        let dead = bury(&mut died, arena.living.take_all(), call.moment, blocks);
        let mut portrait = core::mem::take(&mut arena.fallen);
        portrait.extend(dead);
        portrait.sort_by_key(|block| block.placement);
        for extent in core::mem::take(&mut arena.fallen_extents) {
            arena.extents.entry(extent.number).or_insert(extent);
        }
        let kept = portrait.len() as u64;
        arena.portrait = portrait;
        let (key, object) = (arena.key, arena.object.0);
        let regions: Vec<_> = core::mem::take(&mut arena.by_region).into_keys().collect();
        for region in regions {
            if let Some(region) = self.regions.get_mut(region) {
                region.users.remove(&id);
            }
        }
        self.objects.remove(&(object, id));
        self.loose.remove(&id);
        let mut reach = Reach::Nothing;
        if self.unbound.get(&object) == Some(&id) {
            self.unbound.remove(&object);
            reach = Reach::Object;
        }
        if let Some(known) = self.keys.get_mut(&key)
            && known.living == Some(id)
        {
            known.living = None;
            reach = Reach::Key;
        }
        if let Some(arena) = self.arena_mut(id) {
            arena.reach = reach;
        }
        self.keep_portrait(id, kept);
        died
    }

    /// Bounds the memory of portraits: the oldest are given up first.
    fn keep_portrait(&mut self, id: ArenaId, blocks: u64) {
        if blocks == 0 {
            return;
        }
        self.portraits.push_back(id);
        self.portrait_blocks = self.portrait_blocks.saturating_add(blocks);
        while self.portrait_blocks > State::PORTRAIT_BLOCKS && self.portraits.len() > 1 {
            let Some(oldest) = self.portraits.pop_front() else { break };
            if let Some(arena) = self.arena_mut(oldest) {
                let given_up = core::mem::take(&mut arena.portrait).len() as u64;
                arena.forgotten_blocks = given_up;
                self.portrait_blocks = self.portrait_blocks.saturating_sub(given_up);
            }
        }
    }
}

/// True for what malloc does, or has told of it, inside a call of the family.
fn is_malloc_s_own(kind: &EventKind) -> bool {
    matches!(
        kind,
        EventKind::Map { .. }
            | EventKind::Unmap { .. }
            | EventKind::Remap { .. }
            | EventKind::HeapSegment { .. }
            | EventKind::ArenaSeen { .. }
    )
}

/// True for what belongs to the event that follows on its thread: nothing the program did.
fn is_aside(kind: &EventKind) -> bool {
    matches!(
        kind,
        EventKind::Capture { .. }
            | EventKind::Damage { .. }
            | EventKind::Overlapped { .. }
            | EventKind::ObjectChanged { .. }
            | EventKind::HeapSegment { .. }
            | EventKind::Bounds { .. }
            | EventKind::Checked { .. }
            | EventKind::Touched { .. }
            | EventKind::NoBlock { .. }
            | EventKind::CalledEnded { .. }
    )
}

/// Writes the death into blocks and sums them up.
pub(crate) fn bury(died: &mut Died, mut blocks: Vec<Block>, moment: EventNumber, how: How) -> Vec<Block> {
    for block in &mut blocks {
        block.died = Some(Death { moment, how });
        died.add(block);
    }
    blocks
}

/// An effect that concerns one arena.
pub(crate) fn on(arena: ArenaId, what: What) -> Effect {
    Effect { arena: Some(arena), ..Effect::of(what) }
}

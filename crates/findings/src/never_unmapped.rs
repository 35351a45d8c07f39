//! `never-unmapped`: an arena's memory stood when the process exited.
//!
//! Evidence: a mapping or malloc block, got during the run, that still stands at the end, and the arena that came
//! last to use it, which was not destroyed. A note, for leaving memory to the exit is common and harmless; it tells
//! where capacity is lost in programs that go on. Silent when the process did not end by exiting (killed, executed
//! another program, end not seen), for static memory, for arenas inherited from the parent process, and for arenas
//! that were destroyed without giving their memory back (a cache, or a buffer that was not theirs); and for the one
//! global arena when no role creates or destroys it: such an allocator (malloc itself) is meant to live as long as
//! the program.
//! Grouped by the call that created them.

use crate::finding::{Certainty, Class, Finding, SiteRole};
use crate::watch::Rule;
use crate::wording;
use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use arenascope_event::{Address, Event, ProcessFacts, Role, SiteId, ThreadNumber};
use arenascope_replay::{Arena, ArenaId, Born, Effect, Ending, ProcessEnd, RegionKind, State};

/// The rule.
#[derive(Clone, Debug, Default)]
pub struct NeverUnmapped {}

impl NeverUnmapped {
    /// Its name.
    pub const NAME: &'static str = "never-unmapped";

    /// At the start of a trace.
    pub fn new() -> NeverUnmapped {
        NeverUnmapped {}
    }
}

/// What one arena left standing.
#[derive(Clone, Copy, Debug, Default)]
struct Left {
    mapped: u64,
    malloced: u64,
}

/// Arenas created by the same call.
#[derive(Clone, Debug)]
struct Group {
    first: ArenaId,
    arenas: u64,
    left: Left,
    threads: BTreeSet<ThreadNumber>,
}

/// How a creating call is told from others: explicit or not, its return address, or only its site.
type Creator = (bool, Option<Address>, Option<SiteId>);

impl Rule for NeverUnmapped {
    fn observe(&mut self, _: &Event, _: &Effect, _: &State, _: &[u8]) {}

    fn finish(self: Box<Self>, state: &State, facts: &ProcessFacts) -> Vec<Finding> {
        if !exited(state, facts) {
            return Vec::new();
        }
        let has_ends = facts.hooks.iter().any(|hook| matches!(hook.decl.role, Role::Create | Role::Destroy));
        let mut groups: BTreeMap<Creator, Group> = BTreeMap::new();
        for (id, left) in leftovers(state) {
            let Some(arena) = state.arena(id).filter(|arena| has_ends || !arena.object.is_null()) else { continue };
            let fresh = || Group { first: id, arenas: 0, left: Left::default(), threads: BTreeSet::new() };
            let group = groups.entry(creator(facts, arena)).or_insert_with(fresh);
            group.arenas = group.arenas.saturating_add(1);
            group.left.mapped = group.left.mapped.saturating_add(left.mapped);
            group.left.malloced = group.left.malloced.saturating_add(left.malloced);
            group.threads.insert(arena.born_by);
        }
        let mut groups: Vec<Group> = groups.into_values().collect();
        groups.sort_by_key(|group| group.first);
        groups.iter().filter_map(|group| note(state, facts, group)).collect()
    }
}

/// True when the process is known to have ended by exiting.
fn exited(state: &State, facts: &ProcessFacts) -> bool {
    // As of waitpid: the low seven bits are the signal, 0 for an exit.
    let waited = facts.wait_status.map(|status| status & 0x7f == 0);
    match state.end {
        // A crash handler's way out.
        _ if state.fault.is_some() => false,
        Some(ProcessEnd::Exit { .. }) => waited.unwrap_or(true),
        Some(ProcessEnd::Fault { .. } | ProcessEnd::Exec { .. }) => false,
        None => waited.unwrap_or(false),
    }
}

/// Standing memory by the arena that came last to use it.
fn leftovers(state: &State) -> BTreeMap<ArenaId, Left> {
    let mut leftovers: BTreeMap<ArenaId, Left> = BTreeMap::new();
    for region in state.regions() {
        let Some(arena) = region.last_user.and_then(|id| state.arena(id)) else { continue };
        if region.inherited || arena.inherited || arena.ended.is_some_and(|end| end.how == Ending::Destroyed) {
            continue;
        }
        match region.kind {
            RegionKind::Mapping => {
                let left = leftovers.entry(arena.id).or_default();
                left.mapped = left.mapped.saturating_add(region.len);
            }
            RegionKind::HeapBlock => {
                let left = leftovers.entry(arena.id).or_default();
                left.malloced = left.malloced.saturating_add(region.len);
            }
            RegionKind::Observed => {}
        }
    }
    leftovers
}

fn creator(facts: &ProcessFacts, arena: &Arena) -> Creator {
    let explicit = matches!(arena.born, Born::Explicit(_));
    let site = arena.born_site;
    let known = site.and_then(|site| facts.sites.get(usize::try_from(site.0).ok()?));
    match known.and_then(|known| known.addresses.first()) {
        Some(address) => (explicit, Some(*address), None),
        None => (explicit, None, site),
    }
}

fn note(state: &State, facts: &ProcessFacts, group: &Group) -> Option<Finding> {
    let arena = state.arena(group.first)?;
    let named = wording::arena_ref(state, facts, group.first);
    let explicit = matches!(arena.born, Born::Explicit(_));
    let bytes = group.left.mapped.saturating_add(group.left.malloced);
    let verb = match (group.left.mapped > 0, group.left.malloced > 0) {
        (true, false) => "unmapped",
        (false, _) => "freed",
        (true, true) => "unmapped or freed",
    };
    let born = if explicit { "created" } else { "first used" };
    let place = arena.born_site.and_then(|site| wording::place(facts, site));
    let place = place.map_or_else(String::new, |place| format!(" {born} at {place}"));
    let subject = match group.arenas {
        0 | 1 => format!("arena {} \"{}\"{place} was", named.id, named.name),
        count => format!("{count} arenas{place} were"),
    };
    let lost = facts.lost.events().saturating_add(state.missing);
    let (certainty, doubt) = if lost == 0 {
        (Certainty::Certain, String::new())
    } else {
        (Certainty::Possible, format!("; {lost} events were lost, and the end may be among them"))
    };
    let role = if explicit { SiteRole::Created } else { SiteRole::Allocated };
    Some(Finding {
        rule: NeverUnmapped::NAME,
        class: Class::Note,
        certainty,
        message: format!("{subject} never {verb}: {}", wording::bytes(bytes)),
        arena: Some(named),
        block: None,
        moment: arena.born.moment(),
        threads: group.threads.iter().copied().collect(),
        sites: arena.born_site.map(|site| (role, site)).into_iter().collect(),
        calls: Vec::new(),
        because: format!("the memory still stood when the process exited, and no destroy was seen{doubt}"),
        evidence: Vec::new(),
        disproof: "an munmap or free of this memory that was not recorded, such as a raw system call".to_owned(),
        next: "destroy the arena when its work is done; or leave it: the kernel takes the memory back at exit"
            .to_owned(),
        count: group.arenas.max(1),
        bytes,
    })
}

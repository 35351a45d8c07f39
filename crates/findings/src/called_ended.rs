//! `use-after-unmap`, of an arena of our own library: the program called it, or read its header, after it had been destroyed.
//!
//! - Claims: this arena was destroyed, and used after that.
//! - Needs: events of our library; of the header's memory being unmapped by then, the fault. Works in every mode but sampling.
//! - Evidence: the library's own word that a call found a header whose arena had ended, at the place where this arena had ended and none had begun
//!   since. Or a SIGSEGV that a thread caused itself, in the bytes of such a header, with nothing known to be mapped there: likely, as memory
//!   that was mapped and unmapped there without our seeing it would fault, too.
//! - Disproof: of the first none that does not begin with a header that was written over; of the second a wild pointer.
//! - Silent: when another arena began at the same place, or its memory is another's: then the call is one on that.
//!   In record mode that is where most such calls go, as ended arenas' memory is kept for the next ones; check mode sets the headers of the last
//!   64 aside.
//! - Labs: none.

use crate::finding::{Certainty, Class, Finding, SiteRole};
use crate::use_after_unmap::UseAfterUnmap;
use crate::watch::Rule;
use crate::wording;
use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use arenascope_event::{Address, Event, EventKind, EventNumber, ProcessFacts, SiteId, ThreadNumber};
use arenascope_replay::{Arena, ArenaId, Effect, Ending, ProcessEnd, State};

/// Bytes of a header (`arenascope::header::HEADER_BYTES`).
const HEADER_BYTES: u64 = 384;
/// SIGSEGV on every architecture we run on.
const SIGSEGV: u32 = 11;
/// Arenas of which calls are told.
const TOLD: usize = 64;
/// Mappings that are remembered.
const REMEMBERED: usize = 1024;

/// The first call on an arena that had ended.
#[derive(Clone, Copy, Debug)]
struct Call {
    moment: EventNumber,
    thread: ThreadNumber,
    site: Option<SiteId>,
}

/// The rule.
#[derive(Clone, Debug, Default)]
pub struct CalledEnded {
    calls: BTreeMap<ArenaId, Call>,
    /// Ranges that came, and when.
    came: Vec<(u64, u64, EventNumber)>,
    /// There were more than are remembered.
    forgot: bool,
}

impl CalledEnded {
    /// At the start of a trace.
    pub fn new() -> CalledEnded {
        CalledEnded::default()
    }

    fn came(&mut self, start: Address, len: u64, moment: EventNumber) {
        if self.came.len() < REMEMBERED {
            self.came.push((start.0, start.plus(len).0, moment));
        } else {
            self.forgot = true;
        }
    }
}

impl Rule for CalledEnded {
    fn observe(&mut self, event: &Event, effect: &Effect, _: &State, _: &[u8]) {
        match event.kind {
            EventKind::CalledEnded { .. } => {
                if let Some(arena) = effect.arena
                    && self.calls.len() < TOLD
                {
                    let (moment, thread, site) = (event.number, event.thread, event.site);
                    self.calls.entry(arena).or_insert(Call { moment, thread, site });
                }
            }
            EventKind::Map { address, len, .. } => self.came(address, len, event.number),
            EventKind::Remap { new, new_len, .. } => self.came(new, new_len, event.number),
            _ => {}
        }
    }

    fn finish(self: Box<Self>, state: &State, facts: &ProcessFacts) -> Vec<Finding> {
        let calls = self.calls.iter().filter_map(|(id, call)| {
            let because = "the library found a header there that its end had marked, and no arena has begun at that place since";
            let none = "the header was written over with just these bytes while its arena lived, and its end was told by mistake";
            of_call(state.arena(*id)?, call, Certainty::Certain, ["was called", because, none], state, facts)
        });
        calls.chain(self.fault(state, facts)).collect()
    }
}

impl CalledEnded {
    /// The fault in the header of an arena that had ended.
    fn fault(&self, state: &State, facts: &ProcessFacts) -> Option<Finding> {
        let Some(ProcessEnd::Fault { moment, thread, site, signal: SIGSEGV, address, synchronous: true, .. }) =
            state.fault
        else {
            return None;
        };
        let was_there = |arena: &&Arena| {
            arena.bounds.is_some() && ended(arena).is_some() && address.0.wrapping_sub(arena.object.0) < HEADER_BYTES
        };
        let arena = state.arenas().filter(was_there).max_by_key(|arena| ended(arena).map(|(end, _)| end))?;
        let (end, _) = ended(arena)?;
        let is_there = |arena: &Arena| {
            let reserved = arena
                .bounds
                .is_some_and(|bounds| bounds.base.0 <= address.0 && address.0 < bounds.base.plus(bounds.reserved).0);
            reserved || arena.extents().any(|extent| extent.start <= address && address < extent.end())
        };
        let came = self.came.iter().any(|(start, to, came)| *start <= address.0 && address.0 < *to && *came > end);
        if came
            || self.forgot
            || state.region_holding(address).is_some()
            || state.arenas().any(|arena| arena.is_alive() && is_there(arena))
        {
            return None;
        }
        let because = "the fault lay in the header of the arena, and nothing is known to have been mapped there since";
        let none = "a pointer that never came from this arena and hit its header's old place by chance";
        let call = Call { moment, thread, site };
        of_call(arena, &call, Certainty::Likely, ["was used", because, none], state, facts)
    }
}

/// Where an arena was destroyed.
fn ended(arena: &Arena) -> Option<(EventNumber, Option<SiteId>)> {
    arena.ended.filter(|end| end.how == Ending::Destroyed).map(|end| (end.moment, end.site))
}

fn of_call(
    arena: &Arena,
    call: &Call,
    certainty: Certainty,
    [verb, because, disproof]: [&str; 3],
    state: &State,
    facts: &ProcessFacts,
) -> Option<Finding> {
    let (end, end_site) = ended(arena).filter(|(end, _)| *end < call.moment)?;
    let lost = facts.lost.events().saturating_add(state.missing) > 0;
    let mut sites: Vec<(SiteRole, SiteId)> = Vec::new();
    sites.extend(call.site.map(|site| (SiteRole::Touched, site)));
    sites.extend(end_site.map(|site| (SiteRole::Destroyed, site)));
    sites.extend(arena.born_site.map(|site| (SiteRole::Created, site)));
    let mut threads: Vec<ThreadNumber> = Vec::from([call.thread]);
    threads.extend(arena.ended.map(|end| end.thread));
    threads.sort_unstable();
    threads.dedup();
    let named = wording::arena_ref(state, facts, arena.id);
    let called = if named.name.is_empty() { String::new() } else { format!(" {:?}", named.name) };
    Some(Finding {
        rule: UseAfterUnmap::NAME,
        class: Class::Finding,
        // A creation that was lost may have been one at this place.
        certainty: if lost { Certainty::Possible } else { certainty },
        message: format!("arena {}{called} {verb} after it had been destroyed", arena.id),
        arena: Some(named),
        block: None,
        moment: call.moment,
        threads,
        sites,
        calls: Vec::new(),
        because: format!("that was #{}: {because}{}", end.0, if lost { "; events were lost" } else { "" }),
        evidence: Vec::new(),
        disproof: disproof.to_owned(),
        next: "destroy an arena once, when nothing uses it any more, and forget the pointer to it".to_owned(),
        count: 1,
        bytes: 0,
    })
}

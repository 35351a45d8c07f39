//! `null-used`: the allocator said NULL and the program used it.
//!
//! Evidence: a SIGSEGV or SIGBUS that a thread caused itself, the last NULL that an allocator gave this thread, and
//! the launcher's verdict on whether one came from the other (`ProcessFacts::null_use`, decoded from the code between
//! them). `Proven` is certain. `Consistent` is likely, if the address is one that an access through a NULL block
//! can reach. In check and precise mode, whose redzones take room, it is silent unless the arena was full by its blocks
//! alone. Anything else is silent; that NULL was returned stays readable in the arena's own figures.

use crate::finding::{Certainty, Class, Finding, SiteRole};
use crate::watch::Rule;
use crate::wording;
use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use arenascope_event::{Event, Mode, NullUse, ProcessFacts};
use arenascope_replay::{Effect, LastRefusal, ProcessEnd, State};

/// Linux signal numbers on every architecture we run on.
const SIGBUS: u32 = 7;
const SIGSEGV: u32 = 11;

/// The page at 0 is never mapped: an access through NULL that stays within it always faults.
const FIRST_PAGE_BYTES: u64 = 4096;

/// The rule.
#[derive(Clone, Debug, Default)]
pub struct NullUsed {}

impl NullUsed {
    /// Its name.
    pub const NAME: &'static str = "null-used";

    /// At the start of a trace.
    pub fn new() -> NullUsed {
        NullUsed {}
    }
}

impl Rule for NullUsed {
    fn observe(&mut self, _: &Event, _: &Effect, _: &State, _: &[u8]) {}

    fn judges_malloc(&self) -> bool {
        true
    }

    fn finish(self: Box<Self>, state: &State, facts: &ProcessFacts) -> Vec<Finding> {
        accuse(state, facts).into_iter().collect()
    }
}

fn accuse(state: &State, facts: &ProcessFacts) -> Option<Finding> {
    let Some(ProcessEnd::Fault { moment, thread, site, signal, address, synchronous, .. }) = state.fault else {
        return None;
    };
    let word = match signal {
        SIGSEGV => "SIGSEGV",
        SIGBUS => "SIGBUS",
        _ => return None,
    };
    let refusal = state.thread(thread)?.last_refusal.filter(|_| synchronous)?;
    // Redzones take room, and without them the arena may not have been full.
    let room = refusal.capacity.is_none_or(|capacity| refusal.live_bytes.saturating_add(refusal.size) <= capacity);
    if matches!(facts.mode, Mode::Check | Mode::Precise) && room {
        return None;
    }
    let reachable = address.0 < refusal.size.max(FIRST_PAGE_BYTES);
    let certainty = match facts.null_use {
        NullUse::Proven => Certainty::Certain,
        NullUse::Consistent if reachable => Certainty::Likely,
        NullUse::Consistent | NullUse::Unknown => return None,
    };
    let arena = wording::arena_ref(state, facts, refusal.arena);
    let what = if refusal.size == 0 { "a block".to_owned() } else { wording::bytes(refusal.size) };
    let evidence = if facts.null_use_because.is_empty() {
        "the faulting address fits an access through that NULL".to_owned()
    } else {
        facts.null_use_because.clone()
    };
    let mut sites = Vec::new();
    sites.extend(refusal.site.map(|site| (SiteRole::Allocated, site)));
    sites.extend(site.map(|site| (SiteRole::Touched, site)));
    Some(Finding {
        rule: NullUsed::NAME,
        class: Class::Finding,
        certainty,
        message: format!(
            "the allocator of arena {} returned NULL for {what}, and the program used it: {word}{}",
            arena.id,
            fullness(&refusal)
        ),
        arena: Some(arena),
        block: None,
        moment,
        threads: Vec::from([thread]),
        sites,
        calls: Vec::new(),
        because: format!("NULL was returned at #{}; {evidence}", refusal.moment.0),
        evidence: Vec::new(),
        disproof: "another null pointer in the faulting code, one that does not come from this call".to_owned(),
        next: "test the result before using it, or give the arena more room".to_owned(),
        count: 1,
        bytes: refusal.size,
    })
}

fn fullness(refusal: &LastRefusal) -> String {
    match refusal.capacity {
        Some(capacity) if capacity > 0 => format!(" ({} of {} bytes were in use)", refusal.live_bytes, capacity),
        _ => String::new(),
    }
}

//! `use-after-unmap`: the program touched memory of an arena that had been unmapped.
//!
//! - Claims: the access that ended the process went to this dead arena, to this block of it.
//! - Needs: the fault. Works in every mode.
//! - Evidence: a SIGSEGV or SIGBUS that a thread caused itself; the unmap that took the range of its address away; the
//!   arena that lived there until then; and that nothing has been mapped there since.
//! - Disproof: a wild pointer that hit the range by chance.
//! - Silent: when something is mapped at the address; when the range was mapped anew after the arena's last event; when
//!   the unmap was too long ago to be remembered. Only likely where the address lies in no block of the arena.
//!   Correct programs that look alike: one that provokes faults on purpose has a handler of its own, and then a fault is
//!   recorded only when the process ended in that handler.
//! - Labs: 11.

use crate::finding::{BlockRef, Certainty, Class, Finding, SiteRole};
use crate::watch::Rule;
use crate::wording;
use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::format;
use alloc::vec::Vec;
use arenascope_event::{Event, EventKind, EventNumber, ProcessFacts, SiteId, ThreadNumber};
use arenascope_replay::{Arena, Effect, ProcessEnd, State};

/// Linux signal numbers on every architecture we run on.
const SIGBUS: u32 = 7;
const SIGSEGV: u32 = 11;
/// Maps and unmaps that are remembered.
const REMEMBERED: usize = 1024;

/// A range that came or went.
#[derive(Clone, Copy, Debug)]
struct Change {
    start: u64,
    end: u64,
    moment: EventNumber,
    thread: ThreadNumber,
    site: Option<SiteId>,
    came: bool,
}

/// The rule.
#[derive(Clone, Debug, Default)]
pub struct UseAfterUnmap {
    changes: VecDeque<Change>,
}

impl UseAfterUnmap {
    /// Its name.
    pub const NAME: &'static str = "use-after-unmap";

    /// At the start of a trace.
    pub fn new() -> UseAfterUnmap {
        UseAfterUnmap::default()
    }

    fn note(&mut self, event: &Event, start: u64, len: u64, came: bool) {
        if self.changes.len() == REMEMBERED {
            self.changes.pop_front();
        }
        let (moment, thread, site) = (event.number, event.thread, event.site);
        self.changes.push_back(Change { start, end: start.saturating_add(len), moment, thread, site, came });
    }
}

impl Rule for UseAfterUnmap {
    fn observe(&mut self, event: &Event, _: &Effect, _: &State, _: &[u8]) {
        match event.kind {
            EventKind::Map { address, len, .. } => self.note(event, address.0, len, true),
            EventKind::Unmap { address, len } => self.note(event, address.0, len, false),
            EventKind::Remap { old, old_len, new, new_len } => {
                self.note(event, old.0, old_len, false);
                self.note(event, new.0, new_len, true);
            }
            _ => {}
        }
    }

    fn finish(self: Box<Self>, state: &State, facts: &ProcessFacts) -> Vec<Finding> {
        accuse(&self.changes, state, facts).into_iter().collect()
    }
}

fn accuse(changes: &VecDeque<Change>, state: &State, facts: &ProcessFacts) -> Option<Finding> {
    let Some(ProcessEnd::Fault { moment, thread, site, signal, address, synchronous: true, .. }) = state.fault else {
        return None;
    };
    let word = match signal {
        SIGSEGV => "SIGSEGV",
        SIGBUS => "SIGBUS",
        _ => return None,
    };
    let mut of_address = changes.iter().rev().filter(|change| change.start <= address.0 && address.0 < change.end);
    let gone = of_address.next().filter(|change| !change.came)?;
    let came = of_address.find(|change| change.came).map(|change| change.moment);
    if state.region_holding(address).is_some() {
        return None;
    }
    // The last arena that lived in that mapping.
    let lived_there = |arena: &&Arena| {
        let held = arena.extents().any(|extent| extent.start <= address && address < extent.end());
        let ended = arena.ended.is_some_and(|end| end.moment <= gone.moment);
        held && ended && came.is_none_or(|came| arena.last_event >= came || arena.born.moment() >= came)
    };
    let arena = state.arenas().filter(lived_there).max_by_key(|arena| arena.ended.map(|end| end.moment))?;
    let block = arena.blocks().into_iter().find(|block| block.address <= address && address < block.end());
    let named = wording::arena_ref(state, facts, arena.id);
    let start =
        arena.extents().find(|extent| extent.start <= address && address < extent.end()).map(|extent| extent.start);
    let offset = start.map_or(0, |start| address.0.saturating_sub(start.0));
    let what = match block {
        Some(block) => {
            let into = address.0.saturating_sub(block.address.0);
            let size = wording::bytes(block.size);
            format!("byte {into} of block {} ({size} at +{})", block.number, arena.place(block).offset)
        }
        None => format!("byte +{offset}"),
    };
    let mut sites: Vec<(SiteRole, SiteId)> = Vec::new();
    sites.extend(site.map(|site| (SiteRole::Touched, site)));
    sites.extend(gone.site.map(|site| (SiteRole::Unmapped, site)));
    sites.extend(block.and_then(|block| block.site).map(|site| (SiteRole::Allocated, site)));
    let mut threads = Vec::from([thread, gone.thread]);
    threads.sort_unstable();
    threads.dedup();
    let lost = facts.lost.events().saturating_add(state.missing);
    let (certainty, doubt) = match (lost, block) {
        (0, Some(_)) => (Certainty::Certain, ""),
        (0, None) => (Certainty::Likely, "; no block of it lay at this very byte"),
        _ => (Certainty::Likely, "; events were lost"),
    };
    Some(Finding {
        rule: UseAfterUnmap::NAME,
        class: Class::Finding,
        certainty,
        message: format!("{what} of arena {} was touched after the arena's memory had been unmapped: {word}", arena.id),
        arena: Some(named),
        block: block.map(|block| {
            let place = arena.place(block);
            BlockRef { number: block.number, extent: place.extent, offset: place.offset, size: block.size }
        }),
        moment,
        threads,
        sites,
        calls: Vec::new(),
        because: format!("the memory went at #{}, and nothing has been mapped there since{doubt}", gone.moment.0),
        evidence: Vec::new(),
        disproof: "a pointer that never came from this arena and hit its old place by chance".to_owned(),
        next: "keep no pointer into an arena beyond its end, or end the arena later".to_owned(),
        count: 1,
        bytes: block.map_or(0, |block| block.size),
    })
}

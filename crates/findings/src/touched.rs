//! The fault on memory of check mode's: `overflow` and `underflow` into a guard page, `use-after-free`, `use-after-rewind`,
//! `use-after-reset`, `stale-pointer-after-resize` on memory that was closed, `use-after-unmap` of an arena that was destroyed.
//!
//! - Claims: the access that ended the process went past this block, or to this dead block.
//! - Needs: check mode of an arena of our library, and the fault. Reading is seen as well as writing.
//! - Evidence: a SIGSEGV or SIGBUS that a thread caused itself; its address lay in memory that check mode had given to this block, or closed
//!   behind it, and to nobody else ever.
//! - Disproof: a wild pointer that hit the place by chance.
//! - Silent: when the fault lay elsewhere. A note, possible, more than a page away from the block. A program that provokes faults
//!   on purpose has a handler of its own, and then a fault is told only when the process ended in that handler.
//! - Labs: 11.

use crate::damage::{Damages, former};
use crate::finding::{BlockRef, Certainty, Class, Finding, SiteRole};
use crate::overflow::Overflow;
use crate::use_after::UseAfter;
use crate::use_after_unmap::UseAfterUnmap;
use crate::watch::Rule;
use crate::wording;
use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use arenascope_event::{Address, BlockFate, Event, EventKind, EventNumber, ProcessFacts, SiteId, ThreadNumber};
use arenascope_replay::{ArenaId, Effect, ProcessEnd, State};

/// Bytes from a block within which an access is taken to be meant for it.
const NEAR: u64 = 4096;

/// What was touched last.
#[derive(Clone, Debug)]
struct Told {
    moment: EventNumber,
    thread: ThreadNumber,
    arena: Option<ArenaId>,
    size: u64,
    at: i64,
    fate: BlockFate,
    /// What is known of the block, and where it was handed out.
    block: Option<(BlockRef, Option<SiteId>)>,
    /// Where it lies was given twice.
    twice: bool,
    /// What ended it: its moment and site.
    ended: Option<(EventNumber, Option<SiteId>)>,
}

/// The rule.
#[derive(Clone, Debug, Default)]
pub struct Touched {
    damages: Damages,
    told: Option<Told>,
}

impl Touched {
    /// At the start of a trace.
    pub fn new() -> Touched {
        Touched::default()
    }
}

impl Rule for Touched {
    fn observe(&mut self, event: &Event, effect: &Effect, state: &State, _: &[u8]) {
        self.damages.observe(event, effect, state);
        let EventKind::Touched { arena, block, size, at, fate, ended } = event.kind else { return };
        // The last arena of ours that had the block: another one may have been made at the same place since.
        let has = |arena: &&arenascope_replay::Arena| {
            arena.checking.is_some() && arena.extents().any(|extent| extent.start <= block && block < extent.end())
        };
        let found = state.arenas().filter(has).max_by_key(|arena| arena.born.moment());
        let of_ended = found.and_then(|arena| {
            let block = arena.blocks().into_iter().find(|one| one.address == block && one.size == size)?;
            let place = arena.place(block);
            let told = BlockRef { number: block.number, extent: place.extent, offset: place.offset, size };
            Some((told, block.site))
        });
        let known = self.damages.block_at(arena, block, size).map(|known| (known.block(), known.site));
        let over = found.and_then(|arena| arena.ended).map(|end| (end.moment, end.site));
        let ended = match fate {
            BlockFate::Destroyed => over,
            _ => ended.and_then(|order| self.damages.end_of(arena, order)).map(|own| (own.moment, own.site)),
        };
        let arena = found.map(|arena| arena.id);
        let (moment, thread) = (event.number, event.thread);
        let (twice, block) = (self.damages.given_twice(block), known.or(of_ended));
        self.told = Some(Told { moment, thread, arena, size, at, fate, block, twice, ended });
    }

    fn finish(self: Box<Self>, state: &State, facts: &ProcessFacts) -> Vec<Finding> {
        self.told.as_ref().and_then(|told| accuse(told, state, facts)).into_iter().collect()
    }
}

fn accuse(told: &Told, state: &State, facts: &ProcessFacts) -> Option<Finding> {
    let Some(ProcessEnd::Fault { moment, thread, site, synchronous: true, address, .. }) = state.fault else {
        return None;
    };
    if thread != told.thread || moment < told.moment || address == Address::NULL {
        return None;
    }
    let (rule, role, verb) = match told.fate {
        BlockFate::Lives if told.at < 0 => (Overflow::UNDER, None, ""),
        BlockFate::Lives => (Overflow::NAME, None, ""),
        BlockFate::Freed => (UseAfter::FREE, Some(SiteRole::Freed), "it was freed"),
        BlockFate::Rewound => (UseAfter::REWIND, Some(SiteRole::Rewound), "its arena was rewound"),
        BlockFate::Reset => (UseAfter::RESET, Some(SiteRole::Reset), "its arena was reset"),
        BlockFate::Moved => (UseAfter::MOVED, Some(SiteRole::Freed), "it was resized, and moved"),
        BlockFate::Outgrown => {
            (UseAfter::MOVED, Some(SiteRole::Freed), "it was resized, and moved by check mode alone")
        }
        BlockFate::Destroyed => (UseAfterUnmap::NAME, Some(SiteRole::Destroyed), "its arena was destroyed"),
    };
    let bytes = |count: u64| if count == 1 { "1 byte".to_owned() } else { format!("{count} bytes") };
    let past = told.at.checked_sub_unsigned(told.size).filter(|past| *past >= 0).map(i64::unsigned_abs);
    let of = match &told.block {
        Some((block, _)) => format!("block {} ({} at +{})", block.number, wording::bytes(told.size), block.offset),
        None => format!("a block of {}", wording::bytes(told.size)),
    };
    let place = match (told.at < 0, past) {
        (true, _) => format!("{} before {of}", bytes(told.at.unsigned_abs())),
        (false, Some(past)) => format!("{} past the end of {of}", bytes(past.saturating_add(1))),
        (false, None) => format!("byte {} of {of}", told.at),
    };
    let of_arena = told.arena.map_or_else(String::new, |id| format!(" of arena {id}"));
    let when = if verb.is_empty() { String::new() } else { format!(" after {verb}") };
    let far = past.unwrap_or_else(|| if told.at < 0 { told.at.unsigned_abs() } else { 0 });
    let (class, certainty) = match told.fate {
        // The last block of an arena of ours grows in place, and a program may count on that; check mode moves it.
        BlockFate::Outgrown => (Class::Note, Certainty::Possible),
        _ if told.twice => (Class::Note, Certainty::Possible),
        _ if far < NEAR => (Class::Finding, Certainty::Certain),
        _ => (Class::Note, Certainty::Possible),
    };
    let mut sites: Vec<(SiteRole, SiteId)> = Vec::new();
    sites.extend(site.map(|site| (SiteRole::Touched, site)));
    if let (Some(role), Some((_, Some(site)))) = (role, told.ended) {
        sites.push((role, site));
    }
    sites.extend(told.block.and_then(|(_, site)| site).map(|site| (SiteRole::Allocated, site)));
    let because = match (told.fate, told.ended) {
        _ if told.twice => former(address, told.arena, state),
        (BlockFate::Lives, _) => {
            "check mode had guarded the page behind the block, or had given the memory to nobody".to_owned()
        }
        (_, Some((end, _))) => {
            format!("that was #{}; check mode has closed the memory since, and given it to nobody", end.0)
        }
        (_, None) => "check mode has closed the memory since, and given it to nobody".to_owned(),
    };
    Some(Finding {
        rule,
        class,
        certainty,
        message: format!("{place}{of_arena} was touched{when}"),
        arena: told.arena.map(|id| wording::arena_ref(state, facts, id)),
        block: told.block.map(|(block, _)| block),
        moment,
        threads: Vec::from([thread]),
        sites,
        calls: Vec::new(),
        because,
        evidence: Vec::new(),
        disproof: match told.fate {
            BlockFate::Outgrown => {
                "without --check the block stays where it is, and the program counts on that".to_owned()
            }
            _ => "a pointer that never came from this arena and hit its memory by chance".to_owned(),
        },
        next: match told.fate {
            BlockFate::Lives => "look for an index or a length that is too large for this block".to_owned(),
            _ => "keep no pointer to a block beyond its end: copy what is still needed, or end it later".to_owned(),
        },
        count: 1,
        bytes: 0,
    })
}

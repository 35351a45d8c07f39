//! `overflow`, `underflow`: bytes right behind a block, or right before it, were changed.
//!
//! - Claims: somebody wrote past the end of this block (before the start of this block).
//! - Needs: check mode. The agent asks for larger blocks than the program does and fills what is behind them; nobody has
//!   a reason to write there.
//! - Evidence: the changed bytes, when they were last right, when they were found changed, and by which end they lie:
//!   a change that touches the block above and not the one below is an underflow of the upper one, any other an overflow
//!   of the lower one.
//! - Disproof: a program that counts on blocks to touch (an array that grows by calls), asks the allocator how large a
//!   block is, or has an allocator whose sizes are not bytes.
//! - Arenas of our own library (`Told::own`): the bytes lie in memory of check mode's that was given to nobody, and the process itself says of
//!   which block the zone is. What stands under *Silent* and the notes concern other arenas.
//! - Silent: when the next block of that arena came from below the changed bytes and nothing was ever freed (the arena
//!   was emptied unseen, and the bytes are another block's); when another arena has blocks there by now, or a forked
//!   process may write there; when the block above was handed out by a call whose result is thrown away (an array that
//!   grows by calls). A note where the allocator rounds sizes up, by
//!   16 bytes or more, and the bytes lie within what the block has by that (`rounding`). A note where several redzones of an
//!   arena were all zero at once (wiped memory), and where events were lost or ends of blocks are not seen. Correct programs that
//!   look alike: all of these, in `tests/check_mode.rs`.
//! - Labs: 09b with a true overflow by one byte.

use crate::damage::{Act, Damages, Told, doubt, former};
use crate::finding::{Certainty, Class, Finding, SiteRole};
use crate::rounding::Rounding;
use crate::watch::Rule;
use crate::wording;
use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::collections::btree_map::{BTreeMap, Entry};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use arenascope_event::{Event, FateKind, ProcessFacts, SiteId, Zone};
use arenascope_replay::{ArenaId, Effect, State};

/// The rule.
#[derive(Clone, Debug, Default)]
pub struct Overflow {
    damages: Damages,
    roundings: BTreeMap<(ArenaId, u32), Rounding>,
}

impl Overflow {
    /// Its name.
    pub const NAME: &'static str = "overflow";
    /// The other name: for what lies before a block.
    pub const UNDER: &'static str = "underflow";

    /// At the start of a trace.
    pub fn new() -> Overflow {
        Overflow::default()
    }
}

impl Rule for Overflow {
    fn observe(&mut self, event: &Event, effect: &Effect, state: &State, _: &[u8]) {
        self.damages.observe(event, effect, state);
        if let Some(arena) = effect.arena.filter(|_| event.kind.arena_order().is_some()) {
            let extent = effect.place.map_or(0, |place| place.extent);
            self.roundings.entry((arena, extent)).or_default().observe(effect);
        }
    }

    fn finish(self: Box<Self>, state: &State, facts: &ProcessFacts) -> Vec<Finding> {
        let doubt = doubt(state, facts);
        let mut found: BTreeMap<(bool, Option<SiteId>, Class), Finding> = BTreeMap::new();
        let all = self.damages.finish();
        let zones = |told: &&Told| told.zone == Zone::After || told.zone == Zone::Before;
        for told in all.iter().filter(zones).filter(|told| told.own || !is_explained(told, facts)) {
            let below = told.zone == Zone::Before || is_below(told);
            let of_above = below && told.zone == Zone::After;
            let site =
                if of_above { told.above.and_then(|(_, above)| above.site) } else { told.known.and_then(|b| b.site) };
            let wrong = told.wrong().last().map_or(0, |range| range.end as u64);
            let touched = told.address.plus(wrong).0.saturating_sub(told.block.0);
            let usable = told
                .known
                .and_then(|known| self.roundings.get(&(told.arena, known.extent)))
                .and_then(|rounding| rounding.usable(told.size));
            let slack = usable.filter(|usable| touched <= *usable);
            let doubt = slack.map(|usable| in_slack(told.size, usable)).or_else(|| doubt.clone()).filter(|_| !told.own);
            let doubt = doubt.or_else(|| told.twice.then(|| former(told.address, Some(told.arena), state)));
            let one = accuse(told, below, doubt.as_deref(), state, facts);
            match found.entry((below, site, one.class)) {
                Entry::Vacant(place) => drop(place.insert(one)),
                Entry::Occupied(mut place) => place.get_mut().add(&one),
            }
        }
        found.into_values().collect()
    }
}

/// Why bytes behind a block of `size` bytes may be used.
pub(crate) fn in_slack(size: u64, usable: u64) -> String {
    format!(
        "this arena's blocks lie as if sizes were rounded up: to {} for {}, within which the bytes lie; who asks the allocator \
         how large a block is may use them",
        wording::bytes(usable),
        wording::bytes(size)
    )
}

/// True when the bytes may have been changed by somebody who may.
fn is_explained(told: &Told, facts: &ProcessFacts) -> bool {
    let emptied = match told.follow.map(|own| own.what) {
        Some(Act::Alloc(block, _)) => {
            let same_extent = told.follow.map(|own| own.extent) == told.known.map(|known| known.extent);
            told.never_freed && same_extent && block < told.end
        }
        _ => false,
    };
    let dropped = |site: Option<SiteId>| {
        let site = site.and_then(|site| facts.sites.get(usize::try_from(site.0).ok()?));
        site.is_some_and(|site| site.fate.kind == FateKind::Dropped)
    };
    let grows_by_calls =
        told.above.is_some_and(|(_, above)| dropped(above.site)) || dropped(told.known.and_then(|b| b.site));
    emptied || told.others || grows_by_calls
}

/// True when the change touches the block above the zone, and not the one below.
fn is_below(told: &Told) -> bool {
    let touches_lower = told.address == told.block.plus(told.size);
    let last = told.address.plus(told.found.len() as u64);
    let from_upper = told.above.map(|(above, _)| above.0.saturating_sub(last.0));
    let from_lower = told.address.0.saturating_sub(told.block.plus(told.size).0);
    !touches_lower && from_upper.is_some_and(|distance| distance < from_lower)
}

fn accuse(told: &Told, below: bool, doubt: Option<&str>, state: &State, facts: &ProcessFacts) -> Finding {
    let arena = wording::arena_ref(state, facts, told.arena);
    let bytes = told.found.len() as u64;
    let upper = told.above.filter(|_| below);
    let (block, start) = match upper {
        Some((start, above)) => (Some(above), start),
        None => (told.known, told.block),
    };
    let before_it = told.zone == Zone::Before;
    let what = match upper.map(|(start, above)| (start, Some(above))).or(before_it.then_some((told.block, None))) {
        Some((start, above)) => {
            let before = start.0.saturating_sub(told.address.0);
            let block = match above {
                Some(above) => {
                    format!("block {} ({} at +{})", above.number, wording::bytes(above.size), above.offset)
                }
                None => told.place(),
            };
            match bytes {
                1 => format!("the byte {before} before {block} was changed {}", told.value()),
                _ => format!("{} from {before} before {block} on were changed", wording::bytes(bytes)),
            }
        }
        None => {
            let at = told.address.0.saturating_sub(told.block.0);
            let past = told.address.0.saturating_sub(told.block.plus(told.size).0).saturating_add(1);
            let past = if past == 1 { "one".to_owned() } else { format!("{past}") };
            match bytes {
                1 => format!("byte {at}, {past} past the end of {}, was changed {}", told.place(), told.value()),
                _ => format!(
                    "{} from byte {at} on, {past} past the end of {}, were changed",
                    wording::bytes(bytes),
                    told.place()
                ),
            }
        }
    };
    let wiped = told.wiped_too > 1;
    let (class, certainty) =
        if doubt.is_some() || wiped { (Class::Note, Certainty::Possible) } else { (Class::Finding, Certainty::Likely) };
    let whose = if told.own {
        "in memory that it keeps for nobody while addresses last"
    } else {
        "which nobody has a reason to change"
    };
    let mut because = format!(
        "check mode had put 0x{:02x} there, {whose}; it was right at {}",
        told.expected,
        match (told.right, told.known) {
            (Some(right), _) => format!("#{}", right.moment.0),
            (None, Some(known)) => format!("#{} or later", known.born.0),
            (None, None) => "some earlier look".to_owned(),
        }
    );
    if wiped {
        because.push_str("; several redzones of this arena were all zero at once, as if its memory had been wiped");
    }
    if let Some(doubt) = doubt {
        because.push_str("; ");
        because.push_str(doubt);
    }
    let mut sites: Vec<(SiteRole, SiteId)> = Vec::new();
    sites.extend(block.and_then(|block| block.site).map(|site| (SiteRole::Allocated, site)));
    let side = if upper.is_some() || before_it { "before" } else { "behind" };
    let label = block.map_or_else(|| format!("{side} the block"), |block| format!("{side} block {}", block.number));
    Finding {
        rule: if upper.is_some() || before_it { Overflow::UNDER } else { Overflow::NAME },
        class,
        certainty,
        message: format!("{what} {}", told.window()),
        arena: Some(arena),
        block: block.map(|block| block.block()),
        moment: told.follow.map_or(told.moment, |own| own.moment),
        threads: told.threads(),
        sites,
        calls: Vec::new(),
        because,
        evidence: told.evidence(label, start),
        disproof: match told.own {
            true => "the kernel, or another process, was handed an address there".to_owned(),
            false => {
                "code that knows the allocator to lay blocks side by side, or asks it how large a block is: without \
                      check mode there is no gap"
                    .to_owned()
            }
        },
        next: next(below),
        count: 1,
        bytes: told.wrong_bytes(),
    }
}

fn next(below: bool) -> String {
    match below {
        true => "look for an index below 0, or a pointer stepped back too far, between these events".to_owned(),
        false => {
            "look for a copy or an index that is too long for this block between these events; with a debugger, set a \
                  watchpoint on these bytes after the block was handed out"
                .to_owned()
        }
    }
}

//! `use-after-free`, `use-after-rewind`, `use-after-reset`: bytes of a dead block were changed. Of arenas of our own library also
//! `stale-pointer-after-resize`.
//!
//! - Claims: somebody wrote to this block after it was given back (the arena went back, the arena was emptied).
//! - Needs: check mode. For rewind and reset a function that calls nothing else: then the agent fills the blocks with a
//!   known byte just before it runs, and looks before the bytes are handed out again. For free the agent keeps what lies
//!   in the block when a call of the arena returns, and looks at the entry of the next.
//! - Evidence: the changed bytes, what took the block back, when they were last right; and that nobody owned them: the
//!   arena's next block came to lie over them (after rewind and reset: or below them), or, after rewind and reset, all
//!   blocks of this arena lay side by side, so that no hand-out went unseen.
//! - Disproof: blocks of this arena handed out by a function that is not watched.
//! - Arenas of our own library (`Told::own`): the bytes lie in memory of check mode's, which fills every dead block and had given it to nobody
//!   else. What stands under *Silent* and the notes concern other arenas.
//! - Silent: when another arena has blocks there by now, or a forked process may write there. A note, possible, when
//!   nothing shows that the bytes were nobody's, where not all calls were seen, and where events were lost.
//!   Correct programs that look alike: allocators with a second, unwatched way to hand out blocks (`apr_psprintf`);
//!   alloc calls that were inlined; memory that went to another arena.
//! - Labs: 11 and its neighbours; `tests/check_mode.rs` has the tables.

use crate::damage::{Act, Damages, Told, doubt, former};
use crate::finding::{Certainty, Class, Finding, SiteRole};
use crate::lifetime_inversion::{self, Holder, Holders};
use crate::watch::Rule;
use crate::wording;
use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::collections::btree_map::{BTreeMap, Entry};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use arenascope_event::{Event, EventKind, HookStatus, ProcessFacts, Role, SiteId, Zone};
use arenascope_replay::{ArenaId, Effect, State};

/// The rule.
#[derive(Clone, Debug, Default)]
pub struct UseAfter {
    damages: Damages,
    holders: Holders,
    /// By arena, first byte of the dead block, and order of its end: who still pointed there when it was changed.
    inverted: BTreeMap<(ArenaId, u64, u64), Holder>,
}

impl UseAfter {
    /// After a free.
    pub const FREE: &'static str = "use-after-free";
    /// After a rewind.
    pub const REWIND: &'static str = "use-after-rewind";
    /// After a reset.
    pub const RESET: &'static str = "use-after-reset";
    /// After a resize that moved the block: the name of another rule, whose claim this is.
    pub const MOVED: &'static str = "stale-pointer-after-resize";

    /// At the start of a trace.
    pub fn new() -> UseAfter {
        UseAfter::default()
    }
}

impl Rule for UseAfter {
    fn observe(&mut self, event: &Event, effect: &Effect, state: &State, captured: &[u8]) {
        self.damages.observe(event, effect, state);
        self.holders.observe(event, effect, state, captured);
        if let EventKind::Damage { arena, block, zone: Zone::Dead, address, ended: Some(ended), .. } = event.kind
            && let Some(id) = state.arena_of_key(arena).map(|arena| arena.id)
            && let Some(holder) = self.holders.of(id, block, address, state)
        {
            self.inverted.entry((id, block.0, ended)).or_insert_with(|| holder.clone());
        }
    }

    fn finish(self: Box<Self>, state: &State, facts: &ProcessFacts) -> Vec<Finding> {
        let doubt = doubt(state, facts).or_else(|| unseen_hand_outs(facts));
        let mut found: BTreeMap<(&'static str, Option<SiteId>, Class), Finding> = BTreeMap::new();
        for told in self.damages.finish().iter().filter(|told| told.zone == Zone::Dead && !told.others) {
            let Some(mut one) = accuse(told, doubt.as_deref(), state, facts) else { continue };
            if let Some(ended) = told.ended.filter(|ended| ended.what == Act::Rewind)
                && let Some(holder) = self.inverted.get(&(told.arena, told.block.0, ended.order))
            {
                one = lifetime_inversion::inverted(one, holder);
            }
            let site = told.known.and_then(|known| known.site);
            match found.entry((one.rule, site, one.class)) {
                Entry::Vacant(place) => drop(place.insert(one)),
                Entry::Occupied(mut place) => place.get_mut().add(&one),
            }
        }
        found.into_values().collect()
    }
}

/// An alloc function of which not every call was seen: its blocks may lie in bytes that seem to be nobody's.
fn unseen_hand_outs(facts: &ProcessFacts) -> Option<String> {
    let hands_out = |role| matches!(role, Role::Alloc | Role::Resize | Role::Mark);
    let unseen = facts.hooks.iter().find(|hook| hands_out(hook.decl.role) && hook.status != HookStatus::Watched)?;
    Some(format!(
        "not all calls of {} were seen, and one of them may have handed these bytes out",
        unseen.decl.function
    ))
}

fn accuse(told: &Told, doubt: Option<&str>, state: &State, facts: &ProcessFacts) -> Option<Finding> {
    let ended = told.ended?;
    let (rule, verb, role) = match ended.what {
        Act::Free => (UseAfter::FREE, "was freed", SiteRole::Freed),
        Act::Rewind => (UseAfter::REWIND, "was rewound", SiteRole::Rewound),
        Act::Reset => (UseAfter::RESET, "was reset", SiteRole::Reset),
        Act::Moved(..) => (UseAfter::MOVED, "was resized, and moved", SiteRole::Freed),
        Act::Alloc(..) | Act::Other => return None,
    };
    let handed_out_again = match told.follow {
        Some(own) => match own.what {
            Act::Alloc(block, size) if ended.what == Act::Free => {
                (block <= told.address && told.address < block.plus(size)).then_some(own)
            }
            Act::Alloc(block, _)
                if block <= told.address && told.known.is_none_or(|known| known.extent == own.extent) =>
            {
                Some(own)
            }
            _ => None,
        },
        None => None,
    };
    let sure = match (handed_out_again, told.tight, rule) {
        _ if told.own && told.twice => String::new(),
        _ if told.own => "check mode gives no memory twice while addresses last (64 GiB, or what the limit on memory leaves), and had given this to \
                           nobody else".to_owned(),
        (Some(own), ..) => {
            format!("nobody owned these bytes until #{}, which handed them out, or others below them", own.moment.0)
        }
        (None, _, UseAfter::FREE) => String::new(),
        (None, true, _) => "all blocks of this arena lie side by side, so no other hand-out went unseen".to_owned(),
        (None, false, _) => String::new(),
    };
    let threads = state.arena(told.arena).map_or(0, |arena| arena.threads.len());
    let busy = "several threads use this arena, and one may just have been given these bytes";
    let doubt = doubt.or((threads > 1).then_some(busy)).filter(|_| !told.own);
    let twice = told.twice.then(|| former(told.address, Some(told.arena), state));
    let doubt = doubt.or(twice.as_deref());
    let (class, certainty) = match (doubt, sure.as_str()) {
        (Some(_), _) | (None, "") => (Class::Note, Certainty::Possible),
        (None, _) => (Class::Finding, Certainty::Likely),
    };
    let mut because = match rule {
        UseAfter::FREE | UseAfter::MOVED if told.own => {
            format!("check mode had filled it with 0x{:02x} when it {verb} at #{}", told.expected, ended.moment.0)
        }
        UseAfter::FREE => {
            format!("it {verb} at #{}, and its allocator had last left 0x{:02x} there", ended.moment.0, told.expected)
        }
        _ => {
            format!(
                "check mode had filled it with 0x{:02x} when its arena {verb} at #{}",
                told.expected, ended.moment.0
            )
        }
    };
    for more in [sure.as_str(), doubt.unwrap_or("")] {
        if !more.is_empty() {
            because.push_str("; ");
            because.push_str(more);
        }
    }
    let at = told.address.0.saturating_sub(told.block.0);
    let bytes = told.found.len() as u64;
    let (place, window) = (told.place(), told.window());
    let whose = match rule {
        UseAfter::FREE | UseAfter::MOVED => format!("after it {verb}"),
        _ => format!("after its arena {verb}"),
    };
    let what = match bytes {
        1 => format!("byte {at} of {place} was changed {} {whose}", told.value()),
        _ => format!("{} from byte {at} of {place} on were changed {whose}", wording::bytes(bytes)),
    };
    let mut sites: Vec<(SiteRole, SiteId)> = Vec::new();
    sites.extend(ended.site.map(|site| (role, site)));
    sites.extend(told.known.and_then(|known| known.site).map(|site| (SiteRole::Allocated, site)));
    let label = told.known.map_or_else(|| "the dead block".to_owned(), |known| format!("block {}, dead", known.number));
    Some(Finding {
        rule,
        class,
        certainty,
        message: format!("{what}, {window}"),
        arena: Some(wording::arena_ref(state, facts, told.arena)),
        block: told.known.map(|known| known.block()),
        moment: told.follow.map_or(told.moment, |own| own.moment),
        threads: told.threads(),
        sites,
        calls: Vec::new(),
        because,
        evidence: told.evidence(label, told.block),
        disproof:
            "a function that hands out blocks of this arena and is not watched, or memory that went to somebody else \
                   meanwhile"
                .to_owned(),
        next: "look for a pointer to this block that outlives it: copy what is still needed, or end the block later"
            .to_owned(),
        count: 1,
        bytes: told.wrong_bytes(),
    })
}

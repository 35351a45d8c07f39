//! `invalid-free`: what was given back is no block that lives.
//!
//! - **Claims**: the address lies inside a living block and not at its start; or the block's arena had ended; or a rewind or
//!   reset had taken the block (a note); or it is static memory, of which the arena has none.
//! - **Needs**: events; every call of the functions that hand out blocks.
//! - **Evidence**: the free, the block with its allocation, the end of the arena or of the block.
//! - **Disproof**: a free function that accepts any address in a block; a block that a function no role names handed out
//!   there.
//! - **Silent**: for addresses where nothing is known to live or to have lived (a function that is not watched may have
//!   handed them out, or an inherited process); when frees of such addresses were seen in the same arena; for free functions
//!   that are mostly called with such addresses (the roles do not fit); for the C library's `malloc`.
//!   Only a note for addresses inside blocks where such frees are more than those that fit, unless the roles were given and it is
//!   a single one: the function may take other addresses than alloc returns (a link within a node). Only a note for what a rewind
//!   or reset took: freeing afterwards is harmless where free does nothing in an arena that was emptied, and cleaning up in the
//!   wrong order is common.
//! - **Lab**: none of its own; `free_wrong.c` among the tests' programs.

use crate::finding::{Certainty, Class, Finding, SiteRole};
use crate::frees::{Case, DeadHow, Words, Wrong, is_ours};
use crate::wording;
use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use arenascope_event::{Address, Checking, Watched};
use arenascope_replay::{Ending, ExtentKind, How};

/// The rule. It observes with the other rules of frees; this is its name.
#[derive(Clone, Copy, Debug)]
pub struct InvalidFree {}

impl InvalidFree {
    /// Its name.
    pub const NAME: &'static str = "invalid-free";
}

/// The verdict.
pub(crate) fn judge(case: &Case<'_>) -> Option<Finding> {
    let misfree = case.misfree;
    if case.unseen {
        return None;
    }
    let mut words = match misfree.wrong {
        Wrong::Interior { at } => interior(case, at)?,
        Wrong::Stale => stale(case),
        Wrong::Ended { .. } => ended(case)?,
        Wrong::Nowhere { address, sure: false } => nowhere(case, address)?,
        Wrong::Nowhere { address, sure: true } => no_block(case, address),
        Wrong::Double { .. } | Wrong::Foreign { .. } => return None,
    };
    if case.lost > 0 {
        (words.class, words.certainty) = (Class::Note, Certainty::Possible);
    }
    let dead = misfree.dead;
    let mut sites = Vec::new();
    sites.extend(misfree.site.map(|site| (SiteRole::Freed, site)));
    let end = match (misfree.wrong, dead.how) {
        (Wrong::Ended { .. }, _) if case.arena.ended.is_some_and(|end| end.how == Ending::Destroyed) => {
            Some(SiteRole::Destroyed)
        }
        (Wrong::Ended { .. }, _) => Some(SiteRole::Unmapped),
        (Wrong::Stale, DeadHow::Died(How::Reset)) => Some(SiteRole::Reset),
        (Wrong::Stale, _) => Some(SiteRole::Rewound),
        _ => None,
    };
    sites.extend(end.and_then(|role| Some((role, dead.site?))));
    sites.extend(dead.allocated.map(|site| (SiteRole::Allocated, site)));
    Some(case.finding(InvalidFree::NAME, words, sites))
}

fn interior(case: &Case<'_>, at: u64) -> Option<Words> {
    // Check mode has each block of an arena of our library apart, and sees each handed out.
    let sure = is_ours(case.arena) && case.arena.checking.is_some_and(Checking::works);
    if case.tally.strange > 0 && !sure {
        return None;
    }
    let misfree = case.misfree;
    let fitting = case.arena.counts.frees;
    // A free function that never gets what the alloc function returned: the roles describe different pointers. Once proves
    // nothing where somebody said what they describe.
    let said = case.facts.watched == Watched::Given && case.interior == 1;
    let misfit = case.tally.interior > fitting && !said && !sure;
    let place = wording::block(&misfree.dead.block, misfree.arena);
    let mut because = format!("the block begins {} before the address given back, and still lived", wording::bytes(at));
    if misfit {
        because.push_str("; no other free fits the blocks better, so free may take other addresses than alloc returns");
    }
    if sure {
        because.push_str("; check mode had put the blocks of this arena apart, and none begins there");
    }
    Some(Words {
        class: if misfit { Class::Note } else { Class::Finding },
        certainty: if misfit { Certainty::Possible } else { Certainty::Likely },
        message: format!("{place}: freed at #{} by an address {} inside it", misfree.moment.0, wording::bytes(at)),
        because,
        disproof: "a free function that accepts any address inside a block",
        next: "free the address that the alloc function returned",
    })
}

fn stale(case: &Case<'_>) -> Words {
    let misfree = case.misfree;
    let dead = misfree.dead;
    let how = if dead.how == DeadHow::Died(How::Reset) { "reset" } else { "rewind" };
    let place = wording::block(&dead.block, misfree.arena);
    Words {
        class: Class::Note,
        certainty: Certainty::Possible,
        message: format!("{place}: freed at #{}, after the {how} at #{} had taken it", misfree.moment.0, dead.died.0),
        because: format!("no block was handed out there between the {how} and the free"),
        disproof: "a free function that does nothing in an arena that was emptied, so that order does not matter",
        next: "free the block before the arena goes back, or not at all",
    }
}

fn ended(case: &Case<'_>) -> Option<Words> {
    let misfree = case.misfree;
    let end = case.arena.ended?;
    if !matches!(end.how, Ending::Destroyed | Ending::Unmapped) {
        return None;
    }
    let place = wording::block(&misfree.dead.block, misfree.arena);
    let how = end.how.word();
    Some(Words {
        class: Class::Finding,
        certainty: Certainty::Likely,
        message: format!("{place}: freed at #{}, after its arena was {how} at #{}", misfree.moment.0, end.moment.0),
        because: "no arena was created at the same place between the end and the free".to_owned(),
        disproof: "a new arena over the same memory, made by a function that no role names",
        next: "free the block before the arena ends, or not at all: the arena's end takes its blocks along",
    })
}

/// Check mode, which knows each block that it has placed, says that none ever began there.
fn no_block(case: &Case<'_>, address: Address) -> Words {
    let misfree = case.misfree;
    let holds = |extent: &&arenascope_replay::Extent| extent.start <= address && address < extent.end();
    let place = case.arena.extents().find(holds).map_or_else(String::new, |extent| {
        let offset = address.0.saturating_sub(extent.start.0);
        format!(", +{offset} of extent {},", extent.number)
    });
    Words {
        class: Class::Finding,
        certainty: Certainty::Likely,
        message: format!(
            "arena {}: an address{place} where no block begins was freed at #{}",
            misfree.arena, misfree.moment.0
        ),
        because: "check mode has this memory for blocks of this arena alone, and none of them, living or dead, ever began there".to_owned(),
        disproof: "an allocator of the program's own inside a block, whose pieces are not for this free",
        next: "free the address that the alloc function returned",
    }
}

fn nowhere(case: &Case<'_>, address: Address) -> Option<Words> {
    let misfree = case.misfree;
    let module = case.facts.modules.iter().find(|module| module.start <= address && address < module.end)?;
    let mut extents = case.arena.extents().peekable();
    let has_static = extents.peek().is_none() || case.arena.extents().any(|extent| extent.kind == ExtentKind::Static);
    // Other addresses that nobody handed out: then this one may come from the same unseen function.
    if has_static || case.arena.counts.frees == 0 || case.tally.strange > misfree.count {
        return None;
    }
    let file = module.path.rsplit('/').next().unwrap_or(&module.path);
    Some(Words {
        class: Class::Finding,
        certainty: Certainty::Likely,
        message: format!("arena {}: static memory of {file} was freed at #{}", misfree.arena, misfree.moment.0),
        because: "the address lies in a program file, where this arena never had a block".to_owned(),
        disproof: "a function that no role names and that hands out static memory of this arena",
        next: "free only what the alloc function returned: a string literal or a static variable is not its",
    })
}

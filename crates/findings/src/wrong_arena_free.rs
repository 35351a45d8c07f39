//! `wrong-arena-free`: a block of one arena was given back to another.
//!
//! - **Claims**: the block lived in arena A, and was freed through arena B, which has no memory where it lies.
//! - **Needs**: events of an allocator whose free function is told the arena.
//! - **Evidence**: the block's allocation in A; the free through B; both lived, and B had no extent there.
//! - **Disproof**: an allocator that takes back blocks of any of its arenas (a central heap with handles, caches that swap
//!   blocks).
//!   Of two arenas of our library also a block that was resized through the other, and the other need have had no block.
//! - **Silent**: when both arenas share the memory (a copied arena object, a sub-arena inside its parent); when B is no arena
//!   so far; when blocks are handed out by calls that are not seen; for the C library's `malloc`. A note when the arenas
//!   belong to different threads (giving a block back to the cache of the thread at hand is a usual design), when it is what
//!   this program mostly does, or when events were lost.
//! - **Lab**: none of its own; `free_wrong.c` among the tests' programs.

use crate::finding::{Certainty, Class, Finding, SiteRole};
use crate::frees::{Case, DeadHow, Words, is_ours};
use crate::wording;
use alloc::format;
use alloc::vec::Vec;
use arenascope_replay::ArenaId;

/// The rule. It observes with the other rules of frees; this is its name.
#[derive(Clone, Copy, Debug)]
pub struct WrongArenaFree {}

impl WrongArenaFree {
    /// Its name.
    pub const NAME: &'static str = "wrong-arena-free";
}

/// The verdict.
pub(crate) fn judge(case: &Case<'_>, through: ArenaId) -> Option<Finding> {
    let misfree = case.misfree;
    let other = case.state.arena(through)?;
    if case.unseen || case.arena.object.is_null() || other.object.is_null() {
        return None;
    }
    let customary = case.tally.foreign >= 3 && case.tally.foreign >= other.counts.frees;
    let apart = case.arena.threads.is_disjoint(&other.threads);
    // Arenas of our library take no blocks of each other's back, whoever calls.
    let ours = is_ours(case.arena) && is_ours(other);
    let (customary, apart) = (customary && !ours, apart && !ours);
    let unsure = case.lost > 0 || customary || apart || (case.tally.strange > 0 && !ours);
    let (class, certainty) =
        if unsure { (Class::Note, Certainty::Possible) } else { (Class::Finding, Certainty::Likely) };
    let dead = misfree.dead;
    let place = wording::block(&dead.block, misfree.arena);
    let named = wording::arena_ref(case.state, case.facts, through);
    let mut because = format!(
        "it was allocated in arena {} at #{} and lived; arena {through} had no memory there",
        misfree.arena, dead.born.0
    );
    if customary || apart {
        because.push_str("; this allocator may take blocks of any of its arenas back");
    }
    let mut sites = Vec::new();
    sites.extend(misfree.site.map(|site| (SiteRole::Freed, site)));
    sites.extend(dead.allocated.map(|site| (SiteRole::Allocated, site)));
    sites.extend(other.born_site.map(|site| (SiteRole::Created, site)));
    let words = Words {
        class,
        certainty,
        message: format!(
            "{place}: {} at #{} through arena {through} \"{}\", which it does not belong to",
            if dead.how == DeadHow::Moved { "resized" } else { "freed" },
            misfree.moment.0,
            named.name
        ),
        because,
        disproof: "an allocator that takes back blocks of any of its arenas",
        next: "give the block back to the arena that it was allocated from",
    };
    Some(case.finding(WrongArenaFree::NAME, words, sites))
}

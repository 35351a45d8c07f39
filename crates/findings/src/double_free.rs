//! `double-free`: a block was given back, and given back again before anybody got it anew.
//!
//! - **Claims**: the free function was called twice with the same block, and no call that was seen handed it out between.
//! - **Needs**: events; every call of the functions that hand out blocks.
//! - **Evidence**: both frees and the allocation. Certain when the same bytes were then handed out twice: the allocator had
//!   the block in its list two times. Likely when the first free changed the arena object's first 64 bytes: it took the block,
//!   or when a marker of the program's own says so (`arenascope-mark.h`).
//! - **Disproof**: a function that no role names handed the block out between the two frees.
//! - **Silent**: for NULL; when an inner free function does the work of an outer one on the same block; when the block was
//!   handed out again; for blocks that a rewind, a reset or a moving resize took; when blocks of this arena come from
//!   calls that are not seen (inlined copies, frees of addresses never handed out); for the C library's `malloc`.
//!   A note where nothing shows that the first free took the block: with reference counts each owner gives it back, and only the
//!   last one is heard. A note where events were lost, or where so many blocks are freed twice that the function may not be a free at all
//!   (it may count references).
//! - **Lab**: 12a, 12b.

use crate::finding::{Certainty, Class, Finding, SiteRole};
use crate::frees::{Case, Words};
use crate::{trust, wording};
use alloc::format;
use alloc::vec::Vec;
use arenascope_event::{EventNumber, Role, SiteId};

/// The rule. It observes with the other rules of frees; this is its name.
#[derive(Clone, Copy, Debug)]
pub struct DoubleFree {}

impl DoubleFree {
    /// Its name.
    pub const NAME: &'static str = "double-free";
}

/// The verdict. `proof` is the second of two allocs that got the block's bytes after it was freed twice.
/// `taken`: the first free changed the arena object.
pub(crate) fn judge(case: &Case<'_>, proof: Option<(EventNumber, Option<SiteId>)>, taken: bool) -> Option<Finding> {
    let misfree = case.misfree;
    let dead = misfree.dead;
    if case.unseen || case.tally.strange > 0 {
        return None;
    }
    let customary = case.tally.double >= 3 && case.tally.double >= case.arena.counts.frees;
    // Who wrote the marker said that the block goes back there.
    let marked = trust::by_markers(case.facts, Role::Free);
    let (class, certainty) = if case.lost > 0 || customary {
        (Class::Note, Certainty::Possible)
    } else if proof.is_some() {
        (Class::Finding, Certainty::Certain)
    } else if taken || marked || case.arena.bounds.is_some() {
        // A free of our own library takes the block.
        (Class::Finding, Certainty::Likely)
    } else {
        (Class::Note, Certainty::Possible)
    };
    let place = wording::block(&dead.block, misfree.arena);
    let mut because =
        format!("nothing that was seen handed the block out between #{} and #{}", dead.died.0, misfree.moment.0);
    if let Some((moment, _)) = proof {
        because.push_str(&format!("; afterwards the same bytes had two owners at once, as of #{}", moment.0));
    } else if taken {
        because.push_str("; the first free changed the arena object, so it took the block");
    } else if case.arena.bounds.is_some() {
        because.push_str("; a free of this library gives the block back, whoever else has it");
    } else if marked {
        because.push_str("; the program's own marker says that the first free took it");
    } else if !customary {
        because.push_str(
            "; nothing shows that the first free took the block: a function that counts references takes it at the last one",
        );
    }
    if customary {
        because.push_str(&format!(
            "; it happened {} times, so this function may do something else than take a block back",
            case.tally.double
        ));
    }
    let mut sites = Vec::new();
    sites.extend(misfree.site.map(|site| (SiteRole::Freed, site)));
    sites.extend(dead.site.map(|site| (SiteRole::Freed, site)));
    sites.extend(dead.allocated.map(|site| (SiteRole::Allocated, site)));
    sites.extend(proof.and_then(|(_, site)| site).map(|site| (SiteRole::Touched, site)));
    let words = Words {
        class,
        certainty,
        message: format!("{place}: freed at #{}, and again at #{}", dead.died.0, misfree.moment.0),
        because,
        disproof: "a function that no role names and that handed the block out between the two frees, or a free function that \
                   counts references",
        next: "find out which of the two owns the block, and drop the other free; set the pointer to NULL after the first",
    };
    Some(case.finding(DoubleFree::NAME, words, sites))
}

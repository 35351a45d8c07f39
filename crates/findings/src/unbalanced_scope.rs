//! `unbalanced-scope`: scopes of two threads in one arena cut across each other.
//!
//! - **Claims**: while a thread's scope was open, another thread rewound the arena to an older mark, which ended that scope and
//!   took its blocks; then the first thread closed the scope that was no more.
//! - **Needs**: events; every call of the functions that mark, rewind and reset.
//! - **Evidence**: where the mark was taken and by which thread, which thread's rewind passed it, and the rewind to it.
//! - **Disproof**: a mark of the same value, taken by a function that no role names.
//! - **Silent**: as `out-of-order-rewind`. Marks that were taken and never gone back to are no finding: an outer scope's
//!   end takes the inner ones along.
//! - **Lab**: none; the stories of its tests show it.

use crate::finding::{Certainty, Class, Finding, SiteRole};
use crate::scopes::Misfit;
use crate::{trust, wording};
use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use arenascope_event::ProcessFacts;
use arenascope_replay::State;

/// The rule. It observes together with `out-of-order-rewind`; this is its name.
#[derive(Clone, Copy, Debug)]
pub struct UnbalancedScope {}

impl UnbalancedScope {
    /// Its name.
    pub const NAME: &'static str = "unbalanced-scope";
}

/// The verdict.
pub(crate) fn judge(misfit: &Misfit, state: &State, facts: &ProcessFacts) -> Finding {
    let passed = misfit.passed;
    let lost = trust::missing(state, facts);
    let mut because = format!(
        "thread {} took the mark at #{}; thread {} went back behind it at #{}, and thread {} closed its scope at #{}",
        passed.mark.thread.0,
        passed.mark.moment.0,
        passed.thread.0,
        passed.moment.0,
        passed.mark.thread.0,
        misfit.moment.0
    );
    let (class, certainty) = match lost {
        0 => (Class::Finding, Certainty::Certain),
        lost => {
            because.push_str(&format!("; but {lost} events were lost, and what explains it may be among them"));
            (Class::Note, Certainty::Possible)
        }
    };
    let times = if misfit.count > 1 { format!("; {} times", misfit.count) } else { String::new() };
    let mut sites = Vec::new();
    sites.extend(misfit.site.map(|site| (SiteRole::Rewound, site)));
    sites.extend(passed.site.map(|site| (SiteRole::Rewound, site)));
    sites.extend(passed.mark.site.map(|site| (SiteRole::Touched, site)));
    Finding {
        rule: UnbalancedScope::NAME,
        class,
        certainty,
        message: format!(
            "arena {}: a rewind of thread {} at #{} ended a scope of thread {}, which was still open{times}",
            misfit.arena, passed.thread.0, passed.moment.0, passed.mark.thread.0
        ),
        arena: Some(wording::arena_ref(state, facts, misfit.arena)),
        block: None,
        moment: misfit.moment,
        threads: misfit.threads.iter().copied().collect(),
        sites,
        calls: Vec::new(),
        because,
        evidence: Vec::new(),
        disproof: "a mark of the same value, taken by a function that no role names".to_owned(),
        next: "give each thread an arena of its own, or let only one thread at a time have a scope open".to_owned(),
        count: misfit.count,
        bytes: 0,
    }
}

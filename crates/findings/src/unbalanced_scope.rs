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

use crate::finding::Finding;
use crate::scopes::{Misfit, Words};
use alloc::format;
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
    let (owner, other) = (passed.mark.thread.0, passed.thread.0);
    let words = Words {
        rule: UnbalancedScope::NAME,
        message: format!(
            "arena {}: a rewind of thread {other} at #{} ended a scope of thread {owner}, which was still open",
            misfit.arena, passed.moment.0
        ),
        because: format!(
            "thread {owner} took the mark at #{}; thread {other} went back behind it at #{}, and thread {owner} closed \
             its scope at #{}",
            passed.mark.moment.0, passed.moment.0, misfit.moment.0
        ),
        next: "give each thread an arena of its own, or let only one thread at a time have a scope open",
    };
    misfit.finding(words, state, facts)
}

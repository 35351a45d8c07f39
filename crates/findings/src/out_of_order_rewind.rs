//! `out-of-order-rewind`: an arena was rewound to a mark whose scope had already ended.
//!
//! - **Claims**: after a rewind to an older mark, or a reset, the program rewound to a younger one: the cursor goes forward
//!   over dead bytes, or into the middle of what was handed out since.
//! - **Needs**: events; every call of the functions that mark, rewind and reset.
//! - **Evidence**: where the mark was taken, which rewind or reset had passed it, and the rewind to it; and that it did
//!   something: a living block reached beyond the mark, or the next one began there, where it would not have otherwise.
//! - **Disproof**: a mark of the same value, taken by a function that no role names.
//! - **Silent**: where the next block begins below the mark (an allocator that only ever goes back: the clean-up of an inner
//!   scope after the outer one's end changes nothing there), where none follows, and where blocks lie downwards; for rewinding
//!   to one mark again and again (it stands after a rewind); for marks that were never used; when a standing mark has the same
//!   value; for marks taken while nothing lived (going back there is a reset); for saved cursors that were never a mark; when
//!   mark, rewind or reset functions have calls that are not seen. A note where
//!   events were lost. What threads do to each other's scopes is `unbalanced-scope`.
//! - **Lab**: 18.

use crate::finding::Finding;
use crate::scopes::{Misfit, Words};
use alloc::format;
use arenascope_event::ProcessFacts;
use arenascope_replay::State;

/// The rule. It observes together with `unbalanced-scope`; this is its name.
#[derive(Clone, Copy, Debug)]
pub struct OutOfOrderRewind {}

impl OutOfOrderRewind {
    /// Its name.
    pub const NAME: &'static str = "out-of-order-rewind";
}

/// The verdict.
pub(crate) fn judge(misfit: &Misfit, state: &State, facts: &ProcessFacts) -> Finding {
    let passed = misfit.passed;
    let how = if passed.reset { "reset" } else { "rewind" };
    let words = Words {
        rule: OutOfOrderRewind::NAME,
        message: format!(
            "arena {}: rewound at #{} to the mark of #{}, whose scope had ended at #{}",
            misfit.arena, misfit.moment.0, passed.mark.moment.0, passed.moment.0
        ),
        because: format!(
            "the {how} at #{} had gone back behind it, and no mark of the same value was taken since; \
             blocks show that the cursor followed",
            passed.moment.0
        ),
        next: "close scopes in the opposite order of opening them: the one that was opened last is closed first",
    };
    misfit.finding(words, state, facts)
}

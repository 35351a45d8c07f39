//! A scope with ten blocks of 24 bytes: enter, allocate, leave. A unit is [`SCOPES`] scopes.
//!
//! Who has scopes uses them (closure, guard or checkpoint); who has none resets an arena of its own.
#![allow(unsafe_code)] // bump-scope's checkpoints.

use super::{Took, timed};
use crate::memory::{Life, Put};
use crate::peers::arenas::Scoped;
use crate::peers::c::{Apr, Obstack, Talloc};
use bump_scope::BumpBox;
use bump_scope::settings::{MinimumAlignment, SupportedMinimumAlignment};
use std::hint::black_box;

/// Scopes in a unit.
pub const SCOPES: u64 = 1000;

/// Blocks in a scope.
pub const BLOCKS: u64 = 10;

/// One block.
pub type Block = [u64; 3];

/// Calls `scope` as often as `units` ask, after a warm unit.
pub fn repeat(units: u64, mut scope: impl FnMut(u64)) -> Took {
    let mut unit = || (0..SCOPES).for_each(&mut scope);
    unit();
    let ns = timed(|| (0..units).for_each(|_| unit()));
    Took { ns, ..Took::default() }
}

/// Ten blocks by `put`; the last one's address leaves, so that none is left out.
#[inline(always)]
pub fn ten(seed: u64, mut put: impl FnMut(Block) -> *mut Block) {
    let mut last = std::ptr::null_mut();
    for _ in 0..BLOCKS {
        last = put([seed; 3]);
    }
    black_box(last);
}

/// An arena of its own, reset.
pub fn reset<A: Life + Put<Block>>(units: u64) -> Took {
    let mut arena = A::with_capacity(4096);
    repeat(units, |seed| {
        ten(seed, |block| arena.put(block));
        arena.reset();
    })
}

/// A new arena for each scope.
pub fn new<A: Life + Put<Block>>(units: u64) -> Took {
    repeat(units, |seed| {
        let arena = A::new();
        ten(seed, |block| arena.put(block));
    })
}

/// bump-scope's closure.
pub fn closure<const MIN: usize, const UP: bool>(units: u64) -> Took
where
    MinimumAlignment<MIN>: SupportedMinimumAlignment,
{
    let mut bump = Scoped::<MIN, UP>::new();
    repeat(units, |seed| bump.scoped(|scope| ten(seed, |block| BumpBox::into_raw(scope.alloc(block)).as_ptr())))
}

/// bump-scope's guard.
pub fn guard<const MIN: usize, const UP: bool>(units: u64) -> Took
where
    MinimumAlignment<MIN>: SupportedMinimumAlignment,
{
    let mut bump = Scoped::<MIN, UP>::new();
    repeat(units, |seed| {
        let mut guard = bump.scope_guard();
        let scope = guard.scope();
        ten(seed, |block| BumpBox::into_raw(scope.alloc(block)).as_ptr());
    })
}

/// bump-scope's checkpoint.
pub fn checkpoint<const MIN: usize, const UP: bool>(units: u64) -> Took
where
    MinimumAlignment<MIN>: SupportedMinimumAlignment,
{
    let bump = Scoped::<MIN, UP>::new();
    repeat(units, |seed| {
        let checkpoint = bump.checkpoint();
        ten(seed, |block| BumpBox::into_raw(bump.alloc(block)).as_ptr());
        // SAFETY: this arena's checkpoint, taken above; of what was allocated since only an address is left.
        unsafe { bump.reset_to(checkpoint) };
    })
}

/// An obstack's mark and release.
pub fn obstack(units: u64) -> Took {
    let mut obstack = Obstack::new();
    repeat(units, |seed| {
        let mark = obstack.mark();
        ten(seed, |block| obstack.put(block));
        obstack.release(mark);
    })
}

/// A child pool of APR.
pub fn apr_child(units: u64) -> Took {
    let pool = Apr::new();
    repeat(units, |seed| {
        let child = pool.child();
        ten(seed, |block| child.put(block));
    })
}

/// A child context of talloc.
pub fn talloc_child(units: u64) -> Took {
    let context = Talloc::new();
    repeat(units, |seed| {
        let child = context.child();
        ten(seed, |block| child.put(block));
    })
}

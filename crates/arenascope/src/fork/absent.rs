//! Arenas that a child does not have: policy `absent`.
//!
//! May be relied on: the handle itself is safe to have in a child; it finds no arena there, and ends without touching anything. Deliberately
//! absent: a way to make one safely; references into the arena that a child uses cannot be told from others.
#![allow(unsafe_code)] // Unsafe to make.

use crate::region::AfterFork;
use crate::{Arena, Builder, Error, OwnedArena, Scope, process};
use core::mem::ManuallyDrop;
use core::panic::Location;

/// An arena whose memory is not there in a child of a fork (`MADV_DONTFORK`): for memory that a child must not see, or that is too large to
/// copy page tables for.
///
/// ```
/// # fn main() -> Result<(), arenascope::Error> {
/// // SAFETY: no child uses what is allocated here.
/// let arena = unsafe { arenascope::Arena::builder().capacity(1 << 20).build_absent()? };
/// let value = arena.get().expect("this is no child").alloc(7);
/// assert_eq!(*value, 7);
/// // In a child `arena.get()` is None.
/// # Ok(())
/// # }
/// ```
pub struct AbsentArena {
    arena: ManuallyDrop<OwnedArena>,
    /// Of the process that made it.
    generation: u32,
}

impl Builder<'_> {
    /// Makes an arena that children do not have. It has a mapping of its own, of whole pages; watching all arenas of the process does not reach
    /// it, only [`Arena::observe`] does.
    ///
    /// # Errors
    /// As [`build`](Self::build), and [`Error::Os`] when the kernel does not know the advice.
    ///
    /// # Safety
    /// In a child of a fork nothing uses a reference to the arena, to a scope or a block of it, that was there before the fork: that memory is not
    /// there, and a later mapping may be.
    #[track_caller]
    pub unsafe fn build_absent(self) -> Result<AbsentArena, Error> {
        let arena = self.build_for_fork(AfterFork::Absent, Location::caller())?;
        Ok(AbsentArena { arena: ManuallyDrop::new(arena), generation: process::generation() })
    }
}

impl AbsentArena {
    fn is_here(&self) -> bool {
        process::generation() == self.generation
    }

    /// The arena; None in a child. O(1), no system call but for a child's first question.
    #[inline]
    pub fn get(&self) -> Option<&Arena> {
        self.is_here().then(|| &**self.arena)
    }

    /// Empties the arena; false in a child.
    #[track_caller]
    pub fn reset(&mut self) -> bool {
        let here = self.is_here();
        if here {
            self.arena.reset();
        }
        here
    }

    /// Runs `work` in a scope, as [`Owned::scope`](crate::Owned::scope); None in a child, and `work` is not run. A fork inside of `work` leaves the
    /// child inside of it: as the maker promised, it leaves by `_exit` or `exec`.
    #[track_caller]
    pub fn scope<'outer, R>(
        &'outer mut self,
        work: impl for<'scope> FnOnce(&mut Scope<'scope, 'outer>) -> R,
    ) -> Option<R> {
        self.is_here().then(|| self.arena.scope(work))
    }
}

impl Drop for AbsentArena {
    fn drop(&mut self) {
        if self.is_here() {
            // SAFETY: dropped here and nowhere else.
            unsafe { ManuallyDrop::drop(&mut self.arena) }
        }
    }
}

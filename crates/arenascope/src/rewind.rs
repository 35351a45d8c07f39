//! Going back: checkpoints, rewind, reset, and the primitive under scopes.
//!
//! May be relied on: a foreign checkpoint, one of an outer scope, or one whose place was rewound over is an error and changes
//! nothing. Deliberately absent: the borrow-checked scopes themselves (`scope`).
#![allow(unsafe_code)] // Lowers the cursor under blocks; commits and decommits.

use crate::header::{Nest, REWINDS, flags};
use crate::policy::KeptBytes;
use crate::probe::{EventKind, Happening};
use crate::{Arena, Owned, RewindError};
use core::cell::Cell;
use core::panic::Location;

/// A saved cursor: arena, place, generation and scope. Plain data; keeping one costs nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Checkpoint {
    arena: u64,
    /// An address.
    cursor: usize,
    generation: u64,
    nest: Nest,
}

/// What a scope must give back at its end.
#[derive(Debug)]
pub(crate) struct ScopeMark {
    cursor: *mut u8,
    /// Depth and number of the scope around it.
    outer: Nest,
}

impl ScopeMark {
    /// Open scopes, the marked one included.
    pub(crate) fn depth(&self) -> u32 {
        self.outer.depth().wrapping_add(1)
    }
}

impl Arena {
    /// Saves where the arena stands, to come back with [`Owned::rewind`]. O(1). The first one in a scope gives the scope its number.
    #[inline]
    #[track_caller]
    pub fn checkpoint(&self) -> Checkpoint {
        if !self.unwatched() {
            self.report_place(EventKind::CHECKPOINT, Location::caller());
        }
        Checkpoint {
            arena: self.id.get(),
            cursor: self.cursor.get().addr(),
            generation: self.generation.get(),
            nest: self.numbered_nest(),
        }
    }

    /// Depth and number of the innermost scope; it gets its number now if it has none. Scopes that nobody takes a checkpoint in need
    /// none: the borrow checker ends them in order. (After 2^32 numbers they come again; a checkpoint that old may then pass,
    /// which costs no safety: see `remember_rewind`.)
    #[inline]
    fn numbered_nest(&self) -> Nest {
        let nest = self.nest().get();
        if nest.depth() == 0 || nest.scope() != 0 {
            return nest;
        }
        let number = self.scopes.get().wrapping_add(1).max(1);
        self.scopes.set(number);
        self.scope.set(number);
        Nest::new(nest.depth(), number)
    }

    /// As [`Owned::rewind`], through a shared reference: for code that knows more than the borrow checker.
    ///
    /// # Errors
    /// As there.
    ///
    /// # Safety
    /// Nothing refers any more to blocks that were allocated after the checkpoint. A block that was grown or moved after it counts
    /// as allocated then: what it got lies above the checkpoint.
    #[inline]
    #[track_caller]
    pub unsafe fn rewind_unchecked(&self, to: &Checkpoint) -> Result<(), RewindError> {
        self.judge(to)?;
        self.remember_rewind(to.cursor);
        let before = self.cursor.get();
        self.lower(self.cursor.get().with_addr(to.cursor));
        self.generation.set(self.generation.get() + 1);
        if !self.unwatched() {
            self.report_place_from(EventKind::REWIND, before, Some(Location::caller()));
        }
        Ok(())
    }

    /// Whether the checkpoint may be gone back to. O(1).
    ///
    /// # Errors
    /// Why not.
    #[inline]
    pub fn judge(&self, checkpoint: &Checkpoint) -> Result<(), RewindError> {
        if checkpoint.arena != self.id.get() {
            return Err(RewindError::Foreign);
        }
        let nest = self.nest().get();
        if checkpoint.nest != nest {
            // Less deep is a scope around this one, or one that has ended.
            let outer = checkpoint.nest.depth() < nest.depth() && checkpoint.generation >= self.reset_generation.get();
            return Err(if outer { RewindError::OutOfOrder } else { RewindError::Stale });
        }
        // The newest rewind comes first: when that one is older than the checkpoint, all are.
        let newest = self.rewinds[0].get().0;
        if newest > checkpoint.generation && self.is_overtaken(checkpoint)
            || checkpoint.generation < self.reset_generation.get()
            || checkpoint.cursor > self.cursor.get().addr()
        {
            return Err(RewindError::Stale);
        }
        Ok(())
    }

    #[inline(never)]
    fn is_overtaken(&self, checkpoint: &Checkpoint) -> bool {
        self.rewinds.iter().any(|entry| {
            let (generation, place) = entry.get();
            generation > checkpoint.generation && place < checkpoint.cursor
        })
    }

    /// Remembers that everything above `place` went, so that checkpoints above it are known to be stale.
    ///
    /// A rewind further down makes those above it superfluous, so that a stack of checkpoints needs one entry: places fall from
    /// the newest entry on. When more than [`REWINDS`] places rise, the lowest is forgotten: a stale checkpoint may then pass,
    /// which costs no safety, for rewinding needs that nothing above it is referred to.
    #[inline]
    fn remember_rewind(&self, place: usize) {
        let generation = self.generation.get() + 1;
        // No entry is (0, 0), below every place. Mostly a rewind replaces the one before it.
        if self.rewinds[0].get().1 >= place && self.rewinds[1].get().1 < place {
            self.rewinds[0].set((generation, place));
        } else {
            self.remember_among(generation, place);
        }
    }

    #[inline(never)]
    fn remember_among(&self, generation: u64, place: usize) {
        let mut kept = [(0, 0); REWINDS];
        let lower = self.rewinds.iter().map(Cell::get).filter(|entry| entry.1 < place);
        for (slot, entry) in kept.iter_mut().zip(core::iter::once((generation, place)).chain(lower)) {
            *slot = entry;
        }
        for (slot, entry) in self.rewinds.iter().zip(kept) {
            slot.set(entry);
        }
    }

    #[inline]
    pub(crate) fn forget_rewinds(&self) {
        for slot in &self.rewinds {
            slot.set((0, 0));
        }
    }

    /// Moves the cursor down (or nowhere), keeping the highest place it has been at.
    #[inline(always)]
    pub(crate) fn lower(&self, to: *mut u8) {
        let from = self.cursor.get().addr();
        if from > self.high_water.get() {
            self.high_water.set(from);
        }
        self.cursor.set(to);
    }

    /// Begins a scope.
    #[inline(always)]
    #[track_caller]
    pub(crate) fn scope_enter(&self) -> ScopeMark {
        let mark = ScopeMark { cursor: self.cursor.get(), outer: self.nest().get() };
        self.nest().set(Nest::new(mark.outer.depth().wrapping_add(1), 0));
        if !self.unwatched() {
            self.report_place(EventKind::SCOPE_ENTER, Location::caller());
        }
        mark
    }

    /// Ends the scope that `mark` began: the cursor goes back to where it was, and forgotten inner scopes end too.
    ///
    /// # Safety
    /// `mark` comes from `scope_enter` of this arena, scopes begun after it have ended or are forgotten, the arena was not reset since, and
    /// nothing refers to blocks allocated since.
    #[inline(always)]
    pub(crate) unsafe fn scope_exit(&self, mark: &ScopeMark, caller: Option<&'static Location<'static>>) {
        let before = self.cursor.get();
        self.lower(mark.cursor);
        self.nest().set(mark.outer);
        if !self.unwatched() {
            self.report_place_from(EventKind::SCOPE_EXIT, before, caller);
        }
    }

    #[cold]
    #[inline(never)]
    fn report_place(&self, kind: EventKind, caller: &'static Location<'static>) {
        self.report_place_from(kind, self.cursor.get(), Some(caller));
    }

    #[cold]
    #[inline(never)]
    fn report_place_from(&self, kind: EventKind, before: *mut u8, caller: Option<&'static Location<'static>>) {
        self.heed_limit();
        let begins = matches!(kind, EventKind::SCOPE_ENTER | EventKind::CHECKPOINT);
        let after = if kind == EventKind::RESET { self.base.get() } else { self.cursor.get() }.addr();
        if self.is_no_sample(if begins { usize::MAX } else { after }) {
            return self.sample_back(before.addr().saturating_sub(after));
        }
        self.checked_before(kind);
        self.report_move(Happening { kind, block: self.cursor.get(), caller, ..Happening::default() }, before.addr());
        self.checked_after(kind);
    }

    /// Empties the arena. Memory stays, as `on_reset` says.
    ///
    /// # Safety
    /// Nothing refers to any block.
    #[track_caller]
    pub(crate) unsafe fn reset_unchecked(&self) {
        if !self.unwatched() {
            self.report_place(EventKind::RESET, Location::caller());
        }
        self.lower(self.base.get());
        let generation = self.generation.get() + 1;
        self.generation.set(generation);
        self.reset_generation.set(generation);
        self.forget_rewinds();
        self.nest().set(Nest::OUTSIDE);
        let keep = self.on_reset.get();
        if keep != KeptBytes::ALL {
            // SAFETY: the caller's condition.
            unsafe { self.give_back(keep.0) };
        }
    }

    /// Gives the pages behind the first `keep` payload bytes back to the source.
    ///
    /// # Safety
    /// The arena is empty, and nothing refers to any block.
    pub(crate) unsafe fn give_back(&self, keep: usize) {
        let committed = self.committed.get();
        if committed <= keep {
            return;
        }
        let base = self.base.get().addr();
        let start = self.region_start();
        let ahead = base - start.addr().get();
        // SAFETY: I2, I6 — the range lies in the region; nothing refers to it (the caller's condition).
        let given = unsafe { self.source.get().decommit(start, ahead + keep, ahead + committed) };
        if let Some((from, to)) = given {
            let (first, end) = (start.addr().get() + from, start.addr().get() + to);
            // Zero again, from `first` on: I5. Only if nothing dirty is left behind `end`.
            let dirty = self.clean_from.get().max(self.high_water.get());
            if self.flags.get() & flags::ZEROED != 0 && dirty <= end {
                self.clean_from.set(dirty.min(first));
                self.high_water.set(self.high_water.get().min(first));
            }
            self.committed.set(first - base);
            self.set_true_limit();
        }
    }
}

impl Owned<'_> {
    /// Goes back to a checkpoint: everything allocated since is gone. O(1).
    ///
    /// The exclusive borrow shows that nothing refers to any block, older ones included. Where that is too much, use
    /// a scope, or [`Arena::rewind_unchecked`].
    ///
    /// # Errors
    /// [`RewindError::Foreign`], [`RewindError::Stale`], [`RewindError::OutOfOrder`]; nothing has changed then. A checkpoint
    /// whose place was rewound over is known as stale through the next three rewinds to rising places, then it may pass.
    #[track_caller]
    pub fn rewind(&mut self, to: &Checkpoint) -> Result<(), RewindError> {
        // SAFETY: blocks borrow the arena, and `&mut self` says that no such borrow lives.
        unsafe { self.rewind_unchecked(to) }
    }

    /// Empties the arena. Its memory stays, unless [`OnReset`] says otherwise. O(1) when it stays.
    #[track_caller]
    pub fn reset(&mut self) {
        // SAFETY: as in `rewind`.
        unsafe { self.reset_unchecked() }
    }
}

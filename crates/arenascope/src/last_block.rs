//! Resizing and freeing: in place for the block that ends at the cursor, by moving for others.
//!
//! May be relied on: a block never loses contents; a failed resize leaves block and arena as they were. Growing the last block
//! moves nothing. Deliberately absent: collections, which call these through the allocator traits.
#![allow(unsafe_code)] // Moves bytes between blocks; lowers the cursor.

use crate::header::flags;
use crate::probe::{EventKind, Happening};
use crate::{Arena, Error, geometry, refill};
use core::alloc::Layout;
use core::panic::Location;
use core::ptr::NonNull;

impl Arena {
    /// Changes a block's size; contents stay up to the smaller size. In place, O(1), when the block is the last one; a smaller or
    /// equal size is always in place (if the alignment allows), O(1); else a new block and a copy, O(size).
    ///
    /// # Errors
    /// As [`try_alloc_layout`](Self::try_alloc_layout); block and arena are unchanged then.
    ///
    /// # Safety
    /// `block` is a living block of this arena that was handed out for layout `old`. After success only the new block may be
    /// used; if a scope was begun since the old one was handed out, then only until that scope ends.
    #[inline(always)]
    #[track_caller]
    pub unsafe fn try_resize(&self, block: NonNull<u8>, old: Layout, new: Layout) -> Result<NonNull<u8>, Error> {
        let start = block.addr().get();
        if geometry::is_last(start, old.size(), self.cursor.get().addr())
            && new.size() >= old.size()
            && start & (new.align() - 1) == 0
            && let Some(end) = geometry::fit_in_place(start, self.limit_now(), new.size())
        {
            let cursor = self.cursor.get();
            self.cursor.set(cursor.with_addr(end));
            // The caller's pointer may reach no further than the old block: the new one is of the region (I2).
            // SAFETY: an address in the region, not null.
            return Ok(unsafe { NonNull::new_unchecked(cursor.with_addr(start)) });
        }
        // SAFETY: the caller's condition is the same.
        unsafe { self.resize_slow(block, old, new, Location::caller()) }
    }

    /// Everything but growing in place under an unwatched limit.
    ///
    /// # Safety
    /// As `try_resize`.
    #[inline(never)]
    pub(crate) unsafe fn resize_slow(
        &self,
        block: NonNull<u8>,
        old: Layout,
        new: Layout,
        caller: &'static Location<'static>,
    ) -> Result<NonNull<u8>, Error> {
        let before = self.cursor.get().addr();
        let start = block.addr().get();
        let aligned = start & (new.align() - 1) == 0;
        let last = geometry::is_last(start, old.size(), before);
        let moves = !aligned || (!last && new.size() > old.size());
        if moves && let Some(fresh) = self.bump_any(new) {
            // SAFETY: the caller's condition is the same; just handed out for `new`.
            unsafe { copy(block, old, fresh, new) };
            // Below the limit: nobody watches, or no sample is met. Then only an old block that may be one is of interest.
            if start < self.sampled_top() {
                self.report_resize(before, (block, old), (fresh, new), caller);
            }
            return Ok(fresh);
        }
        let watched = !self.unwatched();
        if watched {
            self.heed_limit();
            if self.is_checked() {
                // SAFETY: the caller's condition is the same.
                return unsafe { self.resize_checked(block, old, new, caller) };
            }
        }
        let bytes = self.capacity.get();
        let moved = if aligned && last && self.has_room(start, new.size()) {
            // I2 — base + capacity does not overflow.
            let bound = self.base.get().addr() + self.capacity.get();
            let end = geometry::fit_in_place_exact(start, bound, new.size()).ok_or(Error::Full);
            let end = match end.and_then(|end| self.ensure_committed(end).map(|()| end)) {
                Ok(end) => end,
                Err(error) => return Err(self.refuse(new, error, caller)),
            };
            self.lower(self.cursor.get().with_addr(end));
            // SAFETY: as in `try_resize`: of the region, and not null.
            let block = unsafe { NonNull::new_unchecked(self.cursor.get().with_addr(start)) };
            if self.capacity.get() != bytes {
                refill::report(self);
            }
            block
        } else if aligned && new.size() <= old.size() {
            block
        } else {
            // SAFETY: the caller's condition is the same.
            unsafe { self.move_block(block, old, new, caller)? }
        };
        if watched {
            self.report_resize(before, (block, old), (moved, new), caller);
        }
        Ok(moved)
    }

    /// As `resize_slow`, by the place that the block would have, where nobody checked.
    ///
    /// # Safety
    /// As `try_resize`.
    #[cold]
    unsafe fn resize_checked(
        &self,
        block: NonNull<u8>,
        old: Layout,
        new: Layout,
        caller: &'static Location<'static>,
    ) -> Result<NonNull<u8>, Error> {
        let start = self.checked_place(block.addr().get());
        let aligned = start & (new.align() - 1) == 0;
        let last = geometry::is_last(start, old.size(), self.cursor.get().addr());
        // SAFETY: I2 — not null: an address in the region, or the block's own.
        let here = unsafe { NonNull::new_unchecked(self.cursor.get().with_addr(start)) };
        let place = if aligned && last {
            // I2 — base + capacity does not overflow.
            let bound = self.base.get().addr() + self.capacity.get();
            let end = geometry::fit_in_place_exact(start, bound, new.size()).ok_or(Error::Full);
            let end = match end.and_then(|end| self.ensure_committed(end).map(|()| end)) {
                Ok(end) => end,
                Err(error) => return Err(self.refuse(new, error, caller)),
            };
            self.lower(self.cursor.get().with_addr(end));
            here
        } else if aligned && new.size() <= old.size() {
            here
        } else {
            self.take(new).map_err(|error| self.refuse(new, error, caller))?
        };
        let moved = match self.checked_resize(place, block, old, new) {
            Some(moved) => moved,
            None if place == here => block,
            None => {
                // SAFETY: as in `move_block`: a block of the region that becomes another one of the region.
                unsafe {
                    core::ptr::copy_nonoverlapping(block.as_ptr(), place.as_ptr(), old.size().min(new.size()));
                }
                place
            }
        };
        self.report(Happening {
            kind: EventKind::RESIZE,
            block: moved.as_ptr(),
            size: new.size(),
            align: new.align(),
            old_block: block.as_ptr(),
            old_size: old.size(),
            caller: Some(caller),
        });
        Ok(moved)
    }

    /// Whether the last block is resized in place, or not at all. In a lease only if the lease has room, or can be made longer: elsewhere
    /// there may be more.
    fn has_room(&self, start: usize, size: usize) -> bool {
        if self.flags.get() & flags::LEASED == 0 {
            return true;
        }
        let fits = || {
            let bound = self.base.get().addr() + self.capacity.get();
            geometry::fit_in_place_exact(start, bound, size).is_some()
        };
        // No overflow: addresses stay below 2^56, sizes below 2^63.
        fits() || refill::lengthen(self, start.saturating_add(size)) && fits()
    }

    /// A new block with the old one's contents. Reports nothing but a refusal.
    ///
    /// # Safety
    /// As `try_resize`.
    unsafe fn move_block(
        &self,
        block: NonNull<u8>,
        old: Layout,
        new: Layout,
        caller: &'static Location<'static>,
    ) -> Result<NonNull<u8>, Error> {
        let fresh = match self.bump_any(new) {
            Some(fresh) => fresh,
            // Not `alloc_cold`: a resize is one event, its allocation not another one.
            None => self.take(new).map_err(|error| self.refuse(new, error, caller))?,
        };
        // SAFETY: the caller's condition is the same; just handed out for `new`.
        unsafe { copy(block, old, fresh, new) };
        Ok(fresh)
    }

    /// Tells of a resize, at a cursor of `before`.
    #[cold]
    #[inline(never)]
    fn report_resize(
        &self,
        before: usize,
        (old_block, old): (NonNull<u8>, Layout),
        (block, new): (NonNull<u8>, Layout),
        caller: &'static Location<'static>,
    ) {
        let what = Happening {
            kind: EventKind::RESIZE,
            block: block.as_ptr(),
            size: new.size(),
            align: new.align(),
            old_block: old_block.as_ptr(),
            old_size: old.size(),
            caller: Some(caller),
        };
        match self.sampler(before) {
            Some(sampler) => self.sample_resize(sampler, before, what),
            None => self.report(what),
        }
    }

    /// Gives a block back. Its memory is reused when it is the last block; otherwise nothing happens. O(1).
    ///
    /// # Safety
    /// `block` is a living block of this arena that was handed out for `layout`, and nothing refers to it.
    #[inline(always)]
    #[track_caller]
    pub unsafe fn free(&self, block: NonNull<u8>, layout: Layout) {
        if !self.unwatched() {
            self.free_watched(block, layout, Location::caller());
        } else if geometry::is_last(block.addr().get(), layout.size(), self.cursor.get().addr()) {
            self.lower(block.as_ptr().with_addr_of(self.cursor.get()));
        }
    }

    /// After the block at `block` was freed: the cursor goes back to `before`, where it stood when the block was asked for, if only padding lies
    /// between the two. Not when a handle got a new lease for the block: `before` lies in the old one then, further down, and what is between may be
    /// anybody's.
    #[inline]
    pub(crate) fn take_padding_back(&self, block: usize, before: *mut u8) {
        let block = self.checked_place(block);
        if self.cursor.get().addr() == block && before.addr() >= self.base.get().addr() {
            self.cursor.set(before);
        }
    }

    #[cold]
    #[inline(never)]
    fn free_watched(&self, block: NonNull<u8>, layout: Layout, caller: &'static Location<'static>) {
        self.heed_limit();
        let before = self.cursor.get().addr();
        let place = self.checked_free(block, layout.size());
        if geometry::is_last(place, layout.size(), before) {
            self.lower(self.cursor.get().with_addr(place));
        }
        if self.is_no_sample(block.addr().get()) {
            return self.sample_back(before - self.cursor.get().addr());
        }
        let what = Happening {
            kind: EventKind::FREE,
            block: block.as_ptr(),
            size: layout.size(),
            align: layout.align(),
            caller: Some(caller),
            ..Happening::default()
        };
        self.report_move(what, before);
    }
}

/// Copies a block's contents to where it moves.
///
/// # Safety
/// `block` has `old.size()` bytes, `fresh` has `new.size()`, which nobody used before (I3): the two do not overlap.
#[inline]
unsafe fn copy(block: NonNull<u8>, old: Layout, fresh: NonNull<u8>, new: Layout) {
    // The smaller of both sizes: copying the new size would read past the old block.
    let bytes = old.size().min(new.size());
    // SAFETY: the caller's condition.
    unsafe { core::ptr::copy_nonoverlapping(block.as_ptr(), fresh.as_ptr(), bytes) };
}

/// The cursor must keep the region's provenance, not the block's.
trait WithAddrOf {
    fn with_addr_of(self, region: *mut u8) -> *mut u8;
}

impl WithAddrOf for *mut u8 {
    #[inline(always)]
    fn with_addr_of(self, region: *mut u8) -> *mut u8 {
        region.with_addr(self.addr())
    }
}

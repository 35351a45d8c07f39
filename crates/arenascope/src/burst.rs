//! Bursts: a short loan of the arena's free memory that keeps cursor and limit in registers.
//!
//! May be relied on: a burst's blocks live as long as the arena's (or the scope's), also after the burst; a burst that is
//! forgotten costs memory, never safety.
//!
//! Deliberately absent: freeing, resizing, scopes; zeroed blocks (what of a lease is zero already is the arena's knowledge); blocks that
//! grow or are given back when their making fails (`alloc_iter`, `alloc_fmt`, `alloc_try_with`, boxes): they need the arena's cursor. All of
//! them can be had from the arena between two bursts.
//!
//! # How it works
//! Warm loops are bound by the cursor's way through memory: each allocation loads what the one before stored. A burst takes a
//! *lease*, 2 KiB at first, then 64 KiB, at most half of what lies below the limit: the arena's cursor moves to the lease's end, and
//! the burst hands the lease out from registers, then the next one. When it ends, the arena's cursor comes back to what was not used. What others allocate
//! meanwhile lies above the lease, and the lease's rest is then lost until a rewind: better not to mix the two.
//!
//! A watch switched on meanwhile takes effect when the lease is used up or the burst ends; in a burst of a watched arena every
//! allocation is reported, for there is no lease.
#![allow(unsafe_code)] // Writes values into the blocks it hands out.

use crate::alloc::Undropped;
use crate::{Arena, Error, geometry, short_copy};
use core::alloc::Layout;
use core::hint::cold_path;
use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::panic::Location;
use core::ptr::NonNull;

/// What a burst takes at once, in bytes: some thousand blocks, so that taking it costs nothing beside them, and what is lost when
/// others allocate meanwhile, or the burst is forgotten, stays small.
const LEASE_BYTES: usize = 64 << 10;

/// A burst's first lease, where there is room for two of them: a constant, so that a short burst costs half as much to begin.
const FIRST_LEASE_BYTES: usize = 2 << 10;

/// See [`Arena::burst`]. `'handle` is the borrow of arena or scope that the burst holds, `'blocks` how long its blocks live.
///
/// Keep it in a local variable, and hand it on by value or not at all: a burst whose address leaves the function is no faster than
/// the arena.
pub struct Burst<'handle, 'blocks> {
    arena: &'blocks Arena,
    /// The next block's place, a multiple of 8, in the arena's provenance.
    cursor: *mut u8,
    /// The lease's end: where the arena's cursor stands unless others have allocated.
    end: usize,
    handle: PhantomData<&'handle ()>,
}

impl Arena {
    /// Begins a burst: many allocations in a row, at the speed of the stores. O(1).
    ///
    /// ```
    /// let arena = arenascope::Arena::growing()?;
    /// let mut burst = arena.burst();
    /// let mut last = None;
    /// for i in 0..1000u64 {
    ///     last = Some(burst.alloc(i));
    /// }
    /// drop(burst);
    /// assert_eq!(last, Some(&mut 999)); // blocks outlive the burst
    /// assert_eq!(arena.offset(), 8000);
    /// # Ok::<(), arenascope::Error>(())
    /// ```
    #[inline(always)]
    pub fn burst(&self) -> Burst<'_, '_> {
        Burst::begin(self)
    }

    /// Takes a burst's first lease: where it begins, and its end.
    #[inline(always)]
    fn take_first_lease(&self) -> (*mut u8, usize) {
        let cursor = self.cursor.get();
        // I2 — no overflow: addresses end far below the largest number.
        if cursor.addr().wrapping_add(2 * FIRST_LEASE_BYTES) > self.limit_now() {
            cold_path();
            return self.take_lease();
        }
        let end = cursor.addr().wrapping_add(FIRST_LEASE_BYTES);
        // I2, I3, I4 — below the limit, a multiple of 8; nothing above the cursor belongs to anyone.
        self.cursor.set(cursor.with_addr(end));
        (cursor, end)
    }

    /// Takes a lease of any length: where it begins, and its end. Nothing when the limit lies below.
    #[inline(never)]
    fn take_lease(&self) -> (*mut u8, usize) {
        let cursor = self.cursor.get();
        let limit = geometry::down(self.limit_now() as u64, geometry::GRAIN as u64) as usize;
        // I2 — no overflow: addresses end far below the largest number.
        // At most half of what is left: a burst on a nearly full arena must not refuse everybody else.
        let half = geometry::down((limit.saturating_sub(cursor.addr()) / 2) as u64, geometry::GRAIN as u64) as usize;
        let end = cursor.addr().wrapping_add(if half > LEASE_BYTES { LEASE_BYTES } else { half });
        // I2, I3, I4 — not above `true_limit`, a multiple of 8; nothing above the cursor belongs to anyone.
        self.cursor.set(cursor.with_addr(end));
        (cursor, end)
    }

    /// Takes back what a lease has left, if nothing was allocated since it was taken (or all of that was freed again).
    ///
    /// Not by `lower`: the rest was never written, and stays known to be zero (I5).
    #[inline(always)]
    fn end_lease(&self, cursor: *mut u8, end: usize) {
        if self.cursor.get().addr() == end {
            self.cursor.set(cursor);
        }
    }

    /// A block that the lease has no room for, and a new lease behind it.
    #[cold]
    #[inline(never)]
    fn renew_lease(
        &self,
        cursor: *mut u8,
        end: usize,
        layout: Layout,
        caller: &'static Location<'static>,
    ) -> (Result<NonNull<u8>, Error>, *mut u8, usize) {
        self.end_lease(cursor, end);
        let block = match self.bump_any(layout) {
            Some(block) => Ok(block),
            None => self.alloc_cold(layout, caller),
        };
        let (cursor, end) = self.take_lease();
        (block, cursor, end)
    }
}

impl<'blocks> Burst<'_, 'blocks> {
    #[inline(always)]
    pub(crate) fn begin(arena: &'blocks Arena) -> Self {
        let (cursor, end) = arena.take_first_lease();
        Burst { arena, cursor, end, handle: PhantomData }
    }

    /// The one core of all calls: from the lease, else from the arena.
    ///
    /// What leaves for the cold path goes by value, so that the burst itself can stay in registers.
    #[inline(always)]
    #[track_caller]
    fn try_block(&mut self, layout: Layout, constant: bool) -> Result<NonNull<u8>, Error> {
        let cursor = self.cursor;
        let fit = if constant { geometry::fit } else { geometry::fit_any };
        match fit(cursor.addr(), self.end, layout.size(), layout.align()) {
            Some(span) => {
                self.cursor = cursor.with_addr(span.end);
                // SAFETY: I2 — `span.start` is not below the cursor, which is not null.
                Ok(unsafe { NonNull::new_unchecked(cursor.with_addr(span.start)) })
            }
            None => {
                let (block, cursor, end) = self.arena.renew_lease(cursor, self.end, layout, Location::caller());
                (self.cursor, self.end) = (cursor, end);
                block
            }
        }
    }

    /// As [`Arena::alloc_layout`].
    ///
    /// # Panics
    /// When the block cannot be had.
    #[inline(always)]
    #[track_caller]
    pub fn alloc_layout(&mut self, layout: Layout) -> NonNull<u8> {
        let block = self.try_block(layout, false);
        self.arena.granted(block)
    }

    /// As [`Arena::try_alloc_layout`].
    ///
    /// # Errors
    /// As there.
    #[inline(always)]
    #[track_caller]
    pub fn try_alloc_layout(&mut self, layout: Layout) -> Result<NonNull<u8>, Error> {
        self.try_block(layout, false)
    }

    /// As [`Arena::alloc`]. O(1).
    ///
    /// # Panics
    /// When the block cannot be had.
    #[inline(always)]
    #[track_caller]
    pub fn alloc<T>(&mut self, value: T) -> &'blocks mut T {
        let () = Undropped::<T>::OK;
        let block = self.try_alloc(value);
        self.arena.granted(block)
    }

    /// As [`Arena::try_alloc`].
    ///
    /// # Errors
    /// As there.
    #[inline(always)]
    #[track_caller]
    pub fn try_alloc<T>(&mut self, value: T) -> Result<&'blocks mut T, Error> {
        let () = Undropped::<T>::OK;
        let block = self.try_block(Layout::new::<T>(), true)?.cast::<T>();
        // SAFETY: I3 — the lease is ours alone, and this part of it was not handed out before; of T's size and alignment; it
        // lives as long as the arena's borrow for blocks.
        unsafe {
            block.write(value);
            Ok(&mut *block.as_ptr())
        }
    }

    /// As [`Arena::alloc_with`]. O(1) beside `make`.
    ///
    /// # Panics
    /// When the block cannot be had.
    #[inline(always)]
    #[track_caller]
    pub fn alloc_with<T>(&mut self, make: impl FnOnce() -> T) -> &'blocks mut T {
        let () = Undropped::<T>::OK;
        let block = self.try_alloc_with(make);
        self.arena.granted(block)
    }

    /// As [`Arena::try_alloc_with`].
    ///
    /// # Errors
    /// As there.
    #[inline(always)]
    #[track_caller]
    pub fn try_alloc_with<T>(&mut self, make: impl FnOnce() -> T) -> Result<&'blocks mut T, Error> {
        let () = Undropped::<T>::OK;
        let block = self.try_block(Layout::new::<T>(), true)?.cast::<T>();
        // SAFETY: as in `try_alloc`.
        unsafe {
            block.write(make());
            Ok(&mut *block.as_ptr())
        }
    }

    /// As [`Arena::alloc_uninit`]. O(1).
    ///
    /// # Panics
    /// When the block cannot be had.
    #[inline(always)]
    #[track_caller]
    pub fn alloc_uninit<T>(&mut self) -> &'blocks mut MaybeUninit<T> {
        let block = self.try_alloc_uninit();
        self.arena.granted(block)
    }

    /// As [`Arena::try_alloc_uninit`].
    ///
    /// # Errors
    /// As there.
    #[inline(always)]
    #[track_caller]
    pub fn try_alloc_uninit<T>(&mut self) -> Result<&'blocks mut MaybeUninit<T>, Error> {
        let block = self.try_block(Layout::new::<T>(), true)?.cast::<MaybeUninit<T>>();
        // SAFETY: as in `try_alloc`; uninitialised bytes are a valid MaybeUninit.
        Ok(unsafe { &mut *block.as_ptr() })
    }

    /// A block for so many items. The one fallible core of all slices.
    #[inline(always)]
    #[track_caller]
    fn try_items<T>(&mut self, count: usize) -> Result<NonNull<T>, Error> {
        let layout = Layout::array::<T>(count).map_err(|_| Error::TooLarge)?;
        self.try_block(layout, false).map(NonNull::cast)
    }

    /// As [`Arena::alloc_uninit_slice`]. O(1).
    ///
    /// # Panics
    /// When the block cannot be had.
    #[inline(always)]
    #[track_caller]
    pub fn alloc_uninit_slice<T>(&mut self, count: usize) -> &'blocks mut [MaybeUninit<T>] {
        let block = self.try_alloc_uninit_slice(count);
        self.arena.granted(block)
    }

    /// As [`Arena::try_alloc_uninit_slice`].
    ///
    /// # Errors
    /// As there.
    #[inline(always)]
    #[track_caller]
    pub fn try_alloc_uninit_slice<T>(&mut self, count: usize) -> Result<&'blocks mut [MaybeUninit<T>], Error> {
        let block = self.try_items::<MaybeUninit<T>>(count)?;
        // SAFETY: as in `try_alloc_uninit`, for so many items.
        Ok(unsafe { NonNull::slice_from_raw_parts(block, count).as_mut() })
    }

    /// As [`Arena::alloc_slice_fill_with`]. O(count) beside `make`.
    ///
    /// # Panics
    /// When the block cannot be had.
    #[inline(always)]
    #[track_caller]
    pub fn alloc_slice_fill_with<T>(&mut self, count: usize, make: impl FnMut(usize) -> T) -> &'blocks mut [T] {
        let () = Undropped::<T>::OK;
        let block = self.try_alloc_slice_fill_with(count, make);
        self.arena.granted(block)
    }

    /// As [`Arena::try_alloc_slice_fill_with`].
    ///
    /// # Errors
    /// As there.
    #[inline(always)]
    #[track_caller]
    pub fn try_alloc_slice_fill_with<T>(
        &mut self,
        count: usize,
        mut make: impl FnMut(usize) -> T,
    ) -> Result<&'blocks mut [T], Error> {
        let () = Undropped::<T>::OK;
        let block = self.try_items::<T>(count)?;
        for i in 0..count {
            // SAFETY: as in `try_alloc`; inside the block.
            unsafe { block.add(i).write(make(i)) };
        }
        // SAFETY: as in `try_alloc`; every item was written above.
        Ok(unsafe { NonNull::slice_from_raw_parts(block, count).as_mut() })
    }

    /// As [`Arena::alloc_slice_fill_copy`]. O(count).
    ///
    /// # Panics
    /// When the block cannot be had.
    #[inline(always)]
    #[track_caller]
    pub fn alloc_slice_fill_copy<T: Copy>(&mut self, count: usize, value: T) -> &'blocks mut [T] {
        let block = self.try_alloc_slice_fill_copy(count, value);
        self.arena.granted(block)
    }

    /// As [`Arena::try_alloc_slice_fill_copy`].
    ///
    /// # Errors
    /// As there.
    #[inline(always)]
    #[track_caller]
    pub fn try_alloc_slice_fill_copy<T: Copy>(&mut self, count: usize, value: T) -> Result<&'blocks mut [T], Error> {
        self.try_alloc_slice_fill_with(count, |_| value)
    }

    /// As [`Arena::alloc_slice_copy`]. O(bytes).
    ///
    /// # Panics
    /// When the block cannot be had.
    #[inline(always)]
    #[track_caller]
    pub fn alloc_slice_copy<T: Copy>(&mut self, items: &[T]) -> &'blocks mut [T] {
        let block = self.try_alloc_slice_copy(items);
        self.arena.granted(block)
    }

    /// As [`Arena::try_alloc_slice_copy`].
    ///
    /// # Errors
    /// As there.
    #[inline(always)]
    #[track_caller]
    pub fn try_alloc_slice_copy<T: Copy>(&mut self, items: &[T]) -> Result<&'blocks mut [T], Error> {
        let block = self.try_block(Layout::for_value(items), false)?.cast::<T>();
        // SAFETY: as in `try_alloc`, for as many items; apart from `items`, which is somebody's.
        unsafe {
            short_copy::copy(items.as_ptr().cast(), block.as_ptr().cast(), size_of_val(items));
            Ok(NonNull::slice_from_raw_parts(block, items.len()).as_mut())
        }
    }

    /// As [`Arena::alloc_str`]. O(bytes).
    ///
    /// # Panics
    /// When the block cannot be had.
    #[inline(always)]
    #[track_caller]
    pub fn alloc_str(&mut self, text: &str) -> &'blocks mut str {
        let block = self.try_alloc_str(text);
        self.arena.granted(block)
    }

    /// As [`Arena::try_alloc_str`].
    ///
    /// # Errors
    /// As there.
    #[inline(always)]
    #[track_caller]
    pub fn try_alloc_str(&mut self, text: &str) -> Result<&'blocks mut str, Error> {
        let bytes = self.try_alloc_slice_copy(text.as_bytes())?;
        // SAFETY: the bytes of a str.
        Ok(unsafe { core::str::from_utf8_unchecked_mut(bytes) })
    }
}

impl Drop for Burst<'_, '_> {
    #[inline(always)]
    fn drop(&mut self) {
        self.arena.end_lease(self.cursor, self.end);
    }
}

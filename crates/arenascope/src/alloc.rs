//! The allocation path: load cursor, add, compare with limit, store cursor; and the calls that place one value.
//!
//! May be relied on: no call here contains panic code or a function call on its common path; a test reads the assembly.
//! Whether the arena is watched makes no difference to it. Deliberately absent: everything that can wait until the
//! comparison fails (`cold`), slices and text (their own files).
#![allow(unsafe_code)] // Writes values into the blocks it hands out.

use crate::{Arena, Error, geometry};
use core::alloc::Layout;
use core::convert::Infallible;
use core::marker::PhantomData;
use core::mem::{MaybeUninit, needs_drop};
use core::panic::Location;
use core::ptr::NonNull;

impl Arena {
    /// `limit` as it is now: anyone may have stored 0 or 1.
    ///
    /// A volatile load, not an atomic one: that would not be folded into the comparison (6 instructions instead of 5).
    #[inline(always)]
    pub(crate) fn limit_now(&self) -> usize {
        // SAFETY: I1 — the header is readable; aligned 8-byte stores from outside do not tear.
        unsafe { self.limit.get().read_volatile() }
    }

    /// True when nobody watches: what free, resize, rewind, reset and scope exit ask before they go their short way.
    #[inline(always)]
    pub(crate) fn unwatched(&self) -> bool {
        self.limit_now() == self.true_limit.get()
    }

    /// A block of a layout that the compiler knows, or None when only the cold path can tell.
    #[inline(always)]
    pub(crate) fn bump(&self, layout: Layout) -> Option<NonNull<u8>> {
        let cursor = self.cursor.get();
        let span = geometry::fit(cursor.addr(), self.limit_now(), layout.size(), layout.align())?;
        self.cursor.set(cursor.with_addr(span.end));
        // SAFETY: I2 — the cursor is above `base` and not null, and `span.start` is not below it.
        Some(unsafe { NonNull::new_unchecked(cursor.with_addr(span.start)) })
    }

    /// As `bump`, for a size known only at run time.
    #[inline(always)]
    pub(crate) fn bump_any(&self, layout: Layout) -> Option<NonNull<u8>> {
        let cursor = self.cursor.get();
        let span = geometry::fit_any(cursor.addr(), self.limit_now(), layout.size(), layout.align())?;
        self.cursor.set(cursor.with_addr(span.end));
        // SAFETY: I2 — as in `bump`.
        Some(unsafe { NonNull::new_unchecked(cursor.with_addr(span.start)) })
    }

    /// A block for a layout that the compiler knows. The one fallible core of everything that places values.
    #[inline(always)]
    #[track_caller]
    pub(crate) fn try_block(&self, layout: Layout) -> Result<NonNull<u8>, Error> {
        match self.bump(layout) {
            Some(block) => Ok(block),
            None => self.alloc_cold(layout, Location::caller()),
        }
    }

    /// As `try_block`; panics in the cold path.
    #[inline(always)]
    #[track_caller]
    pub(crate) fn block(&self, layout: Layout) -> NonNull<u8> {
        match self.bump(layout) {
            Some(block) => block,
            None => self.alloc_cold_or_panic(layout, Location::caller()),
        }
    }

    /// Moves `value` into a block of its own, which `cold` finds when the common path has none.
    ///
    /// Written so that of blocks in a row the compiler loads the first one's cursor and stores the last one's: 6 instructions for a
    /// block of three words instead of 8, three stores instead of four, and no waiting for a store to be read again.
    /// - The value is written before the cursor moves. The other way round a store into memory which may be the header for all the
    ///   compiler knows would stand between this block's cursor and the next one's load of it.
    /// - On the cold path the cursor is stored once more, so that both paths overwrite what the block before stored.
    #[inline(always)]
    fn place<T, E>(&self, value: T, cold: impl FnOnce(Layout) -> Result<NonNull<u8>, E>) -> Result<NonNull<T>, E> {
        let layout = Layout::new::<T>();
        let cursor = self.cursor.get();
        match geometry::fit(cursor.addr(), self.limit_now(), layout.size(), layout.align()) {
            Some(span) => {
                // SAFETY: I2 — the cursor is above `base` and not null, and `span.start` is not below it.
                let block = unsafe { NonNull::new_unchecked(cursor.with_addr(span.start)) }.cast::<T>();
                // SAFETY: I3, I4 — from the cursor to below the limit: nobody's; of T's size and alignment.
                unsafe { block.write(value) };
                self.cursor.set(cursor.with_addr(span.end));
                Ok(block)
            }
            None => {
                self.cursor.set(cursor.with_addr(opaque(cursor.addr())));
                let block = cold(layout)?.cast::<T>();
                // SAFETY: I3 — the block is ours alone, of T's size and alignment.
                unsafe { block.write(value) };
                Ok(block)
            }
        }
    }

    /// Allocates an uninitialised block of `layout`, or says why not. O(1); at times a system call, to commit more memory.
    ///
    /// The block lives until the arena is reset, rewound to before it, or destroyed. Sizes up to `isize::MAX` and any
    /// alignment are accepted; a size of 0 gives a pointer that is aligned and not null, and takes at most padding.
    ///
    /// # Errors
    /// [`Error::Full`] past the capacity, [`Error::Os`] when the system has no more memory. The arena is unchanged then.
    #[inline(always)]
    #[track_caller]
    pub fn try_alloc_layout(&self, layout: Layout) -> Result<NonNull<u8>, Error> {
        match self.bump_any(layout) {
            Some(block) => Ok(block),
            None => self.alloc_cold(layout, Location::caller()),
        }
    }

    /// As [`try_alloc_layout`](Self::try_alloc_layout).
    ///
    /// # Panics
    /// When the block cannot be had.
    #[inline(always)]
    #[track_caller]
    pub fn alloc_layout(&self, layout: Layout) -> NonNull<u8> {
        match self.bump_any(layout) {
            Some(block) => block,
            None => self.alloc_cold_or_panic(layout, Location::caller()),
        }
    }

    /// Moves `value` into the arena. O(1).
    ///
    /// The arena never drops what it holds, so a type that needs dropping is refused at compile time.
    ///
    /// # Panics
    /// When the block cannot be had.
    ///
    /// ```
    /// let arena = arenascope::Arena::init(4096)?;
    /// let point = arena.alloc((1, 2));
    /// point.0 = 3;
    /// assert_eq!(*point, (3, 2));
    /// # Ok::<(), arenascope::Error>(())
    /// ```
    #[inline(always)]
    #[track_caller]
    #[allow(clippy::mut_from_ref)] // Each call returns a block of its own: I3.
    pub fn alloc<T>(&self, value: T) -> &mut T {
        let () = Undropped::<T>::OK;
        let caller = Location::caller();
        let placed = self.place(value, |layout| Ok::<_, Infallible>(self.alloc_cold_or_panic(layout, caller)));
        let Ok(block) = placed;
        // SAFETY: I3 — the block is ours alone, holds a T, and lives as long as `self` is borrowed.
        unsafe { &mut *block.as_ptr() }
    }

    /// As [`alloc`](Self::alloc); gives an error, and drops `value`, when the block cannot be had.
    ///
    /// # Errors
    /// As [`try_alloc_layout`](Self::try_alloc_layout).
    #[inline(always)]
    #[track_caller]
    #[allow(clippy::mut_from_ref)] // As in `alloc`.
    pub fn try_alloc<T>(&self, value: T) -> Result<&mut T, Error> {
        let () = Undropped::<T>::OK;
        let caller = Location::caller();
        let block = self.place(value, |layout| self.alloc_cold(layout, caller))?;
        // SAFETY: as in `alloc`.
        Ok(unsafe { &mut *block.as_ptr() })
    }

    /// Takes the block first and lets `make` fill it, so that a large value need not pass through the stack. O(1) beside
    /// `make`. A panic in `make` leaves the block behind, unused.
    ///
    /// # Panics
    /// When the block cannot be had.
    #[inline(always)]
    #[track_caller]
    #[allow(clippy::mut_from_ref)] // As in `alloc`.
    pub fn alloc_with<T>(&self, make: impl FnOnce() -> T) -> &mut T {
        let () = Undropped::<T>::OK;
        let block = self.block(Layout::new::<T>()).cast::<T>();
        // SAFETY: as in `alloc`; `make` may allocate from this arena too, above the block.
        unsafe {
            block.write(make());
            &mut *block.as_ptr()
        }
    }

    /// As [`alloc_with`](Self::alloc_with); `make` is not called when the block cannot be had.
    ///
    /// # Errors
    /// As [`try_alloc_layout`](Self::try_alloc_layout).
    #[inline(always)]
    #[track_caller]
    #[allow(clippy::mut_from_ref)] // As in `alloc`.
    pub fn try_alloc_with<T>(&self, make: impl FnOnce() -> T) -> Result<&mut T, Error> {
        let () = Undropped::<T>::OK;
        let block = self.try_block(Layout::new::<T>())?.cast::<T>();
        // SAFETY: as in `alloc_with`.
        unsafe {
            block.write(make());
            Ok(&mut *block.as_ptr())
        }
    }

    /// An uninitialised place for a `T`. O(1).
    ///
    /// # Panics
    /// When the block cannot be had.
    #[inline(always)]
    #[track_caller]
    #[allow(clippy::mut_from_ref)] // As in `alloc`.
    pub fn alloc_uninit<T>(&self) -> &mut MaybeUninit<T> {
        let block = self.block(Layout::new::<T>()).cast::<MaybeUninit<T>>();
        // SAFETY: as in `alloc`; uninitialised bytes are a valid MaybeUninit.
        unsafe { &mut *block.as_ptr() }
    }

    /// As [`alloc_uninit`](Self::alloc_uninit).
    ///
    /// # Errors
    /// As [`try_alloc_layout`](Self::try_alloc_layout).
    #[inline(always)]
    #[track_caller]
    #[allow(clippy::mut_from_ref)] // As in `alloc`.
    pub fn try_alloc_uninit<T>(&self) -> Result<&mut MaybeUninit<T>, Error> {
        let block = self.try_block(Layout::new::<T>())?.cast::<MaybeUninit<T>>();
        // SAFETY: as in `alloc_uninit`.
        Ok(unsafe { &mut *block.as_ptr() })
    }
}

/// The address itself, as a value that the compiler knows nothing of. No instruction.
///
/// A store of it cannot be left out as one of what the memory holds already. That is its use in `place`; where there is no `asm`,
/// only speed is lost.
#[inline(always)]
#[cfg_attr(any(miri, not(any(target_arch = "x86_64", target_arch = "aarch64"))), expect(unused_mut))]
fn opaque(mut address: usize) -> usize {
    #[cfg(all(any(target_arch = "x86_64", target_arch = "aarch64"), not(miri)))]
    // SAFETY: a comment in the assembly; the register keeps its value.
    unsafe {
        core::arch::asm!("/* {0} */", inout(reg) address, options(pure, nomem, nostack, preserves_flags));
    }
    address
}

/// Refuses, at compile time, types whose drop would be forgotten. A constant of a type, asked for in the public call itself: the
/// compiler's message then ends with the line that called it.
pub(crate) struct Undropped<T>(PhantomData<T>);

impl<T> Undropped<T> {
    pub(crate) const OK: () = assert!(
        !needs_drop::<T>(),
        "this type needs dropping, and an arena drops nothing: use alloc_box (an owning box), a scope with a drop \
         list, or wrap the value in ManuallyDrop to say that it shall never be dropped"
    );
}

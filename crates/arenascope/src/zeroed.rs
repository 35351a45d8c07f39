//! Zeroed memory, without writing what is known to be zero.
//!
//! May be relied on: memory fresh from the system is not written again, so that a large zeroed block costs what it touches, later.
//! Deliberately absent: a guess which types may be zero; [`Zeroable`] says it.
#![allow(unsafe_code)] // Writes zeroes; bytes of zero become values.
#![allow(clippy::mut_from_ref)] // Each call returns a block of its own: I3.

use crate::alloc::Undropped;
use crate::header::flags;
use crate::{Arena, Error};
use core::alloc::Layout;
use core::panic::Location;
use core::ptr::NonNull;

/// Types of which all bytes zero is a value.
///
/// # Safety
/// A place of this type with all bytes zero, padding included, holds a valid value, and dropping it is not needed.
pub unsafe trait Zeroable {}

macro_rules! zeroable {
    ($($type:ty),*) => {
        $(
            // SAFETY: zero is a value of every primitive number, of bool and char, of unit and of raw pointers.
            unsafe impl Zeroable for $type {}
        )*
    };
}

zeroable!(u8, u16, u32, u64, u128, usize, i8, i16, i32, i64, i128, isize, f32, f64, bool, char, ());

// SAFETY: null is a value of a raw pointer.
unsafe impl<T> Zeroable for *const T {}
// SAFETY: as above.
unsafe impl<T> Zeroable for *mut T {}
// SAFETY: None of a reference is null: guaranteed by Rust for references to sized types.
unsafe impl<T> Zeroable for Option<&T> {}
// SAFETY: as above.
unsafe impl<T> Zeroable for Option<&mut T> {}
// SAFETY: as above, for NonNull.
unsafe impl<T> Zeroable for Option<NonNull<T>> {}
// SAFETY: an array is its items.
unsafe impl<T: Zeroable, const N: usize> Zeroable for [T; N] {}
// SAFETY: a Cell has the layout of its contents.
unsafe impl<T: Zeroable> Zeroable for core::cell::Cell<T> {}
// SAFETY: any bytes are a MaybeUninit.
unsafe impl<T> Zeroable for core::mem::MaybeUninit<T> {}

impl Arena {
    /// A block of zeroes. O(bytes) at most; bytes that were never handed out are not written.
    ///
    /// # Errors
    /// As [`try_alloc_layout`](Self::try_alloc_layout).
    #[inline]
    #[track_caller]
    pub fn try_alloc_zeroed_layout(&self, layout: Layout) -> Result<NonNull<u8>, Error> {
        let block = match self.bump_any(layout) {
            Some(block) => block,
            None => self.alloc_cold(layout, Location::caller())?,
        };
        self.zero(block, layout.size());
        Ok(block)
    }

    /// As [`try_alloc_zeroed_layout`](Self::try_alloc_zeroed_layout).
    ///
    /// # Panics
    /// When the block cannot be had.
    #[inline]
    #[track_caller]
    pub fn alloc_zeroed_layout(&self, layout: Layout) -> NonNull<u8> {
        self.granted(self.try_alloc_zeroed_layout(layout))
    }

    /// Zeroes a block that was handed out a moment ago, as far as it is not known to be zero.
    #[inline]
    pub(crate) fn zero(&self, block: NonNull<u8>, bytes: usize) {
        // I5, from before the block was taken: what lies at or above both marks was zero then, and is the block's since.
        let known = if self.flags.get() & flags::ZEROED != 0 {
            self.clean_from.get().max(self.high_water.get())
        } else {
            usize::MAX
        };
        let written = known.saturating_sub(block.addr().get()).min(bytes);
        // SAFETY: I3 — inside the block, which is ours alone.
        unsafe { block.write_bytes(0, written) };
    }

    /// A zero of a type that has one. O(bytes) at most.
    ///
    /// # Panics
    /// When the block cannot be had.
    #[inline]
    #[track_caller]
    pub fn alloc_zeroed<T: Zeroable>(&self) -> &mut T {
        let () = Undropped::<T>::OK;
        self.granted(self.try_alloc_zeroed())
    }

    /// As [`alloc_zeroed`](Self::alloc_zeroed).
    ///
    /// # Errors
    /// As [`try_alloc_layout`](Self::try_alloc_layout).
    #[inline]
    #[track_caller]
    pub fn try_alloc_zeroed<T: Zeroable>(&self) -> Result<&mut T, Error> {
        let () = Undropped::<T>::OK;
        let block = self.try_alloc_zeroed_layout(Layout::new::<T>())?.cast::<T>();
        // SAFETY: I3 — the block is ours alone, of T's size and alignment; zero, a T by Zeroable.
        Ok(unsafe { &mut *block.as_ptr() })
    }

    /// So many zeroes. O(bytes) at most; bytes that were never handed out are not written.
    ///
    /// # Panics
    /// When the block cannot be had.
    ///
    /// ```
    /// let arena = arenascope::Arena::growing()?;
    /// let table = arena.alloc_zeroed_slice::<u32>(1 << 20);
    /// assert_eq!(table[77], 0);
    /// # Ok::<(), arenascope::Error>(())
    /// ```
    #[inline]
    #[track_caller]
    pub fn alloc_zeroed_slice<T: Zeroable>(&self, count: usize) -> &mut [T] {
        let () = Undropped::<T>::OK;
        self.granted(self.try_alloc_zeroed_slice(count))
    }

    /// As [`alloc_zeroed_slice`](Self::alloc_zeroed_slice).
    ///
    /// # Errors
    /// As [`try_alloc_layout`](Self::try_alloc_layout), and [`Error::TooLarge`] for more bytes than there can be.
    #[inline]
    #[track_caller]
    pub fn try_alloc_zeroed_slice<T: Zeroable>(&self, count: usize) -> Result<&mut [T], Error> {
        let () = Undropped::<T>::OK;
        let layout = Layout::array::<T>(count).map_err(|_| Error::TooLarge)?;
        let block = self.try_alloc_zeroed_layout(layout)?.cast::<T>();
        // SAFETY: as in `try_alloc_zeroed`, for so many items.
        Ok(unsafe { NonNull::slice_from_raw_parts(block, count).as_mut() })
    }
}

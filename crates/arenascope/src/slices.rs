//! Slices: copied, cloned, filled, from iterators of known and of unknown length, and uninitialised.
//!
//! May be relied on: copying slices of `Copy` types is a `memcpy` (or less, when short); items are written before a reference to
//! them exists. Deliberately absent: slices whose items need dropping (`boxed`), text (`text`).
//!
//! A panic in a closure, in `clone` or in an iterator leaves the arena sound: at worst the block stays behind, unused.
#![allow(unsafe_code)] // Writes items into the blocks it takes.
#![allow(clippy::mut_from_ref)] // Each call returns a block of its own: I3.

use crate::alloc::Undropped;
use crate::geometry::GRAIN;
use crate::growing::Growing;
use crate::{Arena, Error, short_copy};
use core::alloc::Layout;
use core::mem::MaybeUninit;
use core::panic::Location;
use core::ptr::NonNull;

impl Arena {
    /// A block for so many items. The one fallible core of all slices.
    #[inline(always)]
    #[track_caller]
    pub(crate) fn try_items<T>(&self, count: usize) -> Result<NonNull<T>, Error> {
        let Ok(layout) = Layout::array::<T>(count) else { return Err(Error::TooLarge) };
        // Whole grains need no rounding.
        let block = if size_of::<T>().is_multiple_of(GRAIN) { self.bump(layout) } else { self.bump_any(layout) };
        match block {
            Some(block) => Ok(block.cast()),
            None => self.alloc_cold(layout, Location::caller()).map(NonNull::cast),
        }
    }

    /// Copies a slice into the arena. O(bytes).
    ///
    /// # Panics
    /// When the block cannot be had.
    ///
    /// ```
    /// let arena = arenascope::Arena::growing()?;
    /// let numbers = arena.alloc_slice_copy(&[1, 2, 3]);
    /// numbers[0] = 7;
    /// assert_eq!(numbers, [7, 2, 3]);
    /// # Ok::<(), arenascope::Error>(())
    /// ```
    #[inline(always)]
    #[track_caller]
    pub fn alloc_slice_copy<T: Copy>(&self, items: &[T]) -> &mut [T] {
        self.granted(self.try_alloc_slice_copy(items))
    }

    /// As [`alloc_slice_copy`](Self::alloc_slice_copy).
    ///
    /// # Errors
    /// As [`try_alloc_layout`](Self::try_alloc_layout).
    #[inline(always)]
    #[track_caller]
    pub fn try_alloc_slice_copy<T: Copy>(&self, items: &[T]) -> Result<&mut [T], Error> {
        let block = self.try_items::<T>(items.len())?;
        // SAFETY: I3 — the block is ours alone, hence apart from `items`, and as large; written before the reference is made. It
        // lives as long as `self` is borrowed.
        unsafe {
            short_copy::copy(items.as_ptr().cast(), block.as_ptr().cast(), size_of_val(items));
            Ok(NonNull::slice_from_raw_parts(block, items.len()).as_mut())
        }
    }

    /// Clones the items of a slice into the arena, in order. O(items).
    ///
    /// # Panics
    /// When the block cannot be had.
    #[inline]
    #[track_caller]
    pub fn alloc_slice_clone<T: Clone>(&self, items: &[T]) -> &mut [T] {
        let () = Undropped::<T>::OK;
        self.granted(self.try_alloc_slice_clone(items))
    }

    /// As [`alloc_slice_clone`](Self::alloc_slice_clone); nothing is cloned when the block cannot be had.
    ///
    /// # Errors
    /// As [`try_alloc_layout`](Self::try_alloc_layout).
    #[inline]
    #[track_caller]
    pub fn try_alloc_slice_clone<T: Clone>(&self, items: &[T]) -> Result<&mut [T], Error> {
        let () = Undropped::<T>::OK;
        let block = self.try_items::<T>(items.len())?;
        for (i, item) in items.iter().enumerate() {
            // SAFETY: I3 — inside the block, which is ours alone.
            unsafe { block.add(i).write(item.clone()) };
        }
        // SAFETY: as in `try_alloc_slice_copy`; every item was written above.
        Ok(unsafe { NonNull::slice_from_raw_parts(block, items.len()).as_mut() })
    }

    /// A slice whose item `i` is `make(i)`, called in order. O(count) beside `make`, which may allocate here too.
    ///
    /// # Panics
    /// When the block cannot be had.
    ///
    /// ```
    /// let arena = arenascope::Arena::growing()?;
    /// assert_eq!(arena.alloc_slice_fill_with(4, |i| i * i), [0, 1, 4, 9]);
    /// # Ok::<(), arenascope::Error>(())
    /// ```
    #[inline]
    #[track_caller]
    pub fn alloc_slice_fill_with<T>(&self, count: usize, make: impl FnMut(usize) -> T) -> &mut [T] {
        let () = Undropped::<T>::OK;
        self.granted(self.try_alloc_slice_fill_with(count, make))
    }

    /// As [`alloc_slice_fill_with`](Self::alloc_slice_fill_with); `make` is not called when the block cannot be had.
    ///
    /// # Errors
    /// As [`try_alloc_layout`](Self::try_alloc_layout), and [`Error::TooLarge`] for more bytes than there can be.
    #[inline]
    #[track_caller]
    pub fn try_alloc_slice_fill_with<T>(
        &self,
        count: usize,
        mut make: impl FnMut(usize) -> T,
    ) -> Result<&mut [T], Error> {
        let () = Undropped::<T>::OK;
        let block = self.try_items::<T>(count)?;
        for i in 0..count {
            // SAFETY: I3 — inside the block, which is ours alone.
            unsafe { block.add(i).write(make(i)) };
        }
        // SAFETY: as in `try_alloc_slice_copy`; every item was written above.
        Ok(unsafe { NonNull::slice_from_raw_parts(block, count).as_mut() })
    }

    /// A slice of so many copies of `value`. O(count).
    ///
    /// # Panics
    /// When the block cannot be had.
    #[inline]
    #[track_caller]
    pub fn alloc_slice_fill_copy<T: Copy>(&self, count: usize, value: T) -> &mut [T] {
        self.granted(self.try_alloc_slice_fill_copy(count, value))
    }

    /// As [`alloc_slice_fill_copy`](Self::alloc_slice_fill_copy).
    ///
    /// # Errors
    /// As [`try_alloc_slice_fill_with`](Self::try_alloc_slice_fill_with).
    #[inline]
    #[track_caller]
    pub fn try_alloc_slice_fill_copy<T: Copy>(&self, count: usize, value: T) -> Result<&mut [T], Error> {
        self.try_alloc_slice_fill_with(count, |_| value)
    }

    /// A slice of so many clones of `value`. O(count).
    ///
    /// # Panics
    /// When the block cannot be had.
    #[inline]
    #[track_caller]
    pub fn alloc_slice_fill_clone<T: Clone>(&self, count: usize, value: &T) -> &mut [T] {
        let () = Undropped::<T>::OK;
        self.granted(self.try_alloc_slice_fill_clone(count, value))
    }

    /// As [`alloc_slice_fill_clone`](Self::alloc_slice_fill_clone).
    ///
    /// # Errors
    /// As [`try_alloc_slice_fill_with`](Self::try_alloc_slice_fill_with).
    #[inline]
    #[track_caller]
    pub fn try_alloc_slice_fill_clone<T: Clone>(&self, count: usize, value: &T) -> Result<&mut [T], Error> {
        let () = Undropped::<T>::OK;
        self.try_alloc_slice_fill_with(count, |_| value.clone())
    }

    /// A slice of so many default values. O(count).
    ///
    /// # Panics
    /// When the block cannot be had.
    #[inline]
    #[track_caller]
    pub fn alloc_slice_fill_default<T: Default>(&self, count: usize) -> &mut [T] {
        let () = Undropped::<T>::OK;
        self.granted(self.try_alloc_slice_fill_default(count))
    }

    /// As [`alloc_slice_fill_default`](Self::alloc_slice_fill_default).
    ///
    /// # Errors
    /// As [`try_alloc_slice_fill_with`](Self::try_alloc_slice_fill_with).
    #[inline]
    #[track_caller]
    pub fn try_alloc_slice_fill_default<T: Default>(&self, count: usize) -> Result<&mut [T], Error> {
        let () = Undropped::<T>::OK;
        self.try_alloc_slice_fill_with(count, |_| T::default())
    }

    /// The items of an iterator that knows its length, in one block taken beforehand; the iterator may allocate here too.
    /// O(items).
    ///
    /// The length is taken at its word for the block's size only: an iterator that ends early gives a shorter slice, and
    /// what comes past its length is not asked for.
    ///
    /// # Panics
    /// When the block cannot be had.
    #[inline]
    #[track_caller]
    pub fn alloc_slice_fill_iter<T, I>(&self, items: I) -> &mut [T]
    where
        I: IntoIterator<Item = T>,
        I::IntoIter: ExactSizeIterator,
    {
        let () = Undropped::<T>::OK;
        self.granted(self.try_alloc_slice_fill_iter(items))
    }

    /// As [`alloc_slice_fill_iter`](Self::alloc_slice_fill_iter); no item is asked for when the block cannot be had.
    ///
    /// # Errors
    /// As [`try_alloc_slice_fill_with`](Self::try_alloc_slice_fill_with).
    #[inline]
    #[track_caller]
    pub fn try_alloc_slice_fill_iter<T, I>(&self, items: I) -> Result<&mut [T], Error>
    where
        I: IntoIterator<Item = T>,
        I::IntoIter: ExactSizeIterator,
    {
        let () = Undropped::<T>::OK;
        let items = items.into_iter();
        let count = items.len();
        let block = self.try_items::<T>(count)?;
        let mut written = 0;
        for item in items.take(count) {
            // SAFETY: I3 — written < count: inside the block, which is ours alone.
            unsafe { block.add(written).write(item) };
            written += 1;
        }
        // SAFETY: as in `try_alloc_slice_copy`; so many items were written.
        Ok(unsafe { NonNull::slice_from_raw_parts(block, written).as_mut() })
    }

    /// The items of any iterator. The block grows in place while the iterator does not allocate here itself; then it moves.
    /// O(items).
    ///
    /// A panic in the iterator gives the memory back.
    ///
    /// # Panics
    /// When the memory cannot be had.
    ///
    /// ```
    /// let arena = arenascope::Arena::growing()?;
    /// let odd = arena.alloc_iter((0..10).filter(|n| n % 2 == 1));
    /// assert_eq!(odd, [1, 3, 5, 7, 9]);
    /// # Ok::<(), arenascope::Error>(())
    /// ```
    #[inline]
    #[track_caller]
    pub fn alloc_iter<T>(&self, items: impl IntoIterator<Item = T>) -> &mut [T] {
        let () = Undropped::<T>::OK;
        self.granted(self.try_alloc_iter(items))
    }

    /// As [`alloc_iter`](Self::alloc_iter). On an error the iterator is dropped where it stands, and the memory is given back.
    ///
    /// # Errors
    /// As [`try_alloc_slice_fill_with`](Self::try_alloc_slice_fill_with).
    #[inline]
    #[track_caller]
    pub fn try_alloc_iter<T>(&self, items: impl IntoIterator<Item = T>) -> Result<&mut [T], Error> {
        let () = Undropped::<T>::OK;
        let items = items.into_iter();
        let mut block = Growing::try_new(self, items.size_hint().0)?;
        for item in items {
            block.try_push(item)?;
        }
        // SAFETY: as in `try_alloc_slice_copy`; `finish` gives what was written.
        Ok(unsafe { block.finish().as_mut() })
    }

    /// Uninitialised room for so many items. O(1).
    ///
    /// # Panics
    /// When the block cannot be had.
    #[inline(always)]
    #[track_caller]
    pub fn alloc_uninit_slice<T>(&self, count: usize) -> &mut [MaybeUninit<T>] {
        self.granted(self.try_alloc_uninit_slice(count))
    }

    /// As [`alloc_uninit_slice`](Self::alloc_uninit_slice).
    ///
    /// # Errors
    /// As [`try_alloc_slice_fill_with`](Self::try_alloc_slice_fill_with).
    #[inline(always)]
    #[track_caller]
    pub fn try_alloc_uninit_slice<T>(&self, count: usize) -> Result<&mut [MaybeUninit<T>], Error> {
        let block = self.try_items::<MaybeUninit<T>>(count)?;
        // SAFETY: as in `try_alloc_slice_copy`; uninitialised bytes are valid MaybeUninits.
        Ok(unsafe { NonNull::slice_from_raw_parts(block, count).as_mut() })
    }
}

//! Owning boxes: values in an arena that are dropped when their owner is.
//!
//! May be relied on: a box is one pointer (two for slices), drops its value exactly once, and cannot outlive the arena's borrow.
//! The memory stays the arena's. Deliberately absent: unsizing to `dyn Trait` on stable Rust, which only the standard library's
//! `Box` can do; `Box<T, &Arena>` of an allocator crate has that.
#![allow(unsafe_code)] // Owns a value through a pointer.

use crate::growing::Growing;
use crate::{Arena, Error};
use core::alloc::Layout;
use core::borrow::{Borrow, BorrowMut};
use core::cmp::Ordering;
use core::fmt;
use core::hash::{Hash, Hasher};
use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;

/// A value in an arena, owned. Dropping the box drops the value; its memory comes back with the arena's reset or rewind.
///
/// `'arena` is the borrow of the arena (or the scope): the box cannot outlive it.
///
/// ```
/// let arena = arenascope::Arena::growing()?;
/// let words = arena.alloc_box(vec!["a", "b"]);
/// assert_eq!(words.len(), 2);
/// drop(words); // the vector's heap memory is freed here
/// # Ok::<(), arenascope::Error>(())
/// ```
pub struct ArenaBox<'arena, T: ?Sized> {
    /// A block of the arena's with a living T, ours alone.
    value: NonNull<T>,
    /// Covariant in both, as `&'arena T` is; owns a T.
    owns: PhantomData<(&'arena (), T)>,
}

// SAFETY: a box is its value; the arena is not touched through it.
unsafe impl<T: ?Sized + Send> Send for ArenaBox<'_, T> {}
// SAFETY: as above.
unsafe impl<T: ?Sized + Sync> Sync for ArenaBox<'_, T> {}

impl Arena {
    /// Moves `value` into the arena; the box drops it. O(1).
    ///
    /// # Panics
    /// When the block cannot be had.
    #[inline(always)]
    #[track_caller]
    pub fn alloc_box<T>(&self, value: T) -> ArenaBox<'_, T> {
        let block = self.block(Layout::new::<T>()).cast::<T>();
        // SAFETY: I3 — the block is ours alone, of T's size and alignment, and lives as long as `self` is borrowed.
        unsafe {
            block.write(value);
            ArenaBox::from_raw(block)
        }
    }

    /// As [`alloc_box`](Self::alloc_box); gives an error, and drops `value`, when the block cannot be had.
    ///
    /// # Errors
    /// As [`try_alloc_layout`](Self::try_alloc_layout).
    #[inline(always)]
    #[track_caller]
    pub fn try_alloc_box<T>(&self, value: T) -> Result<ArenaBox<'_, T>, Error> {
        let block = self.try_block(Layout::new::<T>())?.cast::<T>();
        // SAFETY: as in `alloc_box`.
        unsafe {
            block.write(value);
            Ok(ArenaBox::from_raw(block))
        }
    }

    /// The items of any iterator, owned as a slice. The block grows as in [`alloc_iter`](Self::alloc_iter). O(items).
    ///
    /// A panic in the iterator drops the items it gave, and gives the memory back.
    ///
    /// # Panics
    /// When the memory cannot be had.
    #[inline]
    #[track_caller]
    pub fn alloc_box_iter<T>(&self, items: impl IntoIterator<Item = T>) -> ArenaBox<'_, [T]> {
        self.granted(self.try_alloc_box_iter(items))
    }

    /// As [`alloc_box_iter`](Self::alloc_box_iter); on an error the items that were given so far are dropped.
    ///
    /// # Errors
    /// As [`try_alloc_layout`](Self::try_alloc_layout), and [`Error::TooLarge`] for more bytes than there can be.
    #[inline]
    #[track_caller]
    pub fn try_alloc_box_iter<T>(&self, items: impl IntoIterator<Item = T>) -> Result<ArenaBox<'_, [T]>, Error> {
        let items = items.into_iter();
        let mut block = Growing::try_new(self, items.size_hint().0)?;
        for item in items {
            block.try_push(item)?;
        }
        // SAFETY: `finish` gives up the items that were written, in a block that lives as long as `self` is borrowed.
        Ok(unsafe { ArenaBox::from_raw(block.finish()) })
    }
}

impl<'arena, T: ?Sized> ArenaBox<'arena, T> {
    /// Takes a value over.
    ///
    /// # Safety
    /// `value` is a living value that nobody else owns or refers to, and its memory may be used for `'arena`.
    #[inline(always)]
    pub unsafe fn from_raw(value: NonNull<T>) -> Self {
        ArenaBox { value, owns: PhantomData }
    }

    /// Gives the value up without dropping it. (A function, not a method: it must not hide one of `T`.)
    #[inline]
    #[must_use = "the value is never dropped unless something takes it over"]
    pub fn into_raw(this: Self) -> NonNull<T> {
        ManuallyDrop::new(this).value
    }

    /// The value for as long as the arena; it is never dropped.
    #[inline]
    pub fn leak(this: Self) -> &'arena mut T
    where
        T: 'arena,
    {
        // SAFETY: the box owned it alone, and its memory lives for 'arena.
        unsafe { &mut *ArenaBox::into_raw(this).as_ptr() }
    }
}

impl<T> ArenaBox<'_, T> {
    /// Moves the value out; nothing is left to drop.
    #[inline]
    pub fn into_inner(this: Self) -> T {
        // SAFETY: a living T, which is forgotten here: `into_raw` disarms the drop.
        unsafe { ArenaBox::into_raw(this).read() }
    }
}

impl<T: ?Sized> Drop for ArenaBox<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: a living T that the box owns alone; nobody can use it after this.
        unsafe { self.value.drop_in_place() }
    }
}

impl<T: ?Sized> Deref for ArenaBox<'_, T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: a living T that the box owns alone, borrowed with the box.
        unsafe { self.value.as_ref() }
    }
}

impl<T: ?Sized> DerefMut for ArenaBox<'_, T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`, exclusively.
        unsafe { self.value.as_mut() }
    }
}

impl<T: ?Sized> AsRef<T> for ArenaBox<'_, T> {
    fn as_ref(&self) -> &T {
        self
    }
}

impl<T: ?Sized> AsMut<T> for ArenaBox<'_, T> {
    fn as_mut(&mut self) -> &mut T {
        self
    }
}

impl<T: ?Sized> Borrow<T> for ArenaBox<'_, T> {
    fn borrow(&self) -> &T {
        self
    }
}

impl<T: ?Sized> BorrowMut<T> for ArenaBox<'_, T> {
    fn borrow_mut(&mut self) -> &mut T {
        self
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for ArenaBox<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for ArenaBox<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&**self, f)
    }
}

impl<T: ?Sized + PartialEq> PartialEq for ArenaBox<'_, T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: ?Sized + Eq> Eq for ArenaBox<'_, T> {}

impl<T: ?Sized + PartialOrd> PartialOrd for ArenaBox<'_, T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (**self).partial_cmp(&**other)
    }
}

impl<T: ?Sized + Ord> Ord for ArenaBox<'_, T> {
    fn cmp(&self, other: &Self) -> Ordering {
        (**self).cmp(&**other)
    }
}

impl<T: ?Sized + Hash> Hash for ArenaBox<'_, T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl<T: ?Sized + Iterator> Iterator for ArenaBox<'_, T> {
    type Item = T::Item;

    fn next(&mut self) -> Option<T::Item> {
        (**self).next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (**self).size_hint()
    }
}

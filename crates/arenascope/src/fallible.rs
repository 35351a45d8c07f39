//! Values whose making may fail: the memory comes back when it does.
//!
//! May be relied on: after a failure the arena is as before, unless the making has allocated here itself. Deliberately absent: values
//! that need dropping (`boxed`).
#![allow(unsafe_code)] // Writes values into the blocks it takes, or frees them.
#![allow(clippy::mut_from_ref)] // Each call returns a block of its own: I3.

use crate::alloc::Undropped;
use crate::growing::Growing;
use crate::{Arena, Error};
use core::alloc::Layout;
use core::fmt;
use core::ptr::NonNull;

/// Why a value whose making may fail is not there: there was no memory, or the making failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AllocOrInitError<E> {
    /// The block could not be had; nothing was made.
    Alloc(Error),
    /// What the making returned. The memory was given back.
    Init(E),
}

impl<E: fmt::Display> fmt::Display for AllocOrInitError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AllocOrInitError::Alloc(error) => fmt::Display::fmt(error, f),
            AllocOrInitError::Init(error) => write!(f, "the value could not be made: {error}"),
        }
    }
}

impl<E: core::error::Error + 'static> core::error::Error for AllocOrInitError<E> {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            AllocOrInitError::Alloc(error) => Some(error),
            AllocOrInitError::Init(error) => Some(error),
        }
    }
}

impl Arena {
    /// As [`alloc_with`](Self::alloc_with) for a value whose making may fail. O(1) beside `make`.
    ///
    /// # Errors
    /// What `make` returned. The memory is given back then, unless `make` has allocated here itself.
    ///
    /// # Panics
    /// When the block cannot be had.
    ///
    /// ```
    /// let arena = arenascope::Arena::growing()?;
    /// assert_eq!(arena.alloc_try_with(|| "7".parse::<u64>()), Ok(&mut 7));
    /// let offset = arena.offset();
    /// assert!(arena.alloc_try_with(|| "x".parse::<u64>()).is_err());
    /// assert_eq!(arena.offset(), offset);
    /// # Ok::<(), arenascope::Error>(())
    /// ```
    #[inline]
    #[track_caller]
    pub fn alloc_try_with<T, E>(&self, make: impl FnOnce() -> Result<T, E>) -> Result<&mut T, E> {
        let () = Undropped::<T>::OK;
        let before = self.cursor.get();
        let block = self.block(Layout::new::<T>()).cast::<T>();
        // SAFETY: the block was handed out a line ago, and the cursor stood at `before`.
        unsafe { self.fill_or_free(block, before, make) }
    }

    /// As [`alloc_try_with`](Self::alloc_try_with); `make` is not called when the block cannot be had.
    ///
    /// # Errors
    /// [`AllocOrInitError::Alloc`] as [`try_alloc_layout`](Self::try_alloc_layout), [`AllocOrInitError::Init`] with what `make` returned.
    #[inline]
    #[track_caller]
    pub fn try_alloc_try_with<T, E>(&self, make: impl FnOnce() -> Result<T, E>) -> Result<&mut T, AllocOrInitError<E>> {
        let () = Undropped::<T>::OK;
        let before = self.cursor.get();
        let block = self.try_block(Layout::new::<T>()).map_err(AllocOrInitError::Alloc)?.cast::<T>();
        // SAFETY: as in `alloc_try_with`.
        unsafe { self.fill_or_free(block, before, make) }.map_err(AllocOrInitError::Init)
    }

    /// Fills a block, or gives it back.
    ///
    /// # Safety
    /// The block is a new one for a `T` that nobody has seen; the cursor stood at `before` when it was asked for.
    #[inline]
    #[track_caller]
    unsafe fn fill_or_free<T, E>(
        &self,
        block: NonNull<T>,
        before: *mut u8,
        make: impl FnOnce() -> Result<T, E>,
    ) -> Result<&mut T, E> {
        match make() {
            Ok(value) => {
                // SAFETY: I3 — the block is ours alone, of T's size and alignment; `make` may have allocated above it.
                unsafe {
                    block.write(value);
                    Ok(&mut *block.as_ptr())
                }
            }
            Err(error) => {
                // SAFETY: handed out for this layout, and never shown to anyone (the caller's condition).
                unsafe { self.free(block.cast(), Layout::new::<T>()) };
                self.take_padding_back(block.addr().get(), before);
                Err(error)
            }
        }
    }

    /// A slice whose item `i` is what `make(i)` gives, called in order up to the first failure. O(count) beside `make`, which may
    /// allocate here too.
    ///
    /// # Errors
    /// What `make` returned. The memory is given back then, and after a panic in `make`, unless `make` has allocated here itself.
    ///
    /// # Panics
    /// When the block cannot be had.
    ///
    /// ```
    /// let arena = arenascope::Arena::growing()?;
    /// let read = |text: &[&str]| arena.alloc_slice_try_fill_with(text.len(), |i| text[i].parse::<u8>()).map(|n| n.to_vec());
    /// assert_eq!(read(&["1", "2"]), Ok(vec![1, 2]));
    /// let offset = arena.offset();
    /// assert!(read(&["1", "256"]).is_err());
    /// assert_eq!(arena.offset(), offset);
    /// # Ok::<(), arenascope::Error>(())
    /// ```
    #[inline]
    #[track_caller]
    pub fn alloc_slice_try_fill_with<T, E>(
        &self,
        count: usize,
        make: impl FnMut(usize) -> Result<T, E>,
    ) -> Result<&mut [T], E> {
        let () = Undropped::<T>::OK;
        self.made(self.try_alloc_slice_try_fill_with(count, make))
    }

    /// As [`alloc_slice_try_fill_with`](Self::alloc_slice_try_fill_with); `make` is not called when the block cannot be had.
    ///
    /// # Errors
    /// [`AllocOrInitError::Alloc`] as [`try_alloc_slice_fill_with`](Self::try_alloc_slice_fill_with), [`AllocOrInitError::Init`] with
    /// what `make` returned.
    #[inline]
    #[track_caller]
    pub fn try_alloc_slice_try_fill_with<T, E>(
        &self,
        count: usize,
        make: impl FnMut(usize) -> Result<T, E>,
    ) -> Result<&mut [T], AllocOrInitError<E>> {
        let () = Undropped::<T>::OK;
        self.try_alloc_slice_try_fill_iter((0..count).map(make))
    }

    /// The values of an iterator that knows its length, up to the first failure, in one block taken beforehand; the iterator may
    /// allocate here too. O(items).
    ///
    /// As in [`alloc_slice_fill_iter`](Self::alloc_slice_fill_iter), an iterator that ends early gives a shorter slice, and what comes
    /// past its length is not asked for.
    ///
    /// # Errors
    /// The iterator's first failure. The memory is given back then, and after a panic in the iterator, unless the iterator has
    /// allocated here itself.
    ///
    /// # Panics
    /// When the block cannot be had.
    #[inline]
    #[track_caller]
    pub fn alloc_slice_try_fill_iter<T, E, I>(&self, items: I) -> Result<&mut [T], E>
    where
        I: IntoIterator<Item = Result<T, E>>,
        I::IntoIter: ExactSizeIterator,
    {
        let () = Undropped::<T>::OK;
        self.made(self.try_alloc_slice_try_fill_iter(items))
    }

    /// As [`alloc_slice_try_fill_iter`](Self::alloc_slice_try_fill_iter); no item is asked for when the block cannot be had.
    ///
    /// # Errors
    /// As [`try_alloc_slice_try_fill_with`](Self::try_alloc_slice_try_fill_with).
    #[inline]
    #[track_caller]
    pub fn try_alloc_slice_try_fill_iter<T, E, I>(&self, items: I) -> Result<&mut [T], AllocOrInitError<E>>
    where
        I: IntoIterator<Item = Result<T, E>>,
        I::IntoIter: ExactSizeIterator,
    {
        let () = Undropped::<T>::OK;
        let items = items.into_iter();
        let count = items.len();
        // Dropped before it is finished, by a failure or a panic, the block gives its memory back.
        let mut block = Growing::try_exact(self, count).map_err(AllocOrInitError::Alloc)?;
        for item in items.take(count) {
            let item = item.map_err(AllocOrInitError::Init)?;
            // Never refused: the room is there.
            block.try_push(item).map_err(AllocOrInitError::Alloc)?;
        }
        // SAFETY: I3 — a block of its own, borrowed from `self`, of the items that were written.
        Ok(unsafe { block.finish().as_mut() })
    }

    /// What was made, or why it could not be; the panic when there was no memory.
    #[inline(always)]
    #[track_caller]
    fn made<T, E>(&self, result: Result<T, AllocOrInitError<E>>) -> Result<T, E> {
        match result {
            Ok(value) => Ok(value),
            Err(AllocOrInitError::Init(error)) => Err(error),
            Err(AllocOrInitError::Alloc(error)) => self.granted(Err(error)),
        }
    }
}

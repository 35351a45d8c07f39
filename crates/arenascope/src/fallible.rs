//! Values whose making may fail: the memory comes back when it does.
#![allow(unsafe_code)] // Writes values into the blocks it takes, or frees them.
#![allow(clippy::mut_from_ref)] // Each call returns a block of its own: I3.

use crate::Arena;
use crate::alloc::Undropped;
use core::alloc::Layout;

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
        match make() {
            Ok(value) => {
                // SAFETY: I3 — the block is ours alone, of T's size and alignment; `make` may have allocated above it.
                unsafe {
                    block.write(value);
                    Ok(&mut *block.as_ptr())
                }
            }
            Err(error) => {
                // SAFETY: handed out above for this layout, and never shown to anyone.
                unsafe { self.free(block.cast(), Layout::new::<T>()) };
                if self.cursor.get().addr() == block.addr().get() {
                    // Only padding lies between the two.
                    self.cursor.set(before);
                }
                Err(error)
            }
        }
    }
}

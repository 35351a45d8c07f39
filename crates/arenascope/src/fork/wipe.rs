//! Memory that is zero in a child: policy `wipe`.
//!
//! May be relied on: a child reads nothing of what the parent had there: keys, caches, states of random numbers. The handle notices in which
//! process it is. Deliberately absent: references into wiped memory by safe code: they would change their values behind Rust's back.
#![allow(unsafe_code)] // Revives headers that the kernel wiped; reads and writes values by pointer.

use crate::region::AfterFork;
use crate::{Arena, Builder, Error, OwnedArena, Scope, Zeroable, process, system};
use core::cell::Cell;
use core::fmt;
use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::panic::Location;
use core::ptr::NonNull;

/// An arena that is empty and new in a child of a fork (`MADV_WIPEONFORK`).
///
/// ```
/// // SAFETY: the child uses nothing that was allocated before the fork.
/// let arena = unsafe { arenascope::Arena::builder().capacity(4096).build_wiped()? };
/// arena.get().alloc_str("a secret");
/// // SAFETY: the child looks at its arena and ends.
/// let child = unsafe { libc::fork() };
/// if child == 0 {
///     let fresh = arena.get().offset() == 0 && arena.generation() == 1;
///     // SAFETY: ends the child; no destructor of the parent's runs.
///     unsafe { libc::_exit(i32::from(!fresh)) }
/// }
/// let mut status = 1;
/// // SAFETY: waits for the child made above, and writes a number that is ours.
/// unsafe { libc::waitpid(child, &mut status, 0) };
/// assert_eq!(status, 0);
/// # Ok::<(), arenascope::Error>(())
/// ```
pub struct WipeArena {
    arena: OwnedArena,
    /// The header as it was when the arena was made, in memory that is not wiped.
    made: MaybeUninit<Arena>,
    /// Of the process whose arena it is.
    process: Cell<u32>,
    generation: Cell<u64>,
}

impl Builder<'_> {
    /// Makes an arena that is wiped in children. It has a mapping of its own, of whole pages; watching all arenas of the process does not reach
    /// it, only an observer of its own does.
    ///
    /// # Errors
    /// As [`build`](Self::build), and [`Error::Os`] when the kernel does not know the advice (before Linux 4.14), or the source's memory cannot
    /// be wiped.
    ///
    /// # Safety
    /// In a child of a fork nothing uses a reference to the arena, to a scope or a block of it, that was there before the fork: its memory is zero,
    /// which need not be a value, and belongs to the next blocks.
    #[track_caller]
    pub unsafe fn build_wiped(self) -> Result<WipeArena, Error> {
        let arena = self.build_for_fork(AfterFork::Wipe, Location::caller())?;
        let mut made = MaybeUninit::uninit();
        // SAFETY: I1 — a header, copied as bytes; it is used at its old place only.
        unsafe { core::ptr::copy_nonoverlapping(&raw const *arena, made.as_mut_ptr(), 1) };
        Ok(WipeArena { arena, made, process: Cell::new(process::generation()), generation: Cell::new(0) })
    }
}

impl WipeArena {
    /// The arena: as it was left, or, when this is asked for the first time in a child, empty and new. O(1).
    #[inline]
    pub fn get(&self) -> &Arena {
        self.notice();
        &self.arena
    }

    /// Empties the arena, as [`Owned::reset`](crate::Owned::reset).
    #[track_caller]
    pub fn reset(&mut self) {
        self.notice();
        self.arena.reset();
    }

    /// Runs `work` in a scope, as [`Owned::scope`](crate::Owned::scope). A fork inside of `work` leaves the child inside of it: as the maker promised, it
    /// leaves by `_exit` or `exec`.
    #[track_caller]
    pub fn scope<'outer, R>(&'outer mut self, work: impl for<'scope> FnOnce(&mut Scope<'scope, 'outer>) -> R) -> R {
        self.notice();
        self.arena.scope(work)
    }

    /// Forks that this handle has gone through as the child.
    pub fn generation(&self) -> u64 {
        self.notice();
        self.generation.get()
    }

    #[inline]
    fn notice(&self) {
        if process::generation() != self.process.get() {
            self.revive();
        }
    }

    #[cold]
    #[inline(never)]
    fn revive(&self) {
        self.process.set(process::generation());
        self.generation.set(self.generation.get() + 1);
        // SAFETY: the header's place is mapped and zero, and nobody refers to what was in the region: the maker promised that. What is
        // written is a header for just this place.
        unsafe { core::ptr::copy_nonoverlapping(self.made.as_ptr(), (&raw const *self.arena).cast_mut(), 1) };
        self.arena.begin_anew();
    }
}

impl Drop for WipeArena {
    fn drop(&mut self) {
        // What ends must be an arena.
        self.notice();
    }
}

impl fmt::Debug for WipeArena {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WipeArena").field("arena", self.get()).field("generation", &self.generation.get()).finish()
    }
}

/// So many values in memory of their own that is zero in a child: safe, because they are copied in and out and never referred to.
///
/// ```
/// let keys = arenascope::fork::WipeValues::<u64>::new(4)?;
/// keys.set(2, 0x5eed);
/// assert_eq!((keys.get(2), keys.get(9)), (Some(0x5eed), None));
/// // SAFETY: the child compares a number and ends.
/// let child = unsafe { libc::fork() };
/// if child == 0 {
///     // SAFETY: ends the child; no destructor of the parent's runs.
///     unsafe { libc::_exit((keys.get(2) != Some(0)) as i32) }
/// }
/// let mut status = 1;
/// // SAFETY: waits for the child made above, and writes a number that is ours.
/// unsafe { libc::waitpid(child, &mut status, 0) };
/// assert_eq!(status, 0, "the child saw zero");
/// assert_eq!(keys.get(2), Some(0x5eed));
/// # Ok::<(), arenascope::Error>(())
/// ```
pub struct WipeValues<T> {
    first: NonNull<T>,
    count: usize,
    mapping_bytes: usize,
    of: PhantomData<Cell<T>>,
}

// SAFETY: the memory is the handle's alone, and values go with it as they would in a vector.
unsafe impl<T: Send> Send for WipeValues<T> {}

impl<T: Zeroable + Copy> WipeValues<T> {
    /// So many zeroes. One mapping of whole pages.
    ///
    /// # Errors
    /// [`Error::Os`] when the system has no memory, or does not know the advice; [`Error::TooLarge`].
    pub fn new(count: usize) -> Result<WipeValues<T>, Error> {
        const { assert!(align_of::<T>() <= 4096, "a page is the largest alignment there is") };
        let bytes =
            count.checked_mul(size_of::<T>()).filter(|bytes| *bytes <= crate::MAX_CAPACITY).ok_or(Error::TooLarge)?;
        let (first, mapping_bytes) = system::pages_wiped_on_fork(bytes.max(1))?;
        Ok(WipeValues { first: first.cast(), count, mapping_bytes, of: PhantomData })
    }

    /// A copy of value number `index`: what was set last in this process, or zero.
    #[inline]
    pub fn get(&self, index: usize) -> Option<T> {
        // SAFETY: inside the mapping; zero is a T. Volatile: the kernel wipes behind the compiler's back.
        (index < self.count).then(|| unsafe { self.first.as_ptr().add(index).read_volatile() })
    }

    /// Sets a value; false past the end.
    #[inline]
    pub fn set(&self, index: usize, value: T) -> bool {
        if index < self.count {
            // SAFETY: as in `get`; not `Sync`, so nobody else is here.
            unsafe { self.first.as_ptr().add(index).write_volatile(value) };
        }
        index < self.count
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// True for none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl<T> Drop for WipeValues<T> {
    fn drop(&mut self) {
        // SAFETY: a whole mapping of ours, which is there in children too.
        unsafe { system::unmap(self.first.cast(), self.mapping_bytes) }
    }
}

impl<T> fmt::Debug for WipeValues<T> {
    /// Not the values: they may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WipeValues").field("count", &self.count).finish_non_exhaustive()
    }
}

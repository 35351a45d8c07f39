//! Allocating from a shared arena without a handle: each call finds the berth that its thread holds.
//!
//! May be relied on: a thread's berths go back when it ends, in whatever order threads and arenas end. Without the features `std` and `pthread` there
//! is no memory of which berth is whose: each call holds one for its own duration, at two atomic operations. Deliberately absent: calls that run the
//! caller's code meanwhile (closures, iterators, `Display`): they are the handle's.
#![allow(unsafe_code)] // Uses berths by pointer.
#![allow(clippy::mut_from_ref)] // Each call returns a block of its own: I3.

use crate::alloc::Undropped;
use crate::header::flags;
use crate::shared_header::Berth;
use crate::{Arena, Error, SharedArena};
use core::alloc::Layout;
use core::ptr::NonNull;

impl SharedArena {
    /// As [`Arena::alloc`], from any thread. O(1) beside the look-up of the thread's berth.
    ///
    /// # Panics
    /// When the block cannot be had.
    #[inline]
    #[track_caller]
    pub fn alloc<T>(&self, value: T) -> &mut T {
        let () = Undropped::<T>::OK;
        self.granted(self.try_alloc(value))
    }

    /// As [`alloc`](Self::alloc); gives an error, and drops `value`, when the block cannot be had.
    ///
    /// # Errors
    /// As [`try_alloc_layout`](Self::try_alloc_layout).
    #[inline]
    #[track_caller]
    pub fn try_alloc<T>(&self, value: T) -> Result<&mut T, Error> {
        let () = Undropped::<T>::OK;
        let block = self.try_alloc_layout(Layout::new::<T>())?.cast::<T>();
        // SAFETY: the block is ours alone, of T's size and alignment, and lives as long as `self` is borrowed.
        unsafe {
            block.write(value);
            Ok(&mut *block.as_ptr())
        }
    }

    /// As [`Arena::alloc_slice_copy`], from any thread. O(bytes).
    ///
    /// # Panics
    /// When the block cannot be had.
    #[inline]
    #[track_caller]
    pub fn alloc_slice_copy<T: Copy>(&self, items: &[T]) -> &mut [T] {
        self.granted(self.try_alloc_slice_copy(items))
    }

    /// As [`alloc_slice_copy`](Self::alloc_slice_copy).
    ///
    /// # Errors
    /// As [`try_alloc_layout`](Self::try_alloc_layout).
    #[inline]
    #[track_caller]
    pub fn try_alloc_slice_copy<T: Copy>(&self, items: &[T]) -> Result<&mut [T], Error> {
        let block = self.try_alloc_layout(Layout::for_value(items))?.cast::<T>();
        // SAFETY: the block is ours alone, hence apart from `items`, and as large; it lives as long as `self` is borrowed.
        unsafe {
            block.copy_from_nonoverlapping(NonNull::from(items).cast(), items.len());
            Ok(NonNull::slice_from_raw_parts(block, items.len()).as_mut())
        }
    }

    /// As [`Arena::alloc_str`], from any thread. O(bytes).
    ///
    /// # Panics
    /// When the block cannot be had.
    #[inline]
    #[track_caller]
    pub fn alloc_str(&self, text: &str) -> &mut str {
        self.granted(self.try_alloc_str(text))
    }

    /// As [`alloc_str`](Self::alloc_str).
    ///
    /// # Errors
    /// As [`try_alloc_layout`](Self::try_alloc_layout).
    #[inline]
    #[track_caller]
    pub fn try_alloc_str(&self, text: &str) -> Result<&mut str, Error> {
        let bytes = self.try_alloc_slice_copy(text.as_bytes())?;
        // SAFETY: a copy of a str.
        Ok(unsafe { core::str::from_utf8_unchecked_mut(bytes) })
    }

    /// As [`Arena::try_alloc_layout`], from any thread.
    ///
    /// # Errors
    /// As there, and [`Error::LeasesHeld`] when what is left belongs to leases of other threads.
    #[inline]
    #[track_caller]
    pub fn try_alloc_layout(&self, layout: Layout) -> Result<NonNull<u8>, Error> {
        self.with_berth(|arena| arena.try_alloc_layout(layout))?
    }

    /// As [`Arena::try_alloc_zeroed_layout`], from any thread.
    ///
    /// # Errors
    /// As [`try_alloc_layout`](Self::try_alloc_layout).
    #[inline]
    #[track_caller]
    pub fn try_alloc_zeroed_layout(&self, layout: Layout) -> Result<NonNull<u8>, Error> {
        self.with_berth(|arena| arena.try_alloc_zeroed_layout(layout))?
    }

    /// As [`Local::try_resize`](crate::Local::try_resize), from any thread.
    ///
    /// # Errors
    /// As there.
    ///
    /// # Safety
    /// As there.
    #[inline]
    #[track_caller]
    pub unsafe fn try_resize(&self, block: NonNull<u8>, old: Layout, new: Layout) -> Result<NonNull<u8>, Error> {
        // SAFETY: the caller's condition.
        self.with_berth(|arena| unsafe { arena.try_resize(block, old, new) })?
    }

    /// As [`Local::free`](crate::Local::free), from any thread.
    ///
    /// # Safety
    /// As there.
    #[inline]
    #[track_caller]
    pub unsafe fn free(&self, block: NonNull<u8>, layout: Layout) {
        // Without a berth there is nothing that could be given back.
        // SAFETY: the caller's condition.
        let _ = self.with_berth(|arena| unsafe { arena.free(block, layout) });
    }

    #[inline(always)]
    #[track_caller]
    fn granted<T>(&self, result: Result<T, Error>) -> T {
        match result {
            Ok(value) => value,
            Err(error) => self.refused(error),
        }
    }

    #[cold]
    #[inline(never)]
    #[track_caller]
    fn refused(&self, error: Error) -> ! {
        panic!(
            "arena {} {:?}: a request, {} of {} bytes leased: {error}",
            self.id(),
            self.name(),
            self.stats().leased_bytes,
            self.capacity(),
        )
    }

    /// `work` with the berth of this thread. It runs no code but ours, and asks no other shared arena.
    #[inline]
    #[track_caller]
    pub(crate) fn with_berth<R>(&self, work: impl FnOnce(&Arena) -> R) -> Result<R, Error> {
        #[cfg(any(feature = "std", feature = "pthread"))]
        if let Some(berth) = of_thread::berth(self)? {
            // SAFETY: S1, S3 — this thread holds the berth until it ends, or asks for too many others: `work` does not, and while an observer
            // runs that may, `leave` leaves it alone.
            return Ok(work(unsafe { Berth::arena(berth).as_ref() }));
        }
        let header = self.header();
        // An observer that asks from within a call gets one more berth, and hears nothing of that one: it would ask again, and never end.
        let within = header.is_observed_by_this_thread();
        let (berth, first_held) = header.claim_berth()?;
        // SAFETY: S1, S3 — held since the line above.
        let arena = unsafe { Berth::arena(berth).as_ref() };
        if within {
            arena.flags.set(arena.flags.get() | flags::REPORTING);
        } else if first_held {
            header.report_berth(berth);
        }
        let result = work(arena);
        if within {
            arena.flags.set(arena.flags.get() & !flags::REPORTING);
        }
        // SAFETY: held here, and not used any more.
        unsafe { header.leave_berth(berth) };
        Ok(result)
    }
}

#[cfg(all(feature = "pthread", not(feature = "std")))]
pub(crate) use of_thread::Held;

/// Which berths this thread holds.
#[cfg(any(feature = "std", feature = "pthread"))]
mod of_thread {
    use super::*;
    use crate::shared_header::SharedHeader;
    use crate::{registry, shared};
    use core::cell::Cell;
    use core::ptr::null_mut;

    /// Shared arenas whose berths a thread remembers. One more, and it leaves the berth that it has had longest.
    const REMEMBERED: usize = 4;

    #[derive(Clone, Copy)]
    struct Entry {
        /// The arena's number; 0: none.
        id: u64,
        berth: *mut Berth,
    }

    /// The berths of a thread.
    pub(crate) struct Held {
        entries: [Cell<Entry>; REMEMBERED],
        /// The entry to be replaced next.
        oldest: Cell<usize>,
    }

    impl Held {
        pub(crate) const fn new() -> Self {
            Held {
                entries: [const { Cell::new(Entry { id: 0, berth: null_mut() }) }; REMEMBERED],
                oldest: Cell::new(0),
            }
        }
    }

    #[cfg(feature = "std")]
    std::thread_local! {
        static HELD: Held = const { Held::new() };
    }

    /// None when the thread is ending, or can have no memory of its own.
    #[cfg(feature = "std")]
    #[inline]
    fn with_held<R>(work: impl FnOnce(&Held) -> R) -> Option<R> {
        HELD.try_with(work).ok()
    }

    #[cfg(not(feature = "std"))]
    #[inline]
    fn with_held<R>(work: impl FnOnce(&Held) -> R) -> Option<R> {
        // SAFETY: this thread's own; it lives until the thread ends, and only shared borrows of it are ever made.
        crate::pthread::berths().map(|held| work(unsafe { held.as_ref() }))
    }

    /// This thread's berth in the arena; None when the thread is ending and remembers no more, or has no place to remember one more.
    #[inline]
    pub(super) fn berth(arena: &SharedArena) -> Result<Option<NonNull<Berth>>, Error> {
        let found = with_held(|held| {
            let id = arena.id();
            match held.entries.iter().map(Cell::get).find(|entry| entry.id == id) {
                Some(entry) => Ok(NonNull::new(entry.berth)),
                None => hold(held, arena),
            }
        });
        found.unwrap_or(Ok(None))
    }

    #[cold]
    #[inline(never)]
    fn hold(held: &Held, arena: &SharedArena) -> Result<Option<NonNull<Berth>>, Error> {
        let (berth, first_held) = arena.header().claim_berth()?;
        for step in 0..REMEMBERED {
            let at = (held.oldest.get() + step) % REMEMBERED;
            if let Some(entry) = held.entries.get(at)
                && !is_reporting(entry.get())
            {
                leave(entry.get());
                entry.set(Entry { id: arena.id(), berth: berth.as_ptr() });
                held.oldest.set(at + 1);
                // Once it is remembered: an observer that allocates here shall find it, and not one more, of which it would hear in turn.
                if first_held {
                    arena.header().report_berth(berth);
                }
                return Ok(Some(berth));
            }
        }
        // Observers within observers: this call does with a berth of its own.
        // SAFETY: held a few lines ago, and not used.
        unsafe { arena.header().leave_berth(berth) };
        Ok(None)
    }

    /// Does `work` with a berth, if its arena is still there: the registry's lock keeps it there meanwhile.
    fn with_living(entry: Entry, mut work: impl FnMut(&SharedHeader, NonNull<Berth>)) {
        let Some(berth) = NonNull::new(entry.berth) else { return };
        registry::SHARED.each(|listed| {
            // SAFETY: a listed header is mapped while the lock is held.
            let header = unsafe { &*shared::of_entry(listed) };
            if header.id.get() == entry.id {
                work(header, berth);
            }
        });
    }

    /// True while an observer of the berth's arena is running: then a call of this thread may still be inside.
    fn is_reporting(entry: Entry) -> bool {
        let mut reporting = false;
        with_living(entry, |_, berth| {
            // SAFETY: S1 — a header since this thread holds it. Read as an outsider reads it: who has the arena exclusively, to reset it, may just be
            // reporting that.
            let flags = unsafe { (*Berth::arena(berth).as_ptr()).flags.as_ptr().read_volatile() };
            reporting = flags & flags::REPORTING != 0;
        });
        reporting
    }

    /// Leaves a berth.
    fn leave(entry: Entry) {
        // SAFETY: held by this thread, which does not use it any more.
        with_living(entry, |header, berth| unsafe { header.leave_berth(berth) });
    }

    impl Drop for Held {
        fn drop(&mut self) {
            // Whatever an observer is doing: a thread that ends is in no call.
            for entry in &self.entries {
                leave(entry.get());
            }
        }
    }
}

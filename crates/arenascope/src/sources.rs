//! Memory sources beside the system's: the heap, and one that fails when told to.
//!
//! May be relied on: an arena behaves the same on each of them, but for page effects. Deliberately absent: a caller's
//! buffer, which is no source that can reserve again; see `create`.
#![allow(unsafe_code)] // Allocates and frees raw memory.

use crate::Error;
use crate::region::{AfterFork, Region, Request, Source};
use core::alloc::Layout;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};
use heap::alloc::{alloc_zeroed, dealloc};

/// ENOMEM, for sources that have no number of their own.
pub(crate) const OUT_OF_MEMORY: i32 = 12;

/// Regions start at multiples of this.
const ALIGN: usize = 128;

/// The program's global allocator: for tools that know the heap and nothing else (Valgrind, sanitizers, Miri), and for
/// systems without mmap. `growing()` reserves [`Heap::GROWING_BYTES`].
#[derive(Clone, Copy, Debug)]
pub struct Heap;

impl Heap {
    /// What a growing arena reserves on the heap, in bytes.
    pub const GROWING_BYTES: usize = 1 << 20;
}

// SAFETY: the global allocator gives memory that belongs to nobody else, does not move, and was asked to be zeroed.
unsafe impl Source for Heap {
    fn name(&self) -> &'static str {
        "heap"
    }

    fn reserve(&'static self, request: Request) -> Result<Region, Error> {
        let layout = Layout::from_size_align(request.bytes, ALIGN).map_err(|_| Error::TooLarge)?;
        if layout.size() == 0 {
            return Err(Error::TooLarge);
        }
        // SAFETY: the size is not 0.
        let start = NonNull::new(unsafe { alloc_zeroed(layout) }).ok_or(Error::Os(OUT_OF_MEMORY))?;
        Ok(Region {
            start,
            bytes: request.bytes,
            committed: request.bytes,
            mapping: start,
            mapping_bytes: request.bytes,
            zeroed: true,
            source: &Heap,
        })
    }

    unsafe fn commit(&self, _: NonNull<u8>, _: usize, _: usize, _: bool) -> Result<(), Error> {
        Ok(())
    }

    unsafe fn advise_huge(&self, _: NonNull<u8>, _: usize, _: usize) {}

    unsafe fn decommit(&self, _: NonNull<u8>, _: usize, _: usize) -> Option<(usize, usize)> {
        None
    }

    unsafe fn release(&self, mapping: NonNull<u8>, mapping_bytes: usize) {
        if let Ok(layout) = Layout::from_size_align(mapping_bytes, ALIGN) {
            // SAFETY: pointer and layout are those of `reserve` (the caller's condition).
            unsafe { dealloc(mapping.as_ptr(), layout) }
        }
    }
}

/// Passes everything on to another source, but refuses the n-th request and all after it: for tests of what happens when
/// memory ends at a bad moment.
pub struct FailAt {
    inner: &'static dyn Source,
    /// Requests still granted.
    left: AtomicU64,
}

impl FailAt {
    /// Grants `granted` requests (reserve and commit count), then refuses. Make it a `static`, or leak it: arenas keep a reference.
    pub const fn new(inner: &'static dyn Source, granted: u64) -> Self {
        FailAt { inner, left: AtomicU64::new(granted) }
    }

    /// Grants `granted` more requests from now on.
    pub fn grant(&self, granted: u64) {
        self.left.store(granted, Ordering::Relaxed);
    }

    fn take(&self) -> Result<(), Error> {
        self.left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
            .map(|_| ())
            .map_err(|_| Error::Os(OUT_OF_MEMORY))
    }
}

// SAFETY: regions are those of the inner source; see there.
unsafe impl Source for FailAt {
    fn name(&self) -> &'static str {
        "fail-at"
    }

    fn reserve(&'static self, request: Request) -> Result<Region, Error> {
        self.take()?;
        let region = self.inner.reserve(request)?;
        if region.source.name() != self.inner.name() {
            // The inner source delegated; further calls would have to go there, and would not be counted.
            // SAFETY: the region was reserved a moment ago, and nobody knows it.
            unsafe { region.source.release(region.mapping, region.mapping_bytes) };
            return Err(Error::Os(OUT_OF_MEMORY));
        }
        Ok(Region { source: self, ..region })
    }

    unsafe fn commit(&self, start: NonNull<u8>, from: usize, to: usize, populate: bool) -> Result<(), Error> {
        self.take()?;
        // SAFETY: the caller's condition is the same.
        unsafe { self.inner.commit(start, from, to, populate) }
    }

    unsafe fn advise_huge(&self, start: NonNull<u8>, from: usize, to: usize) {
        // SAFETY: the caller's condition is the same.
        unsafe { self.inner.advise_huge(start, from, to) }
    }

    unsafe fn decommit(&self, start: NonNull<u8>, from: usize, to: usize) -> Option<(usize, usize)> {
        // SAFETY: the caller's condition is the same.
        unsafe { self.inner.decommit(start, from, to) }
    }

    unsafe fn after_fork(&self, mapping: NonNull<u8>, mapping_bytes: usize, what: AfterFork) -> Result<(), Error> {
        self.take()?;
        // SAFETY: the caller's condition is the same.
        unsafe { self.inner.after_fork(mapping, mapping_bytes, what) }
    }

    unsafe fn release(&self, mapping: NonNull<u8>, mapping_bytes: usize) {
        // SAFETY: the caller's condition is the same.
        unsafe { self.inner.release(mapping, mapping_bytes) }
    }
}

//! The system's memory source: mmap. All system calls for memory are in this file.
//!
//! May be relied on: memory is private, anonymous and zeroed; a region larger than the head it was asked for is aligned for
//! huge pages; when the kernel refuses writable memory that nobody has touched yet (RLIMIT_DATA, overcommit_memory = 2),
//! the addresses alone are taken and made writable in steps. Deliberately absent: sizes and policy, which come from above.
//!
//! Two ways of committing, tried in this order:
//! - *lazy*: the whole range is writable from the start, `MAP_NORESERVE`. Committing only populates. Neighbouring regions
//!   become one mapping in the kernel, of which a process may have about 65,000.
//! - *stepwise*: `PROT_NONE`, and `mprotect` for each step.
#![allow(unsafe_code)] // System calls on raw addresses.

use crate::region::{AfterFork, Region, Request, Source};
use crate::{Error, geometry};
use core::ffi::c_void;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, Ordering};
use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, MprotectFlags, ProtFlags};

/// Size of a huge page, in bytes.
pub(crate) const HUGE: usize = 2 << 20;

/// The operating system's memory, by `mmap`: the default.
#[derive(Clone, Copy, Debug)]
pub struct System;

/// The operating system's memory, with the addresses taken first and made writable in steps: what [`System`] falls back to.
#[derive(Clone, Copy, Debug)]
pub struct Stepwise;

/// Ranges given to the kernel are multiples of this, from a region's start: the page, or what is a multiple of every page size
/// the system may have. A constant, for asking reads the auxiliary vector, which is not there under Valgrind.
const PAGE: usize = if cfg!(any(target_arch = "x86_64", target_arch = "x86")) { 4 << 10 } else { 64 << 10 };

fn pages_up(bytes: usize) -> usize {
    geometry::up(bytes as u64, PAGE as u64) as usize
}

fn pages_down(bytes: usize) -> usize {
    geometry::down(bytes as u64, PAGE as u64) as usize
}

fn os(error: Errno) -> Error {
    Error::Os(error.raw_os_error())
}

fn map(request: Request, writable: bool) -> Result<Region, Error> {
    let bytes = pages_up(request.bytes);
    let slack = if request.head_bytes > 0 { HUGE } else { 0 };
    let mapping_bytes = bytes.checked_add(slack).filter(|b| *b <= isize::MAX as usize).ok_or(Error::TooLarge)?;
    let protection = if writable { ProtFlags::READ | ProtFlags::WRITE } else { ProtFlags::empty() };
    // SAFETY: asks the kernel for fresh addresses (no MAP_FIXED), so that nothing existing is touched.
    let mapping = unsafe {
        rustix::mm::mmap_anonymous(
            core::ptr::null_mut(),
            mapping_bytes,
            protection,
            MapFlags::PRIVATE | MapFlags::NORESERVE,
        )
    }
    .map_err(os)?;
    let mapping = NonNull::new(mapping.cast::<u8>()).ok_or(Error::Os(Errno::NOMEM.raw_os_error()))?;
    let shift = if request.head_bytes > 0 {
        let first = mapping.addr().get() as u64 + request.head_bytes as u64;
        (geometry::up(first, HUGE as u64) - first) as usize
    } else {
        0
    };
    // SAFETY: shift < HUGE = slack, so start and start + bytes lie within the mapping just made.
    let start = unsafe { mapping.add(shift) };
    let bytes = if slack > 0 { pages_down(mapping_bytes - shift) } else { bytes };
    Ok(Region {
        start,
        bytes,
        committed: 0,
        mapping,
        mapping_bytes,
        zeroed: true,
        source: if writable { &System } else { &Stepwise },
    })
}

impl System {
    /// A region whose every byte is usable at once.
    pub(crate) fn reserve_all(&'static self, request: Request) -> Option<Region> {
        let region = self.reserve(request).ok()?;
        // SAFETY: the whole of the region just reserved.
        match unsafe { region.source.commit(region.start, 0, region.bytes, false) } {
            Ok(()) => Some(Region { committed: region.bytes, ..region }),
            Err(_) => {
                // SAFETY: as above; nobody knows the region.
                unsafe { region.source.release(region.mapping, region.mapping_bytes) };
                None
            }
        }
    }
}

/// True if the kernel would map `bytes` of addresses now. O(1): maps them, untouched, and gives them back.
pub(crate) fn addresses_fit(bytes: usize) -> bool {
    let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
    // SAFETY: a new mapping at a place of the kernel's choice touches nothing that is there.
    let mapped = unsafe { rustix::mm::mmap_anonymous(core::ptr::null_mut(), bytes, ProtFlags::empty(), flags) };
    match mapped {
        // SAFETY: the mapping just made, which nobody else knows.
        Ok(place) => unsafe { rustix::mm::munmap(place, bytes) }.is_ok(),
        Err(_) => false,
    }
}

/// Set when the kernel does not know MADV_POPULATE_WRITE (before Linux 5.14): pages then come by fault, as ever.
static NO_POPULATE: AtomicBool = AtomicBool::new(false);

/// # Safety
/// `start + from..start + to` lies in a mapping of ours and is writable.
unsafe fn populate(start: NonNull<u8>, from: usize, to: usize) -> Result<(), Error> {
    if NO_POPULATE.load(Ordering::Relaxed) {
        return Ok(());
    }
    // Pages are cut at absolute addresses; `start` is page-aligned.
    let (first, end) = (pages_down(from), pages_up(to));
    // SAFETY: the caller's condition; populating changes no contents.
    let done = unsafe {
        rustix::mm::madvise(
            start.as_ptr().wrapping_add(first).cast::<c_void>(),
            end - first,
            Advice::LinuxPopulateWrite,
        )
    };
    match done {
        Ok(()) | Err(Errno::INTR | Errno::AGAIN) => Ok(()),
        Err(Errno::INVAL) => {
            NO_POPULATE.store(true, Ordering::Relaxed);
            Ok(())
        }
        Err(error) => Err(os(error)),
    }
}

/// # Safety
/// As [`Source::advise_huge`].
unsafe fn advise_huge(start: NonNull<u8>, from: usize, to: usize) {
    let (from, to) = (pages_up(from), pages_down(to));
    if from < to {
        // SAFETY: the range lies in a mapping of ours; the advice changes no contents. A kernel without huge pages says
        // EINVAL, and small pages it is.
        let _ = unsafe {
            rustix::mm::madvise(start.as_ptr().wrapping_add(from).cast::<c_void>(), to - from, Advice::LinuxHugepage)
        };
    }
}

/// # Safety
/// As [`Source::decommit`].
unsafe fn decommit(start: NonNull<u8>, from: usize, to: usize) -> Option<(usize, usize)> {
    let (from, to) = (pages_up(from), pages_down(to));
    if from >= to {
        return None;
    }
    // SAFETY: whole pages inside a mapping of ours, to which nobody refers (the caller's condition).
    unsafe { rustix::mm::madvise(start.as_ptr().wrapping_add(from).cast::<c_void>(), to - from, Advice::LinuxDontNeed) }
        .ok()
        .map(|()| (from, to))
}

/// # Safety
/// As [`Source::after_fork`].
unsafe fn after_fork(mapping: NonNull<u8>, mapping_bytes: usize, what: AfterFork) -> Result<(), Error> {
    let advice = match what {
        AfterFork::Wipe => Advice::LinuxWipeOnFork,
        AfterFork::Absent => Advice::LinuxDontFork,
    };
    // SAFETY: a whole mapping of ours, of whole pages: nothing else shares a page with it. Here nothing changes.
    unsafe { rustix::mm::madvise(mapping.as_ptr().cast::<c_void>(), mapping_bytes, advice) }.map_err(os)
}

/// # Safety
/// As [`Source::release`].
pub(crate) unsafe fn unmap(mapping: NonNull<u8>, mapping_bytes: usize) {
    // SAFETY: the range is a whole mapping of ours to which nobody refers (the caller's condition). The kernel can refuse only
    // when splitting a merged mapping exceeds its count of mappings; the pages are given back then, the addresses are not.
    unsafe {
        if rustix::mm::munmap(mapping.as_ptr().cast::<c_void>(), mapping_bytes).is_err() {
            let _ = rustix::mm::madvise(mapping.as_ptr().cast::<c_void>(), mapping_bytes, Advice::LinuxDontNeed);
        }
    }
}

// SAFETY: a fresh private mapping belongs to nobody else, is readable and writable as a whole and zeroed, and stays until
// it is unmapped. System calls may come from any thread.
unsafe impl Source for System {
    fn name(&self) -> &'static str {
        "system"
    }

    fn reserve(&'static self, request: Request) -> Result<Region, Error> {
        map(request, true).or_else(|_| map(request, false))
    }

    unsafe fn commit(&self, start: NonNull<u8>, from: usize, to: usize, ahead: bool) -> Result<(), Error> {
        if ahead && from < to {
            // SAFETY: the whole mapping is writable; the range is the caller's condition.
            unsafe { populate(start, from, to) }
        } else {
            Ok(())
        }
    }

    unsafe fn advise_huge(&self, start: NonNull<u8>, from: usize, to: usize) {
        // SAFETY: the caller's condition is the same.
        unsafe { advise_huge(start, from, to) }
    }

    unsafe fn decommit(&self, start: NonNull<u8>, from: usize, to: usize) -> Option<(usize, usize)> {
        // SAFETY: the caller's condition is the same.
        unsafe { decommit(start, from, to) }
    }

    unsafe fn after_fork(&self, mapping: NonNull<u8>, mapping_bytes: usize, what: AfterFork) -> Result<(), Error> {
        // SAFETY: the caller's condition is the same.
        unsafe { after_fork(mapping, mapping_bytes, what) }
    }

    unsafe fn release(&self, mapping: NonNull<u8>, mapping_bytes: usize) {
        // SAFETY: the caller's condition is the same.
        unsafe { unmap(mapping, mapping_bytes) }
    }
}

// SAFETY: as System; what is committed was made readable and writable by mprotect, page by page.
unsafe impl Source for Stepwise {
    fn name(&self) -> &'static str {
        "system, stepwise"
    }

    fn reserve(&'static self, request: Request) -> Result<Region, Error> {
        map(request, false)
    }

    unsafe fn commit(&self, start: NonNull<u8>, from: usize, to: usize, ahead: bool) -> Result<(), Error> {
        let (first, end) = (pages_down(from), pages_up(to));
        if first >= end {
            return Ok(());
        }
        // SAFETY: the range lies in a mapping of ours (the caller's condition), and pages already writable stay so.
        unsafe {
            rustix::mm::mprotect(
                start.as_ptr().wrapping_add(first).cast::<c_void>(),
                end - first,
                MprotectFlags::READ | MprotectFlags::WRITE,
            )
        }
        .map_err(os)?;
        // SAFETY: writable since the line above.
        if ahead { unsafe { populate(start, from, to) } } else { Ok(()) }
    }

    unsafe fn advise_huge(&self, start: NonNull<u8>, from: usize, to: usize) {
        // SAFETY: the caller's condition is the same.
        unsafe { advise_huge(start, from, to) }
    }

    unsafe fn decommit(&self, start: NonNull<u8>, from: usize, to: usize) -> Option<(usize, usize)> {
        // The pages stay writable: whoever was promised the commit charge once keeps it.
        // SAFETY: the caller's condition is the same.
        unsafe { decommit(start, from, to) }
    }

    unsafe fn after_fork(&self, mapping: NonNull<u8>, mapping_bytes: usize, what: AfterFork) -> Result<(), Error> {
        // SAFETY: the caller's condition is the same.
        unsafe { after_fork(mapping, mapping_bytes, what) }
    }

    unsafe fn release(&self, mapping: NonNull<u8>, mapping_bytes: usize) {
        // SAFETY: the caller's condition is the same.
        unsafe { unmap(mapping, mapping_bytes) }
    }
}

/// A zeroed page that is zero again in every forked child; None when the kernel cannot do that.
pub(crate) fn page_wiped_on_fork() -> Option<NonNull<u8>> {
    pages_wiped_on_fork(1).ok().map(|(page, _)| page)
}

/// Zeroed memory for so many bytes that is zero again in every forked child: where it begins, and its length for `unmap`.
pub(crate) fn pages_wiped_on_fork(bytes: usize) -> Result<(NonNull<u8>, usize), Error> {
    let region = map(Request { bytes, head_bytes: 0 }, true)?;
    // SAFETY: the mapping made a line ago.
    match unsafe { after_fork(region.mapping, region.mapping_bytes, AfterFork::Wipe) } {
        Ok(()) => Ok((region.start, region.mapping_bytes)),
        Err(error) => {
            // SAFETY: mapped above; nobody knows it.
            unsafe { unmap(region.mapping, region.mapping_bytes) };
            Err(error)
        }
    }
}

/// Lets others run, while a lock is held by somebody.
pub(crate) fn yield_now() {
    if cfg!(miri) {
        core::hint::spin_loop();
    } else {
        rustix::thread::sched_yield();
    }
}

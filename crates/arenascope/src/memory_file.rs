//! Memory that processes share: a sealed `memfd` and its mapping. The system calls of the policy `share`.
//!
//! May be relied on: nobody can make the file smaller, so that a mapped page is never taken away. Deliberately absent: private memory
//! (`system`), and what lies in the file.
#![allow(unsafe_code)] // System calls on raw addresses.

use crate::Error;
use core::ffi::c_void;
use core::ptr::NonNull;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags};
use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, ProtFlags};

const PAGE: usize = 4096;

/// A file of so many zero bytes, sealed against shrinking, closed on exec. The system's error number when there can be none.
pub(crate) fn create(bytes: u64) -> Result<OwnedFd, i32> {
    let make = || {
        let file = rustix::fs::memfd_create(c"arenascope", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        rustix::fs::ftruncate(&file, bytes)?;
        rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK)?;
        Ok(file)
    };
    make().map_err(Errno::raw_os_error)
}

/// Bytes of the file, and whether it can get smaller never again.
pub(crate) fn size_and_seal(file: BorrowedFd<'_>) -> Result<(u64, bool), i32> {
    let size = rustix::fs::fstat(file).map_err(Errno::raw_os_error)?.st_size;
    let sealed = rustix::fs::fcntl_get_seals(file).is_ok_and(|seals| seals.contains(SealFlags::SHRINK));
    Ok((u64::try_from(size).unwrap_or(0), sealed))
}

/// Maps the file's first `bytes`, readable and writable, shared. The system's error number when it cannot.
pub(crate) fn map(file: BorrowedFd<'_>, bytes: usize) -> Result<NonNull<u8>, i32> {
    // SAFETY: asks the kernel for fresh addresses (no MAP_FIXED), so that nothing existing is touched.
    let mapped = unsafe {
        rustix::mm::mmap(
            core::ptr::null_mut(),
            bytes,
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::SHARED | MapFlags::NORESERVE,
            file.as_fd(),
            0,
        )
    };
    let mapped = mapped.map_err(Errno::raw_os_error)?;
    NonNull::new(mapped.cast()).ok_or(Errno::NOMEM.raw_os_error())
}

/// Makes sure that `from..to` of the mapping can be written without a fault that kills: the pages are taken now.
///
/// # Safety
/// The range lies in a mapping of `file` that begins at `start` with the file's first byte.
pub(crate) unsafe fn populate(file: BorrowedFd<'_>, start: NonNull<u8>, from: usize, to: usize) -> Result<(), Error> {
    let (first, end) = (from / PAGE * PAGE, to.next_multiple_of(PAGE));
    // SAFETY: the caller's condition, rounded to pages; taking pages changes no contents.
    let done = unsafe {
        rustix::mm::madvise(start.as_ptr().add(first).cast::<c_void>(), end - first, Advice::LinuxPopulateWrite)
    };
    let done = match done {
        // Before Linux 5.14: the file gets the pages, the mapping when they are touched.
        Err(Errno::INVAL) => rustix::fs::fallocate(file, FallocateFlags::empty(), first as u64, (end - first) as u64),
        other => other,
    };
    match done {
        Ok(()) | Err(Errno::INTR | Errno::AGAIN) => Ok(()),
        Err(error) => Err(Error::Os(error.raw_os_error())),
    }
}

/// Ends a mapping.
///
/// # Safety
/// A whole mapping of ours, to which nothing refers.
pub(crate) unsafe fn unmap(start: NonNull<u8>, bytes: usize) {
    // SAFETY: the caller's condition. If the kernel refuses, addresses are lost and nothing else.
    let _ = unsafe { rustix::mm::munmap(start.as_ptr().cast::<c_void>(), bytes) };
}

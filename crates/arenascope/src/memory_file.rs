//! Memory that processes share: a sealed `memfd` and its mapping. The system calls of the policy `share`.
//!
//! May be relied on: nobody can make the file smaller, so that a mapped page is never taken away. Deliberately absent: private memory
//! (`system`), and what lies in the file.
#![allow(unsafe_code)] // System calls on raw addresses.

use crate::Error;
use core::ffi::c_void;
use core::ptr::NonNull;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags};
use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, ProtFlags};

const PAGE: usize = 4096;

/// A file of so many zero bytes, sealed against shrinking, closed on exec. The system's error number when there can be none.
pub(crate) fn create(bytes: u64) -> Result<OwnedFd, i32> {
    let file = descriptors::memory()?;
    let sized = rustix::fs::ftruncate(borrow(&file), bytes);
    let sealed = sized.and_then(|()| rustix::fs::fcntl_add_seals(borrow(&file), SealFlags::SHRINK));
    sealed.map(|()| file).map_err(Errno::raw_os_error)
}

/// The descriptor, for a call.
#[inline]
pub(crate) fn borrow(file: &OwnedFd) -> BorrowedFd<'_> {
    // SAFETY: an open descriptor is not negative. Without std rustix compares that each time, and panics.
    unsafe { core::hint::assert_unchecked(file.as_raw_fd() >= 0) };
    file.as_fd()
}

/// Another descriptor of the same file, closed on exec. The system's error number when there can be none.
pub(crate) fn copy(file: BorrowedFd<'_>) -> Result<OwnedFd, i32> {
    descriptors::copy(file)
}

#[cfg(not(all(feature = "pthread", not(feature = "std"))))]
mod descriptors {
    use super::*;

    pub(super) fn memory() -> Result<OwnedFd, i32> {
        rustix::fs::memfd_create(c"arenascope", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)
            .map_err(Errno::raw_os_error)
    }

    pub(super) fn copy(file: BorrowedFd<'_>) -> Result<OwnedFd, i32> {
        rustix::io::fcntl_dupfd_cloexec(file, 0).map_err(Errno::raw_os_error)
    }
}

/// By the C library, which the C face has anyway: where rustix makes a descriptor without std, it brings code that can panic.
#[cfg(all(feature = "pthread", not(feature = "std")))]
mod descriptors {
    use super::*;
    use core::ffi::{c_char, c_int, c_uint};
    use rustix::fd::FromRawFd;

    const F_DUPFD_CLOEXEC: c_int = 1030;

    unsafe extern "C" {
        fn memfd_create(name: *const c_char, flags: c_uint) -> c_int;
        fn fcntl(file: c_int, what: c_int, ...) -> c_int;
        safe fn __errno_location() -> *mut c_int;
    }

    pub(super) fn memory() -> Result<OwnedFd, i32> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        // SAFETY: a terminated name; nobody else has what comes.
        unsafe { owned(memfd_create(c"arenascope".as_ptr(), flags.bits())) }
    }

    pub(super) fn copy(file: BorrowedFd<'_>) -> Result<OwnedFd, i32> {
        // SAFETY: takes a number; nobody else has what comes.
        unsafe { owned(fcntl(file.as_raw_fd(), F_DUPFD_CLOEXEC, 0 as c_int)) }
    }

    /// # Safety
    /// The descriptor is negative, or nobody else has it.
    unsafe fn owned(descriptor: c_int) -> Result<OwnedFd, i32> {
        if descriptor < 0 {
            // SAFETY: the C library gives a valid address, for this thread alone.
            return Err(unsafe { __errno_location().read() });
        }
        // SAFETY: open, and nobody else's (the caller's condition).
        Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
    }
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

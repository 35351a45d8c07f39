//! The C library's `errno`: how a NULL says why.
//!
//! May be relied on: the numbers are Linux's, the same on x86-64 and aarch64. Deliberately absent: reading it.
#![allow(unsafe_code)] // Asks the C library where the thread's errno is.

use arenascope::Error;
use core::ffi::c_int;

/// Out of memory: past the capacity, or the system has none.
pub(crate) const ENOMEM: c_int = 12;
/// No open descriptor.
pub(crate) const EBADF: c_int = 9;
/// Room there is, in what others have leased.
pub(crate) const EBUSY: c_int = 16;
/// Another process could take the memory away.
pub(crate) const EPERM: c_int = 1;
/// Memory that contradicts itself.
pub(crate) const EBADMSG: c_int = 74;
/// An argument that no arena can honour: an alignment that is no power of two.
pub(crate) const EINVAL: c_int = 22;
/// The program was built with a header of another layout.
pub(crate) const ENOTSUP: c_int = 95;

unsafe extern "C" {
    /// glibc and musl: the address of the thread's errno.
    safe fn __errno_location() -> *mut c_int;
}

/// Sets the thread's errno.
pub(crate) fn set(number: c_int) {
    // SAFETY: the C library gives a valid address, for this thread alone.
    unsafe { __errno_location().write(number) }
}

/// Sets the thread's errno; null.
#[cold]
pub(crate) fn refuse<T>(number: c_int) -> *mut T {
    set(number);
    core::ptr::null_mut()
}

/// The number for what an arena could not be made for.
pub(crate) fn of(error: Error) -> c_int {
    match error {
        Error::Os(number) => number,
        Error::LeasesHeld => EBUSY,
        _ => ENOMEM,
    }
}

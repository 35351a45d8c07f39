//! Places on the program's heap for what C holds by an opaque pointer.
//!
//! May be relied on: no heap memory is an answer, not the end of the process. Deliberately absent: anything for blocks and arenas,
//! whose memory is their sources'.
#![allow(unsafe_code)] // Allocates.

use arenascope::Error;
use core::alloc::Layout;
use core::ptr::NonNull;

/// Moves a value to the heap.
pub(crate) fn put<T>(value: T) -> Result<NonNull<T>, Error> {
    let place = room::<T>()?;
    // SAFETY: fresh memory of T's layout.
    unsafe { place.write(value) };
    Ok(place)
}

/// Memory for a T, uninitialised.
pub(crate) fn room<T>() -> Result<NonNull<T>, Error> {
    const { assert!(size_of::<T>() > 0) };
    // SAFETY: T has a size.
    NonNull::new(unsafe { alloc::alloc::alloc(Layout::new::<T>()) }.cast()).ok_or(Error::Os(crate::errno::ENOMEM))
}

/// Gives the memory back, without a drop.
///
/// # Safety
/// It comes from [`room`] or [`put`], and nobody uses it any more.
pub(crate) unsafe fn give_back<T>(place: NonNull<T>) {
    // SAFETY: the caller's condition.
    unsafe { alloc::alloc::dealloc(place.as_ptr().cast(), Layout::new::<T>()) }
}

/// Drops the value and gives its memory back. Null: nothing happens.
///
/// # Safety
/// As [`give_back`], of [`put`], or null.
pub(crate) unsafe fn end<T>(place: *mut T) {
    if let Some(place) = NonNull::new(place) {
        // SAFETY: the caller's condition.
        unsafe {
            place.drop_in_place();
            give_back(place);
        }
    }
}

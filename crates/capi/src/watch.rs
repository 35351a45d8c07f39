//! Watching from C: observers for one arena and for all.
//!
//! May be relied on: `ascope_observer` and `ascope_event` are the tables of `arenascope`, field by field. Deliberately absent:
//! anything that an observer does.
#![allow(unsafe_code)] // Installs function pointers that C gives.

use arenascope::{Arena, Observer, observe_all, raw};

/// Watches one arena; null ends it.
///
/// # Safety
/// The arena lives; the observer lives as long as the arena, and may be called with its context from whichever thread uses it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ascope_observe(arena: *mut Arena, observer: *const Observer) {
    // SAFETY: the caller's condition.
    unsafe { (*arena).observe(observer.as_ref()) }
}

/// Watches all arenas of the process that have no observer of their own; null ends it.
///
/// # Safety
/// The observer lives as long as the process and may be called with its context from any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ascope_observe_all(observer: *const Observer) {
    // SAFETY: the caller's condition.
    unsafe { observe_all(observer.as_ref()) }
}

/// 1 while the arena's events are reported, else 0.
///
/// # Safety
/// The arena lives.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ascope_is_watched(arena: *const Arena) -> core::ffi::c_int {
    // SAFETY: the caller's condition.
    core::ffi::c_int::from(unsafe { (*arena).is_watched() })
}

/// Whether an address lies in a block of an arena whose blocks lie elsewhere: the cold half of `ascope_contains`.
///
/// # Safety
/// The arena lives.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ascope_contains_checked(
    arena: *const Arena,
    address: *const core::ffi::c_void,
) -> core::ffi::c_int {
    // SAFETY: the caller's condition.
    core::ffi::c_int::from(raw::contains_checked(unsafe { &*arena }, address.cast()))
}

/// Has the blocks' contents copied to where they would lie, if they lie elsewhere: before the region's bytes are looked at.
///
/// # Safety
/// The arena lives.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ascope_show_checked(arena: *const Arena) {
    // SAFETY: the caller's condition.
    raw::show_checked(unsafe { &*arena });
}

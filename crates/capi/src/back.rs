//! Going back: mark, rewind, reset.
//!
//! May be relied on: a rewind that may not be is a status, and changes nothing; a thread's handle of a shared arena goes nowhere.
//! Deliberately absent: scopes that end by themselves; C has none.
#![allow(unsafe_code)] // Passes checkpoints through C as bytes; blocks die.

use crate::create::owned;
use crate::site::{Site, with_site};
use arenascope::{Arena, Checkpoint, RewindError, raw};
use core::ffi::c_char;
use core::mem::MaybeUninit;
use core::ptr::NonNull;

/// `ascope_marker`: a saved place, opaque to C.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Marker {
    words: [MaybeUninit<u64>; 5],
}

const _: () =
    assert!(size_of::<Checkpoint>() <= size_of::<Marker>() && align_of::<Checkpoint>() <= align_of::<Marker>());

impl Marker {
    /// Of no arena.
    const OF_NOTHING: Marker = Marker { words: [const { MaybeUninit::new(0) }; 5] };

    fn of(checkpoint: Checkpoint) -> Marker {
        let mut marker = Marker::OF_NOTHING;
        // SAFETY: there is room, by the assertion above; any bytes are a valid Marker.
        unsafe { (&raw mut marker).cast::<Checkpoint>().write(checkpoint) };
        marker
    }

    /// # Safety
    /// The marker comes from `ascope_mark`, or is zero.
    unsafe fn checkpoint(self) -> Checkpoint {
        // SAFETY: not larger, by the assertion above; a Checkpoint is made of numbers, which `of` or zero has set.
        unsafe { (&raw const self).cast::<Checkpoint>().read() }
    }
}

/// `ascope_status`: what became of a rewind.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    /// Done.
    Ok = 0,
    /// The marker was taken from another arena.
    Foreign = 1,
    /// The arena was reset, or rewound to before the marker.
    Stale = 2,
    /// The marker is that of an outer scope, opened by Rust code, and an inner one is still open.
    OutOfOrder = 3,
}

/// Saves where the arena stands, as seen from a line. Of a shared arena's handle: a marker of no arena.
///
/// # Safety
/// The arena lives; `file` is null or a terminated string that lives as long as the arena.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ascope_mark_at(arena: *const Arena, file: *const c_char, line: u32) -> Marker {
    // SAFETY: the caller's condition.
    let (arena, site) = unsafe { (&*arena, Site::new(file, line)) };
    if raw::is_leased(arena) {
        return Marker::OF_NOTHING;
    }
    Marker::of(with_site(arena, site, || arena.checkpoint()))
}

/// Saves where the arena stands: for callers that do not include the header.
///
/// # Safety
/// The arena lives.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ascope_mark(arena: *const Arena) -> Marker {
    // SAFETY: the caller's condition.
    unsafe { ascope_mark_at(arena, core::ptr::null(), 0) }
}

/// Goes back to a marker: every block since is gone.
///
/// # Safety
/// The arena lives, the marker comes from [`ascope_mark`] or is zero, and nobody uses blocks from after it any more.
/// `file` as in [`ascope_mark_at`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ascope_rewind_at(arena: *mut Arena, to: Marker, file: *const c_char, line: u32) -> Status {
    // SAFETY: the caller's condition.
    let (arena, site, to) = unsafe { (&*arena, Site::new(file, line), to.checkpoint()) };
    if raw::is_leased(arena) {
        return Status::Foreign;
    }
    // SAFETY: the caller's condition.
    match with_site(arena, site, || unsafe { arena.rewind_unchecked(&to) }) {
        Ok(()) => Status::Ok,
        Err(RewindError::Foreign) => Status::Foreign,
        Err(RewindError::OutOfOrder) => Status::OutOfOrder,
        Err(_) => Status::Stale,
    }
}

/// Goes back to a marker: for callers that do not include the header.
///
/// # Safety
/// As [`ascope_rewind_at`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ascope_rewind(arena: *mut Arena, to: Marker) -> Status {
    // SAFETY: the caller's condition.
    unsafe { ascope_rewind_at(arena, to, core::ptr::null(), 0) }
}

/// Empties the arena; its memory stays, unless its options say otherwise.
///
/// # Safety
/// The arena lives, and nobody uses its blocks any more. `file` as in [`ascope_mark_at`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ascope_reset_at(arena: *mut Arena, file: *const c_char, line: u32) {
    let Some(header) = NonNull::new(arena) else { return };
    // SAFETY: the caller's condition.
    let (arena, site, mut handle) = unsafe { (&*arena, Site::new(file, line), owned(header)) };
    if raw::is_leased(arena) {
        return;
    }
    with_site(arena, site, || handle.reset());
}

/// Empties the arena: for callers that do not include the header.
///
/// # Safety
/// As [`ascope_reset_at`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ascope_reset(arena: *mut Arena) {
    // SAFETY: the caller's condition.
    unsafe { ascope_reset_at(arena, core::ptr::null(), 0) }
}

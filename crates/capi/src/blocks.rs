//! Blocks: the cold half of the header's inline allocation, resize, free.
//!
//! May be relied on: NULL leaves arena and block as they were. Any numbers are accepted: a size or alignment that makes no layout
//! is refused. Deliberately absent: the path that a program takes a million times; it is in the header.
#![allow(unsafe_code)] // Blocks are raw memory.

use crate::errno;
use crate::site::{Site, with_site};
use arenascope::{Arena, Error};
use core::alloc::Layout;
use core::ffi::c_char;
use core::ptr::NonNull;

/// Alignment of blocks when nothing else is asked for, in bytes.
const GRAIN: usize = 8;

pub(crate) fn give(block: Result<NonNull<u8>, Error>) -> *mut u8 {
    match block {
        Ok(block) => block.as_ptr(),
        Err(Error::LeasesHeld) => refuse(errno::EBUSY),
        Err(_) => refuse(errno::ENOMEM),
    }
}

pub(crate) fn refuse(number: core::ffi::c_int) -> *mut u8 {
    errno::refuse(number)
}

/// The errno for numbers that are no layout.
pub(crate) fn why_no_layout(align: usize) -> core::ffi::c_int {
    if align.is_power_of_two() { errno::ENOMEM } else { errno::EINVAL }
}

/// A block, by the path that also watches, commits memory and refuses. What the header calls when its comparison fails.
///
/// # Safety
/// The arena lives; `file` is null or a terminated string that lives as long as the arena.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ascope_alloc_cold(
    arena: *mut Arena,
    size: usize,
    align: usize,
    file: *const c_char,
    line: u32,
) -> *mut u8 {
    let Ok(layout) = Layout::from_size_align(size, align) else {
        return refuse(why_no_layout(align));
    };
    // SAFETY: the caller's condition.
    let (arena, site) = unsafe { (&*arena, Site::new(file, line)) };
    give(with_site(arena, site, || arena.try_alloc_layout(layout)))
}

/// A block of `size` bytes at a multiple of 8: for callers that do not include the header.
///
/// # Safety
/// The arena lives.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ascope_alloc(arena: *mut Arena, size: usize) -> *mut u8 {
    // SAFETY: the caller's condition.
    unsafe { ascope_alloc_cold(arena, size, GRAIN, core::ptr::null(), 0) }
}

/// A block at a multiple of `align`, a power of two: for callers that do not include the header.
///
/// # Safety
/// The arena lives.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ascope_alloc_aligned(arena: *mut Arena, size: usize, align: usize) -> *mut u8 {
    // SAFETY: the caller's condition.
    unsafe { ascope_alloc_cold(arena, size, align, core::ptr::null(), 0) }
}

/// Changes a block's size. A null block is a new one. What the header calls when the block cannot grow in place by its comparison.
///
/// # Safety
/// The arena lives; `block` is null, or a living block of it that has `old_size` bytes. `file` as in [`ascope_alloc_cold`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ascope_realloc_cold(
    arena: *mut Arena,
    block: *mut u8,
    old_size: usize,
    new_size: usize,
    align: usize,
    file: *const c_char,
    line: u32,
) -> *mut u8 {
    let Some(block) = NonNull::new(block) else {
        // SAFETY: the caller's condition.
        return unsafe { ascope_alloc_cold(arena, new_size, align, file, line) };
    };
    let (Ok(old), Ok(new)) = (Layout::from_size_align(old_size, align), Layout::from_size_align(new_size, align))
    else {
        return refuse(why_no_layout(align));
    };
    // SAFETY: the caller's condition.
    let (arena, site) = unsafe { (&*arena, Site::new(file, line)) };
    // SAFETY: the caller's condition: a living block of `old`.
    give(with_site(arena, site, || unsafe { arena.try_resize(block, old, new) }))
}

/// Changes a block's size: for callers that do not include the header.
///
/// # Safety
/// As [`ascope_realloc_cold`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ascope_realloc(
    arena: *mut Arena,
    block: *mut u8,
    old_size: usize,
    new_size: usize,
) -> *mut u8 {
    // SAFETY: the caller's condition.
    unsafe { ascope_realloc_cold(arena, block, old_size, new_size, GRAIN, core::ptr::null(), 0) }
}

/// Gives a block back; its memory is reused when it is the last one. A null block: nothing happens.
///
/// # Safety
/// The arena lives; `block` is null, or a living block of it of `size` bytes that nobody uses any more. `file` as in
/// [`ascope_alloc_cold`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ascope_free_at(
    arena: *mut Arena,
    block: *mut u8,
    size: usize,
    file: *const c_char,
    line: u32,
) {
    let (Some(block), Ok(layout)) = (NonNull::new(block), Layout::from_size_align(size, GRAIN)) else { return };
    // SAFETY: the caller's condition.
    let (arena, site) = unsafe { (&*arena, Site::new(file, line)) };
    // SAFETY: the caller's condition: a living block of `layout`.
    with_site(arena, site, || unsafe { arena.free(block, layout) });
}

/// Gives a block back: for callers that do not include the header.
///
/// # Safety
/// As [`ascope_free_at`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ascope_free(arena: *mut Arena, block: *mut u8, size: usize) {
    // SAFETY: the caller's condition.
    unsafe { ascope_free_at(arena, block, size, core::ptr::null(), 0) }
}

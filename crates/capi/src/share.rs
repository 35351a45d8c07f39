//! The fork policy `share` from C: memory that processes allocate from together.
//!
//! May be relied on: every refusal is a null, a 0 or a number of errno, and says why in a text where there is more than one reason. Deliberately
//! absent: types; what lies at an offset is the programs' agreement.
#![allow(unsafe_code)] // Hands memory over as pointers and offsets.

use crate::blocks::why_no_layout;
use crate::errno;
use crate::heap;
use arenascope::fork::{ShareArena, ShareError, ShareLocal};
use arenascope::{Error, raw};
use core::alloc::Layout;
use core::ffi::{c_char, c_int};
use core::ptr::NonNull;

/// Where a mapping begins is a multiple of this in every process, and of no more.
const LARGEST_ALIGN: usize = 4096;

/// `ascope_share`, opaque to C.
pub struct Share(ShareArena);

/// `ascope_share_handle`, opaque to C. `'static` stands for as long as the memory is mapped.
pub struct ShareHandle(ShareLocal<'static>);

/// `ascope_share_use`: what a check has counted.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ShareUse {
    /// Leased so far.
    pub leased_bytes: u64,
    /// Of these, in leases, not handed out yet.
    pub unused_bytes: u64,
    /// Of these, at the ends of leases that were used up.
    pub lost_bytes: u64,
    /// Leases that a thread of some process holds.
    pub held: u64,
    /// Of these, leases of processes that are gone.
    pub orphaned: u64,
    /// Requests refused, in all processes.
    pub refusals: u64,
}

/// The number of errno for what is wrong with shared memory, and a text.
fn reason(error: ShareError) -> (c_int, &'static str) {
    match error {
        ShareError::MemfdUnavailable(number) => (number, "the system gives no memory file to share"),
        ShareError::MapRefused(number) => (number, "the memory file cannot be mapped"),
        ShareError::TooLarge => (errno::ENOMEM, "more memory than can be shared: 8 TiB at most"),
        ShareError::TooSmall { .. } => (errno::EINVAL, "the file is smaller than its header says, or than a header is"),
        ShareError::WrongMagic(_) => (errno::EINVAL, "the file does not begin as shared arena memory does"),
        ShareError::OtherLayout(_) => (errno::ENOTSUP, "the memory has the layout of another version of the library"),
        ShareError::NotSealed => (errno::EPERM, "the file is not sealed against shrinking"),
        ShareError::Damaged(rule) => (errno::EBADMSG, rule),
        _ => (errno::EINVAL, "the memory cannot be used"),
    }
}

/// Writes a text and its closing zero where there is room for `bytes` bytes.
///
/// # Safety
/// `place` is null, or `bytes` bytes there can be written.
unsafe fn tell(text: &str, place: *mut c_char, bytes: usize) {
    if place.is_null() || bytes == 0 {
        return;
    }
    let length = text.len().min(bytes - 1);
    // SAFETY: length < bytes (the caller's condition).
    unsafe {
        place.cast::<u8>().copy_from_nonoverlapping(text.as_ptr(), length);
        place.add(length).write(0);
    }
}

fn mapped(made: Result<ShareArena, ShareError>) -> Result<*mut Share, ShareError> {
    heap::put(Share(made?)).map(NonNull::as_ptr).map_err(|_| ShareError::MapRefused(errno::ENOMEM))
}

/// Memory to be shared; null and `errno` when it cannot be had.
#[unsafe(no_mangle)]
pub extern "C" fn ascope_share_create(capacity: usize) -> *mut Share {
    mapped(ShareArena::init(capacity)).unwrap_or_else(|error| errno::refuse(reason(error).0))
}

/// Maps memory that another process made; null, `errno` and a text when it is not what it should be.
///
/// # Safety
/// Whoever else maps the file keeps to the rules of this library. `bytes` bytes at `why` can be written, or it is null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ascope_share_attach(descriptor: c_int, why: *mut c_char, bytes: usize) -> *mut Share {
    let attached = if descriptor < 0 {
        Err(ShareError::MapRefused(errno::EBADF))
    } else {
        // SAFETY: a number that is not -1: if nothing is open there, the system says so. The rest is the caller's condition.
        mapped(unsafe { raw::attach(descriptor) })
    };
    attached.unwrap_or_else(|error| {
        let (number, text) = reason(error);
        // SAFETY: the caller's condition.
        unsafe { tell(text, why, bytes) };
        errno::refuse(number)
    })
}

/// The descriptor of the memory's file, which stays the memory's. Null: -1.
///
/// # Safety
/// The handle lives, or is null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ascope_share_fd(share: *const Share) -> c_int {
    // SAFETY: the caller's condition.
    unsafe { share.as_ref() }.map_or(-1, |share| raw::descriptor(&share.0))
}

/// A handle for the calling thread; null and `errno` when there can be none.
///
/// # Safety
/// The memory stays mapped until the handle ends.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ascope_share_local(share: *mut Share) -> *mut ShareHandle {
    let Some(share) = NonNull::new(share) else { return errno::refuse(errno::EINVAL) };
    // SAFETY: the caller's condition: 'static stands for "until the handle ends".
    let share: &'static Share = unsafe { share.as_ref() };
    match share.0.local().and_then(|local| heap::put(ShareHandle(local))) {
        Ok(handle) => handle.as_ptr(),
        Err(error) => errno::refuse(errno::of(error)),
    }
}

/// Ends a handle; the rest of its lease is left to others. Null: nothing happens.
///
/// # Safety
/// The handle lives, is the calling thread's, and nobody uses it any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ascope_share_local_end(handle: *mut ShareHandle) {
    // SAFETY: the caller's condition.
    unsafe { heap::end(handle) }
}

/// Where a new block lies, in bytes from the memory's begin; 0 and `errno` when it cannot be had.
///
/// # Safety
/// The handle lives, and is the calling thread's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ascope_share_alloc(handle: *mut ShareHandle, size: usize, align: usize) -> u64 {
    let Some(handle) = NonNull::new(handle) else {
        errno::set(errno::EINVAL);
        return 0;
    };
    let Ok(layout) = Layout::from_size_align(size, align) else {
        errno::set(why_no_layout(align));
        return 0;
    };
    if align > LARGEST_ALIGN {
        errno::set(errno::EINVAL);
        return 0;
    }
    // SAFETY: the caller's condition.
    match unsafe { handle.as_ref() }.0.try_alloc_layout(layout) {
        Ok((_, offset)) => offset.to_raw(),
        Err(error) => {
            errno::set(match error {
                // As with every block: the system has no more memory.
                Error::Os(_) => errno::ENOMEM,
                other => errno::of(other),
            });
            0
        }
    }
}

/// What lies at an offset; null when the bytes there were not all leased.
///
/// # Safety
/// The memory is mapped, or `share` is null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ascope_share_at(share: *const Share, offset: u64, size: usize) -> *mut u8 {
    // SAFETY: the caller's condition.
    let place = unsafe { share.as_ref() }.and_then(|share| raw::place(&share.0, offset, size));
    place.map_or(core::ptr::null_mut(), NonNull::as_ptr)
}

/// Whether the memory keeps its rules: 0, or a number of errno and a text.
///
/// # Safety
/// The memory is mapped. `stats` is null or can be written; `bytes` bytes at `why` can be, or it is null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ascope_share_check(
    share: *const Share,
    stats: *mut ShareUse,
    why: *mut c_char,
    bytes: usize,
) -> c_int {
    // SAFETY: the caller's condition.
    let Some(share) = (unsafe { share.as_ref() }) else { return errno::EINVAL };
    match share.0.check() {
        Ok(walk) => {
            let found = ShareUse {
                leased_bytes: walk.leased_bytes,
                unused_bytes: walk.unused_bytes,
                lost_bytes: walk.lost_bytes,
                held: walk.held as u64,
                orphaned: walk.orphaned as u64,
                refusals: walk.refusals.into(),
            };
            if !stats.is_null() {
                // SAFETY: the caller's condition.
                unsafe { stats.write(found) };
            }
            // SAFETY: the caller's condition.
            unsafe { tell("", why, bytes) };
            0
        }
        Err(error) => {
            let (number, text) = reason(error);
            // SAFETY: the caller's condition.
            unsafe { tell(text, why, bytes) };
            number
        }
    }
}

/// Unmaps the memory in this process. Null: nothing happens.
///
/// # Safety
/// Handles have ended, and nobody in this process uses the memory any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ascope_share_destroy(share: *mut Share) {
    // SAFETY: the caller's condition.
    unsafe { heap::end(share) }
}

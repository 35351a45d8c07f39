//! What becomes of regions when their arenas end, and where the next ones come from.
#![allow(unsafe_code)] // Releases regions.

use crate::Arena;
use crate::create::{GROWING_BYTES, Seat};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Class of a region with a mapping of its own.
pub(crate) const ALONE: u32 = 1 << 16;

/// Class of a region in a caller's buffer.
pub(crate) const CALLERS: u32 = ALONE + 1;

pub(crate) fn small_seat(_capacity: usize) -> Option<Seat> {
    None
}

pub(crate) fn growing_bytes() -> usize {
    GROWING_BYTES
}

/// Bytes from the region's start to the header: 640 bytes on from the one before, modulo 4096.
pub(crate) fn next_colour() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    NEXT.fetch_add(640, Ordering::Relaxed) % 3712 & !127
}

/// Number, process and thread for a new arena.
pub(crate) fn identity() -> (u64, u32, u32) {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let pid = rustix::process::getpid().as_raw_nonzero().get() as u32;
    let tid = rustix::thread::gettid().as_raw_nonzero().get() as u32;
    (NEXT.fetch_add(1, Ordering::Relaxed), pid, tid)
}

/// # Safety
/// The arena has ended; nothing refers to it.
pub(crate) unsafe fn take_back(header: NonNull<Arena>) {
    // SAFETY: I1 until the release below.
    let (source, mapping, bytes) = unsafe {
        let arena = header.as_ref();
        arena.magic.set(0);
        (arena.source.get(), arena.mapping.get(), arena.mapping_bytes.get())
    };
    if let Some(mapping) = NonNull::new(mapping) {
        // SAFETY: I6, and the caller's condition.
        unsafe { source.release(mapping, bytes) };
    }
}

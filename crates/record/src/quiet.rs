//! After the host has asked for seccomp: no system calls, and in strict mode no time stamp counter.
//!
//! The kernel ends a process for a system call that its filter forbids, and nobody can ask which those are. So space in the
//! trace is made before the filter stands, and then whoever is about to make a system call looks here first. Relied on:
//! what is on here stays on until the host's call turns out to have failed. Deliberately absent: filters that the host
//! installs by a system call of its own making, which nobody sees.

use crate::space::Space;
use arenascope_trace::layout;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

/// Segments made ready: 16 MiB of the file, less where the disk is full or so much may not be in memory.
const SEGMENTS: u32 = (16 << 20) / layout::SEGMENT_BYTES as u32;

static ON: AtomicBool = AtomicBool::new(false);
/// Slot of the first segment made ready.
static FIRST: AtomicU32 = AtomicU32::new(0);
/// How many there are, and how many of them are taken.
static COUNT: AtomicU32 = AtomicU32::new(0);
static TAKEN: AtomicU32 = AtomicU32::new(0);

/// True when no system call may be made.
#[inline]
pub fn is_on() -> bool {
    ON.load(Relaxed)
}

/// Makes segments ready. They are kept for the next time when the host's call fails.
pub(crate) fn prepare(space: &Space) {
    if TAKEN.load(Relaxed) < COUNT.load(Relaxed) {
        return;
    }
    let Some((first, count)) = space.take_up_to(SEGMENTS) else { return };
    let have = (0..count).take_while(|index| space.ready(first.wrapping_add(*index)).is_some()).count() as u32;
    space.give_up(count.saturating_sub(have));
    FIRST.store(first, Relaxed);
    TAKEN.store(0, Relaxed);
    COUNT.store(have, Relaxed);
}

/// The next segment that was made ready.
pub(crate) fn next_segment(space: &Space) -> Option<u64> {
    let index = TAKEN.fetch_add(1, Relaxed);
    if index < COUNT.load(Relaxed) {
        return space.address(FIRST.load(Relaxed).wrapping_add(index));
    }
    TAKEN.store(u32::MAX / 2, Relaxed);
    None
}

/// From here on no system call.
pub(crate) fn begin(strict: bool) {
    if strict {
        crate::clock::freeze();
    }
    ON.store(true, Relaxed);
}

/// The host's call has failed: all is as before.
pub fn end() {
    crate::clock::thaw();
    ON.store(false, Relaxed);
}

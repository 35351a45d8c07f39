//! What a thread keeps of ended arenas' regions, from C: how much, what it is now, and giving it back.
//!
//! May be relied on: the limits hold for the whole process, what is kept is the calling thread's. Deliberately absent: keeping itself.
#![allow(unsafe_code)] // Exports C names.

use arenascope::{KeptLimits, kept, release_kept, set_kept_limits};

/// `ascope_kept_regions`: an amount of kept memory.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeptRegions {
    /// Bytes of memory, headers included.
    pub bytes: usize,
    /// Regions.
    pub count: usize,
}

/// Sets how much each thread keeps.
#[unsafe(no_mangle)]
pub extern "C" fn ascope_set_kept_limits(bytes: usize, count: usize) {
    set_kept_limits(KeptLimits { bytes, count });
}

/// Gives all that this thread keeps back to the system.
#[unsafe(no_mangle)]
pub extern "C" fn ascope_release_kept() {
    release_kept();
}

/// What this thread keeps now.
#[unsafe(no_mangle)]
pub extern "C" fn ascope_kept() -> KeptRegions {
    let KeptLimits { bytes, count } = kept();
    KeptRegions { bytes, count }
}

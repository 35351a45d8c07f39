//! The arena for C: the functions behind `arenascope.h`.
//!
//! May be relied on: every name that the library exports begins with `ascope_`; no function unwinds or aborts, errors are
//! return values (and `errno`); a Rust program that links this crate shares its arenas with its C parts. Deliberately absent:
//! the allocation path, which `arenascope.h` holds inline; arenas, which are those of `arenascope`; stdio, which the
//! header uses on the caller's side.
//!
//! The C prototypes with their contracts stand in `include/arenascope.h`; `docs/c.md` is the manual.
#![no_std]

extern crate alloc;

mod back;
mod blocks;
mod create;
mod errno;
mod fork;
mod heap;
mod kept;
#[cfg(arenascope_c_library)]
mod library;
mod pool;
mod share;
mod shared;
mod site;
mod watch;

/// The Rust side of the same arenas.
pub use arenascope;

pub use back::{
    Marker, Status, ascope_mark, ascope_mark_at, ascope_reset, ascope_reset_at, ascope_rewind, ascope_rewind_at,
};
pub use blocks::{
    ascope_alloc, ascope_alloc_aligned, ascope_alloc_cold, ascope_free, ascope_free_at, ascope_realloc,
    ascope_realloc_cold,
};
pub use create::{
    Options, ascope_create, ascope_destroy, ascope_destroy_at, ascope_growing, ascope_in_buffer_at, ascope_init,
    options,
};
pub use fork::{
    Absent, Wiped, ascope_absent_arena, ascope_absent_create, ascope_absent_destroy, ascope_wiped_arena,
    ascope_wiped_create, ascope_wiped_destroy, ascope_wiped_generation,
};
pub use kept::{KeptRegions, ascope_kept, ascope_release_kept, ascope_set_kept_limits};
pub use pool::{
    Pool, ascope_pool_create, ascope_pool_destroy, ascope_pool_idle, ascope_pool_release, ascope_pool_return_at,
    ascope_pool_take_at,
};
pub use share::{
    Share, ShareHandle, ShareUse, ascope_share_alloc, ascope_share_at, ascope_share_attach, ascope_share_check,
    ascope_share_create, ascope_share_destroy, ascope_share_fd, ascope_share_local, ascope_share_local_end,
};
pub use shared::{
    Lease, LeaseSeen, SharedUse, ascope_local, ascope_local_end, ascope_shared_alloc, ascope_shared_alloc_at,
    ascope_shared_create, ascope_shared_destroy, ascope_shared_leases, ascope_shared_reset, ascope_shared_stats,
};
pub use watch::{ascope_is_watched, ascope_observe, ascope_observe_all};

//! Shared arenas from C: creation, a handle for each thread, blocks without a handle, looking, reset and end.
//!
//! May be relied on: a handle is an `ascope_arena` that the header's inline path serves like any other; what takes blocks back refuses it.
//! Deliberately absent: a memory of who called: a handle is its holder's, from `ascope_local` to `ascope_local_end`.
#![allow(unsafe_code)] // Hands arenas over as pointers.

use crate::blocks::{give, refuse, why_no_layout};
use crate::create::{Options, builder, with_options};
use crate::errno;
use crate::site::{Site, with_site};
use arenascope::shared_header::SharedHeader;
use arenascope::{Arena, SharedArena, raw};
use core::alloc::Layout;
use core::ffi::{c_char, c_void};
use core::mem::ManuallyDrop;
use core::ptr::NonNull;

/// `ascope_shared_use`: what a shared arena knows about its memory.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SharedUse {
    /// The first byte that can be leased.
    pub base: *mut u8,
    /// Bytes that can be leased, all in all.
    pub capacity: usize,
    /// Leased since the last reset.
    pub leased_bytes: u64,
    /// Of these, in leases, not handed out yet.
    pub unused_bytes: u64,
    /// Of these, at the ends of leases that were used up.
    pub lost_bytes: u64,
    /// Resets.
    pub generation: u64,
    /// Handles that a thread holds.
    pub held: usize,
    /// The most handles that there were at once.
    pub berths: usize,
    /// Requests refused.
    pub refusals: u64,
}

/// `ascope_lease`: one thread's boundaries.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lease {
    /// Process that holds it; 0: it waits for the next thread.
    pub pid: u32,
    /// Thread that holds it.
    pub tid: u32,
    /// Its first byte.
    pub base: *mut u8,
    /// Bytes handed out from it.
    pub offset: usize,
    /// Its size.
    pub capacity: usize,
}

/// `ascope_lease_seen`: what is called for each lease.
pub type LeaseSeen = unsafe extern "C" fn(context: *mut c_void, lease: *const Lease);

/// The handle that the Rust side wants, without its drop.
///
/// # Safety
/// The arena lives.
unsafe fn owned(shared: NonNull<SharedHeader>) -> ManuallyDrop<SharedArena> {
    // SAFETY: the caller's condition; never dropped.
    ManuallyDrop::new(unsafe { SharedArena::from_raw(shared) })
}

/// Makes a shared arena; null and `errno` when it cannot be had.
///
/// # Safety
/// As [`ascope_create`](crate::ascope_create).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ascope_shared_create(asked: *const Options) -> *mut SharedHeader {
    let make = |options: &Options, site: Site| {
        // SAFETY: the caller's condition; the name is copied.
        let shared = unsafe { builder(options) }.build_shared()?;
        site.write_to_shared(&shared);
        Ok(shared.into_raw().as_ptr())
    };
    // SAFETY: the caller's condition.
    unsafe { with_options(asked, make) }
}

/// A handle for the calling thread; null and `errno` when there is no memory for one more.
///
/// # Safety
/// The arena lives.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ascope_local(shared: *mut SharedHeader) -> *mut Arena {
    let Some(shared) = NonNull::new(shared) else { return errno::refuse(errno::EINVAL) };
    // SAFETY: the caller's condition.
    let shared = unsafe { owned(shared) };
    match raw::hold_berth(&shared) {
        Ok(berth) => berth.as_ptr(),
        Err(error) => errno::refuse(errno::of(error)),
    }
}

/// Ends a handle. Null, or an arena that is none: nothing happens.
///
/// # Safety
/// The arena lives, was made for the calling thread, and is not used any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ascope_local_end(local: *mut Arena) {
    let Some(local) = NonNull::new(local) else { return };
    // SAFETY: the caller's condition.
    unsafe {
        if raw::is_leased(local.as_ref()) {
            // An observer need not live longer than the handle it watched.
            if !raw::own_observer(local.as_ref()).is_null() {
                local.as_ref().observe(None);
            }
            raw::leave_berth(local);
        }
    }
}

/// A block, from any thread, without a handle.
///
/// # Safety
/// The arena lives. `file` is null or a terminated string that lives as long as the arena.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ascope_shared_alloc_at(
    shared: *mut SharedHeader,
    size: usize,
    align: usize,
    file: *const c_char,
    line: u32,
) -> *mut u8 {
    let Some(shared) = NonNull::new(shared) else { return refuse(errno::EINVAL) };
    let Ok(layout) = Layout::from_size_align(size, align) else { return refuse(why_no_layout(align)) };
    // SAFETY: the caller's condition.
    let (shared, site) = unsafe { (owned(shared), Site::new(file, line)) };
    let block = raw::with_berth(&shared, |arena| with_site(arena, site, || arena.try_alloc_layout(layout)))
        .and_then(|block| block);
    give(block)
}

/// As [`ascope_shared_alloc_at`]: for callers that do not include the header.
///
/// # Safety
/// The arena lives.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ascope_shared_alloc(shared: *mut SharedHeader, size: usize, align: usize) -> *mut u8 {
    // SAFETY: the caller's condition.
    unsafe { ascope_shared_alloc_at(shared, size, align, core::ptr::null(), 0) }
}

/// What the arena knows about its memory. Null: zeroes.
///
/// # Safety
/// The arena lives, or is null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ascope_shared_stats(shared: *const SharedHeader) -> SharedUse {
    let Some(shared) = NonNull::new(shared.cast_mut()) else {
        return SharedUse {
            base: core::ptr::null_mut(),
            capacity: 0,
            leased_bytes: 0,
            unused_bytes: 0,
            lost_bytes: 0,
            generation: 0,
            held: 0,
            berths: 0,
            refusals: 0,
        };
    };
    // SAFETY: the caller's condition.
    let shared = unsafe { owned(shared) };
    let stats = shared.stats();
    SharedUse {
        base: shared.base(),
        capacity: shared.capacity(),
        leased_bytes: stats.leased_bytes,
        unused_bytes: stats.unused_bytes,
        lost_bytes: stats.lost_bytes,
        generation: stats.generation,
        held: stats.held,
        berths: stats.berths,
        refusals: stats.refusals.into(),
    }
}

/// Calls `seen` for each lease; how many there are.
///
/// # Safety
/// The arena lives, or is null; `seen` is null or may be called with `context`, and comes back.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ascope_shared_leases(
    shared: *const SharedHeader,
    seen: Option<LeaseSeen>,
    context: *mut c_void,
) -> usize {
    let Some(shared) = NonNull::new(shared.cast_mut()) else { return 0 };
    // SAFETY: the caller's condition.
    let shared = unsafe { owned(shared) };
    let mut count = 0;
    for lease in shared.leases() {
        let (pid, tid) = lease.owner.unwrap_or((0, 0));
        let (base, offset, capacity) = (lease.parts.base, lease.parts.offset, lease.parts.capacity);
        count += 1;
        if let Some(seen) = seen {
            // SAFETY: the caller's condition.
            unsafe { seen(context, &Lease { pid, tid, base, offset, capacity }) };
        }
    }
    count
}

/// Empties the arena: every block of every thread is gone, handles stay. Null: nothing happens.
///
/// # Safety
/// The arena lives, no other thread is in a call on it or on a handle of it, and nobody uses its blocks any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ascope_shared_reset(shared: *mut SharedHeader) {
    let Some(shared) = NonNull::new(shared) else { return };
    // SAFETY: the caller's condition.
    unsafe { owned(shared) }.reset();
}

/// Ends the arena, all its blocks and handles. Null: nothing happens.
///
/// # Safety
/// The arena lives, and nobody uses it, its handles or its blocks any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ascope_shared_destroy(shared: *mut SharedHeader) {
    let Some(shared) = NonNull::new(shared) else { return };
    // SAFETY: the caller's condition.
    drop(unsafe { SharedArena::from_raw(shared) });
}

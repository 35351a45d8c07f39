//! Pools of arenas from C: arenas that are handed between threads and used again.
//!
//! May be relied on: what an observer hears of an arena that is taken, returned or ended names the C caller's line. Deliberately absent: the list
//! itself, which is `ArenaPool`'s.
#![allow(unsafe_code)] // Hands arenas over as pointers; keeps a name beside the options that name it.

use crate::create::{Options, builder, create, owned, with_options};
use crate::errno;
use crate::heap;
use crate::kept::KeptRegions;
use crate::site::{Site, with_last_site, with_site};
use arenascope::{Arena, ArenaPool, KeptLimits, OwnedArena, raw};
use core::ffi::{CStr, c_char};
use core::ptr::NonNull;

/// Bytes of a name that a header keeps, and the zero behind them.
const NAME_BYTES: usize = 33;

/// `ascope_pool`, opaque to C.
pub struct Pool {
    pool: ArenaPool,
    /// The name is `name`, below.
    options: Options,
    name: [u8; NAME_BYTES],
}

/// Makes a pool; null and `errno` when it cannot be had.
///
/// # Safety
/// As [`ascope_create`](crate::ascope_create), but that the name may end after the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ascope_pool_create(asked: *const Options, keep_bytes: usize, keep_count: usize) -> *mut Pool {
    let make = |options: &Options, _: Site| {
        let mut name = [0; NAME_BYTES];
        if !options.name.is_null() {
            // SAFETY: a terminated string (the caller's condition).
            let given = unsafe { CStr::from_ptr(options.name) }.to_bytes();
            for (to, from) in name.iter_mut().zip(given).take(NAME_BYTES - 1) {
                *to = *from;
            }
        }
        let options = Options { name: core::ptr::null(), ..*options };
        // SAFETY: no name.
        let builder = unsafe { builder(&options) };
        let pool = ArenaPool::new(builder, KeptLimits { bytes: keep_bytes, count: keep_count });
        let this = heap::put(Pool { pool, options, name })?;
        // SAFETY: made a line ago, and nobody else knows it; a heap block does not move.
        unsafe {
            let this = this.as_ptr();
            if (*this).name.first() != Some(&0) {
                (*this).options.name = (&raw const (*this).name).cast();
            }
        }
        Ok(this.as_ptr())
    };
    // SAFETY: the caller's condition.
    unsafe { with_options(asked, make) }
}

/// An empty arena: the one that was returned last, or a new one; null and `errno` when it cannot be had.
///
/// # Safety
/// The pool lives. `file` is null or a terminated string that lives as long as the arena.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ascope_pool_take_at(pool: *mut Pool, file: *const c_char, line: u32) -> *mut Arena {
    let Some(pool) = NonNull::new(pool) else { return errno::refuse(errno::EINVAL) };
    // SAFETY: the caller's condition.
    let (pool, site) = unsafe { (pool.as_ref(), Site::new(file, line)) };
    if let Some(arena) = raw::take_waiting(&pool.pool) {
        site.write_to(&arena);
        return arena.into_raw().as_ptr();
    }
    // SAFETY: strings and observer as `ascope_pool_create` was promised; the name is the pool's own.
    match unsafe { create(&pool.options, site) } {
        Ok(arena) => core::ptr::from_ref(arena).cast_mut(),
        Err(error) => errno::refuse(errno::of(error)),
    }
}

/// Empties an arena and leaves it to the next who takes one, or ends it when the pool's limits are reached. Null, or an arena that something
/// else ends: nothing happens.
///
/// # Safety
/// The pool lives, and so does the arena, which was taken from it; nobody uses it or its blocks any more. `file` as in [`ascope_pool_take_at`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ascope_pool_return_at(pool: *mut Pool, arena: *mut Arena, file: *const c_char, line: u32) {
    let (Some(pool), Some(header)) = (NonNull::new(pool), NonNull::new(arena)) else { return };
    // SAFETY: the caller's condition.
    let (pool, arena, site) = unsafe { (pool.as_ref(), header.as_ref(), Site::new(file, line)) };
    if raw::is_ended_by_another(arena) {
        return;
    }
    // SAFETY: the caller's condition, and what `ascope_pool_create` was promised of the observer.
    unsafe {
        let mut handle = owned(header);
        with_site(arena, site, || handle.reset());
        // Who took it may have watched it, by an observer that need not live longer than that.
        if raw::own_observer(arena) != pool.options.observer {
            arena.observe(pool.options.observer.as_ref());
        }
        if let Some(beyond) = raw::leave_waiting(&pool.pool, OwnedArena::from_raw(header)) {
            with_last_site(beyond.into_raw(), site, || drop(OwnedArena::from_raw(header)));
        }
    }
}

/// What waits now. Null: nothing.
///
/// # Safety
/// The pool lives, or is null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ascope_pool_idle(pool: *const Pool) -> KeptRegions {
    // SAFETY: the caller's condition.
    let KeptLimits { bytes, count } =
        unsafe { pool.as_ref() }.map_or(KeptLimits { bytes: 0, count: 0 }, |pool| pool.pool.idle());
    KeptRegions { bytes, count }
}

/// Ends all arenas that wait. Null: nothing happens.
///
/// # Safety
/// The pool lives, or is null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ascope_pool_release(pool: *mut Pool) {
    // SAFETY: the caller's condition.
    if let Some(pool) = unsafe { pool.as_ref() } {
        pool.pool.release();
    }
}

/// Ends the pool and all arenas that wait in it; those that are out stay. Null: nothing happens.
///
/// # Safety
/// The pool lives, and nobody uses it any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ascope_pool_destroy(pool: *mut Pool) {
    // SAFETY: the caller's condition.
    unsafe { heap::end(pool) }
}

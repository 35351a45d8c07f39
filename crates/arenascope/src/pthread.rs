//! A pool and a memory of berths for each thread without Rust's standard library: by the C library's thread keys (feature `pthread`).
//!
//! May be relied on: what a thread has ends with the thread; a thread that can have none does without. Deliberately absent: what a
//! pool does (`pool`), and which berths those are (`thread_berths`). Whoever unloads a library that holds this code must see to
//! it that no thread ends afterwards: link it with `-z nodelete`.
#![allow(unsafe_code)] // Calls the C library; keeps pools by raw pointer.

use crate::pool::Pool;
use crate::thread_berths::Held;
use core::alloc::Layout;
use core::ffi::{c_int, c_uint, c_void};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, Ordering};

unsafe extern "C" {
    fn pthread_key_create(key: *mut c_uint, end: Option<unsafe extern "C" fn(*mut c_void)>) -> c_int;
    fn pthread_key_delete(key: c_uint) -> c_int;
    fn pthread_getspecific(key: c_uint) -> *mut c_void;
    fn pthread_setspecific(key: c_uint, value: *const c_void) -> c_int;
}

/// The key, and one more; 0 before there is one.
static KEY: AtomicU32 = AtomicU32::new(0);

/// What a thread has.
struct OfThread {
    pool: Pool,
    berths: Held,
}

/// This thread's pool. Nobody else uses it, and it lives until the thread ends.
#[inline]
pub(crate) fn pool() -> Option<NonNull<Pool>> {
    // SAFETY: a field of what `fresh` made; no reference is made.
    of_thread().map(|this| unsafe { NonNull::new_unchecked(&raw mut (*this.as_ptr()).pool) })
}

/// The berths of shared arenas that this thread holds. As with [`pool`].
#[inline]
pub(crate) fn berths() -> Option<NonNull<Held>> {
    // SAFETY: as in `pool`.
    of_thread().map(|this| unsafe { NonNull::new_unchecked(&raw mut (*this.as_ptr()).berths) })
}

#[inline]
fn of_thread() -> Option<NonNull<OfThread>> {
    match KEY.load(Ordering::Acquire) {
        0 => first(),
        // SAFETY: a key of ours; its value is null or what `fresh` put there.
        key => match NonNull::new(unsafe { pthread_getspecific(key - 1) }) {
            Some(this) => Some(this.cast()),
            None => fresh(key - 1),
        },
    }
}

#[cold]
fn first() -> Option<NonNull<OfThread>> {
    let mut key = 0;
    // SAFETY: `end` accepts what `fresh` stores under the key.
    if unsafe { pthread_key_create(&raw mut key, Some(end)) } != 0 {
        return None;
    }
    // A key whose successor is 0 does not exist: the C library has some thousands.
    match KEY.compare_exchange(0, key + 1, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => fresh(key),
        Err(first) => {
            // SAFETY: ours, and nobody knows it.
            unsafe { pthread_key_delete(key) };
            fresh(first - 1)
        }
    }
}

#[cold]
fn fresh(key: c_uint) -> Option<NonNull<OfThread>> {
    // SAFETY: an OfThread has a size.
    let this = NonNull::new(unsafe { heap::alloc::alloc(Layout::new::<OfThread>()) })?.cast::<OfThread>();
    // SAFETY: fresh memory of an OfThread's layout; the key is ours.
    unsafe {
        this.write(OfThread { pool: Pool::new(), berths: Held::new() });
        if pthread_setspecific(key, this.as_ptr().cast()) == 0 {
            return Some(this);
        }
        heap::alloc::dealloc(this.as_ptr().cast(), Layout::new::<OfThread>());
    }
    None
}

/// The thread ends.
unsafe extern "C" fn end(this: *mut c_void) {
    // SAFETY: what `fresh` stored; the C library has forgotten it, so that this is its last use.
    unsafe {
        this.cast::<OfThread>().drop_in_place();
        heap::alloc::dealloc(this.cast(), Layout::new::<OfThread>());
    }
}

//! The allocation path as functions of their own, to be read as assembly: `tests/assembly.rs` does.
//!
//! Beside each of ours stands a plain bump allocator that cannot be watched, with a cold path of the same signature: the probe must
//! not cost one instruction more.
#![allow(unsafe_code)] // Names for the assembly; a bump allocator by hand.

use arenascope::fork::{ShareLocal, Shareable};
use arenascope::{Arena, Local};
use std::alloc::Layout;
use std::cell::Cell;
use std::hint::cold_path;
use std::panic::Location;

/// A bump allocator with nothing but cursor and limit.
#[repr(C)]
pub struct Plain {
    before: [u64; 2],
    cursor: Cell<*mut u8>,
    between: u64,
    limit: Cell<usize>,
}

impl Plain {
    #[cold]
    #[inline(never)]
    fn cold(&self, layout: Layout, caller: &'static Location<'static>) -> *mut u8 {
        println!("{layout:?} at {caller}, {:?} {}", self.before, self.between);
        self.cursor.get()
    }

    #[inline(always)]
    #[track_caller]
    fn alloc<T>(&self, value: T) -> *mut T {
        let cursor = self.cursor.get();
        let end = cursor.wrapping_add(size_of::<T>().next_multiple_of(8));
        let block = if end.addr() <= self.limit.get() {
            self.cursor.set(end);
            cursor
        } else {
            cold_path();
            self.cold(Layout::new::<T>(), Location::caller())
        }
        .cast::<T>();
        // SAFETY: never run: only its assembly is read.
        unsafe { block.write(value) };
        block
    }

    #[inline(always)]
    #[track_caller]
    fn alloc_bytes(&self, bytes: usize) -> *mut u8 {
        let cursor = self.cursor.get();
        let end = cursor.wrapping_add(bytes).addr().wrapping_add(7) & !7;
        if end <= self.limit.get() {
            self.cursor.set(cursor.with_addr(end));
            cursor
        } else {
            cold_path();
            // SAFETY: as above.
            self.cold(unsafe { Layout::from_size_align_unchecked(bytes, 8) }, Location::caller())
        }
    }
}

macro_rules! pair {
    ($ours:ident $plain:ident $type:ty) => {
        /// Ours.
        #[unsafe(no_mangle)]
        #[inline(never)]
        pub extern "C" fn $ours(arena: &Arena, value: $type) -> *mut $type {
            arena.alloc(value)
        }
        /// Without a probe.
        #[unsafe(no_mangle)]
        #[inline(never)]
        pub extern "C" fn $plain(arena: &Plain, value: $type) -> *mut $type {
            arena.alloc(value)
        }
    };
}

/// 24 bytes.
#[repr(C)]
pub struct Three([u64; 3]);

/// 64 bytes.
#[repr(C)]
pub struct Eight([u64; 8]);

pair!(ours_8 plain_8 u64);
pair!(ours_24 plain_24 Three);
pair!(ours_64 plain_64 Eight);

macro_rules! by_handle {
    ($local:ident $share:ident $type:ty) => {
        /// Through a thread's handle of a shared arena.
        #[unsafe(no_mangle)]
        #[inline(never)]
        pub extern "C" fn $local(local: &Local<'_>, value: $type) -> *mut $type {
            local.alloc(value)
        }
        /// Through a handle of memory that processes share: the block's offset, 0 for none.
        #[unsafe(no_mangle)]
        #[inline(never)]
        pub extern "C" fn $share(local: &ShareLocal<'_>, value: $type) -> u64 {
            local.alloc(value).map_or(0, |offset| offset.to_raw())
        }
    };
}

by_handle!(local_8 share_8 u64);
by_handle!(local_24 share_24 Three);
by_handle!(local_64 share_64 Eight);

// SAFETY: numbers.
unsafe impl Shareable for Three {}
// SAFETY: numbers.
unsafe impl Shareable for Eight {}

/// As `ours_try_8`.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn local_try_8(local: &Local<'_>, value: u64) -> *mut u64 {
    local.try_alloc(value).map_or(std::ptr::null_mut(), |block| block as *mut u64)
}

/// Four blocks in a row.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn ours_row(arena: &Arena, value: u64) -> *mut u64 {
    arena.alloc(value);
    arena.alloc(value);
    arena.alloc(value);
    arena.alloc(value)
}

/// A size known at run time.
///
/// # Safety
/// Below `isize::MAX`.
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C" fn ours_bytes(arena: &Arena, bytes: usize) -> *mut u8 {
    // SAFETY: the caller's condition.
    arena.alloc_layout(unsafe { Layout::from_size_align_unchecked(bytes, 8) }).as_ptr()
}

/// As `ours_bytes`.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn plain_bytes(arena: &Plain, bytes: usize) -> *mut u8 {
    arena.alloc_bytes(bytes)
}

/// Size and alignment known at run time.
///
/// # Safety
/// Those of a layout.
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C" fn ours_layout(arena: &Arena, size: usize, align: usize) -> *mut u8 {
    // SAFETY: the caller's condition.
    arena.alloc_layout(unsafe { Layout::from_size_align_unchecked(size, align) }).as_ptr()
}

/// With an error instead of a panic.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn ours_try_8(arena: &Arena, value: u64) -> *mut u64 {
    arena.try_alloc(value).map_or(std::ptr::null_mut(), |block| block as *mut u64)
}

fn main() {
    println!("read me as assembly");
}

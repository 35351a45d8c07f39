//! The C arenas: glibc's obstacks, APR's pools, talloc, each behind one call as a C program has them.
//!
//! Their alignment is their own: obstacks 16 as set here, APR 8 whatever is asked, talloc 16.
#![allow(unsafe_code)] // Foreign functions.

use crate::memory::{Kind, Lay, Life, Put, Text};
use std::alloc::Layout;
use std::ffi::{c_char, c_int, c_void};
use std::ptr::null_mut;

unsafe extern "C" {
    fn bench_obstack_new(chunk: usize) -> *mut c_void;
    fn bench_obstack_alloc(obstack: *mut c_void, size: usize) -> *mut u8;
    fn bench_obstack_mark(obstack: *mut c_void) -> *mut c_void;
    fn bench_obstack_release(obstack: *mut c_void, mark: *mut c_void);
    fn bench_obstack_delete(obstack: *mut c_void);

    fn apr_initialize() -> c_int;
    fn apr_version_string() -> *const c_char;
    fn apr_pool_create_ex(pool: *mut *mut c_void, parent: *mut c_void, abort: *mut c_void, own: *mut c_void) -> c_int;
    fn apr_palloc(pool: *mut c_void, size: usize) -> *mut u8;
    fn apr_pool_clear(pool: *mut c_void);
    fn apr_pool_destroy(pool: *mut c_void);

    fn talloc_version_major() -> c_int;
    fn talloc_version_minor() -> c_int;
    fn talloc_named_const(context: *const c_void, size: usize, name: *const c_char) -> *mut c_void;
    fn talloc_pool(context: *const c_void, size: usize) -> *mut c_void;
    fn talloc_free_children(context: *mut c_void);
    fn _talloc_free(context: *mut c_void, place: *const c_char) -> c_int;

    fn gnu_get_libc_version() -> *const c_char;
}

/// The versions of the libraries that are loaded: glibc (with obstacks), APR, talloc.
pub fn versions() -> [(&'static str, String); 3] {
    // SAFETY: the three functions take nothing; the two strings are the libraries' own and static.
    let (glibc, apr, major, minor) = unsafe {
        let text = |text: *const c_char| std::ffi::CStr::from_ptr(text).to_string_lossy().into_owned();
        (text(gnu_get_libc_version()), text(apr_version_string()), talloc_version_major(), talloc_version_minor())
    };
    [("glibc", glibc), ("APR", apr), ("talloc", format!("{major}.{minor}"))]
}

/// A function that gives `size` bytes of an arena.
trait Give {
    fn give(&self, size: usize) -> *mut u8;
}

macro_rules! put_lay_text {
    ($contender:ty) => {
        impl<T: Copy> Put<T> for $contender {
            #[inline(always)]
            fn put(&self, value: T) -> *mut T {
                let place = self.give(size_of::<T>()).cast::<T>();
                // SAFETY: `give` returned that many bytes, aligned to 8 at least, which is T's alignment in every row.
                unsafe { place.write(value) };
                place
            }
        }

        impl Lay for $contender {
            #[inline(always)]
            fn lay(&self, layout: Layout) -> *mut u8 {
                self.give(layout.size())
            }
        }

        impl Text for $contender {
            #[inline(always)]
            fn text(&self, text: &str) -> &str {
                let place = self.give(text.len());
                // SAFETY: `give` returned that many fresh bytes; after the copy they are the same valid UTF-8, and they live
                // until a reset, which needs `&mut self`.
                unsafe {
                    place.copy_from_nonoverlapping(text.as_ptr(), text.len());
                    std::str::from_utf8_unchecked(std::slice::from_raw_parts(place, text.len()))
                }
            }
        }
    };
}

/// A glibc obstack.
pub struct Obstack {
    obstack: *mut c_void,
    first: *mut c_void,
}

impl Obstack {
    fn of_chunk(bytes: usize) -> Self {
        // SAFETY: a new obstack, and its first mark, taken at once.
        unsafe {
            let obstack = bench_obstack_new(bytes);
            Self { obstack, first: bench_obstack_mark(obstack) }
        }
    }

    /// Where it stands.
    pub fn mark(&mut self) -> *mut c_void {
        // SAFETY: the obstack lives as long as `self`.
        unsafe { bench_obstack_mark(self.obstack) }
    }

    /// Frees what was allocated since `mark`, which must be this obstack's and not yet released.
    pub fn release(&mut self, mark: *mut c_void) {
        // SAFETY: as the function's words ask; the only caller releases the mark it has just taken.
        unsafe { bench_obstack_release(self.obstack, mark) }
    }
}

impl Life for Obstack {
    const NAME: &'static str = "obstack";
    const KIND: Kind = Kind::C;
    fn new() -> Self {
        Self::of_chunk(0)
    }
    fn with_capacity(bytes: usize) -> Self {
        Self::of_chunk(bytes + 64)
    }
    fn reset(&mut self) {
        let first = self.first;
        self.release(first);
        self.first = self.mark();
    }
}

impl Give for Obstack {
    #[inline(always)]
    fn give(&self, size: usize) -> *mut u8 {
        // SAFETY: the obstack lives as long as `self`; `*mut` keeps it to one thread.
        unsafe { bench_obstack_alloc(self.obstack, size) }
    }
}

put_lay_text!(Obstack);

impl Drop for Obstack {
    fn drop(&mut self) {
        // SAFETY: made by bench_obstack_new, deleted once.
        unsafe { bench_obstack_delete(self.obstack) }
    }
}

/// An APR pool with APR's global allocator.
pub struct Apr(*mut c_void);

impl Apr {
    /// A pool under `parent`, or a root for null.
    fn under(parent: *mut c_void) -> Self {
        static ONCE: std::sync::Once = std::sync::Once::new();
        // SAFETY: once per process, before the first pool.
        ONCE.call_once(|| assert!(unsafe { apr_initialize() } == 0, "apr_initialize"));
        let mut pool = null_mut();
        // SAFETY: `pool` is written; the parent is null or a living pool; no abort function, the parent's allocator.
        let status = unsafe { apr_pool_create_ex(&mut pool, parent, null_mut(), null_mut()) };
        assert!(status == 0, "apr_pool_create_ex: {status}");
        Self(pool)
    }

    /// A child pool, the C way to write a scope.
    pub fn child(&self) -> Self {
        Self::under(self.0)
    }
}

impl Life for Apr {
    const NAME: &'static str = "APR pool";
    const KIND: Kind = Kind::C;
    fn new() -> Self {
        Self::under(null_mut())
    }
    /// A pool takes no capacity: one that has been filled and cleared keeps its blocks with its allocator.
    fn with_capacity(_bytes: usize) -> Self {
        Self::new()
    }
    fn reset(&mut self) {
        // SAFETY: a living pool.
        unsafe { apr_pool_clear(self.0) }
    }
}

impl Give for Apr {
    #[inline(always)]
    fn give(&self, size: usize) -> *mut u8 {
        // SAFETY: a living pool; `*mut` keeps it to one thread.
        unsafe { apr_palloc(self.0, size) }
    }
}

put_lay_text!(Apr);

impl Drop for Apr {
    fn drop(&mut self) {
        // SAFETY: made by apr_pool_create_ex, destroyed once; children are dropped before.
        unsafe { apr_pool_destroy(self.0) }
    }
}

/// A talloc context; with a capacity, a talloc pool.
pub struct Talloc(*mut c_void);

/// A block of talloc begins with a header of this size.
const TALLOC_HEADER: usize = 96;

impl Talloc {
    /// A child context, as a scope.
    pub fn child(&self) -> Self {
        // SAFETY: a living context; the name is static.
        Self(unsafe { talloc_named_const(self.0, 0, c"scope".as_ptr()) })
    }
}

impl Life for Talloc {
    const NAME: &'static str = "talloc";
    const KIND: Kind = Kind::C;
    fn new() -> Self {
        // SAFETY: no parent; the name is static.
        Self(unsafe { talloc_named_const(null_mut(), 0, c"bench".as_ptr()) })
    }
    fn with_capacity(bytes: usize) -> Self {
        // SAFETY: no parent. Room for blocks of 8 bytes, each with its header and rounded to 16.
        Self(unsafe { talloc_pool(null_mut(), bytes / 8 * (TALLOC_HEADER + 16)) })
    }
    fn reset(&mut self) {
        // SAFETY: a living context.
        unsafe { talloc_free_children(self.0) }
    }
}

impl Give for Talloc {
    #[inline(always)]
    fn give(&self, size: usize) -> *mut u8 {
        // SAFETY: a living context; the name is static.
        unsafe { talloc_named_const(self.0, size, c"block".as_ptr()) }.cast()
    }
}

put_lay_text!(Talloc);

impl Drop for Talloc {
    fn drop(&mut self) {
        // SAFETY: made by talloc, freed once; children go with it.
        unsafe { _talloc_free(self.0, c"drop".as_ptr()) };
    }
}

//! What only libarenascope.a and libarenascope.so have: an end of all panics, and the program's malloc for arenas on the heap.
//!
//! May be relied on: the panic handler is never linked in, because nothing can call it; a test reads the finished library.
//! Deliberately absent: the standard library, which would bring its own.
#![allow(unsafe_code)] // Calls malloc's family.

use core::alloc::{GlobalAlloc, Layout};
use core::ffi::{c_int, c_void};
use core::ptr::null_mut;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {
        core::hint::spin_loop();
    }
}

unsafe extern "C" {
    fn posix_memalign(block: *mut *mut c_void, align: usize, size: usize) -> c_int;
    fn free(block: *mut c_void);
}

/// The program's own malloc: asked for by arenas with `ASCOPE_HEAP`, and by nothing else.
struct Malloc;

// SAFETY: the C library gives memory that belongs to nobody else, of the size and alignment asked for, and takes it back by
// pointer alone.
unsafe impl GlobalAlloc for Malloc {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let mut block = null_mut();
        let align = layout.align().max(size_of::<*mut c_void>());
        // SAFETY: `align` is a power of two and a multiple of a pointer's size.
        let failed = unsafe { posix_memalign(&raw mut block, align, layout.size()) } != 0;
        if failed { null_mut() } else { block.cast() }
    }

    unsafe fn dealloc(&self, block: *mut u8, _: Layout) {
        // SAFETY: a block of `alloc` (the caller's condition).
        unsafe { free(block.cast()) }
    }
}

#[global_allocator]
static MALLOC: Malloc = Malloc;

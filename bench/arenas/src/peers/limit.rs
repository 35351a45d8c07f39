//! No allocator at all: the same stores into one buffer that is there already. What no arena can beat.
#![allow(unsafe_code)] // Stores through a raw cursor.

use crate::memory::{Kind, Lay, Life, Put, Text};
use std::alloc::Layout;
use std::cell::{Cell, UnsafeCell};

/// A buffer and a cursor without a check. Whoever fills it fills no more than its capacity.
pub struct Stores {
    cursor: Cell<*mut u8>,
    buffer: UnsafeCell<Vec<u128>>,
}

impl Life for Stores {
    const NAME: &'static str = "(stores only)";
    const KIND: Kind = Kind::Limit;
    /// With 2 MiB: enough for the rows that create it without a capacity.
    fn new() -> Self {
        Self::with_capacity(2 << 20)
    }
    fn with_capacity(bytes: usize) -> Self {
        let mut buffer = Vec::<u128>::with_capacity(bytes / size_of::<u128>() + 1);
        Self { cursor: Cell::new(buffer.as_mut_ptr().cast()), buffer: UnsafeCell::new(buffer) }
    }
    fn reset(&mut self) {
        self.cursor.set(self.buffer.get_mut().as_mut_ptr().cast());
    }
}

impl<T: Copy> Put<T> for Stores {
    #[inline(always)]
    fn put(&self, value: T) -> *mut T {
        let place = self.cursor.get().cast::<T>();
        // SAFETY: every row fills at most the capacity it asked for, with values of multiples of 8 bytes.
        unsafe { place.write(value) };
        self.cursor.set(place.wrapping_add(1).cast());
        place
    }
}

impl Lay for Stores {
    #[inline(always)]
    fn lay(&self, layout: Layout) -> *mut u8 {
        let place = self.cursor.get();
        self.cursor.set(place.wrapping_add(layout.size()));
        place
    }
}

impl Text for Stores {
    #[inline(always)]
    fn text(&self, text: &str) -> &str {
        let place = self.cursor.get();
        self.cursor.set(place.wrapping_add(text.len()));
        // SAFETY: the row's capacity has room for all its texts and 32 bytes more; texts have 4 to 20 bytes, so two
        // copies of 8 or 4 bytes, or one of 16 with its tail, cover each.
        unsafe {
            short_copy(text.as_ptr(), place, text.len());
            std::str::from_utf8_unchecked(std::slice::from_raw_parts(place, text.len()))
        }
    }
}

/// Copies 4 to 32 bytes by overlapping words, with no call.
///
/// # Safety
/// `len` bytes can be read at `from` and written at `to`; 4 ≤ `len` ≤ 32.
#[inline(always)]
unsafe fn short_copy(from: *const u8, to: *mut u8, len: usize) {
    // SAFETY: both copies of each arm lie inside `len`, by the arm's bound.
    unsafe {
        if len >= 16 {
            let (head, tail) =
                (from.cast::<u128>().read_unaligned(), from.add(len - 16).cast::<u128>().read_unaligned());
            to.cast::<u128>().write_unaligned(head);
            to.add(len - 16).cast::<u128>().write_unaligned(tail);
        } else if len >= 8 {
            let (head, tail) = (from.cast::<u64>().read_unaligned(), from.add(len - 8).cast::<u64>().read_unaligned());
            to.cast::<u64>().write_unaligned(head);
            to.add(len - 8).cast::<u64>().write_unaligned(tail);
        } else {
            let (head, tail) = (from.cast::<u32>().read_unaligned(), from.add(len - 4).cast::<u32>().read_unaligned());
            to.cast::<u32>().write_unaligned(head);
            to.add(len - 4).cast::<u32>().write_unaligned(tail);
        }
    }
}

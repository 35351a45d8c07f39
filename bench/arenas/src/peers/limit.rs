//! No allocator at all: the same stores into one buffer that is there already. What no arena can beat.
#![allow(unsafe_code)] // Stores through a raw cursor.

use crate::memory::{Kind, Lay, Life, Put};
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

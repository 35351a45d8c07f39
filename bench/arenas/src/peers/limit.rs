//! No allocator at all: the same stores into memory that is there already, or huge pages. What no arena can beat.
#![allow(unsafe_code)] // Stores through a raw cursor.

use crate::machine::Region;
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

/// The same over huge pages, for work too large for [`Stores`]: [`Pages::BYTES`] that are populated when touched.
pub struct Pages {
    cursor: Cell<*mut u8>,
    region: Region,
}

impl Pages {
    /// The stretch tree of binary-trees 21 takes half of it.
    const BYTES: usize = 256 << 20;
}

impl Life for Pages {
    const NAME: &'static str = Stores::NAME;
    const KIND: Kind = Kind::Limit;
    fn new() -> Self {
        let region = Region::of_huge_pages(Self::BYTES);
        Self { cursor: Cell::new(region.start()), region }
    }
    fn with_capacity(_bytes: usize) -> Self {
        Self::new()
    }
    fn reset(&mut self) {
        self.cursor.set(self.region.start());
    }
}

impl<T: Copy> Put<T> for Pages {
    #[inline(always)]
    fn put(&self, value: T) -> *mut T {
        let place = self.cursor.get().cast::<T>();
        // SAFETY: the row that uses this fills at most half of the region between two resets.
        unsafe { place.write(value) };
        self.cursor.set(place.wrapping_add(1).cast());
        place
    }
}

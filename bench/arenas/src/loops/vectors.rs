//! Vectors that grow by pushing: one, and two in turn. A unit is [`PUSHES`] pushes to each vector, and one reset.
//!
//! The arenas have room for all that a growing vector leaves behind, and are warm: what is measured is growing. The vector
//! is this file's own, of the shape of the standard library's with its growth out of line: allocator-api2's is inlined
//! differently for each allocator, and the loop then costs 10 to 21 instructions a push before anything grows.
#![allow(unsafe_code)] // A vector.

use super::{Took, timed};
use crate::memory::{Life, Vectors};
use crate::peers::general::{General, Handle, Mimalloc};
use allocator_api2::alloc::Allocator;
use std::alloc::Layout;
use std::hint::black_box;
use std::ptr::NonNull;

/// Pushes to each vector: 4 MB in the end.
pub const PUSHES: u64 = 1_000_000;

/// Room for a vector and its outgrown copies.
const ROOM: usize = 16 << 20;

/// One vector in an arena.
pub fn one<A: Life + Vectors>(units: u64) -> Took {
    let mut arena = A::with_capacity(ROOM);
    repeat(units, || {
        push_one(Growing::new_in(arena.handle()));
        arena.reset();
    })
}

/// Two vectors in one arena.
pub fn two<A: Life + Vectors>(units: u64) -> Took {
    let mut arena = A::with_capacity(2 * ROOM);
    repeat(units, || {
        push_two(Growing::new_in(arena.handle()), Growing::new_in(arena.handle()));
        arena.reset();
    })
}

/// Two vectors, each in an arena of its own.
pub fn two_arenas<A: Life + Vectors>(units: u64) -> Took {
    let (mut first, mut second) = (A::with_capacity(ROOM), A::with_capacity(ROOM));
    repeat(units, || {
        push_two(Growing::new_in(first.handle()), Growing::new_in(second.handle()));
        first.reset();
        second.reset();
    })
}

/// One vector on a general allocator.
pub fn general_one<G: General>(units: u64) -> Took {
    repeat(units, || push_one(Growing::new_in(Handle::<G>::new())))
}

/// Two vectors on a general allocator.
pub fn general_two<G: General>(units: u64) -> Took {
    repeat(units, || push_two(Growing::new_in(Handle::<G>::new()), Growing::new_in(Handle::<G>::new())))
}

/// What pushing costs when nothing grows.
pub fn sized_one(units: u64) -> Took {
    let handle = Handle::<Mimalloc>::new();
    repeat(units, || push_one(Growing::with_capacity_in(handle)))
}

/// The same for two.
pub fn sized_two(units: u64) -> Took {
    let handle = Handle::<Mimalloc>::new();
    repeat(units, || push_two(Growing::with_capacity_in(handle), Growing::with_capacity_in(handle)))
}

fn repeat(units: u64, mut once: impl FnMut()) -> Took {
    once();
    let ns = timed(|| (0..units).for_each(|_| once()));
    Took { ns, ..Took::default() }
}

#[inline(never)]
fn push_one<A: Allocator>(mut one: Growing<A>) {
    for i in 0..PUSHES as u32 {
        one.push(i);
    }
    black_box(one.start);
}

#[inline(never)]
fn push_two<A: Allocator>(mut first: Growing<A>, mut second: Growing<A>) {
    for i in 0..PUSHES as u32 {
        first.push(i);
        second.push(i);
    }
    black_box((first.start, second.start));
}

/// A vector of u32 that doubles.
struct Growing<A: Allocator> {
    start: NonNull<u32>,
    length: usize,
    capacity: usize,
    allocator: A,
}

impl<A: Allocator> Growing<A> {
    fn new_in(allocator: A) -> Self {
        Self { start: NonNull::dangling(), length: 0, capacity: 0, allocator }
    }

    fn with_capacity_in(allocator: A) -> Self {
        let mut sized = Self::new_in(allocator);
        sized.grow(PUSHES as usize);
        sized
    }

    #[inline(always)]
    fn push(&mut self, value: u32) {
        if self.length == self.capacity {
            self.grow((2 * self.capacity).max(4));
        }
        // SAFETY: `length` is below `capacity`, for which there is room at `start`.
        unsafe { self.start.add(self.length).write(value) };
        self.length += 1;
    }

    #[inline(never)]
    fn grow(&mut self, capacity: usize) {
        let new = Self::layout(capacity);
        let block = if self.capacity == 0 {
            self.allocator.allocate(new)
        } else {
            // SAFETY: the block is this allocator's, of the layout it was last given; the new one is larger.
            unsafe { self.allocator.grow(self.start.cast(), Self::layout(self.capacity), new) }
        };
        self.start = block.unwrap_or_else(|_| std::alloc::handle_alloc_error(new)).cast();
        self.capacity = capacity;
    }

    fn layout(capacity: usize) -> Layout {
        Layout::array::<u32>(capacity).expect("a few MB")
    }
}

impl<A: Allocator> Drop for Growing<A> {
    fn drop(&mut self) {
        if self.capacity > 0 {
            // SAFETY: the block is this allocator's, of the layout it was last given.
            unsafe { self.allocator.deallocate(self.start.cast(), Self::layout(self.capacity)) };
        }
    }
}

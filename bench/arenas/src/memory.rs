//! What the loops ask of a contender: a life, and a few ways to take memory.
//!
//! Every loop is generic over these traits and compiled once per contender, so all contenders run loops of one shape.
//! Deliberately absent: anything a contender could do that the others cannot; those have loops of their own.

use allocator_api2::alloc::Allocator;
use std::alloc::Layout;

/// What a contender is, so that a bar can say whom it compares with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// The arena this project is about.
    Ours,
    /// A Rust arena.
    Arena,
    /// A C arena.
    C,
    /// A general allocator: every block is freed by itself.
    Malloc,
    /// The same stores with no allocator: what no arena can beat.
    Limit,
    /// Ours with another policy than the row's first contender has; shown beside that.
    Choice,
    /// A peer used in another way than the row's: shown beside it, and in no bar that does not name it.
    Aside,
}

/// Creation, reuse and (by `Drop`) the end.
pub trait Life: Sized {
    /// As the tables print it.
    const NAME: &'static str;
    /// Whom it is compared with.
    const KIND: Kind;
    /// The contender's plain constructor.
    fn new() -> Self;
    /// With room for `bytes`, before the first allocation if the contender can.
    fn with_capacity(bytes: usize) -> Self;
    /// Back to empty, by the contender's own means; memory is kept as it likes.
    fn reset(&mut self);
}

/// A value of a size known at compile time.
pub trait Put<T: Copy> {
    /// Moves `value` into the arena.
    fn put(&self, value: T) -> *mut T;
}

/// A block of a size known at run time.
pub trait Lay {
    /// An uninitialised block.
    fn lay(&self, layout: Layout) -> *mut u8;
}

/// A copied string.
pub trait Text {
    /// Copies `text`.
    fn text(&self, text: &str) -> &str;
}

/// An allocator for vectors.
pub trait Vectors {
    /// The allocator, as vectors hold it.
    type Handle<'a>: Allocator + Copy
    where
        Self: 'a;
    /// Lends it.
    fn handle(&self) -> Self::Handle<'_>;
}

//! The contract of a memory source: what an arena asks of the memory under it.
//!
//! May be relied on: an arena makes every call through this trait, from creation and from the cold path only. The sources
//! themselves: [`System`](crate::System) (mmap), [`Heap`](crate::Heap), [`FailAt`](crate::FailAt), and a caller's buffer.
//! Deliberately absent: arenas; a region does not know what lies in it.
//!
//! # The life of a region
//! ```text
//! reserve ──► commit ──► commit … ──► decommit ──► commit … ──► release
//!   │ addresses are ours      │ may be touched       │ contents are gone
//! ```
//! A region never moves. After a failed call everything is as before it.
#![allow(unsafe_code)] // The trait is unsafe to implement: arenas hand out the memory that it names.

use crate::Error;
use core::ptr::NonNull;

/// What an arena wants reserved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Request {
    /// Bytes, at least 1, at most `isize::MAX` − 2^22. A source may give more.
    pub bytes: usize,
    /// When not 0: `start + head_bytes` shall be a multiple of 2 MiB, so that what follows the head can use huge pages. A
    /// wish, which sources without pages ignore.
    pub head_bytes: usize,
}

/// Memory that a source has reserved.
#[derive(Clone, Copy)]
pub struct Region {
    /// First byte; a multiple of 128.
    pub start: NonNull<u8>,
    /// Bytes from `start` that are reserved.
    pub bytes: usize,
    /// Bytes from `start` that may be touched already.
    pub committed: usize,
    /// What `release` wants back: where the reservation really begins, and its bytes.
    pub mapping: NonNull<u8>,
    /// See `mapping`.
    pub mapping_bytes: usize,
    /// Every byte is zero when first committed.
    pub zeroed: bool,
    /// Who commits and releases this region; a source may delegate.
    pub source: &'static dyn Source,
}

/// What becomes of a region in the child of a fork.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AfterFork {
    /// Its memory is zero.
    Wipe,
    /// It is not there.
    Absent,
}

/// A source of memory.
///
/// # Safety
/// A region from `reserve` is readable and writable in its committed part, belongs to nobody else, and stays where it is
/// until `release`. Committed bytes read as zero before their first write if the region says `zeroed`. The calls may come from
/// any thread, and use no arena and no pool of this library: the arena that asks is in the middle of a change.
pub unsafe trait Source: Sync {
    /// A word for statistics.
    fn name(&self) -> &'static str;

    /// Reserves `request.bytes` or more.
    fn reserve(&'static self, request: Request) -> Result<Region, Error>;

    /// Makes `from..to` (bytes from `start`) usable; `populate` asks for the pages at once. The source may round outward to
    /// pages within the region's mapping. Bytes that were usable keep their contents.
    ///
    /// # Safety
    /// `start` comes from a region of this source that is not released, and `from ≤ to ≤ bytes` of it.
    unsafe fn commit(&self, start: NonNull<u8>, from: usize, to: usize, populate: bool) -> Result<(), Error>;

    /// Asks for huge pages in `from..to` from now on, where that means something.
    ///
    /// # Safety
    /// As `commit`.
    unsafe fn advise_huge(&self, start: NonNull<u8>, from: usize, to: usize);

    /// Gives back the memory, not the addresses, of the whole pages within `from..to`; true when that happened, and then
    /// those pages, usable again only after another `commit`, read as zero. Returns the range given back.
    ///
    /// # Safety
    /// As `commit`, and nobody refers to those bytes.
    unsafe fn decommit(&self, start: NonNull<u8>, from: usize, to: usize) -> Option<(usize, usize)>;

    /// Says what becomes of a whole region in children. A source whose regions are not whole pages of private memory refuses, as it does
    /// without a word of its own (error number 22, invalid argument).
    ///
    /// # Safety
    /// The two numbers are those of a region of this source that was not released.
    unsafe fn after_fork(&self, mapping: NonNull<u8>, mapping_bytes: usize, what: AfterFork) -> Result<(), Error> {
        let _ = (mapping, mapping_bytes, what);
        Err(Error::Os(22))
    }

    /// Ends a region.
    ///
    /// # Safety
    /// The two numbers are those of a region of this source that was not released before, and nobody refers to its bytes.
    unsafe fn release(&self, mapping: NonNull<u8>, mapping_bytes: usize);
}

//! Ours: the one file that knows arenascope's API.
//!
//! `new` is [`Arena::growing`], `with_capacity` is [`Arena::init`].
#![allow(unsafe_code)] // An allocator for vectors; texts are made in place.

use crate::loops::{Took, cold, cycle, json, scope, text, trees, vectors, warm};
use crate::memory::{Kind, Lay, Life, Put, Text, Vectors};
use crate::rows::Contender;
use allocator_api2::alloc::{AllocError, Allocator};
use arenascope::{Arena, HugePages, OwnedArena};
use std::alloc::Layout;
use std::ptr::NonNull;

/// Our arena as it comes.
pub struct Ours(OwnedArena);

impl Life for Ours {
    const NAME: &'static str = "arenascope";
    const KIND: Kind = Kind::Ours;
    #[inline(always)]
    fn new() -> Self {
        Self(Arena::growing().expect("an arena"))
    }
    #[inline(always)]
    fn with_capacity(bytes: usize) -> Self {
        Self(Arena::init(bytes).expect("an arena"))
    }
    #[inline(always)]
    fn reset(&mut self) {
        self.0.reset();
    }
}

impl<T: Copy> Put<T> for Ours {
    #[inline(always)]
    fn put(&self, value: T) -> *mut T {
        self.0.alloc(value)
    }
}

impl Lay for Ours {
    #[inline(always)]
    fn lay(&self, layout: Layout) -> *mut u8 {
        self.0.alloc_layout(layout).as_ptr()
    }
}

impl Text for Ours {
    #[inline(always)]
    fn text(&self, text: &str) -> &str {
        let layout = Layout::for_value(text);
        let place = self.0.alloc_layout(layout).as_ptr();
        // SAFETY: fresh bytes of that number, which after the copy are the same valid UTF-8; a reset needs `&mut self`.
        unsafe {
            place.copy_from_nonoverlapping(text.as_ptr(), text.len());
            std::str::from_utf8_unchecked(std::slice::from_raw_parts(place, text.len()))
        }
    }
}

impl Vectors for Ours {
    type Handle<'a> = Handle<'a>;
    fn handle(&self) -> Self::Handle<'_> {
        Handle(&self.0)
    }
}

/// Our arena as vectors hold it.
#[derive(Clone, Copy)]
pub struct Handle<'a>(&'a Arena);

// SAFETY: blocks are the arena's and live as long as it is borrowed; a copy of the handle is the same borrow.
unsafe impl Allocator for Handle<'_> {
    #[inline(always)]
    fn allocate(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        let block = self.0.try_alloc_layout(layout).map_err(|_| AllocError)?;
        Ok(NonNull::slice_from_raw_parts(block, layout.size()))
    }
    #[inline(always)]
    unsafe fn deallocate(&self, block: NonNull<u8>, layout: Layout) {
        // SAFETY: the caller's promise is the one asked for here.
        unsafe { self.0.free(block, layout) }
    }
    #[inline(always)]
    unsafe fn grow(&self, block: NonNull<u8>, old: Layout, new: Layout) -> Result<NonNull<[u8]>, AllocError> {
        // SAFETY: the caller's promise is the one asked for here.
        let block = unsafe { self.0.try_resize(block, old, new) }.map_err(|_| AllocError)?;
        Ok(NonNull::slice_from_raw_parts(block, new.size()))
    }
}

/// Our arena without huge pages.
pub struct SmallPages(Ours);

impl Life for SmallPages {
    const NAME: &'static str = "arenascope, small pages";
    const KIND: Kind = Kind::Ours;
    fn new() -> Self {
        Self(Ours(Arena::builder().huge_pages(HugePages::Never).build().expect("an arena")))
    }
    fn with_capacity(bytes: usize) -> Self {
        Self(Ours(Arena::builder().huge_pages(HugePages::Never).capacity(bytes).build().expect("an arena")))
    }
    fn reset(&mut self) {
        self.0.reset();
    }
}

impl<T: Copy> Put<T> for SmallPages {
    #[inline(always)]
    fn put(&self, value: T) -> *mut T {
        self.0.put(value)
    }
}

fn ours(how: &str, run: fn(u64) -> Took) -> Contender {
    let name = if how.is_empty() { Ours::NAME.to_owned() } else { format!("{}, {how}", Ours::NAME) };
    Contender { name, kind: Kind::Ours, run }
}

/// Cold memory.
pub fn cold() -> Vec<Contender> {
    vec![ours("", cold::fill_and_drop::<Ours>), ours("small pages", cold::fill_and_drop::<SmallPages>)]
}

/// Whole lives.
pub fn lives<const BYTES: usize>() -> Vec<Contender> {
    vec![
        ours("growing", cycle::new::<Ours, BYTES>),
        ours("init", cycle::with_capacity::<Ours, BYTES>),
        ours("kept and reset", cycle::kept::<Ours, BYTES>),
    ]
}

/// JSON, fresh and reused.
pub fn json() -> Vec<Contender> {
    vec![ours("", json::arena::<Ours>), ours("reused", json::reused::<Ours>)]
}

/// binary-trees.
pub fn trees<const THREADS: u64>() -> Vec<Contender> {
    vec![ours("new", trees::new::<Ours, THREADS>), ours("reset", trees::reset::<Ours, THREADS>)]
}

/// Short strings.
pub fn text() -> Vec<Contender> {
    vec![ours("", text::words::<Ours>)]
}

/// One vector.
pub fn vector() -> Vec<Contender> {
    vec![ours("", vectors::one::<Ours>)]
}

/// Two vectors.
pub fn vectors() -> Vec<Contender> {
    vec![ours("", vectors::two::<Ours>), ours("an arena each", vectors::two_arenas::<Ours>)]
}

/// Warm values.
pub fn warm<const WORDS: usize>() -> Vec<Contender> {
    vec![ours("", warm::values::<Ours, WORDS>)]
}

/// Layouts known at run time.
pub fn layouts() -> Vec<Contender> {
    vec![ours("", warm::layouts::<Ours>)]
}

/// Scopes.
pub fn scope() -> Vec<Contender> {
    vec![ours("checkpoint", checkpoint), ours("reset", scope::reset::<Ours>)]
}

fn checkpoint(units: u64) -> Took {
    let arena = Arena::growing().expect("an arena");
    scope::repeat(units, |seed| {
        let checkpoint = arena.checkpoint();
        scope::ten(seed, |block| arena.alloc(block));
        // SAFETY: of what was allocated since the checkpoint only an address is left.
        unsafe { arena.rewind_unchecked(&checkpoint) }.expect("the checkpoint is this arena's own");
    })
}

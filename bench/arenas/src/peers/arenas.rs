//! The arenas from crates.io, as their documentation says they are to be used.
#![allow(unsafe_code)] // oxc's and bump-scope's raw layouts, and a bridge between two versions of one trait.

use crate::memory::{Kind, Lay, Life, Put, Text, Vectors};
use allocator_api2::alloc::{AllocError, Allocator};
use bump_scope::settings::BumpSettings;
use bump_scope::{BumpBox, alloc::Global};
use std::alloc::Layout;
use std::ptr::NonNull;

/// bumpalo; `MIN` is its minimum alignment.
pub struct Bumpalo<const MIN: usize = 1>(pub bumpalo::Bump<MIN>);

impl<const MIN: usize> Life for Bumpalo<MIN> {
    const NAME: &'static str = if MIN == 1 { "bumpalo" } else { "bumpalo, min align 8" };
    const KIND: Kind = Kind::Arena;
    fn new() -> Self {
        Self(bumpalo::Bump::with_min_align())
    }
    fn with_capacity(bytes: usize) -> Self {
        Self(bumpalo::Bump::with_min_align_and_capacity(bytes))
    }
    fn reset(&mut self) {
        self.0.reset();
    }
}

impl<const MIN: usize, T: Copy> Put<T> for Bumpalo<MIN> {
    #[inline(always)]
    fn put(&self, value: T) -> *mut T {
        self.0.alloc(value)
    }
}

impl<const MIN: usize> Lay for Bumpalo<MIN> {
    #[inline(always)]
    fn lay(&self, layout: Layout) -> *mut u8 {
        self.0.alloc_layout(layout).as_ptr()
    }
}

impl<const MIN: usize> Text for Bumpalo<MIN> {
    #[inline(always)]
    fn text(&self, text: &str) -> &str {
        self.0.alloc_str(text)
    }
}

impl<const MIN: usize> Vectors for Bumpalo<MIN> {
    type Handle<'a> = &'a bumpalo::Bump<MIN>;
    fn handle(&self) -> Self::Handle<'_> {
        &self.0
    }
}

/// bump-scope's arena of one minimum alignment and direction.
pub type Scoped<const MIN: usize, const UP: bool> = bump_scope::Bump<Global, BumpSettings<MIN, UP>>;

/// bump-scope; `MIN` is its minimum alignment, `UP` its direction.
pub struct BumpScope<const MIN: usize, const UP: bool>(pub Scoped<MIN, UP>)
where
    bump_scope::settings::MinimumAlignment<MIN>: bump_scope::settings::SupportedMinimumAlignment;

macro_rules! bump_scope_contender {
    ($min:literal, $up:literal, $name:literal) => {
        impl Life for BumpScope<$min, $up> {
            const NAME: &'static str = $name;
            const KIND: Kind = Kind::Arena;
            fn new() -> Self {
                Self(Scoped::<$min, $up>::new())
            }
            fn with_capacity(bytes: usize) -> Self {
                let layout = Layout::from_size_align(bytes, 16).expect("a benchmark's size");
                Self(Scoped::<$min, $up>::with_capacity(layout))
            }
            fn reset(&mut self) {
                self.0.reset();
            }
        }

        impl<T: Copy> Put<T> for BumpScope<$min, $up> {
            #[inline(always)]
            fn put(&self, value: T) -> *mut T {
                BumpBox::into_raw(self.0.alloc(value)).as_ptr()
            }
        }

        impl Lay for BumpScope<$min, $up> {
            #[inline(always)]
            fn lay(&self, layout: Layout) -> *mut u8 {
                use bump_scope::traits::BumpAllocatorTyped;
                self.0.allocate_layout(layout).as_ptr()
            }
        }

        impl Text for BumpScope<$min, $up> {
            #[inline(always)]
            fn text(&self, text: &str) -> &str {
                self.0.alloc_str(text).into_ref()
            }
        }

        impl Vectors for BumpScope<$min, $up> {
            type Handle<'a> = &'a Scoped<$min, $up>;
            fn handle(&self) -> Self::Handle<'_> {
                &self.0
            }
        }
    };
}

bump_scope_contender!(1, true, "bump-scope up");
bump_scope_contender!(1, false, "bump-scope down");
bump_scope_contender!(8, true, "bump-scope up, min align 8");
bump_scope_contender!(8, false, "bump-scope down, min align 8");

/// blink-alloc.
pub struct Blink(pub blink_alloc::Blink);

impl Life for Blink {
    const NAME: &'static str = "blink-alloc";
    const KIND: Kind = Kind::Arena;
    fn new() -> Self {
        Self(blink_alloc::Blink::new())
    }
    fn with_capacity(bytes: usize) -> Self {
        Self(blink_alloc::Blink::with_chunk_size(bytes))
    }
    fn reset(&mut self) {
        self.0.reset();
    }
}

impl<T: Copy> Put<T> for Blink {
    #[inline(always)]
    fn put(&self, value: T) -> *mut T {
        self.0.put_no_drop(value)
    }
}

impl Lay for Blink {
    #[inline(always)]
    fn lay(&self, layout: Layout) -> *mut u8 {
        match self.0.allocator().allocate(layout) {
            Ok(block) => block.as_ptr().cast(),
            Err(_) => std::alloc::handle_alloc_error(layout),
        }
    }
}

impl Text for Blink {
    #[inline(always)]
    fn text(&self, text: &str) -> &str {
        self.0.copy_str(text)
    }
}

impl Vectors for Blink {
    type Handle<'a> = BlinkHandle<'a>;
    fn handle(&self) -> Self::Handle<'_> {
        BlinkHandle(self.0.allocator())
    }
}

/// blink-alloc speaks allocator-api2 0.4 only; the vectors here are of 0.2. Each call is passed on as it is.
#[derive(Clone, Copy)]
pub struct BlinkHandle<'a>(&'a blink_alloc::BlinkAlloc);

// SAFETY: blocks are blink-alloc's own; `&BlinkAlloc` hands out blocks that live as long as it is borrowed, and a copy of
// the handle is the same borrow.
unsafe impl Allocator for BlinkHandle<'_> {
    #[inline(always)]
    fn allocate(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        self.0.allocate(layout).map_err(|_| AllocError)
    }
    #[inline(always)]
    unsafe fn deallocate(&self, block: NonNull<u8>, layout: Layout) {
        // SAFETY: the caller's promise (a block of this allocator with this layout) is the one asked for here.
        unsafe { self.0.deallocate(block, layout.size()) }
    }
    #[inline(always)]
    unsafe fn grow(&self, block: NonNull<u8>, old: Layout, new: Layout) -> Result<NonNull<[u8]>, AllocError> {
        // SAFETY: as above, for a block that grows.
        unsafe { self.0.resize(block, old, new) }.map_err(|_| AllocError)
    }
    #[inline(always)]
    unsafe fn shrink(&self, block: NonNull<u8>, old: Layout, new: Layout) -> Result<NonNull<[u8]>, AllocError> {
        // SAFETY: as above, for a block that shrinks.
        unsafe { self.0.resize(block, old, new) }.map_err(|_| AllocError)
    }
}

/// oxc_allocator.
pub struct Oxc(pub oxc_allocator::Allocator);

impl Life for Oxc {
    const NAME: &'static str = "oxc_allocator";
    const KIND: Kind = Kind::Arena;
    fn new() -> Self {
        Self(oxc_allocator::Allocator::new())
    }
    fn with_capacity(bytes: usize) -> Self {
        Self(oxc_allocator::Allocator::with_capacity(bytes))
    }
    fn reset(&mut self) {
        self.0.reset();
    }
}

impl<T: Copy> Put<T> for Oxc {
    #[inline(always)]
    fn put(&self, value: T) -> *mut T {
        self.0.alloc(value)
    }
}

impl Lay for Oxc {
    #[inline(always)]
    fn lay(&self, layout: Layout) -> *mut u8 {
        self.0.alloc_layout(layout).as_ptr()
    }
}

impl Text for Oxc {
    #[inline(always)]
    fn text(&self, text: &str) -> &str {
        self.0.alloc_str(text)
    }
}

impl Vectors for Oxc {
    type Handle<'a> = &'a oxc_allocator::Allocator;
    fn handle(&self) -> Self::Handle<'_> {
        &self.0
    }
}

/// typed-arena: one type, no reset; a new arena stands in for it.
pub struct Typed<T>(typed_arena::Arena<T>, usize);

impl<T> Life for Typed<T> {
    const NAME: &'static str = "typed-arena";
    const KIND: Kind = Kind::Arena;
    fn new() -> Self {
        Self(typed_arena::Arena::new(), 0)
    }
    fn with_capacity(bytes: usize) -> Self {
        Self(typed_arena::Arena::with_capacity(bytes / size_of::<T>()), bytes)
    }
    fn reset(&mut self) {
        *self = if self.1 == 0 { Self::new() } else { Self::with_capacity(self.1) };
    }
}

impl<T: Copy> Put<T> for Typed<T> {
    #[inline(always)]
    fn put(&self, value: T) -> *mut T {
        self.0.alloc(value)
    }
}

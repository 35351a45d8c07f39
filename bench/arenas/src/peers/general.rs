//! The general allocators: glibc's malloc and mimalloc, every block freed by itself.
//!
//! As an "arena" each keeps its blocks on a list through the blocks themselves, and a reset frees them one by one.
#![allow(unsafe_code)] // Foreign functions, and the list through the blocks.

use crate::memory::{Kind, Lay, Life, Put, Text};
use allocator_api2::alloc::{AllocError, Allocator};
use std::alloc::Layout;
use std::cell::Cell;
use std::ffi::c_void;
use std::marker::PhantomData;
use std::ptr::{NonNull, null_mut};

/// The functions of one general allocator.
pub trait General: Copy {
    /// As the tables print it.
    const NAME: &'static str;
    /// malloc.
    fn malloc(size: usize) -> *mut u8;
    /// aligned_alloc.
    fn malloc_aligned(size: usize, align: usize) -> *mut u8;
    /// realloc to at most 16 bytes' alignment.
    ///
    /// # Safety
    /// `block` is a living block of this allocator.
    unsafe fn realloc(block: *mut u8, size: usize) -> *mut u8;
    /// free.
    ///
    /// # Safety
    /// `block` is a living block of this allocator.
    unsafe fn free(block: *mut u8);
}

/// glibc's malloc.
#[derive(Clone, Copy)]
pub struct Glibc;

impl General for Glibc {
    const NAME: &'static str = "glibc malloc";
    #[inline(always)]
    fn malloc(size: usize) -> *mut u8 {
        // SAFETY: malloc has no conditions.
        unsafe { libc::malloc(size).cast() }
    }
    #[inline(always)]
    fn malloc_aligned(size: usize, align: usize) -> *mut u8 {
        // SAFETY: the alignment is a Layout's, a power of two; the size is rounded up to it.
        unsafe { libc::aligned_alloc(align, size.next_multiple_of(align)).cast() }
    }
    #[inline(always)]
    unsafe fn realloc(block: *mut u8, size: usize) -> *mut u8 {
        // SAFETY: the caller's promise.
        unsafe { libc::realloc(block.cast(), size).cast() }
    }
    #[inline(always)]
    unsafe fn free(block: *mut u8) {
        // SAFETY: the caller's promise.
        unsafe { libc::free(block.cast()) }
    }
}

/// mimalloc.
#[derive(Clone, Copy)]
pub struct Mimalloc;

impl General for Mimalloc {
    const NAME: &'static str = "mimalloc";
    #[inline(always)]
    fn malloc(size: usize) -> *mut u8 {
        // SAFETY: mi_malloc has no conditions.
        unsafe { libmimalloc_sys::mi_malloc(size).cast() }
    }
    #[inline(always)]
    fn malloc_aligned(size: usize, align: usize) -> *mut u8 {
        // SAFETY: the alignment is a Layout's, a power of two.
        unsafe { libmimalloc_sys::mi_malloc_aligned(size, align).cast() }
    }
    #[inline(always)]
    unsafe fn realloc(block: *mut u8, size: usize) -> *mut u8 {
        // SAFETY: the caller's promise.
        unsafe { libmimalloc_sys::mi_realloc(block.cast::<c_void>(), size).cast() }
    }
    #[inline(always)]
    unsafe fn free(block: *mut u8) {
        // SAFETY: the caller's promise.
        unsafe { libmimalloc_sys::mi_free(block.cast::<c_void>()) }
    }
}

/// A general allocator as vectors hold it; nothing to hold.
#[derive(Clone, Copy)]
pub struct Handle<G>(PhantomData<G>);

impl<G> Handle<G> {
    /// The handle.
    pub const fn new() -> Self {
        Self(PhantomData)
    }
}

/// malloc's blocks are aligned to this.
const MALLOC_ALIGN: usize = 16;

fn slice(block: *mut u8, size: usize) -> Result<NonNull<[u8]>, AllocError> {
    NonNull::new(block).map(|block| NonNull::slice_from_raw_parts(block, size)).ok_or(AllocError)
}

// SAFETY: blocks are the general allocator's, living until freed, and every handle is the same allocator.
unsafe impl<G: General> Allocator for Handle<G> {
    #[inline(always)]
    fn allocate(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        slice(Lay::lay(&Direct::<G>(PhantomData), layout), layout.size())
    }
    #[inline(always)]
    unsafe fn deallocate(&self, block: NonNull<u8>, _layout: Layout) {
        // SAFETY: a block of this allocator, by the trait.
        unsafe { G::free(block.as_ptr()) }
    }
    #[inline(always)]
    unsafe fn grow(&self, block: NonNull<u8>, _old: Layout, new: Layout) -> Result<NonNull<[u8]>, AllocError> {
        assert!(new.align() <= MALLOC_ALIGN, "no row grows a vector of such alignment");
        // SAFETY: a block of this allocator, by the trait.
        slice(unsafe { G::realloc(block.as_ptr(), new.size()) }, new.size())
    }
}

/// malloc with no list: for vectors, which free their blocks themselves.
struct Direct<G>(PhantomData<G>);

impl<G: General> Lay for Direct<G> {
    #[inline(always)]
    fn lay(&self, layout: Layout) -> *mut u8 {
        if layout.align() <= MALLOC_ALIGN {
            G::malloc(layout.size())
        } else {
            G::malloc_aligned(layout.size(), layout.align())
        }
    }
}

/// A general allocator that remembers its blocks, by a word at `LINK` in each.
pub struct Listed<G: General, const LINK: usize = 0> {
    last: Cell<*mut u8>,
    _allocator: PhantomData<G>,
}

impl<G: General, const LINK: usize> Listed<G, LINK> {
    /// The least a block can be.
    const LEAST: usize = LINK + size_of::<*mut u8>();

    /// Hangs `block` onto the list: its word at LINK now says which came before.
    #[inline(always)]
    fn keep(&self, block: *mut u8) {
        // SAFETY: a fresh block of LEAST bytes or more, aligned as malloc does.
        unsafe { block.add(LINK).cast::<*mut u8>().write(self.last.get()) };
        self.last.set(block);
    }
}

impl<G: General, const LINK: usize> Life for Listed<G, LINK> {
    const NAME: &'static str = G::NAME;
    const KIND: Kind = Kind::Malloc;
    fn new() -> Self {
        Self { last: Cell::new(null_mut()), _allocator: PhantomData }
    }
    fn with_capacity(_bytes: usize) -> Self {
        Self::new()
    }
    fn reset(&mut self) {
        let mut block = self.last.replace(null_mut());
        while !block.is_null() {
            // SAFETY: `keep` wrote the block's link, and each block is met once.
            unsafe {
                let before = block.add(LINK).cast::<*mut u8>().read();
                G::free(block);
                block = before;
            }
        }
    }
}

impl<G: General, const LINK: usize> Drop for Listed<G, LINK> {
    fn drop(&mut self) {
        self.reset();
    }
}

impl<G: General, const LINK: usize, T: Copy> Put<T> for Listed<G, LINK> {
    #[inline(always)]
    fn put(&self, value: T) -> *mut T {
        let block = G::malloc(size_of::<T>().max(Self::LEAST));
        // SAFETY: malloc returned that many bytes, aligned to 16.
        unsafe { block.cast::<T>().write(value) };
        self.keep(block);
        block.cast()
    }
}

impl<G: General, const LINK: usize> Lay for Listed<G, LINK> {
    #[inline(always)]
    fn lay(&self, layout: Layout) -> *mut u8 {
        let size = layout.size().max(Self::LEAST);
        let block =
            if layout.align() <= MALLOC_ALIGN { G::malloc(size) } else { G::malloc_aligned(size, layout.align()) };
        self.keep(block);
        block
    }
}

impl<G: General, const LINK: usize> Text for Listed<G, LINK> {
    /// The list takes its bytes before the text.
    #[inline(always)]
    fn text(&self, text: &str) -> &str {
        let block = G::malloc(text.len() + Self::LEAST);
        self.keep(block);
        // SAFETY: that many fresh bytes after the list's word; after the copy they are the same valid UTF-8, and live until
        // a reset, which needs `&mut self`.
        unsafe {
            let place = block.add(Self::LEAST);
            place.copy_from_nonoverlapping(text.as_ptr(), text.len());
            std::str::from_utf8_unchecked(std::slice::from_raw_parts(place, text.len()))
        }
    }
}

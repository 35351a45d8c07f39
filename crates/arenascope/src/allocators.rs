//! The allocator traits of others, so that their collections work on arenas: `allocator-api2` 0.2 and 0.4, and Rust's own.
//!
//! May be relied on: each is implemented for [`Arena`], [`Scope`] and [`Owned`], and so for references to them by the traits' own
//! rule for `&A`; a vector that is the last to allocate grows in place. Deliberately absent: collections.
//!
//! # Why the contract holds
//! A block stays where it is until the arena is reset, rewound or destroyed, or an inner scope ends. All of these need the owner
//! or the scope's handle exclusively, so not while a collection borrows it; a collection that owns it lends it shared only.
//! Moving an [`Owned`] moves no block. No block of an outer scope can be resized in an inner one, for then the collection
//! would be borrowing the handle that the inner scope holds exclusively.
#![allow(unsafe_code)] // The traits are unsafe to implement.

use crate::{Arena, Local, Owned, Scope, SharedArena};
use core::alloc::Layout;
use core::ptr::NonNull;

/// The block as a slice of what was asked for. (What its slot has behind that is at most 7 bytes: no collection could use it.)
#[inline(always)]
fn sized(block: NonNull<u8>, layout: Layout) -> NonNull<[u8]> {
    NonNull::slice_from_raw_parts(block, layout.size())
}

/// One trait for one type that derefs to [`Arena`]. The traits differ in nothing but their crate.
macro_rules! implement {
    ($module:ident, $allocator:ty) => {
        // SAFETY: see the head.
        unsafe impl $module::Allocator for $allocator {
            #[inline(always)]
            #[track_caller]
            fn allocate(&self, layout: Layout) -> Result<NonNull<[u8]>, $module::AllocError> {
                match self.try_alloc_layout(layout) {
                    Ok(block) => Ok(sized(block, layout)),
                    Err(_) => Err($module::AllocError),
                }
            }

            #[inline(always)]
            #[track_caller]
            fn allocate_zeroed(&self, layout: Layout) -> Result<NonNull<[u8]>, $module::AllocError> {
                match self.try_alloc_zeroed_layout(layout) {
                    Ok(block) => Ok(sized(block, layout)),
                    Err(_) => Err($module::AllocError),
                }
            }

            #[inline(always)]
            #[track_caller]
            unsafe fn deallocate(&self, block: NonNull<u8>, layout: Layout) {
                // SAFETY: the trait asks the same of the caller: a living block of this arena that fits the layout.
                unsafe { self.free(block, layout) }
            }

            #[inline(always)]
            #[track_caller]
            unsafe fn grow(
                &self,
                block: NonNull<u8>,
                old: Layout,
                new: Layout,
            ) -> Result<NonNull<[u8]>, $module::AllocError> {
                // SAFETY: as in `deallocate`.
                unsafe { self.try_resize(block, old, new) }
                    .map(|block| sized(block, new))
                    .map_err(|_| $module::AllocError)
            }

            #[inline(always)]
            #[track_caller]
            unsafe fn grow_zeroed(
                &self,
                block: NonNull<u8>,
                old: Layout,
                new: Layout,
            ) -> Result<NonNull<[u8]>, $module::AllocError> {
                // SAFETY: the caller's conditions are the same; old ≤ new among them, and behind the old bytes the block is ours.
                unsafe {
                    let block = self.grow(block, old, new)?;
                    block.cast::<u8>().add(old.size()).write_bytes(0, new.size() - old.size());
                    Ok(block)
                }
            }

            #[inline(always)]
            #[track_caller]
            unsafe fn shrink(
                &self,
                block: NonNull<u8>,
                old: Layout,
                new: Layout,
            ) -> Result<NonNull<[u8]>, $module::AllocError> {
                // SAFETY: the caller's conditions are the same: resizing asks for no order of the sizes.
                unsafe { self.grow(block, old, new) }
            }
        }
    };
}

#[cfg(feature = "allocator-api2-02")]
mod of_api2_02 {
    use super::*;
    use allocator_api2_02::alloc as traits;
    implement!(traits, Arena);
    implement!(traits, Scope<'_, '_>);
    implement!(traits, Owned<'_>);
    implement!(traits, Local<'_>);
    implement!(traits, SharedArena);
}

#[cfg(feature = "allocator-api2-04")]
mod of_api2_04 {
    use super::*;
    use allocator_api2_04::alloc as traits;
    implement!(traits, Arena);
    implement!(traits, Scope<'_, '_>);
    implement!(traits, Owned<'_>);
    implement!(traits, Local<'_>);
    implement!(traits, SharedArena);
}

#[cfg(feature = "nightly")]
mod of_rust {
    use super::*;
    use core::alloc as traits;
    implement!(traits, Arena);
    implement!(traits, Scope<'_, '_>);
    implement!(traits, Owned<'_>);
    implement!(traits, Local<'_>);
    implement!(traits, SharedArena);
}

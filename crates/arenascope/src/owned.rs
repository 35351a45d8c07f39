//! The owning handle: derefs to the arena, destroys it on drop.
//!
//! May be relied on: one handle per arena; it may move to another thread, the arena itself never moves. Deliberately absent:
//! `DerefMut`: with two `&mut Arena` one could swap headers.
#![allow(unsafe_code)] // Holds the header by pointer; Send.

use crate::{Arena, create};
use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::ops::Deref;
use core::panic::Location;
use core::ptr::NonNull;

/// An arena and its region. Dropping it destroys the arena, and the borrow checker sees to it that no block outlives it.
///
/// `'memory` is how long the memory under it may be used: `'static` for all but an arena in a caller's buffer.
pub struct Owned<'memory> {
    header: NonNull<Arena>,
    memory: PhantomData<&'memory mut [u8]>,
}

/// An arena that owns its region: what [`Arena::init`] and the other ways of creation give.
pub type OwnedArena = Owned<'static>;

// SAFETY: only who holds the arena writes the header (I1), nothing in it depends on a thread, and a shared borrow of it cannot be
// sent, since Arena is not Sync. Values in the arena borrow it, so they cannot be there while it is sent.
unsafe impl Send for Owned<'_> {}

impl OwnedArena {
    /// Gives up the handle; the arena lives until it is taken back by [`from_raw`](Self::from_raw).
    pub fn into_raw(self) -> NonNull<Arena> {
        ManuallyDrop::new(self).header
    }
}

impl<'memory> Owned<'memory> {
    /// Takes an arena back.
    ///
    /// # Safety
    /// `header` comes from [`into_raw`](Self::into_raw) or from this library's C side, nobody else owns the arena, and its
    /// memory lives as long as `'memory`.
    pub unsafe fn from_raw(header: NonNull<Arena>) -> Self {
        Owned { header, memory: PhantomData }
    }
}

impl Deref for Owned<'_> {
    type Target = Arena;

    #[inline(always)]
    fn deref(&self) -> &Arena {
        // SAFETY: I1 — the header lives until `drop`.
        unsafe { self.header.as_ref() }
    }
}

impl Owned<'_> {
    /// Ends the arena, as dropping it does, and tells an observer where.
    #[inline]
    #[track_caller]
    pub fn destroy(self) {
        let header = ManuallyDrop::new(self).header;
        // SAFETY: the handle is the only one, and blocks borrow it, so nothing refers to the region.
        unsafe { create::destroy(header, Some(Location::caller())) }
    }
}

impl Drop for Owned<'_> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: as in `destroy`. The place of a drop is not known.
        unsafe { create::destroy(self.header, None) }
    }
}

//! A thread's own handle of a shared arena.
//!
//! May be relied on: it allocates by the same instructions as an arena of the thread's own; its blocks live as long as the shared arena.
//! Dropped, also by a panic's unwinding, it leaves the rest of its lease to the next handle. Deliberately absent: scopes, checkpoints and reset: what
//! a handle hands out is not its own to take back.
//!
//! # Why it is sound
//! - The berth is this handle's alone until it is dropped (S3), and the handle stays in its thread: it is neither `Send` nor `Sync`.
//! - Blocks borrow the shared arena (`'arena`), not the handle. After the handle's end nobody asks for blocks through it: its arena is shown to
//!   nobody for longer than the handle.
//! - A reset needs the shared arena exclusively, so no handle is alive then.
#![allow(unsafe_code)] // Holds a berth by pointer; frees and resizes blocks for callers who promise.

use crate::alloc::Undropped;
use crate::boxed::ArenaBox;
use crate::calls::forward_calls;
use crate::shared_header::Berth;
use crate::text::CStrError;
use crate::zeroed::Zeroable;
use crate::{AllocOrInitError, Arena, Burst, Error, RawParts, SharedArena};
use core::alloc::Layout;
use core::ffi::CStr;
use core::fmt;
use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::ptr::NonNull;

/// A thread's own handle of a [`SharedArena`]: everything that an arena can allocate, for as long as the shared arena.
///
/// ```
/// let arena = arenascope::SharedArena::growing()?;
/// let local = arena.local();
/// let numbers = local.alloc_slice_fill_with(3, |i| i * i);
/// drop(local);
/// assert_eq!(numbers, [0, 1, 4]); // blocks outlive the handle
/// # Ok::<(), arenascope::Error>(())
/// ```
///
/// It stays in its thread:
/// ```compile_fail,E0277
/// let arena = arenascope::SharedArena::growing().unwrap();
/// let local = arena.local();
/// std::thread::scope(|scope| {
///     scope.spawn(|| local.alloc(1));
/// });
/// ```
pub struct Local<'arena> {
    shared: &'arena SharedArena,
    berth: NonNull<Berth>,
    /// The berth's arena is written by this thread only.
    stays: PhantomData<*mut ()>,
}

impl SharedArena {
    /// A handle for this thread. O(threads that allocate at once), no system call in the common case.
    ///
    /// # Panics
    /// When there are more handles than berths (15 at first, then 31 more at a time) and the system has no memory for further ones.
    #[inline]
    #[track_caller]
    pub fn local(&self) -> Local<'_> {
        match self.try_local() {
            Ok(local) => local,
            Err(error) => panic!("arena {} {:?}: no handle for this thread: {error}", self.id(), self.name()),
        }
    }

    /// As [`local`](Self::local).
    ///
    /// # Errors
    /// [`Error::Os`] when the system has no memory for more berths.
    #[inline]
    pub fn try_local(&self) -> Result<Local<'_>, Error> {
        Ok(Local { shared: self, berth: self.header().hold_berth()?, stays: PhantomData })
    }
}

impl<'arena> Local<'arena> {
    /// For as long as the handle is alive, whatever the lifetime says: shown to nobody.
    #[inline(always)]
    fn arena(&self) -> &'arena Arena {
        // SAFETY: S1, S3 — the berth's arena, which we hold.
        unsafe { Berth::arena(self.berth).as_ref() }
    }

    /// The shared arena.
    #[inline]
    pub fn shared(&self) -> &'arena SharedArena {
        self.shared
    }

    /// The boundaries of this thread's lease as it is now. O(1).
    pub fn lease(&self) -> RawParts {
        self.arena().raw_parts()
    }

    /// A burst of this handle: see [`Arena::burst`]. O(1).
    #[inline(always)]
    pub fn burst(&self) -> Burst<'_, 'arena> {
        Burst::begin(self.arena())
    }

    /// As [`Arena::try_resize`]: in place when the block is this handle's last one.
    ///
    /// # Errors
    /// As there.
    ///
    /// # Safety
    /// `block` is a living block of the shared arena, of whichever thread, that was handed out for layout `old`, and nobody else uses it. After
    /// success only the new block may be used.
    #[inline(always)]
    #[track_caller]
    pub unsafe fn try_resize(&self, block: NonNull<u8>, old: Layout, new: Layout) -> Result<NonNull<u8>, Error> {
        // SAFETY: the caller's condition. A block of another thread's never ends at this lease's cursor (S4), so it is moved.
        unsafe { self.arena().try_resize(block, old, new) }
    }

    /// As [`Arena::free`]: the memory is reused when the block is this handle's last one.
    ///
    /// # Safety
    /// As [`try_resize`](Self::try_resize), and nothing refers to the block.
    #[inline(always)]
    #[track_caller]
    pub unsafe fn free(&self, block: NonNull<u8>, layout: Layout) {
        // SAFETY: as in `try_resize`.
        unsafe { self.arena().free(block, layout) }
    }
}

forward_calls! {
    /// With blocks that live as long as the shared arena.
    impl['arena] Local<'arena>, 'arena, "shared arena"
}

impl Drop for Local<'_> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: held since `try_local`, and this is the handle's end.
        unsafe { self.shared.header().leave_berth(self.berth) }
    }
}

impl fmt::Debug for Local<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Local").field("lease", self.arena()).field("shared", self.shared).finish()
    }
}

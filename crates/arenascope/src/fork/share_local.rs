//! A thread's own handle of memory that processes share.
//!
//! May be relied on: allocating is a load, an addition, a comparison and a store; a child's copy of the handle notices at its first block that it
//! is a child's, and takes a lease of its own. Deliberately absent: freeing and resizing.
//!
//! # How a child notices
//! The bound of the lease stands in a private word that the kernel wipes in a child (`hot`). There it is 0, no block fits, and the cold path
//! finds that the handle holds no lease.
#![allow(unsafe_code)] // Writes blocks.

use crate::fork::hot::Hot;
use crate::fork::offset::{Offset, Shareable, SliceOffset};
use crate::fork::share::{FIRST_LEASE_BYTES, ShareArena};
use crate::fork::share_header::{SHARE_HEADER_BYTES, ShareLease, unpack};
use crate::lease_sizes::{apart, doubled, span_bytes};
use crate::leases;
use crate::{Error, geometry};
use core::alloc::Layout;
use core::cell::Cell;
use core::fmt;
use core::hint::cold_path;
use core::marker::PhantomData;
use core::ptr::NonNull;
use core::sync::atomic::Ordering;

/// A thread's own handle of a [`ShareArena`]. It stays in its thread; in a child of a fork its copy is the child's own.
pub struct ShareLocal<'arena> {
    arena: &'arena ShareArena,
    /// Where the memory begins here.
    base: NonNull<u8>,
    /// What the memory's offsets have in their upper bits.
    mark: u64,
    /// The end of the lease that this process holds; 0: none, or this is a child.
    end: Hot,
    lease: Cell<Option<&'arena ShareLease>>,
    next_lease_bytes: Cell<u64>,
    stays: PhantomData<*mut ()>,
}

impl ShareArena {
    /// A handle for this thread. O(1); it takes a lease with its first block.
    ///
    /// # Errors
    /// [`Error::Os`] when the system has no page that is wiped in children, or this process holds 4,096 handles.
    pub fn local(&self) -> Result<ShareLocal<'_>, Error> {
        Ok(ShareLocal {
            arena: self,
            base: self.start(),
            mark: self.mark,
            end: Hot::take()?,
            lease: Cell::new(None),
            next_lease_bytes: Cell::new(FIRST_LEASE_BYTES),
            stays: PhantomData,
        })
    }
}

impl<'arena> ShareLocal<'arena> {
    /// The memory.
    pub fn arena(&self) -> &'arena ShareArena {
        self.arena
    }

    /// Moves `value` into the shared memory. Others see it once its offset is published to them ([`AtomicOffset`](crate::fork::AtomicOffset), or any
    /// release store that they acquire). O(1).
    ///
    /// # Errors
    /// [`Error::Full`]; [`Error::LeasesHeld`] when living processes hold what would do; [`Error::Os`] when the system has no pages.
    #[inline]
    pub fn alloc<T: Shareable>(&self, value: T) -> Result<Offset<T>, Error> {
        let at = self.take(Layout::new::<T>())?;
        // SAFETY: a block of this thread's alone, of T's size and alignment (P3).
        unsafe { self.block(at).cast::<T>().write(value) };
        Ok(Offset::new(at | self.mark))
    }

    /// Copies items into the shared memory. O(bytes).
    ///
    /// # Errors
    /// As [`alloc`](Self::alloc).
    #[inline]
    pub fn alloc_slice_copy<T: Shareable + Copy>(&self, items: &[T]) -> Result<SliceOffset<T>, Error> {
        let at = self.take(Layout::for_value(items))?;
        // SAFETY: as in `alloc`, for so many; a block that was never shown to anybody cannot be where `items` are.
        unsafe { self.block(at).cast::<T>().copy_from_nonoverlapping(NonNull::from(items).cast(), items.len()) };
        Ok(SliceOffset { first: Offset::new(at | self.mark), count: items.len() as u64 })
    }

    /// An uninitialised block: its place in this process, and its offset, which is no other block's: a size of 0 counts as 1. O(1).
    ///
    /// # Errors
    /// As [`alloc`](Self::alloc).
    #[inline]
    pub fn try_alloc_layout(&self, layout: Layout) -> Result<(NonNull<u8>, Offset<u8>), Error> {
        // A byte that the offset is of: where nothing lies, the next block may, and be of a type that changes under a shared borrow.
        // SAFETY: the alignment is a layout's, which has room for one byte.
        let layout = unsafe { Layout::from_size_align_unchecked(layout.size().max(1), layout.align()) };
        let at = self.take(layout)?;
        Ok((self.block(at), Offset::new(at | self.mark)))
    }

    #[inline(always)]
    fn block(&self, at: u64) -> NonNull<u8> {
        // SAFETY: `take` gives places inside the mapping, which begins here for as long as the handle lives.
        unsafe { self.base.add(at as usize) }
    }

    /// Where a block of this layout begins, in bytes from the header.
    #[inline(always)]
    fn take(&self, layout: Layout) -> Result<u64, Error> {
        let Some(at) = self.bump(layout) else { return self.take_cold(layout) };
        Ok(at)
    }

    #[inline(always)]
    fn bump(&self, layout: Layout) -> Option<u64> {
        let Some(lease) = self.lease.get() else {
            cold_path();
            return None;
        };
        // The header stands at a page: larger alignments are the cold path's.
        if layout.align() > 4096 {
            return None;
        }
        let used = lease.used.load(Ordering::Relaxed);
        // `NOTHING_LEFT` is no place in memory: it must not be added to.
        let used = (used as usize) & (usize::MAX >> 8);
        let Some(span) = geometry::fit_any(used, self.end.get() as usize, layout.size(), layout.align()) else {
            cold_path();
            return None;
        };
        // P3 — before the block is shown to anybody.
        lease.used.store(span.end as u64, Ordering::Relaxed);
        Some(span.start as u64)
    }

    #[cold]
    #[inline(never)]
    fn take_cold(&self, layout: Layout) -> Result<u64, Error> {
        if layout.align() > 4096 {
            return Err(Error::TooLarge);
        }
        let needed = span_bytes(layout).ok_or(Error::TooLarge)?;
        if self.end.get() == 0 {
            // The first block, or the first in a child: what the parent holds is the parent's.
            self.lease.set(self.arena.hold(0));
            self.set_end();
            if let Some(at) = self.bump(layout) {
                return Ok(at);
            }
        }
        let Some(lease) = self.lease.get() else {
            // No room for one more lease: each block is taken by itself.
            return self.apart(layout, needed);
        };
        let suggested = self.next_lease_bytes.get();
        let (start, bytes) = unpack(lease.span.load(Ordering::Relaxed));
        let rest = (start + bytes).saturating_sub(lease.used.load(Ordering::Relaxed));
        if apart(needed, rest, suggested) {
            match self.arena.take_apart(needed) {
                Ok(at) => return Ok(geometry::up(at, layout.align() as u64)),
                Err(Error::Full) => {}
                Err(error) => return Err(error),
            }
        } else {
            match self.arena.renew(lease, needed, suggested) {
                Ok(()) => {
                    self.next_lease_bytes.set(doubled(suggested));
                    self.set_end();
                    return self.bump(layout).ok_or(Error::Full);
                }
                Err(Error::Full) => {}
                Err(error) => return Err(error),
            }
        }
        // All is leased. What others left, or died with, may have room.
        let Some(other) = self.arena.hold(needed) else { return Err(self.arena.refuse(needed)) };
        leases::release(&lease.owner);
        self.lease.set(Some(other));
        self.set_end();
        self.bump(layout).ok_or_else(|| self.arena.refuse(needed))
    }

    fn apart(&self, layout: Layout, needed: u64) -> Result<u64, Error> {
        match self.arena.take_apart(needed) {
            Ok(at) => Ok(geometry::up(at, layout.align() as u64)),
            Err(Error::Full) => Err(self.arena.refuse(needed)),
            Err(error) => Err(error),
        }
    }

    /// The bound of the lease that this thread owns.
    fn set_end(&self) {
        let Some(lease) = self.lease.get() else { return };
        let (start, bytes) = unpack(lease.span.load(Ordering::Relaxed));
        let (end, used) = (start + bytes, lease.used.load(Ordering::Relaxed));
        // A lease without a span, or with nothing left, has no room; nor has one whose numbers cannot be: somebody wrote over them. Not 0, which says
        // that there is no lease.
        let sound = SHARE_HEADER_BYTES <= start
            && (start..=end).contains(&used)
            && used.is_multiple_of(8)
            && self.arena.holds(end);
        self.end.set(if sound && bytes > 0 { end } else { 1 });
    }
}

impl Drop for ShareLocal<'_> {
    fn drop(&mut self) {
        // A child's copy that allocated nothing holds nothing: the lease is the parent's.
        if self.end.get() != 0
            && let Some(lease) = self.lease.get()
        {
            leases::release(&lease.owner);
        }
    }
}

impl fmt::Debug for ShareLocal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShareLocal").field("arena", self.arena).field("holds", &(self.end.get() != 0)).finish()
    }
}

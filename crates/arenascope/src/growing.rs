//! A block that grows while its length is not known yet: under `alloc_iter`, `alloc_fmt` and the boxed kinds.
//!
//! May be relied on: grows in place while nothing else is allocated meanwhile, and moves otherwise; dropped before it is
//! finished, it drops its items and gives its memory back, so that a panic or a refusal leaves the arena as it was. Deliberately
//! absent: taking items out again.
#![allow(unsafe_code)] // Writes items into a block; sets the cursor.

use crate::header::flags;
use crate::{Arena, Error, geometry, refill};
use core::alloc::Layout;
use core::mem::ManuallyDrop;
use core::panic::Location;
use core::ptr::NonNull;

/// The least number of bytes that a growing block takes when it has to grow: room for a few items.
const LEAST_BYTES: usize = 64;

pub(crate) struct Growing<'a, T> {
    arena: &'a Arena,
    items: NonNull<T>,
    /// Items written: `items..items + len`.
    len: usize,
    /// Items that fit into the block.
    room: usize,
    /// Whose block it is, for the reports: text is written through a trait that does not say.
    caller: &'static Location<'static>,
    /// The cursor before the block: at most alignment padding lies between it and `items`.
    before: *mut u8,
}

impl<'a, T> Growing<'a, T> {
    /// An empty block with room for so many items; when that is none, for a few if the arena has plenty: they cost less at once
    /// than by growing.
    #[inline]
    #[track_caller]
    pub(crate) fn try_new(arena: &'a Arena, room: usize) -> Result<Self, Error> {
        let plenty = arena.remaining() >= LEAST_BYTES + size_of::<T>() + align_of::<T>();
        let room = if room == 0 && size_of::<T>() > 0 && plenty { (LEAST_BYTES / size_of::<T>()).max(1) } else { room };
        Growing::try_exact(arena, room)
    }

    /// An empty block with room for exactly so many items, none included.
    #[inline]
    #[track_caller]
    pub(crate) fn try_exact(arena: &'a Arena, room: usize) -> Result<Self, Error> {
        let before = arena.cursor.get();
        let items = arena.try_items::<T>(room)?;
        let room = if size_of::<T>() == 0 { usize::MAX } else { room };
        Ok(Growing { arena, items, len: 0, room, caller: Location::caller(), before })
    }

    /// Adds an item. When it cannot, the item is dropped.
    #[inline(always)]
    pub(crate) fn try_push(&mut self, item: T) -> Result<(), Error> {
        if self.len == self.room {
            self.grow(1)?;
        }
        // SAFETY: len < room: inside the block, which is ours alone (I3).
        unsafe { self.items.add(self.len).write(item) };
        self.len += 1;
        Ok(())
    }

    /// Makes room for `more` items behind those that are there: twice the room if the arena has it.
    #[cold]
    #[inline(never)]
    fn grow(&mut self, more: usize) -> Result<(), Error> {
        let needed = self.len.checked_add(more).ok_or(Error::TooLarge)?;
        let start = self.arena.checked_place(self.items.addr().get());
        // I2: neither sum overflows, and no block starts past the bound.
        let here = (self.arena.base.get().addr() + self.arena.capacity.get()).saturating_sub(start);
        // A lease's end is not the end of what there is.
        let beyond = if self.arena.flags.get() & flags::LEASED == 0 { 0 } else { refill::not_leased(self.arena) };
        let left = here.max(beyond) / size_of::<T>();
        let doubled = self.room.saturating_mul(2).max(LEAST_BYTES / size_of::<T>());
        let wished = doubled.min(left).max(needed);
        match self.resize(wished) {
            // There is no memory, or no room elsewhere, for twice as much; there may be for what is needed.
            Err(Error::Os(_) | Error::Full | Error::LeasesHeld) if wished > needed => self.resize(needed),
            other => other,
        }
    }

    fn resize(&mut self, room: usize) -> Result<(), Error> {
        let layout = Layout::array::<T>(room).map_err(|_| Error::TooLarge)?;
        let before = self.arena.cursor.get();
        let start = self.items.addr().get();
        if geometry::is_last(start, self.layout().size(), before.addr())
            && let Some(end) = geometry::fit_in_place(start, self.arena.limit_now(), layout.size())
        {
            self.arena.cursor.set(before.with_addr(end));
            self.room = room;
            return Ok(());
        }
        // A checker may move a block that would have stayed.
        let place = self.arena.checked_place(start);
        // SAFETY: the block is ours and living, and `layout()` is what it was handed out for.
        let block = unsafe { self.arena.resize_slow(self.items.cast(), self.layout(), layout, self.caller)? }.cast();
        if block != self.items && self.arena.checked_place(block.addr().get()) != place {
            self.before = before;
        }
        (self.items, self.room) = (block, room);
        Ok(())
    }

    /// What the block was handed out for.
    #[inline]
    fn layout(&self) -> Layout {
        let bytes = if size_of::<T>() == 0 { 0 } else { self.room * size_of::<T>() };
        // SAFETY: `room` items had a layout when the block was taken or grown.
        unsafe { Layout::from_size_align_unchecked(bytes, align_of::<T>()) }
    }

    /// The items, as a block of their own; the room behind them is given back when nothing was allocated meanwhile.
    #[inline]
    pub(crate) fn finish(self) -> NonNull<[T]> {
        let this = ManuallyDrop::new(self);
        if this.len < this.room && size_of::<T>() > 0 {
            this.give_back_rest();
        }
        NonNull::slice_from_raw_parts(this.items, this.len)
    }

    #[inline]
    fn give_back_rest(&self) {
        let (old, bytes) = (self.layout(), self.len * size_of::<T>());
        let start = self.items.addr().get();
        if !self.arena.unwatched() {
            // SAFETY: as in `resize`; a smaller layout of the same alignment is one. Shrinking is not refused; if it were, the
            // block would be as large as it is.
            let _ = unsafe {
                let new = Layout::from_size_align_unchecked(bytes, align_of::<T>());
                self.arena.resize_slow(self.items.cast(), old, new, self.caller)
            };
        } else if geometry::is_last(start, old.size(), self.arena.cursor.get().addr()) {
            // Not by `lower`: what lies behind the items was never written, and stays known to be zero (I5).
            let end = start + geometry::slot(bytes);
            self.arena.cursor.set(self.arena.cursor.get().with_addr(end));
        }
    }
}

impl<T: Copy> Growing<'_, T> {
    /// Adds copies of `items`.
    #[inline]
    pub(crate) fn try_extend(&mut self, items: &[T]) -> Result<(), Error> {
        if self.room - self.len < items.len() {
            self.grow(items.len())?;
        }
        // SAFETY: len + items.len() ≤ room: inside the block, which is ours alone (I3), so that the two do not overlap.
        unsafe { self.items.add(self.len).copy_from_nonoverlapping(NonNull::from(items).cast(), items.len()) };
        self.len += items.len();
        Ok(())
    }
}

impl<T> Drop for Growing<'_, T> {
    fn drop(&mut self) {
        /// Gives the block back even if an item's drop panics.
        struct Block<'g, 'a, T>(&'g Growing<'a, T>);
        impl<T> Drop for Block<'_, '_, T> {
            fn drop(&mut self) {
                let Growing { arena, items, before, .. } = *self.0;
                // SAFETY: the block is ours, handed out for this layout, and its items are gone.
                unsafe { arena.free(items.cast(), self.0.layout()) };
                arena.take_padding_back(items.addr().get(), before);
            }
        }
        let block = Block(self);
        // SAFETY: `len` items were written, and nobody else has them.
        unsafe { NonNull::slice_from_raw_parts(block.0.items, block.0.len).drop_in_place() };
    }
}

//! Reading an arena: its raw parts, whether an address lies in it, statistics, and the dump.
//!
//! May be relied on: nothing here changes the arena. [`RawParts`] and [`Stats`] are stable. Deliberately absent: other
//! processes' arenas; they are read through the header's layout.
#![allow(unsafe_code)] // Reads the arena's bytes.

use crate::header::flags;
use crate::{Arena, Owned, glimpse};
use core::fmt;
use core::mem::MaybeUninit;
use core::panic::Location;

/// The boundaries of an arena: what the seed of this project kept in three fields, and two more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RawParts {
    /// The first byte that can be handed out.
    pub base: *mut u8,
    /// Bytes handed out so far, padding included; the next block begins at `base + offset`, or after it for alignment.
    pub offset: usize,
    /// The exact bound asked for, in bytes from `base`; for a growing arena, the reservation.
    pub capacity: usize,
    /// Bytes from `base` that are usable without another request to the memory source.
    pub committed: usize,
    /// Bytes from `base` whose addresses are ours.
    pub reserved: usize,
}

/// What an arena knows about its past. Sizes in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Stats {
    /// Handed out now, padding included.
    pub offset_bytes: usize,
    /// The most that was ever handed out at once.
    pub peak_bytes: usize,
    /// Usable without another request to the memory source.
    pub committed_bytes: usize,
    /// Times that more memory was committed.
    pub commits: u32,
    /// Requests refused.
    pub refusals: u32,
    /// Resets and rewinds.
    pub generation: u64,
    /// Open scopes.
    pub depth: u32,
    /// Events reported to observers.
    pub events: u64,
    /// The memory source's name.
    pub source: &'static str,
}

impl Arena {
    /// The first byte that can be handed out. O(1), like all calls here but `dump`.
    #[inline]
    pub fn base(&self) -> *mut u8 {
        self.base.get()
    }

    /// Bytes handed out, padding included; never more than the capacity.
    #[inline]
    pub fn offset(&self) -> usize {
        // I2 — the cursor may be up to 7 bytes past a capacity that is no multiple of 8.
        (self.cursor.get().addr() - self.base.get().addr()).min(self.capacity.get())
    }

    /// The exact bound asked for, in bytes; for a growing arena, the reservation.
    #[inline]
    pub fn capacity(&self) -> usize {
        self.capacity.get()
    }

    /// Bytes that are left: the size of the largest block with alignment 8 or less that can still be had.
    #[inline]
    pub fn remaining(&self) -> usize {
        self.capacity() - self.offset()
    }

    /// All boundaries at once.
    pub fn raw_parts(&self) -> RawParts {
        RawParts {
            base: self.base(),
            offset: self.offset(),
            capacity: self.capacity(),
            committed: self.committed.get(),
            reserved: self.reserved.get(),
        }
    }

    /// True when the address lies in memory that is handed out now.
    #[inline]
    pub fn contains<T: ?Sized>(&self, address: *const T) -> bool {
        self.offset_of(address).is_some()
    }

    /// The address as bytes from `base`, if it lies in memory that is handed out now.
    #[inline]
    pub fn offset_of<T: ?Sized>(&self, address: *const T) -> Option<usize> {
        let offset = address.cast::<u8>().addr().wrapping_sub(self.base.get().addr());
        if offset < self.offset() {
            return Some(offset);
        }
        if self.is_checked() { self.checked_offset(address.cast()) } else { None }
    }

    #[cold]
    fn checked_offset(&self, address: *const u8) -> Option<usize> {
        let place = self.checked_inside(address)?;
        Some(place.wrapping_sub(self.base.get().addr())).filter(|offset| *offset < self.offset())
    }

    /// The arena's number in the process, from 1, never used twice.
    #[inline]
    pub fn id(&self) -> u64 {
        self.id.get()
    }

    /// The arena's name; empty when it has none.
    pub fn name(&self) -> &str {
        if self.name.get().is_null() {
            return "";
        }
        let bytes = self.name_bytes.get() as usize;
        // SAFETY: name and name_bytes are those of a str, written at creation, that lives in the header (I1) or forever.
        unsafe { core::str::from_utf8_unchecked(core::slice::from_raw_parts(self.name.get(), bytes)) }
    }

    /// Where the arena was created: file, line, column.
    pub fn created_at(&self) -> (&str, u32, u32) {
        if self.site_file.get().is_null() {
            return ("", 0, 0);
        }
        // SAFETY: the file name of a Location or of a C string literal with its length, set at creation, lives forever.
        let file = unsafe {
            core::str::from_utf8_unchecked(core::slice::from_raw_parts(
                self.site_file.get(),
                self.site_file_bytes.get() as usize,
            ))
        };
        (file, self.site_line.get(), self.site_column.get())
    }

    /// What the arena knows about its past.
    pub fn stats(&self) -> Stats {
        let base = self.base.get().addr();
        Stats {
            offset_bytes: self.offset(),
            peak_bytes: self.high_water.get().saturating_sub(base).min(self.capacity()).max(self.offset()),
            committed_bytes: self.committed.get(),
            commits: self.commits.get(),
            refusals: self.refusals.get(),
            generation: self.generation.get(),
            depth: self.depth.get(),
            events: self.events.get(),
            source: self.source.get().name(),
        }
    }

    /// True when this arena was made by `growing()`.
    pub fn is_growing(&self) -> bool {
        self.flags.get() & flags::GROWING != 0
    }

    /// What has been handed out, as text: one character a byte, a dot for what is no printable ASCII. Prints, with the
    /// words of the seed's second program,
    /// ```text
    ///
    /// 📦 Arena dump (128 used / 256 total):
    /// First block ok..................Second block too................
    /// ```
    /// The bytes are read while it prints, as a debugger reads them, blocks that are borrowed mutably or were never written included:
    /// O(offset). Without that: [`Owned::bytes`].
    pub fn dump(&self) -> Dump<'_> {
        self.show_checked();
        Dump { arena: self }
    }

    pub(crate) fn set_site(&self, caller: &'static Location<'static>) {
        self.site_file.set(caller.file().as_ptr());
        self.site_file_bytes.set(caller.file().len() as u32);
        self.site_line.set(caller.line());
        self.site_column.set(caller.column());
    }
}

impl Owned<'_> {
    /// All that is handed out, padding included, in the order of allocation: O(1).
    ///
    /// The exclusive borrow shows that nobody else refers to it, so that this, other than [`Arena::dump`], asks nothing special of the
    /// compiler. What of it was written only the caller knows: padding, and what `alloc_uninit` gave, may not have been.
    ///
    /// ```
    /// let mut arena = arenascope::Arena::init(64)?;
    /// arena.alloc_slice_copy(b"12345678");
    /// // SAFETY: all eight bytes were written by the line above.
    /// let text: Vec<u8> = arena.bytes().iter().map(|byte| unsafe { byte.assume_init() }).collect();
    /// assert_eq!(text, b"12345678");
    /// # Ok::<(), arenascope::Error>(())
    /// ```
    pub fn bytes(&mut self) -> &[MaybeUninit<u8>] {
        self.show_checked();
        // SAFETY: I2 — base..base + offset is readable; no block of it is borrowed, for blocks borrow the arena. Bytes that were never
        // written are valid MaybeUninits.
        unsafe { core::slice::from_raw_parts(self.base().cast(), self.offset()) }
    }
}

/// What [`Arena::dump`] gives: print it with `{}`, or `{:#}` for the bytes alone.
pub struct Dump<'a> {
    arena: &'a Arena,
}

impl fmt::Display for Dump<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (base, offset) = (self.arena.base(), self.arena.offset());
        if !f.alternate() {
            writeln!(f, "\n📦 Arena dump ({offset} used / {} total):", self.arena.capacity())?;
        }
        let mut text = [b'.'; 256];
        let mut at = 0;
        while at < offset {
            let bytes = (offset - at).min(text.len());
            for (i, place) in text.iter_mut().take(bytes).enumerate() {
                // SAFETY: I2 — at + i < offset: committed memory of the arena.
                let byte = unsafe { glimpse::byte(base.add(at + i)) };
                *place = if (32..127).contains(&byte) { byte } else { b'.' };
            }
            let shown = text.get(..bytes).and_then(|shown| core::str::from_utf8(shown).ok()).unwrap_or("");
            f.write_str(shown)?;
            at += bytes;
        }
        writeln!(f)
    }
}

impl fmt::Debug for Arena {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arena")
            .field("id", &self.id())
            .field("name", &self.name())
            .field("base", &self.base())
            .field("offset", &self.offset())
            .field("capacity", &self.capacity())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Owned<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

//! The header at the base of every arena's region, field by field, for people and for the code.
//!
//! May be relied on: the layout below is `#[repr(C)]`, has a version, and is the same for C and Rust. `&Arena` is the
//! header's address. Deliberately absent: behaviour; each question has its own file.
//!
//! # Finding an arena from outside
//! A debugger, another process or a core dump finds an arena through the process's lists (`registry.rs`: the word at +352 names the next entry's, and
//! is where a list's entry points), or by [`MAGIC`] at a multiple of [`HEADER_STEP`] (128) bytes. The
//! header of an arena with a mapping of its own lies in the mapping's first page; small arenas stand in a row inside one
//! mapping, [`Arena`] after [`Arena`], at equal distances. All numbers are in the byte order of the machine. Fields called `…_bytes`
//! count from `base`; pointers are addresses in the process. `cursor` may lag behind while blocks are placed in a row with no call
//! between them: the compiler keeps it in a register for as long.
//!
//! # Watching from outside
//! Store 0 into `limit` (one aligned 8-byte store; `process_vm_writev` will do): from the next allocation on, everything is
//! reported to the arena's observer, or to the process's. Store 1 ([`LIMIT_RELEASE`]) to end it.
//!
//! # Invariants
//! Every SAFETY comment of this crate names one of these.
//! - **I1** Between creation and destruction the header lies in memory that is readable and writable and that nothing else
//!   uses; it never moves. Only the thread that holds the arena writes it, but for `limit`, into which anyone may store 0 or 1.
//! - **I2** `header + HEADER_BYTES = base ≤ cursor ≤ up(base + capacity, 8)`, and `base..base + committed` is readable and writable.
//!   `cursor ≤ base + committed`. All lie in one allocation of the memory source, whose provenance `cursor` carries.
//! - **I3** `cursor` is a multiple of 8, and no byte at or above it belongs to a living block. Bytes below it that were handed
//!   out belong to exactly one block, until a rewind, reset, free or resize gives them back.
//! - **I4** `limit` is 0, 1, or at most `true_limit`; `true_limit ≤ base + committed` and `true_limit ≤ down(base + capacity, 8)`.
//!   So what lies below any value of `limit` may be handed out.
//! - **I5** Every byte of the payload at or above `max(clean_from, high_water, cursor)` is zero if `zeroed` is set: the source
//!   gave it so, and it was never handed out.
//! - **I6** What `source` points to lives forever, and `mapping`, `mapping_bytes` are what it reserved.

#![allow(unsafe_code)] // Stores the magic number atomically; two fields as one word.

use crate::probe::Observer;
use crate::region::Source;
use core::cell::{Cell, UnsafeCell};
use core::mem::offset_of;
use core::sync::atomic::{AtomicU64, Ordering};

/// The first eight bytes of a living arena: "ARENASC1" as text.
pub const MAGIC: u64 = u64::from_le_bytes(*b"ARENASC1");

/// The first eight bytes of a region whose arena has ended, kept for the next one, or for those who call it too late: "ARENAKPT" as text.
pub const MAGIC_KEPT: u64 = u64::from_le_bytes(*b"ARENAKPT");

/// Changes when a field moves or changes its meaning. New fields at the end do not count: see `header_bytes`.
pub const LAYOUT_VERSION: u32 = 2;

/// Bytes from the header to the payload.
pub const HEADER_BYTES: usize = size_of::<Arena>();

/// Headers stand at multiples of this.
pub const HEADER_STEP: usize = 128;

/// `limit` of a watched arena.
pub const LIMIT_WATCH: usize = 0;

/// What an outsider stores into `limit` to end watching.
pub const LIMIT_RELEASE: usize = 1;

/// Longest name that is copied into the header, in bytes. Longer ones stay where they are, if they live forever, or are cut.
pub const NAME_BYTES: usize = 32;

/// Rewinds that a header remembers to tell a stale checkpoint.
pub(crate) const REWINDS: usize = 4;

/// An arena: cursor and bound over one contiguous region, described in the region's own memory.
///
/// Always behind a reference or an owner, such as [`OwnedArena`](crate::OwnedArena): it cannot be moved, copied or built in
/// place. Not `Sync`: one thread at a time. The owner is `Send`.
#[repr(C, align(128))]
pub struct Arena {
    // --- first line: what the allocation path touches. `cursor` and `limit` are 16 bytes apart, so that a compiler for
    // --- aarch64 cannot fuse the two loads into one, which would break store-to-load forwarding of the cursor.
    /// +0: [`MAGIC`].
    pub(crate) magic: Cell<u64>,
    /// +8: [`LAYOUT_VERSION`].
    pub(crate) layout_version: Cell<u32>,
    /// +12: bytes from the header to the first payload byte.
    pub(crate) header_bytes: Cell<u32>,
    /// +16: where the next block begins; a multiple of 8.
    pub(crate) cursor: Cell<*mut u8>,
    /// +24: the first payload byte.
    pub(crate) base: Cell<*mut u8>,
    /// +32: no slot may end past this address. 0: watched. 1: an outsider asks to end watching. Anyone may store 0 or 1.
    pub(crate) limit: UnsafeCell<usize>,
    /// +40: what `limit` is when nobody watches.
    pub(crate) true_limit: Cell<usize>,
    /// +48: the highest cursor that a rewind, reset, free or resize of this arena has lowered.
    pub(crate) high_water: Cell<usize>,
    /// +56: what the owner stored into `limit` last. It is raised only by compare-exchange from this value.
    pub(crate) stored_limit: Cell<usize>,

    // --- second line: bounds
    /// +64: the exact bound asked for, in bytes from `base`.
    pub(crate) capacity: Cell<usize>,
    /// +72: bytes from `base` that may be touched.
    pub(crate) committed: Cell<usize>,
    /// +80: bytes from `base` to the reservation's end.
    pub(crate) reserved: Cell<usize>,
    /// +88: unique in the process, from 1.
    pub(crate) id: Cell<u64>,
    /// +96: counts resets and rewinds.
    pub(crate) generation: Cell<u64>,
    /// +104: open scopes.
    pub(crate) depth: Cell<u32>,
    /// +108: the innermost scope's number; 0 outside of scopes, and until a checkpoint is taken in it.
    pub(crate) scope: Cell<u32>,
    /// +112: thread that created the arena, or took it over; 0 when not known.
    pub(crate) owner_tid: Cell<u32>,
    /// +116: process that created the arena.
    pub(crate) pid: Cell<u32>,
    /// +120: events reported to observers so far; numbers the next one.
    pub(crate) events: Cell<u64>,

    // --- third line: where from
    /// +128: file of the creation site, UTF-8, not terminated; null when not known.
    pub(crate) site_file: Cell<*const u8>,
    /// +136: its length in bytes.
    pub(crate) site_file_bytes: Cell<u32>,
    /// +140: line of the creation site, from 1; 0 when not known.
    pub(crate) site_line: Cell<u32>,
    /// +144: the name, UTF-8, not terminated: `name_inline`, or memory that lives forever; null when the arena has none.
    pub(crate) name: Cell<*const u8>,
    /// +152: its length in bytes; 0 when the arena has none.
    pub(crate) name_bytes: Cell<u32>,
    /// +156: column of the creation site, from 1; 0 when not known.
    pub(crate) site_column: Cell<u32>,
    /// +160: the name's first 32 bytes.
    pub(crate) name_inline: Cell<[u8; NAME_BYTES]>,
    /// +192: this arena's observer; null: the process's, if there is one.
    pub(crate) observer: Cell<*const Observer>,
    /// +200: payload bytes from this address on were never handed out, by this arena or one before it in the same region.
    pub(crate) clean_from: Cell<usize>,
    /// +208: see [`flags`].
    pub(crate) flags: Cell<u32>,
    /// +212: numbers scopes in which checkpoints are taken.
    pub(crate) scopes: Cell<u32>,
    /// +216: the generation in which the last reset happened.
    pub(crate) reset_generation: Cell<u64>,

    // --- what the cold path counts
    /// +224: times the cold path took more of the reservation into use.
    pub(crate) commits: Cell<u32>,
    /// +228: requests refused.
    pub(crate) refusals: Cell<u32>,

    // --- the rest is the library's own and may change with any version: not part of the layout
    pub(crate) source: Cell<&'static dyn Source>,
    pub(crate) mapping: Cell<*mut u8>,
    pub(crate) mapping_bytes: Cell<usize>,
    /// Where the region goes when the arena ends: a slot class, or one of the marks in `pool`.
    pub(crate) class: Cell<u16>,
    /// Bytes from the region's start to the header.
    pub(crate) colour: Cell<u16>,
    /// What `CommitAhead` says: 0 for Auto, else one more than its pages of [`geometry::COMMIT_PAGE`](crate::geometry::COMMIT_PAGE).
    pub(crate) ahead_pages: Cell<u32>,
    /// The slab that a slot lies in.
    pub(crate) link: Cell<*mut u8>,
    pub(crate) on_reset: Cell<crate::policy::KeptBytes>,
    /// Generation and place, the newest first.
    pub(crate) rewinds: [Cell<(u64, usize)>; REWINDS],
    pub(crate) listed: crate::registry::Listed,
    /// Who checks the arena, if `flags` say so. Else, as an address: above the first bytes of all living samples that an observer was told of.
    pub(crate) checker: Cell<*mut crate::check::Checker>,
    /// Address of the next sample; 0: none is drawn.
    pub(crate) sample_at: Cell<usize>,
}

impl Arena {
    /// Says what the memory holds, after the rest of the header is written or before it is given away.
    #[inline]
    pub(crate) fn announce(&self, magic: u64) {
        // SAFETY: I1 — valid and aligned; readers in other threads use an atomic load.
        unsafe { AtomicU64::from_ptr(self.magic.as_ptr()) }.store(magic, Ordering::Release);
    }

    /// `depth` and `scope` as one word: a scope's beginning reads and writes both, its end restores both.
    #[inline(always)]
    pub(crate) fn nest(&self) -> &Cell<Nest> {
        // SAFETY: I1; the two fields are neighbours, aligned as the word is (asserted below), and both are cells.
        unsafe { &*(&raw const *self).byte_add(offset_of!(Arena, depth)).cast::<Cell<Nest>>() }
    }
}

/// `depth` and `scope` of the header as they lie in memory.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Nest(u64);

impl Nest {
    /// Outside of scopes.
    pub(crate) const OUTSIDE: Nest = Nest(0);

    #[inline(always)]
    pub(crate) const fn new(depth: u32, scope: u32) -> Nest {
        let (low, high) = if cfg!(target_endian = "little") { (depth, scope) } else { (scope, depth) };
        Nest(low as u64 | (high as u64) << 32)
    }

    #[inline(always)]
    pub(crate) const fn depth(self) -> u32 {
        (if cfg!(target_endian = "little") { self.0 } else { self.0 >> 32 }) as u32
    }

    #[inline(always)]
    pub(crate) const fn scope(self) -> u32 {
        (if cfg!(target_endian = "little") { self.0 >> 32 } else { self.0 }) as u32
    }
}

const _: () = {
    assert!(offset_of!(Arena, scope) == offset_of!(Arena, depth) + 4);
    assert!(offset_of!(Arena, depth).is_multiple_of(align_of::<Nest>()));
};

/// Bits of the header's `flags`.
pub mod flags {
    /// The memory source hands out zeroed memory.
    pub const ZEROED: u32 = 1;
    /// The arena was made by `growing()`: capacity is the reservation.
    pub const GROWING: u32 = 2;
    /// Events are reported.
    pub const WATCHED: u32 = 4;
    /// Large parts of the region use huge pages where the system has them.
    pub const HUGE: u32 = 8;
    /// The kernel was told about huge pages for this region.
    pub const HUGE_ADVISED: u32 = 16;
    /// Pages are populated ahead of use.
    pub const POPULATE: u32 = 32;
    /// An observer is running right now; it sees no events of its own doing.
    pub const REPORTING: u32 = 64;
    /// The region may be kept for the next arena.
    pub const KEEP: u32 = 128;
    /// The memory is a lease of a shared arena, and another one follows when it is used up.
    pub const LEASED: u32 = 256;
    /// In no list of the process: children do not have this memory, and lists lead through headers.
    pub const UNLISTED: u32 = 512;
    /// Blocks lie where a checker has put them, not in the region; `limit` is 0 until the arena ends.
    pub const CHECKED: u32 = 1024;

    /// What is true of the region, whichever arena is in it.
    pub(crate) const OF_REGION: u32 = ZEROED | GROWING | HUGE | HUGE_ADVISED;
}

// The layout that outsiders and C rely on. A change here is a change of LAYOUT_VERSION.
#[cfg(target_pointer_width = "64")]
const _: () = {
    assert!(offset_of!(Arena, magic) == 0);
    assert!(offset_of!(Arena, layout_version) == 8);
    assert!(offset_of!(Arena, header_bytes) == 12);
    assert!(offset_of!(Arena, cursor) == 16);
    assert!(offset_of!(Arena, base) == 24);
    assert!(offset_of!(Arena, limit) == 32);
    assert!(offset_of!(Arena, true_limit) == 40);
    assert!(offset_of!(Arena, high_water) == 48);
    assert!(offset_of!(Arena, stored_limit) == 56);
    assert!(offset_of!(Arena, capacity) == 64);
    assert!(offset_of!(Arena, committed) == 72);
    assert!(offset_of!(Arena, reserved) == 80);
    assert!(offset_of!(Arena, id) == 88);
    assert!(offset_of!(Arena, generation) == 96);
    assert!(offset_of!(Arena, depth) == 104);
    assert!(offset_of!(Arena, scope) == 108);
    assert!(offset_of!(Arena, owner_tid) == 112);
    assert!(offset_of!(Arena, pid) == 116);
    assert!(offset_of!(Arena, events) == 120);
    assert!(offset_of!(Arena, site_file) == 128);
    assert!(offset_of!(Arena, site_file_bytes) == 136);
    assert!(offset_of!(Arena, site_line) == 140);
    assert!(offset_of!(Arena, name) == 144);
    assert!(offset_of!(Arena, name_bytes) == 152);
    assert!(offset_of!(Arena, site_column) == 156);
    assert!(offset_of!(Arena, name_inline) == 160);
    assert!(offset_of!(Arena, observer) == 192);
    assert!(offset_of!(Arena, clean_from) == 200);
    assert!(offset_of!(Arena, flags) == 208);
    assert!(offset_of!(Arena, scopes) == 212);
    assert!(offset_of!(Arena, reset_generation) == 216);
    assert!(offset_of!(Arena, commits) == 224);
    assert!(offset_of!(Arena, refusals) == 228);
    // Outsiders follow the process's lists through headers, and tell leases from arenas by their link.
    assert!(offset_of!(Arena, link) == 272);
    assert!(offset_of!(Arena, listed) == 352);
    assert!(HEADER_BYTES == 384);
    // 16 bytes apart at least: see the first line.
    assert!(offset_of!(Arena, limit) - offset_of!(Arena, cursor) >= 16);
};

#[cfg(test)]
mod tests {
    #[test]
    fn the_magic_numbers_read_as_text() {
        assert_eq!(&super::MAGIC.to_le_bytes(), b"ARENASC1");
        assert_eq!(&super::MAGIC_KEPT.to_le_bytes(), b"ARENAKPT");
    }
}

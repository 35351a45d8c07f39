//! The header of a shared arena, and the rows of berths in which threads hold their leases: field by field, for people and for the code.
//!
//! May be relied on: the layout is `#[repr(C)]` and has a version. A debugger or another process finds a shared arena by
//! [`MAGIC_SHARED`] at a multiple of 128 bytes, and through it every lease with its owner. Deliberately absent: behaviour.
//!
//! ```text
//! region: │ SharedHeader, 384 B │ row of 15 berths, 7,808 B │ base: lease │ lease │ … cursor, not leased yet … │
//! a berth: │ owner, 128 B │ Arena, 384 B: base, cursor, limit, capacity of the lease that the owner holds │
//! ```
//! A berth's [`Arena`] is an arena like any other, but that its memory is a lease: when that is used up, the berth gets another one.
//!
//! # Invariants
//! - **S1** Between creation and destruction header and rows lie in readable and writable memory that nothing else uses, and never move.
//!   Fields that are not atomic are written at creation and by who has the arena exclusively (reset, destruction).
//! - **S2** `base + cursor` ≤ `base + capacity` ≤ end of the reservation; spans below the cursor belong to one berth, to one block, or to
//!   nobody any more (`lost`). What lies above was never handed out since the last reset.
//! - **S3** A berth's fields but `owner` are its owner's alone; `claim` and `release` of `leases` hand them on.
//! - **S4** A berth's arena keeps I1 to I6 of [`header`](crate::header) for its lease, but that its header lies elsewhere: `base` is the lease's
//!   first byte, and the lease's last 8 bytes are never handed out. So no block ends where a neighbour's lease begins.
#![allow(unsafe_code)] // Walks rows by their links.

use crate::header::{Arena, NAME_BYTES};
use crate::policy::KeptBytes;
use crate::region::Source;
use crate::registry::Listed;
use core::cell::Cell;
use core::mem::offset_of;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

/// The first eight bytes of a living shared arena: "ARENASHR" as text.
pub const MAGIC_SHARED: u64 = u64::from_le_bytes(*b"ARENASHR");

/// Changes when a field moves or changes its meaning.
pub const SHARED_LAYOUT_VERSION: u32 = 1;

/// Berths in the row behind the header: with it they take two pages.
pub(crate) const FIRST_BERTHS: usize = 15;

/// Berths in each further row, which has a mapping of its own.
pub(crate) const MORE_BERTHS: usize = 31;

/// Bytes from the header to the first byte that is leased.
pub(crate) const HEAD_BYTES: usize = size_of::<SharedHeader>() + row_bytes(FIRST_BERTHS);

/// The memory of a row.
pub(crate) const fn row_bytes(berths: usize) -> usize {
    size_of::<Row>() + berths * size_of::<Berth>()
}

/// Region, cursor and name of a shared arena.
#[repr(C, align(128))]
pub struct SharedHeader {
    /// +0: [`MAGIC_SHARED`]; 0 before creation is complete and after the end.
    pub(crate) magic: AtomicU64,
    /// +8: [`SHARED_LAYOUT_VERSION`].
    pub(crate) layout_version: Cell<u32>,
    /// +12: bytes from the header to the first byte that is leased.
    pub(crate) header_bytes: Cell<u32>,
    /// +16: bytes from `base` that were leased since the last reset.
    pub(crate) cursor: AtomicU64,
    /// +24: the first byte that is leased.
    pub(crate) base: Cell<*mut u8>,
    /// +32: bytes from `base` that may be leased: the bound asked for; for a growing arena, the reservation.
    pub(crate) capacity: Cell<u64>,
    /// +40: the newest row of berths; rows are linked.
    pub(crate) rows: AtomicPtr<Row>,
    /// +48: unique in the process among all arenas.
    pub(crate) id: Cell<u64>,
    /// +56: counts resets.
    pub(crate) generation: AtomicU64,
    /// +64: bytes at the ends of leases that nobody will get before the next reset.
    pub(crate) lost: AtomicU64,
    /// +72: requests refused.
    pub(crate) refusals: AtomicU32,
    /// +76: process that created the arena.
    pub(crate) pid: Cell<u32>,
    /// +80: bytes from `base` that may not be zero: what was leased before the last reset.
    pub(crate) dirty: Cell<u64>,
    /// +88: file of the creation site, UTF-8, not terminated.
    pub(crate) site_file: Cell<*const u8>,
    /// +96: its length in bytes.
    pub(crate) site_file_bytes: Cell<u32>,
    /// +100: line of the creation site, from 1.
    pub(crate) site_line: Cell<u32>,
    /// +104: the name, UTF-8, not terminated; null when there is none.
    pub(crate) name: Cell<*const u8>,
    /// +112: its length in bytes.
    pub(crate) name_bytes: Cell<u32>,
    /// +116: column of the creation site, from 1.
    pub(crate) site_column: Cell<u32>,
    /// +120: the name's first 32 bytes.
    pub(crate) name_inline: Cell<[u8; NAME_BYTES]>,
    /// +152: 1 for an arena that grows, see [`flags`](crate::header::flags) for the rest.
    pub(crate) flags: Cell<u32>,
    /// +160: zero; room for fields to come.
    pub(crate) room: [Cell<u64>; 16],

    // --- the rest is the library's own: not part of the layout
    pub(crate) source: Cell<&'static dyn Source>,
    pub(crate) region: Cell<NonNull<u8>>,
    pub(crate) mapping: Cell<NonNull<u8>>,
    pub(crate) mapping_bytes: Cell<usize>,
    pub(crate) on_reset: Cell<KeptBytes>,
    /// So that `listed` and that of a slab differ in their low bits: whoever has no note tells the lists apart by them. Never written.
    pub(crate) spare: Cell<u64>,
    pub(crate) listed: Listed,
}

/// Berths in a row.
#[repr(C, align(128))]
pub struct Row {
    /// +0: the row before; null for the first.
    pub(crate) next: Cell<*mut Row>,
    /// +8: berths in this row; they begin 128 bytes after the row.
    pub(crate) count: Cell<usize>,
    /// Not part of the layout: what the row's source wants back; null for the first row, which lies in the arena's region.
    pub(crate) mapping: Cell<*mut u8>,
    pub(crate) mapping_bytes: Cell<usize>,
}

/// A thread's place in a shared arena.
#[repr(C, align(128))]
pub struct Berth {
    /// +0: who holds the berth: process number in the high half, thread number in the low one; 0: nobody.
    pub(crate) owner: AtomicU64,
    /// +8: bytes of the next lease.
    pub(crate) next_lease_bytes: Cell<u64>,
    /// +128: the lease, as an arena. Its magic is 0 before the berth is first held.
    pub(crate) arena: BerthArena,
}

/// An arena's header at a place that is not its region's begin.
#[repr(C, align(128))]
pub(crate) struct BerthArena(pub(crate) core::mem::MaybeUninit<Arena>);

// What outsiders rely on. A change here is a change of SHARED_LAYOUT_VERSION.
#[cfg(target_pointer_width = "64")]
const _: () = {
    assert!(size_of::<SharedHeader>() == 384);
    assert!(size_of::<Row>() == 128);
    assert!(size_of::<Berth>() == 512);
    assert!(offset_of!(Berth, arena) == 128);
    assert!(HEAD_BYTES == 8192);
    assert!(offset_of!(SharedHeader, cursor) == 16);
    assert!(offset_of!(SharedHeader, base) == 24);
    assert!(offset_of!(SharedHeader, capacity) == 32);
    assert!(offset_of!(SharedHeader, rows) == 40);
    assert!(offset_of!(SharedHeader, id) == 48);
    assert!(offset_of!(SharedHeader, generation) == 56);
    assert!(offset_of!(SharedHeader, lost) == 64);
    assert!(offset_of!(SharedHeader, refusals) == 72);
    assert!(offset_of!(SharedHeader, pid) == 76);
    assert!(offset_of!(SharedHeader, dirty) == 80);
    assert!(offset_of!(SharedHeader, site_file) == 88);
    assert!(offset_of!(SharedHeader, site_file_bytes) == 96);
    assert!(offset_of!(SharedHeader, site_line) == 100);
    assert!(offset_of!(SharedHeader, name) == 104);
    assert!(offset_of!(SharedHeader, name_bytes) == 112);
    assert!(offset_of!(SharedHeader, site_column) == 116);
    assert!(offset_of!(SharedHeader, name_inline) == 120);
    assert!(offset_of!(SharedHeader, flags) == 152);
    // Outsiders follow the process's list of shared arenas through it.
    assert!(offset_of!(SharedHeader, listed) == 344);
};

impl Berth {
    /// The berth's arena, through which its owner allocates.
    pub(crate) fn arena(berth: NonNull<Berth>) -> NonNull<Arena> {
        // SAFETY: S1 — a field of a mapped berth; no reference is made.
        unsafe { NonNull::new_unchecked(&raw mut (*berth.as_ptr()).arena) }.cast()
    }
}

impl SharedHeader {
    /// Each berth, newest rows first.
    pub(crate) fn berths(&self) -> impl Iterator<Item = NonNull<Berth>> {
        let mut row = NonNull::new(self.rows.load(Ordering::Acquire));
        let mut index = 0;
        core::iter::from_fn(move || {
            loop {
                let here = row?;
                // SAFETY: S1 — a row of a living arena; its link and count were written before it was published.
                let (next, count) = unsafe { (here.as_ref().next.get(), here.as_ref().count.get()) };
                if index < count {
                    // SAFETY: index < count: inside the row.
                    let berth = unsafe { here.cast::<u8>().add(size_of::<Row>() + index * size_of::<Berth>()) }.cast();
                    index += 1;
                    return Some(berth);
                }
                row = NonNull::new(next);
                index = 0;
            }
        })
    }
}

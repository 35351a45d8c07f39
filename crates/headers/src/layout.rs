//! The library's layout as numbers: magic words, offsets, limits.
//!
//! Each constant names the file of the library that it is from; the library asserts the same offsets when it is built, and a test
//! here reads living arenas by them. Deliberately absent: meaning.

/// `header.rs`: the first eight bytes of a living arena.
pub const MAGIC: u64 = u64::from_le_bytes(*b"ARENASC1");
/// `header.rs`: of a region that is kept for the next arena.
pub const MAGIC_KEPT: u64 = u64::from_le_bytes(*b"ARENAKPT");
/// `shared_header.rs`: of a shared arena.
pub const MAGIC_SHARED: u64 = u64::from_le_bytes(*b"ARENASHR");
/// `fork/share_header.rs`: of memory that processes share.
pub const MAGIC_SHARE: u64 = u64::from_le_bytes(*b"ARENASHM");
/// `slab.rs`: of a mapping that holds small arenas.
pub const MAGIC_SLAB: u64 = u64::from_le_bytes(*b"ASCOSLAB");

/// `header.rs`: the layout that is read here.
pub const LAYOUT_VERSION: u32 = 2;
/// `shared_header.rs`: likewise.
pub const SHARED_LAYOUT_VERSION: u32 = 1;
/// `fork/share_header.rs`: likewise.
pub const SHARE_LAYOUT_VERSION: u32 = 1;

/// Headers stand at multiples of this, in bytes (`header.rs`).
pub const STEP: u64 = 128;
/// Bytes of an arena's header in this version (`header.rs`).
pub const HEADER_BYTES: u64 = 384;
/// The least a header can have: the documented fields.
pub const LEAST_HEADER_BYTES: u64 = 232;
/// The largest capacity, in bytes (`create.rs`).
pub const MAX_CAPACITY: u64 = (i64::MAX as u64) - (4 << 20);

/// Bytes of a shared arena's header, of a row's, of a berth, of a slab's header (`shared_header.rs`, `slab.rs`).
pub const SHARED_HEADER_BYTES: u64 = 384;
/// See above.
pub const ROW_BYTES: u64 = 128;
/// See above.
pub const BERTH_BYTES: u64 = 512;
/// Bytes from a berth to its arena (`shared_header.rs`).
pub const BERTH_ARENA: u64 = 128;
/// See above.
pub const SLAB_BYTES: u64 = 128;
/// Bytes of the header of memory that processes share, leases included (`fork/share_header.rs`).
pub const SHARE_HEADER_BYTES: u64 = 8192;

/// Bytes from a header to its place in the process's list (`registry.rs`): the next entry's place.
pub const ARENA_LISTED: u64 = 352;
/// See above, of a shared arena.
pub const SHARED_LISTED: u64 = 344;
/// See above, of a slab.
pub const SLAB_LISTED: u64 = 80;

/// Bits of an arena's flags (`header.rs`).
pub mod flags {
    /// Made to grow: capacity is the reservation.
    pub const GROWING: u32 = 2;
    /// Events are reported.
    pub const WATCHED: u32 = 4;
    /// The memory is a lease of a shared arena.
    pub const LEASED: u32 = 256;
    /// In no list: a forked child does not have this memory.
    pub const UNLISTED: u32 = 512;
    /// Its blocks lie where a checker has put them, not in its region.
    pub const CHECKED: u32 = 1024;
}

/// A number of 8 bytes at `at`; 0 past the end.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |word| u64::from_le_bytes(*word))
}

/// A number of 4 bytes at `at`; 0 past the end.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |word| u32::from_le_bytes(*word))
}

/// `value` rounded up to a multiple of `to`; None when that does not fit.
pub(crate) fn up(value: u64, to: u64) -> Option<u64> {
    value.checked_next_multiple_of(to)
}

// Lists are told apart by where in a header their entries point, modulo the step of headers.
const _: () = assert!(ARENA_LISTED % STEP != SHARED_LISTED % STEP);
const _: () = assert!(ARENA_LISTED % STEP != SLAB_LISTED % STEP && SHARED_LISTED % STEP != SLAB_LISTED % STEP);

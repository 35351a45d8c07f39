//! The header of memory that processes share, field by field: the same in each of them, so without pointers.
//!
//! May be relied on: a versioned `#[repr(C)]` layout. All positions are bytes from the header. Deliberately absent: behaviour.
//!
//! # Invariants
//! Each holds after every single store, so that a process may be killed between any two.
//! - **P1** What lies below `cursor` was leased, what lies above never. `cursor` is a multiple of 128, at most `capacity` rounded up to that.
//! - **P2** A lease's `span` lies below `cursor` and meets no other lease's. It changes by one store: to a new span while `used` says that nothing
//!   is left of the old one, or to a longer one that begins at the same place.
//! - **P3** What lies in a lease's span from `used` on was handed out to nobody. `used` grows before a block is shown to anybody.
//! - **P4** Only its owner writes `span` and `used`. Who owns a lease whose owner is gone has made itself its owner by one exchange.

use crate::atomics::AtomicU64;
use crate::leases::LEASE_GRAIN;
use core::mem::offset_of;
use core::sync::atomic::AtomicU32;

/// The first eight bytes: "ARENASHM" as text.
pub const MAGIC_SHARE: u64 = u64::from_le_bytes(*b"ARENASHM");

/// Changes when a field moves or changes its meaning.
pub const SHARE_LAYOUT_VERSION: u32 = 1;

/// Leases that the header has room for: threads of all processes that hold one at once. Further ones allocate without a lease.
pub(crate) const LEASES: usize = 252;

/// Bytes before the first one that is leased.
pub(crate) const SHARE_HEADER_BYTES: u64 = size_of::<ShareHeader>() as u64;

/// `used` of a lease that has nothing left.
pub(crate) const NOTHING_LEFT: u64 = u64::MAX;

/// What lies at the begin of memory that processes share.
#[repr(C, align(128))]
pub struct ShareHeader {
    /// +0: [`MAGIC_SHARE`].
    pub(crate) magic: AtomicU64,
    /// +8: [`SHARE_LAYOUT_VERSION`].
    pub(crate) layout_version: AtomicU32,
    /// +12: bytes from here to the first byte that is leased: 8,192.
    pub(crate) header_bytes: AtomicU32,
    /// +16: where what was never leased begins, in bytes from here.
    pub(crate) cursor: AtomicU64,
    /// +24: where the last byte that may be leased ends, in bytes from here.
    pub(crate) bound: AtomicU64,
    /// +32: bytes of the whole mapping.
    pub(crate) mapping_bytes: AtomicU64,
    /// +40: which name space the numbers of processes are of (the inode of `/proc/self/ns/pid`); 0: not known.
    pub(crate) pid_space: AtomicU64,
    /// +48: bytes at the ends of leases that were used up.
    pub(crate) lost: AtomicU64,
    /// +56: process that created the memory.
    pub(crate) pid: AtomicU32,
    /// +60: requests refused.
    pub(crate) refusals: AtomicU32,
    /// +64: the memory's number, which its offsets carry in their upper 21 bits; 0: none.
    pub(crate) number: AtomicU64,
    /// +72: zero; room for fields to come.
    pub(crate) room: [AtomicU64; 7],
    /// +128: the leases.
    pub(crate) leases: [ShareLease; LEASES],
}

/// A lease of one thread of one process.
#[repr(C, align(32))]
pub struct ShareLease {
    /// +0: process number in the high half, thread number in the low one; 0: nobody. Bit 31: the process counts in another
    /// name space, and nobody can tell whether it lives.
    pub(crate) owner: AtomicU64,
    /// +8: the span: where it begins, in units of 128 bytes from the header, in the low 36 bits; above them its length in units of 128 bytes.
    pub(crate) span: AtomicU64,
    /// +16: where what is left of the span begins, in bytes from the header; all ones: nothing is left.
    pub(crate) used: AtomicU64,
}

const _: () = {
    assert!(size_of::<ShareHeader>() == 8192);
    assert!(size_of::<ShareLease>() == 32);
    assert!(offset_of!(ShareHeader, layout_version) == 8);
    assert!(offset_of!(ShareHeader, cursor) == 16);
    assert!(offset_of!(ShareHeader, bound) == 24);
    assert!(offset_of!(ShareHeader, mapping_bytes) == 32);
    assert!(offset_of!(ShareHeader, pid_space) == 40);
    assert!(offset_of!(ShareHeader, lost) == 48);
    assert!(offset_of!(ShareHeader, pid) == 56);
    assert!(offset_of!(ShareHeader, refusals) == 60);
    assert!(offset_of!(ShareHeader, number) == 64);
    assert!(offset_of!(ShareHeader, leases) == 128);
};

/// Bits of a span that say where it begins.
const START_BITS: u32 = 36;

/// The largest mapping whose spans can be written down, in bytes: 8 TiB.
pub(crate) const LARGEST: u64 = 1 << (START_BITS + 7);

/// The longest span, in bytes: 32 GiB less a unit.
pub(crate) const LONGEST_SPAN: u64 = ((1 << (64 - START_BITS)) - 1) * LEASE_GRAIN;

/// A span in one word. Both numbers are multiples of 128.
pub(crate) const fn pack(start: u64, bytes: u64) -> u64 {
    (start / LEASE_GRAIN) | ((bytes / LEASE_GRAIN) << START_BITS)
}

/// Begin and length of a span.
pub(crate) const fn unpack(span: u64) -> (u64, u64) {
    ((span & ((1 << START_BITS) - 1)) * LEASE_GRAIN, (span >> START_BITS) * LEASE_GRAIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_in_one_word_is_read_as_it_was_written() {
        for start in [0, 128, 8192, LARGEST - 128] {
            for bytes in [0, 128, 65536, LONGEST_SPAN] {
                assert_eq!(unpack(pack(start, bytes)), (start, bytes));
            }
        }
    }
}

//! How large leases become, and which blocks get a span of their own: the numbers that threads (`refill`) and processes
//! (`fork::share_local`) have in common.
//!
//! May be relied on: a span of [`span_bytes`] holds its block wherever it begins; of a lease at most a sixteenth is lost at its end.
//! Deliberately absent: what a first lease is, and what is left of an arena, which is theirs.
#![forbid(unsafe_code)]

use crate::leases::LEASE_GRAIN;
use core::alloc::Layout;

/// Leases double up to this many bytes: what a thread that stops allocating may keep from others.
const LARGEST_LEASE_BYTES: u64 = 1 << 20;

/// A lease takes at most this share of what is left: a bounded arena that is nearly full goes round in smaller pieces.
pub(crate) const SHARE: u64 = 16;

/// Of a lease so much may be lost at its end: a sixteenth. Where a block leaves more, it gets a span of its own.
const LOSABLE: u64 = 16;

/// The end of a thread's lease that is never handed out: S4.
pub(crate) const GAP: usize = 8;

/// Bytes of the lease after one of `bytes`.
pub(crate) const fn doubled(bytes: u64) -> u64 {
    let bytes = bytes.saturating_mul(2);
    if bytes < LARGEST_LEASE_BYTES { bytes } else { LARGEST_LEASE_BYTES }
}

/// True when a block that needs `needed` bytes gets a span of its own, and the lease its rest: when it is large, or the rest too large to be lost.
pub(crate) const fn apart(needed: u64, rest: u64, lease: u64) -> bool {
    needed > lease / 2 || rest > lease / LOSABLE
}

/// Bytes of a span that holds such a block wherever it begins, its gap included; None for more than there can be.
pub(crate) fn span_bytes(layout: Layout) -> Option<u64> {
    // Spans begin at multiples of the grain.
    let padding = (layout.align() as u64).saturating_sub(LEASE_GRAIN);
    let bytes = (layout.size() as u64).checked_add(padding)?.checked_add(GAP as u64)?;
    bytes.checked_next_multiple_of(LEASE_GRAIN).filter(|bytes| *bytes <= isize::MAX as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry;

    #[test]
    fn what_is_lost_at_a_leases_end_is_a_sixteenth_at_most() {
        let lease = 64 << 10;
        for rest in 0..=lease {
            for needed in [128, 4096, 4224, lease / 2, lease / 2 + 128, lease] {
                assert!(apart(needed, rest, lease) || rest <= lease / 16 && needed <= lease / 2);
            }
        }
    }

    #[test]
    fn a_span_holds_its_block_wherever_it_begins() {
        for (size, align) in [(0, 1), (1, 1), (120, 8), (121, 8), (4096, 4096), (8, 1 << 20), (1 << 40, 256)] {
            let layout = Layout::from_size_align(size, align).unwrap();
            let bytes = span_bytes(layout).unwrap();
            assert_eq!(bytes % LEASE_GRAIN, 0);
            for start in (0..4096).step_by(128) {
                let at = geometry::up(start, align as u64);
                assert!(at + size as u64 + GAP as u64 <= start + bytes, "{size} {align} at {start}");
            }
        }
        assert_eq!(span_bytes(Layout::from_size_align(isize::MAX as usize, 1).unwrap()), None);
    }

    #[test]
    fn leases_double_up_to_a_mebibyte() {
        assert_eq!([16 << 10, 1 << 19, 1 << 20, u64::MAX].map(doubled), [32 << 10, 1 << 20, 1 << 20, 1 << 20]);
    }
}

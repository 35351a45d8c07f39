//! Which word of an arena object is its cursor, and where it stood before and after a call.
//!
//! May be relied on: a cursor is named only when its word stood near the end of the last block before the call and at the
//! end of the new one after it, as an address or as an offset from the arena's start. Absent on purpose: what it means.

use arenascope_event::Address;

/// Alignment, headers and redzones may take this much between the end of a block and the cursor, bytes.
pub(crate) const NEAR: u64 = 64;

/// A cursor, and how it moved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Cursor {
    /// Where the last event had left it.
    pub(crate) stood: u64,
    /// The address that its offsets count from; `None` when it is an address itself.
    pub(crate) base: Option<u64>,
    /// Where its word lies in the object, bytes, and how long it is.
    pub(crate) at: usize,
    pub(crate) len: usize,
}

/// The last block's first byte and end.
pub(crate) type Range = (u64, u64);

/// Finds the cursor in an object of which `before` and `after` are known, when a block that ends at `end` came after the
/// one at `last`. `bases` are addresses that offsets may count from.
pub(crate) fn find(before: &[u8], after: &[u8], last: Range, end: u64, bases: &[Address]) -> Option<Cursor> {
    let fits = |base: u64, stood: u64, stands: u64| {
        let (stood, stands) = (base.wrapping_add(stood), base.wrapping_add(stands));
        let at_end = stands.wrapping_sub(end) <= NEAR;
        let behind_start = last.0 < stood && stood <= last.1.saturating_add(NEAR);
        (at_end && behind_start).then_some(stood)
    };
    let words = before.chunks_exact(8).zip(after.chunks_exact(8)).enumerate();
    for (index, (before, after)) in words.filter(|(_, (before, after))| before != after) {
        let (Ok(old), Ok(new)) = (before.try_into().map(u64::from_le_bytes), after.try_into().map(u64::from_le_bytes))
        else {
            continue;
        };
        let at = index.saturating_mul(8);
        if let Some(stood) = fits(0, old, new) {
            return Some(Cursor { stood, base: None, at, len: 8 });
        }
        for base in bases {
            if let Some(stood) = fits(base.0, old, new) {
                return Some(Cursor { stood, base: Some(base.0), at, len: 8 });
            }
        }
        // Offsets of 32 bits, two to a word.
        for half in [0_usize, 1] {
            let of = |word: u64| (word >> (32 * half)) & u64::from(u32::MAX);
            if of(old) == of(new) {
                continue;
            }
            for base in bases {
                if let Some(stood) = fits(base.0, of(old), of(new)) {
                    return Some(Cursor { stood, base: Some(base.0), at: at.saturating_add(4 * half), len: 4 });
                }
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn bytes(words: &[u64]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    #[test]
    fn addresses_and_offsets_of_both_widths_are_told_apart_from_other_words() {
        let base = [Address(0x1000)];
        let find = |before: &[u64], after: &[u64]| find(&bytes(before), &bytes(after), (0x1020, 0x1040), 0x1020, &base);
        let offset = find(&[0x1000, 0x40, 256], &[0x1000, 0x20, 256]);
        assert_eq!(offset, Some(Cursor { stood: 0x1040, base: Some(0x1000), at: 8, len: 8 }));
        let pointer = find(&[0x1000, 0x1048, 256], &[0x1000, 0x1020, 256]);
        assert_eq!(pointer, Some(Cursor { stood: 0x1048, base: None, at: 8, len: 8 }));
        let half = find(&[0x1000, 0x1_0000_0040_u64 & 0xffff_ffff | 256 << 32], &[0x1000, 0x20 | 256 << 32]);
        assert_eq!(half, Some(Cursor { stood: 0x1040, base: Some(0x1000), at: 8, len: 4 }));
        assert_eq!(find(&[3, 9], &[4, 10]), None);
        assert_eq!(find(&[0x1000, 0x40], &[0x1000, 0x40]), None);
    }
}

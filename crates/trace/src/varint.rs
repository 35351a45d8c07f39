//! Numbers of 1 to 10 bytes: LEB128, with zigzag for signed differences.
//!
//! Writing never fails and never panics; reading accepts any bytes and says `None` for a number that is cut off or
//! does not fit 64 bits. No other encoding of numbers exists in records and tail sections.

/// The most bytes one number takes.
pub(crate) const MAX_VARINT: usize = 10;

/// Maps small differences of either sign to small numbers.
#[inline]
pub(crate) const fn zigzag(value: u64) -> u64 {
    (value << 1) ^ (((value as i64) >> 63) as u64)
}

/// The inverse of [`zigzag`].
#[inline]
pub(crate) const fn unzigzag(value: u64) -> u64 {
    (value >> 1) ^ (value & 1).wrapping_neg()
}

/// Writes `value` at `at`, returns the position after it. `N` is a power of two and larger than any position reached
/// (see `MAX_RECORD_BYTES`); the mask says so to the compiler, which then needs no bounds check.
#[inline(always)]
pub(crate) fn put<const N: usize>(out: &mut [u8; N], mut at: usize, mut value: u64) -> usize {
    const { assert!(N.is_power_of_two()) };
    while value >= 0x80 {
        out[at & (N - 1)] = (value as u8) | 0x80;
        at += 1;
        value >>= 7;
    }
    out[at & (N - 1)] = value as u8;
    at + 1
}

/// Reads bytes front to back; every method says `None` at the end and leaves the rest alone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Cursor { rest: bytes }
    }

    /// Bytes not read yet.
    pub(crate) fn left(&self) -> usize {
        self.rest.len()
    }

    #[inline(always)]
    pub(crate) fn byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(first)
    }

    #[inline(always)]
    pub(crate) fn number(&mut self) -> Option<u64> {
        match self.rest.split_first() {
            Some((&first, rest)) if first < 0x80 => {
                self.rest = rest;
                Some(u64::from(first))
            }
            _ => self.long_number(),
        }
    }

    fn long_number(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for (index, &byte) in self.rest.iter().take(MAX_VARINT).enumerate() {
            let bits = u64::from(byte & 0x7F);
            if index == MAX_VARINT - 1 && byte > 1 {
                return None;
            }
            value |= bits << (7 * index);
            if byte < 0x80 {
                self.rest = self.rest.get(index + 1..)?;
                return Some(value);
            }
        }
        None
    }

    #[inline(always)]
    pub(crate) fn signed(&mut self) -> Option<u64> {
        self.number().map(unzigzag)
    }

    #[inline(always)]
    pub(crate) fn number32(&mut self) -> Option<u32> {
        u32::try_from(self.number()?).ok()
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(bytes)
    }

    /// A length and so many bytes.
    pub(crate) fn counted_bytes(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(self.number()?).ok()?;
        self.bytes(len)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        Some(u16::from_le_bytes(self.bytes(2)?.try_into().ok()?))
    }
}

/// A little-endian word at a fixed place; 0 past the end.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |word| u32::from_le_bytes(*word))
}

/// A little-endian word at a fixed place; 0 past the end.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |word| u64::from_le_bytes(*word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_come_back(value: u64, shift in 0u32..64) {
            let value = value >> shift;
            let mut out = [0u8; 16];
            let len = put(&mut out, 0, value);
            prop_assert!(len <= MAX_VARINT);
            let mut cursor = Cursor::new(&out[..len]);
            prop_assert_eq!(cursor.number(), Some(value));
            prop_assert_eq!(cursor.left(), 0);
            prop_assert_eq!(unzigzag(zigzag(value)), value);
            for cut in 0..len {
                prop_assert_eq!(Cursor::new(&out[..cut]).number(), None);
            }
        }
    }

    #[test]
    fn small_differences_of_either_sign_are_small() {
        for (difference, coded) in [(0i64, 0u64), (-1, 1), (1, 2), (-2, 3), (63, 126), (-64, 127)] {
            assert_eq!(zigzag(difference as u64), coded);
        }
    }

    #[test]
    fn a_number_beyond_64_bits_is_refused() {
        let mut bytes = [0xFFu8; 10];
        bytes[9] = 1;
        assert_eq!(Cursor::new(&bytes).number(), Some(u64::MAX));
        bytes[9] = 2;
        assert_eq!(Cursor::new(&bytes).number(), None);
        assert_eq!(Cursor::new(&[0x80; 11]).number(), None);
    }
}

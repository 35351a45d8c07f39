//! CRC-32C (Castagnoli), the checksum of every part of a trace.
//!
//! Chains as zlib's `crc32` does: `crc32c(crc32c(0, a), b) == crc32c(0, ab)` and `crc32c(0, "") == 0`. The SSE4.2
//! instruction computes the same value when its accumulator is inverted before and after. Only portable code here:
//! a recorder that wants the instruction brings it along.

/// The reflected Castagnoli polynomial (RFC 3720, section 12.1).
const POLYNOMIAL: u32 = 0x82F6_3B78;

/// `TABLES[k][b]`: the remainder of byte `b` followed by `k` zero bytes ("slicing by 8", Intel 2006).
static TABLES: [[u32; 256]; 8] = tables();

const fn tables() -> [[u32; 256]; 8] {
    let mut tables = [[0u32; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut value = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { (value >> 1) ^ POLYNOMIAL } else { value >> 1 };
            bit += 1;
        }
        tables[0][byte] = value;
        byte += 1;
    }
    let mut k = 1;
    while k < 8 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[k - 1][byte];
            tables[k][byte] = (before >> 8) ^ tables[0][(before & 0xFF) as usize];
            byte += 1;
        }
        k += 1;
    }
    tables
}

/// The CRC-32C of `bytes`, continued from `seed` (0 at the start). Linear; about 1.5 GB/s on a 2020 server core.
pub fn crc32c(seed: u32, bytes: &[u8]) -> u32 {
    let mut crc = !seed;
    let (eights, rest) = bytes.as_chunks::<8>();
    for eight in eights {
        let [a, b, c, d, e, f, g, h] = *eight;
        let low = crc ^ u32::from_le_bytes([a, b, c, d]);
        let [i0, i1, i2, i3] = low.to_le_bytes();
        crc = TABLES[7][i0 as usize]
            ^ TABLES[6][i1 as usize]
            ^ TABLES[5][i2 as usize]
            ^ TABLES[4][i3 as usize]
            ^ TABLES[3][e as usize]
            ^ TABLES[2][f as usize]
            ^ TABLES[1][g as usize]
            ^ TABLES[0][h as usize];
    }
    for &byte in rest {
        crc = (crc >> 8) ^ TABLES[0][((crc ^ u32::from(byte)) & 0xFF) as usize];
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::crc32c;

    /// The definition, bit by bit.
    fn naive(bytes: &[u8]) -> u32 {
        let mut crc = !0u32;
        for &byte in bytes {
            crc ^= u32::from(byte);
            for _ in 0..8 {
                crc = if crc & 1 == 1 { (crc >> 1) ^ super::POLYNOMIAL } else { crc >> 1 };
            }
        }
        !crc
    }

    #[test]
    fn known_values() {
        assert_eq!(crc32c(0, b""), 0);
        // RFC 3720, appendix B.4, and the check value of the CRC catalogue.
        assert_eq!(crc32c(0, b"123456789"), 0xE306_9283);
        assert_eq!(crc32c(0, &[0; 32]), 0x8A91_36AA);
        assert_eq!(crc32c(0, &[0xFF; 32]), 0x62A8_AB43);
    }

    #[test]
    fn every_length_and_every_split_agree_with_the_definition() {
        let bytes: [u8; 61] = core::array::from_fn(|i| (i as u8).wrapping_mul(37) ^ 0x5A);
        for len in 0..=bytes.len() {
            let whole = naive(&bytes[..len]);
            for split in 0..=len {
                let first = crc32c(0, &bytes[..split]);
                assert_eq!(crc32c(first, &bytes[split..len]), whole, "length {len}, split at {split}");
            }
        }
    }
}

//! Random distances between samples: exponential, in whole numbers, without the C library.
//!
//! May be relied on: a distance of at least n bytes has probability exp(−n / mean), to some 1e-6 of the mean (`ln` is tested against
//! the C library's); states of different seeds are apart. Absent on purpose: where seeds come from; secrecy.

/// SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014): one addition and a mixing of bits, so a
/// word of any value is a state.
#[inline]
pub fn mix(word: u64) -> u64 {
    let mixed = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// What a state grows by: 2^64 by the golden ratio.
pub const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// Fraction bits of [`minus_log2`].
const FRACTION: u32 = 32;

/// Coefficients of log2(1 + x) / x for x in 0..1, lowest first, 32 fraction bits: a fit of degree 8 at Chebyshev nodes.
const LOG2: [i64; 9] = [
    6_196_327_808,
    -3_098_129_618,
    2_064_500_111,
    -1_538_882_786,
    1_182_066_106,
    -842_839_880,
    480_315_100,
    -180_152_441,
    31_763_010,
];

/// A product of two numbers with 32 fraction bits: of a coefficient and 1 it has 65 bits before it is cut.
#[inline]
fn times(a: i64, b: i64) -> i64 {
    ((i128::from(a) * i128::from(b)) >> FRACTION) as i64
}

/// −log2(word / 2^64) with 32 fraction bits; `word` 0 counts as 1. Right to 2^-24 or so.
#[inline]
fn minus_log2(word: u64) -> u64 {
    let zeros = (word | 1).leading_zeros();
    // 1 ≤ m < 2 with 63 fraction bits, and its fraction with 32.
    let m = (word | 1).wrapping_shl(zeros);
    let x = ((m << 1) >> 32) as i64;
    let mut sum = 0i64;
    for coefficient in LOG2.iter().rev() {
        sum = times(sum, x).wrapping_add(*coefficient);
    }
    let log = times(sum, x) as u64;
    // word / 2^64 = m / 2^(zeros + 1).
    (u64::from(zeros).wrapping_add(1) << FRACTION).saturating_sub(log)
}

/// ln 2 with 32 fraction bits.
const LN_2: u64 = 2_977_044_472;

/// An exponential distance of this mean in bytes, rounded down, from a random word.
#[inline]
pub fn distance(random: u64, mean: u64) -> u64 {
    let natural = (u128::from(minus_log2(random)) * u128::from(LN_2)) >> FRACTION;
    u64::try_from((natural * u128::from(mean)) >> FRACTION).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_logarithm_is_that_of_the_c_library() {
        let mut worst = 0f64;
        let edges = (0..64).flat_map(|bit| [1u64 << bit, (1u64 << bit) - 1, (1u64 << bit) + 1]).chain([u64::MAX]);
        let random = (0..200_000u64).map(|i| mix(i.wrapping_mul(STEP)));
        let small = (0..100_000u64).map(|i| mix(i.wrapping_mul(STEP)) >> (i % 64));
        for word in edges.chain(random).chain(small) {
            let theirs = 64.0 - ((word | 1) as f64).log2();
            let ours = minus_log2(word) as f64 / (1u64 << FRACTION) as f64;
            worst = worst.max((ours - theirs).abs());
        }
        assert!(worst < 1e-6, "{worst}");
    }

    #[test]
    fn distances_are_exponential() {
        for mean in [1u64, 7, 512, 512 << 10, 1 << 40] {
            let (mut state, mut over, mut sum) = (0u64, [0u64; 6], 0f64);
            const COUNT: u64 = 400_000;
            for _ in 0..COUNT {
                state = state.wrapping_add(STEP);
                let distance = distance(mix(state), mean);
                sum += distance as f64;
                for (half, count) in over.iter_mut().enumerate() {
                    *count += u64::from(distance >= (mean * (half as u64 + 1)).div_ceil(2));
                }
            }
            // Of whole numbers from 0 the mean is 1 / (exp(1 / mean) - 1).
            let expected = 1.0 / (1.0 / mean as f64).exp_m1();
            let average = sum / COUNT as f64;
            assert!((average - expected).abs() < 5.0 * mean as f64 / (COUNT as f64).sqrt(), "{mean}: {average}");
            for (half, count) in over.into_iter().enumerate() {
                let bytes = (mean * (half as u64 + 1)).div_ceil(2) as f64;
                let p = (-bytes / mean as f64).exp();
                let bound = 5.0 * (p * (1.0 - p) * COUNT as f64).sqrt() + 1.0;
                assert!((count as f64 - p * COUNT as f64).abs() < bound, "{mean}: {count} reach {bytes}");
            }
        }
    }
}

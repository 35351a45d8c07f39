//! Where a block goes, in numbers: every address computation of the allocation path, as pure functions of integers.
//!
//! May be relied on: no function here panics, overflows or wraps for arguments within its stated range, and none touches
//! memory. Deliberately absent: pointers, `Layout`, errors with text.
//!
//! # Why nothing overflows on a 64-bit machine
//! A cursor is a user-space address, below [`ADDRESS_BOUND`] = 2^56 (2^47 on x86-64; 2^52 on aarch64). A size and an
//! alignment come from a `Layout`, for which size rounded up to the alignment is at most `isize::MAX` = 2^63 − 1, so
//! size + align − 1 < 2^63 + 2^62 even in the worst case, and in fact size + align ≤ 2^63. Hence
//! start ≤ cursor + align − 1, and start + size + 7 ≤ 2^56 + 2^63 + 6 < 2^64. On a 32-bit machine the same sums are taken
//! in 64 bits and bounded by 2^34. So the sums need no checks, and `end > limit` alone decides. The test
//! `sums_stay_below_two_to_the_64` holds this.
#![forbid(unsafe_code)]

use core::hint::cold_path;

/// Every cursor is a multiple of this, and so is every block's slot: the minimum alignment.
pub const GRAIN: usize = 8;

/// No address of a region reaches this.
pub const ADDRESS_BOUND: u64 = 1 << 56;

/// The addresses that a block takes: `start..end`, both multiples of [`GRAIN`] (`start` also of the alignment asked for).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    /// First byte of the block.
    pub start: usize,
    /// The cursor after the block.
    pub end: usize,
}

/// Rounds `value` up to a multiple of `unit`, a power of two. The caller has shown that the sum stays below 2^64.
#[inline(always)]
pub const fn up(value: u64, unit: u64) -> u64 {
    value.wrapping_add(unit.wrapping_sub(1)) & unit.wrapping_neg()
}

/// Rounds `value` down to a multiple of `unit`, a power of two.
#[inline(always)]
pub const fn down(value: u64, unit: u64) -> u64 {
    value & unit.wrapping_neg()
}

/// The slot of `size` bytes: rounded up to [`GRAIN`]. `size` ≤ `isize::MAX`.
#[inline(always)]
pub const fn slot(size: usize) -> usize {
    // At most 2^63: fits. On 32 bits at most 2^31.
    up(size as u64, GRAIN as u64) as usize
}

/// Places a block whose size the compiler knows, or knows to be a multiple of [`GRAIN`]: the size is rounded first, which
/// then costs nothing.
///
/// `cursor` is a multiple of [`GRAIN`] below [`ADDRESS_BOUND`]; `size` and `align` are those of a `Layout`. `limit` may be
/// anything. None when the slot ends past `limit`.
#[inline(always)]
pub const fn fit(cursor: usize, limit: usize, size: usize, align: usize) -> Option<Span> {
    let start = if align <= GRAIN { cursor as u64 } else { up(cursor as u64, align as u64) };
    let end = start.wrapping_add(up(size as u64, GRAIN as u64));
    if end > limit as u64 {
        cold_path();
        None
    } else {
        Some(Span { start: start as usize, end: end as usize })
    }
}

/// As [`fit`], for a size known only at run time: the end is rounded instead of the size, one instruction less.
///
/// The branch is folded when the compiler knows the alignment. When it does not, it is nearly always taken the same way, and
/// keeps two steps out of the chain from one cursor to the next: 0.9 against 1.4 ns in a loop over 64 mixed layouts.
#[inline(always)]
pub const fn fit_any(cursor: usize, limit: usize, size: usize, align: usize) -> Option<Span> {
    let start = if align <= GRAIN {
        cursor as u64
    } else {
        cold_path();
        up(cursor as u64, align as u64)
    };
    let end = up(start.wrapping_add(size as u64), GRAIN as u64);
    if end > limit as u64 {
        cold_path();
        None
    } else {
        Some(Span { start: start as usize, end: end as usize })
    }
}

/// Places a block by its exact end: the last block of a bounded arena may end at `bound` although its slot, rounded up to
/// [`GRAIN`], would not. None when the block's last byte lies past `bound`. `Span::end` is the rounded end.
#[inline]
pub const fn fit_exact(cursor: usize, bound: usize, size: usize, align: usize) -> Option<Span> {
    let start = up(cursor as u64, align as u64);
    let exact_end = start.wrapping_add(size as u64);
    // A block of no bytes ends nowhere: it may stand at a cursor that was rounded up past the bound.
    let bound = if size == 0 { up(bound as u64, GRAIN as u64) } else { bound as u64 };
    if exact_end > bound {
        return None;
    }
    Some(Span { start: start as usize, end: up(exact_end, GRAIN as u64) as usize })
}

/// True when the block of `size` bytes at `start` is the one that ends at the cursor.
#[inline(always)]
pub const fn is_last(start: usize, size: usize, cursor: usize) -> bool {
    start.wrapping_add(slot(size)) == cursor
}

/// The cursor after the block at `start` has `size` bytes; None past `limit`. `start` < [`ADDRESS_BOUND`], `size` ≤ `isize::MAX`.
#[inline(always)]
pub const fn fit_in_place(start: usize, limit: usize, size: usize) -> Option<usize> {
    let end = (start as u64).wrapping_add(up(size as u64, GRAIN as u64));
    if end > limit as u64 { None } else { Some(end as usize) }
}

/// As [`fit_in_place`], by the exact end.
#[inline]
pub const fn fit_in_place_exact(start: usize, bound: usize, size: usize) -> Option<usize> {
    let exact_end = (start as u64).wrapping_add(size as u64);
    let bound = if size == 0 { up(bound as u64, GRAIN as u64) } else { bound as u64 };
    if exact_end > bound { None } else { Some(up(exact_end, GRAIN as u64) as usize) }
}

/// The limit that the allocation path compares with: no slot may end past what is committed, nor past the last whole grain
/// of the bound (the bytes after it are handed out by [`fit_exact`]).
#[inline]
pub const fn limit(committed_end: usize, bound: usize) -> usize {
    let bound = down(bound as u64, GRAIN as u64) as usize;
    if committed_end < bound { committed_end } else { bound }
}

/// Small pages are committed in multiples of this, in bytes.
const STEP_FIRST: usize = 16 << 10;

/// Most that is committed ahead while small pages are used, in bytes.
const STEP_LARGEST: usize = 128 << 10;

/// The unit of commit steps of a size that was asked for, in bytes: the smallest page of all machines. Sources with larger ones round up.
pub const COMMIT_PAGE: usize = 4 << 10;

/// How far to commit a region when byte `needed − 1` shall be usable: `ahead` bytes more if that is said; else steps that grow with what is
/// used, to half as much again, within `head`; whole huge pages behind it. All in bytes from the region's start; the result is at
/// least `needed` and at most `reserved`. `needed` ≤ `reserved` < 2^56; `huge` is a power of two.
pub const fn commit_target(needed: usize, reserved: usize, head: usize, huge: usize, ahead: Option<usize>) -> usize {
    if let Some(ahead) = ahead {
        // No overflow: `needed` ≤ `reserved`.
        let more = if ahead < reserved - needed { ahead } else { reserved - needed };
        let wanted = needed + more;
        let target = if wanted <= head {
            let target = up(wanted as u64, COMMIT_PAGE as u64) as usize;
            if target > head { head } else { target }
        } else {
            head + up((wanted - head) as u64, huge as u64) as usize
        };
        return if target > reserved { reserved } else { target };
    }
    let target = if needed <= head {
        let ahead = if needed / 2 > STEP_LARGEST { STEP_LARGEST } else { needed / 2 };
        let target = up((needed + ahead) as u64, STEP_FIRST as u64) as usize;
        if target > head { head } else { target }
    } else {
        head + up((needed - head) as u64, huge as u64) as usize
    };
    if target > reserved { reserved } else { target }
}

/// How far a region may be committed of which an arena uses no more than `end` bytes: to the page's end, but to the huge page's when at
/// least half of that is used. A huge page takes 512 faults less; to give 2 MiB for a few bytes of the last one would be a waste, and
/// where the region ends inside it there is none. All in bytes from the region's start; `head` as in [`commit_target`]. At most
/// `reserved`, and at least `end` if that is.
pub const fn commit_bound(end: usize, reserved: usize, head: usize, huge: usize) -> usize {
    let paged = up(end as u64, COMMIT_PAGE as u64) as usize;
    let mut bound = if paged > reserved { reserved } else { paged };
    if end > head {
        let whole = head + up((end - head) as u64, huge as u64) as usize;
        if whole <= reserved && whole - end <= huge / 2 {
            bound = whole;
        }
    }
    bound
}

/// Size classes of small regions.
pub const SMALL_CLASSES: usize = 17;

/// The largest capacity with a size class, in bytes.
pub const SMALL_LARGEST: usize = 64 << 10;

/// The class whose regions hold `capacity` bytes: 256, then two classes a doubling. None past [`SMALL_LARGEST`].
#[inline]
pub const fn small_class(capacity: usize) -> Option<usize> {
    if capacity > SMALL_LARGEST {
        return None;
    }
    if capacity <= 256 {
        return Some(0);
    }
    // 257..=384 is class 1, 385..=512 class 2, 513..=768 class 3, …
    let top = (capacity - 1).ilog2() as usize;
    Some(1 + (top - 8) * 2 + ((capacity - 1) >> (top - 1) & 1))
}

/// Payload bytes of a class's regions.
pub const fn small_bytes(class: usize) -> usize {
    if class == 0 {
        return 256;
    }
    let whole = 256usize << ((class - 1) / 2);
    whole + (whole / 2) * ((class - 1) % 2 + 1)
}

/// Distance of neighbouring regions of a class: `header` + payload, an odd multiple of 128, so that 32 neighbours begin at 32
/// different places of a page. Streams at equal places of different pages fight for the same lines of the first-level cache:
/// 24 times slower, measured.
pub const fn small_stride(class: usize, header: usize) -> usize {
    let stride = up((header + small_bytes(class)) as u64, 128) as usize;
    if (stride / 128).is_multiple_of(2) { stride + 128 } else { stride }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The same question, asked slowly: tries every address.
    fn naive(cursor: usize, bound: usize, size: usize, align: usize) -> Option<usize> {
        let bound = if size == 0 { bound.div_ceil(GRAIN) * GRAIN } else { bound };
        (cursor..).find(|start| start % align == 0).filter(|start| start + size <= bound)
    }

    #[test]
    fn every_small_case_agrees_with_trying_every_address() {
        for cursor in (8..=128).step_by(GRAIN) {
            for bound in 0..=160 {
                for size in 0..=40 {
                    for align in [1, 2, 4, 8, 16, 32, 64, 128] {
                        let exact = naive(cursor, bound, size, align);
                        let found = fit_exact(cursor, bound, size, align);
                        assert_eq!(found.map(|span| span.start), exact, "{cursor} {bound} {size} {align}");
                        // On whole grains both questions are the same.
                        let whole = bound / GRAIN * GRAIN;
                        let rounded = size.div_ceil(GRAIN) * GRAIN;
                        let expected =
                            naive(cursor, whole, rounded, align).map(|start| Span { start, end: start + rounded });
                        assert_eq!(fit(cursor, whole, size, align), expected, "{cursor} {whole} {size} {align}");
                        assert_eq!(fit_any(cursor, whole, size, align), expected, "{cursor} {whole} {size} {align}");
                        if let Some(span) = found {
                            assert_eq!(span.end % GRAIN, 0);
                            assert!(span.end - (span.start + size) < GRAIN);
                            assert!(is_last(span.start, size, span.end));
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn resizing_in_place_agrees_with_placing_at_the_same_start() {
        for start in (8..=64).step_by(GRAIN) {
            for bound in 0..=96 {
                for size in 0..=64 {
                    let exact = fit_exact(start, bound, size, 1).map(|span| span.end);
                    assert_eq!(fit_in_place_exact(start, bound, size), exact);
                    assert_eq!(fit_in_place(start, bound, size), fit(start, bound, size, 1).map(|span| span.end));
                }
            }
        }
    }

    #[test]
    fn the_values_an_outsider_stores_refuse_every_block() {
        for switched in [0, 1] {
            for size in [0, 1, 8, 4096, isize::MAX as usize - 7] {
                assert_eq!(fit(4096, switched, size, 8), None);
                assert_eq!(fit_any(4096, switched, size, 1), None);
                assert_eq!(fit_in_place(4096, switched, size), None);
            }
        }
    }

    #[test]
    fn the_smallest_class_that_holds_a_capacity_is_taken() {
        for capacity in 0..=SMALL_LARGEST {
            let class = small_class(capacity).expect("small");
            assert!(small_bytes(class) >= capacity, "{capacity}");
            assert!(class == 0 || small_bytes(class - 1) < capacity, "{capacity}");
        }
        assert_eq!(small_class(SMALL_LARGEST + 1), None);
        assert_eq!(small_class(SMALL_LARGEST), Some(SMALL_CLASSES - 1));
        for class in 0..SMALL_CLASSES {
            let stride = small_stride(class, 384);
            assert!(stride % 256 == 128 && stride >= 384 + small_bytes(class));
        }
    }

    #[test]
    fn the_last_huge_page_is_committed_whole_when_half_of_it_is_used() {
        const MIB: usize = 1 << 20;
        let bound = |end, reserved| commit_bound(end, reserved, MIB / 4, 2 * MIB);
        assert_eq!(bound(100, 64 * MIB), COMMIT_PAGE);
        assert_eq!(bound(MIB / 4, 64 * MIB), MIB / 4);
        assert_eq!(bound(MIB / 4 + 1, 64 * MIB), MIB / 4 + COMMIT_PAGE);
        assert_eq!(bound(MIB / 4 + MIB - 1, 64 * MIB), MIB / 4 + MIB);
        assert_eq!(bound(MIB / 4 + MIB + 1, 64 * MIB), MIB / 4 + 2 * MIB);
        assert_eq!(
            bound(MIB / 4 + MIB + 1, 2 * MIB),
            MIB / 4 + MIB + COMMIT_PAGE,
            "the region ends inside the huge page"
        );
        assert_eq!(bound(64 * MIB, 64 * MIB), 64 * MIB);
        assert_eq!(commit_bound(64 * MIB - 1, 64 * MIB, usize::MAX, 2 * MIB), 64 * MIB, "no huge pages");
        for end in (0..8 * MIB).step_by(997) {
            let bound = bound(end, 8 * MIB);
            assert!((end..=8 * MIB).contains(&bound) && bound - end <= MIB, "{end} {bound}");
        }
    }

    #[test]
    fn commit_steps_cover_the_need_and_stay_inside() {
        let huge = 2 << 20;
        for head in [256 << 10, usize::MAX, 0] {
            for reserved in [1usize, 4096, 300_000, 5 << 20, 1 << 36] {
                for needed in [1usize, 4096, 16384, 16385, 262_144, 262_145, 3 << 20, (3 << 20) + 1, 1 << 35] {
                    for ahead in [0, 1, 4096, 100_000, 3 << 20, usize::MAX] {
                        if needed <= reserved {
                            let target = commit_target(needed, reserved, head, huge, Some(ahead));
                            let wanted = needed.saturating_add(ahead).min(reserved);
                            assert!(wanted <= target && target <= reserved, "{needed} {reserved} {head} {ahead}");
                            let page = if wanted > head { huge } else { COMMIT_PAGE };
                            assert!(target - wanted < page, "{needed} {reserved} {head} {ahead}");
                        }
                    }
                    if needed <= reserved {
                        let target = commit_target(needed, reserved, head, huge, None);
                        assert!(needed <= target && target <= reserved, "{needed} {reserved} {head}");
                        assert!(target - needed <= huge, "{needed} {reserved} {head}");
                        if target > head && target < reserved {
                            assert_eq!((target - head) % huge, 0);
                        }
                    }
                }
            }
        }
    }

    /// Sizes and alignments as `Layout` admits them, the extremes often.
    fn layouts() -> impl Strategy<Value = (usize, usize)> {
        (0u32..=usize::BITS - 1, prop_oneof![any::<usize>(), 0usize..=64], 0usize..=64).prop_map(
            |(bits, size, less)| {
                let align = 1usize << bits;
                let largest = (isize::MAX as usize).wrapping_add(1) - align;
                (if size > largest { largest - less.min(largest) } else { size }, align)
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]
        #[test]
        fn sums_stay_below_two_to_the_64(
            cursor in prop_oneof![1u64..ADDRESS_BOUND / 8, ADDRESS_BOUND / 8 - 64..ADDRESS_BOUND / 8],
            limit in prop_oneof![0usize..usize::MAX - 8, 0usize..1 << 50],
            (size, align) in layouts(),
        ) {
            let cursor = ((cursor * 8) as usize) & !7;
            let wide_start = (cursor as u128).next_multiple_of(align as u128);
            let wide_end = wide_start + (size as u128).next_multiple_of(8);
            prop_assert!(wide_end < 1 << 64);
            let expected = (wide_end <= limit as u128)
                .then_some(Span { start: wide_start as usize, end: wide_end as usize });
            prop_assert_eq!(fit(cursor, limit, size, align), expected);
            prop_assert_eq!(fit_any(cursor, limit, size, align), expected);
            let exact_end = wide_start + size as u128;
            let exact = (exact_end <= limit as u128 || size == 0 && exact_end <= (limit as u128).next_multiple_of(8))
                .then(|| Span { start: wide_start as usize, end: exact_end.next_multiple_of(8) as usize });
            prop_assert_eq!(fit_exact(cursor, limit, size, align), exact);
            prop_assert_eq!(slot(size) as u128, (size as u128).next_multiple_of(8));
        }
    }
}

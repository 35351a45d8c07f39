//! Any numbers within the stated ranges: the allocation path's arithmetic agrees with the same in 128 bits.
#![no_main]

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use std::alloc::Layout;

#[allow(dead_code)] // Not every function has a question here.
#[path = "../../crates/arenascope/src/geometry.rs"]
mod geometry;

use geometry::{ADDRESS_BOUND, GRAIN, Span};

#[derive(Arbitrary, Debug)]
struct Input {
    cursor: u64,
    /// Near the cursor, or anything.
    limit: Result<i32, usize>,
    size: Result<u16, usize>,
    align: u8,
    new_size: usize,
}

fuzz_target!(|input: Input| {
    let grain = GRAIN as u64;
    let cursor = ((input.cursor % ADDRESS_BOUND).max(grain) / grain * grain) as usize;
    // A limit is an address too: far from the last one.
    let limit =
        input.limit.map_or_else(|any| any, |near| cursor.saturating_add_signed(near as isize)).min(usize::MAX - 8);
    let size = input.size.map_or_else(|any| any, usize::from);
    let Ok(layout) = Layout::from_size_align(size, 1 << (input.align % 64)) else { return };
    let (size, align) = (layout.size(), layout.align());

    let start = (cursor as u128).next_multiple_of(align.max(GRAIN) as u128);
    let slot_end = start + (size as u128).next_multiple_of(grain.into());
    assert!(slot_end < 1 << 64);
    let expected = (slot_end <= limit as u128).then_some(Span { start: start as usize, end: slot_end as usize });
    assert_eq!(geometry::fit(cursor, limit, size, align), expected);
    assert_eq!(geometry::fit_any(cursor, limit, size, align), expected);

    let bound = if size == 0 { (limit as u128).next_multiple_of(grain.into()) } else { limit as u128 };
    let end = start + size as u128;
    let exact =
        (end <= bound).then(|| Span { start: start as usize, end: end.next_multiple_of(grain.into()) as usize });
    assert_eq!(geometry::fit_exact(cursor, limit, size, align), exact);
    if let Some(span) = exact {
        assert!(geometry::is_last(span.start, size, span.end));
        let new_size = input.new_size % (isize::MAX as usize);
        if (span.start as u64) < ADDRESS_BOUND {
            let place = span.start as u128 + new_size as u128;
            let bound = if new_size == 0 { (limit as u128).next_multiple_of(grain.into()) } else { limit as u128 };
            let expected = (place <= bound).then(|| place.next_multiple_of(grain.into()) as usize);
            assert_eq!(geometry::fit_in_place_exact(span.start, limit, new_size), expected);
        }
    }
    let reserved = (input.new_size % (1 << 40)).max(1);
    let needed = (size % reserved).max(1);
    for head in [256 << 10, usize::MAX] {
        let target = geometry::commit_target(needed, reserved, head, 2 << 20, None);
        assert!(needed <= target && target <= reserved && target - needed <= 2 << 20);
        let ahead = input.new_size;
        let wanted = needed + ahead.min(reserved - needed);
        let target = geometry::commit_target(needed, reserved, head, 2 << 20, Some(ahead));
        assert!(wanted <= target && target <= reserved && target - wanted <= 2 << 20);
    }
    if let Some(class) = geometry::small_class(size) {
        assert!(geometry::small_bytes(class) >= size);
    }
});

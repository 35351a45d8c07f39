//! An arena's promises, one by one: exact bounds, unchanged state after refusals, what is read is what is.
#![allow(unsafe_code)] // Writes through raw blocks, as callers do.

use arenascope::{Arena, Error};
use core::alloc::Layout;

#[test]
fn exactly_the_capacity_can_be_had_and_not_a_byte_more() {
    for capacity in [0usize, 1, 7, 8, 9, 63, 64, 100, 255, 256, 4095, 4096, 4097, 65536, 65537, 1_000_003, 3 << 20] {
        let arena = Arena::init(capacity).unwrap();
        assert_eq!(arena.capacity(), capacity);
        let whole = Layout::from_size_align(capacity, 1).unwrap();
        let more = Layout::from_size_align(capacity + 1, 1).unwrap();
        assert_eq!(arena.try_alloc_layout(more), Err(Error::Full), "{capacity}");
        assert_eq!(arena.offset(), 0);
        let block = arena.try_alloc_layout(whole).unwrap();
        assert_eq!(block.as_ptr(), arena.base());
        // SAFETY: the block is ours.
        unsafe { block.as_ptr().write_bytes(0xA5, capacity) };
        assert_eq!(arena.offset(), capacity);
        assert_eq!(arena.remaining(), 0);
        assert_eq!(arena.try_alloc_layout(Layout::new::<u8>()), Err(Error::Full));
        assert!(arena.try_alloc(()).is_ok(), "an empty block takes nothing");
    }
}

#[test]
fn a_growing_arena_grows_in_place_and_reads_back() {
    let arena = Arena::growing().unwrap();
    let first = arena.alloc(0u64) as *mut u64;
    for i in 0..1_000_000u64 {
        let block = arena.alloc([i, !i, i]);
        assert_eq!(block[1], !i);
    }
    assert_eq!(arena.offset_of(first), Some(0));
    assert_eq!(arena.offset(), 8 + 24_000_000);
    assert!(arena.contains(first));
    let parts = arena.raw_parts();
    assert!(parts.offset <= parts.committed && parts.committed <= parts.reserved);
}

//! A handle whose lease changes in the middle of a call: what it takes back, and how its blocks grow, beside a neighbour's lease.

use arenascope::{Local, SharedArena};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Two handles, of which neither's lease can grow in place; the first one's has less than `rest` bytes left.
fn at_a_leases_end(arena: &SharedArena, rest: usize) -> (Local<'_>, Local<'_>) {
    let (mine, other) = (arena.local(), arena.local());
    mine.alloc(0u64);
    other.alloc(0u64);
    while mine.lease().capacity - mine.lease().offset >= rest {
        mine.alloc([0u64; 8]);
    }
    (mine, other)
}

/// Whether the neighbour's lease, which lies behind the first one, stays the neighbour's.
fn keeps_to_its_lease(mine: &Local<'_>, other: &Local<'_>, theirs: &[u64]) {
    let lease = mine.lease();
    let block = (mine.alloc([u64::MAX; 8]) as *mut [u64; 8]).addr();
    assert!(lease.base.addr() <= block && block < lease.base.addr() + lease.capacity, "in the lease");
    for _ in 0..1000 {
        mine.alloc([u64::MAX; 8]);
    }
    assert!(theirs.iter().all(|word| *word == 7), "nobody writes into a neighbour's block");
    assert_eq!(other.alloc(1u64), &1);
}

#[test]
fn a_value_that_could_not_be_made_takes_no_neighbours_lease() {
    let arena = SharedArena::growing().unwrap();
    let (mine, other) = at_a_leases_end(&arena, 256);
    let theirs = other.alloc_slice_fill_copy(4000, 7u64);
    let before = mine.lease().base;
    assert!(mine.alloc_try_with(|| Err::<[u8; 512], ()>(())).is_err());
    assert_ne!(mine.lease().base, before, "the block was in a new lease");
    assert_eq!(mine.lease().offset, 0, "and was given back");
    keeps_to_its_lease(&mine, &other, theirs);
}

#[test]
fn a_slice_that_could_not_be_made_takes_no_neighbours_lease() {
    let arena = SharedArena::growing().unwrap();
    let (mine, other) = at_a_leases_end(&arena, 256);
    let theirs = other.alloc_slice_fill_copy(4000, 7u64);
    let items = [Ok([1u8; 256]), Err("no"), Ok([2; 256])];
    assert_eq!(mine.alloc_slice_try_fill_iter(items), Err("no"));
    assert_eq!(mine.lease().offset, 0, "given back");
    keeps_to_its_lease(&mine, &other, theirs);
}

#[test]
fn an_iterator_that_panics_takes_no_neighbours_lease() {
    let arena = SharedArena::growing().unwrap();
    let (mine, other) = at_a_leases_end(&arena, 256);
    let theirs = other.alloc_slice_fill_copy(4000, 7u64);
    let before = mine.lease().base;
    // It begins in the old lease, and moves into a new one.
    let items = (0..100u64).filter(|i| if *i == 90 { panic!("planned") } else { true });
    assert!(catch_unwind(AssertUnwindSafe(|| mine.alloc_iter(items).len())).is_err());
    assert_ne!(mine.lease().base, before, "it had moved");
    keeps_to_its_lease(&mine, &other, theirs);
}

#[test]
fn a_block_that_grows_item_by_item_beside_other_leases_doubles() {
    let arena = SharedArena::growing().unwrap();
    let (mine, other) = at_a_leases_end(&arena, 256);
    // A neighbour takes memory behind each of its places.
    let items = (0..20_000u64).filter(|i| {
        if i.is_multiple_of(1000) {
            other.alloc_uninit_slice::<u8>(70_000);
        }
        true
    });
    let grown = mine.alloc_iter(items);
    assert!(grown.iter().copied().eq(0..20_000));
    let leased = arena.stats().leased_bytes;
    assert!(leased < 8 << 20, "{leased} bytes leased for 160,000 and the neighbour's 1.4 million");
}

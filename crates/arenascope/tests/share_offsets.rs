//! Offsets of nothing lead to nobody's block; and a header that another process damaged costs errors, not memory beside the mapping.
#![allow(unsafe_code)] // Damages headers on purpose.

use arenascope::Error;
use arenascope::fork::{AtomicOffset, Offset, ShareArena};
use core::alloc::Layout;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};

#[test]
fn the_first_of_no_items_is_nowhere() {
    let arena = ShareArena::init(1 << 20).unwrap();
    let local = arena.local().unwrap();
    let none = local.alloc_slice_copy::<u64>(&[]).unwrap();
    // It would lie where the slice of none lies.
    let counter = local.alloc(AtomicU64::new(1)).unwrap();
    assert_eq!(arena.get_slice(none), Some(&[][..]));
    assert_eq!(arena.get(none.first()), None, "a number that changes under a shared borrow");
    assert!(none.first().is_null());
    arena.get(counter).unwrap().store(2, Ordering::Relaxed);
}

#[test]
fn a_block_of_no_bytes_has_a_place_of_its_own() {
    let arena = ShareArena::init(1 << 20).unwrap();
    let local = arena.local().unwrap();
    let (_, empty) = local.try_alloc_layout(Layout::from_size_align(0, 1).unwrap()).unwrap();
    let counter = local.alloc(AtomicU64::new(1)).unwrap();
    assert_ne!(empty.to_raw(), counter.to_raw());
    let byte: Option<&u8> = arena.get(empty);
    assert_eq!(byte, Some(&0), "nobody else's");
}

#[test]
fn an_offset_of_other_memory_leads_nowhere() {
    let (one, other) = (ShareArena::init(1 << 20).unwrap(), ShareArena::init(1 << 20).unwrap());
    let number = one.local().unwrap().alloc(1u64).unwrap();
    let counter = other.local().unwrap().alloc(AtomicU64::new(1)).unwrap();
    assert_eq!(number.to_raw(), counter.to_raw(), "as far from their headers");
    assert_eq!(other.get(number), None, "a number that changes under a shared borrow");
    assert!(one.get(counter).is_none());
    let items = one.local().unwrap().alloc_slice_copy(&[1u64, 2]).unwrap();
    other.local().unwrap().alloc([0u64; 2]).unwrap();
    assert_eq!((other.get_slice(items), one.get_slice(items)), (None, Some(&[1, 2][..])));

    // Through shared memory, and by another mapping of the same memory.
    let mailbox = one.local().unwrap().alloc(AtomicOffset::new(number)).unwrap();
    // SAFETY: only this library writes the file.
    let again = unsafe { ShareArena::attach(one.as_fd().try_clone_to_owned().unwrap()) }.unwrap();
    let found = again.get(mailbox).unwrap().find();
    assert_eq!((again.get(found), other.get(found)), (Some(&1), None));

    // A number from elsewhere says no more than where; it is equal, and is exchanged as such.
    // SAFETY: the number of an offset of this type and this memory.
    let raw = unsafe { Offset::<u64>::from_raw(number.to_raw()) };
    assert_eq!((raw, one.get(raw)), (number, Some(&1)));
    assert_eq!(again.get(mailbox).unwrap().exchange(raw, items.first()), Ok(()));
    assert_eq!(again.get(mailbox).unwrap().exchange(raw, items.first()), Err(items.first()));
}

/// Where the first lease's span and `used` stand in the header.
const SPAN: usize = 136;
const USED: usize = 144;

fn damage(arena: &ShareArena, at: usize, value: u64) {
    // SAFETY: a word of our own header.
    unsafe { arena.base().add(at).cast::<u64>().write(value) }
}

#[test]
fn a_damaged_header_costs_errors_and_no_foreign_memory() {
    let bytes = 1u64 << 20;
    let kib = Layout::array::<u8>(1024).unwrap();
    let inside = |offset: Offset<u8>, damage: (u64, u64)| {
        assert!(
            (8192..=bytes + 7168).contains(&offset.to_raw()),
            "{offset:?} after {damage:#x?}: in the memory, behind the header"
        );
    };
    for used in [0, 1, 100, 8193, bytes, 1 << 40, 1 << 56, u64::MAX - 1, u64::MAX >> 1] {
        for span in [0, 64, 1 << 36 | 64, u64::MAX, (1 << 27) << 36 | 64, (1 << 36) - 1] {
            let arena = ShareArena::init(bytes as usize).unwrap();
            arena.local().unwrap().alloc(1u64).unwrap();
            // A lease that waits, as damaged.
            damage(&arena, SPAN, span);
            damage(&arena, USED, used);
            let local = arena.local().unwrap();
            for _ in 0..2000 {
                if let Ok((block, offset)) = local.try_alloc_layout(kib) {
                    inside(offset, (used, span));
                    assert_eq!(block.addr().get() % 8, 0);
                }
            }
            let _ = (arena.check(), arena.leases().count());
        }
    }
    // In a lease that is held: what is left of it seems to begin behind its end.
    for used in [bytes, 1 << 40, u64::MAX - 1] {
        let arena = ShareArena::init(bytes as usize).unwrap();
        let (local, other) = (arena.local().unwrap(), arena.local().unwrap());
        local.alloc(1u64).unwrap();
        other.alloc(1u64).unwrap();
        damage(&arena, USED, used);
        for _ in 0..2000 {
            if let Ok((_, offset)) = local.try_alloc_layout(kib) {
                inside(offset, (used, 0));
            }
        }
        assert!(arena.check().is_ok_and(|walk| walk.lost_bytes <= bytes), "the lease is a new one");
    }
}

#[test]
fn a_damaged_bound_is_no_size() {
    let arena = ShareArena::init(1 << 20).unwrap();
    damage(&arena, 24, 5);
    assert_eq!(arena.capacity(), 0);
    assert!(format!("{arena:?}").contains("capacity: 0"));
    assert!(matches!(arena.local().unwrap().alloc(1u64), Err(Error::Full)));
    assert!(arena.get(Offset::<u64>::NULL).is_none());
}

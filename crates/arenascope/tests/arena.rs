//! An arena's promises, one by one: exact bounds, unchanged state after refusals, what is read is what is.
#![allow(unsafe_code)] // Writes through raw blocks, as callers do.

use arenascope::{Arena, Error, RewindError};
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

#[test]
fn sizes_near_the_end_of_the_address_space_are_refused_and_change_nothing() {
    for arena in [Arena::init(1000).unwrap(), Arena::growing().unwrap(), Arena::init(3 << 20).unwrap()] {
        arena.alloc(1u64);
        for less in 0..70usize {
            for align in [1usize, 8, 16, 4096, 1 << 40, 1 << 62] {
                let size = (isize::MAX as usize - less).saturating_sub(align - 1);
                let layout = Layout::from_size_align(size, align).unwrap();
                assert_eq!(arena.try_alloc_layout(layout), Err(Error::Full), "{layout:?}");
            }
        }
        let most = Layout::from_size_align(0, 1 << 63).unwrap();
        assert_eq!(arena.try_alloc_layout(most), Err(Error::Full));
        assert_eq!(arena.offset(), 8);
        assert_eq!(*arena.alloc(2u64), 2);
    }
    assert_eq!(Arena::init(usize::MAX).err(), Some(Error::TooLarge));
    assert_eq!(Arena::init(isize::MAX as usize).err(), Some(Error::TooLarge));
    assert!(matches!(Arena::init(arenascope::MAX_CAPACITY), Err(Error::Os(_) | Error::TooLarge)));
}

#[test]
fn every_alignment_up_to_two_mebibytes_and_empty_blocks_of_each() {
    let arena = Arena::growing().unwrap();
    let mut last = 0;
    for bits in 0..=21 {
        let align = 1usize << bits;
        arena.alloc(1u8);
        for size in [0, 1, align, 3 * align] {
            let layout = Layout::from_size_align(size, align).unwrap();
            let block = arena.alloc_layout(layout);
            assert_eq!(block.addr().get() % align, 0);
            assert!(block.addr().get() >= last);
            // SAFETY: the block is ours.
            unsafe { block.as_ptr().write_bytes(1, size) };
            last = block.addr().get() + size;
        }
    }
    #[repr(align(4096))]
    struct Page([u8; 4096]);
    let page = arena.alloc(Page([7; 4096]));
    assert_eq!((&raw const *page).addr() % 4096, 0);
    assert_eq!(page.0[4095], 7);
    #[repr(align(64))]
    struct Nothing;
    assert_eq!((&raw const *arena.alloc(Nothing)).addr() % 64, 0);
}

#[test]
fn a_hundred_thousand_arenas_live_at_once() {
    let arenas: Vec<_> = (0..100_000u64)
        .map(|i| {
            let arena = Arena::init(100 + (i as usize * 37) % 900).unwrap();
            arena.alloc(i);
            arena
        })
        .collect();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap().lines().count();
    assert!(maps < 5000, "{maps} mappings");
    for (arena, i) in arenas.iter().zip(0..) {
        // SAFETY: a u64 was written there.
        assert_eq!(unsafe { arena.base().cast::<u64>().read() }, i);
    }
    let ids: std::collections::HashSet<_> = arenas.iter().map(|arena| arena.id()).collect();
    assert_eq!(ids.len(), arenas.len());
    drop(arenas);
    let kept = arenascope::kept();
    assert!(kept.count <= 4096 && kept.bytes <= 64 << 20, "{kept:?}");
    arenascope::release_kept();
    assert_eq!(arenascope::kept(), arenascope::KeptLimits { bytes: 0, count: 0 });
}

#[test]
fn regions_of_ended_arenas_are_given_back_when_a_thread_ends_wherever_the_arenas_ended() {
    let rss = || {
        let text = std::fs::read_to_string("/proc/self/statm").unwrap();
        text.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
    };
    let churn = || {
        // Arenas move to another thread, and end there.
        let arenas: Vec<_> = (0..64)
            .map(|i| {
                let arena = Arena::init(if i % 2 == 0 { 60_000 } else { 1 << 20 }).unwrap();
                // SAFETY: all of it is handed out to us.
                unsafe {
                    let block = arena.alloc_layout(Layout::from_size_align(arena.capacity(), 8).unwrap());
                    block.as_ptr().write_bytes(1, arena.capacity());
                }
                arena
            })
            .collect();
        std::thread::spawn(move || drop(arenas)).join().unwrap();
    };
    let round = || std::thread::spawn(churn).join().unwrap();
    round();
    let before = rss();
    for _ in 0..20 {
        round();
    }
    let grown = rss().saturating_sub(before);
    // Each round touches 34 MiB.
    assert!(grown < 40 << 20, "{grown} bytes stayed");
}

#[test]
fn names_and_creation_sites_are_kept() {
    let arena = Arena::builder().name("a short name").capacity(10).build().unwrap();
    assert_eq!(arena.name(), "a short name");
    let (file, line, column) = arena.created_at();
    assert!(file.ends_with("tests/arena.rs"), "{file}");
    assert!(line == line!() - 4 && column > 0);
    // 31 ASCII bytes and one character of two: cut at the character.
    let long = format!("{}éxyz", "n".repeat(31));
    let arena = Arena::builder().name(&long).capacity(10).build().unwrap();
    assert_eq!(arena.name(), "n".repeat(31));
    let arena = Arena::builder().static_name("a name of more than thirty-two bytes, kept whole").build().unwrap();
    assert_eq!(arena.name(), "a name of more than thirty-two bytes, kept whole");
    assert_eq!(Arena::init(0).unwrap().name(), "");
}

#[test]
fn stale_foreign_and_repeated_checkpoints() {
    let mut arena = Arena::init(4096).unwrap();
    let other = Arena::init(4096).unwrap();
    let start = arena.checkpoint();
    arena.alloc([1u64; 4]);
    let later = arena.checkpoint();
    arena.alloc([2u64; 4]);
    assert_eq!(arena.rewind(&other.checkpoint()), Err(RewindError::Foreign));
    assert_eq!(arena.rewind(&later), Ok(()));
    arena.alloc([3u64; 4]);
    assert_eq!(arena.rewind(&later), Ok(()), "as often as one likes");
    assert_eq!(arena.offset(), 32);
    assert_eq!(arena.rewind(&start), Ok(()));
    // The cursor passes the place of `later` again: that makes it no younger.
    arena.alloc([4u64; 16]);
    assert_eq!(arena.rewind(&later), Err(RewindError::Stale));
    assert_eq!(arena.offset(), 128);
    arena.reset();
    assert_eq!(arena.rewind(&start), Err(RewindError::Stale));
    let again = arena.checkpoint();
    assert_eq!(arena.rewind(&again), Ok(()));
    // Regions are used again; numbers are not.
    let fresh = Arena::init(4096).unwrap().checkpoint();
    assert_eq!(Arena::init(4096).unwrap().rewind(&fresh), Err(RewindError::Foreign));
}

#[test]
fn a_deep_stack_of_checkpoints_is_undone_in_order() {
    let mut arena = Arena::growing().unwrap();
    let mut stack = Vec::new();
    for i in 0..1000u64 {
        stack.push((arena.checkpoint(), arena.offset()));
        arena.alloc(i);
        if i % 3 == 0 {
            let (checkpoint, offset) = stack[stack.len() - 1];
            assert_eq!(arena.rewind(&checkpoint), Ok(()));
            assert_eq!(arena.offset(), offset);
            arena.alloc(i);
        }
    }
    while let Some((checkpoint, offset)) = stack.pop() {
        assert_eq!(arena.rewind(&checkpoint), Ok(()));
        assert_eq!(arena.offset(), offset);
    }
}

/// A dump looks while blocks are borrowed mutably, and must see what was stored last, although the compiler sees no reader.
#[test]
fn a_dump_shows_what_a_debugger_would_show() {
    let arena = Arena::init(64).unwrap();
    let text = arena.alloc_slice_copy(b"abcdefgh");
    for letter in b"xyz" {
        text[3] = *letter;
        let shown = format!("{:#}", arena.dump());
        assert_eq!(shown, format!("abc{}efgh\n", char::from(*letter)));
    }
    text[0] = 0xFF;
    assert_eq!(format!("{:#}", arena.dump()), ".bczefgh\n");
}

#[test]
fn an_arena_without_a_name_has_no_address_for_it() {
    // Whoever prints the pointer, a debugger or C, sees NULL, and nothing that looks like an address.
    #[cfg(target_pointer_width = "64")]
    let name_field = |arena: &Arena| {
        // SAFETY: the header's documented fields at +144 and +152 (64-bit layout).
        unsafe {
            let header = (&raw const *arena).cast::<u8>();
            (header.add(144).cast::<*const u8>().read(), header.add(152).cast::<u32>().read())
        }
    };
    let unnamed = Arena::init(8).unwrap();
    let empty = Arena::builder().static_name("").capacity(8).build().unwrap();
    let named = Arena::builder().name("n").capacity(8).build().unwrap();
    assert_eq!((unnamed.name(), empty.name(), named.name()), ("", "", "n"));
    #[cfg(target_pointer_width = "64")]
    {
        assert_eq!(name_field(&unnamed), (std::ptr::null(), 0));
        assert_eq!(name_field(&empty), (std::ptr::null(), 0));
        assert!(!name_field(&named).0.is_null() && name_field(&named).1 == 1);
    }
    // The same region, used by an arena with a name before.
    drop(named);
    let next = Arena::init(8).unwrap();
    assert_eq!(next.name(), "");
}

//! Other people's collections on arenas, scopes and owned arenas, through both versions of allocator-api2.
#![allow(unsafe_code)] // Calls the allocator trait by hand.

use allocator_api2_02::alloc::Allocator;
use allocator_api2_02::boxed::Box as Box02;
use allocator_api2_02::vec::Vec as Vec02;
use allocator_api2_04::vec::Vec as Vec04;
use arenascope::{Arena, Heap};
use hashbrown::{DefaultHashBuilder, HashMap, HashSet};
use std::alloc::Layout;

/// Items of a long vector: under Miri, which is slow and has small arenas, fewer.
const MANY: u64 = if cfg!(miri) { 1000 } else { 100_000 };

#[test]
fn a_growing_vector_grows_in_place_and_leaves_nothing_behind() {
    let arena = Arena::growing().unwrap();
    let mut items = Vec02::new_in(&*arena);
    let first = {
        items.push(0u64);
        items.as_ptr()
    };
    for i in 1..MANY {
        items.push(i);
    }
    assert_eq!(items.as_ptr(), first, "never moved");
    assert!(items.iter().copied().eq(0..MANY));
    assert_eq!(arena.offset(), items.capacity() * 8);
    items.shrink_to_fit();
    assert_eq!(arena.offset() as u64, MANY * 8);
    drop(items);
    assert_eq!(arena.offset(), 0, "the last block is given back");
}

#[test]
fn two_vectors_in_turn_keep_their_contents() {
    let arena = Arena::builder().source(&Heap).capacity(1 << 20).build().unwrap();
    let mut old = Vec02::new_in(&*arena);
    let mut new = Vec04::new_in(&*arena);
    for i in 0..MANY as u32 / 20 {
        old.push(i);
        new.push(i.to_string());
    }
    assert!(old.iter().copied().eq(0..MANY as u32 / 20));
    assert!(new.iter().zip(0..).all(|(text, i): (_, u32)| *text == i.to_string()));
}

#[test]
fn a_map_and_a_set() {
    let arena = Arena::growing().unwrap();
    let mut map = HashMap::with_hasher_in(DefaultHashBuilder::default(), &*arena);
    let mut set = HashSet::with_hasher_in(DefaultHashBuilder::default(), &*arena);
    for i in 0..MANY / 10 {
        map.insert(i, arena.alloc_fmt(format_args!("{i}")));
        set.insert(i % 100);
    }
    map.retain(|i, _| i % 2 == 0);
    assert_eq!((map.len() as u64, set.len()), (MANY / 20, 100));
    assert!(map.iter().all(|(i, text)| **text == i.to_string()));
    assert!(map.values().all(|text| arena.contains(text.as_ptr())));
}

#[test]
fn collections_of_a_scope_live_in_it() {
    let mut arena = Arena::growing().unwrap();
    let longest = arena.scope(|scope| {
        let words = scope.alloc_iter("a bc def gh".split(' '));
        let length = {
            let mut by_length = HashMap::with_hasher_in(DefaultHashBuilder::default(), &*scope);
            by_length.extend(words.iter().map(|word| (word.len(), *word)));
            let mut sorted = Vec02::new_in(&*scope);
            sorted.extend(by_length.keys().copied());
            sorted.sort_unstable();
            *sorted.last().unwrap()
        };
        scope.scope(|inner| Vec04::<u8, _>::with_capacity_in(length, &*inner).capacity())
    });
    assert_eq!((longest, arena.offset()), (3, 0));
}

#[test]
fn a_vector_may_own_its_arena() {
    let mut items = Vec02::new_in(Arena::growing().unwrap());
    items.extend(0..1000u32);
    let (arena, base) = (items.allocator(), items.as_ptr());
    assert_eq!(arena.base().cast_const().cast(), base);
    let items = std::thread::spawn(move || items).join().unwrap();
    assert!(items.iter().copied().eq(0..1000));
    assert_eq!(items.as_ptr(), base, "moving the owner moves no block");
}

#[test]
fn a_boxed_trait_object_is_dropped() {
    let arena = Arena::init(4096).unwrap();
    let shared = std::rc::Rc::new(5);
    let boxed = Box02::new_in(shared.clone(), &*arena);
    assert_eq!(std::rc::Rc::strong_count(&shared), 2);
    drop(boxed);
    assert_eq!((std::rc::Rc::strong_count(&shared), arena.offset()), (1, 0));
}

#[test]
fn a_full_arena_is_an_error_and_not_a_panic() {
    let arena = Arena::init(100).unwrap();
    let mut items = Vec02::<u8, _>::new_in(&*arena);
    assert!(items.try_reserve_exact(101).is_err());
    assert!(items.try_reserve_exact(100).is_ok());
    items.extend_from_slice(&[7; 100]);
    assert!(items.try_reserve(1).is_err());
    assert_eq!(&*items, &[7; 100]);
}

/// Every step that the trait knows, at sizes and alignments that change on the way.
#[test]
fn the_traits_contract_step_by_step() {
    for source in 0..2 {
        let builder = Arena::builder().capacity(1 << 16);
        let arena = if source == 0 { builder } else { builder.source(&Heap) }.build().unwrap();
        let allocator: &Arena = &arena;
        for (from, to, old_align, new_align) in
            [(10, 20, 1, 1), (10, 20, 8, 64), (0, 9, 1, 16), (33, 1000, 2, 2), (5, 5, 1, 4)]
        {
            let old = Layout::from_size_align(from, old_align).unwrap();
            let new = Layout::from_size_align(to, new_align).unwrap();
            for in_the_way in [false, true] {
                let dirt = arena.alloc_slice_fill_copy(3000, 0xFFu8);
                // SAFETY: each block is living and of the layout named; bytes are written before they are read.
                unsafe {
                    let dirt = std::ptr::NonNull::from(dirt).cast();
                    allocator.deallocate(dirt, Layout::array::<u8>(3000).unwrap());
                    let block = allocator.allocate(old).unwrap();
                    assert_eq!(block.len(), from);
                    block.cast::<u8>().write_bytes(1, from);
                    if in_the_way {
                        arena.alloc(0x77u8);
                    }
                    let grown = allocator.grow_zeroed(block.cast(), old, new).unwrap();
                    assert!(grown.len() == to && grown.cast::<u8>().addr().get().is_multiple_of(new_align));
                    let bytes = grown.as_ref();
                    assert!(bytes[..from].iter().all(|b| *b == 1) && bytes[from..].iter().all(|b| *b == 0));
                    let shrunk = allocator.shrink(grown.cast(), new, old).unwrap();
                    assert!(shrunk.as_ref().iter().all(|b| *b == 1));
                    let grown = allocator.grow(shrunk.cast(), old, new).unwrap();
                    assert!(grown.as_ref()[..from].iter().all(|b| *b == 1));
                    allocator.deallocate(grown.cast(), new);
                    let zeroed = allocator.allocate_zeroed(new).unwrap();
                    assert!(zeroed.as_ref().iter().all(|b| *b == 0));
                    allocator.deallocate(zeroed.cast(), new);
                }
            }
        }
    }
}

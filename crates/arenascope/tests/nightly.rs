//! Rust's own collections on arenas, by its unstable allocator trait. Compiled with feature `nightly` only: see `cargo xtask test --long`.
#![cfg(feature = "nightly")]
#![feature(allocator_api, btreemap_alloc)]

use arenascope::Arena;
use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Display;

#[test]
fn the_standard_collections() {
    let arena = Arena::growing().unwrap();
    let mut items = Vec::new_in(&*arena);
    items.push(0u64);
    let first = items.as_ptr();
    items.extend(1..10_000);
    assert_eq!((items.as_ptr(), items.len(), arena.offset()), (first, 10_000, items.capacity() * 8));
    let mut queue = VecDeque::new_in(&*arena);
    let mut map = BTreeMap::new_in(&*arena);
    for i in 0..1000u32 {
        queue.push_front(i);
        map.insert(i % 37, i);
    }
    assert!(queue.iter().copied().eq((0..1000).rev()) && map.len() == 37);
    assert!(items.iter().copied().eq(0..10_000));
}

#[test]
fn a_boxed_trait_object_is_dropped_once() {
    struct Loud<'a>(&'a Cell<u32>);
    impl Display for Loud<'_> {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("loud")
        }
    }
    impl Drop for Loud<'_> {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }
    let drops = Cell::new(0);
    let mut arena = Arena::init(4096).unwrap();
    let boxed: Box<dyn Display + '_, &Arena> = Box::new_in(Loud(&drops), &*arena);
    assert_eq!(boxed.to_string(), "loud");
    drop(boxed);
    assert_eq!(drops.get(), 1);
    arena.scope(|scope| {
        let texts: Vec<Box<dyn Display, &arenascope::Scope>, _> = {
            let mut texts = Vec::new_in(&*scope);
            texts.push(Box::new_in(1, &*scope) as Box<dyn Display, _>);
            texts.push(Box::new_in("two", &*scope));
            texts
        };
        assert_eq!(texts.iter().map(|text| text.to_string()).collect::<String>(), "1two");
    });
    let owned = Vec::<u8, _>::with_capacity_in(100, arena);
    assert_eq!(owned.allocator().offset(), 104, "whole grains");
}

//! Tests of `leases` that need no second thread; the models have their own.
#![forbid(unsafe_code)]

use crate::atomics::{AtomicU64, order};
use crate::leases::*;

#[test]
fn what_is_left_is_given_to_who_can_use_it() {
    let cursor = AtomicU64::new(0);
    let span = |start, end| Some(Span { start, end });
    assert_eq!(take(&cursor, 1000, 128, 512), span(0, 512));
    assert_eq!(take(&cursor, 1000, 512, 512), None, "384 bytes of whole grains are left");
    assert_eq!(take(&cursor, 1000, 128, 512), span(512, 896));
    assert_eq!(take(&cursor, 1000, 128, 128), None, "104 bytes are no whole grain");
    assert_eq!(take(&cursor, 0, 128, 128), None, "a bound below the cursor");
    assert_eq!(cursor.load(order::TAKE), 896, "refusals change nothing");
}

#[test]
fn a_span_grows_only_while_it_is_the_last() {
    let cursor = AtomicU64::new(256);
    assert_eq!(extend(&cursor, 1024, 256, 512), Some(Span { start: 256, end: 768 }));
    assert_eq!(extend(&cursor, 1024, 256, 128), None, "somebody took from there");
    assert_eq!(extend(&cursor, 1024, 768, 512), None, "past the bound");
    assert_eq!(extend(&cursor, 1024, u64::MAX, 512), None);
    assert!(!undo(&cursor, Span { start: 0, end: 256 }));
    assert!(undo(&cursor, Span { start: 256, end: 768 }));
}

#[test]
fn a_place_has_one_holder() {
    let owner = AtomicU64::new(NOBODY);
    assert!(claim(&owner, holder(1, 2)));
    assert!(!claim(&owner, holder(1, 3)));
    release(&owner);
    assert!(claim(&owner, holder(1, 3)));
    assert_eq!(owner.load(order::LOOK), 1 << 32 | 3);
}

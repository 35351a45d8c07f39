//! `cursor-corrupted`.

use crate::{check, describe, judged, object, silent};
use arenascope_event::{Argument, HookStatus, Mode, ProcessFacts, Result_, Role};
use arenascope_findings::Class;
use arenascope_testkit::{Facts, Table, read};
use expect_test::expect;

const RULES: [&str; 2] = ["cursor-corrupted", "overlapping-blocks"];

fn facts() -> ProcessFacts {
    let facts = Facts::new().alloc("arena_alloc");
    (10..18).fold(facts, |facts, line| facts.site("main", "arena.c", line, read())).build()
}

/// Three blocks of 32 bytes: the offset stands at 96.
fn arena() -> Table {
    let story = Table::new().at(0).map(0x1000, 4096).create_nested(1, 4096, 1);
    story.at(1).alloc(1, 0x1000, 32).at(2).alloc(1, 0x1020, 32).at(3).alloc(1, 0x1040, 32)
}

/// The next block of 32 bytes begins at `block`; the arena's object shows an offset that was right after the last one.
fn next(block: u64) -> Table {
    let offset = block.wrapping_sub(0x1000).wrapping_add(32);
    object(arena(), 1, &[0x1000, 96, 4096], &[0x1000, offset, 4096]).at(4).alloc(1, block, 32)
}

#[test]
fn an_offset_that_wrapped_around_is_told_with_the_object_s_bytes() {
    check(
        &facts(),
        next(0xfe0),
        &RULES,
        expect![[r#"
        finding cursor-corrupted certain at #8: 32 bytes, block 4 of arena 1: begins 32 bytes before the arena's memory
          threads [1], allocated at site 4, allocated at site 3, 1 times, 32 bytes
          because the cursor in the arena object stood at +96 after the block before, and no call that was seen moved it until #8
          the arena object after the block before at +0: [00, 10, 00, 00, 00, 00, 00, 00, 60, 00, 00, 00, 00, 00, 00, 00, 00, 10, 00, 00, 00, 00, 00, 00], wrong []
          after this block at +0: [00, 10, 00, 00, 00, 00, 00, 00, 00, 00, 00, 00, 00, 00, 00, 00, 00, 10, 00, 00, 00, 00, 00, 00], wrong [8..16]
    "#]],
    );
    // Half a word, as offsets of 32 bits are.
    let words = |offset: u64| [0x1000, offset | 4096 << 32];
    let half = object(arena(), 1, &words(96), &words(0)).at(4).alloc(1, 0xfe0, 32);
    assert_eq!(judged(&facts(), half, &RULES).len(), 1);
}

#[test]
fn an_offset_behind_the_end_is_told() {
    let found = judged(&facts(), next(0x1ff0), &RULES);
    assert!(!found.is_empty() && found.iter().all(|one| one.class == Class::Finding), "{}", describe(&found));
}

#[test]
fn an_offset_inside_a_block_that_is_not_the_last_is_told() {
    check(
        &facts(),
        next(0x1010),
        &RULES,
        expect![[r#"
        finding cursor-corrupted likely at #8: 32 bytes, block 4 of arena 1: begins 16 bytes inside block 1, which still lives
          threads [1], allocated at site 4, allocated at site 1, 1 times, 32 bytes
          because the cursor in the arena object stood at +96 after the block before, and no call that was seen moved it until #8
          the arena object after the block before at +0: [00, 10, 00, 00, 00, 00, 00, 00, 60, 00, 00, 00, 00, 00, 00, 00, 00, 10, 00, 00, 00, 00, 00, 00], wrong []
          after this block at +0: [00, 10, 00, 00, 00, 00, 00, 00, 30, 00, 00, 00, 00, 00, 00, 00, 00, 10, 00, 00, 00, 00, 00, 00], wrong [8..16]
    "#]],
    );
}

#[test]
fn resets_rewinds_and_trims_by_hand_are_let_be() {
    for place in [0x1000, 0x1020, 0x1040, 0x1050, 0x1060] {
        silent(&facts(), next(place), &RULES);
    }
    // Forward, within the memory: a call that nobody saw.
    silent(&facts(), next(0x1800), &RULES);
}

#[test]
fn where_there_are_redzones_only_a_block_before_the_memory_is_told() {
    for mode in [Mode::Check, Mode::Precise] {
        told_before_the_memory_only(&ProcessFacts { mode, ..facts() });
    }
}

fn told_before_the_memory_only(checked: &ProcessFacts) {
    assert_eq!(judged(checked, next(0xfe0), &["cursor-corrupted"]).len(), 1);
    // The redzone of the last block, and of this one.
    let apart = object(arena(), 1, &[0x1000, 160, 4096], &[0x1000, 64, 4096]).at(4).alloc(1, 0xfe0, 32);
    let found = judged(checked, apart, &["cursor-corrupted"]);
    assert!(found.len() == 1 && found[0].because.contains("stood at +160"), "{}", describe(&found));
    for place in [0x1010, 0x1050, 0x1ff0] {
        silent(checked, next(place), &["cursor-corrupted"]);
    }
}

#[test]
fn a_cursor_that_is_an_address_may_go_to_other_memory() {
    let chunk = |story: Table| object(story, 1, &[0x1060, 0x2000], &[0x9020, 0xa000]).at(4).alloc(1, 0x9000, 32);
    silent(&facts(), chunk(arena().map(0x9000, 4096)), &RULES);
    let below = object(arena().map(0, 4096), 1, &[0x1060, 0x2000], &[0x820, 0x1000]);
    silent(&facts(), below.alloc(1, 0x800, 32), &RULES);
    // Just before its memory, where nothing is known to be.
    let before = object(arena(), 1, &[0x1060, 0x2000], &[0x1000, 0x2000]).at(4).alloc(1, 0xfe0, 32);
    assert_eq!(judged(&facts(), before, &RULES).len(), 1);
}

#[test]
fn a_block_over_the_end_of_its_mapping_is_told() {
    let over = || arena().at(4).alloc(1, 0x1ff0, 32);
    check(
        &facts(),
        over(),
        &RULES,
        expect![[r#"
        finding cursor-corrupted likely at #7: 32 bytes, block 4 of arena 1: reaches 16 bytes over the end of the mapping it lies in
          threads [1], allocated at site 4, 1 times, 16 bytes
          because nothing is known to be mapped behind it
    "#]],
    );
    // More memory right behind.
    silent(&facts(), arena().map(0x2000, 4096).alloc(1, 0x1ff0, 32), &RULES);
    // What is larger than all of it is no size.
    silent(&facts(), arena().alloc(1, 0x1060, 1 << 40), &RULES);
    let malloced = Table::new().malloc(0x1000, 256).alloc(1, 0x1000, 128);
    silent(&facts(), malloced.clone().alloc(1, 0x1080, 136), &RULES);
    assert_eq!(judged(&facts(), malloced.alloc(1, 0x1080, 200), &RULES).len(), 1);
}

#[test]
fn threads_copies_and_unseen_calls_are_let_be() {
    let threads = object(arena().thread(2).alloc(1, 0x1060, 32), 1, &[0x1000, 128, 4096], &[0x1000, 0, 4096]);
    silent(&facts(), threads.alloc(1, 0xfe0, 32), &RULES);
    let copies = object(arena().alloc(2, 0x1800, 32), 1, &[0x1000, 96, 4096], &[0x1000, 48, 4096]);
    silent(&facts(), copies.alloc(1, 0x1010, 32), &RULES);
    // The same in memory of unknown origin: an arena passed by value, again after the first one grew.
    let copy = Table::new().at(0).alloc(1, 0x1000, 8).at(1).alloc(2, 0x1008, 32).at(2).alloc(2, 0x1028, 32);
    let copy = object(copy.at(0).alloc(1, 0x1008, 8), 2, &[0x1048, 0x9000], &[0x1030, 0x9000]);
    silent(&facts(), copy.at(3).alloc(2, 0x1010, 32), &["cursor-corrupted"]);
    let alone = Table::new().at(1).alloc(2, 0x1008, 32).at(2).alloc(2, 0x1028, 32);
    let alone = object(alone, 2, &[0x1048, 0x9000], &[0x1030, 0x9000]).at(3).alloc(2, 0x1010, 32);
    assert_eq!(judged(&facts(), alone, &["cursor-corrupted"]).len(), 1);
    let mut partly = facts();
    partly.hooks[0].status = HookStatus::Partly("1 inlined copy".to_owned());
    silent(&partly, next(0xfe0), &RULES);
    let malloc = Facts::new().hook(Role::Alloc, "malloc", &[Argument::Size], Result_::Block).build();
    silent(&malloc, Table::new().seen(0, 0).malloc(0x1000, 64).alloc(0, 0x1000, 256), &RULES);
    // What was told of another arena's object.
    silent(&facts(), object(arena(), 2, &[0x1000, 96, 4096], &[0x1000, 0, 4096]).alloc(1, 0xfe0, 32), &RULES);
}

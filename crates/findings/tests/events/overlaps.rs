//! `overlapping-blocks`, `overlapping-arenas`.

use crate::{check, judged, object, silent};
use arenascope_event::{Address, Argument, EventKind, HookStatus, ProcessFacts, Result_, Role};
use arenascope_findings::{Certainty, Class};
use arenascope_testkit::{Facts, Table, read};
use expect_test::expect;

const RULES: [&str; 2] = ["overlapping-blocks", "overlapping-arenas"];
const FIXED: u32 = 0x32;

fn facts() -> ProcessFacts {
    let facts = Facts::new().alloc("arena_alloc");
    (10..18).fold(facts, |facts, line| facts.site("main", "arena.c", line, read())).build()
}

fn arena() -> Table {
    Table::new().at(0).map(0x1000, 4096).create_nested(1, 4096, 1)
}

fn map_fixed(story: Table, address: u64, len: u64) -> Table {
    story.unmap(address, len).event(EventKind::Map {
        address: Address(address),
        len,
        protection: 3,
        flags: FIXED,
        observed: false,
    })
}

/// Sizes rounded down to 16 where they must be rounded up: the cursor stands at +64 after a block that ends at +72.
fn rounded_down() -> Table {
    let story = arena().at(1).alloc(1, 0x1000, 32).at(2).alloc(1, 0x1020, 40);
    object(story, 1, &[0x1000, 64, 4096], &[0x1000, 112, 4096]).at(3).alloc(1, 0x1040, 48)
}

#[test]
fn a_block_that_begins_inside_a_living_one_is_told_with_both() {
    check(
        &facts(),
        rounded_down(),
        &RULES,
        expect![[r#"
        finding overlapping-blocks certain at #7: 48 bytes at +64, block 3 of arena 1: begins 32 bytes inside block 2 (40 bytes at +32), which still lives
          threads [1], allocated at site 3, allocated at site 2, 1 times, 8 bytes
          because block 2 was given 40 bytes at #5, and nothing that was seen took them back before #7; the call that handed it out left the cursor 32 bytes behind its start
    "#]],
    );
    let right = arena().at(1).alloc(1, 0x1000, 32).at(2).alloc(1, 0x1020, 40).at(3).alloc(1, 0x1050, 48);
    silent(&facts(), right, &RULES);
}

#[test]
fn where_the_cursor_was_not_seen_it_is_a_note() {
    let unseen = arena().at(1).alloc(1, 0x1000, 32).at(2).alloc(1, 0x1020, 40).at(3).alloc(1, 0x1040, 48);
    check(
        &facts(),
        unseen,
        &RULES,
        expect![[r#"
        note overlapping-blocks possible at #6: 48 bytes at +64, block 3 of arena 1: begins 32 bytes inside block 2 (40 bytes at +32), which still lives
          threads [1], allocated at site 3, allocated at site 2, 1 times, 8 bytes
          because block 2 was given 40 bytes at #5, and nothing that was seen took them back before #6; but the cursor was not seen in the arena object, and may have been moved by hand
    "#]],
    );
}

#[test]
fn a_cursor_that_goes_back_to_a_boundary_is_a_reset_without_a_role() {
    let base = || arena().alloc(1, 0x1000, 32).alloc(1, 0x1020, 32).alloc(1, 0x1040, 32);
    silent(&facts(), base().alloc(1, 0x1000, 16), &RULES);
    silent(&facts(), base().alloc(1, 0x1000, 90), &RULES);
    silent(&facts(), base().alloc(1, 0x1020, 8), &RULES);
    // Again and again, with other sizes each time.
    let rounds =
        (1..9_u64).fold(arena(), |story, size| story.alloc(1, 0x1000, size * 8).alloc(1, 0x1000 + size * 8, 64));
    silent(&facts(), rounds, &RULES);
}

#[test]
fn the_end_of_the_last_block_given_back_by_hand_is_no_overlap() {
    let long = arena().alloc(1, 0x1000, 64).alloc(1, 0x1040, 1024);
    silent(&facts(), object(long, 1, &[0x1000, 1088, 4096], &[0x1000, 144, 4096]).alloc(1, 0x1050, 64), &RULES);
}

#[test]
fn free_lists_copies_and_unseen_calls_are_let_be() {
    // It went down before: a list of freed blocks without a role.
    let list = arena().alloc(1, 0x1000, 64).alloc(1, 0x1040, 64).alloc(1, 0x1000, 16).alloc(1, 0x1050, 16);
    silent(&facts(), list, &RULES);
    // Another object on the same memory.
    silent(
        &facts(),
        arena().alloc(1, 0x1000, 64).alloc(2, 0x1040, 64).alloc(1, 0x1080, 64).alloc(1, 0x1090, 8),
        &RULES,
    );
    let mut partly = facts();
    partly.hooks[0].status = HookStatus::Partly("1 inlined copy".to_owned());
    silent(&partly, rounded_down(), &RULES);
    // The one arena of functions without an arena argument.
    silent(&facts(), Table::new().seen(0, 0).map(0x1000, 4096).alloc(0, 0x1000, 64).alloc(0, 0x1008, 64), &RULES);
    let malloc = Facts::new().hook(Role::Alloc, "malloc", &[Argument::Size], Result_::Block).build();
    silent(&malloc, Table::new().seen(0, 0).alloc(0, 0x1000, 64).alloc(0, 0x1008, 64), &RULES);
}

#[test]
fn sizes_that_are_misread_throughout_make_a_note() {
    let story = (0..20_u64).fold(arena(), |story, number| story.alloc(1, 0x1000 + number * 16, 64));
    let found = judged(&facts(), story, &RULES);
    assert_eq!(found.iter().map(|one| (one.class, one.count)).collect::<Vec<_>>(), [(Class::Note, 19)]);
}

// ---- overlapping-arenas ----

/// Two arenas over one mapping of two pages, the second from `base`; the first fills its page after both were made.
fn two(base: u64) -> Table {
    let story = Table::new().map(0x1000, 0x2000).at(0).create(1, 4096).at(1).create(2, 4096).at(2);
    let story = (0..4_u64).fold(story, |story, number| story.alloc(1, 0x1000 + number * 1024, 1024));
    story.at(3).alloc(2, base, 1024)
}

#[test]
fn two_arenas_over_one_mapping_are_told_with_both_blocks() {
    check(
        &facts(),
        two(0x1c00),
        &RULES,
        expect![[r#"
        finding overlapping-arenas certain at #10: 1 KiB at +3072, block 1 of arena 2: shares bytes with block 4 of arena 1 (1 KiB at +3072), which lives
          threads [1], allocated at site 3, allocated at site 2, created at site 1, created at site 0, 1 times, 1024 bytes
          because arena 2 was created at #5, before arena 1 handed out its block at #9: both were in use
    "#]],
    );
    silent(&facts(), two(0x2000), &RULES);
}

/// Arena 1 has forty blocks of 64 bytes; an object that was never created hands out 64 bytes at `at`.
fn window(at: u64) -> Table {
    let story = Table::new().map(0x1000, 4096).at(0).create(1, 4096).at(1);
    let story = (0..40_u64).fold(story, |story, number| story.alloc(1, 0x1000 + number * 64, 64));
    story.at(2).alloc(2, at, 64).at(3)
}

#[test]
fn an_object_made_by_hand_over_living_blocks_is_told_by_what_the_first_arena_does_then() {
    let said =
        |story: Table| judged(&facts(), story, &RULES).iter().map(|one| (one.class, one.certainty)).collect::<Vec<_>>();
    let finding = (Class::Finding, Certainty::Likely);
    // It goes on behind its blocks, frees or resizes the very block.
    assert_eq!(said(window(0x1400).alloc(1, 0x1a00, 64)), [finding]);
    assert_eq!(said(window(0x1400).free(1, 0x1400)), [finding]);
    assert_eq!(said(window(0x1400).resize(1, 0x1400, 0x1a00, 128)), [finding]);
    check(
        &facts(),
        window(0x1400).destroy(1),
        &RULES,
        expect![[r#"
        note overlapping-arenas possible at #45: 64 bytes at +1024, block 1 of arena 2: shares bytes with block 17 of arena 1 (64 bytes at +1024), which lives
          threads [1], allocated at site 2, allocated at site 1, created at site 0, 1 times, 64 bytes
          because no reset or rewind of arena 1 was seen before it was destroyed at #46; but what stands here as arena 2 was never created, and may be a copy of the other's object, set back by hand
    "#]],
    );
    // Emptied first, never spoken of again, behind its blocks, in free memory, or from its start: a copy that begins anew.
    assert_eq!(said(window(0x1400)), []);
    let emptied = Table::new().map(0x1000, 4096).create(1, 4096).alloc(1, 0x1000, 64).alloc(1, 0x1040, 64).reset(1);
    assert_eq!(said(emptied.alloc(2, 0x1040, 64).destroy(1)), []);
    assert_eq!(said(window(0x1a00).alloc(1, 0x1a40, 64).destroy(1)), []);
    assert_eq!(said(window(0x1000).destroy(1)), []);
    // The first one's cursor was moved by hand after the block was placed.
    let moved = object(window(0x1400), 1, &[0x1000, 2560], &[0x1000, 1088]).alloc(1, 0x1400, 64).destroy(1);
    assert_eq!(said(moved), []);
}

#[test]
fn an_arena_in_a_block_of_another_is_at_home_there() {
    let nested = Table::new().map(0x1000, 0x2000).create(1, 0x2000).alloc(1, 0x1000, 1024).create(2, 1024);
    silent(&facts(), nested.clone().alloc(2, 0x1000, 64).alloc(2, 0x1040, 64).alloc(1, 0x1400, 64), &RULES);
    // Two layers of one call: the outer one hands the inner one's block on.
    let layers = Table::new().map(0x1000, 0x2000).create(1, 0x2000).create(2, 0);
    silent(&facts(), layers.alloc(1, 0x1000, 64).alloc(2, 0x1000, 64).alloc(1, 0x1040, 64), &RULES);
    silent(&facts(), nested.alloc(2, 0x1000, 64).reset(1).alloc(1, 0x1000, 16), &RULES);
}

#[test]
fn scratch_arenas_passed_by_value_are_let_be() {
    // 1 is the lasting arena, 2 a copy of it that a function used and left.
    let scratch = Table::new().map(0x1000, 0x2000).create(1, 0x2000).alloc(1, 0x1000, 64);
    let scratch = scratch.alloc(2, 0x1040, 64).alloc(2, 0x1080, 64).alloc(1, 0x1040, 256).alloc(1, 0x1140, 64);
    silent(&facts(), scratch.clone(), &RULES);
    // The next copy at the same place.
    silent(
        &facts(),
        object(scratch, 2, &[0x10c0, 0x3000], &[0x11c0, 0x3000]).alloc(2, 0x1180, 64).alloc(1, 0x1180, 64),
        &RULES,
    );
}

#[test]
fn one_phase_after_the_other_is_no_overlap() {
    // The first arena is never destroyed: its object just goes out of use.
    let phases = Table::new().map(0x1000, 0x2000).create(1, 0x2000).alloc(1, 0x1000, 64).alloc(1, 0x1040, 64);
    silent(&facts(), phases.clone().create(2, 0x2000).alloc(2, 0x1000, 32).alloc(2, 0x1020, 64), &RULES);
    // It is used again, and its own block lives: now both are in use.
    let both = phases.create(2, 0x2000).alloc(2, 0x1000, 32).alloc(2, 0x1020, 64).at(5).alloc(1, 0x1080, 64);
    let found = judged(&facts(), both, &RULES);
    assert_eq!(
        found.iter().map(|one| (one.rule, one.class)).collect::<Vec<_>>(),
        [("overlapping-arenas", Class::Finding)]
    );
}

#[test]
fn an_arena_mapped_over_another_is_told_when_the_first_is_used_after() {
    let first = || {
        Table::new()
            .at(0)
            .map(0x1000, 0x2000)
            .create_nested(1, 0x2000, 1)
            .at(1)
            .alloc(1, 0x1000, 3000)
            .alloc(1, 0x1bb8, 3000)
    };
    let over = || map_fixed(first().at(2), 0x2000, 4096).create_nested(2, 4096, 2).at(3).alloc(2, 0x2000, 64);
    check(
        &facts(),
        over().at(4).destroy(2).at(5).destroy(1),
        &RULES,
        expect![[r#"
        finding overlapping-arenas certain at #7: 3000 bytes at +3000, block 2 of arena 1: new pages were mapped over it at #7 (MAP_FIXED, 4 KiB), and arena 2 took them
          threads [1], unmapped at site 2, created at site 2, allocated at site 1, touched at site 5, 1 times, 4096 bytes
          because nothing had freed the block or reset arena 1 before, and the arena was used again at #12
    "#]],
    );
    // Without a use of the first one, nobody knows that it was still wanted.
    silent(&facts(), over().destroy(2), &RULES);
    // New pages for itself: memory given back.
    silent(&facts(), map_fixed(first(), 0x2000, 4096).alloc(1, 0x2000, 64).destroy(1), &RULES);
    // A reset before.
    silent(
        &facts(),
        map_fixed(first().reset(1), 0x2000, 4096).create_nested(2, 4096, 2).alloc(2, 0x2000, 64).destroy(1),
        &RULES,
    );
}

//! `double-free`, `invalid-free`, `wrong-arena-free`.

use crate::{check, describe, judged, object, silent};
use arenascope_event::{Argument, HookStatus, ProcessFacts, Result_, Role, Watched};
use arenascope_findings::{Certainty, Class};
use arenascope_testkit::{Facts, Table, read};
use expect_test::expect;

const RULES: [&str; 3] = ["double-free", "invalid-free", "wrong-arena-free"];

/// A pool with alloc and free, six sites.
fn pool() -> Facts {
    let facts = Facts::new().alloc("pool_alloc").hook(
        Role::Free,
        "pool_free",
        &[Argument::Arena, Argument::Block],
        Result_::Ignored,
    );
    (10..16).fold(facts, |facts, line| facts.site("main", "pool.c", line, read()))
}

fn facts() -> ProcessFacts {
    pool().build()
}

/// Three blocks of 32 bytes in arena 1, two of them freed.
fn story() -> Table {
    let story = Table::new().map(0x1000, 4096).at(0).create(1, 4096);
    let story = story.at(1).alloc(1, 0x1000, 32).alloc(1, 0x1020, 32).alloc(1, 0x1040, 32);
    story.at(2).free(1, 0x1020)
}

/// The same, and the first free of the second block put its address into the arena object.
fn taken() -> Table {
    object(story(), 1, &[0x1000, 96, 0], &[0x1000, 96, 0x1020])
}

#[test]
fn without_a_sign_that_the_first_free_took_the_block_it_is_a_note() {
    let said = |story: Table| {
        judged(&facts(), story.free(1, 0x1020), &RULES).iter().map(|one| (one.class, one.certainty)).collect::<Vec<_>>()
    };
    assert_eq!(said(taken()), [(Class::Finding, Certainty::Likely)]);
    let note = [(Class::Note, Certainty::Possible)];
    // Two owners of one block, and a function that counts them.
    assert_eq!(said(object(story(), 1, &[0x1000, 96, 0], &[0x1000, 96, 0])), note);
    assert_eq!(said(story()), note);
    // What was told of something else.
    assert_eq!(said(taken().alloc(1, 0x1060, 32)), note);
    assert_eq!(said(object(story(), 2, &[0], &[0x1020])), note);
}

#[test]
fn a_block_freed_twice_is_told_with_both_frees_and_its_allocation() {
    check(
        &facts(),
        taken().at(3).free(1, 0x1020),
        &RULES,
        expect![[r#"
            finding double-free likely at #9: 32 bytes at +32, block 2 of arena 1: freed at #7, and again at #9
              threads [1], freed at site 3, freed at site 2, allocated at site 1, 1 times, 32 bytes
              because nothing that was seen handed the block out between #7 and #9; the first free changed the arena object, so it took the block
        "#]],
    );
    silent(&facts(), story(), &RULES);
}

#[test]
fn it_is_certain_when_the_block_then_has_two_owners() {
    let twice = story().at(3).free(1, 0x1020).at(4).alloc(1, 0x1020, 32).at(5).alloc(1, 0x1020, 32);
    check(
        &facts(),
        twice,
        &RULES,
        expect![[r#"
            finding double-free certain at #8: 32 bytes at +32, block 2 of arena 1: freed at #7, and again at #8
              threads [1], freed at site 3, freed at site 2, allocated at site 1, touched at site 5, 1 times, 32 bytes
              because nothing that was seen handed the block out between #7 and #8; afterwards the same bytes had two owners at once, as of #10
        "#]],
    );
    // Handed out once only: the allocator noticed.
    let noticed = taken().at(3).free(1, 0x1020).at(4).alloc(1, 0x1020, 32).at(5).alloc(1, 0x1060, 32);
    let found = judged(&facts(), noticed, &RULES);
    assert_eq!(found.iter().map(|one| one.certainty).collect::<Vec<_>>(), [Certainty::Likely]);
}

#[test]
fn a_block_handed_out_again_may_be_freed_again() {
    silent(&facts(), story().alloc(1, 0x1020, 16).free(1, 0x1020), &RULES);
    silent(&facts(), story().free(1, 0), &RULES);
    silent(&facts(), story().free(1, 0).free(1, 0), &RULES);
}

#[test]
fn an_address_that_nobody_handed_out_acquits_the_whole_arena() {
    // pool_calloc is not watched: its blocks come back, too, and one of them had been freed before.
    let unseen = story().free(1, 0x1020).free(1, 0x1400);
    silent(&facts(), unseen, &RULES);
    let resized = story().free(1, 0x1020).resize(1, 0x1400, 0x1800, 64);
    silent(&facts(), resized, &RULES);
}

#[test]
fn partly_watched_alloc_functions_accuse_nobody() {
    let mut facts = facts();
    facts.hooks[0].status = HookStatus::Partly("2 inlined copies".to_owned());
    silent(&facts, story().free(1, 0x1020), &RULES);
    silent(&facts, story().free(1, 0x1048), &RULES);
}

#[test]
fn lost_events_make_a_note() {
    let facts = pool().lost(3).build();
    let found = judged(&facts, story().free(1, 0x1020), &RULES);
    assert_eq!(
        found.iter().map(|one| (one.class, one.certainty)).collect::<Vec<_>>(),
        [(Class::Note, Certainty::Possible)]
    );
    assert!(found[0].because.contains("3 events were lost"), "{}", found[0].because);
}

#[test]
fn a_function_that_counts_references_is_not_taken_for_a_free() {
    let blocks = (0..6_u64).map(|number| 0x1000 + number * 32);
    let story = Table::new().map(0x1000, 4096).create(1, 4096).at(1);
    let story = blocks.clone().fold(story, |story, block| story.alloc(1, block, 32)).at(2);
    let story = blocks.clone().fold(story, |story, block| story.free(1, block)).at(3);
    let story = blocks.fold(story, |story, block| story.free(1, block));
    let found = judged(&facts(), story, &RULES);
    assert_eq!(
        found.iter().map(|one| (one.class, one.count)).collect::<Vec<_>>(),
        [(Class::Note, 6)],
        "{}",
        describe(&found)
    );
}

#[test]
fn malloc_is_left_alone_whatever_is_freed() {
    let facts = Facts::new()
        .hook(Role::Alloc, "malloc", &[Argument::Size], Result_::Block)
        .hook(Role::Free, "free", &[Argument::Block], Result_::Ignored)
        .build();
    // calloc got the block in between.
    let story = Table::new().seen(0, 0).alloc(0, 0x1000, 32).free(0, 0x1000).free(0, 0x1000).free(0, 0x1008);
    silent(&facts, story, &RULES);
}

#[test]
fn a_block_that_a_resize_moved_away_is_none_of_these() {
    let moved = story().resize(1, 0x1040, 0x1060, 64).free(1, 0x1040);
    silent(&facts(), moved, &RULES);
}

#[test]
fn an_address_inside_a_block_is_told_with_the_block() {
    check(
        &facts(),
        story().at(3).free(1, 0x1048),
        &RULES,
        expect![[r#"
            finding invalid-free likely at #8: 32 bytes at +64, block 3 of arena 1: freed at #8 by an address 8 bytes inside it
              threads [1], freed at site 3, allocated at site 1, 1 times, 32 bytes
              because the block begins 8 bytes before the address given back, and still lived
        "#]],
    );
    // No free ever fits: the roles may describe different pointers.
    let misfit = || Table::new().map(0x1000, 4096).alloc(1, 0x1000, 32).free(1, 0x1010);
    let found = judged(&facts(), misfit(), &RULES);
    assert_eq!(found.iter().map(|one| one.class).collect::<Vec<_>>(), [Class::Note]);
    // Somebody said what they describe: then one free of the run proves nothing against it, and two do, in whatever arena.
    let mut given = facts();
    given.watched = Watched::Given;
    assert_eq!(judged(&given, misfit(), &RULES).iter().map(|one| one.class).collect::<Vec<_>>(), [Class::Finding]);
    let again = misfit().map(0x3000, 4096).alloc(2, 0x3000, 32).free(2, 0x3010);
    let found = judged(&given, again, &RULES);
    assert_eq!(found.iter().map(|one| one.class).collect::<Vec<_>>(), [Class::Note; 2]);
}

#[test]
fn what_a_reset_or_rewind_took_and_was_freed_then_is_worth_a_note() {
    check(
        &facts(),
        story().at(3).reset(1).at(4).free(1, 0x1040),
        &RULES,
        expect![[r#"
            note invalid-free possible at #9: 32 bytes at +64, block 3 of arena 1: freed at #9, after the reset at #8 had taken it
              threads [1], freed at site 4, reset at site 3, allocated at site 1, 1 times, 32 bytes
              because no block was handed out there between the reset and the free
        "#]],
    );
    let rewound = story().mark(1, 0x1060).alloc(1, 0x1060, 8).at(3).rewind(1, 0x1060).at(4).free(1, 0x1060);
    let found = judged(&facts(), rewound, &RULES);
    assert_eq!(found.iter().map(|one| one.class).collect::<Vec<_>>(), [Class::Note], "{}", describe(&found));
    // Handed out again after the reset.
    silent(&facts(), story().reset(1).alloc(1, 0x1040, 8).free(1, 0x1040), &RULES);
}

#[test]
fn a_free_after_the_arena_s_end_is_told() {
    check(
        &facts(),
        story().at(4).destroy(1).at(5).free(1, 0x1040),
        &RULES,
        expect![[r#"
            finding invalid-free likely at #9: 32 bytes at +64, block 3 of arena 1: freed at #9, after its arena was destroyed at #8
              threads [1], freed at site 5, destroyed at site 4, allocated at site 1, 1 times, 32 bytes
              because no arena was created at the same place between the end and the free
        "#]],
    );
    // The arena's end, and a new one at the same place.
    silent(&facts(), story().destroy(1).alloc(1, 0x1040, 16).free(1, 0x1040), &RULES);
    // Not a block of it.
    silent(&facts(), story().destroy(1).free(1, 0x1044), &RULES);
}

#[test]
fn static_memory_is_told_only_of_arenas_that_have_none() {
    let with_module = || pool().module(0x40_0000, 0x41_0000).build();
    check(
        &with_module(),
        story().at(3).free(1, 0x40_2000),
        &RULES,
        expect![[r#"
            finding invalid-free likely at #8: arena 1: static memory of prog was freed at #8
              threads [1], freed at site 3, 1 times, 0 bytes
              because the address lies in a program file, where this arena never had a block
        "#]],
    );
    let in_static = Table::new().create(1, 4096).alloc(1, 0x40_1000, 32).alloc(1, 0x40_1020, 32).free(1, 0x40_1000);
    silent(&with_module(), in_static.free(1, 0x40_2000), &RULES);
    silent(&with_module(), story().free(1, 0x40_2000).free(1, 0x9_0000), &RULES);
}

#[test]
fn a_block_freed_through_another_arena_names_both() {
    let two = || story().at(4).map(0x8000, 4096).create(2, 4096).at(5).alloc(2, 0x8000, 32);
    check(
        &facts(),
        two().at(3).free(2, 0x1040),
        &RULES,
        expect![[r#"
            finding wrong-arena-free likely at #12: 32 bytes at +64, block 3 of arena 1: freed at #12 through arena 2 "pool", which it does not belong to
              threads [1], freed at site 3, allocated at site 1, created at site 4, 1 times, 32 bytes
              because it was allocated in arena 1 at #6 and lived; arena 2 had no memory there
        "#]],
    );
    silent(&facts(), two().free(2, 0x8000), &RULES);
    // A copied arena object: both have the memory.
    silent(&facts(), story().alloc(2, 0x1060, 32).free(2, 0x1040), &RULES);
    // What was no arena so far.
    silent(&facts(), story().free(2, 0x1040), &RULES);
    // Caches of two threads.
    let caches = story().thread(2).map(0x8000, 4096).create(2, 4096).alloc(2, 0x8000, 32).free(2, 0x1040);
    let found = judged(&facts(), caches, &RULES);
    assert_eq!(found.iter().map(|one| one.class).collect::<Vec<_>>(), [Class::Note], "{}", describe(&found));
}

#[test]
fn a_free_that_calls_others_on_the_same_block_gives_it_back_once() {
    let hook =
        |facts: Facts, name: &str| facts.hook(Role::Free, name, &[Argument::Arena, Argument::Block], Result_::Ignored);
    let facts = hook(hook(hook(Facts::new().alloc("pool_alloc"), "outer"), "middle"), "inner")
        .stack(&[("main", "pool.c", 10), ("start", "libc.c", 1)], read())
        .stack(&[("outer", "pool.c", 20), ("main", "pool.c", 10), ("start", "libc.c", 1)], read())
        .stack(
            &[("middle", "pool.c", 30), ("outer", "pool.c", 20), ("main", "pool.c", 10), ("start", "libc.c", 1)],
            read(),
        )
        .build();
    let story = Table::new().map(0x1000, 4096).at(0).alloc(1, 0x1000, 32).free(1, 0x1000);
    silent(&facts, story.clone().at(1).free(1, 0x1000).at(2).free(1, 0x1000), &RULES);
    let again = story.at(1).free(1, 0x1000).at(0).free(1, 0x1000);
    assert_eq!(judged(&facts, again, &RULES).len(), 1, "a second call from main is no inner one");
}

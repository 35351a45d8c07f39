//! `out-of-order-rewind`, `unbalanced-scope`.

use crate::{check, describe, judged, silent};
use arenascope_event::{Argument, HookStatus, ProcessFacts, Result_, Role};
use arenascope_testkit::{Facts, Table, read};
use expect_test::expect;

const RULES: [&str; 2] = ["out-of-order-rewind", "unbalanced-scope"];

fn facts() -> ProcessFacts {
    let facts = Facts::new()
        .alloc("arena_alloc")
        .hook(Role::Mark, "arena_mark", &[Argument::Arena], Result_::Mark)
        .hook(Role::Rewind, "arena_rewind", &[Argument::Arena, Argument::Mark], Result_::Ignored);
    (10..18).fold(facts, |facts, line| facts.site("main", "scopes.c", line, read())).build()
}

/// An outer scope at +32 and an inner one at +96, both open.
fn nested() -> Table {
    let story = Table::new().map(0x1000, 4096).create(1, 4096).alloc(1, 0x1000, 32);
    let story = story.at(1).mark(1, 32).alloc(1, 0x1020, 64).at(2).mark(1, 96);
    story.alloc(1, 0x1060, 128)
}

#[test]
fn an_outer_scope_that_ends_first_is_told_at_the_inner_one_s_end() {
    check(
        &facts(),
        nested().at(3).rewind(1, 32).at(4).rewind(1, 96).alloc(1, 0x1060, 8),
        &RULES,
        expect![[r#"
        finding out-of-order-rewind certain at #10: arena 1: rewound at #10 to the mark of #7, whose scope had ended at #9
          threads [1], rewound at site 4, rewound at site 3, touched at site 2, 1 times, 0 bytes
          because the rewind at #9 had gone back behind it, and no mark of the same value was taken since; blocks show that the cursor followed
    "#]],
    );
    silent(&facts(), nested().rewind(1, 96).rewind(1, 32), &RULES);
}

#[test]
fn a_reset_ends_every_scope() {
    let story = nested().at(5).reset(1).alloc(1, 0x1000, 256).at(4).rewind(1, 96);
    let found = judged(&facts(), story, &RULES);
    assert_eq!(found.len(), 1, "{}", describe(&found));
    // A scope that began when nothing lived ends with nothing alive, whatever came between.
    let empty = Table::new().map(0x1000, 4096).create(1, 4096).mark(1, 0).alloc(1, 0x1000, 64).reset(1);
    silent(&facts(), empty.alloc(1, 0x1000, 16).rewind(1, 0), &RULES);
}

#[test]
fn what_looks_alike_is_let_be() {
    // One mark again and again.
    silent(&facts(), nested().rewind(1, 32).alloc(1, 0x1020, 8).rewind(1, 32).rewind(1, 32), &RULES);
    // A mark that is never used.
    silent(&facts(), nested().rewind(1, 32), &RULES);
    // The same cursor saved anew.
    silent(&facts(), nested().rewind(1, 32).alloc(1, 0x1020, 64).mark(1, 96).rewind(1, 96), &RULES);
    // An allocator that only goes back: after the outer scope's end the inner one's changes nothing.
    silent(&facts(), nested().rewind(1, 32).rewind(1, 96).alloc(1, 0x1020, 8), &RULES);
    silent(&facts(), nested().rewind(1, 32).rewind(1, 96), &RULES);
    // The same, and a new piece of memory begins.
    silent(&facts(), nested().rewind(1, 32).rewind(1, 96).map(0x9000, 4096).alloc(1, 0x9000, 8), &RULES);
    // The same, with blocks between that end below the mark, or that were given back before.
    silent(&facts(), nested().rewind(1, 32).alloc(1, 0x1020, 32).rewind(1, 96).alloc(1, 0x1040, 8), &RULES);
    let given_back = nested().rewind(1, 32).alloc(1, 0x1020, 256).rewind(1, 32).rewind(1, 96).alloc(1, 0x1020, 8);
    silent(&facts(), given_back, &RULES);
    // The same, and the next block wants a large alignment.
    silent(&facts(), nested().rewind(1, 32).rewind(1, 96).alloc(1, 0x1080, 128), &RULES);
    // The same downwards.
    let down = Table::new().map(0x1000, 4096).create(1, 4096).alloc(1, 0x1fe0, 32).mark(1, 0x1fe0).alloc(1, 0x1fa0, 64);
    let down = down.mark(1, 0x1fa0).alloc(1, 0x1f20, 128);
    silent(&facts(), down.rewind(1, 0x1fe0).rewind(1, 0x1fa0).alloc(1, 0x1fc0, 32), &RULES);
    // A cursor that never was a mark.
    silent(&facts(), nested().rewind(1, 32).rewind(1, 64).rewind(1, 16), &RULES);
    // Two marks of one value, the outer one of which still stands.
    silent(&facts(), nested().rewind(1, 96).mark(1, 96).mark(1, 96).rewind(1, 96).rewind(1, 96).rewind(1, 32), &RULES);
    let mut partly = facts();
    partly.hooks[1].status = HookStatus::Partly("inlined".to_owned());
    silent(&partly, nested().rewind(1, 32).rewind(1, 96).alloc(1, 0x1060, 8), &RULES);
}

#[test]
fn many_marks_that_nobody_closes_cost_nothing_and_accuse_nobody() {
    let story = Table::new().map(0x1000, 0x10_0000).create(1, 0x10_0000).alloc(1, 0x1000, 16).mark(1, 16);
    let story =
        (1..6000_u64).fold(story, |story, number| story.alloc(1, 0x1000 + number * 16, 16).mark(1, 16 + number * 16));
    silent(&facts(), story.clone().rewind(1, 16 + 5990 * 16).rewind(1, 16 + 5000 * 16), &RULES);
    assert_eq!(
        judged(
            &facts(),
            story.rewind(1, 16 + 5990 * 16).rewind(1, 16 + 5995 * 16).alloc(1, 0x1000 + 5996 * 16, 16),
            &RULES
        )
        .len(),
        1
    );
}

#[test]
fn scopes_of_two_threads_that_cross_are_told_with_both() {
    let story = Table::new().map(0x1000, 4096).create(1, 4096).alloc(1, 0x1000, 32);
    let story = story.thread(1).at(1).mark(1, 32).alloc(1, 0x1020, 64).thread(2).at(2).mark(1, 96).alloc(1, 0x1060, 64);
    let crossed = story.clone().thread(1).at(3).rewind(1, 32).thread(2).at(4).rewind(1, 96);
    check(
        &facts(),
        crossed,
        &RULES,
        expect![[r#"
        finding unbalanced-scope certain at #10: arena 1: a rewind of thread 1 at #9 ended a scope of thread 2, which was still open
          threads [1, 2], rewound at site 4, rewound at site 3, touched at site 2, 1 times, 0 bytes
          because thread 2 took the mark at #7; thread 1 went back behind it at #9, and thread 2 closed its scope at #10
    "#]],
    );
    silent(&facts(), story.thread(2).rewind(1, 96).thread(1).rewind(1, 32), &RULES);
}

//! Planted faults and their mended twins, one story each, through one `check`.

use arenascope_event::{Argument, CaptureReason, EventKind, Fate, FateKind, NullUse, ProcessFacts, Result_, Role};
use arenascope_findings::{Certainty, Class, Finding, RULES, findings};
use arenascope_testkit::{Facts, Table, dropped, play, plays, read, returned};
use expect_test::{Expect, expect};
use proptest::prelude::*;
use std::fmt::Write;

fn describe(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        let (class, certainty) = (finding.class.word(), finding.certainty.word());
        writeln!(text, "{class} {} {certainty} at #{}: {}", finding.rule, finding.moment.0, finding.message).unwrap();
        if let Some(arena) = &finding.arena {
            write!(text, "  arena {} {:?}", arena.id, arena.name).unwrap();
        }
        if let Some(block) = &finding.block {
            write!(text, ", block {} at {}+{} of {}", block.number, block.extent, block.offset, block.size).unwrap();
        }
        let threads: Vec<u32> = finding.threads.iter().map(|thread| thread.0).collect();
        write!(text, ", threads {threads:?}").unwrap();
        for (role, site) in &finding.sites {
            write!(text, ", {} at site {}", role.word(), site.0).unwrap();
        }
        writeln!(text, ", {} times, {} bytes", finding.count, finding.bytes).unwrap();
        writeln!(text, "  because {}", finding.because).unwrap();
        assert!(!finding.disproof.is_empty() && !finding.next.is_empty());
        assert!(
            RULES
                .iter()
                .any(|rule| rule.name == finding.rule && (rule.class == finding.class || finding.class == Class::Note))
        );
    }
    text
}

/// No capture of the story can be read.
fn judge(facts: &ProcessFacts, story: Table) -> Vec<Finding> {
    findings(facts, story.events(), |_| None::<Vec<u8>>)
}

/// Every capture of the story holds `bytes`.
fn judge_with(facts: &ProcessFacts, story: Table, bytes: &[u8]) -> Vec<Finding> {
    findings(facts, story.events(), |_| Some(bytes))
}

fn check_with(facts: &ProcessFacts, story: Table, bytes: &[u8], expected: Expect) {
    expected.assert_eq(&describe(&judge_with(facts, story, bytes)));
}

fn check(facts: &ProcessFacts, story: Table, expected: Expect) {
    expected.assert_eq(&describe(&judge(facts, story)));
}

fn silent(facts: &ProcessFacts, story: Table) {
    assert_eq!(describe(&judge(facts, story)), "");
}

// ---- never-stored ----

const BECAUSE: &str = "after the call main calls puts, and the result is overwritten before anything reads it";

/// 09b: sites 0 to 3 are the four calls; the third throws its block away.
fn nine_b(third: Fate) -> ProcessFacts {
    Facts::new()
        .alloc("arena_alloc")
        .site("main", "09b.c", 64, read())
        .site("main", "09b.c", 65, read())
        .site("main", "09b.c", 71, third)
        .site("main", "09b.c", 75, read())
        .waited(0)
        .build()
}

fn nine_b_story() -> Table {
    Table::new()
        .map(0x1000, 4096)
        .create_nested(0, 256, 1)
        .at(0)
        .alloc(0, 0x1000, 32)
        .at(1)
        .alloc(0, 0x1020, 32)
        .at(2)
        .alloc(0, 0x1040, 32)
        .at(3)
        .alloc(0, 0x1060, 32)
        .nowhere()
        .capture(0, CaptureReason::Destroy, 0x1000, 128)
        .destroy(0)
        .unmap(0x1000, 256)
        .exit(0)
}

/// What 09b's arena holds in the end: blocks 1, 2 and 4 are written, block 3 is not.
fn nine_b_bytes() -> Vec<u8> {
    let mut bytes = vec![0; 128];
    for (at, text) in [(0, "First block ok."), (32, "Second block too."), (96, "This will overwrite n")] {
        bytes[at..at + text.len()].copy_from_slice(text.as_bytes());
    }
    bytes
}

#[test]
fn a_block_thrown_away_is_found() {
    check_with(
        &nine_b(dropped(BECAUSE)),
        nine_b_story(),
        &nine_b_bytes(),
        expect![[r#"
        finding never-stored certain at #6: 32 bytes at +64, block 3 of arena 1: allocated, and nobody kept them
          arena 1 "arena", block 3 at 1+64 of 32, threads [1], allocated at site 2, 1 times, 32 bytes
          because after the call main calls puts, and the result is overwritten before anything reads it; at #8 the block's bytes are still zero
    "#]],
    );
}

#[test]
fn without_its_bytes_a_thrown_away_result_is_a_note() {
    check(
        &nine_b(dropped(BECAUSE)),
        nine_b_story(),
        expect![[r#"
        note never-stored possible at #6: 32 bytes at +64, block 3 of arena 1: the result of the call was thrown away
          arena 1 "arena", block 3 at 1+64 of 32, threads [1], allocated at site 2, 1 times, 32 bytes
          because after the call main calls puts, and the result is overwritten before anything reads it; whether the block is used through another pointer is not known: its bytes were not captured
    "#]],
    );
    // Cut off before its end.
    let cut = judge_with(&nine_b(dropped(BECAUSE)), nine_b_story(), &nine_b_bytes()[..80]);
    assert_eq!((cut.len(), cut[0].class), (1, Class::Note));
}

#[test]
fn a_block_that_was_written_is_in_use_whatever_became_of_the_result() {
    let mut bytes = nine_b_bytes();
    bytes[64..68].copy_from_slice(&7_u32.to_le_bytes());
    assert_eq!(describe(&judge_with(&nine_b(dropped(BECAUSE)), nine_b_story(), &bytes)), "");
    // In memory that was used before, the bytes may be older than the block.
    let again = || nine_b_story().map(0x1000, 4096).at(2).alloc(1, 0x1000, 32).at(3).alloc(1, 0x1020, 32).reset(1);
    let story = again().at(2).alloc(1, 0x1000, 32).capture(1, CaptureReason::Exit, 0x1000, 128);
    let found = judge_with(&nine_b(dropped(BECAUSE)), story, &bytes);
    assert!(found.iter().all(|one| one.rule != "never-stored"), "the first life shows its use: {}", describe(&found));
    let first_life = again().at(2).alloc(1, 0x1040, 32).capture(1, CaptureReason::Exit, 0x1000, 128);
    let only_later: Vec<_> = first_life.events();
    let only_later = only_later
        .into_iter()
        .filter(|event| !matches!(event.kind, EventKind::Capture { reason: CaptureReason::Destroy, .. }));
    let found = findings(&nine_b(dropped(BECAUSE)), only_later, |_| Some(&bytes));
    let said: Vec<_> = found.iter().filter(|one| one.rule == "never-stored").map(|one| one.class).collect();
    assert_eq!(said, [Class::Note], "{}", describe(&found));
}

#[test]
fn an_arena_that_was_wiped_shows_nothing() {
    let found = judge_with(&nine_b(dropped(BECAUSE)), nine_b_story(), &[0; 128]);
    assert_eq!(found.iter().map(|finding| finding.class).collect::<Vec<_>>(), [Class::Note]);
}

/// An array that grows by calls whose results nobody needs: the first one's is kept.
fn growing_array() -> (ProcessFacts, Table) {
    let facts = Facts::new()
        .alloc("ArenaPush")
        .site("main", "grow.c", 10, read())
        .site("main", "grow.c", 12, dropped("nobody reads it"))
        .build();
    let mut story = Table::new().map(0x1000, 4096).at(0).alloc(0, 0x1000, 4).at(1);
    for element in 1..8 {
        story = story.alloc(0, 0x1000 + element * 4, 4);
    }
    (facts, story.capture(0, CaptureReason::Exit, 0x1000, 32).exit(0))
}

#[test]
fn an_array_grown_by_calls_is_in_use() {
    let (facts, story) = growing_array();
    let elements = |value: fn(u32) -> u32| (0..8).flat_map(|n| value(n).to_le_bytes()).collect::<Vec<u8>>();
    let said = |bytes: &[u8]| {
        let found = judge_with(&facts, story.clone(), bytes);
        found.iter().filter(|one| one.rule == "never-stored").map(|one| (one.class, one.certainty)).collect::<Vec<_>>()
    };
    assert_eq!(said(&elements(|n| n)), []);
    assert_eq!(said(&elements(|n| u32::from(n == 5) * 1000)), [], "one element that is not zero is enough");
    let first_only = elements(|n| u32::from(n == 0) * 1000);
    assert_eq!(said(&first_only), [(Class::Note, Certainty::Possible)], "zeros may be the elements of an array");
    assert_eq!(said(&elements(|_| 0)), [(Class::Note, Certainty::Possible)], "no byte of the arena tells anything");
}

#[test]
fn a_block_of_zeros_that_may_end_a_list_is_only_noted() {
    let facts = nine_b(dropped(BECAUSE));
    let said = |sizes: &[(u32, u64)]| {
        let (mut story, mut bytes) = (Table::new().map(0x1000, 4096), vec![0; 512]);
        let mut at = 0;
        for (site, size) in sizes {
            story = story.at(*site).alloc(0, 0x1000 + at, *size);
            bytes[at as usize] = u8::from(*site != 2);
            at += size;
        }
        let found = judge_with(&facts, story.capture(0, CaptureReason::Destroy, 0x1000, 512).destroy(0), &bytes);
        found.iter().filter(|one| one.rule == "never-stored").map(|one| one.certainty).collect::<Vec<_>>()
    };
    let (note, certain) = ([Certainty::Possible], [Certainty::Certain]);
    // Pushed behind the others: the last of all, before something else, and where another list begins.
    assert_eq!(said(&[(0, 32), (0, 32), (0, 32), (2, 32)]), note);
    assert_eq!(said(&[(0, 32), (1, 32), (2, 32), (3, 48)]), note);
    assert_eq!(said(&[(0, 32), (0, 32), (2, 32), (1, 32), (1, 32)]), note);
    // Behind an array that was one block.
    assert_eq!(said(&[(0, 96), (2, 8), (1, 48)]), note);
    // In the midst, the next one's address was kept; and one of another size.
    assert_eq!(said(&[(0, 32), (1, 32), (2, 32), (3, 32)]), certain);
    assert_eq!(said(&[(0, 32), (2, 48), (1, 32)]), certain);
    assert_eq!(said(&[(2, 32), (1, 32)]), certain);
}

#[test]
fn what_is_read_returned_or_not_decoded_is_silent() {
    silent(&nine_b(read()), nine_b_story());
    silent(&nine_b(returned()), nine_b_story());
    silent(&nine_b(Fate::default()), nine_b_story());
}

#[test]
fn many_blocks_of_one_call_are_one_finding() {
    let facts = Facts::new()
        .alloc("pool_get")
        .stack(&[("work", "w.c", 5), ("main", "w.c", 20)], dropped("nobody reads it"))
        .stack(&[("work", "w.c", 5), ("main", "w.c", 30)], dropped("nobody reads it"))
        .build();
    let mut story = Table::new().map(0x1000, 4096).thread(2).at(1).alloc(0, 0x1000, 16).thread(1).at(0);
    for step in 1..10 {
        story = story.alloc(0, 0x1000 + step * 16, 16);
    }
    check(
        &facts,
        story,
        expect![[r#"
            note never-stored possible at #3: 16 bytes at +0, block 1 of arena 1: the result of the call was thrown away (10 times here, 160 bytes in all)
              arena 1 "pool", block 1 at 1+0 of 16, threads [1, 2], allocated at site 1, 10 times, 160 bytes
              because nobody reads it; whether the block is used through another pointer is not known: its bytes were not captured
        "#]],
    );
}

/// What never-stored says of 09b's third block when its story goes on as `change` says, with `bytes` captured.
fn third(story: Table, bytes: &[u8]) -> Vec<(Class, Certainty)> {
    let found = judge_with(&nine_b(dropped(BECAUSE)), story, bytes);
    found.iter().filter(|one| one.rule == "never-stored").map(|one| (one.class, one.certainty)).collect()
}

const NOTE: [(Class, Certainty); 1] = [(Class::Note, Certainty::Possible)];

#[test]
fn a_block_that_a_child_may_have_used_is_only_noted() {
    let story = Table::new().map(0x1000, 4096).at(0).alloc(0, 0x1000, 32).at(2).alloc(0, 0x1040, 32);
    let forked = story.event(EventKind::Fork { child: 7, fork_id: 1 }).capture(0, CaptureReason::Exit, 0x1000, 128);
    assert_eq!(third(forked, &nine_b_bytes()), NOTE);
}

#[test]
fn the_link_of_a_free_list_is_no_use() {
    let mut bytes = nine_b_bytes();
    bytes[64..72].copy_from_slice(&0x1060_u64.to_le_bytes());
    assert_eq!(third(nine_b_story(), &bytes), NOTE);
    bytes[64..72].copy_from_slice(&0x9999_u64.to_le_bytes());
    assert_eq!(third(nine_b_story(), &bytes), []);
}

#[test]
fn calls_made_for_their_effect_are_only_noted() {
    let kept = || Table::new().map(0x1000, 8192).at(0).alloc(0, 0x1000, 100);
    let mut bytes = vec![0; 4096];
    bytes[0] = 1;
    // To the next page.
    let padded = kept().at(2).alloc(0, 0x1064, 3996).capture(0, CaptureReason::Exit, 0x1000, 4096);
    assert_eq!(third(padded, &bytes), NOTE);
    // Brought in, and given back at once.
    let warmed = kept().at(2).alloc(0, 0x1070, 1024).capture(0, CaptureReason::Reset, 0x1000, 4096).reset(0);
    assert_eq!(third(warmed, &bytes), NOTE);
    // A byte that is zero.
    let small = kept().at(2).alloc(0, 0x1070, 1).capture(0, CaptureReason::Exit, 0x1000, 4096);
    assert_eq!(third(small, &bytes), NOTE);
    let neither = kept().at(2).alloc(0, 0x1070, 1024).capture(0, CaptureReason::Exit, 0x1000, 4096);
    assert_eq!(third(neither, &bytes), [(Class::Finding, Certainty::Certain)]);
}

#[test]
fn the_first_life_decides_and_later_ones_change_nothing() {
    let mut story = Table::new().map(0x1000, 4096);
    for _ in 0..4 {
        story = story.at(0).alloc(0, 0x1000, 32).at(2).alloc(0, 0x1040, 32).at(3).alloc(0, 0x1060, 32);
        story = story.nowhere().capture(0, CaptureReason::Reset, 0x1000, 128).reset(0);
    }
    assert_eq!(third(story, &nine_b_bytes()), [(Class::Finding, Certainty::Certain)]);
    // Each right behind another block: the bytes convict, and how sure is another question.
    let mut story = Table::new().map(0x1000, 4096);
    for _ in 0..4 {
        story = story.at(0).alloc(0, 0x1000, 64).at(2).alloc(0, 0x1040, 32).at(3).alloc(0, 0x1060, 32);
        story = story.nowhere().capture(0, CaptureReason::Reset, 0x1000, 128).reset(0);
    }
    assert_eq!(third(story, &nine_b_bytes()), [(Class::Finding, Certainty::Likely)]);
}

#[test]
fn blocks_dropped_side_by_side_are_likely_found() {
    let facts = Facts::new()
        .alloc("pool_get")
        .site("main", "w.c", 3, read())
        .site("main", "w.c", 5, dropped("nobody reads it"))
        .build();
    let mut story = Table::new().map(0x1000, 4096).at(0).alloc(0, 0x1000, 64).at(1);
    for step in 1..4 {
        story = story.alloc(0, 0x1000 + step * 64, 64);
    }
    let mut bytes = vec![0; 256];
    bytes[0] = 1;
    check_with(
        &facts,
        story.capture(0, CaptureReason::Signal, 0x1000, 256),
        &bytes,
        expect![[r#"
        finding never-stored likely at #4: 64 bytes at +64, block 2 of arena 1: allocated, and nobody kept them (3 times here, 192 bytes in all)
          arena 1 "pool", block 2 at 1+64 of 64, threads [1], allocated at site 1, 3 times, 192 bytes
          because nobody reads it; at #7 the block's bytes are still zero
    "#]],
    );
}

#[test]
fn calls_through_a_helper_are_told_apart_by_who_drops() {
    let fate = || Fate { kind: FateKind::Dropped, depth: 1, because: "helper returns it, main drops it".into() };
    let facts = Facts::new()
        .alloc("arena_alloc")
        .stack(&[("helper", "h.c", 5), ("main", "h.c", 20)], fate())
        .stack(&[("helper", "h.c", 5), ("main", "h.c", 30)], fate())
        .stack(&[("helper", "h.c", 5), ("main", "h.c", 40)], read())
        .build();
    let story = Table::new()
        .malloc(0x1000, 4096)
        .at(0)
        .alloc(0, 0x1000, 8)
        .at(2)
        .alloc(0, 0x1008, 8)
        .malloc(0x9000, 4096)
        .at(1)
        .alloc(0, 0x9000, 1);
    check(
        &facts,
        story,
        expect![[r#"
            note never-stored possible at #3: 8 bytes at +0, block 1 of arena 1: the result of the call was thrown away
              arena 1 "arena", block 1 at 1+0 of 8, threads [1], allocated at site 0, 1 times, 8 bytes
              because helper returns it, main drops it; main does so at h.c:20; whether the block is used through another pointer is not known: its bytes were not captured
            note never-stored possible at #6: 1 byte at +0 of extent 2, block 3 of arena 1: the result of the call was thrown away
              arena 1 "arena", block 3 at 2+0 of 1, threads [1], allocated at site 1, 1 times, 1 bytes
              because helper returns it, main drops it; main does so at h.c:30; whether the block is used through another pointer is not known: its bytes were not captured
        "#]],
    );
}

#[test]
fn a_refused_call_has_no_block_to_keep() {
    let facts = Facts::new().alloc("arena_alloc").site("main", "a.c", 5, dropped("nobody reads it")).build();
    silent(&facts, Table::new().at(0).refuse(0, 64));
}

#[test]
fn an_alloc_function_with_an_out_parameter_silences_the_rule() {
    let story = || Table::new().map(0x1000, 4096).at(0).alloc(0, 0x1000, 16);
    let through = [Argument::Arena, Argument::Size, Argument::BlockOut];
    let facts = Facts::new().hook(Role::Alloc, "arena_try_alloc", &through, Result_::Ignored).site(
        "main",
        "a.c",
        5,
        dropped("nobody reads the status"),
    );
    silent(&facts.build(), story());
    let twin = Facts::new().alloc("arena_alloc").site("main", "a.c", 5, dropped("nobody reads it")).build();
    assert_eq!(judge(&twin, story()).len(), 1);
}

#[test]
fn a_block_handed_on_by_an_outer_alloc_function_counts_once_and_for_the_outer_caller() {
    let facts = |outer: Fate| {
        Facts::new()
            .alloc("pool_alloc")
            .alloc("pool_calloc")
            .stack(&[("pool_calloc", "pool.c", 3), ("main", "main.c", 9)], dropped("pool_calloc drops it"))
            .stack(&[("main", "main.c", 9)], outer)
            .build()
    };
    let story = || Table::new().map(0x1000, 4096).at(0).alloc(0, 0x1000, 32).at(1).alloc(0, 0x1000, 32);
    silent(&facts(read()), story());
    check(
        &facts(dropped("main drops it")),
        story(),
        expect![[r#"
            note never-stored possible at #4: 32 bytes at +0, block 1 of arena 1: the result of the call was thrown away
              arena 1 "pool", block 1 at 1+0 of 32, threads [1], allocated at site 1, 1 times, 32 bytes
              because main drops it; whether the block is used through another pointer is not known: its bytes were not captured
        "#]],
    );
}

#[test]
fn an_inner_block_that_nobody_handed_on_is_judged_by_its_own_call() {
    let facts = Facts::new()
        .alloc("pool_alloc")
        .alloc("pool_calloc")
        .stack(&[("pool_calloc", "pool.c", 3), ("main", "main.c", 9)], dropped("pool_calloc drops it"))
        .stack(&[("main", "main.c", 9)], read())
        .build();
    let handed_on = Table::new().map(0x1000, 4096).at(0).alloc(0, 0x1000, 32).at(1).alloc(0, 0x1000, 32);
    check(
        &facts,
        handed_on.at(0).alloc(0, 0x1020, 8),
        expect![[r#"
            note never-stored possible at #5: 8 bytes at +32, block 2 of arena 1: the result of the call was thrown away
              arena 1 "pool", block 2 at 1+32 of 8, threads [1], allocated at site 0, 1 times, 8 bytes
              because pool_calloc drops it; whether the block is used through another pointer is not known: its bytes were not captured
        "#]],
    );
}

// ---- null-used ----

fn null_facts(verdict: NullUse) -> ProcessFacts {
    Facts::new()
        .alloc("arena_alloc")
        .site("main", "null.c", 30, read())
        .site("fill", "null.c", 12, read())
        .null_use(verdict, "main passes the result to fill, which writes through it")
        .waited(11)
        .build()
}

fn null_story() -> Table {
    Table::new().map(0x1000, 4096).create_nested(0, 256, 1).at(0).alloc(0, 0x1000, 240).refuse(0, 64).at(1)
}

#[test]
fn a_null_that_was_used_is_found() {
    check(
        &null_facts(NullUse::Proven),
        null_story().fault(11, 0x10),
        expect![[r#"
            finding null-used certain at #6: the allocator of arena 1 returned NULL for 64 bytes, and the program used it: SIGSEGV (240 of 256 bytes were in use)
              arena 1 "arena", threads [1], allocated at site 0, touched at site 1, 1 times, 64 bytes
              because NULL was returned at #5; main passes the result to fill, which writes through it
        "#]],
    );
}

#[test]
fn a_null_that_only_fits_is_likely_and_only_near_zero() {
    let found = |address| judge(&null_facts(NullUse::Consistent), null_story().fault(11, address));
    assert_eq!(found(0x10).iter().map(|finding| finding.certainty.word()).collect::<Vec<&str>>(), ["likely"]);
    assert_eq!(found(4095).len(), 1);
    assert!(found(4096).is_empty());
    assert!(found(0xdead_beef).is_empty());
}

#[test]
fn a_null_tested_by_the_program_is_silent() {
    silent(&null_facts(NullUse::Unknown), null_story().destroy(0).unmap(0x1000, 4096).exit(1));
    // A fault of another making.
    silent(&null_facts(NullUse::Unknown), null_story().fault(11, 0));
}

#[test]
fn a_fault_without_a_refusal_on_its_own_thread_is_silent() {
    silent(&null_facts(NullUse::Proven), null_story().thread(2).fault(11, 0));
    let full = Table::new().map(0x1000, 4096).at(0).alloc(0, 0x1000, 8).fault(11, 0);
    silent(&null_facts(NullUse::Proven), full);
}

#[test]
fn a_signal_that_was_sent_is_no_use_of_null() {
    silent(&null_facts(NullUse::Proven), null_story().killed(11));
    silent(&null_facts(NullUse::Proven), null_story().fault(6, 0));
}

// ---- never-unmapped ----

fn plain() -> Facts {
    Facts::new()
        .alloc("arena_alloc")
        .site("arena_new", "/src/arena.c", 12, Fate::default())
        .site("main", "/src/main.c", 30, read())
        .waited(0)
}

fn left(site: u32, count: u64) -> Table {
    let mut story = Table::new();
    for number in 0..count {
        let start = 0x10_0000 + number * 0x10_0000;
        let key = u32::try_from(number).unwrap_or(0);
        story = story.map(start, 4096).at(site).create_nested(key, 4096, 1).at(1).alloc(key, start, 16).nowhere();
    }
    story
}

#[test]
fn an_arena_that_stands_at_exit_is_noted() {
    check(
        &plain().build(),
        left(0, 1).exit(0),
        expect![[r#"
            note never-unmapped certain at #3: arena 1 "arena" created at arena.c:12 was never unmapped: 4 KiB
              arena 1 "arena", threads [1], created at site 0, 1 times, 4096 bytes
              because the memory still stood when the process exited, and no destroy was seen
        "#]],
    );
}

#[test]
fn arenas_of_one_call_are_one_note() {
    check(
        &plain().build(),
        left(0, 3).exit(0),
        expect![[r#"
            note never-unmapped certain at #3: 3 arenas created at arena.c:12 were never unmapped: 12 KiB
              arena 1 "arena", threads [1], created at site 0, 3 times, 12288 bytes
              because the memory still stood when the process exited, and no destroy was seen
        "#]],
    );
}

#[test]
fn an_arena_destroyed_or_unmapped_is_silent() {
    silent(&plain().build(), left(0, 1).destroy(0).unmap(0x10_0000, 4096).exit(0));
    silent(&plain().build(), left(0, 1).unmap(0x10_0000, 4096).exit(0));
    // Destroyed, its memory kept: a cache, or a buffer that was not the arena's.
    silent(&plain().build(), left(0, 1).destroy(0).exit(0));
}

#[test]
fn malloc_blocks_and_chunks_count_and_freed_chunks_do_not() {
    let story = Table::new()
        .malloc(0x10_0000, 1000)
        .at(1)
        .alloc(0, 0x10_0000, 8)
        .malloc(0x20_0000, 1000)
        .alloc(0, 0x20_0000, 8)
        .map(0x30_0000, 4096)
        .alloc(0, 0x30_0000, 8)
        .heap_free(0x10_0000);
    check(
        &plain().build(),
        story.exit(0),
        expect![[r#"
            note never-unmapped certain at #3: arena 1 "arena" first used at main.c:30 was never unmapped or freed: 5096 bytes
              arena 1 "arena", threads [1], allocated at site 1, 1 times, 5096 bytes
              because the memory still stood when the process exited, and no destroy was seen
        "#]],
    );
}

#[test]
fn an_arena_replaced_over_its_standing_mapping_is_noted() {
    let story = left(0, 1).map(0x90_0000, 4096).at(0).create_nested(0, 4096, 1).destroy(0).unmap(0x90_0000, 4096);
    check(
        &plain().build(),
        story.exit(0),
        expect![[r#"
            note never-unmapped certain at #3: arena 1 "arena" created at arena.c:12 was never unmapped: 4 KiB
              arena 1 "arena", threads [1], created at site 0, 1 times, 4096 bytes
              because the memory still stood when the process exited, and no destroy was seen
        "#]],
    );
}

#[test]
fn a_buffer_used_again_and_again_belongs_to_its_last_arena() {
    let mut story = Table::new().map(0x1000, 4096);
    for _ in 0..4 {
        story = story.at(0).create(0, 64).at(1).alloc(0, 0x1000, 16);
    }
    assert_eq!(judge(&plain().build(), story.clone().exit(0)).len(), 1);
    silent(&plain().build(), story.destroy(0).exit(0));
}

#[test]
fn static_memory_has_nothing_to_unmap() {
    let facts = plain().module(0x50_0000, 0x60_0000).build();
    silent(&facts, Table::new().observe(0x50_0000, 0x10_0000).at(1).alloc(0, 0x50_1000, 16).exit(0));
    // Memory that was there before we were.
    silent(&facts, Table::new().observe(0x90_0000, 0x10_0000).at(1).alloc(0, 0x90_1000, 16).exit(0));
}

#[test]
fn a_process_that_did_not_exit_is_silent() {
    silent(&plain().waited(9).build(), left(0, 1));
    silent(&plain().waited(139).build(), left(0, 1).fault(11, 0x99_9999));
    silent(&plain().build(), left(0, 1).exec("/bin/true"));
    silent(&Facts::new().alloc("arena_alloc").build(), left(0, 1));
    // An exec that failed is none.
    assert_eq!(judge(&plain().build(), left(0, 1).exec("/no").exit(127)).len(), 1);
    // The end was not recorded, but the launcher saw it.
    assert_eq!(judge(&plain().build(), left(0, 1)).len(), 1);
}

#[test]
fn losses_make_it_only_possible() {
    check(
        &plain().lost(7).build(),
        left(0, 1).exit(0),
        expect![[r#"
            note never-unmapped possible at #3: arena 1 "arena" created at arena.c:12 was never unmapped: 4 KiB
              arena 1 "arena", threads [1], created at site 0, 1 times, 4096 bytes
              because the memory still stood when the process exited, and no destroy was seen; 7 events were lost, and the end may be among them
        "#]],
    );
}

#[test]
fn what_a_child_inherited_is_its_parents() {
    let facts = plain().forked(1).build();
    // The child's recorder lists the malloc blocks that were there; such an event has no site.
    silent(&facts, Table::new().malloc(0x10_0000, 4096).at(1).alloc(0, 0x10_0000, 16).exit(0));
    let own = Table::new().at(1).malloc(0x10_0000, 4096).alloc(0, 0x10_0000, 16).exit(0);
    assert_eq!(judge(&facts, own).len(), 1);
}

// ---- all together ----

#[test]
fn findings_come_before_notes_and_in_order_of_moment() {
    let facts = Facts::new()
        .alloc("arena_alloc")
        .site("main", "a.c", 5, dropped("nobody reads it"))
        .site("main", "a.c", 6, dropped("nobody reads it"))
        .site("main", "a.c", 7, read())
        .waited(0)
        .build();
    let story = Table::new().map(0x1000, 4096).at(1).alloc(0, 0x1000, 8).at(0).alloc(0, 0x1008, 8).at(2);
    let story = story.alloc(0, 0x1010, 8).capture(0, CaptureReason::Exit, 0x1000, 24).exit(0);
    let mut bytes = [0; 24];
    bytes[16] = 1;
    let found = judge_with(&facts, story, &bytes);
    let order: Vec<(&str, u64)> = found.iter().map(|finding| (finding.rule, finding.moment.0)).collect();
    assert_eq!(order, [("never-stored", 3), ("never-stored", 4), ("never-unmapped", 3)]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_same_events_give_the_same_findings(story in plays(120), wait_status in 0_i32..2) {
        let facts = Facts::new().alloc("arena_alloc").waited(wait_status).build();
        let events = play(&story);
        let once = describe(&findings(&facts, events.clone(), |_| None::<Vec<u8>>));
        prop_assert_eq!(&once, &describe(&findings(&facts, events, |_| None::<Vec<u8>>)));
        // Nothing was decoded, nothing faulted: these have nobody to accuse. (Senseless stories may well free twice.)
        prop_assert!(!once.contains("finding never-stored") && !once.contains("finding null-used"));
    }
}

// ---- malloc's own arenas ----

/// A block of malloc's main arena that nobody keeps, and one that stands at exit.
fn of_malloc() -> Table {
    let segment = EventKind::HeapSegment {
        arena: arenascope_event::ArenaKey(1),
        start: arenascope_event::Address(0x10_0000),
        len: 0x2_1000,
        top: arenascope_event::Address(0x10_2000),
    };
    Table::new().seen(1, 0x6000_0000).event(segment).at(0).alloc(1, 0x10_0010, 64).at(1).alloc(1, 0x10_0100, 64)
}

#[test]
fn malloc_s_own_arenas_are_not_judged() {
    let facts = Facts::new()
        .site("main", "a.c", 10, dropped("main prints"))
        .site("main", "a.c", 11, dropped("main prints"))
        .build();
    silent(&facts, of_malloc().exit(0));
    // A hand-made arena of the same story is.
    let judged = judge(&facts, of_malloc().map(0x90_0000, 4096).at(0).alloc(5, 0x90_0000, 32).exit(0));
    assert!(
        !judged.is_empty() && judged.iter().all(|finding| finding.arena.as_ref().is_some_and(|arena| arena.id.0 == 2))
    );
}

//! Notes on how memory is spent, from events alone: planted waste and its mended twin, one story each.

use arenascope_event::{Argument, Event, ProcessFacts, Result_, Role};
use arenascope_findings::{Certainty, Finding, findings};
use arenascope_testkit::{Facts, Table, read};
use expect_test::{Expect, expect};
use std::fmt::Write;

fn facts() -> Facts {
    Facts::new()
        .alloc("arena_alloc")
        .site("main", "prog.c", 10, read())
        .site("main", "prog.c", 20, read())
        .site("main", "prog.c", 30, read())
        .waited(0)
}

fn judge_events(facts: &ProcessFacts, events: Vec<Event>, rule: &str) -> Vec<Finding> {
    let all = findings(facts, events, |_| None::<Vec<u8>>);
    all.into_iter().filter(|finding| finding.rule == rule).collect()
}

fn judge(story: Table, rule: &str) -> Vec<Finding> {
    judge_events(&facts().build(), story.events(), rule)
}

fn describe(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        let (class, certainty) = (finding.class.word(), finding.certainty.word());
        writeln!(text, "{class} {certainty} at #{}: {}", finding.moment.0, finding.message).unwrap();
        let sites: Vec<String> =
            finding.sites.iter().map(|(role, site)| format!("{} at site {}", role.word(), site.0)).collect();
        writeln!(text, "  {}, {} times, {} bytes", sites.join(", "), finding.count, finding.bytes).unwrap();
        writeln!(text, "  because {}", finding.because).unwrap();
        assert!(!finding.disproof.is_empty() && !finding.next.is_empty());
    }
    text
}

fn check(story: Table, rule: &str, expected: Expect) {
    expected.assert_eq(&describe(&judge(story, rule)));
}

// ---- offset-not-reset ----

const OFFSET: &str = "offset-not-reset";

/// Lab 15a: each round takes 768 bytes; `step` is how far the next round begins behind the last.
fn rounds(count: u64, step: u64) -> Table {
    let mut table = Table::new().map(0x1000, 4096).create_nested(0, 4096, 1);
    for round in 0..count {
        let base = 0x1000 + round * step;
        table = table.at(0).alloc(0, base, 512).alloc(0, base + 512, 256).at(1).reset(0);
    }
    table.at(0)
}

#[test]
fn an_arena_that_goes_on_behind_what_it_gave_back_is_noted() {
    check(
        rounds(5, 768).refuse(0, 512).destroy(0),
        OFFSET,
        expect![[r#"
            note certain at #6: arena 1 was reset 5 times and went on behind what it had given back: 3840 bytes cannot be handed out again
              reset at site 1, allocated at site 0, 5 times, 3840 bytes
              because the block after #6 began at or after +768, where the last one had ended, and no later block began lower; at #19 the arena refused 512 bytes
        "#]],
    );
    let found = judge(rounds(3, 768), OFFSET);
    assert_eq!((found.len(), found[0].certainty, found[0].bytes), (1, Certainty::Likely, 1536));
}

#[test]
fn an_arena_that_comes_back_is_silent() {
    assert_eq!(describe(&judge(rounds(5, 0), OFFSET)), "");
    assert_eq!(describe(&judge(rounds(2, 768), OFFSET)), "", "once proves nothing");
    // A ring: it goes on behind, and comes round.
    assert_eq!(describe(&judge(rounds(5, 768).alloc(0, 0x1000, 512), OFFSET)), "");
    // Chunks: each round lies in memory of its own.
    let mut chunks = Table::new();
    for round in 1..6 {
        chunks = chunks.map(round * 0x10_000, 4096).at(0).alloc(0, round * 0x10_000, 512).at(1).reset(0);
    }
    assert_eq!(describe(&judge(chunks, OFFSET)), "");
    let lossy = facts().lost(1).build();
    assert_eq!(describe(&judge_events(&lossy, rounds(5, 768).events(), OFFSET)), "");
}

#[test]
fn an_arena_made_anew_with_the_old_offset_is_noted() {
    let again = |step: u64| {
        let mut table = Table::new().map(0x1000, 4096);
        for round in 0..4 {
            table = table.at(0).create(0, 4096).alloc(0, 0x1000 + round * step, 512).at(1).destroy(0);
        }
        table
    };
    assert_eq!(judge(again(512), OFFSET).len(), 1);
    assert_eq!(describe(&judge(again(0), OFFSET)), "");
}

// ---- only-grows ----

const GROWS: &str = "only-grows";

/// `blocks` blocks of 128 bytes in one arena, spread over `seconds`, the first `early` of them in the first second.
fn spread(blocks: u64, seconds: u64, early: u64, more: impl FnOnce(Table) -> Table) -> Vec<Event> {
    let mut table = Table::new().map(0x10_0000, 1 << 20).at(0).create_nested(0, 1 << 20, 1);
    for block in 0..blocks {
        table = table.alloc(0, 0x10_0000 + block * 128, 128);
    }
    let mut events = more(table).exit(0).events();
    let last = events.len() as u64;
    for event in &mut events {
        let late = event.number.0.saturating_sub(early) * seconds * 1_000_000_000 / (last - early);
        event.time_ns = if event.number.0 <= early { event.number.0 } else { late };
    }
    events
}

#[test]
fn an_arena_that_grows_through_a_long_run_is_noted() {
    let found = judge_events(&facts().build(), spread(2000, 20, 0, |table| table), GROWS);
    expect![[r#"
        note possible at #3: arena 1 grew through all 20 seconds of the run, to 250 KiB in 2000 blocks, and gave nothing back
          created at site 0, 1 times, 256000 bytes
          because no reset, rewind, free or destroy of it was seen, and every eighth of the run added its share
    "#]].assert_eq(&describe(&found));
    assert_eq!(found[0].certainty, Certainty::Possible);
}

#[test]
fn short_runs_early_arenas_and_emptied_ones_are_silent() {
    let silent = |events| assert_eq!(describe(&judge_events(&facts().build(), events, GROWS)), "");
    silent(spread(2000, 9, 0, |table| table));
    silent(spread(500, 20, 0, |table| table));
    silent(spread(2000, 20, 1990, |table| table));
    silent(spread(2000, 20, 0, |table| table.reset(0)));
    silent(spread(2000, 20, 0, |table| table.free(0, 0x10_0000)));
    silent(spread(2000, 20, 0, |table| table.destroy(0)));
    let child = facts().forked(7).build();
    assert_eq!(describe(&judge_events(&child, spread(2000, 20, 0, |table| table), GROWS)), "");
}

// ---- padding-waste ----

const PADDING: &str = "padding-waste";

/// `count` blocks whose sizes go round `sizes`, each rounded up to `align` with `header` bytes before it.
fn rounded(count: usize, sizes: &[u64], align: u64, header: u64) -> Table {
    let mut table = Table::new().map(0x10_0000, 1 << 20).at(0).create_nested(0, 1 << 20, 1);
    let mut at = 0x10_0000_u64;
    for size in sizes.iter().copied().cycle().take(count) {
        at = (at + header).next_multiple_of(align);
        table = table.alloc(0, at, size);
        at += size;
    }
    table
}

#[test]
fn bytes_lost_to_alignment_are_noted() {
    check(
        rounded(1000, &[20, 64, 33], 64, 0),
        PADDING,
        expect![[r#"
        note likely at #4: 24.3 KiB of 62.4 KiB that 1000 blocks of arena 1 and its like take are padding (39 %)
          allocated at site 0, 999 times, 24975 bytes
          because blocks begin at multiples of 64, and what lies between them is smaller than that; behind those of this call some 25 bytes each
    "#]],
    );
}

#[test]
fn headers_and_small_losses_are_silent() {
    let silent = |story| assert_eq!(describe(&judge(story, PADDING)), "");
    // Alike before each block: a header, or so it may be.
    silent(rounded(1000, &[48], 64, 16));
    silent(rounded(1000, &[20], 32, 0));
    // Few, or little of much.
    silent(rounded(100, &[20, 64, 33], 64, 0));
    silent(rounded(1000, &[1000, 1008, 999], 8, 0));
    silent(rounded(1000, &[20, 64, 33], 1, 0));
    // Others hand out blocks between these.
    let mut between = Table::new().map(0x10_0000, 1 << 20).at(0);
    for block in 0..1000_u64 {
        between = between.alloc(0, 0x10_0000 + block * 256 + (block % 3) * 16, 20);
    }
    silent(between);
}

#[test]
fn a_header_is_not_counted_as_padding() {
    let found = judge(rounded(1000, &[20, 48, 33], 64, 16), PADDING);
    assert_eq!(found.len(), 1);
    assert!(found[0].because.contains("the 16 bytes between any two of them may be a header"), "{}", found[0].because);
}

// ---- growth-waste ----

const GROWTH: &str = "growth-waste";

/// One block that doubles `times` times, each time to a new place because another one follows it.
fn doubling(times: u32, back: impl Fn(Table, u64) -> Table) -> Table {
    let mut table = Table::new().map(0x10_0000, 1 << 20).at(0).create_nested(0, 1 << 20, 1).alloc(0, 0x10_0000, 64);
    let (mut at, mut end, mut size) = (0x10_0000_u64, 0x10_0040_u64, 64_u64);
    for _ in 0..times {
        table = table.at(0).alloc(0, end, 16).at(1).resize(0, at, end + 16, size * 2);
        table = back(table, at);
        (at, end, size) = (end + 16, end + 16 + size * 2, size * 2);
    }
    table
}

#[test]
fn copies_left_behind_are_noted() {
    check(
        doubling(8, |table, _| table),
        GROWTH,
        expect![[r#"
        note likely at #6: 15.9 KiB lie in copies that growing blocks left behind, 49 % of all that was handed out: this call moved a block 8 times
          allocated at site 1, allocated at site 0, 8 times, 16320 bytes
          because a resize that moves leaves the old place as it is, and no later block began there
    "#]],
    );
}

#[test]
fn old_places_that_are_used_again_and_small_ones_are_no_waste() {
    let silent = |story| assert_eq!(describe(&judge(story, GROWTH)), "");
    silent(doubling(5, |table, _| table));
    silent(doubling(8, |table, old| table.at(0).alloc(0, old, 16)));
    let frees = facts().hook(Role::Free, "arena_give", &[Argument::Arena, Argument::Block], Result_::Ignored).build();
    assert_eq!(describe(&judge_events(&frees, doubling(8, |table, _| table).events(), GROWTH)), "");
    // After a reset the memory begins anew.
    let twice = doubling(8, |table, _| table).reset(0).alloc(0, 0x10_0000, 64);
    assert_eq!(judge(twice, GROWTH).len(), 1);
}

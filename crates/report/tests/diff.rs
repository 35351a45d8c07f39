//! Comparisons of two moments: which blocks, which bytes, how much by place; and the named questions.

#![expect(clippy::single_range_in_vec_init, reason = "lists of ranges are what is tested")]

use arenascope_event::{Address, ArenaKey, BlobId, CaptureReason, Event, EventKind, ProcessFacts};
use arenascope_replay::{Replay, What};
use arenascope_report::diff::{Diff, Side, differing, of_one_trace, of_two_traces};
use arenascope_report::diff_text::{self, Head};
use arenascope_report::points::{Collector, Point};
use arenascope_report::questions::{Question, answer};
use arenascope_report::style::Style;
use arenascope_report::{json_diff, moment};
use arenascope_testkit::{Facts, MODULE, Table, play, plays, read};
use expect_test::{Expect, expect};
use proptest::prelude::*;
use std::collections::BTreeSet;

const BASE: u64 = 0x7f00_0000_0000;

fn points(facts: &ProcessFacts, events: &[Event], moments: &[u64]) -> Vec<Point> {
    let mut replay = Replay::new(facts);
    let mut collector = Collector::new(moments, replay.state());
    for event in events {
        let effect = replay.apply(event);
        collector.observe(event, &effect, replay.state());
    }
    collector.finish(replay.state())
}

type Blobs = Vec<Vec<u8>>;

fn side<'a>(
    point: &'a Point,
    facts: &'a ProcessFacts,
    blob: &'a dyn Fn(BlobId) -> Option<Vec<u8>>,
    dead_too: bool,
) -> Side<'a> {
    Side { point, facts, parent: None, blob, dead_too }
}

fn compared(facts: &ProcessFacts, events: &[Event], blobs: &Blobs, from: u64, to: u64) -> Diff {
    let blob = |id: BlobId| blobs.get(usize::try_from(id.0).ok()?).cloned();
    let points = points(facts, events, &[from, to]);
    let (before, after) = (points.first().expect("a point"), points.last().expect("a point"));
    of_one_trace(&side(before, facts, &blob, false), &side(after, facts, &blob, false), None)
}

fn text(diff: &Diff, style: Style) -> String {
    let names = diff_text::file_names(diff_text::sites(diff), "/src");
    let head = Head { program: "/bin/prog", pids: &[7], events: &[40] };
    let mut text = String::new();
    diff_text::write(&mut text, diff, &head, &names, &style).expect("a String takes everything");
    text
}

fn check(facts: &ProcessFacts, table: &Table, blobs: &Blobs, from: u64, to: u64, expected: Expect) {
    let diff = compared(facts, &table.events(), blobs, from, to);
    for width in [40, 64, 120] {
        for line in text(&diff, Style { width, ..Style::PIPE }).lines() {
            let longest = line.split(' ').map(|word| word.chars().count()).max().unwrap_or(0);
            assert!(line.chars().count() <= width.max(longest + 16), "{width}: {line}");
        }
    }
    assert!(text(&diff, Style { plain: true, ..Style::PIPE }).is_ascii());
    let json: serde_json::Value = serde_json::from_str(&json_diff::diff(&["t".to_owned()], &diff)).expect("JSON");
    assert_eq!(json["arenas"].as_array().map(Vec::len), Some(diff.arenas.len()));
    expected.assert_eq(&text(&diff, Style::PIPE));
}

fn facts() -> ProcessFacts {
    Facts::new()
        .alloc("arena_alloc")
        .site("main", "/src/a.c", 10, read())
        .site("fill", "/src/a.c", 20, read())
        .site("grow", "/src/a.c", 30, read())
        .build()
}

fn mark(table: Table, name: &str, blob: u32, bytes: &mut Blobs, content: &[u8]) -> Table {
    assert_eq!(blob as usize, bytes.len());
    bytes.push(content.to_vec());
    let capture = EventKind::Capture {
        arena: ArenaKey(0),
        reason: CaptureReason::UserMark,
        base: Address(BASE),
        len: content.len() as u64,
        bytes: BlobId(blob),
    };
    table.event(capture).event(EventKind::UserMark { name: name.into() })
}

/// Three blocks of 32 bytes; between the marks one is freed, one comes, one moves, and bytes of one change.
fn story() -> (Table, Blobs, [u64; 2]) {
    let mut blobs = Blobs::new();
    let mut content = vec![0u8; 160];
    content[32..45].copy_from_slice(b"Second block.");
    content[64..70].copy_from_slice(b"Third!");
    let table = Table::new().at(0).map(BASE, 4096).create(0, 256);
    let table = table.at(1).alloc(0, BASE, 32).alloc(0, BASE + 32, 32).at(0).alloc(0, BASE + 64, 32);
    let table = mark(table, "before", 0, &mut blobs, &content);
    let from = table.moment().0;
    content[40..44].copy_from_slice(b"BOOM");
    let table = table.free(0, BASE + 64).at(2).alloc(0, BASE + 96, 48).resize(0, BASE, BASE + 144, 16);
    let table = mark(table, "after", 1, &mut blobs, &content);
    let to = table.moment().0;
    let table = table.at(1).alloc(0, BASE + 160, 8);
    (table.destroy(0).unmap(BASE, 4096), blobs, [from, to])
}

#[test]
fn what_appeared_died_moved_and_changed() {
    let (table, blobs, [from, to]) = story();
    check(
        &facts(),
        &table,
        &blobs,
        from,
        to,
        expect![[r#"
        prog · pid 7 · #8 to #13 of 40 events (5.00 us)

        arena 1 "arena"   3 blocks of 96 B → 3 blocks of 96 B
          changed    block 2, 32 bytes at +32   fill  a.c:20
                     4 bytes: 8-11
            before, saved at #7 (user-mark)
             +0  53 65 63 6f 6e 64 20 62  6c 6f 63 6b 2e 00 00 00  Second block....
                                          ^^ ^^ ^^ ^^                      ^^^^
            +16  00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00  ................
            after, saved at #12 (user-mark)
             +0  53 65 63 6f 6e 64 20 62  42 4f 4f 4d 2e 00 00 00  Second bBOOM....
                                          ^^ ^^ ^^ ^^                      ^^^^
            +16  00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00  ................
          died       block 3, 32 bytes at +64, freed   main  a.c:10
          appeared   block 4, 48 bytes at +96, #10   grow  a.c:30
          moved      block 1, 32 bytes at +0 → 16 bytes at +144   fill  a.c:20

        growth by place
               +48 B   0 → 1 block   1 handed out   grow  a.c:30
               -16 B   2 → 2 blocks   fill  a.c:20
               -32 B   1 → 0 blocks   main  a.c:10
    "#]],
    );
    check(
        &facts(),
        &table,
        &blobs,
        from,
        from,
        expect![[r#"
        prog · pid 7 · #8 to #8 of 40 events (0 ns)

        nothing differs

        1 arena with the same blocks on both sides; bytes of 3 blocks were not saved at both moments
    "#]],
    );
    check(
        &facts(),
        &table,
        &blobs,
        to,
        table.moment().0,
        expect![[r#"
        prog · pid 7 · #13 to #16 of 40 events (3.00 us)

        arena 1 "arena", destroyed   3 blocks of 96 B → 0 blocks of 0 B
          died       block 2, 32 bytes at +32, destroyed   fill  a.c:20
          died       block 4, 48 bytes at +96, destroyed   grow  a.c:30
          died       block 1, 16 bytes at +144, destroyed   fill  a.c:20

        growth by place
               -48 B   2 → 0 blocks   1 handed out   fill  a.c:20
               -48 B   1 → 0 blocks   grow  a.c:30
    "#]],
    );
    check(
        &facts(),
        &table,
        &blobs,
        0,
        from - 2,
        expect![[r#"
        prog · pid 7 · start to #6 of 40 events (6.00 us)

        arena 1 "arena", new   0 blocks of 0 B → 3 blocks of 96 B
          appeared   block 1, 32 bytes at +0, #4   fill  a.c:20
          appeared   block 2, 32 bytes at +32, #5   fill  a.c:20
          appeared   block 3, 32 bytes at +64, #6   main  a.c:10

        growth by place
               +64 B   0 → 2 blocks   2 handed out   fill  a.c:20
               +32 B   0 → 1 block   1 handed out   main  a.c:10
    "#]],
    );
    check(
        &facts(),
        &table,
        &blobs,
        from - 2,
        from,
        expect![[r#"
        prog · pid 7 · #6 to #8 of 40 events (2.00 us)

        nothing differs

        1 arena with the same blocks on both sides; bytes of 3 blocks were not saved at both moments
    "#]],
    );
}

#[test]
fn marks_are_moments() {
    let (table, _, [from, to]) = story();
    let resolve =
        |text: &str| moment::resolve(&moment::parse(text).expect("a moment"), table.events().into_iter(), &[]);
    assert_eq!((resolve("before"), resolve("after"), resolve("after@1")), (Ok(from), Ok(to), Ok(to)));
    let error = resolve("after@2").expect_err("one only");
    assert!(error.to_string().contains("there are before, after"), "{error}");
}

/// A write that goes over the end of block 1 into block 2, and two writes that each stay where they belong.
#[test]
fn a_run_of_changes_over_a_border_is_told_and_no_other() {
    let run = |before: &[u8], after: &[u8]| {
        let mut blobs = Blobs::new();
        let table = Table::new().at(0).map(BASE, 4096).create(0, 256).alloc(0, BASE, 20).alloc(0, BASE + 24, 24);
        let table = mark(table, "a", 0, &mut blobs, before);
        let from = table.moment().0;
        let table = mark(table, "b", 1, &mut blobs, after);
        let to = table.moment().0;
        let diff = compared(&facts(), &table.events(), &blobs, from, to);
        let changes = diff.arenas.into_iter().flat_map(|arena| arena.changes);
        changes.filter_map(|change| change.bytes.and_then(|bytes| bytes.run_from)).collect::<Vec<_>>()
    };
    let zero = [0u8; 48];
    let filled = |ranges: &[std::ops::Range<usize>]| {
        let mut bytes = zero;
        for range in ranges {
            bytes[range.clone()].fill(b'A');
        }
        bytes
    };
    assert_eq!(run(&zero, &filled(&[10..28])), [(1, 10)], "over the end, over the padding, into the next");
    for (ranges, why) in [
        (&[10..20, 24..28][..], "the padding between them is untouched"),
        (&[0..48], "the second block was written to its end: perhaps by its owner"),
        (&[24..30], "the first block is untouched"),
        (&[10..28, 40..41], "the second block was written elsewhere too"),
        (&[20..28], "it begins in the padding"),
    ] {
        assert_eq!(run(&zero, &filled(ranges)), [], "{why}");
    }
}

#[test]
fn two_traces_are_matched_by_site_and_order() {
    let facts = facts();
    let run = |base: u64, extra: bool, other: bool| {
        let table = Table::new().at(0).map(base, 4096).create(0, 256).at(if other { 2 } else { 1 });
        let table = table.alloc(0, base, 32).alloc(0, base + 32, if extra { 64 } else { 32 });
        let table = if extra { table.at(2).alloc(0, base + 128, 8) } else { table };
        table.at(0).destroy(0).unmap(base, 4096).events()
    };
    let diff = |left: &[Event], right: &[Event], right_facts: &ProcessFacts| {
        let (left, right) = (points(&facts, left, &[u64::MAX]), points(right_facts, right, &[u64::MAX]));
        let none = |_: BlobId| None;
        of_two_traces(&side(&left[0], &facts, &none, true), &side(&right[0], right_facts, &none, true), None)
    };
    let same = diff(&run(BASE, false, false), &run(0x5500_0000_0000, false, false), &facts);
    assert!(same.arenas.is_empty() && same.places.is_empty() && same.alike == 1, "{same:?}");
    let more = diff(&run(BASE, false, false), &run(0x5500_0000_0000, true, false), &facts);
    let changes: Vec<&str> = more.arenas[0].changes.iter().map(arenascope_report::diff::BlockChange::what).collect();
    assert_eq!(changes, ["resized", "appeared"]);
    let growth: Vec<i128> = more.places.iter().map(arenascope_report::diff::PlaceDiff::growth).collect();
    assert_eq!(growth, [32, 8]);
    assert!(!more.nothing_in_common);
    let elsewhere = Facts::new().site("start", "/src/b.c", 1, read()).site("x", "/src/b.c", 2, read()).build();
    assert!(diff(&run(BASE, false, false), &run(BASE, false, false), &elsewhere).nothing_in_common);
}

#[test]
fn questions_are_answered_by_place() {
    let (table, _, [from, to]) = story();
    let facts = facts();
    let none = |_: BlobId| None;
    let mut told = String::new();
    for question in Question::ALL {
        let moments = [from, to, to + 1];
        let points = points(&facts, &table.events(), &moments);
        let sides: Vec<Side<'_>> =
            points.iter().take(question.moments()).map(|point| side(point, &facts, &none, false)).collect();
        let answer = answer(question, &sides, None);
        let names = diff_text::file_names(answer.places.iter().filter_map(|place| place.site.as_ref()), "");
        let head = Head { program: "/bin/prog", pids: &[7], events: &[40] };
        diff_text::answer(&mut told, &answer, &head, &names, &Style::PIPE).expect("a String takes everything");
        let json: serde_json::Value = serde_json::from_str(&json_diff::answer(&[], &answer)).expect("JSON");
        assert_eq!(json["blocks"].as_u64(), Some(answer.blocks()), "{json}");
    }
    expect![[r#"
        prog · pid 7 · active: living at #8
        3 blocks of 96 B

                64 B   2 blocks   fill  a.c:20   first block 1 of arena 1, #4
                32 B   1 block   main  a.c:10   block 3 of arena 1, #6
        prog · pid 7 · growth: allocated after #8, still living at #13
        1 block of 48 B

                48 B   1 block   grow  a.c:30   block 4 of arena 1, #10
        prog · pid 7 · decline: living at #8, gone at #13
        1 block of 32 B

                32 B   1 block   main  a.c:10   block 3 of arena 1, #6
        prog · pid 7 · short-lived: allocated after #8, gone at #13
        no block
        prog · pid 7 · long-lived: living at #8, still living at #13
        2 blocks of 48 B

                48 B   2 blocks   fill  a.c:20   first block 1 of arena 1, #4
        prog · pid 7 · leak: allocated after #8 and not after #13, still living at #14
        1 block of 48 B

                48 B   1 block   grow  a.c:30   block 4 of arena 1, #10

        a block that is meant to live longer is no leak; nor is one that its arena's end will take
    "#]]
    .assert_eq(&told);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Against sets of blocks, made the stupid way from every effect.
    #[test]
    fn questions_agree_with_sets_of_blocks(played in plays(60), cut in (0u64..60, 0u64..60, 0u64..60)) {
        let (facts, events) = (Facts::new().module(MODULE.0, MODULE.1).build(), play(&played));
        let mut moments = [cut.0, cut.1, cut.2];
        moments.sort_unstable();
        moments = moments.map(|moment| moment.min(events.len() as u64));
        let points = points(&facts, &events, &moments);
        let at = |moment: u64| points.iter().find(|point| point.moment.event == moment).expect("every moment has a point");
        let living = |moment: u64| -> BTreeSet<(u32, u64)> {
            let arenas = at(moment).state.living_arenas();
            arenas.flat_map(|arena| arena.blocks().into_iter().map(|block| (arena.id.0, block.number))).collect()
        };
        let mut replay = Replay::new(&facts);
        let mut born: Vec<((u32, u64), u64)> = Vec::new();
        for event in &events {
            let effect = replay.apply(event);
            if let (What::Allocated, Some(arena), Some(block)) = (effect.what, effect.arena, &effect.block) {
                born.push(((arena.0, block.number), event.number.0));
            }
        }
        let [a, b, c] = moments;
        let (at_a, at_b, at_c) = (living(a), living(b), living(c));
        let after = |from: u64, to: u64| born.iter().filter(move |(_, event)| *event > from && *event <= to).map(|(block, _)| *block);
        let expected = |question| match question {
            Question::Active => at_a.len(),
            Question::Growth => after(a, b).filter(|block| at_b.contains(block)).count(),
            Question::Decline => at_a.difference(&at_b).count(),
            Question::ShortLived => after(a, b).filter(|block| !at_b.contains(block)).count(),
            Question::LongLived => at_a.intersection(&at_b).count(),
            Question::Leak => after(a, b).filter(|block| at_c.contains(block)).count(),
        };
        let none = |_: BlobId| None;
        for question in Question::ALL {
            let sides: Vec<Side<'_>> =
                moments.iter().take(question.moments()).map(|moment| side(at(*moment), &facts, &none, false)).collect();
            prop_assert_eq!(answer(question, &sides, None).blocks(), expected(question) as u64, "{:?} {:?}", question, moments);
        }
    }

    #[test]
    fn differing_bytes_are_those_that_differ(left in proptest::collection::vec(0u8..3, 0..40), right in proptest::collection::vec(0u8..3, 0..40)) {
        let ranges = differing(&left, &right);
        prop_assert!(ranges.windows(2).all(|pair| pair[0].end < pair[1].start));
        for index in 0..left.len().min(right.len()) {
            prop_assert_eq!(ranges.iter().any(|range| range.contains(&index)), left[index] != right[index]);
        }
    }
}

//! Rules that read captured bytes: planted faults and their mended twins, one story each.

use arenascope_event::{
    Address, ArenaKey, Argument, BlobId, CaptureReason, EventKind, ProcessFacts, Result_, Role, ThreadNumber,
};
use arenascope_findings::{Certainty, Finding, RULES, findings};
use arenascope_testkit::{Facts, Table, read};
use expect_test::{Expect, expect};
use std::fmt::Write;

/// A story whose captures have bytes of their own.
struct Story {
    table: Table,
    blobs: Vec<Vec<u8>>,
}

impl Story {
    fn new(table: Table) -> Story {
        Story { table, blobs: Vec::new() }
    }

    fn then(mut self, more: impl FnOnce(Table) -> Table) -> Story {
        self.table = more(self.table);
        self
    }

    fn capture(mut self, reason: CaptureReason, base: u64, bytes: &[u8]) -> Story {
        let blob = BlobId(u32::try_from(self.blobs.len()).unwrap());
        self.blobs.push(bytes.to_vec());
        let len = bytes.len() as u64;
        let kind = EventKind::Capture { arena: ArenaKey(0), reason, base: Address(base), len, bytes: blob };
        self.table = self.table.event(kind);
        self
    }

    fn judge(&self, facts: &ProcessFacts, rule: &str) -> Vec<Finding> {
        let all = findings(facts, self.table.events(), |blob| self.blobs.get(blob.0 as usize));
        all.into_iter().filter(|finding| finding.rule == rule).collect()
    }
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
        for one in &finding.evidence {
            writeln!(text, "  {} at {:+}, {} bytes: {:?}", one.label, one.offset, one.bytes.len(), one.damaged)
                .unwrap();
        }
        assert!(!finding.disproof.is_empty() && !finding.next.is_empty());
        assert!(RULES.iter().any(|rule| rule.name == finding.rule));
    }
    text
}

fn facts() -> Facts {
    Facts::new()
        .alloc("arena_alloc")
        .site("main", "prog.c", 10, read())
        .site("main", "prog.c", 20, read())
        .site("main", "prog.c", 30, read())
        .site("main", "prog.c", 40, read())
        .site("main", "prog.c", 50, read())
        .site("main", "prog.c", 60, read())
        .waited(0)
}

/// `text` at the start of `size` zeros.
fn holding(text: &str, size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    bytes[..text.len()].copy_from_slice(text.as_bytes());
    bytes
}

fn check(story: &Story, rule: &str, expected: Expect) {
    expected.assert_eq(&describe(&story.judge(&facts().build(), rule)));
}

// ---- stale-bytes ----

const LOGIN: &str = "user=ada password=correct horse";

/// Lab 15b: a login, a reset, a message in the same place that nobody writes. Sites: 0 the login, 1 the reset, 2 the message.
fn reset_and_again(before: &[u8], after: &[u8]) -> Story {
    reset_and_later(before, after, after)
}

/// The same, with what lies in the message's place at the end.
fn reset_and_later(before: &[u8], after: &[u8], end: &[u8]) -> Story {
    Story::new(Table::new().map(0x1000, 4096).at(0).alloc(0, 0x1000, 64).at(1))
        .capture(CaptureReason::Reset, 0x1000, before)
        .then(|table| table.reset(0).at(2))
        .capture(CaptureReason::Alloc, 0x1000, after)
        .then(|table| table.alloc(0, 0x1000, 64))
        .capture(CaptureReason::Exit, 0x1000, end)
        .then(|table| table.exit(0))
}

/// A block that dies by `end`, and one that is handed out in its place, showing `shown`.
fn again_after(end: impl FnOnce(Table) -> Table, shown: &[u8]) -> Story {
    Story::new(end(Table::new().map(0x1000, 4096).mark(0, 0x1000).at(0).alloc(0, 0x1000, 64).at(1)).at(2))
        .capture(CaptureReason::Alloc, 0x1000, shown)
        .then(|table| table.alloc(0, 0x1000, 64))
}

#[test]
fn a_block_that_shows_what_lay_there_before_the_reset_is_noted() {
    let bytes = holding(LOGIN, 64);
    check(
        &reset_and_again(&bytes, &bytes),
        "stale-bytes",
        expect![[r#"
        note certain at #7: block 2 of arena 1 (at +0) shows 31 bytes of block 1, from before the reset
          allocated at site 2, reset at site 1, allocated at site 0, 1 times, 31 bytes
          because they held "user=ada password=correct horse", which stood at the same place before the reset at #5. At #8 they still lay there: nobody had written over them
          block 2 when it was handed out at +0, 64 bytes: [0..31]
    "#]],
    );
}

#[test]
fn cleared_filled_or_rewritten_blocks_show_nothing() {
    let before = holding(LOGIN, 64);
    let link = |at: usize| {
        let mut bytes = vec![0; 64];
        bytes[at..at + 8].copy_from_slice(&0x1800_u64.to_le_bytes());
        bytes
    };
    let pattern: Vec<u8> = [0xde, 0xad, 0xbe, 0xef].iter().copied().cycle().take(64).collect();
    for after in
        [vec![0; 64], vec![0xcd; 64], holding("a header of 31 bytes, all of it", 64), link(0), link(40), pattern]
    {
        let found = reset_and_again(&before, &after).judge(&facts().build(), "stale-bytes");
        assert_eq!(describe(&found), "", "{after:?}");
        let found = reset_and_again(&after, &after).judge(&facts().build(), "stale-bytes");
        let expected = usize::from(after.starts_with(b"a header"));
        assert_eq!(found.len(), expected, "{after:?}");
    }
}

#[test]
fn only_what_is_equal_is_shown_as_stale() {
    let mut after = holding(LOGIN, 64);
    after[..8].copy_from_slice(b"\x40\0\0\0\0\0\0\0");
    let found = reset_and_again(&holding(LOGIN, 64), &after).judge(&facts().build(), "stale-bytes");
    assert_eq!((found.len(), found[0].bytes), (1, 23));
    assert_eq!(found[0].evidence[0].damaged.as_slice(), std::slice::from_ref(&(8..31)));
}

#[test]
fn after_a_rewind_or_a_free_it_is_likely() {
    let bytes = holding(LOGIN, 64);
    let rewound = again_after(|table| table.rewind(0, 0x1000), &bytes).capture(CaptureReason::Exit, 0x1000, &bytes);
    check(
        &rewound,
        "stale-bytes",
        expect![[r#"
        note likely at #7: block 2 of arena 1 (at +0) shows 31 bytes of block 1, from before the rewind
          allocated at site 2, rewound at site 1, allocated at site 0, 1 times, 31 bytes
          because they held "user=ada password=correct horse", which lay there when the block was handed out, after the rewind at #5; the bytes before it were not captured. At #8 they still lay there: nobody had written over them
          block 2 when it was handed out at +0, 64 bytes: [0..31]
    "#]],
    );
    let freed =
        |bytes: &[u8]| again_after(|table| table.free(0, 0x1000), bytes).capture(CaptureReason::Exit, 0x1000, bytes);
    let found = freed(&holding(LOGIN, 64)).judge(&facts().build(), "stale-bytes");
    assert_eq!((found.len(), found[0].certainty, found[0].evidence[0].damaged[0].start), (1, Certainty::Likely, 16));
    // Sixteen bytes at its start are the allocator's.
    assert_eq!(describe(&freed(&holding("0123456789abcdef", 64)).judge(&facts().build(), "stale-bytes")), "");
}

#[test]
fn a_block_that_its_owner_wrote_is_silent() {
    let bytes = holding(LOGIN, 64);
    let rule = "stale-bytes";
    let mut at_the_end = bytes.clone();
    at_the_end[63] = 1;
    // Filled with a shorter text, with a longer one, cleared, or written anywhere in what was looked at.
    for end in [holding("hi\0", 64), holding("a message that is longer than the login", 64), vec![0; 64], at_the_end] {
        let found = reset_and_later(&bytes, &bytes, &end).judge(&facts().build(), rule);
        assert_eq!(describe(&found), "", "{end:?}");
    }
    // Freed, handed out again unseen, or never looked at again: nobody knows.
    let rewound = || again_after(|table| table.rewind(0, 0x1000), &bytes);
    let ends: [fn(Table) -> Table; 4] = [
        |table| table.free(0, 0x1000),
        |table| table.alloc(0, 0x1000, 64),
        |table| table.rewind(0, 0x1000).alloc(0, 0x1020, 8),
        |table| table.resize(0, 0x1100, 0x1020, 8),
    ];
    for (index, end) in ends.into_iter().enumerate() {
        let story = rewound().then(end).capture(CaptureReason::Exit, 0x1000, &bytes);
        assert_eq!(describe(&story.judge(&facts().build(), rule)), "", "{index}");
    }
    assert_eq!(rewound().judge(&facts().build(), rule).len(), 0);
    // The next round of a loop: the same calls may have written the same bytes.
    let round = Story::new(Table::new().map(0x1000, 4096).mark(0, 0x1000).at(0).alloc(0, 0x1000, 64).rewind(0, 0x1000))
        .capture(CaptureReason::Alloc, 0x1000, &bytes)
        .then(|table| table.alloc(0, 0x1000, 64))
        .capture(CaptureReason::Exit, 0x1000, &bytes);
    assert_eq!(round.judge(&facts().build(), rule).len(), 0);
}

#[test]
fn what_the_next_block_in_the_same_place_shows_is_a_second_look() {
    let bytes = holding(LOGIN, 64);
    let next = |shown: &[u8]| {
        let story = again_after(|table| table.rewind(0, 0x1000), &bytes).then(|table| table.rewind(0, 0x1000));
        story.capture(CaptureReason::Alloc, 0x1000, shown).then(|table| table.alloc(0, 0x1000, 32))
    };
    let found = next(&bytes[..32]).judge(&facts().build(), "stale-bytes");
    assert_eq!((found.len(), found[0].block.map(|block| block.number)), (1, Some(2)));
    assert!(found[0].because.ends_with("At #9 they still lay there: nobody had written over them"), "{found:?}");
    assert_eq!(next(&holding("a message", 32)).judge(&facts().build(), "stale-bytes").len(), 0);
}

#[test]
fn an_alloc_function_that_may_copy_or_lost_events_make_it_only_possible() {
    let copying = facts().hook(
        Role::Alloc,
        "arena_strndup",
        &[Argument::Arena, Argument::Ignored, Argument::Size],
        Result_::Block,
    );
    let bytes = holding(LOGIN, 64);
    for facts in [copying, facts().lost(1)] {
        let found = reset_and_again(&bytes, &bytes).judge(&facts.build(), "stale-bytes");
        assert_eq!((found.len(), found[0].certainty), (1, Certainty::Possible));
    }
}

#[test]
fn bytes_of_another_thread_or_another_block_are_not_mixed_up() {
    let bytes = holding(LOGIN, 64);
    let story = Story::new(Table::new().map(0x1000, 4096).at(0).alloc(0, 0x1000, 64).at(1))
        .capture(CaptureReason::Reset, 0x1000, &bytes)
        .then(|table| table.reset(0).at(2))
        .capture(CaptureReason::Alloc, 0x1000, &bytes)
        .then(|table| table.thread(2).alloc(0, 0x1000, 64).thread(1).alloc(0, 0x1040, 64));
    assert_eq!(describe(&story.judge(&facts().build(), "stale-bytes")), "");
}

#[test]
fn many_calls_are_few_notes() {
    let bytes = holding(LOGIN, 64);
    let mut story = Story::new(Table::new().map(0x1000, 4096).nowhere());
    for site in [0, 1, 2, 3, 4, 5, 0, 1] {
        story = story
            .then(|table| table.at(site).alloc(0, 0x1000, 64).nowhere())
            .capture(CaptureReason::Reset, 0x1000, &bytes)
            .then(|table| table.reset(0).at(site))
            .capture(CaptureReason::Alloc, 0x1000, &bytes);
    }
    let found = story.judge(&facts().build(), "stale-bytes");
    assert_eq!(found.len(), 1, "{}", describe(&found));
    assert!(found[0].message.ends_with("(2 times here); so do those of 5 more calls"), "{}", found[0].message);
    assert_eq!((found[0].count, found[0].calls.len()), (2, 6));
    assert!(found.iter().all(|one| one.threads == [ThreadNumber(1)]));
}

// ---- cursor-corrupted ----

/// Blocks of 64 bytes; the second holds `text`, and the third begins `kept` bytes inside it, and says so `times` times.
fn set_back(text: &str, kept: u64, times: u64) -> Vec<Finding> {
    let mut story = Table::new().map(0x1000, 4096).seen(0, 0x7000_0000).at(0).alloc(0, 0x1000, 64);
    let word = |offset: u64| [0x1000_u64, offset, 4096].iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
    let mut at = 0x1040;
    for _ in 0..times {
        let (before, after) = (word(at + 64 - 0x1000), word(at + kept + 64 - 0x1000));
        let address = Address(0x7000_0000);
        story = story.at(1).alloc(0, at, 64);
        story = story.event(EventKind::ObjectChanged { arena: ArenaKey(0), address, before, after });
        story = story.at(2).alloc(0, at + kept, 64);
        at += kept + 64;
    }
    let mut bytes = vec![0; 64];
    bytes.extend(holding(text, kept as usize));
    bytes.extend(holding("third", 64));
    let story = Story::new(story).capture(CaptureReason::Destroy, 0x1000, &bytes);
    story.then(|table| table.destroy(0).exit(0)).judge(&facts().build(), "cursor-corrupted")
}

#[test]
fn a_cursor_set_back_into_the_last_block_is_noted_unless_it_gives_back_what_is_left() {
    expect![[r#"
        note possible at #6: 64 bytes, block 3 of arena 1: begins 24 bytes inside block 2, the last one before it
          allocated at site 2, allocated at site 1, 1 times, 64 bytes
          because the cursor in the arena object stood at +128 after the block before, and no call that was seen moved it until #6; who gives back the end of a block by hand sets the cursor to where its written bytes end, and these end more than 16 bytes before
          the arena object after the block before at +0, 24 bytes: []
          after this block at +0, 24 bytes: [8..16]
    "#]]
    .assert_eq(&describe(&set_back("second", 24, 1)));
    // To the end of what was written, rounded up; a block that nobody wrote; a program that does so again.
    for (text, kept, times) in [("second", 8, 1), ("second", 16, 1), ("a text of 24 bytes, full", 24, 1), ("", 24, 1)] {
        assert_eq!(describe(&set_back(text, kept, times)), "", "{text} {kept}");
    }
    assert_eq!(describe(&set_back("second", 24, 2)), "");
}

// ---- stale-pointer-after-resize ----

const STALE: &str = "stale-pointer-after-resize";

/// Lab 13b: block 1 at +0 moves to +64; what lies at +0 just after the move, and at the end.
fn moved(left: &[u8], between: impl FnOnce(Table) -> Table, end: &[u8]) -> Story {
    let whole: Vec<u8> = end.iter().copied().chain(std::iter::repeat_n(0, 128 - end.len())).collect();
    Story::new(Table::new().map(0x1000, 4096).at(0).alloc(0, 0x1000, 32).at(1).alloc(0, 0x1020, 32).at(2))
        .capture(CaptureReason::Resize, 0x1000, left)
        .then(|table| between(table.resize(0, 0x1000, 0x1040, 64)))
        .capture(CaptureReason::Destroy, 0x1000, &whole)
        .then(|table| table.destroy(0).exit(0))
}

fn stale(story: &Story) -> usize {
    story.judge(&facts().build(), STALE).len()
}

#[test]
fn a_write_to_where_the_block_was_is_found() {
    // As many bytes as the new block has were saved: those past the old one are its neighbour's.
    let left = [holding("one, two", 32), holding("another block", 32)].concat();
    check(
        &moved(&left, |table| table, &holding("ONE\0 two", 32)),
        STALE,
        expect![[r#"
        finding certain at #6: block 1 of arena 1 was resized and moved from +0 to +64, and 4 bytes of its old place were written afterwards
          allocated at site 2, allocated at site 0, 1 times, 4 bytes
          because between the resize at #6 and #7 these bytes changed; nobody was handed them, and nothing of this arena was freed meanwhile
          the old place just after the move at -64, 32 bytes: []
          the same at #7 at -64, 32 bytes: [0..4]
    "#]],
    );
}

#[test]
fn what_nobody_wrote_is_silent() {
    let left = holding("one, two", 32);
    assert_eq!(stale(&moved(&left, |table| table, &left)), 0);
    // The neighbour goes on using its own bytes.
    let end = [left.clone(), holding("changed", 32)].concat();
    assert_eq!(stale(&moved(&[left, holding("another", 32)].concat(), |table| table, &end)), 0);
}

#[test]
fn a_place_handed_out_freed_or_gone_back_over_is_no_longer_anybodys_fault() {
    let left = holding("one, two", 32);
    let end = holding("ONE", 32);
    assert_eq!(stale(&moved(&left, |table| table, &end)), 1);
    let between: [fn(Table) -> Table; 6] = [
        |table| table.alloc(0, 0x1000, 16),
        |table| table.alloc(0, 0x1008, 8),
        |table| table.free(0, 0x1020),
        |table| table.rewind(0, 0x1020),
        |table| table.reset(0),
        |table| table.alloc(1, 0x1010, 8),
    ];
    for (index, between) in between.into_iter().enumerate() {
        assert_eq!(stale(&moved(&left, between, &end)), 0, "{index}");
    }
}

/// With a function that frees, the allocator may keep lists in what it took back: then it is likely where the arena never
/// freed a block, and nothing it did since can have touched its lists.
#[test]
fn where_blocks_can_be_freed_only_what_no_list_explains_is_likely() {
    let frees = || facts().hook(Role::Free, "arena_give", &[Argument::Arena, Argument::Block], Result_::Ignored);
    let left = holding("one, two", 32);
    let end = holding("ONE\0 two", 32);
    let found = moved(&left, |table| table.mark(0, 7), &end).judge(&frees().build(), STALE);
    assert_eq!((found.len(), found[0].certainty), (1, Certainty::Likely));
    // What the arena hands out afterwards may come from a list, and what was freed before may be on one.
    assert_eq!(stale(&moved(&left, |table| table.alloc(0, 0x1800, 16), &end)), 1);
    assert_eq!(moved(&left, |table| table.alloc(0, 0x1800, 16), &end).judge(&frees().build(), STALE).len(), 0);
    let whole: Vec<u8> = end.iter().copied().chain([0; 96]).collect();
    let freed_before = Story::new(
        Table::new().map(0x1000, 4096).at(0).alloc(0, 0x1000, 32).alloc(0, 0x1020, 32).free(0, 0x1020).at(2),
    )
    .capture(CaptureReason::Resize, 0x1000, &left)
    .then(|table| table.resize(0, 0x1000, 0x1040, 64))
    .capture(CaptureReason::Destroy, 0x1000, &whole)
    .then(|table| table.destroy(0).exit(0));
    assert_eq!(stale(&freed_before), 1);
    assert_eq!(freed_before.judge(&frees().build(), STALE).len(), 0);
    // Ends of lists, and links to a list's head in the arena object.
    let object = 0x7000_0000_u64;
    for word in [0, object + 24] {
        let mut link = left.clone();
        link[..8].copy_from_slice(&word.to_le_bytes());
        assert_eq!(moved(&left, |table| table, &link).judge(&frees().build(), STALE).len(), 0, "{word:#x}");
    }
}

#[test]
fn other_processes_may_write_to_shared_memory() {
    for (flags, found) in [(0x21, 0), (0x22, 1)] {
        let map = EventKind::Map { address: Address(0x1000), len: 4096, protection: 3, flags, observed: false };
        let story = Story::new(Table::new().event(map).at(0).alloc(0, 0x1000, 32).at(2))
            .capture(CaptureReason::Resize, 0x1000, &holding("one, two", 32))
            .then(|table| table.resize(0, 0x1000, 0x1040, 64))
            .capture(CaptureReason::Destroy, 0x1000, &holding("ONE", 128))
            .then(|table| table.destroy(0).exit(0));
        assert_eq!(stale(&story), found, "{flags:#x}");
    }
}

#[test]
fn what_an_allocator_may_write_is_no_use_of_the_old_place() {
    let left = holding("one, two", 32);
    let mut link = left.clone();
    link[..8].copy_from_slice(&0x1040_u64.to_le_bytes());
    let mut head = left.clone();
    head[8..16].copy_from_slice(&0x40_0010_u64.to_le_bytes());
    for end in [link, vec![0; 32], vec![0xdd; 32]] {
        assert_eq!(stale(&moved(&left, |table| table, &end)), 0, "{end:?}");
    }
    let story = moved(&left, |table| table, &head);
    assert_eq!(story.judge(&facts().module(0x40_0000, 0x41_0000).build(), STALE).len(), 0);
    let end = moved(&left, |table| table, &holding("ONE", 32));
    assert_eq!(end.judge(&facts().lost(1).build(), STALE).len(), 0);
}

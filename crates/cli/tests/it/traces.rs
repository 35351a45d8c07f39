//! Traces that are cut, flipped, empty, foreign or from the future: read as far as they go, or refused with status 3.

use crate::harness::{Outcome, Place, count, lab, long};

const VERBS: [&[&str]; 4] = [&["show"], &["log"], &["findings"], &["findings", "--json"]];

fn trace_of_09b(place: &Place) -> Vec<u8> {
    let source = lab("09b_arena_scope_leak_tracer.c");
    let outcome = place.arenascope(&["run".as_ref(), "-o".as_ref(), "whole.ascope".as_ref(), source.as_os_str()]);
    assert_eq!(outcome.status, 0, "{outcome:?}");
    std::fs::read(place.file("whole.ascope")).expect("a trace")
}

fn ask(place: &Place, verb: &[&str], bytes: &[u8]) -> Outcome {
    std::fs::write(place.file("asked.ascope"), bytes).expect("a file");
    let mut words = verb.to_vec();
    words.push("asked.ascope");
    place.arenascope(&words)
}

fn sane(outcome: &Outcome, what: &str) {
    assert!(outcome.status == 0 || outcome.status == 3, "{what}: {outcome:?}");
    assert!(!outcome.stderr.contains("panicked"), "{what}: {outcome:?}");
    if outcome.status == 3 {
        assert!(outcome.stderr.contains("asked.ascope"), "{what}: {outcome:?}");
    }
}

#[test]
fn cut_at_every_length() {
    let place = Place::new();
    let whole = trace_of_09b(&place);
    let step = if long() { 1 } else { (whole.len() / 150).max(1) };
    let lengths = (0..80).chain((80..whole.len()).step_by(step)).chain([whole.len() - 1]);
    let mut read = 0;
    for (turn, length) in lengths.filter(|length| *length < whole.len()).enumerate() {
        let verb = VERBS[turn % VERBS.len()];
        let outcome = ask(&place, verb, &whole[..length]);
        sane(&outcome, &format!("{verb:?} of the first {length} bytes"));
        read += usize::from(outcome.status == 0);
    }
    assert!(read > 0, "most lengths can be read as far as they go");
}

#[test]
fn with_flipped_bits() {
    let place = Place::new();
    let whole = trace_of_09b(&place);
    let data: Vec<usize> = (0..whole.len()).filter(|at| whole[*at] != 0).collect();
    let step = if long() { 1 } else { (data.len() / 150).max(1) };
    for (turn, at) in data.iter().step_by(step).enumerate() {
        let mut bytes = whole.clone();
        bytes[*at] ^= 1 << (turn % 8);
        let verb = VERBS[turn % VERBS.len()];
        sane(&ask(&place, verb, &bytes), &format!("{verb:?} with byte {at} flipped"));
    }
}

#[test]
fn empty_foreign_and_from_the_future() {
    let place = Place::new();
    let whole = trace_of_09b(&place);
    let mut future = whole.clone();
    // The version follows the magic (FORMAT.md, header page); the header's checksum stands where it holds for all before it.
    let sums = |page: &[u8], at: usize| page[at..at + 4] == arenascope_trace::crc32c(0, &page[..at]).to_le_bytes();
    let checksum = (12..4092).find(|at| sums(&whole, *at)).expect("the header has a checksum");
    future[8..12].copy_from_slice(&0x7fff_0000u32.to_le_bytes());
    let sum = arenascope_trace::crc32c(0, &future[..checksum]);
    future[checksum..checksum + 4].copy_from_slice(&sum.to_le_bytes());
    let rows: [(&str, &[u8], &str); 4] = [
        ("empty", b"", "empty"),
        ("text", b"#include <stdio.h>\nint main(void) { return 0; }\n", "not a trace"),
        ("a program", &std::fs::read(env!("CARGO_BIN_EXE_arenascope")).expect("ourselves")[..8192], "not a trace"),
        ("the future", &future, "version"),
    ];
    for (what, bytes, words) in rows {
        for verb in VERBS {
            let outcome = ask(&place, verb, bytes);
            assert_eq!(outcome.status, 3, "{what} {verb:?}: {outcome:?}");
            assert!(outcome.stderr.contains(words), "{what} {verb:?}: {outcome:?}");
            assert_eq!(outcome.stdout, "", "{what} {verb:?}");
        }
    }
    for verb in VERBS {
        let mut words = verb.to_vec();
        words.push("no-such.ascope");
        let outcome = place.arenascope(&words);
        assert_eq!(outcome.status, 3, "{outcome:?}");
        assert!(outcome.stderr.contains("no-such.ascope"), "{outcome:?}");
        words.pop();
        words.push(".");
        assert_eq!(place.arenascope(&words).status, 3, "a folder is no trace");
    }
}

#[test]
fn moments_that_are_not_there() {
    let place = Place::new();
    trace_of_09b(&place);
    for moment in ["#0", "#999999", "101%", "-1%", "9999s", "no-such-mark", "nofile.c:1@1", "@", ""] {
        let outcome = place.arenascope(&["show", "whole.ascope", "--at", moment]);
        assert!(outcome.status == 2 || (moment == "#0" && outcome.status == 0), "{moment:?}: {outcome:?}");
        assert!(outcome.status == 0 || !outcome.stderr.is_empty(), "{moment:?}: {outcome:?}");
    }
    for moment in ["#1", "#3", "start", "end", "0%", "50%", "100%", "0ms"] {
        let outcome = place.arenascope(&["show", "whole.ascope", "--at", moment]);
        assert_eq!(outcome.status, 0, "{moment:?}: {outcome:?}");
    }
}

#[test]
fn a_trace_is_read_without_its_program() {
    let place = Place::new();
    let program = place.cc(&lab("09b_arena_scope_leak_tracer.c").to_string_lossy(), &[]);
    let (outcome, _) = place.watch(&["-o", "t.ascope"], &program, &[]);
    assert_eq!(outcome.status, 0);
    std::fs::remove_file(program).expect("the program can be removed");
    let shown = place.arenascope(&["findings", "t.ascope"]);
    assert!(
        shown.stdout.contains("never-stored") && shown.stdout.contains("09b_arena_scope_leak_tracer.c:"),
        "{shown:?}"
    );
    assert_eq!(count(&place.log(&place.file("t.ascope")), "alloc"), 4);
}

#[test]
fn a_trace_without_its_end_says_where_it_ends() {
    let place = Place::new();
    let whole = trace_of_09b(&place);
    let cut = whole.get(..20_000).expect("a trace is longer");
    let outcome = ask(&place, &["show"], cut);
    assert_eq!(outcome.status, 0, "{outcome:?}");
    for text in ["the file ends at byte 20000 of at least ", "names of functions"] {
        assert!(outcome.stdout.contains(text), "{text}: {outcome:?}");
    }
}

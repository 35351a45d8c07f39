//! `diff`: two moments of the seed's 09b, two runs of it, and what no answer can be given to.

use crate::harness::{Place, accused, lab, line_of};
use serde_json::Value;

/// A folder with the traces `t.ascope` and `u.ascope` of two runs of 09b.
fn traced() -> Place {
    let place = Place::new();
    let program = place.cc(&lab("09b_arena_scope_leak_tracer.c").to_string_lossy(), &[]);
    for name in ["t.ascope", "u.ascope"] {
        let (outcome, screen) = place.watch(&["-o", name], &program, &[]);
        assert_eq!(outcome.status, 0, "{screen}");
    }
    place
}

fn json(place: &Place, words: &[&str]) -> Value {
    let said = place.arenascope(&[&["diff", "--json"], words].concat());
    assert_eq!(said.status, 0, "{said:?}");
    serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said:?}"))
}

/// The moments `[after the second alloc, after the last alloc]`.
fn moments(place: &Place) -> [String; 2] {
    let events = place.log(&place.file("t.ascope"));
    let allocs: Vec<u64> =
        events.iter().filter(|event| event["kind"] == "alloc").filter_map(|event| event["event"].as_u64()).collect();
    [allocs[1], allocs[3]].map(|event| format!("#{event}"))
}

#[test]
fn blocks_that_appear_between_two_moments() {
    let place = traced();
    let line = line_of(&lab("09b_arena_scope_leak_tracer.c"), "LAB: dropped");
    let [from, to] = moments(&place);
    let told = json(&place, &["t.ascope", "--from", &from, "--to", &to]);
    let changes = told["arenas"][0]["changes"].as_array().cloned().unwrap_or_default();
    let appeared: Vec<_> =
        changes.iter().map(|change| (change["what"].as_str(), change["after"]["number"].as_u64())).collect();
    assert_eq!(appeared, [(Some("appeared"), Some(3)), (Some("appeared"), Some(4))], "{told}");
    assert_eq!(changes[0]["site"][0]["line"], line, "{told}");
    assert_eq!(told["arenas"][0]["unknown"], 2, "09b saves its bytes at the end only: {told}");
    let text = place.arenascope(&["diff", "t.ascope", "--from", &from, "--to", &to]);
    for part in
        ["2 blocks of 64 B → 4 blocks of 128 B", "appeared   block 3, 32 bytes at +64", "growth by place", "unknown"]
    {
        assert!(text.stdout.contains(part), "{part}: {text:?}");
    }
    let plain = place.arenascope(&["diff", "t.ascope", "--plain"]);
    assert!(plain.status == 0 && plain.stdout.is_ascii(), "{plain:?}");
    let none = json(&place, &["t.ascope", "--from", &to, "--to", &to]);
    assert_eq!((&none["arenas"].as_array().map(Vec::len), &none["alike"]), (&Some(0), &1.into()), "{none}");
}

#[test]
fn the_named_questions() {
    let place = traced();
    let [from, to] = moments(&place);
    let blocks = |words: &[&str]| json(&place, &[&["t.ascope", "--rule"], words].concat())["blocks"].as_u64();
    assert_eq!(blocks(&["active", "--at", &from]), Some(2));
    assert_eq!(blocks(&["growth", "--from", &from, "--to", &to]), Some(2));
    assert_eq!(blocks(&["long-lived", "--from", &from, "--to", &to]), Some(2));
    assert_eq!(blocks(&["decline", "--from", &to]), Some(4), "arena_free takes them");
    assert_eq!(blocks(&["short-lived"]), Some(4));
    assert_eq!(blocks(&["leak", "--to", &from, "--and", &to]), Some(2));
    assert_eq!(blocks(&["leak", "--to", &from]), Some(0), "the arena's end took them");
    let text = place.arenascope(&["diff", "t.ascope", "--rule", "growth", "--from", &from, "--to", &to]);
    assert!(text.stdout.contains("2 blocks of 64 B") && text.stdout.contains("main  09b"), "{text:?}");
}

#[test]
fn two_runs_of_one_program_are_alike_whatever_their_addresses() {
    let place = traced();
    let same = json(&place, &["t.ascope", "u.ascope"]);
    assert_eq!((&same["alike"], same["arenas"].as_array().map(Vec::len)), (&1.into(), Some(0)), "{same}");
    let [from, to] = moments(&place);
    let differ = json(&place, &["t.ascope", "u.ascope", "--from", &from, "--to", &to]);
    let what: Vec<_> =
        differ["arenas"][0]["changes"].as_array().into_iter().flatten().map(|change| change["what"].clone()).collect();
    assert_eq!(what, ["appeared", "appeared"], "{differ}");
}

#[test]
fn what_cannot_be_compared_is_said() {
    let place = traced();
    let other = place.cc("null_mended.c", &["-O2"]);
    place.watch(&["-o", "other.ascope"], &other, &[]);
    let [from, to] = moments(&place);
    for (words, status, said) in [
        (&["t.ascope", "other.ascope"][..], 2, "no site in common"),
        (&["t.ascope", "--from", &to, "--to", &from], 2, "is later than"),
        (&["t.ascope", "--rule", "grwth"], 2, "active, growth, decline"),
        (&["t.ascope", "--rule", "growth", "--and", "end"], 2, "takes 2 moments"),
        (&["t.ascope", "u.ascope", "--rule", "growth"], 2, "one trace"),
        (&["t.ascope", "--from", "#99999"], 2, "there is no event #99999"),
        (&["t.ascope", "--from", "before"], 2, "no mark is named 'before'"),
        (&["t.ascope", "--arena", "nothing"], 2, "no arena has this number"),
        (&["none.ascope"], 3, "no such file"),
    ] {
        let outcome = place.arenascope(&[&["diff"], words].concat());
        assert_eq!(outcome.status, status, "{words:?}: {outcome:?}");
        assert!(outcome.stderr.contains(said) && outcome.stdout.is_empty(), "{words:?}: {outcome:?}");
    }
}

/// The seed's memcmp before and after: the program sets two marks, and the bytes between them are known.
#[test]
fn bytes_between_two_marks_of_the_program() {
    let builds = [("gcc", "-O0"), ("gcc", "-O2"), ("clang", "-O0"), ("clang", "-O2")];
    for (compiler, level) in builds {
        for mended in [false, true] {
            let place = Place::new();
            let flags: &[&str] = if mended { &[level, "-DMENDED"] } else { &[level] };
            let program = place.compile(compiler, "marks.c", flags);
            let (outcome, screen) = place.watch(&["-o", "t.ascope"], &program, &[]);
            assert_eq!((outcome, place.plain(&program, &[]).status), (place.plain(&program, &[]), 0), "{screen}");
            let told = json(&place, &["t.ascope", "--from", "before", "--to", "after"]);
            let changes = told["arenas"][0]["changes"].as_array().cloned().unwrap_or_default();
            let ranges: Vec<String> = changes.iter().map(|change| change["changed"]["ranges"].to_string()).collect();
            let expected: &[&str] = if mended { &["[[20,40]]"] } else { &["[[20,40]]", "[[0,8]]"] };
            assert_eq!(ranges, expected, "{compiler} {flags:?}: {told}\n{screen}");
            let run = changes.last().map(|change| change["changed"]["run_from"].clone()).unwrap_or_default();
            let from = if mended { Value::Null } else { serde_json::json!({ "block": 1, "offset": 20 }) };
            assert_eq!(run, from, "{told}");
            assert_eq!(accused(&place.findings(&place.file("t.ascope"))).len(), 0, "{screen}");
            let text = place.arenascope(&["diff", "t.ascope", "--from", "before", "--to", "after"]);
            let words = text.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
            assert_eq!(words.contains("as if block 1's owner wrote past its end"), !mended, "{text:?}");
            let marks = place.log(&place.file("t.ascope"));
            let names: Vec<_> =
                marks.iter().filter(|event| event["kind"] == "user-mark").map(|event| event["name"].clone()).collect();
            assert_eq!(names, ["before", "after"]);
        }
    }
}

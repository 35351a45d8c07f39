//! Forks: what both sides did to one arena, found where it is a mistake and silent where it is none.

use crate::harness::{Place, accused, line_of, noted, programs};
use serde_json::Value;
use std::path::Path;

const ROLES: [&str; 6] = [
    "--create",
    "arena_init(arena, size, _)",
    "--alloc",
    "arena_alloc(arena, size) -> block",
    "--reset",
    "arena_reset(arena)",
];

/// What the rules about forks say of a run: of the trace that the first process left.
fn said(program: &Path, place: &Place, how: &str) -> (Vec<Value>, Vec<Value>, String) {
    let (outcome, screen) = place.watch(&ROLES, program, &[how]);
    assert_eq!(outcome.status, 0, "{how}: {outcome:?}\n{screen}");
    let first = place.traces().into_iter().find(|trace| place.show(trace, &[])["process"]["pid"] == main_pid(place));
    let json = place.findings(&first.expect("a trace of the first process"));
    let about_forks = |all: Vec<Value>| -> Vec<Value> {
        all.into_iter().filter(|one| one["rule"].as_str().is_some_and(|rule| rule.starts_with("fork-"))).collect()
    };
    (about_forks(accused(&json)), about_forks(noted(&json)), screen)
}

/// The process whose trace has no fork id.
fn main_pid(place: &Place) -> Value {
    let mut pids = place.traces().into_iter().filter_map(|trace| {
        let said = place.arenascope(&["log".as_ref(), "--json".as_ref(), trace.as_os_str()]);
        let head: Value = serde_json::from_str(said.stdout.lines().next()?).ok()?;
        head["process"]["fork_id"].is_null().then(|| head["process"]["pid"].clone())
    });
    pids.next().expect("a first process")
}

fn lines(finding: &Value) -> Vec<(String, u64)> {
    let sites = finding["sites"].as_array().expect("sites");
    sites
        .iter()
        .map(|site| (site["role"].as_str().unwrap_or("").to_owned(), site["line"].as_u64().unwrap_or(0)))
        .collect()
}

fn line(marker: &str) -> u64 {
    line_of(&programs().join("shared_fork.c"), marker)
}

#[test]
fn the_same_shared_block_on_both_sides_of_a_fork_is_found() {
    for (compiler, flags, how, certainty) in [
        ("gcc", &["-O0"][..], "twice", "certain"),
        ("gcc", &["-O2"], "twice", "certain"),
        ("clang", &["-O2"], "twice", "certain"),
        ("gcc", &["-O0"], "exited", "possible"),
        ("gcc", &["-O0"], "siblings", "certain"),
    ] {
        let place = Place::new();
        let program = place.compile(compiler, "shared_fork.c", flags);
        let (found, notes, screen) = said(&program, &place, how);
        // What a child left there its parent may have read: no accusation.
        let (told, others) = if how == "exited" { (&notes, &found) } else { (&found, &notes) };
        let [finding] = told.as_slice() else { panic!("{how}: {found:?} {notes:?}\n{screen}") };
        assert!(others.is_empty(), "{how}: {others:?}");
        assert_eq!(
            (&finding["rule"], &finding["certainty"]),
            (&"fork-same-block".into(), &certainty.into()),
            "{finding}"
        );
        assert_eq!(finding["block"]["offset"], 64, "{finding}");
        if flags == ["-O0"] {
            let (fork, child, parent) =
                (line("/* the fork */"), line("/* the child's block */"), line("/* the parent's"));
            let second = if how == "siblings" { child } else { parent };
            let story = [("forked", fork), ("allocated", child), ("allocated", second)];
            assert_eq!(lines(finding), story.map(|(role, line)| (role.to_owned(), line)), "{finding}");
        }
        let pids: Vec<&Value> =
            finding["sites"].as_array().expect("sites").iter().map(|site| &site["process"]["pid"]).collect();
        assert!(pids.iter().all(|pid| pid.is_u64()) && pids[1] != pids[2], "{pids:?}");
        assert!(screen.contains("fork-same-block") && screen.contains("in process "), "{screen}");
    }
}

#[test]
fn what_a_child_does_in_private_memory_is_noted_where_the_parent_goes_on() {
    let place = Place::new();
    let program = place.cc("shared_fork.c", &["-O0"]);
    let (found, notes, screen) = said(&program, &place, "private");
    assert!(found.is_empty(), "{found:?}");
    let [note] = notes.as_slice() else { panic!("{notes:?}\n{screen}") };
    assert_eq!((&note["rule"], &note["certainty"]), (&"fork-private-write".into(), &"certain".into()), "{note}");
    let story = [("forked", line("/* the fork */")), ("allocated", line("/* the child's block */"))];
    assert_eq!(lines(note), story.map(|(role, line)| (role.to_owned(), line)), "{note}");
}

#[test]
fn forks_that_are_right_are_silent() {
    for flags in [&["-O0"][..], &["-O2"]] {
        for how in ["cursor", "reset", "scratch", "exec", "daemon"] {
            let place = Place::new();
            let program = place.cc("shared_fork.c", flags);
            let (found, notes, screen) = said(&program, &place, how);
            assert!(found.is_empty() && notes.is_empty(), "{how}: {found:?} {notes:?}\n{screen}");
        }
    }
}

#[test]
fn a_child_s_trace_alone_says_that_its_parent_s_is_missing() {
    let place = Place::new();
    let program = place.cc("shared_fork.c", &["-O0"]);
    said(&program, &place, "twice");
    let main = main_pid(&place);
    let (mut child, mut parent) = (None, None);
    for trace in place.traces() {
        match place.show(&trace, &[])["process"]["pid"] == main {
            true => parent = Some(trace),
            false => child = Some(trace),
        }
    }
    let (child, parent) = (child.expect("a child's trace"), parent.expect("a parent's trace"));
    let rules = |said: &Value| -> Vec<Value> { accused(said).iter().map(|one| one["rule"].clone()).collect() };
    assert_eq!(rules(&place.findings(&child)), ["fork-same-block"], "the child's trace speaks of it as well");
    std::fs::remove_file(parent).expect("removed");
    let words = place.arenascope(&["findings".as_ref(), child.as_os_str()]);
    assert_eq!(words.status, 0, "{words:?}");
    assert!(words.stderr.contains("is not beside this one"), "{words:?}");
    assert!(!words.stdout.contains("fork-same-block"), "{words:?}");
}

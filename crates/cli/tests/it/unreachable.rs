//! `run --scan`: what nothing points at is told, and whatever holds a block in a usual way counts.

use crate::harness::{Place, accused, noted};
use serde_json::Value;
use std::path::Path;

const ROLES: [&str; 4] = ["--scan", "--alloc", "arena_alloc(arena, size) -> block", "--reset=arena_reset(arena)"];

/// `unreachable` in the findings of one case of `reach.c`, as (findings, notes), and our words.
fn watched(place: &Place, program: &Path, case: &str) -> (Vec<Value>, Vec<Value>, String) {
    let trace = place.file(&format!("{case}.ascope"));
    let mut flags = ROLES.to_vec();
    let name = trace.to_string_lossy().into_owned();
    flags.extend(["--force", "-o", &name]);
    let (outcome, words) = place.watch(&flags, program, &[case]);
    assert_eq!(outcome.status, 0, "{case}: {outcome:?} {words}");
    let json = place.findings(&trace);
    let own = |list: Vec<Value>| list.into_iter().filter(|one| one["rule"] == "unreachable").collect();
    (own(accused(&json)), own(noted(&json)), words)
}

#[test]
fn what_is_lost_is_told_and_what_is_held_is_not() {
    for flags in ["-O0", "-O2"] {
        let place = Place::new();
        let program = place.cc("reach.c", &[flags]);
        let (found, notes, words) = watched(&place, &program, "lost");
        assert_eq!((found.len(), notes.len()), (0, 1), "{flags}: {words}");
        assert_eq!(notes[0]["sites"][0]["function"], "temporary", "{}", notes[0]);
        let count = notes[0]["count"].as_u64().expect("a count");
        assert!((90..=100).contains(&count), "an old word on the stack may hold some: {count}");
        let (found, notes, words) = watched(&place, &program, "lost-twice");
        assert_eq!((found.len(), notes.len()), (1, 0), "{flags}: {words}");
        assert_eq!(found[0]["certainty"], "likely");
        for case in
            ["list", "lost-reset", "tree", "tree-local", "offsets", "offsets-mixed", "tagged", "other-arena", "exit"]
        {
            let (found, notes, words) = watched(&place, &program, case);
            assert_eq!((found, notes), (vec![], vec![]), "{flags} {case}: {words}");
            assert!(!words.contains("was not scanned"), "{flags} {case}: {words}");
        }
    }
}

#[test]
fn threads_and_large_memory_are_not_scanned_and_that_is_said() {
    let place = Place::new();
    let program = place.cc("reach.c", &[]);
    let (found, _, words) = watched(&place, &program, "thread");
    assert_eq!(found, Vec::<Value>::new());
    assert!(words.contains("memory was not scanned at mark 1: another thread was running"), "{words}");
    let (outcome, words) = place.watch(&["--scan=64K", ROLES[1], ROLES[2], "--force"], &program, &["lost"]);
    assert_eq!(outcome.status, 0);
    assert!(words.contains("memory was not scanned at the end: it has "), "{words}");
    assert!(words.contains("(--scan="), "{words}");
}

#[test]
fn without_the_flag_nobody_looks() {
    let place = Place::new();
    let program = place.cc("reach.c", &[]);
    let (outcome, words) = place.watch(&[ROLES[1], ROLES[2], "--force"], &program, &["lost"]);
    assert_eq!(outcome.status, 0);
    assert!(!words.contains("unreachable") && !words.contains("scanned"), "{words}");
}

#[test]
fn a_scanned_program_prints_and_ends_as_it_does_alone() {
    let place = Place::new();
    for source in ["exit_status.c", "abort.c", "fork.c", "vfork_exec.c", "longjmp.c", "small_stacks.c", "close_all.c"] {
        let program = place.cc(source, &[]);
        let alone = place.plain(&program, &[]);
        let (watched, words) = place.watch(&["--scan", "--force", "--late", ROLES[1], ROLES[2]], &program, &[]);
        assert_eq!(watched, alone, "{source}: {words}");
    }
}

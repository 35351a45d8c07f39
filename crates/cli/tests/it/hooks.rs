//! Hooks in place: what is counted when functions recurse, jump out, run in threads, in handlers, before main.

use crate::harness::{Place, accused, count, long};
use serde_json::Value;
use std::collections::BTreeMap;

const BUMP: [&str; 6] = [
    "--create",
    "bump_init(arena, size)",
    "--alloc",
    "bump_alloc(arena, size) -> block",
    "--destroy",
    "bump_destroy(arena)",
];

/// Runs `source` at -O2 with these roles: events, findings and screen.
fn run(source: &str, roles: &[&str], arguments: &[&str]) -> (Vec<Value>, Value, String, String) {
    let place = Place::new();
    let program = place.cc(source, &["-O2"]);
    let (outcome, screen) = place.watch(roles, &program, arguments);
    assert_eq!(outcome.status, 0, "{outcome:?}\n{screen}");
    let trace = place.trace();
    let (events, findings) = (place.log(&trace), place.findings(&trace));
    assert_eq!(accused(&findings).len(), 0, "{findings}\n{screen}");
    (events, findings, screen, outcome.stdout)
}

fn per(events: &[Value], kind: &str, field: &str) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for event in events.iter().filter(|event| event["kind"] == kind) {
        *counts.entry(event[field].to_string()).or_insert(0) += 1;
    }
    counts
}

#[test]
fn threads_with_arenas_of_their_own() {
    let (events, findings, screen, _) = run("threads.c", &BUMP, &[]);
    assert_eq!(count(&events, "alloc"), 4040, "{screen}");
    assert_eq!(findings["lost"]["events"], 0);
    let mut per_arena: Vec<usize> = per(&events, "alloc", "arena").into_values().collect();
    per_arena.sort_unstable();
    assert_eq!(per_arena, [40, 1000, 1000, 1000, 1000], "{screen}");
    assert_eq!(per(&events, "alloc", "thread").len(), 4, "main allocates nothing: {screen}");
    assert!(count(&events, "thread-start") >= 4, "{screen}");
}

#[test]
fn longjmp_out_of_a_hooked_function() {
    let (events, _, screen, _) = run("longjmp.c", &["--alloc", "must_alloc(arena, size) -> block"], &[]);
    assert_eq!(count(&events, "alloc"), 800, "200 of 1000 calls never return: {screen}");
}

#[test]
fn of_calls_inside_each_other_on_one_arena_the_outermost_counts() {
    let (events, _, screen, _) = run("recursion.c", &["--alloc", "noted_alloc(arena, size, _) -> block"], &[]);
    assert_eq!(count(&events, "alloc"), 100, "inner calls do the outer one's work: {screen}");
}

#[test]
fn handlers_that_allocate() {
    let mut roles = BUMP.to_vec();
    roles.extend(["--alloc", "raising_alloc(arena, size) -> block"]);
    let (events, findings, screen, _) = run("signals.c", &roles, &[]);
    let lost = findings["lost"]["events"].as_u64().expect("a number");
    assert_eq!(count(&events, "alloc") as u64 + lost, 200, "{screen}");
    assert_eq!(
        lost, 0,
        "these signals come between calls and inside the allocator, never inside the recorder: {screen}"
    );
}

#[test]
fn a_timer_that_interrupts_anything() {
    for _ in 0..if long() { 20 } else { 1 } {
        let (events, findings, screen, printed) = run("signals.c", &BUMP, &["timer"]);
        let numbers: Vec<u64> = printed.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        let made: u64 = numbers.iter().sum();
        let lost = findings["lost"]["events"].as_u64().expect("a number");
        assert_eq!(count(&events, "alloc") as u64 + lost, made, "{printed}\n{screen}");
    }
}

#[test]
fn functions_called_before_and_after_main() {
    let (events, _, screen, _) = run("before_main.c", &BUMP, &[]);
    assert_eq!(count(&events, "alloc"), 5, "{screen}");
    assert_eq!(count(&events, "create"), 1, "{screen}");
}

#[test]
fn values_in_caller_saved_registers_and_a_lost_argument() {
    let (events, _, screen, _) = run("ipa_ra.c", &["--alloc", "ra_alloc(arena, size) -> block"], &[]);
    assert_eq!(count(&events, "alloc"), 1000, "{screen}");
    let sizes = events.iter().filter(|event| event["kind"] == "alloc").all(|event| event["block"]["size"] == 8);
    assert!(sizes, "the clone has lost its size argument, the debug information knows that it is 8: {screen}");
}

#[test]
fn too_short_and_inlined_are_reported_and_the_rest_is_watched() {
    let roles = [
        "--alloc",
        "short_alloc(arena, size) -> block",
        "--alloc",
        "inlined_alloc(arena, size) -> block",
        "--alloc",
        BUMP[3],
    ];
    let place = Place::new();
    let program = place.cc("short.c", &["-O2"]);
    let (outcome, screen) = place.watch(&roles, &program, &[]);
    assert_eq!(outcome, place.plain(&program, &[]), "{screen}");
    let events = place.log(&place.trace());
    assert_eq!(count(&events, "alloc"), 3, "only bump_alloc is seen: {screen}");
    let said = |function: &str, word: &str| {
        screen.lines().any(|line| line.contains(function) && line.contains(word))
            || screen.split(function).skip(1).any(|after| after.chars().take(400).collect::<String>().contains(word))
    };
    assert!(said("short_alloc", "4 bytes") || said("short_alloc", "short"), "{screen}");
    assert!(said("inlined_alloc", "inline"), "{screen}");
}

#[test]
fn libraries_loaded_later() {
    let place = Place::new();
    let plugin = place.cc("plugin.c", &["-shared", "-fPIC"]);
    let program = place.cc("dlopen.c", &[]);
    let plugin = plugin.to_string_lossy();
    let (outcome, words) = place.watch(&["--alloc", BUMP[3]], &program, &[&plugin]);
    assert_eq!(
        (outcome.status, outcome.stdout.as_str()),
        (2, ""),
        "not there at the start, and nobody said late: {outcome:?}"
    );
    assert!((outcome.stderr + &words).contains("--late"), "{words}");
    let (outcome, screen) = place.watch(&["--late", "--alloc", BUMP[3]], &program, &[&plugin]);
    assert_eq!(outcome.stdout, "21\n", "{outcome:?}\n{screen}");
    assert_eq!(count(&place.log(&place.trace()), "alloc"), 10, "{screen}");
}

#[test]
fn faults_that_the_program_handles_are_its_own() {
    let (events, findings, screen, printed) = run("own_handler.c", &BUMP, &[]);
    assert_eq!(printed, "3 faults handled\n");
    assert_eq!(count(&events, "alloc"), 3, "{screen}");
    assert_eq!(findings["lost"]["events"], 0);
}

#[test]
fn many_arenas_and_a_short_screen() {
    let (events, _, screen, _) = run("many.c", &BUMP, &[]);
    assert_eq!(count(&events, "create"), 2100);
    assert_eq!(count(&events, "alloc"), 6100);
    assert!(screen.lines().count() < 120, "{} lines", screen.lines().count());
}

#[test]
fn all_descriptors_closed_and_another_directory() {
    let (events, findings, screen, _) = run("close_all.c", &BUMP, &[]);
    assert_eq!(count(&events, "alloc"), 20, "{screen}");
    assert_eq!(findings["lost"]["events"], 0);
}

#[test]
fn every_build_that_hooks_can_meet() {
    let ways: &[&[&str]] = &[
        &["-no-pie", "-fno-pie"],
        &["-fcf-protection=full"],
        &["-fpatchable-function-entry=16,8"],
        &["-fpatchable-function-entry=5"],
        &["-Wl,-z,now"],
        &["-O3"],
        &["-Os"],
        &["-O2", "-fno-omit-frame-pointer"],
    ];
    for way in ways {
        let place = Place::new();
        let program = place.cc("limits.c", way);
        let (_, screen) = place.watch(&BUMP, &program, &[]);
        let events = place.log(&place.trace());
        let counts = (count(&events, "create"), count(&events, "alloc"), count(&events, "destroy"));
        assert_eq!(counts, (1, 1000, 1), "{way:?}\n{screen}");
    }
}

#[test]
fn symbols_from_a_separate_debug_file() {
    let place = Place::new();
    let program = place.cc("ipa_ra.c", &["-O2"]);
    let debug = place.file("ipa_ra.debug");
    for words in [
        vec!["--only-keep-debug", "ipa_ra", "ipa_ra.debug"],
        vec!["--strip-all", "--add-gnu-debuglink=ipa_ra.debug", "ipa_ra"],
    ] {
        let outcome = place.outcome(std::process::Command::new("objcopy").args(words));
        assert_eq!(outcome.status, 0, "{outcome:?}");
    }
    assert!(debug.exists());
    let (_, screen) = place.watch(&["--alloc", "ra_alloc(arena, size) -> block"], &program, &[]);
    assert_eq!(count(&place.log(&place.trace()), "alloc"), 1000, "{screen}");
}

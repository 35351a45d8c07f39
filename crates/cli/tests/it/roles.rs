//! Roles from the command line and from a profile: all eight, with every kind of argument.

use crate::harness::{Place, accused, count};
use serde_json::Value;
use std::path::Path;

const EIGHT: &[(&str, &str)] = &[
    ("create", "q1(*arena, parent, name)"),
    ("alloc", "q2(arena, size) -> block"),
    ("resize", "q3(arena, block, _, size) -> block"),
    ("free", "q4(arena, block)"),
    ("mark", "q5(arena) -> mark"),
    ("rewind", "q6(arena, mark)"),
    ("reset", "q7(arena)"),
    ("destroy", "q8(arena)"),
];

fn eight(place: &Place, flags: &[&str], program: &Path) -> (Vec<Value>, String) {
    let (outcome, screen) = place.watch(flags, program, &[]);
    assert_eq!(outcome.status, 0, "{outcome:?}\n{screen}");
    let trace = place.trace();
    let events = place.log(&trace);
    assert_eq!(accused(&place.findings(&trace)).len(), 0, "{screen}");
    std::fs::remove_file(trace).expect("the trace can be removed");
    (events, screen)
}

fn expect_eight(events: &[Value], screen: &str) {
    let wanted = [
        ("create", 2),
        // The seventh is part of the resize that moves, and passed over.
        ("alloc", 6),
        ("resize", 2),
        ("free", 1),
        ("mark", 1),
        ("rewind", 1),
        ("reset", 1),
        ("destroy", 2),
    ];
    for (kind, times) in wanted {
        assert_eq!(count(events, kind), times, "{kind}: {events:?}\n{screen}");
    }
    for name in ["aleph", "beth"] {
        assert!(screen.contains(name), "{name}: {screen}");
    }
}

#[test]
fn all_eight_by_flags_by_role_and_by_profile() {
    for level in ["-O0", "-O2"] {
        let place = Place::new();
        let program = place.cc("eight_roles.c", &[level]);
        let by_flag: Vec<String> =
            EIGHT.iter().flat_map(|(role, text)| [format!("--{role}"), (*text).to_owned()]).collect();
        let by_role: Vec<String> =
            EIGHT.iter().flat_map(|(role, text)| ["--role".to_owned(), format!("{role}:{text}")]).collect();
        for flags in [by_flag, by_role] {
            let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
            let (events, screen) = eight(&place, &flags, &program);
            expect_eight(&events, &screen);
        }
        let lines: Vec<String> =
            EIGHT.iter().map(|(role, text)| format!("  {:?},\n", format!("{role}: {text}"))).collect();
        let profile = place.file("eight.toml");
        let text = format!("[profile]\nname = \"eight\"\nroles = [\n{}]\n", lines.concat());
        std::fs::write(&profile, text).expect("a profile");
        let (events, screen) = eight(&place, &["--profile", "eight.toml"], &program);
        expect_eight(&events, &screen);
    }
}

#[test]
fn results_by_pointer() {
    let place = Place::new();
    let program = place.cc("out_params.c", &["-O2"]);
    let roles =
        ["--create", "make(*arena, size)", "--alloc", "grab(arena, size, *block)", "--destroy", "bump_destroy(arena)"];
    let (outcome, screen) = place.watch(&roles, &program, &[]);
    assert_eq!(outcome.stdout, "4 of 5\n");
    let trace = place.trace();
    let events = place.log(&trace);
    assert_eq!(count(&events, "alloc"), 5, "{screen}");
    let offsets: Vec<Option<u64>> =
        events.iter().filter(|event| event["kind"] == "alloc").map(|event| event["block"]["offset"].as_u64()).collect();
    assert_eq!(offsets, [Some(0), Some(64), Some(128), Some(192), None], "{screen}");
    // A result by pointer never sits in the result register: nothing is claimed about it.
    assert_eq!(accused(&place.findings(&trace)).len(), 0);
}

#[test]
fn one_global_arena_without_an_argument() {
    let place = Place::new();
    let program = place.cc("global_bump.c", &[]);
    let (_, screen) = place.watch(&["--alloc", "grab(size) -> block", "--reset", "drop_all()"], &program, &[]);
    let events = place.log(&place.trace());
    assert_eq!((count(&events, "alloc"), count(&events, "reset")), (6, 1), "{screen}");
    let arenas: std::collections::BTreeSet<String> =
        events.iter().filter(|event| event["kind"] == "alloc").map(|event| event["arena"].to_string()).collect();
    assert_eq!(arenas.len(), 1, "{screen}");
}

#[test]
fn sizes_on_the_stack_among_doubles_and_in_narrow_types() {
    for level in ["-O0", "-O2"] {
        let place = Place::new();
        let program = place.cc("stack_args.c", &[level]);
        let roles = [
            "--alloc",
            "wide_alloc(arena, _, _, _, _, _, _, _, size) -> block",
            "--alloc",
            "mixed_alloc(_, arena, _, size) -> block",
        ];
        let (_, screen) = place.watch(&roles, &program, &[]);
        let events = place.log(&place.trace());
        let sizes: Vec<Option<u64>> = events
            .iter()
            .filter(|event| event["kind"] == "alloc")
            .map(|event| event["block"]["size"].as_u64())
            .collect();
        let wanted: Vec<Option<u64>> = (0..5).flat_map(|_| [Some(40), Some(24)]).collect();
        assert_eq!(sizes, wanted, "{level}\n{screen}");
    }
}

#[test]
fn size_times_count_and_an_alignment() {
    let place = Place::new();
    let program = place.cc("aligned.c", &[]);
    let roles = ["--alloc", "aligned_take(arena, size, align) -> block"];
    let (_, screen) = place.watch(&roles, &program, &[]);
    let trace = place.trace();
    let events = place.log(&trace);
    assert_eq!(count(&events, "alloc"), 5, "{screen}");
    std::fs::remove_file(trace).expect("the trace can be removed");
    let (_, screen) = place.watch(&["--alloc", "take_array(arena, count, size) -> block"], &program, &[]);
    let events = place.log(&place.trace());
    let sizes: Vec<Option<u64>> =
        events.iter().filter(|event| event["kind"] == "alloc").map(|event| event["block"]["size"].as_u64()).collect();
    assert_eq!(sizes, [Some(60), Some(60)], "{screen}");
}

#[test]
fn cpp_functions_by_their_demangled_names() {
    for name in ["mem::Arena::alloc", "mem::Arena::alloc(unsigned long)"] {
        let place = Place::new();
        let program = place.compile("g++", "cpp.cpp", &["-O2"]);
        let (outcome, screen) = place.watch(&["--alloc", &format!("{name}(arena, size) -> block")], &program, &[]);
        assert_eq!(outcome.status, 0, "{screen}");
        let events = place.log(&place.trace());
        assert_eq!(count(&events, "alloc"), 64, "36 calls leave by an exception: {screen}");
    }
}

#[test]
fn pools_of_a_packaged_program_nobody_rebuilt() {
    let place = Place::new();
    let profile = crate::harness::root().join("profiles/apr.toml");
    let profile = profile.to_string_lossy();
    let (outcome, screen) = place.watch(&["--profile", &profile], Path::new("/usr/bin/svn"), &["help", "info"]);
    assert_eq!(outcome.status, 0, "{outcome:?}\n{screen}");
    let trace = place.traces().into_iter().next().expect("a trace");
    let events = place.log(&trace);
    assert!(count(&events, "alloc") > 100, "{screen}");
    assert!(count(&events, "create") > 1, "{screen}");
    assert_eq!(accused(&place.findings(&trace)).len(), 0, "{screen}");
}

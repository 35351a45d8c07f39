//! Threads in one arena: what races is found, what is kept apart by whatever means is not.

use crate::harness::{Place, accused, line_of, long, programs};
use serde_json::Value;
use std::path::Path;

const ROLES: [&str; 8] = [
    "--create",
    "arena_init(arena, size)",
    "--alloc",
    "plain_alloc(arena, size) -> block",
    "--alloc",
    "locked_alloc(arena, size) -> block",
    "--alloc",
    "atomic_alloc(arena, size) -> block",
];

/// Only the function that this way of sharing uses: a lock in another one would acquit it.
fn roles(how: &str) -> Vec<&'static str> {
    let function = match how {
        "inner" => "locked_alloc(arena, size) -> block",
        "atomic" => "atomic_alloc(arena, size) -> block",
        "parts" => "part_alloc(arena, _, size) -> block",
        _ => "plain_alloc(arena, size) -> block",
    };
    vec!["--force", "--create", "arena_init(arena, size)", "--alloc", function]
}

fn findings(place: &Place, program: &Path, flags: &[&str], how: &str, blocks: &str) -> Vec<Value> {
    let (outcome, screen) = place.watch(&[&["-o", "t.ascope"], flags].concat(), program, &[how, blocks]);
    assert_eq!(outcome.status, 0, "{how}: {outcome:?}\n{screen}");
    accused(&place.findings(&place.file("t.ascope")))
}

#[test]
fn a_race_for_the_cursor_is_found_with_both_places() {
    for (compiler, flags) in
        [("gcc", &["-O0"][..]), ("gcc", &["-O2"]), ("clang", &["-O0"]), ("clang", &["-O2", "-fomit-frame-pointer"])]
    {
        let place = Place::new();
        let program = place.compile(compiler, "sharing.c", flags);
        let found = findings(&place, &program, &roles("race"), "race", "2000");
        let of_rule: Vec<&Value> = found.iter().filter(|one| one["rule"] == "unsynchronised-sharing").collect();
        let [finding] = of_rule.as_slice() else { panic!("{compiler} {flags:?}: {found:?}") };
        assert_eq!(finding["certainty"], "certain", "{finding}");
        assert!(finding["threads"].as_array().is_some_and(|threads| threads.len() >= 2), "{finding}");
        let line = line_of(&programs().join("sharing.c"), "/* the race */");
        let sites = finding["sites"].as_array().expect("sites");
        let lines: Vec<u64> = sites.iter().filter_map(|site| site["line"].as_u64()).collect();
        // At -O2 the call may be the last thing that its function does, and then its caller's line is told.
        assert_eq!(sites.len(), 2, "{finding}");
        assert!(flags[0] == "-O2" || lines == [line, line], "{finding}");
        let trace = place.file("t.ascope");
        let json = place.findings(&trace);
        let threads = json["threads"].as_array().expect("threads");
        let started = |thread: &Value| thread["creator"] == 1 || thread["number"] == 1;
        assert!(threads.iter().all(|thread| thread["tid"].is_u64() && started(thread)), "{threads:?}");
        let words = place.arenascope(&["findings".as_ref(), trace.as_os_str()]).stdout;
        assert!(words.contains("started by thread 1"), "{words}");
    }
}

#[test]
fn sharing_that_is_kept_apart_is_silent() {
    for flags in [&["-O0"][..], &["-O2"]] {
        let place = Place::new();
        let program = place.cc("sharing.c", flags);
        for how in ["outer", "inner", "atomic", "parts", "turns"] {
            let found = findings(&place, &program, &roles(how), how, "2000");
            assert!(found.is_empty(), "{how} {flags:?}: {found:?}");
        }
    }
}

#[test]
fn a_lock_of_the_callers_is_silent_every_time() {
    let place = Place::new();
    let program = place.cc("sharing.c", &["-O2"]);
    for round in 0..if long() { 100 } else { 10 } {
        let found = findings(&place, &program, &roles("outer"), "outer", "500");
        assert!(found.is_empty(), "round {round}: {found:?}");
    }
}

#[test]
fn with_a_lock_in_one_watched_function_the_race_in_another_is_not_certain() {
    let place = Place::new();
    let program = place.cc("sharing.c", &["-O2"]);
    let flags = [&["--force"], &ROLES[..]].concat();
    let found = findings(&place, &program, &flags, "race", "2000");
    assert!(
        found.iter().all(|one| one["rule"] != "unsynchronised-sharing" || one["certainty"] != "certain"),
        "{found:?}"
    );
}

#[test]
fn malloc_from_eight_threads_is_silent() {
    let place = Place::new();
    let source = "#include <pthread.h>\n#include <stdlib.h>\n#include <string.h>\n\
        static void *work(void *seed) { void *held[64] = {0}; unsigned r = (unsigned)(long)seed + 1;\n\
        for (int i = 0; i < 20000; i++) { r = r * 1664525 + 1013904223; int k = r >> 26;\n\
          if (r & 1) { free(held[k]); held[k] = malloc(r >> 20 & 1023); if (held[k]) *(char *)held[k] = 1; }\n\
          else { void *p = realloc(held[k], (r >> 16 & 2047) + 1); if (p) held[k] = p; } }\n\
        for (int k = 0; k < 64; k++) free(held[k]); return 0; }\n\
        int main(void) { pthread_t t[8]; for (long i = 0; i < 8; i++) pthread_create(&t[i], 0, work, (void *)i);\n\
        for (int i = 0; i < 8; i++) pthread_join(t[i], 0); return 0; }\n";
    let path = place.file("mallocs.c");
    std::fs::write(&path, source).expect("a file");
    let program = place.cc(&path.to_string_lossy(), &["-O2"]);
    for roles in [
        &["--alloc", "malloc(size) -> block", "--free", "free(block)"][..],
        &["--alloc", "malloc(size) -> block", "--free", "free(block)", "--resize", "realloc(block, size) -> block"],
    ] {
        let (outcome, screen) = place.watch(&[&["--force", "-o", "t.ascope"], roles].concat(), &program, &[]);
        assert_eq!(outcome.status, 0, "{outcome:?}\n{screen}");
        let found = accused(&place.findings(&place.file("t.ascope")));
        assert!(found.iter().all(|one| one["rule"] != "unsynchronised-sharing"), "{found:?}");
    }
}

#[test]
fn threads_that_have_ended_take_no_room() {
    let place = Place::new();
    let program = place.cc("many_threads.c", &["-O1", "-pthread"]);
    let flags = ["-o", "t.ascope", "--alloc", "pool_alloc(arena, size) -> block"];
    let (said, screen) = place.watch(&flags, &program, &[]);
    assert_eq!((said.status, said.stdout.trim()), (0, "12500"), "{screen}");
    assert!(screen.contains(" 0 lost"), "{screen}");
    let shown = place.show(&place.file("t.ascope"), &[]);
    let blocks: u64 =
        shown["arenas"].as_array().expect("arenas").iter().filter_map(|arena| arena["blocks_ever"].as_u64()).sum();
    assert_eq!(blocks, 12_500, "{}", shown["arenas"][0]["blocks_ever"]);
}

//! Four further programs in unusual C, found by shape at -O0 and -O2, with both compilers: what is said, what is not.

use crate::harness::{Place, accused, count, line_of, noted, programs};
use serde_json::Value;

/// Runs `source` with roles found by shape: events and findings, for both compilers at both levels.
fn each(source: &str, check: impl Fn(&str, &str, &[Value], &Value)) {
    for compiler in ["gcc", "clang"] {
        for level in ["-O0", "-O2"] {
            let place = Place::new();
            let program = place.compile(compiler, source, &[level]);
            let (outcome, screen) = place.watch(&[], &program, &[]);
            assert_eq!(outcome.status, 0, "{outcome:?}\n{screen}");
            let what = format!("{source} {compiler} {level}\n{screen}");
            let trace = place.trace();
            check(&what, &screen, &place.log(&trace), &place.findings(&trace));
        }
    }
}

#[test]
fn a_chunked_pool_on_malloc_is_seen_and_silent() {
    each("chunked_pool.c", |what, screen, events, json| {
        assert!(screen.contains("pool_get"), "{what}");
        assert_eq!(count(events, "alloc"), 330, "{what}");
        assert_eq!(count(events, "create"), 0, "build() is no create function: {what}");
        assert_eq!(accused(json).len(), 0, "{what}");
        assert_eq!(noted(json).len(), 0, "{what}");
    });
}

#[test]
fn a_region_with_mark_and_rewind_is_seen_and_silent() {
    each("region_mark.c", |what, screen, events, json| {
        for function in ["r_open", "r_take", "r_close"] {
            assert!(screen.contains(function), "{function} {what}");
        }
        assert_eq!(count(events, "alloc"), 81, "{what}");
        assert_eq!((count(events, "create"), count(events, "destroy")), (1, 1), "{what}");
        assert_eq!((count(events, "mark"), count(events, "rewind")), (20, 20), "{what}");
        assert_eq!(accused(json).len(), 0, "{what}");
        // Its blocks do show what earlier ones left, and nothing else is worth a word.
        assert!(noted(json).iter().all(|note| note["rule"] == "stale-bytes"), "{what}");
    });
}

#[test]
fn a_page_allocator_whose_helper_s_block_is_thrown_away_is_accused() {
    let line = line_of(&programs().join("freelist_pages.c"), "/* LOST */");
    each("freelist_pages.c", |what, _, events, json| {
        assert_eq!(count(events, "alloc"), 4, "{what}");
        assert_eq!(count(events, "free"), 1, "{what}");
        let found = accused(json);
        assert_eq!(found.len(), 1, "{what}\n{json}");
        for finding in &found {
            assert_eq!(finding["rule"], "never-stored", "{what}");
            assert_eq!(finding["block"]["number"], 3, "{what}");
            let sites = finding["sites"].as_array().cloned().unwrap_or_default();
            let mut frames = sites.iter().flat_map(|site| site["frames"].as_array().cloned().unwrap_or_default());
            assert!(frames.any(|frame| frame["line"] == line), "line {line} is named: {finding}\n{what}");
        }
    });
}

#[test]
fn its_mended_twin_is_silent() {
    each("freelist_pages_mended.c", |what, _, events, json| {
        assert_eq!(count(events, "alloc"), 4, "{what}");
        assert_eq!(accused(json).len() + noted(json).len(), 0, "{what}\n{json}");
    });
}

#[test]
fn an_arena_in_a_global_made_by_assignment_is_born_at_its_first_event() {
    each("global_pool.c", |what, screen, events, json| {
        assert!(screen.contains("take"), "{what}");
        assert_eq!(count(events, "alloc"), 12, "{what}");
        assert_eq!(count(events, "create"), 0, "{what}");
        assert_eq!(accused(json).len(), 0, "{what}");
        let notes = noted(json);
        assert_eq!(notes.len(), 1, "{what}\n{json}");
        assert!(notes.iter().all(|note| note["rule"] == "never-unmapped"), "{what}\n{json}");
    });
}

#[test]
fn a_program_without_arenas_is_told_how_to_name_one() {
    for compiler in ["gcc", "clang"] {
        for level in ["-O0", "-O2"] {
            let place = Place::new();
            let program = place.compile(compiler, "no_arena.c", &[level]);
            let (outcome, screen) = place.watch(&[], &program, &[]);
            assert_eq!(outcome, place.plain(&program, &[]), "{screen}");
            assert!(screen.contains("--alloc"), "{compiler} {level}\n{screen}");
            for function in ["vec_push", "ring_at"] {
                assert!(!screen.contains(function), "{compiler} {level}: {function} is no allocator\n{screen}");
            }
        }
    }
}

#[test]
fn explain_lists_candidates_with_scores() {
    let place = Place::new();
    let program = place.cc("region_mark.c", &[]);
    let (outcome, screen) = place.watch(&["--explain"], &program, &[]);
    assert_eq!(outcome.status, 0);
    for function in ["r_open", "r_take", "r_mark", "r_release", "r_close"] {
        assert!(screen.contains(function), "{screen}");
    }
}

/// A function that ends blocks by its name alone is not watched, and the screen says so and how to watch it.
#[test]
fn what_may_end_blocks_and_is_not_watched_is_named() {
    let place = Place::new();
    let write = |name: &str, text: &str| std::fs::write(place.file(name), text).expect("a file");
    write("bump.h", &std::fs::read_to_string(crate::harness::programs().join("bump.h")).expect("bump.h"));
    write(
        "put.c",
        "#include <string.h>\n#include \"bump.h\"\nstatic long freed;\n\
         NOINLINE void bump_put(struct bump *b, void *block) { (void)b; memset(block, 0xdd, 8); freed++; }\n\
         NOINLINE void bump_look(struct bump *b, void *block) { (void)b; (void)block; freed--; }\n\
         int main(void) { struct bump b; char *p; if (bump_init(&b, 4096)) return 1; p = bump_alloc(&b, 32); *p = 1;\n\
         bump_look(&b, p); bump_put(&b, p); bump_destroy(&b); return 0; }\n",
    );
    let program = place.cc(&place.file("put.c").to_string_lossy(), &[]);
    let (outcome, screen) = place.watch(&["-o", "first.ascope"], &program, &[]);
    assert_eq!(outcome.status, 0, "{outcome:?}\n{screen}");
    let said: String = screen.split_whitespace().collect::<Vec<&str>>().join(" ");
    assert!(said.contains("not seen bump_put: its name says free"), "{screen}");
    assert!(!said.contains("not seen bump_look"), "{screen}");
    // The flags that it gives watch it.
    let flags = said.split_once("to watch it too: ").map(|(_, rest)| rest.split(" arena 1").next().unwrap_or(rest));
    let script = format!("\"$0\" run -o second.ascope {} -- ./put", flags.expect("flags"));
    let again = place.outcome(std::process::Command::new("sh").args(["-c", &script, env!("CARGO_BIN_EXE_arenascope")]));
    assert!(again.stderr.contains("1 block   1 freed") && !again.stderr.contains("not seen"), "{again:?}");
}

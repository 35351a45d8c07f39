//! Notes about how memory is spent, end to end: a program that wastes some, with the line named, and its mended twin.
//!
//! `only-grows` asks for a run of ten seconds: its program is one that waits for requests, and the test sleeps that long too.
//! Deliberately absent: the borders of each rule (`crates/findings/tests/economy.rs`).

use crate::harness::{Place, accused, line_of, noted, programs};
use serde_json::Value;

/// The notes of a run, after the program ended well.
fn notes(compiler: &str, source: &str, flags: &[&str], roles: &[&str], arguments: &[&str]) -> (Vec<Value>, String) {
    let place = Place::new();
    let program = place.compile(compiler, source, flags);
    let (outcome, screen) = place.watch(&[&["-o", "t.ascope"], roles].concat(), &program, arguments);
    assert_eq!(outcome.status, 0, "{outcome:?}\n{screen}");
    let json = place.findings(&place.file("t.ascope"));
    assert_eq!(accused(&json).len(), 0, "{json:#}");
    (noted(&json), screen)
}

fn named(notes: &[Value], rule: &str) -> Vec<Value> {
    notes.iter().filter(|note| note["rule"] == rule).cloned().collect()
}

/// Every line of the program's own file that a note names.
fn lines(note: &Value) -> Vec<u64> {
    let sites = note["sites"].as_array().into_iter().flatten();
    sites.filter_map(|site| site["line"].as_u64()).collect()
}

#[test]
fn short_texts_that_begin_at_cache_lines_are_padding() {
    let roles = ["--alloc", "token_alloc(arena, size) -> block"];
    let line = line_of(&programs().join("padded_tokens.c"), "/* TOKEN */");
    for (compiler, level) in [("gcc", "-O0"), ("clang", "-O2")] {
        let (all, screen) = notes(compiler, "padded_tokens.c", &[level], &roles, &[]);
        let found = named(&all, "padding-waste");
        assert_eq!(found.len(), 1, "{compiler} {level} {all:#?}\n{screen}");
        assert!(lines(&found[0]).contains(&line), "{line}: {found:#?}");
        let (all, screen) = notes(compiler, "padded_tokens.c", &[level, "-DMENDED"], &roles, &[]);
        assert_eq!(all, [Value::Null; 0], "{compiler} {level}\n{screen}");
    }
}

#[test]
fn a_list_that_is_copied_at_each_growth_leaves_waste() {
    let roles = [
        "--alloc",
        "bump_alloc(arena, size) -> block",
        "--resize",
        "bump_resize(arena, block, _, size) -> block",
        "--destroy",
        "bump_destroy(arena)",
    ];
    let line = line_of(&programs().join("growing_list.c"), "/* GROWS */");
    for (compiler, level) in [("gcc", "-O0"), ("clang", "-O2")] {
        let (all, screen) = notes(compiler, "growing_list.c", &[level], &roles, &[]);
        let found = named(&all, "growth-waste");
        assert_eq!(found.len(), 1, "{compiler} {level} {all:#?}\n{screen}");
        assert!(lines(&found[0]).contains(&line), "{line}: {found:#?}");
        let (all, screen) = notes(compiler, "growing_list.c", &[level, "-DMENDED"], &roles, &[]);
        assert_eq!(all, [Value::Null; 0], "{compiler} {level}\n{screen}");
    }
}

#[test]
fn a_log_that_nobody_empties_only_grows() {
    let roles = [
        "--create",
        "bump_init(arena, size)",
        "--alloc",
        "bump_alloc(arena, size) -> block",
        "--reset",
        "bump_empty(arena)",
    ];
    let source = "request_log.c";
    let line = line_of(&programs().join(source), "/* CREATED */");
    // At once: each sleeps for seconds.
    let watched = |flags: &'static [&'static str], milliseconds: &'static str| {
        // The planted program has no reset.
        let roles = if flags.contains(&"-DMENDED") { &roles[..] } else { &roles[..4] }.to_vec();
        std::thread::spawn(move || notes("gcc", source, flags, &roles, &[milliseconds]))
    };
    let grows = watched(&["-O2"], "11000");
    let mended = watched(&["-O2", "-DMENDED"], "11000");
    let short = watched(&["-O2"], "2500");
    let (all, screen) = grows.join().expect("no panic");
    let found = named(&all, "only-grows");
    assert_eq!(found.len(), 1, "{all:#?}\n{screen}");
    assert!(lines(&found[0]).contains(&line), "{line}: {found:#?}");
    for twin in [mended, short] {
        let (all, screen) = twin.join().expect("no panic");
        assert_eq!(named(&all, "only-grows"), [Value::Null; 0], "{screen}");
    }
}

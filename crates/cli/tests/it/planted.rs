//! Our columns of docs/detection.md: each bug planted in bench/detection/planted.c is named by its rule in the mode that must see it.
//!
//! Relied on: gcc; Valgrind where it is there. Deliberately absent: two threads at once, which only happens to happen (lab 16
//! makes it certain), and the other tools.

use crate::harness::{Place, accused, root};
use crate::precise::needs_valgrind;

/// Runs one bug and returns the rules named, and how many of them accuse.
fn rules(bug: &str, mode: &[&str]) -> (Vec<String>, usize) {
    let place = Place::new();
    let folder = root().join("bench/detection");
    let program = place.cc(&folder.join("planted.c").to_string_lossy(), &["-O0"]);
    let profile = folder.join("planted.toml").to_string_lossy().into_owned();
    let flags = [mode, &["--profile", &profile, "-o", "t.ascope"]].concat();
    let alone = place.plain(&program, &[bug]);
    let (watched, screen) = place.watch(&flags, &program, &[bug]);
    assert_eq!(watched.status, alone.status, "{bug} {mode:?}\n{screen}");
    let json = place.findings(&place.file("t.ascope"));
    let all = json["findings"].as_array().cloned().unwrap_or_default();
    let named = all.iter().map(|finding| finding["rule"].as_str().unwrap_or_default().to_owned()).collect();
    (named, accused(&json).len())
}

#[test]
fn bugs_that_the_calls_show() {
    for (bug, rule, accuses) in [
        ("never-stored", "never-stored", true),
        ("double-free", "double-free", true),
        ("invalid-free", "invalid-free", true),
        ("wrong-arena-free", "wrong-arena-free", true),
        ("use-after-unmap", "use-after-unmap", true),
        ("cursor-corrupted", "cursor-corrupted", false),
        ("overlapping-arenas", "overlapping-arenas", false),
        ("fork-same-block", "fork-same-block", true),
        ("stale-pointer", "stale-pointer-after-resize", true),
        ("stale-bytes", "stale-bytes", false),
        ("offset-not-reset", "offset-not-reset", false),
        ("fork-private-write", "fork-private-write", false),
        ("null-used", "null-used", true),
        ("marks-out-of-order", "out-of-order-rewind", true),
    ] {
        let (named, accusing) = rules(bug, &[]);
        assert!(named.iter().any(|name| name == rule), "{bug}: {named:?}");
        assert_eq!(accusing > 0, accuses, "{bug}: {named:?}");
    }
}

#[test]
fn bugs_that_check_mode_shows() {
    for (bug, rule) in [
        ("overflow", "overflow"),
        ("underflow", "underflow"),
        ("use-after-free", "use-after-free"),
        ("use-after-rewind", "use-after-rewind"),
        ("use-after-reset", "use-after-reset"),
        ("double-free", "double-free"),
        ("invalid-free", "invalid-free"),
        ("fork-same-block", "fork-same-block"),
        ("stale-pointer", "stale-pointer-after-resize"),
    ] {
        let (named, _) = rules(bug, &["--check"]);
        assert!(named.iter().any(|name| name == rule), "{bug}: {named:?}");
    }
}

#[test]
fn bugs_that_memcheck_shows() {
    needs_valgrind();
    for (bug, rule) in [
        ("overflow-read", "overflow"),
        ("underflow", "underflow"),
        ("read-after-reset", "use-after-reset"),
        ("use-after-free", "use-after-free"),
        ("invalid-free", "invalid-free"),
        ("fork-same-block", "fork-same-block"),
        ("stale-pointer", "stale-pointer-after-resize"),
    ] {
        let (named, accusing) = rules(bug, &["--precise"]);
        // What an access shows is said once.
        assert_eq!((named.as_slice(), accusing), (&[rule.to_owned()][..], 1), "{bug}");
    }
}

#[test]
fn the_program_that_is_right_is_silent() {
    needs_valgrind();
    for mode in [&[][..], &["--check"], &["--precise"]] {
        assert_eq!(rules("none", mode), (Vec::new(), 0), "{mode:?}");
    }
}

#[test]
fn what_memcheck_cannot_see_of_two_threads_is_said_once() {
    needs_valgrind();
    let place = Place::new();
    let folder = root().join("bench/detection");
    let program = place.cc(&folder.join("planted.c").to_string_lossy(), &["-O0"]);
    let profile = folder.join("planted.toml").to_string_lossy().into_owned();
    for (bug, times) in [("two-threads", 1), ("none", 0)] {
        let flags = ["--precise", "--force", "--profile", &profile, "-o", "t.ascope"];
        let (_, screen) = place.watch(&flags, &program, &[bug]);
        assert_eq!(screen.matches("memcheck runs one thread at a time").count(), times, "{bug}: {screen}");
    }
}

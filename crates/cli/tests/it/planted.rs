//! Our columns of docs/detection.md: each bug planted in bench/detection/planted.c is named by its rule in the mode that must see it.
//!
//! Relied on: gcc. Deliberately absent: two threads at once, which only happens to happen (lab 16 makes it certain), the other
//! tools, and `--precise` (`precise` has its own programs).

use crate::harness::{Place, accused, root};

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
        ("invalid-free", "invalid-free", false),
        ("wrong-arena-free", "wrong-arena-free", true),
        ("use-after-unmap", "use-after-unmap", true),
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
    ] {
        let (named, _) = rules(bug, &["--check"]);
        assert!(named.iter().any(|name| name == rule), "{bug}: {named:?}");
    }
}

#[test]
fn the_program_that_is_right_is_not_accused() {
    for mode in [&[][..], &["--check"]] {
        assert_eq!(rules("none", mode).1, 0, "{mode:?}");
    }
}

//! The verb `lab`: what it lists, shows and tries, and what it says where it cannot.
//!
//! What each lab must show stands beside its program; here all are tried as a user would. The comparison with other tools and the
//! Rust parts are tried by `cargo xtask labs`.

use crate::harness::Place;
use std::path::Path;
use std::process::Command;

#[test]
fn all_labs_show_what_they_must_and_their_twins_are_silent() {
    let place = Place::new();
    let outcome = place.arenascope(&["lab", "--all"]);
    assert_eq!(outcome.status, 0, "{outcome:#?}");
    let lines = |what: &str| outcome.stdout.lines().filter(|line| line.contains(what)).count();
    assert!(lines(" as expected") > 5 && lines(" silent") >= 12, "{}", outcome.stdout);
    assert_eq!(lines("NOT as expected") + lines("NOT silent"), 0, "{}", outcome.stdout);
    for lab in ["09b_arena_scope_leak_tracer ", "14_null_ignored ", "19_fragmentation_and_reuse "] {
        let line = outcome.stdout.lines().find(|line| line.starts_with(lab)).unwrap_or("");
        assert!(line.ends_with(" as expected"), "{lab}: {line:?}");
    }
    assert!(outcome.stdout.contains("left out without --slow: 1 with other tools"), "{}", outcome.stdout);
    assert!(place.traces().is_empty(), "nothing is left in the user's folder");
}

#[test]
fn the_list_names_them_and_writes_nothing() {
    let place = Place::new();
    for words in [&["lab"][..], &["lab", "list"]] {
        let outcome = place.arenascope(words);
        assert_eq!(outcome.status, 0, "{outcome:#?}");
        for text in ["12_double_free", "  12a ", "one slot given back twice", "  09c ", "arenascope lab --all"] {
            assert!(outcome.stdout.contains(text), "{text}: {}", outcome.stdout);
        }
    }
    assert_eq!(std::fs::read_dir(place.path()).expect("a folder").count(), 0);
}

#[test]
fn one_lab_is_shown_explained_and_kept() {
    let place = Place::new();
    let outcome = place.arenascope(&["lab", "14", "--plain", "--into", "mine"]);
    assert_eq!(outcome.status, 0, "{outcome:#?}");
    let mut rest = outcome.stdout.as_str();
    for text in [
        "lab 14  the arena says NULL",
        "line[0] = (char)('0' + i); // LAB: used",
        "arenascope run 14_null_ignored.c",
        "1. line",
        "null-used",
        "as expected: null-used",
        "ties the\nfault to the refusal",
        "14_null_ignored_mended.c: the same, mended",
        "if (line == NULL)",
        "silent, as expected",
        "files and traces are in mine",
    ] {
        let at = rest.find(text).unwrap_or_else(|| panic!("{text:?} is missing, or too early:\n{}", outcome.stdout));
        rest = &rest[at..];
    }
    let folder = place.path().join("mine/14_null_ignored");
    for file in ["14_null_ignored.c", "14_null_ignored_mended.c", "14_null_ignored.ascope", "README.md"] {
        assert!(folder.join(file).is_file(), "{file}");
    }
    assert!(
        place.findings(&folder.join("14_null_ignored.ascope"))["findings"].as_array().is_some_and(|f| f.len() == 1)
    );
}

#[test]
fn a_lab_that_is_none_and_a_file_of_the_user_s() {
    let place = Place::new();
    let outcome = place.arenascope(&["lab", "99"]);
    assert_eq!(outcome.status, 2, "{outcome:#?}");
    assert!(outcome.stderr.contains("no lab is called 99") && outcome.stderr.contains("12a"), "{}", outcome.stderr);

    let file = place.path().join("mine/14_null_ignored/14_null_ignored.c");
    std::fs::create_dir_all(file.parent().unwrap_or(Path::new("."))).expect("a folder");
    std::fs::write(&file, "int main(void) { return 0; }\n").expect("a write");
    let outcome = place.arenascope(&["lab", "14", "--into", "mine"]);
    assert_eq!(outcome.status, 2, "{outcome:#?}");
    assert!(outcome.stderr.contains("14_null_ignored.c is there already, with other contents"), "{}", outcome.stderr);
    assert!(std::fs::read_to_string(&file).expect("still there").starts_with("int main"));
}

#[test]
fn without_a_compiler_it_says_so() {
    let place = Place::new();
    for words in [&["lab", "14"][..], &["lab", "--all"]] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_arenascope"));
        let outcome = place.outcome(command.args(words).env("CC", "/nowhere/cc"));
        assert_eq!(outcome.status, 2, "{outcome:#?}");
        assert!(outcome.stderr.contains("cannot start the C compiler /nowhere/cc"), "{}", outcome.stderr);
        assert!(outcome.stderr.contains("apt-get install gcc"), "{}", outcome.stderr);
    }
}

//! What rights forbid: tried as a user without any, since root is forbidden nothing.

use crate::harness::{Outcome, Place, is_root};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

/// The user and group that own nothing (Debian's `nobody` and `nogroup`).
const NOBODY: &str = "65534";

/// Runs `arenascope arguments` as nobody when this is root, else as whoever this is.
fn as_nobody(place: &Place, arguments: &[&str]) -> Outcome {
    let arenascope = place.own_arenascope();
    let mut command = if is_root() {
        let mut command = Command::new("setpriv");
        command
            .args([&format!("--reuid={NOBODY}"), &format!("--regid={NOBODY}"), "--clear-groups", "--"])
            .arg(&arenascope);
        command
    } else {
        Command::new(&arenascope)
    };
    place.outcome(command.args(arguments))
}

fn chmod(place: &Place, name: &str, mode: u32) {
    std::fs::set_permissions(place.file(name), std::fs::Permissions::from_mode(mode)).expect("chmod of our own file");
}

#[test]
fn somebody_without_rights_can_watch_where_they_may_write() {
    let place = Place::new();
    place.cc("limits.c", &[]);
    std::fs::create_dir(place.file("open")).expect("a folder");
    chmod(&place, "open", 0o777);
    let outcome = as_nobody(&place, &["run", "-o", "open/t.ascope", "--", "./limits"]);
    assert_eq!(outcome.status, 0, "{outcome:?}");
    assert!(place.file("open/t.ascope").exists(), "{outcome:?}");
}

#[test]
fn a_program_without_the_right_to_execute_it() {
    let place = Place::new();
    place.cc("hello.c", &[]);
    std::fs::create_dir(place.file("open")).expect("a folder");
    chmod(&place, "open", 0o777);
    // Others may not execute it: root still could, so this test means something only as nobody.
    chmod(&place, "hello", 0o744);
    if !is_root() {
        chmod(&place, "hello", 0o644);
    }
    let outcome = as_nobody(&place, &["run", "-o", "open/t.ascope", "--", "./hello"]);
    assert_eq!(outcome.status, 126, "{outcome:?}");
    assert!(outcome.stderr.contains("hello") && outcome.stderr.to_lowercase().contains("permission"), "{outcome:?}");
}

#[test]
fn a_program_that_may_be_executed_and_not_read() {
    let place = Place::new();
    place.cc("hello.c", &[]);
    std::fs::create_dir(place.file("open")).expect("a folder");
    chmod(&place, "open", 0o777);
    chmod(&place, "hello", 0o711);
    let outcome = as_nobody(&place, &["run", "-o", "open/t.ascope", "--", "./hello"]);
    if is_root() {
        assert!(outcome.stderr.contains("hello") && !outcome.stderr.contains("panicked"), "{outcome:?}");
        assert!(outcome.stdout == "hello\n" || outcome.status == 126, "it runs unseen or is refused: {outcome:?}");
    } else {
        assert_eq!(outcome.stdout, "hello\n");
    }
}

#[test]
fn an_output_that_cannot_be_written() {
    let place = Place::new();
    place.cc("hello.c", &[]);
    std::fs::create_dir(place.file("shut")).expect("a folder");
    chmod(&place, "shut", 0o555);
    let outcome = as_nobody(&place, &["run", "-o", "shut/t.ascope", "--", "./hello"]);
    assert_eq!(outcome.status, 2, "{outcome:?}");
    assert!(
        outcome.stderr.contains("shut/t.ascope") && outcome.stderr.to_lowercase().contains("permission"),
        "{outcome:?}"
    );
    assert_eq!(outcome.stdout, "", "the program was not started: {outcome:?}");
    // And where no name is given, the current folder is the place.
    if is_root() {
        let outcome = as_nobody(&place, &["run", "--", "./hello"]);
        assert_eq!(outcome.status, 2, "{outcome:?}");
        assert!(outcome.stderr.contains("-o"), "what to try: {outcome:?}");
    }
    chmod(&place, "shut", 0o755);
}

#[test]
fn a_log_file_that_cannot_be_written() {
    let place = Place::new();
    place.cc("hello.c", &[]);
    std::fs::create_dir(place.file("shut")).expect("a folder");
    chmod(&place, "shut", 0o555);
    let outcome = as_nobody(&place, &["run", "--log", "shut/words", "-o", "/dev/null", "--", "./hello"]);
    assert_eq!(outcome.status, 2, "{outcome:?}");
    assert!(!outcome.stderr.is_empty());
    chmod(&place, "shut", 0o755);
}

#[test]
fn a_trace_that_may_not_be_read() {
    let place = Place::new();
    std::fs::write(place.file("t.ascope"), "x").expect("a file");
    chmod(&place, "t.ascope", 0o000);
    let outcome = as_nobody(&place, &["show", "t.ascope"]);
    assert_eq!(outcome.status, 3, "{outcome:?}");
    assert!(outcome.stderr.contains("t.ascope") && outcome.stderr.to_lowercase().contains("permission"), "{outcome:?}");
}

#[test]
fn a_setuid_program_runs_unseen_and_we_say_why() {
    if !is_root() {
        eprintln!("needs root to make a program that belongs to somebody else");
        return;
    }
    let place = Place::new();
    place.cc("limits.c", &[]);
    std::fs::create_dir(place.file("open")).expect("a folder");
    chmod(&place, "open", 0o777);
    chmod(&place, "limits", 0o4755);
    let outcome = as_nobody(&place, &["run", "-o", "open/t.ascope", "--", "./limits"]);
    assert!(outcome.stderr.contains("setuid") || outcome.stderr.contains("set-user-ID"), "{outcome:?}");
    assert!(!outcome.stderr.contains("panicked"));
    assert!((outcome.status, outcome.stdout.as_str()) == (0, "499500\n") || outcome.status == 126, "{outcome:?}");
}

//! Programs that record themselves: dynamic and static, ended in every way; and the traces that failing assertions leave.

use crate::harness::{Outcome, Place, count, long, root};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The example of the recorder's crate, built for release.
fn built(static_binary: bool) -> &'static Path {
    static BUILT: [OnceLock<PathBuf>; 2] = [OnceLock::new(), OnceLock::new()];
    BUILT[usize::from(static_binary)].get_or_init(|| {
        let folder =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(if static_binary { "inside-static" } else { "inside" });
        let target = "x86_64-unknown-linux-gnu";
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args([
            "build",
            "--release",
            "--locked",
            "-p",
            "arenascope-record",
            "--features",
            "start",
            "--example",
            "inside",
        ]);
        cargo.args(["--target", target, "--target-dir"]).arg(&folder).current_dir(root());
        cargo
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .env("RUSTFLAGS", if static_binary { "-C target-feature=+crt-static" } else { "" });
        let output = cargo.output().expect("cargo runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        folder.join(target).join("release/examples/inside")
    })
}

/// Runs it in a place; its trace is `TRACE` there.
fn inside(place: &Place, static_binary: bool, way: &str, trace: &str) -> Outcome {
    let rounds = if long() { "5000" } else { "50" };
    place.plain(built(static_binary), &[way, trace, "4", rounds])
}

/// `name value name value …` in one line of its output.
fn figure(line: &str, name: &str) -> usize {
    let mut words = line.split_whitespace().skip_while(|word| *word != name).skip(1);
    words.next().and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name} in {line:?}"))
}

/// The trace holds what the program says it did; all from the threads' arenas and the shared one.
fn holds(events: &[Value], line: &str) {
    for (own, kind) in [("allocs", "alloc"), ("scopes", "scope-enter"), ("scopes", "scope-exit"), ("resets", "reset")] {
        assert_eq!(count(events, kind), figure(line, own), "{kind}: {line}");
    }
    assert!(count(events, "create") >= figure(line, "creates"), "{line}");
}

#[test]
fn a_program_that_records_itself_leaves_every_event_however_it_ends() {
    for static_binary in [false, true] {
        for (way, status) in
            [("whole", 0), ("exit", 0), ("fork", 0), ("child", 0), ("abort", 134), ("kill", 137), ("panic", 101)]
        {
            let place = Place::new();
            let said = inside(&place, static_binary, way, "own.ascope");
            assert_eq!(said.status, status, "{way}: {said:?}");
            let events = place.log(&place.file("own.ascope"));
            holds(&events, said.stdout.lines().last().expect("a line"));
            let bytes = std::fs::metadata(place.file("own.ascope")).expect("the trace").len();
            assert_eq!(bytes > 1 << 30, matches!(way, "abort" | "kill"), "{way}: {bytes} bytes");
            let findings = place.arenascope(&["findings", "own.ascope"]);
            assert!(findings.status == 0 && findings.stdout.contains("0 findings"), "{way}: {findings:?}");
            let shown = place.arenascope(&["show", "own.ascope"]);
            assert!(shown.stdout.contains("inside.rs:") && shown.stdout.contains("\"worker\""), "{way}: {shown:?}");
        }
    }
}

#[test]
fn recording_again_starts_anew_and_holds_nothing_from_between() {
    let place = Place::new();
    let said = inside(&place, true, "again", "own.ascope");
    assert_eq!(said.status, 0, "{said:?}");
    let lines: Vec<&str> = said.stdout.lines().collect();
    for (trace, line) in ["own.ascope", "own.ascope.2"].into_iter().zip(lines) {
        holds(&place.log(&place.file(trace)), line);
    }
}

#[test]
fn what_cannot_be_recorded_is_said() {
    let place = Place::new();
    std::fs::write(place.file("letter.txt"), "Dear reader").expect("a file");
    std::fs::create_dir(place.file("folder")).expect("a folder");
    for (trace, words) in [
        ("nowhere/own.ascope", "No such file or directory"),
        ("letter.txt", "it exists, and is no trace"),
        ("folder", "it exists, and is no trace"),
        ("/proc/own.ascope", "cannot write the trace /proc/own.ascope"),
    ] {
        let said = inside(&place, false, "whole", trace);
        assert!(said.status == 3 && said.stderr.contains(words), "{trace}: {said:?}");
    }
    assert_eq!(std::fs::read(place.file("letter.txt")).expect("still there"), b"Dear reader");
    // Another trace is replaced.
    for _ in 0..2 {
        let said = inside(&place, false, "whole", "own.ascope");
        holds(&place.log(&place.file("own.ascope")), said.stdout.lines().last().expect("a line"));
    }
    // Under run it is run that records.
    let program = built(false).display().to_string();
    let said = place.arenascope(&["run", "--", program.as_str(), "whole", "twice.ascope", "1", "1"]);
    assert!(said.status == 3 && said.stderr.contains("observed already"), "{said:?}");
    assert!(!place.file("twice.ascope").exists());
}

#[test]
fn names_are_looked_up_in_the_file_that_ran_and_completed_on_demand() {
    let place = Place::new();
    let program = place.file("program");
    std::fs::copy(built(true), &program).expect("a copy");
    let run = |place: &Place| place.plain(&program, &["kill", "own.ascope", "2", "3"]);
    assert_eq!(run(&place).status, 137);
    let before = std::fs::metadata(place.file("own.ascope")).expect("the trace").modified().expect("a time");
    assert!(place.arenascope(&["log", "own.ascope"]).stdout.contains("inside.rs:"));
    assert_eq!(
        std::fs::metadata(place.file("own.ascope")).expect("it").modified().expect("a time"),
        before,
        "only read"
    );
    let copy = place.file("copy.ascope");
    assert_eq!(place.plain(Path::new("cp"), &["--sparse=always", "own.ascope", "copy.ascope"]).status, 0);
    let said = place.arenascope(&["complete", "copy.ascope"]);
    assert_eq!(said.status, 0, "{said:?}");
    assert!(std::fs::metadata(&copy).expect("it").len() < 1 << 24, "cut");
    let again = place.arenascope(&["complete", "copy.ascope"]);
    assert!(again.status == 2 && again.stderr.contains("complete already"), "{again:?}");
    // Another program at the same place names nothing; the completed copy needs none.
    std::fs::copy("/bin/true", &program).expect("another program");
    let shown = place.arenascope(&["show", "own.ascope"]);
    assert!(shown.status == 0 && shown.stderr.contains("is another file than when this was recorded"), "{shown:?}");
    let (with, without) = (place.log(&copy), place.log(&place.file("own.ascope")));
    let named = |events: &[Value]| events.iter().filter(|event| event["site"][0]["function"] == "worker").count();
    assert_eq!(with.len(), without.len());
    assert!(named(&with) > 0 && named(&without) == 0);
}

//! show, log, findings and the screen: plain words, no colour into pipes, patterns, closed pipes.

use crate::harness::{Place, lab, programs};
use serde_json::Value;

fn traced() -> Place {
    let place = Place::new();
    let source = lab("09b_arena_scope_leak_tracer.c");
    let outcome = place.arenascope(&["run".as_ref(), "-o".as_ref(), "t.ascope".as_ref(), source.as_os_str()]);
    assert_eq!(outcome.status, 0, "{outcome:?}");
    place
}

#[test]
fn plain_is_ascii_and_nothing_is_coloured_into_a_pipe() {
    let place = traced();
    for verb in ["show", "log", "findings"] {
        let rich = place.arenascope(&[verb, "t.ascope"]);
        assert_eq!(rich.status, 0, "{rich:?}");
        assert!(!rich.stdout.is_empty(), "{verb}");
        assert!(!rich.stdout.contains('\u{1b}'), "{verb}: {rich:?}");
        let plain = place.arenascope(&[verb, "--plain", "t.ascope"]);
        assert_eq!(plain.status, 0, "{plain:?}");
        assert!(plain.stdout.is_ascii() && !plain.stdout.is_empty(), "{verb}: {plain:?}");
    }
    let program = place.cc("limits.c", &[]);
    let (_, screen) = place.watch(&["--plain", "-o", "plain.ascope"], &program, &[]);
    assert!(screen.is_ascii() && !screen.is_empty(), "{screen}");
}

#[test]
fn every_verb_speaks_json_of_format_1() {
    let place = traced();
    for verb in ["show", "findings"] {
        let said = place.arenascope(&[verb, "--json", "t.ascope"]);
        let json: Value =
            serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{verb}: {error}: {said:?}"));
        assert_eq!(json["format"], 1, "{verb}");
    }
    assert!(place.log(&place.file("t.ascope")).len() >= 6, "create, four allocs, destroy at least");
}

#[test]
fn the_same_trace_says_the_same() {
    let place = traced();
    for words in [
        &["show", "t.ascope"][..],
        &["log", "t.ascope"],
        &["log", "--json", "t.ascope"],
        &["findings", "--json", "t.ascope"],
    ] {
        assert_eq!(place.arenascope(words), place.arenascope(words), "{words:?}");
    }
}

#[test]
fn moments_show_what_was_there_then() {
    let place = traced();
    let events = place.log(&place.file("t.ascope"));
    let allocs: Vec<_> = events.iter().filter(|event| event["kind"] == "alloc").collect();
    assert_eq!(allocs.len(), 4);
    for (done, alloc) in allocs.iter().enumerate() {
        let shown = place.show(&place.file("t.ascope"), &["--at", &format!("#{}", alloc["event"])]);
        let offsets: Vec<Option<u64>> = shown["arenas"]
            .as_array()
            .into_iter()
            .flatten()
            .flat_map(|arena| arena["blocks"].as_array().cloned().unwrap_or_default())
            .map(|block| block["offset"].as_u64())
            .collect();
        let wanted: Vec<Option<u64>> = (0..=done as u64).map(|n| Some(n * 32)).collect();
        assert_eq!(offsets, wanted, "{shown}");
    }
    let before = place.show(&place.file("t.ascope"), &["--at", "start"]);
    assert!(!before.to_string().contains("\"offset\""), "{before}");
}

#[test]
fn patterns_choose_arenas() {
    let place = traced();
    let all = place.arenascope(&["log", "t.ascope", "--arena", "*"]);
    let none = place.arenascope(&["log", "t.ascope", "--arena", "no-arena-of-this-name"]);
    assert!(all.stdout.contains("arena_alloc"), "{all:?}");
    assert!(!none.stdout.contains("arena_alloc"), "{none:?}");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let place = Place::new();
    let program = place.cc("sigkill.c", &["-O2"]);
    place.watch(&["--alloc", "bump_alloc(arena, size) -> block", "-o", "t.ascope"], &program, &["100000"]);
    let mut shell = std::process::Command::new("bash");
    let script = "\"$0\" log t.ascope | head -n 1; echo \"${PIPESTATUS[0]}\"";
    let outcome = place.outcome(shell.args(["-c", script, env!("CARGO_BIN_EXE_arenascope")]));
    assert!(outcome.stdout.ends_with("\n0\n"), "{outcome:?}");
    assert_eq!(outcome.stderr, "");
}

#[test]
fn narrate_tells_events_as_they_happen() {
    let place = Place::new();
    let source = lab("09b_arena_scope_leak_tracer.c");
    let outcome = place.arenascope(&["run".as_ref(), "--narrate".as_ref(), source.as_os_str()]);
    assert_eq!(outcome.status, 0, "{outcome:?}");
    assert!(outcome.stderr.matches("arena_alloc(32)").count() >= 4, "{outcome:?}");
    let plain = place.arenascope(&["run".as_ref(), "--narrate".as_ref(), "--plain".as_ref(), source.as_os_str()]);
    assert!(plain.stderr.is_ascii(), "{plain:?}");
}

#[test]
fn the_trace_is_named_after_program_and_pid() {
    let place = Place::new();
    let program = place.cc("limits.c", &[]);
    place.watch(&[], &program, &[]);
    let trace = place.trace();
    let name = trace.file_name().expect("a name").to_string_lossy().into_owned();
    let pid = name.strip_prefix("limits.").and_then(|rest| rest.strip_suffix(".ascope")).unwrap_or("");
    assert!(!pid.is_empty() && pid.chars().all(|c| c.is_ascii_digit()), "{name}");
}

#[test]
fn several_c_files_make_one_program() {
    let place = Place::new();
    std::fs::write(place.file("a.c"), "int seven(void); int main(void) { return seven(); }\n").expect("a file");
    std::fs::write(place.file("b.c"), "int seven(void) { return 7; }\n").expect("a file");
    let outcome = place.arenascope(&["run", "a.c", "b.c"]);
    assert_eq!(outcome.status, 7, "{outcome:?}");
    assert!(!place.file("a.out").exists(), "nothing of ours is left beside the trace");
    let left: Vec<_> = std::fs::read_dir(place.path())
        .expect("our folder")
        .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
        .filter(|name| !["a.c", "b.c"].contains(&name.as_str()) && !name.ends_with(".ascope"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn the_program_stands_alone() {
    let place = Place::new();
    let copy = place.own_arenascope();
    let source = programs().join("limits.c");
    let outcome = place.outcome(std::process::Command::new(copy).arg("run").arg(source).env("PATH", "/usr/bin:/bin"));
    assert_eq!(outcome.status, 0, "{outcome:?}");
    assert!(outcome.stderr.contains("bump_alloc"), "{outcome:?}");
    assert_eq!(place.traces().len(), 1);
}

/// The last line of the screen, as a shell takes it, shows the block that the screen is about.
#[test]
fn the_next_command_works_as_it_stands() {
    for (trace, source) in [("a b.ascope", "finding"), ("-x.ascope", "finding"), ("it's.ascope", "none")] {
        let place = Place::new();
        let program = match source {
            "finding" => place.cc(&lab("09b_arena_scope_leak_tracer.c").to_string_lossy(), &[]),
            _ => place.cc("limits.c", &[]),
        };
        let (_, screen) = place.watch(&[&format!("-o{trace}")], &program, &[]);
        let command = screen.lines().last().unwrap_or_default().trim().to_owned();
        assert!(command.starts_with("arenascope show "), "{screen}");
        let script = command.replacen("arenascope", "\"$0\"", 1);
        let mut shell = std::process::Command::new("sh");
        let shown = place.outcome(shell.args(["-c", &script, env!("CARGO_BIN_EXE_arenascope")]));
        assert_eq!(shown.status, 0, "{command}: {shown:?}");
        assert!(shown.stdout.contains("allocated\n"), "blocks are listed: {command}: {shown:?}");
    }
}

#[test]
fn the_trace_s_name_when_others_than_the_program_itself_leave_one() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    place.cc("limits.c", &[]);
    let script = |text: &str| {
        std::fs::write(place.file("script"), format!("#!/bin/sh\n{text}\n")).expect("a script");
        std::fs::set_permissions(place.file("script"), std::fs::Permissions::from_mode(0o755)).expect("chmod");
        place.file("script")
    };
    let names = || -> Vec<String> {
        let traces = place.traces();
        traces.iter().filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned())).collect()
    };
    let flags = ["--force", "-o", "x.ascope"];
    let (_, screen) = place.watch(&flags, &script("./limits; true"), &[]);
    assert_eq!(names(), ["x.ascope"], "the only one: {screen}");
    assert!(screen.contains("trace x.ascope"), "{screen}");
    let old = std::fs::read(place.file("x.ascope")).expect("the trace");
    let (_, screen) = place.watch(&flags, &script("true; true"), &[]);
    assert_eq!(names(), ["x.ascope"], "{screen}");
    assert!(std::fs::read(place.file("x.ascope")).expect("the trace") == old, "nothing new, so the old one stays");
    let (_, screen) = place.watch(&flags, &script("./limits; ./limits; true"), &[]);
    assert_eq!(names().iter().filter(|name| *name != "x.ascope").count(), 2, "{screen}");
    assert!(screen.contains("x.ascope was not written"), "{screen}");
    assert!(screen.contains("what follows is ") && screen.contains("limits, process "), "whose arena 1: {screen}");
    assert!(!place.file("x.ascope.before").exists());
}

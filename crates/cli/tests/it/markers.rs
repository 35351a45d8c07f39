//! Markers of `arenascope-mark.h`: everything told is seen, nothing of the program changes, and what lies is refused.

use crate::harness::{Outcome, Place, accused, count, line_of, programs};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the program says it told: the words behind `told` in its last line.
fn told(outcome: &Outcome) -> Vec<(String, u64)> {
    let line = outcome.stdout.lines().last().unwrap_or_default();
    let words: Vec<&str> = line.strip_prefix("told ").unwrap_or_default().split(' ').collect();
    words
        .chunks(2)
        .filter_map(|pair| Some((pair.first()?.trim_end_matches('s').to_owned(), pair.get(1)?.parse().ok()?)))
        .collect()
}

/// The number behind a word of what the program printed.
fn number(outcome: &Outcome, word: &str) -> u64 {
    let mut words = outcome.stdout.split_whitespace();
    words.find(|other| *other == word).unwrap_or_else(|| panic!("no {word} in {outcome:?}"));
    words
        .next()
        .and_then(|number| number.parse().ok())
        .unwrap_or_else(|| panic!("no number behind {word}: {outcome:?}"))
}

/// Events of this kind, of the whole trace.
fn events(place: &Place, trace: &Path, kind: &str) -> u64 {
    count(&place.log(trace), kind) as u64
}

fn lost(place: &Place, trace: &Path) -> u64 {
    place.findings(trace)["lost"]["events"].as_u64().expect("a count")
}

/// Runs with and without us: the same outcome. Then the trace and our words.
fn watch_as_plain(place: &Place, program: &Path, arguments: &[&str]) -> (Outcome, PathBuf, String) {
    let plain = place.plain(program, arguments);
    let (watched, screen) = place.watch(&["-o", "t.ascope", "--force"], program, arguments);
    assert!(plain == watched, "plain\n{plain:?}\nwatched\n{watched:?}\n{screen}");
    (watched, place.file("t.ascope"), screen)
}

/// Everything the program told of each role is in the trace, once.
fn assert_all_seen(place: &Place, outcome: &Outcome, trace: &Path, what: &str) {
    let all = told(outcome);
    assert!(all.iter().map(|(_, count)| count).sum::<u64>() > 3, "{what}: {outcome:?}");
    let log = place.log(trace);
    for (kind, expected) in all {
        assert_eq!(count(&log, &kind) as u64, expected, "{what}: {kind}");
    }
    assert_eq!(lost(place, trace), 0, "{what}");
}

/// Compilers and flags.
const BUILDS: [(&str, &[&str]); 13] = [
    ("gcc", &["-O0"]),
    ("gcc", &["-O1"]),
    ("gcc", &["-O2"]),
    ("gcc", &["-O3"]),
    ("gcc", &["-Os"]),
    ("gcc", &["-O2", "-flto"]),
    ("gcc", &["-O2", "-fno-pie", "-no-pie"]),
    ("gcc", &["-O2", "-fPIC", "-ffunction-sections", "-Wl,--gc-sections"]),
    ("gcc", &["-O2", "-fomit-frame-pointer", "-mavx", "-ftree-vectorize"]),
    ("clang", &["-O0"]),
    ("clang", &["-O2"]),
    ("clang", &["-O3", "-fno-pie", "-no-pie"]),
    ("clang", &["-O2", "-ffunction-sections", "-Wl,--gc-sections"]),
];

#[test]
fn every_role_is_seen_from_every_compiler() {
    for (compiler, flags) in BUILDS {
        let place = Place::new();
        let program = place.compile(compiler, "marked.c", flags);
        let what = format!("{compiler} {flags:?}");
        let (outcome, trace, screen) = watch_as_plain(&place, &program, &["roles"]);
        assert_all_seen(&place, &outcome, &trace, &what);
        let log = place.log(&trace);
        let moments: Vec<&str> = log
            .iter()
            .filter(|event| event["kind"] == "user-mark")
            .filter_map(|event| event["name"].as_str())
            .collect();
        assert_eq!(moments, ["before the reset"], "{what}");
        assert!(screen.contains(" in marked: ") && screen.contains("arena 1 \"marked\"   4 KiB"), "{what}: {screen}");
        assert!(accused(&place.findings(&trace)).is_empty(), "{what}: {screen}");
        let sizes: Vec<u64> =
            log.iter().filter(|event| event["kind"] == "alloc").filter_map(|event| event["size"].as_u64()).collect();
        let mut expected: Vec<u64> = vec![24, 1, 9, 17, 25, 33, 41, 49, 57, 65, 73, 1 << 20, 40];
        expected.extend([16; 5]);
        assert_eq!(sizes, expected, "{what}");
    }
}

#[test]
fn what_a_program_computes_around_markers_stays_the_same() {
    for (compiler, flags) in BUILDS {
        let place = Place::new();
        let program = place.compile(compiler, "marked.c", flags);
        let what = format!("{compiler} {flags:?}");
        let (outcome, trace, _) = watch_as_plain(&place, &program, &["registers"]);
        assert_all_seen(&place, &outcome, &trace, &what);
    }
}

#[test]
fn registers_flags_and_the_red_zone_survive_a_marker() {
    for compiler in ["gcc", "clang"] {
        let place = Place::new();
        let program = place.compile(compiler, "marked_registers.c", &["-O2"]);
        let (outcome, trace, screen) = watch_as_plain(&place, &program, &[]);
        assert_eq!(outcome.stdout, "20000 rounds, 0 wrong\n", "{screen}");
        let log = place.log(&trace);
        assert_eq!(count(&log, "alloc"), 20_000);
        // Its operands: two registers, and a word of the red zone.
        let sizes: Vec<u64> =
            log.iter().filter(|event| event["kind"] == "alloc").filter_map(|event| event["size"].as_u64()).collect();
        assert!(sizes.iter().enumerate().all(|(round, size)| *size == round as u64 & 255), "{compiler}");
    }
}

#[test]
fn four_threads_are_counted_to_the_last_event() {
    for (compiler, flags) in [("gcc", &["-O2"][..]), ("clang", &["-O3"])] {
        let place = Place::new();
        let program = place.compile(compiler, "marked.c", flags);
        let (outcome, trace, _) = watch_as_plain(&place, &program, &["threads"]);
        assert_eq!(number(&outcome, "allocs"), 1_000_000);
        assert_eq!((events(&place, &trace, "alloc"), lost(&place, &trace)), (1_000_000, 0), "{compiler}");
        assert!(accused(&place.findings(&trace)).is_empty());
    }
}

#[test]
fn signals_inside_markers_lose_nothing_unsaid() {
    for what in ["signals", "jumps"] {
        let place = Place::new();
        let program = place.cc("marked.c", &["-O2"]);
        let (outcome, screen) = place.watch(&["-o", "t.ascope"], &program, &[what]);
        assert_eq!(outcome.status, 0, "{outcome:?}\n{screen}");
        let (allocs, jumps) = (number(&outcome, "allocs"), number(&outcome, "jumps"));
        let trace = place.file("t.ascope");
        let known = events(&place, &trace, "alloc") + lost(&place, &trace);
        // A jump may come between a marker and the program's own count, or between entering one and its event.
        assert!(
            known + jumps >= allocs && known <= allocs + jumps,
            "{what}: {known} of {allocs}, {jumps} jumps\n{screen}"
        );
    }
}

#[test]
fn a_forked_child_goes_on_telling() {
    let place = Place::new();
    let program = place.cc("marked.c", &["-O2"]);
    let plain = place.plain(&program, &["fork"]);
    let (watched, screen) = place.watch(&[], &program, &["fork"]);
    assert!(plain == watched, "{plain:?}\n{watched:?}");
    let mut counts: Vec<(u64, u64)> =
        place.traces().iter().map(|trace| (events(&place, trace, "alloc"), events(&place, trace, "reset"))).collect();
    counts.sort_unstable();
    assert_eq!(counts, [(4, 0), (7, 1)], "{screen}");
}

#[test]
fn templates_of_two_files_and_exceptions() {
    for (compiler, flags) in [
        ("g++", &["-O0", "-std=c++17"][..]),
        ("g++", &["-O2", "-std=c++17"]),
        ("g++", &["-O3", "-std=c++20", "-flto"]),
        ("clang++", &["-O0", "-std=c++17"]),
        ("clang++", &["-O2", "-std=c++20"]),
    ] {
        let place = Place::new();
        let other = programs().join("marked_other.cpp").display().to_string();
        let flags: Vec<&str> = flags.iter().copied().chain([other.as_str()]).collect();
        let program = place.compile(compiler, "marked.cpp", &flags);
        let (outcome, trace, screen) = watch_as_plain(&place, &program, &[]);
        let log = place.log(&trace);
        let seen =
            (count(&log, "alloc") as u64, count(&log, "reset") as u64, count(&log, "create"), count(&log, "destroy"));
        assert_eq!(
            seen,
            (number(&outcome, "allocs"), number(&outcome, "resets"), 3, 3),
            "{compiler} {flags:?}: {screen}"
        );
        for name in ["static", "local", "other"] {
            assert!(screen.contains(&format!("\"{name}\"")), "{compiler} {flags:?}: {screen}");
        }
        assert!(accused(&place.findings(&trace)).is_empty(), "{screen}");
        let aligns = log.iter().filter(|event| event["kind"] == "alloc" && event["align"] == 8).count();
        assert_eq!(aligns, 100, "{compiler} {flags:?}: the longs");
    }
}

#[test]
fn a_stripped_program_keeps_its_markers() {
    for compiler in ["gcc", "clang"] {
        let place = Place::new();
        let program = place.compile(compiler, "marked.c", &["-O2"]);
        let stripped = Command::new("strip").args(["--strip-all"]).arg(&program).status().expect("strip runs");
        assert!(stripped.success());
        let (outcome, trace, screen) = watch_as_plain(&place, &program, &["roles"]);
        assert_all_seen(&place, &outcome, &trace, compiler);
        let log = place.log(&trace);
        assert_eq!(count(&log, "user-mark"), 1, "a moment needs no symbol: {screen}");
    }
}

#[test]
fn a_planted_double_free_is_found_and_its_mended_twin_is_silent() {
    for (compiler, flags) in [("gcc", &["-O0"][..]), ("gcc", &["-O2"]), ("gcc", &["-O3"]), ("clang", &["-O2"])] {
        for mended in [false, true] {
            let place = Place::new();
            let flags: Vec<&str> = flags.iter().copied().chain(mended.then_some("-DMENDED")).collect();
            let program = place.compile(compiler, "marked.c", &flags);
            let (_, trace, screen) = watch_as_plain(&place, &program, &["planted"]);
            let found = accused(&place.findings(&trace));
            if mended {
                assert!(found.is_empty(), "{compiler} {flags:?}: {screen}");
                continue;
            }
            let [one] = found.as_slice() else { panic!("{compiler} {flags:?}: {screen}") };
            assert_eq!(
                (one["rule"].as_str(), one["certainty"].as_str()),
                (Some("double-free"), Some("likely")),
                "{screen}"
            );
            let source = programs().join("marked.c");
            let sites: Vec<&Value> = one["sites"].as_array().expect("sites").iter().collect();
            let lines: Vec<u64> = sites.iter().filter_map(|site| site["line"].as_u64()).collect();
            for marker in ["/* FIRST FREE */", "/* SECOND FREE */"] {
                assert!(lines.contains(&line_of(&source, marker)), "{compiler} {flags:?} {marker}: {screen}");
            }
        }
    }
}

#[test]
fn no_rule_takes_what_follows_a_marker_for_a_caller_s_code() {
    // No register holds a result there; `roles` throws several away.
    let place = Place::new();
    let program = place.cc("marked.c", &["-O2"]);
    let (_, trace, screen) = watch_as_plain(&place, &program, &["thread"]);
    let all = place.findings(&trace);
    let rules: Vec<&str> =
        all["findings"].as_array().into_iter().flatten().filter_map(|finding| finding["rule"].as_str()).collect();
    assert!(!rules.contains(&"never-stored") && !rules.contains(&"unsynchronised-sharing"), "{screen}");
}

#[test]
fn libraries_are_watched_each_time_they_are_loaded() {
    let place = Place::new();
    let library = place.file("plugin.so");
    let built = Command::new("gcc")
        .args(["-g", "-O2", "-shared", "-fPIC", "-o"])
        .arg(&library)
        .arg(programs().join("marked_plugin.c"))
        .status()
        .expect("gcc runs");
    assert!(built.success());
    let library = library.display().to_string();
    let program = place.cc("marked_loader.c", &["-O2", "-DOWN"]);
    let (outcome, trace, screen) = watch_as_plain(&place, &program, &[&library, "3"]);
    assert_eq!(outcome.stdout, "100\ngone\n".repeat(3), "{screen}");
    let log = place.log(&trace);
    assert_eq!((count(&log, "alloc"), count(&log, "create"), count(&log, "destroy")), (301, 3, 3), "{screen}");
    // A program without a marker of its own is watched when it is told that some will come.
    let program = place.cc("marked_loader.c", &["-O2"]);
    let (_, screen) = place.watch(&["-o", "u.ascope"], &program, &[&library, "1"]);
    assert!(screen.contains("plugin.so was loaded later and has markers, which were not watched: --late"), "{screen}");
    let (_, screen) = place.watch(&["-o", "u.ascope", "--force", "--late"], &program, &[&library, "2"]);
    let log = place.log(&place.file("u.ascope"));
    assert_eq!((count(&log, "alloc"), count(&log, "destroy")), (200, 2), "{screen}");
}

#[test]
fn notes_that_lie_are_refused_with_the_reason() {
    let place = Place::new();
    let program = place.cc("marked_wrong.c", &["-O2"]);
    let (outcome, trace, screen) = watch_as_plain(&place, &program, &[]);
    assert_eq!(outcome.stdout, "110\n");
    let log = place.log(&trace);
    assert_eq!((count(&log, "alloc"), count(&log, "mark")), (10, 10), "{screen}");
    let words: String = screen.split_whitespace().collect::<Vec<_>>().join(" ");
    for said in [
        "alloc markers in marked_wrong: 4 of 5: ",
        "has an argument `8@%xmm0` that is in no general register",
        "2 of them, each stands where the file has no nop of five bytes",
        "jumps to +0x3, among the bytes a patch would move",
        "reset markers in marked_wrong: one of them has 0 arguments where 1 belong",
        "a marker in marked_wrong: it has a name that is no role",
    ] {
        assert!(words.contains(said), "{said}\n{screen}");
    }
}

#[test]
fn probes_of_others_are_left_alone() {
    // Debian's python3 has SystemTap's notes of its own, and so has the C++ library.
    let place = Place::new();
    let python = Path::new("/usr/bin/python3");
    let (outcome, screen) = place.watch(&[], python, &["-c", "print(6 * 7)"]);
    assert_eq!((outcome.status, outcome.stdout.as_str()), (0, "42\n"), "{screen}");
    assert!(!screen.contains("markers in") && !screen.contains("a marker in"), "{screen}");
    let notes = Command::new("readelf").arg("-n").arg(python).output().expect("readelf runs");
    assert!(String::from_utf8_lossy(&notes.stdout).contains("Provider: python"), "else this test shows nothing");
}

#[test]
fn a_function_given_besides_tells_nothing_twice() {
    // At -O0 the marker stands in a function, which is named as well.
    for flags in [["-O0"], ["-O2"]] {
        let place = Place::new();
        let program = place.cc("marked.c", &flags);
        let roles = ["-o", "t.ascope", "--alloc", "arena_alloc(arena, size) -> block", "--reset", "arena_reset(arena)"];
        let (outcome, screen) =
            place.watch(if flags == ["-O0"] { &roles } else { &["-o", "t.ascope"] }, &program, &["roles"]);
        assert_all_seen(&place, &outcome, &place.file("t.ascope"), &format!("{flags:?}: {screen}"));
        assert!(accused(&place.findings(&place.file("t.ascope"))).is_empty(), "{screen}");
    }
}

#[test]
fn check_mode_says_that_it_cannot() {
    let place = Place::new();
    let program = place.cc("marked.c", &["-O2"]);
    let (outcome, screen) = place.watch(&["--check", "-o", "t.ascope"], &program, &["roles"]);
    assert_eq!(outcome, place.plain(&program, &["roles"]), "{screen}");
    assert_all_seen(&place, &outcome, &place.file("t.ascope"), "check");
    assert!(screen.contains("blocks told by markers have no redzone"), "{screen}");
    assert!(!screen.contains("asked larger"), "none was: {screen}");
}

#[test]
fn static_programs_are_said_to_be_out_of_reach() {
    let place = Place::new();
    let program = place.cc("marked.c", &["-O2", "-static"]);
    let plain = place.plain(&program, &["roles"]);
    let (watched, screen) = place.watch(&[], &program, &["roles"]);
    assert!(plain == watched, "{plain:?}\n{watched:?}");
    assert!(screen.contains("not watched: ") && screen.contains("static"), "{screen}");
}

#[test]
fn explain_tells_of_markers() {
    let place = Place::new();
    let program = place.cc("marked.c", &["-O0"]);
    let (_, screen) = place.watch(&["--explain"], &program, &["roles"]);
    let line = "13 markers in marked: ";
    assert!(screen.contains(line) || screen.contains("14 markers in marked: "), "{screen}");
    assert!(screen.contains("so no function is looked for by shape"), "{screen}");
}

/// Instructions of a run under callgrind.
fn instructions(place: &Place, program: &Path) -> u64 {
    let run = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .current_dir(place.path())
        .output()
        .expect("valgrind is needed for this test");
    let words = String::from_utf8_lossy(&run.stderr).into_owned();
    let line = words.lines().find_map(|line| line.split_once("Collected :")).unwrap_or_else(|| panic!("{words}"));
    line.1.trim().parse().unwrap_or_else(|_| panic!("{words}"))
}

#[test]
fn unwatched_a_marker_costs_its_nop_and_hardly_more() {
    // gcc lays the code out another way and even saves some; clang keeps a block's address where it would have folded it.
    for (compiler, most) in [("gcc", 1), ("clang", 2)] {
        let place = Place::new();
        let program = place.compile(compiler, "marked_cost.c", &["-O2"]);
        let (outcome, trace, _) = watch_as_plain(&place, &program, &[]);
        let log = place.log(&trace);
        let passed = (count(&log, "alloc") + count(&log, "reset")) as u64;
        assert_eq!(passed, 300_200, "{compiler}");
        let with = instructions(&place, &program);
        let program = place.compile(compiler, "marked_cost.c", &["-O2", "-DARENASCOPE_NO_MARKERS"]);
        assert_eq!(place.plain(&program, &[]), outcome);
        let more = with.saturating_sub(instructions(&place, &program));
        assert!(more <= most * passed, "{compiler}: {more} more for {passed} markers");
    }
}

//! Precise mode: what memcheck sees, reads included, told as findings about blocks; and correct programs that stay silent.

use crate::correct_programs::STYLES;
use crate::harness::{Place, accused, line_of, programs, root};
use serde_json::Value;
use std::path::Path;
use std::process::Command;

const ROLES: [&str; 22] = [
    "--create",
    "arena_open(arena, size)",
    "--alloc",
    "arena_alloc(arena, size) -> block",
    "--alloc",
    "arena_zalloc(arena, size) -> block",
    "--alloc",
    "node_new(arena, size) -> block",
    "--resize",
    "arena_resize(arena, block, _, size) -> block",
    "--free",
    "node_free(arena, block)",
    "--mark",
    "arena_mark(arena) -> mark",
    "--rewind",
    "arena_rewind(arena, mark)",
    "--reset",
    "arena_reset(arena)",
    "--reset",
    "arena_clear(arena)",
    "--destroy",
    "arena_close(arena)",
];

/// A missing Valgrind fails a test; it does not skip it.
pub fn needs_valgrind() {
    let there = Command::new("valgrind").arg("--version").output().is_ok_and(|output| output.status.success());
    assert!(there, "precise mode needs Valgrind, which is not installed: apt install valgrind, or cargo xtask test");
}

/// Runs a program under `--precise`: what it accuses, and the screen.
fn accusations(place: &Place, flags: &[&str], program: &Path, arguments: &[&str], status: i32) -> (Vec<Value>, String) {
    let (plain, all) =
        (place.plain(program, arguments), [&["--precise", "--force", "-o", "trace.ascope"], flags].concat());
    let (outcome, screen) = place.watch(&all, program, arguments);
    assert_eq!(outcome.status, status, "{outcome:?}\n{screen}");
    assert_eq!((&outcome.stdout, &outcome.stderr), (&plain.stdout, &plain.stderr), "{screen}");
    (accused(&place.findings(&place.file("trace.ascope"))), screen)
}

#[test]
fn each_fault_is_accused_at_its_line() {
    needs_valgrind();
    let source = programs().join("precise.c");
    let rows = [
        (1, "overflow", "FAULT == 1", "gcc", "-O2"),
        (2, "overflow", "FAULT == 2", "clang", "-O0"),
        (3, "use-after-reset", "FAULT == 3", "clang", "-O2"),
        (4, "use-after-rewind", "FAULT == 4", "gcc", "-O2"),
        (5, "use-after-free", "FAULT == 5", "clang", "-O2"),
        (6, "stale-bytes", "/* STALE */", "gcc", "-O2"),
        (7, "underflow", "FAULT == 7", "clang", "-O2"),
        (8, "stale-pointer-after-resize", "FAULT == 8", "gcc", "-O2"),
    ];
    for (fault, rule, marker, compiler, optimised) in rows {
        // The line behind the condition, but for the one that is marked itself.
        let line = line_of(&source, marker) + u64::from(fault != 6);
        for (compiler, level) in [("gcc", "-O0"), (compiler, optimised)] {
            let place = Place::new();
            let program = place.compile(compiler, "precise.c", &[level, &format!("-DFAULT={fault}")]);
            let (found, screen) = accusations(&place, &ROLES, &program, &[], 3);
            let [one] = found.as_slice() else { panic!("{fault} {compiler} {level}: {found:#?}\n{screen}") };
            assert_eq!(one["rule"], rule, "{fault} {compiler} {level}: {one:#}\n{screen}");
            let site = &one["sites"][0];
            assert_eq!((&site["role"], &site["line"]), (&"touched".into(), &line.into()), "{fault} {level}: {one:#}");
            let roles: Vec<_> = one["sites"].as_array().into_iter().flatten().map(|site| &site["role"]).collect();
            assert!(roles.iter().any(|role| **role == "allocated"), "{one:#}");
            assert_eq!(roles.len(), if (3..=5).contains(&fault) || fault == 8 { 3 } else { 2 }, "{one:#}");
            assert!(screen.contains(rule) && screen.contains("memcheck"), "{screen}");
        }
    }
}

#[test]
fn the_mended_program_is_silent() {
    needs_valgrind();
    for (compiler, level) in [("gcc", "-O0"), ("gcc", "-O2"), ("clang", "-O0"), ("clang", "-O2")] {
        let place = Place::new();
        let program = place.compile(compiler, "precise.c", &[level]);
        let (found, screen) = accusations(&place, &ROLES, &program, &[], 3);
        assert_eq!(found, [Value::Null; 0], "{compiler} {level}\n{screen}");
        assert!(screen.contains("20 to 50 times slower"), "{screen}");
    }
}

#[test]
fn unusual_styles_are_silent_and_a_long_trace_is_whole() {
    needs_valgrind();
    let place = Place::new();
    let program = place.compile("gcc", "correct/styles.c", &["-O0"]);
    let (found, screen) = accusations(&place, &STYLES, &program, &["long"], 0);
    assert!(found.is_empty(), "{found:#?}\n{screen}");
    // More than the first window of the trace, which is 4 MiB.
    let bytes = std::fs::metadata(place.file("trace.ascope")).expect("a trace").len();
    assert!(bytes > 5 << 20 && screen.contains(" 0 lost"), "{bytes} {screen}");
    assert!(screen.contains("blocks of arena_memdup have no redzone"), "{screen}");
}

#[test]
fn packaged_servers_are_not_accused() {
    needs_valgrind();
    let profile = |name: &str| root().join("profiles").join(name).to_string_lossy().into_owned();
    let place = Place::new();
    let apr = profile("apr.toml");
    let (found, screen) =
        accusations(&place, &["--profile", &apr], Path::new("/usr/bin/svn"), &["help", "checkout"], 0);
    assert_eq!(found, [Value::Null; 0], "{screen}");
    assert!(screen.contains("apr_palloc"), "{screen}");
    let nginx = profile("nginx.toml");
    let place = Place::new();
    let config = place.file("nginx.conf");
    let text = format!("pid {}/pid;\nerror_log stderr;\nevents {{}}\n", place.path().display());
    std::fs::write(&config, text).expect("a file of ours");
    let config = config.to_string_lossy().into_owned();
    let flags = ["--precise", "-o", "trace.ascope", "--profile", &nginx];
    let (outcome, screen) = place.watch(&flags, Path::new("/usr/sbin/nginx"), &["-t", "-c", &config]);
    assert_eq!(outcome.status, 0, "{outcome:?}\n{screen}");
    assert_eq!(accused(&place.findings(&place.file("trace.ascope"))), [Value::Null; 0], "{screen}");
}

#[test]
fn without_valgrind_the_package_is_named_before_anything_runs() {
    let place = Place::new();
    let program = place.cc("precise.c", &[]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_arenascope"));
    command.args(["run", "--precise", "--"]).arg(&program).env("PATH", place.path());
    let outcome = place.outcome(&mut command);
    assert_eq!(outcome.status, 2, "{outcome:?}");
    assert!(outcome.stderr.contains("apt install valgrind"), "{outcome:?}");
    assert!(outcome.stdout.is_empty() && place.traces().is_empty(), "{outcome:?}");
}

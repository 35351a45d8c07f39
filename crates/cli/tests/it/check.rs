//! Check mode: planted faults are named, mended twins are silent, correct programs do what they do without us.

use crate::harness::{Place, accused, line_of, noted, programs};
use serde_json::Value;

/// Builds that make different code.
const BUILDS: [(&str, &[&str]); 4] = [("gcc", &["-O0"]), ("gcc", &["-O2"]), ("clang", &["-O0"]), ("clang", &["-O2"])];

fn build(place: &Place, compiler: &str, flags: &[&str], fault: u32) -> std::path::PathBuf {
    let define = format!("-DFAULT={fault}");
    place.compile(compiler, "check_bump.c", &[flags, &["-fno-inline", &define]].concat())
}

fn lines(finding: &Value) -> Vec<(String, u64)> {
    let sites = finding["sites"].as_array().cloned().unwrap_or_default();
    let word = |site: &Value| site["role"].as_str().unwrap_or("").to_owned();
    sites.iter().map(|site| (word(site), site["line"].as_u64().unwrap_or(0))).collect()
}

#[test]
fn each_planted_fault_is_named_and_nothing_else() {
    let source = programs().join("check_bump.c");
    let (two, three) = (line_of(&source, "char *two"), line_of(&source, "char *three"));
    let rows = [
        (1, "overflow", 2, two),
        (2, "underflow", 3, three),
        (6, "overflow", 1, line_of(&source, "char *one")),
        (3, "use-after-reset", 2, two),
        (8, "use-after-reset", 3, three),
        (4, "use-after-rewind", 5, line_of(&source, "char *five")),
    ];
    for (compiler, flags) in BUILDS {
        for (fault, rule, block, line) in rows {
            let place = Place::new();
            let program = build(&place, compiler, flags, fault);
            let (outcome, screen) = place.watch(&["--check"], &program, &[]);
            assert_eq!(outcome.status, 0, "{compiler} {flags:?} {fault}: {outcome:?}\n{screen}");
            let json = place.findings(&place.trace());
            let found = accused(&json);
            assert_eq!(found.len(), 1, "{compiler} {flags:?} {fault}: {json}\n{screen}");
            assert_eq!(found[0]["rule"], rule, "{compiler} {flags:?} {fault}: {json}");
            assert_eq!(found[0]["block"]["number"], block, "{compiler} {flags:?} {fault}: {json}");
            assert!(lines(&found[0]).contains(&("allocated".to_owned(), line)), "{fault}: {json}");
        }
    }
}

#[test]
fn a_touch_after_unmap_is_named_in_every_mode() {
    let source = programs().join("check_bump.c");
    let (touch, seven) = (line_of(&source, "seven[7]"), line_of(&source, "char *seven"));
    for flags in [&["--check"][..], &[]] {
        for (compiler, build_flags) in BUILDS {
            let place = Place::new();
            let program = build(&place, compiler, build_flags, 5);
            let (outcome, screen) = place.watch(flags, &program, &[]);
            assert_eq!(outcome.status, 128 + 11, "{outcome:?}\n{screen}");
            let json = place.findings(&place.trace());
            let found = accused(&json);
            assert_eq!(found.len(), 1, "{compiler} {build_flags:?}: {json}\n{screen}");
            assert_eq!(
                (&found[0]["rule"], &found[0]["block"]["number"]),
                (&"use-after-unmap".into(), &7.into()),
                "{json}"
            );
            let lines = lines(&found[0]);
            assert!(lines.contains(&("touched".to_owned(), touch)), "{json}");
            assert!(lines.contains(&("allocated".to_owned(), seven)), "{json}");
        }
    }
}

#[test]
fn the_mended_twin_is_silent_and_prints_the_same() {
    for (compiler, flags) in BUILDS {
        for fault in [0, 7] {
            let place = Place::new();
            let program = build(&place, compiler, flags, fault);
            let plain = place.plain(&program, &[]);
            let (watched, screen) = place.watch(&["--check"], &program, &[]);
            assert_eq!(plain, watched, "{compiler} {flags:?} {fault}\n{screen}");
            let json = place.findings(&place.trace());
            assert!(accused(&json).is_empty(), "{compiler} {flags:?} {fault}: {json}");
            let notes: Vec<Value> = noted(&json).into_iter().filter(|note| note["rule"] != "never-unmapped").collect();
            assert!(notes.is_empty(), "{compiler} {flags:?} {fault}: {notes:?}");
        }
    }
}

#[test]
fn what_check_mode_does_is_said_once_and_only_there() {
    let place = Place::new();
    let program = build(&place, "gcc", &["-O0"], 1);
    let (_, checked) = place.watch(&["--check"], &program, &[]);
    assert_eq!(checked.matches("blocks were asked larger").count(), 1, "{checked}");
    let (_, recorded) = place.watch(&["--force"], &program, &[]);
    assert!(!recorded.contains("blocks were asked larger") && !recorded.contains("overflow"), "{recorded}");
}

#[test]
fn an_array_that_grows_by_calls_is_not_accused() {
    for (compiler, flags) in BUILDS {
        let place = Place::new();
        let program = place.compile(compiler, "grow_by_calls.c", flags);
        let (outcome, screen) = place.watch(&["--check"], &program, &[]);
        assert_eq!(outcome.status, 0, "{outcome:?}\n{screen}");
        let json = place.findings(&place.trace());
        let rules: Vec<&Value> = json["findings"].as_array().into_iter().flatten().map(|one| &one["rule"]).collect();
        assert!(
            !rules.iter().any(|rule| **rule == "overflow" || **rule == "underflow"),
            "{compiler} {flags:?}: {json}"
        );
    }
}

/// Programs that print nothing about where blocks lie: registers across calls, longjmp, arguments on the stack, refusals,
/// results through pointers, alignment, fork, signals.
const SAME: [(&str, &str, &[&str], &[&str]); 9] = [
    ("gcc", "ipa_ra.c", &["-O2"], &[]),
    ("gcc", "longjmp.c", &["-O2"], &[]),
    ("gcc", "stack_args.c", &["-O2"], &[]),
    ("gcc", "null_mended.c", &["-O2"], &[]),
    ("gcc", "out_params.c", &["-O2"], &[]),
    ("gcc", "aligned.c", &["-O0"], &[]),
    ("gcc", "fork.c", &["-O2"], &[]),
    ("gcc", "signals.c", &["-O2"], &[]),
    ("gcc", "avx.c", &["-O2"], &[]),
];

#[test]
fn correct_programs_do_the_same() {
    for (compiler, source, flags, arguments) in SAME {
        let place = Place::new();
        let program = place.compile(compiler, source, flags);
        let plain = place.plain(&program, arguments);
        let (watched, screen) = place.watch(&["--check"], &program, arguments);
        assert_eq!(plain, watched, "{source} {flags:?}\n{screen}");
        for trace in place.traces() {
            let json = place.findings(&trace);
            let bad: Vec<Value> = accused(&json)
                .into_iter()
                .filter(|one| !["never-stored", "null-used"].contains(&one["rule"].as_str().unwrap_or("")))
                .collect();
            assert!(bad.is_empty(), "{source}: {bad:?}\n{screen}");
        }
    }
}

#[test]
fn a_pool_with_a_free_list() {
    const ROLES: [&str; 6] = [
        "--check",
        "--alloc=pool_alloc(arena, size) -> block",
        "--free=pool_free(arena, block)",
        "--destroy=pool_close(arena)",
        "--create=pool_open(arena, size)",
        "--force",
    ];
    let source = programs().join("check_pool.c");
    let (two, freed) = (line_of(&source, "char *two"), line_of(&source, "/* FREED */"));
    for (compiler, flags) in BUILDS {
        for (fault, rule) in [(0, ""), (1, "use-after-free"), (2, "overflow")] {
            let place = Place::new();
            let define = format!("-DFAULT={fault}");
            let program = place.compile(compiler, "check_pool.c", &[flags, &["-fno-inline", &define]].concat());
            let plain = place.plain(&program, &[]);
            let (watched, screen) = place.watch(&ROLES, &program, &[]);
            assert_eq!(plain, watched, "{compiler} {flags:?} {fault}\n{screen}");
            let json = place.findings(&place.trace());
            let found = accused(&json);
            let rules: Vec<&str> = found.iter().filter_map(|one| one["rule"].as_str()).collect();
            let expected: Vec<&str> = if rule.is_empty() { Vec::new() } else { vec![rule] };
            assert_eq!(rules, expected, "{compiler} {flags:?} {fault}: {json}\n{screen}");
            for finding in &found {
                assert_eq!(finding["block"]["number"], 2, "{json}");
                assert!(lines(finding).contains(&("allocated".to_owned(), two)), "{json}");
                assert!(fault != 1 || lines(finding).contains(&("freed".to_owned(), freed)), "{json}");
            }
        }
    }
}

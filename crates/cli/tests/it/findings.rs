//! What is claimed, how it is asked for, and what stays silent.

use crate::harness::{Place, accused, count, lab, line_of, programs};

#[test]
fn a_refused_allocation_that_is_used_is_accused() {
    let line = line_of(&programs().join("null.c"), "/* REFUSED */");
    for flags in [&["-O0"][..], &["-O2"], &["-O0", "-DIN_CALLEE"], &["-O2", "-DIN_CALLEE"]] {
        let place = Place::new();
        let program = place.cc("null.c", flags);
        let (outcome, screen) = place.watch(&[], &program, &[]);
        assert_eq!(outcome.status, 128 + 11, "{outcome:?}\n{screen}");
        let json = place.findings(&place.trace());
        let found = accused(&json);
        assert_eq!(found.len(), 1, "{flags:?} {json}\n{screen}");
        for finding in &found {
            assert_eq!(finding["rule"], "null-used", "{flags:?}");
            assert!(["certain", "likely"].contains(&finding["certainty"].as_str().unwrap_or("")), "{finding}");
            let sites = finding["sites"].as_array().cloned().unwrap_or_default();
            assert!(sites.iter().any(|site| site["line"] == line), "line {line}: {finding}");
        }
        assert!(screen.contains("NULL"), "the plain fact is told: {screen}");
    }
}

#[test]
fn a_refused_allocation_that_is_asked_about_is_a_plain_fact() {
    let place = Place::new();
    let program = place.cc("null_mended.c", &["-O2"]);
    let (outcome, screen) = place.watch(&[], &program, &[]);
    assert_eq!(outcome.status, 0, "{outcome:?}\n{screen}");
    assert_eq!(accused(&place.findings(&place.trace())).len(), 0, "{screen}");
    assert!(screen.contains("NULL"), "{screen}");
}

#[test]
fn fail_on_decides_the_exit_status() {
    let rows = [
        ("09b_arena_scope_leak_tracer.c", "any", 1),
        ("09b_arena_scope_leak_tracer.c", "never-stored", 1),
        ("09b_arena_scope_leak_tracer.c", "null-used,never-stored", 1),
        ("09b_arena_scope_leak_tracer.c", "null-used", 0),
        ("09a_arena_scope_local_mmap.c", "any", 0),
    ];
    for (name, rules, status) in rows {
        let place = Place::new();
        let source = lab(name);
        let run = place.arenascope(&["run".as_ref(), "--fail-on".as_ref(), rules.as_ref(), source.as_os_str()]);
        assert_eq!(run.status, status, "run {name} --fail-on {rules}: {run:?}");
        let trace = place.trace();
        let later = place.arenascope(&["findings".as_ref(), trace.as_os_str(), "--fail-on".as_ref(), rules.as_ref()]);
        assert_eq!(later.status, status, "findings {name} --fail-on {rules}: {later:?}");
    }
    let place = Place::new();
    let source = lab("09a_arena_scope_local_mmap.c");
    let wrong = place.arenascope(&["run".as_ref(), "--fail-on".as_ref(), "never-stord".as_ref(), source.as_os_str()]);
    assert_eq!(wrong.status, 2, "{wrong:?}");
    assert!(wrong.stderr.contains("never-stored") && wrong.stdout.is_empty(), "{wrong:?}");
}

#[test]
fn notes_do_not_count_for_fail_on_any() {
    let place = Place::new();
    let program = place.cc("global_pool.c", &[]);
    let (outcome, screen) = place.watch(&["--fail-on", "any"], &program, &[]);
    assert_eq!(outcome.status, 0, "{screen}");
    assert!(screen.contains("never-unmapped"), "{screen}");
}

#[test]
fn a_fatal_signal_leaves_the_bytes() {
    let place = Place::new();
    let program = place.cc("abort.c", &[]);
    let (outcome, screen) = place.watch(&[], &program, &[]);
    assert_eq!(outcome.status, 128 + 6, "{outcome:?}");
    assert!(screen.contains("last words"), "{screen}");
    assert_eq!(count(&place.log(&place.trace()), "alloc"), 1);
}

/// Builds that make different code after the calls.
const BUILDS: [(&str, &[&str]); 4] = [("gcc", &["-O0"]), ("gcc", &["-O2"]), ("clang", &["-O0"]), ("clang", &["-O2"])];

#[test]
fn a_block_reached_by_another_pointer_is_not_lost() {
    for (compiler, flags) in BUILDS {
        let place = Place::new();
        let program = place.compile(compiler, "grow_by_calls.c", flags);
        let (outcome, screen) = place.watch(&[], &program, &[]);
        assert_eq!(outcome.status, 0, "{outcome:?}\n{screen}");
        let json = place.findings(&place.trace());
        assert_eq!(count(&place.log(&place.trace()), "alloc"), 104, "{compiler} {flags:?}: {screen}");
        assert!(!json.to_string().contains("never-stored"), "{compiler} {flags:?}: {json}\n{screen}");
    }
}

#[test]
fn a_lost_block_between_them_is_accused_and_no_other() {
    let line = line_of(&programs().join("grow_by_calls.c"), "/* LOST */");
    for (compiler, flags) in BUILDS {
        let place = Place::new();
        let program = place.compile(compiler, "grow_by_calls.c", &[flags, &["-DLOST"]].concat());
        let (outcome, screen) = place.watch(&[], &program, &[]);
        assert_eq!(outcome.status, 0, "{outcome:?}\n{screen}");
        let json = place.findings(&place.trace());
        let [finding] = json["findings"].as_array().map_or(&[][..], Vec::as_slice) else {
            panic!("{compiler} {flags:?}: one finding: {json}\n{screen}");
        };
        assert_eq!((&finding["rule"], &finding["certainty"]), (&"never-stored".into(), &"certain".into()), "{json}");
        assert_eq!(finding["block"]["size"], 48, "{json}");
        assert_eq!(finding["sites"][0]["line"], line, "{json}");
    }
}

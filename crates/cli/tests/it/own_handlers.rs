//! Programs that handle their own faults: the crash handler's program is accused, the one that recovers is not, and neither can
//! tell that we are there.

use crate::harness::{Place, accused, line_of, programs};

/// What is watched: named, since some builds leave no shape to find.
const ROLES: [&str; 4] = ["--alloc", "bump_alloc(arena, size) -> block", "--create", "bump_init(arena, size)"];

/// Runs `crash_handler.c` with and without us: the same. Gives back the rules that were told, with their lines.
fn told(flags: &[&str], mode: &str, arguments: &[&str]) -> Vec<(String, Vec<u64>)> {
    let place = Place::new();
    let program = place.cc("crash_handler.c", flags);
    let plain = place.plain(&program, arguments);
    let (watched, screen) = place.watch(&[&["--mode", mode][..], &ROLES].concat(), &program, arguments);
    assert!(plain == watched, "{flags:?} {arguments:?}: plain\n{plain:?}\nwatched\n{watched:?}\n{screen}");
    let json = place.findings(&place.traces()[0]);
    let found = accused(&json);
    let rule = |found: &serde_json::Value| {
        let lines = found["sites"].as_array().cloned().unwrap_or_default();
        (
            found["rule"].as_str().unwrap_or("").to_owned(),
            lines.iter().filter_map(|site| site["line"].as_u64()).collect(),
        )
    };
    found.iter().map(rule).collect()
}

#[test]
fn a_fault_whose_handler_ends_the_program_is_told() {
    let refused = line_of(&programs().join("crash_handler.c"), "/* REFUSED */");
    for ends in ["exit", "_exit", "abort", "reraise", "refault", "once"] {
        for stack in [&[][..], &["alt"]] {
            let arguments = |fault| [&[ends, fault], stack].concat();
            let found = told(&["-O0"], "record", &arguments("unmap"));
            let rules: Vec<&str> = found.iter().map(|(rule, _)| rule.as_str()).collect();
            assert_eq!(rules, ["use-after-unmap"], "{ends} {stack:?}");
            let found = told(&["-O0"], "record", &arguments("null"));
            let [(rule, lines)] = &found[..] else { panic!("{ends} {stack:?}: {found:?}") };
            assert_eq!((rule.as_str(), lines.contains(&refused)), ("null-used", true), "{ends} {stack:?}: {lines:?}");
        }
    }
    // Optimised, and in check mode.
    for (flags, mode) in [(&["-O2"][..], "record"), (&["-O2"], "check")] {
        for ends in ["_exit", "reraise"] {
            let found = told(flags, mode, &[ends, "unmap"]);
            assert!(
                matches!(&found[..], [(rule, _)] if rule == "use-after-unmap"),
                "{flags:?} {mode} {ends}: {found:?}"
            );
        }
    }
}

#[test]
fn a_program_that_goes_on_after_its_faults_is_not_accused() {
    for goes_on in ["recover", "deep", "longjmp", "fork", "later", "retry"] {
        for fault in ["unmap", "null"] {
            for (flags, stack) in [(&["-O0"][..], &[][..]), (&["-O0"], &["alt"]), (&["-O2"], &[])] {
                let found = told(flags, "record", &[&[goes_on, fault], stack].concat());
                assert_eq!(found, [], "{goes_on} {fault} {stack:?} {flags:?}");
            }
        }
        assert_eq!(told(&["-O2"], "check", &[goes_on, "unmap"]), [], "{goes_on} in check mode");
    }
}

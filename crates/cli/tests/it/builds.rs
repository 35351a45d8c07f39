//! The findings are the program's, not the compiler's: two compilers, -O0 and -O2, with and without frame pointers, and
//! stripped with the debug information in a file beside. Inlined functions are another matter: docs/detection.md.
//!
//! Every lab, and every bug of bench/detection/planted.c. Relied on: gcc, clang, objcopy and strip. Without `--long` a few builds
//! stand for all sixteen. Where a build says something else, `DIFFERENT` says why; docs/detection.md has the same table.
//! Deliberately absent: two threads at once, which only happens to happen, and debug files found by build id below
//! /usr/lib/debug (the tests of `arenascope-symbols` have their own folder for that).

use crate::harness::{Place, long, root};
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// How a program is built.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Build {
    compiler: &'static str,
    /// -O2 -fno-inline instead of -O0.
    optimised: bool,
    frame_pointers: bool,
    /// Without symbols and debug information, which lie in a file beside, named by .gnu_debuglink.
    stripped: bool,
}

/// What all others are compared with.
const PLAIN: Build = Build { compiler: "gcc", optimised: false, frame_pointers: true, stripped: false };

/// All sixteen; or those that differ most from the plain one.
fn builds() -> Vec<Build> {
    let mut all = Vec::new();
    for compiler in ["gcc", "clang"] {
        for optimised in [false, true] {
            for frame_pointers in [true, false] {
                for stripped in [false, true] {
                    all.push(Build { compiler, optimised, frame_pointers, stripped });
                }
            }
        }
    }
    if !long() {
        all.retain(|build| build.stripped == build.optimised && !build.frame_pointers && *build != PLAIN);
        all.retain(|build| build.compiler == "clang" || build.optimised);
    }
    all
}

/// Compiles like the compiler that its first words name, and takes symbols and debug information out.
const STRIPPING: &str = r#"#!/bin/sh
out=; before=
for word; do [ "$before" = -o ] && out=$word; before=$word; done
"$@" || exit
[ -f "$out" ] || exit 0
objcopy --only-keep-debug "$out" "$out.debug" && strip --strip-all "$out" && objcopy --add-gnu-debuglink="$out.debug" "$out"
"#;

impl Build {
    /// The words of a compiler that builds so.
    fn words(&self, place: &Place) -> Vec<String> {
        let mut words = Vec::new();
        if self.stripped {
            let script = place.file("stripping-cc");
            std::fs::write(&script, STRIPPING).expect("a script");
            std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).expect("chmod of our script");
            words.push(script.to_string_lossy().into_owned());
        }
        words.push(self.compiler.into());
        words.extend(if self.optimised { &["-O2", "-fno-inline"][..] } else { &["-O0"] }.iter().map(|w| (*w).into()));
        words.push(if self.frame_pointers { "-fno-omit-frame-pointer" } else { "-fomit-frame-pointer" }.into());
        words
    }
}

/// A bug, the builds that say something else about it, and why.
type Difference = (&'static str, fn(&Build) -> bool, &'static str);

/// Bugs about which some builds say something else than the plain one, and why.
const DIFFERENT: &[Difference] = &[
    ("use-after-rewind", by_gcc, ARGUMENT),
    ("use-after-reset", by_gcc, ARGUMENT),
    ("marks-out-of-order", by_gcc, "gcc sees that the second rewind undoes the first and leaves the first out"),
];

const ARGUMENT: &str = "gcc passes arena_mark the offset instead of the arena: the call cannot be told, the screen says so, and what \
                        a rewind ends is then not watched, what a reset ends is a note";

fn by_gcc(build: &Build) -> bool {
    build.compiler == "gcc" && build.optimised
}

#[test]
fn labs_show_the_same_however_they_are_built() {
    let place = Place::new();
    for build in builds() {
        let words = build.words(&place).join(" ");
        let mut command = Command::new(env!("CARGO_BIN_EXE_arenascope"));
        let outcome = place.outcome(command.args(["lab", "--all"]).env("CC", &words));
        assert_eq!(outcome.status, 0, "{build:?}: {outcome:#?}");
        assert!(outcome.stdout.contains(" as expected, 0 not, "), "{build:?}: {}", outcome.stdout);
    }
}

#[test]
fn planted_bugs_are_named_however_they_are_built() {
    let plain = said_of(&PLAIN);
    assert!(plain.len() > 40 && plain.iter().filter(|(.., said)| !said.is_empty()).count() > 20, "{plain:#?}");
    for build in builds() {
        for ((bug, mode, said), (_, _, expected)) in said_of(&build).iter().zip(&plain) {
            let excused = DIFFERENT.iter().any(|(name, applies, _)| name == bug && applies(&build));
            assert!(said == expected || excused, "{bug} {mode:?} {build:?}\n{said:#?}\nplain: {expected:#?}");
        }
    }
}

/// For each bug and mode: rules, classes, and the lines of planted.c that they name.
fn said_of(build: &Build) -> Vec<(String, Option<&'static str>, Vec<String>)> {
    let place = Place::new();
    let words = build.words(&place);
    let folder = root().join("bench/detection");
    let program = place.file("planted");
    let mut compile = Command::new(&words[0]);
    compile.args(&words[1..]).args(["-g", "-pthread", "-o"]).arg(&program).arg(folder.join("planted.c"));
    let compiled = place.outcome(&mut compile);
    assert_eq!(compiled.status, 0, "{build:?} {compiled:?}");
    let symbols = place.outcome(Command::new("nm").arg(&program));
    assert_eq!(symbols.stdout.contains("arena_alloc"), !build.stripped, "{build:?}");
    let profile = folder.join("planted.toml").to_string_lossy().into_owned();
    let mut all = Vec::new();
    for bug in place.plain(&program, &[]).stdout.lines() {
        // Whether these two happen is up to the scheduler.
        if ["two-threads", "fork-same-block"].contains(&bug) {
            continue;
        }
        for mode in [None, Some("--check")] {
            let mut flags = vec!["--profile", &profile, "--force", "-o", "t.ascope"];
            flags.extend(mode);
            place.watch(&flags, &program, &[bug]);
            let json = place.findings(&place.file("t.ascope"));
            let mut said: Vec<String> = json["findings"].as_array().into_iter().flatten().map(in_words).collect();
            said.sort();
            all.push((bug.to_owned(), mode, said));
        }
    }
    all
}

/// `finding use-after-reset: reset at 259, allocated at 111`. A touch within the C library is its caller's in planted.c.
fn in_words(finding: &Value) -> String {
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let sites = finding["sites"].as_array().into_iter().flatten().map(|site| {
        let ours = |frame: &&Value| Path::new(frame["file"].as_str().unwrap_or("")).ends_with("planted.c");
        let frame = site["frames"].as_array().into_iter().flatten().find(ours);
        format!("{} at {}", word(&site["role"]), frame.map_or(&Value::Null, |frame| &frame["line"]))
    });
    let sites: Vec<String> = sites.collect();
    format!("{} {}: {}", word(&finding["class"]), word(&finding["rule"]), sites.join(", "))
}

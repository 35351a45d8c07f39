//! What is seen of 09b when it is optimised, stripped or static: written down in goldens, screen by screen.
//!
//! A golden is the screen with addresses, pids and paths replaced. `ARENASCOPE_BLESS=1 cargo test` writes those that are not there;
//! a changed one must be deleted by hand first, so that nobody changes one without looking.

use crate::harness::{Place, accused, lab, without_addresses};
use std::path::{Path, PathBuf};

const BUILDS: &[(&str, &str, &[&str])] = &[
    ("gcc-O0", "gcc", &["-O0"]),
    ("gcc-O2", "gcc", &["-O2"]),
    ("clang-O0", "clang", &["-O0"]),
    ("clang-O2", "clang", &["-O2"]),
    ("gcc-O0-stripped", "gcc", &["-O0", "-s"]),
    ("gcc-O2-stripped", "gcc", &["-O2", "-s"]),
    ("gcc-O0-static", "gcc", &["-O0", "-static"]),
    ("gcc-O2-static-stripped", "gcc", &["-O2", "-static", "-s"]),
];

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens").join(format!("09b-{name}.txt"))
}

/// Digits of the pid in `NAME.PID.ascope`, addresses and the folder are different in every run.
fn normalised(screen: &str, place: &Place) -> String {
    let screen = screen.replace(&place.path().to_string_lossy().into_owned(), "FOLDER");
    let root = crate::harness::root();
    let screen = screen.replace(&root.to_string_lossy().into_owned(), "ROOT");
    let mut out = String::new();
    for line in without_addresses(&screen).lines() {
        let words: Vec<String> = line
            .split(' ')
            .map(|word| match word.split_once(".ascope") {
                Some((before, after)) => match before.rsplit_once('.') {
                    Some((name, pid)) if pid.chars().all(|c| c.is_ascii_digit()) => format!("{name}.PID.ascope{after}"),
                    _ => word.to_owned(),
                },
                None => word.to_owned(),
            })
            .collect();
        out.push_str(words.join(" ").trim_end());
        out.push('\n');
    }
    out
}

#[test]
fn every_build_of_09b_shows_what_its_golden_says() {
    let mut wrong = Vec::new();
    for (name, compiler, flags) in BUILDS {
        let place = Place::new();
        let source = lab("09b_arena_scope_leak_tracer.c");
        let program = place.compile(compiler, &source.to_string_lossy(), flags);
        let (outcome, screen) = place.watch(&[], &program, &[]);
        assert_eq!(outcome.status, 0, "{name}: {outcome:?}\n{screen}");
        assert!(outcome.stdout.ends_with("🧹 Arena memory freed\n"), "{name}: {outcome:?}");
        assert!(!screen.trim().is_empty(), "{name}: silence");
        // No wrong claim, whatever is seen: at most the one block that is really thrown away.
        if let [trace] = place.traces().as_slice() {
            let found = accused(&place.findings(trace));
            assert!(found.len() <= 1, "{name}: {found:?}");
            assert!(
                found.iter().all(|f| f["rule"] == "never-stored" && f["block"]["offset"] == 64),
                "{name}: {found:?}"
            );
        }
        let seen = normalised(&screen, &place);
        let path = golden(name);
        if !path.exists() && std::env::var_os("ARENASCOPE_BLESS").is_some() {
            std::fs::create_dir_all(path.parent().expect("goldens have a folder")).expect("the folder of goldens");
            std::fs::write(&path, &seen).expect("a golden can be written");
        }
        let wanted = std::fs::read_to_string(&path).unwrap_or_default();
        if wanted != seen {
            wrong.push(format!("{}\n--- golden\n{wanted}\n--- seen\n{seen}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_cannot_be_seen_says_what_to_do() {
    let rows: &[(&[&str], &[&str])] = &[
        (&["-O0", "-s"], &["--alloc", "-g"]),
        (&["-O0", "-static"], &["static"]),
        (&["-O2", "-static", "-s"], &["static"]),
    ];
    for (flags, words) in rows {
        let place = Place::new();
        let source = lab("09b_arena_scope_leak_tracer.c");
        let program = place.cc(&source.to_string_lossy(), flags);
        let (_, screen) = place.watch(&[], &program, &[]);
        assert!(words.iter().any(|word| screen.contains(word)), "{flags:?}: none of {words:?} in\n{screen}");
    }
}

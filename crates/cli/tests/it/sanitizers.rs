//! Programs built with a sanitizer run as they do without us: gcc and clang, C and C++, right and wrong programs.

use crate::harness::{Outcome, Place, programs};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Compilers, flags, and what the arena looks like where it is found by shape.
const BUILDS: &[(&str, &[&str])] = &[
    ("gcc", &["-fsanitize=address"]),
    ("gcc", &["-fsanitize=address", "-static-libasan"]),
    ("gcc", &["-fsanitize=undefined"]),
    ("gcc", &["-fsanitize=address,undefined"]),
    ("gcc", &["-fsanitize=leak"]),
    ("gcc", &["-fsanitize=thread"]),
    ("clang", &["-fsanitize=address"]),
    ("clang", &["-fsanitize=address", "-shared-libasan"]),
    ("clang", &["-fsanitize=undefined"]),
    ("clang", &["-fsanitize=address,undefined"]),
    ("clang", &["-fsanitize=leak"]),
    ("clang", &["-fsanitize=thread"]),
    ("clang", &["-fsanitize=memory"]),
];

/// Compiles the program as `language`; where clang's shared runtime lies is written into it.
fn build(place: &Place, compiler: &str, language: &str, flags: &[&str]) -> PathBuf {
    let program = place.file("sanitized");
    let mut command = Command::new(compiler);
    command.args(["-g", "-pthread", "-x", language]).args(flags).arg(programs().join("sanitized.cpp"));
    command.args(["-x", "none"]).arg("-o").arg(&program);
    if flags.contains(&"-shared-libasan") {
        let said = Command::new(compiler).arg("-print-runtime-dir").output().expect("clang is needed for this test");
        let folder = String::from_utf8_lossy(&said.stdout).trim().to_owned();
        // Debian's clang keeps its runtimes beside the folder that it names.
        let beside = Path::new(&folder).with_file_name("linux");
        let folder = if Path::new(&folder).exists() { PathBuf::from(folder) } else { beside };
        command.arg(format!("-Wl,-rpath,{}", folder.display()));
    }
    if language == "c++" {
        command.arg("-lstdc++");
    }
    let output = command.output().unwrap_or_else(|error| panic!("{compiler} is needed for this test: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{compiler} {flags:?}: {said}");
    program
}

/// What differs from run to run without us too: process numbers and addresses.
fn settled(outcome: Outcome) -> Outcome {
    let mut stderr = String::new();
    for word in outcome.stderr.split_inclusive([' ', '\n', '(', ')']) {
        let digits = word.trim_start_matches('=').trim_end_matches(|c: char| !c.is_ascii_hexdigit() && c != '=');
        if word.starts_with("==") && digits.starts_with(|c: char| c.is_ascii_digit()) {
            stderr.push_str(word.trim_start_matches(|c: char| c == '=' || c.is_ascii_digit()));
        } else {
            stderr.push_str(word);
        }
    }
    Outcome { stderr: crate::harness::without_addresses(&stderr), ..outcome }
}

#[test]
fn every_sanitizer_says_the_same_with_and_without_us() {
    for (compiler, flags) in BUILDS {
        for language in ["c", "c++"] {
            let place = Place::new();
            let program = build(&place, compiler, language, flags);
            for arguments in [&[][..], &["wrong"], &["exec"]] {
                let what = format!("{compiler} {language} {flags:?} {arguments:?}");
                let plain = settled(place.plain(&program, arguments));
                let (watched, words) = place.watch(&["--force"], &program, arguments);
                let watched = settled(watched);
                assert!(plain == watched, "{what}: plain\n{plain:?}\nwatched\n{watched:?}\nour words\n{words}");
                assert!(plain.stdout.starts_with("3 none\n"), "{what}: {plain:?}");
            }
        }
    }
}

#[test]
fn programs_with_address_sanitizer_are_watched() {
    for (compiler, flags) in BUILDS.iter().filter(|(_, flags)| flags.contains(&"-fsanitize=address")) {
        let place = Place::new();
        let program = build(&place, compiler, "c", flags);
        let (outcome, words) = place.watch(&[], &program, &[]);
        assert_eq!(outcome.status, 0, "{outcome:?}");
        assert!(words.contains("2 blocks"), "{compiler} {flags:?}: {words}");
        assert!(words.contains("malloc is not watched: the program is built with a sanitizer"), "{words}");
    }
}

#[test]
fn a_program_with_address_sanitizer_may_be_executed_by_another() {
    let place = Place::new();
    let program = build(&place, "gcc", "c", &["-fsanitize=address"]);
    let shell = Path::new("/bin/sh");
    let script = format!("{} && env | grep -c LD_PRELOAD; LD_PRELOAD= {}", program.display(), program.display());
    let plain = place.plain(shell, &["-c", &script]);
    let (watched, words) = place.watch(&["--late"], shell, &["-c", &script]);
    assert!(plain == watched, "plain\n{plain:?}\nwatched\n{watched:?}\nour words\n{words}");
    assert_eq!(plain.stdout, "3 none\n0\n3 \n");
}

#[test]
fn what_preloads_the_runtime_itself_still_may() {
    let place = Place::new();
    let program = build(&place, "gcc", "c", &["-fsanitize=address"]);
    let said = Command::new("gcc").arg("-print-file-name=libasan.so").output().expect("gcc is needed for this test");
    let runtime = std::fs::canonicalize(String::from_utf8_lossy(&said.stdout).trim()).expect("gcc's runtime");
    let plain = place.outcome(Command::new(&program).env("LD_PRELOAD", &runtime));
    let mut command = Command::new(env!("CARGO_BIN_EXE_arenascope"));
    command.args(["run", "--log", "words", "--"]).arg(&program).env("LD_PRELOAD", &runtime);
    let watched = place.outcome(&mut command);
    assert!(plain == watched, "plain\n{plain:?}\nwatched\n{watched:?}");
    assert_eq!(plain.stdout, format!("3 {}\n", runtime.display()));
}

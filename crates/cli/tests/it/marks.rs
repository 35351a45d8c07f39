//! Marks: by a signal (`--mark-on`), and by the calls of C, C++ and Rust.

use crate::harness::{Place, accused, count, root};
use serde_json::Value;
use std::path::PathBuf;
use std::process::Command;

/// What is watched in `mark_signals.c`.
const BUMP: [&str; 2] = ["--alloc", "bump_alloc(arena, size) -> block"];

/// The names of the marks in a trace's log.
fn marks(log: &[Value]) -> Vec<String> {
    let marks = log.iter().filter(|event| event["kind"] == "user-mark");
    marks.map(|event| event["name"].as_str().unwrap_or("").to_owned()).collect()
}

fn mark_on(signal: &str) -> Vec<&str> {
    [&["-o", "t.ascope", "--force", "--mark-on", signal][..], &BUMP].concat()
}

#[test]
fn a_signal_without_a_handler_sets_marks_and_does_not_end_the_program() {
    for (flags, name) in [(&["-O0"][..], "USR1"), (&["-O2"], "SIGUSR1"), (&["-O2"], "10")] {
        let place = Place::new();
        let program = place.cc("mark_signals.c", flags);
        assert_eq!(place.plain(&program, &["default"]).status, 128 + 10, "alone it dies");
        let (outcome, screen) = place.watch(&mark_on(name), &program, &["default"]);
        assert_eq!((outcome.status, outcome.stdout.as_str()), (0, "0 handled\n"), "{outcome:?}\n{screen}");
        assert_eq!(marks(&place.log(&place.file("t.ascope"))), ["SIGUSR1"; 3], "{screen}");
        let diff = |from: &str, to: &str| {
            let told = place.arenascope(&["diff", "--json", "t.ascope", "--from", from, "--to", to]);
            assert_eq!(told.status, 0, "{told:?}");
            serde_json::from_str::<Value>(&told.stdout).expect("JSON")
        };
        // "before" became "behind".
        let told = diff("SIGUSR1", "SIGUSR1@2");
        assert_eq!(told["arenas"][0]["changes"][0]["changed"]["ranges"].to_string(), "[[2,6]]", "{told}");
        let told = diff("SIGUSR1@2", "SIGUSR1@3");
        assert_eq!(told["arenas"][0]["changes"].as_array().map(Vec::len), Some(1), "one block appeared: {told}");
    }
}

#[test]
fn the_program_s_own_handlers_run_and_it_sees_its_own_actions() {
    // How many marks: of those it receives while not ignoring them.
    for (what, expected) in [("handler", 4), ("thread", 200), ("fork", 1), ("altstack", 20), ("blocked", 1)] {
        for mode in ["record", "check"] {
            let place = Place::new();
            let program = place.cc("mark_signals.c", &["-O2"]);
            let plain = place.plain(&program, &[what]);
            let flags = [&["--mode", mode][..], &mark_on("USR1")].concat();
            let (watched, screen) = place.watch(&flags, &program, &[what]);
            assert!(plain == watched, "{what}: plain\n{plain:?}\nwatched\n{watched:?}\n{screen}");
            let set = marks(&place.log(&place.file("t.ascope")));
            assert_eq!(
                (set.len(), set.iter().all(|name| name == "SIGUSR1")),
                (expected, true),
                "{what} {mode}: {screen}"
            );
            assert!(!screen.contains("LOST"), "{screen}");
            if what == "fork" {
                let child =
                    place.traces().into_iter().find(|trace| !trace.ends_with("t.ascope")).expect("its own trace");
                assert_eq!(marks(&place.log(&child)), ["SIGUSR1"], "{screen}");
            }
        }
    }
}

#[test]
fn signals_at_full_rate_in_the_middle_of_everything() {
    for mode in ["record", "check"] {
        let place = Place::new();
        let program = place.cc("mark_signals.c", &["-O2"]);
        let flags = [&["--mode", mode][..], &mark_on("USR1")].concat();
        let (outcome, screen) = place.watch(&flags, &program, &["flood"]);
        assert_eq!((outcome.status, outcome.stdout.as_str()), (0, "1 1\n0 handled\n"), "{outcome:?}\n{screen}");
        let log = place.log(&place.file("t.ascope"));
        assert!(marks(&log).len() > 1 && count(&log, "alloc") > 1, "{screen}");
        assert!(!screen.contains("LOST"), "every signal that came inside the recorder set its mark later: {screen}");
    }
}

#[test]
fn a_real_time_signal_sets_a_mark_each_time() {
    let place = Place::new();
    let program = place.cc("mark_signals.c", &["-O2"]);
    let (outcome, screen) = place.watch(&mark_on("RTMIN+2"), &program, &["many"]);
    assert_eq!((outcome.status, outcome.stdout.as_str()), (0, "0 handled\n"), "{outcome:?}\n{screen}");
    assert_eq!(marks(&place.log(&place.file("t.ascope"))), vec!["SIGRTMIN+2"; 300], "{screen}");
    let told = place.arenascope(&["show", "t.ascope", "--at", "SIGRTMIN+2@300"]);
    assert_eq!(told.status, 0, "{told:?}");
}

#[test]
fn what_cannot_set_a_mark_is_said_before_the_program_starts() {
    let place = Place::new();
    for (flags, said) in [
        (&["--mark-on", "KILL"][..], "SIGKILL cannot set a mark: no program can catch it"),
        (&["--mark-on", "11"], "SIGSEGV cannot set a mark: it is a fault"),
        (&["--mark-on", "USR1", "--mark-on", "abrt"], "SIGABRT cannot set a mark"),
        (&["--mark-on", "USR9"], "no signal has this name"),
        (&["--mark-on", "USR1", "--mode", "off"], "there is none"),
    ] {
        let words = [&["run"], flags, &["--", "/bin/echo", "started"]].concat();
        let outcome = place.arenascope(&words);
        assert_eq!((outcome.status, outcome.stdout.as_str()), (2, ""), "{flags:?}: {outcome:?}");
        assert!(outcome.stderr.contains(said), "{flags:?}: {outcome:?}");
    }
}

#[test]
fn a_signal_that_never_came_is_said() {
    let place = Place::new();
    let program = place.cc("mark_signals.c", &["-O2"]);
    let (outcome, screen) = place.watch(&mark_on("USR2"), &program, &["handler"]);
    assert_eq!(outcome, place.plain(&program, &["handler"]), "{screen}");
    assert!(screen.contains("SIGUSR2 set no mark"), "{screen}");
    let (_, screen) = place.watch(&mark_on("USR1"), &program, &["handler"]);
    assert!(!screen.contains("set no mark"), "{screen}");
}

/// A Rust program with a hand-made arena, or with ours, built by rustc against the crate as cargo built it.
fn rust_program(place: &Place, own_arena: bool, level: &str) -> PathBuf {
    let source = place.file("marks.rs");
    let arena = match own_arena {
        true => "let arena = arenascope::Arena::growing().unwrap(); let text = arena.alloc_str(\"ours\"); text.len()",
        false => "4",
    };
    std::fs::write(
        &source,
        format!(
            "struct Bump {{ base: Vec<u64>, offset: usize }}\n\
             #[unsafe(no_mangle)] #[inline(never)]\n\
             extern \"C\" fn bump_alloc(arena: &mut Bump, size: usize) -> *mut u8 {{\n\
                 // SAFETY: the callers ask for less than the vector holds.\n\
                 let block = unsafe {{ arena.base.as_mut_ptr().cast::<u8>().add(arena.offset) }};\n\
                 arena.offset += (size + 7) & !7;\n\
                 block\n\
             }}\n\
             fn main() {{\n\
                 let mut arena = Bump {{ base: vec![0; 512], offset: 0 }};\n\
                 let block = bump_alloc(&mut arena, 32);\n\
                 // SAFETY: 32 bytes of this program alone, here and below.\n\
                 unsafe {{ block.copy_from(b\"before\".as_ptr(), 6) }};\n\
                 arenascope::mark(\"before the change, longer than it \\u{{e9}}\");\n\
                 // SAFETY: as above.\n\
                 unsafe {{ block.copy_from(b\"behind\".as_ptr(), 6) }};\n\
                 let name = String::from(\"after\"); // BEHIND\n\
                 arenascope::mark(&name);\n\
                 arenascope::mark(\"\");\n\
                 arenascope::mark(&\"x\".repeat(500));\n\
                 let length = {{ {arena} }};\n\
                 println!(\"{{length}}\");\n\
             }}\n"
        ),
    )
    .expect("a source is written");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let manifest = root().join("crates/arenascope/Cargo.toml");
    let built = Command::new(cargo)
        .args(["build", "--quiet", "--locked", "--lib", "--message-format", "json-render-diagnostics"])
        .arg("--manifest-path")
        .arg(manifest)
        .output()
        .expect("cargo runs");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let messages = String::from_utf8_lossy(&built.stdout).into_owned();
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut files = messages
        .filter(|message| message["target"]["name"] == "arenascope")
        .flat_map(|message| message["filenames"].as_array().cloned().unwrap_or_default());
    let rlib = files
        .find_map(|file| file.as_str().filter(|file| file.ends_with(".rlib")).map(PathBuf::from))
        .expect("cargo names the library");
    let program = place.file("marks");
    let compiled = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
        .args(["--edition", "2024", "-g", "-C", level, "--extern"])
        .arg(format!("arenascope={}", rlib.display()))
        .arg("-L")
        .arg(format!("dependency={}", rlib.with_file_name("deps").display()))
        .arg("-o")
        .args([&program, &source])
        .output()
        .expect("rustc runs");
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    program
}

#[test]
fn a_rust_program_sets_marks_whatever_its_arenas_are() {
    for (own_arena, level) in [(false, "opt-level=0"), (false, "opt-level=3"), (true, "opt-level=3")] {
        let place = Place::new();
        let program = rust_program(&place, own_arena, level);
        let plain = place.plain(&program, &[]);
        assert_eq!((plain.status, plain.stdout.as_str()), (0, "4\n"), "{plain:?}");
        let flags = [&["-o", "t.ascope"][..], &BUMP].concat();
        let (watched, screen) = place.watch(&flags, &program, &[]);
        assert!(plain == watched, "{level}: plain\n{plain:?}\nwatched\n{watched:?}\n{screen}");
        let log = place.log(&place.file("t.ascope"));
        let long = "x".repeat(128);
        assert_eq!(marks(&log), ["before the change, longer than it é", "after", "", &long], "{screen}");
        let told = place.arenascope(&[
            "diff",
            "--json",
            "t.ascope",
            "--from",
            "before the change, longer than it é",
            "--to",
            "after",
        ]);
        let told: Value = serde_json::from_str(&told.stdout).unwrap_or_else(|error| panic!("{error}: {told:?}"));
        assert_eq!(told["arenas"][0]["changes"][0]["changed"]["ranges"].to_string(), "[[2,6]]", "{level}: {told}");
        assert_eq!(accused(&place.findings(&place.file("t.ascope"))).len(), 0, "{screen}");
        let text = std::fs::read_to_string(place.file("marks.rs")).expect("our source");
        let line = text.lines().position(|line| line.contains("BEHIND")).map(|at| at as u64 + 2);
        let after = log.iter().find(|event| event["name"] == "after").expect("it is there");
        assert_eq!(after["site"][0]["line"].as_u64(), line, "{level}: {after}");
    }
}

#[test]
fn a_cpp_program_sets_marks_by_the_header() {
    let place = Place::new();
    let source = place.file("marks.cpp");
    let text = "#include \"HEADER\"\n#include \"BUMP\"\n#include <cstring>\n\
                int main() {\n\tbump arena;\n\tif (bump_init(&arena, 4096)) return 1;\n\
                \tchar *block = static_cast<char *>(bump_alloc(&arena, 40));\n\
                \tarenascope_mark(\"one\");\n\tstd::strcpy(block, \"text\");\n\tarenascope_mark(\"two\");\n\
                \tbump_destroy(&arena);\n}\n";
    let header = root().join("crates/capi/include/arenascope_mark.h");
    let bump = crate::harness::programs().join("bump.h");
    let text = text.replace("HEADER", &header.to_string_lossy()).replace("BUMP", &bump.to_string_lossy());
    // The smallest arena is C: its mapping needs a cast in C++.
    std::fs::write(&source, text).expect("a source is written");
    let program = place.compile("g++", &source.to_string_lossy(), &["-O2", "-fpermissive", "-w"]);
    let roles = ["-o", "t.ascope", "--alloc", "bump_alloc(arena, size) -> block"];
    let (outcome, screen) = place.watch(&roles, &program, &[]);
    assert_eq!(outcome.status, 0, "{outcome:?}\n{screen}");
    assert_eq!(marks(&place.log(&place.file("t.ascope"))), ["one", "two"], "{screen}");
}

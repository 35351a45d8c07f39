//! Check mode of our own library's arenas, end to end: each fault planted in a program on the C header, or in the unsafe parts of a Rust
//! release program, is found at its block, offset and lines, and the mended twin is silent and prints the same.

use crate::harness::{Place, accused, count, is_root, line_of, programs, root};
use crate::own::{example, on_library};
use serde_json::Value;
use std::path::Path;

fn source() -> std::path::PathBuf {
    programs().join("own_faults.c")
}

/// Lines of a finding's sites, by role.
fn line(finding: &Value, role: &str) -> Option<u64> {
    let sites = finding["sites"].as_array()?;
    sites.iter().find(|site| site["role"] == role).and_then(|site| site["line"].as_u64())
}

/// What a checked program did: its findings (no notes), what it printed, its status, and the first screen.
struct Said {
    found: Vec<Value>,
    printed: String,
    status: i32,
    words: String,
}

/// Runs one fault of a program under check mode.
fn watched(place: &Place, program: &Path, flags: &[&str], fault: &str, mended: bool) -> Said {
    let arguments: &[&str] = if mended { &[fault, "mended"] } else { &[fault] };
    let (said, words) = place.watch(flags, program, arguments);
    let trace = place.trace();
    let found = accused(&place.findings(&trace));
    assert!(words.contains(" 0 lost"), "{words}");
    std::fs::remove_file(trace).expect("the trace goes");
    // Sentences, however they are broken into lines.
    let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
    Said { found, printed: said.stdout, status: said.status, words }
}

/// The same of the C program.
fn findings(flags: &[&str], fault: &str, mended: bool) -> (Vec<Value>, String, i32) {
    let place = Place::new();
    let program = on_library(&place, "own_faults.c", &["-g", "-O2"], false);
    let said = watched(&place, &program, flags, fault, mended);
    (said.found, said.printed, said.status)
}

#[test]
fn each_planted_fault_is_found_and_its_mended_twin_is_silent() {
    let allocated = line_of(&source(), "/* the block */");
    let table = [
        ("overflow", "overflow", Some(allocated), None),
        ("underflow", "underflow", Some(allocated), None),
        ("double-free", "double-free", Some(allocated), None),
        ("use-after-rewind", "use-after-rewind", Some(allocated), Some(("rewound", "/* the rewind */"))),
        ("use-after-reset", "use-after-reset", Some(allocated), Some(("reset", "/* the reset */"))),
        ("use-after-unmap", "use-after-unmap", Some(allocated), Some(("destroyed", "/* the end */"))),
        ("wrong-free", "wrong-arena-free", Some(allocated), Some(("freed", "/* the free through it */"))),
        ("wrong-resize", "wrong-arena-free", Some(allocated), Some(("freed", "/* the resize through it */"))),
        ("inside-free", "invalid-free", Some(allocated), Some(("freed", "/* the free inside it */"))),
        ("free-between", "invalid-free", None, Some(("freed", "/* the free between blocks */"))),
        ("region", "overflow", Some(line_of(&source(), "/* the last block */")), None),
    ];
    for (fault, rule, allocated, ended) in table {
        let (found, printed, status) = findings(&["--check"], fault, false);
        assert_eq!(found.len(), 1, "{fault}: {found:#?}");
        assert_eq!(found[0]["rule"], rule, "{found:#?}");
        assert_eq!(line(&found[0], "allocated"), allocated, "{fault}: {found:#?}");
        if let Some((role, mark)) = ended {
            assert_eq!(line(&found[0], role), Some(line_of(&source(), mark)), "{fault}: {found:#?}");
        }
        assert_eq!(status, if fault == "use-after-unmap" { 128 + libc::SIGSEGV } else { 0 }, "{fault}");
        let (none, same, status) = findings(&["--check"], fault, true);
        assert!(none.is_empty(), "{fault}, mended: {none:#?}");
        assert_eq!((printed, status), (same, 0), "what the program says of its arena is the same");
    }
}

/// The library sees it where the header of the dead arena is still there, with and without check mode; and the fault tells it where it is not.
#[test]
fn a_call_of_a_destroyed_arena_is_told_with_its_ends_and_its_mended_twin_is_silent() {
    let place = Place::new();
    let program = on_library(&place, "own_faults.c", &["-g", "-O2"], false);
    let at = |mark| Some(line_of(&source(), mark));
    let end = "/* the end */";
    let table = [
        ("call-alloc", "/* the alloc of a dead arena */", "certain", "\"planted\" was called", 0),
        ("call-reset", "/* the reset of a dead arena */", "certain", "\"planted\" was called", 0),
        ("call-destroy", "/* the second end */", "certain", "\"planted\" was called", 0),
        // Its header was unmapped: more arenas ended since than check mode sets aside, and than a thread keeps.
        ("call-unmapped", "/* the far reset */", "likely", "\"far\" was used", 128 + libc::SIGSEGV),
    ];
    for flags in [&[][..], &["--check"]] {
        for (fault, call, certainty, says, status) in table {
            let said = watched(&place, &program, flags, fault, false);
            let [found] = said.found.as_slice() else { panic!("{fault} {flags:?}: {:#?} {}", said.found, said.words) };
            assert_eq!(found["rule"], "use-after-unmap", "{fault} {flags:?}: {found:#?}");
            assert_eq!(found["certainty"], certainty, "{fault} {flags:?}: {found:#?}");
            assert!(found["message"].as_str().is_some_and(|words| words.contains(says)), "{fault}: {found:#?}");
            assert_eq!(line(found, "destroyed"), at(end), "{fault} {flags:?}: {found:#?}");
            if certainty == "certain" {
                assert_eq!(line(found, "touched"), at(call), "{fault} {flags:?}: {found:#?}");
            } else {
                assert_eq!(line(found, "created"), at("/* the far arena */"), "{found:#?}");
            }
            assert_eq!(said.status, status, "{fault} {flags:?}");
            let mended = watched(&place, &program, flags, fault, true);
            assert!(mended.found.is_empty(), "{fault} {flags:?}, mended: {:#?}", mended.found);
            assert_eq!((mended.printed, mended.status), (said.printed, 0), "{fault} {flags:?}");
        }
    }
}

#[test]
fn so_is_one_through_the_unsafe_face_of_rust() {
    let source = root().join("crates/arenascope/examples/own_faults.rs");
    let (place, program) = (Place::new(), example("own_faults"));
    for flags in [&[][..], &["--check"]] {
        for fault in ["call-alloc", "call-destroy"] {
            let said = watched(&place, &program, flags, fault, false);
            let [found] = said.found.as_slice() else { panic!("{fault} {flags:?}: {:#?} {}", said.found, said.words) };
            assert_eq!(found["rule"], "use-after-unmap", "{fault} {flags:?}: {found:#?}");
            assert_eq!(line(found, "destroyed"), Some(line_of(&source, "// the end")), "{fault}: {found:#?}");
            assert_eq!(said.status, 0, "{fault} {flags:?}");
            let mended = watched(&place, &program, flags, fault, true);
            assert!(mended.found.is_empty(), "{fault} {flags:?}, mended: {:#?}", mended.found);
            assert_eq!((mended.printed, mended.status), (said.printed, 0), "{fault} {flags:?}");
        }
    }
}

#[test]
fn a_guard_page_stops_the_very_access() {
    let (found, _, status) = findings(&["--check", "--guard-pages"], "guard", false);
    assert_eq!(status, 128 + libc::SIGSEGV);
    assert_eq!((found.len(), &found[0]["rule"]), (1, &Value::from("overflow")), "{found:#?}");
    assert!(found[0]["message"].as_str().is_some_and(|words| words.contains("12 bytes past the end of")), "{found:#?}");
    assert_eq!(line(&found[0], "touched"), Some(line_of(&source(), "/* the touch */")), "{found:#?}");
    let (none, _, status) = findings(&["--check", "--guard-pages=plan*"], "guard", true);
    assert!(none.is_empty() && status == 0, "{none:#?}");
}

/// A fault of the Rust program: its rule, words of the message that name block and offset (in check mode's memory), the line that allocated the block, and the role
/// and line of what ended it.
struct Planted {
    fault: &'static str,
    rule: &'static str,
    says: &'static str,
    allocated: &'static str,
    ended: Option<(&'static str, &'static str)>,
}

#[test]
fn faults_in_unsafe_rust_are_found_in_the_release_program() {
    let source = root().join("crates/arenascope/examples/own_faults.rs");
    let planted = |fault, rule, says, allocated, ended| Planted { fault, rule, says, allocated, ended };
    let table = [
        planted("overflow", "overflow", "block 2 (24 bytes at +72)", "// the block", None),
        planted("underflow", "underflow", "block 2 (24 bytes at +72)", "// the block", None),
        planted("double-free", "double-free", "24 bytes at +16 of extent 2, block 1", "// the block freed twice", None),
        planted(
            "use-after-free",
            "use-after-free",
            "block 1 (24 bytes at +16)",
            "// the block freed once",
            Some(("freed", "// the only free")),
        ),
        planted(
            "use-after-rewind",
            "use-after-rewind",
            "block 2 (24 bytes at +72)",
            "// the block",
            Some(("rewound", "// the rewind")),
        ),
        planted("use-after-scope", "use-after-rewind", "block 1 (24 bytes at +16)", "// the block in a scope", None),
        planted(
            "use-after-reset",
            "use-after-reset",
            "block 2 (24 bytes at +72)",
            "// the block",
            Some(("reset", "// the reset")),
        ),
        planted(
            "stale-after-resize",
            "stale-pointer-after-resize",
            "block 1 (24 bytes at +16)",
            "// the block that moves",
            None,
        ),
        planted("use-after-drop", "use-after-unmap", "block 2 (24 bytes at +72)", "// the block", None),
    ];
    let (place, program) = (Place::new(), example("own_faults"));
    for Planted { fault, rule, says, allocated, ended } in table {
        let said = watched(&place, &program, &["--check"], fault, false);
        let [found] = said.found.as_slice() else { panic!("{fault}: {:#?} {}", said.found, said.words) };
        assert_eq!(found["rule"], rule, "{fault}: {found:#?}");
        assert!(found["message"].as_str().is_some_and(|words| words.contains(says)), "{fault}: {found:#?}");
        assert_eq!(line(found, "allocated"), Some(line_of(&source, allocated)), "{fault}: {found:#?}");
        if let Some((role, mark)) = ended {
            assert_eq!(line(found, role), Some(line_of(&source, mark)), "{fault}: {found:#?}");
        }
        assert_eq!(said.status, if fault == "use-after-drop" { 128 + libc::SIGSEGV } else { 0 }, "{fault}");
        assert!(said.words.contains("1 arena: canaries around each block"), "{}", said.words);
        let alone = place.plain(&program, &[fault, "mended"]);
        let mended = watched(&place, &program, &["--check"], fault, true);
        assert!(mended.found.is_empty(), "{fault}, mended: {:#?}", mended.found);
        let (printed, status) = (mended.printed.as_str(), mended.status);
        assert_eq!(
            (printed, status),
            (alone.stdout.as_str(), alone.status),
            "{fault}: what the arena says of itself is the same"
        );
        assert_eq!(said.printed, alone.stdout, "{fault}");
    }
}

#[test]
fn the_screen_says_what_is_in_force_and_why_not_more() {
    let (place, program) = (Place::new(), example("own_faults"));
    let said = watched(&place, &program, &["--check", "--guard-pages"], "guard", false);
    let has_guards = said.words.contains("1 arena: a guard page behind each block");
    assert!(has_guards || said.words.contains("guard pages: this kernel has none"), "{}", said.words);
    assert_eq!(said.status, if has_guards { 128 + libc::SIGSEGV } else { 0 });
    if has_guards && is_root() {
        let locked = watched(&place, &program, &["--check", "--guard-pages"], "locked", true);
        assert!(
            locked.words.contains("guard pages: refused by the kernel (EINVAL: memory is locked)"),
            "{}",
            locked.words
        );
        assert!(locked.found.is_empty() && locked.status == 0, "{:#?}", locked.found);
    }
    if !is_root() {
        eprintln!("not run: locking memory needs root");
    }
    let buffer = watched(&place, &program, &["--check"], "buffer", true);
    assert!(buffer.words.contains("not checked") && buffer.words.contains("a caller's buffer"), "{}", buffer.words);
}

/// A thin layer over the library has the shape of an allocator. It is left alone, in record and in check mode: the program does what it does
/// alone, its one arena is one arena, and nothing is said of what check mode itself does to places. So too where the program counts on its
/// last block's staying in place, which check mode may move.
#[test]
fn a_layer_over_the_library_is_neither_watched_twice_nor_accused() {
    let place = Place::new();
    let program = on_library(&place, "own_layer.c", &["-g", "-O2"], false);
    for arguments in [&[][..], &["keeps"]] {
        let alone = place.plain(&program, arguments);
        assert_eq!(alone.status, 0);
        for flags in [&[][..], &["--check"], &["--check", "--guard-pages"]] {
            let (said, words) = place.watch(flags, &program, arguments);
            let trace = place.trace();
            let (json, events) = (place.findings(&trace), place.log(&trace));
            std::fs::remove_file(trace).expect("the trace goes");
            assert_eq!(accused(&json), Vec::<Value>::new(), "{flags:?} {arguments:?}: {words}");
            assert_eq!(count(&events, "arena-seen"), 1, "{flags:?}: {words}");
            // What guard pages closed stays closed, also for a program that keeps an old pointer by right.
            if arguments.is_empty() || !flags.contains(&"--guard-pages") {
                assert_eq!(said, alone, "{flags:?} {arguments:?}: {words}");
            }
            for rule in ["offset-not-reset", "growth-waste"] {
                assert!(!words.contains(rule), "{flags:?} {arguments:?}: {words}");
            }
        }
    }
}

/// A handler that asks for blocks in the midst of check mode's work does not wait for what it has interrupted: the program ends, and what could not be
/// guarded is counted. (Where it waited, a timer's handlers followed each other for ever.)
#[test]
fn a_timer_s_handler_with_an_arena_of_its_own_does_not_stop_the_program() {
    let place = Place::new();
    let program = on_library(&place, "own_timer.c", &["-g", "-O2"], false);
    for flags in [&["--check"][..], &["--check", "--guard-pages"]] {
        let (said, words) = place.watch(flags, &program, &[]);
        let trace = place.trace();
        assert_eq!((said.stdout.as_str(), said.status), ("done\n", 0), "{words}");
        assert_eq!(accused(&place.findings(&trace)), Vec::<Value>::new(), "{words}");
        std::fs::remove_file(trace).expect("the trace goes");
    }
}

#[test]
fn a_correct_program_of_unusual_style_is_not_accused() {
    let place = Place::new();
    let program = on_library(&place, "own_correct.c", &["-g", "-O2"], false);
    for flags in [&[][..], &["--check"], &["--check", "--guard-pages=*"]] {
        let (said, words) = place.watch(flags, &program, &[]);
        assert_eq!((said.stdout.as_str(), said.status), ("done\n", 0), "{words}");
        for trace in place.traces() {
            assert_eq!(accused(&place.findings(&trace)), Vec::<Value>::new(), "{flags:?}: {words}");
            std::fs::remove_file(trace).expect("the trace goes");
        }
    }
}

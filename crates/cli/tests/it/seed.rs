//! The two programs the project began with: what the first screen shows of 09a and 09b, run from their C files.

use crate::harness::{Place, accused, count, lab, line_of, noted};
use std::path::PathBuf;

fn run(name: &str) -> (Place, String, PathBuf) {
    let place = Place::new();
    let source = lab(name);
    let outcome = place.arenascope(&["run".as_ref(), source.as_os_str()]);
    assert_eq!(outcome.status, 0, "{outcome:?}");
    assert!(outcome.stdout.starts_with("📦 Arena init") || outcome.stdout.starts_with("🎯 Arena init"), "{outcome:?}");
    (place, outcome.stderr, source)
}

/// One arena of this capacity in a mapping of 4096 bytes, with this peak and this many blocks, created and destroyed in `main`'s callees.
fn expect_arena(place: &Place, capacity: u64, peak: u64, blocks: u64) {
    let shown = place.show(&place.trace(), &[]);
    let arenas = shown["arenas"].as_array().cloned().unwrap_or_default();
    assert_eq!(arenas.len(), 1, "{shown}");
    for arena in &arenas {
        let figures = ["capacity", "mapped_bytes", "peak_bytes", "blocks_ever"].map(|name| arena[name].as_u64());
        assert_eq!(figures, [Some(capacity), Some(4096), Some(peak), Some(blocks)], "{arena}");
        for life in ["created", "ended"] {
            let site = arena[life]["site"].as_array().cloned().unwrap_or_default();
            assert!(site.iter().any(|frame| frame["function"] == "main"), "{life}: {arena}");
        }
    }
}

#[test]
fn lab_09a_shows_one_arena_of_three_blocks_and_no_finding() {
    let (place, screen, source) = run("09a_arena_scope_local_mmap.c");
    let trace = place.trace();
    for text in [
        "watched",
        "arena_init",
        "arena_alloc",
        "arena_free",
        "found by shape",
        "peak 192 B (4.7 %)",
        "3 blocks",
        "Hello arena",
        "Scoped allocator is born",
        "This is not malloc",
        &format!("09a_arena_scope_local_mmap.c:{}", line_of(&source, "arena_init(&arena, ARENA_SIZE)")),
        &format!("09a_arena_scope_local_mmap.c:{}", line_of(&source, "arena_free(&arena);")),
        &trace.file_name().expect("a trace has a name").to_string_lossy(),
    ] {
        assert!(screen.contains(text), "{text:?} is not on the screen:\n{screen}");
    }
    assert!(!screen.contains("finding 1"), "{screen}");

    let events = place.log(&trace);
    assert_eq!((count(&events, "create"), count(&events, "alloc"), count(&events, "destroy")), (1, 3, 1));
    let offsets: Vec<_> = events
        .iter()
        .filter(|event| event["kind"] == "alloc")
        .map(|event| (event["block"]["offset"].as_u64(), event["block"]["size"].as_u64()))
        .collect();
    assert_eq!(offsets, [(Some(0), Some(64)), (Some(64), Some(64)), (Some(128), Some(64))]);
    let json = place.findings(&trace);
    assert_eq!(accused(&json).len() + noted(&json).len(), 0, "{json}");
    assert_eq!(json["lost"]["events"], 0);
    expect_arena(&place, 4096, 192, 3);
}

#[test]
fn lab_09b_accuses_block_3_and_nothing_else() {
    let (place, screen, source) = run("09b_arena_scope_leak_tracer.c");
    let line = line_of(&source, "LAB: dropped");
    for text in [
        "256 B in a 4 KiB mapping",
        "peak 128 B (50 %)",
        "4 blocks",
        "never-stored",
        "certain",
        &format!("09b_arena_scope_leak_tracer.c:{line}"),
        "arena_alloc(&arena, BLOCK_SIZE);",
    ] {
        assert!(screen.contains(text), "{text:?} is not on the screen:\n{screen}");
    }
    expect_arena(&place, 256, 128, 4);
    let json = place.findings(&place.trace());
    let found = accused(&json);
    assert_eq!(found.len(), 1, "{json}");
    assert_eq!(noted(&json).len(), 0, "{json}");
    for finding in &found {
        assert_eq!(finding["rule"], "never-stored");
        assert_eq!(finding["certainty"], "certain");
        assert_eq!(finding["block"]["number"], 3);
        assert_eq!(finding["block"]["offset"], 64);
        assert_eq!(finding["block"]["size"], 32);
        assert_eq!(finding["arena"]["id"], 1);
        let sites = finding["sites"].as_array().cloned().unwrap_or_default();
        assert!(
            sites.iter().any(|s| s["role"] == "allocated" && s["function"] == "main" && s["line"] == line),
            "{finding}"
        );
        assert!(finding["disproof"].as_str().is_some_and(|text| !text.is_empty()));
    }
}

#[test]
fn the_next_command_on_the_screen_works() {
    let (place, screen, _) = run("09b_arena_scope_leak_tracer.c");
    let command =
        screen.lines().rev().map(str::trim).find(|line| line.starts_with("arenascope show")).unwrap_or_else(|| {
            panic!("no next command:\n{screen}");
        });
    let mut shell = std::process::Command::new("sh");
    let path = std::path::Path::new(env!("CARGO_BIN_EXE_arenascope")).parent().expect("a program lies in a folder");
    let all = format!("{}:{}", path.display(), std::env::var("PATH").unwrap_or_default());
    let outcome = place.outcome(shell.args(["-c", command]).env("PATH", all));
    assert_eq!(outcome.status, 0, "{command}: {outcome:?}");
    assert!(outcome.stdout.contains("arena"), "{outcome:?}");
}

#[test]
fn our_words_come_after_the_program_s_own() {
    let place = Place::new();
    let source = lab("09b_arena_scope_leak_tracer.c");
    let mut shell = std::process::Command::new("sh");
    let outcome =
        place.outcome(shell.args(["-c", "\"$0\" run \"$1\" 2>&1", env!("CARGO_BIN_EXE_arenascope")]).arg(&source));
    let own = outcome.stdout.find("Arena memory freed");
    let ours = outcome.stdout.find("watched");
    assert!(own.is_some() && ours.is_some() && own < ours, "{outcome:?}");
}

//! What captured bytes show: planted faults and their mended twins, run as real programs.

use crate::harness::{Place, accused, line_of, noted, root};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Builds that make different code.
const BUILDS: [(&str, &str); 4] = [("gcc", "-O0"), ("gcc", "-O2"), ("clang", "-O0"), ("clang", "-O2")];

/// A program of one of the labs.
fn lab(chapter: &str, name: &str) -> PathBuf {
    root().join("labs").join(chapter).join(name)
}

/// Builds that keep calls to functions of the same file.
fn findings_of(source: &Path, compiler: &str, level: &str, roles: &[&str]) -> Value {
    let place = Place::new();
    let program = place.compile(compiler, &source.to_string_lossy(), &[level, "-fno-inline"]);
    let (outcome, screen) = place.watch(roles, &program, &[]);
    assert_eq!(outcome.status, 0, "{outcome:?}\n{screen}");
    place.findings(&place.trace())
}

fn of_rule(all: Vec<Value>, rule: &str) -> Vec<Value> {
    all.into_iter().filter(|one| one["rule"] == rule).collect()
}

fn lines(finding: &Value) -> Vec<u64> {
    let sites = finding["sites"].as_array().cloned().unwrap_or_default();
    sites.iter().filter_map(|site| site["line"].as_u64()).collect()
}

#[test]
fn a_block_that_shows_an_earlier_owners_bytes_is_noted_and_a_cleared_one_is_not() {
    let chapter = "15_offsets_and_bytes";
    let (source, mended) = (lab(chapter, "15b_bytes_not_cleared.c"), lab(chapter, "15b_bytes_not_cleared_mended.c"));
    for (compiler, level) in BUILDS {
        let json = findings_of(&source, compiler, level, &[]);
        assert_eq!(accused(&json).len(), 0, "{compiler} {level}: {json}");
        let [note] = &of_rule(noted(&json), "stale-bytes")[..] else { panic!("{compiler} {level}: one note: {json}") };
        let told = [line_of(&source, "LAB: after"), line_of(&source, "LAB: reset"), line_of(&source, "LAB: before")];
        assert_eq!((lines(note), &note["certainty"]), (told.to_vec(), &"certain".into()), "{compiler} {level}");
        assert!(note["because"].as_str().unwrap_or("").contains("password=correct horse"), "{note}");
        let json = findings_of(&mended, compiler, level, &[]);
        assert_eq!(json["findings"].as_array().map(Vec::len), Some(0), "{compiler} {level}: {json}");
    }
}

#[test]
fn a_write_through_a_pointer_from_before_the_move_is_found_and_a_new_pointer_is_not() {
    let chapter = "13_resize";
    let (source, mended) =
        (lab(chapter, "13b_resize_stale_pointer.c"), lab(chapter, "13b_resize_stale_pointer_mended.c"));
    for (compiler, level) in BUILDS {
        let json = findings_of(&source, compiler, level, &[]);
        let [found] = &accused(&json)[..] else { panic!("{compiler} {level}: one finding: {json}") };
        assert_eq!(found["rule"], "stale-pointer-after-resize", "{json}");
        assert_eq!((&found["certainty"], &found["block"]["number"]), (&"certain".into(), &1.into()), "{json}");
        let told = [line_of(&source, "LAB: moved"), line_of(&source, "LAB: allocated")];
        assert_eq!(lines(found), told, "{compiler} {level}: {json}");
        for silent in [&mended, &lab(chapter, "13a_resize_in_place.c")] {
            let json = findings_of(silent, compiler, level, &[]);
            assert_eq!(json["findings"].as_array().map(Vec::len), Some(0), "{silent:?} {compiler} {level}: {json}");
        }
    }
}

#[test]
fn a_reset_that_leaves_the_offset_is_noted_and_one_that_sets_it_back_is_not() {
    let chapter = "15_offsets_and_bytes";
    let (source, mended) = (lab(chapter, "15a_offset_not_reset.c"), lab(chapter, "15a_offset_not_reset_mended.c"));
    let roles = [
        "--create",
        "arena_init(arena, size)",
        "--alloc",
        "arena_alloc(arena, size) -> block",
        "--reset",
        "arena_reset(arena)",
        "--destroy",
        "arena_free(arena)",
    ];
    for (compiler, level) in BUILDS {
        let json = findings_of(&source, compiler, level, &roles);
        assert_eq!(accused(&json).len(), 0, "{compiler} {level}: {json}");
        let [note] = &noted(&json)[..] else { panic!("{compiler} {level}: one note: {json}") };
        assert_eq!((&note["rule"], &note["certainty"]), (&"offset-not-reset".into(), &"certain".into()), "{json}");
        assert_eq!(lines(note), [line_of(&source, "LAB: reset"), line_of(&source, "LAB: round")], "{json}");
        let json = findings_of(&mended, compiler, level, &roles);
        assert_eq!(json["findings"].as_array().map(Vec::len), Some(0), "{compiler} {level}: {json}");
    }
}

//! Rules that judge by events alone, on real programs: each planted fault is told with its lines, each mended twin is silent.

use crate::harness::{Place, accused, line_of, programs, root};
use serde_json::Value;

/// Compilers and flags that make different code of the same source.
const BUILDS: [(&str, &[&str]); 3] = [("gcc", &["-O0"]), ("gcc", &["-O2"]), ("clang", &["-O2"])];

/// A program, a macro that plants a fault, the rule that must tell it, and the lines that must be named.
struct Planted {
    source: &'static str,
    fault: u32,
    rule: &'static str,
    sites: &'static [(&'static str, &'static str)],
}

fn findings_of(source: &str, fault: u32, compiler: &str, flags: &[&str], more: &[&str]) -> (Vec<Value>, String) {
    let place = Place::new();
    let define = format!("-DFAULT={fault}");
    let all: Vec<&str> = flags.iter().copied().chain([define.as_str()]).collect();
    let program = place.compile(compiler, source, &all);
    let (outcome, screen) = place.watch(more, &program, &[]);
    assert_eq!(outcome.status, 0, "{source} {fault}: {outcome:?}\n{screen}");
    (accused(&place.findings(&place.trace())), screen)
}

/// The fault is the only finding, and names its lines, in every build.
fn told(planted: &Planted, more: &[&str]) {
    let Planted { source, fault, rule, sites } = *planted;
    for (compiler, flags) in BUILDS {
        let (found, screen) = findings_of(source, fault, compiler, flags, more);
        let rules: Vec<&Value> = found.iter().map(|finding| &finding["rule"]).collect();
        assert_eq!(rules, [rule], "{source} {fault} {compiler} {flags:?}\n{screen}");
        for (role, marker) in sites {
            let line = line_of(&programs().join(source), marker);
            let sites = found[0]["sites"].as_array().cloned().unwrap_or_default();
            let named = sites.iter().any(|site| site["role"] == *role && site["line"] == line);
            assert!(named, "{source} {fault} {compiler} {flags:?}: no {role} at {line}\n{screen}");
        }
    }
}

/// No build of the program is accused.
fn silent(source: &str, fault: u32, more: &[&str]) {
    for (compiler, flags) in BUILDS {
        let (found, screen) = findings_of(source, fault, compiler, flags, more);
        assert!(found.is_empty(), "{source} {fault} {compiler} {flags:?}: {found:#?}\n{screen}");
    }
}

/// Roles of `free_wrong.h`: at -O2 its functions have no shape that would tell them.
const POOL: [&str; 8] = [
    "--create",
    "pool_init(arena, size)",
    "--alloc",
    "pool_alloc(arena, size) -> block",
    "--free",
    "pool_free(arena, block)",
    "--destroy",
    "pool_destroy(arena)",
];

#[test]
fn wrong_frees_are_told_and_right_ones_are_not() {
    let planted = [
        (1, "double-free", &[("freed", "/* TWICE */"), ("freed", "/* FIRST */")][..]),
        (2, "invalid-free", &[("freed", "/* INSIDE */"), ("allocated", "/* WORD */")]),
        (3, "wrong-arena-free", &[("freed", "/* FOREIGN */"), ("allocated", "/* WORD */")]),
    ];
    for (fault, rule, sites) in planted {
        told(&Planted { source: "free_wrong.c", fault, rule, sites }, &POOL);
    }
    silent("free_wrong.c", 0, &POOL);
}

/// Labs with one fault each, that rules over events tell, and their mended twins.
const LABS: [(&str, &str); 6] = [
    ("09_arena_allocator_scope_test/09b3_arena_scope_corrupted_offset", "cursor-corrupted"),
    ("10_overlapping_allocations_demo/10a_two_arenas_one_mapping", "overlapping-arenas"),
    ("10_overlapping_allocations_demo/10b_map_fixed_over_an_arena", "overlapping-arenas"),
    ("10_overlapping_allocations_demo/10c_broken_offset", "overlapping-blocks"),
    ("12_double_free/12a_double_free", "double-free"),
    ("18_marks_out_of_order/18_marks_out_of_order", "out-of-order-rewind"),
];

#[test]
fn labs_tell_their_fault_in_every_build_and_their_twins_nothing() {
    for (lab, rule) in LABS {
        for (compiler, flags) in
            [("gcc", &["-O0"][..]), ("gcc", &["-O2", "-fno-inline"]), ("clang", &["-O2", "-fno-inline"])]
        {
            for (ending, expected) in [(".c", &[rule][..]), ("_mended.c", &[])] {
                let source = root().join("labs").join(format!("{lab}{ending}"));
                let (found, screen) = findings_of(&source.to_string_lossy(), 0, compiler, flags, &[]);
                let rules: Vec<&Value> = found.iter().map(|finding| &finding["rule"]).collect();
                assert_eq!(rules, expected, "{lab}{ending} {compiler} {flags:?}\n{screen}");
            }
        }
    }
}

//! Backtraces without frame pointers: what the trace says of each call, against the unwinder that the program itself asked.

use crate::harness::Place;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

const ROLE: [&str; 2] = ["--alloc", "take(arena, size) -> block"];

/// Runs a program whose `take` prints what unwinder libgcc sees. Each line of it, and how often, must be a site of the trace.
/// Addresses of frames come as they stand in the trace; one function inlined into another has its caller's.
fn agree(place: &Place, program: &Path) -> (Vec<Vec<u64>>, Vec<Vec<u64>>) {
    let (outcome, words) = place.watch(&ROLE, program, &["watched"]);
    assert_eq!(outcome.status, 0, "{outcome:?}\n{words}");
    let told = outcome.stdout.lines().filter_map(|line| {
        line.split(' ').map(|word| u64::from_str_radix(word, 16)).collect::<Result<Vec<u64>, _>>().ok()
    });
    let told: Vec<Vec<u64>> = told.map(without_repeats).collect();
    let trace = place.trace();
    let seen =
        place.log(&trace).iter().filter(|event| event["kind"] == "alloc").map(site_of).map(without_repeats).collect();
    (told, seen)
}

fn site_of(event: &Value) -> Vec<u64> {
    let frames = event["site"].as_array().expect("a site");
    let address = |frame: &Value| {
        let text = frame["address"].as_str().expect("an address").trim_start_matches("0x");
        u64::from_str_radix(text, 16).expect("hexadecimal")
    };
    frames.iter().map(address).collect()
}

/// Recursion and inlining repeat an address.
fn without_repeats(mut addresses: Vec<u64>) -> Vec<u64> {
    addresses.dedup();
    addresses
}

fn counted(stacks: &[Vec<u64>]) -> BTreeMap<&Vec<u64>, usize> {
    let mut all = BTreeMap::new();
    for stack in stacks {
        *all.entry(stack).or_default() += 1;
    }
    all
}

/// As many of each as the other has, but for the last one told, which is `undescribed`'s.
fn same(told: &[Vec<u64>], seen: &[Vec<u64>], what: &str) {
    let (last, told) = told.split_last().expect("stacks");
    let (last_seen, seen) = seen.split_last().expect("sites");
    assert!(told.len() > 100, "{what}: {} stacks", told.len());
    let (told, seen) = (counted(told), counted(seen));
    assert!(told == seen, "{what}: told\n{told:x?}\nseen\n{seen:x?}");
    // Nobody describes that frame: what is seen of it may end early, and never goes astray.
    assert!(last_seen.len() >= 3 && last.starts_with(&last_seen[..3]), "{what}: {last_seen:x?} of {last:x?}");
}

#[test]
fn every_stack_of_optimised_c_is_what_the_unwinder_of_gcc_says() {
    for compiler in ["gcc", "clang"] {
        for flags in [
            &["-O2", "-fomit-frame-pointer"][..],
            &["-O2", "-fno-omit-frame-pointer"],
            &["-O0"],
            &["-O3", "-march=x86-64-v3"],
        ] {
            let place = Place::new();
            let program = place.compile(compiler, "deep_stacks.c", &[flags, &["-g", "-pthread", "-rdynamic"]].concat());
            let (told, seen) = agree(&place, &program);
            same(&told, &seen, &format!("{compiler} {flags:?}"));
        }
    }
}

#[test]
fn a_stripped_program_unwinds_as_well() {
    let place = Place::new();
    let program = place.compile("gcc", "deep_stacks.c", &["-O2", "-pthread", "-rdynamic", "-s"]);
    let (told, seen) = agree(&place, &program);
    same(&told, &seen, "stripped");
}

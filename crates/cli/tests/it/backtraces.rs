//! Backtraces without frame pointers: what the trace says of each call, against the unwinder that the program itself asked.

use crate::harness::{Place, programs};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

const ROLE: [&str; 2] = ["--alloc", "take(arena, size) -> block"];

/// Runs a program whose `take` prints what unwinder libgcc sees. Each line of it, and how often, must be a site of the trace.
/// Addresses of frames come as they stand in the trace; one function inlined into another has its caller's.
fn agree(place: &Place, program: &Path, more: &[&str]) -> (Vec<Vec<u64>>, Vec<Vec<u64>>) {
    let (outcome, words) = place.watch(&ROLE, program, &[&["watched"], more].concat());
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
    // Nobody describes the last one's third frame in the C program: what is seen may end early, and never goes astray.
    assert!(
        last_seen.len() >= last.len().min(3) && last.starts_with(&last_seen[..last.len().min(3)]),
        "{what}: {last_seen:x?} of {last:x?}"
    );
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
            let (told, seen) = agree(&place, &program, &[]);
            same(&told, &seen, &format!("{compiler} {flags:?}"));
        }
    }
}

#[test]
fn a_stripped_program_unwinds_as_well() {
    let place = Place::new();
    let program = place.compile("gcc", "deep_stacks.c", &["-O2", "-pthread", "-rdynamic", "-s"]);
    let (told, seen) = agree(&place, &program, &[]);
    same(&told, &seen, "stripped");
}

#[test]
fn stacks_that_exceptions_unwind() {
    for (compiler, flags) in [("g++", &["-O2", "-fomit-frame-pointer"][..]), ("clang++", &["-O2"]), ("g++", &["-O0"])] {
        let place = Place::new();
        let program = place.compile(compiler, "deep_stacks.cc", flags);
        let (told, seen) = agree(&place, &program, &[]);
        same(&told, &seen, &format!("{compiler} {flags:?}"));
    }
}

#[test]
fn stacks_of_rust_release_binaries() {
    for flags in [&["-C", "opt-level=3"][..], &["-C", "opt-level=3", "-C", "strip=symbols"], &["-C", "opt-level=0"]] {
        let place = Place::new();
        let object = place.compile("gcc", "told_stacks.c", &["-O2", "-c"]);
        let program = place.file("deep_stacks");
        let compiled = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
            .args(["--edition", "2024", "-g", "-C"])
            .arg(format!("link-arg={}", object.display()))
            // Stripped it has no names but those of the dynamic table.
            .args(["-C", "link-arg=-rdynamic", "-C", "link-arg=-Wl,--export-dynamic-symbol=take"])
            .args(flags)
            .arg("-o")
            .args([&program, &programs().join("deep_stacks.rs")])
            .output()
            .expect("rustc runs");
        assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
        let (told, seen) = agree(&place, &program, &[]);
        same(&told, &seen, &format!("{flags:?}"));
    }
}

#[test]
fn libraries_come_and_go_while_threads_unwind() {
    let place = Place::new();
    let program = place.compile("gcc", "closing_stacks.c", &["-O2", "-fomit-frame-pointer"]);
    let plugins: Vec<String> = [1, 4, 9]
        .map(|shape| {
            let built =
                place.compile("gcc", "stack_plugin.c", &["-O2", "-shared", "-fPIC", &format!("-DSHAPE={shape}")]);
            let named = place.file(&format!("plugin{shape}.so"));
            std::fs::rename(built, &named).expect("renames");
            named.display().to_string()
        })
        .to_vec();
    let plugins: Vec<&str> = plugins.iter().map(String::as_str).collect();
    let (told, seen) = agree(&place, &program, &plugins);
    assert!(told.len() > 200 && told.len() == seen.len(), "{} {}", told.len(), seen.len());
    // Names are looked up at the end, when other libraries lie where some had been: what does not follow a call there is cut off. But
    // what is seen was there, and threads that have nothing to do with it are seen whole.
    let all: BTreeSet<&Vec<u64>> = told.iter().collect();
    let begins = |seen: &&Vec<u64>| !all.iter().any(|told| told.starts_with(seen));
    let strange: Vec<&Vec<u64>> = seen.iter().filter(begins).collect();
    assert!(strange.is_empty(), "{strange:x?}");
    let whole = seen.iter().filter(|seen| all.contains(seen)).count();
    assert!(whole * 100 >= seen.len() * 95, "{whole} of {}", seen.len());
}

//! The trace and the disk: names that are taken, and disks that are full.

use crate::harness::{Place, count, is_root};
use std::process::Command;

#[test]
fn an_output_that_exists_is_kept_unless_forced() {
    let place = Place::new();
    let program = place.cc("limits.c", &[]);
    let program = program.to_string_lossy();
    std::fs::write(place.file("kept.ascope"), "dear to somebody").expect("a file");
    let outcome = place.arenascope(&["run", "-o", "kept.ascope", "--", &program]);
    assert_eq!(outcome.status, 2, "{outcome:?}");
    assert!(outcome.stderr.contains("kept.ascope") && outcome.stderr.contains("--force"), "{outcome:?}");
    assert_eq!(outcome.stdout, "", "the program was not started: {outcome:?}");
    assert_eq!(std::fs::read(place.file("kept.ascope")).expect("it is still there"), b"dear to somebody");
    let outcome = place.arenascope(&["run", "--force", "-o", "kept.ascope", "--", &program]);
    assert_eq!(outcome.status, 0, "{outcome:?}");
    assert_eq!(count(&place.log(&place.file("kept.ascope")), "alloc"), 1000);
}

#[test]
fn outputs_that_are_no_files() {
    let place = Place::new();
    let program = place.cc("limits.c", &[]);
    let program = program.to_string_lossy();
    std::fs::create_dir(place.file("folder")).expect("a folder");
    for (output, words) in [("folder", "folder"), ("no/such/folder/t.ascope", "no/such/folder")] {
        for force in [false, true] {
            let mut arguments = vec!["run", "-o", output];
            arguments.extend(force.then_some("--force"));
            arguments.extend(["--", &program]);
            let outcome = place.arenascope(&arguments);
            assert_eq!(outcome.status, 2, "{outcome:?}");
            assert!(outcome.stderr.contains(words), "{outcome:?}");
            assert_eq!(outcome.stdout, "", "{outcome:?}");
        }
    }
}

/// Runs `script` in a mount namespace of its own, where `small` is a file system of `size`; `$0` is arenascope.
fn on_a_small_disk(place: &Place, size: &str, script: &str) -> crate::harness::Outcome {
    std::fs::create_dir_all(place.file("small")).expect("a folder");
    let whole = format!("mount -t tmpfs -o size={size},mode=777 none small && {script}");
    let mut command = Command::new("unshare");
    if !is_root() {
        command.arg("--map-root-user");
    }
    command.args(["--mount", "sh", "-c", &whole]).arg(env!("CARGO_BIN_EXE_arenascope"));
    place.outcome(&mut command)
}

const ROLES: &str = "--alloc 'bump_alloc(arena, size) -> block'";

#[test]
fn a_full_disk_costs_events_and_never_the_program() {
    // A file system that is memory itself is written to directly; any other is copied to.
    a_full_disk_costs_events("");
    a_full_disk_costs_events("ARENASCOPE_TRACE_MEMORY=2000000 ");
}

/// `memory`: what makes the launcher copy.
fn a_full_disk_costs_events(memory: &str) {
    let place = Place::new();
    let program = place.cc("sigkill.c", &["-O2"]);
    let plain = place.plain(&program, &["2000000"]);
    let script = format!(
        "{memory}\"$0\" run {ROLES} -o small/t.ascope --log words -- ./sigkill 2000000; status=$?; \
         \"$0\" findings --json small/t.ascope > found.json; echo $? > found.status; cp small/t.ascope kept.ascope; exit $status"
    );
    let outcome = on_a_small_disk(&place, "2m", &script);
    assert_eq!(outcome.stdout, plain.stdout, "{outcome:?}");
    assert_eq!(outcome.status, plain.status, "{outcome:?}");
    let read = |name: &str| std::fs::read_to_string(place.file(name)).unwrap_or_default();
    assert_eq!(read("found.status").trim(), "0", "{outcome:?}");
    let found: serde_json::Value = serde_json::from_str(&read("found.json")).expect("findings --json");
    let lost = found["lost"]["events"].as_u64().expect("a number");
    assert!(lost > 0, "2 MiB cannot hold 2,000,000 events: {found}");
    let kept = count(&place.log(&place.file("kept.ascope")), "alloc") as u64;
    // Besides the allocations a few other events (threads, captures, the end) may be among the lost.
    let told = kept + lost;
    assert!((2_000_000..2_000_100).contains(&told), "every allocation is recorded or counted: {kept} + {lost}");
    let words = read("words");
    assert!(words.to_lowercase().contains("lost") && words.contains("space"), "the screen says so: {words}");
    assert!(!words.contains("faster"), "the disk is not slow, it is full: {words}");
}

#[test]
fn a_disk_too_small_even_to_begin() {
    for memory in ["", "ARENASCOPE_TRACE_MEMORY=2000000 "] {
        a_disk_too_small(memory);
    }
}

fn a_disk_too_small(memory: &str) {
    let place = Place::new();
    place.cc("limits.c", &[]);
    let script = format!(
        "head -c 65536 /dev/zero > small/filler; {memory}\"$0\" run {ROLES} -o small/t.ascope --log words -- ./limits"
    );
    let outcome = on_a_small_disk(&place, "64k", &script);
    let words = std::fs::read_to_string(place.file("words")).unwrap_or_default();
    let refused = outcome.status == 2 && outcome.stdout.is_empty() && outcome.stderr.contains("small/t.ascope");
    let ran = outcome.status == 0 && outcome.stdout == "499500\n" && (words + &outcome.stderr).contains("space");
    assert!(refused || ran, "refused before the start, or run with losses told: {outcome:?}");
}

//! What `cargo xtask test --long` adds for the arena: its suite under AddressSanitizer, ThreadSanitizer, Valgrind and Miri, and on nightly Rust.
//!
//! Relied on: a missing toolchain or program is an error that says how to get it, never a skipped step. Each step prints the
//! command that repeats it by hand. Deliberately absent: the arena's tests themselves.

use crate::{packages, steps};
use std::path::Path;
use std::process::Command;

/// The tests that watch the arena's own memory; the others start programs or read assembly.
const SUITE: &[&str] = &[
    "--test",
    "conformance",
    "--test",
    "old_bugs",
    "--test",
    "scopes",
    "--test",
    "collections",
    "--test",
    "oracle",
    "--test",
    "shared",
    "--test",
    "race_free",
];

/// Those of them that end today under Miri, which is a thousand times slower and has the heap source only.
const FOR_MIRI: &[&str] = &["--test", "old_bugs", "--test", "collections", "--test", "scopes"];

const HOST: &str = "x86_64-unknown-linux-gnu";

/// Every step; the first that fails ends it.
pub fn arena() -> Result<(), String> {
    packages::require_for_long_tests()?;
    let package = ["-p", "arenascope"];
    // Observers and sources of tests live forever on purpose: to a leak checker they are leaks.
    let asan = [("RUSTFLAGS", "-Zsanitizer=address"), ("ASAN_OPTIONS", "detect_leaks=0")];
    nightly("asan", &[&["test"], &package[..], &["--target", HOST, "--lib"], SUITE].concat(), &asan)?;
    thread_sanitizer()?;
    nightly("nightly", &["test", "-p", "arenascope", "--features", "nightly", "--test", "nightly"], &[])?;
    // The error codes of what the compiler refuses are compared on nightly only.
    nightly("nightly", &["test", "-p", "arenascope", "--doc"], &[])?;
    let valgrind = [("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER", "valgrind -q --error-exitcode=9")];
    steps::cargo(&[&["test", "--locked"], &package[..], SUITE].concat(), &valgrind)?;
    let miri = [("MIRIFLAGS", "-Zmiri-disable-isolation -Zmiri-strict-provenance -Zmiri-ignore-leaks")];
    nightly("miri", &[&["miri", "test"], &package[..], FOR_MIRI].concat(), &miri)
}

/// Threads under ThreadSanitizer: a program of their own, for the standard library that comes with the toolchain was compiled without it.
fn thread_sanitizer() -> Result<(), String> {
    let suppressions = steps::root().join("crates/arenascope/tests/race_free.suppressions");
    let options = format!("suppressions={}", suppressions.display());
    // Through the C library, whose mmap and munmap the sanitizer knows; else memory that is mapped again looks like a race.
    let words = ["test", "-p", "arenascope", "--features", "rustix/use-libc", "--target", HOST, "--test", "race_free"];
    let flags = "-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer";
    nightly("tsan", &words, &[("RUSTFLAGS", flags), ("TSAN_OPTIONS", &options)])
}

/// Runs nightly cargo with a target directory of its own: other flags would rebuild everything each time.
fn nightly(name: &str, words: &[&str], environment: &[(&str, &str)]) -> Result<(), String> {
    let target = Path::new(&steps::target_directory()?).join("long").join(name);
    let shown: Vec<String> = environment.iter().map(|(name, value)| format!("{name}='{value}' ")).collect();
    eprintln!("xtask: {}cargo +nightly {}", shown.concat(), words.join(" "));
    let mut command = Command::new("rustup");
    command.args(["run", "nightly", "cargo"]).args(words).current_dir(steps::root());
    // What the cargo that runs us has set is of the wrong toolchain.
    for name in ["CARGO", "RUSTC", "RUSTDOC", "RUSTUP_TOOLCHAIN"] {
        command.env_remove(name);
    }
    command.env("CARGO_TARGET_DIR", target).envs(environment.iter().copied());
    steps::status(
        &mut command,
        &format!("cargo +nightly {} (rustup toolchain install nightly -c miri -c rust-src)", words.join(" ")),
    )
}

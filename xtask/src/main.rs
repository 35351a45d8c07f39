//! `cargo xtask CHORE`: the project's chores, one word each.
//!
//! Relied on: every chore can be run from any folder of a fresh clone, prints what it runs, and ends with status 0 or 1
//! (2 for a word it does not know). Deliberately absent: anything a user of Arenascope needs.
#![forbid(unsafe_code)]

mod bench;
mod detection;
mod fuzz;
mod install;
mod labs;
mod long;
mod packages;
mod sources;
mod steps;
mod tidy;
mod unsafe_list;

use fuzz::Effort;
use std::process::ExitCode;

const USAGE: &str = "\
cargo xtask CHORE

  test [--long] [ARG…]  installs or names missing Debian packages, runs the labs and all tests; ARG goes to `cargo test`;
                        --long: more cases, a minute for each fuzz target, and the arena under AddressSanitizer,
                        ThreadSanitizer, Valgrind and Miri (nightly Rust)
  ci                    what a change must pass: format, clippy, docs, tidy, test
  fuzz [PART [SECONDS]] each fuzz target whose name contains PART, for 10 seconds or so many
  labs [NAME]           runs the labs, or one, and compares what is found with what each expects; other tools and Rust parts too
  bench [hooked]        cost of a hooked call and bytes per event; without a word all benches. Results go into
                        docs/performance.md and docs/performance.json
  bench record          recording one event, beside heaptrack and memray
  bench modes           each mode on one load, beside heaptrack and memcheck
  bench check           check mode of our own arenas on a whole program
  bench replay          replay and all rules over ten million events of sqlite3 and of python3
  bench arenas [ARG…]   the arena beside its peers; ARG as bench/arenas/README.md says (--quick, row names)
  detection             what each tool says about planted bugs: the table of docs/detection.md
  install --prefix DIR  the C library: header, libarenascope.a and .so, pkg-config file
  tidy                  the layer rules and house rules
  unsafe [--write]      where unsafe code is, counted; --write renews the checked-in list
";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["ci"] => ci(),
        ["test", rest @ ..] => test(rest),
        ["fuzz"] => fuzz::run("", Effort::Seconds(10)),
        ["fuzz", part] => fuzz::run(part, Effort::Seconds(10)),
        ["fuzz", part, seconds] => match seconds.parse() {
            Ok(seconds) => fuzz::run(part, Effort::Seconds(seconds)),
            Err(_) => Err(format!("{seconds:?} is no number of seconds")),
        },
        ["labs", rest @ ..] if rest.len() <= 1 => labs::run(rest.first().copied(), true),
        ["bench", rest @ ..] => bench::run(rest),
        ["detection"] => detection::run(),
        ["install", "--prefix", prefix] => install::run(prefix),
        ["tidy"] => tidy::run(),
        ["unsafe"] => unsafe_list::print(),
        ["unsafe", "--write"] => unsafe_list::write(),
        ["help" | "--help" | "-h"] => {
            print!("{USAGE}");
            Ok(())
        }
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::FAILURE
        }
    }
}

/// Cheap complaints first; the tests, with their runner's closing lines, last.
fn ci() -> Result<(), String> {
    steps::cargo(&["fmt", "--all", "--check"], &[])?;
    tidy::run()?;
    packages::require()?;
    steps::cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"], &[])?;
    steps::cargo(&["doc", "--workspace", "--no-deps", "--locked"], &[("RUSTDOCFLAGS", "-D warnings")])?;
    test(&[])
}

fn test(rest: &[&str]) -> Result<(), String> {
    packages::require()?;
    labs::run(None, true)?;
    let long = rest.contains(&"--long");
    fuzz::run("", if long { Effort::Seconds(60) } else { Effort::Seeded })?;
    if long {
        long::arena()?;
    }
    let mut words = vec!["test", "--workspace", "--locked"];
    words.extend(rest.iter().filter(|word| **word != "--long"));
    steps::cargo(&words, if long { &[("ARENASCOPE_LONG", "1")] } else { &[] })
}

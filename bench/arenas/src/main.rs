//! `arena-bench`: our arena and its peers, side by side. README.md says how to read it.
//!
//! Relied on: with the same inputs every contender does the same work. Deliberately absent: judgement in prose; the numbers
//! go to files that `cargo xtask bench` turns into docs/performance.md.

mod choices;
mod loops;
mod machine;
mod many;
mod measure;
mod memory;
mod ours;
mod peers;
mod rows;

use measure::Plan;
use rows::Row;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "\
arena-bench [--quick] [--no-counts] [--rounds N] [--contender PART] [--out FOLDER] [ROW…]
arena-bench list     all rows and contenders
arena-bench ids      the rows' names

  ROW                a row whose name contains this; without one, all
  --quick            small sizes, few rounds: to try, not for the record
  --no-counts        no instruction counts (they need valgrind)
  --rounds N         instead of each row's own
  --contender PART   only contenders whose name contains this
  --out FOLDER       a file of numbers per row, ROW.json
  --commit WORDS     what to write into these files as the commit that was measured
";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["list"] => {
            list();
            Ok(())
        }
        ["ids"] => {
            let many = many::all();
            let of_many = |id: &str| many.iter().any(|row| row.id == id);
            for row in rows::all() {
                println!("{} {}", if of_many(row.id) { "many" } else { "arenas" }, row.id);
            }
            Ok(())
        }
        ["help" | "--help" | "-h"] => {
            print!("{USAGE}");
            Ok(())
        }
        ["one", row, contender, units] => with_row(row, |row| measure::one(row, contender, number(units)?)),
        ["count", row, contender, units] => with_row(row, |row| measure::count(row, contender, number(units)?)),
        ["together", row, part, units, rounds] => with_row(row, |row| {
            measure::together(row, part, number(units)?, number(rounds)? as usize);
            Ok(())
        }),
        words => run(words),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("arena-bench: {message}");
            ExitCode::FAILURE
        }
    }
}

fn number(word: &str) -> Result<u64, String> {
    word.parse().map_err(|_| format!("{word:?} is no number"))
}

fn with_row(id: &str, run: impl FnOnce(&Row) -> Result<(), String>) -> Result<(), String> {
    let rows = rows::all();
    run(rows.iter().find(|row| row.id == id).ok_or(format!("no row {id:?}"))?)
}

fn list() {
    for row in rows::all() {
        println!("{:10} {}", row.id, row.title);
        for contender in &row.contenders {
            println!("             {}", contender.name);
        }
    }
}

fn run(words: &[&str]) -> Result<(), String> {
    let mut plan = Plan { quick: false, counts: true, rounds: None, contender: String::new() };
    let mut out: Option<PathBuf> = None;
    let mut commit = "";
    let mut filters = Vec::new();
    let mut words = words.iter();
    while let Some(&word) = words.next() {
        let mut value = || words.next().copied().ok_or(format!("{word} needs a value\n{USAGE}"));
        match word {
            "--quick" => plan.quick = true,
            "--no-counts" => plan.counts = false,
            "--rounds" => plan.rounds = Some(number(value()?)? as usize),
            "--contender" => plan.contender = value()?.to_owned(),
            "--commit" => commit = value()?,
            "--out" => out = Some(value()?.into()),
            flag if flag.starts_with('-') => return Err(format!("no flag {flag}\n{USAGE}")),
            filter => filters.push(filter),
        }
    }
    let rows = rows::all();
    let chosen: Vec<&Row> =
        rows.iter().filter(|row| filters.is_empty() || filters.iter().any(|part| row.id.contains(part))).collect();
    if chosen.is_empty() {
        return Err(format!("no row is named like {filters:?}; see arena-bench list"));
    }
    if let Some(out) = &out {
        std::fs::create_dir_all(out).map_err(|error| format!("{}: {error}", out.display()))?;
        write(&out.join("versions.json"), &versions())?;
    }
    for row in chosen {
        let mut numbers = measure::row(row, &plan)?;
        numbers["commit"] = commit.into();
        if let Some(out) = &out {
            write(&out.join(format!("{}.json", row.id)), &numbers)?;
        }
    }
    Ok(())
}

fn write(path: &Path, value: &serde_json::Value) -> Result<(), String> {
    std::fs::write(path, format!("{value:#}\n")).map_err(|error| format!("{}: {error}", path.display()))
}

/// The peers' versions: crates from the lock file this was built with, C libraries from themselves.
fn versions() -> serde_json::Value {
    const CRATES: &[&str] = &[
        "bumpalo",
        "bumpalo-herd",
        "bump-scope",
        "blink-alloc",
        "oxc_allocator",
        "typed-arena",
        "libmimalloc-sys",
        "allocator-api2",
    ];
    let lock = include_str!("../Cargo.lock");
    let crates = CRATES.iter().filter_map(|name| {
        let (_, after) = lock.split_once(&format!("name = \"{name}\"\nversion = \""))?;
        Some(((*name).to_owned(), after.split('"').next()?.to_owned()))
    });
    let libraries = peers::c::versions().map(|(name, version)| (name.to_owned(), version));
    json!(crates.chain(libraries).collect::<std::collections::BTreeMap<_, _>>())
}

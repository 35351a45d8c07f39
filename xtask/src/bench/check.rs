//! What recording and check mode cost a whole program on our own library: parse a JSON text to a tree and free it.
//!
//! The program is `arena-bench` as it is, the same file in every row; it times the parse and the end of the arena by itself, so that starting,
//! making the text, and what we do after the program's end are not counted. Relied on: a watched run that lost events is an error and no row.
//! Deliberately absent: AddressSanitizer, which needs a nightly compiler for Rust.

use super::spread::{Spread, round, spread};
use super::{arenas, page};
use crate::{packages, steps};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::Command;

const ROUNDS: usize = 7;
/// Size of the text, 10^6 bytes.
const MEGABYTES: u64 = 56;
/// The same under callgrind: the first, and the difference to the second.
const COUNTED: u64 = 2;
/// What any of the ways takes, bytes: touched before each run, because a virtual machine's memory that lay idle is slow to get.
const TOUCHED: usize = 1 << 30;

/// A way to run the program: its name, the flags of `run` (none: without us), and the ratio of times that must be reached.
type Way = (&'static str, Option<&'static [&'static str]>, Option<f64>);

const WAYS: [Way; 3] =
    [("unwatched", None, None), ("run", Some(&[]), None), ("run --check", Some(&["--check"]), Some(2.0))];

/// Measures, and renews this bench's part of both files.
pub fn run() -> Result<(), String> {
    packages::require_for_benches()?;
    let (bench, _) = arenas::build()?;
    let tools = Tools { arenascope: steps::arenascope(true)?, bench, folder: steps::scratch("check")? };
    let mut times: [Vec<f64>; WAYS.len()] = Default::default();
    for turn in 0..ROUNDS {
        for ((name, flags, _), times) in WAYS.iter().zip(&mut times) {
            eprintln!("xtask: JSON, {name}, round {} of {ROUNDS}", turn + 1);
            times.push(tools.milliseconds(*flags)?);
        }
    }
    let mut measured = Vec::new();
    for ((_, flags, _), times) in WAYS.iter().zip(times) {
        measured.push((spread(times, "arena-bench")?, tools.instructions(*flags)?));
    }
    let rows = judged(&measured);
    let section = section(&rows, &super::machine());
    print!("{section}");
    page::renew("check", &section, &rows)
}

struct Tools {
    arenascope: PathBuf,
    bench: PathBuf,
    folder: PathBuf,
}

impl Tools {
    /// Up to where the program is named.
    fn watched(&self, flags: &[&str]) -> Command {
        let mut command = Command::new(&self.arenascope);
        command.args(["run", "--force", "--log"]).arg(self.folder.join("log")).args(flags);
        command.arg("-o").arg(self.folder.join("check.ascope")).arg("--");
        command
    }

    /// One run; of the parse and the arena's end alone.
    fn milliseconds(&self, flags: Option<&[&str]>) -> Result<f64, String> {
        drop(std::hint::black_box(vec![1u8; TOUCHED]));
        let mut command = match flags {
            None => Command::new(&self.bench),
            Some(flags) => {
                let mut command = self.watched(flags);
                command.arg(&self.bench);
                command
            }
        };
        command.args(["one", "json", "arenascope", &MEGABYTES.to_string()]);
        let text = steps::output(&mut command, "arena-bench")?;
        if flags.is_some() {
            let log = self.folder.join("log");
            let screen = std::fs::read_to_string(&log).map_err(|error| format!("{}: {error}", log.display()))?;
            super::events_of(&screen)?;
        }
        nanoseconds(&text).map(|ns| ns / 1e6).ok_or_else(|| format!("arena-bench printed {text:?}"))
    }

    /// Instructions of the program for each byte of the text, without those that make the text.
    fn instructions(&self, flags: Option<&[&str]>) -> Result<f64, String> {
        let out = self.folder.join("callgrind.out");
        let to = format!("--callgrind-out-file={}", out.display());
        let count = |megabytes: u64| -> Result<f64, String> {
            let valgrind = ["valgrind", "-q", "--tool=callgrind", &to];
            let mut command = match flags {
                None => {
                    let mut command = Command::new("valgrind");
                    command.args(&valgrind[1..]);
                    command
                }
                // The agent is in the program that Valgrind runs, and in Valgrind's own start, where nothing is to be watched.
                Some(flags) => {
                    let mut command = self.watched(&[&["--late"], flags].concat());
                    command.args(valgrind);
                    command
                }
            };
            command.arg(&self.bench).args(["count", "json", "arenascope", &megabytes.to_string()]);
            steps::output(&mut command, "callgrind")?;
            let mut annotate = Command::new("callgrind_annotate");
            annotate.args(["--inclusive=yes", "--threshold=100"]).arg(&out);
            let text = steps::output(&mut annotate, "callgrind_annotate")?;
            counted(&text).ok_or_else(|| format!("{}: no sum, or nothing made the text", out.display()))
        };
        let more = count(2 * COUNTED)? - count(COUNTED)?;
        Ok(round(more / (COUNTED as f64 * 1e6)))
    }
}

/// The second word of what `arena-bench one` prints.
fn nanoseconds(text: &str) -> Option<f64> {
    text.split_whitespace().nth(1)?.parse().ok()
}

/// All instructions of a list of functions, callees included, without those of the function that makes the text.
fn counted(annotated: &str) -> Option<f64> {
    let of = |part: &str| {
        let line = annotated.lines().find(|line| line.contains(part))?;
        line.trim_start().split(' ').next()?.replace(',', "").parse::<f64>().ok()
    };
    Some(of("PROGRAM TOTALS")? - of("loops::json::document ")?)
}

fn judged(measured: &[(Spread, f64)]) -> Vec<Value> {
    let Some((alone, alone_instructions)) = measured.first() else { return Vec::new() };
    let rows = WAYS.iter().zip(measured).map(|((name, flags, must), (time, instructions))| {
        json!({
            "row": format!("parse {MEGABYTES} MB of JSON and free, {name}"), "way": name, "unit": "ms",
            "ours": round(time.median), "least": round(time.min), "instructions": instructions,
            "peer": if flags.is_some() { "unwatched" } else { "" },
            "peer_value": flags.map(|_| round(alone.median)), "ratio": round(time.median / alone.median),
            "ratio_of_least": round(time.min / alone.min),
            "ratio_of_instructions": round(instructions / alone_instructions), "must": must, "aim": Value::Null,
        })
    });
    rows.collect()
}

fn section(rows: &[Value], machine: &str) -> String {
    let mut section = format!(
        "## Check mode of our own arenas\n\nWritten by `cargo xtask bench check` on: {machine}.\n\n\
         Parse {MEGABYTES} MB of JSON to a tree in one growing arena, and free it: the row `json` of the arena benches, the same release program\n\
         in every way. It times itself; starting, making the text and what `run` does behind the program's end are not counted.\n\
         *Instructions* are callgrind's for each byte of the text, those of the kernel not among them. Median and least of {ROUNDS} rounds, all\n\
         ways by turns. AddressSanitizer has no row: for Rust it needs a nightly compiler.\n\n\
         | way | ms | least | times | times, least | instructions a byte | times | must |\n|---|---|---|---|---|---|---|---|\n",
    );
    for row in rows {
        let cells =
            ["way", "ours", "least", "ratio", "ratio_of_least", "instructions", "ratio_of_instructions", "must"]
                .map(|name| page::cell(row.get(name).unwrap_or(&Value::Null)));
        section.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
    section
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_the_text_is_not_counted() {
        let text =
            "1,000 (100.0%)  PROGRAM TOTALS\n  900 (90%)  ???:main\n  250 (25%)  ???:a::loops::json::document [x]\n";
        assert_eq!(counted(text), Some(750.0));
        assert_eq!(counted("1,000 (100.0%)  PROGRAM TOTALS\n"), None);
        assert_eq!((nanoseconds("0 1207256152 0\n"), nanoseconds("")), (Some(1207256152.0), None));
    }

    #[test]
    fn every_way_is_compared_with_the_program_alone() {
        let of = |ms: f64, instructions| (Spread { median: ms, min: ms - 10.0 }, instructions);
        let rows = judged(&[of(110.0, 30.0), of(165.0, 45.0), of(220.0, 90.0)]);
        assert_eq!(
            (&rows[2]["ratio"], &rows[2]["ratio_of_instructions"], &rows[2]["must"]),
            (&json!(2.0), &json!(3.0), &json!(2.0))
        );
        let text = section(&rows, "machine");
        assert!(text.contains("| run --check | 220 | 210 | 2 | 2.10 | 90 | 3 | 2 |"), "{text}");
    }
}

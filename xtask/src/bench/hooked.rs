//! What watching costs: a hooked call against the same program unhooked, and bytes of trace per event.
//!
//! Pinned to one CPU, by turns, median and least over all batches of all rounds. Deliberately absent: judgement. The table
//! says what must and what aims; the reader compares.

use super::page;
use super::spread::{numbers, round, spread};
use crate::steps;
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

const ROUNDS: usize = 7;
const BATCHES: u64 = 20;
/// A multiple of 64, so that the many-places loop makes exactly as many calls.
const CALLS: u64 = 128_000;

/// Measures, and renews this bench's part of both files.
pub fn run() -> Result<(), String> {
    let arenascope = steps::arenascope(true)?;
    let folder = steps::scratch("bench")?;
    let program = folder.join("hooked_call");
    steps::status(
        Command::new("cc")
            .args(["-g", "-O2", "-fno-omit-frame-pointer", "-o"])
            .arg(&program)
            .arg(steps::root().join("bench/hooked_call.c")),
        "cc bench/hooked_call.c",
    )?;

    let mut rows = Vec::new();
    for (sites, row) in [("one", "hooked call, 8 frames, one site"), ("sites", "hooked call, 8 frames, 64 sites")] {
        let mut plain = Vec::new();
        let mut watched = Vec::new();
        let mut bytes_per_event = 0.0;
        for round in 0..ROUNDS {
            eprintln!("xtask: {row}, round {} of {ROUNDS}", round + 1);
            plain.extend(batches(pinned(&program).args(work(sites)))?);
            let trace = folder.join("hooked_call.ascope");
            watched.extend(batches(
                pinned(&arenascope)
                    .args(["run", "--force", "--alloc", "take(arena, size) -> block", "--log", "/dev/null", "-o"])
                    .arg(&trace)
                    .arg("--")
                    .arg(&program)
                    .args(work(sites)),
            )?);
            let length = std::fs::metadata(&trace).map_err(|error| format!("{}: {error}", trace.display()))?.len();
            bytes_per_event = length as f64 / (BATCHES * CALLS) as f64;
        }
        let (plain, watched) = (spread(plain, "bench/hooked_call")?, spread(watched, "bench/hooked_call")?);
        rows.push(json!({
            "row": row, "unit": "ns", "ours": round(watched.median - plain.median), "ours_min": round(watched.min - plain.min),
            "peer": "the same call, unhooked", "peer_value": round(plain.median),
            "ratio": round(watched.median / plain.median), "must": 60, "aim": 25,
        }));
        rows.push(json!({
            "row": format!("trace, {row}"), "unit": "bytes per event", "ours": round(bytes_per_event),
            "peer": "", "peer_value": Value::Null, "ratio": Value::Null, "must": 8, "aim": 5,
        }));
    }
    let section = section(&rows, &super::machine());
    print!("{section}");
    page::renew("hooked", &section, &rows)
}

fn work(sites: &str) -> [String; 3] {
    [BATCHES.to_string(), CALLS.to_string(), sites.to_owned()]
}

/// The last CPU: the first one serves more interrupts.
fn pinned(program: &Path) -> Command {
    let last = std::thread::available_parallelism().map_or(0, |n| n.get() - 1);
    let mut command = Command::new("taskset");
    command.args(["-c", &last.to_string()]).arg(program);
    command
}

fn batches(command: &mut Command) -> Result<Vec<f64>, String> {
    numbers(&steps::output(command, "bench/hooked_call")?, "bench/hooked_call")
}

fn section(rows: &[Value], machine: &str) -> String {
    let mut section = format!(
        "## A hooked call\n\nWritten by `cargo xtask bench hooked` on: {machine}.\n\n\
         `ours` of a hooked call is what watching adds to it: the median of {} batches of {CALLS} calls with the hook minus the\n\
         median without, pinned to one CPU, by turns; `least` the same of the fastest batches. The program is\n\
         [bench/hooked_call.c](../bench/hooked_call.c): an allocator of five instructions under eight frames, called from one\n\
         place or from 64. *must* is what this version promises, *aim* what a later one wants.\n\n\
         | row | unit | ours | least | peer | peer value | ratio | must | aim |\n|---|---|---|---|---|---|---|---|---|\n",
        ROUNDS as u64 * BATCHES
    );
    for row in rows {
        let cells = ["row", "unit", "ours", "ours_min", "peer", "peer_value", "ratio", "must", "aim"];
        let cells: Vec<String> = cells.iter().map(|name| page::cell(row.get(name).unwrap_or(&Value::Null))).collect();
        section.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
    section
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_section_has_a_line_for_every_row_and_nothing_for_null() {
        let section =
            section(&[json!({"row": "x", "unit": "ns", "ours": 1.5, "peer_value": null, "must": 60})], "machine");
        assert!(section.contains("| x | ns | 1.50 |  |  |  |  | 60 |  |"), "{section}");
    }
}

//! What sampling costs the arena library: instructions under callgrind, sampled and not.
//!
//! Relied on: the loads are those of `crates/arenascope/examples/sampled.rs`, the same file run both ways; a unit is the difference between
//! twice so many units and so many. Deliberately absent: hooked calls and malloc, whose times are rows of `modes`.

use super::page;
use super::spread::round;
use crate::steps;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::Command;

/// Load, what a unit is, units, and the most that sampling may add, in percent.
const LOADS: [(&str, &str, u64, Option<f64>); 3] = [
    ("json", "a document of 100 KB parsed into an arena of its own", 40, Some(0.1)),
    ("life", "an arena made, filled with 16 KiB, dropped", 400, None),
    ("scopes", "a scope with ten blocks of 24 bytes", 4000, None),
];

const MEAN: &str = "524288";

/// Measures, and renews this bench's part of both files.
pub fn run() -> Result<(), String> {
    steps::cargo(&["build", "--quiet", "--release", "--package", "arenascope", "--example", "sampled"], &[])?;
    let program = PathBuf::from(steps::target_directory()?).join("release/examples/sampled");
    let mut rows = Vec::new();
    for (load, what, units, must) in LOADS {
        let unit = |sampled: bool| -> Result<f64, String> {
            let once = instructions(&program, load, units, sampled)?;
            Ok((instructions(&program, load, 2 * units, sampled)? - once) / units as f64)
        };
        let (off, on) = (unit(false)?, unit(true)?);
        rows.push(json!({
            "row": format!("sampled every 512 KiB: {what}"), "unit": "instructions", "ours": round(on), "peer": "unwatched",
            "peer_value": round(off), "ratio": (on / off * 1e5).round() / 1e5, "adds": round(on - off),
            "must": must.map(|percent| 1.0 + percent / 100.0), "aim": Value::Null,
        }));
    }
    let section = section(&rows, &super::machine());
    print!("{section}");
    page::renew("sample", &section, &rows)
}

fn instructions(program: &std::path::Path, load: &str, units: u64, sampled: bool) -> Result<f64, String> {
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(program).args([load, &units.to_string()]);
    if sampled {
        command.arg(MEAN);
    }
    let output = command.output().map_err(|error| format!("valgrind cannot be started: {error}"))?;
    let text = String::from_utf8_lossy(&output.stderr);
    let collected = text.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok());
    collected.ok_or(format!("callgrind of {load}: no count in\n{text}"))
}

fn section(rows: &[Value], machine: &str) -> String {
    let mut section = format!(
        "## Samples\n\nWritten by `cargo xtask bench sample` on: {machine}.\n\n\
         Instructions under callgrind for one unit of a load on the arena library, one release binary \
         ([examples/sampled.rs](../crates/arenascope/examples/sampled.rs)), with an observer\n\
         that takes one allocation in 512 KiB and without any. *must* is a ratio.\n\n\
         | load | sampled | unwatched | adds | ratio | must |\n|---|---|---|---|---|---|\n"
    );
    for row in rows {
        let of = |name: &str| page::cell(row.get(name).unwrap_or(&Value::Null));
        let ratio = row["ratio"].as_f64().map_or_else(String::new, |ratio| format!("{ratio:.5}"));
        let must = row["must"].as_f64().map_or_else(String::new, |must| format!("{must:.3}"));
        let name = row["row"].as_str().and_then(|row| row.split_once(": ")).map_or("", |(_, what)| what);
        section.push_str(&format!(
            "| {name} | {} | {} | {} | {ratio} | {must} |\n",
            of("ours"),
            of("peer_value"),
            of("adds")
        ));
    }
    section
}

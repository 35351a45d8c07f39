//! How long it takes to judge what real programs did: replay and all rules over traces of ten million events and more.
//!
//! sqlite3's blocks die young; python3 (its objects put into malloc) keeps its documents. Both run with `--watch malloc`, once;
//! `arenascope findings` runs a few times over each trace. Relied on: a trace that is too short or lost events is an error.
//! Deliberately absent: reading from a cold disk; the file is in memory by then.

use super::page;
use super::spread::{Spread, round, spread};
use crate::{packages, steps};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

const ROUNDS: usize = 3;
const EVENTS: u64 = 10_000_000;
const MUST_SECONDS: f64 = 10.0;
const MUST_MIB: f64 = 1024.0;

const SQL: &str = "create table t(a,b,c);
with recursive n(i) as (select 1 union all select i+1 from n where i<2600000) insert into t select i, i*7%1000, hex(i) from n;
create index x on t(b); select count(*), sum(length(c)) from t where b in (select a from t where c like '%3%');";

const PYTHON: &str = "import json
kept = []
for _ in range(2):
    documents = [{'k%d' % i: [str(i), str(i * 3)], 'v': float(i)} for i in range(90000)]
    kept.append(json.loads(json.dumps(documents)))
print(len(kept))";

/// A program and the words that make it call malloc and free ten million times.
struct Work {
    program: &'static str,
    arguments: &'static [&'static str],
    variables: &'static [(&'static str, &'static str)],
}

const WORKS: &[Work] = &[
    Work { program: "/usr/bin/sqlite3", arguments: &[":memory:", SQL], variables: &[] },
    Work { program: "/usr/bin/python3", arguments: &["-c", PYTHON], variables: &[("PYTHONMALLOC", "malloc")] },
];

/// What one pass over a trace took.
struct Pass {
    seconds: f64,
    processor_seconds: f64,
    resident_mib: f64,
}

/// Measures, and renews this bench's part of both files.
pub fn run() -> Result<(), String> {
    packages::require_for_replay()?;
    let arenascope = steps::arenascope(true)?;
    let folder = steps::scratch("replay")?;
    let mut rows = Vec::new();
    for work in WORKS {
        let name = work.program.rsplit('/').next().unwrap_or(work.program);
        let (trace, log) = (folder.join(format!("{name}.ascope")), folder.join(format!("{name}.log")));
        eprintln!("xtask: {name} with --watch malloc");
        let mut command = Command::new(&arenascope);
        command.args(["run", "--watch", "malloc", "--force", "--log"]).arg(&log).arg("-o").arg(&trace).arg("--");
        command.arg(work.program).args(work.arguments).envs(work.variables.iter().copied());
        steps::output(&mut command, work.program)?;
        let screen = std::fs::read_to_string(&log).map_err(|error| format!("{}: {error}", log.display()))?;
        let events = super::events_of(&screen)?;
        if events < EVENTS {
            return Err(format!("{name} made {events} events, and {EVENTS} are needed: give it more to do"));
        }
        let mut passes = Vec::new();
        for round in 0..ROUNDS {
            eprintln!("xtask: findings of {name}'s trace, round {} of {ROUNDS}", round + 1);
            passes.push(pass(&arenascope, &trace, &folder)?);
        }
        let of = |value: fn(&Pass) -> f64| spread(passes.iter().map(value).collect(), "findings");
        let wall = of(|pass| pass.seconds)?;
        let processor = of(|pass| pass.processor_seconds)?;
        let memory = passes.iter().map(|pass| pass.resident_mib).fold(0.0, f64::max);
        let bytes = std::fs::metadata(&trace).map_err(|error| format!("{}: {error}", trace.display()))?.len();
        rows.extend(judged(name, events, bytes, wall, processor, memory));
        // Some 100 MiB that nobody asks for again.
        std::fs::remove_file(&trace).map_err(|error| format!("{}: {error}", trace.display()))?;
    }
    let section = section(&rows, &super::machine());
    print!("{section}");
    page::renew("replay", &section, &rows)
}

fn pass(arenascope: &Path, trace: &Path, folder: &Path) -> Result<Pass, String> {
    let said = folder.join("time");
    let mut command = Command::new("/usr/bin/time");
    command.args(["-f", "%U %S %M", "-o"]).arg(&said).arg(arenascope).args(["findings", "--json"]).arg(trace);
    let start = Instant::now();
    steps::output(&mut command, "arenascope findings")?;
    let seconds = start.elapsed().as_secs_f64();
    let text = std::fs::read_to_string(&said).map_err(|error| format!("{}: {error}", said.display()))?;
    let numbers: Vec<f64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [user, system, kib] = numbers.as_slice() else { return Err(format!("/usr/bin/time said {text:?}")) };
    Ok(Pass { seconds, processor_seconds: user + system, resident_mib: kib / 1024.0 })
}

fn judged(name: &str, events: u64, bytes: u64, wall: Spread, processor: Spread, memory: f64) -> [Value; 2] {
    let millions = events as f64 / 1e6;
    let row = |what: &str, unit: &str, ours: f64, least: Option<f64>, must: f64| {
        json!({
            "row": format!("replay and all rules, {millions:.1} million events of {name}, {what}"), "unit": unit,
            "ours": round(ours), "ours_min": least.map(round), "peer": "", "peer_value": Value::Null, "ratio": Value::Null,
            "must": must, "aim": Value::Null, "program": name, "events": events, "bytes_per_event": round(bytes as f64 / events as f64),
            "processor_seconds": round(processor.median),
        })
    };
    [row("time", "s", wall.median, Some(wall.min), MUST_SECONDS), row("most memory", "MiB", memory, None, MUST_MIB)]
}

fn section(rows: &[Value], machine: &str) -> String {
    let mut section = format!(
        "## Replay and all rules\n\nWritten by `cargo xtask bench replay` on: {machine}.\n\n\
         `arenascope findings` over traces of packaged programs run with `--watch malloc`: sqlite3, whose blocks die young, and\n\
         python3 with its objects in malloc, which keeps two documents of 90,000 entries. Time is wall time, the median of\n\
         {ROUNDS} passes; memory is the largest resident set of them and counts the pages of the trace, which is mapped. *processor*\n\
         is user and system time. A trace read for the first time waits for the disk besides.\n\n\
         | row | unit | ours | least | must | processor, s | bytes per event |\n|---|---|---|---|---|---|---|\n",
    );
    for row in rows {
        let cells = ["row", "unit", "ours", "ours_min", "must", "processor_seconds", "bytes_per_event"];
        let cells = cells.map(|name| page::cell(row.get(name).unwrap_or(&Value::Null)));
        section.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
    section
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_and_memory_are_rows_with_what_they_must_be() {
        let value = Spread { median: 2.5, min: 2.0 };
        let rows = judged("sqlite3", 10_300_000, 61_800_000, value, value, 80.0);
        let text = section(&rows, "machine");
        assert!(text.contains("10.3 million events of sqlite3, time | s | 2.50 | 2 | 10 | 2.50 | 6 |"), "{text}");
        assert!(text.contains("most memory | MiB | 80 |  | 1024 |"), "{text}");
    }
}

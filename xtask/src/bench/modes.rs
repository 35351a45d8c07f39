//! What each mode costs on one load, beside heaptrack and memcheck.
//!
//! bench/modes.c makes 500,000 pairs of alloc and free at call depth 12, through malloc or through a pool of its own, and times
//! itself. Every row is run once a round, so that what the machine does meanwhile meets all of them. Relied on: a watched run that
//! lost events, or saw too few, is an error and no row. Deliberately absent: memray, which `record` runs, and bytehound, which
//! is in no package.

use super::page;
use super::spread::{Spread, numbers, round, spread};
use crate::{packages, steps};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

const ROUNDS: usize = 7;
const BATCHES: u64 = 5;
const PAIRS: u64 = 100_000;
/// Two for each pair, but for the frees of the blocks that live at the end.
const EVENTS: u64 = 2 * BATCHES * PAIRS - 64;

/// The pool's roles. They are found by shape as well; named, the row does not depend on the search.
const ROLES: &[&str] = &["--alloc", "pool_alloc(arena, size) -> block", "--free", "pool_free(arena, block)"];

const SAMPLED: &[&str] = &["--mode", "sample"];
const SAMPLED_MALLOC: &[&str] = &["--watch", "malloc", "--mode", "sample"];

/// How the load is run.
enum Way {
    Alone,
    Ours(&'static [&'static str]),
    Heaptrack,
    Memcheck,
}

struct Row {
    load: &'static str,
    name: &'static str,
    way: Way,
    /// Rounds: a slow way needs fewer, it is not the timer that blurs it.
    rounds: usize,
    times: Vec<f64>,
    file_bytes: Option<u64>,
}

fn rows() -> Vec<Row> {
    let row = |load, name, way, rounds| Row { load, name, way, rounds, times: Vec::new(), file_bytes: None };
    vec![
        row("pool", "unwatched", Way::Alone, ROUNDS),
        row("pool", "run --mode off", Way::Ours(&["--mode", "off"]), ROUNDS),
        row("pool", "run", Way::Ours(&[]), ROUNDS),
        row("pool", "run --mode sample", Way::Ours(SAMPLED), ROUNDS),
        row("pool", "run --check", Way::Ours(&["--check"]), ROUNDS),
        row("pool", "run --precise", Way::Ours(&["--precise"]), 3),
        row("pool", "memcheck", Way::Memcheck, 3),
        row("malloc", "unwatched", Way::Alone, ROUNDS),
        row("malloc", "run --mode off", Way::Ours(&["--mode", "off"]), ROUNDS),
        row("malloc", "run --watch malloc", Way::Ours(&["--watch", "malloc"]), ROUNDS),
        row("malloc", "run --watch malloc --mode sample", Way::Ours(SAMPLED_MALLOC), ROUNDS),
        row("malloc", "heaptrack", Way::Heaptrack, ROUNDS),
        row("malloc", "memcheck", Way::Memcheck, 3),
    ]
}

/// Measures, and renews this bench's part of both files.
pub fn run() -> Result<(), String> {
    packages::require_for_modes()?;
    let tools = Tools { arenascope: steps::arenascope(true)?, folder: steps::scratch("modes")? };
    let flags = ["-g", "-O2", "-fno-omit-frame-pointer", "-fno-builtin", "-o"];
    let mut compile = Command::new("cc");
    compile.args(flags).arg(tools.program()).arg(steps::root().join("bench/modes.c"));
    steps::status(&mut compile, "cc bench/modes.c")?;

    let mut rows = rows();
    for round in 0..ROUNDS {
        for row in rows.iter_mut().filter(|row| round < row.rounds) {
            eprintln!("xtask: {} load, {}, round {} of {}", row.load, row.name, round + 1, row.rounds);
            row.times.extend(tools.times(row.load, &row.way)?);
            row.file_bytes = tools.file_bytes(&row.way)?;
        }
    }
    let rows = judged(rows)?;
    let section = section(&rows, &super::machine());
    print!("{section}");
    page::renew("modes", &section, &rows)
}

struct Tools {
    arenascope: PathBuf,
    folder: PathBuf,
}

impl Tools {
    fn program(&self) -> PathBuf {
        self.folder.join("modes")
    }

    fn trace(&self) -> PathBuf {
        self.folder.join("modes.ascope")
    }

    /// Runs the load once: nanoseconds per pair of each batch.
    fn times(&self, load: &str, way: &Way) -> Result<Vec<f64>, String> {
        let mut command = match way {
            Way::Alone => Command::new(self.program()),
            Way::Ours(flags) => {
                let mut command = Command::new(&self.arenascope);
                command.args(["run", "--force", "--log"]).arg(self.folder.join("log")).args(*flags);
                if load == "pool" {
                    command.args(ROLES);
                }
                command.arg("-o").arg(self.trace()).arg("--").arg(self.program());
                command
            }
            Way::Heaptrack => {
                self.forget_heaptrack()?;
                let mut command = Command::new("heaptrack");
                command.arg("-o").arg(self.folder.join("heaptrack")).arg(self.program());
                command
            }
            Way::Memcheck => {
                let mut command = Command::new("valgrind");
                command.arg("-q").arg(self.program());
                command
            }
        };
        command.args([load, &BATCHES.to_string(), &PAIRS.to_string()]);
        let text = steps::output(&mut command, "bench/modes.c")?;
        if let Way::Ours(flags) = way
            && !flags.contains(&"off")
            && !flags.contains(&"sample")
        {
            let log = self.folder.join("log");
            let screen = std::fs::read_to_string(&log).map_err(|error| format!("{}: {error}", log.display()))?;
            complete(&screen)?;
        }
        // heaptrack mixes its own words with the program's.
        let lines: Vec<&str> = text.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_digit())).collect();
        let times = numbers(&lines.join("\n"), "bench/modes.c")?;
        if times.len() as u64 == BATCHES { Ok(times) } else { Err(format!("bench/modes.c printed {text:?}")) }
    }

    fn file_bytes(&self, way: &Way) -> Result<Option<u64>, String> {
        let file = match way {
            Way::Ours(flags) if flags.contains(&"off") => return Ok(None),
            Way::Ours(_) => self.trace(),
            Way::Heaptrack => self.heaptracks()?.pop().ok_or("heaptrack left no file")?,
            Way::Alone | Way::Memcheck => return Ok(None),
        };
        let meta = std::fs::metadata(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        Ok(Some(meta.len()))
    }

    /// Its files: the ending is the compressor's and depends on how heaptrack was built.
    fn heaptracks(&self) -> Result<Vec<PathBuf>, String> {
        let complain = |error| format!("{}: {error}", self.folder.display());
        let files = std::fs::read_dir(&self.folder).map_err(complain)?;
        let named = |path: &Path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("heaptrack"));
        Ok(files.filter_map(|file| Some(file.ok()?.path())).filter(|path| named(path)).collect())
    }

    fn forget_heaptrack(&self) -> Result<(), String> {
        for file in self.heaptracks()? {
            std::fs::remove_file(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        }
        Ok(())
    }
}

/// The screen's last line says how many events there were: all of the load's, and none lost.
fn complete(screen: &str) -> Result<(), String> {
    let events = super::events_of(screen)?;
    if events < EVENTS {
        return Err(format!("{events} events were seen of {EVENTS}\n{screen}"));
    }
    Ok(())
}

fn judged(rows: Vec<Row>) -> Result<Vec<Value>, String> {
    let mut unwatched: Option<Spread> = None;
    let mut out = Vec::new();
    for row in rows {
        let time = spread(row.times, "bench/modes.c")?;
        if matches!(row.way, Way::Alone) {
            unwatched = Some(time);
        }
        let alone = unwatched.ok_or("the first row of a load is the unwatched one")?;
        let sampled = matches!(row.way, Way::Ours(flags) if flags.contains(&"sample"));
        let per_event = row.file_bytes.filter(|_| !sampled).map(|bytes| round(bytes as f64 / EVENTS as f64));
        let ours = matches!(row.way, Way::Ours(_));
        let times =
            if ours { (json!(round(time.median)), Value::Null) } else { (Value::Null, json!(round(time.median))) };
        out.push(json!({
            "row": format!("{} pairs, {}", row.load, row.name), "load": row.load, "way": row.name, "unit": "ns per pair",
            "ours": times.0, "peer": if ours { "" } else { row.name }, "peer_value": times.1, "least": round(time.min),
            "adds": round(time.median - alone.median), "ratio": round(time.median / alone.median),
            "bytes_per_event": per_event, "must": Value::Null, "aim": Value::Null,
        }));
    }
    Ok(out)
}

fn section(rows: &[Value], machine: &str) -> String {
    let mut section = format!(
        "## Each mode on one load\n\nWritten by `cargo xtask bench modes` on: {machine}.\n\n\
         {} pairs of alloc and free at call depth 12, 64 blocks living, sizes from 16 to 271 bytes\n\
         ([bench/modes.c](../bench/modes.c)), through malloc or through a pool of the program's own. The program times itself, so\n\
         that starting and finishing are not counted, and pins itself to one CPU; what a tool does in other processes may use the\n\
         others. Median and least of {} batches of {PAIRS} pairs in {ROUNDS} rounds (under Valgrind 3), all ways by turns. *Adds* and\n\
         *times* are against the same load unwatched; *bytes* is what the trace takes for each of the two events of a pair\n\
         (heaptrack's file is compressed, ours is not). memray stands in the table above; left out: bytehound, which is in no package.\n\n\
         | load | way | ns per pair | least | adds | times | bytes per event |\n|---|---|---|---|---|---|---|\n",
        BATCHES * PAIRS,
        BATCHES as usize * ROUNDS,
    );
    for row in rows {
        let of = |name: &str| page::cell(row.get(name).unwrap_or(&Value::Null));
        let time = if row["ours"].is_null() { of("peer_value") } else { of("ours") };
        let rest = ["least", "adds", "ratio", "bytes_per_event"].map(of).join(" | ");
        section.push_str(&format!("| {} | {} | {time} | {rest} |\n", of("load"), of("way")));
    }
    section
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_lost_or_missed_events_is_no_row() {
        assert_eq!(complete("x\n0 findings, 0 notes · 1,000,123 events, 0 lost · trace t\n"), Ok(()));
        assert!(complete("0 findings, 0 notes · 1,000,123 events, 5 lost · trace t\n").is_err());
        assert!(complete("0 findings, 0 notes · 900,123 events, 0 lost · trace t\n").is_err());
        assert!(complete("nothing\n").is_err());
    }

    #[test]
    fn each_load_is_compared_with_itself_unwatched() {
        let mut all = rows();
        for (at, row) in all.iter_mut().enumerate() {
            row.times = vec![10.0 + at as f64];
        }
        let rows = judged(all).expect("rows");
        assert_eq!((&rows[1]["ratio"], &rows[1]["adds"]), (&json!(1.1), &json!(1.0)));
        assert_eq!((&rows[7]["ratio"], &rows[7]["adds"]), (&json!(1.0), &json!(0.0)));
        let text = section(&rows, "machine");
        assert!(text.contains("| malloc | heaptrack | 21 | 21 | 4 | 1.24 |  |"), "{text}");
    }
}

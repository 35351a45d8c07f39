//! What recording costs: one event told straight to the recorder, one told by a hook, and whole loads beside other recorders.
//!
//! Times are of the program's own clock, pinned, all ways by turns; instructions are callgrind's, as the difference of two runs of
//! different length, so that starting and finishing fall out. Deliberately absent: judgement beyond *must* and *aim* of the design.

use super::page;
use super::spread::{Spread, numbers, round, spread};
use crate::{packages, steps};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

const ROUNDS: usize = 7;
const BATCHES: u64 = 20;
/// A multiple of 64: as many calls from many places as from one.
const EVENTS: u64 = 128_000;
/// Pairs in each of 5 batches of the load: 500,000 in all.
const PAIRS: u64 = 100_000;
const PAIR_BATCHES: u64 = 5;
/// The version that is compared with.
const MEMRAY: &str = "memray==1.20.0";

/// Measures, and renews this bench's part of both files.
pub fn run() -> Result<(), String> {
    packages::require_for_modes()?;
    let tools = Tools::new()?;
    let mut rows = Vec::new();
    rows.extend(tools.direct()?);
    rows.extend(tools.hooked()?);
    rows.extend(tools.load()?);
    let section = section(&rows, &super::machine());
    print!("{section}");
    page::renew("record", &section, &rows)
}

struct Tools {
    arenascope: PathBuf,
    floor: PathBuf,
    folder: PathBuf,
}

/// One way of recording, as it is measured.
#[derive(Default)]
struct Measured {
    times: Vec<f64>,
    instructions: Option<f64>,
    bytes: Option<f64>,
}

impl Tools {
    fn new() -> Result<Tools, String> {
        let arenascope = steps::arenascope(true)?;
        let words = [
            "build",
            "--quiet",
            "--locked",
            "--profile",
            "agent",
            "--package",
            "arenascope-record",
            "--example",
            "floor",
        ];
        steps::cargo(&words, &[])?;
        let target = steps::metadata()?["target_directory"].as_str().map(PathBuf::from).unwrap_or_default();
        let floor = target.join("agent/examples/floor");
        Ok(Tools { arenascope, floor, folder: steps::scratch("record")? })
    }

    /// Instructions for each of `units` more in the second of two runs.
    fn instructions(&self, run: impl Fn(u64) -> Command, units: u64) -> Result<f64, String> {
        let count = |scale: u64| -> Result<f64, String> {
            let out = self.folder.join("callgrind.out");
            let _ = std::fs::remove_file(&out);
            steps::output(&mut run(scale), "callgrind")?;
            let text = std::fs::read_to_string(&out).map_err(|error| format!("{}: {error}", out.display()))?;
            let line = text.lines().find_map(|line| line.strip_prefix("summary: ").or(line.strip_prefix("totals: ")));
            line.and_then(|line| line.trim().parse().ok()).ok_or_else(|| format!("{}: no sum", out.display()))
        };
        Ok(round((count(2)? - count(1)?) / units as f64))
    }

    fn callgrind(&self) -> [String; 4] {
        let out = format!("--callgrind-out-file={}", self.folder.join("callgrind.out").display());
        ["valgrind", "-q", "--tool=callgrind", &out].map(str::to_owned)
    }

    fn direct(&self) -> Result<Vec<Value>, String> {
        let ways: [(&str, &[&str], Value, Value); 4] = [
            ("rdtsc alone", &["0"], Value::Null, Value::Null),
            ("one event, 1 frame", &["1"], json!(25), json!(15)),
            ("one event, 8 frames", &["8"], json!(40), json!(25)),
            ("one event, 8 frames, 64 sites", &["8", "sites"], json!(40), json!(25)),
        ];
        let mut measured: Vec<Measured> = ways.iter().map(|_| Measured::default()).collect();
        for turn in 0..ROUNDS {
            eprintln!("xtask: told straight, round {} of {ROUNDS}", turn + 1);
            for ((_, words, ..), measured) in ways.iter().zip(&mut measured) {
                let mut command = pinned(&self.floor);
                command.args([BATCHES.to_string(), EVENTS.to_string()]).args(*words);
                let text = steps::output(&mut command, "floor")?;
                let (times, bytes) =
                    text.split_once("bytes ").map_or((&*text, None), |(a, b)| (a, b.trim().parse().ok()));
                measured.times.extend(numbers(times.trim_end(), "floor")?);
                measured.bytes = bytes;
            }
        }
        for ((_, words, ..), measured) in ways.iter().zip(&mut measured) {
            let run = |scale: u64| {
                let [valgrind, rest @ ..] = self.callgrind();
                let mut command = Command::new(valgrind);
                command.args(rest).arg(&self.floor).args([scale.to_string(), EVENTS.to_string()]).args(*words);
                command
            };
            measured.instructions = Some(self.instructions(run, EVENTS)?);
        }
        let clock = spread(measured.first().map(|first| first.times.clone()).unwrap_or_default(), "floor")?;
        let rows = ways.into_iter().zip(measured).map(|((name, _, must, aim), measured)| {
            row(&format!("told straight: {name}"), "ns", measured, ("rdtsc alone", clock), [must, aim])
        });
        rows.collect()
    }

    fn hooked(&self) -> Result<Vec<Value>, String> {
        let mut rows = Vec::new();
        for (frames, flag) in [("kept", "-fno-omit-frame-pointer"), ("left out", "-fomit-frame-pointer")] {
            let program = self.folder.join(flag);
            let source = steps::root().join("bench/hooked_call.c");
            steps::status(
                Command::new("cc").args(["-g", "-O2", flag, "-o"]).arg(&program).arg(source),
                "cc bench/hooked_call.c",
            )?;
            for sites in ["one", "sites"] {
                let (mut plain, mut measured) = (Vec::new(), Measured::default());
                let words = |batches: u64| [batches.to_string(), EVENTS.to_string(), sites.to_owned()];
                for turn in 0..ROUNDS {
                    eprintln!("xtask: hooked, frame pointers {frames}, {sites}, round {} of {ROUNDS}", turn + 1);
                    plain.extend(numbers(
                        &steps::output(pinned(&program).args(words(BATCHES)), "hooked_call")?,
                        "hooked_call",
                    )?);
                    let mut command = self.watched(&["--alloc", "take(arena, size) -> block"]);
                    command.arg(&program).args(words(BATCHES));
                    measured.times.extend(numbers(&steps::output(&mut command, "hooked_call")?, "hooked_call")?);
                    measured.bytes = Some(self.trace_bytes()? / (BATCHES * EVENTS) as f64);
                }
                // The agent is in the program that Valgrind runs, and in Valgrind's own start, where nothing is to be watched.
                let run = |scale: u64| {
                    let mut command = self.watched(&["--late", "--alloc", "take(arena, size) -> block"]);
                    command.args(self.callgrind()).arg(&program).args(words(scale));
                    command
                };
                measured.instructions = Some(self.instructions(run, EVENTS)?);
                let plain = spread(plain, "hooked_call")?;
                let sites = if sites == "one" { "one site" } else { "64 sites" };
                let name = format!("hooked call, 8 frames, {sites}, frame pointers {frames}");
                rows.push(row(&name, "ns", measured, ("the same call, unhooked", plain), [json!(60), json!(25)])?);
            }
        }
        Ok(rows)
    }

    /// `arenascope run`, pinned, up to where the program is named.
    fn watched(&self, flags: &[&str]) -> Command {
        let mut command = pinned(&self.arenascope);
        command.args(["run", "--force", "--log"]).arg(self.folder.join("log")).args(flags);
        command.arg("-o").arg(self.folder.join("record.ascope")).arg("--");
        command
    }

    fn trace_bytes(&self) -> Result<f64, String> {
        let trace = self.folder.join("record.ascope");
        std::fs::metadata(&trace).map(|meta| meta.len() as f64).map_err(|error| format!("{}: {error}", trace.display()))
    }

    /// 500,000 pairs of malloc and free, twelve frames deep.
    fn load(&self) -> Result<Vec<Value>, String> {
        let source = steps::root().join("bench/modes.c");
        let (program, library) = (self.folder.join("load"), self.folder.join("load.so"));
        for (flags, out) in [(&["-fPIE"][..], &program), (&["-shared", "-fPIC"], &library)] {
            let mut compile = Command::new("cc");
            compile
                .args(["-g", "-O2", "-fno-omit-frame-pointer", "-fno-builtin"])
                .args(flags)
                .arg("-o")
                .arg(out)
                .arg(&source);
            steps::status(&mut compile, "cc bench/modes.c")?;
        }
        let memray = self.memray();
        if let Err(why) = &memray {
            eprintln!("xtask: no memray: {why}");
        }
        let names = ["unrecorded", "run --watch malloc", "heaptrack -r", "heaptrack", "memray", "memray --native"];
        let mut all: Vec<Measured> = names.iter().map(|_| Measured::default()).collect();
        for turn in 0..ROUNDS {
            eprintln!("xtask: whole load, round {} of {ROUNDS}", turn + 1);
            for (name, measured) in names.iter().zip(&mut all) {
                let files = self.folder.join("out");
                let _ = std::fs::remove_dir_all(&files);
                std::fs::create_dir_all(&files).map_err(|error| format!("{}: {error}", files.display()))?;
                let mut command = match *name {
                    "unrecorded" => Command::new(&program),
                    "run --watch malloc" => {
                        let mut command = Command::new(&self.arenascope);
                        command
                            .args(["run", "--force", "--log"])
                            .arg(self.folder.join("log"))
                            .args(["--watch", "malloc", "-o"]);
                        command.arg(files.join("t.ascope")).arg("--").arg(&program);
                        command
                    }
                    "heaptrack" | "heaptrack -r" => {
                        let mut command = Command::new("heaptrack");
                        command
                            .args(name.ends_with("-r").then_some("-r"))
                            .arg("-o")
                            .arg(files.join("heaptrack"))
                            .arg(&program);
                        command
                    }
                    _ => {
                        let Ok(python) = &memray else { continue };
                        let mut command = Command::new(python);
                        command
                            .args(["-m", "memray", "run", "-q"])
                            .args(name.ends_with("native").then_some("--native"));
                        command.arg("-o").arg(files.join("memray.bin")).arg(self.driver()?).arg(&library);
                        command
                    }
                };
                command.args(["malloc", &PAIR_BATCHES.to_string(), &PAIRS.to_string()]);
                let text = steps::output(&mut command, name)?;
                let lines: Vec<&str> =
                    text.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_digit())).collect();
                measured.times.extend(numbers(&lines.join("\n"), name)?);
                let bytes = length_of_all(&files)?;
                measured.bytes = (bytes > 0).then_some(bytes as f64 / (2 * PAIR_BATCHES * PAIRS) as f64);
            }
        }
        let alone = spread(all.first().map(|first| first.times.clone()).unwrap_or_default(), "bench/modes.c")?;
        let rows = names.into_iter().zip(all).map(|(name, measured)| {
            let name = format!("500,000 pairs of malloc and free, {name}");
            match (measured.times.is_empty(), &memray) {
                (true, Err(why)) => {
                    Ok(json!({ "row": name, "unit": "ns per pair", "note": format!("not run: {why}") }))
                }
                _ => row(&name, "ns per pair", measured, ("unrecorded", alone), [Value::Null, Value::Null]),
            }
        });
        rows.collect()
    }

    /// A Python that has memray.
    fn memray(&self) -> Result<PathBuf, String> {
        let folder = std::env::temp_dir().join("arenascope-bench-memray");
        let python = folder.join("bin/python3");
        if !python.is_file() {
            steps::output(Command::new("python3").args(["-m", "venv"]).arg(&folder), "python3 -m venv")?;
        }
        let mut install = Command::new(&python);
        install.args(["-m", "pip", "install", "--quiet", MEMRAY]);
        steps::output(&mut install, "pip install memray")
            .map_err(|error| error.lines().next().unwrap_or("").to_owned())?;
        Ok(python)
    }

    /// Calls the load's `main` from Python, which memray wants to start.
    fn driver(&self) -> Result<PathBuf, String> {
        let path = self.folder.join("driver.py");
        page::write(
            &path,
            "import ctypes, sys\n\
             words = [word.encode() for word in sys.argv[1:]]\n\
             load = ctypes.CDLL(sys.argv[1])\n\
             load.main(len(words), (ctypes.c_char_p * (len(words) + 1))(*words, None))\n\
             ctypes.CDLL(None).fflush(None)\n",
        )?;
        Ok(path)
    }
}

fn length_of_all(folder: &Path) -> Result<u64, String> {
    let complain = |error| format!("{}: {error}", folder.display());
    let files = std::fs::read_dir(folder).map_err(complain)?;
    Ok(files.filter_map(|file| file.ok()?.metadata().ok()).map(|meta| meta.len()).sum())
}

/// The last CPU: the first one serves more interrupts.
fn pinned(program: &Path) -> Command {
    let last = std::thread::available_parallelism().map_or(0, |n| n.get() - 1);
    let mut command = Command::new("taskset");
    command.args(["-c", &last.to_string()]).arg(program);
    command
}

/// A row; a hooked call and a load add to `peer`, an event told straight stands beside it.
fn row(
    name: &str,
    unit: &str,
    measured: Measured,
    peer: (&str, Spread),
    [must, aim]: [Value; 2],
) -> Result<Value, String> {
    let time = spread(measured.times, name)?;
    let (peer_name, peer) = peer;
    let adds = name.starts_with("hooked");
    let less = |of: f64, other: f64| round(if adds { of - other } else { of });
    Ok(json!({
        "row": name, "unit": unit, "ours": less(time.median, peer.median), "ours_min": less(time.min, peer.min),
        "instructions": measured.instructions, "bytes_per_event": measured.bytes.map(round),
        "peer": peer_name, "peer_value": round(peer.median), "ratio": round(time.median / peer.median), "must": must, "aim": aim,
    }))
}

fn section(rows: &[Value], machine: &str) -> String {
    let mut section = format!(
        "## Recording one event\n\nWritten by `cargo xtask bench record` on: {machine}.\n\n\
         *Told straight*: an alloc handed to the recorder by a call, as the arena library's observer does, with no hook before it\n\
         ([floor.rs](../crates/record/examples/floor.rs)); the time stamp counter is read once for each event and shown alone. *Hooked\n\
         call*: what a hook adds to a call of [hooked_call.c](../bench/hooked_call.c). Both walk the stack by the call frame information\n\
         where frame pointers are left out. *Instructions* are callgrind's. The load is [modes.c](../bench/modes.c), twelve frames deep,\n\
         timed by itself; memray runs it from Python through ctypes, and without `--native` keeps the Python stack only. heaptrack's\n\
         file is compressed but for `-r`. Median and least of {} batches of {EVENTS} events, or of {} of {PAIRS} pairs, pinned, all by\n\
         turns in {ROUNDS} rounds.\n\n\
         | row | unit | ours | least | instructions | bytes per event | peer | peer value | ratio | must | aim |\n\
         |---|---|---|---|---|---|---|---|---|---|---|\n",
        BATCHES as usize * ROUNDS,
        PAIR_BATCHES as usize * ROUNDS,
    );
    for row in rows {
        let cells = [
            "row",
            "unit",
            "ours",
            "ours_min",
            "instructions",
            "bytes_per_event",
            "peer",
            "peer_value",
            "ratio",
            "must",
            "aim",
        ];
        let mut cells: Vec<String> =
            cells.iter().map(|name| page::cell(row.get(name).unwrap_or(&Value::Null))).collect();
        if let (Some(note), Some(cell)) = (row["note"].as_str(), cells.get_mut(6)) {
            *cell = note.to_owned();
        }
        section.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
    section
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hooked_call_is_what_it_adds_and_an_event_told_straight_is_itself() {
        let measured = || Measured { times: vec![30.0, 32.0, 34.0], instructions: Some(100.0), bytes: Some(2.0) };
        let peer = ("alone", Spread { median: 2.0, min: 1.0 });
        let hooked = row("hooked call", "ns", measured(), peer, [json!(60), json!(25)]).expect("a row");
        assert_eq!((&hooked["ours"], &hooked["ours_min"]), (&json!(30.0), &json!(29.0)));
        let straight = row("told straight", "ns", measured(), peer, [json!(25), json!(15)]).expect("a row");
        assert_eq!((&straight["ours"], &straight["ratio"]), (&json!(32.0), &json!(16.0)));
        let text = section(&[straight, json!({"row": "m", "unit": "ns", "note": "not run: no network"})], "machine");
        assert!(text.contains("| told straight | ns | 32 | 30 | 100 | 2 | alone | 2 | 16 | 25 | 15 |"), "{text}");
        assert!(text.contains("| m | ns |  |  |  |  | not run: no network |"), "{text}");
    }
}

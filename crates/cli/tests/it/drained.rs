//! The trace's way from memory to disk: a launcher that is stopped, slow or killed holds nobody up, and what it did not get in time
//! is counted.

use crate::harness::{Place, is_sealed};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const BUMP: [&str; 4] = ["--create", "bump_init(arena, size)", "--alloc", "bump_alloc(arena, size) -> block"];
/// Less memory than any trace gets: 24 segments and one for each thread, some 800,000 events.
const LITTLE: &str = "1048576";
/// More than any test here records.
const MUCH: &str = "67108864";

/// A launcher, killed at the latest when the test ends.
struct Launcher(Child);

impl Drop for Launcher {
    fn drop(&mut self) {
        self.signal("KILL");
        let _ = self.0.wait();
    }
}

impl Launcher {
    /// `arenascope run … -o t.ascope -- program arguments`, with so many bytes of memory for traces.
    fn start(place: &Place, memory: &str, program: &Path, arguments: &[&str]) -> Launcher {
        let mut command = Command::new(env!("CARGO_BIN_EXE_arenascope"));
        command.arg("run").args(BUMP).args(["-o", "t.ascope", "--log", "words", "--"]).arg(program).args(arguments);
        command.env("ARENASCOPE_TRACE_MEMORY", memory).current_dir(place.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Launcher(command.spawn().expect("arenascope starts"))
    }

    fn signal(&self, name: &str) {
        let pid = self.0.id().to_string();
        let _ = Command::new("kill").args(["-s", name, &pid]).stderr(Stdio::null()).status();
    }

    /// Stops it, and only it.
    fn stop(&self) {
        self.signal("STOP");
        let stat = format!("/proc/{}/stat", self.0.id());
        until("the launcher is stopped", || std::fs::read_to_string(&stat).is_ok_and(|stat| stat.contains(") T ")));
    }

    fn go_on_to_the_end(&mut self) -> i32 {
        self.signal("CONT");
        self.0.wait().expect("our child can be waited for").code().expect("it exits")
    }
}

/// Waits for something that comes, however slow the machine is.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let came = (0..12_000).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        is_so()
    });
    assert!(came, "waited for two minutes: {what}");
}

fn say(place: &Place, name: &str) {
    std::fs::write(place.file(name), "").expect("a file");
}

fn said(place: &Place, name: &str) {
    until(name, || place.file(name).exists());
}

/// Allocs in a trace (only of `size`, if given). By lines: as values, millions of events fill the memory of a small machine.
fn allocs(place: &Place, trace: &Path, size: Option<u64>) -> u64 {
    let said = place.arenascope(&["log".as_ref(), "--json".as_ref(), trace.as_os_str()]);
    assert_eq!(said.status, 0, "{}", said.stderr);
    let size = size.map(|size| format!("\"size\":{size},"));
    let is_one =
        |line: &&str| line.contains("\"kind\":\"alloc\"") && size.as_ref().is_none_or(|size| line.contains(size));
    said.stdout.lines().filter(is_one).count() as u64
}

/// Allocs in a trace, and events it counts as lost.
fn told(place: &Place, trace: &Path) -> (u64, u64) {
    (allocs(place, trace, None), lost(&place.findings(trace)))
}

fn lost(found: &Value) -> u64 {
    found["lost"]["events"].as_u64().expect("a number")
}

/// Besides allocations a few other events (threads, captures, the end) may be among the lost.
fn all_told(made: u64, (recorded, lost): (u64, u64)) {
    let told = recorded + lost;
    assert!((made..made + 100).contains(&told), "{made} allocations: {recorded} recorded + {lost} lost");
}

fn trace(place: &Place) -> PathBuf {
    place.file("t.ascope")
}

/// Bytes of memory that the only program of this name holds for its trace.
fn in_memory(program: &Path) -> u64 {
    let processes = std::fs::read_dir("/proc").expect("/proc").flatten();
    let its =
        processes.filter(|process| std::fs::read_link(process.path().join("exe")).is_ok_and(|exe| exe == program));
    let smaps: Vec<String> =
        its.filter_map(|process| std::fs::read_to_string(process.path().join("smaps")).ok()).collect();
    let [smaps] = smaps.as_slice() else { panic!("{} processes", smaps.len()) };
    let mut ours = false;
    let mut kib = 0;
    for line in smaps.lines() {
        if line.split(' ').next().is_some_and(|word| word.contains('-')) {
            ours = line.contains("/memfd:arenascope-trace");
        }
        let size = line
            .strip_prefix("Rss:")
            .filter(|_| ours)
            .and_then(|size| size.trim().split(' ').next()?.parse::<u64>().ok());
        kib += size.unwrap_or(0);
    }
    kib << 10
}

#[test]
fn a_launcher_that_is_stopped_stops_nobody_and_what_no_memory_holds_is_counted() {
    let place = Place::new();
    let program = place.cc("steps.c", &["-O2"]).canonicalize().expect("a path");
    let mut launcher = Launcher::start(&place, LITTLE, &program, &["1500000", "1000"]);
    said(&place, "ready");
    launcher.stop();
    say(&place, "go");
    said(&place, "done");
    let held = in_memory(&program);
    assert!(held > 512 << 10, "{held} bytes: the trace lies in memory");
    // The header page, and besides the 24 the one that its only thread was writing.
    assert!(held <= (25 << 16) + 4096, "{held} bytes: no more than it may");
    launcher.signal("CONT");
    until("it copies", || trace(&place).metadata().is_ok_and(|file| file.len() >= 1 << 20));
    say(&place, "end");
    assert_eq!(launcher.go_on_to_the_end(), 0);
    let (_, lost) = told(&place, &trace(&place));
    let (first, second) = (allocs(&place, &trace(&place), Some(16)), allocs(&place, &trace(&place), Some(24)));
    assert!(first > 700_000, "what memory holds is there: {first}");
    assert!(lost > 400_000, "and no more: {lost}");
    assert!(second > 0, "then recording goes on");
    all_told(1_501_000, (first + second, lost));
    let words = std::fs::read_to_string(place.file("words")).expect("our words");
    assert!(words.contains("LOST") && words.contains("MiB of memory for them were full"), "{words}");
}

#[test]
fn a_launcher_that_is_stopped_costs_nothing_when_memory_suffices() {
    let place = Place::new();
    let program = place.cc("steps.c", &["-O2"]);
    let mut launcher = Launcher::start(&place, MUCH, &program, &["1000000"]);
    said(&place, "ready");
    launcher.stop();
    say(&place, "end");
    say(&place, "go");
    said(&place, "bye");
    assert_eq!(launcher.go_on_to_the_end(), 0);
    assert_eq!(told(&place, &trace(&place)), (1_000_000, 0));
}

#[test]
fn a_launcher_that_is_killed_leaves_what_it_copied_and_the_program_goes_on() {
    let place = Place::new();
    let program = place.cc("steps.c", &["-O2"]);
    let launcher = Launcher::start(&place, MUCH, &program, &["100000", "200"]);
    said(&place, "ready");
    say(&place, "go");
    said(&place, "done");
    // Nobody has told the launcher: it copies by itself, and the file is a trace all the while.
    until("all of it is in the file", || allocs(&place, &trace(&place), None) == 100_000);
    drop(launcher);
    say(&place, "end");
    said(&place, "bye");
    let (recorded, lost) = told(&place, &trace(&place));
    assert!(recorded == 100_000 && lost == 0, "{recorded} recorded, {lost} lost");
    assert_eq!(place.findings(&trace(&place))["findings"].as_array().map(Vec::len), Some(0));
}

#[test]
fn what_outlives_the_run_is_copied_by_whoever_stays_behind() {
    let place = Place::new();
    let program = place.cc("works_on.c", &["-O2"]);
    let mut launcher = Launcher::start(&place, LITTLE, &program, &["1500000"]);
    assert_eq!(launcher.go_on_to_the_end(), 0);
    let children: Vec<PathBuf> = place.traces().into_iter().filter(|path| *path != trace(&place)).collect();
    let [child] = children.as_slice() else { panic!("one child: {children:?}") };
    say(&place, "go");
    said(&place, "bye");
    until("its trace is completed", || is_sealed(child));
    let (recorded, lost) = told(&place, child);
    assert!(recorded > 900_000, "more than memory holds at once: {recorded} recorded, {lost} lost");
    all_told(1_500_000, (recorded, lost));
}

#[test]
fn forked_children_and_executed_programs_each_have_memory_of_their_own() {
    for (memory, made) in [(MUCH, 300_000), (LITTLE, 1_200_000)] {
        let place = Place::new();
        let program = place.cc("generations.c", &["-O2"]);
        let mut launcher = Launcher::start(&place, memory, &program, &[&made.to_string()]);
        assert_eq!(launcher.go_on_to_the_end(), 0);
        let traces = place.traces();
        assert_eq!(traces.len(), 3, "{traces:?}");
        for trace in traces {
            let told = told(&place, &trace);
            all_told(made, told);
            assert!(memory == LITTLE || told.1 == 0, "{trace:?}: {told:?}");
        }
    }
}

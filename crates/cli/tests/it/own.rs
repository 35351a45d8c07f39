//! Programs built on our own library, in release mode and as they are: every event of every arena, with the place that the caller
//! gave, beside what hooks see; and programs that do what makes recording hard.

use crate::harness::{Outcome, Place, count, is_root, long, root};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

/// The C library, installed once for all tests.
pub fn installed() -> &'static Path {
    static PREFIX: OnceLock<PathBuf> = OnceLock::new();
    PREFIX.get_or_init(|| {
        let prefix = Path::new(env!("CARGO_TARGET_TMPDIR")).join("own-library");
        run(Command::new(env!("CARGO")).args(["xtask", "install", "--prefix"]).arg(&prefix).current_dir(root()));
        prefix
    })
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// An example of the library's crate, built for release.
pub fn example(name: &str) -> PathBuf {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--release", "--locked", "-p", "arenascope", "--message-format", "json", "--example", name]);
    let output = cargo.current_dir(root()).output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    let messages = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let built = messages.filter_map(|message| message["executable"].as_str().map(PathBuf::from)).next_back();
    built.unwrap_or_else(|| panic!("cargo built no example {name}"))
}

/// Compiles a C program on the installed library: as one piece, or with the shared library.
pub fn on_library(place: &Place, source: &str, flags: &[&str], shared: bool) -> PathBuf {
    let lib = installed().join("lib");
    let include = format!("-I{}", installed().join("include").display());
    let library = lib.join(if shared { "libarenascope.so" } else { "libarenascope.a" }).display().to_string();
    let path = format!("-Wl,-rpath,{}", lib.display());
    let program = place.file(Path::new(source).file_stem().expect("a name").to_str().expect("a plain name"));
    let source = crate::harness::programs().join(source);
    let mut cc = Command::new("gcc");
    run(cc.arg(include).args(flags).arg("-o").arg(&program).arg(source).arg(library).arg(path).arg("-pthread"));
    program
}

/// `name value name value …` as a program prints it.
fn figure(said: &Outcome, name: &str) -> usize {
    let mut words = said.stdout.split_whitespace().skip_while(|word| *word != name).skip(1);
    words.next().and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name} in {said:?}"))
}

/// Compares what the program says of itself with what was recorded.
fn all_there(said: &Outcome, events: &[Value]) {
    let pairs = [
        ("allocs", "alloc"),
        ("frees", "free"),
        ("resizes", "resize"),
        ("scopes", "scope-enter"),
        ("scopes", "scope-exit"),
        ("marks", "mark"),
        ("rewinds", "rewind"),
        ("resets", "reset"),
    ];
    for (own, kind) in pairs {
        assert_eq!(count(events, kind), figure(said, own), "{kind}");
    }
}

/// How many events of each kind a trace has, counted as `log` writes them.
fn kinds(trace: &Path) -> std::collections::BTreeMap<String, usize> {
    let mut log = Command::new(env!("CARGO_BIN_EXE_arenascope"));
    let mut log = log.args(["log", "--plain"]).arg(trace).stdout(Stdio::piped()).spawn().expect("log runs");
    let mut kinds = std::collections::BTreeMap::new();
    // number, time, its unit, thread, kind
    for line in std::io::BufRead::lines(std::io::BufReader::new(log.stdout.take().expect("a pipe"))) {
        let line = line.expect("log writes text");
        *kinds.entry(line.split_whitespace().nth(4).unwrap_or_default().to_owned()).or_insert(0) += 1;
    }
    assert!(log.wait().expect("log ends").success());
    kinds
}

/// A million events; with `--long` a hundred million.
#[test]
fn four_threads_counts_are_those_of_the_program() {
    let place = Place::new();
    let program = example("counted");
    let rounds = if long() { "190000" } else { "1900" };
    let (said, words) = place.watch(&[], &program, &["4", rounds]);
    assert_eq!(said.status, 0, "{said:?}");
    assert!(words.contains("the arenascope library in counted") && words.contains(" 0 lost"), "{words}");
    let kinds = kinds(&place.trace());
    let told = ["alloc", "freed", "resized", "mark", "reset"].map(|kind| kinds.get(kind).copied().unwrap_or(0));
    assert_eq!(told, ["allocs", "frees", "resizes", "marks", "resets"].map(|name| figure(&said, name)), "{kinds:?}");
    assert!(told.iter().sum::<usize>() >= 1_000_000 * if long() { 100 } else { 1 });
}

#[test]
fn every_event_is_there_with_the_caller_s_place() {
    let place = Place::new();
    let program = example("counted");
    let (said, _) = place.watch(&[], &program, &["4", "10"]);
    let events = place.log(&place.trace());
    all_there(&said, &events);
    // One more than the program's own: the shared arena's handle.
    assert!(count(&events, "create") > figure(&said, "creates"));
    assert_eq!(count(&events, "create"), count(&events, "destroy"));
    let sites: std::collections::BTreeSet<u64> = events
        .iter()
        .filter(|event| event["kind"] == "alloc")
        .map(|event| event["site"][0]["line"].as_u64().unwrap_or(0))
        .collect();
    let source = root().join("crates/arenascope/examples/counted.rs");
    for call in ["*arena.alloc(size)", "scope.alloc_slice", "arena.alloc_str", "arena.alloc([0u8", "local.alloc(item)"]
    {
        assert!(sites.contains(&crate::harness::line_of(&source, call)), "{call} among {sites:?}");
    }
}

/// Kills the program at a random instant: what it had counted is in the trace, and at most one more for each thread.
#[test]
fn a_killed_program_leaves_what_it_counted() {
    let place = Place::new();
    let program = example("counted");
    let file = place.file("counts");
    let kills = if long() { 1000 } else { 100 };
    let mut seen = 0;
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    for round in 0..kills {
        let trace = place.file("killed.ascope");
        let mut run = Command::new(env!("CARGO_BIN_EXE_arenascope"))
            .args(["run", "--force", "--log", "words", "-o"])
            .arg(&trace)
            .arg("--")
            .arg(&program)
            .args(["4", "100000000"])
            .arg(&file)
            .current_dir(place.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("arenascope runs");
        // Until the program counts, and then some microseconds to milliseconds more.
        let counted = || std::fs::read(&file).map(|bytes| bytes.iter().any(|byte| *byte != 0)).unwrap_or(false);
        while !counted() {
            std::thread::sleep(Duration::from_millis(1));
        }
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        std::thread::sleep(Duration::from_micros((state >> 33) % 8000));
        let children = format!("/proc/{0}/task/{0}/children", run.id());
        let child = std::fs::read_to_string(&children).expect("the launcher has a child");
        let child: i32 = child.split_whitespace().next().and_then(|pid| pid.parse().ok()).expect("one child");
        // SAFETY-free: by the program `kill`, as a user would.
        let killed = Command::new("kill").args(["-KILL", &child.to_string()]).status().expect("kill runs");
        assert!(killed.success());
        let status = run.wait().expect("the launcher ends");
        assert_eq!(status.code(), Some(128 + 9), "round {round}");
        let counts = std::fs::read(&file).expect("the counts stay");
        let counted: u64 =
            counts.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().expect("eight bytes"))).sum();
        let said = place.arenascope(&["log".as_ref(), "--plain".as_ref(), trace.as_os_str()]);
        assert_eq!(said.status, 0, "{}", said.stderr);
        let allocs = said.stdout.lines().filter(|line| line.split_whitespace().nth(4) == Some("alloc")).count() as u64;
        assert!((counted..=counted + 4).contains(&allocs), "round {round}: {counted} counted, {allocs} recorded");
        seen += counted;
        std::fs::remove_file(&file).expect("the counts go");
    }
    assert!(seen > 0);
}

#[test]
fn c_programs_tell_file_and_line_in_every_way_of_linking() {
    for shared in [false, true] {
        let place = Place::new();
        let program = on_library(&place, "own.c", &["-O2"], shared);
        let alone = place.plain(&program, &[]);
        let (said, words) = place.watch(&[], &program, &[]);
        assert_eq!(said, alone);
        assert!(words.contains(" 0 lost"), "{words}");
        let events = place.log(&place.trace());
        all_there(&said, &events);
        assert_eq!(count(&events, "create"), figure(&said, "creates"));
        let source = crate::harness::programs().join("own.c");
        for (kind, marker) in
            [("alloc", "a block"), ("create", "the arena"), ("reset", "the reset"), ("mark", "the mark")]
        {
            let line = crate::harness::line_of(&source, marker);
            let there = events.iter().any(|event| {
                let frame = &event["site"][0];
                event["kind"] == kind
                    && frame["line"] == line
                    && frame["file"].as_str().is_some_and(|file| file.ends_with("own.c"))
            });
            assert!(there, "{kind} at line {line}, shared library {shared}");
        }
    }
}

#[test]
fn arenas_whose_names_do_not_match_run_at_full_speed() {
    let place = Place::new();
    let program = example("counted");
    let (said, words) = place.watch(&["--only", "worker 2"], &program, &["4", "10"]);
    assert_eq!(said.status, 0, "{said:?}");
    let events = place.log(&place.trace());
    let names: std::collections::BTreeSet<&str> = events.iter().filter_map(|event| event["name"].as_str()).collect();
    assert_eq!(names.into_iter().collect::<Vec<_>>(), ["worker 2"], "{words}");
    // A word without wildcards is a part of a name, as in the views; characters are characters.
    let layer = on_library(&place, "own_layer.c", &["-O2"], false);
    for (pattern, fits) in [("yer", true), ("l?yer", true), ("l??yer", false), ("lay*", false)] {
        let other = Place::new();
        other.watch(&["--only", pattern], &layer, &[]);
        assert_eq!(count(&other.log(&other.trace()), "alloc") > 0, fits, "{pattern}");
    }
    // Named by number: all are recorded, one is shown.
    let other = Place::new();
    let (_, words) = other.watch(&["--only", "2"], &program, &["4", "10"]);
    assert!(words.contains("arena 2 ") && !words.contains("arena 3 "), "{words}");
    assert!(count(&other.log(&other.trace()), "create") > 40);
}

#[test]
fn mode_off_records_nothing_and_changes_nothing() {
    let place = Place::new();
    let program = example("counted");
    let (said, _) = place.watch(&["--mode", "off"], &program, &["2", "5"]);
    assert_eq!(figure(&said, "creates"), 10);
    assert!(place.traces().is_empty());
}

/// What programs do that makes recording hard: each is told by one word.
#[test]
fn hard_programs_are_recorded_and_do_what_they_would_do_alone() {
    let place = Place::new();
    let program = on_library(&place, "own_hard.c", &["-O2"], false);
    for what in ["closes", "execs", "daemon", "blocks", "handles", "faults", "stack"] {
        let _ = place.traces().into_iter().map(std::fs::remove_file).count();
        let alone = place.plain(&program, &[what]);
        let (said, words) = place.watch(&[], &program, &[what]);
        assert_eq!(said.stdout, alone.stdout, "{what}");
        assert_eq!(said.status, alone.status, "{what}: {words}");
        let wanted = figure(&said, "allocs");
        // The process may run on behind its parent's back.
        let mut found = 0;
        for _ in 0..100 {
            found = place.traces().iter().map(|trace| count(&place.log(trace), "alloc")).max().unwrap_or(0);
            if found >= wanted {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        assert_eq!(found, wanted, "{what}: {words}");
    }
}

#[test]
fn a_program_in_another_root_is_recorded() {
    if !is_root() {
        eprintln!("not run: chroot needs root");
        return;
    }
    let place = Place::new();
    let program = on_library(&place, "own_hard.c", &["-O2"], false);
    let (said, words) = place.watch(&[], &program, &["chroots"]);
    assert_eq!(said.status, 0, "{said:?} {words}");
    assert_eq!(count(&place.log(&place.trace()), "alloc"), figure(&said, "allocs"));
}

#[test]
fn a_child_of_fork_tells_of_arenas_it_inherited() {
    let place = Place::new();
    let program = on_library(&place, "own_hard.c", &["-O2"], false);
    let (said, words) = place.watch(&[], &program, &["forks"]);
    assert_eq!(said.status, 0, "{said:?}");
    let traces = place.traces();
    assert_eq!(traces.len(), 2, "{words}");
    let allocs: Vec<usize> = traces.iter().map(|trace| count(&place.log(trace), "alloc")).collect();
    assert_eq!(allocs.iter().sum::<usize>(), figure(&said, "allocs"), "{allocs:?}");
    assert!(words.contains("fork-private-write") && words.contains("\"hard\""), "{words}");
}

/// One release binary, one file: alone, sampled, recorded, checked, read from outside while it runs, and from the core of its SIGABRT.
#[test]
fn one_release_binary_in_every_mode() {
    let place = Place::new();
    let built = example("counted");
    let program = place.file("counted");
    std::fs::copy(&built, &program).expect("a copy of the program");
    let alone = place.plain(&program, &["2", "20"]);
    for flags in [&["--mode", "off"][..], &["--mode", "sample:512"], &["--mode", "record"], &["--mode", "check"]] {
        let folder = Place::new();
        let (said, words) = folder.watch(flags, &program, &["2", "20"]);
        assert_eq!(said, alone, "{flags:?}: {words}");
        let traces = folder.traces();
        assert_eq!(traces.is_empty(), flags[1] == "off", "{words}");
        if let [trace] = &traces[..] {
            assert!(crate::harness::accused(&folder.findings(trace)).is_empty(), "{flags:?}: {words}");
            let told = kinds(trace).get("alloc").copied().unwrap_or(0);
            let all = figure(&said, "allocs");
            assert!(if flags[1] == "sample:512" { told < all / 4 } else { told == all }, "{flags:?}: {told} of {all}");
        }
    }
    // While it runs, and as it died: `ulimit -c` is the shell's, and so is the folder that the core is written to.
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -c unlimited; exec \"$0\" 2 1000000000"]).arg(&program).current_dir(place.path());
    let mut running = shell.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the program runs");
    let pid = running.id().to_string();
    let shown = (0..200).find_map(|_| {
        std::thread::sleep(Duration::from_millis(20));
        let shown = place.arenascope(&["show", "--pid", &pid, "--plain"]);
        (shown.status == 0 && shown.stdout.contains("worker 1")).then_some(shown)
    });
    let listed = place.arenascope(&["ps", "--plain"]);
    let aborted = Command::new("kill").args(["-ABRT", &pid]).status().expect("kill runs");
    assert!(aborted.success());
    running.wait().expect("the program ends");
    assert!(shown.is_some_and(|shown| shown.stdout.contains("counted.rs:")), "seen from outside while it ran");
    assert!(listed.stdout.lines().any(|line| line.contains(&pid) && line.contains("counted")), "{}", listed.stdout);
    let cores = std::fs::read_dir(place.path()).expect("our folder").filter_map(|entry| Some(entry.ok()?.path()));
    let Some(core) =
        cores.into_iter().find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("core")))
    else {
        let pattern = std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap_or_default();
        assert!(pattern.trim() != "core", "no core was written though core_pattern is {pattern}");
        eprintln!("not run: the core; core_pattern is {}", pattern.trim());
        return;
    };
    let said = place.arenascope(&["show".as_ref(), "--core".as_ref(), core.as_os_str(), "--plain".as_ref()]);
    assert_eq!(said.status, 0, "{said:?}");
    assert!(said.stdout.contains("worker 0") && said.stdout.contains("worker 1"), "{}", said.stdout);
}

/// The agent's matcher says what the views' says, for every short pattern with a wildcard and every short name.
#[test]
fn patterns_mean_the_same_in_the_program_and_in_the_views() {
    let words = |letters: &[char], most: usize| {
        let mut all = vec![String::new()];
        let mut last = all.clone();
        for _ in 0..most {
            let longer = |word: &String| letters.iter().map(|letter| format!("{word}{letter}")).collect::<Vec<_>>();
            last = last.iter().flat_map(longer).collect();
            all.extend(last.iter().cloned());
        }
        all
    };
    let names = words(&['a', 'ä', '€'], 4);
    let mut fitting = 0;
    for raw in words(&['a', 'ä', '*', '?'], 4) {
        let views = arenascope_report::pattern::ArenaPattern::new(&raw);
        let pattern = views.for_names().expect("no number");
        for name in &names {
            let there = arenascope_plan::name_fits(pattern.len(), |at| pattern.as_bytes()[at], name.as_bytes());
            assert_eq!(there, views.matches(1, name), "{raw} as {pattern}: {name}");
            fitting += usize::from(there);
        }
    }
    assert!(fitting > 1000);
}

#[test]
fn calls_that_a_signal_handler_leaves_for_good_leave_nothing_behind() {
    let place = Place::new();
    let program = on_library(&place, "own_left.c", &["-O2"], false);
    for flags in [&["-o", "t.ascope", "--force"][..], &["-o", "t.ascope", "--force", "--check"]] {
        let (said, screen) = place.watch(flags, &program, &[]);
        assert_eq!(said.status, 0, "{said:?}\n{screen}");
        let trace = place.file("t.ascope");
        let kinds = kinds(&trace);
        let lost = place.show(&trace, &[])["lost"]["events"].as_u64().expect("a number") as usize;
        let (told, calls, left) = (kinds["alloc"] + lost, figure(&said, "calls"), figure(&said, "left"));
        // A call that was left may have been told or not; nothing else is missing. A reset may be lost as an alloc may.
        assert!(told + 2 * left >= calls && kinds["alloc"] <= calls + left, "{told} of {calls}\n{screen}");
        assert!(lost <= 2 * left, "{lost} lost\n{screen}");
        assert_eq!(kinds.get("destroyed").copied(), Some(1), "{screen}");
        assert!(
            place.findings(&trace)["findings"]
                .as_array()
                .is_none_or(|all| all.iter().all(|one| one["class"] != "finding")),
            "{screen}"
        );
    }
}

//! Processes: fork, vfork, spawn, exec, and being killed at any instant.

use crate::harness::{Place, count, is_sealed, long};
use serde_json::Value;
use std::path::Path;

const BUMP: [&str; 6] = [
    "--create",
    "bump_init(arena, size)",
    "--alloc",
    "bump_alloc(arena, size) -> block",
    "--destroy",
    "bump_destroy(arena)",
];

/// Traces of the programs named like `program`, with their events; spawned programs may leave traces of their own names.
fn traces_of(place: &Place, program: &Path) -> Vec<Vec<Value>> {
    let name = program.file_name().expect("a program has a name").to_string_lossy().into_owned();
    place
        .traces()
        .into_iter()
        .filter(|trace| trace.file_name().is_some_and(|file| file.to_string_lossy().starts_with(&format!("{name}."))))
        .map(|trace| place.log(&trace))
        .collect()
}

#[test]
fn a_child_that_goes_on_allocating_has_its_own_trace_tied_to_its_parent_s() {
    let place = Place::new();
    let program = place.cc("fork.c", &["-O2"]);
    let (outcome, screen) = place.watch(&BUMP, &program, &[]);
    assert_eq!(outcome.status, 0, "{outcome:?}\n{screen}");
    let mut traces = traces_of(&place, &program);
    assert_eq!(traces.len(), 2, "{:?}\n{screen}", place.traces());
    traces.sort_by_key(|events| count(events, "fork"));
    let (child, parent) = (&traces[0], &traces[1]);
    assert_eq!(count(parent, "alloc"), 5, "3 before, 2 after: {screen}");
    assert_eq!(count(parent, "fork"), 1, "{screen}");
    assert_eq!(count(child, "alloc"), 5, "{screen}");
    assert_eq!(count(parent, "destroy") + count(child, "destroy"), 2, "{screen}");
    let fork = parent.iter().find(|event| event["kind"] == "fork").expect("a fork event");
    let child_pid = fork["child"]["pid"].as_u64().or(fork["child"].as_u64()).or(fork["pid"].as_u64());
    let pid = child_pid.unwrap_or_else(|| panic!("the fork event names the child: {fork}"));
    let tied = place.traces().iter().any(|trace| trace.to_string_lossy().contains(&format!(".{pid}.")));
    assert!(tied, "a trace of pid {pid}: {:?}", place.traces());
}

#[test]
fn vfork_and_spawn_survive() {
    for (source, allocs) in [("vfork_exec.c", 4), ("spawn.c", 2)] {
        let place = Place::new();
        let program = place.cc(source, &[]);
        let (outcome, screen) = place.watch(&BUMP, &program, &[]);
        assert_eq!(outcome.status, 0, "{outcome:?}\n{screen}");
        let traces = traces_of(&place, &program);
        let total: usize = traces.iter().map(|events| count(events, "alloc")).sum();
        assert_eq!(total, allocs, "{source}: {:?}\n{screen}", place.traces());
    }
}

#[test]
fn a_fork_made_by_hand_never_writes_into_its_parent_s_trace() {
    let place = Place::new();
    let program = place.cc("raw_fork.c", &[]);
    let (outcome, screen) = place.watch(&BUMP, &program, &[]);
    assert_eq!(outcome.stdout, "child 16, parent 80 bytes\n", "{outcome:?}\n{screen}");
    let mut counts: Vec<usize> = traces_of(&place, &program).iter().map(|events| count(events, "alloc")).collect();
    counts.sort_unstable();
    assert!(
        counts == [5] || counts == [5, 5],
        "the parent's five, and the child's five in a trace of their own or in none: {counts:?}"
    );
}

#[test]
fn exec_after_the_environment_was_overwritten_is_still_followed() {
    let place = Place::new();
    let program = place.cc("title.c", &[]);
    let (outcome, screen) = place.watch(&BUMP, &program, &[]);
    assert_eq!(outcome.status, 0, "{outcome:?}\n{screen}");
    let total: usize = place.traces().iter().map(|trace| count(&place.log(trace), "alloc")).sum();
    assert_eq!(total, 2, "one alloc in each image: {:?}\n{screen}", place.traces());
}

#[test]
fn a_program_that_replaces_itself_is_seen_twice() {
    let place = Place::new();
    let program = place.cc("exec_self.c", &[]);
    let (outcome, screen) = place.watch(&BUMP, &program, &[]);
    assert_eq!(outcome.status, 5, "{outcome:?}\n{screen}");
    let mut counts: Vec<usize> = traces_of(&place, &program).iter().map(|events| count(events, "alloc")).collect();
    counts.sort_unstable();
    assert_eq!(counts, [3, 5], "{:?}\n{screen}", place.traces());
}

#[test]
fn a_million_allocations_and_sigkill() {
    let place = Place::new();
    let program = place.cc("sigkill.c", &["-O2"]);
    let (outcome, screen) = place.watch(&BUMP, &program, &["1000000"]);
    assert_eq!(outcome.status, 128 + 9, "{outcome:?}\n{screen}");
    let trace = place.trace();
    let bytes = trace.metadata().expect("a trace").len();
    assert!(bytes <= 8_000_000, "{bytes} bytes for 1,000,000 events");
    let said = place.arenascope(&["log".as_ref(), "--json".as_ref(), trace.as_os_str()]);
    assert_eq!(said.status, 0, "{}", said.stderr);
    let allocs = said.stdout.lines().filter(|line| line.contains("\"kind\":\"alloc\"")).count();
    assert_eq!(allocs, 1_000_000);
    assert_eq!(place.findings(&trace)["lost"]["events"], 0);
}

#[test]
fn killed_at_any_instant_the_trace_is_whole() {
    let place = Place::new();
    let program = place.cc("sigkill.c", &["-O2"]);
    for step in 0..if long() { 200 } else { 8 } {
        let count_made = 1 + step * 997;
        let trace = place.file("killed.ascope");
        let mut flags = BUMP.to_vec();
        let path = trace.to_string_lossy();
        flags.extend(["--force", "-o", &path]);
        let (outcome, screen) = place.watch(&flags, &program, &[&count_made.to_string()]);
        assert_eq!(outcome.status, 137, "{outcome:?}\n{screen}");
        let events = place.log(&trace);
        assert_eq!(count(&events, "alloc"), count_made, "{screen}");
    }
}

#[test]
fn the_launcher_killed_leaves_a_trace_that_can_be_read() {
    let place = Place::new();
    let program = place.cc("sigkill.c", &["-O2"]);
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_arenascope"));
    command.arg("run").args(BUMP).args(["-o", "cut.ascope", "--"]).arg(&program).arg("2000000");
    command.current_dir(place.path()).stdin(std::process::Stdio::null());
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    let mut child = command.spawn().expect("arenascope starts");
    let trace = place.file("cut.ascope");
    // The first segment follows the header page; before that there is nothing to read.
    let begun = (0..400).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(5));
        use std::os::unix::fs::MetadataExt;
        trace.metadata().is_ok_and(|data| data.blocks() * 512 > 64 * 1024)
    });
    assert!(begun, "the trace appears while the program runs");
    child.kill().expect("our child can be killed");
    child.wait().expect("our child can be waited for");
    std::thread::sleep(std::time::Duration::from_millis(1500));
    let said = place.arenascope(&["log".as_ref(), trace.as_os_str()]);
    assert_eq!(said.status, 0, "{}", said.stderr);
}

#[test]
fn rights_given_up_on_the_way() {
    if !crate::harness::is_root() {
        eprintln!("needs root to have rights to give up; as another user the program says so and ends with 77");
        let place = Place::new();
        let program = place.cc("drop_root.c", &[]);
        let (outcome, _) = place.watch(&BUMP, &program, &[]);
        assert_eq!(outcome.status, 77);
        return;
    }
    let place = Place::new();
    let program = place.cc("drop_root.c", &[]);
    let jail = place.file("jail");
    std::fs::create_dir(&jail).expect("a folder");
    let (outcome, screen) = place.watch(&BUMP, &program, &[&jail.to_string_lossy()]);
    assert_eq!(outcome.status, 0, "{outcome:?}\n{screen}");
    let events = place.log(&place.trace());
    assert_eq!(count(&events, "alloc"), 20, "{screen}");
}

#[test]
fn limits_of_every_kind() {
    let place = Place::new();
    let program = place.cc("limits.c", &[]);
    let plain = place.plain(&program, &[]);
    for limit in ["-n 16", "-v 400000", "-l 0", "-s 256", "-c 0", "-f 64", "-f 0"] {
        let script = format!("ulimit {limit} && exec \"$@\"");
        let log = place.file("our.words");
        let mut shell = std::process::Command::new("bash");
        shell.args(["-c", &script, "bash", env!("CARGO_BIN_EXE_arenascope"), "run"]).args(BUMP);
        shell.args(["--force", "-o", "limits.ascope", "--"]).arg(&program);
        let outcome = place.outcome(&mut shell);
        // Under a limit on file sizes the trace may be refused before the start; then nothing ran, and the message says so.
        let refused = outcome.status == 2 && limit.starts_with("-f") && !outcome.stderr.is_empty();
        assert!(refused || (outcome.status == plain.status && outcome.stdout == plain.stdout), "{limit}: {outcome:?}");
        let _ = std::fs::remove_file(log);
    }
}

#[test]
fn without_room_for_us_the_screen_names_the_limit() {
    let place = Place::new();
    let program = place.cc("limits.c", &[]);
    let mut shell = std::process::Command::new("bash");
    shell.args(["-c", "ulimit -v 50000 && exec \"$@\"", "bash", env!("CARGO_BIN_EXE_arenascope"), "run"]).args(BUMP);
    let outcome = place.outcome(shell.args(["--log", "words", "--"]).arg(&program));
    assert_eq!(outcome, place.plain(&program, &[]));
    let screen = std::fs::read_to_string(place.file("words")).expect("our words");
    assert!(screen.contains("limited to 48 MiB (ulimit -v)"), "{screen}");
    assert!(!screen.contains("static"), "{screen}");
}

#[test]
fn a_child_whose_parent_has_ended_before_it_asked_is_recorded() {
    let place = Place::new();
    let source = "#include <unistd.h>\n#include \"bump.h\"\n\
        int main(void) { struct bump b; if (bump_init(&b, 4096)) return 1; *(char *)bump_alloc(&b, 32) = 'x';\n\
        if (daemon(1, 1)) return 2; *(char *)bump_alloc(&b, 16) = 'c'; usleep(50000); return 0; }\n";
    let program = own_program(&place, "leaves", source);
    for round in 0..15 {
        let (outcome, screen) = place.watch(&[&BUMP[..], &["--force"]].concat(), &program, &[]);
        assert_eq!(outcome.status, 0, "round {round}: {outcome:?}\n{screen}");
        assert!(!screen.contains("was not recorded"), "round {round}: {screen}");
        assert_eq!(place.traces().len(), 2 * (round + 1), "round {round}: {screen}");
    }
}

#[test]
fn a_path_that_is_no_text_is_watched_all_the_same() {
    use std::os::unix::ffi::OsStrExt;
    let place = Place::new();
    let program = place.cc("limits.c", &[]);
    let folder = place.path().join(std::ffi::OsStr::from_bytes(b"d\xff"));
    std::fs::create_dir(&folder).expect("a folder");
    let moved = folder.join("limits");
    std::fs::rename(&program, &moved).expect("moves");
    let (outcome, screen) = place.watch(&[&BUMP[..], &["-o", "t.ascope"]].concat(), &moved, &[]);
    assert_eq!(outcome.status, 0, "{outcome:?}\n{screen}");
    assert_eq!(count(&place.log(&place.file("t.ascope")), "alloc"), 1000, "{screen}");
}

#[test]
fn limits_that_the_program_sets_itself_leave_it_the_room_that_it_has_without_us() {
    let place = Place::new();
    let program = place.cc("rlimits.c", &[]);
    for what in ["as", "data", "lock"] {
        let plain = place.plain(&program, &[what]);
        let (outcome, screen) = place.watch(&[&BUMP[..], &["--force", "-o", "t.ascope"]].concat(), &program, &[what]);
        assert_eq!(outcome, plain, "{what}: {screen}");
        assert_eq!(count(&place.log(&place.file("t.ascope")), "alloc"), 30_000, "{what}: {screen}");
    }
}

#[test]
fn the_kernel_s_copy_of_the_environment_does_not_name_us_either() {
    let place = Place::new();
    let script = "tr '\\0' '\\n' </proc/self/environ; exec cat /proc/self/environ";
    for preload in [None, Some(""), Some("/lib/x86_64-linux-gnu/libm.so.6")] {
        let run = |command: &mut std::process::Command| {
            let command = command.env_clear().env("PATH", "/usr/bin:/bin");
            place.outcome(preload.into_iter().fold(command, |command, value| command.env("LD_PRELOAD", value)))
        };
        let plain = run(std::process::Command::new("/bin/sh").args(["-c", script]));
        let arguments = [
            "run",
            "--late",
            "--alloc",
            "nowhere(arena, size) -> block",
            "--log",
            "words",
            "--",
            "/bin/sh",
            "-c",
            script,
        ];
        let _ = std::fs::remove_file(place.file("words"));
        let watched = run(std::process::Command::new(env!("CARGO_BIN_EXE_arenascope")).args(arguments));
        // Zeros and, of `tr`, empty lines are left where our part stood.
        let settled = |outcome: &crate::harness::Outcome| {
            outcome.stdout.replace("\n\n", "\n").replace('\0', "\n").trim_end().to_owned()
        };
        let sorted = |text: String| {
            let mut lines: Vec<String> = text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect();
            lines.sort();
            lines
        };
        assert_eq!(sorted(settled(&plain)), sorted(settled(&watched)), "LD_PRELOAD {preload:?}");
        assert!(!watched.stdout.contains("/proc/"), "{watched:?}");
    }
}

const OUTLIVES: &str = "#include <stdio.h>\n#include <stdlib.h>\n#include <unistd.h>\n#include \"bump.h\"\n\
    int main(void) { struct bump b; char go; int pipes[2]; if (bump_init(&b, 4096) || pipe(pipes)) return 1;\n\
    *(char *)bump_alloc(&b, 32) = 'x';\n\
    if (fork() == 0) { setsid(); freopen(\"/dev/null\", \"w\", stdout); freopen(\"/dev/null\", \"w\", stderr);\n\
      *(char *)bump_alloc(&b, 16) = 'c'; write(pipes[1], \"g\", 1);\n\
      while (access(\"end\", F_OK)) usleep(20000);\n\
      *(char *)bump_alloc(&b, 8) = 'd'; _exit(0); }\n\
    return read(pipes[0], &go, 1) != 1; }\n";

fn own_program(place: &Place, name: &str, source: &str) -> std::path::PathBuf {
    let header = std::fs::read_to_string(crate::harness::programs().join("bump.h")).expect("bump.h");
    std::fs::write(place.file("bump.h"), header).expect("a file");
    let path = place.file(&format!("{name}.c"));
    std::fs::write(&path, source).expect("a file");
    place.cc(&path.to_string_lossy(), &[])
}

#[test]
fn a_daemon_keeps_nobody_waiting_and_its_trace_is_completed_when_it_ends() {
    let place = Place::new();
    let program = own_program(&place, "outlives", OUTLIVES);
    let (outcome, screen) = place.watch(&BUMP, &program, &[]);
    assert_eq!(outcome.status, 0, "{outcome:?}\n{screen}");
    assert!(screen.contains("it still runs, names follow when it ends · trace outlives."), "{screen}");
    let open: Vec<_> = place.traces().into_iter().filter(|trace| !is_sealed(trace)).collect();
    let [trace] = open.as_slice() else { panic!("one trace is still written: {:?}", place.traces()) };
    std::fs::write(place.file("end"), "").expect("a file");
    let sealed = (0..400).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(25));
        is_sealed(trace)
    });
    assert!(sealed, "somebody completes the trace");
    std::thread::sleep(std::time::Duration::from_millis(100));
    let events = place.log(trace);
    assert_eq!(count(&events, "alloc"), 2, "{events:?}");
    let shown = place.arenascope(&["show".as_ref(), trace.as_os_str()]);
    assert!(shown.stdout.contains("arena 1 \"bump\"") && shown.stdout.contains("outlives.c:8"), "{shown:?}");
}

#[test]
fn children_that_do_nothing_in_an_arena_leave_no_trace() {
    let place = Place::new();
    let source = "#include <unistd.h>\n#include <sys/wait.h>\n#include \"bump.h\"\n\
        int main(void) { struct bump b; if (bump_init(&b, 4096)) return 1; bump_alloc(&b, 32);\n\
        for (int i = 0; i < 20; i++) { if (fork() == 0) { if (i == 7) bump_alloc(&b, 16);\n\
          /* Its own child does something: the trace in between is needed. */\n\
          if (i == 9 && fork() == 0) { bump_alloc(&b, 24); _exit(0); }\n\
          if (i == 9) wait(0);\n\
          _exit(0); } wait(0); }\n\
        bump_destroy(&b); return 0; }\n";
    let program = own_program(&place, "forks", source);
    let (outcome, screen) = place.watch(&BUMP, &program, &[]);
    assert_eq!(outcome.status, 0, "{outcome:?}\n{screen}");
    let mut counts: Vec<usize> = place.traces().iter().map(|trace| count(&place.log(trace), "alloc")).collect();
    counts.sort_unstable();
    assert_eq!(counts, [0, 1, 1, 1], "{:?}\n{screen}", place.traces());
    assert!(screen.contains("forked   18 processes · they did nothing in an arena, and left no trace"), "{screen}");
}

#[test]
fn an_attempt_to_execute_that_failed_is_told_as_such_and_the_executed_program_s_trace_is_named() {
    let place = Place::new();
    let source = "#include <unistd.h>\n#include \"bump.h\"\n\
        int main(int count, char **words) { struct bump b; if (bump_init(&b, 4096)) return 1; bump_alloc(&b, 32);\n\
        if (count > 1) return 0;\n\
        execl(\"/nonexistent/program\", \"program\", (char *)0); bump_alloc(&b, 8);\n\
        execl(words[0], words[0], \"again\", (char *)0); return 3; }\n";
    let program = own_program(&place, "execs", source);
    let (outcome, screen) = place.watch(&BUMP, &program, &[]);
    assert_eq!(outcome.status, 0, "{outcome:?}\n{screen}");
    let traces = place.traces();
    let second = traces.iter().find(|trace| trace.to_string_lossy().ends_with(".2.ascope")).expect("a second trace");
    let name = second.file_name().expect("a name").to_string_lossy();
    let told = screen.lines().position(|line| line.starts_with("executed ") && line.contains(&*name));
    let closing = screen.lines().position(|line| line.contains("events, 0 lost"));
    assert!(told.is_some() && told < closing, "{screen}");
    let first = traces.iter().find(|trace| *trace != second).expect("a first trace");
    let words = place.arenascope(&["log".as_ref(), first.as_os_str()]).stdout;
    assert!(words.contains("could not execute /nonexistent/program"), "{words}");
    assert!(words.contains(&format!("·  executes {}", program.display())), "{words}");
    let events = place.log(first);
    let outcomes: Vec<&Value> = events.iter().filter(|event| event["kind"] == "exec").collect();
    assert!(outcomes.len() == 2 && outcomes[0]["failed"] == true && outcomes[1]["failed"].is_null(), "{outcomes:?}");
}

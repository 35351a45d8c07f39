//! Arenas read from outside: `ps`, `show --pid`, `show --core` and the script for gdb tell what the programs themselves say, and stand whatever they are
//! pointed at. Nothing of ours has ever been in these programs.

use crate::harness::{Outcome, Place, is_root, programs, root};
use crate::own::installed;
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::OnceLock;

/// A running program that has printed its line.
struct Running {
    child: Child,
    out: BufReader<ChildStdout>,
    /// What it says it has.
    truth: Value,
}

impl Running {
    fn start(command: &mut Command) -> Running {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut out = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut line = String::new();
        out.read_line(&mut line).expect("a line");
        let truth = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{command:?}: {error}: {line:?}"));
        Running { child, out, truth }
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    fn number(&self, key: &str) -> u64 {
        self.truth[key].as_u64().unwrap_or_else(|| panic!("no {key} in {}", self.truth))
    }

    fn say(&mut self, words: &str) {
        self.child.stdin.as_mut().expect("a pipe").write_all(words.as_bytes()).expect("it reads");
    }

    /// What it answers to a question.
    fn ask(&mut self) -> u64 {
        self.say("?");
        let mut line = String::new();
        self.out.read_line(&mut line).expect("a line");
        line.trim().parse().expect("a number")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Compiles `programs/outside.c` for release, and strips it.
fn program(place: &Place, flags: &[&str]) -> PathBuf {
    let program = place.file("outside");
    let said = Command::new("gcc")
        .args(["-O2", "-s", "-pthread", "-I"])
        .arg(installed().join("include"))
        .args(flags)
        .arg(programs().join("outside.c"))
        .arg(installed().join("lib/libarenascope.a"))
        .arg("-o")
        .arg(&program)
        .output()
        .expect("gcc");
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    program
}

/// The Rust program, built for release in a package of its own, once.
fn rust_program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("outside_rust");
        std::fs::create_dir_all(folder.join("src")).expect("a folder");
        std::fs::copy(programs().join("outside.rs"), folder.join("src/main.rs")).expect("a copy");
        std::fs::copy(root().join("Cargo.lock"), folder.join("Cargo.lock")).expect("a copy");
        let manifest = format!(
            "[package]\nname = \"outside\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[workspace]\n[dependencies]\n\
             arenascope = {{ path = {:?} }}\n[profile.release]\nstrip = true\n",
            root().join("crates/arenascope").display().to_string()
        );
        std::fs::write(folder.join("Cargo.toml"), manifest).expect("a file");
        let said = Command::new(env!("CARGO"))
            .args(["build", "--release", "--quiet", "--offline"])
            .current_dir(&folder)
            .env("CARGO_TARGET_DIR", folder.join("target"))
            .output()
            .expect("cargo");
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        folder.join("target/release/outside")
    })
}

fn json(outcome: &Outcome) -> Value {
    assert_eq!(outcome.status, 0, "{outcome:?}");
    let value: Value = serde_json::from_str(&outcome.stdout).unwrap_or_else(|error| panic!("{error}: {outcome:?}"));
    assert_eq!(value["format"], 1);
    value
}

fn show(place: &Place, pid: u32, more: &[&str]) -> Value {
    let pid = pid.to_string();
    let words: Vec<&str> = ["show", "--json", "--pid", &pid].into_iter().chain(more.iter().copied()).collect();
    json(&place.arenascope(&words))
}

fn show_core(place: &Place, core: &Path, more: &[&str]) -> Value {
    let core = core.display().to_string();
    let words: Vec<&str> = ["show", "--json", "--core", &core].into_iter().chain(more.iter().copied()).collect();
    json(&place.arenascope(&words))
}

fn named<'a>(shown: &'a Value, name: &'a str) -> impl Iterator<Item = &'a Value> {
    shown["arenas"].as_array().into_iter().flatten().filter(move |arena| arena["name"] == name)
}

fn one<'a>(shown: &'a Value, name: &'a str) -> &'a Value {
    let mut all = named(shown, name);
    let first = all.next().unwrap_or_else(|| panic!("no {name}"));
    assert!(all.next().is_none(), "one {name}");
    first
}

fn sum<'a>(arenas: impl Iterator<Item = &'a Value>, key: &str) -> u64 {
    arenas.map(|arena| arena[key].as_u64().unwrap_or_else(|| panic!("no {key} in {arena}"))).sum()
}

fn of_kind<'a>(shown: &'a Value, kind: &'a str) -> Vec<&'a Value> {
    shown["arenas"].as_array().into_iter().flatten().filter(|arena| arena["kind"] == kind).collect()
}

/// Everything that `outside.c` says of itself is what was seen.
fn agrees(truth: &Value, shown: &Value) {
    assert_eq!(named(shown, "small").count() as u64, truth["small"].as_u64().expect("a number"));
    assert_eq!(sum(named(shown, "small"), "used"), truth["small_used"]);
    assert_eq!(sum(named(shown, "small"), "capacity"), truth["small_capacity"]);
    let big = one(shown, "big");
    assert_eq!(
        (&big["used"], &big["base"], &big["growing"]),
        (&truth["big_used"], &truth["big_base"], &Value::from(true))
    );
    assert_eq!(big["generation"], 1, "one rewind");
    assert!(big["peak"].as_u64() >= Some(3 << 20), "{big}");
    assert!(big["bytes"].as_str().is_some_and(|bytes| bytes.starts_with("72656164206d6520")), "read me: {big}");
    let together = one(shown, "together");
    assert_eq!((&together["leased"], &together["used"]), (&truth["together_leased"], &truth["together_used"]));
    assert_eq!(together["leases"].as_array().map(Vec::len), Some(4));
    for arena in shown["arenas"].as_array().into_iter().flatten().filter(|arena| arena["kind"] == "arena") {
        assert!(arena["created"]["file"].as_str().is_some_and(|file| file.ends_with("outside.c")), "{arena}");
        assert_eq!((&arena["pid"], &arena["settled"]), (&truth["pid"], &Value::from(true)), "{arena}");
    }
    assert_eq!(shown["damaged"], Value::Array(Vec::new()));
    assert_eq!(shown["searched"]["broken"], Value::Array(Vec::new()));
}

#[test]
fn ten_thousand_arenas_of_a_stripped_program_and_of_its_child() {
    let place = Place::new();
    let running = Running::start(Command::new(program(&place, &[])).arg("10000"));
    let shown = show(&place, running.pid(), &[]);
    agrees(&running.truth, &shown);
    assert_eq!(of_kind(&shown, "between-processes").len(), 1);
    // A static buffer, one of malloc's, one on the stack; and memory that a fork does not copy.
    let at = |kind: &str| of_kind(&shown, "arena").into_iter().filter(|arena| arena["place"] == kind).count();
    assert_eq!((at("buffer"), at("not-forked"), at("slab")), (3, 1, 10_000));
    let child = u32::try_from(running.number("child")).expect("a pid");
    let shown = show(&place, child, &[]);
    assert_eq!(one(&shown, "big")["used"], running.number("big_used") + 7 * 1000);
    assert_eq!(one(&shown, "big")["pid"], running.pid());
    assert_eq!(named(&shown, "small").count(), 10_000);
    assert_eq!(named(&shown, "secret").count(), 0, "a child does not get it");

    let listed = json(&place.arenascope(&["ps", "--json"]));
    let of = |pid: u32| {
        let all = listed["processes"].as_array().expect("a list");
        all.iter().find(|process| process["pid"] == pid).unwrap_or_else(|| panic!("{pid}: {listed}"))
    };
    // Without reading all memory: not those in malloc's buffer and on the stack.
    assert_eq!(
        (&of(running.pid())["arenas"], &of(running.pid())["inherited"]),
        (&Value::from(10_005), &Value::from(0))
    );
    assert_eq!((&of(child)["shared"], &of(child)["between"]), (&Value::from(1), &Value::from(1)));
    assert!(of(child)["inherited"].as_u64() > Some(10_000));
    let listed = json(&place.arenascope(&["ps", "--json", "--arena", "big"]));
    let big = listed["processes"].as_array().expect("a list").iter().find(|process| process["pid"] == running.pid());
    assert_eq!(big.map(|big| (&big["arenas"], &big["used"])), Some((&Value::from(1), &running.truth["big_used"])));
}

#[test]
fn the_texts_tell_the_same_in_ascii_too() {
    let place = Place::new();
    let running = Running::start(&mut Command::new(program(&place, &[])));
    let pid = running.pid().to_string();
    let said = place.arenascope(&["show", "--plain", "--pid", &pid]);
    assert!(said.status == 0 && said.stdout.is_ascii() && said.stderr.is_empty(), "{said:?}");
    for told in [
        "1,007 arenas",
        "arena 1001 \"big\"   grows up to",
        "3 MiB ###",
        "read me from outside",
        "created    outside.c:",
        "a fork does not copy it",
        "in a buffer of the program's",
        "memory between processes, number 1",
        "... and 9",
        "thread",
    ] {
        let words: Vec<&str> = said.stdout.split_whitespace().collect();
        let told = told.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.join(" ").contains(&told), "{told}: {said:?}");
    }
    assert!(said.stdout.lines().all(|line| line.len() <= 100), "{said:?}");
    let said = place.arenascope(&["show", "--pid", &pid, "--arena", "big"]);
    assert!(said.stdout.contains("▒▒ 3 MiB ▒▒") && !said.stdout.contains("\"small\""), "{said:?}");
    let said = place.arenascope(&["show", "--pid", &pid, "--arena", "nobody"]);
    assert!(said.status == 2 && said.stderr.contains("no arena has this number or name"), "{said:?}");
    let said = place.arenascope(&["ps", "--plain"]);
    assert!(
        said.stdout.is_ascii() && said.stdout.contains(&pid) && said.stdout.contains("shared by threads"),
        "{said:?}"
    );
}

#[test]
fn a_static_program() {
    let place = Place::new();
    let running = Running::start(Command::new(program(&place, &["-static"])).arg("50"));
    agrees(&running.truth, &show(&place, running.pid(), &[]));
    // The lists alone lead to all but what is in no list.
    let shown = show(&place, running.pid(), &["--scan=0"]);
    agrees(&running.truth, &shown);
    assert_eq!(shown["searched"]["scanned_bytes"], 0);
    assert!(shown["searched"]["lists"].as_u64() >= Some(3), "{}", shown["searched"]);
}

#[test]
fn a_rust_program_built_for_release() {
    let place = Place::new();
    let running = Running::start(&mut Command::new(rust_program()));
    let shown = show(&place, running.pid(), &[]);
    assert_eq!(named(&shown, "small").count() as u64, running.number("small"));
    assert_eq!(sum(named(&shown, "small"), "used"), running.number("small_used"));
    let scoped = one(&shown, "a name that is longer than what a header keeps");
    assert_eq!((&scoped["depth"], &scoped["used"]), (&Value::from(1), &Value::from(800)));
    assert_eq!(scoped["created"]["line"], running.number("line"));
    assert!(scoped["created"]["file"].as_str().is_some_and(|file| file.ends_with("main.rs")), "{scoped}");
    let together = &of_kind(&shown, "shared")[0];
    assert_eq!((together["used"].as_u64(), running.number("held")), (Some(running.number("together_used")), 0));
    assert!(together["leases"].as_array().expect("leases").iter().all(|lease| lease["owner"].is_null()), "{together}");
    assert_eq!(of_kind(&shown, "arena").iter().filter(|arena| arena["place"] == "buffer").count(), 1);
    assert_eq!(shown["damaged"], Value::Array(Vec::new()));
}

#[test]
fn a_program_that_changes_its_arenas_all_the_time_is_read_and_not_stopped() {
    let place = Place::new();
    let mut running = Running::start(&mut Command::new(program(&place, &[])));
    running.say("hard\n");
    let mut hard = 0;
    for _ in 0..10 {
        let before = running.ask();
        let shown = show(&place, running.pid(), &[]);
        let after = running.ask();
        assert!(after > before, "it goes on");
        // What is quiet is told as ever; what is not is never told wrong.
        assert_eq!(sum(named(&shown, "small"), "used"), running.number("small_used"));
        assert_eq!(one(&shown, "big")["used"], running.truth["big_used"]);
        assert_eq!(shown["damaged"], Value::Array(Vec::new()), "{shown}");
        let busy: Vec<&Value> = named(&shown, "hard").chain(named(&shown, "brief")).collect();
        hard += busy.len();
        for arena in busy {
            let number = |key: &str| arena[key].as_u64().expect("a number");
            assert!(number("used") <= number("capacity") && number("capacity") <= number("reserved"), "{arena}");
        }
        let gaps = one(&shown, "together").get("gaps");
        assert_eq!(gaps, None, "{shown}");
    }
    assert!(hard >= 10, "the busy ones are seen: {hard}");
}

/// A core of `outside`, made by SIGABRT; by gdb where the system's core pattern gives cores to a program.
fn core_of(place: &Place, program: &Path, count: &str) -> (PathBuf, Value) {
    let pattern = std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap_or_default();
    let by_kernel = !pattern.starts_with('|') && !pattern.starts_with('/');
    let mut shell = Command::new("sh");
    let run = "ulimit -c unlimited && exec \"$@\"";
    let mut running = Running::start(shell.args(["-c", run, "sh"]).arg(program).arg(count).current_dir(place.path()));
    let truth = running.truth.clone();
    if by_kernel {
        running.say("abort\n");
        let status = running.child.wait().expect("it ends");
        assert!(!status.success());
        let core = std::fs::read_dir(place.path())
            .expect("our folder")
            .filter_map(|entry| Some(entry.ok()?.path()))
            .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("core")))
            .expect("a core");
        return (core, truth);
    }
    let core = place.file("core");
    let said = Command::new("gdb")
        .args(["-q", "-batch", "-p", &running.pid().to_string(), "-ex"])
        .arg(format!("generate-core-file {}", core.display()))
        .output()
        .expect("gdb");
    assert!(core.exists(), "{}", String::from_utf8_lossy(&said.stderr));
    (core, truth)
}

#[test]
fn a_core_made_by_abort_and_what_it_leaves_out() {
    let place = Place::new();
    let program = program(&place, &[]);
    let (core, truth) = core_of(&place, &program, "1000");
    let shown = show_core(&place, &core, &[]);
    agrees(&truth, &shown);
    assert_eq!((&shown["process"]["pid"], &shown["process"]["signal"]), (&truth["pid"], &Value::from(6)));
    assert_eq!(of_kind(&shown, "arena").iter().filter(|arena| arena["place"] == "buffer").count(), 3);
    let said = place.arenascope(&["show", "--core", &core.display().to_string()]);
    assert!(said.stdout.contains("ended by SIGABRT") && said.stdout.contains("read me from outside"), "{said:?}");

    // The program is elsewhere now: what the core leaves out (the names of files) is said to be missing, and --exe brings it back.
    let moved = place.file("moved");
    std::fs::rename(&program, &moved).expect("a rename");
    let shown = show_core(&place, &core, &[]);
    assert_eq!(one(&shown, "big")["used"], truth["big_used"]);
    assert!(
        one(&shown, "big")["created"]["file_unknown"].as_str().is_some_and(|why| why.contains("the core leaves")),
        "{shown}"
    );
    assert!(shown["remarks"].to_string().contains("--exe PROGRAM"), "{}", shown["remarks"]);
    agrees(&truth, &show_core(&place, &core, &["--exe", &moved.display().to_string()]));

    // Another program in its place is not believed.
    std::fs::copy("/bin/true", &program).expect("a copy");
    let shown = show_core(&place, &core, &[]);
    assert!(one(&shown, "big")["created"]["file"].is_null());
    assert!(shown["remarks"].to_string().contains("is not the file that ran"), "{}", shown["remarks"]);
    let said = place.arenascope(&["show", "--core", &core.display().to_string(), "--exe", "nowhere"]);
    assert!(said.status == 3 && said.stderr.contains("nowhere"), "{said:?}");
}

#[test]
fn cores_that_are_cut_off_or_written_over() {
    let place = Place::new();
    let (core, _) = core_of(&place, &program(&place, &[]), "100");
    let path = core.display().to_string();
    let file = std::fs::OpenOptions::new().read(true).write(true).open(&core).expect("our core");
    let whole = file.metadata().expect("a file").len();
    let mut told = 0;
    for bytes in [whole / 2, 40 << 20, 1 << 20, 200_000, 60_000, 10_000, 4096, 1000, 100, 64, 63, 20, 4, 1] {
        if bytes >= whole {
            continue;
        }
        file.set_len(bytes).expect("a shorter file");
        let said = place.arenascope(&["show", "--core", &path]);
        assert!(!said.stderr.contains("panicked"), "{bytes}: {said:?}");
        match said.status {
            0 => assert!(said.stdout.contains("cut off"), "{bytes}: {said:?}"),
            3 => assert!(said.stderr.contains(&path), "{bytes}: {said:?}"),
            _ => panic!("{bytes}: {said:?}"),
        }
        told += usize::from(said.stdout.contains("\"big\""));
    }
    assert!(told > 0, "what is left is told");

    // Numbers of the headers written over, one at a time.
    let place = Place::new();
    let (core, _) = core_of(&place, &program(&place, &[]), "5");
    let path = core.display().to_string();
    let file = std::fs::OpenOptions::new().read(true).write(true).open(&core).expect("our core");
    for at in (16..64).chain(64..64 + 56 * 3).step_by(4) {
        let mut old = [0; 8];
        file.read_exact_at(&mut old, at).expect("bytes");
        for value in [u64::MAX, 1 << 63, 0] {
            file.write_all_at(&value.to_le_bytes(), at).expect("bytes");
            let said = place.arenascope(&["show", "--scan=16M", "--core", &path]);
            assert!([0, 3].contains(&said.status) && !said.stderr.contains("panicked"), "{at} {value:#x}: {said:?}");
        }
        file.write_all_at(&old, at).expect("bytes");
    }
}

#[test]
fn files_that_are_no_cores() {
    let place = Place::new();
    let hello = place.cc("hello.c", &[]).display().to_string();
    std::fs::write(place.file("empty"), "").expect("a file");
    std::fs::write(place.file("text"), "a letter\n".repeat(100)).expect("a file");
    std::fs::write(place.file("packed"), b"\x28\xb5\x2f\xfd and more").expect("a file");
    std::fs::create_dir(place.file("folder")).expect("a folder");
    let mut bytes = std::fs::read(&hello).expect("a program");
    bytes[16] = 4;
    std::fs::write(place.file("no_segments"), &bytes[..64]).expect("a file");
    bytes[18] = 183;
    std::fs::write(place.file("arm"), &bytes).expect("a file");
    bytes[4] = 1;
    std::fs::write(place.file("small"), &bytes).expect("a file");
    let made = Command::new("mkfifo").arg(place.file("fifo")).status().expect("mkfifo");
    assert!(made.success());
    for (file, told) in [
        ("empty", "is empty"),
        ("text", "no core dump: not an ELF file"),
        ("packed", "unpack it first"),
        ("folder", "is a directory"),
        (hello.as_str(), "a program or library, and no core dump"),
        ("no_segments", "cut off or damaged"),
        ("arm", "another architecture (aarch64)"),
        ("small", "32-bit"),
        ("fifo", "not a regular file"),
        ("nowhere", "no such file"),
    ] {
        let said = place.arenascope(&["show", "--core", file]);
        assert!(said.status == 3 && said.stdout.is_empty(), "{file}: {said:?}");
        assert!(said.stderr.contains(told) && said.stderr.contains(file), "{file}: {said:?}");
    }
}

#[test]
fn a_core_of_a_program_without_arenas() {
    let pattern = std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap_or_default();
    let place = Place::new();
    let abort = place.cc("abort.c", &[]);
    let mut sleeper = Command::new("sleep").arg("1000").current_dir(place.path()).spawn().expect("sleep");
    let core = if pattern.starts_with(['|', '/']) {
        let core = place.file("core");
        let _ = Command::new("gdb")
            .args(["-q", "-batch", "-p", &sleeper.id().to_string(), "-ex"])
            .arg(format!("generate-core-file {}", core.display()))
            .output()
            .expect("gdb");
        core
    } else {
        let _ = place.outcome(Command::new("sh").args(["-c", "ulimit -c unlimited; exec \"$@\"", "sh"]).arg(&abort));
        let names = std::fs::read_dir(place.path()).expect("our folder").filter_map(|entry| Some(entry.ok()?.path()));
        names.into_iter().find(|path| path.to_string_lossy().contains("/core")).expect("a core")
    };
    let _ = sleeper.kill();
    let _ = sleeper.wait();
    let said = place.arenascope(&["show", "--core", &core.display().to_string()]);
    assert!(said.status == 0 && said.stdout.contains("no arena") && said.stderr.is_empty(), "{said:?}");
}

#[test]
fn headers_that_cannot_be_believed_are_told_as_such() {
    let place = Place::new();
    let fakes = place.cc("outside_fakes.c", &[]);
    let running = Running::start(&mut Command::new(fakes));
    let shown = show(&place, running.pid(), &[]);
    let pages = running.number("pages");
    let damaged = |page: u64| {
        let header = format!("{:#x}", pages + page * 4096);
        let all = shown["damaged"].as_array().expect("a list");
        all.iter()
            .find(|damaged| damaged["header"] == header)
            .map(|damaged| damaged["why"].as_str().unwrap_or_default())
    };
    for (page, told) in [
        (1, "layout version 7, and this program knows 2"),
        (2, "cursor"),
        (3, "a name of 4294967295 bytes"),
        (4, "a capacity of 9223372036854775808 bytes"),
        (5, "not all mapped"),
        (6, "layout version 0"),
        (11, "60000 slots"),
    ] {
        assert!(damaged(page).is_some_and(|why| why.contains(told)), "page {page}: {told}: {shown}");
    }
    assert_eq!(shown["damaged"].as_array().map(Vec::len), Some(7), "{shown}");
    let ids: Vec<u64> = of_kind(&shown, "arena").iter().filter_map(|arena| arena["id"].as_u64()).collect();
    assert_eq!(ids, [100, 107], "the sound ones: {shown}");
    assert!(
        of_kind(&shown, "arena")[1]["name_unknown"].as_str().is_some_and(|why| why.contains("no memory")),
        "{shown}"
    );
    assert!(of_kind(&shown, "shared")[0]["gaps"].to_string().contains("astray"), "{shown}");
    let said = place.arenascope(&["show", "--pid", &running.pid().to_string()]);
    assert!(said.status == 0 && said.stdout.contains("damaged header at 0x"), "{said:?}");
    let said = place.arenascope(&["ps", "--scan"]);
    assert!(said.stdout.contains("7 damaged headers"), "{said:?}");
}

#[test]
fn processes_that_have_nothing_or_are_not_there() {
    let place = Place::new();
    let mut quiet = Command::new("sleep").arg("1000").spawn().expect("sleep");
    let said = place.arenascope(&["show", "--pid", &quiet.id().to_string()]);
    assert!(said.status == 0 && said.stdout.contains("no arena") && said.stderr.is_empty(), "{said:?}");
    let _ = quiet.kill();
    // Until we ask how it ended it is a zombie; it has ended when its memory has gone.
    let dead = quiet.id().to_string();
    while std::fs::read_to_string(format!("/proc/{dead}/stat")).is_ok_and(|stat| !stat.contains(") Z ")) {
        std::thread::yield_now();
    }
    let said = place.arenascope(&["show", "--pid", &dead]);
    assert!(said.status == 3 && said.stderr.contains("zombie"), "{said:?}");
    let _ = quiet.wait();
    let said = place.arenascope(&["show", "--pid", &dead]);
    assert!(said.status == 3 && said.stderr.contains("no such process") && said.stderr.contains("try:"), "{said:?}");
    let said = place.arenascope(&["show", "--pid", "4294967295"]);
    assert!(said.status == 3 && said.stderr.contains("no such process"), "{said:?}");
    // A thread of the kernel, where this system shows any (a container does not).
    let kernel = (2..100u32)
        .find(|pid| std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains("(kthreadd)")));
    if let Some(pid) = kernel {
        let said = place.arenascope(&["show", "--pid", &pid.to_string()]);
        assert!(said.status == 3 && said.stderr.contains("kernel"), "{said:?}");
    }
    for words in [
        &["show", "--pid", "0"][..],
        &["show", "--pid", "-1"],
        &["show", "--pid", "self"],
        &["show"],
        &["show", "--pid", "1", "--core", "x"],
        &["show", "--exe", "x", "--pid", "1"],
        &["show", "t.ascope", "--pid", "1"],
        &["show", "--pid", "1", "--at", "end"],
        &["ps", "--scan=much"],
        &["ps", "1"],
    ] {
        let said = place.arenascope(words);
        assert!(said.status == 2 && !said.stderr.is_empty(), "{words:?}: {said:?}");
    }
}

/// Arenascope as nobody when this is root: root may read everything.
fn as_nobody(place: &Place, arguments: &[&str]) -> Outcome {
    let arenascope = place.own_arenascope();
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]).arg(arenascope);
    place.outcome(command.args(arguments))
}

#[test]
fn processes_of_others_are_refused_and_counted() {
    let place = Place::new();
    if !is_root() {
        // The first process is root's.
        let said = place.arenascope(&["show", "--pid", "1"]);
        assert!(said.status == 3 && said.stderr.contains("permission denied"), "{said:?}");
        return;
    }
    let program = program(&place, &[]);
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("chmod of our program");
    let running = Running::start(Command::new(&program).arg("3"));
    let pid = running.pid().to_string();
    let said = as_nobody(&place, &["show", "--pid", &pid]);
    assert!(said.status == 3 && said.stdout.is_empty() && said.stderr.contains("permission denied"), "{said:?}");
    assert!(said.stderr.contains("its user (number 0)"), "what to try: {said:?}");
    let listed = json(&as_nobody(&place, &["ps", "--json"]));
    assert!(listed["processes"].as_array().expect("a list").iter().all(|process| process["pid"] != running.pid()));
    let others = listed["unread"]
        .as_array()
        .expect("a list")
        .iter()
        .find(|unread| unread["why"] == "of other users not looked at");
    assert!(others.is_some_and(|others| others["count"].as_u64() >= Some(2)), "{listed}");
    let said = as_nobody(&place, &["ps"]);
    assert!(said.status == 0 && said.stdout.contains("processes of other users not looked at"), "{said:?}");

    // Its own it may read, where ptrace_scope lets it; then all is there.
    let own = Running::start(
        Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"])
            .arg(&program)
            .arg("3")
            .current_dir(place.path()),
    );
    let said = as_nobody(&place, &["show", "--json", "--pid", &own.pid().to_string()]);
    let scope = std::fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").unwrap_or_default();
    match scope.trim() {
        "" | "0" => agrees(&own.truth, &json(&said)),
        _ => assert!(said.status == 3 && said.stderr.contains("ptrace_scope"), "{said:?}"),
    }
}

#[test]
fn a_process_whose_first_thread_has_ended_is_read_through_another() {
    let place = Place::new();
    std::fs::write(
        place.file("leaderless.c"),
        "#include <arenascope.h>\n#include <pthread.h>\n#include <unistd.h>\n\
         static void *stay(void *n) { ascope_arena *a = ascope_init_named(\"stays\", 500); \
         if (!ascope_alloc(a, 10)) return n; printf(\"{\\\"pid\\\":%d}\\n\", getpid()); fflush(stdout); pause(); return n; }\n\
         int main(void) { pthread_t t; pthread_create(&t, NULL, stay, NULL); pthread_exit(NULL); }\n",
    )
    .expect("a file");
    let said = Command::new("gcc")
        .args(["-O2", "-pthread", "-I"])
        .arg(installed().join("include"))
        .arg(place.file("leaderless.c"))
        .arg(installed().join("lib/libarenascope.a"))
        .arg("-o")
        .arg(place.file("leaderless"))
        .output()
        .expect("gcc");
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let running = Running::start(&mut Command::new(place.file("leaderless")));
    while std::fs::read_to_string(format!("/proc/{}/stat", running.pid())).is_ok_and(|stat| !stat.contains(") Z ")) {
        std::thread::yield_now();
    }
    let shown = show(&place, running.pid(), &[]);
    assert_eq!(one(&shown, "stays")["used"], 16);
}

fn gdb(place: &Place, script: &Path, target: &[&str], commands: &[&str]) -> String {
    let mut command = Command::new("gdb");
    command.args(["-q", "-batch", "-nx", "-x"]).arg(script);
    for word in commands {
        command.args(["-ex", word]);
    }
    let said = place.outcome(command.args(target));
    assert!(!said.stderr.contains("Traceback") && !said.stderr.contains("Python Exception"), "{said:?}");
    said.stdout + &said.stderr
}

#[test]
fn gdb_tells_the_same_of_a_process_and_of_a_core() {
    let place = Place::new();
    let script = place.file("arenascope-gdb.py");
    std::fs::write(&script, place.arenascope(&["show", "--gdb-script"]).stdout).expect("a file");
    for flags in [&[][..], &["-static"]] {
        let program = program(&place, flags);
        let running = Running::start(Command::new(&program).arg("200"));
        let commands =
            ["attach PID", "arenascope list", "arenascope show 201", "arenascope dump 201", "arenascope show 999999"];
        let attach = format!("attach {}", running.pid());
        let commands: Vec<&str> =
            commands.iter().map(|word| if *word == "attach PID" { attach.as_str() } else { word }).collect();
        let said = gdb(&place, &script, &[], &commands);
        assert_eq!(said.matches("\"small\"").count() as u64, running.number("small"), "{flags:?}: {said}");
        assert!(said.contains("between processes"), "{said}");
        assert!(said.contains("\"together\"") && said.contains("arena 201 \"big\"   grows"), "{said}");
        assert!(
            said.contains("outside.c:") && said.contains(&format!("Arena dump ({} used", running.number("big_used"))),
            "{said}"
        );
        assert!(
            said.contains("read me from outside....") && said.contains("no living arena has number 999999"),
            "{said}"
        );
        assert!(!said.contains("damaged") && !said.contains("breaks off"), "{said}");
    }
    let program = program(&place, &[]);
    let (core, truth) = core_of(&place, &program, "200");
    let core = core.display().to_string();
    let commands = ["arenascope list", "arenascope show"];
    let said = gdb(&place, &script, &[&program.display().to_string(), &core], &commands);
    assert_eq!(Some(said.matches("\"small\"").count() as u64 / 2), truth["small"].as_u64(), "{said}");
    assert!(
        said.contains("between processes, 1 MiB")
            && said.contains("lease 4")
            && said.contains("arena 201 \"big\"   grows"),
        "{said}"
    );
    // Nothing to look at: said, and no mishap.
    let said = gdb(&place, &script, &[], &["arenascope list", "arenascope show x", "arenascope dump"]);
    assert!(said.contains("no process and no core") && said.contains("an arena's number is wanted"), "{said}");
}

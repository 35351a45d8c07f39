//! `--watch malloc`: the C library's own arenas, as they are and as malloc itself says they are.

use crate::harness::{Outcome, Place, accused, count, noted, root};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const WATCH: [&str; 2] = ["--watch", "malloc"];

fn hex(value: &Value) -> u64 {
    let text = value.as_str().unwrap_or_default();
    u64::from_str_radix(text.trim_start_matches("0x"), 16).unwrap_or_else(|_| panic!("an address: {value}"))
}

fn list<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

/// Runs `program` with malloc watched: the same outcome as without us.
fn watched(place: &Place, program: &Path, arguments: &[&str]) -> (Outcome, String) {
    let plain = place.plain(program, arguments);
    let (outcome, screen) = place.watch(&WATCH, program, arguments);
    assert_eq!(outcome.status, plain.status, "{outcome:?}\n{screen}");
    (outcome, screen)
}

/// Replays the log by the simplest model there is: every alloc takes bytes that nobody has, every free gives back what is
/// there. Returns the living blocks: address to size.
fn sound(events: &[Value], inherited: &BTreeMap<u64, u64>) -> BTreeMap<u64, u64> {
    let mut living = inherited.clone();
    for event in events {
        match event["kind"].as_str() {
            Some("alloc") if event["refused"] != true => {
                let (block, size) = (hex(&event["block"]["address"]), event["size"].as_u64().expect("a size"));
                let below = living.range(..=block).next_back().map(|(at, size)| at + size);
                let above = living.range(block..).next().map(|(at, _)| *at);
                assert!(below.is_none_or(|end| end <= block), "lies in another block: {event}");
                assert!(above.is_none_or(|at| block + size <= at), "reaches into another block: {event}");
                living.insert(block, size.max(1));
            }
            Some("free") => {
                let block = hex(&event["address"]);
                assert!(living.remove(&block).is_some(), "no such block: {event}");
            }
            _ => {}
        }
    }
    living
}

#[test]
fn every_block_of_eight_threads_is_where_its_header_and_malloc_info_say() {
    for (compiler, flags) in [("gcc", "-O0"), ("gcc", "-O2"), ("clang", "-O2")] {
        let place = Place::new();
        let program = place.compile(compiler, "malloc_threads.c", &[flags]);
        let (outcome, screen) = watched(&place, &program, &[]);
        let trace = place.trace();
        let shown = place.show(&trace, &[]);
        let arenas = list(&shown, "arenas");
        let mut by_address: BTreeMap<u64, (&Value, &Value)> = BTreeMap::new();
        for arena in arenas {
            by_address.extend(list(arena, "blocks").iter().map(|block| (hex(&block["address"]), (arena, block))));
        }
        let mut told = 0;
        for line in outcome.stdout.lines().filter_map(|line| line.strip_prefix("block ")) {
            let words: Vec<&str> = line.split(' ').collect();
            let [address, size, home] = words[..] else { panic!("{line}") };
            let (arena, block) = by_address
                .get(&hex(&Value::from(address)))
                .unwrap_or_else(|| panic!("{line}: no such block\n{screen}"));
            let kind = arena["malloc"]["kind"].as_str().expect("an arena of malloc's");
            let right = match home {
                "main" | "mapped" => kind == home,
                object => kind == "thread" && hex(&arena["object"]) == hex(&Value::from(object)),
            };
            assert!(right, "{line}: shown in {} ({kind}) at {}", arena["name"], arena["object"]);
            assert_eq!(block["size"].to_string(), size, "{line}");
            told += 1;
        }
        assert_eq!(told, 9 * 40, "{outcome:?}");

        // malloc_info: a heap element for each arena, with the bytes that it has from the system.
        let figure = |text: &str, name: &str| -> Option<u64> {
            text.split_once(&format!("{name}=\""))?.1.split_once('"')?.0.parse().ok()
        };
        let heaps = outcome.stdout.split("<heap ").skip(1).map(|heap| heap.split("</heap>").next().unwrap_or(""));
        let mut theirs: Vec<u64> = heaps
            .filter_map(|heap| figure(heap.lines().find(|line| line.contains("<system type=\"current\""))?, "size"))
            .collect();
        let of_kind = |wanted: &[&str]| -> Vec<&Value> {
            let kind = |arena: &&Value| wanted.contains(&arena["malloc"]["kind"].as_str().unwrap_or(""));
            arenas.iter().filter(kind).collect()
        };
        let mut ours: Vec<u64> = of_kind(&["main", "thread"])
            .iter()
            .map(|arena| list(arena, "extents").iter().map(|extent| extent["len"].as_u64().unwrap_or(0)).sum())
            .collect();
        theirs.sort_unstable();
        ours.sort_unstable();
        assert_eq!(ours, theirs, "bytes of each arena\n{screen}");
        assert_eq!(ours.len(), 9, "eight threads and the main arena\n{screen}");
        let total = outcome.stdout.lines().find(|line| line.contains("<total type=\"mmap\"")).expect("a total");
        let mapped: usize = of_kind(&["mapped"]).iter().map(|arena| list(arena, "blocks").len()).sum();
        assert_eq!(Some(mapped as u64), figure(total, "count"), "blocks with a mapping each\n{screen}");

        for arena in of_kind(&["main", "thread"]) {
            let tops = list(arena, "extents").iter().filter(|extent| extent["top_chunk"].is_u64()).count();
            assert_eq!(tops, 1, "one top chunk in {}", arena["name"]);
        }
        let living = sound(&place.log(&trace), &BTreeMap::new());
        assert_eq!(living.len(), by_address.len());
        let json = place.findings(&trace);
        assert!(accused(&json).is_empty() && noted(&json).is_empty(), "{json}");
        assert_eq!(json["lost"]["events"], 0, "{screen}");
    }
}

#[test]
fn a_block_that_holds_a_hand_made_arena_is_known_as_such() {
    let place = Place::new();
    let program = place.cc("malloc_holds.c", &["-O1"]);
    let flags =
        ["--watch", "malloc", "--create", "pool_init(arena, size)", "--alloc", "pool_alloc(arena, size) -> block"];
    let (outcome, screen) = place.watch(&flags, &program, &[]);
    assert_eq!(outcome.stdout, "1 80\n", "{outcome:?}\n{screen}");
    let trace = place.trace();
    let shown = place.show(&trace, &[]);
    let arenas = list(&shown, "arenas");
    let pool = |number: usize| {
        let hand_made: Vec<&Value> = arenas.iter().filter(|arena| arena["malloc"].is_null()).collect();
        assert_eq!(hand_made.len(), 2, "{shown}");
        hand_made[number]
    };
    let main = arenas.iter().find(|arena| arena["malloc"]["kind"] == "main").expect("the main arena");
    let holding: Vec<&Value> = list(main, "blocks").iter().filter(|block| block["holds"].is_array()).collect();
    let [block] = holding[..] else { panic!("one block holds an arena: {main}") };
    assert_eq!((&block["size"], &block["holds"]), (&Value::from(20000), &Value::from(vec![pool(0)["id"].clone()])));
    assert_eq!(list(pool(0), "blocks").len(), 3, "realloc took its blocks along: {shown}");
    assert_eq!(list(pool(0), "extents")[0]["kind"], "malloc block", "{shown}");
    assert_eq!(list(pool(0), "extents")[0]["mapped_bytes"], 20000, "{shown}");
    assert_eq!(pool(1)["ended"]["how"], "freed", "{shown}");
    assert!(screen.contains("holds arena"), "{screen}");
    assert!(accused(&place.findings(&trace)).is_empty(), "{screen}");
}

#[test]
fn forks_handlers_and_the_end_of_a_process_neither_block_nor_lose_anything() {
    let place = Place::new();
    let program = place.cc("malloc_fork.c", &["-O2"]);
    let (outcome, screen) = watched(&place, &program, &[]);
    assert_eq!(outcome.stdout, "child in the child\nparent in the parent 9 1\n", "{outcome:?}\n{screen}");
    let traces = place.traces();
    assert_eq!(traces.len(), 2, "{traces:?}\n{screen}");
    for trace in traces {
        let shown = place.show(&trace, &[]);
        assert_eq!(shown["lost"]["events"], 0, "{screen}");
        let main = &list(&shown, "arenas")[0];
        assert_eq!(main["malloc"]["kind"], "main", "{shown}");
        let copies =
            list(main, "blocks").iter().filter(|block| [13, 14].contains(&block["size"].as_u64().unwrap_or(0)));
        assert_eq!(copies.count(), 50, "strdup in {trace:?}");
        let json = place.findings(&trace);
        assert!(accused(&json).is_empty() && noted(&json).is_empty(), "{json}");
    }
}

#[test]
fn where_system_calls_are_forbidden_blocks_are_seen_all_the_same() {
    let place = Place::new();
    let program = place.cc("malloc_seccomp.c", &["-O1", "-fno-builtin"]);
    let (outcome, screen) = watched(&place, &program, &[]);
    assert_eq!((outcome.status, outcome.stdout.as_str()), (0, "walled in\n"), "{outcome:?}\n{screen}");
    let events = place.log(&place.trace());
    assert_eq!(count(&events, "alloc"), 3001, "{screen}");
    assert!(sound(&events, &BTreeMap::new()).is_empty(), "{screen}");
}

#[test]
fn a_malloc_that_is_not_glibc_s_is_one_arena_of_unknown_bounds() {
    let place = Place::new();
    let program = place.cc("malloc_own.c", &["-O1", "-fno-builtin"]);
    let (outcome, screen) = watched(&place, &program, &[]);
    assert_eq!(outcome.stdout, "one malloc of many\n", "{outcome:?}\n{screen}");
    assert!(screen.contains("malloc here is not glibc's"), "{screen}");
    let shown = place.show(&place.trace(), &[]);
    let [arena] = list(&shown, "arenas") else { panic!("one arena: {shown}") };
    assert_eq!(arena["malloc"]["kind"], "foreign", "{shown}");
    assert!(arena["capacity"].is_null(), "{shown}");
    sound(&place.log(&place.trace()), &BTreeMap::new());
}

/// Bug: a program at a fixed address that takes malloc's address gives the whole process its own PLT stub for it, and its
/// malloc was told as the program's.
#[test]
fn a_program_that_takes_malloc_s_address_has_glibc_s_malloc_all_the_same() {
    for flags in [["-no-pie", "-fno-pie"], ["-pie", "-fPIE"]] {
        let place = Place::new();
        let program = place.cc("malloc_taken.c", &[flags[0], flags[1], "-O1", "-fno-builtin"]);
        let (outcome, screen) = watched(&place, &program, &[]);
        assert_eq!(outcome.stderr, "15 live\n", "{outcome:?}\n{screen}");
        assert!(!screen.contains("not glibc's"), "{screen}");
        let trace = place.trace();
        let shown = place.show(&trace, &[]);
        let [arena] = list(&shown, "arenas") else { panic!("one arena: {shown}") };
        assert_eq!(arena["malloc"]["kind"], "main", "{shown}");
        // By each of the three ways ten, of which five are freed.
        for (size, living) in [(100, 5), (200, 5), (15, 5)] {
            let blocks = list(arena, "blocks").iter().filter(|block| block["size"] == size);
            assert_eq!(blocks.count(), living, "{size} bytes: {shown}");
        }
        sound(&place.log(&trace), &BTreeMap::new());
    }
    // And its own malloc is its own, wherever it lies.
    let place = Place::new();
    let program = place.cc("malloc_own.c", &["-no-pie", "-fno-pie", "-O1", "-fno-builtin"]);
    let (outcome, screen) = watched(&place, &program, &[]);
    assert_eq!(outcome.stdout, "one malloc of many\n", "{outcome:?}\n{screen}");
    assert!(screen.contains("malloc here is not glibc's but that of") && screen.contains("malloc_own"), "{screen}");
}

#[test]
fn one_arena_for_all_threads_when_the_program_is_told_so() {
    let place = Place::new();
    let lab = root().join("labs/08_malloc_tls_isolation_test/08a_malloc_arenas_of_threads.c");
    let program = place.cc(&lab.to_string_lossy(), &[]);
    for (limit, arenas) in [(None, 5), (Some("1"), 1)] {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_arenascope"));
        command.args(["run", "--watch", "malloc", "--force", "-o", "lab.ascope", "--"]).arg(&program);
        if let Some(limit) = limit {
            command.env("MALLOC_ARENA_MAX", limit);
        }
        let outcome = place.outcome(&mut command);
        assert_eq!(outcome.status, 0, "{outcome:?}");
        let shown = place.show(&place.file("lab.ascope"), &[]);
        let seen = list(&shown, "arenas");
        assert_eq!(seen.len(), arenas, "{outcome:?}");
        if limit.is_some() {
            assert_eq!(seen[0]["threads"], Value::from(vec![1, 2, 3, 4, 5]), "{shown}");
        } else {
            // Each thread asked one arena; main freed what is in all of them.
            let of_threads = seen.iter().filter(|arena| arena["malloc"]["kind"] == "thread");
            assert!(of_threads.into_iter().all(|arena| list(arena, "threads").len() == 2), "{shown}");
        }
        let json = place.findings(&place.file("lab.ascope"));
        assert!(accused(&json).is_empty() && noted(&json).is_empty(), "{json}");
    }
}

#[test]
fn packaged_programs_do_what_they_do_and_nobody_is_accused() {
    let root_given = |text: &str| text.to_owned();
    let mut ran = Vec::new();
    for (name, arguments) in [
        ("git", vec![root_given("--exec-path")]),
        (
            "sqlite3",
            vec![":memory:".into(), "create table t(a); insert into t values(1),(2); select sum(a) from t;".into()],
        ),
        ("svn", vec!["--version".into(), "--quiet".into()]),
        ("nginx", vec!["-V".into()]),
        ("python3", vec!["-c".into(), "print(sum(len(str(i)) for i in range(1000)))".into()]),
        ("gcc", vec!["-print-search-dirs".into()]),
    ] {
        let Some(program) = packaged(name) else { continue };
        ran.push(name);
        let place = Place::new();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let plain = place.plain(&program, &arguments);
        let (outcome, screen) = place.watch(&WATCH, &program, &arguments);
        assert_eq!(outcome, plain, "{name}\n{screen}");
        assert!(!screen.contains("not glibc's"), "{name}\n{screen}");
        for trace in place.traces() {
            let json = place.findings(&trace);
            assert!(accused(&json).is_empty() && noted(&json).is_empty(), "{name}: {json}");
            assert_eq!(json["lost"]["events"], 0, "{name}: {screen}");
            sound(&place.log(&trace), &BTreeMap::new());
        }
    }
    // gcc is needed for the tests themselves.
    assert!(ran.contains(&"gcc"), "none of the programs is here: {ran:?}");
    eprintln!("ran: {}", ran.join(", "));
}

/// The program of a package; not a script that stands in for it.
fn packaged(name: &str) -> Option<PathBuf> {
    let folders = ["/usr/bin", "/usr/sbin"];
    folders.iter().map(|folder| Path::new(folder).join(name)).find(|path| path.is_file())
}

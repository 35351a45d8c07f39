//! Correct programs are not accused under `--precise`: the corpus that record and check mode are held to, the labs' mended
//! twins, and packages of Debian.
//!
//! Without `--long` a sample. Relied on: Valgrind; libapr1-dev, libtalloc-dev. A program that precise mode is known to change is
//! listed with its reason. Deliberately absent: that faults are seen (`precise`), and output: blocks lie further apart, and
//! several of these programs print where.

use crate::harness::{Place, accused, long, programs, root};
use crate::precise::needs_valgrind;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs the program alone and under `--precise`: the same status, and no finding.
fn silent(place: &Place, flags: &[&str], program: &Path, arguments: &[&str], what: &str) {
    let alone = place.plain(program, arguments);
    let flags = [&["--precise", "--force", "-o", "t.ascope"], flags].concat();
    let (watched, screen) = place.watch(&flags, program, arguments);
    assert_eq!(watched.status, alone.status, "{what} {flags:?}: {watched:?}\n{screen}");
    let json = place.findings(&place.file("t.ascope"));
    assert_eq!(accused(&json).len(), 0, "{what} {flags:?}: {json:#}\n{screen}");
    assert_eq!(json["lost"]["events"], 0, "{what}: {json:#}");
}

fn builds() -> &'static [(&'static str, &'static str)] {
    const ALL: &[(&str, &str)] = &[("gcc", "-O2"), ("clang", "-O0"), ("gcc", "-O0"), ("clang", "-O2")];
    if long() { ALL } else { &ALL[..1] }
}

fn profile(name: &str) -> String {
    root().join("profiles").join(name).to_string_lossy().into_owned()
}

#[test]
fn libraries_used_as_their_documentation_allows() {
    needs_valgrind();
    let (apr, talloc) = (profile("apr.toml"), profile("talloc.toml"));
    let obstack = [
        "--alloc",
        "take(arena, size) -> block",
        "--alloc",
        "keep(arena, _, size) -> block",
        "--rewind",
        "back_to(arena, mark)",
    ];
    let rows: [(&str, &[&str], &[&str]); 3] = [
        ("apr_pools.c", &["-I/usr/include/apr-1.0", "-lapr-1"], &["--profile", &apr]),
        ("talloc_tree.c", &["-ltalloc"], &["--profile", &talloc]),
        ("obstack_words.c", &[], &obstack),
    ];
    for (compiler, level) in builds() {
        for (source, libraries, roles) in rows {
            let place = Place::new();
            let program = place.file("program");
            let mut compile = Command::new(compiler);
            compile
                .args(["-g", level, "-o"])
                .arg(&program)
                .arg(programs().join("correct").join(source))
                .args(libraries);
            let compiled = place.outcome(&mut compile);
            assert_eq!(compiled.status, 0, "{compiled:?}");
            silent(&place, roles, &program, &[], &format!("{source} {compiler} {level}"));
        }
    }
}

#[test]
fn hand_made_arenas_found_by_shape() {
    needs_valgrind();
    let sample = ["chunked_pool.c", "region_mark.c", "check_bump.c"];
    let rest = [
        "freelist_pages_mended.c",
        "global_pool.c",
        "global_bump.c",
        "null_mended.c",
        "grow_by_calls.c",
        "eight_roles.c",
        "threads.c",
        "signals.c",
        "longjmp.c",
        "recursion.c",
        "pair.c",
        "ipa_ra.c",
        "fork.c",
    ];
    for (compiler, level) in builds() {
        for source in sample.iter().chain(if long() { &rest[..] } else { &[] }) {
            let place = Place::new();
            let program = place.compile(compiler, source, &[level]);
            silent(&place, &[], &program, &[], &format!("{source} {compiler} {level}"));
        }
    }
}

/// Mended labs that blocks further apart change, and how.
const CHANGED: [(&str, &str); 1] =
    [("09c_arena_scope_fork_test_mended.c", "reads at base + 64, counting on the second block to touch the first")];

#[test]
fn mended_labs() {
    needs_valgrind();
    let mut tried = 0;
    for (folder, name, run) in labs() {
        let twin = folder.join(format!("{name}_mended.c"));
        let file = twin.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        // 16 takes half a minute.
        let chosen = long() || ["09b2", "10a_", "12a_", "18_m"].iter().any(|number| file.starts_with(number));
        if !twin.is_file() || !chosen || CHANGED.iter().any(|(changed, _)| *changed == file) {
            continue;
        }
        let flags: Vec<String> = run["flags"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|flag| flag.as_str().filter(|flag| *flag != "--check").map(str::to_owned))
            .collect();
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let place = Place::new();
        let program = place.cc(&twin.to_string_lossy(), &[]);
        silent(&place, &flags, &program, &[], &file);
        tried += 1;
    }
    assert!(tried >= if long() { 12 } else { 4 }, "{tried}");
}

/// Folder, name and first run of each lab.
fn labs() -> Vec<(PathBuf, String, serde_json::Value)> {
    let mut found = Vec::new();
    let folders = std::fs::read_dir(root().join("labs")).expect("labs").filter_map(|entry| Some(entry.ok()?.path()));
    for folder in folders.filter(|path| path.is_dir()) {
        for file in std::fs::read_dir(&folder).expect("a lab's folder").filter_map(|entry| Some(entry.ok()?.path())) {
            let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let Some(name) = name.strip_suffix(".expected.json") else { continue };
            let text = std::fs::read_to_string(&file).expect("an expectation");
            let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            let first = json.as_array().and_then(|runs| runs.first()).unwrap_or(&json).clone();
            found.push((folder.clone(), name.to_owned(), first));
        }
    }
    found
}

/// Every block of the C library's allocator.
const MALLOC: [&str; 8] = [
    "--alloc",
    "malloc(size) -> block",
    "--alloc",
    "calloc(size, count) -> block",
    "--resize",
    "realloc(block, size) -> block",
    "--free",
    "free(block)",
];

#[test]
fn packages_of_debian() {
    needs_valgrind();
    let place = Place::new();
    let shell = |script: &str| {
        let done = place.outcome(Command::new("sh").args(["-ec", script]));
        assert_eq!(done.status, 0, "{script}: {done:?}");
    };
    shell("svnadmin create repository");
    shell(
        "git init -q tree && cd tree && echo a > a && git add a && git -c user.name=a -c user.email=a@b commit -qm a",
    );
    let repository = format!("file://{}", place.file("repository").display());
    let sql = "create table t(a,b); insert into t values(1,2),(3,4); select sum(a*b) from t;";
    let apr = profile("apr.toml");
    let apr = ["--profile", &apr];
    let git = String::from_utf8_lossy(&Command::new("which").arg("git").output().expect("which runs").stdout)
        .trim()
        .to_owned();
    let rows: [(&str, &[&str], &[&str]); 7] = [
        ("/usr/bin/sqlite3", &[":memory:", sql], &MALLOC),
        ("/usr/bin/svn", &["info", &repository, "--show-item", "revision"], &apr),
        ("/usr/bin/svn", &["log", &repository], &apr),
        (&git, &["-C", "tree", "log", "--oneline"], &MALLOC),
        (&git, &["-C", "tree", "status", "--short"], &MALLOC),
        ("/usr/bin/svn", &["--version", "--quiet"], &MALLOC),
        ("/usr/bin/python3", &["-c", "import json; print(len(json.dumps(list(range(300)))))"], &MALLOC),
    ];
    for (program, arguments, roles) in rows.iter().take(if long() { rows.len() } else { 2 }) {
        silent(&place, roles, Path::new(program), arguments, &format!("{program} {arguments:?}"));
    }
}

/// A trace under Valgrind is not cut off where its first window ends: 4 MiB, some 500,000 events.
#[test]
fn a_long_run_loses_nothing() {
    needs_valgrind();
    let place = Place::new();
    let source = root().join("bench/modes.c");
    let program = place.cc(&source.to_string_lossy(), &["-O2", "-fno-builtin"]);
    let roles = ["--alloc", "pool_alloc(arena, size) -> block", "--free", "pool_free(arena, block)"];
    let flags = [&["--precise", "-o", "t.ascope"], &roles[..]].concat();
    let (outcome, screen) = place.watch(&flags, &program, &["pool", "1", "600000"]);
    assert_eq!(outcome.status, 0, "{outcome:?}\n{screen}");
    assert!(screen.contains(" events, 0 lost"), "{screen}");
    assert!(place.file("t.ascope").metadata().expect("a trace").len() > 4 << 20, "long enough to need a second window");
}

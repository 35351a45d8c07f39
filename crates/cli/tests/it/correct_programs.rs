//! Correct programs stay silent: no finding, and not a byte of output changed, whatever the mode and the compiler.
//!
//! A false accusation is the worst defect there is. The programs in `../programs/correct` use APR, talloc and obstacks as hard
//! as their documentation allows, and memcheck has nothing to say about them; the packages are run as Debian ships them.

use crate::harness::{Place, accused, programs, root};
use std::path::{Path, PathBuf};
use std::process::Command;

const BUILDS: [(&str, &str); 4] = [("gcc", "-O0"), ("gcc", "-O2"), ("clang", "-O0"), ("clang", "-O2")];

fn build(place: &Place, compiler: &str, level: &str, source: &str, flags: &[&str]) -> PathBuf {
    let source = programs().join("correct").join(source);
    let program = place.file(&source.file_stem().expect("a source has a name").to_string_lossy());
    let mut command = Command::new(compiler);
    command.args(["-g", level]).arg(&source).arg("-o").arg(&program).args(flags);
    let said = place.outcome(&mut command);
    assert_eq!(said.status, 0, "{compiler} {source:?}: {said:?}");
    program
}

/// Runs the program with and without us and demands the same outcome and no finding.
fn silent(place: &Place, flags: &[&str], program: &Path, arguments: &[&str], what: &str) {
    let alone = place.plain(program, arguments);
    assert_eq!(alone.status, 0, "{what}: {alone:?}");
    let (watched, screen) = place.watch(&[flags, &["--force", "-o", "t.ascope"]].concat(), program, arguments);
    assert_eq!(watched, alone, "{what} {flags:?}");
    let json = place.findings(&place.file("t.ascope"));
    assert_eq!(accused(&json).len(), 0, "{what} {flags:?}: {json:#}\n{screen}");
}

fn profile(name: &str) -> String {
    root().join("profiles").join(name).to_string_lossy().into_owned()
}

/// What every program of the corpus is run under.
const MODES: [&[&str]; 2] = [&[], &["--check"]];

#[test]
fn apr_pools() {
    let roles = profile("apr.toml");
    let apr = ["-I/usr/include/apr-1.0", "-lapr-1"];
    for (compiler, level) in BUILDS {
        let place = Place::new();
        let program = build(&place, compiler, level, "apr_pools.c", &apr);
        for mode in MODES {
            let flags = [mode, &["--profile", &roles]].concat();
            silent(&place, &flags, &program, &[], &format!("apr_pools {compiler} {level}"));
        }
    }
}

#[test]
fn talloc_trees() {
    let roles = profile("talloc.toml");
    for (compiler, level) in BUILDS {
        let place = Place::new();
        let program = build(&place, compiler, level, "talloc_tree.c", &["-ltalloc"]);
        for mode in MODES {
            let flags = [mode, &["--profile", &roles]].concat();
            silent(&place, &flags, &program, &[], &format!("talloc_tree {compiler} {level}"));
        }
    }
}

#[test]
fn obstacks() {
    let roles = [
        "--alloc",
        "take(arena, size) -> block",
        "--alloc",
        "keep(arena, _, size) -> block",
        "--rewind",
        "back_to(arena, mark)",
    ];
    for (compiler, level) in BUILDS {
        let place = Place::new();
        let program = build(&place, compiler, level, "obstack_words.c", &[]);
        for mode in MODES {
            silent(&place, &[mode, &roles].concat(), &program, &[], &format!("obstack_words {compiler} {level}"));
        }
    }
}

/// Everything that `styles.c` has; its copying functions are allocators of their own here.
pub const STYLES: [&str; 30] = [
    "--alloc",
    "arena_alloc(arena, size) -> block",
    "--alloc",
    "arena_memdup(arena, _, size) -> block",
    "--alloc",
    "arena_strndup(arena, _, size) -> block",
    "--mark",
    "arena_mark(arena) -> mark",
    "--rewind",
    "arena_rewind(arena, mark)",
    "--reset",
    "arena_reset(arena)",
    "--create",
    "region_create(size) -> arena",
    "--alloc",
    "region_alloc(arena, size) -> block",
    "--destroy",
    "region_destroy(arena)",
    "--alloc",
    "guarded_alloc(arena, size) -> block",
    "--reset",
    "guarded_reset(arena)",
    "--alloc",
    "scratch_alloc(arena, size) -> block",
    "--alloc",
    "shared_new(arena, size) -> block",
    "--free",
    "shared_unref(arena, block)",
    "--alloc",
    "class_alloc(arena, size) -> block",
];

#[test]
fn unusual_styles() {
    for (compiler, level) in BUILDS {
        let place = Place::new();
        let program = build(&place, compiler, level, "styles.c", &[]);
        for mode in MODES {
            silent(&place, &[mode, &STYLES].concat(), &program, &[], &format!("styles {compiler} {level}"));
        }
    }
}

/// The last element of a list is all zeros, and nobody needs its address. Check mode puts a redzone between elements, so without it.
#[test]
fn a_list_that_ends_with_zeros() {
    for (compiler, level) in BUILDS {
        let place = Place::new();
        let program = build(&place, compiler, level, "terminated_list.c", &[]);
        silent(&place, &[], &program, &[], &format!("terminated_list {compiler} {level}"));
    }
}

/// Roles that see every block of the C library's allocator: the most demanding arena there is.
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

fn package(name: &str) -> PathBuf {
    let places = ["/usr/bin", "/usr/sbin"].map(|folder| Path::new(folder).join(name));
    let found = places.iter().find(|path| path.is_file());
    found
        .unwrap_or_else(|| panic!("{name} is needed for this test: apt-get install it, or run cargo xtask test"))
        .clone()
}

#[test]
fn packages_of_debian_with_malloc_watched() {
    let place = Place::new();
    std::fs::write(place.file("t.c"), "int main(void) { return 0; }\n").expect("a file in our folder");
    let script = "import json; print(sum(len(json.dumps({'k%d' % i: list(range(i))})) for i in range(300)))";
    let sql = "create table t(a,b); insert into t values(1,2),(3,4); select sum(a*b) from t;";
    let runs: [(&str, &[&str]); 6] = [
        ("git", &["--version"]),
        ("sqlite3", &[":memory:", sql]),
        ("svn", &["--version", "--quiet"]),
        ("nginx", &["-v"]),
        ("python3", &["-c", script]),
        ("gcc", &["-c", "-O1", "t.c", "-o", "t.o"]),
    ];
    for (name, arguments) in runs {
        silent(&place, &MALLOC, &package(name), arguments, name);
    }
}

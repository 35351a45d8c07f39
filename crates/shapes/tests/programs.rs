//! Small programs, compiled here by gcc and clang, with and without optimisation: which roles are found in each.
//!
//! The expected roles stand in the tables below and do not depend on compiler or optimisation, as long as functions are
//! not inlined; with plain -O2 nothing wrong may be said, and what is invisible must be named.

use arenascope_shapes::{Candidates, find};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Program and the roles it must show, in order of role and name.
const ARENAS: &[(&str, &[&str])] = &[
    (
        "bump_on_mmap.c",
        &[
            "create arena_init(arena, size) -> _",
            "alloc arena_alloc(arena, size) -> block",
            "destroy arena_free(arena) -> _",
        ],
    ),
    (
        "four_pointers.c",
        &[
            "create r_open(arena, name, size) -> _",
            "alloc r_alloc(arena, size) -> block",
            "destroy r_close(arena) -> _",
        ],
    ),
    ("chunked_on_malloc.c", &["alloc c_get(arena, size) -> block", "destroy c_drop(arena) -> _"]),
    (
        "mark_release.c",
        &[
            "create m_make(size) -> arena",
            "alloc m_alloc(arena, size) -> block",
            "mark m_mark(arena) -> mark",
            "rewind m_release(arena, mark) -> _",
            "destroy m_destroy(arena) -> _",
        ],
    ),
    (
        "free_list.c",
        &[
            "create f_new(size) -> arena",
            "alloc f_alloc(arena, size) -> block",
            "free f_free(arena, block) -> _",
            "destroy f_del(arena) -> _",
        ],
    ),
    ("in_a_global.c", &["alloc take(arena, size) -> block"]),
    ("shared_memory.c", &["alloc s_alloc(arena, size) -> block"]),
    (
        "class_arena.cpp",
        &[
            "create mem::Arena::Arena(arena, size) -> _",
            "alloc mem::Arena::alloc(arena, size) -> block",
            "reset mem::Arena::reset(arena) -> _",
            "destroy mem::Arena::~Arena(arena) -> _",
        ],
    ),
    (
        "global_bump.c",
        &[
            "alloc bump(size) -> block",
            "mark bump_save() -> mark",
            "rewind bump_restore(mark) -> _",
            "reset bump_reset() -> _",
        ],
    ),
    (
        "rich_arena.c",
        &[
            "alloc arena_alloc(arena, size) -> block",
            "resize arena_realloc(arena, block, _, size) -> block",
            "reset arena_reset(arena) -> _",
            "destroy arena_free(arena) -> _",
        ],
    ),
    (
        "inline_storage.c",
        &[
            "create scratch_init(arena) -> _",
            "alloc out_alloc(arena, size, *block) -> _",
            "alloc scratch_alloc_aligned(arena, size, align) -> block",
        ],
    ),
    ("position_of_two_words.c", &["alloc parts_alloc(arena, size) -> block"]),
    (
        "unusual.c",
        &[
            "create down_init(arena, size) -> _",
            "create h_create(size) -> arena",
            "create heap_init(arena, _, size) -> _",
            "create rem_setup(arena, size) -> _",
            "alloc bump_push(arena, size) -> block",
            "alloc common_alloc(size) -> block",
            "alloc down_alloc(arena, size) -> block",
            "alloc h_alloc(arena, size) -> block",
            "alloc heap_alloc(arena, size) -> block",
            "alloc many_alloc(arena, size) -> block",
            "alloc rem_take(arena, size) -> block",
            "free heap_free(arena, block) -> _",
            "mark bump_begin(arena, *mark) -> _",
            "rewind bump_end(arena, *mark) -> _",
            "reset rem_clear(arena) -> _",
            "destroy down_destroy(arena) -> _",
            "destroy h_free(arena) -> _",
            "destroy many_free(arena) -> _",
        ],
    ),
    ("constant_size.c", &["alloc cell_alloc(arena, size) -> block"]),
];

/// Programs without an arena.
const NONE: &[&str] = &["none_containers.c", "none_cxx.cpp"];

fn compile(directory: &Path, program: &str, clang: bool, flags: &[&str]) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs").join(program);
    let compiler = match (program.ends_with(".cpp"), clang) {
        (true, true) => "clang++",
        (true, false) => "g++",
        (false, true) => "clang",
        (false, false) => "gcc",
    };
    let out = directory.join("program");
    let status = Command::new(compiler)
        .args(["-g", "-w"])
        .args(flags)
        .arg(&source)
        .arg("-o")
        .arg(&out)
        .status()
        .unwrap_or_else(|error| panic!("these tests need {compiler}: {error}"));
    assert!(status.success(), "{compiler} {flags:?} {program}");
    out
}

fn search(program: &str, clang: bool, flags: &[&str]) -> Candidates {
    let directory = tempfile::tempdir().expect("a directory for the program");
    let path = compile(directory.path(), program, clang, flags);
    find(&std::fs::read(path).expect("the program"), None).expect("an ELF file")
}

/// The roles of one reading, one a line.
fn roles(found: &Candidates, reading: usize) -> Vec<String> {
    let Some(reading) = found.readings.get(reading) else { return Vec::new() };
    reading
        .decls
        .iter()
        .map(|d| {
            let arguments: Vec<&str> = d.arguments.iter().map(|a| a.word()).collect();
            format!("{} {}({}) -> {}", d.role.word(), d.function, arguments.join(", "), d.result.word())
        })
        .collect()
}

fn expect_everywhere(clang: bool, flags: &[&str]) {
    for (program, expected) in ARENAS {
        let found = search(program, clang, flags);
        assert_eq!(roles(&found, 0), *expected, "{program} clang={clang} {flags:?}\n{found:#?}");
        assert_eq!(found.readings.len(), 1, "{program}: one reading");
    }
    for program in NONE {
        let found = search(program, clang, flags);
        assert!(found.readings.is_empty(), "{program} clang={clang} {flags:?} has no arena\n{:?}", roles(&found, 0));
        assert!(!found.notes.is_empty(), "{program}: the absence is explained");
    }
}

#[test]
fn gcc_without_optimisation() {
    expect_everywhere(false, &["-O0"]);
}

#[test]
fn clang_without_optimisation() {
    expect_everywhere(true, &["-O0"]);
}

#[test]
fn gcc_optimised_but_not_inlined() {
    expect_everywhere(false, &["-O2", "-fno-inline"]);
}

#[test]
fn clang_optimised_but_not_inlined() {
    expect_everywhere(true, &["-O2", "-fno-inline"]);
}

#[test]
fn fixed_addresses_and_old_debug_formats() {
    expect_everywhere(false, &["-O1", "-fno-inline", "-no-pie", "-gdwarf-4", "-fcf-protection=full"]);
}

#[test]
fn shared_libraries() {
    expect_everywhere(false, &["-O2", "-fno-inline", "-fPIC", "-shared"]);
    expect_everywhere(true, &["-O0", "-fPIC", "-shared", "-fno-plt"]);
}

/// With inlining, nothing false is said; and where nothing is left to watch, the sentence names the function.
#[test]
fn inlined_functions_are_named_and_never_guessed() {
    for clang in [false, true] {
        for level in ["-O2", "-Os"] {
            for (program, expected) in ARENAS {
                let found = search(program, clang, &[level]);
                for role in roles(&found, 0) {
                    // Whoever holds an inlined copy of an alloc is one, and what it takes is the arena.
                    let holds_copy = role == "alloc scratch_alloc(arena, size) -> block" || role.contains(" outer_");
                    assert!(
                        expected.contains(&role.as_str()) || holds_copy,
                        "{program} clang={clang} {level}: {role}\n{found:#?}"
                    );
                }
                let alloc =
                    expected.iter().find_map(|role| role.strip_prefix("alloc ")).and_then(|r| r.split('(').next());
                let named =
                    found.notes.iter().any(|note| note.contains(alloc.unwrap_or("?")) && note.contains("inlined"));
                assert!(
                    !found.readings.is_empty() || named,
                    "{program} clang={clang} {level}: neither found nor named\n{found:#?}"
                );
            }
            for program in NONE {
                let found = search(program, clang, &[level]);
                assert!(
                    found.readings.is_empty(),
                    "{program} clang={clang} {level} has no arena\n{:?}",
                    roles(&found, 0)
                );
            }
        }
    }
}

#[test]
fn static_program() {
    let found = search("bump_on_mmap.c", false, &["-O0", "-static"]);
    assert_eq!(roles(&found, 0), ARENAS[0].1, "{:?}", found.notes);
}

#[test]
fn compressed_debug_information() {
    let found = search("four_pointers.c", false, &["-O0", "-gz"]);
    assert_eq!(roles(&found, 0), ARENAS[1].1, "{:?}", found.notes);
}

#[test]
fn separate_debug_file_of_a_stripped_program() {
    let directory = tempfile::tempdir().expect("a directory for the program");
    let program = compile(directory.path(), "free_list.c", false, &["-O2", "-fno-inline"]);
    let debug = directory.path().join("program.debug");
    let run = |arguments: &[&std::ffi::OsStr]| {
        let status = Command::new("objcopy").args(arguments).status().expect("these tests need objcopy");
        assert!(status.success(), "objcopy {arguments:?}");
    };
    run(&["--only-keep-debug".as_ref(), program.as_os_str(), debug.as_os_str()]);
    run(&["--strip-all".as_ref(), program.as_os_str()]);
    let elf = std::fs::read(program).expect("the program");
    let debug = std::fs::read(debug).expect("the debug file");
    let without = find(&elf, None).expect("an ELF file");
    assert!(without.readings.is_empty());
    assert!(without.notes.iter().any(|note| note.contains("-g")), "{:?}", without.notes);
    let with = find(&elf, Some(&debug)).expect("an ELF file");
    assert_eq!(roles(&with, 0), ARENAS[4].1, "{:?}", with.notes);
}

#[test]
fn wrappers_dumps_and_questions_are_listed_with_the_reason() {
    let found = search("chunked_on_malloc.c", false, &["-O0"]);
    let why = |name: &str| {
        found.readings[0]
            .explain
            .iter()
            .find(|s| s.decl.function == name && !s.chosen)
            .unwrap_or_else(|| panic!("{name} is listed"))
            .because
            .join("; ")
    };
    assert!(why("build").contains("no field that the result comes from moves on") || why("build").contains("wrapper"));
    assert!(why("c_strdup").contains("wrapper: what it returns is what c_get returned"));
    let found = search("bump_on_mmap.c", true, &["-O0"]);
    let dump = found.readings[0].explain.iter().find(|s| s.decl.function == "arena_dump").expect("listed");
    assert!(!dump.chosen && dump.because.join("; ").contains("changes no field that alloc uses, and frees nothing"));
    let used = found.readings[0].explain.iter().find(|s| s.decl.function == "arena_used").expect("listed");
    assert!(!used.chosen && used.because.join("; ").contains("no function goes back"));
}

#[test]
fn two_readings_where_the_code_fits_both() {
    for clang in [false, true] {
        for flags in [&["-O0"][..], &["-O2", "-fno-inline"][..]] {
            let found = search("either_way.c", clang, flags);
            assert_eq!(found.readings.len(), 2, "{found:#?}");
            assert!(
                roles(&found, 0).contains(&"rewind pile_remove(arena, mark) -> _".to_string()),
                "{:?}",
                roles(&found, 0)
            );
            assert!(
                roles(&found, 1).contains(&"free pile_remove(arena, block) -> _".to_string()),
                "{:?}",
                roles(&found, 1)
            );
            assert!(roles(&found, 0).contains(&"alloc pile_add(arena, size) -> block".to_string()));
        }
    }
}

#[test]
fn a_position_that_no_role_can_carry_is_a_note() {
    let found = search("position_of_two_words.c", false, &["-O0"]);
    assert!(
        found.notes.iter().any(|note| note.contains("parts_restore") && note.contains("two words")),
        "{:?}",
        found.notes
    );
}

#[test]
fn what_comes_nearest_is_named_with_its_role_and_the_reason_against_it() {
    let found = search("grown_by_realloc.c", false, &["-O0"]);
    assert!(found.readings.is_empty());
    let [note] = found.notes.as_slice() else { panic!("{:?}", found.notes) };
    assert!(note.starts_with("arena_alloc looks like"), "{note}");
    assert!(note.contains("but it reallocates what it handed out before"), "{note}");
    assert!(note.contains("--alloc 'arena_alloc(arena, size) -> block'"), "{note}");
}

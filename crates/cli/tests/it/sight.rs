//! What is seen of 09b when it is optimised, stripped or static: written down in goldens, screen by screen.
//!
//! A golden is the screen with addresses, pids and paths replaced. `ARENASCOPE_BLESS=1 cargo test` writes those that are not there;
//! a changed one must be deleted by hand first, so that nobody changes one without looking.

use crate::harness::{Place, accused, lab, without_addresses};
use std::path::{Path, PathBuf};

const BUILDS: &[(&str, &str, &[&str])] = &[
    ("gcc-O0", "gcc", &["-O0"]),
    ("gcc-O2", "gcc", &["-O2"]),
    ("clang-O0", "clang", &["-O0"]),
    ("clang-O2", "clang", &["-O2"]),
    ("gcc-O0-stripped", "gcc", &["-O0", "-s"]),
    ("gcc-O2-stripped", "gcc", &["-O2", "-s"]),
    ("gcc-O0-static", "gcc", &["-O0", "-static"]),
    ("gcc-O2-static-stripped", "gcc", &["-O2", "-static", "-s"]),
];

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens").join(format!("09b-{name}.txt"))
}

/// Digits of the pid in `NAME.PID.ascope`, addresses, build ids and the folder are different in every run.
fn normalised(screen: &str, place: &Place) -> String {
    let screen = screen.replace(&place.path().to_string_lossy().into_owned(), "FOLDER");
    let root = crate::harness::root();
    let screen = screen.replace(&root.to_string_lossy().into_owned(), "ROOT");
    let mut out = String::new();
    for line in without_addresses(&screen).lines() {
        let words: Vec<String> = line
            .split(' ')
            .map(|word| match word.split_once(".ascope") {
                Some((before, after)) => match before.rsplit_once('.') {
                    Some((name, pid)) if pid.chars().all(|c| c.is_ascii_digit()) => format!("{name}.PID.ascope{after}"),
                    _ => word.to_owned(),
                },
                // Debug information knows the folder, and the build id hashes it.
                None => match word.split_once(".build-id/") {
                    Some((before, _)) => format!("{before}.build-id/ID"),
                    None => word.to_owned(),
                },
            })
            .collect();
        out.push_str(words.join(" ").trim_end());
        out.push('\n');
    }
    out
}

#[test]
fn every_build_of_09b_shows_what_its_golden_says() {
    let mut wrong = Vec::new();
    for (name, compiler, flags) in BUILDS {
        let place = Place::new();
        let source = lab("09b_arena_scope_leak_tracer.c");
        let program = place.compile(compiler, &source.to_string_lossy(), flags);
        let (outcome, screen) = place.watch(&[], &program, &[]);
        assert_eq!(outcome.status, 0, "{name}: {outcome:?}\n{screen}");
        assert!(outcome.stdout.ends_with("🧹 Arena memory freed\n"), "{name}: {outcome:?}");
        assert!(!screen.trim().is_empty(), "{name}: silence");
        // No wrong claim, whatever is seen: at most the one block that is really thrown away.
        if let [trace] = place.traces().as_slice() {
            let found = accused(&place.findings(trace));
            assert!(found.len() <= 1, "{name}: {found:?}");
            assert!(
                found.iter().all(|f| f["rule"] == "never-stored" && f["block"]["offset"] == 64),
                "{name}: {found:?}"
            );
        }
        let seen = normalised(&screen, &place);
        let path = golden(name);
        if !path.exists() && std::env::var_os("ARENASCOPE_BLESS").is_some() {
            std::fs::create_dir_all(path.parent().expect("goldens have a folder")).expect("the folder of goldens");
            std::fs::write(&path, &seen).expect("a golden can be written");
        }
        let wanted = std::fs::read_to_string(&path).unwrap_or_default();
        if wanted != seen {
            wrong.push(format!("{}\n--- golden\n{wanted}\n--- seen\n{seen}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_cannot_be_seen_says_what_to_do() {
    let rows: &[(&[&str], &[&str])] = &[
        (&["-O0", "-s"], &["--alloc", "-g"]),
        (&["-O0", "-static"], &["static"]),
        (&["-O2", "-static", "-s"], &["static"]),
    ];
    for (flags, words) in rows {
        let place = Place::new();
        let source = lab("09b_arena_scope_leak_tracer.c");
        let program = place.cc(&source.to_string_lossy(), flags);
        let (_, screen) = place.watch(&[], &program, &[]);
        assert!(words.iter().any(|word| screen.contains(word)), "{flags:?}: none of {words:?} in\n{screen}");
    }
}

/// Debug information of a library that has no function of this name says nothing about the program's own.
#[test]
fn a_copy_that_a_library_inlined_is_not_the_function_that_is_watched() {
    let place = Place::new();
    let write = |name: &str, text: &str| std::fs::write(place.file(name), text).expect("a file");
    write(
        "lib.c",
        "static inline void *bump_alloc(char **b, long n) { char *p = *b; *b += n; return p; }\n\
         static char room[256], *at = room;\n\
         void *lib_get(void) { return bump_alloc(&at, 8); }\n\
         void *lib_more(void) { return bump_alloc(&at, 16); }\n",
    );
    write("bump.h", &std::fs::read_to_string(crate::harness::programs().join("bump.h")).expect("bump.h"));
    write(
        "main.c",
        "#include \"bump.h\"\n\
         void *lib_get(void);\n\
         int main(void) { struct bump b; char *p; if (bump_init(&b, 4096)) return 1;\n\
         p = bump_alloc(&b, 64); return p && lib_get() ? 0 : 2; }\n",
    );
    let script = "gcc -g -O2 -fPIC -shared -o libx.so lib.c && gcc -g -o main main.c ./libx.so";
    let built = place.outcome(std::process::Command::new("sh").args(["-c", script]));
    assert_eq!(built.status, 0, "{built:?}");
    let (outcome, screen) = place.watch(&["--alloc", "bump_alloc(arena, size) -> block"], &place.file("main"), &[]);
    assert_eq!(outcome.status, 0, "{outcome:?}\n{screen}");
    assert!(screen.contains("1 block") && !screen.contains("inlined"), "{screen}");
}

/// `malloc` and `free` as the only roles: one global arena, whose memory comes and goes.
#[test]
fn the_c_library_s_own_allocator_has_no_share_and_no_end() {
    let place = Place::new();
    let source = "#include <stdlib.h>\n#include <string.h>\n\
        int main(void) { char *big[4], *kept;\n\
        for (int i = 0; i < 4; i++) { big[i] = malloc(1 << 20); if (!big[i]) return 1; memset(big[i], 1, 64); }\n\
        for (int i = 0; i < 4; i++) free(big[i]);\n\
        kept = malloc(1 << 20); return kept == NULL; }\n";
    std::fs::write(place.file("big.c"), source).expect("a file");
    let program = place.cc(&place.file("big.c").to_string_lossy(), &[]);
    let roles = ["--alloc", "malloc(size) -> block", "--free", "free(block)", "-o", "t.ascope"];
    let (outcome, screen) = place.watch(&roles, &program, &[]);
    assert_eq!(outcome.status, 0, "{outcome:?}\n{screen}");
    let heading = screen.lines().find(|line| line.starts_with("arena 1")).unwrap_or_default();
    assert!(heading.contains("5 blocks   4 freed") && heading.contains("peak 4 MiB"), "{screen}");
    assert!(!heading.contains('%'), "{screen}");
    assert_eq!(crate::harness::noted(&place.findings(&place.file("t.ascope"))).len(), 0, "{screen}");
    for (name, flags) in [("ls", &["/"][..]), ("git", &["--version"]), ("python3", &["-c", "print(1)"])] {
        let found = ["/usr/bin", "/bin"].iter().map(|folder| Path::new(folder).join(name)).find(|path| path.exists());
        let Some(found) = found else { continue };
        let roles = ["--alloc", "malloc(size) -> block", "--free", "free(block)", "--force", "-o", "d.ascope"];
        let (_, screen) = place.watch(&roles, &found, flags);
        assert!(screen.contains("watched  malloc, free\n\narena 1 \"malloc\""), "{name}: {screen}");
        let mut headings = screen.lines().filter(|line| line.starts_with("arena "));
        assert!(headings.all(|line| !line.contains('%')), "{name}: {screen}");
        assert!(screen.contains("0 findings, 0 notes"), "{name}: {screen}");
    }
}

#[test]
fn a_pattern_that_means_no_arena_says_which_there_are() {
    let place = Place::new();
    let source = lab("09b_arena_scope_leak_tracer.c");
    let said = place.arenascope(&["run".as_ref(), "--only".as_ref(), "zzz".as_ref(), source.as_os_str()]);
    assert_eq!(said.status, 0, "{said:?}");
    assert!(
        said.stderr.contains("no arena of this number or name; 1 arena was seen:\n  arena 1 \"arena\""),
        "{said:?}"
    );
    assert!(!said.stderr.contains("was called"), "{said:?}");
}

/// Where there is no function to watch, another name would not help: what helps is another build.
#[test]
fn what_was_inlined_everywhere_says_how_to_build_it() {
    let place = Place::new();
    let source = lab("09b_arena_scope_leak_tracer.c");
    let program = place.compile("clang", &source.to_string_lossy(), &["-O2"]);
    let (_, screen) = place.watch(&[], &program, &[]);
    assert!(screen.contains("to see it: compile it with -fno-inline") && !screen.contains("my_alloc"), "{screen}");
    let all = ["--force", "-o", "t.ascope", "--alloc", "arena_alloc(arena, size) -> block"];
    let (_, screen) = place.watch(&all, &program, &[]);
    assert!(!screen.contains("my_alloc") && screen.contains("inlined"), "{screen}");
    // A program that we compiled: the very command.
    let script = "CC=clang \"$0\" run --cflags -O2 \"$1\"";
    let run = |script: &str| {
        let mut shell = std::process::Command::new("sh");
        place.outcome(shell.args(["-c", script, env!("CARGO_BIN_EXE_arenascope")]).arg(&source))
    };
    let said = run(script).stderr;
    let Some((_, command)) = said.split_once("to see it: ") else { panic!("{said}") };
    let command = command.lines().next().unwrap_or_default().replacen("arenascope", "\"$0\"", 1);
    let again = run(&format!("CC=clang {command}")).stderr;
    assert!(again.contains("4 blocks") && again.contains("peak 128 B"), "{command}: {again}");
}

/// Programs that run others: what may be hidden is said.
#[test]
fn what_a_program_starts_may_be_hidden_and_that_is_said() {
    let place = Place::new();
    let program = place.cc("limits.c", &["-static"]);
    let (_, screen) = place.watch(&[], Path::new("/bin/sh"), &["-c", &program.to_string_lossy()]);
    assert!(screen.contains("not seen when it is static or setuid"), "{screen}");
    assert!(screen.contains("--late --alloc 'my_alloc(arena, size) -> block' -- /bin/sh -c "), "{screen}");
    // Stands for the real one, which need not be installed.
    let valgrind = place.file("valgrind");
    std::fs::write(&valgrind, "#!/bin/sh\nexec \"$@\"\n").expect("a file");
    std::fs::set_permissions(&valgrind, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("chmod");
    let (_, screen) = place.watch(&[], &valgrind, &[&program.to_string_lossy()]);
    assert!(screen.contains("valgrind interprets the program") && !screen.contains("my_alloc"), "{screen}");
}

/// A shell in between, with functions that only the program has.
#[test]
fn late_roles_reach_through_a_shell() {
    let place = Place::new();
    let program = place.cc("limits.c", &[]);
    let roles = ["--late", "--alloc", "bump_alloc(arena, size) -> block"];
    let script = format!("{}; true", program.display());
    let (outcome, screen) = place.watch(&roles, Path::new("/bin/sh"), &["-c", &script]);
    assert_eq!(outcome.status, 0, "{outcome:?}\n{screen}");
    assert!(screen.contains("watched  bump_alloc\n") && screen.contains("trace limits."), "{screen}");
    assert_eq!(place.traces().len(), 1, "the shell leaves none");
}

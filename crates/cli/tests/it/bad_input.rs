//! Bad input: what, where, what to try; the right exit status; and the program not started.

use crate::harness::{Outcome, Place, count, lab, programs};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Status, and texts that stderr must hold; the program did not run, so stdout is empty.
fn refused(outcome: &Outcome, status: i32, texts: &[&str]) {
    assert_eq!(outcome.status, status, "{outcome:?}");
    for text in texts {
        assert!(outcome.stderr.contains(text), "{text:?} is not in {outcome:?}");
    }
    assert_eq!(outcome.stdout, "", "{outcome:?}");
    assert!(!outcome.stderr.contains("panicked"), "{outcome:?}");
}

#[test]
fn a_program_that_is_not_there() {
    let place = Place::new();
    for name in ["./no-such-program", "no-such-program-anywhere", "/no/such/folder/program"] {
        refused(&place.arenascope(&["run", "--", name]), 127, &[name]);
    }
    assert_eq!(place.traces().len(), 0, "nothing ran, so there is no trace");
}

#[test]
fn a_program_that_cannot_be_executed() {
    let place = Place::new();
    std::fs::write(place.file("plain.txt"), "words\n").expect("a file");
    std::fs::set_permissions(place.file("plain.txt"), std::fs::Permissions::from_mode(0o644)).expect("chmod");
    refused(&place.arenascope(&["run", "--", "./plain.txt"]), 126, &["plain.txt"]);
    std::fs::create_dir(place.file("folder")).expect("a folder");
    refused(&place.arenascope(&["run", "--", "./folder"]), 126, &["folder", "directory"]);
    assert_eq!(place.traces().len(), 0);
}

#[test]
fn a_program_of_another_architecture() {
    let place = Place::new();
    let program = place.cc("hello.c", &[]);
    let mut bytes = std::fs::read(&program).expect("a program");
    // e_machine, two bytes at 18 (ELF specification, figure 4-3): 183 is AArch64.
    bytes[18..20].copy_from_slice(&183u16.to_le_bytes());
    std::fs::write(&program, bytes).expect("a program for another machine");
    let outcome = place.arenascope(&["run", "--", "./hello"]);
    refused(&outcome, 126, &["hello"]);
    let told = outcome.stderr.to_lowercase();
    assert!(told.contains("aarch64") || told.contains("arm64") || told.contains("architecture"), "{outcome:?}");
}

#[test]
fn a_script_and_broken_programs() {
    let place = Place::new();
    for (name, bytes) in [
        ("empty", &b""[..]),
        ("noise", b"\x7fELF and then noise"),
        ("cut", &std::fs::read(env!("CARGO_BIN_EXE_arenascope")).expect("ourselves")[..200]),
    ] {
        std::fs::write(place.file(name), bytes).expect("a file");
        std::fs::set_permissions(place.file(name), std::fs::Permissions::from_mode(0o755)).expect("chmod");
        let outcome = place.arenascope(&["run", "--", &format!("./{name}")]);
        assert_eq!(outcome.status, 126, "{name}: {outcome:?}");
        assert!(outcome.stderr.contains(name) && !outcome.stderr.contains("panicked"), "{outcome:?}");
    }
    std::fs::write(place.file("script"), "#!/bin/sh\necho from a script\nexit 6\n").expect("a file");
    std::fs::set_permissions(place.file("script"), std::fs::Permissions::from_mode(0o755)).expect("chmod");
    let outcome = place.arenascope(&["run", "--", "./script"]);
    assert_eq!((outcome.status, outcome.stdout.as_str()), (6, "from a script\n"), "{outcome:?}");
}

#[test]
fn a_static_program_runs_unseen_and_we_say_why() {
    let place = Place::new();
    for flags in [["-static", "-O0"], ["-static-pie", "-fPIE"]] {
        let program = place.cc("limits.c", &flags);
        let (outcome, screen) = place.watch(&["--alloc", "bump_alloc(arena, size) -> block"], &program, &[]);
        assert_eq!(outcome, place.plain(&program, &[]), "{screen}");
        assert!(screen.contains("static"), "{screen}");
        assert!(screen.contains("-static") || screen.contains("dynamic"), "what to try: {screen}");
    }
}

#[test]
fn a_c_file_that_does_not_compile() {
    let place = Place::new();
    let source = programs().join("wont_compile.c");
    let outcome = place.arenascope(&["run".as_ref(), source.as_os_str()]);
    refused(&outcome, 2, &["nothing_of_this_name", "wont_compile.c"]);
    refused(&place.arenascope(&["run", "no_such_file.c"]), 2, &["no_such_file.c"]);
    assert_eq!(place.traces().len(), 0);
}

#[test]
fn no_compiler() {
    let place = Place::new();
    let source = lab("09a_arena_scope_local_mmap.c");
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_arenascope"));
    let outcome = place.outcome(command.arg("run").arg(&source).env("PATH", "/nowhere").env_remove("CC"));
    refused(&outcome, 2, &["cc"]);
    assert!(outcome.stderr.contains("install") || outcome.stderr.contains("try"), "{outcome:?}");
}

#[test]
fn cflags_reach_the_compiler() {
    let place = Place::new();
    let source = programs().join("null.c");
    let mended = place.arenascope(&["run".as_ref(), "--cflags".as_ref(), "-DMENDED -O2".as_ref(), source.as_os_str()]);
    assert_eq!(mended.status, 0, "{mended:?}");
    let wrong = place.arenascope(&["run".as_ref(), "--cflags".as_ref(), "--no-such-flag".as_ref(), source.as_os_str()]);
    refused(&wrong, 2, &["no-such-flag"]);
}

#[test]
fn arguments_after_dashes_reach_the_compiled_program() {
    let place = Place::new();
    let source = programs().join("exit_status.c");
    let outcome = place.arenascope(&["run".as_ref(), source.as_os_str(), "--".as_ref(), "7".as_ref(), "exit".as_ref()]);
    assert_eq!((outcome.status, outcome.stdout.as_str()), (7, "exit\n"), "{outcome:?}");
}

#[test]
fn a_role_that_names_a_missing_function() {
    let place = Place::new();
    let program = place.cc("limits.c", &[]);
    let program = program.to_string_lossy();
    let outcome = place.arenascope(&["run", "--alloc", "bump_aloc(arena, size) -> block", "--", &program]);
    refused(&outcome, 2, &["bump_aloc", "bump_alloc"]);
    assert_eq!(place.traces().len(), 0);
}

#[test]
fn a_role_with_a_typo_points_at_the_column() {
    let place = Place::new();
    let program = place.cc("limits.c", &[]);
    let program = program.to_string_lossy();
    for (flag, text, wrong) in [
        ("--alloc", "bump_alloc(arena, sise) -> block", "sise"),
        ("--alloc", "bump_alloc(arena, size) -> blok", "blok"),
        ("--alloc", "bump_alloc(arena, size -> block", "size"),
        ("--role", "aloc:bump_alloc(arena, size) -> block", "aloc"),
        ("--alloc", "bump_alloc", "bump_alloc"),
        ("--alloc", "", ""),
    ] {
        let outcome = place.arenascope(&["run", flag, text, "--", &program]);
        refused(&outcome, 2, &[wrong, "^"]);
    }
}

#[test]
fn a_profile_that_is_wrong_or_not_there() {
    let place = Place::new();
    let program = place.cc("limits.c", &[]);
    let program = program.to_string_lossy();
    refused(&place.arenascope(&["run", "--profile", "none.toml", "--", &program]), 2, &["none.toml"]);
    for text in
        ["roles = [", "[profile]\nname = \"x\"\nroles = [\"alloc: f(arena, sise) -> block\"]\n", "nonsense = 1\n"]
    {
        std::fs::write(place.file("wrong.toml"), text).expect("a file");
        refused(&place.arenascope(&["run", "--profile", "wrong.toml", "--", &program]), 2, &["wrong.toml"]);
    }
}

#[test]
fn no_arena_found_tells_how_to_name_one() {
    let place = Place::new();
    for (source, flags) in [("hello.c", &["-O0"][..]), ("limits.c", &["-O2", "-s"]), ("no_arena.c", &["-O0"])] {
        let program = place.cc(source, flags);
        let (outcome, screen) = place.watch(&["--force", "-o", "t.ascope"], &program, &[]);
        assert_eq!(outcome, place.plain(&program, &[]), "{screen}");
        assert!(screen.contains("--alloc"), "{source}: {screen}");
    }
}

#[test]
fn wrong_words_on_the_command_line() {
    let place = Place::new();
    for words in [
        &["run"][..],
        &["run", "--no-such-flag", "--", "/bin/true"],
        &["run", "--watch", "everything", "--", "/bin/true"],
        &["show"],
        &["no-such-verb"],
        &[],
    ] {
        let outcome = place.arenascope(words);
        assert_eq!(outcome.status, 2, "{words:?}: {outcome:?}");
        assert!(!outcome.stderr.is_empty(), "{words:?}");
    }
    for words in [&["--help"][..], &["run", "--help"], &["--version"]] {
        let outcome = place.arenascope(words);
        assert_eq!(outcome.status, 0, "{words:?}: {outcome:?}");
        assert!(!outcome.stdout.is_empty(), "{words:?}");
    }
}

#[test]
fn a_program_s_name_cannot_command_the_terminal() {
    let place = Place::new();
    let outcome = place.arenascope(&["run", "--", "./\u{1b}[31mred"]);
    assert_eq!(outcome.status, 127);
    assert!(!outcome.stderr.contains('\u{1b}'), "{outcome:?}");
}

#[test]
fn the_program_s_path_is_searched_as_a_shell_would() {
    let place = Place::new();
    let program = place.cc("limits.c", &[]);
    let outcome = place.arenascope(&["run", "--", "limits"]);
    assert_eq!(outcome.status, 127, "the current folder is not in PATH: {outcome:?}");
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_arenascope"));
    let folder: &Path = program.parent().expect("a program lies in a folder");
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap_or_default());
    let outcome = place.outcome(command.args(["run", "-o", "t.ascope", "--", "limits"]).env("PATH", path));
    assert_eq!(outcome.status, 0, "{outcome:?}");
    assert_eq!(count(&place.log(&place.file("t.ascope")), "alloc"), 1000);
}

#[test]
fn an_output_that_is_a_folder() {
    let place = Place::new();
    let program = place.cc("hello.c", &[]);
    std::fs::create_dir(place.file("there")).expect("a folder");
    let absolute = place.path().to_string_lossy().into_owned();
    for output in ["there", "there/", "not-there/", ".", &absolute] {
        let mut words = vec!["run".as_ref(), "-o".as_ref(), std::ffi::OsStr::new(output), "--".as_ref()];
        words.push(program.as_os_str());
        let said = place.arenascope(&words);
        assert_eq!((said.status, said.stdout.as_str()), (2, ""), "{output}: {said:?}");
        assert!(said.stderr.contains("names a folder") && said.stderr.contains("try: -o"), "{output}: {said:?}");
        assert!(!place.file("not-there").exists() && place.traces().is_empty());
    }
}

#[test]
fn a_role_that_cannot_be_what_the_function_takes() {
    let place = Place::new();
    let program = place.cc("limits.c", &[]);
    let program = program.to_string_lossy();
    let run = |text: &str| place.arenascope(&["run", "--alloc", text, "--", &program]);
    let swapped = run("bump_alloc(size, arena) -> block");
    refused(&swapped, 2, &["\n             ^\n", "first parameter", "a pointer", "did you mean (arena, size)?"]);
    refused(&run("bump_alloc(arena, size, _) -> block"), 2, &["takes 2 arguments; the role names 3"]);
    assert_eq!(place.traces().len(), 0);
}

#[test]
fn a_profile_s_function_that_is_nowhere_is_told_with_its_line() {
    let place = Place::new();
    let program = place.cc("limits.c", &[]);
    let program = program.to_string_lossy();
    let text =
        "[profile]\nname = \"x\"\nroles = [\n  \"alloc: bump_alloc(arena, size) -> block\",\n  \"reset: zork()\",\n]\n";
    std::fs::write(place.file("x.toml"), text).expect("a profile");
    refused(&place.arenascope(&["run", "--profile", "x.toml", "--", &program]), 2, &["x.toml:5", "zork"]);
    std::fs::write(place.file("y.toml"), b"\xff\xfe\0").expect("a file");
    for (file, why) in [("y.toml", "no text"), (".", "folder"), ("none.toml", "no such file")] {
        refused(&place.arenascope(&["run", "--profile", file, "--", &program]), 2, &[file, why, "try:"]);
    }
}

#[test]
fn a_stripped_program_is_told_to_be_one() {
    let place = Place::new();
    let program = place.cc("limits.c", &["-s"]);
    let (_, screen) = place.watch(&[], &program, &[]);
    for text in ["stripped", "without -s", ".build-id/", ".gnu_debuglink"] {
        assert!(screen.contains(text), "{text}: {screen}");
    }
    assert!(!screen.contains("no debug information: compile with -g"), "{screen}");
    let program = program.to_string_lossy();
    let outcome = place.arenascope(&["run", "--alloc", "bump_alloc(arena, size) -> block", "--", &program]);
    refused(&outcome, 2, &["stripped", "without -s", ".gnu_debuglink"]);
    assert!(!outcome.stderr.contains("`nm"), "nm shows nothing of it: {outcome:?}");
}

#[test]
fn a_log_that_holds_something_is_kept() {
    let place = Place::new();
    let program = place.cc("hello.c", &[]);
    let program = program.to_string_lossy();
    std::fs::write(place.file("notes"), "mine").expect("a file");
    std::fs::write(place.file("empty"), "").expect("a file");
    refused(&place.arenascope(&["run", "--log", "notes", "--", &program]), 2, &["notes", "--force"]);
    assert_eq!(std::fs::read_to_string(place.file("notes")).expect("the file"), "mine");
    for words in [&["run", "--log", "empty", "--", &program][..], &["run", "--log", "notes", "--force", "--", &program]]
    {
        assert_eq!(place.arenascope(words).status, 0, "{words:?}");
    }
    assert!(std::fs::read_to_string(place.file("notes")).expect("the file").contains("no arena"));
}

#[test]
fn a_late_function_that_never_turns_up_is_told() {
    let place = Place::new();
    let program = place.cc("limits.c", &[]);
    let roles = ["--late", "--alloc", "bump_alloc(arena, size) -> block", "--reset", "bump_destory(arena)"];
    let (outcome, screen) = place.watch(&roles, &program, &[]);
    assert_eq!(outcome.status, 0, "{screen}");
    assert!(screen.contains("bump_destory never turned up in what was loaded or executed"), "{screen}");
    assert!(screen.contains("bump_destroy"), "the nearest name: {screen}");
    assert!(!screen.contains("bump_alloc never"), "{screen}");
    let (_, screen) = place.watch(&["--destroy", "bump_destroy(arena)"], &program, &[]);
    assert!(screen.contains("no alloc role was given, blocks are not seen"), "{screen}");
}

#[test]
fn words_of_later_versions_and_moments_that_are_none() {
    let place = Place::new();
    for words in [&["attach"][..], &["view", "t.ascope"]] {
        refused(&place.arenascope(words), 2, &["not in this version", "try:"]);
    }
    for value in ["sample:x", "sample:0", "smaple"] {
        refused(&place.arenascope(&["run", "--mode", value, "a.c"]), 2, &[value]);
    }
    for (words, said) in [
        (&["run", "--guard-pages", "--", "true"][..], "only check mode lays blocks"),
        (&["run", "--mode", "sample:64", "--fail-on", "any", "--", "true"], "none is asked"),
    ] {
        refused(&place.arenascope(words), 2, &[said, "try:"]);
    }
    for moment in ["", "#x", "-1%"] {
        let shown = if moment.is_empty() { "--at ''" } else { moment };
        refused(&place.arenascope(&["show", "t.ascope", "--at", moment]), 2, &[shown, "a moment is"]);
    }
}

//! The program is untouched: stdout, stderr, exit status and signals are byte for byte the same with and without us.

use crate::harness::{Outcome, Place, lab, without_addresses};
use std::path::Path;

/// Source and arguments of every program that prints the same at each run.
const PROGRAMS: &[(&str, &[&str])] = &[
    ("hello.c", &[]),
    ("no_arena.c", &[]),
    ("chunked_pool.c", &[]),
    ("region_mark.c", &[]),
    ("freelist_pages.c", &[]),
    ("freelist_pages_mended.c", &[]),
    ("global_pool.c", &[]),
    ("global_bump.c", &[]),
    ("fork.c", &[]),
    ("sigkill.c", &["1000"]),
    ("null.c", &[]),
    ("null_mended.c", &[]),
    ("threads.c", &[]),
    ("longjmp.c", &[]),
    ("recursion.c", &[]),
    ("signals.c", &[]),
    ("before_main.c", &[]),
    ("vfork_exec.c", &[]),
    ("spawn.c", &[]),
    ("exec_self.c", &[]),
    ("ipa_ra.c", &[]),
    ("short.c", &[]),
    ("env.c", &["one", "two words", ""]),
    ("exit_status.c", &["0"]),
    ("exit_status.c", &["3", "exit"]),
    ("exit_status.c", &["255", "_exit"]),
    ("exit_status.c", &["42", "quick"]),
    ("abort.c", &[]),
    ("abort.c", &["1"]),
    ("abort.c", &["2"]),
    ("abort.c", &["9"]),
    ("abort.c", &["15"]),
    ("abort.c", &["10"]),
    ("abort.c", &["17"]),
    ("abort.c", &["24"]),
    ("own_handler.c", &[]),
    ("limits.c", &[]),
    ("close_all.c", &[]),
    ("stack_args.c", &[]),
    ("aligned.c", &[]),
    ("eight_roles.c", &[]),
    ("out_params.c", &[]),
    ("many.c", &[]),
    ("big_args.c", &[]),
    ("pair.c", &[]),
    ("raw_fork.c", &[]),
    ("stack_overflow.c", &[]),
    ("title.c", &[]),
    ("avx.c", &[]),
];

fn same(place: &Place, flags: &[&str], program: &Path, arguments: &[&str], what: &str) {
    let plain = place.plain(program, arguments);
    let (watched, words) = place.watch(flags, program, arguments);
    assert!(plain == watched, "{what}: plain\n{plain:?}\nwatched\n{watched:?}\nour words\n{words}");
}

/// All programs, with one compiler and its flags; what is found by shape is hooked.
fn all(compiler: &str, compiler_flags: &[&str]) {
    for (source, arguments) in PROGRAMS {
        let place = Place::new();
        let program = place.compile(compiler, source, compiler_flags);
        same(&place, &[], &program, arguments, &format!("{compiler} {compiler_flags:?} {source} {arguments:?}"));
    }
}

#[test]
fn every_program_of_gcc_unoptimised() {
    all("gcc", &["-O0"]);
}

#[test]
fn every_program_of_gcc_optimised() {
    all("gcc", &["-O2"]);
}

#[test]
fn every_program_of_clang_optimised() {
    all("clang", &["-O2"]);
}

#[test]
fn every_program_without_debug_information_or_symbols() {
    all("gcc", &["-O1", "-s"]);
}

#[test]
fn every_way_to_build_one_program() {
    let ways: &[&[&str]] = &[
        &["-no-pie", "-fno-pie"],
        &["-pie", "-fPIE"],
        &["-static"],
        &["-static-pie"],
        &["-fcf-protection=full"],
        &["-fpatchable-function-entry=16,8"],
        &["-fpatchable-function-entry=5"],
        &["-Wl,-z,now", "-Wl,-z,relro"],
        &["-fno-plt"],
        &["-O3", "-fno-inline", "-flto"],
        &["-Os", "-fno-omit-frame-pointer"],
        &["-O2", "-fno-inline", "-fno-ipa-cp"],
        &["-gdwarf-4"],
        &["-gz"],
        &["-ffunction-sections", "-Wl,--gc-sections"],
        &["-fsplit-stack"],
        &["-pg"],
    ];
    for way in ways {
        for source in ["eight_roles.c", "region_mark.c", "ipa_ra.c", "fork.c"] {
            let place = Place::new();
            let program = place.cc(source, way);
            let plain = place.plain(&program, &[]);
            let (watched, words) = place.watch(&[], &program, &[]);
            // Where two readings fit, the user is asked before the program starts: both command lines, status 2.
            let asked = watched.status == 2 && watched.stdout.is_empty() && {
                let said = words.clone() + &watched.stderr;
                said.matches("--alloc").count() >= 2 || said.matches("--role").count() >= 2
            };
            assert!(asked || plain == watched, "{way:?} {source}: plain\n{plain:?}\nwatched\n{watched:?}\n{words}");
        }
    }
}

#[test]
fn with_roles_given_for_functions_that_fork_jump_and_throw() {
    let alloc = "bump_alloc(arena, size) -> block";
    let create = "bump_init(arena, size)";
    let destroy = "bump_destroy(arena)";
    let rows: &[(&str, &[&str])] = &[
        ("fork.c", &[]),
        ("threads.c", &[]),
        ("signals.c", &[]),
        ("before_main.c", &[]),
        ("vfork_exec.c", &[]),
        ("spawn.c", &[]),
        ("exec_self.c", &[]),
        ("own_handler.c", &[]),
        ("close_all.c", &[]),
        ("env.c", &["x"]),
        ("null.c", &[]),
        ("many.c", &[]),
    ];
    for (source, arguments) in rows {
        for flags in [["-O0"], ["-O2"]] {
            let place = Place::new();
            let program = place.cc(source, &flags);
            let roles = ["--create", create, "--alloc", alloc, "--destroy", destroy];
            same(&place, &roles, &program, arguments, &format!("{flags:?} {source}"));
        }
    }
}

#[test]
fn exceptions_pass_through_hooked_functions() {
    for compiler in ["g++", "clang++"] {
        for flags in [["-O0"], ["-O2"]] {
            let place = Place::new();
            let program = place.compile(compiler, "cpp.cpp", &flags);
            same(&place, &[], &program, &[], &format!("{compiler} {flags:?}"));
            let role = ["--alloc", "mem::Arena::alloc(arena, size) -> block"];
            same(&place, &role, &program, &[], &format!("{compiler} {flags:?} with the role given"));
        }
    }
}

#[test]
fn arguments_and_results_of_every_place() {
    let rows: &[(&str, &[&str])] = &[
        (
            "big_args.c",
            &["--alloc", "big_alloc(arena, size, _) -> block", "--alloc", "sum_alloc(arena, size, _) -> block"],
        ),
        (
            "pair.c",
            &[
                "--create",
                "pair_new(size) -> arena",
                "--alloc",
                "pair_alloc(arena, size) -> block",
                "--destroy",
                "pair_free(arena)",
            ],
        ),
        ("avx.c", &["--alloc", "v_alloc(arena, size) -> block"]),
        ("stack_args.c", &["--alloc", "wide_alloc(arena, _, _, _, _, _, _, _, size) -> block"]),
    ];
    for (source, roles) in rows {
        for flags in [&["-O0"][..], &["-O2"], &["-O2", "-s", "-rdynamic"]] {
            let place = Place::new();
            let program = place.cc(source, flags);
            let plain = place.plain(&program, &[]);
            let (watched, words) = place.watch(roles, &program, &[]);
            // Without symbols a role may be refused before the start; then nothing ran.
            let refused = flags.contains(&"-s") && watched.status == 2 && watched.stdout.is_empty();
            assert!(refused || plain == watched, "{flags:?} {source}: {watched:?}\n{words}");
        }
    }
}

#[test]
fn somebody_else_s_preloaded_library_stays() {
    let place = Place::new();
    let plugin = place.cc("plugin.c", &["-shared", "-fPIC"]);
    let program = place.cc("env.c", &[]);
    let log = place.file("our.words");
    let run = |watched: bool| {
        let mut command = std::process::Command::new(if watched {
            env!("CARGO_BIN_EXE_arenascope").as_ref()
        } else {
            program.as_os_str()
        });
        if watched {
            command.args(["run", "--force", "-o", "t.ascope", "--log"]).arg(&log).arg("--").arg(&program);
        }
        place.outcome(command.env("LD_PRELOAD", &plugin))
    };
    let plain = run(false);
    assert!(plain.stdout.contains("LD_PRELOAD is set"), "{plain:?}");
    assert_eq!(plain, run(true));
}

#[test]
fn a_library_that_comes_and_goes() {
    for flags in [&[][..], &["--late", "--alloc", "bump_alloc(arena, size) -> block"]] {
        let place = Place::new();
        let plugin = place.cc("plugin.c", &["-shared", "-fPIC"]);
        let program = place.cc("dlopen.c", &[]);
        same(&place, flags, &program, &[&plugin.to_string_lossy()], &format!("{flags:?}"));
    }
}

#[test]
fn the_labs_but_for_their_addresses() {
    for (name, flags) in [("09a_arena_scope_local_mmap", "-O0"), ("09b_arena_scope_leak_tracer", "-O2")] {
        let place = Place::new();
        let source = lab(&format!("{name}.c"));
        let program = place.cc(&source.to_string_lossy(), &[flags]);
        let hide = |outcome: Outcome| Outcome { stdout: without_addresses(&outcome.stdout), ..outcome };
        let plain = hide(place.plain(&program, &[]));
        let (watched, words) = place.watch(&[], &program, &[]);
        assert_eq!(plain, hide(watched), "{words}");
    }
}

#[test]
fn packaged_programs() {
    let rows: &[(&str, &[&str])] = &[
        ("/usr/bin/svn", &["--version", "--quiet"]),
        ("/bin/ls", &["/usr"]),
        ("/bin/sh", &["-c", "echo one; (echo two; exit 3); echo $?; kill -TERM $$"]),
        ("/bin/echo", &["a", "b"]),
        ("/usr/bin/env", &["-i", "A=b", "/usr/bin/env"]),
    ];
    for (program, arguments) in rows {
        let place = Place::new();
        same(&place, &[], Path::new(program), arguments, program);
    }
    let place = Place::new();
    let profile = crate::harness::root().join("profiles/apr.toml");
    let profile = profile.to_string_lossy();
    same(&place, &["--profile", &profile], Path::new("/usr/bin/svn"), &["help", "info"], "svn with the profile of APR");
}

#[test]
fn our_own_mode_off_is_the_plain_program() {
    let place = Place::new();
    let program = place.cc("fork.c", &[]);
    same(&place, &["--mode", "off"], &program, &[], "--mode off");
}

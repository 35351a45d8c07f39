//! The C programs of `tests/c`, with every compiler, both libraries, the sanitizers and Valgrind.
//!
//! Deliberately absent: ThreadSanitizer. It does not see our system calls, and takes memory that one thread gave back and
//! another was given for a race.

use crate::installed::{COMPILERS, Compiler, Library, c_folder, compile, run, said, scratch};
use std::process::Command;

/// Any error, and any leak but what is still reachable, is an end with status 9.
const MEMCHECK: &[&str] =
    &["--quiet", "--error-exitcode=9", "--leak-check=full", "--errors-for-leak-kinds=definite,indirect,possible"];

#[test]
fn the_promises_hold_with_every_compiler_and_both_libraries() {
    let source = c_folder().join("behaviour.c");
    for (number, compiler) in COMPILERS.iter().enumerate() {
        let library = if number % 2 == 0 { Library::Archive } else { Library::Shared };
        let program = compile(*compiler, &source, library, &[], "behaviour");
        assert_eq!(said(&run(&mut Command::new(program))), "all kept\n");
    }
}

#[test]
fn the_promises_hold_under_the_sanitizers() {
    let source = c_folder().join("behaviour.c");
    let sanitize = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"];
    let program = compile(Compiler(&["gcc", "-std=c11", "-O1"]), &source, Library::Archive, &sanitize, "sanitized");
    assert_eq!(said(&run(&mut Command::new(program))), "all kept\n");
}

#[test]
fn the_promises_hold_under_memcheck() {
    let source = c_folder().join("behaviour.c");
    let program = compile(Compiler(&["gcc", "-std=c11", "-O1"]), &source, Library::Shared, &[], "memcheck");
    let output = run(Command::new("valgrind").args(MEMCHECK).arg(program));
    assert_eq!(said(&output), "all kept\n");
}

#[test]
fn threads_make_and_end_arenas_at_once_and_hand_them_over() {
    let source = c_folder().join("threads.c");
    for library in [Library::Archive, Library::Shared] {
        let program = compile(Compiler(&["gcc", "-std=c11", "-O2"]), &source, library, &["-pthread"], "threads");
        assert_eq!(said(&run(&mut Command::new(program))), "all kept\n");
    }
}

#[test]
fn every_event_arrives_in_order_with_the_callers_line() {
    let source = c_folder().join("events.c");
    let expected = include_str!("../c/events.expected");
    for compiler in COMPILERS {
        let program = compile(*compiler, &source, Library::Archive, &[], "events");
        assert_eq!(said(&run(&mut Command::new(program))), expected, "{:?}", compiler.0);
    }
}

/// Promises about what threads and processes use together: with every compiler, and for one under the sanitizers.
fn together(name: &str) {
    let source = c_folder().join(name);
    let pthread = ["-pthread"];
    for (number, compiler) in COMPILERS.iter().enumerate() {
        let library = if number % 2 == 0 { Library::Shared } else { Library::Archive };
        let program = compile(*compiler, &source, library, &pthread, "together");
        assert_eq!(said(&run(&mut Command::new(program))), "all kept\n", "{:?}", compiler.0);
    }
    let sanitize = ["-pthread", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"];
    let compiler = Compiler(&["gcc", "-std=c11", "-O1"]);
    let program = compile(compiler, &source, Library::Archive, &sanitize, "together-sanitized");
    assert_eq!(said(&run(&mut Command::new(program))), "all kept\n");
}

#[test]
fn shared_arenas_and_pools_keep_their_promises() {
    together("shared.c");
}

#[test]
fn each_fork_policy_keeps_its_promise() {
    together("forks.c");
}

#[test]
fn shared_arenas_and_pools_keep_their_promises_under_memcheck() {
    let compiler = Compiler(&["gcc", "-std=c11", "-O1"]);
    let program = compile(compiler, &c_folder().join("shared.c"), Library::Shared, &["-pthread"], "memcheck");
    let output = run(Command::new("valgrind").args(MEMCHECK).arg(program));
    assert_eq!(said(&output), "all kept\n");
}

#[test]
fn the_examples_compile_and_print_what_they_say() {
    let folder = c_folder().join("../../examples");
    for (name, expected) in [
        ("words.c", "10 words, 7 of them different\n"),
        ("scratch.c", "line 3: 4 fields, scratch memory 0 bytes after it\n"),
        ("watch.c", "3 blocks, 112 bytes, 1 refused\n"),
    ] {
        for compiler in COMPILERS {
            let program = compile(*compiler, &folder.join(name), Library::Shared, &[], "examples");
            let output = said(&run(&mut Command::new(program)));
            assert!(output.ends_with(expected), "{name}: {output}");
        }
    }
}

#[test]
fn the_manuals_programs_compile_and_run() {
    let manual = include_str!("../../../../docs/c.md");
    let programs: Vec<&str> = manual.split("```c\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(!programs.is_empty());
    for (number, text) in programs.iter().enumerate() {
        let source = scratch("manual").join(format!("program{number}.c"));
        std::fs::write(&source, text).expect("a source can be written");
        let program = compile(Compiler(&["gcc", "-std=c11", "-O2"]), &source, Library::Shared, &["-pthread"], "manual");
        assert!(said(&run(&mut Command::new(program))).contains("point 1."));
    }
}

/// The manual says so: C wants a constant there, C++ does not.
#[test]
fn a_declaring_macro_at_file_scope_is_refused_in_c_and_works_in_cpp() {
    let source = scratch("file-scope").join("global.c");
    let text = "#include <arenascope.h>\nASCOPE_GROWING_ARENA(symbols);\nint main(void) { return symbols == NULL || symbols->name_bytes != 7; }\n";
    std::fs::write(&source, text).expect("a source can be written");
    for compiler in COMPILERS {
        if compiler.0.contains(&"c++") {
            run(&mut Command::new(compile(*compiler, &source, Library::Archive, &[], "file-scope")));
            continue;
        }
        let include = format!("-I{}", crate::installed::prefix().join("include").display());
        let (driver, flags) = compiler.0.split_first().expect("a compiler has a name");
        let refused = Command::new(driver).args(flags).args([&include, "-fsyntax-only"]).arg(&source).output();
        let refused = refused.expect("the compiler can be started");
        let why = said(&refused);
        assert!(!refused.status.success() && why.contains("constant"), "{:?}: {why}", compiler.0);
    }
}

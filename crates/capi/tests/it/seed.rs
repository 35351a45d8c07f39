//! The first labs' programs on our arena: their struct and four functions deleted, our header included, the same lines printed.
//!
//! Deletes by shape, in whatever wording the file has, so that the programs may be reworded. Beside the labs' own copies, the
//! originals are read too where `../shared/seed` is there.

use crate::installed::{Compiler, Library, STRICT, compile, root, run, scratch};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const COMPILERS: &[Compiler] = &[
    Compiler(&["gcc", "-std=c11", "-O2"]),
    Compiler(&["clang", "-std=c11", "-O1"]),
    Compiler(&["gcc", "-std=gnu17", "-O0"]),
];

/// The programs, with the word that speaks their language.
fn programs() -> Vec<(PathBuf, &'static str)> {
    let folders = ["labs/09_arena_allocator_scope_test", "../shared/seed"];
    let names = [("09a_arena_scope_local_mmap.c", "0x9A"), ("09b_arena_scope_leak_tracer.c", "0x9B")];
    let mut found = Vec::new();
    for folder in folders {
        for (name, word) in names {
            let path = root().join(folder).join(name);
            assert!(path.is_file() || folder.starts_with(".."), "{} is not there", path.display());
            if path.is_file() {
                found.push((path, word));
            }
        }
    }
    found
}

/// Removes the top-level item that begins with a line for which `begins` holds, through the line that begins with `}`.
fn delete(text: &str, begins: impl Fn(&str) -> bool, what: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let first = lines.iter().position(|line| begins(line)).unwrap_or_else(|| panic!("no {what} in the program"));
    let last = first + lines[first..].iter().position(|line| line.starts_with('}')).expect("the item ends");
    let mut kept = lines[..first].to_vec();
    kept.extend(&lines[last + 1..]);
    kept.join("\n") + "\n"
}

fn on_our_header(text: &str, word: &str) -> String {
    let mut text = delete(text, |line| line.starts_with("typedef struct s_arena"), "struct");
    for function in ["arena_init", "arena_alloc", "arena_dump", "arena_free"] {
        let begins = |line: &str| line.starts_with("void") && line.contains(&format!("{function}("));
        text = delete(&text, begins, function);
    }
    assert!(!text.contains("mmap(NULL") && !text.contains("munmap(a"), "an allocator is left\n{text}");
    format!("#define ARENASCOPE_SEED_NAMES {word}\n#include <arenascope.h>\n{text}")
}

/// Addresses as distances from the first one in the text: they differ from run to run, their distances do not.
fn masked(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let mut first = None;
    let mut out = String::new();
    let mut rest = text.as_str();
    while let Some(at) = rest.find("0x") {
        let digits: String = rest[at + 2..].chars().take_while(char::is_ascii_hexdigit).collect();
        out.push_str(&rest[..at]);
        if let Ok(address) = u64::from_str_radix(&digits, 16) {
            let base = *first.get_or_insert(address);
            out.push_str(&format!("BASE+{}", address.wrapping_sub(base)));
        }
        rest = &rest[at + 2 + digits.len()..];
    }
    out + rest
}

fn outcome(program: &Path) -> (String, String, Option<i32>) {
    let Output { status, stdout, stderr } = Command::new(program).output().expect("the program can be started");
    (masked(&stdout), masked(&stderr), status.code())
}

fn original(source: &Path, name: &str) -> PathBuf {
    let program = scratch("seed").join(format!("{name}-original"));
    run(Command::new("gcc").arg("-w").arg(source).arg("-o").arg(&program));
    program
}

fn compare(text: &str, word: &str, name: &str) -> String {
    let folder = scratch("seed");
    let before = folder.join(format!("{name}-before.c"));
    let after = folder.join(format!("{name}.c"));
    std::fs::write(&before, text).expect("a source can be written");
    std::fs::write(&after, on_our_header(text, word)).expect("a source can be written");
    let expected = outcome(&original(&before, name));
    for compiler in COMPILERS {
        for library in [Library::Archive, Library::Shared] {
            let program = compile(*compiler, &after, library, &[], "seed");
            assert_eq!(outcome(&program), expected, "{name} {:?}", compiler.0);
        }
    }
    expected.0 + &expected.1
}

#[test]
fn the_programs_compile_without_warnings_and_print_their_own_lines() {
    assert!(STRICT.contains(&"-Werror"));
    for (number, (path, word)) in programs().iter().enumerate() {
        let text = std::fs::read_to_string(path).expect("a program can be read");
        let said = compare(&text, word, &format!("program{number}"));
        let (init, alloc) = if *word == "0x9A" { ("📦", "(offset = 64)") } else { ("🎯", "(offset now 64)") };
        assert!(said.contains(init) && said.contains(alloc) && said.contains("🧹 Arena memory freed"), "{said}");
    }
}

/// What the programs never come to: a full arena, a second free.
#[test]
fn a_full_arena_and_a_second_free_are_told_in_the_same_words() {
    let main = "int main(void)\n{\n    t_arena arena;\n    arena_init(&arena, 4096);\n    for (int i = 0; i < 66; i++)\n\
        \x20       if (arena_alloc(&arena, 64) == NULL)\n            fprintf(stderr, \"none at %zu of %zu\\n\", arena.offset, arena.capacity);\n\
        \x20   arena_dump(&arena);\n    arena_free(&arena);\n    arena_free(&arena);\n    return arena.base != NULL;\n}\n";
    for (number, (path, word)) in programs().iter().enumerate() {
        let text = std::fs::read_to_string(path).expect("a program can be read");
        let text = delete(&text, |line| line.starts_with("int") && line.contains("main("), "main") + main;
        let said = compare(&text, word, &format!("full{number}"));
        let full = if *word == "0x9A" { "❌ Arena out of memory!" } else { "❌ Arena out of memory at offset 4096" };
        assert!(said.contains(full) && said.contains("munmap: Invalid argument"), "{said}");
        assert!(said.contains("none at 4096 of 4096"), "{said}");
    }
}

#[test]
fn a_word_that_is_no_program_of_the_two_is_refused() {
    let folder = scratch("seed");
    let source = folder.join("wrong.c");
    std::fs::write(&source, "#define ARENASCOPE_SEED_NAMES 0x9C\n#include <arenascope.h>\n").expect("written");
    let output = Command::new("gcc")
        .arg("-I")
        .arg(crate::installed::prefix().join("include"))
        .arg("-fsyntax-only")
        .arg(&source)
        .output()
        .expect("gcc can be started");
    assert!(String::from_utf8_lossy(&output.stderr).contains("ARENASCOPE_SEED_NAMES is 0x9A or 0x9B"));
}

//! What the libraries bring into a program: names that begin with `ascope_`, no panic code, nothing that ends the process.

use crate::installed::{prefix, run, said};
use std::process::Command;

fn names(words: &[&str], file: &str) -> Vec<String> {
    let output = run(Command::new("nm").args(words).arg(prefix().join("lib").join(file)));
    said(&output).lines().filter_map(|line| line.split_whitespace().last()).map(str::to_owned).collect()
}

fn declared() -> Vec<String> {
    let header = concat!(include_str!("../../include/arenascope.h"), include_str!("../../include/arenascope_shared.h"));
    let mut found = Vec::new();
    for (at, _) in header.match_indices("ascope_") {
        let name: String = header[at..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        let after = header[at + name.len()..].trim_start();
        // A prototype that ends with a semicolon: `name(…);`, or `(name)(…);` beside a macro of that name.
        let Some(after) = after.strip_prefix(')').unwrap_or(after).strip_prefix('(') else { continue };
        let Some((_, after)) = after.split_once(')') else { continue };
        let line_start = header[..at].rfind('\n').map_or(0, |end| end + 1);
        let before = &header[line_start..at];
        let prototype = after.starts_with(';')
            && !before.starts_with(' ')
            && !before.contains("return")
            && !before.contains("inline")
            && !before.starts_with("typedef")
            && !before.starts_with('#');
        if prototype {
            found.push(name);
        }
    }
    found.sort();
    found.dedup();
    found
}

#[test]
fn the_libraries_export_what_the_header_declares_and_nothing_else() {
    let declared = declared();
    assert!(declared.len() >= 52, "{declared:?}");
    let mut shared = names(&["-D", "--defined-only"], "libarenascope.so");
    shared.sort();
    assert_eq!(shared, declared);
    let mut archive: Vec<_> =
        names(&["-g", "--defined-only"], "libarenascope.a").into_iter().filter(|name| !name.ends_with(".o:")).collect();
    archive.sort();
    assert_eq!(archive, declared);
}

#[test]
fn nothing_in_the_libraries_can_panic_unwind_or_end_the_process() {
    for library in ["libarenascope.so", "libarenascope.a"] {
        let all = names(&["-a"], library);
        assert!(all.iter().any(|name| name == "ascope_create"), "nm read {library}");
        let bad: Vec<_> = all
            .iter()
            .filter(|name| {
                let name = name.to_lowercase();
                name.contains("panic") || name.contains("unwind") || name.contains("personality")
            })
            .collect();
        assert!(bad.is_empty(), "{library}: {bad:?}");
    }
    // Everything asked of others: a few functions of the C library, none of which ends anything.
    let known = [
        "__errno_location",
        "bcmp",
        "fcntl",
        "free",
        "memcmp",
        "memcpy",
        "memfd_create",
        "memmove",
        "memset",
        "posix_memalign",
        "pthread_getspecific",
        "pthread_key_create",
        "pthread_key_delete",
        "pthread_setspecific",
        "strlen",
        // Of the linker's start files, all weak.
        "_ITM_deregisterTMCloneTable",
        "_ITM_registerTMCloneTable",
        "__cxa_finalize",
        "__gmon_start__",
    ];
    let asked = names(&["-D", "--undefined-only"], "libarenascope.so");
    let unknown: Vec<_> =
        asked.iter().map(|name| name.split('@').next().unwrap_or("")).filter(|name| !known.contains(name)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[test]
fn the_shared_library_has_its_name_needs_the_c_library_alone_and_is_never_unloaded() {
    let output = run(Command::new("readelf").args(["-d", "-W"]).arg(prefix().join("lib/libarenascope.so")));
    let text = said(&output);
    assert!(text.contains("Library soname: [libarenascope.so.0]"), "{text}");
    let needed: Vec<_> = text.lines().filter(|line| line.contains("(NEEDED)")).collect();
    assert!(needed.len() == 1 && needed[0].contains("[libc.so.6]"), "{needed:?}");
    assert!(text.contains("NODELETE"), "{text}");
}

#[test]
fn two_rust_libraries_in_one_program_do_not_clash() {
    // The archive twice, once under other names: what any second Rust library would bring.
    let folder = crate::installed::scratch("clash");
    let other = folder.join("libother.a");
    std::fs::copy(prefix().join("lib/libarenascope.a"), &other).expect("the archive can be copied");
    run(Command::new("objcopy").arg("--prefix-symbols=other_").arg(&other));
    let undo = folder.join("undo");
    let mut text = String::new();
    for name in names(&["-g", "--undefined-only"], "libarenascope.a").iter().filter(|name| !name.ends_with(".o:")) {
        text.push_str(&format!("other_{name} {name}\n"));
    }
    std::fs::write(&undo, text).expect("a list can be written");
    run(Command::new("objcopy").arg(format!("--redefine-syms={}", undo.display())).arg(&other));
    let source = folder.join("both.c");
    std::fs::write(
        &source,
        "#include <arenascope.h>\nvoid *other_ascope_init(size_t);\nint main(void) {\n    ascope_arena *a = ascope_init(9);\n\
         \x20   return a == NULL || other_ascope_init(9) == NULL;\n}\n",
    )
    .expect("a source can be written");
    let program = crate::installed::compile(
        crate::installed::Compiler(&["gcc"]),
        &source,
        crate::installed::Library::Archive,
        &[other.to_str().expect("a path of letters")],
        "clash",
    );
    run(&mut Command::new(program));
}

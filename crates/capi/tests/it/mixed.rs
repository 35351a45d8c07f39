//! One arena in both languages at once: a Rust program with a C part, linked with one copy of the library.

use crate::installed::{STRICT, root, run, said, scratch};
use std::path::PathBuf;
use std::process::Command;

/// Builds this package as the Rust library that it is, and says where it lies.
fn rust_library() -> PathBuf {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--locked", "--package", "arenascope-capi", "--message-format", "json"]).current_dir(root());
    let text = said(&run(&mut cargo));
    let artifacts = text.lines().filter(|line| line.contains("compiler-artifact"));
    let mut found = artifacts
        .flat_map(|line| line.split('"'))
        .filter(|word| word.contains("/libarenascope_capi") && word.ends_with(".rlib"));
    found.next_back().map(PathBuf::from).unwrap_or_else(|| panic!("cargo built no library\n{text}"))
}

#[test]
fn a_c_part_and_a_rust_part_share_an_arena() {
    let folder = scratch("mixed");
    let source = crate::installed::c_folder();
    let part = folder.join("part.o");
    run(Command::new("gcc")
        .args(["-std=c11", "-O2", "-c"])
        .args(STRICT)
        .arg("-I")
        .arg(root().join("crates/capi/include"))
        .arg(source.join("part.c"))
        .arg("-o")
        .arg(&part));
    let archive = folder.join("libpart.a");
    let _ = std::fs::remove_file(&archive);
    run(Command::new("ar").arg("rcs").arg(&archive).arg(&part));

    let library = rust_library();
    // Cargo names the copy beside the finished programs; what it depends on lies in `deps`.
    let mut dependencies = library.parent().expect("a file lies in a folder").to_path_buf();
    if !dependencies.ends_with("deps") {
        dependencies.push("deps");
    }
    let program = folder.join("mixed");
    run(Command::new(std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into()))
        .current_dir(root())
        .args(["--edition", "2024", "-O", "-D", "warnings"])
        .arg(source.join("mixed.rs"))
        .arg("--extern")
        .arg(format!("arenascope_capi={}", library.display()))
        .arg("-L")
        .arg(format!("dependency={}", dependencies.display()))
        .arg("-L")
        .arg(format!("native={}", folder.display()))
        .args(["-l", "static=part"])
        .arg("-o")
        .arg(&program));
    assert_eq!(said(&run(&mut Command::new(program))), "one arena, two languages\n");
}

//! The seed's programs in Rust print what they print in C, addresses aside.

use std::path::{Path, PathBuf};
use std::process::Command;

fn labs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../labs/09_arena_allocator_scope_test")
}

/// Standard output and error, with `ADDR` for every address.
fn output(program: &Path) -> (String, String) {
    let output = Command::new(program).output().unwrap();
    assert!(output.status.success(), "{}: {}", program.display(), output.status);
    let text = |bytes: Vec<u8>| {
        let text = String::from_utf8(bytes).unwrap();
        let mut parts = text.split("0x");
        let mut plain = parts.next().unwrap_or("").to_owned();
        for part in parts {
            plain.push_str("ADDR");
            plain.push_str(part.trim_start_matches(|c: char| c.is_ascii_hexdigit()));
        }
        plain
    };
    (text(output.stdout), text(output.stderr))
}

/// Builds the examples where cargo puts them for these tests; a no-op when `cargo test` has just done so.
fn example(name: &str) -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let profile = tests.parent().and_then(Path::parent).unwrap();
    let target = profile.parent().unwrap();
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--manifest-path"]).arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"));
    cargo.arg("--target-dir").arg(target).args(["--example", name]);
    if profile.ends_with("release") {
        cargo.arg("--release");
    }
    assert!(cargo.status().unwrap().success());
    profile.join("examples").join(name)
}

fn same_as_in_c(name: &str) {
    let folder = std::env::temp_dir().join(format!("arenascope-lab-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let program = folder.join(name);
    let compiled = Command::new("cc")
        .arg("-o")
        .arg(&program)
        .arg(labs().join(format!("{name}.c")))
        .status()
        .expect("a C compiler");
    assert!(compiled.success());
    let in_c = output(&program);
    std::fs::remove_file(&program).unwrap();
    let _ = std::fs::remove_dir(&folder);
    let in_rust = output(&example(name));
    assert!(in_c.0.contains("ADDR") && in_c.0.lines().count() >= 7, "{in_c:?}");
    assert_eq!(in_rust, in_c);
}

#[test]
fn the_first_program_prints_the_same_lines() {
    same_as_in_c("09a_arena_scope_local_mmap");
}

#[test]
fn the_second_program_prints_the_same_lines() {
    same_as_in_c("09b_arena_scope_leak_tracer");
}

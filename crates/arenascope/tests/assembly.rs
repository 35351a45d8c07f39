//! The allocation path read as assembly: no call, no panic code, and not one instruction for the probe.
#![cfg(target_arch = "x86_64")]

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

/// The example's assembly, compiled once for all tests.
fn assembly() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(compile)
}

/// Compiles the example, optimised, and returns its assembly.
fn compile() -> String {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let tests = std::env::current_exe().unwrap();
    let target = tests.parent().and_then(Path::parent).unwrap().join("assembly");
    // The library alone: what the tests need is not wanted in release builds.
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--release", "--lib", "--manifest-path"]).arg(package.join("Cargo.toml"));
    assert!(cargo.arg("--target-dir").arg(&target).status().unwrap().success());
    let release = target.join("release");
    let asm = target.join(format!("allocation_path-{}.s", std::process::id()));
    let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    rustc.args(["--edition", "2024", "--emit", "asm", "--crate-type", "lib", "-C", "opt-level=3"]);
    rustc.args(["-C", "codegen-units=1", "-C", "llvm-args=-x86-asm-syntax=intel", "--cap-lints", "allow", "--extern"]);
    rustc.arg(format!("arenascope={}", release.join("libarenascope.rlib").display()));
    rustc.arg("-L").arg(format!("dependency={}", release.join("deps").display())).arg("-o").arg(&asm);
    assert!(rustc.arg(package.join("examples/allocation_path.rs")).status().unwrap().success());
    let text = std::fs::read_to_string(&asm).unwrap();
    std::fs::remove_file(asm).unwrap();
    text
}

/// The instructions of a function, from its start through untaken branches to the first return.
fn common_path(assembly: &str, function: &str) -> Vec<String> {
    let mut path = Vec::new();
    let body = assembly.split_once(&format!("\n{function}:\n")).unwrap_or_else(|| panic!("no {function}")).1;
    for line in body.lines().map(str::trim) {
        if line.is_empty() || line.starts_with(['.', '#']) || line.ends_with(':') {
            continue;
        }
        path.push(line.replace('\t', " "));
        if line.starts_with("ret") {
            return path;
        }
        assert!(!line.starts_with("jmp"), "{function} has no straight common path: {path:#?}");
    }
    panic!("{function} does not return: {path:#?}")
}

#[test]
fn the_allocation_path_has_no_call_no_panic_and_nothing_for_the_probe() {
    let assembly = assembly();
    let path = |function| common_path(assembly, function);
    for function in ["ours_8", "ours_24", "ours_64", "ours_bytes", "ours_try_8"] {
        let path = path(function);
        assert!(!path.iter().any(|line| line.starts_with("call")), "{path:#?}");
        // One conditional branch, the comparison with the limit, which reads memory once.
        let branches: Vec<_> = path.iter().filter(|line| line.starts_with('j')).collect();
        assert_eq!(branches.len(), 1, "{path:#?}");
        let limit: Vec<_> = path.iter().filter(|line| line.contains("[rdi + 32]") || line.contains("+ 32]")).collect();
        assert!(limit.iter().any(|line| line.starts_with("cmp")), "{path:#?}");
    }
    for (ours, plain) in
        [("ours_8", "plain_8"), ("ours_24", "plain_24"), ("ours_64", "plain_64"), ("ours_bytes", "plain_bytes")]
    {
        let (ours, plain) = (path(ours), path(plain));
        assert!(ours.len() <= plain.len(), "ours {ours:#?}\nwithout a probe {plain:#?}");
    }
    // Load, add, compare, branch, store, and the value; the rest is the function around it.
    let own =
        |path: &[String]| path.iter().filter(|line| !line.starts_with("push") && !line.starts_with("pop")).count();
    let eight = path("ours_8");
    assert!(own(&eight) <= 8, "{eight:#?}");
    // Two branches: the alignment, and the limit.
    let layout = path("ours_layout");
    assert!(!layout.iter().any(|line| line.starts_with("call")), "{layout:#?}");
    assert!(own(&layout) <= 11, "{layout:#?}");
}

#[test]
fn a_handle_of_a_shared_arena_allocates_by_the_arena_s_path() {
    let path = |who, size| common_path(assembly(), &format!("{who}_{size}"));
    for size in ["8", "24", "64", "try_8"] {
        let (local, ours) = (path("local", size), path("ours", size));
        assert!(!local.iter().any(|line| line.starts_with("call")), "{local:#?}");
        assert_eq!(local.iter().filter(|line| line.starts_with('j')).count(), 1, "the limit: {local:#?}");
        assert!(!local.iter().any(|line| line.starts_with("lock") || line.starts_with("xchg")), "{local:#?}");
        // One more: a handle leads to its berth, and a function that gets the handle loads that. A loop loads it once. (And a move between
        // registers, where the cold path wants the berth in another one.)
        let more = if size == "try_8" { 2 } else { 1 };
        assert!(local.len() <= ours.len() + more, "{local:#?}\nthe arena's {ours:#?}");
    }
}

#[test]
fn a_handle_of_memory_between_processes_allocates_without_a_call_or_an_exchange() {
    for size in ["8", "24", "64"] {
        let path = common_path(assembly(), &format!("share_{size}"));
        assert!(!path.iter().any(|line| line.starts_with("call")), "{path:#?}");
        assert!(!path.iter().any(|line| line.starts_with("lock") || line.starts_with("xchg")), "{path:#?}");
        // Whether there is a lease, and the limit, which is 0 in a child.
        assert_eq!(path.iter().filter(|line| line.starts_with('j')).count(), 2, "{path:#?}");
        // More than an arena's 8: the lease, the bound and the memory's begin are found by a pointer each, ends are rounded up, for others may
        // have left one between words, `NOTHING_LEFT` is masked, and the offset names its memory (which the example takes out again: 2).
        let values = path.iter().filter(|line| line.contains("xmm")).count();
        let around = path.iter().filter(|line| line.starts_with("push") || line.starts_with("pop")).count();
        assert!(path.len() - values - around <= 22, "{path:#?}");
    }
}

#[test]
fn of_blocks_in_a_row_one_cursor_is_loaded_and_one_stored() {
    let path = common_path(assembly(), "ours_row");
    let cursor: Vec<_> = path.iter().filter(|line| line.contains("+ 16]")).collect();
    let stores =
        cursor.iter().filter(|line| line.contains("ptr [rdi + 16],") || line.contains("ptr [rbx + 16],")).count();
    assert_eq!((cursor.len(), stores), (2, 1), "{path:#?}");
}

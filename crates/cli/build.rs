//! Builds the agent's shared object and lists the labs: the program carries both inside itself.
//!
//! A nested cargo with a target directory of its own: the outer one is locked. Flags meant for the program (coverage,
//! sanitizers, a clippy wrapper) stay out of a library that runs inside other people's processes.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    let var = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("cargo sets {name} for build scripts"));
    let crates = PathBuf::from(var("CARGO_MANIFEST_DIR")).join("..");
    let target_dir = PathBuf::from(var("OUT_DIR")).join("agent-target");
    let target = var("TARGET");
    for watched in ["agent", "record", "plan", "trace", "event", "unwind"] {
        println!("cargo::rerun-if-changed={}", crates.join(watched).join("src").display());
        println!("cargo::rerun-if-changed={}", crates.join(watched).join("Cargo.toml").display());
    }
    println!("cargo::rerun-if-changed={}", crates.join("../Cargo.lock").display());
    println!("cargo::rerun-if-changed={}", crates.join("../Cargo.toml").display());

    let mut cargo = Command::new(var("CARGO"));
    cargo
        .args(["rustc", "--lib", "--crate-type", "cdylib", "--profile", "agent", "--target", &target])
        .arg("--target-dir")
        .arg(&target_dir)
        .arg("--manifest-path")
        .arg(crates.join("agent/Cargo.toml"))
        .args(["--", "--cfg", "arenascope_agent_so"])
        // Before the constructors of every other library; all symbols bound at load time.
        .args(["-C", "link-arg=-Wl,-z,initfirst,-z,now"]);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let foreign = text.starts_with("CARGO_FEATURE_")
            || text.starts_with("CARGO_CFG_")
            || text.starts_with("CARGO_PROFILE_")
            || [
                "RUSTC_WORKSPACE_WRAPPER",
                "RUSTC_WRAPPER",
                "CARGO_ENCODED_RUSTFLAGS",
                "RUSTFLAGS",
                "CARGO_BUILD_TARGET",
            ]
            .contains(&text.as_ref());
        if foreign {
            cargo.env_remove(&name);
        }
    }
    let status = cargo.status().unwrap_or_else(|error| panic!("cannot start cargo for the agent library: {error}"));
    assert!(status.success(), "the agent library did not build (see above)");
    let object = target_dir.join(&target).join("agent").join("libarenascope_agent.so");
    assert!(object.is_file(), "the agent library is not at {}", object.display());
    println!("cargo::rustc-env=ARENASCOPE_AGENT_OBJECT={}", object.display());
    list_labs(&crates.join("../labs"), &PathBuf::from(var("OUT_DIR")).join("labs.rs"));
}

/// Writes a Rust expression: every file of the folder as (path in it, text), sorted by path.
fn list_labs(labs: &Path, out: &Path) {
    let labs = labs.canonicalize().unwrap_or_else(|error| panic!("{}: {error}", labs.display()));
    println!("cargo::rerun-if-changed={}", labs.display());
    let mut files = Vec::new();
    collect(&labs, &mut files);
    files.sort();
    let mut text = String::from("&[\n");
    for file in files {
        let inside = file.strip_prefix(&labs).expect("a file of the folder");
        let _ =
            writeln!(text, "    ({:?}, include_str!({:?})),", inside.display().to_string(), file.display().to_string());
    }
    text.push_str("]\n");
    std::fs::write(out, text).unwrap_or_else(|error| panic!("{}: {error}", out.display()));
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    for entry in entries {
        let path = entry.expect("an entry of the folder").path();
        let kept = path
            .extension()
            .is_some_and(|kind| ["c", "rs", "json", "md", "stdout", "stderr"].iter().any(|k| kind == *k));
        if path.is_dir() {
            collect(&path, files);
        } else if kept {
            files.push(path);
        }
    }
}

//! Running other programs: says what is run, and turns a bad end into a sentence.
//!
//! Deliberately absent: shells. Every program gets its arguments as a list.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder that holds the workspace's Cargo.toml.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf).unwrap_or_default()
}

/// Runs cargo (the one that runs us) at the root with extra environment; its output goes to ours.
pub fn cargo(words: &[&str], environment: &[(&str, &str)]) -> Result<(), String> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    eprintln!("xtask: cargo {}", words.join(" "));
    let mut command = Command::new(cargo);
    command.args(words).current_dir(root()).envs(environment.iter().copied());
    status(&mut command, &format!("cargo {}", words.first().unwrap_or(&"")))
}

/// Runs `command`; anything but status 0 is an error that names it as `what`.
pub fn status(command: &mut Command, what: &str) -> Result<(), String> {
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{what} ended with {status}")),
        Err(error) => Err(format!("{what} cannot be started: {error}")),
    }
}

/// Runs `command` and returns what it wrote to stdout; anything but status 0 is an error with its stderr.
pub fn output(command: &mut Command, what: &str) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("{what} cannot be started: {error}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(format!("{what} ended with {}\n{}", output.status, String::from_utf8_lossy(&output.stderr)))
    }
}

/// What `cargo metadata` says about the workspace, without dependencies of dependencies.
pub fn metadata() -> Result<serde_json::Value, String> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let text = output(
        Command::new(cargo).args(["metadata", "--format-version", "1", "--no-deps"]).current_dir(root()),
        "cargo metadata",
    )?;
    serde_json::from_str(&text).map_err(|error| format!("cargo metadata printed no JSON: {error}"))
}

/// Builds the program (release if asked) and returns its path.
pub fn arenascope(release: bool) -> Result<PathBuf, String> {
    let mut words = vec!["build", "--quiet", "--locked", "--package", "arenascope-cli"];
    if release {
        words.push("--release");
    }
    cargo(&words, &[])?;
    let metadata = metadata()?;
    let target = metadata["target_directory"].as_str().ok_or("cargo metadata names no target directory")?;
    let path = Path::new(target).join(if release { "release" } else { "debug" }).join("arenascope");
    if path.is_file() { Ok(path) } else { Err(format!("cargo built no {}", path.display())) }
}

/// Where cargo builds.
pub fn target_directory() -> Result<String, String> {
    let metadata = metadata()?;
    metadata["target_directory"].as_str().map(str::to_owned).ok_or("cargo metadata names no target directory".into())
}

/// A fresh folder for one chore, under the target directory; emptied first.
pub fn scratch(name: &str) -> Result<PathBuf, String> {
    let metadata = metadata()?;
    let target = metadata["target_directory"].as_str().ok_or("cargo metadata names no target directory")?;
    let path = Path::new(target).join("xtask").join(name);
    if path.exists() {
        std::fs::remove_dir_all(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    std::fs::create_dir_all(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(path)
}

//! What the tests and benches need from Debian: installed when we may, named when we may not.
//!
//! A missing compiler must never turn a test into a skipped test, so this runs before them.

use crate::steps;
use std::path::Path;
use std::process::Command;

/// Package, and a file whose presence says it is there: an absolute path, a program looked up in PATH, or, behind `clang:`, a file that
/// clang finds in its own folders (whose names hold its version).
const NEEDED: &[(&str, &str)] = &[
    ("gcc", "gcc"),
    ("g++", "g++"),
    ("libc6-dev", "/usr/include/stdlib.h"),
    ("clang", "clang"),
    // The sanitizers' runtimes are a package of their own.
    ("libclang-rt-14-dev", "clang:libclang_rt.asan-x86_64.a"),
    ("binutils", "objcopy"),
    ("pkg-config", "pkg-config"),
    // setpriv and unshare: tests that must not pass only because they run as root.
    ("util-linux", "setpriv"),
    ("mount", "mount"),
    ("git", "git"),
    // Programs and libraries nobody built for us.
    ("subversion", "svn"),
    ("nginx-light", "/usr/sbin/nginx"),
    ("libapr1-dev", "/usr/include/apr-1.0/apr_pools.h"),
    ("libtalloc-dev", "/usr/include/talloc.h"),
    ("sqlite3", "sqlite3"),
    ("python3", "/usr/bin/python3"),
    // For `run --precise`, and counts of instructions.
    ("valgrind", "valgrind"),
];

/// What the benches need beside a C compiler: the C arenas, and callgrind.
const NEEDED_BY_BENCHES: &[(&str, &str)] = &[
    ("gcc", "gcc"),
    ("libc6-dev", "/usr/include/stdlib.h"),
    ("libapr1-dev", "/usr/include/apr-1.0/apr_pools.h"),
    ("libtalloc-dev", "/usr/include/talloc.h"),
    ("valgrind", "valgrind"),
];

/// Makes sure all that the tests need is there, installing what is missing when this is root on a system with apt-get.
pub fn require() -> Result<(), String> {
    require_all(NEEDED)
}

/// The same for the benches.
pub fn require_for_benches() -> Result<(), String> {
    require_all(NEEDED_BY_BENCHES)
}

/// What `bench modes` needs.
pub fn require_for_modes() -> Result<(), String> {
    require_all(&[
        ("gcc", "gcc"),
        ("libc6-dev", "/usr/include/stdlib.h"),
        ("valgrind", "valgrind"),
        ("heaptrack", "heaptrack"),
    ])
}

/// What `bench replay` needs: programs nobody built for us, and what asks the kernel for their peak.
pub fn require_for_replay() -> Result<(), String> {
    require_all(&[("sqlite3", "/usr/bin/sqlite3"), ("python3", "/usr/bin/python3"), ("time", "/usr/bin/time")])
}

/// What the table of docs/detection.md needs.
pub fn require_for_detection() -> Result<(), String> {
    require_all(&[
        ("gcc", "gcc"),
        ("libc6-dev", "/usr/include/stdlib.h"),
        ("valgrind", "valgrind"),
        ("heaptrack", "heaptrack"),
    ])
}

/// What `test --long` needs beside.
pub fn require_for_long_tests() -> Result<(), String> {
    require_all(&[("valgrind", "valgrind")])
}

fn require_all(needed: &[(&'static str, &str)]) -> Result<(), String> {
    let missing = missing(needed);
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    if !may_install() {
        return Err(format!("packages are needed that are not here: {list}\n       as root: apt-get install {list}"));
    }
    eprintln!("xtask: apt-get install {list}");
    steps::status(Command::new("apt-get").args(["update", "-qq"]), "apt-get update")?;
    steps::status(
        Command::new("apt-get")
            .args(["install", "-y", "-qq", "--no-install-recommends"])
            .args(&missing)
            .env("DEBIAN_FRONTEND", "noninteractive"),
        "apt-get install",
    )?;
    match self::missing(needed).as_slice() {
        [] => Ok(()),
        still => Err(format!("apt-get install succeeded, and yet these are not here: {}", still.join(" "))),
    }
}

fn missing(needed: &[(&'static str, &str)]) -> Vec<&'static str> {
    needed.iter().filter(|(_, probe)| !present(probe)).map(|(package, _)| *package).collect()
}

fn present(probe: &str) -> bool {
    if probe.starts_with('/') {
        return Path::new(probe).exists();
    }
    if let Some(file) = probe.strip_prefix("clang:") {
        // What it does not find it prints as it is.
        let found = steps::output(Command::new("clang").arg(format!("-print-file-name={file}")), "clang");
        return found.is_ok_and(|path| path.trim().starts_with('/'));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(probe).is_file())
}

fn may_install() -> bool {
    let root = steps::output(Command::new("id").arg("-u"), "id").is_ok_and(|uid| uid.trim() == "0");
    root && present("apt-get")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_looked_up_in_path_and_a_file_at_its_place() {
        assert!(present("sh"));
        assert!(present("/"));
        assert!(!present("no-program-has-this-name"));
        assert!(!present("/no/file/has/this/name"));
        assert!(!present("clang:no_file_has_this_name.a"));
    }
}

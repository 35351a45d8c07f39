//! Runs the C compilers of this machine on a piece of source, into a directory that goes away with the test.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The compilers that are tried; a missing one is skipped, but not all of them.
pub fn compilers() -> Vec<&'static str> {
    let found: Vec<_> =
        ["gcc", "clang"].into_iter().filter(|c| Command::new(c).arg("--version").output().is_ok()).collect();
    assert!(!found.is_empty(), "no C compiler: install gcc or clang");
    found
}

/// Compiles `source` (a C, C++ or assembly text, by `extension`) with `flags`; `None` when the compiler refuses.
pub fn try_compile(
    directory: &Path,
    compiler: &str,
    flags: &[&str],
    extension: &str,
    source: &str,
) -> Result<PathBuf, String> {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let input = directory.join(format!("t{number}.{extension}"));
    let output = directory.join(format!("t{number}.out"));
    std::fs::write(&input, source).unwrap();
    let run = Command::new(compiler).args(["-w", "-o"]).arg(&output).args(flags).arg(&input).output().unwrap();
    if run.status.success() { Ok(output) } else { Err(String::from_utf8_lossy(&run.stderr).into_owned()) }
}

/// As `try_compile`; the compiler must accept it.
pub fn compile(directory: &Path, compiler: &str, flags: &[&str], extension: &str, source: &str) -> PathBuf {
    try_compile(directory, compiler, flags, extension, source).unwrap_or_else(|e| panic!("{compiler} {flags:?}: {e}"))
}

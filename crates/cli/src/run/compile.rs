//! C files to a program, as a user would: `cc -g FILE.c…`, their flags last.

use crate::error::CliError;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A program compiled for one run; removed when dropped.
pub struct Compiled {
    /// The program, in a folder of its own.
    pub path: PathBuf,
    _folder: tempfile::TempDir,
}

/// Compiles `files` (C sources, objects and archives as cc takes them). `cflags` is split at spaces and comes last, so
/// that libraries in it resolve. The compiler is `$CC`, or `cc`.
///
/// # Errors
/// Status 2: no compiler, a file that is not there, a file that does not compile (with the compiler's own words).
pub fn compile(files: &[OsString], cflags: Option<&str>) -> Result<Compiled, CliError> {
    for file in files {
        let path = Path::new(file);
        if !path.exists() {
            return Err(CliError::usage(format!("{}: no such file", path.display()))
                .hint("a C file before --, or a program after it: arenascope run -- PROGRAM"));
        }
        if path.is_dir() {
            return Err(CliError::usage(format!("{} is a directory", path.display())));
        }
        let kind = path.extension().and_then(|extension| extension.to_str()).unwrap_or("");
        if !["c", "o", "a", "i", "s", "S", "cc", "cpp", "cxx", "C"].contains(&kind) {
            return Err(CliError::usage(format!("{} is not a C file", path.display()))
                .hint(format!("arenascope run -- {}  to run a program", path.display())));
        }
    }
    let folder = tempfile::Builder::new()
        .prefix("arenascope-")
        .tempdir()
        .map_err(|error| CliError::usage(format!("cannot make a folder for the compiled program: {error}")))?;
    let stem = files.first().and_then(|file| Path::new(file).file_stem()).unwrap_or_else(|| "program".as_ref());
    let path = folder.path().join(stem);
    let plus_plus = files.iter().any(|file| {
        let extension = Path::new(file).extension().and_then(|extension| extension.to_str());
        matches!(extension, Some("cc" | "cpp" | "cxx" | "C"))
    });
    let (variable, default) = if plus_plus { ("CXX", "c++") } else { ("CC", "cc") };
    let shown = compiler(variable, default);
    let mut words = shown.split_whitespace();
    let mut command = Command::new(words.next().unwrap_or(default));
    command.args(words).arg("-g").args(files).arg("-o").arg(&path);
    command.args(cflags.unwrap_or("").split_whitespace()).stdin(Stdio::null());
    let output = command.output().map_err(|error| cannot_start(&shown, variable, &error))?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        let names: Vec<_> = files.iter().map(|file| file.to_string_lossy().into_owned()).collect();
        return Err(CliError::usage(format!("{} does not compile:\n{}", names.join(" "), words.trim_end()))
            .hint("--cflags '…' for include paths, macros and libraries"));
    }
    Ok(Compiled { path, _folder: folder })
}

/// Whether there is a C compiler at all, for who compiles many files.
///
/// # Errors
/// Status 2: `$CC`, or `cc`, cannot be started.
pub fn require() -> Result<(), CliError> {
    let shown = compiler("CC", "cc");
    let mut words = shown.split_whitespace();
    let mut command = Command::new(words.next().unwrap_or("cc"));
    command.args(words).arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().map(|_| ()).map_err(|error| cannot_start(&shown, "CC", &error))
}

/// What the environment names, else the usual name; with flags, as make takes them.
fn compiler(variable: &str, default: &str) -> String {
    let named = std::env::var_os(variable).filter(|name| !name.is_empty());
    named.map_or_else(|| default.to_owned(), |name| name.to_string_lossy().into_owned())
}

fn cannot_start(compiler: &str, variable: &str, error: &std::io::Error) -> CliError {
    CliError::usage(format!("cannot start the C compiler {compiler}: {error}"))
        .hint(format!("apt-get install gcc, or {variable}=clang, or compile it yourself: arenascope run -- PROGRAM"))
}

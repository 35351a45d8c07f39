//! The Rust parts of a lab: a program that runs, or one that the compiler refuses, with the refusal it must give.
//!
//! `NAME.rs` must print `NAME.stdout`, or what the C program prints where there is no such file. A file with a `.stderr` beside it
//! must not compile, and the compiler's error lines must be those stored; the rest of its words may change with its version.
//! Needs cargo, rustc and the source of the crate `arenascope`, which is on no registry: it is looked for where this program was
//! built. Where one of them is missing, the outcome says which.

use crate::error::CliError;
use crate::lab::expect::without_addresses;
use crate::lab::shelf::Lab;
use crate::lab::trial::Bench;
use serde_json::Value;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The crate `arenascope`, compiled.
pub struct Library {
    rlib: PathBuf,
    dependencies: PathBuf,
}

/// Why Rust parts cannot be run here.
#[derive(Debug)]
pub enum Missing {
    /// The crate's source is not where this program was built.
    Source(PathBuf),
    /// No cargo, or it could not build the crate; its words.
    Build(String),
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Missing::Source(path) => write!(
                f,
                "the source of the crate arenascope is not at {} any more, and it is on no registry: run this from a checkout, cargo run -- lab",
                path.display()
            ),
            Missing::Build(words) => write!(f, "cargo cannot build the crate arenascope: {words}"),
        }
    }
}

/// What one Rust file showed.
pub struct Shown {
    /// What it printed, or the compiler's words.
    pub text: String,
    /// What differs from what was stored.
    pub different: Vec<String>,
}

impl Library {
    /// Builds the crate, or finds it built.
    ///
    /// # Errors
    /// What is missing.
    pub fn build() -> Result<Library, Missing> {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../arenascope/Cargo.toml");
        let Ok(manifest) = source.canonicalize() else { return Err(Missing::Source(source)) };
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo)
            .args(["build", "--quiet", "--locked", "--lib", "--message-format", "json-render-diagnostics"])
            .arg("--manifest-path")
            .arg(&manifest)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| Missing::Build(error.to_string()))?;
        if !output.status.success() {
            return Err(Missing::Build(String::from_utf8_lossy(&output.stderr).trim_end().to_owned()));
        }
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let messages = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let ours = messages.filter(|message| message["target"]["name"] == "arenascope");
        let mut files = ours.flat_map(|message| message["filenames"].as_array().cloned().unwrap_or_default());
        let rlib = files.find_map(|file| file.as_str().filter(|file| file.ends_with(".rlib")).map(PathBuf::from));
        let rlib = rlib.ok_or_else(|| Missing::Build("it names no library".into()))?;
        let dependencies = rlib.parent().map(|folder| folder.join("deps")).unwrap_or_default();
        Ok(Library { rlib, dependencies })
    }

    fn compile(&self, file: &Path, to: &Path) -> Result<std::process::Output, CliError> {
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let mut external = std::ffi::OsString::from("arenascope=");
        external.push(&self.rlib);
        let mut search = std::ffi::OsString::from("dependency=");
        search.push(&self.dependencies);
        Command::new(rustc)
            .args(["--edition", "2024", "--color", "never", "-g", "--extern"])
            .arg(external)
            .arg("-L")
            .arg(search)
            .arg("-o")
            .args([to, file])
            .stdin(Stdio::null())
            .output()
            .map_err(|error| CliError::usage(format!("cannot start rustc: {error}")))
    }

    /// Compiles `file` of the lab, runs it unless it must be refused, and compares.
    ///
    /// # Errors
    /// rustc cannot be started.
    pub fn attempt(&self, bench: &Bench, lab: &Lab, file: &str) -> Result<Shown, CliError> {
        let source = bench.path(lab, file);
        let program = source.with_extension("rust");
        let output = self.compile(&source, &program)?;
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        let stem = file.trim_end_matches(".rs");
        if let Some(stored) = lab.text(&format!("{stem}.stderr")) {
            let different = if output.status.success() {
                vec![format!("{file}: compiles, and must not")]
            } else if error_lines(&words).eq(error_lines(stored)) {
                Vec::new()
            } else {
                vec![format!("{file}: refused with other words:\n{words}")]
            };
            return Ok(Shown { text: words, different });
        }
        if !output.status.success() {
            return Ok(Shown { text: words.clone(), different: vec![format!("{file}: does not compile:\n{words}")] });
        }
        let ran = Command::new(&program).stdin(Stdio::null()).output();
        let ran = ran.map_err(|error| CliError::usage(format!("cannot start {}: {error}", program.display())))?;
        let text = String::from_utf8_lossy(&ran.stdout).into_owned();
        let mut different = Vec::new();
        if !ran.status.success() {
            different.push(format!("{file}: ended with {}", ran.status));
        }
        let in_c = |lines: &Value| {
            lines.as_array().map(|all| all.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("\n"))
        };
        let wanted = lab
            .text(&format!("{stem}.stdout"))
            .map(str::to_owned)
            .or_else(|| lab.runs().first().and_then(|run| in_c(&run["stdout"])));
        match wanted {
            Some(wanted) if without_addresses(&text).lines().eq(wanted.lines()) => {}
            Some(_) => different.push(format!("{file}: printed\n{text}")),
            None => different.push(format!("{file}: nothing says what it must print: {stem}.stdout is not there")),
        }
        Ok(Shown { text, different })
    }
}

/// The lines that begin with `error`, without the closing count.
fn error_lines(words: &str) -> impl Iterator<Item = &str> {
    words.lines().filter(|line| line.starts_with("error") && !line.starts_with("error: aborting"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compiler_is_compared_by_what_it_refuses() {
        let words = "error[E0505]: cannot move out of `a`\n  --> x.rs:3\nerror: aborting due to 1 previous error\n";
        assert_eq!(error_lines(words).collect::<Vec<_>>(), ["error[E0505]: cannot move out of `a`"]);
        assert_eq!(error_lines("warning: unused\n").count(), 0);
    }
}

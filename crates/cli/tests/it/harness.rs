//! A fresh folder with compiled programs in it, and Arenascope run there.
//!
//! Nothing here asserts anything about Arenascope; it panics only when the test itself cannot be carried out.

use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

/// How a program ended and what it wrote.
#[derive(PartialEq, Eq)]
pub struct Outcome {
    /// Exit status; 128 + N when signal N killed it, as a shell says it.
    pub status: i32,
    /// Its stdout.
    pub stdout: String,
    /// Its stderr.
    pub stderr: String,
}

impl std::fmt::Debug for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "status {}\n--- stdout\n{}\n--- stderr\n{}\n---", self.status, self.stdout, self.stderr)
    }
}

impl Outcome {
    fn of(output: Output) -> Outcome {
        let status = output.status.code().or(output.status.signal().map(|signal| 128 + signal));
        Outcome {
            status: status.expect("a program ends by exit or by a signal"),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// One temporary folder, gone when dropped.
pub struct Place {
    folder: TempDir,
}

/// The programs beside this folder.
pub fn programs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs")
}

/// The root of the workspace.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the workspace is there")
}

/// One of the labs of chapter 09.
pub fn lab(name: &str) -> PathBuf {
    root().join("labs/09_arena_allocator_scope_test").join(name)
}

/// True in `cargo xtask test --long`.
pub fn long() -> bool {
    std::env::var_os("ARENASCOPE_LONG").is_some()
}

/// True when the launcher has completed a trace: its word that says where the tail begins is set (FORMAT.md).
pub fn is_sealed(trace: &Path) -> bool {
    use std::os::unix::fs::FileExt;
    let mut word = [0; 8];
    let read = std::fs::File::open(trace).and_then(|file| file.read_exact_at(&mut word, 3072));
    read.is_ok() && word != [0; 8]
}

/// True when this process is root.
pub fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().expect("id runs");
    String::from_utf8_lossy(&id.stdout).trim() == "0"
}

impl Place {
    /// A fresh folder that everybody may enter.
    pub fn new() -> Place {
        let folder = tempfile::Builder::new().prefix("arenascope-it-").tempdir().expect("a temporary folder");
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).expect("chmod of our folder");
        Place { folder }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// Compiles `source` (a name in `programs`, or a path) with `compiler -g flags`; the program's path. Without its ending,
    /// the source's name is the program's.
    pub fn compile(&self, compiler: &str, source: &str, flags: &[&str]) -> PathBuf {
        let source = programs().join(source);
        let program = self.file(&source.file_stem().expect("a source has a name").to_string_lossy());
        let output = Command::new(compiler)
            .arg("-g")
            .args(flags)
            .arg("-pthread")
            .arg("-o")
            .arg(&program)
            .arg(&source)
            .arg("-ldl")
            .output()
            .unwrap_or_else(|error| panic!("{compiler} is needed for this test and cannot be run: {error}"));
        assert!(output.status.success(), "{compiler} {source:?}: {}", String::from_utf8_lossy(&output.stderr));
        program
    }

    /// Compiles with gcc.
    pub fn cc(&self, source: &str, flags: &[&str]) -> PathBuf {
        self.compile("gcc", source, flags)
    }

    /// Runs `program` in this folder, without us.
    pub fn plain(&self, program: &Path, arguments: &[&str]) -> Outcome {
        self.outcome(Command::new(program).args(arguments))
    }

    /// Runs a prepared command in this folder, with an empty stdin and without terminal settings from outside.
    pub fn outcome(&self, command: &mut Command) -> Outcome {
        let output = command
            .current_dir(self.path())
            .env_remove("COLUMNS")
            .env_remove("NO_COLOR")
            .env_remove("RUST_BACKTRACE")
            .stdin(Stdio::null())
            .output()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Outcome::of(output)
    }

    /// A copy of arenascope in this folder, so that other users may run it wherever the target directory is.
    pub fn own_arenascope(&self) -> PathBuf {
        let copy = self.file("arenascope");
        if !copy.exists() {
            std::fs::copy(env!("CARGO_BIN_EXE_arenascope"), &copy).expect("a copy of arenascope");
            std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o755)).expect("chmod of our copy");
        }
        copy
    }

    /// `arenascope arguments` in this folder.
    pub fn arenascope<S: AsRef<std::ffi::OsStr>>(&self, arguments: &[S]) -> Outcome {
        self.outcome(Command::new(env!("CARGO_BIN_EXE_arenascope")).args(arguments))
    }

    /// `arenascope run flags -- program arguments`, our words kept apart in a file: the program's outcome, and our words.
    pub fn watch(&self, flags: &[&str], program: &Path, arguments: &[&str]) -> (Outcome, String) {
        let log = self.file("our.words");
        let _ = std::fs::remove_file(&log);
        let mut command = Command::new(env!("CARGO_BIN_EXE_arenascope"));
        command.arg("run").args(flags).arg("--log").arg(&log).arg("--").arg(program).args(arguments);
        let outcome = self.outcome(&mut command);
        (outcome, std::fs::read_to_string(&log).unwrap_or_default())
    }

    /// The traces in this folder, oldest first.
    pub fn traces(&self) -> Vec<PathBuf> {
        let mut found: Vec<(std::time::SystemTime, PathBuf)> = std::fs::read_dir(self.path())
            .expect("our folder can be read")
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|ending| ending == "ascope"))
            .map(|path| {
                let made = path.metadata().and_then(|meta| meta.created().or_else(|_| meta.modified()));
                (made.unwrap_or(std::time::UNIX_EPOCH), path)
            })
            .collect();
        found.sort();
        found.into_iter().map(|(_, path)| path).collect()
    }

    /// The only trace in this folder.
    pub fn trace(&self) -> PathBuf {
        let mut traces = self.traces();
        assert_eq!(traces.len(), 1, "one trace expected: {traces:?}");
        traces.remove(0)
    }

    /// What `arenascope findings --json` prints for a trace.
    pub fn findings(&self, trace: &Path) -> Value {
        let said = self.arenascope(&["findings".as_ref(), "--json".as_ref(), trace.as_os_str()]);
        assert_eq!(said.status, 0, "{said:?}");
        serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said:?}"))
    }

    /// What `arenascope show --json` prints for a trace.
    pub fn show(&self, trace: &Path, more: &[&str]) -> Value {
        let mut words: Vec<&std::ffi::OsStr> = vec!["show".as_ref(), "--json".as_ref(), trace.as_os_str()];
        words.extend(more.iter().map(std::ffi::OsStr::new));
        let said = self.arenascope(&words);
        assert_eq!(said.status, 0, "{said:?}");
        serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said:?}"))
    }

    /// The events that `arenascope log --json` prints for a trace.
    pub fn log(&self, trace: &Path) -> Vec<Value> {
        let said = self.arenascope(&["log".as_ref(), "--json".as_ref(), trace.as_os_str()]);
        assert_eq!(said.status, 0, "{said:?}");
        let mut lines = said.stdout.lines();
        let head: Value = serde_json::from_str(lines.next().unwrap_or("")).expect("a head line of JSON");
        assert_eq!(head["format"], 1);
        lines.map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
    }
}

/// How many events are of this kind (`alloc`, `create`, …).
pub fn count(events: &[Value], kind: &str) -> usize {
    events.iter().filter(|event| event["kind"] == kind).count()
}

/// The findings (not the notes) of `findings --json`.
pub fn accused(json: &Value) -> Vec<Value> {
    let all = json["findings"].as_array().cloned().unwrap_or_default();
    all.into_iter().filter(|finding| finding["class"] == "finding").collect()
}

/// The notes of `findings --json`.
pub fn noted(json: &Value) -> Vec<Value> {
    let all = json["findings"].as_array().cloned().unwrap_or_default();
    all.into_iter().filter(|finding| finding["class"] == "note").collect()
}

/// The line (from 1) of a source file that holds `marker`.
pub fn line_of(source: &Path, marker: &str) -> u64 {
    let text = std::fs::read_to_string(source).expect("a source can be read");
    let at = text.lines().position(|line| line.contains(marker)).unwrap_or_else(|| panic!("no {marker} in {source:?}"));
    at as u64 + 1
}

/// Every `0x…` as ADDR.
pub fn without_addresses(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("0x") {
        out.push_str(before);
        let digits = after.len() - after.trim_start_matches(|c: char| c.is_ascii_hexdigit()).len();
        out.push_str(if digits > 0 { "ADDR" } else { "0x" });
        rest = after.get(digits..).unwrap_or("");
    }
    out.push_str(rest);
    out
}

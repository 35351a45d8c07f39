//! One program of a lab: built, run and watched by this very program, and compared with what is expected.
//!
//! Relied on: nothing is left running; the trace lies beside the source. Deliberately absent: printing (a shown run prints for
//! itself), and what is expected (`expect`).

use crate::error::CliError;
use crate::lab::expect::{self, Seen};
use crate::lab::shelf::Lab;
use serde_json::Value;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Who sees the run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Audience {
    /// Nobody: output and screen are kept and compared.
    Nobody,
    /// The user: both go to our stdout as they come.
    User {
        /// ASCII only, no colour.
        plain: bool,
    },
}

/// What came of a run.
#[derive(Debug)]
pub enum Outcome {
    /// All as expected.
    AsExpected,
    /// All but findings of rules that are not there yet; what the lab waits for, and what is missing.
    NotYet(String, Vec<String>),
    /// Something else; each difference in a sentence.
    Different(Vec<String>),
}

/// A lab's files on disk, and the program that runs them.
pub struct Bench {
    /// The folder that `labs/` was unpacked into.
    pub folder: PathBuf,
    /// This program.
    arenascope: PathBuf,
}

impl Bench {
    /// For files unpacked into `folder`.
    ///
    /// # Errors
    /// Our own file cannot be named.
    pub fn new(folder: PathBuf) -> Result<Bench, CliError> {
        let arenascope =
            std::env::current_exe().map_err(|error| CliError::usage(format!("cannot find this program: {error}")))?;
        Ok(Bench { folder, arenascope })
    }

    /// Where a lab's file lies.
    pub fn path(&self, lab: &Lab, file: &str) -> PathBuf {
        self.folder.join(lab.folder).join(file)
    }

    /// The words of `arenascope run` for one run of a lab, without our own paths: what a user would type.
    pub fn command_line(lab: &Lab, run: &Value) -> String {
        let mut words: Vec<String> = variables(run).map(|(name, value)| format!("{name}={value}")).collect();
        words.push("arenascope run".into());
        words.extend(flags(run).map(|flag| arenascope_report::escape::shell_word(flag).into_owned()));
        words.push(lab.source(run));
        words.join(" ")
    }

    /// The planted program, as `run` says.
    ///
    /// # Errors
    /// No compiler, or anything else that kept the program from running.
    pub fn planted(&self, lab: &Lab, run: &Value, audience: Audience) -> Result<Outcome, CliError> {
        let file = lab.source(run);
        let needs = needs(run);
        let seen = match self.watch(lab, &file, run, audience) {
            Ok(seen) => seen,
            Err(error) if waits_for_a_flag(run) => return Ok(Outcome::NotYet(needs, vec![error.to_string()])),
            Err(error) => return Err(error),
        };
        let found = expect::differences(run, &seen, lab.text(&file).unwrap_or(""));
        Ok(if !found.other.is_empty() || (needs.is_empty() && !found.missing.is_empty()) {
            Outcome::Different(found.other.into_iter().chain(found.missing).collect())
        } else if found.missing.is_empty() {
            Outcome::AsExpected
        } else {
            Outcome::NotYet(needs, found.missing)
        })
    }

    /// The mended twin with the same flags: it must end well and be silent.
    ///
    /// # Errors
    /// As `planted`.
    pub fn mended(&self, lab: &Lab, name: &str, run: &Value, audience: Audience) -> Result<Outcome, CliError> {
        let seen = match self.watch(lab, &format!("{name}.c"), run, audience) {
            Ok(seen) => seen,
            Err(error) if waits_for_a_flag(run) => return Ok(Outcome::NotYet(needs(run), vec![error.to_string()])),
            Err(error) => return Err(error),
        };
        let silent = serde_json::json!({});
        let found = expect::differences(&silent, &seen, "");
        let mut different = found.other;
        if seen.stdout.is_some_and(|stdout| stdout.contains('🤡')) {
            different.push("prints 🤡, which is for the planted fault".into());
        }
        Ok(if different.is_empty() { Outcome::AsExpected } else { Outcome::Different(different) })
    }

    fn watch(&self, lab: &Lab, file: &str, run: &Value, audience: Audience) -> Result<Seen, CliError> {
        let folder = self.folder.join(lab.folder);
        let trace = folder.join(file).with_extension("ascope");
        let log = trace.with_extension("log");
        // What an earlier run left must not be taken for this one's.
        let _ = (std::fs::remove_file(&trace), std::fs::remove_file(&log));
        let mut command = Command::new(&self.arenascope);
        // In the folder, so that what is printed names files and not paths.
        command.current_dir(&folder).arg("run").args(flags(run)).args(["--force", "-o"]).args(trace.file_name());
        command.envs(variables(run)).stdin(Stdio::null());
        let (status, stdout, words) = match audience {
            Audience::Nobody => {
                // A width of its own: what is compared must not depend on the user's terminal.
                command.arg("--log").arg(&log).arg(file).env("NO_COLOR", "1").env("COLUMNS", "100");
                let output = command.output().map_err(|error| self.cannot_start(&error))?;
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                (output.status, Some(text(&output.stdout)), text(&output.stderr))
            }
            Audience::User { plain } => {
                if plain {
                    command.arg("--plain");
                }
                // Our words are what the user asked for here: both streams go to stdout, in their order.
                let ours = std::io::stdout().as_fd().try_clone_to_owned();
                let ours = ours.map_err(|error| CliError::usage(format!("cannot copy stdout: {error}")))?;
                let status = command.arg(file).stderr(Stdio::from(ours)).status();
                (status.map_err(|error| self.cannot_start(&error))?, None, String::new())
            }
        };
        let screen = (audience == Audience::Nobody).then(|| std::fs::read_to_string(&log).unwrap_or_default());
        if !trace.exists() {
            let words = words + &screen.unwrap_or_default();
            return Err(CliError::usage(format!("{file} left no trace ({status})\n{}", words.trim_end())));
        }
        Ok(Seen {
            status: status.code(),
            stdout,
            screen,
            findings: self.json("findings", &trace)?,
            shown: self.json("show", &trace)?,
        })
    }

    fn json(&self, verb: &str, trace: &Path) -> Result<Value, CliError> {
        let output = Command::new(&self.arenascope).args([verb, "--json"]).arg(trace).output();
        let output = output.map_err(|error| self.cannot_start(&error))?;
        serde_json::from_slice(&output.stdout).map_err(|error| {
            let words = String::from_utf8_lossy(&output.stderr);
            CliError::trace(format!("{verb} --json {}: {error}\n{}", trace.display(), words.trim_end()))
        })
    }

    fn cannot_start(&self, error: &std::io::Error) -> CliError {
        CliError::usage(format!("cannot start {}: {error}", self.arenascope.display()))
    }
}

/// What this run waits for; empty when all is there.
fn needs(run: &Value) -> String {
    let needs: Vec<&str> = run["needs"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    needs.join(", ")
}

/// True when one of the flags is what is not there yet: then the program cannot even be started.
fn waits_for_a_flag(run: &Value) -> bool {
    run["needs"].as_array().into_iter().flatten().filter_map(Value::as_str).any(|need| need.starts_with("--"))
}

fn flags(run: &Value) -> impl Iterator<Item = &str> {
    run["flags"].as_array().into_iter().flatten().filter_map(Value::as_str)
}

fn variables(run: &Value) -> impl Iterator<Item = (&str, &str)> {
    run["env"].as_object().into_iter().flatten().filter_map(|(name, value)| Some((name.as_str(), value.as_str()?)))
}

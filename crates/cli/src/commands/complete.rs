//! `complete TRACE`: what reading looks up each time is written into the trace, so that it can be read where the program is not.
//!
//! Relied on: a trace that a process still writes is left alone, as is one that is complete. Absent: what only `run` knows (roles,
//! arguments, how the process ended).

use crate::args::CompleteArgs;
use crate::error::CliError;
use crate::names;
use crate::reading::TraceFile;
use crate::run::{outlive, trace_file};
use arenascope_trace::layout::{ClockPair, sealed};
use std::path::Path;
use std::process::ExitCode;

/// Runs the verb.
pub fn complete(args: &CompleteArgs) -> Result<ExitCode, CliError> {
    let file = TraceFile::open(&args.trace)?;
    let trace = file.trace()?;
    let shown = args.trace.display();
    if !names::wanted(&trace) {
        return Err(CliError::usage(format!("{shown} is complete already, or is cut off: there is nothing to add")));
    }
    let facts = names::facts(&trace);
    if outlive::runs(facts.pid) && maps(facts.pid, &args.trace) {
        let pid = facts.pid;
        return Err(CliError::usage(format!("process {pid} is still writing {shown}")).hint("when it has ended"));
    }
    let word =
        |at: usize| file.bytes().get(at..at + 8).and_then(|word| word.try_into().ok()).map_or(0, u64::from_le_bytes);
    let at = ClockPair { tsc: word(sealed::END_TSC), ns: word(sealed::END_NS) };
    trace_file::end(file.path(), &facts, at).map_err(|error| CliError::trace(format!("{shown}: {error}")))?;
    Ok(ExitCode::SUCCESS)
}

/// Whether the process has the file in its memory, or the memory that is copied to it; true as well when nobody may know.
fn maps(pid: u32, path: &Path) -> bool {
    let (Ok(maps), Ok(path)) = (std::fs::read(format!("/proc/{pid}/maps")), path.canonicalize()) else { return true };
    let maps = String::from_utf8_lossy(&maps);
    let name = path.to_string_lossy().into_owned();
    maps.lines().any(|line| line.ends_with(&name)) || trace_file::is_in_memory_of(&maps, &path)
}

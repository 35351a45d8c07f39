//! `run`: not built in yet.

use crate::args::RunArgs;
use crate::error::CliError;
use std::process::ExitCode;

/// Runs the verb.
pub fn run(_args: RunArgs) -> Result<ExitCode, CliError> {
    Err(CliError::usage("this build cannot run programs"))
}

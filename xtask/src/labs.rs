//! Runs the labs: builds the program and lets it try what it carries.
//!
//! Deliberately absent: what a lab expects. The program knows (`crates/cli/src/lab`), so that the same words check them here and
//! on a machine where it was installed.

use crate::steps;
use std::process::Command;

/// Tries all labs, or the one that is named; `slow` adds the comparison with other tools and the Rust parts.
pub fn run(only: Option<&str>, slow: bool) -> Result<(), String> {
    let arenascope = steps::arenascope(false)?;
    let mut command = Command::new(arenascope);
    command.args(["lab", "--all"]).args(only).args(slow.then_some("--slow"));
    steps::status(&mut command, "arenascope lab --all")
}

//! What can go wrong in a verb, as a sentence for the user and an exit status for scripts.
//!
//! A message says what happened, where, and what to try. Statuses are those of the interface: 2 usage and everything
//! found before the program starts, 3 a trace that cannot be read, 126 and 127 as a shell says them.

use std::fmt;
use std::io;
use std::process::ExitCode;

/// A verb that could not do what it was asked for.
#[derive(Debug)]
pub struct CliError {
    status: u8,
    message: String,
    hint: Option<String>,
}

impl CliError {
    fn new(status: u8, message: impl Into<String>) -> CliError {
        CliError { status, message: message.into(), hint: None }
    }

    /// Wrong use, or a program, role or file that cannot serve: exit status 2.
    pub fn usage(message: impl Into<String>) -> CliError {
        CliError::new(2, message)
    }

    /// A trace that cannot be read: exit status 3.
    pub fn trace(message: impl Into<String>) -> CliError {
        CliError::new(3, message)
    }

    /// The program cannot be executed: exit status 126.
    pub fn not_executable(message: impl Into<String>) -> CliError {
        CliError::new(126, message)
    }

    /// The program was not found: exit status 127.
    pub fn not_found(message: impl Into<String>) -> CliError {
        CliError::new(127, message)
    }

    /// Adds what to try.
    pub fn hint(mut self, hint: impl Into<String>) -> CliError {
        self.hint = Some(hint.into());
        self
    }

    /// Our own output could not be written: a reader that went away is no error of ours, anything else is.
    pub fn output(error: io::Error) -> CliError {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return CliError::new(0, "");
        }
        CliError::new(1, format!("cannot write the output: {error}"))
    }

    /// The exit status.
    pub fn status(&self) -> u8 {
        self.status
    }

    /// The exit status, for `main`.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.status())
    }

    /// True when there is nothing to say: the reader of our output has gone.
    pub fn is_silent(&self) -> bool {
        self.message.is_empty()
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Messages quote names of files and functions: nothing in them may command the terminal. Line breaks stay, a
        // compiler's words have several lines.
        for (index, line) in self.message.lines().enumerate() {
            let lead = if index == 0 { "" } else { "\n" };
            write!(f, "{lead}{}", arenascope_report::escape::text(line, false))?;
        }
        if let Some(hint) = &self.hint {
            for (index, line) in hint.lines().enumerate() {
                let lead = if index == 0 { "\n  try: " } else { "\n       " };
                write!(f, "{lead}{}", arenascope_report::escape::text(line, false))?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for CliError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_keep_their_lines_and_lose_their_escapes() {
        let error = CliError::usage("no function \x1b[31m'x'\nnearest: y").hint("--alloc 'y(arena, size) -> block'");
        assert_eq!(error.to_string(), "no function \\x1b[31m'x'\nnearest: y\n  try: --alloc 'y(arena, size) -> block'");
        assert_eq!(error.status(), 2);
    }

    #[test]
    fn a_closed_pipe_is_quiet_success() {
        let error = CliError::output(io::Error::from(io::ErrorKind::BrokenPipe));
        assert!(error.is_silent());
        assert_eq!(error.status(), 0);
        assert!(!CliError::output(io::Error::from(io::ErrorKind::StorageFull)).is_silent());
    }
}

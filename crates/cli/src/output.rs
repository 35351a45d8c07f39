//! Where our words go: how wide and how colourful a stream may be, and a buffered stdout that survives closed pipes.
//!
//! The only file that looks at the terminal. Colour needs a terminal that is not TERM=dumb, no NO_COLOR, and no `--plain`; the width is the
//! terminal's, else COLUMNS, else 100.

use crate::error::CliError;
use arenascope_report::style::Style;
use std::ffi::OsString;
use std::fmt;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::fd::AsFd;

/// How text on this stream may look. `plain` is the user's `--plain`.
pub fn style(stream: &(impl IsTerminal + AsFd), plain: bool) -> Style {
    let terminal = stream.is_terminal();
    let width = terminal
        .then(|| terminal_size::terminal_size_of(stream.as_fd()))
        .flatten()
        .map(|(width, _)| usize::from(width.0))
        .filter(|&width| width > 0);
    let from_environment = std::env::var("COLUMNS").ok();
    decide(terminal, width, from_environment.as_deref(), unwanted(|name| std::env::var_os(name)), plain)
}

/// Whether the environment says no to colour: NO_COLOR with any value but an empty one, or a terminal that has none.
fn unwanted(environment: impl Fn(&str) -> Option<OsString>) -> bool {
    environment("NO_COLOR").is_some_and(|value| !value.is_empty())
        || environment("TERM").is_some_and(|term| term == "dumb")
}

/// The decision itself. Widths beyond 400 columns are taken as 400: no line gets better from there.
fn decide(terminal: bool, width: Option<usize>, columns: Option<&str>, no_colour: bool, plain: bool) -> Style {
    let asked = columns.and_then(|columns| columns.parse().ok()).filter(|&columns: &usize| columns > 0);
    let width = width.or(asked).unwrap_or(Style::PIPE.width).clamp(Style::NARROWEST, 400);
    Style { width, colour: terminal && !no_colour && !plain, plain }
}

/// A buffered stdout that text views can write to. The first error stops the writing and is handed out by [`Stdout::finish`].
pub struct Stdout {
    inner: BufWriter<io::StdoutLock<'static>>,
    failed: Option<io::Error>,
}

impl Stdout {
    /// Locks stdout.
    pub fn new() -> Stdout {
        Stdout { inner: BufWriter::with_capacity(1 << 16, io::stdout().lock()), failed: None }
    }

    /// Writes `bytes`; an error means that nobody will read any more.
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        self.inner.write_all(bytes).map_err(CliError::output)
    }

    /// Flushes, and hands out the first error that a text view could not.
    pub fn finish(mut self) -> Result<(), CliError> {
        match self.failed.take() {
            Some(error) => Err(CliError::output(error)),
            None => self.inner.flush().map_err(CliError::output),
        }
    }
}

impl fmt::Write for Stdout {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.failed.is_some() {
            return Err(fmt::Error);
        }
        self.inner.write_all(text.as_bytes()).map_err(|error| {
            self.failed = Some(error);
            fmt::Error
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_gets_no_colour_and_a_sensible_width() {
        let pipe = decide(false, None, None, false, false);
        assert_eq!(pipe, Style::PIPE);
        assert_eq!(decide(false, None, Some("64"), false, false).width, 64);
        assert_eq!(decide(false, None, Some("0"), false, false).width, 100);
        assert_eq!(decide(false, None, Some("wide"), false, false).width, 100);
        assert_eq!(decide(true, Some(7), Some("64"), false, false).width, 20);
        assert_eq!(decide(true, Some(9999), None, false, false).width, 400);
    }

    #[test]
    fn a_dumb_terminal_and_no_color_are_heeded() {
        for (name, value, wanted) in [
            ("TERM", "dumb", true),
            ("TERM", "xterm-256color", false),
            ("NO_COLOR", "1", true),
            ("NO_COLOR", "", false),
            ("OTHER", "dumb", false),
        ] {
            assert_eq!(unwanted(|asked| (asked == name).then(|| value.into())), wanted, "{name}={value}");
        }
    }

    #[test]
    fn colour_needs_a_terminal_and_nobody_against_it() {
        assert!(decide(true, Some(80), None, false, false).colour);
        assert!(!decide(true, Some(80), None, true, false).colour);
        assert!(!decide(true, Some(80), None, false, true).colour);
        assert!(!decide(false, None, None, false, false).colour);
    }
}

//! Roles as people write them: text in, `RoleDecl` out, and back.
//!
//! One grammar for the command line and for profiles, written down in `GRAMMAR.md`. Any text is accepted or refused
//! with a column, a reason and something to try. Knows nothing of symbols (whether the function exists), of registers,
//! of files (a profile arrives as text) or of terminals (a caret line is made, not printed).
#![forbid(unsafe_code)]

mod caret;
mod grammar;
mod meaning;
mod nearest;
mod profile;
mod write;

use std::fmt;

pub use grammar::{Columns, MAX_ARGUMENTS, columns, library_and_name, parse, parse_for};
pub use meaning::example;
pub use profile::{Profile, ProfileError, Written, profile};
pub use write::to_text;

/// Why a text is no role declaration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RoleError {
    /// Where, in characters from 1; at most one behind the last character.
    pub column: usize,
    /// What is wrong there.
    pub message: String,
    /// What to try.
    pub hint: String,
}

impl RoleError {
    /// The text, a caret under the column, the reason and the hint; four lines without a final line break.
    ///
    /// `text` is what was parsed. Tabs and wide characters keep their width, control characters are replaced.
    pub fn render(&self, text: &str) -> String {
        format!("{}\n{}\n{}", caret::lines(text, self.column), self.message, self.hint)
    }
}

impl fmt::Display for RoleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "column {}: {}; {}", self.column, self.message, self.hint)
    }
}

impl std::error::Error for RoleError {}

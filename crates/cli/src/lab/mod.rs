//! The labs that the program carries inside itself, and how each is tried.
//!
//! ```text
//!   shelf    which labs there are, by what word, their files      expect   what a lab must show, against what it showed
//!   trial    one program built, run, compared                     tools    the same program under other tools
//!   rust     the Rust parts: run, or refused by the compiler
//! ```
//! Deliberately absent: any knowledge of a single lab. What is special about one stands in its `NAME.expected.json`.

pub mod expect;
pub mod rust;
pub mod shelf;
pub mod tools;
pub mod trial;

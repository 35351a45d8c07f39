//! View models and the texts and JSON made of them.
//!
//! What a user reads is decided here: the first screen, the snapshot of a moment, the lines of the log, the list of
//! findings. Functions take events, replayed state and facts, and return strings or write to a `fmt::Write`. Nothing here
//! prints, opens files, knows the clock or parses traces.
#![forbid(unsafe_code)]

pub mod arena;
pub mod diff;
pub mod diff_text;
pub mod escape;
pub mod finding;
pub mod gather;
pub mod hex;
pub mod hindsight;
pub mod json;
pub mod json_diff;
pub mod json_log;
pub mod json_outside;
pub mod junit;
pub mod map;
pub mod moment;
pub mod narrate;
pub mod outside;
pub mod pattern;
pub mod place;
pub mod points;
pub mod processes;
pub mod quantity;
pub mod questions;
pub mod sampled;
pub mod sarif;
pub mod screen;
pub mod snapshot;
pub mod style;
pub mod suppress;
pub mod view;

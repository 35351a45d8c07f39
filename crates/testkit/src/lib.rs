//! For tests only: event tables, facts, a stupid and obviously right model of arenas, and random event sequences.
//!
//! May be relied on: deterministic, readable before fast. Knows only `arenascope-event`, so that what it is compared
//! with cannot have taught it anything. Absent on purpose: assertions; tests compare.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod facts;
mod oracle;
mod oracle_memory;
mod random;
mod table;

pub use facts::{Facts, dropped, read, returned};
pub use oracle::{Model, ModelArena, ModelBlock};
pub use random::{MODULE, Play, play, plays};
pub use table::Table;

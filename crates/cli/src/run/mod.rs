//! The parts of `run`: from a command line to a finished trace.
//!
//! ```text
//!   program   which file, what kind        launch   fork, exec, wait           trace_file  make it, finish it
//!   compile   C files to a program         serve    answers the agents         finish      names, fates, the tail
//!   watch     which roles                  plan     roles -> hooks -> bytes    near        where thunks can lie
//!                                          neighbours   code that may jump behind a function's first instruction
//! ```

pub mod code_source;
pub mod compile;
pub mod finish;
pub mod launch;
pub mod narrate;
pub mod near;
pub mod neighbours;
pub mod plan;
pub mod program;
pub mod serve;
pub mod sources;
pub mod trace_file;
pub mod watch;

/// The agent library, as built by build.rs.
pub const AGENT: &[u8] = include_bytes!(env!("ARENASCOPE_AGENT_OBJECT"));

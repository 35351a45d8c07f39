//! Machine code, read offline: where a detour may be laid, and what becomes of a result.
//!
//! Pure functions over bytes and numbers. Knows nothing of files, processes or traces.
#![forbid(unsafe_code)]

pub mod detour;

mod fate;
mod fate_effect;
mod fate_names;
mod fate_source;
mod fate_walk;
mod null_state;
mod null_use;

pub use fate::{Verdict, fate, fate_along};
pub use fate_source::CodeSource;
pub use null_use::{NullFault, NullUse, null_use};

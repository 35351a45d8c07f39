//! Machine code, read offline: where a detour may be laid, what becomes of a result, whether threads are kept apart.
//!
//! Pure functions over bytes and numbers. Knows nothing of files, processes or traces.
#![forbid(unsafe_code)]

pub mod detour;

mod fate;
mod fate_effect;
mod fate_names;
mod fate_source;
mod fate_walk;
mod leaf;
mod null_state;
mod null_use;
mod synchronises;

pub use fate::{Verdict, fate, fate_along};
pub use fate_source::CodeSource;
pub use leaf::calls_nothing;
pub use null_use::{NullFault, NullUse, null_use};
pub use synchronises::synchronises;

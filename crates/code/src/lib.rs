//! Machine code, read offline: where a detour may be laid, and what becomes of a result.
//!
//! Pure functions over bytes and numbers. Knows nothing of files, processes or traces.
#![forbid(unsafe_code)]

pub mod detour;

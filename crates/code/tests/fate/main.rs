//! The fate of results, tried on real compilers' code, on hand-written code, on random programs and on packaged ones.
//!
//! What must hold everywhere: a result that the source uses is never called dropped.

mod any_bytes;
mod assembly;
mod compile;
mod elf_source;
mod null_runs;
mod packaged;
mod random_programs;
mod sites;
mod snippets;
mod synchronises;

//! The whole of Arenascope on real programs: compiled, run with and without us, and asked afterwards.
//!
//! One module per promise. The programs are in `../programs`, each with its expectation in its head. Relied on: a compiler
//! (a missing one fails these tests, it does not skip them), util-linux. Deliberately absent: anything that a crate's own
//! tests can say about values.

mod accusations;
mod backtraces;
mod bad_input;
mod builds;
mod captures;
mod check;
mod correct_programs;
mod diff;
mod disk;
mod drained;
mod findings;
mod forks;
mod harness;
mod hooks;
mod inside;
mod labs;
mod malloc;
mod markers;
mod marks;
mod outputs;
mod outside;
mod own;
mod own_check;
mod own_handlers;
mod permissions;
mod planted;
mod precise;
mod precise_corpus;
mod processes;
mod roles;
mod sampling;
mod sanitizers;
mod seccomp;
mod seed;
mod shapes;
mod sight;
mod small_stacks;
mod threads;
mod traces;
mod unreachable;
mod untouched;
mod views;
mod waste;

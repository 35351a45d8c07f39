//! The C library as a user has it: installed below a folder, found there by gcc and clang, used by C and C++ programs.
//!
//! A missing compiler fails these tests; it skips none.

mod callgrind;
mod installed;
mod layout;
mod mixed;
mod names;
mod programs;
mod seed;

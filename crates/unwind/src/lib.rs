//! From a frame to its caller, without frame pointers.
//!
//! Compilers leave the frame pointer out, and describe instead, for every instruction, where the caller's registers are: the call
//! frame information in `.eh_frame`. [`build`] (a feature; it needs gimli and memory) boils a module's down to a [`Table`]: sorted
//! places in the code, and a [`Rule`] of four bytes for each. The other end looks a rule up and takes a [`step`]: arithmetic on
//! three registers, over a [`Memory`] that answers or refuses.
//!
//! Relied on: the reading end allocates nothing, reads no file and no section of a module, and never panics; a walk by `step` goes
//! strictly up the stack, so it ends. Deliberately absent: registers other than the instruction pointer, the stack pointer and
//! rbp, and so frames that are found by another one: their rule says so, and a walk ends there.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(feature = "build")]
extern crate alloc;

#[cfg(feature = "build")]
mod build;
mod rule;
mod step;
mod table;

#[cfg(feature = "build")]
pub use build::{BuildError, Built, Section, build};
pub use rule::{Kind, Rule, SavedFrame};
pub use step::{Cursor, Memory, step};
pub use table::Table;

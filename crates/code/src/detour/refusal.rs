//! Why a function was not patched, in words for the user who wanted it watched.
//!
//! Every sentence continues "NAME …". Offsets count from the function's start, so that they agree with a disassembly
//! of the file whatever the load address.

use core::fmt;

/// Why a function cannot be patched without a doubt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// The function is shorter than the patch, and no padding follows that could be used.
    TooShort {
        /// Bytes the function has.
        size: u64,
        /// Bytes the patch needs.
        needed: u64,
    },
    /// Another symbol starts within the instructions to be moved.
    OtherEntry {
        /// Its offset.
        offset: u64,
    },
    /// A branch lands among the instructions to be moved.
    BranchIntoPatch {
        /// Offset of the branching instruction (negative: it stands before the function).
        from: i64,
        /// Offset of its target.
        to: u64,
    },
    /// A branch goes back to the function's first instruction: a loop, not a call.
    BranchToEntry {
        /// Offset of the branching instruction.
        from: i64,
    },
    /// An instruction to be moved calls into the moved instructions, or asks for its own address that way.
    CallAtEntry {
        /// Offset of the call.
        at: u64,
    },
    /// The bytes are no instruction we know.
    Undecodable {
        /// Their offset.
        at: u64,
    },
    /// A breakpoint instruction stands where the patch would go.
    Breakpoint {
        /// Its offset.
        at: u64,
    },
    /// Thunk, trampoline or something the moved instructions refer to is more than 2 GiB away.
    OutOfReach,
    /// Fewer bytes were given than the function has.
    CodeMissing {
        /// Bytes given.
        have: usize,
        /// Bytes the function has.
        needed: u64,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Refusal::TooShort { size, needed } if size < needed => write!(
                f,
                "is {size} {} long: too short to patch ({needed} needed, and no padding follows)",
                if size == 1 { "byte" } else { "bytes" }
            ),
            Refusal::TooShort { needed, .. } => {
                write!(f, "ends within its first {needed} bytes, and what follows is no padding: too short to patch")
            }
            Refusal::OtherEntry { offset } => {
                write!(f, "has a second entry at +{offset:#x}, among the bytes a patch would move")
            }
            Refusal::BranchIntoPatch { from, to } => write!(
                f,
                "cannot be patched: the instruction at {} jumps to +{to:#x}, among the bytes a patch would move",
                Offset(from)
            ),
            Refusal::BranchToEntry { from } => write!(
                f,
                "starts with a loop: the instruction at {} jumps back to its first instruction, and every turn would \
                 count as a call",
                Offset(from)
            ),
            Refusal::CallAtEntry { at } => {
                write!(f, "cannot be patched: the call at +{at:#x} depends on where it stands")
            }
            Refusal::Undecodable { at } => {
                write!(f, "cannot be patched: the bytes at +{at:#x} are no instruction we know")
            }
            Refusal::Breakpoint { at } => {
                write!(f, "has a breakpoint at +{at:#x}, where the patch would go (a debugger's?)")
            }
            Refusal::OutOfReach => {
                write!(f, "cannot be patched: no memory could be had within 2 GiB of it")
            }
            Refusal::CodeMissing { have, needed } => {
                write!(f, "has {needed} bytes, but only {have} of them could be read")
            }
        }
    }
}

impl std::error::Error for Refusal {}

/// An offset from the function's start, with its sign.
struct Offset(i64);

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { '-' } else { '+' };
        write!(f, "{sign}{:#x}", self.0.unsigned_abs())
    }
}

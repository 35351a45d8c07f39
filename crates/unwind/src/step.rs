//! One step from a frame to its caller.
//!
//! Relied on: the stack pointer only goes up, so a walk over a stack of n bytes ends within n / 8 steps; what cannot be read ends it.
//! The result is a function of the cursor, the rule and the words that were read, and of nothing else: whoever has seen the same words
//! knows the same caller.

use crate::rule::{Kind, Rule, SavedFrame};

/// Where a walk is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cursor {
    /// A return address; of an interrupted instruction, one byte behind its first.
    pub address: u64,
    /// rsp there.
    pub stack: u64,
    /// rbp there.
    pub frame: u64,
}

impl Cursor {
    /// The address that a rule is looked up by: inside the instruction, which may be a function's
    /// last.
    #[inline]
    pub const fn place(&self) -> u64 {
        self.address.wrapping_sub(1)
    }
}

/// Words of a stack.
pub trait Memory {
    /// The word at `address`, `None` when it is not on the stack or not aligned to 8.
    fn word(&mut self, address: u64) -> Option<u64>;
}

/// Bytes from the `ucontext` that the kernel pushed to the registers in it (arch/x86/include/uapi/asm/sigcontext.h, behind the 40 bytes
/// of uc_flags, uc_link and uc_stack).
const UCONTEXT_RBP: u64 = 120;
const UCONTEXT_RSP: u64 = 160;
const UCONTEXT_RIP: u64 = 168;

/// The caller of the frame at `from`, where `rule` holds. `None`: the walk ends here.
#[inline]
pub fn step(rule: Rule, from: Cursor, memory: &mut impl Memory) -> Option<Cursor> {
    let cfa = match rule.kind() {
        Kind::Stack => from.stack.wrapping_add_signed(rule.offset()),
        Kind::Frame => from.frame.wrapping_add_signed(rule.offset()),
        _ => return step_otherwise(rule, from, memory),
    };
    climb(rule, from, cfa, memory)
}

#[inline]
fn climb(rule: Rule, from: Cursor, cfa: u64, memory: &mut impl Memory) -> Option<Cursor> {
    if cfa <= from.stack {
        return None;
    }
    let address = memory.word(cfa.wrapping_sub(8))?;
    let frame = match rule.saved() {
        SavedFrame::Same => from.frame,
        SavedFrame::Below(bytes) => memory.word(cfa.wrapping_sub(bytes))?,
        SavedFrame::Lost => 0,
    };
    Some(Cursor { address, stack: cfa, frame })
}

fn step_otherwise(rule: Rule, from: Cursor, memory: &mut impl Memory) -> Option<Cursor> {
    match rule.kind() {
        Kind::Plt => {
            let pushed = from.place() & 15 >= rule.offset().unsigned_abs() / 8;
            let cfa = from.stack.wrapping_add(if pushed { 16 } else { 8 });
            climb(rule, from, cfa, memory)
        }
        Kind::Signal => {
            let stack = memory.word(from.stack.wrapping_add(UCONTEXT_RSP))?;
            let frame = memory.word(from.stack.wrapping_add(UCONTEXT_RBP))?;
            let address = memory.word(from.stack.wrapping_add(UCONTEXT_RIP))?;
            (stack > from.stack).then_some(Cursor { address: address.wrapping_add(1), stack, frame })
        }
        Kind::Realigned => {
            let cfa = memory.word(from.frame.wrapping_add_signed(rule.offset()))?;
            if cfa <= from.stack {
                return None;
            }
            let frame = memory.word(from.frame)?;
            let address = memory.word(cfa.wrapping_sub(8))?;
            Some(Cursor { address, stack: cfa, frame })
        }
        // Code without a description may keep a frame pointer, as code built with -fno-omit-frame-pointer does.
        Kind::Gap => {
            if from.frame < from.stack {
                return None;
            }
            let frame = memory.word(from.frame)?;
            let address = memory.word(from.frame.wrapping_add(8))?;
            Some(Cursor { address, stack: from.frame.wrapping_add(16), frame })
        }
        Kind::Stack | Kind::Frame | Kind::Unknown | Kind::End => None,
    }
}

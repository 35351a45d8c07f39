//! Walks a thread's stack, by the rules of its modules, without ever faulting.
//!
//! Reads only between the stack pointer of the call and the end of the mapping that held this thread's stack when it was last looked
//! up, goes strictly upward, and keeps only addresses that lie in code. Where a module has a rule for a place the rule is followed;
//! where it has none (hand-written code, or modules nobody told of) a frame pointer is; where neither leads on the walk ends. Names are
//! somebody else's work.
//!
//! What a walk finds depends on the call's three registers, on the stack's end, on the modules, and on the words it read, which it
//! notes: see `stacks`.
#![allow(unsafe_code, reason = "reads the host's stack inside checked bounds")]

use crate::modules::{Look, Modules};
use crate::sites::{CallFrame, CodeRanges, FRAMES_MAX, StubFrame};
use arenascope_unwind::{Cursor, Kind, Memory, Rule, step};

/// Words that a walk notes; a walk that reads more is not kept.
pub(crate) const WORDS: usize = 18;

/// The words that a walk read: where, in words above the call's stack pointer, and what was there.
#[derive(Clone, Copy)]
pub(crate) struct Words {
    pub places: [u16; WORDS],
    pub values: [u64; WORDS],
    /// How many; more than [`WORDS`]: they did not fit.
    pub count: u32,
}

impl Words {
    pub(crate) const NONE: Words = Words { places: [0; WORDS], values: [0; WORDS], count: 0 };
}

/// The stack above a call, as far as it may be read.
struct Stack<'a> {
    low: u64,
    /// Addresses of readable words are below `low + span`.
    span: u64,
    words: &'a mut Words,
}

impl Memory for Stack<'_> {
    #[inline]
    fn word(&mut self, address: u64) -> Option<u64> {
        let above = address.wrapping_sub(self.low);
        if above >= self.span || above & 7 != 0 {
            return None;
        }
        // SAFETY: low <= address and address + 8 <= the end of the mapped stack (`span`, the contract of `Walk::high`); aligned as `low`.
        let value = unsafe { (address as *const u64).read() };
        let index = self.words.count as usize;
        self.words.count = self.words.count.wrapping_add(1);
        match (self.words.places.get_mut(index), self.words.values.get_mut(index), u16::try_from(above >> 3)) {
            (Some(place), Some(kept), Ok(words_above)) => {
                *place = words_above;
                *kept = value;
            }
            _ => self.words.count = WORDS as u32 + 1,
        }
        Some(value)
    }
}

/// A slot of a thread's cache of rules.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct CachedRule {
    /// The place; 0: empty.
    place: u64,
    bits: u32,
    inside: u32,
}

// SAFETY: integers; zeros are an empty slot.
unsafe impl crate::reserve::Zeroed for CachedRule {}

impl CachedRule {
    pub(crate) const EMPTY: CachedRule = CachedRule { place: 0, bits: 0, inside: 0 };
}

/// Slots of that cache.
pub(crate) const RULE_SLOTS: usize = 128;

/// Looks rules up, by the thread's cache first.
pub(crate) struct Rules<'a> {
    pub modules: &'a Modules,
    pub cache: &'a mut [CachedRule],
}

impl Rules<'_> {
    #[inline]
    fn look(&mut self, place: u64) -> (Rule, bool) {
        let index = (place.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 57) as usize & (RULE_SLOTS - 1);
        match self.cache.get(index) {
            Some(cached) if cached.place == place => (Rule::from_bits(cached.bits), cached.inside != 0),
            _ => self.look_slowly(place, index),
        }
    }

    #[cold]
    fn look_slowly(&mut self, place: u64, index: usize) -> (Rule, bool) {
        let Look { rule, inside, certain } = self.modules.look(place);
        if certain && let Some(cached) = self.cache.get_mut(index) {
            *cached = CachedRule { place, bits: rule.bits(), inside: u32::from(inside) };
        }
        (rule, inside)
    }

    /// Forgets what was looked up.
    pub(crate) fn forget(cache: &mut [CachedRule]) {
        cache.fill(CachedRule::EMPTY);
    }
}

/// What all walks of a thread share.
pub(crate) struct Walk<'a> {
    /// One past the last byte that may be read. From the call's stack pointer to here the stack is mapped.
    pub high: u64,
    pub stub: StubFrame,
    pub code: &'a CodeRanges,
    pub rules: Rules<'a>,
    /// Addresses wanted, at most.
    pub limit: usize,
}

/// Where a call's walk begins: behind the call, its return address popped.
#[inline]
pub(crate) fn after(call: CallFrame) -> Cursor {
    Cursor { address: call.return_address, stack: call.stack_pointer.wrapping_add(8), frame: call.frame_pointer }
}

impl Walk<'_> {
    /// Walks from `at` upward. Reads nothing below `low`, the stack pointer that bounds were looked up for. Fills `out` from its start,
    /// innermost first; returns count and hash.
    #[inline]
    pub(crate) fn run(&mut self, at: Cursor, low: u64, out: &mut [u64; FRAMES_MAX], words: &mut Words) -> (usize, u64) {
        words.count = 0;
        // Of a stack whose mapping is not known nothing is read (`look_up_stack`).
        let span = match self.high.wrapping_sub(low) & !7 {
            span if low & 7 == 0 && low < self.high && span > 8 => span,
            _ => 0,
        };
        let mut stack = Stack { low, span, words };
        let any = !self.rules.modules.is_empty();
        let mut at = at;
        let mut count = 0usize;
        let mut hash = 0u64;
        loop {
            if (at.address == self.stub.label || at.address == self.stub.label_with_arguments) && self.stub.label != 0 {
                let Some(caller) = self.past_stub(at, &mut stack) else { break };
                at = caller;
            }
            let (rule, follow) = match any {
                true => {
                    let (rule, inside) = self.rules.look(at.place());
                    if count > 0 && !inside && !self.code.contains(at.address) {
                        break;
                    }
                    (rule, inside)
                }
                false if count > 0 && !self.code.contains(at.address) => break,
                false => (Rule::GAP, true),
            };
            let Some(place) = out.get_mut(count) else { break };
            *place = at.address;
            hash = (hash.rotate_left(23) ^ at.address).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            count = count.wrapping_add(1);
            if count >= self.limit || !follow {
                break;
            }
            let Some(next) = step(rule, at, &mut stack) else { break };
            // A frame pointer is a guess: what it leads to must be known code.
            if any && rule.kind() == Kind::Gap && !self.rules.look(next.place()).1 && !self.is_stub(next.address) {
                break;
            }
            at = next;
        }
        (count, hash | 1)
    }

    #[inline]
    fn is_stub(&self, address: u64) -> bool {
        self.stub.label != 0 && (address == self.stub.label || address == self.stub.label_with_arguments)
    }

    /// A call that runs inside a frame of ours: its true return address lies further up.
    #[cold]
    fn past_stub(&mut self, at: Cursor, stack: &mut Stack<'_>) -> Option<Cursor> {
        let further = if at.address == self.stub.label { 0 } else { self.stub.argument_bytes };
        let slot = at.stack.wrapping_sub(8).wrapping_add(self.stub.distance).wrapping_add(further);
        if slot < at.stack {
            return None;
        }
        Some(Cursor { address: stack.word(slot)?, stack: slot.wrapping_add(8), ..at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::vec::Vec;

    fn walk(
        call: CallFrame,
        high: u64,
        stub: StubFrame,
        code: &CodeRanges,
        limit: usize,
        out: &mut [u64; FRAMES_MAX],
    ) -> (usize, u64) {
        let modules = Modules::new(&[]);
        let mut cache = [CachedRule::EMPTY; RULE_SLOTS];
        let rules = Rules { modules: &modules, cache: &mut cache };
        Walk { high, stub, code, rules, limit }.run(after(call), call.stack_pointer, out, &mut Words::NONE.clone())
    }

    fn code() -> CodeRanges {
        let code = CodeRanges::new();
        code.add(0x1000, 0x9000);
        code
    }

    /// Builds frames in a Vec<u64> that stands for a stack, and walks it.
    fn walked(words: &[u64], frame_word: usize, stub: StubFrame, limit: usize) -> Vec<u64> {
        let base = words.as_ptr() as u64;
        let absolute: Vec<u64> =
            words.iter().map(|w| if *w >> 63 == 1 { base + (w & 0xffff) * 8 } else { *w }).collect();
        // The copy must be the memory that is walked: rebase onto it.
        let copy_base = absolute.as_ptr() as u64;
        let absolute: Vec<u64> = {
            let mut v = absolute;
            for w in &mut v {
                if *w >= base && *w < base + 8 * words.len() as u64 {
                    *w = *w - base + copy_base;
                }
            }
            v
        };
        let real_base = absolute.as_ptr() as u64;
        let call = CallFrame {
            return_address: 0x2001,
            frame_pointer: real_base + 8 * frame_word as u64,
            stack_pointer: real_base,
        };
        let mut out = [0; FRAMES_MAX];
        let (count, _) = walk(call, real_base + 8 * absolute.len() as u64, stub, &code(), limit, &mut out);
        out[..count].to_vec()
    }

    const UP: u64 = 1 << 63;

    #[test]
    fn frames_are_followed_upward_until_the_limit() {
        let stack = [0, 0, UP | 6, 0x3000, 0, 0, UP | 10, 0x4000, 0, 0, 0, 0x5000, 0, 0];
        assert_eq!(walked(&stack, 2, StubFrame::default(), 8), [0x2001, 0x3000, 0x4000, 0x5000]);
        assert_eq!(walked(&stack, 2, StubFrame::default(), 2), [0x2001, 0x3000]);
    }

    #[test]
    fn a_frame_pointer_that_is_none_yields_the_caller_alone() {
        for bad in [0u64, 1, 7] {
            let call = CallFrame { return_address: 0x2001, frame_pointer: bad, stack_pointer: 0x7000 };
            let mut out = [0; FRAMES_MAX];
            assert_eq!(walk(call, 0x8000, StubFrame::default(), &code(), 8, &mut out).0, 1);
        }
        // Beyond the stack's end, or pointing down.
        let stack = [0, 0, UP | 1, 0x3000, 0, 0];
        assert_eq!(walked(&stack, 5, StubFrame::default(), 8), [0x2001]);
        assert_eq!(walked(&stack, 2, StubFrame::default(), 8), [0x2001, 0x3000]);
    }

    #[test]
    fn addresses_outside_code_end_the_walk() {
        let stack = [0, 0, UP | 6, 0x3000, 0, 0, UP | 10, 0xdead_beef, 0, 0, 0, 0x5000, 0, 0];
        assert_eq!(walked(&stack, 2, StubFrame::default(), 8), [0x2001, 0x3000]);
    }

    #[test]
    fn a_return_into_our_stub_is_replaced_by_the_true_one() {
        let stub = StubFrame { label: 0x6666, distance: 24, label_with_arguments: 0x7777, argument_bytes: 8 };
        let stack = [0, 0, UP | 7, 0x6666, 0, 0, 0x4444, UP | 9, 0x4000, 0, 0x5000, 0, 0, 0];
        assert_eq!(walked(&stack, 2, stub, 8)[..2], [0x2001, 0x4444]);
        let stack = [0, 0, UP | 7, 0x7777, 0, 0, 0x4444, 0x4445, UP | 9, 0x4000, 0, 0x5000, 0, 0, 0];
        assert_eq!(walked(&stack, 2, stub, 8)[..2], [0x2001, 0x4445]);
    }
}

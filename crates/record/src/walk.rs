//! Walks a thread's stack, by the rules of its modules, without ever faulting.
//!
//! Reads only between the stack pointer of the call and the end of the mapping that held this thread's stack when it was last looked
//! up, goes strictly upward, and keeps only addresses that lie in code. Where a module has a rule for a place the rule is followed;
//! where it has none (hand-written code, or modules nobody told of) a frame pointer is; where neither leads on the walk ends. Names are
//! somebody else's work.
//!
//! A step depends on the frame, on the modules, and on the words it read, which it names: see `stacks`.
#![allow(unsafe_code, reason = "reads the host's stack inside checked bounds")]

use crate::modules::{Look, Modules};
use crate::sites::{CallFrame, CodeRanges, FRAMES_MAX, StubFrame};
use arenascope_unwind::{Cursor, Kind, Memory, Rule, SavedFrame, step};

/// The stack above a call, as far as it may be read.
#[derive(Clone, Copy)]
struct Stack {
    low: u64,
    /// Addresses of readable words are below `low + span`.
    span: u64,
    /// Where the last step read, in its order.
    read: [u64; 2],
    /// How many words it read.
    count: u32,
}

impl Memory for Stack {
    #[inline]
    fn word(&mut self, address: u64) -> Option<u64> {
        let above = address.wrapping_sub(self.low);
        if above >= self.span || above & 7 != 0 {
            return None;
        }
        if let Some(place) = self.read.get_mut(self.count as usize) {
            *place = address;
        }
        self.count = self.count.wrapping_add(1);
        // SAFETY: low <= address and address + 8 <= the end of the mapped stack (`span`, the contract of `Walk::new`); aligned as `low`.
        Some(unsafe { (address as *const u64).read() })
    }
}

/// A slot of a thread's cache of rules.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct CachedRule {
    /// The place; 0: empty.
    place: u64,
    bits: u32,
    /// For a step that takes no thought: words from rsp to the caller's; 0: it takes some.
    up: u16,
    /// And words from there down to rbp; 0: it stayed; [`CachedRule::LOST`]. [`CachedRule::INSIDE`]: in the code of a module.
    down: u16,
}

// SAFETY: integers; zeros are an empty slot.
unsafe impl crate::reserve::Zeroed for CachedRule {}

impl CachedRule {
    pub(crate) const EMPTY: CachedRule = CachedRule { place: 0, bits: 0, up: 0, down: 0 };
    /// As many words are never below a frame's end (`Rule`).
    const LOST: u16 = 0xfff;
    const INSIDE: u16 = 0x8000;

    fn new(place: u64, rule: Rule, inside: bool) -> CachedRule {
        let words = match (rule.kind(), u16::try_from(rule.offset() / 8)) {
            (Kind::Stack, Ok(words)) if inside => words,
            _ => 0,
        };
        let down = match rule.saved() {
            SavedFrame::Same => Some(0),
            SavedFrame::Lost => Some(Self::LOST),
            // Not below this frame.
            SavedFrame::Below(bytes) => u16::try_from(bytes / 8).ok().filter(|down| *down <= words),
        };
        let flag = if inside { Self::INSIDE } else { 0 };
        let up = if down.is_some() { words } else { 0 };
        CachedRule { place, bits: rule.bits(), up, down: down.unwrap_or(0) | flag }
    }

    #[inline]
    fn inside(&self) -> bool {
        self.down & Self::INSIDE != 0
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.place == 0
    }
}

/// Slots of that cache, in pairs.
pub(crate) const RULE_SLOTS: usize = 256;

/// A thread's cache of rules.
pub(crate) type CachedRules = [CachedRule; RULE_SLOTS];

/// Looks rules up, by the thread's cache first.
pub(crate) struct Rules<'a> {
    pub modules: &'a Modules,
    pub cache: &'a mut CachedRules,
}

impl Rules<'_> {
    #[inline]
    fn slot(place: u64) -> usize {
        (place.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as usize & (RULE_SLOTS - 1)
    }

    /// The rule of a place, if it was looked up lately.
    #[inline]
    fn known(&self, place: u64) -> Option<&CachedRule> {
        let slot = Self::slot(place);
        let one = self.cache.get(slot)?;
        if one.place == place {
            return Some(one);
        }
        self.cache.get(slot ^ 1).filter(|other| other.place == place)
    }

    #[inline]
    fn look(&mut self, place: u64) -> (Rule, bool) {
        match self.known(place) {
            Some(cached) => (Rule::from_bits(cached.bits), cached.inside()),
            None => self.look_slowly(place),
        }
    }

    #[cold]
    #[inline(never)]
    fn look_slowly(&mut self, place: u64) -> (Rule, bool) {
        let Look { rule, inside, certain } = self.modules.look(place);
        let slot = Self::slot(place);
        if certain {
            // What was there moves to the other of the pair.
            if let Some(old) = self.cache.get(slot).copied()
                && let Some(other) = self.cache.get_mut(slot ^ 1)
            {
                *other = old;
            }
            if let Some(cached) = self.cache.get_mut(slot) {
                *cached = CachedRule::new(place, rule, inside);
            }
        }
        (rule, inside)
    }

    /// Forgets what was looked up.
    pub(crate) fn forget(cache: &mut CachedRules) {
        cache.fill(CachedRule::EMPTY);
    }
}

/// What all walks of a thread share.
pub(crate) struct Walk<'a> {
    stack: Stack,
    stub: &'a StubFrame,
    code: &'a CodeRanges,
    rules: Rules<'a>,
    /// Somebody told of modules.
    any: bool,
}

/// Where a call's walk begins: behind the call, its return address popped.
#[inline]
pub(crate) fn after(call: CallFrame) -> Cursor {
    Cursor { address: call.return_address, stack: call.stack_pointer.wrapping_add(8), frame: call.frame_pointer }
}

/// Where a step found what it found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub(crate) struct Link {
    /// Address of the word with the return address, right below the caller's stack pointer; 0: the step is not to be kept.
    pub return_at: u64,
    /// Address of the word with the caller's rbp; 0: rbp stayed as it was; [`Link::LOST`]: nobody can say, it is 0.
    pub frame_at: u64,
    /// The step depends on rbp, not only on rsp.
    pub by_frame: bool,
}

impl Link {
    /// No step, or one that read more than a link names.
    pub(crate) const NONE: Link = Link { return_at: 0, frame_at: 0, by_frame: false };
    /// No address of a word.
    pub(crate) const LOST: u64 = 1;
}

impl<'a> Walk<'a> {
    /// Walks of the stack from `low`, the stack pointer that bounds were looked up for, to `high`, one past the last byte that may be
    /// read: in between the stack is mapped.
    #[inline]
    pub(crate) fn new(low: u64, high: u64, stub: &'a StubFrame, code: &'a CodeRanges, rules: Rules<'a>) -> Walk<'a> {
        // Of a stack whose mapping is not known nothing is read (`look_up_stack`).
        let span = match high.wrapping_sub(low) & !7 {
            span if low & 7 == 0 && low < high && span > 8 => span,
            _ => 0,
        };
        let any = !rules.modules.is_empty();
        Walk { stack: Stack { low, span, read: [0; 2], count: 0 }, stub, code, rules, any }
    }

    /// Walks from `at` upward. Fills `out` from its start, innermost first, with `limit` addresses at most; returns their count.
    pub(crate) fn run(&mut self, at: Cursor, limit: usize, out: &mut [u64; FRAMES_MAX]) -> usize {
        let mut at = at;
        let mut count = 0usize;
        while let Some((here, _)) = self.past_stub(at)
            && let Some((rule, follow)) = self.enter(here, count == 0)
            && let Some(place) = out.get_mut(count)
        {
            *place = here.address;
            count = count.wrapping_add(1);
            if count >= limit || !follow {
                break;
            }
            let Some((next, _)) = self.step(here, rule) else { break };
            at = next;
        }
        count
    }

    /// The frame that a walk has come to: `at`, or the caller of a frame of ours, and whether it was one.
    #[inline]
    pub(crate) fn past_stub(&mut self, at: Cursor) -> Option<(Cursor, bool)> {
        if self.is_stub(at.address) { Some((self.past_our_frame(at)?, true)) } else { Some((at, false)) }
    }

    #[inline]
    fn is_stub(&self, address: u64) -> bool {
        (address == self.stub.label || address == self.stub.label_with_arguments) && self.stub.label != 0
    }

    /// A call that runs inside a frame of ours: its true return address lies further up.
    #[cold]
    fn past_our_frame(&mut self, at: Cursor) -> Option<Cursor> {
        let further = if at.address == self.stub.label { 0 } else { self.stub.argument_bytes };
        let slot = at.stack.wrapping_sub(8).wrapping_add(self.stub.distance).wrapping_add(further);
        if slot < at.stack {
            return None;
        }
        Some(Cursor { address: self.stack.word(slot)?, stack: slot.wrapping_add(8), ..at })
    }

    /// The rule of the frame `at`, and whether a walk goes on from it; `None`: the walk has ended before it. The first frame counts
    /// wherever it is.
    #[inline]
    pub(crate) fn enter(&mut self, at: Cursor, first: bool) -> Option<(Rule, bool)> {
        if !self.any {
            return (first || self.code.contains(at.address)).then_some((Rule::GAP, true));
        }
        let (rule, inside) = self.rules.look(at.place());
        (inside || first || self.code.contains(at.address)).then_some((rule, inside))
    }

    /// As [`Walk::step`], of a frame whose rule is at hand and counts from rsp, as nearly all do. `None`: it takes the long way. Nobody
    /// looks up a rule for a frame of ours, so it is none.
    #[inline]
    pub(crate) fn quick_step(&self, at: Cursor) -> Option<(Cursor, Link)> {
        let cached = self.rules.known(at.place())?;
        let caller = at.stack.wrapping_add(u64::from(cached.up) << 3);
        let end = self.stack.low.wrapping_add(self.stack.span);
        // Nothing is read when the bounds are not known: `span` is 0, and a walk begins above `low`.
        if cached.up == 0 || caller > end {
            return None;
        }
        let return_at = caller.wrapping_sub(8);
        // SAFETY: low <= at.stack (walks go up from `low`) < caller, and caller <= low + span, the end of the mapped stack; a multiple of 8
        // as `low` and the rsp of all frames above it are (`Stack::word` looks).
        let address = unsafe { (return_at as *const u64).read() };
        let (frame_at, frame) = match cached.down & !CachedRule::INSIDE {
            0 => (0, at.frame),
            CachedRule::LOST => (Link::LOST, 0),
            down => {
                let place = caller.wrapping_sub(u64::from(down) << 3);
                // SAFETY: as above; `down` is at most `up` (`CachedRule::new`), so it is not below at.stack.
                (place, unsafe { (place as *const u64).read() })
            }
        };
        Some((Cursor { address, stack: caller, frame }, Link { return_at, frame_at, by_frame: false }))
    }

    /// The caller of `at`, where `rule` holds, and where that was read.
    #[inline(always)]
    pub(crate) fn step(&mut self, at: Cursor, rule: Rule) -> Option<(Cursor, Link)> {
        self.stack.count = 0;
        // An interrupted rsp may be anything.
        let next = step(rule, at, &mut self.stack).filter(|next| next.stack & 7 == 0)?;
        // A frame pointer is a guess: what it leads to must be known code.
        if self.any && rule.kind() == Kind::Gap && !self.rules.look(next.place()).1 && !self.is_stub(next.address) {
            return None;
        }
        Some((next, self.link(at, rule)))
    }

    /// What the step from `at` has read.
    #[inline]
    fn link(&self, at: Cursor, rule: Rule) -> Link {
        let [return_at, second] = self.stack.read;
        let by_frame = rule.kind() == Kind::Frame;
        let frame_at = match (rule.kind(), self.stack.count, rule.saved()) {
            (Kind::Stack | Kind::Frame | Kind::Plt, 2, _) => second,
            (Kind::Stack | Kind::Frame | Kind::Plt, 1, SavedFrame::Same) => 0,
            (Kind::Stack | Kind::Frame | Kind::Plt, 1, SavedFrame::Lost) => Link::LOST,
            // No modules: frame pointers are followed wherever they lead.
            (Kind::Gap, 2, _) if !self.any => {
                return self.above(at, Link { return_at: second, frame_at: return_at, by_frame: true });
            }
            _ => return Link::NONE,
        };
        self.above(at, Link { return_at, frame_at, by_frame })
    }

    /// What lies below the frame is read by a walk from further in, and not by one from here.
    #[inline]
    fn above(&self, at: Cursor, link: Link) -> Link {
        let above = |address: u64| address <= Link::LOST || address >= at.stack;
        if above(link.return_at) && above(link.frame_at) { link } else { Link::NONE }
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
    ) -> usize {
        let modules = Modules::new(&[]);
        let mut cache = [CachedRule::EMPTY; RULE_SLOTS];
        let rules = Rules { modules: &modules, cache: &mut cache };
        let mut walk = Walk::new(call.stack_pointer, high, &stub, code, rules);
        walk.run(after(call), limit, out)
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
        let count = walk(call, real_base + 8 * absolute.len() as u64, stub, &code(), limit, &mut out);
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
            assert_eq!(walk(call, 0x8000, StubFrame::default(), &code(), 8, &mut out), 1);
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

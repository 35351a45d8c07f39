//! Stacks that a thread has walked lately, and the sites they are.
//!
//! A walk is a function of the call's three registers, the stack's end, the modules, and the words it read. An entry keeps all of
//! them: when each is as it was the walk would find what it found, and its site is known for one load and one compare a word. The words
//! are the return addresses *and* the saved frame pointers that the walk followed. Tried by others: memray (pull request 1004) and
//! bytehound compare the return addresses only, which is enough where frames have fixed sizes; ours need not.
#![allow(unsafe_code, reason = "reads the host's stack where a walk has read it")]

use crate::reserve::Zeroed;
use crate::sites::CallFrame;
use crate::walk::{WORDS, Words};

/// Stacks kept for a thread, in pairs: the first of a pair is the one met last.
pub(crate) const STACK_SLOTS: usize = 256;
/// Threads at once that keep stacks; further ones walk each time. Address space is what they cost.
pub(crate) const STACK_THREADS: usize = 256;

/// A stack.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct CachedStack {
    return_address: u64,
    stack_pointer: u64,
    frame_pointer: u64,
    /// Of the modules and of the stack's bounds; 0: empty.
    version: u64,
    /// Of the place that the program told; 0: none.
    told: u64,
    site: u32,
    count: u32,
    places: [u16; WORDS],
    values: [u64; WORDS],
}

// SAFETY: integers; zeros are an empty slot.
unsafe impl Zeroed for CachedStack {}

impl CachedStack {
    /// True when a walk from `call` would find what it found when this was kept.
    #[inline]
    fn is(&self, call: CallFrame, told: u64, version: u64) -> bool {
        let other = (self.return_address ^ call.return_address)
            | (self.stack_pointer ^ call.stack_pointer)
            | (self.frame_pointer ^ call.frame_pointer)
            | (self.told ^ told)
            | (self.version ^ version);
        if other != 0 {
            return false;
        }
        let mut different = 0u64;
        for (place, value) in self.places.iter().zip(&self.values).take(self.count as usize) {
            let address = call.stack_pointer.wrapping_add(u64::from(*place) << 3);
            // SAFETY: a walk read this word when the stack had these bounds (`version`), which `keep` noted, and they still are the
            // thread's: it lies between the stack pointer and the end of the mapped stack.
            different |= unsafe { (address as *const u64).read() } ^ value;
        }
        different == 0
    }
}

/// The first slot of the pair for `call` from the place `told`: all calls of our own library come from the same few of its functions, and
/// only the place tells them apart.
#[inline]
fn pair(call: CallFrame, told: u64) -> usize {
    let mixed = (call.return_address ^ call.stack_pointer << 13 ^ told).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 56) as usize & (STACK_SLOTS - 1) & !1
}

/// The site of `call` at the place `told`, if its stack is one of `stacks` word by word. `version` must be that of the modules and of the bounds in which
/// `call.stack_pointer` lies now.
#[inline]
pub(crate) fn find(stacks: &[CachedStack], call: CallFrame, told: u64, version: u64) -> Option<u32> {
    let first = stacks.get(pair(call, told))?;
    if first.is(call, told, version) {
        return Some(first.site);
    }
    let second = stacks.get(pair(call, told).wrapping_add(1))?;
    second.is(call, told, version).then_some(second.site)
}

/// Forgets all.
pub(crate) fn forget(stacks: &mut [CachedStack]) {
    for stack in stacks {
        stack.version = 0;
    }
}

/// Keeps what a walk from `call` read.
#[inline]
pub(crate) fn keep(stacks: &mut [CachedStack], call: CallFrame, told: u64, version: u64, words: &Words, site: u32) {
    if words.count as usize <= WORDS
        && let Some([first, second]) = stacks.get_mut(pair(call, told)..).and_then(|rest| rest.first_chunk_mut::<2>())
    {
        *second = *first;
        *first = CachedStack {
            return_address: call.return_address,
            stack_pointer: call.stack_pointer,
            frame_pointer: call.frame_pointer,
            version,
            told,
            site,
            count: words.count,
            places: words.places,
            values: words.values,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::{CodeModule, Modules, Row};
    use crate::sites::{CodeRanges, FRAMES_MAX, StubFrame};
    use crate::walk::{CachedRule, RULE_SLOTS, Rules, Walk, after};
    use arenascope_unwind::{Kind, Rule, SavedFrame, Table};
    extern crate std;
    use std::{collections::HashMap, vec::Vec};

    struct Random(u64);
    impl Random {
        fn below(&mut self, limit: u64) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0 % limit
        }
    }

    const CODE: (u64, u64) = (0x10_0000, 0x10_4000);

    /// A module of 1024 places, each with a rule of its own.
    fn module(random: &mut Random) -> CodeModule {
        let starts: Vec<u32> = (0..1024u32).map(|place| place * 16).collect();
        let rules = starts.iter().map(|_| {
            let saved = [SavedFrame::Same, SavedFrame::Below(16), SavedFrame::Below(24), SavedFrame::Lost]
                [random.below(4) as usize];
            match random.below(10) {
                0..6 => Rule::new(Kind::Stack, 8 * (1 + random.below(6) as i64), saved),
                6..8 => Rule::new(Kind::Frame, 16, SavedFrame::Below(16)),
                8 => Rule::GAP,
                _ => Rule::UNKNOWN,
            }
        });
        let rules: Vec<u32> = rules.map(Rule::bits).collect();
        let words: &'static [u32] = Vec::leak(starts.iter().chain(&rules).copied().collect());
        let (starts, rules) = words.split_at(1024);
        CodeModule { start: CODE.0, end: CODE.1, table: Table::new(starts, rules) }
    }

    #[test]
    fn a_stack_that_is_known_again_is_one_that_a_walk_finds_again() {
        let mut random = Random(0x1234_5678_9abc_def1);
        let modules = Modules::new(Vec::leak((0..4).map(|_| Row::empty()).collect()));
        modules.set([module(&mut random)].into_iter());
        let mut stack: Vec<u64> = std::vec![0; 64];
        let base = stack.as_ptr() as u64;
        let word = |random: &mut Random| match random.below(8) {
            0..5 => CODE.0 + 1 + random.below(CODE.1 - CODE.0 - 1),
            5..7 => base + 8 * random.below(64),
            _ => random.below(1000),
        };
        for place in &mut stack {
            *place = word(&mut random);
        }
        let empty = CachedStack {
            return_address: 0,
            stack_pointer: 0,
            frame_pointer: 0,
            version: 0,
            told: 0,
            site: 0,
            count: 0,
            places: [0; WORDS],
            values: [0; WORDS],
        };
        let mut stacks: Vec<CachedStack> = std::vec![empty; STACK_SLOTS];
        let mut sites: HashMap<Vec<u64>, u32> = HashMap::new();
        let mut calls: Vec<CallFrame> = Vec::new();
        let (mut known, mut deep, mut changed) = (0, 0, 0);
        for round in 0..200_000u64 {
            // Words change now and then, so that many stacks are the same as before and many differ in one word.
            if random.below(4) == 0 {
                stack[random.below(64) as usize] = word(&mut random);
                changed += 1;
            }
            if calls.len() < 24 || random.below(500) == 0 {
                let call = CallFrame {
                    return_address: CODE.0 + 1 + random.below(CODE.1 - CODE.0 - 1),
                    stack_pointer: base + 8 * random.below(24),
                    frame_pointer: word(&mut random),
                };
                let at = round as usize % 24;
                if at < calls.len() { calls[at] = call } else { calls.push(call) }
            }
            let call = calls[random.below(calls.len() as u64) as usize];
            let version = u64::from(modules.generation()) << 32 | 1;
            // What is on the stack now, seen through the same pointer as the walk's.
            let mut cache = [CachedRule::EMPTY; RULE_SLOTS];
            let code = CodeRanges::new();
            let rules = Rules { modules: &modules, cache: &mut cache };
            let mut walk = Walk { high: base + 64 * 8, stub: StubFrame::default(), code: &code, rules, limit: 8 };
            let (mut out, mut words) = ([0u64; FRAMES_MAX], Words::NONE);
            std::hint::black_box(&mut stack);
            let (count, _) = walk.run(after(call), call.stack_pointer, &mut out, &mut words);
            let next = sites.len() as u32;
            let site = *sites.entry(out[..count].to_vec()).or_insert(next);
            deep += usize::from(count >= 4);
            match find(&stacks, call, 7, version) {
                Some(found) => {
                    assert_eq!(found, site, "round {round}: {call:x?}");
                    known += 1;
                }
                None => keep(&mut stacks, call, 7, version, &words, site),
            }
            assert_eq!(find(&stacks, call, 8, version), None, "another place told");
            assert_eq!(find(&stacks, call, 7, version + 1), None, "other bounds, or other modules");
        }
        assert!(
            known > 50_000 && deep > 10_000 && changed > 40_000 && sites.len() > 1000,
            "{known} {deep} {} {changed}",
            sites.len()
        );
    }
}

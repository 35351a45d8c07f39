//! Stacks that a thread has met lately, whole, and the sites they are: for calls that come from the same places again and again.
//!
//! A walk is a function of the call's three registers, the stack's bounds, the modules, and the words it read. An entry keeps all of
//! them: when each is as it was the walk would find what it found, and its site is known for one load and one compare a word. The words
//! are the return addresses *and* the saved frame pointers that the walk followed. Where stacks hardly come again (a parser that
//! recurses) keeping them is a waste; then most are not kept, and `last_stack` alone helps.
#![allow(unsafe_code, reason = "reads the host's stack where a walk has read it")]

use crate::last_stack::LastStack;
use crate::reserve::Zeroed;
use crate::sites::CallFrame;
use crate::walk::Link;

/// Stacks kept for a thread, in pairs: the first of a pair is the one met last.
pub(crate) const STACK_SLOTS: usize = 256;
/// Threads at once that keep stacks; further ones walk each time. Address space is what they cost.
pub(crate) const STACK_THREADS: usize = 256;

/// Words of a kept stack, at most.
const WORDS: usize = 18;
/// Stacks that are kept on trust after one that was met again, and the most of them.
const TRUST: (u32, u32) = (2, 64);
/// Without trust one in so many is kept.
const RARELY: u32 = 8;
/// And looked for, one in so many.
const LOOKS: u32 = 4;

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
    /// A word that the walk read. False: it does not fit.
    #[inline]
    fn add(&mut self, place: u64, value: u64) -> bool {
        let index = self.count as usize;
        let above = u16::try_from(place.wrapping_sub(self.stack_pointer) >> 3);
        if let (Some(kept), Some(word), Ok(above)) = (self.places.get_mut(index), self.values.get_mut(index), above) {
            *kept = above;
            *word = value;
            self.count = self.count.wrapping_add(1);
            return true;
        }
        false
    }

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

/// Whether it is worth it to keep stacks.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Worth {
    trust: u32,
    left_out: u32,
    passed: u32,
}

impl Worth {
    /// Is it worth it to look for a stack among those kept?
    #[inline]
    pub(crate) fn looks(&mut self) -> bool {
        self.passed = self.passed.wrapping_add(1);
        self.trust > 0 || self.passed.is_multiple_of(LOOKS)
    }

    /// A stack was met again.
    #[inline]
    pub(crate) fn met(&mut self) {
        let (more, most) = TRUST;
        self.trust = self.trust.wrapping_add(more).min(most);
    }

    /// A stack was not among those kept: is it to be?
    #[inline]
    pub(crate) fn wants(&mut self) -> bool {
        if self.trust > 0 {
            self.trust = self.trust.wrapping_sub(1);
            return true;
        }
        self.left_out = self.left_out.wrapping_add(1);
        self.left_out.is_multiple_of(RARELY)
    }
}

/// Keeps what the walk from `call` that ended in the first `frames` of `last` has read, if each of its steps says what that was.
#[inline(never)]
pub(crate) fn keep(
    stacks: &mut [CachedStack],
    call: CallFrame,
    told: u64,
    version: u64,
    (last, frames): (&LastStack, usize),
    site: u32,
) {
    // The two of a pair by turns, as sites are numbered.
    let Some(kept) = stacks.get_mut(pair(call, told).wrapping_add(site as usize & 1)) else { return };
    kept.version = 0;
    kept.return_address = call.return_address;
    kept.stack_pointer = call.stack_pointer;
    kept.frame_pointer = call.frame_pointer;
    kept.told = told;
    kept.site = site;
    kept.count = 0;
    for (link, caller) in last.steps(frames) {
        let Link { return_at, frame_at, .. } = link;
        if return_at == 0 || !kept.add(return_at, caller.address) {
            return;
        }
        if frame_at > Link::LOST && !kept.add(frame_at, caller.frame) {
            return;
        }
    }
    kept.version = version;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::last_stack::tests::{CODE, NO_STUB, Random, module};
    use crate::modules::{Modules, Row};
    use crate::sites::{CodeRanges, FRAMES_MAX};
    use crate::walk::{CachedRule, RULE_SLOTS, Rules, Walk, after};
    extern crate std;
    use std::{collections::HashMap, vec::Vec};

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
        let mut last = LastStack::new();
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
            let mut walk = Walk::new(call.stack_pointer, base + 64 * 8, &NO_STUB, &code, rules);
            let mut out = [0u64; FRAMES_MAX];
            std::hint::black_box(&mut stack);
            let count = walk.run(after(call), 3, &mut out);
            let next = sites.len() as u32;
            let site = *sites.entry(out[..count].to_vec()).or_insert(next);
            deep += usize::from(count >= 3);
            match find(&stacks, call, 7, version) {
                Some(found) => {
                    assert_eq!(found, site, "round {round}: {call:x?}");
                    known += 1;
                }
                None => {
                    let found = last.walk(&mut walk, after(call), version, 3);
                    if found.sure {
                        keep(&mut stacks, call, 7, version, (&last, found.count), site);
                    }
                }
            }
            assert_eq!(find(&stacks, call, 8, version), None, "another place told");
            assert_eq!(find(&stacks, call, 7, version + 1), None, "other bounds, or other modules");
        }
        assert!(
            known > 10_000 && deep > 10_000 && changed > 40_000 && sites.len() > 1000,
            "{known} {deep} {} {changed}",
            sites.len()
        );
    }
}

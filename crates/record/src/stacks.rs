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
pub(crate) const STACK_THREADS: usize = 512;

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

/// The first slot of the pair for `call`.
#[inline]
fn pair(call: CallFrame) -> usize {
    let mixed = (call.return_address ^ call.stack_pointer << 13).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 56) as usize & (STACK_SLOTS - 1) & !1
}

/// The site of `call` at the place `told`, if its stack is one of `stacks` word by word. `version` must be that of the modules and of the bounds in which
/// `call.stack_pointer` lies now.
#[inline]
pub(crate) fn find(stacks: &[CachedStack], call: CallFrame, told: u64, version: u64) -> Option<u32> {
    let first = stacks.get(pair(call))?;
    if first.is(call, told, version) {
        return Some(first.site);
    }
    let second = stacks.get(pair(call).wrapping_add(1))?;
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
        && let Some([first, second]) = stacks.get_mut(pair(call)..).and_then(|rest| rest.first_chunk_mut::<2>())
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

//! Which calls are recorded where one in so many bytes is.
//!
//! May be relied on: a block of `size` bytes is a sample with probability 1 − exp(−size / mean), from `mean` bytes on always, in every thread; the
//! work of a call that is none is not counted again as its own. What is no sample costs a subtraction. Absent on purpose: what is done with
//! samples; the arena library, which counts for itself and asks for distances only.
//!
//! A call that is no sample leaves no frame of ours behind, so an alloc function that does its work by another one would be counted twice.
//! Its return address is noted: as long as that stands where it was, calls further in on the same arena are its work. (A later call from a frame
//! that left the word alone passes as such too: rare, and one call.)
#![allow(unsafe_code, reason = "reads a word of this thread's stack")]

use super::Recorder;
use crate::draw::{STEP, distance, mix};
use crate::sites::CallFrame;
use crate::thread::Thread;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Mean distance in bytes; 0: everything is recorded.
static MEAN: AtomicU64 = AtomicU64::new(0);
/// What the next distance is drawn from. One for all threads: a draw is rare.
static RANDOM: AtomicU64 = AtomicU64::new(0);

/// A call that was no sample, while it may still be under way.
#[derive(Clone, Copy, Default)]
pub(crate) struct Passed {
    stack_pointer: u64,
    return_address: u64,
    object: u64,
}

/// Begins sampling. Once, at the start.
pub fn sample(mean: u64, seed: u64) {
    RANDOM.store(mix(seed), Relaxed);
    MEAN.store(mean, Relaxed);
}

/// Mean distance of samples in bytes; 0: everything is recorded.
#[inline]
pub fn sample_bytes() -> u64 {
    MEAN.load(Relaxed)
}

/// Draws the bytes between two samples.
pub fn draw() -> u64 {
    distance(mix(RANDOM.fetch_add(STEP, Relaxed)), sample_bytes())
}

/// In the child of a fork: draws of its own.
pub(crate) fn draw_apart(pid: u32) {
    RANDOM.fetch_xor(mix(u64::from(pid).wrapping_mul(STEP)), Relaxed);
}

impl Recorder {
    /// Whether a block of `size` bytes, asked for by `call` from the arena at `object`, is to be recorded.
    #[inline]
    pub fn takes_sample(&self, thread: &mut Thread, call: CallFrame, object: u64, size: u64) -> bool {
        if self.is_work_of_passed(thread, call.stack_pointer, object) {
            return false;
        }
        let mean = sample_bytes();
        if !thread.sampling {
            thread.sampling = true;
            thread.sample_left = draw();
        }
        if size >= mean {
            return true;
        }
        match thread.sample_left.checked_sub(size) {
            Some(left) => {
                thread.sample_left = left;
                let CallFrame { stack_pointer, return_address, .. } = call;
                thread.passed = Passed { stack_pointer, return_address, object };
                false
            }
            None => {
                thread.sample_left = draw();
                true
            }
        }
    }

    #[inline]
    fn is_work_of_passed(&self, thread: &mut Thread, stack_pointer: u64, object: u64) -> bool {
        let Passed { stack_pointer: outer, return_address, object: of } = thread.passed;
        if of != object || outer <= stack_pointer || return_address == 0 {
            return false;
        }
        self.look_up_stack_for(thread, stack_pointer);
        if outer.wrapping_add(8) > thread.stack_high {
            return false;
        }
        // SAFETY: between the present stack pointer and the end of the mapping that holds it (`look_up_stack_here`): the stack of
        // this thread, which is there as long as we run on it.
        unsafe { (outer as *const u64).read() == return_address }
    }
}

//! One arena that threads share: each fills it with blocks of 24 bytes, all meet, one resets it, and so on. A unit is one such round.
//!
//! Threads are pinned, one per CPU. The first round, which finds the memory cold, does not count; whatever ends a thread's part of a round (a
//! handle given back, blocks freed one by one) does.
#![allow(unsafe_code)] // One of the threads has the arena exclusively between two meetings.

use super::Took;
use crate::machine;
use crate::memory::{Kind, Life, Put};
use std::cell::UnsafeCell;
use std::hint::{black_box, spin_loop};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// One block.
pub type Block = [u64; 3];

/// Blocks of a thread in a round: 2.4 MB, long enough beside a meeting.
pub const OPS: u64 = 100_000;

/// What threads allocate from together.
pub trait Together: Sync {
    /// As the tables print it.
    const NAME: &'static str;
    /// Whom it is compared with.
    const KIND: Kind;
    /// What a thread puts blocks through during a round.
    type Handle<'a>: Put<Block>
    where
        Self: 'a;
    /// For `threads` threads.
    fn new(threads: usize) -> Self;
    /// The `thread`-th thread's handle.
    fn handle(&self, thread: usize) -> Self::Handle<'_>;
    /// What a thread does at the end of its round, after its handle is gone.
    fn leave(&self, _thread: usize) {}
    /// All threads have left.
    fn reset(&mut self);
}

/// An arena for each thread: what a shared one is measured by.
pub struct Own<A>(Vec<Place<UnsafeCell<A>>>);

/// On lines of the cache of its own.
#[repr(align(128))]
struct Place<A>(A);

// SAFETY: a thread touches its own place only (`handle`, `leave`: by its number), and the contenders' memory is no thread's own.
unsafe impl<A> Sync for Own<A> {}

impl<A: Life + Put<Block>> Together for Own<A> {
    const NAME: &'static str = A::NAME;
    const KIND: Kind = A::KIND;
    type Handle<'a>
        = &'a A
    where
        A: 'a;
    fn new(threads: usize) -> Self {
        Self((0..threads).map(|_| Place(UnsafeCell::new(A::new()))).collect())
    }
    fn handle(&self, thread: usize) -> &A {
        // SAFETY: this thread's place; the handle is gone before `leave`.
        unsafe { &*self.0[thread].0.get() }
    }
    fn leave(&self, thread: usize) {
        // SAFETY: this thread's place, and no handle is left.
        unsafe { &mut *self.0[thread].0.get() }.reset();
    }
    fn reset(&mut self) {}
}

/// Rounds of so many threads.
pub fn rounds<S: Together, const THREADS: usize>(units: u64) -> Took {
    let arena = Exclusive(UnsafeCell::new(S::new(THREADS)));
    let meeting = Meeting::default();
    let work = |thread: usize| {
        let mut start = Instant::now();
        for round in 0..=units {
            if round == 1 {
                start = Instant::now();
            }
            // SAFETY: nobody has it exclusively: the last reset is done (the meeting below).
            let shared = unsafe { &*arena.get() };
            fill(&shared.handle(thread));
            shared.leave(thread);
            meeting.meet(THREADS);
            if thread == 0 {
                // SAFETY: the others wait for the next meeting, and have no borrow of it.
                unsafe { &mut *arena.get() }.reset();
            }
            meeting.meet(THREADS);
        }
        start.elapsed().as_nanos() as f64
    };
    let ns = if THREADS == 1 {
        work(0)
    } else {
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS)
                .map(|thread| {
                    let work = &work;
                    scope.spawn(move || {
                        machine::pin(thread);
                        work(thread)
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().expect("no loop panics")).fold(0.0, f64::max)
        })
    };
    Took { ns, ..Took::default() }
}

#[inline(never)]
fn fill<H: Put<Block>>(handle: &H) {
    // Counted down, so that the loop's own share is two instructions.
    let mut left = OPS;
    while left != 0 {
        black_box(handle.put([left; 3]));
        left -= 1;
    }
}

/// What is used by all, and between meetings by one.
struct Exclusive<S>(UnsafeCell<S>);

// SAFETY: `rounds` alone uses it, and says at each use why nobody has it exclusively then.
unsafe impl<S: Sync> Sync for Exclusive<S> {}

impl<S> Exclusive<S> {
    fn get(&self) -> *mut S {
        self.0.get()
    }
}

/// A barrier that spins: to be woken by the kernel would take longer than some rounds.
#[derive(Default)]
struct Meeting(AtomicUsize);

impl Meeting {
    /// Comes back when all `threads` have come.
    fn meet(&self, threads: usize) {
        let meeting = self.0.fetch_add(1, Ordering::AcqRel) / threads;
        let mut turns = 0;
        while self.0.load(Ordering::Acquire) / threads == meeting {
            turns += 1;
            // Where there are fewer CPUs than threads, the other one needs this one's.
            if turns % 10_000 == 0 { std::thread::yield_now() } else { spin_loop() }
        }
    }
}

//! A lock for a few stores, which the child of a fork can take over.
//!
//! May be relied on: it holds the generation of the process that took it, which no process shares that was forked from it, so that after a fork at a bad moment the child knows that the holder is
//! not there. What the lock guards must be whole, or mendable, after every single store. Deliberately absent: fairness, and waiting in the kernel: nothing
//! is called under it but what its few users show.
#![forbid(unsafe_code)]

use crate::process;
use core::sync::atomic::{AtomicU32, Ordering};

pub(crate) struct Lock(AtomicU32);

impl Lock {
    pub(crate) const fn new() -> Self {
        Lock(AtomicU32::new(0))
    }

    /// Does `work` under the lock. Where that had to be taken over from a thread that is not there, `mend` comes first. Neither must panic,
    /// or take another lock.
    pub(crate) fn locked<R>(&self, work: impl FnOnce() -> R, mend: impl FnOnce()) -> R {
        let me = process::generation();
        loop {
            match self.0.compare_exchange_weak(0, me, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => break,
                Err(holder) if holder != 0 && holder != me => {
                    // A thread of the process that we were forked from: it does not exist here.
                    if self.0.compare_exchange(holder, me, Ordering::Acquire, Ordering::Relaxed).is_ok() {
                        mend();
                        break;
                    }
                }
                Err(_) => crate::system::yield_now(),
            }
        }
        let result = work();
        self.0.store(0, Ordering::Release);
        result
    }
}

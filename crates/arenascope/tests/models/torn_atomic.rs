//! An atomic whose exchanges are torn in two.
use loom::sync::atomic::{AtomicU64 as Whole, Ordering};

pub(crate) struct AtomicU64(Whole);

impl AtomicU64 {
    pub(crate) fn new(value: u64) -> Self {
        AtomicU64(Whole::new(value))
    }

    pub(crate) fn load(&self, order: Ordering) -> u64 {
        self.0.load(order)
    }

    pub(crate) fn store(&self, value: u64, order: Ordering) {
        self.0.store(value, order);
    }

    pub(crate) fn compare_exchange(&self, from: u64, to: u64, success: Ordering, _: Ordering) -> Result<u64, u64> {
        let now = self.0.load(Ordering::Acquire);
        if now != from {
            return Err(now);
        }
        // Here another thread may come between.
        let _ = success;
        self.0.store(to, Ordering::Release);
        Ok(now)
    }

    pub(crate) fn compare_exchange_weak(
        &self,
        from: u64,
        to: u64,
        success: Ordering,
        failure: Ordering,
    ) -> Result<u64, u64> {
        self.compare_exchange(from, to, success, failure)
    }
}

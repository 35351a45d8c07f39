//! The clock of events: the time stamp counter, a few nanoseconds a reading and no system call.
#![allow(unsafe_code, reason = "one instruction without a safe wrapper")]

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Nonzero where the counter must not be read (seccomp's strict mode makes reading it a fault): the next answer.
static FROZEN: AtomicU64 = AtomicU64::new(0);

#[cold]
#[inline(never)]
fn counted() -> u64 {
    FROZEN.fetch_add(1, Relaxed)
}

/// From now on time stands still but for one tick a question, so that events keep their order.
pub(crate) fn freeze() {
    FROZEN.store(ticks(), Relaxed);
}

/// Time goes on.
pub(crate) fn thaw() {
    FROZEN.store(0, Relaxed);
}

/// Ticks of the time stamp counter. Constant-rate and synchronised between CPUs on every x86-64 of the last decade
/// (Intel SDM vol. 3, 18.17 "Time-Stamp Counter"); where it is not, the order inside an arena still stands, since
/// arenas number their own events.
#[inline(always)]
#[cfg(target_arch = "x86_64")]
pub fn ticks() -> u64 {
    if FROZEN.load(Relaxed) != 0 {
        return counted();
    }
    // SAFETY: rdtsc reads a counter and touches no memory; every x86-64 CPU has it, and Linux does not disable it
    // (prctl PR_SET_TSC is a process's own request, which ends in SIGSEGV with or without us).
    unsafe { core::arch::x86_64::_rdtsc() }
}

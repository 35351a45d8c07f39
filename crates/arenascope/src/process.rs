//! Which process and thread this is, without a system call in the common case, right after a fork too.
//!
//! The number of the process is kept in a page that the kernel wipes in a forked child (`MADV_WIPEONFORK`, Linux 4.14): a zero
//! there means that it must be asked for again.
#![allow(unsafe_code)] // Maps and reads one page.

use crate::system;
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

/// What is known of this process, in a page that is zero in a child.
struct Known {
    /// Its number; 0: not asked for yet.
    pid: AtomicU32,
    /// Its generation; 0: not counted yet.
    generation: AtomicU32,
}

/// The page; null before it is needed.
static WIPED: AtomicPtr<Known> = AtomicPtr::new(core::ptr::null_mut());

/// Stands for the page where the system has none: nothing is ever written into it. Decided once, so that answers do not change.
static NOWHERE: Known = Known { pid: AtomicU32::new(0), generation: AtomicU32::new(0) };

/// The highest generation so far, in memory that a child keeps.
static GENERATIONS: AtomicU32 = AtomicU32::new(0);

/// This process.
#[inline]
pub(crate) fn pid() -> u32 {
    let known = WIPED.load(Ordering::Acquire);
    if !known.is_null() {
        // SAFETY: published below; the page is never unmapped.
        let pid = unsafe { (*known).pid.load(Ordering::Relaxed) };
        if pid != 0 {
            return pid;
        }
    }
    ask_pid()
}

#[cold]
#[inline(never)]
fn ask_pid() -> u32 {
    if cfg!(miri) {
        return 1;
    }
    let pid = rustix::process::getpid().as_raw_nonzero().get() as u32;
    if let Some(known) = page() {
        known.pid.store(pid, Ordering::Relaxed);
    }
    pid
}

/// A number that this process shares with none that it was forked from, and keeps: never 0. The number of the process is not that: the first
/// process of a name space is number 1, as its parent may be, and numbers of the dead are used again. (Where the system wipes no pages, it has to do.)
#[inline]
pub(crate) fn generation() -> u32 {
    let known = WIPED.load(Ordering::Acquire);
    if !known.is_null() {
        // SAFETY: as in `pid`.
        let generation = unsafe { (*known).generation.load(Ordering::Relaxed) };
        if generation != 0 {
            return generation;
        }
    }
    count_generation()
}

#[cold]
#[inline(never)]
fn count_generation() -> u32 {
    if cfg!(miri) {
        return 1;
    }
    let Some(known) = page() else { return pid() };
    let next = GENERATIONS.fetch_add(1, Ordering::Relaxed).wrapping_add(1).max(1);
    // Another thread of this process may have been first: one number for all.
    match known.generation.compare_exchange(0, next, Ordering::Relaxed, Ordering::Relaxed) {
        Ok(_) => next,
        Err(first) => first,
    }
}

/// The page, mapped when it is first needed; None where the system has none.
fn page() -> Option<&'static Known> {
    let mut known = WIPED.load(Ordering::Acquire);
    if known.is_null() {
        let fresh = system::page_wiped_on_fork().map_or((&raw const NOWHERE).cast_mut(), |page| page.as_ptr().cast());
        known = match WIPED.compare_exchange(core::ptr::null_mut(), fresh, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => fresh,
            // Another thread was first. A page is lost, once.
            Err(first) => first,
        };
    }
    // SAFETY: a page of ours, zeroed and never unmapped, or `NOWHERE`.
    (!core::ptr::eq(known, &raw const NOWHERE)).then(|| unsafe { &*known })
}

/// This thread: a system call. Keep the answer, with the process it holds for.
pub(crate) fn ask_tid() -> u32 {
    if cfg!(miri) { 1 } else { rustix::thread::gettid().as_raw_nonzero().get() as u32 }
}

/// Which name space the numbers of processes are of, as the inode of `/proc/self/ns/pid`; 0 where that cannot be read.
pub(crate) fn pid_space() -> u64 {
    rustix::fs::stat(c"/proc/self/ns/pid").map_or(0, |found| found.st_ino)
}

/// Whether there is certainly no process of this number, in this process's name space.
pub(crate) fn is_gone(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    pid.is_some_and(|pid| rustix::process::test_kill_process(pid) == Err(rustix::io::Errno::SRCH))
}

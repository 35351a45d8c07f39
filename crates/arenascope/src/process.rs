//! Which process and thread this is, without a system call in the common case, right after a fork too.
//!
//! The number of the process is kept in a page that the kernel wipes in a forked child (`MADV_WIPEONFORK`, Linux 4.14): a zero
//! there means that it must be asked for again.
#![allow(unsafe_code)] // Maps and reads one page.

use crate::system;
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

static WIPED: AtomicPtr<AtomicU32> = AtomicPtr::new(core::ptr::null_mut());

/// This process.
#[inline]
pub(crate) fn pid() -> u32 {
    let cell = WIPED.load(Ordering::Acquire);
    if !cell.is_null() {
        // SAFETY: published below; the page is never unmapped.
        let pid = unsafe { (*cell).load(Ordering::Relaxed) };
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
    let mut cell = WIPED.load(Ordering::Acquire);
    if cell.is_null() {
        let Some(fresh) = system::page_wiped_on_fork() else { return pid };
        let fresh = fresh.as_ptr().cast::<AtomicU32>();
        cell = match WIPED.compare_exchange(core::ptr::null_mut(), fresh, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => fresh,
            // Another thread was first. A page is lost, once.
            Err(first) => first,
        };
    }
    // SAFETY: a page of ours, zeroed, never unmapped.
    unsafe { (*cell).store(pid, Ordering::Relaxed) };
    pid
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

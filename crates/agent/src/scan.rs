//! Asks the launcher to scan the memory of this process, and waits: at the user's marks and at the end.
//!
//! The launcher reads; nothing is searched, mapped or kept here. What only registers hold is put on the stack first, where
//! it is read. The end is the return of `main`, while its frame is still on the stack (hence [`start_main`]), or `exit`, or
//! `_exit`: whichever comes first, before the program tidies up. Absent: every scan in a run that did not ask for one; then none of
//! these functions is hooked.
#![allow(unsafe_code, reason = "reads the registers that a callee must keep")]

use crate::ask;
use crate::state::{self, Inside};
use crate::stubs::{self, Frame};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

static WANTED: AtomicBool = AtomicBool::new(false);
static ENDED: AtomicBool = AtomicBool::new(false);
static MARKS: AtomicU64 = AtomicU64::new(0);
static MAIN: AtomicU64 = AtomicU64::new(0);

/// What the plan says. Once, at the start.
pub fn set_wanted(wanted: bool) {
    WANTED.store(wanted, Relaxed);
}

/// Marks beyond this one are not scanned: the launcher would refuse them.
const MOST_MARKS: u64 = 4;

/// The user's mark was recorded; called within the recorder.
pub fn at_mark() {
    if !WANTED.load(Relaxed) {
        return;
    }
    let mark = MARKS.fetch_add(1, Relaxed).wrapping_add(1);
    if mark <= MOST_MARKS {
        scan(mark);
    }
}

/// The program ends; called within the recorder. The first of several calls scans.
pub fn at_end() {
    if WANTED.load(Relaxed) && !ENDED.swap(true, Relaxed) {
        scan(0);
    }
}

/// Waits for the scan with all registers that may hold a pointer of the program's in the caller's stack.
#[inline(never)]
fn scan(mark: u64) {
    let mut kept = [0u64; 6];
    // SAFETY: stores six registers into the six words of `kept`; changes nothing else.
    unsafe {
        core::arch::asm!(
            "mov [{0}], rbx",
            "mov [{0} + 8], rbp",
            "mov [{0} + 16], r12",
            "mov [{0} + 24], r13",
            "mov [{0} + 32], r14",
            "mov [{0} + 40], r15",
            in(reg) kept.as_mut_ptr(),
            options(nostack, preserves_flags),
        );
    }
    arenascope_record::on_own_stack(|| ask::ask_for_scan(mark));
    // The words must be there until the answer has come.
    core::hint::black_box(&kept);
}

/// `exit` is entered.
pub fn exit(frame: &Frame) {
    end(frame.entry);
}

fn end(stack_pointer: u64) {
    if arenascope_record::quiet::is_on() {
        return;
    }
    let Some(inside) = Inside::enter(stack_pointer, false) else { return };
    // A vfork child has its parent's memory.
    if inside.recorder.pid() == rustix::process::getpid().as_raw_nonzero().get() as u32 {
        at_end();
    }
}

/// `__libc_start_main(main, …)` is entered: `main` will be called by us.
pub fn start_main(frame: &mut Frame) {
    if WANTED.load(Relaxed) && state::recorder().is_some() && MAIN.swap(frame.rdi, Relaxed) == 0 {
        frame.rdi = stubs::main_entry();
    }
}

/// The program's `main`, for `ascope_main_entry`.
pub extern "C" fn real_main() -> u64 {
    MAIN.load(Relaxed)
}

/// `main` has returned.
pub extern "C" fn main_returned() {
    let here = 0u64;
    end(core::ptr::from_ref(&here) as u64);
}

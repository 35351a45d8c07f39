//! Slow work runs on stacks of our own, with all signals blocked.
//!
//! The host calls hooked functions on stacks of any size: an alternate stack of 8 KiB that a signal frame fills by half, a
//! coroutine of 3 KiB. What happens at first sight (of a thread, an arena, a site, a stack), a new segment, a capture or an
//! exec needs more than that. [`run`] does such work on a stack from a small pool reserved at the start.
//!
//! Relied on: no handler of the host ever runs on a stack of ours (signals are blocked while we are on one), so a stack is
//! given back before its thread does anything else, and neither longjmp nor an exception crosses it. Costs two system calls
//! and a compare-and-swap, some 200 ns: but in check mode, nothing that happens at every event goes through here. Deliberately absent: waiting.
//! With all stacks lent, and where system calls are forbidden, the work is done where it is called, as it is before [`prepare`].
#![allow(unsafe_code, reason = "changes the stack pointer and the signal mask")]

use crate::reserve::{Reserve, Zeroed};
use core::mem::{ManuallyDrop, MaybeUninit};
use core::sync::atomic::{AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};

/// Bytes of a stack. The deepest work (the talk with the launcher after dlopen) needs 8 KiB.
const STACK_BYTES: usize = 64 << 10;
/// Stacks: threads that do slow work at one instant; one bit each in `LENT`.
const STACKS: usize = 64;
/// What [`prepare`] takes from its reserve.
pub const DEEP_BYTES: usize = STACK_BYTES * STACKS + 64;

/// First byte of the first stack; 0 before `prepare`.
static POOL: AtomicU64 = AtomicU64::new(0);
/// One bit for each stack that is in use.
static LENT: AtomicU64 = AtomicU64::new(0);

/// Memory of one stack.
#[repr(C, align(64))]
struct Stack([MaybeUninit<u8>; STACK_BYTES]);

// SAFETY: uninitialised bytes may be zeros.
unsafe impl Zeroed for Stack {}

/// Sets the stacks aside. Once, at the start. Without it everything runs where it is called.
pub fn prepare(reserve: &mut Reserve) {
    if let Some(stacks) = reserve.take::<Stack>(STACKS) {
        let start = stacks.as_mut_ptr() as u64;
        tell_valgrind(start, start + (STACK_BYTES * STACKS) as u64);
        POOL.store(start, Relaxed);
    }
}

/// Under valgrind, says that this is a stack, so that it does not warn about the change of stacks; else nothing happens.
fn tell_valgrind(start: u64, end: u64) {
    // VG_USERREQ__STACK_REGISTER (valgrind.h).
    let request = [0x1501u64, start, end, 0, 0, 0];
    // SAFETY: four rotations of rdi by 128 bits in all and an exchange of rbx with itself change nothing; valgrind knows
    // them as a request and reads `request` (valgrind.h, __VALGRIND_DO_CLIENT_REQUEST for amd64).
    unsafe {
        core::arch::asm!(
            "rol rdi, 3", "rol rdi, 13", "rol rdi, 61", "rol rdi, 51", "xchg rbx, rbx",
            in("rax") request.as_ptr(),
            inlateout("rdx") 0u64 => _,
            options(nostack),
        );
    }
}

/// In a forked child: the stacks of the parent's other threads are free here.
pub fn only_this_thread() {
    LENT.store(bit_under(POOL.load(Relaxed)).unwrap_or(0), Relaxed);
}

/// The bit of the stack that we are on, if it is one of ours.
fn bit_under(pool: u64) -> Option<u64> {
    let here = 0u8;
    let above = (core::ptr::from_ref(&here) as u64).wrapping_sub(pool);
    (pool != 0 && above < (STACK_BYTES * STACKS) as u64).then(|| 1 << (above / STACK_BYTES as u64))
}

/// A stack out of the pool; given back when dropped.
struct Lent {
    bit: u64,
    top: u64,
}

impl Lent {
    fn take(pool: u64) -> Option<Lent> {
        loop {
            let lent = LENT.load(Relaxed);
            let index = lent.trailing_ones();
            let bit = 1u64.checked_shl(index)?;
            // Acquire: pairs with the Release in `drop`; the last user has left the stack.
            if LENT.compare_exchange_weak(lent, lent | bit, Acquire, Relaxed).is_ok() {
                return Some(Lent { bit, top: pool + (u64::from(index) + 1) * STACK_BYTES as u64 });
            }
        }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        // Release: see `take`.
        LENT.fetch_and(!self.bit, Release);
    }
}

const ALL_SIGNALS: u64 = u64::MAX;

/// Sets the thread's signal mask; the old one. Nothing of the host's memory is touched, nor its errno.
fn mask_signals(mask: u64) -> u64 {
    let mut old = 0u64;
    // SAFETY: rt_sigprocmask (14 on x86-64) with SIG_SETMASK (2) reads eight bytes and writes eight.
    unsafe {
        core::arch::asm!(
            "syscall",
            inlateout("rax") 14u64 => _,
            in("rdi") 2u64,
            in("rsi") &raw const mask,
            in("rdx") &raw mut old,
            in("r10") 8u64,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    old
}

core::arch::global_asm!(
    // ascope_on_stack(data, function, top); top 0: on the present one.
    ".text",
    ".balign 16",
    ".globl ascope_on_stack",
    ".hidden ascope_on_stack",
    ".type ascope_on_stack, @function",
    "ascope_on_stack:",
    ".cfi_startproc",
    "push rbp",
    ".cfi_def_cfa_offset 16",
    ".cfi_offset rbp, -16",
    "mov rbp, rsp",
    ".cfi_def_cfa_register rbp",
    "test rdx, rdx",
    "cmovz rdx, rsp",
    "mov rsp, rdx",
    "call rsi",
    "mov rsp, rbp",
    "pop rbp",
    ".cfi_def_cfa rsp, 8",
    "ret",
    ".cfi_endproc",
    ".size ascope_on_stack, . - ascope_on_stack",
);

unsafe extern "C" {
    fn ascope_on_stack(data: *mut u8, function: u64, top: u64);
}

/// A closure on its way to another stack, and its result on the way back.
union Work<F, R> {
    todo: ManuallyDrop<F>,
    done: ManuallyDrop<R>,
}

extern "C" fn perform<F: FnOnce() -> R, R>(work: &mut Work<F, R>) {
    // SAFETY: `run` stored a closure there, and this is called once.
    let todo = unsafe { ManuallyDrop::take(&mut work.todo) };
    work.done = ManuallyDrop::new(todo());
}

/// Does `work` where there is room for it.
#[cold]
#[inline(never)]
pub fn run<R, F: FnOnce() -> R>(work: F) -> R {
    let pool = POOL.load(Relaxed);
    let mut work = Work { todo: ManuallyDrop::new(work) };
    let function = perform::<F, R> as extern "C" fn(&mut Work<F, R>);
    let mut perform_on = |top: u64| {
        // Always by this call, which no compiler looks through: the work's frame must not become part of ours.
        // SAFETY: `top` is 0, which leaves the stack as it is, or the 64-aligned end of a stack that is ours alone until
        // it is given back; `function` takes the pointer that it is given, which outlives the call; it does not unwind
        // (no code here does), and no handler of the host runs on a stack of ours (the mask below).
        unsafe { ascope_on_stack((&raw mut work).cast(), function as usize as u64, top) }
    };
    if pool == 0 || bit_under(pool).is_some() || crate::quiet::is_on() {
        perform_on(0);
    } else {
        let mask = mask_signals(ALL_SIGNALS);
        let lent = Lent::take(pool);
        perform_on(lent.as_ref().map_or(0, |lent| lent.top));
        drop(lent);
        mask_signals(mask);
    }
    // SAFETY: `perform` has been called and stored the result.
    ManuallyDrop::into_inner(unsafe { work.done })
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;

    #[test]
    fn work_is_done_on_another_stack_and_comes_back() {
        let mut reserve = Reserve::new(DEEP_BYTES + 4096).expect("memory");
        prepare(&mut reserve);
        let pool = POOL.load(Relaxed);
        let threads: std::vec::Vec<_> = (0..100u64)
            .map(|number| {
                std::thread::spawn(move || {
                    for round in 0..1000u64 {
                        let here = 0u8;
                        let outside = core::ptr::from_ref(&here) as u64;
                        let (inner, where_it_was) = run(|| {
                            let there = 0u8;
                            // Within work, more of it stays where it is.
                            (run(|| number * round), core::ptr::from_ref(&there) as u64)
                        });
                        assert_eq!(inner, number * round);
                        let ours = where_it_was.wrapping_sub(pool) < DEEP_BYTES as u64;
                        assert!(ours || where_it_was < outside, "on a stack of ours, or on the caller's");
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().expect("no thread fails");
        }
        assert_eq!(LENT.load(Relaxed), 0, "every stack was given back");
        assert!(run(|| bit_under(pool)).is_some());
        assert!(bit_under(pool).is_none());
    }
}

//! Faults that the program handles itself: noted before its handler runs, told only when the process ended of them.
//!
//! A program may fault on purpose, a million times a second (write barriers, guard pages, null checks of a run-time system),
//! so a fault costs eight stores here and no system call. It is told as fatal when the process ends *inside the handler*: by
//! `_exit`, by an abort, or by the same signal once more with the default action. That a handler has been left needs no
//! help of its own to be seen:
//! - it returned, or left by siglongjmp: the signal is not blocked any more;
//! - it left by a longjmp that keeps the mask: the end comes from above its frame, from another stack, or its signal
//!   frame has been written over.
//!
//! All of these must speak for "inside"; when in doubt the fault is kept to ourselves. Deliberately absent: handlers with
//! SA_NODEFER that `_exit` (nothing says that they have not been left), and ends by another thread.
#![allow(unsafe_code, reason = "reads what the kernel passes to handlers, and this thread's words")]

use crate::signals::{alternate_stack, blocked_signals, registers_of};
use crate::state::{self, Inside};
use crate::stubs::fault_words;
use arenascope_plan::signal_bit;
use arenascope_record::{Record, on_own_stack, quiet, read_own_memory};
use core::ffi::{c_int, c_void};
use core::mem::MaybeUninit;

/// Furthest that a handler's end lies below its signal frame, bytes.
const REACH: u64 = 1 << 20;

/// A fault whose handler was called, as kept in this thread's words.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Noted {
    /// The process, so that a forked child is not blamed; 0: none noted.
    pid: u64,
    signal: u64,
    pc: u64,
    stack_pointer: u64,
    address: u64,
    /// Where the kernel put the interrupted registers: the handler's frames lie below.
    context: u64,
}

const _: () = assert!(size_of::<Noted>() <= 64);

fn noted() -> *mut Noted {
    fault_words().cast()
}

/// A fault arrived that the program handles itself.
pub fn note(signal: c_int, info: *const libc::siginfo_t, context: *const c_void) {
    // SAFETY: our stub is installed with SA_SIGINFO: siginfo and ucontext are valid.
    let (code, address, saved) = unsafe {
        ((*info).si_code, (*info).si_addr() as u64, &(*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs)
    };
    // A positive code is the kernel's own: this thread's instruction did it.
    let pid = match state::recorder() {
        Some(recorder) if code > 0 => u64::from(recorder.pid()),
        _ => 0,
    };
    let register = |index: c_int| saved.get(index as usize).copied().unwrap_or(0) as u64;
    let now = Noted {
        pid,
        signal: u64::from(signal as u32),
        pc: register(libc::REG_RIP),
        stack_pointer: register(libc::REG_RSP),
        address,
        context: context as u64,
    };
    // SAFETY: this thread's own words, 64 bytes, read by this thread alone.
    unsafe { noted().write_volatile(now) };
}

/// How this thread is about to end the process.
pub enum End<'a> {
    /// By `_exit`, called with this stack pointer.
    Exit(u64),
    /// By a signal whose action is the default.
    Signal(c_int, &'a libc::siginfo_t, &'a libc::ucontext_t),
}

/// The process ends: tells the fault that this thread is still in the handler of, if there is one. True when it did.
#[cold]
pub fn tell(inside: &mut Inside, end: &End<'_>) -> bool {
    // SAFETY: as in `note`.
    let noted = unsafe { noted().read_volatile() };
    let recorder = inside.recorder;
    if noted.pid == 0 || noted.pid != u64::from(recorder.pid()) || quiet::is_on() {
        return false;
    }
    let context = match *end {
        End::Signal(signal, info, context) if again(&noted, signal, info, context) => {
            core::ptr::from_ref(context) as u64
        }
        _ if is_inside(&noted, end) => noted.context,
        _ => return false,
    };
    on_own_stack(|| tell_here(inside, &noted, context))
}

/// Records the fault with the registers that lie at `context`, if they still do.
fn tell_here(inside: &mut Inside, noted: &Noted, context: u64) -> bool {
    let recorder = inside.recorder;
    let mut kept = MaybeUninit::<libc::ucontext_t>::zeroed();
    // SAFETY: exactly this room, all of it written.
    let bytes = unsafe { core::slice::from_raw_parts_mut(kept.as_mut_ptr().cast::<u8>(), size_of_val(&kept)) };
    // The kernel's frame ends before the C library's larger type does: what is looked at comes first.
    let needed = core::mem::offset_of!(libc::ucontext_t, uc_mcontext) + size_of::<libc::mcontext_t>();
    if read_own_memory(recorder.pid(), context, bytes) < needed {
        return false;
    }
    // SAFETY: zeroed, then read; any bytes are a valid ucontext (integers, and pointers that nobody follows).
    let context = unsafe { kept.assume_init_ref() };
    if !noted.interrupted(context) {
        return false;
    }
    let (registers, frame) = registers_of(context);
    let record = Record::Fault {
        signal: noted.signal as u32,
        address: noted.address,
        pc: noted.pc,
        synchronous: true,
        registers: &registers,
    };
    crate::own_check::touched(recorder, inside.thread(), noted.address);
    recorder.note_fault(inside.thread(), frame, &record)
}

impl Noted {
    /// True when `context` is that of the noted instruction.
    fn interrupted(&self, context: &libc::ucontext_t) -> bool {
        let saved = &context.uc_mcontext.gregs;
        let register = |index: c_int| saved.get(index as usize).copied().unwrap_or(0) as u64;
        register(libc::REG_RIP) == self.pc && register(libc::REG_RSP) == self.stack_pointer
    }
}

/// The handler has set the default action, sent the signal to itself, and returned: it arrives at the very instruction.
fn again(noted: &Noted, signal: c_int, info: &libc::siginfo_t, context: &libc::ucontext_t) -> bool {
    let from_itself = info.si_code <= 0 && {
        // SAFETY: for codes of kill, tgkill and sigqueue, which are not positive, the union holds pid and uid.
        let pid = unsafe { info.si_pid() };
        pid as u64 == noted.pid
    };
    from_itself && u64::from(signal as u32) == noted.signal && noted.interrupted(context)
}

/// True when the handler of `noted` is on this stack, below its signal frame, and its signal still blocked.
fn is_inside(noted: &Noted, end: &End<'_>) -> bool {
    let (stack_pointer, blocked) = match end {
        End::Exit(stack_pointer) => (*stack_pointer, blocked_signals()),
        End::Signal(signal, _, context) => {
            let saved = &context.uc_mcontext.gregs;
            let stack_pointer = saved.get(libc::REG_RSP as usize).copied().unwrap_or(0) as u64;
            // SAFETY: `sigset_t` begins with the word that the kernel keeps (arch/x86/include/asm/signal.h).
            let mask = unsafe { core::ptr::from_ref(&context.uc_sigmask).cast::<u64>().read_unaligned() };
            // A handler that ends by its own signal has to unblock it, or has it raised when it returns.
            let own = if u64::from(*signal as u32) == noted.signal { u64::MAX } else { 0 };
            (stack_pointer, mask | own)
        }
    };
    let below = noted.context.wrapping_sub(stack_pointer);
    let (start, bytes) = alternate_stack();
    let on_it = |address: u64| address.wrapping_sub(start) < bytes;
    below > 0
        && below < REACH
        && on_it(noted.context) == on_it(stack_pointer)
        && blocked & signal_bit(noted.signal as u32) != 0
}

//! Signals that end the process: the arenas' bytes are saved first, then the process dies as it would have.
//!
//! Only signals whose disposition is the default get a handler of ours, and the host never sees it: asked for the old
//! action, `sigaction` and `signal` answer "default". A handler the host installs itself replaces ours.
#![allow(unsafe_code, reason = "signal handlers")]

use crate::state::Inside;
use crate::stubs::Frame;
use arenascope_event::CaptureReason;
use arenascope_record::Record;
use core::ffi::{c_int, c_void};
use core::mem::MaybeUninit;
use core::ptr::{null, null_mut};

/// Signals whose default ends the process and that programs die of in practice. The first four are also faults.
const FATAL: [c_int; 15] = [
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGILL,
    libc::SIGFPE,
    libc::SIGABRT,
    libc::SIGSYS,
    libc::SIGTRAP,
    libc::SIGTERM,
    libc::SIGINT,
    libc::SIGHUP,
    libc::SIGQUIT,
    libc::SIGPIPE,
    libc::SIGALRM,
    libc::SIGUSR1,
    libc::SIGUSR2,
];

/// Installs the handlers. Before any hook is laid, so that none of this is seen.
pub fn install() {
    for signal in FATAL {
        let mut old = MaybeUninit::<libc::sigaction>::zeroed();
        // SAFETY: asks for the present action; `old` is a valid place.
        if unsafe { libc::sigaction(signal, null(), old.as_mut_ptr()) } != 0 {
            continue;
        }
        // SAFETY: zeroed, and then filled by the call.
        let old = unsafe { old.assume_init() };
        if old.sa_sigaction == libc::SIG_DFL {
            let mut new = old;
            new.sa_sigaction = handler_address();
            // NODEFER: dying by the same signal again needs it unblocked. ONSTACK: a stack overflow is survivable where
            // the host has an alternate stack, and ends in SIGSEGV as it would have where it has none.
            new.sa_flags = libc::SA_SIGINFO | libc::SA_NODEFER | libc::SA_ONSTACK;
            // SAFETY: the handler has the signature that SA_SIGINFO asks for.
            unsafe { libc::sigaction(signal, &new, null_mut()) };
        }
    }
}

fn handler_address() -> libc::sighandler_t {
    dies as *const () as libc::sighandler_t
}

/// A fatal signal arrived.
extern "C" fn dies(signal: c_int, info: *const libc::siginfo_t, context: *mut c_void) {
    let mut default = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: zeroed is the default action with an empty mask (SIG_DFL is 0).
    unsafe { libc::sigaction(signal, default.as_mut_ptr(), null_mut()) };
    // SAFETY: with SA_SIGINFO the kernel passes a valid siginfo.
    let (code, address) = unsafe { ((*info).si_code, (*info).si_addr() as u64) };
    // A positive code is the kernel's own: this thread's instruction did it.
    let fault = FATAL.iter().take(4).any(|candidate| *candidate == signal) && code > 0;
    // SAFETY: with SA_SIGINFO the kernel passes a valid ucontext.
    let saved = unsafe { &(*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs };
    let register = |index: c_int| saved.get(index as usize).copied().unwrap_or(0) as u64;
    let registers = [
        register(libc::REG_RAX),
        register(libc::REG_RBX),
        register(libc::REG_RCX),
        register(libc::REG_RDX),
        register(libc::REG_RSI),
        register(libc::REG_RDI),
        register(libc::REG_RBP),
        register(libc::REG_RSP),
        register(libc::REG_R8),
        register(libc::REG_R9),
        register(libc::REG_R10),
        register(libc::REG_R11),
        register(libc::REG_R12),
        register(libc::REG_R13),
        register(libc::REG_R14),
        register(libc::REG_R15),
    ];
    let pc = register(libc::REG_RIP);
    let pid = rustix::process::getpid().as_raw_nonzero().get() as u32;
    let here = core::ptr::from_ref(&pid) as u64;
    if let Some(mut inside) = Inside::enter(here, true) {
        let recorder = inside.recorder;
        if recorder.pid() == pid {
            let thread = inside.thread();
            recorder.capture_all(thread, CaptureReason::Signal);
            // As a return address, which points behind its instruction: no call can return there and have faulted.
            let frame = arenascope_record::CallFrame {
                return_address: pc.wrapping_add(1),
                frame_pointer: register(libc::REG_RBP),
                stack_pointer: register(libc::REG_RSP),
            };
            let record = Record::Fault {
                signal: signal as u32,
                address: if fault { address } else { 0 },
                pc,
                synchronous: fault,
                registers: &registers,
            };
            recorder.note_fault(thread, frame, &record);
        }
    }
    if !fault {
        // The action is the default again and the signal is not blocked (NODEFER): this ends the process here.
        // SAFETY: raises a signal in this thread.
        unsafe { libc::raise(signal) };
    }
    // A fault happens again at the same instruction, now with the default action: same signal, same address, same core.
}

/// `sigaction(signal, new, old)` returned: the host must not see our handler.
pub fn sigaction_exit(frame: &Frame) {
    let [_, _, old, ..] = frame.stash;
    if old == 0 || frame.rax as u32 != 0 {
        return;
    }
    let old = old as *mut libc::sigaction;
    // SAFETY: sigaction succeeded and has just written a whole `struct sigaction` to the host's place.
    unsafe {
        if (*old).sa_sigaction == handler_address() {
            old.write(MaybeUninit::zeroed().assume_init());
        }
    }
}

/// `signal(signal, handler)` returned the old handler.
pub fn signal_exit(frame: &mut Frame) {
    if frame.rax == handler_address() as u64 {
        frame.rax = libc::SIG_DFL as u64;
    }
}

//! Signals that end the process: the arenas' bytes are saved first, then the process dies as it would have.
//!
//! Only signals whose disposition is the default get a handler of ours, and the host never sees it: asked for the old
//! action, `sigaction` and `signal` answer "default". A handler the host installs itself replaces ours.
//!
//! Handlers of the program's own are `own_handlers`' business.
//!
//! Actions are set by system calls of our own: the C library's `sigaction` may be a sanitizer's, which warns or crashes
//! when it is called before that sanitizer has started, and we start before everyone.
#![allow(unsafe_code, reason = "signal handlers")]

use crate::handled_fault::{self, End};
use crate::own_handlers;
use crate::state::Inside;
use crate::stubs::Frame;
use arenascope_event::CaptureReason;
use arenascope_record::{CallFrame, Record};
use core::ffi::{c_int, c_void};
use core::mem::MaybeUninit;

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

/// What the kernel keeps for a signal (`struct kernel_sigaction`, arch/x86/include/asm/signal.h).
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub struct Action {
    /// SIG_DFL, SIG_IGN or a handler's address.
    pub handler: u64,
    /// SA_… flags.
    pub flags: u64,
    /// Where a handler returns to.
    pub restorer: u64,
    /// Signals that are blocked in it.
    pub mask: u64,
}

/// SA_RESTORER (arch/x86/include/uapi/asm/signal.h); the C library hides it.
pub const SA_RESTORER: u64 = 0x0400_0000;

core::arch::global_asm!(
    // The very bytes that unwinders and debuggers know a signal frame by (gcc's linux-unwind.h): mov rax, 15; syscall.
    ".globl ascope_restorer",
    ".hidden ascope_restorer",
    ".type ascope_restorer, @function",
    ".balign 16",
    "nop",
    "ascope_restorer:",
    ".byte 0x48, 0xc7, 0xc0, 0x0f, 0x00, 0x00, 0x00",
    "syscall",
    ".size ascope_restorer, . - ascope_restorer",
);

unsafe extern "C" {
    fn ascope_restorer();
}

/// rt_sigaction; true when it succeeded.
pub fn set_action(signal: c_int, new: Option<&Action>, old: Option<&mut Action>) -> bool {
    let new = new.map_or(0, |action| core::ptr::from_ref(action) as u64);
    let old = old.map_or(0, |action| core::ptr::from_mut(action) as u64);
    let result: i64;
    // SAFETY: rt_sigaction (13 on x86-64) reads one `struct kernel_sigaction` at `new` and writes one at `old`, each null
    // or a borrowed `Action`; the last argument is the size of its mask. Handlers that we pass have the signature that
    // SA_SIGINFO asks for.
    unsafe {
        core::arch::asm!(
            "syscall",
            inlateout("rax") 13i64 => result,
            in("rdi") i64::from(signal),
            in("rsi") new,
            in("rdx") old,
            in("r10") 8u64,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result == 0
}

/// What the kernel keeps for `signal`.
pub fn action_of(signal: c_int) -> Option<Action> {
    let mut action = Action::default();
    set_action(signal, None, Some(&mut action)).then_some(action)
}

/// The signals that this thread blocks, bit n − 1 for signal n.
pub fn blocked_signals() -> u64 {
    let mut mask = 0u64;
    // SAFETY: rt_sigprocmask (14 on x86-64) without a new mask writes eight bytes and changes nothing.
    unsafe {
        core::arch::asm!(
            "syscall",
            inlateout("rax") 14u64 => _,
            in("rdi") 0u64,
            in("rsi") 0u64,
            in("rdx") &raw mut mask,
            in("r10") 8u64,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    mask
}

/// First byte and length of this thread's alternate stack; zeros without one.
pub fn alternate_stack() -> (u64, u64) {
    // struct sigaltstack: address, flags, size.
    let mut stack = [0u64; 3];
    // SAFETY: sigaltstack (131 on x86-64) without a new stack writes 24 bytes and changes nothing.
    unsafe {
        core::arch::asm!(
            "syscall",
            inlateout("rax") 131u64 => _,
            in("rdi") 0u64,
            in("rsi") &raw mut stack,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    let [start, _, bytes] = stack;
    (start, bytes)
}

/// Where a handler that we install ourselves returns to.
pub fn restorer_address() -> u64 {
    ascope_restorer as *const () as u64
}

/// Installs the handlers. Before any hook is laid, so that none of this is seen.
pub fn install() {
    own_handlers::install();
    for signal in FATAL {
        let mut old = Action::default();
        if set_action(signal, None, Some(&mut old)) && old.handler == libc::SIG_DFL as u64 {
            // NODEFER: dying by the same signal again needs it unblocked. ONSTACK: a stack overflow is survivable where
            // the host has an alternate stack, and ends in SIGSEGV as it would have where it has none.
            let flags = libc::SA_SIGINFO | libc::SA_NODEFER | libc::SA_ONSTACK;
            let new = Action {
                handler: handler_address() as u64,
                flags: flags as u64 | SA_RESTORER,
                restorer: ascope_restorer as *const () as u64,
                mask: 0,
            };
            set_action(signal, Some(&new), None);
        }
    }
}

/// Takes our handlers away again.
pub fn uninstall() {
    own_handlers::uninstall();
    for signal in FATAL {
        let mut old = Action::default();
        if set_action(signal, None, Some(&mut old)) && old.handler == handler_address() as u64 {
            set_action(signal, Some(&Action::default()), None);
        }
    }
}

/// Sends `signal` to this thread.
fn raise(signal: c_int) {
    let (pid, tid) = (rustix::process::getpid(), rustix::thread::gettid());
    // SAFETY: tgkill (234 on x86-64) takes three integers and touches no memory.
    unsafe {
        core::arch::asm!(
            "syscall",
            inlateout("rax") 234i64 => _,
            in("rdi") i64::from(pid.as_raw_nonzero().get()),
            in("rsi") i64::from(tid.as_raw_nonzero().get()),
            in("rdx") i64::from(signal),
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
}

fn handler_address() -> libc::sighandler_t {
    dies as *const () as libc::sighandler_t
}

/// The handler of signals that end the process.
pub fn dies_address() -> u64 {
    handler_address() as u64
}

/// The sixteen registers of `context` in the order of a fault's record, and where its thread was.
pub fn registers_of(context: &libc::ucontext_t) -> ([u64; 16], CallFrame) {
    let saved = &context.uc_mcontext.gregs;
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
    let frame = CallFrame {
        // As a return address, which points behind its instruction: no call can return there and have faulted.
        return_address: register(libc::REG_RIP).wrapping_add(1),
        frame_pointer: register(libc::REG_RBP),
        stack_pointer: register(libc::REG_RSP),
    };
    (registers, frame)
}

/// A fatal signal arrived.
extern "C" fn dies(signal: c_int, info: *const libc::siginfo_t, context: *mut c_void) {
    // All zeros: the default action with an empty mask (SIG_DFL is 0).
    set_action(signal, Some(&Action::default()), None);
    // SAFETY: with SA_SIGINFO the kernel passes a valid siginfo and a valid ucontext.
    let (info, context) = unsafe { (&*info, &*context.cast::<libc::ucontext_t>()) };
    // SAFETY: any kind of signal has a word at the address's place; it is looked at for faults only.
    let (code, address) = (info.si_code, unsafe { info.si_addr() } as u64);
    // A positive code is the kernel's own: this thread's instruction did it.
    let fault = FATAL.iter().take(4).any(|candidate| *candidate == signal) && code > 0;
    let (registers, frame) = registers_of(context);
    let pc = frame.return_address.wrapping_sub(1);
    let pid = rustix::process::getpid().as_raw_nonzero().get() as u32;
    let here = core::ptr::from_ref(&pid) as u64;
    // Not counted as lost when it came while this thread was in the recorder: no event of an arena is missing.
    if let Some(mut inside) = Inside::enter(here, false) {
        let recorder = inside.recorder;
        if recorder.pid() == pid {
            crate::check::at_end(&mut inside);
            inside.pay_marks();
            recorder.capture_all(inside.thread(), CaptureReason::Signal);
            // Before this signal, which is then the program's way out of its handler.
            if !fault {
                handled_fault::tell(&mut inside, &End::Signal(signal, info, context));
            }
            let thread = inside.thread();
            if fault {
                crate::own_check::touched(recorder, thread, address);
            }
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
        raise(signal);
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

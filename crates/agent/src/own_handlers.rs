//! Handlers of the program's own, with a step of ours in front.
//!
//! For two kinds of signals the kernel is given our stub instead of the program's handler: those that set a mark
//! (`--mark-on`), and the two faults of memory. The stub notes what it has to and *jumps* on to the program's handler, which finds
//! registers, stack, signal frame and mask as the kernel made them: nothing of ours stands on the stack, backtraces are
//! those of the program alone, and a handler may return, siglongjmp or never come back.
//!
//! The program sees its own actions. Its `sigaction` and `signal` are called through the functions below, which put the stub in
//! and hide it in the old action. What the kernel keeps (mask, restorer, other flags) stays the program's; kept here are only
//! its handler and the flags that we may add to. Relied on: a handler that this process did not set by those two functions
//! (a system call made by hand, a child of vfork) is never wrapped, and so is left alone.
//!
//! Tried and dropped: calling the handler from the stub, to see its return. It shows in every backtrace a crash handler prints.
#![allow(unsafe_code, reason = "signal handlers and the C library's functions that set them")]

use crate::hooks::CALL;
use crate::signals::{Action, action_of, dies_address, restorer_address, set_action};
use crate::stubs::Frame;
use crate::{handled_fault, process, signal_marks, state};
use arenascope_plan::HookKind;
use arenascope_record::{quiet, read_own_memory};
use core::ffi::{c_int, c_void};
use core::mem::{MaybeUninit, transmute};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Signals that a program may handle and whose faults are noted first.
const FAULTS: [c_int; 2] = [libc::SIGSEGV, libc::SIGBUS];

const DEFAULT: u64 = libc::SIG_DFL as u64;
const IGNORE: u64 = libc::SIG_IGN as u64;
const SIGINFO: u64 = libc::SA_SIGINFO as u64;
const RESTART: u64 = libc::SA_RESTART as u64;
const ONSTACK: u64 = libc::SA_ONSTACK as u64;
const NODEFER: u64 = libc::SA_NODEFER as u64;
const RESETHAND: u64 = libc::SA_RESETHAND as u32 as u64;
/// Flags that we may add or take away; of the others the kernel knows best.
const CHANGED: u64 = SIGINFO | RESTART | ONSTACK | NODEFER | RESETHAND;
/// Besides the flags: the program has set this action itself.
const SET: u64 = 1 << 63;

/// The program's action for one signal, as far as the kernel does not keep it.
struct Own {
    handler: AtomicU64,
    flags: AtomicU64,
}

/// One for each signal, from 1; all zeros: the default, never set.
static OWN: [Own; 64] = [const { Own { handler: AtomicU64::new(0), flags: AtomicU64::new(0) } }; 64];

/// What [`Own`] held.
#[derive(Clone, Copy)]
struct Before {
    handler: u64,
    flags: u64,
}

impl Own {
    fn of(signal: c_int) -> Option<&'static Own> {
        OWN.get((signal as usize).wrapping_sub(1))
    }

    fn read(&self) -> Before {
        Before { handler: self.handler.load(Relaxed), flags: self.flags.load(Relaxed) }
    }

    fn set(&self, now: Before) {
        self.flags.store(now.flags, Relaxed);
        self.handler.store(now.handler, Relaxed);
    }
}

// ---- a signal arrives ----

core::arch::global_asm!(
    // As the kernel calls a handler: rdi signal, rsi siginfo, rdx ucontext, the restorer's address on top of the stack.
    ".text",
    ".balign 16",
    ".globl ascope_signal_stub",
    ".hidden ascope_signal_stub",
    ".type ascope_signal_stub, @function",
    "ascope_signal_stub:",
    ".cfi_startproc",
    "push rdi",
    ".cfi_adjust_cfa_offset 8",
    "push rsi",
    ".cfi_adjust_cfa_offset 8",
    "push rdx",
    ".cfi_adjust_cfa_offset 8",
    "call {arrived}",
    "pop rdx",
    ".cfi_adjust_cfa_offset -8",
    "pop rsi",
    ".cfi_adjust_cfa_offset -8",
    "pop rdi",
    ".cfi_adjust_cfa_offset -8",
    "mov r11, rax",
    "xor eax, eax",
    "test r11, r11",
    "jz 2f",
    "jmp r11",
    "2: ret",
    ".cfi_endproc",
    ".size ascope_signal_stub, . - ascope_signal_stub",
    arrived = sym arrived,
);

unsafe extern "C" {
    fn ascope_signal_stub();
}

fn stub() -> u64 {
    ascope_signal_stub as *const () as u64
}

/// A signal arrived; the handler to go on with, 0 for none.
extern "C" fn arrived(signal: c_int, info: *const libc::siginfo_t, context: *const c_void) -> u64 {
    let Some(own) = Own::of(signal) else { return DEFAULT };
    let Before { handler, flags } = own.read();
    if signal_marks::sets_one(signal) {
        signal_marks::arrived(signal, context);
        if flags & RESETHAND != 0 {
            own.handler.store(DEFAULT, Relaxed);
        }
        return handler;
    }
    handled_fault::note(signal, info, context);
    if handler == DEFAULT || flags & RESETHAND != 0 {
        own.handler.store(DEFAULT, Relaxed);
        end_next_time(signal);
    }
    handler
}

/// The kernel's part of SA_RESETHAND, done by us, so that the signal's next time is seen: our own last handler takes over.
fn end_next_time(signal: c_int) {
    let Some(mut action) = action_of(signal).filter(|_| !quiet::is_on()) else { return };
    action.handler = dies_address();
    action.flags |= SIGINFO | NODEFER | ONSTACK;
    set_action(signal, Some(&action), None);
}

// ---- the program sets an action ----

/// The C library's functions, behind our patches of them.
static SIGACTION: AtomicU64 = AtomicU64::new(0);
static SIGNAL: AtomicU64 = AtomicU64::new(0);

type Sigaction = unsafe extern "C" fn(c_int, *const libc::sigaction, *mut libc::sigaction) -> c_int;
type Signal = unsafe extern "C" fn(c_int, u64) -> u64;

fn managed(signal: c_int) -> bool {
    signal_marks::sets_one(signal) || (FAULTS.contains(&signal) && !quiet::is_on())
}

/// `sigaction` or `signal` is entered: a call about one of our signals goes through the functions below.
pub fn enter(frame: &mut Frame, kind: HookKind) -> u32 {
    let signal = frame.rdi as u32 as c_int;
    if state::recorder().is_some_and(|recorder| recorder.enabled()) && managed(signal) {
        let (original, ours) = match kind {
            HookKind::Sigaction => (&SIGACTION, sigaction_of_program as *const () as u64),
            _ => (&SIGNAL, signal_of_program as *const () as u64),
        };
        original.store(frame.target, Relaxed);
        frame.target = ours;
    }
    CALL
}

/// What the kernel is given for an action of the program's: handler and flags. `None`: just that.
fn instead_of(signal: c_int, handler: u64, flags: u64) -> Option<(u64, u64)> {
    // SIG_ERR, SIG_HOLD and the like are refused by whoever is asked.
    if handler == IGNORE || (handler != DEFAULT && handler < 4096) || handler == u64::MAX {
        return None;
    }
    let flags = (flags & !RESETHAND) | SIGINFO;
    Some(match (signal_marks::sets_one(signal), handler) {
        (true, DEFAULT) => (stub(), flags | RESTART | ONSTACK),
        (false, DEFAULT) => (dies_address(), flags | NODEFER | ONSTACK),
        _ => (stub(), flags),
    })
}

fn is_our_handler(handler: u64) -> bool {
    handler == stub() || handler == dies_address()
}

/// True when actions that are set now are this process's own: a child of vfork has our memory and handlers of its own.
fn is_ours() -> bool {
    state::recorder().is_some_and(|recorder| recorder.pid() == process::own_pid())
}

/// The action at `address`, if all of it can be read.
fn action_at(address: *const libc::sigaction) -> Option<libc::sigaction> {
    let mut copy = MaybeUninit::<libc::sigaction>::uninit();
    if quiet::is_on() {
        // SAFETY: the program passes a `struct sigaction` (sigaction(2)); no system call may ask whether it is mapped.
        return Some(unsafe { address.read() });
    }
    // SAFETY: `copy` has exactly this room; bytes that are not written are not looked at, by the comparison below.
    let bytes = unsafe { core::slice::from_raw_parts_mut(copy.as_mut_ptr().cast::<u8>(), size_of_val(&copy)) };
    let pid = state::recorder()?.pid();
    // SAFETY: all bytes were written, and any bytes are a valid `struct sigaction` (integers).
    (read_own_memory(pid, address as u64, bytes) == size_of_val(&copy)).then(|| unsafe { copy.assume_init() })
}

/// In place of the C library's `sigaction`, for our signals.
extern "C" fn sigaction_of_program(signal: c_int, new: *const libc::sigaction, old: *mut libc::sigaction) -> c_int {
    // SAFETY: `enter` stored the address of the function's relocated start, which has this signature.
    let original: Sigaction = unsafe { transmute(SIGACTION.load(Relaxed) as *const ()) };
    let Some(own) = Own::of(signal) else {
        // SAFETY: the program's own arguments.
        return unsafe { original(signal, new, old) };
    };
    let before = own.read();
    let action = if new.is_null() || !is_ours() { None } else { action_at(new) };
    if action.is_some_and(|action| is_our_handler(action.sa_sigaction as u64)) {
        // glibc's `signal`, called below, goes on through `sigaction`: there all has been said.
        // SAFETY: the arguments of the C library's own call.
        return unsafe { original(signal, new, old) };
    }
    let result = match action {
        None => {
            // SAFETY: the program's own arguments.
            unsafe { original(signal, new, old) }
        }
        Some(mut action) => {
            let (handler, flags) = (action.sa_sigaction as u64, action.sa_flags as u32 as u64);
            if let Some((ours, flags)) = instead_of(signal, handler, flags) {
                action.sa_sigaction = ours as usize;
                action.sa_flags = flags as u32 as c_int;
            }
            own.set(Before { handler, flags: flags | SET });
            // SAFETY: `action` is the program's own but for handler and flags, and lives through the call; `old` is the
            // program's.
            let result = unsafe { original(signal, &action, old) };
            if result != 0 {
                own.set(before);
            }
            result
        }
    };
    if result == 0 && !old.is_null() {
        // SAFETY: sigaction succeeded and has just written a whole `struct sigaction` there.
        unsafe { hide(&mut *old, before) };
    }
    result
}

/// Puts into an old action what the program had set.
fn hide(old: &mut libc::sigaction, before: Before) {
    let handler = old.sa_sigaction as u64;
    if !is_our_handler(handler) {
        return;
    }
    if before.flags & SET == 0 {
        // SAFETY: zeros are a valid `struct sigaction`: the default, nothing blocked.
        *old = unsafe { MaybeUninit::zeroed().assume_init() };
        return;
    }
    old.sa_sigaction = before.handler as usize;
    let flags = old.sa_flags as u32 as u64;
    old.sa_flags = ((flags & !CHANGED) | (before.flags & CHANGED)) as u32 as c_int;
}

/// In place of the C library's `signal`, for our signals.
extern "C" fn signal_of_program(signal: c_int, handler: u64) -> u64 {
    // SAFETY: `enter` stored the address of the function's relocated start, which has this signature.
    let original: Signal = unsafe { transmute(SIGNAL.load(Relaxed) as *const ()) };
    let Some(own) = Own::of(signal) else {
        // SAFETY: the program's own arguments.
        return unsafe { original(signal, handler) };
    };
    let before = own.read();
    let ours = if is_ours() { instead_of(signal, handler, 0) } else { None };
    if ours.is_some() {
        own.set(Before { handler, flags: RESTART | SET });
    }
    // SAFETY: the program's own arguments, or a handler of ours with the signature that the kernel calls.
    let old = unsafe { original(signal, ours.map_or(handler, |(ours, _)| ours)) };
    if old == libc::SIG_ERR as u64 {
        own.set(before);
        return old;
    }
    if let Some((_, added)) = ours
        && let Some(mut action) = action_of(signal).filter(|_| !quiet::is_on())
    {
        // `siginterrupt` decides whether system calls are restarted: asked for, not guessed.
        own.flags.store((action.flags & CHANGED) | SET, Relaxed);
        action.flags |= added;
        set_action(signal, Some(&action), None);
    }
    if is_our_handler(old) { before.handler } else { old }
}

// ---- ours, from the start and to the end ----

/// Takes the signals that set a mark and that nobody ignores. Before any hook is laid.
pub fn install() {
    for signal in 1..=64 {
        if signal_marks::sets_one(signal) && action_of(signal).is_some_and(|action| action.handler == DEFAULT) {
            let flags = SIGINFO | ONSTACK | RESTART | crate::signals::SA_RESTORER;
            set_action(signal, Some(&Action { handler: stub(), flags, restorer: restorer_address(), mask: 0 }), None);
        }
    }
}

/// Gives the faults back to the program's own handlers: from now on no system call may follow one.
pub fn uninstall() {
    for signal in FAULTS {
        let (Some(mut action), Some(own)) = (action_of(signal), Own::of(signal)) else { continue };
        if action.handler == stub() {
            let own = own.read();
            action.handler = own.handler;
            action.flags = (action.flags & !CHANGED) | (own.flags & CHANGED);
            set_action(signal, Some(&action), None);
        }
    }
}

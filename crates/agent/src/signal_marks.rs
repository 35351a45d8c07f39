//! Marks set by a signal (`--mark-on`).
//!
//! The bytes of all arenas are saved and the moment gets the signal's name, before the program's own handler runs. Relied on:
//! nothing here waits, allocates, or touches what an interrupted hook was doing. A signal that comes while its thread is
//! in the recorder, in a thread that the recorder does not know, or in a child that has no trace yet is *owed*: the next
//! event of any thread, or the end, sets as many marks as signals came. Deliberately absent: signals that nobody receives
//! (ignored, blocked, taken by sigwait or a signalfd), for which the kernel calls no handler.
#![allow(unsafe_code, reason = "reads the interrupted registers, and whether this thread is in the recorder")]

use crate::process;
use crate::signals::registers_of;
use crate::state::{self, Inside};
use crate::stubs::thread_word;
use arenascope_event::CaptureReason;
use arenascope_plan::{SIGNAL_NAME_BYTES, signal_bit, signal_name};
use arenascope_record::{CallFrame, Record, Recorder, Thread, on_own_stack};
use core::ffi::{c_int, c_void};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

static SIGNALS: AtomicU64 = AtomicU64::new(0);

/// Sets the signals that set a mark. Once, at the start.
pub fn set(signals: u64) {
    SIGNALS.store(signals, Relaxed);
}

/// True when `signal` sets a mark.
pub fn sets_one(signal: c_int) -> bool {
    SIGNALS.load(Relaxed) & signal_bit(signal as u32) != 0
}

/// `signal` arrived; `context` is what the kernel passes to a handler.
pub fn arrived(signal: c_int, context: *const c_void) {
    let Some(recorder) = state::recorder().filter(|recorder| recorder.enabled()) else { return };
    let here = 0u8;
    let here = core::ptr::from_ref(&here) as u64;
    let ready = recorder.alive() && is_idle() && recorder.pid() == process::own_pid();
    let Some(mut inside) = (if ready { Inside::enter(here, false) } else { None }) else {
        return recorder.owe_mark(signal as u32);
    };
    // SAFETY: the kernel passes a valid ucontext to every handler (arch/x86/kernel/signal_64.c, x64_setup_rt_frame).
    let (_, frame) = registers_of(unsafe { &*context.cast::<libc::ucontext_t>() });
    on_own_stack(|| take(recorder, inside.thread(), signal as u32, 1, Some(frame)));
}

/// True when this thread is known to the recorder and not inside it. A thread that a handler has left by longjmp counts
/// as inside until its next event: whether it is can only be told there.
fn is_idle() -> bool {
    let thread = thread_word();
    // SAFETY: not null: this thread's own state, of which one aligned word is read.
    !thread.is_null() && unsafe { (&raw const (*thread).busy).read_volatile() } == 0
}

/// Sets `count` marks at this moment.
fn take(recorder: &Recorder, thread: &mut Thread, signal: u32, count: u32, frame: Option<CallFrame>) {
    let mut room = [0u8; SIGNAL_NAME_BYTES];
    let name = signal_name(signal, &mut room);
    crate::own_check::look_at_all(recorder, thread);
    recorder.capture_all(thread, CaptureReason::UserMark);
    for _ in 0..count {
        recorder.note(thread, frame, &Record::UserMark { name });
    }
}

/// Sets the marks that are owed. The caller has found that there are some.
#[cold]
#[inline(never)]
pub fn pay(recorder: &'static Recorder, thread: &mut Thread) {
    on_own_stack(|| recorder.take_owed_marks(|signal, count| take(recorder, thread, signal, count, None)));
}

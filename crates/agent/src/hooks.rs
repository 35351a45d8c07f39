//! Which handler serves which hook. Called by the stubs.

use crate::stubs::Frame;
use crate::{malloc, markers, memory, own_handlers, process, roles, scan, seccomp, signals, state};
use arenascope_plan::HookKind;

/// The function is called with a copy of its stack arguments, and its return is seen.
pub const CALL_WITH_STACK: u32 = 0;
/// The function runs as if it were not hooked.
pub const PASS: u32 = 1;
/// As `CALL_WITH_STACK`, for a function that is known to have no arguments on the stack.
pub const CALL: u32 = 2;

/// A hooked function is entered through `ascope_around`; the answer is one of the three above.
pub extern "C" fn on_enter(frame: &mut Frame) -> u32 {
    let Some(hook) = state::hook(frame.hook) else { return PASS };
    frame.target = hook.trampoline;
    match hook.kind {
        kind if kind.is_role() => roles::enter(frame, hook),
        HookKind::Fork => process::fork_enter(frame),
        HookKind::Prctl => seccomp::prctl_enter(frame),
        HookKind::Sigaction | HookKind::Signal => {
            memory::enter(frame, hook.kind);
            own_handlers::enter(frame, hook.kind)
        }
        kind if malloc::is_watched() && malloc::serves(kind) => malloc::enter(frame, kind),
        _ => memory::enter(frame, hook.kind),
    }
}

/// Handed back after a return: the caller is returned to.
pub const DONE: u32 = PASS;

/// A function called by `ascope_around` has returned. `CALL` and `CALL_WITH_STACK` call once more, with the registers
/// that stand in the frame; `DONE` returns to the caller.
pub extern "C" fn on_exit(frame: &mut Frame) -> u32 {
    let Some(hook) = state::hook(frame.hook) else { return DONE };
    match hook.kind {
        kind if kind.is_role() => return roles::exit(frame, hook),
        HookKind::Fork => process::fork_exit(frame),
        HookKind::Dlopen => process::dlopen_exit(frame),
        HookKind::Sigaction => signals::sigaction_exit(frame),
        HookKind::Signal => signals::signal_exit(frame),
        HookKind::Prctl => seccomp::prctl_exit(frame),
        kind if malloc::is_watched() && malloc::serves(kind) => malloc::exit(frame, kind),
        kind => memory::exit(frame, kind),
    }
    DONE
}

/// A hooked function is entered through `ascope_before`; it runs in its caller's frame afterwards.
pub extern "C" fn on_before(frame: &mut Frame) {
    let Some(hook) = state::hook(frame.hook) else { return };
    match hook.kind {
        HookKind::HeapFree if malloc::is_watched() => malloc::free(frame),
        HookKind::HeapFree => memory::heap_free(frame),
        HookKind::PthreadCreate => process::pthread_create(frame),
        HookKind::Vfork | HookKind::Spawn => process::vfork(frame),
        HookKind::Syscall => seccomp::syscall(frame),
        HookKind::UserMark => roles::user_mark(frame, hook),
        HookKind::ExitNow => process::exit_now(frame),
        HookKind::Exit => scan::exit(frame),
        HookKind::StartMain => scan::start_main(frame),
        HookKind::Execve => process::exec(frame),
        HookKind::Fexecve => process::exec_descriptor(frame),
        _ => {}
    }
}

/// A marker is passed; the program goes on behind its nop.
pub extern "C" fn on_marker(frame: &mut Frame) {
    if let Some(hook) = state::hook(frame.hook) {
        markers::passed(frame, hook);
    }
}

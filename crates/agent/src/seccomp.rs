//! The host asks for seccomp: from then on we make no system call that it does not make itself.
//!
//! Seen are calls of the C library's `prctl` and `syscall`. Just before such a call goes through, space in the trace is made
//! and our signal handlers go (they would set an action); if `prctl` fails, everything is as before. `syscall` is not seen
//! at its return (it may come back twice, or on another stack), so a call that cannot succeed is told by its arguments, as
//! libseccomp asks for what the kernel can. Deliberately absent: system calls made by hand.

use crate::signals;
use crate::state;
use crate::stubs::Frame;
use arenascope_record::quiet;

const PR_SET_SECCOMP: u64 = 22;
const SYS_SECCOMP: u64 = 317;
const STRICT: u64 = 1;
const FILTER: u64 = 2;

fn begin(strict: bool) {
    if let Some(recorder) = state::recorder()
        && recorder.enabled()
        && !quiet::is_on()
    {
        signals::uninstall();
        recorder.go_quiet(strict);
    }
}

/// `prctl(option, mode, filter)` is entered.
pub fn prctl_enter(frame: &mut Frame) -> u32 {
    let before = quiet::is_on();
    frame.stash = [0; 7];
    match (frame.rdi as u32 as u64, frame.rsi) {
        (PR_SET_SECCOMP, STRICT) => begin(true),
        (PR_SET_SECCOMP, FILTER) if frame.rdx != 0 => begin(false),
        _ => {}
    }
    let [changed, ..] = &mut frame.stash;
    *changed = u64::from(quiet::is_on() && !before);
    crate::hooks::CALL
}

/// `prctl` returned.
pub fn prctl_exit(frame: &Frame) {
    let [changed, ..] = frame.stash;
    if changed != 0 && frame.rax as u32 != 0 {
        quiet::end();
        signals::install();
    }
}

/// `syscall(number, operation, flags, filter)` is entered.
pub fn syscall(frame: &Frame) {
    let (operation, flags, filter) = (frame.rsi as u32, frame.rdx, frame.rcx);
    match (frame.rdi, operation) {
        (SYS_SECCOMP, 0) if flags == 0 && filter == 0 => begin(true),
        (SYS_SECCOMP, 1) if filter != 0 => begin(false),
        _ => {}
    }
}

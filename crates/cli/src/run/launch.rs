//! Starting the program as if we were not there, and waiting for its end.
//!
//! Own fork and exec instead of std's: the trace file is named after the child's pid and must exist (or fail) before the
//! program runs, so the child waits at a gate; and the program must get the signal dispositions and mask that we were
//! started with, not those that Rust's runtime set up for us.
#![allow(unsafe_code, reason = "fork, exec, wait, signal dispositions")]

use crate::run::sanitizer::{self, Way};
use arenascope_plan::signal_bit;
use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering::Relaxed};

/// What SIGPIPE did when this program was started: Rust's runtime ignores it before `main`.
static PIPE_WAS_IGNORED: AtomicBool = AtomicBool::new(false);

/// What SIGXFSZ did when this program was started.
static FILE_SIZE_WAS_IGNORED: AtomicBool = AtomicBool::new(false);

/// A limit on file sizes (`ulimit -f`) becomes an error of ours instead of the end of us. The program gets the signal as
/// it was.
pub fn survive_file_size_limit() {
    // SAFETY: sets a disposition.
    let before = unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    FILE_SIZE_WAS_IGNORED.store(before == libc::SIG_IGN, Relaxed);
}

/// Runs before Rust's runtime starts.
extern "C" fn look_at_sigpipe() {
    let mut old = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: asks for the present action; `old` is a valid place, and zeroed is a valid value.
    let old = unsafe {
        libc::sigaction(libc::SIGPIPE, std::ptr::null(), old.as_mut_ptr());
        old.assume_init()
    };
    PIPE_WAS_IGNORED.store(old.sa_sigaction == libc::SIG_IGN, Relaxed);
}

// SAFETY: a function pointer in .init_array is called once by the C library before main, with arguments that the
// function does not take.
#[used]
#[unsafe(link_section = ".init_array")]
static LOOK: extern "C" fn() = look_at_sigpipe;

/// A child that has not executed the program yet.
pub struct Waiting {
    /// Its pid: the program's.
    pub pid: u32,
    gate: OwnedFd,
    complaint: OwnedFd,
}

/// How the program ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct End {
    /// As `waitpid` tells it.
    pub raw: i32,
}

impl End {
    /// The exit status of `run`: the program's own, or 128 + the signal that killed it.
    pub fn exit_status(self) -> u8 {
        if libc::WIFSIGNALED(self.raw) {
            128u8.wrapping_add(libc::WTERMSIG(self.raw) as u8)
        } else {
            libc::WEXITSTATUS(self.raw) as u8
        }
    }
}

fn c_string(text: &OsStr) -> io::Result<CString> {
    CString::new(text.as_bytes())
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "a NUL byte in an argument or the environment"))
}

fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [0; 2];
    // SAFETY: `ends` has room for two descriptors.
    if unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: pipe2 succeeded: both are open descriptors that nobody else owns.
    Ok(unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) })
}

/// Forks a child that will execute `program` with `arguments` (its own name first) when the gate opens. `preload`
/// goes to the end of LD_PRELOAD. Must be called while this process has one thread.
pub fn fork(program: &Path, arguments: &[OsString], preload: Option<&str>) -> io::Result<Waiting> {
    let path = c_string(program.as_os_str())?;
    let arguments = arguments.iter().map(|argument| c_string(argument)).collect::<io::Result<Vec<_>>>()?;
    let before =
        match preload.map(|_| sanitizer::way_into_file(program, std::env::var_os("LD_LIBRARY_PATH").as_deref())) {
            Some(Way::Behind(before)) => before,
            Some(Way::Barred(_)) | None => Vec::new(),
        };
    let mut environment = Vec::new();
    let mut preloaded = false;
    for (name, value) in std::env::vars_os() {
        let mut entry = name.clone();
        entry.push("=");
        match preload {
            // In its place: what is left when the agent has taken its part out is what was there.
            Some(preload) if name == "LD_PRELOAD" => {
                preloaded = true;
                entry.push(OsStr::from_bytes(&sanitizer::preload_value(Some(&value), &before, preload)));
            }
            _ => entry.push(value),
        }
        environment.push(c_string(&entry)?);
    }
    // Last: zeros are left of it, which readers of /proc/PID/environ take for its end.
    if let (Some(preload), false) = (preload, preloaded) {
        let mut entry = OsString::from("LD_PRELOAD=");
        entry.push(OsStr::from_bytes(&sanitizer::preload_value(None, &before, preload)));
        environment.push(c_string(&entry)?);
    }
    let vector = |strings: &[CString]| -> Vec<*const libc::c_char> {
        strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (arguments_vector, environment_vector) = (vector(&arguments), vector(&environment));
    let (gate_read, gate_write) = pipe()?;
    let (complaint_read, complaint_write) = pipe()?;
    // SAFETY: one thread exists (contract), so the child may do anything; it only makes async-signal-safe calls.
    let pid = unsafe { libc::fork() };
    if pid < 0 {
        return Err(io::Error::last_os_error());
    }
    if pid == 0 {
        let mut open = 0u8;
        // SAFETY: system calls on descriptors and vectors made above, which live until exec or _exit. The write end of
        // the gate is closed first, so that a launcher that dies lets the child end instead of wait for ever.
        unsafe {
            libc::close(gate_write.as_raw_fd());
            let got = libc::read(gate_read.as_raw_fd(), std::ptr::from_mut(&mut open).cast(), 1);
            if got != 1 {
                libc::_exit(125);
            }
            if !PIPE_WAS_IGNORED.load(Relaxed) {
                libc::signal(libc::SIGPIPE, libc::SIG_DFL);
            }
            if !FILE_SIZE_WAS_IGNORED.load(Relaxed) {
                libc::signal(libc::SIGXFSZ, libc::SIG_DFL);
            }
            libc::execve(path.as_ptr(), arguments_vector.as_ptr(), environment_vector.as_ptr());
            let errno = *libc::__errno_location();
            libc::write(complaint_write.as_raw_fd(), std::ptr::from_ref(&errno).cast(), 4);
            libc::_exit(126);
        }
    }
    Ok(Waiting { pid: pid as u32, gate: gate_write, complaint: complaint_read })
}

static CHILD: AtomicI32 = AtomicI32::new(0);

extern "C" fn pass_on(signal: libc::c_int, info: *const libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: with SA_SIGINFO the kernel passes a valid siginfo.
    let code = unsafe { (*info).si_code };
    // A signal of the terminal went to the whole process group, the program included.
    let from_terminal = code > 0;
    let child = CHILD.load(Relaxed);
    if child > 0 && !from_terminal {
        // SAFETY: kill is async-signal-safe; the pid is our child's, which is not reaped before CHILD is cleared.
        unsafe { libc::kill(child, signal) };
    }
}

/// Signals that are passed on to the program.
const PASSED_ON: [libc::c_int; 6] =
    [libc::SIGINT, libc::SIGQUIT, libc::SIGTERM, libc::SIGHUP, libc::SIGUSR1, libc::SIGUSR2];

/// From now on signals that are sent to us are the program's, and those of `more` too (bit n − 1 for signal n). Does not
/// interrupt what we are waiting for.
fn pass_signals_on(more: u64) {
    for signal in (1..=64).filter(|&signal| PASSED_ON.contains(&signal) || more & signal_bit(signal as u32) != 0) {
        let mut action = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
        // SAFETY: a zeroed sigaction is valid; the handler has the signature that SA_SIGINFO asks for.
        unsafe {
            let action = action.assume_init_mut();
            action.sa_sigaction = pass_on as *const () as libc::sighandler_t;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
            libc::sigaction(signal, action, std::ptr::null_mut());
        }
    }
}

impl Waiting {
    /// Gives up: the child ends without having executed anything.
    pub fn abandon(self) {
        let pid = self.pid as i32;
        drop(self.gate);
        // SAFETY: waits for our own child.
        unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) };
    }

    /// Opens the gate: the program runs. Signals that reach us are passed on to it, those of `more` too. The error is exec's
    /// own.
    pub fn go(self, more: u64) -> io::Result<Running> {
        CHILD.store(self.pid as i32, Relaxed);
        // The child was forked before this, and has the dispositions we were started with.
        pass_signals_on(more);
        // SAFETY: the gate is our descriptor.
        unsafe { libc::write(self.gate.as_raw_fd(), [1u8].as_ptr().cast(), 1) };
        let mut errno = 0i32;
        let got = loop {
            // SAFETY: reads at most four bytes into `errno`. Ends with nothing when exec closed the other end.
            let got = unsafe { libc::read(self.complaint.as_raw_fd(), std::ptr::from_mut(&mut errno).cast(), 4) };
            if got >= 0 || io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
                break got;
            }
        };
        if got == 4 {
            let running = Running { pid: self.pid };
            let _ = running.wait();
            return Err(io::Error::from_raw_os_error(errno));
        }
        Ok(Running { pid: self.pid })
    }
}

/// A program that runs.
pub struct Running {
    /// Its pid.
    pub pid: u32,
}

impl Running {
    /// Waits for its end.
    pub fn wait(&self) -> io::Result<End> {
        let mut raw = 0;
        loop {
            // SAFETY: waits for our own child; `raw` is a valid place.
            let pid = unsafe { libc::waitpid(self.pid as i32, &mut raw, 0) };
            if pid == self.pid as i32 {
                CHILD.store(0, Relaxed);
                return Ok(End { raw });
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
    }
}

/// The ranges of descriptors from 3 on without those of `keep`: first and last of each.
fn gaps(keep: &[RawFd]) -> Vec<(u32, u32)> {
    let mut keep: Vec<u32> = keep.iter().filter_map(|kept| u32::try_from(*kept).ok()).collect();
    keep.sort_unstable();
    let mut gaps = Vec::new();
    let mut next = 3;
    for kept in keep.into_iter().chain([u32::MAX]) {
        if next < kept {
            gaps.push((next, kept - 1));
        }
        next = next.max(kept.saturating_add(1));
    }
    gaps
}

/// Does `work` in a process of its own that belongs to nobody: no terminal, no descriptor of ours or of our parent but those of
/// `keep`, the root as its folder. Must be called while this process has one thread. Returns at once; an error means no process.
pub fn in_background(keep: &[RawFd], work: impl FnOnce()) -> io::Result<()> {
    let closed = gaps(keep);
    // SAFETY: one thread exists (contract), so the child may do anything.
    match unsafe { libc::fork() } {
        -1 => return Err(io::Error::last_os_error()),
        0 => {}
        child => {
            // SAFETY: waits for our own child, which ends as soon as it has forked.
            unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
            return Ok(());
        }
    }
    // SAFETY: system calls of a process with one thread. The second fork leaves a session without a leader, so that no
    // terminal can ever become ours; every other descriptor is closed, so that a pipe of our parent ends when we do; signals
    // that `pass_on` took get their usual meaning back.
    unsafe {
        libc::setsid();
        if libc::fork() != 0 {
            libc::_exit(0);
        }
        libc::chdir(c"/".as_ptr());
        let nothing = libc::open(c"/dev/null".as_ptr(), libc::O_RDWR);
        for standard in 0..3 {
            libc::dup2(nothing, standard);
        }
        for (first, last) in closed {
            libc::syscall(libc::SYS_close_range, first, last, 0);
        }
        for signal in PASSED_ON {
            libc::signal(signal, libc::SIG_DFL);
        }
    }
    work();
    // SAFETY: ends this process without the handlers and buffers it inherited.
    unsafe { libc::_exit(0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_descriptors_but_those_kept_are_closed() {
        const LAST: u32 = u32::MAX - 1;
        assert_eq!(gaps(&[]), [(3, LAST)]);
        assert_eq!(gaps(&[5, 4, 9, 5]), [(3, 3), (6, 8), (10, LAST)]);
        assert_eq!(gaps(&[3, 1, -1]), [(4, LAST)]);
    }
}

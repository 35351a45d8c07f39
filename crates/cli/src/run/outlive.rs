//! Processes that run on when the program has ended: daemons, background jobs.
//!
//! Their traces have no names until somebody adds them: names, roles and what became of the hooks are only known to the
//! launcher. So one process of ours stays in the background, goes on copying their traces from memory to disk, waits for their
//! end, completes each trace, and ends. Relied on: whoever waits for `run` or for its output is not kept waiting. Absent:
//! answering agents (what these processes fork or load from now on is not recorded). *Not chosen*: completing a trace when it
//! is first read, which would change files under readers and has lost the roles.

use crate::run::drain::{self, Drains};
use crate::run::serve::Seen;
use crate::run::{finish, launch};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open, test_kill_process};
use std::os::fd::OwnedFd;

/// How often processes are looked at that the kernel gives no handle on (Linux before 5.3).
const PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

/// Between two passes over traces in memory.
const COPYING: Timespec = Timespec { tv_sec: 0, tv_nsec: drain::PAUSE.as_nanos() as i64 };

/// A handle on a process; `None` where the kernel gives none, or where the process is gone.
fn handle(pid: u32) -> Option<OwnedFd> {
    pidfd_open(Pid::from_raw(i32::try_from(pid).ok()?)?, PidfdFlags::empty()).ok()
}

/// True when the process runs. A zombie does not, whoever should have waited for it.
pub fn runs(pid: u32) -> bool {
    match handle(pid) {
        Some(process) => {
            let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
            matches!(poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&at_once)), Ok(0))
        }
        None => {
            let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
            // Forbidden: it is there, and another user's.
            pid.is_some_and(|pid| test_kill_process(pid) != Err(Errno::SRCH))
        }
    }
}

/// Completes the trace of each of these processes when it ends, from a process in the background. Their trace paths must
/// be absolute. Those in `drains` are copied meanwhile; nobody else may do so any more. False: there is no such process, and the traces
/// stay as they are.
pub fn seal_when_ended(processes: &[Seen], drains: &Drains) -> bool {
    launch::in_background(&drains.descriptors(), || {
        let mut waiting: Vec<&Seen> = processes.iter().collect();
        for pass in 0.. {
            drains.pass(pass);
            waiting.retain(|process| {
                let goes_on = runs(process.pid);
                if !goes_on {
                    if let Some(trace) = &process.trace {
                        let _ = drains.finish(trace);
                    }
                    // Nobody is left to be told: a trace that cannot be completed holds its events.
                    let _ = finish::finish(process, &[], None, None);
                }
                goes_on
            });
            if waiting.is_empty() {
                return;
            }
            let handles: Vec<OwnedFd> = waiting.iter().filter_map(|process| handle(process.pid)).collect();
            let mut ends: Vec<PollFd<'_>> = handles.iter().map(|handle| PollFd::new(handle, PollFlags::IN)).collect();
            // Without a handle on each of them, all are looked at now and then.
            let looked_at = if ends.len() < waiting.len() { Some(&PAUSE) } else { None };
            let _ = poll(&mut ends, if drains.is_empty() { looked_at } else { Some(&COPYING) });
        }
    })
    .is_ok()
}

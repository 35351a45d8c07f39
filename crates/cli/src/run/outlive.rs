//! Processes that run on when the program has ended: daemons, background jobs.
//!
//! Their traces have no names until somebody adds them: names, roles and what became of the hooks are only known to the
//! launcher. So one process of ours stays in the background, waits for their end, completes each trace, and ends. Relied
//! on: whoever waits for `run` or for its output is not kept waiting. Absent: answering agents (what these processes fork
//! or load from now on is not recorded). *Not chosen*: completing a trace when it is first read, which would change files
//! under readers and has lost the roles.

use crate::run::serve::Seen;
use crate::run::{finish, launch};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open, test_kill_process};
use std::os::fd::OwnedFd;

/// How often processes are looked at that the kernel gives no handle on (Linux before 5.3).
const PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

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
            pid.is_some_and(|pid| test_kill_process(pid).is_ok())
        }
    }
}

/// Completes the trace of each of these processes when it ends, from a process in the background. Their trace paths must
/// be absolute. False: there is no such process, and the traces stay without names.
pub fn seal_when_ended(processes: &[Seen]) -> bool {
    launch::in_background(|| {
        let mut waiting: Vec<&Seen> = processes.iter().collect();
        loop {
            waiting.retain(|process| {
                let goes_on = runs(process.pid);
                if !goes_on {
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
            let patience = if ends.len() == waiting.len() { None } else { Some(&PAUSE) };
            let _ = poll(&mut ends, patience);
        }
    })
    .is_ok()
}

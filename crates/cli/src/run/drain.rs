//! How a trace gets from memory to disk while its process runs.
//!
//! A process that mapped the trace file itself would wait for the disk: in the fault that allocates a page, and in stores to pages
//! that are being written back. So it maps memory (a memfd) instead, and the launcher copies to the file what has been
//! committed, every few milliseconds, and gives back what is copied and finished: a hole in the memory, and a live word that
//! counts it. Another live word says how many segments may take memory at once; a process that finds so many counts what
//! it loses, and never waits.
//!
//! May be relied on: at any moment the file is a trace like any other that was cut off. A segment appears in it whole, its header
//! page last, then its commit word after the bytes, so whoever maps the file while it grows finds nothing half written. What is
//! committed before [`Drains::sync`] or [`Drains::finish`] is called is in the file when they return, or counted as lost. A
//! segment is given back only when its writer has been seen in the next one: nobody stores into it any more.
//!
//! Deliberately absent: what records mean; the trace's tail. Threads do not survive fork: for processes that outlive the run, the one
//! in the background goes on ([`Drains::pass`]). *Not chosen*: copying by a thread of the target (visible, and gone after
//! fork and exec); a ring of fixed size (its reader must keep up, or its writer waits); io_uring or splice from the memory (no
//! copy to save: the pages are to be given back); reading through a mapping (a hole of a memfd that is read becomes a page).

mod copying;

use crate::run::budget;
use crate::run::outlive;
use arenascope_trace::layout::SEGMENT_BYTES;
use copying::Copying;
use rustix::process::{Resource, getrlimit};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Between two passes: what a launcher that is killed leaves out of the file at most.
pub const PAUSE: Duration = Duration::from_millis(10);
/// Of the thread that copies: address space may be limited.
const STACK_BYTES: usize = 256 << 10;
/// Passes between two looks at whether processes still run.
const LOOK: u64 = 16;
/// Passes between two questions for the budget.
const ASK: u64 = 100;
/// Passes between two looks at slots that nothing stood in for as long: most will stay so (captures cut short, room made before a
/// seccomp filter).
const LATE: u64 = 10;
/// Traces in memory at once; further ones are files from the start. Each needs two descriptors, and no more than a quarter of those that
/// we may have are taken.
const TRACES: u64 = 128;
/// Passes that are left out after a file that takes no more.
const REST: u32 = 10;

/// The traces of a run that lie in memory.
pub struct Drains {
    traces: Mutex<Vec<Arc<Drained>>>,
    budget: AtomicU64,
    given: Option<u64>,
    /// Traces whose memory was full, and how many bytes that were.
    filled: Mutex<Vec<(PathBuf, u64)>>,
    stopped: AtomicBool,
}

/// The thread that copies; ends when dropped.
pub struct Draining {
    drains: Arc<Drains>,
    thread: Option<JoinHandle<()>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Draining {
    /// Starts it.
    ///
    /// # Errors
    /// No thread can be made.
    pub fn start(drains: &Arc<Drains>) -> io::Result<Draining> {
        let shared = Arc::clone(drains);
        let thread =
            std::thread::Builder::new().name("drain".into()).stack_size(STACK_BYTES).spawn(move || shared.run())?;
        Ok(Draining { drains: Arc::clone(drains), thread: Some(thread) })
    }
}

impl Drop for Draining {
    fn drop(&mut self) {
        self.drains.stopped.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

impl Default for Drains {
    fn default() -> Self {
        Drains::new()
    }
}

impl Drains {
    /// None yet.
    pub fn new() -> Drains {
        let given = budget::given();
        Drains {
            traces: Mutex::default(),
            budget: AtomicU64::new(given.unwrap_or_else(|| budget::budget(std::process::id()))),
            given,
            filled: Mutex::default(),
            stopped: AtomicBool::new(false),
        }
    }

    /// True when one more trace can lie in memory.
    pub fn has_room(&self) -> bool {
        let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        (lock(&self.traces).len() as u64) < TRACES.min(descriptors / 8)
    }

    /// True when the environment sets the budget: then memory is used on any disk.
    pub fn is_given(&self) -> bool {
        self.given.is_some()
    }

    fn all(&self) -> Vec<Arc<Drained>> {
        lock(&self.traces).clone()
    }

    fn of(&self, path: &Path) -> Option<Arc<Drained>> {
        let path = std::path::absolute(path).ok()?;
        lock(&self.traces).iter().find(|trace| trace.path == path).cloned()
    }

    /// From now on the trace of process `pid` in `memory` is copied to `file`, which is at `path`. To be called before the process is
    /// told of it. `memory` begins with the header page and has `bytes` bytes.
    ///
    /// # Errors
    /// The memory cannot be written to.
    pub fn add(&self, path: &Path, pid: u32, memory: Arc<File>, file: File, bytes: u64) -> io::Result<()> {
        let path = std::path::absolute(path)?;
        let mut traces = lock(&self.traces);
        let mut copying = Copying::new(Arc::clone(&memory), file, bytes);
        copying.share = share(self.budget.load(Relaxed), traces.len() as u64 + 1, self.given.is_some());
        copying.allow()?;
        let copying = Mutex::new(copying);
        traces.push(Arc::new(Drained {
            path,
            pid,
            memory,
            ended: AtomicBool::new(false),
            copied: AtomicBool::new(false),
            copying,
        }));
        Ok(())
    }

    /// Process `pid` executes another program: it writes no more into the traces it had.
    pub fn executed(&self, pid: u32) {
        for trace in self.all().iter().filter(|trace| trace.pid == pid) {
            trace.ended.store(true, Relaxed);
        }
    }

    /// A live word of the trace at `path`, if that lies in memory.
    pub fn word(&self, path: &Path, offset: usize) -> Option<u64> {
        let trace = self.of(path)?;
        let mut word = [0; 8];
        trace.memory.read_exact_at(&mut word, offset as u64).ok()?;
        Some(u64::from_le_bytes(word))
    }

    /// Copies what the trace at `path` has committed until now. What its file does not take stays in memory.
    pub fn sync(&self, path: &Path) {
        if let Some(trace) = self.of(path) {
            let _ = lock(&trace.copying).pass(true, false);
        }
    }

    /// The process of the trace at `path` has ended: its file gets all that it takes, and what it does not take is counted as
    /// lost in it. The memory is given back.
    ///
    /// # Errors
    /// The loss cannot be written into the file either.
    pub fn finish(&self, path: &Path) -> io::Result<()> {
        let Some(trace) = self.of(path) else { return Ok(()) };
        lock(&self.traces).retain(|other| !Arc::ptr_eq(other, &trace));
        let outcome = trace.finish();
        self.remember(&trace);
        outcome
    }

    /// Bytes of memory that the finished trace at `path` filled although its file took all that it was given: events came faster.
    pub fn filled(&self, path: &Path) -> Option<u64> {
        let path = std::path::absolute(path).ok()?;
        lock(&self.filled).iter().find(|(filled, _)| *filled == path).map(|(_, bytes)| *bytes)
    }

    fn remember(&self, trace: &Drained) {
        let copying = lock(&trace.copying);
        if let (Some(bytes), false) = (copying.filled, copying.refused) {
            lock(&self.filled).push((trace.path.clone(), bytes));
        }
    }

    /// True when none lies in memory.
    pub fn is_empty(&self) -> bool {
        lock(&self.traces).is_empty()
    }

    /// Descriptors that must stay open for what is in memory.
    pub fn descriptors(&self) -> Vec<RawFd> {
        self.all().iter().flat_map(|trace| [trace.memory.as_raw_fd(), lock(&trace.copying).file.as_raw_fd()]).collect()
    }

    /// One pass over all traces: of so many before it.
    pub fn pass(&self, before: u64) {
        let traces = self.all();
        if let (true, None, Some(first)) = (before.is_multiple_of(ASK), self.given, traces.first()) {
            self.budget.store(budget::budget(first.pid), Relaxed);
        }
        let share = share(self.budget.load(Relaxed), traces.len() as u64, self.given.is_some());
        for trace in &traces {
            if before.is_multiple_of(LOOK) && !outlive::runs(trace.pid) {
                trace.ended.store(true, Relaxed);
            }
            trace.pass(share, before.is_multiple_of(LATE));
        }
        // What is copied for good needs no descriptors.
        for copied in traces.iter().filter(|trace| trace.copied.load(Relaxed)) {
            let before = lock(&self.traces).len();
            lock(&self.traces).retain(|trace| !Arc::ptr_eq(trace, copied));
            if lock(&self.traces).len() < before {
                self.remember(copied);
            }
        }
    }

    fn run(&self) {
        for before in 0u64.. {
            if self.stopped.load(Relaxed) {
                return;
            }
            self.pass(before);
            std::thread::park_timeout(PAUSE);
        }
    }
}

/// Segments that each of `traces` may take in memory, of a budget in bytes. Many share it; each gets enough for a pass, though, unless
/// the budget was `given`.
fn share(budget: u64, traces: u64, given: bool) -> u64 {
    let each = budget / traces.max(1);
    let least = if given { 0 } else { (budget::LEAST / traces.max(1)).max(budget::LEAST / 2) };
    each.max(least) / SEGMENT_BYTES as u64
}

/// A trace that lies in memory.
struct Drained {
    /// The file's path.
    path: PathBuf,
    pid: u32,
    memory: Arc<File>,
    ended: AtomicBool,
    /// All of it is in the file, and there will be no more.
    copied: AtomicBool,
    copying: Mutex<Copying>,
}

impl Drained {
    /// Copies what is new, unless the file refused some a moment ago; it may take `share` segments of memory. `everywhere`: also from
    /// slots that were empty for long.
    fn pass(&self, share: u64, everywhere: bool) {
        let mut copying = lock(&self.copying);
        if self.copied.load(Relaxed) {
            return;
        }
        copying.share = share;
        let _ = copying.allow();
        if copying.rest > 0 {
            copying.rest -= 1;
            return;
        }
        // Looked at before the copying: what an ended process has written is all there then.
        let ended = self.ended.load(Relaxed);
        match copying.pass(everywhere || ended, ended) {
            Ok(()) => self.copied.store(ended, Relaxed),
            Err(_) => (copying.rest, copying.refused) = (REST, true),
        }
    }

    /// As [`Drains::finish`].
    fn finish(&self) -> io::Result<()> {
        let mut copying = lock(&self.copying);
        match self.copied.swap(true, Relaxed) {
            true => Ok(()),
            false => copying.finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::copying::tests::{Process, SLOTS, payload};
    use super::*;
    use arenascope_trace::layout::{SegmentKind, live, segment_offset};

    #[test]
    fn many_traces_share_a_budget_and_each_has_enough_for_a_pass() {
        let mib = |segments: u64| segments * SEGMENT_BYTES as u64 / (1 << 20);
        assert_eq!(mib(share(256 << 20, 1, false)), 256);
        assert_eq!(mib(share(256 << 20, 4, false)), 64);
        assert_eq!(mib(share(4 << 20, 1, false)), 4);
        assert_eq!(mib(share(4 << 20, 100, false)), 2);
        assert_eq!(share(1, 1, true), 0);
    }

    #[test]
    fn a_thread_copies_what_a_process_writes_until_it_has_ended() {
        let mut process = Process::new();
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("t.ascope");
        let file = File::options().read(true).write(true).create_new(true).open(&path).expect("a file");
        let drains = Arc::new(Drains::new());
        let _draining = Draining::start(&drains).expect("a thread");
        let read = file.try_clone().expect("a descriptor");
        let pid = std::process::id();
        drains.add(&path, pid, Arc::clone(&process.memory), file, segment_offset(SLOTS)).expect("memory");
        assert!(process.word(live::SEGMENTS_AT_ONCE) > 0, "from the start");
        let slot = process.take();
        process.begin(slot, SegmentKind::Events, 0, 0);
        process.commit(slot, b"one");
        while read.metadata().expect("a file").len() == 0 || payload(&read, slot) != b"one" {
            std::thread::sleep(PAUSE);
        }
        process.commit(slot, b"one, two");
        drains.sync(&path);
        assert_eq!(payload(&read, slot), b"one, two", "when it returns");
        process.commit(slot, b"one, two, three");
        drains.executed(pid);
        while !drains.is_empty() {
            std::thread::sleep(PAUSE);
        }
        assert_eq!(payload(&read, slot), b"one, two, three");
        drains.finish(&path).expect("nothing is left to do");
    }
}

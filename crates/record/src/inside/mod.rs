//! A program that records itself: [`start`], for static binaries, where nothing can be preloaded, and for whoever wants a trace of a part
//! of a run only.
//!
//! May be relied on: events of all arenas of the library, in Rust and in C, go into a trace as under `arenascope run`: the same records,
//! written by the same recorder, readable after a kill at any instant. This is the only part of the crate that uses std: it is there with
//! the feature `start`, which nobody in the target may ask for (`xtask tidy`). Deliberately absent: hooks (arenas of other makes), mappings,
//! names of functions, which whoever reads the trace looks up; check mode and sampling.

mod file;
mod library;
mod modules;
mod notes;
mod threads;

pub use library::{HeaderBounds, LentEvent, Observing};

use crate::recorder::{RESERVE_BYTES, Recorder, Start};
use crate::reserve::Reserve;
use crate::space::Space;
use crate::{DEEP_BYTES, StubFrame, prepare_stacks};
use arenascope_trace::layout;
use core::fmt;
use core::sync::atomic::Ordering::Relaxed;
use modules::Wanted;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, Once, PoisonError};
use std::vec::Vec;

/// Return addresses kept for a site, as `arenascope run` keeps.
const FRAMES: usize = 8;

/// Why nothing is recorded, or observed.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// This process records already, into this trace.
    Started {
        /// Where to.
        path: PathBuf,
    },
    /// The arenas are observed by somebody else: `arenascope run`, or the program itself.
    Observed,
    /// The arena library is not in this process.
    NoLibrary,
    /// The arena library is from before it could be found from within.
    OldLibrary,
    /// The trace cannot be written.
    File {
        /// Which file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// No memory for the recorder's tables.
    Memory,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Started { path } => {
                write!(f, "this process records already, into {}: finish that recording first", path.display())
            }
            StartError::Observed => f.write_str(
                "the arenas of this process are observed already: by `arenascope run`, which then records them, or by an observer of \
                 the program's own",
            ),
            StartError::NoLibrary => f.write_str(
                "this process has no arena of the arenascope library: link the crate arenascope, or libarenascope, and use it",
            ),
            StartError::OldLibrary => {
                f.write_str("the arenascope library in this process is too old to be observed from within: 0.1 or newer will do")
            }
            StartError::File { path, error } => {
                write!(f, "cannot write the trace {}: {error}; name a file in a folder that can be written to", path.display())
            }
            StartError::Memory => write!(
                f,
                "no room for the recorder: it needs {} MiB of address space (ulimit -v), most of which it never touches",
                (RESERVE_BYTES + DEEP_BYTES) >> 20
            ),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            StartError::File { error, .. } => Some(error),
            _ => None,
        }
    }
}

/// The recording that is under way.
struct Current {
    number: u64,
    pid: u32,
    file: file::TraceFile,
    space: Space,
}

static CURRENT: Mutex<Option<Current>> = Mutex::new(None);

/// A recording under way. Ends when dropped, and at `exit`.
#[derive(Debug)]
#[must_use = "recording ends when this is dropped"]
pub struct Recording {
    number: u64,
    path: PathBuf,
}

/// Records the events of all arenas of this process into a trace at `path`, from now until the [`Recording`] ends. An older trace there
/// is replaced.
///
/// `arenascope show`, `log`, `findings` and `diff` read the trace, also while it is written, and whatever became of the process: killed,
/// aborted, out of disk (then events that found no room are counted). They look names up in the program's file, which must be the one that
/// ran; `arenascope complete` writes them into the trace. In a forked child nothing is recorded, unless it calls `start` itself.
///
/// Takes the time to make the tables by which frames are followed, tens of milliseconds where glibc is loaded (an estimate: no bench has it);
/// each event then costs what it costs under `arenascope run`. Of arenas that live already, blocks handed out before are not known. A second recording takes fresh tables (1 MiB or so).
///
/// # Errors
/// Nothing is recorded when this process records already, when somebody else observes its arenas, when there is no library in it, or when
/// the file or memory cannot be had.
///
/// # Example
/// ```
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("parser.ascope");
/// let recording = arenascope_record::start(&path)?;
/// let arena = arenascope::Arena::init(4096)?;
/// arena.alloc([1u8; 24]);
/// drop(arena);
/// recording.finish()?;
/// // Then: arenascope show parser.ascope
/// # assert!(std::fs::metadata(&path)?.len() < 1 << 20);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn start(path: impl AsRef<Path>) -> Result<Recording, StartError> {
    let mut current = CURRENT.lock().unwrap_or_else(PoisonError::into_inner);
    let pid = std::process::id();
    if let Some(current) = current.as_ref().filter(|current| current.pid == pid) {
        return Err(StartError::Started { path: current.file.path.clone() });
    }
    // First of all, so that nothing is left behind where there is nothing to record.
    library::watch(&threads::TABLE)?;
    let begun = begin(path.as_ref());
    let (file, space) = begun.inspect_err(|_| library::unwatch(&threads::TABLE))?;
    let number = NUMBERS.fetch_add(1, Relaxed);
    let path = file.path.clone();
    *current = Some(Current { number, pid, file, space });
    static AT_EXIT: Once = Once::new();
    #[expect(unsafe_code, reason = "the C library's list of functions to call at exit")]
    AT_EXIT.call_once(|| {
        // SAFETY: registers a function of the required signature.
        let _ = unsafe { libc::atexit(at_exit) };
    });
    // Arenas that other threads were making meanwhile.
    let _ = library::watch(&threads::TABLE);
    Ok(Recording { number, path })
}

static NUMBERS: core::sync::atomic::AtomicU64 = core::sync::atomic::AtomicU64::new(1);

fn begin(path: &Path) -> Result<(file::TraceFile, Space), StartError> {
    let (file, space) = file::begin(path)?;
    let recorder = recorder(space);
    let Some(recorder) = recorder else {
        let _ = std::fs::remove_file(&file.path);
        return Err(StartError::Memory);
    };
    // Before anybody can walk.
    let modules = modules::all(Wanted::Rules);
    let mut code: Vec<_> = modules.iter().filter_map(|module| module.code).collect();
    code.sort_by_key(|code| code.start);
    recorder.modules(code.into_iter());
    threads::begin(recorder);
    let program = std::env::current_exe().unwrap_or_default();
    let here = 0u64;
    threads::with_thread(core::ptr::from_ref(&here) as u64, |recorder, thread| {
        for module in &modules {
            let path = if module.path.is_empty() { program.as_os_str().as_bytes() } else { module.path.as_slice() };
            recorder.module(thread, module.bias, module.span.0, module.span.1, path, &module.build_id);
        }
    });
    Ok((file, space))
}

fn recorder(space: Space) -> Option<&'static Recorder> {
    static STACKS: Once = Once::new();
    STACKS.call_once(|| {
        if let Some(mut reserve) = Reserve::new(DEEP_BYTES) {
            prepare_stacks(&mut reserve);
        }
    });
    let settings = Start { space: Some(space), pid: std::process::id(), stub: StubFrame::default(), frames: FRAMES };
    Recorder::new(&mut Reserve::new(RESERVE_BYTES)?, settings)
}

extern "C" fn at_exit() {
    if let Ok(mut current) = CURRENT.try_lock() {
        let _ = current.take().map(end);
    }
}

/// Ends a recording. In a child of the process that began it, only forgets it.
fn end(current: Current) -> io::Result<()> {
    if current.pid != std::process::id() {
        return Ok(());
    }
    library::unwatch(&threads::TABLE);
    if !threads::stop() {
        return Err(io::Error::other(
            "a thread is inside the recorder and does not come out, so the trace keeps its length; what it holds can be read",
        ));
    }
    file::end(&current.file, current.space.word(layout::live::NEXT_SEGMENT).load(Relaxed))
}

impl Recording {
    /// The trace, as an absolute path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Ends the recording: arenas go back to full speed at their next event, and the file is cut to what was written. What dropping does,
    /// with its errors.
    ///
    /// # Errors
    /// The file cannot be opened any more, or has another name. What was recorded is in it all the same.
    pub fn finish(self) -> io::Result<()> {
        self.end()
    }

    fn end(&self) -> io::Result<()> {
        let mut current = CURRENT.lock().unwrap_or_else(PoisonError::into_inner);
        match current.take_if(|current| current.number == self.number) {
            Some(current) => end(current),
            None => Ok(()),
        }
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

//! A trace file's beginning and end, from the launcher's side.
//!
//! Begun: in memory that `drain` copies to the file, or in the file where that is memory itself, or where memory cannot be had.
//! The header is written (so its space is allocated), the rest is sparse. Ended: tail, length, words, in that order, so
//! that a launcher killed in between leaves a readable trace.

use crate::error::CliError;
use crate::mapped::Mapped;
use crate::run::drain::Drains;
use arenascope_event::ProcessFacts;
use arenascope_trace::layout::{self, ClockPair, HeaderFields};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// Length of a sparse trace, bytes: address space in the target, not disk.
const SPARSE_BYTES: u64 = 64 << 30;
/// Length of a trace that is allocated at once, for kernels that cannot allocate a page before it is touched.
const ALLOCATED_BYTES: u64 = 64 << 20;

/// File systems that are memory: nothing is gained by copying there (linux/magic.h: tmpfs, ramfs).
const MEMORY: [u32; 2] = [0x0102_1994, 0x8584_58f6];
/// How the name of the memory begins that a process maps instead of its trace: `/proc/PID/maps` shows it behind `/memfd:`.
pub const MEMORY_NAME: &str = "arenascope-trace";

/// A begun trace.
pub struct TraceFile {
    file: File,
    /// Where it is written until it is copied to the file.
    memory: Option<Arc<File>>,
    /// Where it is.
    pub path: PathBuf,
    /// Its length now.
    pub bytes: u64,
    /// True when all its space is allocated.
    pub allocated: bool,
    header: Header,
}

/// What the header page says.
struct Header {
    pid: u32,
    parent_pid: u32,
    fork_id: u64,
    program: Vec<u8>,
}

impl Header {
    /// The page, with the clocks as they are now.
    fn page(&self) -> [u8; layout::HEADER_BYTES] {
        let started = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
        layout::header(&HeaderFields {
            pid: self.pid,
            parent_pid: self.parent_pid,
            fork_id: self.fork_id,
            start: now(),
            start_unix_ns: started,
            program: &self.program,
        })
    }
}

impl TraceFile {
    /// What the agent maps.
    pub fn mapped(&self) -> &File {
        self.memory.as_deref().unwrap_or(&self.file)
    }

    /// Sets the moment that event times count from to now: right before the agent maps the trace, so that our own
    /// preparations do not count. From now on what lies in memory is copied.
    pub fn start(&self, drains: &Drains) -> io::Result<()> {
        self.mapped().write_all_at(&self.header.page(), 0)?;
        match &self.memory {
            Some(memory) => {
                drains.add(&self.path, self.header.pid, Arc::clone(memory), self.file.try_clone()?, self.bytes)
            }
            None => Ok(()),
        }
    }
}

/// Whether a process writes the trace at `path` into memory, by its memory map.
pub fn is_in_memory_of(maps: &str, path: &Path) -> bool {
    let name = path.metadata().map(|file| memory_name(file.dev(), file.ino()));
    name.is_ok_and(|name| maps.lines().any(|line| line.contains(&format!("/memfd:{name} "))))
}

/// The name of the memory of the trace in that file.
fn memory_name(device: u64, inode: u64) -> String {
    format!("{MEMORY_NAME}.{device:x}.{inode}")
}

/// Memory for the trace in `file`, as long as it can grow; `None` when the file is as good, or there is none to be had.
fn memory(file: &File, bytes: u64, drains: &Drains) -> Option<Arc<File>> {
    let is_memory = rustix::fs::fstatfs(file).is_ok_and(|system| MEMORY.contains(&(system.f_type as u32)));
    if is_memory && !drains.is_given() || !drains.has_room() {
        return None;
    }
    let data = file.metadata().ok()?;
    let name = memory_name(data.dev(), data.ino());
    let memory = File::from(rustix::fs::memfd_create(name, rustix::fs::MemfdFlags::CLOEXEC).ok()?);
    memory.set_len(bytes).ok()?;
    Some(Arc::new(memory))
}

/// Both clocks now.
pub fn now() -> ClockPair {
    let monotonic = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    ClockPair {
        tsc: arenascope_record::ticks(),
        ns: (monotonic.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(monotonic.tv_nsec as u64),
    }
}

/// Makes a trace for process `pid`. `waiting`: that process waits for it, and must not wait for the disk: then what lies in memory is not
/// written to the disk here.
///
/// # Errors
/// Status 2: it exists and `force` is false, the folder is not there or not writable, no space for the header.
#[expect(clippy::too_many_arguments, reason = "the header, and how")]
pub fn begin(
    path: &Path,
    force: bool,
    drains: &Drains,
    waiting: bool,
    pid: u32,
    parent_pid: u32,
    fork_id: u64,
    program: &[u8],
) -> Result<TraceFile, CliError> {
    let shown = path.display();
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    if force {
        options.create(true).truncate(true);
    } else {
        options.create_new(true);
    }
    let file = options.open(path).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            CliError::usage(format!("{shown} exists already")).hint("--force to overwrite it, or another name with -o")
        }
        io::ErrorKind::NotFound => {
            CliError::usage(format!("cannot write the trace {shown}: its folder does not exist")).hint("-o FILE")
        }
        io::ErrorKind::IsADirectory => {
            CliError::usage(format!("cannot write the trace {shown}: it is a directory")).hint("-o FILE")
        }
        _ => CliError::usage(format!("cannot write the trace {shown}: {error}"))
            .hint("-o FILE in a folder that you may write to"),
    })?;
    if !file.metadata().is_ok_and(|data| data.is_file()) {
        return Err(CliError::usage(format!("{shown} is not a regular file: a trace must be")).hint("-o FILE"));
    }
    let header = Header { pid, parent_pid, fork_id, program: program.to_vec() };
    let cannot = |error: io::Error| {
        let _ = std::fs::remove_file(path);
        CliError::usage(format!("cannot write the trace {shown}: {error}")).hint("-o FILE on a file system with space")
    };
    let allocated = !kernel_populates();
    let limit = rustix::process::getrlimit(rustix::process::Resource::Fsize).current.unwrap_or(u64::MAX);
    let bytes = if allocated { ALLOCATED_BYTES } else { SPARSE_BYTES }.min(limit & !4095);
    let memory = if allocated { None } else { memory(&file, bytes, drains) };
    if memory.is_none() || !waiting {
        file.write_all_at(&header.page(), 0).map_err(cannot)?;
        // A full file system may only say so when the data is really placed.
        file.sync_data().map_err(cannot)?;
    }
    match &memory {
        // The file grows as it is written.
        Some(_) => {}
        None if allocated => rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes)
            .map_err(|error| cannot(error.into()))?,
        None => file.set_len(bytes).map_err(cannot)?,
    }
    Ok(TraceFile { file, memory, path: path.to_owned(), bytes, allocated, header })
}

/// MADV_POPULATE_WRITE came with Linux 5.14.
fn kernel_populates() -> bool {
    let release = rustix::system::uname();
    let release = release.release().to_string_lossy().into_owned();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse::<u32>().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (5, 14)
}

/// How many forks its process says it has begun.
pub fn forks_begun(path: &Path, drains: &Drains) -> io::Result<u64> {
    if let Some(word) = drains.word(path, layout::live::FORKS) {
        return Ok(word);
    }
    let mut word = [0; 8];
    File::open(path)?.read_exact_at(&mut word, layout::live::FORKS as u64)?;
    Ok(u64::from_le_bytes(word))
}

/// How many blocks check mode left unchecked.
pub fn unchecked(path: &Path) -> io::Result<u64> {
    let mut word = [0; 8];
    File::open(path)?.read_exact_at(&mut word, layout::live::UNCHECKED as u64)?;
    Ok(u64::from_le_bytes(word))
}

/// Ends a trace: `facts` go into its tail.
pub fn end(path: &Path, facts: &ProcessFacts, at: ClockPair) -> io::Result<()> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let seal = {
        let mapped = Mapped::new(&file)?;
        arenascope_trace::seal(&mapped, facts, at).map_err(|error| io::Error::other(error.to_string()))?
    };
    file.write_all_at(&seal.tail, seal.tail_offset)?;
    file.set_len(seal.file_bytes)?;
    for (offset, word) in seal.words {
        file.write_all_at(&word, offset)?;
    }
    Ok(())
}

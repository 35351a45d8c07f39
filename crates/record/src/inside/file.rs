//! The trace file of a program that records itself: how it begins, and what is done about it when recording ends.
//!
//! May be relied on: a new trace is a new file, so that nobody who has the old one mapped loses it; only traces are replaced. No
//! descriptor stays open. Absent: records. The launcher's own (`cli/run/trace_file.rs`) begins its files in the same way, before there
//! is a process.

use super::StartError;
use crate::clock::ticks;
use crate::space::Space;
use crate::system::monotonic_ns;
use arenascope_trace::layout::{self, ClockPair, HeaderFields};
use std::borrow::ToOwned;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Length of a sparse trace, bytes: address space, not disk.
const SPARSE_BYTES: u64 = 64 << 30;
/// Length of a trace that is allocated at once, for kernels that cannot allocate a page before it is touched.
const ALLOCATED_BYTES: u64 = 64 << 20;

/// Which file it is, wherever its name may lead later.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct TraceFile {
    pub path: PathBuf,
    device: u64,
    inode: u64,
}

/// Both clocks now.
fn now() -> ClockPair {
    ClockPair { tsc: ticks(), ns: monotonic_ns() }
}

/// Makes the file and maps its beginning.
pub(super) fn begin(path: &Path) -> Result<(TraceFile, Space), StartError> {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let failed = |error: io::Error| StartError::File { path: path.clone(), error };
    replace(&path).map_err(failed)?;
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path).map_err(failed)?;
    let mapped = fill(&file).and_then(|(bytes, allocated)| {
        let data = file.metadata()?;
        let space = Space::map(file.as_fd(), bytes, allocated)?;
        Ok((TraceFile { path: path.clone(), device: data.dev(), inode: data.ino() }, space))
    });
    mapped.map_err(|error| {
        let _ = fs::remove_file(&path);
        failed(error)
    })
}

/// Takes away what lies at `path`, if that is a trace.
fn replace(path: &Path) -> io::Result<()> {
    let data = match fs::symlink_metadata(path) {
        Ok(data) => data,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let mut magic = [0; layout::MAGIC.len()];
    let mut is_trace =
        || File::open(path).and_then(|mut file| file.read_exact(&mut magic)).is_ok() && magic == layout::MAGIC;
    if data.is_file() && (data.len() == 0 || is_trace()) {
        return fs::remove_file(path);
    }
    Err(io::Error::new(ErrorKind::AlreadyExists, "it exists, and is no trace"))
}

/// Writes the header page and makes the file long; its length, and whether all of it is allocated.
fn fill(file: &File) -> io::Result<(u64, bool)> {
    let program = std::env::current_exe().unwrap_or_default();
    let started = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
    let page = layout::header(&HeaderFields {
        pid: std::process::id(),
        parent_pid: rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get() as u32),
        fork_id: 0,
        start: now(),
        start_unix_ns: started,
        program: program.as_os_str().as_bytes(),
    });
    file.write_all_at(&page, 0)?;
    // A full file system may only say so when the data is really placed.
    file.sync_data()?;
    let limit = rustix::process::getrlimit(rustix::process::Resource::Fsize).current.unwrap_or(u64::MAX) & !4095;
    let allocated = !populates();
    let bytes = if allocated { ALLOCATED_BYTES } else { SPARSE_BYTES }.min(limit);
    if allocated {
        rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, bytes)?;
    } else {
        file.set_len(bytes)?;
    }
    Ok((bytes, allocated))
}

/// Whether the kernel can allocate a page of a mapped file before it is touched (MADV_POPULATE_WRITE, Linux 5.14): asked of a page of no
/// file.
fn populates() -> bool {
    use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};
    const PAGE: usize = 4096;
    let rights = ProtFlags::READ | ProtFlags::WRITE;
    #[expect(unsafe_code, reason = "a page of its own to ask the kernel with")]
    // SAFETY: a fresh anonymous mapping, which nobody else knows and which is gone at the end.
    unsafe {
        let Ok(page) = mmap_anonymous(core::ptr::null_mut(), PAGE, rights, MapFlags::PRIVATE) else { return false };
        let able = madvise(page, PAGE, Advice::LinuxPopulateWrite).is_ok();
        let _ = munmap(page, PAGE);
        able
    }
}

/// Nobody writes into the trace any more: cuts off what nobody wrote, and notes when it ended.
pub(super) fn end(trace: &TraceFile, segments: u64) -> io::Result<()> {
    let file = OpenOptions::new().read(true).write(true).open(&trace.path)?;
    let data = file.metadata()?;
    if (data.dev(), data.ino()) != (trace.device, trace.inode) {
        return Err(io::Error::other("another file has its name now"));
    }
    let used = layout::segment_offset(u32::try_from(segments).unwrap_or(u32::MAX));
    file.set_len(used.min(data.len()))?;
    let at = now();
    for (word, value) in [(layout::sealed::END_TSC, at.tsc), (layout::sealed::END_NS, at.ns)] {
        file.write_all_at(&value.to_le_bytes(), word as u64)?;
    }
    Ok(())
}

//! A living process's memory, through /proc: read while it runs, never stopped, never written.
//!
//! May be relied on: what could not be opened says why ([`NotRead`]). Memory of a process that executes another program, or ends, reads as gone. A
//! process whose first thread has ended is read through another one. Deliberately absent: ptrace; `/proc/PID/mem` asks for the same rights and stops nobody.

use super::maps;
use arenascope_headers::{Mappings, Memory, Unread};
use std::cell::RefCell;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

/// Why a process cannot be read.
#[derive(Debug)]
pub enum NotRead {
    /// There is none of this number, or no more.
    Vanished,
    /// It has ended, and its parent has not asked how.
    Zombie,
    /// It is the kernel's.
    Kernel,
    /// The system does not allow it; whose process it is.
    Forbidden(Option<u32>),
    /// Something else.
    Io(io::Error),
}

impl fmt::Display for NotRead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotRead::Vanished => f.write_str("there is no such process (any more)"),
            NotRead::Zombie => {
                f.write_str("it has ended, and has no memory any more (a zombie, for its parent to collect)")
            }
            NotRead::Kernel => f.write_str("it is a thread of the kernel, and has no memory of a program"),
            NotRead::Forbidden(_) => f.write_str("permission denied"),
            NotRead::Io(error) => error.fmt(f),
        }
    }
}

/// The kernel's flag of its own threads (`PF_KTHREAD`, include/linux/sched.h).
const KERNEL_THREAD: u64 = 0x0020_0000;

/// A process that can be read.
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// The number that it has for itself: in its own name space.
    pub inner_pid: u32,
    /// Its short name.
    pub name: String,
    /// Its program, where that may be known.
    pub program: Option<PathBuf>,
    /// /proc/PID, or one of its threads there.
    folder: PathBuf,
    memory: File,
    pages: Option<File>,
    mappings: RefCell<Rc<Mappings>>,
    /// Ask for the flags of mappings, which costs a walk over the page tables.
    flags: bool,
}

impl Process {
    /// Opens process `pid`. `flags`: also learn what a fork does not copy.
    pub fn open(pid: u32, flags: bool) -> Result<Process, NotRead> {
        let root = PathBuf::from(format!("/proc/{pid}"));
        let status = fs::read(root.join("status")).unwrap_or_default();
        let status = String::from_utf8_lossy(&status).into_owned();
        // The folder of a program that is not dumpable belongs to root.
        let owner = effective_user(&status).or_else(|| Some(fs::metadata(&root).ok()?.uid()));
        let cannot = |error: io::Error| match error.raw_os_error() {
            Some(libc::ENOENT | libc::ESRCH) => NotRead::Vanished,
            Some(libc::EACCES | libc::EPERM) => NotRead::Forbidden(owner),
            _ => NotRead::Io(error),
        };
        let stat = fs::read(root.join("stat")).map_err(cannot)?;
        let stat = Stat::parse(&String::from_utf8_lossy(&stat)).ok_or(NotRead::Vanished)?;
        if stat.flags & KERNEL_THREAD != 0 {
            return Err(NotRead::Kernel);
        }
        let folder = if stat.ended { living_thread(&root, pid).ok_or(NotRead::Zombie)? } else { root.clone() };
        let text = fs::read(folder.join("maps")).map_err(cannot)?;
        let memory = File::open(folder.join("mem")).map_err(cannot)?;
        let mappings = RefCell::new(Rc::new(maps::parse(&text)));
        let process = Process {
            pid,
            inner_pid: inner_pid(&status).unwrap_or(pid),
            name: stat.name,
            program: fs::read_link(folder.join("exe")).ok(),
            pages: File::open(folder.join("pagemap")).ok(),
            folder,
            memory,
            mappings,
            flags,
        };
        if flags {
            process.renew();
        }
        if process.mappings().iter().next().is_none() {
            // It ended between the two.
            return Err(if root.exists() { NotRead::Zombie } else { NotRead::Vanished });
        }
        Ok(process)
    }

    /// From here on mappings are told with what a fork does not copy.
    pub fn with_flags(mut self) -> Process {
        self.flags = true;
        self.renew();
        self
    }

    /// Whether it has a thread of this number, by the numbers it has for itself. None: cannot be told.
    pub fn has_thread(&self, tid: u32) -> Option<bool> {
        // In another name space its threads have other numbers here.
        (self.inner_pid == self.pid).then(|| Path::new(&format!("/proc/{}/task/{tid}", self.pid)).exists())
    }

    /// Whether it is there.
    pub fn is_there(&self) -> bool {
        self.folder.exists()
    }

    /// Whether it is known which of its pages are there.
    pub fn knows_pages(&self) -> bool {
        self.pages.is_some()
    }

    /// Whether a fork leaves some of its mappings out.
    pub fn has_own_mappings(&self) -> bool {
        self.mappings().iter().any(|mapping| mapping.own)
    }

    /// Its program's path, or its short name.
    pub fn told_program(&self) -> String {
        self.program.as_ref().map_or_else(|| self.name.clone(), |path| path.display().to_string())
    }
}

/// The folder of a thread that has not ended, of a process whose first one has.
fn living_thread(root: &Path, pid: u32) -> Option<PathBuf> {
    let threads = fs::read_dir(root.join("task")).ok()?;
    threads.filter_map(|entry| Some(entry.ok()?.path())).find(|folder| {
        let other = folder.file_name().is_some_and(|name| *name != *pid.to_string());
        let stat = fs::read(folder.join("stat")).unwrap_or_default();
        other && Stat::parse(&String::from_utf8_lossy(&stat)).is_some_and(|stat| !stat.ended)
    })
}

/// What is needed of /proc/PID/stat.
struct Stat {
    name: String,
    ended: bool,
    flags: u64,
}

impl Stat {
    /// `pid (name) state ppid pgrp session tty tpgid flags …`; the name may hold anything.
    fn parse(text: &str) -> Option<Stat> {
        let (head, rest) = text.rsplit_once(')')?;
        let (_, name) = head.split_once('(')?;
        let mut words = rest.split_whitespace();
        let state = words.next()?;
        let flags = words.nth(5)?.parse().ok()?;
        Some(Stat { name: name.to_owned(), ended: state == "Z" || state == "X", flags })
    }
}

/// The second number of the line `Uid:` of /proc/PID/status.
fn effective_user(status: &str) -> Option<u32> {
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// The last number of the line `NSpid:` of /proc/PID/status.
fn inner_pid(status: &str) -> Option<u32> {
    let line = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    line.split_whitespace().next_back()?.parse().ok()
}

const PAGE: u64 = 4096;

impl Memory for Process {
    fn mappings(&self) -> Rc<Mappings> {
        self.mappings.borrow().clone()
    }

    fn renew(&self) {
        let name = if self.flags { "smaps" } else { "maps" };
        let text = fs::read(self.folder.join(name)).or_else(|_| fs::read(self.folder.join("maps")));
        if let Ok(text) = text
            && !text.is_empty()
        {
            self.mappings.replace(Rc::new(maps::parse(&text)));
        }
    }

    fn read(&self, at: u64, into: &mut [u8]) -> Result<(), Unread> {
        self.memory.read_exact_at(into, at).map_err(|error| match error.raw_os_error() {
            // No bytes: the memory has no owner any more.
            None if error.kind() == io::ErrorKind::UnexpectedEof => Unread::Gone,
            Some(libc::ESRCH) => Unread::Gone,
            Some(libc::EPERM | libc::EACCES) => Unread::Refused,
            _ => Unread::Unmapped,
        })
    }

    fn each_present(&self, start: u64, end: u64, visit: &mut dyn FnMut(u64, u64) -> bool) {
        let Some(pages) = &self.pages else {
            // Some systems have no page map: better all than nothing.
            visit(start, end);
            return;
        };
        let mut words = vec![0; 64 << 10];
        let mut run: Option<(u64, u64)> = None;
        let mut at = start & !(PAGE - 1);
        while at < end {
            let count = (end - at).div_ceil(PAGE).min(words.len() as u64 / 8);
            let Some(part) = words.get_mut(..(count * 8) as usize) else { break };
            if pages.read_exact_at(part, at / PAGE * 8).is_err() {
                break;
            }
            for (index, word) in part.chunks_exact(8).enumerate() {
                let page = at + index as u64 * PAGE;
                // Bits 63 and 62 of Documentation/admin-guide/mm/pagemap.rst: present, swapped.
                if word.last().is_some_and(|byte| byte & 0xc0 != 0) {
                    let next = page + PAGE;
                    run = Some(run.map_or((page, next), |(from, _)| (from, next)));
                } else if let Some((from, to)) = run.take()
                    && !visit(from.max(start), to.min(end))
                {
                    return;
                }
            }
            at += count * PAGE;
        }
        if let Some((from, to)) = run {
            visit(from.max(start), to.min(end));
        }
    }

    fn pause(&self, round: u32) {
        // Longer each time: whoever changes a header all the time is caught between two changes, or never.
        std::thread::sleep(Duration::from_micros(u64::from(round.min(50)) * 10));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_anything() {
        let stat = Stat::parse("7 (a) b) (c) Z 1 7 7 0 -1 4194304 0 0").expect("a line");
        assert_eq!((stat.name.as_str(), stat.ended, stat.flags), ("a) b) (c", true, 4_194_304));
        assert!(Stat::parse("").is_none() && Stat::parse("7 (a) S").is_none());
        assert_eq!(inner_pid("Name: a\nNSpid:\t77\t3\n"), Some(3));
    }
}

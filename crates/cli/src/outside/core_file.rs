//! A core dump's memory: its segments, and what it leaves out, from the files that the program was made of.
//!
//! May be relied on: a file is used in place of missing memory only if its first page is the one in the core, where the core has that; what is not to
//! be had says whether the core leaves it out (`coredump_filter`) or was cut off. Accepts any bytes. Deliberately absent: registers, threads' stacks.

use crate::error::CliError;
use arenascope_headers::{Backing, Mapping, Mappings, Memory, Unread};
use object::elf;
use object::read::elf::{FileHeader, ProgramHeader};
use object::{Endianness, ReadCache, ReadRef};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

const PAGE: u64 = 4096;
/// Where a program's headers lie in memory (getauxval(3)).
const AT_PHDR: u64 = 3;

/// A part of the process's memory.
#[derive(Clone, Copy, Debug)]
struct Segment {
    start: u64,
    end: u64,
    /// Where its bytes begin in the file.
    offset: u64,
    /// How many bytes the core says it has.
    in_core: u64,
    readable: bool,
    writable: bool,
}

/// A range that came from a file.
#[derive(Clone, Debug)]
struct Mapped {
    start: u64,
    end: u64,
    offset: u64,
    path: String,
}

/// A file of the program's, opened when it is first wanted.
enum Original {
    File(File),
    /// Why not.
    Not(String),
}

/// A core dump.
pub struct Core {
    /// The process's number, where the core says it.
    pub pid: Option<u32>,
    /// The signal that ended it, where the core says it.
    pub signal: Option<u32>,
    /// The program's path or name; empty when not known.
    pub program: String,
    file: File,
    bytes: u64,
    segments: Vec<Segment>,
    mapped: Vec<Mapped>,
    mappings: Rc<Mappings>,
    originals: RefCell<BTreeMap<String, Original>>,
    /// The path, in the core, of the program, and the file to read instead.
    instead: Option<(String, PathBuf)>,
    remarks: Vec<String>,
}

impl Core {
    /// Opens a core; `exe` is the program to use for what the core leaves out.
    pub fn open(path: &Path, exe: Option<&Path>) -> Result<Core, CliError> {
        let shown = path.display();
        let cannot = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => CliError::trace(format!("{shown}: no such file"))
                .hint("where cores go: /proc/sys/kernel/core_pattern; coredumpctl dump, where systemd takes them"),
            io::ErrorKind::PermissionDenied => CliError::trace(format!("{shown}: permission denied")),
            _ => CliError::trace(format!("{shown}: {error}")),
        };
        // Looked at before it is opened: opening a FIFO would wait for a writer.
        let kind = fs::metadata(path).map_err(cannot)?;
        if kind.is_dir() {
            return Err(CliError::trace(format!("{shown} is a directory")).hint("name the core inside it"));
        }
        if !kind.is_file() {
            return Err(CliError::trace(format!("{shown} is not a regular file")));
        }
        if let Some(exe) = exe {
            File::open(exe).map_err(|error| CliError::trace(format!("--exe {}: {error}", exe.display())))?;
        }
        let file = File::open(path).map_err(cannot)?;
        let bytes = file.metadata().map_err(cannot)?.len();
        if bytes == 0 {
            return Err(CliError::trace(format!("{shown} is empty")).hint("ulimit -c says how large a core may be"));
        }
        let mut core = Core {
            pid: None,
            signal: None,
            program: String::new(),
            file: file.try_clone().map_err(cannot)?,
            bytes,
            segments: Vec::new(),
            mapped: Vec::new(),
            mappings: Rc::default(),
            originals: RefCell::default(),
            instead: None,
            remarks: Vec::new(),
        };
        let told = core.parse(file).map_err(|why| CliError::trace(format!("{shown}: {why}")))?;
        core.settle(told, exe);
        Ok(core)
    }

    /// What the user should know of it, a sentence each.
    pub fn remarks(&self) -> Vec<String> {
        let mut remarks = self.remarks.clone();
        for (path, original) in self.originals.borrow().iter() {
            if let Original::Not(why) = original {
                remarks.push(format!("what the core leaves out of {path} is not told: {why}"));
            }
        }
        remarks
    }

    /// Reads headers and notes. The address of the program's headers, if a note says it.
    fn parse(&mut self, file: File) -> Result<Option<u64>, String> {
        let data = ReadCache::new(file);
        let ident = data.read_bytes_at(0, 20.min(self.bytes)).unwrap_or_default();
        match (ident.get(..4), ident.get(4), ident.get(5)) {
            (Some(b"\x7fELF"), Some(2), Some(1)) => {}
            (Some(b"\x7fELF"), Some(1), _) => return Err("a 32-bit ELF file; cores of x86-64 are read".into()),
            (Some(b"\x7fELF"), ..) => return Err("an ELF file of another byte order; cores of x86-64 are read".into()),
            (Some(b"\x28\xb5\x2f\xfd"), ..) => return Err("compressed: unpack it first (zstd -d)".into()),
            _ => return Err("no core dump: not an ELF file".into()),
        }
        let header =
            elf::FileHeader64::<Endianness>::parse(&data).map_err(|error| format!("cut off or damaged: {error}"))?;
        let endian = Endianness::Little;
        match header.e_type(endian) {
            elf::ET_CORE => {}
            elf::ET_EXEC | elf::ET_DYN => return Err("a program or library, and no core dump".into()),
            kind => return Err(format!("no core dump: an ELF file of type {kind}")),
        }
        let machine = header.e_machine(endian);
        if machine != elf::EM_X86_64 {
            let name = match machine {
                elf::EM_AARCH64 => "aarch64".to_owned(),
                elf::EM_RISCV => "RISC-V".to_owned(),
                elf::EM_S390 => "s390x".to_owned(),
                other => format!("machine {other}"),
            };
            return Err(format!("a core of another architecture ({name}); those of x86-64 are read"));
        }
        let table = header.program_headers(endian, &data).map_err(|error| format!("cut off or damaged: {error}"))?;
        if table.is_empty() {
            return Err("a core without segments: cut off or damaged".into());
        }
        let mut headers = None;
        for segment in table {
            match segment.p_type(endian) {
                elf::PT_LOAD => {
                    let (start, bytes) = (segment.p_vaddr(endian), segment.p_memsz(endian));
                    let Some(end) = start.checked_add(bytes).filter(|end| *end > start) else { continue };
                    self.segments.push(Segment {
                        start,
                        end,
                        offset: segment.p_offset(endian),
                        in_core: segment.p_filesz(endian).min(bytes),
                        readable: segment.p_flags(endian).0 & elf::PF_R.0 != 0,
                        writable: segment.p_flags(endian).0 & elf::PF_W.0 != 0,
                    });
                }
                elf::PT_NOTE => match segment.notes(endian, &data) {
                    Ok(Some(mut notes)) => loop {
                        match notes.next() {
                            Ok(Some(note)) => self.note(note.n_type(endian), note.desc(), &mut headers),
                            Ok(None) => break,
                            Err(_) => {
                                self.remarks.push("the core's notes are damaged: not all files are known".into());
                                break;
                            }
                        }
                    },
                    _ => self.remarks.push("the core is cut off before its notes: no files are known".into()),
                },
                _ => {}
            }
        }
        self.segments.sort_by_key(|segment| segment.start);
        Ok(headers)
    }

    fn note(&mut self, kind: elf::NoteType, told: &[u8], headers: &mut Option<u64>) {
        let word = |at: usize| told.get(at..).and_then(|rest| rest.first_chunk()).map(|word| u64::from_le_bytes(*word));
        let half = |at: usize| told.get(at..).and_then(|rest| rest.first_chunk()).map(|word| u32::from_le_bytes(*word));
        match kind {
            // struct elf_prstatus: pr_cursig at 12 (2 bytes), pr_pid at 32; the first is the thread that the signal hit.
            elf::NT_PRSTATUS if self.signal.is_none() => {
                self.signal = half(12).map(|signal| signal & 0xffff).filter(|signal| *signal > 0);
                self.pid = self.pid.or(half(32).filter(|pid| *pid > 0));
            }
            // struct elf_prpsinfo: pr_pid at 24, pr_fname at 40 (16 bytes).
            elf::NT_PRPSINFO => {
                self.pid = half(24).filter(|pid| *pid > 0).or(self.pid);
                let name = told.get(40..56).unwrap_or_default();
                let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
                self.program = String::from_utf8_lossy(name).into_owned();
            }
            elf::NT_AUXV => {
                for at in (0..told.len()).step_by(16) {
                    if word(at) == Some(AT_PHDR) {
                        *headers = word(at + 8);
                    }
                }
            }
            elf::NT_FILE => self.files(told),
            _ => {}
        }
    }

    /// `NT_FILE`: how many, the page size, begin, end and offset in pages of each; then their paths, each ended by 0.
    fn files(&mut self, told: &[u8]) {
        let word = |at: usize| told.get(at..).and_then(|rest| rest.first_chunk()).map(|word| u64::from_le_bytes(*word));
        let (Some(count), Some(page)) = (word(0), word(8)) else { return };
        let Some(paths) = usize::try_from(count).ok().and_then(|count| count.checked_mul(24)?.checked_add(16)) else {
            return;
        };
        let mut paths = told.get(paths..).unwrap_or_default().split(|byte| *byte == 0);
        for index in 0..usize::try_from(count).unwrap_or(0).min(told.len() / 24) {
            let at = 16 + index * 24;
            let (Some(start), Some(end), Some(offset), Some(path)) =
                (word(at), word(at + 8), word(at + 16), paths.next())
            else {
                return;
            };
            if start < end {
                let path = String::from_utf8_lossy(path).into_owned();
                self.mapped.push(Mapped { start, end, offset: offset.saturating_mul(page), path });
            }
        }
        self.mapped.sort_by_key(|mapped| mapped.start);
    }

    /// The mappings, the program, and what is missing.
    fn settle(&mut self, headers: Option<u64>, exe: Option<&Path>) {
        let main = headers.and_then(|at| self.mapped_at(at)).or(self.mapped.first()).map(|mapped| mapped.path.clone());
        if let Some(main) = &main {
            self.program.clone_from(main);
        }
        if let Some(exe) = exe {
            match main {
                Some(main) => self.instead = Some((main, exe.to_owned())),
                None => {
                    self.remarks.push("--exe is of no use: the core does not say which memory was the program's".into())
                }
            }
        }
        let of =
            |start, end, readable, writable, backing| Mapping { start, end, readable, writable, backing, own: false };
        let mut mappings: Vec<Mapping> = self
            .segments
            .iter()
            .map(|segment| {
                let backing = match self.mapped_at(segment.start) {
                    None => Backing::Anonymous,
                    Some(mapped) if is_without_disk(&mapped.path) => {
                        Backing::Shared { name: mapped.path.clone(), identity: 0 }
                    }
                    Some(mapped) => Backing::File {
                        path: mapped.path.clone(),
                        offset: mapped.offset.saturating_add(segment.start - mapped.start),
                    },
                };
                of(segment.start, segment.end, segment.readable, segment.writable, backing)
            })
            .collect();
        for mapped in &self.mapped {
            if self.segment_at(mapped.start).is_none() {
                let backing = Backing::File { path: mapped.path.clone(), offset: mapped.offset };
                mappings.push(of(mapped.start, mapped.end, true, false, backing));
            }
        }
        self.mappings = Rc::new(Mappings::new(mappings));
        let add = |sum: u64, bytes: u64| sum.saturating_add(bytes);
        let missing = self.segments.iter().map(|segment| segment.in_core - self.there(segment)).fold(0, add);
        if missing > 0 {
            let (missing, bytes) =
                (arenascope_report::quantity::bytes(missing), arenascope_report::quantity::bytes(self.bytes));
            self.remarks.push(format!("the core is cut off after {bytes}: {missing} of memory are missing"));
        }
        let left_out = self
            .segments
            .iter()
            .filter(|segment| segment.in_core == 0 && segment.writable && segment.readable)
            .map(|segment| segment.end - segment.start)
            .fold(0, add);
        if left_out > 0 {
            let bytes = arenascope_report::quantity::bytes(left_out);
            self.remarks
                .push(format!("the core leaves out {bytes} of writable memory (coredump_filter, MADV_DONTDUMP)"));
        }
    }

    /// Bytes of a segment that the file has.
    fn there(&self, segment: &Segment) -> u64 {
        self.bytes.saturating_sub(segment.offset).min(segment.in_core)
    }

    fn segment_at(&self, at: u64) -> Option<&Segment> {
        let next = self.segments.partition_point(|segment| segment.start <= at);
        self.segments.get(next.checked_sub(1)?).filter(|segment| at < segment.end)
    }

    fn mapped_at(&self, at: u64) -> Option<&Mapped> {
        let next = self.mapped.partition_point(|mapped| mapped.start <= at);
        self.mapped.get(next.checked_sub(1)?).filter(|mapped| at < mapped.end)
    }

    /// Fills the begin of `into` with what is at `at`: how many bytes.
    fn some(&self, at: u64, into: &mut [u8]) -> Result<usize, Unread> {
        let segment = self.segment_at(at);
        if let Some(segment) = segment {
            let skip = at - segment.start;
            let there = self.there(segment).saturating_sub(skip).min(into.len() as u64) as usize;
            if let Some(part) = into.get_mut(..there).filter(|part| !part.is_empty()) {
                self.file.read_exact_at(part, segment.offset + skip).map_err(|_| Unread::CutOff)?;
                return Ok(there);
            }
            if skip < segment.in_core {
                return Err(Unread::CutOff);
            }
        }
        // Not in the core. The file it came from has it, if it was not written.
        let mapped = self.mapped_at(at).filter(|_| segment.is_none_or(|segment| !segment.writable));
        let Some(mapped) = mapped else {
            return Err(if segment.is_some() { Unread::LeftOut } else { Unread::Unmapped });
        };
        let bytes = (mapped.end - at).min(into.len() as u64) as usize;
        let part = into.get_mut(..bytes).ok_or(Unread::LeftOut)?;
        self.read_original(mapped, at, part).then_some(bytes).ok_or(Unread::LeftOut)
    }

    fn read_original(&self, mapped: &Mapped, at: u64, into: &mut [u8]) -> bool {
        let mut originals = self.originals.borrow_mut();
        let original = originals.entry(mapped.path.clone()).or_insert_with(|| self.original(&mapped.path));
        match original {
            Original::File(file) => file.read_exact_at(into, mapped.offset.saturating_add(at - mapped.start)).is_ok(),
            Original::Not(_) => false,
        }
    }

    /// Opens a file of the program's and compares its first page with the core's, where the core has it.
    fn original(&self, path: &str) -> Original {
        let instead = self.instead.as_ref().filter(|(main, _)| main == path).map(|(_, file)| file.as_path());
        let name = instead.unwrap_or(Path::new(path));
        // Devices and pipes of that name are not what was mapped.
        if !name.is_file() {
            return Original::Not(format!("{} is not there (--exe PROGRAM names another)", name.display()));
        }
        let file = match File::open(name) {
            Ok(file) => file,
            Err(error) => return Original::Not(format!("{}: {error}", name.display())),
        };
        let first = self.mapped.iter().find(|mapped| mapped.path == path && mapped.offset == 0);
        if let Some(segment) = first.and_then(|first| self.segment_at(first.start))
            && self.there(segment) >= PAGE
            && first.is_some_and(|first| first.start == segment.start)
        {
            let (mut ran, mut now) = ([0; PAGE as usize], [0; PAGE as usize]);
            let same = self.file.read_exact_at(&mut ran, segment.offset).is_ok()
                && file.read_exact_at(&mut now, 0).is_ok()
                && ran == now;
            if !same {
                return Original::Not(format!("{} is not the file that ran: it has changed since", name.display()));
            }
        }
        Original::File(file)
    }
}

fn is_without_disk(path: &str) -> bool {
    ["/memfd:arenascope", "/dev/zero", "/SYSV", "/dev/shm/"].iter().any(|start| path.starts_with(start))
}

impl Memory for Core {
    fn mappings(&self) -> Rc<Mappings> {
        self.mappings.clone()
    }

    fn read(&self, at: u64, into: &mut [u8]) -> Result<(), Unread> {
        let (mut at, mut rest) = (at, into);
        while !rest.is_empty() {
            let bytes = self.some(at, rest)?;
            rest = rest.get_mut(bytes..).unwrap_or_default();
            at = at.checked_add(bytes as u64).ok_or(Unread::Unmapped)?;
        }
        Ok(())
    }

    fn each_present(&self, start: u64, end: u64, visit: &mut dyn FnMut(u64, u64) -> bool) {
        use rustix::fs::{SeekFrom, seek};
        for segment in self.segments.iter().filter(|segment| segment.start < end && segment.end > start) {
            let from = segment.offset.saturating_add(start.max(segment.start) - segment.start);
            let to = segment.offset.saturating_add(self.there(segment).min(end - segment.start));
            let mut at = from;
            while at < to {
                // Holes of the file were pages that were not there.
                let (data, hole) = match seek(&self.file, SeekFrom::Data(at)) {
                    Ok(data) if data < to => (data, seek(&self.file, SeekFrom::Hole(data)).unwrap_or(to)),
                    Ok(_) | Err(rustix::io::Errno::NXIO) => break,
                    Err(_) => (at, to),
                };
                let (data, hole) = (data.max(at), hole.clamp(data.max(at), to));
                // The file's holes need not lie as pages do.
                let address = |place: u64| segment.start + (place - segment.offset);
                let first = (address(data) & !(PAGE - 1)).max(segment.start);
                if !visit(first, address(hole)) {
                    return;
                }
                at = hole.max(at + 1);
            }
        }
    }
}

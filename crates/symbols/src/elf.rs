//! One parsed ELF file: what it is, where its code and its sections are.
//!
//! Relied on: little-endian 64-bit files of this machine only; every accepted file's load segments lie inside the
//! file. Absent: names and debug information; searching for files.

use crate::map::Bytes;
use object::elf::{DF_1_PIE, DT_FLAGS_1, DT_SONAME, ET_DYN, ET_EXEC, FileHeader64, PF_X, PT_INTERP, PT_LOAD};
use object::read::elf::{Dynamic, ElfFile, FileHeader, ProgramHeader, SectionHeader};
use object::{LittleEndian, Object, ObjectSection};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why a file is not an image.
#[derive(Debug)]
pub enum ImageError {
    /// Nothing has this path.
    NotFound,
    /// It is there and cannot be read: permissions, a directory, an input/output error.
    Unreadable(io::Error),
    /// The file does not start as an ELF file does. `script` is the interpreter named in its `#!` line, if it has one.
    NotElf {
        /// The interpreter of a script.
        script: Option<String>,
    },
    /// An ELF file for another machine.
    WrongMachine {
        /// Its machine and class in plain words.
        found: String,
    },
    /// An ELF file, but neither a program nor a shared library.
    NotAProgram {
        /// What it is.
        found: &'static str,
    },
    /// The file ends before what its headers promise.
    Truncated,
    /// The headers contradict themselves.
    Malformed(String),
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ImageError::NotFound => f.write_str("no such file"),
            ImageError::Unreadable(error) => write!(f, "cannot be read: {error}"),
            ImageError::NotElf { script: Some(interpreter) } => {
                write!(f, "a script of {interpreter}, not an ELF program: name the interpreter's program instead")
            }
            ImageError::NotElf { script: None } => f.write_str("not an ELF program"),
            ImageError::WrongMachine { found } => {
                write!(f, "built for {found}; this arenascope reads programs for {}", std::env::consts::ARCH)
            }
            ImageError::NotAProgram { found } => write!(f, "{found}, not a program or a shared library"),
            ImageError::Truncated => f.write_str("the file ends before its headers say it does: was it copied whole?"),
            ImageError::Malformed(what) => write!(f, "a damaged ELF file: {what}"),
        }
    }
}

impl std::error::Error for ImageError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ImageError::Unreadable(error) => Some(error),
            _ => None,
        }
    }
}

/// How a program is put together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Linkage {
    /// A program that the dynamic linker starts: libraries can be preloaded.
    Dynamic {
        /// The dynamic linker.
        interpreter: PathBuf,
    },
    /// Position-independent and static: nothing can be preloaded.
    StaticPie,
    /// Static at a fixed address: nothing can be preloaded.
    Static,
    /// A shared library.
    SharedLibrary,
}

/// A processor.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Machine {
    /// AMD64.
    X86_64,
    /// ARM, 64 bits.
    Aarch64,
}

impl Machine {
    /// The processor this program was built for, if it is one of ours.
    pub const fn of_this_process() -> Option<Machine> {
        if cfg!(target_arch = "x86_64") {
            Some(Machine::X86_64)
        } else if cfg!(target_arch = "aarch64") {
            Some(Machine::Aarch64)
        } else {
            None
        }
    }
}

/// Class (always 64 bits, little-endian) and machine.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ClassAndMachine {
    /// Bits of an address.
    pub bits: u8,
    /// The processor.
    pub machine: Machine,
}

type File = ElfFile<'static, FileHeader64<LittleEndian>>;

/// A parsed file.
#[derive(Debug)]
pub(crate) struct Elf {
    pub(crate) file: File,
    pub(crate) bytes: Bytes,
    pub(crate) machine: Machine,
}

impl Elf {
    pub(crate) fn open(path: &Path) -> Result<Elf, ImageError> {
        let bytes = Bytes::of_file(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => ImageError::NotFound,
            _ => ImageError::Unreadable(error),
        })?;
        Elf::parse(bytes)
    }

    pub(crate) fn parse(bytes: Bytes) -> Result<Elf, ImageError> {
        let machine = identify(bytes.as_slice())?;
        let file = File::parse(bytes.as_slice()).map_err(|error| ImageError::Malformed(error.to_string()))?;
        Ok(Elf { file, bytes, machine })
    }

    /// Whether all that the program headers map is in the file. Debug files promise segments they do not hold.
    pub(crate) fn is_whole(&self) -> bool {
        let len = self.bytes.as_slice().len() as u64;
        self.file.elf_program_headers().iter().filter(|header| header.p_type(LittleEndian) == PT_LOAD).all(|header| {
            let (offset, size) = header.file_range(LittleEndian);
            offset.checked_add(size).is_some_and(|end| end <= len)
        })
    }

    pub(crate) fn program_headers(&self) -> &'static [<FileHeader64<LittleEndian> as FileHeader>::ProgramHeader] {
        self.file.elf_program_headers()
    }

    pub(crate) fn build_id(&self) -> Option<&'static [u8]> {
        self.file.build_id().ok().flatten()
    }

    /// Whether `address` lies in an executable segment.
    pub(crate) fn is_code(&self, address: u64) -> bool {
        self.executable().any(|header| {
            let start: u64 = header.p_vaddr(LittleEndian);
            address >= start && address - start < header.p_memsz(LittleEndian)
        })
    }

    fn executable(&self) -> impl Iterator<Item = &'static <FileHeader64<LittleEndian> as FileHeader>::ProgramHeader> {
        self.file
            .elf_program_headers()
            .iter()
            .filter(|header| header.p_type(LittleEndian) == PT_LOAD && header.p_flags(LittleEndian).contains(PF_X))
    }

    /// First and one past the last address of all executable segments.
    pub(crate) fn code_bounds(&self) -> Option<(u64, u64)> {
        let bounds = self.executable().map(|header| {
            let start: u64 = header.p_vaddr(LittleEndian);
            (start, start.saturating_add(header.p_memsz(LittleEndian)))
        });
        bounds.reduce(|(low, high), (start, end)| (low.min(start), high.max(end)))
    }

    /// Address and content of a section that is mapped at run time.
    pub(crate) fn mapped_section(&self, name: &str) -> Option<(u64, &'static [u8])> {
        let address = self.file.section_by_name(name)?.address();
        let content = self.section(name);
        (!content.is_empty()).then_some((address, content))
    }

    /// Bytes of code from `address`, at most `len`; fewer at the end of the section (of the segment, when no section
    /// holds the address).
    pub(crate) fn code(&self, address: u64, len: usize) -> Option<&'static [u8]> {
        let in_segment = self.executable().find_map(|header| {
            let skip = address.checked_sub(header.p_vaddr(LittleEndian))?;
            let data = header.data(LittleEndian, self.bytes.as_slice()).ok()?;
            data.get(usize::try_from(skip).ok()?..).filter(|rest| !rest.is_empty())
        })?;
        let to_section_end = self.code_section_end(address).map(|end| end.saturating_sub(address));
        let left = to_section_end.and_then(|left| usize::try_from(left).ok()).unwrap_or(usize::MAX);
        in_segment.get(..len.min(left).min(in_segment.len()))
    }

    /// One past the last address of the section of code that holds `address`.
    pub(crate) fn code_section_end(&self, address: u64) -> Option<u64> {
        self.file.elf_section_table().iter().find_map(|section| {
            let flags = section.sh_flags(LittleEndian);
            if !flags.contains(object::elf::SHF_EXECINSTR) || !flags.contains(object::elf::SHF_ALLOC) {
                return None;
            }
            let start: u64 = section.sh_addr(LittleEndian);
            let end = start.checked_add(section.sh_size(LittleEndian))?;
            (start <= address && address < end).then_some(end)
        })
    }

    /// Start and bytes of the section of code (of the segment, without sections) that holds `address`.
    pub(crate) fn code_section(&self, address: u64) -> Option<(u64, &'static [u8])> {
        let section = self.file.elf_section_table().iter().find_map(|section| {
            let start: u64 = section.sh_addr(LittleEndian);
            (start <= address && self.code_section_end(address)? == start.checked_add(section.sh_size(LittleEndian))?)
                .then_some(start)
        });
        let segment = || {
            let holds = |start: u64, size: u64| address.checked_sub(start).is_some_and(|into| into < size);
            self.executable()
                .map(|header| (header.p_vaddr(LittleEndian), header.p_memsz(LittleEndian)))
                .find_map(|(start, size)| holds(start, size).then_some(start))
        };
        let start = section.or_else(segment)?;
        Some((start, self.code(start, usize::MAX)?))
    }

    pub(crate) fn linkage(&self) -> Linkage {
        let interpreter = self
            .file
            .elf_program_headers()
            .iter()
            .filter(|header| header.p_type(LittleEndian) == PT_INTERP)
            .find_map(|header| header.interpreter(LittleEndian, self.bytes.as_slice()).ok().flatten());
        let dynamic = self.dynamic();
        let is_pie = dynamic.iter().any(|entry| entry.tag == DT_FLAGS_1 && entry.val & DF_1_PIE.0 != 0);
        let has_soname = dynamic.iter().any(|entry| entry.tag == DT_SONAME);
        if self.file.elf_header().e_type(LittleEndian) == ET_EXEC {
            return match interpreter {
                Some(path) => Linkage::Dynamic { interpreter: path_of(path) },
                None => Linkage::Static,
            };
        }
        match interpreter {
            // libc.so.6 has an interpreter and can be run, but is a library.
            Some(path) if is_pie || !has_soname => Linkage::Dynamic { interpreter: path_of(path) },
            None if is_pie => Linkage::StaticPie,
            _ => Linkage::SharedLibrary,
        }
    }

    /// Entries of the dynamic section; none when there is none or it is damaged.
    pub(crate) fn dynamic(&self) -> Vec<Dynamic> {
        self.file.elf_dynamic_table().map(|table| table.iter().collect()).unwrap_or_default()
    }

    /// Strings of all entries of the dynamic section with this tag.
    pub(crate) fn dynamic_strings(&self, tag: object::elf::DynamicTag) -> Vec<&'static [u8]> {
        let Ok(table) = self.file.elf_dynamic_table() else { return Vec::new() };
        table.iter().filter(|entry| entry.tag == tag).filter_map(|entry| table.string(entry).ok()).collect()
    }

    pub(crate) fn has_symtab(&self) -> bool {
        !self.file.elf_symbol_table().is_empty()
    }

    pub(crate) fn has_debug_info(&self) -> bool {
        self.file.section_by_name(".debug_info").is_some_and(|section| section.size() > 0)
    }

    /// Content of a section, decompressed; empty when there is none or it cannot be had.
    pub(crate) fn section(&self, name: &str) -> &'static [u8] {
        let Some(section) = self.file.section_by_name(name) else { return &[] };
        let Ok(data) = section.compressed_data() else { return &[] };
        if data.format == object::CompressionFormat::None {
            return data.data;
        }
        // A forged size must not become an allocation: no stream here unfolds by more than zlib's 1,032 or zstd's
        // practical maximum.
        let most = (data.data.len() as u64).saturating_mul(1 << 14).min(16 << 30);
        if data.uncompressed_size > most {
            return &[];
        }
        Bytes::derived(data.data, || data.decompress().ok().map(|content| content.into_owned())).as_slice()
    }
}

/// A path of raw bytes, as the dynamic linker takes them.
pub(crate) fn path_of(bytes: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    PathBuf::from(std::ffi::OsStr::from_bytes(bytes))
}

fn identify(bytes: &[u8]) -> Result<Machine, ImageError> {
    if !bytes.starts_with(b"\x7fELF") {
        return Err(ImageError::NotElf { script: script(bytes) });
    }
    let header: &[u8; 20] = bytes.first_chunk().ok_or(ImageError::Truncated)?;
    let [_, _, _, _, class, data, .., type_low, type_high, machine_low, machine_high] = *header;
    let little = data != 2;
    let word =
        |low: u8, high: u8| if little { u16::from_le_bytes([low, high]) } else { u16::from_be_bytes([low, high]) };
    let machine = word(machine_low, machine_high);
    let found = match (machine, class, little) {
        (62, 2, true) => Some(Machine::X86_64),
        (183, 2, true) => Some(Machine::Aarch64),
        _ => None,
    };
    let Some(found) = found.filter(|found| Machine::of_this_process() == Some(*found)) else {
        return Err(ImageError::WrongMachine { found: machine_words(machine, class, little) });
    };
    match word(type_low, type_high) {
        kind if kind == ET_EXEC.0 || kind == ET_DYN.0 => Ok(found),
        1 => Err(ImageError::NotAProgram { found: "an object file (.o)" }),
        4 => Err(ImageError::NotAProgram { found: "a core dump" }),
        _ => Err(ImageError::NotAProgram { found: "an ELF file of an unknown type" }),
    }
}

/// The interpreter in a `#!` line.
fn script(bytes: &[u8]) -> Option<String> {
    let line = bytes.strip_prefix(b"#!")?;
    let line = line.get(..line.len().min(256))?;
    let line = line.split(|byte| *byte == b'\n').next()?;
    let text = String::from_utf8_lossy(line);
    text.split_whitespace().next().map(str::to_owned)
}

/// Names of `e_machine` values (gabi, chapter 4), the ones a user may meet.
fn machine_words(machine: u16, class: u8, little: bool) -> String {
    let name = match machine {
        2 | 18 | 43 => "SPARC",
        3 => "x86 (32 bits)",
        8 => "MIPS",
        20 => "PowerPC",
        21 => "PowerPC 64",
        22 => "S/390",
        40 => "ARM (32 bits)",
        62 if class == 1 => "x32 (x86-64 with 32-bit pointers)",
        62 => "x86-64",
        183 => "aarch64",
        243 => "RISC-V",
        258 => "LoongArch",
        other => return format!("machine number {other}"),
    };
    if little { name.to_owned() } else { format!("{name}, big-endian") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(class: u8, data: u8, kind: u16, machine: u16) -> Vec<u8> {
        let mut bytes = b"\x7fELF".to_vec();
        bytes.extend([class, data, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend(if data == 2 { kind.to_be_bytes() } else { kind.to_le_bytes() });
        bytes.extend(if data == 2 { machine.to_be_bytes() } else { machine.to_le_bytes() });
        bytes
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn what_is_not_ours_is_named() {
        for (bytes, words) in [
            (header(2, 1, 2, 183), "built for aarch64; this arenascope reads programs for x86_64"),
            (header(1, 1, 2, 3), "built for x86 (32 bits); this arenascope reads programs for x86_64"),
            (
                header(1, 1, 3, 62),
                "built for x32 (x86-64 with 32-bit pointers); this arenascope reads programs for x86_64",
            ),
            (header(2, 2, 2, 21), "built for PowerPC 64, big-endian; this arenascope reads programs for x86_64"),
            (header(2, 1, 2, 9999), "built for machine number 9999; this arenascope reads programs for x86_64"),
            (header(2, 1, 1, 62), "an object file (.o), not a program or a shared library"),
            (header(2, 1, 4, 62), "a core dump, not a program or a shared library"),
            (
                b"#! /bin/sh -e\necho".to_vec(),
                "a script of /bin/sh, not an ELF program: name the interpreter's program instead",
            ),
            (b"hello".to_vec(), "not an ELF program"),
            (b"".to_vec(), "not an ELF program"),
            (b"\x7fELF\x02".to_vec(), "the file ends before its headers say it does: was it copied whole?"),
        ] {
            assert_eq!(identify(&bytes).unwrap_err().to_string(), words);
        }
        assert!(matches!(identify(&header(2, 1, 3, 62)), Ok(Machine::X86_64)));
    }
}

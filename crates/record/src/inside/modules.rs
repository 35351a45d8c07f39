//! The program and its libraries, as the dynamic linker (or the C library of a static program) lists them.
//!
//! May be relied on: what is read of a module is read while the linker keeps it mapped. Absent on purpose: files; everything is read from
//! memory, so that a program that was replaced on disk is seen as it runs.
#![allow(unsafe_code, reason = "reads program headers, notes and call frame information of modules that are mapped")]

use super::notes::{self, Found};
use crate::CodeModule;
use arenascope_unwind::{Section, Table, build};
use core::ffi::{CStr, c_int, c_void};
use std::vec::Vec;

/// One module.
pub(super) struct Loaded {
    /// Difference between addresses in the process and in the file.
    pub bias: u64,
    /// First byte and one past the last.
    pub span: (u64, u64),
    /// As the linker names it; empty for the program.
    pub path: Vec<u8>,
    /// Empty when it has none.
    pub build_id: Vec<u8>,
    /// What the library's notes say.
    pub notes: Vec<Found>,
    /// Its code and the rules by which frames in it are followed.
    pub code: Option<CodeModule>,
}

/// What is wanted of each module besides its notes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Nothing more.
    Notes,
    /// The rules too: memory of some 8 bytes for each place in its code, for good.
    Rules,
}

struct Look {
    wanted: Wanted,
    all: Vec<Loaded>,
}

/// All modules, the program first.
pub(super) fn all(wanted: Wanted) -> Vec<Loaded> {
    let mut look = Look { wanted, all: Vec::new() };
    // SAFETY: `one` takes the pointer for what it is; `look` outlives the call.
    unsafe { libc::dl_iterate_phdr(Some(one), (&raw mut look).cast()) };
    look.all
}

unsafe extern "C" fn one(info: *mut libc::dl_phdr_info, _: usize, data: *mut c_void) -> c_int {
    // SAFETY: the linker passes a valid record for the length of this call.
    let info = unsafe { &*info };
    // SAFETY: `data` is what `all` passed, which is not used elsewhere meanwhile.
    let look = unsafe { &mut *data.cast::<Look>() };
    let path: &[u8] = if info.dlpi_name.is_null() {
        &[]
    } else {
        // SAFETY: a NUL-terminated string of the linker's.
        unsafe { CStr::from_ptr(info.dlpi_name) }.to_bytes()
    };
    if info.dlpi_phdr.is_null() || path.starts_with(b"linux-vdso") {
        return 0;
    }
    // SAFETY: the module's table of `dlpi_phnum` program headers, mapped as long as the module is.
    let headers = unsafe { core::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) };
    let module = Module { bias: info.dlpi_addr, headers };
    let Some(span) = module.span() else { return 0 };
    let mut loaded = Loaded {
        bias: module.bias,
        span,
        path: path.to_vec(),
        build_id: Vec::new(),
        notes: Vec::new(),
        code: (look.wanted == Wanted::Rules).then(|| module.code()).flatten(),
    };
    for header in headers.iter().filter(|header| header.p_type == libc::PT_NOTE) {
        let Some(bytes) = module.bytes(header.p_vaddr, header.p_memsz) else { continue };
        let start = module.bias.wrapping_add(header.p_vaddr);
        let align = if header.p_align == 8 { 8 } else { 4 };
        let found = |found: Found| {
            let fits = module.holds(found.observer, libc::PF_W)
                && found.observe.is_none_or(|observe| module.holds(observe, libc::PF_X));
            if fits && !loaded.notes.contains(&found) {
                loaded.notes.push(found);
            }
        };
        notes::each(start, bytes, align, found, |id| loaded.build_id = id.to_vec());
    }
    look.all.push(loaded);
    0
}

struct Module<'a> {
    bias: u64,
    headers: &'a [libc::Elf64_Phdr],
}

impl<'a> Module<'a> {
    fn loads(&self) -> impl Iterator<Item = &'a libc::Elf64_Phdr> {
        self.headers.iter().filter(|header| header.p_type == libc::PT_LOAD)
    }

    fn span(&self) -> Option<(u64, u64)> {
        let bounds = |header: &libc::Elf64_Phdr| {
            let low = self.bias.wrapping_add(header.p_vaddr);
            (low, low.saturating_add(header.p_memsz))
        };
        self.loads().map(bounds).reduce(|(low, high), (start, end)| (low.min(start), high.max(end)))
    }

    /// True when a word at `address` (in the process) lies in a segment with these rights.
    fn holds(&self, address: u64, rights: u32) -> bool {
        self.loads().any(|header| {
            let skip = address.wrapping_sub(self.bias).wrapping_sub(header.p_vaddr);
            header.p_flags & rights != 0 && skip.saturating_add(8) <= header.p_memsz
        })
    }

    /// The bytes at `address` (in the file), if a readable segment holds them.
    fn bytes(&self, address: u64, len: u64) -> Option<&'a [u8]> {
        self.loads().find(|header| {
            let skip = address.wrapping_sub(header.p_vaddr);
            header.p_flags & libc::PF_R != 0 && skip.checked_add(len).is_some_and(|end| end <= header.p_filesz)
        })?;
        let first = self.bias.wrapping_add(address) as *const u8;
        // SAFETY: `address..+len` lies in a segment that the linker has mapped for reading (checked above); it is part of a file's
        // read-only data, or, where the segment can be written, read once before anybody is told of it.
        Some(unsafe { core::slice::from_raw_parts(first, usize::try_from(len).ok()?) })
    }

    /// Code and rules; without call frame information frame pointers are followed.
    fn code(&self) -> Option<CodeModule> {
        let code = self.loads().filter(|header| header.p_flags & libc::PF_X != 0);
        let bounds = code.map(|header| (header.p_vaddr, header.p_vaddr.saturating_add(header.p_memsz)));
        let (start, end) = bounds.reduce(|(low, high), (start, end)| (low.min(start), high.max(end)))?;
        let table = self.frame_information().and_then(|section| build(section, (start, end)).ok()).map(|built| {
            let count = built.starts.len();
            let mut words = built.starts;
            words.extend(built.rules);
            let words: &'static [u32] = Vec::leak(words);
            let (starts, rules) = words.split_at(count);
            Table::new(starts, rules)
        });
        let (start, end) = (self.bias.wrapping_add(start), self.bias.wrapping_add(end));
        Some(CodeModule { start, end, table: table.unwrap_or_default() })
    }

    /// `.eh_frame`, which no program header bounds: the table of `PT_GNU_EH_FRAME` leads to its beginning (Linux Standard Base 5,
    /// 10.6.2), and it ends by an empty entry.
    fn frame_information(&self) -> Option<Section<'a>> {
        /// DW_EH_PE_pcrel | DW_EH_PE_sdata4.
        const RELATIVE: u8 = 0x1b;
        let header = self.headers.iter().find(|header| header.p_type == libc::PT_GNU_EH_FRAME)?;
        let [1, RELATIVE, _, _, a, b, c, d] = *self.bytes(header.p_vaddr, 8)? else { return None };
        let difference = i64::from(i32::from_le_bytes([a, b, c, d]));
        let address = header.p_vaddr.wrapping_add(4).wrapping_add_signed(difference);
        let segment = self.loads().find(|header| {
            header.p_flags & libc::PF_R != 0 && address.wrapping_sub(header.p_vaddr) < header.p_filesz
        })?;
        let len = segment.p_filesz.checked_sub(address.wrapping_sub(segment.p_vaddr))?;
        Some(Section { address, bytes: self.bytes(address, len)? })
    }
}

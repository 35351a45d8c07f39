//! One ELF file, its separate debug file, and what is asked about them.
//!
//! Relied on: `open` reads headers only; tables are built at the first question that needs them and kept, so a debug
//! file of 300 MB costs nothing until it is asked. An `Image` can be shared between threads. Absent: processes, load
//! addresses (all addresses here are the file's own; `Symbolizer` adds the bias).

use crate::debug_file::{self, DebugFile, SYSTEM_ROOT};
use crate::dwarf::{self, Slice};
use crate::elf::{ClassAndMachine, Elf, ImageError, Linkage};
use crate::function::{Function, Origin, Table};
use crate::index::Index;
use crate::library_note::LibraryNote;
use crate::plt::Plt;
use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// One ELF file with its debug information.
#[derive(Debug)]
pub struct Image {
    path: PathBuf,
    pub(crate) elf: Elf,
    roots: Vec<PathBuf>,
    debug: OnceLock<Option<DebugFile>>,
    table: OnceLock<Table>,
    dwarf: OnceLock<Option<Arc<gimli::Dwarf<Slice>>>>,
    index: OnceLock<Option<Index>>,
    dwarf_only: OnceLock<Table>,
    merged: OnceLock<Table>,
    lines: OnceLock<Option<Lines>>,
    plt: OnceLock<Plt>,
    pub(crate) platform_convention: OnceLock<bool>,
}

/// Line tables and inlined functions, built unit by unit.
struct Lines(Mutex<addr2line::Context<Slice>>);

impl std::fmt::Debug for Lines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Lines")
    }
}

/// One source position of an address; several when functions were inlined.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SourceFrame {
    /// Demangled function name; empty when unknown.
    pub function: String,
    /// Source file, joined with the folder of compilation; empty when unknown.
    pub file: String,
    /// Line, from 1; 0 when unknown.
    pub line: u32,
    /// True when this frame was inlined into the next.
    pub inlined: bool,
}

impl Image {
    /// Opens an ELF program or shared library of this machine.
    ///
    /// Errors: see [`ImageError`]; separate debug files that are missing or wrong are no error.
    pub fn open(path: &Path) -> Result<Image, ImageError> {
        Image::open_with(path, &[PathBuf::from(SYSTEM_ROOT)])
    }

    /// Like [`Image::open`], looking for separate debug files below `roots` instead of `/usr/lib/debug`.
    pub fn open_with(path: &Path, roots: &[PathBuf]) -> Result<Image, ImageError> {
        Image::new(path, Elf::open(path)?, roots)
    }

    pub(crate) fn new(path: &Path, elf: Elf, roots: &[PathBuf]) -> Result<Image, ImageError> {
        if !elf.is_whole() {
            return Err(ImageError::Truncated);
        }
        Ok(Image {
            path: path.to_path_buf(),
            elf,
            roots: roots.to_vec(),
            debug: OnceLock::new(),
            table: OnceLock::new(),
            dwarf: OnceLock::new(),
            index: OnceLock::new(),
            dwarf_only: OnceLock::new(),
            merged: OnceLock::new(),
            lines: OnceLock::new(),
            plt: OnceLock::new(),
            platform_convention: OnceLock::new(),
        })
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All bytes of the file.
    pub fn bytes(&self) -> &[u8] {
        self.elf.bytes.as_slice()
    }

    /// All bytes of the separate debug file.
    pub fn debug_bytes(&self) -> Option<&[u8]> {
        self.debug().map(|debug| debug.elf.bytes.as_slice())
    }

    /// GNU build id; empty when it has none.
    pub fn build_id(&self) -> &[u8] {
        self.elf.build_id().unwrap_or_default()
    }

    /// The copies of the arena library that are linked into it.
    pub fn library_notes(&self) -> Vec<LibraryNote> {
        self.elf.library_notes()
    }

    /// Class and machine.
    pub fn class_and_machine(&self) -> ClassAndMachine {
        ClassAndMachine { bits: 64, machine: self.elf.machine }
    }

    /// How the program is put together.
    pub fn linkage(&self) -> Linkage {
        self.elf.linkage()
    }

    /// The separate debug file, if one was found that belongs to this file.
    pub fn debug_file(&self) -> Option<&Path> {
        self.debug().map(|debug| debug.path.as_path())
    }

    fn debug(&self) -> Option<&DebugFile> {
        self.debug.get_or_init(|| debug_file::find(&self.path, &self.elf, &self.roots)).as_ref()
    }

    /// Whether DWARF debug information is there, in the file or in its debug file.
    pub fn has_debug_info(&self) -> bool {
        self.elf.has_debug_info() || self.debug().is_some_and(|debug| debug.elf.has_debug_info())
    }

    /// Whether static functions have lost their names: no `.symtab`, neither here nor in the debug file.
    pub fn is_stripped(&self) -> bool {
        !self.elf.has_symtab() && !self.debug().is_some_and(|debug| debug.elf.has_symtab())
    }

    /// Bytes of code from `address`, at most `len`, fewer at the end of the section. `None` when no executable
    /// segment holds the address in the file.
    pub fn code(&self, address: u64, len: usize) -> Option<&[u8]> {
        self.elf.code(address, len)
    }

    /// Start and all bytes of the section of code that holds `address`; of the segment in a file without sections.
    pub fn code_section(&self, address: u64) -> Option<(u64, &[u8])> {
        self.elf.code_section(address)
    }

    /// First and one past the last address of its code.
    pub fn code_bounds(&self) -> Option<(u64, u64)> {
        self.elf.code_bounds()
    }

    /// Address and bytes of its call frame information (`.eh_frame`), if it has any.
    pub fn frame_information(&self) -> Option<(u64, &[u8])> {
        self.elf.mapped_section(".eh_frame")
    }

    pub(crate) fn table(&self) -> &Table {
        self.table.get_or_init(|| Table::of(&self.elf, self.debug().map(|debug| &debug.elf)))
    }

    pub(crate) fn plt(&self) -> &Plt {
        self.plt.get_or_init(|| Plt::of(&self.elf))
    }

    /// All functions, sorted by address: `.dynsym`, `.symtab`, the debug file's `.symtab`, and functions that only
    /// DWARF knows. Aliases are listed one by one.
    pub fn functions(&self) -> &[Function] {
        if self.dwarf_only().functions.is_empty() {
            return &self.table().functions;
        }
        let merge = || {
            let both = [self.table(), self.dwarf_only()];
            Table::sorted(both.iter().flat_map(|table| table.functions.iter().cloned()).collect())
        };
        &self.merged.get_or_init(merge).functions
    }

    /// [`Image::functions`] without those that only DWARF knows: does not read debug information.
    pub fn symbols(&self) -> &[Function] {
        &self.table().functions
    }

    /// Functions that have code and no symbol.
    pub(crate) fn dwarf_only(&self) -> &Table {
        let read = || {
            let Some(index) = self.index() else { return Table::default() };
            let only = index.definitions.iter().filter_map(|definition| {
                let (start, size) = definition.code?;
                if definition.name.is_empty() || self.table().starts_at(start) {
                    return None;
                }
                let name = Cow::Borrowed(definition.name);
                Some(Function::new(name, start, size, Origin::Dwarf, definition.external))
            });
            Table::sorted(only.collect())
        };
        self.dwarf_only.get_or_init(read)
    }

    /// Functions as DWARF knows them. The first question reads all units.
    pub(crate) fn index(&self) -> Option<&Index> {
        let read = || Some(Index::of(self.dwarf()?, |address| self.elf.is_code(address)));
        self.index.get_or_init(read).as_ref()
    }

    /// The function whose code holds `address`, by symbol tables. One of unknown size holds what follows it up to the
    /// next function or the end of its section.
    pub fn function_at(&self, address: u64) -> Option<&Function> {
        let found = self.table().at(address)?;
        let section_end = |address| self.elf.code_section_end(address);
        let holds = found.size > 0 || section_end(found.address) == section_end(address);
        (holds && self.elf.is_code(address)).then_some(found)
    }

    pub(crate) fn dwarf(&self) -> Option<&Arc<gimli::Dwarf<Slice>>> {
        let load = || {
            if self.elf.has_debug_info() {
                let supplementary = debug_file::find_supplementary(&self.path, &self.elf, &self.roots);
                return Some(dwarf::load(&self.elf, supplementary.as_ref()));
            }
            let debug = self.debug().filter(|debug| debug.elf.has_debug_info())?;
            let supplementary = debug_file::find_supplementary(&debug.path, &debug.elf, &self.roots);
            Some(dwarf::load(&debug.elf, supplementary.as_ref()))
        };
        self.dwarf.get_or_init(load).as_ref()
    }

    fn lines(&self) -> Option<&Lines> {
        let build = || {
            let context = addr2line::Context::from_arc_dwarf(Arc::clone(self.dwarf()?)).ok()?;
            Some(Lines(Mutex::new(context)))
        };
        self.lines.get_or_init(build).as_ref()
    }

    /// Functions and source lines at `address`, inlined ones first, innermost first. Names come from DWARF where it
    /// has them, else from the symbol tables. Empty when nothing is known.
    ///
    /// The first question about a compilation unit reads its line table.
    pub fn source_frames(&self, address: u64) -> Vec<SourceFrame> {
        let mut frames = self.dwarf_frames(address);
        let symbol = self.function_at(address);
        match (frames.last_mut(), symbol) {
            (None, Some(symbol)) => {
                let function = symbol.display().to_owned();
                frames.push(SourceFrame { function, file: String::new(), line: 0, inlined: false });
            }
            (Some(last), Some(symbol)) if last.function.is_empty() => last.function = symbol.display().to_owned(),
            _ => {}
        }
        frames
    }

    fn dwarf_frames(&self, address: u64) -> Vec<SourceFrame> {
        let mut frames = Vec::new();
        let Some(lines) = self.lines() else { return frames };
        let context = lines.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Ok(mut found) = context.find_frames(address).skip_all_loads() else { return frames };
        while let Ok(Some(frame)) = found.next() {
            let name = frame.function.as_ref().and_then(|name| name.raw_name().ok());
            let function = name.map(|name| crate::names::display(&name)).unwrap_or_default();
            let location = frame.location;
            let file = location.as_ref().and_then(|location| location.file).unwrap_or_default().to_owned();
            let line = location.as_ref().and_then(|location| location.line).unwrap_or_default();
            frames.push(SourceFrame { function, file, line, inlined: true });
        }
        if let Some(last) = frames.last_mut() {
            last.inlined = false;
        }
        frames
    }
}

//! The parts of an ELF file that the search needs: bytes by address, function names by address, what a call goes to.
//!
//! Relied on: addresses are those of the file; lookups never fail loudly, an unknown address is `None`.
//! Deliberately absent: debug information (`debug`), any knowledge of what a named function does (`known`).

use crate::FindError;
use iced_x86::{Decoder, DecoderOptions, Mnemonic};
use object::elf::{EM_X86_64, PT_LOAD};
use object::read::elf::{ElfFile64, FileHeader, ProgramHeader};
use object::{Endianness, Object, ObjectSymbol, ObjectSymbolTable, RelocationTarget, SymbolKind};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// One loadable segment.
struct Segment<'a> {
    start: u64,
    end: u64,
    bytes: &'a [u8],
    writable: bool,
    executable: bool,
}

/// An ELF file, indexed by address.
pub(crate) struct Binary<'a> {
    segments: Vec<Segment<'a>>,
    /// Function symbols: address → (largest size, names).
    functions: BTreeMap<u64, (u64, Vec<String>)>,
    /// The address of each named function; the first when a name is not unique.
    by_name: HashMap<String, u64>,
    /// Words that the dynamic linker fills with the address of a named symbol.
    slots: HashMap<u64, String>,
    /// Functions that other modules can call.
    exported: BTreeSet<u64>,
    /// True when addresses in the file are the addresses at run time (`ET_EXEC`): immediates may then be addresses.
    fixed: bool,
}

impl<'a> Binary<'a> {
    /// Reads the file; the debug file adds names only.
    pub(crate) fn parse(elf: &'a [u8], debug: Option<&'a [u8]>) -> Result<Binary<'a>, FindError> {
        let file = ElfFile64::<Endianness>::parse(elf).map_err(|e| FindError::WrongFormat(e.to_string()))?;
        let endian = file.endian();
        let header = file.elf_header();
        if header.e_machine(endian) != EM_X86_64 || endian != Endianness::Little {
            return Err(FindError::WrongFormat(format!("machine number {}", header.e_machine(endian).0)));
        }
        let mut segments = Vec::new();
        for program in file.elf_program_headers() {
            if program.p_type(endian) != PT_LOAD {
                continue;
            }
            let start = program.p_vaddr(endian);
            let bytes = program.data(endian, elf).unwrap_or(&[]);
            let flags = program.p_flags(endian);
            segments.push(Segment {
                start,
                end: start.saturating_add(program.p_memsz(endian)),
                bytes,
                writable: flags.0 & object::elf::PF_W.0 != 0,
                executable: flags.0 & object::elf::PF_X.0 != 0,
            });
        }
        let mut functions: BTreeMap<u64, (u64, Vec<String>)> = BTreeMap::new();
        let mut by_name = HashMap::new();
        let mut slots = HashMap::new();
        let debug_file = debug.and_then(|bytes| ElfFile64::<Endianness>::parse(bytes).ok());
        let symbols =
            file.symbols().chain(file.dynamic_symbols()).chain(debug_file.iter().flat_map(|file| file.symbols()));
        for symbol in symbols {
            if symbol.kind() != SymbolKind::Text || symbol.address() == 0 || symbol.is_undefined() {
                continue;
            }
            let Ok(name) = symbol.name() else { continue };
            let entry = functions.entry(symbol.address()).or_default();
            by_name.entry(name.to_string()).or_insert(symbol.address());
            entry.0 = entry.0.max(symbol.size());
            if !entry.1.iter().any(|known| known == name) {
                entry.1.push(name.to_string());
            }
        }
        if let (Some(relocations), Some(table)) = (file.dynamic_relocations(), file.dynamic_symbol_table()) {
            for (at, relocation) in relocations {
                let RelocationTarget::Symbol(index) = relocation.target() else { continue };
                if let Ok(name) = table.symbol_by_index(index).and_then(|symbol| symbol.name()) {
                    slots.insert(at, name.to_string());
                }
            }
        }
        let exported = file.dynamic_symbols().filter(|s| !s.is_undefined()).map(|s| s.address()).collect();
        let fixed = header.e_type(endian) == object::elf::ET_EXEC;
        Ok(Binary { segments, functions, by_name, slots, exported, fixed })
    }

    /// Up to `len` bytes of code at an address; fewer at the end of the segment.
    pub(crate) fn code(&self, address: u64, len: usize) -> Option<&'a [u8]> {
        let segment = self.segments.iter().find(|s| s.executable && s.start <= address && address < s.end)?;
        let from = usize::try_from(address - segment.start).ok()?;
        let rest = segment.bytes.get(from..)?;
        Some(rest.get(..len).unwrap_or(rest)).filter(|bytes| !bytes.is_empty())
    }

    /// Bytes of all code.
    pub(crate) fn code_bytes(&self) -> u64 {
        self.segments.iter().filter(|s| s.executable).map(|s| s.bytes.len() as u64).sum()
    }

    /// True for an address of variables (`.data`, `.bss`).
    pub(crate) fn is_variable(&self, address: u64) -> bool {
        self.segments.iter().any(|s| s.writable && s.start <= address && address < s.end)
    }

    /// True when immediates in the code may be addresses.
    pub(crate) fn is_fixed(&self) -> bool {
        self.fixed
    }

    /// True when other modules can call the function at this address by name.
    pub(crate) fn is_exported(&self, address: u64) -> bool {
        self.exported.contains(&address)
    }

    /// Names of the function that starts here.
    pub(crate) fn names(&self, address: u64) -> &[String] {
        self.functions.get(&address).map_or(&[], |entry| entry.1.as_slice())
    }

    /// The symbol a word of the global offset table will hold.
    pub(crate) fn slot(&self, address: u64) -> Option<&str> {
        self.slots.get(&address).map(String::as_str)
    }

    /// The symbols' functions: (address, size), in order of address.
    pub(crate) fn functions(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.functions.iter().map(|(&address, entry)| (address, entry.0))
    }

    /// End of the function symbol that starts at `address`: its size, else the next symbol.
    pub(crate) fn function_end(&self, address: u64) -> Option<u64> {
        let (size, _) = self.functions.get(&address)?;
        if *size > 0 {
            return address.checked_add(*size);
        }
        self.functions.range(address.checked_add(1)?..).next().map(|(&next, _)| next)
    }

    /// True when the address lies in a part that the compiler split off (`name.cold`).
    pub(crate) fn is_cold_part(&self, address: u64) -> bool {
        let Some((&start, (size, names))) = self.functions.range(..=address).next_back() else { return false };
        address - start < (*size).max(1) && names.iter().any(|name| name.contains(".cold"))
    }

    /// Where a call of this address ends: a linkage stub for a function of this very file leads there.
    pub(crate) fn resolve(&self, target: u64) -> u64 {
        self.stub(target).and_then(|name| self.defined(name)).unwrap_or(target)
    }

    /// The function of this file with this name.
    pub(crate) fn defined(&self, name: &str) -> Option<u64> {
        self.by_name.get(name).copied()
    }

    /// The symbol that a linkage stub at this address (`.plt`, `.plt.sec`, `.plt.got`) jumps to.
    pub(crate) fn stub(&self, address: u64) -> Option<&str> {
        if self.functions.contains_key(&address) {
            return None;
        }
        let mut decoder = Decoder::with_ip(64, self.code(address, 32)?, address, DecoderOptions::NONE);
        for _ in 0..3 {
            let instruction = decoder.decode();
            if instruction.is_invalid() {
                return None;
            }
            if instruction.mnemonic() == Mnemonic::Jmp && instruction.is_ip_rel_memory_operand() {
                return self.slot(instruction.memory_displacement64());
            }
            if !matches!(instruction.mnemonic(), Mnemonic::Endbr64 | Mnemonic::Nop) {
                return None;
            }
        }
        None
    }
}

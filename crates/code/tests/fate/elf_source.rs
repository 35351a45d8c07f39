//! A `CodeSource` over one ELF file at its own addresses: symbols, PLT stubs by relocation, bounds by symbol size
//! or by the unwind table. For tests only: trusts the file.

use arenascope_code::CodeSource;
use gimli::{BaseAddresses, EhFrame, LittleEndian, UnwindSection};
use object::{Object, ObjectSection, ObjectSymbol, RelocationTarget, SymbolKind};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// One ELF file.
pub struct ElfSource {
    sections: Vec<(u64, Vec<u8>, bool)>,
    names: HashMap<u64, String>,
    slots: HashMap<u64, String>,
    bounds: BTreeMap<u64, u64>,
}

impl ElfSource {
    /// Reads `path`, which is an ELF file for x86-64.
    pub fn open(path: &Path) -> Self {
        Self::try_open(path).unwrap()
    }

    /// Reads `path`; `None` when it is no ELF file for x86-64.
    pub fn try_open(path: &Path) -> Option<Self> {
        let bytes = std::fs::read(path).unwrap();
        let file = object::File::parse(&*bytes).ok()?;
        if file.architecture() != object::Architecture::X86_64 {
            return None;
        }
        let mut source =
            ElfSource { sections: Vec::new(), names: HashMap::new(), slots: HashMap::new(), bounds: BTreeMap::new() };
        let mut eh_frame = None;
        for section in file.sections() {
            let name = section.name().unwrap_or("");
            if name == ".eh_frame" {
                eh_frame = Some((section.address(), section.data().unwrap().to_vec()));
            }
            let text = section.kind() == object::SectionKind::Text;
            if section.address() != 0 && text {
                let data = section.data().unwrap().to_vec();
                source.sections.push((section.address(), data, text));
            }
        }
        if let Some((address, data)) = &eh_frame {
            source.read_unwind_table(*address, data);
        }
        for symbol in file.symbols().chain(file.dynamic_symbols()) {
            if symbol.kind() != SymbolKind::Text || symbol.address() == 0 {
                continue;
            }
            let name = symbol.name().unwrap_or("").to_string();
            if symbol.size() != 0 {
                source.bounds.insert(symbol.address(), symbol.address() + symbol.size());
            }
            source.names.entry(symbol.address()).or_insert(name);
        }
        if let Some(relocations) = file.dynamic_relocations() {
            let dynamic: HashMap<_, _> =
                file.dynamic_symbols().map(|s| (s.index(), s.name().unwrap_or("").to_string())).collect();
            for (slot, relocation) in relocations {
                let object::RelocationFlags::Elf { r_type } = relocation.flags() else {
                    continue;
                };
                if let RelocationTarget::Symbol(index) = relocation.target()
                    && matches!(r_type, object::elf::R_X86_64_JUMP_SLOT | object::elf::R_X86_64_GLOB_DAT)
                    && let Some(name) = dynamic.get(&index)
                {
                    source.slots.insert(slot, name.clone());
                }
            }
        }
        source.name_stubs();
        Some(source)
    }

    fn read_unwind_table(&mut self, address: u64, data: &[u8]) {
        let section = EhFrame::new(data, LittleEndian);
        let bases = BaseAddresses::default().set_eh_frame(address);
        let mut entries = section.entries(&bases);
        while let Ok(Some(entry)) = entries.next() {
            if let gimli::CieOrFde::Fde(partial) = entry
                && let Ok(fde) = partial.parse(|_, bases, offset| section.cie_from_offset(bases, offset))
            {
                let start = fde.initial_address();
                self.bounds.insert(start, start + fde.len());
            }
        }
        // PLT sections have one entry for all stubs: no function.
        let plain = |start: u64, end: u64| end - start > 0;
        self.bounds.retain(|start, end| plain(*start, *end));
    }

    fn name_stubs(&mut self) {
        let mut found = Vec::new();
        for (base, data, _) in &self.sections {
            for offset in (0..data.len()).step_by(8) {
                let address = base + offset as u64;
                let mut at = offset;
                if data[at..].starts_with(&[0xf3, 0x0f, 0x1e, 0xfa]) {
                    at += 4;
                }
                if data.get(at) == Some(&0xf2) {
                    at += 1;
                }
                if data[at.min(data.len())..].starts_with(&[0xff, 0x25]) && at + 6 <= data.len() {
                    let displacement = i32::from_le_bytes(data[at + 2..at + 6].try_into().unwrap());
                    let slot = (base + at as u64 + 6).wrapping_add_signed(i64::from(displacement));
                    if let Some(name) = self.slots.get(&slot) {
                        found.push((address, name.clone()));
                    }
                }
            }
        }
        for (address, name) in found {
            self.names.entry(address).or_insert(name);
        }
    }

    /// Functions by address: start, end, name.
    pub fn functions(&self) -> impl Iterator<Item = (u64, u64, &str)> {
        self.bounds.iter().map(|(start, end)| (*start, *end, self.names.get(start).map_or("", String::as_str)))
    }
}

impl CodeSource for ElfSource {
    fn code(&self, address: u64, len: usize) -> Option<&[u8]> {
        let (base, data, _) =
            self.sections.iter().find(|(base, data, _)| *base <= address && address - base < data.len() as u64)?;
        let rest = &data[(address - base) as usize..];
        Some(&rest[..len.min(rest.len())])
    }

    fn name(&self, address: u64) -> Option<String> {
        self.names.get(&address).cloned()
    }

    fn function_bounds(&self, address: u64) -> Option<(u64, u64)> {
        let (start, end) = self.bounds.range(..=address).next_back()?;
        (address < *end).then_some((*start, *end))
    }

    fn slot_name(&self, slot: u64) -> Option<String> {
        self.slots.get(&slot).cloned()
    }
}

/// The same code as a stripped program shows it: no bounds, no names but those of the dynamic linker.
pub struct Stripped<'a>(pub &'a ElfSource);

impl CodeSource for Stripped<'_> {
    fn code(&self, address: u64, len: usize) -> Option<&[u8]> {
        self.0.code(address, len)
    }

    fn name(&self, _: u64) -> Option<String> {
        None
    }

    fn function_bounds(&self, _: u64) -> Option<(u64, u64)> {
        None
    }
}

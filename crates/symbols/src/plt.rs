//! Names of functions of other files, by the place a call of them goes through: the stub in the PLT that jumps to it,
//! and the pointer in the GOT that the dynamic linker fills in.
//!
//! Relied on: relocations name the pointers (`.rela.plt` and `.rela.dyn`, System V AMD64 ABI 4.4); a stub is named by
//! the pointer it jumps through, whatever the linker put around the jump. Read once, at the first question. Any bytes
//! are accepted. Absent: stubs of other processors than x86-64, and files without section headers.

use crate::elf::{Elf, Machine};
use crate::image::Image;
use crate::names;
use object::LittleEndian;
use object::elf::{
    R_AARCH64_GLOB_DAT, R_AARCH64_JUMP_SLOT, R_X86_64_GLOB_DAT, R_X86_64_JUMP_SLOT, SHF_ALLOC, SHF_EXECINSTR,
    SHT_NOBITS,
};
use object::read::elf::{Rela, SectionHeader, Sym};
use std::borrow::Cow;

/// Stubs and pointers of one file, each sorted by address.
#[derive(Debug, Default)]
pub(crate) struct Plt {
    slots: Vec<(u64, Cow<'static, str>)>,
    /// (address of the stub, index into `slots`)
    stubs: Vec<(u64, usize)>,
}

impl Image {
    /// Linkage name, without version, of the function that the PLT stub starting exactly at `address` jumps to.
    /// `None` for anything else: the middle of a stub, the PLT's head, stubs of indirect functions of the file itself
    /// (they have no name). O(log stubs) after the first question, which reads all relocations.
    pub fn plt_name(&self, address: u64) -> Option<&str> {
        let plt = self.plt();
        let at = plt.stubs.binary_search_by_key(&address, |(stub, _)| *stub).ok()?;
        plt.slots.get(plt.stubs.get(at)?.1).map(|(_, name)| &**name)
    }

    /// Linkage name, without version, of the symbol whose address the dynamic linker writes to `address` (an entry of
    /// the GOT): of a function called through it, or of a variable. O(log slots) after the first question.
    pub fn slot_name(&self, address: u64) -> Option<&str> {
        self.plt().slot(address).and_then(|at| self.plt().slots.get(at)).map(|(_, name)| &**name)
    }

    /// `plt_name` as people read it: C++ and Rust demangled.
    pub fn plt_display(&self, address: u64) -> Option<String> {
        self.plt_name(address).map(names::display)
    }

    /// `slot_name` as people read it: C++ and Rust demangled.
    pub fn slot_display(&self, address: u64) -> Option<String> {
        self.slot_name(address).map(names::display)
    }
}

impl Plt {
    /// Reads relocations and stubs. O(relocations + bytes of the PLT sections).
    pub(crate) fn of(elf: &Elf) -> Plt {
        let mut plt = Plt { slots: slots(elf), stubs: Vec::new() };
        plt.slots.sort_by_key(|(address, _)| *address);
        plt.slots.dedup_by_key(|(address, _)| *address);
        if elf.machine == Machine::X86_64 {
            plt.stubs = plt.stubs_x86_64(elf);
        }
        plt
    }

    fn slot(&self, address: u64) -> Option<usize> {
        self.slots.binary_search_by_key(&address, |(slot, _)| *slot).ok()
    }

    fn stubs_x86_64(&self, elf: &Elf) -> Vec<(u64, usize)> {
        let mut stubs = Vec::new();
        let table = elf.file.elf_section_table();
        for section in table.iter() {
            let flags = section.sh_flags(LittleEndian);
            if !flags.contains(SHF_ALLOC) || !flags.contains(SHF_EXECINSTR) {
                continue;
            }
            let name = table.section_name(LittleEndian, section).unwrap_or_default();
            if !name.starts_with(b".plt") {
                continue;
            }
            let Ok(code) = section.data(LittleEndian, elf.bytes.as_slice()) else { continue };
            let start = section.sh_addr(LittleEndian);
            for offset in (0..code.len()).step_by(STUB_ALIGN) {
                let Some(address) = start.checked_add(offset as u64) else { break };
                let Some(stub) = code.get(offset..) else { break };
                if let Some(at) = pointer_of(stub, address).and_then(|slot| self.slot(slot)) {
                    stubs.push((address, at));
                }
            }
        }
        stubs.sort_unstable();
        stubs.dedup_by_key(|(address, _)| *address);
        stubs
    }
}

/// Stubs begin at multiples of this: those of `.plt.got` take 8 bytes, all others 16.
const STUB_ALIGN: usize = 8;

/// The pointer that a stub starting at `code[0]`, at `address`, jumps through.
fn pointer_of(code: &[u8], address: u64) -> Option<u64> {
    // In this order, each or none: endbr64, `mov r11d, number` (mold), the bnd prefix (GNU ld with IBT).
    let mut rest = code.strip_prefix(&[0xf3, 0x0f, 0x1e, 0xfa]).unwrap_or(code);
    if rest.starts_with(&[0x41, 0xbb]) {
        rest = rest.get(6..)?;
    }
    let rest = rest.strip_prefix(&[0xf2]).unwrap_or(rest);
    // jmp [rip + displacement], counted from its end.
    let displacement = i32::from_le_bytes(*rest.strip_prefix(&[0xff, 0x25])?.first_chunk()?);
    let end = (code.len() - rest.len()).checked_add(6)?;
    address.checked_add(end as u64)?.checked_add_signed(i64::from(displacement))
}

fn slots(elf: &Elf) -> Vec<(u64, Cow<'static, str>)> {
    let wanted = match elf.machine {
        Machine::X86_64 => [R_X86_64_JUMP_SLOT, R_X86_64_GLOB_DAT],
        Machine::Aarch64 => [R_AARCH64_JUMP_SLOT, R_AARCH64_GLOB_DAT],
    };
    let symbols = elf.file.elf_dynamic_symbol_table();
    let mut slots = Vec::new();
    for section in elf.file.elf_section_table().iter() {
        if section.sh_type(LittleEndian) == SHT_NOBITS || !section.sh_flags(LittleEndian).contains(SHF_ALLOC) {
            continue;
        }
        let Ok(Some((relocations, _))) = section.rela(LittleEndian, elf.bytes.as_slice()) else { continue };
        for relocation in relocations {
            if !wanted.contains(&relocation.r_type(LittleEndian, false)) {
                continue;
            }
            let Some(symbol) = relocation.symbol(LittleEndian, false) else { continue };
            let Ok(symbol) = symbols.symbol(symbol) else { continue };
            let Ok(name) = symbol.name(LittleEndian, symbols.strings()) else { continue };
            let name = match std::str::from_utf8(name) {
                Ok(name) => Cow::Borrowed(names::without_version(name)),
                Err(_) => Cow::Owned(String::from_utf8_lossy(name).into_owned()),
            };
            if !name.is_empty() {
                slots.push((relocation.r_offset(LittleEndian), name));
            }
        }
    }
    slots
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stubs_of_all_linkers_lead_to_their_pointer() {
        let cases: [(&str, &[u8], Option<u64>); 9] = [
            (".plt", &[0xff, 0x25, 0x10, 0, 0, 0, 0x68, 0, 0, 0, 0, 0xe9, 0, 0, 0, 0], Some(0x1016)),
            (".plt.got", &[0xff, 0x25, 0xf0, 0xff, 0xff, 0xff, 0x66, 0x90], Some(0xff6)),
            (".plt.sec", &[0xf3, 0x0f, 0x1e, 0xfa, 0xff, 0x25, 0, 1, 0, 0], Some(0x110a)),
            (".plt.sec, bnd", &[0xf3, 0x0f, 0x1e, 0xfa, 0xf2, 0xff, 0x25, 0, 1, 0, 0], Some(0x110b)),
            ("mold", &[0xf3, 0x0f, 0x1e, 0xfa, 0x41, 0xbb, 1, 0, 0, 0, 0xff, 0x25, 0, 1, 0, 0], Some(0x1110)),
            ("head of the PLT", &[0xff, 0x35, 0x10, 0, 0, 0, 0xff, 0x25, 0x10, 0, 0, 0], None),
            ("lazy part", &[0xf3, 0x0f, 0x1e, 0xfa, 0x68, 0, 0, 0, 0, 0xf2, 0xe9, 0, 0, 0, 0], None),
            ("cut off", &[0xff, 0x25, 0x10, 0, 0], None),
            ("cut off in the number", &[0x41, 0xbb, 0], None),
        ];
        for (what, code, slot) in cases {
            assert_eq!(pointer_of(code, 0x1000), slot, "{what}");
        }
        assert_eq!(pointer_of(&[0xff, 0x25, 0x10, 0, 0, 0], u64::MAX), None);
    }
}

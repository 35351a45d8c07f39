//! What a file offers to the others of its process: functions as the dynamic linker finds them by name.
//!
//! Relied on: an answer is the address that `dlsym` would give for this file. Absent: static functions, debug files
//! (`find.rs`), and which of several files the linker asks first.

use crate::image::Image;
use object::LittleEndian;
use object::elf::{SHN_UNDEF, STB_LOCAL, STT_FUNC, STT_GNU_IFUNC, STT_NOTYPE};
use object::read::elf::Sym;

impl Image {
    /// The address in the file of the function that it exports as `name`, of its default version. `None` where it only
    /// uses the name: a program at a fixed address then gives the name a value all the same, its own PLT stub, which
    /// stands for the function's address in the whole process (System V AMD64 ABI, 5.2 "Function Addresses"). `None` for
    /// indirect functions too: their address is chosen at run time. O(exported symbols).
    pub fn exported(&self, name: &str) -> Option<u64> {
        let (file, bytes) = (&self.elf.file, self.bytes());
        let versions = file.elf_section_table().versions(LittleEndian, bytes).ok().flatten();
        let symbols = file.elf_dynamic_symbol_table();
        let offered = symbols.enumerate().filter_map(|(index, symbol)| {
            let kind = symbol.st_type();
            let is_function = kind == STT_FUNC || kind == STT_GNU_IFUNC || kind == STT_NOTYPE;
            if symbol.st_shndx(LittleEndian) == SHN_UNDEF || symbol.st_bind() == STB_LOCAL || !is_function {
                return None;
            }
            let found = symbol.name(LittleEndian, symbols.strings()).ok()?;
            (found == name.as_bytes()).then(|| {
                let hidden =
                    versions.as_ref().is_some_and(|table| table.version_index(LittleEndian, index).is_hidden());
                (hidden, kind == STT_GNU_IFUNC, symbol.st_value(LittleEndian))
            })
        });
        // Old versions of a name are hidden; where there are no others they are what the linker finds.
        let (_, is_ifunc, address) = offered.min_by_key(|(hidden, ..)| *hidden)?;
        (!is_ifunc && self.elf.is_code(address)).then_some(address)
    }
}

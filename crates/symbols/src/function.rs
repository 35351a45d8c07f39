//! What a function of an ELF file is, and reading functions out of symbol tables.
//!
//! Relied on: symbols that are undefined, not code, or outside the program's executable segments are left out;
//! aliases (several names at one address) all stay. Absent: debug information (`index.rs`), searching (`find.rs`).

use crate::elf::Elf;
use crate::names;
use object::elf::{SHN_UNDEF, STB_GLOBAL, STB_GNU_UNIQUE, STB_WEAK, STT_FUNC, STT_GNU_IFUNC, STT_NOTYPE};
use object::read::elf::{Sym, SymbolTable};
use object::{LittleEndian, elf::FileHeader64};
use std::borrow::Cow;
use std::sync::OnceLock;

/// Where a function's name and address come from. The first that knows it wins, in this order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Origin {
    /// `.dynsym`: the dynamic linker knows it; a stripped file still has it.
    Dynamic,
    /// `.symtab` of the file itself.
    Symtab,
    /// `.symtab` of the separate debug file.
    DebugFile,
    /// Only DWARF knows it.
    Dwarf,
}

/// One name of one function.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Function {
    /// Linkage name as the file has it, without symbol version; clone suffixes stay.
    pub name: Cow<'static, str>,
    /// Address in the file (without load bias), of the first instruction.
    pub address: u64,
    /// Bytes; 0 when the file does not say.
    pub size: u64,
    /// Where it was found.
    pub origin: Origin,
    /// Visible to other files of the program (global or weak): its calling convention is the platform's.
    pub global: bool,
    /// An indirect function: its code chooses an implementation and returns its address. Never to be hooked.
    pub is_ifunc: bool,
    display: OnceLock<String>,
}

impl Function {
    pub(crate) fn new(name: Cow<'static, str>, address: u64, size: u64, origin: Origin, global: bool) -> Function {
        Function { name, address, size, origin, global, is_ifunc: false, display: OnceLock::new() }
    }

    /// The name people read: C++ and Rust demangled, with parameters, without return type and hash. Computed once.
    pub fn display(&self) -> &str {
        self.display.get_or_init(|| names::display(&self.name))
    }

    /// One past the last byte.
    pub fn end(&self) -> u64 {
        self.address.saturating_add(self.size)
    }

    /// Order in which names of one address are preferred when only one can be shown.
    fn rank(&self) -> (bool, bool, usize) {
        let underscored = self.name.starts_with('_') && !self.name.starts_with("_Z") && !self.name.starts_with("_R");
        (!self.global, underscored, self.name.len())
    }
}

/// Functions by address.
#[derive(Debug, Default)]
pub(crate) struct Table {
    /// Sorted by address; among one address the name to show first.
    pub(crate) functions: Vec<Function>,
}

impl Table {
    /// Merges the symbol tables of a file and of its debug file.
    pub(crate) fn of(image: &Elf, debug: Option<&Elf>) -> Table {
        let mut functions = Vec::new();
        read(image, image.file.elf_dynamic_symbol_table(), Origin::Dynamic, &mut functions);
        read(image, image.file.elf_symbol_table(), Origin::Symtab, &mut functions);
        if let Some(debug) = debug {
            read(image, debug.file.elf_symbol_table(), Origin::DebugFile, &mut functions);
        }
        Table::sorted(functions)
    }

    pub(crate) fn sorted(mut functions: Vec<Function>) -> Table {
        functions.sort_unstable_by(|one, two| {
            (one.address, &one.name, one.origin).cmp(&(two.address, &two.name, two.origin))
        });
        functions.dedup_by(|later, kept| {
            let same = later.address == kept.address && later.name == kept.name;
            if same {
                kept.size = kept.size.max(later.size);
                kept.is_ifunc |= later.is_ifunc;
                kept.global |= later.global;
            }
            same
        });
        functions.sort_by(|one, two| one.address.cmp(&two.address).then_with(|| one.rank().cmp(&two.rank())));
        Table { functions }
    }

    /// The function whose bytes hold `address`; one of unknown size holds everything up to the next.
    pub(crate) fn at(&self, address: u64) -> Option<&Function> {
        let after = self.functions.partition_point(|function| function.address <= address);
        // Nested and overlapping symbols are few: look at some before giving up on sized ones.
        let before = self.functions.get(after.saturating_sub(16)..after)?;
        let nearest = before.last()?.address;
        before
            .iter()
            .filter(|function| address < function.end())
            .max_by(|one, two| one.address.cmp(&two.address).then_with(|| two.rank().cmp(&one.rank())))
            .or_else(|| before.iter().find(|function| function.address == nearest && function.size == 0))
    }

    /// True when some function starts at `address`.
    pub(crate) fn starts_at(&self, address: u64) -> bool {
        self.functions.binary_search_by_key(&address, |function| function.address).is_ok()
    }
}

type Symbols = SymbolTable<'static, FileHeader64<LittleEndian>>;

fn read(image: &Elf, table: &Symbols, origin: Origin, functions: &mut Vec<Function>) {
    for symbol in table.iter() {
        let kind = symbol.st_type();
        let is_function = kind == STT_FUNC || kind == STT_GNU_IFUNC;
        let bind = symbol.st_bind();
        let global = bind == STB_GLOBAL || bind == STB_WEAK || bind == STB_GNU_UNIQUE;
        // Hand-written assembly often forgets `.type f, @function`.
        let is_label = kind == STT_NOTYPE && global;
        if symbol.st_shndx(LittleEndian) == SHN_UNDEF || !(is_function || is_label) {
            continue;
        }
        let address: u64 = symbol.st_value(LittleEndian);
        if !image.is_code(address) {
            continue;
        }
        let Ok(bytes) = symbol.name(LittleEndian, table.strings()) else { continue };
        let name = match std::str::from_utf8(bytes) {
            Ok(name) => Cow::Borrowed(names::without_version(name)),
            Err(_) => Cow::Owned(names::without_version(&String::from_utf8_lossy(bytes)).to_owned()),
        };
        if name.is_empty() {
            continue;
        }
        let mut function = Function::new(name, address, symbol.st_size(LittleEndian), origin, global);
        function.is_ifunc = kind == STT_GNU_IFUNC;
        functions.push(function);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(name: &'static str, address: u64, size: u64, global: bool) -> Function {
        Function::new(Cow::Borrowed(name), address, size, Origin::Symtab, global)
    }

    #[test]
    fn the_function_at_an_address() {
        let table = Table::sorted(vec![
            function("__libc_malloc", 0x100, 0x40, true),
            function("malloc", 0x100, 0x40, true),
            function("label", 0x140, 0, true),
            function("outer", 0x200, 0x100, false),
            function("inner", 0x220, 0x10, false),
            function("malloc", 0x100, 0, false),
        ]);
        for (address, name) in [
            (0xff, None),
            (0x100, Some("malloc")),
            (0x13f, Some("malloc")),
            (0x140, Some("label")),
            (0x150, Some("label")),
            (0x200, Some("outer")),
            (0x225, Some("inner")),
            (0x230, Some("outer")),
            (0x2ff, Some("outer")),
            (0x300, None),
        ] {
            assert_eq!(table.at(address).map(|function| &*function.name), name, "{address:#x}");
        }
        assert_eq!(table.functions.len(), 5);
    }
}

//! The debug information of one file: sections found, decompressed, and joined with a supplementary file.
//!
//! Relied on: missing sections are empty, never an error. Absent: any meaning (`index.rs`, `signature.rs`), split
//! debug information (`-gsplit-dwarf`): what only a `.dwo` file knows is not known here.

use crate::elf::Elf;
use gimli::{EndianSlice, LittleEndian, SectionId};
use std::sync::Arc;

/// How all debug information is read: slices of bytes that live as long as the process.
pub(crate) type Slice = EndianSlice<'static, LittleEndian>;

/// Sections of `elf`, and of `supplementary` for what refers there.
pub(crate) fn load(elf: &Elf, supplementary: Option<&Elf>) -> Arc<gimli::Dwarf<Slice>> {
    let mut dwarf = of_one(elf);
    if let Some(supplementary) = supplementary {
        dwarf.set_sup(of_one(supplementary));
    }
    Arc::new(dwarf)
}

fn of_one(elf: &Elf) -> gimli::Dwarf<Slice> {
    let section = |id: SectionId| EndianSlice::new(elf.section(id.name()), LittleEndian);
    let loaded = gimli::Dwarf::load(|id| Ok::<_, std::convert::Infallible>(section(id)));
    match loaded {
        Ok(dwarf) => dwarf,
        Err(never) => match never {},
    }
}

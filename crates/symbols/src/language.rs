//! Whether a file's code keeps to the platform's calling convention, as far as the file shows it cheaply.
//!
//! Relied on: a `false` is sure, by sections and symbols that only one compiler makes. A stripped program of OCaml or
//! GHC shows nothing and counts as ordinary. Absent: the language of single functions; debug information is not read.

use crate::image::Image;
use object::LittleEndian;

/// Sections of Go (cmd/link `pcln.go`, `ld/elf.go`; `.data.rel.ro.gopclntab` in position-independent programs),
/// Swift (`swift5_*`, Runtime/ImageInspectionELF) and GHC (Linker/ExtraObj: `.debug-ghc-link-info`).
const SECTIONS: [&[u8]; 6] = [
    b".gopclntab",
    b".data.rel.ro.gopclntab",
    b".note.go.buildid",
    b"swift5_protocols",
    b"swift5_type_metadata",
    b".debug-ghc-link-info",
];

/// Functions of the OCaml (`runtime/amd64.S`) and GHC (`rts/StgCRun.c`) run times that are linked into each program.
const FUNCTIONS: [&str; 4] = ["caml_start_program", "caml_call_gc", "StgRun", "stg_ap_v_fast"];

impl Image {
    /// False when the file holds code of a compiler with a calling convention of its own: Go, OCaml, Swift, GHC.
    /// O(sections + symbols) once.
    pub fn keeps_platform_convention(&self) -> bool {
        *self.platform_convention.get_or_init(|| {
            let table = self.elf.file.elf_section_table();
            let betrays = table
                .iter()
                .any(|section| table.section_name(LittleEndian, section).is_ok_and(|name| SECTIONS.contains(&name)));
            !betrays && !self.table().functions.iter().any(|function| FUNCTIONS.contains(&&*function.name))
        })
    }
}

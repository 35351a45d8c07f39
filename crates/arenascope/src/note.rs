//! A note in the binary that says where this library keeps what outsiders need: the process's observer and the lists of arenas.
//!
//! May be relied on: the note is in every program and library that this crate is linked into, stripped or not, and costs
//! nothing at run time. `arenascope run` stores its observer there before the program starts; a recorder that is linked into the program
//! finds the function by it, whichever copies of the library the program has; a debugger follows the lists without symbols. Deliberately
//! absent: any code that reads it (`symbols/src/library_note.rs`, `headers/src/notes.rs` and `record/src/inside/notes.rs` do).
//!
//! # Layout
//! An ELF note (section `.note.arenascope`, in a `PT_NOTE` segment) with the owner "arenascope" and type 1. Its
//! descriptor: two 32-bit numbers, the note's version (1) and [`OBSERVER_VERSION`](crate::OBSERVER_VERSION); then 64-bit differences,
//! each from its own place in memory to that of a word, or of a function:
//!
//! | at | leads to |
//! |---|---|
//! | 8 | the pointer to the process's observer |
//! | 16 | the first arena with memory of its own |
//! | 24 | the first shared arena |
//! | 32 | the first mapping that holds small arenas |
//! | 40 | a C function that takes an observer for all arenas of the process, null for none ([`observe_all`](crate::observe_all)) |
//!
//! Newer versions add differences at the end.
#![allow(unsafe_code)] // Assembly that makes data.

/// Puts the note into the object file of whichever function calls this; no instruction. Several notes of one library say the same.
///
/// Not once for the crate: such an item may come to lie in an object file that no linker takes out of the archive.
#[inline(always)]
pub(crate) fn leave() {
    #[cfg(all(target_arch = "x86_64", target_os = "linux", not(miri)))]
    // SAFETY: emits no instruction; what it puts into another section is data that is only read.
    unsafe {
        core::arch::asm!(
            ".pushsection .note.arenascope,\"a\",@note",
            ".balign 4",
            ".long 11, 48, 1",
            ".asciz \"arenascope\"",
            ".balign 4",
            ".long 1, {observer_version}",
            ".quad {observer} - .",
            ".quad {alone} - .",
            ".quad {shared} - .",
            ".quad {slabs} - .",
            ".quad {observe} - .",
            ".popsection",
            observer_version = const crate::probe::OBSERVER_VERSION,
            observer = sym crate::probe::EVERYONE,
            alone = sym crate::registry::ALONE,
            shared = sym crate::registry::SHARED,
            slabs = sym crate::registry::SLABS,
            observe = sym crate::probe::observe_everyone,
            options(nomem, nostack, preserves_flags),
        );
    }
}

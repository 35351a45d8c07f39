//! Where the walker of `fate` and `null_use` gets machine code and names from: one trait, no implementation.
//!
//! Addresses are run-time addresses. Code must be the program's own code, without detours patched over it (read it
//! from the module's file, not from the process). Absent: files, ELF, symbol tables; whoever implements the trait
//! knows those.

/// Machine code and the little that is known about it, by run-time address.
pub trait CodeSource {
    /// Up to `len` bytes of machine code at `address`: fewer at the end of a mapping, `None` when unknown.
    fn code(&self, address: u64, len: usize) -> Option<&[u8]>;

    /// Name of the function that starts exactly at `address`. For a PLT stub, the name of the function that the
    /// stub leads to.
    fn name(&self, address: u64) -> Option<String>;

    /// `[start, end)` of the function that contains `address`, when known.
    fn function_bounds(&self, address: u64) -> Option<(u64, u64)>;

    /// Name of the function whose address the dynamic linker writes into the pointer at `slot` (a GOT entry), for
    /// code built with `-fno-plt`. Only evidence sentences and knowledge of functions that never return depend on it.
    fn slot_name(&self, slot: u64) -> Option<String> {
        let _ = slot;
        None
    }

    /// False when the code at `address` is known to come from a compiler that passes arguments in the result
    /// register or keeps values in it across calls (Go, OCaml, Swift, GHC). Nothing is ever claimed about such code.
    fn system_v(&self, address: u64) -> bool {
        let _ = address;
        true
    }
}

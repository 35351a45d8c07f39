//! What can be asked of Valgrind and of memcheck from inside the program it runs.
//!
//! The numbers and the sequence of instructions are public: valgrind.h and memcheck.h of Valgrind 3.19 ("client requests";
//! both headers stand under a BSD licence of their own). To a bare processor a request is a few rotations that add up to
//! nothing, so every call here is harmless without Valgrind. Deliberately absent: when to ask (`precise`).
#![allow(unsafe_code, reason = "executes the instructions by which Valgrind is asked")]

/// VG_USERREQ__RUNNING_ON_VALGRIND.
const RUNNING: u64 = 0x1001;
/// VG_USERREQ__DISCARD_TRANSLATIONS.
const DISCARD_TRANSLATIONS: u64 = 0x1002;
/// VG_USERREQ__COUNT_ERRORS.
const COUNT_ERRORS: u64 = 0x1201;
/// VG_USERREQ__PRINTF_VALIST_BY_REF.
const PRINTF: u64 = 0x1403;
/// VG_USERREQ__CHANGE_ERR_DISABLEMENT.
const CHANGE_DISABLEMENT: u64 = 0x1801;
/// VG_USERREQ__MAKE_MEM_NOACCESS: the first of memcheck's own.
const NO_ACCESS: u64 = 0x4d43_0000;
/// VG_USERREQ__MAKE_MEM_UNDEFINED.
const UNDEFINED: u64 = 0x4d43_0001;
/// VG_USERREQ__MAKE_MEM_DEFINED.
const DEFINED: u64 = 0x4d43_0002;
/// VG_USERREQ__CHECK_MEM_IS_ADDRESSABLE.
const CHECK_ADDRESSABLE: u64 = 0x4d43_0004;

/// Asks; 0 without Valgrind.
fn ask(question: u64, first: u64, second: u64) -> u64 {
    let words = [question, first, second, 0, 0, 0];
    let mut answer = 0u64;
    // SAFETY: the rotations of rdi add up to 128 bits and the exchange is of a register with itself: a processor does
    // nothing. Valgrind reads the six words at rax and puts its answer into rdx. The requests made below change what
    // Valgrind knows of memory, never memory itself; a text that is to be printed is read like by any function.
    unsafe {
        core::arch::asm!(
            "rol rdi, 3",
            "rol rdi, 13",
            "rol rdi, 61",
            "rol rdi, 51",
            "xchg rbx, rbx",
            in("rax") words.as_ptr(),
            inout("rdx") answer,
            options(nostack),
        );
    }
    answer
}

/// True under Valgrind.
pub fn is_running() -> bool {
    ask(RUNNING, 0, 0) != 0
}

/// Code at `address` was changed.
pub fn code_changed(address: u64, bytes: u64) {
    ask(DISCARD_TRANSLATIONS, address, bytes);
}

/// Errors reported so far, all threads together.
pub fn errors() -> u64 {
    ask(COUNT_ERRORS, 0, 0)
}

/// From here on this thread's errors are not reported; calls nest.
pub fn hide_errors() {
    ask(CHANGE_DISABLEMENT, 1, 0);
}

/// Takes back one [`hide_errors`].
pub fn show_errors() {
    ask(CHANGE_DISABLEMENT, u64::MAX, 0);
}

/// Nobody may touch these bytes.
pub fn no_access(start: u64, bytes: u64) {
    if bytes > 0 {
        ask(NO_ACCESS, start, bytes);
    }
}

/// These bytes may be written, and must be before they are used.
pub fn undefined(start: u64, bytes: u64) {
    if bytes > 0 {
        ask(UNDEFINED, start, bytes);
    }
}

/// These bytes may be used.
pub fn defined(start: u64, bytes: u64) {
    if bytes > 0 {
        ask(DEFINED, start, bytes);
    }
}

/// True when all these bytes may be touched. Reports an error else: ask with errors hidden.
pub fn is_addressable(start: u64, bytes: u64) -> bool {
    bytes == 0 || ask(CHECK_ADDRESSABLE, start, bytes) == 0
}

/// Puts a sentence among the reports, in its place in their order. No `%` may stand in it.
pub fn say(sentence: &core::ffi::CStr) {
    // A va_list that nothing is taken from (System V ABI for amd64, 3.5.7: 24 bytes).
    let arguments = [0u64; 3];
    ask(PRINTF, sentence.as_ptr() as u64, core::ptr::from_ref(&arguments) as u64);
}

//! A mark: the program names a moment, for whoever watches it from outside.
//!
//! May be relied on: nothing is read, written or allocated, nothing is linked, and nothing of the arena is involved: a program
//! whose arenas are its own may set marks as well. Deliberately absent: any knowledge of who watches. Like the header
//! `arenascope_mark.h`, this defines a function that does nothing and has room for a jump; `arenascope run` finds it by its name.
#![allow(unsafe_code)] // Calls a function made in assembly.

// Weak, so that two versions of this crate may stand in one program; hidden, so that no library exports it.
#[cfg(all(target_arch = "x86_64", target_os = "linux", not(miri)))]
core::arch::global_asm!(
    ".pushsection .text.arenascope_mark_text,\"ax\",@progbits",
    ".weak arenascope_mark_text",
    ".hidden arenascope_mark_text",
    ".type arenascope_mark_text, @function",
    ".balign 16",
    "arenascope_mark_text:",
    // Five bytes that do nothing: room for the jump of whoever watches.
    ".byte 0x0f, 0x1f, 0x44, 0x00, 0x00",
    "ret",
    ".size arenascope_mark_text, . - arenascope_mark_text",
    ".popsection",
);

#[cfg(all(target_arch = "x86_64", target_os = "linux", not(miri)))]
unsafe extern "C" {
    /// `name` has `bytes` bytes, without a NUL at the end.
    fn arenascope_mark_text(name: *const u8, bytes: usize);
}

/// Names this moment: under `arenascope run` the bytes of every living arena are saved here, and `name` is a moment for `--at`,
/// `--from` and `--to`.
///
/// ```
/// arenascope::mark("before the second request");
/// // … `arenascope diff TRACE --from 'before the second request' --to end`
/// ```
///
/// A mark of the same name may be set often: the third one is `NAME@3`. Of the name 128 bytes are kept; at most 1 MiB of an arena and
/// 256 MiB in all are saved. Unwatched it costs a call that does nothing. It works in any program that is watched, whatever its
/// arenas are, as long as its symbols are there (`strip = true` takes them away). In C and C++ `arenascope_mark.h` is the
/// same. Watched on Linux on x86-64; elsewhere, and under Miri, it is nothing at all.
#[inline(always)]
pub fn mark(name: &str) {
    #[cfg(all(target_arch = "x86_64", target_os = "linux", not(miri)))]
    // SAFETY: the function above reads and writes nothing; who watches reads `name`'s own bytes, before it returns.
    unsafe {
        arenascope_mark_text(name.as_ptr(), name.len());
    }
    #[cfg(not(all(target_arch = "x86_64", target_os = "linux", not(miri))))]
    let _ = name;
}

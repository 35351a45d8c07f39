//! One byte of memory, read as a debugger reads it: whoever owns it, written or not.
//!
//! May be relied on: on x86-64, i686 and aarch64 the load is assembly that the compiler does not look into. It can conclude nothing from
//! it, neither that nobody has the byte exclusively nor that it was ever written, and the result is an ordinary byte. Elsewhere,
//! and under Miri, it is a volatile load, of which Rust promises less. Deliberately absent: reads of several bytes at one moment; the
//! owner may write meanwhile.
#![allow(unsafe_code)] // Reads through a raw address.

/// The byte at an address, at some moment of the call.
///
/// # Safety
/// The byte lies in readable memory.
#[inline]
pub(crate) unsafe fn byte(at: *const u8) -> u8 {
    #[cfg(all(any(target_arch = "x86_64", target_arch = "x86"), not(miri)))]
    {
        let byte: u8;
        // SAFETY: one load from readable memory (the caller's condition); nothing is written, stack and flags stay.
        unsafe {
            core::arch::asm!("mov {byte}, byte ptr [{at}]", at = in(reg) at, byte = out(reg_byte) byte,
                options(nostack, preserves_flags));
        }
        byte
    }
    #[cfg(all(target_arch = "aarch64", not(miri)))]
    {
        let byte: u32;
        // SAFETY: as above.
        unsafe {
            core::arch::asm!("ldrb {byte:w}, [{at}]", at = in(reg) at, byte = out(reg) byte,
                options(nostack, preserves_flags));
        }
        byte as u8
    }
    #[cfg(any(not(any(target_arch = "x86_64", target_arch = "x86", target_arch = "aarch64")), miri))]
    {
        // SAFETY: readable (the caller's condition).
        unsafe { at.read_volatile() }
    }
}

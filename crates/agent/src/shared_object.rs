//! What only the shared object has: the entry point, the end of all panics, an allocator that refuses, string functions.
//!
//! String functions of our own, hidden in the object, keep the C library's out of hook paths: those use vector registers
//! that callers compiled with -fipa-ra may rely on across a call.
#![allow(unsafe_code, reason = "the object's entry and its runtime")]

use core::alloc::{GlobalAlloc, Layout};
use core::ffi::{c_char, c_int};

core::arch::global_asm!(
    r#"
    .section .init_array,"aw"
    .balign 8
    .quad {begin}
    .text
    .macro hidden_function name
    .globl \name
    .hidden \name
    .type \name, @function
    .balign 16
    \name:
    .endm
    hidden_function memcpy
        mov rax, rdi
        mov rcx, rdx
        rep movsb
        ret
    hidden_function memmove
        mov rax, rdi
        mov rcx, rdx
        mov r8, rdi
        sub r8, rsi
        cmp r8, rdx
        jb 2f
        rep movsb
        ret
    2:  lea rdi, [rdi + rdx - 1]
        lea rsi, [rsi + rdx - 1]
        std
        rep movsb
        cld
        ret
    hidden_function memset
        mov r8, rdi
        mov eax, esi
        mov rcx, rdx
        rep stosb
        mov rax, r8
        ret
    hidden_function memcmp
        xor eax, eax
        xor ecx, ecx
    2:  cmp rcx, rdx
        je 3f
        movzx eax, byte ptr [rdi + rcx]
        movzx r8d, byte ptr [rsi + rcx]
        inc rcx
        sub eax, r8d
        je 2b
    3:  ret
    hidden_function bcmp
        jmp memcmp
    hidden_function strlen
        xor eax, eax
    2:  cmp byte ptr [rdi + rax], 0
        je 3f
        inc rax
        jmp 2b
    3:  ret
    "#,
    begin = sym begin,
);

/// The object's constructor. With `-z initfirst` it runs before `.preinit_array` of the program and before the
/// constructors of every other library.
extern "C" fn begin(_count: c_int, _arguments: *const *const c_char, environment: *mut *mut c_char) {
    crate::start::start(environment);
}

/// Never reached: no function of ours has an operation that can panic (a test reads the object's code), and what is left
/// are rustix's assertions about descriptors that the kernel has just returned. Were it reached all the same, there is
/// nothing safe to return to.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {
        core::hint::spin_loop();
    }
}

/// The agent allocates nothing: its tables are carved from a reservation. Linked crates only name the allocator.
struct Refuses;

// SAFETY: returning null for every request is allowed; nothing is ever handed out, so nothing is ever given back.
unsafe impl GlobalAlloc for Refuses {
    unsafe fn alloc(&self, _: Layout) -> *mut u8 {
        core::ptr::null_mut()
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}

#[global_allocator]
static ALLOCATOR: Refuses = Refuses;

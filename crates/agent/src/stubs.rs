//! The stubs every hooked function and every marker passes through, in assembly, and the frame they build.
//!
//! ```text
//!   patched function ── jmp ──► thunk (near page)            Around                       Before
//!                               push hook number             jmp  ascope_around           call ascope_before
//!                                                            trampoline:                  lea rsp, [rsp+8]
//!                                                              relocated instructions       relocated instructions
//!                                                              jmp back                     jmp back
//! ```
//!
//! `ascope_around` builds a frame, copies 512 bytes of stack arguments below it (not when the function is known to have
//! none), and *calls* the function. The return
//! address on the stack is never replaced, so longjmp out of a hooked function, C++ exceptions through it, recursion,
//! coroutines and shadow stacks need no care of ours: a frame that is left is simply gone, and the call frame
//! information below lets unwinders pass. Tried and dropped: replacing the return address (exceptions end in
//! std::terminate, longjmp leaves stale entries).
//!
//! A marker is no call: its compiler knows of none, so everything must be as it was, flags included, and the 128 bytes below the stack
//! pointer are the function's (the red zone of the System V ABI, 3.2.2). Its thunk:
//!
//! ```text
//!   nop, now jmp ──► thunk   lea rsp, [rsp-128]              P is rsp at the marker
//!                            push the address behind the nop  P-136
//!                            push hook number                 P-144
//!                            call ascope_marker               P-152
//!                            lea rsp, [rsp+144]
//!                            jmp behind the nop
//! ```
//!
//! The two stubs of functions save *every* caller-saved general register and xmm0-15, on both sides: within one file gcc -O2 keeps
//! values in caller-saved registers across calls to functions it knows not to touch them (-fipa-ra). The upper halves of
//! ymm and zmm are safe because nothing in this object is built with AVX. Flags are not saved: no compiler keeps them
//! across a call. The stack may arrive misaligned: gcc -O2 does not align it for a function of the same file that needs
//! no alignment (-fipa-stack-alignment), so nothing here assumes 16 bytes, handlers get an aligned stack of their own,
//! and the hooked function gets exactly the misalignment it would have had.
#![allow(unsafe_code, reason = "assembly, and the one thread-local word")]

use arenascope_record::{CallFrame, LibraryEvent, StubFrame, Thread};

/// Bytes of stack arguments that a function called by `ascope_around` may read.
pub const STACK_ARGUMENT_BYTES: usize = 512;
/// Bytes of [`Frame`].
const FRAME: usize = 512;
/// Bytes of the stack below the returned `main` that are left as they are while memory is scanned; a multiple of 16.
const BELOW_MAIN: usize = 16 << 10;

/// What a stub saved. Handlers read arguments from it and may change them; what stands in it when the handler returns is
/// what the registers will hold.
#[repr(C)]
pub struct Frame {
    xmm: [[u64; 2]; 16],
    /// Result register.
    pub rax: u64,
    /// Fourth argument.
    pub rcx: u64,
    /// Third argument.
    pub rdx: u64,
    /// Second argument.
    pub rsi: u64,
    /// First argument.
    pub rdi: u64,
    /// Fifth argument.
    pub r8: u64,
    /// Sixth argument.
    pub r9: u64,
    r10: u64,
    r11: u64,
    /// The caller's frame pointer.
    pub rbp: u64,
    /// Where `ascope_around` calls.
    pub target: u64,
    /// Hook number.
    pub hook: u64,
    /// Address of the return address on the stack.
    pub entry: u64,
    /// The handler's own notes from entry to return.
    pub stash: [u64; 7],
    /// What check mode notes from entry to return.
    pub check: [u64; 5],
    /// Argument registers at entry, for a function that is called again: rdi, rsi, rdx, rcx, r8, r9 and r10. At a marker: rbx, r12 to
    /// r15, 0, and the stack pointer there.
    kept: [u64; 7],
}

const _: () = assert!(size_of::<Frame>() == FRAME && core::mem::offset_of!(Frame, rax) == 256);
const _: () = assert!(core::mem::offset_of!(Frame, rbp) == 328 && core::mem::offset_of!(Frame, stash) == 360);

impl Frame {
    /// Keeps the argument registers as the caller had set them.
    pub fn keep_arguments(&mut self) {
        self.kept = [self.rdi, self.rsi, self.rdx, self.rcx, self.r8, self.r9, self.r10];
    }

    /// Sets the argument registers as [`Frame::keep_arguments`] found them.
    pub fn restore_arguments(&mut self) {
        [self.rdi, self.rsi, self.rdx, self.rcx, self.r8, self.r9, self.r10] = self.kept;
    }

    /// The register of argument `index` (0 = rdi … 5 = r9).
    pub fn argument_mut(&mut self, index: u8) -> Option<&mut u64> {
        Some(match index {
            0 => &mut self.rdi,
            1 => &mut self.rsi,
            2 => &mut self.rdx,
            3 => &mut self.rcx,
            4 => &mut self.r8,
            5 => &mut self.r9,
            _ => return None,
        })
    }

    /// Argument `index` (0 = rdi … 5 = r9); 0 beyond.
    pub fn argument(&self, index: u8) -> u64 {
        match index {
            0 => self.rdi,
            1 => self.rsi,
            2 => self.rdx,
            3 => self.rcx,
            4 => self.r8,
            5 => self.r9,
            _ => 0,
        }
    }

    /// Word `index` of the caller's stack above the return address. Only words that the stub has copied; 0 beyond.
    pub fn stack_word(&self, index: u8) -> u64 {
        if usize::from(index) >= STACK_ARGUMENT_BYTES / 8 {
            return 0;
        }
        let address = self.entry.wrapping_add(8).wrapping_add(u64::from(index).wrapping_mul(8));
        // SAFETY: the word lies within the 512 bytes above the return address, which `ascope_around` itself reads.
        unsafe { (address as *const u64).read() }
    }

    /// At a marker, a general register by the processor's number.
    pub fn general(&self, number: u8) -> u64 {
        let [rbx, r12, r13, r14, r15, _, rsp] = self.kept;
        match number {
            0 => self.rax,
            1 => self.rcx,
            2 => self.rdx,
            3 => rbx,
            4 => rsp,
            5 => self.rbp,
            6 => self.rsi,
            7 => self.rdi,
            8 => self.r8,
            9 => self.r9,
            10 => self.r10,
            11 => self.r11,
            12 => r12,
            13 => r13,
            14 => r14,
            15 => r15,
            _ => 0,
        }
    }

    /// Where the call came from.
    pub fn call(&self) -> CallFrame {
        // SAFETY: `entry` is the address of the return address that the hooked function was called with.
        let return_address = unsafe { (self.entry as *const u64).read() };
        CallFrame { return_address, frame_pointer: self.rbp, stack_pointer: self.entry }
    }
}

core::arch::global_asm!(
    r#"
    .section .tbss,"awT",@nobits
    .balign 8
    .globl ascope_thread
    .hidden ascope_thread
    .type ascope_thread, @object
    .size ascope_thread, 8
ascope_thread:
    .zero 8
    .globl ascope_thread_over
    .hidden ascope_thread_over
    .type ascope_thread_over, @object
    .size ascope_thread_over, 8
ascope_thread_over:
    .zero 8
    .globl ascope_fault
    .hidden ascope_fault
    .type ascope_fault, @object
    .size ascope_fault, 64
ascope_fault:
    .zero 64

    .text
    .macro ascope_save
        mov [rsp + 256], rax
        mov [rsp + 264], rcx
        mov [rsp + 272], rdx
        mov [rsp + 280], rsi
        mov [rsp + 288], rdi
        mov [rsp + 296], r8
        mov [rsp + 304], r9
        mov [rsp + 312], r10
        mov [rsp + 320], r11
        .set i, 0
        .irp r, xmm0,xmm1,xmm2,xmm3,xmm4,xmm5,xmm6,xmm7,xmm8,xmm9,xmm10,xmm11,xmm12,xmm13,xmm14,xmm15
        movups [rsp + i * 16], \r
        .set i, i + 1
        .endr
    .endm
    .macro ascope_restore below
        .set i, 0
        .irp r, xmm0,xmm1,xmm2,xmm3,xmm4,xmm5,xmm6,xmm7,xmm8,xmm9,xmm10,xmm11,xmm12,xmm13,xmm14,xmm15
        movups \r, [rsp + \below + i * 16]
        .set i, i + 1
        .endr
        mov rax, [rsp + \below + 256]
        mov rcx, [rsp + \below + 264]
        mov rdx, [rsp + \below + 272]
        mov rsi, [rsp + \below + 280]
        mov rdi, [rsp + \below + 288]
        mov r8, [rsp + \below + 296]
        mov r9, [rsp + \below + 304]
        mov r10, [rsp + \below + 312]
        mov r11, [rsp + \below + 320]
    .endm

    .balign 64
    .globl ascope_around
    .hidden ascope_around
    .type ascope_around, @function
ascope_around:
    .cfi_startproc
    .cfi_def_cfa_offset 16
    sub rsp, {frame}
    .cfi_adjust_cfa_offset {frame}
    ascope_save
    mov [rsp + 328], rbp
    mov rax, [rsp + {frame}]
    mov [rsp + 344], rax
    lea rax, [rsp + {frame} + 8]
    mov [rsp + 352], rax
    mov rbp, rsp
    .cfi_remember_state
    .cfi_def_cfa rbp, {cfa_around}
    .cfi_offset rbp, -({cfa_around} - 328)
    mov rdi, rsp
    and rsp, -16
    call {on_enter}
    mov rsp, rbp
    mov rbp, [rsp + 328]
    .cfi_restore_state
    cmp eax, 1
    je 7f
    ja 6f
5:
    sub rsp, 512
    .cfi_adjust_cfa_offset 512
    .set i, 0
    .rept 32
    movups xmm0, [rsp + 528 + {frame} + i * 16]
    movups [rsp + i * 16], xmm0
    .set i, i + 1
    .endr
    ascope_restore 512
    call [rsp + 848]
    .globl ascope_around_return_with_arguments
    .hidden ascope_around_return_with_arguments
ascope_around_return_with_arguments:
    lea rsp, [rsp + 512]
    .cfi_adjust_cfa_offset -512
    jmp 8f
6:
    ascope_restore 0
    call [rsp + 336]
    .globl ascope_around_return
    .hidden ascope_around_return
ascope_around_return:
8:
    ascope_save
    mov [rsp + 328], rbp
    mov rbp, rsp
    .cfi_remember_state
    .cfi_def_cfa rbp, {cfa_around}
    .cfi_offset rbp, -({cfa_around} - 328)
    mov rdi, rsp
    and rsp, -16
    call {on_exit}
    mov rsp, rbp
    mov rbp, [rsp + 328]
    .cfi_restore_state
    cmp eax, 1
    ja 6b
    jb 5b
    ascope_restore 0
    add rsp, {frame} + 8
    .cfi_adjust_cfa_offset -({frame} + 8)
    ret
    .cfi_adjust_cfa_offset {frame} + 8
7:
    mov rax, [rsp + 336]
    mov [rsp + {frame}], rax
    ascope_restore 0
    add rsp, {frame}
    .cfi_adjust_cfa_offset -{frame}
    ret
    .cfi_endproc
    .size ascope_around, . - ascope_around

    .balign 64
    .globl ascope_before
    .hidden ascope_before
    .type ascope_before, @function
ascope_before:
    .cfi_startproc
    .cfi_def_cfa_offset 24
    sub rsp, {frame} + 8
    .cfi_adjust_cfa_offset {frame} + 8
    ascope_save
    mov [rsp + 328], rbp
    mov rax, [rsp + {frame} + 16]
    mov [rsp + 344], rax
    lea rax, [rsp + {frame} + 24]
    mov [rsp + 352], rax
    mov rbp, rsp
    .cfi_remember_state
    .cfi_def_cfa rbp, {cfa_before}
    .cfi_offset rbp, -({cfa_before} - 328)
    mov rdi, rsp
    and rsp, -16
    call {on_before}
    mov rsp, rbp
    mov rbp, [rsp + 328]
    .cfi_restore_state
    ascope_restore 0
    add rsp, {frame} + 8
    .cfi_adjust_cfa_offset -({frame} + 8)
    ret
    .cfi_endproc
    .size ascope_before, . - ascope_before

    .balign 64
    .globl ascope_marker
    .hidden ascope_marker
    .type ascope_marker, @function
ascope_marker:
    .cfi_startproc
    .cfi_def_cfa_offset 152
    .cfi_offset rip, -136
    pushfq
    .cfi_adjust_cfa_offset 8
    cld
    lea rsp, [rsp - {frame}]
    .cfi_adjust_cfa_offset {frame}
    ascope_save
    mov [rsp + 328], rbp
    mov [rsp + 456], rbx
    mov [rsp + 464], r12
    mov [rsp + 472], r13
    mov [rsp + 480], r14
    mov [rsp + 488], r15
    mov qword ptr [rsp + 496], 0
    lea rax, [rsp + {frame} + 160]
    mov [rsp + 504], rax
    sub rax, 8
    mov [rsp + 352], rax
    mov rax, [rsp + {frame} + 16]
    mov [rsp + 344], rax
    mov rbp, rsp
    .cfi_remember_state
    .cfi_def_cfa rbp, {cfa_marker}
    .cfi_offset rbp, -({cfa_marker} - 328)
    mov rdi, rsp
    and rsp, -16
    call {on_marker}
    mov rsp, rbp
    mov rbp, [rsp + 328]
    .cfi_restore_state
    ascope_restore 0
    lea rsp, [rsp + {frame}]
    .cfi_adjust_cfa_offset -{frame}
    popfq
    .cfi_adjust_cfa_offset -8
    ret
    .cfi_endproc
    .size ascope_marker, . - ascope_marker

    .balign 64
    .globl ascope_thread_entry
    .hidden ascope_thread_entry
    .type ascope_thread_entry, @function
ascope_thread_entry:
    .cfi_startproc
    sub rsp, 8
    .cfi_adjust_cfa_offset 8
    call {thread_begin}
    add rsp, 8
    .cfi_adjust_cfa_offset -8
    mov rdi, rdx
    jmp rax
    .cfi_endproc
    .size ascope_thread_entry, . - ascope_thread_entry

    .balign 64
    .globl ascope_library_event
    .hidden ascope_library_event
    .type ascope_library_event, @function
ascope_library_event:
    .cfi_startproc
    mov rdx, rsp
    mov rcx, rbp
    jmp {on_library_event}
    .cfi_endproc
    .size ascope_library_event, . - ascope_library_event

    .balign 64
    .globl ascope_main_entry
    .hidden ascope_main_entry
    .type ascope_main_entry, @function
ascope_main_entry:
    .cfi_startproc
    push rbx
    .cfi_def_cfa_offset 16
    .cfi_offset rbx, -16
    push rdi
    push rsi
    push rdx
    sub rsp, 8
    .cfi_adjust_cfa_offset 32
    call {real_main}
    add rsp, 8
    pop rdx
    pop rsi
    pop rdi
    .cfi_adjust_cfa_offset -32
    call rax
    mov ebx, eax
    sub rsp, {below_main}
    .cfi_adjust_cfa_offset {below_main}
    call {main_returned}
    add rsp, {below_main}
    .cfi_adjust_cfa_offset -{below_main}
    mov eax, ebx
    pop rbx
    .cfi_adjust_cfa_offset -8
    ret
    .cfi_endproc
    .size ascope_main_entry, . - ascope_main_entry
    "#,
    on_enter = sym crate::hooks::on_enter,
    on_exit = sym crate::hooks::on_exit,
    on_before = sym crate::hooks::on_before,
    on_library_event = sym crate::library::on_event,
    on_marker = sym crate::hooks::on_marker,
    thread_begin = sym crate::process::thread_begin,
    real_main = sym crate::scan::real_main,
    main_returned = sym crate::scan::main_returned,
    below_main = const BELOW_MAIN,
    frame = const FRAME,
    cfa_around = const FRAME + 16,
    cfa_before = const FRAME + 32,
    cfa_marker = const FRAME + 160,
);

unsafe extern "C" {
    fn ascope_around();
    fn ascope_around_return();
    fn ascope_around_return_with_arguments();
    fn ascope_before();
    fn ascope_marker();
    fn ascope_thread_entry();
    fn ascope_main_entry();
    /// What the arena library calls: passes on where the call came from.
    pub fn ascope_library_event(context: u64, event: *const LibraryEvent);
}

/// Address of the stub for hooks seen on both sides.
pub fn around() -> u64 {
    ascope_around as *const () as u64
}

/// Address of the stub for hooks seen at entry.
pub fn before() -> u64 {
    ascope_before as *const () as u64
}

/// Address of the stub for markers.
pub fn marker() -> u64 {
    ascope_marker as *const () as u64
}

/// The first code of every thread the host creates: `ascope_thread_entry(node)`.
pub fn thread_entry() -> u64 {
    ascope_thread_entry as *const () as u64
}

/// What stands in for the program's `main` where memory is scanned: calls it, and [`crate::scan::main_returned`] so far below that
/// what `main` left on the stack is still there.
pub fn main_entry() -> u64 {
    ascope_main_entry as *const () as u64
}

/// How a backtrace recognises a call made by `ascope_around`, and finds the true return address.
pub fn stub_frame() -> StubFrame {
    // The slot that holds the label lies right below the frame, or below the copied arguments; the true return address
    // above frame and hook number.
    StubFrame {
        label: ascope_around_return as *const () as u64,
        distance: 8 + FRAME as u64 + 8,
        label_with_arguments: ascope_around_return_with_arguments as *const () as u64,
        argument_bytes: STACK_ARGUMENT_BYTES as u64,
    }
}

/// This thread's recorder state; null before its first event.
///
/// Initial-exec: the word lies in the static TLS block that the loader set aside, so reading it never calls
/// `__tls_get_addr`, which may call malloc.
#[inline(always)]
pub fn thread_word() -> *mut Thread {
    let thread: *mut Thread;
    // SAFETY: reads one word of this thread's static TLS block; the offset is the loader's.
    unsafe {
        core::arch::asm!(
            "mov {0}, qword ptr [rip + ascope_thread@GOTTPOFF]",
            "mov {0}, qword ptr fs:[{0}]",
            out(reg) thread,
            options(nostack, readonly, preserves_flags),
        );
    }
    thread
}

/// Sets [`thread_word`].
pub fn set_thread_word(thread: *mut Thread) {
    // SAFETY: writes one word of this thread's static TLS block, which nothing else uses.
    unsafe {
        core::arch::asm!(
            "mov {1}, qword ptr [rip + ascope_thread@GOTTPOFF]",
            "mov qword ptr fs:[{1}], {0}",
            in(reg) thread,
            out(reg) _,
            options(nostack, preserves_flags),
        );
    }
}

/// True when this thread's end was told: what is left is the C library's own tidying up.
#[inline(always)]
pub fn thread_over() -> bool {
    let over: u64;
    // SAFETY: reads one word of this thread's static TLS block; the offset is the loader's.
    unsafe {
        core::arch::asm!(
            "mov {0}, qword ptr [rip + ascope_thread_over@GOTTPOFF]",
            "mov {0}, qword ptr fs:[{0}]",
            out(reg) over,
            options(nostack, readonly, preserves_flags),
        );
    }
    over != 0
}

/// From now on [`thread_over`] is true in this thread.
pub fn set_thread_over() {
    // SAFETY: writes one word of this thread's static TLS block, which nothing else uses.
    unsafe {
        core::arch::asm!(
            "mov {1}, qword ptr [rip + ascope_thread_over@GOTTPOFF]",
            "mov qword ptr fs:[{1}], {0}",
            in(reg) 1u64,
            out(reg) _,
            options(nostack, preserves_flags),
        );
    }
}

/// This thread's 64 bytes for the last fault that the program handled itself; zeros at first.
pub fn fault_words() -> *mut u64 {
    let words: *mut u64;
    // SAFETY: computes the address of this thread's static TLS block; the offset is the loader's.
    unsafe {
        core::arch::asm!(
            "mov {0}, qword ptr fs:[0]",
            "add {0}, qword ptr [rip + ascope_fault@GOTTPOFF]",
            out(reg) words,
            options(nostack, readonly),
        );
    }
    words
}

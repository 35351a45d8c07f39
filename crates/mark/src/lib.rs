//! Markers: an allocator that is inlined away tells Arenascope what it does.
//!
//! Each function is one instruction that does nothing where it is called, and a note beside the program that says which registers its
//! arguments are in there. `arenascope run` turns the nop into a jump; nobody watching, the nop is all that runs. This is
//! `arenascope-mark.h` for Rust: the same notes (SystemTap's, provider `arenascope`), so perf, bpftrace and gdb can use them too.
//!
//! ```
//! /// bumpalo, watched.
//! struct Told<A>(A);
//!
//! impl<A> Told<A> {
//!     fn allocate(&self, size: usize, allocate: impl FnOnce(&A) -> *mut u8) -> *mut u8 {
//!         let block = allocate(&self.0);
//!         arenascope_mark::alloc(self, block, size, 8);
//!         block
//!     }
//!     fn reset(&mut self) {
//!         arenascope_mark::reset(self);
//!         // … and reset it.
//!     }
//! }
//! # let mut told = Told(());
//! # assert!(told.allocate(8, |_| std::ptr::null_mut()).is_null());
//! # told.reset();
//! ```
//!
//! Where to put them: [`alloc`], [`resize`], [`mark`], [`create`] behind what they tell, once the result is known; [`free`], [`rewind`],
//! [`reset`], [`destroy`] before it; under the arena's lock, if it has one. `arena` is any address that tells this arena from the others,
//! and stays the same while it lives: of what the arena's handle points at rather than of a handle that moves.
//!
//! May be relied on: nothing is read, written, allocated or linked; no dependency; every function may be called from anywhere. On other
//! systems than Linux on x86-64, and under Miri, they are nothing at all. Deliberately absent: any knowledge of who watches.
#![no_std]
#![allow(unsafe_code)] // One instruction of assembly, and the note that it leaves.
#![allow(clippy::pointers_in_nomem_asm_block, reason = "addresses are told here, and followed by nobody")]

/// One marker: a nop, and a note with the operands' registers. `$memory` says whether the compiler must have stored what is pending.
#[cfg(all(target_arch = "x86_64", target_pointer_width = "64", target_os = "linux", not(miri)))]
macro_rules! marker {
    ($role:literal, $arguments:literal, [$($name:ident = $value:expr),*], $($option:ident),*) => {
        marker!($role, $arguments, [$($name = $value),*], [], $($option),*)
    };
    ($role:literal, $arguments:literal, [$($name:ident = $value:expr),*], [$($number:ident = $known:expr),*], $($option:ident),*) => {
        // SAFETY: the instruction is a nop: it reads no operand, memory or flag, and writes none. Whoever watches puts a jump in its
        // place, to code that leaves every register, flag and byte of the program's as it was.
        unsafe {
            core::arch::asm!(
                "990: .byte 0x0f, 0x1f, 0x44, 0x00, 0x00",
                ".pushsection .note.stapsdt,\"?\",\"note\"",
                ".balign 4",
                ".4byte 992f-991f, 994f-993f, 3",
                "991: .asciz \"stapsdt\"",
                "992: .balign 4",
                "993: .8byte 990b",
                ".8byte _.stapsdt.base",
                ".8byte 0",
                ".asciz \"arenascope\"",
                concat!(".asciz \"", $role, "\""),
                concat!(".asciz \"", $arguments, "\""),
                "994: .balign 4",
                ".popsection",
                ".ifndef _.stapsdt.base",
                ".pushsection .stapsdt.base,\"aG\",\"progbits\",.stapsdt.base,comdat",
                ".weak _.stapsdt.base",
                ".hidden _.stapsdt.base",
                "_.stapsdt.base: .space 1",
                ".size _.stapsdt.base, 1",
                ".popsection",
                ".endif",
                $($name = in(reg) $value,)*
                $($number = const $known,)*
                options(att_syntax, nostack, preserves_flags $(, $option)*),
            );
        }
    };
}

/// Nothing.
#[cfg(not(all(target_arch = "x86_64", target_pointer_width = "64", target_os = "linux", not(miri))))]
macro_rules! marker {
    ($role:literal, $arguments:literal, [$($name:ident = $value:expr),*], $($option:ident),*) => {
        $(let _ = $value;)*
    };
    ($role:literal, $arguments:literal, [$($name:ident = $value:expr),*], [$($number:ident = $known:expr),*], $($option:ident),*) => {
        $(let _ = $value;)*
    };
}

/// True where the functions are more than nothing.
pub const MARKERS: bool =
    cfg!(all(target_arch = "x86_64", target_pointer_width = "64", target_os = "linux", not(miri)));

/// `arena` begins. `capacity` in bytes, 0 where it has none; of `name` 128 bytes are kept.
#[inline(always)]
pub fn create<A: ?Sized>(arena: *const A, capacity: usize, name: &str) {
    marker!(
        "create",
        "8@{a} 8@{b} 8@{c} 8@{d}",
        [a = arena.cast::<u8>(), b = capacity, c = name.as_ptr(), d = name.len()],
        readonly
    );
}

/// `block` of `size` bytes, aligned to `align`, was handed out; null: it was refused.
#[inline(always)]
pub fn alloc<A: ?Sized, B: ?Sized>(arena: *const A, block: *const B, size: usize, align: usize) {
    marker!(
        "alloc",
        "8@{a} 8@{b} 8@{c} 8@{d}",
        [a = arena.cast::<u8>(), b = block.cast::<u8>(), c = size, d = align],
        nomem
    );
}

/// A block for a `T` was handed out, as by [`alloc`] with its size and alignment: numbers that take no register.
#[inline(always)]
pub fn alloc_value<A: ?Sized, T>(arena: *const A, block: *const T) {
    marker!(
        "alloc",
        "8@{a} 8@{b} 8@${c} 8@${d}",
        [a = arena.cast::<u8>(), b = block],
        [c = size_of::<T>(), d = align_of::<T>()],
        nomem
    );
}

/// The block at `old` lies at `new` now and has `size` bytes; null: it was refused, and the old one is what it was.
#[inline(always)]
pub fn resize<A: ?Sized, B: ?Sized, C: ?Sized>(arena: *const A, old: *const B, new: *const C, size: usize) {
    marker!(
        "resize",
        "8@{a} 8@{b} 8@{c} 8@{d}",
        [a = arena.cast::<u8>(), b = old.cast::<u8>(), c = new.cast::<u8>(), d = size],
        nomem
    );
}

/// `block` is about to be given back, by itself.
#[inline(always)]
pub fn free<A: ?Sized, B: ?Sized>(arena: *const A, block: *const B) {
    marker!("free", "8@{a} 8@{b}", [a = arena.cast::<u8>(), b = block.cast::<u8>()], nomem);
}

/// The cursor was saved: `mark` is what a later [`rewind`] will be given.
#[inline(always)]
pub fn mark<A: ?Sized>(arena: *const A, mark: usize) {
    marker!("mark", "8@{a} 8@{b}", [a = arena.cast::<u8>(), b = mark], nomem);
}

/// Every block since `mark` is about to be gone.
#[inline(always)]
pub fn rewind<A: ?Sized>(arena: *const A, mark: usize) {
    marker!("rewind", "8@{a} 8@{b}", [a = arena.cast::<u8>(), b = mark], nomem);
}

/// Every block is about to be gone; the arena stays. Its bytes are captured as they are here.
#[inline(always)]
pub fn reset<A: ?Sized>(arena: *const A) {
    marker!("reset", "8@{a}", [a = arena.cast::<u8>()], readonly);
}

/// The arena is about to end. Its bytes are captured as they are here.
#[inline(always)]
pub fn destroy<A: ?Sized>(arena: *const A) {
    marker!("destroy", "8@{a}", [a = arena.cast::<u8>()], readonly);
}

/// Names this moment: the bytes of every living arena are captured, and `name` is a moment for `--at`, `--from` and `--to`.
#[inline(always)]
pub fn moment(name: &str) {
    marker!("moment", "8@{a} 8@{b}", [a = name.as_ptr(), b = name.len()], readonly);
}

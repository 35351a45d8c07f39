//! The recorder's own memory in the target: one reservation taken at the start, carved once, never returned.
//!
//! Taken before the program runs, so that no later table of ours lands in the hole of an arena the program unmapped. Mapped
//! as memory that may grow down, as a stack may: the kernel does not count that as data, so a host that limits its data
//! (RLIMIT_DATA) has the same room as without us. Tried and dropped: a shared mapping, not counted either, but forked
//! children would write into their parent's tables. It never grows: the page below it is taken.
#![allow(unsafe_code, reason = "carves typed tables out of one anonymous mapping")]

use core::sync::atomic::AtomicU32;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous};

const PAGE: usize = 4096;

/// Types for which all-zero bytes are a valid value and which hold no references.
///
/// # Safety
/// Implementors promise exactly that.
pub unsafe trait Zeroed {}

// SAFETY: an atomic integer is its bytes.
unsafe impl Zeroed for core::sync::atomic::AtomicU64 {}
// SAFETY: an atomic integer is its bytes.
unsafe impl Zeroed for AtomicU32 {}
// SAFETY: an integer is its bytes.
unsafe impl Zeroed for u32 {}
// SAFETY: a byte is its byte.
unsafe impl Zeroed for u8 {}

/// An anonymous, lazily touched reservation.
pub struct Reserve {
    start: usize,
    next: usize,
    end: usize,
}

impl Reserve {
    /// Reserves `bytes` of address space. Pages cost memory only when touched.
    pub fn new(bytes: usize) -> Option<Reserve> {
        let bytes = bytes.checked_next_multiple_of(PAGE)?;
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        let whole = bytes.checked_add(PAGE)?;
        // SAFETY: a fresh anonymous mapping at an address of the kernel's choice touches no existing memory.
        let floor = unsafe { mmap_anonymous(core::ptr::null_mut(), whole, ProtFlags::empty(), flags) }.ok()? as usize;
        let base = floor.checked_add(PAGE)?;
        let flags = flags | MapFlags::FIXED | MapFlags::GROWSDOWN;
        // SAFETY: replaces all but the first page of the mapping just made, which nobody knows of.
        unsafe { mmap_anonymous(base as *mut _, bytes, ProtFlags::READ | ProtFlags::WRITE, flags) }.ok()?;
        // SAFETY: the range is the mapping made above; the advice only keeps it out of core dumps.
        let _ = unsafe { madvise(base as *mut _, bytes, Advice::LinuxDontDump) };
        Some(Reserve { start: base, next: base, end: base.checked_add(bytes)? })
    }

    /// First address and one past the last.
    pub fn range(&self) -> (u64, u64) {
        (self.start as u64, self.end as u64)
    }

    /// The next `count` values of `T`, all zero, for the life of the process. `None` when the reservation is used up.
    pub fn take<T: Zeroed>(&mut self, count: usize) -> Option<&'static mut [T]> {
        let start = self.next.checked_next_multiple_of(align_of::<T>().max(64))?;
        let end = start.checked_add(size_of::<T>().checked_mul(count)?)?;
        if end > self.end {
            return None;
        }
        self.next = end;
        // SAFETY: start..end lies in the mapping of `new` (checked above), was never handed out before (`next` moves past
        // it), is aligned for T, and zero bytes are a valid T (Zeroed). The mapping is never released.
        Some(unsafe { core::slice::from_raw_parts_mut(start as *mut T, count) })
    }

    /// One `T`, all zero.
    pub fn take_one<T: Zeroed>(&mut self) -> Option<&'static mut T> {
        self.take::<T>(1)?.first_mut()
    }
}

/// What reads zero in a forked child.
#[repr(C)]
pub struct WipedOnFork {
    /// Set in a process that has a trace.
    pub live: AtomicU32,
    /// Nonzero while any of the next is.
    pub owes_marks: AtomicU32,
    /// Signals that came and could not set their mark yet, by their number.
    pub owed_marks: [AtomicU32; 65],
}

/// A page that reads zero in a forked child: how any kind of fork is noticed without a system call.
pub fn page_wiped_on_fork() -> Option<&'static WipedOnFork> {
    // SAFETY: a fresh anonymous mapping at an address of the kernel's choice touches no existing memory.
    let page =
        unsafe { mmap_anonymous(core::ptr::null_mut(), 4096, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE) }
            .ok()?;
    // SAFETY: the range is the mapping made above. Where the kernel lacks the advice (before 4.14) the page is merely
    // copied, and forks are seen by the fork hook alone.
    let _ = unsafe { madvise(page, 4096, Advice::LinuxWipeOnFork) };
    // SAFETY: the page is mapped read-write for the life of the process and zeros are valid atomic integers, which take
    // less than a page.
    Some(unsafe { &*page.cast() })
}

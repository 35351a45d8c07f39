//! The mapped trace file: where segments come from, how space is had before a page is touched, where losses are counted.
//!
//! The file is sparse and mapped whole. Before the first byte of a segment is written, `MADV_POPULATE_WRITE` makes the
//! file system allocate it: on a full disk that call fails, and a plain store would be SIGBUS. No descriptor is kept, so
//! nothing of ours shows in the host's descriptor table, and neither chroot, setuid nor closefrom gets between us and the
//! file. Tried and dropped: fallocate by a kept descriptor (visible, and closed by daemons), fallocate by path (fails
//! after chroot and setuid).
#![allow(unsafe_code, reason = "maps the trace file and writes into it")]

use arenascope_trace::layout;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use rustix::fd::BorrowedFd;
use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap};

/// A mapped trace.
///
/// # Invariants
/// I1: `base..base + bytes` is a shared, writable mapping of the trace file, made by `map`, never unmapped.
/// I2: the header page is allocated in the file (the launcher wrote it).
#[derive(Clone, Copy)]
pub struct Space {
    base: u64,
    bytes: u64,
    allocated: bool,
}

impl Space {
    /// Maps the trace in `file`. Tries less of it when the address space is limited (RLIMIT_AS); what does not fit
    /// later is counted as lost.
    pub fn map(file: BorrowedFd<'_>, bytes: u64, allocated: bool) -> Result<Space, Errno> {
        let smallest = layout::HEADER_BYTES as u64 + layout::SEGMENT_BYTES as u64;
        let mut bytes = bytes;
        loop {
            // SAFETY: a fresh mapping at an address of the kernel's choice touches no existing memory.
            let mapped = unsafe {
                mmap(
                    core::ptr::null_mut(),
                    bytes as usize,
                    ProtFlags::READ | ProtFlags::WRITE,
                    MapFlags::SHARED | MapFlags::NORESERVE,
                    file,
                    0,
                )
            };
            match mapped {
                Ok(base) => {
                    // SAFETY: the range is the mapping just made. A forked child must not write here (it has a trace of
                    // its own), and a core dump needs no copy of the trace.
                    let _ = unsafe { madvise(base, bytes as usize, Advice::LinuxDontFork) };
                    // SAFETY: as above.
                    let _ = unsafe { madvise(base, bytes as usize, Advice::LinuxDontDump) };
                    return Ok(Space { base: base as u64, bytes, allocated });
                }
                Err(errno) if bytes / 16 < smallest => return Err(errno),
                Err(_) => bytes /= 16,
            }
        }
    }

    /// A word of the header that this process writes.
    #[inline]
    pub fn word(&self, offset: usize) -> &'static AtomicU64 {
        assert_offset(offset);
        // SAFETY: the offset is below HEADER_BYTES and a multiple of 8 (assert_offset), so the word lies in the mapped,
        // allocated header page (I1, I2) and is aligned. All writers use atomic stores.
        unsafe { &*((self.base + offset as u64) as *const AtomicU64) }
    }

    /// Takes `count` consecutive segment slots. They may lie past the file's end: `ready` tells.
    pub fn take_slots(&self, count: u32) -> u32 {
        let first = self.word(layout::live::NEXT_SEGMENT).fetch_add(u64::from(count), Relaxed);
        u32::try_from(first).unwrap_or(u32::MAX)
    }

    /// Gives slots `slot..slot + count` space in the file; their address, or `None` when there is no room. A system
    /// call for each; about 50 µs a segment, most of it the kernel zeroing pages.
    pub fn ready(&self, slot: u32, count: u32) -> Option<u64> {
        let offset = layout::segment_offset(slot);
        let bytes = u64::from(count).checked_mul(layout::SEGMENT_BYTES as u64)?;
        if offset.checked_add(bytes)? > self.bytes {
            return None;
        }
        let address = self.base + offset;
        if !self.allocated {
            // SAFETY: the range lies in the mapping (I1, checked above); populating changes no byte.
            unsafe { madvise(address as *mut _, bytes as usize, Advice::LinuxPopulateWrite) }.ok()?;
        }
        Some(address)
    }
}

/// Makes `Space::word` total: a wrong constant is a build error, not a wild store.
#[inline]
fn assert_offset(offset: usize) {
    debug_assert!(offset.is_multiple_of(8) && offset < layout::HEADER_BYTES);
}

/// Copies `bytes` to `address`, which the caller got from [`Space::ready`]. `offset + bytes.len()` must not pass the
/// segment's end.
pub(crate) fn put(address: u64, offset: usize, bytes: &[u8]) {
    debug_assert!(offset + bytes.len() <= layout::SEGMENT_BYTES);
    // SAFETY: `address` is a segment made writable and allocated by `Space::ready`, owned by this thread alone since
    // slots are handed out once; the range stays inside the segment (callers write headers and counted payloads).
    unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), (address as *mut u8).add(offset), bytes.len()) }
}

/// The payload of the segment at `address`, from `from` on.
pub(crate) fn payload(address: u64, from: usize) -> &'static mut [u8] {
    let from = from.min(layout::SEGMENT_PAYLOAD);
    // SAFETY: as in `put`; from..SEGMENT_PAYLOAD lies inside the segment. One thread writes a segment, and it holds one
    // such slice at a time (each caller drops it before the next call).
    unsafe {
        core::slice::from_raw_parts_mut(
            (address as *mut u8).add(layout::SEGMENT_HEADER_BYTES + from),
            layout::SEGMENT_PAYLOAD - from,
        )
    }
}

/// Publishes a segment's committed length and checksum: the one store that makes a record part of the trace.
#[inline(always)]
pub(crate) fn commit(address: u64, used: u32, crc: u32) {
    // SAFETY: the commit word lies in the header of a segment from `Space::ready`, 8-aligned by layout. Volatile keeps
    // it behind the record's bytes: x86 keeps stores in order, and the compiler fence keeps the compiler from moving
    // them across, so a kill at any instant finds whole records only.
    unsafe {
        core::sync::atomic::compiler_fence(core::sync::atomic::Ordering::Release);
        ((address + layout::segment::COMMIT as u64) as *mut u64).write_volatile(layout::commit_word(used, crc));
    }
}

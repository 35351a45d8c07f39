//! The mapped trace: where segments come from, how space is had before a page is touched, where losses are counted.
//!
//! What is mapped is a file, or memory that the launcher copies to one and takes back (`cli/run/drain.rs`). Then a live word
//! says how many segments may take memory at once, and [`Space::take_slots`] keeps to it: a launcher that falls behind
//! costs events, which are counted, and never the host's time. To this side both are a file; it is called so below.
//!
//! The file is sparse, and mapped in *windows* as it fills: the first of 4 MiB, each further one as large as all before it
//! together, 64 MiB at most. So an address space that the host limits (RLIMIT_AS) keeps room for the host, and `mlockall`
//! finds little to lock. Before the first byte of a segment is written, `MADV_POPULATE_WRITE` makes the file system
//! allocate it: on a full disk that call fails, and a plain store would be SIGBUS. No descriptor is kept, so nothing of
//! ours shows in the host's descriptor table, and neither chroot, setuid nor closefrom gets between us and the file: a
//! further window is a second mapping of the last page of the one before, by `mremap` from a length of 0, only longer.
//!
//! Tried and dropped: fallocate by a kept descriptor (visible, and closed by daemons), fallocate by path (fails after
//! chroot and setuid), the whole file as one mapping (under a limit nothing was left for the host, and `mlockall` filled
//! memory), windows that all begin with the file (twice the address space, for no gain).
#![allow(unsafe_code, reason = "maps the trace file and writes into it")]

use arenascope_trace::layout;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};
use rustix::fd::BorrowedFd;
use rustix::io::Errno;
use rustix::mm::{
    Advice, MapFlags, MprotectFlags, MremapFlags, ProtFlags, madvise, mmap, mprotect, mremap, munlock, munmap,
};

const PAGE: u64 = 4096;
/// Segments of the first window; the next windows double what is mapped until they have `LARGEST` segments each.
const FIRST: u32 = (4 << 20) / layout::SEGMENT_BYTES as u32;
const LARGEST: u32 = (64 << 20) / layout::SEGMENT_BYTES as u32;
/// Windows up to the one that reaches `LARGEST` segments.
const DOUBLING: usize = (LARGEST / FIRST).ilog2() as usize + 1;
/// Enough for 64 GiB.
const WINDOWS: usize = DOUBLING + 1024;

/// Where each window's first segment lies; 0: not mapped. Of the one trace that this process writes.
///
/// # Invariants
/// I3: a nonzero entry `w` is the address of a shared mapping of the file's bytes from `first_of(w)`'s on, of
/// `window_bytes(w)` bytes as far as the file goes, never unmapped in this process, writable unless `map_ahead` made it,
/// where `ready` makes segments writable. The page before it is mapped too.
static WINDOW: [AtomicU64; WINDOWS] = [const { AtomicU64::new(0) }; WINDOWS];

/// Some windows were made by `map_ahead`.
static AHEAD: AtomicBool = AtomicBool::new(false);

/// The window that holds a segment.
const fn window_of(slot: u32) -> usize {
    match slot / FIRST {
        0 => 0,
        _ if slot < LARGEST => (slot / FIRST).ilog2() as usize + 1,
        _ => DOUBLING - 1 + (slot / LARGEST) as usize,
    }
}

/// The first segment of a window.
const fn first_of(window: usize) -> u32 {
    match window {
        0 => 0,
        _ if window < DOUBLING => FIRST << (window - 1),
        _ => (window - DOUBLING + 1) as u32 * LARGEST,
    }
}

/// Bytes of a window's segments.
const fn window_bytes(window: usize) -> u64 {
    (first_of(window + 1) - first_of(window)) as u64 * layout::SEGMENT_BYTES as u64
}

/// A mapped trace.
///
/// # Invariants
/// I1: `base` is the address of the file's header page in the first window (I3), which `map` made.
/// I2: the header page is allocated in the file (the launcher wrote it).
#[derive(Clone, Copy)]
pub struct Space {
    base: u64,
    bytes: u64,
    allocated: bool,
}

/// A forked child must not write here (it has a trace of its own), and a core dump needs no copy of the trace.
fn keep_private(base: *mut core::ffi::c_void, bytes: usize) {
    // SAFETY: callers pass a mapping that they just made; the advice changes no byte of it.
    let _ = unsafe { madvise(base, bytes, Advice::LinuxDontFork) };
    // SAFETY: as above.
    let _ = unsafe { madvise(base, bytes, Advice::LinuxDontDump) };
}

impl Space {
    /// Maps the beginning of the trace in `file`, which has `bytes`. What does not fit later is counted as lost. One
    /// trace a process: windows of an earlier one are forgotten (in a forked child they are not mapped).
    pub fn map(file: BorrowedFd<'_>, bytes: u64, allocated: bool) -> Result<Space, Errno> {
        let length = bytes.min(layout::HEADER_BYTES as u64 + window_bytes(0)) as usize;
        let flags = MapFlags::SHARED | MapFlags::NORESERVE;
        // SAFETY: a fresh mapping at an address of the kernel's choice touches no existing memory.
        let base = unsafe { mmap(core::ptr::null_mut(), length, ProtFlags::READ | ProtFlags::WRITE, flags, file, 0) }?;
        keep_private(base, length);
        for window in &WINDOW {
            window.store(0, Relaxed);
        }
        let [first, ..] = &WINDOW;
        first.store(base as u64 + layout::HEADER_BYTES as u64, Release);
        Ok(Space { base: base as u64, bytes, allocated })
    }

    /// Maps the windows up to `ahead` bytes of the file now, while its descriptor is there: Valgrind refuses an `mremap`
    /// from a length of 0, and the trace would end with the first window. Without access until a segment is needed:
    /// memcheck would search all of it for pointers, and so make pages of what is a hole in the file. What cannot be mapped
    /// is counted as lost later.
    pub fn map_ahead(&self, file: BorrowedFd<'_>, ahead: u64) {
        for (window, place) in WINDOW.iter().enumerate().skip(1) {
            let first = layout::segment_offset(first_of(window));
            // The page before the window is mapped too (I3).
            let from = first - PAGE;
            if first >= self.bytes.min(ahead) {
                return;
            }
            let length = (PAGE + window_bytes(window)) as usize;
            let flags = MapFlags::SHARED | MapFlags::NORESERVE;
            // SAFETY: a fresh mapping at an address of the kernel's choice touches no existing memory.
            let mapped = unsafe { mmap(core::ptr::null_mut(), length, ProtFlags::empty(), flags, file, from) };
            let Ok(base) = mapped else { return };
            keep_private(base, length);
            AHEAD.store(true, Relaxed);
            place.store(base as u64 + PAGE, Release);
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

    /// Takes `count` consecutive segment slots. They may lie past the file's end: `ready` tells. `None`, and nothing taken:
    /// more would be in memory than may be. No system call.
    pub fn take_slots(&self, count: u32) -> Option<u32> {
        self.take(count, count).map(|(first, _)| first)
    }

    /// As [`take_slots`](Space::take_slots), and fewer where there is no room for all: the first, and how many.
    pub(crate) fn take_up_to(&self, most: u32) -> Option<(u32, u32)> {
        self.take(1, most)
    }

    fn take(&self, least: u32, most: u32) -> Option<(u32, u32)> {
        let next = self.word(layout::live::NEXT_SEGMENT);
        let mut taken = next.load(Relaxed);
        loop {
            let count = most.min(self.room(taken));
            if count < least {
                return None;
            }
            // By comparing: threads that find the last room together must not take it twice.
            match next.compare_exchange_weak(taken, taken.wrapping_add(u64::from(count)), Relaxed, Relaxed) {
                Ok(first) => return Some((u32::try_from(first).unwrap_or(u32::MAX), count)),
                Err(now) => taken = now,
            }
        }
    }

    /// How many slots may be taken when `taken` are.
    fn room(&self, taken: u64) -> u32 {
        let most = self.word(layout::live::SEGMENTS_AT_ONCE).load(Relaxed);
        if most == 0 {
            return u32::MAX;
        }
        let gone = self.word(layout::live::SEGMENTS_DRAINED).load(Relaxed);
        let gone = gone.saturating_add(self.word(layout::live::SEGMENTS_GIVEN_UP).load(Relaxed));
        u32::try_from(most.saturating_sub(taken.saturating_sub(gone))).unwrap_or(u32::MAX)
    }

    /// Slots that were taken and that nobody will write into.
    pub(crate) fn give_up(&self, count: u32) {
        self.word(layout::live::SEGMENTS_GIVEN_UP).fetch_add(u64::from(count), Relaxed);
    }

    /// Gives a slot space in the file; its address, or `None` when there is no room, on the disk or in the address
    /// space. A system call; about 50 µs, most of it the kernel zeroing pages.
    pub fn ready(&self, slot: u32) -> Option<u64> {
        if layout::segment_offset(slot).checked_add(layout::SEGMENT_BYTES as u64)? > self.bytes {
            return None;
        }
        let wanted = window_of(slot);
        if WINDOW.get(wanted)?.load(Relaxed) == 0 {
            for window in 1..=wanted {
                map_window(window)?;
            }
        }
        let address = self.address(slot)?;
        if AHEAD.load(Relaxed) {
            let access = MprotectFlags::READ | MprotectFlags::WRITE;
            // SAFETY: the segment lies in its window (I3), whole pages of it (layout); access is only added.
            unsafe { mprotect(address as *mut _, layout::SEGMENT_BYTES, access) }.ok()?;
        }
        if !self.allocated {
            // SAFETY: the segment lies in its window (I3) and in the file (checked above); populating changes no byte.
            unsafe { madvise(address as *mut _, layout::SEGMENT_BYTES, Advice::LinuxPopulateWrite) }.ok()?;
        }
        Some(address)
    }

    /// Where a slot lies that [`ready`](Space::ready) has been asked for. No system call.
    pub fn address(&self, slot: u32) -> Option<u64> {
        let window = window_of(slot);
        // Acquire: pairs with the Release of whoever mapped the window.
        let start = WINDOW.get(window)?.load(Acquire);
        let inside = slot.checked_sub(first_of(window))?;
        (start != 0).then(|| start.wrapping_add(u64::from(inside).wrapping_mul(layout::SEGMENT_BYTES as u64)))
    }
}

/// Maps a window, unless it is; `None` when the address space has no room. The window before it must be mapped.
#[cold]
fn map_window(window: usize) -> Option<()> {
    let place = WINDOW.get(window)?;
    if place.load(Relaxed) != 0 {
        return Some(());
    }
    let before = window.checked_sub(1)?;
    let end = WINDOW.get(before)?.load(Acquire).checked_add(window_bytes(before))?;
    let last_page = end.checked_sub(PAGE)? as *mut _;
    let bytes = (PAGE + window_bytes(window)) as usize;
    // Memory that the host has locked (mlockall) would be locked and filled in the new window too.
    // SAFETY: the page lies in the window before (I3); unlocking changes no byte.
    let _ = unsafe { munlock(last_page, PAGE as usize) };
    // SAFETY: from an old length of 0 of a shared mapping, mremap makes a second mapping at an address of the kernel's
    // choice and leaves the old one as it is (mremap(2)).
    let mapped = unsafe { mremap(last_page, 0, bytes, MremapFlags::MAYMOVE) }.ok()?;
    keep_private(mapped, bytes);
    // Release: pairs with the Acquire in `address`.
    if place.compare_exchange(0, mapped as u64 + PAGE, Release, Relaxed).is_err() {
        // Another thread was first.
        // SAFETY: the mapping was made above, and nobody has been told of it.
        let _ = unsafe { munmap(mapped, bytes) };
    }
    Some(())
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
    // A header says that the writer's segment before it is finished: the last commit there must not come after it. x86 keeps
    // stores in order, this the compiler.
    core::sync::atomic::compiler_fence(core::sync::atomic::Ordering::Release);
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

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::os::fd::AsRawFd;

    fn descriptor(file: &std::fs::File) -> BorrowedFd<'_> {
        // SAFETY: `file` is open as long as what is returned may be used.
        unsafe { BorrowedFd::borrow_raw(file.as_raw_fd()) }
    }

    #[test]
    fn windows_follow_each_other_without_a_gap() {
        let mut next = 0u64;
        for window in 0..WINDOWS - 1 {
            let first = first_of(window);
            assert_eq!(layout::segment_offset(first), layout::HEADER_BYTES as u64 + next, "window {window}");
            assert_eq!(window_of(first), window);
            assert!(first == 0 || window_of(first - 1) == window - 1);
            next += window_bytes(window);
        }
        assert!(next >= (64 << 30) - (64 << 20));
    }

    #[test]
    fn no_more_segments_are_taken_than_may_be_in_memory_whoever_takes_them() {
        let path = std::env::temp_dir().join(std::format!("arenascope-room-{}", std::process::id()));
        let file = std::fs::OpenOptions::new().read(true).write(true).create_new(true).open(&path).expect("a file");
        std::fs::remove_file(&path).expect("removes");
        file.set_len(1 << 20).expect("sparse");
        let space = Space::map(descriptor(&file), 1 << 20, false).expect("maps");
        let set = |word, value| space.word(word).store(value, Relaxed);
        assert_eq!((space.take_slots(1), space.take_slots(100)), (Some(0), Some(1)), "without a bound");
        set(layout::live::SEGMENTS_AT_ONCE, 101);
        assert_eq!((space.take_slots(1), space.take_up_to(5)), (None, None));
        set(layout::live::SEGMENTS_DRAINED, 10);
        assert_eq!((space.take_slots(11), space.take_slots(2)), (None, Some(101)));
        space.give_up(2);
        assert_eq!(space.take_up_to(256), Some((103, 10)), "what there is");
        set(layout::live::SEGMENTS_DRAINED, 5113);
        set(layout::live::SEGMENTS_AT_ONCE, 5000);
        let takers: std::vec::Vec<_> = (0..4)
            .map(|_| std::thread::spawn(move || (0..5000).filter(|_| space.take_slots(1).is_some()).count()))
            .collect();
        let taken: usize = takers.into_iter().map(|taker| taker.join().expect("ends")).sum();
        // 113 were taken before, 5115 are gone.
        assert_eq!((taken, space.word(layout::live::NEXT_SEGMENT).load(Relaxed)), (10_002, 10_115));
        assert_eq!(space.take_slots(1), None);
    }

    #[test]
    fn segments_of_all_windows_are_the_files() {
        let path = std::env::temp_dir().join(std::format!("arenascope-space-{}", std::process::id()));
        let file = std::fs::OpenOptions::new().read(true).write(true).create_new(true).open(&path).expect("a file");
        std::fs::remove_file(&path).expect("removes");
        file.set_len(1 << 30).expect("sparse");
        let borrowed = descriptor(&file);
        let space = Space::map(borrowed, 1 << 30, false).expect("maps");
        // Those of the first 100 MB while the descriptor is at hand, the others as they are needed.
        space.map_ahead(borrowed, 100_000_000);
        let mapped = |slot| space.address(slot).is_some();
        assert!(mapped(FIRST) && mapped(LARGEST) && !mapped(2 * LARGEST));
        let slots = [0, FIRST - 1, FIRST, 3 * FIRST, LARGEST - 1, LARGEST, 5 * LARGEST + 7];
        for slot in slots {
            let address = space.ready(slot).expect("room");
            put(address, 0, &slot.to_le_bytes());
        }
        assert_eq!(space.ready(u32::MAX), None, "past the file's end");
        for slot in slots {
            use std::os::unix::fs::FileExt;
            let mut bytes = [0; 4];
            file.read_exact_at(&mut bytes, layout::segment_offset(slot)).expect("reads");
            assert_eq!(u32::from_le_bytes(bytes), slot);
        }
    }
}

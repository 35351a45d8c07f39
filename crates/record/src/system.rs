//! Questions to the kernel that have no wrapper: reading memory that may not be there, and the process's own map.
#![allow(unsafe_code, reason = "two raw system calls")]

use rustix::fs::{Mode, OFlags, open};

/// process_vm_readv and process_vm_writev (arch/x86/entry/syscalls/syscall_64.tbl).
const READ: i64 = 310;
const WRITE: i64 = 311;

/// Copies between ranges (address and bytes) of this process: with [`READ`] from the `far` to the `near` ones, with [`WRITE`] the other
/// way. Stops at the first byte that cannot be reached instead of faulting. Returns the bytes copied; 0 also where the kernel forbids the
/// call, or may (seccomp).
///
/// # Safety
/// The bytes that are written to must be the caller's alone.
unsafe fn copy(call: i64, pid: u32, near: &[[u64; 2]], far: &[[u64; 2]]) -> usize {
    if crate::quiet::is_on() {
        return 0;
    }
    let result: i64;
    // SAFETY: both calls take lists of iovecs, as which pairs of words are laid out; with our own pid both sides are our memory,
    // which the kernel reaches with faults turned into errors; what is written is the caller's (contract).
    unsafe {
        core::arch::asm!(
            "syscall",
            inlateout("rax") call => result,
            in("rdi") u64::from(pid),
            in("rsi") near.as_ptr(),
            in("rdx") near.len() as u64,
            in("r10") far.as_ptr(),
            in("r8") far.len() as u64,
            in("r9") 0u64,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    usize::try_from(result).unwrap_or(0)
}

/// Copies `to.len()` bytes from `address` in this process. Stops at the first unreadable page instead of faulting.
/// Returns the bytes copied; 0 also where the kernel forbids the call, or may (seccomp).
pub fn read_own_memory(pid: u32, address: u64, to: &mut [u8]) -> usize {
    let bytes = to.len();
    // SAFETY: `to` is exclusively borrowed.
    unsafe { copy(READ, pid, &[[to.as_mut_ptr() as u64, bytes as u64]], &[[address, bytes as u64]]) }.min(bytes)
}

/// Most ranges that [`read_own_parts`] takes at once.
pub(crate) const PARTS: usize = 32;

/// Copies several ranges (address and bytes) one behind the other to `to`. Stops at the first byte that cannot be read,
/// and reports the bytes copied. Memory under a protection key that this thread may not read counts as unreadable.
///
/// A *write* to ourselves, from the ranges to `to`: from the near side the kernel copies as any system call does, some 10 ns a
/// range, and pins pages on the far side alone, which is `to`, best in one page. Reading the ranges as the far side pins a
/// page for each: 9 us for 24 ranges where this takes 1 us (Linux 6.18 in a virtual machine).
pub(crate) fn read_own_parts(pid: u32, parts: &[[u64; 2]], to: &mut [u8]) -> usize {
    if parts.len() > PARTS || parts.is_empty() {
        return 0;
    }
    // SAFETY: `to` is exclusively borrowed.
    unsafe { copy(WRITE, pid, parts, &[[to.as_mut_ptr() as u64, to.len() as u64]]) }.min(to.len())
}

/// Writes `from` to `address` in this process, as far as it is writable, without a fault where it is not; the bytes
/// written. None where the kernel forbids the call, or may (seccomp).
///
/// # Safety
/// The bytes at `address` must be nobody's but the caller's.
pub(crate) unsafe fn write_own_memory(pid: u32, address: u64, from: &[u8]) -> usize {
    let bytes = from.len();
    // SAFETY: `from` is only read; that the bytes at `address` may be written is the caller's promise.
    unsafe { copy(WRITE, pid, &[[from.as_ptr() as u64, bytes as u64]], &[[address, bytes as u64]]) }.min(bytes)
}

/// CLOCK_MONOTONIC, ns. A plain system call: the vDSO's would have to be found and parsed first.
pub(crate) fn monotonic_ns() -> u64 {
    let mut time = [0u64; 2];
    // SAFETY: clock_gettime (228 on x86-64) with CLOCK_MONOTONIC (1) writes one timespec of two words to `time`.
    unsafe {
        core::arch::asm!(
            "syscall",
            inlateout("rax") 228u64 => _,
            in("rdi") 1u64,
            in("rsi") time.as_mut_ptr(),
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    let [seconds, nanoseconds] = time;
    seconds.wrapping_mul(1_000_000_000).wrapping_add(nanoseconds)
}

/// The kernel's id of this thread.
pub fn gettid() -> u32 {
    rustix::thread::gettid().as_raw_nonzero().get() as u32
}

/// One line of the memory map.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mapping {
    /// First address.
    pub start: u64,
    /// One past the last.
    pub end: u64,
    /// PROT_* bits.
    pub protection: u32,
    /// True for MAP_SHARED.
    pub shared: bool,
    /// True when no file backs it.
    pub anonymous: bool,
    /// True for `[stack]`, `[heap]` and the like.
    pub special: bool,
}

/// Calls `each` for every line of the process's memory map until it returns false. Uses 2 KiB of stack and no
/// allocation. O(mappings).
pub fn for_each_mapping(mut each: impl FnMut(Mapping) -> bool) {
    each_mapping(&mut each);
}

/// One body for all, never inlined: a test names the functions that open a file (rustix asserts that the kernel's descriptors are
/// descriptors).
#[inline(never)]
fn each_mapping(each: &mut dyn FnMut(Mapping) -> bool) {
    let Ok(file) = open(c"/proc/self/maps", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) else { return };
    let mut buffer = [0u8; 2048];
    let mut kept = 0usize;
    loop {
        let Some(room) = buffer.get_mut(kept..) else { return };
        let Ok(got) = rustix::io::read(&file, room) else { return };
        if got == 0 {
            return;
        }
        let filled = kept.saturating_add(got);
        let mut start = 0usize;
        while let Some(line) = buffer.get(start..filled) {
            let Some(length) = line.iter().position(|byte| *byte == b'\n') else { break };
            if let Some(mapping) = line.get(..length).and_then(parse_line)
                && !each(mapping)
            {
                return;
            }
            start = start.saturating_add(length).saturating_add(1);
        }
        if start == 0 && filled == buffer.len() {
            // One line longer than the buffer: drop it, its numbers were at its head.
            kept = 0;
            continue;
        }
        kept = filled.saturating_sub(start);
        // By hand: copy_within checks its ranges with a panic, and there are none in this library.
        for index in 0..kept {
            let byte = buffer.get(start.wrapping_add(index)).copied().unwrap_or(0);
            if let Some(place) = buffer.get_mut(index) {
                *place = byte;
            }
        }
    }
}

/// Reads `start-end perms offset dev inode path`.
fn parse_line(line: &[u8]) -> Option<Mapping> {
    let mut fields = line.split(|byte| *byte == b' ').filter(|field| !field.is_empty());
    let range = fields.next()?;
    let permissions = fields.next()?;
    let _offset = fields.next()?;
    let _device = fields.next()?;
    let inode = fields.next()?;
    let path = fields.next().unwrap_or(b"");
    let dash = range.iter().position(|byte| *byte == b'-')?;
    let mut protection = 0;
    for (bit, letter) in [(1u32, b'r'), (2, b'w'), (4, b'x')] {
        if permissions.contains(&letter) {
            protection |= bit;
        }
    }
    Some(Mapping {
        start: hex(range.get(..dash)?)?,
        end: hex(range.get(dash.checked_add(1)?..)?)?,
        protection,
        shared: permissions.contains(&b's'),
        anonymous: inode == b"0" && path.first() != Some(&b'/'),
        special: path.first() == Some(&b'['),
    })
}

fn hex(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 16 {
        return None;
    }
    digits.iter().try_fold(0u64, |value, digit| {
        let digit = (*digit as char).to_digit(16)?;
        Some((value << 4) | u64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_memory_map_is_read() {
        let mapping = parse_line(b"7f0000001000-7f0000003000 rw-s 00000000 00:01 0      [stack]").unwrap();
        assert_eq!((mapping.start, mapping.end, mapping.protection), (0x7f0000001000, 0x7f0000003000, 3));
        assert!(mapping.shared && mapping.anonymous && mapping.special);
        assert!(parse_line(b"garbage").is_none());
        assert!(parse_line(b"").is_none());
    }

    #[test]
    fn the_own_map_holds_this_function_and_memory_reads_stop_at_holes() {
        let here = the_own_map_holds_this_function_and_memory_reads_stop_at_holes as *const () as u64;
        let mut found = false;
        for_each_mapping(|mapping| {
            found |= mapping.start <= here && here < mapping.end && mapping.protection & 4 != 0;
            true
        });
        assert!(found);
        let mut bytes = [0u8; 16];
        assert_eq!(read_own_memory(std::process::id(), here, &mut bytes), 16);
        assert_eq!(read_own_memory(std::process::id(), 8, &mut bytes), 0);
    }

    #[test]
    fn many_ranges_are_read_as_far_as_the_first_hole() {
        use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, mprotect, munmap};
        const PAGE: usize = 4096;
        let all = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a fresh mapping at the kernel's choice.
        let map = unsafe { mmap_anonymous(core::ptr::null_mut(), 4 * PAGE, all, MapFlags::PRIVATE) }.expect("memory");
        // SAFETY: the mapping just made; nothing else refers to it.
        let bytes = unsafe { core::slice::from_raw_parts_mut(map.cast::<u8>(), 4 * PAGE) };
        bytes.iter_mut().enumerate().for_each(|(index, byte)| *byte = (index % 251) as u8);
        let start = map as u64;
        let expected = |ranges: &[(u64, u64)]| -> std::vec::Vec<u8> {
            ranges.iter().flat_map(|(at, len)| (*at..at + len).map(|index| (index % 251) as u8)).collect()
        };
        // SAFETY: pages of the mapping above; `bytes` is not used from here on.
        unsafe {
            mprotect(map.wrapping_byte_add(PAGE), PAGE, rustix::mm::MprotectFlags::empty()).expect("page 1 unreadable");
            munmap(map.wrapping_byte_add(3 * PAGE), PAGE).expect("page 3 gone");
        }
        let (one, page) = (8u64, PAGE as u64);
        // Ranges, and how many of their bytes come.
        let rows: &[(&[(u64, u64)], usize)] = &[
            (&[], 0),
            (&[(0, one)], 8),
            (&[(5, 3), (2 * page, 40), (1, 1)], 44),
            (&[(7, 9), (page, 8), (0, 8)], 9),
            (&[(page, 8), (0, 8)], 0),
            (&[(3, 4), (page - 5, 10), (0, 8)], 9),
            (&[(2 * page, page), (3 * page, 1)], PAGE),
            (&[(3 * page - 1, 2)], 1),
            (&[(1, 0), (2, 0), (3, 4)], 4),
        ];
        for (ranges, comes) in rows {
            let parts: std::vec::Vec<[u64; 2]> = ranges.iter().map(|(at, len)| [start + at, *len]).collect();
            let all: u64 = ranges.iter().map(|(_, len)| len).sum();
            let mut to = std::vec![0u8; all as usize];
            let got = read_own_parts(std::process::id(), &parts, &mut to);
            assert_eq!(got, *comes, "{ranges:?}");
            assert_eq!(to[..got], expected(ranges)[..got], "{ranges:?}");
        }
        let parts = [[start, 1u64]; PARTS];
        let mut to = [9u8; PARTS];
        assert_eq!(read_own_parts(std::process::id(), &parts, &mut to), PARTS);
        assert_eq!(to, [0; PARTS]);
        // SAFETY: what is left of the mapping above.
        unsafe { munmap(map, 3 * PAGE) }.expect("unmapped");
    }

    extern crate std;
}

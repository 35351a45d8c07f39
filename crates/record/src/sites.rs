//! Backtraces: where a call came from, and interning what was found there.
//!
//! Absent on purpose: the walk (`walk`), and names, which are somebody else's work.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// More return addresses than this are never kept.
pub const FRAMES_MAX: usize = 64;
/// Slots of the process-wide table.
pub const SITE_SLOTS: usize = 1 << 16;
/// Slots of a thread's cache, direct-mapped.
pub const CACHE_SLOTS: usize = 1 << 9;
const PROBES: usize = 16;

/// What a stub saw at the entry of a hooked function.
#[derive(Clone, Copy, Debug)]
pub struct CallFrame {
    /// Where the hooked function returns to.
    pub return_address: u64,
    /// rbp at entry: the caller's frame, if it keeps one.
    pub frame_pointer: u64,
    /// Address of the return address on the stack.
    pub stack_pointer: u64,
}

/// Where the program itself says that a call stands.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The file's name, as the compiler was given it.
    pub file: &'a [u8],
    /// Line, from 1.
    pub line: u32,
    /// Column, from 1; 0 when not known.
    pub column: u32,
}

impl Place<'_> {
    /// A number that differs for places that differ, as long as names stay where they are.
    #[inline]
    pub(crate) fn hash(&self) -> u64 {
        let place = u64::from(self.line) << 32 | u64::from(self.column);
        ((self.file.as_ptr() as u64).rotate_left(19) ^ place).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    /// The hash of a backtrace that begins here.
    #[inline]
    pub fn mixed_with(&self, backtrace: u64) -> u64 {
        (backtrace.rotate_left(23) ^ self.hash()).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1
    }
}

/// Calls that run inside a frame of ours return to one of two fixed labels; the true return address lies a fixed distance
/// above, further where stack arguments were copied.
#[derive(Clone, Copy, Debug, Default)]
pub struct StubFrame {
    /// The label.
    pub label: u64,
    /// Bytes from the slot that holds the label to the slot that holds the true return address.
    pub distance: u64,
    /// The label of calls with copied arguments.
    pub label_with_arguments: u64,
    /// Bytes of them.
    pub argument_bytes: u64,
}

/// The two address ranges that hold code: the program's, and the libraries'.
#[derive(Default)]
pub struct CodeRanges {
    bounds: [AtomicU64; 4],
}

impl CodeRanges {
    /// Nothing is code yet.
    pub const fn new() -> CodeRanges {
        CodeRanges { bounds: [const { AtomicU64::new(0) }; 4] }
    }

    /// Adds a module. The first one is the program; all others widen the second range.
    pub fn add(&self, start: u64, end: u64) {
        let [program_start, program_end, start_of_rest, end_of_rest] = &self.bounds;
        if program_end.load(Relaxed) == 0 {
            program_start.store(start, Relaxed);
            program_end.store(end, Relaxed);
        } else {
            let low = start_of_rest.load(Relaxed);
            start_of_rest.store(if low == 0 { start } else { low.min(start) }, Relaxed);
            end_of_rest.store(end_of_rest.load(Relaxed).max(end), Relaxed);
        }
    }

    /// True when `address` may be code.
    #[inline]
    pub fn contains(&self, address: u64) -> bool {
        let [a, b, c, d] = &self.bounds;
        (a.load(Relaxed) < address && address <= b.load(Relaxed))
            || (c.load(Relaxed) < address && address <= d.load(Relaxed))
    }
}

/// A slot of a thread's cache.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub struct CachedSite {
    /// Hash of the addresses; 0 = empty.
    pub hash: u64,
    /// The site.
    pub id: u32,
}

/// Backtrace hashes to site ids, for all threads. Insert-only, lock-free. When a run of probes is full the site is given
/// a fresh id and defined again: space is lost, nothing else.
pub struct SiteTable {
    hashes: &'static [AtomicU64],
    ids: &'static [AtomicU32],
    next: AtomicU32,
}

impl SiteTable {
    /// A table over two slices of [`SITE_SLOTS`].
    pub const fn new(hashes: &'static [AtomicU64], ids: &'static [AtomicU32]) -> SiteTable {
        SiteTable { hashes, ids, next: AtomicU32::new(0) }
    }

    /// The id of the backtrace with this hash, and whether the caller must define it. Two threads that meet the same new
    /// backtrace at once may both be told to: readers take the first.
    pub fn intern(&self, hash: u64) -> (u32, bool) {
        let start = (hash >> 40) as usize;
        for probe in 0..PROBES {
            let index = start.wrapping_add(probe) & (SITE_SLOTS - 1);
            let (Some(slot), Some(id)) = (self.hashes.get(index), self.ids.get(index)) else { break };
            match slot.compare_exchange(0, hash, Relaxed, Relaxed) {
                Ok(_) => {
                    let fresh = self.next.fetch_add(1, Relaxed);
                    id.store(fresh.wrapping_add(1), Relaxed);
                    return (fresh, true);
                }
                Err(found) if found == hash => match id.load(Relaxed) {
                    0 => break,
                    known => return (known.wrapping_sub(1), false),
                },
                Err(_) => {}
            }
        }
        self.intern_anew()
    }

    /// An id that no hash leads to, to be defined by the caller.
    pub fn intern_anew(&self) -> (u32, bool) {
        (self.next.fetch_add(1, Relaxed), true)
    }

    /// Forgets everything: a forked child writes its own trace and defines its sites there.
    pub fn clear(&self) {
        for (hash, id) in self.hashes.iter().zip(self.ids) {
            hash.store(0, Relaxed);
            id.store(0, Relaxed);
        }
        self.next.store(0, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::{boxed::Box, vec::Vec};

    #[test]
    fn a_backtrace_is_defined_once() {
        let hashes: Vec<AtomicU64> = (0..SITE_SLOTS).map(|_| AtomicU64::new(0)).collect();
        let ids: Vec<AtomicU32> = (0..SITE_SLOTS).map(|_| AtomicU32::new(0)).collect();
        let table = SiteTable::new(Box::leak(hashes.into()), Box::leak(ids.into()));
        assert_eq!(table.intern(77), (0, true));
        assert_eq!(table.intern(77), (0, false));
        assert_eq!(table.intern(78), (1, true));
        table.clear();
        assert_eq!(table.intern(78), (0, true));
    }
}

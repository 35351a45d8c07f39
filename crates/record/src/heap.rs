//! Which blocks of the C library's allocator were recorded, so that only their frees are.
//!
//! A set of addresses in buckets of 16, without locks: a block that finds its bucket full is not recorded and counted.
//! Every block of at least [`SMALL_BYTES`] is recorded at first; after [`PATIENCE`] of them only those of at least
//! [`LARGE_BYTES`], so that a program that lives by malloc does not flood its trace.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Nothing smaller is an arena's memory.
pub const SMALL_BYTES: u64 = 32;
/// Later, nothing smaller is taken for one.
pub const LARGE_BYTES: u64 = 1024;
/// Blocks recorded before the threshold rises.
pub const PATIENCE: u64 = 65_536;

const WAYS: usize = 16;
/// Buckets × ways: 131,072 blocks at once.
pub const SLOTS: usize = 1 << 17;

/// The set. Relaxed throughout: an address is inserted and removed by whoever owns the block.
pub struct HeapSet {
    slots: &'static [AtomicU64],
    sizes: &'static [AtomicU64],
    recorded: AtomicU64,
}

impl HeapSet {
    /// A set over twice `SLOTS` zeroed words.
    pub const fn new(slots: &'static [AtomicU64], sizes: &'static [AtomicU64]) -> HeapSet {
        HeapSet { slots, sizes, recorded: AtomicU64::new(0) }
    }

    fn bucket(&self, address: u64) -> core::ops::Range<usize> {
        let buckets = (self.slots.len() / WAYS).max(1);
        let hash = (address >> 4).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
        let first = (hash as usize).checked_rem(buckets).unwrap_or(0).wrapping_mul(WAYS);
        first..first.wrapping_add(WAYS)
    }

    /// True when a block of `size` bytes is worth recording now.
    #[inline]
    pub fn wants(&self, size: u64) -> bool {
        size >= LARGE_BYTES || (size >= SMALL_BYTES && self.recorded.load(Relaxed) < PATIENCE)
    }

    /// Remembers the block at `address`; false when its bucket is full.
    pub fn insert(&self, address: u64, size: u64) -> bool {
        for index in self.bucket(address) {
            let (Some(slot), Some(bytes)) = (self.slots.get(index), self.sizes.get(index)) else { return false };
            if slot.load(Relaxed) == 0 && slot.compare_exchange(0, address, Relaxed, Relaxed).is_ok() {
                bytes.store(size, Relaxed);
                self.recorded.fetch_add(1, Relaxed);
                return true;
            }
        }
        false
    }

    /// Forgets the block at `address`; its size when it was there.
    #[inline]
    pub fn remove(&self, address: u64) -> Option<u64> {
        for index in self.bucket(address) {
            let slot = self.slots.get(index)?;
            if slot.load(Relaxed) == address {
                let size = self.sizes.get(index).map(|bytes| bytes.load(Relaxed));
                slot.store(0, Relaxed);
                return size;
            }
        }
        None
    }

    /// True when the block at `address` is here.
    #[inline]
    pub fn holds(&self, address: u64) -> bool {
        self.bucket(address).any(|index| self.slots.get(index).is_some_and(|slot| slot.load(Relaxed) == address))
    }

    /// Forgets all blocks in `start..end`. O(slots).
    pub fn forget(&self, start: u64, end: u64) {
        for slot in self.slots {
            if (start..end).contains(&slot.load(Relaxed)) {
                slot.store(0, Relaxed);
            }
        }
    }

    /// All blocks recorded now: address and size.
    pub fn all(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.slots
            .iter()
            .zip(self.sizes)
            .map(|(slot, bytes)| (slot.load(Relaxed), bytes.load(Relaxed)))
            .filter(|(address, _)| *address != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::{boxed::Box, collections::BTreeMap, vec::Vec};

    fn set() -> HeapSet {
        let words = || (0..SLOTS).map(|_| AtomicU64::new(0)).collect::<Vec<_>>().into_boxed_slice();
        HeapSet::new(Box::leak(words()), Box::leak(words()))
    }

    #[test]
    fn agrees_with_a_plain_map() {
        let set = set();
        let mut plain = BTreeMap::new();
        let mut seed = 1u64;
        for _ in 0..200_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let address = ((seed >> 33) % 40_000 + 1) * 16;
            if seed & 1 == 0 {
                if !plain.contains_key(&address) && set.insert(address, seed) {
                    plain.insert(address, seed);
                }
            } else {
                assert_eq!(set.remove(address), plain.remove(&address));
            }
        }
        assert!(!plain.is_empty());
        assert_eq!(set.all().collect::<BTreeMap<_, _>>(), plain);
    }

    #[test]
    fn the_threshold_rises_after_patience() {
        let set = HeapSet::new(&[], &[]);
        assert!(!set.wants(SMALL_BYTES - 1) && set.wants(SMALL_BYTES) && set.wants(LARGE_BYTES));
        assert!(!set.insert(16, 16) && set.remove(16).is_none());
        set.recorded.store(PATIENCE, Relaxed);
        assert!(!set.wants(LARGE_BYTES - 1) && set.wants(LARGE_BYTES));
    }
}

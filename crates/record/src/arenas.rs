//! Which arenas were seen: object address to entry, and where each one's blocks lie.
//!
//! An entry is made at the first event on an object and stays for the life of the process: arenas come and go at one
//! address, and replay tells them apart. Look-ups take no lock. Extents are the spans in which blocks were handed out
//! since the arena was last emptied; they exist so that its bytes can be captured before they go.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};

/// Entries and slots: arenas at different addresses over the life of a process.
pub const ARENA_SLOTS: usize = 1 << 17;
/// Extents kept in an entry; a chunked arena with more is captured as far as they go, and the rest is counted.
pub const EXTENTS: usize = 8;
/// A block this close to an extent belongs to it, bytes: alignment, headers, redzones between blocks.
const GAP: u64 = 4096;
const PROBES: usize = 64;

/// One span of an arena's blocks, `low..high`; empty when high is 0.
#[derive(Default)]
#[repr(C)]
pub struct Extent {
    /// First byte of the lowest block.
    pub low: AtomicU64,
    /// One past the last byte of the highest block.
    pub high: AtomicU64,
}

/// What the recorder knows of the arena object at one address.
#[derive(Default)]
#[repr(C)]
pub struct Entry {
    /// The object's address; 0 for the global arena.
    pub object: AtomicU64,
    /// The next event's position among this arena's events.
    pub order: AtomicU64,
    /// The process epoch whose trace knows this entry.
    pub epoch: AtomicU32,
    /// Its key.
    pub key: AtomicU32,
    /// Which extent took the last block.
    current: AtomicU32,
    /// Extents that did not fit since the arena was last emptied.
    pub spilled: AtomicU32,
    /// How many of the next blocks are to be looked at for bytes of earlier owners; 0 in an arena that never took memory
    /// back.
    pub looks: AtomicU32,
    /// The process epoch whose trace knows the bounds of this arena of the C library.
    pub told: AtomicU32,
    /// Nonzero while a sample of it may live.
    pub sampled: AtomicU32,
    extents: [Extent; EXTENTS],
    /// From the lowest to the highest byte handed out before the arena was last emptied.
    used: Extent,
}

// SAFETY: nothing but atomic integers.
#[allow(unsafe_code, reason = "marks a table row as valid when zeroed")]
unsafe impl crate::reserve::Zeroed for Entry {}

/// What a new block did to an arena's extents.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Grown {
    /// It lies in pages where blocks lay before.
    Inside,
    /// An extent grew into another page, or began: these bytes are new, `from..to`.
    New {
        /// First new byte.
        from: u64,
        /// One past the last.
        to: u64,
    },
}

impl Entry {
    /// Takes note of a block. Two threads that allocate from one arena at once may each lose the other's widening; the
    /// capture is then shorter, nothing else.
    #[inline]
    pub fn note_block(&self, block: u64, size: u64) -> Grown {
        let end = block.saturating_add(size.max(1));
        let current = self.current.load(Relaxed) as usize;
        if let Some(extent) = self.extents.get(current)
            && let Some(grown) = widen(extent, block, end)
        {
            return grown;
        }
        self.note_elsewhere(block, end)
    }

    #[cold]
    fn note_elsewhere(&self, block: u64, end: u64) -> Grown {
        for (index, extent) in self.extents.iter().enumerate() {
            if extent.high.load(Relaxed) == 0 {
                extent.low.store(block, Relaxed);
                extent.high.store(end, Relaxed);
                self.current.store(index as u32, Relaxed);
                return Grown::New { from: block, to: end };
            }
            if let Some(grown) = widen(extent, block, end) {
                self.current.store(index as u32, Relaxed);
                return grown;
            }
        }
        self.spilled.fetch_add(1, Relaxed);
        Grown::Inside
    }

    /// The spans of its blocks, in order of first use.
    pub fn spans(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.extents
            .iter()
            .map(|extent| (extent.low.load(Relaxed), extent.high.load(Relaxed)))
            .take_while(|(_, high)| *high != 0)
    }

    /// Forgets all spans: the arena was emptied. Where they lay is kept in rough for [`Entry::was_used`].
    pub fn clear_spans(&self) {
        let low = self.spans().map(|(low, _)| low).min();
        let high = self.spans().map(|(_, high)| high).max();
        if let (Some(low), Some(high)) = (low, high) {
            self.used.low.store(low, Relaxed);
            self.used.high.store(high, Relaxed);
        }
        for extent in &self.extents {
            extent.high.store(0, Relaxed);
        }
        self.current.store(0, Relaxed);
        self.spilled.store(0, Relaxed);
    }

    /// False when no block can have lain at `address` before: not in a span, and not where spans were when the arena was last
    /// emptied.
    pub fn was_used(&self, address: u64) -> bool {
        let before = (self.used.low.load(Relaxed), self.used.high.load(Relaxed));
        self.spans().chain([before]).any(|(low, high)| low <= address && address < high)
    }

    /// Forgets the spans that lie in `start..end`, which is going away. True when some did.
    pub fn drop_spans(&self, start: u64, end: u64) -> bool {
        let mut kept = [(0u64, 0u64); EXTENTS];
        let mut count = 0usize;
        let mut dropped = false;
        for (low, high) in self.spans() {
            if low < end && start < high {
                dropped = true;
            } else if let Some(place) = kept.get_mut(count) {
                *place = (low, high);
                count = count.wrapping_add(1);
            }
        }
        if dropped {
            for (extent, (low, high)) in self.extents.iter().zip(kept) {
                extent.low.store(low, Relaxed);
                extent.high.store(high, Relaxed);
            }
            self.current.store(0, Relaxed);
        }
        dropped
    }
}

#[inline]
fn widen(extent: &Extent, block: u64, end: u64) -> Option<Grown> {
    let (low, high) = (extent.low.load(Relaxed), extent.high.load(Relaxed));
    if high == 0 || block > high.saturating_add(GAP) || end.saturating_add(GAP) < low {
        return None;
    }
    if end > high {
        extent.high.store(end, Relaxed);
        if block < low {
            extent.low.store(block, Relaxed);
            return Some(Grown::New { from: block, to: end });
        }
        let same_page = (high.wrapping_sub(1) ^ end.wrapping_sub(1)) >> 12 == 0;
        return Some(if same_page { Grown::Inside } else { Grown::New { from: high.max(block), to: end } });
    }
    if block < low {
        extent.low.store(block, Relaxed);
        let same_page = (block ^ low) >> 12 == 0;
        return Some(if same_page { Grown::Inside } else { Grown::New { from: block, to: low } });
    }
    Some(Grown::Inside)
}

/// All arenas of the process.
pub struct ArenaTable {
    objects: &'static [AtomicU64],
    keys: &'static [AtomicU32],
    entries: &'static [Entry],
    used: AtomicU32,
    pages: PageFilter,
}

impl ArenaTable {
    /// A table over zeroed slices of [`ARENA_SLOTS`] each and a filter of [`PageFilter::WORDS`]. Key 0 is the global arena.
    pub const fn new(
        objects: &'static [AtomicU64],
        keys: &'static [AtomicU32],
        entries: &'static [Entry],
        filter: &'static [AtomicU64],
    ) -> ArenaTable {
        ArenaTable { objects, keys, entries, used: AtomicU32::new(1), pages: PageFilter { words: filter } }
    }

    /// The entry of the arena object at `object` (0: the global arena), made if new. `None` when the table is full.
    pub fn entry(&self, object: u64) -> Option<&'static Entry> {
        if object == 0 {
            return self.entries.first();
        }
        let start = (object.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as usize;
        for probe in 0..PROBES {
            let index = start.wrapping_add(probe) & (ARENA_SLOTS - 1);
            let (slot, key) = (self.objects.get(index)?, self.keys.get(index)?);
            let found = match slot.compare_exchange(0, object, Relaxed, Relaxed) {
                Ok(_) => {
                    let fresh = self.used.fetch_add(1, Relaxed);
                    let entry = self.entries.get(fresh as usize)?;
                    entry.object.store(object, Relaxed);
                    entry.key.store(fresh, Relaxed);
                    // Release: pairs with the Acquire load below; who sees the key sees the entry's object and key.
                    key.store(fresh, Release);
                    return Some(entry);
                }
                Err(found) => found,
            };
            if found == object {
                // Another thread may be between its claim and its key: a few dozen loads bridge that.
                for _ in 0..4096 {
                    let known = key.load(Acquire);
                    if known != 0 {
                        return self.entries.get(known as usize);
                    }
                    core::hint::spin_loop();
                }
                return None;
            }
        }
        None
    }

    /// The entry of the arena object at `object`, if one was made.
    pub fn find(&self, object: u64) -> Option<&'static Entry> {
        if object == 0 {
            return self.entries.first();
        }
        let start = (object.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as usize;
        for probe in 0..PROBES {
            let index = start.wrapping_add(probe) & (ARENA_SLOTS - 1);
            match self.objects.get(index)?.load(Relaxed) {
                0 => return None,
                // Acquire: as in `entry`. Key 0: its maker is still at it.
                known if known == object => match self.keys.get(index)?.load(Acquire) {
                    0 => return None,
                    key => return self.entries.get(key as usize),
                },
                _ => {}
            }
        }
        None
    }

    /// Every entry made so far.
    pub fn all(&self) -> impl Iterator<Item = &'static Entry> {
        self.entries.iter().take(self.used.load(Relaxed) as usize)
    }

    /// True when any arena has been seen.
    pub fn any(&self) -> bool {
        self.used.load(Relaxed) > 1 || self.entries.first().is_some_and(|global| global.order.load(Relaxed) > 0)
    }

    /// The filter of pages where blocks were handed out.
    pub fn pages(&self) -> &PageFilter {
        &self.pages
    }
}

/// Says quickly that no arena ever had a block in a range of memory. May say yes wrongly, never no.
pub struct PageFilter {
    words: &'static [AtomicU64],
}

impl PageFilter {
    /// 64 Ki bits for 4 KiB pages, then as many for 2 MiB spans, then one word of flags.
    pub const WORDS: usize = 2 * 1024 + 1;
    const HALF: usize = 1024;

    fn bit(number: u64) -> (usize, u64) {
        let hash = (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48) as usize;
        (hash >> 6, 1 << (hash & 63))
    }

    fn mark(&self, half: usize, number: u64) {
        let (word, mask) = Self::bit(number);
        if let Some(word) = self.words.get(half.wrapping_add(word))
            && word.load(Relaxed) & mask == 0
        {
            word.fetch_or(mask, Relaxed);
        }
    }

    fn has(&self, half: usize, number: u64) -> bool {
        let (word, mask) = Self::bit(number);
        self.words.get(half.wrapping_add(word)).is_some_and(|word| word.load(Relaxed) & mask != 0)
    }

    /// Blocks now lie in `from..to`.
    #[inline]
    pub fn add(&self, from: u64, to: u64) {
        let last = to.saturating_sub(1).max(from);
        if (last >> 12).wrapping_sub(from >> 12) <= PAGES_ONE_BY_ONE {
            for page in (from >> 12)..=(last >> 12) {
                self.mark(0, page);
            }
        } else {
            // Too many to mark one by one: from now on small ranges are asked by their 2 MiB spans too.
            self.set_coarse();
        }
        if (last >> 21).wrapping_sub(from >> 21) <= 1 << 16 {
            for span in (from >> 21)..=(last >> 21) {
                self.mark(Self::HALF, span);
            }
        } else {
            self.set_useless();
        }
    }

    fn set_coarse(&self) {
        if let Some(flags) = self.words.last() {
            flags.fetch_or(1, Relaxed);
        }
    }

    fn set_useless(&self) {
        if let Some(flags) = self.words.last() {
            flags.fetch_or(3, Relaxed);
        }
    }

    /// False when surely no block ever lay in `start..end`.
    pub fn may_hold(&self, start: u64, end: u64) -> bool {
        let last = end.saturating_sub(1).max(start);
        let flags = self.words.last().map_or(3, |flags| flags.load(Relaxed));
        if flags & 2 != 0 || (last >> 21).wrapping_sub(start >> 21) > 4096 {
            return true;
        }
        if flags & 1 == 0 && (last >> 12).wrapping_sub(start >> 12) <= PAGES_ONE_BY_ONE {
            return ((start >> 12)..=(last >> 12)).any(|page| self.has(0, page));
        }
        ((start >> 21)..=(last >> 21)).any(|span| self.has(Self::HALF, span))
    }
}

/// Ranges of up to this many pages are marked and asked page by page.
const PAGES_ONE_BY_ONE: u64 = 64;

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::{boxed::Box, vec::Vec};

    #[test]
    fn a_bump_arena_has_one_span_and_a_chunked_one_several() {
        let entry = Entry::default();
        assert_eq!(entry.note_block(0x10000, 64), Grown::New { from: 0x10000, to: 0x10040 });
        assert_eq!(entry.note_block(0x10040, 64), Grown::Inside, "the same page");
        assert_eq!(entry.note_block(0x10fc0, 65), Grown::New { from: 0x10fc0, to: 0x11001 });
        assert_eq!(entry.note_block(0x10000, 64), Grown::Inside);
        assert_eq!(entry.note_block(0x90000, 16), Grown::New { from: 0x90000, to: 0x90010 });
        assert_eq!(entry.note_block(0x8fff0, 16), Grown::New { from: 0x8fff0, to: 0x90000 });
        assert_eq!(entry.spans().collect::<Vec<_>>(), [(0x10000, 0x11001), (0x8fff0, 0x90010)]);
        assert!(entry.drop_spans(0x10000, 0x11001));
        assert!(!entry.drop_spans(0x10000, 0x11001));
        let around = Entry::default();
        around.note_block(0x10800, 8);
        assert_eq!(around.note_block(0xf000, 0x3000), Grown::New { from: 0xf000, to: 0x12000 }, "on both sides");
        assert!(entry.was_used(0x90000) && !entry.was_used(0x10000));
        assert_eq!(entry.spans().collect::<Vec<_>>(), [(0x8fff0, 0x90010)]);
        entry.clear_spans();
        assert_eq!(entry.spans().count(), 0);
        assert!(entry.was_used(0x8fff0) && entry.was_used(0x9000f) && !entry.was_used(0x90010));
        entry.clear_spans();
        assert!(entry.was_used(0x90000), "emptied twice");
    }

    #[test]
    fn more_chunks_than_extents_are_counted() {
        let entry = Entry::default();
        for chunk in 1..=EXTENTS as u64 + 3 {
            entry.note_block(chunk << 20, 8);
        }
        assert_eq!((entry.spans().count(), entry.spilled.load(Relaxed)), (EXTENTS, 3));
    }

    #[test]
    fn a_block_of_size_zero_or_at_the_end_of_memory_is_no_trouble() {
        let entry = Entry::default();
        entry.note_block(u64::MAX, u64::MAX);
        entry.note_block(0x1000, 0);
        assert_eq!(entry.spans().next(), Some((u64::MAX, u64::MAX)));
    }

    fn table() -> ArenaTable {
        fn leak<T: Default>(count: usize) -> &'static [T] {
            Box::leak((0..count).map(|_| T::default()).collect::<Vec<T>>().into_boxed_slice())
        }
        ArenaTable::new(leak(ARENA_SLOTS), leak(ARENA_SLOTS), leak(ARENA_SLOTS), leak(PageFilter::WORDS))
    }

    #[test]
    fn one_object_one_key_and_100_000_objects_fit() {
        let table = table();
        assert!(!table.any());
        for object in 1..=100_000u64 {
            let key = table.entry(object * 16).map(|entry| entry.key.load(Relaxed));
            assert_eq!(key, Some(object as u32), "object {object}");
        }
        assert_eq!(table.entry(16 * 77).unwrap().object.load(Relaxed), 16 * 77);
        assert_eq!(table.entry(0).unwrap().key.load(Relaxed), 0);
        assert_eq!(table.all().count(), 100_001);
    }

    #[test]
    fn the_page_filter_never_denies_what_was_added() {
        let table = table();
        let filter = table.pages();
        assert!(!filter.may_hold(0x7000_0000, 0x7000_1000));
        for (from, to) in [(0x7000_0000u64, 0x7000_0001u64), (5, 6), (0x1_2345_6000, 0x1_4000_0000), (0, u64::MAX)] {
            filter.add(from, to);
            assert!(filter.may_hold(from, to) && filter.may_hold(to - 1, to), "{from:#x}");
        }
    }
}

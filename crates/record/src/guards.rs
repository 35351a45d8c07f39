//! Precise mode's picture of each arena: where its cursor stands, and which of its bytes belong to nobody.
//!
//! ```text
//!   low ......... cursor ............ high       after a rewind or reset; `dead` is cursor..high
//!   └ blocks of now ┘└ blocks of then ┘
//! ```
//! Only numbers: what is to become of which bytes is returned, and memcheck told elsewhere. Relied on: nothing is called
//! dead unless all blocks of the arena since its birth lay upwards in one piece of memory, and none was freed or resized
//! alone. Everything else makes the arena *loose*: its dead bytes may be somebody's (a chunk went back to an allocator that
//! others share; a free list), so none of them is guarded. Deliberately absent: locks. Memcheck runs one thread at a time;
//! two calls on one arena at once make it loose.

use crate::reserve::Zeroed;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// Arenas that have a picture; later ones are loose.
pub const GUARDS: usize = 1 << 14;
/// After so many refusals an arena's blocks get no redzones.
const REFUSALS: u64 = 8;
/// Marks remembered, the latest ones.
const MARKS: usize = 16;

/// A range of bytes; empty when both are equal.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Span {
    /// First byte.
    pub low: u64,
    /// One past the last.
    pub high: u64,
}

impl Span {
    /// How many bytes.
    pub fn bytes(self) -> u64 {
        self.high.saturating_sub(self.low)
    }
}

/// One arena.
#[derive(Default)]
#[repr(C)]
pub struct Guard {
    low: AtomicU64,
    high: AtomicU64,
    cursor: AtomicU64,
    zone: AtomicU64,
    loose: AtomicU32,
    inside: AtomicU32,
    capacity: AtomicU64,
    refusals: AtomicU64,
    next_mark: AtomicU64,
    marks: [[AtomicU64; 2]; MARKS],
}

// SAFETY: atomic integers.
#[allow(unsafe_code, reason = "marks a table row as valid when zeroed")]
unsafe impl Zeroed for Guard {}

impl Guard {
    /// A call on the arena begins. False when another is under way.
    pub fn begin(&self) -> bool {
        self.inside.fetch_add(1, Relaxed) == 0
    }

    /// It ends.
    pub fn end(&self) {
        let inside = self.inside.load(Relaxed);
        self.inside.store(inside.saturating_sub(1), Relaxed);
    }

    /// The bytes that belong to nobody.
    pub fn dead(&self) -> Span {
        Span { low: self.cursor.load(Relaxed), high: self.high.load(Relaxed) }
    }

    /// True when nothing may be said about the arena's dead bytes.
    pub fn is_loose(&self) -> bool {
        self.loose.load(Relaxed) != 0
    }

    /// Nothing may be said from now on. What was dead until now and must be opened again.
    pub fn loosen(&self) -> Span {
        let dead = self.dead();
        self.loose.store(1, Relaxed);
        self.cursor.store(self.high.load(Relaxed), Relaxed);
        dead
    }

    /// The arena is new: another life at the same object, or its memory went away.
    pub fn forget(&self) {
        for word in [&self.low, &self.high, &self.cursor, &self.zone, &self.next_mark] {
            word.store(0, Relaxed);
        }
        self.loose.store(0, Relaxed);
    }

    /// The arena was created with this capacity; 0: not known.
    pub fn born(&self, capacity: u64) {
        self.forget();
        self.capacity.store(capacity, Relaxed);
        self.refusals.store(0, Relaxed);
    }

    /// The allocator said NULL to a block with its redzone.
    pub fn refused(&self) {
        self.refusals.fetch_add(1, Relaxed);
    }

    /// Blocks of fewer bytes have a redzone: as in check mode, a bounded arena must not be full earlier for a few large ones.
    pub fn zones_below(&self) -> u64 {
        match (self.refusals.load(Relaxed), self.capacity.load(Relaxed)) {
            (REFUSALS.., _) => 0,
            (_, 0) => u64::MAX,
            (_, capacity) => capacity / 4,
        }
    }

    /// True when the picture touches these bytes.
    pub fn touches(&self, start: u64, end: u64) -> bool {
        self.low.load(Relaxed) < end && start < self.high.load(Relaxed)
    }

    /// A block was placed at `start..end` (its redzone included); `joined` says whether the bytes between the highest one
    /// so far and it are one piece of memory. What must be opened because it can no longer be called dead.
    pub fn place(&self, start: u64, end: u64, joined: impl FnOnce(Span) -> bool) -> Span {
        let (low, high, cursor) = (self.low.load(Relaxed), self.high.load(Relaxed), self.cursor.load(Relaxed));
        if self.is_loose() {
            return Span::default();
        }
        if high == 0 {
            self.low.store(start, Relaxed);
            self.high.store(end, Relaxed);
            self.cursor.store(end, Relaxed);
            return Span::default();
        }
        if start < cursor || start > high && !joined(Span { low: high, high: start }) {
            return self.loosen();
        }
        self.cursor.store(end, Relaxed);
        self.high.store(high.max(end), Relaxed);
        debug_assert!(low <= start);
        Span::default()
    }

    /// Where the redzone of the block placed last begins; 0 when it has none, or died.
    pub fn zone(&self) -> u64 {
        self.zone.load(Relaxed)
    }

    /// The block placed last has its redzone there; 0: it has none.
    pub fn set_zone(&self, zone: u64) {
        self.zone.store(zone, Relaxed);
    }

    /// A mark was taken.
    pub fn mark(&self, mark: u64) {
        let number = self.next_mark.fetch_add(1, Relaxed);
        if let Some([value, cursor]) = self.marks.get(number as usize % MARKS) {
            value.store(mark, Relaxed);
            cursor.store(self.cursor.load(Relaxed), Relaxed);
        }
    }

    /// The arena goes back to a mark: the bytes that die. `Err`: the mark is not known, and these must be opened.
    pub fn rewind(&self, mark: u64) -> Result<Span, Span> {
        let (low, cursor) = (self.low.load(Relaxed), self.cursor.load(Relaxed));
        if self.is_loose() {
            return Ok(Span::default());
        }
        let next = self.next_mark.load(Relaxed);
        let known = (1..=next.min(MARKS as u64)).find_map(|back| {
            let [value, at] = self.marks.get(next.wrapping_sub(back) as usize % MARKS)?;
            (value.load(Relaxed) == mark).then(|| at.load(Relaxed))
        });
        let to = match known {
            // Taken before the first block.
            Some(0) => low,
            Some(at) if low <= at && at <= cursor => at,
            _ => return Err(self.loosen()),
        };
        self.cursor.store(to, Relaxed);
        self.zone.store(0, Relaxed);
        Ok(self.dead())
    }

    /// The arena is emptied: the bytes that die.
    pub fn reset(&self) -> Span {
        self.next_mark.store(0, Relaxed);
        if self.is_loose() {
            return Span::default();
        }
        self.cursor.store(self.low.load(Relaxed), Relaxed);
        self.zone.store(0, Relaxed);
        self.dead()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(low: u64, high: u64) -> Span {
        Span { low, high }
    }

    fn placed(blocks: &[(u64, u64)]) -> Guard {
        let guard = Guard::default();
        for (start, end) in blocks {
            assert_eq!(guard.place(*start, *end, |_| true), Span::default());
        }
        guard
    }

    #[test]
    fn large_blocks_and_full_arenas_have_no_redzones() {
        let guard = Guard::default();
        assert_eq!(guard.zones_below(), u64::MAX, "its capacity is not known");
        guard.born(4096);
        assert_eq!(guard.zones_below(), 1024);
        (0..REFUSALS).for_each(|_| guard.refused());
        assert_eq!(guard.zones_below(), 0);
        guard.born(0);
        assert_eq!(guard.zones_below(), u64::MAX);
    }

    #[test]
    fn what_lies_behind_the_cursor_is_dead() {
        let guard = placed(&[(1000, 1100), (1104, 1200)]);
        guard.mark(7);
        assert_eq!(guard.place(1200, 1300, |_| true), Span::default());
        assert_eq!(guard.dead(), span(1300, 1300));
        assert_eq!(guard.rewind(7), Ok(span(1200, 1300)));
        assert_eq!(guard.place(1208, 1250, |_| true), Span::default());
        assert_eq!(guard.dead(), span(1250, 1300));
        assert_eq!(guard.reset(), span(1000, 1300));
        assert_eq!(guard.rewind(7), Err(span(1000, 1300)), "a reset ends all marks");
    }

    #[test]
    fn a_block_where_none_can_be_loosens() {
        for (start, end, joined) in [(900, 950, true), (1010, 1020, true), (9000, 9100, false)] {
            let guard = placed(&[(1000, 1100)]);
            assert_eq!(guard.place(start, end, |_| joined).bytes(), 0);
            assert!(guard.is_loose());
            assert_eq!(guard.reset(), Span::default());
        }
        let guard = placed(&[(1000, 1100)]);
        guard.reset();
        assert_eq!(guard.place(5000, 5100, |_| false), span(1000, 1100), "what was closed is opened again");
    }

    #[test]
    fn an_unknown_mark_loosens() {
        let guard = placed(&[(1000, 1100)]);
        assert_eq!(guard.rewind(3), Err(span(1100, 1100)));
        assert!(guard.is_loose());
        guard.forget();
        assert!(!guard.is_loose());
    }

    #[test]
    fn a_second_call_at_once_is_told() {
        let guard = Guard::default();
        assert!(guard.begin());
        assert!(!guard.begin());
        guard.end();
        guard.end();
        assert!(guard.begin());
    }
}

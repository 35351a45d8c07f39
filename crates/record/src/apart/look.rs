//! Looking at zones and dead blocks: what differs is told once, and mended.
//!
//! Relied on: reads memory of plots alone, whose arena's lock the caller holds, or in which no block lives. Deliberately absent: when to look.
#![allow(unsafe_code, reason = "reads and mends zones by address")]

use super::plots::{NONE, PlotWords, ROWS, Row, Stage, UNIT, bits};
use super::{Apart, BEFORE, Fate, Found, LOOKED_AT, OfArena, PAGE, POISONED, Sink, Told, row_of};
use crate::check::{CANARY, POISON};
use arenascope_event::Zone;
use core::sync::atomic::Ordering::Acquire;

/// What was found in one range.
struct Wrong {
    first: u64,
    last: u64,
    bytes: [u8; 64],
    len: usize,
}

impl Apart {
    /// Looks at the zone behind a block, and with `before` at the one before it.
    pub(super) fn look_around(&self, id: u32, before: bool, sink: Sink<'_>) {
        let (plot, number) = row_of(id);
        self.look_between(plot, Some(number), sink);
        if before {
            self.look_between(plot, number.checked_sub(1), sink);
        }
    }

    /// Looks at what lies between a block and the next; `None`: before the plot's first.
    fn look_between(&self, plot: u32, lower: Option<u32>, sink: Sink<'_>) {
        let Some(found) = self.ground.words(plot) else { return };
        let number = lower.map_or(0, |lower| lower.wrapping_add(1));
        let below = lower.map(|lower| self.row_in(plot, lower));
        let above = (number < found.count().min(ROWS)).then(|| self.row_in(plot, number));
        for (start, end) in self.zones(plot, found, below.as_ref(), above.as_ref()) {
            if let Some(wrong) = differs(start, end, CANARY) {
                self.tell_zone(plot, number, lower, &wrong, end, sink);
            }
        }
    }

    /// The bytes between two blocks: one range, or two with a guard page between.
    #[inline]
    fn zones(&self, plot: u32, found: &PlotWords, below: Option<&Row>, above: Option<&Row>) -> [(u64, u64); 2] {
        let first = self.ground.start(plot);
        let end = match above {
            Some(above) => self.start_of(plot, above),
            None => first.wrapping_add(u64::from(found.end()).wrapping_mul(UNIT)),
        };
        match below {
            // Where alignment leaves much, the end alone is filled.
            None => [(end.wrapping_sub(BEFORE).max(first), if found.count() == 0 { first } else { end }), (0, 0)],
            Some(below) => {
                let start = self.start_of(plot, below).wrapping_add(self.size_in(plot, below));
                if below.bits & bits::GUARDED == 0 {
                    return [(start, end), (0, 0)];
                }
                let guard = start.wrapping_add(PAGE - 1) & PAGE.wrapping_neg();
                [(start, guard), (guard.wrapping_add(PAGE), end)]
            }
        }
    }

    /// A zone differs: of which of its two blocks it is told. Whoever looks from another thread looks again: a block that grew meanwhile has changed
    /// it by right.
    #[cold]
    fn tell_zone(&self, plot: u32, upper: u32, lower: Option<u32>, wrong: &Wrong, end: u64, sink: Sink<'_>) {
        let Some(found) = self.ground.words(plot) else { return };
        let below = lower.map(|lower| self.row_in(plot, lower));
        let above = (upper < found.count().min(ROWS)).then(|| self.row_in(plot, upper));
        let zones = self.zones(plot, found, below.as_ref(), above.as_ref());
        if !zones.iter().any(|(start, end)| *start <= wrong.first && wrong.last < *end) {
            return;
        }
        let (from, _) = zones[0];
        let above_start = above.as_ref().map(|row| self.start_of(plot, row));
        let of_upper = match (&below, above_start) {
            (None, Some(_)) => true,
            (Some(_), Some(start)) => {
                let from_lower = wrong.first.wrapping_sub(from);
                let from_upper = start.wrapping_sub(wrong.last).wrapping_sub(1);
                from_lower != 0 && from_upper < from_lower
            }
            _ => false,
        };
        let (row, zone) = if of_upper { (above, Zone::Before) } else { (below, Zone::After) };
        if let Some(row) = row {
            self.tell(plot, &row, zone, wrong, CANARY, end, sink);
        }
        // SAFETY: bytes of a zone: the rows as they are now say so (`zones`, just above).
        unsafe { mend(wrong, CANARY) };
    }

    #[inline]
    fn row_in(&self, plot: u32, number: u32) -> Row {
        // SAFETY: below the plot's count: a row that was written.
        unsafe { self.ground.row(plot, number) }.read()
    }

    fn look_at_dead(&self, plot: u32, row: &Row, sink: Sink<'_>) {
        if row.fate == Fate::Outgrown as u8 {
            // Not poisoned: the program may count on its staying in place.
            return;
        }
        let start = self.start_of(plot, row);
        let end = start.wrapping_add(self.size_in(plot, row).min(POISONED));
        if let Some(wrong) = differs(start, end, POISON) {
            self.tell(plot, row, Zone::Dead, &wrong, POISON, end, sink);
            // SAFETY: bytes of a block that its row says is dead (asked by the callers), in a plot that is not closed meanwhile (see the head).
            unsafe { mend(&wrong, POISON) };
        }
    }

    #[allow(clippy::too_many_arguments, reason = "the facts of one finding")]
    #[cold]
    fn tell(&self, plot: u32, row: &Row, zone: Zone, wrong: &Wrong, expected: u8, end: u64, sink: Sink<'_>) {
        let Some(found) = self.ground.plot(plot) else { return };
        // SAFETY: a plot's arena is a row of the table that was written.
        let header = unsafe { (*self.arena(found.of)).header };
        sink(&Told::Found(Found {
            header,
            block: self.start_of(plot, row),
            size: self.size_in(plot, row),
            zone,
            address: wrong.first,
            expected,
            bytes: wrong.bytes,
            len: wrong.len,
            end,
            ended: (zone == Zone::Dead).then(|| row.ended()),
        }));
    }

    /// Looks at all of a plot. O(its bytes).
    pub(super) fn look_at_plot(&self, plot: u32, sink: Sink<'_>) {
        let Some(found) = self.ground.words(plot) else { return };
        self.look_between(plot, None, sink);
        let count = found.count().min(ROWS);
        let Some(last) = count.checked_sub(1) else { return };
        let mut row = self.row_in(plot, 0);
        for number in 0..last {
            let above = self.row_in(plot, number.wrapping_add(1));
            // Most zones are short and right.
            let start = self.start_of(plot, &row).wrapping_add(u64::from(row.size));
            if row.bits != 0 || !is_right(start, self.start_of(plot, &above)) {
                self.look_between(plot, Some(number), sink);
            }
            if !row.lives() {
                self.look_at_dead(plot, &row, sink);
            }
            row = above;
        }
        self.look_between(plot, Some(last), sink);
        if !row.lives() {
            self.look_at_dead(plot, &row, sink);
        }
    }

    /// Looks at the newest dead blocks of the arena's plot.
    pub(super) fn look_at_last_dead(&self, of: &OfArena, sink: Sink<'_>) {
        let plot = of.plot.get();
        if plot == NONE {
            return;
        }
        let count = self.ground.words(plot).map_or(0, |plot| plot.count().min(ROWS));
        let mut left = LOOKED_AT;
        for number in (0..count).rev().take(LOOKED_AT as usize) {
            let row = self.row_in(plot, number);
            if !row.lives() {
                self.look_at_dead(plot, &row, sink);
                left = left.saturating_sub(1);
            }
            if left == 0 {
                break;
            }
        }
    }

    /// Looks at everything that there is: when somebody asks, and at the end. O(bytes of all plots that are not closed).
    pub fn look_at_all(&self, sink: Sink<'_>) {
        let taken = self.open().map_or(0, |plots| plots.taken());
        for plot in 0..taken {
            let Some(found) = self.ground.plot(plot).filter(|found| found.run > 0) else { continue };
            let of = self.arena(found.of);
            // SAFETY: a plot's arena is a row of the table. Its lock is held for one plot at a time, so that its thread does not wait long.
            let Some(_held) = (unsafe { self.hold_gently(of) }) else { continue };
            // SAFETY: as above; words that are written before the plot is, or under the lock.
            let (id, over) = unsafe { ((*of).id, (*of).over.load(Acquire)) };
            let open = self
                .ground
                .plot(plot)
                .is_some_and(|now| matches!(now.stage, Stage::Used | Stage::Dead) && now.arena == id && over == 0);
            if open {
                self.look_at_plot(plot, sink);
            }
        }
    }
}

/// True for a zone of 16 to 32 bytes that holds canaries; false asks for a closer look.
#[inline]
fn is_right(start: u64, end: u64) -> bool {
    const WORD: u128 = u128::from_ne_bytes([CANARY; 16]);
    if !(16..=32).contains(&end.wrapping_sub(start)) {
        return false;
    }
    // SAFETY: 16 to 32 bytes of a zone, by two loads that overlap.
    let (low, high) =
        unsafe { ((start as *const u128).read_unaligned(), (end.wrapping_sub(16) as *const u128).read_unaligned()) };
    (low ^ WORD) | (high ^ WORD) == 0
}

/// The bytes of `start..end` that are not `expected`: the first and the last.
#[inline]
fn differs(start: u64, end: u64, expected: u8) -> Option<Wrong> {
    let bytes = end.wrapping_sub(start);
    if bytes == 0 || bytes > 1 << 40 {
        return None;
    }
    let word = u128::from_ne_bytes([expected; 16]);
    // SAFETY: a zone (`zones`) or a dead block of a plot that is not closed: memory of ours, mapped for reading since the plot was opened.
    let all = unsafe { core::slice::from_raw_parts(start as *const u8, bytes as usize) };
    let (chunks, rest) = all.as_chunks::<16>();
    if chunks.iter().all(|chunk| u128::from_ne_bytes(*chunk) == word) && rest.iter().all(|byte| *byte == expected) {
        return None;
    }
    let first = all.iter().position(|byte| *byte != expected)?;
    let last = all.iter().rposition(|byte| *byte != expected)?;
    let mut kept = [0; 64];
    let told = all.get(first..=last)?;
    kept.iter_mut().zip(told).for_each(|(place, byte)| *place = *byte);
    Some(Wrong {
        first: start.wrapping_add(first as u64),
        last: start.wrapping_add(last as u64),
        bytes: kept,
        len: told.len().min(64),
    })
}

/// # Safety
/// The bytes are ours.
unsafe fn mend(wrong: &Wrong, expected: u8) {
    let bytes = wrong.last.wrapping_sub(wrong.first).wrapping_add(1);
    // SAFETY: the contract.
    unsafe { core::ptr::write_bytes(wrong.first as *mut u8, expected, bytes as usize) };
}

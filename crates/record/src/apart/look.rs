//! Looking at zones and dead blocks: what differs is told once, and mended.
//!
//! Relied on: reads memory of plots alone, whose arena's lock the caller holds, or in which no block lives. Deliberately absent: when to look.
#![allow(unsafe_code, reason = "reads and mends zones by address")]

use super::plots::{NONE, PLOT_BYTES, ROWS, Row, Stage, UNIT};
use super::{Apart, BEFORE, Fate, Found, LOOKED_AT, OfArena, PAGE, POISONED, Sink, row_of};
use crate::check::{CANARY, POISON};
use arenascope_event::Zone;

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
        let Some(found) = self.ground.plot(plot) else { return };
        let first = self.ground.start(plot);
        let number = lower.map_or(0, |lower| lower.wrapping_add(1));
        let read = |number: u32| {
            // SAFETY: below the plot's count: a row that was written.
            (number < found.count.min(ROWS)).then(|| unsafe { self.ground.row(plot, number).read() })
        };
        let (below, above) = (lower.and_then(read), read(number));
        let (from, end) = match &below {
            Some(row) => {
                let end = first.wrapping_add(u64::from(row.end).wrapping_mul(UNIT));
                (self.start_of(plot, row).wrapping_add(row.size), end)
            }
            None => (first, first),
        };
        let shut = below.as_ref().map_or(0, |row| if row.guarded != 0 { PAGE } else { 0 });
        let above_start = above.as_ref().map(|row| self.start_of(plot, row));
        let gap = above_start.map_or((end, end), |start| (start.wrapping_sub(BEFORE).max(end), start));
        let wrong = match (differs(from, end.wrapping_sub(shut), CANARY), differs(gap.0, gap.1, CANARY)) {
            (None, None) => return,
            (one, other) => [one, other],
        };
        for wrong in wrong.into_iter().flatten() {
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
                let end = if of_upper { above_start.unwrap_or(end) } else { gap.1.max(end).wrapping_sub(shut) };
                self.tell(plot, &row, zone, &wrong, CANARY, end, sink);
            }
            // SAFETY: bytes of a zone.
            unsafe { mend(&wrong, CANARY) };
        }
    }

    fn look_at_dead(&self, plot: u32, row: &Row, sink: Sink<'_>) {
        let start = self.start_of(plot, row);
        let end = start.wrapping_add(row.size.min(POISONED));
        if let Some(wrong) = differs(start, end, POISON) {
            self.tell(plot, row, Zone::Dead, &wrong, POISON, end, sink);
            // SAFETY: bytes of a dead block.
            unsafe { mend(&wrong, POISON) };
        }
    }

    #[allow(clippy::too_many_arguments, reason = "the facts of one finding")]
    #[cold]
    fn tell(&self, plot: u32, row: &Row, zone: Zone, wrong: &Wrong, expected: u8, end: u64, sink: Sink<'_>) {
        let Some(found) = self.ground.plot(plot) else { return };
        // SAFETY: a plot's arena is a row of the table that was written.
        let header = unsafe { (*self.arena(found.of)).header };
        sink(&Found {
            header,
            block: self.start_of(plot, row),
            size: row.size,
            zone,
            address: wrong.first,
            expected,
            bytes: wrong.bytes,
            len: wrong.len,
            end,
            ended: (zone == Zone::Dead).then_some(u64::from(row.ended)),
        });
    }

    /// Looks at all of a plot. O(its bytes).
    pub(super) fn look_at_plot(&self, plot: u32, sink: Sink<'_>) {
        let Some(found) = self.ground.plot(plot) else { return };
        self.look_between(plot, None, sink);
        for number in 0..found.count.min(ROWS) {
            self.look_between(plot, Some(number), sink);
            // SAFETY: below the plot's count: a row that was written.
            let row = unsafe { self.ground.row(plot, number).read() };
            if row.fate != Fate::Lives as u8 {
                self.look_at_dead(plot, &row, sink);
            }
        }
    }

    /// Looks at the newest dead blocks of the arena's plot.
    pub(super) fn look_at_last_dead(&self, of: &OfArena, sink: Sink<'_>) {
        if of.plot == NONE {
            return;
        }
        let count = self.ground.plot(of.plot).map_or(0, |plot| plot.count.min(ROWS));
        let mut left = LOOKED_AT;
        for number in (0..count).rev().take(LOOKED_AT as usize) {
            // SAFETY: below the plot's count: a row that was written.
            let row = unsafe { self.ground.row(of.plot, number).read() };
            if row.fate != Fate::Lives as u8 {
                self.look_at_dead(of.plot, &row, sink);
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
            let Some(held) = (unsafe { self.hold_gently(of) }) else { continue };
            let open = self.ground.plot(plot).is_some_and(|now| {
                matches!(now.stage, Stage::Used | Stage::Dead) && now.arena == held.of.id && held.of.over == 0
            });
            if open {
                self.look_at_plot(plot, sink);
            }
        }
    }
}

/// The bytes of `start..end` that are not `expected`: the first and the last.
#[inline]
fn differs(start: u64, end: u64, expected: u8) -> Option<Wrong> {
    let bytes = end.wrapping_sub(start);
    if bytes == 0 || bytes > 1 << 40 {
        return None;
    }
    let word = u128::from_ne_bytes([expected; 16]);
    if (16..=32).contains(&bytes) {
        // SAFETY: 16 to 32 bytes of a zone, by two loads that overlap.
        let (low, high) = unsafe {
            ((start as *const u128).read_unaligned(), (end.wrapping_sub(16) as *const u128).read_unaligned())
        };
        if low == word && high == word {
            return None;
        }
    }
    // SAFETY: a zone, or a dead block, in memory of ours.
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

const _: () = assert!(PLOT_BYTES.is_multiple_of(UNIT));

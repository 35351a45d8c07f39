//! Where blocks go: behind the last one of the arena's plot, in a new plot, in a run of them, before a guard page.
//!
//! Relied on: bytes from the plot's last zone on are nobody's until they are given here. Deliberately absent: what ends blocks.
#![allow(unsafe_code, reason = "fills zones and writes rows by address")]

use super::plots::{NONE, PLOT_BYTES, Plot, PlotWords, ROWS, Row, Stage, UNIT, bits};
use super::{Apart, BEFORE, Fate, OfArena, PAGE, Sink, Told, canary, in_units, row_id, up, zone_behind};
use crate::quiet;
use core::sync::atomic::Ordering::Relaxed;

impl Apart {
    /// Where a block is to lie that would lie at `place`; 0: there. O(1) but for a new plot.
    ///
    /// # Safety
    /// `of` comes from [`Apart::create`], and its arena lives.
    pub unsafe fn alloc(&self, of: *mut OfArena, place: u64, size: u64, align: u64, sink: Sink<'_>) -> u64 {
        // SAFETY: the contract: an arena of the table, and its thread, whose cells are its own.
        let of = unsafe { &*of };
        self.place_block(of, place, size, align, sink)
    }

    #[inline]
    pub(super) fn place_block(&self, of: &OfArena, place: u64, size: u64, align: u64, sink: Sink<'_>) -> u64 {
        let start = up(of.next.get(), align.max(UNIT));
        let data_end = start.wrapping_add(size);
        let end = up(data_end.wrapping_add(zone_behind(size)), UNIT);
        let entry = self.ground.words(of.plot.get());
        // A size or an alignment that is too large for these sums is too large for the plot.
        if size >= PLOT_BYTES || align > PAGE || end > of.end.get() || of.guarded.get() != 0 {
            return self.place_elsewhere(of, place, size, align, sink);
        }
        // Only its own thread changes it.
        let row = entry.map_or(ROWS, PlotWords::count);
        let far = in_units(of.base, place);
        if row >= ROWS || far >= u64::from(u32::MAX) {
            return self.place_elsewhere(of, place, size, align, sink);
        }
        // SAFETY: of.next..end lies in the arena's own plot behind its last zone: nobody's bytes.
        unsafe {
            if start > of.next.get() {
                canary(of.next.get(), start);
            }
            canary(data_end, end);
        }
        let first = self.ground.start(of.plot.get());
        let start_units = in_units(first, start) as u16;
        let new = Row {
            place: far as u32,
            size: size as u32,
            link: of.top.get(),
            start: start_units,
            fate: Fate::Lives as u8,
            bits: 0,
        };
        self.enter_row(of, of.plot.get(), row, in_units(first, end) as u32, new);
        of.next.set(end);
        start
    }

    #[inline]
    pub(super) fn enter_row(&self, of: &OfArena, plot: u32, number: u32, end: u32, row: Row) {
        // SAFETY: a plot of this arena; its table was opened with it.
        unsafe { self.ground.row(plot, number) }.write(row);
        if let Some(entry) = self.ground.words(plot) {
            entry.living.store(entry.living.load(Relaxed).wrapping_add(1), Relaxed);
            // The row is whole before it counts, and counts before the zone behind it does, for those who look from outside.
            entry.set_count(number.wrapping_add(1));
            entry.set_end(end);
        }
        of.top.set(row_id(plot, number));
    }

    /// A new plot, a run of plots for a large block, or pages with a guard.
    #[cold]
    #[inline(never)]
    pub(super) fn place_elsewhere(&self, of: &OfArena, place: u64, size: u64, align: u64, sink: Sink<'_>) -> u64 {
        if size > 1 << 36 || align > 1 << 30 || in_units(of.base, place) >= u64::from(u32::MAX) {
            return self.leave_block();
        }
        if of.guarded.get() != 0 {
            let block = self.place_guarded(of, place, size, align, sink);
            if block != 0 {
                return block;
            }
            // Behind the last block, between canaries. Not in a plot of its own: there are only so many.
            let guarded = of.guarded.replace(0);
            let block = self.place_block(of, place, size, align, sink);
            of.guarded.set(guarded);
            if block != 0 && guarded != 0 && size > 0 && align <= PAGE {
                self.leave_block();
            }
            return block;
        }
        let needed = up(align.wrapping_add(size).wrapping_add(zone_behind(size)).wrapping_add(64), 16);
        if needed > PLOT_BYTES / 2 || align > PAGE {
            return self.place_run(of, place, size, align, sink);
        }
        if !self.next_plot(of, sink) {
            return self.leave_block();
        }
        self.place_block(of, place, size, align, sink)
    }

    /// Another plot for the arena's small blocks.
    pub(super) fn next_plot(&self, of: &OfArena, sink: Sink<'_>) -> bool {
        self.make_room(of, sink);
        let Some(mut plots) = self.open() else { return false };
        let Some(plot) = plots.take(1, of.id, of.number) else { return false };
        let last = of.plot.replace(plot);
        if self.ground.words(last).is_some_and(|last| last.living.load(Relaxed) == 0) {
            plots.bury(last);
        }
        drop(plots);
        self.chain(of, plot);
        let start = self.ground.start(plot);
        self.tell_plot(of, plot, PLOT_BYTES, sink);
        // SAFETY: the plot is the arena's own, and nothing lies in it yet.
        unsafe { canary(start, start.wrapping_add(16)) };
        of.next.set(start.wrapping_add(16));
        of.end.set(start.wrapping_add(PLOT_BYTES));
        true
    }

    fn tell_plot(&self, of: &OfArena, plot: u32, bytes: u64, sink: Sink<'_>) {
        let again = self.ground.plot(plot).is_some_and(|plot| plot.again != 0);
        sink(&Told::Plot { header: of.header, start: self.ground.start(plot), bytes, again });
    }

    pub(super) fn place_run(&self, of: &OfArena, place: u64, size: u64, align: u64, sink: Sink<'_>) -> u64 {
        let zone = zone_behind(size);
        let bytes = 16u64.wrapping_add(align).wrapping_add(size).wrapping_add(zone).wrapping_add(16);
        let run = bytes.div_ceil(PLOT_BYTES);
        let taken = match self.open() {
            Some(mut plots) => u32::try_from(run).ok().and_then(|run| plots.take(run, of.id, of.number)),
            None => None,
        };
        let Some(plot) = taken else { return self.leave_block() };
        self.chain(of, plot);
        let first = self.ground.start(plot);
        self.tell_plot(of, plot, run * PLOT_BYTES, sink);
        // The first block of a run begins at 512 KiB at most, for its row to hold that.
        let start = up(first.wrapping_add(16), align);
        let data_end = start.wrapping_add(size);
        let end = up(data_end.wrapping_add(zone), UNIT);
        // SAFETY: within the run, which is the arena's own; nothing lies in it yet.
        unsafe {
            canary(start.wrapping_sub(BEFORE).max(first), start);
            canary(data_end, end);
        }
        self.enter_large(of, plot, [start, end, size, place], 0)
    }

    pub(super) fn enter_large(&self, of: &OfArena, plot: u32, span: [u64; 4], more: u8) -> u64 {
        let [start, end, size, place] = span;
        let first = self.ground.start(plot);
        let start_units = in_units(first, start);
        if start_units > u64::from(u16::MAX) {
            return self.leave_block();
        }
        if let Some(entry) = self.ground.words(plot) {
            entry.size.store(size, Relaxed);
        }
        let row = Row {
            place: in_units(of.base, place) as u32,
            size: size.min(u64::from(u32::MAX)) as u32,
            link: of.top.get(),
            start: start_units as u16,
            fate: Fate::Lives as u8,
            bits: bits::LARGE | more,
        };
        self.enter_row(of, plot, 0, in_units(first, end) as u32, row);
        start
    }

    /// Pages of its own for a block, the last one guarded; 0: there is no guard to be had.
    pub(super) fn place_guarded(&self, of: &OfArena, place: u64, size: u64, align: u64, sink: Sink<'_>) -> u64 {
        // The end is where it is asked for: only then is the first byte past it on the guard, so no alignment beyond the library's own.
        let align = align.max(UNIT);
        let pages = up(size.max(1), PAGE).wrapping_add(if align > PAGE { align } else { 0 }).wrapping_add(2 * PAGE);
        if align > PAGE || size == 0 {
            return 0;
        }
        if pages > PLOT_BYTES {
            let run = pages.div_ceil(PLOT_BYTES) as u32;
            let taken = self.open().and_then(|mut plots| plots.take(run, of.id, of.number));
            let Some(plot) = taken else { return 0 };
            self.chain(of, plot);
            let first = self.ground.start(plot);
            self.tell_plot(of, plot, u64::from(run) * PLOT_BYTES, sink);
            let guard = first.wrapping_add(u64::from(run) * PLOT_BYTES).wrapping_sub(PAGE);
            let start = guard.wrapping_sub(size) & align.wrapping_neg();
            if !self.guard(of, guard, [start.wrapping_sub(BEFORE).max(first), start, size], sink) {
                return 0;
            }
            return self.enter_large(of, plot, [start, guard.wrapping_add(PAGE), size, place], bits::GUARDED);
        }
        let mut from = up(of.next.get(), PAGE);
        let full = |of: &OfArena| self.ground.words(of.plot.get()).is_none_or(|plot| plot.count() >= ROWS);
        if of.plot.get() == NONE || from.wrapping_add(pages) > of.end.get() || full(of) {
            if !self.next_plot(of, sink) {
                return 0;
            }
            from = up(of.next.get(), PAGE);
        }
        let guard = from.wrapping_add(up(size, PAGE));
        let start = guard.wrapping_sub(size) & align.wrapping_neg();
        let number = self.ground.words(of.plot.get()).map_or(ROWS, PlotWords::count);
        let end = guard.wrapping_add(PAGE);
        let from = of.next.get();
        if number >= ROWS || end > of.end.get() || !self.guard(of, guard, [from, start, size], sink) {
            return 0;
        }
        let first = self.ground.start(of.plot.get());
        let row = Row {
            place: in_units(of.base, place) as u32,
            size: size as u32,
            link: of.top.get(),
            start: in_units(first, start) as u16,
            fate: Fate::Lives as u8,
            bits: bits::GUARDED,
        };
        self.enter_row(of, of.plot.get(), number, in_units(first, end) as u32, row);
        of.next.set(end);
        start
    }

    /// Guards a page behind a block, and fills the bytes between; `from` is where the zone before it begins. Where the kernel does not, the arena's
    /// blocks have canaries from then on.
    pub(super) fn guard(&self, of: &OfArena, page: u64, [from, start, size]: [u64; 3], sink: Sink<'_>) -> bool {
        let guarded = self.open().map(|plots| plots.guard_page(page, PAGE));
        if guarded == Some(false) {
            of.guarded.set(0);
            sink(&Told::NoGuard { header: of.header, quiet: quiet::is_on() });
        }
        if guarded != Some(true) {
            return false;
        }
        // SAFETY: from..page are bytes of the arena's own plot in which nothing lies yet.
        unsafe {
            canary(from, start);
            canary(start.wrapping_add(size), page);
        }
        true
    }

    pub(super) fn chain(&self, of: &OfArena, plot: u32) {
        let older = of.newest.replace(plot);
        if let Some(entry) = self.ground.words(plot) {
            entry.older.store(older, Relaxed);
        }
        match self.ground.words(older) {
            Some(entry) => entry.newer.store(plot, Relaxed),
            None => of.oldest.set(plot),
        }
    }

    /// Has the oldest dead plots closed beyond the budget, and forgets some of the arena's own that are.
    pub(super) fn make_room(&self, of: &OfArena, sink: Sink<'_>) {
        for _ in 0..2 {
            let oldest = match self.open() {
                Some(plots) if plots.dead_plots > self.budget => plots.oldest_dead(),
                _ => None,
            };
            let Some(plot) = oldest else { break };
            // Its arena, or another thread, may be looking at it now, or have closed it.
            let Some(owner) = self.ground.plot(plot).map(|found| found.of) else { break };
            // SAFETY: a plot's arena is a row of the table.
            let Some(_held) = (unsafe { self.hold_now(self.arena(owner)) }) else { break };
            if self.ground.plot(plot).is_none_or(|found| found.stage != Stage::Dead || found.of != owner) {
                continue;
            }
            self.look_at_plot(plot, sink);
            if let Some(mut plots) = self.open()
                && let Some(found) = self.ground.plot(plot).filter(|found| found.stage == Stage::Dead)
                && !plots.close(plot, found.run)
            {
                self.leave_block();
            }
        }
        // From the oldest on, so that each is passed about once.
        let mut plot = of.oldest.get();
        for _ in 0..4 {
            let Some(found) = self.ground.plot(plot) else { break };
            if found.stage == Stage::Closed {
                self.unchain(of, plot, &found);
                if let Some(mut plots) = self.open() {
                    plots.give_up(plot);
                }
            }
            plot = found.newer;
        }
    }

    pub(super) fn unchain(&self, of: &OfArena, plot: u32, found: &Plot) {
        match self.ground.words(found.older) {
            Some(older) => older.newer.store(found.newer, Relaxed),
            None => of.oldest.set(found.newer),
        }
        match self.ground.words(found.newer) {
            Some(newer) => newer.older.store(found.older, Relaxed),
            None => of.newest.set(found.older),
        }
        debug_assert!(plot != of.plot.get());
    }
}

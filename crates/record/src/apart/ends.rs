//! How blocks end: freed, resized, rewound, reset, destroyed with their arena.
//!
//! Relied on: a block that ended keeps its row and its addresses; its bytes are poisoned, or cannot be touched. Deliberately absent: looking at zones
//! (`look`), which is only asked for here.
#![allow(unsafe_code, reason = "poisons blocks and changes rows by address")]

use super::plots::{NONE, PLOT_BYTES, Row, Stage, UNIT, bits};
use super::{Apart, Fate, OfArena, PAGE, POISONED, Sink, canary, in_units, poison, row_of, up, zone_behind};
use core::sync::atomic::{Ordering::Relaxed, Ordering::Release};

impl Apart {
    /// A block is given back, by the arena's event of this order. Where it would lie; 0: it is dead already; itself: it is none of ours.
    ///
    /// # Safety
    /// As [`Apart::alloc`].
    pub unsafe fn free(&self, of: *mut OfArena, block: u64, order: u64, sink: Sink<'_>) -> u64 {
        // SAFETY: as in `alloc`.
        let of = unsafe { &*of };
        let Some((id, row)) = self.find(block) else { return block };
        let (plot, _) = row_of(id);
        if !row.lives() || self.ground.words(plot).is_none_or(|plot| !plot.is_of(of.id)) {
            return 0;
        }
        self.look_around(id, true, sink);
        let place = self.place_in(plot, &row).unwrap_or(block);
        self.kill(of, id, &row, Fate::Freed, order);
        place
    }

    /// The block `old` of `old_size` bytes shall have `size` bytes, and would lie at `place`. Where it lies, with its contents; 0: it is none of
    /// ours.
    ///
    /// # Safety
    /// As [`Apart::alloc`]; `old` is a living block.
    #[allow(clippy::too_many_arguments, reason = "the facts of one request")]
    pub unsafe fn resize(
        &self,
        of: *mut OfArena,
        old: u64,
        place: u64,
        size: u64,
        align: u64,
        order: u64,
        sink: Sink<'_>,
    ) -> u64 {
        // SAFETY: as in `alloc`.
        let of = unsafe { &*of };
        let Some((id, row)) = self.find(old) else { return 0 };
        // Another arena's rows are its thread's.
        if !row.lives() || self.ground.words(row_of(id).0).is_none_or(|plot| !plot.is_of(of.id)) {
            return 0;
        }
        self.look_around(id, true, sink);
        let (plot, number) = row_of(id);
        let (had, was) = (self.size_in(plot, &row), self.place_in(plot, &row));
        let fits = old & align.wrapping_sub(1) == 0 && was == Some(place);
        let Some(entry) = self.ground.words(plot) else { return 0 };
        let first = self.ground.start(plot);
        // SAFETY: a row that was found.
        let words = unsafe { self.ground.row(plot, number) };
        // The guard is where the block's last page ends.
        let same_guard =
            row.bits & bits::GUARDED == 0 || up(old.wrapping_add(size), PAGE) == up(old.wrapping_add(had), PAGE);
        if fits && size <= had && same_guard {
            // Smaller: the zone begins earlier.
            // SAFETY: the end of the block that its owner has given up.
            unsafe { canary(old.wrapping_add(size), old.wrapping_add(had)) };
            if row.bits & bits::LARGE != 0 {
                entry.size.store(size, Relaxed);
            }
            words.set_size(size.min(u64::from(u32::MAX)) as u32);
            return old;
        }
        let end = up(old.wrapping_add(size).wrapping_add(zone_behind(size)), UNIT);
        let last = entry.count() == number.wrapping_add(1);
        if fits && row.bits == 0 && plot == of.plot.get() && last && size < PLOT_BYTES && end <= of.end.get() {
            // The last block of the plot grows in place.
            // SAFETY: old + had..end lies behind the plot's last block: nobody's bytes.
            unsafe { canary(old.wrapping_add(size), end) };
            words.set_size(size as u32);
            entry.set_end(in_units(first, end) as u32);
            of.next.set(end);
            return old;
        }
        let block = self.place_block(of, place, size, align, sink);
        let to = if block == 0 { place } else { block };
        // SAFETY: the old block has `had` bytes; the new one `size`, at its place of our own or in the region, where it would lie unchecked.
        unsafe { core::ptr::copy_nonoverlapping(old as *const u8, to as *mut u8, had.min(size) as usize) };
        let stays_unchecked = was == Some(place);
        if block != 0 && stays_unchecked {
            self.succeed(of, id);
        }
        self.kill(of, id, &row, if stays_unchecked { Fate::Outgrown } else { Fate::Moved }, order);
        to
    }

    /// All is about to die: looks at the zones of living blocks. `over`: the arena ends, and nobody will look again: at its dead blocks, too.
    /// O(living blocks; with `over` the bytes of its plots).
    ///
    /// # Safety
    /// As [`Apart::alloc`].
    pub unsafe fn look(&self, of: *mut OfArena, over: bool, sink: Sink<'_>) {
        // SAFETY: the contract.
        if !over {
            // SAFETY: as in `alloc`.
            let of = unsafe { &*of };
            self.look_at_last_dead(of, sink);
            let mut id = of.top.get();
            while id != NONE {
                let row = self.row(id);
                if row.lives() {
                    self.look_around(id, !self.has_living_neighbour(id, &row), sink);
                }
                id = row.below();
            }
            return;
        }
        // SAFETY: the contract. Others may be looking at its dead plots, and closing them.
        let Some(_held) = (unsafe { self.hold(of) }) else { return };
        // SAFETY: as in `alloc`.
        let mut plot = unsafe { (*of).newest.get() };
        while let Some(found) = self.ground.plot(plot) {
            if found.stage != Stage::Closed {
                self.look_at_plot(plot, sink);
            }
            plot = found.older;
        }
    }

    /// The arena was reset by the event of this order, after [`Apart::look`]. O(its living blocks).
    ///
    /// # Safety
    /// As [`Apart::alloc`].
    pub unsafe fn reset(&self, of: *mut OfArena, order: u64) {
        // SAFETY: as in `alloc`.
        let of = unsafe { &*of };
        while of.top.get() != NONE {
            let id = of.top.get();
            let row = self.row(id);
            if row.lives() {
                self.kill(of, id, &row, Fate::Reset, order);
            } else {
                of.top.set(row.below());
            }
        }
    }

    /// All blocks at or above `place` die by the arena's event of this order. O(blocks that die).
    ///
    /// # Safety
    /// As [`Apart::alloc`].
    pub unsafe fn back(&self, of: *mut OfArena, place: u64, order: u64, sink: Sink<'_>) {
        // SAFETY: as in `alloc`.
        let of = unsafe { &*of };
        self.look_at_last_dead(of, sink);
        while of.top.get() != NONE {
            let id = of.top.get();
            let row = self.row(id);
            if !row.lives() {
                // Freed or moved before.
                of.top.set(row.below());
                continue;
            }
            if !self.reaches(id, &row, place) {
                break;
            }
            let passed = self.has_living_neighbour(id, &row) && self.reaches(row.link, &self.row(row.link), place);
            self.look_around(id, !passed, sink);
            self.kill(of, id, &row, Fate::Rewound, order);
        }
    }

    /// The arena has ended, by the event of this order, after [`Apart::look`]: makes all that it has untouchable. O(its plots); its blocks' rows
    /// stay as they are, and tell with [`OfArena::over`] that they ended then.
    ///
    /// # Safety
    /// As [`Apart::alloc`]; the arena asks nothing any more.
    pub unsafe fn destroy(&self, of: *mut OfArena, order: u64) {
        // SAFETY: the contract.
        let Some(_held) = (unsafe { self.hold(of) }) else { return };
        // SAFETY: as in `alloc`.
        let of = unsafe { &*of };
        let mut plot = of.newest.get();
        of.ended.store(order as u32, Relaxed);
        // Neighbours are closed together.
        let (mut from, mut to) = (0, 0);
        while let Some(found) = self.ground.plot(plot) {
            if found.stage != Stage::Closed {
                let end = plot.wrapping_add(found.run);
                if end == from {
                    from = plot;
                } else {
                    self.close_all(from, to);
                    (from, to) = (plot, end);
                }
            } else {
                self.close_all(from, to);
                (from, to) = (0, 0);
                if let Some(mut plots) = self.open() {
                    plots.give_up(plot);
                }
            }
            plot = found.older;
        }
        self.close_all(from, to);
        [&of.newest, &of.oldest, &of.plot, &of.top].iter().for_each(|cell| cell.set(NONE));
        [&of.next, &of.end].iter().for_each(|cell| cell.set(0));
        // Release: whoever reads it reads the order, too.
        of.over.store(1, Release);
    }

    pub(super) fn close_all(&self, from: u32, to: u32) {
        if from == to {
            return;
        }
        if let Some(mut plots) = self.open() {
            if !plots.close(from, to.wrapping_sub(from)) {
                self.leave_block();
            }
            let mut plot = from;
            while plot < to {
                let run = self.ground.plot(plot).map_or(1, |found| found.run.max(1));
                plots.give_up(plot);
                plot = plot.wrapping_add(run);
            }
        }
    }

    /// A block dies: its bytes are poisoned, unless a correct program may still use them.
    pub(super) fn kill(&self, of: &OfArena, id: u32, row: &Row, fate: Fate, order: u64) {
        let (plot, number) = row_of(id);
        // SAFETY: a living row of the arena, whose thread this is.
        let words = unsafe { self.ground.row(plot, number) };
        if fate != Fate::Outgrown {
            // SAFETY: the bytes of a block that its owner has given back.
            unsafe { poison(self.start_of(plot, row), self.size_in(plot, row).min(POISONED)) };
        }
        if of.top.get() == id {
            of.top.set(row.link);
            words.end(order as u32, fate);
        } else {
            words.end_below(order as u32, fate);
        }
        let living = self.ground.words(plot).map_or(0, |entry| {
            let left = entry.living.load(Relaxed).saturating_sub(1);
            entry.living.store(left, Relaxed);
            left
        });
        if living == 0
            && plot != of.plot.get()
            && let Some(mut plots) = self.open()
        {
            plots.bury(plot);
            drop(plots);
            let run = self.ground.words(plot).map_or(0, |found| found.run.load(Relaxed));
            if u64::from(run) * PLOT_BYTES > POISONED {
                self.close_large(of, plot, run);
            }
        }
    }

    /// A large dead block gives its memory back at once, unless somebody is looking at it.
    #[cold]
    pub(super) fn close_large(&self, of: &OfArena, plot: u32, run: u32) {
        // SAFETY: an arena of the table.
        let held = unsafe { self.hold_now(self.arena(of.number)) };
        if let (Some(_held), Some(mut plots)) = (held, self.open())
            && self.ground.words(plot).is_some_and(|found| found.stage() == Stage::Dead)
            && !plots.close(plot, run)
        {
            self.leave_block();
        }
    }

    /// The arena's newest block takes the place of an older one in the order of places: what it would do if it had been resized in place.
    pub(super) fn succeed(&self, of: &OfArena, old: u32) {
        let new = of.top.get();
        let (above, below) = (self.row(new).link, self.row(old).below());
        let set = |id: u32, link: u32| {
            let (plot, number) = row_of(id);
            // SAFETY: a row of the arena, whose thread this is.
            unsafe { self.ground.row(plot, number) }.set_link(link);
        };
        let mut at = above;
        if above != old {
            // Rare: a block that is not the last, and lies where its new alignment is not met.
            while at != NONE && self.row(at).below() != old {
                at = self.row(at).below();
            }
            if at == NONE {
                return;
            }
            set(at, new);
            of.top.set(above);
        }
        set(new, below);
    }

    /// Whether a living block has to end when its arena goes back to `place`. One that began below it does if it is newer: where a block was freed,
    /// the cursor stood lower for a while. A block of no bytes at the very place may be older, and stays.
    pub(super) fn reaches(&self, id: u32, row: &Row, place: u64) -> bool {
        let (plot, _) = row_of(id);
        self.place_in(plot, row).is_some_and(|begin| begin.wrapping_add(self.size_in(plot, row)) > place)
    }

    /// True when the block's neighbour in the plot is the next below it in the arena: the zone between is looked at with that one.
    pub(super) fn has_living_neighbour(&self, id: u32, row: &Row) -> bool {
        row_of(id).1 > 0 && row.link.wrapping_add(1) == id && self.lives(row.link)
    }

    /// True for a living block.
    fn lives(&self, id: u32) -> bool {
        let (plot, number) = row_of(id);
        // SAFETY: a row's number is made where the row is written.
        unsafe { self.ground.row(plot, number) }.lives()
    }

    /// A row that was written.
    pub(super) fn row(&self, id: u32) -> Row {
        let (plot, number) = row_of(id);
        // SAFETY: a row's number is made where the row is written.
        unsafe { self.ground.row(plot, number) }.read()
    }
}

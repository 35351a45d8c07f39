//! What happens when the comparison on the allocation path fails: watching, committing more memory, the last bytes of a
//! bounded arena, and refusal.
//!
//! May be relied on: after a refusal the arena is as before. `limit` is raised only by compare-exchange from the value that the
//! owner stored last (or from [`LIMIT_RELEASE`]), so that a 0 stored by an outsider is never undone. Deliberately absent:
//! the common path.
#![allow(unsafe_code)] // Calls the memory source; stores into `limit`, which others may write too.

use crate::header::{LIMIT_RELEASE, LIMIT_WATCH, MAGIC, flags};
use crate::probe::{EventKind, Happening};
use crate::system::HUGE;
use crate::{Arena, Error, geometry, refill, slab};
use core::alloc::Layout;
use core::panic::Location;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering};

impl Arena {
    /// The allocation path's other half, by any layout.
    #[cold]
    #[inline(never)]
    pub(crate) fn alloc_cold(&self, layout: Layout, caller: &'static Location<'static>) -> Result<NonNull<u8>, Error> {
        self.heed_limit();
        let before = self.cursor.get().addr();
        let sampler = self.sampler(before);
        match self.take(layout) {
            Ok(block) if let Some(sampler) = sampler => {
                self.sample_block(sampler, before, block, layout, caller);
                Ok(block)
            }
            Ok(place) => {
                let block = self.checked_block(place, layout);
                self.report(Happening {
                    kind: EventKind::ALLOC,
                    block: block.as_ptr(),
                    size: layout.size(),
                    align: layout.align(),
                    caller: Some(caller),
                    ..Happening::default()
                });
                Ok(block)
            }
            Err(error) => Err(self.refuse(layout, error, caller)),
        }
    }

    /// Finds a block by its exact end, commits memory for it, and moves the cursor. Reports nothing.
    pub(crate) fn take(&self, layout: Layout) -> Result<NonNull<u8>, Error> {
        let span = match self.find_room(layout) {
            Err(Error::Full) if self.flags.get() & flags::LEASED != 0 => return refill::take(self, layout),
            other => other?,
        };
        let cursor = self.cursor.get();
        self.cursor.set(cursor.with_addr(span.end));
        // SAFETY: I2 — not below `base`, hence not null.
        Ok(unsafe { NonNull::new_unchecked(cursor.with_addr(span.start)) })
    }

    /// Counts and reports a refusal.
    pub(crate) fn refuse(&self, layout: Layout, error: Error, caller: &'static Location<'static>) -> Error {
        self.refusals.set(self.refusals.get().saturating_add(1));
        self.report(Happening {
            kind: EventKind::REFUSED,
            size: layout.size(),
            align: layout.align(),
            caller: Some(caller),
            ..Happening::default()
        });
        error
    }

    /// As `alloc_cold`; the panic lives here, out of the allocation path.
    #[cold]
    #[inline(never)]
    pub(crate) fn alloc_cold_or_panic(&self, layout: Layout, caller: &'static Location<'static>) -> NonNull<u8> {
        match self.alloc_cold(layout, caller) {
            Ok(block) => block,
            Err(error) => self.out_of_memory(layout, error, caller),
        }
    }

    /// The one panic of all calls that have a `try_` twin.
    #[cold]
    #[inline(never)]
    pub(crate) fn out_of_memory(&self, layout: Layout, error: Error, caller: &'static Location<'static>) -> ! {
        panic!(
            "arena {} {:?}: {} bytes (align {}) at offset {} of {}: {error}; asked for at {caller}",
            self.id(),
            self.name(),
            layout.size(),
            layout.align(),
            self.offset(),
            self.capacity(),
        )
    }

    /// Finds the place of a block by its exact end, and commits memory for it. Changes the cursor not.
    fn find_room(&self, layout: Layout) -> Result<geometry::Span, Error> {
        let base = self.base.get().addr();
        // I2 — no overflow: base + capacity lies within the reservation.
        let bound = base + self.capacity.get();
        let cursor = self.cursor.get().addr();
        let Some(span) = geometry::fit_exact(cursor, bound, layout.size(), layout.align()) else {
            return Err(Error::Full);
        };
        self.ensure_committed(span.end)?;
        Ok(span)
    }

    /// Commits memory up to the address `end`, which is at most up(base + capacity, 8), and raises the limit.
    pub(crate) fn ensure_committed(&self, end: usize) -> Result<(), Error> {
        let base = self.base.get().addr();
        let committed = self.committed.get();
        if end <= base + committed {
            return Ok(());
        }
        let start = self.region_start();
        let ahead = start.addr().get();
        let flag = self.flags.get();
        // The first huge page's offset in the region; regions without huge pages never get there.
        let head = if flag & flags::HUGE != 0 {
            (geometry::up(ahead as u64, HUGE as u64) as usize) - ahead
        } else {
            usize::MAX
        };
        let from = base + committed - ahead;
        let needed = end - ahead;
        let reserved = base + self.reserved.get() - ahead;
        // I2 — no overflow.
        let bound = geometry::commit_bound(base + self.capacity.get() - ahead, reserved, head, HUGE);
        let to = geometry::commit_target(needed, bound, head, HUGE, self.commit_ahead());
        let source = self.source.get();
        if to > head && flag & flags::HUGE_ADVISED == 0 {
            // SAFETY: I2, I6 — the range lies in the region that `source` reserved.
            unsafe { source.advise_huge(start, head, reserved) };
            self.flags.set(flag | flags::HUGE_ADVISED);
        }
        // SAFETY: I2, I6 — from ≤ to ≤ reserved, all within the region that `source` reserved.
        unsafe { source.commit(start, from, to, flag & flags::POPULATE != 0)? };
        self.committed.set(to - (base - ahead));
        self.commits.set(self.commits.get().saturating_add(1));
        self.set_true_limit();
        Ok(())
    }

    /// The bytes to commit beyond what is needed, if the program has said how many.
    fn commit_ahead(&self) -> Option<usize> {
        (self.ahead_pages.get() as usize).checked_sub(1).map(|pages| pages.saturating_mul(geometry::COMMIT_PAGE))
    }

    /// The region's first byte: what the source calls `start`. The header lies in the first page, at the region's colour; a slot's
    /// region is the slab that it lies in.
    pub(crate) fn region_start(&self) -> NonNull<u8> {
        let start = if slab::is_slot(self.class.get()) {
            self.link.get().addr()
        } else {
            (&raw const *self).addr() - self.colour.get() as usize
        };
        // SAFETY: I2 — the header lies above address 4096 and in the cursor's allocation.
        unsafe { NonNull::new_unchecked(self.cursor.get().with_addr(start)) }
    }

    /// Recomputes `true_limit` after `committed` or `capacity` changed, and moves `limit` there unless the arena is watched.
    pub(crate) fn set_true_limit(&self) {
        let base = self.base.get().addr();
        let limit = geometry::limit(base + self.committed.get(), base + self.capacity.get());
        self.true_limit.set(limit);
        if self.flags.get() & flags::WATCHED == 0 {
            self.store_limit(limit);
        } else if self.stored_limit.get() > limit {
            // A sample's limit must not stand above what is committed: I4. Not 0, at which the way is drawn anew: those that are drawn
            // anew for being long would come out too short.
            let lowered = if self.sample_at.get() == 0 { LIMIT_WATCH } else { limit.saturating_sub(geometry::GRAIN) };
            self.store_limit(lowered);
        }
    }

    /// Moves `limit` from what we stored last to `value`; not if an outsider stored something since.
    pub(crate) fn store_limit(&self, value: usize) {
        if self.exchange_limit(self.stored_limit.get(), value) {
            self.stored_limit.set(value);
        }
    }

    fn exchange_limit(&self, from: usize, to: usize) -> bool {
        // SAFETY: I1 — valid and aligned while `self` is borrowed; everyone else's accesses are single aligned stores.
        let limit = unsafe { AtomicUsize::from_ptr(self.limit.get()) };
        limit.compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// A checked arena's calls have to go the checker's way, whoever asks to end watching.
    fn stay_watched(&self) {
        if self.exchange_limit(LIMIT_RELEASE, LIMIT_WATCH) {
            self.stored_limit.set(LIMIT_WATCH);
        }
    }

    /// Takes note of what an outsider stored into `limit` since the last time.
    pub(crate) fn heed_limit(&self) {
        if self.magic.get() != MAGIC {
            return self.tell_ended();
        }
        match self.limit_now() {
            LIMIT_RELEASE if self.is_checked() => self.stay_watched(),
            LIMIT_RELEASE => {
                self.flags.set(self.flags.get() & !flags::WATCHED);
                self.forget_samples();
                if self.exchange_limit(LIMIT_RELEASE, self.true_limit.get()) {
                    self.stored_limit.set(self.true_limit.get());
                }
            }
            LIMIT_WATCH => {
                self.flags.set(self.flags.get() | flags::WATCHED);
                self.stored_limit.set(LIMIT_WATCH);
                // Perhaps by another observer: it draws anew.
                self.sample_at.set(0);
            }
            _ => {}
        }
    }
}

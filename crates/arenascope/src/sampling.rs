//! Sampling: which allocations an observer hears of that wants one in so many bytes.
//!
//! May be relied on: each block is told of with the probability that its size asks for, whatever else the arena does: rewinds,
//! resets, scopes, bursts, commits and leases lose no way towards the next sample and win none. What is not told of costs nothing on the
//! allocation path: `limit` stands at the next sample, or nearer. Deliberately absent: randomness, which is the observer's.
//!
//! # How it works
//! Sample points lie on the way that the cursor goes, at distances that the observer draws ([`Observer::next_sample`]): a block with a point
//! among its bytes is told of. With exponential distances of mean N that is a block of `size` bytes with probability 1 − exp(−size / N), and by no
//! memory of what was before; so a distance may be drawn anew wherever keeping it is too much trouble, a new lease of a shared arena for one,
//! and an arena that lives for a few bytes has its blocks sampled as any other. Where the cursor goes back, the next point goes back with it:
//! what is allocated there next is new way.
//! Blocks of N bytes or more are told of always, and are no way. A point in padding is no sample, and the next one is drawn.
//! Bytes by which a block grows are way as a block's are.
//!
//! Of what ends blocks (free, resize, rewind, scope exit, reset) only that is told which may end a sampled one: `sampled_top` lies above the highest of these.
//! The arena's end is told if anything was.
#![allow(unsafe_code)] // Calls the observer's function; reads the table that a program gave.

use crate::header::flags;
use crate::probe::{EventKind, Happening, NEXT_SAMPLE_END, Observer};
use crate::{Arena, geometry};
use core::alloc::Layout;
use core::panic::Location;
use core::ptr::NonNull;

/// How far the next sample is, and who draws.
#[derive(Clone, Copy)]
pub(crate) struct Sampler {
    observer: *const Observer,
    /// The mean distance, from which on blocks are told of always.
    mean: usize,
    /// From the cursor.
    left: usize,
}

/// Whether one of the next `size` bytes after `pad` more is a sample point, and how far the next one is from the end of all `footprint` bytes.
///
/// `left` is the distance to the next point; `draw` gives another. `pad + size ≤ footprint`.
#[inline]
fn walk(left: usize, pad: usize, size: usize, footprint: usize, mut draw: impl FnMut() -> usize) -> (bool, usize) {
    let left = if left < pad { pad.saturating_add(draw()) } else { left };
    if left >= footprint {
        (false, left - footprint)
    } else {
        // In the block, or in what its slot has behind it.
        (left < pad.saturating_add(size), draw())
    }
}

impl Sampler {
    fn draw(&self, arena: &Arena) -> usize {
        // SAFETY: the table lives as long as anything is watched: `observe` and `observe_all` had that promised.
        let next_sample = unsafe {
            if ((*self.observer).table_bytes as usize) < NEXT_SAMPLE_END { None } else { (*self.observer).next_sample }
        };
        match next_sample {
            // SAFETY: as above; its function may be called here.
            Some(next_sample) => unsafe { next_sample((*self.observer).context, arena) },
            None => self.mean,
        }
    }

    /// Goes the way of a block at `pad` bytes from the cursor: whether it is sampled.
    #[inline]
    fn pass(&mut self, arena: &Arena, pad: usize, size: usize, footprint: usize) -> bool {
        if size >= self.mean {
            return true;
        }
        let (sampled, left) = walk(self.left, pad, size, footprint, || self.draw(arena));
        self.left = left;
        sampled
    }
}

impl Arena {
    /// The way to the next sample from a cursor that was the arena's a moment ago, when the arena is watched by an observer that samples.
    #[inline]
    pub(crate) fn sampler(&self, cursor: usize) -> Option<Sampler> {
        // A checked arena's calls have to go the checker's way.
        if self.flags.get() & (flags::WATCHED | flags::REPORTING | flags::CHECKED) != flags::WATCHED {
            return None;
        }
        let observer = self.current_observer();
        // SAFETY: null, or a table that lives as long as anything is watched: `observe` and `observe_all` had that promised.
        let mean = unsafe { observer.as_ref() }?.sample_bytes;
        if mean == 0 {
            return None;
        }
        let at = self.sample_at.get();
        let mut sampler = Sampler { observer, mean, left: at.wrapping_sub(cursor) };
        // None yet; or passed while an observer was at work, or before another began.
        if at < cursor {
            sampler.left = sampler.draw(self);
        }
        Some(sampler)
    }

    /// Above the first bytes of all living samples; 0 while none are taken. In the word of the checker, which no sampled arena has.
    #[inline(always)]
    pub(crate) fn sampled_top(&self) -> usize {
        self.checker.get().addr()
    }

    fn set_sampled_top(&self, top: usize) {
        self.checker.set(core::ptr::without_provenance_mut(top));
    }

    /// True while samples are taken and none lives at `from` or above: whatever ends there is not told.
    #[inline(always)]
    pub(crate) fn is_no_sample(&self, from: usize) -> bool {
        self.sample_at.get() != 0 && from >= self.sampled_top()
    }

    /// The cursor goes, or has gone, back by so many bytes: the next sample goes with it.
    #[inline]
    pub(crate) fn sample_back(&self, bytes: usize) {
        if bytes > 0 {
            self.sample_at.set(self.sample_at.get().saturating_sub(bytes));
            // As far below the sample, and below a block of the mean distance, as it was.
            self.store_limit(self.stored_limit.get().saturating_sub(bytes));
        }
    }

    /// An arena begins under an observer: true when that one samples, and need not be told.
    #[inline]
    pub(crate) fn sample_from_birth(&self) -> bool {
        self.flags.set(self.flags.get() | flags::WATCHED);
        let cursor = self.cursor.get().addr();
        match self.sampler(cursor) {
            Some(sampler) => {
                self.go_on(sampler, cursor);
                true
            }
            None => false,
        }
    }

    /// Notes where the next sample is, and lets allocations from `cursor` on run up to it.
    #[inline]
    fn go_on(&self, sampler: Sampler, cursor: usize) {
        self.sample_at.set(cursor.saturating_add(sampler.left));
        // Blocks of `mean` bytes must not fit below the limit.
        let ahead = sampler.left.min(sampler.mean.saturating_sub(geometry::GRAIN));
        let next = cursor.saturating_add(ahead) & !(geometry::GRAIN - 1);
        // Below the true limit, so that other events still see that the arena is watched.
        let highest = self.true_limit.get().saturating_sub(geometry::GRAIN);
        self.heed_limit();
        if self.flags.get() & flags::WATCHED != 0 {
            self.store_limit(next.min(highest));
        }
    }

    /// A block was taken at a cursor of `before`: tells of it if it is a sample.
    #[cold]
    #[inline(never)]
    pub(crate) fn sample_block(
        &self,
        mut sampler: Sampler,
        before: usize,
        block: NonNull<u8>,
        layout: Layout,
        caller: &'static Location<'static>,
    ) {
        let (at, after) = (block.addr().get(), self.cursor.get().addr());
        // In another lease, or apart from any: only the block itself is way.
        let here = before <= at && at.saturating_add(layout.size()) <= after;
        let (pad, footprint) = if here { (at - before, after - before) } else { (0, layout.size()) };
        if sampler.pass(self, pad, layout.size(), footprint) {
            self.tell_sample(
                sampler.observer,
                Happening {
                    kind: EventKind::ALLOC,
                    block: block.as_ptr(),
                    size: layout.size(),
                    align: layout.align(),
                    caller: Some(caller),
                    ..Happening::default()
                },
            );
        }
        self.go_on(sampler, self.cursor.get().addr());
    }

    /// A block was resized at a cursor of `before`: tells of that if it concerns a sample, and of the new bytes if they are one.
    #[cold]
    #[inline(never)]
    pub(crate) fn sample_resize(&self, mut sampler: Sampler, before: usize, what: Happening) {
        let (start, after) = (what.block.addr(), self.cursor.get().addr());
        let in_place = what.block == what.old_block;
        if what.old_block.addr() < self.sampled_top() {
            self.tell(sampler.observer, what);
        }
        if in_place && what.size > what.old_size {
            let grown = what.size - what.old_size;
            // The first of them may lie in what the old slot had behind it: no way, and never a sample.
            let way = after.saturating_sub(before);
            let inside = grown.min(way);
            if sampler.pass(self, 0, inside, way) {
                let block = what.block.with_addr(before);
                let kind = EventKind::GROWN;
                self.tell_sample(sampler.observer, Happening { kind, block, size: inside, ..what });
            }
        } else if !in_place {
            let here = before <= start && start.saturating_add(what.size) <= after;
            let (pad, footprint) = if here { (start - before, after - before) } else { (0, what.size) };
            if sampler.pass(self, pad, what.size, footprint) {
                let kind = EventKind::ALLOC;
                self.tell_sample(
                    sampler.observer,
                    Happening { kind, old_block: core::ptr::null_mut(), old_size: 0, ..what },
                );
            }
        }
        self.go_on(sampler, self.cursor.get().addr());
    }

    /// What is no allocation: the cursor goes, or has gone, back to `after`, and the next sample with it.
    pub(crate) fn sample_other(&self, sampler: Sampler, what: Happening, after: usize) {
        let top = self.sampled_top();
        let told = match what.kind {
            EventKind::FREE => what.block.addr() < top,
            EventKind::SCOPE_EXIT | EventKind::REWIND | EventKind::RESET => after < top,
            EventKind::DESTROY | EventKind::INHERITED => self.events.get() > 0,
            _ => false,
        };
        if told {
            self.tell(sampler.observer, what);
        }
        match what.kind {
            EventKind::SCOPE_EXIT | EventKind::REWIND | EventKind::RESET => self.set_sampled_top(top.min(after)),
            // Its memory may be another arena's in a moment.
            EventKind::DESTROY => return self.forget_samples(),
            _ => {}
        }
        self.go_on(sampler, after);
    }

    /// No sample lies ahead, and none is living.
    pub(crate) fn forget_samples(&self) {
        self.sample_at.set(0);
        if !self.is_checked() {
            self.set_sampled_top(0);
        }
    }

    fn tell_sample(&self, observer: *const Observer, what: Happening) {
        self.set_sampled_top(self.sampled_top().max(what.block.addr().saturating_add(1)));
        self.tell(observer, what);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The way byte by byte: a point at distance 0 is the next byte.
    fn by_bytes(
        mut left: usize,
        pad: usize,
        size: usize,
        footprint: usize,
        draws: &mut impl Iterator<Item = usize>,
    ) -> (bool, usize) {
        let mut sampled = false;
        let mut byte = 0;
        while byte < footprint {
            if left > 0 {
                left -= 1;
                byte += 1;
            } else if byte < pad {
                // A point in the padding: the next one counts from the block on (by no memory it may).
                byte = pad;
                left = draws.next().unwrap();
            } else {
                sampled |= byte < pad + size;
                byte = footprint;
                left = draws.next().unwrap();
            }
        }
        (sampled, left)
    }

    #[test]
    fn the_way_of_a_block_is_that_of_its_bytes() {
        for left in 0..40 {
            for pad in 0..8 {
                for size in 0..10 {
                    for tail in 0..8 {
                        for first in [0, 1, 3, 9, 30] {
                            let footprint = pad + size + tail;
                            let (mut one, mut two) = ([first, 5].into_iter(), [first, 5].into_iter());
                            let ours = walk(left, pad, size, footprint, || one.next().unwrap());
                            let theirs = by_bytes(left, pad, size, footprint, &mut two);
                            assert_eq!(ours, theirs, "{left} {pad} {size} {tail} {first}");
                        }
                    }
                }
            }
        }
    }
}

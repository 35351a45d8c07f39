//! What a thread does when its lease of a shared arena is used up: the next lease, a block apart, or refusal.
//!
//! May be relied on: after a refusal berth and arena are as before. A lease that ends where nobody has leased yet grows in place, so that one
//! thread alone loses nothing. Deliberately absent: the common path, which is every arena's (`alloc`).
#![allow(unsafe_code)] // Points a berth's arena at other memory; asks the source for it.

use crate::header::Arena;
use crate::leases::{self, LEASE_GRAIN, Span};
use crate::probe::{EventKind, Happening};
use crate::shared_header::{Berth, HEAD_BYTES, SharedHeader};
use crate::{Error, geometry, header::flags};
use core::alloc::Layout;
use core::mem::offset_of;
use core::ptr::NonNull;
use core::sync::atomic::Ordering;

/// A berth's first lease, in bytes: some thousand blocks, so that the atomic exchange costs nothing beside them.
pub(crate) const FIRST_LEASE_BYTES: u64 = 64 << 10;

/// Leases double up to this many bytes: what a thread that stops allocating may keep from others.
const LARGEST_LEASE_BYTES: u64 = 1 << 20;

/// A lease takes at most so much of what is left: a bounded arena that is nearly full goes round in smaller pieces.
const SHARE: u64 = 16;

/// The smallest lease, in bytes, where there is room for it: one page.
const SMALLEST_LEASE_BYTES: u64 = 4 << 10;

/// Of a lease so much may be lost at its end: a sixteenth. Where a block leaves more, it gets a span of its own.
const LOSABLE: u64 = 16;

/// The end of a lease that is never handed out: S4.
const GAP: usize = 8;

/// Bytes of the next lease, when the last one suggests `wanted` and the arena has `left`.
const fn lease_bytes(wanted: u64, left: u64) -> u64 {
    let share = left / SHARE / LEASE_GRAIN * LEASE_GRAIN;
    let share = if share < SMALLEST_LEASE_BYTES { SMALLEST_LEASE_BYTES } else { share };
    if wanted < share { wanted } else { share }
}

/// True when a block that needs `needed` bytes gets a span of its own, and the lease its rest: when it is large, or the rest too large to be lost.
const fn apart(needed: u64, rest: u64, lease: u64) -> bool {
    needed > lease / 2 || rest > lease / LOSABLE
}

/// Bytes of a span that holds such a block wherever it begins, its gap included; None for more than there can be.
fn needed(layout: Layout) -> Option<u64> {
    let padding = (layout.align() as u64).saturating_sub(LEASE_GRAIN);
    let bytes = (layout.size() as u64).checked_add(padding)?.checked_add(GAP as u64)?;
    bytes.checked_next_multiple_of(LEASE_GRAIN).filter(|bytes| *bytes <= isize::MAX as u64)
}

/// A block for a berth whose lease has no room for it.
///
/// The berth's arena is one of ours: `link` leads to the shared arena's header.
#[cold]
#[inline(never)]
pub(crate) fn take(arena: &Arena, layout: Layout) -> Result<NonNull<u8>, Error> {
    let shared = of(arena);
    let block = next(shared, arena, layout);
    if block.is_err() {
        shared.refusals.fetch_add(1, Ordering::Relaxed);
    }
    block
}

/// Makes the lease longer, so that its last block may end at the address `end`: if nobody has leased behind it. `report` is the caller's to do.
#[cold]
#[inline(never)]
pub(crate) fn lengthen(arena: &Arena, end: usize) -> bool {
    let bound = arena.base.get().addr() + arena.capacity.get();
    let more = end.saturating_sub(bound) as u64;
    more.checked_next_multiple_of(LEASE_GRAIN).is_some_and(|more| in_place(of(arena), arena, more) == Ok(true))
}

/// Bytes of the shared arena that are in no lease yet.
pub(crate) fn not_leased(arena: &Arena) -> usize {
    let shared = of(arena);
    shared.capacity.get().saturating_sub(shared.cursor.load(Ordering::Relaxed)) as usize
}

fn of(arena: &Arena) -> &SharedHeader {
    // SAFETY: S1 — a berth's link is its arena's header, which lives as long as the berth.
    unsafe { &*arena.link.get().cast::<SharedHeader>() }
}

fn berth(arena: &Arena) -> &Berth {
    // Not from `arena` itself, which may reach no further than its own bytes.
    // SAFETY: S1 — the arena is a berth's field; `mapping` leads to it, and was made from a pointer to the whole row.
    unsafe { &*arena.mapping.get().byte_sub(offset_of!(Berth, arena)).cast::<Berth>() }
}

/// Adds `least` bytes or more to the lease. False when somebody has leased behind it, or there are not so many.
fn in_place(shared: &SharedHeader, arena: &Arena, least: u64) -> Result<bool, Error> {
    if arena.capacity.get() == 0 {
        return Ok(false);
    }
    let berth = berth(arena);
    let end = (arena.base.get().addr() + arena.capacity.get() + GAP - shared.base.get().addr()) as u64;
    let left = shared.capacity.get().saturating_sub(end) / LEASE_GRAIN * LEASE_GRAIN;
    let more = least.max(lease_bytes(berth.next_lease_bytes.get(), left).min(left));
    let Some(span) = leases::extend(&shared.cursor, shared.capacity.get(), end, more) else { return Ok(false) };
    shared.commit(span)?;
    set_bounds(arena, arena.base.get(), arena.capacity.get() + more as usize);
    berth.grow_next();
    Ok(true)
}

fn next(shared: &SharedHeader, arena: &Arena, layout: Layout) -> Result<NonNull<u8>, Error> {
    let needed = needed(layout).ok_or(Error::TooLarge)?;
    if in_place(shared, arena, needed)? {
        let block = place(arena, layout);
        report(arena);
        return block;
    }
    let berth = berth(arena);
    let bound = shared.capacity.get();
    let left = bound.saturating_sub(shared.cursor.load(Ordering::Relaxed));
    let lease = lease_bytes(berth.next_lease_bytes.get(), left);
    let rest = (arena.capacity.get() - arena.offset()) as u64;
    let apart = apart(needed, rest, lease);
    let want = if apart { needed } else { lease };
    let Some(span) = leases::take(&shared.cursor, bound, needed, want) else { return Err(shared.full(needed)) };
    shared.commit(span)?;
    // SAFETY: S2 — inside the region, with its provenance.
    let start = unsafe { shared.base.get().add(span.start as usize) };
    if apart {
        let at = geometry::up(start.addr() as u64, layout.align() as u64) as usize;
        // SAFETY: as above: not null. The span is the block's alone.
        return Ok(unsafe { NonNull::new_unchecked(start.with_addr(at)) });
    }
    shared.lost.fetch_add(rest, Ordering::Relaxed);
    arena.cursor.set(start);
    arena.high_water.set(start.addr());
    set_bounds(arena, start, (span.end - span.start) as usize - GAP);
    berth.grow_next();
    let block = place(arena, layout);
    report(arena);
    block
}

/// Bounds for a lease that is new or longer.
fn set_bounds(arena: &Arena, base: *mut u8, bytes: usize) {
    arena.base.set(base);
    arena.capacity.set(bytes);
    arena.committed.set(bytes);
    arena.reserved.set(bytes);
    arena.set_true_limit();
}

/// Tells of a lease that is new or longer. Once the block that it is for has its place: an observer may allocate here, too.
pub(crate) fn report(arena: &Arena) {
    let (block, size) = (arena.base.get(), arena.capacity.get());
    arena.report(Happening { kind: EventKind::LEASE, block, size, ..Happening::default() });
}

/// The block, in a lease that was taken for it.
fn place(arena: &Arena, layout: Layout) -> Result<NonNull<u8>, Error> {
    let cursor = arena.cursor.get();
    let bound = arena.base.get().addr() + arena.capacity.get();
    let span = geometry::fit_exact(cursor.addr(), bound, layout.size(), layout.align());
    debug_assert!(span.is_some(), "`needed` bytes hold the block");
    let span = span.ok_or(Error::Full)?;
    arena.cursor.set(cursor.with_addr(span.end));
    // SAFETY: I2 — not below `base`, hence not null.
    Ok(unsafe { NonNull::new_unchecked(cursor.with_addr(span.start)) })
}

impl Berth {
    fn grow_next(&self) {
        self.next_lease_bytes.set((self.next_lease_bytes.get() * 2).min(LARGEST_LEASE_BYTES));
    }
}

impl SharedHeader {
    /// Makes a span usable, or gives it back.
    fn commit(&self, span: Span) -> Result<(), Error> {
        let (from, to) = (HEAD_BYTES + span.start as usize, HEAD_BYTES + span.end as usize);
        // A thread's first lease may be all it needs: its pages come as they are touched.
        let populate = self.flags.get() & flags::POPULATE != 0 && span.end - span.start > FIRST_LEASE_BYTES;
        // SAFETY: S2 — inside the region that the source reserved.
        let done = unsafe { self.source.get().commit(self.region.get(), from, to, populate) };
        if done.is_err() && !leases::undo(&self.cursor, span) {
            self.lost.fetch_add(span.end - span.start, Ordering::Relaxed);
        }
        done
    }

    /// Why a block of `needed` bytes cannot be had.
    fn full(&self, needed: u64) -> Error {
        let held = self.berths().any(|berth| {
            let arena = Berth::arena(berth).as_ptr();
            // SAFETY: S1 — mapped; aligned words, each read once and volatile, as an outsider's: another thread may be writing them.
            let (base, cursor, capacity) = unsafe {
                (
                    (*arena).base.as_ptr().read_volatile(),
                    (*arena).cursor.as_ptr().read_volatile(),
                    (*arena).capacity.as_ptr().read_volatile(),
                )
            };
            capacity.saturating_sub(cursor.addr().wrapping_sub(base.addr())) as u64 >= needed
        });
        if held { Error::LeasesHeld } else { Error::Full }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leases_become_smaller_when_little_is_left() {
        assert_eq!(lease_bytes(FIRST_LEASE_BYTES, 1 << 30), FIRST_LEASE_BYTES);
        assert_eq!(lease_bytes(FIRST_LEASE_BYTES, 256 << 10), 16 << 10);
        assert_eq!(lease_bytes(FIRST_LEASE_BYTES, 100), SMALLEST_LEASE_BYTES, "`take` gives what there is");
    }

    #[test]
    fn what_is_lost_at_a_leases_end_is_a_sixteenth_at_most() {
        let lease = FIRST_LEASE_BYTES;
        for rest in 0..=lease {
            for needed in [128, 4096, 4224, lease / 2, lease / 2 + 128, lease] {
                assert!(apart(needed, rest, lease) || rest <= lease / 16 && needed <= lease / 2);
            }
        }
    }

    #[test]
    fn a_span_holds_its_block_wherever_it_begins() {
        for (size, align) in [(0, 1), (1, 1), (120, 8), (121, 8), (4096, 4096), (8, 1 << 20), (1 << 40, 256)] {
            let layout = Layout::from_size_align(size, align).unwrap();
            let bytes = needed(layout).unwrap();
            assert_eq!(bytes % LEASE_GRAIN, 0);
            for start in (0..4096).step_by(128) {
                let at = geometry::up(start, align as u64);
                assert!(at + size as u64 + GAP as u64 <= start + bytes, "{size} {align} at {start}");
            }
        }
        assert_eq!(needed(Layout::from_size_align(isize::MAX as usize, 1).unwrap()), None);
    }
}

//! What a thread does when its lease of a shared arena is used up: the next lease, a block apart, or refusal.
//!
//! May be relied on: after a refusal berth and arena are as before. A lease that ends where nobody has leased yet grows in place, so that one
//! thread alone loses nothing. Deliberately absent: the common path, which is every arena's (`alloc`).
#![allow(unsafe_code)] // Points a berth's arena at other memory; asks the source for it.

use crate::header::Arena;
use crate::lease_sizes::{GAP, SHARE, apart, doubled, span_bytes};
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

/// The smallest lease, in bytes, where there is room for it: one page.
const SMALLEST_LEASE_BYTES: u64 = 4 << 10;

/// Bytes of the next lease, when the last one suggests `wanted` and the arena has `left`.
const fn lease_bytes(wanted: u64, left: u64) -> u64 {
    let share = left / SHARE / LEASE_GRAIN * LEASE_GRAIN;
    let share = if share < SMALLEST_LEASE_BYTES { SMALLEST_LEASE_BYTES } else { share };
    if wanted < share { wanted } else { share }
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
    let needed = span_bytes(layout).ok_or(Error::TooLarge)?;
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
    debug_assert!(span.is_some(), "`span_bytes` hold the block");
    let span = span.ok_or(Error::Full)?;
    arena.cursor.set(cursor.with_addr(span.end));
    // SAFETY: I2 — not below `base`, hence not null.
    Ok(unsafe { NonNull::new_unchecked(cursor.with_addr(span.start)) })
}

impl Berth {
    fn grow_next(&self) {
        self.next_lease_bytes.set(doubled(self.next_lease_bytes.get()));
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
}

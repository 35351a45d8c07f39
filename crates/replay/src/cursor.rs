//! What does a saved cursor mean? The program hands a machine word to its rewind function; this file finds the blocks
//! that lie beyond it.
//!
//! Readings, in this order: the value of a mark that was taken and still stands; an address inside the arena; an
//! offset into its only extent. May be relied on: a value that fits no reading kills nothing. Absent on purpose:
//! marks that are structs (the recorder hands us their first word).

use crate::arena::{Arena, Extent};
use crate::blocks::Block;
use alloc::vec::Vec;
use arenascope_event::MarkValue;

/// One reading of a saved cursor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Reading {
    /// The mark at this index of `Arena::marks`.
    Mark(usize),
    /// Blocks of this extent from this address on die, and blocks of other extents placed after the first of them.
    Cut { extent: u32, from: u64 },
    /// Everything dies: the offset 0.
    Everything,
    /// None fits.
    Unknown,
}

fn read(arena: &Arena, mark: MarkValue) -> Reading {
    if let Some(index) = arena.marks.iter().rposition(|known| known.value == mark) {
        return Reading::Mark(index);
    }
    let value = mark.0;
    // A cursor at the very end of a full extent is an address, too, but an extent that begins there goes first.
    let holds = |extent: &&Extent| extent.contains(value);
    let ends = |extent: &&Extent| extent.end().0 == value;
    let found = arena.extents.values().find(holds).or_else(|| arena.extents.values().find(ends));
    if let Some(extent) = found {
        return Reading::Cut { extent: extent.number, from: value };
    }
    if value == 0 {
        return Reading::Everything;
    }
    let mut extents = arena.extents.values();
    let (Some(extent), None) = (extents.next(), extents.next()) else { return Reading::Unknown };
    if value > arena.capacity().unwrap_or(extent.len) {
        return Reading::Unknown;
    }
    Reading::Cut { extent: extent.number, from: offset_to_address(arena, extent, value) }
}

/// An offset counts from the extent's start, or, where the arena object itself lies at the front of the extent, from
/// the first byte ever handed out. The other way round when a block would straddle the cut: a cursor never stands
/// inside a block.
fn offset_to_address(arena: &Arena, extent: &Extent, value: u64) -> u64 {
    let from_start = extent.start.0.saturating_add(value);
    let from_first = extent.bottom.0.saturating_add(value);
    let header_inside = !arena.object.is_null() && extent.contains(arena.object.0);
    let (first, second) = if header_inside { (from_first, from_start) } else { (from_start, from_first) };
    if arena.living.straddled(first) && !arena.living.straddled(second) { second } else { first }
}

/// Takes the blocks beyond `mark` out of the living, and the marks taken after the cursor stood there. `None` when
/// the value fits no reading.
pub(crate) fn rewind(arena: &mut Arena, mark: MarkValue) -> Option<Vec<Block>> {
    match read(arena, mark) {
        Reading::Mark(index) => {
            // The mark itself stays: many programs go back to one mark again and again.
            arena.marks.truncate(index.saturating_add(1));
            let placement = arena.marks.last().map_or(0, |known| known.placement);
            Some(arena.living.take_after(placement))
        }
        Reading::Everything => {
            arena.marks.clear();
            Some(arena.living.take_all())
        }
        Reading::Cut { extent, from } => Some(cut(arena, extent, from)),
        Reading::Unknown => None,
    }
}

/// Takes the blocks at or above `cursor`, where a scope began, out of the living, with the marks taken since.
pub(crate) fn scope_end(arena: &mut Arena, cursor: u64) -> Vec<Block> {
    let Some(index) = arena.marks.iter().rposition(|known| known.value.0 == cursor) else {
        // Begun before we watched, or forgotten among very many.
        return match arena.extents.values().find(|extent| extent.start.0 <= cursor && cursor <= extent.end().0) {
            Some(extent) => cut(arena, extent.number, cursor),
            None => Vec::new(),
        };
    };
    let placement = arena.marks.get(index).map_or(0, |known| known.placement);
    arena.marks.truncate(index);
    arena.living.take_after(placement)
}

fn cut(arena: &mut Arena, extent: u32, from: u64) -> Vec<Block> {
    let in_extent =
        |arena: &Arena, placement: u64| arena.living.get(placement).is_some_and(|block| block.extent == extent);
    let mut beyond = arena.living.at_or_after(from);
    beyond.retain(|placement| in_extent(arena, *placement));
    // What other extents hold died too if it was placed after the cursor stood here for the last time.
    let threshold = match beyond.iter().min() {
        Some(first) => *first,
        None => {
            let last_kept = arena.living.iter().rev().find(|block| block.extent == extent);
            last_kept.map_or(u64::MAX, |block| block.placement.saturating_add(1))
        }
    };
    let elsewhere = arena.living.iter().filter(|block| block.extent != extent && block.placement >= threshold);
    beyond.extend(elsewhere.map(|block| block.placement).collect::<Vec<u64>>());
    beyond.sort_unstable();
    arena.marks.retain(|known| known.placement < threshold);
    beyond.into_iter().filter_map(|placement| arena.living.remove(placement)).collect()
}

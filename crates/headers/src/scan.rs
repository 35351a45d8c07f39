//! All memory that is there, at multiples of 128 bytes: what no list leads to.
//!
//! May be relied on: pages that are not there are not touched, nor memory that an arena has reserved and not taken into use; what was not
//! read because of a limit is counted. Small mappings come first: heaps of a few MiB and stacks, where buffers are.

use crate::arena::Place;
use crate::candidates::Candidates;
use crate::layout::STEP;
use crate::memory::{Backing, Mappings, Memory, each_piece};

/// What was read.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Scanned {
    /// Bytes.
    pub(crate) bytes: u64,
    /// Bytes that are there and were not read: beyond the limit.
    pub(crate) left: u64,
    /// Addresses that were not looked at at all: mappings too wide to ask which of their pages are there.
    pub(crate) wide: u64,
    /// Bytes that could not be read.
    pub(crate) unread: u64,
}

/// Reads up to `limit` bytes of what is there, but for `except` (sorted or not). A stretch of more than `widest` addresses is left out.
pub(crate) fn scan(
    memory: &dyn Memory,
    mappings: &Mappings,
    mut except: Vec<(u64, u64)>,
    (limit, widest): (u64, u64),
    candidates: &mut Candidates,
) -> Scanned {
    except.sort_unstable();
    let mut parts = Vec::new();
    for mapping in mappings.iter().filter(|mapping| mapping.readable) {
        if matches!(mapping.backing, Backing::Anonymous | Backing::Shared { .. }) {
            without(mapping.start, mapping.end, &except, &mut parts);
        }
    }
    parts.sort_by_key(|(start, end)| (end - start, *start));
    let mut scanned = Scanned::default();
    let mut buffer = Vec::new();
    for (start, end) in parts {
        if end - start > widest {
            scanned.wide = scanned.wide.saturating_add(end - start);
            continue;
        }
        memory.each_present(start, end, &mut |from, to| {
            let until = to.min(from.saturating_add(limit.saturating_sub(scanned.bytes)) & !(STEP - 1));
            let until = until.max(from);
            let mut note = |at, piece: &[u8]| candidates.note_all(at, piece, Place::Buffer);
            scanned.unread += each_piece(memory, (from, until), &mut buffer, &mut note);
            scanned.bytes += until - from;
            scanned.left += to - until;
            true
        });
    }
    scanned
}

/// Adds what of `start..end` is in none of the sorted ranges `except`.
fn without(start: u64, end: u64, except: &[(u64, u64)], parts: &mut Vec<(u64, u64)>) {
    let mut at = start;
    for &(from, to) in except.iter().filter(|(from, to)| *to > start && *from < end) {
        if from > at {
            parts.push((at, from));
        }
        at = at.max(to);
    }
    if at < end {
        parts.push((at, end));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_splits_a_range() {
        let without = |except: &[(u64, u64)]| {
            let mut parts = Vec::new();
            without(100, 200, except, &mut parts);
            parts
        };
        assert_eq!(without(&[]), [(100, 200)]);
        assert_eq!(without(&[(0, 100), (200, 300)]), [(100, 200)]);
        assert_eq!(without(&[(90, 110), (120, 130), (125, 140), (190, 250)]), [(110, 120), (140, 190)]);
        assert_eq!(without(&[(0, 1000)]), []);
    }
}

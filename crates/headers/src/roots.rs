//! The heads of the lists, and arenas in static buffers, found in the writable data of loaded files by what stands there.
//!
//! A head is a word that points at an entry: the right number of bytes before it a magic word stands. Nothing else in a program's static data does that
//! by chance; what it leads to is checked as everything is. Works on stripped and static binaries, and on ones older than notes.
//! Costs one reading of the static data that is there, and one word for each distinct pointer of the right remainder.

use crate::arena::Place;
use crate::candidates::Candidates;
use crate::layout::STEP;
use crate::lists::List;
use crate::memory::{Backing, Mapping, Mappings, Memory, each_piece, word};
use std::collections::HashSet;

/// Static data that is read, in bytes: more than programs have; then it is said.
const MOST_BYTES: u64 = 1 << 30;
/// Pointers that are tried.
const MOST_TRIED: usize = 1 << 20;

/// What the search found, beside candidates.
#[derive(Default)]
pub(crate) struct Roots {
    pub(crate) heads: Vec<(u64, List)>,
    pub(crate) bytes: u64,
    /// Static data that was not read.
    pub(crate) left: u64,
}

/// The writable data of loaded files: private writable mappings of files, and the nameless memory that follows a file's last mapping (`.bss`).
pub fn static_parts(mappings: &Mappings) -> Vec<(u64, u64)> {
    let mut parts: Vec<(u64, u64)> = Vec::new();
    let mut before: Option<&Mapping> = None;
    for mapping in mappings.iter() {
        let follows = before.is_some_and(|before| {
            before.end == mapping.start && matches!(before.backing, Backing::File { .. }) && before.readable
        });
        let is_static = match mapping.backing {
            Backing::File { .. } => true,
            Backing::Anonymous => follows,
            Backing::Shared { .. } | Backing::Special => false,
        };
        if is_static && mapping.writable && mapping.readable {
            parts.push((mapping.start, mapping.end));
        }
        before = Some(mapping);
    }
    parts
}

/// Reads all static data.
pub(crate) fn search(memory: &dyn Memory, mappings: &Mappings, candidates: &mut Candidates) -> Roots {
    let mut roots = Roots::default();
    let mut tried = HashSet::new();
    let mut buffer = Vec::new();
    for (start, end) in static_parts(mappings) {
        memory.each_present(start, end, &mut |from, to| {
            let until = to.min(from.saturating_add(MOST_BYTES - roots.bytes.min(MOST_BYTES)));
            each_piece(memory, (from, until), &mut buffer, &mut |at, piece| {
                let (first, rest) = from_step(at, piece);
                candidates.note_all(first, rest, Place::Buffer);
                words(memory, mappings, at, piece, &mut tried, &mut roots.heads);
            });
            roots.bytes += until - from;
            roots.left += to - until;
            true
        });
    }
    roots
}

/// The first multiple of [`STEP`] in a piece, and the bytes from there on.
fn from_step(at: u64, piece: &[u8]) -> (u64, &[u8]) {
    let skip = at.wrapping_neg() % STEP;
    match piece.get(skip as usize..) {
        Some(rest) => (at + skip, rest),
        None => (at, &[]),
    }
}

fn words(
    memory: &dyn Memory,
    mappings: &Mappings,
    start: u64,
    piece: &[u8],
    tried: &mut HashSet<u64>,
    heads: &mut Vec<(u64, List)>,
) {
    for (index, bytes) in piece.chunks_exact(8).enumerate() {
        let Some(bytes) = bytes.first_chunk() else { continue };
        let entry = u64::from_le_bytes(*bytes);
        for list in List::ALL {
            let Some(header) = list.header(entry) else { continue };
            if tried.len() >= MOST_TRIED || !mappings.at(header).is_some_and(|mapping| mapping.writable) {
                continue;
            }
            if tried.insert(entry) && word(memory, header).is_ok_and(|magic| list.begins(magic)) {
                heads.push((start.saturating_add(8 * index as u64), list));
            }
        }
    }
}

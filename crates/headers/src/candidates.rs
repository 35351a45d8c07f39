//! Addresses at which headers may be, before anything but a magic word is known of them.

use crate::arena::Place;
use crate::layout::{self, STEP};
use std::collections::{BTreeMap, BTreeSet};

/// What was found, by kind. An address is kept as it was found first: lists come before searching.
#[derive(Default)]
pub(crate) struct Candidates {
    pub(crate) arenas: BTreeMap<u64, Place>,
    pub(crate) kept: BTreeSet<u64>,
    pub(crate) slabs: BTreeSet<u64>,
    pub(crate) shared: BTreeSet<u64>,
    pub(crate) between: BTreeSet<u64>,
}

impl Candidates {
    /// Notes what begins with `magic` at `at`, if anything does.
    pub(crate) fn note(&mut self, at: u64, magic: u64, place: Place) {
        match magic {
            layout::MAGIC => {
                self.arenas.entry(at).or_insert(place);
            }
            layout::MAGIC_SLAB => {
                self.slabs.insert(at);
            }
            layout::MAGIC_SHARED => {
                self.shared.insert(at);
            }
            layout::MAGIC_SHARE => {
                self.between.insert(at);
            }
            _ => {}
        }
    }

    /// Looks at each multiple of [`STEP`] in bytes that were read from `start`, itself such a multiple.
    pub(crate) fn note_all(&mut self, start: u64, bytes: &[u8], place: Place) {
        let mut at = start;
        for step in bytes.chunks(STEP as usize) {
            if let Some(magic) = step.first_chunk() {
                let magic = u64::from_le_bytes(*magic);
                // Nearly all are none of these; zero is the commonest.
                if magic != 0 {
                    self.note(at, magic, place);
                }
            }
            at = at.saturating_add(STEP);
        }
    }
}

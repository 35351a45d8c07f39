//! The library's three lists, followed forward as its `registry.rs` promises that they can be at any moment.
//!
//! May be relied on: each entry is believed only when a magic word of its kind stands before it; a list that leads in a circle or away
//! ends, and it is said where. A list that changes meanwhile is followed again from its begin.

use crate::arena::Place;
use crate::candidates::Candidates;
use crate::layout;
use crate::memory::{Memory, word};
use std::collections::BTreeSet;

/// Which list.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum List {
    /// Arenas with memory of their own, kept regions among them.
    Alone,
    /// Shared arenas.
    Shared,
    /// Mappings that hold small arenas.
    Slabs,
}

impl List {
    pub(crate) const ALL: [List; 3] = [List::Alone, List::Shared, List::Slabs];

    /// Bytes from a header to its place in the list.
    pub(crate) const fn place(self) -> u64 {
        match self {
            List::Alone => layout::ARENA_LISTED,
            List::Shared => layout::SHARED_LISTED,
            List::Slabs => layout::SLAB_LISTED,
        }
    }

    /// Whether a header of this list begins so.
    pub(crate) const fn begins(self, magic: u64) -> bool {
        match self {
            List::Alone => magic == layout::MAGIC || magic == layout::MAGIC_KEPT,
            List::Shared => magic == layout::MAGIC_SHARED,
            List::Slabs => magic == layout::MAGIC_SLAB,
        }
    }

    /// The header whose place in the list is at `entry`, if it can be one.
    pub(crate) fn header(self, entry: u64) -> Option<u64> {
        entry.checked_sub(self.place()).filter(|header| *header != 0 && header.is_multiple_of(layout::STEP))
    }

    const fn word(self) -> &'static str {
        match self {
            List::Alone => "arenas",
            List::Shared => "shared arenas",
            List::Slabs => "slabs",
        }
    }
}

/// Times that a list is followed again because it changed.
const ATTEMPTS: u32 = 5;
/// Entries that are followed: more than a process has mappings, and more regions of malloc's than make sense.
const MOST: usize = 1 << 22;

/// Follows the list whose first entry the word at `head` names.
///
/// # Errors
/// Where it breaks off, a sentence; what came before is noted.
pub(crate) fn follow(memory: &dyn Memory, head: u64, list: List, candidates: &mut Candidates) -> Result<(), String> {
    let mut outcome = Ok(());
    for round in 0..ATTEMPTS {
        outcome = once(memory, head, list, candidates);
        if outcome.is_ok() {
            break;
        }
        memory.pause(round);
    }
    outcome
}

fn once(memory: &dyn Memory, head: u64, list: List, candidates: &mut Candidates) -> Result<(), String> {
    let astray =
        |at: u64, why: &str| format!("the list of {} (at {head:#x}) breaks off at {at:#x}: {why}", list.word());
    let mut entry = word(memory, head).map_err(|why| astray(head, &why.to_string()))?;
    let mut seen = BTreeSet::new();
    while entry != 0 {
        let header = list.header(entry).ok_or_else(|| astray(entry, "no header can be there"))?;
        if !seen.insert(header) || seen.len() > MOST {
            return Err(astray(entry, "it leads in a circle"));
        }
        let magic = word(memory, header).map_err(|why| astray(entry, &why.to_string()))?;
        if !list.begins(magic) {
            return Err(astray(entry, "no header stands there"));
        }
        match magic {
            layout::MAGIC_KEPT => {
                candidates.kept.insert(header);
            }
            // Static data may have shown it before.
            layout::MAGIC => {
                candidates.arenas.insert(header, Place::Alone);
            }
            magic => candidates.note(header, magic, Place::Alone),
        }
        entry = word(memory, entry).map_err(|why| astray(entry, &why.to_string()))?;
    }
    Ok(())
}

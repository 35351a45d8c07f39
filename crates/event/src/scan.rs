//! What a scan of the process's memory found: which living blocks nobody points at.
//!
//! A fact, no verdict: "no word of the memory that was read leads there". What it means is for a rule to say.

use crate::{Address, ArenaKey};
use alloc::vec::Vec;

/// One scan: all memory of the process, read at one instant.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Scan {
    /// The user's mark at which it was made, counted from 1 in their order; `None`: at the end, when `main` returned or
    /// `exit` was called.
    pub mark: Option<u64>,
    /// Bytes that were read.
    pub bytes: u64,
    /// Arenas that had living blocks, by key.
    pub arenas: Vec<ScannedArena>,
}

/// What a scan found of one arena.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ScannedArena {
    /// The arena.
    pub arena: ArenaKey,
    /// The scan came before the arena's event of this order.
    pub before: u64,
    /// Its living blocks.
    pub blocks: u64,
    /// Those of them that a pointer leads to, from outside or through other blocks that one leads to.
    pub reached: u64,
    /// The others, by address; not all of them when `blocks - reached` says that there are more.
    pub unreached: Vec<Unreached>,
}

/// A living block that no pointer leads to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Unreached {
    /// Where it begins.
    pub address: Address,
    /// Its distance from the start of its arena's memory stood somewhere as a number, large enough that this is hardly chance:
    /// it may be held by an offset.
    pub by_offset: bool,
}

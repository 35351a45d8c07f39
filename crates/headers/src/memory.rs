//! Whose memory is read: the questions that are asked of it, and its mappings.
//!
//! May be relied on: a range is covered only when mappings cover it without a gap. Deliberately absent: any system.

use std::fmt;
use std::rc::Rc;

/// The size of a page, in bytes.
pub const PAGE: u64 = 4096;

/// Why bytes could not be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unread {
    /// Nothing is mapped there.
    Unmapped,
    /// The process ended meanwhile.
    Gone,
    /// The system refuses.
    Refused,
    /// A core that leaves these bytes out (`coredump_filter`, `MADV_DONTDUMP`), and no file has them.
    LeftOut,
    /// A core that was cut off before these bytes.
    CutOff,
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Unread::Unmapped => "no memory is mapped there",
            Unread::Gone => "the process has ended",
            Unread::Refused => "the system does not let it be read",
            Unread::LeftOut => "the core leaves that memory out",
            Unread::CutOff => "the core is cut off before it",
        })
    }
}

/// What a mapping is made of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Backing {
    /// Private memory of the process: maps, heaps, stacks.
    Anonymous,
    /// A file: a program, a library, data. `offset` is that of the mapping's first byte.
    File {
        /// Its path as the system names it.
        path: String,
        /// Bytes from the file's begin.
        offset: u64,
    },
    /// Memory without a name on disk that processes may share; `inode` tells whether two mappings are the same memory.
    Shared {
        /// As the system names it, such as "/memfd:arenascope (deleted)".
        name: String,
        /// Device and inode, in one number; 0 when not known.
        identity: u64,
    },
    /// The kernel's own, devices: never read.
    Special,
}

/// A range of addresses.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mapping {
    /// First address.
    pub start: u64,
    /// Past the last one.
    pub end: u64,
    /// May be read by the program.
    pub readable: bool,
    /// May be written by the program.
    pub writable: bool,
    /// What it is made of.
    pub backing: Backing,
    /// A child of a fork does not get it as it is (`MADV_DONTFORK`, `MADV_WIPEONFORK`), where that is known.
    pub own: bool,
}

impl Mapping {
    /// Bytes.
    pub fn bytes(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }
}

/// All mappings, in the order of addresses.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Mappings(Vec<Mapping>);

impl Mappings {
    /// Sorts them. What overlaps an earlier one (in a core that lies) is cut; what is empty goes.
    pub fn new(mut mappings: Vec<Mapping>) -> Mappings {
        mappings.sort_by_key(|mapping| (mapping.start, mapping.end));
        let mut end = 0;
        mappings.retain_mut(|mapping| {
            mapping.start = mapping.start.max(end);
            end = end.max(mapping.end);
            mapping.start < mapping.end
        });
        Mappings(mappings)
    }

    /// Each of them.
    pub fn iter(&self) -> std::slice::Iter<'_, Mapping> {
        self.0.iter()
    }

    /// The mapping that an address lies in. O(log n).
    pub fn at(&self, address: u64) -> Option<&Mapping> {
        let next = self.0.partition_point(|mapping| mapping.start <= address);
        let mapping = self.0.get(next.checked_sub(1)?)?;
        (address < mapping.end).then_some(mapping)
    }

    /// Whether `bytes` bytes from `start` on are mapped without a gap, whatever their protection. O(log n + mappings covered).
    pub fn cover(&self, start: u64, bytes: u64) -> bool {
        let Some(end) = start.checked_add(bytes) else { return false };
        let mut at = start;
        let first = self.0.partition_point(|mapping| mapping.end <= start);
        for mapping in self.0.iter().skip(first) {
            if at >= end || mapping.start > at {
                break;
            }
            at = mapping.end;
        }
        at >= end
    }
}

/// Memory to be looked at.
pub trait Memory {
    /// The mappings as last looked at.
    fn mappings(&self) -> Rc<Mappings>;

    /// Looks at the mappings again, where they can change.
    fn renew(&self) {}

    /// Fills `into` from the address `at`, all of it or nothing.
    ///
    /// # Errors
    /// Why not.
    fn read(&self, at: u64, into: &mut [u8]) -> Result<(), Unread>;

    /// Calls `visit` for each run of pages in `start..end` that are there (in memory, in the core), in order. `visit` returns false to end it.
    fn each_present(&self, start: u64, end: u64, visit: &mut dyn FnMut(u64, u64) -> bool);

    /// Lets the owner of the memory go on for a moment: called after the `round`th reading of a header that did not settle.
    fn pause(&self, round: u32) {
        let _ = round;
    }
}

/// The first page's begin at or after `at`; the last page's when there is none.
pub(crate) fn page_up(at: u64) -> u64 {
    at.checked_next_multiple_of(PAGE).unwrap_or(!(PAGE - 1))
}

/// Bytes read at once by [`each_piece`].
pub(crate) const PIECE: usize = 1 << 20;

/// Reads `start..end` in pieces, and hands each to `visit` with its address; bytes that could not be read count as the result. Where a piece
/// cannot be read as a whole (a guard page is in it), each of its pages is tried.
pub(crate) fn each_piece(
    memory: &dyn Memory,
    (start, end): (u64, u64),
    buffer: &mut Vec<u8>,
    visit: &mut dyn FnMut(u64, &[u8]),
) -> u64 {
    buffer.resize(PIECE, 0);
    let (mut at, mut unread) = (start, 0);
    while at < end {
        let to = end.min(at.saturating_add(PIECE as u64));
        let Some(piece) = buffer.get_mut(..(to - at) as usize) else { break };
        if memory.read(at, piece).is_ok() {
            visit(at, piece);
            at = to;
            continue;
        }
        while at < to {
            let next = to.min((at & !(PAGE - 1)).saturating_add(PAGE));
            let Some(page) = buffer.get_mut(..(next - at) as usize) else { break };
            match memory.read(at, page) {
                Ok(()) => visit(at, page),
                Err(_) => unread += next - at,
            }
            at = next;
        }
    }
    unread
}

/// An 8-byte word of memory.
pub(crate) fn word(memory: &dyn Memory, at: u64) -> Result<u64, Unread> {
    let mut bytes = [0; 8];
    memory.read(at, &mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(start: u64, end: u64) -> Mapping {
        Mapping { start, end, readable: true, writable: true, backing: Backing::Anonymous, own: false }
    }

    #[test]
    fn a_range_is_covered_by_neighbours_and_not_across_a_gap() {
        let mappings = Mappings::new(vec![mapping(100, 200), mapping(200, 300), mapping(400, 500), mapping(150, 180)]);
        assert!(
            mappings.cover(100, 200) && mappings.cover(150, 100) && mappings.cover(299, 1) && mappings.cover(250, 0)
        );
        assert!(
            !mappings.cover(99, 1)
                && !mappings.cover(100, 201)
                && !mappings.cover(250, 200)
                && !mappings.cover(u64::MAX, 2)
        );
        assert_eq!(mappings.at(200).map(|mapping| mapping.start), Some(200));
        assert!(mappings.at(300).is_none() && mappings.at(0).is_none() && mappings.at(500).is_none());
    }
}

//! One arena's header: which numbers in it are believed, and what they say.
//!
//! May be relied on: an [`Arena`] keeps the invariants I2 and I4 of the library's `header.rs` as far as they are told here: base ≤ cursor ≤ base +
//! capacity (rounded up to 8), cursor ≤ base + committed, committed ≤ reserved, all of it mapped. Deliberately absent: finding it.

use crate::layout::{self, flags, u32_at, u64_at, up};
use crate::memory::{Mappings, Memory};
use crate::settle::{Verdict, agree};
use crate::text::{Fields, Text, Where};

/// Where an arena was found.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Place {
    /// In memory of its own, in the process's list.
    Alone,
    /// Among the small arenas of the slab at this address.
    Slab(u64),
    /// In no list, in memory that a fork does not copy.
    NotForked,
    /// In no list: in a buffer of the program's.
    Buffer,
}

/// A living arena. Sizes in bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Arena {
    /// Where its header is.
    pub address: u64,
    /// Where it was found.
    pub place: Place,
    /// Unique in its process.
    pub id: u64,
    /// Its name.
    pub name: Text,
    /// Where it was made.
    pub site: Where,
    /// The first byte that can be handed out.
    pub base: u64,
    /// Bytes handed out, padding included: at most the capacity.
    pub used: u64,
    /// The most that was ever handed out, as far as the header tells.
    pub peak: u64,
    /// The exact bound asked for.
    pub capacity: u64,
    /// Bytes from base that may be touched.
    pub committed: u64,
    /// Bytes from base whose addresses are the arena's.
    pub reserved: u64,
    /// Resets and rewinds.
    pub generation: u64,
    /// Open scopes.
    pub depth: u32,
    /// Thread that made it or took it over; 0: not known.
    pub owner_tid: u32,
    /// Process that made it, by the number it has for itself.
    pub pid: u32,
    /// Events reported to observers.
    pub events: u64,
    /// Times that it took more memory into use.
    pub commits: u32,
    /// Requests refused.
    pub refusals: u32,
    /// Made to grow.
    pub growing: bool,
    /// Events are reported, or will be from its next allocation on.
    pub watched: bool,
    /// A checker has put its blocks elsewhere: what is used is not in its region.
    pub checked: bool,
    /// False: its owner changed it so often that its numbers may be of different moments.
    pub settled: bool,
}

/// Bytes that are read of a header.
pub(crate) const READ: usize = layout::HEADER_BYTES as usize;

const TEXTS: Fields =
    Fields { file: 128, file_bytes: 136, line: 140, column: 156, name: 144, name_bytes: 152, inline: 160 };

/// What does not change between two allocations: magic, version, size; base; capacity to number; owner and process; site and name.
const LASTING: &[(usize, usize)] = &[(0, 16), (24, 32), (64, 96), (112, 120), (128, 192)];

/// Whether two readings are of one arena.
pub(crate) fn same(a: &[u8; READ], b: &[u8; READ]) -> bool {
    agree(a, b, LASTING)
}

/// Whether the bytes at `at` are the header of an arena that lies elsewhere, or what is left of one: an arena's base is where its header ends. (0: a
/// header that is not complete.)
pub(crate) fn lies_elsewhere(at: u64, header: &[u8; READ]) -> bool {
    let base = u64_at(header, 24);
    let ends = [layout::HEADER_BYTES, u64::from(u32_at(header, 12))].map(|bytes| at.wrapping_add(bytes));
    base != 0 && !ends.contains(&base)
}

/// Whether the bytes are the header of a thread's lease.
fn is_leased(header: &[u8; READ]) -> bool {
    u32_at(header, 208) & flags::LEASED != 0
}

/// The numbers of a header that fit each other; cursor and bounds only, as far as a lease has them too.
pub(crate) struct Bounds {
    pub(crate) base: u64,
    pub(crate) used: u64,
    pub(crate) capacity: u64,
    pub(crate) committed: u64,
    pub(crate) reserved: u64,
}

impl Bounds {
    /// # Errors
    /// What does not fit.
    pub(crate) fn of(header: &[u8]) -> Result<Bounds, String> {
        let cursor = u64_at(header, 16);
        let base = u64_at(header, 24);
        let capacity = u64_at(header, 64);
        let committed = u64_at(header, 72);
        let reserved = u64_at(header, 80);
        if base == 0 || !base.is_multiple_of(8) {
            return Err(format!("base {base:#x} is no place for blocks"));
        }
        if capacity > layout::MAX_CAPACITY {
            return Err(format!("a capacity of {capacity} bytes"));
        }
        if reserved > layout::MAX_CAPACITY || base.checked_add(reserved).is_none() {
            return Err(format!("a reservation of {reserved} bytes"));
        }
        if committed > reserved {
            return Err(format!("{committed} bytes in use of {reserved} reserved"));
        }
        let rounded = up(capacity, 8).unwrap_or(u64::MAX);
        if rounded > up(reserved, 8).unwrap_or(0) {
            return Err(format!("a capacity of {capacity} bytes in a reservation of {reserved}"));
        }
        let highest = base.saturating_add(rounded.min(committed));
        if !(base..=highest).contains(&cursor) || !cursor.is_multiple_of(8) {
            return Err(format!("cursor {cursor:#x} is not in {base:#x}..={highest:#x}, or not at a multiple of 8"));
        }
        Ok(Bounds { base, used: (cursor - base).min(capacity), capacity, committed, reserved })
    }
}

/// Judges one reading of the header at `at`.
pub(crate) fn judge(at: u64, header: &[u8; READ], mappings: &Mappings) -> Verdict<Bounds> {
    if u64_at(header, 0) != layout::MAGIC {
        return Verdict::Other;
    }
    match check(at, header, mappings) {
        Ok(bounds) => Verdict::Sound(bounds),
        Err(why) => Verdict::Contradiction(why),
    }
}

/// The bounds of the header at `at`, living or kept.
///
/// # Errors
/// What does not fit.
pub(crate) fn check(at: u64, header: &[u8; READ], mappings: &Mappings) -> Result<Bounds, String> {
    let version = u32_at(header, 8);
    if version != layout::LAYOUT_VERSION {
        return Err(format!("layout version {version}, and this program knows {}", layout::LAYOUT_VERSION));
    }
    let header_bytes = u64::from(u32_at(header, 12));
    if !(layout::LEAST_HEADER_BYTES..=4096).contains(&header_bytes) || !header_bytes.is_multiple_of(8) {
        return Err(format!("a header of {header_bytes} bytes"));
    }
    if is_leased(header) {
        return Err("a lease of a shared arena that is nowhere".to_owned());
    }
    let bounds = Bounds::of(header)?;
    let expected = at.wrapping_add(header_bytes);
    if bounds.base != expected {
        return Err(format!("base {:#x} is not where the header ends ({expected:#x})", bounds.base));
    }
    if !mappings.cover(at, header_bytes.saturating_add(bounds.reserved)) {
        return Err(format!("{} bytes from base {:#x} on are not all mapped", bounds.reserved, bounds.base));
    }
    if u64_at(header, 88) == 0 {
        return Err("number 0".to_owned());
    }
    match TEXTS.contradiction(at, header) {
        Some(why) => Err(why),
        None => Ok(bounds),
    }
}

/// The arena whose header was read and found sound.
pub(crate) fn describe(
    memory: &dyn Memory,
    at: u64,
    place: Place,
    header: &[u8; READ],
    bounds: &Bounds,
    settled: bool,
) -> Arena {
    let (name, site) = TEXTS.read(memory, at, header);
    let set = u32_at(header, 208);
    let high = u64_at(header, 48).saturating_sub(bounds.base).min(bounds.capacity);
    Arena {
        address: at,
        place,
        id: u64_at(header, 88),
        name,
        site,
        base: bounds.base,
        used: bounds.used,
        peak: high.max(bounds.used),
        capacity: bounds.capacity,
        committed: bounds.committed,
        reserved: bounds.reserved,
        generation: u64_at(header, 96),
        depth: u32_at(header, 104),
        owner_tid: u32_at(header, 112),
        pid: u32_at(header, 116),
        events: u64_at(header, 120),
        commits: u32_at(header, 224),
        refusals: u32_at(header, 228),
        growing: set & flags::GROWING != 0,
        // 0: watched from its next allocation on. Sampling stores a limit of its own, and sets the flag.
        watched: set & flags::WATCHED != 0 || u64_at(header, 32) == 0,
        checked: set & flags::CHECKED != 0,
        settled,
    }
}

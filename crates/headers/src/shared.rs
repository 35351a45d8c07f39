//! A shared arena: its header, its rows of berths, and the lease that each berth holds.
//!
//! May be relied on: leases lie inside of the arena, whose memory is mapped. Rows are followed with a bound and never twice.

use crate::arena::Bounds;
use crate::layout::{self, flags, u32_at, u64_at, up};
use crate::memory::{Mappings, Memory};
use crate::settle::{Settled, Verdict, agree, settle};
use crate::text::{Fields, Text, Where};
use std::collections::BTreeSet;

/// A living shared arena. Sizes in bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shared {
    /// Where its header is.
    pub address: u64,
    /// Unique in its process, among all arenas.
    pub id: u64,
    /// Its name.
    pub name: Text,
    /// Where it was made.
    pub site: Where,
    /// The first byte that can be leased.
    pub base: u64,
    /// Bytes from base that may be leased.
    pub capacity: u64,
    /// Bytes from base that were leased since the last reset.
    pub leased: u64,
    /// Of these, at the ends of leases that were used up.
    pub lost: u64,
    /// Bytes from base that were ever leased: memory in use.
    pub touched: u64,
    /// Resets.
    pub generation: u64,
    /// Process that made it, by the number it has for itself.
    pub pid: u32,
    /// Requests refused.
    pub refusals: u32,
    /// Made to grow: the capacity is the reservation.
    pub growing: bool,
    /// Each berth that was ever held, by address of its lease.
    pub leases: Vec<Lease>,
    /// What could not be told, each a sentence.
    pub gaps: Vec<String>,
    /// See [`Arena::settled`](crate::Arena::settled).
    pub settled: bool,
}

impl Shared {
    /// Bytes handed out, padding included: leased and not left in a lease, nor lost.
    pub fn used(&self) -> u64 {
        let left: u64 = self.leases.iter().fold(0, |sum, lease| sum.saturating_add(lease.capacity - lease.used));
        self.leased.saturating_sub(left).saturating_sub(self.lost)
    }
}

/// A berth and its lease.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lease {
    /// Where the header of its arena is.
    pub address: u64,
    /// Process and thread that hold it; None: it waits for the next thread.
    pub owner: Option<(u32, u32)>,
    /// The number of its arena.
    pub id: u64,
    /// The first byte; the arena's base before the first lease.
    pub base: u64,
    /// Bytes handed out of it.
    pub used: u64,
    /// Its bytes.
    pub capacity: u64,
    /// Events reported of it.
    pub events: u64,
    /// Reported, or about to be.
    pub watched: bool,
}

pub(crate) const READ: usize = layout::SHARED_HEADER_BYTES as usize;
/// Berths in a row that are believed (the library makes 31 at most).
const MOST_BERTHS: u64 = 1 << 12;
/// Rows that are followed: more threads than a process can have.
const MOST_ROWS: usize = 1 << 17;

const TEXTS: Fields =
    Fields { file: 88, file_bytes: 96, line: 100, column: 116, name: 104, name_bytes: 112, inline: 120 };

/// Magic to size; base and capacity; number; process; site and name.
pub(crate) fn same(a: &[u8; READ], b: &[u8; READ]) -> bool {
    agree(a, b, &[(0, 16), (24, 40), (48, 56), (76, 80), (88, 152)])
}

/// Judges one reading of the header at `at`.
pub(crate) fn judge(at: u64, header: &[u8; READ], mappings: &Mappings) -> Verdict<()> {
    if u64_at(header, 0) != layout::MAGIC_SHARED {
        return Verdict::Other;
    }
    match contradiction(at, header, mappings) {
        Some(why) => Verdict::Contradiction(why),
        None => Verdict::Sound(()),
    }
}

fn contradiction(at: u64, header: &[u8; READ], mappings: &Mappings) -> Option<String> {
    let (version, head_bytes) = (u32_at(header, 8), u64::from(u32_at(header, 12)));
    let (cursor, base, capacity) = (u64_at(header, 16), u64_at(header, 24), u64_at(header, 32));
    if version != layout::SHARED_LAYOUT_VERSION {
        return Some(format!("layout version {version}, and this program knows {}", layout::SHARED_LAYOUT_VERSION));
    }
    if !(layout::SHARED_HEADER_BYTES..=1 << 20).contains(&head_bytes) || at.checked_add(head_bytes) != Some(base) {
        return Some(format!("base {base:#x} is not where a head of {head_bytes} bytes ends"));
    }
    if capacity > layout::MAX_CAPACITY {
        return Some(format!("a capacity of {capacity} bytes"));
    }
    if cursor > up(capacity, layout::STEP).unwrap_or(0) {
        return Some(format!("{cursor} bytes leased of {capacity}"));
    }
    if !mappings.cover(at, head_bytes.saturating_add(capacity)) {
        return Some(format!("{capacity} bytes from base {base:#x} on are not all mapped"));
    }
    if u64_at(header, 48) == 0 {
        return Some("number 0".to_owned());
    }
    TEXTS.contradiction(at, header)
}

/// The arena whose header was read and found sound, with its leases.
pub(crate) fn describe(memory: &dyn Memory, at: u64, header: &[u8; READ], settled: bool) -> Shared {
    let (name, site) = TEXTS.read(memory, at, header);
    let leased = u64_at(header, 16);
    let mut shared = Shared {
        address: at,
        id: u64_at(header, 48),
        name,
        site,
        base: u64_at(header, 24),
        capacity: u64_at(header, 32),
        leased,
        lost: u64_at(header, 64).min(leased),
        touched: u64_at(header, 80).max(leased),
        generation: u64_at(header, 56),
        pid: u32_at(header, 76),
        refusals: u32_at(header, 72),
        growing: u32_at(header, 152) & flags::GROWING != 0,
        leases: Vec::new(),
        gaps: Vec::new(),
        settled,
    };
    let mut rows = BTreeSet::new();
    let mut row = u64_at(header, 40);
    while row != 0 {
        if !row.is_multiple_of(layout::STEP) || !rows.insert(row) || rows.len() > MOST_ROWS {
            shared.gaps.push(format!("the rows of its berths go astray at {row:#x}"));
            break;
        }
        row = match of_row(memory, row, &mut shared) {
            Ok(next) => next,
            Err(why) => {
                shared.gaps.push(format!("the row of berths at {row:#x}: {why}"));
                break;
            }
        };
    }
    shared.leases.sort_by_key(|lease| (lease.base, lease.id));
    // Leases go on being taken while berths are read.
    if let Some(end) = shared.leases.iter().map(|lease| lease.base.saturating_add(lease.capacity)).max() {
        shared.leased = shared.leased.max(end.saturating_sub(shared.base).min(shared.capacity));
    }
    shared
}

/// Reads the berths of a row; where the next row is.
fn of_row(memory: &dyn Memory, row: u64, shared: &mut Shared) -> Result<u64, String> {
    let mut head = [0; 16];
    memory.read(row, &mut head).map_err(|why| why.to_string())?;
    let (next, count) = (u64_at(&head, 0), u64_at(&head, 8));
    if count > MOST_BERTHS {
        return Err(format!("{count} berths"));
    }
    for index in 0..count {
        let berth = row + layout::ROW_BYTES + index * layout::BERTH_BYTES;
        match of_berth(memory, berth, shared.base, shared.capacity) {
            Settled::Sound(lease) | Settled::Restless(lease) => shared.leases.push(lease),
            Settled::Damaged(why) => shared.gaps.push(format!("the berth at {berth:#x}: {why}")),
            Settled::Ended => {}
            Settled::Unread(why) => return Err(why.to_string()),
        }
    }
    Ok(next)
}

const BERTH: usize = layout::BERTH_BYTES as usize;

fn of_berth(memory: &dyn Memory, at: u64, base: u64, capacity: u64) -> Settled<Lease> {
    let same =
        |a: &[u8; BERTH], b: &[u8; BERTH]| agree(a, b, &[(0, 8), (128, 144), (152, 160), (192, 208), (216, 224)]);
    settle(memory, at, same, |berth: &[u8; BERTH]| {
        let (owner, header) = (u64_at(berth, 0), berth.get(layout::BERTH_ARENA as usize..).unwrap_or_default());
        if u64_at(header, 0) != layout::MAGIC {
            return Verdict::Other;
        }
        let bounds = match Bounds::of(header) {
            Ok(bounds) => bounds,
            Err(why) => return Verdict::Contradiction(why),
        };
        let end = bounds.base.checked_add(bounds.capacity);
        if bounds.base < base || end.is_none_or(|end| end > base.saturating_add(capacity)) {
            let sentence = format!("a lease of {} bytes at {:#x} is not in the arena", bounds.capacity, bounds.base);
            return Verdict::Contradiction(sentence);
        }
        Verdict::Sound(Lease {
            address: at + layout::BERTH_ARENA,
            owner: (owner != 0).then_some(((owner >> 32) as u32, owner as u32)),
            id: u64_at(header, 88),
            base: bounds.base,
            used: bounds.used,
            capacity: bounds.capacity,
            events: u64_at(header, 120),
            watched: u32_at(header, 208) & flags::WATCHED != 0 || u64_at(header, 32) == 0,
        })
    })
}

//! Memory that processes share: its header and its leases, which hold no pointers.

use crate::layout::{self, u32_at, u64_at, up};
use crate::memory::{Backing, Mappings};
use crate::settle::{Verdict, agree};

/// Memory that processes share, as it is mapped here. Sizes in bytes; positions count from the header.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Between {
    /// Where it is mapped.
    pub address: u64,
    /// The memory's number; 0: none.
    pub number: u64,
    /// Tells whether two mappings are the same memory; 0: not known.
    pub identity: u64,
    /// Bytes that may be leased.
    pub capacity: u64,
    /// Bytes that were leased.
    pub leased: u64,
    /// Of these, at the ends of leases that were used up.
    pub lost: u64,
    /// Of the whole mapping.
    pub mapping: u64,
    /// Process that made it.
    pub pid: u32,
    /// Requests refused.
    pub refusals: u32,
    /// Leases that somebody holds or left, by place.
    pub leases: Vec<Held>,
    /// See [`Arena::settled`](crate::Arena::settled).
    pub settled: bool,
}

impl Between {
    /// Bytes handed out, padding included.
    pub fn used(&self) -> u64 {
        let left: u64 = self.leases.iter().fold(0, |sum, lease| sum.saturating_add(lease.end - lease.used));
        self.leased.saturating_sub(left).saturating_sub(self.lost)
    }
}

/// A lease in memory that processes share.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Held {
    /// Process and thread that hold it; None: nobody does.
    pub owner: Option<(u32, u32)>,
    /// Where it begins.
    pub start: u64,
    /// Where what is left of it begins.
    pub used: u64,
    /// Where it ends.
    pub end: u64,
}

pub(crate) const READ: usize = layout::SHARE_HEADER_BYTES as usize;

/// Magic to size; bound and mapping; process; number.
pub(crate) fn same(a: &[u8; READ], b: &[u8; READ]) -> bool {
    agree(a, b, &[(0, 16), (24, 40), (56, 60), (64, 72)])
}

/// Judges one reading of the header at `at`.
pub(crate) fn judge(at: u64, header: &[u8; READ], mappings: &Mappings) -> Verdict<Between> {
    if u64_at(header, 0) != layout::MAGIC_SHARE {
        return Verdict::Other;
    }
    match read(at, header, mappings) {
        Ok(between) => Verdict::Sound(between),
        Err(why) => Verdict::Contradiction(why),
    }
}

fn read(at: u64, header: &[u8; READ], mappings: &Mappings) -> Result<Between, String> {
    let version = u32_at(header, 8);
    if version != layout::SHARE_LAYOUT_VERSION {
        return Err(format!("layout version {version}, and this program knows {}", layout::SHARE_LAYOUT_VERSION));
    }
    let head = u64::from(u32_at(header, 12));
    if head != layout::SHARE_HEADER_BYTES {
        return Err(format!("a head of {head} bytes"));
    }
    let (cursor, bound, mapping) = (u64_at(header, 16), u64_at(header, 24), u64_at(header, 32));
    if bound < head || bound > mapping {
        return Err(format!("a bound of {bound} in a mapping of {mapping} bytes"));
    }
    if cursor < head || cursor > up(bound, layout::STEP).unwrap_or(0) || !cursor.is_multiple_of(layout::STEP) {
        return Err(format!("cursor {cursor} is not in {head}..={bound}, or not at a multiple of 128"));
    }
    if !mappings.cover(at, mapping) {
        return Err(format!("a mapping of {mapping} bytes, and fewer are mapped"));
    }
    let mut leases = Vec::new();
    for bytes in header.get(layout::STEP as usize..).unwrap_or_default().chunks_exact(32) {
        let (owner, span, used) = (u64_at(bytes, 0), u64_at(bytes, 8), u64_at(bytes, 16));
        if owner == 0 && span == 0 {
            continue;
        }
        // `share_header.rs`: the begin in units of 128 in the low 36 bits, the length above.
        let (start, bytes) = ((span & ((1 << 36) - 1)) * layout::STEP, (span >> 36) * layout::STEP);
        let Some(end) = start.checked_add(bytes).filter(|end| *end <= cursor.max(head)) else {
            return Err(format!("a lease of {bytes} bytes at +{start}, beyond what is leased"));
        };
        // All ones: nothing is left.
        let used = if used == u64::MAX { end } else { used };
        if span != 0 && !(start..=end).contains(&used) {
            return Err(format!("a lease from +{start} to +{end} is used up to +{used}"));
        }
        // Bit 31 of the thread: the process counts in another name space.
        let who = ((owner >> 32) as u32, owner as u32 & !(1 << 31));
        leases.push(Held { owner: (owner != 0).then_some(who), start, used: used.clamp(start, end), end });
    }
    leases.sort_by_key(|lease| (lease.start, lease.end));
    let identity = match mappings.at(at).map(|mapping| &mapping.backing) {
        Some(Backing::Shared { identity, .. }) => *identity,
        _ => 0,
    };
    Ok(Between {
        address: at,
        number: u64_at(header, 64),
        identity,
        capacity: bound - head,
        leased: (cursor - head).min(bound - head),
        lost: u64_at(header, 48).min(cursor - head),
        mapping,
        pid: u32_at(header, 56),
        refusals: u32_at(header, 60),
        leases,
        settled: true,
    })
}

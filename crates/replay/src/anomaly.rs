//! What did not fit: events that the rules of life cannot explain, kept as facts for later rules.
//!
//! May be relied on: counts are complete; of the anomalies themselves the first [`Anomalies::KEPT`] are kept.
//! Absent on purpose: any judgement. An overlap may be a bug of the program or a reset that no role names.

use crate::arena::ArenaId;
use alloc::vec::Vec;
use arenascope_event::{Address, EventNumber, MarkValue, Role, SiteId, ThreadNumber};

/// What did not fit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AnomalyKind {
    /// A new block shares bytes with a living one. The older one is taken to have died by an unseen free or rewind.
    Overlap {
        /// Number of the older block.
        older: u64,
        /// Number of the newer block.
        newer: u64,
    },
    /// A free of an address where no block of this arena lives.
    FreeOfUnknown {
        /// The address given back.
        address: Address,
    },
    /// A resize of an address where no block of this arena lives.
    ResizeOfUnknown {
        /// The address to be resized.
        address: Address,
    },
    /// A rewind to a value that is neither a known mark, nor an address, nor an offset of this arena.
    RewindToUnknown {
        /// The value.
        mark: MarkValue,
    },
    /// A free, rewind, reset or destroy of something that is no living arena.
    NoArena {
        /// What was called.
        role: Role,
    },
}

impl AnomalyKind {
    const KINDS: usize = 5;

    const fn index(&self) -> usize {
        match self {
            AnomalyKind::Overlap { .. } => 0,
            AnomalyKind::FreeOfUnknown { .. } => 1,
            AnomalyKind::ResizeOfUnknown { .. } => 2,
            AnomalyKind::RewindToUnknown { .. } => 3,
            AnomalyKind::NoArena { .. } => 4,
        }
    }
}

/// One thing that did not fit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Anomaly {
    /// The event that did not fit.
    pub moment: EventNumber,
    /// Its thread.
    pub thread: ThreadNumber,
    /// Its site.
    pub site: Option<SiteId>,
    /// The arena concerned, if there is one.
    pub arena: Option<ArenaId>,
    /// What did not fit.
    pub kind: AnomalyKind,
}

/// All that did not fit, in bounded memory.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Anomalies {
    kept: Vec<Anomaly>,
    counts: [u64; AnomalyKind::KINDS],
}

impl Anomalies {
    /// How many are kept one by one; the rest is only counted.
    pub const KEPT: usize = 1024;

    /// The first ones, in order.
    pub fn kept(&self) -> &[Anomaly] {
        &self.kept
    }

    /// How many there were in all.
    pub fn total(&self) -> u64 {
        self.counts.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// How many overlaps there were.
    pub fn overlaps(&self) -> u64 {
        self.counts[0]
    }

    /// How many there were of the same kind as `kind` (its fields do not matter).
    pub fn count_like(&self, kind: &AnomalyKind) -> u64 {
        self.counts.get(kind.index()).copied().unwrap_or(0)
    }

    pub(crate) fn add(&mut self, anomaly: Anomaly) {
        if let Some(count) = self.counts.get_mut(anomaly.kind.index()) {
            *count = count.saturating_add(1);
        }
        if self.kept.len() < Self::KEPT {
            self.kept.push(anomaly);
        }
    }
}

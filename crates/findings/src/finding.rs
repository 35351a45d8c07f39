//! What a finding is: plain data, one field per question that a reader asks.
//!
//! May be relied on: words of the enums are those of the JSON. Absent on purpose: the process (the view knows it) and
//! resolved frames (sites point into `ProcessFacts::sites`).

use alloc::string::String;
use alloc::vec::Vec;
use arenascope_event::{Address, EventNumber, SiteId, ThreadNumber};
use arenascope_replay::ArenaId;
use core::ops::Range;

/// Bug or worth knowing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Class {
    /// A diagnosed bug; counts for `--fail-on any`.
    Finding,
    /// Worth knowing, no bug.
    Note,
}

impl Class {
    /// The word of the JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Class::Finding => "finding",
            Class::Note => "note",
        }
    }
}

/// How sure.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Certainty {
    /// Follows from what was recorded.
    Certain,
    /// Fits everything recorded, and nothing else that is usual does.
    Likely,
    /// Fits, but something that could tell otherwise is missing.
    Possible,
}

impl Certainty {
    /// The word of the JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Certainty::Certain => "certain",
            Certainty::Likely => "likely",
            Certainty::Possible => "possible",
        }
    }
}

/// What happened at a site.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[allow(missing_docs, reason = "each is the word it stands for")]
pub enum SiteRole {
    Allocated,
    Freed,
    Rewound,
    Reset,
    Destroyed,
    Unmapped,
    Touched,
    Forked,
    Created,
}

impl SiteRole {
    /// The word of the JSON.
    pub const fn word(self) -> &'static str {
        match self {
            SiteRole::Allocated => "allocated",
            SiteRole::Freed => "freed",
            SiteRole::Rewound => "rewound",
            SiteRole::Reset => "reset",
            SiteRole::Destroyed => "destroyed",
            SiteRole::Unmapped => "unmapped",
            SiteRole::Touched => "touched",
            SiteRole::Forked => "forked",
            SiteRole::Created => "created",
        }
    }
}

/// The arena a finding is about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ArenaRef {
    /// Its id.
    pub id: ArenaId,
    /// Its name: its own, or the default one.
    pub name: String,
}

/// The block a finding is about: the first one, when `Finding::count` says that there are more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlockRef {
    /// Number within its arena.
    pub number: u64,
    /// Extent within its arena, from 1.
    pub extent: u32,
    /// Bytes from the extent's start, at the moment of the finding.
    pub offset: u64,
    /// Bytes.
    pub size: u64,
}

/// Bytes that prove a claim.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Evidence {
    /// What they are, such as "behind block 3" or "block 3 when it was freed".
    pub label: String,
    /// Where they lay in the process.
    pub address: Address,
    /// The same, relative to the start of the block (negative before it), or of the arena's extent when no block is
    /// concerned: for "+28" in texts, which is the same in every run.
    pub offset: i64,
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Which of them are wrong: ascending, disjoint, indices into `bytes`.
    pub damaged: Vec<Range<usize>>,
}

/// One finding or note.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// The rule's name.
    pub rule: &'static str,
    /// Bug or note.
    pub class: Class,
    /// How sure.
    pub certainty: Certainty,
    /// The claim, one sentence without a full stop.
    pub message: String,
    /// The arena, if one is concerned.
    pub arena: Option<ArenaRef>,
    /// The block, if one is concerned.
    pub block: Option<BlockRef>,
    /// When: the first time.
    pub moment: EventNumber,
    /// Threads concerned, ascending.
    pub threads: Vec<ThreadNumber>,
    /// Where, in the order of the story.
    pub sites: Vec<(SiteRole, SiteId)>,
    /// All sites that a claim about calls stands for, ascending; empty for other claims.
    pub calls: Vec<SiteId>,
    /// The evidence.
    pub because: String,
    /// The bytes that show it; empty when bytes are no part of the proof.
    pub evidence: Vec<Evidence>,
    /// What would disprove the claim.
    pub disproof: String,
    /// What to do.
    pub next: String,
    /// How many times (blocks, arenas) this finding stands for, at least 1.
    pub count: u64,
    /// Bytes concerned, all times together.
    pub bytes: u64,
}

impl Finding {
    /// Stands for one more of its kind.
    pub(crate) fn add(&mut self, other: &Finding) {
        self.count = self.count.saturating_add(1);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

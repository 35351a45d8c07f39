//! Rules: events and state in, findings out.
//!
//! A finding is an accusation and brings its evidence: block, arena, moment, sites, threads, how sure, and what would
//! disprove it. May be relied on: same events and facts, same findings in the same order; memory is bounded by the
//! number of sites, arenas and threads, never by the number of events. Where the evidence is not sure a rule stays
//! silent. Absent on purpose: files, clocks, threads, randomness, and how a finding looks on a screen.
//!
//! One file per rule. A rule is an observer of one replay: see [`Watch`].
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod contents;
mod family;
mod finding;
mod fork_private_write;
mod fork_same_block;
mod never_stored;
mod never_unmapped;
mod null_used;
mod stale_bytes;
mod unsynchronised_sharing;
mod usage;
mod watch;
mod wording;

pub use family::{FamilyFinding, Forked, Kin, Member, judge};
pub use finding::{ArenaRef, BlockRef, Certainty, Class, Evidence, Finding, SiteRole};
pub use never_stored::{NeverStored, never_kept};
pub use never_unmapped::NeverUnmapped;
pub use null_used::NullUsed;
pub use stale_bytes::StaleBytes;
pub use unsynchronised_sharing::UnsynchronisedSharing;
pub use watch::{RULES, Rule, RuleFacts, Watch, findings};

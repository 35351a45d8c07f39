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

mod called_ended;
mod contents;
mod cursor;
mod cursor_corrupted;
mod damage;
mod double_free;
mod family;
mod finding;
mod fork_private_write;
mod fork_same_block;
mod frees;
mod growth_waste;
mod invalid_free;
mod lifetime_inversion;
mod never_stored;
mod never_unmapped;
mod null_used;
mod offset_not_reset;
mod only_grows;
mod out_of_order_rewind;
mod overflow;
mod overlapping_arenas;
mod overlapping_blocks;
mod padding_waste;
mod precise;
mod rounding;
mod scopes;
mod stale_bytes;
mod stale_pointer_after_resize;
mod touched;
mod track;
mod trust;
mod unbalanced_scope;
mod unreachable;
mod unsynchronised_sharing;
mod usage;
mod use_after;
mod use_after_unmap;
mod watch;
mod wording;
mod wrong_arena_free;

pub use called_ended::CalledEnded;
pub use cursor_corrupted::CursorCorrupted;
pub use double_free::DoubleFree;
pub use family::{FamilyFinding, Forked, Kin, Member, judge};
pub use finding::{ArenaRef, BlockRef, Certainty, Class, Evidence, Finding, SiteRole};
pub use growth_waste::GrowthWaste;
pub use invalid_free::InvalidFree;
pub use never_stored::{NeverStored, never_kept};
pub use never_unmapped::NeverUnmapped;
pub use null_used::NullUsed;
pub use offset_not_reset::OffsetNotReset;
pub use only_grows::OnlyGrows;
pub use out_of_order_rewind::OutOfOrderRewind;
pub use overflow::Overflow;
pub use overlapping_arenas::OverlappingArenas;
pub use overlapping_blocks::OverlappingBlocks;
pub use padding_waste::PaddingWaste;
pub use precise::Precise;
pub use stale_bytes::StaleBytes;
pub use stale_pointer_after_resize::StalePointerAfterResize;
pub use touched::Touched;
pub use unbalanced_scope::UnbalancedScope;
pub use unreachable::Unreachable;
pub use unsynchronised_sharing::UnsynchronisedSharing;
pub use use_after::UseAfter;
pub use use_after_unmap::UseAfterUnmap;
pub use watch::{RULES, Rule, RuleFacts, Watch, findings};
pub use wrong_arena_free::WrongArenaFree;

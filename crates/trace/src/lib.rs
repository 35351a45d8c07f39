//! The trace file: records to bytes in the target, bytes to events outside it. FORMAT.md beside this crate tells why the
//! format is what it is, and every byte of it.
//!
//! Writing ([`SegmentEncoder`], [`layout`], [`commit_word`](layout::commit_word)) allocates nothing and never panics.
//! Reading ([`Trace`], [`Follower`]) accepts any bytes: damage is a value, nothing is allocated by an unchecked length.
//! Sans-IO: knows nothing of files, mappings, threads, clocks or atomics; whoever has those brings bytes and numbers.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod checksum;
mod clock;
mod damage;
mod decode;
mod encode;
mod follow;
pub mod layout;
mod merge;
mod predict;
mod read;
mod record;
mod seal;
mod slots;
mod tail;
mod varint;

pub use checksum::crc32c;
pub use damage::{Damage, DamageKind, OpenError};
pub use encode::SegmentEncoder;
pub use follow::Follower;
pub use read::{Events, Trace, events_in};
pub use record::{
    MAX_BUILD_ID_BYTES, MAX_FOUND_BYTES, MAX_FRAMES, MAX_RECORD_BYTES, MAX_STRING_BYTES, NO_SITE, Record,
};
pub use seal::{Seal, seal};
pub use tail::tail;

//! Plain data: the events of a traced process, and the facts that surround them.
//!
//! Relied on by every other crate. Holds no logic beyond names and small conversions; knows nothing of bytes,
//! files, threads, text or serialisation (each outside format keeps its own structs at its edge).
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod event;
mod facts;
mod ids;
mod role;
mod scan;

pub use event::{
    BlockFate, BoundsKind, CaptureReason, Checking, Event, EventKind, MallocKind, MarkValue, Registers, Zone,
};
pub use facts::{
    Fate, FateKind, Frame, HookFact, HookStatus, Lost, MarkerCount, Mode, Module, NullUse, Place, ProcessFacts, Report,
    SiteFacts, Synchronises, Used, Watched,
};
pub use ids::{Address, ArenaKey, BlobId, EventNumber, SiteId, ThreadNumber};
pub use role::{Argument, Result_, Role, RoleDecl};
pub use scan::{Scan, ScannedArena, Unreached};

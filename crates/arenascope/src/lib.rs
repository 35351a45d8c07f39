//! Arenascope's arena: one contiguous region whose base, offset and capacity anyone can read.
#![no_std]
#![cfg_attr(feature = "nightly", feature(allocator_api))]

#[cfg(target_pointer_width = "16")]
compile_error!("addresses of 16 bits are not supported");

extern crate alloc as heap;
#[cfg(feature = "std")]
extern crate std;

mod alloc;
#[cfg(any(feature = "allocator-api2-02", feature = "allocator-api2-04", feature = "nightly"))]
mod allocators;
mod boxed;
mod burst;
mod cold;
mod create;
mod drops;
mod error;
mod fallible;
mod geometry;
mod growing;
pub mod header;
mod inspect;
mod last_block;
mod owned;
mod policy;
mod pool;
mod probe;
mod process;
#[cfg(all(feature = "pthread", not(feature = "std")))]
mod pthread;
#[doc(hidden)]
pub mod raw;
mod refusal;
#[cfg(doctest)]
pub mod refused;
mod region;
mod registry;
mod rewind;
mod scope;
mod short_copy;
mod slab;
mod slices;
mod sources;
mod system;
mod text;
mod valgrind;
mod zeroed;

pub use boxed::ArenaBox;
pub use burst::Burst;
pub use create::{Builder, GROWING_BYTES, MAX_CAPACITY};
pub use error::{Error, RewindError};
pub use header::{Arena, HEADER_BYTES};
pub use inspect::{Dump, RawParts, Stats};
pub use owned::{Owned, OwnedArena};
pub use policy::{HugePages, OnReset};
pub use pool::{KeptLimits, kept, release_kept, set_kept_limits};
pub use probe::{Event, EventKind, OBSERVER_VERSION, Observer, observe_all};
pub use region::{Region, Request, Source};
pub use rewind::Checkpoint;
pub use scope::{Scope, ScopeGuard};
pub use slab::{MAGIC_SLAB, Slab};
pub use sources::{FailAt, Heap};
pub use system::{Stepwise, System};
pub use text::CStrError;
pub use zeroed::Zeroable;

//! An arena: one contiguous region that never moves, whose base, offset and capacity anyone can read; a block is a load, an
//! addition, a comparison and a store. The same release binary can be watched, at any moment and from outside, at no cost
//! while nobody looks.
//!
//! ```
//! use arenascope::Arena;
//!
//! let mut arena = Arena::growing()?; // or Arena::init(capacity): exactly so many bytes
//! let numbers = arena.alloc_slice_copy(&[1, 2, 3]);
//! let name = arena.alloc_str("ferris");
//! numbers[0] = name.len();
//! assert_eq!((arena.offset(), &numbers[..]), (32, &[6, 2, 3][..]));
//!
//! arena.reset(); // everything is gone, the memory stays; `numbers` and `name` cannot be used any more
//! let words = arena.scope(|scope| {
//!     let words = scope.alloc_iter("to be or not".split(' '));
//!     scope.scope(|inner| inner.alloc_fmt(format_args!("{} {}", words[0], words.len())).len()) + words.len()
//! });
//! assert_eq!((words, arena.offset()), (8, 0));
//! # Ok::<(), arenascope::Error>(())
//! ```
//!
//! # The contract
//! **You promise** nothing that the compiler does not check, but for calls marked `unsafe`, which say what. An observer is your
//! code, and its table says what it may do.
//!
//! **We promise**
//! - *Boundaries.* [`init(n)`](Arena::init) hands out exactly `n` bytes, alignment padding included. All blocks lie in
//!   `base..base + offset`, in the order of their allocation, each a multiple of 8 bytes apart. The region never moves.
//! - *Failure changes nothing.* Every call that can be refused has a `try_` twin that says why; the other one panics with the arena's name and
//!   numbers. After a refusal the arena is as it was.
//! - *Panics leave it sound.* In a closure, an iterator, a `clone`, a `drop`, or a `Display` of yours: at worst a block stays behind.
//! - *Nothing leaks unseen.* A value that needs dropping is refused by `alloc` at compile time; [`alloc_box`](Arena::alloc_box)
//!   owns it, [`Scope::alloc_drop`] drops it when the scope ends (the last one first), `ManuallyDrop` says that you mean it.
//! - *Anyone can look.* The [`header`] at the region's start has a documented, versioned layout, the same for C, for a debugger,
//!   another process or a core dump. Storing 0 into its `limit` is all that watching takes.
//! - *It may move to another thread*, with nothing borrowed from it. A [`SharedArena`] serves many threads at once, each inside leases of its own.
//! - *A fork is answered by name*: a forked child has a private copy; [`fork`] holds arenas that are shared, wiped or absent there.
//!
//! **Not for** blocks that must be freed one by one in any order (only the last one's memory is reused before a rewind); memory that must
//! shrink while it is full.
//!
//! # What allocates
//! | | blocks live | may be undone |
//! |---|---|---|
//! | [`Owned`] ([`OwnedArena`]; derefs to [`Arena`]) | until reset, rewind or drop | all: [`reset`](Owned::reset); to a [`Checkpoint`]: [`rewind`](Owned::rewind) |
//! | [`Scope`], by [`Owned::scope`] or a [`ScopeGuard`] | until the scope ends; usable in scopes within | by ending |
//! | [`Burst`], by [`Arena::burst`], [`Scope::burst`] or [`Local::burst`] | as those of its arena, scope or handle | |
//! | [`SharedArena`], and [`Local`], a thread's handle of it | until the shared arena's reset or drop | all: [`reset`](SharedArena::reset) |
//! | [`Pooled`], by [`ArenaPool::take`] | as those of an [`Owned`]; until it is dropped, and waits in the pool | as those of an [`Owned`] |
//! | [`ShareLocal`](fork::ShareLocal), of a [`ShareArena`](fork::ShareArena) | as long as the memory, in all processes | |
//!
//! Arena, scope and a thread's handle know the same calls, a burst those that tight loops need, by names that bumpalo's users
//! know: `alloc`, `alloc_with`, `alloc_slice_copy`, `alloc_str`, `alloc_fmt`, … A table for those who come from other arenas is
//! in `docs/arena.md`.
//!
//! # Speed
//! Everything here is O(1) or O(bytes written), as each call says; a system call happens when more memory is committed, in steps that
//! grow. Instructions of a block of 24 bytes, its three stores and the loop included: 11, in a burst 10, bumpalo 16. A scope: 27
//! beside its blocks. Figures beside its peers, with the command: `docs/performance.md`.
//!
//! # Where Rust's model is left
//! Three things that outsiders need go beyond what Rust's memory model defines:
//! - Anyone may store 0 or 1 into `limit` while the owner reads it. The owner's load is volatile, of one aligned word, which does not tear
//!   on the machines we support.
//! - [`Arena::dump`] reads blocks that somebody may hold as `&mut`, and bytes that were never written. It does so by a load in assembly, one byte
//!   at a time: the compiler knows nothing about it and so cannot draw a wrong conclusion from it, and what is shown is what a debugger would
//!   show. (On machines other than x86 and aarch64, and under Miri, it is a volatile load.) [`Owned::bytes`] shows the same memory
//!   within the model, to who has the arena exclusively.
//! - `observe_all` and [`SharedArena::leases`] read the headers of other threads' arenas and leases.
//!
//! # Machines
//! Linux on x86-64: everything is tested. i686: the suites for conformance, collections, scopes, memory policy and old bugs pass. aarch64: it compiles, and the
//! two loads of the allocation path were read in its assembly; it never ran.
//!
//! # Features
//! `std` (default) keeps ended arenas' regions per thread; without it the crate is `no_std` and keeps one list for the process.
//! `allocator-api2-02`, `allocator-api2-04` and `nightly` implement those allocator traits for [`Arena`], [`Scope`] and
//! [`Owned`], so that vectors and maps of other crates work on references to them; the last vector grows in place.
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
mod arena_pool;
mod atomics;
mod boxed;
mod burst;
mod calls;
mod check;
mod cold;
mod create;
mod drops;
mod error;
mod fallible;
pub mod fork;
mod geometry;
mod glimpse;
mod growing;
pub mod header;
mod inspect;
mod last_block;
mod lease_sizes;
mod leases;
#[cfg(test)]
mod leases_tests;
mod local;
mod lock;
mod mark;
mod memory_file;
mod note;
mod owned;
mod policy;
mod pool;
mod probe;
mod process;
#[cfg(all(feature = "pthread", not(feature = "std")))]
mod pthread;
#[doc(hidden)]
pub mod raw;
mod refill;
mod refusal;
#[cfg(doctest)]
pub mod refused;
mod region;
mod registry;
mod rewind;
mod sampling;
mod scope;
mod shared;
pub mod shared_header;
mod short_copy;
mod slab;
mod slices;
mod sources;
mod system;
mod text;
mod thread_berths;
mod valgrind;
mod zeroed;

pub use arena_pool::{ArenaPool, Pooled};
pub use boxed::ArenaBox;
pub use burst::Burst;
pub use check::{CheckKind, CheckRequest, Checker};
pub use create::{Builder, GROWING_BYTES, MAX_CAPACITY};
pub use error::{Error, RewindError};
pub use fallible::AllocOrInitError;
pub use header::{Arena, HEADER_BYTES};
pub use inspect::{Dump, RawParts, Stats};
pub use local::Local;
pub use mark::mark;
pub use owned::{Owned, OwnedArena};
pub use policy::{Colouring, CommitAhead, HugePages, OnReset, Populate};
pub use pool::{KeptLimits, kept, release_kept, set_kept_limits};
pub use probe::{Event, EventKind, OBSERVER_VERSION, Observer, observe_all};
pub use region::{Region, Request, Source};
pub use rewind::Checkpoint;
pub use scope::{Scope, ScopeGuard};
pub use shared::{Lease, SharedArena, SharedStats};
pub use slab::{MAGIC_SLAB, Slab};
pub use sources::{FailAt, Heap};
pub use system::{Stepwise, System};
pub use text::CStrError;
pub use zeroed::Zeroable;

/// The examples of the guide.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/arena.md")]
pub struct Guide;

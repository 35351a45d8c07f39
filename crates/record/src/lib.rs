//! The recorder that lives inside the traced process: facts in, records in a mapped file out.
//!
//! Relied on: it never fails its host. It takes no lock on the path of an event already known, makes no system call
//! there, allocates nothing outside the memory it reserved at the start, and never formats text. What cannot be written
//! is counted in the trace's header. Deliberately absent: hooks, symbols, any judgement about what an event means.
//!
//! ```text
//!   Recorder (one per process)          Thread (one per thread, exclusive)
//!     space    mapped trace file          segment + encoder   where the next record goes
//!     arenas   object -> key, extents     arena cache         object -> entry
//!     sites    backtrace -> id            site cache          hash -> id
//!     heap     malloc blocks of interest  calls               which hooked calls are on this stack
//!   Check (one per process, in check mode): zones   bytes that nobody may change
//!   Apart (one per process, in check mode): plots   memory for the blocks of our own arenas
//! ```
//!
//! A program may also link it and [`start`] it by itself (feature `start`, and only there std): see `inside`.
#![no_std]

#[cfg(feature = "start")]
extern crate std;

mod apart;
mod arenas;
mod capture;
mod check;
mod checksum;
mod clock;
mod deep;
mod draw;
mod freed;
mod guards;
mod heap;
#[cfg(feature = "start")]
mod inside;
mod last_stack;
mod modules;
mod objects;
mod observed;
mod observed_samples;
mod parts;
pub mod quiet;
mod recorder;
mod reserve;
mod reused;
mod sites;
mod space;
mod stacks;
mod system;
mod thread;
mod walk;
mod zones;

pub use arenascope_trace::{NO_SITE, Record};

pub use apart::{APART_BYTES, Apart, Closing, Fate, Found, OfArena, Sink, Told, Touched};
pub use arenas::{Entry, PageFilter};
pub use arenascope_unwind::Table;
pub use check::{CHECK_BYTES, Check, Dying, growth};
pub use clock::ticks;
pub use deep::{DEEP_BYTES, only_this_thread, prepare as prepare_stacks, run as on_own_stack};
pub use guards::{GUARDS, Guard, Span};
pub use heap::{HeapSet, LARGE_BYTES, SLOTS as HEAP_SLOTS, SMALL_BYTES};
#[cfg(feature = "start")]
pub use inside::{HeaderBounds, LentEvent, Observing, Recording, StartError, start};
pub use modules::{CodeModule, MODULES};
pub use observed::{
    CheckRequest, LibraryEvent, OBSERVER_VERSION, ObserverTable, check_kind, checked_header, kind as library_kind,
};
pub use recorder::{Entered, RESERVE_BYTES, Recorder, Start, draw, sample, sample_bytes};
pub use reserve::{Reserve, Zeroed};
#[cfg(feature = "start")]
pub use sites::Place;
pub use sites::{CallFrame, StubFrame};
pub use space::Space;
pub use system::{Mapping, for_each_mapping, gettid, read_own_memory};
pub use thread::{Call, Thread};

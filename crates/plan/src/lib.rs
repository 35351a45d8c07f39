//! What the agent asks and what the launcher answers, as bytes.
//!
//! The agent (in the target) sends a [`Hello`]; the launcher answers with a [`Plan`]: pages to map, code to place, bytes
//! to patch, hooks to serve; the agent sends a [`Done`]. Both ends are built from one source tree and check
//! [`PROTOCOL`], so there is no compatibility here beyond refusing a stranger. Reading never allocates and accepts any
//! bytes; knows nothing of sockets.
#![no_std]
#![forbid(unsafe_code)]

mod hook;
mod message;
mod pattern;
mod signal;
mod wire;

pub use hook::{Hook, HookKind, MemoryPlace, Shape, Source, SourceKind, Sources};
pub use message::{
    Done, Failure, Hello, HelloReader, LibcFunction, Library, MESSAGE_LIMIT, ModuleEntry, Patch, Placed, Plan,
    PlanItem, PlanReader, PlanWriter, Preload, Purpose, Unwinding, WatchMalloc, write_done, write_hello_head,
    write_module,
};
pub use pattern::name_fits;
pub use signal::{SIGNAL_NAME_BYTES, signal_bit, signal_name, signal_number};
pub use wire::{Reader, Writer};

/// Both ends must agree on this number. Changed whenever a message changes.
pub const PROTOCOL: u32 = 11;

/// Hooks of a process.
pub const HOOKS: usize = 16_384;

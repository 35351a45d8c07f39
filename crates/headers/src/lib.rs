//! Finds every living arena of our library in somebody's memory, and says what its header says.
//!
//! May be relied on: accepts any bytes. A header is believed only when each number in it fits the others and the mappings; one that does
//! not becomes a value, [`Damaged`], with its address and the reason. Nothing is allocated by a length that was read and not checked.
//! A header that its owner changes meanwhile is read until two readings agree ([`settle`](self::settle)). Deliberately absent: where the bytes come from
//! ([`Memory`] is handed in: a process, a core dump, a test), writing, blocks (headers do not know them), text for people.
//!
//! # How arenas are found
//! From the cheapest to the dearest; [`find`] does them in this order and says in [`Searched`] what it did.
//! 1. *Notes*: each binary that the library is linked into says in `.note.arenascope` where its three lists begin ([`notes`]).
//! 2. *Static data*: the same three words, found by what they point at, in the writable data of every loaded file. Works without notes,
//!    symbols and sections; finds arenas in static buffers too ([`roots`]).
//! 3. *Mappings of their own*: memory that processes share (a memory file with our name), and mappings that a fork does not copy, which
//!    hold what is in no list.
//! 4. *All memory that is there*, at multiples of 128 bytes, up to a limit: arenas in buffers of malloc's and on stacks, and programs whose
//!    static data is nowhere ([`scan`]).
#![forbid(unsafe_code)]

mod arena;
mod candidates;
pub mod layout;
mod lists;
mod memory;
pub mod notes;
pub mod roots;
pub mod scan;
mod search;
mod settle;
mod share;
mod shared;
mod slab;
mod text;

pub use arena::{Arena, Place};
pub use lists::List;
pub use memory::{Backing, Mapping, Mappings, Memory, Unread};
pub use search::{Damaged, Found, Limits, Searched, find};
pub use share::{Between, Held};
pub use shared::{Lease, Shared};
pub use text::{Text, Where};

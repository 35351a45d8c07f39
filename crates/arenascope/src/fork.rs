//! What becomes of an arena when the process forks: four policies, each by name, each with what it promises in the child.
//!
//! | policy | in the child | by | costs |
//! |---|---|---|---|
//! | `copy` | a private copy, as of the fork; what either side writes the other never sees | every [`Arena`](crate::Arena) and [`SharedArena`](crate::SharedArena): nothing to say | pages are copied when either side first writes to them |
//! | `share` | the same memory: parent and children allocate from one cursor, never the same byte | [`ShareArena`] | positions are [`Offset`]s, not references |
//! | `wipe` | the memory is zero: the arena is empty and new | [`WipeArena`] (unsafe to make), [`WipeValues`] (safe: no references) | one system call more at creation |
//! | `absent` | the memory is not there | [`AbsentArena`] (unsafe to make) | as `wipe`; the fork copies no page tables for it |
//!
//! May be relied on:
//! - *The child notices by itself.* A page that the kernel wipes in a child (`MADV_WIPEONFORK`, Linux 4.14) tells it; no call to `getpid` on any
//!   path that allocates. A raw `clone` is noticed as well as `fork`.
//! - *No lock can be left behind.* There is no `pthread_atfork` handler: locks hold the generation of the process that took them, and are
//!   taken over in a child whose parent held them (see `registry`, whose lists are mended then). Shared memory has no lock at all. So the order
//!   of locks is: there is one, and nothing is called under it. A thread may fork while others create, fill and destroy arenas.
//! - *Whole pages.* Wiped and absent arenas have a mapping of their own: no other data shares a page with them.
//! - *Watched* arenas of the policy `copy` report [`EventKind::INHERITED`](crate::EventKind::INHERITED) before a child's first event in them.
//!
//! Deliberately absent: `vfork`, whose child must not touch memory at all; `clone(CLONE_VM)`, whose child is a thread for our purposes.

mod absent;
mod hot;
mod offset;
mod share;
mod share_header;
mod share_local;
mod wipe;

pub use absent::AbsentArena;
pub use offset::{AtomicOffset, Offset, Shareable, SliceOffset};
pub use share::{Held, ShareArena, ShareError, Walk};
pub use share_header::{MAGIC_SHARE, SHARE_LAYOUT_VERSION, ShareHeader, ShareLease};
pub use share_local::ShareLocal;
pub use wipe::{WipeArena, WipeValues};

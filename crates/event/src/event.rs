//! What can happen, one fact per event.
//!
//! An event says what was observed and draws no conclusion: "the allocator returned NULL", never "out of memory".

use crate::{Address, ArenaKey, BlobId, EventNumber, SiteId, ThreadNumber};
use alloc::string::String;

/// One event in the merged order of a trace.
#[derive(Clone, PartialEq, Debug)]
pub struct Event {
    /// Position in the merged order, from 1, without gaps.
    pub number: EventNumber,
    /// Nanoseconds since the start of the trace.
    pub time_ns: u64,
    /// The thread that did it.
    pub thread: ThreadNumber,
    /// The backtrace of the call, where one was taken.
    pub site: Option<SiteId>,
    /// What happened.
    pub kind: EventKind,
}

/// A saved cursor as the program passes it around: an opaque machine word.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct MarkValue(pub u64);

/// Why bytes were captured.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum CaptureReason {
    /// Just before the arena was reset.
    Reset = 0,
    /// Just before the arena was rewound.
    Rewind = 1,
    /// Just before the arena was destroyed.
    Destroy = 2,
    /// Just before its mapping or malloc block went away.
    Unmap = 3,
    /// The process was about to exit.
    Exit = 4,
    /// A fatal signal had arrived.
    Signal = 5,
}

impl CaptureReason {
    /// All reasons, in code order.
    pub const ALL: [CaptureReason; 6] = [
        CaptureReason::Reset,
        CaptureReason::Rewind,
        CaptureReason::Destroy,
        CaptureReason::Unmap,
        CaptureReason::Exit,
        CaptureReason::Signal,
    ];

    /// A plain word for texts and JSON.
    pub const fn word(self) -> &'static str {
        match self {
            CaptureReason::Reset => "reset",
            CaptureReason::Rewind => "rewind",
            CaptureReason::Destroy => "destroy",
            CaptureReason::Unmap => "unmap",
            CaptureReason::Exit => "exit",
            CaptureReason::Signal => "signal",
        }
    }
}

/// General-purpose registers at a fault, in the order rax rbx rcx rdx rsi rdi rbp rsp r8 … r15.
pub type Registers = [u64; 16];

/// What happened.
///
/// `order` is the position among the events of the same arena key, from 0 without gaps (unless events were lost):
/// it, and not the clock, decides the order inside an arena.
#[derive(Clone, PartialEq, Debug)]
pub enum EventKind {
    /// A create function returned. `nested` counts the events that this same thread recorded between entry and
    /// return: an arena that was born implicitly by one of them is this one.
    Create {
        /// The arena.
        arena: ArenaKey,
        /// Position among this arena key's events.
        order: u64,
        /// The size argument, bytes, if the role names one.
        size: Option<u64>,
        /// The parent arena, if the role names one and it is not null.
        parent: Option<ArenaKey>,
        /// The name argument, if the role names one.
        name: Option<String>,
        /// Events recorded by this thread inside the call.
        nested: u64,
    },
    /// An alloc function returned `block` (NULL when it refused).
    Alloc {
        /// The arena.
        arena: ArenaKey,
        /// Position among this arena key's events.
        order: u64,
        /// The address returned; null when the allocator refused.
        block: Address,
        /// Bytes asked for (size × count when the role names both).
        size: u64,
        /// The alignment asked for, if the role names it.
        align: Option<u64>,
    },
    /// A resize function returned.
    Resize {
        /// The arena.
        arena: ArenaKey,
        /// Position among this arena key's events.
        order: u64,
        /// The block before.
        old: Address,
        /// The block after; null when the allocator refused (the old block then still stands).
        new: Address,
        /// Bytes asked for.
        size: u64,
    },
    /// A free function is about to take `block` back.
    Free {
        /// The arena.
        arena: ArenaKey,
        /// Position among this arena key's events.
        order: u64,
        /// The block.
        block: Address,
    },
    /// A mark function returned `mark`.
    Mark {
        /// The arena.
        arena: ArenaKey,
        /// Position among this arena key's events.
        order: u64,
        /// The saved cursor.
        mark: MarkValue,
    },
    /// A rewind function is about to go back to `mark`.
    Rewind {
        /// The arena.
        arena: ArenaKey,
        /// Position among this arena key's events.
        order: u64,
        /// The saved cursor.
        mark: MarkValue,
    },
    /// A reset function is about to empty the arena.
    Reset {
        /// The arena.
        arena: ArenaKey,
        /// Position among this arena key's events.
        order: u64,
    },
    /// A destroy function is about to end the arena.
    Destroy {
        /// The arena.
        arena: ArenaKey,
        /// Position among this arena key's events.
        order: u64,
    },
    /// An arena key was seen for the first time: the address of its arena object (0 for the global arena).
    /// Always before the key's first other event, in the same thread.
    ArenaSeen {
        /// The key.
        arena: ArenaKey,
        /// Address of the arena object; null for the one global arena.
        object: Address,
    },
    /// Bytes of an arena, as they were when `reason` happened. Belongs to the event that follows on this thread.
    Capture {
        /// The arena.
        arena: ArenaKey,
        /// Why.
        reason: CaptureReason,
        /// Where the bytes lay.
        base: Address,
        /// How many bytes the span had; the blob may be shorter when space ran out.
        len: u64,
        /// The bytes.
        bytes: BlobId,
    },
    /// `mmap` returned.
    Map {
        /// Start, page-aligned.
        address: Address,
        /// Bytes, rounded up to pages.
        len: u64,
        /// PROT_* bits.
        protection: u32,
        /// MAP_* bits.
        flags: u32,
        /// True when `address` was seen in the memory map rather than returned by a call we saw.
        observed: bool,
    },
    /// `munmap` succeeded (or the range was replaced by MAP_FIXED).
    Unmap {
        /// Start.
        address: Address,
        /// Bytes.
        len: u64,
    },
    /// `mremap` succeeded.
    Remap {
        /// Start before.
        old: Address,
        /// Bytes before.
        old_len: u64,
        /// Start after.
        new: Address,
        /// Bytes after.
        new_len: u64,
    },
    /// The C library's allocator handed out a block (recorded because arenas may live in it).
    HeapAlloc {
        /// Start.
        address: Address,
        /// Bytes asked for.
        size: u64,
    },
    /// A block of the C library's allocator is about to be freed.
    HeapFree {
        /// Start.
        address: Address,
    },
    /// A thread was seen for the first time.
    ThreadStart {
        /// The kernel's thread id.
        tid: u32,
        /// The thread that created it, if seen.
        parent: Option<ThreadNumber>,
    },
    /// The thread ended.
    ThreadExit,
    /// The process forked; the child's trace names this event.
    Fork {
        /// The child's pid; 0 when not known.
        child: u32,
        /// Ties the two traces: the child's header holds the same number.
        fork_id: u64,
    },
    /// vfork or posix_spawn was called (the child shares our memory until it executes a program).
    Vfork,
    /// The process is about to execute another program.
    Exec {
        /// Its path, as given.
        path: String,
    },
    /// The process is about to exit.
    Exit {
        /// Exit status.
        status: i32,
    },
    /// A signal that ends the process arrived.
    Fault {
        /// Signal number.
        signal: u32,
        /// The faulting address (0 when the signal has none).
        address: Address,
        /// The instruction.
        pc: Address,
        /// True when the signal came from a fault of this thread, false when it was sent.
        synchronous: bool,
        /// General registers at the fault.
        registers: Registers,
    },
    /// A module was mapped.
    ModuleLoaded {
        /// Index into `ProcessFacts::modules`.
        module: u32,
    },
}

impl EventKind {
    /// The arena key and order of an arena's own event; `None` for all others (`ArenaSeen` and `Capture` included).
    pub fn arena_order(&self) -> Option<(ArenaKey, u64)> {
        match *self {
            EventKind::Create { arena, order, .. }
            | EventKind::Alloc { arena, order, .. }
            | EventKind::Resize { arena, order, .. }
            | EventKind::Free { arena, order, .. }
            | EventKind::Mark { arena, order, .. }
            | EventKind::Rewind { arena, order, .. }
            | EventKind::Reset { arena, order }
            | EventKind::Destroy { arena, order } => Some((arena, order)),
            _ => None,
        }
    }

    /// A plain word for texts and JSON, the same in every view.
    pub const fn word(&self) -> &'static str {
        match self {
            EventKind::Create { .. } => "create",
            EventKind::Alloc { .. } => "alloc",
            EventKind::Resize { .. } => "resize",
            EventKind::Free { .. } => "free",
            EventKind::Mark { .. } => "mark",
            EventKind::Rewind { .. } => "rewind",
            EventKind::Reset { .. } => "reset",
            EventKind::Destroy { .. } => "destroy",
            EventKind::ArenaSeen { .. } => "arena-seen",
            EventKind::Capture { .. } => "capture",
            EventKind::Map { .. } => "map",
            EventKind::Unmap { .. } => "unmap",
            EventKind::Remap { .. } => "remap",
            EventKind::HeapAlloc { .. } => "heap-alloc",
            EventKind::HeapFree { .. } => "heap-free",
            EventKind::ThreadStart { .. } => "thread-start",
            EventKind::ThreadExit => "thread-exit",
            EventKind::Fork { .. } => "fork",
            EventKind::Vfork => "vfork",
            EventKind::Exec { .. } => "exec",
            EventKind::Exit { .. } => "exit",
            EventKind::Fault { .. } => "fault",
            EventKind::ModuleLoaded { .. } => "module",
        }
    }
}

//! What can happen, one fact per event.
//!
//! An event says what was observed and draws no conclusion: "the allocator returned NULL", never "out of memory".

use crate::{Address, ArenaKey, BlobId, EventNumber, SiteId, ThreadNumber};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

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
    /// A mark of the user's was set.
    UserMark = 6,
    /// A block had just been handed out over bytes that an earlier owner may have left.
    Alloc = 7,
    /// Just after the block was resized to another place: what still lies at the old one.
    Resize = 8,
    /// Just before a single block was freed.
    Free = 9,
}

impl CaptureReason {
    /// All reasons, in code order.
    pub const ALL: [CaptureReason; 10] = [
        CaptureReason::Reset,
        CaptureReason::Rewind,
        CaptureReason::Destroy,
        CaptureReason::Unmap,
        CaptureReason::Exit,
        CaptureReason::Signal,
        CaptureReason::UserMark,
        CaptureReason::Alloc,
        CaptureReason::Resize,
        CaptureReason::Free,
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
            CaptureReason::UserMark => "user-mark",
            CaptureReason::Alloc => "alloc",
            CaptureReason::Resize => "resize",
            CaptureReason::Free => "free",
        }
    }

    /// True when the bytes are those of one block, and not of all that the arena spans.
    pub const fn is_of_one_block(self) -> bool {
        matches!(self, CaptureReason::Alloc | CaptureReason::Resize | CaptureReason::Free)
    }
}

/// Where bytes lie that nobody may touch, seen from the block they belong to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Zone {
    /// The redzone before the block.
    Before = 0,
    /// The redzone behind the block.
    After = 1,
    /// The block itself, after it was given back.
    Dead = 2,
}

impl Zone {
    /// All zones, in code order.
    pub const ALL: [Zone; 3] = [Zone::Before, Zone::After, Zone::Dead];

    /// A plain word for texts and JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Zone::Before => "before",
            Zone::After => "after",
            Zone::Dead => "dead",
        }
    }
}

/// General-purpose registers at a fault, in the order rax rbx rcx rdx rsi rdi rbp rsp r8 … r15.
pub type Registers = [u64; 16];

/// Which of the C library's arenas a key is that a [`EventKind::HeapSegment`] told of. Its object is the address of
/// glibc's own record of the arena (`malloc_state`) or one of the stand-ins here, which are no addresses.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum MallocKind {
    /// The one that begins with the break.
    Main,
    /// One made for threads, in heaps of its own.
    Thread,
    /// Blocks that have a mapping each.
    Mapped,
    /// Blocks of an allocator that is not glibc's: of unknown bounds, and as one arena.
    Foreign,
}

impl MallocKind {
    /// Object of the main arena while the address of its record is not known.
    pub const MAIN: Address = Address(1);
    /// Object of the blocks that have a mapping each.
    pub const MAPPED: Address = Address(2);
    /// Object of another allocator than glibc's.
    pub const FOREIGN: Address = Address(3);

    /// Which one it is, by its object and the first range told of: a thread's arena has its record in its first heap.
    pub fn of(object: Address, start: Address, len: u64) -> MallocKind {
        match object {
            MallocKind::MAIN => MallocKind::Main,
            MallocKind::MAPPED => MallocKind::Mapped,
            MallocKind::FOREIGN => MallocKind::Foreign,
            _ if start <= object && object < start.plus(len) => MallocKind::Thread,
            _ => MallocKind::Main,
        }
    }

    /// A plain word for texts and JSON.
    pub const fn word(self) -> &'static str {
        match self {
            MallocKind::Main => "main",
            MallocKind::Thread => "thread",
            MallocKind::Mapped => "mapped",
            MallocKind::Foreign => "foreign",
        }
    }
}

/// What [`EventKind::Bounds`] tells of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum BoundsKind {
    /// A bounded arena's payload: exactly so many bytes can be had.
    Bounded = 0,
    /// A growing arena's: its memory is committed as blocks need it.
    Growing = 1,
    /// A lease of a shared arena: one thread's, and another one follows when it is used up.
    Lease = 2,
    /// The payload of an arena that a forked child inherited and uses from here on: a private copy, which its parent never sees.
    Copied = 3,
    /// Memory of check mode's, in which blocks of the arena lie, and not in its payload.
    Plot = 4,
    /// The same, where dead blocks of this arena or of others lay before, which check mode has forgotten.
    PlotAgain = 5,
}

impl BoundsKind {
    /// All kinds, in code order.
    pub const ALL: [BoundsKind; 6] = [
        BoundsKind::Bounded,
        BoundsKind::Growing,
        BoundsKind::Lease,
        BoundsKind::Copied,
        BoundsKind::Plot,
        BoundsKind::PlotAgain,
    ];

    /// True for memory of check mode's.
    pub const fn is_plot(self) -> bool {
        matches!(self, BoundsKind::Plot | BoundsKind::PlotAgain)
    }

    /// A plain word for texts and JSON.
    pub const fn word(self) -> &'static str {
        match self {
            BoundsKind::Bounded => "bounded",
            BoundsKind::Growing => "growing",
            BoundsKind::Lease => "lease",
            BoundsKind::Copied => "copied",
            BoundsKind::Plot => "plot",
            BoundsKind::PlotAgain => "plot-again",
        }
    }
}

/// What check mode can do for an arena of our library.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Checking {
    /// Blocks end at guard pages: touching what is behind one is a fault.
    Guards = 0,
    /// Known bytes around blocks and in dead ones, looked at from time to time.
    Canaries = 1,
    /// Canaries, though guard pages were asked for: the kernel has none (before Linux 6.13).
    NoGuards = 2,
    /// Nothing: blocks have to lie in memory of the program's choice (a buffer, a source of its own, memory shared with or kept from
    /// children).
    Bound = 3,
    /// Nothing: there are no addresses for it.
    NoRoom = 4,
    /// Canaries from here on, though guard pages were asked for: the kernel refuses them (EINVAL), as it does where memory is locked.
    Locked = 5,
    /// Canaries from here on, though guard pages were asked for: the program allows no such system call any more.
    Quiet = 6,
}

impl Checking {
    /// All, in code order.
    pub const ALL: [Checking; 7] = [
        Checking::Guards,
        Checking::Canaries,
        Checking::NoGuards,
        Checking::Bound,
        Checking::NoRoom,
        Checking::Locked,
        Checking::Quiet,
    ];

    /// True when blocks are looked after.
    pub const fn works(self) -> bool {
        !matches!(self, Checking::Bound | Checking::NoRoom)
    }

    /// A plain word for texts and JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Checking::Guards => "guard-pages",
            Checking::Canaries => "canaries",
            Checking::NoGuards => "canaries-no-guards",
            Checking::Bound => "none-bound",
            Checking::NoRoom => "none-no-room",
            Checking::Locked => "canaries-locked",
            Checking::Quiet => "canaries-no-calls",
        }
    }
}

/// What had become of a block of our library when it was touched.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum BlockFate {
    /// It lived.
    Lives = 0,
    /// It was freed.
    Freed = 1,
    /// A scope ended, or the arena was rewound.
    Rewound = 2,
    /// The arena was reset.
    Reset = 3,
    /// It was resized, and moved.
    Moved = 4,
    /// The arena was destroyed.
    Destroyed = 5,
    /// It was resized, and check mode moved it where it would have stayed.
    Outgrown = 6,
}

impl BlockFate {
    /// All, in code order.
    pub const ALL: [BlockFate; 7] = [
        BlockFate::Lives,
        BlockFate::Freed,
        BlockFate::Rewound,
        BlockFate::Reset,
        BlockFate::Moved,
        BlockFate::Destroyed,
        BlockFate::Outgrown,
    ];

    /// A plain word for texts and JSON.
    pub const fn word(self) -> &'static str {
        match self {
            BlockFate::Lives => "lives",
            BlockFate::Freed => "freed",
            BlockFate::Rewound => "rewound",
            BlockFate::Reset => "reset",
            BlockFate::Moved => "moved",
            BlockFate::Destroyed => "destroyed",
            BlockFate::Outgrown => "outgrown",
        }
    }
}

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
        /// General registers at the fault; boxed, or every event would be as large.
        registers: Box<Registers>,
    },
    /// A module was mapped.
    ModuleLoaded {
        /// Index into `ProcessFacts::modules`.
        module: u32,
    },
    /// The program or its user named this moment.
    UserMark {
        /// The name given.
        name: String,
    },
    /// Bytes that held a known value held another one when they were looked at (check mode). Belongs to the event that
    /// follows on this thread: it was that call, or the end of the process, that had them looked at.
    Damage {
        /// The arena.
        arena: ArenaKey,
        /// The block that the bytes belong to.
        block: Address,
        /// Its bytes, as asked for.
        size: u64,
        /// Where the bytes lie, seen from the block.
        zone: Zone,
        /// The first byte that differs.
        address: Address,
        /// What every byte from there to the zone's end held when it was last known to be right.
        expected: u8,
        /// What was found from `address` on, up to the last byte that differs, at most 64.
        found: Vec<u8>,
        /// One past the zone's last byte.
        end: Address,
        /// The zone was right when the arena's events before this order had happened.
        since: u64,
        /// For a dead block: the order of the event that took it back.
        ended: Option<u64>,
    },
    /// Between entry and return of the call that the next own event of this thread in `arena` tells, other threads
    /// recorded events there: those from order `since` on.
    Overlapped {
        /// The arena.
        arena: ArenaKey,
        /// The arena's next order when the call was entered.
        since: u64,
    },
    /// The alloc that the next own event of this thread tells handed out a block that does not follow the arena's last one,
    /// and a word of the arena object moved as the ends of the two blocks did: its cursor moved without an event, or by
    /// more or less than the size.
    ObjectChanged {
        /// The arena.
        arena: ArenaKey,
        /// Where the bytes lie: the start of the object.
        address: Address,
        /// As the alloc of the last block left them. Before a free: as they were at the entry of an earlier free of this block.
        before: Vec<u8>,
        /// As this alloc left them; as many. Before a free: as that earlier one left them.
        after: Vec<u8>,
    },
    /// A range that the C library's allocator carves blocks from, as its own records have it now. The first one of a key
    /// says that the key is an arena of that allocator; null and 0 when there are no bounds to be told (see
    /// [`MallocKind`]).
    HeapSegment {
        /// The C library's arena.
        arena: ArenaKey,
        /// First byte.
        start: Address,
        /// Bytes.
        len: u64,
        /// First byte of the part never handed out, or given back at its end (glibc's top chunk); null when it lies in
        /// another segment.
        top: Address,
    },
    /// A scope of an arena of our library began; `cursor` is where it goes back to.
    ScopeEnter {
        /// The arena.
        arena: ArenaKey,
        /// Position among this arena key's events.
        order: u64,
        /// The cursor.
        cursor: Address,
    },
    /// A scope of an arena of our library has ended: all above `cursor` is gone.
    ScopeExit {
        /// The arena.
        arena: ArenaKey,
        /// Position among this arena key's events.
        order: u64,
        /// The cursor, as it was when the scope began.
        cursor: Address,
    },
    /// Where blocks of an arena of our library lie, as its header says. Belongs to the event that follows on this thread.
    Bounds {
        /// The arena.
        arena: ArenaKey,
        /// First payload byte.
        base: Address,
        /// The bound the program asked for, bytes; of a growing arena the reservation's payload.
        capacity: u64,
        /// Bytes from `base` to the end of what is reserved.
        reserved: u64,
        /// What kind of bounds.
        kind: BoundsKind,
    },
    /// From here on only samples are told, and what may end them. Each allocation of `size` bytes stands for 1 / p of its kind, p the
    /// probability that it was told of: 1 from `bytes` on, below it 1 − exp(−`size` / `bytes`).
    Sampling {
        /// Mean distance of samples, in bytes allocated.
        bytes: u64,
    },
    /// How an arena of our library is checked from here on (check mode). Belongs to its creation, which it follows.
    Checked {
        /// The arena.
        arena: ArenaKey,
        /// How.
        how: Checking,
    },
    /// The fault that follows on this thread touched memory of check mode's, near this block (check mode).
    Touched {
        /// The arena's key. By now it may be another arena's, at the same place.
        arena: ArenaKey,
        /// The block's first byte.
        block: Address,
        /// Its bytes, as asked for.
        size: u64,
        /// Where it was touched, bytes from its first one on: negative before it, `size` or more behind it.
        at: i64,
        /// What had become of it.
        fate: BlockFate,
        /// Of a dead one: the order of the arena's event that ended it.
        ended: Option<u64>,
    },
    /// No block of this arena ever began at an address in memory that check mode has for its blocks, and the free that follows on this thread gives
    /// it back.
    NoBlock {
        /// The arena.
        arena: ArenaKey,
        /// The address.
        address: Address,
    },
    /// The program called an arena of our library whose header says that it has ended.
    CalledEnded {
        /// The key of the arena that was there.
        arena: ArenaKey,
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
            | EventKind::Destroy { arena, order }
            | EventKind::ScopeEnter { arena, order, .. }
            | EventKind::ScopeExit { arena, order, .. } => Some((arena, order)),
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
            EventKind::UserMark { .. } => "user-mark",
            EventKind::Damage { .. } => "damage",
            EventKind::Overlapped { .. } => "overlapped",
            EventKind::ObjectChanged { .. } => "object-changed",
            EventKind::HeapSegment { .. } => "heap-segment",
            EventKind::ScopeEnter { .. } => "scope-enter",
            EventKind::ScopeExit { .. } => "scope-exit",
            EventKind::Bounds { .. } => "bounds",
            EventKind::Checked { .. } => "checked",
            EventKind::Touched { .. } => "touched",
            EventKind::NoBlock { .. } => "no-block",
            EventKind::CalledEnded { .. } => "called-ended",
            EventKind::Sampling { .. } => "sampling",
        }
    }
}

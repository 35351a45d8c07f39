//! What is known about the process around its events: modules, hooks, sites with names, fates of results, losses.

use crate::{Address, ArenaKey, RoleDecl, Scan, SiteId};
use alloc::string::String;
use alloc::vec::Vec;

/// One mapped program or shared library.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Module {
    /// Path as the dynamic linker knows it (the executable's resolved).
    pub path: String,
    /// Difference between addresses in the process and in the file.
    pub bias: u64,
    /// First mapped address.
    pub start: Address,
    /// One past the last mapped address.
    pub end: Address,
    /// GNU build id; empty when it has none.
    pub build_id: Vec<u8>,
}

/// What became of one function that was to be watched.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HookStatus {
    /// Every call is seen.
    Watched,
    /// Some calls are seen; the reason says which are not (inlined copies).
    Partly(String),
    /// No call is seen; the reason says why.
    NotWatched(String),
}

/// One function that was to be watched.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HookFact {
    /// Role and arguments.
    pub decl: RoleDecl,
    /// Path of the module that holds it; empty when not found.
    pub module: String,
    /// Address in the process; null when not hooked.
    pub address: Address,
    /// What became of it.
    pub status: HookStatus,
    /// Whether it keeps threads apart by itself.
    pub synchronises: Synchronises,
    /// For markers (`arenascope-mark.h`), which stand in the place of a function: how many there are. `None`: it is a function.
    pub markers: Option<MarkerCount>,
}

/// How many markers of one role a module has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MarkerCount {
    /// Those that are watched.
    pub seen: u32,
    /// All.
    pub all: u32,
}

/// Whether a function keeps threads apart by itself, as decoded from its code.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[repr(u8)]
pub enum Synchronises {
    /// Not decoded, or not all that it calls could be.
    #[default]
    Unknown = 0,
    /// It reaches no locked instruction, no system call, and no function of another module.
    No = 1,
    /// It has a locked instruction, or calls a function that may lock.
    Perhaps = 2,
}

/// How a program is run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[repr(u8)]
pub enum Mode {
    /// Events are recorded; the program does what it would do alone.
    #[default]
    Record = 0,
    /// Besides, redzones and dead blocks are filled and looked at.
    Check = 1,
    /// Under Valgrind's memcheck, which is told about every block.
    Precise = 2,
    /// One allocation in so many bytes is recorded, and stands for the others.
    Sample = 3,
}

impl Mode {
    /// All modes, in code order.
    pub const ALL: [Mode; 4] = [Mode::Record, Mode::Check, Mode::Precise, Mode::Sample];

    /// The word of the command line and of JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Mode::Record => "record",
            Mode::Check => "check",
            Mode::Precise => "precise",
            Mode::Sample => "sample",
        }
    }
}

/// How the watched functions were chosen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Watched {
    /// Nobody chose any.
    #[default]
    Nothing,
    /// Given on the command line or in a profile.
    Given,
    /// Found by shape in the debug information.
    FoundByShape,
}

/// One return address resolved. Inlined frames come first, innermost first, each with `inlined` true.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Frame {
    /// The return address in the process.
    pub address: Address,
    /// Demangled function name; empty when unknown.
    pub function: String,
    /// Source file as the debug information names it; empty when unknown.
    pub file: String,
    /// Source line, from 1; 0 when unknown.
    pub line: u32,
    /// File name of the module; empty when unknown.
    pub module: String,
    /// True when this frame was inlined into the next.
    pub inlined: bool,
}

/// What the caller's code does with the result of a call, decoded from the instructions after it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[repr(u8)]
pub enum FateKind {
    /// The decoding was not sure.
    #[default]
    Unknown = 0,
    /// Some path reads the result: stores it, passes it, compares it, uses it as an address.
    Read = 1,
    /// On every path the result is overwritten or abandoned before anything reads it.
    Dropped = 2,
    /// Some path returns with the result still in the result register, and no path reads it: ask the caller's caller.
    Returned = 3,
}

/// The fate of a call's result at one site.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Fate {
    /// The verdict over the whole chain of callers that was followed.
    pub kind: FateKind,
    /// Index into the site's addresses of the frame where the verdict fell (0 = the direct caller).
    pub depth: u32,
    /// One sentence of evidence, such as "after the call main calls puts, and the result is overwritten before
    /// anything reads it".
    pub because: String,
}

/// Whether the fault that ended the process came from using a NULL that the allocator had returned.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[repr(u8)]
pub enum NullUse {
    /// No fault, no refused allocation before it, or the decoding was not sure.
    #[default]
    Unknown = 0,
    /// The address and the frames fit, the flow of the value was not followed.
    Consistent = 1,
    /// The faulting address was derived from the result of the refused call, along a decoded path.
    Proven = 2,
}

/// A place in the source that the program itself gave: Rust's caller location, C's `__FILE__` and `__LINE__`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Place {
    /// The file as the compiler was given it.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
    /// Column, from 1; 0 when not known.
    pub column: u32,
}

/// Everything known about one site.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SiteFacts {
    /// Return addresses in the process, innermost first.
    pub addresses: Vec<Address>,
    /// Where the program says that the call stands. Not kept in a finished trace: its frames begin there.
    pub place: Option<Place>,
    /// The same, resolved, inlines expanded; empty before symbolisation.
    pub frames: Vec<Frame>,
    /// The source line of the first frame with a file, trimmed; empty when the file could not be read.
    pub source: String,
    /// The fate of the call's result; kind `Unknown` before it was decoded.
    pub fate: Fate,
}

/// What could not be recorded, counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Lost {
    /// Events that could not be written because no file space could be had.
    pub no_space: u64,
    /// Events that arrived while this thread was inside the recorder (signal handlers).
    pub reentered: u64,
    /// Events dropped because a table of fixed size was full or a lock could not be had.
    pub table_full: u64,
    /// Small malloc blocks that were not recorded (never arena events).
    pub heap_skipped: u64,
    /// Captured bytes that could not be written.
    pub capture_bytes: u64,
    /// Events inside damaged parts of the file, as far as they can be counted.
    pub damaged: u64,
}

impl Lost {
    /// Arena events lost: what a reader must be told. `heap_skipped` and `capture_bytes` are not events.
    pub fn events(&self) -> u64 {
        self.no_space.saturating_add(self.reentered).saturating_add(self.table_full).saturating_add(self.damaged)
    }
}

/// What kind of use memcheck reported.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[repr(u8)]
pub enum Used {
    /// Bytes were read that nobody may touch.
    #[default]
    Read = 0,
    /// Bytes were written that nobody may touch.
    Written = 1,
    /// A value was used that depends on bytes that were never written.
    Unwritten = 2,
}

impl Used {
    /// All kinds, in code order.
    pub const ALL: [Used; 3] = [Used::Read, Used::Written, Used::Unwritten];
}

/// One report of memcheck (precise mode). It reports a use once for each place in the code.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// What was done.
    pub used: Used,
    /// The first byte; null for values that depend on unwritten bytes, of which memcheck knows no address.
    pub address: Address,
    /// Bytes touched at once.
    pub bytes: u64,
    /// The event that came next: its arena and the position there. `None`: only the end of the process.
    pub before: Option<(ArenaKey, u64)>,
    /// Where it was done.
    pub site: Option<SiteId>,
    /// For unwritten bytes, the call that handed them out, as far as memcheck knows.
    pub origin: Option<SiteId>,
}

/// How the process ended, as the launcher saw it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ProcessFacts {
    /// Process id.
    pub pid: u32,
    /// Parent's process id.
    pub parent_pid: u32,
    /// Fork id of the parent's fork event when this process came from a fork; 0 otherwise.
    pub fork_id: u64,
    /// Path of the executable.
    pub program: String,
    /// Command line.
    pub arguments: Vec<String>,
    /// Wall-clock start, nanoseconds since 1970; 0 when unknown.
    pub started_unix_ns: u64,
    /// Raw wait status (as of waitpid) when the launcher saw the end.
    pub wait_status: Option<i32>,
    /// Modules, in order of sight.
    pub modules: Vec<Module>,
    /// Functions to be watched and what became of them.
    pub hooks: Vec<HookFact>,
    /// How those functions were chosen.
    pub watched: Watched,
    /// How the program was run.
    pub mode: Mode,
    /// Mean distance of samples, in bytes allocated; 0: everything was recorded ([`EventKind::Sampling`](crate::EventKind::Sampling)).
    pub sample_bytes: u64,
    /// The malloc family was watched as arenas of the C library.
    pub watches_malloc: bool,
    /// Paths of the modules with a copy of our arena library, whose arenas were watched.
    pub libraries: Vec<String>,
    /// What the mode could not do, a sentence each.
    pub mode_limits: Vec<String>,
    /// What memcheck reported, in its order (precise mode).
    pub reports: Vec<Report>,
    /// Scans of its memory, oldest first (`run --scan`).
    pub scans: Vec<Scan>,
    /// Sites by `SiteId`.
    pub sites: Vec<SiteFacts>,
    /// What was lost.
    pub lost: Lost,
    /// Whether the fatal fault used a NULL from the last refused allocation of its thread.
    pub null_use: NullUse,
    /// One sentence of evidence for `null_use`; empty when it is `Unknown`.
    pub null_use_because: String,
}

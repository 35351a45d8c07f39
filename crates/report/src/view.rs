//! View models: what the texts and the JSON say, before it is decided how.
//!
//! Plain values that own everything, made from replayed state in `gather` or by hand in tests. All strings are raw
//! (as the program or the trace said them): escaping is the business of the views. Absent: layout, serialisation.

use crate::sampled::{ArenaSampled, Sampled};
use arenascope_event::{CaptureReason, Checking, Frame, Lost, MallocKind};
use arenascope_findings::{Finding, SiteRole};
use std::sync::Arc;

/// A place in the program: the frames of one backtrace, innermost first, inlines expanded.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Site {
    /// The frames.
    pub frames: Vec<Frame>,
    /// The source line of the first frame that has a file; empty when it could not be read.
    pub source: String,
    /// The process it is a place of, where a view speaks of several.
    pub process: Option<u32>,
}

/// A moment: the position after an event.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Moment {
    /// The event's number; 0 is the start.
    pub event: u64,
    /// Nanoseconds since the start of the trace.
    pub time_ns: u64,
}

/// How well a function was watched.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Sight {
    /// Every call is seen.
    Full,
    /// Some calls are not; why.
    Partly(String),
    /// None are; why.
    None(String),
}

/// One function that was to be watched.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WatchedFunction {
    /// Its name as the user or the debug information gives it.
    pub function: String,
    /// The role's word.
    pub role: &'static str,
    /// The role as the user would type it: `alloc:arena_alloc(arena, size) -> block`.
    pub declaration: String,
    /// How well it was seen.
    pub sight: Sight,
    /// For markers: the module's file name, and how many of them are seen. `None`: it is a function.
    pub markers: Option<(String, u32)>,
}

/// How the functions were chosen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ChosenBy {
    /// There are none.
    #[default]
    Nobody,
    /// The command line or a profile.
    User,
    /// The debug information.
    Shape,
}

/// How an arena came to be known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Birth {
    /// The event.
    pub event: u64,
    /// Where, if a backtrace was taken.
    pub site: Option<Arc<Site>>,
    /// False when no create function was seen and the first event of the arena stands for its birth.
    pub created: bool,
    /// True when it was born in the parent process: `event` points into that trace.
    pub inherited: bool,
}

/// How an arena ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct End {
    /// The event.
    pub event: u64,
    /// Where, if a backtrace was taken.
    pub site: Option<Arc<Site>>,
    /// "destroyed", "unmapped", "freed", "replaced": one word for the column.
    pub how: &'static str,
}

/// One block.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BlockView {
    /// Number within its arena, from 1, in order of allocation.
    pub number: u64,
    /// Address in the process.
    pub address: u64,
    /// Index into [`ArenaView::extents`].
    pub extent: usize,
    /// Offset from the start of its extent, bytes.
    pub offset: u64,
    /// Bytes asked for.
    pub size: u64,
    /// Where it was allocated.
    pub site: Option<Arc<Site>>,
    /// The event that allocated it.
    pub born: u64,
    /// True when that event is one of the parent process.
    pub inherited: bool,
    /// A word to be said about it in the map.
    pub flag: Option<&'static str>,
    /// Living arenas whose memory it is, by number and name.
    pub holds: Vec<(u64, String)>,
}

/// One range of memory of an arena.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExtentView {
    /// Its number within the arena, from 1; gaps are ranges that the arena has given up.
    pub number: u32,
    /// First address.
    pub start: u64,
    /// Bytes that the arena may use of it: what the map draws.
    pub len: u64,
    /// Bytes of the mapping or malloc block that it is.
    pub mapped: u64,
    /// [`ExtentView::MAPPING`], [`ExtentView::HEAP`], [`ExtentView::SEGMENT`], [`ExtentView::STATIC`] or
    /// [`ExtentView::UNKNOWN`].
    pub kind: &'static str,
    /// Offset of malloc's top chunk, when it lies here: from there on nothing is handed out.
    pub top_chunk: Option<u64>,
}

/// One of the C library's own arenas.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MallocView {
    /// Which.
    pub kind: MallocKind,
    /// The thread that was first to get a block of it.
    pub first_thread: u32,
}

/// Bytes of an arena saved at some moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BytesView {
    /// The event that saved them.
    pub event: u64,
    /// Why.
    pub reason: CaptureReason,
    /// Address of the first byte.
    pub address: u64,
    /// The bytes, up to the end of the last block.
    pub bytes: Vec<u8>,
    /// How many bytes there would be: more than `bytes` has when the capture was cut short.
    pub wanted: u64,
}

/// NULLs returned.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusals {
    /// How many.
    pub count: u64,
    /// The first: its event; 0 when it may have been one of the parent process.
    pub event: u64,
    /// The first: bytes asked for.
    pub size: u64,
    /// The first: where.
    pub site: Option<Arc<Site>>,
}

/// One arena at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ArenaView {
    /// Number, from 1, in order of birth.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// Address of the arena object; 0 for the one global arena.
    pub object: u64,
    /// Set when its blocks are those of malloc.
    pub malloc: Option<MallocView>,
    /// The exact bound, if known, bytes.
    pub capacity: Option<u64>,
    /// Bytes mapped for it, in all its extents.
    pub mapped: u64,
    /// What its peak is a share of, bytes; `None` when that is not known, or changed over its life.
    pub bound: Option<u64>,
    /// How it came to be.
    pub birth: Birth,
    /// How it ended; `None` while it lives.
    pub end: Option<End>,
    /// Most bytes that its blocks ever took.
    pub peak_bytes: u64,
    /// The event that reached it.
    pub peak_event: u64,
    /// Blocks handed out over its life.
    pub blocks_ever: u64,
    /// Blocks freed one by one over its life.
    pub frees: u64,
    /// Resets over its life.
    pub resets: u64,
    /// Rewinds over its life.
    pub rewinds: u64,
    /// Threads that used it, as numbered in the trace.
    pub threads: Vec<u32>,
    /// NULLs it returned.
    pub refused: Option<Refusals>,
    /// The event after which `extents` and `blocks` stood like this; for a dead arena, just before its end.
    pub drawn_at: u64,
    /// Its ranges at that moment.
    pub extents: Vec<ExtentView>,
    /// Its living blocks at that moment, in order of extent and offset.
    pub blocks: Vec<BlockView>,
    /// Blocks that lived then but whose record was given up to bound memory.
    pub forgotten_blocks: u64,
    /// Its bytes, where some were saved, by range.
    pub bytes: Vec<BytesView>,
    /// In a trace of samples: what those of this arena stand for. The counts above are the samples' own then.
    pub sampled: Option<ArenaSampled>,
}

impl ArenaView {
    /// Bytes of the blocks drawn.
    pub fn used(&self) -> u64 {
        self.blocks.iter().fold(0, |sum, block| sum.saturating_add(block.size))
    }
}

/// Arenas that are not shown one by one: those born at one place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ArenaGroup {
    /// How many.
    pub count: u64,
    /// Where they were born, if known.
    pub site: Option<Arc<Site>>,
    /// Largest peak among them, bytes.
    pub peak: u64,
    /// They are arenas of malloc's.
    pub malloc: bool,
}

/// One finding or note as `arenascope-findings` made it, its places resolved.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FindingView {
    /// The claim and its evidence.
    pub claim: Finding,
    /// Its places, each with its part in the story.
    pub sites: Vec<(SiteRole, Arc<Site>)>,
    /// The process whose events the claim counts, where it is not the one that the view is about.
    pub process: Option<u32>,
}

impl FindingView {
    /// The arena's number and name.
    pub fn arena(&self) -> Option<(u64, &str)> {
        self.claim.arena.as_ref().map(|arena| (u64::from(arena.id.0), arena.name.as_str()))
    }

    /// The event it is about; `None` when it is about the whole run.
    pub fn moment(&self) -> Option<u64> {
        Some(self.claim.moment.0).filter(|event| *event > 0)
    }
}

impl Suppressed {
    /// Adds what the same file held back in another trace.
    pub fn add(&mut self, other: &Suppressed) {
        if self.by.is_empty() {
            self.by.clone_from(&other.by);
        } else {
            for (line, more) in self.by.iter_mut().zip(&other.by) {
                line.count = line.count.saturating_add(more.count);
            }
        }
        self.findings.extend(other.findings.iter().cloned());
    }
}

/// One thread.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ThreadView {
    /// Its number in the trace.
    pub number: u32,
    /// The kernel's number; 0 when not known.
    pub tid: u32,
    /// The thread that started it, if that was seen.
    pub creator: Option<u32>,
}

/// One line of a file of suppressions, and what it held back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SuppressionView {
    /// `rule:pattern`, as in the file.
    pub text: String,
    /// Its line there, from 1.
    pub line: u32,
    /// Findings and notes held back.
    pub count: u64,
}

/// What the user asked not to be told.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Suppressed {
    /// Every line of the file, also those that matched nothing.
    pub by: Vec<SuppressionView>,
    /// What was held back, each with its index into `by`.
    pub findings: Vec<(FindingView, usize)>,
}

/// A process forked by the one watched.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChildView {
    /// Its pid; 0 when not known.
    pub pid: u32,
    /// The fork event in this trace; 0 when not known.
    pub event: u64,
    /// What ties it to its own trace.
    pub fork_id: u64,
    /// Its trace, if it left one.
    pub trace: Option<String>,
    /// What was found in it, as a tally; empty when nobody looked.
    pub tally: String,
    /// What else is known of it.
    pub fate: ChildFate,
}

/// What became of a forked process, as far as it matters for its trace.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ChildFate {
    /// Nothing is known but the trace, if there is one.
    #[default]
    Unknown,
    /// It did nothing in an arena: no trace was kept.
    Idle,
    /// It still runs, and writes its trace.
    Runs,
}

/// Another program image of the same run: executed by the process shown, or by one that it started.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExecutedView {
    /// Its pid; that of the process shown when it replaced itself.
    pub pid: u32,
    /// Path of the program.
    pub program: String,
    /// Its trace.
    pub trace: String,
    /// What was found in it, as a tally; empty when nobody looked.
    pub tally: String,
    /// True when it still runs.
    pub runs: bool,
}

/// How the process ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Outcome {
    /// Nobody saw it.
    #[default]
    Unknown,
    /// It exited with this status.
    Exited(i32),
    /// This signal killed it.
    Killed(u32),
}

/// Everything the first screen says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RunView {
    /// Path of the trace file.
    pub trace: String,
    /// Path of the program.
    pub program: String,
    /// Process id.
    pub pid: u32,
    /// How it ended.
    pub outcome: Outcome,
    /// What was watched.
    pub watched: Vec<WatchedFunction>,
    /// Who chose it.
    pub chosen_by: ChosenBy,
    /// In check mode, how many arenas of our own library are checked in which way, none left out.
    pub checked: Vec<(Checking, u64)>,
    /// Arenas to be shown, most interesting first.
    pub arenas: Vec<ArenaView>,
    /// The others.
    pub groups: Vec<ArenaGroup>,
    /// Every arena there is (id and name), when a pattern was given that none of them matches.
    pub unmatched: Vec<(u64, String)>,
    /// Findings, then notes, without those that are suppressed.
    pub findings: Vec<FindingView>,
    /// The threads that they name.
    pub threads: Vec<ThreadView>,
    /// What was suppressed.
    pub suppressed: Suppressed,
    /// Events in the trace.
    pub events: u64,
    /// What was lost.
    pub lost: Lost,
    /// Damaged parts of the file, each in a sentence.
    pub damage: Vec<String>,
    /// Processes it forked.
    pub children: Vec<ChildView>,
    /// Other program images of the run that left a trace.
    pub executed: Vec<ExecutedView>,
    /// In a trace of samples: what they stand for.
    pub sampled: Option<Sampled>,
}

impl ExtentView {
    /// Memory from mmap.
    pub const MAPPING: &'static str = "mapping";
    /// A block of the C library's allocator.
    pub const HEAP: &'static str = "malloc block";
    /// A range that malloc carves blocks from.
    pub const SEGMENT: &'static str = "heap";
    /// What a bounded arena of our library can hand out.
    pub const PAYLOAD: &'static str = "payload";
    /// What a growing arena of our library has taken into use, in whole pages.
    pub const GROWING: &'static str = "growing payload";
    /// A lease of a shared arena.
    pub const LEASE: &'static str = "lease";
    /// Memory of check mode's, where blocks of an arena of our library lie.
    pub const PLOT: &'static str = "memory of check mode";
    /// Memory of a program or library; its bounds are those of the blocks seen.
    pub const STATIC: &'static str = "static range";
    /// Memory whose origin was not seen; its bounds are those of the blocks seen.
    pub const UNKNOWN: &'static str = "range";
}

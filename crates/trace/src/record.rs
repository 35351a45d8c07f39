//! The records of an events segment: what a recorder can say, and the byte that names each.
//!
//! FORMAT.md draws them. Numbers are raw (no newtypes): the recorder has them in registers. Bytes are in encode.rs
//! and decode.rs, which mirror each other.

use crate::varint::MAX_VARINT;
use arenascope_event::{BlockFate, BoundsKind, CaptureReason, Checking, Zone};

/// Room that an alloc record, and every record without strings, bytes, frames or registers, never exceeds.
pub const MAX_RECORD_BYTES: usize = 64;

/// Strings (paths, names) are cut to this many bytes.
pub const MAX_STRING_BYTES: usize = 1024;

/// Build ids are cut to this many bytes (SHA-1 has 20).
pub const MAX_BUILD_ID_BYTES: usize = 64;

/// Bytes of an observation beyond this many are cut.
pub const MAX_FOUND_BYTES: usize = 64;

/// Frames of a site beyond this many (the outermost) are cut.
pub const MAX_FRAMES: usize = 64;

/// "No backtrace was taken", where a site id is expected.
pub const NO_SITE: u32 = u32::MAX;

/// The shortest record of an inline capture. A blob id names an inline capture by its position in units of this many
/// bytes, so two must not begin in the same unit.
pub(crate) const INLINE_GRANULE: usize = 32;

/// One record, as [`SegmentEncoder::record`](crate::SegmentEncoder::record) takes it. The meaning of each number is
/// that of the same field of `arenascope_event::EventKind`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "the fields are those of EventKind")]
pub enum Record<'a> {
    /// The records that follow are of this thread. The first record of every events segment.
    Thread {
        number: u32,
    },
    /// A backtrace gets an id. Return addresses, innermost first; at most [`MAX_FRAMES`] are kept. `place` is one that was
    /// defined, where the program said where the call stands.
    Site {
        id: u32,
        addresses: &'a [u64],
        place: Option<u32>,
    },
    /// A place in the source gets an id.
    Place {
        id: u32,
        file: &'a [u8],
        line: u32,
        column: u32,
    },
    /// A module gets a number (dense, from 0, in order of sight) and was mapped.
    Module {
        number: u32,
        bias: u64,
        start: u64,
        end: u64,
        path: &'a [u8],
        build_id: &'a [u8],
    },
    Create {
        arena: u32,
        order: u64,
        size: Option<u64>,
        parent: Option<u32>,
        name: Option<&'a [u8]>,
        nested: u64,
    },
    /// The same bytes as [`SegmentEncoder::alloc`](crate::SegmentEncoder::alloc). `align` 0 says: not known.
    Alloc {
        arena: u32,
        order: u64,
        block: u64,
        size: u64,
        align: u64,
    },
    Resize {
        arena: u32,
        order: u64,
        old: u64,
        new: u64,
        size: u64,
    },
    Free {
        arena: u32,
        order: u64,
        block: u64,
    },
    Mark {
        arena: u32,
        order: u64,
        mark: u64,
    },
    Rewind {
        arena: u32,
        order: u64,
        mark: u64,
    },
    Reset {
        arena: u32,
        order: u64,
    },
    Destroy {
        arena: u32,
        order: u64,
    },
    ArenaSeen {
        arena: u32,
        object: u64,
    },
    /// A capture whose bytes stand in the record. For captures well below a segment; others go to a blob.
    CaptureInline {
        arena: u32,
        reason: CaptureReason,
        base: u64,
        len: u64,
        bytes: &'a [u8],
    },
    /// A capture whose bytes stand in the run of blob segments that begins at slot `first_segment`.
    CaptureBlob {
        arena: u32,
        reason: CaptureReason,
        base: u64,
        len: u64,
        first_segment: u32,
    },
    Map {
        address: u64,
        len: u64,
        protection: u32,
        flags: u32,
        observed: bool,
    },
    Unmap {
        address: u64,
        len: u64,
    },
    Remap {
        old: u64,
        old_len: u64,
        new: u64,
        new_len: u64,
    },
    HeapAlloc {
        address: u64,
        size: u64,
    },
    HeapFree {
        address: u64,
    },
    /// `parent` 0 says: not seen.
    ThreadStart {
        tid: u32,
        parent: u32,
    },
    ThreadExit,
    Fork {
        child: u32,
        fork_id: u64,
    },
    Vfork,
    Exec {
        path: &'a [u8],
    },
    Exit {
        status: i32,
    },
    Fault {
        signal: u32,
        address: u64,
        pc: u64,
        synchronous: bool,
        registers: &'a [u64; 16],
    },
    UserMark {
        name: &'a [u8],
    },
    /// At most [`MAX_FOUND_BYTES`] of `found` are kept.
    Damage {
        arena: u32,
        block: u64,
        size: u64,
        zone: Zone,
        address: u64,
        expected: u8,
        found: &'a [u8],
        end: u64,
        since: u64,
        ended: Option<u64>,
    },
    Overlapped {
        arena: u32,
        since: u64,
    },
    /// At most [`MAX_FOUND_BYTES`] of each are kept.
    ObjectChanged {
        arena: u32,
        address: u64,
        before: &'a [u8],
        after: &'a [u8],
    },
    HeapSegment {
        arena: u32,
        start: u64,
        len: u64,
        top: u64,
    },
    ScopeEnter {
        arena: u32,
        order: u64,
        cursor: u64,
    },
    ScopeExit {
        arena: u32,
        order: u64,
        cursor: u64,
    },
    Bounds {
        arena: u32,
        base: u64,
        capacity: u64,
        reserved: u64,
        kind: BoundsKind,
    },
    Sampling {
        bytes: u64,
    },
    Checked {
        arena: u32,
        how: Checking,
    },
    Touched {
        arena: u32,
        block: u64,
        size: u64,
        at: i64,
        fate: BlockFate,
        ended: Option<u64>,
    },
    CalledEnded {
        arena: u32,
    },
    NoBlock {
        arena: u32,
        address: u64,
    },
}

impl Record<'_> {
    /// Room that this record never exceeds: [`MAX_RECORD_BYTES`] for those without strings, bytes, frames or
    /// registers.
    pub fn max_bytes(&self) -> usize {
        let cut = |bytes: &[u8], limit: usize| bytes.len().min(limit);
        let extra = match *self {
            Record::Site { addresses, .. } => addresses.len().min(MAX_FRAMES) * MAX_VARINT,
            Record::Place { file, .. } => cut(file, MAX_STRING_BYTES),
            Record::Module { path, build_id, .. } => cut(path, MAX_STRING_BYTES) + cut(build_id, MAX_BUILD_ID_BYTES),
            Record::Create { name, .. } => name.map_or(0, |name| cut(name, MAX_STRING_BYTES)),
            Record::CaptureInline { bytes, .. } => bytes.len(),
            Record::Exec { path } => cut(path, MAX_STRING_BYTES),
            Record::Fault { .. } => 16 * MAX_VARINT,
            Record::UserMark { name } => cut(name, MAX_STRING_BYTES),
            Record::Damage { found, .. } => cut(found, MAX_FOUND_BYTES),
            Record::ObjectChanged { before, after, .. } => cut(before, MAX_FOUND_BYTES) + cut(after, MAX_FOUND_BYTES),
            _ => 0,
        };
        MAX_RECORD_BYTES.saturating_add(extra)
    }
}

/// First byte of a record. An alloc has bit 7, and its flags below. Of the others, bit 6 tells the width of the length
/// that follows (1 or 2 bytes), the low six bits the kind. Kinds from 16 on are events: time and site come first.
pub(crate) mod tag {
    pub const ALLOC: u8 = 0x80;
    pub const SAME_ARENA: u8 = 0x01;
    pub const NEXT_ORDER: u8 = 0x02;
    /// Two bits: 0 the difference follows, 1 right behind the last block, 2 rounded up to 8, 3 rounded up to 16.
    pub const BLOCK_SHIFT: u8 = 2;
    pub const BLOCK_MASK: u8 = 0x0C;
    pub const SAME_SIZE: u8 = 0x10;
    pub const SAME_SITE: u8 = 0x20;
    /// A second byte of flags follows.
    pub const EXTENDED: u8 = 0x40;

    /// In the second byte: the block is null.
    pub const NULL_BLOCK: u8 = 0x80;
    /// In the second byte, low seven bits: 0 no alignment, 1 to 64 the power of two plus one, 127 a number follows.
    pub const ALIGN_MASK: u8 = 0x7F;
    pub const ALIGN_FOLLOWS: u8 = 0x7F;

    pub const LONG: u8 = 0x40;
    pub const KIND_MASK: u8 = 0x3F;

    pub const THREAD: u8 = 1;
    pub const SITE: u8 = 2;
    pub const PLACE: u8 = 3;
    /// The first kind that is an event.
    pub const FIRST_EVENT: u8 = 16;
    pub const CREATE: u8 = 16;
    pub const RESIZE: u8 = 17;
    pub const FREE: u8 = 18;
    pub const MARK: u8 = 19;
    pub const REWIND: u8 = 20;
    pub const RESET: u8 = 21;
    pub const DESTROY: u8 = 22;
    pub const ARENA_SEEN: u8 = 23;
    pub const CAPTURE_INLINE: u8 = 24;
    pub const CAPTURE_BLOB: u8 = 25;
    pub const MAP: u8 = 26;
    pub const UNMAP: u8 = 27;
    pub const REMAP: u8 = 28;
    pub const HEAP_ALLOC: u8 = 29;
    pub const HEAP_FREE: u8 = 30;
    pub const THREAD_START: u8 = 31;
    pub const THREAD_EXIT: u8 = 32;
    pub const FORK: u8 = 33;
    pub const VFORK: u8 = 34;
    pub const EXEC: u8 = 35;
    pub const EXIT: u8 = 36;
    pub const FAULT: u8 = 37;
    pub const MODULE: u8 = 38;
    pub const USER_MARK: u8 = 39;
    pub const DAMAGE: u8 = 40;
    pub const OVERLAPPED: u8 = 41;
    pub const OBJECT_CHANGED: u8 = 42;
    pub const HEAP_SEGMENT: u8 = 43;
    // 44 is free.
    pub const SCOPE_ENTER: u8 = 45;
    pub const SCOPE_EXIT: u8 = 46;
    pub const BOUNDS: u8 = 47;
    pub const CHECKED: u8 = 50;
    pub const TOUCHED: u8 = 51;
    pub const CALLED_ENDED: u8 = 52;
    pub const NO_BLOCK: u8 = 53;
    pub const SAMPLING: u8 = 48;
}

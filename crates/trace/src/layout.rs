//! Where everything stands in a trace file: the header page, the slots of segments, their headers.
//!
//! Constants and pure functions from numbers to bytes, used by whoever writes a trace and by the reader. Nothing here
//! allocates or reads. FORMAT.md has the pictures.

use crate::checksum::crc32c;
use crate::varint::{u32_at, u64_at};

/// The first eight bytes of a trace. The last two catch transfers that change line ends.
pub const MAGIC: [u8; 8] = *b"ASCOPE\x1a\n";

/// The version this crate writes, and the newest it reads.
pub const VERSION: u32 = 1;

/// Bytes of the header page. Segments begin right behind it.
pub const HEADER_BYTES: usize = 4096;

/// Bytes of a segment, header included.
pub const SEGMENT_BYTES: usize = 65536;

/// Bytes of a segment's header.
pub const SEGMENT_HEADER_BYTES: usize = 64;

/// Bytes of records, or of captured bytes, that a segment holds at most.
pub const SEGMENT_PAYLOAD: usize = SEGMENT_BYTES - SEGMENT_HEADER_BYTES;

/// The program's path is cut to this many bytes.
pub const MAX_PROGRAM_BYTES: usize = 1024;

/// The first four bytes of a segment.
pub const SEGMENT_MAGIC: [u8; 4] = *b"ASEG";

/// The first eight bytes of the tail.
pub const TAIL_MAGIC: [u8; 8] = *b"ASCTAIL\n";

const AT_VERSION: usize = 8;
const AT_HEADER_BYTES: usize = 12;
const AT_SEGMENT_BYTES: usize = 16;
const AT_PID: usize = 20;
const AT_PARENT_PID: usize = 24;
const AT_PROGRAM_BYTES: usize = 28;
const AT_FORK_ID: usize = 32;
const AT_START_TSC: usize = 40;
const AT_START_NS: usize = 48;
const AT_START_UNIX_NS: usize = 56;
const AT_PROGRAM: usize = 64;
/// CRC-32C of all bytes before it.
const AT_CHECKSUM: usize = 2040;

/// *Live words*: 8 bytes each, little-endian, aligned to 8, changed by plain atomic stores while the process runs. The
/// ones that threads contend for have a cache line of their own.
pub mod live {
    /// The next segment slot nobody has taken. Threads fetch and add.
    pub const NEXT_SEGMENT: usize = 2048;
    /// `Lost::no_space`.
    pub const LOST_NO_SPACE: usize = 2112;
    /// `Lost::reentered`.
    pub const LOST_REENTERED: usize = 2176;
    /// `Lost::table_full`.
    pub const LOST_TABLE_FULL: usize = 2240;
    /// `Lost::heap_skipped`.
    pub const LOST_HEAP_SKIPPED: usize = 2304;
    /// `Lost::capture_bytes`.
    pub const LOST_CAPTURE_BYTES: usize = 2368;
    /// Time stamp counter at the last reading of both clocks; optional, since each segment header has such a pair.
    pub const LATEST_TSC: usize = 2432;
    /// CLOCK_MONOTONIC at the same moment, ns.
    pub const LATEST_NS: usize = 2440;
    /// Forks that this process has begun and that have not failed: as many children will ask for a trace.
    pub const FORKS: usize = 2496;
    /// Blocks that check mode could not put a redzone behind, or could not go on looking at.
    pub const UNCHECKED: usize = 2504;
    /// Of a trace that lies in memory until the launcher has copied it; 0 in a file. Slots that take no memory any more:
    /// written by the launcher.
    pub const SEGMENTS_DRAINED: usize = 2560;
    /// As above: how many of the slots taken may take memory at once; 0: any number. Written by the launcher.
    pub const SEGMENTS_AT_ONCE: usize = 2568;
    /// As above: slots that were taken and will never be written. Threads fetch and add.
    pub const SEGMENTS_GIVEN_UP: usize = 2624;
    /// Where the live words begin.
    pub const BEGIN: usize = 2048;
    /// One past the last of them.
    pub const END: usize = 3072;
}

/// Words written by the launcher when the process has ended, each 8 bytes, little-endian. All are repeated inside the
/// tail, where a checksum covers them.
pub mod sealed {
    /// Where the tail begins; 0 without a tail.
    pub const TAIL_OFFSET: usize = 3072;
    /// Bytes of the tail.
    pub const TAIL_BYTES: usize = 3080;
    /// CRC-32C of the tail.
    pub const TAIL_CHECKSUM: usize = 3088;
    /// Raw wait status in the low half; bit 32 says that it is known.
    pub const WAIT_STATUS: usize = 3096;
    /// Time stamp counter at the end.
    pub const END_TSC: usize = 3104;
    /// CLOCK_MONOTONIC at the same moment, ns.
    pub const END_NS: usize = 3112;
}

/// Offsets inside a segment's header that a recorder writes on its own.
pub mod segment {
    /// The commit word: see [`commit_word`](super::commit_word).
    pub const COMMIT: usize = 32;
}

const AT_SEGMENT_KIND: usize = 4;
const AT_SEGMENT_WRITER: usize = 8;
const AT_SEGMENT_SEQUENCE: usize = 12;
const AT_SEGMENT_TSC: usize = 16;
const AT_SEGMENT_NS: usize = 24;
const AT_SEGMENT_CHECKSUM: usize = 60;

/// One moment on two clocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ClockPair {
    /// Time stamp counter.
    pub tsc: u64,
    /// CLOCK_MONOTONIC, ns; 0 when unknown.
    pub ns: u64,
}

/// The immutable part of the header page.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct HeaderFields<'a> {
    /// Process id.
    pub pid: u32,
    /// Parent's process id.
    pub parent_pid: u32,
    /// Fork id of the parent's fork event; 0 when the process did not come from a watched fork.
    pub fork_id: u64,
    /// The moment that event times count from.
    pub start: ClockPair,
    /// Wall clock at that moment, ns since 1970; 0 when unknown.
    pub start_unix_ns: u64,
    /// Path of the executable; cut to [`MAX_PROGRAM_BYTES`].
    pub program: &'a [u8],
}

/// What a segment holds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum SegmentKind {
    /// Records.
    Events = 1,
    /// A piece of a capture.
    Blob = 2,
}

/// Where the slot begins in the file, bytes. Saturates.
pub const fn segment_offset(slot: u32) -> u64 {
    HEADER_BYTES as u64 + slot as u64 * SEGMENT_BYTES as u64
}

/// The header page of a new trace, live words zero.
pub fn header(fields: &HeaderFields<'_>) -> [u8; HEADER_BYTES] {
    let program = fields.program.get(..MAX_PROGRAM_BYTES).unwrap_or(fields.program);
    let mut page = [0u8; HEADER_BYTES];
    place(&mut page, 0, &MAGIC);
    place(&mut page, AT_VERSION, &VERSION.to_le_bytes());
    place(&mut page, AT_HEADER_BYTES, &(HEADER_BYTES as u32).to_le_bytes());
    place(&mut page, AT_SEGMENT_BYTES, &(SEGMENT_BYTES as u32).to_le_bytes());
    place(&mut page, AT_PID, &fields.pid.to_le_bytes());
    place(&mut page, AT_PARENT_PID, &fields.parent_pid.to_le_bytes());
    place(&mut page, AT_PROGRAM_BYTES, &(program.len() as u32).to_le_bytes());
    place(&mut page, AT_FORK_ID, &fields.fork_id.to_le_bytes());
    place(&mut page, AT_START_TSC, &fields.start.tsc.to_le_bytes());
    place(&mut page, AT_START_NS, &fields.start.ns.to_le_bytes());
    place(&mut page, AT_START_UNIX_NS, &fields.start_unix_ns.to_le_bytes());
    place(&mut page, AT_PROGRAM, program);
    let checksum = header_checksum(&page);
    place(&mut page, AT_CHECKSUM, &checksum.to_le_bytes());
    page
}

/// The header of a segment, nothing committed. `sequence` counts the writer's events segments from 0; in a run of blob
/// segments it counts the segments of the run. `at` is the moment it was taken: all its event times follow it.
pub fn segment_header(kind: SegmentKind, writer: u32, sequence: u32, at: ClockPair) -> [u8; SEGMENT_HEADER_BYTES] {
    let mut head = [0u8; SEGMENT_HEADER_BYTES];
    place(&mut head, 0, &SEGMENT_MAGIC);
    place(&mut head, AT_SEGMENT_KIND, &[kind as u8]);
    place(&mut head, AT_SEGMENT_WRITER, &writer.to_le_bytes());
    place(&mut head, AT_SEGMENT_SEQUENCE, &sequence.to_le_bytes());
    place(&mut head, AT_SEGMENT_TSC, &at.tsc.to_le_bytes());
    place(&mut head, AT_SEGMENT_NS, &at.ns.to_le_bytes());
    let checksum = segment_checksum(&head);
    place(&mut head, AT_SEGMENT_CHECKSUM, &checksum.to_le_bytes());
    head
}

/// The commit word of a segment with `len` bytes of whole records (or captured bytes) whose CRC-32C is `crc`: stored by
/// one 8-byte store, after the bytes. 0 when nothing is committed.
#[inline]
pub const fn commit_word(len: u32, crc: u32) -> u64 {
    len as u64 | (crc as u64) << 32
}

/// The header word for a wait status as `waitpid` gives it.
pub const fn wait_status_word(status: Option<i32>) -> u64 {
    match status {
        Some(status) => 1 << 32 | status as u32 as u64,
        None => 0,
    }
}

/// The inverse of [`wait_status_word`].
pub(crate) const fn wait_status(word: u64) -> Option<i32> {
    if word >> 32 == 1 { Some(word as u32 as i32) } else { None }
}

/// What stands in a slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SlotHead {
    /// All zero: nobody took it. Or taken and not begun when the process was killed: nothing is committed.
    Empty,
    /// A segment.
    Segment {
        /// What it holds.
        kind: SegmentKind,
        /// Whose it is.
        writer: u32,
        /// Its place among the writer's events segments, or in its run of blob segments.
        sequence: u32,
        /// When it was taken.
        at: ClockPair,
        /// Payload bytes committed, as the commit word says: unchecked.
        committed: u32,
        /// Their CRC-32C.
        crc: u32,
    },
    /// The tail begins here.
    Tail,
    /// Neither; the commit word says that there was something.
    Damaged,
}

/// Reads the header of a slot. `head` may be shorter than a header (then `Empty` or `Damaged`).
pub fn slot_head(head: &[u8]) -> SlotHead {
    if head.starts_with(&TAIL_MAGIC) {
        return SlotHead::Tail;
    }
    let Some(head) = head.first_chunk::<SEGMENT_HEADER_BYTES>() else {
        return if head.iter().all(|&byte| byte == 0) { SlotHead::Empty } else { SlotHead::Damaged };
    };
    let word = u64_at(head, segment::COMMIT);
    let whole = head.starts_with(&SEGMENT_MAGIC) && u32_at(head, AT_SEGMENT_CHECKSUM) == segment_checksum(head);
    let kind = match head[AT_SEGMENT_KIND] {
        1 => Some(SegmentKind::Events),
        2 => Some(SegmentKind::Blob),
        _ => None,
    };
    match kind {
        Some(kind) if whole => SlotHead::Segment {
            kind,
            writer: u32_at(head, AT_SEGMENT_WRITER),
            sequence: u32_at(head, AT_SEGMENT_SEQUENCE),
            at: ClockPair { tsc: u64_at(head, AT_SEGMENT_TSC), ns: u64_at(head, AT_SEGMENT_NS) },
            committed: word as u32,
            crc: (word >> 32) as u32,
        },
        // The header is written before the first commit: without one, the process was killed in between.
        _ if word == 0 => SlotHead::Empty,
        _ => SlotHead::Damaged,
    }
}

/// The immutable part of a header page, as read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header<'a> {
    pub version: u32,
    pub fields: HeaderFields<'a>,
    /// The checksum holds.
    pub intact: bool,
}

/// Reads the header page; `None` when it does not begin with the magic (nor would, were its first words mended).
pub(crate) fn read_header(page: &[u8; HEADER_BYTES]) -> Option<Header<'_>> {
    let intact = u32_at(page, AT_CHECKSUM) == header_checksum(page);
    let mut version = u32_at(page, AT_VERSION);
    let mut known = page.starts_with(&MAGIC);
    if !intact {
        // Damage to the magic or the version alone must not make a good trace unreadable.
        let mut mended = *page;
        place(&mut mended, 0, &MAGIC);
        place(&mut mended, AT_VERSION, &VERSION.to_le_bytes());
        if u32_at(page, AT_CHECKSUM) == header_checksum(&mended) {
            version = VERSION;
            known = true;
        }
    }
    let len = (u32_at(page, AT_PROGRAM_BYTES) as usize).min(MAX_PROGRAM_BYTES);
    known.then(|| Header {
        version,
        fields: HeaderFields {
            pid: u32_at(page, AT_PID),
            parent_pid: u32_at(page, AT_PARENT_PID),
            fork_id: u64_at(page, AT_FORK_ID),
            start: ClockPair { tsc: u64_at(page, AT_START_TSC), ns: u64_at(page, AT_START_NS) },
            start_unix_ns: u64_at(page, AT_START_UNIX_NS),
            program: page.get(AT_PROGRAM..).and_then(|rest| rest.get(..len)).unwrap_or(&[]),
        },
        intact,
    })
}

fn header_checksum(page: &[u8; HEADER_BYTES]) -> u32 {
    crc32c(0, page.get(..AT_CHECKSUM).unwrap_or(&[]))
}

/// Covers all but the commit word, which changes.
fn segment_checksum(head: &[u8; SEGMENT_HEADER_BYTES]) -> u32 {
    let before = crc32c(0, head.get(..segment::COMMIT).unwrap_or(&[]));
    crc32c(before, head.get(segment::COMMIT + 8..AT_SEGMENT_CHECKSUM).unwrap_or(&[]))
}

fn place<const N: usize>(page: &mut [u8; N], at: usize, bytes: &[u8]) {
    if let Some(place) = page.get_mut(at..).and_then(|rest| rest.get_mut(..bytes.len())) {
        place.copy_from_slice(bytes);
    }
}

//! What is wrong with a trace, as values. Reading goes on around each.

use core::fmt;
use core::ops::Range;

/// One damaged part of the file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Damage {
    /// Where, bytes from the start of the file. Ends beyond the file where bytes are missing.
    pub bytes: Range<u64>,
    /// What.
    pub what: DamageKind,
}

/// What is wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum DamageKind {
    /// The checksum of the header page fails: process id, start time or program may be wrong.
    Header,
    /// Something stands where a segment should begin, and it is no segment.
    SegmentHeader,
    /// A segment claims more bytes than a segment holds.
    SegmentLength,
    /// The checksum of a segment fails; none of its events are shown.
    SegmentChecksum,
    /// A segment's checksum holds and its records make no sense; the events before are shown.
    Records,
    /// The file ends inside a segment; the events up to there are shown, unchecked.
    Truncated,
    /// The tail, or the words that lead to it, are damaged; intact sections are used.
    Tail,
    /// The tail's strings expand beyond any honest size; the rest were left out.
    TailTooLarge,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.what {
            DamageKind::Header => "the header's checksum fails",
            DamageKind::SegmentHeader => "this is no segment",
            DamageKind::SegmentLength => "a segment claims more bytes than it can hold",
            DamageKind::SegmentChecksum => "a segment's checksum fails; its events are left out",
            DamageKind::Records => "a segment holds records that make no sense",
            DamageKind::Truncated => "the file ends inside a segment",
            DamageKind::Tail => "the tail is damaged; its intact sections are used",
            DamageKind::TailTooLarge => "the tail's strings are too large; the rest were left out",
        };
        write!(f, "bytes {} to {}: {what}", self.bytes.start, self.bytes.end)
    }
}

/// Why there is no trace to read at all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OpenError {
    /// The file has no bytes.
    Empty,
    /// It does not begin as a trace does.
    NotATrace,
    /// It begins as a trace does and ends before the end of the header page.
    TooShort,
    /// A newer arenascope wrote it.
    FutureVersion {
        /// Its version.
        found: u32,
        /// The newest version that can be read.
        supported: u32,
    },
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::Empty => f.write_str("the file is empty"),
            OpenError::NotATrace => f.write_str("this is not an arenascope trace"),
            OpenError::TooShort => f.write_str("the file ends inside the header of a trace"),
            OpenError::FutureVersion { found, supported } => {
                write!(f, "trace version {found}; this arenascope reads versions up to {supported}")
            }
        }
    }
}

impl core::error::Error for OpenError {}

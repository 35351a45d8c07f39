//! What the launcher does to a trace when the process has ended: where the tail goes, what the header says, how long
//! the file becomes.
//!
//! Computes; writes nothing.

use crate::checksum::crc32c;
use crate::damage::OpenError;
use crate::layout::{ClockPair, sealed, segment_offset, wait_status_word};
use crate::read::Trace;
use crate::tail::tail;
use alloc::vec::Vec;
use arenascope_event::ProcessFacts;

/// How to finish a trace file. To be done in this order, so that a launcher killed in between leaves a readable trace:
/// write `tail` at `tail_offset`, set the file's length to `file_bytes`, then write the words.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Seal {
    /// Where the tail goes, bytes from the start of the file.
    pub tail_offset: u64,
    /// The tail.
    pub tail: Vec<u8>,
    /// How long the file should be; everything behind is nothing.
    pub file_bytes: u64,
    /// Offset in the file, and the 8 little-endian bytes to be written there.
    pub words: [(u64, [u8; 8]); 6],
}

/// Plans the end of the trace `file`. `end`: both clocks, read when the process had ended (zero when not read).
///
/// `facts` usually are [`Trace::facts`], with names, hooks and the wait status added. A trace that is sealed already can
/// be sealed again (more names became known): the old tail is replaced.
///
/// # Errors
/// Those of [`Trace::open`].
pub fn seal(file: &[u8], facts: &ProcessFacts, end: ClockPair) -> Result<Seal, OpenError> {
    let trace = Trace::open(file)?;
    let tail_offset = segment_offset(trace.used_slots());
    let tail = tail(facts, end);
    let tail_bytes = tail.len() as u64;
    let word = |at: usize, value: u64| (at as u64, value.to_le_bytes());
    let words = [
        word(sealed::TAIL_OFFSET, tail_offset),
        word(sealed::TAIL_BYTES, tail_bytes),
        word(sealed::TAIL_CHECKSUM, u64::from(crc32c(0, &tail))),
        word(sealed::WAIT_STATUS, wait_status_word(facts.wait_status)),
        word(sealed::END_TSC, end.tsc),
        word(sealed::END_NS, end.ns),
    ];
    Ok(Seal { tail_offset, tail, file_bytes: tail_offset.saturating_add(tail_bytes), words })
}

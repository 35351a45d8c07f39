//! Which segments a file holds: walks the slots, holds every payload against its checksum.
//!
//! The file may be sparse and far longer than its data, cut anywhere, or damaged anywhere. Reads headers and payloads
//! only where the header's word says that a slot was taken, and a little beyond, in case that word is damaged. Memory:
//! one small entry per segment present.

use crate::checksum::crc32c;
use crate::damage::{Damage, DamageKind};
use crate::layout::{
    ClockPair, HEADER_BYTES, SEGMENT_BYTES, SEGMENT_HEADER_BYTES, SEGMENT_PAYLOAD, SegmentKind, SlotHead, live,
    segment_offset, slot_head,
};
use crate::varint::u64_at;
use alloc::vec::Vec;

/// A segment whose payload may be decoded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment {
    pub slot: u32,
    pub kind: SegmentKind,
    pub writer: u32,
    pub sequence: u32,
    pub at: ClockPair,
    /// Payload bytes that are committed and present in the file.
    pub len: u32,
}

impl Segment {
    pub(crate) fn payload<'a>(&self, file: &'a [u8]) -> &'a [u8] {
        payload(file, self.slot, self.len)
    }
}

/// The first `len` payload bytes of a slot, or as many as the file has.
pub(crate) fn payload(file: &[u8], slot: u32, len: u32) -> &[u8] {
    let start = segment_offset(slot).saturating_add(SEGMENT_HEADER_BYTES as u64);
    let rest = usize::try_from(start).ok().and_then(|start| file.get(start..)).unwrap_or(&[]);
    rest.get(..len as usize).unwrap_or(rest)
}

/// The header bytes of a slot that are in the file; empty past its end.
pub(crate) fn head_bytes(file: &[u8], slot: u32) -> &[u8] {
    let rest = usize::try_from(segment_offset(slot)).ok().and_then(|start| file.get(start..)).unwrap_or(&[]);
    rest.get(..SEGMENT_HEADER_BYTES).unwrap_or(rest)
}

/// Slots that begin inside the file.
pub(crate) fn slots_in(file: &[u8]) -> u32 {
    u32::try_from(file.len().saturating_sub(HEADER_BYTES).div_ceil(SEGMENT_BYTES)).unwrap_or(u32::MAX)
}

/// What a walk over a file found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slots {
    /// In slot order.
    pub segments: Vec<Segment>,
    /// One past the last slot that holds anything but the tail.
    pub used: u32,
    /// The slot where a tail stands.
    pub tail: Option<u32>,
    /// Sum of committed payload bytes: bounds what may be allocated for what they define.
    pub payload_bytes: u64,
    /// Slots whose events were left out, with the payload length they claim.
    pub left_out: Vec<(u32, u32)>,
}

/// Beyond the slots that the header says were taken, the walk ends after so many empty ones.
const EMPTY_RUN: u32 = 64;

/// Walks all slots of `file`; appends what is wrong to `damage`.
pub(crate) fn walk(file: &[u8], damage: &mut Vec<Damage>) -> Slots {
    let taken = u64_at(file, live::NEXT_SEGMENT);
    let mut slots = Slots::default();
    let mut empty = 0;
    for slot in 0..slots_in(file) {
        if u64::from(slot) >= taken && empty >= EMPTY_RUN {
            break;
        }
        let begin = segment_offset(slot);
        let head = head_bytes(file, slot);
        match slot_head(head) {
            SlotHead::Empty => {
                empty += 1;
                continue;
            }
            SlotHead::Tail => {
                slots.tail = Some(slot);
                break;
            }
            SlotHead::Damaged => {
                let short = head.len() < SEGMENT_HEADER_BYTES;
                let what = if short { DamageKind::Truncated } else { DamageKind::SegmentHeader };
                damage.push(Damage { bytes: begin..begin + SEGMENT_BYTES as u64, what });
                let claimed = (u64_at(head, crate::layout::segment::COMMIT) as u32).min(SEGMENT_PAYLOAD as u32);
                slots.left_out.push((slot, claimed));
            }
            SlotHead::Segment { kind, writer, sequence, at, committed, crc } => {
                let present = payload(file, slot, committed);
                let end = begin + (SEGMENT_HEADER_BYTES as u64) + u64::from(committed);
                let mut leave_out = |what| {
                    damage.push(Damage { bytes: begin..end, what });
                    slots.left_out.push((slot, committed.min(SEGMENT_PAYLOAD as u32)));
                };
                if committed as usize > SEGMENT_PAYLOAD {
                    leave_out(DamageKind::SegmentLength);
                } else if present.len() == committed as usize && crc32c(0, present) != crc {
                    leave_out(DamageKind::SegmentChecksum);
                } else {
                    if present.len() < committed as usize {
                        damage.push(Damage { bytes: begin..end, what: DamageKind::Truncated });
                    }
                    let len = present.len() as u32;
                    slots.payload_bytes += u64::from(len);
                    slots.segments.push(Segment { slot, kind, writer, sequence, at, len });
                }
            }
        }
        empty = 0;
        slots.used = slot + 1;
    }
    slots
}

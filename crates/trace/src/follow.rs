//! Events of a trace while it is being written.
//!
//! Fed the file's bytes again and again; decodes what was committed since, each record once. The order is that of
//! `Trace::events` as far as the bytes allow: an event of another thread that is committed late comes late.

use crate::clock::Clock;
use crate::layout::{ClockPair, HEADER_BYTES, SegmentKind, SlotHead, VERSION, read_header, slot_head};
use crate::merge::Merge;
use crate::read::{Numbering, growing_clock, live_losses, slots_taken};
use crate::slots::{Segment, head_bytes, payload};
use alloc::vec::Vec;
use arenascope_event::Event;

/// Reads a trace as it grows. Checksums are not checked: bytes beyond the commit words are never read.
#[derive(Clone, Debug)]
pub struct Follower {
    merge: Option<Merge>,
    numbering: Numbering,
    clock: Clock,
    /// Slots before this one were seen taken.
    seen: u32,
    /// Slots among them whose segment had not begun yet.
    unbegun: Vec<u32>,
    /// Segments that may still grow: the last of each writer. Stream number and segment.
    open: Vec<(u32, Segment)>,
    payload_bytes: u64,
    latest: ClockPair,
}

impl Default for Follower {
    fn default() -> Self {
        Follower::new()
    }
}

impl Follower {
    /// Nothing read yet.
    pub fn new() -> Self {
        Follower {
            merge: None,
            numbering: Numbering::default(),
            clock: Clock::new(ClockPair::default(), []),
            seen: 0,
            unbegun: Vec::new(),
            open: Vec::new(),
            payload_bytes: 0,
            latest: ClockPair::default(),
        }
    }

    /// Takes note of what was committed since the last call. `file` is the whole file, as far as it is mapped; it must
    /// be the same file each time. Reads the headers of open and of newly taken segments only.
    pub fn update(&mut self, file: &[u8]) {
        let Some(page) = file.first_chunk::<HEADER_BYTES>() else { return };
        let Some(header) = read_header(page).filter(|header| header.version == VERSION) else { return };
        let lossy = live_losses(file).events() > 0;
        let mut merge = self.merge.take().unwrap_or_else(|| Merge::new(0, lossy));
        // New segments first, then what the known ones have committed: a writer that was seen in its next segment has
        // finished the one before, and its last word is read after that.
        let taken = slots_taken(file);
        let mut look = core::mem::take(&mut self.unbegun);
        look.extend(self.seen..taken);
        self.seen = self.seen.max(taken);
        for slot in look {
            match slot_head(head_bytes(file, slot)) {
                // A blob segment of which nothing was committed may become another one.
                SlotHead::Empty | SlotHead::Segment { kind: SegmentKind::Blob, committed: 0, .. } => {
                    self.unbegun.push(slot);
                }
                SlotHead::Segment { kind: SegmentKind::Events, writer, sequence, at, .. } => {
                    let segment = Segment { slot, kind: SegmentKind::Events, writer, sequence, at, len: 0 };
                    let stream = merge.grow(merge.stream_of(writer), segment);
                    if self.latest.tsc < at.tsc {
                        self.latest = at;
                    }
                    self.open.push((stream, segment));
                }
                _ => {}
            }
        }
        for (stream, segment) in &mut self.open {
            if let SlotHead::Segment { committed, .. } = slot_head(head_bytes(file, segment.slot)) {
                let len = payload(file, segment.slot, committed).len() as u32;
                self.payload_bytes += u64::from(len.saturating_sub(segment.len));
                segment.len = segment.len.max(len);
                merge.grow(Some(*stream), *segment);
            }
        }
        // Only the last segment of a writer can still grow.
        let open = core::mem::take(&mut self.open);
        for (index, entry) in open.iter().enumerate() {
            if !open.iter().skip(index + 1).any(|later| later.0 == entry.0) {
                self.open.push(*entry);
            }
        }
        merge.allow(self.payload_bytes);
        merge.refill_all(file);
        self.clock = growing_clock(file, &header.fields, self.latest);
        self.merge = Some(merge);
    }

    /// The next event committed before the last [`Follower::update`]; `None` when there is none yet. `file` as there.
    pub fn next(&mut self, file: &[u8]) -> Option<Event> {
        self.take(file, false)
    }

    /// As [`Follower::next`], when the process has ended: no event waits for another any more.
    pub fn next_at_end(&mut self, file: &[u8]) -> Option<Event> {
        self.take(file, true)
    }

    fn take(&mut self, file: &[u8], settle: bool) -> Option<Event> {
        let decoded = self.merge.as_mut()?.next(file, settle)?;
        Some(self.numbering.event(&self.clock, decoded))
    }
}

//! Bytes of arenas, saved before they go.
//!
//! Read by the kernel (`process_vm_readv` on ourselves), so that a hole in the middle of a span shortens the capture
//! instead of faulting. Up to 4 KiB stand in the record; more goes to blob segments. What exceeds a limit is counted.

use crate::arenas::Entry;
use crate::checksum::crc32c;
use crate::clock::ticks;
use crate::deep;
use crate::quiet;
use crate::recorder::{Recorder, SCRATCH_BYTES, sample_bytes};
use crate::space;
use crate::system::{monotonic_ns, read_own_memory};
use crate::thread::Thread;
use arenascope_event::CaptureReason;
use arenascope_trace::{Record, layout, layout::ClockPair, layout::SegmentKind};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Longest capture of one span, bytes.
const SPAN_LIMIT: u64 = 1 << 20;
/// All captures of a process, bytes.
const TOTAL_LIMIT: u64 = 256 << 20;

/// Bytes that captures before rewinds may take of those: a program may rewind in every round of a loop.
const REWIND_LIMIT: u64 = 64 << 20;
static BEFORE_REWINDS: AtomicU64 = AtomicU64::new(0);

impl Recorder {
    /// Saves the bytes of all spans of `entry`, which is about to go back, while the share for that lasts.
    #[cold]
    pub fn capture_before_rewind(&self, thread: &mut Thread, entry: &Entry) {
        let spans = entry.spans().map(|(low, high)| high.saturating_sub(low).min(SPAN_LIMIT));
        let bytes = spans.fold(0, u64::saturating_add);
        if BEFORE_REWINDS.fetch_add(bytes, Relaxed) < REWIND_LIMIT {
            self.capture(thread, entry, CaptureReason::Rewind);
        }
    }

    /// Saves the bytes of all spans of `entry`.
    #[cold]
    pub fn capture(&self, thread: &mut Thread, entry: &Entry, reason: CaptureReason) {
        deep::run(|| self.capture_here(thread, entry, reason));
    }

    fn capture_here(&self, thread: &mut Thread, entry: &Entry, reason: CaptureReason) {
        for (low, high) in entry.spans() {
            self.capture_span(thread, entry.key.load(Relaxed), reason, low, high);
        }
    }

    /// Saves the bytes of all arenas.
    pub fn capture_all(&self, thread: &mut Thread, reason: CaptureReason) {
        deep::run(|| {
            for entry in self.arenas().all() {
                self.capture_here(thread, entry, reason);
            }
        });
    }

    /// `start..end` is going away: saves what arenas have there and forgets those spans. O(arenas) when the page filter
    /// says that some arena may have blocks there, else O(1).
    pub fn capture_before_unmap(&self, thread: &mut Thread, start: u64, end: u64) {
        if !self.arenas().pages().may_hold(start, end) {
            return;
        }
        deep::run(|| self.capture_range(thread, start, end));
    }

    fn capture_range(&self, thread: &mut Thread, start: u64, end: u64) {
        for entry in self.arenas().all() {
            for (low, high) in entry.spans() {
                if low < end && start < high {
                    let key = entry.key.load(Relaxed);
                    self.capture_span(thread, key, CaptureReason::Unmap, low.max(start), high.min(end));
                }
            }
            entry.drop_spans(start, end);
        }
    }

    fn capture_span(&self, thread: &mut Thread, arena: u32, reason: CaptureReason, base: u64, high: u64) {
        if !self.enabled() || sample_bytes() > 0 {
            return;
        }
        let len = high.saturating_sub(base);
        if quiet::is_on() {
            self.lost_capture(len);
            return;
        }
        let taken = len.min(SPAN_LIMIT);
        let before = self.captured_bytes.fetch_add(taken, Relaxed);
        if before.saturating_add(taken) > TOTAL_LIMIT {
            self.lost_capture(len);
            return;
        }
        if len > taken {
            self.lost_capture(len.saturating_sub(taken));
        }
        if taken as usize <= SCRATCH_BYTES {
            self.capture_inline(thread, arena, reason, base, len, taken as usize);
        } else {
            self.capture_blob(thread, arena, reason, base, len, taken as usize);
        }
    }

    fn capture_inline(
        &self,
        thread: &mut Thread,
        arena: u32,
        reason: CaptureReason,
        base: u64,
        len: u64,
        taken: usize,
    ) {
        let scratch = core::mem::take(&mut thread.scratch);
        let got = scratch.get_mut(..taken).map_or(0, |to| read_own_memory(self.pid(), base, to));
        let bytes = scratch.get(..got).unwrap_or(&[]);
        if !self.note(thread, None, &Record::CaptureInline { arena, reason, base, len, bytes }) {
            self.lost_capture(got as u64);
        }
        thread.scratch = scratch;
    }

    fn capture_blob(&self, thread: &mut Thread, arena: u32, reason: CaptureReason, base: u64, len: u64, taken: usize) {
        let Some(space) = self.blob_space() else { return };
        let count = taken.div_ceil(layout::SEGMENT_PAYLOAD) as u32;
        let Some(first_segment) = space.take_slots(count) else {
            self.lost_capture(taken as u64);
            return;
        };
        let at = ClockPair { tsc: ticks(), ns: monotonic_ns() };
        let mut done = 0usize;
        for piece in 0..count {
            let slot = first_segment.wrapping_add(piece);
            let Some(segment) = space.ready(slot) else {
                self.lost_capture(taken.saturating_sub(done) as u64);
                space.give_up(count.saturating_sub(piece));
                if piece == 0 {
                    return;
                }
                break;
            };
            space::put(segment, 0, &layout::segment_header(SegmentKind::Blob, thread.writer_number(), piece, at));
            let want = taken.saturating_sub(done).min(layout::SEGMENT_PAYLOAD);
            let room = space::payload(segment, 0);
            let got =
                room.get_mut(..want).map_or(0, |to| read_own_memory(self.pid(), base.wrapping_add(done as u64), to));
            let crc = crc32c(0, room.get(..got).unwrap_or(&[]));
            space::commit(segment, got as u32, crc);
            done = done.saturating_add(got);
            if got < want {
                space.give_up(count.saturating_sub(piece).saturating_sub(1));
                // Nothing is committed: it is this thread's next segment.
                if got == 0 && thread.segment.owed_slot == 0 {
                    thread.segment.owed_slot = slot.wrapping_add(1);
                }
                break;
            }
        }
        self.note(thread, None, &Record::CaptureBlob { arena, reason, base, len, first_segment });
    }
}

//! Hooked calls where one allocation in so many bytes is recorded.
//!
//! May be relied on: a call that concerns no sample runs as if it were not hooked, but for the counting down of its bytes. What ends samples is
//! recorded: a free of one, and a reset, rewind or destroy of an arena that may have one. An arena is told of with its first sample. Absent
//! on purpose: creations and refusals, and marks of arenas without samples. A resize is recorded when it concerns a sample; of other
//! blocks' growth nothing is known, for no role says how large they were.

use crate::roles::value;
use crate::stubs::Frame;
use arenascope_plan::{Hook, HookKind};
use arenascope_record::{Entry, Record, Recorder, Thread, sample_bytes};
use core::sync::atomic::Ordering::Relaxed;

/// True when samples are recorded and nothing else.
#[inline]
pub fn is_on() -> bool {
    sample_bytes() > 0
}

/// The trace's first word: what follows is a sample.
pub fn tell(recorder: &Recorder, thread: &mut Thread) {
    if is_on() {
        recorder.note(thread, None, &Record::Sampling { bytes: sample_bytes() });
    }
}

/// Whether a call of an arena function is to be recorded. `size` is what it asks for.
#[inline]
pub fn concerns(recorder: &Recorder, thread: &mut Thread, frame: &Frame, hook: &Hook, object: u64, size: u64) -> bool {
    match hook.kind {
        HookKind::Alloc => recorder.takes_sample(thread, frame.call(), object, size),
        HookKind::Free | HookKind::Resize => recorder.heap().holds(value(frame, hook.sources.block)),
        HookKind::Mark | HookKind::Rewind | HookKind::Reset => {
            recorder.arenas().find(object).is_some_and(|entry| entry.sampled.load(Relaxed) != 0)
        }
        // One that was told of: its memory may be another arena's tomorrow.
        HookKind::Destroy => {
            recorder.arenas().find(object).is_some_and(|entry| entry.epoch.load(Relaxed) == thread.epoch)
        }
        _ => false,
    }
}

/// A sample was handed out.
#[inline]
pub fn handed_out(recorder: &Recorder, entry: &Entry, block: u64, size: u64) {
    entry.sampled.store(1, Relaxed);
    if !recorder.heap().insert(block, size) {
        // Its end will not be seen.
        recorder.skipped_heap();
    }
}

/// The samples of an arena have ended.
#[cold]
pub fn emptied(recorder: &Recorder, entry: &Entry) {
    if entry.sampled.swap(0, Relaxed) != 0 {
        for (low, high) in entry.spans() {
            recorder.heap().forget(low, high);
        }
    }
}

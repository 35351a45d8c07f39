//! Check mode at the arena functions: a size argument grows by a redzone, and what dies is looked at before it goes.
//!
//! ```text
//!   entered   zones of the arena are looked at; alloc, resize: size + redzone in the argument register
//!   returned  NULL: the function is called again with the size that was asked for (the host sees no refusal of ours);
//!             a block: its redzone is filled and kept
//! ```
//!
//! Relied on: the argument register holds the host's value again when the call returns (gcc may go on using it:
//! -fipa-ra). Deliberately absent: the zones themselves (`arenascope_record::Check`).
#![allow(unsafe_code, reason = "the process-wide pointer to the zones")]

use crate::state::Inside;
use crate::stubs::Frame;
use arenascope_plan::{Hook, HookKind, Source, SourceKind};
use arenascope_record::{Check, Dying, Entry, Recorder, Thread, growth};
use core::sync::atomic::{AtomicPtr, Ordering::Relaxed};

static CHECK: AtomicPtr<Check> = AtomicPtr::new(core::ptr::null_mut());

/// Begins check mode. Once, at the start.
pub fn set(check: &'static Check) {
    CHECK.store(core::ptr::from_ref(check).cast_mut(), Relaxed);
}

/// The zones; `None` outside check mode, and when checking had to end.
#[inline]
pub fn zones() -> Option<&'static Check> {
    // SAFETY: null, or the reference that `set` stored, which lives as long as the process.
    unsafe { CHECK.load(Relaxed).as_ref() }.filter(|check| check.works())
}

/// Names of the words of `Frame::check`.
mod word {
    /// The argument register's value as the host had set it.
    pub const ASKED: usize = 0;
    /// The value that we set; 0: nothing was grown.
    pub const GROWN: usize = 1;
    /// Which register.
    pub const REGISTER: usize = 2;
    /// Bytes that the block is larger than asked for.
    pub const MORE: usize = 3;
    /// Stamp of the next zone at entry (create).
    pub const STAMP: usize = 4;
    /// In precise mode, which makes no zones: how far the call has come.
    pub const PRECISE: usize = 4;
}

fn set_word(frame: &mut Frame, index: usize, value: u64) {
    if let Some(place) = frame.check.get_mut(index) {
        *place = value;
    }
}

fn get_word(frame: &Frame, index: usize) -> u64 {
    frame.check.get(index).copied().unwrap_or(0)
}

/// Larger sizes are meant to be refused, or near the address space's end.
const LARGEST: u64 = 1 << 40;
/// More than this is not added to a block of many elements, bytes.
pub const MOST: u64 = 4096;

/// An arena function is entered; `size` is what is asked for.
#[cold]
pub fn enter(recorder: &Recorder, thread: &mut Thread, frame: &mut Frame, hook: &Hook, object: u64, size: u64) {
    frame.check = [0; 5];
    let Some(check) = zones() else { return };
    if hook.kind == HookKind::Create {
        let stamp = check.stamp(recorder);
        return set_word(frame, word::STAMP, stamp);
    }
    let Some(entry) = recorder.arena(thread, object) else { return };
    let limit = check.entered(recorder, thread, entry, dying(recorder, frame, hook));
    if size < limit && hook.grows().is_ok() {
        grow(frame, hook, size);
    }
}

/// What happens to blocks in this call.
fn dying(recorder: &Recorder, frame: &Frame, hook: &Hook) -> Dying {
    let block = crate::roles::value(frame, hook.sources.block);
    match hook.kind {
        HookKind::Free => Dying::Block(block),
        HookKind::Resize if block != 0 => Dying::Block(block),
        HookKind::Rewind => Dying::Since(crate::roles::mark_of(recorder, frame, hook)),
        HookKind::Reset | HookKind::Destroy => Dying::All,
        _ => Dying::None,
    }
}

/// Where an arena's blocks lie, before its end is told.
pub type Spans = [(u64, u64); 8];

/// Keeps them.
pub fn spans(recorder: &Recorder, thread: &mut Thread, object: u64) -> Spans {
    let mut kept: Spans = [(0, 0); 8];
    if let Some(entry) = recorder.arena(thread, object) {
        kept.iter_mut().zip(entry.spans()).for_each(|(place, span)| *place = span);
    }
    kept
}

/// A rewind, reset or destroy has been told and is about to happen.
#[cold]
pub fn ended(recorder: &Recorder, thread: &mut Thread, frame: &Frame, hook: &Hook, object: u64, spans: &Spans) {
    if !matches!(hook.kind, HookKind::Rewind | HookKind::Reset | HookKind::Destroy) {
        return;
    }
    if let (Some(check), Some(entry)) = (zones(), recorder.arena(thread, object)) {
        check.ended(recorder, entry, dying(recorder, frame, hook), hook.leaf, spans);
    }
}

/// Makes the size argument larger, if its register can hold that.
pub fn grow(frame: &mut Frame, hook: &Hook, size: u64) {
    let more = growth(size);
    if size == 0 || size > LARGEST {
        return;
    }
    let sources = &hook.sources;
    let (source, steps, more) = if sources.count.is_present() {
        let unit = crate::roles::value(frame, sources.size);
        let Some(steps) = more.checked_next_multiple_of(unit).and_then(|whole| whole.checked_div(unit)) else { return };
        (sources.count, steps, steps.saturating_mul(unit))
    } else {
        (sources.size, more, more)
    };
    if source.kind != SourceKind::Register || more > MOST {
        return;
    }
    let before = crate::roles::value(frame, source);
    let Some(after) = before.checked_add(steps).filter(|after| *after <= largest(source)) else { return };
    frame.keep_arguments();
    let Some(register) = frame.argument_mut(source.index) else { return };
    let asked = core::mem::replace(register, after);
    set_word(frame, word::ASKED, asked);
    set_word(frame, word::GROWN, after);
    set_word(frame, word::REGISTER, u64::from(source.index));
    set_word(frame, word::MORE, more);
}

/// The largest value that an argument of this width can hold without becoming negative or another number.
fn largest(source: Source) -> u64 {
    match source.bytes {
        1 => 0x7f,
        2 => 0x7fff,
        4 => 0x7fff_ffff,
        _ => u64::MAX >> 1,
    }
}

/// A function that left its grown argument alone has returned: its caller may know that, and go on using the register.
pub fn put_back(frame: &mut Frame) {
    let (asked, grown) = (get_word(frame, word::ASKED), get_word(frame, word::GROWN));
    let register = get_word(frame, word::REGISTER) as u8;
    if grown != 0
        && let Some(place) = frame.argument_mut(register)
        && *place == grown
    {
        *place = asked;
    }
}

/// An alloc or resize function has returned `block`. True: call it again, the registers are set.
#[inline]
pub fn again(recorder: &Recorder, thread: &mut Thread, frame: &mut Frame, object: u64, block: u64) -> bool {
    if get_word(frame, word::GROWN) == 0 {
        return false;
    }
    if block != 0 {
        put_back(frame);
        return false;
    }
    frame.restore_arguments();
    set_word(frame, word::GROWN, 0);
    set_word(frame, word::MORE, 0);
    if let Some(entry) = recorder.arena(thread, object) {
        match zones() {
            Some(check) => check.refused(recorder, entry),
            None => crate::precise::refused(entry),
        }
    }
    true
}

/// An alloc or resize function has handed out `block` of `size` bytes.
#[cold]
pub fn handed_out(recorder: &Recorder, thread: &mut Thread, frame: &Frame, object: u64, block: u64, size: u64) {
    if let (Some(check), Some(entry)) = (zones(), recorder.arena(thread, object)) {
        check.handed_out(recorder, entry, thread, block, size, get_word(frame, word::MORE));
    }
}

/// An arena function has returned.
#[cold]
pub fn left(recorder: &Recorder, thread: &mut Thread, object: u64) {
    if let (Some(check), Some(entry)) = (zones(), recorder.arena(thread, object)) {
        check.left(recorder, entry);
    }
}

/// Bytes that the block of this call is larger than asked for.
pub fn more(frame: &Frame) -> u64 {
    get_word(frame, word::MORE)
}

/// Precise mode's note of a call.
pub fn set_precise(frame: &mut Frame, state: u64) {
    set_word(frame, word::PRECISE, state);
}

/// That note.
pub fn precise_state(frame: &Frame) -> u64 {
    get_word(frame, word::PRECISE)
}

/// A mark was taken.
#[cold]
pub fn marked(recorder: &Recorder, entry: &Entry, mark: u64) {
    crate::precise::marked(entry, mark);
    if let Some(check) = zones() {
        check.marked(recorder, entry, mark);
    }
}

/// An arena was created.
#[cold]
pub fn created(recorder: &Recorder, frame: &Frame, entry: &Entry, capacity: u64) {
    crate::precise::created(entry, capacity);
    if let Some(check) = zones() {
        check.created(recorder, entry, get_word(frame, word::STAMP), capacity);
    }
}

/// Memory goes away, or comes where other memory may have been.
#[inline]
pub fn range_goes(recorder: &Recorder, thread: &mut Thread, start: u64, end: u64) {
    if let Some(check) = zones() {
        check.range_goes(recorder, thread, start, end);
    }
    crate::precise::range_goes(recorder, start, end);
}

/// The process ends.
pub fn at_end(inside: &mut Inside) {
    let recorder = inside.recorder;
    if let Some(check) = zones() {
        check.at_end(recorder, inside.thread());
    }
    crate::own_check::look_at_all(recorder, inside.thread());
    crate::precise::at_end();
}

//! Precise mode: memcheck is told about every block, so that it knows arenas it has never heard of.
//!
//! ```text
//!   entered    what memcheck reported since the last call is tied to this one; its reports are hidden from here on: an
//!              allocator may touch its own dead bytes. What dies is closed; what an alloc may hand out next is opened
//!   returned   the block is open, its redzone (the grown size: `check`) and what is still dead are closed
//! ```
//! *Closed* bytes may be touched by nobody. Bytes that were handed out before are undefined when they are opened for an
//! alloc, and so are those of its block that it did not write: who uses them reads what a former owner left. Not done by
//! memcheck's own pools (MEMPOOL_ALLOC): they make a block undefined after the allocator has zeroed it, they abort on arenas
//! within arenas, and with no malloc block alive 3.19 calls lost pool blocks "no leaks". Blocks are told from our trace anyway.
//!
//! Relied on: nothing here without Valgrind ([`works`]). Where it is not sure whose bytes they are, they are open: a report
//! missed, none made up.
#![allow(unsafe_code, reason = "the process-wide pointer to the pictures")]

use crate::check;
use crate::stubs::Frame;
use crate::valgrind::{self, defined, is_addressable, no_access, undefined};
use arenascope_plan::{Hook, HookKind};
use arenascope_record::{Entry, GUARDS, Guard, HEAP_SLOTS, HeapSet, Recorder, Reserve, Span, Thread, read_own_memory};
use core::ffi::CStr;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering::Relaxed};

/// Address space for the pictures of arenas and the sizes of blocks, bytes.
const BYTES: usize =
    GUARDS * size_of::<Guard>() + 2 * HEAP_SLOTS * size_of::<AtomicU64>() + size_of::<Precise>() + 4096;
/// Bytes beyond a block that are opened for an alloc: headers, alignment.
const SLACK: u64 = 4096;
/// Largest hole within one piece of memory.
const GAP: u64 = 4096;
/// Longest redzone that is closed, bytes.
const ZONE: u64 = 64;
/// Bytes of a block that are looked at: all zero, and an allocator may have seen to that.
const LOOKED_AT: usize = 256;

/// The frame's note: this call's errors are hidden.
const HIDDEN: u64 = 1;
/// The frame's note: and it is counted in its arena.
const BEGUN: u64 = 2;

/// All arenas of the process.
pub struct Precise {
    guards: &'static [Guard],
    /// Blocks handed out, with their sizes. May hold blocks that died with others.
    sizes: HeapSet,
}

static PRECISE: AtomicPtr<Precise> = AtomicPtr::new(core::ptr::null_mut());
/// Errors that have been tied to an event.
static TOLD: AtomicU64 = AtomicU64::new(0);

struct Place(MaybeUninit<Precise>);

// SAFETY: uninitialised memory may hold zeros.
unsafe impl arenascope_record::Zeroed for Place {}

/// Begins precise mode, under Valgrind. Once, at the start.
pub fn begin() {
    if !valgrind::is_running() {
        return;
    }
    let Some(mut reserve) = Reserve::new(BYTES) else { return };
    let (Some(guards), Some(blocks), Some(sizes)) =
        (reserve.take(GUARDS), reserve.take(HEAP_SLOTS), reserve.take(HEAP_SLOTS))
    else {
        return;
    };
    let Some([place]) = reserve.take::<Place>(1) else { return };
    let precise = place.0.write(Precise { guards, sizes: HeapSet::new(blocks, sizes) });
    PRECISE.store(core::ptr::from_mut(precise), Relaxed);
}

#[inline]
fn all() -> Option<&'static Precise> {
    // SAFETY: null, or what `begin` stored, which lives as long as the process.
    unsafe { PRECISE.load(Relaxed).as_ref() }
}

/// True in precise mode.
#[inline]
pub fn works() -> bool {
    !PRECISE.load(Relaxed).is_null()
}

impl Precise {
    fn guard(&self, entry: &Entry) -> Option<&'static Guard> {
        self.guards.get(entry.key.load(Relaxed) as usize)
    }
}

fn open(span: Span) {
    defined(span.low, span.bytes());
}

/// Opens all bytes of the arena's blocks and redzones: they may be anybody's soon.
fn open_all(entry: &Entry) {
    for (low, high) in entry.spans() {
        open(Span { low, high: high.saturating_add(ZONE) });
    }
}

/// Ties what was reported since the last call to the arena's next event.
fn tell(entry: &Entry) {
    let errors = valgrind::errors();
    if TOLD.swap(errors, Relaxed) == errors {
        return;
    }
    let mut text = Text { bytes: [0; 64], used: 0 };
    text.push(b"arenascope before ");
    text.number(u64::from(entry.key.load(Relaxed)));
    text.push(b" ");
    text.number(entry.order.load(Relaxed));
    text.say();
}

/// A few words for memcheck's reports.
struct Text {
    bytes: [u8; 64],
    used: usize,
}

impl Text {
    fn push(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if let Some(place) = self.bytes.get_mut(self.used).filter(|_| self.used < 62) {
                *place = *byte;
                self.used = self.used.wrapping_add(1);
            }
        }
    }

    fn number(&mut self, number: u64) {
        let mut digits = [0u8; 20];
        let mut rest = number;
        let mut first = digits.len();
        loop {
            first = first.wrapping_sub(1);
            if let Some(place) = digits.get_mut(first) {
                *place = b'0'.wrapping_add((rest % 10) as u8);
            }
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        self.push(digits.get(first..).unwrap_or(&[]));
    }

    fn say(&self) {
        if let Ok(text) = CStr::from_bytes_until_nul(&self.bytes) {
            valgrind::say(text);
        }
    }
}

/// An arena function is entered. Before its event is recorded, where it is recorded at entry.
#[cold]
pub fn enter(recorder: &Recorder, thread: &mut Thread, frame: &mut Frame, hook: &Hook, object: u64, size: u64) {
    let Some(precise) = all() else { return };
    valgrind::hide_errors();
    check::set_precise(frame, HIDDEN);
    if hook.kind == HookKind::Create {
        return;
    }
    let Some(entry) = recorder.arena(thread, object) else { return };
    tell(entry);
    let guard = precise.guard(entry);
    let below = guard.map_or(u64::MAX, Guard::zones_below);
    if size < below && matches!(hook.kind, HookKind::Alloc | HookKind::Resize) && hook.grows().is_ok() {
        check::grow(frame, hook, size);
    }
    let Some(guard) = guard else { return };
    check::set_precise(frame, BEGUN);
    if !guard.begin() {
        open(guard.loosen());
    }
    match hook.kind {
        HookKind::Alloc => {
            let dead = guard.dead();
            undefined(dead.low, window(dead, size));
        }
        HookKind::Resize => open(guard.loosen()),
        HookKind::Free => {
            let block = crate::roles::value(frame, hook.sources.block);
            open(guard.loosen());
            if let Some(size) = precise.sizes.remove(block).filter(|size| stands(block, block.saturating_add(*size))) {
                no_access(block, size);
            }
        }
        HookKind::Rewind | HookKind::Reset if !is_intact(guard) => {
            open(guard.loosen());
            open_all(entry);
        }
        HookKind::Rewind => match guard.rewind(crate::roles::mark_of(recorder, frame, hook)) {
            Ok(dead) => no_access(dead.low, dead.bytes()),
            Err(unknown) => open(unknown),
        },
        HookKind::Reset => {
            let dead = guard.reset();
            match dead.bytes() {
                0 => open_all(entry),
                bytes => no_access(dead.low, bytes),
            }
        }
        HookKind::Destroy => {
            open_all(entry);
            open(guard.loosen());
            guard.forget();
        }
        HookKind::Mark | HookKind::Create => {}
        _ => {}
    }
}

/// True for a block whose bytes are open and whose redzone is closed, as they were left when it was handed out.
fn stands(block: u64, zone: u64) -> bool {
    is_addressable(block, zone.saturating_sub(block)) && !is_addressable(zone, 1)
}

/// True when the arena's bytes are still as they were left: else its memory may be somebody else's by now.
fn is_intact(guard: &Guard) -> bool {
    match (guard.zone(), guard.dead()) {
        (0, dead) => {
            dead.bytes() > 0 && !is_addressable(dead.low, 1) && !is_addressable(dead.high.saturating_sub(1), 1)
        }
        (zone, _) => stands(zone.saturating_sub(1), zone),
    }
}

/// How much of the dead bytes is opened for an alloc of `size` bytes.
fn window(dead: Span, size: u64) -> u64 {
    dead.bytes().min(size.saturating_add(check::MOST).saturating_add(SLACK))
}

/// An alloc or resize function has handed out `block` of `size` bytes and `more` behind them.
#[cold]
pub fn handed_out(recorder: &Recorder, thread: &mut Thread, frame: &Frame, hook: &Hook, block: u64, size: u64) {
    let Some(precise) = all() else { return };
    if check::precise_state(frame) == 0 {
        return;
    }
    let Some(entry) = recorder.arena(thread, crate::roles::object_of(frame)) else { return };
    let more = check::more(frame);
    let end = block.saturating_add(size).saturating_add(more);
    if let Some(guard) = precise.guard(entry) {
        let dead = guard.dead();
        let opened = Span { low: dead.low, high: dead.low.saturating_add(window(dead, size)) };
        // Wholly in what was opened, or from there on into memory that nobody ever had.
        let beyond = opened.high == dead.high && block < dead.high;
        if opened.low <= block && (end <= opened.high || beyond) {
            no_access(end, opened.high.saturating_sub(end));
            if is_zero(recorder, block, size) {
                // Cleared when it died: by a reset that fills, or by the kernel (MADV_DONTNEED).
                defined(block, size);
            }
        } else if dead.bytes() > 0 {
            // Elsewhere than thought.
            open(guard.loosen());
        }
        let back = block < guard.dead().low && !guard.is_loose();
        open(guard.place(block, end, |gap| gap.bytes() <= GAP && is_addressable(gap.low, gap.bytes())));
        if back {
            // It went back unseen; then redzones lie in what it hands out by other ways.
            open_all(entry);
        }
    }
    if !is_addressable(block, size) {
        defined(block, size);
    }
    if hook.kind == HookKind::Resize {
        let old = crate::roles::old_block_of(frame);
        if let Some(bytes) = precise.sizes.remove(old).filter(|_| old != block) {
            let apart = old.saturating_add(bytes) <= block || end <= old;
            if apart && stands(old, old.saturating_add(bytes)) {
                no_access(old, bytes);
            }
        }
    }
    precise.sizes.remove(block);
    precise.sizes.insert(block, size);
    let known = entry.spans().any(|(low, high)| low <= block && block < high);
    let zone = block.saturating_add(size);
    if known && more > 0 {
        no_access(zone, more.min(ZONE));
    }
    if let Some(guard) = precise.guard(entry) {
        guard.set_zone(if known && more > 0 { zone } else { 0 });
    }
}

/// True when the first bytes of a block are all zero.
fn is_zero(recorder: &Recorder, block: u64, size: u64) -> bool {
    arenascope_record::on_own_stack(|| {
        let mut bytes = [0xffu8; LOOKED_AT];
        let Some(to) = bytes.get_mut(..size.min(LOOKED_AT as u64) as usize) else { return false };
        let read = read_own_memory(recorder.pid(), block, to);
        to.get(..read).is_some_and(|bytes| bytes.iter().all(|byte| *byte == 0))
    })
}

/// An arena was created: what was known of one at the same object is over.
pub fn created(entry: &Entry, capacity: u64) {
    if let Some(guard) = all().and_then(|precise| precise.guard(entry)) {
        open(guard.loosen());
        guard.born(capacity);
    }
}

/// The allocator said NULL to a block with its redzone.
pub fn refused(entry: &Entry) {
    if let Some(guard) = all().and_then(|precise| precise.guard(entry)) {
        guard.refused();
    }
}

/// A mark was taken.
pub fn marked(entry: &Entry, mark: u64) {
    if let Some(guard) = all().and_then(|precise| precise.guard(entry)) {
        guard.mark(mark);
    }
}

/// An arena function has returned, whatever it did.
#[inline]
pub fn leave(frame: &mut Frame, recorder: Option<(&Recorder, &mut Thread)>) {
    let state = check::precise_state(frame);
    if state == 0 {
        return;
    }
    check::set_precise(frame, 0);
    if let (BEGUN, Some(precise), Some((recorder, thread))) = (state, all(), recorder)
        && let Some(guard) =
            recorder.arena(thread, crate::roles::object_of(frame)).and_then(|entry| precise.guard(entry))
    {
        guard.end();
    }
    valgrind::show_errors();
}

/// Memory goes away, or comes where other memory may have been: memcheck sees that by itself.
pub fn range_goes(recorder: &Recorder, start: u64, end: u64) {
    let Some(precise) = all() else { return };
    if !recorder.arenas().pages().may_hold(start, end) {
        return;
    }
    for entry in recorder.arenas().all() {
        if let Some(guard) = precise.guard(entry).filter(|guard| guard.touches(start, end)) {
            guard.forget();
        }
    }
}

/// The process ends: what was reported since the last call belongs to its end.
pub fn at_end() {
    if works() && TOLD.swap(u64::MAX, Relaxed) != valgrind::errors() {
        valgrind::say(c"arenascope at the end");
    }
}

//! The malloc family, watched as what it is: every block is one of an arena of the C library.
//!
//! What ends a block (free, and realloc's old block) is recorded at entry, before anyone else can be given its bytes; what
//! begins one at return. A realloc is therefore a free and an alloc. A function of the family that does its work by another
//! one (`realloc(NULL, n)`, `realloc(p, 0)`) is one call. Which arena a block is of says `glibc`; of another allocator all
//! blocks are one arena's, of unknown bounds. When a thread has ended, glibc gives the blocks in its cache back
//! through `free`, though the program freed them long ago: those calls are passed over, and because other destructors may
//! free things too, our own idea of the thread's end is put off to the last round of them (`state`).
//! Absent on purpose: bytes. Blocks of malloc are not captured; arenas that live in them are.

use crate::hooks::{CALL, PASS};
use crate::roles::{COOKIE, stands};
use crate::sampling;
use crate::state::{self, Inside};
use crate::stubs::{self, Frame};
use crate::{ask, glibc};
use arenascope_event::MallocKind;
use arenascope_plan::{HookKind, WatchMalloc};
use arenascope_record::{Call, Entry, Record, Recorder, Thread, on_own_stack, quiet};
use core::sync::atomic::{AtomicU8, Ordering::Relaxed};

static WATCHED: AtomicU8 = AtomicU8::new(0);

/// A size that is none: the header of the chunk is damaged.
const ABSURD: u64 = 1 << 40;

/// How malloc is to be watched, and where it is. Once, at the start.
pub fn watch(how: WatchMalloc, malloc: u64) {
    if how == WatchMalloc::No {
        return;
    }
    ask::for_each_module(&mut |module| {
        if module.start <= malloc && malloc < module.end {
            glibc::set_module(module.start, module.end);
        }
    });
    WATCHED.store(how as u8, Relaxed);
}

/// True when blocks of malloc are blocks of arenas.
#[inline]
pub fn is_watched() -> bool {
    WATCHED.load(Relaxed) != 0
}

#[inline]
fn is_glibc() -> bool {
    WATCHED.load(Relaxed) == WatchMalloc::Glibc as u8
}

/// The functions that return, or may free, a block.
#[inline]
pub fn serves(kind: HookKind) -> bool {
    use HookKind::{Calloc, Malloc, Memalign, PosixMemalign, Realloc};
    matches!(kind, Malloc | Calloc | Realloc | Memalign | PosixMemalign)
}

/// True when this call does the work of another one of the family.
#[inline]
fn is_inner(thread: &Thread) -> bool {
    thread.open_calls().iter().any(|open| HookKind::from_code(open.role).is_some_and(serves) && stands(open))
}

/// A function that hands out a block is entered.
#[inline]
pub fn enter(frame: &mut Frame, kind: HookKind) -> u32 {
    let Some(mut inside) = Inside::enter(frame.entry, true) else { return PASS };
    let recorder = inside.recorder;
    let thread = inside.thread();
    thread.settle_calls(frame.entry);
    if !thread.open_calls().is_empty() && is_inner(thread) {
        return PASS;
    }
    if sampling::is_on() && !is_sample(recorder, thread, frame, kind) {
        return PASS;
    }
    let cookie = thread.next_cookie();
    frame.stash = [frame.rdi, frame.rsi, frame.rdx, 0, 0, 0, cookie];
    thread.push_call(Call { stack_pointer: frame.entry, object: u64::MAX, role: kind as u8, cookie });
    if kind == HookKind::Realloc && frame.rdi != 0 && !sampling::is_on() {
        released(recorder, thread, frame, frame.rdi);
    }
    CALL
}

/// Whether a call that hands out a block is recorded where samples are; the end of a sample that it frees is.
fn is_sample(recorder: &Recorder, thread: &mut Thread, frame: &Frame, kind: HookKind) -> bool {
    if kind == HookKind::Realloc && frame.rdi != 0 && recorder.heap().remove(frame.rdi).is_some() {
        released(recorder, thread, frame, frame.rdi);
    }
    let size = match kind {
        HookKind::Calloc => frame.rdi.saturating_mul(frame.rsi),
        HookKind::Realloc | HookKind::Memalign => frame.rsi,
        HookKind::PosixMemalign => frame.rdx,
        _ => frame.rdi,
    };
    recorder.takes_sample(thread, frame.call(), u64::MAX, size)
}

/// It has returned.
#[inline]
pub fn exit(frame: &mut Frame, kind: HookKind) {
    let Some(mut inside) = Inside::enter(frame.entry, true) else { return };
    let recorder = inside.recorder;
    let thread = inside.thread();
    thread.pop_call(frame.entry);
    let [first, second, third, ..] = frame.stash;
    let result = frame.rax;
    let (block, size, align) = match kind {
        HookKind::Calloc => (result, first.saturating_mul(second), 0),
        HookKind::Realloc if result == 0 && second == 0 && first != 0 => return,
        // A realloc that failed has freed nothing: the block is there again.
        HookKind::Realloc if result == 0 && first != 0 => {
            handed_out(recorder, thread, frame, 0, second, 0);
            (first, if is_glibc() { glibc::usable(first) } else { 0 }, 0)
        }
        HookKind::Realloc => (result, second, 0),
        HookKind::Memalign => (result, second, first),
        HookKind::PosixMemalign if result as u32 != 0 || first == 0 => (0, third, second),
        HookKind::PosixMemalign => (glibc::stored(first), third, second),
        _ => (result, first, 0),
    };
    handed_out(recorder, thread, frame, block, size, align);
}

/// `free` is entered.
#[inline]
pub fn free(frame: &Frame) {
    let block = frame.rdi;
    if block == 0 || (stubs::thread_over() && glibc::in_module(frame.call().return_address)) {
        return;
    }
    if sampling::is_on() && state::recorder().is_none_or(|recorder| recorder.heap().remove(block).is_none()) {
        return;
    }
    let Some(mut inside) = Inside::enter(frame.entry, true) else { return };
    let recorder = inside.recorder;
    let thread = inside.thread();
    thread.settle_calls(frame.entry);
    if thread.open_calls().is_empty() || !is_inner(thread) {
        released(recorder, thread, frame, block);
    }
}

/// A block begins; 0: it was refused.
#[inline]
fn handed_out(recorder: &Recorder, thread: &mut Thread, frame: &Frame, block: u64, size: u64, align: u64) {
    if sampling::is_on() && block == 0 {
        return;
    }
    let home = match block {
        _ if !is_glibc() => glibc::Home { object: MallocKind::FOREIGN.0, inside: true },
        0 => glibc::Home { object: main_or_stand_in(), inside: true },
        _ => glibc::home(block, size),
    };
    let entry = if home.object == 0 { None } else { recorder.arena(thread, home.object) };
    let entry = match entry {
        Some(entry) if home.inside && entry.told.load(Relaxed) == thread.epoch => entry,
        _ => {
            let Some(entry) = on_own_stack(|| look(recorder, thread, home.object, block, size)) else { return };
            entry
        }
    };
    recorder.alloc_of(thread, entry, block, size, align, frame.call());
    if sampling::is_on() {
        sampling::handed_out(recorder, entry, block, size);
    }
}

/// The main arena's object; its stand-in as long as no block of it was seen.
fn main_or_stand_in() -> u64 {
    match glibc::main_object() {
        0 => MallocKind::MAIN.0,
        object => object,
    }
}

/// The slow way: finds the arena of a block and tells its bounds.
#[cold]
fn look(recorder: &Recorder, thread: &mut Thread, object: u64, block: u64, size: u64) -> Option<&'static Entry> {
    let pid = recorder.pid();
    let stand_in = block == 0 || object == MallocKind::MAPPED.0 || object == MallocKind::FOREIGN.0;
    let object = if stand_in { object } else { glibc::settle(pid, block, size) };
    let entry = recorder.arena(thread, object)?;
    tell(recorder, thread, entry, object, block);
    Some(entry)
}

/// Tells the bounds of the part of an arena that `block` lies in; first those that the arena's own record lies in.
fn tell(recorder: &Recorder, thread: &mut Thread, entry: &Entry, object: u64, block: u64) {
    let pid = recorder.pid();
    let range = if object == MallocKind::MAPPED.0 || object == MallocKind::FOREIGN.0 {
        glibc::Range::default()
    } else if object == main_or_stand_in() {
        let known = glibc::main_known();
        glibc::main_range(pid).filter(|range| block == 0 || (range.start..range.end).contains(&block)).unwrap_or(known)
    } else {
        let first = glibc::heap_range(pid, object, object).unwrap_or_default();
        match glibc::heap_range(pid, object, block) {
            Some(range) if range.start != first.start => {
                if entry.told.load(Relaxed) != thread.epoch {
                    note(recorder, thread, entry, first);
                }
                range
            }
            _ => first,
        }
    };
    note(recorder, thread, entry, range);
    // After the record: whoever sees this has its own records behind it.
    entry.told.store(thread.epoch, Relaxed);
}

fn note(recorder: &Recorder, thread: &mut Thread, entry: &Entry, range: glibc::Range) {
    let glibc::Range { start, end, top } = range;
    let record = Record::HeapSegment { arena: entry.key.load(Relaxed), start, len: end.saturating_sub(start), top };
    recorder.note(thread, None, &record);
}

/// Tells the bounds of all arenas as they are now.
pub fn tell_all(recorder: &Recorder, thread: &mut Thread) {
    if is_glibc() && !quiet::is_on() {
        on_own_stack(|| tell_all_here(recorder, thread));
    }
}

fn tell_all_here(recorder: &Recorder, thread: &mut Thread) {
    let pid = recorder.pid();
    let epoch = thread.epoch;
    let told = |entry: &&Entry| entry.told.load(Relaxed) == epoch;
    let main = glibc::main_object();
    if main != 0
        && let Some(range) = glibc::main_range(pid)
        && let Some(entry) = recorder.arena(thread, main).filter(told)
    {
        note(recorder, thread, entry, range);
    }
    for (base, object) in glibc::heaps(pid) {
        if let Some(range) = glibc::heap_range(pid, object, base)
            && let Some(entry) = recorder.arena(thread, object).filter(told)
        {
            note(recorder, thread, entry, range);
        }
    }
}

/// A block is about to end.
#[inline]
fn released(recorder: &Recorder, thread: &mut Thread, frame: &Frame, block: u64) {
    let object = match glibc_or_foreign(recorder, block) {
        0 => main_or_stand_in(),
        object => object,
    };
    let Some(entry) = recorder.arena(thread, object) else { return };
    if entry.told.load(Relaxed) != thread.epoch {
        on_own_stack(|| tell(recorder, thread, entry, object, block));
    }
    if is_glibc() && block & 15 == 0 {
        let bytes = glibc::usable(block);
        if bytes < ABSURD {
            recorder.capture_before_unmap(thread, block, block.saturating_add(bytes));
        }
    }
    let order = entry.order.fetch_add(1, Relaxed);
    let record = Record::Free { arena: entry.key.load(Relaxed), order, block };
    recorder.note(thread, Some(frame.call()), &record);
}

#[inline]
fn glibc_or_foreign(recorder: &Recorder, block: u64) -> u64 {
    if is_glibc() { glibc::home_of_old(recorder.pid(), block) } else { MallocKind::FOREIGN.0 }
}

const _: () = assert!(COOKIE == 6);

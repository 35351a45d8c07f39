//! Arena functions: arguments noted at entry, the fact recorded when it is one.
//!
//! What changes or ends an arena (free, rewind, reset, destroy) is recorded at entry, before its nested calls; what makes
//! something (create, alloc, resize, mark) at return, when the result is known. A call inside another on the same arena
//! that merely does its work (alloc inside resize, reset inside destroy, `pcalloc` calling `palloc`) is passed over.
#![allow(unsafe_code, reason = "asks whether an enclosing frame of ours is still on the stack")]

use crate::check;
use crate::hooks::{CALL, CALL_WITH_STACK, DONE, PASS};
use crate::precise;
use crate::sampling;
use crate::state::Inside;
use crate::stubs::Frame;
use arenascope_event::CaptureReason;
use arenascope_plan::{Hook, HookKind, Source, SourceKind};
use arenascope_record::{Call, Entered, Record, Recorder, Thread, read_own_memory};
use core::sync::atomic::Ordering::Relaxed;
pub use stash::COOKIE;
use stash::*;

/// Names of the stash words.
mod stash {
    pub const OBJECT: usize = 0;
    pub const SIZE: usize = 1;
    /// Alignment (alloc), old block (resize), parent (create), where the mark is (mark).
    pub const FIRST: usize = 2;
    /// Out parameter of the block (alloc, resize), name (create).
    pub const SECOND: usize = 3;
    /// Out parameter of the arena (create), the arena's next order (alloc, resize, mark).
    pub const THIRD: usize = 4;
    pub const EVENTS: usize = 5;
    pub const COOKIE: usize = 6;
}

/// Longest arena name read from the host, bytes.
pub const NAME_BYTES: usize = 128;

/// The value of an argument at entry.
#[inline]
pub fn value(frame: &Frame, source: Source) -> u64 {
    match source.kind {
        SourceKind::Absent => 0,
        SourceKind::Register => source.narrow(frame.argument(source.index)),
        SourceKind::Stack => source.narrow(frame.stack_word(source.index)),
        SourceKind::Constant => source.value,
        // Only markers have these: `markers::value`.
        SourceKind::General | SourceKind::Memory | SourceKind::Variable => 0,
    }
}

/// The word at `address` in the host; 0 when it cannot be read.
fn word_at(recorder: &Recorder, address: u64) -> u64 {
    let mut bytes = [0u8; 8];
    if address != 0 && read_own_memory(recorder.pid(), address, &mut bytes) == 8 {
        u64::from_le_bytes(bytes)
    } else {
        0
    }
}

/// True when the stub's frame of an open call still stands: calls left by longjmp or an exception leave stale entries.
pub fn stands(call: &Call) -> bool {
    let place = call.stack_pointer.wrapping_sub(8).wrapping_sub(size_of::<Frame>() as u64);
    let cookie = place.wrapping_add(core::mem::offset_of!(Frame, stash) as u64).wrapping_add(8 * COOKIE as u64);
    // SAFETY: the word lies between the present stack pointer and `call.stack_pointer` (open calls lie above the
    // present one: `settle_calls`), so it is part of this thread's mapped stack.
    unsafe { (cookie as *const u64).read_volatile() == call.cookie }
}

/// True when this call only does the work of one that encloses it.
pub fn is_part_of_another(thread: &Thread, kind: HookKind, object: u64) -> bool {
    use HookKind::*;
    thread.open_calls().iter().any(|open| {
        let enclosing = HookKind::from_code(open.role);
        let part = matches!(
            (enclosing, kind),
            (Some(Alloc), Alloc)
                | (Some(Resize), Alloc | Free | Resize)
                | (Some(Create), Create | Reset | Rewind)
                | (Some(Mark), Mark)
                | (Some(Free), Free)
                | (Some(Rewind), Free | Rewind | Reset)
                | (Some(Reset | Destroy), Free | Rewind | Reset | Destroy)
        );
        part && open.object == object && stands(open)
    })
}

/// A role function is entered.
#[inline]
pub fn enter(frame: &mut Frame, hook: &Hook) -> u32 {
    let stack_pointer = frame.entry;
    let Some(mut inside) = Inside::enter(stack_pointer, true) else { return PASS };
    let sources = &hook.sources;
    let object = value(frame, sources.arena);
    let recorder = inside.recorder;
    let thread = inside.thread();
    thread.settle_calls(stack_pointer);
    if !thread.open_calls().is_empty() && is_part_of_another(thread, hook.kind, object) {
        return PASS;
    }
    if sampling::is_on() && !sampling::concerns(recorder, thread, frame, hook, object, size(frame, hook)) {
        return PASS;
    }
    let cookie = thread.next_cookie();
    set(frame, OBJECT, object);
    set(frame, EVENTS, thread.events);
    set(frame, COOKIE, cookie);
    thread.push_call(Call { stack_pointer, object, role: hook.kind as u8, cookie });
    match hook.kind {
        HookKind::Alloc => {
            set(frame, SIZE, size(frame, hook));
            set(frame, FIRST, value(frame, sources.align));
            set(frame, SECOND, value(frame, sources.block_out));
            set(frame, THIRD, recorder.entered(thread, object).order);
        }
        HookKind::Resize => {
            set(frame, SIZE, size(frame, hook));
            set(frame, FIRST, value(frame, sources.block));
            set(frame, SECOND, value(frame, sources.block_out));
            set(frame, THIRD, recorder.entered(thread, object).order);
        }
        HookKind::Create => {
            set(frame, SIZE, size(frame, hook));
            set(frame, FIRST, value(frame, sources.parent));
            set(frame, SECOND, value(frame, sources.name));
            set(frame, THIRD, value(frame, sources.arena_out));
        }
        HookKind::Mark => {
            set(frame, FIRST, value(frame, sources.mark_at));
            set(frame, THIRD, recorder.entered(thread, object).order);
        }
        kind => {
            if check::zones().is_some() {
                check::enter(recorder, thread, frame, hook, object, 0);
                let spans = check::spans(recorder, thread, object);
                ending(recorder, thread, frame, hook, kind, object);
                check::ended(recorder, thread, frame, hook, object, &spans);
            } else {
                frame.check = [0; 5];
                if precise::works() {
                    precise::enter(recorder, thread, frame, hook, object, 0);
                }
                ending(recorder, thread, frame, hook, kind, object);
            }
            return way(hook);
        }
    }
    if check::zones().is_some() {
        let size = get(frame, SIZE);
        check::enter(recorder, thread, frame, hook, object, size);
    } else {
        frame.check = [0; 5];
        if precise::works() {
            let size = get(frame, SIZE);
            precise::enter(recorder, thread, frame, hook, object, size);
        }
    }
    way(hook)
}

/// How the function is called.
#[inline]
fn way(hook: &Hook) -> u32 {
    if hook.stack_arguments { CALL_WITH_STACK } else { CALL }
}

#[inline]
fn set(frame: &mut Frame, index: usize, value: u64) {
    if let Some(place) = frame.stash.get_mut(index) {
        *place = value;
    }
}

#[inline]
fn get(frame: &Frame, index: usize) -> u64 {
    frame.stash.get(index).copied().unwrap_or(0)
}

#[inline]
fn size(frame: &Frame, hook: &Hook) -> u64 {
    let size = value(frame, hook.sources.size);
    if hook.sources.count.is_present() { size.saturating_mul(value(frame, hook.sources.count)) } else { size }
}

/// The arena object of a call.
pub fn object_of(frame: &Frame) -> u64 {
    get(frame, OBJECT)
}

/// The block that a resize was given.
pub fn old_block_of(frame: &Frame) -> u64 {
    get(frame, FIRST)
}

/// The mark that a rewind goes back to.
pub fn mark_of(recorder: &Recorder, frame: &Frame, hook: &Hook) -> u64 {
    let sources = &hook.sources;
    if sources.mark.is_present() {
        value(frame, sources.mark)
    } else {
        word_at(recorder, value(frame, sources.mark_at))
    }
}

/// Free, rewind, reset, destroy: recorded before they happen.
#[cold]
fn ending(recorder: &Recorder, thread: &mut Thread, frame: &Frame, hook: &Hook, kind: HookKind, object: u64) {
    let sources = &hook.sources;
    let Some(entry) = recorder.arena(thread, object) else { return };
    let arena = entry.key.load(Relaxed);
    let call = Some(frame.call());
    match kind {
        HookKind::Free => {
            let block = value(frame, sources.block);
            let order = entry.order.fetch_add(1, Relaxed);
            recorder.freeing(thread, arena, object, order, block);
            recorder.note(thread, call, &Record::Free { arena, order, block });
            if sampling::is_on() {
                recorder.heap().remove(block);
            }
            entry.takes_one_back();
        }
        HookKind::Rewind => {
            let mark = mark_of(recorder, frame, hook);
            if precise::works() || check::zones().is_some() {
                recorder.capture_before_rewind(thread, entry);
            }
            let order = entry.order.fetch_add(1, Relaxed);
            recorder.note(thread, call, &Record::Rewind { arena, order, mark });
            entry.goes_back();
        }
        HookKind::Reset => {
            recorder.capture(thread, entry, CaptureReason::Reset);
            let order = entry.order.fetch_add(1, Relaxed);
            recorder.note(thread, call, &Record::Reset { arena, order });
            sampling::emptied(recorder, entry);
            entry.clear_spans();
            entry.goes_back();
        }
        HookKind::Destroy => {
            recorder.capture(thread, entry, CaptureReason::Destroy);
            let order = entry.order.fetch_add(1, Relaxed);
            recorder.note(thread, call, &Record::Destroy { arena, order });
            sampling::emptied(recorder, entry);
            entry.clear_spans();
        }
        _ => {}
    }
}

/// How things stood when the call of `frame` was entered.
#[inline]
fn entered(frame: &Frame) -> Entered {
    Entered { order: get(frame, THIRD), events: get(frame, EVENTS) }
}

/// A role function has returned. As `hooks::on_exit`.
#[inline]
pub fn exit(frame: &mut Frame, hook: &Hook) -> u32 {
    let Some(mut inside) = Inside::enter(frame.entry, true) else {
        check::put_back(frame);
        precise::leave(frame, None);
        return DONE;
    };
    let recorder = inside.recorder;
    let thread = inside.thread();
    if matches!(hook.kind, HookKind::Alloc | HookKind::Resize) {
        let (object, block) = (get(frame, OBJECT), frame.rax);
        if check::again(recorder, thread, frame, object, block) {
            return way(hook);
        }
    }
    thread.pop_call(frame.entry);
    let handed_out = match hook.kind {
        HookKind::Alloc => {
            let block = if hook.takes_result { frame.rax } else { word_at(recorder, get(frame, SECOND)) };
            let (object, size) = (get(frame, OBJECT), get(frame, SIZE));
            if sampling::is_on() {
                if block == 0 {
                    return DONE;
                }
                if let Some(entry) = recorder.arena(thread, object) {
                    sampling::handed_out(recorder, entry, block, size);
                }
            }
            recorder.alloc(thread, object, block, size, get(frame, FIRST), frame.call(), entered(frame));
            if block != 0 && check::zones().is_some() {
                check::handed_out(recorder, thread, frame, object, block, size);
            } else if block != 0 && precise::works() {
                precise::handed_out(recorder, thread, frame, hook, block, size);
            }
            block != 0
        }
        HookKind::Create => {
            arenascope_record::on_own_stack(|| created(recorder, thread, frame, hook));
            false
        }
        HookKind::Resize | HookKind::Mark => made(recorder, thread, frame, hook),
        HookKind::Free => {
            recorder.freed(thread, get(frame, OBJECT));
            false
        }
        _ => false,
    };
    if !handed_out && !matches!(hook.kind, HookKind::Create | HookKind::Destroy) && check::zones().is_some() {
        check::left(recorder, thread, get(frame, OBJECT));
    }
    precise::leave(frame, Some((recorder, thread)));
    DONE
}

/// Create: recorded when the result is known.
fn created(recorder: &Recorder, thread: &mut Thread, frame: &Frame, hook: &Hook) {
    let call = Some(frame.call());
    let nested = thread.events.wrapping_sub(get(frame, EVENTS));
    let object = if hook.takes_result {
        frame.rax
    } else if hook.sources.arena_out.is_present() {
        word_at(recorder, get(frame, THIRD))
    } else {
        get(frame, OBJECT)
    };
    let global = !hook.takes_result && !hook.sources.arena_out.is_present() && !hook.sources.arena.is_present();
    if object == 0 && !global {
        return;
    }
    let parent = match get(frame, FIRST) {
        0 => None,
        parent => recorder.arena(thread, parent).map(|entry| entry.key.load(Relaxed)),
    };
    let mut name = [0u8; NAME_BYTES];
    let name = match get(frame, SECOND) {
        0 => None,
        address => {
            let got = read_name(recorder, address, &mut name);
            name.get(..got)
        }
    };
    let Some(entry) = recorder.arena(thread, object) else { return };
    if nested == 0 {
        entry.clear_spans();
    }
    let size = hook.sources.size.is_present().then(|| get(frame, SIZE));
    let order = entry.order.fetch_add(1, Relaxed);
    let arena = entry.key.load(Relaxed);
    recorder.note(thread, call, &Record::Create { arena, order, size, parent, name, nested });
    check::created(recorder, frame, entry, size.unwrap_or(0));
}

/// Resize, mark: recorded when the result is known.
#[cold]
fn made(recorder: &Recorder, thread: &mut Thread, frame: &Frame, hook: &Hook) -> bool {
    let call = Some(frame.call());
    match hook.kind {
        HookKind::Resize => {
            let Some(entry) = recorder.arena(thread, get(frame, OBJECT)) else { return false };
            let new = if hook.takes_result { frame.rax } else { word_at(recorder, get(frame, SECOND)) };
            let (old, size) = (get(frame, FIRST), get(frame, SIZE));
            if new != 0 {
                if old != 0 && old != new {
                    recorder.look_at_left(thread, entry, old, size);
                }
                recorder.note_block(entry, new, size);
                if sampling::is_on() {
                    recorder.heap().remove(old);
                    sampling::handed_out(recorder, entry, new, size);
                }
            }
            let order = entry.order.fetch_add(1, Relaxed);
            let arena = entry.key.load(Relaxed);
            recorder.note_overlap(thread, arena, order, entered(frame));
            recorder.note(thread, call, &Record::Resize { arena, order, old, new, size });
            if new != 0 && check::zones().is_some() {
                check::handed_out(recorder, thread, frame, get(frame, OBJECT), new, size);
            } else if new != 0 && precise::works() {
                precise::handed_out(recorder, thread, frame, hook, new, size);
            }
            new != 0
        }
        HookKind::Mark => {
            let Some(entry) = recorder.arena(thread, get(frame, OBJECT)) else { return false };
            let mark = if hook.takes_result { frame.rax } else { word_at(recorder, get(frame, FIRST)) };
            let order = entry.order.fetch_add(1, Relaxed);
            let arena = entry.key.load(Relaxed);
            recorder.note_overlap(thread, arena, order, entered(frame));
            recorder.note(thread, call, &Record::Mark { arena, order, mark });
            check::marked(recorder, entry, mark);
            false
        }
        _ => false,
    }
}

/// `arenascope_mark(name)`: the program names this moment. The bytes of all arenas are saved before it is recorded.
/// The name is a C string, or as long as the hook's size argument says.
#[inline(never)] // Its name would lie on the stack of every hooked call.
pub fn user_mark(frame: &Frame, hook: &Hook) {
    let Some(mut inside) = Inside::enter(frame.entry, true) else { return };
    let recorder = inside.recorder;
    let thread = inside.thread();
    let mut name = [0u8; NAME_BYTES];
    let got = match hook.sources.size.is_present() {
        _ if frame.rdi == 0 => 0,
        true => {
            let size = (value(frame, hook.sources.size) as usize).min(NAME_BYTES);
            name.get_mut(..size).map_or(0, |name| read_own_memory(recorder.pid(), frame.rdi, name))
        }
        false => read_name(recorder, frame.rdi, &mut name),
    };
    crate::own_check::look_at_all(recorder, thread);
    recorder.capture_all(thread, CaptureReason::UserMark);
    recorder.note(thread, Some(frame.call()), &Record::UserMark { name: name.get(..got).unwrap_or(&[]) });
    crate::scan::at_mark();
}

/// Reads a C string as far as it is readable; its length without the NUL.
pub fn read_name(recorder: &Recorder, address: u64, to: &mut [u8; NAME_BYTES]) -> usize {
    let got = read_own_memory(recorder.pid(), address, to);
    let read = to.get(..got).unwrap_or(&[]);
    read.iter().position(|byte| *byte == 0).unwrap_or(read.len())
}

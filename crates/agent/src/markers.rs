//! Markers (`arenascope-mark.h`): an inlined allocator tells what it does, and the fact is recorded as that of a hooked function.
//!
//! A marker has no entry and no return: what it tells is over (create, alloc, resize, mark) or about to be (free, rewind, reset,
//! destroy). So nothing is said of calls that overlap, no redzone can be added, and the arena object and a new block's bytes are not
//! looked at: the compiler may store what belongs there later. A marker inside a hooked function of the same role and arena tells what the
//! function's own event will tell, and is passed over.
//!
//! Relied on: everything but memory of ours is as it was when this returns (the stub saves all registers; nothing here touches the
//! stack below the marker's). Any value of an operand is accepted: memory is read directly only where the thread's own stack or the
//! marker's own module is.
#![allow(unsafe_code, reason = "reads the operands of a marker from the stack and from variables")]

use crate::check;
use crate::roles::{NAME_BYTES, is_part_of_another, read_name};
use crate::state::Inside;
use crate::stubs::Frame;
use arenascope_event::CaptureReason;
use arenascope_plan::{Hook, HookKind, Source, SourceKind};
use arenascope_record::{CallFrame, Dying, Entry, Record, Recorder, Thread, read_own_memory};
use core::sync::atomic::Ordering::Relaxed;

/// The red zone below the stack pointer, bytes (System V ABI for AMD64, 3.2.2).
const RED_ZONE: u64 = 128;
/// Bytes above the stack pointer of a marker in which its function's variables may lie: those further up are read by a system call.
const NEAR: u64 = 2048;

/// The value of an operand when the marker is passed; 0 where memory cannot be read.
fn value(recorder: &Recorder, frame: &Frame, source: Source) -> u64 {
    match source.kind {
        SourceKind::Absent | SourceKind::Register | SourceKind::Stack => 0,
        SourceKind::Constant => source.narrow(source.value),
        SourceKind::General => {
            let raw = frame.general(source.index).wrapping_shr(source.value as u32);
            source.narrow(raw)
        }
        SourceKind::Memory => {
            let place = source.place();
            let register = |number: Option<u8>| number.map_or(0, |number| frame.general(number));
            let scaled = place.index.map_or(0, |(index, scale)| frame.general(index).wrapping_mul(u64::from(scale)));
            let address = register(place.base).wrapping_add(scaled).wrapping_add_signed(i64::from(place.displacement));
            memory(recorder, frame, source, address)
        }
        SourceKind::Variable => memory(recorder, frame, source, source.value),
    }
}

/// The value at `address`.
fn memory(recorder: &Recorder, frame: &Frame, source: Source, address: u64) -> u64 {
    let lowest = frame.general(4).wrapping_sub(RED_ZONE);
    let bytes = usize::from(source.bytes).min(8);
    let near = address.wrapping_sub(lowest) <= RED_ZONE + NEAR - 8 && on_this_page(frame.general(4), address);
    let mut raw = [0u8; 8];
    if source.kind == SourceKind::Variable || near {
        for (place, at) in raw.iter_mut().take(bytes).zip(address..) {
            // SAFETY: a variable lies in the marker's own module, as the launcher has looked up, which is mapped while its code
            // runs. The others lie from the red zone to `NEAR` bytes above the stack pointer and on pages that the stack
            // pointer, or a frame of ours below it, has touched.
            *place = unsafe { (at as *const u8).read_volatile() };
        }
    } else if let Some(place) = raw.get_mut(..bytes)
        && read_own_memory(recorder.pid(), address, place) != bytes
    {
        return 0;
    }
    source.narrow(u64::from_le_bytes(raw))
}

/// True when `address` lies on the page of the stack pointer, or below it.
fn on_this_page(stack_pointer: u64, address: u64) -> bool {
    address.saturating_add(8) <= stack_pointer | 0xfff
}

/// Where the marker stands.
fn call(frame: &Frame, hook: &Hook) -> CallFrame {
    CallFrame { return_address: hook.trampoline, frame_pointer: frame.rbp, stack_pointer: frame.entry }
}

/// A marker is passed.
pub fn passed(frame: &mut Frame, hook: &Hook) {
    let Some(mut inside) = Inside::enter_alone(frame.entry) else { return };
    let recorder = inside.recorder;
    let thread = inside.thread();
    if hook.kind == HookKind::UserMark {
        return arenascope_record::on_own_stack(|| moment(recorder, thread, frame, hook));
    }
    let object = value(recorder, frame, hook.sources.arena);
    thread.settle_calls(frame.entry);
    if !thread.open_calls().is_empty() && is_part_of_another(thread, hook.kind, object) {
        return;
    }
    let Some(entry) = recorder.arena(thread, object) else { return };
    if hook.kind == HookKind::Alloc {
        let sources = &hook.sources;
        let block = value(recorder, frame, sources.block);
        let size = value(recorder, frame, sources.size);
        let align = value(recorder, frame, sources.align);
        if block != 0 {
            recorder.note_block(entry, block, size);
        }
        recorder.alloc_of(thread, entry, block, size, align, call(frame, hook));
        if block != 0
            && let Some(check) = check::zones()
        {
            check.handed_out(recorder, entry, thread, block, size, 0);
        }
        return;
    }
    arenascope_record::on_own_stack(|| rarely(recorder, thread, frame, hook, entry));
}

/// Every role but alloc.
#[cold]
fn rarely(recorder: &Recorder, thread: &mut Thread, frame: &Frame, hook: &Hook, entry: &Entry) {
    let sources = &hook.sources;
    let of = |source: Source| value(recorder, frame, source);
    let arena = entry.key.load(Relaxed);
    let call = Some(call(frame, hook));
    let order = || entry.order.fetch_add(1, Relaxed);
    match hook.kind {
        HookKind::Create => {
            let mut room = [0u8; NAME_BYTES];
            let name = name(recorder, frame, sources.name, sources.count, &mut room);
            let name = Some(name).filter(|name| !name.is_empty());
            let capacity = of(sources.size);
            let size = Some(capacity).filter(|capacity| *capacity != 0);
            let stamp = check::zones().map(|check| check.stamp(recorder));
            entry.clear_spans();
            let order = order();
            recorder.note(thread, call, &Record::Create { arena, order, size, parent: None, name, nested: 0 });
            if let (Some(check), Some(stamp)) = (check::zones(), stamp) {
                check.created(recorder, entry, stamp, capacity);
            }
        }
        HookKind::Resize => {
            let (old, new, size) = (of(sources.block), of(sources.block_out), of(sources.size));
            if new != 0 {
                recorder.note_block(entry, new, size);
            }
            let order = order();
            recorder.note(thread, call, &Record::Resize { arena, order, old, new, size });
            if let (Some(check), true) = (check::zones(), new != 0) {
                if old != 0 {
                    check.entered(recorder, thread, entry, Dying::Block(old));
                }
                check.handed_out(recorder, entry, thread, new, size, 0);
            }
        }
        HookKind::Mark => {
            let mark = of(sources.mark);
            let order = order();
            recorder.note(thread, call, &Record::Mark { arena, order, mark });
            if let Some(check) = check::zones() {
                check.marked(recorder, entry, mark);
            }
        }
        HookKind::Free => {
            let block = of(sources.block);
            dies(recorder, thread, entry, Dying::Block(block), || {
                let order = order();
                (Record::Free { arena, order, block }, call)
            });
            entry.takes_one_back();
        }
        HookKind::Rewind => {
            let mark = of(sources.mark);
            dies(recorder, thread, entry, Dying::Since(mark), || {
                let order = order();
                (Record::Rewind { arena, order, mark }, call)
            });
            entry.goes_back();
        }
        HookKind::Reset => {
            recorder.capture(thread, entry, CaptureReason::Reset);
            dies(recorder, thread, entry, Dying::All, || {
                let order = order();
                (Record::Reset { arena, order }, call)
            });
            entry.clear_spans();
            entry.goes_back();
        }
        HookKind::Destroy => {
            recorder.capture(thread, entry, CaptureReason::Destroy);
            dies(recorder, thread, entry, Dying::All, || {
                let order = order();
                (Record::Destroy { arena, order }, call)
            });
            entry.clear_spans();
        }
        _ => {}
    }
}

/// Records the end of blocks. In check mode, zones that hooked functions have put behind them are looked at before and forgotten after.
fn dies(
    recorder: &Recorder,
    thread: &mut Thread,
    entry: &Entry,
    dying: Dying,
    record: impl FnOnce() -> (Record<'static>, Option<CallFrame>),
) {
    let Some(check) = check::zones() else {
        let (record, call) = record();
        recorder.note(thread, call, &record);
        return;
    };
    check.entered(recorder, thread, entry, dying);
    let mut spans: check::Spans = [(0, 0); 8];
    spans.iter_mut().zip(entry.spans()).for_each(|(place, span)| *place = span);
    let (record, call) = record();
    recorder.note(thread, call, &record);
    if !matches!(dying, Dying::Block(_)) {
        check.ended(recorder, entry, dying, false, &spans);
    }
}

/// The program names this moment. The bytes of all arenas are saved before it is recorded.
fn moment(recorder: &Recorder, thread: &mut Thread, frame: &Frame, hook: &Hook) {
    let mut room = [0u8; NAME_BYTES];
    let name = name(recorder, frame, hook.sources.name, hook.sources.count, &mut room);
    recorder.capture_all(thread, CaptureReason::UserMark);
    recorder.note(thread, Some(call(frame, hook)), &Record::UserMark { name });
    crate::scan::at_mark();
}

/// A name: a C string, or as long as `length` says.
fn name<'a>(
    recorder: &Recorder,
    frame: &Frame,
    at: Source,
    length: Source,
    room: &'a mut [u8; NAME_BYTES],
) -> &'a [u8] {
    let address = value(recorder, frame, at);
    let got = match length.is_present() {
        _ if address == 0 => 0,
        true => {
            let length = (value(recorder, frame, length) as usize).min(NAME_BYTES);
            room.get_mut(..length).map_or(0, |place| read_own_memory(recorder.pid(), address, place))
        }
        false => read_name(recorder, address, room),
    };
    room.get(..got).unwrap_or(&[])
}

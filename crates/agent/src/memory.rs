//! The host's own memory calls: mappings, and malloc blocks large enough to be an arena's memory.
//!
//! They give arenas their bounds and, where no role ends them, their end. A mapping or block that goes away is captured
//! first as far as arenas have blocks there.

use crate::check;
use crate::state::Inside;
use crate::stubs::Frame;
use arenascope_plan::HookKind;
use arenascope_record::Record;

/// MAP_FIXED (include/uapi/asm-generic/mman-common.h).
const MAP_FIXED: u64 = 0x10;
const PAGE: u64 = 4096;

fn pages(bytes: u64) -> u64 {
    bytes.checked_next_multiple_of(PAGE).unwrap_or(bytes)
}

/// A memory function is entered. Keeps its arguments, captures what is about to go.
pub fn enter(frame: &mut Frame, kind: HookKind) -> u32 {
    frame.stash = [frame.rdi, frame.rsi, frame.rdx, frame.rcx, frame.r8, frame.r9, 0];
    let [first, second, ..] = frame.stash;
    match kind {
        HookKind::Munmap => {
            if let Some(mut inside) = Inside::enter(frame.entry, false) {
                let recorder = inside.recorder;
                recorder.memory_went();
                let end = first.saturating_add(pages(second));
                check::range_goes(recorder, inside.thread(), first, end);
                recorder.capture_before_unmap(inside.thread(), first, end);
            }
            // From here on another thread may be given the range: the end is told as of this moment.
            set_last(frame, arenascope_record::ticks());
        }
        HookKind::Mmap if frame.rcx & MAP_FIXED != 0 => {
            if let Some(mut inside) = Inside::enter(frame.entry, false) {
                let recorder = inside.recorder;
                recorder.memory_went();
                let end = first.saturating_add(pages(second));
                check::range_goes(recorder, inside.thread(), first, end);
                recorder.capture_before_unmap(inside.thread(), first, end);
            }
        }
        HookKind::Mremap => {
            if let Some(mut inside) = Inside::enter(frame.entry, false) {
                let recorder = inside.recorder;
                check::range_goes(recorder, inside.thread(), first, first.saturating_add(pages(second)));
            }
        }
        HookKind::Realloc if first != 0 => {
            let size = heap_free_at(frame, first);
            set_last(frame, size);
        }
        _ => {}
    }
    // None of these functions has more than six arguments.
    crate::hooks::CALL
}

/// Keeps a word from entry to return.
fn set_last(frame: &mut Frame, value: u64) {
    let [.., last] = &mut frame.stash;
    *last = value;
}

/// True for a pointer or length, false for `-errno` and MAP_FAILED.
fn succeeded(result: u64) -> bool {
    result < u64::MAX - 4095
}

/// A memory function has returned.
pub fn exit(frame: &mut Frame, kind: HookKind) {
    let [first, second, third, fourth, _, _, last] = frame.stash;
    let result = frame.rax;
    match kind {
        HookKind::Mmap if succeeded(result) => {
            let Some(mut inside) = Inside::enter(frame.entry, false) else { return };
            let recorder = inside.recorder;
            let thread = inside.thread();
            let len = pages(second);
            if fourth & MAP_FIXED != 0 {
                recorder.note(thread, None, &Record::Unmap { address: result, len });
            }
            let (protection, flags) = (third as u32, fourth as u32);
            let record = Record::Map { address: result, len, protection, flags, observed: false };
            recorder.note(thread, Some(frame.call()), &record);
        }
        HookKind::Munmap if result as u32 == 0 => {
            let Some(mut inside) = Inside::enter(frame.entry, false) else { return };
            let recorder = inside.recorder;
            let record = Record::Unmap { address: first, len: pages(second) };
            recorder.note_at(inside.thread(), last, frame.call(), &record);
        }
        HookKind::Mremap if succeeded(result) => {
            let Some(mut inside) = Inside::enter(frame.entry, false) else { return };
            let recorder = inside.recorder;
            recorder.memory_went();
            let record = Record::Remap { old: first, old_len: pages(second), new: result, new_len: pages(third) };
            recorder.note(inside.thread(), Some(frame.call()), &record);
            if result != first {
                for entry in recorder.arenas().all() {
                    entry.drop_spans(first, first.saturating_add(pages(second)));
                }
            }
        }
        HookKind::Malloc => heap_alloc(frame, result, first),
        HookKind::Calloc => heap_alloc(frame, result, first.saturating_mul(second)),
        // A realloc that failed has freed nothing: the block is there again.
        HookKind::Realloc if result == 0 && second != 0 && last != 0 => {
            heap_alloc(frame, first, last);
        }
        HookKind::Realloc | HookKind::Memalign => heap_alloc(frame, result, second),
        HookKind::PosixMemalign if result as u32 == 0 && first != 0 => {
            let mut bytes = [0u8; 8];
            let pid = crate::state::recorder().map_or(0, |recorder| recorder.pid());
            if arenascope_record::read_own_memory(pid, first, &mut bytes) == 8 {
                heap_alloc(frame, u64::from_le_bytes(bytes), third);
            }
        }
        _ => {}
    }
}

fn heap_alloc(frame: &Frame, address: u64, size: u64) {
    if address == 0 {
        return;
    }
    let Some(mut inside) = Inside::enter(frame.entry, false) else { return };
    let recorder = inside.recorder;
    if !recorder.heap().wants(size) {
        if size >= arenascope_record::SMALL_BYTES {
            recorder.skipped_heap();
        }
    } else if recorder.heap().insert(address, size) {
        recorder.note(inside.thread(), Some(frame.call()), &Record::HeapAlloc { address, size });
    } else {
        // Its end will not be seen whole.
        if let Some(check) = check::zones() {
            check.give_up(recorder);
        }
        recorder.skipped_heap();
    }
}

/// `free` is entered.
pub fn heap_free(frame: &Frame) {
    // What the C library frees when a thread's end has been told is its own.
    if frame.rdi != 0 && !crate::stubs::thread_over() {
        heap_free_at(frame, frame.rdi);
    }
}

/// The block's size, 0 when it was not recorded.
fn heap_free_at(frame: &Frame, address: u64) -> u64 {
    let Some(mut inside) = Inside::enter(frame.entry, false) else { return 0 };
    let recorder = inside.recorder;
    let size = recorder.heap().remove(address);
    let thread = inside.thread();
    // A block that was not recorded is smaller than what always is.
    let unrecorded = arenascope_record::LARGE_BYTES;
    check::range_goes(recorder, thread, address, address.saturating_add(size.unwrap_or(unrecorded)));
    let Some(size) = size else { return 0 };
    recorder.capture_before_unmap(thread, address, address.saturating_add(size));
    recorder.note(thread, Some(frame.call()), &Record::HeapFree { address });
    size
}

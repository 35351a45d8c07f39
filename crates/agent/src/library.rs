//! The arena library in the watched program: it is given an observer of ours, and its events go to the recorder.
//!
//! May be relied on: nothing of the library is patched; one word of it is set, and set before the program starts, or before a
//! library that dlopen brought has made its first arena. Absent on purpose: what becomes of an event (`record::observed`), and how the
//! library is found (the launcher reads its note).
#![allow(unsafe_code, reason = "stores into the library's word, and reads the event it lends")]

use crate::own_check;
use crate::state::Inside;
use crate::stubs;
use arenascope_plan::{Library, name_fits};
use arenascope_record::{CallFrame, CheckRequest, LibraryEvent, OBSERVER_VERSION, ObserverTable, draw, sample_bytes};
use core::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::Release};

static TABLE: ObserverTable = table(None);

/// In check mode.
static CHECKING: ObserverTable = table(Some(own_check::on_create));

const fn table(check: Option<unsafe extern "C" fn(u64, *mut CheckRequest)>) -> ObserverTable {
    ObserverTable {
        version: OBSERVER_VERSION,
        table_bytes: size_of::<ObserverTable>() as u32,
        context: 0,
        event: stubs::ascope_library_event,
        sample_bytes: AtomicUsize::new(0),
        next_sample: Some(next_sample),
        check,
    }
}

/// Draws the distance between two samples.
unsafe extern "C" fn next_sample(_: u64, _: u64) -> usize {
    draw() as usize
}

/// Longest pattern of names, bytes.
const PATTERN_BYTES: usize = 256;

/// A pattern of names, written once.
struct Pattern {
    words: [AtomicU64; PATTERN_BYTES / 8],
    used: AtomicU64,
}

impl Pattern {
    const fn new() -> Pattern {
        Pattern { words: [const { AtomicU64::new(0) }; PATTERN_BYTES / 8], used: AtomicU64::new(0) }
    }

    fn set(&self, pattern: &[u8]) {
        if pattern.len() > PATTERN_BYTES {
            return;
        }
        for (word, bytes) in self.words.iter().zip(pattern.chunks(8)) {
            let mut whole = [0u8; 8];
            for (to, from) in whole.iter_mut().zip(bytes) {
                *to = *from;
            }
            word.store(u64::from_le_bytes(whole), Relaxed);
        }
        self.used.store(pattern.len() as u64, Relaxed);
    }

    fn is_set(&self) -> bool {
        self.used.load(Relaxed) != 0
    }

    fn matches(&self, name: &[u8]) -> bool {
        let at = |index: usize| {
            let word = self.words.get(index / 8).map_or(0, |word| word.load(Relaxed));
            (word >> (8 * (index % 8))) as u8
        };
        name_fits(self.used.load(Relaxed) as usize, at, name)
    }
}

static ONLY: Pattern = Pattern::new();
static GUARDS: Pattern = Pattern::new();

/// Only arenas whose names match are watched, and those that have none. Once, at the start; one that is too long is not heeded.
pub fn set_only(pattern: &[u8]) {
    ONLY.set(pattern);
}

/// In check mode, blocks of arenas whose names match end at guard pages. Once, at the start.
pub fn set_guards(pattern: &[u8]) {
    GUARDS.set(pattern);
}

/// True when blocks of an arena of this name are to end at guard pages.
pub fn wants_guards(name: &[u8]) -> bool {
    GUARDS.is_set() && GUARDS.matches(name)
}

/// Gives a copy of the library our observer, unless the program has one of its own.
pub fn watch(library: &Library) {
    // The first version's samples are not ours: a fixed way ahead, and biased where arenas go back.
    let least = if sample_bytes() > 0 { 2 } else { 1 };
    if library.version < least || !library.observer.is_multiple_of(8) {
        return;
    }
    // SAFETY: the launcher found the word by the note of a module that is mapped: the library's own pointer to the process's
    // observer, an atomic in writable memory (`arenascope::probe::EVERYONE`).
    let word = unsafe { AtomicPtr::<ObserverTable>::from_ptr(library.observer as *mut *mut ObserverTable) };
    TABLE.sample_bytes.store(sample_bytes() as usize, Relaxed);
    let table = if own_check::apart().is_some() { &CHECKING } else { &TABLE };
    let ours = core::ptr::from_ref(table).cast_mut();
    let _ = word.compare_exchange(core::ptr::null_mut(), ours, Release, Relaxed);
}

/// The library tells of an event. `stack_pointer` is the address of the return address, `frame_pointer` the caller's.
///
/// # Safety
/// Called by the stub alone, with what the library gave it and the registers at its entry.
pub unsafe extern "C" fn on_event(_: u64, event: *const LibraryEvent, stack_pointer: u64, frame_pointer: u64) {
    // SAFETY: the library lends a valid event for the length of the call (`arenascope::Observer::event`), and versions only
    // add fields at its end.
    let Some(event) = (unsafe { event.as_ref() }) else { return };
    if (event.event_bytes as usize) < size_of::<LibraryEvent>() {
        return;
    }
    let Some(mut inside) = Inside::enter_alone(stack_pointer) else { return };
    // SAFETY: the stub passes its own stack pointer at entry, where the return address lies.
    let return_address = unsafe { (stack_pointer as *const u64).read() };
    let call = CallFrame { return_address, frame_pointer, stack_pointer };
    let recorder = inside.recorder;
    recorder.observed(inside.thread(), event, call, is_wanted);
}

/// True when an arena of this name is to be watched.
pub fn is_wanted(name: &[u8]) -> bool {
    name.is_empty() || !ONLY.is_set() || ONLY.matches(name)
}

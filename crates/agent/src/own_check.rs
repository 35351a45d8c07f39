//! Check mode of the arena library's own arenas: the library asks where blocks are to lie, and we answer.
//!
//! May be relied on: an allocation costs no system call and no look at the thread's state, but for a new plot; what is found becomes
//! records of the thread that asked. Absent on purpose: where blocks are put, and what is looked at (`record::Apart`).
#![allow(unsafe_code, reason = "answers the library's questions, whose memory it lends for a call")]

use crate::library;
use crate::state::Inside;
use arenascope_event::{BlockFate, BoundsKind, Checking};
use arenascope_record::check_kind as ask;
use arenascope_record::{Apart, CheckRequest, Closing, Fate, OfArena, Record, Recorder, Thread, Told, checked_header};
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};

/// Blocks not checked, as far as they are counted in the trace.
static COUNTED: AtomicU64 = AtomicU64::new(0);
static APART: AtomicPtr<Apart> = AtomicPtr::new(core::ptr::null_mut());

/// `arenascope::EventKind` of the end of an arena.
const DESTROY: u64 = arenascope_record::library_kind::DESTROY as u64;

/// Begins it. Once, at the start.
pub fn set(apart: &'static Apart) {
    APART.store(core::ptr::from_ref(apart).cast_mut(), Release);
}

/// The memory apart, in check mode.
pub fn apart() -> Option<&'static Apart> {
    // SAFETY: null, or the reference that `set` stored, which lives as long as the process.
    unsafe { APART.load(Acquire).as_ref() }
}

/// Writes down what is told; nothing while this thread is inside the recorder already.
fn tell(recorder: &Recorder, thread: &mut Thread, told: &Told) {
    let key = |thread: &mut Thread, header| recorder.arena(thread, header).map(|entry| entry.key.load(Relaxed));
    match *told {
        Told::Found(ref found) => {
            let Some(arena) = key(thread, found.header) else { return };
            let record = Record::Damage {
                arena,
                block: found.block,
                size: found.size,
                zone: found.zone,
                address: found.address,
                expected: found.expected,
                found: found.bytes.get(..found.len).unwrap_or(&[]),
                end: found.end,
                since: 0,
                ended: found.ended,
            };
            recorder.note(thread, None, &record);
        }
        Told::Plot { header, start: base, bytes, again } => {
            let Some(arena) = key(thread, header) else { return };
            let kind = if again { BoundsKind::PlotAgain } else { BoundsKind::Plot };
            let record = Record::Bounds { arena, base, capacity: bytes, reserved: bytes, kind };
            recorder.note(thread, None, &record);
        }
        Told::NoGuard { header, quiet } => {
            let Some(arena) = key(thread, header) else { return };
            let how = if quiet { Checking::Quiet } else { Checking::Locked };
            recorder.note(thread, None, &Record::Checked { arena, how });
        }
    }
}

/// Blocks that are not checked and were not counted yet are counted in the trace.
#[cold]
fn count_unchecked(apart: &Apart) {
    let here = 0u64;
    if let Some(inside) = Inside::enter(core::ptr::from_ref(&here) as u64, false) {
        count_into(inside.recorder, apart);
    }
}

fn count_into(recorder: &Recorder, apart: &Apart) {
    let blocks = apart.unchecked();
    let counted = COUNTED.fetch_max(blocks, Relaxed);
    (counted..blocks).for_each(|_| recorder.unchecked());
}

/// As [`tell`], from outside of the recorder.
fn tell_from_outside(told: &Told) {
    let here = 0u64;
    if let Some(mut inside) = Inside::enter(core::ptr::from_ref(&here) as u64, true) {
        let recorder = inside.recorder;
        tell(recorder, inside.thread(), told);
    }
}

/// The order of the arena's next event.
fn next_order(header: u64) -> u64 {
    let here = 0u64;
    let Some(mut inside) = Inside::enter(core::ptr::from_ref(&here) as u64, false) else { return 0 };
    let recorder = inside.recorder;
    recorder.arena(inside.thread(), header).map_or(0, |entry| entry.order.load(Relaxed))
}

/// The library asks who checks an arena that is new. Its creation has been told.
///
/// # Safety
/// Called by the library alone, as `arenascope::Observer::check` says.
pub unsafe extern "C" fn on_create(_: u64, request: *mut CheckRequest) {
    // SAFETY: the library lends a valid request for the length of the call, and versions only add fields at its end.
    let Some(request) = (unsafe { request.as_mut() }) else { return };
    let (Some(apart), true) = (apart(), request.kind == ask::CREATE) else { return };
    // SAFETY: the arena of the request is a living header of the calling thread's (`arenascope::CheckRequest`).
    let Some((base, id, name)) = (unsafe { checked_header(request.arena) }) else { return };
    let here = 0u64;
    let Some(mut inside) = Inside::enter(core::ptr::from_ref(&here) as u64, false) else { return };
    if !library::is_wanted(name) {
        return;
    }
    let recorder = inside.recorder;
    let wants_guards = library::wants_guards(name);
    let has_guards = apart.closing() == Some(Closing::Guards);
    let how = if request.size != 0 {
        Checking::Bound
    } else {
        let facts = [request.arena, base, id];
        request.checker = apart.create(on_request as *const () as usize, facts, wants_guards && has_guards) as u64;
        match (request.checker, wants_guards, has_guards) {
            (0, ..) => Checking::NoRoom,
            (_, true, true) => Checking::Guards,
            (_, true, false) => Checking::NoGuards,
            (_, false, _) => Checking::Canaries,
        }
    };
    let Some(entry) = recorder.arena(inside.thread(), request.arena) else { return };
    let arena = entry.key.load(Relaxed);
    recorder.note(inside.thread(), None, &Record::Checked { arena, how });
}

/// A checked arena asks.
///
/// # Safety
/// Called by the library alone, as `arenascope::Checker::check` says: `of` is what `on_create` answered, and the arena has not ended.
pub unsafe extern "C" fn on_request(of: *mut OfArena, request: *mut CheckRequest) {
    // SAFETY: as in `on_create`; `of` is what was answered there, and the calling thread holds the arena.
    unsafe {
        let (apart, request) = (Apart::of(of), &mut *request);
        if request.kind == ask::ALLOC {
            request.block = apart.alloc(of, request.place, request.size, request.align, &mut tell_from_outside);
            if request.block == 0 {
                count_unchecked(apart);
            }
        } else {
            answer(apart, of, request);
        }
    }
}

/// All but the most frequent question.
///
/// # Safety
/// As `on_request`.
#[cold]
unsafe fn answer(apart: &Apart, of: *mut OfArena, request: &mut CheckRequest) {
    let sink = &mut tell_from_outside;
    // SAFETY: the contract.
    unsafe {
        match request.kind {
            ask::PLACE => request.place = apart.place_of(request.block),
            ask::INSIDE => request.place = apart.inside(of, request.block),
            ask::FREE => {
                request.place = apart.free(of, request.block, next_order(request.arena), sink);
                if apart.had_none(of, request.block) {
                    tell_no_block(request.arena, request.block);
                }
            }
            ask::RESIZE => {
                let order = next_order(request.arena);
                let (old, place) = (request.old_block, request.place);
                request.block = apart.resize(of, old, place, request.size, request.align, order, sink);
                if request.block == place {
                    count_unchecked(apart);
                }
            }
            ask::BACK => apart.back(of, request.place, next_order(request.arena), sink),
            ask::LOOK => apart.look(of, request.size == DESTROY, sink),
            // Their events have been told.
            ask::RESET => apart.reset(of, next_order(request.arena).saturating_sub(1)),
            ask::DESTROY => apart.destroy(of, next_order(request.arena).saturating_sub(1)),
            ask::SHOW => apart.show(of),
            _ => {}
        }
    }
}

/// The program gives back what is no block of this arena's, and never was one.
#[cold]
fn tell_no_block(header: u64, address: u64) {
    let here = 0u64;
    let Some(mut inside) = Inside::enter(core::ptr::from_ref(&here) as u64, true) else { return };
    let recorder = inside.recorder;
    if let Some(entry) = recorder.arena(inside.thread(), header) {
        recorder.note(inside.thread(), None, &Record::NoBlock { arena: entry.key.load(Relaxed), address });
    }
}

/// Looks at everything: at a mark, and when the process ends.
pub fn look_at_all(recorder: &Recorder, thread: &mut Thread) {
    if let Some(apart) = apart() {
        apart.look_at_all(&mut |told| tell(recorder, thread, told));
        // Also what could not be closed when its blocks were dead.
        count_into(recorder, apart);
    }
}

/// A fault at `address` is about to be told: says what lies there, if it is memory of ours.
pub fn touched(recorder: &Recorder, thread: &mut Thread, address: u64) {
    let Some(touched) = apart().filter(|apart| apart.holds(address)).and_then(|apart| apart.touched(address)) else {
        return;
    };
    let Some(entry) = recorder.arena(thread, touched.header) else { return };
    let fate = match touched.fate {
        Fate::Lives => BlockFate::Lives,
        Fate::Freed => BlockFate::Freed,
        Fate::Rewound => BlockFate::Rewound,
        Fate::Reset => BlockFate::Reset,
        Fate::Moved => BlockFate::Moved,
        Fate::Destroyed => BlockFate::Destroyed,
        Fate::Outgrown => BlockFate::Outgrown,
    };
    let record = Record::Touched {
        arena: entry.key.load(Relaxed),
        block: touched.block,
        size: touched.size,
        at: touched.at,
        fate,
        ended: (fate != BlockFate::Lives).then_some(touched.ended),
    };
    recorder.note(thread, None, &record);
}

/// In a forked child.
pub fn only_this_thread() {
    if let Some(apart) = apart() {
        apart.only_this_thread();
    }
}

//! The library tells of an event: which thread it is, and whether its recorder may be entered.
//!
//! May be relied on: no lock, and no system call but at a thread's first event; a forked child writes nothing, and its arenas go back
//! to full speed. When [`stop`] has returned true no thread writes into the trace, nor will.
//!
//! A thread that enters marks itself as inside and then looks whether recording goes on; who ends recording says so and then looks who
//! is inside. Between the two on each side stands what keeps their order: on the ending side a memory barrier in every thread
//! (membarrier(2)), so that the entering side needs none.
#![allow(
    unsafe_code,
    reason = "one place for each thread, which only this thread uses; the stub that takes the registers"
)]

use super::library::{self, Table};
use crate::observed::LibraryEvent;
use crate::recorder::Recorder;
use crate::sites::CallFrame;
use crate::thread::Thread;
use core::cell::Cell;
use core::sync::atomic::{
    AtomicPtr, AtomicU32, AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release, Ordering::SeqCst,
    compiler_fence,
};
use std::time::{Duration, Instant};

/// The observer of all arenas while this process records itself.
pub(super) static TABLE: Table = Table::telling(ascope_inside_event);

static RECORDER: AtomicPtr<Recorder> = AtomicPtr::new(core::ptr::null_mut());
/// Counts recordings: which one a thread's place is of.
static RECORDING: AtomicU64 = AtomicU64::new(0);
/// The key whose destructor tells that a thread ends, plus one; 0: none.
static KEY: AtomicU32 = AtomicU32::new(0);

/// Threads whose being inside is known; others could not be waited for, and there are none (`recorder::THREADS`).
const THREADS: usize = 2048;
/// 1 while the thread with this writer's number is inside the recorder.
static INSIDE: [AtomicU32; THREADS] = [const { AtomicU32::new(0) }; THREADS];

/// Longest wait for threads that are inside. One that left the recorder by a longjmp out of a signal handler never says so.
const PATIENCE: Duration = Duration::from_millis(500);

#[derive(Clone, Copy)]
struct Mine {
    thread: *mut Thread,
    recording: u64,
}

std::thread_local! {
    /// No destructor: registering one may allocate.
    static MINE: Cell<Mine> = const { Cell::new(Mine { thread: core::ptr::null_mut(), recording: 0 }) };
}

/// What the library calls: passes on where the call came from.
#[unsafe(naked)]
unsafe extern "C" fn ascope_inside_event(context: u64, event: *const LibraryEvent) {
    core::arch::naked_asm!("mov rdx, rsp", "mov rcx, rbp", "jmp {on_event}", on_event = sym on_event)
}

/// The library tells of an event. `stack_pointer` is the address of the return address, `frame_pointer` the caller's.
unsafe extern "C" fn on_event(_: u64, event: *const LibraryEvent, stack_pointer: u64, frame_pointer: u64) {
    // SAFETY: the library lends a valid event for the length of the call (`arenascope::Observer::event`), and versions only add
    // fields at its end.
    let Some(event) = (unsafe { event.as_ref() }) else { return };
    if (event.event_bytes as usize) < size_of::<LibraryEvent>() {
        return;
    }
    // SAFETY: the stub passes its own stack pointer at entry, where the return address lies.
    let return_address = unsafe { (stack_pointer as *const u64).read() };
    let call = CallFrame { return_address, frame_pointer, stack_pointer };
    with_thread(stack_pointer, |recorder, thread| recorder.observed(thread, event, call, |_| true));
}

/// Lets `work` have the calling thread's place in the recorder, if this process records and the thread is not inside already.
#[inline]
pub(super) fn with_thread(stack_pointer: u64, work: impl FnOnce(&'static Recorder, &mut Thread)) {
    // SAFETY: null, or what `begin` stored: a recorder, which is never dropped.
    let Some(recorder) = (unsafe { RECORDER.load(Acquire).as_ref() }) else { return };
    if !recorder.alive() {
        in_a_child();
        return;
    }
    let mut mine = MINE.get();
    if mine.recording != RECORDING.load(Relaxed) {
        let Some(fresh) = place_in(recorder) else { return };
        mine = fresh;
    }
    // SAFETY: this thread's own place (`place_in`); `busy` keeps its own signal handlers out while it is lent.
    let Some(thread) = (unsafe { mine.thread.as_mut() }) else { return };
    if thread.busy != 0 && !left_behind(thread, stack_pointer) {
        recorder.lost_reentered();
        return;
    }
    thread.busy = stack_pointer.max(1);
    let inside = INSIDE.get(thread.writer_number() as usize);
    if let Some(inside) = inside {
        inside.store(1, Relaxed);
        compiler_fence(SeqCst);
        // See the head.
        if core::ptr::eq(RECORDER.load(Relaxed), recorder) {
            work(recorder, thread);
        }
        inside.store(0, Release);
    }
    thread.busy = 0;
}

/// True when whoever set `busy` is gone: a signal handler interrupted it and left by longjmp to a frame further up the same stack. A
/// record may have been cut off.
#[cold]
fn left_behind(thread: &mut Thread, stack_pointer: u64) -> bool {
    let distance = stack_pointer.wrapping_sub(thread.busy);
    if distance == 0 || distance > 8 << 20 {
        return false;
    }
    thread.abandon_segment();
    true
}

/// Gives the calling thread a place.
#[cold]
fn place_in(recorder: &'static Recorder) -> Option<Mine> {
    // A signal handler that comes meanwhile finds a place that is none, and is lost; counted here once the place is there would be too
    // late, so it is not counted.
    let recording = RECORDING.load(Relaxed);
    MINE.set(Mine { thread: core::ptr::null_mut(), recording });
    let thread: *mut Thread = match recorder.thread_begin(0) {
        Some(thread) => thread,
        None => core::ptr::null_mut(),
    };
    let mine = Mine { thread, recording };
    MINE.set(mine);
    if let Some(key) = KEY.load(Relaxed).checked_sub(1) {
        // SAFETY: the key exists. Any value but null makes its destructor run.
        unsafe { libc::pthread_setspecific(key, thread.cast()) };
    }
    (!thread.is_null()).then_some(mine)
}

/// Runs in a dying thread, after the destructors of its thread locals.
unsafe extern "C" fn thread_ends(_: *mut core::ffi::c_void) {
    let mut ended = core::ptr::null_mut();
    let here = 0u64;
    with_thread(core::ptr::from_ref(&here) as u64, |recorder, thread| {
        ended = thread;
        MINE.set(Mine { thread: core::ptr::null_mut(), recording: 0 });
        // SAFETY: the thread's own place, which from here on nobody reaches through it any more: the pointer above is only compared.
        let thread: &'static mut Thread = unsafe { &mut *core::ptr::from_mut(thread) };
        recorder.thread_end(thread);
    });
}

/// The first event in a forked child: the trace is not mapped there, and not its own.
#[cold]
fn in_a_child() {
    RECORDER.store(core::ptr::null_mut(), SeqCst);
    library::unwatch_here(&TABLE);
}

/// From now on events go to `recorder`. One thread at a time.
pub(super) fn begin(recorder: &'static Recorder) {
    if KEY.load(Relaxed) == 0 {
        let mut key: libc::pthread_key_t = 0;
        // SAFETY: `key` is a valid place; the destructor has the required signature.
        if unsafe { libc::pthread_key_create(&mut key, Some(thread_ends)) } == 0 {
            KEY.store(key.saturating_add(1), Relaxed);
        }
    }
    // MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED.
    membarrier(16);
    RECORDING.fetch_add(1, Relaxed);
    RECORDER.store(core::ptr::from_ref(recorder).cast_mut(), Release);
}

/// From now on events go nowhere. True when no thread is inside any more.
pub(super) fn stop() -> bool {
    RECORDER.store(core::ptr::null_mut(), SeqCst);
    // MEMBARRIER_CMD_PRIVATE_EXPEDITED.
    if !membarrier(8) {
        return false;
    }
    let since = Instant::now();
    while INSIDE.iter().any(|inside| inside.load(Acquire) != 0) {
        if since.elapsed() > PATIENCE {
            return false;
        }
        std::thread::yield_now();
    }
    true
}

fn membarrier(command: i32) -> bool {
    // SAFETY: membarrier(command, flags, cpu) touches no memory of ours.
    unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
}

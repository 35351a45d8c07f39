//! What the whole agent shares: the recorder, the hook table, the way back to the launcher.
//!
//! Written once at the start, before the program has run; hooks are only ever appended.
#![allow(unsafe_code, reason = "process-wide pointers set once")]

use crate::stubs::{set_thread_word, thread_word};
use arenascope_plan::{HOOKS, Hook};
use arenascope_record::{Recorder, Thread, Zeroed};
use core::mem::MaybeUninit;
use core::sync::atomic::{
    AtomicPtr, AtomicU32, Ordering::Acquire, Ordering::Relaxed, Ordering::Release, Ordering::SeqCst, compiler_fence,
};

/// A row of the hook table.
pub struct HookRow(MaybeUninit<Hook>);

// SAFETY: uninitialised memory may hold zeros; rows are read only below `HOOK_COUNT`.
unsafe impl Zeroed for HookRow {}

static RECORDER: AtomicPtr<Recorder> = AtomicPtr::new(core::ptr::null_mut());
static TABLE: AtomicPtr<HookRow> = AtomicPtr::new(core::ptr::null_mut());
static HOOK_COUNT: AtomicU32 = AtomicU32::new(0);
static THREAD_KEY: AtomicU32 = AtomicU32::new(u32::MAX);

/// Sets the recorder. Once, at the start.
pub fn set_recorder(recorder: &'static Recorder) {
    RECORDER.store(core::ptr::from_ref(recorder).cast_mut(), Release);
}

/// The recorder, if this process has one.
#[inline]
pub fn recorder() -> Option<&'static Recorder> {
    // SAFETY: null, or the reference that `set_recorder` stored, which lives as long as the process.
    unsafe { RECORDER.load(Relaxed).as_ref() }
}

/// Sets the room for hooks. Once, at the start.
pub fn set_table(rows: &'static mut [HookRow]) {
    if rows.len() >= HOOKS {
        TABLE.store(rows.as_mut_ptr(), Relaxed);
    }
}

/// Appends a hook; its number, or `None` when the table is full. Called by one thread at a time: at the start, and then
/// inside dlopen, which the dynamic linker serialises.
pub fn add_hook(hook: Hook) -> Option<u32> {
    let number = HOOK_COUNT.load(Relaxed);
    let table = TABLE.load(Relaxed);
    if table.is_null() || number as usize >= HOOKS {
        return None;
    }
    // SAFETY: number < HOOKS, the length of the table (`set_table`); rows from `number` on are not read yet.
    unsafe { (*table.add(number as usize)).0.write(hook) };
    // Release: pairs with the Acquire in `hook`; a thunk that passes this number runs only after its hook is written.
    HOOK_COUNT.store(number.wrapping_add(1), Release);
    Some(number)
}

/// The number the next hook will get.
pub fn next_hook() -> u32 {
    HOOK_COUNT.load(Relaxed)
}

/// The hook with this number.
#[inline]
pub fn hook(number: u64) -> Option<&'static Hook> {
    if number >= u64::from(HOOK_COUNT.load(Acquire)) {
        return None;
    }
    // SAFETY: rows below HOOK_COUNT were written before it was raised (`add_hook`) and never change.
    Some(unsafe { (*TABLE.load(Relaxed).add(number as usize)).0.assume_init_ref() })
}

/// Makes the key whose destructor tells us that a thread ends.
pub fn make_thread_key() {
    let mut key: libc::pthread_key_t = 0;
    // SAFETY: `key` is a valid place; the destructor has the required signature.
    if unsafe { libc::pthread_key_create(&mut key, Some(thread_ends)) } == 0 {
        THREAD_KEY.store(key, Relaxed);
    }
}

/// Rounds of destructors that a thread's end is put off for: one less than there are at least (POSIX,
/// PTHREAD_DESTRUCTOR_ITERATIONS), so that what other destructors free is still seen.
const ROUNDS_PUT_OFF: u32 = 3;

/// Runs in a dying thread.
unsafe extern "C" fn thread_ends(_: *mut core::ffi::c_void) {
    let thread = thread_word();
    // SAFETY: null, or this thread's own state.
    if let Some(state) = unsafe { thread.as_mut() }
        && state.put_off < ROUNDS_PUT_OFF
    {
        state.put_off = state.put_off.wrapping_add(1);
        // SAFETY: the key exists: this is its destructor.
        unsafe { libc::pthread_setspecific(THREAD_KEY.load(Relaxed), thread.cast()) };
        return;
    }
    // What the C library then frees of its own would make a thread of this one again, which nobody would end.
    crate::stubs::set_thread_over();
    set_thread_word(core::ptr::null_mut());
    if let Some(recorder) = recorder()
        && recorder.alive()
    {
        // SAFETY: the word held this thread's own state (set in `begin_thread`), and it has just been cleared, so
        // nothing else reaches it through this thread.
        if let Some(thread) = unsafe { thread.as_mut() } {
            thread.busy = 1;
            recorder.thread_end(thread);
        }
    }
}

/// Gives the calling thread a recorder state.
#[cold]
pub fn begin_thread(recorder: &'static Recorder, parent: u32) -> *mut Thread {
    let Some(thread) = recorder.thread_begin(parent) else { return core::ptr::null_mut() };
    let thread: *mut Thread = thread;
    set_thread_word(thread);
    let key = THREAD_KEY.load(Relaxed);
    if key != u32::MAX {
        // SAFETY: the key exists. The first 32 keys of a thread need no allocation (nptl/pthread_setspecific.c,
        // PTHREAD_KEY_2NDLEVEL_SIZE), and ours is the first of the process.
        unsafe { libc::pthread_setspecific(key, thread.cast()) };
    }
    thread
}

/// Exclusive use of the calling thread's recorder state for the length of one handler.
pub struct Inside {
    /// The recorder.
    pub recorder: &'static Recorder,
    thread: *mut Thread,
}

impl Inside {
    /// Enters the recorder. `None` when there is nothing to record to, or when this thread is inside already (a signal
    /// handler interrupted us); `counted` says whether that loses an event.
    #[inline]
    pub fn enter(stack_pointer: u64, counted: bool) -> Option<Inside> {
        Inside::enter_from(stack_pointer, counted, false)
    }

    /// As [`Inside::enter`], for an event that nothing of the same frame can be inside of: whoever set `busy` there is gone.
    #[inline]
    pub fn enter_alone(stack_pointer: u64) -> Option<Inside> {
        Inside::enter_from(stack_pointer, true, true)
    }

    #[inline]
    fn enter_from(stack_pointer: u64, counted: bool, alone: bool) -> Option<Inside> {
        let recorder = recorder()?;
        if !recorder.enabled() {
            return None;
        }
        if !recorder.alive() {
            crate::process::child_without_notice();
            if !recorder.enabled() {
                return None;
            }
        }
        let mut pointer = thread_word();
        if pointer.is_null() {
            pointer = begin_thread(recorder, 0);
        }
        // SAFETY: null, or this thread's own state; only this thread uses it, and `busy` keeps its own signal handlers
        // out while a handler holds it.
        let thread = unsafe { pointer.as_mut() }?;
        if thread.busy != 0 && !left_behind(thread, stack_pointer, alone) {
            if counted {
                recorder.lost_reentered();
            }
            return None;
        }
        thread.busy = stack_pointer;
        Some(Inside { recorder, thread: pointer })
    }

    /// The thread's state.
    #[inline]
    pub fn thread(&mut self) -> &mut Thread {
        // SAFETY: not null (checked in `enter`), this thread's own, exclusive while `busy` is set.
        unsafe { &mut *self.thread }
    }
}

impl Inside {
    /// Sets the marks that signals have left owing.
    pub fn pay_marks(&mut self) {
        if self.recorder.owes_marks() {
            crate::signal_marks::pay(self.recorder, self.thread());
        }
    }
}

impl Drop for Inside {
    #[inline]
    fn drop(&mut self) {
        let busy = self.thread().busy;
        self.thread().busy = 0;
        // In this order, for handlers of this thread: a signal that comes before the store is owed and seen here, one that
        // comes after it sets its mark itself.
        compiler_fence(SeqCst);
        if self.recorder.owes_marks() {
            self.thread().busy = busy;
            self.pay_marks();
            // What came meanwhile waits for the next event.
            self.thread().busy = 0;
        }
    }
}

/// True when the handler that set `busy` is gone: a signal handler interrupted it and left by longjmp to a frame further
/// up the same stack, or (`alone`) to about the same: what runs inside it then is a signal handler, whose frame has 1 KiB.
/// Its segment is abandoned, since a record may have been cut off.
#[cold]
fn left_behind(thread: &mut Thread, stack_pointer: u64, alone: bool) -> bool {
    const SLACK: u64 = 512;
    let distance = stack_pointer.wrapping_sub(thread.busy);
    let deeper = thread.busy.wrapping_sub(stack_pointer);
    if distance == 0 && !alone || distance > 8 << 20 && !(alone && deeper < SLACK) {
        return false;
    }
    thread.abandon_segment();
    true
}

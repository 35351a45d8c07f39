//! Watching an arena: the observer's table, what is reported to it, and the calls that turn it on and off.
//!
//! May be relied on: every event of a watched arena reaches its observer in order, numbered without gaps by the arena, unless the observer
//! wants samples (`sampling`); an arena that nobody watches pays nothing on its allocation path and one comparison elsewhere. Deliberately absent:
//! recording; an observer does that.
//!
//! # How it works
//! `limit` is 0 while the arena is watched, so that every allocation takes the cold path and is reported there; while it is sampled,
//! `limit` stands at the next sample. Free, resize, checkpoint, scope, rewind, reset and destroy compare `limit` with its unwatched value.
#![allow(unsafe_code)] // Calls the observer's function; reads the table that a program gave.

use crate::header::{LIMIT_RELEASE, LIMIT_WATCH, MAGIC_KEPT, flags};
use crate::{Arena, CheckRequest, pool, process, registry};
use core::ffi::c_void;
use core::mem::offset_of;
use core::panic::Location;
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

/// Version of [`Observer`] and [`Event`]. Newer versions only add fields at the end.
pub const OBSERVER_VERSION: u32 = 2;

/// What an observer gives: a table that lives as long as anything is watched.
#[repr(C)]
#[derive(Debug)]
pub struct Observer {
    /// [`OBSERVER_VERSION`] of the header or crate that the observer was built with.
    pub version: u32,
    /// `size_of::<Observer>()`, for tables that grow.
    pub table_bytes: u32,
    /// Handed to each call.
    pub context: *mut c_void,
    /// Called for every event, on the arena's thread, after the arena has changed (destroy, reset: before). The event is valid
    /// during the call. What it does to the same arena is not reported. It must not unwind.
    pub event: unsafe extern "C" fn(context: *mut c_void, event: *const Event),
    /// 0: everything is reported. Else one allocation in about so many bytes, every one of so many or more, and what ends those that were
    /// reported: frees, resizes, rewinds, scope exits, resets and the arena's end; those may be reported for others too. Nothing else.
    pub sample_bytes: usize,
    /// From version 2: draws how many bytes lie between two samples, `sample_bytes` in the mean. With exponential distances a block of `size`
    /// bytes is reported with probability p = 1 − exp(−size / `sample_bytes`), and stands for 1/p blocks of its size. Called on the arena's
    /// thread, at its creation, after each sample, and now and then at other times. None: always `sample_bytes`, whose samples may beat with
    /// the program's own period.
    pub next_sample: Option<unsafe extern "C" fn(context: *mut c_void, arena: *const Arena) -> usize>,
    /// Null: arenas are not checked. Else asked at each creation of an arena who checks it: see [`CheckKind`](crate::CheckKind). As `event`,
    /// it must not unwind.
    pub check: Option<unsafe extern "C" fn(context: *mut c_void, request: *mut CheckRequest)>,
}

/// `table_bytes` of a table that has `next_sample`.
pub(crate) const NEXT_SAMPLE_END: usize = offset_of!(Observer, next_sample) + size_of::<usize>();

// SAFETY: the table is read only. `context` is the observer's own affair: who installs one for several threads promises in
// `observe_all` that it may be used from them.
unsafe impl Sync for Observer {}
// SAFETY: as above.
unsafe impl Send for Observer {}

/// What happened. A number, so that newer ones can be passed through.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct EventKind(pub u32);

impl EventKind {
    /// An arena was created; `size` is its capacity.
    pub const CREATE: EventKind = EventKind(1);
    /// A block was handed out.
    pub const ALLOC: EventKind = EventKind(2);
    /// A block grew or shrank, in place (`block == old_block`) or not.
    pub const RESIZE: EventKind = EventKind(3);
    /// A block was given back.
    pub const FREE: EventKind = EventKind(4);
    /// A scope began.
    pub const SCOPE_ENTER: EventKind = EventKind(5);
    /// A scope ended; everything above `block` is gone. The caller is where it began.
    pub const SCOPE_EXIT: EventKind = EventKind(6);
    /// A checkpoint was taken at `block`.
    pub const CHECKPOINT: EventKind = EventKind(7);
    /// Everything above `block` is gone.
    pub const REWIND: EventKind = EventKind(8);
    /// Everything is gone; the arena is empty.
    pub const RESET: EventKind = EventKind(9);
    /// The arena ends.
    pub const DESTROY: EventKind = EventKind(10);
    /// A block of `size` could not be had.
    pub const REFUSED: EventKind = EventKind(11);
    /// A thread's handle of a shared arena got a new lease, or a longer one: from `block` on, `size` bytes.
    pub const LEASE: EventKind = EventKind(12);
    /// The child of a fork uses its private copy of an arena that it inherited, for the first time: its parent will not see what
    /// follows. `size` is the parent's process number.
    pub const INHERITED: EventKind = EventKind(13);
    /// While sampling: of the bytes by which the block `old_block` grew in place, `size` from `block` on, one is a sample.
    pub const GROWN: EventKind = EventKind(14);
    /// A call on an arena that had ended, which only a fault of the program makes; told once of each, to the process's observer, where
    /// the header can still be read. It is number 0, and the header may hold anything. The call goes on as it would.
    pub const ENDED: EventKind = EventKind(15);
}

/// One event, with everything that is known about it. Unused fields are 0 or null.
#[repr(C)]
#[derive(Debug)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// `size_of::<Event>()`.
    pub event_bytes: u32,
    /// Numbers the arena's reported events, from 1, without gaps.
    pub number: u64,
    /// The arena's header.
    pub arena: *const Arena,
    /// The arena's number in the process.
    pub arena_id: u64,
    /// The block's first byte.
    pub block: *mut u8,
    /// The block's size in bytes, as asked for.
    pub size: usize,
    /// The block's alignment, as asked for.
    pub align: usize,
    /// Resize: where the block was.
    pub old_block: *mut u8,
    /// Resize: its size before.
    pub old_size: usize,
    /// Bytes handed out, padding included, after the event.
    pub offset: usize,
    /// Resets and rewinds so far.
    pub generation: u64,
    /// Open scopes after the event.
    pub depth: u32,
    /// The caller's line, from 1; 0 when not known.
    pub line: u32,
    /// The caller's file, UTF-8, not terminated; null when not known.
    pub file: *const u8,
    /// Bytes of `file`.
    pub file_bytes: u32,
    /// The caller's column, from 1; 0 when not known.
    pub column: u32,
}

/// What a reporter fills in; the arena adds the rest.
#[derive(Clone, Copy)]
pub(crate) struct Happening {
    pub(crate) kind: EventKind,
    pub(crate) block: *mut u8,
    pub(crate) size: usize,
    pub(crate) align: usize,
    pub(crate) old_block: *mut u8,
    pub(crate) old_size: usize,
    pub(crate) caller: Option<&'static Location<'static>>,
}

impl Default for Happening {
    fn default() -> Self {
        Happening {
            kind: EventKind(0),
            block: core::ptr::null_mut(),
            size: 0,
            align: 0,
            old_block: core::ptr::null_mut(),
            old_size: 0,
            caller: None,
        }
    }
}

/// The observer of all arenas that have none of their own.
pub(crate) static EVERYONE: AtomicPtr<Observer> = AtomicPtr::new(core::ptr::null_mut());

/// The process's observer, if there is one.
pub(crate) fn process_observer() -> *const Observer {
    EVERYONE.load(Ordering::Acquire)
}

/// Watches all arenas of the process that have no observer of their own: those made from now on from their creation, those
/// alive from their next event on. `None` ends it: arenas go back to full speed at their next event. O(arenas).
///
/// An arena that another thread is just creating may be missed until it is told again. Arenas in a caller's buffer are not
/// found.
///
/// # Safety
/// The observer's function may be called from any thread with its `context`, until every arena has seen the end of it: never
/// unload it.
pub unsafe fn observe_all(observer: Option<&'static Observer>) {
    set_everyone(observer.map_or(core::ptr::null(), core::ptr::from_ref));
}

fn set_everyone(table: *const Observer) {
    let table = table.cast_mut();
    EVERYONE.store(table, Ordering::Release);
    registry::each_arena(|arena| {
        // SAFETY: a mapped header of an arena that another thread may hold: single aligned loads and stores, as an outsider's.
        unsafe {
            if (*arena).observer.as_ptr().read_volatile().is_null() {
                let limit = AtomicUsize::from_ptr((*arena).limit.get());
                if table.is_null() {
                    let _ = limit.compare_exchange(LIMIT_WATCH, LIMIT_RELEASE, Ordering::Relaxed, Ordering::Relaxed);
                } else {
                    limit.store(LIMIT_WATCH, Ordering::Relaxed);
                }
            }
        }
    });
}

/// [`observe_all`] for whoever found it by the note in the binary. The table may be one of an older version, and shorter than ours.
///
/// # Safety
/// As for `observe_all`; `observer` is null or lives forever.
pub(crate) unsafe extern "C" fn observe_everyone(observer: *const Observer) {
    set_everyone(observer);
}

impl Arena {
    /// Watches this arena by an observer of its own, instead of the process's; `None` ends that, and watching too unless the
    /// process has an observer. The next event is the first one reported. O(1).
    ///
    /// # Safety
    /// The observer's function may be called with its `context` from whichever thread holds the arena.
    pub unsafe fn observe(&self, observer: Option<&'static Observer>) {
        self.observer.set(observer.map_or(core::ptr::null(), |table| table as *const Observer));
        self.set_watched(!self.current_observer().is_null());
    }

    /// True while events are reported.
    pub fn is_watched(&self) -> bool {
        self.heed_limit();
        self.flags.get() & flags::WATCHED != 0
    }

    pub(crate) fn current_observer(&self) -> *const Observer {
        let own = self.observer.get();
        if own.is_null() { process_observer() } else { own }
    }

    pub(crate) fn set_watched(&self, watched: bool) {
        self.heed_limit();
        self.forget_samples();
        let flag = self.flags.get();
        // A checked arena's calls have to go the checker's way.
        if watched || flag & flags::CHECKED != 0 {
            self.flags.set(flag | flags::WATCHED);
            self.store_limit(LIMIT_WATCH);
        } else {
            self.flags.set(flag & !flags::WATCHED);
            self.store_limit(self.true_limit.get());
        }
    }

    /// Tells the observer, if the arena is watched and has one. The cold path only.
    #[inline]
    pub(crate) fn report(&self, what: Happening) {
        self.report_move(what, self.cursor.get().addr());
    }

    /// As `report`, of what moved the cursor down from `before`.
    pub(crate) fn report_move(&self, what: Happening, before: usize) {
        let flag = self.flags.get();
        if flag & flags::WATCHED == 0 || flag & flags::REPORTING != 0 {
            return;
        }
        let observer = self.current_observer();
        if observer.is_null() {
            // Watched from outside, with nobody to tell: allocations work, on the cold path. Sampling ends with its observer.
            if self.stored_limit.get() != LIMIT_WATCH {
                self.set_watched(false);
            }
            return;
        }
        if let Some(sampler) = self.sampler(before) {
            let after = if what.kind == EventKind::RESET { self.base.get().addr() } else { self.cursor.get().addr() };
            return self.sample_other(sampler, what, after);
        }
        if self.sample_at.get() != 0 {
            // The observer samples no more.
            self.set_watched(true);
        }
        self.tell(observer, what);
    }

    /// A call came to an arena that had ended and was not unmapped: tells the process's observer once. Nothing else that the call does is told.
    #[cold]
    #[inline(never)]
    pub(crate) fn tell_ended(&self) {
        let (flag, everyone) = (self.flags.get(), process_observer());
        // Its end left no observer: this call has lent one, who knows the call's line.
        let observer = match self.magic.get() {
            MAGIC_KEPT if !self.observer.get().is_null() => self.observer.get(),
            0 | MAGIC_KEPT => everyone,
            // The header was written over, or its memory is another's.
            _ => return,
        };
        if everyone.is_null() || flag & flags::REPORTING != 0 {
            return;
        }
        self.flags.set(flag | flags::REPORTING);
        let event = Event {
            kind: EventKind::ENDED,
            event_bytes: size_of::<Event>() as u32,
            number: 0,
            arena: self,
            arena_id: self.id.get(),
            block: core::ptr::null_mut(),
            size: 0,
            align: 0,
            old_block: core::ptr::null_mut(),
            old_size: 0,
            offset: 0,
            generation: 0,
            depth: 0,
            line: 0,
            file: core::ptr::null(),
            file_bytes: 0,
            column: 0,
        };
        // SAFETY: the table lives forever and its function may be called here: `observe_all` had that promised.
        unsafe { ((*observer).event)((*observer).context, &event) };
    }

    /// Calls the observer.
    pub(crate) fn tell(&self, observer: *const Observer, what: Happening) {
        let parent = self.pid.get();
        if parent != process::pid() && what.kind != EventKind::CREATE {
            let (pid, tid) = pool::who();
            self.pid.set(pid);
            self.owner_tid.set(tid);
            self.tell(
                observer,
                Happening {
                    kind: EventKind::INHERITED,
                    block: self.base.get(),
                    size: parent as usize,
                    caller: what.caller,
                    ..Happening::default()
                },
            );
        }
        let number = self.events.get() + 1;
        self.events.set(number);
        let (file, line, column) = match what.caller {
            Some(caller) => (caller.file(), caller.line(), caller.column()),
            None => ("", 0, 0),
        };
        let event = Event {
            kind: what.kind,
            event_bytes: size_of::<Event>() as u32,
            number,
            arena: self,
            arena_id: self.id.get(),
            block: what.block,
            size: what.size,
            align: what.align,
            old_block: what.old_block,
            old_size: what.old_size,
            offset: self.offset(),
            generation: self.generation.get(),
            depth: self.depth.get(),
            line,
            file: if line == 0 { core::ptr::null() } else { file.as_ptr() },
            file_bytes: file.len() as u32,
            column,
        };
        self.flags.set(self.flags.get() | flags::REPORTING);
        // SAFETY: the table lives forever and its function may be called here: `observe` and `observe_all` had that promised.
        unsafe { ((*observer).event)((*observer).context, &event) };
        self.flags.set(self.flags.get() & !flags::REPORTING);
    }
}

//! The copies of the arena library in this process, and an observer of ours in each of them.
//!
//! May be relied on: copies are found by the note in the binary, in static programs and in shared libraries, in Rust and in C; an
//! observer that the program has set itself, or `arenascope run`, is never replaced. Absent on purpose: what becomes of an event.
#![allow(unsafe_code, reason = "calls the library's function, reads the event it lends")]

use super::StartError;
use super::modules::{self, Wanted};
use crate::observed::{self, LibraryEvent};
use crate::sites::Place;
use arenascope_event::BoundsKind;
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering::Acquire, Ordering::Release};
use std::sync::{Mutex, PoisonError};
use std::vec::Vec;

/// `arenascope::Observer`, version 1: all that is needed here. Newer libraries read it by its length.
#[repr(C)]
pub(super) struct Table {
    pub version: u32,
    pub table_bytes: u32,
    pub context: u64,
    pub event: unsafe extern "C" fn(context: u64, event: *const LibraryEvent),
    pub sample_bytes: usize,
}

impl Table {
    pub(super) const fn telling(event: unsafe extern "C" fn(u64, *const LibraryEvent)) -> Table {
        Table { version: 1, table_bytes: size_of::<Table>() as u32, context: 0, event, sample_bytes: 0 }
    }
}

/// One copy of the library.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Copy {
    observer: u64,
    observe: u64,
}

impl Copy {
    /// Its observer now.
    fn observer(self) -> *const Table {
        // SAFETY: the note of a mapped module leads to the library's own pointer to the process's observer, an aligned word (checked
        // in `notes`) of a writable segment (checked in `modules`), which others change by atomic stores only.
        unsafe { AtomicPtr::<Table>::from_ptr(self.observer as *mut *mut Table) }.load(Acquire)
    }

    fn observe(self, table: Option<&'static Table>) {
        // SAFETY: the note of a mapped module leads to the library's `extern "C" fn(*const Observer)`, in an executable segment
        // (checked in `modules`).
        let observe = unsafe { core::mem::transmute::<u64, unsafe extern "C" fn(*const Table)>(self.observe) };
        // SAFETY: the table lives forever, as does the code it names (a `static`), and it may be called from any thread.
        unsafe { observe(table.map_or(core::ptr::null(), core::ptr::from_ref)) }
    }
}

/// All copies that can be watched, and whether there is one that is too old.
fn copies() -> (Vec<Copy>, bool) {
    let notes = modules::all(Wanted::Notes).into_iter().flat_map(|module| module.notes);
    let mut old = false;
    let mut all: Vec<Copy> = Vec::new();
    for note in notes {
        match note.observe {
            Some(observe) => all.push(Copy { observer: note.observer, observe }),
            None => old = true,
        }
    }
    all.sort_unstable();
    all.dedup();
    (all, old)
}

/// One thread at a time changes observers here.
static CHANGING: Mutex<()> = Mutex::new(());

/// Watches all arenas by `table`: those made from now on, and those alive from their next event on. To be called again when a library may
/// have come. O(modules + arenas).
pub(super) fn watch(table: &'static Table) -> Result<(), StartError> {
    let _changing = CHANGING.lock().unwrap_or_else(PoisonError::into_inner);
    let (copies, old) = copies();
    if copies.is_empty() {
        return Err(if old { StartError::OldLibrary } else { StartError::NoLibrary });
    }
    let is_ours = |copy: &Copy| core::ptr::eq(copy.observer(), table);
    if copies.iter().any(|copy| !copy.observer().is_null() && !is_ours(copy)) {
        return Err(StartError::Observed);
    }
    for copy in &copies {
        copy.observe(Some(table));
    }
    Ok(())
}

/// Ends that: arenas go back to full speed at their next event.
pub(super) fn unwatch(table: &'static Table) {
    let _changing = CHANGING.lock().unwrap_or_else(PoisonError::into_inner);
    unwatch_here(table);
}

/// The same in a forked child, where another thread of the parent's may have held the lock.
pub(super) fn unwatch_here(table: &'static Table) {
    for copy in copies().0 {
        if core::ptr::eq(copy.observer(), table) {
            copy.observe(None);
        }
    }
}

/// An event of the library, lent for the length of a call.
pub struct LentEvent<'a> {
    event: &'a LibraryEvent,
}

/// What an arena's header says of its memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HeaderBounds {
    /// First byte of the arena's memory.
    pub base: u64,
    /// Bytes it may hand out.
    pub capacity: u64,
    /// Bytes of address space.
    pub reserved: u64,
    /// What kind of arena.
    pub kind: BoundsKind,
}

impl<'a> LentEvent<'a> {
    /// The event itself.
    pub fn event(&self) -> &'a LibraryEvent {
        self.event
    }

    /// Where its caller stands, if the library knows.
    pub fn place(&self) -> Option<Place<'a>> {
        observed::place(self.event)
    }

    /// The arena's name; empty when it has none.
    pub fn name(&self) -> &'a [u8] {
        observed::header(self.event).map_or(&[], |header| header.name)
    }

    /// The arena's memory; `None` when the header is of another layout.
    pub fn bounds(&self) -> Option<HeaderBounds> {
        observed::header(self.event).map(|header| HeaderBounds {
            base: header.base,
            capacity: header.capacity,
            reserved: header.reserved,
            kind: header.bounds(),
        })
    }
}

/// The function that is told: 0, or a `fn(&LentEvent<'_>)`.
static LISTENER: AtomicUsize = AtomicUsize::new(0);
static LISTENERS_TABLE: Table = Table::telling(tell);

unsafe extern "C" fn tell(_: u64, event: *const LibraryEvent) {
    // SAFETY: the library lends a valid event for the length of the call, and versions only add fields at its end.
    let Some(event) = (unsafe { event.as_ref() }) else { return };
    let listener = LISTENER.load(Acquire);
    if listener == 0 || (event.event_bytes as usize) < size_of::<LibraryEvent>() {
        return;
    }
    // SAFETY: not 0: what `Observing::begin` stored, a function of exactly this type.
    let listener = unsafe { core::mem::transmute::<usize, fn(&LentEvent<'_>)>(listener) };
    listener(&LentEvent { event });
}

/// All arenas of the process are watched, and a function is told of each event, on the thread that makes it. Ends when dropped.
///
/// What `arenascope-test` is built on; to record, see [`start`](crate::start).
#[derive(Debug)]
pub struct Observing {
    _ends: (),
}

impl Observing {
    /// Begins. `told` must not panic, and is called from any thread, until some calls after the end. What it does to the very arena of the
    /// event is not told. O(modules + arenas).
    ///
    /// # Errors
    /// Without the library in the process, or with another observer in it.
    pub fn begin(told: fn(&LentEvent<'_>)) -> Result<Observing, StartError> {
        LISTENER.store(told as usize, Release);
        watch(&LISTENERS_TABLE)?;
        Ok(Observing { _ends: () })
    }

    /// Tells all arenas once more: one that another thread was just making when this began may have been missed, and so may a library
    /// loaded since.
    pub fn renew(&self) {
        let _ = watch(&LISTENERS_TABLE);
    }
}

impl Drop for Observing {
    fn drop(&mut self) {
        unwatch(&LISTENERS_TABLE);
    }
}

//! Which watch an event belongs to: that of its thread, and that in which its arena was created.
//!
//! May be relied on: an event goes to each watch once; the observer is there while any watch is. Absent on purpose: what an event means.

use crate::report::Report;
use crate::tape::Tape;
use arenascope_record::{LentEvent, Observing, library_kind as kind};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

/// What a watch has heard.
pub(crate) struct Heard {
    pub(crate) name: String,
    tape: Mutex<Tape>,
    /// Events that came while this thread was busy with another: from an allocator that is itself built on an arena, or a signal handler.
    pub(crate) missed: AtomicU64,
}

impl Heard {
    pub(crate) fn tape(&self) -> MutexGuard<'_, Tape> {
        self.tape.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

thread_local! {
    /// The watches that cover this thread, outermost first.
    static COVERED_BY: RefCell<Vec<Arc<Heard>>> = const { RefCell::new(Vec::new()) };
    /// This thread is writing an event down.
    static BUSY: Cell<bool> = const { Cell::new(false) };
}

/// Arenas by their address, and the watches that they were created in.
static CREATED_IN: RwLock<Option<HashMap<u64, Vec<Arc<Heard>>>>> = RwLock::new(None);

fn created_in(arena: u64) -> Vec<Arc<Heard>> {
    let all = CREATED_IN.read().unwrap_or_else(PoisonError::into_inner);
    all.as_ref().and_then(|all| all.get(&arena)).cloned().unwrap_or_default()
}

fn change_created_in<R>(change: impl FnOnce(&mut HashMap<u64, Vec<Arc<Heard>>>) -> R) -> R {
    let mut all = CREATED_IN.write().unwrap_or_else(PoisonError::into_inner);
    change(all.get_or_insert_default())
}

/// The library tells of an event.
fn told(told: &LentEvent<'_>) {
    let covering =
        COVERED_BY.try_with(|covering| covering.try_borrow().map(|covering| covering.clone()).unwrap_or_default());
    let mut concerned = covering.unwrap_or_default();
    let event = told.event();
    if BUSY.try_with(|busy| busy.replace(true)).unwrap_or(true) {
        for heard in &concerned {
            heard.missed.fetch_add(1, Relaxed);
        }
        return;
    }
    match event.kind {
        kind::CREATE if concerned.is_empty() => {}
        kind::CREATE => {
            change_created_in(|all| all.insert(event.arena, concerned.clone()));
        }
        _ => {
            for heard in created_in(event.arena) {
                if !concerned.iter().any(|known| Arc::ptr_eq(known, &heard)) {
                    concerned.push(heard);
                }
            }
        }
    }
    for heard in &concerned {
        heard.tape().event(told);
    }
    if event.kind == kind::DESTROY && !concerned.is_empty() {
        change_created_in(|all| all.remove(&event.arena));
    }
    // What may be the last hold on a watch is let go before the next event may come.
    drop(concerned);
    let _ = BUSY.try_with(|busy| busy.set(false));
}

/// The observer, and how many watches need it.
static OBSERVING: Mutex<(usize, Option<Observing>)> = Mutex::new((0, None));

fn observing() -> MutexGuard<'static, (usize, Option<Observing>)> {
    OBSERVING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Arenas that another thread was just making when the observer came may have been missed: those that this thread can reach are not being
/// made any more.
fn tell_all() {
    if let Some(observing) = &observing().1 {
        observing.renew();
    }
}

fn cover_this_thread(heard: &Arc<Heard>) {
    COVERED_BY.with_borrow_mut(|covering| covering.push(heard.clone()));
}

fn uncover_this_thread(heard: &Arc<Heard>) {
    let _ = COVERED_BY.try_with(|covering| {
        let mut covering = covering.borrow_mut();
        if let Some(index) = covering.iter().rposition(|known| Arc::ptr_eq(known, heard)) {
            covering.remove(index);
        }
    });
}

/// A watch over the arenas of a test: see [`watch`].
#[must_use = "the watch ends when this is dropped"]
pub struct Watch {
    heard: Arc<Heard>,
    /// Covers the thread that made it, and must end there. `Sync`, so that other threads can enter.
    here: PhantomData<MutexGuard<'static, ()>>,
}

/// The calling thread is covered by a watch, until this is dropped.
#[must_use = "the thread leaves the watch when this is dropped"]
pub struct Entered {
    heard: Arc<Heard>,
    /// On this thread only.
    here: PhantomData<*const ()>,
}

/// Watches the arenas that this thread uses from now on, until the [`Watch`] is dropped. Watches nest: what an inner one counts, the outer
/// one counts too. O(arenas of the process).
///
/// # Panics
/// When somebody else observes the arenas of this process: `arenascope run`, or [`start`](arenascope_record::start).
#[track_caller]
pub fn watch(name: &str) -> Watch {
    let began = {
        let mut observing = observing();
        let began = match &observing.1 {
            Some(observer) => {
                observer.renew();
                Ok(())
            }
            None => Observing::begin(told).map(|observer| observing.1 = Some(observer)),
        };
        if began.is_ok() {
            observing.0 += 1;
        }
        began
    };
    if let Err(error) = began {
        panic!("watch \"{name}\" cannot begin: {error}");
    }
    let heard = Heard { name: name.to_owned(), tape: Mutex::new(Tape::new()), missed: AtomicU64::new(0) };
    let heard = Arc::new(heard);
    cover_this_thread(&heard);
    Watch { heard, here: PhantomData }
}

/// Does `work` under a [`watch`], and reports.
///
/// ```
/// let report = arenascope_test::scope("three words", || {
///     let arena = arenascope::Arena::growing().expect("an arena");
///     for word in ["a", "bc", "def"] {
///         arena.alloc_str(word);
///     }
/// });
/// report.assert_allocations(3);
/// assert_eq!((report.arenas, report.peak_bytes, report.live_bytes), (1, 6, 0));
/// ```
///
/// # Panics
/// As [`watch`], and when `work` does.
#[track_caller]
pub fn scope(name: &str, work: impl FnOnce()) -> Report {
    let watch = watch(name);
    work();
    watch.report()
}

impl Watch {
    /// Lets the watch cover the calling thread too.
    ///
    /// ```
    /// let watch = arenascope_test::watch("workers");
    /// std::thread::scope(|threads| {
    ///     for _ in 0..4 {
    ///         threads.spawn(|| {
    ///             let _inside = watch.enter();
    ///             arenascope::Arena::growing().expect("an arena").alloc(7u32);
    ///         });
    ///     }
    /// });
    /// watch.assert_allocations(4);
    /// ```
    pub fn enter(&self) -> Entered {
        tell_all();
        cover_this_thread(&self.heard);
        Entered { heard: self.heard.clone(), here: PhantomData }
    }

    /// What has happened so far. O(events so far).
    pub fn report(&self) -> Report {
        Report::of(&self.heard)
    }

    /// Asserts on how many blocks were handed out. A block that is resized is counted once.
    #[track_caller]
    pub fn assert_allocations(&self, expected: u64) {
        self.report().assert_allocations(expected);
    }

    /// Asserts on the bytes of blocks that are alive now, of those handed out under the watch.
    #[track_caller]
    pub fn assert_live_bytes(&self, expected: u64) {
        self.report().assert_live_bytes(expected);
    }

    /// Asserts that never more bytes were alive at once, over all arenas.
    #[track_caller]
    pub fn assert_peak_at_most(&self, bytes: u64) {
        self.report().assert_peak_at_most(bytes);
    }

    /// Asserts that no rule finds a bug. Notes are no bugs.
    #[track_caller]
    pub fn assert_no_findings(&self) {
        self.report().assert_no_findings();
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        uncover_this_thread(&self.heard);
        change_created_in(|all| {
            all.retain(|_, watches| {
                watches.retain(|known| !Arc::ptr_eq(known, &self.heard));
                !watches.is_empty()
            });
        });
        let mut observing = observing();
        observing.0 = observing.0.saturating_sub(1);
        if observing.0 == 0 {
            observing.1 = None;
        }
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        uncover_this_thread(&self.heard);
    }
}

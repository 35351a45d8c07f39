//! Observers that use the arenas they watch, at the moments when a lease changes. Alone in its file: the switch is the process's.
#![allow(unsafe_code)] // Installs observers; resizes a block.

use arenascope::{Event, EventKind, Observer, SharedArena, observe_all};
use core::alloc::Layout;
use std::ffi::c_void;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::thread::JoinHandle;

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

static ARENA: OnceLock<SharedArena> = OnceLock::new();

/// Bytes that the observer takes at a LEASE event; 0: none.
static TAKES: AtomicUsize = AtomicUsize::new(0);

/// Where it got them.
static TAKEN: AtomicUsize = AtomicUsize::new(0);

unsafe extern "C" fn take(_: *mut c_void, event: *const Event) {
    // SAFETY: valid during the call.
    if unsafe { &*event }.kind == EventKind::LEASE
        && let Some(arena) = ARENA.get()
        && let bytes @ 1.. = TAKES.swap(0, Ordering::Relaxed)
    {
        let block = arena.try_alloc_layout(Layout::from_size_align(bytes, 8).unwrap()).unwrap();
        TAKEN.store(block.addr().get(), Ordering::Relaxed);
    }
}

static TAKER: Observer = observer(take);

const fn observer(event: unsafe extern "C" fn(*mut c_void, *const Event)) -> Observer {
    Observer {
        version: arenascope::OBSERVER_VERSION,
        table_bytes: size_of::<Observer>() as u32,
        context: std::ptr::null_mut(),
        event,
        sample_bytes: 0,
        next_sample: None,
        check: None,
    }
}

fn watched_by<R>(observer: &'static Observer, work: impl FnOnce() -> R) -> R {
    // SAFETY: the observers here may be called from any thread.
    unsafe { observe_all(Some(observer)) };
    let result = work();
    // SAFETY: as above.
    unsafe { observe_all(None) };
    result
}

#[test]
fn what_an_observer_takes_of_a_new_or_longer_lease_is_its_own() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let arena = ARENA.get_or_init(|| SharedArena::growing().unwrap());
    watched_by(&TAKER, || {
        // Nearly all of a first lease: the block that it was taken for is there all the same.
        TAKES.store(60_000, Ordering::Relaxed);
        let (small, large) = (Layout::array::<u8>(10_000).unwrap(), Layout::array::<u8>(1 << 20).unwrap());
        let block = arena.try_alloc_layout(small).expect("a lease was taken for it");
        let taken = TAKEN.load(Ordering::Relaxed);
        assert!(taken >= block.addr().get() + small.size() || taken + 60_000 <= block.addr().get());

        // A lease that grows in place under the last block.
        let block = arena.try_alloc_layout(small).unwrap();
        TAKES.store(64, Ordering::Relaxed);
        // SAFETY: a living block of that layout, which nobody else uses.
        let grown = unsafe { arena.try_resize(block, small, large) }.unwrap();
        let taken = TAKEN.load(Ordering::Relaxed);
        assert_eq!(TAKES.load(Ordering::Relaxed), 0, "the lease became longer");
        assert!(
            taken >= grown.addr().get() + large.size() || taken + 64 <= grown.addr().get(),
            "the observer's block at {taken:#x} lies in the one at {grown:?}"
        );
    });
}

static ENDING: Mutex<Option<(mpsc::Sender<()>, JoinHandle<()>)>> = Mutex::new(None);

unsafe extern "C" fn wait_for_the_thread(_: *mut c_void, event: *const Event) {
    // SAFETY: valid during the call.
    if unsafe { &*event }.kind == EventKind::RESET
        && let Some((go, thread)) = ENDING.lock().unwrap().take()
    {
        go.send(()).unwrap();
        thread.join().unwrap();
    }
}

static WAITER: Observer = observer(wait_for_the_thread);

#[test]
fn a_thread_that_ends_while_an_observer_hears_of_the_reset_leaves_its_berth() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let mut arena = Arc::new(SharedArena::growing().unwrap());
    watched_by(&WAITER, || {
        let theirs = arena.clone();
        let (done, has_done) = mpsc::channel::<()>();
        let (go, may_go) = mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            theirs.alloc(1u64);
            drop(theirs);
            done.send(()).unwrap();
            // It has forgotten the arena; its berth it leaves when it ends.
            may_go.recv().unwrap();
        });
        has_done.recv().unwrap();
        *ENDING.lock().unwrap() = Some((go, thread));
        Arc::get_mut(&mut arena).unwrap().reset();
    });
    assert!(ENDING.lock().unwrap().is_none(), "the thread ended during the reset");
    assert_eq!(arena.stats().held, 0, "a thread that is gone holds nothing");
}

static LOG: OnceLock<SharedArena> = OnceLock::new();

std::thread_local! {
    static DEPTH: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

static DEEPEST: AtomicUsize = AtomicUsize::new(0);

unsafe extern "C" fn write_down(_: *mut c_void, event: *const Event) {
    let depth = DEPTH.get() + 1;
    DEEPEST.fetch_max(depth, Ordering::Relaxed);
    if depth < 10
        && let Some(log) = LOG.get()
    {
        DEPTH.set(depth);
        // SAFETY: valid during the call.
        log.alloc(unsafe { &*event }.number);
        DEPTH.set(depth - 1);
    }
}

static WRITER: Observer = observer(write_down);

#[test]
fn an_observer_that_writes_into_a_shared_arena_hears_of_its_own_berth_once() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let log = LOG.get_or_init(|| SharedArena::growing().unwrap());
    let before = log.stats().berths;
    DEEPEST.store(0, Ordering::Relaxed);
    watched_by(&WRITER, || {
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let arena = arenascope::Arena::init(100).unwrap();
                    arena.alloc(1u64);
                });
            }
        });
    });
    // An arena's event, and those of the berth that it is written with.
    assert!(DEEPEST.load(Ordering::Relaxed) <= 3, "{DEEPEST:?}");
    assert!(log.stats().berths <= before + 3, "one for each thread: {:?}", log.stats());
}

unsafe extern "C" fn fill(_: *mut c_void, event: *const Event) {
    let layout = Layout::array::<u8>(200_000).unwrap();
    // SAFETY: valid during the call, and so is its arena, in the calling thread.
    unsafe {
        if (*event).kind == EventKind::RESET {
            (*(*event).arena).try_alloc_layout(layout).unwrap().write_bytes(0xAA, layout.size());
        }
    }
}

static FILLER: Observer = observer(fill);

#[test]
fn what_an_observer_writes_during_a_reset_is_not_taken_for_zero_after_it() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let mut arena = SharedArena::growing().unwrap();
    watched_by(&FILLER, || {
        arena.alloc(1u64);
        arena.reset();
    });
    assert!(arena.local().alloc_zeroed_slice::<u8>(300_000).iter().all(|byte| *byte == 0));
}

/// Allocates when its thread ends, after the thread has forgotten its berths: for it was there before them.
struct Late;

impl Drop for Late {
    fn drop(&mut self) {
        if let Some(log) = LOG.get() {
            // A handle holds the berth that waits.
            let _handles: Vec<_> = (0..20).map(|_| log.local()).collect();
            log.alloc(1u64);
        }
    }
}

std::thread_local! {
    static LATE: Late = const { Late };
}

#[test]
fn an_observer_that_writes_into_a_shared_arena_ends_in_threads_that_end_too() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let log = LOG.get_or_init(|| SharedArena::growing().unwrap());
    DEEPEST.store(0, Ordering::Relaxed);
    std::thread::spawn(|| {
        LATE.with(|_| ());
        log.alloc(1u64);
        // SAFETY: the observer may be called from any thread.
        unsafe { observe_all(Some(&WRITER)) };
    })
    .join()
    .unwrap();
    // SAFETY: as above.
    unsafe { observe_all(None) };
    assert!(DEEPEST.load(Ordering::Relaxed) <= 3, "{DEEPEST:?}");
}

//! Watching all arenas of a process. Alone in its file: the switch is the process's.
#![allow(unsafe_code)] // Installs an observer.

use arenascope::{Arena, Event, EventKind, Observer, observe_all};
use std::ffi::c_void;
use std::sync::Mutex;
use std::sync::mpsc;

type List = Mutex<Vec<(u64, EventKind)>>;

static LIST: List = Mutex::new(Vec::new());

unsafe extern "C" fn tell(_: *mut c_void, event: *const Event) {
    // SAFETY: the event is valid during the call.
    let event = unsafe { &*event };
    LIST.lock().unwrap().push((event.arena_id, event.kind));
}

static OBSERVER: Observer = Observer {
    version: arenascope::OBSERVER_VERSION,
    table_bytes: size_of::<Observer>() as u32,
    context: std::ptr::null_mut(),
    event: tell,
    sample_bytes: 0,
    next_sample: None,
    check: None,
};

fn of(id: u64) -> Vec<EventKind> {
    LIST.lock().unwrap().iter().filter(|(arena, _)| *arena == id).map(|(_, kind)| *kind).collect()
}

#[test]
fn watching_all_reaches_arenas_that_live_and_those_to_come_in_every_thread_and_ends_for_all() {
    let small = Arena::init(100).unwrap();
    let alone = Arena::init(1 << 20).unwrap();
    let growing = Arena::growing().unwrap();
    let heap = Arena::builder().capacity(100).source(&arenascope::Heap).build().unwrap();
    let (go, gone) = mpsc::channel::<()>();
    let (ready, readied) = mpsc::channel::<u64>();
    let other = std::thread::spawn(move || {
        let arena = Arena::init(100).unwrap();
        ready.send(arena.id()).unwrap();
        gone.recv().unwrap();
        arena.alloc(1u64);
        ready.send(0).unwrap();
        gone.recv().unwrap();
        arena.alloc(2u64);
        arena.alloc(3u64);
    });
    let foreign = readied.recv().unwrap();
    // SAFETY: the observer locks its list, and lives forever.
    unsafe { observe_all(Some(&OBSERVER)) };
    let later = Arena::init(100).unwrap();
    let all = [&*small, &*alone, &*growing, &*heap, &*later];
    for arena in all {
        arena.alloc(1u64);
    }
    go.send(()).unwrap();
    readied.recv().unwrap();
    // SAFETY: as above.
    unsafe { observe_all(None) };
    go.send(()).unwrap();
    other.join().unwrap();
    for arena in all {
        arena.alloc(2u64);
        arena.alloc(3u64);
        assert!(!arena.is_watched());
    }
    for arena in &all[..4] {
        assert_eq!(of(arena.id()), [EventKind::ALLOC]);
    }
    assert_eq!(of(foreign), [EventKind::ALLOC]);
    assert_eq!(of(later.id()), [EventKind::CREATE, EventKind::ALLOC]);
    let told = LIST.lock().unwrap().len();
    drop((small, alone, growing, heap, later));
    // Regions that were watched are not watched when they are used again.
    for _ in 0..3 {
        Arena::init(100).unwrap().alloc(1u64);
        Arena::init(1 << 20).unwrap().alloc(1u64);
        Arena::growing().unwrap().alloc(1u64);
    }
    assert_eq!(LIST.lock().unwrap().len(), told);
}

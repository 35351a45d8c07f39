//! Pools of arenas that are handed between threads, and very many arenas at once.
#![allow(unsafe_code)] // Forks.

use arenascope::{Arena, ArenaPool, KeptLimits, OnReset, OwnedArena};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

#[test]
fn an_arena_comes_back_from_whichever_thread_empty_and_is_taken_again() {
    static POOL: ArenaPool =
        ArenaPool::new(Arena::builder().name("request").capacity(16 << 10), KeptLimits { bytes: 1 << 20, count: 8 });
    let (sender, receiver) = mpsc::sync_channel(64); // Bounded: some come back before all are taken.
    let worker = std::thread::spawn(move || {
        for (arena, expected) in receiver {
            let arena: arenascope::Pooled<'static> = arena;
            assert_eq!(arena.offset(), expected);
            drop(arena);
        }
    });
    let mut bases = std::collections::BTreeSet::new();
    for round in 1..=1_000usize {
        let mut arena = POOL.take().unwrap();
        assert_eq!((arena.offset(), arena.name(), arena.capacity()), (0, "request", 16 << 10));
        assert_eq!(arena.created_at().0, file!(), "it says who took it");
        arena.alloc_slice_fill_copy(round * 8, 1u8);
        arena.scope(|scope| {
            scope.alloc(1);
        });
        bases.insert(arena.base().addr());
        sender.send((arena, round * 8)).unwrap();
        if round % 3 == 0 {
            std::thread::yield_now();
        }
    }
    drop(sender);
    worker.join().unwrap();
    let idle = POOL.idle();
    assert!((1..=8).contains(&idle.count), "{idle:?}");
    assert!(bases.len() < 1_000, "arenas were used again");
    // All that wait are different ones.
    let all: Vec<_> = (0..20).map(|_| POOL.take().unwrap()).collect();
    let different: std::collections::BTreeSet<_> = all.iter().map(|arena| arena.base().addr()).collect();
    assert_eq!((different.len(), POOL.idle()), (20, KeptLimits { bytes: 0, count: 0 }));
    drop(all);
    assert_eq!(POOL.idle().count, 8);
    POOL.release();
    assert_eq!(POOL.idle(), KeptLimits { bytes: 0, count: 0 });
}

#[test]
fn what_waits_is_bounded_in_bytes_and_in_count() {
    let pool = ArenaPool::new(Arena::builder(), KeptLimits { bytes: 3 << 20, count: 100 });
    let arenas: Vec<_> = (0..10).map(|_| pool.take().unwrap()).collect();
    for arena in &arenas {
        arena.alloc_slice_fill_copy(900 << 10, 1u8);
    }
    drop(arenas);
    let idle = pool.idle();
    assert!(idle.count < 10 && idle.bytes <= 3 << 20, "{idle:?}");
    // Emptied to a bound, all of them may wait.
    let pool =
        ArenaPool::new(Arena::builder().on_reset(OnReset::KeepUpTo(4096)), KeptLimits { bytes: 10 << 20, count: 7 });
    let arenas: Vec<_> = (0..10).map(|_| pool.take().unwrap()).collect();
    drop(arenas);
    assert_eq!(pool.idle().count, 7);
    // Out of the pool for good.
    let own: OwnedArena = pool.take().unwrap().into_owned();
    assert_eq!((own.offset(), pool.idle().count), (0, 6));
}

#[test]
fn many_threads_take_and_give_back_at_once() {
    let pool = ArenaPool::new(Arena::builder().capacity(1000), KeptLimits { bytes: 1 << 20, count: 16 });
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let pool = &pool;
            scope.spawn(move || {
                for round in 0..5_000u64 {
                    let one = pool.take().unwrap();
                    let two = pool.take().unwrap();
                    let (a, b) = (one.alloc(thread << 32 | round), two.alloc(round));
                    std::hint::spin_loop();
                    assert_eq!((*a, *b), (thread << 32 | round, round), "each has its arenas alone");
                }
            });
        }
    });
    let idle = pool.idle();
    assert!((2..=8).contains(&idle.count), "{idle:?}");
}

#[test]
fn a_child_takes_from_its_copy_of_the_pool_whatever_other_threads_were_doing() {
    let pool = ArenaPool::new(Arena::builder().capacity(100), KeptLimits { bytes: 1 << 20, count: 16 });
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    pool.take().unwrap().alloc(1u64);
                }
            });
        }
        for _ in 0..300 {
            // SAFETY: the child uses arenas and ends.
            let child = unsafe { libc::fork() };
            if child == 0 {
                let arenas = [pool.take(), pool.take(), pool.take()];
                let fine = arenas.iter().all(|arena| arena.as_ref().is_ok_and(|arena| *arena.alloc(7u64) == 7));
                drop(arenas);
                // SAFETY: ends the process.
                unsafe { libc::_exit(i32::from(!fine || pool.idle().count < 3)) }
            }
            let mut status = 0;
            // SAFETY: waits for the child just made.
            assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
            assert_eq!(status, 0);
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_hundred_thousand_arenas_live_at_once_in_few_mappings() {
    let mappings = || std::fs::read_to_string("/proc/self/maps").unwrap().lines().count();
    let resident = || {
        let status = std::fs::read_to_string("/proc/self/statm").unwrap();
        status.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
    };
    let (maps, memory) = (mappings(), resident());
    let arenas: Vec<OwnedArena> = (0..100_000).map(|_| Arena::init(64).unwrap()).collect();
    let values: Vec<&mut usize> = arenas.iter().enumerate().map(|(i, arena)| arena.alloc(i)).collect();
    assert!(values.iter().enumerate().all(|(i, value)| **value == i));
    let (maps, memory) = (mappings() - maps, resident() - memory);
    assert!(maps < 500, "{maps} mappings");
    // 384 of header, 256 of payload and what makes strides odd: 768; the vector's word beside it.
    assert!(memory < 100_000 * (768 + 64), "{} bytes each", memory / 100_000);
}

#[test]
fn an_arena_comes_back_with_the_observer_that_the_pool_made_it_with() {
    use arenascope::{Event, Observer};
    use std::ffi::c_void;
    use std::sync::atomic::AtomicU64;
    static HEARD: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];
    unsafe extern "C" fn pools(_: *mut c_void, _: *const Event) {
        HEARD[0].fetch_add(1, Ordering::Relaxed);
    }
    unsafe extern "C" fn takers(_: *mut c_void, _: *const Event) {
        HEARD[1].fetch_add(1, Ordering::Relaxed);
    }
    const fn observer(event: unsafe extern "C" fn(*mut c_void, *const Event)) -> Observer {
        let (version, table_bytes) = (arenascope::OBSERVER_VERSION, size_of::<Observer>() as u32);
        Observer {
            version,
            table_bytes,
            context: std::ptr::null_mut(),
            event,
            sample_bytes: 0,
            next_sample: None,
            check: None,
        }
    }
    static POOLS: Observer = observer(pools);
    static TAKERS: Observer = observer(takers);
    let heard = || [0, 1].map(|at: usize| HEARD[at].load(Ordering::Relaxed));
    let builder = Arena::builder().capacity(4096);
    // SAFETY: the observers are two counters.
    for (builder, more) in [(builder, 0), (unsafe { builder.observer(&POOLS) }, 1)] {
        let pool = ArenaPool::new(builder, KeptLimits { bytes: 1 << 20, count: 8 });
        let arena = pool.take().unwrap();
        // SAFETY: as above.
        unsafe { arena.observe(Some(&TAKERS)) };
        arena.alloc(1u64);
        drop(arena);
        let before = heard();
        let next = pool.take().unwrap();
        next.alloc(2u64);
        assert_eq!(heard(), [before[0] + more, before[1]]);
        drop(next.into_owned());
    }
}

//! Threads on one arena and one pool, for ThreadSanitizer (`cargo xtask test --long`); without it, an ordinary test.
//!
//! Its own program, threads of pthreads, and nothing of `std` that synchronises: the standard library that rustup brings was compiled without the
//! sanitizer, which then sees races in its locks, channels and test harness. What threads are ordered by here is the arena's own atomics,
//! pthread_create and pthread_join. `race_free.suppressions` names what is read as a debugger reads it, and why.
#![allow(unsafe_code)] // pthreads.

use arenascope::fork::ShareArena;
use arenascope::{Arena, ArenaPool, KeptLimits, SharedArena};
use core::ffi::c_void;
use std::sync::atomic::{AtomicUsize, Ordering};

const THREADS: usize = 4;

/// Runs `work` in so many threads, which begin together, and waits for them.
fn threads(work: &(dyn Fn(usize) + Sync)) {
    struct One<'a> {
        work: &'a (dyn Fn(usize) + Sync),
        ready: &'a AtomicUsize,
        number: usize,
    }
    extern "C" fn run(one: *mut c_void) -> *mut c_void {
        // SAFETY: made below, and alive until the thread is joined.
        let one = unsafe { &*one.cast::<One<'_>>() };
        // Relaxed: to begin together must not order what comes after.
        one.ready.fetch_add(1, Ordering::Relaxed);
        while one.ready.load(Ordering::Relaxed) < THREADS {
            // SAFETY: no conditions.
            unsafe { libc::sched_yield() };
        }
        (one.work)(one.number);
        core::ptr::null_mut()
    }
    let ready = AtomicUsize::new(0);
    let ones: [One<'_>; THREADS] = core::array::from_fn(|number| One { work, ready: &ready, number });
    let started = ones.each_ref().map(|one| {
        let mut thread = 0;
        let one = core::ptr::from_ref(one).cast_mut().cast();
        // SAFETY: `run` gets what it expects; joined below.
        assert_eq!(unsafe { libc::pthread_create(&mut thread, core::ptr::null(), run, one) }, 0);
        thread
    });
    for thread in started {
        // SAFETY: a thread of ours, joined once.
        assert_eq!(unsafe { libc::pthread_join(thread, core::ptr::null_mut()) }, 0);
    }
}

/// Berths go from thread to thread, with what is in them; leases are taken; blocks of ended threads are read; all is reset.
fn one_shared_arena() {
    let mut arena = SharedArena::growing().unwrap();
    for round in 0..20 {
        let blocks: [AtomicUsize; THREADS] = Default::default();
        threads(&|number| {
            let mut newest: &u64 = &0;
            for turn in 0..30u64 {
                let local = arena.local();
                for block in 0..100 {
                    newest = local.alloc(turn << 32 | block << 8 | number as u64);
                }
                drop(local);
                arena.alloc(turn);
                arena.alloc_str("without a handle");
                assert_eq!(newest & 0xff, number as u64);
                if round % 5 == 4 {
                    let stats = arena.stats();
                    assert!(stats.leased_bytes > 0);
                }
            }
            // Another one, so that this thread's berth of the first is not the only one it holds.
            SharedArena::init(1000).unwrap().alloc(1);
            blocks[number].store(core::ptr::from_ref(newest).addr(), Ordering::Relaxed);
        });
        for (number, block) in blocks.iter().enumerate() {
            let block = core::ptr::with_exposed_provenance::<u64>(block.load(Ordering::Relaxed));
            // SAFETY: a block of the arena, which is not reset yet.
            assert_eq!(unsafe { block.read() } & 0xff, number as u64);
        }
        arena.reset();
    }
}

/// All is leased, and one thread's refusal asks what the others hold.
fn one_that_is_full() {
    let arena = SharedArena::init(256 << 10).unwrap();
    threads(&|_| {
        let local = arena.local();
        while local.try_alloc([0u8; 900]).is_ok() {}
        while local.try_alloc(0u64).is_ok() {}
    });
    assert!(arena.stats().refusals >= THREADS as u32);
}

/// Arenas are filled by one thread and emptied by the next.
fn one_pool() {
    static POOL: ArenaPool = ArenaPool::new(Arena::builder().capacity(1000), KeptLimits { bytes: 1 << 20, count: 3 });
    static GROWING: ArenaPool = ArenaPool::new(Arena::builder(), KeptLimits { bytes: 8 << 20, count: 3 });
    threads(&|number| {
        for round in 0..300u64 {
            let (one, two) = (POOL.take().unwrap(), GROWING.take().unwrap());
            let (a, b) = (one.alloc([round; 20]), two.alloc(number as u64));
            assert_eq!((a[19], *b), (round, number as u64));
            drop(two);
            if round % 50 == 0 {
                POOL.release();
            }
        }
    });
    assert!(POOL.idle().count >= 1);
}

/// Arenas of all kinds begin and end, and are found by a thread that looks at all of them.
fn every_list() {
    threads(&|number| {
        for round in 0..100u64 {
            let small = Arena::init(100).unwrap();
            let large = Arena::builder().capacity(1 << 20).keep(round % 2 == 0).build().unwrap();
            assert_eq!(*small.alloc(round) + *large.alloc(number as u64), round + number as u64);
            if round % 10 == 0 {
                arenascope::release_kept();
            }
        }
    });
}

/// What processes share, by threads.
fn one_share_arena() {
    let arena = ShareArena::init(1 << 20).unwrap();
    threads(&|number| {
        for _ in 0..20 {
            let local = arena.local().unwrap();
            for block in 0..50u64 {
                let at = local.alloc(block << 8 | number as u64).unwrap();
                assert_eq!(arena.get(at), Some(&(block << 8 | number as u64)));
            }
        }
        arena.check().unwrap();
    });
}

fn main() {
    one_shared_arena();
    one_that_is_full();
    one_pool();
    every_list();
    one_share_arena();
    println!("threads on one arena, one pool, every list and shared memory: all was as it should be");
}

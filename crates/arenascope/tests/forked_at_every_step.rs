//! A thread of this process is stopped after every single instruction of what it does under the library's locks, and there a child is forked,
//! which does not have that thread: it must find every list whole, or make it so.
//!
//! By the processor's trap flag: a signal comes after each instruction, and its handler forks. The child does its part in a thread of its own, for
//! the stopped one was in the middle of its own memory. (`fork_policies` and `arena_pool` fork while other threads run, at moments that nobody chose.)
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(unsafe_code)] // Sets the trap flag, forks in a signal handler.

use arenascope::{Arena, ArenaPool, KeptLimits, OwnedArena, SharedArena};
use core::ffi::c_void;
use std::mem::ManuallyDrop;
use std::sync::Mutex;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

/// What a child does; true if all was as it should be.
type Check = fn() -> bool;

static CHECK: AtomicPtr<c_void> = AtomicPtr::new(core::ptr::null_mut());
static STEPS: AtomicU64 = AtomicU64::new(0);
static CHILDREN: AtomicU64 = AtomicU64::new(0);
static FAILED: AtomicU64 = AtomicU64::new(0);
static LAST: AtomicU64 = AtomicU64::new(0);

/// One test at a time: the handler is the process's.
static ALONE: Mutex<()> = Mutex::new(());

extern "C" fn in_thread(_: *mut c_void) -> *mut c_void {
    // SAFETY: `stepwise` stored a Check.
    let check = unsafe { core::mem::transmute::<*mut c_void, Check>(CHECK.load(Ordering::Relaxed)) };
    core::ptr::without_provenance_mut(usize::from(check()))
}

extern "C" fn trapped(_: i32, _: *mut libc::siginfo_t, context: *mut c_void) {
    STEPS.fetch_add(1, Ordering::Relaxed);
    // SAFETY: the kernel's context of this signal.
    let place = unsafe { (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs[libc::REG_RIP as usize] } as u64;
    // A string instruction traps at each turn.
    if LAST.swap(place, Ordering::Relaxed) == place {
        return;
    }
    // SAFETY: the child starts a thread, waits for it and ends; the parent waits for the child.
    unsafe {
        let child = libc::fork();
        if child == 0 {
            // A child that waits for ever is one that found a lock held.
            libc::alarm(20);
            let mut thread = 0;
            let mut fine = core::ptr::null_mut();
            let started = libc::pthread_create(&mut thread, core::ptr::null(), in_thread, core::ptr::null_mut()) == 0;
            let joined = started && libc::pthread_join(thread, &mut fine) == 0;
            libc::_exit(i32::from(!joined || fine.is_null()));
        }
        let mut status = 0;
        libc::waitpid(child, &mut status, 0);
        CHILDREN.fetch_add(1, Ordering::Relaxed);
        FAILED.fetch_add(u64::from(status != 0), Ordering::Relaxed);
    }
}

/// Does `work`, forking after each of its instructions. How many children there were, and how many of them failed.
fn stepwise(work: impl FnOnce(), check: Check) -> (u64, u64) {
    let _alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    CHECK.store(check as *mut c_void, Ordering::Relaxed);
    CHILDREN.store(0, Ordering::Relaxed);
    FAILED.store(0, Ordering::Relaxed);
    // SAFETY: a handler that calls what may be called in one; the flag is set and cleared by the flags' own instructions.
    unsafe {
        let mut action: libc::sigaction = core::mem::zeroed();
        action.sa_sigaction = trapped as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO;
        assert_eq!(libc::sigaction(libc::SIGTRAP, &action, core::ptr::null_mut()), 0);
        core::arch::asm!("pushfq", "or qword ptr [rsp], 0x100", "popfq");
        work();
        core::arch::asm!("pushfq", "and qword ptr [rsp], -257", "popfq");
    }
    (CHILDREN.load(Ordering::Relaxed), FAILED.load(Ordering::Relaxed))
}

static POOL: ArenaPool = ArenaPool::new(Arena::builder().capacity(100), KeptLimits { bytes: 1 << 20, count: 8 });

/// Three arenas wait in the pool, but for those that the stopped thread has, or is about to: all of them are found, once, and counted.
fn all_of_the_pool() -> bool {
    let arenas: [_; 4] = core::array::from_fn(|_| POOL.take().ok());
    let mut bases = arenas.each_ref().map(|arena| arena.as_ref().map_or(0, |arena| arena.base().addr()));
    let empty = arenas.iter().flatten().all(|arena| arena.offset() == 0 && *arena.alloc(7u64) == 7);
    let known = KNOWN.each_ref().map(|base| base.load(Ordering::Relaxed) as usize);
    let found = bases.iter().filter(|base| known.contains(base)).count();
    bases.sort_unstable();
    let apart = bases.windows(2).all(|pair| pair[0] != pair[1]) && bases[0] != 0;
    drop(arenas);
    empty && apart && found + HELD.load(Ordering::Relaxed) as usize >= 3 && POOL.idle().count == 4
}

/// The three arenas.
static KNOWN: [AtomicU64; 3] = [const { AtomicU64::new(0) }; 3];

/// Arenas that the stopped thread has, or is taking, or has not given back wholly.
static HELD: AtomicU64 = AtomicU64::new(0);

#[test]
fn a_pool_is_whole_wherever_the_thread_that_holds_its_lock_stays_behind() {
    let arenas: [_; 3] = core::array::from_fn(|_| POOL.take().unwrap());
    for (base, arena) in KNOWN.iter().zip(&arenas) {
        base.store(arena.base().addr() as u64, Ordering::Relaxed);
    }
    drop(arenas);
    let take = || {
        HELD.fetch_add(1, Ordering::Relaxed);
        let arena = POOL.take().unwrap();
        arena.alloc(1u64);
        arena
    };
    let give = |arena| {
        drop(arena);
        HELD.fetch_sub(1, Ordering::Relaxed);
    };
    let (children, failed) = stepwise(
        || {
            // Until none waits, and back in another order: so that no link happens to be right already.
            let (one, two, three) = (take(), take(), take());
            give(one);
            give(three);
            give(two);
        },
        all_of_the_pool,
    );
    println!("{children} children");
    assert!(children > 80 && failed == 0, "{failed} of {children} children");
}

/// The stopped thread's neighbours in the lists.
static NEIGHBOURS: Mutex<Vec<usize>> = Mutex::new(Vec::new());

fn large() -> OwnedArena {
    Arena::builder().capacity(1 << 20).keep(false).build().unwrap()
}

/// Takes all the neighbours out of the lists, from both ends, and puts others in.
fn all_of_the_lists() -> bool {
    let mine = large();
    let shared = SharedArena::init(4096).unwrap();
    let fine = *mine.alloc(1u64) + *shared.alloc(2u64) == 3;
    // Nobody holds this lock when the stepping begins.
    let Ok(neighbours) = NEIGHBOURS.try_lock() else { return false };
    for at in neighbours.iter() {
        // SAFETY: an arena that the parent left here, in this process's copy of its memory.
        drop(unsafe { Box::from_raw(core::ptr::with_exposed_provenance_mut::<OwnedArena>(*at)) });
    }
    // A walk over all lists ends, and meets mapped memory only.
    // SAFETY: no observer is set.
    unsafe { arenascope::observe_all(None) };
    drop((mine, shared));
    let again = large();
    fine && *again.alloc(3u64) == 3
}

#[test]
fn the_lists_of_all_arenas_are_whole_wherever_the_thread_that_changes_them_stays_behind() {
    let leave = |arena: OwnedArena| NEIGHBOURS.lock().unwrap().push(Box::into_raw(Box::new(arena)).expose_provenance());
    leave(large());
    let old = ManuallyDrop::new(large());
    leave(large());
    leave(large());
    let (children, failed) = stepwise(
        || {
            // In front of the list, and from between two.
            let new = large();
            drop(ManuallyDrop::into_inner(old));
            drop(new);
        },
        all_of_the_lists,
    );
    println!("{children} children");
    assert!(children > 300 && failed == 0, "{failed} of {children} children");
}

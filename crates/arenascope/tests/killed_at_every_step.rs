//! A user of shared memory is stopped after every single instruction, as if it were killed there: what it leaves must be whole, and
//! what it had not used yet must go to others, without a byte of what it had shown to anybody.
//!
//! The user is a child that is traced step by step; the memory is shared, so that what stands in it between two steps is what a SIGKILL there would
//! leave. Whenever the header or what the user has shown changed, the header is copied into memory of the same size, where the user is
//! gone, and survivors take all that is left. (`fork_policies` kills for real, at moments that nobody chose.)
#![cfg(target_os = "linux")]
#![allow(unsafe_code)] // Forks, traces, and writes headers of its own memory, some of them wrong on purpose.

use arenascope::fork::{ShareArena, ShareLocal};
use core::alloc::Layout;
use core::mem::ManuallyDrop;
use std::sync::atomic::{AtomicU64, Ordering};

const HEADER_BYTES: usize = 8192;
const LEASES: usize = 252;
const FIRST_LEASE: usize = 128;
const LEASE_BYTES: usize = 32;
const CURSOR: usize = 16;
const NOTHING_LEFT: u64 = u64::MAX;
const CAPACITY: usize = 96 << 10;

/// Blocks that a user has shown to others: how many, and each one's place and size. Lies in memory that outlives the user.
#[repr(C)]
struct Shown {
    count: AtomicU64,
    blocks: [(AtomicU64, AtomicU64); 4000],
}

impl Shown {
    /// Zeroed memory that a child shares.
    fn mapped() -> &'static Shown {
        // SAFETY: a fresh mapping, zero, which is a value of every field; never unmapped.
        unsafe {
            let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
            let at = libc::mmap(core::ptr::null_mut(), size_of::<Shown>(), protection, flags, -1, 0);
            assert!(at != libc::MAP_FAILED);
            &*at.cast()
        }
    }

    fn show(&self, at: u64, bytes: u64) {
        let count = self.count.load(Ordering::Relaxed);
        let block = &self.blocks[count as usize];
        block.0.store(at, Ordering::Relaxed);
        block.1.store(bytes, Ordering::Relaxed);
        self.count.store(count + 1, Ordering::Release);
    }

    fn all(&self) -> Vec<(u64, u64)> {
        let count = self.count.load(Ordering::Acquire) as usize;
        self.blocks[..count]
            .iter()
            .map(|block| (block.0.load(Ordering::Relaxed), block.1.load(Ordering::Relaxed)))
            .collect()
    }
}

/// A word of a header.
fn word(header: *mut u8, at: usize) -> &'static AtomicU64 {
    // SAFETY: an aligned word inside the header of memory that lives as long as the test.
    unsafe { AtomicU64::from_ptr(header.add(at).cast()) }
}

fn owner(lease: usize) -> usize {
    FIRST_LEASE + lease * LEASE_BYTES
}

/// What was seen on the way: that the user did what it was to do.
#[derive(Default, Debug)]
struct Seen {
    steps: u64,
    states: u64,
    /// A lease between its old span and its new one.
    between_spans: bool,
    /// A span that became longer where it is.
    longer: bool,
    /// A lease that was left to others.
    left: bool,
    /// A lease taken over from a process that is gone.
    inherited: bool,
}

fn fork(work: impl FnOnce()) -> libc::pid_t {
    // SAFETY: the child allocates from arenas and ends.
    match unsafe { libc::fork() } {
        0 => {
            let fine = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).is_ok();
            // SAFETY: ends the process.
            unsafe { libc::_exit(i32::from(!fine)) }
        }
        child if child > 0 => child,
        _ => panic!("fork: {}", std::io::Error::last_os_error()),
    }
}

fn wait(child: libc::pid_t) -> i32 {
    let mut status = 0;
    // SAFETY: waits for a child of ours.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    status
}

/// Runs `work` in a child, stopping it after each instruction. What is wrong with what it would leave there, if anything.
fn stopped_at_every_step(arena: &ShareArena, shown: &Shown, work: impl FnOnce()) -> Result<Seen, String> {
    // A number that no process has.
    let gone = fork(|| {});
    assert_eq!(wait(gone), 0);
    let copy = ShareArena::init(CAPACITY).unwrap();
    let child = fork(|| {
        // SAFETY: to be traced by the parent, which is told by the stop.
        unsafe {
            assert_eq!(libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0), 0);
            libc::raise(libc::SIGSTOP);
        }
        work();
    });
    let mut seen = Seen::default();
    let mut before = vec![0u8; HEADER_BYTES];
    let mut shown_before = u64::MAX;
    let mut outcome = Ok(());
    loop {
        let status = wait(child);
        if libc::WIFEXITED(status) {
            assert_eq!(status, 0, "the user ended well");
            break;
        }
        assert!(libc::WIFSTOPPED(status), "status {status:#x}");
        seen.steps += 1;
        // SAFETY: the header of memory that we map; its user stands still.
        let now = unsafe { core::slice::from_raw_parts(arena.base(), HEADER_BYTES) };
        let shown_now = shown.count.load(Ordering::Relaxed);
        if now != before || shown_now != shown_before {
            seen.states += 1;
            seen.look(&before, now, child as u32);
            before.copy_from_slice(now);
            shown_before = shown_now;
            outcome = after_a_kill(arena, &copy, &shown.all(), child as u32, gone as u32);
            if outcome.is_err() {
                // SAFETY: a child of ours.
                unsafe { libc::kill(child, libc::SIGKILL) };
                wait(child);
                break;
            }
        }
        // SAFETY: a traced child of ours that is stopped.
        assert_eq!(unsafe { libc::ptrace(libc::PTRACE_SINGLESTEP, child, 0, 0) }, 0);
    }
    outcome.map(|()| seen).map_err(|what| format!("{what}, {:?}", shown.all().last()))
}

impl Seen {
    fn look(&mut self, before: &[u8], now: &[u8], child: u32) {
        let read = |header: &[u8], at: usize| u64::from_le_bytes(header[at..at + 8].try_into().unwrap());
        for lease in 0..LEASES {
            let [at, was] = [now, before].map(|header| [0, 8, 16].map(|field| read(header, owner(lease) + field)));
            let mine = |owner: u64| (owner >> 32) as u32 == child;
            self.between_spans |= mine(at[0]) && at[2] == NOTHING_LEFT && at[1] != 0;
            self.longer |= mine(at[0]) && was[1] != 0 && was[1] != at[1] && was[1] << 28 == at[1] << 28;
            self.left |= mine(was[0]) && at[0] == 0;
            self.inherited |= mine(at[0]) && was[0] != 0 && !mine(was[0]);
        }
    }
}

/// What others find when `user` is killed now: a header that is whole, and room of which nobody has been shown a byte.
fn after_a_kill(
    arena: &ShareArena,
    copy: &ShareArena,
    shown: &[(u64, u64)],
    user: u32,
    gone: u32,
) -> Result<(), String> {
    arena.check().map_err(|error| format!("the header as it was left: {error}"))?;
    // SAFETY: headers of two memories of one size; nobody else uses them now.
    unsafe { copy.base().copy_from_nonoverlapping(arena.base(), HEADER_BYTES) };
    for lease in 0..LEASES {
        let owner = word(copy.base(), owner(lease));
        let now = owner.load(Ordering::Relaxed);
        if (now >> 32) as u32 == user {
            owner.store(u64::from(gone) << 32 | now & 0xffff_ffff, Ordering::Relaxed);
        }
    }
    let mut blocks = shown.to_vec();
    let local = copy.local().map_err(|error| error.to_string())?;
    for size in [512, 8] {
        let layout = Layout::from_size_align(size, 8).unwrap();
        while let Ok((_, at)) = local.try_alloc_layout(layout) {
            blocks.push((at.to_raw(), size as u64));
            if blocks.len() > CAPACITY {
                return Err("survivors get more than there is".into());
            }
        }
    }
    copy.check().map_err(|error| format!("when survivors had taken the rest: {error}"))?;
    blocks.sort_unstable();
    for pair in blocks.windows(2) {
        if pair[0].0 + pair[0].1 > pair[1].0 {
            return Err(format!("survivors got a byte twice: {pair:?}"));
        }
    }
    let end = blocks.last().map_or(0, |(at, bytes)| at + bytes);
    if end > (HEADER_BYTES + CAPACITY) as u64 || blocks.first().is_some_and(|(at, _)| *at < HEADER_BYTES as u64) {
        return Err("a block lies outside".into());
    }
    Ok(())
}

#[test]
fn whatever_a_user_was_doing_what_it_leaves_is_whole_and_goes_to_others_once() {
    let arena = ShareArena::init(CAPACITY).unwrap();
    let shown = Shown::mapped();
    let allocate = |local: &ShareLocal<'_>, size: usize| {
        let block = local.try_alloc_layout(Layout::from_size_align(size, 8).unwrap());
        block.map(|(_, at)| shown.show(at.to_raw(), size as u64)).is_ok()
    };
    // One that died with most of a lease, and a part of it shown.
    let dead = fork(|| {
        let local = ManuallyDrop::new(arena.local().unwrap());
        assert!(allocate(&local, 24));
    });
    assert_eq!(wait(dead), 0);
    let seen = stopped_at_every_step(&arena, shown, || {
        // Of two handles' leases each ends where the other's begins: they must go elsewhere.
        let one = arena.local().unwrap();
        let two = arena.local().unwrap();
        for round in 0.. {
            let size = [8, 200, 40, 1000, 16, 2500, 64][round % 7];
            let (first, second) = (allocate(&one, size), allocate(&two, size / 2));
            if round == 20 {
                let three = arena.local().unwrap();
                // Alone at the cursor: its lease grows in place. It is left, and taken again.
                (0..60).for_each(|_| assert!(allocate(&three, 200)));
                drop(three);
                assert!(allocate(&arena.local().unwrap(), 24));
            }
            if !first && !second {
                break;
            }
        }
    });
    let seen = seen.unwrap();
    println!("{seen:?}, {} blocks", shown.all().len());
    assert!(seen.between_spans && seen.longer && seen.left && seen.inherited, "{seen:?}");
    assert!(seen.states > 300 && shown.all().len() > 100, "{seen:?}");
}

/// A user that holds the first lease, of 1,024 bytes of which 128 are used, and goes on by hand: `work` gets the memory.
fn by_hand(work: impl FnOnce(*mut u8, &Shown)) -> Result<Seen, String> {
    let arena = ShareArena::init(CAPACITY).unwrap();
    let shown = Shown::mapped();
    shown.show(HEADER_BYTES as u64, 128);
    word(arena.base(), CURSOR).store(HEADER_BYTES as u64 + 1024, Ordering::Relaxed);
    word(arena.base(), owner(0) + 8).store(span(HEADER_BYTES as u64, 1024), Ordering::Relaxed);
    word(arena.base(), owner(0) + 16).store(HEADER_BYTES as u64 + 128, Ordering::Relaxed);
    stopped_at_every_step(&arena, shown, || {
        word(arena.base(), owner(0)).store(u64::from(std::process::id()) << 32 | 1, Ordering::Relaxed);
        work(arena.base(), shown);
    })
}

fn span(start: u64, bytes: u64) -> u64 {
    (start / 128) | ((bytes / 128) << 36)
}

const NEW: u64 = HEADER_BYTES as u64 + 2048;

/// Takes 1,024 bytes at `NEW`, as `leases::take` does.
fn take_new(header: *mut u8) {
    word(header, CURSOR).store(NEW + 1024, Ordering::Relaxed);
}

#[test]
fn the_order_of_a_lease_that_moves_is_needed() {
    by_hand(|header, shown| {
        take_new(header);
        word(header, owner(0) + 16).store(NOTHING_LEFT, Ordering::Release);
        word(header, owner(0) + 8).store(span(NEW, 1024), Ordering::Release);
        word(header, owner(0) + 16).store(NEW, Ordering::Release);
        word(header, owner(0) + 16).store(NEW + 8, Ordering::Relaxed);
        shown.show(NEW, 8);
    })
    .unwrap();
    let error = by_hand(|header, _| {
        take_new(header);
        word(header, owner(0) + 8).store(span(NEW, 1024), Ordering::Release);
        word(header, owner(0) + 16).store(NEW, Ordering::Release);
    });
    assert!(error.unwrap_err().contains("lies outside"), "the span before what is left of it");
    let error = by_hand(|header, _| {
        word(header, owner(0) + 16).store(NOTHING_LEFT, Ordering::Release);
        word(header, owner(0) + 8).store(span(NEW, 1024), Ordering::Release);
        take_new(header);
        word(header, owner(0) + 16).store(NEW, Ordering::Release);
    });
    assert!(error.unwrap_err().contains("past the cursor"), "a lease before it was taken");
}

#[test]
fn a_block_that_is_shown_before_it_is_accounted_for_is_caught() {
    let at = HEADER_BYTES as u64 + 128;
    by_hand(|header, shown| {
        word(header, owner(0) + 16).store(at + 64, Ordering::Relaxed);
        shown.show(at, 64);
    })
    .unwrap();
    let error = by_hand(|header, shown| {
        shown.show(at, 64);
        word(header, owner(0) + 16).store(at + 64, Ordering::Relaxed);
    });
    assert!(error.unwrap_err().contains("twice"));
}

#[test]
fn two_that_take_over_one_lease_are_caught() {
    // What `inherit`'s exchange prevents: a second lease with the span of the first.
    let error = by_hand(|header, _| {
        word(header, owner(1) + 8).store(span(HEADER_BYTES as u64, 1024), Ordering::Release);
    });
    assert!(error.unwrap_err().contains("overlap"));
}

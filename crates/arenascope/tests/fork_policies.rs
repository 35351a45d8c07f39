//! What parent and child see of an arena under each policy, and that no fork, and no process killed at any moment, breaks it.
//!
//! Children do as little as they can and leave by `_exit`: other threads of the test program may hold anything.
#![allow(unsafe_code)] // Forks, waits, kills, and builds arenas whose use in children is the caller's affair.

use arenascope::fork::{AtomicOffset, Offset, ShareArena, ShareError, ShareLocal, SliceOffset, WipeValues};
use arenascope::{Arena, Error, SharedArena};
use core::alloc::Layout;
use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// Runs `work` in a child; its answer is the child's status (true: 0).
fn in_child(work: impl FnOnce() -> bool) -> bool {
    wait(start_child(work)) == 0
}

fn start_child(work: impl FnOnce() -> bool) -> libc::pid_t {
    // SAFETY: the child runs `work`, which allocates from arenas only, and ends.
    match unsafe { libc::fork() } {
        0 => {
            let fine = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).unwrap_or(false);
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

fn many(few: u64) -> u64 {
    if std::env::var_os("ARENASCOPE_LONG").is_some() { few * 10 } else { few }
}

#[test]
fn copy_gives_the_child_a_private_copy() {
    let arena = Arena::init(4096).unwrap();
    let value = arena.alloc(1u64);
    let shown = value as *const u64;
    // SAFETY: written before the fork, and not while it is read.
    let before = unsafe { shown.read() };
    assert!(in_child(|| {
        *value = 2;
        *arena.alloc(3u64) == 3 && arena.offset() == 16
    }));
    // SAFETY: as above.
    assert_eq!((before, unsafe { shown.read() }, arena.offset()), (1, 1, 8), "the parent saw nothing of it");
}

#[test]
fn an_observer_in_a_child_hears_that_the_arena_is_inherited() {
    use arenascope::{Event, EventKind, OBSERVER_VERSION, Observer};
    static SEEN: [AtomicU64; 4] = [const { AtomicU64::new(0) }; 4];
    static COUNT: AtomicU64 = AtomicU64::new(0);
    unsafe extern "C" fn see(_: *mut core::ffi::c_void, event: *const Event) {
        // SAFETY: valid during the call.
        let event = unsafe { &*event };
        let at = COUNT.fetch_add(1, Ordering::Relaxed) as usize;
        if let Some(place) = SEEN.get(at) {
            let size = if event.kind == EventKind::INHERITED { event.size as u64 } else { 0 };
            place.store(u64::from(event.kind.0) << 32 | size, Ordering::Relaxed);
        }
    }
    static OBSERVER: Observer = Observer {
        version: OBSERVER_VERSION,
        table_bytes: size_of::<Observer>() as u32,
        context: core::ptr::null_mut(),
        event: see,
        sample_bytes: 0,
        next_sample: None,
        check: None,
    };
    let mut arena = Arena::init(4096).unwrap();
    // SAFETY: the observer is some counters.
    unsafe { arena.observe(Some(&OBSERVER)) };
    arena.alloc(1u64);
    assert_eq!(COUNT.load(Ordering::Relaxed), 1);
    let parent = std::process::id();
    assert!(in_child(|| {
        arena.alloc(2u64);
        arena.reset();
        let kinds = SEEN.each_ref().map(|seen| seen.load(Ordering::Relaxed));
        kinds == [2 << 32, 13 << 32 | u64::from(parent), 2 << 32, 9 << 32] && COUNT.load(Ordering::Relaxed) == 4
    }));
    arena.alloc(3u64);
    assert_eq!(COUNT.load(Ordering::Relaxed), 2, "the parent inherited nothing");
}

#[test]
fn absent_is_not_there_in_the_child() {
    for (capacity, huge) in [(1, false), (64 << 10, false), (8 << 20, true)] {
        let builder = Arena::builder().capacity(capacity);
        let builder = if huge { builder } else { builder.huge_pages(arenascope::HugePages::Never) };
        // SAFETY: no child uses a block.
        let (mut arena, other) = unsafe { (builder.build_absent().unwrap(), builder.build_absent().unwrap()) };
        let base = arena.get().unwrap().base().addr();
        arena.get().unwrap().alloc_slice_fill_copy(capacity, 7u8);
        assert!(in_child(|| {
            let gone = mapping_at(base).is_none() && arena.get().is_none() && !arena.reset();
            let no_scope = arena.scope(|_| ()).is_none();
            // All arenas of the process can still be found and watched.
            Arena::init(100).unwrap().alloc(1u64);
            drop(other);
            gone && no_scope
        }));
        assert!(mapping_at(base).is_some());
        assert_eq!(arena.scope(|scope| scope.offset()), Some(capacity));
        assert!(arena.reset());
        let (start, end) = mapping_at(base).unwrap();
        assert!(start % 4096 == 0 && end % 4096 == 0, "whole pages");
    }
}

/// The mapping that holds an address. Read without allocating from locks that a forked child may find held: into a buffer on the stack.
fn mapping_at(address: usize) -> Option<(usize, usize)> {
    // Not from malloc: a mapping for it could come to lie where the address was.
    let mut text = [0u8; 256 << 10];
    // SAFETY: plain system calls on a buffer of ours.
    let bytes = unsafe {
        let file = libc::open(c"/proc/self/maps".as_ptr(), libc::O_RDONLY);
        let mut filled = 0;
        loop {
            let got = libc::read(file, text.as_mut_ptr().add(filled).cast(), text.len() - filled);
            if got <= 0 {
                break;
            }
            filled += got as usize;
        }
        libc::close(file);
        filled
    };
    text.get(..bytes)?.split(|byte| *byte == b'\n').find_map(|line| {
        let line = core::str::from_utf8(line).ok()?;
        let (start, rest) = line.split_once('-')?;
        let end = rest.split(' ').next()?;
        let (start, end) = (usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?);
        (start..end).contains(&address).then_some((start, end))
    })
}

#[test]
fn wipe_gives_the_child_an_empty_arena_over_the_same_addresses() {
    for capacity in [1, 5000, 3 << 20] {
        // SAFETY: no child uses a block of the parent's.
        let mut arena = unsafe { Arena::builder().name("keys").capacity(capacity).build_wiped() }.unwrap();
        let secret = arena.get().alloc_slice_fill_copy(capacity, 0xa5u8).as_ptr();
        let (id, base) = (arena.get().id(), arena.get().base());
        assert!(in_child(|| {
            let fresh = arena.get();
            // SAFETY: mapped in the child, and zero.
            let gone = (0..capacity).all(|i| unsafe { secret.add(i).read_volatile() } == 0);
            let fits = fresh.try_alloc_slice_fill_copy(capacity, 1u8).is_ok() && fresh.try_alloc(0u8).is_err();
            let same =
                fresh.base() == base && fresh.name() == "keys" && fresh.capacity() == capacity && fresh.id() != id;
            // The child's own child starts anew, once more.
            let again = in_child(|| arena.get().offset() == 0 && arena.generation() == 2);
            let scope = arena.scope(|scope| scope.offset()) == capacity;
            arena.reset();
            gone && fits && same && again && scope && arena.generation() == 1 && arena.get().offset() == 0
        }));
        assert_eq!((arena.generation(), arena.get().offset()), (0, capacity));
        // SAFETY: the arena's own bytes.
        assert!((0..capacity).all(|i| unsafe { secret.add(i).read() } == 0xa5), "the parent's bytes stayed");
    }
    let values = WipeValues::<u32>::new(3000).unwrap();
    assert!((0..3000).all(|i| values.get(i) == Some(0) && values.set(i, i as u32 + 1)));
    assert!(!values.set(3000, 1) && values.get(3000).is_none() && values.len() == 3000);
    assert!(in_child(|| (0..3000).all(|i| values.get(i) == Some(0)) && values.set(5, 9) && values.get(5) == Some(9)));
    assert!((0..3000).all(|i| values.get(i) == Some(i as u32 + 1)));
    assert!(matches!(WipeValues::<u64>::new(usize::MAX / 4), Err(Error::TooLarge)));
}

#[test]
fn a_source_that_has_no_pages_of_its_own_refuses_both() {
    // SAFETY: nothing is made.
    let (wiped, absent) = unsafe {
        let builder = Arena::builder().capacity(100).source(&arenascope::Heap);
        (builder.build_wiped().err(), builder.build_absent().err())
    };
    assert_eq!((wiped, absent), (Some(Error::Os(libc::EINVAL)), Some(Error::Os(libc::EINVAL))));
    for source in [&arenascope::System as &'static dyn arenascope::Source, &arenascope::Stepwise] {
        // SAFETY: no child uses a block.
        let arena = unsafe { Arena::builder().capacity(1 << 20).source(source).build_wiped() }.unwrap();
        arena.get().alloc([1u8; 100_000]);
        assert!(in_child(|| arena.get().offset() == 0 && arena.get().alloc([2u8; 500_000])[7] == 2));
    }
}

#[test]
fn share_gives_parent_and_children_one_cursor_and_no_byte_twice() {
    let arena = ShareArena::init(8 << 20).unwrap();
    let local = arena.local().unwrap();
    let count = local.alloc(AtomicU64::new(0)).unwrap();
    let places = local.alloc([const { AtomicU64::new(0) }; 4000]).unwrap();
    // Handles from before the fork, and new ones; each writes its block's place where all can see it.
    let allocate = |local: &ShareLocal<'_>, mark: u64| {
        for round in 0..500 {
            let size = (round * 37 % 300 + 8) as usize;
            let (block, offset) = local.try_alloc_layout(Layout::from_size_align(size, 8).unwrap()).unwrap();
            // SAFETY: a block of so many bytes.
            unsafe { block.write_bytes(mark as u8, size) };
            let at = arena.get(count).unwrap().fetch_add(1, Ordering::Relaxed) as usize;
            arena.get(places).unwrap()[at].store(offset.to_raw() << 20 | (size as u64) << 8 | mark, Ordering::Release);
        }
    };
    let children: Vec<_> = (1..=6)
        .map(|mark| {
            start_child(|| {
                match mark % 2 {
                    0 => allocate(&local, mark),
                    _ => allocate(&arena.local().unwrap(), mark),
                }
                true
            })
        })
        .collect();
    allocate(&local, 7);
    assert!(children.into_iter().all(|child| wait(child) == 0));
    let mut blocks = BTreeMap::new();
    for place in arena.get(places).unwrap().iter().take(3500) {
        let place = place.load(Ordering::Acquire);
        let (at, size, mark) = (place >> 20, place >> 8 & 0xfff, place as u8);
        assert!(at != 0 && blocks.insert(at, (size, mark)).is_none(), "a block was handed out twice");
    }
    let mut end = 0;
    for (at, (size, mark)) in blocks {
        assert!(end <= at, "blocks overlap at {at}");
        end = at + size;
        // SAFETY: the block was made of so many bytes of this type.
        let bytes = unsafe { core::slice::from_raw_parts(arena.base().add(at as usize), size as usize) };
        assert!(bytes.iter().all(|byte| *byte == mark));
    }
    let walk = arena.check().unwrap();
    assert_eq!(walk.orphaned, walk.held - 1, "the children are gone, and hold leases: {walk:?}");
}

#[test]
fn a_child_s_copy_of_a_handle_takes_a_lease_of_its_own() {
    let arena = ShareArena::init(1 << 20).unwrap();
    let local = arena.local().unwrap();
    let before = local.alloc(1u64).unwrap();
    let lease_of = |at: u64| arena.leases().find(|lease| (lease.start..lease.end).contains(&at)).unwrap();
    let parents = lease_of(before.to_raw());
    assert_eq!(parents.owner.unwrap().0, std::process::id());
    assert!(in_child(|| {
        // Not by chance: the parent's lease has room for it, and nobody else is using that now.
        let mine = lease_of(local.alloc(2u64).unwrap().to_raw());
        // And the child's child, too.
        let again = in_child(|| {
            let theirs = lease_of(local.alloc(3u64).unwrap().to_raw());
            theirs.owner.unwrap().0 == std::process::id() && theirs.start != mine.start
        });
        mine.owner.unwrap().0 == std::process::id() && mine.start != parents.start && again
    }));
    assert_eq!(lease_of(before.to_raw()).used, parents.used, "nobody allocated from the parent's lease");
}

#[test]
fn an_unrelated_process_maps_the_memory_by_its_descriptor() {
    let arena = ShareArena::init(100_000).unwrap();
    let text = arena.local().unwrap().alloc_slice_copy(b"across").unwrap();
    let file: OwnedFd = arena.as_fd().try_clone_to_owned().unwrap();
    // SAFETY: only this library writes the file.
    let other = unsafe { ShareArena::attach(file) }.unwrap();
    assert_ne!(other.base(), arena.base());
    assert_eq!((other.get_slice(text), text.len(), other.capacity()), (Some(&b"across"[..]), 6, 100_096));
    let answer = other.local().unwrap().alloc(AtomicOffset::<u8>::new(text.first())).unwrap();
    assert_eq!(arena.get(answer).unwrap().find(), text.first());
    assert_eq!(arena.get(answer).unwrap().exchange(Offset::NULL, text.first()), Err(text.first()));
    // What is no place of a block.
    assert!(arena.get(Offset::<u64>::NULL).is_none());
    // SAFETY: not of this arena: they must be refused.
    unsafe {
        assert!(arena.get(Offset::<u64>::from_raw(text.first().to_raw() + 1)).is_none(), "not aligned");
        assert!(arena.get(Offset::<u64>::from_raw(u64::MAX)).is_none());
        assert!(arena.get(Offset::<u64>::from_raw(99_992)).is_none(), "not leased yet");
        assert!(arena.get(Offset::<u8>::from_raw(4096)).is_none(), "the header");
    }
}

#[test]
fn what_is_no_shared_memory_is_refused_by_name() {
    let memory = |bytes: u64, seal: bool| {
        // SAFETY: plain system calls.
        unsafe {
            use std::os::fd::FromRawFd;
            let file = libc::memfd_create(c"test".as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING);
            assert_eq!(libc::ftruncate(file, bytes as i64), 0);
            if seal {
                assert_eq!(libc::fcntl(file, libc::F_ADD_SEALS, libc::F_SEAL_SHRINK), 0);
            }
            OwnedFd::from_raw_fd(file)
        }
    };
    // SAFETY: nobody else writes the files.
    let attach = |file: OwnedFd| unsafe { ShareArena::attach(file) }.map(|_| ()).unwrap_err();
    assert_eq!(attach(memory(100, true)), ShareError::TooSmall { bytes: 100, needed: 8192 });
    assert_eq!(attach(memory(1 << 20, false)), ShareError::NotSealed);
    assert_eq!(attach(memory(1 << 20, true)), ShareError::WrongMagic(0));
    assert_eq!(
        attach(std::fs::File::open("/dev/null").unwrap().into()),
        ShareError::TooSmall { bytes: 0, needed: 8192 }
    );

    let changed = |at: usize, value: u64| {
        let arena = ShareArena::init(1 << 20).unwrap();
        let local = arena.local().unwrap();
        local.alloc(1u64).unwrap();
        // SAFETY: a header of our own, damaged on purpose.
        unsafe { arena.base().add(at).cast::<u64>().write(value) };
        attach(arena.as_fd().try_clone_to_owned().unwrap())
    };
    assert_eq!(changed(0, 7), ShareError::WrongMagic(7));
    assert_eq!(changed(8, 8192 << 32 | 9), ShareError::OtherLayout(9), "a version to come");
    assert_eq!(changed(32, 1 << 40), ShareError::TooSmall { bytes: 1_114_112, needed: 1 << 40 });
    for (at, value) in [(8, 77 << 32 | 1), (16, 100), (16, 8193), (16, 1 << 40), (24, 1 << 40), (24, 5)] {
        assert!(matches!(changed(at, value), ShareError::Damaged(_)), "{at} {value}");
    }
    // The first lease: span and what is left of it.
    for (at, value) in [(136, u64::MAX), (136, 1 << 36 | 3), (144, 1), (144, 1 << 20), (168, 1 << 36 | 64)] {
        assert!(matches!(changed(at, value), ShareError::Damaged(_)), "{at} {value}");
    }
    assert_eq!(ShareArena::init(usize::MAX).unwrap_err(), ShareError::TooLarge);
    for error in
        [ShareError::NotSealed, ShareError::WrongMagic(1), ShareError::OtherLayout(2), ShareError::MemfdUnavailable(1)]
    {
        assert!(error.to_string().len() > 30, "{error}");
    }
}

#[test]
fn without_memory_files_the_error_says_so() {
    // In a child, for the filter stays. A kernel that refuses memfd_create stands for one that has none.
    assert!(in_child(|| {
        let mut filter = [
            libc::sock_filter { code: 0x20, jt: 0, jf: 0, k: 0 },
            libc::sock_filter { code: 0x15, jt: 0, jf: 1, k: libc::SYS_memfd_create as u32 },
            libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: 0x0005_0000 | libc::ENOSYS as u32 },
            libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: 0x7fff_0000 },
        ];
        let program = libc::sock_fprog { len: 4, filter: filter.as_mut_ptr() };
        // SAFETY: a filter of four instructions, for this child.
        unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
            assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, 2, &raw const program), 0);
        }
        matches!(ShareArena::init(4096), Err(ShareError::MemfdUnavailable(libc::ENOSYS)))
    }));
}

#[test]
fn a_full_arena_says_who_holds_the_rest_and_the_dead_hold_nothing() {
    let arena = ShareArena::init(64 << 10).unwrap();
    let local = arena.local().unwrap();
    let ready = local.alloc(AtomicU32::new(0)).unwrap();
    // A child takes all that is left as its lease and keeps it, alive.
    let child = start_child(|| {
        let local = arena.local().unwrap();
        while local.alloc([0u8; 1000]).is_ok() {}
        let small = local.alloc(0u64).is_ok();
        arena.get(ready).unwrap().store(1, Ordering::Release);
        // SAFETY: waits for a signal.
        unsafe { libc::pause() };
        small
    });
    while arena.get(ready).unwrap().load(Ordering::Acquire) == 0 {
        std::thread::yield_now();
    }
    while local.alloc(0u64).is_ok() {}
    let theirs: u64 = arena
        .leases()
        .filter(|lease| lease.owner.is_some_and(|(pid, _)| pid == child as u32))
        .map(|lease| lease.end - lease.used)
        .sum();
    assert!(theirs >= 128, "{:?}", arena.leases().collect::<Vec<_>>());
    assert_eq!(local.alloc(0u64), Err(Error::LeasesHeld));
    assert_eq!(local.alloc([0u8; 60_000]), Err(Error::Full));
    // SAFETY: a child of ours.
    unsafe { libc::kill(child, libc::SIGKILL) };
    wait(child);
    assert!(arena.leases().any(|lease| !lease.alive));
    assert!(local.alloc(0u64).is_ok(), "the dead one's lease is taken over: {:?}", arena.leases().collect::<Vec<_>>());
    while local.alloc(0u64).is_ok() {}
    assert_eq!(local.alloc(0u64), Err(Error::Full), "now nobody holds anything");
    assert!(arena.check().unwrap().refusals >= 3);
}

/// Has the kernel kill this process so many microseconds from now, wherever it is then. Its own timer, for a parent that sleeps and
/// kills has to be scheduled twice for each of them.
fn killed_after(microseconds: u64) {
    // SAFETY: a timer of this process, set by values of this function's own; zero is a value of every field.
    unsafe {
        let mut event: libc::sigevent = core::mem::zeroed();
        (event.sigev_notify, event.sigev_signo) = (libc::SIGEV_SIGNAL, libc::SIGKILL);
        let mut timer: libc::timer_t = core::mem::zeroed();
        assert_eq!(libc::timer_create(libc::CLOCK_MONOTONIC, &mut event, &mut timer), 0);
        let mut when: libc::itimerspec = core::mem::zeroed();
        when.it_value.tv_nsec = microseconds as libc::c_long * 1000;
        assert_eq!(libc::timer_settime(timer, 0, &when, core::ptr::null_mut()), 0);
    }
}

/// A block of the torture: linked to the one published before, and checked by a sum.
#[repr(C)]
struct Node {
    next: Offset<Node>,
    bytes: SliceOffset<u8>,
    sum: u64,
}

// SAFETY: numbers and offsets.
unsafe impl arenascope::fork::Shareable for Node {}

#[test]
fn users_of_shared_memory_may_be_killed_at_any_instant() {
    let kills = many(1_000);
    let mut arena = ShareArena::init(64 << 20).unwrap();
    let mut steps = 0x9e37_79b9_7f4a_7c15_u64;
    let mut killed = 0;
    let mut published = 0;
    while killed < kills {
        let list = arena.local().unwrap().alloc(AtomicOffset::<Node>::new(Offset::NULL)).unwrap();
        // Four users at a time, killed at moments that have nothing to do with what they do.
        let users: Vec<_> = (0..4)
            .map(|user: u64| {
                steps = steps.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                let (arena, microseconds) = (&arena, (steps >> 33) % 600 + 1);
                start_child(move || {
                    killed_after(microseconds);
                    let local = arena.local().unwrap();
                    let list = arena.get(list).unwrap();
                    for round in 0u64.. {
                        let fill = [(round ^ user) as u8; 200];
                        let Ok(bytes) = local.alloc_slice_copy(&fill[..(round * 13 % 200) as usize]) else { break };
                        let sum = bytes.len() as u64 * u64::from((round ^ user) as u8);
                        let mut next = list.find();
                        let Ok(node) = local.alloc(Node { next, bytes, sum }) else { break };
                        // The node is ours until it is published: its link may still change.
                        while let Err(now) = list.exchange(next, node) {
                            next = now;
                            // SAFETY: allocated above, and shown to nobody.
                            unsafe { (*arena.base().add(node.to_raw() as usize).cast::<Node>()).next = next };
                        }
                    }
                    // SAFETY: waits to be killed.
                    unsafe { libc::pause() };
                    true
                })
            })
            .collect();
        for user in users {
            let status = wait(user);
            assert!(libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGKILL, "status {status:#x}");
            killed += 1;
        }
        let walk = arena.check().unwrap_or_else(|error| panic!("after {killed} kills: {error}"));
        published += walk_list(&arena, list);
        if walk.leased_bytes > 48 << 20 {
            arena = ShareArena::init(64 << 20).unwrap();
        }
    }
    println!("{published} blocks published by {killed} users before they died");
    assert!(published > kills, "the users did something before they died: {published}");
}

/// Follows the list; every node whole, none where another one is.
fn walk_list(arena: &ShareArena, list: Offset<AtomicOffset<Node>>) -> u64 {
    let mut at = arena.get(list).unwrap().find();
    let mut blocks = BTreeMap::new();
    let mut count = 0;
    while !at.is_null() {
        let node = arena.get(at).expect("a published node lies inside");
        let bytes = arena.get_slice(node.bytes).expect("its bytes, too");
        assert_eq!(bytes.iter().map(|byte| u64::from(*byte)).sum::<u64>(), node.sum, "a published node is whole");
        assert!(blocks.insert(at.to_raw(), size_of::<Node>()).is_none());
        if !bytes.is_empty() {
            assert!(blocks.insert(node.bytes.first().to_raw(), bytes.len()).is_none());
        }
        at = node.next;
        count += 1;
    }
    let mut end = 0;
    for (start, bytes) in blocks {
        assert!(end <= start, "two blocks share a byte at {start}");
        end = start + bytes as u64;
    }
    count
}

#[test]
fn a_thread_may_fork_while_others_create_fill_and_destroy_arenas() {
    let forks = many(1_000);
    let shared = SharedArena::growing().unwrap();
    let share = ShareArena::init(256 << 20).unwrap();
    // SAFETY: children use neither blocks nor references of the parent's.
    let (mut absent, wiped) = unsafe {
        let builder = Arena::builder().capacity(1 << 16);
        (builder.build_absent().unwrap(), builder.build_wiped().unwrap())
    };
    let shown = share.local().unwrap().alloc([const { AtomicU64::new(0) }; 2]).unwrap();
    let stop = AtomicBool::new(false);
    let mappings = || std::fs::read_to_string("/proc/self/maps").unwrap().lines().count();
    let before = mappings();
    std::thread::scope(|scope| {
        for thread in 0..3u64 {
            let (shared, share, stop) = (&shared, &share, &stop);
            scope.spawn(move || {
                let (local, of_share) = (shared.local(), share.local().unwrap());
                let mut round = 0u64;
                while !stop.load(Ordering::Relaxed) {
                    round += 1;
                    // Regions of their own, slabs, shared ones: every list and every lock.
                    let large = Arena::builder().capacity(1 << 20).keep(round.is_multiple_of(2)).build().unwrap();
                    large.alloc([round; 100]);
                    let small = Arena::init(1000).unwrap();
                    small.alloc(round);
                    drop(large);
                    if round % 8 == thread {
                        drop(SharedArena::init(1 << 16).unwrap());
                        arenascope::release_kept();
                    }
                    if shared.stats().leased_bytes < 1 << 30 {
                        assert_eq!(*local.alloc(round), round);
                        assert_eq!(*shared.alloc(round), round);
                    }
                    let _ = of_share.alloc(round);
                }
            });
        }
        let (local, of_share) = (shared.local(), share.local().unwrap());
        for fork in 0..forks {
            let mine = of_share.alloc(fork).unwrap();
            let child = start_child(|| {
                // Every policy, in a child whose other threads stopped anywhere.
                let own = Arena::init(100).unwrap();
                let large = Arena::builder().capacity(1 << 20).keep(false).build().unwrap();
                let copied = *own.alloc(1u64) == 1
                    && *large.alloc(2u64) == 2
                    && *local.alloc(3u64) == 3
                    && *shared.alloc(4u64) == 4;
                let theirs = of_share.alloc(fork).unwrap();
                share.get(shown).unwrap()[0].store(theirs.to_raw(), Ordering::Release);
                let fresh = share.local().unwrap().alloc(fork).unwrap();
                share.get(shown).unwrap()[1].store(fresh.to_raw(), Ordering::Release);
                let wiped = wiped.get().offset() == 0 && *wiped.get().alloc(5u64) == 5 && wiped.generation() == 1;
                let absent = absent.get().is_none() && !absent.reset();
                drop((own, large));
                copied && wiped && absent
            });
            let after = of_share.alloc(fork).unwrap();
            assert_eq!(wait(child), 0, "fork {fork}");
            let [theirs, fresh] = share.get(shown).unwrap();
            let blocks = [mine.to_raw(), after.to_raw(), theirs.load(Ordering::Acquire), fresh.load(Ordering::Acquire)];
            assert!(blocks.iter().all(|block| *block != 0));
            assert!(
                (0..4).all(|i| (0..i).all(|j| blocks[i] != blocks[j])),
                "parent and child got the same block: {blocks:?}"
            );
            assert_eq!(share.get(mine), Some(&fork));
        }
        stop.store(true, Ordering::Relaxed);
    });
    share.check().unwrap();
    assert_eq!(absent.get().unwrap().offset(), 0);
    let after = mappings();
    assert!(after <= before + 40, "mappings are left behind: {before} before, {after} after");
}

#[test]
fn the_descriptor_is_not_left_open_by_exec() {
    let arena = ShareArena::init(4096).unwrap();
    // SAFETY: asks for a flag.
    let flags = unsafe { libc::fcntl(arena.as_fd().as_raw_fd(), libc::F_GETFD) };
    assert_eq!(flags & libc::FD_CLOEXEC, libc::FD_CLOEXEC);
}

/// Makes the next child the first process of a name space of its own: its number is 1 there. False where that is not allowed.
fn next_child_is_number_one() -> bool {
    // SAFETY: plain system calls, in a child that does nothing else.
    unsafe { libc::unshare(libc::CLONE_NEWPID) == 0 || libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWPID) == 0 }
}

#[test]
fn a_child_with_its_parents_number_is_a_child_all_the_same() {
    const NOT_ALLOWED: i32 = 77;
    // SAFETY: ends the process.
    let leave = |status: i32| -> bool { unsafe { libc::_exit(status) } };
    let status = wait(start_child(|| {
        if !next_child_is_number_one() {
            return leave(NOT_ALLOWED);
        }
        let first = start_child(|| {
            // SAFETY: the child asks for the arenas, and uses nothing from before the fork.
            let (absent, wiped) = unsafe {
                let builder = || Arena::builder().capacity(4096);
                (builder().build_absent().unwrap(), builder().build_wiped().unwrap())
            };
            wiped.get().alloc_str("a secret");
            let keys = WipeValues::<u64>::new(1).unwrap();
            keys.set(0, 7);
            if !next_child_is_number_one() {
                return leave(NOT_ALLOWED);
            }
            let second = wait(start_child(|| {
                assert_eq!(std::process::id(), 1);
                absent.get().is_none() && wiped.generation() == 1 && wiped.get().offset() == 0 && keys.get(0) == Some(0)
            }));
            assert_eq!(std::process::id(), 1);
            second == 0 && absent.get().is_some() && wiped.generation() == 0
        });
        let first = wait(first);
        leave(if libc::WIFEXITED(first) { libc::WEXITSTATUS(first) } else { 1 })
    }));
    if libc::WEXITSTATUS(status) == NOT_ALLOWED {
        eprintln!("not tested: name spaces for processes are not allowed here");
        return;
    }
    assert_eq!(status, 0, "both were number 1, and only one made the arenas");
}

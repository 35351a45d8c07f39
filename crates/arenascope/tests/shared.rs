//! Shared arenas: many threads, one region; every promise of `SharedArena` and `Local`, against threads that check each other's bytes.

#![allow(unsafe_code)] // Fills and checks raw blocks; forks.

use arenascope::{Arena, Error, FailAt, Heap, OnReset, SharedArena, Stepwise, System};
use core::alloc::Layout;
use core::ptr::NonNull;
use std::collections::BTreeMap;
use std::sync::{Barrier, Mutex, mpsc};

/// Steps that look random and are the same each time.
struct Steps(u64);

impl Steps {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % below
    }
}

/// All blocks that were handed out, checked against each other.
#[derive(Default)]
struct Blocks(Mutex<BTreeMap<usize, usize>>);

impl Blocks {
    fn enter(&self, start: usize, bytes: usize) {
        if bytes == 0 {
            return;
        }
        let mut blocks = self.0.lock().unwrap();
        let below = blocks.range(..start + bytes).next_back().map(|(start, bytes)| (*start, *bytes));
        if let Some((other, others)) = below {
            assert!(other + others <= start, "{other:#x}+{others} and {start:#x}+{bytes} overlap");
        }
        blocks.insert(start, bytes);
    }
}

fn layout(steps: &mut Steps) -> Layout {
    let size = match steps.next(20) {
        0 => 0,
        1 => steps.next(200_000),
        2..=4 => steps.next(5_000),
        _ => steps.next(100),
    };
    let align = 1 << if steps.next(30) == 0 { steps.next(14) } else { steps.next(5) };
    Layout::from_size_align(size as usize, align).unwrap()
}

fn hammer(arena: &SharedArena, threads: u64, rounds: u64, seed: u64, blocks: &Blocks) {
    std::thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || {
                let local = arena.local();
                let mut steps = Steps(seed * 1000 + thread);
                let mut mine = Vec::new();
                for round in 0..rounds {
                    let layout = layout(&mut steps);
                    let mark = (thread * 31 + round) as u8;
                    let block = match steps.next(4) {
                        0 => arena.try_alloc_layout(layout),
                        1 => local.try_alloc_zeroed_layout(layout).inspect(|block| {
                            // SAFETY: so many bytes, of this thread alone.
                            let bytes = unsafe { core::slice::from_raw_parts(block.as_ptr(), layout.size()) };
                            assert!(bytes.iter().all(|byte| *byte == 0), "zeroed");
                        }),
                        _ => local.try_alloc_layout(layout),
                    };
                    let block = match block {
                        Ok(block) => block,
                        Err(Error::Full | Error::LeasesHeld) => continue,
                        Err(error) => panic!("{error}"),
                    };
                    assert_eq!(block.addr().get() % layout.align(), 0);
                    blocks.enter(block.addr().get(), layout.size());
                    // SAFETY: as above.
                    unsafe { block.write_bytes(mark, layout.size()) };
                    mine.push((block, layout.size(), mark));
                }
                for (block, bytes, mark) in mine {
                    // SAFETY: written above; blocks live as long as the arena.
                    let bytes = unsafe { core::slice::from_raw_parts(block.as_ptr(), bytes) };
                    assert!(bytes.iter().all(|byte| *byte == mark), "somebody wrote into a block of thread {thread}");
                }
            });
        }
    });
}

#[test]
fn no_two_threads_get_the_same_byte_whatever_they_ask_for() {
    for seed in 0..4 {
        let mut arena = SharedArena::growing().unwrap();
        hammer(&arena, 6, 3_000, seed, &Blocks::default());
        // A handle each, and a berth each for calls without one, which a thread may leave a moment after its scope.
        let stats = arena.stats();
        assert!(stats.berths <= 12 && stats.held <= 6, "{stats:?}");
        // After a reset everything is handed out anew, and what is asked for as zero is zero.
        arena.reset();
        assert_eq!(arena.stats().leased_bytes, 0);
        hammer(&arena, 6, 3_000, seed + 100, &Blocks::default());
    }
}

#[test]
fn a_bounded_arena_stays_within_its_bound_on_every_source() {
    static FAILING: FailAt = FailAt::new(&System, u64::MAX);
    for source in [None, Some(&Stepwise as &'static dyn arenascope::Source), Some(&Heap), Some(&FAILING)] {
        for capacity in [0, 1, 127, 4096, 100_000, 3 << 20] {
            let mut builder = Arena::builder().name("bounded").capacity(capacity);
            if let Some(source) = source {
                builder = builder.source(source);
            }
            let arena = builder.build_shared().unwrap();
            assert_eq!(arena.capacity(), capacity.next_multiple_of(128));
            let blocks = Blocks::default();
            hammer(&arena, 4, 400, capacity as u64, &blocks);
            let base = arena.base().addr();
            for (start, bytes) in &*blocks.0.lock().unwrap() {
                assert!(base <= *start && start + bytes <= base + arena.capacity());
            }
            let stats = arena.stats();
            assert!(stats.leased_bytes <= arena.capacity() as u64, "{stats:?}");
        }
    }
}

#[test]
fn one_thread_alone_loses_nothing_and_grows_in_place() {
    let arena = SharedArena::growing().unwrap();
    let local = arena.local();
    let first = local.alloc(0u64) as *mut u64;
    for i in 1..200_000u64 {
        assert_eq!(local.alloc(i) as *mut u64, first.wrapping_add(i as usize), "blocks lie side by side");
    }
    let stats = arena.stats();
    assert_eq!(stats.lost_bytes, 0);
    assert_eq!(stats.leased_bytes - stats.unused_bytes, 1_600_000 + 8, "all but the end of the lease: {stats:?}");

    // The last block grows where it lies, past the end of its lease.
    let layout = Layout::array::<u8>(100).unwrap();
    let larger = Layout::array::<u8>(10 << 20).unwrap();
    let block = local.alloc_layout(layout);
    // SAFETY: a living block of that layout.
    let grown = unsafe { local.try_resize(block, layout, larger) }.unwrap();
    assert_eq!(grown, block);
}

#[test]
fn what_threads_leave_is_used_by_the_next_ones() {
    let arena = SharedArena::growing().unwrap();
    for round in 0..2_000u64 {
        std::thread::scope(|scope| {
            scope.spawn(|| arena.local().alloc(round));
        });
    }
    let stats = arena.stats();
    assert_eq!((stats.berths, stats.held), (1, 0), "one thread at a time needs one berth");
    assert_eq!(stats.leased_bytes, 64 << 10, "16,000 bytes fit into one lease: {stats:?}");

    // So many at a time: so many leases, however many come and go. The same without handles.
    for with_handle in [true, false] {
        let arena = SharedArena::growing().unwrap();
        for _ in 0..20 {
            let together = Barrier::new(8);
            std::thread::scope(|scope| {
                for _ in 0..8 {
                    scope.spawn(|| {
                        let local = with_handle.then(|| arena.local());
                        for i in 0..100u64 {
                            match &local {
                                Some(local) => assert_eq!(*local.alloc(i), i),
                                None => assert_eq!(*arena.alloc(i), i),
                            }
                        }
                        together.wait();
                    });
                }
            });
        }
        let stats = arena.stats();
        // A thread's memory of its berths may outlive the scope by a moment, so that the next round finds them held.
        assert!(stats.berths <= 16, "{stats:?}");
        assert!(stats.unused_bytes <= stats.berths as u64 * (64 << 10), "one lease for each thread: {stats:?}");
    }
}

#[test]
fn a_sixteenth_at_most_is_lost_at_the_ends_of_leases() {
    let arena = SharedArena::growing().unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let arena = &arena;
            scope.spawn(move || {
                let local = arena.local();
                let mut steps = Steps(thread);
                for _ in 0..20_000 {
                    local.alloc_uninit_slice::<u8>(steps.next(3_000) as usize);
                }
            });
        }
    });
    let stats = arena.stats();
    assert!(stats.leased_bytes > 100 << 20);
    assert!(stats.lost_bytes <= stats.leased_bytes / 16, "{stats:?}");
    assert!(stats.unused_bytes <= 4 << 20, "four leases: {stats:?}");
}

#[test]
fn a_handle_goes_with_its_thread_when_that_panics() {
    let arena = SharedArena::growing().unwrap();
    for _ in 0..50 {
        let ended = std::thread::scope(|scope| {
            let arena = &arena;
            scope
                .spawn(move || {
                    let local = arena.local();
                    local.alloc_with(|| if true { panic!("on purpose") } else { 0u64 });
                })
                .join()
        });
        assert!(ended.is_err());
    }
    let stats = arena.stats();
    assert_eq!((stats.berths, stats.held), (1, 0));
    assert_eq!(*arena.local().alloc(7), 7);
}

#[test]
fn more_threads_than_slots_get_further_ones() {
    let arena = SharedArena::init(64 << 20).unwrap();
    let handles: Vec<_> = (0..100).map(|_| arena.local()).collect();
    let values: Vec<_> = handles.iter().enumerate().map(|(i, local)| local.alloc(i)).collect();
    assert!(values.iter().enumerate().all(|(i, value)| **value == i));
    assert_eq!(arena.stats().held, 100);
    let owners: Vec<_> = arena.leases().filter_map(|lease| lease.owner).collect();
    assert_eq!(owners.len(), 100);
    assert!(owners.iter().all(|(pid, _)| *pid == std::process::id()));
    drop(handles);
    assert_eq!(arena.stats().held, 0);
}

#[test]
fn full_says_whether_others_hold_what_is_left() {
    let arena = Arena::builder().capacity(8192).build_shared().unwrap();
    let (one, two) = (arena.local(), arena.local());
    assert!(one.try_alloc([0u8; 1000]).is_ok());
    assert!(two.try_alloc([0u8; 100]).is_ok());
    // 4096 and 4096 bytes are leased now. What the other one has not used is not ours.
    assert_eq!(one.try_alloc_uninit_slice::<u8>(3500).err(), Some(Error::LeasesHeld));
    assert_eq!(one.try_alloc_uninit_slice::<u8>(5000).err(), Some(Error::Full));
    assert!(two.try_alloc_uninit_slice::<u8>(3500).is_ok());
    assert_eq!(one.try_alloc_uninit_slice::<u8>(3500).err(), Some(Error::Full));
    assert!(one.try_alloc_uninit_slice::<u8>(3000).is_ok(), "its own rest is its own");
    assert_eq!(arena.stats().refusals, 3);
    assert_eq!(
        arena.try_alloc_layout(Layout::from_size_align(isize::MAX as usize - 7, 1).unwrap()),
        Err(Error::TooLarge)
    );
}

#[test]
fn a_source_that_fails_in_the_middle_costs_one_block_and_no_byte() {
    static SOURCE: FailAt = FailAt::new(&Stepwise, u64::MAX);
    let arena = Arena::builder().capacity(1 << 20).source(&SOURCE).build_shared().unwrap();
    let local = arena.local();
    local.alloc(1u64);
    let before = arena.stats();
    SOURCE.grant(0);
    assert!(matches!(local.try_alloc_uninit_slice::<u8>(600_000).err(), Some(Error::Os(_))));
    assert!(matches!(arena.try_alloc_layout(Layout::new::<[u8; 600_000]>()).err(), Some(Error::Os(_))));
    let after = arena.stats();
    assert_eq!((after.leased_bytes, after.lost_bytes), (before.leased_bytes, 0));
    // More handles than berths need memory, too.
    let handles: Vec<_> = (0..14).filter_map(|_| arena.try_local().ok()).collect();
    assert!(matches!(arena.try_local().err(), Some(Error::Os(_))));
    SOURCE.grant(u64::MAX);
    assert!(arena.try_local().is_ok());
    assert!(local.try_alloc_uninit_slice::<u8>(600_000).is_ok());
    drop(handles);
}

#[test]
fn collections_on_a_shared_arena_may_be_dropped_and_grown_by_other_threads() {
    use allocator_api2_04::vec::Vec as ArenaVec;
    let arena = SharedArena::growing().unwrap();
    let (sender, receiver) = mpsc::channel::<ArenaVec<u64, &SharedArena>>();
    std::thread::scope(|scope| {
        let arena = &arena;
        scope.spawn(move || {
            for n in 0..200 {
                let mut vector = ArenaVec::new_in(arena);
                vector.extend(0..n);
                sender.send(vector).unwrap();
            }
        });
        scope.spawn(move || {
            for (n, mut vector) in receiver.into_iter().enumerate() {
                vector.extend(0..1_000);
                assert_eq!(vector.len(), n + 1_000);
                assert!(vector.iter().take(n).copied().eq(0..n as u64));
                assert!(vector.iter().skip(n).copied().eq(0..1_000));
            }
        });
    });
    // On a thread's handle they grow in place, as long as nobody has leased behind its lease.
    let arena = SharedArena::growing().unwrap();
    let local = arena.local();
    let mut vector = ArenaVec::new_in(&local);
    vector.push(0u64);
    let start = vector.as_ptr();
    vector.extend(1..1_000_000);
    assert_eq!(vector.as_ptr(), start);
}

#[test]
fn a_block_that_ends_where_a_neighbours_lease_begins_is_not_its_last_block() {
    // Bounded, so that leases are exactly 4 KiB and lie side by side.
    let arena = SharedArena::init(16 << 10).unwrap();
    let (one, two) = (arena.local(), arena.local());
    let room = Layout::array::<u8>(one.alloc_uninit_slice::<u8>(8).len() * 511 - 8).unwrap();
    let block = one.alloc_layout(room);
    two.alloc_uninit_slice::<u8>(0);
    let other = two.alloc(1u64) as *mut u64;
    // SAFETY: a living block of the arena; another handle frees it.
    unsafe { two.free(block, room) };
    assert_eq!(two.alloc(2u64) as *mut u64, other.wrapping_add(1), "the other lease's cursor stayed where it was");
    assert!(two.lease().offset <= two.lease().capacity);
}

#[test]
fn a_thread_that_outlives_arenas_forgets_them() {
    let (to_thread, jobs) = mpsc::channel::<std::sync::Arc<SharedArena>>();
    let (done, results) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        for arena in jobs {
            done.send(*arena.alloc(arena.id())).unwrap();
        }
    });
    // More at once than a thread remembers, and one after the other, at the same addresses.
    for _ in 0..20 {
        let arenas: Vec<_> = (0..7).map(|_| std::sync::Arc::new(SharedArena::init(1 << 16).unwrap())).collect();
        for _ in 0..3 {
            for arena in &arenas {
                to_thread.send(arena.clone()).unwrap();
                assert_eq!(results.recv().unwrap(), arena.id());
            }
        }
        assert!(arenas.iter().all(|arena| arena.stats().berths == 1), "a berth that was left is found again");
    }
    drop(to_thread);
    thread.join().unwrap();
}

#[test]
fn rayon_s_threads_share_an_arena() {
    use rayon::prelude::*;
    let arena = SharedArena::growing().unwrap();
    let words: Vec<&str> = (0..20_000)
        .into_par_iter()
        .map_init(|| arena.local(), |local, i| &*local.alloc_fmt(format_args!("word {i}")))
        .collect();
    assert!(words.iter().enumerate().all(|(i, word)| *word == format!("word {i}")));
    let again: Vec<&str> = words.par_iter().map(|word| &*arena.alloc_str(word)).collect();
    assert_eq!(words, again);
}

#[test]
fn a_reset_gives_pages_back_when_told_and_zeroes_are_zero_again() {
    for on_reset in [OnReset::Keep, OnReset::KeepUpTo(1 << 20), OnReset::Release] {
        let mut arena = Arena::builder()
            .capacity(8 << 20)
            .huge_pages(arenascope::HugePages::Never)
            .on_reset(on_reset)
            .build_shared()
            .unwrap();
        for round in 0..3 {
            let block = arena.local().alloc_slice_fill_copy(4 << 20, 0xa5_u8).as_ptr();
            let resident = resident_pages(block, 4 << 20);
            assert_eq!(resident, 1024, "all pages are there, round {round}");
            arena.reset();
            let resident = resident_pages(block, 4 << 20);
            match on_reset {
                OnReset::Keep => assert_eq!(resident, 1024),
                OnReset::KeepUpTo(_) => assert!((250..=260).contains(&resident), "{resident}"),
                OnReset::Release => assert!(resident <= 2, "{resident}"),
            }
            assert!(arena.local().alloc_zeroed_slice::<u8>(4 << 20).iter().all(|byte| *byte == 0));
            arena.reset();
        }
        assert_eq!(arena.stats().generation, 6);
    }
}

/// Pages of the range that are in memory.
fn resident_pages(start: *const u8, bytes: usize) -> usize {
    let first = start.addr() / 4096;
    let last = (start.addr() + bytes).div_ceil(4096);
    let mut map = std::fs::File::open("/proc/self/pagemap").unwrap();
    use std::io::{Read, Seek, SeekFrom};
    map.seek(SeekFrom::Start(first as u64 * 8)).unwrap();
    let mut entries = vec![0u8; (last - first) * 8];
    map.read_exact(&mut entries).unwrap();
    let present = entries.chunks(8).filter(|entry| entry[7] & 0x80 != 0).count();
    present.min(bytes / 4096)
}

#[test]
fn an_observer_sees_leases_and_blocks_of_all_threads() {
    use arenascope::{Event, EventKind, Observer};
    use std::sync::atomic::{AtomicU64, Ordering};
    static BLOCKS: AtomicU64 = AtomicU64::new(0);
    static BYTES: AtomicU64 = AtomicU64::new(0);
    static LEASES: AtomicU64 = AtomicU64::new(0);
    unsafe extern "C" fn see(_: *mut core::ffi::c_void, event: *const Event) {
        // SAFETY: valid during the call.
        let event = unsafe { &*event };
        match event.kind {
            EventKind::ALLOC if event.align == 32 => {
                BLOCKS.fetch_add(1, Ordering::Relaxed);
                BYTES.fetch_add(event.size as u64, Ordering::Relaxed);
            }
            EventKind::LEASE => drop(LEASES.fetch_add(1, Ordering::Relaxed)),
            _ => {}
        }
    }
    static OBSERVER: Observer = Observer {
        version: arenascope::OBSERVER_VERSION,
        table_bytes: size_of::<Observer>() as u32,
        context: core::ptr::null_mut(),
        event: see,
        sample_bytes: 0,
        next_sample: None,
        check: None,
    };
    let arena = SharedArena::growing().unwrap();
    let local = arena.local();
    let layout = Layout::from_size_align(64, 32).unwrap();
    local.alloc_layout(layout);
    // SAFETY: the observer is two counters.
    unsafe { arenascope::observe_all(Some(&OBSERVER)) };
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let local = arena.local();
                for _ in 0..5_000 {
                    local.alloc_layout(layout);
                }
            });
        }
        for _ in 0..5_000 {
            local.alloc_layout(layout);
        }
    });
    // SAFETY: as above.
    unsafe { arenascope::observe_all(None) };
    local.alloc_layout(layout);
    local.alloc_layout(layout);
    assert_eq!(BLOCKS.load(Ordering::Relaxed), 20_000, "every block, and none after the end");
    assert_eq!(BYTES.load(Ordering::Relaxed), 20_000 * 64);
    assert!(LEASES.load(Ordering::Relaxed) >= 3);
}

#[test]
fn a_forked_child_goes_on_with_its_copy() {
    let arena = SharedArena::growing().unwrap();
    let local = arena.local();
    let shared = local.alloc(1u64);
    // SAFETY: the child allocates, which takes no lock of other threads', and ends.
    let child = unsafe { libc::fork() };
    if child == 0 {
        *shared = 2;
        let fine = *local.alloc(3u64) == 3 && *arena.alloc(4u64) == 4 && *arena.local().alloc(5u64) == 5;
        // SAFETY: ends the process.
        unsafe { libc::_exit(i32::from(!fine)) };
    }
    let mut status = 0;
    // SAFETY: waits for the child just made.
    unsafe { libc::waitpid(child, &mut status, 0) };
    assert_eq!(status, 0, "the child allocated in its copy");
    assert_eq!(*shared, 1, "and the parent's stayed as it was");
}

/// The system's memory, of which a little more is reserved than was asked for: as a source may.
struct Generous;

// SAFETY: regions are the system's, told to be no longer than they are.
unsafe impl arenascope::Source for Generous {
    fn name(&self) -> &'static str {
        "generous"
    }

    fn reserve(&'static self, request: arenascope::Request) -> Result<arenascope::Region, Error> {
        let bytes = request.bytes + 72;
        let region = System.reserve(arenascope::Request { bytes, ..request })?;
        Ok(arenascope::Region { bytes, source: self, ..region })
    }

    unsafe fn commit(&self, start: NonNull<u8>, from: usize, to: usize, populate: bool) -> Result<(), Error> {
        // SAFETY: the caller's condition.
        unsafe { System.commit(start, from, to, populate) }
    }

    unsafe fn advise_huge(&self, _: NonNull<u8>, _: usize, _: usize) {}

    unsafe fn decommit(&self, _: NonNull<u8>, _: usize, _: usize) -> Option<(usize, usize)> {
        None
    }

    unsafe fn release(&self, mapping: NonNull<u8>, mapping_bytes: usize) {
        // SAFETY: the caller's condition.
        unsafe { System.release(mapping, mapping_bytes) }
    }
}

#[test]
fn a_growing_arena_keeps_to_a_region_that_is_no_multiple_of_a_lease() {
    let arena = Arena::builder().reserve(1 << 20).source(&Generous).build_shared().unwrap();
    assert_eq!(arena.capacity(), 1 << 20, "whole grains of what there is");
}

#[test]
fn growing_shared_arenas_leave_addresses_to_others() {
    let arenas: Vec<SharedArena> = (0..4000).map(|_| SharedArena::growing().unwrap()).collect();
    // SAFETY: a fresh mapping, never touched, and given back.
    unsafe {
        let bytes = 16usize << 40;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        let place = libc::mmap(std::ptr::null_mut(), bytes, libc::PROT_NONE, flags, -1, 0);
        assert_ne!(place, libc::MAP_FAILED, "an eighth of the address space for the program's own");
        libc::munmap(place, bytes);
    }
    let reserved: usize = arenas.iter().map(SharedArena::capacity).sum();
    assert!(reserved < 64 << 40, "{reserved}");
    drop(arenas);
    assert_eq!(SharedArena::growing().unwrap().capacity() >> 30, 64, "and the next one is as large as ever");
}

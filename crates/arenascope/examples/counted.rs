//! Threads that use arenas of their own and one shared arena, and count every call they make: what a recorder must have seen.
//!
//! `counted THREADS ROUNDS [FILE]`: prints the counts when it has ended. With FILE, each thread's count of allocations that have
//! returned stands there all the time, eight bytes a thread, for whoever kills the program.
#![allow(unsafe_code)] // Maps a file that outlives the process.

use arenascope::{Arena, SharedArena};
use std::sync::atomic::{AtomicU64, Ordering};

/// What one thread did.
#[derive(Default)]
struct Counts {
    creates: u64,
    allocs: u64,
    frees: u64,
    resizes: u64,
    scopes: u64,
    marks: u64,
    rewinds: u64,
    resets: u64,
}

impl Counts {
    fn add(&mut self, other: &Counts) {
        self.creates += other.creates;
        self.allocs += other.allocs;
        self.frees += other.frees;
        self.resizes += other.resizes;
        self.scopes += other.scopes;
        self.marks += other.marks;
        self.rewinds += other.rewinds;
        self.resets += other.resets;
    }
}

/// A word that everybody may read, also after the process is gone.
fn words(file: Option<&str>, threads: usize) -> &'static [AtomicU64] {
    let Some(file) = file else { return Box::leak((0..threads).map(|_| AtomicU64::new(0)).collect()) };
    let bytes = threads * 8;
    let file =
        std::fs::OpenOptions::new().read(true).write(true).create(true).truncate(true).open(file).expect("the file");
    file.set_len(bytes as u64).expect("room in the file");
    // SAFETY: a new mapping of a file that has `bytes` bytes, which nobody cuts; it is never unmapped.
    unsafe {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let fd = std::os::fd::AsRawFd::as_raw_fd(&file);
        let at = libc::mmap(std::ptr::null_mut(), bytes, protection, libc::MAP_SHARED, fd, 0);
        assert_ne!(at, libc::MAP_FAILED);
        std::slice::from_raw_parts(at.cast(), threads)
    }
}

fn work(number: usize, rounds: u64, done: &AtomicU64, shared: &SharedArena) -> Counts {
    let mut counts = Counts::default();
    let one_more = |counts: &mut Counts| {
        counts.allocs += 1;
        done.fetch_add(1, Ordering::SeqCst);
    };
    let name = format!("worker {number}");
    for round in 0..rounds {
        let mut arena = Arena::builder().name(&name).build().expect("an arena");
        counts.creates += 1;
        for size in 0..100u64 {
            *arena.alloc(size) += round;
            one_more(&mut counts);
        }
        arena.scope(|scope| {
            for size in 0..20 {
                scope.alloc_slice_fill_copy(size, 7u8);
                one_more(&mut counts);
            }
        });
        counts.scopes += 1;
        let checkpoint = arena.checkpoint();
        counts.marks += 1;
        arena.alloc_str("gone soon");
        one_more(&mut counts);
        arena.rewind(&checkpoint).expect("a rewind in order");
        counts.rewinds += 1;
        {
            let mut grown = allocator_api2_04::vec::Vec::new_in(&*arena);
            for item in 0..40u32 {
                let before = grown.capacity();
                grown.push(item);
                if grown.capacity() != before {
                    if before == 0 { one_more(&mut counts) } else { counts.resizes += 1 }
                }
            }
        }
        counts.frees += 1;
        arena.reset();
        counts.resets += 1;
        arena.alloc([0u8; 64]);
        one_more(&mut counts);
        for item in 0..10u64 {
            let local = shared.local();
            local.alloc(item);
            one_more(&mut counts);
        }
    }
    counts
}

fn main() {
    let mut words_given = std::env::args().skip(1);
    let mut number = || words_given.next().and_then(|word| word.parse::<u64>().ok()).expect("THREADS ROUNDS [FILE]");
    let (threads, rounds) = (number() as usize, number());
    let done = words(words_given.next().as_deref(), threads);
    let shared = SharedArena::growing().expect("a shared arena");
    let mut sum = Counts::default();
    std::thread::scope(|scope| {
        let handles: Vec<_> = done
            .iter()
            .enumerate()
            .map(|(index, done)| {
                scope.spawn({
                    let shared = &shared;
                    move || work(index, rounds, done, shared)
                })
            })
            .collect();
        for handle in handles {
            sum.add(&handle.join().expect("a worker"));
        }
    });
    println!(
        "creates {} allocs {} frees {} resizes {} scopes {} marks {} rewinds {} resets {}",
        sum.creates, sum.allocs, sum.frees, sum.resizes, sum.scopes, sum.marks, sum.rewinds, sum.resets
    );
}

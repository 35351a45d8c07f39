//! A program that records itself, and counts every call it makes: what its trace must hold.
//!
//! `inside WAY TRACE THREADS ROUNDS`: with WAY `whole` it finishes its recording; `exit` leaves that to the end of the process; `abort`,
//! `kill` and `panic` end it in the middle; `fork` forks and goes on in both; `child` records in the child only, into a trace of its own;
//! `again` records twice, into TRACE and TRACE.2, and makes events before, between and behind that must be in neither.
#![allow(unsafe_code)] // Calls fork and kill.

use arenascope::{Arena, SharedArena};
use std::path::PathBuf;

unsafe extern "C" {
    fn fork() -> i32;
    fn waitpid(pid: i32, status: *mut i32, options: i32) -> i32;
    fn getpid() -> i32;
    fn kill(pid: i32, signal: i32) -> i32;
    fn _exit(status: i32) -> !;
}

#[derive(Default)]
struct Counts {
    creates: u64,
    allocs: u64,
    scopes: u64,
    resets: u64,
}

fn parse(arena: &mut arenascope::OwnedArena, round: u64, counts: &mut Counts) {
    for size in 0..30u64 {
        *arena.alloc(size) += round;
    }
    counts.allocs += 30;
    arena.scope(|scope| {
        for size in 0..20 {
            scope.alloc_slice_fill_copy(size, 7u8);
        }
    });
    counts.allocs += 20;
    counts.scopes += 1;
    arena.reset();
    counts.resets += 1;
}

fn worker(rounds: u64, shared: &SharedArena) -> Counts {
    let mut counts = Counts::default();
    for round in 0..rounds {
        let mut arena = Arena::builder().name("worker").build().expect("an arena");
        counts.creates += 1;
        parse(&mut arena, round, &mut counts);
        let local = shared.local();
        local.alloc(round);
        counts.allocs += 1;
    }
    counts
}

fn work(threads: u64, rounds: u64) -> Counts {
    let shared = SharedArena::growing().expect("a shared arena");
    let mut sum = Counts::default();
    std::thread::scope(|scope| {
        let handles: Vec<_> = (0..threads).map(|_| scope.spawn(|| worker(rounds, &shared))).collect();
        for handle in handles {
            let counts = handle.join().expect("a worker ends");
            sum.creates += counts.creates;
            sum.allocs += counts.allocs;
            sum.scopes += counts.scopes;
            sum.resets += counts.resets;
        }
    });
    sum
}

fn tell(counts: &Counts) {
    let Counts { creates, allocs, scopes, resets } = counts;
    println!("creates {creates} allocs {allocs} scopes {scopes} resets {resets}");
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [way, trace, threads, rounds] = words.as_slice() else { panic!("WAY TRACE THREADS ROUNDS") };
    let (threads, rounds) = (threads.parse().expect("a number"), rounds.parse().expect("a number"));
    // Before: not in the trace, but this arena's later events are.
    let early = Arena::init(4096).expect("an arena");
    early.alloc(1u64);
    if way == "child" {
        // SAFETY: this process has one thread.
        let child = unsafe { fork() };
        if child != 0 {
            wait(child);
            return;
        }
    }
    let recording = match arenascope_record::start(trace) {
        Ok(recording) => recording,
        Err(error) => {
            eprintln!("{error}");
            std::process::exit(3);
        }
    };
    early.alloc(2u64);
    let mut counts = Counts { allocs: 1, ..Counts::default() };
    let add = |counts: &mut Counts, more: Counts| {
        counts.creates += more.creates;
        counts.allocs += more.allocs;
        counts.scopes += more.scopes;
        counts.resets += more.resets;
    };
    add(&mut counts, work(threads, rounds));
    match way.as_str() {
        "exit" => {
            std::mem::forget(recording);
        }
        "abort" => {
            tell(&counts);
            std::process::abort();
        }
        "panic" => {
            tell(&counts);
            panic!("on purpose");
        }
        "kill" => {
            tell(&counts);
            // SAFETY: a signal to ourselves.
            unsafe { kill(getpid(), 9) };
        }
        "fork" => {
            // SAFETY: the other threads have ended.
            let child = unsafe { fork() };
            if child == 0 {
                early.alloc(3u64);
                work(2, 5);
                // A child may finish what it did not begin: nothing happens.
                drop(recording);
                work(2, 5);
                // SAFETY: the child ends here.
                unsafe { _exit(0) };
            }
            wait(child);
            add(&mut counts, work(threads, rounds));
            recording.finish().expect("the trace is cut");
        }
        "again" => {
            assert!(arenascope_record::start("elsewhere").is_err(), "one at a time");
            recording.finish().expect("the trace is cut");
            tell(&counts);
            work(threads, rounds);
            let second = PathBuf::from(format!("{trace}.2"));
            let recording = arenascope_record::start(&second).expect("the second recording");
            counts = work(threads, rounds);
            recording.finish().expect("the trace is cut");
            work(1, 1);
        }
        _ => recording.finish().expect("the trace is cut"),
    }
    tell(&counts);
}

fn wait(child: i32) {
    let mut status = 0;
    // SAFETY: waits for our own child.
    unsafe { waitpid(child, &mut status, 0) };
    assert_eq!(status, 0, "the child ended well");
}

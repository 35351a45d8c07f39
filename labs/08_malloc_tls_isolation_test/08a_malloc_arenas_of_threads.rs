//! 08a, the counterpart: malloc's arenas for threads are hidden, the leases of a shared arena are not. Four threads, and for each of them where
//! malloc put its block and which part of the shared arena is its own.
#![allow(unsafe_code)] // Asks malloc itself.

use arenascope::{Error, SharedArena};
use std::sync::{Barrier, mpsc};
use std::thread;

const THREADS: usize = 4;

/// glibc gives a thread's arena heaps of 64 MiB, each at a multiple of 64 MiB. Nobody promises that: it is how it is.
const HEAP_SIZE: usize = 64 << 20;

unsafe extern "C" {
    fn malloc(size: usize) -> *mut u8;
    fn free(block: *mut u8);
    safe fn gettid() -> i32;
}

fn main() -> Result<(), Error> {
    let shared = SharedArena::growing()?;
    let all_here = Barrier::new(THREADS + 1);
    let workers = thread::scope(|scope| {
        let workers: Vec<(u32, usize)> = (0..THREADS)
            .map(|number| {
                let (shared, all_here) = (&shared, &all_here);
                let (tell, told) = mpsc::channel();
                scope.spawn(move || {
                    let local = shared.local();
                    for block in 0..3 {
                        local.alloc_fmt(format_args!("thread {}, block {}", number + 1, block + 1));
                    }
                    // SAFETY: any size may be asked for; what comes is given back below and not used.
                    let block = unsafe { malloc(1000) };
                    let _ = tell.send((gettid() as u32, block.addr() / HEAP_SIZE));
                    // A thread that ends gives its heap and its lease to the next one. So all stay until all were seen.
                    all_here.wait();
                    all_here.wait();
                    // SAFETY: the block of malloc above.
                    unsafe { free(block) };
                });
                // One after the other, so that the leases come in the threads' order.
                told.recv().unwrap_or((0, 0))
            })
            .collect();
        all_here.wait();
        let base = shared.base().addr();
        for lease in shared.leases() {
            let Some((_, tid)) = lease.owner else { continue };
            let Some(number) = workers.iter().position(|worker| worker.0 == tid) else { continue };
            let alone = workers.iter().filter(|worker| worker.1 == workers[number].1).count() == 1;
            println!(
                "✅ thread {}: malloc: {}; shared arena: +{}, {} of {} bytes",
                number + 1,
                if alone { "a heap of its own, size unknown" } else { "a heap of others" },
                lease.parts.base.addr() - base,
                lease.parts.offset,
                lease.parts.capacity,
            );
        }
        all_here.wait();
        workers
    });
    let stats = shared.stats();
    println!(
        "🧠 {} threads are gone, held leases: {}, leased: {} bytes",
        workers.len(),
        stats.held,
        stats.leased_bytes
    );
    let local = shared.local();
    local.alloc_str("the next thread goes on where another one stopped");
    println!("🧠 the next thread: leased: {} bytes", shared.stats().leased_bytes);
    Ok(())
}

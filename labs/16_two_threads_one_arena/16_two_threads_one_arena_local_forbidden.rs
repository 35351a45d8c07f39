//! A thread's handle of a shared arena, moved to another thread. Does not compile: its lease is bumped without a lock, by one thread.

use arenascope::{Error, SharedArena};
use std::thread;

fn main() -> Result<(), Error> {
    let arena = SharedArena::growing()?;
    let local = arena.local();
    thread::scope(|threads| {
        threads.spawn(move || {
            local.alloc_str("other thread");
        });
    });
    arena.alloc_str("first thread"); // the shared arena itself may be lent to every thread
    Ok(())
}

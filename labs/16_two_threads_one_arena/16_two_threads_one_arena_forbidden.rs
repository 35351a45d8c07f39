//! Two threads in one arena. Does not compile: an arena may move to another thread, but not be lent to one.

use arenascope::{Arena, Error};
use std::thread;

fn main() -> Result<(), Error> {
    let arena = Arena::init(64_000)?;
    thread::scope(|threads| {
        for name in ["first thread", "other thread"] {
            threads.spawn(|| {
                for _ in 0..1000 {
                    arena.alloc_str(name);
                }
            });
        }
    });
    Ok(())
}

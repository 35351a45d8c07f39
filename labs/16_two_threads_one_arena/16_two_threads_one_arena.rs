//! 16, the cure: a shared arena. Each thread has its own lease of one arena, so nobody waits, nothing is lost, and the blocks outlive the threads.

use arenascope::{Error, SharedArena};
use std::collections::BTreeSet;
use std::sync::Barrier;
use std::thread;

const BLOCKS: usize = 1000;
const BLOCK_SIZE: usize = 16;
const NAMES: [&str; 2] = ["first thread", "other thread"];

fn work<'arena>(arena: &'arena SharedArena, start: &Barrier, name: &str) -> Vec<&'arena str> {
    let local = arena.local(); // this thread's own handle
    start.wait();
    (0..BLOCKS).map(|_| &*local.alloc_str(name)).collect()
}

fn main() -> Result<(), Error> {
    let arena = SharedArena::growing()?;
    let start = Barrier::new(NAMES.len());
    let blocks = thread::scope(|threads| {
        let threads = NAMES.map(|name| threads.spawn(|| work(&arena, &start, name)));
        threads.map(|thread| thread.join().unwrap_or_default())
    });
    println!("📦 {BLOCKS} blocks asked for by each of two threads");
    let wrong = blocks.iter().zip(NAMES).flat_map(|(blocks, name)| blocks.iter().filter(move |block| **block != name));
    let (wrong, different) =
        (wrong.count(), blocks.iter().flatten().map(|block| block.as_ptr()).collect::<BTreeSet<_>>());
    println!("✅ {} blocks at {} places", blocks.iter().flatten().count(), different.len());
    println!("{}", if wrong > 0 { "🤡 some blocks were given to both" } else { "🧠 every block has one owner" });
    let handed_out: usize = arena.leases().map(|lease| lease.parts.offset).sum();
    println!("🧹 handed out: {handed_out} of {} bytes, leases held: {}", 2 * BLOCKS * BLOCK_SIZE, arena.stats().held);
    Ok(())
}

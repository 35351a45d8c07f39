//! A Rust program on the library, built for release: arenas of each kind. Prints what it has as JSON on a line and waits for stdin to end.

use arenascope::{Arena, SharedArena};
use std::io::Read;
use std::mem::MaybeUninit;

fn main() {
    let mut used = 0;
    let small: Vec<_> = (0..500)
        .map(|i| {
            let arena = Arena::builder().name("small").capacity(200 + i).build().expect("memory");
            arena.alloc_slice_fill_copy(1 + i % 90, 7u8);
            used += arena.offset();
            arena
        })
        .collect();
    let mut scoped = Arena::builder().static_name("a name that is longer than what a header keeps").build().expect("memory");
    let line = line!() - 1;
    let together = SharedArena::growing().expect("memory");
    let mut buffer = [MaybeUninit::uninit(); 3000];
    let in_stack = Arena::in_buffer(&mut buffer).expect("room");
    in_stack.alloc(1u8);
    scoped.scope(|scope| {
        scope.alloc([1u64; 100]);
        std::thread::scope(|threads| {
            for count in 1..=3 {
                let together = &together;
                threads.spawn(move || {
                    let local = together.local();
                    for _ in 0..count {
                        local.alloc([0u8; 512]);
                    }
                });
            }
        });
        let stats = together.stats();
        println!(
            "{{\"pid\":{},\"small\":{},\"small_used\":{used},\"line\":{line},\"together_used\":{},\"held\":{}}}",
            std::process::id(),
            small.len(),
            stats.leased_bytes - stats.unused_bytes - stats.lost_bytes,
            stats.held
        );
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
    });
}

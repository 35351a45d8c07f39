//! Sixteen tests at once in one process, each with exact counts of its own; failures leave what they say.

use arenascope::{Arena, SharedArena};
use arenascope_test::{Report, scope, watch};
use proptest::prelude::*;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Barrier;

/// Eight neighbours that allocate all the time while a test counts.
fn among_neighbours(test: impl FnOnce()) {
    let stop = std::sync::atomic::AtomicBool::new(false);
    let begun = Barrier::new(3);
    std::thread::scope(|threads| {
        for _ in 0..2 {
            threads.spawn(|| {
                begun.wait();
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    let mut arena = Arena::growing().expect("an arena");
                    arena.alloc([1u8; 40]);
                    arena.scope(|scope| {
                        scope.alloc_str("neighbour");
                    });
                    arena.reset();
                }
            });
        }
        begun.wait();
        let outcome = catch_unwind(AssertUnwindSafe(test));
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        if let Err(panic) = outcome {
            std::panic::resume_unwind(panic);
        }
    });
}

/// A test's own work: `n` blocks of `n` bytes, half of them in a scope.
fn counted(n: u64) {
    among_neighbours(|| {
        for _ in 0..20 {
            let watch = watch("counted");
            let mut arena = Arena::growing().expect("an arena");
            for _ in 0..n {
                arena.alloc_slice_fill_copy(n as usize, 1u8);
            }
            watch.assert_live_bytes(n * n);
            arena.scope(|scope| {
                for _ in 0..n {
                    scope.alloc_slice_fill_copy(n as usize, 2u8);
                }
                watch.assert_live_bytes(2 * n * n);
            });
            watch.assert_allocations(2 * n);
            watch.assert_live_bytes(n * n);
            watch.assert_peak_at_most(2 * n * n);
            watch.assert_no_findings();
            let report = watch.report();
            assert_eq!((report.peak_bytes, report.arenas, report.live_blocks, report.missed), (2 * n * n, 1, n, 0));
            drop(arena);
            watch.assert_live_bytes(0);
        }
    });
}

macro_rules! sixteen {
    ($($name:ident $n:literal)*) => { $(#[test] fn $name() { counted($n) })* };
}
sixteen! {
    one 1 two 2 three 3 four 4 five 5 six 6 seven 7 eight 8 nine 9 ten 10 eleven 11 twelve 12 thirteen 13 fourteen 14 fifteen 15 sixteen 16
}

/// What a failing assertion says.
fn message(failing: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(failing)).expect_err("it fails");
    panic.downcast_ref::<String>().expect("a text").clone()
}

#[test]
fn a_failing_assertion_says_where_and_leaves_the_trace() {
    let text = message(|| {
        let watch = watch("too many");
        let arena = Arena::growing().expect("an arena");
        for _ in 0..3 {
            arena.alloc([0u8; 100]);
        }
        arena.alloc([0u8; 7]);
        watch.assert_allocations(3);
    });
    assert!(text.starts_with("watch \"too many\": 3 blocks expected, 4 made"), "{text}");
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[2].contains("300 B in 3 blocks") && lines[2].contains("tests/watching.rs:"), "{text}");
    assert!(lines[3].contains("7 B in 1 block "), "{text}");
    let path = text.lines().last().expect("a command").trim().strip_prefix("arenascope show ").expect("show");
    let bytes = std::fs::read(path).expect("the trace is there");
    let trace = arenascope_trace::Trace::open(&bytes).expect("it is one");
    assert!(trace.is_sealed() && trace.check().is_empty());
    let allocs = trace.events().filter(|event| matches!(event.kind, arenascope_event::EventKind::Alloc { .. })).count();
    assert_eq!(allocs, 4, "the watch's own and no others");
    assert!(path.ends_with("a_failing_assertion_says_where_and_leaves_the_trace.too-many.ascope"), "{path}");
}

#[test]
fn each_assertion_fails_and_its_twin_does_not() {
    let work = || {
        Arena::growing().expect("an arena").alloc([0u8; 10]);
    };
    let report = scope("ten bytes", work);
    report.assert_allocations(1);
    report.assert_peak_at_most(10);
    report.assert_live_bytes(0);
    for (failing, words) in [
        (Box::new(|report: &Report| report.assert_allocations(2)) as Box<dyn Fn(&Report)>, "2 blocks expected, 1 made"),
        (Box::new(|report| report.assert_peak_at_most(9)), "at most 9 live bytes expected, 10 reached"),
        (Box::new(|report| report.assert_live_bytes(10)), "10 live bytes expected, 0 found, in 0 blocks"),
    ] {
        let text = message(|| failing(&scope("ten bytes", work)));
        assert!(text.contains(words), "{text}");
    }
}

#[test]
fn watches_nest() {
    let outer = watch("outer");
    let arena = Arena::growing().expect("an arena");
    arena.alloc(1u8);
    {
        let inner = watch("inner");
        // From before it, and all the same.
        arena.alloc(2u8);
        Arena::growing().expect("an arena").alloc(3u8);
        inner.assert_allocations(2);
        inner.assert_live_bytes(1);
        assert_eq!(inner.report().arenas, 1);
        inner.assert_no_findings();
    }
    arena.alloc(4u8);
    outer.assert_allocations(4);
    outer.assert_live_bytes(3);
}

#[test]
fn a_panic_inside_ends_the_watch_and_no_other() {
    let outer = watch("outer");
    let panicked = catch_unwind(|| {
        let _inner = watch("inner");
        let arena = Arena::growing().expect("an arena");
        arena.alloc(1u8);
        panic!("on purpose");
    });
    assert!(panicked.is_err());
    Arena::growing().expect("an arena").alloc(2u8);
    outer.assert_allocations(2);
    outer.assert_live_bytes(0);
}

#[test]
fn threads_inside_count_when_they_enter() {
    among_neighbours(|| {
        let watch = watch("threads");
        let shared = SharedArena::growing().expect("a shared arena");
        std::thread::scope(|threads| {
            for number in 0..4 {
                let (watch, shared) = (&watch, &shared);
                threads.spawn(move || {
                    let arena = Arena::growing().expect("an arena");
                    arena.alloc(0u64);
                    let _inside = watch.enter();
                    for _ in 0..100 {
                        arena.alloc(1u64);
                        if number % 2 == 0 {
                            shared.local().alloc(2u32);
                        }
                    }
                });
            }
        });
        watch.assert_allocations(600);
        watch.assert_no_findings();
        assert_eq!(watch.report().missed, 0);
    });
}

#[test]
fn an_arena_of_the_watch_counts_wherever_it_goes() {
    let watch = watch("moved");
    let mut arena = Arena::growing().expect("an arena");
    arena.alloc(1u8);
    let arena = std::thread::spawn(move || {
        arena.reset();
        arena.alloc(2u8);
        Arena::growing().expect("its own").alloc(3u8);
        arena
    });
    let arena = arena.join().expect("a thread");
    arena.alloc(4u8);
    watch.assert_allocations(3);
    watch.assert_live_bytes(2);
    watch.assert_no_findings();
}

#[test]
fn events_that_nobody_hears_are_counted_and_accuse_nobody() {
    let mut arena = Arena::growing().expect("an arena");
    let watch = watch("gap");
    arena.alloc([1u8; 16]);
    // An arena from before, on a thread that did not enter: its reset is not heard, and the next block lies where one seems to live.
    let arena = std::thread::spawn(move || {
        arena.reset();
        arena
    });
    let arena = arena.join().expect("a thread");
    arena.alloc([2u8; 16]);
    watch.assert_no_findings();
    assert_eq!(watch.report().missed, 1);
}

#[test]
#[allow(unsafe_code, reason = "frees a block twice, which is the fault")]
fn a_block_freed_twice_is_found_and_once_is_not() {
    let free = |times: usize| {
        scope("frees", || {
            let arena = Arena::growing().expect("an arena");
            let block = arena.alloc_slice_fill_copy(32, 1u8).as_mut_ptr();
            arena.alloc(5u64);
            let layout = std::alloc::Layout::array::<u8>(32).expect("a layout");
            for _ in 0..times {
                // SAFETY: planted: the second time the block is not the caller's any more; nothing was handed out over it.
                unsafe { arena.free(std::ptr::NonNull::new(block).expect("a block"), layout) };
            }
        })
    };
    free(1).assert_no_findings();
    let text = message(|| free(2).assert_no_findings());
    assert!(text.contains("double-free") && text.contains("tests/watching.rs:"), "{text}");
}

/// What a test does, and what it must count.
#[derive(Clone, Debug)]
enum Do {
    Alloc(u16),
    Scope(Vec<u16>),
    Reset,
    Fresh,
}

fn doing() -> impl Strategy<Value = Vec<Do>> {
    let size = 0..500u16;
    let one = prop_oneof![
        4 => size.clone().prop_map(Do::Alloc),
        2 => prop::collection::vec(size, 0..5).prop_map(Do::Scope),
        1 => Just(Do::Reset),
        1 => Just(Do::Fresh),
    ];
    prop::collection::vec(one, 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn counts_are_those_by_hand(plays in doing()) {
        let watch = watch("by hand");
        let mut arena = Arena::growing().expect("an arena");
        let (mut allocs, mut live, mut peak, mut arenas) = (0u64, 0u64, 0u64, 1u64);
        let mut one = |arena: &Arena, size: u16, live: &mut u64| {
            arena.alloc_slice_fill_copy(usize::from(size), 1u8);
            allocs += 1;
            *live += u64::from(size);
            peak = peak.max(*live);
        };
        for play in &plays {
            match play {
                Do::Alloc(size) => one(&arena, *size, &mut live),
                Do::Scope(sizes) => {
                    let before = live;
                    arena.scope(|scope| for size in sizes {
                        one(scope, *size, &mut live);
                    });
                    live = before;
                }
                Do::Reset => {
                    arena.reset();
                    live = 0;
                }
                Do::Fresh => {
                    // The old one ends when the new one is there.
                    arena = Arena::growing().expect("an arena");
                    arenas += 1;
                    live = 0;
                }
            }
        }
        let report = watch.report();
        prop_assert_eq!(
            (report.allocations, report.live_bytes, report.peak_bytes, report.arenas),
            (allocs, live, peak, arenas)
        );
        watch.assert_no_findings();
    }
}

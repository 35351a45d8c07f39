//! Sampling: what an observer hears of stands for all that was allocated, whatever the arena did meanwhile.
//!
//! Each program knows how many blocks and bytes it took. Over many runs with seeds of their own the estimates' mean must be that number, and the
//! intervals that the estimates give themselves must hold it as often as they say.
#![allow(unsafe_code)] // Installs observers; frees and resizes by hand.

use arenascope::{Arena, Event, EventKind, Observer, OnReset, SharedArena};
use std::alloc::Layout;
use std::collections::BTreeMap;
use std::ffi::c_void;
use std::sync::Mutex;

/// Mean distance of samples, in bytes.
const MEAN: usize = 2000;

/// What an observer makes of samples, by the estimator of Horvitz and Thompson: each stands for the inverse of its probability.
#[derive(Default)]
struct Estimate {
    random: u64,
    blocks: f64,
    bytes: f64,
    /// Of `bytes`.
    variance: f64,
    told: usize,
    kinds: Vec<EventKind>,
    /// Living samples: first byte to size and weight.
    living: BTreeMap<usize, (usize, f64)>,
}

/// SplitMix64.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

unsafe extern "C" fn tell(context: *mut c_void, event: *const Event) {
    // SAFETY: the context of every observer here is a leaked estimate, and the event is valid during the call.
    let (estimate, event) = unsafe { (&*context.cast::<Mutex<Estimate>>(), &*event) };
    let mut estimate = estimate.lock().unwrap();
    estimate.told += 1;
    estimate.kinds.push(event.kind);
    let at = event.block.addr();
    match event.kind {
        EventKind::ALLOC | EventKind::GROWN => {
            let size = event.size as f64;
            let probability = if event.size >= MEAN { 1.0 } else { -(-size / MEAN as f64).exp_m1() };
            estimate.bytes += size / probability;
            estimate.variance += size * size * (1.0 - probability) / (probability * probability);
            if event.kind == EventKind::ALLOC {
                estimate.blocks += 1.0 / probability;
                estimate.living.insert(at, (event.size, 1.0 / probability));
            }
        }
        EventKind::FREE => {
            estimate.living.remove(&at);
        }
        EventKind::RESIZE => {
            if let Some((_, weight)) = estimate.living.remove(&event.old_block.addr())
                && event.block == event.old_block
            {
                estimate.living.insert(at, (event.size, weight));
            }
        }
        EventKind::SCOPE_EXIT | EventKind::REWIND => {
            estimate.living.split_off(&at);
        }
        EventKind::RESET => estimate.living.clear(),
        _ => {}
    }
}

unsafe extern "C" fn draw(context: *mut c_void, _: *const Arena) -> usize {
    // SAFETY: as in `tell`.
    let estimate = unsafe { &*context.cast::<Mutex<Estimate>>() };
    let random = next(&mut estimate.lock().unwrap().random);
    let unit = ((random >> 11) + 1) as f64 / (1u64 << 53) as f64;
    (-unit.ln() * MEAN as f64) as usize
}

/// A program of blocks: what it took is told to `Took`.
#[derive(Default)]
struct Took {
    blocks: usize,
    bytes: usize,
    /// Bytes by which blocks grew, which are no blocks.
    living_bytes: Option<usize>,
}

impl Took {
    fn block(&mut self, bytes: usize) -> usize {
        self.blocks += 1;
        self.bytes += bytes;
        bytes
    }
}

type Program = fn(&'static Observer, &mut u64) -> Took;

fn watched(observer: &'static Observer) -> arenascope::OwnedArena {
    let arena = Arena::growing().unwrap();
    // SAFETY: the observer locks its estimate.
    unsafe { arena.observe(Some(observer)) };
    arena
}

fn bytes(size: usize) -> Layout {
    Layout::from_size_align(size, 1).unwrap()
}

fn fill(observer: &'static Observer, random: &mut u64) -> Took {
    let (arena, mut took) = (watched(observer), Took::default());
    for _ in 0..1500 {
        let size = next(random) as usize % 120;
        let align = 1 << (next(random) % 7);
        arena.alloc_layout(Layout::from_size_align(took.block(size), align).unwrap());
    }
    took.living_bytes = Some(took.bytes);
    std::mem::forget(arena);
    took
}

/// A thousand bytes and a reset, over and over: never far enough for a limit that stands two thousand bytes ahead.
fn resets(observer: &'static Observer, _: &mut u64) -> Took {
    let mut took = Took::default();
    // SAFETY: the observer locks its estimate.
    let builder = unsafe { Arena::builder().on_reset(OnReset::Release).observer(observer) };
    let mut arena = builder.build().unwrap();
    for _ in 0..200 {
        for _ in 0..10 {
            arena.alloc_layout(bytes(took.block(100)));
        }
        arena.reset();
    }
    took.living_bytes = Some(0);
    took
}

fn lives(observer: &'static Observer, _: &mut u64) -> Took {
    let mut took = Took::default();
    for _ in 0..300 {
        // SAFETY: the observer locks its estimate.
        let arena = unsafe { Arena::builder().capacity(1 << 10).observer(observer) }.build().unwrap();
        for _ in 0..10 {
            arena.alloc_layout(bytes(took.block(64)));
        }
    }
    took
}

fn scopes(observer: &'static Observer, random: &mut u64) -> Took {
    let (mut arena, mut took) = (watched(observer), Took::default());
    for _ in 0..300 {
        arena.alloc_layout(bytes(took.block(40)));
        arena.scope(|outer| {
            for _ in 0..3 {
                outer.alloc_layout(bytes(took.block(next(random) as usize % 90)));
                outer.scope(|inner| {
                    inner.alloc_layout(bytes(took.block(200)));
                });
            }
        });
    }
    took.living_bytes = Some(300 * 40);
    std::mem::forget(arena);
    took
}

fn rewinds(observer: &'static Observer, random: &mut u64) -> Took {
    let (mut arena, mut took) = (watched(observer), Took::default());
    for _ in 0..400 {
        arena.alloc_layout(bytes(took.block(16)));
        let place = arena.checkpoint();
        for _ in 0..next(random) % 8 {
            arena.alloc_layout(bytes(took.block(77)));
        }
        arena.rewind(&place).unwrap();
    }
    took.living_bytes = Some(400 * 16);
    std::mem::forget(arena);
    took
}

fn frees(observer: &'static Observer, random: &mut u64) -> Took {
    let (arena, mut took) = (watched(observer), Took::default());
    let mut living = 0;
    for _ in 0..1500 {
        let layout = bytes(took.block(1 + next(random) as usize % 150));
        let block = arena.alloc_layout(layout);
        if !next(random).is_multiple_of(4) {
            // SAFETY: just handed out for this layout.
            unsafe { arena.free(block, layout) };
        } else {
            living += layout.size();
        }
    }
    took.living_bytes = Some(living);
    std::mem::forget(arena);
    took
}

/// Blocks that grow, in place and by moving; of multiples of 8 bytes, for what lies in the old slot is no sample.
fn growth(observer: &'static Observer, random: &mut u64) -> Took {
    let (arena, mut took) = (watched(observer), Took::default());
    for _ in 0..200 {
        let mut layout = bytes(took.block(24));
        let mut block = arena.alloc_layout(layout);
        for _ in 0..5 {
            let new = bytes(layout.size() * 2);
            let moves = next(random).is_multiple_of(3);
            if moves {
                arena.alloc_layout(bytes(took.block(8)));
                took.block(new.size());
            } else {
                took.bytes += new.size() - layout.size();
            }
            // SAFETY: a living block with its layout.
            block = unsafe { arena.try_resize(block, layout, new) }.unwrap();
            layout = new;
        }
    }
    took
}

fn bursts(observer: &'static Observer, random: &mut u64) -> Took {
    let (arena, mut took) = (watched(observer), Took::default());
    for _ in 0..60 {
        let mut burst = arena.burst();
        for _ in 0..next(random) % 60 {
            burst.alloc_layout(bytes(took.block(48)));
        }
        drop(burst);
        arena.alloc_layout(bytes(took.block(100)));
    }
    took.living_bytes = Some(took.bytes);
    std::mem::forget(arena);
    took
}

fn big_ones_among_small(observer: &'static Observer, random: &mut u64) -> Took {
    let (arena, mut took) = (watched(observer), Took::default());
    for _ in 0..600 {
        let size = match next(random) % 50 {
            0 => MEAN + next(random) as usize % 9000,
            1 => MEAN - 1 - next(random) as usize % 200,
            _ => next(random) as usize % 100,
        };
        arena.alloc_layout(bytes(took.block(size)));
    }
    took
}

fn a_bounded_arena_to_its_last_byte(observer: &'static Observer, random: &mut u64) -> Took {
    let mut took = Took::default();
    for _ in 0..40 {
        // SAFETY: the observer locks its estimate.
        let arena = unsafe { Arena::builder().capacity(3001).observer(observer) }.build().unwrap();
        loop {
            let layout = bytes(1 + next(random) as usize % 70);
            if arena.try_alloc_layout(layout).is_err() {
                break;
            }
            took.block(layout.size());
        }
    }
    took
}

/// The estimates of many runs against what each run took.
fn check(name: &str, runs: u64, program: Program) {
    let (mut held, mut difference, mut squares, mut truth, mut blocks, mut living, mut living_squares) =
        (0u64, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0);
    let mut true_blocks = 0.0;
    for run in 0..runs {
        let estimate: &'static Mutex<Estimate> = Box::leak(Box::default());
        estimate.lock().unwrap().random = run.wrapping_mul(0x1234_5678_9abc_def1);
        let observer: &'static Observer = Box::leak(Box::new(Observer {
            version: arenascope::OBSERVER_VERSION,
            table_bytes: size_of::<Observer>() as u32,
            context: (&raw const *estimate).cast_mut().cast(),
            event: tell,
            sample_bytes: MEAN,
            next_sample: Some(draw),
            check: None,
        }));
        let took = program(observer, &mut (run ^ 0xabcd));
        let estimate = estimate.lock().unwrap();
        let off = estimate.bytes - took.bytes as f64;
        held += u64::from(off.abs() <= 1.96 * estimate.variance.sqrt());
        difference += off;
        squares += off * off;
        truth += took.bytes as f64;
        blocks += estimate.blocks;
        true_blocks += took.blocks as f64;
        if let Some(bytes) = took.living_bytes {
            let sum: f64 = estimate.living.values().map(|(size, weight)| *size as f64 * weight).sum();
            living += sum - bytes as f64;
            living_squares += (sum - bytes as f64) * (sum - bytes as f64);
        }
        assert!(estimate.told > 0 && estimate.told < took.blocks / 2, "{name}: {} of {}", estimate.told, took.blocks);
    }
    // The mean of so many runs is off by that much, one time in 15,000.
    let bound = 4.0 * squares.sqrt();
    assert!(difference.abs() <= bound, "{name}: {difference:+.0} of {truth:.0} bytes, at most {bound:.0}");
    let (off, bound) = (blocks - true_blocks, true_blocks * 0.08);
    assert!(off.abs() <= bound, "{name}: {off:+.0} of {true_blocks:.0} blocks");
    let bound = 4.0 * living_squares.sqrt();
    assert!(living.abs() <= bound, "{name}: {living:+.0} living bytes, at most {bound:.0}");
    let share = held as f64 / runs as f64;
    assert!((0.88..=0.995).contains(&share), "{name}: the interval holds the truth {share:.3} of the time");
}

#[test]
fn samples_stand_for_what_was_allocated_whatever_the_arena_does() {
    for (name, program) in [
        ("fill", fill as Program),
        ("resets", resets),
        ("lives", lives),
        ("scopes", scopes),
        ("rewinds", rewinds),
        ("frees", frees),
        ("growth", growth),
        ("bursts", bursts),
        ("big ones among small", big_ones_among_small),
        ("a bounded arena to its last byte", a_bounded_arena_to_its_last_byte),
    ] {
        check(name, 300, program);
    }
}

/// Leases of a shared arena: the process's observer, so one test alone.
#[test]
fn samples_of_a_shared_arena_stand_for_all_its_threads() {
    static ESTIMATE: Mutex<Estimate> = Mutex::new(Estimate {
        random: 7,
        blocks: 0.0,
        bytes: 0.0,
        variance: 0.0,
        told: 0,
        kinds: Vec::new(),
        living: BTreeMap::new(),
    });
    unsafe extern "C" fn tell_one(_: *mut c_void, event: *const Event) {
        // SAFETY: as the caller says.
        unsafe { tell((&raw const ESTIMATE).cast_mut().cast(), event) }
    }
    unsafe extern "C" fn draw_one(_: *mut c_void, arena: *const Arena) -> usize {
        // SAFETY: as the caller says.
        unsafe { draw((&raw const ESTIMATE).cast_mut().cast(), arena) }
    }
    static OBSERVER: Observer = Observer {
        version: arenascope::OBSERVER_VERSION,
        table_bytes: size_of::<Observer>() as u32,
        context: std::ptr::null_mut(),
        event: tell_one,
        sample_bytes: MEAN,
        next_sample: Some(draw_one),
        check: None,
    };
    // SAFETY: the observer is static and locks its estimate.
    unsafe { arenascope::observe_all(Some(&OBSERVER)) };
    let mut shared = SharedArena::growing().unwrap();
    let (mut bytes_taken, mut blocks) = (0usize, 0usize);
    for round in 0..4 {
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..3)
                .map(|thread| {
                    let shared = &shared;
                    scope.spawn(move || {
                        let mut random = 100 * round + thread;
                        let local = shared.local();
                        let mut sum = 0;
                        for _ in 0..20_000 {
                            let layout = bytes(next(&mut random) as usize % 100);
                            local.try_alloc_layout(layout).unwrap();
                            sum += layout.size();
                        }
                        sum
                    })
                })
                .collect();
            bytes_taken += threads.into_iter().map(|thread| thread.join().unwrap()).sum::<usize>();
            blocks += 60_000;
        });
        shared.reset();
    }
    // SAFETY: as above.
    unsafe { arenascope::observe_all(None) };
    let estimate = ESTIMATE.lock().unwrap();
    let off = estimate.bytes - bytes_taken as f64;
    assert!(off.abs() <= 4.0 * estimate.variance.sqrt(), "{off:+.0} of {bytes_taken}, {:.0}", estimate.variance.sqrt());
    assert!((estimate.blocks / blocks as f64 - 1.0).abs() < 0.1, "{} of {blocks}", estimate.blocks);
}

#[test]
fn only_samples_and_what_may_end_them_are_told() {
    let estimate: &'static Mutex<Estimate> = Box::leak(Box::default());
    let observer: &'static Observer = Box::leak(Box::new(Observer {
        version: arenascope::OBSERVER_VERSION,
        table_bytes: size_of::<Observer>() as u32,
        context: (&raw const *estimate).cast_mut().cast(),
        event: tell,
        sample_bytes: 1 << 20,
        next_sample: None,
        check: None,
    }));
    let told = || std::mem::take(&mut estimate.lock().unwrap().kinds);
    // SAFETY: the observer locks its estimate.
    let mut arena = unsafe { Arena::builder().reserve(1 << 30).observer(observer) }.build().unwrap();
    let small = Layout::new::<[u8; 64]>();
    for _ in 0..100 {
        let block = arena.alloc_layout(small);
        arena.scope(|scope| {
            scope.alloc_layout(small);
        });
        // SAFETY: a living block.
        unsafe { arena.free(block, small) };
        arena.checkpoint();
    }
    arena.reset();
    assert_eq!(told(), [], "nothing is sampled yet");
    let before = arena.alloc_layout(small);
    let big = Layout::new::<[u8; 1 << 20]>();
    let block = arena.alloc_layout(big);
    let after = arena.alloc_layout(small);
    assert_eq!(told(), [EventKind::ALLOC], "a block of the mean distance or more is always a sample");
    // SAFETY: living blocks, freed once each.
    unsafe { arena.free(after, small) };
    assert_eq!(told(), [], "it lies above all samples");
    // SAFETY: as above.
    unsafe {
        arena.free(before, small);
        arena.free(block, big);
    }
    assert_eq!(told(), [EventKind::FREE, EventKind::FREE], "either may be a sample for all the library knows");
    arena.reset();
    arena.alloc_layout(big);
    arena.reset();
    arena.reset();
    arena.destroy();
    assert_eq!(told(), [EventKind::RESET, EventKind::ALLOC, EventKind::RESET, EventKind::DESTROY]);
}

//! Random programs on every memory source, against the naive model; with and without somebody watching.
#![allow(unsafe_code)] // Lends buffers.

mod program;

use arenascope::{Arena, FailAt, Heap, HugePages, OnReset, Stepwise, System};
use program::{Op, Refusals, run};
use proptest::prelude::*;
use std::mem::MaybeUninit;

fn sizes(capacity: usize) -> impl Strategy<Value = usize> {
    prop_oneof![
        8 => 0usize..=80,
        3 => 0..=capacity.saturating_add(1),
        1 => (0usize..=64).prop_map(|less| isize::MAX as usize - less),
        1 => Just(capacity / 2),
    ]
}

fn aligns() -> impl Strategy<Value = usize> {
    prop_oneof![8 => (0u32..=5).prop_map(|bits| 1 << bits), 1 => (0u32..=21).prop_map(|bits| 1usize << bits)]
}

fn ops(capacity: usize) -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        12 => (sizes(capacity), aligns()).prop_map(|(size, align)| Op::Alloc { size, align }),
        6 => (prop_oneof![any::<usize>(), Just(usize::MAX)], sizes(capacity), aligns())
            .prop_map(|(block, size, align)| Op::Resize { block, size, align }),
        3 => any::<usize>().prop_map(|block| Op::Free { block }),
        2 => Just(Op::Checkpoint),
        2 => any::<usize>().prop_map(|checkpoint| Op::Rewind { checkpoint }),
        1 => Just(Op::Reset),
        2 => Just(Op::Enter),
        2 => Just(Op::Exit),
        2 => Just(Op::Watch),
        2 => Just(Op::Release),
    ];
    prop::collection::vec(op, 0..60)
}

/// Capacity and program are drawn independently: what fits is no presumption.
fn cases() -> impl Strategy<Value = (usize, Vec<Op>)> {
    prop_oneof![0usize..=600, 0usize..=70_000, (1usize << 20)..=(5 << 20)]
        .prop_flat_map(|capacity| (Just(capacity), ops(capacity)))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(600) })]

    #[test]
    fn bounded((capacity, ops) in cases(), watched: bool) {
        run(&mut Arena::init(capacity).unwrap(), &ops, Refusals::Never, watched);
    }

    #[test]
    fn growing((reserve, ops) in cases(), watched: bool) {
        let mut arena = Arena::builder().reserve(reserve + 1).build().unwrap();
        run(&mut arena, &ops, Refusals::Never, watched);
    }

    #[test]
    fn on_the_heap((capacity, ops) in cases(), watched: bool) {
        let mut arena = Arena::builder().capacity(capacity).source(&Heap).build().unwrap();
        run(&mut arena, &ops, Refusals::Never, watched);
    }

    #[test]
    fn in_steps((capacity, ops) in cases(), watched: bool, huge: bool) {
        let huge = if huge { HugePages::Always } else { HugePages::Never };
        let builder = Arena::builder().capacity(capacity).source(&Stepwise).huge_pages(huge).on_reset(OnReset::Release);
        run(&mut builder.build().unwrap(), &ops, Refusals::Never, watched);
    }

    #[test]
    fn in_a_buffer((capacity, ops) in cases(), shift in 0usize..200, watched: bool) {
        let mut buffer = vec![MaybeUninit::uninit(); shift + 384 + 127 + capacity];
        run(&mut Arena::in_buffer(&mut buffer[shift..]).unwrap(), &ops, Refusals::Never, watched);
    }

    #[test]
    fn where_memory_ends_at_the_nth_request((capacity, ops) in cases(), granted in 0u64..8, heap: bool, watched: bool) {
        let source: &'static FailAt =
            Box::leak(Box::new(if heap { FailAt::new(&Heap, granted) } else { FailAt::new(&Stepwise, granted) }));
        if let Ok(mut arena) = Arena::builder().capacity(capacity).source(source).build() {
            run(&mut arena, &ops, Refusals::Possible, watched);
            // Memory comes back: what was refused works, and nothing was lost.
            source.grant(1000);
            arena.reset();
            run(&mut arena, &ops, Refusals::Never, watched);
        }
    }

    #[test]
    fn memory_that_was_given_back((capacity, ops) in cases(), keep in 0usize..100_000) {
        let builder = Arena::builder().capacity(capacity).keep(false).source(&System).on_reset(OnReset::KeepUpTo(keep));
        run(&mut builder.build().unwrap(), &ops, Refusals::Never, false);
    }
}

#[test]
fn a_region_is_used_again_and_again() {
    // The same program on regions that others left, of all classes.
    for round in 0..2000usize {
        let capacity = (round * 7919) % 70_000;
        let mut arena = Arena::init(capacity).unwrap();
        let ops: Vec<Op> =
            (0..20).map(|i| Op::Alloc { size: (round * 31 + i * 97) % 300, align: 1 << (i % 5) }).collect();
        run(&mut arena, &ops, Refusals::Never, round % 2 == 0);
    }
}

#[test]
fn what_was_forgotten_stays_forgotten() {
    // Five rewinds to rising places: the lowest is forgotten. One below the other four, and then to a checkpoint that only the
    // forgotten one made stale.
    let alloc = |size| Op::Alloc { size, align: 8 };
    let rewind = |checkpoint| Op::Rewind { checkpoint };
    let mut ops = vec![alloc(80), Op::Checkpoint, alloc(80), Op::Checkpoint, rewind(0), alloc(120), Op::Checkpoint];
    for checkpoint in 3..7 {
        ops.extend([alloc(80), Op::Checkpoint, alloc(8), rewind(checkpoint)]);
    }
    ops.extend([rewind(2), rewind(1)]);
    run(&mut Arena::init(4096).unwrap(), &ops, Refusals::Never, true);
}

//! Random correct programs, on a checked arena and on its unchecked twin: they cannot tell the difference, and nothing is found.
#![allow(unsafe_code)] // Frees, resizes and rewinds by pointer.

use crate::checker::{GUARDED, apart, found, observer, small_apart};
use arenascope::{Arena, Builder, Checkpoint, Colouring, Error, OwnedArena, Scope};
use arenascope_record::{Apart, Told};
use proptest::prelude::*;
use std::alloc::Layout;
use std::ptr::NonNull;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

#[derive(Clone, Debug)]
enum Op {
    Alloc(usize, usize),
    Zeroed(usize),
    Resize(usize, usize, usize),
    Free(usize),
    Checkpoint,
    Rewind(usize),
    Reset,
    Enter,
    Exit,
    /// A vector that grows, of so many numbers.
    Grow(usize),
    /// Text by parts.
    Text(usize),
    /// A value whose making fails.
    Fail(usize),
    Boxed,
    Burst(usize),
    /// 0 or 1 into `limit`, as an outsider does.
    Limit(usize),
}

fn ops(capacity: usize) -> impl Strategy<Value = Vec<Op>> {
    let size = move || prop_oneof![8 => 0usize..=80, 2 => 0usize..=9000, 1 => 0..=capacity + 1];
    let align =
        || prop_oneof![8 => (0u32..=5).prop_map(|bits| 1 << bits), 1 => (0u32..=12).prop_map(|bits| 1usize << bits)];
    let op = prop_oneof![
        14 => (size(), align()).prop_map(|(size, align)| Op::Alloc(size, align)),
        2 => size().prop_map(Op::Zeroed),
        6 => (prop_oneof![any::<usize>(), Just(usize::MAX)], size(), align()).prop_map(|(at, size, align)| Op::Resize(at, size, align)),
        4 => prop_oneof![any::<usize>(), Just(usize::MAX)].prop_map(Op::Free),
        2 => Just(Op::Checkpoint),
        3 => any::<usize>().prop_map(Op::Rewind),
        1 => Just(Op::Reset),
        3 => Just(Op::Enter),
        3 => Just(Op::Exit),
        2 => (0usize..100).prop_map(Op::Grow),
        1 => (0usize..20).prop_map(Op::Text),
        2 => (0usize..30).prop_map(Op::Fail),
        1 => Just(Op::Boxed),
        1 => (0usize..50).prop_map(Op::Burst),
        1 => (0usize..2).prop_map(Op::Limit),
    ];
    prop::collection::vec(op, 0..120)
}

fn cases() -> impl Strategy<Value = (usize, Vec<Op>)> {
    prop_oneof![0usize..=600, 0usize..=70_000, (1usize << 20)..=(5 << 20)]
        .prop_flat_map(|bytes| (Just(bytes), ops(bytes)))
}

/// A living block: its two addresses, size, alignment, and what it holds.
#[derive(Clone, Copy, Debug)]
struct Block {
    at: [NonNull<u8>; 2],
    layout: Layout,
    fill: u8,
    /// How many scopes were open.
    depth: usize,
}

struct Twins {
    blocks: Vec<Block>,
    saved: Vec<[Checkpoint; 2]>,
    fill: u8,
}

enum Pair<'a, 's, 'o> {
    Owners(&'a mut [OwnedArena; 2]),
    Scopes(&'a mut [Scope<'s, 'o>; 2]),
}

impl Pair<'_, '_, '_> {
    fn arenas(&self) -> [&Arena; 2] {
        match self {
            Pair::Owners([one, other]) => [one, other],
            Pair::Scopes([one, other]) => [one, other],
        }
    }
}

fn compare([one, other]: [&Arena; 2], twins: &Twins, op: &Op) {
    assert_eq!(one.offset(), other.offset(), "{op:?}");
    assert_eq!(one.remaining(), other.remaining(), "{op:?}");
    assert_eq!(one.capacity(), other.capacity());
    assert_eq!(one.stats().generation, other.stats().generation);
    assert_eq!(one.stats().refusals, other.stats().refusals, "{op:?}");
    for block in &twins.blocks {
        for at in block.at {
            check(at, block.layout.size(), block.fill);
        }
        if block.layout.size() > 0 {
            assert_eq!(one.offset_of(block.at[0].as_ptr()), other.offset_of(block.at[1].as_ptr()), "{op:?} {block:?}");
        }
    }
}

fn sampled(size: usize) -> impl Iterator<Item = usize> {
    (0..size.min(48)).chain(size.saturating_sub(48).max(48).min(size)..size)
}

fn check(block: NonNull<u8>, size: usize, fill: u8) {
    for at in sampled(size) {
        // SAFETY: inside the block.
        assert_eq!(unsafe { block.add(at).read() }, fill, "byte {at} of {size}");
    }
}

impl Twins {
    fn take(&mut self, at: [NonNull<u8>; 2], layout: Layout, depth: usize) {
        self.fill = self.fill.wrapping_add(1);
        for block in at {
            assert!(block.addr().get().is_multiple_of(layout.align()));
            for byte in sampled(layout.size()) {
                // SAFETY: inside the block.
                unsafe { block.add(byte).write(self.fill) };
            }
        }
        self.blocks.push(Block { at, layout, fill: self.fill, depth });
    }
}

fn both<T>(arenas: [&Arena; 2], work: impl Fn(&Arena) -> T) -> [T; 2] {
    arenas.map(work)
}

fn same(results: &[Result<NonNull<u8>, Error>; 2], op: &Op) -> Option<[NonNull<u8>; 2]> {
    match results {
        [Ok(one), Ok(other)] => Some([*one, *other]),
        [Err(one), Err(other)] if one == other => None,
        _ => panic!("{op:?}: checked {:?}, unchecked {:?}", results[0], results[1]),
    }
}

fn run(pair: &mut Pair<'_, '_, '_>, twins: &mut Twins, ops: &mut std::slice::Iter<'_, Op>, depth: usize) {
    while let Some(op) = ops.next() {
        match op {
            Op::Exit if depth > 0 => return,
            Op::Enter => {
                match pair {
                    Pair::Owners([one, other]) => {
                        let mut guards = [one.scope_guard(), other.scope_guard()];
                        let [a, b] = &mut guards;
                        run(&mut Pair::Scopes(&mut [a.scope(), b.scope()]), twins, ops, depth + 1);
                    }
                    Pair::Scopes([one, other]) => {
                        let mut guards = [one.scope_guard(), other.scope_guard()];
                        let [a, b] = &mut guards;
                        run(&mut Pair::Scopes(&mut [a.scope(), b.scope()]), twins, ops, depth + 1);
                    }
                }
                twins.blocks.retain(|block| block.depth <= depth);
            }
            Op::Reset => {
                if let Pair::Owners(arenas) = pair {
                    arenas.iter_mut().for_each(|arena| arena.reset());
                    twins.blocks.clear();
                }
            }
            other => step(pair.arenas(), twins, other, depth),
        }
        compare(pair.arenas(), twins, op);
    }
}

fn step(arenas: [&Arena; 2], twins: &mut Twins, op: &Op, depth: usize) {
    match *op {
        Op::Alloc(size, align) => {
            let layout = Layout::from_size_align(size, align).unwrap();
            if let Some(at) = same(&both(arenas, |arena| arena.try_alloc_layout(layout)), op) {
                twins.take(at, layout, depth);
            }
        }
        Op::Zeroed(size) => {
            let layout = Layout::from_size_align(size, 8).unwrap();
            if let Some(at) = same(&both(arenas, |arena| arena.try_alloc_zeroed_layout(layout)), op) {
                at.iter().for_each(|block| check(*block, size, 0));
                twins.take(at, layout, depth);
            }
        }
        Op::Resize(at, size, align) => {
            let Some(index) = at.checked_rem(twins.blocks.len()) else { return };
            let old = twins.blocks[index];
            if old.depth < depth {
                return;
            }
            let new = Layout::from_size_align(size, align).unwrap();
            // Where the unchecked block is aligned by chance and the place of the other would be as well.
            // SAFETY: a living block of each, with its layout.
            let results = [0, 1].map(|one| unsafe { arenas[one].try_resize(old.at[one], old.layout, new) });
            if let Some(at) = same(&results, op) {
                at.iter().for_each(|block| check(*block, old.layout.size().min(size).min(48), old.fill));
                twins.blocks.remove(index);
                twins.take(at, new, depth);
            }
        }
        Op::Free(at) => {
            let Some(index) = at.checked_rem(twins.blocks.len()) else { return };
            let old = twins.blocks[index];
            if old.depth < depth {
                return;
            }
            twins.blocks.remove(index);
            for one in [0, 1] {
                // SAFETY: a living block of each, with its layout.
                unsafe { arenas[one].free(old.at[one], old.layout) };
            }
        }
        Op::Checkpoint => twins.saved.push(both(arenas, Arena::checkpoint)),
        Op::Rewind(at) => {
            let Some(index) = at.checked_rem(twins.saved.len()) else { return };
            let saved = twins.saved[index];
            // SAFETY: blocks from after it are forgotten below.
            let results = [0, 1].map(|one| unsafe { arenas[one].rewind_unchecked(&saved[one]) });
            assert_eq!(results[0], results[1], "{op:?}");
            if results[0].is_ok() {
                let to = arenas[1].offset();
                let base = arenas[1].base().addr();
                twins.blocks.retain(|block| block.at[1].addr().get() + block.layout.size() <= base + to);
            }
        }
        Op::Grow(count) => {
            let results = both(arenas, |arena| {
                arena.try_alloc_iter((0..count).filter(|i| i % 3 != 0)).map(|items| {
                    assert!(items.iter().all(|i| i % 3 != 0));
                    (NonNull::from(&mut *items).cast::<u8>(), items.len())
                })
            });
            assert_eq!(results[0].map(|found| found.1), results[1].map(|found| found.1), "{op:?}");
        }
        Op::Text(parts) => {
            let text = "x".repeat(parts);
            let results =
                both(arenas, |arena| arena.try_alloc_fmt(format_args!("{text}-{parts}-{text}")).map(|text| text.len()));
            assert_eq!(results[0], results[1]);
        }
        Op::Fail(count) => {
            let results = both(arenas, |arena| {
                let bytes =
                    arena.try_alloc_try_with(|| if count % 2 == 0 { Err(count) } else { Ok([count as u64; 5]) });
                let slice = arena.try_alloc_slice_try_fill_with(count, |i| if i == 7 { Err(i) } else { Ok(i as u8) });
                (bytes.map(|found| *found), slice.map(|found| found.to_vec()))
            });
            assert_eq!(results[0], results[1], "{op:?}");
        }
        Op::Boxed => {
            both(arenas, |arena| drop(arena.try_alloc_box(String::from("gone"))));
        }
        Op::Burst(count) => {
            both(arenas, |arena| {
                let mut burst = arena.burst();
                (0..count)
                    .map_while(|i| burst.try_alloc(i as u64).ok())
                    .enumerate()
                    .for_each(|(at, i)| assert_eq!(at as u64, *i));
            });
        }
        Op::Limit(value) => {
            for arena in arenas {
                // SAFETY: what anyone may do: an aligned store of 0 or 1 into `limit`.
                unsafe { (&raw const *arena).cast_mut().cast::<u8>().add(32).cast::<usize>().write_volatile(value) };
            }
        }
        Op::Reset | Op::Enter | Op::Exit => {}
    }
}

fn twins(builder: Builder<'static>, small: bool, guarded: bool, ops: &[Op]) {
    found();
    // Both begin at the same place of their page: what alignment costs depends on it.
    let builder = builder.colouring(Colouring::Never);
    let checked_by = observer(if small { small_apart() } else { apart() });
    GUARDED.set(guarded);
    // SAFETY: the observer keeps to its thread's lists.
    let checked = unsafe { builder.observer(checked_by) }.build().unwrap();
    GUARDED.set(false);
    let mut arenas = [checked, builder.build().unwrap()];
    let mut twins = Twins { blocks: Vec::new(), saved: Vec::new(), fill: 0 };
    let mut ops = ops.iter();
    while ops.len() > 0 {
        run(&mut Pair::Owners(&mut arenas), &mut twins, &mut ops, 0);
    }
    // The bytes as they would lie.
    let used: Vec<_> =
        twins.blocks.iter().map(|block| (block.at[1].addr().get(), block.layout.size(), block.fill)).collect();
    let base = arenas[1].base().addr();
    let bytes = arenas[0].bytes();
    for (start, size, fill) in used {
        for at in sampled(size) {
            // SAFETY: copied from a block that was written there.
            assert_eq!(unsafe { bytes[start - base + at].assume_init() }, fill);
        }
    }
    drop(arenas);
    let told = found();
    assert!(told.is_empty(), "a false accusation: {told:#?}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn of_bounded_arenas((capacity, ops) in cases(), small: bool) {
        twins(Arena::builder().capacity(capacity), small, false, &ops);
    }

    #[test]
    fn of_growing_arenas((reserve, ops) in cases(), small: bool) {
        twins(Arena::builder().reserve(reserve + 1), small, false, &ops);
    }

    #[test]
    fn of_arenas_with_guard_pages((capacity, ops) in cases(), small: bool) {
        twins(Arena::builder().capacity(capacity), small, true, &ops);
    }
}

/// Another thread looks at everything, and asks what lies at addresses, while an arena's own thread places, resizes, frees and goes back.
#[test]
fn who_looks_meanwhile_finds_nothing() {
    static OVER: AtomicBool = AtomicBool::new(false);
    static APART: OnceLock<Apart> = OnceLock::new();
    static LAST: AtomicU64 = AtomicU64::new(0);
    let apart = APART.get_or_init(|| Apart::new(4096, 16, false).expect("addresses"));
    let looker = std::thread::spawn(|| {
        let mut looks = 0u64;
        while !OVER.load(Relaxed) {
            apart.look_at_all(&mut |told| assert!(!matches!(told, Told::Found(_)), "{told:?}"));
            let at = LAST.load(Relaxed);
            if let Some(touched) = apart.touched(at) {
                assert!(touched.size < 4096, "{touched:?}");
            }
            looks += 1;
        }
        looks
    });
    // SAFETY: the observer keeps to its thread's lists.
    let mut arena = unsafe { Arena::builder().capacity(1 << 20).observer(observer(apart)) }.build().expect("memory");
    for round in 0..300usize {
        let place = arena.checkpoint();
        for number in 0..300usize {
            let layout = |size| Layout::from_size_align(size, 8).expect("a layout");
            let size = 1 + (number * 37 + round) % 300;
            let block = arena.alloc_layout(layout(size));
            LAST.store(block.addr().get() as u64 + 3, Relaxed);
            // SAFETY: the arena's last block, of that layout, and its own bytes.
            unsafe {
                block.write_bytes(0x11, size);
                let grown = arena.try_resize(block, layout(size), layout(size + 40)).expect("room");
                grown.write_bytes(0x22, size + 40);
                if number % 3 == 0 {
                    arena.free(grown, layout(size + 40));
                }
            }
        }
        match round % 2 {
            0 => arena.rewind(&place).expect("in order"),
            _ => arena.reset(),
        }
    }
    drop(arena);
    OVER.store(true, Relaxed);
    assert!(looker.join().expect("no fault") > 0);
    assert!(found().is_empty());
}

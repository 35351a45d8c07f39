//! Scopes, drop lists and bursts: what lives how long, what is dropped when, and what is reported.
#![allow(unsafe_code)] // An observer is lent.

use arenascope::{Arena, Checkpoint, Event, EventKind, OBSERVER_VERSION, Observer, OwnedArena, RewindError, Scope};
use proptest::prelude::*;
use std::cell::{Cell, RefCell};
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

/// Writes its name into a log when dropped.
struct Logged<'a>(&'a RefCell<Vec<u32>>, u32);

impl Drop for Logged<'_> {
    fn drop(&mut self) {
        self.0.borrow_mut().push(self.1);
    }
}

#[test]
fn values_are_dropped_at_the_scopes_end_the_last_one_first() {
    let log = RefCell::new(Vec::new());
    let mut arena = Arena::init(4096).unwrap();
    arena.scope(|outer| {
        outer.alloc_drop(Logged(&log, 1));
        outer.scope(|inner| {
            inner.alloc_drop(Logged(&log, 2));
            inner.alloc_drop(5u32);
            inner.alloc_drop(Logged(&log, 3));
            assert!(log.borrow().is_empty());
        });
        assert_eq!(*log.borrow(), [3, 2]);
        outer.alloc_drop(Logged(&log, 4));
    });
    assert_eq!(*log.borrow(), [3, 2, 4, 1]);
    assert_eq!(arena.offset(), 0);
}

#[test]
fn a_value_may_use_blocks_of_outer_scopes_when_it_is_dropped() {
    struct Reader<'a>(&'a Cell<u64>, &'a [u64]);
    impl Drop for Reader<'_> {
        fn drop(&mut self) {
            self.0.set(self.0.get() + self.1.iter().sum::<u64>());
        }
    }
    let mut arena = Arena::init(4096).unwrap();
    let sum = arena.scope(|outer| {
        let sum = &*outer.alloc(Cell::new(0));
        let items = &*outer.alloc_slice_copy(&[1, 2, 3]);
        outer.scope(|inner| {
            inner.alloc_drop(Reader(sum, items));
            inner.alloc_slice_fill_copy(100, u64::MAX);
        });
        sum.get()
    });
    assert_eq!(sum, 6);
}

#[test]
fn a_panic_in_a_scope_ends_it_and_drops_its_values() {
    let log = RefCell::new(Vec::new());
    let mut arena = Arena::init(4096).unwrap();
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        arena.scope(|outer| {
            outer.alloc_drop(Logged(&log, 1));
            outer.scope(|inner| {
                inner.alloc_drop(Logged(&log, 2));
                panic!("on purpose");
            })
        })
    }));
    assert!(panicked.is_err());
    assert_eq!(*log.borrow(), [2, 1]);
    assert_eq!((arena.offset(), arena.stats().depth), (0, 0));
}

#[test]
fn a_panic_in_a_drop_still_drops_the_others_and_ends_the_scope() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("on purpose");
        }
    }
    let log = RefCell::new(Vec::new());
    let mut arena = Arena::init(4096).unwrap();
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        arena.scope(|scope| {
            scope.alloc_drop(Logged(&log, 1));
            scope.alloc_drop(Bomb);
            scope.alloc_drop(Logged(&log, 2));
        })
    }));
    assert!(panicked.is_err());
    assert_eq!(*log.borrow(), [2, 1]);
    assert_eq!((arena.offset(), arena.stats().depth), (0, 0));
}

#[test]
fn a_refused_value_is_dropped_at_once_and_once() {
    let log = RefCell::new(Vec::new());
    let mut arena = Arena::init(8).unwrap();
    arena.scope(|scope| {
        assert!(scope.try_alloc_drop(Logged(&log, 1)).is_err());
        assert_eq!(*log.borrow(), [1]);
    });
    assert_eq!(*log.borrow(), [1]);
}

#[test]
fn a_forgotten_guard_costs_memory_and_nothing_else() {
    let log = RefCell::new(Vec::new());
    let mut arena = Arena::init(4096).unwrap();
    arena.scope(|outer| {
        let kept = outer.alloc(1u64);
        for round in 0..3 {
            let mut guard = outer.scope_guard();
            guard.scope().alloc_drop(Logged(&log, round));
            std::mem::forget(guard);
        }
        let next = outer.alloc(2u64);
        outer.scope(|inner| *inner.alloc(3u64) += 1);
        assert_eq!((*kept, *next), (1, 2));
    });
    assert!(log.borrow().is_empty(), "what was forgotten is not dropped");
    assert_eq!((arena.offset(), arena.stats().depth), (0, 0));
    std::mem::forget(arena.scope_guard());
    assert_eq!(arena.stats().depth, 1);
    arena.reset();
    assert_eq!(arena.stats().depth, 0);
}

#[test]
fn checkpoints_know_their_scope() {
    let mut arena = Arena::init(4096).unwrap();
    let outside = arena.checkpoint();
    let stale = arena.scope(|scope| {
        assert_eq!(scope.judge(&outside), Err(RewindError::OutOfOrder));
        let inside = scope.checkpoint();
        scope.alloc(1);
        assert_eq!(scope.judge(&inside), Ok(()));
        scope.scope(|inner| assert_eq!(inner.judge(&inside), Err(RewindError::OutOfOrder)));
        assert_eq!(scope.judge(&inside), Ok(()));
        inside
    });
    assert_eq!(arena.judge(&stale), Err(RewindError::Stale));
    assert_eq!(arena.scope(|sibling| sibling.judge(&stale)), Err(RewindError::Stale));
    assert_eq!(arena.rewind(&outside), Ok(()));
    assert_eq!(Arena::init(1).unwrap().judge(&outside), Err(RewindError::Foreign));
}

#[test]
fn a_scope_gives_back_what_a_burst_took() {
    let mut arena = Arena::init(1 << 16).unwrap();
    let kept = arena.scope(|scope| {
        let before = scope.alloc(1u64);
        let in_burst: Vec<&mut u64> = {
            let mut burst = scope.burst();
            (0..100).map(|i| burst.alloc(i)).collect()
        };
        assert_eq!(scope.offset(), 101 * 8, "only what was used");
        let after = scope.alloc(2u64);
        scope.scope(|inner| inner.alloc_slice_fill_copy(100, u64::MAX).len());
        assert!(in_burst.iter().map(|n| **n).eq(0..100));
        *before + *after
    });
    assert_eq!((kept, arena.offset()), (3, 0));
}

#[test]
fn a_forgotten_burst_and_two_at_once_hand_out_nothing_twice() {
    let arena = Arena::builder().reserve(1 << 20).build().unwrap();
    let mut blocks: Vec<&mut u64> = Vec::new();
    let mut count = 0;
    let mut next = || {
        count += 1;
        count - 1
    };
    let mut first = arena.burst();
    blocks.push(first.alloc(next()));
    let mut second = arena.burst();
    for _ in 0..1000 {
        blocks.push(second.alloc(next()));
        blocks.push(arena.alloc(next()));
        blocks.push(first.alloc(next()));
    }
    std::mem::swap(&mut first, &mut second);
    drop(first);
    for _ in 0..1000 {
        blocks.push(second.alloc(next()));
        blocks.push(arena.alloc(next()));
    }
    std::mem::forget(second);
    for _ in 0..1000 {
        blocks.push(arena.alloc(next()));
        blocks.push(arena.burst().alloc(next()));
    }
    assert!(blocks.iter().map(|n| **n).eq(0..count));
}

#[test]
fn a_burst_hands_out_everything_up_to_the_exact_capacity() {
    for capacity in 0..100 {
        let arena = Arena::init(capacity).unwrap();
        let mut burst = arena.burst();
        let mut taken = 0;
        while burst.try_alloc(1u8).is_ok() {
            taken += 1;
        }
        drop(burst);
        assert_eq!(taken, capacity.div_ceil(8), "{capacity}");
        assert_eq!(arena.offset(), if capacity == 0 { 0 } else { capacity.min(taken * 8) });
    }
}

type Log = Mutex<Vec<(EventKind, usize, u32, bool)>>;

unsafe extern "C" fn record(context: *mut c_void, event: *const Event) {
    // SAFETY: context and event are those of `observer` below and of the library's call.
    let (log, event) = unsafe { (&*context.cast::<Log>(), &*event) };
    log.lock().unwrap().push((event.kind, event.size, event.depth, event.line != 0));
}

fn observed(log: &'static Log) -> OwnedArena {
    let observer = Box::leak(Box::new(Observer {
        version: OBSERVER_VERSION,
        table_bytes: size_of::<Observer>() as u32,
        context: (log as *const Log).cast_mut().cast(),
        event: record,
        sample_bytes: 0,
        next_sample: None,
        check: None,
    }));
    // SAFETY: the log is behind a lock and lives forever.
    unsafe { Arena::builder().observer(observer) }.build().unwrap()
}

#[test]
fn a_watched_arena_reports_scopes_bursts_and_growing_blocks() {
    let log: &'static Log = Box::leak(Box::default());
    let mut arena = observed(log);
    let take = || std::mem::take(&mut *log.lock().unwrap());
    take();
    arena.scope(|scope| {
        scope.alloc(1u32);
        let mut burst = scope.burst();
        burst.alloc_str("four");
        burst.alloc([0u8; 5]);
        drop(burst);
        scope.scope(|inner| inner.alloc_str("inner").len());
    });
    let kinds = [
        (EventKind::SCOPE_ENTER, 0, 1, true),
        (EventKind::ALLOC, 4, 1, true),
        (EventKind::ALLOC, 4, 1, true),
        (EventKind::ALLOC, 5, 1, true),
        (EventKind::SCOPE_ENTER, 0, 2, true),
        (EventKind::ALLOC, 5, 2, true),
        (EventKind::SCOPE_EXIT, 0, 1, true),
        (EventKind::SCOPE_EXIT, 0, 0, true),
    ];
    assert_eq!(take(), kinds);
    arena.alloc_iter((0..200u8).filter(|n| n % 2 == 0));
    let steps = take();
    assert_eq!(steps.first().map(|e| (e.0, e.1)), Some((EventKind::ALLOC, 64)));
    assert_eq!(steps.last().map(|e| (e.0, e.1)), Some((EventKind::RESIZE, 100)), "the size that it ended with");
    assert!(steps.iter().all(|e| e.3), "each with a caller");
}

#[test]
fn the_caller_reported_is_the_users_line() {
    static FILES: Mutex<Vec<(String, u32)>> = Mutex::new(Vec::new());
    unsafe extern "C" fn file(_: *mut c_void, event: *const Event) {
        // SAFETY: valid during the call.
        let event = unsafe { &*event };
        if event.file.is_null() {
            return;
        }
        // SAFETY: the file's name lives forever.
        let file = unsafe { std::slice::from_raw_parts(event.file, event.file_bytes as usize) };
        FILES.lock().unwrap().push((String::from_utf8(file.to_vec()).unwrap(), event.line));
    }
    let observer = Box::leak(Box::new(Observer {
        version: OBSERVER_VERSION,
        table_bytes: size_of::<Observer>() as u32,
        context: std::ptr::null_mut(),
        event: file,
        sample_bytes: 0,
        next_sample: None,
        check: None,
    }));
    // SAFETY: the list is behind a lock.
    let mut arena = unsafe { Arena::builder().capacity(1 << 16).observer(observer) }.build().unwrap();
    let check = |what: &str, line: u32| {
        let seen = std::mem::take(&mut *FILES.lock().unwrap());
        assert!(!seen.is_empty(), "{what}");
        assert!(seen.iter().all(|(file, at)| file == file!() && *at == line), "{what}: {seen:?}, not {line}");
    };
    check("create", line!() - 6);
    macro_rules! at_this_line {
        ($($call:expr),* $(,)?) => {
            $( let _ = $call; check(stringify!($call), line!()); )*
        };
    }
    at_this_line!(arena.alloc(1), arena.try_alloc(1), arena.alloc_with(|| 1), arena.try_alloc_with(|| 1));
    at_this_line!(arena.alloc_slice_copy(&[1]), arena.alloc_slice_clone(&[1]), arena.alloc_slice_fill_copy(2, 1));
    at_this_line!(arena.alloc_slice_fill_with(2, |i| i), arena.alloc_slice_fill_iter([1]), arena.alloc_uninit::<u8>());
    at_this_line!(arena.alloc_iter((0..99).filter(|n| n % 2 == 0)), arena.alloc_box(1), arena.alloc_box_iter([1]));
    at_this_line!(arena.alloc_str("s"), arena.alloc_fmt(format_args!("{}", "x".repeat(99))), arena.alloc_cstr(c"c"));
    at_this_line!(arena.alloc_cstr_from_str("s"), arena.alloc_zeroed::<u8>(), arena.alloc_zeroed_slice::<u8>(3));
    at_this_line!(arena.alloc_try_with(|| Ok::<_, ()>(1)), arena.burst().alloc(1), arena.burst().alloc_str("s"));
    let mut guard = arena.scope_guard();
    check("guard", line!() - 1);
    let scope = guard.scope();
    at_this_line!(scope.alloc(1), scope.alloc_drop(String::new()), scope.alloc_str("s"), scope.alloc_box(1));
    at_this_line!(scope.alloc_iter((0..99).filter(|n| n % 2 == 0)), scope.burst().alloc(1));
}

/// What a random program does in a scope.
#[derive(Clone, Debug)]
enum Deed {
    Value(u64),
    Bytes(Vec<u8>),
    Items(Vec<u32>),
    Format(String, u16),
    Zeroes(usize),
    Drop(u32),
    Burst(Vec<u64>),
    Scope(Vec<Deed>),
    Guard(Vec<Deed>),
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let leaf = prop_oneof![
        any::<u64>().prop_map(Deed::Value),
        prop::collection::vec(any::<u8>(), 0..80).prop_map(Deed::Bytes),
        prop::collection::vec(any::<u32>(), 0..80).prop_map(Deed::Items),
        ("[a-z]{0,40}", any::<u16>()).prop_map(|(text, width)| Deed::Format(text, width % 200)),
        (0usize..3000).prop_map(Deed::Zeroes),
        any::<u32>().prop_map(Deed::Drop),
        prop::collection::vec(any::<u64>(), 0..50).prop_map(Deed::Burst),
    ];
    let deed = leaf.prop_recursive(4, 64, 12, |inner| {
        let list = prop::collection::vec(inner, 0..12);
        prop_oneof![list.clone().prop_map(Deed::Scope), list.prop_map(Deed::Guard)]
    });
    prop::collection::vec(deed, 0..30)
}

/// Does them, keeping every block beside a copy of what it should hold, and compares when the scope is about to end.
fn perform<'outer>(
    scope: &mut Scope<'_, 'outer>,
    deeds: &[Deed],
    log: &'outer RefCell<Vec<u32>>,
    expected: &mut Vec<u32>,
) {
    let mut blocks: Vec<(&[u8], Vec<u8>)> = Vec::new();
    let mut values: Vec<(&u64, u64)> = Vec::new();
    let mut items: Vec<(&[u32], &[u32])> = Vec::new();
    let mut drops = Vec::new();
    for deed in deeds {
        match deed {
            Deed::Value(value) => values.push((scope.alloc(*value), *value)),
            Deed::Bytes(bytes) => blocks.push((scope.alloc_slice_copy(bytes), bytes.clone())),
            Deed::Items(list) => items.push((scope.alloc_iter(list.iter().copied().filter(|_| true)), list)),
            Deed::Format(text, width) => {
                let width = usize::from(*width);
                let made = scope.alloc_fmt(format_args!("{text}{text:>width$}"));
                blocks.push((made.as_bytes(), format!("{text}{text:>width$}").into_bytes()));
            }
            Deed::Zeroes(bytes) => blocks.push((scope.alloc_zeroed_slice::<u8>(*bytes), vec![0; *bytes])),
            Deed::Drop(name) => {
                scope.alloc_drop(Logged(log, *name));
                drops.push(*name);
            }
            Deed::Burst(list) => {
                let mut burst = scope.burst();
                values.extend(list.iter().map(|value| (&*burst.alloc(*value), *value)));
            }
            Deed::Scope(inner) => scope.scope(|inside| perform(inside, inner, log, expected)),
            Deed::Guard(inner) => {
                let mut guard = scope.scope_guard();
                perform(&mut guard.scope(), inner, log, expected);
            }
        }
    }
    assert!(blocks.iter().all(|(block, copy)| block == copy));
    assert!(values.iter().all(|(block, copy)| *block == copy));
    assert!(items.iter().all(|(block, copy)| block == copy));
    expected.extend(drops.iter().rev());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 300 }) })]

    #[test]
    fn random_nests_keep_every_block_until_its_scope_ends(deeds in deeds(), watched: bool) {
        let log = RefCell::new(Vec::new());
        let mut expected = Vec::new();
        let mut arena = if watched { observed(Box::leak(Box::default())) } else { Arena::growing().unwrap() };
        for _ in 0..2 {
            arena.scope(|scope| perform(scope, &deeds, &log, &mut expected));
            prop_assert_eq!((arena.offset(), arena.stats().depth), (0, 0));
        }
        prop_assert_eq!(&*log.borrow(), &expected);
    }
}

/// A step in a nest of scopes.
#[derive(Clone, Debug)]
enum Step {
    Checkpoint,
    Value,
    Scope(Vec<Step>),
    Forgotten(Vec<Step>),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let leaf = prop_oneof![Just(Step::Checkpoint), Just(Step::Value)];
    let step = leaf.prop_recursive(4, 40, 6, |inner| {
        let list = prop::collection::vec(inner, 0..6);
        prop_oneof![list.clone().prop_map(Step::Scope), list.prop_map(Step::Forgotten)]
    });
    prop::collection::vec(step, 0..8)
}

/// The model: every scope has a name of its own, and a checkpoint knows its scope's.
#[derive(Default)]
struct Nest {
    /// Open scopes, forgotten ones too, the innermost last.
    open: Vec<u32>,
    names: u32,
    taken: Vec<(Checkpoint, Option<u32>)>,
}

impl Nest {
    fn begin(&mut self) {
        self.names += 1;
        self.open.push(self.names);
    }

    fn compare(&self, arena: &Arena) {
        assert_eq!(arena.stats().depth as usize, self.open.len());
        for (checkpoint, scope) in &self.taken {
            let judged = arena.judge(checkpoint);
            if *scope == self.open.last().copied() {
                assert_eq!(judged, Ok(()));
            } else if scope.is_none_or(|scope| self.open.contains(&scope)) {
                assert_eq!(judged, Err(RewindError::OutOfOrder));
            } else {
                assert!(judged.is_err(), "its scope has ended");
            }
        }
    }
}

fn walk(scope: &mut Scope<'_, '_>, steps: &[Step], nest: &mut Nest) {
    for step in steps {
        match step {
            Step::Checkpoint => nest.taken.push((scope.checkpoint(), nest.open.last().copied())),
            Step::Value => drop(scope.alloc(1u64)),
            Step::Scope(inner) => {
                let outside = nest.open.len();
                nest.begin();
                scope.scope(|inside| walk(inside, inner, nest));
                nest.open.truncate(outside);
            }
            Step::Forgotten(inner) => {
                let mut guard = scope.scope_guard();
                nest.begin();
                walk(&mut guard.scope(), inner, nest);
                std::mem::forget(guard);
            }
        }
        nest.compare(scope);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 300 }) })]

    #[test]
    fn a_checkpoint_is_good_in_its_own_scope_only(steps in steps(), watched: bool) {
        let mut nest = Nest::default();
        let mut arena = if watched { observed(Box::leak(Box::default())) } else { Arena::growing().unwrap() };
        nest.taken.push((arena.checkpoint(), None));
        for _ in 0..2 {
            nest.begin();
            arena.scope(|scope| walk(scope, &steps, &mut nest));
            nest.open.clear();
            nest.compare(&arena);
        }
    }
}

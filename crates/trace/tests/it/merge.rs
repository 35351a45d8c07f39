//! The merged order: each thread's own order is kept, an arena's numbers beat the clock, gaps do not stall.

use crate::build::{File, Writer};
use arenascope_event::{ArenaKey, Event, EventKind, EventNumber};
use arenascope_trace::{Record, Trace, layout};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// One true event: thread, arena (`None`: of no arena), error of the clock in ns.
type True = (u32, Option<u32>, u64);

/// Plays `events` in their true order, one every 16 ns, and writes what each thread would record. `lost` says which are
/// numbered and then lost. The size of an alloc, and the address of a free, is its index in the true order.
fn record(events: &[True], payload: usize, lost: impl Fn(usize) -> bool) -> File {
    let mut file = File::new();
    let mut writers: BTreeMap<u32, Writer> = BTreeMap::new();
    let mut orders: BTreeMap<u32, u64> = BTreeMap::new();
    for (index, &(thread, arena, error)) in events.iter().enumerate() {
        let ns = 1_000 + 16 * index as u64 + 8 * error;
        let writer = writers.entry(thread).or_insert_with(|| Writer::with_payload(thread, payload));
        let Some(arena) = arena else {
            writer.put(&mut file, thread, ns, None, &Record::HeapFree { address: index as u64 });
            continue;
        };
        let order = orders.entry(arena).or_insert_with(|| {
            writer.put(&mut file, thread, ns, None, &Record::ArenaSeen { arena, object: 0x1000 });
            0
        });
        if !lost(index) {
            let alloc = Record::Alloc { arena, order: *order, block: 0x7000, size: index as u64, align: 0 };
            writer.put(&mut file, thread, ns, None, &alloc);
        }
        *order += 1;
    }
    file
}

/// The true index of an event, and its thread.
fn index(event: &Event) -> Option<(u32, u64)> {
    match event.kind {
        EventKind::Alloc { size, .. } => Some((event.thread.0, size)),
        EventKind::HeapFree { address } => Some((event.thread.0, address.0)),
        _ => None,
    }
}

fn check_own_orders(events: &[Event]) -> Result<(), TestCaseError> {
    let mut last: BTreeMap<u32, u64> = BTreeMap::new();
    let mut time = 0;
    for (position, event) in events.iter().enumerate() {
        prop_assert_eq!(event.number, EventNumber(position as u64 + 1));
        prop_assert!(event.time_ns >= time, "time falls at {}", position);
        time = event.time_ns;
        if let Some((thread, index)) = index(event)
            && let Some(before) = last.insert(thread, index)
        {
            prop_assert!(before < index, "thread {}: {} came before {}", thread, before, index);
        }
    }
    Ok(())
}

fn scene(most_error: u64) -> impl Strategy<Value = Vec<True>> {
    prop::collection::vec((1u32..5, prop::option::weighted(0.8, 0u32..4), 0..=most_error), 0..200)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn with_true_clocks_the_true_order_comes_back(events in scene(0), payload in 100usize..900) {
        let file = record(&events, payload, |_| false);
        let trace = Trace::open(&file.bytes).unwrap();
        let merged: Vec<Event> = trace.events().collect();
        check_own_orders(&merged)?;
        let indices: Vec<u64> = merged.iter().filter_map(index).map(|(_, index)| index).collect();
        prop_assert_eq!(indices, (0..events.len() as u64).collect::<Vec<_>>());
    }

    #[test]
    fn with_wrong_clocks_each_arena_is_in_its_own_order(events in scene(200), payload in 100usize..900) {
        let file = record(&events, payload, |_| false);
        let trace = Trace::open(&file.bytes).unwrap();
        let merged: Vec<Event> = trace.events().collect();
        check_own_orders(&merged)?;
        let mut next: BTreeMap<ArenaKey, u64> = BTreeMap::new();
        for event in &merged {
            match event.kind {
                EventKind::ArenaSeen { arena, .. } => prop_assert_eq!(next.insert(arena, 0), None),
                _ => if let Some((arena, order)) = event.kind.arena_order() {
                    prop_assert_eq!(next.insert(arena, order + 1), Some(order));
                }
            }
        }
        prop_assert_eq!(merged.iter().filter(|event| index(event).is_some()).count(), events.len());
    }

    #[test]
    fn gaps_lose_nothing_else(events in scene(200), every in 2usize..9) {
        let lost = |index: usize| index.is_multiple_of(every);
        let file = record(&events, 60_000, lost);
        let trace = Trace::open(&file.bytes).unwrap();
        let merged: Vec<Event> = trace.events().collect();
        check_own_orders(&merged)?;
        let kept = events.iter().enumerate().filter(|(index, event)| event.1.is_none() || !lost(*index)).count();
        prop_assert_eq!(merged.iter().filter(|event| index(event).is_some()).count(), kept);
    }

    #[test]
    fn a_bookmark_goes_on_from_where_it_stood(events in scene(50), at in 0usize..200) {
        let file = record(&events, 700, |_| false);
        let trace = Trace::open(&file.bytes).unwrap();
        let all: Vec<Event> = trace.events().collect();
        let mut events = trace.events();
        let at = at.min(all.len());
        for _ in 0..at {
            events.next();
        }
        prop_assert_eq!(events.clone().collect::<Vec<_>>(), &all[at..]);
        prop_assert_eq!(events.collect::<Vec<_>>(), &all[at..]);
    }
}

#[test]
fn an_event_whose_predecessor_was_lost_is_late_by_a_bounded_number_of_events() {
    let mut file = File::new();
    let (mut one, mut two) = (Writer::new(1), Writer::new(2));
    one.put(&mut file, 1, 0, None, &Record::ArenaSeen { arena: 0, object: 8 });
    // Order 0 was lost, and the loss counted.
    one.put(&mut file, 1, 16, None, &Record::Reset { arena: 0, order: 1 });
    file.set_word(layout::live::LOST_NO_SPACE, 1);
    for index in 0..20_000 {
        two.put(&mut file, 2, 1_000 + 16 * index, None, &Record::HeapFree { address: 8 });
    }
    let trace = Trace::open(&file.bytes).unwrap();
    let position = trace.events().position(|event| matches!(event.kind, EventKind::Reset { .. })).unwrap();
    assert!(position < 5_000, "{position}");
    assert_eq!(trace.events().count(), 20_002);
}

#[test]
fn the_largest_numbers_are_numbers_like_others() {
    let mut file = File::new();
    let mut writer = Writer::new(1);
    let orders = [u64::MAX, u64::MAX - 1, u64::MAX - 2, 0, u64::MAX];
    for (index, &order) in orders.iter().enumerate() {
        writer.put(&mut file, 1, 16 * index as u64, None, &Record::Reset { arena: u32::MAX, order });
    }
    let trace = Trace::open(&file.bytes).unwrap();
    let merged: Vec<u64> =
        trace.events().filter_map(|event| event.kind.arena_order()).map(|(_, order)| order).collect();
    assert_eq!(merged, orders);
}

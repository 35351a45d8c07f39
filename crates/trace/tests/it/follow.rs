//! A trace read while it is written: every event comes once, each thread's in order, and nothing waits for ever.

use crate::build::{File, Writer};
use crate::round_trip::{said, without_blob, write};
use arenascope_event::{Event, EventKind, EventNumber};
use arenascope_trace::{Follower, Record, Trace};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn every_event_comes_once(said in said(100), payload in 600usize..3000, every in 1usize..20) {
        let mut file = File::new();
        let mut writers: Vec<Writer> = (0..4).map(|number| Writer::with_payload(number, payload)).collect();
        let mut follower = Follower::new();
        let mut followed: Vec<Event> = Vec::new();
        for (index, one) in said.iter().enumerate() {
            write(&mut file, &mut writers[one.thread as usize], one);
            if index.is_multiple_of(every) {
                follower.update(&file.bytes);
                while let Some(event) = follower.next(&file.bytes) {
                    followed.push(event);
                }
            }
        }
        follower.update(&file.bytes);
        while let Some(event) = follower.next_at_end(&file.bytes) {
            followed.push(event);
        }
        prop_assert_eq!(followed.len(), said.len());
        for (index, event) in followed.iter().enumerate() {
            prop_assert_eq!(event.number, EventNumber(index as u64 + 1));
        }
        for thread in 1..4 {
            let of = |event: &&Event| event.thread.0 == thread;
            let followed: Vec<EventKind> =
                followed.iter().filter(of).map(|event| without_blob(event.clone()).kind).collect();
            let said: Vec<EventKind> = said.iter().filter(|one| one.thread == thread).map(|one| one.kind.clone()).collect();
            prop_assert_eq!(followed, said);
        }
    }

    #[test]
    fn what_is_there_at_once_comes_in_the_order_of_the_trace(said in said(100)) {
        let mut file = File::new();
        let mut writers: Vec<Writer> = (0..4).map(|number| Writer::with_payload(number, 700)).collect();
        for one in &said {
            write(&mut file, &mut writers[one.thread as usize], one);
        }
        let mut follower = Follower::new();
        follower.update(&file.bytes);
        let followed: Vec<Event> = core::iter::from_fn(|| follower.next_at_end(&file.bytes)).collect();
        let trace = Trace::open(&file.bytes).unwrap();
        prop_assert_eq!(followed, trace.events().collect::<Vec<_>>());
    }
}

#[test]
fn an_event_waits_for_the_one_that_its_arena_numbers_before_it() {
    let mut file = File::new();
    let (mut one, mut two) = (Writer::new(1), Writer::new(2));
    one.put(&mut file, 1, 8, None, &Record::ArenaSeen { arena: 0, object: 8 });
    two.put(&mut file, 2, 16, None, &Record::Reset { arena: 0, order: 1 });
    let mut follower = Follower::new();
    follower.update(&file.bytes);
    assert_eq!(follower.next(&file.bytes).unwrap().kind.word(), "arena-seen");
    assert_eq!(follower.next(&file.bytes), None, "order 0 has not come");
    one.put(&mut file, 1, 24, None, &Record::Reset { arena: 0, order: 0 });
    follower.update(&file.bytes);
    let orders: Vec<u64> = core::iter::from_fn(|| follower.next(&file.bytes))
        .filter_map(|event| event.kind.arena_order())
        .map(|(_, order)| order)
        .collect();
    assert_eq!(orders, [0, 1]);
}

#[test]
fn bytes_that_are_no_trace_yet_are_nothing() {
    let mut follower = Follower::new();
    for bytes in [&[][..], &[0; 100], &[0; 10_000]] {
        follower.update(bytes);
        assert_eq!(follower.next(bytes), None);
        assert_eq!(follower.next_at_end(bytes), None);
    }
}

#[test]
fn at_equal_times_the_writer_decides_and_not_the_place_in_the_file() {
    let mut file = File::new();
    for number in [5, 2, 9] {
        Writer::new(number).put(&mut file, number, 8, None, &Record::Vfork);
    }
    let trace = Trace::open(&file.bytes).unwrap();
    let mut follower = Follower::new();
    follower.update(&file.bytes);
    let followed: Vec<u32> = core::iter::from_fn(|| follower.next(&file.bytes)).map(|event| event.thread.0).collect();
    assert_eq!(followed, [2, 5, 9]);
    assert_eq!(trace.events().map(|event| event.thread.0).collect::<Vec<_>>(), followed);
}

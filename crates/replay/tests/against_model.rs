//! The replay against the stupid model, after every event of random stories; and the timeline against the replay.

use arenascope_event::{Event, EventNumber, ProcessFacts, Role};
use arenascope_replay::{Arena, Block, Born, Limits, Place, Replay, State, Timeline};
use arenascope_testkit::{Facts, MODULE, Model, ModelArena, ModelBlock, Play, play, plays};
use proptest::prelude::*;

fn facts(sizes_known: bool) -> ProcessFacts {
    let facts = Facts::new().module(MODULE.0, MODULE.1);
    if sizes_known {
        facts.alloc("arena_alloc").build()
    } else {
        let arguments = [arenascope_event::Argument::Arena];
        facts.hook(Role::Alloc, "page_get", &arguments, arenascope_event::Result_::Block).build()
    }
}

type Seen = (u64, u64, u64, Option<(u64, &'static str)>);

fn replayed(block: &Block) -> Seen {
    let died = block.died.map(|death| (death.moment.0, death.how.word()));
    (block.number, block.address.0, block.size, died)
}

fn modelled(block: &ModelBlock) -> Seen {
    (block.number, block.address, block.size, block.died)
}

fn compare(arena: &Arena, model: &ModelArena) -> Result<(), TestCaseError> {
    prop_assert_eq!(arena.id.0, model.id);
    prop_assert_eq!(matches!(arena.born, Born::Explicit(_)), model.explicit);
    prop_assert_eq!(arena.born.moment().0, model.born);
    prop_assert_eq!(arena.ended.map(|end| (end.moment.0, end.how.word())), model.ended);
    let counts = &arena.counts;
    prop_assert_eq!(
        (counts.allocs, counts.refused, counts.frees, counts.resizes, counts.moves, counts.rewinds, counts.resets),
        (model.allocs, model.refused, model.frees, model.resizes, model.moves, model.rewinds, model.resets)
    );
    prop_assert_eq!(counts.overwritten, model.overwritten);
    prop_assert_eq!(arena.generation, model.rewinds + model.resets);
    prop_assert_eq!((arena.peak.bytes, arena.peak.moment.0), model.peak);
    prop_assert_eq!((arena.peak_span.bytes, arena.peak_span.moment.0), model.peak_span);
    prop_assert_eq!(arena.live_bytes(), model.live_bytes());
    if arena.is_alive() {
        let living: Vec<Seen> = arena.blocks().into_iter().map(replayed).collect();
        prop_assert_eq!(living, model.living().into_iter().map(modelled).collect::<Vec<Seen>>());
        let extents: Vec<(u32, u64, u64, &str)> =
            arena.extents().map(|one| (one.number, one.start.0, one.end().0, one.kind.word())).collect();
        let expected: Vec<(u32, u64, u64, &str)> =
            model.standing().into_iter().map(|one| (one.number, one.start, one.end, one.kind)).collect();
        prop_assert_eq!(&extents, &expected);
        prop_assert_eq!(arena.capacity(), model.capacity());
        for (block, expected) in arena.blocks().into_iter().zip(model.living()) {
            let extent = model.standing().into_iter().find(|extent| extent.number == expected.extent);
            let offset = extent.map(|extent| expected.address - extent.start);
            let place = Place { extent: expected.extent, offset: offset.unwrap_or(0) };
            prop_assert_eq!(arena.place(block), place);
        }
    } else {
        let portrait: Vec<Seen> = arena.blocks().into_iter().map(replayed).collect();
        prop_assert_eq!(portrait, model.portrait().into_iter().map(modelled).collect::<Vec<Seen>>());
    }
    Ok(())
}

fn run(story: &[Play], sizes_known: bool) -> Result<(), TestCaseError> {
    let mut replay = Replay::new(&facts(sizes_known));
    let mut model = Model::new(sizes_known, MODULE);
    for event in play(story) {
        replay.apply(&event);
        model.apply(&event);
        let state = replay.state();
        prop_assert_eq!(state.arenas().len(), model.arenas().len(), "after {:?}", event);
        for (arena, expected) in state.arenas().zip(model.arenas()) {
            compare(arena, expected).map_err(|error| TestCaseError::fail(format!("after {event:?}: {error}")))?;
        }
        prop_assert_eq!(state.anomalies.total(), model.anomalies, "after {:?}", event);
    }
    Ok(())
}

/// Nothing in the state contradicts itself.
fn check_invariants(state: &State) -> Result<(), TestCaseError> {
    for arena in state.arenas() {
        let mut last_end = 0;
        let mut bytes = 0;
        for block in arena.blocks() {
            if arena.is_alive() {
                prop_assert!(block.size == 0 || block.address.0 >= last_end, "living blocks share no byte");
                last_end = last_end.max(block.end().0);
                bytes += block.size;
                prop_assert!(arena.extent(block.extent).is_some(), "every living block lies in a standing extent");
            }
            prop_assert_eq!(block.died.is_none(), arena.is_alive());
        }
        prop_assert_eq!(bytes, arena.live_bytes());
        prop_assert!(arena.peak.bytes >= arena.live_bytes());
        if !arena.is_alive() {
            prop_assert!(state.regions().all(|region| region.users().all(|user| user != arena.id)));
        }
    }
    Ok(())
}

fn cases(count: u32) -> ProptestConfig {
    ProptestConfig { cases: count, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases(1500))]

    #[test]
    fn the_replay_agrees_with_the_model(story in plays(60)) {
        run(&story, true)?;
    }

    #[test]
    fn also_where_no_role_names_a_size(story in plays(60)) {
        run(&story, false)?;
    }
}

proptest! {
    #![proptest_config(cases(150))]

    #[test]
    fn long_stories_too(story in plays(600)) {
        run(&story, true)?;
    }

    #[test]
    fn the_state_never_contradicts_itself(story in plays(300)) {
        let mut replay = Replay::new(&facts(true));
        for event in play(&story) {
            replay.apply(&event);
            check_invariants(replay.state())?;
        }
    }

    #[test]
    fn any_moment_of_a_timeline_is_the_state_a_replay_gives(
        story in plays(300),
        spacing in 1_u64..40,
        snapshots in 2_usize..9,
    ) {
        let events = play(&story);
        let limits = Limits { snapshots, bytes: u64::MAX, spacing };
        let (timeline, last) = Timeline::build(Replay::new(&facts(true)), events.iter().cloned(), limits);
        prop_assert!(timeline.moments().count() <= snapshots);
        let reread = |from: EventNumber| {
            let from = usize::try_from(from.0.saturating_sub(1)).unwrap_or(usize::MAX);
            events.get(from..).unwrap_or(&[]).to_vec()
        };
        let mut replay = Replay::new(&facts(true));
        let mut states = vec![replay.state().clone()];
        for event in &events {
            replay.apply(event);
            states.push(replay.state().clone());
        }
        prop_assert_eq!(states.last(), Some(&last));
        for (index, state) in states.iter().enumerate() {
            prop_assert_eq!(&timeline.at(EventNumber(index as u64), reread), state);
        }
        prop_assert_eq!(&timeline.at(EventNumber(u64::MAX), reread), &last);
        let moments: Vec<EventNumber> = (0..states.len() as u64).step_by(3).map(EventNumber).collect();
        let mut visited = 0;
        timeline.visit(&moments, reread, |moment, state| {
            visited += 1;
            assert_eq!(Some(state), states.get(usize::try_from(moment.0).unwrap_or(usize::MAX)));
        });
        prop_assert_eq!(visited, moments.len());
    }

    #[test]
    fn events_that_cannot_be_true_do_no_harm(events in senseless()) {
        let mut replay = Replay::new(&facts(true));
        for event in &events {
            replay.apply(event);
        }
    }
}

/// Events with addresses and lengths anywhere, most of all at the ends of the address space.
fn senseless() -> impl Strategy<Value = Vec<Event>> {
    let word = prop_oneof![
        Just(0_u64),
        Just(1_u64),
        Just(u64::MAX),
        (0_u64..5000).prop_map(|below| u64::MAX - below),
        (0_u64..8).prop_map(|page| page * 4096),
        (0_u64..64).prop_map(|page| u64::MAX - 4095 - page * 4096),
        any::<u64>(),
    ];
    let one = (0_u32..11, 0_u32..3, word.clone(), word.clone(), word.clone(), word);
    prop::collection::vec(one, 0..120).prop_map(|calls| {
        let mut table = arenascope_testkit::Table::new();
        for (call, key, a, b, c, d) in calls {
            table = match call {
                0 => table.seen(key, a),
                1 => table.create_nested(key, a, b),
                2 => table.alloc(key, a, b),
                3 => table.resize(key, a, b, c),
                4 => table.free(key, a),
                5 => table.mark(key, a).rewind(key, b),
                6 => table.map(a, b).alloc(key, a.wrapping_add(c), d),
                7 => table.unmap(a, b),
                8 => table.remap(a, b, c, d),
                9 => table.malloc(a, b).alloc(key, a, c),
                _ => table.heap_free(a),
            };
        }
        table.events()
    })
}

#[test]
fn an_allocator_emptied_block_by_block_outlives_memory_of_unknown_bounds() {
    let story = [
        Play::Resize { key: 0, old: 65536, new: 81968, size: 0 },
        Play::Free { key: 0, address: 81968 },
        Play::Map { page: 0, pages: 5, observed: false },
    ];
    run(&story, true).expect("replay and model agree");
}

//! The rules of life, one short story each. What a story leaves behind is written as one line per arena.

use arenascope_event::{ArenaKey, CaptureReason, Event, EventNumber, ProcessFacts, Role, ThreadNumber};
use arenascope_replay::{AnomalyKind, Arena, ArenaId, Born, Limits, ProcessEnd, Replay, State, Timeline, What};
use arenascope_testkit::{Facts, Table, read};
use expect_test::{Expect, expect};
use std::fmt::Write;

const K: u64 = 1024;

fn facts() -> ProcessFacts {
    Facts::new().alloc("arena_alloc").build()
}

fn replay_with(facts: &ProcessFacts, events: &[Event]) -> Replay {
    let mut replay = Replay::new(facts);
    for event in events {
        replay.apply(event);
    }
    replay
}

fn replay(story: &Table) -> Replay {
    replay_with(&facts(), &story.events())
}

fn line(arena: &Arena) -> String {
    let mut text = format!("arena {}", arena.id);
    let how = if matches!(arena.born, Born::Explicit(_)) { "created" } else { "born" };
    write!(text, " {how} #{}", arena.born.moment().0).unwrap();
    if let Some(end) = arena.ended {
        write!(text, " {} #{}", end.how.word(), end.moment.0).unwrap();
    }
    if let Some(capacity) = arena.capacity() {
        write!(text, ", capacity {capacity}").unwrap();
    }
    write!(text, ", peak {}", arena.peak.bytes).unwrap();
    for extent in arena.extents() {
        write!(text, ", {} {} of {}", extent.kind.word(), extent.number, extent.len).unwrap();
    }
    text.push(':');
    for block in arena.blocks() {
        let place = arena.place(block);
        let extent = if place.extent == 1 { String::new() } else { format!("{}", place.extent) };
        write!(text, " {}={extent}+{}..{}", block.number, place.offset, place.offset + block.size).unwrap();
        if let Some(death) = block.died {
            write!(text, "({})", death.how.word()).unwrap();
        }
    }
    text
}

fn describe(state: &State) -> String {
    let mut text = String::new();
    for arena in state.arenas() {
        writeln!(text, "{}", line(arena)).unwrap();
    }
    for anomaly in state.anomalies.kept() {
        writeln!(text, "odd at #{}: {:?}", anomaly.moment.0, anomaly.kind).unwrap();
    }
    text
}

fn check(story: Table, expected: Expect) {
    expected.assert_eq(&describe(replay(&story).state()));
}

#[test]
fn a_small_arena_in_a_page_is_bounded_by_its_create_call() {
    // 09b: capacity 256 in a mapping of 4096; munmap is told 256 and takes the page.
    check(
        Table::new()
            .map(0x1000, 4096)
            .create_nested(0, 256, 1)
            .alloc(0, 0x1000, 32)
            .alloc(0, 0x1020, 32)
            .alloc(0, 0x1040, 32)
            .alloc(0, 0x1060, 32)
            .capture(0, CaptureReason::Destroy, 0x1000, 128)
            .destroy(0)
            .unmap(0x1000, 256),
        expect![[r#"
            arena 1 created #3 destroyed #9, capacity 256, peak 128, mapping 1 of 4096: 1=+0..32(destroyed) 2=+32..64(destroyed) 3=+64..96(destroyed) 4=+96..128(destroyed)
        "#]],
    );
}

#[test]
fn an_arena_is_known_by_its_mapping_before_its_first_block() {
    check(
        Table::new().map(0x1000, 4096).map(0x9000, 100).create_nested(0, 4096, 2),
        expect![[r#"
            arena 1 created #4, capacity 4096, peak 0, mapping 1 of 4096:
        "#]],
    );
}

#[test]
fn a_wrong_presumption_goes_with_the_first_block() {
    check(
        Table::new().malloc(0x8000, 64).create_nested(0, 0, 1).map(0x1_0000, 64 * K).alloc(0, 0x1_0000, 16),
        expect![[r#"
            arena 1 created #3, capacity 65536, peak 16, mapping 1 of 65536: 1=+0..16
        "#]],
    );
}

#[test]
fn what_a_create_function_that_prints_allocates_for_stdout_is_not_the_arenas() {
    check(
        Table::new().map(0x1000, 4096).malloc(0x50_0000, 4096).create_nested(0, 256, 2),
        expect![[r#"
            arena 1 created #4, capacity 256, peak 0, mapping 1 of 4096:
        "#]],
    );
}

#[test]
fn without_a_create_call_the_first_block_is_the_birth_and_the_mapping_the_bound() {
    check(
        Table::new().map(0x1000, 8192).alloc(0, 0x1000, 100).alloc(0, 0x1068, 100).unmap(0x1000, 8192),
        expect![[r#"
            arena 1 born #3 unmapped #5, capacity 8192, peak 200, mapping 1 of 8192: 1=+0..100(unmapped) 2=+104..204(unmapped)
        "#]],
    );
}

#[test]
fn a_create_call_adopts_what_was_born_inside_it() {
    check(
        Table::new().map(0x1000, 4096).alloc(0, 0x1000, 16).create_nested(0, 512, 3).alloc(0, 0x1010, 16),
        expect![[r#"
            arena 1 created #4, capacity 512, peak 32, mapping 1 of 4096: 1=+0..16 2=+16..32
        "#]],
    );
}

#[test]
fn a_create_call_of_another_thread_adopts_nothing() {
    check(
        Table::new().map(0x1000, 4096).alloc(0, 0x1000, 16).thread(2).create_nested(0, 512, 3),
        expect![[r#"
            arena 1 born #3 replaced #4, capacity 4096, peak 16, mapping 1 of 4096: 1=+0..16(replaced)
            arena 2 created #4, capacity 512, peak 0:
        "#]],
    );
}

#[test]
fn a_create_call_over_a_living_arena_replaces_it() {
    check(
        Table::new()
            .map(0x1000, 4096)
            .create_nested(0, 4096, 1)
            .alloc(0, 0x1000, 16)
            .map(0x8000, 4096)
            .create_nested(0, 4096, 1)
            .alloc(0, 0x8000, 16),
        expect![[r#"
            arena 1 created #3 replaced #6, capacity 4096, peak 16, mapping 1 of 4096: 1=+0..16(replaced)
            arena 2 created #6, capacity 4096, peak 16, mapping 1 of 4096: 1=+0..16
        "#]],
    );
}

#[test]
fn create_calling_create_is_one_arena_with_the_inner_size_and_the_outer_site() {
    let story = Table::new().at(7).create(0, 4096).at(8).create_nested(0, 9, 1);
    let replay = replay(&story);
    assert_eq!(replay.state().arenas().len(), 1);
    let created = replay.state().arena(ArenaId(1)).unwrap().created.unwrap();
    assert_eq!((created.size, created.site.map(|site| site.0)), (Some(4096), Some(8)));
}

#[test]
fn a_destroyed_key_lives_again_with_its_next_block_under_a_new_number() {
    check(
        Table::new().create(0, 64).destroy(0).alloc(0, 0x5000, 8),
        expect![[r#"
            arena 1 created #2 destroyed #3, capacity 64, peak 0:
            arena 2 born #4, peak 8, unknown 1 of 8: 1=+0..8
        "#]],
    );
}

#[test]
fn calls_on_no_arena_are_odd_and_give_birth_to_none() {
    check(
        Table::new().free(0, 0x5000).rewind(0, 8).reset(0).destroy(0).free(0, 0),
        expect![[r#"
            odd at #2: NoArena { role: Free }
            odd at #3: NoArena { role: Rewind }
            odd at #4: NoArena { role: Reset }
            odd at #5: NoArena { role: Destroy }
        "#]],
    );
}

#[test]
fn a_chunked_pool_loses_chunks_and_ends_with_the_last() {
    let pool = || {
        Table::new()
            .malloc(0x10_0000, 2048)
            .alloc(0, 0x10_0010, 1000)
            .alloc(0, 0x10_03f8, 1000)
            .malloc(0x20_0000, 2048)
            .alloc(0, 0x20_0010, 1000)
    };
    check(
        pool().heap_free(0x10_0000).alloc(0, 0x20_03f8, 8),
        expect![[r#"
            arena 1 born #3, capacity 2048, peak 3000, heap-block 2 of 2048: 3=2+16..1016 4=2+1016..1024
        "#]],
    );
    // Torn down chunk by chunk: the portrait is what the last alloc left, all of it.
    check(
        pool().heap_free(0x10_0000).heap_free(0x20_0000),
        expect![[r#"
            arena 1 born #3 heap-freed #8, capacity 4096, peak 3000, heap-block 1 of 2048, heap-block 2 of 2048: 1=+16..1016(heap-freed) 2=+1016..2016(heap-freed) 3=2+16..1016(heap-freed)
        "#]],
    );
}

#[test]
fn an_arena_ends_when_the_memory_of_its_object_goes() {
    check(
        Table::new()
            .malloc(0x10_0000, 2048)
            .seen(0, 0x10_0000)
            .alloc(0, 0x10_0020, 8)
            .malloc(0x20_0000, 2048)
            .alloc(0, 0x20_0000, 8)
            .heap_free(0x10_0000),
        expect![[r#"
            arena 1 born #3 heap-freed #6, capacity 4096, peak 16, heap-block 1 of 2048, heap-block 2 of 2048: 1=+32..40(heap-freed) 2=2+0..8(heap-freed)
        "#]],
    );
}

#[test]
fn realloc_under_an_arena_takes_it_along() {
    // The recorder sees a free and an alloc from the same call.
    check(
        Table::new()
            .malloc(0x10_0000, 1024)
            .create_nested(0, 0, 1)
            .alloc(0, 0x10_0000, 512)
            .alloc(0, 0x10_0200, 512)
            .realloc(7, 0x10_0000, 0x20_0000, 2048)
            .alloc(0, 0x20_0400, 64),
        expect![[r#"
            arena 1 created #3, capacity 2048, peak 1088, heap-block 1 of 2048: 1=+0..512 2=+512..1024 3=+1024..1088
        "#]],
    );
    check(
        Table::new()
            .malloc(0x10_0000, 1024)
            .create_nested(0, 0, 1)
            .alloc(0, 0x10_0000, 512)
            .alloc(0, 0x10_0200, 512)
            .realloc(7, 0x10_0000, 0x10_0000, 600),
        expect![[r#"
            arena 1 created #3, capacity 600, peak 1024, heap-block 1 of 600: 1=+0..512
        "#]],
    );
}

#[test]
fn a_free_and_an_alloc_from_different_calls_are_no_realloc() {
    let story = Table::new().malloc(0x10_0000, 1024).alloc(0, 0x10_0000, 512).at(1).heap_free(0x10_0000).at(2);
    check(
        story.malloc(0x10_0000, 2048).nowhere().alloc(0, 0x10_0000, 8),
        expect![[r#"
            arena 1 born #3 heap-freed #4, capacity 1024, peak 512, heap-block 1 of 1024: 1=+0..512(heap-freed)
            arena 2 born #6, capacity 2048, peak 8, heap-block 1 of 2048: 1=+0..8
        "#]],
    );
}

#[test]
fn static_memory_is_bounded_by_the_blocks_seen() {
    let facts = Facts::new().alloc("bump").module(0x50_0000, 0x60_0000).build();
    let story = Table::new().observe(0x50_0000, 0x10_0000).seen(0, 0).alloc(0, 0x50_4000, 64).alloc(0, 0x50_4040, 64);
    let state = replay_with(&facts, &story.events());
    expect![[r#"
        arena 1 born #3, peak 128, static 1 of 128: 1=+0..64 2=+64..128
    "#]]
    .assert_eq(&describe(state.state()));
}

#[test]
fn unknown_memory_far_apart_makes_extents_apart_and_near_makes_one() {
    check(
        Table::new().alloc(0, 0x1000_0000, 16).alloc(0, 0x1000_0100, 16).alloc(0, 0x2000_0000, 16).alloc(
            0,
            0x0fff_ff00,
            16,
        ),
        expect![[r#"
            arena 1 born #2, peak 64, unknown 1 of 528, unknown 2 of 16: 4=+0..16 1=+256..272 2=+512..528 3=2+0..16
        "#]],
    );
}

#[test]
fn a_mapping_trimmed_to_alignment_keeps_its_middle() {
    check(
        Table::new()
            .map(0x10_0000, 0x20_0000)
            .unmap(0x10_0000, 0x4_0000)
            .unmap(0x24_0000, 0xc_0000)
            .alloc(0, 0x14_0000, 8),
        expect![[r#"
            arena 1 born #5, capacity 1048576, peak 8, mapping 1 of 1048576: 1=+0..8
        "#]],
    );
}

#[test]
fn a_hole_in_the_mapping_takes_the_blocks_in_it() {
    check(
        Table::new()
            .map(0x1000, 0x4000)
            .alloc(0, 0x1000, 16)
            .alloc(0, 0x2ff8, 16)
            .alloc(0, 0x4000, 16)
            .unmap(0x2000, 0x1000)
            .alloc(0, 0x4010, 8),
        expect![[r#"
            arena 1 born #3, capacity 12288, peak 48, mapping 1 of 4096, mapping 2 of 8192: 1=+0..16 3=2+4096..4112 4=2+4112..4120
        "#]],
    );
}

#[test]
fn mremap_takes_blocks_and_the_arena_object_along() {
    check(
        Table::new()
            .map(0x1000, 0x1000)
            .seen(0, 0x1000)
            .alloc(0, 0x1020, 16)
            .remap(0x1000, 0x1000, 0x9000, 0x2000)
            .seen(1, 0x9000)
            .alloc(1, 0x9030, 16),
        expect![[r#"
            arena 1 born #3, capacity 8192, peak 32, mapping 1 of 8192: 1=+32..48 2=+48..64
        "#]],
    );
}

#[test]
fn null_changes_nothing_but_counts() {
    let story = Table::new().map(0x1000, 4096).create_nested(0, 64, 1).alloc(0, 0x1000, 64).at(3).refuse(0, 32);
    let replay = replay(&story);
    let arena = replay.state().arena(ArenaId(1)).unwrap();
    assert_eq!((arena.counts.refused, arena.counts.allocs, arena.live_bytes()), (1, 1, 64));
    let first = arena.first_refusal.unwrap();
    assert_eq!((first.moment, first.size), (EventNumber(5), 32));
    let last = replay.state().thread(ThreadNumber(1)).unwrap().last_refusal.unwrap();
    assert_eq!((last.live_bytes, last.capacity, last.site.map(|site| site.0)), (64, Some(64), Some(3)));
}

#[test]
fn resizing_in_place_keeps_the_number_and_moving_too() {
    check(
        Table::new()
            .map(0x1000, 4096)
            .alloc(0, 0x1000, 16)
            .resize(0, 0x1000, 0x1000, 32)
            .alloc(0, 0x1020, 16)
            .resize(0, 0x1000, 0x1030, 64)
            .resize(0, 0x1020, 0, 4096),
        expect![[r#"
            arena 1 born #3, capacity 4096, peak 80, mapping 1 of 4096: 2=+32..48 1=+48..112
        "#]],
    );
}

#[test]
fn resizing_null_allocates_and_resizing_to_nothing_frees() {
    check(
        Table::new()
            .map(0x1000, 4096)
            .resize(0, 0, 0x1000, 32)
            .alloc(0, 0x1020, 8)
            .resize(0, 0x1000, 0, 0)
            .resize(0, 0x1800, 0x1040, 8),
        expect![[r#"
            arena 1 born #3, capacity 4096, peak 40, mapping 1 of 4096: 2=+32..40 3=+64..72
            odd at #6: ResizeOfUnknown { address: Address(6144) }
        "#]],
    );
}

#[test]
fn a_mark_brings_back_what_was_alive_and_can_be_used_again() {
    let story = || {
        Table::new()
            .map(0x1000, 4096)
            .alloc(0, 0x1000, 16)
            .mark(0, 777)
            .alloc(0, 0x1010, 16)
            .mark(0, 778)
            .alloc(0, 0x1020, 16)
            .rewind(0, 777)
            .alloc(0, 0x1010, 48)
    };
    check(
        story(),
        expect![[r#"
            arena 1 born #3, capacity 4096, peak 64, mapping 1 of 4096: 1=+0..16 4=+16..64
        "#]],
    );
    check(
        story().rewind(0, 777).rewind(0, 9_999_999),
        expect![[r#"
            arena 1 born #3, capacity 4096, peak 64, mapping 1 of 4096: 1=+0..16
            odd at #11: RewindToUnknown { mark: MarkValue(9999999) }
        "#]],
    );
}

#[test]
fn the_same_mark_value_means_its_latest_mark() {
    check(
        Table::new().map(0x1000, 4096).mark(0, 5).alloc(0, 0x1000, 16).mark(0, 5).alloc(0, 0x1010, 16).rewind(0, 5),
        expect![[r#"
            arena 1 born #3, capacity 4096, peak 32, mapping 1 of 4096: 1=+0..16
        "#]],
    );
}

#[test]
fn a_mark_does_not_outlive_what_it_stood_on() {
    let gone = |story: Table| {
        let replay = replay(&story.alloc(0, 0x1000, 8).rewind(0, 99_999));
        let arena = replay.state().arena(ArenaId(1)).unwrap();
        (arena.live_blocks(), replay.state().anomalies.total())
    };
    let start = || Table::new().map(0x1000, 4096).alloc(0, 0x1000, 16).mark(0, 99_999);
    assert_eq!(gone(start().reset(0)), (1, 1), "a reset takes all marks");
    assert_eq!(gone(start().rewind(0, 0)), (1, 1), "and so does going back to the start");
    assert_eq!(gone(start().rewind(0, 0x1000)), (1, 1), "or to before the block that the mark came after");
}

#[test]
fn without_a_mark_a_cursor_may_be_an_address_or_an_offset() {
    let story = || Table::new().map(0x10000, 4096).alloc(0, 0x10000, 16).alloc(0, 0x10010, 16).alloc(0, 0x10020, 16);
    let kept = expect![[r#"
        arena 1 born #3, capacity 4096, peak 48, mapping 1 of 4096: 1=+0..16
    "#]];
    kept.assert_eq(&describe(replay(&story().rewind(0, 0x10010)).state()));
    kept.assert_eq(&describe(replay(&story().rewind(0, 16)).state()));
    check(
        story().rewind(0, 0),
        expect![[r#"
            arena 1 born #3, capacity 4096, peak 48, mapping 1 of 4096:
        "#]],
    );
}

#[test]
fn with_the_header_inside_the_region_offsets_count_from_the_first_block() {
    check(
        Table::new()
            .map(0x10000, 4096)
            .seen(0, 0x10000)
            .alloc(0, 0x10018, 24)
            .alloc(0, 0x10030, 24)
            .alloc(0, 0x10048, 24)
            .rewind(0, 48),
        expect![[r#"
            arena 1 born #3, capacity 4096, peak 72, mapping 1 of 4096: 1=+24..48 2=+48..72
        "#]],
    );
}

#[test]
fn going_back_into_an_earlier_chunk_ends_what_was_placed_later_elsewhere() {
    check(
        Table::new()
            .malloc(0x10_0000, 1024)
            .alloc(0, 0x10_0000, 16)
            .alloc(0, 0x10_0010, 16)
            .malloc(0x20_0000, 1024)
            .alloc(0, 0x20_0000, 16)
            .rewind(0, 0x10_0010),
        expect![[r#"
            arena 1 born #3, capacity 2048, peak 48, heap-block 1 of 1024, heap-block 2 of 1024: 1=+0..16
        "#]],
    );
}

#[test]
fn reset_empties_and_counts_a_generation() {
    let story = Table::new().map(0x1000, 4096).alloc(0, 0x1000, 16).reset(0).alloc(0, 0x1000, 8);
    let replay = replay(&story);
    let arena = replay.state().arena(ArenaId(1)).unwrap();
    assert_eq!((arena.generation, arena.counts.resets, arena.counts.overwritten), (1, 1, 0));
    assert_eq!(arena.blocks().iter().map(|block| block.number).collect::<Vec<u64>>(), [2]);
}

#[test]
fn an_unseen_reset_shows_as_overwritten_blocks() {
    check(
        Table::new().map(0x1000, 4096).alloc(0, 0x1000, 16).alloc(0, 0x1010, 16).alloc(0, 0x1000, 24),
        expect![[r#"
            arena 1 born #3, capacity 4096, peak 32, mapping 1 of 4096: 3=+0..24
            odd at #5: Overlap { older: 1, newer: 3 }
            odd at #5: Overlap { older: 2, newer: 3 }
        "#]],
    );
}

#[test]
fn blocks_of_no_bytes_overlap_nothing() {
    check(
        Table::new().map(0x1000, 4096).alloc(0, 0x1000, 0).alloc(0, 0x1000, 0).alloc(0, 0x1000, 16).free(0, 0x1000),
        expect![[r#"
            arena 1 born #3, capacity 4096, peak 16, mapping 1 of 4096: 1=+0..0 2=+0..0
        "#]],
    );
}

#[test]
fn where_no_role_names_a_size_an_address_given_twice_is_a_reuse() {
    let facts = Facts::new()
        .hook(Role::Alloc, "page_get", &[arenascope_event::Argument::Arena], arenascope_event::Result_::Block)
        .build();
    let story = Table::new().map(0x1000, 4096).alloc(0, 0x1000, 0).alloc(0, 0x1000, 0);
    expect![[r#"
        arena 1 born #3, capacity 4096, peak 0, mapping 1 of 4096: 2=+0..0
        odd at #4: Overlap { older: 1, newer: 2 }
    "#]]
    .assert_eq(&describe(replay_with(&facts, &story.events()).state()));
}

/// Sites: 0 is `pool_alloc` called by `pool_calloc`, called by `main` line 9; 1 is `pool_calloc` called by `main` line
/// 9; 2 is `pool_alloc` called by `main` line 20.
fn wrapped() -> ProcessFacts {
    Facts::new()
        .alloc("pool_alloc")
        .alloc("pool_calloc")
        .stack(&[("pool_calloc", "pool.c", 3), ("main", "main.c", 9)], read())
        .stack(&[("main", "main.c", 9)], read())
        .stack(&[("main", "main.c", 20)], read())
        .build()
}

#[test]
fn an_alloc_function_that_calls_another_makes_one_block() {
    let story = Table::new().map(0x1000, 4096).at(0).alloc(0, 0x1000, 32).at(1).alloc(0, 0x1000, 24);
    let facts = wrapped();
    let mut replay = Replay::new(&facts);
    let effects: Vec<What> = story.events().iter().map(|event| replay.apply(event).what).collect();
    assert!(matches!(effects.last(), Some(What::HandedOn { from: Some(site) }) if site.0 == 0));
    expect![[r#"
        arena 1 born #3, capacity 4096, peak 32, mapping 1 of 4096: 1=+0..24
    "#]]
    .assert_eq(&describe(replay.state()));
}

#[test]
fn an_aside_does_not_part_an_inner_call_from_its_outer_one() {
    let bytes = |story: Table| story.capture(0, CaptureReason::Alloc, 0x1000, 24);
    let story = Table::new().map(0x1000, 4096).at(0).alloc(0, 0x1000, 32);
    let events = bytes(story).at(1).alloc(0, 0x1000, 24).events();
    let mut replay = Replay::new(&wrapped());
    let last = events.iter().map(|event| replay.apply(event).what).last();
    assert!(matches!(last, Some(What::HandedOn { .. })), "{last:?}");
}

#[test]
fn an_effect_names_the_blocks_that_the_arena_went_back_over() {
    let story = Table::new()
        .map(0x1000, 4096)
        .alloc(0, 0x1000, 32)
        .mark(0, 0x1020)
        .alloc(0, 0x1020, 32)
        .alloc(0, 0x1040, 32)
        .rewind(0, 0x1020)
        .alloc(0, 0x1010, 8)
        .reset(0);
    let mut replay = Replay::new(&facts());
    let dead: Vec<Vec<u64>> = story
        .events()
        .iter()
        .map(|event| replay.apply(event).dead.iter().map(|block| block.number).collect())
        .filter(|numbers: &Vec<u64>| !numbers.is_empty())
        .collect();
    assert_eq!(dead, [vec![2, 3], vec![1], vec![4]]);
}

#[test]
fn the_same_block_twice_to_the_same_caller_is_no_wrapper() {
    let story = Table::new().map(0x1000, 4096).at(2).alloc(0, 0x1000, 32).alloc(0, 0x1000, 32);
    expect![[r#"
        arena 1 born #3, capacity 4096, peak 32, mapping 1 of 4096: 2=+0..32
        odd at #4: Overlap { older: 1, newer: 2 }
    "#]]
    .assert_eq(&describe(replay_with(&wrapped(), &story.events()).state()));
}

#[test]
fn the_same_block_twice_from_two_places_is_no_wrapper() {
    let facts = Facts::new()
        .alloc("pool_alloc")
        .stack(&[("work", "w.c", 3), ("main", "main.c", 9)], read())
        .stack(&[("work", "w.c", 4), ("main", "main.c", 9)], read())
        .build();
    let twice = |first, second| {
        let story = Table::new().map(0x1000, 4096).at(first).alloc(0, 0x1000, 32).at(second).alloc(0, 0x1000, 32);
        replay_with(&facts, &story.events()).state().anomalies.overlaps()
    };
    assert_eq!((twice(0, 1), twice(0, 0)), (1, 1));
}

#[test]
fn without_frame_pointers_the_name_of_the_direct_caller_tells_a_wrapper() {
    let facts = Facts::new()
        .alloc("pool_alloc")
        .alloc("pool_calloc")
        .site("pool_calloc", "pool.c", 3, read())
        .site("main", "main.c", 9, read())
        .build();
    let story = Table::new().map(0x1000, 4096).at(0).alloc(0, 0x1000, 32).at(1).alloc(0, 0x1000, 32);
    let replay = replay_with(&facts, &story.events());
    assert_eq!(replay.state().arena(ArenaId(1)).unwrap().counts.allocs, 1);
    assert_eq!(replay.state().anomalies.total(), 0);
}

#[test]
fn a_resize_made_of_alloc_and_free_is_a_resize() {
    let facts = Facts::new()
        .alloc("pool_alloc")
        .stack(&[("pool_realloc", "pool.c", 3), ("main", "main.c", 9)], read())
        .stack(&[("main", "main.c", 9)], read())
        .stack(&[("main", "main.c", 5)], read())
        .build();
    let start = || Table::new().map(0x1000, 4096).at(2).alloc(0, 0x1000, 16).at(0).alloc(0, 0x1010, 64);
    let plain = start().at(1).resize(0, 0x1000, 0x1010, 64).at(2).alloc(0, 0x1050, 8);
    expect![[r#"
        arena 1 born #3, capacity 4096, peak 80, mapping 1 of 4096: 1=+16..80 2=+80..88
    "#]]
    .assert_eq(&describe(replay_with(&facts, &plain.events()).state()));
    let freeing = start().free(0, 0x1000).at(1).resize(0, 0x1000, 0x1010, 64);
    expect![[r#"
        arena 1 born #3, capacity 4096, peak 80, mapping 1 of 4096: 2=+16..80
    "#]]
    .assert_eq(&describe(replay_with(&facts, &freeing.events()).state()));
}

#[test]
fn a_free_function_that_calls_another_frees_once() {
    let facts = Facts::new()
        .alloc("pool_alloc")
        .stack(&[("main", "main.c", 9)], read())
        .stack(&[("pool_put", "pool.c", 3), ("main", "main.c", 9)], read())
        .build();
    let story = || Table::new().map(0x1000, 4096).at(0).alloc(0, 0x1000, 16).free(0, 0x1000);
    let nested = replay_with(&facts, &story().at(1).free(0, 0x1000).events());
    assert_eq!(nested.state().anomalies.total(), 0);
    let twice = replay_with(&facts, &story().free(0, 0x1000).events());
    let odd = twice.state().anomalies.kept().first().map(|anomaly| anomaly.kind);
    assert!(matches!(odd, Some(AnomalyKind::FreeOfUnknown { .. })));
}

#[test]
fn arenas_share_a_mapping_and_end_with_it() {
    check(
        Table::new()
            .map(0x1000, 4096)
            .alloc(0, 0x1000, 64)
            .create_named(1, "inner", Some(0))
            .alloc(1, 0x1010, 16)
            .unmap(0x1000, 4096),
        expect![[r#"
            arena 1 born #3 unmapped #7, capacity 4096, peak 64, mapping 1 of 4096: 1=+0..64(unmapped)
            arena 2 created #5 unmapped #7, capacity 4096, peak 16, mapping 1 of 4096: 1=+16..32(unmapped)
        "#]],
    );
}

#[test]
fn names_and_parents_come_from_the_create_call() {
    let story = Table::new().create(0, 64).create_named(1, "inner", Some(0)).create_named(2, "", Some(9));
    let replay = replay(&story);
    let arena = |id| replay.state().arena(ArenaId(id)).unwrap();
    assert_eq!((arena(2).name.as_str(), arena(2).parent), ("inner", Some(ArenaId(1))));
    assert_eq!((arena(3).name.as_str(), arena(3).parent), ("", None));
    assert_eq!(replay.state().arena_of_key(ArenaKey(1)).map(|arena| arena.id), Some(ArenaId(2)));
}

#[test]
fn a_size_that_the_blocks_contradict_is_no_capacity() {
    // A create function that counts in pages.
    check(
        Table::new().map(0x1000, 0x10_000).create_nested(0, 16, 1).alloc(0, 0x1000, 4096),
        expect![[r#"
            arena 1 created #3, capacity 65536, peak 4096, mapping 1 of 65536: 1=+0..4096
        "#]],
    );
}

#[test]
fn a_forked_child_goes_on_where_its_parent_was() {
    let parent = Table::new().map(0x1000, 4096).create_nested(0, 256, 1).alloc(0, 0x1000, 32).create(1, 64).destroy(1);
    let parent = replay(&parent);
    let facts = Facts::new().alloc("arena_alloc").forked(1).build();
    let mut child = Replay::forked(parent.state(), &facts);
    // The child's recorder numbers keys anew; the object is the same.
    let story = Table::new().seen(5, 0x7000_0000).lose(5).lose(5).alloc(5, 0x1020, 32).destroy(5).alloc(5, 0x9000, 1);
    for event in &story.events() {
        child.apply(event);
    }
    expect![[r#"
        arena 1 created #3 destroyed #3, capacity 256, peak 64, mapping 1 of 4096: 1=+0..32(destroyed) 2=+32..64(destroyed)
        arena 2 created #6 destroyed #7, capacity 64, peak 0:
        arena 3 born #4, peak 1, unknown 1 of 1: 1=+0..1
    "#]]
    .assert_eq(&describe(child.state()));
    let arena = child.state().arena(ArenaId(1)).unwrap();
    assert!(arena.inherited);
    assert_eq!(arena.blocks().iter().map(|block| block.inherited).collect::<Vec<bool>>(), [true, false]);
    assert!(!child.state().arena(ArenaId(3)).unwrap().inherited);
    assert_eq!(child.state().missing, 0, "a child's order may go on from its parent's");
}

#[test]
fn lost_events_leave_gaps_in_an_arenas_order() {
    let story = Table::new().alloc(0, 0x1000, 8).lose(0).lose(0).alloc(0, 0x1008, 8).lose(1).alloc(1, 0x2000, 8);
    assert_eq!(replay(&story).state().missing, 3);
}

#[test]
fn an_exec_that_failed_is_taken_back() {
    let story = Table::new().exec("/bin/no");
    assert!(matches!(replay(&story).state().end, Some(ProcessEnd::Exec { .. })));
    assert!(replay(&story.clone().thread(2).alloc(0, 0x1000, 8)).state().end.is_some());
    assert_eq!(replay(&story.alloc(0, 0x1000, 8)).state().end, None);
}

#[test]
fn a_timeline_keeps_few_snapshots_of_a_long_story() {
    let mut table = Table::new().map(0x10_0000, 0x10_0000);
    for step in 0..20_000_u64 {
        table = table.alloc(0, 0x10_0000 + step * 16, 16);
    }
    let events = table.events();
    let limits = Limits { snapshots: 8, bytes: u64::MAX, spacing: 16 };
    let (timeline, last) = Timeline::build(replay(&Table::new()), events.iter().cloned(), limits);
    assert!((4..=8).contains(&timeline.moments().count()));
    assert_eq!(last.arena(ArenaId(1)).unwrap().live_blocks(), 20_000);
    // No moment is further from a snapshot than twice the even distance.
    let mut asked = Vec::new();
    for moment in [1_u64, 7_777, 19_999] {
        let state = timeline.at(EventNumber(moment), |from| {
            asked.push(moment - from.0);
            events[usize::try_from(from.0 - 1).unwrap()..].iter().cloned()
        });
        assert_eq!(state.arena(ArenaId(1)).map_or(0, Arena::live_blocks), moment.saturating_sub(2));
    }
    assert!(asked.iter().all(|distance| *distance < 20_000 / 4), "{asked:?}");
}

#[test]
fn a_timeline_obeys_its_bytes_and_keeps_the_newest() {
    let mut table = Table::new().map(0x10_0000, 0x10_0000);
    for step in 0..2_000_u64 {
        table = table.alloc(0, 0x10_0000 + step * 16, 16);
    }
    let limits = Limits { snapshots: 64, bytes: 300_000, spacing: 16 };
    let (timeline, last) = Timeline::build(replay(&Table::new()), table.events(), limits);
    let weights: u64 = 200 * timeline.moments().map(|moment| moment.0).sum::<u64>();
    assert!(weights <= 600_000, "{weights}");
    assert!(timeline.moments().count() >= 1);
    assert!(last.weight() > 300_000);
}

#[test]
fn old_portraits_are_given_up_first_and_say_so() {
    let per_arena = State::PORTRAIT_BLOCKS / 4 + 1;
    let mut replay = Replay::new(&facts());
    for _ in 0..5 {
        let mut table = Table::new();
        table = table.map(0x1000_0000, per_arena * 16);
        for step in 0..per_arena {
            table = table.alloc(0, 0x1000_0000 + step * 16, 16);
        }
        for event in table.destroy(0).events() {
            replay.apply(&event);
        }
    }
    let kept: Vec<(u64, u64)> =
        replay.state().arenas().map(|arena| (arena.blocks().len() as u64, arena.forgotten_blocks)).collect();
    assert_eq!(kept[0], (0, per_arena));
    assert_eq!(kept[1], (0, per_arena));
    assert_eq!(kept[4], (per_arena, 0));
}

#[test]
fn an_allocator_that_gives_memory_back_lives_on_and_its_peak_is_a_share_of_nothing() {
    let big = |story: Table, at: u64| story.map(at, 1 << 20).alloc(0, at + 16, 1000 * K);
    let story = big(big(Table::new().seen(0, 0), 0x100_0000), 0x200_0000);
    let story = story.free(0, 0x100_0010).unmap(0x100_0000, 1 << 20).free(0, 0x200_0010).unmap(0x200_0000, 1 << 20);
    let state = replay(&big(story, 0x300_0000)).state().clone();
    let arenas: Vec<&Arena> = state.arenas().collect();
    let [arena] = arenas.as_slice() else { panic!("one arena: {arenas:?}") };
    assert!(arena.is_alive() && arena.counts.allocs == 3 && arena.peak.bytes == 2000 * K);
    assert_eq!(arena.bound(), None, "what stands now is not what stood at the peak");
    // Memory that takes living blocks along is the arena's end, as ever.
    let torn = big(Table::new().seen(0, 0), 0x100_0000).unmap(0x100_0000, 1 << 20);
    assert!(replay(&torn).state().living_arenas().next().is_none());
}

#[test]
fn a_peak_is_a_share_of_memory_that_stood_all_along() {
    let bound = |story: &Table| replay(story).state().arenas().next().and_then(Arena::bound);
    assert_eq!(bound(&Table::new().map(0x1000, 4096).create_nested(0, 256, 1).alloc(0, 0x1000, 64)), Some(256));
    assert_eq!(bound(&Table::new().observe(0x1000, 8192).alloc(0, 0x1000, 64)), Some(8192));
    assert_eq!(bound(&Table::new().alloc(0, 0x1000, 64)), None, "unknown memory");
    let grown = || Table::new().map(0x1000, 4096).alloc(0, 0x1000, 64).map(0x9000, 4096).alloc(0, 0x9000, 64);
    assert_eq!(bound(&grown()), Some(8192));
    assert_eq!(bound(&grown().unmap(0x1000, 4096).alloc(0, 0x9040, 8)), None, "a range was given up");
}

#[test]
fn an_arena_returned_by_value_is_where_it_was_copied_to() {
    // `app.perm = arena_make(1000); app.scratch = arena_make(500);` at -O0: both calls return into one temporary.
    let facts = Facts::new()
        .alloc("arena_push")
        .hook(Role::Create, "arena_make", &[arenascope_event::Argument::Size], arenascope_event::Result_::Arena)
        .build();
    let story = Table::new()
        .malloc(0x1000, 1000)
        .create_nested(0, 1000, 1)
        .malloc(0x2000, 500)
        .create_nested(0, 500, 1)
        .alloc(1, 0x1000, 10)
        .alloc(2, 0x2000, 20)
        .reset(2)
        .alloc(2, 0x2000, 20)
        .destroy(2);
    expect![[r#"
        arena 1 created #3, capacity 1000, peak 10, heap-block 1 of 1000: 1=+0..10
        arena 2 created #5 destroyed #12, capacity 500, peak 20, heap-block 1 of 500: 2=+0..20(destroyed)
    "#]]
    .assert_eq(&describe(replay_with(&facts, &story.events()).state()));
}

#[test]
fn only_an_unused_arena_counts_as_copied() {
    // Arena 1 has a block of its own: a second object with a block in its memory is an arena beside it.
    check(
        Table::new().map(0x1000, 4096).create_nested(0, 4096, 1).alloc(0, 0x1000, 10).alloc(1, 0x1100, 10),
        expect![[r#"
            arena 1 created #3, capacity 4096, peak 10, mapping 1 of 4096: 1=+0..10
            arena 2 born #6, capacity 4096, peak 10, mapping 1 of 4096: 1=+256..266
        "#]],
    );
    // The same object created twice by a function that fills it: nothing was copied.
    check(
        Table::new().malloc(0x1000, 64).create_nested(0, 64, 1).malloc(0x2000, 64).create_nested(0, 64, 1),
        expect![[r#"
            arena 1 created #3 replaced #5, capacity 64, peak 0, heap-block 1 of 64:
            arena 2 created #5, capacity 64, peak 0, heap-block 1 of 64:
        "#]],
    );
}

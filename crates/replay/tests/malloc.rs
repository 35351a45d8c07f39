//! malloc's own arenas, one short story each: what they are called, what bounds them, and whose memory their blocks are.

use arenascope_event::{Address, ArenaKey, EventKind, MallocKind, ProcessFacts};
use arenascope_replay::{Arena, Ending, ExtentKind, Replay, State};
use arenascope_testkit::{Facts, Table};

/// Keys, and the objects behind them.
const MAIN: u32 = 1;
const THREAD: u32 = 2;
const MAPPED: u32 = 3;
const POOL: u32 = 9;
const HEAP: u64 = 0x7f00_0000_0000;

fn facts() -> ProcessFacts {
    Facts::new().alloc("pool_alloc").build()
}

fn segment(story: Table, key: u32, start: u64, len: u64, top: u64) -> Table {
    story.event(EventKind::HeapSegment { arena: ArenaKey(key), start: Address(start), len, top: Address(top) })
}

/// A story in which all of malloc's arenas are known.
fn begun() -> Table {
    let story = segment(Table::new().seen(MAIN, 0x6000_0000), MAIN, 0x10_0000, 0x2_1000, 0x10_2000);
    let story = segment(story.seen(THREAD, HEAP + 0x30), THREAD, HEAP, 0x2_1000, HEAP + 0x1000);
    segment(story.seen(MAPPED, MallocKind::MAPPED.0), MAPPED, 0, 0, 0)
}

fn play(story: &Table) -> State {
    let mut replay = Replay::new(&facts());
    for event in story.events() {
        replay.apply(&event);
    }
    replay.state().clone()
}

fn named<'s>(state: &'s State, name: &str) -> &'s Arena {
    state.arenas().find(|arena| arena.name == name).unwrap_or_else(|| panic!("no {name}"))
}

fn ranges(arena: &Arena) -> Vec<(ExtentKind, u64, u64, Option<u64>)> {
    let told = |extent: &arenascope_replay::Extent| {
        (extent.kind, extent.start.0, extent.len, extent.top_chunk.map(|top| top.0))
    };
    arena.extents().map(told).collect()
}

#[test]
fn each_has_its_name_its_bounds_and_its_top_chunk() {
    let state = play(&begun().alloc(MAIN, 0x10_0010, 64).thread(2).alloc(THREAD, HEAP + 0x900, 8));
    let kinds: Vec<_> = state.arenas().map(|arena| (arena.name.as_str(), arena.malloc)).collect();
    assert_eq!(
        kinds,
        [
            ("main arena", Some(MallocKind::Main)),
            ("thread arena 1", Some(MallocKind::Thread)),
            ("mapped chunks", Some(MallocKind::Mapped)),
        ]
    );
    let segment = ExtentKind::HeapSegment;
    assert_eq!(ranges(named(&state, "main arena")), [(segment, 0x10_0000, 0x2_1000, Some(0x10_2000))]);
    assert_eq!(ranges(named(&state, "thread arena 1")), [(segment, HEAP, 0x2_1000, Some(HEAP + 0x1000))]);
    assert_eq!(named(&state, "thread arena 1").born_by.0, 2, "its first user");
    assert_eq!(named(&state, "main arena").capacity(), None, "it may get more");
    assert_eq!(named(&state, "main arena").blocks()[0].address.0, 0x10_0010);
}

#[test]
fn a_range_grows_in_place_and_a_second_heap_is_a_second_range() {
    let second = HEAP + (64 << 20);
    let story = segment(begun().alloc(THREAD, HEAP + 0x900, 8), THREAD, HEAP, 0x40_0000, HEAP + 0x30_0000);
    let story = segment(story, THREAD, second, 0x2_1000, second + 0x1000).alloc(THREAD, second + 0x20, 16);
    let state = play(&story);
    let arena = named(&state, "thread arena 1");
    let segment = ExtentKind::HeapSegment;
    let expected = [(segment, HEAP, 0x40_0000, None), (segment, second, 0x2_1000, Some(second + 0x1000))];
    assert_eq!(ranges(arena), expected, "one top chunk, in the newest heap");
    assert_eq!(arena.blocks().iter().map(|block| block.extent).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn mapped_chunks_lie_in_their_mappings_and_outlive_all_of_them() {
    let story = begun().map(0x50_0000, 0x3_0000).alloc(MAPPED, 0x50_0010, 0x2_0000).free(MAPPED, 0x50_0010);
    let gone = story.clone().unmap(0x50_0000, 0x3_0000);
    let state = play(&gone);
    let arena = named(&state, "mapped chunks");
    assert!(arena.is_alive() && arena.extents().count() == 0 && arena.live_blocks() == 0);
    let again = play(&gone.map(0x50_0000, 0x3_0000).alloc(MAPPED, 0x50_0010, 0x2_0000));
    assert_eq!(ranges(named(&again, "mapped chunks")), [(ExtentKind::Mapping, 0x50_0000, 0x3_0000, None)]);
    assert_eq!(again.arenas().count(), 3, "none was born anew");
}

#[test]
fn a_block_becomes_a_region_when_an_arena_is_found_in_it() {
    let story = begun().alloc(MAIN, 0x10_0010, 4096).alloc(MAIN, 0x10_1020, 100);
    let heap_blocks = |state: &State| state.regions().count();
    assert_eq!(heap_blocks(&play(&story)), 0, "none so far");
    let state = play(&story.clone().alloc(POOL, 0x10_0010, 32).alloc(POOL, 0x10_0030, 32));
    assert_eq!(heap_blocks(&state), 1);
    let pool = state.arenas().last().expect("the pool");
    assert_eq!(ranges(pool), [(ExtentKind::HeapBlock, 0x10_0010, 4096, None)]);
    assert_eq!(pool.malloc, None);
}

#[test]
fn an_arena_is_found_in_the_block_that_its_create_call_got() {
    let story = begun().alloc(MAIN, 0x10_0010, 4096).create_nested(POOL, 4000, 1);
    let pool = play(&story).arenas().last().cloned().expect("the pool");
    assert_eq!(ranges(&pool), [(ExtentKind::HeapBlock, 0x10_0010, 4096, None)]);
}

#[test]
fn what_is_freed_takes_its_arena_along_also_one_whose_object_alone_lay_in_it() {
    let story = begun().alloc(MAIN, 0x10_0010, 4096).alloc(POOL, 0x10_0010, 32).free(MAIN, 0x10_0010);
    let pool = play(&story).arenas().last().cloned().expect("the pool");
    assert_eq!(pool.ended.map(|end| end.how), Some(Ending::HeapFreed));
    let story = begun().alloc(MAIN, 0x10_0010, 64).map(0x90_0000, 4096).seen(POOL, 0x10_0020);
    let story = story.alloc(POOL, 0x90_0000, 32).free(MAIN, 0x10_0010);
    let pool = play(&story).arenas().last().cloned().expect("the pool");
    assert_eq!(pool.ended.map(|end| end.how), Some(Ending::HeapFreed));
}

#[test]
fn realloc_takes_its_arena_along_whatever_malloc_maps_meanwhile() {
    let story = begun().alloc(MAIN, 0x10_0010, 4096).alloc(POOL, 0x10_0030, 32);
    let story = segment(story.at(7).free(MAIN, 0x10_0010), MAIN, 0x10_0000, 0x4_0000, 0x13_0000);
    let moved = story.clone().alloc(MAIN, 0x12_0010, 9000);
    let state = play(&moved);
    let pool = state.arenas().last().expect("the pool");
    assert!(pool.is_alive());
    assert_eq!(ranges(pool), [(ExtentKind::HeapBlock, 0x12_0010, 9000, None)]);
    assert_eq!(pool.blocks()[0].address.0, 0x12_0030);
    let other = play(&story.at(8).alloc(MAIN, 0x12_0010, 9000));
    assert!(!other.arenas().last().expect("the pool").is_alive(), "free here, malloc there: no realloc");
}

#[test]
fn a_forked_child_goes_on_with_the_arenas_it_inherited() {
    let parent = play(&begun().alloc(MAIN, 0x10_0010, 64).alloc(MAIN, 0x10_0100, 64));
    let mut child = Replay::forked(&parent, &ProcessFacts { fork_id: 5, ..facts() });
    let story = segment(Table::new().seen(4, 0x6000_0000), 4, 0x10_0000, 0x2_1000, 0x10_2000).free(4, 0x10_0010);
    for event in story.events() {
        child.apply(&event);
    }
    assert_eq!(child.state().arenas().count(), 3);
    assert_eq!(named(child.state(), "main arena").live_blocks(), 1);
    assert_eq!(child.state().anomalies.kept().len(), 0);
}

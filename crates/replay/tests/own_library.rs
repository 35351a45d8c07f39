//! Arenas of our own library, one short story each: their bounds come from their headers, their scopes nest, and a reset of a shared arena
//! takes the leases back.

use arenascope_event::{BoundsKind, ProcessFacts};
use arenascope_replay::{Arena, ExtentKind, Replay, State};
use arenascope_testkit::Table;

const KEY: u32 = 1;
const BASE: u64 = 0x7f00_0000_0000;

fn play(story: &Table) -> State {
    let mut replay = Replay::new(&ProcessFacts::default());
    for event in story.events() {
        replay.apply(&event);
    }
    replay.state().clone()
}

fn only(state: &State) -> &Arena {
    let mut arenas = state.arenas();
    let first = arenas.next().expect("an arena");
    assert!(arenas.next().is_none(), "one arena");
    first
}

fn ranges(arena: &Arena) -> Vec<(ExtentKind, u64, u64)> {
    arena.extents().map(|extent| (extent.kind, extent.start.0 - BASE, extent.len)).collect()
}

fn living(arena: &Arena) -> Vec<u64> {
    arena.blocks().into_iter().filter(|block| block.died.is_none()).map(|block| block.address.0 - BASE).collect()
}

#[test]
fn a_bounded_arena_is_as_large_as_its_header_says() {
    // Neighbours in one mapping: no block of the one is in the other.
    let story = Table::new()
        .observe(BASE - 4096, 8192)
        .create(KEY, 256)
        .bounds(KEY, BoundsKind::Bounded, BASE, 256)
        .alloc(KEY, BASE + 64, 32);
    let state = play(&story);
    let arena = only(&state);
    assert_eq!(ranges(arena), [(ExtentKind::Payload, 0, 256)]);
    assert_eq!((arena.capacity(), arena.bound()), (Some(256), Some(256)));
    let block = arena.blocks().into_iter().next().expect("the block");
    assert_eq!(arena.place(block).offset, 64);
}

#[test]
fn a_growing_arena_is_drawn_in_whole_pages_and_has_no_bound() {
    let story = Table::new()
        .create_named(KEY, "grows", None)
        .bounds(KEY, BoundsKind::Growing, BASE, 1 << 36)
        .alloc(KEY, BASE, 100)
        .alloc(KEY, BASE + 104, 5000);
    let state = play(&story);
    let arena = only(&state);
    assert_eq!(ranges(arena), [(ExtentKind::Payload, 0, 8192)]);
    assert_eq!((arena.capacity(), arena.bound()), (None, None));
    // Ended, and made again at the same place: the next one begins anew.
    let state = play(&story.destroy(KEY).create(KEY, 0).bounds(KEY, BoundsKind::Growing, BASE, 1 << 36));
    let again = state.arenas().last().expect("the second");
    assert_eq!((state.arenas().count(), ranges(again)), (2, vec![(ExtentKind::Payload, 0, 0)]));
}

#[test]
fn scopes_that_begin_at_one_cursor_end_one_by_one() {
    let begun = Table::new().create(KEY, 4096).bounds(KEY, BoundsKind::Bounded, BASE, 4096).alloc(KEY, BASE, 8);
    let inner = begun
        .scope_enter(KEY, BASE + 8)
        .scope_enter(KEY, BASE + 8)
        .alloc(KEY, BASE + 8, 8)
        .scope_exit(KEY, BASE + 8)
        .alloc(KEY, BASE + 8, 16);
    let state = play(&inner.clone());
    assert_eq!((living(only(&state)), only(&state).counts.scopes), (vec![0, 8], 2));
    let state = play(&inner.scope_exit(KEY, BASE + 8));
    assert_eq!((living(only(&state)), only(&state).generation, only(&state).marks.len()), (vec![0], 2, 0));
}

#[test]
fn a_checkpoint_in_a_scope_goes_with_it() {
    let story = Table::new()
        .create(KEY, 4096)
        .bounds(KEY, BoundsKind::Bounded, BASE, 4096)
        .mark(KEY, BASE)
        .alloc(KEY, BASE, 8)
        .scope_enter(KEY, BASE + 8)
        .mark(KEY, BASE + 8)
        .alloc(KEY, BASE + 8, 8)
        .rewind(KEY, BASE + 8)
        .alloc(KEY, BASE + 8, 24)
        .scope_exit(KEY, BASE + 8);
    let state = play(&story);
    assert_eq!((living(only(&state)), only(&state).marks.len()), (vec![0], 1), "the outer checkpoint stands");
    assert_eq!(living(only(&play(&story.rewind(KEY, BASE)))), Vec::<u64>::new());
}

#[test]
fn a_scope_from_before_we_watched_ends_what_lies_above_it() {
    let story = Table::new()
        .bounds(KEY, BoundsKind::Bounded, BASE, 4096)
        .alloc(KEY, BASE, 8)
        .alloc(KEY, BASE + 16, 8)
        .scope_exit(KEY, BASE + 16);
    assert_eq!(living(only(&play(&story))), [0]);
}

#[test]
fn a_shared_arena_has_its_leases_a_big_block_its_own_place_and_a_reset_takes_all_back() {
    let story = Table::new()
        .create(KEY, 0)
        .bounds(KEY, BoundsKind::Lease, BASE, 4096)
        .alloc(KEY, BASE, 4000)
        .bounds(KEY, BoundsKind::Lease, BASE + 8192, 4096)
        .alloc(KEY, BASE + 8192, 8)
        .alloc(KEY, BASE + 0x10_0000, 70_000)
        .bounds(KEY, BoundsKind::Lease, BASE + 8192, 6000);
    let state = play(&story);
    let payload = ExtentKind::Payload;
    let leases = [(payload, 0, 4096), (payload, 8192, 6000), (payload, 0x10_0000, 70_000)];
    assert_eq!((ranges(only(&state)), only(&state).capacity()), (leases.to_vec(), None));
    // Another thread's next lease may be the same bytes: no two arenas share them.
    let state = play(&story.reset(KEY).create(2, 0).bounds(2, BoundsKind::Lease, BASE, 4096).alloc(2, BASE, 8));
    let ranges: Vec<_> = state.arenas().map(ranges).collect();
    assert_eq!(ranges, [vec![], vec![(payload, 0, 4096)]]);
}

#[test]
fn a_child_s_copy_keeps_the_bounds_it_had() {
    let story = Table::new().create(KEY, 256).bounds(KEY, BoundsKind::Bounded, BASE, 256).alloc(KEY, BASE, 8).bounds(
        KEY,
        BoundsKind::Copied,
        BASE,
        256,
    );
    let state = play(&story);
    let arena = only(&state);
    assert!(arena.copied);
    assert_eq!((ranges(arena), arena.capacity()), (vec![(ExtentKind::Payload, 0, 256)], Some(256)));
}

//! Families of processes: stories of a parent and its children, judged together.

use arenascope_event::{Address, Argument, Event, EventKind, ProcessFacts, Result_, Role, Watched};
use arenascope_findings::{Certainty, Class, FamilyFinding, Kin, Member, judge};
use arenascope_replay::Replay;
use arenascope_testkit::{Facts, Table, read};

const SHARED: u32 = 0x21;
const PRIVATE: u32 = 0x22;
const PARENT: u32 = 100;
/// Milliseconds of the common clock, ns.
const MS: u64 = 1_000_000;

fn facts(pid: u32, fork_id: u64) -> ProcessFacts {
    let facts =
        Facts::new().alloc("arena_alloc").hook(Role::Reset, "arena_reset", &[Argument::Arena], Result_::Ignored);
    let facts = facts.site("main", "f.c", 10, read()).site("main", "f.c", 20, read()).chosen(Watched::Given);
    let mut facts = facts.build();
    (facts.pid, facts.fork_id, facts.parent_pid) = (pid, fork_id, if fork_id == 0 { 1 } else { PARENT });
    facts
}

fn fork(child: u32) -> EventKind {
    EventKind::Fork { child, fork_id: u64::from(child) }
}

fn map(story: Table, address: u64, flags: u32) -> Table {
    story.event(EventKind::Map { address: Address(address), len: 0x1000, protection: 3, flags, observed: false })
}

/// The parent up to a fork: an arena at 0x1000, its object in private memory, one block of 64 bytes.
fn before(flags: u32) -> Table {
    map(Table::new(), 0x1000, flags).at(0).alloc(0, 0x1000, 64)
}

fn summary(mut replay: Replay, facts: &ProcessFacts, events: &[Event], started_ns: u64) -> Member {
    let mut kin = Kin::new(facts);
    for event in events {
        let effect = replay.apply(event);
        kin.observe(event, &effect, replay.state());
    }
    kin.finish(replay.state(), facts, started_ns)
}

fn parent(story: &Table) -> Member {
    let facts = facts(PARENT, 0);
    summary(Replay::new(&facts), &facts, &story.events(), 100 * MS)
}

/// The child `pid` of `parent`'s story; its trace begins at `started_ns`.
fn child_with(parent: &Table, pid: u32, story: &Table, started_ns: u64, change: impl Fn(&mut ProcessFacts)) -> Member {
    let own = facts(PARENT, 0);
    let mut replay = Replay::new(&own);
    for event in parent.events() {
        if event.kind == fork(pid) {
            break;
        }
        replay.apply(&event);
    }
    let mut facts = facts(pid, u64::from(pid));
    change(&mut facts);
    summary(Replay::forked(replay.state(), &facts), &facts, &story.events(), started_ns)
}

fn child(parent: &Table, pid: u32, story: &Table, started_ns: u64) -> Member {
    child_with(parent, pid, story, started_ns, |_| ())
}

/// The arena as a child first meets it.
fn seen() -> Table {
    Table::new().seen(0, 0x7000_0000).at(1)
}

fn said(found: &[FamilyFinding]) -> Vec<(&'static str, Class, Certainty)> {
    found.iter().map(|one| (one.finding.rule, one.finding.class, one.finding.certainty)).collect()
}

const SILENT: [(&str, Class, Certainty); 0] = [];
const CERTAIN: (&str, Class, Certainty) = ("fork-same-block", Class::Finding, Certainty::Certain);
const LIKELY: (&str, Class, Certainty) = ("fork-same-block", Class::Finding, Certainty::Likely);
const NOTE: (&str, Class, Certainty) = ("fork-private-write", Class::Note, Certainty::Certain);

/// A child that gets the block behind the parent's, and then does `after`.
fn one_block(after: impl Fn(Table) -> Table) -> Table {
    after(seen().alloc(0, 0x1040, 64))
}

/// Both get 64 bytes at +64: the child at its start, the parent 50 ms later.
fn twice(flags: u32) -> (Table, Table) {
    let story = before(flags).at(0).event(fork(101)).at(0).alloc(0, 0x1040, 64);
    (story, one_block(|story| story))
}

#[test]
fn both_sides_of_a_fork_get_the_same_shared_block() {
    let (story, child_story) = twice(SHARED);
    let parent = parent(&story);
    // The child's trace begins 50 ms before the parent's block, and goes on.
    let alive = Table::new().seen(0, 0x7000_0000).at(1).alloc(0, 0x1040, 64).exit(0);
    let mut living = child(&story, 101, &alive, 50 * MS);
    let found = judge(&[parent.clone(), living.clone()]);
    // It exits microseconds later: the parent's block comes after its end.
    let after_its_end = ("fork-same-block", Class::Note, Certainty::Possible);
    assert_eq!(said(&found), [after_its_end], "the parent may have waited for it and read what it left");
    assert!(found[0].finding.because.contains("when that process had ended"), "{}", found[0].finding.because);
    living = child(&story, 101, &child_story, 50 * MS);
    let found = judge(&[parent.clone(), living.clone()]);
    assert_eq!(said(&found), [LIKELY], "its end was not seen");
    assert!(!found[0].finding.because.contains("had ended"), "{}", found[0].finding.because);
    // The parent first, the child after it: the parent lives to the end of its trace, which says so.
    let exits = before(SHARED).at(0).event(fork(101)).at(0).alloc(0, 0x1040, 64);
    let late = child(&exits, 101, &child_story, 90 * MS);
    assert_eq!(said(&judge(&[parent, late])), [LIKELY]);
}

#[test]
fn with_both_processes_alive_it_is_certain_and_told_with_every_place() {
    let story = before(SHARED).at(0).event(fork(101)).at(0).alloc(0, 0x1040, 64);
    let long = {
        let mut events = seen().alloc(0, 0x1040, 64).exit(0).events();
        let last = events.len() - 1;
        events[last].time_ns = 500 * MS;
        events
    };
    let facts_of_child = facts(101, 101);
    let mut replay = Replay::new(&facts(PARENT, 0));
    before(SHARED).events().iter().for_each(|event| drop(replay.apply(event)));
    let living = summary(Replay::forked(replay.state(), &facts_of_child), &facts_of_child, &long, 50 * MS);
    let found = judge(&[parent(&story), living]);
    assert_eq!(said(&found), [CERTAIN]);
    let one = &found[0];
    assert_eq!(
        one.finding.message,
        "after a fork the same shared memory of arena 1 was handed out twice, by a child and then its parent: 64 bytes at +64"
    );
    let sites: Vec<_> = one.sites.iter().map(|(role, member, site)| (role.word(), *member, site.0)).collect();
    assert_eq!(sites, [("forked", 0, 0), ("allocated", 1, 1), ("allocated", 0, 0)]);
    assert_eq!((one.member, &one.members[..]), (0, &[0, 1][..]));
}

/// The parent gets a block 1 ms after the fork and gives all memory back after the child, waited for, got the same one.
#[test]
fn a_parent_that_ends_its_arena_soon_after_its_child_is_told() {
    const US: u64 = 1_000;
    let after = |forked: u64, died: u64| {
        let mut events = before(SHARED).at(0).event(fork(101)).at(0).alloc(0, 0x1040, 64).destroy(0).exit(0).events();
        let last = events.len() - 1;
        for (back, time) in [(3, forked), (2, forked + MS), (1, died), (0, died + MS)] {
            events[last - back].time_ns = time;
        }
        let own = facts(PARENT, 0);
        let parent = summary(Replay::new(&own), &own, &events, 100 * MS);
        let mut replay = Replay::new(&own);
        events.iter().take(last - 3).for_each(|event| drop(replay.apply(event)));
        let mut events = one_block(|story| story.exit(0)).events();
        events.iter_mut().for_each(|event| event.time_ns = 2 * MS);
        let facts = facts(101, 101);
        let child = summary(Replay::forked(replay.state(), &facts), &facts, &events, 100 * MS + forked);
        said(&judge(&[parent, child]))
    };
    // The child's block: 2 ms after the fork.
    assert_eq!(after(MS, 3 * MS + 300 * US), [CERTAIN]);
    // Too close for the clocks, the more so the longer they have run apart.
    assert_eq!(after(MS, 3 * MS + 30 * US), SILENT);
    assert_eq!(after(1_000 * MS, 1_002 * MS + 300 * US), SILENT);
    assert_eq!(after(60_000 * MS, 60_003 * MS + 100 * US), [CERTAIN]);
    // Given back before.
    assert_eq!(after(MS, 2 * MS + 300 * US), SILENT);
}

#[test]
fn private_memory_is_copied_and_only_noted() {
    let (story, child_story) = twice(PRIVATE);
    let found = judge(&[parent(&story), child(&story, 101, &child_story, 50 * MS)]);
    assert_eq!(said(&found), [NOTE]);
    let one = &found[0];
    assert_eq!(
        one.finding.message,
        "a child allocated 1 block (64 bytes) in arena 1, which it inherited in private memory: its parent never sees that"
    );
    assert_eq!(
        one.sites.iter().map(|(role, member, _)| (role.word(), *member)).collect::<Vec<_>>(),
        [("forked", 0), ("allocated", 1)]
    );
    // Nobody in the parent cares.
    let waits = before(PRIVATE).at(0).event(fork(101)).exit(0);
    assert_eq!(said(&judge(&[parent(&waits), child(&waits, 101, &child_story, 50 * MS)])), SILENT);
    let executes = one_block(|story| story.exec("/bin/true"));
    assert_eq!(said(&judge(&[parent(&story), child(&story, 101, &executes, 50 * MS)])), SILENT);
    // Without the parent's trace nobody knows what was inherited.
    assert_eq!(said(&judge(&[child(&story, 101, &child_story, 50 * MS)])), SILENT);
}

#[test]
fn malloc_is_used_by_every_child_and_not_spoken_of() {
    let begin = || map(Table::new(), 0x1000, PRIVATE).seen(0, 0).at(0).alloc(0, 0x1000, 64);
    let story = begin().event(fork(101)).alloc(0, 0x1040, 64);
    let child_story = Table::new().seen(0, 0).at(1).alloc(0, 0x1040, 64);
    assert_eq!(said(&judge(&[parent(&story), child(&story, 101, &child_story, 50 * MS)])), SILENT);
}

#[test]
fn a_reset_and_a_rewind_in_the_child_are_noted_together() {
    let story = before(PRIVATE).at(0).event(fork(101)).at(0).alloc(0, 0x1040, 64);
    let child_story = seen().alloc(0, 0x1040, 64).alloc(0, 0x1080, 32).reset(0).alloc(0, 0x1000, 4);
    let found = judge(&[parent(&story), child(&story, 101, &child_story, 50 * MS)]);
    assert_eq!(said(&found), [NOTE]);
    assert!(found[0].finding.message.starts_with("a child allocated 3 blocks (100 bytes) in and reset arena 1,"));
}

#[test]
fn a_cursor_in_the_shared_memory_is_common_and_silent() {
    // The object lies in the mapping itself.
    let story = map(Table::new(), 0x1000, SHARED).seen(0, 0x1010).at(0).alloc(0, 0x1040, 64).event(fork(101));
    let story = story.alloc(0, 0x1080, 64);
    let child_story = Table::new().seen(0, 0x1010).at(1).alloc(0, 0x1080, 64);
    assert_eq!(said(&judge(&[parent(&story), child(&story, 101, &child_story, 50 * MS)])), SILENT);
}

#[test]
fn blocks_given_back_in_time_are_silent() {
    let (story, _) = twice(SHARED);
    for back in [|story: Table| story.reset(0), |story: Table| story.free(0, 0x1040), |story: Table| story.destroy(0)] {
        let gone = one_block(back);
        assert_eq!(said(&judge(&[parent(&story), child(&story, 101, &gone, 50 * MS)])), SILENT);
    }
}

#[test]
fn what_was_handed_out_before_the_fork_is_inherited_and_no_second_giving() {
    let story = before(SHARED).at(0).alloc(0, 0x1040, 64).event(fork(101));
    let child_story = seen().reset(0).alloc(0, 0x1000, 64);
    assert_eq!(said(&judge(&[parent(&story), child(&story, 101, &child_story, 50 * MS)])), SILENT);
}

#[test]
fn a_mapping_made_after_the_fork_is_another_one() {
    let story = before(SHARED).at(0).event(fork(101));
    let story = map(story, 0x8000, SHARED).alloc(1, 0x8000, 64);
    let child_story = map(Table::new(), 0x8000, SHARED).alloc(1, 0x8000, 64);
    assert_eq!(said(&judge(&[parent(&story), child(&story, 101, &child_story, 50 * MS)])), SILENT);
}

#[test]
fn children_that_take_turns_in_scratch_memory_are_silent_and_those_at_once_are_not() {
    let story = before(SHARED).at(0).event(fork(101)).event(fork(102));
    let once = || one_block(|story| story.exit(0));
    let first = child(&story, 101, &once(), 50 * MS);
    let after = child(&story, 102, &once(), 80 * MS);
    assert_eq!(said(&judge(&[parent(&story), first.clone(), after])), SILENT);
    let endless = child(&story, 101, &one_block(|story| story), 50 * MS);
    let at_once = child(&story, 102, &one_block(|story| story), 80 * MS);
    let found = judge(&[parent(&story), endless, at_once]);
    assert_eq!(said(&found), [LIKELY]);
    assert!(found[0].finding.message.contains("by two children of one process"), "{}", found[0].finding.message);
}

#[test]
fn where_frees_are_not_all_seen_or_events_are_missing_nothing_is_concluded() {
    let (story, child_story) = twice(SHARED);
    // One process hands out a block over a living one: the roles are not complete.
    let unsure = child_story.clone().alloc(0, 0x1040, 64);
    assert_eq!(said(&judge(&[parent(&story), child(&story, 101, &unsure, 50 * MS)])), SILENT);
    let lossy = child_with(&story, 101, &child_story, 50 * MS, |facts| facts.lost.no_space = 1);
    assert_eq!(said(&judge(&[parent(&story), lossy])), SILENT);
}

#[test]
fn many_children_are_one_finding_and_quickly_judged() {
    let mut story = before(SHARED).at(0);
    for pid in 200..1200 {
        story = story.event(fork(pid));
    }
    let mut members = vec![parent(&story)];
    let one = child(&story, 200, &one_block(|story| story), 50 * MS);
    for pid in 200..1200 {
        let mut member = one.clone();
        (member.pid, member.fork_id) = (pid, u64::from(pid));
        members.push(member);
    }
    let found = judge(&members);
    assert_eq!(said(&found), [LIKELY]);
    assert!(found[0].finding.count > 1000, "{}", found[0].finding.count);
}

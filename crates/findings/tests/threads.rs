//! Threads in one arena: calls that overlapped and nothing between them, and everything that only looks so.

use arenascope_event::{Argument, EventKind, ProcessFacts, Result_, Role, Synchronises, Watched};
use arenascope_findings::{Certainty, Class, Finding, findings};
use arenascope_testkit::{Facts, Table, read};

const RULE: &str = "unsynchronised-sharing";

fn facts(verdict: Synchronises) -> Facts {
    let facts =
        Facts::new().alloc("arena_alloc").hook(Role::Reset, "arena_reset", &[Argument::Arena], Result_::Ignored);
    let facts = facts.site("work", "w.c", 10, read()).site("other", "w.c", 20, read()).chosen(Watched::Given);
    facts.synchronises(verdict)
}

fn judge(facts: &ProcessFacts, story: Table) -> Vec<Finding> {
    let all = findings(facts, story.events(), |_| None::<Vec<u8>>);
    all.into_iter().filter(|finding| finding.rule == RULE).collect()
}

fn said(facts: &ProcessFacts, story: Table) -> Vec<(Class, Certainty)> {
    judge(facts, story).iter().map(|finding| (finding.class, finding.certainty)).collect()
}

const SILENT: [(Class, Certainty); 0] = [];
const CERTAIN: [(Class, Certainty); 1] = [(Class::Finding, Certainty::Certain)];
const LIKELY: [(Class, Certainty); 1] = [(Class::Finding, Certainty::Likely)];

/// Threads 1 and 2 by turns, 16 bytes each, one behind the other: a cursor that serves both.
fn turns() -> Table {
    let mut story = Table::new().map(0x1000, 0x10_000);
    for step in 0..8 {
        story = story.thread(1 + step % 2).at(step % 2).alloc(0, 0x1000 + u64::from(step) * 16, 16);
    }
    story
}

#[test]
fn taking_turns_is_no_finding() {
    assert_eq!(said(&facts(Synchronises::No).build(), turns()), SILENT);
}

#[test]
fn two_calls_at_once_on_a_plain_bump_are_found() {
    let once = || turns().thread(1).at(0).alloc(0, 0x1080, 16).thread(2).at(1).overlapped(0, 8).alloc(0, 0x1090, 16);
    assert_eq!(said(&facts(Synchronises::No).build(), once()), LIKELY, "parts of two threads may meet there");
    let story = || once().thread(1).at(0).overlapped(0, 9).alloc(0, 0x10a0, 16);
    let found = judge(&facts(Synchronises::No).build(), story());
    let [finding] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!(finding.certainty, Certainty::Certain);
    assert_eq!(
        finding.message,
        "threads 1 and 2 were inside arena 1 at once: while one was given block 9, 16 bytes at +128, the other got block 10, \
         16 bytes at +144 (2 times)"
    );
    let sites: Vec<(&str, u32)> = finding.sites.iter().map(|(role, site)| (role.word(), site.0)).collect();
    assert_eq!(sites, [("allocated", 0), ("allocated", 1)]);
    assert_eq!(finding.threads.iter().map(|thread| thread.0).collect::<Vec<_>>(), [1, 2]);
    for verdict in [Synchronises::Unknown, Synchronises::Perhaps] {
        assert_eq!(said(&facts(verdict).build(), story()), SILENT, "{verdict:?}: a lock may lie inside");
    }
    assert_eq!(
        said(&facts(Synchronises::No).lost(1).build(), story()),
        SILENT,
        "the number may be that of a lost event"
    );
    assert_eq!(said(&facts(Synchronises::No).build(), story().lose(0).thread(1).alloc(0, 0x2000, 16)), SILENT);
}

#[test]
fn an_overlap_that_came_after_the_other_was_recorded_is_none() {
    let story = turns().thread(1).at(0).alloc(0, 0x1080, 16).thread(2).at(1).overlapped(0, 9).alloc(0, 0x1090, 16);
    assert_eq!(said(&facts(Synchronises::No).build(), story), SILENT);
}

#[test]
fn the_same_memory_given_to_two_overlapping_calls() {
    let story = || {
        let story =
            Table::new().map(0x1000, 0x1000).thread(1).at(0).alloc(0, 0x1000, 16).thread(2).alloc(0, 0x1010, 16);
        story.thread(1).alloc(0, 0x1020, 16).thread(2).at(1).overlapped(0, 2).alloc(0, 0x1020, 32)
    };
    let found = judge(&facts(Synchronises::No).build(), story());
    let [finding] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((finding.class, finding.certainty), (Class::Finding, Certainty::Certain));
    assert_eq!(
        finding.message,
        "threads 1 and 2 were inside arena 1 at once, and both were given the same memory: block 3, 16 bytes at +32 and \
         block 4, 32 bytes at +32"
    );
    // A lock that does not lock.
    assert_eq!(said(&facts(Synchronises::Perhaps).build(), story()), LIKELY);
    let by_shape = facts(Synchronises::Perhaps).chosen(Watched::FoundByShape).build();
    assert_eq!(said(&by_shape, story()), [(Class::Note, Certainty::Possible)], "a reset may be missing from the roles");
    // malloc: a realloc that nobody watches gives blocks back.
    let freed = facts(Synchronises::Perhaps)
        .hook(Role::Free, "free", &[Argument::Block], Result_::Ignored)
        .synchronises(Synchronises::Perhaps);
    assert_eq!(said(&freed.build(), story()), SILENT);
}

#[test]
fn a_first_call_that_slept_while_another_thread_filled_the_arena() {
    let started = EventKind::ThreadStart { tid: 2, parent: None };
    let mut story = Table::new().map(0x1000, 0x1000).thread(2).event(started).thread(1).at(0);
    for step in 0..20 {
        story = story.alloc(0, 0x1000 + step * 16, 16);
    }
    // It had read the cursor before all of them.
    let story = story.thread(2).at(1).overlapped(0, 0).alloc(0, 0x1000, 16);
    let found = judge(&facts(Synchronises::No).build(), story.clone());
    let [finding] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((finding.class, finding.certainty), (Class::Finding, Certainty::Certain));
    assert_eq!(
        finding.message,
        "threads 1 and 2 were inside arena 1 at once, and both were given the same memory: block 1, 16 bytes at +0 and \
         block 21, 16 bytes at +0"
    );
    assert!(
        finding
            .because
            .starts_with("thread 2 entered its call before #23 of thread 1 was recorded, and left it at #25;")
    );
    assert_eq!(said(&facts(Synchronises::Perhaps).build(), story), SILENT, "a reset may lie between");
}

#[test]
fn a_part_that_goes_from_one_thread_to_another_is_no_race() {
    // Parts of 0x4000 bytes; threads 1 and 3 use the first by turns and begin it anew, thread 2 has the second.
    let mut story = Table::new().map(0x1000, 0x10_000);
    let mut order = 0;
    for round in 0..6u64 {
        for step in 0..4 {
            let since = if order > 0 { order - 1 } else { 0 };
            story = story.thread(if round % 2 == 0 { 1 } else { 3 }).at(0).overlapped(0, since);
            story = story.alloc(0, 0x1000 + step * 16, 16).thread(2).at(1).overlapped(0, order);
            story = story.alloc(0, 0x5000 + (round * 4 + step) * 16, 16);
            order += 2;
        }
    }
    assert_eq!(said(&facts(Synchronises::No).build(), story), SILENT);
}

#[test]
fn memory_that_was_given_back_in_between_is_nobodys() {
    let begin = || {
        let story =
            Table::new().map(0x1000, 0x1000).thread(1).at(0).alloc(0, 0x1000, 16).thread(2).alloc(0, 0x1010, 16);
        story.thread(1).alloc(0, 0x1020, 16)
    };
    let perhaps = facts(Synchronises::Perhaps).build();
    let story = begin().thread(3).reset(0).thread(2).at(1).overlapped(0, 2).alloc(0, 0x1020, 16);
    assert_eq!(said(&perhaps, story), SILENT);
    let story = begin().free(0, 0x1020).thread(2).at(1).overlapped(0, 2).alloc(0, 0x1020, 16);
    assert_eq!(said(&perhaps, story), SILENT);
}

#[test]
fn a_part_for_each_thread_in_one_object_is_no_race() {
    let mut story = Table::new().map(0x1000, 0x10_000);
    for step in 0..20u64 {
        let thread = step % 2;
        story = story.thread(1 + thread as u32).at(thread as u32);
        story = if step > 2 { story.overlapped(0, step - 1) } else { story };
        story = story.alloc(0, 0x1000 + thread * 0x8000 + step * 16, 16);
    }
    assert_eq!(said(&facts(Synchronises::No).build(), story), SILENT);
}

#[test]
fn a_mapping_or_malloc_block_for_each_block_is_no_race() {
    for mapped in [true, false] {
        let mut story = Table::new();
        for step in 0..20u64 {
            let (address, thread) = (0x10_000 + step * 0x1000, (step % 2) as u32);
            story = story.thread(1 + thread).at(thread);
            story = if mapped { story.map(address, 0x1000) } else { story.malloc(address, 0x1000) };
            story = if step > 2 { story.overlapped(0, step - 1) } else { story };
            story = story.alloc(0, address, 0x1000);
        }
        assert_eq!(said(&facts(Synchronises::No).build(), story), SILENT);
    }
}

#[test]
fn refusals_and_blocks_of_no_bytes_change_nothing() {
    let story = turns().thread(1).refuse(0, 16).thread(2).overlapped(0, 8).refuse(0, 16);
    assert_eq!(said(&facts(Synchronises::No).build(), story), SILENT);
    let story = turns().thread(1).alloc(0, 0x1080, 0).thread(2).overlapped(0, 8).alloc(0, 0x1080, 0);
    assert_eq!(said(&facts(Synchronises::No).build(), story), SILENT);
}

#[test]
fn a_reset_during_another_thread_s_call_is_found() {
    let story = turns().thread(1).at(0).reset(0).thread(2).at(1).overlapped(0, 8).alloc(0, 0x1080, 16);
    assert_eq!(said(&facts(Synchronises::No).build(), story.clone()), SILENT, "it may be a part of its own");
    let story = story.thread(1).at(0).overlapped(0, 9).alloc(0, 0x1090, 16);
    let story = story.thread(2).at(1).overlapped(0, 10).alloc(0, 0x10a0, 16);
    let found = judge(&facts(Synchronises::No).build(), story);
    let [finding] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!(finding.certainty, Certainty::Certain);
    assert_eq!(
        finding.message,
        "threads 1 and 2 were inside arena 1 at once: one got block 9, 16 bytes at +128 while the other reset it \
         (3 times)"
    );
    assert_eq!(finding.sites.iter().map(|(role, _)| role.word()).collect::<Vec<_>>(), ["reset", "allocated"]);
}

#[test]
fn overlaps_are_counted_and_one_finding_per_arena() {
    let mut story = turns();
    for step in 0..10u64 {
        let block = 0x1080 + step * 32;
        story = story.thread(1).at(0).alloc(0, block, 16).thread(2).at(1).overlapped(0, 8 + step * 2);
        story = story.alloc(0, block + 16, 16);
    }
    let found = judge(&facts(Synchronises::No).build(), story);
    assert_eq!(found.iter().map(|finding| finding.count).collect::<Vec<_>>(), [10]);
    assert!(found[0].message.ends_with("(10 times)"), "{}", found[0].message);
    assert_eq!(said(&facts(Synchronises::No).build(), turns()), SILENT);
    assert_eq!(CERTAIN[0].0, found[0].class);
}

//! What memcheck saw, put together with blocks: planted faults, and what must stay silent.

use arenascope_event::{
    Address, ArenaKey, Argument, EventKind, HookStatus, Mode, ProcessFacts, Report, Result_, Role, SiteId, Used,
};
use arenascope_findings::{Certainty, Class, Finding, findings};
use arenascope_testkit::{Facts, Table, dropped, read};

/// Sites 0 and 1 allocate, 2 allocates and throws away, 3 ends, 4 is where memcheck saw it.
fn facts(reports: &[Report]) -> ProcessFacts {
    let facts = Facts::new()
        .alloc("arena_alloc")
        .hook(Role::Free, "arena_free", &[Argument::Arena, Argument::Block], Result_::Ignored)
        .hook(Role::Reset, "arena_reset", &[Argument::Arena], Result_::Ignored)
        .site("main", "a.c", 10, read())
        .site("main", "a.c", 11, read())
        .site("main", "a.c", 12, dropped("nobody reads it"))
        .site("main", "a.c", 13, read())
        .site("main", "a.c", 14, read());
    ProcessFacts { mode: Mode::Precise, reports: reports.to_vec(), program: "/bin/prog".into(), ..facts.build() }
}

/// Bytes at `address` were used before the arena's event of this order.
fn report(used: Used, address: u64, bytes: u64, order: u64) -> Report {
    let before = Some((ArenaKey(1), order));
    Report { used, address: Address(address), bytes, before, site: Some(SiteId(4)), origin: None }
}

fn judge(reports: &[Report], story: Table) -> Vec<Finding> {
    judge_with(&facts(reports), story)
}

fn judge_with(facts: &ProcessFacts, story: Table) -> Vec<Finding> {
    let own = ["overflow", "underflow", "use-after-free", "use-after-reset", "use-after-rewind", "stale-bytes"];
    let found = findings(facts, story.events(), |_| None::<Vec<u8>>);
    found.into_iter().filter(|one| own.contains(&one.rule) || one.rule == "stale-pointer-after-resize").collect()
}

/// Blocks of 32 bytes at 0x1000, 0x1040, 0x1080: orders 0, 1, 2.
fn three() -> Table {
    Table::new().map(0x1000, 4096).at(0).alloc(1, 0x1000, 32).at(1).alloc(1, 0x1040, 32).at(0).alloc(1, 0x1080, 32)
}

fn one(found: &[Finding]) -> (&'static str, Class, Certainty, u64, &str) {
    let [finding] = found else { panic!("one finding: {found:#?}") };
    let block = finding.block.map_or(0, |block| block.number);
    (finding.rule, finding.class, finding.certainty, block, &finding.message)
}

#[test]
fn an_access_is_told_of_the_block_that_it_is_about() {
    use Used::{Read, Written};
    let likely = |rule, block, message| (rule, Class::Finding, Certainty::Likely, block, message);
    let rows = [
        (
            report(Read, 0x1060, 1, 3),
            likely("overflow", 2, "1 byte was read at byte 32, one past the end of block 2 (32 bytes at +64)"),
        ),
        (
            report(Written, 0x1064, 4, 3),
            likely("overflow", 2, "4 bytes were written at byte 36, 5 past the end of block 2 (32 bytes at +64)"),
        ),
        (
            report(Read, 0x105c, 8, 3),
            likely("overflow", 2, "8 bytes were read that reach past the end of block 2 (32 bytes at +64)"),
        ),
        (
            report(Read, 0x107f, 1, 3),
            likely("underflow", 3, "1 byte was read 1 before the start of block 3 (32 bytes at +128)"),
        ),
    ];
    for (report, said) in rows {
        let found = judge(&[report], three().at(0).alloc(1, 0x10c0, 8));
        assert_eq!(one(&found), said);
        assert_eq!(found[0].sites.len(), 2);
    }
}

#[test]
fn an_access_to_a_dead_block_names_what_ended_it() {
    let freed = three().at(3).free(1, 0x1040);
    let found = judge(&[report(Used::Read, 0x1042, 2, 4)], freed.at(0).alloc(1, 0x10c0, 8));
    let message = "2 bytes were read at byte 2 of block 2 (32 bytes at +64), which was freed at #6";
    assert_eq!(one(&found), ("use-after-free", Class::Finding, Certainty::Likely, 2, message));
    assert_eq!(found[0].sites.len(), 3);
    let found = judge(&[report(Used::Written, 0x1042, 2, 4)], three().at(3).reset(1).at(0).alloc(1, 0x1000, 8));
    assert_eq!((one(&found).0, one(&found).3), ("use-after-reset", 2));
    // At the end, with no event behind it.
    let at_end = Report { before: None, ..report(Used::Read, 0x1042, 2, 0) };
    let found = judge(&[at_end], three().at(3).reset(1).exit(0));
    assert_eq!(one(&found).0, "use-after-reset");
}

#[test]
fn a_block_that_each_owner_gives_back_may_be_read_between() {
    let twice = |story: Table| story.at(3).free(1, 0x1040).at(0).alloc(1, 0x10c0, 8);
    let said = |story: Table| {
        let found = judge(&[report(Used::Read, 0x1042, 2, 4)], story);
        found.iter().filter(|one| one.rule == "use-after-free").map(|one| one.class).collect::<Vec<_>>()
    };
    let freed = || three().at(3).free(1, 0x1040);
    assert_eq!(said(twice(freed())), [Class::Note], "the function may count references");
    let taken = freed().event(EventKind::ObjectChanged {
        arena: ArenaKey(1),
        address: Address(0x7000_0100),
        before: vec![0; 8],
        after: vec![1; 8],
    });
    assert_eq!(said(twice(taken)), [Class::Finding], "the first free took it");
}

#[test]
fn bytes_that_another_block_took_are_not_dead() {
    let story = three().at(3).reset(1).at(0).alloc(1, 0x1000, 200).at(1).alloc(1, 0x1100, 8);
    assert!(judge(&[report(Used::Read, 0x1042, 2, 5)], story).is_empty());
}

#[test]
fn unwritten_bytes_are_told_of_the_block_from_that_call() {
    let used = Report { origin: Some(SiteId(1)), ..report(Used::Unwritten, 0, 0, 5) };
    let story = || three().at(3).reset(1).at(1).alloc(1, 0x1000, 40).at(0).alloc(1, 0x1100, 8);
    let found = judge(std::slice::from_ref(&used), story());
    assert_eq!((one(&found).0, one(&found).1, one(&found).3), ("stale-bytes", Class::Finding, 4));
    // From no call of the allocator.
    assert!(judge(&[Report { origin: Some(SiteId(4)), ..used }], story()).is_empty());
}

#[test]
fn what_looks_alike_is_silent() {
    use Used::Read;
    // Far from every block, and within a living one.
    for address in [0x9_0000, 0x1000, 0x1450] {
        assert!(judge(&[report(Read, address, 1, 3)], three().at(0).alloc(1, 0x10c0, 8)).is_empty(), "{address:#x}");
    }
    // An array that grows by calls: what is above was handed out by a call whose result nobody reads.
    let grows = Table::new().map(0x1000, 4096).at(0).alloc(1, 0x1000, 32).at(2).alloc(1, 0x1040, 32);
    assert!(judge(&[report(Read, 0x1020, 1, 2)], grows.at(0).alloc(1, 0x10c0, 8)).is_empty());
    // The arena's end came first: its memory may be anybody's.
    let ended = three().at(3).destroy(1).at(0).alloc(2, 0x9000, 8);
    let late = Report { before: Some((ArenaKey(2), 0)), ..report(Read, 0x1060, 1, 0) };
    assert!(judge(&[late], ended).is_empty());
}

#[test]
fn a_library_that_lends_its_bytes_convicts_nobody_of_using_them() {
    let mut facts = facts(&[report(Used::Written, 0x1042, 2, 4), report(Used::Read, 0x1050, 1, 4)]);
    facts.hooks[0].module = "/usr/lib/libpool.so.1".into();
    let story = || three().at(3).reset(1).at(0).alloc(1, 0x1000, 8);
    assert_eq!(judge_with(&facts, story()).len(), 1);
    // The first access came from the library itself.
    let mut inside = facts.sites[4].clone();
    inside.frames[0].module = "libpool.so.1".into();
    facts.sites.push(inside);
    facts.reports[0].site = Some(SiteId(5));
    assert!(judge_with(&facts, story()).is_empty());
    // Nor of bytes that lie behind a redzone; the redzone itself is nobody's.
    facts.reports[1] = report(Used::Read, 0x10a0 + 36, 1, 3);
    assert!(judge_with(&facts, story()).is_empty());
    facts.reports[1] = report(Used::Read, 0x10a0 + 4, 1, 3);
    assert_eq!(judge_with(&facts, story()).len(), 1);
}

#[test]
fn where_something_is_missing_nobody_is_accused() {
    let mut partly = facts(&[report(Used::Read, 0x1060, 1, 3)]);
    partly.hooks[0].status = HookStatus::Partly("inlined".into());
    let lost = ProcessFacts {
        lost: arenascope_event::Lost { reentered: 1, ..Default::default() },
        ..facts(&[report(Used::Read, 0x1060, 1, 3)])
    };
    for facts in [partly, lost] {
        let found = judge_with(&facts, three().at(0).alloc(1, 0x10c0, 8));
        assert_eq!((one(&found).1, one(&found).2), (Class::Note, Certainty::Possible));
    }
}

/// A dump of an arena, or a copy of it to compare with later, reads redzones: nobody but us knows that they are there.
#[test]
fn a_place_that_reads_from_block_to_block_is_a_note() {
    let walk = |used| [report(used, 0x1060, 8, 3), report(used, 0x1068, 8, 3), report(used, 0x1078, 8, 3)];
    let after = || three().at(0).alloc(1, 0x10c0, 8);
    let found = judge(&walk(Used::Read), after());
    assert_eq!(
        found.iter().map(|one| (one.rule, one.class)).collect::<Vec<_>>(),
        [("overflow", Class::Note), ("underflow", Class::Note)]
    );
    assert!(found[0].because.contains("looks at an arena as a whole"), "{}", found[0].because);
    // Who writes so far is no onlooker; nor are two places one walk.
    assert!(judge(&walk(Used::Written), after()).iter().all(|one| one.class == Class::Finding));
    let [first, _, last] = walk(Used::Read);
    let two = [first, Report { site: Some(SiteId(3)), ..last }];
    assert!(judge(&two, after()).iter().all(|one| one.class == Class::Finding));
}

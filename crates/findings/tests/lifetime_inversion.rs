//! An outer block that points into a scope that ended: told in place of the use after the rewind, and only with a use.

use arenascope_event::{
    Address, ArenaKey, Argument, CaptureReason, EventKind, Mode, ProcessFacts, Report, Result_, Role, SiteId, Used,
    Zone,
};
use arenascope_findings::{Class, Finding, findings};
use arenascope_testkit::{Facts, Table, read};

/// Sites 0 and 1 allocate outer and inner, 2 rewinds, 3 uses.
fn facts(mode: Mode, reports: &[Report]) -> ProcessFacts {
    let facts = Facts::new()
        .alloc("arena_alloc")
        .hook(Role::Mark, "arena_mark", &[Argument::Arena], Result_::Mark)
        .hook(Role::Rewind, "arena_rewind", &[Argument::Arena, Argument::Mark], Result_::Ignored)
        .site("main", "a.c", 10, read())
        .site("main", "a.c", 11, read())
        .site("main", "a.c", 12, read())
        .site("main", "a.c", 13, read());
    ProcessFacts { mode, reports: reports.to_vec(), program: "/bin/prog".into(), ..facts.build() }
}

/// Outer block of 32 bytes at 0x1000, inner one at 0x1040; the rewind has order 3.
fn scope() -> Table {
    let open = Table::new().map(0x1000, 4096).at(0).alloc(1, 0x1000, 32).mark(1, 0x1020).at(1).alloc(1, 0x1040, 32);
    open.capture(1, CaptureReason::Rewind, 0x1000, 0x60).at(2).rewind(1, 0x1020)
}

/// The arena's bytes before the rewind: `word` at +8 of the outer block.
fn bytes(at: usize, word: u64) -> Vec<u8> {
    let mut bytes = vec![0; 0x60];
    bytes[at..at + 8].copy_from_slice(&word.to_le_bytes());
    bytes
}

fn judge(facts: &ProcessFacts, story: Table, captured: &[u8]) -> Vec<Finding> {
    let own = ["lifetime-inversion", "use-after-rewind"];
    let found = findings(facts, story.events(), |_| Some(captured));
    found.into_iter().filter(|one| own.contains(&one.rule)).collect()
}

/// Read at `address` before the arena's event of order 4.
fn read_at(address: u64) -> Report {
    let (used, bytes, before) = (Used::Read, 4, Some((ArenaKey(1), 4)));
    Report { used, address: Address(address), bytes, before, site: Some(SiteId(3)), origin: None }
}

fn rules(found: &[Finding]) -> Vec<&str> {
    found.iter().map(|finding| finding.rule).collect()
}

#[test]
fn a_read_through_an_outer_block_names_both_blocks() {
    let story = || scope().at(0).alloc(1, 0x2000, 8);
    let found = judge(&facts(Mode::Precise, &[read_at(0x1044)]), story(), &bytes(8, 0x1040));
    assert_eq!(rules(&found), ["lifetime-inversion"]);
    assert_eq!(found[0].class, Class::Finding);
    assert_eq!(
        found[0].message,
        "4 bytes were read at byte 4 of block 2 (32 bytes at +64), which died when the arena went back at #7; block 1 (32 bytes \
         at +0), of an outer scope, still pointed there"
    );
    assert_eq!(
        found[0].sites.iter().map(|(role, site)| (role.word(), site.0)).collect::<Vec<_>>(),
        [("touched", 3), ("rewound", 2), ("allocated", 1), ("allocated", 0)]
    );
    let evidence = found[0].evidence.last().expect("the word");
    assert_eq!((evidence.offset, evidence.damaged.len(), &evidence.damaged[0]), (0, 1, &(8..16)));
    assert_eq!(evidence.bytes[8..16], 0x1040_u64.to_le_bytes());
}

#[test]
fn without_such_a_word_it_is_a_use_after_the_rewind() {
    let story = || scope().at(0).alloc(1, 0x2000, 8);
    let precise = facts(Mode::Precise, &[read_at(0x1044)]);
    // Nothing, another place, a word in the dead block itself, a word behind what was read, a word across words.
    for captured in [bytes(8, 0), bytes(8, 0x1030), bytes(0x48, 0x1040), bytes(8, 0x1048), bytes(12, 0x1040)] {
        assert_eq!(rules(&judge(&precise, story(), &captured)), ["use-after-rewind"]);
    }
    // No bytes.
    assert_eq!(rules(&judge(&precise, story(), &[])), ["use-after-rewind"]);
    // The outer block was dead at the use, too.
    let dead_too = Report { before: Some((ArenaKey(1), 5)), ..read_at(0x1044) };
    let both = scope().rewind(1, 0x1000).at(0).alloc(1, 0x2000, 8);
    assert_eq!(rules(&judge(&facts(Mode::Precise, &[dead_too]), both, &bytes(8, 0x1040))), ["use-after-rewind"]);
}

#[test]
fn a_pointer_that_stays_behind_is_no_bug_without_a_use() {
    let story = scope().at(0).alloc(1, 0x1040, 32).exit(0);
    assert_eq!(rules(&judge(&facts(Mode::Record, &[]), story, &bytes(8, 0x1040))), Vec::<&str>::new());
    // Used, but by then the bytes were handed out again: the same word is good.
    let again = Report { before: Some((ArenaKey(1), 5)), ..read_at(0x1044) };
    let story = scope().at(0).alloc(1, 0x1040, 32).alloc(1, 0x2000, 8);
    assert_eq!(rules(&judge(&facts(Mode::Precise, &[again]), story, &bytes(8, 0x1040))), Vec::<&str>::new());
}

#[test]
fn a_write_that_check_mode_saw_is_told_likewise() {
    let changed = |story: Table| {
        story.event(EventKind::Damage {
            arena: ArenaKey(1),
            block: Address(0x1040),
            size: 32,
            zone: Zone::Dead,
            address: Address(0x1044),
            expected: 0xd5,
            found: b"x".to_vec(),
            end: Address(0x1060),
            since: 4,
            ended: Some(3),
        })
    };
    let story = || changed(scope()).at(0).alloc(1, 0x1040, 32);
    let check = facts(Mode::Check, &[]);
    let found = judge(&check, story(), &bytes(8, 0x1040));
    assert_eq!((rules(&found), found[0].class), (vec!["lifetime-inversion"], Class::Finding));
    assert_eq!(rules(&judge(&check, story(), &bytes(8, 0x1050))), ["use-after-rewind"]);
}

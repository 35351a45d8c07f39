//! What check mode saw: planted faults, and correct programs that look alike.

use arenascope_event::{
    Address, ArenaKey, BlockFate, BoundsKind, Checking, EventKind, HookStatus, Mode, ProcessFacts, Result_, Role, Zone,
};
use arenascope_findings::{Certainty, Class, Finding, findings};
use arenascope_testkit::{Facts, Table, dropped, read};

const CANARY: u8 = 0xe7;
const POISON: u8 = 0xd5;

fn facts() -> ProcessFacts {
    let facts = Facts::new()
        .alloc("arena_alloc")
        .hook(Role::Reset, "arena_reset", &[], Result_::Ignored)
        .site("main", "a.c", 10, read())
        .site("main", "a.c", 11, read())
        .site("main", "a.c", 12, dropped("nobody reads it"))
        .site("main", "a.c", 13, read());
    ProcessFacts { mode: Mode::Check, ..facts.build() }
}

fn judge(facts: &ProcessFacts, story: Table) -> Vec<Finding> {
    findings(facts, story.events(), |_| None::<Vec<u8>>)
        .into_iter()
        .filter(|finding| finding.rule != "never-unmapped" && finding.rule != "never-stored")
        .collect()
}

/// Three blocks of 32 bytes, 64 bytes apart: 0x1000, 0x1040, 0x1080.
fn three() -> Table {
    Table::new().map(0x1000, 4096).at(0).alloc(1, 0x1000, 32).at(1).alloc(1, 0x1040, 32).at(3).alloc(1, 0x1080, 32)
}

/// The redzone behind the block at `block` was found changed from `address` on.
fn damaged(story: Table, block: u64, address: u64, found: &[u8]) -> Table {
    let order = story.events().iter().filter(|event| event.kind.arena_order().is_some()).count() as u64;
    story.event(EventKind::Damage {
        arena: ArenaKey(1),
        block: Address(block),
        size: 32,
        zone: Zone::After,
        address: Address(address),
        expected: CANARY,
        found: found.to_vec(),
        end: Address(block + 64),
        since: order,
        ended: None,
    })
}

/// A dead block was found changed; the event of order `ended` took it back.
fn dead(story: Table, block: u64, address: u64, ended: u64) -> Table {
    let order = story.events().iter().filter(|event| event.kind.arena_order().is_some()).count() as u64;
    story.event(EventKind::Damage {
        arena: ArenaKey(1),
        block: Address(block),
        size: 32,
        zone: Zone::Dead,
        address: Address(address),
        expected: POISON,
        found: b"x".to_vec(),
        end: Address(block + 32),
        since: order,
        ended: Some(ended),
    })
}

fn one(found: &[Finding]) -> (&'static str, Class, Certainty, u64, String) {
    assert_eq!(found.len(), 1, "{found:#?}");
    let finding = &found[0];
    let block = finding.block.map_or(0, |block| block.number);
    (finding.rule, finding.class, finding.certainty, block, finding.message.clone())
}

#[test]
fn a_byte_past_the_end_is_an_overflow_of_the_lower_block() {
    let found = judge(&facts(), damaged(three(), 0x1040, 0x1060, b"A").at(0).alloc(1, 0x10c0, 8));
    let message = "byte 32, one past the end of block 2 (32 bytes at +64), was changed to 0x41 'A' between #5 and #7";
    assert_eq!(one(&found), ("overflow", Class::Finding, Certainty::Likely, 2, message.into()));
    let evidence = &found[0].evidence[0];
    assert_eq!((evidence.offset, evidence.bytes.as_slice(), evidence.damaged.first()), (32, &b"A"[..], Some(&(0..1))));
    assert_eq!(found[0].sites.len(), 1);
}

#[test]
fn a_byte_before_the_start_is_an_underflow_of_the_upper_block() {
    let found = judge(&facts(), damaged(three(), 0x1040, 0x107f, b"B").at(0).alloc(1, 0x10c0, 8));
    let message = "the byte 1 before block 3 (32 bytes at +128) was changed to 0x42 'B' between #5 and #7";
    assert_eq!(one(&found), ("underflow", Class::Finding, Certainty::Likely, 3, message.into()));
    assert_eq!(found[0].evidence[0].offset, -1);
}

#[test]
fn a_whole_redzone_is_an_overflow() {
    let found = judge(&facts(), damaged(three(), 0x1000, 0x1020, &[b'C'; 32]).exit(0));
    let (rule, class, _, block, message) = one(&found);
    assert_eq!((rule, class, block), ("overflow", Class::Finding, 1));
    assert!(message.starts_with("32 bytes from byte 32 on, one past the end of block 1"), "{message}");
}

#[test]
fn what_an_allocator_rounds_up_to_is_only_noted() {
    // Sizes of 32, and of others that it rounds up to multiples of `step`, all with their redzones.
    let arena = |step: u64| {
        let mut story = Table::new().map(0x1000, 4096).at(0);
        let (mut at, mut third) = (0x1000_u64, 0);
        for size in [32, 20, 20, 7, 33, 20] {
            third = if story.events().len() < 5 { at } else { third };
            story = story.alloc(1, at, size);
            at += (size + 32).next_multiple_of(step);
        }
        (story, third)
    };
    let said = |step: u64, byte: u64| {
        let (story, block) = arena(step);
        let mut events = damaged(story, block, block + byte, b"A").exit(0).events();
        for event in &mut events {
            if let EventKind::Damage { size, end, .. } = &mut event.kind {
                (*size, *end) = (20, Address(block + 52));
            }
        }
        let found = findings(&facts(), events, |_| None::<Vec<u8>>);
        found.iter().filter(|one| one.rule == "overflow").map(|one| one.class).collect::<Vec<_>>()
    };
    assert_eq!(said(32, 31), [Class::Note], "of 20 bytes it makes 32");
    assert_eq!(said(32, 32), [Class::Finding], "and no more");
    assert_eq!(said(16, 20), [Class::Note]);
    assert_eq!(said(8, 20), [Class::Finding], "alignment alone");
    assert_eq!(said(1, 20), [Class::Finding], "blocks side by side");
}

#[test]
fn many_from_one_call_are_one_finding_with_a_count() {
    let mut story = Table::new().map(0x1000, 4096).at(0);
    for block in [0x1000, 0x1040, 0x1080] {
        story = story.alloc(1, block, 32);
    }
    for block in [0x1000, 0x1040, 0x1080] {
        story = damaged(story, block, block + 32, b"A");
    }
    let found = judge(&facts(), story.exit(0));
    assert_eq!((found.len(), found[0].count, found[0].bytes), (1, 3, 3));
}

#[test]
fn correct_programs_that_look_alike_are_silent() {
    // The arena was emptied unseen: the next block lies below.
    assert!(judge(&facts(), damaged(three(), 0x1040, 0x1060, b"A").at(0).alloc(1, 0x1000, 200)).is_empty());
    // An array that grows by calls: the block above is one whose address nobody keeps.
    let grows = Table::new().map(0x1000, 4096).at(0).alloc(1, 0x1000, 32).at(2).alloc(1, 0x1040, 32);
    assert!(judge(&facts(), damaged(grows, 0x1000, 0x1020, b"A").exit(0)).is_empty());
    // Another arena has a block there by now.
    let other = three().alloc(2, 0x1060, 64);
    assert!(judge(&facts(), damaged(other, 0x1040, 0x1060, b"A").exit(0)).is_empty());
}

#[test]
fn where_something_is_missing_nobody_is_accused() {
    let wiped = damaged(damaged(three(), 0x1000, 0x1020, &[0; 32]), 0x1040, 0x1060, &[0; 32]);
    let lost = ProcessFacts { lost: arenascope_event::Lost { reentered: 1, ..Default::default() }, ..facts() };
    let mut partly = facts();
    partly.hooks[1].status = HookStatus::Partly("inlined".into());
    let story = || damaged(three(), 0x1040, 0x1060, b"A").exit(0);
    for (facts, story) in [(facts(), wiped.exit(0)), (lost, story()), (partly, story())] {
        let found = judge(&facts, story);
        assert!(!found.is_empty());
        assert!(found.iter().all(|one| one.class == Class::Note && one.certainty == Certainty::Possible), "{found:#?}");
    }
}

#[test]
fn a_write_after_reset_that_a_later_block_proves() {
    // Orders: 0 to 2 the blocks, 3 the reset.
    let found = judge(&facts(), dead(three().at(0).reset(1), 0x1040, 0x1045, 3).at(1).alloc(1, 0x1000, 1000));
    let message =
        "byte 5 of block 2 (32 bytes at +64) was changed to 0x78 'x' after its arena was reset, between #6 and #8";
    assert_eq!(one(&found), ("use-after-reset", Class::Finding, Certainty::Likely, 2, message.into()));
    assert_eq!(found[0].sites.len(), 2);
}

#[test]
fn without_that_proof_it_takes_an_arena_without_gaps() {
    let story = |gap: u64| {
        let start = Table::new().map(0x1000, 8192).at(0).alloc(1, 0x1000, 32).alloc(1, 0x1040 + gap, 32);
        dead(start.reset(1), 0x1000, 0x1005, 2).exit(0)
    };
    assert_eq!(one(&judge(&facts(), story(0))).1, Class::Finding);
    // Something unseen lay between the blocks, and something unseen may lie in these bytes.
    assert_eq!(one(&judge(&facts(), story(1024))).1, Class::Note);
    // The next block lies above: what is below it may have been handed out unseen.
    let above = dead(three().reset(1), 0x1000, 0x1005, 3).alloc(1, 0x1040, 32);
    assert_eq!(one(&judge(&facts(), above)).0, "use-after-reset");
    let mut partly = facts();
    partly.hooks[0].status = HookStatus::Partly("inlined".into());
    assert_eq!(one(&judge(&partly, story(0))).1, Class::Note);
}

#[test]
fn the_event_that_took_the_block_back_names_the_rule() {
    let rewound = three().mark(1, 7).alloc(1, 0x10c0, 32).at(1).rewind(1, 7);
    assert_eq!(one(&judge(&facts(), dead(rewound, 0x10c0, 0x10c5, 5).alloc(1, 0x10c0, 32))).0, "use-after-rewind");
    let freed = three().at(1).free(1, 0x1040);
    assert_eq!(one(&judge(&facts(), dead(freed, 0x1040, 0x1045, 3).alloc(1, 0x1040, 16))).0, "use-after-free");
}

#[test]
fn a_freed_block_that_nobody_got_again_is_no_proof() {
    let freed = || three().at(1).free(1, 0x1040);
    let story = dead(freed(), 0x1040, 0x1045, 3).exit(0);
    assert_eq!(one(&judge(&facts(), story)).1, Class::Note);
    // The next block lies elsewhere; a second thread uses the arena.
    assert_eq!(one(&judge(&facts(), dead(freed(), 0x1040, 0x1045, 3).alloc(1, 0x1000, 16))).1, Class::Note);
    let busy = freed().thread(2).alloc(1, 0x1100, 8).thread(1);
    assert_eq!(one(&judge(&facts(), dead(busy, 0x1040, 0x1045, 3).alloc(1, 0x1040, 16))).1, Class::Note);
}

#[test]
fn a_refusal_that_redzones_may_have_caused_accuses_nobody() {
    let story = |size| Table::new().map(0x1000, 4096).create(2, 64).alloc(2, 0x1000, 40).refuse(2, size).fault(11, 0);
    for mode in [Mode::Check, Mode::Precise] {
        let refused = ProcessFacts { null_use: arenascope_event::NullUse::Proven, mode, ..facts() };
        let accused = |size| judge(&refused, story(size)).iter().any(|finding| finding.rule == "null-used");
        assert!(!accused(16), "40 and 16 bytes fit into 64: {mode:?}");
        assert!(accused(32), "{mode:?}");
    }
}

// ---- use-after-unmap ----

fn unmapped(at: u64) -> Table {
    three().at(0).destroy(1).at(1).unmap(0x1000, 4096).at(3).fault(11, at)
}

#[test]
fn a_fault_in_unmapped_memory_of_an_arena_names_the_block() {
    let record = ProcessFacts { mode: Mode::Record, ..facts() };
    let message = "byte 7 of block 2 (32 bytes at +64) of arena 1 was touched after the arena's memory had been unmapped: SIGSEGV";
    let found = judge(&record, unmapped(0x1047));
    assert_eq!(one(&found), ("use-after-unmap", Class::Finding, Certainty::Certain, 2, message.into()));
    assert_eq!(found[0].sites.len(), 3, "touched, unmapped, allocated");
    assert_eq!(one(&judge(&record, unmapped(0x1f00))).2, Certainty::Likely, "no block lay there");
}

#[test]
fn a_crash_handler_s_way_out_does_not_hide_the_fault() {
    let record = ProcessFacts { mode: Mode::Record, ..facts() };
    for end in [unmapped(0x1047).exit(3), unmapped(0x1047).killed(6)] {
        let found = judge(&record, end);
        assert_eq!((one(&found).0, one(&found).2), ("use-after-unmap", Certainty::Certain), "{found:?}");
    }
}

#[test]
fn other_faults_are_not_the_arenas() {
    let record = facts();
    // Elsewhere; mapped again; another mapping came and went after the arena; sent by somebody.
    assert!(judge(&record, unmapped(0x5000)).is_empty());
    let gone = || three().destroy(1).unmap(0x1000, 4096);
    assert!(judge(&record, gone().map(0x1000, 4096).fault(11, 0x1047)).is_empty());
    assert!(judge(&record, gone().map(0x1000, 4096).unmap(0x1000, 4096).fault(11, 0x1047)).is_empty());
    assert!(judge(&record, gone().killed(11)).is_empty());
    assert!(judge(&record, three().fault(11, 0x1047)).is_empty(), "the arena lives");
}

// ---- a call of an arena of our library that had ended ----

/// An arena of our library with its header at 0x2000 and its payload behind it has been created, used and destroyed.
fn ended() -> Table {
    let made = Table::new().seen(1, 0x2000).at(0).create_named(1, "planted", None);
    made.bounds(1, BoundsKind::Bounded, 0x2180, 4096).at(1).alloc(1, 0x2180, 32).at(3).destroy(1)
}

fn called(story: Table) -> Table {
    story.at(1).event(EventKind::CalledEnded { arena: ArenaKey(1) })
}

#[test]
fn a_call_of_an_arena_that_had_ended_names_its_begin_and_its_end() {
    for mode in [Mode::Record, Mode::Check] {
        let found = judge(&ProcessFacts { mode, ..facts() }, called(called(ended())));
        let message = "arena 1 \"planted\" was called after it had been destroyed";
        assert_eq!(one(&found), ("use-after-unmap", Class::Finding, Certainty::Certain, 0, message.into()));
        assert_eq!(found[0].sites.len(), 3, "touched, destroyed, created");
    }
    let mut lossy = facts();
    lossy.lost.no_space = 1;
    assert_eq!(one(&judge(&lossy, called(ended()))).2, Certainty::Possible, "a creation may be among what was lost");
}

#[test]
fn a_call_of_what_may_be_a_living_arena_accuses_nobody() {
    let began = |story: Table| story.create_named(1, "next", None).bounds(1, BoundsKind::Bounded, 0x2180, 4096);
    assert!(judge(&facts(), called(began(ended()))).is_empty(), "another arena has begun there");
    assert!(judge(&facts(), called(Table::new().seen(1, 0x2000).alloc(1, 0x2180, 32))).is_empty(), "no end was seen");
    assert!(judge(&facts(), called(Table::new().seen(1, 0x2000))).is_empty(), "nothing was ever there");
}

#[test]
fn a_fault_in_the_header_of_an_arena_that_had_ended_is_likely_one() {
    let found = judge(&facts(), ended().fault(11, 0x2010));
    let message = "arena 1 \"planted\" was used after it had been destroyed";
    assert_eq!(one(&found), ("use-after-unmap", Class::Finding, Certainty::Likely, 0, message.into()));
    assert!(judge(&facts(), ended().fault(11, 0x2180)).is_empty(), "behind the header");
    assert!(judge(&facts(), ended().map(0x2000, 4096).fault(11, 0x2010)).is_empty(), "somebody else's memory");
    assert!(judge(&facts(), ended().map(0x2000, 4096).unmap(0x2000, 4096).fault(11, 0x2010)).is_empty(), "so it was");
    let other = ended().seen(2, 0x1000).create_named(2, "vast", None).bounds(2, BoundsKind::Growing, 0x1180, 1 << 20);
    assert!(judge(&facts(), other.fault(11, 0x2010)).is_empty(), "in what a living arena has reserved");
    assert!(judge(&facts(), ended().killed(11)).is_empty(), "sent by somebody");
}

// ---- memory of check mode's that was given twice ----

/// An arena that is checked, with a plot at 0x10000 of this kind, and a block in it.
fn checked(kind: BoundsKind) -> Table {
    let first = Table::new().seen(1, 0x2000).create_named(1, "former", None).bounds(1, BoundsKind::Bounded, 0x2180, 64);
    let first = first.event(EventKind::Checked { arena: ArenaKey(1), how: Checking::Canaries });
    let first = first.bounds(1, BoundsKind::Plot, 0x10000, 65536).alloc(1, 0x10010, 32).destroy(1);
    let next = first.seen(2, 0x3000).create_named(2, "present", None).bounds(2, BoundsKind::Bounded, 0x3180, 64);
    let next = next.event(EventKind::Checked { arena: ArenaKey(2), how: Checking::Canaries });
    next.bounds(2, kind, 0x10000, 65536).at(1).alloc(2, 0x10010, 32)
}

fn zone_of_present(story: Table, zone: Zone, address: u64, ended: Option<u64>) -> Table {
    story.event(EventKind::Damage {
        arena: ArenaKey(2),
        block: Address(0x10010),
        size: 32,
        zone,
        address: Address(address),
        expected: if ended.is_some() { POISON } else { CANARY },
        found: b"x".to_vec(),
        end: Address(address + 16),
        since: 0,
        ended,
    })
}

#[test]
fn where_addresses_were_given_twice_nobody_is_accused_and_both_are_named() {
    let both = |found: &[Finding]| {
        let note = found.iter().find(|one| one.class == Class::Note).expect("a note");
        assert!(note.because.contains("blocks of arena 1 \"former\" lay at this place before"), "{note:#?}");
        assert_eq!(note.arena.as_ref().map(|arena| arena.name.as_str()), Some("present"));
        assert!(found.iter().all(|one| one.class == Class::Note), "{found:#?}");
    };
    let accused = |found: &[Finding]| assert_eq!(found.iter().filter(|one| one.class == Class::Finding).count(), 1);
    let touched = |story: Table| {
        let (arena, block) = (ArenaKey(2), Address(0x10010));
        let event = EventKind::Touched { arena, block, size: 32, at: 40, fate: BlockFate::Lives, ended: None };
        story.event(event).fault(11, 0x10038)
    };
    for (kind, judged) in [(BoundsKind::PlotAgain, &both as &dyn Fn(&[Finding])), (BoundsKind::Plot, &accused)] {
        judged(&judge(&facts(), zone_of_present(checked(kind), Zone::After, 0x10030, None)));
        judged(&judge(&facts(), zone_of_present(checked(kind).reset(2), Zone::Dead, 0x10018, Some(2))));
        judged(&judge(&facts(), touched(checked(kind))));
    }
}

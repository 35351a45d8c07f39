//! What scans found, put together with blocks: planted losses, and what must stay silent.

use arenascope_event::{Address, ArenaKey, ProcessFacts, Scan, ScannedArena, Unreached};
use arenascope_findings::{Certainty, Class, Finding, findings};
use arenascope_testkit::{Facts, Table, dropped, read};

/// Sites 0 and 1 allocate, 2 throws away.
fn facts(scans: &[Scan]) -> ProcessFacts {
    let facts = Facts::new()
        .alloc("arena_alloc")
        .site("main", "a.c", 10, read())
        .site("serve", "a.c", 20, read())
        .site("main", "a.c", 30, dropped("nobody reads it"))
        .build();
    ProcessFacts { scans: scans.to_vec(), ..facts }
}

/// At `mark` (0: the end), before the arena's event of order `before`: of its blocks these are unreached.
fn scan(mark: u64, before: u64, blocks: u64, unreached: &[u64]) -> Scan {
    let unreached = unreached.iter().map(|address| Unreached { address: Address(*address), by_offset: false });
    let unreached: Vec<Unreached> = unreached.collect();
    let reached = blocks - unreached.len() as u64;
    let arena = ScannedArena { arena: ArenaKey(1), before, blocks, reached, unreached };
    Scan { mark: (mark > 0).then_some(mark), bytes: 1 << 20, arenas: vec![arena] }
}

fn judge(scans: &[Scan], story: Table) -> Vec<Finding> {
    judge_with(&facts(scans), story)
}

fn judge_with(facts: &ProcessFacts, story: Table) -> Vec<Finding> {
    let found = findings(facts, story.events(), |_| None::<Vec<u8>>);
    found.into_iter().filter(|one| one.rule == "unreachable").collect()
}

/// Blocks of 2 KiB: kept ones from site 0, temporaries from site 1, in turn. Orders 0 to 2 × `rounds` - 1.
fn served(rounds: u64) -> Table {
    (0..rounds).fold(Table::new().map(0x10_0000, 1 << 20), |story, round| {
        let base = 0x10_0000 + round * 0x1000;
        story.at(0).alloc(1, base, 2048).at(1).alloc(1, base + 0x800, 2048)
    })
}

/// The temporaries of the first rounds.
fn lost(rounds: u64) -> Vec<u64> {
    (0..rounds).map(|round| 0x10_0800 + round * 0x1000).collect()
}

fn one(found: &[Finding]) -> (Class, Certainty, u64, u64) {
    let [finding] = found else { panic!("one finding: {found:#?}") };
    (finding.class, finding.certainty, finding.count, finding.bytes)
}

#[test]
fn one_scan_is_a_note_with_the_line() {
    let found = judge(&[scan(0, 8, 8, &lost(4))], served(4).exit(0));
    assert_eq!(one(&found), (Class::Note, Certainty::Possible, 4, 8192));
    assert_eq!(found[0].message, "8 KiB in 4 blocks of arena 1: nothing points at them any more");
    assert_eq!(
        found[0].because,
        "at the end all 1 MiB of the process's memory were read: pointers lead to 4 of the 8 blocks there, and to none of these"
    );
    assert_eq!(found[0].block.map(|block| (block.number, block.offset)), Some((2, 0x800)));
}

#[test]
fn two_scans_that_agree_on_a_line_that_goes_on_are_a_finding() {
    let found = judge(&[scan(1, 4, 4, &lost(2)), scan(0, 8, 8, &lost(4))], served(4).exit(0));
    assert_eq!(one(&found), (Class::Finding, Certainty::Likely, 4, 8192));
    assert!(found[0].because.ends_with("; 2 of them were unreached at mark 1 already"), "{}", found[0].because);
    // Lost once, and no more since: the line may do so once in every run.
    let once = judge(&[scan(1, 8, 8, &lost(4)), scan(0, 8, 8, &lost(4))], served(4).exit(0));
    assert_eq!(one(&once).0, Class::Note);
    // Reached at the mark, lost later.
    let later = judge(&[scan(1, 4, 4, &[]), scan(0, 8, 8, &lost(4))], served(4).exit(0));
    assert_eq!(one(&later).0, Class::Note);
}

#[test]
fn a_block_that_came_after_the_scan_is_not_meant() {
    // The scan at the end came before the last round.
    let found = judge(&[scan(0, 6, 6, &lost(4))], served(4).exit(0));
    assert_eq!(one(&found).2, 3);
}

#[test]
fn arenas_that_are_emptied_are_silent() {
    let scans = [scan(1, 4, 4, &lost(2)), scan(0, 8, 8, &lost(4))];
    assert_eq!(judge(&scans, served(4).exit(0)).len(), 1);
    assert!(judge(&scans, served(4).destroy(1).exit(0)).is_empty());
    assert!(judge(&scans, served(4).unmap(0x10_0000, 1 << 20).exit(0)).is_empty());
    // A mark that was taken may be gone back to.
    assert!(judge(&scans, served(4).mark(1, 0x10_4000).exit(0)).is_empty());
    let emptied = Table::new().map(0x10_0000, 1 << 20).alloc(1, 0x10_0000, 64).reset(1);
    let again = served(4).events().into_iter().skip(2).fold(emptied, |story, event| story.event(event.kind));
    assert!(judge(&[scan(0, 8, 8, &lost(4))], again).is_empty());
}

#[test]
fn arenas_that_do_not_live_by_pointers_are_silent() {
    // Fewer than a quarter of the blocks are pointed at: indices, or a root that is gone.
    let most = |kept: &[u64]| {
        lost(4).into_iter().chain(kept.iter().map(|kept| 0x10_0000 + kept * 0x1000)).collect::<Vec<u64>>()
    };
    assert_eq!(judge(&[scan(0, 8, 8, &most(&[0, 1]))], served(4).exit(0)).len(), 2);
    assert!(judge(&[scan(0, 8, 8, &most(&[0, 1, 2]))], served(4).exit(0)).is_empty());
    // Pointed at, but these are known by offset.
    let mut offsets = scan(0, 8, 8, &lost(4));
    for at in [0, 2] {
        offsets.arenas[0].unreached[at].by_offset = true;
    }
    assert!(judge(std::slice::from_ref(&offsets), served(4).exit(0)).is_empty());
    offsets.arenas[0].unreached[0].by_offset = false;
    assert_eq!(judge(&[offsets], served(4).exit(0)).len(), 1, "one of four may be chance");
}

#[test]
fn little_is_not_worth_a_note() {
    let small = |count: u64, size: u64| {
        (0..count).fold(Table::new().map(0x10_0000, 1 << 22), |story, block| {
            let story = story.at(0).alloc(1, 0x10_0000 + block * 0x4000, 2048);
            if block == 0 { story.at(1).alloc(1, 0x10_0800, size) } else { story }
        })
    };
    assert!(judge(&[scan(0, 9, 9, &lost(1))], small(8, 1024).exit(0)).is_empty(), "a tenth is wanted");
    assert!(judge(&[scan(0, 2, 2, &lost(1))], small(1, 255).exit(0)).is_empty(), "and 256 bytes");
    assert_eq!(judge(&[scan(0, 2, 2, &lost(1))], small(1, 256).exit(0)).len(), 1);
    assert_eq!(judge(&[scan(0, 101, 101, &lost(1))], small(100, 4096).exit(0)).len(), 1, "or 4 KiB");
}

#[test]
fn what_others_say_or_nobody_knows_is_silent() {
    let scans = [scan(0, 8, 8, &lost(4))];
    // No scan at the end: what lives there is not known.
    assert!(judge(&[scan(1, 8, 8, &lost(4))], served(4).exit(0)).is_empty());
    // Thrown away: never-stored has it.
    let thrown = served(4).events().into_iter().fold(Table::new().at(2), |story, event| story.event(event.kind));
    assert!(judge(&scans, thrown).is_empty());
    let lossy = ProcessFacts { lost: Facts::new().lost(1).build().lost, ..facts(&scans) };
    assert!(judge_with(&lossy, served(4).exit(0)).is_empty());
    let forked = ProcessFacts { fork_id: 7, ..facts(&scans) };
    assert!(judge_with(&forked, served(4).exit(0)).is_empty());
}

//! The first screen over hand-made view models, against goldens in place.

use arenascope_event::{Address, CaptureReason, EventNumber, Frame, Lost, ThreadNumber};
use arenascope_findings::{ArenaRef, BlockRef, Certainty, Class, Evidence, Finding, SiteRole};
use arenascope_replay::ArenaId;
use arenascope_report::style::Style;
use arenascope_report::view::*;
use arenascope_report::{finding, screen};
use expect_test::{Expect, expect};
use std::sync::Arc;

fn site(function: &str, line: u32, source: &str) -> Arc<Site> {
    Arc::new(Site {
        frames: vec![Frame {
            address: Address(0x401200),
            function: function.into(),
            file: "/src/labs/09b_arena_scope_leak_tracer.c".into(),
            line,
            module: "/tmp/09b".into(),
            inlined: false,
        }],
        source: source.into(),
        process: None,
    })
}

fn seed_09b() -> RunView {
    let mut bytes = vec![0u8; 128];
    bytes[..15].copy_from_slice(b"First block ok.");
    bytes[32..49].copy_from_slice(b"Second block too.");
    bytes[96..128]
        .copy_from_slice("This will overwri \u{1f921} Oops!\0\0\0\0".as_bytes().get(..32).unwrap_or(&[0; 32]));
    let blocks = (0..4)
        .map(|i| BlockView {
            number: i + 1,
            address: 0x7f00_0000_0000 + i * 32,
            extent: 0,
            offset: i * 32,
            size: 32,
            site: Some(site("main", 60 + i as u32, "")),
            born: i + 2,
            inherited: false,
            flag: (i == 2).then_some("nobody's"),
            holds: Vec::new(),
        })
        .collect();
    let arena = ArenaView {
        id: 1,
        name: "arena".into(),
        object: 0x7ffc_0000_0000,
        malloc: None,
        capacity: Some(256),
        mapped: 4096,
        bound: Some(256),
        birth: Birth {
            event: 1,
            site: Some(site("main", 61, "arena_init(&arena, ARENA_SIZE);")),
            created: true,
            inherited: false,
        },
        end: Some(End { event: 7, site: Some(site("main", 84, "arena_free(&arena);")), how: "destroyed" }),
        peak_bytes: 128,
        peak_event: 5,
        blocks_ever: 4,
        frees: 0,
        resets: 0,
        rewinds: 0,
        threads: vec![1],
        refused: None,
        drawn_at: 6,
        extents: vec![ExtentView {
            number: 1,
            start: 0x7f00_0000_0000,
            len: 256,
            mapped: 4096,
            kind: ExtentView::MAPPING,
            top_chunk: None,
        }],
        blocks,
        bytes: vec![BytesView {
            event: 7,
            reason: CaptureReason::Destroy,
            address: 0x7f00_0000_0000,
            bytes,
            wanted: 128,
        }],
        forgotten_blocks: 0,
        sampled: None,
    };
    let finding = FindingView {
        claim: Finding {
            rule: "never-stored",
            class: Class::Finding,
            certainty: Certainty::Certain,
            message: "32 bytes at +64, block 3 of arena 1: allocated, and nobody kept them".into(),
            arena: Some(ArenaRef { id: ArenaId(1), name: "arena".into() }),
            block: Some(BlockRef { number: 3, extent: 1, offset: 64, size: 32 }),
            moment: EventNumber(4),
            threads: vec![ThreadNumber(1)],
            sites: Vec::new(),
            calls: Vec::new(),
            because: "after the call main calls puts, and the result is overwritten before anything reads it".into(),
            evidence: Vec::new(),
            disproof: "an instruction that reads rax between the call and its next write".into(),
            next: "keep the pointer, or drop the call".into(),
            count: 1,
            bytes: 32,
        },
        sites: vec![(
            SiteRole::Allocated,
            site("main", 71, "arena_alloc(&arena, BLOCK_SIZE); // not assigned to any variable"),
        )],
        process: None,
    };
    let watched = ["arena_init", "arena_alloc", "arena_free"].map(|function| WatchedFunction {
        function: function.into(),
        role: "alloc",
        declaration: String::new(),
        sight: Sight::Full,
        markers: None,
    });
    RunView {
        trace: "09b_arena_scope_leak_tracer.4711.ascope".into(),
        program: "./09b".into(),
        pid: 4711,
        outcome: Outcome::Exited(0),
        watched: watched.into(),
        chosen_by: ChosenBy::Shape,
        arenas: vec![arena],
        findings: vec![finding],
        events: 7,
        ..RunView::default()
    }
}

fn check(run: &RunView, style: Style, expected: Expect) {
    let mut text = String::new();
    screen::write(&mut text, run, "/src", &style).expect("a String takes everything");
    expected.assert_eq(&text);
}

#[test]
fn the_seeds_09b() {
    check(
        &seed_09b(),
        Style::PIPE,
        expect![[r#"
            watched  arena_init, arena_alloc, arena_free (found by shape)

            arena 1 "arena"   256 B in a 4 KiB mapping   peak 128 B (50 %)   4 blocks
              created    main  09b_arena_scope_leak_tracer.c:61
              destroyed  main  09b_arena_scope_leak_tracer.c:84
              +0 │1▒▒ 32 ▒▒▒│2▒▒ 32 ▒▒▒│3 nobody's │4▒▒ 32 ▒▒▒│················ 128 free ·················│ +256
              First block ok..................Second block too................................................Th
              is will overwri .... Oops!....

            finding 1   never-stored   certain
              32 bytes at +64, block 3 of arena 1: allocated, and nobody kept them
                allocated  main  09b_arena_scope_leak_tracer.c:71   arena_alloc(&arena, BLOCK_SIZE); // not ass…
              where      block 3 of arena 1 "arena", 32 bytes at +64 · event 4 of 7 · thread 1
              because    after the call main calls puts, and the result is overwritten before anything reads it
              next       keep the pointer, or drop the call

            1 finding, 0 notes · 7 events, 0 lost · trace 09b_arena_scope_leak_tracer.4711.ascope
              arenascope show 09b_arena_scope_leak_tracer.4711.ascope --at '#4'
        "#]],
    );
}

#[test]
fn the_same_in_ascii_on_a_narrow_screen() {
    let run = seed_09b();
    let style = Style { width: 64, colour: false, plain: true };
    let mut text = String::new();
    screen::write(&mut text, &run, "/src", &style).expect("a String takes everything");
    assert!(text.is_ascii());
    check(
        &run,
        style,
        expect![[r#"
            watched  arena_init, arena_alloc, arena_free (found by shape)

            arena 1 "arena"   256 B in a 4 KiB mapping   peak 128 B (50 %)
              4 blocks
              created    main  09b_arena_scope_leak_tracer.c:61
              destroyed  main  09b_arena_scope_leak_tracer.c:84
              +0 |1# 32 #|2# 32 #|3 nobody's |4# 32 #|... 128 free ...| +256
              First block ok..................Second block too..............
              ..................................This will overwri .... Oops!
              ....

            finding 1   never-stored   certain
              32 bytes at +64, block 3 of arena 1: allocated, and nobody
              kept them
                allocated  main  09b_arena_scope_leak_tracer.c:71
                           arena_alloc(&arena, BLOCK_SIZE); // not assign...
              where      block 3 of arena 1 "arena", 32 bytes at +64
                           event 4 of 7, thread 1
              because    after the call main calls puts, and the result is
                         overwritten before anything reads it
              next       keep the pointer, or drop the call

            1 finding, 0 notes, 7 events, 0 lost
              trace 09b_arena_scope_leak_tracer.4711.ascope
              arenascope show 09b_arena_scope_leak_tracer.4711.ascope --at '#4'
        "#]],
    );
}

#[test]
fn nothing_found_says_how_to_name_an_allocator() {
    let mut run = RunView { trace: "my trace.1.ascope".into(), program: "./a b".into(), ..RunView::default() };
    check(
        &run,
        Style::PIPE,
        expect![[r#"
            watched  no function

            no arena seen: no function that hands out blocks was found or named
              name the functions of your allocator, for instance
              arenascope run --alloc 'my_alloc(arena, size) -> block' -- './a b'
              or compile with -g, so that they can be found by shape (--explain tells what was considered)

            0 findings, 0 notes · 0 events, 0 lost · trace 'my trace.1.ascope'
              arenascope log 'my trace.1.ascope'
        "#]],
    );
    run.watched = vec![WatchedFunction {
        function: "pool_get".into(),
        role: "alloc",
        declaration: String::new(),
        sight: Sight::None("every call was inlined by the compiler; compile with -fno-inline to see it".into()),
        markers: None,
    }];
    run.chosen_by = ChosenBy::User;
    check(
        &run,
        Style::PIPE,
        expect![[r#"
            watched  no function
              not seen  pool_get: every call was inlined by the compiler; compile with -fno-inline to see it

            no arena seen: no function that hands out blocks was found or named
              name the functions of your allocator, for instance
              arenascope run --alloc 'my_alloc(arena, size) -> block' -- './a b'
              or compile with -g, so that they can be found by shape (--explain tells what was considered)

            0 findings, 0 notes · 0 events, 0 lost · trace 'my trace.1.ascope'
              arenascope log 'my trace.1.ascope'
        "#]],
    );
}

#[test]
fn a_pattern_that_nothing_matches_names_what_there_is() {
    let mut run = seed_09b();
    run.arenas.clear();
    run.findings.clear();
    run.unmatched = (1..=9).map(|id| (id, if id == 9 { "last".into() } else { format!("pool {id}") })).collect();
    check(
        &run,
        Style::PIPE,
        expect![[r#"
            watched  arena_init, arena_alloc, arena_free (found by shape)

            no arena of this number or name; 9 arenas were seen:
              arena 1 "pool 1", arena 2 "pool 2", arena 3 "pool 3", arena 4 "pool 4", arena 5 "pool 5", arena 6
              "pool 6", arena 7 "pool 7", arena 8 "pool 8", … 1 more

            0 findings, 0 notes · 7 events, 0 lost · trace 09b_arena_scope_leak_tracer.4711.ascope
              arenascope log 09b_arena_scope_leak_tracer.4711.ascope
        "#]],
    );
}

#[test]
fn a_share_is_told_only_of_a_bound_that_stood() {
    let mut run = seed_09b();
    let mut heading = |peak, bound| {
        let mut text = String::new();
        run.arenas[0].peak_bytes = peak;
        run.arenas[0].bound = bound;
        screen::write(&mut text, &run, "/src", &Style::PIPE).expect("a String takes everything");
        text.lines().find(|line| line.contains("peak")).unwrap_or_default().to_owned()
    };
    assert!(heading(128, Some(256)).contains("peak 128 B (50 %)"));
    assert!(!heading(128, None).contains('%'));
}

#[test]
fn trouble_is_told_loudly() {
    let mut run = seed_09b();
    run.watched[1].sight = Sight::Partly(
        "3 of 5 calls were inlined (pool.c:40, pool.c:57, main.c:12) and are not seen; compile with -fno-inline".into(),
    );
    run.outcome = Outcome::Killed(11);
    run.lost = Lost { no_space: 1204, reentered: 1, capture_bytes: 8192, ..Lost::default() };
    run.damage = vec!["bytes 8192..8256: checksum of a segment does not match".into()];
    run.children = vec![
        ChildView {
            pid: 4712,
            event: 5,
            fork_id: 0,
            trace: Some("x.4712.ascope".into()),
            tally: "1 finding, 0 notes".into(),
            fate: ChildFate::Unknown,
        },
        ChildView { pid: 4713, event: 6, fork_id: 0, trace: None, tally: String::new(), fate: ChildFate::Unknown },
        ChildView {
            pid: 4714,
            event: 7,
            fork_id: 0,
            trace: Some("x.4714.ascope".into()),
            tally: "0 findings, 0 notes".into(),
            fate: ChildFate::Runs,
        },
        ChildView { pid: 4715, event: 8, fork_id: 0, trace: None, tally: String::new(), fate: ChildFate::Idle },
        ChildView { pid: 4716, event: 9, fork_id: 0, trace: None, tally: String::new(), fate: ChildFate::Idle },
    ];
    run.groups = vec![
        ArenaGroup { count: 4812, site: Some(site("serve", 12, "")), peak: 8192, malloc: false },
        ArenaGroup { count: 1, site: None, peak: 100, malloc: false },
    ];
    let arena = &mut run.arenas[0];
    arena.refused = Some(Refusals { count: 3, event: 6, size: 512, site: Some(site("fill", 33, "")) });
    arena.threads = (1..=20).collect();
    arena.resets = 2;
    arena.birth.created = false;
    arena.end = None;
    arena.name = "evil\x1b[2J".into();
    run.findings.clear();
    check(
        &run,
        Style::PIPE,
        expect![[r#"
            watched  arena_init, arena_alloc, arena_free (found by shape)
              partly    arena_alloc: 3 of 5 calls were inlined (pool.c:40, pool.c:57, main.c:12) and are not
                        seen; compile with -fno-inline

            arena 1 "evil\x1b[2J"   256 B in a 4 KiB mapping   peak 128 B (50 %)   4 blocks   2 resets
              first seen main  09b_arena_scope_leak_tracer.c:61   (no create function was seen)
              threads    1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12…
              refused    3 calls returned NULL; the first asked for 512 B at #6  fill  09b_arena_scope_leak_tracer.c:33
              +0 │1▒▒ 32 ▒▒▒│2▒▒ 32 ▒▒▒│3 nobody's │4▒▒ 32 ▒▒▒│················ 128 free ·················│ +256
              First block ok..................Second block too................................................Th
              is will overwri .... Oops!....

            … and 4,812 more created at 09b_arena_scope_leak_tracer.c:12 (peak at most 8 KiB each)
            … and 1 more created at unknown places (peak 100 B)

            ended    killed by SIGSEGV
            forked   process 4712 at #5 · 1 finding, 0 notes · trace x.4712.ascope
            forked   process 4713 at #6 · it was not recorded
            forked   process 4714 at #7 · it still runs, names follow when it ends · trace x.4714.ascope
            forked   2 processes · they did nothing in an arena, and left no trace
            LOST  1,204 events: no space left for the trace; blocks, peaks and findings may be missing
            LOST  1 event: they came from signal handlers that interrupted the recorder
            LOST  8 KiB of memory not saved: beyond 1 MiB of one span or 256 MiB in all, no space for the trace,
            or seccomp in the way
            DAMAGED  bytes 8192..8256: checksum of a segment does not match
            0 findings, 0 notes · 7 events, 1,205 lost · trace 09b_arena_scope_leak_tracer.4711.ascope
              arenascope show 09b_arena_scope_leak_tracer.4711.ascope --at '#5'
        "#]],
    );
}

#[test]
fn a_chunked_arena_has_a_line_per_range() {
    let mut run = seed_09b();
    run.findings.clear();
    let arena = &mut run.arenas[0];
    arena.capacity = None;
    arena.mapped = 8 * 1024 * 12;
    arena.bound = Some(arena.mapped);
    arena.bytes.clear();
    arena.extents = (0..12)
        .map(|i| ExtentView {
            number: i as u32 + 1,
            start: 0x1000_0000 + i * 0x10000,
            len: 8192,
            mapped: 8192,
            kind: ExtentView::HEAP,
            top_chunk: None,
        })
        .collect();
    arena.blocks = (0..1200)
        .map(|i| BlockView {
            number: i + 1,
            address: 0,
            extent: (i / 100) as usize,
            offset: 16 + (i % 100) * 80,
            size: 72 - i % 3,
            site: None,
            born: i + 2,
            inherited: false,
            flag: None,
            holds: Vec::new(),
        })
        .collect();
    arena.blocks_ever = 1200;
    arena.peak_bytes = 1200 * 71;
    arena.peak_event = 1201;
    check(
        &run,
        Style::PIPE,
        expect![[r#"
            watched  arena_init, arena_alloc, arena_free (found by shape)

            arena 1 "arena"   12 malloc blocks of 96 KiB in all   peak 83.2 KiB (87 %)   1,200 blocks
              created    main  09b_arena_scope_leak_tracer.c:61
              destroyed  main  09b_arena_scope_leak_tracer.c:84
               1  +0 │1-13▒▒▒│14-26▒▒▒▒│27-39▒▒▒▒│40-51▒▒▒│52-64▒▒▒│65-77▒▒▒│78-90▒▒▒│91-100▒▒│ 184 free │ +8192
               2  +0 │101-113▒▒│114-126▒▒│127-139▒▒│140-151▒│152-164▒▒│165-177▒│178-190▒│191-200│185 free│ +8192
               3  +0 │201-213▒▒│214-226▒▒│227-239▒▒│240-251▒│252-264▒▒│265-277▒│278-290▒│291-300│186 free│ +8192
               4  +0 │301-313▒▒│314-326▒▒│327-339▒▒│340-351▒│352-364▒▒│365-377▒│378-390▒│391-400│184 free│ +8192
               5  +0 │401-413▒▒│414-426▒▒│427-439▒▒│440-451▒│452-464▒▒│465-477▒│478-490▒│491-500│185 free│ +8192
               6  +0 │501-513▒▒│514-526▒▒│527-539▒▒│540-551▒│552-564▒▒│565-577▒│578-590▒│591-600│186 free│ +8192
              … 6 more ranges: 48 KiB, 600 blocks
              1,200 blocks of 83.2 KiB in all: 400 x 72 B, 400 x 71 B, 400 x 70 B

            0 findings, 0 notes · 7 events, 0 lost · trace 09b_arena_scope_leak_tracer.4711.ascope
              arenascope show 09b_arena_scope_leak_tracer.4711.ascope --at '#1201'
        "#]],
    );
}

/// A finding with bytes: what is damaged is marked below the bytes, the untouched rest is folded.
#[test]
fn evidence_is_bytes_with_marks() {
    let mut run = seed_09b();
    let mut bytes = vec![0xfd; 64];
    bytes[..6].copy_from_slice(b"evil\x1b\0");
    let claim = &mut run.findings[0].claim;
    claim.evidence = vec![Evidence {
        label: "behind block 3".into(),
        address: Address(0x7f00_0000_0060),
        offset: 32,
        bytes,
        damaged: vec![0..4, 5..6],
    }];
    claim.threads = vec![ThreadNumber(1), ThreadNumber(4)];
    claim.moment = EventNumber(1204);
    run.events = 9310;
    let names = screen::file_names(&run, "/src");
    let told = |style: Style| {
        let mut text = String::new();
        finding::list(&mut text, &run, &names, &style).expect("a String takes everything");
        text
    };
    expect![[r#"
        finding 1   never-stored   certain
          32 bytes at +64, block 3 of arena 1: allocated, and nobody kept them
            allocated  main  09b_arena_scope_leak_tracer.c:71   arena_alloc(&arena, BLOCK_SIZE); // not ass…
          where      block 3 of arena 1 "arena", 32 bytes at +64 · event 1,204 of 9,310 · threads 1, 4
          because    after the call main calls puts, and the result is overwritten before anything reads it
          bytes      behind block 3 (+32 at 0x7f0000000060)
            +32  65 76 69 6c 1b 00 fd fd  fd fd fd fd fd fd fd fd  evil............
                 ^^ ^^ ^^ ^^    ^^                                 ^^^^ ^
            +48  fd fd fd fd fd fd fd fd  fd fd fd fd fd fd fd fd  ................
              …  32 bytes more
          disproof   an instruction that reads rax between the call and its next write
          next       keep the pointer, or drop the call

        1 finding, 0 notes
    "#]]
    .assert_eq(&told(Style::PIPE));
    let coloured = told(Style { colour: true, ..Style::PIPE });
    let mut stripped = coloured.clone();
    while let Some(start) = stripped.find('\x1b') {
        let end = start + stripped[start..].find('m').expect("a sequence of ours ends in m");
        stripped.replace_range(start..=end, "");
    }
    assert_eq!(stripped, told(Style::PIPE), "colour adds nothing but colour");
    assert!(coloured.contains("\x1b[1;31m65\x1b[0m"), "{coloured}");
}

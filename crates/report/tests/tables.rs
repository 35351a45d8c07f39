//! Event tables through replay, rules and views: what the user reads of the seed's 09b and of what it does not have.

use arenascope_event::*;
use arenascope_findings::{Watch, findings, never_kept};
use arenascope_replay::{Replay, State};
use arenascope_report::gather::{Gatherer, Selection, Sources, finding_view};
use arenascope_report::hindsight::Hindsight;
use arenascope_report::json_log::JsonLog;
use arenascope_report::narrate::Narrator;
use arenascope_report::pattern::ArenaPattern;
use arenascope_report::style::Style;
use arenascope_report::view::{Moment, RunView};
use arenascope_report::{finding, json, screen, snapshot};
use expect_test::{Expect, expect};
use serde_json::Value;

const BASE: u64 = 0x7f00_0000_0000;
const OBJECT: u64 = 0x7ffc_0000_1000;
const ARENA: ArenaKey = ArenaKey(0);

fn decl(role: Role, function: &str, arguments: &[Argument], result: Result_) -> HookFact {
    HookFact {
        decl: RoleDecl { role, function: function.into(), arguments: arguments.to_vec(), result },
        module: "/tmp/09b".into(),
        address: Address(0x40_1000),
        status: HookStatus::Watched,
        synchronises: Default::default(),
        markers: None,
    }
}

fn site(line: u32, source: &str, fate: FateKind) -> SiteFacts {
    let address = Address(0x40_2000 + u64::from(line));
    let frame = |function: &str, file: &str, line, address| Frame {
        address,
        function: function.into(),
        file: file.into(),
        line,
        module: "09b".into(),
        inlined: false,
    };
    SiteFacts {
        place: None,
        addresses: vec![address, Address(0x7f11_0000_0000)],
        frames: vec![
            frame("main", "/src/labs/09b.c", line, address),
            frame("__libc_start_main", "", 0, Address(0x7f11_0000_0000)),
        ],
        source: source.into(),
        fate: Fate {
            kind: fate,
            depth: 0,
            because: "after the call main calls puts, and the result is overwritten before anything reads it".into(),
        },
    }
}

fn facts() -> ProcessFacts {
    use Argument::{Arena, Size};
    ProcessFacts {
        pid: 4711,
        program: "/tmp/09b".into(),
        wait_status: Some(0),
        watched: Watched::FoundByShape,
        hooks: vec![
            decl(Role::Create, "arena_init", &[Arena, Size], Result_::Ignored),
            decl(Role::Alloc, "arena_alloc", &[Arena, Size], Result_::Block),
            decl(Role::Destroy, "arena_free", &[Arena], Result_::Ignored),
        ],
        sites: vec![
            site(61, "arena_init(&arena, ARENA_SIZE);", FateKind::Unknown),
            site(64, "char *a = arena_alloc(&arena, BLOCK_SIZE);", FateKind::Read),
            site(65, "char *b = arena_alloc(&arena, BLOCK_SIZE);", FateKind::Read),
            site(71, "arena_alloc(&arena, BLOCK_SIZE);", FateKind::Dropped),
            site(75, "char *c = arena_alloc(&arena, BLOCK_SIZE);", FateKind::Read),
            site(84, "arena_free(&arena);", FateKind::Unknown),
        ],
        ..ProcessFacts::default()
    }
}

fn events(kinds: Vec<(Option<u32>, EventKind)>) -> Vec<Event> {
    kinds
        .into_iter()
        .zip(1u64..)
        .map(|((site, kind), number)| Event {
            number: EventNumber(number),
            time_ns: number * 12_500,
            thread: ThreadNumber(1),
            site: site.map(SiteId),
            kind,
        })
        .collect()
}

fn alloc(order: u64, block: u64, size: u64) -> EventKind {
    EventKind::Alloc { arena: ARENA, order, block: Address(block), size, align: None }
}

fn seed_09b() -> Vec<Event> {
    events(vec![
        (None, EventKind::ArenaSeen { arena: ARENA, object: Address(OBJECT) }),
        (Some(0), EventKind::Map { address: Address(BASE), len: 4096, protection: 3, flags: 0x22, observed: false }),
        (Some(0), EventKind::Create { arena: ARENA, order: 0, size: Some(256), parent: None, name: None, nested: 2 }),
        (Some(1), alloc(1, BASE, 32)),
        (Some(2), alloc(2, BASE + 32, 32)),
        (Some(3), alloc(3, BASE + 64, 32)),
        (Some(4), alloc(4, BASE + 96, 32)),
        (
            Some(5),
            EventKind::Capture {
                arena: ARENA,
                reason: CaptureReason::Destroy,
                base: Address(BASE),
                len: 4096,
                bytes: BlobId(0),
            },
        ),
        (Some(5), EventKind::Destroy { arena: ARENA, order: 5 }),
        (Some(5), EventKind::Unmap { address: Address(BASE), len: 4096 }),
        (None, EventKind::Exit { status: 0 }),
    ])
}

fn blob(_: BlobId) -> Option<Vec<u8>> {
    let mut bytes = vec![0u8; 4096];
    bytes[..15].copy_from_slice(b"First block ok.");
    bytes[32..49].copy_from_slice(b"Second block too.");
    bytes[96..119].copy_from_slice(b"This will overwri\xf0\x9f\xa4\xa1 O");
    Some(bytes)
}

struct Told {
    view: RunView,
    moment: Moment,
    log: String,
    json_log: String,
}

fn tell(facts: &ProcessFacts, events: &[Event], at: Option<u64>, selection: &Selection, style: Style) -> Told {
    let mut replay = Replay::new(facts);
    let mut watch = Watch::new();
    let mut gatherer = Gatherer::new(at.unwrap_or(u64::MAX));
    let found = findings(facts, events.iter().cloned(), blob);
    let hindsight = Hindsight::new(events.iter().cloned(), &found);
    let mut narrator = Narrator::new(facts, "/src", style).knowing(hindsight.clone());
    let mut lines = JsonLog::new(facts, hindsight);
    let (mut log, mut json_log) = (String::new(), String::new());
    lines.head("t.ascope", &mut json_log);
    let mut state: State = replay.state().clone();
    for event in events {
        let effect = replay.apply(event);
        gatherer.observe(event, &effect, replay.state());
        let captured = match event.kind {
            EventKind::Capture { bytes, .. } => blob(bytes),
            _ => None,
        };
        watch.observe(event, &effect, replay.state(), captured.as_deref().unwrap_or_default());
        narrator.line(event, &effect, replay.state(), &mut log);
        lines.event(event, &effect, replay.state(), &mut json_log);
        if at == Some(event.number.0) {
            state = replay.state().clone();
        }
    }
    if at.is_none() {
        state = replay.state().clone();
    }
    let told = watch.finish(replay.state(), facts).iter().map(|finding| finding_view(finding, facts)).collect();
    let never_kept = never_kept(&found);
    let sources = Sources {
        trace: "09b.4711.ascope",
        facts,
        parent: None,
        never_kept: &never_kept,
        blob: &blob,
        child_trace: &|_, _| None,
    };
    let view = gatherer.run_view(&state, told, selection, &sources);
    Told { view, moment: Moment { event: state.moment.0, time_ns: state.time_ns }, log, json_log }
}

fn all() -> Selection {
    Selection { pattern: None, living_only: false, most: 100, ranked: false }
}

fn check(text: impl FnOnce(&mut String), expected: Expect) {
    let mut out = String::new();
    text(&mut out);
    expected.assert_eq(&out);
}

#[test]
fn the_first_screen_of_09b() {
    let told = tell(&facts(), &seed_09b(), None, &Selection::GLANCE, Style::PIPE);
    check(
        |out| screen::write(out, &told.view, "/src", &Style::PIPE).expect("a String takes everything"),
        expect![[r#"
            watched  arena_init, arena_alloc, arena_free (found by shape)

            arena 1 "arena"   256 B in a 4 KiB mapping   peak 128 B (50 %)   4 blocks
              created    main  09b.c:61
              destroyed  main  09b.c:84
              +0 │1▒▒ 32 ▒▒▒│2▒▒ 32 ▒▒▒│3 nobody's │4▒▒ 32 ▒▒▒│················ 128 free ·················│ +256
              First block ok..................Second block too................................................Th
              is will overwri.... O.........

            finding 1   never-stored   certain
              32 bytes at +64, block 3 of arena 1: allocated, and nobody kept them
                allocated  main  09b.c:71   arena_alloc(&arena, BLOCK_SIZE);
              where      block 3 of arena 1 "arena", 32 bytes at +64 · event 6 of 11 · thread 1
              because    after the call main calls puts, and the result is overwritten before anything reads it;
                         at #8 the block's bytes are still zero
              next       keep the pointer, or drop the call

            1 finding, 0 notes · 11 events, 0 lost · trace 09b.4711.ascope
              arenascope show 09b.4711.ascope --at '#6'
        "#]],
    );
}

#[test]
fn a_snapshot_shows_what_lived_then_and_when_its_bytes_were_saved() {
    let living = Selection { living_only: true, ..all() };
    let told = tell(&facts(), &seed_09b(), Some(6), &living, Style::PIPE);
    check(
        |out| {
            snapshot::write(out, &told.view, told.moment, true, "/src", &Style::PIPE)
                .expect("a String takes everything")
        },
        expect![[r#"
            09b · pid 4711 · after #6 of 11 events · 75.00 us

            arena 1 "arena"   256 B in a 4 KiB mapping   peak 96 B (38 %)   3 blocks
              created    main  09b.c:61
              +0 │1▒▒ 32 ▒▒▒│2▒▒ 32 ▒▒▒│3 nobody's │······················ 160 free ······················│ +256
              bytes as they were at #8, before it was destroyed:
              First block ok..................Second block too................................................
                 block      offset        size  allocated
                     1          +0          32  #4  main  09b.c:64
                     2         +32          32  #5  main  09b.c:65
                     3         +64          32  #6  main  09b.c:71  nobody's
        "#]],
    );
    let told = tell(&facts(), &seed_09b(), Some(10), &living, Style::PIPE);
    check(
        |out| {
            snapshot::write(out, &told.view, told.moment, true, "/src", &Style::PIPE)
                .expect("a String takes everything")
        },
        expect![[r#"
            09b · pid 4711 · after #10 of 11 events · 125.00 us

            no arena lives at this moment
        "#]],
    );
}

/// Goldens lose the indentation that all their lines share: a first line without any keeps the rest as it is.
fn framed(log: &str) -> String {
    format!("log\n{log}")
}

#[test]
fn the_log_in_symbols_and_in_words() {
    let told = tell(&facts(), &seed_09b(), None, &all(), Style::PIPE);
    expect![[r#"
        log
            #1   12.50 us  t1  ·  an arena object at 0x7ffc00001000 came into sight
            #2   25.00 us  t1  ·  mmap: 4 KiB at 0x7f0000000000   main  09b.c:61
            #3   37.50 us  t1  🎯 arena_init(256) → arena 1 "arena"   main  09b.c:61
            #4   50.00 us  t1  ✅ arena_alloc(32) → 0x7f0000000000 (offset = 32)   block 1 at +0 of arena 1   main  09b.c:64
            #5   62.50 us  t1  ✅ arena_alloc(32) → 0x7f0000000020 (offset = 64)   block 2 at +32 of arena 1   main  09b.c:65
            #6   75.00 us  t1  ⚠️  arena_alloc(32) → 0x7f0000000040 (offset = 96): 32 bytes at +64: nobody keeps them   block 3 of arena 1   main  09b.c:71
            #7   87.50 us  t1  ✅ arena_alloc(32) → 0x7f0000000060 (offset = 128)   block 4 at +96 of arena 1   main  09b.c:75
            #8  100.00 us  t1  🧠 4,096 bytes at 0x7f0000000000 of arena 1 "arena" saved before it was destroyed   main  09b.c:84
            #9  112.50 us  t1  🧹 arena_free: arena 1 "arena" destroyed, 4 blocks of 128 B gone   main  09b.c:84
           #10  125.00 us  t1  ·  munmap: 4 KiB at 0x7f0000000000   main  09b.c:84
           #11  137.50 us  t1  ·  the process exits with status 0
    "#]].assert_eq(&framed(&told.log));
    let told = tell(&facts(), &seed_09b(), None, &all(), Style { plain: true, ..Style::PIPE });
    assert!(told.log.is_ascii());
    expect![[r#"
        log
            #1   12.50 us  t1  arena-seen an arena object at 0x7ffc00001000 came into sight
            #2   25.00 us  t1  map        mmap: 4 KiB at 0x7f0000000000   main  09b.c:61
            #3   37.50 us  t1  created    arena_init(256) -> arena 1 "arena"   main  09b.c:61
            #4   50.00 us  t1  alloc      arena_alloc(32) -> 0x7f0000000000 (offset = 32)   block 1 at +0 of arena 1   main  09b.c:64
            #5   62.50 us  t1  alloc      arena_alloc(32) -> 0x7f0000000020 (offset = 64)   block 2 at +32 of arena 1   main  09b.c:65
            #6   75.00 us  t1  nobody's   arena_alloc(32) -> 0x7f0000000040 (offset = 96): 32 bytes at +64: nobody keeps them   block 3 of arena 1   main  09b.c:71
            #7   87.50 us  t1  alloc      arena_alloc(32) -> 0x7f0000000060 (offset = 128)   block 4 at +96 of arena 1   main  09b.c:75
            #8  100.00 us  t1  dump       4,096 bytes at 0x7f0000000000 of arena 1 "arena" saved before it was destroyed   main  09b.c:84
            #9  112.50 us  t1  destroyed  arena_free: arena 1 "arena" destroyed, 4 blocks of 128 B gone   main  09b.c:84
           #10  125.00 us  t1  unmap      munmap: 4 KiB at 0x7f0000000000   main  09b.c:84
           #11  137.50 us  t1  exit       the process exits with status 0
    "#]].assert_eq(&framed(&told.log));
}

/// One event of every kind, with values that a program may have chosen to annoy.
fn everything() -> Vec<Event> {
    let arena = ARENA;
    let at = Address;
    events(vec![
        (None, EventKind::ModuleLoaded { module: 0 }),
        (None, EventKind::ModuleLoaded { module: 99 }),
        (None, EventKind::ThreadStart { tid: 4711, parent: None }),
        (None, EventKind::ThreadStart { tid: 4712, parent: Some(ThreadNumber(1)) }),
        (None, EventKind::ArenaSeen { arena, object: at(OBJECT) }),
        (None, EventKind::Map { address: at(BASE), len: 4096, protection: 3, flags: 0x22, observed: true }),
        (
            Some(0),
            EventKind::Create {
                arena,
                order: 0,
                size: Some(4096),
                parent: Some(ArenaKey(7)),
                name: Some("evil\x1b[31m\n\"name\u{202e}".into()),
                nested: 0,
            },
        ),
        (Some(1), alloc(1, BASE, 100)),
        (Some(2), alloc(2, BASE + 112, 8)),
        (Some(3), alloc(3, 0, u64::MAX)),
        (None, EventKind::Resize { arena, order: 4, old: at(BASE + 112), new: at(BASE + 112), size: 16 }),
        (None, EventKind::Resize { arena, order: 5, old: at(BASE + 112), new: at(0), size: 1 << 40 }),
        (None, EventKind::Mark { arena, order: 6, mark: MarkValue(BASE + 128) }),
        (Some(77), alloc(7, BASE + 128, 32)),
        (None, EventKind::Rewind { arena, order: 8, mark: MarkValue(BASE + 128) }),
        (None, EventKind::Free { arena, order: 9, block: at(BASE) }),
        (None, EventKind::Free { arena, order: 10, block: at(0x1234) }),
        (None, EventKind::Capture { arena, reason: CaptureReason::Reset, base: at(BASE), len: 128, bytes: BlobId(0) }),
        (None, EventKind::Reset { arena, order: 11 }),
        (None, EventKind::Remap { old: at(0x5000_0000), old_len: 4096, new: at(0x6000_0000), new_len: 8192 }),
        (None, EventKind::HeapAlloc { address: at(0x9000), size: 64 }),
        (None, EventKind::HeapFree { address: at(0x9000) }),
        (None, EventKind::Fork { child: 4713, fork_id: u64::MAX }),
        (None, EventKind::Fork { child: 0, fork_id: 1 }),
        (None, EventKind::Vfork),
        (None, EventKind::Unmap { address: at(BASE), len: 4096 }),
        (None, EventKind::ThreadExit),
        (None, EventKind::Exec { path: "/bin/\x07sh".into() }),
        (
            None,
            EventKind::Fault {
                signal: 11,
                address: at(8),
                pc: at(0x401000),
                synchronous: true,
                registers: Default::default(),
            },
        ),
        (
            None,
            EventKind::Fault {
                signal: 15,
                address: at(0),
                pc: at(0x401000),
                synchronous: false,
                registers: Default::default(),
            },
        ),
        (None, EventKind::Exit { status: -1 }),
    ])
}

fn everything_facts() -> ProcessFacts {
    ProcessFacts { modules: vec![Module { path: "/lib/x\x1b.so".into(), ..Module::default() }], ..facts() }
}

#[test]
fn every_kind_of_event_has_a_line_that_no_terminal_obeys() {
    let told = tell(&everything_facts(), &everything(), None, &all(), Style::PIPE);
    assert_eq!(told.log.lines().count(), everything().len());
    assert!(told.log.lines().all(|line| !line.chars().any(char::is_control)));
    expect![[r#"
        log
            #1   12.50 us  t1  ·  /lib/x\x1b.so is mapped
            #2   25.00 us  t1  ·  a module is mapped
            #3   37.50 us  t1  ·  thread 1 starts (tid 4711)
            #4   50.00 us  t1  ·  thread 1 starts (tid 4712, created by t1)
            #5   62.50 us  t1  ·  an arena object at 0x7ffc00001000 came into sight
            #6   75.00 us  t1  ·  mmap: 4 KiB at 0x7f0000000000, already there
            #7   87.50 us  t1  📦 arena_init(4096) → arena 1 "evil\x1b[31m\n"name\u{202e}"   main  09b.c:61
            #8  100.00 us  t1  ✅ arena_alloc(100) → 0x7f0000000000 (offset = 100)   block 1 at +0 of arena 1   main  09b.c:64
            #9  112.50 us  t1  ✅ arena_alloc(8) → 0x7f0000000070 (offset = 120)   block 2 at +112 of arena 1   main  09b.c:65
           #10  125.00 us  t1  ❌ arena_alloc(18446744073709551615) → NULL   in arena 1   main  09b.c:71
           #11  137.50 us  t1  ✅ resize(0x7f0000000070, 16) → 0x7f0000000070 (offset = 128)   block 2 at +112 of arena 1
           #12  150.00 us  t1  ❌ resize(0x7f0000000070, 1099511627776) → NULL   in arena 1
           #13  162.50 us  t1  ·  mark() → 0x7f0000000080   of arena 1
           #14  175.00 us  t1  ✅ arena_alloc(32) → 0x7f0000000080 (offset = 160)   block 3 at +128 of arena 1
           #15  187.50 us  t1  🧹 rewind(0x7f0000000080): arena 1 "evil\x1b[31m\n"name\u{202e}", 1 block of 32 B gone
           #16  200.00 us  t1  🧹 free(0x7f0000000000)   block 1 at +0 of arena 1
           #17  212.50 us  t1  🧹 free(0x1234)   no such block of arena 1
           #18  225.00 us  t1  🧠 128 bytes at 0x7f0000000000 of arena 1 "evil\x1b[31m\n"name\u{202e}" saved before a reset
           #19  237.50 us  t1  🧹 reset: arena 1 "evil\x1b[31m\n"name\u{202e}" emptied, 1 block of 16 B gone
           #20  250.00 us  t1  ·  mremap: 4 KiB at 0x50000000 → 8 KiB at 0x60000000
           #21  262.50 us  t1  ·  malloc(64) → 0x9000
           #22  275.00 us  t1  ·  free(0x9000)
           #23  287.50 us  t1  ·  process 4713 begins its own trace
           #24  300.00 us  t1  ·  a child process begins its own trace
           #25  312.50 us  t1  ·  a child process borrows our memory until it executes a program
           #26  325.00 us  t1  🧹 munmap: 4 KiB at 0x7f0000000000; arena 1 "evil\x1b[31m\n"name\u{202e}" ended
           #27  337.50 us  t1  ·  thread 1 ends
           #28  350.00 us  t1  ·  could not execute /bin/\x07sh
           #29  362.50 us  t1  ❌ SIGSEGV at address 0x8
           #30  375.00 us  t1  ❌ SIGTERM was sent
           #31  387.50 us  t1  ·  the process exits with status -1
    "#]].assert_eq(&framed(&told.log));
}

#[test]
fn every_line_of_the_json_log_parses_and_says_what_the_event_said() {
    let told = tell(&everything_facts(), &everything(), None, &all(), Style::PIPE);
    let lines: Vec<Value> = told
        .json_log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
        .collect();
    assert_eq!(lines[0]["format"], 1);
    assert_eq!(lines[0]["process"]["program"], "/tmp/09b");
    assert_eq!(lines[0]["lost"]["events"], 0);
    for (line, event) in lines[1..].iter().zip(everything()) {
        assert_eq!(line["event"], event.number.0);
        assert_eq!(line["time_ns"], event.time_ns);
        assert_eq!(line["kind"], event.kind.word());
        assert_eq!(line["site"].is_array(), event.site.is_some(), "{line}");
    }
    let of = |number: usize| &lines[number];
    assert_eq!(of(7)["name"], "evil\x1b[31m\n\"name\u{202e}");
    assert_eq!(of(8)["block"]["number"], 1);
    assert_eq!(of(9)["block"]["offset"], 112);
    assert_eq!(of(9)["block"]["address"], format!("{:#x}", BASE + 112));
    assert_eq!(of(9)["site"][0]["line"], 65);
    assert_eq!(of(10)["refused"], true);
    assert_eq!(of(10)["size"], u64::MAX);
    assert_eq!(of(15)["died"]["blocks"], 1);
    assert_eq!(of(23)["fork_id"], "0xffffffffffffffff");
    assert_eq!(of(26)["ended"][0], 1);
    assert_eq!(of(31)["status"], -1);
}

#[test]
fn json_of_snapshot_and_findings_parses_back() {
    let told = tell(&facts(), &seed_09b(), None, &all(), Style::PIPE);
    let show: Value = serde_json::from_str(&json::snapshot(&told.view, told.moment)).expect("JSON");
    assert_eq!(show["format"], 1);
    assert_eq!(show["process"]["exit_status"], 0);
    let arena = &show["arenas"][0];
    assert_eq!((&arena["capacity"], &arena["mapped_bytes"]), (&Value::from(256), &Value::from(4096)));
    assert_eq!(arena["blocks"].as_array().map(Vec::len), Some(4));
    assert_eq!(arena["blocks"][2]["flag"], "nobody's");
    assert_eq!(arena["bytes"][0]["hex"].as_str().map(str::len), Some(256));
    assert_eq!(arena["ended"]["site"][0]["line"], 84);

    let found: Value = serde_json::from_str(&json::findings(&told.view)).expect("JSON");
    assert_eq!(found["findings"].as_array().map(Vec::len), Some(1));
    let claim = &found["findings"][0];
    assert_eq!(claim["rule"], "never-stored");
    assert_eq!(claim["class"], "finding");
    assert_eq!(claim["process"]["pid"], 4711);
    assert_eq!(claim["arena"]["id"], 1);
    assert_eq!(claim["block"]["offset"], 64);
    assert_eq!(claim["sites"][0]["role"], "allocated");
    assert_eq!(claim["sites"][0]["line"], 71);
    assert_eq!(found["lost"]["events"], 0);
}

/// The map and the log mark a block as nobody's exactly when the rule accuses its site.
#[test]
fn the_marks_in_map_and_log_agree_with_the_rule() {
    for fate in [FateKind::Unknown, FateKind::Read, FateKind::Dropped, FateKind::Returned] {
        for argument in [Argument::Size, Argument::BlockOut] {
            let mut facts = facts();
            facts.sites[3].fate.kind = fate;
            facts.hooks[1].decl.arguments.push(argument);
            let told = tell(&facts, &seed_09b(), None, &all(), Style::PIPE);
            let accused = told.view.findings.iter().any(|finding| finding.claim.rule == "never-stored");
            let drawn = told.view.arenas[0].blocks.iter().any(|block| block.flag.is_some());
            assert_eq!(accused, drawn, "{fate:?} {argument:?}");
            assert_eq!(accused, told.log.contains("nobody keeps"), "{fate:?} {argument:?}");
        }
    }
}

#[test]
fn findings_in_full_tell_the_callers_and_what_would_disprove_them() {
    let told = tell(&facts(), &seed_09b(), None, &all(), Style::PIPE);
    let names = screen::file_names(&told.view, "/src");
    check(
        |out| finding::list(out, &told.view, &names, &Style::PIPE).expect("a String takes everything"),
        expect![[r#"
            finding 1   never-stored   certain
              32 bytes at +64, block 3 of arena 1: allocated, and nobody kept them
                allocated  main  09b.c:71   arena_alloc(&arena, BLOCK_SIZE);
                           __libc_start_main  09b 0x7f1100000000
              where      block 3 of arena 1 "arena", 32 bytes at +64 · event 6 of 11 · thread 1
              because    after the call main calls puts, and the result is overwritten before anything reads it;
                         at #8 the block's bytes are still zero
              disproof   an instruction after the call that reads the result before it is overwritten, on any
                         path; or another pointer that reaches the block: an array that grows by consecutive
                         calls, or whose last element is of zeros, an allocator that keeps the address in its
                         own struct; or a use that left nothing but zeros
              next       keep the pointer, or drop the call

            1 finding, 0 notes
        "#]],
    );
}

/// 5,000 arenas of two sites: the largest are told, the rest is counted.
#[test]
fn thousands_of_arenas_are_summed_up() {
    let mut kinds = Vec::new();
    for index in 0..5000u32 {
        let arena = ArenaKey(index);
        let object = Address(OBJECT + u64::from(index) * 64);
        let base = BASE + u64::from(index) * 8192;
        kinds.push((None, EventKind::ArenaSeen { arena, object }));
        kinds.push((
            None,
            EventKind::Map { address: Address(base), len: 4096, protection: 3, flags: 0x22, observed: false },
        ));
        let create = EventKind::Create { arena, order: 0, size: Some(4096), parent: None, name: None, nested: 1 };
        kinds.push((Some(index % 2 * 5), create));
        let block =
            EventKind::Alloc { arena, order: 1, block: Address(base), size: u64::from(index % 4096), align: None };
        kinds.push((Some(1), block));
    }
    let facts = ProcessFacts { wait_status: Some(9), ..facts() };
    let mut told = tell(&facts, &events(kinds), None, &Selection::GLANCE, Style::PIPE);
    assert_eq!(told.view.arenas.len(), 4, "two of each line");
    assert_eq!(told.view.groups.iter().map(|group| group.count).sum::<u64>(), 4996);
    told.view.arenas.truncate(1);
    check(
        |out| screen::write(out, &told.view, "/src", &Style::PIPE).expect("a String takes everything"),
        expect![[r#"
            watched  arena_init, arena_alloc, arena_free (found by shape)

            arena 4096 "arena"   4 KiB in a 4 KiB mapping   peak 4,095 B (100 %)   1 block
              created    main  09b.c:84
              +0 │1▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒ 4095 ▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒│ 1 free │ +4096

            … and 2,498 more created at 09b.c:84 (peak at most 4,091 B each)
            … and 2,498 more created at 09b.c:61 (peak at most 4,090 B each)

            ended    killed by SIGKILL
            0 findings, 0 notes · 20,000 events, 0 lost · trace 09b.4711.ascope
              arenascope show 09b.4711.ascope --at '#16384'
        "#]],
    );
    let one = Selection { pattern: Some(ArenaPattern::new("17")), ..all() };
    let told = tell(&facts, &[], None, &one, Style::PIPE);
    assert!(told.view.arenas.is_empty());
}

#[test]
fn narration_tells_what_happens_to_arenas_and_nothing_else() {
    let facts = facts();
    let mut replay = Replay::new(&facts);
    let mut narrator = Narrator::new(&facts, "/src", Style::PIPE);
    let mut told = String::new();
    for event in seed_09b() {
        let effect = replay.apply(&event);
        narrator.words(&event, &effect, replay.state(), &mut told);
    }
    expect![[r#"
        🎯 arena_init(256) → arena 1 "arena"
        ✅ arena_alloc(32) → 0x7f0000000000 (offset = 32)   block 1 at +0 of arena 1
        ✅ arena_alloc(32) → 0x7f0000000020 (offset = 64)   block 2 at +32 of arena 1
        ✅ arena_alloc(32) → 0x7f0000000040 (offset = 96)   block 3 at +64 of arena 1
        ✅ arena_alloc(32) → 0x7f0000000060 (offset = 128)   block 4 at +96 of arena 1
        🧠 4,096 bytes at 0x7f0000000000 of arena 1 "arena" saved before it was destroyed
        🧹 arena_free: arena 1 "arena" destroyed, 4 blocks of 128 B gone
    "#]]
    .assert_eq(&told);
}

/// A child that goes on allocating in the arena it inherited: sites of the parent's blocks are the parent's.
#[test]
fn inherited_blocks_are_told_by_the_parents_sites() {
    let parent = facts();
    let mut replay = Replay::new(&parent);
    for event in seed_09b().iter().take(5) {
        replay.apply(event);
    }
    let child = ProcessFacts {
        pid: 4712,
        parent_pid: 4711,
        fork_id: 9,
        sites: vec![site(200, "child's", FateKind::Read), site(201, "child's", FateKind::Dropped)],
        ..facts()
    };
    let events = events(vec![
        (None, EventKind::ArenaSeen { arena: ARENA, object: Address(OBJECT) }),
        (Some(0), alloc(0, BASE + 64, 32)),
    ]);
    let mut forked = Replay::forked(replay.state(), &child);
    let mut gatherer = Gatherer::new(u64::MAX);
    for event in &events {
        let effect = forked.apply(event);
        gatherer.observe(event, &effect, forked.state());
    }
    let view = |parent: Option<&ProcessFacts>| {
        let sources = Sources {
            trace: "t",
            facts: &child,
            parent,
            never_kept: &Default::default(),
            blob: &blob,
            child_trace: &|_, _| None,
        };
        gatherer.run_view(forked.state(), Vec::new(), &all(), &sources).arenas.remove(0)
    };
    let line = |block: &arenascope_report::view::BlockView| block.site.as_ref().map(|site| site.frames[0].line);
    let known = view(Some(&parent));
    assert!(known.birth.inherited);
    assert_eq!(known.birth.site.as_ref().map(|site| site.frames[0].line), Some(61));
    assert_eq!(known.blocks.iter().map(line).collect::<Vec<_>>(), [Some(64), Some(65), Some(200)]);
    assert!(known.blocks.iter().all(|block| block.flag.is_none()), "site 1 of the child is not that of block 1");
    let unknown = view(None);
    assert_eq!(unknown.blocks.iter().map(line).collect::<Vec<_>>(), [None, None, Some(200)]);
}

#[test]
fn one_capture_over_several_extents_shows_the_bytes_of_each() {
    let malloc = |address, size| (Some(0), EventKind::HeapAlloc { address: Address(address), size });
    let events = events(vec![
        (None, EventKind::ArenaSeen { arena: ARENA, object: Address(OBJECT) }),
        malloc(BASE, 48),
        (Some(1), alloc(0, BASE, 32)),
        malloc(BASE + 64, 64),
        (Some(2), alloc(1, BASE + 64, 40)),
        (Some(5), capture(CaptureReason::Exit, BASE, 104)),
    ]);
    let told = tell(&facts(), &events, None, &all(), Style::PIPE);
    let spans: Vec<_> = told.view.arenas[0].bytes.iter().map(|span| (span.address - BASE, span.wanted)).collect();
    assert_eq!(spans, [(0, 32), (64, 40)]);
    assert!(told.view.arenas[0].bytes[0].bytes.starts_with(b"First block ok."));
    assert_eq!(&told.view.arenas[0].bytes[1].bytes[32..], b"This wil");
}

#[test]
fn a_capture_over_adjacent_mappings_gives_each_arena_its_own_bytes() {
    let map =
        |address| EventKind::Map { address: Address(address), len: 4096, protection: 3, flags: 0x22, observed: false };
    let create =
        |order| EventKind::Create { arena: ARENA, order, size: Some(4096), parent: None, name: None, nested: 1 };
    let events = events(vec![
        (None, EventKind::ArenaSeen { arena: ARENA, object: Address(OBJECT) }),
        (Some(0), map(BASE + 4096)),
        (Some(0), create(0)),
        (Some(1), alloc(1, BASE + 4096, 20)),
        (Some(0), map(BASE)),
        (Some(0), create(2)),
        (Some(1), alloc(3, BASE, 15)),
        (Some(5), capture(CaptureReason::Exit, BASE, 4096 + 20)),
    ]);
    let told = tell(&facts(), &events, None, &all(), Style::PIPE);
    let of = |arena: usize| -> Vec<_> {
        told.view.arenas[arena].bytes.iter().map(|span| (span.address - BASE, span.wanted)).collect()
    };
    assert_eq!(of(0), [(4096, 20)]);
    assert_eq!(of(1), [(0, 15)]);
}

fn capture(reason: CaptureReason, base: u64, len: u64) -> EventKind {
    EventKind::Capture { arena: ARENA, reason, base: Address(base), len, bytes: BlobId(0) }
}

#[test]
fn a_narrow_screen_wraps_the_head_the_life_and_the_closing() {
    let narrow = Style { width: 40, ..Style::PIPE };
    let told = tell(&facts(), &seed_09b(), None, &Selection::GLANCE, narrow);
    let mut out = String::new();
    screen::write(&mut out, &told.view, "/src", &narrow).expect("a String takes everything");
    check(
        |text| {
            let kept = |line: &&str| {
                ["arena 1", "  peak", "  4 bl", "  created", "1 finding,", "  trace"]
                    .iter()
                    .any(|head| line.starts_with(head))
            };
            out.lines().filter(kept).for_each(|line| {
                text.push_str(line);
                text.push('\n');
            });
        },
        expect![[r#"
            arena 1 "arena"
              peak 128 B (50 %)   4 blocks
              created    main  09b.c:61
              4 blocks of 128 B in all: 4 x 32 B
            1 finding, 0 notes · 11 events, 0 lost
              trace 09b.4711.ascope
        "#]],
    );
}

//! Facts: kept in the tail, rebuilt from the events without one; sealed twice; captures in runs of segments.

use crate::build::{File, START, Writer};
use arenascope_event::{
    Address, ArenaKey, Argument, BlobId, CaptureReason, Fate, FateKind, Frame, HookFact, HookStatus, Lost, MarkerCount,
    Mode, Module, NullUse, ProcessFacts, Report, Result_, Role, RoleDecl, Scan, ScannedArena, SiteFacts, SiteId,
    Synchronises, Unreached, Used, Watched,
};
use arenascope_trace::layout::{self, SEGMENT_PAYLOAD};
use arenascope_trace::{DamageKind, MAX_FRAMES, Record, Trace};
use proptest::prelude::*;

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z_:<>]{0,12}", Just("arena_alloc".to_string()), Just(String::new())]
}

fn frame() -> impl Strategy<Value = Frame> {
    (0u64..50, text(), text(), any::<u32>(), text(), any::<bool>()).prop_map(
        |(address, function, file, line, module, inlined)| Frame {
            address: Address(0x40_0000 + address),
            function,
            file,
            line,
            module,
            inlined,
        },
    )
}

fn site() -> impl Strategy<Value = SiteFacts> {
    let addresses = prop::collection::vec(any::<u64>().prop_map(Address), 0..9);
    let kind = prop::sample::select(vec![FateKind::Unknown, FateKind::Read, FateKind::Dropped, FateKind::Returned]);
    (addresses, prop::collection::vec(frame(), 0..9), text(), kind, any::<u32>(), text()).prop_map(
        |(addresses, frames, source, kind, depth, because)| SiteFacts {
            place: None,
            addresses,
            frames,
            source,
            fate: Fate { kind, depth, because },
        },
    )
}

fn hook() -> impl Strategy<Value = HookFact> {
    let role = prop::sample::select(Role::ALL.to_vec());
    let arguments = prop::collection::vec(prop::sample::select(Argument::ALL.to_vec()), 0..9);
    let result = prop::sample::select(vec![Result_::Ignored, Result_::Arena, Result_::Block, Result_::Mark]);
    let status = prop_oneof![
        Just(HookStatus::Watched),
        text().prop_map(HookStatus::Partly),
        text().prop_map(HookStatus::NotWatched)
    ];
    let synchronises = prop::sample::select(vec![Synchronises::Unknown, Synchronises::No, Synchronises::Perhaps]);
    (role, text(), arguments, result, text(), any::<u64>(), status, synchronises).prop_map(
        |(role, function, arguments, result, module, address, status, synchronises)| HookFact {
            decl: RoleDecl { role, function, arguments, result },
            module,
            address: Address(address),
            status,
            synchronises,
            // Some hooks are markers.
            markers: (address % 3 == 0)
                .then_some(MarkerCount { seen: (address >> 8) as u32, all: (address >> 32) as u32 }),
        },
    )
}

fn module() -> impl Strategy<Value = Module> {
    (text(), any::<u64>(), any::<u64>(), any::<u64>(), prop::collection::vec(any::<u8>(), 0..21)).prop_map(
        |(path, bias, start, end, build_id)| Module { path, bias, start: Address(start), end: Address(end), build_id },
    )
}

fn report() -> impl Strategy<Value = Report> {
    let site = || prop::option::of((0u32..u32::MAX).prop_map(SiteId));
    let before = prop::option::of(((0..=u32::MAX).prop_map(ArenaKey), any::<u64>()));
    (prop::sample::select(Used::ALL.to_vec()), any::<u64>(), any::<u64>(), before, site(), site()).prop_map(
        |(used, address, bytes, before, site, origin)| Report {
            used,
            address: Address(address),
            bytes,
            before,
            site,
            origin,
        },
    )
}

fn scan() -> impl Strategy<Value = Scan> {
    let unreached = (any::<u64>(), any::<bool>())
        .prop_map(|(address, by_offset)| Unreached { address: Address(address), by_offset });
    let arena = (any::<u32>(), any::<[u64; 3]>(), prop::collection::vec(unreached, 0..4)).prop_map(
        |(arena, [before, blocks, reached], unreached)| ScannedArena {
            arena: ArenaKey(arena),
            before,
            blocks,
            reached,
            unreached,
        },
    );
    (prop::option::of(0..u64::MAX), any::<u64>(), prop::collection::vec(arena, 0..3))
        .prop_map(|(mark, bytes, arenas)| Scan { mark, bytes, arenas })
}

/// Every field is named: a new one has to be thought of here and in the tail.
fn facts() -> impl Strategy<Value = ProcessFacts> {
    let numbers = (any::<u32>(), any::<u32>(), any::<u64>(), any::<u64>(), prop::option::of(any::<i32>()));
    let lists = (
        prop::collection::vec(text(), 0..5),
        prop::collection::vec(module(), 0..4),
        prop::collection::vec(hook(), 0..4),
        prop::collection::vec(site(), 0..9),
    );
    let watched = prop::sample::select(vec![Watched::Nothing, Watched::Given, Watched::FoundByShape]);
    let null_use = prop::sample::select(vec![NullUse::Unknown, NullUse::Consistent, NullUse::Proven]);
    let lost = any::<[u64; 5]>();
    let mode = (
        prop::sample::select(Mode::ALL.to_vec()),
        any::<bool>(),
        prop::collection::vec(text(), 0..3),
        prop::collection::vec(report(), 0..4),
        prop::collection::vec(scan(), 0..3),
        prop::collection::vec(text(), 0..3),
    );
    (numbers, lists, text(), watched, null_use, text(), lost, mode).prop_map(
        |(numbers, lists, program, watched, null_use, null_use_because, lost, mode)| {
            let (mode, watches_malloc, mode_limits, reports, scans, libraries) = mode;
            let (pid, parent_pid, fork_id, started_unix_ns, wait_status) = numbers;
            let (arguments, modules, hooks, sites) = lists;
            let [no_space, reentered, table_full, heap_skipped, capture_bytes] = lost;
            let lost = Lost { no_space, reentered, table_full, heap_skipped, capture_bytes, damaged: 0 };
            ProcessFacts {
                pid,
                parent_pid,
                fork_id,
                program,
                arguments,
                started_unix_ns,
                wait_status,
                modules,
                hooks,
                watched,
                mode,
                watches_malloc,
                libraries,
                mode_limits,
                sample_bytes: u64::from(pid) << 8,
                reports,
                scans,
                sites,
                lost,
                null_use,
                null_use_because,
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn the_tail_keeps_all_facts(facts in facts(), again in facts()) {
        let mut file = File::new();
        Writer::new(0).put(&mut file, 1, 8, None, &Record::Vfork);
        file.seal(&facts, 1_000_000);
        prop_assert_eq!(&Trace::open(&file.bytes).unwrap().facts(), &facts);
        // Sealed again with other facts: the old tail is replaced.
        file.seal(&again, 1_000_000);
        let trace = Trace::open(&file.bytes).unwrap();
        prop_assert_eq!(trace.facts(), again);
        prop_assert_eq!(trace.damage(), &[]);
        prop_assert_eq!(trace.events().count(), 1);
    }

    #[test]
    fn a_tail_of_any_bytes_is_read_without_harm(facts in facts(), flips in prop::collection::vec((any::<u32>(), any::<u8>()), 1..9)) {
        let mut file = File::new();
        Writer::new(0).put(&mut file, 1, 8, None, &Record::Vfork);
        file.seal(&facts, 1_000_000);
        let begin = layout::segment_offset(1) as usize;
        let span = file.bytes.len() - begin;
        for (at, value) in flips {
            file.bytes[begin + at as usize % span] = value;
        }
        let trace = Trace::open(&file.bytes).unwrap();
        prop_assert_eq!(trace.events().count(), 1);
        let _ = trace.facts();
    }

    #[test]
    fn sites_come_back_from_the_events(sites in prop::collection::vec(prop::collection::vec(0u64..6, 0..MAX_FRAMES + 3), 1..40)) {
        let mut file = File::new();
        let mut writer = Writer::with_payload(0, 3000);
        for (id, frames) in sites.iter().enumerate() {
            let addresses: Vec<u64> = frames.iter().map(|frame| 0x5555_0000_0000 + frame * 0x1_0001).collect();
            writer.put(&mut file, 1, 8, None, &Record::Site { id: id as u32, addresses: &addresses, place: None });
        }
        let found = Trace::open(&file.bytes).unwrap().facts().sites;
        prop_assert_eq!(found.len(), sites.len());
        for (found, said) in found.iter().zip(&sites) {
            let said = said.iter().take(MAX_FRAMES).map(|frame| Address(0x5555_0000_0000 + frame * 0x1_0001));
            prop_assert!(found.addresses.iter().copied().eq(said));
        }
    }
}

/// A trace whose launcher was killed, too.
fn unsealed() -> File {
    let mut file = File::forked(77);
    let mut writer = Writer::new(0);
    let mut put = |ns, site, record: &Record<'_>| {
        writer.put(&mut file, 1, ns, site, record);
    };
    put(
        8,
        None,
        &Record::Module {
            number: 1,
            bias: 0x7F00_0000_0000,
            start: 0x7F00_0000_1000,
            end: 0x7F00_0000_9000,
            path: b"/usr/lib/libc.so.6",
            build_id: &[1, 2, 3],
        },
    );
    put(
        16,
        None,
        &Record::Module { number: 0, bias: 0, start: 0, end: u64::MAX, path: b"/usr/bin/program", build_id: &[] },
    );
    put(24, None, &Record::Site { id: 2, addresses: &[3, 2, 1], place: None });
    put(32, Some(2), &Record::Reset { arena: 0, order: 0 });
    put(40, None, &Record::Site { id: 0, addresses: &[4, 2, 1], place: None });
    file.set_word(layout::live::LOST_REENTERED, 5);
    file
}

#[test]
fn without_a_tail_the_facts_come_from_header_and_events() {
    let mut file = unsealed();
    let facts = Trace::open(&file.bytes).unwrap().facts();
    assert_eq!((facts.pid, facts.parent_pid, facts.fork_id), (4711, 4000, 77));
    assert_eq!(facts.program, "/usr/bin/program");
    assert_eq!(facts.started_unix_ns, 1_700_000_000_000_000_000);
    assert_eq!(facts.wait_status, None);
    assert_eq!(facts.lost.reentered, 5);
    let paths: Vec<&str> = facts.modules.iter().map(|module| module.path.as_str()).collect();
    assert_eq!(paths, ["/usr/bin/program", "/usr/lib/libc.so.6"]);
    assert_eq!(facts.modules[1].build_id, [1, 2, 3]);
    assert_eq!(facts.modules[1].end, Address(0x7F00_0000_9000));
    let addresses: Vec<Vec<u64>> =
        facts.sites.iter().map(|site| site.addresses.iter().map(|address| address.0).collect()).collect();
    assert_eq!(addresses, [vec![4, 2, 1], vec![], vec![3, 2, 1]]);
    // What the launcher would do: add what it knows, seal.
    let mut known = facts.clone();
    known.wait_status = Some(0);
    known.sites[2].source = "arena_reset(a);".into();
    file.seal(&known, 500);
    assert_eq!(Trace::open(&file.bytes).unwrap().facts(), known);
}

#[test]
fn ids_beyond_what_the_file_can_define_allocate_nothing() {
    let mut file = File::new();
    let mut writer = Writer::new(0);
    writer.put(&mut file, 1, 8, None, &Record::Site { id: u32::MAX - 1, addresses: &[1], place: None });
    writer.put(
        &mut file,
        1,
        8,
        None,
        &Record::Module { number: u32::MAX, bias: 0, start: 0, end: 0, path: b"", build_id: &[] },
    );
    writer.put(&mut file, 1, 8, None, &Record::Reset { arena: u32::MAX, order: 0 });
    let trace = Trace::open(&file.bytes).unwrap();
    let facts = trace.facts();
    assert!(facts.sites.is_empty());
    assert!(facts.modules.is_empty());
    assert_eq!(trace.events().count(), 2);
}

#[test]
fn a_tail_that_expands_beyond_reason_is_cut() {
    // One long name, used by very many frames of very many sites.
    let frame = Frame { function: "f".repeat(10_000), ..Frame::default() };
    let site = SiteFacts { frames: vec![frame; 100], ..SiteFacts::default() };
    let facts = ProcessFacts { sites: vec![site; 100], ..ProcessFacts::default() };
    let mut file = File::new();
    file.seal(&facts, 500);
    let trace = Trace::open(&file.bytes).unwrap();
    assert!(trace.damage().iter().any(|damage| damage.what == DamageKind::TailTooLarge));
    let read: usize = trace.facts().sites.iter().map(|site| site.frames.len()).sum();
    assert!(read > 0 && read < 10_000, "{read}");
}

#[test]
fn one_damaged_section_of_the_tail_leaves_the_others() {
    let mut file = unsealed();
    let facts = ProcessFacts {
        hooks: vec![HookFact {
            decl: RoleDecl { role: Role::Alloc, function: "needle".into(), arguments: vec![], result: Result_::Block },
            module: String::new(),
            address: Address(1),
            status: HookStatus::Watched,
            synchronises: Default::default(),
            markers: None,
        }],
        arguments: vec!["haystack".into()],
        wait_status: Some(256),
        ..ProcessFacts::default()
    };
    file.seal(&facts, 500);
    let at = file.bytes.windows(6).position(|window| window == b"needle").unwrap();
    file.bytes[at] = b'N';
    let trace = Trace::open(&file.bytes).unwrap();
    assert!(trace.damage().iter().any(|damage| damage.what == DamageKind::Tail));
    assert_eq!(trace.facts().hooks, []);
    assert_eq!(trace.facts().arguments, facts.arguments);
    assert_eq!(trace.facts().wait_status, Some(256));
}

#[test]
fn captures_of_any_length_come_back() {
    let lengths = [1, 5000, SEGMENT_PAYLOAD - 1, SEGMENT_PAYLOAD, SEGMENT_PAYLOAD + 1, 3 * SEGMENT_PAYLOAD + 17];
    let mut file = File::new();
    let mut writer = Writer::new(0);
    let mut kept = Vec::new();
    for len in lengths {
        let bytes: Vec<u8> = (0..len).map(|index| (index * 31 + len) as u8).collect();
        let first_segment = file.blob(0, &bytes);
        let (reason, base, len) = (CaptureReason::Exit, 0x7000_0000, len as u64);
        writer.put(&mut file, 1, 8, None, &Record::CaptureBlob { arena: 0, reason, base, len, first_segment });
        if bytes.len() < 6000 {
            writer.put(&mut file, 1, 8, None, &Record::CaptureInline { arena: 0, reason, base, len, bytes: &bytes });
            kept.push(bytes.clone());
        }
        kept.push(bytes);
    }
    // Captures so short that several stand within a few bytes.
    for byte in 0..200u8 {
        let (reason, base) = (CaptureReason::Reset, 0x7000_0000);
        writer.put(&mut file, 1, 8, None, &Record::CaptureInline { arena: 0, reason, base, len: 1, bytes: &[byte] });
        kept.push(vec![byte]);
    }
    let trace = Trace::open(&file.bytes).unwrap();
    let captured: Vec<Vec<u8>> = trace
        .events()
        .filter_map(|event| match event.kind {
            arenascope_event::EventKind::Capture { bytes, .. } => Some(trace.blob(bytes).unwrap().into_owned()),
            _ => None,
        })
        .collect();
    assert!(captured == kept, "captured bytes differ");
    for id in [1u32 << 31, u32::MAX, 12345, (1 << 31) | 5000 << 11] {
        assert_eq!(trace.blob(BlobId(id)), None);
    }
}

#[test]
fn time_is_measured_with_the_best_pair_there_is() {
    let mut file = File::new();
    let mut writer = Writer::with_payload(0, 64);
    for index in 0..10u64 {
        writer.put(&mut file, 1, index * 8000, None, &Record::Vfork);
        writer.put(&mut file, 1, index * 8000 + 8, None, &Record::ThreadExit);
    }
    let expected: Vec<u64> = (0..10).flat_map(|index| [index * 8000, index * 8000 + 8]).collect();
    let times =
        |file: &File| -> Vec<u64> { Trace::open(&file.bytes).unwrap().events().map(|event| event.time_ns).collect() };
    // Nobody sealed: the clocks of the segments' headers.
    assert!(Trace::open(&file.bytes).unwrap().has_clock());
    assert_eq!(times(&file), expected);
    // A live pair that was torn does not count against them.
    file.set_word(layout::live::LATEST_TSC, START.tsc + 1_000_000);
    file.set_word(layout::live::LATEST_NS, START.ns + 1);
    assert_eq!(times(&file), expected);
    file.seal(&ProcessFacts::default(), 10_000_000);
    assert_eq!(times(&file), expected);
}

#[test]
fn a_site_has_the_place_that_was_defined_for_it_in_any_segment() {
    let mut file = File::new();
    let (mut one, mut other) = (Writer::new(0), Writer::new(1));
    let place = |id, file, line| Record::Place { id, file, line, column: 5 };
    one.put(&mut file, 1, 8, None, &Record::Site { id: 1, addresses: &[0x40_1000, 0x40_2000], place: Some(7) });
    other.put(&mut file, 2, 9, None, &place(7, b"src/parse.rs", 12));
    other.put(&mut file, 2, 9, None, &Record::Site { id: 0, addresses: &[0x40_1000], place: None });
    // Defined twice, as two threads may at once; a place without a line is none; a place that was lost.
    one.put(&mut file, 1, 10, None, &Record::Site { id: 1, addresses: &[0x40_1000, 0x40_2000], place: Some(7) });
    one.put(&mut file, 1, 10, None, &place(8, b"", 0));
    one.put(&mut file, 1, 10, None, &Record::Site { id: 2, addresses: &[], place: Some(8) });
    one.put(&mut file, 1, 10, None, &Record::Site { id: 3, addresses: &[], place: Some(900) });
    let facts = Trace::open(&file.bytes).unwrap().facts();
    let place =
        |site: usize| facts.sites[site].place.as_ref().map(|place| (place.file.as_str(), place.line, place.column));
    assert_eq!([place(0), place(1), place(2), place(3)], [None, Some(("src/parse.rs", 12, 5)), None, None]);
}

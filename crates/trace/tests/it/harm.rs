//! Damage stays where it is: any cut, any flipped bit, a kill at any instant.

use crate::build::{File, Writer, after};
use arenascope_event::{Event, EventKind, ProcessFacts, SiteFacts};
use arenascope_trace::layout::{self, HEADER_BYTES, SEGMENT_BYTES, SEGMENT_HEADER_BYTES, SegmentKind};
use arenascope_trace::{DamageKind, OpenError, Record, Trace, crc32c};
use std::ops::Range;

/// A sealed trace of three events segments and one blob; the events of segment `k` are of arena `k`.
fn small() -> (File, Vec<Range<usize>>) {
    let mut file = File::new();
    for arena in 0..3u32 {
        let mut writer = Writer::new(arena);
        let mut put = |ns, site, record: &Record<'_>| writer.put(&mut file, arena + 1, ns, site, record);
        let base = 0x7000_0000 + 0x1_0000 * u64::from(arena);
        put(8, None, &Record::ThreadStart { tid: 100 + arena, parent: 0 });
        put(
            16,
            None,
            &Record::Site { id: arena, addresses: &[0x40_1000 + u64::from(arena), 0x40_2000, 0x40_3000], place: None },
        );
        put(24, None, &Record::ArenaSeen { arena, object: base });
        for order in 0..4 {
            let alloc = Record::Alloc { arena, order, block: base + 32 * order, size: 32, align: 0 };
            put(32 + 8 * order, Some(arena), &alloc);
        }
        let reason = arenascope_event::CaptureReason::Destroy;
        put(80, None, &Record::CaptureInline { arena, reason, base, len: 5, bytes: b"bytes" });
        put(88, Some(arena), &Record::Destroy { arena, order: 4 });
        put(96, None, &Record::Exec { path: b"/bin/true" });
    }
    file.blob(0, b"a blob");
    let mut facts = ProcessFacts { pid: 4711, arguments: vec!["program".into()], ..ProcessFacts::default() };
    facts.program = "/usr/bin/program".into();
    facts.wait_status = Some(9);
    facts.sites = vec![SiteFacts::default(); 3];
    facts.sites[1].source = "arena_alloc(&arena, 32);".into();
    facts.lost.heap_skipped = 3;
    file.set_word(layout::live::LOST_HEAP_SKIPPED, 3);
    file.seal(&facts, 1_000_000);
    // Where each segment has header and committed bytes, and the tail.
    let mut parts = Vec::new();
    for slot in 0..4 {
        let begin = layout::segment_offset(slot) as usize;
        let len = file.word(begin + layout::segment::COMMIT) as u32 as usize;
        parts.push(begin..begin + SEGMENT_HEADER_BYTES + len);
    }
    parts.push(layout::segment_offset(4) as usize..file.bytes.len());
    (file, parts)
}

/// The events of all arenas but one (events of no arena by their thread).
fn without(events: &[Event], arena: u32) -> Vec<(u32, EventKind)> {
    let others = events.iter().filter(|event| event.thread.0 != arena + 1);
    let mut kinds: Vec<(u32, EventKind)> = others.map(|event| (event.thread.0, event.kind.clone())).collect();
    kinds.sort_by_key(|(thread, _)| *thread);
    kinds
}

fn events(trace: &Trace<'_>) -> Vec<Event> {
    trace.events().collect()
}

#[test]
fn the_trace_that_is_harmed_below_is_whole() {
    let (file, parts) = small();
    let trace = Trace::open(&file.bytes).unwrap();
    assert_eq!(trace.damage(), []);
    assert!(trace.is_sealed());
    assert_eq!(events(&trace).len(), 3 * 9);
    assert_eq!(trace.blob(arenascope_event::BlobId(3)).as_deref(), Some(&b"a blob"[..]));
    assert_eq!(trace.data_bytes(), file.bytes.len() as u64);
    assert_eq!(parts.len(), 5);
    assert_eq!(trace.facts().wait_status, Some(9));
}

#[test]
fn every_flipped_bit_harms_one_segment_at_most() {
    let (mut file, parts) = small();
    let whole = Trace::open(&file.bytes).unwrap();
    let before = events(&whole);
    let facts = whole.facts();
    let header = 0..HEADER_BYTES;
    let checked_words = layout::sealed::TAIL_OFFSET..layout::sealed::TAIL_CHECKSUM + 4;
    for (part, range) in [header].iter().chain(&parts).enumerate() {
        for bit in range.start * 8..range.end * 8 {
            // Hundreds of zero bytes behind the program's path and between the live words: one bit of each will do.
            if part == 0 && file.bytes[bit / 8] == 0 && bit / 8 >= 64 && !(bit - bit / 8).is_multiple_of(8) {
                continue;
            }
            file.bytes[bit / 8] ^= 1 << (bit % 8);
            let at = bit / 8;
            let trace = Trace::open(&file.bytes).unwrap_or_else(|error| panic!("byte {at}: {error}"));
            let found = events(&trace);
            match part {
                // The header page: what the tail repeats is taken from the tail.
                0 => {
                    assert_eq!(without(&found, 99), without(&before, 99), "byte {at}");
                    assert_eq!(trace.facts(), facts, "byte {at}");
                    let seen = at < 2044 || checked_words.contains(&at);
                    assert!(!seen || !trace.damage().is_empty(), "byte {at} was changed unseen");
                }
                // A segment.
                1..=4 => {
                    let arena = part as u32 - 1;
                    assert_eq!(without(&found, arena), without(&before, arena), "byte {at}");
                    assert!(found.len() == before.len() - 9 || arena == 3, "byte {at}: {} events", found.len());
                    assert_eq!(trace.damage().len(), 1, "byte {at}: {:?}", trace.damage());
                    assert!(trace.damage()[0].bytes.contains(&(at as u64)), "byte {at}: {:?}", trace.damage());
                    assert!(trace.facts().lost.damaged > 0, "byte {at}");
                }
                // The tail.
                _ => {
                    assert_eq!(without(&found, 99), without(&before, 99), "byte {at}");
                    assert!(!trace.damage().is_empty(), "byte {at}");
                    let _ = trace.facts();
                }
            }
            file.bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }
}

#[test]
fn a_file_cut_anywhere_shows_what_is_left() {
    let (file, parts) = small();
    let before = events(&Trace::open(&file.bytes).unwrap());
    let interesting = |len: usize| {
        len <= HEADER_BYTES + 8
            || len.is_multiple_of(4099)
            || parts.iter().any(|part| (part.start.saturating_sub(2)..part.end + 2).contains(&len))
    };
    for len in (0..file.bytes.len()).filter(|&len| interesting(len)) {
        let cut = &file.bytes[..len];
        let trace = match Trace::open(cut) {
            Ok(trace) => trace,
            Err(error) => {
                assert_eq!(error, if len == 0 { OpenError::Empty } else { OpenError::TooShort }, "length {len}");
                assert!(len < HEADER_BYTES);
                continue;
            }
        };
        assert!(len >= HEADER_BYTES);
        let found = events(&trace);
        for (slot, part) in parts.iter().enumerate().take(3) {
            let of = |events: &[Event]| -> Vec<EventKind> {
                let of_slot = events.iter().filter(|event| event.thread.0 == slot as u32 + 1);
                of_slot.map(|event| event.kind.clone()).collect()
            };
            let (found, before) = (of(&found), of(&before));
            if part.end <= len {
                assert_eq!(found, before, "length {len}, segment {slot}");
            } else {
                assert!(before.starts_with(&found), "length {len}, segment {slot}");
            }
        }
        // The words that lead to the tail are there and the tail is not, or not all of it.
        assert!(!trace.damage().is_empty(), "length {len}");
        assert_eq!(trace.facts().pid, 4711, "length {len}");
        assert_eq!(trace.facts().wait_status, Some(9), "length {len}");
    }
}

#[test]
fn a_file_cut_inside_a_segment_says_so() {
    let (file, parts) = small();
    let trace = Trace::open(&file.bytes[..parts[1].end - 1]).unwrap();
    assert!(trace.damage().iter().any(|damage| damage.what == DamageKind::Truncated), "{:?}", trace.damage());
    assert_eq!(trace.events().filter(|event| event.thread.0 == 2).count(), 8);
}

#[test]
fn a_trace_cut_before_its_end_of_nothing_is_whole() {
    let mut file = File::new();
    let mut writer = Writer::new(0);
    writer.put(&mut file, 1, 8, None, &Record::Vfork);
    let data = HEADER_BYTES + SEGMENT_HEADER_BYTES + 16;
    for len in [data, data + 1, HEADER_BYTES + SEGMENT_BYTES] {
        let trace = Trace::open(&file.bytes[..len]).unwrap();
        assert_eq!(trace.damage(), []);
        assert_eq!(trace.events().count(), 1);
    }
    // And one that is far longer than its data.
    file.bytes.resize(HEADER_BYTES + 300 * SEGMENT_BYTES, 0);
    let trace = Trace::open(&file.bytes).unwrap();
    assert_eq!(trace.damage(), []);
    assert_eq!(trace.events().count(), 1);
    assert_eq!(trace.data_bytes(), (HEADER_BYTES + SEGMENT_BYTES) as u64);
}

#[test]
fn a_process_killed_between_any_two_stores_leaves_whole_records() {
    let mut file = File::new();
    let mut writer = Writer::new(0);
    writer.put(&mut file, 1, 8, None, &Record::Vfork);
    writer.put(&mut file, 1, 16, None, &Record::ThreadExit);
    let check = |file: &File, why: &str| {
        let trace = Trace::open(&file.bytes).unwrap();
        assert_eq!(trace.damage(), [], "{why}");
        assert_eq!(trace.events().count(), 2, "{why}");
        assert_eq!(trace.facts().lost.events(), 0, "{why}");
    };
    check(&file, "two committed records");
    // A third record was being written: any of its bytes may be there.
    let word = file.word(HEADER_BYTES + layout::segment::COMMIT);
    let free = HEADER_BYTES + SEGMENT_HEADER_BYTES + word as u32 as usize;
    for garbage in 0..64 {
        file.bytes[free + garbage] = 0x80 | garbage as u8;
        check(&file, "a record half written");
    }
    // The next slot was being taken: the word first, then the header byte by byte.
    file.set_word(layout::live::NEXT_SEGMENT, 2);
    check(&file, "a slot beyond the end of the file");
    file.bytes.resize(HEADER_BYTES + 2 * SEGMENT_BYTES, 0);
    check(&file, "a slot that is all zero");
    let head = layout::segment_header(SegmentKind::Events, 0, 1, after(24));
    let begin = layout::segment_offset(1) as usize;
    for (index, &byte) in head.iter().enumerate() {
        file.bytes[begin + index] = byte;
        check(&file, "a header half written");
    }
}

#[test]
fn slots_left_empty_hide_nothing_behind_them() {
    let mut file = File::new();
    let mut writer = Writer::new(0);
    writer.put(&mut file, 1, 8, None, &Record::Vfork);
    // 500 slots were taken and never written (their file space could not be had).
    file.set_word(layout::live::NEXT_SEGMENT, 501);
    let mut writer = Writer::new(1);
    writer.put(&mut file, 2, 16, None, &Record::ThreadExit);
    assert_eq!(Trace::open(&file.bytes).unwrap().events().count(), 2);
}

/// A header page with the word at `at` changed and its checksum set right.
fn header_with(at: usize, value: u32) -> Vec<u8> {
    let mut bytes = File::new().bytes;
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
    let checksum = crc32c(0, &bytes[..2040]);
    bytes[2040..2044].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

#[test]
fn what_is_no_trace_is_told_apart() {
    let cases: [(&[u8], OpenError); 6] = [
        (b"", OpenError::Empty),
        (b"ASC", OpenError::TooShort),
        (b"ASCOPE\x1a\n and no more", OpenError::TooShort),
        (b"\x7fELF and so on", OpenError::NotATrace),
        (&[0; 5000], OpenError::NotATrace),
        (&header_with(8, 7), OpenError::FutureVersion { found: 7, supported: 1 }),
    ];
    for (bytes, expected) in cases {
        let error = Trace::open(bytes).expect_err("opened");
        assert_eq!(error, expected);
        assert!(!error.to_string().is_empty());
    }
    assert_eq!(Trace::open(&header_with(8, 0)).expect_err("opened"), OpenError::NotATrace);
    assert!(Trace::open(&header_with(28, u32::MAX)).unwrap().facts().program.len() <= layout::MAX_PROGRAM_BYTES);
}

#[test]
fn a_segment_that_claims_too_much_is_left_out() {
    let (mut file, _) = small();
    file.set_word(layout::segment_offset(1) as usize + layout::segment::COMMIT, layout::commit_word(u32::MAX, 1));
    let trace = Trace::open(&file.bytes).unwrap();
    assert_eq!(trace.damage()[0].what, DamageKind::SegmentLength);
    assert_eq!(trace.events().count(), 18);
}

#[test]
fn records_that_make_no_sense_end_their_segment_only() {
    for bad in [&[0u8, 0][..], &[0x42, 0xFF, 0xFF, 1], &[0x80], &[18, 3, 0xFF, 0xFF, 0xFF], &[1, 0]] {
        let mut file = File::new();
        let mut writer = Writer::new(0);
        let slot = writer.put(&mut file, 1, 8, None, &Record::Vfork);
        file.commit(slot, bad);
        Writer::new(1).put(&mut file, 2, 16, None, &Record::ThreadExit);
        let trace = Trace::open(&file.bytes).unwrap();
        assert_eq!(trace.damage(), [], "the checksums hold");
        assert_eq!(trace.events().count(), 2, "{bad:?}");
        let check = trace.check();
        assert_eq!(check.len(), 1, "{bad:?}");
        assert_eq!(check[0].what, DamageKind::Records);
    }
}

#[test]
fn records_of_kinds_unknown_today_are_skipped() {
    // Kind 63 (an event: 4 units of time, no site, then anything), kind 9 (a definition), kind 63 with a long length.
    for unknown in [&[63u8, 4, 4, 0, 0xAA, 0xBB][..], &[9, 2, 1, 2], &[63 | 0x40, 3, 0, 4, 0, 7]] {
        let mut file = File::new();
        let mut writer = Writer::new(0);
        let slot = writer.put(&mut file, 1, 0, None, &Record::Vfork);
        file.commit(slot, unknown);
        let two_units_later = [34u8, 2, 2, 0];
        file.commit(slot, &two_units_later);
        file.seal(&ProcessFacts::default(), 1_000_000);
        let trace = Trace::open(&file.bytes).unwrap();
        let times: Vec<u64> = trace.events().map(|event| event.time_ns).collect();
        let passed = if unknown[0] & 0x3F == 63 { 6 } else { 2 };
        assert_eq!(times, [0, passed * 8], "the time of a skipped event counts");
        assert_eq!(trace.check(), []);
    }
}

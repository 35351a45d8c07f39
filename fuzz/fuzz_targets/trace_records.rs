//! Any bytes as the records of segments whose headers and checksums hold: gets behind the checksums that stop
//! `trace_open` at random bytes. Each record decoded; nothing may panic; the events are numbered without gaps.
#![no_main]

use arenascope_event::EventKind;
use arenascope_trace::layout::{self, ClockPair, HeaderFields, SegmentKind};
use arenascope_trace::{Follower, Trace, crc32c};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let start = ClockPair { tsc: 1 << 30, ns: 1 << 29 };
    let mut file = layout::header(&HeaderFields { start, ..HeaderFields::default() }).to_vec();
    // 0xFE ends a segment: it is no first byte of a sensible record. The writer is told by the segment's first byte.
    let segments: Vec<&[u8]> = bytes.split(|&byte| byte == 0xFE).take(8).collect();
    for (slot, payload) in segments.iter().enumerate() {
        let (writer, payload) = payload.split_first().map_or((0, &[][..]), |(first, rest)| (first & 3, rest));
        let payload = payload.get(..layout::SEGMENT_PAYLOAD).unwrap_or(payload);
        let kind = if writer == 3 { SegmentKind::Blob } else { SegmentKind::Events };
        file.resize(layout::segment_offset(slot as u32) as usize, 0);
        let mut head = layout::segment_header(kind, u32::from(writer), slot as u32, start);
        let word = layout::commit_word(payload.len() as u32, crc32c(0, payload));
        head[layout::segment::COMMIT..layout::segment::COMMIT + 8].copy_from_slice(&word.to_le_bytes());
        file.extend_from_slice(&head);
        file.extend_from_slice(payload);
    }
    let taken = (segments.len() as u64).to_le_bytes();
    file[layout::live::NEXT_SEGMENT..layout::live::NEXT_SEGMENT + 8].copy_from_slice(&taken);
    let trace = Trace::open(&file).expect("the header is whole");
    assert_eq!(trace.damage(), []);
    let mut number = 0;
    let mut time = 0;
    for event in trace.events() {
        number += 1;
        assert_eq!(event.number.0, number);
        assert!(event.time_ns >= time);
        time = event.time_ns;
        if let EventKind::Capture { bytes, .. } = event.kind {
            let _ = trace.blob(bytes);
        }
    }
    let _ = trace.facts();
    let mut follower = Follower::new();
    follower.update(&file);
    let mut followed = 0;
    while follower.next_at_end(&file).is_some() {
        followed += 1;
    }
    assert_eq!(followed, number);
});

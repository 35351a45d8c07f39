//! Builds trace files in memory as a recorder would: segments taken one by one, commit words after each record.

use arenascope_trace::layout::{
    self, ClockPair, HeaderFields, SEGMENT_BYTES, SEGMENT_HEADER_BYTES, SEGMENT_PAYLOAD, SegmentKind,
};
use arenascope_trace::{NO_SITE, Record, SegmentEncoder, crc32c};

/// 2 GHz, so that 2 ticks are 1 ns.
pub const START: ClockPair = ClockPair { tsc: 1 << 40, ns: 1 << 30 };

/// The clock pair `ns` after the start.
pub fn after(ns: u64) -> ClockPair {
    ClockPair { tsc: START.tsc + 2 * ns, ns: START.ns + ns }
}

/// A trace file being written.
pub struct File {
    pub bytes: Vec<u8>,
}

impl File {
    pub fn new() -> File {
        File::forked(0)
    }

    pub fn forked(fork_id: u64) -> File {
        let fields = HeaderFields {
            pid: 4711,
            parent_pid: 4000,
            fork_id,
            start: START,
            start_unix_ns: 1_700_000_000_000_000_000,
            program: b"/usr/bin/program",
        };
        File { bytes: layout::header(&fields).to_vec() }
    }

    pub fn word(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.bytes[at..at + 8].try_into().unwrap())
    }

    pub fn set_word(&mut self, at: usize, value: u64) {
        self.bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
    }

    /// Takes the next slot and writes the segment's header.
    pub fn take(&mut self, kind: SegmentKind, writer: u32, sequence: u32, at: ClockPair) -> u32 {
        let slot = self.word(layout::live::NEXT_SEGMENT);
        self.set_word(layout::live::NEXT_SEGMENT, slot + 1);
        let begin = layout::segment_offset(slot as u32) as usize;
        self.bytes.resize(self.bytes.len().max(begin + SEGMENT_BYTES), 0);
        let head = layout::segment_header(kind, writer, sequence, at);
        self.bytes[begin..begin + SEGMENT_HEADER_BYTES].copy_from_slice(&head);
        slot as u32
    }

    /// Appends committed payload.
    pub fn commit(&mut self, slot: u32, payload: &[u8]) {
        let begin = layout::segment_offset(slot) as usize;
        let word = begin + layout::segment::COMMIT;
        let old = self.word(word);
        let (len, crc) = (old as u32 as usize, (old >> 32) as u32);
        let at = begin + SEGMENT_HEADER_BYTES + len;
        assert!(len + payload.len() <= SEGMENT_PAYLOAD);
        self.bytes[at..at + payload.len()].copy_from_slice(payload);
        self.set_word(word, layout::commit_word((len + payload.len()) as u32, crc32c(crc, payload)));
    }

    /// Writes a run of blob segments, returns its first slot.
    pub fn blob(&mut self, writer: u32, bytes: &[u8]) -> u32 {
        let mut first = None;
        for (sequence, piece) in bytes.chunks(SEGMENT_PAYLOAD).enumerate() {
            let slot = self.take(SegmentKind::Blob, writer, sequence as u32, START);
            self.commit(slot, piece);
            first.get_or_insert(slot);
        }
        first.expect("an empty blob needs no run")
    }

    /// Seals the trace with the facts it has and the clock read `ns` after the start.
    pub fn seal(&mut self, facts: &arenascope_event::ProcessFacts, ns: u64) {
        let seal = arenascope_trace::seal(&self.bytes, facts, after(ns)).unwrap();
        let offset = seal.tail_offset as usize;
        self.bytes.truncate(offset);
        self.bytes.resize(offset, 0);
        self.bytes.extend_from_slice(&seal.tail);
        assert_eq!(self.bytes.len() as u64, seal.file_bytes);
        for (at, word) in seal.words {
            self.bytes[at as usize..at as usize + 8].copy_from_slice(&word);
        }
    }
}

/// One writer, with room for records of `payload` bytes per segment (small values make many segments).
pub struct Writer {
    number: u32,
    sequence: u32,
    payload: usize,
    thread: Option<u32>,
    open: Option<(u32, SegmentEncoder, usize)>,
    scratch: Vec<u8>,
}

impl Writer {
    pub fn new(number: u32) -> Writer {
        Writer::with_payload(number, SEGMENT_PAYLOAD)
    }

    pub fn with_payload(number: u32, payload: usize) -> Writer {
        assert!(payload <= SEGMENT_PAYLOAD);
        Writer { number, sequence: 0, payload, thread: None, open: None, scratch: vec![0; SEGMENT_PAYLOAD] }
    }

    /// Writes one record of `thread`, `ns` after the start. Returns the slot it went to.
    pub fn put(&mut self, file: &mut File, thread: u32, ns: u64, site: Option<u32>, record: &Record<'_>) -> u32 {
        let site = site.unwrap_or(NO_SITE);
        if self.thread != Some(thread) && self.open.is_some() {
            self.thread = Some(thread);
            self.encode(file, ns, NO_SITE, &Record::Thread { number: thread });
        }
        self.thread = Some(thread);
        self.encode(file, ns, site, record)
    }

    fn encode(&mut self, file: &mut File, ns: u64, site: u32, record: &Record<'_>) -> u32 {
        for _ in 0..2 {
            if let Some((slot, encoder, used)) = &mut self.open {
                let len = if *used + record.max_bytes() <= self.payload || *used <= 64 {
                    encoder.record(after(ns).tsc, site, record, &mut self.scratch[..SEGMENT_PAYLOAD - *used])
                } else {
                    0
                };
                if len > 0 {
                    file.commit(*slot, &self.scratch[..len]);
                    *used += len;
                    return *slot;
                }
            }
            let slot = file.take(SegmentKind::Events, self.number, self.sequence, after(ns));
            self.sequence += 1;
            let mut encoder = SegmentEncoder::new(after(ns).tsc);
            let mut out = [0u8; 64];
            let thread = Record::Thread { number: self.thread.unwrap() };
            let len = encoder.record(0, NO_SITE, &thread, &mut out);
            file.commit(slot, &out[..len]);
            self.open = Some((slot, encoder, len));
        }
        panic!("a record larger than a segment");
    }
}

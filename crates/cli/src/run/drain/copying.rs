//! One trace's way from memory to its file: how far each segment has been copied, and what comes next.
//!
//! May be relied on: see [`drain`](super). Absent: threads, and when to do what.

use arenascope_trace::layout::{
    HEADER_BYTES, SEGMENT_BYTES, SEGMENT_HEADER_BYTES, SEGMENT_PAYLOAD, SegmentKind, SlotHead, live, segment,
    segment_offset, slot_head,
};
use rustix::fs::{FallocateFlags, fallocate};
use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// Segments that a trace may take besides one for each of its writers: with none, all could be open, and none be finished. The largest
/// capture, 1 MiB, takes 17 at once.
const MARGIN: u64 = 24;
/// Bytes of the live words.
const LIVE: usize = live::END - live::BEGIN;
/// A page: the first of a segment is written last.
const PAGE: usize = 4096;

/// How far a segment has been copied.
#[derive(Clone, Copy, Debug)]
struct Segment {
    slot: u32,
    kind: SegmentKind,
    sequence: u32,
    /// It has its room in the file, and a header.
    begun: bool,
    /// The commit word in the file.
    word: u64,
}

impl Segment {
    fn offset(&self) -> u64 {
        segment_offset(self.slot)
    }

    /// Payload bytes that the commit word in the file vouches for.
    fn committed(&self) -> usize {
        committed(self.word)
    }
}

fn committed(word: u64) -> usize {
    (word as u32 as usize).min(SEGMENT_PAYLOAD)
}

/// One trace's way to its file.
pub struct Copying {
    memory: Arc<File>,
    /// Where it goes.
    pub file: File,
    /// Slots that the memory has.
    slots: u32,
    /// Segments that may be in memory.
    pub share: u64,
    /// Slots before this one were seen taken.
    seen: u32,
    /// Slots among them in which nothing stands yet.
    unbegun: Vec<u32>,
    /// As above, for some time already.
    late: Vec<u32>,
    /// By writer: the segment it writes.
    open: BTreeMap<u32, Segment>,
    /// Nobody writes them any more, and they are not yet all in the file.
    finished: VecDeque<Segment>,
    /// Slots whose header makes no sense: the program wrote over it.
    strange: Vec<u32>,
    /// Segments whose memory was given back.
    drained: u64,
    /// The words in memory that say so: segments drained, segments at once.
    told: (u64, u64),
    /// The header page is in the file.
    headed: bool,
    /// The live words in the file.
    live: [u8; LIVE],
    /// What the file did not take: events, and bytes of captures.
    lost: (u64, u64),
    /// Bytes of memory that were full.
    pub filled: Option<u64>,
    /// The file did not take all.
    pub refused: bool,
    /// Passes to leave out.
    pub rest: u32,
    buffer: Vec<u8>,
}

impl Copying {
    /// Nothing is copied yet.
    pub fn new(memory: Arc<File>, file: File, bytes: u64) -> Copying {
        Copying {
            memory,
            file,
            slots: u32::try_from(bytes.saturating_sub(HEADER_BYTES as u64) / SEGMENT_BYTES as u64).unwrap_or(u32::MAX),
            share: 0,
            seen: 0,
            unbegun: Vec::new(),
            late: Vec::new(),
            open: BTreeMap::new(),
            finished: VecDeque::new(),
            strange: Vec::new(),
            drained: 0,
            told: (0, 0),
            headed: false,
            live: [0; LIVE],
            lost: (0, 0),
            filled: None,
            refused: false,
            rest: 0,
            buffer: vec![0; SEGMENT_BYTES],
        }
    }

    /// Copies what is new. `everywhere`: also from slots that were empty for long. `last`: the process has ended, so all is finished.
    ///
    /// # Errors
    /// The file takes no more; what is left is as it was.
    pub fn pass(&mut self, everywhere: bool, last: bool) -> io::Result<()> {
        self.head()?;
        let mut words = [0; LIVE];
        self.memory.read_exact_at(&mut words, live::BEGIN as u64)?;
        self.note_full(&words);
        // New segments first, then what the known ones have committed: a writer that was seen in its next segment has finished the
        // one before, and its last word is read after that.
        let taken = u32::try_from(word_at(&words, live::NEXT_SEGMENT)).unwrap_or(u32::MAX);
        // Beyond the end of the memory nothing stands.
        self.look(taken.min(self.slots), everywhere)?;
        if last {
            self.finished.extend(std::mem::take(&mut self.open).into_values());
        }
        let outcome = self.copy_all(last);
        // Also when there is no room for more: what was lost is to be known.
        self.tell_live(words)?;
        self.allow()?;
        outcome
    }

    /// Takes note of it when the process finds no room for one more segment.
    fn note_full(&mut self, words: &[u8; LIVE]) {
        let held = word_at(words, live::NEXT_SEGMENT)
            .saturating_sub(self.drained)
            .saturating_sub(word_at(words, live::SEGMENTS_GIVEN_UP));
        if held >= self.told.1 && word_at(words, live::LOST_NO_SPACE) > 0 {
            self.filled = Some(self.told.1.saturating_mul(SEGMENT_BYTES as u64));
        }
    }

    /// Writes the header page, the first time.
    fn head(&mut self) -> io::Result<()> {
        if self.headed {
            return Ok(());
        }
        let mut page = [0; HEADER_BYTES];
        self.memory.read_exact_at(&mut page, 0)?;
        if let Some(words) = page.get_mut(live::BEGIN..live::END) {
            words.fill(0);
        }
        self.file.write_all_at(&page, 0)?;
        self.headed = true;
        Ok(())
    }

    /// Takes note of segments that have begun in slots below `taken`.
    fn look(&mut self, taken: u32, everywhere: bool) -> io::Result<()> {
        let mut slots = std::mem::take(&mut self.unbegun);
        if everywhere {
            slots.append(&mut self.late);
        }
        slots.extend(self.seen..taken);
        self.seen = self.seen.max(taken);
        for slot in slots {
            let mut head = [0; SEGMENT_HEADER_BYTES];
            self.memory.read_exact_at(&mut head, segment_offset(slot))?;
            match slot_head(&head) {
                // A blob segment is committed once, whole; before that it may still become something else.
                SlotHead::Empty | SlotHead::Segment { kind: SegmentKind::Blob, committed: 0, .. } => {
                    self.unbegun.push(slot);
                }
                SlotHead::Segment { kind, writer, sequence, .. } => {
                    let segment = Segment { slot, kind, sequence, begun: false, word: 0 };
                    if kind == SegmentKind::Blob {
                        self.finished.push_back(segment);
                        continue;
                    }
                    // By sequence: segments made ready before a seccomp filter have lower slots than their time.
                    match self.open.get_mut(&writer) {
                        Some(open) if segment.sequence < open.sequence => self.finished.push_back(segment),
                        Some(open) => self.finished.push_back(std::mem::replace(open, segment)),
                        None => {
                            self.open.insert(writer, segment);
                        }
                    }
                }
                SlotHead::Tail | SlotHead::Damaged => self.strange.push(slot),
            }
        }
        if everywhere {
            self.late = std::mem::take(&mut self.unbegun);
        }
        Ok(())
    }

    fn copy_all(&mut self, last: bool) -> io::Result<()> {
        while let Some(mut segment) = self.finished.pop_front() {
            if let Err(error) = self.copy(&mut segment) {
                self.finished.push_front(segment);
                return Err(error);
            }
            self.give_back(segment.slot)?;
        }
        let mut open = std::mem::take(&mut self.open);
        let outcome = open.values_mut().try_for_each(|segment| self.copy(segment));
        self.open = open;
        outcome?;
        while let Some(slot) = self.strange.last().copied().filter(|_| last) {
            self.memory.read_exact_at(&mut self.buffer, segment_offset(slot))?;
            self.file.write_all_at(&self.buffer, segment_offset(slot))?;
            self.strange.pop();
        }
        Ok(())
    }

    /// Copies what a segment has committed since the last time.
    fn copy(&mut self, segment: &mut Segment) -> io::Result<()> {
        let at = segment.offset();
        let mut bytes = [0; 8];
        // The word first: the bytes that it vouches for were stored before it.
        self.memory.read_exact_at(&mut bytes, at + segment::COMMIT as u64)?;
        let word = u64::from_le_bytes(bytes);
        if word == segment.word {
            return Ok(());
        }
        let end = SEGMENT_HEADER_BYTES + committed(word);
        if segment.begun {
            let from = SEGMENT_HEADER_BYTES + segment.committed();
            if let Some(new) = self.buffer.get_mut(from..end) {
                self.memory.read_exact_at(new, at + from as u64)?;
                self.file.write_all_at(new, at + from as u64)?;
            }
        } else {
            self.buffer.fill(0);
            if let Some(new) = self.buffer.get_mut(..end) {
                self.memory.read_exact_at(new, at)?;
            }
            if let Some(word) = self.buffer.get_mut(segment::COMMIT..segment::COMMIT + 8) {
                word.fill(0);
            }
            let (first, others) = self.buffer.split_at(PAGE);
            self.file.write_all_at(others, at + PAGE as u64)?;
            self.file.write_all_at(first, at)?;
            segment.begun = true;
        }
        self.file.write_all_at(&bytes, at + segment::COMMIT as u64)?;
        segment.word = word;
        Ok(())
    }

    /// Makes a hole in the memory where a segment lay.
    fn give_back(&mut self, slot: u32) -> io::Result<()> {
        let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        fallocate(&self.memory, hole, segment_offset(slot), SEGMENT_BYTES as u64)?;
        self.drained = self.drained.saturating_add(1);
        self.allow()
    }

    /// The live words, as the file is to have them: what only concerns memory is left out, and our own losses are added.
    fn tell_live(&mut self, mut words: [u8; LIVE]) -> io::Result<()> {
        for word in [live::SEGMENTS_DRAINED, live::SEGMENTS_AT_ONCE, live::SEGMENTS_GIVEN_UP] {
            if let Some(word) = word_in(&mut words, word) {
                word.fill(0);
            }
        }
        for (word, lost) in [(live::LOST_NO_SPACE, self.lost.0), (live::LOST_CAPTURE_BYTES, self.lost.1)] {
            if let Some(word) = word_in(&mut words, word) {
                *word = u64::from_le_bytes(*word).saturating_add(lost).to_le_bytes();
            }
        }
        if words != self.live {
            self.file.write_all_at(&words, live::BEGIN as u64)?;
            self.live = words;
        }
        Ok(())
    }

    /// Says in the memory how many segments it may have, and how many were given back. However small the share, each writer may have the
    /// one it writes: with none left to take, no writer would ever leave the one it has.
    pub fn allow(&mut self) -> io::Result<()> {
        let least = (self.open.len() + self.strange.len()) as u64 + MARGIN;
        let words = (self.drained, self.share.max(least));
        if words != self.told {
            let mut bytes = [0; 16];
            let (drained, at_once) = bytes.split_at_mut(8);
            drained.copy_from_slice(&words.0.to_le_bytes());
            at_once.copy_from_slice(&words.1.to_le_bytes());
            self.memory.write_all_at(&bytes, live::SEGMENTS_DRAINED as u64)?;
            self.told = words;
        }
        Ok(())
    }

    /// As [`Drains::finish`](super::Drains::finish).
    pub fn finish(&mut self) -> io::Result<()> {
        let Err(error) = self.pass(true, true) else { return Ok(()) };
        self.refused = true;
        if !self.headed {
            return Err(error);
        }
        // By what is left of each: the others may still fit, a small one where a large one did not.
        let mut left: Vec<Segment> = std::mem::take(&mut self.finished).into();
        left.extend(std::mem::take(&mut self.open).into_values());
        for mut segment in left {
            if self.copy(&mut segment).is_err() {
                let (events, bytes) = self.left_of(&segment)?;
                self.lost = (self.lost.0.saturating_add(events), self.lost.1.saturating_add(bytes));
            }
        }
        for slot in std::mem::take(&mut self.strange) {
            let segment = Segment { slot, kind: SegmentKind::Events, sequence: 0, begun: false, word: 0 };
            let (events, _) = self.left_of(&segment)?;
            self.lost.0 = self.lost.0.saturating_add(events.max(1));
        }
        let mut words = [0; LIVE];
        self.memory.read_exact_at(&mut words, live::BEGIN as u64)?;
        self.tell_live(words)
    }

    /// What of a segment is not in the file: events, and bytes of captures.
    fn left_of(&mut self, segment: &Segment) -> io::Result<(u64, u64)> {
        self.memory.read_exact_at(&mut self.buffer, segment.offset())?;
        let word = self.buffer.get(segment::COMMIT..).and_then(|rest| rest.first_chunk()).copied().unwrap_or_default();
        let all = committed(u64::from_le_bytes(word));
        let payload =
            |length: usize| self.buffer.get(SEGMENT_HEADER_BYTES..SEGMENT_HEADER_BYTES + length).unwrap_or(&[]);
        let events = |length| arenascope_trace::events_in(payload(length));
        Ok(match segment.kind {
            SegmentKind::Events => (events(all).saturating_sub(events(segment.committed())), 0),
            SegmentKind::Blob => (0, all.saturating_sub(segment.committed()) as u64),
        })
    }
}

/// A live word among the live words.
fn word_in(words: &mut [u8; LIVE], offset: usize) -> Option<&mut [u8; 8]> {
    words.get_mut(offset.checked_sub(live::BEGIN)?..)?.first_chunk_mut()
}

/// A live word's value.
fn word_at(words: &[u8; LIVE], offset: usize) -> u64 {
    let word = offset.checked_sub(live::BEGIN).and_then(|at| words.get(at..)?.first_chunk());
    word.copied().map_or(0, u64::from_le_bytes)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use arenascope_trace::layout::{ClockPair, HeaderFields, commit_word, header, segment_header};
    use arenascope_trace::{NO_SITE, Record, SegmentEncoder, crc32c};
    use rustix::fs::{MemfdFlags, SealFlags, SeekFrom, fcntl_add_seals, memfd_create, seek};

    pub const SLOTS: u32 = 64;

    /// Memory as a process has it: what a recorder does, one store after the other.
    pub struct Process {
        pub memory: Arc<File>,
        taken: u64,
    }

    impl Process {
        pub fn new() -> Process {
            let memory = File::from(memfd_create("test", MemfdFlags::CLOEXEC).expect("memory"));
            memory.set_len(segment_offset(SLOTS)).expect("long");
            memory.write_all_at(&header(&HeaderFields::default()), 0).expect("a header");
            Process { memory: Arc::new(memory), taken: 0 }
        }

        pub fn take(&mut self) -> u32 {
            self.taken += 1;
            self.memory.write_all_at(&self.taken.to_le_bytes(), live::NEXT_SEGMENT as u64).expect("a word");
            (self.taken - 1) as u32
        }

        pub fn begin(&self, slot: u32, kind: SegmentKind, writer: u32, sequence: u32) {
            let head = segment_header(kind, writer, sequence, ClockPair { tsc: 1, ns: 1 });
            self.memory.write_all_at(&head, segment_offset(slot)).expect("a header");
        }

        pub fn commit(&self, slot: u32, payload: &[u8]) {
            let at = segment_offset(slot);
            self.memory.write_all_at(payload, at + SEGMENT_HEADER_BYTES as u64).expect("bytes");
            let word = commit_word(payload.len() as u32, crc32c(0, payload));
            self.memory.write_all_at(&word.to_le_bytes(), at + segment::COMMIT as u64).expect("a word");
        }

        pub fn word(&self, offset: usize) -> u64 {
            word_of(&self.memory, offset as u64)
        }

        /// Whether memory is there for a slot.
        fn holds(&self, slot: u32) -> bool {
            let start = segment_offset(slot);
            seek(&self.memory, SeekFrom::Data(start)).is_ok_and(|at| at < start + SEGMENT_BYTES as u64)
        }

        fn copying(&self, file: &File) -> Copying {
            Copying::new(Arc::clone(&self.memory), file.try_clone().expect("a descriptor"), segment_offset(SLOTS))
        }
    }

    fn word_of(file: &File, offset: u64) -> u64 {
        let mut word = [0; 8];
        file.read_exact_at(&mut word, offset).map_or(0, |()| u64::from_le_bytes(word))
    }

    /// A file that takes no byte beyond its `slots` segments.
    fn full_disk(slots: u32) -> File {
        let file = File::from(memfd_create("disk", MemfdFlags::ALLOW_SEALING).expect("memory"));
        file.set_len(segment_offset(slots)).expect("long");
        fcntl_add_seals(&file, SealFlags::GROW).expect("seals");
        file
    }

    /// The committed payload of a slot, its checksum compared.
    pub fn payload(file: &File, slot: u32) -> Vec<u8> {
        let word = word_of(file, segment_offset(slot) + segment::COMMIT as u64);
        let mut bytes = vec![0; word as u32 as usize];
        file.read_exact_at(&mut bytes, segment_offset(slot) + SEGMENT_HEADER_BYTES as u64).expect("what was committed");
        assert_eq!(crc32c(0, &bytes), (word >> 32) as u32, "slot {slot}");
        bytes
    }

    fn events(count: u64) -> Vec<u8> {
        let mut payload = vec![0; SEGMENT_PAYLOAD];
        let mut encoder = SegmentEncoder::new(1);
        let mut used = 0;
        for order in 0..count {
            let record = Record::Free { arena: 1, order, block: 4096 + order };
            used += encoder.record(order, NO_SITE, &record, payload.get_mut(used..).expect("room"));
        }
        payload.truncate(used);
        payload
    }

    #[test]
    fn what_is_finished_is_copied_and_given_back_and_what_is_open_is_only_copied() {
        let mut process = Process::new();
        let file = tempfile::tempfile().expect("a file");
        let mut copying = process.copying(&file);
        let (first, second, blob) = (process.take(), process.take(), process.take());
        process.begin(first, SegmentKind::Events, 7, 0);
        process.commit(first, b"first");
        process.begin(blob, SegmentKind::Blob, 7, 0);
        copying.pass(true, false).expect("room");
        assert_eq!(payload(&file, first), b"first");
        assert!(process.holds(first) && process.holds(blob), "both may still be written");
        process.commit(first, b"first and last");
        process.begin(second, SegmentKind::Events, 7, 1);
        process.commit(second, b"second");
        process.commit(blob, b"bytes");
        copying.pass(true, false).expect("room");
        assert_eq!((payload(&file, first), payload(&file, second)), (b"first and last".to_vec(), b"second".to_vec()));
        assert_eq!(payload(&file, blob), b"bytes");
        assert!(!process.holds(first) && process.holds(second) && !process.holds(blob));
        assert_eq!(process.word(live::SEGMENTS_DRAINED), 2);
        assert_eq!(word_of(&file, live::NEXT_SEGMENT as u64), 3);
        assert_eq!(word_of(&file, live::SEGMENTS_DRAINED as u64), 0, "no business of the file's");
        assert_eq!(word_of(&file, live::SEGMENTS_AT_ONCE as u64), 0, "no business of the file's");
    }

    #[test]
    fn a_lower_slot_that_is_begun_later_is_not_taken_for_the_older() {
        let mut process = Process::new();
        let file = tempfile::tempfile().expect("a file");
        let mut copying = process.copying(&file);
        let (ahead, usual) = (process.take(), process.take());
        process.begin(usual, SegmentKind::Events, 1, 0);
        process.commit(usual, b"before the filter");
        process.begin(ahead, SegmentKind::Events, 1, 1);
        copying.pass(true, false).expect("room");
        assert!(process.holds(ahead) && !process.holds(usual));
        process.commit(ahead, b"after");
        copying.pass(true, true).expect("room");
        assert_eq!(payload(&file, ahead), b"after");
    }

    #[test]
    fn at_any_moment_the_file_holds_a_beginning_of_each_writer_s_bytes() {
        let mut process = Process::new();
        let file = tempfile::tempfile().expect("a file");
        let mut copying = process.copying(&file);
        let mut random = 1u64;
        let mut below = |bound: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % bound
        };
        // By writer: its slot, how many segments it began, what it committed in this one.
        let mut writers: Vec<(u32, u32, Vec<u8>)> = vec![(u32::MAX, 0, Vec::new()); 3];
        let mut all: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
        let mut steps = 0;
        while process.taken < u64::from(SLOTS) - 3 {
            steps += 1;
            let writer = below(3) as usize;
            let Some((slot, begun, bytes)) = writers.get_mut(writer) else { continue };
            let more = 1 + below(9000) as usize;
            if *slot == u32::MAX || bytes.len() + more > SEGMENT_PAYLOAD {
                (*slot, *begun) = (process.take(), *begun + 1);
                bytes.clear();
                // Taken and not begun when somebody looks.
                if below(3) == 0 {
                    copying.pass(below(4) == 0, false).expect("room");
                }
                process.begin(*slot, SegmentKind::Events, writer as u32, *begun);
            }
            bytes.extend((0..more).map(|at| (at as u64 + steps) as u8));
            process.commit(*slot, bytes);
            all.insert(*slot, bytes.clone());
            if below(4) == 0 {
                copying.pass(below(4) == 0, false).expect("room");
                for (slot, bytes) in &all {
                    assert!(bytes.starts_with(&payload(&file, *slot)), "slot {slot}");
                }
            }
        }
        copying.pass(true, true).expect("room");
        for (slot, bytes) in &all {
            assert!(payload(&file, *slot) == *bytes, "slot {slot}");
            assert!(!process.holds(*slot), "slot {slot}");
        }
        assert!(steps > 300, "{steps}");
    }

    #[test]
    fn what_a_full_disk_does_not_take_stays_in_memory_and_is_counted_in_the_end() {
        let mut process = Process::new();
        let file = full_disk(1);
        let mut copying = process.copying(&file);
        let slots: Vec<u32> = (0..4).map(|_| process.take()).collect();
        let [first, second, third, blob] = slots.as_slice() else { panic!("four") };
        for (sequence, slot) in [first, second, third].into_iter().enumerate() {
            process.begin(*slot, SegmentKind::Events, 1, sequence as u32);
            process.commit(*slot, &events(100 + sequence as u64));
        }
        process.begin(*blob, SegmentKind::Blob, 1, 0);
        process.commit(*blob, &[9; 500]);
        for _ in 0..3 {
            copying.pass(true, false).expect_err("no room");
        }
        assert!(!process.holds(*first) && process.holds(*second) && process.holds(*third) && process.holds(*blob));
        assert_eq!(process.word(live::SEGMENTS_DRAINED), 1);
        process.memory.write_all_at(&5u64.to_le_bytes(), live::LOST_NO_SPACE as u64).expect("a word");
        copying.finish().expect("the header page has its room");
        assert_eq!(payload(&file, *first), events(100));
        assert_eq!(word_of(&file, live::LOST_NO_SPACE as u64), 5 + 101 + 102, "the program's own losses and ours");
        assert_eq!(word_of(&file, live::LOST_CAPTURE_BYTES as u64), 500);
    }

    #[test]
    fn of_a_segment_that_is_in_the_file_in_part_the_rest_is_counted() {
        let mut process = Process::new();
        // Room for its first page only: no file system does this, but one byte more is one byte too many here.
        let slot = process.take();
        process.begin(slot, SegmentKind::Events, 1, 0);
        let file = tempfile::tempfile().expect("a file");
        let mut copying = process.copying(&file);
        process.commit(slot, &events(10));
        copying.pass(true, false).expect("room");
        copying.file = File::open("/dev/null").expect("nothing can be written by a descriptor for reading");
        process.commit(slot, &events(25));
        copying.finish().expect_err("the loss cannot be written either");
        assert_eq!(copying.lost, (15, 0));
    }

    #[test]
    fn a_file_that_does_not_even_take_the_header_is_an_error_and_not_a_loss_of_nothing() {
        let process = Process::new();
        let full = File::options().write(true).open("/dev/full").expect("/dev/full");
        process.copying(&full).finish().expect_err("nothing is there");
    }

    #[test]
    fn each_writer_may_have_the_segment_it_writes_however_small_the_share() {
        let mut process = Process::new();
        let mut copying = process.copying(&tempfile::tempfile().expect("a file"));
        for writer in 0..40 {
            let slot = process.take();
            process.begin(slot, SegmentKind::Events, writer, 0);
        }
        copying.share = 2;
        copying.pass(true, false).expect("room");
        assert_eq!(process.word(live::SEGMENTS_AT_ONCE), 40 + MARGIN);
        copying.share = 1000;
        copying.pass(true, false).expect("room");
        assert_eq!(process.word(live::SEGMENTS_AT_ONCE), 1000);
    }

    #[test]
    fn a_word_that_the_program_overwrote_does_not_lead_beyond_the_memory() {
        let process = Process::new();
        process.memory.write_all_at(&u64::MAX.to_le_bytes(), live::NEXT_SEGMENT as u64).expect("a word");
        let mut copying = process.copying(&tempfile::tempfile().expect("a file"));
        copying.pass(true, false).expect("nothing but empty slots");
        assert_eq!(copying.seen, SLOTS);
    }
}

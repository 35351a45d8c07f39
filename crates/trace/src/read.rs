//! A trace as a whole: opened, its facts, its events in merged order, its captured bytes, its damage.
//!
//! Everything is computed from the bytes given; nothing is cached between calls but what `open` found. Opening reads
//! every committed byte once (checksums); iterating decodes each record once, in memory bounded by the number of writers.

use crate::clock::Clock;
use crate::damage::{Damage, DamageKind, OpenError};
use crate::decode::{
    BlobPlace, Decoded, SegmentDecoder, Step, blob_place, inline_bytes_at, module_at, place_at, text, unit_of,
};
use crate::layout::{
    ClockPair, HEADER_BYTES, HeaderFields, MAGIC, SegmentKind, VERSION, live, read_header, sealed, wait_status,
};
use crate::merge::Merge;
use crate::slots::{Segment, Slots, slots_in, walk};
use crate::tail::{Tail, read_tail};
use crate::varint::u64_at;
use alloc::borrow::Cow;
use alloc::vec::Vec;
use arenascope_event::{Address, BlobId, Event, EventKind, EventNumber, Lost, Module, Place, ProcessFacts, SiteFacts};

/// An open trace. Borrows the file's bytes.
#[derive(Clone, Debug)]
pub struct Trace<'a> {
    file: &'a [u8],
    header: HeaderFields<'a>,
    slots: Slots,
    tail: Tail,
    clock: Clock,
    damage: Vec<Damage>,
}

impl<'a> Trace<'a> {
    /// Opens a trace: the whole file, or what there is of it. Reads all committed bytes once (checksums).
    ///
    /// # Errors
    /// Only when there is no trace at all; damage behind the header page is no error (see [`Trace::damage`]).
    pub fn open(file: &'a [u8]) -> Result<Trace<'a>, OpenError> {
        let Some(page) = file.first_chunk::<HEADER_BYTES>() else {
            let begins = MAGIC.starts_with(file) || file.starts_with(&MAGIC);
            return Err(match file {
                [] => OpenError::Empty,
                _ if begins => OpenError::TooShort,
                _ => OpenError::NotATrace,
            });
        };
        let header = read_header(page).ok_or(OpenError::NotATrace)?;
        if header.version > VERSION {
            return Err(OpenError::FutureVersion { found: header.version, supported: VERSION });
        }
        if header.version == 0 {
            return Err(OpenError::NotATrace);
        }
        let mut damage = Vec::new();
        if !header.intact || header.version != VERSION {
            damage.push(Damage { bytes: 0..HEADER_BYTES as u64, what: DamageKind::Header });
        }
        let slots = walk(file, &mut damage);
        let tail = read_tail(file, slots.tail, &mut damage);
        let clock = clock(page, &header.fields, &tail, &slots);
        Ok(Trace { file, header: header.fields, slots, tail, clock, damage })
    }

    /// What is wrong with the file, in file order. Empty for an intact trace.
    pub fn damage(&self) -> &[Damage] {
        &self.damage
    }

    /// Decodes everything, and says what is wrong beyond what the checksums tell: as [`Trace::damage`], and segments
    /// whose records make no sense.
    pub fn check(&self) -> Vec<Damage> {
        let mut damage = self.damage.clone();
        let mut events = self.events();
        while events.next().is_some() {}
        for &slot in &events.merge.malformed {
            let begin = crate::layout::segment_offset(slot);
            damage
                .push(Damage { bytes: begin..begin + crate::layout::SEGMENT_BYTES as u64, what: DamageKind::Records });
        }
        damage
    }

    /// True when the run was sealed: a tail with at least one intact section is there.
    pub fn is_sealed(&self) -> bool {
        self.tail.present
    }

    /// True when event times come from a measured rate; otherwise a tick of the counter was taken for a nanosecond.
    pub fn has_clock(&self) -> bool {
        self.clock.known
    }

    /// CLOCK_MONOTONIC at the start, ns: what event times count from, comparable between processes of one machine. 0 when
    /// it was not read.
    pub fn started_monotonic_ns(&self) -> u64 {
        self.header.start.ns
    }

    /// Bytes of the file that hold data: header page, segments, and the tail; the rest of a sparse file is nothing.
    pub fn data_bytes(&self) -> u64 {
        let segments = crate::layout::segment_offset(self.slots.used);
        segments.saturating_add(self.tail.bytes).min(self.file.len() as u64)
    }

    /// One past the last slot that a segment stands in.
    pub(crate) fn used_slots(&self) -> u32 {
        self.slots.used
    }

    /// Committed bytes of records and captures, without headers: what the events themselves take.
    pub fn payload_bytes(&self) -> u64 {
        self.slots.payload_bytes
    }

    /// What is known about the process: from the tail, as far as it is intact; the rest from the header and from the
    /// definitions among the events (then all of them are decoded once).
    pub fn facts(&self) -> ProcessFacts {
        let mut facts = self.tail.facts.clone();
        if !self.tail.has_process {
            facts.pid = self.header.pid;
            facts.parent_pid = self.header.parent_pid;
            facts.fork_id = self.header.fork_id;
            facts.program = text(self.header.program);
            facts.started_unix_ns = self.header.start_unix_ns;
        }
        if !self.tail.has_end {
            facts.wait_status = wait_status(u64_at(self.file, sealed::WAIT_STATUS));
        }
        if !self.tail.has_lost {
            facts.lost = live_losses(self.file);
        }
        facts.lost.damaged = facts.lost.damaged.saturating_add(self.events_left_out());
        if !self.tail.has_modules || !self.tail.has_sites {
            let (modules, sites, sample_bytes) = self.definitions();
            facts.sample_bytes = facts.sample_bytes.max(sample_bytes);
            if !self.tail.has_modules {
                facts.modules = modules;
            }
            if !self.tail.has_sites {
                facts.sites = sites;
            }
        }
        facts
    }

    /// All events in merged order: each thread's own order is kept, inside an arena `order` decides, otherwise the
    /// time stamp counter. Numbers from 1 without gaps; `time_ns` never falls. Linear times the logarithm of the number
    /// of writers; more than 10^7 events a second.
    pub fn events(&self) -> Events<'_> {
        let lossy = !self.damage.is_empty() || live_losses(self.file).events() > 0;
        let mut merge = Merge::new(self.slots.payload_bytes, lossy);
        let events = self.slots.segments.iter().filter(|segment| segment.kind == SegmentKind::Events);
        merge.add_all(events.copied().collect(), self.file);
        Events { file: self.file, clock: self.clock, merge, numbering: Numbering::default() }
    }

    /// Captured bytes: as many as were written (see `EventKind::Capture::len` for how many there should be). `None`
    /// when the id names none, or its segment is damaged. Borrowed when they lie in one segment.
    pub fn blob(&self, blob: BlobId) -> Option<Cow<'a, [u8]>> {
        match blob_place(blob) {
            BlobPlace::Run { slot } => self.run(slot),
            BlobPlace::Inline { slot, unit } => {
                let segment = self.segment(slot, SegmentKind::Events)?;
                let payload = segment.payload(self.file);
                let mut decoder = SegmentDecoder::new(segment.at.tsc, slot);
                let mut at = 0;
                loop {
                    let start = at;
                    match decoder.step(payload, &mut at) {
                        Step::End | Step::Malformed => return None,
                        _ if unit_of(start) > unit => return None,
                        Step::Event(Decoded { kind: EventKind::Capture { bytes, .. }, .. }) if bytes == blob => {
                            return inline_bytes_at(payload, start).map(Cow::Borrowed);
                        }
                        _ => {}
                    }
                }
            }
        }
    }

    fn segment(&self, slot: u32, kind: SegmentKind) -> Option<&Segment> {
        let index = self.slots.segments.binary_search_by_key(&slot, |segment| segment.slot).ok()?;
        self.slots.segments.get(index).filter(|segment| segment.kind == kind)
    }

    /// The payloads of a run of blob segments, up to the first that is missing.
    fn run(&self, slot: u32) -> Option<Cow<'a, [u8]>> {
        let first = self.segment(slot, SegmentKind::Blob).filter(|first| first.sequence == 0)?;
        let mut whole = Cow::Borrowed(first.payload(self.file));
        let mut last = *first;
        while let Some(next) = last.slot.checked_add(1).and_then(|slot| self.segment(slot, SegmentKind::Blob))
            && next.writer == first.writer
            && last.sequence.checked_add(1) == Some(next.sequence)
            && last.len as usize == crate::layout::SEGMENT_PAYLOAD
        {
            whole.to_mut().extend_from_slice(next.payload(self.file));
            last = *next;
        }
        Some(whole)
    }

    /// Modules and sites as the events define them, and how they were sampled.
    fn definitions(&self) -> (Vec<Module>, Vec<SiteFacts>, u64) {
        // A site's definition takes 8 bytes, a module's 16: ids beyond what the file can define are damage.
        let site_limit = self.slots.payload_bytes / 8 + 64;
        let module_limit = self.slots.payload_bytes / 16 + 16;
        let mut modules: Vec<Module> = Vec::new();
        let mut sites: Vec<SiteFacts> = Vec::new();
        let mut places: Vec<Place> = Vec::new();
        let mut place_of: Vec<(u32, u32)> = Vec::new();
        let mut sample_bytes = 0;
        for segment in self.slots.segments.iter().filter(|segment| segment.kind == SegmentKind::Events) {
            let payload = segment.payload(self.file);
            let mut decoder = SegmentDecoder::new(segment.at.tsc, segment.slot);
            let mut at = 0;
            loop {
                let start = at;
                match decoder.step(payload, &mut at) {
                    Step::End | Step::Malformed => break,
                    Step::Site(id, place) if u64::from(id) < site_limit => {
                        let addresses = decoder.frames().iter().map(|&frame| Address(frame)).collect();
                        *grown(&mut sites, id) = SiteFacts { addresses, ..SiteFacts::default() };
                        place_of.extend(place.map(|place| (id, place)));
                    }
                    Step::Place(id) if u64::from(id) < site_limit => {
                        if let Some(place) = place_at(payload, start) {
                            *grown(&mut places, id) = place;
                        }
                    }
                    Step::Event(Decoded { kind: EventKind::Sampling { bytes }, .. }) => sample_bytes = bytes,
                    Step::Event(Decoded { kind: EventKind::ModuleLoaded { module }, .. })
                        if u64::from(module) < module_limit =>
                    {
                        if let Some(found) = module_at(payload, start) {
                            *grown(&mut modules, found.number) = Module {
                                path: text(found.path),
                                bias: found.bias,
                                start: Address(found.start),
                                end: Address(found.end),
                                build_id: found.build_id.to_vec(),
                            };
                        }
                    }
                    _ => {}
                }
            }
        }
        // A site may be defined in another segment than its place, and before it in the file.
        for (site, place) in place_of {
            if let (Some(site), Some(place)) = (sites.get_mut(site as usize), places.get(place as usize)) {
                site.place = Some(place.clone()).filter(|place| place.line > 0);
            }
        }
        (modules, sites, sample_bytes)
    }

    /// Events in segments whose checksum fails: those that decode all the same are counted, and each such segment
    /// counts for one at least.
    fn events_left_out(&self) -> u64 {
        let mut count = 0;
        for &(slot, len) in &self.slots.left_out {
            count += events_in(crate::slots::payload(self.file, slot, len)).max(1);
        }
        count
    }
}

/// How many events the first bytes of an events segment's payload hold, up to the first that makes no sense. O(bytes).
pub fn events_in(payload: &[u8]) -> u64 {
    let mut decoder = SegmentDecoder::new(0, 0);
    let mut at = 0;
    let mut events = 0u64;
    loop {
        match decoder.step(payload, &mut at) {
            Step::End | Step::Malformed => return events,
            Step::Event(_) => events += 1,
            Step::Site(..) | Step::Place(_) | Step::Nothing => {}
        }
    }
}

/// The element at `index`, the list grown to hold it. The caller has bounded `index`.
fn grown<T: Default + Clone>(list: &mut Vec<T>, index: u32) -> &mut T {
    let index = index as usize;
    if list.len() <= index {
        list.resize(index + 1, T::default());
    }
    &mut list[index]
}

/// The loss counters of the header page.
pub(crate) fn live_losses(file: &[u8]) -> Lost {
    Lost {
        no_space: u64_at(file, live::LOST_NO_SPACE),
        reentered: u64_at(file, live::LOST_REENTERED),
        table_full: u64_at(file, live::LOST_TABLE_FULL),
        heap_skipped: u64_at(file, live::LOST_HEAP_SKIPPED),
        capture_bytes: u64_at(file, live::LOST_CAPTURE_BYTES),
        damaged: 0,
    }
}

/// The tail's pair is checksummed; the header's words are not; segments' are, and lie before the end.
fn clock(page: &[u8], header: &HeaderFields<'_>, tail: &Tail, slots: &Slots) -> Clock {
    let word_pair = |tsc, ns| ClockPair { tsc: u64_at(page, tsc), ns: u64_at(page, ns) };
    let end = word_pair(sealed::END_TSC, sealed::END_NS);
    let latest = word_pair(live::LATEST_TSC, live::LATEST_NS);
    let of_segments = slots.segments.iter().map(|segment| segment.at).max_by_key(|at| at.tsc);
    Clock::new(header.start, [tail.end, end, of_segments.unwrap_or_default(), latest])
}

/// Numbers and times of merged events.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Numbering {
    number: u64,
    time_ns: u64,
}

impl Numbering {
    #[inline]
    pub(crate) fn event(&mut self, clock: &Clock, decoded: Decoded) -> Event {
        self.number += 1;
        // Where an arena's order and the clock disagree, the order is the truth: time stands still rather than falls.
        self.time_ns = self.time_ns.max(clock.since_start(decoded.ticks));
        Event {
            number: EventNumber(self.number),
            time_ns: self.time_ns,
            thread: decoded.thread,
            site: decoded.site,
            kind: decoded.kind,
        }
    }
}

/// The events of a trace in merged order. A clone goes on from where the original stood: a cheap bookmark.
#[derive(Clone, Debug)]
pub struct Events<'t> {
    file: &'t [u8],
    clock: Clock,
    merge: Merge,
    numbering: Numbering,
}

impl Iterator for Events<'_> {
    type Item = Event;

    #[inline]
    fn next(&mut self) -> Option<Event> {
        let decoded = self.merge.next(self.file, true)?;
        Some(self.numbering.event(&self.clock, decoded))
    }
}

/// The clock of a file that still grows; `latest`: the latest pair of its segments.
pub(crate) fn growing_clock(file: &[u8], header: &HeaderFields<'_>, latest: ClockPair) -> Clock {
    let word_pair = |tsc, ns| ClockPair { tsc: u64_at(file, tsc), ns: u64_at(file, ns) };
    let words = word_pair(live::LATEST_TSC, live::LATEST_NS);
    let end = word_pair(sealed::END_TSC, sealed::END_NS);
    Clock::new(header.start, [end, words, latest])
}

/// How many slots a growing file may hold now: those taken, as far as the bytes reach.
pub(crate) fn slots_taken(file: &[u8]) -> u32 {
    u32::try_from(u64_at(file, live::NEXT_SEGMENT)).unwrap_or(u32::MAX).min(slots_in(file))
}

//! A trace in memory: the events of one watch, in the order in which they came, as bytes that every reader of traces understands.
//!
//! May be relied on: what is asserted on is read from these bytes, and they are what a failing assertion leaves. Absent on purpose:
//! files, and judgement.

use arenascope_event::{Address, BoundsKind, Frame, ProcessFacts};
use arenascope_record::{LentEvent, NO_SITE, Record, library_kind as kind, ticks};
use arenascope_trace::layout::{self, ClockPair, HeaderFields, SegmentKind};
use arenascope_trace::{SegmentEncoder, Trace, crc32c, seal};
use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::thread::ThreadId;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// An arena as the tape knows it.
struct Seen {
    key: u32,
    /// The next record's order among the arena's.
    order: u64,
    /// The library's number of the next event.
    next: u64,
}

pub(crate) struct Tape {
    bytes: Vec<u8>,
    began: Instant,
    encoder: SegmentEncoder,
    segments: u32,
    used: usize,
    crc: u32,
    /// The thread that the last record is of.
    thread: u32,
    threads: HashMap<ThreadId, u32>,
    arenas: HashMap<u64, Seen>,
    keys: u32,
    /// By file, line and column.
    sites: HashMap<(Vec<u8>, u32, u32), u32>,
}

impl Tape {
    pub(crate) fn new() -> Tape {
        let program = std::env::current_exe().unwrap_or_default();
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
        let start = ClockPair { tsc: ticks(), ns: 1 };
        let page = layout::header(&HeaderFields {
            pid: std::process::id(),
            parent_pid: std::os::unix::process::parent_id(),
            fork_id: 0,
            start,
            start_unix_ns: unix,
            program: program.as_os_str().as_bytes(),
        });
        Tape {
            bytes: page.to_vec(),
            began: Instant::now(),
            encoder: SegmentEncoder::new(start.tsc),
            segments: 0,
            used: layout::SEGMENT_PAYLOAD,
            crc: 0,
            thread: 0,
            threads: HashMap::new(),
            arenas: HashMap::new(),
            keys: 0,
            sites: HashMap::new(),
        }
    }

    fn now(&self) -> ClockPair {
        ClockPair { tsc: ticks(), ns: 1 + self.began.elapsed().as_nanos() as u64 }
    }

    /// Appends a record of the present thread.
    fn put(&mut self, site: u32, record: &Record<'_>) {
        if self.used + record.max_bytes() > layout::SEGMENT_PAYLOAD {
            self.open_segment();
        }
        let begin = layout::segment_offset(self.segments - 1) as usize;
        let payload = begin + layout::SEGMENT_HEADER_BYTES;
        let room = &mut self.bytes[payload + self.used..payload + layout::SEGMENT_PAYLOAD];
        let length = self.encoder.record(ticks(), site, record, room);
        self.crc = crc32c(self.crc, &room[..length]);
        self.used += length;
        let word = layout::commit_word(self.used as u32, self.crc);
        self.bytes[begin + layout::segment::COMMIT..][..8].copy_from_slice(&word.to_le_bytes());
    }

    fn open_segment(&mut self) {
        let at = self.now();
        let begin = layout::segment_offset(self.segments) as usize;
        self.bytes.resize(begin + layout::SEGMENT_BYTES, 0);
        let head = layout::segment_header(SegmentKind::Events, 0, self.segments, at);
        self.bytes[begin..][..head.len()].copy_from_slice(&head);
        self.segments += 1;
        self.bytes[layout::live::NEXT_SEGMENT..][..8].copy_from_slice(&u64::from(self.segments).to_le_bytes());
        self.encoder = SegmentEncoder::new(at.tsc);
        (self.used, self.crc) = (0, 0);
        self.put(NO_SITE, &Record::Thread { number: self.thread });
    }

    /// Makes the calling thread the one that the next records are of.
    fn turn_to_this_thread(&mut self) {
        let id = std::thread::current().id();
        let count = self.threads.len() as u32;
        let (number, fresh) = match self.threads.get(&id) {
            Some(number) => (*number, false),
            None => (count + 1, true),
        };
        if number != self.thread {
            self.thread = number;
            if self.segments > 0 {
                self.put(NO_SITE, &Record::Thread { number });
            }
        }
        if fresh {
            self.threads.insert(id, number);
            self.put(NO_SITE, &Record::ThreadStart { tid: 0, parent: 0 });
        }
    }

    fn site(&mut self, told: &LentEvent<'_>) -> u32 {
        let Some(place) = told.place() else { return NO_SITE };
        let fresh = self.sites.len() as u32;
        let name = (place.file.to_vec(), place.line, place.column);
        if let Some(known) = self.sites.get(&name) {
            return *known;
        }
        self.put(NO_SITE, &Record::Place { id: fresh, file: place.file, line: place.line, column: place.column });
        self.put(NO_SITE, &Record::Site { id: fresh, addresses: &[], place: Some(fresh) });
        self.sites.insert(name, fresh);
        fresh
    }

    /// The arena's key and the order of this event; the arena is told of when it is new.
    fn arena(&mut self, told: &LentEvent<'_>) -> (u32, u64) {
        let event = told.event();
        if let Some(seen) = self.arenas.get_mut(&event.arena)
            && event.kind != kind::CREATE
        {
            // Events that were made where nobody listened leave a gap, as lost ones do: rules then accuse of nothing that they may explain.
            let gap = event.number.saturating_sub(seen.next);
            seen.order += gap;
            seen.next = event.number + 1;
            return (seen.key, seen.order);
        }
        let (key, order) = match self.arenas.get(&event.arena) {
            Some(seen) => (seen.key, seen.order),
            None => {
                self.keys += 1;
                self.put(NO_SITE, &Record::ArenaSeen { arena: self.keys, object: event.arena });
                (self.keys, 0)
            }
        };
        self.arenas.insert(event.arena, Seen { key, order, next: event.number + 1 });
        if event.kind != kind::CREATE {
            self.bounds(key, told);
        }
        (key, order)
    }

    fn bounds(&mut self, arena: u32, told: &LentEvent<'_>) {
        if let Some(bounds) = told.bounds().filter(|bounds| bounds.capacity > 0) {
            let (base, capacity, reserved) = (bounds.base, bounds.capacity, bounds.reserved);
            self.put(NO_SITE, &Record::Bounds { arena, base, capacity, reserved, kind: bounds.kind });
        }
    }

    /// Writes an event down.
    pub(crate) fn event(&mut self, told: &LentEvent<'_>) {
        let event = told.event();
        self.turn_to_this_thread();
        let (arena, order) = self.arena(told);
        let site = self.site(told);
        let (block, size) = (event.block, event.size);
        let record = match event.kind {
            kind::CREATE => {
                let bounded = told.bounds().filter(|bounds| bounds.kind == BoundsKind::Bounded);
                let name = Some(told.name()).filter(|name| !name.is_empty());
                let size = bounded.map(|bounds| bounds.capacity);
                Record::Create { arena, order, size, parent: None, name, nested: 0 }
            }
            kind::ALLOC => Record::Alloc { arena, order, block, size, align: event.align },
            kind::REFUSED => Record::Alloc { arena, order, block: 0, size, align: event.align },
            kind::RESIZE => Record::Resize { arena, order, old: event.old_block, new: block, size },
            kind::FREE => Record::Free { arena, order, block },
            kind::SCOPE_ENTER => Record::ScopeEnter { arena, order, cursor: block },
            kind::SCOPE_EXIT => Record::ScopeExit { arena, order, cursor: block },
            kind::CHECKPOINT => Record::Mark { arena, order, mark: block },
            kind::REWIND => Record::Rewind { arena, order, mark: block },
            kind::RESET => Record::Reset { arena, order },
            kind::DESTROY => Record::Destroy { arena, order },
            kind::LEASE => {
                let bounds =
                    Record::Bounds { arena, base: block, capacity: size, reserved: size, kind: BoundsKind::Lease };
                self.put(NO_SITE, &bounds);
                return;
            }
            // Of a forked child, or of a newer library.
            _ => return,
        };
        self.put(site, &record);
        if let Some(seen) = self.arenas.get_mut(&event.arena) {
            seen.order += 1;
        }
        if event.kind == kind::CREATE {
            self.bounds(arena, told);
        }
    }

    /// The bytes so far.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.bytes.clone()
    }

    /// Its threads and clock go on; `bytes` are completed, so that they can be read without the program.
    pub(crate) fn sealed(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let trace = Trace::open(bytes).ok()?;
        let seal = seal(bytes, &facts(&trace), self.now()).ok()?;
        let mut whole = bytes.to_vec();
        whole.resize(seal.tail_offset as usize, 0);
        whole.extend(&seal.tail);
        whole.resize(seal.file_bytes as usize, 0);
        for (at, word) in seal.words {
            whole[at as usize..][..8].copy_from_slice(&word);
        }
        Some(whole)
    }
}

/// What is known of the process, each site a frame of its own.
pub(crate) fn facts(trace: &Trace<'_>) -> ProcessFacts {
    let mut facts = trace.facts();
    facts.arguments = std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    facts.libraries = vec![facts.program.clone()];
    for site in &mut facts.sites {
        if let Some(place) = &site.place {
            site.source = source_line(&place.file, place.line).unwrap_or_default();
            site.frames =
                vec![Frame { address: Address::NULL, file: place.file.clone(), line: place.line, ..Frame::default() }];
        }
    }
    facts
}

/// The line, trimmed, if the file is there: names are relative to the folder of the workspace, and tests run in that of their package.
fn source_line(file: &str, line: u32) -> Option<String> {
    let here = std::env::current_dir().ok()?;
    let text = here.ancestors().find_map(|folder| std::fs::read_to_string(folder.join(Path::new(file))).ok())?;
    Some(text.lines().nth((line as usize).checked_sub(1)?)?.trim().to_owned())
}

//! Many writers' streams to one order.
//!
//! Three orders meet. Each writer's own order is kept. Inside an arena the `order` numbers decide, not the clock.
//! Between the rest, the time stamp counter decides.
//!
//! A stream whose next event is ahead of its arena's order waits, as a whole, until the missing event came from another
//! stream: nothing is buffered, and each writer's own order stays what it was. A number that never comes (lost, damaged,
//! killed before its commit) cannot stall: when all streams wait, or one has waited for many events, the nearest number
//! is taken for the next.
//!
//! Holds positions and no bytes, so that it can be fed a file that grows.

use crate::decode::{Decoded, SegmentDecoder, Step};
use crate::slots::{Segment, payload};
use alloc::collections::binary_heap::PeekMut;
use alloc::collections::{BTreeMap, BinaryHeap};
use alloc::vec::Vec;
use arenascope_event::EventKind;
use core::cmp::Reverse;

/// One writer's events.
#[derive(Clone, Debug)]
struct Stream {
    writer: u32,
    segments: Vec<Segment>,
    /// Index of the segment being decoded.
    current: usize,
    /// Position in its payload.
    at: usize,
    decoder: SegmentDecoder,
    head: Option<Decoded>,
    /// Time of the head.
    ticks: u64,
    /// Events of the stream never go back in time, even when segments do.
    floor: u64,
}

impl Stream {
    /// Decodes the next event into `head`; false when there is none (yet).
    fn advance(&mut self, file: &[u8], malformed: &mut Vec<u32>) -> bool {
        loop {
            let Some(segment) = self.segments.get(self.current) else { return false };
            match self.decoder.step(payload(file, segment.slot, segment.len), &mut self.at) {
                Step::Event(event) => {
                    self.floor = self.floor.max(event.ticks);
                    self.ticks = self.floor;
                    self.head = Some(event);
                    return true;
                }
                Step::Site(..) | Step::Place(_) | Step::Nothing => {}
                step @ (Step::End | Step::Malformed) => {
                    if matches!(step, Step::Malformed) {
                        malformed.push(segment.slot);
                        // Nothing more comes out of this segment, also when it grows.
                        self.at = usize::MAX;
                    }
                    let Some(next) = self.segments.get(self.current + 1) else { return false };
                    self.decoder = SegmentDecoder::new(next.at.tsc, next.slot);
                    self.current += 1;
                    self.at = 0;
                }
            }
        }
    }
}

/// A stream whose head is ahead of its arena.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    stream: u32,
    arena: u32,
    order: u64,
    /// Events merged when it began to wait.
    since: u64,
}

/// The merge of all streams.
#[derive(Clone, Debug)]
pub(crate) struct Merge {
    streams: Vec<Stream>,
    /// Streams with a head that is not known to wait: time, writer (decides at equal times), stream.
    ready: BinaryHeap<Reverse<(u64, u32, u32)>>,
    waiting: Vec<Waiting>,
    orders: Orders,
    merged: u64,
    patience: u64,
    /// Slots whose records made no sense.
    pub malformed: Vec<u32>,
}

/// How many events of others a stream waits for when nothing is known to be lost: longer than a thread can be off the
/// CPU between numbering an event and writing it, at 10^7 events a second.
const PATIENCE: u64 = 1 << 20;

/// The same when events are known to be missing, so that most waits are in vain.
const PATIENCE_WITH_LOSSES: u64 = 1 << 12;

impl Merge {
    /// `lossy`: events are missing.
    pub(crate) fn new(payload_bytes: u64, lossy: bool) -> Merge {
        Merge {
            streams: Vec::new(),
            ready: BinaryHeap::new(),
            waiting: Vec::new(),
            orders: Orders::new(payload_bytes),
            merged: 0,
            patience: if lossy { PATIENCE_WITH_LOSSES } else { PATIENCE },
            malformed: Vec::new(),
        }
    }

    /// More payload bytes may define more arenas.
    pub(crate) fn allow(&mut self, payload_bytes: u64) {
        self.orders.limit = payload_bytes / BYTES_PER_ARENA;
    }

    /// Adds all events segments, in any order. Linear plus sorting.
    pub(crate) fn add_all(&mut self, mut segments: Vec<Segment>, file: &[u8]) {
        segments.sort_by_key(|segment| (segment.writer, segment.sequence, segment.slot));
        for run in segments.chunk_by(|a, b| a.writer == b.writer) {
            let Some(first) = run.first() else { continue };
            let stream = self.push_stream(*first);
            if let Some(stream) = self.streams.get_mut(stream as usize) {
                stream.segments = run.to_vec();
            }
            self.refill(stream, file);
        }
    }

    /// Adds one segment at the end of its writer's stream, or lets a known one grow. Returns whether it was known.
    pub(crate) fn grow(&mut self, stream: Option<u32>, segment: Segment) -> u32 {
        let Some((number, stream)) = stream.and_then(|s| Some((s, self.streams.get_mut(s as usize)?))) else {
            return self.push_stream(segment);
        };
        match stream.segments.iter_mut().rev().find(|known| known.slot == segment.slot) {
            Some(known) => known.len = known.len.max(segment.len),
            None => stream.segments.push(segment),
        }
        number
    }

    fn push_stream(&mut self, first: Segment) -> u32 {
        self.streams.push(Stream {
            writer: first.writer,
            decoder: SegmentDecoder::new(first.at.tsc, first.slot),
            segments: alloc::vec![first],
            current: 0,
            at: 0,
            head: None,
            ticks: 0,
            floor: 0,
        });
        (self.streams.len() - 1) as u32
    }

    /// The stream of a writer, by linear search.
    pub(crate) fn stream_of(&self, writer: u32) -> Option<u32> {
        self.streams.iter().position(|stream| stream.writer == writer).map(|index| index as u32)
    }

    /// Decodes the head of a stream that has none.
    pub(crate) fn refill(&mut self, number: u32, file: &[u8]) {
        let Some(stream) = self.streams.get_mut(number as usize) else { return };
        if stream.head.is_none() && stream.advance(file, &mut self.malformed) {
            self.ready.push(Reverse((stream.ticks, stream.writer, number)));
        }
    }

    /// Decodes the heads of all streams that have none.
    pub(crate) fn refill_all(&mut self, file: &[u8]) {
        for number in 0..self.streams.len() as u32 {
            self.refill(number, file);
        }
    }

    /// The next event. With `settle`, streams that wait are released when no other has an event left; without, they
    /// wait on: more bytes may come.
    #[inline]
    pub(crate) fn next(&mut self, file: &[u8], settle: bool) -> Option<Decoded> {
        loop {
            if let Some(oldest) = self.waiting.first() {
                if self.merged.saturating_sub(oldest.since) > self.patience {
                    self.release(oldest.arena);
                } else if self.ready.is_empty() {
                    if !settle {
                        return None;
                    }
                    let arena = self.earliest_waiting()?;
                    self.release(arena);
                }
            }
            let mut top = self.ready.peek_mut()?;
            let Reverse((_, _, number)) = *top;
            let Some(stream) = self.streams.get_mut(number as usize) else {
                PeekMut::pop(top);
                continue;
            };
            let Some(head) = stream.head.as_ref() else {
                PeekMut::pop(top);
                continue;
            };
            let own = head.kind.arena_order();
            // A range is told of after its arena, which another stream may have announced.
            let after = match head.kind {
                EventKind::HeapSegment { arena, .. } => Some((arena, 0)),
                _ => own,
            };
            if let Some((arena, order)) = after
                && !self.orders.is_next(arena.0, order)
            {
                self.waiting.push(Waiting { stream: number, arena: arena.0, order, since: self.merged });
                PeekMut::pop(top);
                continue;
            }
            let mut event = stream.head.take()?;
            event.ticks = stream.ticks;
            if stream.advance(file, &mut self.malformed) {
                // Only sifts when another stream comes first now.
                if stream.ticks != event.ticks {
                    *top = Reverse((stream.ticks, stream.writer, number));
                }
                drop(top);
            } else {
                PeekMut::pop(top);
            }
            self.merged += 1;
            let touched = match own {
                Some((arena, order)) => {
                    self.orders.merged(arena.0, order);
                    Some(arena.0)
                }
                None => match event.kind {
                    EventKind::ArenaSeen { arena, .. } => {
                        self.orders.seen(arena.0);
                        Some(arena.0)
                    }
                    _ => None,
                },
            };
            if let Some(arena) = touched
                && !self.waiting.is_empty()
            {
                self.wake(arena);
            }
            return Some(event);
        }
    }

    /// Streams that waited for this arena and need not any more.
    fn wake(&mut self, arena: u32) {
        let Merge { waiting, ready, orders, streams, .. } = self;
        waiting.retain(|wait| {
            if wait.arena != arena || !orders.is_next(wait.arena, wait.order) {
                return true;
            }
            if let Some(stream) = streams.get(wait.stream as usize) {
                ready.push(Reverse((stream.ticks, stream.writer, wait.stream)));
            }
            false
        });
    }

    /// Gives up on what `arena` misses: the nearest number that waits is the next.
    fn release(&mut self, arena: u32) {
        let nearest = self.waiting.iter().filter(|wait| wait.arena == arena).map(|wait| wait.order).min();
        if let Some(order) = nearest {
            self.orders.jump(arena, order);
            self.wake(arena);
        }
    }

    /// The arena that the earliest of the waiting streams waits for.
    fn earliest_waiting(&self) -> Option<u32> {
        let time = |wait: &&Waiting| self.streams.get(wait.stream as usize).map_or(0, |stream| stream.ticks);
        self.waiting.iter().min_by_key(time).map(|wait| wait.arena)
    }
}

/// The number that each arena's next event has.
#[derive(Clone, Debug)]
struct Orders {
    /// Keys are dense: a table. What it may grow to is bounded by the bytes that could define arenas.
    dense: Vec<u64>,
    limit: u64,
    /// Keys beyond the limit: only in damaged or made-up traces.
    sparse: BTreeMap<u32, u64>,
}

/// An arena needs at least a record that says it was seen, and one of its own.
const BYTES_PER_ARENA: u64 = 4;

/// The arena was not seen yet: its events wait for the record that says it was.
const UNSEEN: u64 = u64::MAX;
/// The highest numbers: any may come next.
const ANY: u64 = u64::MAX - 1;

impl Orders {
    fn new(payload_bytes: u64) -> Orders {
        Orders { dense: Vec::new(), limit: payload_bytes / BYTES_PER_ARENA, sparse: BTreeMap::new() }
    }

    #[inline]
    fn get(&self, arena: u32) -> u64 {
        match self.dense.get(arena as usize) {
            Some(&next) => next,
            None => self.sparse.get(&arena).copied().unwrap_or(UNSEEN),
        }
    }

    #[inline]
    fn set(&mut self, arena: u32, next: u64) {
        if let Some(place) = self.dense.get_mut(arena as usize) {
            *place = next;
        } else if u64::from(arena) < self.limit {
            self.dense.resize(arena as usize + 1, UNSEEN);
            // Keys in between may have been beyond an earlier limit.
            let mut beyond = self.sparse.split_off(&arena.saturating_add(1));
            core::mem::swap(&mut beyond, &mut self.sparse);
            for (key, value) in beyond {
                if let Some(place) = self.dense.get_mut(key as usize) {
                    *place = value;
                }
            }
            if let Some(place) = self.dense.get_mut(arena as usize) {
                *place = next;
            }
        } else {
            self.sparse.insert(arena, next);
        }
    }

    /// An event may be merged when it is the next, or when it comes late.
    #[inline]
    fn is_next(&self, arena: u32, order: u64) -> bool {
        match self.get(arena) {
            UNSEEN => false,
            ANY => true,
            next => order <= next,
        }
    }

    #[inline]
    fn merged(&mut self, arena: u32, order: u64) {
        let next = self.get(arena);
        if order >= next || next == ANY {
            self.set(arena, order.saturating_add(1).min(ANY));
        }
    }

    fn seen(&mut self, arena: u32) {
        if self.get(arena) == UNSEEN {
            self.set(arena, 0);
        }
    }

    fn jump(&mut self, arena: u32, order: u64) {
        let next = self.get(arena);
        if next == UNSEEN || order > next {
            self.set(arena, order.min(ANY));
        }
    }
}

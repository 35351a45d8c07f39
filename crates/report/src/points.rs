//! What a comparison needs of each of its moments: the state, the bytes that were saved until then, and how much each arena
//! and site had handed out.
//!
//! A [`Collector`] is fed every event with its effect and the state after it, beside the replay. May be relied on: bytes
//! saved at or before a moment only; memory is that of a state per moment, of arenas and sites, and of at most [`MOST_SPANS`]
//! spans. Absent: what differs (`diff`), the bytes themselves (fetched by whoever holds the trace).

use crate::view::Moment;
use arenascope_event::{BlobId, CaptureReason, Event, EventKind, SiteId};
use arenascope_replay::{ArenaId, Block, Effect, State, What};
use std::collections::BTreeMap;

/// Spans of saved bytes that are remembered; the oldest go first.
pub const MOST_SPANS: usize = 1 << 16;

/// A saved range.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SavedSpan {
    /// The event that saved it.
    pub event: u64,
    /// Why.
    pub reason: CaptureReason,
    /// First byte.
    pub base: u64,
    /// Bytes of the range; the blob may hold less.
    pub len: u64,
    /// The bytes.
    pub bytes: BlobId,
}

/// What had been saved by a moment, by address, newest where ranges lie on each other.
#[derive(Clone, Debug, Default)]
pub struct Saved {
    /// By first byte and event.
    spans: BTreeMap<(u64, u64), SavedSpan>,
    /// Saved bytes older than this lay at other addresses: memory was moved.
    floor: u64,
}

impl Saved {
    fn add(&mut self, span: SavedSpan) {
        let end = span.base.saturating_add(span.len);
        let covered: Vec<(u64, u64)> = self
            .spans
            .range((span.base, 0)..(end, 0))
            .filter(|(_, old)| old.base.saturating_add(old.len) <= end)
            .map(|(key, _)| *key)
            .collect();
        for key in covered {
            self.spans.remove(&key);
        }
        self.spans.insert((span.base, span.event), span);
        if self.spans.len() > MOST_SPANS {
            // Half at once, so that this costs little per span.
            let mut events: Vec<u64> = self.spans.values().map(|span| span.event).collect();
            events.sort_unstable();
            let middle = events.get(events.len() / 2).copied().unwrap_or(0);
            self.spans.retain(|_, span| span.event > middle);
        }
    }

    /// The newest span that holds `address`, saved at or after `since`.
    pub fn holding(&self, address: u64, since: u64) -> Option<SavedSpan> {
        let since = since.max(self.floor);
        // A span that begins lower may reach further; so many are looked at.
        let before = self.spans.range(..=(address, u64::MAX)).rev().take(64).map(|(_, span)| *span);
        let holds = |span: &SavedSpan| span.base.saturating_add(span.len) > address && span.event >= since;
        before.filter(holds).max_by_key(|span| span.event)
    }
}

/// Blocks handed out so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Handed {
    /// How many.
    pub blocks: u64,
    /// Bytes asked for.
    pub bytes: u64,
}

/// One moment.
#[derive(Clone, Debug)]
pub struct Point {
    /// Which.
    pub moment: Moment,
    /// The state after it.
    pub state: State,
    /// Bytes saved at or before it.
    pub saved: Saved,
    /// Blocks handed out until then, by arena and site.
    pub handed: BTreeMap<(ArenaId, Option<SiteId>), Handed>,
}

/// Collects the points of some moments in one pass.
#[derive(Clone, Debug)]
pub struct Collector {
    /// Ascending, without repeats.
    moments: Vec<u64>,
    points: Vec<Point>,
    saved: Saved,
    handed: BTreeMap<(ArenaId, Option<SiteId>), Handed>,
}

impl Collector {
    /// For these moments (numbers of events; 0 is the start, `u64::MAX` the end), in any order. `start` is the state before
    /// the first event.
    pub fn new(moments: &[u64], start: &State) -> Collector {
        let mut moments = moments.to_vec();
        moments.sort_unstable();
        moments.dedup();
        let mut collector = Collector { moments, points: Vec::new(), saved: Saved::default(), handed: BTreeMap::new() };
        if collector.moments.first() == Some(&0) {
            collector.take(start, 0);
        }
        collector
    }

    fn take(&mut self, state: &State, event: u64) {
        self.points.push(Point {
            moment: Moment { event, time_ns: state.time_ns },
            state: state.clone(),
            saved: self.saved.clone(),
            handed: self.handed.clone(),
        });
    }

    /// To be called for every event, after it was applied.
    pub fn observe(&mut self, event: &Event, effect: &Effect, state: &State) {
        match &event.kind {
            EventKind::Capture { reason, base, len, bytes, .. } => {
                let (event, reason, base, len, bytes) = (event.number.0, *reason, base.0, *len, *bytes);
                self.saved.add(SavedSpan { event, reason, base, len, bytes });
            }
            EventKind::Remap { .. } => self.saved.floor = event.number.0,
            _ if !effect.revived.is_empty() => self.saved.floor = event.number.0,
            _ => {}
        }
        if let (What::Allocated, Some(block), Some(arena)) = (effect.what, &effect.block, effect.arena) {
            let handed = self.handed.entry((arena, block.site)).or_default();
            handed.blocks = handed.blocks.saturating_add(1);
            handed.bytes = handed.bytes.saturating_add(block.size);
        }
        if self.moments.get(self.points.len()) == Some(&event.number.0) {
            self.take(state, event.number.0);
        }
    }

    /// The points, in the order of their moments. `state` is that after the last event: the point of every moment past it.
    pub fn finish(mut self, state: &State) -> Vec<Point> {
        while self.points.len() < self.moments.len() {
            self.take(state, state.moment.0);
        }
        self.points
    }
}

/// The first event at which saved bytes are this block's, where it lies now.
pub fn since(block: &Block) -> u64 {
    let born = if block.inherited { 0 } else { block.born.0 };
    born.max(block.resized.map_or(0, |moment| moment.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn span(event: u64, base: u64, len: u64) -> SavedSpan {
        SavedSpan { event, reason: CaptureReason::Reset, base, len, bytes: BlobId(u32::try_from(event).expect("few")) }
    }

    proptest! {
        /// The stupid way: every span ever, the newest that holds the address.
        #[test]
        fn the_newest_span_is_found(spans in proptest::collection::vec((0u64..60, 1u64..20), 0..30), address in 0u64..90, since in 0u64..30) {
            let mut saved = Saved::default();
            let all: Vec<SavedSpan> = (1..).zip(&spans).map(|(event, (base, len))| span(event, *base, *len)).collect();
            for span in &all {
                saved.add(*span);
            }
            let holds = |span: &&SavedSpan| (span.base..span.base + span.len).contains(&address);
            let expected = all.iter().filter(holds).max_by_key(|span| span.event).filter(|span| span.event >= since);
            prop_assert_eq!(saved.holding(address, since), expected.copied());
        }
    }

    #[test]
    fn the_oldest_spans_go_first() {
        let mut saved = Saved::default();
        for event in 1..=(MOST_SPANS as u64 + 1) {
            saved.add(span(event, event * 16, 8));
        }
        assert!(saved.spans.len() <= MOST_SPANS);
        assert_eq!(saved.holding(16, 0), None);
        assert!(saved.holding((MOST_SPANS as u64 + 1) * 16, 0).is_some());
    }
}

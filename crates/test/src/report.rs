//! What a watch has counted, and assertions on it.
//!
//! May be relied on: numbers are those that `arenascope show` has for the trace that a failing assertion leaves: the same replay, the same
//! rules. Absent on purpose: how events were heard.

use crate::covering::Heard;
use crate::folder;
use arenascope_event::{Event, EventKind, ProcessFacts, SiteId};
use arenascope_findings::{Class, Watch as Rules};
use arenascope_replay::{Effect, Replay, State};
use arenascope_trace::Trace;
use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// Sites that a failing assertion names.
const MOST_SITES: usize = 5;

/// A bug that a rule has found.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Finding {
    /// The rule's name, such as `double-free`: docs/findings.md has them all.
    pub rule: &'static str,
    /// The claim, one sentence.
    pub message: String,
    /// Where: `freed src/parser.rs:84`, in the order of the story.
    pub sites: Vec<String>,
}

/// What has happened under a watch.
#[must_use = "a report asserts nothing by itself"]
#[non_exhaustive]
pub struct Report {
    /// Blocks handed out.
    pub allocations: u64,
    /// Bytes of them, as asked for.
    pub allocated_bytes: u64,
    /// Blocks of them that are alive.
    pub live_blocks: u64,
    /// Bytes of those.
    pub live_bytes: u64,
    /// Most bytes alive at once, over all arenas.
    pub peak_bytes: u64,
    /// Arenas created.
    pub arenas: u64,
    /// Allocations refused: no room.
    pub refused: u64,
    /// Bugs that the rules find in these events.
    pub findings: Vec<Finding>,
    /// Events of these arenas that the watch did not hear: made by a thread that it does not cover, of an arena from before it; or in the
    /// middle of another event, by an allocator or a signal handler. Where there are any, the other figures leave them out.
    pub missed: u64,
    sites: Vec<(u64, u64, String)>,
    heard: Arc<Heard>,
    bytes: Vec<u8>,
}

impl std::fmt::Debug for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Report")
            .field("allocations", &self.allocations)
            .field("allocated_bytes", &self.allocated_bytes)
            .field("live_blocks", &self.live_blocks)
            .field("live_bytes", &self.live_bytes)
            .field("peak_bytes", &self.peak_bytes)
            .field("arenas", &self.arenas)
            .field("refused", &self.refused)
            .field("findings", &self.findings)
            .field("missed", &self.missed)
            .finish_non_exhaustive()
    }
}

/// Sums over the events.
#[derive(Default)]
struct Sums {
    allocations: u64,
    bytes: u64,
    refused: u64,
    arenas: u64,
    live: u64,
    peak: u64,
    /// Live bytes by arena, as they were added up in `live`.
    by_arena: HashMap<arenascope_replay::ArenaId, u64>,
    by_site: HashMap<Option<SiteId>, (u64, u64)>,
}

impl Sums {
    fn event(&mut self, event: &Event, effect: &Effect, state: &State) {
        match &event.kind {
            EventKind::Alloc { block, .. } if block.is_null() => self.refused += 1,
            EventKind::Alloc { size, .. } => {
                self.allocations += 1;
                self.bytes += size;
                let (blocks, bytes) = self.by_site.entry(event.site).or_default();
                *blocks += 1;
                *bytes += size;
            }
            EventKind::Create { .. } => self.arenas += 1,
            _ => {}
        }
        for id in effect.arena.iter().chain(&effect.ended) {
            let now = state.arena(*id).map_or(0, arenascope_replay::Arena::live_bytes);
            let before = self.by_arena.insert(*id, now).unwrap_or(0);
            self.live = self.live - before + now;
        }
        self.peak = self.peak.max(self.live);
    }
}

impl Report {
    pub(crate) fn of(heard: &Arc<Heard>) -> Report {
        let bytes = heard.tape().bytes();
        let mut sums = Sums::default();
        let (mut live_blocks, mut missed) = (0, heard.missed.load(Relaxed));
        let (mut findings, mut sites) = (Vec::new(), Vec::new());
        let trace = Trace::open(&bytes);
        // Figures of nothing would pass for those of a program that did nothing.
        assert!(
            trace.is_ok(),
            "what this watch recorded cannot be read: {:?}; this is a defect of arenascope-test",
            trace.err()
        );
        if let Ok(trace) = trace {
            let mut facts = trace.facts();
            facts.lost.reentered = missed;
            let mut replay = Replay::new(&facts);
            let mut rules = Rules::of(&facts);
            for event in trace.events() {
                let effect = replay.apply(&event);
                rules.observe(&event, &effect, replay.state(), &[]);
                sums.event(&event, &effect, replay.state());
            }
            let state = replay.state();
            missed += state.missing;
            live_blocks = state.living_arenas().map(arenascope_replay::Arena::live_blocks).sum();
            let found = rules.finish(state, &facts).into_iter().filter(|one| one.class == Class::Finding);
            findings.extend(found.map(|one| {
                Finding {
                    rule: one.rule,
                    message: one.message,
                    sites: one
                        .sites
                        .iter()
                        .map(|(role, site)| format!("{} {}", role.word(), place(&facts, Some(*site))))
                        .collect(),
                }
            }));
            sites.extend(sums.by_site.iter().map(|(site, (blocks, bytes))| (*bytes, *blocks, place(&facts, *site))));
            sites.sort_by(|left, right| right.cmp(left));
        }
        Report {
            allocations: sums.allocations,
            allocated_bytes: sums.bytes,
            live_blocks,
            live_bytes: sums.live,
            peak_bytes: sums.peak,
            arenas: sums.arenas,
            refused: sums.refused,
            findings,
            missed,
            sites,
            heard: heard.clone(),
            bytes,
        }
    }

    /// Asserts on how many blocks were handed out. A block that is resized is counted once.
    #[track_caller]
    pub fn assert_allocations(&self, expected: u64) {
        if self.allocations != expected {
            self.fail(&format!("{} expected, {} made", blocks(expected), self.allocations));
        }
    }

    /// Asserts on the bytes of blocks that are alive at the end of the report, of those handed out under the watch.
    #[track_caller]
    pub fn assert_live_bytes(&self, expected: u64) {
        if self.live_bytes != expected {
            let found = (self.live_bytes, blocks(self.live_blocks));
            self.fail(&format!("{expected} live bytes expected, {} found, in {}", found.0, found.1));
        }
    }

    /// Asserts that never more bytes were alive at once, over all arenas.
    #[track_caller]
    pub fn assert_peak_at_most(&self, bytes: u64) {
        if self.peak_bytes > bytes {
            self.fail(&format!("a peak of at most {bytes} live bytes expected, {} reached", self.peak_bytes));
        }
    }

    /// Asserts that no rule finds a bug. Notes are no bugs.
    #[track_caller]
    pub fn assert_no_findings(&self) {
        if self.findings.is_empty() {
            return;
        }
        let mut text = match self.findings.len() {
            1 => "no findings expected, 1 made".to_owned(),
            many => format!("no findings expected, {many} made"),
        };
        for Finding { rule, message, sites } in &self.findings {
            // Writing to a String cannot fail.
            let _ = write!(text, "\n  {rule}: {message}");
            for site in sites {
                let _ = write!(text, "\n    {site}");
            }
        }
        self.fail(&text);
    }

    /// Leaves the trace and says all that is known.
    #[track_caller]
    fn fail(&self, what: &str) -> ! {
        let name = &self.heard.name;
        let mut text = format!("watch \"{name}\": {what}");
        if !self.sites.is_empty() {
            text.push_str("\n  allocated by");
        }
        for (bytes, count, place) in self.sites.iter().take(MOST_SITES) {
            let _ = write!(text, "\n    {bytes:>8} B in {:<12} {place}", blocks(*count));
        }
        if let Some(more) = self.sites.len().checked_sub(MOST_SITES).filter(|more| *more > 0) {
            let _ = write!(text, "\n    and {more} more places");
        }
        if self.missed > 0 {
            let _ = write!(
                text,
                "\n  {} events of these arenas were made where this watch does not listen: let their threads enter it",
                self.missed
            );
        }
        let sealed = self.heard.tape().sealed(&self.bytes);
        match sealed
            .ok_or_else(|| "it is damaged".to_owned())
            .and_then(|sealed| folder::leave(name, &sealed).map_err(|error| error.to_string()))
        {
            Ok(path) => {
                let _ = write!(text, "\n  arenascope show {}", folder::shell_word(&path));
            }
            Err(error) => {
                let _ = write!(text, "\n  its trace could not be left: {error}");
            }
        }
        panic!("{text}");
    }
}

fn blocks(count: u64) -> String {
    if count == 1 { "1 block".to_owned() } else { format!("{count} blocks") }
}

fn place(facts: &ProcessFacts, site: Option<SiteId>) -> String {
    let site = site.and_then(|site| facts.sites.get(site.0 as usize));
    match site.and_then(|site| site.place.as_ref()) {
        Some(place) => format!("{}:{}", place.file, place.line),
        None => "an unknown place".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tape;

    #[test]
    fn a_left_trace_names_places_without_the_program() {
        let watch = crate::watch("left behind");
        arenascope::Arena::growing().expect("an arena").alloc(1u8);
        let report = watch.report();
        let sealed = report.heard.tape().sealed(&report.bytes).expect("a trace");
        let trace = Trace::open(&sealed).expect("opens");
        assert!(trace.is_sealed() && trace.check().is_empty(), "{:?}", trace.check());
        let facts = tape::facts(&trace);
        assert!(facts.sites.iter().flat_map(|site| &site.frames).any(|frame| frame.file.ends_with("report.rs")));
    }
}

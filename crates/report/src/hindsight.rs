//! What became of an event: known when the whole trace was read, not while it happens.
//!
//! May be relied on: only what a finding says is said of a block; an attempt to execute a program failed if its thread
//! went on. Absent on purpose: words.

use arenascope_event::{Event, EventKind, EventNumber, SiteId};
use arenascope_findings::{Finding, never_kept};
use std::collections::{BTreeMap, BTreeSet};

/// What the rest of the trace says of its events.
#[derive(Clone, Debug, Default)]
pub struct Hindsight {
    failed_execs: BTreeSet<EventNumber>,
    never_kept: BTreeSet<SiteId>,
}

impl Hindsight {
    /// One pass over the events of a trace, memory per attempt to execute a program; `findings` are those of the same
    /// trace.
    pub fn new(events: impl Iterator<Item = Event>, findings: &[Finding]) -> Hindsight {
        Hindsight { failed_execs: failed_execs(events), never_kept: never_kept(findings) }
    }

    /// True for an attempt to execute a program that failed.
    pub fn failed(&self, event: &Event) -> bool {
        self.failed_execs.contains(&event.number)
    }

    /// True when the block that this event handed out is one that nobody kept, as the rule `never-stored` finds.
    pub fn nobody_keeps(&self, event: &Event) -> bool {
        let handed_out = matches!(event.kind, EventKind::Alloc { block, .. } if !block.is_null());
        handed_out && event.site.is_some_and(|site| self.never_kept.contains(&site))
    }
}

/// The exec events after which their thread went on: these attempts failed. (A thread that succeeds has no later event
/// in the trace, for the new program image has one of its own.) One pass, memory per attempt.
fn failed_execs(events: impl Iterator<Item = Event>) -> BTreeSet<EventNumber> {
    let (mut trying, mut failed) = (BTreeMap::new(), BTreeSet::new());
    for event in events {
        failed.extend(trying.remove(&event.thread));
        if matches!(event.kind, EventKind::Exec { .. }) {
            trying.insert(event.thread, event.number);
        }
    }
    failed
}

//! The processes of one run that came from one another by fork: their traces found beside one, judged together.
//!
//! May be relied on: a trace that is missing or cannot be read leaves its process out and is said by [`Family::missing`].
//! Absent: the rules themselves (`arenascope-findings`), and text.

use crate::reading::{self, Reading, TraceFile};
use arenascope_event::ProcessFacts;
use arenascope_findings::{Kin, Member, judge};
use arenascope_report::gather::family_view;
use arenascope_report::view::FindingView;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};

/// Most traces read for one question; a run with more is judged as a whole by `run` itself.
const MOST_TRACES: usize = 256;

/// Processes in the order they were found.
#[derive(Default)]
pub struct Family {
    facts: Vec<ProcessFacts>,
    members: Vec<Member>,
    /// What could not be looked at, a sentence each.
    pub missing: Vec<String>,
}

impl Family {
    /// Adds a process whose trace was read.
    pub fn add(&mut self, facts: &ProcessFacts, member: &Member) {
        self.facts.push(facts.clone());
        self.members.push(member.clone());
    }

    /// The process of `reading` and its relatives, as far as their traces lie beside `file`.
    pub fn around(file: &TraceFile, reading: &Reading) -> Family {
        let mut family = Family::default();
        family.add(&reading.facts, &reading.member);
        let mut open: VecDeque<(PathBuf, usize)> = VecDeque::from([(file.path().to_owned(), 0)]);
        let mut known = vec![(reading.facts.pid, reading.facts.fork_id)];
        while let Some((path, index)) = open.pop_front() {
            let (Some(facts), Some(member)) = (family.facts.get(index), family.members.get(index)) else { continue };
            let (pid, fork_id, parent_pid) = (facts.pid, facts.fork_id, facts.parent_pid);
            let mut wanted: Vec<PathBuf> = Vec::new();
            if fork_id != 0 {
                match reading::sibling(&path, pid, parent_pid, |_| true) {
                    Some(parent) => wanted.push(parent),
                    None => family.missing.push(format!(
                        "the trace of process {parent_pid}, which forked process {pid}, is not beside this one: what was \
                         inherited is not known, and the rules about forks cannot conclude"
                    )),
                }
            }
            for fork in &member.forks {
                // No trace: the child did nothing in an arena.
                let is_it = |facts: &ProcessFacts| facts.fork_id == fork.fork_id;
                wanted.extend(reading::sibling(&path, pid, fork.child, is_it));
            }
            for relative in wanted {
                let Some((facts, member)) = summary(&relative, &known) else { continue };
                if family.members.len() >= MOST_TRACES {
                    family.missing.push(format!(
                        "more than {MOST_TRACES} processes came from one another: the rules about forks have seen the first"
                    ));
                    return family;
                }
                known.push((facts.pid, facts.fork_id));
                open.push_back((relative, family.members.len()));
                family.facts.push(facts);
                family.members.push(member);
            }
        }
        family
    }

    /// What the rules about forks say: findings, then notes. With `only`, what concerns that process.
    pub fn findings(&self, only: Option<u32>) -> Vec<FindingView> {
        let pid = |member: &usize| self.facts.get(*member).map(|facts| facts.pid);
        let found = judge(&self.members);
        let concerned =
            found.iter().filter(|one| only.is_none() || one.members.iter().any(|member| pid(member) == only));
        concerned.map(|one| family_view(one, |member| self.facts.get(member))).collect()
    }
}

/// Replays a trace for its relatives; `None` when it cannot be read, or its process is among the `known`.
fn summary(path: &Path, known: &[(u32, u64)]) -> Option<(ProcessFacts, Member)> {
    let file = TraceFile::open(path).ok()?;
    let trace = file.trace().ok()?;
    let facts = crate::names::facts(&trace);
    if known.contains(&(facts.pid, facts.fork_id)) {
        return None;
    }
    let mut replay = reading::start(path, &facts).replay;
    let mut kin = Kin::new(&facts);
    for event in trace.events() {
        let effect = replay.apply(&event);
        kin.observe(&event, &effect, replay.state());
    }
    let member = kin.finish(replay.state(), &facts, trace.started_monotonic_ns());
    Some((facts, member))
}

/// Adds what several processes did to a process's own findings: findings stay before notes.
pub fn add_to(findings: &mut Vec<FindingView>, more: Vec<FindingView>) {
    findings.extend(more);
    findings.sort_by_key(|finding| finding.claim.class);
}

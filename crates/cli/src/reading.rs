//! How a trace file is read: opened, tied to the trace of the parent process, replayed, judged.
//!
//! One pass over the events feeds replay, rules and views together; memory is what replay needs. All verbs over traces
//! and the end of `run` go through here. Absent: text.

use crate::error::CliError;
use crate::mapped::Mapped;
use arenascope_event::{Event, EventKind, FateKind, ProcessFacts, SiteId};
use arenascope_findings::{Finding, Kin, Member, Watch, never_kept};
use arenascope_replay::{Effect, Replay, State};
use arenascope_report::gather::{Gatherer, Selection, Sources, finding_view};
use arenascope_report::hindsight::Hindsight;
use arenascope_report::pattern::ArenaPattern;
use arenascope_report::suppress::Suppressions;
use arenascope_report::view::{FindingView, RunView, Suppressed};
use arenascope_trace::{Damage, DamageKind, OpenError, Trace};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// An open trace file.
pub struct TraceFile {
    path: PathBuf,
    bytes: Mapped,
}

impl TraceFile {
    /// Opens the file. Anything that is no readable file is an error with exit status 3.
    pub fn open(path: &Path) -> Result<TraceFile, CliError> {
        let shown = path.display();
        let cannot = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => CliError::trace(format!("{shown}: no such file"))
                .hint("arenascope run leaves its trace as NAME.PID.ascope in the current directory"),
            io::ErrorKind::PermissionDenied => CliError::trace(format!("{shown}: permission denied")),
            _ => CliError::trace(format!("{shown}: {error}")),
        };
        // Looked at before it is opened: opening a FIFO would wait for a writer.
        let kind = fs::metadata(path).map_err(cannot)?.file_type();
        if kind.is_dir() {
            return Err(CliError::trace(format!("{shown} is a directory")).hint("name the trace file inside it"));
        }
        if !kind.is_file() {
            return Err(CliError::trace(format!("{shown} is not a regular file")));
        }
        let file = File::open(path).map_err(cannot)?;
        let bytes = Mapped::new(&file).map_err(cannot)?;
        Ok(TraceFile { path: path.to_owned(), bytes })
    }

    /// The trace in it. What is no trace is an error with exit status 3; damage is not.
    pub fn trace(&self) -> Result<Trace<'_>, CliError> {
        Trace::open(&self.bytes).map_err(|error| {
            let shown = self.path.display();
            let complaint = match error {
                OpenError::NotATrace => CliError::trace(format!("{shown} is not a trace of arenascope")),
                _ => CliError::trace(format!("{shown}: {error}")),
            };
            match error {
                OpenError::FutureVersion { .. } => complaint.hint("a newer arenascope"),
                OpenError::NotATrace => complaint.hint("a file that arenascope run left: NAME.PID.ascope"),
                OpenError::Empty | OpenError::TooShort => {
                    complaint.hint("running the program again; this trace ends before its first event")
                }
            }
        })
    }

    /// The path as the user gave it.
    pub fn name(&self) -> String {
        self.path.to_string_lossy().into_owned()
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The current directory for short file names; empty when it has none.
pub fn current_directory() -> String {
    std::env::current_dir().map(|path| path.to_string_lossy().into_owned()).unwrap_or_default()
}

/// The trace of another process of the same run, looked for beside this one under the names that `run` gives. The header
/// must be the one that is wanted: a pid in a file name may be an old one.
pub fn sibling(path: &Path, own_pid: u32, pid: u32, is_wanted: impl Fn(&ProcessFacts) -> bool) -> Option<PathBuf> {
    let is_it =
        |candidate: &PathBuf| header_facts(candidate).is_some_and(|facts| facts.pid == pid && is_wanted(&facts));
    sibling_names(path.file_name()?.to_str()?, own_pid, pid)
        .into_iter()
        .map(|name| path.with_file_name(name))
        .find(is_it)
}

/// `NAME.PID.ascope` beside `NAME.PID.ascope`; `STEM.PID.EXT` beside the `STEM.EXT` that `-o` named, and back.
fn sibling_names(name: &str, own_pid: u32, pid: u32) -> Vec<String> {
    let mut names = Vec::new();
    let own = format!(".{own_pid}.");
    if let Some((before, after)) = name.rsplit_once(own.as_str()) {
        names.push(format!("{before}.{pid}.{after}"));
        names.push(format!("{before}.{after}"));
    }
    let (stem, ending) = name.rsplit_once('.').unwrap_or((name, "ascope"));
    names.push(format!("{stem}.{pid}.{ending}"));
    names
}

/// What the header page of a trace says; nothing else of the file is read.
fn header_facts(path: &Path) -> Option<ProcessFacts> {
    if !fs::metadata(path).ok()?.is_file() {
        return None;
    }
    let mut page = Vec::new();
    File::open(path).ok()?.take(arenascope_trace::layout::HEADER_BYTES as u64).read_to_end(&mut page).ok()?;
    Some(Trace::open(&page).ok()?.facts())
}

/// How many parents of parents are followed: a chain of forks longer than this begins without its oldest arenas.
const MOST_ANCESTORS: u32 = 16;

/// Where the replay of a trace begins.
pub struct Start {
    /// Empty, or, for a forked process whose parent's trace lies beside it, with the arenas it inherited.
    pub replay: Replay,
    /// Facts of the process that the inherited arenas and blocks come from; `None` when there are none, or when they may
    /// come from several.
    pub parent: Option<ProcessFacts>,
}

/// The start of this trace.
pub fn start(path: &Path, facts: &ProcessFacts) -> Start {
    start_within(path, facts, MOST_ANCESTORS)
}

fn start_within(path: &Path, facts: &ProcessFacts, ancestors: u32) -> Start {
    match inherited(path, facts, ancestors) {
        None => Start { replay: Replay::new(facts), parent: None },
        Some((parent, parent_facts)) => Start {
            replay: Replay::forked(parent.state(), facts),
            // A parent that inherited arenas itself hands on blocks whose sites stand in an older trace.
            parent: (parent_facts.fork_id == 0).then_some(parent_facts),
        },
    }
}

/// The parent's replay at the fork, if its trace can be found and knows of it.
fn inherited(path: &Path, facts: &ProcessFacts, ancestors: u32) -> Option<(Replay, ProcessFacts)> {
    if facts.fork_id == 0 || ancestors == 0 {
        return None;
    }
    let parent_path = sibling(path, facts.pid, facts.parent_pid, |_| true)?;
    let file = TraceFile::open(&parent_path).ok()?;
    let trace = file.trace().ok()?;
    let parent_facts = crate::names::facts(&trace);
    let mut replay = start_within(&parent_path, &parent_facts, ancestors - 1).replay;
    for event in trace.events() {
        if matches!(event.kind, EventKind::Fork { fork_id, .. } if fork_id == facts.fork_id) {
            return Some((replay, parent_facts));
        }
        replay.apply(&event);
    }
    None
}

/// A trace that was read to its end.
pub struct Reading {
    /// Facts of the process.
    pub facts: ProcessFacts,
    /// Facts of the process that inherited arenas come from: see [`Start::parent`].
    pub parent: Option<ProcessFacts>,
    /// The state at the moment asked for.
    pub state: State,
    /// What the state does not hold.
    pub gatherer: Gatherer,
    /// Findings, then notes.
    pub findings: Vec<FindingView>,
    /// What [`Reading::suppress`] took out of them.
    pub suppressed: Suppressed,
    /// What the processes that it came from, or that came from it, must know.
    pub member: Member,
    /// Sites whose blocks nobody kept.
    never_kept: BTreeSet<SiteId>,
    /// Damaged parts, each in a sentence.
    pub damage: Vec<String>,
}

/// Reads a trace to its end. `moment` is the event after which the state is wanted; `None` is the end.
pub fn read(file: &TraceFile, trace: &Trace<'_>, moment: Option<u64>) -> Reading {
    let facts = crate::names::facts(trace);
    let Start { mut replay, parent } = start(file.path(), &facts);
    let mut gatherer = Gatherer::new(moment.unwrap_or(u64::MAX));
    let mut watch = Watch::of(&facts);
    let mut kin = Kin::new(&facts);
    let mut state = (moment == Some(0)).then(|| replay.state().clone());
    for event in trace.events() {
        let effect: Effect = replay.apply(&event);
        gatherer.observe(&event, &effect, replay.state());
        watch.observe(&event, &effect, replay.state(), &captured(trace, &event));
        // The rules about forks need every event as the others do.
        if facts.sample_bytes == 0 {
            kin.observe(&event, &effect, replay.state());
        }
        if moment == Some(event.number.0) {
            state = Some(replay.state().clone());
        }
    }
    let found = watch.finish(replay.state(), &facts);
    let never_kept = never_kept(&found);
    let findings = found.iter().map(|finding| finding_view(finding, &facts)).collect();
    let member = kin.finish(replay.state(), &facts, trace.started_monotonic_ns());
    let damage = trace.check().iter().map(|damage| told(damage, file.bytes.len())).collect();
    Reading {
        state: state.unwrap_or_else(|| replay.state().clone()),
        facts,
        parent,
        gatherer,
        findings,
        suppressed: Suppressed::default(),
        member,
        never_kept,
        damage,
    }
}

/// Damage in a sentence; of a file of `bytes` bytes whose end is missing, with what that means.
fn told(damage: &Damage, bytes: usize) -> String {
    if damage.what == DamageKind::Tail && damage.bytes.start >= bytes as u64 {
        return format!(
            "the file ends at byte {bytes} of at least {}: the events behind that are lost, and with the tail the names of \
             functions and lines",
            damage.bytes.end
        );
    }
    damage.to_string()
}

/// What became of the events of a trace. Judging them takes a pass of its own, which is left out where no caller's code
/// throws a result away.
pub fn hindsight(file: &TraceFile, trace: &Trace<'_>, facts: &ProcessFacts) -> Hindsight {
    let dropped = facts.sites.iter().any(|site| site.fate.kind == FateKind::Dropped);
    let findings = if dropped { judge(file, trace, facts) } else { Vec::new() };
    Hindsight::new(trace.events(), &findings)
}

fn judge(file: &TraceFile, trace: &Trace<'_>, facts: &ProcessFacts) -> Vec<Finding> {
    let mut replay = start(file.path(), facts).replay;
    let mut watch = Watch::of(facts);
    for event in trace.events() {
        let effect = replay.apply(&event);
        watch.observe(&event, &effect, replay.state(), &captured(trace, &event));
    }
    watch.finish(replay.state(), facts)
}

/// The bytes of a capture; nothing for other events.
fn captured<'t>(trace: &'t Trace<'_>, event: &Event) -> Cow<'t, [u8]> {
    match event.kind {
        EventKind::Capture { bytes, .. } => trace.blob(bytes).unwrap_or_default(),
        _ => Cow::Borrowed(&[]),
    }
}

impl Reading {
    /// The view models, arenas chosen by `selection`.
    pub fn view(&self, file: &TraceFile, trace: &Trace<'_>, selection: &Selection) -> RunView {
        let name = file.name();
        let pid = self.facts.pid;
        let sources = Sources {
            trace: &name,
            facts: &self.facts,
            parent: self.parent.as_ref(),
            never_kept: &self.never_kept,
            blob: &|blob| trace.blob(blob).map(Cow::into_owned),
            child_trace: &|child, fork_id| {
                let path = sibling(file.path(), pid, child, |facts| facts.fork_id == fork_id)?;
                Some(path.to_string_lossy().into_owned())
            },
        };
        let mut view = self.gatherer.run_view(&self.state, self.findings.clone(), selection, &sources);
        view.damage.clone_from(&self.damage);
        view.suppressed.clone_from(&self.suppressed);
        view
    }

    /// Takes out the findings that the user has named; they stay counted.
    pub fn suppress(&mut self, suppressions: &Suppressions) {
        self.suppressed = suppressions.apply(&mut self.findings);
    }

    /// The pattern of `--arena`; an error when it matches nothing in the whole trace.
    pub fn pattern(&self, raw: Option<&str>, known: &[(u64, String)]) -> Result<Option<ArenaPattern>, CliError> {
        let Some(raw) = raw else { return Ok(None) };
        let pattern = ArenaPattern::new(raw);
        if known.iter().any(|(id, name)| pattern.matches(*id, name)) {
            return Ok(Some(pattern));
        }
        Err(no_such_arena(raw, known))
    }
}

/// Every arena of a state: id and the name that users see.
pub fn arena_names(state: &State, facts: &ProcessFacts) -> Vec<(u64, String)> {
    let default_name = arenascope_replay::default_name(&facts.hooks);
    let name = |arena| arenascope_report::narrate::arena_name(arena, &default_name).to_owned();
    state.arenas().map(|arena| (u64::from(arena.id.0), name(arena))).collect()
}

/// `--arena` matched nothing.
pub fn no_such_arena(raw: &str, known: &[(u64, String)]) -> CliError {
    let error = CliError::usage(format!("--arena {raw}: no arena has this number or name"));
    if known.is_empty() {
        return error.hint("without --arena: this trace has no arena");
    }
    let some: Vec<String> = known.iter().take(5).map(|(id, name)| format!("{id} \"{name}\"")).collect();
    let more = if known.len() > some.len() { format!(" and {} more", known.len() - some.len()) } else { String::new() };
    error.hint(format!("one of {}{more}", some.join(", ")))
}

/// True when this event concerns an arena that the pattern means.
pub fn concerns(pattern: &ArenaPattern, event: &Event, effect: &Effect, state: &State, default_name: &str) -> bool {
    let own = match &event.kind {
        EventKind::Capture { arena, .. } => state.arena_of_key(*arena).map(|arena| arena.id),
        _ => effect.arena,
    };
    own.into_iter().chain(effect.ended.iter().copied()).any(|id| {
        let name = state.arena(id).map_or("", |arena| arenascope_report::narrate::arena_name(arena, default_name));
        pattern.matches(u64::from(id.0), name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_siblings_are_those_that_run_gives() {
        assert_eq!(sibling_names("a.b.10.ascope", 10, 11).first().map(String::as_str), Some("a.b.11.ascope"));
        assert_eq!(sibling_names("x.10.10.ascope", 10, 12).first().map(String::as_str), Some("x.10.12.ascope"));
        assert_eq!(sibling_names("named.trace", 10, 12), ["named.12.trace"]);
        assert_eq!(sibling_names("named", 10, 12), ["named.12.ascope"]);
        assert!(sibling_names("named.12.trace", 12, 10).contains(&"named.trace".to_owned()), "the parent's");
    }

    #[test]
    fn a_sibling_is_who_its_header_says() {
        use arenascope_trace::layout::{ClockPair, HeaderFields, header};
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        let write = |name: &str, pid, fork_id| {
            let (start, program) = (ClockPair { tsc: 1, ns: 1 }, b"/bin/x".as_slice());
            let fields = HeaderFields { pid, parent_pid: 1, fork_id, start, start_unix_ns: 0, program };
            fs::write(path(name), header(&fields)).expect("a file");
        };
        write("x.11.ascope", 11, 5);
        write("x.12.ascope", 99, 5);
        fs::write(path("x.13.ascope"), "no trace").expect("a file");
        let of = |pid, fork_id| sibling(&path("x.10.ascope"), 10, pid, |facts| facts.fork_id == fork_id);
        assert_eq!(of(11, 5), Some(path("x.11.ascope")));
        assert_eq!(of(11, 6), None, "another fork");
        assert_eq!(of(12, 5), None, "another process");
        assert_eq!(of(13, 5), None, "no trace");
        assert_eq!(of(14, 5), None, "no file");
    }

    #[test]
    fn what_is_no_trace_file_is_told_apart() {
        let folder = tempfile::tempdir().expect("a folder");
        let message = |path: &Path| match TraceFile::open(path) {
            Err(error) => (error.status(), error.to_string()),
            Ok(file) => match file.trace() {
                Err(error) => (error.status(), error.to_string()),
                Ok(_) => panic!("{}", path.display()),
            },
        };
        let file = folder.path().join("t");
        assert!(message(&file).1.contains("no such file"));
        assert!(message(folder.path()).1.contains("is a directory"));
        assert!(message(Path::new("/dev/null")).1.contains("not a regular file"));
        fs::write(&file, "").expect("a file");
        assert!(message(&file).1.contains("empty"));
        fs::write(&file, "hello").expect("a file");
        let (status, text) = message(&file);
        assert!(status == 3 && text.contains("not a trace") && text.contains("try:"), "{text}");
    }
}

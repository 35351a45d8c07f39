//! `diff TRACE --from MOMENT --to MOMENT`, `diff TRACE_A TRACE_B`: what appeared, died, moved, changed; and with `--rule` the
//! named questions about blocks and moments.

use crate::args::DiffArgs;
use crate::error::CliError;
use crate::output::{self, Stdout};
use crate::reading::{self, Start, TraceFile};
use arenascope_event::{BlobId, ProcessFacts};
use arenascope_report::diff::{self, Side};
use arenascope_report::diff_text::{self, Head};
use arenascope_report::moment::{self, MomentSpec};
use arenascope_report::pattern::ArenaPattern;
use arenascope_report::points::{Collector, Point};
use arenascope_report::questions::{self, Question};
use arenascope_report::{escape, json_diff};
use arenascope_trace::Trace;
use std::borrow::Cow;
use std::process::ExitCode;

/// Runs the verb.
pub fn diff(args: DiffArgs) -> Result<ExitCode, CliError> {
    // The user's words first: what is wrong with them needs no trace.
    let given = Given::parse(&args)?;
    match (args.traces.as_slice(), given.question) {
        ([only], Some(question)) => ask(&args, &given, &TraceFile::open(only)?, question),
        ([only], None) => one(&args, &given, &TraceFile::open(only)?),
        ([first, second], None) => two(&args, &given, &TraceFile::open(first)?, &TraceFile::open(second)?),
        (_, Some(question)) => Err(CliError::usage(format!("--rule {} is about one trace", question.word()))
            .hint("each trace by itself, or arenascope diff TRACE_A TRACE_B without --rule")),
        _ => Err(CliError::usage("one trace with two moments, or two traces")),
    }
}

/// The moments and the question, parsed.
struct Given {
    from: Option<(&'static str, MomentSpec)>,
    to: Option<(&'static str, MomentSpec)>,
    and: Option<(&'static str, MomentSpec)>,
    question: Option<Question>,
}

impl Given {
    fn parse(args: &DiffArgs) -> Result<Given, CliError> {
        let spec =
            |flag: &'static str, text: &Option<String>| -> Result<Option<(&'static str, MomentSpec)>, CliError> {
                let Some(text) = text.as_deref() else { return Ok(None) };
                let spec = moment::parse(text).map_err(|error| wrong(flag, text, &error.to_string()))?;
                Ok(Some((flag, spec)))
            };
        let words = || Question::ALL.map(Question::word).join(", ");
        let question = args.rule.as_deref().map(|word| {
            let known = Question::ALL.into_iter().find(|question| question.word() == word);
            known.ok_or_else(|| {
                CliError::usage(format!("--rule {word}: there is no such question")).hint(format!("one of {}", words()))
            })
        });
        let given = Given {
            from: spec("--from", &args.from)?,
            to: spec("--to", &args.to)?,
            and: spec("--and", &args.and)?,
            question: question.transpose()?,
        };
        let takes = given.question.map_or(2, Question::moments);
        let too_many = [(2, given.to.is_some(), "--to"), (3, given.and.is_some(), "--and")];
        if let Some((_, _, flag)) = too_many.iter().find(|(needed, is_given, _)| *is_given && takes < *needed) {
            let what = given.question.map_or("a comparison", Question::word);
            let hint =
                if takes == 1 { "--from MOMENT alone" } else { "--from MOMENT --to MOMENT; --rule leak takes three" };
            return Err(CliError::usage(format!(
                "{flag}: {what} takes {takes} moment{}",
                if takes == 1 { "" } else { "s" }
            ))
            .hint(hint));
        }
        Ok(given)
    }
}

fn wrong(flag: &str, text: &str, what: &str) -> CliError {
    CliError::usage(format!("{flag} {}: {what}", escape::shell_word(text)))
}

/// The number of the event after which a moment lies; without a moment `default`.
fn resolved(
    given: Option<&(&'static str, MomentSpec)>,
    raw: Option<&String>,
    default: u64,
    trace: &Trace<'_>,
    facts: &ProcessFacts,
) -> Result<u64, CliError> {
    let Some((flag, spec)) = given else { return Ok(default) };
    let raw = raw.map_or("", String::as_str);
    moment::resolve(spec, trace.events(), &facts.sites).map_err(|error| wrong(flag, raw, &error.to_string()))
}

/// A trace read once, with a point for each of some moments.
struct Read {
    facts: ProcessFacts,
    parent: Option<ProcessFacts>,
    /// In the order of the moments.
    points: Vec<Point>,
    known: Vec<(u64, String)>,
    events: u64,
}

fn read(file: &TraceFile, trace: &Trace<'_>, facts: ProcessFacts, moments: &[u64]) -> Read {
    let Start { mut replay, parent } = reading::start(file.path(), &facts);
    let mut collector = Collector::new(moments, replay.state());
    let mut events = 0;
    for event in trace.events() {
        let effect = replay.apply(&event);
        collector.observe(&event, &effect, replay.state());
        events = event.number.0;
    }
    let known = reading::arena_names(replay.state(), &facts);
    Read { points: collector.finish(replay.state()), known, facts, parent, events }
}

impl Read {
    /// The point of a moment.
    fn at(&self, moment: u64) -> Result<&Point, CliError> {
        let exact = self.points.iter().find(|point| point.moment.event == moment);
        // Past the last event is the end.
        exact.or(self.points.last()).ok_or_else(|| CliError::trace("the trace has no moments"))
    }

    fn side<'a>(
        &'a self,
        moment: u64,
        dead_too: bool,
        blob: &'a dyn Fn(BlobId) -> Option<Vec<u8>>,
    ) -> Result<Side<'a>, CliError> {
        Ok(Side { point: self.at(moment)?, facts: &self.facts, parent: self.parent.as_ref(), blob, dead_too })
    }
}

fn pattern(raw: Option<&str>, known: &[(u64, String)]) -> Result<Option<ArenaPattern>, CliError> {
    let Some(raw) = raw else { return Ok(None) };
    let pattern = ArenaPattern::new(raw);
    match known.iter().any(|(id, name)| pattern.matches(*id, name)) {
        true => Ok(Some(pattern)),
        false => Err(reading::no_such_arena(raw, known)),
    }
}

fn one(args: &DiffArgs, given: &Given, file: &TraceFile) -> Result<ExitCode, CliError> {
    let trace = file.trace()?;
    let facts = crate::names::facts(&trace);
    let from = resolved(given.from.as_ref(), args.from.as_ref(), 0, &trace, &facts)?;
    let to = resolved(given.to.as_ref(), args.to.as_ref(), u64::MAX, &trace, &facts)?;
    in_order(&[("--from", from), ("--to", to)])?;
    let read = read(file, &trace, facts, &[from, to]);
    let pattern = pattern(args.arena.as_deref(), &read.known)?;
    let blob = |blob| trace.blob(blob).map(Cow::into_owned);
    let (before, after) = (read.side(from, false, &blob)?, read.side(to, false, &blob)?);
    let told = diff::of_one_trace(&before, &after, pattern.as_ref());
    let head = Head { program: &read.facts.program, pids: &[read.facts.pid], events: &[read.events] };
    say(args, &[file.name()], &told, &head)?;
    lost(&[&read.facts]);
    Ok(ExitCode::SUCCESS)
}

fn two(args: &DiffArgs, given: &Given, first: &TraceFile, second: &TraceFile) -> Result<ExitCode, CliError> {
    let (left, right) = (first.trace()?, second.trace()?);
    let (left_facts, right_facts) = (crate::names::facts(&left), crate::names::facts(&right));
    let end = u64::MAX;
    let from = resolved(given.from.as_ref(), args.from.as_ref(), end, &left, &left_facts)?;
    let to = resolved(given.to.as_ref(), args.to.as_ref(), end, &right, &right_facts)?;
    let (old, new) = (read(first, &left, left_facts, &[from]), read(second, &right, right_facts, &[to]));
    let mut known = old.known.clone();
    known.extend(new.known.iter().cloned());
    let pattern = pattern(args.arena.as_deref(), &known)?;
    let (left_blob, right_blob) =
        (|blob| left.blob(blob).map(Cow::into_owned), |blob| right.blob(blob).map(Cow::into_owned));
    let before = old.side(from, given.from.is_none(), &left_blob)?;
    let after = new.side(to, given.to.is_none(), &right_blob)?;
    let told = diff::of_two_traces(&before, &after, pattern.as_ref());
    let name = |path: &str| path.rsplit('/').next().unwrap_or(path).to_owned();
    let programs = [name(&old.facts.program), name(&new.facts.program)];
    if told.nothing_in_common && programs[0] != programs[1] {
        return Err(CliError::usage(format!(
            "no site in common: {} is a trace of {}, {} one of {}",
            first.path().display(),
            programs[0],
            second.path().display(),
            programs[1]
        ))
        .hint("two traces of one program"));
    }
    let (program, pids, events) = (&new.facts.program, [old.facts.pid, new.facts.pid], [old.events, new.events]);
    say(args, &[first.name(), second.name()], &told, &Head { program, pids: &pids, events: &events })?;
    lost(&[&old.facts, &new.facts]);
    Ok(ExitCode::SUCCESS)
}

fn ask(args: &DiffArgs, given: &Given, file: &TraceFile, question: Question) -> Result<ExitCode, CliError> {
    let trace = file.trace()?;
    let facts = crate::names::facts(&trace);
    let start = if question == Question::Active { u64::MAX } else { 0 };
    let from = resolved(given.from.as_ref(), args.from.as_ref(), start, &trace, &facts)?;
    let to = resolved(given.to.as_ref(), args.to.as_ref(), u64::MAX, &trace, &facts)?;
    let and = resolved(given.and.as_ref(), args.and.as_ref(), u64::MAX, &trace, &facts)?;
    let all = [("--from", from), ("--to", to), ("--and", and)];
    let taken = all.get(..question.moments()).unwrap_or(&all);
    in_order(taken)?;
    let moments: Vec<u64> = taken.iter().map(|(_, moment)| *moment).collect();
    let read = read(file, &trace, facts, &moments);
    let pattern = pattern(args.arena.as_deref(), &read.known)?;
    let blob = |blob| trace.blob(blob).map(Cow::into_owned);
    let sides = moments.iter().map(|moment| read.side(*moment, false, &blob)).collect::<Result<Vec<_>, _>>()?;
    let answer = questions::answer(question, &sides, pattern.as_ref());
    let mut out = Stdout::new();
    if args.json {
        out.bytes(json_diff::answer(&[file.name()], &answer).as_bytes())?;
    } else {
        let style = output::style(&std::io::stdout(), args.plain);
        let sites = answer.places.iter().filter_map(|place| place.site.as_ref());
        let names = diff_text::file_names(sites, &reading::current_directory());
        let head = Head { program: &read.facts.program, pids: &[read.facts.pid], events: &[read.events] };
        // An error is kept by `Stdout` and handed out by `finish`.
        let _ = diff_text::answer(&mut out, &answer, &head, &names, &style);
    }
    out.finish()?;
    lost(&[&read.facts]);
    Ok(ExitCode::SUCCESS)
}

fn in_order(moments: &[(&str, u64)]) -> Result<(), CliError> {
    for pair in moments.windows(2) {
        if let [(first, earlier), (second, later)] = pair
            && earlier > later
        {
            return Err(CliError::usage(format!("{first} (#{earlier}) is later than {second} (#{later})"))
                .hint("the earlier moment first"));
        }
    }
    Ok(())
}

fn say(args: &DiffArgs, traces: &[String], told: &diff::Diff, head: &Head<'_>) -> Result<(), CliError> {
    let mut out = Stdout::new();
    if args.json {
        out.bytes(json_diff::diff(traces, told).as_bytes())?;
    } else {
        let style = output::style(&std::io::stdout(), args.plain);
        let names = diff_text::file_names(diff_text::sites(told), &reading::current_directory());
        // An error is kept by `Stdout` and handed out by `finish`.
        let _ = diff_text::write(&mut out, told, head, &names, &style);
    }
    out.finish()
}

/// What was lost may be what differs.
fn lost(all: &[&ProcessFacts]) {
    use std::io::Write as _;
    let mut stderr = std::io::stderr();
    let style = output::style(&stderr, false);
    let mut text = String::new();
    for facts in all {
        // Writing to a String cannot fail, and nobody is there to be told that stderr is closed.
        let _ = arenascope_report::screen::losses(&mut text, &facts.lost, &style);
    }
    let _ = stderr.write_all(text.as_bytes());
}

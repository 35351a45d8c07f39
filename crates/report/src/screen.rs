//! The first screen of a run: what was watched, the arenas, the findings, the losses, and the next command.
//!
//! Written after the program's own output. Says loudly what was *not* seen: functions that could not be watched, events
//! that were lost, parts of the trace that are damaged. Absent: what is worth showing (`gather` ranks).

use crate::arena::{self, Caps};
use crate::finding::Telling;
use crate::place::FileNames;
use crate::style::{Style, flow, wrap};
use crate::view::{ChildFate, ChildView, ChosenBy, Outcome, RunView, Sight};
use crate::{escape, finding, quantity, sampled};
use arenascope_event::{Checking, Lost};
use arenascope_findings::Class;
use std::fmt::{self, Write};

/// Most findings and notes told one by one on the first screen.
const MOST_FINDINGS: usize = 8;
/// Why arenas of our own library have less than was asked for, or nothing.
mod lacks {
    pub const NO_GUARDS: &str = "guard pages: this kernel has none (madvise refused them; Linux has them since 6.13)";
    pub const LOCKED: &str = "guard pages: refused by the kernel (EINVAL: memory is locked)";
    pub const QUIET: &str = "guard pages: no system call may be made for them any more";
    pub const BOUND: &str = "their blocks have to lie in memory of the program's choice: a caller's buffer, a source of its own, a shared arena, \
                             or a fork policy";
    pub const NO_ROOM: &str = "the system gave no addresses for it, or there are too many arenas";
}

/// Most forked processes listed.
const MOST_CHILDREN: usize = 8;

/// Writes the whole screen, without a blank line before it.
pub fn write(out: &mut dyn Write, run: &RunView, cwd: &str, style: &Style) -> fmt::Result {
    let names = file_names(run, cwd);
    watched(out, run, style)?;
    checked(out, run, style)?;
    if let Some(sampled) = &run.sampled {
        sampled::write(out, sampled, &names, style)?;
    }
    for arena in &run.arenas {
        writeln!(out)?;
        arena::write(out, arena, Caps::GLANCE, &names, style)?;
    }
    groups(out, run, &names, style)?;
    if !run.unmatched.is_empty() {
        unmatched(out, run, style)?;
    } else if run.arenas.is_empty() && run.groups.is_empty() {
        no_arena(out, run, style)?;
    }
    findings(out, run, &names, style)?;
    writeln!(out)?;
    outcome(out, run, style)?;
    children(out, run, style)?;
    finding::suppressed(out, &run.suppressed, style)?;
    if let Some(sampled) = &run.sampled {
        sampled::silence(out, sampled, style)?;
    }
    losses(out, &run.lost, style)?;
    for damage in &run.damage {
        warning(out, &format!("DAMAGED  {damage}"), style)?;
    }
    closing(out, run, style)
}

/// Short names for every file that the screen may show.
pub fn file_names(run: &RunView, cwd: &str) -> FileNames {
    let arena_sites = run.arenas.iter().flat_map(|arena| {
        let ends = [arena.birth.site.as_ref(), arena.end.as_ref().and_then(|end| end.site.as_ref())];
        let refused = arena.refused.as_ref().and_then(|refused| refused.site.as_ref());
        ends.into_iter().flatten().chain(refused).chain(arena.blocks.iter().filter_map(|block| block.site.as_ref()))
    });
    let group_sites = run.groups.iter().filter_map(|group| group.site.as_ref());
    let sampled_sites =
        run.sampled.iter().flat_map(|sampled| sampled.places.iter().filter_map(|(site, _)| site.as_ref()));
    let finding_sites = run.findings.iter().flat_map(|finding| finding.sites.iter().map(|(_, site)| site));
    let sites = arena_sites.chain(group_sites).chain(sampled_sites).chain(finding_sites);
    let files = sites.flat_map(|site| site.frames.iter().map(|frame| frame.file.as_str()));
    FileNames::new(files.filter(|file| !file.is_empty()), cwd)
}

fn watched(out: &mut dyn Write, run: &RunView, style: &Style) -> fmt::Result {
    let seen: Vec<String> = run
        .watched
        .iter()
        .filter(|function| !matches!(function.sight, Sight::None(_)))
        .filter(|function| function.markers.is_none())
        .map(|function| escape::text(&function.function, style.plain).into_owned())
        .chain(markers(run, style))
        .collect();
    let how = match run.chosen_by {
        ChosenBy::Shape => " (found by shape)",
        ChosenBy::User | ChosenBy::Nobody => "",
    };
    let list = if seen.is_empty() { "no function".to_owned() } else { seen.join(", ") };
    for (index, line) in wrap(&format!("{list}{how}"), style.columns().saturating_sub(9)).iter().enumerate() {
        let word = if index == 0 { style.bold("watched") } else { " ".repeat(7) };
        writeln!(out, "{word}  {line}")?;
    }
    for function in &run.watched {
        let (word, why) = match &function.sight {
            Sight::Full => continue,
            Sight::Partly(why) => ("partly", why),
            Sight::None(why) => ("not seen", why),
        };
        let sentence = format!("{}: {why}", function.function);
        let safe = escape::text(&sentence, style.plain);
        for (index, line) in wrap(&safe, style.columns().saturating_sub(12)).iter().enumerate() {
            let word = if index == 0 { style.yellow(&format!("{word:<8}")) } else { " ".repeat(8) };
            writeln!(out, "  {word}  {line}")?;
        }
    }
    Ok(())
}

/// `14 markers in app: alloc 9, reset 5`, for each module that has some which are seen.
fn markers(run: &RunView, style: &Style) -> Vec<String> {
    let mut modules: Vec<(&str, u32, Vec<String>)> = Vec::new();
    for function in &run.watched {
        let Some((module, seen)) = function.markers.as_ref().filter(|(_, seen)| *seen > 0) else { continue };
        let part = format!("{} {seen}", function.role);
        match modules.iter_mut().find(|(known, ..)| *known == module.as_str()) {
            Some((_, all, parts)) => {
                *all = all.saturating_add(*seen);
                parts.push(part);
            }
            None => modules.push((module, *seen, vec![part])),
        }
    }
    let line = |(module, all, parts): (&str, u32, Vec<String>)| {
        let count = quantity::counted(u64::from(all), "marker");
        format!("{count} in {}: {}", escape::text(module, style.plain), parts.join(", "))
    };
    modules.into_iter().map(line).collect()
}

/// Check mode of our own library's arenas: what is in force, for how many of them, and why not more.
fn checked(out: &mut dyn Write, run: &RunView, style: &Style) -> fmt::Result {
    for (how, count) in &run.checked {
        let (word, what, why) = match how {
            Checking::Guards => ("checked", "a guard page behind each block, canaries around it", ""),
            Checking::Canaries => ("checked", "canaries around each block", ""),
            Checking::NoGuards => ("partly", "canaries around each block", lacks::NO_GUARDS),
            Checking::Locked => ("partly", "canaries around each block since a guard page was refused", lacks::LOCKED),
            Checking::Quiet => {
                ("partly", "canaries around each block since the program asked for seccomp", lacks::QUIET)
            }
            Checking::Bound => ("not checked", "", lacks::BOUND),
            Checking::NoRoom => ("not checked", "", lacks::NO_ROOM),
        };
        let points = if what.is_empty() || why.is_empty() { "" } else { "; " };
        let sentence = format!("{}: {what}{points}{why}", quantity::counted(*count, "arena"));
        for (index, line) in wrap(&sentence, style.columns().saturating_sub(13)).iter().enumerate() {
            let word = match (index, why.is_empty()) {
                (0, true) => style.bold(&format!("{word:<11}")),
                (0, false) => style.yellow(&format!("{word:<11}")),
                _ => " ".repeat(11),
            };
            writeln!(out, "{word}  {line}")?;
        }
    }
    Ok(())
}

pub(crate) fn groups(out: &mut dyn Write, run: &RunView, names: &FileNames, style: &Style) -> fmt::Result {
    if run.groups.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    for group in &run.groups {
        let place = match &group.site {
            _ if group.malloc => "of malloc's own".to_owned(),
            Some(site) => format!("created at {}", names.site_line(site, style)),
            None => "created at unknown places".to_owned(),
        };
        let (most, each) = if group.count > 1 { ("at most ", " each") } else { ("", "") };
        writeln!(
            out,
            "{} and {} more {place} (peak {most}{}{each})",
            style.ellipsis(),
            quantity::count(group.count),
            quantity::bytes(group.peak),
        )?;
    }
    Ok(())
}

/// A pattern was given, and there are arenas, but none of that name.
fn unmatched(out: &mut dyn Write, run: &RunView, style: &Style) -> fmt::Result {
    const NAMED: usize = 8;
    let count = quantity::counted(run.unmatched.len() as u64, "arena");
    let verb = if run.unmatched.len() == 1 { "was" } else { "were" };
    writeln!(out)?;
    writeln!(out, "{}", style.yellow(&format!("no arena of this number or name; {count} {verb} seen:")))?;
    let mut titles: Vec<String> =
        run.unmatched.iter().take(NAMED).map(|(id, name)| arena::title(*id, name, style)).collect();
    let more = run.unmatched.len().saturating_sub(NAMED);
    if more > 0 {
        titles.push(format!("{} {} more", style.ellipsis(), quantity::count(more as u64)));
    }
    for line in wrap(&titles.join(", "), style.columns().saturating_sub(2)) {
        writeln!(out, "  {line}")?;
    }
    Ok(())
}

fn no_arena(out: &mut dyn Write, run: &RunView, style: &Style) -> fmt::Result {
    writeln!(out)?;
    let seen = run.watched.iter().any(|function| !matches!(function.sight, Sight::None(_)));
    if run.watched.iter().any(|function| matches!(function.sight, Sight::Partly(_))) {
        // Another name would not help: the functions are right, and what was inlined calls none.
        writeln!(out, "{}", style.yellow("no arena seen: no call reached the functions that are watched"))?;
        return writeln!(out, "  compile without inlining, as said above, and run it again");
    }
    let sentence = if seen {
        "no arena seen: none of the watched functions was called"
    } else {
        "no arena seen: no function that hands out blocks was found or named"
    };
    writeln!(out, "{}", style.yellow(sentence))?;
    writeln!(out, "  name the functions of your allocator, for instance")?;
    let program = escape::shell_word(&run.program).into_owned();
    let program = if program == "''" { "PROGRAM".to_owned() } else { program };
    let program = escape::text(&program, style.plain).into_owned();
    writeln!(out, "  arenascope run --alloc 'my_alloc(arena, size) -> block' -- {program}")?;
    writeln!(out, "  or compile with -g, so that they can be found by shape (--explain tells what was considered)")
}

fn findings(out: &mut dyn Write, run: &RunView, names: &FileNames, style: &Style) -> fmt::Result {
    let (mut bugs, mut notes) = (0, 0);
    let telling = Telling { full: false, events: run.events, threads: &run.threads };
    for told in run.findings.iter().take(MOST_FINDINGS) {
        let number = match told.claim.class {
            Class::Finding => &mut bugs,
            Class::Note => &mut notes,
        };
        *number += 1;
        writeln!(out)?;
        finding::write(out, told, *number, telling, names, style)?;
    }
    let left = run.findings.get(MOST_FINDINGS..).unwrap_or_default();
    if !left.is_empty() {
        let command = format!("arenascope findings {}", trace_word(&run.trace));
        writeln!(out, "\n{} and {} more:\n  {}", style.ellipsis(), finding::tally(left), safe(&command))?;
    }
    Ok(())
}

fn outcome(out: &mut dyn Write, run: &RunView, style: &Style) -> fmt::Result {
    if let Outcome::Killed(signal) = run.outcome {
        let line = format!("ended    killed by {}", signal_name(signal));
        writeln!(out, "{}", style.yellow(&line))?;
    }
    Ok(())
}

fn children(out: &mut dyn Write, run: &RunView, style: &Style) -> fmt::Result {
    let (idle, told): (Vec<&ChildView>, Vec<&ChildView>) =
        run.children.iter().partition(|child| child.fate == ChildFate::Idle);
    for child in told.iter().take(MOST_CHILDREN) {
        let who = if child.pid == 0 { "a process".to_owned() } else { format!("process {}", child.pid) };
        let when = if child.event == 0 { String::new() } else { format!(" at #{}", child.event) };
        let runs = child.fate == ChildFate::Runs;
        let what = match &child.trace {
            Some(trace) => traced(trace, &child.tally, runs, style),
            None if runs => "it still runs, and is not recorded".to_owned(),
            None => "it was not recorded".to_owned(),
        };
        writeln!(out, "forked   {who}{when}{}{what}", style.dot())?;
    }
    if let Some(rest) = told.get(MOST_CHILDREN..).filter(|rest| !rest.is_empty()) {
        let traces = rest.iter().filter(|child| child.trace.is_some()).count() as u64;
        more(out, "forked", rest.len(), traces, style)?;
    }
    if !idle.is_empty() {
        let who = match idle.as_slice() {
            [only] if only.pid != 0 => format!("process {}{}it", only.pid, style.dot()),
            [_] => format!("a process{}it", style.dot()),
            _ => format!("{} processes{}they", quantity::count(idle.len() as u64), style.dot()),
        };
        writeln!(out, "forked   {who} did nothing in an arena, and left no trace")?;
    }
    for image in run.executed.iter().take(MOST_CHILDREN) {
        let program = escape::text(&image.program, style.plain);
        let who = if image.pid == run.pid { String::new() } else { format!(" in process {}", image.pid) };
        let what = traced(&image.trace, &image.tally, image.runs, style);
        writeln!(out, "executed {program}{who}{}{what}", style.dot())?;
    }
    let rest = run.executed.len().saturating_sub(MOST_CHILDREN);
    if rest > 0 { more(out, "executed", rest, rest as u64, style) } else { Ok(()) }
}

/// What is said of another trace of the run.
fn traced(trace: &str, tally: &str, runs: bool, style: &Style) -> String {
    let trace = safe(&trace_word(trace));
    match (runs, tally.is_empty()) {
        (true, _) => format!("it still runs, names follow when it ends{}trace {trace}", style.dot()),
        (false, true) => format!("trace {trace}"),
        (false, false) => format!("{tally}{}trace {trace}", style.dot()),
    }
}

fn more(out: &mut dyn Write, word: &str, count: usize, traces: u64, style: &Style) -> fmt::Result {
    let beside = quantity::counted(traces, "trace");
    let count = quantity::count(count as u64);
    writeln!(out, "{word:<8} {} {count} more, with {beside} beside this one", style.ellipsis())
}

/// A trace's path as a word for a shell and for our own command line: never taken for a flag.
fn trace_word(path: &str) -> String {
    let path = if path.starts_with('-') { format!("./{path}") } else { path.to_owned() };
    escape::shell_word(&path).into_owned()
}

/// Everything that could not be recorded, each kind in a sentence that says what it means.
pub fn losses(out: &mut dyn Write, lost: &Lost, style: &Style) -> fmt::Result {
    let events = |count: u64| quantity::counted(count, "event");
    for (count, sentence) in [
        (
            lost.no_space,
            format!(
                "LOST  {}: no space left for the trace; blocks, peaks and findings may be missing",
                events(lost.no_space)
            ),
        ),
        (lost.table_full, format!("LOST  {}: a table of the recorder was full", events(lost.table_full))),
        (
            lost.reentered,
            format!("LOST  {}: they came from signal handlers that interrupted the recorder", events(lost.reentered)),
        ),
        (lost.damaged, format!("LOST  {}: they lay in damaged parts of the trace", events(lost.damaged))),
        (
            lost.capture_bytes,
            format!(
                "LOST  {} of memory not saved: beyond 1 MiB of one span or 256 MiB in all, no space for the trace, or seccomp \
                 in the way",
                quantity::bytes(lost.capture_bytes)
            ),
        ),
    ] {
        if count > 0 {
            warning(out, &sentence, style)?;
        }
    }
    Ok(())
}

/// A sentence that must not be overlooked.
pub fn warning(out: &mut dyn Write, sentence: &str, style: &Style) -> fmt::Result {
    for line in wrap(&escape::text(sentence, style.plain), style.columns()) {
        writeln!(out, "{}", style.red(&line))?;
    }
    Ok(())
}

/// A command must stay exact to be usable: only characters that a terminal would obey are replaced, also in ASCII views.
fn safe(command: &str) -> String {
    escape::text(command, false).into_owned()
}

fn closing(out: &mut dyn Write, run: &RunView, style: &Style) -> fmt::Result {
    let trace = safe(&trace_word(&run.trace));
    let lost = run.lost.events();
    let lost_words = format!("{} lost", quantity::count(lost));
    let items = [
        finding::tally(&run.findings),
        format!("{}, {lost_words}", quantity::counted(run.events, "event")),
        format!("trace {trace}"),
    ];
    for line in flow(&items, style.dot(), style.columns()) {
        let line = if lost > 0 { line.replace(&lost_words, &style.red(&lost_words)) } else { line };
        writeln!(out, "{line}")?;
    }
    let moment = interesting_moment(run);
    match moment {
        Some(event) => writeln!(out, "  arenascope show {trace} --at '#{event}'"),
        None => writeln!(out, "  arenascope log {trace}"),
    }
}

/// The moment that the next command shows: what a finding is about, else the most there ever was in the first arena. A
/// note's own moment is often the birth of an arena, where nothing is to be seen yet.
fn interesting_moment(run: &RunView) -> Option<u64> {
    let of = |class| run.findings.iter().filter(move |told| told.claim.class == class).find_map(|told| told.moment());
    // Of an inherited arena the peak may be one of the parent's events.
    let peak = run.arenas.iter().find(|arena| !arena.birth.inherited).map(|arena| arena.peak_event);
    of(Class::Finding).or(peak.filter(|&event| event > 0)).or_else(|| of(Class::Note)).filter(|&event| event > 0)
}

/// `SIGSEGV`, or `signal 77` for one without a name. Numbers as on Linux x86-64 (signal(7)).
pub fn signal_name(signal: u32) -> String {
    const NAMES: [&str; 32] = [
        "",
        "SIGHUP",
        "SIGINT",
        "SIGQUIT",
        "SIGILL",
        "SIGTRAP",
        "SIGABRT",
        "SIGBUS",
        "SIGFPE",
        "SIGKILL",
        "SIGUSR1",
        "SIGSEGV",
        "SIGUSR2",
        "SIGPIPE",
        "SIGALRM",
        "SIGTERM",
        "SIGSTKFLT",
        "SIGCHLD",
        "SIGCONT",
        "SIGSTOP",
        "SIGTSTP",
        "SIGTTIN",
        "SIGTTOU",
        "SIGURG",
        "SIGXCPU",
        "SIGXFSZ",
        "SIGVTALRM",
        "SIGPROF",
        "SIGWINCH",
        "SIGIO",
        "SIGPWR",
        "SIGSYS",
    ];
    match usize::try_from(signal).ok().and_then(|index| NAMES.get(index)) {
        Some(name) if !name.is_empty() => (*name).to_owned(),
        _ => format!("signal {signal}"),
    }
}

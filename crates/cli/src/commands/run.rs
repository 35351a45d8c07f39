//! `run`: compiles if asked, decides what to watch, runs the program as if we were not there, finishes the trace, shows
//! the first screen.

use crate::args::{Mode, RunArgs, Watch};
use crate::error::CliError;
use crate::fail_on::FailOn;
use crate::family::{self, Family};
use crate::output;
use crate::reading;
use crate::run::compile::{self, Compiled};
use crate::run::drain::{Draining, Drains};
use crate::run::finish;
use crate::run::given;
use crate::run::launch::{self, End};
use crate::run::mark_on;
use crate::run::memcheck::Memcheck;
use crate::run::narrate;
use crate::run::outlive;
use crate::run::program::{self, Program};
use crate::run::remarks;
use crate::run::sanitizer;
use crate::run::serve::{self, Naming, Seen, Settings};
use crate::run::trace_file;
use crate::run::watch::{self, Watching};
use crate::suppressions;
use arenascope_event::{EventKind, RoleDecl};
use arenascope_report::gather::Selection;
use arenascope_report::pattern::ArenaPattern;
use arenascope_report::style::Style;
use arenascope_report::suppress::Suppressions;
use arenascope_report::view::{ChildFate, ExecutedView, RunView, Suppressed};
use arenascope_shapes::INLINED_EVERYWHERE;
use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// What is to be executed.
struct Job {
    program: Program,
    arguments: Vec<OsString>,
    /// Keeps a compiled program until its trace has names.
    _compiled: Option<Compiled>,
    /// The words after the flags, and the mode's before them, for messages that repeat the command line.
    command: String,
    /// `--check ` or the like; empty for the usual mode.
    mode: String,
    /// The C files and what follows them, as typed, and the compiler's flags; for programs that we compiled.
    files: Option<(String, Option<String>)>,
}

/// What the user makes of findings.
struct Judging {
    fail_on: FailOn,
    suppressions: Suppressions,
}

/// Where our words go.
struct Words {
    out: Box<dyn Write + Send>,
    style: Style,
}

impl Words {
    fn new(args: &RunArgs) -> Result<Words, CliError> {
        match &args.log {
            None => {
                let stderr = std::io::stderr();
                let style = output::style(&stderr, args.plain);
                Ok(Words { out: Box::new(stderr), style })
            }
            Some(path) => {
                // An empty file, as mktemp leaves it, is nobody's loss; nor is a device.
                let holds_something = std::fs::metadata(path).is_ok_and(|data| data.is_file() && data.len() > 0);
                if holds_something && !args.force {
                    return Err(CliError::usage(format!("--log {}: it exists already", path.display()))
                        .hint("--force to overwrite it, or another name"));
                }
                let file = File::create(path).map_err(|error| {
                    CliError::usage(format!("cannot write our words to {}: {error}", path.display()))
                        .hint("--log FILE in a folder that you may write to")
                })?;
                let style = output::style(&file, args.plain);
                Ok(Words { out: Box::new(file), style })
            }
        }
    }

    /// Says it; a reader that went away changes nothing about the program.
    fn say(&mut self, text: &str) {
        let _ = self.out.write_all(text.as_bytes());
        let _ = self.out.flush();
    }
}

/// How precise mode is asked for, in messages.
const PRECISE: &str = "--precise ";

fn job(args: &RunArgs) -> Result<Job, CliError> {
    let text = |words: &[OsString]| words.iter().map(shell).collect::<Vec<_>>().join(" ");
    let mode = match args.mode {
        Mode::Check => "--check ".to_owned(),
        Mode::Precise => PRECISE.to_owned(),
        Mode::Sample(bytes) => format!("--mode sample:{bytes} "),
        _ => String::new(),
    };
    if args.files.is_empty() {
        let Some(name) = args.after.first() else {
            return Err(CliError::usage("nothing to run")
                .hint("arenascope run -- PROGRAM [arg]...\narenascope run FILE.c... [-- arg...]"));
        };
        let command = format!("{mode}-- {}", text(&args.after));
        return Ok(Job {
            mode,
            program: program::find(name)?,
            arguments: args.after.clone(),
            _compiled: None,
            command,
            files: None,
        });
    }
    let compiled = compile::compile(&args.files, args.cflags.as_deref())?;
    let mut arguments = vec![compiled.path.clone().into_os_string()];
    arguments.extend(args.after.iter().cloned());
    let after = if args.after.is_empty() { String::new() } else { format!(" -- {}", text(&args.after)) };
    let cflags = args.cflags.as_ref().map_or_else(String::new, |flags| format!("--cflags '{flags}' "));
    let files = format!("{}{after}", text(&args.files));
    let command = format!("{mode}{cflags}{files}");
    let files = Some((files, args.cflags.clone()));
    let program = program::find(compiled.path.as_os_str())?;
    Ok(Job { program, arguments, _compiled: Some(compiled), command, mode, files })
}

fn shell(word: &OsString) -> String {
    arenascope_report::escape::shell_word(&word.to_string_lossy()).into_owned()
}

/// Runs the verb.
pub fn run(args: RunArgs) -> Result<ExitCode, CliError> {
    launch::survive_file_size_limit();
    let judging = Judging {
        fail_on: FailOn::parse(&args.fail_on)?,
        suppressions: suppressions::read(args.suppressions.as_deref())?,
    };
    names_a_file(args.output.as_deref())?;
    let signals = mark_on::parse(&args.mark_on)?;
    if signals != 0 && args.mode == Mode::Off {
        return Err(CliError::usage("--mark-on with --mode off: marks are set in a trace, and there is none")
            .hint("--mode record, or no --mark-on"));
    }
    // Before anything is written or compiled.
    if args.mode == Mode::Precise && args.watch == Watch::Malloc {
        return Err(CliError::usage("--precise with --watch malloc: under Valgrind malloc is memcheck's own")
            .hint("--precise for arenas, or --watch malloc without it"));
    }
    if args.guard_pages.is_some() && args.mode != Mode::Check {
        return Err(CliError::usage("--guard-pages without --check: only check mode lays blocks before such pages")
            .hint("--check --guard-pages"));
    }
    if matches!(args.mode, Mode::Sample(_)) && !args.fail_on.is_empty() {
        return Err(CliError::usage(
            "--mode sample with --fail-on: rules need every event, so none is asked and none could fail",
        )
        .hint("--mode record with --fail-on, or samples without it"));
    }
    if matches!(args.mode, Mode::Sample(_)) && args.scan.is_some() {
        return Err(CliError::usage(
            "--mode sample with --scan: blocks that are no samples are not known, and most are none",
        )
        .hint("--mode record with --scan, or samples without it"));
    }
    if args.mode == Mode::Precise && args.scan.is_some() {
        return Err(CliError::usage("--precise with --scan: Valgrind's own tables hold the address of every block")
            .hint("--scan without it"));
    }
    let memcheck = if args.mode == Mode::Precise { Some(Memcheck::find()?) } else { None };
    let mut words = Words::new(&args)?;
    let job = job(&args)?;
    if memcheck.is_some() && job.program.image.as_ref().is_some_and(sanitizer::replaces_malloc) {
        return Err(CliError::usage(format!(
            "{} is built with a sanitizer, which cannot run under Valgrind",
            job.program.path.display()
        ))
        .hint("build it without -fsanitize for --precise"));
    }
    if args.mode == Mode::Off {
        // Roles are still read, so that a typo does not wait for the day the watching is switched on.
        given::given(&args)?;
        return run_unwatched(&job);
    }
    if !job.program.unseen.is_empty() {
        given::given(&args)?;
        let status = run_unwatched(&job)?;
        words.say(&format!("\nnot watched: {}\n", sentence(&job.program.unseen, &words.style)));
        return Ok(status);
    }
    let decision = watch::decide(&args, job.program.image.as_ref(), &job.command)?;
    words.say(&decision.explanation);
    watched(&args, &judging, &mut words, &job, decision.watching, &decision.notes, memcheck.as_ref(), signals)
}

/// `-o` must name a file: a folder would be found out too late, and `folder/` would become a file of that name.
fn names_a_file(output: Option<&Path>) -> Result<(), CliError> {
    let Some(path) = output else { return Ok(()) };
    let shown = path.to_string_lossy();
    if shown.ends_with('/') || path.file_name().is_none() || path.is_dir() {
        let inside = arenascope_report::escape::shell_word(&path.join("NAME.ascope").to_string_lossy()).into_owned();
        return Err(CliError::usage(format!("-o {shown} names a folder, and the trace is a file"))
            .hint(format!("-o {inside}, or no -o inside that folder")));
    }
    Ok(())
}

fn sentence(text: &str, style: &Style) -> String {
    arenascope_report::escape::text(text, style.plain).into_owned()
}

fn run_unwatched(job: &Job) -> Result<ExitCode, CliError> {
    let waiting = launch::fork(&job.program.path, &job.arguments, None).map_err(|error| cannot_start(job, &error))?;
    let end = start(job, waiting, 0)?.wait().map_err(|error| cannot_start(job, &error))?;
    Ok(ExitCode::from(end.exit_status()))
}

fn start(job: &Job, waiting: launch::Waiting, mark_on: u64) -> Result<launch::Running, CliError> {
    waiting.go(mark_on).map_err(|error| cannot_start(job, &error))
}

fn cannot_start(job: &Job, error: &std::io::Error) -> CliError {
    CliError::not_executable(format!("cannot execute {}: {error}", job.program.path.display()))
}

/// The agent as a file that only exists while we live: `/proc/PID/fd/N`. Valgrind wants to open it by its name, to find its
/// way through our frames.
fn agent_file(memcheck: Option<&Memcheck>) -> Result<(File, String), CliError> {
    let cannot = |error: std::io::Error| {
        CliError::usage(format!("cannot make the agent library's file: {error}"))
            .hint("a higher limit on file sizes (ulimit -f), or --mode off")
    };
    let mut file = match memcheck {
        Some(memcheck) => memcheck.file("agent.so").map_err(cannot)?,
        None => rustix::fs::memfd_create("arenascope-agent", rustix::fs::MemfdFlags::CLOEXEC)
            .map(File::from)
            .map_err(|error| cannot(error.into()))?,
    };
    file.write_all(crate::run::AGENT).map_err(cannot)?;
    let path = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
    Ok((file, path))
}

#[expect(clippy::too_many_arguments, reason = "the middle of one long story")]
fn watched(
    args: &RunArgs,
    judging: &Judging,
    words: &mut Words,
    job: &Job,
    mut watching: Watching,
    notes: &[String],
    memcheck: Option<&Memcheck>,
    mark_on: u64,
) -> Result<ExitCode, CliError> {
    let decls = watching.roles_for(job.program.image.as_ref()).decls;
    let given = watching.given.clone();
    let launcher = std::process::id();
    let (_agent, preload) = agent_file(memcheck)?;
    let listener =
        serve::listen(launcher).map_err(|error| CliError::usage(format!("cannot listen for the agent: {error}")))?;
    let naming = Naming {
        folder: std::env::current_dir().unwrap_or_else(|_| PathBuf::from(".")),
        output: args.output.clone(),
        force: args.force,
    };
    let name = job.program.path.to_string_lossy().into_owned();
    let (executed, arguments) = match memcheck {
        Some(memcheck) => (memcheck.program().to_owned(), memcheck.arguments(&job.program.path, &job.arguments)),
        None => (job.program.path.clone(), job.arguments.clone()),
    };
    let waiting = launch::fork(&executed, &arguments, Some(&preload)).map_err(|error| cannot_start(job, &error))?;
    let main_pid = waiting.pid;
    let path = naming.path(&name, main_pid, true);
    // Shown and stored as the user would type it: relative to the current folder.
    let path = path.strip_prefix(&naming.folder).map(Path::to_owned).unwrap_or(path);
    let _before = args.force.then(|| Before::put_aside(&path)).flatten();
    let drains = Arc::new(Drains::new());
    let begun = trace_file::begin(&path, args.force, &drains, false, main_pid, launcher, 0, name.as_bytes())
        .and_then(|trace| Ok((trace, Draining::start(&drains).map_err(|error| no_thread(&path, &error))?)));
    let (main_trace, draining) = match begun {
        Ok(begun) => begun,
        Err(error) => {
            waiting.abandon();
            return Err(error);
        }
    };
    let mode = match args.mode {
        Mode::Check => arenascope_event::Mode::Check,
        Mode::Precise => arenascope_event::Mode::Precise,
        Mode::Sample(_) => arenascope_event::Mode::Sample,
        Mode::Record | Mode::Off => arenascope_event::Mode::Record,
    };
    let sample_bytes = if let Mode::Sample(bytes) = args.mode { bytes } else { 0 };
    let scan = args.scan;
    // A number is known only once an arena is there: then all are watched, and the views choose.
    let names = |pattern: &String| ArenaPattern::new(pattern).for_names();
    let only = args.only.as_ref().and_then(names);
    let guards = args.guard_pages.as_ref().map(|pattern| names(pattern).unwrap_or_else(|| pattern.clone()));
    let settings = Settings {
        main_pid,
        main_trace: Some(main_trace),
        drains: Arc::clone(&drains),
        naming,
        watching,
        mode,
        sample_bytes,
        mark_on,
        only,
        guards,
        scan,
    };
    let server = std::thread::spawn(move || serve::serve(&listener, settings));
    let ended = Arc::new(AtomicBool::new(false));
    let narrator = args.narrate.then(|| {
        let (path, style, ended) = (path.clone(), words.style, Arc::clone(&ended));
        let decls = decls.clone();
        let log = args.log.clone();
        std::thread::spawn(move || {
            let mut out: Box<dyn Write> = match log.and_then(|log| File::options().append(true).open(log).ok()) {
                Some(file) => Box::new(file),
                None => Box::new(std::io::stderr()),
            };
            narrate::narrate(&path, &decls, style, &mut out, &ended);
        })
    });
    let outcome =
        start(job, waiting, mark_on).and_then(|running| running.wait().map_err(|error| cannot_start(job, &error)));
    // The narrator reads the rest from the file.
    drains.sync(&path);
    ended.store(true, Relaxed);
    if let Some(narrator) = narrator {
        let _ = narrator.join();
    }
    serve::hang_up(launcher);
    let seen = server.join().unwrap_or_default();
    let end = match outcome {
        Ok(end) => end,
        Err(error) => {
            let _ = std::fs::remove_file(&path);
            return Err(error);
        }
    };
    let decided = Decided { given: &given, notes, memcheck, mark_on, drains: &drains };
    finish_all(args, judging, words, job, &path, main_pid, end, seen, &decided, draining)
}

/// Nobody can copy the trace from memory.
fn no_thread(path: &Path, error: &std::io::Error) -> CliError {
    let _ = std::fs::remove_file(path);
    CliError::usage(format!("cannot write the trace {}: no thread can be made ({error})", path.display()))
        .hint("a higher limit on processes (ulimit -u), or --mode off")
}

/// A trace that is to be overwritten, kept beside it until there is another: a run that leaves no trace leaves the old one.
struct Before {
    aside: PathBuf,
    path: PathBuf,
}

impl Before {
    /// `None` when there is nothing to keep, or no way to.
    fn put_aside(path: &Path) -> Option<Before> {
        std::fs::symlink_metadata(path).ok().filter(std::fs::Metadata::is_file)?;
        let mut name = path.file_name()?.to_owned();
        name.push(".before");
        let aside = path.with_file_name(name);
        if std::fs::symlink_metadata(&aside).is_ok() {
            return None;
        }
        std::fs::rename(path, &aside).ok()?;
        Some(Before { aside, path: path.to_owned() })
    }
}

impl Drop for Before {
    fn drop(&mut self) {
        let _ = match self.path.exists() {
            true => std::fs::remove_file(&self.aside),
            false => std::fs::rename(&self.aside, &self.path),
        };
    }
}

/// What was decided before the start, for the sentences after the end.
struct Decided<'a> {
    /// Roles that the user gave.
    given: &'a [RoleDecl],
    /// Why nothing was found by shape.
    notes: &'a [String],
    /// The program ran under it.
    memcheck: Option<&'a Memcheck>,
    /// Signals that set a mark, bit n − 1 for signal n.
    mark_on: u64,
    /// Traces that lie in memory.
    drains: &'a Drains,
}

/// Seals every trace, shows the first screen of the main one, decides the exit status.
#[expect(clippy::too_many_arguments, reason = "the end of one long story")]
fn finish_all(
    args: &RunArgs,
    judging: &Judging,
    words: &mut Words,
    job: &Job,
    main_path: &Path,
    main_pid: u32,
    end: End,
    mut seen: Vec<Seen>,
    decided: &Decided<'_>,
    draining: Draining,
) -> Result<ExitCode, CliError> {
    let mut remarks: Vec<String> = remarks::no_alloc(decided.given).into_iter().collect();
    remarks.extend(remarks::never_turned_up(decided.given, &seen));
    remarks.extend(remarks::not_patched(&seen));
    remarks.extend(remarks::of_check(&seen));
    if let Some(memcheck) = decided.memcheck {
        remarks.extend(remarks::of_precise(memcheck, main_pid));
    }
    let mut still_running: Vec<Seen> = Vec::new();
    for process in &seen {
        remarks.extend(process.remarks.iter().cloned());
        let Some(trace) = &process.trace else { continue };
        let main = process.pid == main_pid;
        if !main && outlive::runs(process.pid) {
            decided.drains.sync(trace);
            let trace = std::path::absolute(trace).ok();
            still_running.push(Seen { trace, ..process.clone() });
            continue;
        }
        let arguments: Vec<String> = if main {
            job.arguments.iter().map(|word| word.to_string_lossy().into_owned()).collect()
        } else {
            Vec::new()
        };
        if let Err(error) = decided.drains.finish(trace) {
            remarks.push(format!("what {} holds in the end is not all that was recorded: {error}", trace.display()));
        }
        if let Some(bytes) = decided.drains.filled(trace) {
            remarks.push(format!(
                "events came faster than {} took them, and {} MiB of memory for them were full: -o FILE on a faster disk",
                trace.display(),
                bytes >> 20
            ));
        }
        if let Err(error) = finish::finish(process, &arguments, main.then_some(end.raw), decided.memcheck) {
            remarks.push(format!(
                "the trace {} could not be completed ({error}): it holds the events, without names",
                trace.display()
            ));
        }
    }
    let runs = |process: &Seen| still_running.iter().any(|other| other.pid == process.pid);
    let kept = worth_keeping(&seen, main_pid, args.late, &runs);
    for (process, _) in seen.iter().zip(&kept).filter(|(_, kept)| !**kept) {
        if let Some(trace) = &process.trace {
            let _ = std::fs::remove_file(trace);
        }
    }
    let has_trace = |(process, kept): &(&Seen, &bool)| **kept && process.trace.is_some();
    let is_main = |process: &Seen| process.trace.as_deref() == Some(main_path);
    if !seen.iter().zip(&kept).filter(has_trace).any(|(process, _)| is_main(process)) {
        let _ = std::fs::remove_file(main_path);
        // The only trace of a run gets the name that was asked for, whoever left it.
        let mut others = seen.iter().zip(&kept).enumerate().filter(|(_, pair)| has_trace(pair)).map(|(index, _)| index);
        if let (Some(_), Some(only), None) = (&args.output, others.next(), others.next())
            && let Some(process) = seen.get_mut(only).filter(|process| !runs(process))
            && let Some(trace) = &process.trace
            && std::fs::rename(trace, main_path).is_ok()
        {
            process.trace = Some(main_path.to_owned());
        }
    }
    let recorded: Vec<&Seen> = seen.iter().zip(&kept).filter(has_trace).map(|(process, _)| process).collect();
    if let (Some(output), true) = (&args.output, recorded.len() > 1 && !recorded.iter().any(|process| is_main(process)))
    {
        remarks.push(format!(
            "{} was not written: no arena was seen in {}, and each program that it executed has a trace of its own",
            output.display(),
            job.program.path.display()
        ));
    }
    remarks.extend(mark_on::not_set(decided.mark_on, recorded.iter().filter_map(|process| process.trace.as_deref())));
    let mut findings = Vec::new();
    let mut suppressed = Suppressed::default();
    let mut tallies: Vec<(&Seen, String)> = Vec::new();
    if recorded.is_empty() {
        words.say(&nothing_watched(&seen, job, decided.notes, &remarks, &words.style));
    } else {
        let main = recorded.iter().position(|process| process.trace.as_deref() == Some(main_path)).unwrap_or(0);
        let mut family = Family::default();
        // The main one last: its screen tells what was found in the others.
        let others = (0..recorded.len()).filter(|index| *index != main);
        for index in others.chain([main]) {
            let Some((process, trace_path)) =
                recorded.get(index).and_then(|process| Some((*process, as_typed(process.trace.as_deref()?))))
            else {
                continue;
            };
            let file = reading::TraceFile::open(&trace_path)?;
            let trace = file.trace()?;
            let mut read = reading::read(&file, &trace, None);
            read.suppress(&judging.suppressions);
            suppressed.add(&read.suppressed);
            findings.extend(read.findings.iter().cloned());
            family.add(&read.facts, &read.member);
            if index != main {
                tallies.push((process, arenascope_report::finding::tally(&read.findings)));
                continue;
            }
            let mut view: RunView = read.view(&file, &trace, &selection(args));
            let mut together = family.findings(None);
            suppressed.add(&judging.suppressions.apply(&mut together));
            findings.extend(together.iter().cloned());
            family::add_to(&mut view.findings, together);
            if read.facts.mode == arenascope_event::Mode::Precise {
                let limits = read.facts.mode_limits.iter().filter(|limit| !remarks.contains(limit)).cloned();
                remarks.extend(limits.collect::<Vec<_>>());
                remarks.extend(remarks::of_precise_threads(&read.state));
            }
            // A line that matched nothing here may have matched in another program of the run.
            view.suppressed.clone_from(&suppressed);
            tell_others(&mut view, &seen, &kept, &tallies, &runs);
            let mut text = String::from("\n");
            if !view.executed.is_empty() {
                // Arenas are numbered anew in every program.
                let whose = format!("what follows is {}, process {}", process.program, process.pid);
                text.push_str(&format!("{}\n\n", sentence(&whose, &words.style)));
            }
            let _ = arenascope_report::screen::write(&mut text, &view, &reading::current_directory(), &words.style);
            for remark in &remarks {
                text.push_str(&format!("{}\n", sentence(remark, &words.style)));
            }
            words.say(&text);
        }
    }
    // One thread is left: the one in the background goes on.
    drop(draining);
    if !still_running.is_empty() && !outlive::seal_when_ended(&still_running, decided.drains) {
        words.say("what still runs leaves its trace as it is now, without names: no process could be started to go on with it\n");
    }
    if judging.fail_on.hits(&findings) {
        return Ok(ExitCode::from(1));
    }
    Ok(ExitCode::from(end.exit_status()))
}

fn selection(args: &RunArgs) -> Selection {
    Selection { pattern: args.only.as_deref().map(ArenaPattern::new), ..Selection::GLANCE }
}

/// A path of ours as the user would type it here.
fn as_typed(path: &Path) -> PathBuf {
    let here = std::env::current_dir().ok().and_then(|folder| path.strip_prefix(folder).ok());
    here.unwrap_or(path).to_owned()
}

/// Which of the images' traces are kept. A program that was only on the way (a shell, `env`, `timeout`) leaves none: nothing
/// happened in it. Nor does a forked child that did nothing in an arena, unless a trace that is kept begins in its own.
fn worth_keeping(seen: &[Seen], main_pid: u32, late: bool, runs: &dyn Fn(&Seen) -> bool) -> Vec<bool> {
    let mut kept: Vec<bool> = seen
        .iter()
        .map(|process| {
            process.trace.is_some()
                && (process.pid == main_pid && process.fork_id == 0 && !late
                    || process.fork_id != 0 && runs(process)
                    || did_something(process))
        })
        .collect();
    // Children are seen after their parents: one way back reaches every parent of a parent.
    for child in (0..seen.len()).rev() {
        let Some(process) = seen.get(child).filter(|process| process.fork_id != 0) else { continue };
        if kept.get(child) == Some(&true) {
            let parents = seen.iter().zip(&mut kept).filter(|(parent, _)| parent.pid == process.parent_pid);
            parents.filter(|(parent, _)| parent.trace.is_some()).for_each(|(_, kept)| *kept = true);
        }
    }
    kept
}

/// True when the process did something in an arena, or a signal ended it; also when its trace cannot be read, which is then
/// said elsewhere.
fn did_something(process: &Seen) -> bool {
    let Some(Ok(file)) = process.trace.as_deref().map(reading::TraceFile::open) else { return true };
    let Ok(trace) = file.trace() else { return true };
    trace.events().any(|event| event.kind.arena_order().is_some() || matches!(event.kind, EventKind::Fault { .. }))
}

/// What is known of the other processes of the run, for the screen of the main one.
fn tell_others(
    view: &mut RunView,
    seen: &[Seen],
    kept: &[bool],
    tallies: &[(&Seen, String)],
    runs: &dyn Fn(&Seen) -> bool,
) {
    let mut told: Vec<&Seen> = Vec::new();
    for child in &mut view.children {
        let Some((process, kept)) =
            seen.iter().zip(kept).find(|(process, _)| process.fork_id != 0 && process.fork_id == child.fork_id)
        else {
            continue;
        };
        told.push(process);
        if let Some((_, tally)) = tallies.iter().find(|(other, _)| std::ptr::eq(*other, process)) {
            child.tally.clone_from(tally);
        }
        child.fate = match kept {
            _ if runs(process) => ChildFate::Runs,
            false if process.trace.is_some() => ChildFate::Idle,
            _ => ChildFate::Unknown,
        };
    }
    let others = tallies.iter().filter(|(process, _)| !told.iter().any(|known| std::ptr::eq(*known, *process)));
    view.executed = others
        .filter_map(|(process, tally)| {
            Some(ExecutedView {
                pid: process.pid,
                program: process.program.clone(),
                trace: as_typed(process.trace.as_deref()?).to_string_lossy().into_owned(),
                tally: tally.clone(),
                runs: runs(process),
            })
        })
        .collect();
}

/// The sentences for a run in which no arena function was watched.
fn nothing_watched(seen: &[Seen], job: &Job, notes: &[String], remarks: &[String], style: &Style) -> String {
    let mut text = String::from("\nno arena was watched\n");
    let mut say = |sentence_text: &str| {
        text.push_str("  ");
        text.push_str(&sentence(sentence_text, style));
        text.push('\n');
    };
    if seen.is_empty() {
        say("the agent did not start: the program is static, or drops LD_PRELOAD, or runs under another loader");
    }
    let not_watched = seen.iter().flat_map(|process| &process.hooks).filter_map(|hook| match &hook.status {
        arenascope_event::HookStatus::NotWatched(reason) => Some(format!("{} {reason}", hook.decl.function)),
        _ => None,
    });
    let not_watched: Vec<String> = not_watched.collect();
    let unseen_for_inlining = not_watched.iter().chain(notes).any(|sentence| sentence.contains(INLINED_EVERYWHERE));
    let stripped = job.program.image.as_ref().filter(|image| image.is_stripped() && !image.has_debug_info());
    let notes = match stripped {
        // What the search for shapes misses went with the symbols.
        Some(image) if !notes.is_empty() => {
            std::iter::once(given::stripped(image)).chain(given::with_symbols(image)).collect()
        }
        _ => notes.to_vec(),
    };
    // The search may have named the role of the function that comes nearest.
    let told = notes.iter().find_map(|note| Some(note.split_once("--alloc '")?.1.split_once('\'')?.0.to_owned()));
    let role = told.unwrap_or_else(|| "my_alloc(arena, size) -> block".to_owned());
    for sentence in not_watched.into_iter().chain(notes).chain(remarks.iter().cloned()) {
        say(&sentence);
    }
    if let Some(interpreter) = interpreter(&job.program.path) {
        say(&format!(
            "{interpreter} interprets the program: its functions never run where calls could be seen. Run the program itself"
        ));
        return text;
    }
    // In precise mode what was seen is Valgrind, which is not what the user started.
    let others = seen.len() > 1 && job.mode != PRECISE;
    let starts_others = job.program.image.is_none() || others || seen.iter().any(|image| is_shell(&image.program));
    if starts_others {
        say("a program that it starts is not seen when it is static or setuid");
    }
    // Naming does not help where there is no function to watch.
    if unseen_for_inlining {
        say(&format!("to see it: {}", without_inlining(job)));
    } else {
        let late = if starts_others { "--late " } else { "" };
        let role = format!("--alloc '{role}'");
        let which = if stripped.is_some() { "or name functions that it exports" } else { "name its functions" };
        say(&format!("{which}: arenascope run {late}{role} {}", job.command));
    }
    say("an allocator that is inlined away can tell by itself what it does: arenascope-mark.h, docs/markers.md");
    text
}

/// How to build the program so that its calls can be seen.
fn without_inlining(job: &Job) -> String {
    match &job.files {
        Some((files, flags)) => {
            let flags = flags.as_deref().unwrap_or("");
            let flags = arenascope_report::escape::shell_word(format!("{flags} -fno-inline").trim()).into_owned();
            format!("arenascope run {}--cflags {flags} {files}", job.mode)
        }
        None => format!("compile it with -fno-inline, and again arenascope run {}", job.command),
    }
}

/// The name of a program that runs others in a machine of its own.
fn interpreter(program: &Path) -> Option<String> {
    let name = program.file_name()?.to_string_lossy().into_owned();
    let known = name == "valgrind" || name.starts_with("qemu-") || name == "box64" || name == "drrun";
    known.then_some(name)
}

/// Programs whose business is to start others.
fn is_shell(program: &str) -> bool {
    let name = program.rsplit('/').next().unwrap_or(program);
    ["sh", "bash", "dash", "zsh", "env", "timeout", "nice", "xargs", "make", "time"].contains(&name)
}

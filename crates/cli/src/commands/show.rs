//! `show TRACE [--at MOMENT]`: the arenas, their map and bytes, at the end or at a moment. `show --pid`, `--core`: see `show_outside`.

use crate::args::ShowArgs;
use crate::error::CliError;
use crate::output::{self, Stdout};
use crate::reading::{self, TraceFile};
use arenascope_report::gather::Selection;
use arenascope_report::view::Moment;
use arenascope_report::{json, moment, snapshot};
use std::path::Path;
use std::process::ExitCode;

/// Most arenas told one by one in text; JSON has them all.
const MOST_ARENAS: usize = 16;

/// Runs the verb.
pub fn show(args: ShowArgs) -> Result<ExitCode, CliError> {
    if args.gdb_script {
        let mut out = Stdout::new();
        out.bytes(include_str!("../../gdb/arenascope-gdb.py").as_bytes())?;
        out.finish()?;
        return Ok(ExitCode::SUCCESS);
    }
    match (args.pid, &args.core, &args.trace) {
        (Some(pid), ..) => super::show_outside::of_process(&args, pid),
        (None, Some(core), _) => super::show_outside::of_core(&args, core),
        (None, None, Some(trace)) => of_trace(&args, trace),
        (None, None, None) => Err(CliError::usage("show: a trace, --pid or --core is wanted")),
    }
}

fn of_trace(args: &ShowArgs, path: &Path) -> Result<ExitCode, CliError> {
    let asked = arenascope_report::escape::shell_word(args.at.as_deref().unwrap_or_default()).into_owned();
    let complain = |what: String| CliError::usage(format!("--at {asked}: {what}"));
    // The user's words first: a moment that is none needs no trace to be wrong.
    let spec = args.at.as_deref().map(moment::parse).transpose().map_err(|error| complain(error.to_string()))?;
    let file = TraceFile::open(path)?;
    let trace = file.trace()?;
    let at = match &spec {
        None => None,
        Some(spec) => {
            let sites = crate::names::facts(&trace).sites;
            Some(moment::resolve(spec, trace.events(), &sites).map_err(|error| complain(error.to_string()))?)
        }
    };
    let reading = reading::read(&file, &trace, at);
    let known = reading::arena_names(&reading.state, &reading.facts);
    let pattern = match reading.pattern(args.arena.as_deref(), &known) {
        // Before it was born, an arena of the trace is no mistake of the user.
        Err(_) if at.is_some() => {
            Some(arenascope_report::pattern::ArenaPattern::new(args.arena.as_deref().unwrap_or_default()))
        }
        outcome => outcome?,
    };
    let selection = Selection {
        most: if args.json || pattern.is_some() { usize::MAX } else { MOST_ARENAS },
        pattern,
        living_only: at.is_some(),
        ranked: false,
    };
    let view = reading.view(&file, &trace, &selection);
    let when = Moment { event: reading.state.moment.0, time_ns: reading.state.time_ns };
    let mut out = Stdout::new();
    if args.json {
        out.bytes(json::snapshot(&view, when).as_bytes())?;
    } else {
        let style = output::style(&std::io::stdout(), args.plain);
        // An error is kept by `Stdout` and handed out by `finish`.
        let _ = snapshot::write(&mut out, &view, when, at.is_some(), &reading::current_directory(), &style);
    }
    out.finish()?;
    Ok(ExitCode::SUCCESS)
}

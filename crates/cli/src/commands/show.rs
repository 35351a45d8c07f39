//! `show TRACE [--at MOMENT]`: the arenas, their map and bytes, at the end or at a moment.

use crate::args::ShowArgs;
use crate::error::CliError;
use crate::output::{self, Stdout};
use crate::reading::{self, TraceFile};
use arenascope_report::gather::Selection;
use arenascope_report::view::Moment;
use arenascope_report::{json, moment, snapshot};
use std::process::ExitCode;

/// Most arenas told one by one in text; JSON has them all.
const MOST_ARENAS: usize = 16;

/// Runs the verb.
pub fn show(args: ShowArgs) -> Result<ExitCode, CliError> {
    let asked = arenascope_report::escape::shell_word(args.at.as_deref().unwrap_or_default()).into_owned();
    let complain = |what: String| CliError::usage(format!("--at {asked}: {what}"));
    // The user's words first: a moment that is none needs no trace to be wrong.
    let spec = args.at.as_deref().map(moment::parse).transpose().map_err(|error| complain(error.to_string()))?;
    let file = TraceFile::open(&args.view.trace)?;
    let trace = file.trace()?;
    let at = match &spec {
        None => None,
        Some(spec) => {
            let sites = trace.facts().sites;
            Some(moment::resolve(spec, trace.events(), &sites).map_err(|error| complain(error.to_string()))?)
        }
    };
    let reading = reading::read(&file, &trace, at);
    let known = reading::arena_names(&reading.state, &reading.facts);
    let pattern = match reading.pattern(args.view.arena.as_deref(), &known) {
        // Before it was born, an arena of the trace is no mistake of the user.
        Err(_) if at.is_some() => {
            Some(arenascope_report::pattern::ArenaPattern::new(args.view.arena.as_deref().unwrap_or_default()))
        }
        outcome => outcome?,
    };
    let selection = Selection {
        most: if args.view.json || pattern.is_some() { usize::MAX } else { MOST_ARENAS },
        pattern,
        living_only: at.is_some(),
        ranked: false,
    };
    let view = reading.view(&file, &trace, &selection);
    let when = Moment { event: reading.state.moment.0, time_ns: reading.state.time_ns };
    let mut out = Stdout::new();
    if args.view.json {
        out.bytes(json::snapshot(&view, when).as_bytes())?;
    } else {
        let style = output::style(&std::io::stdout(), args.view.plain);
        // An error is kept by `Stdout` and handed out by `finish`.
        let _ = snapshot::write(&mut out, &view, when, at.is_some(), &reading::current_directory(), &style);
    }
    out.finish()?;
    Ok(ExitCode::SUCCESS)
}

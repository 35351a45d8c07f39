//! `log TRACE`: one line per event, in words or as JSON Lines. Streams: memory does not grow with the number of events,
//! except for the blocks that live at once.

use crate::args::LogArgs;
use crate::error::CliError;
use crate::output::{self, Stdout};
use crate::reading::{self, TraceFile};
use arenascope_report::json_log::JsonLog;
use arenascope_report::narrate::Narrator;
use arenascope_report::pattern::ArenaPattern;
use arenascope_report::screen;
use std::io::Write;
use std::process::ExitCode;

/// Runs the verb.
pub fn log(args: LogArgs) -> Result<ExitCode, CliError> {
    let file = TraceFile::open(&args.view.trace)?;
    let trace = file.trace()?;
    let facts = crate::names::facts(&trace);
    let pattern = args.view.arena.as_deref().map(ArenaPattern::new);
    let default_name = arenascope_replay::default_name(&facts.hooks);
    let style = output::style(&std::io::stdout(), args.view.plain);
    let hindsight = reading::hindsight(&file, &trace, &facts);
    let mut narrator = Narrator::new(&facts, &reading::current_directory(), style).knowing(hindsight.clone());
    let mut json = JsonLog::new(&facts, hindsight);
    let mut replay = reading::start(file.path(), &facts).replay;
    let mut out = Stdout::new();
    let mut line = String::new();
    if args.view.json {
        json.head(&file.name(), &mut line);
        out.bytes(line.as_bytes())?;
    }
    for event in trace.events() {
        let effect = replay.apply(&event);
        if let Some(pattern) = &pattern
            && !reading::concerns(pattern, &event, &effect, replay.state(), &default_name)
        {
            continue;
        }
        line.clear();
        if args.view.json {
            json.event(&event, &effect, replay.state(), &mut line);
        } else {
            narrator.line(&event, &effect, replay.state(), &mut line);
        }
        out.bytes(line.as_bytes())?;
    }
    out.finish()?;
    if let Some(pattern) = &pattern {
        let known = reading::arena_names(replay.state(), &facts);
        if !known.iter().any(|(id, name)| pattern.matches(*id, name)) {
            return Err(reading::no_such_arena(pattern.raw(), &known));
        }
    }
    warnings(&facts.lost, &trace.check(), args.view.plain);
    Ok(ExitCode::SUCCESS)
}

/// Losses and damage are not events: they go to stderr.
fn warnings(lost: &arenascope_event::Lost, damage: &[arenascope_trace::Damage], plain: bool) {
    let mut stderr = std::io::stderr();
    let style = output::style(&stderr, plain);
    let mut text = String::new();
    // Writing to a String cannot fail, and nobody is there to be told that stderr is closed.
    let _ = screen::losses(&mut text, lost, &style);
    for part in damage {
        let _ = screen::warning(&mut text, &format!("DAMAGED  {part}"), &style);
    }
    let _ = stderr.write_all(text.as_bytes());
}

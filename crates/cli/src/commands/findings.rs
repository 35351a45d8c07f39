//! `findings TRACE`: what went wrong, with the evidence, in words, JSON, SARIF or JUnit XML.

use crate::args::FindingsArgs;
use crate::error::CliError;
use crate::fail_on::FailOn;
use crate::family::{self, Family};
use crate::output::{self, Stdout};
use crate::reading::{self, TraceFile};
use crate::suppressions;
use arenascope_report::gather::Selection;
use arenascope_report::{finding, json, junit, sarif, screen};
use std::io::Write as _;
use std::process::ExitCode;

/// Runs the verb.
pub fn findings(args: FindingsArgs) -> Result<ExitCode, CliError> {
    let fail_on = FailOn::parse(&args.fail_on)?;
    let suppressions = suppressions::read(args.suppressions.as_deref())?;
    let file = TraceFile::open(&args.view.trace)?;
    let trace = file.trace()?;
    let mut reading = reading::read(&file, &trace, None);
    let family = Family::around(&file, &reading);
    for sentence in &family.missing {
        // Where stderr is closed there is nobody to tell.
        let _ = writeln!(std::io::stderr(), "arenascope: {sentence}");
    }
    // The first process of a run answers for all of them.
    let only = (reading.facts.fork_id != 0).then_some(reading.facts.pid);
    family::add_to(&mut reading.findings, family.findings(only));
    let known = reading::arena_names(&reading.state, &reading.facts);
    if let Some(pattern) = reading.pattern(args.view.arena.as_deref(), &known)? {
        reading.findings.retain(|finding| finding.arena().is_some_and(|(id, name)| pattern.matches(id, name)));
    }
    reading.suppress(&suppressions);
    let nothing = Selection { pattern: None, living_only: true, most: 0, ranked: false };
    let mut view = reading.view(&file, &trace, &nothing);
    view.groups.clear();
    let mut out = Stdout::new();
    let cwd = reading::current_directory();
    let names = screen::file_names(&view, &cwd);
    if args.view.json {
        out.bytes(json::findings(&view).as_bytes())?;
    } else if args.sarif {
        out.bytes(sarif::log(&view, &cwd).as_bytes())?;
    } else if args.junit {
        out.bytes(junit::report(&view, &names).as_bytes())?;
    } else {
        let style = output::style(&std::io::stdout(), args.view.plain);
        // An error is kept by `Stdout` and handed out by `finish`.
        let _ = finding::list(&mut out, &view, &names, &style);
    }
    out.finish()?;
    Ok(if fail_on.hits(&view.findings) { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

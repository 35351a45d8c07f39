//! `lab`: the labs that the program carries: listed, one shown and explained, or all tried.
//!
//! A lab that is shown goes to stdout whole: the program's output, the first screen, and our words between them. Status 1 when
//! something is not as expected. Deliberately absent: how a lab is tried (`lab`).

use crate::args::LabArgs;
use crate::error::CliError;
use crate::lab::rust::Library;
use crate::lab::shelf::{self, Lab};
use crate::lab::tools;
use crate::lab::trial::{Audience, Bench, Outcome};
use crate::run::compile;
use serde_json::Value;
use std::io::Write;
use std::process::ExitCode;
use std::time::Instant;

/// Runs the verb.
pub fn lab(args: LabArgs) -> Result<ExitCode, CliError> {
    let listing = args.names.is_empty() || args.names == ["list"];
    if listing && !args.all {
        if let Some(folder) = &args.into {
            shelf::unpack(folder)?;
        }
        list()?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut labs = Vec::new();
    for name in args.names.iter().filter(|name| *name != "list") {
        labs.extend(shelf::find(name)?);
    }
    if labs.is_empty() {
        labs = shelf::all()?;
    }
    compile::require()?;
    // Removed when dropped, unless the user named a folder.
    let scratch;
    let folder = match &args.into {
        Some(folder) => folder.clone(),
        None => {
            let made = tempfile::Builder::new().prefix("arenascope-labs-").tempdir();
            scratch = made.map_err(|error| CliError::usage(format!("cannot make a folder for the labs: {error}")))?;
            scratch.path().to_owned()
        }
    };
    shelf::unpack(&folder)?;
    let folder = folder.canonicalize().map_err(|error| CliError::usage(format!("{}: {error}", folder.display())))?;
    let bench = Bench::new(folder)?;
    let fine = if args.all { try_all(&bench, &labs, args.slow)? } else { show_all(&bench, &labs, &args)? };
    Ok(if fine { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// Prints a line and hands on a closed pipe.
fn say(line: &str) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).map_err(CliError::output)
}

/// Texts that came from programs, several lines indented; nothing in them may command the terminal.
fn quote(text: &str) -> Result<(), CliError> {
    text.lines().try_for_each(|line| say(&format!("      {}", arenascope_report::escape::text(line, false))))
}

fn list() -> Result<(), CliError> {
    say("labs, each with a planted fault and its mended twin: arenascope lab NUMBER shows one\n")?;
    let mut folder = "";
    for lab in &shelf::all()? {
        if folder != lab.folder {
            folder = lab.folder;
            say(folder)?;
        }
        say(&format!("  {:5} {}", lab.number, lab.shows()))?;
    }
    say("\narenascope lab --all tries them all, arenascope lab --into DIR writes the files there")
}

/// Each run of each lab: a line, and what differs below it. True when all is as expected.
fn try_all(bench: &Bench, labs: &[Lab], slow: bool) -> Result<bool, CliError> {
    let start = Instant::now();
    let library = slow.then(Library::build);
    if let Some(Err(missing)) = &library {
        say(&format!("the Rust parts are not tried: {missing}"))?;
    }
    let (mut fine, mut waiting, mut different) = (0usize, 0usize, 0usize);
    let mut left_out = 0usize;
    for lab in labs {
        for run in lab.runs() {
            if !slow && !run["tools"].is_null() {
                left_out += 1;
                continue;
            }
            let name = with_flags(lab, run);
            match bench.planted(lab, run, Audience::Nobody)? {
                Outcome::AsExpected => {
                    fine += 1;
                    let ready = if run["needs"].is_null() { "" } else { " (its \"needs\" can go)" };
                    say(&format!("{name:46} as expected{ready}"))?;
                }
                Outcome::NotYet(needs, missing) => {
                    waiting += 1;
                    say(&format!("{name:46} NOT YET, needs {needs}"))?;
                    quote(&missing.join("\n"))?;
                }
                Outcome::Different(sentences) => {
                    different += 1;
                    say(&format!("{name:46} NOT as expected"))?;
                    quote(&sentences.join("\n"))?;
                }
            }
            let Some(twin) = lab.mended() else { continue };
            match bench.mended(lab, &twin, run, Audience::Nobody)? {
                Outcome::Different(sentences) => {
                    different += 1;
                    say(&format!("{:46} NOT silent", with_flags_of(&twin, run)))?;
                    quote(&sentences.join("\n"))?;
                }
                Outcome::NotYet(needs, _) => {
                    waiting += 1;
                    say(&format!("{:46} NOT YET, needs {needs}", with_flags_of(&twin, run)))?;
                }
                Outcome::AsExpected => {
                    fine += 1;
                    say(&format!("{:46} silent", with_flags_of(&twin, run)))?;
                }
            }
        }
        for row in lab.runs().iter().flat_map(|run| run["tools"].as_array().into_iter().flatten()).filter(|_| slow) {
            let said = tools::ask(row, &bench.path(lab, &lab.source(&lab.runs()[0])))?;
            say(&format!("  {:12} {}", said.name, said.line))?;
            different += usize::from(!said.different.is_empty());
            quote(&said.different.join("\n"))?;
        }
        let Some(Ok(library)) = &library else { continue };
        for file in lab.rust() {
            let shown = library.attempt(bench, lab, file)?;
            let bad = !shown.different.is_empty();
            (fine, different) = if bad { (fine, different + 1) } else { (fine + 1, different) };
            say(&format!("{file:46} {}", if bad { "NOT as expected" } else { "as expected" }))?;
            quote(&shown.different.join("\n"))?;
        }
    }
    let mut tail =
        format!("{fine} as expected, {different} not, {waiting} NOT YET, {:.1} s", start.elapsed().as_secs_f64());
    if !slow {
        tail.push_str(&format!("; left out without --slow: {left_out} with other tools, the Rust parts"));
    }
    say(&format!("\n{tail}"))?;
    Ok(different == 0)
}

fn with_flags(lab: &Lab, run: &Value) -> String {
    with_flags_of(lab.name, run)
}

/// The name, and the flags that tell this run from the others; roles are too long for a line.
fn with_flags_of(name: &str, run: &Value) -> String {
    let flags = run["flags"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let short: Vec<&str> = flags.filter(|flag| ["--check", "--precise"].contains(flag)).collect();
    if short.is_empty() { name.to_owned() } else { format!("{name} {}", short.join(" ")) }
}

/// Each lab in full. True when all is as expected.
fn show_all(bench: &Bench, labs: &[Lab], args: &LabArgs) -> Result<bool, CliError> {
    let audience = Audience::User { plain: args.plain };
    let mut fine = true;
    for (index, lab) in labs.iter().enumerate() {
        if index > 0 {
            say("")?;
        }
        fine &= show(bench, lab, audience)?;
    }
    if let Some(folder) = &args.into {
        say(&format!("\nfiles and traces are in {}", folder.display()))?;
    } else if let Some(lab) = labs.first() {
        let number = lab.number;
        say(&format!("\nto keep the files and traces: arenascope lab {number} --into DIR"))?;
    }
    Ok(fine)
}

fn show(bench: &Bench, lab: &Lab, audience: Audience) -> Result<bool, CliError> {
    say(&format!("lab {}  {}", lab.number, lab.shows()))?;
    let mut fine = true;
    for run in lab.runs() {
        let file = lab.source(run);
        say(&format!("\n── {file}: where to look\n"))?;
        excerpt(lab.text(&file).unwrap_or(""))?;
        say(&format!("\n── {}\n", Bench::command_line(lab, run)))?;
        let outcome = bench.planted(lab, run, audience)?;
        fine &= verdict(&outcome, run)?;
    }
    for row in lab.runs().iter().flat_map(|run| run["tools"].as_array().into_iter().flatten()) {
        let said = tools::ask(row, &bench.path(lab, &lab.source(&lab.runs()[0])))?;
        say(&format!("  {:12} {}", said.name, said.line))?;
        fine &= said.different.is_empty();
        quote(&said.different.join("\n"))?;
    }
    if let Some(text) = lab.explanation() {
        say(&format!("\n── why\n\n{text}"))?;
    }
    if let (Some(twin), Some(run)) = (lab.mended(), lab.runs().last()) {
        say(&format!("\n── {twin}.c: the same, mended\n"))?;
        excerpt_of_changes(lab.text(&lab.source(run)).unwrap_or(""), lab.text(&format!("{twin}.c")).unwrap_or(""))?;
        say("")?;
        match bench.mended(lab, &twin, run, audience)? {
            Outcome::Different(sentences) => {
                fine = false;
                say("\nNOT silent:")?;
                quote(&sentences.join("\n"))?;
            }
            Outcome::NotYet(needs, _) => say(&format!("\nNOT YET: needs {needs}"))?,
            Outcome::AsExpected => say("\nsilent, as expected")?,
        }
    }
    fine &= show_rust(bench, lab)?;
    Ok(fine)
}

fn verdict(outcome: &Outcome, run: &Value) -> Result<bool, CliError> {
    let rules: Vec<&str> =
        run["findings"].as_array().into_iter().flatten().filter_map(|finding| finding["rule"].as_str()).collect();
    let rules = if rules.is_empty() { "no finding".to_owned() } else { rules.join(", ") };
    match outcome {
        Outcome::AsExpected => say(&format!("\nas expected: {rules}"))?,
        Outcome::NotYet(needs, _) => say(&format!("\nNOT YET: {rules} is expected, and needs {needs}"))?,
        Outcome::Different(sentences) => {
            say(&format!("\nNOT as expected ({rules}):"))?;
            quote(&sentences.join("\n"))?;
            return Ok(false);
        }
    }
    Ok(true)
}

/// The lines with a marker, two more on either side, with their numbers.
fn excerpt(source: &str) -> Result<(), CliError> {
    let lines: Vec<&str> = source.lines().collect();
    let marked = |at: usize| lines.get(at).is_some_and(|line| line.contains("LAB: "));
    let near = |at: usize| (at.saturating_sub(2)..=at + 2).any(marked);
    print_lines(&lines, (0..lines.len()).filter(|at| near(*at)))
}

/// The lines of `new` that are not in `old`, with one more on either side.
fn excerpt_of_changes(old: &str, new: &str) -> Result<(), CliError> {
    // A marker that is gone is no change.
    let bare = |line| str::split(line, " // LAB: ").next().unwrap_or("");
    let old: std::collections::HashSet<&str> = old.lines().map(bare).collect();
    let lines: Vec<&str> = new.lines().collect();
    // The comment at the top names the file and its goal.
    let is_new = |at: usize| at > 1 && lines.get(at).is_some_and(|line| !old.contains(bare(line)));
    let near = |at: usize| (at.saturating_sub(1)..=at + 1).any(is_new);
    print_lines(&lines, (0..lines.len()).filter(|at| near(*at)))
}

fn print_lines(lines: &[&str], numbers: impl Iterator<Item = usize>) -> Result<(), CliError> {
    let mut last = None;
    for at in numbers {
        if last.is_some_and(|last| last + 1 < at) {
            say("    …")?;
        }
        last = Some(at);
        say(&format!("{:5}  {}", at + 1, lines.get(at).unwrap_or(&"").replace('\t', "    ")))?;
    }
    Ok(())
}

fn show_rust(bench: &Bench, lab: &Lab) -> Result<bool, CliError> {
    let files = lab.rust();
    if files.is_empty() {
        return Ok(true);
    }
    let library = Library::build();
    let mut fine = true;
    for file in files {
        let refused = lab.text(&format!("{}.stderr", file.trim_end_matches(".rs")));
        let what = if refused.is_some() { "what Rust refuses" } else { "in Rust" };
        say(&format!("\n── {file}: {what}\n"))?;
        quote(lab.text(file).unwrap_or(""))?;
        match &library {
            Ok(library) => {
                let shown = library.attempt(bench, lab, file)?;
                say("")?;
                quote(&shown.text)?;
                fine &= shown.different.is_empty();
                let verdict = if shown.different.is_empty() { "as expected" } else { "NOT as expected:" };
                say(&format!("\n{verdict}"))?;
                quote(&shown.different.join("\n"))?;
            }
            Err(missing) => {
                if let Some(words) = refused {
                    say("\nthe compiler's words:\n")?;
                    quote(words)?;
                }
                say(&format!("\nnot run: {missing}"))?;
            }
        }
    }
    Ok(fine)
}

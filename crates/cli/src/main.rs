//! The program `arenascope`: parses the command line, calls a verb, turns its outcome into an exit status.
//!
//! Nothing is decided here. Verbs live in `commands`, one file each.

mod args;
mod commands;
mod error;
mod fail_on;
mod family;
mod lab;
mod mapped;
mod names;
mod output;
mod outside;
mod reading;
mod run;
mod suppressions;

use args::Verb;
use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    let verb = match args::parse(arguments.iter().cloned()) {
        Ok(verb) => verb,
        Err(error) => {
            if let Some(complaint) = args::complaint(&error, &arguments) {
                let _ = writeln!(std::io::stderr(), "arenascope: {complaint}");
                return complaint.exit_code();
            }
            // clap prints help to stdout and errors to stderr; a closed pipe changes nothing.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let outcome = match verb {
        Verb::Run(args) => commands::run::run(args),
        Verb::Show(args) => commands::show::show(args),
        Verb::Log(args) => commands::log::log(args),
        Verb::Findings(args) => commands::findings::findings(args),
        Verb::Lab(args) => commands::lab::lab(args),
        Verb::Ps(args) => commands::ps::ps(args),
        Verb::Diff(args) => commands::diff::diff(args),
        Verb::Complete(args) => commands::complete::complete(&args),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            if !error.is_silent() {
                let _ = writeln!(std::io::stderr(), "arenascope: {error}");
            }
            error.exit_code()
        }
    }
}

//! Which functions are watched: those given, else those found by shape.
//!
//! Everything that can be wrong is said before the program starts: a role that is none, a function that is nowhere, two
//! readings of one program.

use crate::args::{RunArgs, Watch};
use crate::error::CliError;
use crate::run::{given, markers};
use arenascope_event::{RoleDecl, Watched};
use arenascope_shapes::{Candidates, Reading, Unwatched};
use arenascope_symbols::Image;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::PathBuf;

/// Roles for one program image.
#[derive(Clone, Debug, Default)]
pub struct Roles {
    /// The roles.
    pub decls: Vec<RoleDecl>,
    /// Where they come from.
    pub watched: Watched,
    /// Functions that were found and are not watched, each with a sentence for the screen.
    pub unwatched: Vec<(RoleDecl, String)>,
}

/// The decision, for the program and whatever it executes.
#[derive(Default)]
pub struct Watching {
    /// Roles given on the command line and in profiles.
    pub given: Vec<RoleDecl>,
    /// Functions may turn up later, in a library that is loaded or a program that is executed.
    pub late: bool,
    /// Blocks of malloc are watched, as those of the C library's arenas.
    pub malloc: bool,
    /// Look at debug information when nothing is given.
    by_shape: bool,
    shapes: HashMap<PathBuf, Roles>,
}

impl Watching {
    /// The roles for a program image.
    pub fn roles_for(&mut self, image: Option<&Image>) -> Roles {
        if !self.by_shape {
            return Roles { decls: self.given.clone(), watched: Watched::Given, unwatched: Vec::new() };
        }
        let Some(image) = image else { return Roles::default() };
        self.shapes.entry(image.path().to_owned()).or_insert_with(|| by_shape(image).0).clone()
    }
}

/// Candidates in one image; none chosen where two readings fit.
fn by_shape(image: &Image) -> (Roles, Candidates) {
    // Who wrote markers has said what the allocator does; its functions, found as well, would tell everything twice.
    if let Some(counts) = markers::counts(image) {
        let name = image.path().file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let notes = vec![
            format!("{} (arenascope-mark.h)", markers::summary(&name, &counts)),
            "so no function is looked for by shape; --alloc and its like watch functions besides".to_owned(),
        ];
        return (Roles::default(), Candidates { notes, ..Candidates::default() });
    }
    let candidates = arenascope_shapes::find(image.bytes(), image.debug_bytes())
        .unwrap_or_else(|error| Candidates { notes: vec![error.to_string()], ..Candidates::default() });
    // What hands on blocks of our own library has the shape of an allocator, too, and the library tells of its blocks itself: watched twice,
    // they would be two arenas, and redzones would be asked of it in their name.
    if !image.library_notes().is_empty() {
        let mut candidates = candidates;
        if !candidates.readings.is_empty() {
            candidates.readings.clear();
            candidates.notes.push(
                "functions found by shape are left alone, since the arenascope library is in this program and they may hand on its \
                 blocks: to watch an allocator of the program's own too, name its functions by role"
                    .to_owned(),
            );
        }
        return (Roles::default(), candidates);
    }
    let roles = match candidates.readings.as_slice() {
        [reading] => Roles {
            decls: reading.decls.clone(),
            watched: Watched::FoundByShape,
            unwatched: candidates.unwatched.iter().map(|unwatched| not_seen(reading, unwatched)).collect(),
        },
        _ => Roles::default(),
    };
    (roles, candidates)
}

/// What was decided, and what to tell the user about it.
pub struct Decision {
    /// The decision.
    pub watching: Watching,
    /// For `--explain`; empty otherwise.
    pub explanation: String,
    /// Why nothing was found by shape; sentences.
    pub notes: Vec<String>,
}

/// Decides what to watch in `image` (none for scripts) and the libraries it loads.
///
/// # Errors
/// Status 2: a given function is nowhere (with the nearest names), or two readings fit (with both command lines).
pub fn decide(args: &RunArgs, image: Option<&Image>, command: &str) -> Result<Decision, CliError> {
    let mut decision = decide_roles(args, image, command)?;
    decision.watching.malloc = args.watch == Watch::Malloc;
    Ok(decision)
}

fn decide_roles(args: &RunArgs, image: Option<&Image>, command: &str) -> Result<Decision, CliError> {
    let roles = given::given(args)?;
    if !roles.is_empty() {
        // A script's interpreter is not the program meant.
        if let Some(image) = image {
            given::check(&roles, image, args.late)?;
        }
        let explanation = match image.filter(|_| args.explain) {
            Some(image) => explain(&by_shape(image).1),
            None => String::new(),
        };
        let late = args.late || image.is_none();
        let given = roles.into_iter().map(|role| role.decl).collect();
        let watching = Watching { given, late, ..Watching::default() };
        return Ok(Decision { watching, explanation, notes: Vec::new() });
    }
    let mut watching = Watching { by_shape: true, late: args.late, ..Watching::default() };
    let Some(image) = image else {
        return Ok(Decision { watching, explanation: String::new(), notes: Vec::new() });
    };
    let (roles, candidates) = by_shape(image);
    let explanation = if args.explain { explain(&candidates) } else { String::new() };
    if candidates.readings.len() > 1 {
        return Err(ambiguous(&candidates, command, &explanation));
    }
    watching.shapes.insert(image.path().to_owned(), roles);
    Ok(Decision { watching, explanation, notes: candidates.notes })
}

/// A function that is not watched, and what to say of it: roles that are given replace those found, so the flags that
/// watch it too name them all.
fn not_seen(reading: &Reading, unwatched: &Unwatched) -> (RoleDecl, String) {
    let mut why = unwatched.why.clone();
    if !unwatched.decl.arguments.is_empty() {
        let decls = reading.decls.iter().chain([&unwatched.decl]).cloned().collect();
        let all = Reading { decls, ..reading.clone() };
        let _ = write!(why, "; to watch it too: {}", flags(&all).trim_end());
    }
    (unwatched.decl.clone(), why)
}

/// Flags that say a reading on the command line.
fn flags(reading: &Reading) -> String {
    reading.decls.iter().fold(String::new(), |mut line, decl| {
        let text = arenascope_roles::to_text(decl);
        let rest = text.split_once(':').map_or(text.as_str(), |(_, rest)| rest).trim();
        let _ = write!(line, "--{} '{rest}' ", decl.role.word());
        line
    })
}

fn ambiguous(candidates: &Candidates, command: &str, explanation: &str) -> CliError {
    let mut message = String::new();
    if !explanation.is_empty() {
        let _ = writeln!(message, "{explanation}");
    }
    let _ = write!(message, "two readings of this program's arenas fit, and only you know which is right:");
    for reading in &candidates.readings {
        let _ = write!(message, "\n  arenascope run {}{command}", flags(reading));
    }
    CliError::usage(message).hint("one of these lines; --explain shows what was seen in the code")
}

/// What was found, with scores and reasons.
pub fn explain(candidates: &Candidates) -> String {
    let mut text = String::from("candidates found by shape (score, role, why)\n");
    for (number, reading) in candidates.readings.iter().enumerate() {
        let _ = writeln!(text, " reading {}: {}", number + 1, reading.arena_type);
        for scored in &reading.explain {
            let mark = if scored.chosen { '*' } else { ' ' };
            let _ = writeln!(text, " {mark} {:3}  {}", scored.score, arenascope_roles::to_text(&scored.decl));
            for reason in &scored.because {
                let _ = writeln!(text, "        {reason}");
            }
        }
    }
    if candidates.readings.is_empty() && !candidates.considered.is_empty() {
        text.push_str("  none chosen; considered:\n");
        for scored in &candidates.considered {
            let _ = writeln!(text, "   {:3}  {}", scored.score, arenascope_roles::to_text(&scored.decl));
            for reason in &scored.because {
                let _ = writeln!(text, "        {reason}");
            }
        }
    }
    for note in &candidates.notes {
        let _ = writeln!(text, "  {note}");
    }
    text
}

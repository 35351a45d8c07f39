//! Roles that the user gave, and whether the program has what they name.
//!
//! Relied on: everything wrong with them that can be known before the program starts is an error here, and points at the
//! word on the command line or at the line of the profile. Absent: finding roles (`watch`).

use crate::args::{RoleText, RunArgs};
use crate::error::CliError;
use crate::run::fits::{self, At, Misfit};
use arenascope_event::{Role, RoleDecl};
use arenascope_symbols::{CloneKind, Image};
use std::fmt::Write as _;
use std::io;
use std::path::Path;

/// A role and where it was written.
#[derive(Clone, Debug)]
pub struct Given {
    /// The role.
    pub decl: RoleDecl,
    /// `--alloc`, or `apr.toml:7`.
    pub place: String,
    /// As it was written there.
    text: String,
}

/// Roles of the command line and of profiles.
///
/// # Errors
/// Status 2, pointing at the column or the line.
pub fn given(args: &RunArgs) -> Result<Vec<Given>, CliError> {
    let mut roles = Vec::new();
    for RoleText { word, text } in &args.roles {
        let parsed = match word.and_then(Role::from_word) {
            Some(role) => arenascope_roles::parse_for(role, text),
            None => arenascope_roles::parse(text),
        };
        let place = format!("--{}", word.unwrap_or("role"));
        match parsed {
            Ok(decl) => roles.push(Given { decl, place, text: text.clone() }),
            Err(error) => return Err(CliError::usage(format!("{place}\n{}", error.render(text)))),
        }
    }
    for path in &args.profile {
        let shown = path.display().to_string();
        let text = text_of(path)?;
        let profile = arenascope_roles::profile(&text, &shown).map_err(|error| CliError::usage(error.to_string()))?;
        roles.extend(profile.roles.into_iter().zip(profile.written).map(|(decl, written)| Given {
            decl,
            place: format!("{shown}:{}", written.line),
            text: written.text,
        }));
    }
    Ok(roles)
}

/// A profile's text, or in words why there is none.
fn text_of(path: &Path) -> Result<String, CliError> {
    let shown = path.display();
    let wrong = |what: String, hint: &str| Err(CliError::usage(format!("--profile {shown}: {what}")).hint(hint));
    const WHAT: &str = "a TOML file that begins with the line [profile], as docs/roles.md shows it";
    let kind = std::fs::metadata(path).map(|data| data.file_type());
    if kind.as_ref().is_ok_and(std::fs::FileType::is_dir) {
        return wrong("this is a folder, and a profile is a file".into(), WHAT);
    }
    // Opening a FIFO would wait for somebody to write.
    if kind.is_ok_and(|kind| !kind.is_file()) {
        return wrong("this is no regular file".into(), WHAT);
    }
    match std::fs::read(path) {
        Ok(bytes) => match String::from_utf8(bytes) {
            Ok(text) if !text.contains('\0') => Ok(text),
            _ => wrong("this is no text: a profile is TOML in UTF-8".into(), WHAT),
        },
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound => {
                wrong("there is no such file".into(), "its path from the current folder, or a full one")
            }
            io::ErrorKind::PermissionDenied => wrong("you may not read it".into(), "chmod +r, or a copy of it"),
            _ => wrong(format!("it cannot be read ({error})"), WHAT),
        },
    }
}

/// Checks that each function is in the program or a library it loads, and that its role fits what debug information says
/// of it. With `late`, a function that is nowhere may still turn up.
///
/// # Errors
/// Status 2: the first role that cannot be.
pub fn check(roles: &[Given], program: &Image, late: bool) -> Result<(), CliError> {
    let mut libraries: Option<Vec<Image>> = None;
    for role in roles {
        let (library, name) = arenascope_roles::library_and_name(&role.decl.function);
        let there = |image: &Image| !image.find(name).is_empty() || image.defined_but_no_body(name);
        if library.is_none() && there(program) {
            fits(role, program, name)?;
            continue;
        }
        let libraries = libraries.get_or_insert_with(|| {
            arenascope_symbols::load_order(program).iter().filter_map(|path| Image::open(path).ok()).collect()
        });
        let found = libraries.iter().find(|image| {
            let file = image.path().file_name().map_or_else(String::new, |file| file.to_string_lossy().into_owned());
            library.is_none_or(|library| file == library || file.split(".so").next() == Some(library))
                && (there(image) || image.is_ifunc(name))
        });
        match found {
            Some(image) if there(image) => fits(role, image, name)?,
            // The dynamic loader has private copies of some, which are not what the program calls.
            Some(_) => return Err(nowhere(role, library, name, program, libraries)),
            None if late => {}
            None => return Err(nowhere(role, library, name, program, libraries)),
        }
    }
    Ok(())
}

/// An error when no function of this name fits the role: of overloaded ones, one may be meant.
fn fits(role: &Given, image: &Image, name: &str) -> Result<(), CliError> {
    let mut misfits = Vec::new();
    for found in image.find(name) {
        if found.clone == Some(CloneKind::Part) {
            continue;
        }
        let Some(signature) = image.signature(found.function.address) else { return Ok(()) };
        let Some(misfit) = fits::misfit(&role.decl, &signature) else { return Ok(()) };
        misfits.push(misfit);
    }
    let Some(Misfit { at, message, hint }) = misfits.into_iter().next() else { return Ok(()) };
    let column = arenascope_roles::columns(&role.text).and_then(|columns| match at {
        At::Argument(index) => columns.arguments.get(index).copied(),
        At::Result => columns.result,
    });
    let error = arenascope_roles::RoleError { column: column.unwrap_or(1), message, hint };
    Err(CliError::usage(format!("{}\n{}", role.place, error.render(&role.text))))
}

fn nowhere(role: &Given, library: Option<&str>, name: &str, program: &Image, libraries: &[Image]) -> CliError {
    if program.is_ifunc(name) || libraries.iter().any(|image| image.is_ifunc(name)) {
        return CliError::usage(format!(
            "{}: {name} is an indirect function (its code is chosen when the program starts) and cannot be watched",
            role.place
        ));
    }
    let place = match library {
        Some(library) => format!("in {library}"),
        None if libraries.is_empty() => format!("in {}", program.path().display()),
        None => format!("in {} or the libraries it loads", program.path().display()),
    };
    let mut error = format!("{}: no function named {name} {place}", role.place);
    let nearest = nearest(name, std::iter::once(program).chain(libraries));
    if !nearest.is_empty() {
        let _ = write!(error, "\nnearest names: {}", nearest.join(", "));
    }
    const LATE: &str = "--late if a library loaded later or another program it starts has it";
    if program.is_stripped() {
        let _ = write!(error, "\n{}", stripped(program));
        return CliError::usage(error).hint(format!("{}\n{LATE}", with_symbols(program).join("\n")));
    }
    CliError::usage(error).hint(format!("the name as `nm -C {}` shows it\n{LATE}", program.path().display()))
}

/// Up to four names like this one, those of the first image first.
pub fn nearest<'a>(name: &str, images: impl Iterator<Item = &'a Image>) -> Vec<String> {
    const MOST: usize = 4;
    let mut nearest: Vec<String> = Vec::new();
    for image in images {
        if nearest.len() >= MOST {
            break;
        }
        nearest.extend(image.nearest(name, MOST - nearest.len()));
    }
    nearest
}

/// What a stripped program lacks, a sentence.
pub fn stripped(program: &Image) -> String {
    format!("{} is stripped of its symbols: only the functions that it exports have names", program.path().display())
}

/// How to get the symbols of a stripped program back: what to do, and where debug files are looked for.
pub fn with_symbols(program: &Image) -> [String; 2] {
    let mut by_id = String::new();
    if let Some((first, rest)) = program.build_id().split_first() {
        let rest: String = rest.iter().map(|byte| format!("{byte:02x}")).collect();
        let _ = write!(by_id, "/usr/lib/debug/.build-id/{first:02x}/{rest}.debug, and ");
    }
    [
        "compile with -g and without -s (and no strip), or install its debug file".into(),
        format!(
            "it is looked for at {by_id}by the name in its .gnu_debuglink: beside the program, in .debug/ there, below /usr/lib/debug"
        ),
    ]
}

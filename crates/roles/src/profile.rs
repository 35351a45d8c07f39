//! A profile: the roles of one allocator, in TOML.
//!
//! ```toml
//! [profile]
//! name = "apr"
//! description = "memory pools of the Apache Portable Runtime"
//! roles = [
//!   "alloc: apr_palloc(arena, size) -> block",
//! ]
//! ```
//!
//! Roles are written in the one grammar of this crate. A key we do not know is an error: a profile that says
//! something we ignore would be a silent lie.

use crate::nearest::nearest;
use crate::{RoleError, caret, grammar};
use arenascope_event::RoleDecl;
use std::fmt;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The roles of one allocator.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Profile {
    /// What the allocator is called, for texts.
    pub name: String,
    /// A sentence about it; may be empty.
    pub description: String,
    /// At least one; no function twice.
    pub roles: Vec<RoleDecl>,
    /// Where each role stands, in the same order.
    pub written: Vec<Written>,
}

/// Where a role stands in its profile.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Written {
    /// The line, from 1.
    pub line: usize,
    /// The role's text.
    pub text: String,
}

/// Why a text is no profile.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProfileError {
    /// The file's name, as it was given.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Character in the line, from 1.
    pub column: usize,
    /// What is wrong there.
    pub message: String,
    /// What to try; may be empty.
    pub hint: String,
    /// The line itself.
    pub source: String,
}

impl fmt::Display for ProfileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = caret::lines(&self.source, self.column);
        write!(f, "{}:{}:{}: {}\n{lines}", self.file, self.line, self.column, self.message)?;
        if !self.hint.is_empty() {
            write!(f, "\n{}", self.hint)?;
        }
        Ok(())
    }
}

impl std::error::Error for ProfileError {}

/// Keys of the table `[profile]`.
const KEYS: [&str; 3] = ["name", "description", "roles"];

/// Reads a profile. `file_name` is only for the error.
///
/// # Errors
/// The first [`ProfileError`]: no TOML, an unknown or missing key, a role that is none, a function that is there twice.
pub fn profile(toml_text: &str, file_name: &str) -> Result<Profile, ProfileError> {
    let file = File { text: toml_text, name: file_name };
    let root = DeTable::parse(toml_text)
        .map_err(|error| file.error(error.span().map_or(0, |span| span.start), error.message(), "this is not TOML"))?;
    let root = root.into_inner();
    known_keys(&file, &root, &["profile"])?;
    let Some((_, profile)) = entry(&root, "profile") else {
        return Err(file.error(0, "the table [profile] is missing", "a profile begins with the line `[profile]`"));
    };
    let Some(table) = profile.get_ref().as_table() else {
        let hint = "a profile begins with the line `[profile]`";
        return Err(file.error(profile.span().start, "`profile` is no table", hint));
    };
    known_keys(&file, table, &KEYS)?;
    let missing = |key: &str, example: &str| {
        let hint = format!("add a line such as `{key} = {example}`");
        file.error(profile.span().start, format!("`{key}` is missing"), hint)
    };
    let name = text(&file, table, "name")?.ok_or_else(|| missing("name", "\"apr\""))?;
    let description = text(&file, table, "description")?.unwrap_or_default();
    let (_, roles) =
        entry(table, "roles").ok_or_else(|| missing("roles", "[ \"alloc: arena_alloc(arena, size) -> block\" ]"))?;
    let Some(array) = roles.get_ref().as_array() else {
        let hint = "roles = [ \"alloc: arena_alloc(arena, size) -> block\" ]";
        return Err(file.error(roles.span().start, "`roles` is no list", hint));
    };
    let mut decls: Vec<RoleDecl> = Vec::new();
    let mut written = Vec::new();
    for item in array.iter() {
        let Some(role) = item.get_ref().as_str() else {
            let hint = "each role is a text: \"alloc: arena_alloc(arena, size) -> block\"";
            return Err(file.error(item.span().start, "this is no text", hint));
        };
        let decl = grammar::parse(role).map_err(|error| file.role_error(item.span(), role, error))?;
        if decls.iter().any(|other| other.function == decl.function) {
            let message = format!("`{}` is there twice", decl.function);
            return Err(file.error(item.span().start, message, "a function has one role"));
        }
        decls.push(decl);
        written.push(Written { line: file.line(item.span().start), text: role.to_string() });
    }
    if decls.is_empty() {
        let hint = "roles = [ \"alloc: arena_alloc(arena, size) -> block\" ]";
        return Err(file.error(roles.span().start, "`roles` is empty", hint));
    }
    Ok(Profile { name, description, roles: decls, written })
}

fn known_keys(file: &File<'_>, table: &DeTable<'_>, known: &[&str]) -> Result<(), ProfileError> {
    // In file order, so that the first mistake is the one that is told.
    let unknown =
        table.keys().filter(|key| !known.contains(&key.get_ref().as_ref())).min_by_key(|key| key.span().start);
    let Some(key) = unknown else { return Ok(()) };
    let list = known.join(", ");
    let hint = match nearest(key.get_ref(), known) {
        _ if known == ["profile"] && KEYS.contains(&key.get_ref().as_ref()) => {
            "it belongs below the line `[profile]`".to_string()
        }
        Some(meant) => format!("did you mean `{meant}`?"),
        None => format!("known here: {list}"),
    };
    Err(file.error(key.span().start, format!("`{}` is not known here", key.get_ref()), hint))
}

fn entry<'t, 'i>(table: &'t DeTable<'i>, key: &str) -> Option<(&'t str, &'t Spanned<DeValue<'i>>)> {
    table.iter().find(|(name, _)| name.get_ref().as_ref() == key).map(|(name, value)| (name.get_ref().as_ref(), value))
}

fn text(file: &File<'_>, table: &DeTable<'_>, key: &str) -> Result<Option<String>, ProfileError> {
    let Some((_, value)) = entry(table, key) else { return Ok(None) };
    match value.get_ref().as_str() {
        Some(text) => Ok(Some(text.to_string())),
        None => Err(file.error(value.span().start, format!("`{key}` is no text"), format!("{key} = \"…\""))),
    }
}

/// The text at hand, to turn byte offsets into lines and columns.
struct File<'a> {
    text: &'a str,
    name: &'a str,
}

impl File<'_> {
    fn error(&self, offset: usize, message: impl Into<String>, hint: impl Into<String>) -> ProfileError {
        let before = self.before(offset);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let source = self.text.get(line_start..).unwrap_or_default().lines().next().unwrap_or_default();
        ProfileError {
            file: self.name.to_string(),
            line: self.line(offset),
            column: before.get(line_start..).unwrap_or_default().chars().count() + 1,
            message: message.into(),
            hint: hint.into(),
            source: source.to_string(),
        }
    }

    /// The line that holds `offset`, from 1.
    fn line(&self, offset: usize) -> usize {
        self.before(offset).matches('\n').count() + 1
    }

    /// The text before `offset`, or before the character that holds it.
    fn before(&self, offset: usize) -> &str {
        let mut offset = offset.min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        self.text.get(..offset).unwrap_or_default()
    }

    /// A role's error, its column turned into a place in the file. Where the string holds escapes, and a column inside
    /// it is no place in the file, the string's start is pointed at.
    fn role_error(&self, span: Range<usize>, role: &str, error: RoleError) -> ProfileError {
        let verbatim = self.text.get(span.clone()).and_then(|literal| literal.find(role));
        let within = role.char_indices().nth(error.column.saturating_sub(1)).map_or(role.len(), |(at, _)| at);
        let offset = verbatim.map_or(span.start, |quote| span.start + quote + within);
        self.error(offset, error.message, error.hint)
    }
}

//! From text to words with their columns, and from words to a declaration.
//!
//! Read from the right: the last parenthesis group holds the role's arguments, whatever stands before it is the
//! function's name. That is what lets C++ names bring their own parentheses, commas, angle brackets and arrows.

use crate::RoleError;
use crate::meaning::{self, example};
use crate::nearest::nearest;
use arenascope_event::{Argument, Result_, Role, RoleDecl};

/// More arguments than any function we shall hook has; keeps later counts in a byte.
pub const MAX_ARGUMENTS: usize = 32;

/// A word that was recognised, and where it stood.
pub(crate) struct Word<T> {
    pub(crate) meaning: T,
    pub(crate) column: usize,
}

/// A signature taken apart.
pub(crate) struct Spelled {
    pub(crate) function: String,
    pub(crate) arguments: Vec<Word<Argument>>,
    /// Column of the function's first character.
    start: usize,
    /// Column of the parenthesis that closes the arguments.
    pub(crate) close: usize,
    pub(crate) result: Option<Word<Result_>>,
    /// One behind the last column that is not blank.
    pub(crate) end: usize,
}

/// Parses `role:function(arguments) -> result`.
///
/// # Errors
/// A [`RoleError`] with a column into `text`. Linear in the text's length.
pub fn parse(text: &str) -> Result<RoleDecl, RoleError> {
    let chars: Vec<char> = text.chars().collect();
    let start = skip_blanks(&chars, 0);
    let colon = chars.iter().position(|&char| char == ':');
    // `ns::f(…)` has no role before it; `alloc:::f(…)` has one, and names `::f`.
    let is_path = |at: usize| chars.get(at + 1) == Some(&':') && chars.get(at + 2) != Some(&':');
    let Some(colon) = colon.filter(|&at| !is_path(at)) else {
        return Err(RoleError {
            column: start + 1,
            message: "the role is missing".into(),
            hint: format!("say what the function does: `alloc:{}`; roles: {}", sketch(&chars), role_words()),
        });
    };
    let word = collapsed(chars.get(start..colon).unwrap_or_default());
    let Some(role) = Role::from_word(&word) else {
        let meant = nearest(&word, &Role::ALL.map(Role::word));
        return Err(RoleError {
            column: start + 1,
            message: if word.is_empty() {
                "the role is missing".into()
            } else {
                format!("`{}` is no role", shown(&word))
            },
            hint: with_suggestion(meant, &format!("roles: {}", role_words())),
        });
    };
    parse_signature(role, &chars, colon + 1, true)
}

/// Parses `function(arguments) -> result` for a role that is given elsewhere, as by `--alloc`.
///
/// # Errors
/// As [`parse`].
pub fn parse_for(role: Role, text: &str) -> Result<RoleDecl, RoleError> {
    let chars: Vec<char> = text.chars().collect();
    let start = skip_blanks(&chars, 0);
    if let Some(colon) = chars.iter().position(|&char| char == ':')
        && chars.get(colon + 1) != Some(&':')
        && let Some(named) = Role::from_word(&collapsed(chars.get(start..colon).unwrap_or_default()))
    {
        return Err(RoleError {
            column: start + 1,
            message: format!("the role is already given: {}", role.word()),
            hint: format!("drop `{}:`, or use --role", named.word()),
        });
    }
    parse_signature(role, &chars, 0, false)
}

/// Where the words of a declaration stand: columns from 1, in characters.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Columns {
    /// The function's first character.
    pub function: usize,
    /// Each argument's first character.
    pub arguments: Vec<usize>,
    /// The result's first character, where one is written.
    pub result: Option<usize>,
}

/// Where the words stand in a text that [`parse`] or [`parse_for`] accepted; `None` for a text that neither does.
pub fn columns(text: &str) -> Option<Columns> {
    let chars: Vec<char> = text.chars().collect();
    let start = skip_blanks(&chars, 0);
    let colon = chars.iter().position(|&char| char == ':');
    let role = colon.and_then(|colon| Role::from_word(&collapsed(chars.get(start..colon)?)));
    let from = role.and(colon).map_or(0, |colon| colon + 1);
    let spelled = spell(role.unwrap_or(Role::Alloc), &chars, from, role.is_some()).ok()?;
    Some(Columns {
        function: spelled.start,
        arguments: spelled.arguments.iter().map(|word| word.column).collect(),
        result: spelled.result.map(|word| word.column),
    })
}

/// Splits `lib.so.6!name` into library and name; the library is `None` when none is named.
///
/// The `!` of C++ operators (`ns::operator!=`) separates nothing.
pub fn library_and_name(function: &str) -> (Option<&str>, &str) {
    match function.split_once('!') {
        Some((library, name))
            if !library.is_empty()
                && !library.ends_with("operator")
                && !library.contains(['(', '<', ' ', ','])
                && !library.contains("::") =>
        {
            (Some(library), name)
        }
        _ => (None, function),
    }
}

/// Parses `chars[from..]`; columns count from the start of `chars`.
fn parse_signature(role: Role, chars: &[char], from: usize, prefixed: bool) -> Result<RoleDecl, RoleError> {
    let spelled = spell(role, chars, from, prefixed)?;
    meaning::check(role, &spelled, prefixed)?;
    Ok(RoleDecl {
        role,
        function: spelled.function,
        arguments: spelled.arguments.iter().map(|word| word.meaning).collect(),
        result: spelled.result.map_or(Result_::Ignored, |word| word.meaning),
    })
}

fn spell(role: Role, chars: &[char], from: usize, prefixed: bool) -> Result<Spelled, RoleError> {
    let start = skip_blanks(chars, from);
    let end = chars.iter().rposition(|char| !char.is_whitespace()).map_or(start, |last| last + 1).max(start);
    let instance = |function: &str| {
        let prefix = if prefixed { format!("{}:", role.word()) } else { String::new() };
        format!("`{prefix}{}{}`", shown(function), example(role))
    };
    let Some(close) = (start..end).rev().find(|&at| chars.get(at) == Some(&')')) else {
        return Err(no_parentheses(chars, start, end, instance));
    };
    let Some(open) = opening(chars, start, close) else {
        return Err(RoleError {
            column: close + 1,
            message: "this `)` closes nothing".into(),
            hint: format!("for instance {}", instance("arena_function")),
        });
    };
    let function = function_name(chars, start, open, &instance)?;
    let arguments = arguments(role, chars, open, close, prefixed, &function)?;
    let result = result(role, chars, close + 1, end)?;
    Ok(Spelled { function, arguments, start: start + 1, close: close + 1, result, end: end + 1 })
}

/// The parenthesis that the one at `close` closes.
fn opening(chars: &[char], start: usize, close: usize) -> Option<usize> {
    let mut depth = 0usize;
    for at in (start..=close).rev() {
        match chars.get(at) {
            Some(')') => depth += 1,
            Some('(') if depth == 1 => return Some(at),
            Some('(') => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    None
}

/// There is no `)`: either the list was never closed, or there is none.
fn no_parentheses(chars: &[char], start: usize, end: usize, instance: impl Fn(&str) -> String) -> RoleError {
    let name_until = |until: usize| collapsed(chars.get(start..until).unwrap_or_default());
    if let Some(open) = (start..end).find(|&at| chars.get(at) == Some(&'(')) {
        return RoleError {
            column: open + 1,
            message: "this `(` is never closed".into(),
            hint: format!("for instance {}", instance(&name_until(open))),
        };
    }
    let arrow = (start..end).find(|&at| chars.get(at) == Some(&'-') && chars.get(at + 1) == Some(&'>'));
    let name = name_until(arrow.unwrap_or(end));
    if name.is_empty() {
        return RoleError {
            column: start + 1,
            message: "the function is missing".into(),
            hint: format!("for instance {}", instance("arena_function")),
        };
    }
    let after_name = start + chars.get(start..arrow.unwrap_or(end)).map_or(0, trimmed_len);
    RoleError {
        column: after_name + 1,
        message: "the arguments are missing: say in parentheses what each one means".into(),
        hint: format!("for instance {}", instance(&name)),
    }
}

fn function_name(
    chars: &[char],
    start: usize,
    open: usize,
    instance: &impl Fn(&str) -> String,
) -> Result<String, RoleError> {
    let spelled = chars.get(start..open).unwrap_or_default();
    if let Some(at) = spelled.iter().position(|char| char.is_control() && !char.is_whitespace()) {
        return Err(RoleError {
            column: start + at + 1,
            message: "no function has this character in its name".into(),
            hint: "retype the name; something invisible came along".into(),
        });
    }
    let mut unclosed = Vec::new();
    for (at, char) in spelled.iter().enumerate() {
        match char {
            '(' => unclosed.push(at),
            ')' if unclosed.pop().is_none() => {
                return Err(RoleError {
                    column: start + at + 1,
                    message: "this `)` closes nothing".into(),
                    hint: format!("for instance {}", instance("arena_function")),
                });
            }
            _ => {}
        }
    }
    if let Some(at) = unclosed.first() {
        return Err(RoleError {
            column: start + at + 1,
            message: "this `(` is never closed".into(),
            hint: "the last parentheses hold the role's arguments; those before belong to the name".into(),
        });
    }
    let name = collapsed(spelled);
    let (library, bare) = library_and_name(&name);
    if name.is_empty() || bare.is_empty() || name.starts_with('!') {
        return Err(RoleError {
            column: start + 1 + library.map_or(0, |library| library.chars().count() + 1),
            message: "the function is missing".into(),
            hint: format!("for instance {}", instance("arena_function")),
        });
    }
    if bare == "operator" || bare.ends_with("::operator") {
        return Err(RoleError {
            column: open + 1,
            message: "these parentheses belong to `operator()`; the role's arguments are missing".into(),
            hint: format!("for instance {}", instance(&format!("{name}()"))),
        });
    }
    Ok(name)
}

fn arguments(
    role: Role,
    chars: &[char],
    open: usize,
    close: usize,
    prefixed: bool,
    function: &str,
) -> Result<Vec<Word<Argument>>, RoleError> {
    let inside = chars.get(open + 1..close).unwrap_or_default();
    let mut words = Vec::new();
    if inside.iter().all(|char| char.is_whitespace()) {
        return Ok(words);
    }
    let mut at = open + 1;
    for piece in inside.split(|&char| char == ',') {
        let column = skip_blanks(piece, 0) + at + 1;
        let word: String = piece.iter().filter(|char| !char.is_whitespace()).collect();
        if words.len() == MAX_ARGUMENTS {
            return Err(RoleError {
                column,
                message: format!("more than {MAX_ARGUMENTS} arguments"),
                hint: "arguments behind the last one of interest can be left out".into(),
            });
        }
        if word.is_empty() {
            return Err(RoleError {
                column: (at + piece.len()).min(close) + 1,
                message: "an argument is missing".into(),
                hint: "write `_` for an argument that is of no interest".into(),
            });
        }
        let spelled = collapsed(piece);
        // Blanks are fine behind a star, and nowhere else inside a word.
        let is_one_word = spelled.trim_start_matches(['*', ' ']).split(' ').count() == 1;
        match Argument::ALL.into_iter().find(|argument| is_one_word && argument.word() == word) {
            Some(meaning) => words.push(Word { meaning, column }),
            None => return Err(unknown_argument(role, &spelled, column, prefixed, function, inside)),
        }
        at += piece.len() + 1;
    }
    Ok(words)
}

fn unknown_argument(
    role: Role,
    spelled: &str,
    column: usize,
    prefixed: bool,
    function: &str,
    inside: &[char],
) -> RoleError {
    let compact: String = spelled.split(' ').collect();
    let of_role: Vec<&str> = meaning::arguments_of(role).iter().map(|argument| argument.word()).collect();
    let with_ignored: Vec<&str> = of_role.iter().copied().chain(["_"]).collect();
    let all: Vec<&str> = Argument::ALL.iter().map(|argument| argument.word()).collect();
    let words = format!("arguments of {}: {}", role.word(), meaning::words(meaning::arguments_of(role)));
    let hint = if looks_like_a_type(spelled) {
        let prefix = if prefixed { format!("{}:", role.word()) } else { String::new() };
        format!(
            "parameter types are part of a C++ name; what they mean follows in parentheses of its own: \
             `{prefix}{}({}){}`",
            shown(function),
            shown(&collapsed(inside)),
            example(role)
        )
    } else if spelled.contains(['(', ')']) {
        "each argument is one plain word, without parentheses".into()
    } else if spelled.split(' ').count() > 1 && spelled.split(' ').all(|part| all.contains(&part)) {
        format!("put commas between them: `{}`", spelled.split(' ').collect::<Vec<_>>().join(", "))
    } else {
        let meant = nearest(&compact, &with_ignored).or_else(|| nearest(&compact, &all));
        with_suggestion(meant, &words)
    };
    RoleError { column, message: format!("`{}` is no argument word", shown(spelled)), hint }
}

/// `unsigned long`, `char const*`, `ns::Arena&`: the user stopped after the C++ parameters.
fn looks_like_a_type(word: &str) -> bool {
    const TYPES: [&str; 16] = [
        "int", "long", "short", "char", "bool", "unsigned", "signed", "float", "double", "size_t", "void*", "char*",
        "uint64_t", "uint32_t", "usize", "u64",
    ];
    word.contains("::")
        || word.ends_with('&')
        || word.contains('<')
        || (word.ends_with('*') && word.len() > 1 && word.trim_end_matches(['*', ' ']).len() > 1)
        || word.split(' ').any(|part| TYPES.contains(&part) || part == "const")
}

fn result(role: Role, chars: &[char], from: usize, end: usize) -> Result<Option<Word<Result_>>, RoleError> {
    let at = skip_blanks(chars, from);
    if at >= end {
        return Ok(None);
    }
    let results = meaning::results_of(role);
    let usual = results.first().map_or("leave it out".to_string(), |result| format!("write `-> {}`", result.word()));
    if chars.get(at) != Some(&'-') || chars.get(at + 1) != Some(&'>') {
        if chars.get(at) == Some(&'(') {
            return Err(RoleError {
                column: at + 1,
                message: "this `(` is never closed".into(),
                hint: "close it with `)` behind the last argument".into(),
            });
        }
        let is_arrow = matches!(chars.get(at), Some('→' | '=' | '-' | '>' | ':'));
        return Err(RoleError {
            column: at + 1,
            message: "after the arguments comes `-> result`, or nothing".into(),
            hint: if is_arrow { format!("the arrow is `->`: {usual}") } else { usual },
        });
    }
    let word_at = skip_blanks(chars, at + 2);
    let word = collapsed(chars.get(word_at..end).unwrap_or_default());
    let all = [Result_::Ignored, Result_::Arena, Result_::Block, Result_::Mark];
    if let Some(meaning) = all.into_iter().find(|result| result.word() == word) {
        return Ok(Some(Word { meaning, column: word_at + 1 }));
    }
    let compact: String = word.split(' ').collect();
    let meant = nearest(&compact, &all.map(Result_::word));
    let words = "results: arena, block, mark, _";
    Err(RoleError {
        column: word_at + 1,
        message: if word.is_empty() {
            "the result is missing".into()
        } else {
            format!("`{}` is no result word", shown(&word))
        },
        hint: if word.is_empty() { usual } else { with_suggestion(meant, words) },
    })
}

/// The name as the user began it, for a hint that shows how it goes on.
fn sketch(chars: &[char]) -> String {
    let name: Vec<char> = chars.iter().copied().take_while(|&char| char != '(').collect();
    let name = collapsed(&name);
    let name = if name.is_empty() { "arena_alloc".into() } else { name };
    format!("{}{}", shown(&name), example(Role::Alloc))
}

fn role_words() -> String {
    Role::ALL.map(Role::word).join(", ")
}

fn with_suggestion(meant: Option<&str>, words: &str) -> String {
    match meant {
        Some(meant) => format!("did you mean `{meant}`? {words}"),
        None => words.to_string(),
    }
}

/// A user's word inside our sentence: not longer than a line, and nothing that steers a terminal.
fn shown(word: &str) -> String {
    const LONGEST: usize = 60;
    let mut shown: String =
        word.chars().take(LONGEST).map(|char| if char.is_control() { '\u{fffd}' } else { char }).collect();
    if word.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    shown
}

/// The words of `chars` with one blank between them.
fn collapsed(chars: &[char]) -> String {
    let text: String = chars.iter().collect();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn skip_blanks(chars: &[char], from: usize) -> usize {
    let blanks = chars.get(from..).unwrap_or_default().iter().take_while(|char| char.is_whitespace()).count();
    from + blanks
}

fn trimmed_len(chars: &[char]) -> usize {
    chars.iter().rposition(|char| !char.is_whitespace()).map_or(0, |last| last + 1)
}

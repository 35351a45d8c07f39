//! What a role needs, what it may have, and what makes no sense for it.

use crate::RoleError;
use crate::grammar::{Spelled, Word};
use arenascope_event::{Argument, Result_, Role};

/// The signature we show when somebody asks how a role is written, without the role itself.
pub const fn example(role: Role) -> &'static str {
    match role {
        Role::Create => "(arena, size)",
        Role::Alloc => "(arena, size) -> block",
        Role::Resize => "(arena, block, size) -> block",
        Role::Free => "(arena, block)",
        Role::Mark => "(arena) -> mark",
        Role::Rewind => "(arena, mark)",
        Role::Reset | Role::Destroy => "(arena)",
    }
}

/// The words a role's arguments may be, besides `_`.
pub(crate) const fn arguments_of(role: Role) -> &'static [Argument] {
    use Argument::{Align, Arena, ArenaOut, Block, BlockOut, Count, Mark, MarkAt, Name, Parent, Size};
    match role {
        Role::Create => &[Arena, ArenaOut, Size, Count, Align, Parent, Name],
        Role::Alloc => &[Arena, Size, Count, Align, BlockOut],
        Role::Resize => &[Arena, Block, Size, Count, Align],
        Role::Free => &[Arena, Block, Size, Count, Align],
        Role::Mark => &[Arena, MarkAt],
        Role::Rewind => &[Arena, Mark, MarkAt],
        Role::Reset | Role::Destroy => &[Arena],
    }
}

/// What a role's result may be, besides `_`.
pub(crate) const fn results_of(role: Role) -> &'static [Result_] {
    match role {
        Role::Create => &[Result_::Arena],
        Role::Alloc | Role::Resize => &[Result_::Block],
        Role::Mark => &[Result_::Mark],
        Role::Free | Role::Rewind | Role::Reset | Role::Destroy => &[],
    }
}

/// Checks a signature whose words are all known.
pub(crate) fn check(role: Role, spelled: &Spelled, prefixed: bool) -> Result<(), RoleError> {
    no_duplicates(spelled)?;
    allowed(role, spelled)?;
    no_two_sources(role, spelled)?;
    complete(role, spelled, prefixed)
}

fn no_duplicates(spelled: &Spelled) -> Result<(), RoleError> {
    for (index, word) in spelled.arguments.iter().enumerate() {
        let earlier = spelled.arguments.iter().take(index);
        if word.meaning != Argument::Ignored && earlier.into_iter().any(|other| other.meaning == word.meaning) {
            return Err(RoleError {
                column: word.column,
                message: format!("`{}` is there twice", word.meaning.word()),
                hint: "write `_` for the argument that is of no interest".into(),
            });
        }
    }
    Ok(())
}

fn allowed(role: Role, spelled: &Spelled) -> Result<(), RoleError> {
    let of_role = arguments_of(role);
    let stray =
        spelled.arguments.iter().find(|word| word.meaning != Argument::Ignored && !of_role.contains(&word.meaning));
    if let Some(word) = stray {
        return Err(RoleError {
            column: word.column,
            message: format!("`{}` means nothing to {}", word.meaning.word(), a(role)),
            hint: stray_argument_hint(role, word.meaning),
        });
    }
    if let Some(result) = &spelled.result
        && result.meaning != Result_::Ignored
        && !results_of(role).contains(&result.meaning)
    {
        let hint = match results_of(role) {
            [] => format!("leave the result out: `{}`", example(role)),
            [only, ..] => format!("its result is `-> {}`, or nothing of interest", only.word()),
        };
        return Err(RoleError {
            column: result.column,
            message: format!("{} has no `{}` for a result", a(role), result.meaning.word()),
            hint,
        });
    }
    Ok(())
}

fn stray_argument_hint(role: Role, argument: Argument) -> String {
    match (role, argument) {
        (_, Argument::ArenaOut) => "only create fills in a pointer to the arena; write `arena`, or `_`".into(),
        (Role::Alloc, Argument::Block) => {
            "the block comes from the result (`-> block`) or through a pointer (`*block`); a function that changes a \
             block it is given is a resize"
                .into()
        }
        (Role::Alloc, Argument::Parent) | (Role::Free, Argument::Parent) => {
            "the arena it works on is `arena`; `parent` is for create".into()
        }
        (Role::Resize, Argument::BlockOut) | (Role::Free, Argument::BlockOut) => {
            "the block it is given is `block`".into()
        }
        (Role::Mark, Argument::Mark) => {
            "the mark comes from the result (`-> mark`) or is stored through a pointer (`*mark`)".into()
        }
        _ => format!("write `_` there; {} takes: {}", role.word(), words(arguments_of(role))),
    }
}

/// The same thing from two places: which of them is meant cannot be told.
fn no_two_sources(role: Role, spelled: &Spelled) -> Result<(), RoleError> {
    let groups: &[(&[Argument], Option<Result_>)] = match role {
        Role::Create => &[(&[Argument::Arena, Argument::ArenaOut], Some(Result_::Arena))],
        Role::Alloc => &[(&[Argument::BlockOut], Some(Result_::Block))],
        Role::Mark => &[(&[Argument::MarkAt], Some(Result_::Mark))],
        Role::Rewind => &[(&[Argument::Mark, Argument::MarkAt], None)],
        _ => &[],
    };
    for (arguments, result) in groups {
        let from_arguments = spelled
            .arguments
            .iter()
            .filter(|word| arguments.contains(&word.meaning))
            .map(|word| (word.column, word.meaning.word()));
        let from_result = spelled
            .result
            .iter()
            .filter(|word| Some(word.meaning) == *result)
            .map(|word| (word.column, word.meaning.word()));
        let mut sources = from_arguments.chain(from_result);
        if let (Some((_, first)), Some((column, second))) = (sources.next(), sources.next()) {
            let hint = if role == Role::Create {
                "keep one of them; the arena it is made in, if that is what is meant, is `parent`".into()
            } else {
                "keep one of them and write `_` for the other".to_string()
            };
            return Err(RoleError {
                column,
                message: format!("`{first}` and `{second}` name the same thing twice"),
                hint,
            });
        }
    }
    Ok(())
}

fn complete(role: Role, spelled: &Spelled, prefixed: bool) -> Result<(), RoleError> {
    let has = |argument| spelled.arguments.iter().any(|word| word.meaning == argument);
    let gives = |result| spelled.result.as_ref().is_some_and(|word| word.meaning == result);
    let at_arguments = spelled.close;
    let at_result = spelled.result.as_ref().map_or(spelled.end, |word| word.column);
    let missing = |column, what: &str| {
        let prefix = if prefixed { format!("{}:", role.word()) } else { String::new() };
        Err(RoleError {
            column,
            message: format!("{} needs {what}", a(role)),
            hint: format!("for instance `{prefix}{}{}`", spelled.function, example(role)),
        })
    };
    if has(Argument::Count) && !has(Argument::Size) {
        let column = spelled.arguments.iter().find(|word| word.meaning == Argument::Count);
        return Err(RoleError {
            column: column.map_or(at_arguments, |word: &Word<Argument>| word.column),
            message: "`count` counts elements of `size` bytes, and there is no `size`".into(),
            hint: "if it is a number of bytes, write `size`".into(),
        });
    }
    match role {
        Role::Create if !(has(Argument::Arena) || has(Argument::ArenaOut) || gives(Result_::Arena)) => missing(
            at_arguments,
            "to say where its arena is: `arena` (an argument), `*arena` (stored through a pointer) or `-> arena`",
        ),
        Role::Alloc if !has(Argument::Size) => missing(at_arguments, "`size` among its arguments"),
        Role::Alloc if !(has(Argument::BlockOut) || gives(Result_::Block)) => {
            missing(at_result, "`-> block`, or `*block` where it stores the block through a pointer")
        }
        Role::Resize if !has(Argument::Block) => missing(at_arguments, "`block` among its arguments"),
        Role::Resize if !has(Argument::Size) => missing(at_arguments, "`size` among its arguments"),
        Role::Resize if !gives(Result_::Block) => missing(at_result, "`-> block`"),
        Role::Free if !has(Argument::Block) => missing(at_arguments, "`block` among its arguments"),
        Role::Mark if !(has(Argument::MarkAt) || gives(Result_::Mark)) => {
            missing(at_result, "`-> mark`, or `*mark` where it stores the mark through a pointer")
        }
        Role::Rewind if !(has(Argument::Mark) || has(Argument::MarkAt)) => missing(
            at_arguments,
            "`mark`, or `*mark` where a pointer to the mark is passed; going back to empty is a reset",
        ),
        _ => Ok(()),
    }
}

/// "an alloc", "a create".
fn a(role: Role) -> String {
    let article = if role == Role::Alloc { "an" } else { "a" };
    format!("{article} {}", role.word())
}

/// Words for a list in a sentence; `_` last.
pub(crate) fn words(arguments: &[Argument]) -> String {
    let mut words: Vec<&str> = arguments.iter().map(|argument| argument.word()).collect();
    words.push(Argument::Ignored.word());
    words.join(", ")
}

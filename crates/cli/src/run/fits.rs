//! Does a role that somebody wrote fit what debug information says of its function?
//!
//! Relied on: a misfit is said only of what is nonsense whatever the program does (a number of bytes that is an address,
//! more arguments than there are); a handle that is an integer may be an arena. Where a compiler left an argument is not
//! asked here (`sources`), nor is a function without debug information judged.

use arenascope_event::{Argument, Result_, RoleDecl};
use arenascope_symbols::{Param, Returns, Signature};

/// What does not fit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Misfit {
    /// Where in the role.
    pub at: At,
    /// What is wrong there, a sentence.
    pub message: String,
    /// What to try; empty when nothing comes to mind.
    pub hint: String,
}

/// A word of a role.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum At {
    /// This argument, from 0.
    Argument(usize),
    /// The result.
    Result,
}

/// The first thing that cannot be; `None` when the role may be right.
pub fn misfit(decl: &RoleDecl, signature: &Signature) -> Option<Misfit> {
    let (named, there) = (decl.arguments.len(), signature.params.len());
    if named > there {
        let variadic = if signature.variadic { ", and then a variable number of them" } else { "" };
        return Some(Misfit {
            at: At::Argument(there),
            message: format!(
                "{} takes {}{variadic}; the role names {named}",
                decl.function,
                match there {
                    0 => "no argument".to_owned(),
                    1 => "1 argument".to_owned(),
                    _ => format!("{there} arguments"),
                },
            ),
            hint: if signature.variadic {
                "a function with a fixed number of arguments: nobody can tell how many to pass on to this one".into()
            } else {
                format!("one word for each parameter: {}", written(signature))
            },
        });
    }
    let wrong = |arguments: &[Argument]| {
        arguments.iter().zip(&signature.params).position(|(argument, param)| complaint(*argument, param).is_some())
    };
    if let Some(index) = wrong(&decl.arguments) {
        let (argument, param) = (decl.arguments.get(index)?, signature.params.get(index)?);
        // Two words changed places, more often than anything else.
        let last = decl.arguments.len().max(there.min(decl.arguments.len() + 1));
        let swapped = (0..last).filter(|other| *other != index).find_map(|other| {
            let mut arguments = decl.arguments.clone();
            arguments.resize(last, Argument::Ignored);
            arguments.swap(index, other);
            while arguments.len() > named && arguments.last() == Some(&Argument::Ignored) {
                arguments.pop();
            }
            wrong(&arguments).is_none().then_some(arguments)
        });
        return Some(Misfit {
            at: At::Argument(index),
            message: format!(
                "the {} parameter of {} is {}",
                ordinal(index),
                decl.function,
                complaint(*argument, param)?
            ),
            hint: match swapped {
                Some(arguments) => {
                    let words: Vec<&str> = arguments.iter().map(|argument| argument.word()).collect();
                    format!("did you mean ({})?", words.join(", "))
                }
                None => format!("one word for each parameter: {}", written(signature)),
            },
        });
    }
    let result = match (decl.result, signature.returns) {
        (Result_::Ignored, _) => return None,
        (_, Returns::Void) => "nothing".to_owned(),
        (_, Returns::Float) => "a floating-point number".to_owned(),
        (Result_::Block, Returns::Integer { bytes, .. }) if (1..8).contains(&bytes) => {
            format!("an integer of {bytes} {}", if bytes == 1 { "byte" } else { "bytes" })
        }
        _ => return None,
    };
    let by_pointer =
        decl.result == Result_::Block && signature.params.iter().any(|param| param.type_name.ends_with("**"));
    Some(Misfit {
        at: At::Result,
        message: format!("{} returns {result}, no {}", decl.function, decl.result.word()),
        hint: match decl.result {
            Result_::Block if by_pointer => {
                format!("`*block` for the argument that it fills in: {}", written(signature))
            }
            _ => format!("its parameters are {}", written(signature)),
        },
    })
}

/// Why this parameter cannot be what the role says, behind "the first parameter of f is".
fn complaint(argument: Argument, param: &Param) -> Option<String> {
    let shown = if param.type_name.is_empty() { "?" } else { &param.type_name };
    let narrow = !param.is_pointer && (1..8).contains(&param.bytes) && shown != "?";
    match argument {
        Argument::Size | Argument::Count | Argument::Align if param.is_pointer => {
            Some(format!("`{shown}`, a pointer, and `{}` is a number", argument.word()))
        }
        Argument::Block | Argument::ArenaOut | Argument::BlockOut | Argument::MarkAt | Argument::Name if narrow => {
            Some(format!("`{shown}`, and `{}` is an address", argument.word()))
        }
        _ => None,
    }
}

/// The parameters as the source has them.
fn written(signature: &Signature) -> String {
    let params: Vec<String> = signature
        .params
        .iter()
        .map(|param| match (param.type_name.ends_with(['*', '&']), param.name.is_empty()) {
            (_, true) => param.type_name.clone(),
            (true, false) => format!("{}{}", param.type_name, param.name),
            (false, false) => format!("{} {}", param.type_name, param.name),
        })
        .chain(signature.variadic.then(|| "...".to_owned()))
        .collect();
    format!("({})", params.join(", "))
}

fn ordinal(index: usize) -> String {
    const WORDS: [&str; 6] = ["first", "second", "third", "fourth", "fifth", "sixth"];
    WORDS.get(index).map_or_else(|| format!("{}th", index + 1), |word| (*word).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use arenascope_symbols::Place;

    fn param(type_name: &str, bytes: u64) -> Param {
        let is_pointer = type_name.ends_with('*');
        Param { name: "p".into(), type_name: type_name.into(), bytes, signed: false, is_pointer, place: Place::Missing }
    }

    fn of(text: &str, params: &[Param], returns: Returns, variadic: bool) -> Option<Misfit> {
        let decl = arenascope_roles::parse(text).expect(text);
        misfit(&decl, &Signature { params: params.to_vec(), returns, variadic, file: String::new(), line: 0 })
    }

    #[test]
    fn swapped_words_are_told_with_the_right_order() {
        let params = [param("t_arena *", 8), param("size_t", 8)];
        let wrong = of("alloc:f(size, arena) -> block", &params, Returns::Pointer, false).expect("swapped");
        assert_eq!(wrong.at, At::Argument(0));
        assert_eq!(wrong.message, "the first parameter of f is `t_arena *`, a pointer, and `size` is a number");
        assert_eq!(wrong.hint, "did you mean (arena, size)?");
        let params = [param("size_t", 8), param("t_arena *", 8), param("int", 4)];
        let wrong = of("alloc:f(_, size) -> block", &params, Returns::Pointer, false).expect("one too late");
        assert_eq!((wrong.at, wrong.hint.as_str()), (At::Argument(1), "did you mean (size, _)?"));
        let wrong = of("free:f(_, arena, block)", &params, Returns::Void, false).expect("an int is no block");
        assert_eq!(wrong.message, "the third parameter of f is `int`, and `block` is an address");
    }

    #[test]
    fn too_many_words_are_counted_in_the_right_number() {
        let text = "alloc:f(arena, size) -> block";
        let said = |params: &[Param], variadic| of(text, params, Returns::Pointer, variadic).expect("too many").message;
        assert_eq!(said(&[], false), "f takes no argument; the role names 2");
        assert_eq!(said(&[param("char *", 8)], false), "f takes 1 argument; the role names 2");
        let told = "f takes 1 argument, and then a variable number of them; the role names 2";
        assert_eq!(said(&[param("char *", 8)], true), told);
    }

    #[test]
    fn what_a_function_returns_is_held_against_the_role() {
        let params = [param("t_arena *", 8), param("size_t", 8), param("void **", 8)];
        let text = "alloc:f(arena, size) -> block";
        let wrong = of(text, &params, Returns::Integer { bytes: 4, signed: true }, false).expect("an int");
        assert_eq!((wrong.at, wrong.message.as_str()), (At::Result, "f returns an integer of 4 bytes, no block"));
        assert!(wrong.hint.contains("`*block`"), "{wrong:?}");
        assert!(of(text, &params, Returns::Void, false).is_some());
    }

    #[test]
    fn what_may_be_right_is_let_through() {
        let text = "alloc:f(arena, size) -> block";
        let integer = Returns::Integer { bytes: 8, signed: false };
        for (params, returns) in [
            ([param("t_arena *", 8), param("size_t", 8)], Returns::Pointer),
            ([param("int", 4), param("unsigned char", 1)], Returns::Pointer),
            ([param("?", 0), param("?", 0)], integer),
            ([param("struct arena", 24), param("Layout", 16)], Returns::RegisterPair),
        ] {
            assert_eq!(of(text, &params, returns, false), None, "{params:?}");
        }
        // Arguments behind the last one of interest are left out.
        let many = [param("t *", 8), param("int", 4), param("char *", 8)];
        assert_eq!(of("alloc:f(arena, size) -> block", &many, Returns::Pointer, false), None);
        assert_eq!(of("free:f(_, _, block)", &many, Returns::Void, true), None);
    }
}

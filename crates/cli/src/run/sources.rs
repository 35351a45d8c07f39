//! From what a function's arguments mean to where they sit.
//!
//! With debug information the places come from it (compilers drop and move arguments of functions that only their own
//! file calls); without, the platform's convention holds for functions that other files can call.

use arenascope_event::{Argument, Result_, Role, RoleDecl};
use arenascope_plan::{Source, SourceKind, Sources};
use arenascope_symbols::{CloneKind, Param, Place, Returns, Signature};

/// Where everything is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Located {
    /// The arguments.
    pub sources: Sources,
    /// The result register holds what the role wants.
    pub takes_result: bool,
    /// The function has, or may have, arguments on the stack.
    pub stack_arguments: bool,
    /// It hands out blocks, and may fill them from memory of its caller's: as many bytes as are asked for.
    pub copies: bool,
}

/// Bytes of stack arguments that a hooked function may have; the stub copies no more.
const STACK_BYTES: u32 = 512;

/// Locates the arguments of one function.
///
/// # Errors
/// A sentence that says which argument cannot be seen and why; the function is then not hooked.
pub fn locate(decl: &RoleDecl, signature: Option<&Signature>, clone: Option<CloneKind>) -> Result<Located, String> {
    if clone == Some(CloneKind::Part) {
        return Err("is only a part that the compiler split off; calls of it are not calls of the function".into());
    }
    if clone.is_some() && signature.is_none() {
        return Err(
            "was changed by the compiler (constant or removed arguments), and without debug information nobody \
                    knows which arguments are left: compile with -g, or with -fno-ipa-cp -fno-ipa-sra"
                .into(),
        );
    }
    let mut sources = Sources::default();
    let mut takes_result = decl.result != Result_::Ignored;
    if let Some(signature) = signature {
        if decl.arguments.len() > signature.params.len() {
            return Err(format!(
                "takes {} arguments, and the role names {}",
                signature.params.len(),
                decl.arguments.len()
            ));
        }
        result(decl, signature.returns, &mut sources, &mut takes_result)?;
    }
    for (index, argument) in decl.arguments.iter().enumerate() {
        let param = signature.and_then(|signature| signature.params.get(index));
        let source = match (param, signature) {
            (Some(param), _) => of_param(param),
            (None, _) => by_convention(index),
        };
        let place = match argument {
            Argument::Ignored => continue,
            Argument::Arena => &mut sources.arena,
            Argument::ArenaOut => &mut sources.arena_out,
            Argument::Size => &mut sources.size,
            Argument::Count => &mut sources.count,
            Argument::Block => &mut sources.block,
            Argument::BlockOut => &mut sources.block_out,
            Argument::Align => &mut sources.align,
            Argument::Parent => &mut sources.parent,
            Argument::Name => &mut sources.name,
            Argument::Mark => &mut sources.mark,
            Argument::MarkAt => &mut sources.mark_at,
        };
        match source {
            Some(source) => *place = source,
            // Worth having, not needed.
            None if matches!(argument, Argument::Align | Argument::Parent | Argument::Name) => {}
            None => {
                return Err(format!(
                    "lost its argument {} ({}) to optimisation: compile with -O0 or -Og",
                    index + 1,
                    argument.word()
                ));
            }
        }
    }
    let stack_arguments = match signature {
        Some(signature) => stack_bytes(signature)? > 0,
        None => true,
    };
    Ok(Located { sources, takes_result, stack_arguments, copies: copies(decl, signature) })
}

/// Whether an alloc function may copy as many bytes as are asked for out of an argument that its role leaves out, as
/// `memdup(arena, bytes, size)` does: asked for more, it would read, or end its text, beyond what the caller has.
///
/// Any such pointer before the size, as in `memcpy`; behind it a pointer to anything. A text behind the size, or called
/// like what debugging allocators take, is where the call stands or what it is for. Without debug information whatever
/// stands before the size may be a pointer.
fn copies(decl: &RoleDecl, signature: Option<&Signature>) -> bool {
    let is_size = |argument: &Argument| matches!(argument, Argument::Size | Argument::Count);
    let Some(size) = decl.arguments.iter().position(is_size).filter(|_| decl.role == Role::Alloc) else {
        return false;
    };
    let left_out = |index: usize| decl.arguments.get(index).is_none_or(|argument| *argument == Argument::Ignored);
    let Some(signature) = signature else { return (0..size).any(left_out) };
    let is_source = |(index, param): (usize, &Param)| {
        let bare = param.type_name.replace("const", "").replace([' ', '*'], "");
        let said = !CALL_SITE.contains(&param.name.as_str());
        left_out(index) && param.is_pointer && said && (index < size || matches!(bare.as_str(), "void" | "?" | ""))
    };
    signature.params.iter().enumerate().any(is_source)
}

/// Names of texts that say where a call stands or what it is for.
const CALL_SITE: [&str; 9] = ["file", "filename", "func", "function", "name", "tag", "label", "where", "location"];

/// Bytes of arguments on the stack, as far as debug information tells. A parameter whose place it does not tell may be
/// there too.
fn stack_bytes(signature: &Signature) -> Result<u32, String> {
    if signature.variadic {
        return Err("takes a variable number of arguments, and nobody can tell how many to pass on".into());
    }
    let mut most = 0u32;
    for param in &signature.params {
        match param.place {
            Place::Stack(above) => {
                let bytes = u32::try_from(param.bytes.max(8)).unwrap_or(u32::MAX);
                most = most.max(above.saturating_add(bytes));
            }
            Place::Missing | Place::Float => most = most.max(8),
            Place::Integer(_) | Place::Registers2(_) | Place::Constant(_) => {}
        }
    }
    if most > STACK_BYTES {
        return Err(format!(
            "takes {most} bytes of arguments on the stack, and at most {STACK_BYTES} can be passed on"
        ));
    }
    Ok(most)
}

/// What the way the result comes back means for the role.
fn result(decl: &RoleDecl, returns: Returns, sources: &mut Sources, takes_result: &mut bool) -> Result<(), String> {
    match (decl.result, returns) {
        (Result_::Ignored, _) => Ok(()),
        (_, Returns::Void) => Err("returns nothing, and the role names a result".into()),
        (_, Returns::Float) => Err("returns a floating-point value, and the role names a result".into()),
        (Result_::Arena, Returns::RegisterPair) if decl.role == Role::Create => {
            Err("returns the arena by value in registers: the arena is born at its first event instead".into())
        }
        (Result_::Mark, Returns::Memory) => {
            // The caller's place for the result is the hidden first argument; the mark is its first word.
            sources.mark_at = Source::register(0);
            *takes_result = false;
            Ok(())
        }
        _ => Ok(()),
    }
}

/// The n-th argument of a function that follows the platform's convention (System V AMD64 ABI 3.2.3).
fn by_convention(index: usize) -> Option<Source> {
    match u8::try_from(index).ok()? {
        register @ 0..=5 => Some(Source::register(register)),
        further => stack(u32::from(further - 6) * 8, 8, false),
    }
}

fn stack(bytes_above: u32, bytes: u8, signed: bool) -> Option<Source> {
    let fits = bytes_above.checked_add(8)? <= STACK_BYTES;
    let index = u8::try_from(bytes_above / 8).ok()?;
    fits.then_some(Source { kind: SourceKind::Stack, index, bytes, signed, value: 0 })
}

fn of_param(param: &Param) -> Option<Source> {
    let bytes = match param.bytes {
        narrow @ (1 | 2 | 4) => narrow as u8,
        _ => 8,
    };
    match param.place {
        Place::Integer(index) | Place::Registers2(index) => {
            Some(Source { kind: SourceKind::Register, index, bytes, signed: param.signed, value: 0 })
        }
        Place::Stack(above) => stack(above, bytes, param.signed),
        Place::Constant(value) => Some(Source { kind: SourceKind::Constant, bytes: 8, value, ..Source::ABSENT }),
        Place::Float | Place::Missing => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decl(text: &str) -> RoleDecl {
        arenascope_roles::parse(text).expect(text)
    }

    fn param(place: Place, bytes: u64, signed: bool) -> Param {
        Param { name: String::new(), type_name: String::new(), bytes, signed, is_pointer: false, place }
    }

    #[test]
    fn without_debug_information_the_convention_decides() {
        let located = locate(&decl("alloc:f(_, arena, _, _, _, _, _, size) -> block"), None, None).expect("locates");
        assert_eq!(located.sources.arena, Source::register(1));
        assert_eq!((located.sources.size.kind, located.sources.size.index), (SourceKind::Stack, 1));
        assert!(located.takes_result);
    }

    #[test]
    fn debug_information_wins_and_tells_widths() {
        let signature = Signature {
            params: vec![param(Place::Integer(1), 8, false), param(Place::Integer(2), 4, true)],
            returns: Returns::Pointer,
            variadic: false,
            file: String::new(),
            line: 0,
        };
        let located = locate(&decl("alloc:f(arena, size) -> block"), Some(&signature), None).expect("locates");
        assert_eq!(located.sources.arena.index, 1);
        assert_eq!((located.sources.size.bytes, located.sources.size.signed), (4, true));
    }

    #[test]
    fn what_may_be_copied_from_is_told_from_what_names_the_call() {
        let pointer = |type_name: &str, name: &str| Param {
            name: name.into(),
            type_name: type_name.into(),
            is_pointer: type_name.ends_with('*'),
            ..param(Place::Integer(0), 8, false)
        };
        let of = |text: &str, params: &[(&str, &str)]| {
            let signature = Signature {
                params: params.iter().map(|(type_name, name)| pointer(type_name, name)).collect(),
                returns: Returns::Pointer,
                variadic: false,
                file: String::new(),
                line: 0,
            };
            copies(&decl(text), Some(&signature))
        };
        let arena = ("arena *", "a");
        assert!(of("alloc:f(arena, _, size) -> block", &[arena, ("const void *", "from"), ("size_t", "n")]));
        assert!(of("alloc:f(arena, _, size) -> block", &[arena, ("const char *", "s"), ("size_t", "n")]));
        assert!(of("alloc:f(arena, size) -> block", &[arena, ("size_t", "n"), ("const void *", "from")]));
        assert!(of(
            "alloc:f(arena, _, count, size) -> block",
            &[arena, ("int *", "v"), ("size_t", "n"), ("size_t", "s")]
        ));
        assert!(!of("alloc:f(arena, _, size) -> block", &[arena, ("int", "flags"), ("size_t", "n")]));
        assert!(!of("alloc:f(_, arena, size) -> block", &[("const char *", "file"), arena, ("size_t", "n")]));
        assert!(!of("alloc:f(arena, size, _) -> block", &[arena, ("size_t", "n"), ("const char *", "why")]));
        assert!(!of(
            "resize:f(arena, block, _, size) -> block",
            &[arena, ("void *", "p"), ("size_t", "o"), ("size_t", "n")]
        ));
        let unknown = |text: &str| copies(&decl(text), None);
        assert!(unknown("alloc:_talloc_memdup(arena, _, size, _) -> block"));
        assert!(!unknown("alloc:_talloc_zero(arena, size, _) -> block"));
        assert!(!unknown("resize:r(arena, block, _, size) -> block"));
    }

    #[test]
    fn a_lost_size_is_said_and_a_constant_one_is_used() {
        let mut signature = Signature {
            params: vec![param(Place::Integer(0), 8, false), param(Place::Missing, 8, false)],
            returns: Returns::Pointer,
            variadic: false,
            file: String::new(),
            line: 0,
        };
        let clone = Some(CloneKind::ConstantPropagated);
        let error = locate(&decl("alloc:f(arena, size) -> block"), Some(&signature), clone).expect_err("lost");
        assert!(error.contains("argument 2 (size)"), "{error}");
        if let Some(size) = signature.params.get_mut(1) {
            size.place = Place::Constant(64);
        }
        let located = locate(&decl("alloc:f(arena, size) -> block"), Some(&signature), clone).expect("locates");
        assert_eq!(located.sources.size.value, 64);
        assert!(locate(&decl("alloc:f(arena, size) -> block"), None, clone).is_err());
    }
}

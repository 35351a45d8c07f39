//! Functions that the walker must know by name: those that never return, and those that keep the caller's registers.
//!
//! Names may come with a version (`exit@GLIBC_2.2.5`, `exit@plt`) or demangled. An unknown name is an ordinary
//! function: nothing wrong follows, only the case "every way ends in a call that never returns" is then told as
//! a drop instead of unknown.

/// Functions that never return to their caller: the C library's, the C++ run time's, the compilers' own.
const NEVER_RETURN: &[&str] = &[
    "_Exit",
    "_Unwind_Resume",
    "__assert",
    "__assert_fail",
    "__assert_perror_fail",
    "__assert_rtn",
    "__chk_fail",
    "__cxa_bad_cast",
    "__cxa_bad_typeid",
    "__cxa_call_unexpected",
    "__cxa_pure_virtual",
    "__cxa_rethrow",
    "__cxa_throw",
    "__cxa_throw_bad_array_length",
    "__cxa_throw_bad_array_new_length",
    "__fortify_fail",
    "__libc_start_main",
    "__longjmp_chk",
    "__stack_chk_fail",
    "__stack_chk_fail_local",
    "_exit",
    "_longjmp",
    "abort",
    "err",
    "errx",
    "exit",
    "exit_group",
    "g_assertion_message",
    "g_assertion_message_expr",
    "longjmp",
    "pthread_exit",
    "quick_exit",
    "siglongjmp",
    "std::terminate",
    "_ZSt9terminatev",
    "thrd_exit",
    "verr",
    "verrx",
    "xalloc_die",
];

/// Prefixes of the same: libstdc++'s `std::__throw_…`, Rust's panics.
const NEVER_RETURN_PREFIXES: &[&str] = &[
    "std::__throw_",
    "_ZSt20__throw_",
    "_ZSt17__throw_",
    "_ZSt19__throw_",
    "core::panicking::panic",
    "core::option::unwrap_failed",
    "core::result::unwrap_failed",
    "alloc::alloc::handle_alloc_error",
];

/// Instrumentation that saves every register it touches, rax among them: glibc's profiling entry points
/// (sysdeps/x86_64/_mcount.S), and the outlined checks of the address sanitizers, which take their address in a
/// named register and keep the rest (LLVM, X86AsmPrinter `LowerASAN_CHECK_MEMACCESS`).
const KEEP_REGISTERS: &[&str] = &["mcount", "_mcount", "__mcount", "__fentry__"];
const KEEP_REGISTERS_PREFIXES: &[&str] = &["__asan_check_", "__hwasan_check_"];

/// The name without a version or `@plt`.
pub(crate) fn unversioned(name: &str) -> &str {
    name.split('@').next().unwrap_or(name)
}

/// The name without a version or `@plt`, and without its argument list, for sentences and for the lists above.
/// Not an identity: overloads share it.
pub(crate) fn bare(name: &str) -> &str {
    let name = unversioned(name);
    for (at, _) in name.match_indices('(') {
        let (before, after) = name.split_at(at);
        let part_of_the_name = before.is_empty() || after.starts_with("(anonymous") || before.ends_with("operator");
        if !part_of_the_name {
            return before;
        }
    }
    name
}

/// True when a call to `name` surely never comes back.
pub(crate) fn never_returns(name: &str) -> bool {
    let name = bare(name);
    NEVER_RETURN.contains(&name) || NEVER_RETURN_PREFIXES.iter().any(|p| name.starts_with(p))
}

/// The names that a program may give to a function of its own that does return.
const NOT_RESERVED: &[&str] = &["err", "errx", "verr", "verrx", "xalloc_die"];

/// As [`never_returns`], for a function of the program itself (a static program holds its own `exit`): only names
/// that the language reserves count.
pub(crate) fn never_returns_by_reserved_name(name: &str) -> bool {
    let bare = bare(name);
    never_returns(name) && !NOT_RESERVED.contains(&bare) && !bare.starts_with("g_")
}

/// True when a call to `name` leaves rax as it was.
pub(crate) fn keeps_registers(name: &str) -> bool {
    let name = bare(name);
    KEEP_REGISTERS.contains(&name) || KEEP_REGISTERS_PREFIXES.iter().any(|p| name.starts_with(p))
}

/// For a retpoline thunk, the register that holds the true target: `rcx` of `__x86_indirect_thunk_rcx` or
/// `__llvm_retpoline_rcx`.
pub(crate) fn thunk_register(name: &str) -> Option<&str> {
    let name = bare(name);
    name.strip_prefix("__x86_indirect_thunk_")
        .or_else(|| name.strip_prefix("__llvm_retpoline_"))
        .or_else(|| name.strip_prefix("__llvm_lvi_thunk_"))
}

/// True for a part of a function that the compiler moved away and jumps into with live registers: `f.cold`,
/// `f.cold.3`, `f(int) [clone .cold]`, and clang's `f.__part.2` of basic-block sections.
pub(crate) fn is_cold_part(name: &str) -> bool {
    without_cold(name) != name
}

/// `f` for `f.cold` or `f.cold.3`.
pub(crate) fn without_cold(name: &str) -> &str {
    let whole = [".cold", ".__part."]
        .iter()
        .filter_map(|mark| name.find(mark))
        .min()
        .and_then(|at| name.get(..at))
        .unwrap_or(name);
    whole.strip_suffix(" [clone ").unwrap_or(whole)
}

/// True when the name betrays a language whose functions take an argument in rax (OCaml, Swift): see
/// [`CodeSource::system_v`](crate::CodeSource::system_v).
pub(crate) fn foreign_convention(name: &str) -> bool {
    name.starts_with("caml") || name.starts_with("$s") || name.starts_with("$S")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_and_arguments_do_not_hide_a_name() {
        assert!(never_returns("exit@GLIBC_2.2.5"));
        assert!(never_returns("abort@plt"));
        assert!(never_returns("std::__throw_length_error(char const*)"));
        assert!(never_returns("std::terminate()"));
        assert!(!never_returns("exit_later"));
        assert!(!never_returns("atexit"));
        assert!(keeps_registers("mcount@plt"));
        assert!(!keeps_registers("count"));
    }

    #[test]
    fn cold_parts_belong_to_their_function() {
        assert!(is_cold_part("f.cold"));
        assert!(is_cold_part("f.part.0.cold"));
        assert!(!is_cold_part("f.part.0"));
        assert!(is_cold_part("f.__part.2"));
        assert_eq!(without_cold("f.cold.3"), "f");
        assert_eq!(without_cold("f(int) [clone .cold]"), "f(int)");
    }

    #[test]
    fn bare_names_keep_what_belongs_to_the_name() {
        assert_eq!(bare("a::b(int, char)"), "a::b");
        assert_eq!(bare("f::operator()(int)"), "f::operator()");
        assert_eq!(bare("a::(anonymous namespace)::b(int)"), "a::(anonymous namespace)::b");
        assert_eq!(bare("(anonymous namespace)::b()"), "(anonymous namespace)::b");
        assert_eq!(bare("puts@plt"), "puts");
    }

    #[test]
    fn thunks_name_their_register() {
        assert_eq!(thunk_register("__x86_indirect_thunk_rcx"), Some("rcx"));
        assert_eq!(thunk_register("puts"), None);
    }
}

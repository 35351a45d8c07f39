//! Linkage names and the names people type: versions, compiler clones, demangling, and whether the two mean the
//! same function.
//!
//! Relied on: any bytes are accepted; a name that cannot be demangled stands for itself; output is bounded by
//! [`DEMANGLED_LIMIT`]. Absent: files, addresses.

use std::fmt::{self, Write};

/// Longest name that demangling may produce, bytes. Back-references let a short hostile symbol ask for gigabytes.
const DEMANGLED_LIMIT: usize = 64 << 10;

/// Longest symbol that is demangled, bytes; longer ones stand for themselves. (The longest in Debian's LLVM is 7,300.)
const MANGLED_LIMIT: usize = 32 << 10;

/// What a compiler changed when it made a clone of a function.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum CloneKind {
    /// `.constprop`: some arguments became constants and may no longer be passed.
    ConstantPropagated,
    /// `.isra`: arguments were removed, split, or passed by value instead of by reference.
    ArgumentsChanged,
    /// `.part`: only a part of the function's body; calls of it are not calls of the function.
    Part,
}

/// A linkage name taken apart: `_ZN1A1fEv.isra.0@@V1` is base `_ZN1A1fEv`, clone `ArgumentsChanged`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Linkage<'a> {
    /// Without version and clone suffixes.
    pub(crate) base: &'a str,
    /// The strongest change among the suffixes.
    pub(crate) clone: Option<CloneKind>,
    /// The clone suffixes as written, `.constprop.0`; empty when there are none.
    pub(crate) suffix: &'a str,
    /// `.cold` or `.resolver`: never an entry of the function.
    pub(crate) never_entry: bool,
}

/// `name` without its symbol version (`malloc@@GLIBC_2.2.5`, `f@V1`).
pub(crate) fn without_version(name: &str) -> &str {
    match name.find('@') {
        Some(at) if at > 0 => name.get(..at).unwrap_or(name),
        _ => name,
    }
}

/// Takes a linkage name apart. Suffixes that are not a compiler's stay part of the base.
pub(crate) fn take_apart(name: &str) -> Linkage<'_> {
    let name = without_version(name);
    let mut base = name;
    let (mut clone, mut never_entry) = (None, false);
    // From the right: `.WORD`, `.WORD.NUMBER`, `.llvm.NUMBER`. GCC appends (f.constprop.0.isra.0, f.part.0.cold).
    while let Some((rest, last)) = base.rsplit_once('.') {
        let (rest, word) = if is_number(last) {
            match rest.rsplit_once('.') {
                Some((rest, word)) => (rest, word),
                None => break,
            }
        } else {
            (rest, last)
        };
        if rest.is_empty() {
            break;
        }
        match word {
            "constprop" => clone = clone.max(Some(CloneKind::ConstantPropagated)),
            "isra" => clone = clone.max(Some(CloneKind::ArgumentsChanged)),
            "part" => clone = clone.max(Some(CloneKind::Part)),
            "cold" | "resolver" => never_entry = true,
            // The function itself under a name that is unique after link-time optimisation.
            "lto_priv" | "llvm" | "localalias" | "warm" => {}
            _ => break,
        }
        base = rest;
    }
    Linkage { base, clone, suffix: name.get(base.len()..).unwrap_or(""), never_entry }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Text that refuses to grow beyond [`DEMANGLED_LIMIT`].
struct Bounded(String);

impl fmt::Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.0.len().saturating_add(text.len()) > DEMANGLED_LIMIT {
            return Err(fmt::Error);
        }
        self.0.push_str(text);
        Ok(())
    }
}

fn is_itanium(name: &str) -> bool {
    name.starts_with("_Z") || name.starts_with("__Z")
}

fn is_rust(name: &str) -> bool {
    name.starts_with("_R") || is_itanium(name)
}

fn rust(base: &str) -> Option<String> {
    if !is_rust(base) || base.len() > MANGLED_LIMIT {
        return None;
    }
    let name = rustc_demangle::try_demangle(base).ok()?;
    let mut out = Bounded(String::new());
    write!(out, "{name:#}").ok()?;
    Some(out.0)
}

fn cpp(base: &str, parameters: bool) -> Option<String> {
    if !is_itanium(base) || base.len() > MANGLED_LIMIT {
        return None;
    }
    let symbol = cpp_demangle::BorrowedSymbol::new(base.as_bytes()).ok()?;
    let mut options = cpp_demangle::DemangleOptions::new().no_return_type();
    if !parameters {
        options = options.no_params();
    }
    let mut out = Bounded(String::new());
    symbol.structured_demangle(&mut out, &options).ok()?;
    Some(out.0)
}

/// The name people read: demangled with parameters and without return type, Rust hashes dropped, clones marked as
/// binutils does (`f(int) [clone .part.0]`). The name itself when it is not mangled.
pub(crate) fn display(name: &str) -> String {
    let linkage = take_apart(name);
    let mut text = match rust(linkage.base).or_else(|| cpp(linkage.base, true)) {
        Some(text) => text,
        None => return without_version(name).to_owned(),
    };
    if !linkage.suffix.is_empty() && (linkage.clone.is_some() || linkage.never_entry) {
        let _ = write!(text, " [clone {}]", linkage.suffix);
    }
    text
}

/// A name as a person typed it, ready to be compared with many linkage names.
#[derive(Debug)]
pub(crate) struct Wanted<'a> {
    /// As typed.
    raw: &'a str,
    /// In the form of [`plain`], without a Rust hash.
    plain: String,
    /// The Rust hash that was typed, `h` and 16 digits.
    hash: Option<String>,
    /// Every mangled name of this function must contain this text. Empty: no such text is known.
    must_contain: String,
}

impl<'a> Wanted<'a> {
    pub(crate) fn new(typed: &'a str) -> Wanted<'a> {
        let raw = typed.trim();
        let (plain, hash) = match split_hash(&plain(raw)) {
            Some((path, hash)) => (path.to_owned(), Some(hash.to_owned())),
            None => (plain(raw), None),
        };
        let must_contain = last_identifier(&plain);
        Wanted { raw, plain, hash, must_contain }
    }

    /// False when `name` (with or without suffixes) cannot be the function that was typed. One search of a text.
    pub(crate) fn may_be(&self, name: &str) -> bool {
        name.contains(self.must_contain.as_str()) || name == self.raw
    }

    /// Whether `base` (a linkage name without version and clone suffix) is the function that was typed.
    ///
    /// One search of a text for names that do not even contain the last identifier; a demangling otherwise.
    pub(crate) fn is(&self, base: &str) -> bool {
        if base == self.raw {
            return true;
        }
        if !is_rust(base) || self.plain.is_empty() || !base.contains(self.must_contain.as_str()) {
            return false;
        }
        if let Some(name) = rust(base) {
            let hash_fits = self.hash.as_ref().is_none_or(|hash| base.contains(hash.as_str()));
            return hash_fits && self.is_rust_name(&plain(&name));
        }
        let Some(bare) = cpp(base, false) else { return false };
        let bare = without_tags(plain(&bare));
        if bare == self.plain || without_templates(&bare) == self.plain {
            return true;
        }
        // Parameters were typed, with or without the member function's `const`.
        self.plain.contains('(')
            && cpp(base, true).is_some_and(|full| {
                let full = without_tags(plain(&full));
                full == self.plain || full.strip_suffix("const") == Some(&self.plain)
            })
    }

    fn is_rust_name(&self, name: &str) -> bool {
        let method = as_method(name);
        [name, method.as_str()].iter().any(|form| *form == self.plain || without_templates(form) == self.plain)
    }
}

/// `path::h0123456789abcdef` as path and `h…`.
fn split_hash(plain: &str) -> Option<(&str, &str)> {
    let (path, last) = plain.rsplit_once("::")?;
    let digits = last.strip_prefix('h')?;
    let is_hash = digits.len() == 16 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hash.then_some((path, last))
}

/// Without `[abi:cxx11]` and the like.
fn without_tags(mut text: String) -> String {
    while let Some(start) = text.find("[abi:") {
        let Some(length) = text.get(start..).and_then(|rest| rest.find(']')) else { break };
        text.replace_range(start..=start.saturating_add(length), "");
    }
    text
}

/// White space removed, except around Rust's `as`; `<a::B>::f` (v0 mangling of an inherent method) as `a::B::f`.
pub(crate) fn plain(name: &str) -> String {
    let squeezed: Vec<String> =
        name.split(" as ").map(|part| part.chars().filter(|char| !char.is_whitespace()).collect()).collect();
    let text = squeezed.join(" as ");
    match receiver(&text) {
        Some((inner, rest)) if !inner.contains(" as ") => format!("{inner}{rest}"),
        _ => text,
    }
}

/// `<A as B>::f` as `A::f`; other names unchanged.
fn as_method(name: &str) -> String {
    let parts = receiver(name).and_then(|(inner, rest)| Some((inner.rsplit_once(" as ")?.0, rest)));
    parts.map_or_else(|| name.to_owned(), |(this, rest)| format!("{this}{rest}"))
}

/// `<inner>rest` with `rest` starting `::`, taken apart.
fn receiver(name: &str) -> Option<(&str, &str)> {
    if !name.starts_with('<') {
        return None;
    }
    let (mut depth, mut before) = (0usize, '\0');
    for (at, char) in name.char_indices() {
        match char {
            '<' => depth += 1,
            '>' if before != '-' => depth = depth.saturating_sub(1),
            _ => {}
        }
        before = char;
        if depth == 0 {
            let rest = name.get(at.saturating_add(1)..)?;
            return rest.starts_with("::").then_some((name.get(1..at)?, rest));
        }
    }
    None
}

/// Without template and generic arguments. Angle brackets of operators and of a leading `<A as B>` stay.
pub(crate) fn without_templates(name: &str) -> String {
    if let Some((inner, rest)) = receiver(name) {
        let parts: Vec<String> = inner.split(" as ").map(without_templates).collect();
        return format!("<{}>{}", parts.join(" as "), without_templates(rest));
    }
    const OPERATORS: [&str; 12] = ["<<=", ">>=", "<=>", "->*", "<<", ">>", "<=", ">=", "->", "()", "<", ">"];
    let mut out = String::with_capacity(name.len());
    let (mut depth, mut before) = (0usize, '\0');
    let mut rest = name;
    while let Some(char) = rest.chars().next() {
        if depth == 0
            && out.ends_with("operator")
            && let Some(symbol) = OPERATORS.iter().find(|symbol| rest.starts_with(**symbol))
        {
            out.push_str(symbol);
            rest = rest.get(symbol.len()..).unwrap_or("");
            continue;
        }
        match char {
            '<' => {
                // Rust's turbofish in v0 names: `f::<T>`.
                if depth == 0 && out.ends_with("::") {
                    out.truncate(out.len().saturating_sub(2));
                }
                depth += 1;
            }
            '>' if before != '-' && depth > 0 => depth -= 1,
            _ if depth == 0 => out.push(char),
            _ => {}
        }
        before = char;
        rest = rest.get(char.len_utf8()..).unwrap_or("");
    }
    out
}

/// The last identifier before the parameters: its letters stand as they are in every mangled form. Empty when the
/// name is one of the forms that mangling abbreviates (operators, closures, constructors of `std` classes).
pub(crate) fn last_identifier(plain: &str) -> String {
    if plain.contains("operator") || plain.contains(['{', '\'', '[']) {
        return String::new();
    }
    let path = without_templates(&plain.replace("(anonymousnamespace)", ""));
    let path = path.split('(').next().unwrap_or("");
    let last = path.rsplit("::").next().unwrap_or("").trim_start_matches('~');
    let simple = !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let abbreviated = ["allocator", "string", "istream", "ostream", "iostream"];
    if !simple || abbreviated.contains(&last) || last.starts_with("basic_") {
        return String::new();
    }
    last.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linkage_names_are_taken_apart() {
        use CloneKind::{ArgumentsChanged, ConstantPropagated, Part};
        for (name, base, clone, never_entry) in [
            ("arena_alloc", "arena_alloc", None, false),
            ("malloc@@GLIBC_2.2.5", "malloc", None, false),
            ("f@V1", "f", None, false),
            ("@", "@", None, false),
            ("f.constprop.0", "f", Some(ConstantPropagated), false),
            ("f.isra.0", "f", Some(ArgumentsChanged), false),
            ("f.part.0", "f", Some(Part), false),
            ("f.constprop.0.isra.12", "f", Some(ArgumentsChanged), false),
            ("f.part.0.constprop.1", "f", Some(Part), false),
            ("f.cold", "f", None, true),
            ("f.part.0.cold", "f", Some(Part), true),
            ("f.lto_priv.3", "f", None, false),
            ("f.llvm.1234567", "f", None, false),
            ("counter.1", "counter.1", None, false),
            ("_ZN5Arena5allocEm.isra.0", "_ZN5Arena5allocEm", Some(ArgumentsChanged), false),
            (".cold", ".cold", None, false),
            ("f.avx2", "f.avx2", None, false),
            ("memcpy.resolver", "memcpy", None, true),
            ("", "", None, false),
            ("..", "..", None, false),
        ] {
            let found = take_apart(name);
            assert_eq!((found.base, found.clone, found.never_entry), (base, clone, never_entry), "{name}");
        }
    }

    #[test]
    fn names_are_displayed_as_people_read_them() {
        for (name, text) in [
            ("arena_alloc", "arena_alloc"),
            ("arena_alloc.constprop.0", "arena_alloc.constprop.0"),
            ("malloc@@GLIBC_2.2.5", "malloc"),
            ("_ZN2ns5Arena5allocEm", "ns::Arena::alloc(unsigned long)"),
            ("_ZN2ns5Arena5allocEm.part.0", "ns::Arena::alloc(unsigned long) [clone .part.0]"),
            ("_ZN2ns4makeIiEEPvT_", "ns::make<int>(int)"),
            ("_ZN3svc5arena4Bump5alloc17h0123456789abcdefE", "svc::arena::Bump::alloc"),
            ("_RNvMNtCs1234_3svc5arenaNtB2_4Bump5alloc", "<svc::arena::Bump>::alloc"),
            ("_Z", "_Z"),
            ("_ZN", "_ZN"),
        ] {
            assert_eq!(display(name), text, "{name}");
        }
    }

    #[test]
    fn typed_names_mean_their_functions() {
        const CPP: &str = "_ZN2ns5Arena5allocEm";
        const TEMPLATE: &str = "_ZN2ns4PoolINS_4NodeEE4makeIiEEPvT_"; // ns::Pool<ns::Node>::make<int>(int)
        const LEGACY: &str = "_ZN3svc5arena4Bump5alloc17h0123456789abcdefE";
        const V0: &str = "_RNvMNtCs1234_3svc5arenaNtB2_4Bump5alloc";
        const CONST: &str = "_ZNK2ns5Arena4usedEv"; // ns::Arena::used() const
        const ANONYMOUS: &str = "_ZN12_GLOBAL__N_15carveEm"; // (anonymous namespace)::carve(unsigned long)
        const TRAIT: &str = "_ZN43_$LT$svc..Bump$u20$as$u20$svc..Allocate$GT$8allocate17h0123456789abcdefE";
        for (typed, base, same) in [
            ("alloc", "alloc", true),
            (" alloc ", "alloc", true),
            ("alloc", "allocate", false),
            ("alloc", CPP, false),
            ("Arena::alloc", CPP, false),
            ("ns::Arena::alloc", CPP, true),
            ("ns::Arena::alloc(unsigned long)", CPP, true),
            ("ns::Arena::alloc( unsigned  long )", CPP, true),
            ("ns::Arena::alloc(int)", CPP, false),
            ("ns::Arena::allo", CPP, false),
            (CPP, CPP, true),
            ("ns::Pool::make", TEMPLATE, true),
            ("ns::Pool<ns::Node>::make<int>", TEMPLATE, true),
            ("ns::Pool<ns::Node>::make<int>(int)", TEMPLATE, true),
            ("ns::Pool<ns::Leaf>::make<int>", TEMPLATE, false),
            ("ns::Arena::used", CONST, true),
            ("ns::Arena::used()", CONST, true),
            ("ns::Arena::used() const", CONST, true),
            ("(anonymous namespace)::carve", ANONYMOUS, true),
            ("(anonymous namespace)::carve(unsigned long)", ANONYMOUS, true),
            ("svc::arena::Bump::alloc", LEGACY, true),
            ("svc::arena::Bump::alloc::h0123456789abcdef", LEGACY, true),
            ("svc::arena::Bump::alloc::h0123456789abcdee", LEGACY, false),
            ("svc::arena::Bump::alloc", V0, true),
            ("<svc::arena::Bump>::alloc", V0, true),
            ("arena::Bump::alloc", V0, false),
            ("<svc::Bump as svc::Allocate>::allocate", TRAIT, true),
            ("svc::Bump::allocate", TRAIT, true),
            ("svc::Allocate::allocate", TRAIT, false),
            ("operator new(unsigned long)", "_Znwm", true),
            ("operator new", "_Znwm", true),
            ("ns::operator<<", "_ZN2nslsERiS0_", true),
            ("", "", true),
            ("", CPP, false),
        ] {
            assert_eq!(Wanted::new(typed).is(base), same, "{typed} / {base}");
        }
    }

    #[test]
    fn a_short_symbol_that_unfolds_to_gigabytes_stands_for_itself() {
        // Each substitution doubles the one before: pair<S_, S_>.
        let mut name = String::from("_Z1fSt4pairIiiE");
        for _ in 0..60 {
            let last = name.len();
            name.push_str(&format!("St4pairIS{0}_S{0}_E", base36(last % 30)));
        }
        assert!(display(&name).len() <= DEMANGLED_LIMIT);
    }

    fn base36(number: usize) -> char {
        char::from_digit(number as u32, 36).unwrap_or('0').to_ascii_uppercase()
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_taken(name in "(_Z|_R|_ZN)?[A-Za-z0-9_.$@<>(): -]{0,60}", typed in "\\PC{0,40}") {
            let linkage = take_apart(&name);
            proptest::prop_assert!(name.starts_with(linkage.base));
            let _ = display(&name);
            let wanted = Wanted::new(&typed);
            let _ = wanted.is(&name);
            proptest::prop_assert!(Wanted::new(&name).is(name.trim()));
        }
    }
}

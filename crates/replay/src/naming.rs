//! A name for arenas that nobody named: what the alloc function's name says about them.
//!
//! May be relied on: never empty, never longer than the function's name. Absent on purpose: variable names (the
//! events do not know them).

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;
use arenascope_event::{HookFact, HookStatus, Role};

/// Words that say what an alloc function does rather than whose it is.
const VERBS: [&str; 40] = [
    "alloc",
    "malloc",
    "calloc",
    "palloc",
    "pcalloc",
    "memalign",
    "allocate",
    "allocation",
    "get",
    "new",
    "push",
    "take",
    "grab",
    "obtain",
    "reserve",
    "request",
    "make",
    "size",
    "sized",
    "zero",
    "zeroed",
    "array",
    "aligned",
    "align",
    "raw",
    "mem",
    "memory",
    "block",
    "bytes",
    "n",
    "fast",
    "slow",
    "impl",
    "internal",
    "uninit",
    "layout",
    "dup",
    "or",
    "null",
    "nz",
];

const FALLBACK: &str = "arena";

/// The name to show for an arena without one: `arena_alloc` gives "arena", `pool_get` "pool", `ns::Bump::alloc`
/// "Bump", a plain `alloc` "arena". When several alloc functions are watched, what their names have in common at
/// the front.
pub fn default_name(hooks: &[HookFact]) -> String {
    let watched = |hook: &&HookFact| !matches!(hook.status, HookStatus::NotWatched(_));
    let allocs = || hooks.iter().filter(|hook| hook.decl.role == Role::Alloc);
    let mut names: Vec<String> = allocs().filter(watched).map(|hook| owner(&hook.decl.function)).collect();
    if names.is_empty() {
        names = allocs().map(|hook| owner(&hook.decl.function)).collect();
    }
    names.sort_unstable();
    names.dedup();
    let Some((first, rest)) = names.split_first() else { return FALLBACK.to_owned() };
    let common = rest.iter().fold(words(first), |common, name| {
        let shared = common.iter().zip(words(name)).take_while(|(left, right)| *left == right).count();
        common.into_iter().take(shared).collect()
    });
    if common.is_empty() { FALLBACK.to_owned() } else { common.join("_") }
}

/// Whose function this is: the name without module, signature and verbs.
fn owner(function: &str) -> String {
    let name = function.rsplit_once('!').map_or(function, |(_, name)| name);
    let name = name.split(['(', '<']).next().unwrap_or(name);
    let mut path: Vec<&str> = name.split("::").filter(|part| !part.is_empty()).collect();
    let Some(last) = path.pop() else { return FALLBACK.to_owned() };
    // A clone such as `r_alloc.constprop.0` is named after its original.
    let last = last.split('.').next().unwrap_or(last);
    let mut parts = words(last);
    while parts.last().is_some_and(|word| is_verb(word)) {
        parts.pop();
    }
    let says_whose = parts.first().is_some_and(|word| !is_verb(word));
    match path.last() {
        Some(parent) if !says_whose => (*parent).to_owned(),
        None if parts.is_empty() => FALLBACK.to_owned(),
        _ => parts.join("_"),
    }
}

fn is_verb(word: &str) -> bool {
    VERBS.contains(&word.to_ascii_lowercase().as_str())
}

/// Splits at underscores and at `camelCase` humps, where a single hump splits only a trailing verb.
fn words(name: &str) -> Vec<String> {
    let mut parts: Vec<String> = name.split('_').filter(|part| !part.is_empty()).map(ToOwned::to_owned).collect();
    if let Some(last) = parts.last_mut() {
        let hump = last.char_indices().rev().find(|(at, letter)| *at > 0 && letter.is_ascii_uppercase());
        if let Some((at, _)) = hump {
            let tail = last.split_off(at);
            if is_verb(&tail) {
                parts.push(tail);
            } else {
                last.push_str(&tail);
            }
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use alloc::vec;
    use arenascope_event::{Result_, RoleDecl};

    fn hook(role: Role, function: &str, status: HookStatus) -> HookFact {
        let decl = RoleDecl { role, function: function.to_string(), arguments: vec![], result: Result_::Block };
        HookFact { decl, module: String::new(), address: Default::default(), status }
    }

    #[test]
    fn names_come_from_the_alloc_function() {
        for (function, name) in [
            ("arena_alloc", "arena"),
            ("pool_get", "pool"),
            ("r_alloc", "r"),
            ("r_alloc.constprop.0", "r"),
            ("apr_palloc", "apr"),
            ("libapr-1.so.0!apr_palloc", "apr"),
            ("my_arena_alloc_aligned", "my_arena"),
            ("arenaAlloc", "arena"),
            ("bump", "bump"),
            ("alloc", "arena"),
            ("_alloc", "arena"),
            ("ns::Bump::alloc(unsigned long)", "Bump"),
            ("Arena::alloc", "Arena"),
            ("bumpy::Bump::alloc_slice_copy", "Bump"),
            ("ns::pool_get(pool*)", "pool"),
            ("stack_push", "stack"),
            ("", "arena"),
            ("::", "arena"),
        ] {
            assert_eq!(default_name(&[hook(Role::Alloc, function, HookStatus::Watched)]), name, "{function}");
        }
    }

    #[test]
    fn several_alloc_functions_share_what_they_have_in_common() {
        let named = |functions: &[&str]| {
            let hooks: Vec<HookFact> =
                functions.iter().map(|name| hook(Role::Alloc, name, HookStatus::Watched)).collect();
            default_name(&hooks)
        };
        assert_eq!(named(&["arena_alloc", "arena_calloc"]), "arena");
        assert_eq!(named(&["db_page_alloc", "db_row_alloc"]), "db");
        assert_eq!(named(&["pool_get", "region_new"]), "arena");
    }

    #[test]
    fn only_alloc_functions_count_and_watched_ones_go_first() {
        let create = hook(Role::Create, "zone_init", HookStatus::Watched);
        assert_eq!(default_name(core::slice::from_ref(&create)), "arena");
        let unseen = hook(Role::Alloc, "zone_alloc", HookStatus::NotWatched("inlined".to_string()));
        assert_eq!(default_name(&[create.clone(), unseen.clone()]), "zone");
        assert_eq!(default_name(&[create, unseen, hook(Role::Alloc, "heap_get", HookStatus::Watched)]), "heap");
    }
}

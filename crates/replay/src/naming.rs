//! A name for arenas that nobody named: what the alloc function's name says about them.
//!
//! May be relied on: never empty, never longer than the function's name (but for "arena", where that says nothing). Absent on purpose: variable names (the
//! events do not know them).

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;
use arenascope_event::{HookFact, HookStatus, Role};

/// Words that say what an alloc function does: nothing from there on says whose it is.
const VERBS: [&str; 24] = [
    "alloc",
    "malloc",
    "calloc",
    "realloc",
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
    "sized",
    "zeroed",
    "aligned",
    "uninit",
    "dup",
    "carve",
];

/// Words that say how or what it hands out, at the end of a name.
const TRIMMINGS: [&str; 17] = [
    "size", "zero", "array", "align", "raw", "mem", "memory", "block", "bytes", "n", "fast", "slow", "impl",
    "internal", "layout", "null", "nz",
];

const FALLBACK: &str = "arena";

/// The name to show for an arena without one: `arena_alloc` gives "arena", `pool_get` "pool", `ns::Bump::alloc`
/// "Bump", a plain `alloc` "arena". When several alloc functions are watched, what their names have in common at
/// the front.
pub fn default_name(hooks: &[HookFact]) -> String {
    let watched = |hook: &&HookFact| !matches!(hook.status, HookStatus::NotWatched(_));
    let allocs = || hooks.iter().filter(|hook| hook.decl.role == Role::Alloc && hook.markers.is_none());
    let mut names: Vec<String> = allocs().filter(watched).map(|hook| owner(&hook.decl.function)).collect();
    if names.is_empty() {
        names = allocs().map(|hook| owner(&hook.decl.function)).collect();
    }
    names.sort_unstable();
    names.dedup();
    let Some((first, rest)) = names.split_first() else { return FALLBACK.to_owned() };
    let shared =
        |name: &String| words(first).iter().zip(words(name)).take_while(|(left, right)| *left == right).count();
    let parts = words(first);
    let common = rest.iter().map(shared).min().unwrap_or(parts.len());
    match common.checked_sub(1).and_then(|last| parts.get(last)) {
        Some(last) => first.get(..offset(first, last) + last.len()).unwrap_or(FALLBACK).to_owned(),
        None => FALLBACK.to_owned(),
    }
}

/// Whose function this is: the name without module, signature and verbs. The C library's own allocator is called by its
/// name.
fn owner(function: &str) -> String {
    let name = function.rsplit_once('!').map_or(function, |(_, name)| name);
    let name = name.split(['(', '<']).next().unwrap_or(name);
    let mut path: Vec<&str> = name.split("::").filter(|part| !part.is_empty()).collect();
    let Some(last) = path.pop() else { return FALLBACK.to_owned() };
    // A clone such as `r_alloc.constprop.0` is named after its original.
    let last = last.split('.').next().unwrap_or(last);
    if path.is_empty() && matches!(last, "malloc" | "calloc" | "realloc") {
        return "malloc".to_owned();
    }
    let parts = words(last);
    // `arena_push_no_zero` is about an arena; `new_page` and `get_block` are about nobody.
    let verb = parts.iter().position(|word| is_one_of(&VERBS, word)).unwrap_or(parts.len());
    let mut says_whose = parts.get(..verb).unwrap_or_default();
    while let Some((word, rest)) = says_whose.split_last()
        && is_one_of(&TRIMMINGS, word)
    {
        says_whose = rest;
    }
    let own = says_whose.first().zip(says_whose.last()).and_then(|(first, end)| {
        let (from, to) = (offset(last, first), offset(last, end) + end.len());
        last.get(from..to)
    });
    let parent = path.last().filter(|parent| !is_one_of(&VERBS, parent));
    own.or(parent.copied()).unwrap_or(FALLBACK).to_owned()
}

/// Where a part of a text begins in it.
fn offset(text: &str, part: &str) -> usize {
    (part.as_ptr() as usize).wrapping_sub(text.as_ptr() as usize)
}

fn is_one_of(list: &[&str], word: &str) -> bool {
    list.contains(&word.to_ascii_lowercase().as_str())
}

/// The parts of a name: split at underscores and at `camelCase` humps. They are slices of it.
fn words(name: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    for piece in name.split('_').filter(|piece| !piece.is_empty()) {
        let mut rest = piece;
        while let Some(hump) = hump(rest) {
            let (word, after) = rest.split_at(hump);
            parts.push(word);
            rest = after;
        }
        parts.push(rest);
    }
    parts
}

/// Where a capital follows a small letter.
fn hump(text: &str) -> Option<usize> {
    let mut before = false;
    text.char_indices().find_map(|(at, letter)| {
        let found = before && letter.is_ascii_uppercase();
        before = letter.is_ascii_lowercase();
        found.then_some(at)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use alloc::vec;
    use arenascope_event::{Result_, RoleDecl};

    fn hook(role: Role, function: &str, status: HookStatus) -> HookFact {
        let decl = RoleDecl { role, function: function.to_string(), arguments: vec![], result: Result_::Block };
        HookFact {
            decl,
            module: String::new(),
            address: Default::default(),
            status,
            synchronises: Default::default(),
            markers: None,
        }
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
            ("arena_push_no_zero", "arena"),
            ("ArenaPushNoZero", "Arena"),
            ("arenaAllocZero", "arena"),
            ("mem_pool_alloc", "mem_pool"),
            ("MemPool_Get", "MemPool"),
            ("_arena_alloc", "arena"),
            ("new_page", "arena"),
            ("alloc::alloc::alloc", "arena"),
            ("malloc", "malloc"),
            ("libc.so.6!malloc", "malloc"),
            ("operator new(unsigned long)", "operator new"),
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

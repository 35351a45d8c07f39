//! How far the events of a run can be trusted to be all there were: what rules ask before they accuse.
//!
//! May be relied on: answers depend on facts and state alone, so they are final only at the end. Absent on purpose: what
//! a rule does with a doubt.

use alloc::format;
use alloc::string::String;
use arenascope_event::{HookFact, HookStatus, ProcessFacts, Role};
use arenascope_replay::{Arena, State};

/// Names of the C and C++ libraries' own allocator functions. Its family is large, blocks of one member are given back to
/// another, and some of it runs before anything can be watched.
const LIBRARY: [&str; 22] = [
    "malloc",
    "calloc",
    "realloc",
    "reallocarray",
    "free",
    "cfree",
    "memalign",
    "aligned_alloc",
    "posix_memalign",
    "valloc",
    "pvalloc",
    "strdup",
    "strndup",
    "__libc_malloc",
    "__libc_free",
    "__libc_calloc",
    "__libc_realloc",
    "_Znwm",
    "_Znam",
    "_ZdlPv",
    "_ZdaPv",
    "_ZdlPvm",
];

/// The function's name without the module before it and the signature or clone suffix behind it.
fn plain(function: &str) -> &str {
    let name = function.rsplit_once('!').map_or(function, |(_, name)| name);
    let name = name.split_once('(').map_or(name, |(name, _)| name);
    name.split_once('.').map_or(name, |(name, _)| name)
}

fn of_the_library(hook: &HookFact) -> bool {
    let name = plain(&hook.decl.function);
    LIBRARY.contains(&name) || name.starts_with("operator new") || name.starts_with("operator delete")
}

/// True when `arena` may be the C library's own allocator, whose calls are never all seen.
pub(crate) fn is_library(facts: &ProcessFacts, arena: &Arena) -> bool {
    arena.object.is_null() && facts.hooks.iter().any(of_the_library)
}

/// The first watched function of these roles that some calls of go unseen, and why.
pub(crate) fn unseen(facts: &ProcessFacts, roles: &[Role]) -> Option<String> {
    facts.hooks.iter().filter(|hook| roles.contains(&hook.decl.role)).find_map(|hook| match &hook.status {
        HookStatus::Watched => None,
        HookStatus::Partly(why) => Some(format!("not every call of {} is seen: {why}", hook.decl.function)),
        HookStatus::NotWatched(why) => Some(format!("{} is not watched: {why}", hook.decl.function)),
    })
}

/// True when every event of this role comes from a marker that the program's author wrote.
pub(crate) fn by_markers(facts: &ProcessFacts, role: Role) -> bool {
    let mut hooks = facts.hooks.iter().filter(|hook| hook.decl.role == role).peekable();
    hooks.peek().is_some() && hooks.all(|hook| hook.markers.is_some())
}

/// Functions that hand out blocks or move them.
pub(crate) const HANDS_OUT: [Role; 2] = [Role::Alloc, Role::Resize];

/// Arena events that are missing from the trace.
pub(crate) fn missing(state: &State, facts: &ProcessFacts) -> u64 {
    facts.lost.events().saturating_add(state.missing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use arenascope_event::{Result_, RoleDecl};

    fn hook(role: Role, function: &str, status: HookStatus) -> HookFact {
        HookFact {
            decl: RoleDecl { role, function: function.into(), arguments: Vec::new(), result: Result_::Ignored },
            module: String::new(),
            address: arenascope_event::Address(1),
            status,
            synchronises: Default::default(),
            markers: None,
        }
    }

    #[test]
    fn the_library_is_known_by_its_functions() {
        for (name, expected) in [
            ("malloc", true),
            ("libc.so.6!free", true),
            ("operator new(unsigned long)", true),
            ("pool_free", false),
            ("free.part.0", true),
            ("freeze", false),
        ] {
            assert_eq!(of_the_library(&hook(Role::Free, name, HookStatus::Watched)), expected, "{name}");
        }
    }

    #[test]
    fn a_partly_watched_function_is_named_with_its_reason() {
        let mut facts = ProcessFacts::default();
        facts.hooks.push(hook(Role::Free, "give_back", HookStatus::Partly("inlined".into())));
        assert_eq!(unseen(&facts, &HANDS_OUT), None);
        facts.hooks.push(hook(Role::Alloc, "get", HookStatus::Partly("2 inlined copies".into())));
        assert_eq!(unseen(&facts, &HANDS_OUT).as_deref(), Some("not every call of get is seen: 2 inlined copies"));
    }
}

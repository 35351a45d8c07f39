//! Hints in names. A hint adds a point to a score, or settles what the code leaves open; it proves nothing.
//!
//! Relied on: case and separators do not matter; only whole parts of a name count (`arena_free_all` has `free`, `freeze`
//! has not).
//! Deliberately absent: languages other than English.

use arenascope_event::Role;

/// The parts of a name, lower case: split at underscores and at lower-to-upper steps.
fn parts(name: &str) -> Vec<String> {
    let mut out = vec![String::new()];
    let mut before = ' ';
    for c in name.chars() {
        if !c.is_alphanumeric() {
            out.push(String::new());
        } else {
            if c.is_uppercase() && before.is_lowercase() {
                out.push(String::new());
            }
            if let Some(last) = out.last_mut() {
                last.extend(c.to_lowercase());
            }
        }
        before = c;
    }
    out.retain(|part| !part.is_empty());
    out
}

/// How many parts a name has.
pub(crate) fn count_parts(name: &str) -> usize {
    parts(name).len()
}

fn any(name: &str, words: &[&str]) -> bool {
    parts(name).iter().any(|part| words.contains(&part.as_str()))
}

/// True when the name sounds like the role.
pub(crate) fn sounds_like(role: Role, name: &str) -> bool {
    let words: &[&str] = match role {
        Role::Create => {
            &["create", "init", "new", "open", "make", "setup", "start", "begin", "build", "construct", "attach"]
        }
        Role::Alloc => &[
            "alloc", "allocate", "malloc", "calloc", "palloc", "new", "get", "push", "bump", "take", "reserve", "grab",
            "obtain", "carve",
        ],
        Role::Resize => &["realloc", "resize", "grow", "extend", "reallocate"],
        Role::Free => {
            &["free", "release", "put", "dealloc", "deallocate", "return", "recycle", "delete", "del", "dispose"]
        }
        Role::Mark => {
            &["mark", "save", "snapshot", "checkpoint", "begin", "tell", "push", "temp", "scope", "savepoint"]
        }
        Role::Rewind => &["rewind", "restore", "release", "pop", "end", "rollback", "reset", "back", "undo", "unwind"],
        Role::Reset => &["reset", "clear", "rewind", "empty", "flush", "restart", "recycle", "clean"],
        Role::Destroy => &[
            "destroy", "free", "close", "del", "delete", "drop", "release", "deinit", "fini", "term", "dispose",
            "cleanup", "kill", "end", "discard", "teardown", "finish",
        ],
    };
    if role == Role::Destroy && name.contains('~') {
        return true;
    }
    any(name, words)
}

/// True when the name says outright that memory is handed out.
pub(crate) fn says_alloc(name: &str) -> bool {
    name.to_lowercase().contains("alloc") || any(name, &["new", "bump", "carve"])
}

/// True when the name sounds like giving spare memory back while the arena lives on.
pub(crate) fn sounds_like_trimming(name: &str) -> bool {
    any(name, &["trim", "shrink", "compact", "gc", "collect", "purge", "prune", "evict"])
}

/// True when the name sounds like a plain question about the arena.
pub(crate) fn sounds_like_question(name: &str) -> bool {
    any(
        name,
        &[
            "used",
            "size",
            "remaining",
            "avail",
            "available",
            "left",
            "count",
            "capacity",
            "len",
            "length",
            "bytes",
            "total",
            "space",
            "usage",
            "free",
        ],
    )
}

/// True when a parameter's name sounds like a number of bytes.
pub(crate) fn is_size(name: &str) -> bool {
    any(
        name,
        &[
            "size", "sz", "bytes", "nbytes", "n", "len", "length", "amount", "nb", "want", "need", "cap", "capacity",
            "reserve", "siz",
        ],
    ) || name.to_lowercase().contains("size")
}

/// True when a parameter's name sounds like an alignment.
pub(crate) fn is_alignment(name: &str) -> bool {
    name.to_lowercase().contains("align") || name == "al"
}

/// True when a parameter's name sounds like a number of elements.
pub(crate) fn is_count(name: &str) -> bool {
    any(name, &["count", "num", "nmemb", "nelem", "elems", "items", "number", "nitems", "cnt"])
}

/// True when a parameter's name sounds like the new one of two sizes.
pub(crate) fn is_new(name: &str) -> bool {
    name.to_lowercase().starts_with("new")
}

/// True when a parameter's name sounds like the name of the arena.
pub(crate) fn is_name(name: &str) -> bool {
    any(name, &["name", "label", "tag", "title", "ident"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_parts_of_names_count() {
        for (role, name, expected) in [
            (Role::Alloc, "arena_alloc", true),
            (Role::Alloc, "PoolAlloc", true),
            (Role::Alloc, "ballocate_x", false),
            (Role::Destroy, "arena_free", true),
            (Role::Destroy, "~Arena", true),
            (Role::Destroy, "freeze", false),
            (Role::Reset, "arenaReset", true),
            (Role::Mark, "m_mark", true),
        ] {
            assert_eq!(sounds_like(role, name), expected, "{name}");
        }
    }
}

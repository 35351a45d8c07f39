//! The word somebody probably meant.

/// What people write for one of our words.
const SYNONYMS: &[(&str, &[&str])] = &[
    ("arena", &["pool", "region", "heap", "zone", "ctx", "context", "allocator", "obstack", "self", "this"]),
    ("*arena", &["**arena", "arena*", "&arena", "arena_out", "out_arena"]),
    ("size", &["n", "len", "length", "bytes", "sz", "nbytes", "new_size", "newsize", "capacity", "cap"]),
    ("count", &["num", "nmemb", "nelem", "elements", "items"]),
    ("block", &["ptr", "pointer", "p", "mem", "memory", "void*", "char*", "old", "addr", "address", "object"]),
    ("*block", &["**block", "block*", "&block", "out", "memptr"]),
    ("align", &["alignment", "al"]),
    ("parent", &["parent_arena", "parent_pool"]),
    ("name", &["label", "tag", "title"]),
    ("mark", &["checkpoint", "position", "pos", "cursor", "savepoint", "snapshot"]),
    ("*mark", &["**mark", "mark*", "&mark"]),
    ("_", &["void", "int", "bool", "ignored", "ignore", "other", "any", "none", "-", "?"]),
    ("create", &["init", "new", "make", "open", "construct"]),
    ("alloc", &["malloc", "allocate", "calloc", "get"]),
    ("resize", &["realloc", "grow", "reallocate", "extend"]),
    ("free", &["dealloc", "release", "deallocate", "put"]),
    ("mark", &["save", "push"]),
    ("rewind", &["restore", "rollback", "pop"]),
    ("reset", &["clear", "empty"]),
    ("destroy", &["delete", "drop", "deinit", "close", "fini"]),
];

/// The one of `words` closest to `word`: a known synonym, another case, or at most two slips away (one for words of up
/// to four letters). `None` when nothing is close.
pub(crate) fn nearest<'a>(word: &str, words: &[&'a str]) -> Option<&'a str> {
    let word = word.to_lowercase();
    let synonym = SYNONYMS
        .iter()
        .filter(|(_, synonyms)| synonyms.contains(&word.as_str()))
        .find_map(|(ours, _)| words.iter().find(|candidate| *candidate == ours));
    if synonym.is_some() {
        return synonym.copied();
    }
    let letters: Vec<char> = word.chars().collect();
    // Longer than any word of ours by more than the slips allowed: not a slip.
    if letters.len() > 16 {
        return None;
    }
    let allowed = if letters.len() <= 4 { 1 } else { 2 };
    words
        .iter()
        .filter(|candidate| **candidate != "_")
        .map(|candidate| (slips(&letters, &candidate.chars().collect::<Vec<_>>()), *candidate))
        .filter(|(slips, candidate)| *slips <= allowed && *slips < candidate.chars().count())
        .min_by_key(|(slips, _)| *slips)
        .map(|(_, candidate)| candidate)
}

/// Insertions, deletions, replacements and swaps of neighbours that turn `a` into `b` (optimal string alignment).
fn slips(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let replaced = above.get(j).copied().unwrap_or(0) + usize::from(x != y);
            let deleted = above.get(j + 1).copied().unwrap_or(0) + 1;
            let inserted = row.last().copied().unwrap_or(0) + 1;
            let mut best = replaced.min(deleted).min(inserted);
            let swapped = i > 0 && j > 0 && a.get(i - 1) == Some(y) && b.get(j - 1) == Some(x);
            if swapped {
                best = best.min(before.get(j - 1).copied().unwrap_or(0) + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut above, row);
    }
    above.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn slips_cases_and_synonyms_are_understood() {
        let words = ["_", "arena", "*arena", "size", "count", "block", "align", "mark"];
        for (word, meant) in [
            ("arean", Some("arena")),
            ("Arena", Some("arena")),
            ("areena", Some("arena")),
            ("siz", Some("size")),
            ("bolck", Some("block")),
            ("ptr", Some("block")),
            ("pool", Some("arena")),
            ("alignment", Some("align")),
            ("**arena", Some("*arena")),
            ("void", Some("_")),
            ("frobnicate", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, &words), meant, "{word:?}");
        }
    }
}

//! The rules of the house that a line can show: heads, names, unfinished words and merges, size, SAFETY comments.

use crate::sources::{Source, code_only, has_word};

/// Names that say nothing about their contents.
const EMPTY_NAMES: &[&str] = &["util", "utils", "common", "helper", "helpers", "manager", "misc"];

/// Longer than this, a file answers more than one question.
const CROWDED_LINES: usize = 900;

/// A SAFETY comment stands at most this many lines above its block.
const SAFETY_REACH: usize = 6;

/// Every breach, in the order of the sources.
pub fn complaints(rust: &[Source]) -> Vec<String> {
    rust.iter().flat_map(file).collect()
}

/// Marks that a merge left in a file.
pub fn half_merged(source: &Source) -> Vec<String> {
    let marks = ["<<<<<<< ", ">>>>>>> "];
    let lines = source.text.lines().enumerate().filter(|(_, line)| marks.iter().any(|mark| line.starts_with(mark)));
    lines.map(|(at, _)| format!("{}:{}: a merge is not finished", source.path, at + 1)).collect()
}

fn file(source: &Source) -> Vec<String> {
    let path = &source.path;
    let code = code_only(&source.text);
    let mut complaints = Vec::new();
    if !source.text.trim_start().starts_with("//!") {
        complaints.push(format!("{path}: does not open with a `//!` head (what lives here, what may be relied on)"));
    }
    for part in path.split('/') {
        let name = part.strip_suffix(".rs").unwrap_or(part);
        if EMPTY_NAMES.contains(&name) {
            complaints.push(format!("{path}: `{name}` is no name"));
        }
    }
    let lines = source.text.lines().count();
    if lines > CROWDED_LINES {
        complaints.push(format!("{path}: {lines} lines: does it still answer one question?"));
    }
    let text_lines: Vec<&str> = source.text.lines().collect();
    for (at, line) in code.lines().enumerate() {
        let here = format!("{path}:{}", at + 1);
        for word in ["todo!", "unimplemented!", "dbg!"] {
            if line.contains(word) {
                complaints.push(format!("{here}: `{word}`"));
            }
        }
        if line.trim() == "#[ignore]" {
            complaints.push(format!("{here}: #[ignore] without a reason"));
        }
        let opens = line.match_indices("unsafe").any(|(i, _)| {
            let after = line[i + "unsafe".len()..].trim_start();
            has_word(&line[i..], "unsafe") && (after.starts_with('{') || after.starts_with("impl"))
        });
        if opens {
            let first = at.saturating_sub(SAFETY_REACH);
            let said = text_lines.get(first..=at).into_iter().flatten().any(|line| line.contains("SAFETY"));
            if !said {
                complaints.push(format!("{here}: unsafe without SAFETY in the {SAFETY_REACH} lines above"));
            }
        }
    }
    for (at, line) in text_lines.iter().enumerate() {
        for word in ["FIXME", "XXX"] {
            // Named in a literal, as here, is not said.
            if has_word(line, word) && line.trim_start().starts_with("//") {
                complaints.push(format!("{path}:{}: {word}", at + 1));
            }
        }
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, text: &str) -> usize {
        let found = complaints(&[Source { path: path.into(), text: text.into() }]);
        found.len()
    }

    #[test]
    fn what_a_merge_left_is_seen_in_any_text() {
        let left = |text: &str| half_merged(&Source { path: "a.md".into(), text: text.into() }).len();
        assert_eq!(left("a\n<<<<<<< HEAD\nb\n=======\nc\n>>>>>>> 1234567 (d)\n"), 2);
        assert_eq!(left("a heading\n=======\n1 <<<<<<< 2\n"), 0);
    }

    #[test]
    fn each_rule_bites_and_a_good_file_passes() {
        assert_eq!(check("a/b.rs", "//! Head.\nfn f() {}\n"), 0);
        assert_eq!(check("a/b.rs", "fn f() {}\n"), 1);
        assert_eq!(check("a/helpers.rs", "//! Head.\n"), 1);
        assert_eq!(check("a/util/b.rs", "//! Head.\n"), 1);
        assert_eq!(check("a/b.rs", "//! Head.\nfn f() { todo!() }\n"), 1);
        assert_eq!(check("a/b.rs", "//! Head.\n#[ignore]\nfn f() {}\n"), 1);
        assert_eq!(check("a/b.rs", "//! Head.\n#[ignore = \"takes an hour\"]\nfn f() {}\n"), 0);
        assert_eq!(check("a/b.rs", "//! Head.\nfn f() { unsafe { g() } }\n"), 1);
        assert_eq!(check("a/b.rs", "//! Head.\n// SAFETY: g has no conditions.\nfn f() { unsafe { g() } }\n"), 0);
        assert_eq!(check("a/b.rs", "//! Head.\n// FIXME later\n"), 1);
        assert_eq!(check("a/b.rs", &format!("//! Head.\n{}", "\n".repeat(CROWDED_LINES))), 1);
    }
}

//! The project's files as the rules see them: paths relative to the root, texts, and Rust code without its comments and
//! literals.
//!
//! Walks the folders itself, so that it works without git. Deliberately absent: parsing. A line is enough for every rule.

use crate::steps;
use std::path::Path;

/// One file of the project.
pub struct Source {
    /// Path relative to the root, with `/`.
    pub path: String,
    /// Its text.
    pub text: String,
}

/// All files whose name ends with `extension`, sorted by path. Skips target, hidden folders and fuzzing's leftovers.
pub fn with_extension(extension: &str) -> Result<Vec<Source>, String> {
    let root = steps::root();
    let mut found = Vec::new();
    walk(&root, &root, extension, &mut found)?;
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

fn walk(root: &Path, folder: &Path, extension: &str, found: &mut Vec<Source>) -> Result<(), String> {
    let entries = std::fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    for entry in entries {
        let entry = entry.map_err(|error| format!("{}: {error}", folder.display()))?;
        let path = entry.path();
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if path.is_dir() {
            if !name.starts_with('.') && !["target", "corpus", "artifacts"].contains(&name.as_ref()) {
                walk(root, &path, extension, found)?;
            }
        } else if name.rsplit_once('.').is_some_and(|(_, ending)| ending == extension) {
            let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
            let path = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
            found.push(Source { path, text });
        }
    }
    Ok(())
}

/// Rust code with comments, string and character literals blanked out; line breaks stay where they were.
pub fn code_only(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let mut out = String::with_capacity(text.len());
    let mut i = 0;
    while i < chars.len() {
        let start = i;
        match at(i) {
            '/' if at(i + 1) == '/' => {
                while i < chars.len() && at(i) != '\n' {
                    i += 1;
                }
            }
            '/' if at(i + 1) == '*' => {
                let mut depth = 0usize;
                while i < chars.len() {
                    if at(i) == '/' && at(i + 1) == '*' {
                        depth += 1;
                        i += 2;
                    } else if at(i) == '*' && at(i + 1) == '/' {
                        depth -= 1;
                        i += 2;
                        if depth == 0 {
                            break;
                        }
                    } else {
                        i += 1;
                    }
                }
            }
            '"' => i = after_string(&chars, i),
            'r' if !is_word(at(i.wrapping_sub(1))) && (at(i + 1) == '"' || at(i + 1) == '#') => {
                let mut hashes = 0;
                while at(i + 1 + hashes) == '#' {
                    hashes += 1;
                }
                if at(i + 1 + hashes) == '"' {
                    i = after_raw_string(&chars, i + 2 + hashes, hashes);
                } else {
                    out.push('r');
                    i += 1;
                    continue;
                }
            }
            // A lifetime has no closing quote one or two places on; a character literal has.
            '\'' if at(i + 1) == '\\' => {
                i += 3;
                while i < chars.len() && at(i) != '\'' {
                    i += 1;
                }
                i += 1;
            }
            '\'' if at(i + 2) == '\'' => i += 3,
            other => {
                out.push(other);
                i += 1;
                continue;
            }
        }
        for c in chars.iter().take(i.min(chars.len())).skip(start) {
            out.push(if *c == '\n' { '\n' } else { ' ' });
        }
    }
    out
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn after_string(chars: &[char], open: usize) -> usize {
    let mut i = open + 1;
    while let Some(c) = chars.get(i) {
        match c {
            '\\' => i += 2,
            '"' => return i + 1,
            _ => i += 1,
        }
    }
    i
}

fn after_raw_string(chars: &[char], first: usize, hashes: usize) -> usize {
    let mut i = first;
    while let Some(c) = chars.get(i) {
        if *c == '"' && (1..=hashes).all(|h| chars.get(i + h) == Some(&'#')) {
            return i + 1 + hashes;
        }
        i += 1;
    }
    i
}

/// True when `word` stands in `line` with no letter, digit or underscore beside it.
pub fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back().is_none_or(|c| !is_word(c));
        let after = line[at + word.len()..].chars().next().is_none_or(|c| !is_word(c));
        before && after
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blank_and_lines_stay() {
        let text = "let a = \"unsafe {\"; // unsafe\n/* unsafe\n/* x */ */ let b = 'u'; let c = '\\n';\nlet d: &'static str = r#\"unsafe \"quoted\"\"#; unsafe { }";
        let code = code_only(text);
        assert_eq!(code.lines().count(), text.lines().count());
        assert_eq!(code.matches("unsafe").count(), 1, "{code}");
        assert!(code.contains("&'static str"));
        assert!(code.contains("let b ="));
    }

    #[test]
    fn words_are_whole() {
        assert!(has_word("unsafe {", "unsafe"));
        assert!(!has_word("unsafe_code", "unsafe"));
        assert!(!has_word("my_unsafe", "unsafe"));
    }
}

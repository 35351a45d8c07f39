//! Where unsafe code is: counted per file, compared with a list that is checked in.
//!
//! The list (`xtask/unsafe.txt`) holds a count and a path a line, so that a rise shows in review.

use crate::sources::{self, Source};
use crate::steps;
use std::collections::BTreeMap;

const LIST: &str = "xtask/unsafe.txt";

/// Prints files and counts.
pub fn print() -> Result<(), String> {
    let counts = counts(&sources::with_extension("rs")?);
    for (path, count) in &counts {
        println!("{count:5}  {path}");
    }
    println!("{:5}  in {} files", counts.values().sum::<usize>(), counts.len());
    Ok(())
}

/// Renews the checked-in list.
pub fn write() -> Result<(), String> {
    let mut text = String::from(
        "# Files that may hold unsafe code, and how much. Renew with `cargo xtask unsafe --write`; a rise needs a reason.\n",
    );
    for (path, count) in counts(&sources::with_extension("rs")?) {
        text.push_str(&format!("{count} {path}\n"));
    }
    let path = steps::root().join(LIST);
    std::fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))
}

/// What differs between the sources and the list; empty when nothing does.
pub fn complaints(rust: &[Source]) -> Result<Vec<String>, String> {
    let path = steps::root().join(LIST);
    let list = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(differences(&counts(rust), &list))
}

/// Unsafe blocks, functions, impls, extern blocks and attributes of each file that has any.
fn counts(rust: &[Source]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for source in rust {
        let code = sources::code_only(&source.text);
        let count = code.lines().map(line_count).sum::<usize>();
        if count > 0 {
            counts.insert(source.path.clone(), count);
        }
    }
    counts
}

fn line_count(line: &str) -> usize {
    let mut rest = line;
    let mut count = 0;
    while let Some(at) = rest.find("unsafe") {
        let after = &rest[at + "unsafe".len()..];
        let whole = !after.starts_with(|c: char| c.is_alphanumeric() || c == '_')
            && !rest[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        count += usize::from(whole);
        rest = after;
    }
    count
}

fn differences(counts: &BTreeMap<String, usize>, list: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut listed = BTreeMap::new();
    for line in list.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty()) {
        match line.split_once(' ').and_then(|(count, path)| Some((path, count.parse::<usize>().ok()?))) {
            Some((path, count)) => {
                listed.insert(path, count);
            }
            None => complaints.push(format!("{LIST}: not `COUNT PATH`: {line}")),
        }
    }
    for (path, count) in counts {
        match listed.get(path.as_str()) {
            None => complaints.push(format!("{path}: unsafe code in a file that {LIST} does not list")),
            Some(known) if known != count => complaints
                .push(format!("{path}: {count} times unsafe, {LIST} says {known} (cargo xtask unsafe --write)")),
            Some(_) => {}
        }
    }
    for path in listed.keys().filter(|path| !counts.contains_key(**path)) {
        complaints.push(format!("{LIST}: {path} holds no unsafe code any more (cargo xtask unsafe --write)"));
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(path: &str, text: &str) -> Source {
        Source { path: path.into(), text: text.into() }
    }

    #[test]
    fn a_new_file_a_rise_and_a_stale_line_are_each_named() {
        let counts = counts(&[
            source("a.rs", "unsafe { x() }\n#[unsafe(naked)]\nunsafe fn f() {}"),
            source("b.rs", "#![forbid(unsafe_code)] // unsafe"),
            source("c.rs", "unsafe impl Send for X {}"),
        ]);
        assert_eq!(counts.get("a.rs"), Some(&3));
        assert_eq!(counts.get("b.rs"), None);
        assert_eq!(differences(&counts, "# head\n3 a.rs\n1 c.rs\n"), Vec::<String>::new());
        let wrong = differences(&counts, "2 a.rs\n1 gone.rs\nnonsense\n");
        assert_eq!(wrong.len(), 4, "{wrong:?}");
    }
}

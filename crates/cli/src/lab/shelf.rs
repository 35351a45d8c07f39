//! Which labs there are: found by number, name or folder, and unpacked.
//!
//! A lab is a `NAME.expected.json` in a folder of `labs/`; its program is `NAME.c` unless the expectation names another one, its
//! mended twin `NAME_mended.c`. Its number is the name up to the first `_`. Relied on: the same list in every run, in the order
//! of the numbers. Deliberately absent: running anything.

use crate::error::CliError;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Every file under `labs/` as (path in it, text).
const FILES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/labs.rs"));

const EXPECTED: &str = ".expected.json";

/// One lab.
#[derive(Clone, Debug)]
pub struct Lab {
    /// `12a`.
    pub number: &'static str,
    /// `12a_double_free`.
    pub name: &'static str,
    /// `12_double_free`.
    pub folder: &'static str,
    /// What must come out: an object, or a list of objects, one for each run.
    pub expected: Value,
}

impl Lab {
    /// What it shows, in a line.
    pub fn shows(&self) -> &str {
        self.runs().first().and_then(|run| run["shows"].as_str()).unwrap_or("")
    }

    /// One object for each run of the program.
    pub fn runs(&self) -> &[Value] {
        match &self.expected {
            Value::Array(runs) => runs,
            run => std::slice::from_ref(run),
        }
    }

    /// The C file of this run, in the lab's folder.
    pub fn source(&self, run: &Value) -> String {
        run["source"].as_str().map_or_else(|| format!("{}.c", self.name), str::to_owned)
    }

    /// The corrected twin's name, where there is one.
    pub fn mended(&self) -> Option<String> {
        let name = format!("{}_mended", self.name);
        self.text(&format!("{name}.c")).map(|_| name)
    }

    /// The text of a file of the lab's folder.
    pub fn text(&self, file: &str) -> Option<&'static str> {
        let path = format!("{}/{file}", self.folder);
        FILES.iter().find(|(name, _)| *name == path).map(|(_, text)| *text)
    }

    /// Rust files that belong to this lab, by name.
    pub fn rust(&self) -> Vec<&'static str> {
        let inside = |path: &'static str| path.strip_prefix(self.folder)?.strip_prefix('/');
        let files = FILES.iter().filter_map(|(path, _)| inside(path));
        files.filter(|file| file.ends_with(".rs") && stem_belongs(file, self.name)).collect()
    }

    /// What the folder's README says about it: the item of "What you see" that begins with its number.
    pub fn explanation(&self) -> Option<String> {
        let readme = self.text("README.md")?;
        let seen = readme.split("\n## ").find(|part| part.starts_with("What you see"))?;
        let item = format!("- {}: ", self.number);
        let mut lines = seen.lines().skip_while(|line| !line.starts_with(&item));
        let mut text = vec![lines.next()?.strip_prefix(&item)?.to_owned()];
        text.extend(lines.take_while(|line| line.starts_with("  ")).map(|line| line.trim().to_owned()));
        Some(text.join("\n"))
    }
}

/// `NAME.rs`, or `NAME_….rs` (the twin that does not compile).
fn stem_belongs(file: &str, name: &str) -> bool {
    let stem = file.trim_end_matches(".rs");
    stem == name || stem.strip_prefix(name).is_some_and(|rest| rest.starts_with('_'))
}

/// All labs, in the order of their numbers.
///
/// # Errors
/// An expectation that is no JSON.
pub fn all() -> Result<Vec<Lab>, CliError> {
    let mut labs = Vec::new();
    for (path, text) in FILES {
        let Some((folder, name)) = path.strip_suffix(EXPECTED).and_then(|path| path.split_once('/')) else { continue };
        let expected = serde_json::from_str(text).map_err(|error| CliError::usage(format!("labs/{path}: {error}")))?;
        labs.push(Lab { number: name.split('_').next().unwrap_or(name), name, folder, expected });
    }
    labs.sort_by_key(|lab| lab.number);
    Ok(labs)
}

/// The labs that a word means: a number (`12a`), a name, a folder or its number (`12`).
///
/// # Errors
/// Usage, with all numbers, when it means none.
pub fn find(word: &str) -> Result<Vec<Lab>, CliError> {
    let labs = all()?;
    let stem = word.trim_end_matches(".c").rsplit('/').next().unwrap_or(word);
    let exactly = |lab: &&Lab| lab.number == stem || lab.name == stem;
    let in_folder = |lab: &&Lab| {
        let word = word.trim_end_matches('/').rsplit('/').next().unwrap_or(word);
        lab.folder == word || lab.folder.split('_').next() == Some(word)
    };
    let mut found: Vec<Lab> = labs.iter().filter(exactly).cloned().collect();
    if found.is_empty() {
        found = labs.iter().filter(in_folder).cloned().collect();
    }
    if found.is_empty() {
        let numbers: Vec<&str> = labs.iter().map(|lab| lab.number).collect();
        return Err(CliError::usage(format!("no lab is called {word}"))
            .hint(format!("one of {}; arenascope lab list says what each shows", numbers.join(" "))));
    }
    Ok(found)
}

/// Writes every file below `folder`. A file that is there with other contents is left, and an error.
///
/// # Errors
/// Status 2, with the file's name.
pub fn unpack(folder: &Path) -> Result<(), CliError> {
    for (path, text) in FILES {
        let to: PathBuf = folder.join(path);
        let complain = |error: std::io::Error| CliError::usage(format!("{}: {error}", to.display()));
        if let Some(parent) = to.parent() {
            std::fs::create_dir_all(parent).map_err(complain)?;
        }
        match std::fs::read(&to) {
            Ok(there) if there == text.as_bytes() => continue,
            Ok(_) => {
                return Err(CliError::usage(format!("{} is there already, with other contents", to.display()))
                    .hint("--into another folder, or move the file away"));
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(complain(error)),
        }
        std::fs::write(&to, text).map_err(complain)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lab_is_found_by_number_name_folder_and_path() {
        let names = |word: &str| find(word).map(|labs| labs.iter().map(|lab| lab.name).collect::<Vec<_>>());
        let one = ["09b_arena_scope_leak_tracer"];
        for word in [
            "09b",
            one[0],
            "09b_arena_scope_leak_tracer.c",
            "labs/09_arena_allocator_scope_test/09b_arena_scope_leak_tracer.c",
        ] {
            assert_eq!(names(word).expect(word), one, "{word}");
        }
        assert!(names("09").expect("a folder").len() >= 5);
        assert_eq!(names("09").expect("by number"), names("labs/09_arena_allocator_scope_test/").expect("by path"));
        let error = find("99x").expect_err("there is none").to_string();
        assert!(error.contains("99x") && error.contains("09b") && error.contains("12a"), "{error}");
    }

    #[test]
    fn every_lab_says_what_it_shows_and_its_readme_explains_it() {
        let labs = all().expect("expectations are JSON");
        assert!(labs.len() >= 20, "{}", labs.len());
        for lab in &labs {
            assert!(!lab.shows().is_empty() && lab.shows().len() < 100, "{}: {:?}", lab.name, lab.shows());
            assert!(lab.explanation().is_some_and(|text| text.len() > 60), "{}: README, What you see", lab.name);
            for run in lab.runs() {
                assert!(lab.text(&lab.source(run)).is_some(), "{}: {} is not there", lab.name, lab.source(run));
            }
        }
        for heading in ["Goal", "Run", "What you see", "What you learned", "Blind spots", "Review triggers", "Next"] {
            for lab in &labs {
                let readme = lab.text("README.md").unwrap_or("");
                assert!(readme.contains(&format!("\n## {heading}\n")), "{}: README has no {heading}", lab.folder);
            }
        }
    }

    #[test]
    fn unpacking_twice_changes_nothing_and_overwrites_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        unpack(folder.path()).expect("the first time");
        unpack(folder.path()).expect("the second time");
        let file = folder.path().join("09_arena_allocator_scope_test/09b_arena_scope_leak_tracer.c");
        std::fs::write(&file, "mine").expect("a write");
        assert!(unpack(folder.path()).expect_err("it is another file").to_string().contains("09b_arena_scope"));
        assert_eq!(std::fs::read(&file).expect("still there"), b"mine");
    }
}

//! The "never" rules that imports alone do not show: what the code of a layer must not say.
//!
//! Tests are free: only `src/` counts, and of a file only what stands before its `#[cfg(test)]`.

use super::arrows::{Row, Runs};
use crate::sources::{Source, code_only, has_word};

/// A rule: for these crates, none of these texts in code, because.
struct Never {
    applies: fn(&Row) -> bool,
    texts: &'static [&'static str],
    because: &'static str,
    /// It is about code that runs in the target.
    in_target: bool,
}

const NEVER: &[Never] = &[
    Never {
        applies: |row| row.runs == Runs::Target,
        texts: &["std::", "println!", "eprintln!"],
        because: "what runs in the target never uses the standard library",
        in_target: true,
    },
    Never {
        applies: |row| ["agent", "record"].contains(&row.name.as_str()),
        texts: &["format!", "write!", "writeln!", "alloc::"],
        because: "what runs on the hook path never formats text and never allocates",
        in_target: true,
    },
    Never {
        applies: |row| ["replay", "findings"].contains(&row.name.as_str()),
        texts: &["std::", "HashMap", "HashSet"],
        because: "same events, same findings: no files, clock, threads, environment or random order",
        in_target: false,
    },
    Never {
        applies: |row| row.name != "cli",
        texts: &["println!", "eprintln!", "print!", "eprint!", "dbg!"],
        because: "only cli owns a terminal",
        in_target: false,
    },
    Never {
        applies: |row| row.name == "report",
        texts: &["arenascope_trace", "std::fs", "std::env", "std::io"],
        because: "views never parse traces and never touch the outside",
        in_target: false,
    },
    Never {
        applies: |row| ["event", "record", "trace", "replay", "agent", "plan"].contains(&row.name.as_str()),
        texts: &["serde"],
        because: "core types carry no serialisation; each outside format has its own structs at its edge",
        in_target: false,
    },
];

/// Files of a crate in the target that are there only with a feature, for which no crate in the target may ask (`arrows`): the recorder's
/// face for programs that link it, which are written with std.
const WITH_STD: &str = "crates/record/src/inside/";

/// Crates whose root must say `#![no_std]` (all in the target, and these) and those that must forbid unsafe code.
const NO_STD: &[&str] = &["arenascope", "replay", "findings"];
const FORBID_UNSAFE: &[&str] = &[
    "event", "plan", "roles", "trace", "code", "shapes", "replay", "findings", "headers", "report", "test", "testkit",
    "unwind",
];

/// Every breach.
pub fn complaints(table: &[Row], rust: &[Source]) -> Vec<String> {
    let mut complaints = Vec::new();
    for row in table {
        let folder = format!("crates/{}/src/", row.name);
        for source in rust.iter().filter(|source| source.path.starts_with(&folder)) {
            let code = code_only(before_tests(&source.text));
            let with_std = source.path.starts_with(WITH_STD);
            for never in NEVER.iter().filter(|never| (never.applies)(row) && !(with_std && never.in_target)) {
                for text in never.texts {
                    if let Some(line) = code.lines().position(|line| says(line, text)) {
                        complaints.push(format!("{}:{}: `{text}`: {}", source.path, line + 1, never.because));
                    }
                }
            }
            if source.path.ends_with("/src/lib.rs") {
                let needs_no_std = row.runs == Runs::Target || NO_STD.contains(&row.name.as_str());
                if needs_no_std && !code.contains("#![no_std]") && !code.contains("no_std)]") {
                    complaints.push(format!("{}: must be #![no_std]", source.path));
                }
                if FORBID_UNSAFE.contains(&row.name.as_str()) && !code.contains("#![forbid(unsafe_code)]") {
                    complaints.push(format!("{}: must be #![forbid(unsafe_code)]", source.path));
                }
            }
        }
    }
    complaints
}

fn before_tests(text: &str) -> &str {
    // A `#[cfg(test)] mod x;` line ends nothing; the inline module at a file's end does.
    // Tests that share what they are made of are seen by each other.
    let begins = ["#[cfg(test)]\nmod tests {", "#[cfg(test)]\npub(crate) mod tests {"];
    match begins.iter().find_map(|begin| text.find(begin)) {
        Some(at) => &text[..at],
        None => text,
    }
}

/// A path or macro is looked for as it stands; a bare word as a whole word.
fn says(line: &str, text: &str) -> bool {
    match text.strip_suffix(['!', ':']) {
        Some(_) => line
            .match_indices(text)
            .any(|(at, _)| line[..at].chars().next_back().is_none_or(|c| !c.is_alphanumeric() && c != '_' && c != ':')),
        None => has_word(line, text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn row(name: &str, runs: Runs) -> Row {
        Row { name: name.into(), imports: BTreeSet::new(), runs }
    }

    fn check(name: &str, runs: Runs, text: &str) -> Vec<String> {
        let source = Source { path: format!("crates/{name}/src/lib.rs"), text: text.into() };
        complaints(&[row(name, runs)], &[source])
    }

    #[test]
    fn each_never_bites() {
        assert_eq!(check("replay", Runs::Launcher, "#![no_std]\n#![forbid(unsafe_code)]\nuse core::fmt;").len(), 0);
        assert_eq!(check("replay", Runs::Launcher, "#![forbid(unsafe_code)]").len(), 1);
        assert_eq!(check("replay", Runs::Launcher, "#![no_std]\n#![forbid(unsafe_code)]\nuse std::fs;").len(), 1);
        assert_eq!(check("record", Runs::Target, "#![no_std]\nfn f() { format!(x) }").len(), 1);
        assert_eq!(check("agent", Runs::Target, "#![no_std]\nuse alloc::vec::Vec;").len(), 1);
        assert_eq!(check("symbols", Runs::Launcher, "fn f() { println!() }").len(), 1);
        assert_eq!(check("report", Runs::Launcher, "#![forbid(unsafe_code)]\nuse arenascope_trace::Trace;").len(), 1);
        assert_eq!(check("cli", Runs::Launcher, "fn main() { println!() }").len(), 0);
    }

    #[test]
    fn std_is_for_the_recorder_s_feature_and_nothing_else_in_the_target() {
        let check = |path: &str, text: &str| {
            complaints(&[row("record", Runs::Target)], &[Source { path: path.into(), text: text.into() }]).len()
        };
        assert_eq!(check("crates/record/src/inside/file.rs", "use std::fs;"), 0);
        assert_eq!(check("crates/record/src/inside/file.rs", "fn f() { println!() }"), 1);
        assert_eq!(check("crates/record/src/inside.rs", "use std::fs;"), 1);
        assert_eq!(check("crates/record/src/space.rs", "use std::fs;"), 1);
    }

    #[test]
    fn comments_strings_and_tests_are_free() {
        let text = "#![no_std]\n//! std::fs is not used\nconst X: &str = \"println!\";\n#[cfg(test)]\nmod tests { use std::fs; }";
        assert_eq!(check("record", Runs::Target, text), Vec::<String>::new());
    }
}

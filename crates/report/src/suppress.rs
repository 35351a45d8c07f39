//! Suppressions: which findings the user has seen and does not want to be told again.
//!
//! ```text
//! # the parser keeps its blocks elsewhere
//! never-stored:parse_*
//! *:third_party.c
//! ```
//! A line is a rule (or `*` for every rule), a colon, and a pattern in which `*` stands for any run of characters and `?` for
//! one. It is matched against every function, file and module of every place of a finding; of files and modules both the
//! path and its last component may match. May be relied on: pure; what is held back is kept and counted, never dropped.
//! Absent: reading the file.

use crate::pattern::glob_matches;
use crate::view::{FindingView, Suppressed, SuppressionView};
use arenascope_findings::RULES;
use std::fmt;

/// One line of the file.
#[derive(Clone, Debug)]
struct Suppression {
    rule: String,
    pattern: Vec<char>,
    view: SuppressionView,
}

/// The lines of a file, and how often each was used.
#[derive(Clone, Debug, Default)]
pub struct Suppressions {
    lines: Vec<Suppression>,
}

/// A line that says nothing we understand.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NotASuppression {
    /// The line, from 1.
    pub line: u32,
    /// What is wrong with it.
    pub what: String,
    /// What was probably meant.
    pub meant: Option<String>,
}

impl fmt::Display for NotASuppression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

impl Suppressions {
    /// Parses the text of a file.
    pub fn parse(text: &str) -> Result<Suppressions, NotASuppression> {
        let mut lines = Vec::new();
        for (index, raw) in text.lines().enumerate() {
            let line = u32::try_from(index + 1).unwrap_or(u32::MAX);
            let raw = raw.strip_prefix('\u{feff}').filter(|_| index == 0).unwrap_or(raw).trim();
            if raw.is_empty() || raw.starts_with('#') {
                continue;
            }
            let Some((rule, pattern)) = raw.split_once(':').map(|(rule, pattern)| (rule.trim(), pattern.trim())) else {
                let what = format!("'{raw}' has no colon: a suppression is rule:pattern");
                return Err(NotASuppression { line, what, meant: meant(raw).map(|rule| format!("{rule}:*")) });
            };
            if rule != "*" && !RULES.iter().any(|known| known.name == rule) {
                let what = format!("there is no rule '{rule}'");
                return Err(NotASuppression { line, what, meant: meant(rule).map(|rule| format!("{rule}:{pattern}")) });
            }
            if pattern.is_empty() {
                let what = format!("'{raw}' has no pattern behind the colon");
                return Err(NotASuppression { line, what, meant: Some(format!("{rule}:*")) });
            }
            let view = SuppressionView { text: raw.to_owned(), line, count: 0 };
            lines.push(Suppression { rule: rule.to_owned(), pattern: pattern.chars().collect(), view });
        }
        Ok(Suppressions { lines })
    }

    /// Takes what is suppressed out of `findings`. A finding counts for the first line that matches it.
    pub fn apply(&self, findings: &mut Vec<FindingView>) -> Suppressed {
        let mut by: Vec<SuppressionView> = self.lines.iter().map(|line| line.view.clone()).collect();
        let mut held = Vec::new();
        let told = std::mem::take(findings);
        for finding in told {
            match self.lines.iter().position(|line| line.matches(&finding)) {
                Some(index) => {
                    if let Some(line) = by.get_mut(index) {
                        line.count += 1;
                    }
                    held.push((finding, index));
                }
                None => findings.push(finding),
            }
        }
        Suppressed { by, findings: held }
    }
}

impl Suppression {
    fn matches(&self, finding: &FindingView) -> bool {
        if self.rule != "*" && self.rule != finding.claim.rule {
            return false;
        }
        let last = |path: &str| path.rsplit('/').next().unwrap_or(path).to_owned();
        let is_meant = |word: &str| !word.is_empty() && glob_matches(&self.pattern, word);
        let frames = finding.sites.iter().flat_map(|(_, site)| &site.frames);
        // A finding without a single place still has a rule to be suppressed by.
        let everything = self.pattern.iter().all(|c| *c == '*');
        everything
            || frames.into_iter().any(|frame| {
                is_meant(&frame.function)
                    || [&frame.file, &frame.module].iter().any(|path| is_meant(path) || is_meant(&last(path)))
            })
    }
}

/// The rule that is spelt most like `word`: one that it begins or contains, else at most three slips away.
fn meant(word: &str) -> Option<&'static str> {
    let word = word.to_lowercase().replace('_', "-");
    let names = || RULES.iter().map(|rule| rule.name);
    let part = names().find(|name| word.len() > 2 && (name.contains(&word) || word.contains(name)));
    let nearest = || names().map(|name| (slips(&word, name), name)).filter(|(slips, _)| *slips <= 3).min();
    part.or_else(|| nearest().map(|(_, name)| name))
}

/// Insertions, deletions and replacements that turn `a` into `b`; a word much longer than a rule is far from all of them.
fn slips(a: &str, b: &str) -> usize {
    if a.len() > 64 {
        return a.len();
    }
    let mut above: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.chars().enumerate() {
            let at = |row: &[usize], index: usize| row.get(index).copied().unwrap_or(usize::MAX - 1);
            let best = (at(&above, j) + usize::from(x != y)).min(at(&above, j + 1) + 1).min(at(&row, j) + 1);
            row.push(best);
        }
        above = row;
    }
    above.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::Site;
    use arenascope_event::{EventNumber, Frame};
    use arenascope_findings::{Certainty, Class, Finding, SiteRole};
    use proptest::prelude::*;
    use std::sync::Arc;

    fn finding(rule: &'static str, frames: &[(&str, &str, &str)]) -> FindingView {
        let frame = |(function, file, module): &(&str, &str, &str)| Frame {
            function: (*function).into(),
            file: (*file).into(),
            module: (*module).into(),
            ..Frame::default()
        };
        let site = Site { frames: frames.iter().map(frame).collect(), ..Site::default() };
        FindingView {
            claim: Finding {
                rule,
                class: Class::Finding,
                certainty: Certainty::Certain,
                message: String::new(),
                arena: None,
                block: None,
                moment: EventNumber(1),
                threads: vec![],
                sites: vec![],
                calls: vec![],
                because: String::new(),
                evidence: vec![],
                disproof: String::new(),
                next: String::new(),
                count: 1,
                bytes: 0,
            },
            sites: vec![(SiteRole::Allocated, Arc::new(site))],
            process: None,
        }
    }

    /// What is left and how often each line was used.
    fn applied(text: &str, findings: &[FindingView]) -> (usize, Vec<u64>) {
        let mut told = findings.to_vec();
        let suppressed = Suppressions::parse(text).expect("lines").apply(&mut told);
        assert_eq!(told.len() + suppressed.findings.len(), findings.len(), "nothing is dropped");
        (told.len(), suppressed.by.iter().map(|line| line.count).collect())
    }

    #[test]
    fn a_pattern_means_functions_files_and_modules_of_any_place() {
        let one = [finding(
            "never-stored",
            &[("push", "/src/vec.c", "/bin/p"), ("ns::parse<int>", "/src/parse.c", "/lib/x.so")],
        )];
        for (text, left) in [
            ("never-stored:push", 0),
            ("never-stored:pus", 1),
            ("never-stored:p?sh", 0),
            ("never-stored:ns::parse*", 0),
            ("never-stored:parse.c", 0),
            ("never-stored:/src/*", 0),
            ("never-stored:x.so", 0),
            ("null-used:push", 1),
            ("*:push", 0),
            ("  never-stored : push  ", 0),
            ("# never-stored:push\n\n", 1),
            ("\u{feff}never-stored:push", 0),
            ("", 1),
        ] {
            assert_eq!(applied(text, &one).0, left, "{text:?}");
        }
        let nowhere = [finding("null-used", &[])];
        assert_eq!(applied("null-used:*", &nowhere).0, 0);
        assert_eq!(applied("null-used:?*", &nowhere).0, 1);
    }

    #[test]
    fn each_finding_counts_for_one_line_and_lines_that_match_nothing_stay() {
        let two = [finding("never-stored", &[("a", "", "")]), finding("never-stored", &[("b", "", "")])];
        assert_eq!(applied("never-stored:a\nnever-stored:*\nnull-used:*\n", &two), (0, vec![1, 1, 0]));
    }

    #[test]
    fn what_is_no_suppression_says_where_and_what_was_meant() {
        for (text, line, part, meant) in [
            ("# ok\nnever-stord:x", 2, "no rule 'never-stord'", Some("never-stored:x")),
            ("null_used:*", 1, "no rule", Some("null-used:*")),
            ("never-stored", 1, "no colon", Some("never-stored:*")),
            ("never-stored:", 1, "no pattern", Some("never-stored:*")),
            ("something quite different:x", 1, "no rule", None),
        ] {
            let error = Suppressions::parse(text).expect_err(text);
            assert_eq!((error.line, error.meant.as_deref()), (line, meant), "{text}");
            assert!(error.to_string().contains(part), "{error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_lines_or_an_error(text in ".*|[a-z*:#\n -]{0,60}") {
            let _ = Suppressions::parse(&text);
        }
    }
}

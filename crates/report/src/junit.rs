//! Findings as JUnit XML, for build servers that draw test results.
//!
//! One test case per finding or note, and one per rule that said nothing: findings fail, notes pass and say their words,
//! what is suppressed is skipped. May be relied on: well-formed XML 1.0 whatever the program called its functions; names
//! of cases are made of rule and place, the same in every run. Absent: times; nothing here took any.

use crate::finding::{self, Telling};
use crate::place::{self, FileNames};
use crate::style::Style;
use crate::view::{FindingView, RunView};
use crate::{escape, screen};
use arenascope_event::Frame;
use arenascope_findings::{Class, RULES};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// The answer of `findings --junit`, with newline.
pub fn report(run: &RunView, names: &FileNames) -> String {
    let mut cases = String::new();
    let mut seen: BTreeMap<String, u64> = BTreeMap::new();
    let suppressed = run.suppressed.findings.iter().map(|(finding, by)| (finding, Some(*by)));
    let told: Vec<(&FindingView, Option<usize>)> =
        run.findings.iter().map(|finding| (finding, None)).chain(suppressed).collect();
    let (mut tests, mut failures, mut skipped) = (0u64, 0u64, 0u64);
    for rule in &RULES {
        let mut silent = true;
        for (finding, by) in told.iter().filter(|(finding, _)| finding.claim.rule == rule.name) {
            silent = false;
            tests += 1;
            let name = unique(&mut seen, &place_of(finding, names));
            let class = attribute(rule.name);
            let _ = writeln!(cases, "    <testcase classname=\"{class}\" name=\"{}\">", attribute(&name));
            let text = content(&told_in_full(finding, run, names));
            let message = attribute(&finding.claim.message);
            match by {
                Some(by) => {
                    skipped += 1;
                    let why = run.suppressed.by.get(*by).map_or("", |line| line.text.as_str());
                    let _ = writeln!(cases, "      <skipped message=\"suppressed by {}\"/>", attribute(why));
                    let _ = writeln!(cases, "      <system-out>{text}</system-out>");
                }
                None if finding.claim.class == Class::Finding => {
                    failures += 1;
                    let kind = attribute(finding.claim.certainty.word());
                    let _ = writeln!(cases, "      <failure message=\"{message}\" type=\"{kind}\">{text}</failure>");
                }
                None => {
                    let _ = writeln!(cases, "      <system-out>{text}</system-out>");
                }
            }
            cases.push_str("    </testcase>\n");
        }
        if silent {
            tests += 1;
            let _ = writeln!(cases, "    <testcase classname=\"{0}\" name=\"{0}\"/>", attribute(rule.name));
        }
    }
    let counts = format!("tests=\"{tests}\" failures=\"{failures}\" errors=\"0\" skipped=\"{skipped}\"");
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let plain = counts.replace(&format!(" skipped=\"{skipped}\""), "");
    let _ = writeln!(text, "<testsuites name=\"arenascope\" {plain}>");
    let _ = writeln!(text, "  <testsuite name=\"{}\" {counts}>", attribute(&run.trace));
    text.push_str("    <properties>\n");
    let figures = [("program", run.program.clone()), ("pid", run.pid.to_string()), ("events", run.events.to_string())];
    for (name, value) in figures {
        let _ = writeln!(text, "      <property name=\"{name}\" value=\"{}\"/>", attribute(&value));
    }
    text.push_str("    </properties>\n");
    text.push_str(&cases);
    let warnings = warnings(run);
    if !warnings.is_empty() {
        let _ = writeln!(text, "    <system-err>{}</system-err>", content(&warnings));
    }
    text.push_str("  </testsuite>\n</testsuites>\n");
    text
}

/// The functions and lines of a finding, else its arena.
fn place_of(finding: &FindingView, names: &FileNames) -> String {
    let mut told = BTreeSet::new();
    let places: Vec<String> = finding
        .sites
        .iter()
        .filter_map(|(_, site)| place::telling_frame(site))
        .map(|frame| one_place(frame, names))
        .filter(|place| told.insert(place.clone()))
        .collect();
    match (places.is_empty(), finding.arena()) {
        (false, _) => places.join(", "),
        (true, Some((_, name))) => format!("arena {name}"),
        (true, None) => "the whole run".to_owned(),
    }
}

/// Without addresses, which differ from run to run.
fn one_place(frame: &Frame, names: &FileNames) -> String {
    let place = if frame.line > 0 || !frame.file.is_empty() {
        names.file_line(frame, &Style::PIPE)
    } else {
        frame.module.rsplit('/').next().unwrap_or_default().to_owned()
    };
    let function = if frame.function.is_empty() { "?" } else { &frame.function };
    if place.is_empty() { function.to_owned() } else { format!("{function} {place}") }
}

fn unique(seen: &mut BTreeMap<String, u64>, name: &str) -> String {
    let times = seen.entry(name.to_owned()).or_default();
    *times += 1;
    if *times == 1 { name.to_owned() } else { format!("{name} ({times})") }
}

fn told_in_full(finding: &FindingView, run: &RunView, names: &FileNames) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = finding::write(
        &mut text,
        finding,
        1,
        Telling { full: true, events: run.events, threads: &run.threads },
        names,
        &Style::PIPE,
    );
    text
}

fn warnings(run: &RunView) -> String {
    let mut text = String::new();
    let _ = screen::losses(&mut text, &run.lost, &Style::PIPE);
    for part in &run.damage {
        let _ = writeln!(text, "DAMAGED  {part}");
    }
    for line in run.suppressed.by.iter().filter(|line| line.count == 0) {
        let _ = writeln!(text, "suppression in line {} matched nothing: {}", line.line, line.text);
    }
    text
}

/// Text between tags: line breaks stay, everything else that XML or a terminal would obey is spelt out.
fn content(raw: &str) -> String {
    raw.split('\n').map(attribute).collect::<Vec<_>>().join("\n")
}

/// The same for one line, also fit for an attribute.
fn attribute(raw: &str) -> String {
    let safe = escape::text(raw, false);
    let mut text = String::with_capacity(safe.len());
    for character in safe.chars() {
        match character {
            '&' => text.push_str("&amp;"),
            '<' => text.push_str("&lt;"),
            '>' => text.push_str("&gt;"),
            '"' => text.push_str("&quot;"),
            // No characters of XML 1.0.
            '\u{fffe}' | '\u{ffff}' => text.push('\u{fffd}'),
            other => text.push(other),
        }
    }
    text
}

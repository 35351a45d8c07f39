//! Findings as SARIF 2.1.0, for code hosts and editors that show results of analysers.
//!
//! May be relied on: valid by the published schema (held by a test); places in the current directory are relative to
//! `%SRCROOT%`; `partialFingerprints` are made of the rule and its places by function, file name and source line, and so
//! are the same in every run and when lines move. Bytes, blocks and arenas stand in `properties`, which is where SARIF
//! wants what only one tool knows. Absent: addresses of code, which differ from run to run.

use crate::view::{FindingView, RunView, Site, Suppressed};
use crate::{hex, place};
use arenascope_event::Frame;
use arenascope_findings::{Certainty, Class, RULES};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

const SCHEMA: &str = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";
const ROOT: &str = "%SRCROOT%";

/// The answer of `findings --sarif`, with newline. `cwd` may be empty when not known.
pub fn log(run: &RunView, cwd: &str) -> String {
    let root = Root { cwd: cwd.trim_end_matches('/') };
    let mut seen = BTreeMap::new();
    // A result that says nothing of suppressions is one nobody looked at; an empty list says: not suppressed.
    let open = if run.suppressed.by.is_empty() { None } else { Some(json!([])) };
    let mut results: Vec<Value> =
        run.findings.iter().map(|finding| result(finding, &root, open.as_ref(), &mut seen)).collect();
    for (finding, by) in &run.suppressed.findings {
        let why = json!([{
            "kind": "external",
            "status": "accepted",
            "justification": justification(&run.suppressed, *by),
        }]);
        results.push(result(finding, &root, Some(&why), &mut seen));
    }
    let rules: Vec<Value> = RULES
        .iter()
        .map(|rule| {
            let level = if rule.class == Class::Finding { "error" } else { "note" };
            json!({
                "id": rule.name,
                "shortDescription": { "text": rule.claims },
                "help": { "text": format!("{}: {}. docs/findings.md tells its evidence and what it never claims.", rule.name, rule.claims) },
                "defaultConfiguration": { "level": level },
                "properties": { "class": rule.class.word() },
            })
        })
        .collect();
    let mut told = json!({
        "tool": { "driver": {
            "name": "arenascope",
            "version": env!("CARGO_PKG_VERSION"),
            "semanticVersion": env!("CARGO_PKG_VERSION"),
            "rules": rules,
        }},
        "columnKind": "unicodeCodePoints",
        "invocations": [{
            "executionSuccessful": true,
            "toolExecutionNotifications": notifications(run),
        }],
        "results": results,
        "properties": { "trace": run.trace, "program": run.program, "pid": run.pid, "events": run.events },
    });
    if !root.cwd.is_empty() {
        told["originalUriBaseIds"] = json!({ ROOT: { "uri": format!("file://{}/", encoded(root.cwd)) } });
    }
    let mut text = json!({ "$schema": SCHEMA, "version": "2.1.0", "runs": [told] }).to_string();
    text.push('\n');
    text
}

fn justification(suppressed: &Suppressed, by: usize) -> String {
    suppressed
        .by
        .get(by)
        .map_or_else(String::new, |line| format!("{} (line {} of the suppressions)", line.text, line.line))
}

/// What was lost or damaged: a reader must not take silence for health.
fn notifications(run: &RunView) -> Vec<Value> {
    let lost = run.lost.events();
    let lost =
        (lost > 0).then(|| ("lost-events", format!("{lost} events could not be recorded: findings may be missing")));
    let damage = run.damage.iter().map(|part| ("damage", part.clone()));
    let unused = run.suppressed.by.iter().filter(|line| line.count == 0);
    let unused =
        unused.map(|line| ("unused-suppression", format!("line {} matched nothing: {}", line.line, line.text)));
    let all = lost.into_iter().chain(damage).chain(unused);
    all.map(|(id, text)| json!({ "descriptor": { "id": id }, "level": "warning", "message": { "text": text } }))
        .collect()
}

fn result(
    finding: &FindingView,
    root: &Root<'_>,
    suppressions: Option<&Value>,
    seen: &mut BTreeMap<u64, u64>,
) -> Value {
    let claim = &finding.claim;
    let level = match (claim.class, claim.certainty) {
        (Class::Note, _) => "note",
        (Class::Finding, Certainty::Certain) => "error",
        (Class::Finding, Certainty::Likely | Certainty::Possible) => "warning",
    };
    let print = fingerprint(finding);
    let times = seen.entry(print).or_default();
    *times += 1;
    let mut told = json!({
        "ruleId": claim.rule,
        "level": level,
        "message": { "text": claim.message },
        "locations": finding.sites.iter().take(1).map(|(_, site)| root.location(site)).collect::<Vec<_>>(),
        "partialFingerprints": { "arenascopeSites/v1": format!("{print:016x}:{times}") },
        "occurrenceCount": claim.count.max(1),
        "properties": properties(finding),
    });
    if let Some(index) = RULES.iter().position(|rule| rule.name == claim.rule) {
        told["ruleIndex"] = json!(index);
    }
    let others: Vec<Value> = finding
        .sites
        .iter()
        .enumerate()
        .skip(1)
        .map(|(id, (role, site))| {
            let mut location = root.location(site);
            location["id"] = json!(id);
            location["message"] = json!({ "text": role.word() });
            location
        })
        .collect();
    if !others.is_empty() {
        told["relatedLocations"] = Value::Array(others);
    }
    let stacks: Vec<Value> = finding
        .sites
        .iter()
        .filter(|(_, site)| !site.frames.is_empty())
        .map(|(role, site)| {
            let frames: Vec<Value> = site.frames.iter().map(|frame| root.stack_frame(frame)).collect();
            json!({ "message": { "text": role.word() }, "frames": frames })
        })
        .collect();
    if !stacks.is_empty() {
        told["stacks"] = Value::Array(stacks);
    }
    if let Some(suppressions) = suppressions {
        told["suppressions"] = suppressions.clone();
    }
    told
}

fn properties(finding: &FindingView) -> Value {
    let claim = &finding.claim;
    let mut told = json!({
        "class": claim.class.word(),
        "certainty": claim.certainty.word(),
        "because": claim.because,
        "disproof": claim.disproof,
        "next": claim.next,
        "count": claim.count,
        "bytes": claim.bytes,
        "threads": claim.threads.iter().map(|thread| thread.0).collect::<Vec<_>>(),
    });
    if let Some((id, name)) = finding.arena() {
        told["arena"] = json!({ "id": id, "name": name });
    }
    if let Some(block) = claim.block {
        told["block"] =
            json!({ "number": block.number, "extent": block.extent, "offset": block.offset, "size": block.size });
    }
    if let Some(moment) = finding.moment() {
        told["moment"] = json!(moment);
    }
    if !claim.evidence.is_empty() {
        let evidence = claim.evidence.iter().map(|evidence| {
            json!({
                "label": evidence.label,
                "offset": evidence.offset,
                "hex": hex::digits(&evidence.bytes),
                "damaged": evidence.damaged.iter().map(|range| [range.start, range.end]).collect::<Vec<_>>(),
            })
        });
        told["evidence"] = evidence.collect();
    }
    told
}

/// FNV-1a over what stays the same from run to run.
fn fingerprint(finding: &FindingView) -> u64 {
    let mut words = vec![finding.claim.rule.to_owned()];
    for (role, site) in &finding.sites {
        words.push(role.word().to_owned());
        let Some(frame) = place::telling_frame(site) else { continue };
        words.push(frame.function.clone());
        words.push(frame.file.rsplit('/').next().unwrap_or_default().to_owned());
        words.push(if site.source.is_empty() { frame.line.to_string() } else { site.source.trim().to_owned() });
    }
    let bytes = words.iter().flat_map(|word| word.bytes().chain([0]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Where paths are relative to.
struct Root<'a> {
    cwd: &'a str,
}

impl Root<'_> {
    fn location(&self, site: &Site) -> Value {
        match place::telling_frame(site) {
            Some(frame) => self.of_frame(frame, &site.source),
            None => json!({}),
        }
    }

    fn of_frame(&self, frame: &Frame, source: &str) -> Value {
        let mut told = Map::new();
        if !frame.file.is_empty() {
            let mut physical = json!({ "artifactLocation": self.artifact(&frame.file) });
            if frame.line > 0 {
                physical["region"] = json!({ "startLine": frame.line });
                if !source.is_empty() {
                    physical["region"]["snippet"] = json!({ "text": source });
                }
            }
            told.insert("physicalLocation".to_owned(), physical);
        }
        if !frame.function.is_empty() {
            let function = json!([{ "fullyQualifiedName": frame.function, "kind": "function" }]);
            told.insert("logicalLocations".to_owned(), function);
        }
        Value::Object(told)
    }

    fn stack_frame(&self, frame: &Frame) -> Value {
        let mut told = json!({ "location": self.of_frame(frame, "") });
        if !frame.module.is_empty() {
            told["module"] = json!(frame.module);
        }
        if frame.inlined {
            told["properties"] = json!({ "inlined": true });
        }
        told
    }

    fn artifact(&self, path: &str) -> Value {
        let inside = path.strip_prefix(self.cwd).and_then(|rest| rest.strip_prefix('/'));
        match inside.filter(|inside| !self.cwd.is_empty() && !inside.is_empty()) {
            Some(inside) => json!({ "uri": encoded(inside), "uriBaseId": ROOT }),
            None if path.starts_with('/') => json!({ "uri": format!("file://{}", encoded(path)) }),
            None => json!({ "uri": encoded(path) }),
        }
    }
}

/// A path as part of a URI: everything but letters, digits and `-._~/` as `%41`. A colon too: it would begin a scheme.
fn encoded(path: &str) -> String {
    let mut text = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push('%');
            text.push_str(&hex::digits(&[byte]).to_uppercase());
        }
    }
    text
}

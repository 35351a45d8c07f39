//! Runs the labs and compares what Arenascope says with what each lab expects.
//!
//! A lab is a C file under `labs/` with `NAME.expected.json` beside it: exit status, the program's output with addresses
//! replaced, texts that the first screen must hold, figures of the arenas, and the findings, all of them and no others.
//! A finding's line is given by a marker in the source, so that an edit above it breaks nothing. Deliberately absent: any
//! knowledge of a single lab.

use crate::steps;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

const EXPECTED: &str = ".expected.json";

/// Runs all labs, or those whose name contains `only`.
pub fn run(only: Option<&str>) -> Result<(), String> {
    let arenascope = steps::arenascope(false)?;
    let scratch = steps::scratch("labs")?;
    let labs: Vec<PathBuf> = expectations(&steps::root().join("labs"))?
        .into_iter()
        .filter(|path| only.is_none_or(|o| name(path).contains(o)))
        .collect();
    if labs.is_empty() {
        return Err(format!("no lab is called {}", only.unwrap_or("anything")));
    }
    let mut complaints = Vec::new();
    for expected in &labs {
        let found = lab(&arenascope, &scratch, expected)?;
        println!("lab {} … {}", name(expected), if found.is_empty() { "as expected" } else { "NOT as expected" });
        complaints.extend(found);
    }
    if complaints.is_empty() { Ok(()) } else { Err(format!("labs\n  {}", complaints.join("\n  "))) }
}

fn expectations(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))? {
        let path = entry.map_err(|error| error.to_string())?.path();
        if path.is_dir() {
            found.extend(expectations(&path)?);
        } else if path.to_string_lossy().ends_with(EXPECTED) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn name(expected: &Path) -> String {
    let file = expected.file_name().unwrap_or_default().to_string_lossy();
    file.strip_suffix(EXPECTED).unwrap_or(&file).to_owned()
}

fn lab(arenascope: &Path, scratch: &Path, expected: &Path) -> Result<Vec<String>, String> {
    let read = |path: &Path| std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()));
    let name = name(expected);
    let wanted: Value =
        serde_json::from_str(&read(expected)?).map_err(|error| format!("{}: {error}", expected.display()))?;
    let source = expected.with_file_name(format!("{name}.c"));
    let source_text = read(&source)?;
    let trace = scratch.join(format!("{name}.ascope"));
    let log = scratch.join(format!("{name}.log"));

    let output = Command::new(arenascope)
        .args(["run", "--force", "-o"])
        .args([&trace, Path::new("--log"), &log, &source])
        .env("NO_COLOR", "1")
        .output()
        .map_err(|error| format!("{}: {error}", arenascope.display()))?;
    let screen = read(&log)?;
    let mut complaints = Vec::new();
    if output.status.code().map(i64::from) != wanted["status"].as_i64() {
        complaints.push(format!("{name}: ended with {}, {} expected\n{screen}", output.status, wanted["status"]));
    }
    let stdout = without_addresses(&String::from_utf8_lossy(&output.stdout));
    let wanted_stdout: Vec<&str> =
        wanted["stdout"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if stdout.lines().collect::<Vec<_>>() != wanted_stdout {
        complaints.push(format!("{name}: printed\n{stdout}"));
    }
    for text in wanted["screen"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if !screen.contains(text) {
            complaints.push(format!("{name}: the screen lacks {text:?}:\n{screen}"));
        }
    }
    let json = steps::output(Command::new(arenascope).args(["findings", "--json"]).arg(&trace), "arenascope findings")?;
    let found: Value = serde_json::from_str(&json).map_err(|error| format!("{name}: findings --json: {error}"))?;
    complaints.extend(compare(&name, &source_text, &wanted["findings"], &found["findings"]));
    let json = steps::output(Command::new(arenascope).args(["show", "--json"]).arg(&trace), "arenascope show")?;
    let shown: Value = serde_json::from_str(&json).map_err(|error| format!("{name}: show --json: {error}"))?;
    complaints.extend(compare_arenas(&name, &wanted["arenas"], &shown["arenas"]));
    Ok(complaints)
}

/// Each expected finding against the one in the same place of the list; every field that the expectation names.
fn compare(name: &str, source: &str, wanted: &Value, found: &Value) -> Vec<String> {
    let none = Vec::new();
    let (wanted, found) = (wanted.as_array().unwrap_or(&none), found.as_array().unwrap_or(&none));
    let mut complaints = Vec::new();
    if wanted.len() != found.len() {
        complaints.push(format!(
            "{name}: {} findings, {} expected: {}",
            found.len(),
            wanted.len(),
            Value::from(found.clone())
        ));
    }
    for (wanted, found) in wanted.iter().zip(found) {
        for field in ["rule", "class", "certainty"] {
            if wanted[field] != found[field] {
                complaints.push(format!("{name}: {field} is {}, {} expected", found[field], wanted[field]));
            }
        }
        for (field, value) in wanted["block"].as_object().into_iter().flatten() {
            if found["block"][field] != *value {
                complaints.push(format!("{name}: block {field} is {}, {value} expected", found["block"][field]));
            }
        }
        for (role, site) in wanted["sites"].as_object().into_iter().flatten() {
            let marker = site["marker"].as_str().unwrap_or("");
            let line = source.lines().position(|line| line.contains(marker)).map(|at| at as u64 + 1);
            let there =
                found["sites"].as_array().into_iter().flatten().any(|s| {
                    s["role"] == role.as_str() && s["function"] == site["function"] && s["line"].as_u64() == line
                });
            if line.is_none() || !there {
                complaints.push(format!("{name}: no site {role} at {marker:?} (line {line:?}): {}", found["sites"]));
            }
        }
    }
    complaints
}

/// Each expected arena against the one in the same place of the list; every figure that the expectation names.
fn compare_arenas(name: &str, wanted: &Value, found: &Value) -> Vec<String> {
    let none = Vec::new();
    let (wanted, found) = (wanted.as_array().unwrap_or(&none), found.as_array().unwrap_or(&none));
    let mut complaints = Vec::new();
    if wanted.len() != found.len() {
        complaints.push(format!("{name}: {} arenas, {} expected", found.len(), wanted.len()));
    }
    for (wanted, found) in wanted.iter().zip(found) {
        for (figure, value) in wanted.as_object().into_iter().flatten() {
            if found[figure] != *value {
                complaints.push(format!("{name}: the arena's {figure} is {}, {value} expected", found[figure]));
            }
        }
    }
    complaints
}

/// Every `0x…` becomes ADDR.
fn without_addresses(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("0x") {
        out.push_str(before);
        let digits = after.len() - after.trim_start_matches(|c: char| c.is_ascii_hexdigit()).len();
        out.push_str(if digits > 0 { "ADDR" } else { "0x" });
        rest = &after[digits..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const SOURCE: &str = "int main\n  alloc(); /* LAB: dropped */\n";

    fn wanted() -> Value {
        json!([{ "rule": "never-stored", "class": "finding", "certainty": "certain",
            "block": { "number": 3, "offset": 64 }, "sites": { "allocated": { "function": "main", "marker": "LAB: dropped" } } }])
    }

    fn found(line: u64, offset: u64) -> Value {
        json!([{ "rule": "never-stored", "class": "finding", "certainty": "certain", "message": "x",
            "block": { "number": 3, "offset": offset, "size": 32 },
            "sites": [{ "role": "allocated", "function": "main", "file": "x.c", "line": line }] }])
    }

    #[test]
    fn the_expected_finding_passes_and_each_difference_is_named() {
        assert_eq!(compare("x", SOURCE, &wanted(), &found(2, 64)), Vec::<String>::new());
        assert_eq!(compare("x", SOURCE, &wanted(), &found(1, 64)).len(), 1);
        assert_eq!(compare("x", SOURCE, &wanted(), &found(2, 96)).len(), 1);
        assert_eq!(compare("x", SOURCE, &wanted(), &json!([])).len(), 1);
        assert_eq!(compare("x", SOURCE, &json!([]), &found(2, 64)).len(), 1);
        assert_eq!(compare("x", "no marker", &wanted(), &found(2, 64)).len(), 1);
    }

    #[test]
    fn arenas_are_compared_by_the_figures_that_are_named() {
        let wanted = json!([{ "capacity": 256, "peak_bytes": 128 }]);
        assert_eq!(compare_arenas("x", &wanted, &json!([{ "capacity": 256, "peak_bytes": 128, "id": 1 }])).len(), 0);
        assert_eq!(compare_arenas("x", &wanted, &json!([{ "capacity": 4096 }])).len(), 2);
        assert_eq!(compare_arenas("x", &wanted, &json!([])).len(), 1);
    }

    #[test]
    fn addresses_are_replaced_and_nothing_else() {
        assert_eq!(without_addresses("a 0x7ffe12 b 0x c 0xAb)"), "a ADDR b 0x c ADDR)");
    }
}

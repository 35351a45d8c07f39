//! The two files that benches write, each bench its own part.
//!
//! docs/performance.md is parted by a marker line per bench; in docs/performance.json each row names its bench.

use crate::steps;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// The benches, in the order of the page.
const BENCHES: &[&str] = &["hooked", "record", "modes", "check", "replay", "sample", "arenas", "many"];

/// Puts `section` and `rows` in the place of what `bench` had written before.
pub fn renew(bench: &str, section: &str, rows: &[Value]) -> Result<(), String> {
    let (markdown, json) = (docs("performance.md"), docs("performance.json"));
    let before = std::fs::read_to_string(&markdown).unwrap_or_default();
    write(&markdown, &with_section(&before, bench, section))?;
    let before = std::fs::read_to_string(&json).ok().and_then(|text| serde_json::from_str(&text).ok());
    let all = with_rows(before.unwrap_or_default(), bench, rows);
    let text = serde_json::to_string_pretty(&all).map_err(|error| error.to_string())?;
    write(&json, &format!("{text}\n"))
}

fn docs(name: &str) -> PathBuf {
    steps::root().join("docs").join(name)
}

/// Writes a file, or says which could not be written.
pub fn write(path: &Path, text: &str) -> Result<(), String> {
    std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

fn marker(bench: &str) -> String {
    format!("<!-- bench: {bench} -->\n")
}

fn with_section(page: &str, bench: &str, section: &str) -> String {
    let mut text = String::from("# Performance\n");
    for name in BENCHES {
        let kept = page.split_once(&marker(name)).map(|(_, after)| after.split("<!-- bench: ").next().unwrap_or(""));
        let body = if *name == bench { section } else { kept.unwrap_or("") };
        if !body.trim().is_empty() {
            text.push_str(&format!("\n{}{}\n", marker(name), body.trim_end()));
        }
    }
    text
}

fn with_rows(before: Vec<Value>, bench: &str, rows: &[Value]) -> Vec<Value> {
    let mut all = Vec::new();
    for name in BENCHES {
        if *name == bench {
            all.extend(rows.iter().map(|row| {
                let mut row = row.clone();
                row["bench"] = bench.into();
                row
            }));
        } else {
            all.extend(before.iter().filter(|row| row["bench"] == *name).cloned());
        }
    }
    all
}

/// A table cell: nothing for null, three digits that count for a number.
pub fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Number(number) => digits(number.as_f64().unwrap_or(f64::NAN)),
        other => other.to_string(),
    }
}

fn digits(value: f64) -> String {
    let decimals = if value.abs() >= 100.0 || value == value.trunc() {
        0
    } else if value.abs() >= 10.0 {
        1
    } else if value.abs() >= 0.1 || value == 0.0 {
        2
    } else {
        3
    };
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_bench_renews_its_own_part_only() {
        let page = with_section("", "arenas", "## Arena\nold\n");
        let page = with_section(&page, "hooked", "## Hook\n");
        let page = with_section(&page, "arenas", "## Arena\nnew\n");
        assert_eq!(page, "# Performance\n\n<!-- bench: hooked -->\n## Hook\n\n<!-- bench: arenas -->\n## Arena\nnew\n");

        let rows = with_rows(vec![], "arenas", &[json!({"row": "a"}), json!({"row": "b"})]);
        let rows = with_rows(rows, "hooked", &[json!({"row": "h"})]);
        let rows = with_rows(rows, "arenas", &[json!({"row": "c"})]);
        assert_eq!(rows, [json!({"row": "h", "bench": "hooked"}), json!({"row": "c", "bench": "arenas"})]);
    }

    #[test]
    fn numbers_have_three_digits_that_count() {
        let cells = [1234.56, 9.0, 12.345, 0.532, 0.0412, 1.0].map(|value| cell(&json!(value)));
        assert_eq!(cells, ["1235", "9", "12.3", "0.53", "0.041", "1"]);
        assert_eq!(cell(&Value::Null), "");
    }
}

//! The arena beside its peers: builds and runs `bench/arenas` and turns its numbers into two sections of the page.
//!
//! A run of all rows of a section renews it; so does a run of some, if the numbers of the others are still in the target folder
//! (every row names the commit it was measured at). Quick runs and runs of some contenders only print.

use super::page::{self, cell};
use crate::{packages, steps};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The sections, as `arena-bench ids` names them, with their titles.
const SECTIONS: [(&str, &str); 2] =
    [("arenas", "The arena and its peers"), ("many", "Threads that share an arena, pools, a hundred thousand arenas")];

/// Runs arena-bench with `words`, as its usage has them.
pub fn run(words: &[&str]) -> Result<(), String> {
    packages::require_for_benches()?;
    let (bench, target) = build()?;
    if let ["list" | "help"] = words {
        return steps::status(Command::new(&bench).args(words), "arena-bench");
    }
    let partial = words.iter().any(|word| word.starts_with("--") && *word != "--rounds");
    let numbers = target.join("xtask").join(if partial { "arenas-tried" } else { "arenas" });
    if partial && numbers.exists() {
        std::fs::remove_dir_all(&numbers).map_err(|error| format!("{}: {error}", numbers.display()))?;
    }
    let commit = commit();
    steps::status(
        Command::new(&bench).arg("--out").arg(&numbers).args(["--commit", &commit]).args(words),
        "arena-bench",
    )?;
    let ids = steps::output(Command::new(&bench).arg("ids"), "arena-bench ids")?;
    let versions = read(&numbers.join("versions.json"))?;
    for (name, title) in SECTIONS {
        let ids: Vec<&str> = ids.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).collect();
        let rows: Vec<Value> = ids.iter().filter_map(|id| read(&numbers.join(format!("{id}.json"))).ok()).collect();
        if rows.is_empty() {
            continue;
        }
        let section = section(title, &rows, &versions, &super::machine(), &note);
        print!("{section}");
        if partial || rows.len() < ids.len() {
            eprintln!("xtask: {title:?} stays in docs/performance.md as it was: not all its rows were run");
            continue;
        }
        let bars: Vec<Value> =
            rows.iter().flat_map(|row| row["bars"].as_array().cloned().unwrap_or_default()).collect();
        page::renew(name, &section, &bars)?;
    }
    Ok(())
}

/// Builds the package; returns the program and its target folder.
pub(crate) fn build() -> Result<(PathBuf, PathBuf), String> {
    let manifest = steps::root().join("bench/arenas/Cargo.toml");
    let manifest = manifest.to_string_lossy();
    steps::cargo(&["build", "--quiet", "--release", "--manifest-path", &manifest], &[])?;
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let words = ["metadata", "--format-version", "1", "--no-deps", "--manifest-path", &manifest];
    let text = steps::output(Command::new(cargo).args(words), "cargo metadata")?;
    let metadata: Value =
        serde_json::from_str(&text).map_err(|error| format!("cargo metadata printed no JSON: {error}"))?;
    let target =
        PathBuf::from(metadata["target_directory"].as_str().ok_or("cargo metadata names no target directory")?);
    Ok((target.join("release/arena-bench"), target))
}

/// The commit in a word, and whether what is measured differs from it.
fn commit() -> String {
    let git = |words: &[&str]| steps::output(Command::new("git").current_dir(steps::root()).args(words), "git");
    let commit = git(&["rev-parse", "--short=12", "HEAD"]).unwrap_or_else(|_| "unknown".into());
    let changed = git(&["status", "--porcelain", "--", "crates/arenascope", "bench/arenas"]).unwrap_or_default();
    format!("{}{}", commit.trim(), if changed.is_empty() { "" } else { " with changes" })
}

fn read(path: &Path) -> Result<Value, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))
}

/// What was found out about a row, from its notes file.
fn note(id: &str) -> Option<String> {
    std::fs::read_to_string(steps::root().join(format!("bench/arenas/notes/{id}.md"))).ok()
}

fn section(
    title: &str,
    rows: &[Value],
    versions: &Value,
    machine: &str,
    note: &dyn Fn(&str) -> Option<String>,
) -> String {
    let versions: Vec<String> = versions
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, version)| format!("{name} {}", version.as_str().unwrap_or("?")))
        .collect();
    let mut commits: Vec<&str> = rows.iter().filter_map(|row| row["commit"].as_str()).collect();
    commits.dedup();
    let mut text = format!(
        "## {title}\n\nWritten by `cargo xtask bench arenas` on: {machine}. Commit {}. {}.\n\n\
         How it measures, and what to know about each contender: [bench/arenas](../bench/arenas/README.md). All contenders of a\n\
         row run by turns in one run, pinned; values are medians; a ratio is ours divided by the best peer's. *must* is the bar,\n\
         *aim* is where we want to be; both bound the ratio, or our own value where the table says so.\n\n\
         | row | unit | ours | as | best peer | peer | ratio | must | aim | |\n|---|---|---|---|---|---|---|---|---|---|\n",
        commits.join(", "),
        versions.join(", "),
    );
    for bar in rows.iter().flat_map(|row| row["bars"].as_array().into_iter().flatten()) {
        let own = if bar["bounds"] == "ours" { " (value)" } else { "" };
        let bound = |name: &str| match &bar[name] {
            Value::Null => String::new(),
            bound => format!("≤ {}{own}", cell(bound)),
        };
        let cells = [
            cell(&bar["row"]),
            cell(&bar["unit"]),
            cell(&bar["ours"]),
            cell(&bar["ours_as"]),
            cell(&bar["peer_value"]),
            cell(&bar["peer"]),
            cell(&bar["ratio"]),
            bound("must"),
            bound("aim"),
            verdict(bar).to_owned(),
        ];
        text.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
    for row in rows {
        text.push_str(&table(row));
        if let Some(note) = row["id"].as_str().and_then(note) {
            text.push_str(&format!("\n{}\n", note.trim_end()));
        }
    }
    text
}

/// What a bar's numbers say.
fn verdict(bar: &Value) -> &'static str {
    let measured = if bar["bounds"] == "ours" { &bar["ours"] } else { &bar["ratio"] };
    // Held to half a percent, so that what is printed like the bar reaches it.
    let holds = |name: &str| Some(measured.as_f64()? <= bar[name].as_f64()? * 1.005);
    match (holds("must"), holds("aim")) {
        _ if measured.is_null() => "not measured",
        (Some(false), _) => "**missed**",
        (_, Some(true)) => "aim reached",
        (Some(true), _) => "must reached",
        (None, Some(false)) => "aim missed",
        (None, None) => "",
    }
}

/// All contenders of a row, the best first.
fn table(row: &Value) -> String {
    let mut contenders: Vec<&Value> = row["contenders"].as_array().into_iter().flatten().collect();
    let median = |contender: &Value| contender["time"]["median"].as_f64().unwrap_or(f64::INFINITY);
    contenders.sort_by(|a, b| median(a).total_cmp(&median(b)));
    let kind = |contender: &Value, kinds: &[&str]| kinds.contains(&contender["kind"].as_str().unwrap_or(""));
    // A row of our own choices has no peers: its default is what the others are measured by.
    let of_choices = contenders.iter().any(|contender| kind(contender, &["choice"]));
    let (measure, ratio_to) =
        if of_choices { (&["ours"][..], "the default") } else { (&["arena", "c", "malloc"][..], "the best peer") };
    let best = contenders.iter().find(|contender| kind(contender, measure)).map_or(f64::NAN, |best| median(best));
    let counted = contenders.iter().any(|contender| !contender["instructions"].is_null());
    let second = row["second"].as_str();
    let mut head = format!("contender | median, {0} | least | most | ratio to {ratio_to}", cell(&row["unit"]));
    head.push_str(&second.map_or(String::new(), |second| format!(" | {second}, {}", cell(&row["unit"]))));
    head.push_str(if counted { " | instructions" } else { "" });
    let rule = "---|".repeat(head.split(" | ").count());
    let mut text = format!(
        "\n### {}\n\n`{}`, {} rounds, commit {}.\n\n| {head} |\n|{rule}\n",
        cell(&row["title"]),
        cell(&row["id"]),
        cell(&row["rounds"]),
        cell(&row["commit"])
    );
    for contender in contenders {
        let time = &contender["time"];
        let name = cell(&contender["name"]);
        let name = if contender["kind"] == "ours" { format!("**{name}**") } else { name };
        let ratio = cell(&(median(contender) / best).into());
        let mut cells = vec![name, cell(&time["median"]), cell(&time["min"]), cell(&time["max"]), ratio];
        cells.extend(second.map(|_| cell(&contender["second"]["median"])));
        if counted {
            cells.push(cell(&contender["instructions"]));
        }
        text.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_verdict_follows_the_bar() {
        let bar = |ours: f64, ratio: f64, bounds: &str, must: Value, aim: Value| {
            verdict(&json!({"ours": ours, "ratio": ratio, "bounds": bounds, "must": must, "aim": aim}))
        };
        assert_eq!(bar(9.0, 0.5, "ratio", json!(0.6), json!(0.4)), "must reached");
        assert_eq!(bar(9.0, 0.3, "ratio", json!(0.6), json!(0.4)), "aim reached");
        assert_eq!(bar(9.0, 0.7, "ratio", json!(0.6), json!(0.4)), "**missed**");
        assert_eq!(bar(9.0, 0.7, "ours", json!(8), Value::Null), "**missed**");
        assert_eq!(bar(9.0, 0.7, "ratio", Value::Null, json!(0.5)), "aim missed");
        assert_eq!(bar(9.0, 1.004, "ratio", json!(1), Value::Null), "must reached");
        assert_eq!(bar(9.0, 1.006, "ratio", json!(1), Value::Null), "**missed**");
        assert_eq!(verdict(&json!({"ours": null, "ratio": null, "must": 1})), "not measured");
    }

    #[test]
    fn a_section_has_the_bars_the_tables_and_the_notes() {
        let contender = |name: &str, kind: &str, median: f64| json!({"name": name, "kind": kind, "time": {"median": median, "min": 1.0, "max": 9.0}, "instructions": 7.0});
        let row = json!({
            "id": "x", "title": "X", "unit": "ns", "rounds": 3, "commit": "abc", "second": null,
            "contenders": [contender("peer", "arena", 4.0), contender("us", "ours", 2.0), contender("far", "c", 8.0)],
            "bars": [{"row": "X", "unit": "ns", "ours": 2.0, "ours_as": "us", "peer": "peer", "peer_value": 4.0,
                "ratio": 0.5, "bounds": "ratio", "must": 0.4, "aim": null}],
        });
        let text =
            section("Title", &[row], &json!({"peer": "1.2"}), "machine", &|id| (id == "x").then(|| "Why.\n".into()));
        assert!(text.contains("| X | ns | 2 | us | 4 | peer | 0.50 | ≤ 0.40 |  | **missed** |"), "{text}");
        let ours = text.find("| **us** | 2 | 1 | 9 | 0.50 | 7 |").expect("our line");
        let peer = text.find("| peer | 4 | 1 | 9 | 1 | 7 |").expect("the peer's line");
        let choices = json!({
            "id": "y", "title": "Y", "unit": "µs", "rounds": 3, "commit": "abc", "second": "drop",
            "contenders": [contender("auto", "ours", 2.0), contender("never", "choice", 5.0)], "bars": [],
        });
        let table = table(&choices);
        assert!(table.contains("ratio to the default | drop, µs"), "{table}");
        assert!(table.contains("| never | 5 | 1 | 9 | 2.50 |"), "{table}");
        assert!(ours < peer && text.ends_with("\nWhy.\n") && text.contains("peer 1.2"), "{text}");
    }
}

//! What a lab must show, against what it showed: every difference is a sentence.
//!
//! An expectation names what matters and leaves out the rest: a field that is not there is not compared. Only the list of
//! findings is always compared as a whole: all of them and no others. A line is named by a marker in the source (`LAB: …`), so
//! that an edit above it breaks nothing. Pure: texts and JSON in, sentences out.

use serde_json::Value;

/// Keys of an expectation. Another one is a mistake of its author.
const KEYS: [&str; 12] = [
    "shows",
    "source",
    "flags",
    "env",
    "needs",
    "status",
    "stdout",
    "stdout_has",
    "screen",
    "arenas",
    "findings",
    "tools",
];

/// What a run showed.
pub struct Seen {
    /// Its exit status.
    pub status: Option<i32>,
    /// What the program printed; not known when it went to the user's terminal.
    pub stdout: Option<String>,
    /// The first screen; likewise.
    pub screen: Option<String>,
    /// `findings --json`.
    pub findings: Value,
    /// `show --json`.
    pub shown: Value,
}

/// The differences, those of findings apart: a rule that a lab waits for excuses them.
#[derive(Debug, Default)]
pub struct Differences {
    /// Anything but missing findings.
    pub other: Vec<String>,
    /// Findings that were expected and are not there, or have other fields.
    pub missing: Vec<String>,
}

/// Compares one run. `source` is the program's text, for its markers.
pub fn differences(wanted: &Value, seen: &Seen, source: &str) -> Differences {
    let mut found = Differences::default();
    let other = &mut found.other;
    for key in wanted.as_object().into_iter().flatten().map(|(key, _)| key) {
        if !KEYS.contains(&key.as_str()) {
            other.push(format!("the expectation has a key {key:?} that means nothing"));
        }
    }
    let status = wanted["status"].as_i64().unwrap_or(0);
    if seen.status.map(i64::from) != Some(status) {
        other.push(format!("ended with {:?}, {status} expected", seen.status));
    }
    if let Some(stdout) = &seen.stdout {
        let stdout = without_addresses(stdout);
        if let Some(lines) = wanted["stdout"].as_array()
            && !stdout.lines().eq(lines.iter().filter_map(Value::as_str))
        {
            other.push(format!("printed\n{stdout}"));
        }
        for text in texts(&wanted["stdout_has"]).filter(|text| !stdout.contains(*text)) {
            other.push(format!("the output lacks {text:?}:\n{stdout}"));
        }
    }
    if let Some(screen) = &seen.screen {
        for text in texts(&wanted["screen"]).filter(|text| !screen.contains(*text)) {
            other.push(format!("the screen lacks {text:?}:\n{screen}"));
        }
    }
    if seen.findings["lost"]["events"].as_u64() != Some(0) {
        other.push(format!("events were lost: {}", seen.findings["lost"]));
    }
    if !wanted["arenas"].is_null() {
        other.extend(arenas(&wanted["arenas"], &seen.shown["arenas"]));
    }
    let (missing, unexpected) = findings(source, &wanted["findings"], &seen.findings["findings"]);
    found.missing = missing;
    found.other.extend(unexpected);
    found
}

fn texts(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// Each expected finding takes the first found one that has all its fields; what is left on either side is told.
fn findings(source: &str, wanted: &Value, found: &Value) -> (Vec<String>, Vec<String>) {
    let none = Vec::new();
    let (wanted, found) = (wanted.as_array().unwrap_or(&none), found.as_array().unwrap_or(&none));
    let mut left: Vec<&Value> = found.iter().collect();
    let mut missing = Vec::new();
    for wanted in wanted {
        if let Some(at) = left.iter().position(|found| unlike(source, wanted, found).is_empty()) {
            left.remove(at);
        } else if let Some(at) = left.iter().position(|found| found["rule"] == wanted["rule"]) {
            // The same rule, told otherwise: the differences say more than both findings.
            let found = left.remove(at);
            missing.push(format!("{}: {}", text(&wanted["rule"]), unlike(source, wanted, found).join(", ")));
        } else {
            missing.push(format!("{}: not found", text(&wanted["rule"])));
        }
    }
    let unexpected = left.iter().map(|found| {
        format!("{} {} that nobody expected: {}", text(&found["class"]), text(&found["rule"]), text(&found["message"]))
    });
    (missing, unexpected.collect())
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("?")
}

/// Every field of `wanted` that `found` has not.
fn unlike(source: &str, wanted: &Value, found: &Value) -> Vec<String> {
    let mut different = Vec::new();
    for field in ["rule", "class", "certainty", "moment"] {
        if !wanted[field].is_null() && wanted[field] != found[field] {
            different.push(format!("{field} is {}, {} expected", found[field], wanted[field]));
        }
    }
    for whole in ["block", "arena"] {
        for (field, value) in wanted[whole].as_object().into_iter().flatten() {
            if found[whole][field] != *value {
                different.push(format!("{whole} {field} is {}, {value} expected", found[whole][field]));
            }
        }
    }
    for (role, sites) in wanted["sites"].as_object().into_iter().flatten() {
        let sites = sites.as_array().map_or(std::slice::from_ref(sites), Vec::as_slice);
        for site in sites {
            let marker = text(&site["marker"]);
            let line = only_line(source, marker);
            let there = found["sites"].as_array().into_iter().flatten().any(|s| {
                s["role"] == role.as_str()
                    && (site["function"].is_null() || s["function"] == site["function"])
                    && s["line"].as_u64() == line
            });
            if line.is_none() || !there {
                different.push(format!("no site {role} at {marker:?} (line {line:?}): {}", found["sites"]));
            }
        }
    }
    different
}

/// The number of the one line that holds `marker`: two of them name no place.
fn only_line(source: &str, marker: &str) -> Option<u64> {
    let mut numbers = (1u64..).zip(source.lines()).filter(|(_, line)| line.contains(marker)).map(|(number, _)| number);
    let first = numbers.next()?;
    numbers.next().is_none().then_some(first)
}

/// Each expected arena against the one in the same place of the list; every figure that the expectation names.
fn arenas(wanted: &Value, found: &Value) -> Vec<String> {
    let none = Vec::new();
    let (wanted, found) = (wanted.as_array().unwrap_or(&none), found.as_array().unwrap_or(&none));
    let mut different = Vec::new();
    if wanted.len() != found.len() {
        different.push(format!("{} arenas, {} expected", found.len(), wanted.len()));
    }
    for (wanted, found) in wanted.iter().zip(found) {
        for (figure, value) in wanted.as_object().into_iter().flatten() {
            if found[figure] != *value {
                different.push(format!("the arena's {figure} is {}, {value} expected", found[figure]));
            }
        }
    }
    different
}

/// Every `0x…` becomes ADDR.
pub fn without_addresses(text: &str) -> String {
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

    const SOURCE: &str = "int main\n  alloc(); // LAB: dropped\n";

    fn finding(line: u64, offset: u64) -> Value {
        json!({ "rule": "never-stored", "class": "finding", "certainty": "certain", "message": "x",
            "block": { "number": 3, "offset": offset, "size": 32 },
            "sites": [{ "role": "allocated", "function": "main", "file": "x.c", "line": line }] })
    }

    fn seen(findings: Value) -> Seen {
        Seen {
            status: Some(0),
            stdout: Some("✅ 0x7ffe12\n".into()),
            screen: Some("peak 128 B".into()),
            findings: json!({ "findings": findings, "lost": { "events": 0 } }),
            shown: json!({ "arenas": [{ "capacity": 256, "id": 1 }] }),
        }
    }

    fn wanted() -> Value {
        json!({ "stdout": ["✅ ADDR"], "screen": ["128 B"], "arenas": [{ "capacity": 256 }],
            "findings": [{ "rule": "never-stored", "class": "finding", "certainty": "certain",
                "block": { "number": 3, "offset": 64 },
                "sites": { "allocated": { "function": "main", "marker": "LAB: dropped" } } }] })
    }

    /// How many differences: in findings, elsewhere.
    fn count(wanted: &Value, seen: &Seen, source: &str) -> (usize, usize) {
        let found = differences(wanted, seen, source);
        (found.missing.len(), found.other.len())
    }

    #[test]
    fn the_expected_run_passes_and_each_difference_is_told() {
        let good = || seen(json!([finding(2, 64)]));
        assert_eq!(count(&wanted(), &good(), SOURCE), (0, 0));
        assert_eq!(count(&wanted(), &seen(json!([finding(1, 64)])), SOURCE), (1, 0));
        assert_eq!(count(&wanted(), &seen(json!([finding(2, 96)])), SOURCE), (1, 0));
        assert_eq!(count(&wanted(), &seen(json!([])), SOURCE), (1, 0));
        assert_eq!(count(&wanted(), &seen(json!([finding(2, 64), finding(2, 64)])), SOURCE), (0, 1));
        assert_eq!(count(&wanted(), &good(), "no marker"), (1, 0));
        assert_eq!(count(&wanted(), &good(), &SOURCE.repeat(2)), (1, 0));
        assert_eq!(count(&wanted(), &Seen { status: Some(139), ..good() }, SOURCE), (0, 1));
        assert_eq!(count(&wanted(), &Seen { status: None, ..good() }, SOURCE), (0, 1));
        assert_eq!(count(&wanted(), &Seen { stdout: Some("❌\n".into()), ..good() }, SOURCE), (0, 1));
        assert_eq!(count(&wanted(), &Seen { screen: Some(String::new()), ..good() }, SOURCE), (0, 1));
        assert_eq!(count(&wanted(), &Seen { shown: json!({ "arenas": [] }), ..good() }, SOURCE), (0, 1));
        assert_eq!(count(&wanted(), &Seen { stdout: None, screen: None, ..good() }, SOURCE), (0, 0));
        let mut lost = good();
        lost.findings["lost"]["events"] = json!(7);
        assert_eq!(count(&wanted(), &lost, SOURCE), (0, 1));
    }

    #[test]
    fn silence_is_expected_where_nothing_is_named_and_unknown_keys_are_told() {
        assert_eq!(count(&json!({}), &seen(json!([finding(2, 64)])), SOURCE), (0, 1));
        assert_eq!(count(&json!({ "finding": [] }), &seen(json!([])), SOURCE), (0, 1));
        assert_eq!(count(&json!({ "stdout_has": ["❌"] }), &seen(json!([])), SOURCE), (0, 1));
    }

    #[test]
    fn findings_may_come_in_any_order() {
        let mut other = finding(2, 64);
        other["rule"] = json!("overflow");
        let mut both = wanted();
        let twice = json!([{ "marker": "LAB: dropped" }, { "function": "main", "marker": "alloc();" }]);
        let expected = json!({ "rule": "overflow", "sites": { "allocated": twice } });
        both["findings"].as_array_mut().expect("a list").push(expected);
        assert_eq!(count(&both, &seen(json!([other, finding(2, 64)])), SOURCE), (0, 0));
    }

    #[test]
    fn addresses_are_replaced_and_nothing_else() {
        assert_eq!(without_addresses("a 0x7ffe12 b 0x c 0xAb)"), "a ADDR b 0x c ADDR)");
    }
}

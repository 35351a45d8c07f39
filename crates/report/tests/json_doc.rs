//! docs/json.md names every field that the JSON views can print.

use std::path::Path;

/// Names in the serde structs and in the hand-written log: what stands after `struct … {` and in `number(out, "…"`.
fn field_names() -> Vec<String> {
    let source = |name: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(name);
        std::fs::read_to_string(path).expect("our own source")
    };
    let mut names = Vec::new();
    let mut inside = false;
    for line in (source("json.rs") + &source("json_diff.rs")).lines() {
        if line.starts_with("struct ") || line.starts_with("pub(crate) struct ") {
            inside = true;
        } else if line.starts_with('}') {
            inside = false;
        } else if let (true, Some((name, _))) = (inside, line.trim().split_once(':'))
            && !name.contains(['#', '/', ' '])
        {
            names.push(name.to_owned());
        }
    }
    for line in source("json_log.rs").lines() {
        for call in ["number(out, \"", "address(out, \"", "text(out, \"", "flag(out, \""] {
            if let Some((_, rest)) = line.split_once(call)
                && let Some((name, _)) = rest.split_once('"')
            {
                names.push(name.to_owned());
            }
        }
    }
    names
}

#[test]
fn every_field_is_documented() {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/json.md");
    let document = std::fs::read_to_string(document).expect("docs/json.md");
    let words: std::collections::BTreeSet<&str> =
        document.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect();
    let names = field_names();
    assert!(names.len() > 80, "the sources are written as this test reads them: {names:?}");
    let missing: Vec<&String> = names.iter().filter(|name| !words.contains(name.as_str())).collect();
    assert!(missing.is_empty(), "docs/json.md does not name {missing:?}");
}

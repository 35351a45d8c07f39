//! Which crate may import which: the table in ARCHITECTURE.md against `cargo metadata`, both ways.
//!
//! An import that is not drawn is a complaint, and so is an arrow that nobody uses. Dev-dependencies are free, but for one:
//! `testkit` may be nothing else.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Where a crate's code runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Runs {
    /// In the watched program's process (and, as a library, in ours).
    Target,
    /// In any program whose author chose it: the library.
    Program,
    /// In our process only.
    Launcher,
    /// In tests only.
    Tests,
}

/// One row of the table.
#[derive(Debug)]
pub struct Row {
    /// Folder under `crates/`.
    pub name: String,
    /// Our crates that it imports.
    pub imports: BTreeSet<String>,
    /// Where it runs.
    pub runs: Runs,
}

/// What one crate really imports.
#[derive(Debug, Default)]
pub struct Imports {
    ours: BTreeSet<String>,
    foreign: BTreeSet<String>,
    /// Foreign ones that a feature brings in.
    by_feature: BTreeSet<String>,
    /// Of ours, with a feature of theirs.
    with_features: BTreeSet<String>,
}

/// The name of a foreign dependency that is there only with a feature.
fn name_of_feature_only(dependency: &Value) -> Option<String> {
    let name = dependency["name"].as_str()?;
    (dependency["optional"].as_bool() == Some(true) && folder(name).is_none()).then(|| name.to_owned())
}

/// Crates from outside that may run in the target: no_std, no allocation, no global state. `libc` is declarations only: the
/// code behind them is the program's own C library.
const FOREIGN_IN_TARGET: &[&str] = &["rustix", "libc"];

/// Likewise for the library: what its users get with it.
const FOREIGN_IN_PROGRAM: &[&str] = &["rustix", "allocator-api2"];

/// The folder of a package of ours. The library has the project's name, the others begin with it.
fn folder(package: &str) -> Option<&str> {
    if package == "arenascope" { Some(package) } else { package.strip_prefix("arenascope-") }
}
const BEGIN: &str = "<!-- arrows: checked by `cargo xtask tidy` -->";

/// Reads the table that follows the marker in ARCHITECTURE.md.
pub fn table(architecture: &str) -> Result<Vec<Row>, String> {
    let (_, after) = architecture.split_once(BEGIN).ok_or_else(|| format!("ARCHITECTURE.md: no marker {BEGIN}"))?;
    let mut rows = Vec::new();
    for line in after.lines().skip_while(|line| line.trim().is_empty()).take_while(|line| line.starts_with('|')).skip(2)
    {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [name, imports, runs] = cells.as_slice() else {
            return Err(format!("ARCHITECTURE.md: a row of the arrow table has not three cells: {line}"));
        };
        let runs = match *runs {
            "target" => Runs::Target,
            "program" => Runs::Program,
            "launcher" => Runs::Launcher,
            "tests" => Runs::Tests,
            other => {
                return Err(format!("ARCHITECTURE.md: `{other}` is not target, program, launcher or tests: {line}"));
            }
        };
        let imports = imports.split_whitespace().map(|name| name.trim_matches(['`', ',']).to_owned()).collect();
        rows.push(Row { name: name.trim_matches('`').to_owned(), imports, runs });
    }
    if rows.is_empty() { Err("ARCHITECTURE.md: the arrow table is empty".into()) } else { Ok(rows) }
}

/// What the crates under `crates/` import, by folder name.
pub fn imports(metadata: &Value) -> BTreeMap<String, Imports> {
    let mut all = BTreeMap::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let Some(name) = package["name"].as_str().and_then(folder) else { continue };
        let mut imports = Imports::default();
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            // null is a normal dependency; "build" counts, "dev" is free.
            if dependency["kind"].as_str() == Some("dev") {
                continue;
            }
            let Some(other) = dependency["name"].as_str() else { continue };
            // What a feature of a crate in the target brings in is there only where somebody asks for the feature, which no other
            // crate in the target may.
            if let Some(name) = name_of_feature_only(dependency) {
                imports.by_feature.insert(name);
                continue;
            }
            let asks = dependency["features"].as_array().is_some_and(|features| !features.is_empty());
            if asks && let Some(ours) = folder(other) {
                imports.with_features.insert(ours.to_owned());
            }
            match folder(other) {
                Some(ours) => imports.ours.insert(ours.to_owned()),
                None => imports.foreign.insert(other.to_owned()),
            };
        }
        all.insert(name.to_owned(), imports);
    }
    all
}

/// Every difference between the picture and the imports.
pub fn complaints(table: &[Row], imports: &BTreeMap<String, Imports>) -> Vec<String> {
    let mut complaints = Vec::new();
    for name in imports.keys().filter(|name| !table.iter().any(|row| &row.name == *name)) {
        complaints.push(format!("ARCHITECTURE.md: crate {name} is missing from the arrow table"));
    }
    for row in table {
        let Some(real) = imports.get(&row.name) else {
            complaints.push(format!("ARCHITECTURE.md: the arrow table has {}, which is no crate", row.name));
            continue;
        };
        for other in real.ours.difference(&row.imports) {
            complaints.push(format!("{}: imports {other}, an arrow ARCHITECTURE.md does not draw", row.name));
        }
        for other in row.imports.difference(&real.ours) {
            complaints.push(format!("ARCHITECTURE.md: draws {} → {other}, which is not imported", row.name));
        }
        for other in &real.ours {
            let runs = table.iter().find(|r| &r.name == other).map(|r| r.runs);
            if row.runs == Runs::Target && runs != Some(Runs::Target) {
                complaints.push(format!("{}: runs in the target and imports {other}, which must not", row.name));
            }
            if row.runs != Runs::Tests && runs == Some(Runs::Tests) {
                complaints.push(format!("{}: imports {other}, which is for tests only", row.name));
            }
        }
        for other in real.with_features.iter().filter(|_| row.runs == Runs::Target) {
            if imports.get(other).is_some_and(|other| !other.by_feature.is_empty()) {
                complaints.push(format!(
                    "{}: runs in the target and asks for a feature of {other}, which brings others in",
                    row.name
                ));
            }
        }
        let foreign = match row.runs {
            Runs::Target => Some((FOREIGN_IN_TARGET, "runs in the target")),
            Runs::Program => Some((FOREIGN_IN_PROGRAM, "is the library")),
            Runs::Launcher | Runs::Tests => None,
        };
        if let Some((allowed, because)) = foreign {
            for other in real.foreign.iter().filter(|other| !allowed.iter().any(|allowed| other.starts_with(allowed))) {
                complaints.push(format!("{}: {because} and imports {other} from outside", row.name));
            }
            for other in real.ours.iter().filter(|_| row.runs == Runs::Program && row.name == "arenascope") {
                complaints.push(format!("{}: the library imports {other}, and may import none of ours", row.name));
            }
        }
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const PAGE: &str = "# x\n<!-- arrows: checked by `cargo xtask tidy` -->\n\n| crate | imports | runs |\n|---|---|---|\n\
        | `event` | | target |\n| `record` | `event` | target |\n| `replay` | `event` | launcher |\n\nend\n| no | more | rows |\n";

    fn metadata(record: Value) -> Value {
        json!({ "packages": [
            { "name": "arenascope-event", "dependencies": [] },
            { "name": "arenascope-replay", "dependencies": [
                { "name": "arenascope-event", "kind": null }, { "name": "proptest", "kind": "dev" } ] },
            { "name": "arenascope-record", "dependencies": record },
            { "name": "xtask", "dependencies": [ { "name": "serde_json", "kind": null } ] },
        ] })
    }

    fn check(record: Value) -> Vec<String> {
        complaints(&table(PAGE).expect("a table"), &imports(&metadata(record)))
    }

    #[test]
    fn the_drawn_imports_pass() {
        assert_eq!(
            check(json!([{ "name": "arenascope-event", "kind": null }, { "name": "rustix", "kind": null }])),
            Vec::<String>::new()
        );
    }

    #[test]
    fn an_undrawn_import_an_unused_arrow_and_a_foreign_crate_in_the_target_are_named() {
        let found = check(json!([{ "name": "arenascope-replay", "kind": null }, { "name": "serde", "kind": null }]));
        let all = found.join("\n");
        assert!(all.contains("record: imports replay, an arrow"), "{all}");
        assert!(all.contains("draws record → event, which is not imported"), "{all}");
        assert!(all.contains("record: runs in the target and imports replay"), "{all}");
        assert!(all.contains("imports serde from outside"), "{all}");
        assert_eq!(found.len(), 4, "{all}");
    }

    #[test]
    fn what_a_feature_brings_in_is_free_until_a_crate_in_the_target_asks_for_it() {
        let check = |features: Value| {
            let metadata = json!({ "packages": [
                { "name": "arenascope-event", "dependencies": [{ "name": "gimli", "kind": null, "optional": true }] },
                { "name": "arenascope-record",
                  "dependencies": [{ "name": "arenascope-event", "kind": null, "features": features }] },
                { "name": "arenascope-replay",
                  "dependencies": [{ "name": "arenascope-event", "kind": null, "features": ["build"] }] },
            ] });
            complaints(&table(PAGE).expect("a table"), &imports(&metadata))
        };
        assert_eq!(check(json!([])), Vec::<String>::new());
        let found = check(json!(["build"])).join("\n");
        assert!(found.contains("record: runs in the target and asks for a feature of event"), "{found}");
    }

    #[test]
    fn the_library_imports_none_of_ours_and_little_from_outside() {
        let page = PAGE.replace("| `event` | |", "| `arenascope` | `event` | program |\n| `event` | |");
        let page = page.replace("| `replay` | `event` |", "| `replay` | `event` `arenascope` |");
        let metadata = |library: Value| {
            json!({ "packages": [
                { "name": "arenascope", "dependencies": library },
                { "name": "arenascope-event", "dependencies": [] },
                { "name": "arenascope-record", "dependencies": [{ "name": "arenascope-event", "kind": null }] },
                { "name": "arenascope-replay", "dependencies": [
                    { "name": "arenascope-event", "kind": null }, { "name": "arenascope", "kind": null } ] },
            ] })
        };
        let check = |page: &str, library| complaints(&table(page).expect("a table"), &imports(&metadata(library)));
        let free = page.replace("| `arenascope` | `event` |", "| `arenascope` | |");
        assert_eq!(check(&free, json!([{ "name": "rustix", "kind": null }])), Vec::<String>::new());
        let found =
            check(&page, json!([{ "name": "arenascope-event", "kind": null }, { "name": "serde", "kind": null }]))
                .join("\n");
        assert!(found.contains("may import none of ours"), "{found}");
        assert!(found.contains("is the library and imports serde"), "{found}");
    }

    #[test]
    fn a_crate_without_a_row_and_a_row_without_a_crate_are_named() {
        let table = table(&PAGE.replace("`replay`", "`player`")).expect("a table");
        let found = complaints(&table, &imports(&metadata(json!([{ "name": "arenascope-event", "kind": null }]))));
        assert_eq!(found.len(), 2, "{found:?}");
    }

    #[test]
    fn a_page_without_marker_or_with_a_wrong_word_is_an_error() {
        assert!(table("# nothing").is_err());
        assert!(table(&PAGE.replace("target", "cellar")).is_err());
    }
}

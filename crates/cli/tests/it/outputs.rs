//! Findings in the formats of other people's tools, and those that the user does not want to hear again.

use crate::harness::{Place, accused, lab};
use serde_json::Value;

fn place_with(suppressions: &str) -> Place {
    let place = Place::new();
    std::fs::write(place.file("seen"), suppressions).expect("a file");
    place
}

#[test]
fn a_suppressed_finding_is_counted_and_fails_nothing() {
    let source = lab("09b_arena_scope_leak_tracer.c");
    let place = place_with("# the lab drops a block on purpose\nnever-stored:main\nnull-used:*\n");
    let words = ["run", "--fail-on", "any", "--suppressions", "seen", "-o", "t.ascope"];
    let mut words: Vec<&std::ffi::OsStr> = words.iter().map(std::ffi::OsStr::new).collect();
    words.push(source.as_os_str());
    let run = place.arenascope(&words);
    assert_eq!(run.status, 0, "{run:?}");
    for text in [
        "1 finding suppressed (never-stored:main: 1)",
        "suppression in line 3 matched nothing: null-used:*",
        "0 findings, 0 notes",
    ] {
        assert!(run.stderr.contains(text), "{text}: {run:?}");
    }
    assert!(!run.stderr.contains("finding 1"), "{run:?}");

    let open = place.arenascope(&["findings", "t.ascope", "--fail-on", "any"]);
    assert_eq!(open.status, 1, "{open:?}");
    let held = place.arenascope(&["findings", "t.ascope", "--fail-on", "any", "--suppressions", "seen", "--json"]);
    assert_eq!(held.status, 0, "{held:?}");
    let json: Value = serde_json::from_str(&held.stdout).expect("JSON");
    assert_eq!(accused(&json).len(), 0);
    assert_eq!(json["suppressed"][0]["suppression"], "never-stored:main");
    assert_eq!((&json["suppressed"][0]["count"], &json["suppressed"][1]["count"]), (&1.into(), &0.into()));
    let sarif = place.arenascope(&["findings", "t.ascope", "--suppressions", "seen", "--sarif"]);
    let sarif: Value = serde_json::from_str(&sarif.stdout).expect("JSON");
    let results = sarif["runs"][0]["results"].as_array().cloned().unwrap_or_default();
    assert_eq!(results.len(), 1, "{sarif}");
    assert_eq!(results[0]["suppressions"][0]["kind"], "external", "{sarif}");
}

#[test]
fn suppressions_that_are_none_end_before_the_program_starts() {
    for (text, said) in
        [("never-stord:main", "try: never-stored:main"), ("main", "no colon"), ("never-stored:", "no pattern")]
    {
        let place = place_with(text);
        let source = lab("09b_arena_scope_leak_tracer.c");
        let run = place.arenascope(&["run".as_ref(), "--suppressions".as_ref(), "seen".as_ref(), source.as_os_str()]);
        assert_eq!(run.status, 2, "{run:?}");
        assert!(run.stderr.contains("line 1") && run.stderr.contains(said) && run.stdout.is_empty(), "{run:?}");
    }
    let place = Place::new();
    let run = place.arenascope(&["run", "--suppressions", "none", "--", "true"]);
    assert!(run.status == 2 && run.stderr.contains("--suppressions none"), "{run:?}");
}

#[test]
fn sarif_and_junit_of_a_real_run() {
    let place = Place::new();
    let program = place.cc(&lab("09b_arena_scope_leak_tracer.c").to_string_lossy(), &[]);
    place.watch(&["-o", "t.ascope"], &program, &[]);
    let sarif = place.arenascope(&["findings", "t.ascope", "--sarif", "--fail-on", "never-stored"]);
    assert_eq!(sarif.status, 1, "{sarif:?}");
    let again = place.arenascope(&["findings", "t.ascope", "--sarif"]);
    assert_eq!(sarif.stdout, again.stdout, "byte for byte");
    let json: Value = serde_json::from_str(&sarif.stdout).expect("JSON");
    let result = &json["runs"][0]["results"][0];
    assert_eq!((&result["ruleId"], &result["level"]), (&"never-stored".into(), &"error".into()));
    assert_eq!(
        json["runs"][0]["tool"]["driver"]["rules"][result["ruleIndex"].as_u64().unwrap_or(99) as usize]["id"],
        "never-stored"
    );
    assert!(
        result["locations"][0]["physicalLocation"]["region"]["snippet"]["text"].to_string().contains("arena_alloc")
    );
    let junit = place.arenascope(&["findings", "t.ascope", "--junit"]);
    assert_eq!(junit.status, 0, "{junit:?}");
    assert!(junit.stdout.starts_with("<?xml") && junit.stdout.contains("failures=\"1\""), "{junit:?}");
    assert!(junit.stdout.contains("name=\"main 09b_arena_scope_leak_tracer.c:"), "{junit:?}");
    let both = place.arenascope(&["findings", "t.ascope", "--junit", "--json"]);
    assert_eq!(both.status, 2, "{both:?}");
}

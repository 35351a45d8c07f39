//! SARIF and JUnit: valid by schema and shape whatever the program calls its things, the same for the same findings.

use arenascope_event::{Address, EventNumber, Frame, Lost, ThreadNumber};
use arenascope_findings::{ArenaRef, BlockRef, Certainty, Class, Evidence, Finding, RULES, SiteRole};
use arenascope_replay::ArenaId;
use arenascope_report::suppress::Suppressions;
use arenascope_report::view::{FindingView, RunView, Site};
use arenascope_report::{junit, sarif, screen};
use proptest::prelude::*;
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;

fn site(function: &str, file: &str, line: u32, source: &str) -> Arc<Site> {
    let frame = Frame {
        address: Address(0x401200),
        function: function.into(),
        file: file.into(),
        line,
        module: "/bin/prog".into(),
        inlined: false,
    };
    Arc::new(Site { frames: vec![frame], source: source.into(), process: None })
}

fn finding(rule: usize, certainty: Certainty, words: &str, sites: Vec<(SiteRole, Arc<Site>)>) -> FindingView {
    let facts = RULES[rule % RULES.len()];
    let claim = Finding {
        rule: facts.name,
        class: facts.class,
        certainty,
        message: words.to_owned(),
        arena: Some(ArenaRef { id: ArenaId(1), name: words.to_owned() }),
        block: Some(BlockRef { number: 3, extent: 1, offset: 64, size: 32 }),
        moment: EventNumber(4),
        threads: vec![ThreadNumber(1)],
        sites: vec![],
        calls: vec![],
        because: words.to_owned(),
        evidence: vec![Evidence {
            label: words.to_owned(),
            address: Address(0x1000),
            offset: -4,
            bytes: vec![0, 0xff, b'<', b'&'],
            damaged: vec![0..1, 2..4],
        }],
        disproof: words.to_owned(),
        next: words.to_owned(),
        count: 2,
        bytes: 64,
    };
    FindingView { claim, sites, process: None }
}

fn run(findings: Vec<FindingView>) -> RunView {
    RunView {
        trace: "t.ascope".into(),
        program: "/bin/prog".into(),
        pid: 7,
        findings,
        events: 9,
        lost: Lost { no_space: 3, ..Lost::default() },
        damage: vec!["<damaged> & gone".into()],
        ..RunView::default()
    }
}

fn two() -> RunView {
    let rule = |class| RULES.iter().position(|rule| rule.class == class).expect("both classes have rules");
    let sites = || {
        vec![
            (SiteRole::Freed, site("give<int>", "/src/a b/x.c", 7, "free(p);")),
            (SiteRole::Allocated, site("main", "/usr/lib/y.c", 9, "")),
        ]
    };
    run(vec![
        finding(rule(Class::Finding), Certainty::Certain, "said \u{1} <once> & \"twice\"", sites()),
        finding(rule(Class::Finding), Certainty::Likely, "again", sites()),
        finding(rule(Class::Note), Certainty::Possible, "a note", vec![]),
    ])
}

/// What the published schema has to say against a SARIF log.
fn complaints(log: &Value) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/schemas/sarif-schema-2.1.0.json");
    let text = std::fs::read_to_string(path).expect("the schema");
    let schema: Value = serde_json::from_str(&text).expect("the schema is JSON");
    let (mut schemas, mut compiler) = (boon::Schemas::new(), boon::Compiler::new());
    compiler.enable_format_assertions();
    compiler.add_resource("sarif.json", schema).expect("a schema");
    let index = compiler.compile("sarif.json", &mut schemas).expect("a schema that compiles");
    schemas.validate(log, index).map_or_else(|error| format!("{error:#}"), |()| String::new())
}

fn sarif_of(run: &RunView) -> Value {
    serde_json::from_str(&sarif::log(run, "/src")).expect("JSON")
}

#[test]
fn findings_as_sarif_fit_the_published_schema() {
    let mut run = two();
    assert_eq!(complaints(&sarif_of(&run)), "");
    assert_eq!(complaints(&sarif_of(&RunView::default())), "");
    let rules = format!("{}:give*\n*:nothing", run.findings[0].claim.rule);
    run.suppressed = Suppressions::parse(&rules).expect("lines").apply(&mut run.findings);
    let log = sarif_of(&run);
    assert_eq!(complaints(&log), "");
    let kinds: Vec<usize> = log["runs"][0]["results"]
        .as_array()
        .expect("results")
        .iter()
        .map(|result| result["suppressions"].as_array().map_or(9, Vec::len))
        .collect();
    assert_eq!(kinds, [0, 1, 1], "the note stands, two are suppressed: {log}");
    // The schema does complain.
    let mut wrong = log;
    wrong["runs"][0]["results"][0]["level"] = "awful".into();
    assert_ne!(complaints(&wrong), "");
}

#[test]
fn sarif_says_how_bad_where_and_which_one_again() {
    let log = sarif_of(&two());
    let results = log["runs"][0]["results"].as_array().expect("results");
    let levels: Vec<&str> = results.iter().filter_map(|result| result["level"].as_str()).collect();
    assert_eq!(levels, ["error", "warning", "note"]);
    let place = &results[0]["locations"][0]["physicalLocation"];
    assert_eq!(place["artifactLocation"]["uri"], "a%20b/x.c");
    assert_eq!(place["artifactLocation"]["uriBaseId"], "%SRCROOT%");
    assert_eq!(place["region"]["startLine"], 7);
    assert_eq!(results[0]["relatedLocations"][0]["physicalLocation"]["artifactLocation"]["uri"], "file:///usr/lib/y.c");
    assert_eq!(results[0]["relatedLocations"][0]["message"]["text"], "allocated");
    let print = |result: &Value| result["partialFingerprints"]["arenascopeSites/v1"].as_str().map(str::to_owned);
    let (first, second) = (print(&results[0]).expect("a print"), print(&results[1]).expect("a print"));
    assert_eq!(first.split_once(':').map(|(hash, _)| hash), second.split_once(':').map(|(hash, _)| hash));
    assert!(first.ends_with(":1") && second.ends_with(":2"), "two at one place stay two: {first} {second}");
    // Lines move, folders too: the same finding.
    let mut moved = two();
    moved.findings[0].sites[0].1 = site("give<int>", "/elsewhere/x.c", 70, "free(p);");
    assert_eq!(print(&sarif_of(&moved)["runs"][0]["results"][0]), Some(first));
    let notes = log["runs"][0]["invocations"][0]["toolExecutionNotifications"].to_string();
    assert!(notes.contains("3 events could not be recorded") && notes.contains("<damaged>"), "{notes}");
}

/// `(tests, failures, skipped)` as the suite says and as its cases are.
fn counts(xml: &str) -> [(usize, usize, usize); 2] {
    let document = roxmltree::Document::parse(xml).unwrap_or_else(|error| panic!("{error}: {xml}"));
    let root = document.root_element();
    assert_eq!(root.tag_name().name(), "testsuites");
    let suite = root.children().find(roxmltree::Node::is_element).expect("a suite");
    let order: Vec<&str> =
        suite.children().filter(roxmltree::Node::is_element).map(|node| node.tag_name().name()).collect();
    let rank =
        |name: &str| ["properties", "testcase", "system-out", "system-err"].iter().position(|known| *known == name);
    assert!(
        order.iter().map(|name| rank(name)).is_sorted() && order.iter().all(|name| rank(name).is_some()),
        "{order:?}"
    );
    let said = |name: &str| suite.attribute(name).and_then(|figure| figure.parse().ok()).expect("a figure");
    let cases: Vec<_> = suite.children().filter(|node| node.has_tag_name("testcase")).collect();
    assert!(cases.iter().all(|case| case.attribute("name").is_some() && case.attribute("classname").is_some()));
    let with = |name: &str| cases.iter().filter(|case| case.children().any(|node| node.has_tag_name(name))).count();
    [(said("tests"), said("failures"), said("skipped")), (cases.len(), with("failure"), with("skipped"))]
}

#[test]
fn junit_has_a_case_for_every_finding_and_every_silent_rule() {
    let mut run = two();
    let names = screen::file_names(&run, "/src");
    let xml = junit::report(&run, &names);
    let silent = RULES.len() - 2;
    assert_eq!(counts(&xml), [(silent + 3, 2, 0); 2], "{xml}");
    assert!(xml.contains("name=\"give&lt;int&gt; x.c:7, main y.c:9\""), "{xml}");
    assert!(xml.contains("name=\"give&lt;int&gt; x.c:7, main y.c:9 (2)\""), "{xml}");
    assert!(xml.contains("said \\x01 &lt;once&gt; &amp; &quot;twice&quot;"), "{xml}");
    assert!(xml.contains("LOST  3 events"), "{xml}");
    run.suppressed = Suppressions::parse("*:x.c").expect("a line").apply(&mut run.findings);
    assert_eq!(counts(&junit::report(&run, &names)), [(silent + 3, 0, 2); 2]);
    assert_eq!(counts(&junit::report(&RunView::default(), &names)), [(RULES.len(), 0, 0); 2]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_words_of_the_program_are_valid_in_both(
        words in "[\\x00-\\x7f]{0,20}|.{0,20}|[\u{fffe}\u{ffff}\u{0}<&\"\u{202e}\\]>]{0,9}",
        file in "[ -~]{0,12}|/src/.{0,9}",
        line in 0u32..3,
        rule in 0usize..40,
    ) {
        let sites = vec![(SiteRole::Touched, site(&words, &file, line, &words))];
        let run = run(vec![finding(rule, Certainty::Likely, &words, sites)]);
        prop_assert_eq!(complaints(&sarif_of(&run)), "");
        let names = screen::file_names(&run, "/src");
        let [said, counted] = counts(&junit::report(&run, &names));
        prop_assert_eq!(said, counted);
    }
}

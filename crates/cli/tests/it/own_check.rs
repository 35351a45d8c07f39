//! Check mode of our own library's arenas, end to end: each fault planted in a program on the C header is found at its block, offset
//! and lines, and the mended twin is silent and prints the same.

use crate::harness::{Place, line_of, programs};
use crate::own::on_library;
use serde_json::Value;

fn source() -> std::path::PathBuf {
    programs().join("own_faults.c")
}

/// Lines of a finding's sites, by role.
fn line(finding: &Value, role: &str) -> Option<u64> {
    let sites = finding["sites"].as_array()?;
    sites.iter().find(|site| site["role"] == role).and_then(|site| site["line"].as_u64())
}

/// Runs the program and gives its findings (no notes), and what it printed.
fn findings(flags: &[&str], fault: &str, mended: bool) -> (Vec<Value>, String, i32) {
    let place = Place::new();
    let program = on_library(&place, "own_faults.c", &["-g", "-O2"], false);
    let arguments: &[&str] = if mended { &[fault, "mended"] } else { &[fault] };
    let (said, words) = place.watch(flags, &program, arguments);
    let all = place.findings(&place.trace());
    let all = all["findings"].as_array().expect("a list of findings");
    let found = all.iter().filter(|one| one["class"] == "finding").cloned().collect();
    assert!(words.contains(" 0 lost"), "{words}");
    (found, said.stdout, said.status)
}

#[test]
fn each_planted_fault_is_found_and_its_mended_twin_is_silent() {
    let allocated = line_of(&source(), "/* the block */");
    let table = [
        ("overflow", "overflow", Some(allocated), None),
        ("underflow", "underflow", Some(allocated), None),
        ("double-free", "double-free", Some(allocated), None),
        ("use-after-rewind", "use-after-rewind", Some(allocated), Some(("rewound", "/* the rewind */"))),
        ("use-after-reset", "use-after-reset", Some(allocated), Some(("reset", "/* the reset */"))),
        ("use-after-unmap", "use-after-unmap", Some(allocated), Some(("destroyed", "/* the end */"))),
        ("region", "overflow", Some(line_of(&source(), "/* the last block */")), None),
    ];
    for (fault, rule, allocated, ended) in table {
        let (found, printed, status) = findings(&["--check"], fault, false);
        assert_eq!(found.len(), 1, "{fault}: {found:#?}");
        assert_eq!(found[0]["rule"], rule, "{found:#?}");
        assert_eq!(line(&found[0], "allocated"), allocated, "{fault}: {found:#?}");
        if let Some((role, mark)) = ended {
            assert_eq!(line(&found[0], role), Some(line_of(&source(), mark)), "{fault}: {found:#?}");
        }
        assert_eq!(status, if fault == "use-after-unmap" { 128 + libc::SIGSEGV } else { 0 }, "{fault}");
        let (none, same, status) = findings(&["--check"], fault, true);
        assert!(none.is_empty(), "{fault}, mended: {none:#?}");
        assert_eq!((printed, status), (same, 0), "what the program says of its arena is the same");
    }
}

#[test]
fn a_guard_page_stops_the_very_access() {
    let (found, _, status) = findings(&["--check", "--guard-pages"], "guard", false);
    assert_eq!(status, 128 + libc::SIGSEGV);
    assert_eq!((found.len(), &found[0]["rule"]), (1, &Value::from("overflow")), "{found:#?}");
    assert!(found[0]["message"].as_str().is_some_and(|words| words.contains("12 bytes past the end of")), "{found:#?}");
    assert_eq!(line(&found[0], "touched"), Some(line_of(&source(), "/* the touch */")), "{found:#?}");
    let (none, _, status) = findings(&["--check", "--guard-pages=plan*"], "guard", true);
    assert!(none.is_empty() && status == 0, "{none:#?}");
}

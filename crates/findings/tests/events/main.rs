//! Rules that judge by events alone: planted faults, their mended twins, and correct programs that look alike.

mod cursors;
mod frees;
mod overlaps;
mod scopes;

use arenascope_event::{Address, ArenaKey, EventKind, ProcessFacts};
use arenascope_findings::{Finding, findings};
use arenascope_testkit::Table;
use expect_test::Expect;
use std::fmt::Write;

/// What the rules named here say, without the others.
fn judged(facts: &ProcessFacts, story: Table, rules: &[&str]) -> Vec<Finding> {
    let mut found = findings(facts, story.events(), |_| None::<Vec<u8>>);
    found.retain(|finding| rules.contains(&finding.rule));
    found
}

fn describe(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        let (class, certainty) = (finding.class.word(), finding.certainty.word());
        writeln!(text, "{class} {} {certainty} at #{}: {}", finding.rule, finding.moment.0, finding.message).unwrap();
        let threads: Vec<u32> = finding.threads.iter().map(|thread| thread.0).collect();
        write!(text, "  threads {threads:?}").unwrap();
        for (role, site) in &finding.sites {
            write!(text, ", {} at site {}", role.word(), site.0).unwrap();
        }
        writeln!(text, ", {} times, {} bytes", finding.count, finding.bytes).unwrap();
        writeln!(text, "  because {}", finding.because).unwrap();
        for evidence in &finding.evidence {
            writeln!(
                text,
                "  {} at {:+}: {:02x?}, wrong {:?}",
                evidence.label, evidence.offset, evidence.bytes, evidence.damaged
            )
            .unwrap();
        }
        assert!(!finding.disproof.is_empty() && !finding.next.is_empty());
    }
    text
}

fn check(facts: &ProcessFacts, story: Table, rules: &[&str], expected: Expect) {
    expected.assert_eq(&describe(&judged(facts, story, rules)));
}

fn silent(facts: &ProcessFacts, story: Table, rules: &[&str]) {
    assert_eq!(describe(&judged(facts, story, rules)), "");
}

/// The object of `key` held `before` after its last block, and holds `after` now.
fn object(story: Table, key: u32, before: &[u64], after: &[u64]) -> Table {
    let bytes = |words: &[u64]| words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let address = Address(0x7000_0000 + 0x100 * u64::from(key));
    story.event(EventKind::ObjectChanged { arena: ArenaKey(key), address, before: bytes(before), after: bytes(after) })
}

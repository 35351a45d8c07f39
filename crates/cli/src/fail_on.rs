//! `--fail-on any|RULE,…`: which findings turn the exit status into 1.
//!
//! `any` counts findings and no notes; a rule that is named counts whatever its class is.

use crate::error::CliError;
use arenascope_findings::{Class, RULES};
use arenascope_report::view::FindingView;

/// What makes a run or a look at a trace fail.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FailOn {
    any: bool,
    rules: Vec<String>,
}

impl FailOn {
    /// From the texts of the flag, already split at commas. A rule that this program does not know is an error: it would
    /// never fail, and whoever asked would rely on it.
    pub fn parse(texts: &[String]) -> Result<FailOn, CliError> {
        let known = RULES.map(|rule| rule.name);
        let mut fail_on = FailOn::default();
        for text in texts.iter().map(|text| text.trim()) {
            match text {
                "any" => fail_on.any = true,
                rule if known.contains(&rule) => fail_on.rules.push(rule.to_owned()),
                other => {
                    return Err(CliError::usage(format!("--fail-on {other}: there is no rule of this name"))
                        .hint(format!("any, or some of {}", known.join(", "))));
                }
            }
        }
        Ok(fail_on)
    }

    /// True when one of these was asked for.
    pub fn hits(&self, findings: &[FindingView]) -> bool {
        let is_meant = |rule: &str| self.rules.iter().any(|wanted| wanted == rule);
        let mut claims = findings.iter().map(|finding| &finding.claim);
        claims.any(|claim| self.any && claim.class == Class::Finding || is_meant(claim.rule))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arenascope_event::EventNumber;
    use arenascope_findings::{Certainty, Finding};

    fn finding(rule: &'static str, class: Class) -> FindingView {
        let claim = Finding {
            rule,
            class,
            certainty: Certainty::Certain,
            message: String::new(),
            arena: None,
            block: None,
            moment: EventNumber(0),
            threads: vec![],
            sites: vec![],
            calls: vec![],
            because: String::new(),
            evidence: Vec::new(),
            disproof: String::new(),
            next: String::new(),
            count: 1,
            bytes: 0,
        };
        FindingView { claim, sites: vec![], process: None }
    }

    #[test]
    fn any_means_findings_and_a_name_means_itself() {
        let parse =
            |text: &str| FailOn::parse(&text.split(',').map(str::to_owned).collect::<Vec<_>>()).expect("known rules");
        let bug = [finding("never-stored", Class::Finding)];
        let note = [finding("never-unmapped", Class::Note)];
        assert!(parse("any").hits(&bug) && !parse("any").hits(&note));
        assert!(parse("never-unmapped").hits(&note) && !parse("never-unmapped").hits(&bug));
        assert!(parse("never-unmapped,never-stored").hits(&bug));
        assert!(!FailOn::default().hits(&bug));
        let error = FailOn::parse(&["overflw".to_owned()]).expect_err("no such rule");
        assert!(error.status() == 2 && RULES.iter().all(|rule| error.to_string().contains(rule.name)), "{error}");
    }
}

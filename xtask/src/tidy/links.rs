//! Every relative link in our Markdown leads to something that exists.

use crate::sources::Source;
use std::path::Path;

/// Every link that leads nowhere.
pub fn complaints(markdown: &[Source], root: &Path) -> Vec<String> {
    let mut complaints = Vec::new();
    for page in markdown {
        let folder = Path::new(&page.path).parent().unwrap_or(Path::new(""));
        for target in targets(&page.text) {
            let file = target.split('#').next().unwrap_or("");
            if !file.is_empty() && !root.join(folder).join(file).exists() {
                complaints.push(format!("{}: the link to {target} leads nowhere", page.path));
            }
        }
    }
    complaints
}

/// What stands in `](…)`, without addresses on the network.
fn targets(text: &str) -> Vec<&str> {
    text.split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')').map(|(target, _)| target))
        .filter(|target| !target.contains("://") && !target.contains(char::is_whitespace))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_link_is_named_and_a_live_one_is_not() {
        let page = Source {
            path: "xtask/page.md".into(),
            text: "[a](Cargo.toml) [b](../xtask/src/main.rs#x) [c](https://x.y/z) [d](no/such.file) `x[0](a, b)`"
                .into(),
        };
        let found = complaints(&[page], &crate::steps::root());
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found.iter().all(|line| line.contains("no/such.file")));
    }
}

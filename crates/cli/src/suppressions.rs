//! `--suppressions FILE`: the file, read before anything else happens.
//!
//! Absent: what a line means (`arenascope_report::suppress`).

use crate::error::CliError;
use arenascope_report::suppress::Suppressions;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

/// More is no list that a person keeps.
const MOST_BYTES: u64 = 16 << 20;

/// The lines of the file; none without a file. What cannot be read, or says nothing we understand, is an error with exit
/// status 2: whoever asked relies on it.
pub fn read(path: Option<&Path>) -> Result<Suppressions, CliError> {
    let Some(path) = path else { return Ok(Suppressions::default()) };
    let wrong = |what: String| CliError::usage(format!("--suppressions {}: {what}", path.display()));
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| wrong(error.to_string()))?;
    file.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(|error| wrong(error.to_string()))?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(wrong("more than 16 MiB".to_owned()).hint("a file with a line for each suppression"));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let before = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        wrong(format!("line {line} is not UTF-8")).hint("functions and files as `arenascope findings` prints them")
    })?;
    Suppressions::parse(&text).map_err(|error| {
        let complaint = wrong(error.to_string());
        match error.meant {
            Some(meant) => complaint.hint(meant),
            None => complaint.hint("rule:pattern, such as never-stored:parse_*; docs/findings.md lists the rules"),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_list_of_suppressions_says_why() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("s");
        for (bytes, part) in [
            (&b"never-stored:x\n\xff\n"[..], "line 2 is not UTF-8"),
            (b"never-stord:x", "line 1: there is no rule 'never-stord'\n  try: never-stored:x"),
            (b"?", "no colon"),
        ] {
            std::fs::write(&path, bytes).expect("a file");
            let error = read(Some(&path)).expect_err("no list");
            assert_eq!(error.status(), 2);
            assert!(error.to_string().contains(part), "{error}");
        }
        assert!(read(Some(folder.path())).is_err(), "a folder");
        assert!(read(Some(&folder.path().join("none"))).is_err_and(|error| error.status() == 2));
        assert!(read(None).is_ok());
    }
}

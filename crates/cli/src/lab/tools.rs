//! The same program under other tools: what each of them says, in its own words.
//!
//! A row of an expectation's `tools` names the tool, the compiler flags it wants, the command (`PROGRAM` stands for the compiled
//! file), the package it is in, the status that is expected, and the text of the line to show. A tool that is not installed is
//! said, and is no difference. Deliberately absent: any knowledge of a tool.

use crate::error::CliError;
use crate::run::compile;
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Stdio};

/// What one tool said.
pub struct Said {
    /// The tool.
    pub name: String,
    /// Its line, or that it said nothing, or that it is not there.
    pub line: String,
    /// What differs from what is expected.
    pub different: Vec<String>,
}

/// Compiles `source` for the tool and runs it.
///
/// # Errors
/// The program cannot be compiled.
pub fn ask(row: &Value, source: &Path) -> Result<Said, CliError> {
    let text = |key: &str| row[key].as_str().unwrap_or("");
    let name = text("name").to_owned();
    let program = compile::compile(&[source.as_os_str().to_owned()], row["cflags"].as_str())?;
    let words: Vec<&str> = row["command"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let words = words.iter().map(|word| if *word == "PROGRAM" { program.path.as_os_str() } else { word.as_ref() });
    let words: Vec<_> = words.collect();
    let Some((first, rest)) = words.split_first() else {
        return Ok(Said { line: "no command".into(), different: vec![format!("{name}: no command")], name });
    };
    let folder = program.path.parent().unwrap_or(Path::new("."));
    let output = match Command::new(first).args(rest).current_dir(folder).stdin(Stdio::null()).output() {
        Ok(output) => output,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let line = format!("not installed: apt-get install {}", text("package"));
            return Ok(Said { name, line, different: Vec::new() });
        }
        Err(error) => return Err(CliError::usage(format!("{name}: {error}"))),
    };
    let said = [String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)].concat();
    let wanted = text("line");
    let line = said.lines().find(|line| !wanted.is_empty() && line.contains(wanted));
    let mut different = Vec::new();
    if !wanted.is_empty() && line.is_none() {
        different.push(format!("{name}: no line with {wanted:?}:\n{said}"));
    }
    let status = row["status"].as_i64().unwrap_or(0);
    if output.status.code().map(i64::from) != Some(status) {
        different.push(format!("{name}: ended with {}, status {status} expected:\n{said}", output.status));
    }
    let line = line.map_or_else(|| "says nothing".to_owned(), |line| line.trim().to_owned());
    Ok(Said { name, line, different })
}

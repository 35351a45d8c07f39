//! `cargo xtask detection`: the table of docs/detection.md, made by running the tools.
//!
//! bench/detection/planted.c holds one hand-made arena and one bug per run. Each tool runs each bug as its users would, and a
//! cell is the first line of what it said, word for word, with addresses, process ids and times masked. Relied on: a tool that
//! is missing is an error that names its package; rows and columns are never left out. Deliberately absent: any judgement of
//! whether a cell is right.

use crate::{packages, steps};
use std::path::{Path, PathBuf};
use std::process::Command;

const BEGIN: &str = "<!-- detection: written by `cargo xtask detection` -->";
const END: &str = "<!-- detection: end -->";

/// What a bug is called in planted.c, and what the table says it is.
const BUGS: &[(&str, &str)] = &[
    ("none", "nothing: all is right"),
    ("never-stored", "a block whose pointer is thrown away"),
    ("overflow", "one byte written past a block's end, into the next"),
    ("overflow-read", "one byte read past a block's end"),
    ("underflow", "one byte written before a block's start"),
    ("cursor-corrupted", "the arena's offset set back into a living block"),
    ("double-free", "a block freed twice"),
    ("invalid-free", "the middle of a block freed"),
    ("wrong-arena-free", "a block freed through another arena"),
    ("use-after-free", "a freed block written"),
    ("use-after-rewind", "a block written after its scope was rewound"),
    ("use-after-reset", "a block written after the reset"),
    ("read-after-reset", "a block read after the reset"),
    ("use-after-unmap", "a block written after the arena was unmapped"),
    ("overlapping-arenas", "two arenas over the same bytes"),
    ("stale-bytes", "a new block read before it was written, full of an old one's bytes"),
    ("offset-not-reset", "a reset that forgets the offset"),
    ("two-threads", "two threads in one arena without a lock"),
    ("fork-same-block", "shared memory, private offset: parent and child get the same block"),
    ("fork-private-write", "a child allocates for its parent in a private arena"),
    ("null-used", "the NULL of a full arena used"),
    ("stale-pointer", "an old pointer written after the block moved"),
    ("marks-out-of-order", "a rewind to a mark of a scope that has ended"),
];

/// Runs everything and writes the table into docs/detection.md.
pub fn run() -> Result<(), String> {
    packages::require_for_detection()?;
    let folder = steps::scratch("detection")?;
    let tools = Tools::build(&folder)?;
    let mut rows = String::new();
    for (bug, meaning) in BUGS {
        eprintln!("xtask: detection {bug}");
        let cells = tools.cells(bug)?;
        let cells: Vec<String> = cells.iter().map(|cell| escaped(cell)).collect();
        rows.push_str(&format!("| **{bug}**: {meaning} | {} |\n", cells.join(" | ")));
    }
    let page_path = steps::root().join("docs/detection.md");
    let page = std::fs::read_to_string(&page_path).map_err(|error| format!("{}: {error}", page_path.display()))?;
    let table = format!("{}\n{rows}", tools.head()?);
    let page = replaced(&page, &table)?;
    std::fs::write(&page_path, page).map_err(|error| format!("{}: {error}", page_path.display()))
}

/// `page` with what stands between the two marks replaced.
fn replaced(page: &str, table: &str) -> Result<String, String> {
    let marks = || format!("docs/detection.md: the lines {BEGIN} and {END} must be there, in this order");
    let (before, rest) = page.split_once(BEGIN).ok_or_else(marks)?;
    let (_, after) = rest.split_once(END).ok_or_else(marks)?;
    Ok(format!("{before}{BEGIN}\n{table}{END}{after}"))
}

/// The programs under test and ours.
struct Tools {
    folder: PathBuf,
    plain: PathBuf,
    sanitized: PathBuf,
    arenascope: PathBuf,
    profile: PathBuf,
}

impl Tools {
    fn build(folder: &Path) -> Result<Tools, String> {
        // From the root, by a name without the folders above it: the sanitizers print it.
        let source = Path::new("bench/detection/planted.c");
        let compile = |name: &str, flags: &[&str]| {
            let to = folder.join(name);
            let mut command = Command::new("gcc");
            command
                .args(["-g", "-O0", "-pthread"])
                .args(flags)
                .arg(source)
                .arg("-o")
                .arg(&to)
                .current_dir(steps::root());
            steps::output(&mut command, "gcc").map(|_| to)
        };
        Ok(Tools {
            plain: compile("planted", &[])?,
            sanitized: compile("planted-sanitized", &["-fsanitize=address,undefined"])?,
            folder: folder.to_path_buf(),
            arenascope: steps::arenascope(false)?,
            profile: steps::root().join("bench/detection/planted.toml"),
        })
    }

    /// Versions and the table's head.
    fn head(&self) -> Result<String, String> {
        let version = |program: &str| {
            let text = steps::output(Command::new(program).arg("--version"), program)?;
            Ok::<_, String>(text.lines().next().unwrap_or_default().to_owned())
        };
        Ok(format!(
            "{}; {}; {}; the last three columns are ours, with the roles of bench/detection/planted.toml.\n\n\
             | planted | no tool | memcheck | ASan + UBSan | heaptrack | arenascope run | run --check | run --precise |\n\
             |---|---|---|---|---|---|---|---|",
            version("gcc")?,
            version("valgrind")?,
            version("heaptrack")?,
        ))
    }

    fn cells(&self, bug: &str) -> Result<Vec<String>, String> {
        Ok(vec![
            self.alone(bug)?,
            self.memcheck(bug)?,
            self.sanitizers(bug)?,
            self.heaptrack(bug)?,
            self.ours(bug, &[])?,
            self.ours(bug, &["--check"])?,
            self.ours(bug, &["--precise"])?,
        ])
    }

    fn alone(&self, bug: &str) -> Result<String, String> {
        let status = said(Command::new(&self.plain).arg(bug), "planted")?.status;
        Ok(ending(status))
    }

    fn memcheck(&self, bug: &str) -> Result<String, String> {
        let mut command = Command::new("valgrind");
        let said = said(command.args(["--leak-check=full"]).arg(&self.plain).arg(bug), "valgrind")?;
        let lines: Vec<&str> = said
            .stderr
            .lines()
            .filter_map(|line| line.strip_prefix("==")?.split_once("== "))
            .map(|(_, rest)| rest)
            .collect();
        // Memcheck's own head ends with an empty line, which the filter above has dropped with its missing space.
        let report = lines.iter().find(|line| is_complaint(line));
        let summary = lines.iter().find(|line| line.starts_with("ERROR SUMMARY"));
        report
            .or(summary)
            .map(|line| masked(line))
            .ok_or_else(|| format!("valgrind said nothing about {bug}: {}", said.stderr))
    }

    fn sanitizers(&self, bug: &str) -> Result<String, String> {
        let said = said(Command::new(&self.sanitized).arg(bug), "planted-sanitized")?;
        let line = said.stderr.lines().find(|line| line.contains("ERROR: ") || line.contains("runtime error: "));
        Ok(line
            .map_or_else(|| format!("nothing; {}", ending(said.status)), |line| masked(line.trim_start_matches('='))))
    }

    fn heaptrack(&self, bug: &str) -> Result<String, String> {
        let data = self.folder.join(format!("heaptrack-{bug}"));
        said(Command::new("heaptrack").arg("-o").arg(&data).arg(&self.plain).arg(bug), "heaptrack")?;
        let name = |ending: &str| PathBuf::from(format!("{}.{ending}", data.display()));
        let data = ["zst", "gz"].into_iter().map(name).find(|path| path.is_file());
        let data = data.ok_or_else(|| format!("heaptrack left no data for {bug}"))?;
        let report = steps::output(Command::new("heaptrack_print").arg(&data), "heaptrack_print")?;
        let line = report.lines().find(|line| line.starts_with("total memory leaked"));
        line.map(masked).ok_or_else(|| format!("heaptrack_print said nothing about leaks for {bug}"))
    }

    fn ours(&self, bug: &str, flags: &[&str]) -> Result<String, String> {
        let trace = self.folder.join(format!("{bug}{}.ascope", flags.concat()));
        let mut command = Command::new(&self.arenascope);
        command.args(["run", "--force", "--plain", "--profile"]).arg(&self.profile).args(flags).arg("-o").arg(&trace);
        let run = said(command.arg("--").arg(&self.plain).arg(bug), "arenascope run")?;
        if !trace.is_file() {
            return Err(format!("arenascope run {flags:?} left no trace for {bug}: {}", run.stderr));
        }
        let mut command = Command::new(&self.arenascope);
        let text = steps::output(command.arg("findings").arg("--plain").arg(&trace), "arenascope findings")?;
        let mut lines = text.lines();
        let head = lines.next().unwrap_or_default();
        // A finding's first line is its rule; its claim is the one below.
        let is_one = head.starts_with("finding ") || head.starts_with("note ");
        Ok(if is_one { masked(&format!("{head}: {}", lines.next().unwrap_or_default().trim())) } else { masked(head) })
    }
}

struct Said {
    status: std::process::ExitStatus,
    stderr: String,
}

fn said(command: &mut Command, what: &str) -> Result<Said, String> {
    let output = command.output().map_err(|error| format!("{what} cannot be started: {error}"))?;
    Ok(Said { status: output.status, stderr: String::from_utf8_lossy(&output.stderr).into_owned() })
}

fn ending(status: std::process::ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ends with status {code}"),
        (None, Some(11)) => "killed by SIGSEGV".to_owned(),
        (None, signal) => format!("killed by signal {}", signal.unwrap_or(0)),
    }
}

/// The first line of one of memcheck's reports, as its manual (section 4.2) shows them.
fn is_complaint(line: &str) -> bool {
    const KINDS: [&str; 9] = [
        "Invalid ",
        "Conditional jump",
        "Use of uninitialised",
        "Syscall param",
        "Mismatched free",
        "Source and destination",
        "Process terminating",
        "Jump to the invalid",
        "Argument ",
    ];
    KINDS.iter().any(|kind| line.starts_with(kind)) || line.contains("definitely lost in loss record")
}

/// What changes from run to run: addresses, process ids.
fn masked(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line.trim();
    while let Some((before, after)) = rest.split_once("0x") {
        let digits = after.find(|digit: char| !digit.is_ascii_hexdigit()).unwrap_or(after.len());
        out.push_str(before);
        // Short ones are bytes, and the same every time.
        out.push_str(if digits > 4 { "ADDR" } else { "0x" });
        rest = after.get(if digits > 4 { digits } else { 0 }..).unwrap_or_default();
    }
    out.push_str(rest);
    match out.split_once("==") {
        Some((pid, message)) if !pid.is_empty() && pid.bytes().all(|byte| byte.is_ascii_digit()) => message.to_owned(),
        _ => out,
    }
}

fn escaped(cell: &str) -> String {
    cell.replace('|', "\\|").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_from_run_to_run_is_masked() {
        assert_eq!(
            masked("4711==ERROR: AddressSanitizer: SEGV on 0x7f0012345678 (pc 0x5555)"),
            "ERROR: AddressSanitizer: SEGV on ADDR (pc 0x5555)"
        );
        assert_eq!(masked("byte 0x41 at +32"), "byte 0x41 at +32");
    }

    #[test]
    fn only_what_stands_between_the_marks_changes() {
        let page = format!("head\n{BEGIN}\nold\n{END}\ntail\n");
        assert_eq!(replaced(&page, "new\n"), Ok(format!("head\n{BEGIN}\nnew\n{END}\ntail\n")));
        assert!(replaced("no marks", "new").is_err());
    }

    #[test]
    fn the_program_and_the_table_name_the_same_bugs() {
        let source = include_str!("../../bench/detection/planted.c");
        for (bug, _) in BUGS {
            assert!(source.contains(&format!("{{ \"{bug}\", ")), "planted.c does not know {bug}");
        }
        let known = source.lines().filter(|line| line.trim_start().starts_with("{ \"")).count();
        assert_eq!(known, BUGS.len());
    }
}

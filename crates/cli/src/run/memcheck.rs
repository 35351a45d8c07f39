//! The program under Valgrind's memcheck, and what memcheck reported about it.
//!
//! Memcheck writes XML into a folder of ours, one file for each process; the program's own streams stay its own. A report
//! has no time. The agent puts a sentence of its own among them ("arenascope before KEY ORDER") at the first arena call
//! after each, so that a report is known to belong between two events. Any bytes are accepted: a file that ends in the
//! middle, as that of a killed process does, gives the reports that are whole. Deliberately absent: what they mean
//! (`arenascope-findings`).

use crate::error::CliError;
use arenascope_event::{Address, ArenaKey, Report, SiteFacts, SiteId, Used};
use roxmltree::{Document, Node};
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Most reports kept of one process: each is another place in the code.
const REPORTS: usize = 10_000;
/// Return addresses that memcheck keeps of each stack.
const CALLERS: usize = 24;

/// How our folder's name begins; the agent lies there too.
const PREFIX: &str = "arenascope-precise-";

/// A run under memcheck.
pub struct Memcheck {
    valgrind: PathBuf,
    folder: TempDir,
}

/// One report as memcheck writes it: addresses point at instructions, or into the call before a return address.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Raw {
    /// What it is about; sites are missing.
    pub report: Report,
    /// The stack of the use, innermost first.
    pub stack: Vec<(u64, String)>,
    /// The stack of the request that made the bytes unwritten.
    pub origin: Vec<(u64, String)>,
}

/// What a file of reports holds.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Reports {
    /// Reports that can be about arenas.
    pub raw: Vec<Raw>,
    /// Others, counted.
    pub others: u64,
    /// Parts that could not be read, counted.
    pub unreadable: u64,
}

impl Memcheck {
    /// Finds Valgrind and makes a folder for its files.
    ///
    /// # Errors
    /// There is no Valgrind, or no folder.
    pub fn find() -> Result<Memcheck, CliError> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let Some(valgrind) = std::env::split_paths(&path).map(|folder| folder.join("valgrind")).find(|file| runs(file))
        else {
            return Err(CliError::usage("--precise runs the program under Valgrind, and there is no valgrind in PATH")
                .hint("apt install valgrind (Debian, Ubuntu; the package has that name elsewhere too), or --check without it"));
        };
        let folder = tempfile::Builder::new().prefix(PREFIX).tempdir().map_err(|error| {
            CliError::usage(format!("no folder can be made for memcheck's reports: {error}"))
                .hint("TMPDIR=FOLDER that you may write to")
        })?;
        Ok(Memcheck { valgrind, folder })
    }

    /// A new file beside the reports.
    pub fn file(&self, name: &str) -> io::Result<File> {
        File::options().read(true).write(true).create_new(true).open(self.folder.path().join(name))
    }

    /// What is executed.
    pub fn program(&self) -> &Path {
        &self.valgrind
    }

    /// With which arguments, its own name first: those that run `program` with `arguments`, its own name first.
    pub fn arguments(&self, program: &Path, arguments: &[OsString]) -> Vec<OsString> {
        let file = |name: &str| {
            let mut flag = OsString::from(name);
            flag.push(self.folder.path());
            flag
        };
        let mut xml = file("--xml-file=");
        xml.push("/%p.xml");
        let mut log = file("--log-file=");
        log.push("/%p.log");
        let mut all = vec![self.valgrind.clone().into_os_string()];
        // Not what .valgrindrc and VALGRIND_OPTS say. No leak check: blocks of arenas are ours to judge.
        all.extend(
            [
                "--command-line-only=yes",
                "--tool=memcheck",
                "--xml=yes",
                "--child-silent-after-fork=yes",
                "--trace-children=yes",
                "--leak-check=no",
                "--error-limit=no",
                "--track-origins=yes",
                "--vgdb=no",
            ]
            .map(OsString::from),
        );
        all.push(format!("--num-callers={CALLERS}").into());
        all.extend([xml, log, "--".into(), program.as_os_str().to_owned()]);
        all.extend(arguments.iter().skip(1).cloned());
        all
    }

    /// What was reported about a process. Nothing for one that never ran under memcheck.
    pub fn reports(&self, pid: u32) -> Reports {
        let text = std::fs::read(self.folder.path().join(format!("{pid}.xml"))).unwrap_or_default();
        read(&String::from_utf8_lossy(&text))
    }

    /// What Valgrind itself had to say about a process, its first lines; empty when nothing.
    pub fn words(&self, pid: u32) -> String {
        let text = std::fs::read(self.folder.path().join(format!("{pid}.log"))).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).take(3).collect();
        lines.join(" · ")
    }
}

fn runs(file: &Path) -> bool {
    file.is_file() && rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok()
}

/// Reads a file of reports, however long it is.
pub fn read(text: &str) -> Reports {
    let mut found = Reports::default();
    // Reports since the agent's last sentence.
    let mut open = 0usize;
    let mut rest = text;
    while let Some((element, is_error, after)) = next(rest) {
        rest = after;
        let Ok(document) = Document::parse(element) else {
            found.unreadable = found.unreadable.saturating_add(1);
            continue;
        };
        let root = document.root_element();
        if is_error {
            match raw(root).filter(|_| found.raw.len() < REPORTS) {
                Some(raw) => found.raw.push(raw),
                None => found.others = found.others.saturating_add(1),
            }
        } else if let Some(before) = sentence(&child_text(root, "text")) {
            for raw in found.raw.iter_mut().skip(open) {
                raw.report.before = before;
            }
            open = found.raw.len();
        }
    }
    found
}

/// The next report or sentence that is whole: its text, whether it is a report, and what follows.
fn next(text: &str) -> Option<(&str, bool, &str)> {
    let error = text.find("<error>").unwrap_or(usize::MAX);
    let sentence = text.find("<clientmsg>").unwrap_or(usize::MAX);
    let (start, end) = if error < sentence { (error, "</error>") } else { (sentence, "</clientmsg>") };
    let from = text.get(start..)?;
    let len = from.find(end)?.checked_add(end.len())?;
    Some((from.get(..len)?, error < sentence, from.get(len..)?))
}

/// `Some` for a sentence of the agent's, with the event that it names.
#[expect(clippy::option_option, reason = "whether it is ours, and whether an event came")]
fn sentence(text: &str) -> Option<Option<(ArenaKey, u64)>> {
    let rest = text.trim().strip_prefix("arenascope ")?;
    let mut words = rest.strip_prefix("before ").unwrap_or("").split(' ');
    let key = words.next().and_then(|word| word.parse().ok());
    let order = words.next().and_then(|word| word.parse().ok());
    Some(key.zip(order).map(|(key, order)| (ArenaKey(key), order)))
}

fn child<'a>(node: Node<'a, 'a>, name: &str) -> Option<Node<'a, 'a>> {
    node.children().find(|child| child.has_tag_name(name))
}

fn child_text(node: Node<'_, '_>, name: &str) -> String {
    let found = node.descendants().find(|child| child.has_tag_name(name));
    found.and_then(|child| child.text()).unwrap_or("").to_owned()
}

/// A report that can be about an arena: an access with its address, or a use of unwritten bytes that a request made so.
fn raw(error: Node<'_, '_>) -> Option<Raw> {
    let used = match child_text(error, "kind").as_str() {
        "InvalidRead" => Used::Read,
        "InvalidWrite" => Used::Written,
        "UninitCondition" | "UninitValue" | "SyscallParam" => Used::Unwritten,
        _ => return None,
    };
    let mut stacks = error.children().filter(|child| child.has_tag_name("stack")).map(stack);
    let stack = stacks.next()?;
    let mut report = Report { used, ..Report::default() };
    let mut origin = Vec::new();
    if used == Used::Unwritten {
        // "Uninitialised value was created by a client request": no other bytes are ours.
        if !error.descendants().any(|node| node.text().is_some_and(|text| text.contains("client request"))) {
            return None;
        }
        origin = stacks.next()?;
    } else {
        // "Invalid read of size 4", "Address 0x4a2f038 is 0 bytes after a block of …".
        report.bytes = child_text(error, "what").rsplit(' ').next()?.parse().ok()?;
        let words = child_text(error, "auxwhat");
        let digits = words.split("0x").nth(1)?;
        let digits: String = digits.chars().take_while(char::is_ascii_hexdigit).collect();
        report.address = Address(u64::from_str_radix(&digits, 16).ok()?);
    }
    Some(Raw { report, stack, origin })
}

/// Address and module of each frame.
fn stack(stack: Node<'_, '_>) -> Vec<(u64, String)> {
    let frames = stack.children().filter(|child| child.has_tag_name("frame"));
    frames
        .filter_map(|frame| {
            let address = child(frame, "ip")?.text()?.trim().strip_prefix("0x")?;
            let module = child(frame, "obj").and_then(|node| node.text()).unwrap_or("").to_owned();
            Some((u64::from_str_radix(address, 16).ok()?, module))
        })
        .collect()
}

/// True for modules that stand between the program and what it did: memcheck's own memcpy, and us.
fn stands_between(module: &str) -> bool {
    module.contains("vgpreload_") || module.contains(PREFIX)
}

/// Adds reports to what is known of a process: their stacks become sites. `name` resolves a site's addresses.
pub fn add(reports: Reports, facts: &mut arenascope_event::ProcessFacts, name: impl Fn(&mut SiteFacts)) {
    let mut site = |stack: &[(u64, String)]| -> Option<SiteId> {
        let mut kept = stack.iter().skip_while(|(_, module)| stands_between(module)).peekable();
        kept.peek()?;
        // As return addresses, which point behind their instruction.
        let addresses = kept.map(|(address, _)| Address(address.wrapping_add(1))).collect();
        let mut site = SiteFacts { addresses, ..SiteFacts::default() };
        name(&mut site);
        facts.sites.push(site);
        Some(SiteId(u32::try_from(facts.sites.len().checked_sub(1)?).ok()?))
    };
    let mut kept = Vec::new();
    let mut ours = 0u64;
    for raw in reports.raw {
        // A use by the agent itself says nothing about the program.
        if raw.stack.first().is_some_and(|(_, module)| stands_between(module) && !module.contains("vgpreload_")) {
            ours = ours.saturating_add(1);
            continue;
        }
        let (used, origin) = (site(&raw.stack), site(&raw.origin));
        kept.push(Report { site: used, origin, ..raw.report });
    }
    facts.reports = kept;
    let limits = &mut facts.mode_limits;
    let plural = |count: u64| if count == 1 { "" } else { "s" };
    if reports.others > 0 {
        let count = reports.others;
        limits.push(format!(
            "{count} report{} of memcheck about other memory than arenas' left to it: valgrind PROGRAM tells",
            plural(count)
        ));
    }
    if reports.unreadable > 0 {
        let count = reports.unreadable;
        limits.push(format!("{count} report{} of memcheck could not be read", plural(count)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"<?xml version="1.0"?>
<valgrindoutput>
<error>
  <unique>0x0</unique><tid>1</tid><kind>InvalidRead</kind>
  <what>Invalid read of size 4</what>
  <stack>
    <frame><ip>0x1091F3</ip><obj>/tmp/p</obj><fn>main</fn></frame>
  </stack>
  <auxwhat>Address 0x4a2f038 is in a rw- anonymous segment</auxwhat>
</error>
<clientmsg><tid>1</tid><text>arenascope before 3 14</text></clientmsg>
<error>
  <unique>0x1</unique><tid>1</tid><kind>UninitCondition</kind>
  <what>Conditional jump or move depends on uninitialised value(s)</what>
  <stack><frame><ip>0x1</ip></frame></stack>
  <auxwhat>Uninitialised value was created by a client request</auxwhat>
  <stack>
    <frame><ip>0x5</ip><obj>/tmp/arenascope-precise-x/agent.so</obj></frame>
    <frame><ip>0x7</ip><obj>/tmp/p</obj></frame>
  </stack>
</error>
<error>
  <kind>UninitValue</kind><what>Use of uninitialised value of size 8</what><stack><frame><ip>0x1</ip></frame></stack>
  <auxwhat>Uninitialised value was created by a stack allocation</auxwhat><stack><frame><ip>0x2</ip></frame></stack>
</error>
<error><kind>InvalidFree</kind><what>Invalid free()</what><stack></stack></error>
<clientmsg><text>arenascope at the end</text></clientmsg>
"#;

    #[test]
    fn reports_are_tied_to_the_event_behind_them() {
        let found = read(FILE);
        assert_eq!((found.raw.len(), found.others, found.unreadable), (2, 2, 0));
        let first = &found.raw[0];
        assert_eq!((first.report.used, first.report.bytes), (Used::Read, 4));
        assert_eq!(first.report.address, Address(0x4a2_f038));
        assert_eq!(first.report.before, Some((ArenaKey(3), 14)));
        assert_eq!(first.stack, [(0x10_91f3, "/tmp/p".to_owned())]);
        assert_eq!(found.raw[1].report.before, None);
        assert_eq!(found.raw[1].origin.len(), 2);
    }

    #[test]
    fn a_file_cut_anywhere_gives_what_is_whole() {
        for (end, _) in FILE.char_indices() {
            let cut = FILE.get(..end).expect("a boundary");
            let found = read(cut);
            assert!(found.raw.len() <= 2 && found.unreadable == 0, "{end}");
        }
        assert_eq!(read("<error><kind>&</kind></error>").unreadable, 1);
    }

    #[test]
    fn stacks_become_sites_of_the_program() {
        let mut facts = arenascope_event::ProcessFacts::default();
        add(read(FILE), &mut facts, |_| {});
        assert_eq!(facts.reports.len(), 2);
        let origin = facts.reports[1].origin.expect("a site");
        assert_eq!(facts.sites[origin.0 as usize].addresses, [Address(8)]);
        assert!(facts.mode_limits[0].contains("2 reports"));
    }
}

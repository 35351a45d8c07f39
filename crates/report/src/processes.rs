//! `ps`: the processes that have arenas, a line each.
//!
//! Processes that could not be read are counted by reason and said, never left out silently. Absent: finding them.

use crate::outside::Totals;
use crate::style::{Style, cut};
use crate::{escape, quantity};
use std::fmt::{self, Write};

/// A process with arenas.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProcessView {
    /// Its number.
    pub pid: u32,
    /// Its program's path, or its short name.
    pub program: String,
    /// Living arenas, shared ones and memory between processes among them.
    pub arenas: u64,
    /// Of these, shared among threads.
    pub shared: u64,
    /// Of these, between processes.
    pub between: u64,
    /// Of these, copies that a fork made.
    pub inherited: u64,
    /// Their bytes.
    pub totals: Totals,
    /// Names, each once, those of the largest arenas first.
    pub names: Vec<String>,
    /// Headers that cannot be believed.
    pub damaged: u64,
    /// What could not be told, a sentence each.
    pub remarks: Vec<String>,
}

/// Processes that were not looked at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unread {
    /// How many.
    pub count: u64,
    /// The end of the sentence "12 processes …".
    pub why: String,
}

/// All that `ps` says.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Listing {
    /// By number.
    pub processes: Vec<ProcessView>,
    /// By reason.
    pub unread: Vec<Unread>,
    /// Processes that were read.
    pub looked_at: u64,
    /// All memory was read, not only what lists lead to.
    pub scanned: bool,
}

/// Names in a line.
const MOST_NAMES: usize = 8;

/// Writes the table.
pub fn write(out: &mut dyn Write, listing: &Listing, style: &Style) -> fmt::Result {
    if !listing.processes.is_empty() {
        let head =
            format!("{:>7}  {:>7}  {:>10}  {:>10}  {:>10}  program", "pid", "arenas", "reserved", "committed", "used");
        writeln!(out, "{}", style.bold(&head))?;
    }
    for process in &listing.processes {
        line(out, process, style)?;
    }
    let mut said = vec![match listing.processes.len() {
        0 => "no process has arenas".to_owned(),
        1 => "1 process has arenas".to_owned(),
        more => format!("{} processes have arenas", quantity::count(more as u64)),
    }];
    said.push(format!("{} looked at", quantity::count(listing.looked_at)));
    for unread in &listing.unread {
        let noun = if unread.count == 1 { "process" } else { "processes" };
        said.push(format!("{} {noun} {}", quantity::count(unread.count), unread.why));
    }
    for line in crate::style::flow(&said, style.dot(), style.columns()) {
        writeln!(out, "{line}")?;
    }
    if !listing.scanned {
        writeln!(out, "arenas in buffers of malloc's and on stacks were not looked for (--scan)")?;
    }
    Ok(())
}

fn line(out: &mut dyn Write, process: &ProcessView, style: &Style) -> fmt::Result {
    let bytes = |bytes| quantity::bytes(bytes);
    let figures = format!(
        "{:>7}  {:>7}  {:>10}  {:>10}  {:>10}  ",
        process.pid,
        quantity::count(process.arenas),
        bytes(process.totals.reserved),
        bytes(process.totals.committed),
        bytes(process.totals.used)
    );
    let room = style.columns().saturating_sub(figures.len()).max(12);
    let program = escape::text(&process.program, style.plain);
    writeln!(out, "{figures}{}", cut(&program, room, style))?;
    let mut more = Vec::new();
    let mut names: Vec<String> =
        process.names.iter().take(MOST_NAMES).map(|name| cut(&escape::text(name, style.plain), 32, style)).collect();
    if process.names.len() > names.len() {
        names.push(format!("{} {} more", style.ellipsis(), process.names.len() - names.len()));
    }
    if !names.is_empty() {
        more.push(names.join(", "));
    }
    for (count, words) in [
        (process.shared, "shared by threads"),
        (process.between, "between processes"),
        (process.inherited, "copied by a fork"),
    ] {
        if count > 0 {
            more.push(format!("{} {words}", quantity::count(count)));
        }
    }
    for text in crate::style::flow(&more, style.dot(), style.columns().saturating_sub(9)) {
        writeln!(out, "         {text}")?;
    }
    if process.damaged > 0 {
        let count = quantity::counted(process.damaged, "damaged header");
        let line = format!("         {count} (arenascope show --pid {})", process.pid);
        writeln!(out, "{}", style.red(&line))?;
    }
    for remark in &process.remarks {
        writeln!(out, "{}", style.yellow(&format!("         {}", escape::text(remark, style.plain))))?;
    }
    Ok(())
}

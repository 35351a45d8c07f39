//! Findings and notes as text: the claim, the places with their source lines, the evidence, what to do.
//!
//! Shared by the first screen and by the verb `findings`. Absent: judging (`arenascope-findings` does), JSON.

use crate::hex::{self, Bytes};
use crate::place::{self, FileNames};
use crate::style::{Style, columns, cut, flow, wrap};
use crate::view::{FindingView, RunView, Suppressed, ThreadView};
use crate::{arena, escape, quantity, sampled, screen};
use arenascope_findings::{Class, Evidence, Finding};
use std::fmt::{self, Write};

/// How much of a finding is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Telling<'r> {
    /// Also the deeper frames of each place, and what would disprove the claim.
    pub full: bool,
    /// Events in the trace.
    pub events: u64,
    /// The threads known by more than a number.
    pub threads: &'r [ThreadView],
}

/// Rows of bytes shown of one piece of evidence, on the first screen and in full.
const GLANCE_ROWS: usize = 4;
const FULL_ROWS: usize = 32;

/// Writes one finding. `number` counts findings and notes apart, from 1.
pub fn write(
    out: &mut dyn Write,
    finding: &FindingView,
    number: u64,
    telling: Telling<'_>,
    names: &FileNames,
    style: &Style,
) -> fmt::Result {
    let claim = &finding.claim;
    let title = format!("{} {number}", claim.class.word());
    let title = match claim.class {
        Class::Finding => style.red(&title),
        Class::Note => style.yellow(&title),
    };
    let times = if claim.count > 1 { format!("   {} times", quantity::count(claim.count)) } else { String::new() };
    writeln!(out, "{title}   {}   {}{times}", claim.rule, claim.certainty.word())?;
    for line in wrap(&escape::text(&claim.message, style.plain), style.columns().saturating_sub(2)) {
        writeln!(out, "  {line}")?;
    }
    let role_width = finding.sites.iter().map(|(role, _)| role.word().len()).max().unwrap_or(0);
    for (role, site) in &finding.sites {
        let role = role.word();
        let whose = site.process.map_or_else(String::new, |pid| format!(" in process {pid}"));
        let place = format!("    {role:<role_width$}  {}{whose}", names.site(site, style));
        let source = escape::source(&site.source, style.plain);
        let room = style.columns().saturating_sub(columns(&place) + 3);
        if source.is_empty() {
            writeln!(out, "{place}")?;
        } else if columns(&source) <= room || room >= 24 {
            writeln!(out, "{place}   {}", style.bold(&cut(&source, room, style)))?;
        } else {
            let indent = role_width + 6;
            let source = cut(&source, style.columns().saturating_sub(indent), style);
            writeln!(out, "{place}\n{:indent$}{}", "", style.bold(&source))?;
        }
        if telling.full {
            let told = place::telling_frame(site);
            let outer = site.frames.iter().skip_while(|frame| Some(*frame) != told).skip(1);
            for frame in outer.take(12) {
                let how = if frame.inlined { "   (inlined)" } else { "" };
                writeln!(out, "    {:role_width$}  {}{how}", "", style.dim(&names.frame(frame, style)))?;
            }
        }
    }
    lines(out, "where", &flow(&whereabouts(finding, telling.events, style), style.dot(), room(style)))?;
    if telling.full && claim.threads.len() > 1 && finding.process.is_none() {
        paragraph(out, "threads", &who(claim, telling.threads), style)?;
    }
    paragraph(out, "because", &claim.because, style)?;
    for evidence in &claim.evidence {
        bytes(out, evidence, telling, style)?;
    }
    if telling.full {
        paragraph(out, "disproof", &claim.disproof, style)?;
    }
    paragraph(out, "next", &claim.next, style)
}

/// The block and arena, the moment, the threads: each where one is concerned.
fn whereabouts(finding: &FindingView, events: u64, style: &Style) -> Vec<String> {
    let claim = &finding.claim;
    let mut items = Vec::new();
    let arena = claim.arena.as_ref().map(|arena| arena::title(u64::from(arena.id.0), &arena.name, style));
    let block = claim.block.map(|block| {
        let range = if block.extent > 1 { format!(" of range {}", block.extent) } else { String::new() };
        let which = if claim.count > 1 { "first block" } else { "block" };
        let size = quantity::counted(block.size, "byte");
        (format!("{which} {}", quantity::count(block.number)), format!("{size} at +{}{range}", block.offset))
    });
    match (arena, block) {
        (Some(arena), Some((block, place))) => items.push(format!("{block} of {arena}, {place}")),
        (None, Some((block, place))) => items.push(format!("{block}, {place}")),
        (Some(arena), None) => items.push(arena),
        (None, None) => {}
    }
    if claim.moment.0 > 0 {
        let of = if events > 0 && finding.process.is_none() {
            format!(" of {}", quantity::count(events))
        } else {
            String::new()
        };
        let whose = finding.process.map_or_else(String::new, |pid| format!(" of process {pid}"));
        items.push(format!("event {}{of}{whose}", quantity::count(claim.moment.0)));
    }
    match claim.threads.as_slice() {
        [] => {}
        [only] => items.push(format!("thread {}", only.0)),
        few if few.len() <= 8 => {
            let numbers: Vec<String> = few.iter().map(|thread| thread.0.to_string()).collect();
            items.push(format!("threads {}", numbers.join(", ")));
        }
        many => items.push(quantity::counted(many.len() as u64, "thread")),
    }
    items
}

/// "2 is tid 4712, started by thread 1; 3 is tid 4713, started by thread 1": as far as it is known.
fn who(claim: &Finding, threads: &[ThreadView]) -> String {
    let known = threads.iter().filter(|thread| claim.threads.iter().any(|number| number.0 == thread.number));
    let told = known.take(MOST_THREADS).map(|thread| {
        let tid = if thread.tid == 0 { "of unknown tid".to_owned() } else { format!("tid {}", thread.tid) };
        let creator = thread.creator.map_or_else(String::new, |creator| format!(", started by thread {creator}"));
        format!("{} is {tid}{creator}", thread.number)
    });
    told.collect::<Vec<_>>().join("; ")
}

/// Most threads told one by one.
const MOST_THREADS: usize = 8;

/// The label with the operation's offset and the address beside it, then the bytes.
fn bytes(out: &mut dyn Write, evidence: &Evidence, telling: Telling<'_>, style: &Style) -> fmt::Result {
    let label = format!("{} ({} at {:#x})", evidence.label, hex::offset(evidence.offset), evidence.address.0);
    paragraph(out, "bytes", &label, style)?;
    let shown = Bytes { bytes: &evidence.bytes, first: evidence.offset, marked: &evidence.damaged };
    hex::write(out, shown, 4, if telling.full { FULL_ROWS } else { GLANCE_ROWS }, style)
}

/// Columns that a paragraph may take.
fn room(style: &Style) -> usize {
    style.columns().saturating_sub(INDENT).max(Style::NARROWEST)
}

const INDENT: usize = 13;

fn paragraph(out: &mut dyn Write, word: &str, text: &str, style: &Style) -> fmt::Result {
    if text.is_empty() {
        return Ok(());
    }
    lines(out, word, &wrap(&escape::text(text, style.plain), room(style)))
}

fn lines(out: &mut dyn Write, word: &str, lines: &[String]) -> fmt::Result {
    for (index, line) in lines.iter().enumerate() {
        writeln!(out, "  {:<11}{line}", if index == 0 { word } else { "" })?;
    }
    Ok(())
}

/// `1 finding, 0 notes`.
pub fn tally(findings: &[FindingView]) -> String {
    let notes = findings.iter().filter(|finding| finding.claim.class == Class::Note).count();
    let bugs = findings.len() - notes;
    format!("{}, {}", quantity::counted(bugs as u64, "finding"), quantity::counted(notes as u64, "note"))
}

/// What was suppressed, by which line of the file, and the lines that matched nothing; nothing without a file.
pub fn suppressed(out: &mut dyn Write, suppressed: &Suppressed, style: &Style) -> fmt::Result {
    let count: u64 = suppressed.by.iter().map(|line| line.count).sum();
    let mut items: Vec<String> = Vec::new();
    if count > 0 {
        let lines = suppressed.by.iter().filter(|line| line.count > 0);
        let lines = lines.map(|line| format!("{}: {}", line.text, quantity::count(line.count)));
        let lines = lines.collect::<Vec<_>>().join(", ");
        let findings: Vec<Class> = suppressed.findings.iter().map(|(finding, _)| finding.claim.class).collect();
        items.push(format!("{} suppressed ({lines})", classes(&findings)));
    }
    for line in suppressed.by.iter().filter(|line| line.count == 0) {
        items.push(format!("suppression in line {} matched nothing: {}", line.line, line.text));
    }
    for item in items {
        for line in wrap(&escape::text(&item, style.plain), style.columns()) {
            writeln!(out, "{line}")?;
        }
    }
    Ok(())
}

/// `2 findings`, `1 finding and 3 notes`.
fn classes(all: &[Class]) -> String {
    let notes = all.iter().filter(|class| **class == Class::Note).count() as u64;
    let bugs = all.len() as u64 - notes;
    match (bugs, notes) {
        (bugs, 0) => quantity::counted(bugs, "finding"),
        (0, notes) => quantity::counted(notes, "note"),
        (bugs, notes) => format!("{} and {}", quantity::counted(bugs, "finding"), quantity::counted(notes, "note")),
    }
}

/// The text of the verb `findings`: all of them in full, then what was suppressed, the losses and the tally.
pub fn list(out: &mut dyn Write, run: &RunView, names: &FileNames, style: &Style) -> fmt::Result {
    let (mut bugs, mut notes) = (0, 0);
    for finding in &run.findings {
        let number = match finding.claim.class {
            Class::Finding => &mut bugs,
            Class::Note => &mut notes,
        };
        *number += 1;
        write(out, finding, *number, Telling { full: true, events: run.events, threads: &run.threads }, names, style)?;
        writeln!(out)?;
    }
    suppressed(out, &run.suppressed, style)?;
    if let Some(sampled) = &run.sampled {
        sampled::silence(out, sampled, style)?;
    }
    screen::losses(out, &run.lost, style)?;
    for part in &run.damage {
        screen::warning(out, &format!("DAMAGED  {part}"), style)?;
    }
    writeln!(out, "{}", tally(&run.findings))
}

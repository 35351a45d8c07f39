//! Findings and notes as text: the claim, the places with their source lines, the evidence, what to do.
//!
//! Shared by the first screen and by the verb `findings`. Absent: judging (`arenascope-findings` does), JSON.

use crate::place::{self, FileNames};
use crate::style::{Style, columns, cut, wrap};
use crate::view::{Class, FindingView};
use crate::{escape, quantity, screen};
use std::fmt::{self, Write};

/// Writes one finding. `number` counts findings and notes apart, from 1. With `full` also the deeper frames of each
/// place and what would disprove the claim.
pub fn write(
    out: &mut dyn Write,
    finding: &FindingView,
    number: u64,
    full: bool,
    names: &FileNames,
    style: &Style,
) -> fmt::Result {
    let title = format!("{} {number}", finding.class.word());
    let title = match finding.class {
        Class::Finding => style.red(&title),
        Class::Note => style.yellow(&title),
    };
    let times = if finding.count > 1 { format!("   {} times", quantity::count(finding.count)) } else { String::new() };
    writeln!(out, "{title}   {}   {}{times}", finding.rule, finding.certainty)?;
    for line in wrap(&escape::text(&finding.message, style.plain), style.columns().saturating_sub(2)) {
        writeln!(out, "  {line}")?;
    }
    let role_width = finding.sites.iter().map(|(role, _)| role.len()).max().unwrap_or(0);
    for (role, site) in &finding.sites {
        let place = format!("    {role:<role_width$}  {}", names.site(site, style));
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
        if full {
            let told = place::telling_frame(site);
            let outer = site.frames.iter().skip_while(|frame| Some(*frame) != told).skip(1);
            for frame in outer.take(12) {
                let how = if frame.inlined { "   (inlined)" } else { "" };
                writeln!(out, "    {:role_width$}  {}{how}", "", style.dim(&names.frame(frame, style)))?;
            }
        }
    }
    paragraph(out, "because", &finding.because, style)?;
    if full {
        paragraph(out, "disproof", &finding.disproof, style)?;
    }
    paragraph(out, "next", &finding.next, style)
}

fn paragraph(out: &mut dyn Write, word: &str, text: &str, style: &Style) -> fmt::Result {
    if text.is_empty() {
        return Ok(());
    }
    const INDENT: usize = 13;
    let safe = escape::text(text, style.plain);
    let width = style.columns().saturating_sub(INDENT).max(20);
    for (index, line) in wrap(&safe, width).iter().enumerate() {
        writeln!(out, "  {:<11}{line}", if index == 0 { word } else { "" })?;
    }
    Ok(())
}

/// `1 finding, 0 notes`.
pub fn tally(findings: &[FindingView]) -> String {
    let notes = findings.iter().filter(|finding| finding.class == Class::Note).count();
    let bugs = findings.len() - notes;
    format!("{}, {}", quantity::counted(bugs as u64, "finding"), quantity::counted(notes as u64, "note"))
}

/// The text of the verb `findings`: all of them in full, then the losses and the tally.
pub fn list(
    out: &mut dyn Write,
    findings: &[FindingView],
    lost: &arenascope_event::Lost,
    damage: &[String],
    names: &FileNames,
    style: &Style,
) -> fmt::Result {
    let (mut bugs, mut notes) = (0, 0);
    for finding in findings {
        let number = match finding.class {
            Class::Finding => &mut bugs,
            Class::Note => &mut notes,
        };
        *number += 1;
        write(out, finding, *number, true, names, style)?;
        writeln!(out)?;
    }
    screen::losses(out, lost, style)?;
    for part in damage {
        screen::warning(out, &format!("DAMAGED  {part}"), style)?;
    }
    writeln!(out, "{}", tally(findings))
}

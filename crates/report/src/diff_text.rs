//! A comparison and the answers to questions as text.
//!
//! Shared by every face of the verb `diff`. Every list that can grow with the program is capped and says how much it left
//! out. Absent: what differs (`diff`, `questions`), JSON (`json_diff`).

use crate::arena::title;
use crate::diff::{ArenaDiff, BlockChange, ChangedBytes, Diff, PlaceDiff, Placed, SavedBytes};
use crate::hex::{self, Bytes};
use crate::place::FileNames;
use crate::questions::{Answer, Question};
use crate::style::{Style, columns, flow, wrap};
use crate::view::{Moment, Site};
use crate::{escape, quantity};
use std::fmt::{self, Write};
use std::sync::Arc;

/// Most arenas told one by one.
const MOST_ARENAS: usize = 16;
/// Most changes of one arena that are told one by one.
const MOST_CHANGES: usize = 24;
/// Most rows of bytes of one block and side.
const MOST_ROWS: usize = 8;
/// Most places.
const MOST_PLACES: usize = 16;

/// What stands above: the program, and the two moments as the user called them.
pub struct Head<'a> {
    /// Path of the program.
    pub program: &'a str,
    /// Process ids: one, or of either trace.
    pub pids: &'a [u32],
    /// Events in the trace: of either trace.
    pub events: &'a [u64],
}

/// Short names for every file that a comparison may show.
pub fn file_names<'a>(sites: impl Iterator<Item = &'a Arc<Site>>, cwd: &str) -> FileNames {
    let files = sites.flat_map(|site| site.frames.iter().map(|frame| frame.file.as_str()));
    FileNames::new(files.filter(|file| !file.is_empty()), cwd)
}

/// Every site of a comparison.
pub fn sites(diff: &Diff) -> impl Iterator<Item = &Arc<Site>> {
    let changes = diff.arenas.iter().flat_map(|arena| &arena.changes).filter_map(|change| change.site.as_ref());
    changes.chain(diff.places.iter().filter_map(|place| place.site.as_ref()))
}

fn head(out: &mut dyn Write, told: &Head<'_>, when: &str, style: &Style) -> fmt::Result {
    let program = told.program.rsplit('/').next().unwrap_or(told.program);
    let program = escape::text(program, style.plain).into_owned();
    let pids: Vec<String> = told.pids.iter().map(u32::to_string).collect();
    let word = if pids.len() == 1 { "pid" } else { "pids" };
    let items = [program.clone(), format!("{word} {}", pids.join(" and ")), when.to_owned()];
    for (index, line) in flow(&items, style.dot(), style.columns()).iter().enumerate() {
        match line.strip_prefix(program.as_str()).filter(|_| index == 0) {
            Some(rest) => writeln!(out, "{}{rest}", style.bold(&program))?,
            None => writeln!(out, "{line}")?,
        }
    }
    Ok(())
}

/// Figures in their columns, then words; on lines of their own where they do not fit beside them.
fn row(out: &mut dyn Write, figures: &str, words: &[String], style: &Style) -> fmt::Result {
    let line = format!("  {figures}   {}", words.join("   "));
    if columns(&line) <= style.columns() {
        return writeln!(out, "{line}");
    }
    writeln!(out, "  {figures}")?;
    for line in words.iter().flat_map(|word| wrap(word, style.columns().saturating_sub(4))) {
        writeln!(out, "    {line}")?;
    }
    Ok(())
}

fn moment(moment: Moment) -> String {
    if moment.event == 0 { "start".to_owned() } else { format!("#{}", moment.event) }
}

/// Writes a comparison.
pub fn write(out: &mut dyn Write, diff: &Diff, told: &Head<'_>, names: &FileNames, style: &Style) -> fmt::Result {
    let [from, to] = diff.moments;
    let when = match told.events {
        [events] => {
            let span = quantity::duration(to.time_ns.saturating_sub(from.time_ns));
            format!("{} to {} of {} ({span})", moment(from), moment(to), quantity::counted(*events, "event"))
        }
        _ => format!("{} of the first, {} of the second", moment(from), moment(to)),
    };
    head(out, told, &when, style)?;
    if diff.nothing_in_common {
        let sentence = "no site in common: no block or arena of one trace was made at a place of the other; is it the same program?";
        for line in wrap(sentence, style.columns()) {
            writeln!(out, "{}", style.yellow(&line))?;
        }
    }
    for arena in diff.arenas.iter().take(MOST_ARENAS) {
        writeln!(out)?;
        one_arena(out, arena, names, style)?;
    }
    if let Some(rest) = diff.arenas.get(MOST_ARENAS..).filter(|rest| !rest.is_empty()) {
        let changes: u64 = rest.iter().map(|arena| arena.changes.len() as u64).sum();
        let count = quantity::counted(rest.len() as u64, "more arena");
        writeln!(
            out,
            "\n{} {count} with {} (--arena PATTERN)",
            style.ellipsis(),
            quantity::counted(changes, "change")
        )?;
    }
    if diff.arenas.is_empty() {
        writeln!(out, "\nnothing differs")?;
    }
    if diff.alike > 0 {
        let unknown = match diff.alike_unknown {
            0 => String::new(),
            count => format!("; bytes of {} were not saved at both moments", quantity::counted(count, "block")),
        };
        let count = quantity::counted(diff.alike, "arena");
        writeln!(out)?;
        for line in wrap(&format!("{count} with the same blocks on both sides{unknown}"), style.columns()) {
            writeln!(out, "{line}")?;
        }
    }
    places(out, &diff.places, told.events.len() == 1, names, style)
}

fn one_arena(out: &mut dyn Write, arena: &ArenaDiff, names: &FileNames, style: &Style) -> fmt::Result {
    let called = |known: &Option<(u64, String)>| known.as_ref().map(|(id, name)| title(*id, name, style));
    let heading = match (called(&arena.before), called(&arena.after)) {
        (Some(before), Some(after)) if before == after => before,
        (Some(before), Some(after)) => format!("{before} and {after}"),
        (Some(before), None) => format!("{before}, {}", arena.ended.unwrap_or("only before")),
        (None, Some(after)) => format!("{after}, new"),
        (None, None) => String::new(),
    };
    let side = |index: usize| {
        let (blocks, bytes) =
            (arena.blocks.get(index).copied().unwrap_or(0), arena.bytes.get(index).copied().unwrap_or(0));
        format!("{} of {}", quantity::counted(blocks, "block"), quantity::bytes(bytes))
    };
    let figures = format!("{} {} {}", side(0), style.arrow(), side(1));
    for (index, line) in flow(&[heading.clone(), figures], "   ", style.columns()).iter().enumerate() {
        match line.strip_prefix(heading.as_str()).filter(|_| index == 0) {
            Some(rest) => writeln!(out, "{}{rest}", style.bold(&heading))?,
            None => writeln!(out, "{line}")?,
        }
    }
    // Changed bytes say the most: they come first where not all is told.
    let mut told: Vec<&BlockChange> = arena.changes.iter().collect();
    if told.len() > MOST_CHANGES {
        told.sort_by_key(|change| change.bytes.is_none());
        told.truncate(MOST_CHANGES);
    }
    for change in &told {
        one_change(out, change, names, style)?;
    }
    let rest = arena.changes.len() - told.len();
    if rest > 0 {
        writeln!(out, "  {} and {} more", style.ellipsis(), quantity::counted(rest as u64, "block"))?;
    }
    if arena.unknown > 0 {
        let count = quantity::counted(arena.unknown, "block");
        let sentence =
            format!("bytes of {count} not known: not saved at both moments (a mark of the program saves them)");
        lines(out, "unknown", &sentence, style)?;
    }
    Ok(())
}

fn lines(out: &mut dyn Write, word: &str, text: &str, style: &Style) -> fmt::Result {
    for (index, line) in wrap(text, style.columns().saturating_sub(13).max(Style::NARROWEST)).iter().enumerate() {
        writeln!(out, "  {:<11}{}", if index == 0 { word } else { "" }, line.trim_end())?;
    }
    Ok(())
}

fn place(placed: &Placed) -> String {
    let range = if placed.extent > 1 { format!(" of range {}", placed.extent) } else { String::new() };
    format!("{} at +{}{range}", quantity::counted(placed.size, "byte"), placed.offset)
}

fn one_change(out: &mut dyn Write, change: &BlockChange, names: &FileNames, style: &Style) -> fmt::Result {
    let site = change.site.as_ref().map(|site| names.site(site, style));
    let with_site = |text: String| match &site {
        Some(site) => format!("{text}   {site}"),
        None => text,
    };
    match (&change.before, &change.after) {
        (None, Some(after)) => {
            let text = format!("block {}, {}, #{}", quantity::count(after.number), place(after), after.born);
            lines(out, "appeared", &with_site(text), style)
        }
        (Some(before), None) => {
            let how = change.died.map_or_else(String::new, |how| format!(", {how}"));
            let text = format!("block {}, {}{how}", quantity::count(before.number), place(before));
            lines(out, "died", &with_site(text), style)
        }
        (Some(before), Some(after)) => {
            let number = match before.number == after.number {
                true => format!("block {}", quantity::count(after.number)),
                false => format!("blocks {} and {}", quantity::count(before.number), quantity::count(after.number)),
            };
            let moved = before.offset != after.offset || before.extent != after.extent;
            let text = if moved || before.size != after.size {
                format!("{number}, {} {} {}", place(before), style.arrow(), place(after))
            } else {
                format!("{number}, {}", place(after))
            };
            lines(out, change.what(), &with_site(text), style)?;
            change.bytes.as_ref().map_or(Ok(()), |bytes| changed_bytes(out, bytes, after, style))
        }
        (None, None) => Ok(()),
    }
}

fn changed_bytes(out: &mut dyn Write, changed: &ChangedBytes, at: &Placed, style: &Style) -> fmt::Result {
    let count: u64 = changed.ranges.iter().map(|range| range.len() as u64).sum();
    let ranges: Vec<String> =
        changed.ranges.iter().take(6).map(|range| span(range.start as u64, range.end as u64)).collect();
    let more = if changed.ranges.len() > 6 { format!(" {}", style.ellipsis()) } else { String::new() };
    let noun = if count == 1 { "byte" } else { "bytes" };
    lines(out, "", &format!("{} {noun}: {}{more}", quantity::count(count), ranges.join(", ")), style)?;
    if let Some((block, from)) = changed.run_from {
        let end = changed.ranges.first().map_or(0, |range| range.end as u64);
        let sentence = format!(
            "{noun} {} of block {} lie in one run of changes that begins at +{from} of block {block}: as if block {block}'s owner \
             wrote past its end",
            span(0, end),
            at.number,
        );
        lines(out, "", &sentence, style)?;
    }
    for (word, side) in [("before", &changed.before), ("after", &changed.after)] {
        writeln!(out, "    {word}, saved at #{} ({})", side.event, side.reason.word())?;
        rows(out, side, changed, style)?;
    }
    Ok(())
}

fn rows(out: &mut dyn Write, side: &SavedBytes, changed: &ChangedBytes, style: &Style) -> fmt::Result {
    hex::write(out, Bytes { bytes: &side.bytes, first: 0, marked: &changed.ranges }, 4, MOST_ROWS, style)
}

/// `24-31`, or `24`.
fn span(start: u64, end: u64) -> String {
    if end - start == 1 { start.to_string() } else { format!("{start}-{}", end - 1) }
}

fn places(out: &mut dyn Write, all: &[PlaceDiff], one_trace: bool, names: &FileNames, style: &Style) -> fmt::Result {
    if all.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n{}", style.bold("growth by place"))?;
    for place in all.iter().take(MOST_PLACES) {
        let [before, after] = place.blocks;
        let growth = match place.growth() {
            0 => "0 B".to_owned(),
            growth => {
                let bytes = quantity::bytes(u64::try_from(growth.unsigned_abs()).unwrap_or(u64::MAX));
                format!("{}{bytes}", if growth < 0 { "-" } else { "+" })
            }
        };
        let blocks = format!("{} {} {}", quantity::count(before), style.arrow(), quantity::counted(after, "block"));
        let handed = match place.handed {
            [_, count] if one_trace && count > 0 => Some(format!("{} handed out", quantity::count(count))),
            _ => None,
        };
        let site = place.site.as_ref().map_or_else(|| "at an unknown place".to_owned(), |site| names.site(site, style));
        let words: Vec<String> = handed.into_iter().chain([site]).collect();
        row(out, &format!("{growth:>10}   {blocks}"), &words, style)?;
    }
    let rest = all.len().saturating_sub(MOST_PLACES);
    if rest > 0 {
        writeln!(out, "  {} and {}", style.ellipsis(), quantity::counted(rest as u64, "more place"))
    } else {
        Ok(())
    }
}

/// Writes the answer to a question.
pub fn answer(out: &mut dyn Write, answer: &Answer, told: &Head<'_>, names: &FileNames, style: &Style) -> fmt::Result {
    let mut asks = answer.question.asks().to_owned();
    for (letter, at) in ["{A}", "{B}", "{C}"].iter().zip(&answer.moments) {
        asks = asks.replace(letter, &moment(*at));
    }
    head(out, told, &format!("{}: {asks}", answer.question.word()), style)?;
    if answer.places.is_empty() {
        return writeln!(out, "no block");
    }
    let total = format!("{} of {}", quantity::counted(answer.blocks(), "block"), quantity::bytes(answer.bytes()));
    writeln!(out, "{total}\n")?;
    for place in answer.places.iter().take(MOST_PLACES) {
        let figures = format!("{:>10}   {}", quantity::bytes(place.bytes), quantity::counted(place.blocks, "block"));
        let site = place.site.as_ref().map_or_else(|| "at an unknown place".to_owned(), |site| names.site(site, style));
        let mut words = vec![site];
        words.extend(place.first.as_ref().map(|(arena, _, first)| {
            let which = if place.blocks == 1 { "block" } else { "first block" };
            format!("{which} {} of arena {arena}, #{}", quantity::count(first.number), first.born)
        }));
        row(out, &figures, &words, style)?;
    }
    let rest = answer.places.len().saturating_sub(MOST_PLACES);
    if rest > 0 {
        writeln!(out, "  {} and {}", style.ellipsis(), quantity::counted(rest as u64, "more place"))?;
    }
    if answer.question == Question::Leak {
        writeln!(out)?;
        let sentence = "a block that is meant to live longer is no leak; nor is one that its arena's end will take";
        for line in wrap(sentence, style.columns()) {
            writeln!(out, "{line}")?;
        }
    }
    Ok(())
}

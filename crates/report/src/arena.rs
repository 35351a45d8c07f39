//! One arena as text: heading, life, map, bytes, and (for a snapshot) its blocks one by one.
//!
//! Shared by the first screen and by `show`. Every line that can grow with the program is capped and says how much it
//! left out. Absent: which arenas are shown, and in what order (`gather` decides).

use crate::map::{self, Piece};
use crate::place::FileNames;
use crate::style::{Style, cut, flow, wrap};
use crate::view::{ArenaView, BlockView, BytesView, ExtentView, Site};
use crate::{escape, quantity, sampled};
use arenascope_event::{CaptureReason, MallocKind};
use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::sync::Arc;

/// How much of an arena is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Caps {
    /// Most extents drawn.
    pub extents: usize,
    /// Most lines of bytes.
    pub byte_lines: usize,
    /// Most blocks listed one by one; 0 leaves the list out.
    pub blocks: usize,
    /// Say when the bytes were saved even when that was the arena's end.
    pub date_bytes: bool,
}

impl Caps {
    /// For the first screen of a run.
    pub const GLANCE: Caps = Caps { extents: 6, byte_lines: 4, blocks: 0, date_bytes: false };
    /// For `show`.
    pub const FULL: Caps = Caps { extents: 64, byte_lines: 16, blocks: 48, date_bytes: true };
}

/// Writes one arena.
pub fn write(out: &mut dyn Write, arena: &ArenaView, caps: Caps, names: &FileNames, style: &Style) -> fmt::Result {
    heading(out, arena, style)?;
    life(out, arena, names, style)?;
    if arena.sampled.is_none() {
        // Between samples lies what is not known: no map.
        extents(out, arena, caps, style)?;
    }
    bytes(out, &arena.bytes, caps, style)?;
    if caps.blocks > 0 {
        blocks(out, arena, caps, names, style)?;
    }
    Ok(())
}

/// `arena 1 "arena"`, escaped.
pub fn title(id: u64, name: &str, style: &Style) -> String {
    if name.is_empty() {
        return format!("arena {id}");
    }
    // A name may be as long as the program likes; 60 columns are enough to know it again.
    let name = cut(&escape::text(name, style.plain), 60, style);
    format!("arena {id} \"{name}\"")
}

fn heading(out: &mut dyn Write, arena: &ArenaView, style: &Style) -> fmt::Result {
    let title = title(arena.id, &arena.name, style);
    let mut items = vec![title.clone(), bounds(arena)];
    if let Some(sampled) = &arena.sampled {
        let (all, living) = (&sampled.allocated, &sampled.living);
        items.push(format!("about {} in {}", sampled::bytes(all, style), sampled::blocks(all, style)));
        if living.samples > 0 {
            items.push(format!("{} living", sampled::bytes(living, style)));
        }
        items.push(quantity::counted(all.samples, "sample"));
        return headed(out, &title, &items, style);
    }
    let peak = arena.peak_bytes;
    let share = arena.bound.map_or_else(String::new, |bound| quantity::percent(peak, bound));
    items.push(if share.is_empty() {
        format!("peak {}", quantity::bytes(peak))
    } else {
        format!("peak {} ({share})", quantity::bytes(peak))
    });
    items.push(quantity::counted(arena.blocks_ever, "block"));
    for (value, noun) in [(arena.resets, "reset"), (arena.rewinds, "rewind")] {
        if value > 0 {
            items.push(quantity::counted(value, noun));
        }
    }
    if arena.frees > 0 {
        items.push(format!("{} freed", quantity::count(arena.frees)));
    }
    headed(out, &title, &items, style)
}

fn headed(out: &mut dyn Write, title: &str, items: &[String], style: &Style) -> fmt::Result {
    for (index, line) in flow(items, "   ", style.columns()).iter().enumerate() {
        match line.strip_prefix(title).filter(|_| index == 0) {
            Some(rest) => writeln!(out, "{}{rest}", style.bold(title))?,
            None => writeln!(out, "{line}")?,
        }
    }
    Ok(())
}

/// A word in its column and what is said to it, in as many lines as it takes.
fn told(out: &mut dyn Write, word: &str, text: &str, style: &Style) -> fmt::Result {
    for (index, line) in wrap(text, style.columns().saturating_sub(13)).iter().enumerate() {
        let word = if index == 0 { word } else { "" };
        writeln!(out, "  {word:<10} {}", line.trim_end())?;
    }
    Ok(())
}

/// `256 B in a 4 KiB mapping`.
fn bounds(arena: &ArenaView) -> String {
    let mapped = quantity::bytes(arena.mapped);
    let kinds: Vec<&str> = arena.extents.iter().map(|extent| extent.kind).collect();
    let place = match kinds.as_slice() {
        [] if arena.mapped == 0 => String::new(),
        [] => format!("{mapped} of memory"),
        [ExtentView::UNKNOWN] if arena.capacity.is_some() => "memory of unknown bounds".to_owned(),
        [ExtentView::STATIC] if arena.capacity.is_some() => "static memory".to_owned(),
        [kind @ (ExtentView::UNKNOWN | ExtentView::STATIC)] => {
            let seen = arena.extents.iter().fold(0u64, |sum, extent| sum.saturating_add(extent.len));
            let which = if *kind == ExtentView::STATIC { "static memory" } else { "memory" };
            format!("{which}, {} seen so far, bound unknown", quantity::bytes(seen))
        }
        [kind] => format!("{} {mapped} {kind}", article(&mapped)),
        [first, rest @ ..] if rest.iter().all(|kind| kind == first) && *first != ExtentView::UNKNOWN => {
            format!("{} {first}s of {mapped} in all", quantity::count(kinds.len() as u64))
        }
        _ => format!("{} of {mapped} in all", quantity::counted(kinds.len() as u64, "range")),
    };
    // Of an arena of several ranges the capacity is their sum, which is said already.
    let capacity = arena.capacity.filter(|&capacity| kinds.len() < 2 || capacity != arena.mapped);
    match (capacity, place.is_empty()) {
        (Some(capacity), true) => quantity::bytes(capacity),
        (Some(capacity), false) => format!("{} in {place}", quantity::bytes(capacity)),
        (None, true) if arena.blocks_ever > 0 && arena.blocks.is_empty() => "no memory left".to_owned(),
        (None, true) => "no memory seen".to_owned(),
        (None, false) => place,
    }
}

/// "an" before what is read as eight, eleven or eighteen.
fn article(figure: &str) -> &'static str {
    let digits: String = figure.chars().take_while(|c| c.is_ascii_digit()).collect();
    let thousands = figure.contains(',');
    if digits.starts_with('8') || (!thousands && digits == "11") || digits == "18" { "an" } else { "a" }
}

fn life(out: &mut dyn Write, arena: &ArenaView, names: &FileNames, style: &Style) -> fmt::Result {
    let place = |site: &Option<Arc<Site>>| match site {
        Some(site) => names.site(site, style),
        None => "at an unknown place".to_owned(),
    };
    if let Some(malloc) = arena.malloc {
        let first = format!("by thread {}   {}", malloc.first_thread, place(&arena.birth.site));
        told(out, "first used", &first, style)?;
        if malloc.kind == MallocKind::Foreign {
            told(out, "bounds", "unknown: this malloc is not glibc's", style)?;
        }
    } else if arena.birth.inherited {
        told(out, "inherited", &format!("{}   (in the parent process)", place(&arena.birth.site)), style)?;
    } else if arena.birth.created {
        told(out, "created", &place(&arena.birth.site), style)?;
    } else {
        told(out, "first seen", &format!("{}   (no create function was seen)", place(&arena.birth.site)), style)?;
    }
    if let Some(end) = &arena.end {
        told(out, end.how, &place(&end.site), style)?;
    }
    if let [_, _, ..] = arena.threads.as_slice() {
        let shown: Vec<String> = arena.threads.iter().take(12).map(u32::to_string).collect();
        let more = if arena.threads.len() > shown.len() { style.ellipsis() } else { "" };
        writeln!(out, "  threads    {}{more}", shown.join(", "))?;
    }
    if let Some(refused) = &arena.refused {
        let calls = if refused.count == 1 { "1 call".to_owned() } else { quantity::counted(refused.count, "call") };
        let line = format!(
            "  refused    {calls} returned NULL; the first asked for {}{}",
            quantity::bytes(refused.size),
            match refused.event {
                0 => String::new(),
                event => format!(" at #{event}  {}", place(&refused.site)),
            },
        );
        writeln!(out, "{}", style.yellow(&line))?;
    }
    Ok(())
}

fn extents(out: &mut dyn Write, arena: &ArenaView, caps: Caps, style: &Style) -> fmt::Result {
    let mut sizes_unseen = false;
    let numbered = arena.extents.len() > 1;
    for (index, extent) in arena.extents.iter().enumerate().take(caps.extents) {
        let pieces: Vec<Piece> = in_extent(&arena.blocks, index)
            .map(|block| Piece { number: block.number, start: block.offset, len: block.size, flag: block.flag })
            .collect();
        let lead = if numbered { format!("  {:>2}  ", extent.number) } else { "  ".to_owned() };
        let open = arena.capacity.is_none() && matches!(extent.kind, ExtentView::STATIC | ExtentView::UNKNOWN);
        let columns = style.columns().saturating_sub(lead.len());
        let drawn =
            if open { map::draw_open(&pieces, columns, style) } else { map::draw(&pieces, extent.len, columns, style) };
        sizes_unseen |= !drawn.sizes_shown && !pieces.is_empty();
        writeln!(out, "{lead}{}", drawn.line)?;
        if let Some(top) = extent.top_chunk {
            let bytes = quantity::bytes(extent.len.saturating_sub(top));
            writeln!(out, "{}top chunk at +{top}: {bytes}", " ".repeat(lead.len()))?;
        }
    }
    if arena.extents.len() > caps.extents {
        let rest = &arena.extents[caps.extents..];
        let bytes = rest.iter().fold(0u64, |sum, extent| sum.saturating_add(extent.len));
        let held = arena.blocks.iter().filter(|block| block.extent >= caps.extents).count();
        writeln!(
            out,
            "  {} {}: {}, {}",
            style.ellipsis(),
            quantity::counted(rest.len() as u64, "more range"),
            quantity::bytes(bytes),
            quantity::counted(held as u64, "block"),
        )?;
    }
    if sizes_unseen {
        writeln!(out, "  {}", sizes(arena, style))?;
    }
    holding(out, arena, style)?;
    if arena.forgotten_blocks > 0 {
        let blocks = quantity::counted(arena.forgotten_blocks, "block");
        writeln!(out, "  {blocks} are not drawn: too many arenas ended to keep all their blocks")?;
    } else if arena.blocks.is_empty() && arena.blocks_ever > 0 {
        let when = if arena.end.is_some() { "when it ended" } else { "now" };
        writeln!(out, "  no living block {when}; fullest at #{}", arena.peak_event)?;
    }
    Ok(())
}

/// Blocks that are other arenas' memory.
fn holding(out: &mut dyn Write, arena: &ArenaView, style: &Style) -> fmt::Result {
    const SHOWN: usize = 8;
    let held = || arena.blocks.iter().flat_map(|block| block.holds.iter().map(move |(id, name)| (block, *id, name)));
    for (block, id, name) in held().take(SHOWN) {
        writeln!(out, "  block {} holds {}", block.number, title(id, name, style))?;
    }
    let rest = held().count().saturating_sub(SHOWN) as u64;
    if rest > 0 {
        writeln!(out, "  {} and {}", style.ellipsis(), quantity::counted(rest, "more arena"))?;
    }
    Ok(())
}

fn in_extent(blocks: &[BlockView], extent: usize) -> impl Iterator<Item = &BlockView> {
    blocks.iter().filter(move |block| block.extent == extent)
}

/// `1,200 living blocks of 38 KiB: 1,000 x 32 B, 200 x 16 B`.
fn sizes(arena: &ArenaView, style: &Style) -> String {
    const SHOWN: usize = 4;
    let mut tally: BTreeMap<u64, u64> = BTreeMap::new();
    for block in &arena.blocks {
        *tally.entry(block.size).or_default() += 1;
    }
    let mut ranked: Vec<(u64, u64)> = tally.into_iter().map(|(size, times)| (times, size)).collect();
    ranked.sort_by(|a, b| b.cmp(a));
    let mut list: Vec<String> = ranked
        .iter()
        .take(SHOWN)
        .map(|&(times, size)| format!("{} x {}", quantity::count(times), quantity::bytes(size)))
        .collect();
    if ranked.len() > SHOWN {
        list.push(format!("{} {} more sizes", style.ellipsis(), quantity::count((ranked.len() - SHOWN) as u64)));
    }
    let noun = quantity::counted(arena.blocks.len() as u64, "block");
    format!("{noun} of {} in all: {}", quantity::bytes(arena.used()), list.join(", "))
}

fn bytes(out: &mut dyn Write, spans: &[BytesView], caps: Caps, style: &Style) -> fmt::Result {
    let columns = style.columns().saturating_sub(2).max(1);
    let (mut lines_left, mut not_shown, mut not_saved, mut dated) = (caps.byte_lines, 0u64, 0u64, None);
    for saved in spans {
        let at_end = matches!(saved.reason, CaptureReason::Destroy | CaptureReason::Unmap)
            || matches!(saved.reason, CaptureReason::Exit | CaptureReason::Signal);
        if (caps.date_bytes || !at_end) && dated != Some(saved.event) {
            writeln!(out, "  bytes as they were at #{}, {}:", saved.event, before(saved.reason))?;
            dated = Some(saved.event);
        }
        if saved.bytes.len() > columns && saved.bytes.iter().all(|&byte| byte == 0) {
            writeln!(out, "  {}, all zero", quantity::counted(saved.bytes.len() as u64, "byte"))?;
            continue;
        }
        let text = escape::dump(&saved.bytes);
        let mut shown = 0;
        for line in text.as_bytes().chunks(columns).take(lines_left) {
            shown += line.len();
            lines_left -= 1;
            writeln!(out, "  {}", String::from_utf8_lossy(line))?;
        }
        not_shown = not_shown.saturating_add(saved.bytes.len().saturating_sub(shown) as u64);
        not_saved = not_saved.saturating_add(saved.wanted.saturating_sub(saved.bytes.len() as u64));
    }
    if not_shown > 0 {
        writeln!(out, "  {} {} more", style.ellipsis(), quantity::counted(not_shown, "byte"))?;
    }
    if not_saved > 0 {
        let line = format!("  {} could not be saved", quantity::counted(not_saved, "byte"));
        writeln!(out, "{}", style.yellow(&line))?;
    }
    Ok(())
}

/// "before a reset": why bytes were saved.
pub fn before(reason: CaptureReason) -> &'static str {
    match reason {
        CaptureReason::Reset => "before a reset",
        CaptureReason::Rewind => "before a rewind",
        CaptureReason::Destroy => "before it was destroyed",
        CaptureReason::Unmap => "before its memory went",
        CaptureReason::Exit => "before the process exited",
        CaptureReason::UserMark => "when a mark was set",
        CaptureReason::Alloc => "when the block was handed out",
        CaptureReason::Resize => "after the block was moved",
        CaptureReason::Free => "before the block was freed",
        CaptureReason::Signal => "when a fatal signal came",
    }
}

fn blocks(out: &mut dyn Write, arena: &ArenaView, caps: Caps, names: &FileNames, style: &Style) -> fmt::Result {
    if arena.blocks.is_empty() {
        return Ok(());
    }
    let numbered = arena.extents.len() > 1;
    let head = if numbered { "range  " } else { "" };
    writeln!(out, "  {head}{:>8}  {:>10}  {:>10}  allocated", "block", "offset", "size")?;
    for block in arena.blocks.iter().take(caps.blocks) {
        let number = arena.extents.get(block.extent).map_or(0, |extent| extent.number);
        let range = if numbered { format!("{number:>5}  ") } else { String::new() };
        let place = match &block.site {
            Some(site) => names.site(site, style),
            None => String::new(),
        };
        let flag = block.flag.map(|flag| format!("  {}", style.yellow(flag))).unwrap_or_default();
        let offset = format!("+{}", block.offset);
        let born = if block.inherited { "in the parent".to_owned() } else { format!("#{}", block.born) };
        writeln!(out, "  {range}{:>8}  {offset:>10}  {:>10}  {born}  {place}{flag}", block.number, block.size)?;
    }
    if arena.blocks.len() > caps.blocks {
        let rest = (arena.blocks.len() - caps.blocks) as u64;
        writeln!(out, "  {} {} more; --json lists them all", style.ellipsis(), quantity::counted(rest, "block"))?;
    }
    Ok(())
}

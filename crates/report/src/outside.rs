//! Arenas read from outside, of a living process or a core: what their headers say, drawn and told.
//!
//! Shared by `show --pid` and `show --core`. Blocks are not known here: an arena's map shows what is handed out and what is free, a shared one's its leases.
//! Lines that grow with the program are capped, and say how much they left out. Absent: reading memory (`headers` found it, the caller hands it in).

use crate::map::{self, Piece};
use crate::pattern::ArenaPattern;
use crate::place::FileNames;
use crate::quantity;
use crate::screen::signal_name;
use crate::style::{Style, flow, wrap};
use crate::{arena, escape};
use arenascope_headers::{Arena, Between, Found, Lease, Place, Searched, Shared, Text, Where};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write};

/// Whose memory it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Whose {
    /// A living process's.
    Process {
        /// Its number.
        pid: u32,
        /// The number it has for itself.
        inner_pid: u32,
    },
    /// A core dump's.
    Core {
        /// The file.
        path: String,
        /// The process's number, where the core says it.
        pid: Option<u32>,
        /// The signal that ended it, where the core says it.
        signal: Option<u32>,
    },
}

/// The first bytes of an arena.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bytes {
    /// The arena's base.
    pub base: u64,
    /// The bytes, as many as there are and are shown.
    pub bytes: Vec<u8>,
    /// Why there are none.
    pub why: Option<String>,
}

/// Everything that is told.
#[derive(Debug)]
pub struct View<'a> {
    /// Whose memory it is.
    pub whose: Whose,
    /// The program's name or path; empty when not known.
    pub program: String,
    /// The arenas that are meant.
    pub chosen: Chosen<'a>,
    /// All that was found.
    pub found: &'a Found,
    /// First bytes of chosen arenas.
    pub bytes: Vec<Bytes>,
    /// Numbers of owner threads that have ended, where that is known.
    pub ended: BTreeSet<u32>,
    /// More to be said: what the core leaves out.
    pub remarks: Vec<String>,
}

/// The arenas that are told one by one, and the rest.
#[derive(Debug, Default)]
pub struct Chosen<'a> {
    /// One by one, by number.
    pub arenas: Vec<&'a Arena>,
    /// All that are meant.
    pub shared: Vec<&'a Shared>,
    /// All of it; none when a pattern was given that it does not match.
    pub between: Vec<&'a Between>,
    /// Not told one by one.
    pub rest: Vec<&'a Arena>,
}

impl<'a> Chosen<'a> {
    /// Those that the pattern means; of them, where there are more than `most`, so many one by one: the largest, and not more than [`OF_ONE_PLACE`] that were made
    /// at one place.
    pub fn of(found: &'a Found, pattern: Option<&ArenaPattern>, most: usize) -> Chosen<'a> {
        let meant = |id, name: &Text| pattern.is_none_or(|pattern| pattern.matches(id, name.as_str()));
        let mut arenas: Vec<&Arena> = found.arenas.iter().filter(|arena| meant(arena.id, &arena.name)).collect();
        let mut rest = Vec::new();
        if arenas.len() > most {
            arenas.sort_by_key(|arena| (std::cmp::Reverse(arena.committed), arena.id, arena.address));
            let mut of_place: BTreeMap<(&str, u32, u32), usize> = BTreeMap::new();
            let mut left = most;
            (arenas, rest) = arenas.into_iter().partition(|arena| {
                let place = of_place.entry((arena.site.file.as_str(), arena.site.line, arena.site.column)).or_default();
                let told = left > 0 && *place < OF_ONE_PLACE;
                left -= usize::from(told);
                *place += usize::from(told);
                told
            });
            arenas.sort_by_key(|arena| (arena.id, arena.address));
        }
        let shared = found.shared.iter().filter(|arena| meant(arena.id, &arena.name)).collect();
        let between = found.between.iter().filter(|memory| meant(memory.number, &Text::None)).collect();
        Chosen { arenas, shared, between, rest }
    }

    /// How many are meant.
    pub fn count(&self) -> u64 {
        (self.arenas.len() + self.rest.len() + self.shared.len() + self.between.len()) as u64
    }

    /// Their bytes.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for arena in self.arenas.iter().chain(&self.rest) {
            totals.add(arena.reserved, arena.committed, arena.used);
        }
        for arena in &self.shared {
            totals.add(arena.capacity, arena.touched, arena.used());
        }
        for memory in &self.between {
            totals.add(memory.capacity, memory.leased, memory.used());
        }
        totals
    }
}

/// Bytes of arenas, without their headers.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Totals {
    /// Addresses.
    pub reserved: u64,
    /// In use by the arena: of a shared one, what was ever leased.
    pub committed: u64,
    /// Handed out.
    pub used: u64,
}

impl Totals {
    fn add(&mut self, reserved: u64, committed: u64, used: u64) {
        self.reserved = self.reserved.saturating_add(reserved);
        self.committed = self.committed.saturating_add(committed);
        self.used = self.used.saturating_add(used);
    }
}

/// Most arenas of one place that are told one by one, where there are many.
pub const OF_ONE_PLACE: usize = 3;
/// Most leases of one arena told one by one.
const MOST_LEASES: usize = 32;
/// Most lines of bytes of one arena.
const MOST_LINES: usize = 4;
/// Most places of the rest.
const MOST_PLACES: usize = 8;
/// Most damaged headers told one by one.
const MOST_DAMAGED: usize = 16;

/// Writes everything. `cwd` shortens file names.
pub fn write(out: &mut dyn Write, view: &View<'_>, cwd: &str, style: &Style) -> fmt::Result {
    let sites =
        view.found.arenas.iter().map(|arena| &arena.site).chain(view.found.shared.iter().map(|arena| &arena.site));
    let names = FileNames::new(sites.map(|site| site.file.as_str()).filter(|file| !file.is_empty()), cwd);
    heading(out, view, style)?;
    for shared in &view.chosen.shared {
        writeln!(out)?;
        one_shared(out, view, shared, &names, style)?;
    }
    for between in &view.chosen.between {
        writeln!(out)?;
        one_between(out, view, between, style)?;
    }
    for arena in &view.chosen.arenas {
        writeln!(out)?;
        one(out, view, arena, &names, style)?;
    }
    rest(out, &view.chosen.rest, &names, style)?;
    damaged(out, view, style)?;
    writeln!(out)?;
    closing(out, view, style)
}

/// `process 4711 ./app`, `core of process 4711 ./app`.
fn title(view: &View<'_>, style: &Style) -> String {
    let who = match &view.whose {
        Whose::Process { pid, .. } => format!("process {pid}"),
        Whose::Core { pid: Some(pid), .. } => format!("core of process {pid}"),
        Whose::Core { pid: None, .. } => "core".to_owned(),
    };
    let program = escape::text(&view.program, style.plain);
    if program.is_empty() { who } else { format!("{who}  {program}") }
}

fn heading(out: &mut dyn Write, view: &View<'_>, style: &Style) -> fmt::Result {
    let mut items = vec![title(view, style)];
    if let Whose::Core { signal: Some(signal), .. } = view.whose {
        items.push(format!("ended by {}", signal_name(signal)));
    }
    let totals = view.chosen.totals();
    items.push(match view.chosen.count() {
        0 => "no arena".to_owned(),
        count => format!(
            "{}: {} reserved, {} committed, {} used",
            quantity::counted(count, "arena"),
            quantity::bytes(totals.reserved),
            quantity::bytes(totals.committed),
            quantity::bytes(totals.used)
        ),
    });
    for line in flow(&items, "   ", style.columns()) {
        writeln!(out, "{line}")?;
    }
    Ok(())
}

/// A word in its column and what is said to it.
fn told(out: &mut dyn Write, word: &str, text: &str, style: &Style) -> fmt::Result {
    for (index, line) in wrap(text, style.columns().saturating_sub(13)).iter().enumerate() {
        let word = if index == 0 { word } else { "" };
        writeln!(out, "  {word:<10} {}", line.trim_end())?;
    }
    Ok(())
}

fn with_share(word: &str, part: u64, whole: u64) -> String {
    let share = quantity::percent(part, whole);
    let bytes = quantity::bytes(part);
    if share.is_empty() { format!("{word} {bytes}") } else { format!("{word} {bytes} ({share})") }
}

fn headline(out: &mut dyn Write, title: &str, items: &[String], style: &Style) -> fmt::Result {
    let mut all = vec![title.to_owned()];
    all.extend_from_slice(items);
    for (index, line) in flow(&all, "   ", style.columns()).iter().enumerate() {
        match line.strip_prefix(title).filter(|_| index == 0) {
            Some(rest) => writeln!(out, "{}{rest}", style.bold(title))?,
            None => writeln!(out, "{line}")?,
        }
    }
    Ok(())
}

fn one(out: &mut dyn Write, view: &View<'_>, arena: &Arena, names: &FileNames, style: &Style) -> fmt::Result {
    let bound = if arena.growing {
        format!("grows up to {}", quantity::bytes(arena.capacity))
    } else {
        quantity::bytes(arena.capacity)
    };
    let items = [bound, with_share("used", arena.used, arena.capacity), with_share("peak", arena.peak, arena.capacity)];
    headline(out, &arena::title(arena.id, arena.name.as_str(), style), &items, style)?;
    unknown(out, "name", &arena.name, style)?;
    let copy = from(view, arena.pid);
    let by = match arena.owner_tid {
        0 => String::new(),
        // Of another process.
        _ if !copy.is_empty() => String::new(),
        tid if view.ended.contains(&tid) => format!("   last held by thread {tid}, which has ended"),
        tid => format!("   held by thread {tid}"),
    };
    told(out, "created", &format!("{}{by}{copy}", place_of(&arena.site, names, style)), style)?;
    unknown(out, "file", &arena.site.file, style)?;
    let lies = match arena.place {
        Place::Alone => String::new(),
        Place::Slab(slab) => format!("   among small arenas ({slab:#x})"),
        Place::NotForked => "   a fork does not copy it".to_owned(),
        Place::Buffer => "   in a buffer of the program's".to_owned(),
    };
    let memory = format!(
        "header at {:#x}   base {:#x}   {} committed of {} reserved{lies}",
        arena.address,
        arena.base,
        quantity::bytes(arena.committed),
        quantity::bytes(arena.reserved)
    );
    told(out, "memory", &memory, style)?;
    let mut life = vec![format!("generation {}", quantity::count(arena.generation))];
    if arena.depth > 0 {
        life.push(quantity::counted(u64::from(arena.depth), "open scope"));
    }
    for (value, noun) in [(u64::from(arena.commits), "commit"), (arena.events, "reported event")] {
        if value > 0 {
            life.push(quantity::counted(value, noun));
        }
    }
    if arena.checked {
        life.push("checked: its blocks lie elsewhere".to_owned());
    } else if arena.watched {
        life.push("watched".to_owned());
    }
    told(out, "life", &life.join("   "), style)?;
    refused(out, arena.refusals, style)?;
    restless(out, arena.settled, style)?;
    let pieces = [Piece { number: 0, start: 0, len: arena.used, flag: None }];
    let pieces = if arena.used > 0 { pieces.as_slice() } else { &[] };
    // Of what an arena only reserves there is nothing to see.
    let len = if arena.growing { arena.committed.max(arena.used) } else { arena.capacity };
    writeln!(out, "  {}", map::draw(pieces, len, style.columns().saturating_sub(2), style).line)?;
    dump(out, view, arena.base, arena.used, style)
}

fn one_shared(out: &mut dyn Write, view: &View<'_>, arena: &Shared, names: &FileNames, style: &Style) -> fmt::Result {
    let bound = if arena.growing {
        format!("shared, grows up to {}", quantity::bytes(arena.capacity))
    } else {
        format!("shared, {}", quantity::bytes(arena.capacity))
    };
    let items =
        [bound, with_share("leased", arena.leased, arena.capacity), with_share("used", arena.used(), arena.capacity)];
    headline(out, &arena::title(arena.id, arena.name.as_str(), style), &items, style)?;
    unknown(out, "name", &arena.name, style)?;
    told(out, "created", &format!("{}{}", place_of(&arena.site, names, style), from(view, arena.pid)), style)?;
    unknown(out, "file", &arena.site.file, style)?;
    told(out, "memory", &format!("header at {:#x}   base {:#x}", arena.address, arena.base), style)?;
    let mut life = vec![format!("generation {}", quantity::count(arena.generation))];
    if arena.lost > 0 {
        life.push(format!("{} lost at the ends of leases", quantity::bytes(arena.lost)));
    }
    told(out, "life", &life.join("   "), style)?;
    refused(out, arena.refusals, style)?;
    restless(out, arena.settled, style)?;
    for gap in &arena.gaps {
        writeln!(out, "{}", style.yellow(&format!("  not told   {gap}")))?;
    }
    let spans: Vec<(u64, u64)> =
        arena.leases.iter().map(|lease| (lease.base.saturating_sub(arena.base), lease.capacity)).collect();
    let len = if arena.growing { arena.touched.max(arena.leased) } else { arena.capacity };
    leases_map(out, &spans, arena.leased, len, style)?;
    leases(out, view, arena, style)
}

/// Leases in a map of their arena; what was leased and is in none of them holds blocks of leases that were used up.
fn leases_map(out: &mut dyn Write, spans: &[(u64, u64)], leased: u64, len: u64, style: &Style) -> fmt::Result {
    let mut pieces = Vec::new();
    let mut at = 0;
    for (index, &(start, bytes)) in spans.iter().enumerate().filter(|(_, (_, bytes))| *bytes > 0) {
        if start > at {
            pieces.push(Piece { number: 0, start: at, len: start - at, flag: None });
        }
        pieces.push(Piece { number: index as u64 + 1, start, len: bytes, flag: None });
        at = at.max(start.saturating_add(bytes));
    }
    if leased > at {
        pieces.push(Piece { number: 0, start: at, len: leased - at, flag: None });
    }
    writeln!(out, "  {}", map::draw(&pieces, len, style.columns().saturating_sub(2), style).line)
}

fn leases(out: &mut dyn Write, view: &View<'_>, arena: &Shared, style: &Style) -> fmt::Result {
    if arena.leases.is_empty() {
        return writeln!(out, "  no thread has held a lease");
    }
    writeln!(out, "  {:>5}  {:>12}  {:>10}  {:>10}  held by", "lease", "offset", "size", "used")?;
    for (index, lease) in arena.leases.iter().enumerate().take(MOST_LEASES) {
        let offset = format!("+{}", lease.base.saturating_sub(arena.base));
        let (size, used) = (quantity::bytes(lease.capacity), quantity::bytes(lease.used));
        let who = holder(view, lease);
        writeln!(out, "  {:>5}  {offset:>12}  {size:>10}  {used:>10}  {who}", index + 1)?;
    }
    left_out(out, arena.leases.len(), MOST_LEASES, "lease", style)
}

fn holder(view: &View<'_>, lease: &Lease) -> String {
    match lease.owner {
        None => "nobody, waits for a thread".to_owned(),
        Some((_, tid)) if view.ended.contains(&tid) => format!("thread {tid}, which has ended"),
        Some((_, tid)) => format!("thread {tid}"),
    }
}

fn left_out(out: &mut dyn Write, all: usize, shown: usize, noun: &str, style: &Style) -> fmt::Result {
    let more = all.saturating_sub(shown) as u64;
    if more > 0 {
        writeln!(out, "  {} {}", style.ellipsis(), quantity::counted(more, &format!("more {noun}")))
    } else {
        Ok(())
    }
}

fn one_between(out: &mut dyn Write, view: &View<'_>, memory: &Between, style: &Style) -> fmt::Result {
    let title = format!("memory between processes, number {}", memory.number);
    let items = [
        quantity::bytes(memory.capacity),
        with_share("leased", memory.leased, memory.capacity),
        with_share("used", memory.used(), memory.capacity),
    ];
    headline(out, &title, &items, style)?;
    let made = match from(view, memory.pid) {
        text if text.is_empty() => "by this process".to_owned(),
        _ => format!("by process {}", memory.pid),
    };
    told(out, "created", &made, style)?;
    told(
        out,
        "memory",
        &format!("header at {:#x}   {} mapped", memory.address, quantity::bytes(memory.mapping)),
        style,
    )?;
    refused(out, memory.refusals, style)?;
    restless(out, memory.settled, style)?;
    let head = 8192;
    let spans: Vec<(u64, u64)> =
        memory.leases.iter().map(|held| (held.start.saturating_sub(head), held.end - held.start)).collect();
    leases_map(out, &spans, memory.leased, memory.capacity, style)?;
    if memory.leases.is_empty() {
        return writeln!(out, "  no thread has held a lease");
    }
    writeln!(out, "  {:>5}  {:>12}  {:>10}  {:>10}  held by", "lease", "offset", "size", "used")?;
    for (index, held) in memory.leases.iter().enumerate().take(MOST_LEASES) {
        let who = match held.owner {
            None => "nobody".to_owned(),
            Some((pid, tid)) => format!("process {pid}, thread {tid}"),
        };
        let offset = format!("+{}", held.start.saturating_sub(head));
        let (size, used) = (quantity::bytes(held.end - held.start), quantity::bytes(held.used - held.start));
        writeln!(out, "  {:>5}  {offset:>12}  {size:>10}  {used:>10}  {who}", index + 1)?;
    }
    left_out(out, memory.leases.len(), MOST_LEASES, "lease", style)
}

/// Where it was made.
fn place_of(site: &Where, names: &FileNames, style: &Style) -> String {
    match (&site.file, site.line, site.column) {
        (Text::Known(file), 0, _) => escape::text(names.short(file), style.plain).into_owned(),
        (Text::Known(file), line, 0) => format!("{}:{line}", escape::text(names.short(file), style.plain)),
        (Text::Known(file), line, column) => {
            format!("{}:{line}:{column}", escape::text(names.short(file), style.plain))
        }
        (Text::Unknown(_), line, _) if line > 0 => format!("line {line} of a file whose name is not known"),
        _ => "at an unknown place".to_owned(),
    }
}

/// "   by process 7, of which this is a copy": an arena of a parent.
fn from(view: &View<'_>, pid: u32) -> String {
    let own = match view.whose {
        Whose::Process { inner_pid, .. } => Some(inner_pid),
        Whose::Core { pid, .. } => pid,
    };
    match own {
        Some(own) if pid != 0 && own != pid => format!("   by process {pid}: a copy that a fork made"),
        _ => String::new(),
    }
}

fn unknown(out: &mut dyn Write, word: &str, text: &Text, style: &Style) -> fmt::Result {
    let Text::Unknown(why) = text else { return Ok(()) };
    writeln!(out, "{}", style.yellow(&format!("  {word:<10} not known: {}", escape::text(why, style.plain))))
}

fn refused(out: &mut dyn Write, refusals: u32, style: &Style) -> fmt::Result {
    if refusals == 0 {
        return Ok(());
    }
    writeln!(out, "{}", style.yellow(&format!("  refused    {}", quantity::counted(u64::from(refusals), "request"))))
}

fn restless(out: &mut dyn Write, settled: bool, style: &Style) -> fmt::Result {
    if settled {
        return Ok(());
    }
    let line = "  unsettled  it changed while it was read, each time: its numbers may be of different moments";
    writeln!(out, "{}", style.yellow(line))
}

fn dump(out: &mut dyn Write, view: &View<'_>, base: u64, used: u64, style: &Style) -> fmt::Result {
    let Some(bytes) = view.bytes.iter().find(|bytes| bytes.base == base) else { return Ok(()) };
    if let Some(why) = &bytes.why {
        return writeln!(out, "{}", style.yellow(&format!("  its bytes cannot be read: {why}")));
    }
    if !bytes.bytes.is_empty() && bytes.bytes.iter().all(|byte| *byte == 0) && bytes.bytes.len() as u64 == used {
        return writeln!(out, "  {}, all zero", quantity::counted(used, "byte"));
    }
    let columns = style.columns().saturating_sub(2).max(1);
    let text = escape::dump(&bytes.bytes);
    let mut shown = 0;
    for line in text.as_bytes().chunks(columns).take(MOST_LINES) {
        shown += line.len() as u64;
        writeln!(out, "  {}", String::from_utf8_lossy(line))?;
    }
    let more = used.saturating_sub(shown);
    if more > 0 && shown > 0 {
        writeln!(out, "  {} {} more", style.ellipsis(), quantity::counted(more, "byte"))?;
    }
    Ok(())
}

/// Arenas that are not told one by one, by where they were made.
fn rest(out: &mut dyn Write, rest: &[&Arena], names: &FileNames, style: &Style) -> fmt::Result {
    if rest.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    let mut places: BTreeMap<String, (u64, u64, u64)> = BTreeMap::new();
    for arena in rest {
        let place = places.entry(place_of(&arena.site, names, style)).or_default();
        *place = (place.0 + 1, place.1.saturating_add(arena.committed), place.2.saturating_add(arena.used));
    }
    let mut places: Vec<_> = places.into_iter().collect();
    places.sort_by_key(|(_, (count, committed, _))| std::cmp::Reverse((*committed, *count)));
    for (place, (count, committed, used)) in places.iter().take(MOST_PLACES) {
        writeln!(
            out,
            "{} and {} more, created {}: {} committed, {} used",
            style.ellipsis(),
            quantity::count(*count),
            place,
            quantity::bytes(*committed),
            quantity::bytes(*used)
        )?;
    }
    let left: u64 = places.iter().skip(MOST_PLACES).map(|(_, (count, ..))| count).sum();
    if left > 0 {
        writeln!(
            out,
            "{} and {} more of {} more places",
            style.ellipsis(),
            quantity::count(left),
            places.len() - MOST_PLACES
        )?;
    }
    writeln!(out, "  --arena PATTERN shows those of a name or number, --json all")
}

fn damaged(out: &mut dyn Write, view: &View<'_>, style: &Style) -> fmt::Result {
    let all = &view.found.damaged;
    if all.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    for damaged in all.iter().take(MOST_DAMAGED) {
        let sentence = format!("damaged header at {:#x} ({}): {}", damaged.address, damaged.what, damaged.why);
        for (index, line) in
            wrap(&escape::text(&sentence, style.plain), style.columns().saturating_sub(2)).iter().enumerate()
        {
            let lead = if index == 0 { "" } else { "  " };
            writeln!(out, "{lead}{}", style.red(line))?;
        }
    }
    let more = all.len().saturating_sub(MOST_DAMAGED) as u64;
    if more > 0 {
        writeln!(
            out,
            "{}",
            style.red(&format!("{} {}", style.ellipsis(), quantity::counted(more, "more damaged header")))
        )?;
    }
    Ok(())
}

fn closing(out: &mut dyn Write, view: &View<'_>, style: &Style) -> fmt::Result {
    for sentence in view.remarks.iter().cloned().chain(searched(&view.found.searched)) {
        for line in wrap(&escape::text(&sentence, style.plain), style.columns()) {
            writeln!(out, "{line}")?;
        }
    }
    Ok(())
}

/// How it was searched, and what was left out: sentences.
pub fn searched(searched: &Searched) -> Vec<String> {
    let mut said = Vec::new();
    let lists = (searched.noted + searched.rooted) as u64;
    let found_by = match lists {
        0 => "no list of arenas found in the program's static data".to_owned(),
        lists => format!("searched by {} of the program's", quantity::counted(lists, "list")),
    };
    let read = match searched.scanned {
        0 => String::new(),
        bytes => format!(", and in {} of memory", quantity::bytes(bytes)),
    };
    said.push(format!("{found_by}{read}"));
    if searched.scanned == 0 {
        said.push("arenas in buffers of malloc's and on stacks were not looked for (--scan)".to_owned());
    }
    if searched.left > 0 {
        let left = quantity::bytes(searched.left);
        said.push(format!("{left} of memory were not searched: beyond the limit (--scan=BYTES)"));
    }
    if searched.wide > 0 {
        let wide = quantity::bytes(searched.wide);
        said.push(format!(
            "{wide} of addresses were not searched: too wide a mapping, of which nearly nothing is there"
        ));
    }
    if searched.unread > 0 {
        said.push(format!("{} of memory could not be read", quantity::bytes(searched.unread)));
    }
    if searched.kept > 0 {
        let kept = quantity::counted(searched.kept, "region");
        said.push(format!("{kept} kept for the next arenas, and no arena now"));
    }
    if searched.copies > 0 {
        let copies = quantity::counted(searched.copies, "header");
        said.push(format!("{copies} in memory that is not theirs, copies or what is left of them: no arenas"));
    }
    said.extend(searched.broken.iter().cloned());
    said
}

//! One event as one line of words: what `log` prints and what `run --narrate` says while it happens.
//!
//! The symbols are those of the seed's own programs; with `--plain` words stand in their place. "offset = 96" is, as in
//! the seed, where the arena's cursor stands *after* the call: the end of the block, counted from the start of its range.
//! "at +64" is where a block begins, in the log as in maps, findings and JSON.
//! A line needs the event, what it did (`Effect`) and the state after it; all names come from the facts of the process,
//! and where those are not known yet (live narration) the words do without. Absent: JSON (`json_log`), filtering.

use crate::hindsight::Hindsight;
use crate::place::FileNames;
use crate::style::Style;
use crate::view::Site;
use crate::{arena, escape, quantity, sampled, screen};
use arenascope_event::{
    BoundsKind, Event, EventKind, HookFact, HookStatus, ProcessFacts, Role, SiteFacts, SiteId, Zone,
};
use arenascope_replay::{Arena, ArenaId, Effect, State, What};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Arenas that are created with less than this many bytes get the sign of a small, bounded arena: the seed's 256, not
/// its 4096.
const SMALL_BYTES: u64 = 4096;

/// Turns events into lines. Memory: one short text per site.
pub struct Narrator<'a> {
    facts: &'a ProcessFacts,
    names: FileNames,
    style: Style,
    calls: [String; Role::ALL.len()],
    default_name: String,
    places: BTreeMap<SiteId, String>,
    hindsight: Option<Hindsight>,
}

/// Short names for every file in the sites of a trace.
pub fn file_names(facts: &ProcessFacts, cwd: &str) -> FileNames {
    let frames = facts.sites.iter().flat_map(|site| site.frames.iter());
    FileNames::new(frames.map(|frame| frame.file.as_str()).filter(|file| !file.is_empty()), cwd)
}

/// The facts of a site, if it is known.
pub fn site_facts(facts: &ProcessFacts, site: Option<SiteId>) -> Option<&SiteFacts> {
    facts.sites.get(usize::try_from(site?.0).ok()?)
}

/// A site as views want it.
pub fn site_view(facts: &ProcessFacts, site: Option<SiteId>) -> Option<Site> {
    let known = site_facts(facts, site)?;
    if !known.frames.is_empty() {
        return Some(Site { frames: known.frames.clone(), source: known.source.clone(), process: None });
    }
    // Not symbolised: the addresses are what there is.
    let bare = |&address| arenascope_event::Frame { address, ..Default::default() };
    Some(Site { frames: known.addresses.iter().map(bare).collect(), ..Site::default() })
}

/// The name that users see for an arena: its own, else the one its functions suggest.
pub fn arena_name<'s>(arena: &'s Arena, default_name: &'s str) -> &'s str {
    if arena.name.is_empty() { default_name } else { &arena.name }
}

impl<'a> Narrator<'a> {
    /// `cwd` is the current directory for file names, or empty.
    pub fn new(facts: &'a ProcessFacts, cwd: &str, style: Style) -> Narrator<'a> {
        // An event does not say which function it came from: a role with one function is called by its name.
        let calls = Role::ALL.map(|role| {
            let watched = |hook: &&HookFact| !matches!(hook.status, HookStatus::NotWatched(_));
            let mut names = facts.hooks.iter().filter(|hook| hook.decl.role == role).filter(watched);
            match (names.next(), names.next()) {
                (Some(hook), None) if hook.markers.is_none() => {
                    escape::text(&hook.decl.function, style.plain).into_owned()
                }
                _ => role.word().to_owned(),
            }
        });
        Narrator {
            facts,
            names: file_names(facts, cwd),
            style,
            calls,
            default_name: arenascope_replay::default_name(&facts.hooks),
            places: BTreeMap::new(),
            hindsight: None,
        }
    }

    /// From now on events are told with what became of them.
    pub fn knowing(mut self, hindsight: Hindsight) -> Narrator<'a> {
        self.hindsight = Some(hindsight);
        self
    }

    fn nobody_keeps(&self, event: &Event) -> bool {
        self.hindsight.as_ref().is_some_and(|hindsight| hindsight.nobody_keeps(event))
    }

    /// `   4  12.50 us  t1  ✅ arena_alloc(32) → 0x7f… (offset = 96)   block 3 of arena 1   main.c:71`, with newline.
    pub fn line(&mut self, event: &Event, effect: &Effect, state: &State, out: &mut String) {
        let number = format!("#{}", event.number.0);
        let _ = write!(out, "{number:>6}  {:>9}  t{:<2} ", quantity::duration(event.time_ns), event.thread.0);
        self.sign_and_sentence(event, effect, state, out);
        let place = self.place(event.site);
        if !place.is_empty() {
            let _ = write!(out, "   {place}");
        }
        out.push('\n');
    }

    fn place(&mut self, site: Option<SiteId>) -> &str {
        let Some(id) = site else { return "" };
        let (facts, names, style) = (self.facts, &self.names, &self.style);
        self.places.entry(id).or_insert_with(|| {
            let site = site_view(facts, site).unwrap_or_default();
            if site.frames.is_empty() { String::new() } else { names.site(&site, style) }
        })
    }

    /// The words alone, with newline and without number, time and place: for telling events while the program runs.
    /// Nothing for events that only prepare: modules, mappings, malloc blocks, threads, first sights.
    pub fn words(&mut self, event: &Event, effect: &Effect, state: &State, out: &mut String) {
        let prepares = match &event.kind {
            EventKind::Map { .. }
            | EventKind::Unmap { .. }
            | EventKind::Remap { .. }
            | EventKind::HeapAlloc { .. }
            | EventKind::HeapFree { .. } => effect.ended.is_empty() && effect.died.blocks == 0,
            EventKind::ModuleLoaded { .. }
            | EventKind::ThreadStart { .. }
            | EventKind::ThreadExit
            | EventKind::ArenaSeen { .. }
            | EventKind::HeapSegment { .. }
            | EventKind::Bounds { .. }
            | EventKind::Checked { .. }
            | EventKind::Exit { .. } => true,
            _ => false,
        };
        if !prepares {
            self.sign_and_sentence(event, effect, state, out);
            out.push('\n');
        }
    }

    fn sign_and_sentence(&self, event: &Event, effect: &Effect, state: &State, out: &mut String) {
        let (symbol, word) = self.sign(event, effect);
        if self.style.plain {
            let _ = write!(out, "{word:<10} ");
        } else {
            // The warning sign takes one column in some terminals and two in others: two spaces, as the seed has them.
            let space = if symbol == "⚠️" { "  " } else { " " };
            let _ = write!(out, "{symbol}{space}");
        }
        self.sentence(event, effect, state, out);
        for ended in &effect.ended {
            if Some(*ended) != effect.arena || matches!(effect.what, What::Memory) {
                let _ = write!(out, "; {} ended", self.title(*ended, state));
            }
        }
    }

    fn sign(&self, event: &Event, effect: &Effect) -> (&'static str, &'static str) {
        match &event.kind {
            EventKind::Create { size: Some(size), .. } if *size < SMALL_BYTES => ("🎯", "created"),
            EventKind::Create { .. } => ("📦", "created"),
            EventKind::Alloc { .. } if self.nobody_keeps(event) => ("⚠️", "nobody's"),
            EventKind::Alloc { block, .. } if block.is_null() => ("❌", "refused"),
            EventKind::Resize { new, .. } if new.is_null() => ("❌", "refused"),
            EventKind::Alloc { .. } => ("✅", "alloc"),
            EventKind::Resize { .. } => ("✅", "resized"),
            EventKind::Capture { .. } => ("🧠", "dump"),
            EventKind::Destroy { .. } => ("🧹", "destroyed"),
            EventKind::Free { .. } => ("🧹", "freed"),
            EventKind::Reset { .. } => ("🧹", "reset"),
            EventKind::Rewind { .. } | EventKind::ScopeExit { .. } => ("🧹", "rewound"),
            EventKind::Fault { .. } => ("❌", "fault"),
            EventKind::Damage { .. } => ("🤡", "damage"),
            EventKind::Unmap { .. } | EventKind::HeapFree { .. } if !effect.ended.is_empty() => ("🧹", "unmapped"),
            kind => ("· ", kind.word()),
        }
    }

    /// In a trace of samples: how many blocks of its size this one stands for.
    fn stands_for(&self, size: u64) -> String {
        match sampled::probability(size, self.facts.sample_bytes.max(1)) {
            _ if self.facts.sample_bytes == 0 => String::new(),
            p if p > 0.0 => format!("   sampled, stands for {}", quantity::count((1.0 / p).round() as u64)),
            _ => "   sampled".to_owned(),
        }
    }

    fn call(&self, role: Role) -> &str {
        self.calls.get(role as usize).map_or(role.word(), String::as_str)
    }

    /// The function of a role, for an event that may be one of malloc's.
    fn function(&self, role: Role, effect: &Effect, state: &State) -> &str {
        let malloc = effect.arena.and_then(|id| state.arena(id)).is_some_and(|arena| arena.malloc.is_some());
        match role {
            Role::Alloc if malloc => "malloc",
            Role::Free if malloc => "free",
            role => self.call(role),
        }
    }

    fn title(&self, id: ArenaId, state: &State) -> String {
        let name = state.arena(id).map_or(self.default_name.as_str(), |arena| arena_name(arena, &self.default_name));
        arena::title(u64::from(id.0), name, &self.style)
    }

    fn of_arena(&self, effect: &Effect) -> String {
        match effect.arena {
            Some(id) => format!(" of arena {id}{}", if effect.born { ", seen for the first time" } else { "" }),
            None => String::new(),
        }
    }

    /// ` (offset = 96)`: where the cursor stands after the call, which is where the block ends in its range.
    fn offset(&self, effect: &Effect, state: &State) -> String {
        let ranges = effect.arena.and_then(|id| state.arena(id)).map_or(0, |arena| arena.extents().take(2).count());
        match (&effect.place, &effect.block) {
            (Some(place), Some(block)) if ranges > 1 => {
                format!(" (range {}, offset = {})", place.extent, place.offset.saturating_add(block.size))
            }
            (Some(place), Some(block)) => format!(" (offset = {})", place.offset.saturating_add(block.size)),
            _ => String::new(),
        }
    }

    fn sentence(&self, event: &Event, effect: &Effect, state: &State, out: &mut String) {
        let arrow = self.style.arrow();
        let of_arena = self.of_arena(effect);
        let block = effect.block.as_ref();
        let in_arena = effect.arena.map(|id| format!("   in arena {id}")).unwrap_or_default();
        let at = effect.place.map(|place| format!(" at +{}", place.offset)).unwrap_or_default();
        let numbered =
            block.map(|block| format!("   block {}{at}{of_arena}", block.number)).unwrap_or(of_arena.clone());
        let died = match effect.died.blocks {
            0 => String::new(),
            blocks => {
                let bytes = quantity::bytes(effect.died.bytes);
                format!(", {} of {bytes} gone", quantity::counted(blocks, "block"))
            }
        };
        let title = || effect.arena.map_or_else(|| "no arena".to_owned(), |id| self.title(id, state));
        // Writing to a String cannot fail.
        let _ = match &event.kind {
            EventKind::Create { size, .. } => {
                let size = size.map(|size| size.to_string()).unwrap_or_default();
                write!(out, "{}({size}) {arrow} {}{died}", self.call(Role::Create), title())
            }
            EventKind::Alloc { block: address, size, .. } if address.is_null() => {
                write!(out, "{}({size}) {arrow} NULL{in_arena}", self.function(Role::Alloc, effect, state))
            }
            EventKind::Alloc { block: address, size, .. } => {
                let call = self.function(Role::Alloc, effect, state);
                let handed_on = if matches!(effect.what, What::HandedOn { .. }) { ", handed on" } else { "" };
                let _ = write!(out, "{call}({size}) {arrow} {address}{}{handed_on}", self.offset(effect, state));
                match block.filter(|_| self.nobody_keeps(event)) {
                    Some(block) => {
                        let bytes = quantity::counted(*size, "byte");
                        write!(out, ": {bytes}{at}: nobody keeps them   block {}{of_arena}", block.number)
                    }
                    None => write!(out, "{numbered}{}", self.stands_for(*size)),
                }
            }
            EventKind::Resize { old, new, size, .. } if new.is_null() => {
                write!(out, "{}({old}, {size}) {arrow} NULL{in_arena}", self.call(Role::Resize))
            }
            EventKind::Resize { old, new, size, .. } => {
                let _ = write!(out, "{}({old}, {size}) {arrow} {new}", self.call(Role::Resize));
                write!(out, "{}{numbered}", self.offset(effect, state))
            }
            EventKind::Free { block: address, .. } => {
                let unknown = if block.is_none() { "   no such block" } else { "" };
                write!(out, "{}({address}){unknown}{numbered}", self.function(Role::Free, effect, state))
            }
            EventKind::Mark { mark, .. } => {
                write!(out, "{}() {arrow} {:#x}  {of_arena}", self.call(Role::Mark), mark.0)
            }
            EventKind::Rewind { mark, .. } => {
                write!(out, "{}({:#x}): {}{died}", self.call(Role::Rewind), mark.0, title())
            }
            EventKind::ScopeEnter { cursor, .. } => write!(out, "scope begins at {cursor}  {of_arena}"),
            EventKind::ScopeExit { cursor, .. } => write!(out, "scope ends, back to {cursor}: {}{died}", title()),
            EventKind::Bounds { base, capacity, reserved, kind, .. } => {
                let bytes = quantity::bytes(*capacity);
                match kind {
                    BoundsKind::Bounded => write!(out, "payload of {} at {base}: {bytes}", title()),
                    BoundsKind::Growing => {
                        write!(out, "payload of {} at {base}: grows, {} reserved", title(), quantity::bytes(*reserved))
                    }
                    BoundsKind::Lease => write!(out, "lease of {} at {base}: {bytes}", title()),
                    BoundsKind::Copied => write!(out, "from here on a copy of {} of this process's own", title()),
                    BoundsKind::PlotAgain => {
                        let title = title();
                        write!(out, "check mode's memory for blocks of {title} at {base}, used before: {bytes}")
                    }
                    BoundsKind::Plot => write!(out, "check mode's memory for blocks of {} at {base}: {bytes}", title()),
                }
            }
            EventKind::Checked { how, .. } => write!(out, "{} is checked: {}", title(), how.word()),
            EventKind::Touched { block, size, at, fate, .. } => {
                let bytes = quantity::bytes(*size);
                write!(
                    out,
                    "touched: byte {at} of the block of {bytes} at {block} of {}, which {}",
                    title(),
                    fate.word()
                )
            }
            EventKind::NoBlock { address, .. } => write!(out, "no block of {} ever began at {address}", title()),
            EventKind::CalledEnded { .. } => write!(out, "call of an arena that had ended"),
            EventKind::Reset { .. } => write!(out, "{}: {} emptied{died}", self.call(Role::Reset), title()),
            EventKind::Destroy { .. } => write!(out, "{}: {} destroyed{died}", self.call(Role::Destroy), title()),
            EventKind::ArenaSeen { object, .. } if object.is_null() => write!(out, "the global arena came into sight"),
            EventKind::ArenaSeen { object, .. } => write!(out, "an arena object at {object} came into sight"),
            EventKind::Capture { reason, base, len, arena, .. } => {
                let whose = match state.arena_of_key(*arena) {
                    Some(arena) => format!(" of {}", self.title(arena.id, state)),
                    None => String::new(),
                };
                write!(out, "{} at {base}{whose} saved {}", quantity::counted(*len, "byte"), arena::before(*reason))
            }
            EventKind::Map { address, len, observed, .. } => {
                let seen = if *observed { ", already there" } else { "" };
                write!(out, "mmap: {} at {address}{seen}{died}", quantity::bytes(*len))
            }
            EventKind::Unmap { address, len } => write!(out, "munmap: {} at {address}{died}", quantity::bytes(*len)),
            EventKind::Remap { old, old_len, new, new_len } => write!(
                out,
                "mremap: {} at {old} {arrow} {} at {new}{died}",
                quantity::bytes(*old_len),
                quantity::bytes(*new_len)
            ),
            EventKind::HeapAlloc { address, size } => write!(out, "malloc({size}) {arrow} {address}"),
            EventKind::HeapFree { address } => write!(out, "free({address}){died}"),
            EventKind::ThreadStart { tid, parent } => {
                let parent = parent.map(|parent| format!(", created by t{}", parent.0)).unwrap_or_default();
                write!(out, "thread {} starts (tid {tid}{parent})", event.thread.0)
            }
            EventKind::ThreadExit => write!(out, "thread {} ends", event.thread.0),
            EventKind::Fork { child: 0, .. } => write!(out, "a child process begins its own trace"),
            EventKind::Fork { child, .. } => write!(out, "process {child} begins its own trace"),
            EventKind::Vfork => write!(out, "a child process borrows our memory until it executes a program"),
            EventKind::Exec { path } => {
                let path = escape::text(path, self.style.plain);
                match self.hindsight.as_ref().map(|hindsight| hindsight.failed(event)) {
                    Some(true) => write!(out, "could not execute {path}"),
                    Some(false) => write!(out, "executes {path}"),
                    None => write!(out, "is about to execute {path}"),
                }
            }
            EventKind::Exit { status } => write!(out, "the process exits with status {status}"),
            EventKind::Fault { signal, address, synchronous, .. } => {
                let name = screen::signal_name(*signal);
                if *synchronous { write!(out, "{name} at address {address}") } else { write!(out, "{name} was sent") }
            }
            EventKind::UserMark { name } => write!(out, "mark {}", escape::text(name, self.style.plain)),
            EventKind::Damage { block, size, zone, address, found, .. } => {
                let changed = quantity::counted(found.len() as u64, "byte");
                let place = match zone {
                    Zone::Before => format!("{} before", block.0.saturating_sub(address.0)),
                    Zone::After => format!("{} past the end of", address.0.saturating_sub(block.plus(*size).0)),
                    Zone::Dead => format!("{} into dead", address.0.saturating_sub(block.0)),
                };
                write!(out, "{changed} changed at {address}, {place} the block of {size} at {block}")
            }
            EventKind::Overlapped { arena, since } => {
                let whose = state.arena_of_key(*arena).map(|arena| format!(" of {}", self.title(arena.id, state)));
                let whose = whose.unwrap_or_default();
                write!(out, "the next call came between others{whose}: entered after its event {since}")
            }
            EventKind::ObjectChanged { address, before, after, .. } => {
                match before.iter().zip(after).position(|(before, after)| before != after) {
                    Some(first) => write!(
                        out,
                        "the arena object at {address} was changed since the last block, or by the earlier free of this one; first changed byte {first}"
                    ),
                    None => {
                        write!(out, "the arena object at {address} was not changed by the earlier free of this block")
                    }
                }
            }
            EventKind::Sampling { bytes } => {
                write!(
                    out,
                    "sampled: one allocation in {} or so is told and stands for the others",
                    quantity::bytes(*bytes)
                )
            }
            EventKind::HeapSegment { len: 0, .. } => write!(out, "{} came into sight", title()),
            EventKind::HeapSegment { start, len, .. } => {
                write!(out, "{} has a heap of {} at {start}", title(), quantity::bytes(*len))
            }
            EventKind::ModuleLoaded { module } => {
                let path = usize::try_from(*module).ok().and_then(|index| self.facts.modules.get(index));
                let path = path.map_or("a module", |module| module.path.as_str());
                write!(out, "{} is mapped", escape::text(path, self.style.plain))
            }
        };
    }
}

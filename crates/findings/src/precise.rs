//! `overflow`, `underflow`, `use-after-free`, `use-after-rewind`, `use-after-reset`, `stale-pointer-after-resize` and
//! `stale-bytes` by the access itself, as memcheck saw it (precise mode).
//!
//! - Claims: this instruction read or wrote bytes right behind or before a living block, or bytes of a dead one; or a value
//!   was used that depends on bytes of a new block that nobody had written since a former owner.
//! - Needs: precise mode. Memcheck was told which bytes belong to whom; its reports are in the facts, each tied to the event
//!   that came next.
//! - Evidence: memcheck's stack of the access, the block it is about at that moment, and who allocated and ended it.
//! - Disproof: a way to get or keep bytes that no role names: a function that hands out blocks unseen, blocks that are
//!   counted on to touch (an array that grows by calls), an allocator that lends its memory to others.
//! - Silent: accesses in no arena's bytes (memcheck's own business); bytes behind a block that a call with a thrown-away
//!   result took, or that such a call handed out (an array that grows by calls); all but redzones when the library that holds
//!   the allocator touched closed bytes by a function that is not watched (it hands out memory unseen, as apr_psprintf does; what
//!   it wrote there is undefined after the next alloc); dead blocks of arenas that the agent could not be sure of (several
//!   chunks, a reset that gives memory back: it never closes those).
//!   A note where events were lost or calls of the allocator are not seen; and where one line read on from a block through all
//!   that lies between it and the next one: a program that looks at its arena as a whole (a dump, a copy to compare with).
//! - Labs: 09b (a true overflow by one byte), 15b (bytes not cleared); reads: `precise.c` of the end-to-end tests.
//!
//! Memory: blocks by address, living ones and those dead ones whose bytes nobody took again; one entry per report.

use crate::damage::growth;
use crate::finding::{BlockRef, Certainty, Class, Finding, SiteRole};
use crate::frees::EarlierFrees;
use crate::lifetime_inversion::{self, Holder, Holders};
use crate::overflow::in_slack;
use crate::rounding::Rounding;
use crate::watch::Rule;
use crate::wording;
use crate::{Overflow, StaleBytes, StalePointerAfterResize, UseAfter};
use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use arenascope_event::{
    Address, ArenaKey, Event, EventKind, EventNumber, FateKind, HookStatus, ProcessFacts, Report, Role, SiteId,
    ThreadNumber, Used,
};
use arenascope_replay::{ArenaId, Block, Effect, State, What};

/// Why a walk from block to block is no accusation.
const WALKED: &str = "the same line read on to the next block, as code does that looks at an arena as a whole";

/// Bytes behind a block that are closed, as far as an access to them is its own, as the agent has it.
const ZONE: u64 = 64;

/// Why an access to a block that was freed may be right.
const COUNTED: &str = "a block of this arena was freed twice, and nothing shows that the first free took it: the function may count \
                       references, and the block have another owner";

/// The rule.
#[derive(Clone, Debug, Default)]
pub struct Precise {
    reports: Vec<Report>,
    /// Reports by the event that came next.
    due: BTreeMap<(ArenaKey, u64), Vec<usize>>,
    /// Reports after the last event, and those whose event never came.
    rest: Vec<usize>,
    /// First return address by site.
    callers: Vec<u64>,
    /// By first byte.
    blocks: BTreeMap<u64, Known>,
    /// By a return address that handed out bytes which were used unwritten: the last block from there.
    latest: BTreeMap<u64, Option<(u64, Known)>>,
    roundings: BTreeMap<(ArenaId, u32), Rounding>,
    /// Arenas in which a block was freed twice, and nothing shows that the first free took it.
    counted: BTreeSet<ArenaId>,
    earlier: EarlierFrees,
    threads: u32,
    holders: Holders,
    told: Vec<Told>,
}

/// A block, living or dead.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Known {
    arena: ArenaId,
    number: u64,
    extent: u32,
    offset: u64,
    size: u64,
    site: Option<SiteId>,
    death: Option<Death>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Death {
    how: Ended,
    moment: EventNumber,
    site: Option<SiteId>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ended {
    Freed,
    Rewound,
    Reset,
    Resized,
}

/// What an access was.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Verdict {
    /// It began so many bytes behind the block's last byte (0 within the block, and it went on past its end).
    Past(u64),
    /// It began so many bytes before the block.
    Before(u64),
    /// At this byte of a dead block.
    Dead(u64),
    /// Unwritten bytes of it were used.
    Stale,
}

#[derive(Clone, Debug)]
struct Told {
    report: usize,
    block: Known,
    verdict: Verdict,
    moment: EventNumber,
    /// The site of the block behind, if one lies close.
    above: Option<SiteId>,
    alone: Option<ThreadNumber>,
    /// Who still pointed there, when a rewind had ended the block.
    holder: Option<Holder>,
}

impl Precise {
    /// At the start of the trace of a process with these facts.
    pub fn new(facts: &ProcessFacts) -> Precise {
        let mut rule = Precise { reports: facts.reports.clone(), ..Precise::default() };
        rule.callers = facts.sites.iter().map(|site| site.addresses.first().map_or(0, |address| address.0)).collect();
        for (index, report) in facts.reports.iter().enumerate() {
            match report.before {
                Some(before) => rule.due.entry(before).or_default().push(index),
                None => rule.rest.push(index),
            }
            if let Some(caller) = report.origin.and_then(|site| rule.caller(site)) {
                rule.latest.insert(caller, None);
            }
        }
        rule
    }

    fn judge(&mut self, index: usize, moment: EventNumber, thread: ThreadNumber, state: &State) {
        let Some(report) = self.reports.get(index) else { return };
        let alone = (self.threads <= 1).then_some(thread);
        if report.used == Used::Unwritten {
            let origin = report.origin.and_then(|site| self.caller(site));
            if let Some(Some((_, block))) = origin.and_then(|caller| self.latest.get(&caller)) {
                let (block, holder) = (*block, None);
                let told = Told { report: index, block, verdict: Verdict::Stale, moment, above: None, alone, holder };
                self.told.push(told);
            }
            return;
        }
        let (address, bytes) = (report.address.0, report.bytes);
        let lives = |known: &Known| {
            let arena = state.arena(known.arena);
            arena.is_some_and(|arena| arena.ended.is_none_or(|end| end.moment >= moment))
        };
        let mut below = self.blocks.range(..=address).rev().take(4).filter(|(_, known)| lives(known));
        let below = below.next().map(|(start, known)| (*start, *known));
        let mut above = self.blocks.range(address.saturating_add(1)..).take(4).filter(|(_, known)| lives(known));
        let above = above.next().map(|(start, known)| (*start, *known));
        let verdict = match below {
            Some((start, known)) if address.wrapping_sub(start) < known.size => match known.death {
                Some(_) => Some((known, Verdict::Dead(address.wrapping_sub(start)))),
                None if address.saturating_add(bytes) > start.saturating_add(known.size) => {
                    Some((known, Verdict::Past(0)))
                }
                None => None,
            },
            _ => beside(address, bytes, below, above),
        };
        let Some((block, verdict)) = verdict else { return };
        let end = address.saturating_add(ZONE.saturating_mul(2));
        let above = above.filter(|(start, known)| *start <= end && known.death.is_none()).and_then(|(_, k)| k.site);
        let holder = match (verdict, block.death) {
            (Verdict::Dead(at), Some(Death { how: Ended::Rewound, .. })) => {
                let start = Address(address.wrapping_sub(at));
                self.holders.of(block.arena, start, Address(address), state).cloned()
            }
            _ => None,
        };
        self.told.push(Told { report: index, block, verdict, moment, above, alone, holder });
    }

    /// Lines that read an arena from a block's end on to another block's start.
    fn walks<'f>(&self, facts: &'f ProcessFacts) -> BTreeSet<(Line<'f>, ArenaId)> {
        let mut reads: BTreeMap<(Line, ArenaId), (bool, bool)> = BTreeMap::new();
        for told in &self.told {
            let Some(report) = self.reports.get(told.report).filter(|report| report.used == Used::Read) else {
                continue;
            };
            let (past, before) = reads.entry((line(facts, report), told.block.arena)).or_default();
            match told.verdict {
                Verdict::Past(_) => *past = true,
                Verdict::Before(_) => *before = true,
                Verdict::Dead(_) | Verdict::Stale => {}
            }
        }
        reads.into_iter().filter(|(_, both)| *both == (true, true)).map(|(place, _)| place).collect()
    }

    /// Why an access of `bytes` bytes behind a block may be right: the allocator rounds sizes up.
    fn in_slack(&self, told: &Told, bytes: u64) -> Option<String> {
        let Verdict::Past(past) = told.verdict else { return None };
        let size = told.block.size;
        let usable = self.roundings.get(&(told.block.arena, told.block.extent))?.usable(size)?;
        (size.saturating_add(past).saturating_add(bytes) <= usable).then(|| in_slack(size, usable))
    }

    fn caller(&self, site: SiteId) -> Option<u64> {
        self.callers.get(usize::try_from(site.0).ok()?).copied().filter(|caller| *caller != 0)
    }

    fn take(&mut self, event: &Event, effect: &Effect) {
        match (effect.what, &effect.block) {
            (What::Allocated | What::Resized { .. }, Some(block)) => {
                if let EventKind::Resize { old, .. } = event.kind
                    && effect.what == (What::Resized { moved: true })
                {
                    self.bury(old.0, Ended::Resized, event);
                }
                for dead in &effect.dead {
                    self.blocks.remove(&dead.address.0);
                }
                self.place(block, effect);
            }
            (What::HandedOn { .. }, Some(block)) => self.place(block, effect),
            (What::Freed, Some(block)) => self.bury(block.address.0, Ended::Freed, event),
            (What::Freed, None) => self.freed_again(event, effect),
            (What::Rewound | What::Reset, _) => {
                let how = if effect.what == What::Reset { Ended::Reset } else { Ended::Rewound };
                for dead in &effect.dead {
                    self.bury(dead.address.0, how, event);
                }
            }
            _ => {}
        }
    }

    /// A free function that counts references is called by each owner.
    fn freed_again(&mut self, event: &Event, effect: &Effect) {
        let EventKind::Free { arena: key, block, .. } = event.kind else { return };
        let known = self.blocks.get(&block.0).filter(|known| Some(known.arena) == effect.arena);
        let freed = known.and_then(|known| known.death).is_some_and(|death| death.how == Ended::Freed);
        if let Some(arena) = effect.arena.filter(|_| freed)
            && !self.earlier.took(event, key)
        {
            self.counted.insert(arena);
        }
    }

    fn place(&mut self, block: &Block, effect: &Effect) {
        let (Some(arena), Some(place)) = (effect.arena, effect.place) else { return };
        let (start, end) = (block.address.0, block.end().0);
        // Whoever had these bytes is no longer asked about.
        let mut gone: Vec<u64> =
            self.blocks.range(start..end.max(start.saturating_add(1))).map(|(start, _)| *start).collect();
        let before = self.blocks.range(..start).next_back();
        gone.extend(before.filter(|(at, known)| at.saturating_add(known.size) > start).map(|(at, _)| *at));
        for at in gone {
            self.blocks.remove(&at);
        }
        let known = Known {
            arena,
            number: block.number,
            extent: place.extent,
            offset: place.offset,
            size: block.size,
            site: block.site,
            death: None,
        };
        self.blocks.insert(start, known);
        if let Some(caller) = block.site.and_then(|site| self.caller(site))
            && let Some(latest) = self.latest.get_mut(&caller)
        {
            *latest = Some((start, known));
        }
    }

    fn bury(&mut self, start: u64, how: Ended, event: &Event) {
        if let Some(known) = self.blocks.get_mut(&start) {
            known.death = Some(Death { how, moment: event.number, site: event.site });
        }
    }
}

/// An access between blocks: of the nearer one, if it lives.
fn beside(
    address: u64,
    bytes: u64,
    below: Option<(u64, Known)>,
    above: Option<(u64, Known)>,
) -> Option<(Known, Verdict)> {
    let past = below.and_then(|(start, known)| {
        let past = address.checked_sub(start.saturating_add(known.size))?;
        (past < ZONE && known.death.is_none()).then_some((known, past))
    });
    let before = above.and_then(|(start, known)| {
        let gap = start.saturating_sub(address.saturating_add(bytes));
        (gap < ZONE && known.death.is_none()).then_some((known, gap, start.saturating_sub(address)))
    });
    match (past, before) {
        (Some((known, past)), Some((_, gap, _))) if past <= gap => Some((known, Verdict::Past(past))),
        // The zone belongs to the block below; nothing else is closed there.
        (Some(_), Some((known, _, distance))) => Some((known, Verdict::Before(distance))),
        (Some((known, past)), None) => Some((known, Verdict::Past(past))),
        (None, _) => None,
    }
}

impl Rule for Precise {
    fn observe(&mut self, event: &Event, effect: &Effect, state: &State, captured: &[u8]) {
        self.holders.observe(event, effect, state, captured);
        if let EventKind::ThreadStart { .. } = event.kind {
            self.threads = self.threads.saturating_add(1);
        }
        if let Some(at) = event.kind.arena_order()
            && let Some(reports) = self.due.remove(&at)
        {
            for index in reports {
                self.judge(index, event.number, event.thread, state);
            }
        }
        if let Some(arena) = effect.arena.filter(|_| event.kind.arena_order().is_some()) {
            let extent = effect.place.map_or(0, |place| place.extent);
            self.roundings.entry((arena, extent)).or_default().observe(effect);
        }
        self.take(event, effect);
        self.earlier.observe(event);
    }

    fn finish(mut self: Box<Self>, state: &State, facts: &ProcessFacts) -> Vec<Finding> {
        let left = core::mem::take(&mut self.due).into_values().flatten();
        let left: Vec<usize> = left.chain(core::mem::take(&mut self.rest)).collect();
        for index in left {
            self.judge(index, state.moment, ThreadNumber(1), state);
        }
        let doubt = doubt(state, facts);
        let lends = lends(facts);
        let walks = self.walks(facts);
        let mut found: Vec<(ArenaId, u64, Finding)> = Vec::new();
        for told in &self.told {
            let Some(report) = self.reports.get(told.report) else { continue };
            // Not so in a block's own redzone: the allocator has given that away, and lends it to nobody.
            let in_zone = matches!(told.verdict, Verdict::Past(past) if past < growth(told.block.size).min(ZONE));
            if lends && !in_zone || grows_by_calls(told, facts) {
                continue;
            }
            let beside = matches!(told.verdict, Verdict::Past(_) | Verdict::Before(_));
            let walked =
                beside && report.used == Used::Read && walks.contains(&(line(facts, report), told.block.arena));
            let slack = self.in_slack(told, report.bytes);
            let freed = told.block.death.is_some_and(|death| death.how == Ended::Freed);
            let counted = freed && matches!(told.verdict, Verdict::Dead(_)) && self.counted.contains(&told.block.arena);
            let why = match (walked, counted) {
                (true, _) => Some(WALKED),
                (_, true) => Some(COUNTED),
                _ => slack.as_deref().or(doubt.as_deref()),
            };
            let mut one = accuse(told, report, why, state, facts);
            if let Some(holder) = &told.holder {
                one = lifetime_inversion::inverted(one, holder);
            }
            let same = |(arena, number, other): &&mut (ArenaId, u64, Finding)| {
                *arena == told.block.arena && *number == told.block.number && other.rule == one.rule
            };
            match found.iter_mut().find(same) {
                Some((_, _, first)) => first.add(&one),
                None => found.push((told.block.arena, told.block.number, one)),
            }
        }
        found.into_iter().map(|(.., finding)| finding).collect()
    }
}

/// The innermost line of the source that is known, or the site: a copy has several instructions, and memcheck a site for each.
type Line<'f> = (&'f str, u32, Option<SiteId>);

fn line<'f>(facts: &'f ProcessFacts, report: &Report) -> Line<'f> {
    let site = report.site.and_then(|site| facts.sites.get(usize::try_from(site.0).ok()?));
    match site.and_then(|site| site.frames.iter().find(|frame| frame.line > 0)) {
        Some(frame) => (&frame.file, frame.line, None),
        None => ("", 0, report.site),
    }
}

/// True when bytes behind the block may be the program's after all: one array, got by several calls.
fn grows_by_calls(told: &Told, facts: &ProcessFacts) -> bool {
    let dropped = |site: Option<SiteId>| {
        let site = site.and_then(|site| facts.sites.get(usize::try_from(site.0).ok()?));
        site.is_some_and(|site| site.fate.kind == FateKind::Dropped)
    };
    matches!(told.verdict, Verdict::Past(_) | Verdict::Before(_)) && (dropped(told.above) || dropped(told.block.site))
}

/// True when a library touched dead bytes of its own allocator by a function that is not watched.
fn lends(facts: &ProcessFacts) -> bool {
    let name = |path: &str| path.rsplit('/').next().unwrap_or(path).to_owned();
    let program = name(&facts.program);
    let libraries: Vec<String> = facts
        .hooks
        .iter()
        .map(|hook| name(&hook.module))
        .filter(|module| !module.is_empty() && *module != program)
        .collect();
    let module = |report: &Report| {
        let site = report.site.and_then(|site| facts.sites.get(usize::try_from(site.0).ok()?))?;
        Some(name(&site.frames.iter().find(|frame| !frame.module.is_empty())?.module))
    };
    let accesses = facts.reports.iter().filter(|report| report.used != Used::Unwritten);
    accesses.filter_map(module).any(|module| libraries.contains(&module))
}

/// Why nothing certain can be said in this run; `None` when all that is needed was seen.
fn doubt(state: &State, facts: &ProcessFacts) -> Option<String> {
    let lost = facts.lost.events().saturating_add(state.missing);
    if lost > 0 {
        return Some(format!("{lost} events were lost, and blocks may have come and gone unseen"));
    }
    let unseen = facts.hooks.iter().find(|hook| hook.decl.role != Role::Mark && hook.status != HookStatus::Watched)?;
    Some(format!("not all calls of {} were seen, and blocks may have come and gone unseen", unseen.decl.function))
}

fn accuse(told: &Told, report: &Report, doubt: Option<&str>, state: &State, facts: &ProcessFacts) -> Finding {
    let block = told.block;
    let place = format!("block {} ({} at +{})", block.number, wording::bytes(block.size), block.offset);
    let (verb, did) = match report.used {
        Used::Written => ("written", "a write"),
        Used::Read | Used::Unwritten => ("read", "a read"),
    };
    let amount = wording::bytes(report.bytes);
    let were = if report.bytes == 1 { "was" } else { "were" };
    let (rule, message, next) = match (told.verdict, block.death) {
        (Verdict::Past(past), _) => {
            let at = block.size.saturating_add(past);
            let message = match (past, told.verdict) {
                (0, _) if report.bytes > 1 => {
                    format!("{amount} {were} {verb} that reach past the end of {place}")
                }
                (0, _) => format!("{amount} {were} {verb} at byte {at}, one past the end of {place}"),
                _ => {
                    format!("{amount} {were} {verb} at byte {at}, {} past the end of {place}", past.saturating_add(1))
                }
            };
            (Overflow::NAME, message, "ask for as many bytes as are used, or stop at the block's size")
        }
        (Verdict::Before(distance), _) => (
            Overflow::UNDER,
            format!("{amount} {were} {verb} {distance} before the start of {place}"),
            "look at the index or the loop that goes below the block's first byte",
        ),
        (Verdict::Dead(at), Some(death)) => {
            let (rule, how, next) = match death.how {
                Ended::Freed => {
                    (UseAfter::FREE, "was freed", "free it after its last use, or clear the pointer with it")
                }
                Ended::Rewound => (
                    UseAfter::REWIND,
                    "died when the arena went back",
                    "allocate it before the mark, or rewind after its last use",
                ),
                Ended::Reset => (
                    UseAfter::RESET,
                    "died when the arena was reset",
                    "reset after its last use, or allocate it in an arena that lives longer",
                ),
                Ended::Resized => (
                    StalePointerAfterResize::NAME,
                    "moved when it was resized",
                    "use what the resize returned, in every place that kept the old pointer",
                ),
            };
            (rule, format!("{amount} {were} {verb} at byte {at} of {place}, which {how} at #{}", death.moment.0), next)
        }
        (Verdict::Dead(_) | Verdict::Stale, _) => (
            StaleBytes::NAME,
            format!("bytes that a former owner left in {place} were used: nobody had written them since"),
            "write the block before it is read, or clear it when it is handed out",
        ),
    };
    let mut because = match told.verdict {
        Verdict::Stale => format!(
            "memcheck followed the value from the call that handed the bytes out, before #{}; the block named is the last one \
             from that call",
            told.moment.0
        ),
        _ => format!("memcheck saw the access itself, {did} of {amount}, before #{}", told.moment.0),
    };
    let (class, certainty) = match doubt {
        Some(doubt) => {
            because.push_str("; ");
            because.push_str(doubt);
            (Class::Note, Certainty::Possible)
        }
        None => (Class::Finding, Certainty::Likely),
    };
    let mut sites = Vec::new();
    sites.extend(report.site.map(|site| (SiteRole::Touched, site)));
    if let Some((role, site)) = block.death.filter(|_| matches!(told.verdict, Verdict::Dead(_))).and_then(|death| {
        let role = match death.how {
            Ended::Freed | Ended::Resized => SiteRole::Freed,
            Ended::Rewound => SiteRole::Rewound,
            Ended::Reset => SiteRole::Reset,
        };
        Some((role, death.site?))
    }) {
        sites.push((role, site));
    }
    sites.extend(block.site.map(|site| (SiteRole::Allocated, site)));
    Finding {
        rule,
        class,
        certainty,
        message,
        arena: Some(wording::arena_ref(state, facts, block.arena)),
        block: Some(BlockRef { number: block.number, extent: block.extent, offset: block.offset, size: block.size }),
        moment: told.moment,
        threads: told.alone.into_iter().collect(),
        sites,
        calls: Vec::new(),
        because,
        evidence: Vec::new(),
        disproof:
            "a function that hands out or keeps bytes of this arena and is not among the roles, or blocks that are \
                   counted on to touch"
                .to_owned(),
        next: next.to_owned(),
        count: 1,
        bytes: report.bytes,
    }
}

//! The tail: what the launcher knows about the process once it ended, appended behind the last segment.
//!
//! Sections with tag, length and checksum; unknown ones are skipped, damaged ones are left out, the others count. Each
//! section decodes alone. Strings of frames are stored once and may expand on reading: bounded by a budget.

use crate::checksum::crc32c;
use crate::damage::{Damage, DamageKind};
use crate::layout::{ClockPair, TAIL_MAGIC, sealed, segment_offset};
use crate::varint::{Cursor, u32_at, u64_at, unzigzag, zigzag};
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use arenascope_event::{
    Address, ArenaKey, Argument, Fate, FateKind, Frame, HookFact, HookStatus, Lost, MarkerCount, Mode, Module, NullUse,
    ProcessFacts, Report, Result_, Role, RoleDecl, Scan, ScannedArena, SiteFacts, SiteId, Synchronises, Unreached,
    Used, Watched,
};

/// Bytes of the tail's own header.
const TAIL_HEADER_BYTES: usize = 24;
/// Bytes of a section's header.
const SECTION_HEADER_BYTES: usize = 12;
/// The version of the sections; readers of version 1 read all that follow it and skip tags they do not know.
const TAIL_VERSION: u32 = 1;

const PROCESS: u16 = 1;
const END: u16 = 2;
const MODULES: u16 = 3;
const HOOKS: u16 = 4;
const SITES: u16 = 5;
const LOST: u16 = 6;
const MODE: u16 = 7;
const REPORTS: u16 = 8;
const SCANS: u16 = 9;
const SAMPLING: u16 = 10;
const MARKERS: u16 = 12;

/// What a tail gave.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tail {
    /// A tail with at least one intact section is there.
    pub present: bool,
    /// Bytes of the tail in the file.
    pub bytes: u64,
    pub facts: ProcessFacts,
    /// Clocks at the end.
    pub end: ClockPair,
    pub has_process: bool,
    pub has_end: bool,
    pub has_modules: bool,
    pub has_sites: bool,
    pub has_lost: bool,
}

/// The bytes of a tail. `end`: both clocks at the end of the process; zero when not read. `Lost::damaged` is not stored:
/// readers find it themselves.
pub fn tail(facts: &ProcessFacts, end: ClockPair) -> Vec<u8> {
    let sections = [
        (PROCESS, process(facts)),
        (END, ending(facts, end)),
        (MODULES, modules(facts)),
        (HOOKS, hooks(facts)),
        (SITES, sites(facts)),
        (LOST, lost(facts)),
        (MODE, mode(facts)),
        (REPORTS, reports(facts)),
        (SCANS, scans(facts)),
        (SAMPLING, sampling(facts)),
        (MARKERS, markers(facts)),
    ];
    let mut body = Vec::new();
    for (tag, section) in sections {
        // A section beyond 4 GiB is left out whole: the reader falls back on the events.
        let Ok(len) = u32::try_from(section.bytes.len()) else { continue };
        let mut head = [0u8; SECTION_HEADER_BYTES - 4];
        let (tag_bytes, len_bytes) = (tag.to_le_bytes(), len.to_le_bytes());
        head[0] = tag_bytes[0];
        head[1] = tag_bytes[1];
        head[4..8].copy_from_slice(&len_bytes);
        let checksum = crc32c(crc32c(0, &head), &section.bytes);
        body.extend_from_slice(&head);
        body.extend_from_slice(&checksum.to_le_bytes());
        body.extend_from_slice(&section.bytes);
    }
    let mut tail = Vec::with_capacity(TAIL_HEADER_BYTES + body.len());
    tail.extend_from_slice(&TAIL_MAGIC);
    tail.extend_from_slice(&TAIL_VERSION.to_le_bytes());
    tail.extend_from_slice(&(body.len() as u64).to_le_bytes());
    let checksum = crc32c(0, &tail);
    tail.extend_from_slice(&checksum.to_le_bytes());
    tail.extend_from_slice(&body);
    tail
}

/// Reads the tail, found by the header's word or, when that is damaged, by the walk over the slots.
pub(crate) fn read_tail(file: &[u8], walked: Option<u32>, damage: &mut Vec<Damage>) -> Tail {
    let word = u64_at(file, sealed::TAIL_OFFSET);
    let walked = walked.map(segment_offset);
    let mut tail = Tail::default();
    let Some(offset) = walked.or((word != 0).then_some(word)) else { return tail };
    let bytes = usize::try_from(offset).ok().and_then(|offset| file.get(offset..)).unwrap_or(&[]);
    let claimed = u64_at(bytes, 12);
    let len = usize::try_from(claimed).unwrap_or(usize::MAX).saturating_add(TAIL_HEADER_BYTES);
    let whole = bytes.get(..len).unwrap_or(bytes);
    let sound = bytes.starts_with(&TAIL_MAGIC)
        && bytes.get(..20).is_some_and(|head| crc32c(0, head) == u32_at(bytes, 20))
        && whole.len() == len
        && word == offset
        && u64_at(file, sealed::TAIL_BYTES) == len as u64
        && u64_at(file, sealed::TAIL_CHECKSUM) == u64::from(crc32c(0, whole));
    if !sound {
        let end = offset.saturating_add((whole.len() as u64).max(TAIL_HEADER_BYTES as u64));
        damage.push(Damage { bytes: offset..end, what: DamageKind::Tail });
    }
    if !bytes.starts_with(&TAIL_MAGIC) {
        return tail;
    }
    tail.bytes = whole.len() as u64;
    let mut rest = Cursor::new(whole.get(TAIL_HEADER_BYTES..).unwrap_or(&[]));
    while let Some(head) = rest.bytes(SECTION_HEADER_BYTES) {
        let Some(section) = rest.bytes(u32_at(head, 4) as usize) else { break };
        let checksum = crc32c(crc32c(0, head.get(..8).unwrap_or(&[])), section);
        if checksum != u32_at(head, 8) {
            continue;
        }
        let tag = u32_at(head, 0) as u16;
        let mut bytes = Cursor::new(section);
        let read = match tag {
            PROCESS => read_process(&mut tail, &mut bytes),
            END => read_ending(&mut tail, &mut bytes),
            MODULES => read_modules(&mut tail, &mut bytes),
            HOOKS => read_hooks(&mut tail, &mut bytes),
            SITES => read_sites(&mut tail, &mut bytes),
            LOST => read_lost(&mut tail, &mut bytes),
            MODE => read_mode(&mut tail, &mut bytes),
            REPORTS => read_reports(&mut tail, &mut bytes),
            SCANS => read_scans(&mut tail, &mut bytes),
            SAMPLING => read_sampling(&mut tail, &mut bytes),
            MARKERS => read_markers(&mut tail, &mut bytes),
            _ => Some(Sound::Whole),
        };
        tail.present |= read.is_some();
        let what = match read {
            Some(Sound::Whole) => continue,
            Some(Sound::CutByBudget) => DamageKind::TailTooLarge,
            None => DamageKind::Tail,
        };
        damage.push(Damage { bytes: offset..offset.saturating_add(len as u64), what });
    }
    tail
}

/// How a section was read.
enum Sound {
    Whole,
    CutByBudget,
}

fn process(facts: &ProcessFacts) -> Writer {
    let mut out = Writer::default();
    out.number(u64::from(facts.pid));
    out.number(u64::from(facts.parent_pid));
    out.number(facts.fork_id);
    out.number(facts.started_unix_ns);
    out.text(&facts.program);
    out.list(&facts.arguments, |out, argument| out.text(argument));
    out
}

fn read_process(tail: &mut Tail, bytes: &mut Cursor<'_>) -> Option<Sound> {
    let facts = &mut tail.facts;
    let (pid, parent_pid) = (bytes.number32()?, bytes.number32()?);
    let (fork_id, started) = (bytes.number()?, bytes.number()?);
    let program = text(bytes)?;
    let arguments = list(bytes, text)?;
    facts.pid = pid;
    facts.parent_pid = parent_pid;
    facts.fork_id = fork_id;
    facts.started_unix_ns = started;
    facts.program = program;
    facts.arguments = arguments;
    tail.has_process = true;
    Some(Sound::Whole)
}

fn ending(facts: &ProcessFacts, end: ClockPair) -> Writer {
    let mut out = Writer::default();
    out.byte(u8::from(facts.wait_status.is_some()));
    out.number(zigzag(i64::from(facts.wait_status.unwrap_or(0)) as u64));
    out.number(end.tsc);
    out.number(end.ns);
    out.byte(facts.null_use as u8);
    out.text(&facts.null_use_because);
    out
}

fn read_ending(tail: &mut Tail, bytes: &mut Cursor<'_>) -> Option<Sound> {
    let known = bytes.byte()? != 0;
    let status = unzigzag(bytes.number()?) as i32;
    let end = ClockPair { tsc: bytes.number()?, ns: bytes.number()? };
    let null_use = match bytes.byte()? {
        1 => NullUse::Consistent,
        2 => NullUse::Proven,
        _ => NullUse::Unknown,
    };
    tail.facts.null_use_because = text(bytes)?;
    tail.facts.null_use = null_use;
    tail.facts.wait_status = known.then_some(status);
    tail.end = end;
    tail.has_end = true;
    Some(Sound::Whole)
}

fn modules(facts: &ProcessFacts) -> Writer {
    let mut out = Writer::default();
    out.list(&facts.modules, |out, module| {
        out.text(&module.path);
        out.number(module.bias);
        out.number(module.start.0);
        out.number(module.end.0);
        out.counted(&module.build_id);
    });
    out
}

fn read_modules(tail: &mut Tail, bytes: &mut Cursor<'_>) -> Option<Sound> {
    tail.facts.modules = list(bytes, |bytes| {
        Some(Module {
            path: text(bytes)?,
            bias: bytes.number()?,
            start: Address(bytes.number()?),
            end: Address(bytes.number()?),
            build_id: bytes.counted_bytes()?.to_vec(),
        })
    })?;
    tail.has_modules = true;
    Some(Sound::Whole)
}

fn hooks(facts: &ProcessFacts) -> Writer {
    let mut out = Writer::default();
    out.byte(match facts.watched {
        Watched::Nothing => 0,
        Watched::Given => 1,
        Watched::FoundByShape => 2,
    });
    out.list(&facts.hooks, |out, hook| {
        out.byte(hook.decl.role as u8);
        out.text(&hook.decl.function);
        out.list(&hook.decl.arguments, |out, &argument| out.byte(argument as u8));
        out.byte(hook.decl.result as u8);
        out.text(&hook.module);
        out.number(hook.address.0);
        let (code, why) = match &hook.status {
            HookStatus::Watched => (0, ""),
            HookStatus::Partly(why) => (1, why.as_str()),
            HookStatus::NotWatched(why) => (2, why.as_str()),
        };
        out.byte(code);
        out.text(why);
    });
    out
}

fn read_hooks(tail: &mut Tail, bytes: &mut Cursor<'_>) -> Option<Sound> {
    let watched = match bytes.byte()? {
        1 => Watched::Given,
        2 => Watched::FoundByShape,
        _ => Watched::Nothing,
    };
    tail.facts.hooks = list(bytes, |bytes| {
        let role = Role::ALL.get(usize::from(bytes.byte()?)).copied()?;
        let function = text(bytes)?;
        let arguments = list(bytes, |bytes| Argument::ALL.get(usize::from(bytes.byte()?)).copied())?;
        let result = match bytes.byte()? {
            1 => Result_::Arena,
            2 => Result_::Block,
            3 => Result_::Mark,
            _ => Result_::Ignored,
        };
        let module = text(bytes)?;
        let address = Address(bytes.number()?);
        let (code, why) = (bytes.byte()?, text(bytes)?);
        let status = match code {
            0 => HookStatus::Watched,
            1 => HookStatus::Partly(why),
            _ => HookStatus::NotWatched(why),
        };
        // The mode section, which comes later, may know better.
        let synchronises = Synchronises::Unknown;
        let decl = RoleDecl { role, function, arguments, result };
        Some(HookFact { decl, module, address, status, synchronises, markers: None })
    })?;
    tail.facts.watched = watched;
    Some(Sound::Whole)
}

/// A table of strings, a table of frames that uses it, then the sites that use both.
fn sites(facts: &ProcessFacts) -> Writer {
    let mut strings = Table::default();
    let mut frames = Table::default();
    let mut out = Writer::default();
    let mut address = 0u64;
    out.list(&facts.sites, |out, site| {
        out.list(&site.addresses, |out, &Address(next)| {
            out.number(zigzag(next.wrapping_sub(address)));
            address = next;
        });
        out.list(&site.frames, |out, frame| {
            let key = FrameKey {
                address: frame.address.0,
                function: strings.index(frame.function.as_str()),
                file: strings.index(frame.file.as_str()),
                line: frame.line,
                module: strings.index(frame.module.as_str()),
                inlined: frame.inlined,
            };
            out.number(frames.index(key));
        });
        out.number(strings.index(site.source.as_str()));
        out.byte(site.fate.kind as u8);
        out.number(u64::from(site.fate.depth));
        out.number(strings.index(site.fate.because.as_str()));
    });
    let mut whole = Writer::default();
    whole.list(&strings.in_order, |out, string| out.text(string));
    let mut address = 0u64;
    whole.list(&frames.in_order, |out, frame| {
        out.number(zigzag(frame.address.wrapping_sub(address)));
        address = frame.address;
        out.number(frame.function);
        out.number(frame.file);
        out.number(u64::from(frame.line));
        out.number(frame.module);
        out.byte(u8::from(frame.inlined));
    });
    whole.bytes.extend_from_slice(&out.bytes);
    whole
}

/// A frame with its strings as indices.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct FrameKey {
    address: u64,
    function: u64,
    file: u64,
    line: u32,
    module: u64,
    inlined: bool,
}

fn read_sites(tail: &mut Tail, bytes: &mut Cursor<'_>) -> Option<Sound> {
    // Honest traces expand about 100 times (symbol names shared by all frames of a function).
    let mut budget = Budget { left: (1 << 20) + bytes.left().saturating_mul(512), exceeded: false };
    let strings = list(bytes, text)?;
    let string = |bytes: &mut Cursor<'_>, budget: &mut Budget| {
        let string = strings.get(usize::try_from(bytes.number()?).ok()?)?;
        Some(budget.text(string))
    };
    let mut address = 0u64;
    let frames = list(bytes, |bytes| {
        address = address.wrapping_add(bytes.signed()?);
        Some(Frame {
            address: Address(address),
            function: string(bytes, &mut budget)?,
            file: string(bytes, &mut budget)?,
            line: bytes.number32()?,
            module: string(bytes, &mut budget)?,
            inlined: bytes.byte()? != 0,
        })
    })?;
    let mut address = 0u64;
    let sites = list(bytes, |bytes| {
        let addresses = list(bytes, |bytes| {
            address = address.wrapping_add(bytes.signed()?);
            Some(Address(address))
        })?;
        let frames = list(bytes, |bytes| {
            let frame = frames.get(usize::try_from(bytes.number()?).ok()?)?;
            Some(budget.frame(frame))
        })?;
        let frames = frames.into_iter().flatten().collect();
        let source = string(bytes, &mut budget)?;
        let kind = match bytes.byte()? {
            1 => FateKind::Read,
            2 => FateKind::Dropped,
            3 => FateKind::Returned,
            _ => FateKind::Unknown,
        };
        let depth = bytes.number32()?;
        let because = string(bytes, &mut budget)?;
        Some(SiteFacts { addresses, frames, source, place: None, fate: Fate { kind, depth, because } })
    })?;
    tail.facts.sites = sites;
    tail.has_sites = true;
    Some(if budget.exceeded { Sound::CutByBudget } else { Sound::Whole })
}

/// How many bytes the strings and frames of a tail may still expand to.
struct Budget {
    left: usize,
    exceeded: bool,
}

impl Budget {
    fn spend(&mut self, bytes: usize) -> bool {
        match self.left.checked_sub(bytes) {
            Some(left) => self.left = left,
            None => self.exceeded = true,
        }
        !self.exceeded
    }

    fn text(&mut self, string: &str) -> String {
        if self.spend(string.len()) { string.to_string() } else { String::new() }
    }

    fn frame(&mut self, frame: &Frame) -> Option<Frame> {
        let bytes = size_of::<Frame>() + frame.function.len() + frame.file.len() + frame.module.len();
        self.spend(bytes).then(|| frame.clone())
    }
}

fn lost(facts: &ProcessFacts) -> Writer {
    let Lost { no_space, reentered, table_full, heap_skipped, capture_bytes, damaged: _ } = facts.lost;
    let mut out = Writer::default();
    for count in [no_space, reentered, table_full, heap_skipped, capture_bytes] {
        out.number(count);
    }
    out
}

fn read_lost(tail: &mut Tail, bytes: &mut Cursor<'_>) -> Option<Sound> {
    tail.facts.lost = Lost {
        no_space: bytes.number()?,
        reentered: bytes.number()?,
        table_full: bytes.number()?,
        heap_skipped: bytes.number()?,
        capture_bytes: bytes.number()?,
        damaged: 0,
    };
    tail.has_lost = true;
    Some(Sound::Whole)
}

/// How the program was run, and what of the hooks was decoded for it: a byte for each, in their order.
fn sampling(facts: &ProcessFacts) -> Writer {
    let mut out = Writer::default();
    out.number(facts.sample_bytes);
    out
}

fn read_sampling(tail: &mut Tail, bytes: &mut Cursor<'_>) -> Option<Sound> {
    tail.facts.sample_bytes = bytes.number()?;
    Some(Sound::Whole)
}

fn mode(facts: &ProcessFacts) -> Writer {
    let mut out = Writer::default();
    out.byte(facts.mode as u8);
    out.byte(u8::from(facts.watches_malloc));
    out.list(&facts.mode_limits, |out, limit| out.text(limit));
    out.list(&facts.hooks, |out, hook| out.byte(hook.synchronises as u8));
    out.list(&facts.libraries, |out, path| out.text(path));
    out
}

fn read_mode(tail: &mut Tail, bytes: &mut Cursor<'_>) -> Option<Sound> {
    let mode = Mode::ALL.get(usize::from(bytes.byte()?)).copied()?;
    let watches_malloc = bytes.byte()? != 0;
    let limits = list(bytes, text)?;
    let synchronises = list(bytes, |bytes| {
        Some(match bytes.byte()? {
            1 => Synchronises::No,
            2 => Synchronises::Perhaps,
            _ => Synchronises::Unknown,
        })
    })?;
    // Older traces end before this list.
    let libraries = if bytes.left() > 0 { list(bytes, text)? } else { Vec::new() };
    tail.facts.mode = mode;
    tail.facts.libraries = libraries;
    tail.facts.watches_malloc = watches_malloc;
    tail.facts.mode_limits = limits;
    for (hook, synchronises) in tail.facts.hooks.iter_mut().zip(synchronises) {
        hook.synchronises = synchronises;
    }
    Some(Sound::Whole)
}

fn reports(facts: &ProcessFacts) -> Writer {
    let mut out = Writer::default();
    let site = |site: Option<SiteId>| site.map_or(0, |site| u64::from(site.0).saturating_add(1));
    out.list(&facts.reports, |out, report| {
        out.byte(report.used as u8);
        out.number(report.address.0);
        out.number(report.bytes);
        // 0: none; else the arena's key and one.
        out.number(report.before.map_or(0, |(arena, _)| u64::from(arena.0).saturating_add(1)));
        out.number(report.before.map_or(0, |(_, order)| order));
        out.number(site(report.site));
        out.number(site(report.origin));
    });
    out
}

fn read_reports(tail: &mut Tail, bytes: &mut Cursor<'_>) -> Option<Sound> {
    let site = |number: u64| number.checked_sub(1).and_then(|site| u32::try_from(site).ok()).map(SiteId);
    tail.facts.reports = list(bytes, |bytes| {
        Some(Report {
            used: Used::ALL.get(usize::from(bytes.byte()?)).copied()?,
            address: Address(bytes.number()?),
            bytes: bytes.number()?,
            before: match (bytes.number()?, bytes.number()?) {
                (0, _) => None,
                (key, order) => Some((ArenaKey(u32::try_from(key - 1).ok()?), order)),
            },
            site: site(bytes.number()?),
            origin: site(bytes.number()?),
        })
    })?;
    Some(Sound::Whole)
}

fn scans(facts: &ProcessFacts) -> Writer {
    let mut out = Writer::default();
    out.list(&facts.scans, |out, scan| {
        out.number(scan.mark.map_or(0, |mark| mark.saturating_add(1)));
        out.number(scan.bytes);
        out.list(&scan.arenas, |out, arena| {
            out.number(u64::from(arena.arena.0));
            out.number(arena.before);
            out.number(arena.blocks);
            out.number(arena.reached);
            let mut last = 0u64;
            out.list(&arena.unreached, |out, block| {
                out.number(zigzag(block.address.0.wrapping_sub(last)));
                out.byte(u8::from(block.by_offset));
                last = block.address.0;
            });
        });
    });
    out
}

fn read_scans(tail: &mut Tail, bytes: &mut Cursor<'_>) -> Option<Sound> {
    tail.facts.scans = list(bytes, |bytes| {
        Some(Scan {
            mark: bytes.number()?.checked_sub(1),
            bytes: bytes.number()?,
            arenas: list(bytes, |bytes| {
                let arena = ArenaKey(bytes.number32()?);
                let (before, blocks, reached) = (bytes.number()?, bytes.number()?, bytes.number()?);
                let mut last = 0u64;
                let unreached = list(bytes, |bytes| {
                    last = last.wrapping_add(bytes.signed()?);
                    Some(Unreached { address: Address(last), by_offset: bytes.byte()? != 0 })
                })?;
                Some(ScannedArena { arena, before, blocks, reached, unreached })
            })?,
        })
    })?;
    Some(Sound::Whole)
}

/// Which of the hooks are markers: index, how many are seen, how many there are.
fn markers(facts: &ProcessFacts) -> Writer {
    let with_index = facts.hooks.iter().enumerate().filter_map(|(index, hook)| Some((index, hook.markers?)));
    let markers: Vec<(usize, MarkerCount)> = with_index.collect();
    let mut out = Writer::default();
    out.list(&markers, |out, (index, count)| {
        out.number(*index as u64);
        out.number(u64::from(count.seen));
        out.number(u64::from(count.all));
    });
    out
}

fn read_markers(tail: &mut Tail, bytes: &mut Cursor<'_>) -> Option<Sound> {
    let markers = list(bytes, |bytes| {
        let index = usize::try_from(bytes.number()?).ok()?;
        Some((index, MarkerCount { seen: bytes.number32()?, all: bytes.number32()? }))
    })?;
    for (index, count) in markers {
        if let Some(hook) = tail.facts.hooks.get_mut(index) {
            hook.markers = Some(count);
        }
    }
    Some(Sound::Whole)
}

/// Values in the order of their first use, each once.
struct Table<T> {
    index: BTreeMap<T, u64>,
    in_order: Vec<T>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Table { index: BTreeMap::new(), in_order: Vec::new() }
    }
}

impl<T: Ord + Copy> Table<T> {
    fn index(&mut self, value: T) -> u64 {
        let next = self.in_order.len() as u64;
        *self.index.entry(value).or_insert_with(|| {
            self.in_order.push(value);
            next
        })
    }
}

/// Bytes being written.
#[derive(Default)]
struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    fn byte(&mut self, byte: u8) {
        self.bytes.push(byte);
    }

    fn number(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.byte((value as u8) | 0x80);
            value >>= 7;
        }
        self.byte(value as u8);
    }

    fn counted(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.bytes.extend_from_slice(bytes);
    }

    fn text(&mut self, text: &str) {
        self.counted(text.as_bytes());
    }

    fn list<'i, T>(&mut self, items: &'i [T], mut item: impl FnMut(&mut Writer, &'i T)) {
        self.number(items.len() as u64);
        for each in items {
            item(self, each);
        }
    }
}

/// A count and so many items. Nothing is allocated for items that are not there.
fn list<'a, T>(bytes: &mut Cursor<'a>, mut item: impl FnMut(&mut Cursor<'a>) -> Option<T>) -> Option<Vec<T>> {
    let count = bytes.number()?;
    // Each item takes a byte at least.
    if count > bytes.left() as u64 {
        return None;
    }
    let mut items = Vec::new();
    for _ in 0..count {
        items.push(item(bytes)?);
    }
    Some(items)
}

fn text(bytes: &mut Cursor<'_>) -> Option<String> {
    bytes.counted_bytes().map(crate::decode::text)
}

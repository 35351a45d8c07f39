//! From replayed state to view models: which arenas are shown, what their blocks and bytes were, what a moment held.
//!
//! A [`Gatherer`] is fed every event with its effect and the state after it, beside the replay; it remembers what the
//! final state cannot tell (captures, forks, totals), in memory bounded by the number of arenas. [`Gatherer::run_view`]
//! then makes the models. Bytes are fetched through a function handed in, so that nothing here reads a trace.
//! Absent: text, judging (findings come in ready-made).

use crate::narrate::{arena_name, site_facts, site_view};
use crate::pattern::ArenaPattern;
use crate::place;
use crate::sampled::{ArenaSampled, Estimate, Sampled};
use crate::view::{
    ArenaGroup, ArenaView, Birth, BlockView, BytesView, ChildFate, ChildView, ChosenBy, End, ExtentView, FindingView,
    MallocView, Outcome, Refusals, RunView, Sight, Site, Suppressed, ThreadView, WatchedFunction,
};
use arenascope_event::{
    Address, ArenaKey, Argument, BlobId, BoundsKind, CaptureReason, Checking, Event, EventKind, HookStatus,
    ProcessFacts, Result_, Role, RoleDecl, SiteId, Watched,
};
use arenascope_findings::{FamilyFinding, Finding};
use arenascope_replay::{Arena, ArenaId, Effect, Ending, Extent, ExtentKind, ProcessEnd, State, default_name};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// One saved range, or the part of it that lies in one extent.
#[derive(Clone, Copy, Debug)]
struct Span {
    base: Address,
    len: u64,
    bytes: BlobId,
    /// Saved bytes before it.
    skipped: u64,
}

impl Span {
    /// What lies in `start..end`.
    fn part(self, start: u64, end: u64) -> Option<Span> {
        let low = start.max(self.base.0);
        let high = end.min(self.base.plus(self.len).0);
        let before = low.checked_sub(self.base.0)?;
        (low < high).then(|| Span {
            base: Address(low),
            len: high - low,
            skipped: self.skipped.saturating_add(before),
            ..self
        })
    }
}

/// Ranges saved together: by capture events with no event of the arena between them.
#[derive(Clone, Debug)]
struct Batch {
    event: u64,
    reason: CaptureReason,
    spans: Vec<Span>,
    closed: bool,
}

/// Captures of one arena: the last not after the moment looked at, and the first after it.
#[derive(Clone, Debug, Default)]
struct Captures {
    before: Option<Batch>,
    after: Option<Batch>,
}

/// Collects what the state at one moment does not hold.
#[derive(Clone, Debug)]
pub struct Gatherer {
    /// Captures later than this event are second choice.
    moment: u64,
    captures: BTreeMap<ArenaId, Captures>,
    forks: Vec<(u32, u64, u64)>,
    events: u64,
    /// Mean distance of samples; 0: everything is recorded.
    sample_bytes: u64,
    /// What was handed out up to the moment, by arena and by place.
    samples: BTreeMap<(ArenaId, Option<SiteId>), Estimate>,
}

/// What the views are made from.
pub struct Sources<'a> {
    /// The trace's path, as the user would type it.
    pub trace: &'a str,
    /// Facts of the process.
    pub facts: &'a ProcessFacts,
    /// Facts of the process whose arenas this one inherited, if all of them come from the same: sites of inherited arenas
    /// and blocks are its sites.
    pub parent: Option<&'a ProcessFacts>,
    /// Sites whose blocks nobody kept: [`arenascope_findings::never_kept`].
    pub never_kept: &'a BTreeSet<SiteId>,
    /// The bytes of a capture.
    pub blob: &'a dyn Fn(BlobId) -> Option<Vec<u8>>,
    /// The trace of a forked process, by pid and fork id.
    pub child_trace: &'a dyn Fn(u32, u64) -> Option<String>,
}

/// Which arenas are shown one by one.
#[derive(Clone, Debug)]
pub struct Selection {
    /// Only these.
    pub pattern: Option<ArenaPattern>,
    /// Only those alive at the moment.
    pub living_only: bool,
    /// At most so many; the rest is summed up in groups.
    pub most: usize,
    /// Most interesting first instead of in order of birth.
    pub ranked: bool,
}

impl Selection {
    /// For the first screen.
    pub const GLANCE: Selection = Selection { pattern: None, living_only: false, most: 6, ranked: true };
}

/// Arenas of one line that are shown one by one when there are more than fit.
const EXAMPLES: usize = 2;
/// Groups of arenas that are listed; the rest is one group more.
const MOST_GROUPS: usize = 8;
/// What `--watch malloc` watches: every function of the family comes down to these.
const MALLOC: [(Role, &str); 4] = [
    (Role::Alloc, "malloc(size) -> block"),
    (Role::Alloc, "calloc(count, size) -> block"),
    (Role::Resize, "realloc(block, size) -> block"),
    (Role::Free, "free(block)"),
];
/// Most bytes of one capture that a view takes.
const MOST_BYTES: u64 = 1 << 26;

impl Gatherer {
    /// For views of the state after event `moment`; `u64::MAX` for the end.
    pub fn new(moment: u64) -> Gatherer {
        let (captures, samples) = (BTreeMap::new(), BTreeMap::new());
        Gatherer { moment, captures, forks: Vec::new(), events: 0, sample_bytes: 0, samples }
    }

    /// To be called for every event, after it was applied.
    pub fn observe(&mut self, event: &Event, effect: &Effect, state: &State) {
        self.events = self.events.max(event.number.0);
        match &event.kind {
            // The bytes of one block would stand for the whole arena's.
            EventKind::Capture { reason, .. } if reason.is_of_one_block() => {}
            EventKind::Capture { arena, reason, base, len, bytes } => {
                let span = Span { base: *base, len: *len, bytes: *bytes, skipped: 0 };
                for (id, part) in shares(*arena, span, state) {
                    self.capture(id, event.number.0, *reason, part);
                }
            }
            EventKind::Fork { child, fork_id } => self.forks.push((*child, event.number.0, *fork_id)),
            EventKind::Sampling { bytes } => self.sample_bytes = *bytes,
            kind => {
                if let EventKind::Alloc { block, size, .. } = kind
                    && let Some(id) = effect.arena
                    && self.sample_bytes > 0
                    && !block.is_null()
                    && event.number.0 <= self.moment
                {
                    self.samples.entry((id, event.site)).or_default().add(*size, self.sample_bytes);
                }
                if let (Some(_), Some(id)) = (kind.arena_order(), effect.arena)
                    && let Some(captures) = self.captures.get_mut(&id)
                {
                    for batch in [&mut captures.before, &mut captures.after].into_iter().flatten() {
                        batch.closed = true;
                    }
                }
            }
        }
    }

    fn capture(&mut self, id: ArenaId, event: u64, reason: CaptureReason, span: Span) {
        let captures = self.captures.entry(id).or_default();
        let late = event > self.moment;
        let slot = if late { &mut captures.after } else { &mut captures.before };
        match slot {
            Some(batch) if !batch.closed && batch.reason == reason => batch.spans.push(span),
            Some(_) if late => {}
            _ => *slot = Some(Batch { event, reason, spans: vec![span], closed: false }),
        }
    }

    /// Events seen.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// What the samples stand for; those of chosen arenas.
    fn sampled(&self, state: &State, maker: &mut Maker<'_>, chosen: &BTreeSet<ArenaId>) -> Option<Sampled> {
        if self.sample_bytes == 0 {
            return None;
        }
        let mut sampled = Sampled {
            mean: self.sample_bytes,
            unasked_rules: arenascope_findings::Watch::unasked(maker.sources.facts) as u64,
            ..Sampled::default()
        };
        let mut by_place: BTreeMap<Option<SiteId>, Estimate> = BTreeMap::new();
        for ((_, site), estimate) in self.samples.iter().filter(|((arena, _), _)| chosen.contains(arena)) {
            sampled.allocated.join(estimate);
            by_place.entry(*site).or_default().join(estimate);
        }
        for arena in state.arenas().filter(|arena| chosen.contains(&arena.id)) {
            sampled.living.join(&self.living(arena));
        }
        // Calls of one line are one place, whatever led there.
        type Line = (String, String, u32);
        type Places = BTreeMap<(Option<Line>, Option<SiteId>), (Option<Arc<Site>>, Estimate)>;
        let mut by_line = Places::new();
        for (id, estimate) in by_place {
            let site = maker.site(id, false);
            let frame = site.as_ref().and_then(|site| place::telling(&site.frames)).filter(|frame| frame.line > 0);
            let line = frame.map(|frame| (frame.function.clone(), frame.file.clone(), frame.line));
            let rest = if line.is_some() { None } else { id };
            by_line.entry((line, rest)).or_insert_with(|| (site, Estimate::default())).1.join(&estimate);
        }
        let mut places: Vec<_> = by_line.into_values().collect();
        places.sort_by(|(_, one), (_, two)| two.bytes.total_cmp(&one.bytes));
        sampled.places = places;
        Some(sampled)
    }

    fn living(&self, arena: &Arena) -> Estimate {
        let mut living = Estimate::default();
        if arena.is_alive() {
            arena.blocks().into_iter().for_each(|block| living.add(block.size, self.sample_bytes));
        }
        living
    }

    fn sampled_of(&self, arena: &Arena) -> Option<ArenaSampled> {
        let mut allocated = Estimate::default();
        let of_arena = self.samples.range((arena.id, None)..).take_while(|((id, _), _)| *id == arena.id);
        of_arena.for_each(|(_, estimate)| allocated.join(estimate));
        (self.sample_bytes > 0).then(|| ArenaSampled { allocated, living: self.living(arena) })
    }

    /// The models of everything at `state` (the state after the gatherer's moment), findings included as they are.
    pub fn run_view(
        &self,
        state: &State,
        findings: Vec<FindingView>,
        selection: &Selection,
        sources: &Sources<'_>,
    ) -> RunView {
        let facts = sources.facts;
        let default_name = default_name(&facts.hooks);
        let wanted = |arena: &&Arena| {
            (!selection.living_only || arena.is_alive())
                && selection
                    .pattern
                    .as_ref()
                    .is_none_or(|pattern| pattern.matches(u64::from(arena.id.0), arena_name(arena, &default_name)))
        };
        let mut arenas: Vec<&Arena> = state.arenas().filter(wanted).collect();
        let nothing_matched = selection.pattern.is_some() && arenas.is_empty();
        let mut most = selection.most;
        if selection.ranked {
            let accused: BTreeSet<u64> = findings.iter().filter_map(|finding| Some(finding.arena()?.0)).collect();
            arenas.sort_by_key(|arena| {
                let accused = accused.contains(&u64::from(arena.id.0));
                (!accused, arena.malloc.is_some(), std::cmp::Reverse(arena.peak.bytes), arena.id)
            });
            if arenas.len() > selection.most {
                // Ten thousand arenas of one line are all alike: two of them are example enough.
                let mut shown_of: BTreeMap<Option<(&str, u32)>, usize> = BTreeMap::new();
                let (told, alike): (Vec<&Arena>, Vec<&Arena>) = arenas.into_iter().partition(|arena| {
                    if arena.malloc.is_some() {
                        return true;
                    }
                    let site = site_facts(facts, arena.created.map_or(arena.born_site, |created| created.site));
                    let line = site.and_then(|site| place::telling(&site.frames));
                    let seen = shown_of.entry(line.map(|frame| (frame.file.as_str(), frame.line))).or_default();
                    *seen += 1;
                    *seen <= EXAMPLES || accused.contains(&u64::from(arena.id.0))
                });
                most = most.min(told.len());
                arenas = told;
                arenas.extend(alike);
            }
        }
        let chosen: BTreeSet<ArenaId> = arenas.iter().map(|arena| arena.id).collect();
        let (shown, rest) = arenas.split_at(arenas.len().min(most));
        let held = held(state, &default_name);
        let mut maker = Maker { sources, default_name: &default_name, sites: BTreeMap::new(), held };
        let moment = state.moment.0;
        let view = |arena: &&Arena, maker: &mut Maker<'_>| ArenaView {
            sampled: self.sampled_of(arena),
            ..maker.arena(arena, moment, self.captures.get(&arena.id))
        };
        let shown = shown.iter().map(|arena| view(arena, &mut maker)).collect();
        let sampled = self.sampled(state, &mut maker, &chosen);
        let threads = threads(state, &findings);
        RunView {
            trace: sources.trace.to_owned(),
            program: facts.program.clone(),
            threads,
            pid: facts.pid,
            outcome: outcome(facts, state),
            watched: facts
                .hooks
                .iter()
                .map(|hook| WatchedFunction {
                    function: hook.decl.function.clone(),
                    role: hook.decl.role.word(),
                    declaration: declaration(&hook.decl),
                    markers: hook.markers.map(|count| {
                        let file = hook.module.rsplit('/').next().unwrap_or(&hook.module);
                        (file.to_owned(), count.seen)
                    }),
                    sight: match &hook.status {
                        HookStatus::Watched => Sight::Full,
                        HookStatus::Partly(why) => Sight::Partly(why.clone()),
                        HookStatus::NotWatched(why) => Sight::None(why.clone()),
                    },
                })
                .chain(facts.libraries.iter().map(|path| {
                    let module = path.rsplit('/').next().unwrap_or(path);
                    WatchedFunction {
                        function: format!("the arenascope library in {module}"),
                        role: "library",
                        declaration: path.clone(),
                        sight: Sight::Full,
                        markers: None,
                    }
                }))
                .chain(MALLOC.into_iter().filter(|_| facts.watches_malloc).map(|(role, declaration)| WatchedFunction {
                    function: declaration.split_once('(').map_or(declaration, |(name, _)| name).to_owned(),
                    role: role.word(),
                    declaration: format!("{}:{declaration}", role.word()),
                    sight: Sight::Full,
                    markers: None,
                }))
                .collect(),
            chosen_by: match facts.watched {
                Watched::Nothing => ChosenBy::Nobody,
                Watched::Given => ChosenBy::User,
                Watched::FoundByShape => ChosenBy::Shape,
            },
            checked: checked(state),
            arenas: shown,
            groups: maker.groups(rest),
            unmatched: state
                .arenas()
                .filter(|_| nothing_matched)
                .map(|arena| (u64::from(arena.id.0), arena_name(arena, &default_name).to_owned()))
                .collect(),
            findings,
            suppressed: Suppressed::default(),
            events: self.events,
            lost: facts.lost,
            damage: Vec::new(),
            children: self
                .forks
                .iter()
                .map(|&(pid, event, fork_id)| ChildView {
                    pid,
                    event,
                    fork_id,
                    trace: (sources.child_trace)(pid, fork_id),
                    tally: String::new(),
                    fate: ChildFate::Unknown,
                })
                .collect(),
            executed: Vec::new(),
            sampled,
        }
    }
}

/// A saved range, cut by the extents that it touches. What the arena behind `key` does not have belongs to an arena that
/// was replaced under this key and whose memory still stands: the recorder knows objects, not arenas. What nobody has
/// (memory that no block was seen in) goes to the arena behind the key when nothing else of the range does.
fn shares(key: ArenaKey, span: Span, state: &State) -> Vec<(ArenaId, Span)> {
    let parts = |arena: &Arena| -> Vec<(ArenaId, Span)> {
        let cut = |extent: &Extent| span.part(extent.start.0, extent.end().0);
        arena.extents().filter_map(cut).map(|part| (arena.id, part)).collect()
    };
    let owner = state.arena_of_key(key);
    let mut shares = owner.map(parts).unwrap_or_default();
    let covered = shares.iter().fold(0u64, |sum, (_, part)| sum.saturating_add(part.len));
    if covered < span.len {
        let stands = |extent: &Extent| extent.region.is_some_and(|region| state.region(region).is_some());
        for other in state.arenas().filter(|other| other.key == key && !other.is_alive() && other.extents().all(stands))
        {
            let taken = |part: &Span| {
                shares.iter().any(|(_, share)| share.part(part.base.0, part.base.plus(part.len).0).is_some())
            };
            let more: Vec<_> = parts(other).into_iter().filter(|(_, part)| !taken(part)).collect();
            shares.extend(more);
        }
    }
    if shares.is_empty() {
        shares.extend(owner.map(|owner| (owner.id, span)));
    }
    shares
}

/// How many arenas are checked in which way.
fn checked(state: &State) -> Vec<(Checking, u64)> {
    let mut counts = BTreeMap::new();
    for how in state.arenas().filter_map(|arena| arena.checking) {
        let count: &mut u64 = counts.entry(how).or_default();
        *count = count.saturating_add(1);
    }
    counts.into_iter().collect()
}

fn outcome(facts: &ProcessFacts, state: &State) -> Outcome {
    // A wait status as of waitpid(2): the low seven bits are the signal, 0 for an exit, whose status is the next byte.
    match (facts.wait_status, &state.end) {
        (Some(status), _) if status & 0x7f == 0 => Outcome::Exited((status >> 8) & 0xff),
        (Some(status), _) => Outcome::Killed((status & 0x7f).unsigned_abs()),
        (None, Some(ProcessEnd::Exit { status, .. })) => Outcome::Exited(*status),
        (None, Some(ProcessEnd::Fault { signal, .. })) => Outcome::Killed(*signal),
        (None, _) => Outcome::Unknown,
    }
}

/// The threads of this process that findings name.
fn threads(state: &State, findings: &[FindingView]) -> Vec<ThreadView> {
    let own = findings.iter().filter(|finding| finding.process.is_none());
    let named: BTreeSet<_> = own.flat_map(|finding| finding.claim.threads.iter().copied()).collect();
    let known = named.into_iter().filter_map(|number| Some((number.0, state.thread(number)?)));
    let view = |(number, thread): (u32, &arenascope_replay::Thread)| ThreadView {
        number,
        tid: thread.tid,
        creator: thread.parent.map(|parent| parent.0),
    };
    known.map(view).collect()
}

/// A finding with its sites resolved.
pub fn finding_view(finding: &Finding, facts: &ProcessFacts) -> FindingView {
    let resolved = |site| Arc::new(site_view(facts, Some(site)).unwrap_or_default());
    FindingView {
        sites: finding.sites.iter().map(|(role, site)| (*role, resolved(*site))).collect(),
        claim: finding.clone(),
        process: None,
    }
}

/// The same of a finding about several processes. `facts` gives those of a member.
pub fn family_view<'f>(found: &FamilyFinding, facts: impl Fn(usize) -> Option<&'f ProcessFacts>) -> FindingView {
    let resolved = |member: usize, site| {
        let facts = facts(member);
        let site = facts.and_then(|facts| site_view(facts, Some(site))).unwrap_or_default();
        Arc::new(Site { process: facts.map(|facts| facts.pid), ..site })
    };
    FindingView {
        sites: found.sites.iter().map(|(role, member, site)| (*role, resolved(*member, *site))).collect(),
        claim: found.finding.clone(),
        process: facts(found.member).map(|facts| facts.pid),
    }
}

/// A role as the user would type it for `--role`.
pub fn declaration(decl: &RoleDecl) -> String {
    let arguments: Vec<&str> = decl.arguments.iter().copied().map(Argument::word).collect();
    let result = match decl.result {
        Result_::Ignored => String::new(),
        result => format!(" -> {}", result.word()),
    };
    format!("{}:{}({}){result}", decl.role.word(), decl.function, arguments.join(", "))
}

struct Maker<'a> {
    sources: &'a Sources<'a>,
    default_name: &'a str,
    /// By whether the site is one of the parent process.
    sites: BTreeMap<(bool, SiteId), Option<Arc<Site>>>,
    /// By the first byte of a malloc block: the living arenas in it.
    held: BTreeMap<u64, Vec<(u64, String)>>,
}

/// The living arenas whose memory is a malloc block, by the block's first byte.
fn held(state: &State, default_name: &str) -> BTreeMap<u64, Vec<(u64, String)>> {
    let mut held: BTreeMap<u64, Vec<(u64, String)>> = BTreeMap::new();
    for arena in state.living_arenas() {
        for extent in arena.extents().filter(|extent| extent.kind == ExtentKind::HeapBlock) {
            let name = arena_name(arena, default_name).to_owned();
            held.entry(extent.start.0).or_default().push((u64::from(arena.id.0), name));
        }
    }
    held
}

impl Maker<'_> {
    /// Whose numbers the sites of a thing are.
    fn facts_of(&self, inherited: bool) -> Option<&ProcessFacts> {
        if inherited { self.sources.parent } else { Some(self.sources.facts) }
    }

    fn site(&mut self, id: Option<SiteId>, inherited: bool) -> Option<Arc<Site>> {
        let key = (inherited, id?);
        if let Some(known) = self.sites.get(&key) {
            return known.clone();
        }
        let made = self.facts_of(inherited).and_then(|facts| site_view(facts, id)).map(Arc::new);
        self.sites.insert(key, made.clone());
        made
    }

    fn arena(&mut self, arena: &Arena, moment: u64, captures: Option<&Captures>) -> ArenaView {
        let capacity = arena.capacity();
        let extents: Vec<ExtentView> = arena
            .extents()
            .map(|extent| ExtentView {
                number: extent.number,
                start: extent.start.0,
                len: extent.len,
                mapped: extent.len,
                kind: match extent.kind {
                    ExtentKind::Mapping | ExtentKind::Observed => ExtentView::MAPPING,
                    ExtentKind::HeapBlock => ExtentView::HEAP,
                    ExtentKind::HeapSegment => ExtentView::SEGMENT,
                    ExtentKind::Payload => match arena.bounds.map(|bounds| bounds.kind) {
                        Some(BoundsKind::Growing) => ExtentView::GROWING,
                        Some(BoundsKind::Lease) => ExtentView::LEASE,
                        _ => ExtentView::PAYLOAD,
                    },
                    ExtentKind::Plot => ExtentView::PLOT,
                    ExtentKind::Static => ExtentView::STATIC,
                    ExtentKind::Unknown => ExtentView::UNKNOWN,
                },
                top_chunk: extent.top_chunk.map(|top| top.0.saturating_sub(extent.start.0)),
            })
            .collect();
        let index_of: BTreeMap<u32, usize> =
            arena.extents().enumerate().map(|(index, extent)| (extent.number, index)).collect();
        let mut blocks: Vec<BlockView> = Vec::new();
        for block in arena.blocks() {
            let place = arena.place(block);
            let lost = |site| !block.inherited && self.sources.never_kept.contains(&site);
            blocks.push(BlockView {
                number: block.number,
                address: block.address.0,
                extent: index_of.get(&place.extent).copied().unwrap_or(extents.len()),
                offset: place.offset,
                size: block.size,
                site: self.site(block.site, block.inherited),
                born: block.born.0,
                inherited: block.inherited,
                flag: block.site.is_some_and(lost).then_some("nobody's"),
                holds: self.held.get(&block.address.0).filter(|_| arena.malloc.is_some()).cloned().unwrap_or_default(),
            });
        }
        blocks.sort_by_key(|block| (block.extent, block.offset, block.number));

        let mut view = ArenaView {
            id: u64::from(arena.id.0),
            name: arena_name(arena, self.default_name).to_owned(),
            object: arena.object.0,
            malloc: arena.malloc.map(|kind| MallocView { kind, first_thread: arena.born_by.0 }),
            capacity,
            mapped: arena.memory_bytes(),
            bound: arena.bound(),
            birth: Birth {
                event: arena.created.map_or(arena.born.moment(), |created| created.moment).0,
                site: self.site(arena.created.map_or(arena.born_site, |created| created.site), arena.inherited),
                created: arena.created.is_some(),
                inherited: arena.inherited,
            },
            end: arena.ended.map(|end| End {
                event: end.moment.0,
                site: self.site(end.site, false),
                how: match end.how {
                    Ending::Destroyed => "destroyed",
                    Ending::Unmapped => "unmapped",
                    Ending::HeapFreed => "freed",
                    Ending::Replaced => "replaced",
                },
            }),
            peak_bytes: arena.peak.bytes,
            peak_event: arena.peak.moment.0,
            blocks_ever: arena.counts.allocs,
            frees: arena.counts.frees,
            resets: arena.counts.resets,
            rewinds: arena.counts.rewinds,
            threads: arena.threads.iter().map(|thread| thread.0).collect(),
            refused: arena.first_refusal.map(|first| Refusals {
                count: arena.counts.refused,
                // Of an inherited arena nobody knows whether the parent or the child was refused first.
                event: if arena.inherited { 0 } else { first.moment.0 },
                size: first.size,
                site: if arena.inherited { None } else { self.site(first.site, false) },
            }),
            drawn_at: arena.ended.map_or(moment, |end| end.moment.0.saturating_sub(1)),
            extents,
            blocks,
            forgotten_blocks: arena.forgotten_blocks,
            bytes: Vec::new(),
            sampled: None,
        };
        if let [extent] = view.extents.as_mut_slice()
            && let Some(capacity) = capacity
            && capacity > 0
        {
            extent.len = extent.len.min(capacity);
        }
        if let Some(batch) = captures.and_then(|captures| captures.before.as_ref().or(captures.after.as_ref())) {
            view.bytes = self.bytes(batch, arena, &view);
        }
        view
    }

    /// The saved bytes of each range, up to the end of its last block (or of the highest there ever was, when none lives).
    fn bytes(&self, batch: &Batch, arena: &Arena, view: &ArenaView) -> Vec<BytesView> {
        let tops: Vec<(u64, u64, u64)> = arena
            .extents()
            .enumerate()
            .map(|(index, extent)| {
                let living = view.blocks.iter().filter(|block| block.extent == index);
                let top = living.map(|block| block.address.saturating_add(block.size)).max();
                (extent.start.0, extent.end().0, top.unwrap_or(extent.top.0))
            })
            .collect();
        let mut spans = Vec::new();
        for span in &batch.spans {
            let holding = tops.iter().find(|(start, end, _)| (*start..*end).contains(&span.base.0));
            let top = holding.map_or(span.base.plus(span.len).0, |(_, _, top)| *top);
            let wanted = span.len.min(top.saturating_sub(span.base.0)).min(MOST_BYTES);
            let mut bytes = (self.sources.blob)(span.bytes).unwrap_or_default();
            // Shorter than the range when the capture was.
            let skipped = usize::try_from(span.skipped).unwrap_or(usize::MAX).min(bytes.len());
            drop(bytes.drain(..skipped));
            bytes.truncate(usize::try_from(wanted).unwrap_or(usize::MAX));
            if wanted > 0 {
                spans.push(BytesView { event: batch.event, reason: batch.reason, address: span.base.0, bytes, wanted });
            }
        }
        spans.sort_by_key(|span| tops.iter().position(|(start, end, _)| (*start..*end).contains(&span.address)));
        spans
    }

    /// Arenas that are not shown one by one, by the line they were born at, the most first.
    fn groups(&mut self, arenas: &[&Arena]) -> Vec<ArenaGroup> {
        let mut groups: BTreeMap<(bool, Option<(String, u32)>), ArenaGroup> = BTreeMap::new();
        for arena in arenas {
            let malloc = arena.malloc.is_some();
            let site = self.site(arena.created.map_or(arena.born_site, |created| created.site), arena.inherited);
            let site = site.filter(|_| !malloc);
            let told = site.as_deref().and_then(place::telling_frame);
            let key = (malloc, told.map(|frame| (frame.file.clone(), frame.line)));
            let group = groups.entry(key).or_insert_with(|| ArenaGroup { count: 0, site, peak: 0, malloc });
            group.count += 1;
            group.peak = group.peak.max(arena.peak.bytes);
        }
        let mut groups: Vec<ArenaGroup> = groups.into_values().collect();
        groups.sort_by_key(|group| (group.malloc, std::cmp::Reverse((group.count, group.peak))));
        if groups.len() > MOST_GROUPS {
            let rest = groups.split_off(MOST_GROUPS);
            groups.push(ArenaGroup {
                count: rest.iter().map(|group| group.count).sum(),
                site: None,
                peak: rest.iter().map(|group| group.peak).max().unwrap_or(0),
                malloc: false,
            });
        }
        groups
    }
}

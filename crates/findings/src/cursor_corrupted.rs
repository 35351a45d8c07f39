//! `cursor-corrupted`: an arena's cursor left its place without an event, or a block lies outside the arena's memory.
//!
//! - **Claims**: 1 the word of the arena object that follows the ends of the blocks stood right when the last call returned, and
//!   the next block was handed out somewhere else: before the arena's memory, behind it, or in the middle of a living block
//!   that is not the last. 2 A block reaches over the end of the mapping it lies in. 3 A note: it went back into the last
//!   block, once in the whole run, and not to where that block's written bytes end, as it does where the rest of a block is
//!   given back by hand.
//! - **Needs**: events, and the arena object's bytes around such a block (`ObjectChanged`); for 3 the next capture of the arena, too.
//! - **Evidence**: the object's bytes when the last block and when this one were handed out; both blocks.
//! - **Disproof**: a function that no role names and that moves the cursor there on purpose; more memory at the end of the mapping,
//!   got by a call that was not seen.
//! - **Silent**: for a cursor that went back to the start or the end of a block, or to the arena's start (a reset or rewind made
//!   by hand), into the last block more than once (it gives back the ends of blocks), into bytes of it that were written or never
//!   were, or forward; for cursors that are addresses and went to other
//!   memory (a new chunk); for cursors that are no word of the object's first 64 bytes; in arenas used by several threads or
//!   whose memory other arenas use (copies of one, passed by value); where functions that hand out or take back blocks have calls that are not seen; for `malloc`.
//!   In check and precise mode for all but blocks that begin before the arena's memory: a program that moves a cursor by its own sizes, or
//!   counts on what fits without asking, ends up elsewhere because of the redzones. A note where events were lost.
//! - **Lab**: 09b3.

use crate::cursor::Cursor;
use crate::finding::{BlockRef, Certainty, Class, Evidence, Finding, SiteRole};
use crate::frees::block_ref;
use crate::track::{Told, Tracks};
use crate::watch::Rule;
use crate::{trust, wording};
use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use arenascope_event::{
    Address, ArenaKey, Event, EventKind, EventNumber, Mode, ProcessFacts, Role, SiteId, ThreadNumber,
};
use arenascope_replay::{Arena, ArenaId, Block, Effect, ExtentKind, Place, State, What};

/// Places told apart; those beyond are not told.
const GROUPS: usize = 1024;

/// Bytes that a redzone and alignment may put between the blocks of two arenas over the same memory.
const REDZONE: u64 = 80;

/// Bytes that malloc may give beyond what was asked for.
const MALLOC_SLACK: u64 = 24;

/// Bytes between what was written of a block and where a cursor that was set back there stands: alignment.
const ALIGNED: usize = 16;

/// The rule.
#[derive(Clone, Debug, Default)]
pub struct CursorCorrupted {
    tracks: Tracks,
    /// Times that a cursor went back into the last block, and the first of them until its bytes are seen.
    cut: u64,
    first_cut: Option<Cut>,
    cases: BTreeMap<(ArenaId, Wrong, Option<SiteId>), Case>,
    library: BTreeSet<ArenaKey>,
    /// Arenas in whose memory another one was seen to have blocks.
    copied: BTreeSet<ArenaId>,
}

/// What is wrong with a block's place.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Wrong {
    /// It begins before the arena's memory.
    Before,
    /// It reaches over the end of the arena's memory, and the cursor was moved there.
    Behind,
    /// It begins inside a living block that is not the last.
    Inside,
    /// It begins inside the last block, and what lies before it there does not look like all that was wanted of that.
    Cut,
    /// It reaches over the end of the mapping.
    Over {
        /// The memory is a malloc block, not a mapping.
        malloc: bool,
    },
}

/// A block that begins inside the last one, until the bytes before it are seen.
#[derive(Clone, Debug)]
struct Cut {
    arena: ArenaId,
    site: Option<SiteId>,
    /// The last block's first byte.
    start: Address,
    case: Case,
}

/// Blocks of one call that lie wrong: the first, and how many.
#[derive(Clone, Debug)]
struct Case {
    block: BlockRef,
    moment: EventNumber,
    /// Bytes from the arena's start or end, or from the start of the block inside of which it begins.
    distance: u64,
    /// The block that was handed out before, or the one it lies in.
    other: Option<(u64, EventNumber, Option<SiteId>)>,
    /// Where the cursor stood after the last block, from the arena's start.
    stood: Option<u64>,
    sure: Certainty,
    evidence: Vec<Evidence>,
    threads: BTreeSet<ThreadNumber>,
    count: u64,
    bytes: u64,
}

impl CursorCorrupted {
    /// Its name.
    pub const NAME: &'static str = "cursor-corrupted";

    /// At the start of a trace.
    pub fn new() -> CursorCorrupted {
        CursorCorrupted::default()
    }

    fn add(&mut self, arena: ArenaId, wrong: Wrong, site: Option<SiteId>, case: Case) {
        let cases = self.cases.len();
        match self.cases.get_mut(&(arena, wrong, site)) {
            Some(known) => {
                known.count = known.count.saturating_add(1);
                known.bytes = known.bytes.saturating_add(case.bytes);
            }
            None if cases < GROUPS => drop(self.cases.insert((arena, wrong, site), case)),
            None => {}
        }
    }

    /// A block that does not follow the last one, with the object's bytes then and now.
    fn jumped(&mut self, event: &Event, effect: &Effect, state: &State, arena: &Arena, block: &Block, place: Place) {
        let track = self.tracks.of(arena.id);
        let (Some(last), Some((cursor, told))) = (track.last, self.tracks.cursor(event, effect, arena, block)) else {
            return;
        };
        // Where the allocator itself left the cursor, this rule has nothing to say.
        if arena.threads.len() > 1 || arena.inherited || cursor.stood < last.end {
            return;
        }
        let Some(extent) = arena.extent(last.extent) else { return };
        let users =
            extent.region.and_then(|region| state.region(region)).map_or(1, |region| region.users().take(2).count());
        if users > 1 {
            return;
        }
        let start = cursor.base.unwrap_or(extent.start.0);
        let is_offset = cursor.base.is_some();
        let elsewhere = state.region_holding(block.address).is_some_and(|region| Some(region.id) != extent.region);
        let inside = effect
            .dead
            .iter()
            .find(|older| older.address < block.address && block.address < older.end() && older.number != last.number);
        let before = start.saturating_sub(block.address.0);
        let (wrong, distance, sure) = if before > 0 && (is_offset || (!elsewhere && before < 1 << 16)) {
            (Wrong::Before, before, if is_offset { Certainty::Certain } else { Certainty::Likely })
        } else if is_offset && extent.kind.is_bounded() && block.end() > extent.end() && block.address >= extent.start {
            (Wrong::Behind, block.end().0.saturating_sub(extent.end().0), Certainty::Certain)
        } else if let Some(older) = inside {
            (Wrong::Inside, block.address.0.saturating_sub(older.address.0), Certainty::Likely)
        } else if last.start < block.address.0 && block.address.0 < last.end {
            (Wrong::Cut, block.address.0.saturating_sub(last.start), Certainty::Possible)
        } else {
            return;
        };
        if is_copied(&mut self.copied, state, arena) {
            return;
        }
        let cut = effect.dead.iter().find(|older| older.number == last.number);
        let other = match (wrong, inside.or(cut)) {
            (Wrong::Inside | Wrong::Cut, Some(older)) => Some((older.number, older.born, older.site)),
            _ => arena.block(last.number).map(|last| (last.number, last.born, last.site)),
        };
        let evidence = evidence(arena, &cursor, told);
        let case = Case {
            block: block_ref(block, place),
            moment: event.number,
            distance,
            other,
            stood: Some(cursor.stood.saturating_sub(start)),
            sure,
            evidence,
            threads: [event.thread].into(),
            count: 1,
            bytes: block.size,
        };
        if wrong == Wrong::Cut {
            self.cut = self.cut.saturating_add(1);
            let cut = Cut { arena: arena.id, site: event.site, start: Address(last.start), case };
            self.first_cut = Some(cut).filter(|_| self.cut == 1);
        } else {
            self.add(arena.id, wrong, event.site, case);
        }
    }

    /// The bytes of an arena are seen, of which those before a cut may be some: the end of a block that is given back by hand
    /// begins where the written bytes end.
    fn seen(&mut self, arena: ArenaId, base: Address, captured: &[u8]) {
        let Some(cut) = self.first_cut.take_if(|cut| cut.arena == arena) else { return };
        let range = || {
            let start = usize::try_from(cut.start.0.checked_sub(base.0)?).ok()?;
            captured.get(start..start.checked_add(usize::try_from(cut.case.distance).ok()?)?)
        };
        let Some(kept) = range() else {
            // Another span of the arena.
            self.first_cut = Some(cut);
            return;
        };
        let written = kept.iter().rposition(|byte| *byte != 0).map_or(0, |last| last.saturating_add(1));
        if written > 0 && kept.len().saturating_sub(written) > ALIGNED {
            self.add(arena, Wrong::Cut, cut.site, cut.case);
        }
    }

    /// A block that reaches over the end of its memory.
    fn over_the_end(&mut self, event: &Event, state: &State, arena: &Arena, block: &Block, place: Place) {
        let Some(extent) = arena.extent(block.extent) else { return };
        let malloc = extent.kind == ExtentKind::HeapBlock;
        let over = block.end().0.saturating_sub(extent.end().0);
        let known = malloc || extent.kind == ExtentKind::Mapping;
        let slack = if malloc { MALLOC_SLACK } else { 0 };
        // A size larger than all of the memory is no size.
        if !known || over <= slack || block.size > extent.len || state.region_holding(extent.end()).is_some() {
            return;
        }
        let case = Case {
            block: block_ref(block, place),
            moment: event.number,
            distance: over,
            other: None,
            stood: None,
            sure: Certainty::Likely,
            evidence: Vec::new(),
            threads: [event.thread].into(),
            count: 1,
            bytes: over,
        };
        self.add(arena.id, Wrong::Over { malloc }, event.site, case);
    }
}

/// True when another arena has blocks in the memory that blocks of `arena` lie in, which no mapping tells: of an arena that
/// is passed by value both copies hand out from where the cursor stood, and one that is copied again starts elsewhere.
/// O(living arenas), once for each jump that would be told.
fn is_copied(known: &mut BTreeSet<ArenaId>, state: &State, arena: &Arena) -> bool {
    if known.contains(&arena.id) {
        return true;
    }
    let shares = |other: &Arena| {
        let mut both = other.extents().flat_map(|theirs| arena.extents().map(move |ours| (theirs, ours)));
        let near = |end: Address| end.plus(REDZONE);
        both.any(|(theirs, ours)| match (theirs.region, ours.region) {
            (None, None) => theirs.bottom < near(ours.top) && ours.bottom < near(theirs.top),
            _ => theirs.bottom < ours.top && ours.bottom < theirs.top,
        })
    };
    let copied = state.living_arenas().any(|other| other.id != arena.id && shares(other));
    if copied {
        known.insert(arena.id);
    }
    copied
}

fn evidence(arena: &Arena, cursor: &Cursor, told: &Told) -> Vec<Evidence> {
    let piece = |label: &str, bytes: &[u8], wrong: bool| Evidence {
        label: label.to_owned(),
        address: arena.object,
        offset: 0,
        bytes: bytes.to_vec(),
        damaged: wrong.then(|| cursor.at..cursor.at.saturating_add(cursor.len)).into_iter().collect(),
    };
    [
        piece("the arena object after the block before", &told.before, false),
        piece("after this block", &told.after, true),
    ]
    .into()
}

impl Rule for CursorCorrupted {
    fn observe(&mut self, event: &Event, effect: &Effect, state: &State, captured: &[u8]) {
        if let EventKind::Capture { reason, base, .. } = event.kind
            && !reason.is_of_one_block()
            && let Some(arena) = effect.arena
        {
            self.seen(arena, base, captured);
        }
        if let EventKind::HeapSegment { arena, .. } = event.kind {
            self.library.insert(arena);
        }
        if let (What::Allocated | What::Resized { .. }, Some(block), Some(place), Some(arena)) =
            (effect.what, &effect.block, effect.place, effect.arena.and_then(|id| state.arena(id)))
        {
            if self.tracks.is_told(event) {
                self.jumped(event, effect, state, arena, block, place);
            }
            self.over_the_end(event, state, arena, block, place);
        }
        self.tracks.observe(event, effect, state);
    }

    fn finish(self: Box<Self>, state: &State, facts: &ProcessFacts) -> Vec<Finding> {
        let roles = [Role::Alloc, Role::Resize, Role::Free, Role::Rewind, Role::Reset, Role::Create, Role::Destroy];
        if trust::unseen(facts, &roles).is_some() {
            return Vec::new();
        }
        let judged = self.cases.iter().filter_map(|((id, wrong, site), case)| {
            let arena = state.arena(*id)?;
            let skipped = match wrong {
                // Positions that a program reckons from its own sizes are off by the redzones, and always too high.
                Wrong::Before => false,
                _ if matches!(facts.mode, Mode::Check | Mode::Precise) => true,
                Wrong::Over { malloc: true } => facts.lost.heap_skipped > 0,
                Wrong::Cut => self.cut > 1,
                _ => false,
            };
            if skipped || trust::is_library(facts, arena) || self.library.contains(&arena.key) {
                return None;
            }
            Some(finding(state, facts, *id, *wrong, *site, case))
        });
        judged.collect()
    }
}

fn finding(
    state: &State,
    facts: &ProcessFacts,
    arena: ArenaId,
    wrong: Wrong,
    site: Option<SiteId>,
    case: &Case,
) -> Finding {
    let lost = trust::missing(state, facts);
    let distance = wording::bytes(case.distance);
    let block = format!("{}, block {} of arena {arena}", wording::bytes(case.block.size), case.block.number);
    let message = match (wrong, case.other) {
        (Wrong::Before, _) => format!("{block}: begins {distance} before the arena's memory"),
        (Wrong::Behind, _) => format!("{block}: reaches {distance} over the end of the arena's memory"),
        (Wrong::Inside, Some((other, ..))) => {
            format!("{block}: begins {distance} inside block {other}, which still lives")
        }
        (Wrong::Cut, Some((other, ..))) => {
            format!("{block}: begins {distance} inside block {other}, the last one before it")
        }
        (Wrong::Inside | Wrong::Cut, None) => format!("{block}: begins {distance} inside a living block"),
        (Wrong::Over { malloc: true }, _) => {
            format!("{block}: reaches {distance} over the end of the malloc block it lies in")
        }
        (Wrong::Over { malloc: false }, _) => {
            format!("{block}: reaches {distance} over the end of the mapping it lies in")
        }
    };
    let mut because = match case.stood {
        Some(stood) => format!(
            "the cursor in the arena object stood at +{stood} after the block before, and no call that was seen moved it until #{}",
            case.moment.0
        ),
        None => "nothing is known to be mapped behind it".to_owned(),
    };
    if wrong == Wrong::Cut {
        because.push_str(&format!(
            "; who gives back the end of a block by hand sets the cursor to where its written bytes end, and these end more \
             than {ALIGNED} bytes before"
        ));
    }
    let (class, certainty) = match lost {
        0 if wrong == Wrong::Cut => (Class::Note, case.sure),
        0 => (Class::Finding, case.sure),
        lost => {
            because.push_str(&format!("; but {lost} events were lost, and what explains it may be among them"));
            (Class::Note, Certainty::Possible)
        }
    };
    let times = if case.count > 1 { format!("; {} times", case.count) } else { String::new() };
    let mut sites = Vec::new();
    sites.extend(site.map(|site| (SiteRole::Allocated, site)));
    sites.extend(case.other.and_then(|(.., site)| site).map(|site| (SiteRole::Allocated, site)));
    Finding {
        rule: CursorCorrupted::NAME,
        class,
        certainty,
        message: format!("{message}{times}"),
        arena: Some(wording::arena_ref(state, facts, arena)),
        block: Some(case.block),
        moment: case.moment,
        threads: case.threads.iter().copied().collect(),
        sites,
        calls: Vec::new(),
        because,
        evidence: case.evidence.clone(),
        disproof: match wrong {
            Wrong::Over { .. } => "more memory behind the end, got by a call that was not seen".to_owned(),
            Wrong::Cut => "code that gives back the end of the block on purpose".to_owned(),
            _ => "a function that no role names and that moves the cursor there on purpose".to_owned(),
        },
        next: match wrong {
            Wrong::Over { .. } => {
                "look at the alloc function's bound: capacity - offset must be compared with the size"
            }
            _ => "look for who writes the cursor between the two calls, and at a bound check that lets it pass",
        }
        .to_owned(),
        count: case.count,
        bytes: case.bytes,
    }
}

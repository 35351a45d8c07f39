//! `padding-waste`: bytes between blocks that alignment alone explains.
//!
//! - **Claims**: of the memory that this allocator's blocks take, so much lies between them because sizes are rounded up or
//!   addresses aligned. A note.
//! - **Needs** events only.
//! - **Evidence**: the gap from one block's end to the start of the next block handed out behind it in the same extent. What every gap
//!   has may be a header, and is named, not counted. Of the rest, what is smaller than the alignment that all blocks share, or that
//!   the call asked for, is padding. At least 4 KiB and a tenth of what the blocks take.
//! - **Disproof**: bytes between blocks that the allocator uses itself (a size, a guard) in some blocks only.
//! - **Silent**: where all gaps are alike (that may be a header); where more than a quarter of the gaps are too large for an alignment
//!   (other functions hand out blocks between these); allocators whose roles name no size; when events were lost.
//! - **Lab**: none plants it; 19 draws what fragmentation is.
//!
//! Grouped by the line that creates the arenas. Memory: one edge for each arena, a table of gaps for each line, a few words for
//! each site.

use crate::finding::{BlockRef, Certainty, Class, Finding, SiteRole};
use crate::watch::Rule;
use crate::wording::{self, CallingLine};
use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use arenascope_event::{Address, Event, EventKind, EventNumber, ProcessFacts, SiteId, ThreadNumber};
use arenascope_replay::{Arena, ArenaId, Effect, State, What};

const LEAST_BYTES: u64 = 4096;
/// Gaps that are told apart; larger ones are no matter of alignment.
const GAPS: usize = 128;
/// The largest alignment taken for an allocator's own.
const MOST_ALIGNED: u64 = 64;

/// The newest block of an arena.
#[derive(Clone, Copy, Debug)]
struct Edge {
    group: usize,
    extent: u32,
    end: Address,
    site: Option<SiteId>,
    block: BlockRef,
    moment: EventNumber,
}

/// What blocks of one site left behind them.
#[derive(Clone, Copy, Debug)]
struct Left {
    blocks: u64,
    gaps: u64,
    first: Edge,
    arena: ArenaId,
}

/// Arenas of one line.
#[derive(Clone, Debug)]
struct Group {
    arena: ArenaId,
    threads: BTreeSet<ThreadNumber>,
    blocks: u64,
    bytes: u64,
    /// Blocks that began so many bytes behind the one before.
    gaps: [u64; GAPS],
    larger: u64,
    /// Alignments asked for that explain a gap: how many, and their bytes.
    asked: u64,
    asked_bytes: u64,
    /// All addresses joined: the lowest bit set is what all blocks are aligned to.
    addresses: u64,
    sites: BTreeMap<Option<SiteId>, Left>,
}

/// The rule.
#[derive(Clone, Debug, Default)]
pub struct PaddingWaste {
    edges: BTreeMap<ArenaId, Edge>,
    groups: Vec<Group>,
    lines: BTreeMap<Option<SiteId>, usize>,
}

impl PaddingWaste {
    /// Its name.
    pub const NAME: &'static str = "padding-waste";

    /// At the start of a trace.
    pub fn new() -> PaddingWaste {
        PaddingWaste::default()
    }

    fn group_of(&mut self, arena: &Arena) -> usize {
        let groups = &mut self.groups;
        *self.lines.entry(arena.born_site).or_insert_with(|| {
            groups.push(Group {
                arena: arena.id,
                threads: BTreeSet::new(),
                blocks: 0,
                bytes: 0,
                gaps: [0; GAPS],
                larger: 0,
                asked: 0,
                asked_bytes: 0,
                addresses: 0,
                sites: BTreeMap::new(),
            });
            groups.len().saturating_sub(1)
        })
    }
}

impl Rule for PaddingWaste {
    fn observe(&mut self, event: &Event, effect: &Effect, state: &State, _: &[u8]) {
        let Some(id) = effect.arena else { return };
        match effect.what {
            What::Allocated if matches!(event.kind, EventKind::Alloc { .. }) => {}
            // The outer caller got the inner block, or a part of it.
            What::HandedOn { .. } | What::Resized { .. } | What::Rewound | What::Reset | What::Destroyed => {
                self.edges.remove(&id);
                return;
            }
            _ => return,
        }
        let (Some(block), Some(place)) = (&effect.block, effect.place) else { return };
        let before = self.edges.get(&id).copied();
        let index = match before {
            Some(edge) => edge.group,
            None => match state.arena(id) {
                Some(arena) => self.group_of(arena),
                None => return,
            },
        };
        let Some(group) = self.groups.get_mut(index) else { return };
        group.blocks = group.blocks.saturating_add(1);
        group.bytes = group.bytes.saturating_add(block.size);
        group.addresses |= block.address.0;
        if let Some(edge) = before.filter(|edge| edge.extent == block.extent && edge.end <= block.address) {
            let gap = block.address.0.saturating_sub(edge.end.0);
            let asked = block
                .align
                .is_some_and(|align| gap < align && MOST_ALIGNED < align && block.address.0.is_multiple_of(align));
            match usize::try_from(gap).ok().and_then(|gap| group.gaps.get_mut(gap)) {
                _ if asked => {
                    group.asked = group.asked.saturating_add(1);
                    group.asked_bytes = group.asked_bytes.saturating_add(gap);
                }
                Some(count) => {
                    *count = count.saturating_add(1);
                    let fresh = Left { blocks: 0, gaps: 0, first: edge, arena: id };
                    let left = group.sites.entry(edge.site).or_insert(fresh);
                    left.blocks = left.blocks.saturating_add(1);
                    left.gaps = left.gaps.saturating_add(gap);
                }
                None => group.larger = group.larger.saturating_add(1),
            }
        }
        if !group.threads.contains(&event.thread) {
            group.threads.insert(event.thread);
        }
        let block_ref = BlockRef { number: block.number, extent: place.extent, offset: place.offset, size: block.size };
        let edge = Edge {
            group: index,
            extent: block.extent,
            end: block.end(),
            site: event.site,
            block: block_ref,
            moment: event.number,
        };
        self.edges.insert(id, edge);
    }

    fn finish(self: Box<Self>, state: &State, facts: &ProcessFacts) -> Vec<Finding> {
        if facts.lost.events() > 0 || state.missing > 0 {
            return Vec::new();
        }
        let mut lines: BTreeMap<CallingLine, Group> = BTreeMap::new();
        for (site, index) in self.lines {
            let Some(group) = self.groups.get(index) else { continue };
            match lines.entry(CallingLine::of(facts, site)) {
                alloc::collections::btree_map::Entry::Vacant(entry) => {
                    entry.insert(group.clone());
                }
                alloc::collections::btree_map::Entry::Occupied(mut entry) => join(entry.get_mut(), group),
            }
        }
        lines.into_values().filter_map(|group| note(state, facts, &group)).collect()
    }
}

fn join(group: &mut Group, other: &Group) {
    for (mine, more) in group.gaps.iter_mut().zip(other.gaps) {
        *mine = mine.saturating_add(more);
    }
    for (mine, more) in [
        (&mut group.blocks, other.blocks),
        (&mut group.bytes, other.bytes),
        (&mut group.larger, other.larger),
        (&mut group.asked, other.asked),
        (&mut group.asked_bytes, other.asked_bytes),
    ] {
        *mine = mine.saturating_add(more);
    }
    group.addresses |= other.addresses;
    group.threads.extend(&other.threads);
    for (site, left) in &other.sites {
        let mine = group.sites.entry(*site).or_insert(Left { blocks: 0, gaps: 0, ..*left });
        mine.blocks = mine.blocks.saturating_add(left.blocks);
        mine.gaps = mine.gaps.saturating_add(left.gaps);
    }
}

fn note(state: &State, facts: &ProcessFacts, group: &Group) -> Option<Finding> {
    let header = group.gaps.iter().position(|count| *count > 0)? as u64;
    let aligned = 1_u64.checked_shl(group.addresses.trailing_zeros()).unwrap_or(MOST_ALIGNED).min(MOST_ALIGNED);
    let (mut padded, mut other, mut waste) = (0_u64, group.larger, group.asked_bytes);
    for (gap, count) in (0_u64..).zip(group.gaps) {
        let padding = gap.saturating_sub(header);
        if padding < aligned {
            padded = padded.saturating_add(count);
            waste = waste.saturating_add(count.saturating_mul(padding));
        } else {
            other = other.saturating_add(count);
        }
    }
    waste = waste.saturating_sub(group.asked.saturating_mul(header));
    padded = padded.saturating_add(group.asked);
    let taken = group.bytes.saturating_add(waste).saturating_add(group.blocks.saturating_mul(header));
    if waste < LEAST_BYTES || waste < taken / 10 || other > padded / 3 {
        return None;
    }
    let per_cent = waste.saturating_mul(100) / taken.max(1);
    // The site whose blocks are rounded up the most.
    let padding = |left: &Left| left.gaps.saturating_sub(left.blocks.saturating_mul(header));
    let (site, worst) = group.sites.iter().rev().max_by_key(|(_, left)| padding(left))?;
    let arena = wording::arena_ref(state, facts, group.arena);
    let heads = match header {
        0 => String::new(),
        header => {
            format!("; the {} between any two of them may be a header and are not counted", wording::bytes(header))
        }
    };
    let each = padding(worst) / worst.blocks.max(1);
    Some(Finding {
        rule: PaddingWaste::NAME,
        class: Class::Note,
        certainty: Certainty::Likely,
        message: format!(
            "{} of {} that {} blocks of arena {} and its like take are padding ({per_cent} %)",
            wording::bytes(waste),
            wording::bytes(taken),
            group.blocks,
            group.arena
        ),
        arena: Some(arena),
        block: Some(worst.first.block).filter(|_| worst.arena == group.arena),
        moment: worst.first.moment,
        threads: group.threads.iter().copied().collect(),
        sites: site.map(|site| (SiteRole::Allocated, site)).into_iter().collect(),
        calls: Vec::new(),
        because: format!(
            "blocks begin at multiples of {aligned}, and what lies between them is smaller than that; behind those of this call \
             some {} each{heads}",
            wording::bytes(each)
        ),
        evidence: Vec::new(),
        disproof: "bytes between the blocks that the allocator itself uses in some of them".to_owned(),
        next: "ask for sizes that are multiples of the alignment, put several small things into one block, or give bytes and text \
               an arena that aligns to 1"
            .to_owned(),
        count: padded.max(1),
        bytes: waste,
    })
}

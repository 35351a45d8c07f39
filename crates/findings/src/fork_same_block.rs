//! `fork-same-block`: both sides of a fork were given the same bytes of shared memory.
//!
//! Claims: two processes of one family were each handed a block in one MAP_SHARED mapping after the fork, and the blocks
//! share bytes while both are in use.
//!
//! Needs: the traces of both processes, complete; the mapping made before the fork; an arena object in private memory, so
//! that each process moves a cursor of its own.
//!
//! Evidence: both events, the mapping's origin, the clock that the processes share. *Certain* where the roles were given
//! and both processes lived; *likely* where roles were found by shape, and where the end of the first process was not seen. A
//! note where it was a child that had ended before its parent was given the bytes: what the child left there is overwritten,
//! and the parent may have read it before.
//!
//! Disproof: a free or reset of one block, not watched, before the other was handed out.
//!
//! Correct programs that look alike, and why they are silent: cursor and lock in the shared memory (the object is not
//! private); memory that only looks shared (MAP_PRIVATE is copied); blocks freed, rewound or reset before (their end is
//! known, with up to a millisecond for the clocks); children that use one scratch area one after the other; a process that
//! goes on when its parent has ended; a handle that leads to a shared cursor (its blocks would be handed out over living
//! ones in one process too where frees are not seen: such arenas are passed over).
//!
//! Lab: 09c, shared memory with a private cursor.

use crate::family::{FamilyFinding, Lineage, Mapping, Member, SharedBlock};
use crate::finding::{Certainty, Class, Finding, SiteRole};
use crate::wording;
use alloc::borrow::ToOwned;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::vec::Vec;
use arenascope_replay::ArenaId;

/// Its name.
pub const NAME: &str = "fork-same-block";

/// What the clocks of two traces may differ, ns: what lies between the two readings that tie a trace's counter to
/// CLOCK_MONOTONIC, and in [`SLEWED`] for how long events are from such a pair, since the kernel may run that clock by 500 millionths
/// faster or slower (adjtimex(2)), and not all the time; at most so much. A parent that ends its arena as soon as it has waited
/// for its child leaves some 200,000 ns.
const SLACK_NS: u64 = 50_000;
const SLEWED: u64 = 2_000;
const MOST_SLACK_NS: u64 = 1_000_000;

/// Most pairs compared in one mapping: enough to say that there are many.
const PAIRS: u32 = 1 << 20;

/// A block and the process that got it.
#[derive(Clone, Copy)]
struct Got<'m> {
    member: usize,
    block: &'m SharedBlock,
}

/// Two blocks that share bytes, the older first.
#[derive(Clone, Copy)]
struct Pair<'m> {
    first: Got<'m>,
    second: Got<'m>,
    certainty: Certainty,
    /// The first process had ended when the second got its block.
    after_end: bool,
}

pub(crate) fn judge(lineage: &Lineage<'_>) -> Vec<FamilyFinding> {
    let mut mappings: BTreeMap<Mapping, Vec<Got<'_>>> = BTreeMap::new();
    for (index, member) in lineage.members().iter().enumerate().filter(|(_, member)| member.complete) {
        let sure = member.blocks.iter().filter(|block| block.own_cursor && !member.unsure.contains(&block.arena));
        for block in sure {
            mappings.entry(block.mapping).or_default().push(Got { member: index, block });
        }
    }
    let mut groups: BTreeMap<(Mapping, ArenaId), (Pair<'_>, u64, BTreeSet<usize>)> = BTreeMap::new();
    for (mapping, mut blocks) in mappings {
        blocks.sort_by_key(|got| (got.block.address, got.member, got.block.moment));
        for pair in pairs(lineage, &blocks) {
            let key = (mapping, pair.second.block.arena);
            let (best, count, members) = groups.entry(key).or_insert((pair, 0, BTreeSet::new()));
            *count = count.saturating_add(1);
            members.extend([pair.first.member, pair.second.member]);
            let rank = |pair: &Pair<'_>| (pair.certainty, pair.second.block.born_ns, pair.second.member);
            if rank(&pair) < rank(best) {
                *best = pair;
            }
        }
    }
    groups.into_values().filter_map(|(pair, count, members)| accuse(lineage, pair, count, &members)).collect()
}

fn pairs<'m>(lineage: &Lineage<'m>, blocks: &[Got<'m>]) -> Vec<Pair<'m>> {
    let mut found = Vec::new();
    let mut compared = 0u32;
    for (index, low) in blocks.iter().enumerate() {
        let above = blocks.get(index.saturating_add(1)..).unwrap_or(&[]);
        for high in above.iter().take_while(|high| high.block.address < low.block.end()) {
            compared = compared.saturating_add(1);
            if compared > PAIRS {
                return found;
            }
            found.extend(pair(lineage, *low, *high));
        }
    }
    found
}

/// How far the clocks of two processes may be apart at `now`.
fn slack(lineage: &Lineage<'_>, members: [usize; 2], now: u64) -> u64 {
    let started = members.iter().filter_map(|index| Some(lineage.members().get(*index)?.started_ns)).min().unwrap_or(0);
    SLACK_NS.saturating_add(now.saturating_sub(started) / SLEWED).min(MOST_SLACK_NS)
}

/// The accusation that these two overlapping blocks are, if any.
fn pair<'m>(lineage: &Lineage<'m>, left: Got<'m>, right: Got<'m>) -> Option<Pair<'m>> {
    if left.member == right.member {
        return None;
    }
    let key = |got: &Got<'_>| (got.block.born_ns, got.member);
    let (first, second) = if key(&left) <= key(&right) { (left, right) } else { (right, left) };
    lineage.parting(first.member, second.member)?;
    for (one, other) in [(first, second), (second, first)] {
        // What a process got before the fork is the other's too, and no second giving.
        if let Some(fork) = lineage.fork_between(one.member, other.member)
            && one.block.moment <= fork.moment
        {
            return None;
        }
    }
    let born = second.block.born_ns;
    let limit = born.saturating_add(slack(lineage, [first.member, second.member], born));
    if first.block.died_ns.is_some_and(|died| died <= limit) {
        return None;
    }
    let member = lineage.members().get(first.member)?;
    let after_end = member.ended_ns.is_some_and(|ended| ended <= limit);
    let given = lineage.members().get(second.member)?.given && member.given;
    if after_end && lineage.fork_between(second.member, first.member).is_none() {
        return None;
    }
    let certainty = match member.ended_ns {
        _ if after_end => Certainty::Possible,
        Some(_) if given => Certainty::Certain,
        _ => Certainty::Likely,
    };
    Some(Pair { first, second, certainty, after_end })
}

fn accuse(lineage: &Lineage<'_>, pair: Pair<'_>, count: u64, members: &BTreeSet<usize>) -> Option<FamilyFinding> {
    let member = |index: usize| -> Option<&Member> { lineage.members().get(index) };
    let (first, second) = (pair.first, pair.second);
    let (older, newer) = (member(first.member)?, member(second.member)?);
    let (parent, fork) = lineage.parting(first.member, second.member)?;
    let who = if lineage.fork_between(first.member, second.member).is_some() {
        "a parent and then its child"
    } else if lineage.fork_between(second.member, first.member).is_some() {
        "a child and then its parent"
    } else {
        "two children of one process"
    };
    let arena = newer.arenas.get(&second.block.arena)?.clone();
    let told = |block: &SharedBlock| {
        let at = block.at;
        let chunk = if at.extent > 1 { format!(" of extent {}", at.extent) } else { Default::default() };
        format!("{} at +{}{chunk}", wording::bytes(at.size), at.offset)
    };
    let same = first.block.address == second.block.address && first.block.at.size == second.block.at.size;
    let what = if same {
        told(second.block)
    } else {
        format!("{} and {}, which share bytes", told(first.block), told(second.block))
    };
    let more = if count > 1 { format!(" ({count} times)") } else { Default::default() };
    let when = if pair.after_end { ", when that process had ended, to a millisecond" } else { "" };
    let shape =
        if newer.given { "" } else { "; the functions were found by shape, and one that resets may be missing" };
    let mut sites = Vec::new();
    sites.extend(fork.site.map(|site| (SiteRole::Forked, parent, site)));
    sites.extend([first, second].iter().filter_map(|got| Some((SiteRole::Allocated, got.member, got.block.site?))));
    Some(FamilyFinding {
        finding: Finding {
            rule: NAME,
            class: if pair.after_end { Class::Note } else { Class::Finding },
            certainty: pair.certainty,
            message: format!(
                "after a fork the same shared memory of arena {} was handed out twice, by {who}: {what}{more}",
                arena.id
            ),
            arena: Some(arena),
            block: Some(second.block.at),
            moment: second.block.moment,
            threads: Vec::from([second.block.thread]),
            sites: Vec::new(),
            calls: Vec::new(),
            because: format!(
                "the mapping is MAP_SHARED and older than the fork, but the arena object lies in private memory: each process \
                 moves a cursor of its own. Block {} of process {} was handed out at #{} of its trace, block {} of process {} \
                 at #{} of its own{when}{shape}",
                first.block.at.number,
                older.pid,
                first.block.moment.0,
                second.block.at.number,
                newer.pid,
                second.block.moment.0
            ),
            evidence: Vec::new(),
            disproof: "a free or reset of the first block, not watched, before the second was handed out".to_owned(),
            next: "keep the arena object in the shared mapping too, under a lock that processes share, or give each process \
                   a part of its own"
                .to_owned(),
            count,
            bytes: second.block.at.size,
        },
        member: second.member,
        sites,
        members: members.iter().copied().collect(),
    })
}

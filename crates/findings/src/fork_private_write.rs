//! `fork-private-write`: a child allocated in, rewound or reset a private arena that it had inherited.
//!
//! Claims: the child used an arena of its parent whose memory is private, and the parent went on with that arena: what the
//! child put there, and how far it moved the cursor, the parent never sees. A note: workers use inherited arenas on
//! purpose.
//!
//! Needs: the parent's trace up to its end, and the child's.
//!
//! Evidence: the events in the child; the parent's last event of the same arena, later than the fork. Certain.
//!
//! Disproof: memory that is shared after all, such as a second mapping of the same file.
//!
//! Silent: where the child ended by executing another program; where the parent left the arena alone after the fork (a
//! daemon whose parent ends, workers of a server that only waits); for memory of unknown kind, and for shared memory (that
//! is `fork-same-block`'s); for malloc, and a global arena that no role creates or destroys; without the parent's trace, where nobody knows what was inherited.
//!
//! Lab: 09c, private memory.

use crate::family::{FamilyFinding, Lineage, PrivateUse};
use crate::finding::{Certainty, Class, Finding, SiteRole};
use crate::wording;
use alloc::borrow::ToOwned;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use arenascope_event::SiteId;
use arenascope_replay::ArenaId;

/// Its name.
pub const NAME: &str = "fork-private-write";

/// Arenas born at one place, used by the children of one process.
struct Group<'m> {
    child: usize,
    arena: ArenaId,
    used: &'m PrivateUse,
    arenas: BTreeSet<ArenaId>,
    children: BTreeSet<usize>,
    bytes: u64,
}

/// What tells groups apart: the parent, and where the arenas were born (the arena itself where that is not known).
type Key = (usize, Option<SiteId>, Option<ArenaId>);

pub(crate) fn judge(lineage: &Lineage<'_>) -> Vec<FamilyFinding> {
    let mut groups: BTreeMap<Key, Group<'_>> = BTreeMap::new();
    for (index, member) in lineage.members().iter().enumerate().filter(|(_, member)| !member.executed) {
        let Some((parent, fork)) = lineage.parent(index) else { continue };
        let Some(parents) = lineage.members().get(parent) else { continue };
        for (arena, used) in &member.private {
            if parents.used.get(arena).is_none_or(|last| *last <= fork.moment) {
                continue;
            }
            let site = member.born.get(arena).copied().flatten();
            let key = (parent, site, site.is_none().then_some(*arena));
            let fresh = || Group {
                child: index,
                arena: *arena,
                used,
                arenas: BTreeSet::new(),
                children: BTreeSet::new(),
                bytes: 0,
            };
            let group = groups.entry(key).or_insert_with(fresh);
            group.arenas.insert(*arena);
            group.children.insert(index);
            group.bytes = group.bytes.saturating_add(used.bytes);
        }
    }
    let mut notes: Vec<FamilyFinding> = groups.into_values().filter_map(|group| note(lineage, &group)).collect();
    notes.sort_by_key(|note| (note.member, note.finding.moment));
    notes
}

fn note(lineage: &Lineage<'_>, group: &Group<'_>) -> Option<FamilyFinding> {
    let (parent, fork) = lineage.parent(group.child)?;
    let (parents, child) = (lineage.members().get(parent)?, lineage.members().get(group.child)?);
    let arena = child.arenas.get(&group.arena)?.clone();
    let used = group.used;
    let mut deeds: Vec<String> = Vec::new();
    if used.blocks > 0 {
        let blocks = if used.blocks == 1 { "1 block".to_owned() } else { format!("{} blocks", used.blocks) };
        deeds.push(format!("allocated {blocks} ({}) in", wording::bytes(used.bytes)));
    }
    for (count, deed) in [(used.rewinds, "rewound"), (used.resets, "reset")] {
        match count {
            0 => {}
            1 => deeds.push(deed.to_owned()),
            _ => deeds.push(format!("{deed} {count} times")),
        }
    }
    let last_used = parents.used.get(&group.arena)?;
    let mut more = String::new();
    if group.arenas.len() > 1 {
        more.push_str(&format!("; so it went with {} arenas born there", group.arenas.len()));
    }
    if group.children.len() > 1 {
        more.push_str(&format!("; {} children did so", group.children.len()));
    }
    let mut sites = Vec::new();
    sites.extend(fork.site.map(|site| (SiteRole::Forked, parent, site)));
    sites.extend(used.site.map(|site| (used.role, group.child, site)));
    Some(FamilyFinding {
        finding: Finding {
            rule: NAME,
            class: Class::Note,
            certainty: Certainty::Certain,
            message: format!(
                "a child {} arena {}, which it inherited in private memory: its parent never sees that{more}",
                deeds.join(" and "),
                arena.id
            ),
            arena: Some(arena),
            block: used.block,
            moment: used.moment,
            threads: used.threads.iter().copied().collect(),
            sites: Vec::new(),
            calls: Vec::new(),
            because: format!(
                "memory and cursor are copied at the first write after the fork; the child used its copy from #{} of its trace \
                 on, and the parent its own until #{}",
                used.moment.0, last_used.0
            ),
            evidence: Vec::new(),
            disproof: "memory that is shared after all, such as a second mapping of the same file".to_owned(),
            next: "nothing, if the child works for itself; to hand results to the parent, map the memory MAP_SHARED and keep \
                   the cursor in it"
                .to_owned(),
            count: (group.arenas.len() as u64).max(group.children.len() as u64),
            bytes: group.bytes,
        },
        member: group.child,
        sites,
        members: group.children.iter().copied().chain([parent]).collect::<BTreeSet<usize>>().into_iter().collect(),
    })
}

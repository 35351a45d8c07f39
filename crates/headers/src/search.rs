//! The whole search: where headers may be, what each says, and what was looked at on the way.

use crate::arena::{self, Arena, Place};
use crate::candidates::Candidates;
use crate::layout::{self, u64_at};
use crate::lists;
use crate::memory::{Backing, Mappings, Memory, PAGE, each_piece, page_up, word};
use crate::scan::{self, Scanned};
use crate::settle::{Settled, settle};
use crate::share::{self, Between};
use crate::shared::{self, Shared};
use crate::slab::{self, Slots};
use crate::{notes, roots};
use std::collections::BTreeSet;
use std::rc::Rc;

/// How far the search goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Bytes of memory that are read for arenas that no list leads to; 0: none.
    pub scan: u64,
    /// A stretch of more addresses than this is not asked which of its pages are there.
    pub widest: u64,
}

/// A header that cannot be believed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Damaged {
    /// Where it is.
    pub address: u64,
    /// What it says it is: "arena", "shared arena", "slab", "memory between processes".
    pub what: &'static str,
    /// What does not fit.
    pub why: String,
}

/// What was looked at.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Searched {
    /// Lists that notes named.
    pub noted: usize,
    /// Lists that were found in static data, and no note named.
    pub rooted: usize,
    /// Bytes of static data read.
    pub static_bytes: u64,
    /// Bytes of other memory read.
    pub scanned: u64,
    /// Bytes that are there and were not read: beyond a limit.
    pub left: u64,
    /// Addresses in stretches too wide to be looked at.
    pub wide: u64,
    /// Bytes that could not be read.
    pub unread: u64,
    /// Regions that are kept for the next arena: no arenas.
    pub kept: u64,
    /// Copies of headers that lie elsewhere, or lay: no arenas.
    pub copies: u64,
    /// What went wrong on the way, a sentence each.
    pub broken: Vec<String>,
}

/// All that was found.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Found {
    /// Living arenas, by number.
    pub arenas: Vec<Arena>,
    /// Living shared arenas, by number.
    pub shared: Vec<Shared>,
    /// Memory that processes share, by address.
    pub between: Vec<Between>,
    /// Headers that cannot be believed, by address.
    pub damaged: Vec<Damaged>,
    /// What was looked at.
    pub searched: Searched,
}

impl Found {
    /// True when nothing was found, damaged or not.
    pub fn is_empty(&self) -> bool {
        self.arenas.is_empty() && self.shared.is_empty() && self.between.is_empty() && self.damaged.is_empty()
    }
}

/// Times that mappings are looked at again during one search.
const RENEWALS: u32 = 8;
/// Bytes that are read of mappings that a fork does not copy: other programs have large ones, for devices and virtual machines.
const MOST_OWN: u64 = 256 << 20;
/// Damaged headers that are kept; further ones are counted in a sentence.
const MOST_DAMAGED: usize = 1 << 12;

/// Finds all arenas in `memory`.
pub fn find(memory: &dyn Memory, limits: Limits) -> Found {
    let mut search = Search {
        memory,
        mappings: memory.mappings(),
        renewals: 0,
        slots: BTreeSet::new(),
        found: Found::default(),
        more_damaged: 0,
    };
    let mut candidates = Candidates::default();
    search.lists(&mut candidates);
    search.own_mappings(&mut candidates);
    let mut scanned = Scanned::default();
    if limits.scan > 0 {
        let except = search.unused(&candidates);
        scanned = scan::scan(memory, &search.mappings, except, (limits.scan, limits.widest), &mut candidates);
    }
    search.judge(candidates);
    let Search { mut found, more_damaged, .. } = search;
    if more_damaged > 0 {
        found.searched.broken.push(format!("{more_damaged} more damaged headers"));
    }
    found.searched.scanned = scanned.bytes - scanned.unread;
    found.searched.left += scanned.left;
    found.searched.wide = scanned.wide;
    found.searched.unread = scanned.unread;
    found.arenas.sort_by_key(|arena| (arena.id, arena.address));
    found.shared.sort_by_key(|arena| (arena.id, arena.address));
    found.damaged.sort_by_key(|damaged| damaged.address);
    found
}

struct Search<'m> {
    memory: &'m dyn Memory,
    mappings: Rc<Mappings>,
    renewals: u32,
    /// Headers of leases, which are no arenas of their own.
    slots: BTreeSet<u64>,
    found: Found,
    more_damaged: u64,
}

impl Search<'_> {
    /// Steps 1 and 2: the lists.
    fn lists(&mut self, candidates: &mut Candidates) {
        let noted = notes::heads(self.memory, &self.mappings);
        let roots = roots::search(self.memory, &self.mappings, candidates);
        let mut heads = noted.clone();
        heads.extend(roots.heads);
        heads.sort_unstable();
        heads.dedup();
        self.found.searched.noted = noted.len();
        self.found.searched.rooted = heads.len() - noted.len();
        self.found.searched.static_bytes = roots.bytes;
        self.found.searched.left = roots.left;
        for (head, list) in heads {
            if let Err(why) = lists::follow(self.memory, head, list, candidates) {
                self.found.searched.broken.push(why);
            }
        }
    }

    /// Step 3: memory that has a mapping of its own by its nature.
    fn own_mappings(&mut self, candidates: &mut Candidates) {
        let (mut buffer, mut bytes, mut left) = (Vec::new(), 0, 0);
        for mapping in self.mappings.iter().filter(|mapping| mapping.readable) {
            match &mapping.backing {
                Backing::Shared { name, .. } if name.contains("memfd:arenascope") => {
                    if let Ok(magic) = word(self.memory, mapping.start) {
                        candidates.note(mapping.start, magic, Place::Buffer);
                    }
                }
                Backing::Anonymous if mapping.own => {
                    self.memory.each_present(mapping.start, mapping.end, &mut |from, to| {
                        if bytes >= MOST_OWN {
                            left += to - from;
                            return true;
                        }
                        bytes += to - from;
                        let mut note = |at, piece: &[u8]| candidates.note_all(at, piece, Place::NotForked);
                        each_piece(self.memory, (from, to), &mut buffer, &mut note);
                        true
                    });
                }
                _ => {}
            }
        }
        self.found.searched.left += left;
    }

    /// Memory in which nothing can be found: static data, read already; what arenas and kept regions reserve and do not use.
    fn unused(&self, candidates: &Candidates) -> Vec<(u64, u64)> {
        let mut unused = roots::static_parts(&self.mappings);
        for &at in candidates.arenas.keys().chain(&candidates.kept) {
            let mut header = [0; arena::READ];
            // A header that lies must not hide what is in the memory of others.
            if self.memory.read(at, &mut header).is_ok()
                && let Ok(bounds) = arena::check(at, &header, &self.mappings)
            {
                let from = page_up(bounds.base.saturating_add(bounds.committed));
                let to = (bounds.base.saturating_add(bounds.reserved)) & !(PAGE - 1);
                if from < to {
                    unused.push((from, to));
                }
            }
        }
        for &at in &candidates.shared {
            let mut header = [0; shared::READ];
            if self.memory.read(at, &mut header).is_ok()
                && let Settled::Sound(()) | Settled::Restless(()) = self.settle_shared(at)
            {
                let base = u64_at(&header, 24);
                let touched = u64_at(&header, 16).max(u64_at(&header, 80));
                // Leases may be taken meanwhile.
                let from = page_up(base.saturating_add(touched).saturating_add(64 << 20));
                let to = base.saturating_add(u64_at(&header, 32)) & !(PAGE - 1);
                if from < to {
                    unused.push((from, to));
                }
            }
        }
        unused
    }

    /// What became of each candidate. Shared arenas first: their leases are told from arenas by them.
    fn judge(&mut self, candidates: Candidates) {
        let Candidates { mut arenas, kept, slabs, shared, between } = candidates;
        self.found.searched.kept = kept.len() as u64;
        for at in shared {
            self.shared(at);
        }
        for at in between {
            self.between(at);
        }
        for at in slabs {
            if let Some(slots) = self.slab(at) {
                for slot in slots.addresses(at) {
                    arenas.insert(slot, Place::Slab(at));
                }
            }
        }
        for (at, place) in arenas {
            self.arena(at, place);
        }
    }

    /// Settles a header, and once more with mappings as they are now if it contradicts them.
    fn settled<T>(&mut self, judge: impl Fn(&Self) -> Settled<T>) -> Settled<T> {
        let first = judge(self);
        if !matches!(first, Settled::Damaged(_)) || self.renewals >= RENEWALS {
            return first;
        }
        self.renewals += 1;
        self.memory.renew();
        self.mappings = self.memory.mappings();
        judge(self)
    }

    fn settle_shared(&self, at: u64) -> Settled<()> {
        settle(self.memory, at, shared::same, |header| shared::judge(at, header, &self.mappings))
    }

    fn shared(&mut self, at: u64) {
        let settled = self.settled(|search| search.settle_shared(at));
        let calm = matches!(settled, Settled::Sound(()));
        if self.sound(at, "shared arena", settled).is_none() {
            return;
        }
        let mut header = [0; shared::READ];
        if let Err(why) = self.memory.read(at, &mut header) {
            return self.damaged(at, "shared arena", why.to_string());
        }
        let arena = shared::describe(self.memory, at, &header, calm);
        self.slots.extend(arena.leases.iter().map(|lease| lease.address));
        self.found.shared.push(arena);
    }

    fn between(&mut self, at: u64) {
        let settled = self.settled(|search| {
            settle(search.memory, at, share::same, |header| share::judge(at, header, &search.mappings))
        });
        let calm = matches!(settled, Settled::Sound(_));
        if let Some(between) = self.sound(at, "memory between processes", settled) {
            self.found.between.push(Between { settled: calm, ..between });
        }
    }

    fn slab(&mut self, at: u64) -> Option<Slots> {
        let settled = self
            .settled(|search| settle(search.memory, at, slab::same, |head| slab::judge(at, head, &search.mappings)));
        self.sound(at, "slab", settled)
    }

    fn arena(&mut self, at: u64, place: Place) {
        if self.is_no_arena(at, place) {
            return;
        }
        let settled = self.settled(|search| {
            settle(search.memory, at, arena::same, |header| {
                arena::judge(at, header, &search.mappings).map(|bounds| (bounds, *header))
            })
        });
        let calm = matches!(settled, Settled::Sound(_));
        if let Some((bounds, header)) = self.sound(at, "arena", settled) {
            // The scan finds what is in its own mapping for other reasons, too.
            let unlisted = crate::layout::u32_at(&header, 208) & layout::flags::UNLISTED != 0;
            let place = if place == Place::Buffer && unlisted { Place::NotForked } else { place };
            self.found.arenas.push(arena::describe(self.memory, at, place, &header, &bounds, calm));
        }
    }

    /// Whether the header at `at` is a lease's, a copy, a slot that nobody uses. Counts them; a slot's header that is overwritten is damage.
    fn is_no_arena(&mut self, at: u64, place: Place) -> bool {
        if self.slots.contains(&at) {
            return true;
        }
        let mut header = [0; arena::READ];
        if self.memory.read(at, &mut header).is_err() {
            return false;
        }
        let magic = u64_at(&header, 0);
        if let Place::Slab(_) = place {
            match magic {
                layout::MAGIC => return false,
                layout::MAGIC_KEPT => self.found.searched.kept += 1,
                // Not begun, or given back.
                0 => {}
                other => {
                    self.damaged(at, "arena", format!("a slot that begins with {other:#018x} and not as an arena"))
                }
            }
            return true;
        }
        if place != Place::Buffer || magic != layout::MAGIC {
            return false;
        }
        // The header of something else: a copy, what a copy on a stack has left, a berth that was first held after its row was read.
        let elsewhere = arena::lies_elsewhere(at, &header);
        self.found.searched.copies += u64::from(elsewhere);
        elsewhere
    }

    /// The value, if the header is sound; what is not goes among the damaged.
    fn sound<T>(&mut self, at: u64, what: &'static str, settled: Settled<T>) -> Option<T> {
        match settled {
            Settled::Sound(value) | Settled::Restless(value) => Some(value),
            Settled::Damaged(why) => {
                self.damaged(at, what, why);
                None
            }
            // It ended while it was read: its memory went back, or belongs to another one.
            Settled::Ended | Settled::Unread(crate::Unread::Unmapped | crate::Unread::Gone) => None,
            Settled::Unread(why) => {
                self.damaged(at, what, format!("its header cannot be read: {why}"));
                None
            }
        }
    }

    fn damaged(&mut self, address: u64, what: &'static str, why: String) {
        if self.found.damaged.len() < MOST_DAMAGED {
            self.found.damaged.push(Damaged { address, what, why });
        } else {
            self.more_damaged += 1;
        }
    }
}

//! `lifetime-inversion`: a block of an outer scope still points into a scope that ended, and was used after.
//!
//! - **Claims**: a rewind ended this block, a living block below the mark kept an address in it, and then the dead bytes were read
//!   or written where that address leads.
//! - **Needs** check mode (writes) or precise mode (reads too): they capture the arena before it goes back. In other modes nobody
//!   sees the use, and a pointer that stays behind is no bug.
//! - **Evidence**: the word in the outer block, as it was when the arena went back; and all that `use-after-rewind` has, in whose
//!   place this is said: the access, or the changed fill of the dead block, and that nobody else had the bytes.
//! - **Disproof**: that of `use-after-rewind`; or another pointer to the block, by which it was used.
//! - **Silent**: without a use; when the outer block was dead at the use too; when the use came before the first byte that the word leads to; when
//!   the bytes were handed out again; for pointers in another arena, in static data or on a stack (then it is
//!   `use-after-rewind`); after the first 64 MiB that rewinds captured.
//! - **Lab**: 20a.
//!
//! Memory: up to 4 words for each dead block that one pointed to, 65,536 of them; the capture until its rewind comes.

use crate::finding::{BlockRef, Evidence, Finding, SiteRole};
use crate::wording;
use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::vec::Vec;
use arenascope_event::{Address, CaptureReason, Event, EventKind, SiteId, ThreadNumber};
use arenascope_replay::{Arena, ArenaId, Block, Effect, State, What};

/// Its name.
pub(crate) const NAME: &str = "lifetime-inversion";

/// Words that are kept for one dead block.
const MOST_WORDS: usize = 4;
/// Dead blocks that are kept.
const MOST_BLOCKS: usize = 1 << 16;
/// Bytes on each side of the word that are shown.
const SHOWN: usize = 8;

/// A word of a living block that leads into one that a rewind ended.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Holder {
    block: BlockRef,
    address: Address,
    site: Option<SiteId>,
    /// The word's place in the block.
    at: u64,
    /// What it holds.
    word: u64,
    /// The bytes around it, from `from` of the block on.
    from: u64,
    bytes: Vec<u8>,
}

/// What living blocks held when arenas went back.
#[derive(Clone, Debug, Default)]
pub(crate) struct Holders {
    /// Captures whose rewind has not come yet.
    pending: Vec<(ThreadNumber, Address, Vec<u8>)>,
    /// By arena and first byte of the dead block.
    held: BTreeMap<(ArenaId, u64), Vec<Holder>>,
}

impl Holders {
    /// To be called for every event. O(captured bytes · log dead blocks) at a rewind.
    pub(crate) fn observe(&mut self, event: &Event, effect: &Effect, state: &State, captured: &[u8]) {
        if let EventKind::Capture { reason: CaptureReason::Rewind, base, .. } = event.kind {
            if !captured.is_empty() {
                self.pending.push((event.thread, base, captured.to_owned()));
            }
            return;
        }
        if self.pending.is_empty() || event.kind.arena_order().is_none() {
            return;
        }
        let (own, others) = core::mem::take(&mut self.pending).into_iter().partition(|one| one.0 == event.thread);
        self.pending = others;
        let own: Vec<(ThreadNumber, Address, Vec<u8>)> = own;
        if let (What::Rewound, Some(arena)) = (effect.what, effect.arena.and_then(|id| state.arena(id))) {
            for (_, base, bytes) in own {
                self.keep(arena, &effect.dead, base, &bytes);
            }
        }
    }

    fn keep(&mut self, arena: &Arena, dead: &[Block], base: Address, bytes: &[u8]) {
        let mut dead: Vec<&Block> = dead.iter().collect();
        dead.sort_by_key(|block| block.address);
        for one in &dead {
            // Words about a block that was here before.
            self.held.remove(&(arena.id, one.address.0));
        }
        for outer in arena.blocks_in(base, bytes.len() as u64) {
            let start = outer.address.0.checked_next_multiple_of(8).unwrap_or(u64::MAX);
            let words = (start..outer.end().0.saturating_sub(7)).step_by(8);
            for at in words {
                let Some(word) = word_at(bytes, at.wrapping_sub(base.0)) else { continue };
                let before = dead.partition_point(|block| block.address.0 <= word);
                let inner = before.checked_sub(1).and_then(|index| dead.get(index));
                let Some(inner) = inner.filter(|inner| word < inner.end().0) else { continue };
                let full = self.held.len() >= MOST_BLOCKS;
                let key = (arena.id, inner.address.0);
                if full && !self.held.contains_key(&key) {
                    return;
                }
                let words = self.held.entry(key).or_default();
                if words.len() < MOST_WORDS {
                    words.push(holder(arena, outer, at, word, base, bytes));
                }
            }
        }
    }

    /// Who held an address at or below `used`, a byte of the dead block that began at `start`, and lives.
    pub(crate) fn of(&self, arena: ArenaId, start: Address, used: Address, state: &State) -> Option<&Holder> {
        let lives = |holder: &&Holder| {
            let block = state.arena(arena).and_then(|arena| arena.block_at(holder.address));
            block.is_some_and(|block| block.number == holder.block.number)
        };
        let leads = self.held.get(&(arena, start.0))?.iter().filter(|holder| holder.word <= used.0);
        leads.filter(lives).max_by_key(|holder| holder.word)
    }
}

fn holder(arena: &Arena, outer: &Block, at: u64, word: u64, base: Address, bytes: &[u8]) -> Holder {
    let place = arena.place(outer);
    let from = at.saturating_sub(SHOWN as u64).max(outer.address.0);
    let to = at.saturating_add(8 + SHOWN as u64).min(outer.end().0);
    let index = |address: u64| usize::try_from(address.saturating_sub(base.0)).unwrap_or(usize::MAX);
    Holder {
        block: BlockRef { number: outer.number, extent: place.extent, offset: place.offset, size: outer.size },
        address: outer.address,
        site: outer.site,
        at: at.saturating_sub(outer.address.0),
        word,
        from: from.saturating_sub(outer.address.0),
        bytes: bytes.get(index(from)..index(to)).unwrap_or(&[]).to_owned(),
    }
}

fn word_at(bytes: &[u8], at: u64) -> Option<u64> {
    let at = usize::try_from(at).ok()?;
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// `found` is a use after a rewind; said anew with whoever still pointed there.
pub(crate) fn inverted(found: Finding, holder: &Holder) -> Finding {
    let outer = holder.block;
    let whose = format!("block {} ({} at +{})", outer.number, wording::bytes(outer.size), outer.offset);
    let mut sites = found.sites;
    sites.extend(holder.site.map(|site| (SiteRole::Allocated, site)));
    let mut evidence = found.evidence;
    let word = usize::try_from(holder.at.saturating_sub(holder.from)).unwrap_or(0);
    evidence.push(Evidence {
        label: format!("block {} when the arena went back", outer.number),
        address: holder.address.plus(holder.from),
        offset: i64::try_from(holder.from).unwrap_or(0),
        bytes: holder.bytes.clone(),
        damaged: core::iter::once(word..word.saturating_add(8).min(holder.bytes.len())).collect(),
    });
    Finding {
        rule: NAME,
        message: format!("{}; {whose}, of an outer scope, still pointed there", found.message),
        because: format!(
            "{}; when the arena went back, byte {} of block {} began an address in it, and that block lived on",
            found.because, holder.at, outer.number
        ),
        disproof: format!("another pointer to the block, by which it was used; {}", found.disproof),
        next: "clear the pointer where the scope ends, or allocate what it points to before the mark".to_owned(),
        sites,
        evidence,
        ..found
    }
}

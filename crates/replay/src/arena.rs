//! One arena: its birth and end, its extents, its blocks, its figures.
//!
//! May be relied on: plain data with queries; figures are all-time unless they say "live". After the end, `blocks`
//! and `extents` are the portrait: what was there after the arena's last own event, before its memory was torn down.
//! Absent on purpose: how events change it (`calls`, `memory`, `cursor`).

use crate::blocks::{Block, LivingBlocks, Place};
use crate::regions::RegionId;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use arenascope_event::{
    Address, ArenaKey, BoundsKind, Checking, EventNumber, MallocKind, MarkValue, SiteId, ThreadNumber,
};
use core::fmt;

/// What users see as "arena 1": dense from 1, in order of birth, never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ArenaId(pub u32);

impl fmt::Display for ArenaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// How an arena came to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Born {
    /// By a create event.
    Explicit(EventNumber),
    /// By its first alloc, resize or mark: no create was seen.
    Implicit(EventNumber),
}

impl Born {
    /// The event.
    pub fn moment(self) -> EventNumber {
        match self {
            Born::Explicit(moment) | Born::Implicit(moment) => moment,
        }
    }
}

/// How an arena ended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Ending {
    /// By a destroy event.
    Destroyed,
    /// Its last mapping, or the one that held the arena object, was unmapped.
    Unmapped,
    /// Its last malloc block, or the one that held the arena object, was freed.
    HeapFreed,
    /// Another arena was created over it.
    Replaced,
}

impl Ending {
    /// A plain word for texts and JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Ending::Destroyed => "destroyed",
            Ending::Unmapped => "unmapped",
            Ending::HeapFreed => "heap-freed",
            Ending::Replaced => "replaced",
        }
    }
}

/// The end of an arena.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct End {
    /// The event.
    pub moment: EventNumber,
    /// How.
    pub how: Ending,
    /// Its site.
    pub site: Option<SiteId>,
    /// Its thread.
    pub thread: ThreadNumber,
}

/// What the create call said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Created {
    /// The create event.
    pub moment: EventNumber,
    /// Its site.
    pub site: Option<SiteId>,
    /// Its thread.
    pub thread: ThreadNumber,
    /// The size argument, bytes as far as we know (some allocators count in pages or elements).
    pub size: Option<u64>,
}

/// What kind of memory an extent is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ExtentKind {
    /// The range of one `mmap` call that we saw.
    Mapping,
    /// A mapping that was there before we could see its `mmap`: its bounds may hold more than the arena.
    Observed,
    /// One malloc block.
    HeapBlock,
    /// A range that malloc carves blocks from, with the bounds that the C library's own records tell.
    HeapSegment,
    /// Payload of an arena of our library, with the bounds that its header tells.
    Payload,
    /// Memory of check mode's, in which blocks of an arena of our library lie.
    Plot,
    /// Static memory of a module; bounds are those of the blocks seen.
    Static,
    /// Memory of unknown origin (a stack, an unrecorded malloc block); bounds are those of the blocks seen.
    Unknown,
}

impl ExtentKind {
    /// True when the bounds come from the memory itself and not from the blocks seen.
    pub fn is_bounded(self) -> bool {
        matches!(
            self,
            ExtentKind::Mapping
                | ExtentKind::Observed
                | ExtentKind::HeapBlock
                | ExtentKind::HeapSegment
                | ExtentKind::Payload
                | ExtentKind::Plot
        )
    }

    /// A plain word for texts and JSON.
    pub const fn word(self) -> &'static str {
        match self {
            ExtentKind::Mapping => "mapping",
            ExtentKind::Observed => "observed",
            ExtentKind::HeapBlock => "heap-block",
            ExtentKind::HeapSegment => "heap-segment",
            ExtentKind::Payload => "payload",
            ExtentKind::Plot => "plot",
            ExtentKind::Static => "static",
            ExtentKind::Unknown => "unknown",
        }
    }
}

/// A range of memory that an arena hands out blocks from. Several arenas may share one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Extent {
    /// From 1 in the order the arena came to use them; never used twice in one arena.
    pub number: u32,
    /// First byte.
    pub start: Address,
    /// Bytes: the mapping's length (whole pages), the malloc block's asked size, or the span of the blocks seen.
    pub len: u64,
    /// What it is.
    pub kind: ExtentKind,
    /// The mapping or malloc block, for the bounded kinds.
    pub region: Option<RegionId>,
    /// Where that memory was got, if the call was seen with a backtrace.
    pub site: Option<SiteId>,
    /// Lowest byte ever handed out here.
    pub bottom: Address,
    /// One past the highest byte ever handed out here: the high-water mark.
    pub top: Address,
    /// True while no block lies here: taken from what the create call mapped.
    pub presumed: bool,
    /// Where malloc's top chunk begins, when it lies here: from there on nothing is handed out.
    pub top_chunk: Option<Address>,
    /// The event that took it, for the extents of a portrait that went before the arena's end or with it.
    pub gone: Option<EventNumber>,
}

impl Extent {
    /// One past the last byte, saturating.
    pub fn end(&self) -> Address {
        self.start.plus(self.len)
    }

    /// Bytes from the start to the high-water mark.
    pub fn high_water(&self) -> u64 {
        self.top.0.saturating_sub(self.start.0)
    }

    pub(crate) fn contains(&self, address: u64) -> bool {
        self.start.0 <= address && address < self.end().0
    }
}

/// A saved cursor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mark {
    /// The value the program holds.
    pub value: MarkValue,
    /// When it was taken.
    pub moment: EventNumber,
    /// Where.
    pub site: Option<SiteId>,
    /// Blocks placed later die when the arena goes back to it.
    pub(crate) placement: u64,
}

/// What the header of an arena of our library said last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// What kind of arena, or of memory.
    pub kind: BoundsKind,
    /// First payload byte.
    pub base: Address,
    /// The bound, bytes from there.
    pub capacity: u64,
    /// Bytes from there to the end of what is reserved.
    pub reserved: u64,
}

/// All-time counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Blocks handed out.
    pub allocs: u64,
    /// Bytes handed out, saturating (resizes not counted).
    pub bytes: u64,
    /// Times an alloc or resize returned NULL.
    pub refused: u64,
    /// Blocks given back one by one.
    pub frees: u64,
    /// Resizes that succeeded.
    pub resizes: u64,
    /// Those of them that moved the block.
    pub moves: u64,
    /// Marks taken.
    pub marks: u64,
    /// Scopes begun.
    pub scopes: u64,
    /// Rewinds.
    pub rewinds: u64,
    /// Resets.
    pub resets: u64,
    /// Blocks that a newer one overlapped.
    pub overwritten: u64,
}

/// The highest value of a figure, and when it was first reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Peak {
    /// Bytes.
    pub bytes: u64,
    /// The event that reached it; 0 when there was none.
    pub moment: EventNumber,
}

/// A NULL from the allocator.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// The event.
    pub moment: EventNumber,
    /// Its site.
    pub site: Option<SiteId>,
    /// Bytes asked for.
    pub size: u64,
}

/// The last block handed out: what tells a call of an outer alloc function from a second allocation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct LastAlloc {
    pub(crate) placement: u64,
    pub(crate) thread: ThreadNumber,
    pub(crate) told: u64,
    pub(crate) site: Option<SiteId>,
}

/// The last block taken back, for the same question about free.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct LastFree {
    pub(crate) address: Address,
    pub(crate) thread: ThreadNumber,
    pub(crate) told: u64,
    pub(crate) site: Option<SiteId>,
}

/// How events find a living arena.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Reach {
    /// By its key.
    #[default]
    Key,
    /// By its object: its key will be told.
    Object,
    /// Not any more: another arena's object came to lie where its own did.
    Nothing,
}

/// One arena, living or dead.
#[derive(Clone, PartialEq, Debug)]
pub struct Arena {
    /// What users see.
    pub id: ArenaId,
    /// The recorder's key.
    pub key: ArenaKey,
    /// Address of the arena object; null for the one global arena.
    pub object: Address,
    /// The name argument of its create call; empty when there was none (see [`crate::default_name`]).
    pub name: String,
    /// What its header says, for an arena of our library.
    pub bounds: Option<Bounds>,
    /// True when its own library says that this process, a forked child, uses a private copy of it.
    pub copied: bool,
    /// How check mode looks after it, for an arena of our library.
    pub checking: Option<Checking>,
    /// Which one of the C library's arenas it is, if it is one: its blocks are what malloc hands out.
    pub malloc: Option<MallocKind>,
    /// Its birth.
    pub born: Born,
    /// Site of its birth event: the create call, else the first own event.
    pub born_site: Option<SiteId>,
    /// Thread of its birth event.
    pub born_by: ThreadNumber,
    /// What the create call said, if there was one.
    pub created: Option<Created>,
    /// Its end.
    pub ended: Option<End>,
    /// True when it was born in the parent process: event numbers from before the fork point into that trace.
    pub inherited: bool,
    /// The parent arena, if its create call named one that is known.
    pub parent: Option<ArenaId>,
    /// Its last own event but destroy.
    pub last_event: EventNumber,
    /// Counts over its life.
    pub counts: Counts,
    /// Resets and rewinds so far.
    pub generation: u64,
    /// Peak of the live bytes.
    pub peak: Peak,
    /// Peak of the span: high-water marks of its extents, added up. Counts padding and dead blocks below the cursor.
    pub peak_span: Peak,
    /// Most blocks alive at once.
    pub peak_blocks: u64,
    /// The first NULL.
    pub first_refusal: Option<Refusal>,
    /// Threads whose calls touched it.
    pub threads: BTreeSet<ThreadNumber>,
    /// Marks that can still be gone back to, oldest first; after the end, those that could.
    pub marks: Vec<Mark>,
    /// Blocks of the portrait that were given up to bound memory (see [`crate::State`]).
    pub forgotten_blocks: u64,
    pub(crate) extents: BTreeMap<u32, Extent>,
    pub(crate) by_region: BTreeMap<RegionId, u32>,
    pub(crate) next_extent: u32,
    pub(crate) living: LivingBlocks,
    pub(crate) next_number: u64,
    pub(crate) next_placement: u64,
    pub(crate) last_alloc: Option<LastAlloc>,
    pub(crate) last_free: Option<LastFree>,
    /// Blocks and extents that memory events took since the last own event, for the portrait.
    pub(crate) fallen: Vec<Block>,
    pub(crate) fallen_extents: Vec<Extent>,
    pub(crate) portrait: Vec<Block>,
    /// How events found it when it ended.
    pub(crate) reach: Reach,
    /// Thread-local index of the birth event: decides whether a create call contains it.
    pub(crate) birth_thread_event: u64,
    pub(crate) span: u64,
}

impl Arena {
    /// True while it lives.
    pub fn is_alive(&self) -> bool {
        self.ended.is_none()
    }

    /// Its blocks in order of address: the living ones, or after the end those of the portrait.
    /// O(n log n) in the number of blocks.
    pub fn blocks(&self) -> Vec<&Block> {
        let mut blocks: Vec<&Block> =
            if self.is_alive() { self.living.iter().collect() } else { self.portrait.iter().collect() };
        blocks.sort_by_key(|block| (block.address, block.placement));
        blocks
    }

    /// Blocks of the portrait, in no order that may be relied on; none before the end.
    pub fn portrait(&self) -> impl Iterator<Item = &Block> {
        self.portrait.iter()
    }

    /// The block with this number among [`Arena::blocks`]. O(n), but O(log n) in an arena that never moved a block.
    pub fn block(&self, number: u64) -> Option<&Block> {
        if let Some(block) = self.living.get(number)
            && block.number == number
        {
            return Some(block);
        }
        self.living.iter().chain(&self.portrait).find(|block| block.number == number)
    }

    /// The living block that starts at `address`.
    pub fn block_at(&self, address: Address) -> Option<&Block> {
        self.living.get(self.living.starting_at(address)?)
    }

    /// The living block that holds the byte at `address`.
    pub fn block_over(&self, address: Address) -> Option<&Block> {
        self.blocks_in(address, 1).into_iter().next()
    }

    /// The living blocks that share a byte with `size` bytes at `address`, in order of address.
    pub fn blocks_in(&self, address: Address, size: u64) -> Vec<&Block> {
        let end = address.plus(size);
        let found = self.living.overlapping(address, size).into_iter();
        found.filter_map(|placement| self.living.get(placement)).filter(|block| block.address < end).collect()
    }

    /// Blocks that memory events took since its last own event, while it lives on.
    pub fn fallen(&self) -> &[Block] {
        &self.fallen
    }

    /// Blocks alive now; 0 after the end.
    pub fn live_blocks(&self) -> u64 {
        self.living.len()
    }

    /// Bytes of the blocks alive now; 0 after the end.
    pub fn live_bytes(&self) -> u64 {
        self.living.bytes()
    }

    /// Its extents in order of number: standing ones, or after the end those of the portrait.
    pub fn extents(&self) -> impl Iterator<Item = &Extent> {
        self.extents.values()
    }

    /// The extent with this number.
    pub fn extent(&self, number: u32) -> Option<&Extent> {
        self.extents.get(&number)
    }

    /// Where a block of this arena lies. Extents of the unbounded kinds start at their lowest block, which a later
    /// block may move.
    pub fn place(&self, block: &Block) -> Place {
        let start = self.extents.get(&block.extent).map_or(block.address.0, |extent| extent.start.0);
        Place { extent: block.extent, offset: block.address.0.saturating_sub(start) }
    }

    /// The exact bound in bytes, as far as it is known: the size its create call was given, unless the blocks
    /// contradict it (several extents, or a block past it); else the bytes of its extents, when all of those are
    /// mappings or malloc blocks.
    pub fn capacity(&self) -> Option<u64> {
        if let Some(size) = self.created.and_then(|created| created.size).filter(|size| *size > 0) {
            let mut extents = self.extents.values();
            match (extents.next(), extents.next()) {
                (None, _) => return Some(size),
                (Some(extent), None) => {
                    let fits = !extent.kind.is_bounded() || size <= extent.len;
                    if fits && extent.high_water() <= size {
                        return Some(size);
                    }
                }
                _ => {}
            }
        }
        if self.extents.is_empty() {
            return None;
        }
        let mut sum: u64 = 0;
        for extent in self.extents.values() {
            match extent.kind {
                ExtentKind::Payload if !self.is_bounded() => return None,
                ExtentKind::Mapping | ExtentKind::HeapBlock | ExtentKind::Payload => {
                    sum = sum.saturating_add(extent.len)
                }
                // What check mode has there is no bound of the arena's.
                ExtentKind::Plot => {}
                // What malloc has now is no bound: it gets more.
                ExtentKind::HeapSegment | ExtentKind::Observed | ExtentKind::Static | ExtentKind::Unknown => {
                    return None;
                }
            }
        }
        Some(sum)
    }

    /// True for an arena of our library whose blocks check mode has put elsewhere: where they lie, and whether they move, is check mode's
    /// doing and says nothing of the program's own offsets and growth.
    pub fn lies_apart(&self) -> bool {
        self.extents.values().any(|extent| extent.kind == ExtentKind::Plot)
    }

    /// False for an arena of our library that grows, or takes lease after lease.
    fn is_bounded(&self) -> bool {
        self.bounds.is_none_or(|bounds| bounds.kind == BoundsKind::Bounded)
    }

    /// Bytes of its mappings and malloc blocks (a shared one counts whole).
    pub fn memory_bytes(&self) -> u64 {
        let own = |extent: &&Extent| extent.kind.is_bounded() && extent.kind != ExtentKind::Plot;
        let bounded = self.extents.values().filter(own);
        bounded.fold(0, |sum, extent| sum.saturating_add(extent.len))
    }

    /// True when this is an allocator like malloc, which gives memory back once the blocks in it were freed one by one,
    /// and gets new memory later: malloc itself, or the one global arena, never created or reset, emptied by its own free function.
    pub(crate) fn outlives_memory(&self) -> bool {
        if self.malloc.is_some() {
            return true;
        }
        let global = self.object.is_null() && self.created.is_none();
        global && self.counts.frees > 0 && self.generation == 0 && self.living.len() == 0
    }

    /// True when it was created, got memory then, and no event was its own since.
    pub(crate) fn is_unused(&self) -> bool {
        let created = self.created.is_some_and(|created| created.moment == self.last_event);
        created && self.counts.allocs == 0 && self.extents.values().any(|extent| extent.presumed)
    }

    /// What the peak is a share of: the capacity, or the bytes of its memory. `None` where such a share says nothing:
    /// blocks in memory of unknown bounds, memory given up on the way (what stands now is not what stood at the peak),
    /// more blocks than fit (then they did not all lie in it), an arena that grows.
    pub fn bound(&self) -> Option<u64> {
        if !self.is_bounded() {
            return None;
        }
        let all_stand = self.extents.len().saturating_add(1) == self.next_extent.max(1) as usize;
        let all_bounded = self.extents.values().all(|extent| extent.kind.is_bounded());
        let bound = match self.capacity() {
            Some(capacity) if self.created.is_some() || all_stand => capacity,
            None if all_stand && all_bounded && !self.extents.is_empty() => self.memory_bytes(),
            _ => return None,
        };
        (self.peak.bytes <= bound).then_some(bound)
    }

    /// Bytes from each extent's start to the end of its last living block, added up: where the cursor stands, as
    /// far as blocks tell.
    pub fn span(&self) -> u64 {
        let mut ends: BTreeMap<u32, u64> = BTreeMap::new();
        for block in self.blocks() {
            let end = ends.entry(block.extent).or_default();
            *end = (*end).max(block.end().0);
        }
        ends.iter().fold(0, |sum, (number, end)| {
            let start = self.extents.get(number).map_or(*end, |extent| extent.start.0);
            sum.saturating_add(end.saturating_sub(start))
        })
    }
}

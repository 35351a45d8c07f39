//! A stupid, obviously right model of arenas: lists, linear scans, nothing ever forgotten.
//!
//! May be relied on: follows the rules of life in ARCHITECTURE's words, not the replay's code; a block is one entry
//! in one list for ever, with the event that killed it. Absent on purpose: speed, bounds on memory, calls of alloc
//! functions inside alloc functions (they need stacks; the replay's own tests have them), sites, names, threads'
//! facts.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use arenascope_event::{Event, EventKind};

/// A block, living or dead.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ModelBlock {
    /// From 1 in order of allocation.
    pub number: u64,
    /// First byte.
    pub address: u64,
    /// Bytes asked for.
    pub size: u64,
    /// The extent it lies in.
    pub extent: u32,
    /// The event that killed it, and how.
    pub died: Option<(u64, &'static str)>,
    pub(crate) placement: u64,
}

/// A range of memory an arena uses.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ModelExtent {
    /// From 1 in order of first use.
    pub number: u32,
    /// First byte.
    pub start: u64,
    /// One past the last byte.
    pub end: u64,
    /// "mapping", "observed", "heap-block", "static" or "unknown".
    pub kind: &'static str,
    /// When it went.
    pub gone: Option<u64>,
    pub(crate) region: Option<u64>,
    pub(crate) low: u64,
    pub(crate) high: u64,
    pub(crate) presumed: bool,
}

/// An arena, living or dead.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[allow(missing_docs, reason = "the names are those of the replay's arena")]
pub struct ModelArena {
    pub id: u32,
    pub explicit: bool,
    pub born: u64,
    pub ended: Option<(u64, &'static str)>,
    pub last_event: u64,
    pub allocs: u64,
    pub refused: u64,
    pub frees: u64,
    pub resizes: u64,
    pub moves: u64,
    pub rewinds: u64,
    pub resets: u64,
    pub overwritten: u64,
    pub peak: (u64, u64),
    pub peak_span: (u64, u64),
    pub blocks: Vec<ModelBlock>,
    pub extents: Vec<ModelExtent>,
    pub(crate) key: Option<u32>,
    pub(crate) object: u64,
    pub(crate) born_by: u32,
    pub(crate) born_thread_event: u64,
    pub(crate) size: Option<u64>,
    pub(crate) marks: Vec<(u64, u64)>,
    pub(crate) next_extent: u32,
    pub(crate) next_placement: u64,
    /// Ranges of blocks ever put into extents without a region, with the extent's number.
    pub(crate) loose: Vec<(u64, u64, u32)>,
}

/// A mapping or malloc block.
#[derive(Clone, Debug)]
pub(crate) struct ModelRegion {
    pub(crate) id: u64,
    pub(crate) kind: &'static str,
    pub(crate) start: u64,
    pub(crate) end: u64,
}

/// One event's circumstances.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    pub(crate) event: u64,
    pub(crate) thread: u32,
    pub(crate) thread_event: u64,
    /// Events of the thread directly before this one that only announced arenas.
    pub(crate) announced: u64,
}

/// The model.
#[derive(Clone, Debug, Default)]
pub struct Model {
    pub(crate) arenas: Vec<ModelArena>,
    pub(crate) regions: Vec<ModelRegion>,
    pub(crate) next_region: u64,
    /// (thread, thread's event, region) of every region ever made.
    pub(crate) made: Vec<(u32, u64, u64)>,
    objects: BTreeMap<u32, u64>,
    thread_events: BTreeMap<u32, u64>,
    announced: BTreeMap<u32, u64>,
    sizes_known: bool,
    module: (u64, u64),
    /// Overlaps, frees and resizes of unknown blocks, rewinds to unknown values, calls on no arena.
    pub anomalies: u64,
    /// The world before the last event, when that was a free of a malloc block at a site: realloc brings it back.
    before_free: Option<Box<Model>>,
    freed: Option<(Now, u32, u64)>,
}

impl ModelArena {
    /// An allocator like malloc: global, never created, rewound or reset, and emptied block by block.
    pub(crate) fn outlives_memory(&self) -> bool {
        let plain = !self.explicit && self.rewinds == 0 && self.resets == 0 && self.frees > 0;
        self.object == 0 && plain && self.blocks.iter().all(|block| block.died.is_some())
    }

    /// Blocks alive now, by address.
    pub fn living(&self) -> Vec<&ModelBlock> {
        let mut living: Vec<&ModelBlock> = self.blocks.iter().filter(|block| block.died.is_none()).collect();
        living.sort_by_key(|block| (block.address, block.placement));
        living
    }

    /// After the end: blocks that the arena's last own event left alive, by address.
    pub fn portrait(&self) -> Vec<&ModelBlock> {
        let after = |block: &&ModelBlock| block.died.is_some_and(|(event, _)| event > self.last_event);
        let mut portrait: Vec<&ModelBlock> = self.blocks.iter().filter(after).collect();
        portrait.sort_by_key(|block| (block.address, block.placement));
        portrait
    }

    /// Extents standing now, by number.
    pub fn standing(&self) -> Vec<&ModelExtent> {
        let mut standing: Vec<&ModelExtent> = self.extents.iter().filter(|extent| extent.gone.is_none()).collect();
        standing.sort_by_key(|extent| extent.number);
        standing
    }

    /// Bytes of the blocks alive now.
    pub fn live_bytes(&self) -> u64 {
        self.living().iter().map(|block| block.size).sum()
    }

    /// The bound, as far as known.
    pub fn capacity(&self) -> Option<u64> {
        let standing = self.standing();
        if let Some(size) = self.size.filter(|size| *size > 0) {
            match standing[..] {
                [] => return Some(size),
                [extent] => {
                    let bounded = extent.region.is_some();
                    let fits = !bounded || size <= extent.end - extent.start;
                    if fits && extent.high - extent.start <= size {
                        return Some(size);
                    }
                }
                _ => {}
            }
        }
        let exact = |extent: &&ModelExtent| matches!(extent.kind, "mapping" | "heap-block");
        if standing.is_empty() || !standing.iter().all(exact) {
            return None;
        }
        Some(standing.iter().map(|extent| extent.end - extent.start).sum())
    }

    fn block_at(&self, address: u64, least: u64) -> Option<usize> {
        let alive = |block: &ModelBlock| block.died.is_none() && block.address == address;
        let full = self.blocks.iter().position(|block| alive(block) && block.size.max(least) > 0);
        let newest = (0..self.blocks.len()).filter(|index| alive(&self.blocks[*index]));
        full.or_else(|| newest.max_by_key(|index| self.blocks[*index].placement))
    }

    /// Extents that were only a guess go, and their numbers with them as far as they are the last.
    fn drop_presumed(&mut self) {
        let presumed = |extent: &ModelExtent| extent.presumed && extent.gone.is_none();
        while let Some(last) = self.extents.iter().position(|one| presumed(one) && one.number + 1 == self.next_extent) {
            self.next_extent -= 1;
            self.extents.remove(last);
        }
        self.extents.retain(|extent| !presumed(extent));
    }

    fn note_peak(&mut self, event: u64) {
        let live = self.live_bytes();
        if live > self.peak.0 {
            self.peak = (live, event);
        }
        let span = self.standing().iter().map(|extent| extent.high - extent.start).sum();
        if span > self.peak_span.0 {
            self.peak_span = (span, event);
        }
    }
}

/// True when a block of `size` (at least `least`) bytes at `address` shares a byte with `start..end`; a block of no
/// bytes touches a range it lies in.
pub(crate) fn touches(address: u64, size: u64, least: u64, start: u64, end: u64) -> bool {
    let size = size.max(least);
    if size == 0 { start <= address && address < end } else { address < end && start < address + size }
}

impl Model {
    /// At the start of a process whose one module lies at `module`.
    pub fn new(sizes_known: bool, module: (u64, u64)) -> Model {
        Model { sizes_known, module, ..Model::default() }
    }

    /// Every arena ever born.
    pub fn arenas(&self) -> &[ModelArena] {
        &self.arenas
    }

    pub(crate) fn least(&self) -> u64 {
        u64::from(!self.sizes_known)
    }

    /// Takes the next event.
    pub fn apply(&mut self, event: &Event) {
        let thread_event = self.thread_events.entry(event.thread.0).or_default();
        *thread_event += 1;
        let announced = self.announced.entry(event.thread.0).or_default();
        let now =
            Now { event: event.number.0, thread: event.thread.0, thread_event: *thread_event, announced: *announced };
        *announced = if matches!(event.kind, EventKind::ArenaSeen { .. }) { *announced + 1 } else { 0 };
        let before_free = self.before_free.take();
        let freed = self.freed.take();
        match event.kind {
            EventKind::HeapFree { address } if event.site.is_some() => {
                let before = self.clone();
                self.heap_free(now, address.0);
                self.before_free = Some(Box::new(before));
                self.freed = event.site.map(|site| (now, site.0, address.0));
            }
            EventKind::HeapAlloc { address, size } => {
                let from = freed.filter(|(then, site, _)| {
                    then.thread == now.thread && event.site.is_some_and(|here| here.0 == *site) && size > 0
                });
                match (before_free, from) {
                    (Some(before), Some((_, _, old))) if before.would_move(old, address.0, size) => {
                        let (events, announced) = (self.thread_events.clone(), self.announced.clone());
                        *self = *before;
                        (self.thread_events, self.announced) = (events, announced);
                        self.move_heap_block(now, old, address.0, size);
                    }
                    _ => self.heap_alloc(now, address.0, size),
                }
            }
            EventKind::ArenaSeen { arena, object } => {
                self.objects.insert(arena.0, object.0);
            }
            EventKind::Create { arena, size, nested, .. } => self.create(now, arena.0, size, nested),
            EventKind::Alloc { arena, block, size, .. } => {
                let index = self.own(now, arena.0, Some(block.0));
                self.alloc(now, index, block.0, size);
            }
            EventKind::Resize { arena, old, new, size, .. } => self.resize(now, arena.0, old.0, new.0, size),
            EventKind::Free { arena, block, .. } => self.free(now, arena.0, block.0),
            EventKind::Mark { arena, mark, .. } => {
                if let Some(index) = self.own(now, arena.0, Some(mark.0)) {
                    let placed = self.arenas[index].next_placement;
                    self.arenas[index].marks.push((mark.0, placed));
                }
            }
            EventKind::Rewind { arena, mark, .. } => self.rewind(now, arena.0, mark.0),
            EventKind::Reset { arena, .. } => {
                if let Some(index) = self.own(now, arena.0, None) {
                    let arena = &mut self.arenas[index];
                    arena.resets += 1;
                    arena.marks.clear();
                    kill(&mut arena.blocks, now, "reset", |_| true);
                } else {
                    self.anomalies += 1;
                }
            }
            EventKind::Destroy { arena, .. } => match self.find(arena.0) {
                Some(index) => self.end(now, index, "destroyed", "destroyed"),
                None => self.anomalies += 1,
            },
            EventKind::Map { address, len, observed, .. } => self.map(now, address.0, len, observed),
            EventKind::Unmap { address, len } => self.unmap(now, address.0, len),
            EventKind::Remap { old, old_len, new, new_len } => self.remap(now, old.0, old_len, new.0, new_len),
            EventKind::HeapFree { address } => self.heap_free(now, address.0),
            _ => {}
        }
    }

    /// The living arena behind a key; one without a key is found by its object.
    fn find(&mut self, key: u32) -> Option<usize> {
        let alive = |arena: &&ModelArena| arena.ended.is_none();
        if let Some(arena) = self.arenas.iter().filter(alive).find(|arena| arena.key == Some(key)) {
            return Some(arena.id as usize - 1);
        }
        let object = self.objects.get(&key).copied().unwrap_or(0);
        let unbound = self.arenas.iter().filter(alive).find(|arena| arena.key.is_none() && arena.object == object)?;
        let index = unbound.id as usize - 1;
        self.arenas[index].key = Some(key);
        Some(index)
    }

    fn born(&mut self, now: Now, key: u32, explicit: bool) -> usize {
        self.arenas.push(ModelArena {
            id: self.arenas.len() as u32 + 1,
            explicit,
            born: now.event,
            key: Some(key),
            object: self.objects.get(&key).copied().unwrap_or(0),
            born_by: now.thread,
            born_thread_event: now.thread_event,
            next_extent: 1,
            next_placement: 1,
            ..ModelArena::default()
        });
        self.arenas.len() - 1
    }

    /// `births`: the event may be a birth; where its block lies.
    fn own(&mut self, now: Now, key: u32, births: Option<u64>) -> Option<usize> {
        let index = match (self.find(key), births) {
            (Some(index), _) => index,
            (None, Some(address)) => match self.copied(key, address) {
                Some(index) => index,
                None => self.born(now, key, false),
            },
            (None, None) => return None,
        };
        self.arenas[index].last_event = now.event;
        Some(index)
    }

    /// An arena whose create call got the memory that holds `address`, and that no event was about since, was copied to
    /// the object of `key`.
    fn copied(&mut self, key: u32, address: u64) -> Option<usize> {
        let object = self.objects.get(&key).copied().filter(|object| *object != 0)?;
        let holds = |region: &&ModelRegion| region.start <= address && address < region.end;
        let heap = self.regions.iter().filter(|region| region.kind == "heap-block").find(holds);
        let region = heap.or_else(|| self.regions.iter().find(holds))?.id;
        let unused = |arena: &&mut ModelArena| {
            let presumed = |extent: &&ModelExtent| extent.presumed && extent.region == Some(region);
            let untouched = arena.explicit && arena.born == arena.last_event && arena.allocs == 0;
            arena.ended.is_none() && untouched && arena.standing().iter().any(presumed)
        };
        let arena = self.arenas.iter_mut().rev().find(unused)?;
        (arena.key, arena.object) = (Some(key), object);
        Some(arena.id as usize - 1)
    }

    pub(crate) fn end(&mut self, now: Now, index: usize, ending: &'static str, how: &'static str) {
        let arena = &mut self.arenas[index];
        if arena.ended.is_none() {
            arena.ended = Some((now.event, ending));
            kill(&mut arena.blocks, now, how, |_| true);
        }
    }

    fn create(&mut self, now: Now, key: u32, size: Option<u64>, nested: u64) {
        // The call contains the thread's events first..last; announcing its own arena comes after it.
        let last = now.thread_event - now.announced;
        let first = last.saturating_sub(nested).max(1);
        let inside = |thread: u32, event: u64| thread == now.thread && first <= event && event < last;
        let known = self.find(key);
        let adopted = known.filter(|index| inside(self.arenas[*index].born_by, self.arenas[*index].born_thread_event));
        let index = match (adopted, known) {
            (Some(index), _) => index,
            (None, known) => {
                if let Some(previous) = known {
                    self.end(now, previous, "replaced", "replaced");
                }
                self.born(now, key, true)
            }
        };
        let arena = &mut self.arenas[index];
        arena.last_event = now.event;
        arena.explicit = true;
        arena.born = now.event;
        arena.size = arena.size.or(size);
        if arena.standing().is_empty() && arena.allocs == 0 {
            let by_us = self.made.iter().rev().filter(|(thread, ..)| *thread == now.thread).take(8);
            let ids: Vec<u64> =
                by_us.filter(|(thread, event, _)| inside(*thread, *event)).map(|(_, _, region)| *region).collect();
            let wanted = self.arenas[index].size.unwrap_or(0);
            let fits = |region: &&ModelRegion| ids.contains(&region.id) && region.end - region.start >= wanted;
            let mut fitting: Vec<&ModelRegion> = self.regions.iter().filter(fits).collect();
            fitting.sort_by_key(|region| region.id);
            let largest = fitting.iter().map(|region| region.end - region.start).max();
            let best = if wanted > 0 {
                fitting.first().copied()
            } else {
                fitting.into_iter().find(|region| Some(region.end - region.start) == largest)
            };
            if let Some(region) = best.cloned() {
                self.add_extent(index, &region, region.start, region.start, true);
            }
        }
    }

    fn add_extent(&mut self, index: usize, region: &ModelRegion, low: u64, high: u64, presumed: bool) -> u32 {
        let arena = &mut self.arenas[index];
        let number = arena.next_extent;
        arena.next_extent += 1;
        let (start, end, kind, region) = (region.start, region.end, region.kind, Some(region.id));
        arena.extents.push(ModelExtent { number, start, end, kind, gone: None, region, low, high, presumed });
        number
    }

    fn alloc(&mut self, now: Now, index: Option<usize>, address: u64, size: u64) {
        let Some(index) = index else { return };
        if address == 0 {
            self.arenas[index].refused += 1;
            return;
        }
        self.overwrite(now, index, address, size);
        let extent = self.settle(index, address, size);
        let arena = &mut self.arenas[index];
        arena.allocs += 1;
        let (number, placement) = (arena.allocs, arena.next_placement);
        arena.next_placement += 1;
        arena.blocks.push(ModelBlock { number, address, size, extent, died: None, placement });
        arena.note_peak(now.event);
    }

    fn overwrite(&mut self, now: Now, index: usize, address: u64, size: u64) {
        let least = self.least();
        let end = address + size.max(least);
        let struck = |block: &ModelBlock| {
            block.size.max(least) > 0 && address < end && touches(block.address, block.size, least, address, end)
        };
        let dead = kill(&mut self.arenas[index].blocks, now, "overwritten", struck);
        self.arenas[index].overwritten += dead;
        self.anomalies += dead;
    }

    fn resize(&mut self, now: Now, key: u32, old: u64, new: u64, size: u64) {
        let Some(index) = self.own(now, key, (new != 0 || old == 0).then_some(new)) else {
            self.anomalies += 1;
            return;
        };
        let known = if old == 0 { None } else { self.arenas[index].block_at(old, self.least()) };
        if new == 0 {
            match known {
                Some(_) if size == 0 => self.free(now, key, old),
                _ => self.arenas[index].refused += 1,
            }
            return;
        }
        let Some(known) = known else {
            self.anomalies += u64::from(old != 0);
            self.alloc(now, Some(index), new, size);
            return;
        };
        // Out of the way while its new place is cleared.
        self.arenas[index].blocks[known].died = Some((now.event, "resizing"));
        self.overwrite(now, index, new, size);
        let extent = self.settle(index, new, size);
        let arena = &mut self.arenas[index];
        let moved = arena.blocks[known].address != new;
        if moved {
            arena.moves += 1;
            arena.blocks[known].placement = arena.next_placement;
            arena.next_placement += 1;
        }
        arena.resizes += 1;
        let block = &mut arena.blocks[known];
        (block.address, block.size, block.extent, block.died) = (new, size, extent, None);
        arena.note_peak(now.event);
    }

    fn free(&mut self, now: Now, key: u32, address: u64) {
        if address == 0 {
            return;
        }
        let Some(index) = self.own(now, key, None) else {
            self.anomalies += 1;
            return;
        };
        let least = self.least();
        let arena = &mut self.arenas[index];
        match arena.block_at(address, least) {
            Some(block) => {
                arena.blocks[block].died = Some((now.event, "freed"));
                arena.frees += 1;
            }
            None => self.anomalies += 1,
        }
    }

    fn rewind(&mut self, now: Now, key: u32, value: u64) {
        let Some(index) = self.own(now, key, None) else {
            self.anomalies += 1;
            return;
        };
        let least = self.least();
        let arena = &mut self.arenas[index];
        arena.rewinds += 1;
        if let Some(at) = arena.marks.iter().rposition(|(known, _)| *known == value) {
            let placed = arena.marks[at].1;
            arena.marks.truncate(at + 1);
            kill(&mut arena.blocks, now, "rewound", |block| block.placement >= placed);
            return;
        }
        let standing = arena.standing();
        let holds = standing.iter().find(|extent| extent.start <= value && value < extent.end);
        let ends = standing.iter().find(|extent| extent.end == value && value != 0);
        let (extent, from) = if let Some(extent) = holds.or(ends) {
            (extent.number, value)
        } else if value == 0 {
            arena.marks.clear();
            kill(&mut arena.blocks, now, "rewound", |_| true);
            return;
        } else if let [only] = standing[..] {
            if value > arena.capacity().unwrap_or(only.end - only.start) {
                self.anomalies += 1;
                return;
            }
            let (plain, shifted) = (only.start + value, only.low + value);
            let header = arena.object != 0 && only.start <= arena.object && arena.object < only.end;
            let (first, second) = if header { (shifted, plain) } else { (plain, shifted) };
            let straddled = |cut: u64| {
                let across = |block: &&ModelBlock| block.address < cut && cut < block.address + block.size.max(least);
                arena.living().iter().any(across)
            };
            (only.number, if straddled(first) && !straddled(second) { second } else { first })
        } else {
            self.anomalies += 1;
            return;
        };
        let here: Vec<&ModelBlock> = arena.living().into_iter().filter(|block| block.extent == extent).collect();
        let beyond = here.iter().filter(|block| block.address >= from).map(|block| block.placement).min();
        let kept = here.iter().map(|block| block.placement).max();
        let threshold = beyond.unwrap_or(kept.map_or(u64::MAX, |kept| kept + 1));
        kill(&mut arena.blocks, now, "rewound", |block| {
            if block.extent == extent { block.address >= from } else { block.placement >= threshold }
        });
        // A mark saved the placement of the block to come.
        arena.marks.retain(|(_, placed)| *placed <= threshold);
    }

    /// The extent for a block about to be placed.
    fn settle(&mut self, index: usize, address: u64, size: u64) -> u32 {
        let in_module = |address: u64| self.module.0 <= address && address < self.module.1;
        let holding = |address: u64| {
            let holds = |region: &&ModelRegion| region.start <= address && address < region.end;
            let heap = self.regions.iter().filter(|region| region.kind == "heap-block").find(holds);
            heap.or_else(|| self.regions.iter().filter(|region| region.kind != "heap-block").find(holds)).cloned()
        };
        let region = match holding(address) {
            Some(region) => Some(region).filter(|region| region.kind != "observed" || !in_module(address)),
            None if size == 0 && self.sizes_known => holding(address - 1)
                .filter(|region| self.arenas[index].standing().iter().any(|extent| extent.region == Some(region.id))),
            None => None,
        };
        let kind = if in_module(address) { "static" } else { "unknown" };
        let arena = &mut self.arenas[index];
        if let Some(region) = region {
            let ours = |extent: &&mut ModelExtent| extent.gone.is_none() && extent.region == Some(region.id);
            if let Some(extent) = arena.extents.iter_mut().find(ours) {
                extent.low = if extent.presumed { address } else { extent.low.min(address) };
                extent.high = if extent.presumed { address + size } else { extent.high.max(address + size) };
                extent.presumed = false;
                return extent.number;
            }
            arena.drop_presumed();
            return self.add_extent(index, &region, address, address + size, false);
        }
        arena.drop_presumed();
        self.settle_loose(index, address, size, kind)
    }
}

/// Kills the living blocks that `which` names; returns how many.
pub(crate) fn kill(blocks: &mut [ModelBlock], now: Now, how: &'static str, which: impl Fn(&ModelBlock) -> bool) -> u64 {
    let mut killed = 0;
    for block in blocks.iter_mut().filter(|block| block.died.is_none()) {
        if which(block) {
            block.died = Some((now.event, how));
            killed += 1;
        }
    }
    killed
}

//! glibc's malloc as it lies in memory: which arena a block came from, and what that arena's bounds are.
//!
//! ```text
//!   block − 8         size of the chunk; bit 1 (2): it has a mapping of its own; bit 2 (4): it is not the main arena's
//!   heap of a thread  64 MiB at a multiple of 64 MiB: ar_ptr, prev, size, …; the first one holds its arena's record too
//!   malloc_state      …, top, last_remainder, bins[254], binmap[4], next, …      (`top` at +96 since 2.27)
//! ```
//!
//! The layout is nobody's promise, so nothing is taken on trust: a heap counts when its record names an arena that lies in a
//! heap of its own; the main arena's record is the place in the C library's data whose `top` is the chunk that ends at the
//! break and whose empty bins point at themselves. What is not found so has no bounds. A block's own header is read
//! as it stands: malloc has just written it, or free is about to read it. Absent on purpose: events (`malloc`).
#![allow(unsafe_code, reason = "reads the words that malloc keeps before its blocks")]

use arenascope_event::MallocKind;
use arenascope_record::{for_each_mapping, quiet, read_own_memory};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A thread's heap, and what it is a multiple of (malloc/arena.c, HEAP_MAX_SIZE).
pub const HEAP_BYTES: u64 = 64 << 20;
/// Bits of a chunk's size word.
const IS_MMAPPED: u64 = 2;
const NON_MAIN_ARENA: u64 = 4;
const SIZE_BITS: u64 = 7;
/// Offset of `top` in `malloc_state` since 2.27; before, it is told by `next`.
const TOP: u64 = 96;
/// From `top` to `next`: top and last_remainder, 254 bins, the bin map.
const TOP_TO_NEXT: u64 = 16 + 254 * 8 + 16;
/// Bins that are found by their fd and bk pointing at themselves; a fresh process has nearly all of them empty.
const BINS: usize = 126;
const EMPTY_BINS: usize = 48;

/// A range that blocks are carved from.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Range {
    /// First byte.
    pub start: u64,
    /// One past the last.
    pub end: u64,
    /// First byte of the top chunk; 0: it is not here, or not known.
    pub top: u64,
}

/// One heap seen. `base` is claimed once; the rest follows the heap that is there now.
struct Heap {
    base: AtomicU64,
    object: AtomicU64,
    end: AtomicU64,
}

/// Heaps in the table; one that finds no place is looked up anew for every block.
const HEAPS: usize = 1024;
const PROBES: usize = 8;
static HEAP_TABLE: [Heap; HEAPS] =
    [const { Heap { base: AtomicU64::new(0), object: AtomicU64::new(0), end: AtomicU64::new(0) } }; HEAPS];

/// The C library's module.
static MODULE_START: AtomicU64 = AtomicU64::new(0);
static MODULE_END: AtomicU64 = AtomicU64::new(0);
/// The main arena: its object for events (0: not decided), the address of its `top` (0: not known), its bounds.
static MAIN: AtomicU64 = AtomicU64::new(0);
static MAIN_TOP: AtomicU64 = AtomicU64::new(0);
static MAIN_START: AtomicU64 = AtomicU64::new(0);
static MAIN_END: AtomicU64 = AtomicU64::new(0);

/// Where the C library lies. Once, at the start.
pub fn set_module(start: u64, end: u64) {
    MODULE_START.store(start, Relaxed);
    MODULE_END.store(end, Relaxed);
}

/// True for an address in the module that has malloc.
#[inline]
pub fn in_module(address: u64) -> bool {
    MODULE_START.load(Relaxed) <= address && address < MODULE_END.load(Relaxed)
}

/// The size word of a block's chunk.
#[inline]
fn size_word(block: u64) -> u64 {
    // SAFETY: a block that malloc returned, or that free is about to look at, has its size in the word before it, in the
    // same mapping.
    unsafe { (block.wrapping_sub(8) as *const u64).read_unaligned() }
}

/// Bytes that the program may use of a block.
#[inline]
pub fn usable(block: u64) -> u64 {
    let word = size_word(block);
    let overhead = if word & IS_MMAPPED != 0 { 16 } else { 8 };
    (word & !SIZE_BITS).saturating_sub(overhead)
}

fn word(pid: u32, address: u64) -> Option<u64> {
    let mut bytes = [0u8; 8];
    (read_own_memory(pid, address, &mut bytes) == 8).then(|| u64::from_le_bytes(bytes))
}

/// The row of a heap, if it is there or can be made.
#[inline]
fn row(base: u64, make: bool) -> Option<&'static Heap> {
    let first = (base / HEAP_BYTES) as usize;
    for probe in 0..PROBES {
        let heap = HEAP_TABLE.get(first.wrapping_add(probe) % HEAPS)?;
        let found = heap.base.load(Relaxed);
        if found == base {
            return Some(heap);
        }
        if found == 0 {
            if !make {
                return None;
            }
            if heap.base.compare_exchange(0, base, Relaxed, Relaxed).is_ok() {
                return Some(heap);
            }
            if heap.base.load(Relaxed) == base {
                return Some(heap);
            }
        }
    }
    None
}

/// Where a block belongs.
#[derive(Clone, Copy)]
pub struct Home {
    /// The arena's object; 0: not known yet, ask [`settle`].
    pub object: u64,
    /// False when the block lies outside the bounds that are known.
    pub inside: bool,
}

/// The arena of a block that malloc has just returned. Without a system call.
#[inline]
pub fn home(block: u64, size: u64) -> Home {
    let bits = size_word(block);
    if bits & IS_MMAPPED != 0 {
        return Home { object: MallocKind::MAPPED.0, inside: true };
    }
    let end = block.saturating_add(size);
    if bits & NON_MAIN_ARENA == 0 {
        let inside = MAIN_START.load(Relaxed) <= block && end <= MAIN_END.load(Relaxed);
        return Home { object: MAIN.load(Relaxed), inside };
    }
    let base = block & !(HEAP_BYTES - 1);
    let Some(heap) = row(base, false) else { return Home { object: 0, inside: false } };
    // SAFETY: the heap was looked at before, and a block of it was just handed out: it is mapped.
    let object = unsafe { (base as *const u64).read() };
    if object != heap.object.load(Relaxed) {
        return Home { object: 0, inside: false };
    }
    Home { object, inside: end <= heap.end.load(Relaxed) }
}

/// The arena of a block that is about to be freed; 0: the main one, and no block of it was seen.
#[inline]
pub fn home_of_old(pid: u32, block: u64) -> u64 {
    let bits = if block & 15 == 0 { size_word(block) } else { 0 };
    if bits & IS_MMAPPED != 0 {
        return MallocKind::MAPPED.0;
    }
    if bits & NON_MAIN_ARENA == 0 {
        return MAIN.load(Relaxed);
    }
    let base = block & !(HEAP_BYTES - 1);
    match row(base, false) {
        Some(heap) => heap.object.load(Relaxed),
        // The header may be damaged, and the heap not be there; or heaps have another size here (tunables).
        None => arena_of_heap(pid, base).unwrap_or(MallocKind::FOREIGN.0),
    }
}

/// The arena that a heap belongs to, if it is one.
#[cold]
fn arena_of_heap(pid: u32, base: u64) -> Option<u64> {
    let object = word(pid, base)?;
    let size = word(pid, base.wrapping_add(16))?;
    let first = object & !(HEAP_BYTES - 1);
    let sound = size <= HEAP_BYTES && size & 4095 == 0 && size > 0 && object != first && word(pid, first)? == object;
    sound.then_some(object)
}

/// The slow way to a block's arena: looks at its heap, or for the main arena. Returns the object.
#[cold]
pub fn settle(pid: u32, block: u64, size: u64) -> u64 {
    if quiet::is_on() {
        return settle_quietly(block);
    }
    if size_word(block) & NON_MAIN_ARENA == 0 {
        return main_of(pid, block, block.saturating_add(size));
    }
    let base = block & !(HEAP_BYTES - 1);
    let Some(object) = arena_of_heap(pid, base) else { return MallocKind::FOREIGN.0 };
    if let Some(heap) = row(base, true) {
        heap.object.store(object, Relaxed);
        let end = word(pid, base.wrapping_add(16)).map_or(0, |size| base.saturating_add(size));
        heap.end.store(end, Relaxed);
    }
    object
}

/// The same where no system call may be made: the block's header and its heap are believed.
fn settle_quietly(block: u64) -> u64 {
    if size_word(block) & NON_MAIN_ARENA != 0 {
        let base = block & !(HEAP_BYTES - 1);
        // SAFETY: malloc has just handed out a block of this heap, so its record, at its start, is mapped.
        return unsafe { (base as *const u64).read() };
    }
    match MAIN.load(Relaxed) {
        0 => MallocKind::MAIN.0,
        object => object,
    }
}

/// The block that posix_memalign has stored at `place`.
#[inline]
pub fn stored(place: u64) -> u64 {
    // SAFETY: posix_memalign returned 0, so it has written a pointer there.
    unsafe { (place as *const u64).read_unaligned() }
}

/// The main arena's object; its bounds anew when `block..end` lies outside those known.
fn main_of(pid: u32, block: u64, end: u64) -> u64 {
    if MAIN.load(Relaxed) == 0 {
        let top = find_main_top(pid, block);
        let object = top.map_or(MallocKind::MAIN.0, |top| {
            MAIN_TOP.store(top, Relaxed);
            match word(pid, top.wrapping_add(TOP_TO_NEXT)) {
                // The list of arenas is a circle; with one arena it shows where that begins.
                Some(next) if (64..=128).contains(&top.wrapping_sub(next)) => next,
                _ => top.wrapping_sub(TOP),
            }
        });
        let _ = MAIN.compare_exchange(0, object, Relaxed, Relaxed);
    }
    let range = main_range(pid).filter(|range| range.start <= block && end <= range.end);
    let range = range.or_else(|| mapping_of(block));
    if let Some(range) = range {
        MAIN_START.store(range.start, Relaxed);
        MAIN_END.store(range.end.max(end), Relaxed);
    }
    MAIN.load(Relaxed)
}

fn mapping_of(address: u64) -> Option<Range> {
    let mut found = None;
    for_each_mapping(|mapping| {
        if mapping.start <= address && address < mapping.end {
            found = Some(Range { start: mapping.start, end: mapping.end, top: 0 });
        }
        found.is_none()
    });
    found
}

/// The address of the main arena's `top`, looked for in the C library's data: the chunk that ends where the heap does.
fn find_main_top(pid: u32, block: u64) -> Option<u64> {
    let heap = mapping_of(block)?;
    let mut found = None;
    for_each_mapping(|mapping| {
        if in_module(mapping.start) && mapping.protection & 2 != 0 {
            found = find_top_in(pid, mapping.start, mapping.end, heap);
        }
        found.is_none()
    });
    found
}

fn find_top_in(pid: u32, start: u64, end: u64, heap: Range) -> Option<u64> {
    const ROOM: usize = 1024;
    let mut at = start;
    while at < end {
        let mut room = [0u8; ROOM];
        let got = read_own_memory(pid, at, &mut room);
        for (index, bytes) in room.get(..got)?.chunks_exact(8).enumerate() {
            let top = bytes.try_into().map_or(0, u64::from_le_bytes);
            let address = at.wrapping_add(index as u64 * 8);
            if heap.start <= top && top < heap.end && top & 15 == 0 && is_top(pid, address, top, heap.end) {
                return Some(address);
            }
        }
        if got < ROOM {
            return None;
        }
        at = at.wrapping_add(ROOM as u64);
    }
    None
}

/// True when the word at `address`, which holds `top`, is an arena's: the chunk ends at `end`, and behind it stand bins.
fn is_top(pid: u32, address: u64, top: u64, end: u64) -> bool {
    let Some(size) = word(pid, top.wrapping_add(8)) else { return false };
    if top.wrapping_add(size & !SIZE_BITS) != end {
        return false;
    }
    let mut bins = [0u8; BINS * 16];
    if read_own_memory(pid, address.wrapping_add(16), &mut bins) != bins.len() {
        return false;
    }
    let itself = |index: usize, pair: &[u8]| {
        let expected = address.wrapping_add(16 * index as u64).to_le_bytes();
        pair.get(..8) == Some(&expected[..]) && pair.get(8..) == Some(&expected[..])
    };
    let empty = bins.chunks_exact(16).enumerate().filter(|(index, pair)| itself(*index, pair)).count();
    empty >= EMPTY_BINS
}

/// The main arena's bounds now: from its start to where its top chunk ends. `None` when they are not known.
pub fn main_range(pid: u32) -> Option<Range> {
    let place = MAIN_TOP.load(Relaxed);
    if place == 0 {
        return None;
    }
    let top = word(pid, place)?;
    let size = word(pid, top.wrapping_add(8))? & !SIZE_BITS;
    let start = match MAIN_START.load(Relaxed) {
        start if start != 0 && start <= top => start,
        _ => mapping_of(top)?.start,
    };
    let end = top.checked_add(size)?;
    (start <= top && end & 4095 == 0).then_some(Range { start, end, top })
}

/// The bounds that are known of the main arena, wherever its top lies.
pub fn main_known() -> Range {
    Range { start: MAIN_START.load(Relaxed), end: MAIN_END.load(Relaxed), top: 0 }
}

/// The object of the main arena; 0: no block of it was seen.
pub fn main_object() -> u64 {
    MAIN.load(Relaxed)
}

/// The bounds of the heap that `address` lies in, of the arena `object`.
pub fn heap_range(pid: u32, object: u64, address: u64) -> Option<Range> {
    let start = address & !(HEAP_BYTES - 1);
    if quiet::is_on() {
        // What the heap can become.
        return Some(Range { start, end: start.checked_add(HEAP_BYTES)?, top: 0 });
    }
    if word(pid, start)? != object {
        return None;
    }
    let end = start.checked_add(word(pid, start.wrapping_add(16))?)?;
    // `top` lies at the same place in every arena's record.
    let offset = match (MAIN.load(Relaxed), MAIN_TOP.load(Relaxed)) {
        (_, 0) => TOP,
        (main, top) => top.wrapping_sub(main),
    };
    let top = word(pid, object.wrapping_add(offset)).filter(|top| start < *top && *top < end);
    (end.wrapping_sub(start) <= HEAP_BYTES).then_some(Range { start, end, top: top.unwrap_or(0) })
}

/// Every heap seen that still stands: an address in it, and its arena.
pub fn heaps(pid: u32) -> impl Iterator<Item = (u64, u64)> {
    HEAP_TABLE.iter().filter_map(move |heap| {
        let (base, object) = (heap.base.load(Relaxed), heap.object.load(Relaxed));
        (base != 0 && object != 0 && word(pid, base) == Some(object)).then_some((base, object))
    })
}

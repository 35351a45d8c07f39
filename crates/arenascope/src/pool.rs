//! Kept regions: what becomes of memory when its arena ends, and where the next arena's comes from.
//!
//! Every thread keeps regions of arenas that ended, small ones on a shelf for each size class, others in a short row, so that
//! creating and destroying an arena costs no system call and no page faults. What is kept is bounded in bytes and in count
//! ([`KeptLimits`]); beyond that, memory goes back to the system at once. When a thread ends, its regions go back.
//!
//! May be relied on: kept regions hold no living arena and say so in their first bytes. Deliberately absent: arenas of other
//! memory sources than the system's, which are never kept. Without the features `std` and `pthread` there is one pool for
//! the process; a thread that finds it busy does without.
#![allow(unsafe_code)] // Holds regions by raw pointer; releases them.

use crate::create::{HUGE_FROM, settle};
use crate::geometry::{self, SMALL_CLASSES};
use crate::header::{Arena, HEADER_BYTES, MAGIC_KEPT, flags};
use crate::registry::{self, Listed};
use crate::slab::{self, Slab};
use crate::{GROWING_BYTES, process, valgrind};
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};

/// Class of a region with a mapping of its own. Smaller classes are those of slots.
pub(crate) const ALONE: u16 = 1 << 15;

/// Class of a region in a caller's buffer.
pub(crate) const CALLERS: u16 = ALONE + 1;

/// Class of a berth of a shared arena: its memory is a lease.
pub(crate) const LEASED: u16 = ALONE + 2;

/// Regions with a mapping of their own that a thread keeps at most.
const ROW: usize = 16;

/// Numbers that a thread takes at once.
const IDS_AT_ONCE: u64 = 256;

/// How much each thread keeps of ended arenas' regions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeptLimits {
    /// Bytes of memory, headers included. Default 64 MiB: what glibc's malloc keeps at most.
    pub bytes: usize,
    /// Regions. Default 4096. At most 16 of them are larger than 64 KiB.
    pub count: usize,
}

static LIMIT_BYTES: AtomicUsize = AtomicUsize::new(64 << 20);
static LIMIT_COUNT: AtomicUsize = AtomicUsize::new(4096);

/// Sets how much each thread keeps, for the whole process; `bytes` 0 keeps nothing. Takes effect when an arena ends; what is kept
/// already goes back with [`release_kept`].
pub fn set_kept_limits(limits: KeptLimits) {
    LIMIT_BYTES.store(limits.bytes, Ordering::Relaxed);
    LIMIT_COUNT.store(limits.count, Ordering::Relaxed);
}

/// Gives all regions that this thread keeps back to the system. O(kept regions).
pub fn release_kept() {
    with_pool(|pool| {
        pool.drain();
        Some(())
    });
}

/// What this thread keeps now.
pub fn kept() -> KeptLimits {
    with_pool(|pool| Some(KeptLimits { bytes: pool.bytes, count: pool.count }))
        .unwrap_or(KeptLimits { bytes: 0, count: 0 })
}

/// What one thread keeps.
pub(crate) struct Pool {
    /// Kept slots of each class, linked through their `listed`.
    shelves: [*mut Arena; SMALL_CLASSES],
    /// The slab that a class's new slots are carved from.
    carving: [*mut Slab; SMALL_CLASSES],
    /// Kept regions with a mapping of their own, oldest first.
    row: [*mut Arena; ROW],
    in_row: usize,
    bytes: usize,
    count: usize,
    next_id: u64,
    ids_end: u64,
    tid: u32,
    pid: u32,
    /// Of the process in which the two hold.
    generation: u32,
}

impl Pool {
    pub(crate) const fn new() -> Pool {
        Pool {
            shelves: [null_mut(); SMALL_CLASSES],
            carving: [null_mut(); SMALL_CLASSES],
            row: [null_mut(); ROW],
            in_row: 0,
            bytes: 0,
            count: 0,
            next_id: 0,
            ids_end: 0,
            tid: 0,
            pid: 0,
            generation: 0,
        }
    }

    #[inline]
    fn small(&mut self, class: usize) -> Option<NonNull<Arena>> {
        let shelf = self.shelves.get_mut(class)?;
        let header = match NonNull::new(*shelf) {
            Some(header) => {
                // SAFETY: on the shelf: a slot that nobody uses, with the header it had.
                let arena = unsafe { header.as_ref() };
                *shelf = arena.listed.borrow_link().get().cast();
                self.bytes -= arena.mapping_bytes.get();
                self.count -= 1;
                header
            }
            None => self.fresh_slot(class)?,
        };
        // SAFETY: settled when it was fresh, and ours.
        self.identify(unsafe { header.as_ref() });
        Some(header)
    }

    #[cold]
    #[inline(never)]
    fn fresh_slot(&mut self, class: usize) -> Option<NonNull<Arena>> {
        let carving = self.carving.get_mut(class)?;
        let slab = match NonNull::new(*carving) {
            Some(slab) => slab,
            None => slab::map(class)?,
        };
        // SAFETY: only this pool carves the slab.
        let (seat, last) = unsafe { slab::carve(slab) }?;
        *carving = if last { null_mut() } else { slab.as_ptr() };
        // SAFETY: carved a moment ago: nobody else has it.
        Some(unsafe { settle(seat) })
    }

    /// A kept region with a mapping of its own: at least so many bytes from the header on, not more than twice as many unless
    /// it grows, and made for huge pages or not, as wanted.
    fn alone(&mut self, bytes: usize, growing: bool, huge: bool) -> Option<NonNull<Arena>> {
        let want = if growing { flags::GROWING } else { 0 } | if huge { flags::HUGE } else { 0 };
        let row = self.row.get(..self.in_row)?;
        let (at, header) = row.iter().enumerate().rev().find_map(|(at, header)| {
            let header = NonNull::new(*header)?;
            // SAFETY: in the row: a region that nobody uses, with the header it had.
            let arena = unsafe { header.as_ref() };
            let reserved = arena.reserved.get() + HEADER_BYTES;
            let fits = reserved >= bytes && (growing || reserved / 2 <= bytes);
            (fits && arena.flags.get() & (flags::GROWING | flags::HUGE) == want).then_some((at, header))
        })?;
        self.remove_from_row(at);
        // SAFETY: as above.
        let arena = unsafe { header.as_ref() };
        self.bytes -= kept_bytes(arena);
        self.count -= 1;
        self.identify(arena);
        Some(header)
    }

    /// The newest kept region, if it is what a growing arena takes when nothing says otherwise.
    #[inline]
    fn newest_growing(&mut self) -> Option<NonNull<Arena>> {
        let last = self.in_row.checked_sub(1)?;
        let header = NonNull::new(*self.row.get(last)?)?;
        // SAFETY: in the row: a region that nobody uses, with the header it had.
        let arena = unsafe { header.as_ref() };
        let want = flags::GROWING | flags::HUGE;
        if arena.flags.get() & want != want || arena.reserved.get() + HEADER_BYTES < growing_bytes() {
            return None;
        }
        self.in_row = last;
        self.bytes -= kept_bytes(arena);
        self.count -= 1;
        self.identify(arena);
        Some(header)
    }

    fn remove_from_row(&mut self, at: usize) {
        if at < self.in_row && self.in_row <= ROW {
            self.row.copy_within(at + 1..self.in_row, at);
            self.in_row -= 1;
        }
    }

    /// Takes an ended arena's region. False when it is not kept.
    #[inline]
    fn keep(&mut self, header: NonNull<Arena>) -> bool {
        // SAFETY: the arena has ended, and its region is ours now, mapped.
        let arena = unsafe { header.as_ref() };
        let class = arena.class.get();
        if !slab::is_slot(class) {
            return self.keep_alone(header);
        }
        let bytes = arena.mapping_bytes.get();
        let Some(shelf) = self.shelves.get_mut(class as usize) else { return false };
        if self.bytes + bytes > LIMIT_BYTES.load(Ordering::Relaxed) || self.count >= LIMIT_COUNT.load(Ordering::Relaxed)
        {
            return false;
        }
        arena.listed.borrow_link().set((*shelf).cast::<Listed>());
        *shelf = header.as_ptr();
        self.bytes += bytes;
        self.count += 1;
        true
    }

    #[inline(never)]
    fn keep_alone(&mut self, header: NonNull<Arena>) -> bool {
        // SAFETY: as in `keep`.
        let arena = unsafe { header.as_ref() };
        let limit = LIMIT_BYTES.load(Ordering::Relaxed);
        if arena.class.get() != ALONE || LIMIT_COUNT.load(Ordering::Relaxed) == 0 {
            return false;
        }
        // Older ones make room: the newest is the warmest.
        while self.in_row > 0
            && (self.in_row == ROW
                || self.bytes + kept_bytes(arena) > limit
                || self.count >= LIMIT_COUNT.load(Ordering::Relaxed))
        {
            self.release_oldest();
        }
        let room = limit.saturating_sub(self.bytes);
        if kept_bytes(arena) > room {
            // Too much even so. The beginning of a large region is still worth keeping: its addresses, page tables and advice.
            if room < HUGE_FROM {
                return false;
            }
            // SAFETY: the arena has ended: nothing refers to its blocks.
            unsafe { arena.give_back(room - HUGE_FROM / 2) };
            if kept_bytes(arena) > room {
                return false;
            }
        }
        let Some(place) = self.row.get_mut(self.in_row) else { return false };
        *place = header.as_ptr();
        self.in_row += 1;
        self.bytes += kept_bytes(arena);
        self.count += 1;
        true
    }

    #[cold]
    fn release_oldest(&mut self) {
        let Some(header) = self.row.first().copied().and_then(NonNull::new) else { return };
        // SAFETY: in the row: a region that nobody uses.
        self.bytes -= kept_bytes(unsafe { header.as_ref() });
        self.count -= 1;
        self.remove_from_row(0);
        // SAFETY: as above, and in the row no more.
        unsafe { release(header) };
    }

    fn drain(&mut self) {
        while self.in_row > 0 {
            self.release_oldest();
        }
        for shelf in &mut self.shelves {
            while let Some(header) = NonNull::new(*shelf) {
                // SAFETY: on the shelf: a slot that nobody uses.
                let arena = unsafe { header.as_ref() };
                *shelf = arena.listed.borrow_link().get().cast();
                self.bytes -= arena.mapping_bytes.get();
                self.count -= 1;
                // SAFETY: as above, and on the shelf no more.
                unsafe { slab::retire(header) };
            }
        }
        for slab in &mut self.carving {
            if let Some(slab) = NonNull::new(core::mem::replace(slab, null_mut())) {
                // SAFETY: only this pool carved it, and it forgets it here.
                unsafe { slab::abandon(slab) };
            }
        }
    }

    /// Number, process and thread for a new arena.
    #[inline]
    fn identify(&mut self, arena: &Arena) {
        if self.next_id == self.ids_end {
            self.next_id = NEXT_IDS.fetch_add(IDS_AT_ONCE, Ordering::Relaxed);
            self.ids_end = self.next_id + IDS_AT_ONCE;
        }
        arena.id.set(self.next_id);
        self.next_id += 1;
        let (pid, tid) = self.who();
        arena.pid.set(pid);
        arena.owner_tid.set(tid);
    }

    /// This process and thread.
    #[inline]
    fn who(&mut self) -> (u32, u32) {
        let generation = process::generation();
        if generation != self.generation {
            self.generation = generation;
            self.pid = process::pid();
            self.tid = process::ask_tid();
        }
        // One pool for all threads does not know whose turn it is.
        let known = cfg!(any(feature = "std", feature = "pthread"));
        (self.pid, if known { self.tid } else { process::ask_tid() })
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.drain();
    }
}

static NEXT_IDS: AtomicU64 = AtomicU64::new(1);

/// Memory that a kept region with a mapping of its own holds, in bytes: an upper bound.
fn kept_bytes(arena: &Arena) -> usize {
    arena.committed.get() + HEADER_BYTES
}

#[cfg(feature = "std")]
std::thread_local! {
    static POOL: core::cell::UnsafeCell<Pool> = const { core::cell::UnsafeCell::new(Pool::new()) };
}

/// Work on this thread's pool; None too when the thread is ending and has none any more. `work` calls nobody's code but ours, and
/// never this function.
#[cfg(feature = "std")]
#[inline]
fn with_pool<R>(work: impl FnOnce(&mut Pool) -> Option<R>) -> Option<R> {
    // SAFETY: of this thread only, and not entered twice.
    POOL.try_with(|pool| work(unsafe { &mut *pool.get() })).ok().flatten()
}

/// As above; None too when the thread can have no pool.
#[cfg(all(feature = "pthread", not(feature = "std")))]
#[inline]
fn with_pool<R>(work: impl FnOnce(&mut Pool) -> Option<R>) -> Option<R> {
    // SAFETY: of this thread only, and not entered twice.
    work(unsafe { crate::pthread::pool()?.as_mut() })
}

#[cfg(not(any(feature = "std", feature = "pthread")))]
struct Shared(core::cell::UnsafeCell<Pool>);

// SAFETY: entered under BUSY only.
#[cfg(not(any(feature = "std", feature = "pthread")))]
unsafe impl Sync for Shared {}

#[cfg(not(any(feature = "std", feature = "pthread")))]
static SHARED: Shared = Shared(core::cell::UnsafeCell::new(Pool::new()));

#[cfg(not(any(feature = "std", feature = "pthread")))]
static BUSY: core::sync::atomic::AtomicBool = core::sync::atomic::AtomicBool::new(false);

/// Work on the process's pool; None too when another thread is at it: then the caller does without.
#[cfg(not(any(feature = "std", feature = "pthread")))]
#[inline]
fn with_pool<R>(work: impl FnOnce(&mut Pool) -> Option<R>) -> Option<R> {
    if BUSY.swap(true, Ordering::Acquire) {
        return None;
    }
    // SAFETY: BUSY is ours.
    let result = work(unsafe { &mut *SHARED.0.get() });
    BUSY.store(false, Ordering::Release);
    result
}

/// A region for a small arena, if the capacity is small and the system has memory: settled, with a number.
#[inline]
pub(crate) fn small(capacity: usize) -> Option<NonNull<Arena>> {
    let class = geometry::small_class(capacity)?;
    with_pool(|pool| pool.small(class))
}

/// A kept region with a mapping of its own, of at least `bytes` from the header on: settled, with a number.
pub(crate) fn alone(bytes: usize, growing: bool, huge: bool) -> Option<NonNull<Arena>> {
    with_pool(|pool| pool.alone(bytes, growing, huge))
}

/// The newest kept region, if it is what a growing arena takes when nothing says otherwise: settled, with a number.
#[inline]
pub(crate) fn newest_growing() -> Option<NonNull<Arena>> {
    with_pool(Pool::newest_growing)
}

/// Gives a new arena its number, and notes process and thread.
pub(crate) fn identify(arena: &Arena) {
    let known = with_pool(|pool| {
        pool.identify(arena);
        Some(())
    });
    if known.is_none() {
        arena.id.set(NEXT_IDS.fetch_add(1, Ordering::Relaxed));
        arena.pid.set(process::pid());
        arena.owner_tid.set(process::ask_tid());
    }
}

/// This process and thread, mostly without a system call.
pub(crate) fn who() -> (u32, u32) {
    with_pool(|pool| Some(pool.who())).unwrap_or_else(|| (process::pid(), process::ask_tid()))
}

/// A number for an arena that no pool's arena has.
pub(crate) fn number() -> u64 {
    NEXT_IDS.fetch_add(1, Ordering::Relaxed)
}

/// Takes an ended arena's region: keeps it, or gives it back.
///
/// # Safety
/// The arena has ended; nothing refers to it or to its blocks.
#[inline]
pub(crate) unsafe fn take_back(header: NonNull<Arena>) {
    // SAFETY: I1 until the region is given back.
    let arena = unsafe { header.as_ref() };
    arena.announce(MAGIC_KEPT);
    let used = arena.cursor.get().addr().max(arena.high_water.get());
    arena.clean_from.set(arena.clean_from.get().max(used));
    arena.high_water.set(0);
    let keep = arena.flags.get() & flags::KEEP != 0;
    if keep && with_pool(|pool| pool.keep(header).then_some(())).is_some() {
        return;
    }
    // SAFETY: the caller's condition; no pool has it.
    unsafe { give_back(header) }
}

/// Headers of checked arenas that ended last: a call on one of them is seen (`Arena::tell_ended`). Later ones push earlier ones out.
static SET_ASIDE: [AtomicPtr<Arena>; 64] = [const { AtomicPtr::new(null_mut()) }; 64];

/// Keeps an ended, checked arena's header, with the page that it lies in, until 64 others have ended.
///
/// # Safety
/// The arena has ended, nothing refers to it or to its blocks, and its region is the system's: checked ones are.
#[cold]
pub(crate) unsafe fn set_aside(header: NonNull<Arena>) {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    // SAFETY: I1 until the region is given back.
    let arena = unsafe { header.as_ref() };
    arena.announce(MAGIC_KEPT);
    if arena.class.get() == ALONE {
        // SAFETY: the caller's condition.
        unsafe { keep_header_page(arena) };
    }
    let place = SET_ASIDE.get(NEXT.fetch_add(1, Ordering::Relaxed) % SET_ASIDE.len());
    let before = place.map_or(header.as_ptr(), |place| place.swap(header.as_ptr(), Ordering::AcqRel));
    if let Some(before) = NonNull::new(before) {
        // SAFETY: set aside by an earlier call, with the same condition, and taken out by this thread alone.
        unsafe { give_back(before) };
    }
}

/// Gives all of a region back but the page of the header.
///
/// # Safety
/// As [`set_aside`].
unsafe fn keep_header_page(arena: &Arena) {
    const PAGE: usize = 4096;
    let (mapping, bytes, source) = (arena.mapping.get(), arena.mapping_bytes.get(), arena.source.get());
    let at = (&raw const *arena).addr();
    let (page, end) = (at & !(PAGE - 1), mapping.addr() + bytes);
    let (ahead, behind) = (page - mapping.addr(), end.saturating_sub(page + PAGE));
    if behind == 0 || at + HEADER_BYTES > page + PAGE {
        return;
    }
    if arena.flags.get() & flags::UNLISTED == 0 {
        discount_growing(arena.flags.get(), arena.reserved.get());
    }
    let left = (page + PAGE).saturating_sub(arena.base.get().addr());
    arena.flags.set(arena.flags.get() & !flags::GROWING);
    arena.capacity.set(left.min(arena.capacity.get()));
    arena.committed.set(left.min(arena.committed.get()));
    arena.reserved.set(left);
    arena.mapping.set(mapping.with_addr(page));
    arena.mapping_bytes.set(PAGE);
    // SAFETY: whole pages of the mapping on both sides of the header's, in which nothing lives; the system's mappings can be given back in
    // parts.
    unsafe {
        if let (Some(start), true) = (NonNull::new(mapping), ahead > 0) {
            source.release(start, ahead);
        }
        if let Some(start) = NonNull::new(mapping.with_addr(page + PAGE)) {
            source.release(start, behind);
        }
    }
}

#[cold]
#[inline(never)]
unsafe fn give_back(header: NonNull<Arena>) {
    // SAFETY: mapped until one of the lines below.
    let class = unsafe { header.as_ref() }.class.get();
    if slab::is_slot(class) {
        // SAFETY: ended and on no shelf.
        unsafe { slab::retire(header) }
    } else if class == ALONE {
        // SAFETY: ended and in no row.
        unsafe { release(header) }
    } else {
        // SAFETY: a buffer's header is writable until its owner has it back, after this line.
        unsafe { header.as_ref() }.magic.set(0);
    }
}

/// Vast growing regions that are mapped.
static GROWING: AtomicUsize = AtomicUsize::new(0);

/// What a growing arena reserves under Valgrind, which pays for every 64 KiB of addresses.
const VALGRIND_BYTES: usize = 1 << 30;

/// Addresses for one more growing arena, in bytes: [`GROWING_BYTES`] for the first hundred, then less, so that 100,000 of them use
/// less than half of the 128 TiB that a process has.
#[inline]
pub(crate) fn growing_bytes() -> usize {
    if valgrind::is_running() {
        return VALGRIND_BYTES;
    }
    if cfg!(target_pointer_width = "64") && GROWING.load(Ordering::Relaxed) < 127 {
        return GROWING_BYTES;
    }
    // Bounded, so that the compiler sees that neither the division nor the logarithm can panic.
    let alive = (GROWING.load(Ordering::Relaxed) as u64).min(u32::MAX as u64);
    let share = (8u64 << 40) / (alive + 1);
    // 32-bit systems have no such room.
    let share = if cfg!(target_pointer_width = "64") { share } else { share >> 16 };
    (1usize << share.ilog2()).min(GROWING_BYTES)
}

/// Whether a region counts against the address space: of an arena with those flags, of so many bytes.
fn is_vast(set: u32, reserved: usize) -> bool {
    set & flags::GROWING != 0 && reserved >= 16 << 20
}

/// A region is mapped, of an arena with those flags, of so many bytes: growing arenas to come get less when there are many.
pub(crate) fn count_growing(set: u32, reserved: usize) {
    if is_vast(set, reserved) {
        GROWING.fetch_add(1, Ordering::Relaxed);
    }
}

/// The region of [`count_growing`] is unmapped.
pub(crate) fn discount_growing(set: u32, reserved: usize) {
    if is_vast(set, reserved) {
        GROWING.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Enters a fresh region with a mapping of its own into the process's list.
///
/// # Safety
/// The header is written, and the region goes back by `release`.
pub(crate) unsafe fn enlist(header: NonNull<Arena>) {
    // SAFETY: the header is written (the caller's condition).
    unsafe {
        count_growing(header.as_ref().flags.get(), header.as_ref().reserved.get());
        registry::add(&registry::ALONE, listed(header));
    }
}

fn listed(header: NonNull<Arena>) -> NonNull<Listed> {
    // SAFETY: a field of a mapped header; no reference is made.
    unsafe { NonNull::new_unchecked(&raw mut (*header.as_ptr()).listed) }
}

/// Gives a region with a mapping of its own back to its source.
///
/// # Safety
/// Its arena has ended, nothing refers to it, and no pool has it.
#[cold]
#[inline(never)]
unsafe fn release(header: NonNull<Arena>) {
    // SAFETY: enlisted at creation, but for what children do not have; mapped until the last line.
    unsafe {
        let arena = header.as_ref();
        if arena.flags.get() & flags::UNLISTED == 0 {
            registry::remove(&registry::ALONE, listed(header));
            discount_growing(arena.flags.get(), arena.reserved.get());
        }
        let (source, mapping, bytes) = (arena.source.get(), arena.mapping.get(), arena.mapping_bytes.get());
        if let Some(mapping) = NonNull::new(mapping) {
            source.release(mapping, bytes);
        }
    }
}

/// From a region's start to the header: 640 bytes on from the one before, modulo a page. Streams at equal places of regions
/// in power-of-two distances fight for the same lines of the first-level cache: 24 times slower, measured.
pub(crate) fn next_colour() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    // 29 places, 0..=3584 in steps of 128: the header stays in the first page.
    (NEXT.fetch_add(5, Ordering::Relaxed) % 29) * 128
}

//! Shared arenas: one region that many threads allocate from at once, each inside leases of its own.
//!
//! May be relied on: blocks live as long as the arena, whichever thread asked for them and whether it still runs; two threads never get
//! the same byte; what threads that have ended left of their leases is used by the next ones. Deliberately absent: the handles (`local`),
//! the way to a thread's own berth without a handle (`thread_berths`), how leases are sized (`refill`).
//!
//! # How it works
//! A thread takes a *lease*, 64 KiB at first, by one atomic exchange on the arena's cursor, and bumps inside it by the very code of
//! [`Arena`]: the lease is described by an arena header in a *berth*, and the thread holds the berth. When its handle goes, the berth with the rest of
//! the lease waits for the next thread. So what is lost is bounded by one lease for each thread that lives, and by a sixteenth of
//! each lease that is used up ([`SharedStats::lost_bytes`]).
#![allow(unsafe_code)] // Writes headers into fresh memory; gives regions back.

use crate::create::{Builder, HUGE_FROM, Name, Seat, default_source, settle};
use crate::header::{Arena, LIMIT_WATCH, MAGIC, flags};
use crate::leases::{self, LEASE_GRAIN, NOBODY};
use crate::policy::{HugePages, Populate};
use crate::probe::{EventKind, Happening, process_observer};
use crate::region::{Region, Request, Source};
use crate::registry;
use crate::shared_header::{
    Berth, FIRST_BERTHS, HEAD_BYTES, MAGIC_SHARED, MORE_BERTHS, Row, SHARED_LAYOUT_VERSION, SharedHeader, row_bytes,
};
use crate::{Error, MAX_CAPACITY, RawParts, geometry, pool, process};
use core::cell::Cell;
use core::fmt;
use core::mem::{ManuallyDrop, offset_of};
use core::panic::Location;
use core::ptr::{NonNull, addr_of_mut};
use core::sync::atomic::Ordering;

/// The least that a growing shared arena reserves before it gives up, in bytes.
const LEAST_RESERVED: usize = 1 << 20;

/// An arena that threads share: `Sync`, one region, blocks that live as long as it.
///
/// [`local`](Self::local) gives a thread its own handle, which allocates as fast as an arena of its own. The arena itself
/// allocates too, from any thread, for code that wants to carry one thing only: each call then looks up the thread's handle.
///
/// ```
/// let arena = arenascope::SharedArena::growing()?;
/// let words = std::thread::scope(|scope| {
///     let threads = ["to be", "or not"].map(|text| {
///         let arena = &arena;
///         scope.spawn(move || {
///             let local = arena.local();
///             text.split(' ').map(|word| &*local.alloc_str(word)).collect::<Vec<_>>()
///         })
///     });
///     threads.map(|thread| thread.join().unwrap()).concat()
/// });
/// assert_eq!(words, ["to", "be", "or", "not"]); // the threads are gone, their blocks are not
/// # Ok::<(), arenascope::Error>(())
/// ```
///
/// A reset needs the arena exclusively, so no handle can be alive then, nor any block:
/// ```compile_fail,E0502
/// let mut arena = arenascope::SharedArena::growing().unwrap();
/// let text = arena.alloc_str("gone");
/// arena.reset();
/// println!("{text}");
/// ```
///
/// # Forks
/// The child of a fork gets a private copy, as with [`Arena`]. What other threads of the parent held of leases is lost to it. Memory
/// that parent and child both use: [`fork`](crate::fork).
pub struct SharedArena {
    header: NonNull<SharedHeader>,
}

// SAFETY: all that shared borrows reach is atomic, or a berth that one thread holds (S1, S3).
unsafe impl Sync for SharedArena {}
// SAFETY: nothing in it depends on a thread; berths that threads hold are found again by their number.
unsafe impl Send for SharedArena {}

/// What a shared arena knows about its memory. Sizes in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct SharedStats {
    /// Leased since the last reset, whether handed out or not.
    pub leased_bytes: u64,
    /// Of these, at the ends of leases that are held, or wait for a thread: not handed out yet.
    pub unused_bytes: u64,
    /// Of these, at the ends of leases that were used up: nobody gets them before the next reset.
    pub lost_bytes: u64,
    /// Berths that a thread holds.
    pub held: usize,
    /// Berths that were ever held: the most threads that allocated at once.
    pub berths: usize,
    /// Resets.
    pub generation: u64,
    /// Requests refused.
    pub refusals: u32,
}

/// One thread's boundaries within a shared arena: its lease as it is now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lease {
    /// Process and thread that hold it; None: it waits for the next thread.
    pub owner: Option<(u32, u32)>,
    /// The lease's memory: base, bytes handed out from it, its size.
    pub parts: RawParts,
}

impl SharedArena {
    /// A bounded shared arena: `capacity` bytes, rounded up to a multiple of 128, can be leased. O(1), a few system calls.
    ///
    /// Because leases are 64 KiB and more where there is room (and a 16th of what is left, where there is not), a bounded arena of n threads
    /// should have room for n leases more than the blocks need.
    ///
    /// # Errors
    /// As [`Arena::init`].
    #[track_caller]
    pub fn init(capacity: usize) -> Result<SharedArena, Error> {
        Arena::builder().capacity(capacity).build_shared()
    }

    /// A shared arena that grows in place, up to its reservation of [`GROWING_BYTES`](crate::GROWING_BYTES). O(1), a few system calls.
    ///
    /// # Errors
    /// As [`Arena::growing`].
    #[track_caller]
    pub fn growing() -> Result<SharedArena, Error> {
        Arena::builder().build_shared()
    }

    /// Gives up the handle; the arena lives until it is taken back by [`from_raw`](Self::from_raw).
    pub fn into_raw(self) -> NonNull<SharedHeader> {
        ManuallyDrop::new(self).header
    }

    /// Takes an arena back.
    ///
    /// # Safety
    /// `header` comes from [`into_raw`](Self::into_raw), and nobody else owns the arena.
    pub unsafe fn from_raw(header: NonNull<SharedHeader>) -> SharedArena {
        SharedArena { header }
    }

    #[inline(always)]
    pub(crate) fn header(&self) -> &SharedHeader {
        // SAFETY: S1 — the header lives until `drop`.
        unsafe { self.header.as_ref() }
    }

    /// The arena's number in the process, from 1, never used twice.
    #[inline]
    pub fn id(&self) -> u64 {
        self.header().id.get()
    }

    /// The arena's name; empty when it has none.
    pub fn name(&self) -> &str {
        self.header().name()
    }

    /// The first byte that can be leased.
    pub fn base(&self) -> *mut u8 {
        self.header().base.get()
    }

    /// Bytes that can be leased, all in all.
    pub fn capacity(&self) -> usize {
        self.header().capacity.get() as usize
    }

    /// What the arena knows about its memory; other threads may be changing it. O(berths).
    pub fn stats(&self) -> SharedStats {
        let header = self.header();
        let mut stats = SharedStats {
            leased_bytes: header.cursor.load(Ordering::Relaxed),
            unused_bytes: 0,
            lost_bytes: header.lost.load(Ordering::Relaxed),
            held: 0,
            berths: 0,
            generation: header.generation.load(Ordering::Relaxed),
            refusals: header.refusals.load(Ordering::Relaxed),
        };
        for lease in self.leases() {
            stats.berths += 1;
            stats.held += usize::from(lease.owner.is_some());
            stats.unused_bytes += (lease.parts.capacity - lease.parts.offset) as u64;
        }
        stats
    }

    /// The leases as they are now, of threads that may be allocating meanwhile: for looking, not for arithmetic. O(berths).
    ///
    /// The numbers of other threads' berths are read as a debugger reads them: see "Where Rust's model is left" in the crate's head.
    pub fn leases(&self) -> impl Iterator<Item = Lease> + '_ {
        self.header().berths().filter_map(|berth| {
            // SAFETY: S1 — mapped; the owner's word is atomic.
            let owner = unsafe { &(*berth.as_ptr()).owner }.load(Ordering::Relaxed);
            let arena = Berth::arena(berth).as_ptr();
            // SAFETY: S1 — mapped, and zero or a header. Aligned words, each read once and volatile, as an outsider's; no reference is made.
            let (magic, base, cursor, capacity) = unsafe {
                (
                    core::sync::atomic::AtomicU64::from_ptr((*arena).magic.as_ptr()).load(Ordering::Acquire),
                    (*arena).base.as_ptr().read_volatile(),
                    (*arena).cursor.as_ptr().read_volatile(),
                    (*arena).capacity.as_ptr().read_volatile(),
                )
            };
            let offset = cursor.addr().wrapping_sub(base.addr());
            (magic == MAGIC).then_some(Lease {
                owner: (owner != NOBODY).then_some(((owner >> 32) as u32, owner as u32)),
                parts: RawParts {
                    base,
                    offset: offset.min(capacity),
                    capacity,
                    committed: capacity,
                    reserved: capacity,
                },
            })
        })
    }

    /// Empties the arena: all leases end, the memory stays (or goes back, see [`OnReset`]). O(berths).
    #[track_caller]
    pub fn reset(&mut self) {
        let header = self.header();
        for berth in header.berths() {
            // SAFETY: S1, S3 — exclusively ours: handles and blocks borrow the arena, and what threads without a handle hold they use
            // only during a call.
            unsafe { header.report_end(berth, EventKind::RESET, Some(Location::caller())) };
        }
        // Now, for an observer may have allocated and written.
        let leased = header.cursor.load(Ordering::Relaxed);
        header.dirty.set(header.dirty.get().max(leased));
        let keep = header.on_reset.get().0 as u64;
        if keep < header.dirty.get() {
            let from = HEAD_BYTES + keep as usize;
            let to = HEAD_BYTES + header.dirty.get() as usize;
            // SAFETY: S2 — leased memory of the region; nobody refers to it: blocks borrow the arena, which we have exclusively.
            let given = unsafe { header.source.get().decommit(header.region.get(), from, to) };
            if let Some((first, end)) = given
                && end >= to
            {
                header.dirty.set((first - HEAD_BYTES) as u64);
            }
        }
        header.lost.store(0, Ordering::Relaxed);
        header.generation.fetch_add(1, Ordering::Relaxed);
        for berth in header.berths() {
            // SAFETY: S1, S3 — exclusively ours, as above.
            unsafe { header.end_lease(berth) };
        }
        header.cursor.store(0, Ordering::Relaxed);
    }
}

impl Drop for SharedArena {
    fn drop(&mut self) {
        let header = self.header();
        // From here on threads that end leave the berths alone.
        // SAFETY: listed at creation.
        unsafe { registry::remove(&registry::SHARED, listed(self.header)) };
        for berth in header.berths() {
            // SAFETY: S1, S3 — exclusively ours, as in `reset`.
            unsafe {
                header.report_end(berth, EventKind::DESTROY, None);
                header.end_lease(berth);
                Berth::arena(berth).as_ref().announce(0);
            }
        }
        header.magic.store(0, Ordering::Release);
        pool::discount_growing(header.flags.get(), header.capacity.get() as usize);
        let source = header.source.get();
        let (mapping, bytes) = (header.mapping.get(), header.mapping_bytes.get());
        let mut row = header.rows.load(Ordering::Relaxed);
        while let Some(here) = NonNull::new(row) {
            // SAFETY: S1 — a row of this arena, which nobody uses any more.
            unsafe {
                row = here.as_ref().next.get();
                if let Some(mapping) = NonNull::new(here.as_ref().mapping.get()) {
                    source.release(mapping, here.as_ref().mapping_bytes.get());
                }
            }
        }
        // SAFETY: what `reserve` gave; nothing refers to it: blocks and handles borrow the arena.
        unsafe { source.release(mapping, bytes) };
    }
}

impl fmt::Debug for SharedArena {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedArena")
            .field("id", &self.id())
            .field("name", &self.name())
            .field("base", &self.base())
            .field("leased", &self.header().cursor.load(Ordering::Relaxed))
            .field("capacity", &self.capacity())
            .finish_non_exhaustive()
    }
}

pub(crate) fn listed(header: NonNull<SharedHeader>) -> NonNull<registry::Listed> {
    // SAFETY: a field of a mapped header; no reference is made.
    unsafe { NonNull::new_unchecked(&raw mut (*header.as_ptr()).listed) }
}

/// The header that an entry of the registry lies in.
pub(crate) fn of_entry(entry: NonNull<registry::Listed>) -> *mut SharedHeader {
    entry.as_ptr().wrapping_byte_sub(offset_of!(SharedHeader, listed)).cast()
}

impl SharedHeader {
    pub(crate) fn name(&self) -> &str {
        if self.name.get().is_null() {
            return "";
        }
        // SAFETY: written at creation: a str in the header (S1), or one that lives forever.
        unsafe {
            core::str::from_utf8_unchecked(core::slice::from_raw_parts(self.name.get(), self.name_bytes.get() as usize))
        }
    }

    /// A berth for this thread: a free one, with what is left of its lease, or a new one.
    pub(crate) fn hold_berth(&self) -> Result<NonNull<Berth>, Error> {
        let (berth, first_held) = self.claim_berth()?;
        if first_held {
            self.report_berth(berth);
        }
        Ok(berth)
    }

    /// As [`hold_berth`](Self::hold_berth), of which observers have not heard; the second result says that it is theirs to hear of.
    pub(crate) fn claim_berth(&self) -> Result<(NonNull<Berth>, bool), Error> {
        let (pid, tid) = pool::who();
        let me = leases::holder(pid, tid);
        loop {
            for berth in self.berths() {
                // SAFETY: S1 — mapped; the owner's word is atomic.
                if leases::claim(unsafe { &(*berth.as_ptr()).owner }, me) {
                    // SAFETY: S3 — ours since the line above.
                    let first_held = unsafe { self.begin_berth(berth, pid, tid) };
                    return Ok((berth, first_held));
                }
            }
            self.add_row()?;
        }
    }

    /// Tells an observer of a berth that was never held before, whose arena is new to it. The calling thread holds it.
    pub(crate) fn report_berth(&self, berth: NonNull<Berth>) {
        // SAFETY: S1, S3 — a header since it is held.
        let arena = unsafe { Berth::arena(berth).as_ref() };
        arena.report(Happening { kind: EventKind::CREATE, block: arena.base(), ..Happening::default() });
    }

    /// True inside of an observer that hears of a berth of this thread's.
    pub(crate) fn is_observed_by_this_thread(&self) -> bool {
        let (pid, tid) = pool::who();
        let me = leases::holder(pid, tid);
        self.berths().any(|berth| {
            // SAFETY: S1 — mapped; the owner's word is atomic.
            let mine = unsafe { &(*berth.as_ptr()).owner }.load(Ordering::Relaxed) == me;
            // SAFETY: S1, S3 — this thread's own; zero or a header.
            mine && unsafe { (*Berth::arena(berth).as_ptr()).flags.get() } & flags::REPORTING != 0
        })
    }

    /// Leaves a berth to others.
    ///
    /// # Safety
    /// The calling thread holds the berth, and does not use it after this.
    pub(crate) unsafe fn leave_berth(&self, berth: NonNull<Berth>) {
        // SAFETY: S1.
        leases::release(unsafe { &(*berth.as_ptr()).owner });
    }

    /// True for one that was never held before.
    ///
    /// # Safety
    /// S3 — the berth is the caller's.
    unsafe fn begin_berth(&self, berth: NonNull<Berth>, pid: u32, tid: u32) -> bool {
        let header = Berth::arena(berth);
        // SAFETY: the caller's condition; memory of the row, zero or a header.
        let known = unsafe { (*header.as_ptr()).magic.get() } == MAGIC;
        if known {
            // SAFETY: as above.
            let arena = unsafe { header.as_ref() };
            arena.owner_tid.set(tid);
            arena.pid.set(pid);
            return false;
        }
        // SAFETY: the caller's condition: memory for a header, of nobody else.
        unsafe {
            settle(Seat {
                header: header.cast(),
                colour: 0,
                committed: crate::HEADER_BYTES,
                reserved: crate::HEADER_BYTES,
                clean_from: 0,
                mapping: header.cast(),
                mapping_bytes: 0,
                class: pool::LEASED,
                link: (&raw const *self).cast_mut().cast(),
                flags: flags::LEASED | self.flags.get() & flags::ZEROED,
                source: &crate::create::Nowhere,
            });
            (*berth.as_ptr()).next_lease_bytes.set(crate::refill::FIRST_LEASE_BYTES);
        }
        // SAFETY: settled.
        let arena = unsafe { header.as_ref() };
        pool::identify(arena);
        let no_lease = self.base.get();
        arena.cursor.set(no_lease);
        arena.base.set(no_lease);
        arena.committed.set(0);
        arena.reserved.set(0);
        arena.high_water.set(no_lease.addr());
        arena.clean_from.set(no_lease.addr() + self.dirty.get() as usize);
        arena.name.set(self.name.get());
        arena.name_bytes.set(self.name_bytes.get());
        arena.site_file.set(self.site_file.get());
        arena.site_file_bytes.set(self.site_file_bytes.get());
        arena.site_line.set(self.site_line.get());
        arena.site_column.set(self.site_column.get());
        let limit = geometry::limit(no_lease.addr(), no_lease.addr());
        arena.true_limit.set(limit);
        arena.stored_limit.set(limit);
        // SAFETY: I1 — ours; no outsider knows the arena before the magic is there.
        unsafe { arena.limit.get().write_volatile(limit) };
        arena.announce(MAGIC);
        if !process_observer().is_null() {
            arena.set_watched(true);
            debug_assert_eq!(arena.limit_now(), LIMIT_WATCH);
        }
        true
    }

    /// Tells an observer that a berth's lease is about to end.
    ///
    /// # Safety
    /// Nobody uses the berth.
    unsafe fn report_end(&self, berth: NonNull<Berth>, kind: EventKind, caller: Option<&'static Location<'static>>) {
        // SAFETY: S1, and the caller's condition.
        let arena = unsafe { Berth::arena(berth).as_ref() };
        if arena.magic.get() == MAGIC && !arena.unwatched() {
            arena.heed_limit();
            arena.report(Happening { kind, block: arena.base(), caller, ..Happening::default() });
        }
    }

    /// Takes the lease of a berth away.
    ///
    /// # Safety
    /// Nobody uses the berth, or will before the caller is done.
    unsafe fn end_lease(&self, berth: NonNull<Berth>) {
        // SAFETY: S1, and the caller's condition.
        let arena = unsafe { Berth::arena(berth).as_ref() };
        if arena.magic.get() != MAGIC {
            return;
        }
        let base = self.base.get();
        // The way to the next sample was one in the lease.
        arena.sample_at.set(0);
        arena.cursor.set(base);
        arena.base.set(base);
        arena.capacity.set(0);
        arena.committed.set(0);
        arena.reserved.set(0);
        arena.high_water.set(base.addr());
        arena.clean_from.set(base.addr() + self.dirty.get() as usize);
        arena.generation.set(arena.generation.get() + 1);
        arena.reset_generation.set(arena.generation.get());
        arena.set_true_limit();
        // SAFETY: S1.
        unsafe { (*berth.as_ptr()).next_lease_bytes.set(crate::refill::FIRST_LEASE_BYTES) };
    }

    /// Adds berths: threads are more than there are berths.
    #[cold]
    fn add_row(&self) -> Result<(), Error> {
        let source = self.source.get();
        let region = source.reserve(Request { bytes: row_bytes(MORE_BERTHS), head_bytes: 0 })?;
        // SAFETY: reserved a line ago, at least so large.
        let region = unsafe { usable(region, row_bytes(MORE_BERTHS))? };
        let row = region.start.cast::<Row>();
        // SAFETY: committed, aligned to 128, zeroed below, and ours until it is published.
        let this = unsafe {
            if !region.zeroed {
                region.start.write_bytes(0, row_bytes(MORE_BERTHS));
            }
            row.as_ref()
        };
        this.count.set(MORE_BERTHS);
        this.mapping.set(region.mapping.as_ptr());
        this.mapping_bytes.set(region.mapping_bytes);
        let mut newest = self.rows.load(Ordering::Acquire);
        loop {
            this.next.set(newest);
            match self.rows.compare_exchange_weak(newest, row.as_ptr(), Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Ok(()),
                Err(now) => newest = now,
            }
        }
    }
}

impl Builder<'_> {
    /// Makes a shared arena of what was chosen: name, capacity or reservation, huge pages, populating, resets, source. O(1), a few
    /// system calls: regions of shared arenas are not kept. (What a builder says of keeping, colouring and an observer means nothing here.)
    ///
    /// # Errors
    /// As [`build`](Self::build).
    #[track_caller]
    pub fn build_shared(self) -> Result<SharedArena, Error> {
        let caller = Location::caller();
        let wanted = match (self.capacity, self.reserve) {
            (Some(bytes), _) | (None, bytes @ 1..) => bytes,
            (None, 0) if self.on_heap() => crate::Heap::GROWING_BYTES,
            (None, 0) => pool::growing_bytes(),
        };
        if wanted > MAX_CAPACITY {
            return Err(Error::TooLarge);
        }
        let may_shrink = self.capacity.is_none() && self.reserve == 0;
        let mut bytes = wanted;
        let region = loop {
            match self.reserve_shared(bytes) {
                Ok(region) => break region,
                Err(Error::Os(_)) if may_shrink && bytes / 2 >= LEAST_RESERVED => bytes /= 2,
                Err(error) => return Err(error),
            }
        };
        // Whole grains: a source may give more than was asked for, and not a multiple of one.
        let capacity = match self.capacity {
            Some(_) => geometry::up(bytes as u64, LEASE_GRAIN),
            None => geometry::down((region.bytes - HEAD_BYTES) as u64, LEASE_GRAIN),
        };
        // SAFETY: committed by `reserve_shared`, page-aligned, and nobody knows it yet.
        Ok(unsafe { begin(&region, &self, capacity, caller) })
    }

    fn on_heap(&self) -> bool {
        self.source.unwrap_or(default_source()).name() == crate::Heap.name()
    }

    /// A region for header and `bytes`, whose header may be touched.
    fn reserve_shared(&self, bytes: usize) -> Result<Region, Error> {
        let source = self.source.unwrap_or(default_source());
        let huge = self.huge_pages != HugePages::Never && bytes >= HUGE_FROM && !self.on_heap();
        let head_bytes = match self.huge_pages {
            _ if !huge => 0,
            HugePages::Always => crate::system::HUGE,
            _ => crate::create::HEAD_BYTES,
        };
        let whole = geometry::up(bytes as u64, LEASE_GRAIN) as usize + HEAD_BYTES;
        let region = source.reserve(Request { bytes: whole, head_bytes })?;
        if huge {
            let from = if head_bytes == crate::system::HUGE { 0 } else { head_bytes };
            // SAFETY: inside the region reserved a moment ago.
            unsafe { region.source.advise_huge(region.start, from, region.bytes) };
        }
        // SAFETY: as above; it is larger than its head.
        unsafe { usable(region, HEAD_BYTES) }
    }
}

/// The region, whose first `bytes` bytes may be touched; given back when they cannot be had.
///
/// # Safety
/// It is reserved, at least so large, and nobody knows it.
unsafe fn usable(region: Region, bytes: usize) -> Result<Region, Error> {
    if region.committed >= bytes {
        return Ok(region);
    }
    // SAFETY: the caller's condition.
    let done = unsafe { region.source.commit(region.start, 0, bytes, false) };
    if done.is_err() {
        // SAFETY: the caller's condition.
        unsafe { region.source.release(region.mapping, region.mapping_bytes) };
    }
    done.map(|()| region)
}

/// Writes the header: the arena lives from here on.
///
/// # Safety
/// The region's first [`HEAD_BYTES`] may be touched, and nobody else knows it; `capacity` bytes of it lie behind them.
unsafe fn begin(
    region: &Region,
    builder: &Builder<'_>,
    capacity: u64,
    caller: &'static Location<'static>,
) -> SharedArena {
    let header = region.start.cast::<SharedHeader>();
    // SAFETY: the caller's condition. Zero is a value of every field but those that are written in place here.
    let this = unsafe {
        region.start.write_bytes(0, HEAD_BYTES);
        let place = header.as_ptr();
        addr_of_mut!((*place).source).write(Cell::new(region.source));
        addr_of_mut!((*place).region).write(Cell::new(region.start));
        addr_of_mut!((*place).mapping).write(Cell::new(region.mapping));
        addr_of_mut!((*place).mapping_bytes).write(Cell::new(region.mapping_bytes));
        addr_of_mut!((*place).on_reset).write(Cell::new(builder.on_reset));
        header.as_ref()
    };
    this.layout_version.set(SHARED_LAYOUT_VERSION);
    this.header_bytes.set(HEAD_BYTES as u32);
    // SAFETY: inside the region (the caller's condition).
    this.base.set(unsafe { region.start.add(HEAD_BYTES) }.as_ptr());
    this.capacity.set(capacity);
    this.id.set(pool::number());
    this.pid.set(process::pid());
    this.site_file.set(caller.file().as_ptr());
    this.site_file_bytes.set(caller.file().len() as u32);
    this.site_line.set(caller.line());
    this.site_column.set(caller.column());
    let name = Name::of(builder.name, builder.lasting_name);
    this.name_inline.set(name.inline);
    this.name.set(name.place(this.name_inline.as_ptr().cast()));
    this.name_bytes.set(name.bytes);
    let growing = if builder.capacity.is_none() { flags::GROWING } else { 0 };
    let populate = if builder.populate == Populate::Never { 0 } else { flags::POPULATE };
    this.flags.set(growing | populate | if region.zeroed { flags::ZEROED } else { 0 });
    // SAFETY: the first row lies behind the header, zeroed above.
    unsafe {
        let row = header.add(1).cast::<Row>();
        row.as_ref().count.set(FIRST_BERTHS);
        this.rows.store(row.as_ptr(), Ordering::Release);
    }
    pool::count_growing(this.flags.get(), capacity as usize);
    this.magic.store(MAGIC_SHARED, Ordering::Release);
    // SAFETY: mapped until `drop`, which takes it out; the pointer is the region's.
    unsafe { registry::add(&registry::SHARED, listed(header)) };
    SharedArena { header }
}

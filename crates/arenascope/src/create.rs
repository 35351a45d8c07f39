//! How an arena begins and ends: the builder, the header's first values, and destruction.
//!
//! May be relied on: a failed creation leaves nothing behind. Deliberately absent: where regions come from when they are kept
//! (`pool`), and the OS (`system`).
#![allow(unsafe_code)] // Writes headers into fresh memory; takes regions back.

use crate::geometry::{self, GRAIN};
use crate::header::{HEADER_BYTES, HEADER_STEP, LAYOUT_VERSION, LIMIT_WATCH, MAGIC, NAME_BYTES, Nest, flags};
use crate::policy::{Colouring, CommitAhead, HugePages, KeptBytes, OnReset, Populate};
use crate::probe::{EventKind, Happening, Observer, process_observer};
use crate::region::{AfterFork, Region, Request, Source};
use crate::{Arena, Error, Owned, OwnedArena, note, pool};
use core::mem::MaybeUninit;
use core::panic::Location;
use core::ptr::{NonNull, addr_of_mut};

/// Small pages before the first huge one, in bytes: an arena that stays below pays for no huge page.
pub(crate) const HEAD_BYTES: usize = 256 << 10;

/// From this capacity on a region is made ready for huge pages, in bytes.
pub(crate) const HUGE_FROM: usize = 2 << 20;

/// What a growing arena reserves when nothing says otherwise, in bytes. Addresses only: memory is taken as it is used.
pub const GROWING_BYTES: usize = if usize::BITS < 64 { 512 << 20 } else { (64_u64 << 30) as usize };

/// The least that a growing arena reserves before it gives up, in bytes.
const GROWING_LEAST: usize = 1 << 20;

/// The largest capacity, in bytes: room for header, colour and alignment stays below `isize::MAX`.
pub const MAX_CAPACITY: usize = (isize::MAX as usize) - (4 << 20);

/// An arena to be: see [`Arena::builder`].
#[derive(Clone, Copy)]
#[must_use = "a builder makes no arena before `build`"]
pub struct Builder<'name> {
    pub(crate) name: &'name str,
    pub(crate) lasting_name: bool,
    pub(crate) capacity: Option<usize>,
    pub(crate) reserve: usize,
    pub(crate) huge_pages: HugePages,
    pub(crate) populate: Populate,
    pub(crate) commit_ahead: CommitAhead,
    pub(crate) colouring: Colouring,
    pub(crate) keep: bool,
    pub(crate) on_reset: KeptBytes,
    pub(crate) source: Option<&'static dyn Source>,
    pub(crate) observer: Option<&'static Observer>,
    /// Whether blocks may lie apart from the region, in check mode.
    pub(crate) apart: bool,
}

impl Arena {
    /// A bounded arena: exactly `capacity` bytes can be handed out, alignment padding included. Past them, an error.
    ///
    /// O(1). Up to 64 KiB it mostly costs no system call, for regions of arenas that ended are kept; 0 is a valid capacity.
    ///
    /// # Errors
    /// [`Error::Os`] when the system has no addresses or memory, [`Error::TooLarge`] past [`MAX_CAPACITY`].
    ///
    /// ```
    /// let arena = arenascope::Arena::init(64)?;
    /// assert!(arena.try_alloc([0u8; 64]).is_ok());
    /// assert_eq!(arena.try_alloc(0u8), Err(arenascope::Error::Full));
    /// # Ok::<(), arenascope::Error>(())
    /// ```
    #[inline]
    #[track_caller]
    pub fn init(capacity: usize) -> Result<OwnedArena, Error> {
        bounded(capacity, Location::caller())
    }

    /// An arena that grows in place, up to its reservation of [`GROWING_BYTES`] (64 GiB of addresses, 512 MiB on 32 bits; less where the system
    /// refuses that, or when there are many). Memory is taken as it is used. O(1).
    ///
    /// # Errors
    /// [`Error::Os`] when the system has no addresses or memory.
    #[inline]
    #[track_caller]
    pub fn growing() -> Result<OwnedArena, Error> {
        growing(Location::caller())
    }

    /// Everything that can be chosen about an arena, each with a default.
    ///
    /// ```
    /// let arena = arenascope::Arena::builder().name("symbols").capacity(1 << 20).build()?;
    /// assert_eq!((arena.name(), arena.capacity()), ("symbols", 1 << 20));
    /// # Ok::<(), arenascope::Error>(())
    /// ```
    #[inline]
    pub const fn builder() -> Builder<'static> {
        Builder {
            name: "",
            lasting_name: true,
            capacity: None,
            reserve: 0,
            huge_pages: HugePages::Auto,
            populate: Populate::Auto,
            commit_ahead: CommitAhead::Auto,
            colouring: Colouring::Auto,
            keep: true,
            on_reset: KeptBytes::ALL,
            source: None,
            observer: None,
            apart: true,
        }
    }

    /// An arena in a buffer of the caller's. The header takes [`HEADER_BYTES`] of it, and alignment up to 127 more; what is
    /// left is the capacity. O(1), no system call.
    ///
    /// # Errors
    /// [`Error::Full`] when the header does not fit.
    ///
    /// ```
    /// let mut memory = [core::mem::MaybeUninit::uninit(); 4096];
    /// let arena = arenascope::Arena::in_buffer(&mut memory)?;
    /// assert!(arena.capacity() >= 4096 - 384 - 127);
    /// arena.alloc(1);
    /// # Ok::<(), arenascope::Error>(())
    /// ```
    #[track_caller]
    pub fn in_buffer(buffer: &mut [MaybeUninit<u8>]) -> Result<Owned<'_>, Error> {
        Arena::in_buffer_as(buffer, &Arena::builder())
    }

    /// As above, with a name and an observer; what a builder says about memory means nothing here.
    #[track_caller]
    pub(crate) fn in_buffer_as<'b>(
        buffer: &'b mut [MaybeUninit<u8>],
        builder: &Builder<'_>,
    ) -> Result<Owned<'b>, Error> {
        let bytes = buffer.len();
        let start = NonNull::from(buffer).cast::<u8>();
        let skip = geometry::up(start.addr().get() as u64, HEADER_STEP as u64) as usize - start.addr().get();
        let capacity = bytes.checked_sub(skip + HEADER_BYTES).ok_or(Error::Full)?;
        // The cursor may stand up to 7 bytes past the capacity: whole grains only.
        let capacity = capacity & !(GRAIN - 1);
        let seat = Seat {
            // SAFETY: skip + HEADER_BYTES ≤ bytes.
            header: unsafe { start.add(skip) },
            colour: 0,
            committed: HEADER_BYTES + capacity,
            reserved: HEADER_BYTES + capacity,
            // What the buffer held is not known to be zero.
            clean_from: usize::MAX,
            mapping: start,
            mapping_bytes: bytes,
            class: pool::CALLERS,
            link: core::ptr::null_mut(),
            flags: 0,
            source: &Nowhere,
        };
        // SAFETY: the seat lies in the buffer, which is borrowed for as long as the handle lives.
        let arena = unsafe {
            let header = settle(seat);
            pool::identify(header.as_ref());
            begin(header, &Builder { apart: false, ..*builder }, capacity, Location::caller())
        };
        // SAFETY: fresh, and the buffer lives as long as the returned lifetime.
        Ok(unsafe { Owned::from_raw(arena.into_raw()) })
    }
}

#[inline(never)]
fn bounded(capacity: usize, caller: &'static Location<'static>) -> Result<OwnedArena, Error> {
    Arena::builder().capacity(capacity).build_at(caller)
}

#[inline(never)]
fn growing(caller: &'static Location<'static>) -> Result<OwnedArena, Error> {
    Arena::builder().build_at(caller)
}

impl<'name> Builder<'name> {
    /// A name for people and tools. The header keeps its first 32 bytes.
    #[inline]
    pub const fn name<'n>(self, name: &'n str) -> Builder<'n> {
        Builder { name, lasting_name: false, ..self }
    }

    /// As [`name`](Self::name), kept whole by reference.
    #[inline]
    pub const fn static_name(self, name: &'static str) -> Builder<'static> {
        Builder { name, lasting_name: true, ..self }
    }

    /// A bounded arena: exactly so many bytes. Without it the arena grows.
    #[inline]
    pub const fn capacity(self, bytes: usize) -> Self {
        Builder { capacity: Some(bytes), ..self }
    }

    /// For a growing arena: how many bytes of addresses to reserve, at least 1; growth ends there.
    #[inline]
    pub const fn reserve(self, bytes: usize) -> Self {
        Builder { reserve: bytes, ..self }
    }

    /// Whether to use huge pages; default [`HugePages::Auto`].
    #[inline]
    pub const fn huge_pages(self, huge_pages: HugePages) -> Self {
        Builder { huge_pages, ..self }
    }

    /// When the system is asked for pages; default [`Populate::Auto`], which `true` is too; `false` is [`Populate::Never`].
    #[inline]
    pub fn populate(self, populate: impl Into<Populate>) -> Self {
        Builder { populate: populate.into(), ..self }
    }

    /// How much more than is needed is taken into use when the arena grows: a number of bytes; default [`CommitAhead::Auto`].
    #[inline]
    pub fn commit_ahead(self, commit_ahead: impl Into<CommitAhead>) -> Self {
        Builder { commit_ahead: commit_ahead.into(), ..self }
    }

    /// Where in its first page the arena begins; default [`Colouring::Auto`].
    #[inline]
    pub const fn colouring(self, colouring: Colouring) -> Self {
        Builder { colouring, ..self }
    }

    /// Whether the region may be one that an ended arena left, and may be kept for another (default true). Without it the
    /// memory is fresh from the system, and goes back there.
    #[inline]
    pub const fn keep(self, keep: bool) -> Self {
        Builder { keep, ..self }
    }

    /// What a reset does with used memory; default [`OnReset::Keep`].
    #[inline]
    pub const fn on_reset(self, on_reset: OnReset) -> Self {
        Builder { on_reset: KeptBytes::of(on_reset), ..self }
    }

    /// Where memory comes from; default [`System`](crate::System).
    #[inline]
    pub const fn source(self, source: &'static dyn Source) -> Self {
        Builder { source: Some(source), ..self }
    }

    /// Watches the arena from its creation on.
    ///
    /// # Safety
    /// As [`Arena::observe`].
    #[inline]
    pub unsafe fn observer(self, observer: &'static Observer) -> Self {
        Builder { observer: Some(observer), ..self }
    }

    /// Makes the arena. O(1).
    ///
    /// # Errors
    /// [`Error::Os`] when the source has no addresses or memory, [`Error::TooLarge`] past [`MAX_CAPACITY`].
    #[inline]
    #[track_caller]
    pub fn build(self) -> Result<OwnedArena, Error> {
        self.build_by_choice(Location::caller())
    }

    #[inline(never)]
    fn build_by_choice(&self, caller: &'static Location<'static>) -> Result<OwnedArena, Error> {
        let arena = self.build_at(caller)?;
        if self.populate == Populate::Always && self.capacity.is_some() {
            populate_all(&arena)?;
        }
        Ok(arena)
    }

    /// Whether regions that other arenas have left will do, and other arenas can have this one's. The choice of those that cannot
    /// shows in where they begin.
    #[inline(always)]
    fn is_like_others(&self) -> bool {
        // As numbers, so that the compiler sees through it where the choice is known.
        let usual = self.huge_pages as u8 != HugePages::Always as u8 && self.colouring as u8 == Colouring::Auto as u8;
        usual && self.keep && self.source.is_none() && !cfg!(miri)
    }

    /// In each caller, for what a builder says is mostly known there.
    #[inline(always)]
    fn build_at(&self, caller: &'static Location<'static>) -> Result<OwnedArena, Error> {
        if self.source.is_none() && self.keep && self.colouring as u8 == Colouring::Auto as u8 && !cfg!(miri) {
            match (self.capacity, self.reserve, self.huge_pages) {
                (Some(capacity), ..) => {
                    if let Some(header) = pool::small(capacity) {
                        // SAFETY: from the pool: nobody else has it, and its class holds the capacity.
                        return Ok(unsafe { begin(header, self, capacity, caller) });
                    }
                }
                (None, 0, HugePages::Auto) => {
                    if let Some(header) = pool::newest_growing() {
                        // SAFETY: from the pool: settled when it was fresh, and nobody else has it.
                        return Ok(unsafe { begin(header, self, header.as_ref().reserved.get(), caller) });
                    }
                }
                _ => {}
            }
        }
        self.build_alone(caller)
    }

    /// An arena with a mapping of its own, of which children have nothing. In no list of the process, for lists lead through headers.
    pub(crate) fn build_for_fork(
        self,
        what: AfterFork,
        caller: &'static Location<'static>,
    ) -> Result<OwnedArena, Error> {
        // Known before the fork, so that a child can tell that it is one.
        crate::process::generation();
        let builder = Builder { keep: false, apart: false, ..self };
        let (arena, _) = builder.build_unlisted(caller)?;
        arena.flags.set(arena.flags.get() | flags::UNLISTED);
        let mapping = NonNull::new(arena.mapping.get()).ok_or(Error::Full)?;
        // SAFETY: I6 — the arena's own region, of its source.
        unsafe { arena.source.get().after_fork(mapping, arena.mapping_bytes.get(), what)? };
        Ok(arena)
    }

    #[inline(never)]
    fn build_alone(&self, caller: &'static Location<'static>) -> Result<OwnedArena, Error> {
        let (arena, fresh) = self.build_unlisted(caller)?;
        let header = arena.into_raw();
        // SAFETY: given up a line ago. The header is written, and regions of their own end in `pool::release`.
        unsafe {
            if fresh {
                pool::enlist(header);
            }
            Ok(OwnedArena::from_raw(header))
        }
    }

    /// The second result says that the region is fresh, and in no list yet.
    fn build_unlisted(&self, caller: &'static Location<'static>) -> Result<(OwnedArena, bool), Error> {
        let huge = self.huge_pages != HugePages::Never;
        let rounded = |bytes: usize| HEADER_BYTES + geometry::up(bytes as u64, GRAIN as u64) as usize;
        let (header, fresh) = match (self.capacity, self.reserve) {
            (Some(bytes), _) | (None, bytes @ 1..) if bytes > MAX_CAPACITY => return Err(Error::TooLarge),
            (Some(bytes), _) => self.alone(rounded(bytes), false, huge && bytes >= HUGE_FROM)?,
            (None, bytes @ 1..) => self.alone(rounded(bytes), true, huge)?,
            (None, 0) => self.growing(huge)?,
        };
        // SAFETY: the header is from a source or from the pool: settled, and nobody else has it.
        unsafe {
            let capacity = match (self.capacity, self.reserve) {
                (Some(bytes), _) | (None, bytes @ 1..) => bytes,
                (None, 0) => header.as_ref().reserved.get(),
            };
            Ok((begin(header, self, capacity, caller), fresh))
        }
    }

    fn growing(&self, huge: bool) -> Result<(NonNull<Arena>, bool), Error> {
        let mut bytes = match self.source {
            Some(source) if source.name() == crate::Heap.name() => crate::Heap::GROWING_BYTES,
            None if cfg!(miri) => crate::Heap::GROWING_BYTES,
            _ => pool::growing_bytes(),
        };
        let mut probing = true;
        loop {
            match self.alone(bytes, true, huge) {
                // Under a limit of addresses what fits is not ours alone: after the first refusal a quarter of it is taken,
                // so that the program's own memory and further arenas have room.
                Err(Error::Os(_)) if probing && self.source.is_none() && !cfg!(miri) => {
                    probing = false;
                    while bytes > GROWING_LEAST && !crate::system::addresses_fit(bytes) {
                        bytes /= 2;
                    }
                    bytes = (bytes / 4).max(GROWING_LEAST);
                }
                Err(Error::Os(_)) if bytes / 2 >= GROWING_LEAST => bytes /= 2,
                other => return other,
            }
        }
    }

    /// A region of its own for at least `bytes` from the header on: a kept one, or a fresh one (true).
    fn alone(&self, bytes: usize, growing: bool, huge: bool) -> Result<(NonNull<Arena>, bool), Error> {
        if self.is_like_others()
            && let Some(header) = pool::alone(bytes, growing, huge)
        {
            return Ok((header, false));
        }
        let source = self.source.unwrap_or(default_source());
        let paged = source.name() != crate::Heap.name();
        let colour = if paged && self.colouring == Colouring::Auto { pool::next_colour() } else { 0 };
        let head_bytes = match (huge && paged, self.huge_pages) {
            (false, _) => 0,
            (true, HugePages::Always) => crate::system::HUGE,
            (true, _) => HEAD_BYTES,
        };
        let bytes = bytes + colour;
        // Room for the last huge page, where it will be one.
        let room = if head_bytes > 0 {
            geometry::commit_bound(bytes, usize::MAX, head_bytes, crate::system::HUGE)
        } else {
            bytes
        };
        let region = source.reserve(Request { bytes: room, head_bytes })?;
        let mut set = if self.populate == Populate::Never { 0 } else { flags::POPULATE };
        if head_bytes > 0 {
            set |= flags::HUGE;
        }
        if head_bytes == crate::system::HUGE {
            // The kernel makes no huge page of a range that has a small one already: it must know before the header is written.
            // SAFETY: the whole of the region that the source reserved a moment ago.
            unsafe { source.advise_huge(region.start, 0, region.bytes) };
            set |= flags::HUGE_ADVISED;
        }
        if growing {
            set |= flags::GROWING;
        }
        match Seat::in_region(&region, colour, set, self.commit_ahead) {
            Ok(seat) => {
                // SAFETY: the seat lies in a region that was reserved a moment ago.
                let header = unsafe { settle(seat) };
                // SAFETY: I1 — settled.
                pool::identify(unsafe { header.as_ref() });
                Ok((header, true))
            }
            Err(error) => {
                // SAFETY: the region was reserved a moment ago, and nobody knows it.
                unsafe { region.source.release(region.mapping, region.mapping_bytes) };
                Err(error)
            }
        }
    }
}

pub(crate) fn default_source() -> &'static dyn Source {
    if cfg!(miri) { &crate::Heap } else { &crate::System }
}

/// The source of an arena in a caller's buffer: there is nothing to ask for.
pub(crate) struct Nowhere;

// SAFETY: gives no region.
unsafe impl Source for Nowhere {
    fn name(&self) -> &'static str {
        "buffer"
    }

    fn reserve(&'static self, _: Request) -> Result<Region, Error> {
        Err(Error::Os(crate::sources::OUT_OF_MEMORY))
    }

    unsafe fn commit(&self, _: NonNull<u8>, _: usize, _: usize, _: bool) -> Result<(), Error> {
        Ok(())
    }

    unsafe fn advise_huge(&self, _: NonNull<u8>, _: usize, _: usize) {}

    unsafe fn decommit(&self, _: NonNull<u8>, _: usize, _: usize) -> Option<(usize, usize)> {
        None
    }

    unsafe fn release(&self, _: NonNull<u8>, _: usize) {}
}

/// Memory for an arena, header included; all numbers in bytes from the header.
pub(crate) struct Seat {
    pub(crate) header: NonNull<u8>,
    /// From the region's start to the header.
    pub(crate) colour: u16,
    pub(crate) committed: usize,
    pub(crate) reserved: usize,
    /// An address: payload from here on is zero, if the flags say ZEROED.
    pub(crate) clean_from: usize,
    pub(crate) mapping: NonNull<u8>,
    pub(crate) mapping_bytes: usize,
    pub(crate) class: u16,
    pub(crate) link: *mut u8,
    pub(crate) flags: u32,
    pub(crate) source: &'static dyn Source,
}

impl Seat {
    fn in_region(region: &Region, colour: usize, set: u32, ahead: CommitAhead) -> Result<Seat, Error> {
        let needed = colour + HEADER_BYTES;
        let mut committed = region.committed;
        if committed < needed {
            let ahead = match ahead {
                CommitAhead::Auto => None,
                // At most the head, if there is one: what follows waits for the advice about huge pages.
                CommitAhead::Bytes(bytes) => {
                    Some(if set & flags::HUGE == 0 { bytes } else { bytes.min(HEAD_BYTES - needed) })
                }
            };
            committed = geometry::commit_target(needed, region.bytes, usize::MAX, crate::system::HUGE, ahead);
            // SAFETY: committed ≤ region.bytes; the region was reserved a moment ago.
            unsafe { region.source.commit(region.start, 0, committed, set & flags::POPULATE != 0)? };
        }
        // SAFETY: colour < committed ≤ region.bytes.
        let header = unsafe { region.start.add(colour) };
        Ok(Seat {
            header,
            colour: colour as u16,
            committed: committed - colour,
            reserved: region.bytes - colour,
            clean_from: 0,
            mapping: region.mapping,
            mapping_bytes: region.mapping_bytes,
            class: pool::ALONE,
            link: core::ptr::null_mut(),
            flags: set | if region.zeroed { flags::ZEROED } else { 0 },
            source: region.source,
        })
    }
}

/// Writes what the header says about its region, and who it is.
///
/// # Safety
/// The seat's `committed` bytes are writable, at a multiple of 128, and belong to nobody else.
pub(crate) unsafe fn settle(seat: Seat) -> NonNull<Arena> {
    let header = seat.header.cast::<Arena>();
    // SAFETY: the header fits into the committed bytes (the caller's condition). Zero is a value of every field but those
    // two, which are written in place; a caller's buffer may be uninitialised, and setting a Cell reads what was there.
    let arena = unsafe {
        let place = header.as_ptr();
        place.write_bytes(0, 1);
        addr_of_mut!((*place).source).write(core::cell::Cell::new(seat.source));
        addr_of_mut!((*place).on_reset).write(core::cell::Cell::new(KeptBytes::ALL));
        header.as_ref()
    };
    // SAFETY: the payload begins behind the header, at most one past the committed bytes.
    let base = unsafe { seat.header.add(HEADER_BYTES) }.as_ptr();
    debug_assert!((base.addr() as u64) < geometry::ADDRESS_BOUND);
    arena.layout_version.set(LAYOUT_VERSION);
    arena.header_bytes.set(HEADER_BYTES as u32);
    arena.base.set(base);
    arena.clean_from.set(seat.clean_from.max(base.addr()));
    arena.committed.set(seat.committed - HEADER_BYTES);
    arena.reserved.set(seat.reserved - HEADER_BYTES);
    arena.mapping.set(seat.mapping.as_ptr());
    arena.mapping_bytes.set(seat.mapping_bytes);
    arena.class.set(seat.class);
    arena.colour.set(seat.colour);
    arena.link.set(seat.link);
    arena.flags.set(seat.flags);
    header
}

/// Writes the rest of the header: the arena lives from here on. O(1).
///
/// # Safety
/// `header` was settled, and its region is whole: fresh, or kept since its last arena ended. Nobody else has it. It has a number
/// (`pool::identify`); `capacity` ≤ reserved.
#[inline(always)]
unsafe fn begin(
    header: NonNull<Arena>,
    builder: &Builder<'_>,
    capacity: usize,
    caller: &'static Location<'static>,
) -> OwnedArena {
    // SAFETY: I1 — settled, and ours.
    let arena = unsafe { header.as_ref() };
    // SAFETY: the payload begins behind the header. With the whole region's provenance, which `header` carries.
    let base = unsafe { header.cast::<u8>().add(HEADER_BYTES) }.as_ptr();
    arena.on_reset.set(builder.on_reset);
    arena.ahead_pages.set(match builder.commit_ahead {
        CommitAhead::Auto => 0,
        CommitAhead::Bytes(bytes) => (bytes.div_ceil(geometry::COMMIT_PAGE) as u64 + 1).min(u32::MAX as u64) as u32,
    });
    arena.name_inline.set([0; NAME_BYTES]);
    arena.forget_rewinds();
    arena.cursor.set(base);
    arena.base.set(base);
    arena.high_water.set(base.addr());
    arena.capacity.set(capacity);
    arena.generation.set(0);
    arena.reset_generation.set(0);
    arena.nest().set(Nest::OUTSIDE);
    arena.scopes.set(0);
    arena.events.set(0);
    arena.commits.set(0);
    arena.refusals.set(0);
    arena.set_site(caller);
    set_name(arena, builder);
    let observer = builder.observer.map_or(core::ptr::null(), |table| table as *const Observer);
    arena.observer.set(observer);
    // Kept are regions of the system that look alike.
    let keep = if builder.is_like_others() { flags::KEEP } else { 0 };
    let populate = if builder.populate as u8 == Populate::Never as u8 { 0 } else { flags::POPULATE };
    arena.flags.set(arena.flags.get() & flags::OF_REGION | keep | populate);
    let limit = geometry::limit(base.addr() + arena.committed.get(), base.addr() + capacity);
    arena.true_limit.set(limit);
    arena.stored_limit.set(limit);
    // SAFETY: I1 — ours; no outsider knows the arena before the magic is there.
    unsafe { arena.limit.get().write_volatile(limit) };
    arena.announce(MAGIC);
    if !observer.is_null() || !process_observer().is_null() {
        begin_watched(arena, builder, caller);
    }
    // SAFETY: written a moment ago, and nobody owns it yet.
    unsafe { OwnedArena::from_raw(header) }
}

impl Arena {
    /// After the header was written again as it was at creation, over a region that is zero: a new arena, of this process and thread.
    pub(crate) fn begin_anew(&self) {
        pool::identify(self);
        self.clean_from.set(self.base.get().addr());
        self.set_watched(!process_observer().is_null() || !self.observer.get().is_null());
        if self.flags.get() & flags::WATCHED != 0 {
            self.report(Happening {
                kind: EventKind::CREATE,
                block: self.base(),
                size: self.capacity(),
                ..Happening::default()
            });
        }
    }
}

/// Takes all of a bounded arena's pages. O(capacity).
#[cold]
#[inline(never)]
fn populate_all(arena: &Arena) -> Result<(), Error> {
    let base = arena.base().addr();
    // The steps that are missing, with their advice; and what is in use already but was perhaps never touched.
    arena.ensure_committed(geometry::up((base + arena.capacity()) as u64, GRAIN as u64) as usize)?;
    let start = arena.region_start();
    let from = base - start.addr().get();
    // SAFETY: I2, I6 — the payload lies in the region that the source reserved.
    unsafe { arena.source.get().commit(start, from, from + arena.capacity(), true) }
}

#[cold]
#[inline(never)]
fn begin_watched(arena: &Arena, builder: &Builder<'_>, caller: &'static Location<'static>) {
    note::leave();
    if arena.sample_from_birth() {
        return;
    }
    arena.set_watched(true);
    debug_assert_eq!(arena.limit_now(), LIMIT_WATCH);
    arena.report(Happening {
        kind: EventKind::CREATE,
        block: arena.base(),
        size: arena.capacity(),
        caller: Some(caller),
        ..Happening::default()
    });
    // Memory of a source of the program's own may be wanted for what it is.
    arena.begin_checked(arena.current_observer(), builder.apart && builder.source.is_none());
}

/// A name as headers keep it.
pub(crate) struct Name {
    /// The text itself, if it lives forever.
    lasting: *const u8,
    /// Its first bytes, whole characters only.
    pub(crate) inline: [u8; NAME_BYTES],
    /// Its length in bytes.
    pub(crate) bytes: u32,
}

impl Name {
    #[inline]
    pub(crate) fn of(name: &str, lasting: bool) -> Name {
        let cut = if name.len() > NAME_BYTES { name.floor_char_boundary(NAME_BYTES) } else { name.len() };
        let mut inline = [0; NAME_BYTES];
        for (to, from) in inline.iter_mut().zip(name.as_bytes().iter().take(cut)) {
            *to = *from;
        }
        let whole = lasting && !name.is_empty();
        Name {
            lasting: if whole { name.as_ptr() } else { core::ptr::null() },
            inline,
            bytes: if whole { name.len() } else { cut } as u32,
        }
    }

    /// Where the name stands, when `inline` is kept at `kept`.
    #[inline]
    pub(crate) fn place(&self, kept: *const u8) -> *const u8 {
        match (self.bytes, self.lasting.is_null()) {
            (0, _) => core::ptr::null(),
            (_, true) => kept,
            (_, false) => self.lasting,
        }
    }
}

#[inline]
fn set_name(arena: &Arena, builder: &Builder<'_>) {
    if builder.name.is_empty() {
        arena.name.set(core::ptr::null());
        arena.name_bytes.set(0);
        return;
    }
    let name = Name::of(builder.name, builder.lasting_name);
    arena.name_inline.set(name.inline);
    arena.name.set(name.place(arena.name_inline.as_ptr().cast()));
    arena.name_bytes.set(name.bytes);
}

/// Ends an arena and gives its region on.
///
/// # Safety
/// `header` is a living arena that nobody else owns, and nothing refers to its blocks.
#[inline]
pub(crate) unsafe fn destroy(header: NonNull<Arena>, caller: Option<&'static Location<'static>>) {
    // SAFETY: I1.
    let arena = unsafe { header.as_ref() };
    if !arena.unwatched() && !end_watched(arena, caller) {
        return;
    }
    // SAFETY: the caller's condition: nothing refers to the arena from here on.
    unsafe { pool::take_back(header) }
}

/// False when the region is not to be taken back: it was before, or the arena was checked, and its header stays for a time.
#[cold]
#[inline(never)]
fn end_watched(arena: &Arena, caller: Option<&'static Location<'static>>) -> bool {
    arena.heed_limit();
    if arena.magic.get() != MAGIC {
        return false;
    }
    if arena.sample_at.get() != 0 && arena.events.get() == 0 {
        arena.forget_samples();
        return true;
    }
    let checked = arena.is_checked();
    arena.checked_before(EventKind::DESTROY);
    arena.report(Happening { kind: EventKind::DESTROY, block: arena.base(), caller, ..Happening::default() });
    arena.checked_after(EventKind::DESTROY);
    // Its own may end with this call: who calls a dead arena is not to find it.
    arena.observer.set(core::ptr::null());
    if checked {
        // SAFETY: the arena has ended, and its blocks lay apart.
        unsafe { pool::set_aside(NonNull::from_ref(arena)) };
    }
    !checked
}

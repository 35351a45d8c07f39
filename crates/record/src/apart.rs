//! Check mode of our own arenas: the memory apart in which their blocks lie, with zones around each, dead ones kept.
//!
//! ```text
//!   a plot:  │zone│ block 1 │ zone │ block 2 │ zone │ block 3 │ zone │ …        zones hold CANARY, dead blocks POISON
//! ```
//! An arena of the library asks its checker where each block is to lie (`arenascope::CheckRequest`), and goes on as if nobody checked. So addresses
//! need not be given again: dead blocks keep theirs, first with their bytes poisoned, beyond a budget untouchable, and only
//! when the field is used up (64 GiB) the oldest of them come back.
//!
//! Relied on: all memory that is read or written here is the recorder's own and mapped, so that no event costs a system call; a block that has no
//! room, or whose arena's lock cannot be had, is told to lie where it would lie unchecked, and counted; nothing that is forgotten here
//! makes bytes somebody else's, so that what is found is true. Deliberately absent: the trace (what is found goes to a [`Sink`]), and the
//! library's types (the agent hands numbers on).
#![allow(unsafe_code, reason = "blocks, zones and tables in memory of our own, by address")]

mod look;
mod plots;
mod touched;

use crate::check::{CANARY, POISON};
use crate::quiet;
use crate::reserve::{Reserve, Zeroed};
use arenascope_event::Zone;
use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::sync::atomic::{
    AtomicBool, AtomicU32, AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release, compiler_fence,
};
use plots::{Ground, NONE, PLOT_BYTES, Plot, Plots, ROWS, Row, Stage, UNIT, bits};
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};

pub use plots::{Closing, Fate};
pub use touched::Touched;

/// Checked arenas at once, living ones and those whose blocks are still known.
const ARENAS: u32 = 1 << 18;
/// Dead plots that keep their bytes: 256 MiB of them.
const DEAD_PLOTS: u32 = 4096;
/// Of a dead block so much is poisoned, bytes; a plot that is larger is closed.
const POISONED: u64 = 1 << 20;
/// Bytes before a block that are filled and looked at when alignment leaves more.
const BEFORE: u64 = 256;
/// Dead blocks that an arena's going back has looked at, the newest.
const LOOKED_AT: u32 = 16;
/// Spins before a lock is waited for by giving the processor away, and how often that is done before it is given up.
const SPINS: (u32, u32) = (2_000, 200);
/// A page.
const PAGE: u64 = 4096;

/// What was found changed.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    /// Address of the arena's header.
    pub header: u64,
    /// The block it is told of, and its bytes.
    pub block: u64,
    /// See above.
    pub size: u64,
    /// Where the bytes lie, seen from it.
    pub zone: Zone,
    /// First byte that differs.
    pub address: u64,
    /// What it held.
    pub expected: u8,
    /// What was found from there to the last byte that differs.
    pub bytes: [u8; 64],
    /// How many of those, at most 64.
    pub len: usize,
    /// One past the zone's last byte.
    pub end: u64,
    /// Of a dead block: the order of the event that ended it.
    pub ended: Option<u64>,
}

/// What is told.
#[derive(Clone, Copy, Debug)]
pub enum Told {
    /// Bytes were found changed.
    Found(Found),
    /// From here on blocks of the arena at this header may lie in so many bytes from this address on.
    Plot(u64, u64, u64),
}

/// Takes what is told.
pub type Sink<'a> = &'a mut dyn FnMut(&Told);

/// One checked arena. Its address is what the arena knows its checker by.
#[repr(C, align(128))]
pub struct OfArena {
    /// The function that the arena calls: `arenascope::Checker`.
    check: usize,
    /// What it is checked by.
    apart: *const Apart,
    locked: AtomicU32,
    /// Not 0: nothing is placed here any more.
    given_up: AtomicU32,
    header: u64,
    /// First byte of the region's payload.
    base: u64,
    /// The arena's number in the process.
    id: u64,
    /// Where the next zone ends, and the plot.
    next: u64,
    end: u64,
    plot: u32,
    /// The newest living block.
    top: u32,
    newest: u32,
    oldest: u32,
    /// 1: blocks end at a guard page.
    guarded: u32,
    /// 1: the arena is destroyed.
    over: u32,
    /// This one's number.
    number: u32,
}

const _: () = assert!(size_of::<OfArena>() == 128);

/// Check mode of a process. One, never dropped.
pub struct Apart {
    ground: Ground,
    locked: AtomicBool,
    plots: UnsafeCell<Plots>,
    arenas: u64,
    arenas_used: AtomicU32,
    budget: u32,
    /// Arenas and blocks that are not checked.
    unchecked_arenas: AtomicU64,
    unchecked_blocks: AtomicU64,
}

// SAFETY: `plots` is reached through `OpenPlots` alone, which is made by whoever moved `locked` from false to true; arenas through
// `Held`, or by reading words that only grow.
unsafe impl Sync for Apart {}
// SAFETY: as above; nothing is tied to a thread.
unsafe impl Send for Apart {}

struct ApartPlace(MaybeUninit<Apart>);

// SAFETY: uninitialised memory may hold zeros.
unsafe impl Zeroed for ApartPlace {}

/// Bytes that [`Apart::begin`] takes from its reserve.
pub const APART_BYTES: usize = size_of::<Apart>() + 64;

/// The lock of the plots, held.
struct OpenPlots<'a>(&'a Apart);

impl core::ops::Deref for OpenPlots<'_> {
    type Target = Plots;

    fn deref(&self) -> &Plots {
        // SAFETY: `locked` is ours until this is dropped.
        unsafe { &*self.0.plots.get() }
    }
}

impl core::ops::DerefMut for OpenPlots<'_> {
    fn deref_mut(&mut self) -> &mut Plots {
        // SAFETY: as above.
        unsafe { &mut *self.0.plots.get() }
    }
}

impl Drop for OpenPlots<'_> {
    fn drop(&mut self) {
        // Release: pairs with the Acquire in `open`.
        self.0.locked.store(false, Release);
    }
}

/// An arena's lock, held: nobody else looks at its dead plots, or closes them.
struct Held {
    of: *mut OfArena,
}

impl Drop for Held {
    fn drop(&mut self) {
        // SAFETY: an arena of the table, which is never unmapped; an atomic word.
        let locked = unsafe { &(*self.of).locked };
        // Release: pairs with the Acquire in `hold`.
        locked.store(0, Release);
    }
}

/// Tries until it has been tried often: who holds a lock may be the code that a signal handler has interrupted.
fn persist(mut attempt: impl FnMut() -> bool) -> bool {
    for round in 0..SPINS.1 {
        for _ in 0..SPINS.0 {
            if attempt() {
                return true;
            }
            core::hint::spin_loop();
        }
        if quiet::is_on() {
            return false;
        }
        if round > 0 {
            rustix::thread::sched_yield();
        }
    }
    false
}

/// How many bytes lie behind a block of `size` bytes at least: more behind larger ones, in which a wrong index goes further.
const fn zone_behind(size: u64) -> u64 {
    match size {
        0..512 => 16,
        512..4096 => 64,
        _ => 256,
    }
}

fn up(value: u64, unit: u64) -> u64 {
    value.wrapping_add(unit.wrapping_sub(1)) & unit.wrapping_neg()
}

/// A row's number in the process, and back.
fn row_id(plot: u32, row: u32) -> u32 {
    (plot << 12) | (row & (ROWS - 1))
}

fn row_of(id: u32) -> (u32, u32) {
    (id >> 12, id & (ROWS - 1))
}

impl Apart {
    /// Begins checking, in memory of its own. `most_plots` of 64 KiB at most, [`Apart::MOST_PLOTS`] when nothing else is wanted;
    /// `dead_plots` of them keep dead blocks' bytes. `huge`: by huge pages. `None`: the system has no addresses.
    pub fn new(most_plots: u32, dead_plots: u32, huge: bool) -> Option<Apart> {
        let plots = Plots::new(most_plots, huge)?;
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        let bytes = ARENAS as usize * size_of::<OfArena>();
        // SAFETY: a fresh anonymous mapping at an address of the kernel's choice touches no existing memory.
        let arenas = unsafe { mmap_anonymous(core::ptr::null_mut(), bytes, ProtFlags::READ | ProtFlags::WRITE, flags) };
        Some(Apart {
            ground: plots.ground(),
            locked: AtomicBool::new(false),
            plots: UnsafeCell::new(plots),
            arenas: arenas.ok()? as u64,
            arenas_used: AtomicU32::new(0),
            budget: dead_plots,
            unchecked_arenas: AtomicU64::new(0),
            unchecked_blocks: AtomicU64::new(0),
        })
    }

    /// As [`Apart::new`], for the life of the process, in `reserve` (at least [`APART_BYTES`]).
    pub fn begin(reserve: &mut Reserve, huge: bool) -> Option<&'static Apart> {
        let place: &'static mut ApartPlace = reserve.take_one()?;
        Some(place.0.write(Apart::new(Apart::MOST_PLOTS, Apart::DEAD_PLOTS, huge)?))
    }

    /// As many plots as there can be: 64 GiB of addresses.
    pub const MOST_PLOTS: u32 = plots::PLOTS;
    /// As many as keep their bytes when nothing else is wanted.
    pub const DEAD_PLOTS: u32 = DEAD_PLOTS;

    /// What an arena is checked by.
    ///
    /// # Safety
    /// `of` comes from [`Apart::create`].
    pub unsafe fn of(of: *mut OfArena) -> &'static Apart {
        // SAFETY: the contract: written there from a reference that lives forever, and never changed.
        unsafe { &*(*of).apart }
    }

    /// True for an address where blocks lie.
    pub fn holds(&self, address: u64) -> bool {
        let (start, end) = self.ground.range();
        start <= address && address < end
    }

    /// True for an address in memory of ours, tables included.
    pub fn owns(&self, address: u64) -> bool {
        let arenas = self.arenas.wrapping_add(u64::from(ARENAS).wrapping_mul(size_of::<OfArena>() as u64));
        (self.arenas..arenas).contains(&address) || self.ground.owns(address)
    }

    /// Arenas and blocks that are not checked, so far.
    pub fn unchecked(&self) -> (u64, u64) {
        (self.unchecked_arenas.load(Relaxed), self.unchecked_blocks.load(Relaxed))
    }

    /// How what left the quarantine is closed.
    pub fn closing(&self) -> Option<Closing> {
        self.open().map(|plots| plots.closing)
    }

    fn open(&self) -> Option<OpenPlots<'_>> {
        let taken = || self.locked.compare_exchange_weak(false, true, Acquire, Relaxed).is_ok();
        persist(taken).then(|| OpenPlots(self))
    }

    /// # Safety
    /// `of` is null or an arena of this table.
    unsafe fn hold(&self, of: *mut OfArena) -> Option<Held> {
        // SAFETY: the contract; the words are atomic.
        let (locked, given_up) = unsafe { (&(*of).locked, &(*of).given_up) };
        if given_up.load(Relaxed) != 0 {
            return None;
        }
        if persist(|| locked.compare_exchange_weak(0, 1, Acquire, Relaxed).is_ok()) {
            return Some(Held { of });
        }
        given_up.store(1, Relaxed);
        None
    }

    /// As [`Apart::hold`], where not getting it harms nobody.
    ///
    /// # Safety
    /// As there.
    unsafe fn hold_gently(&self, of: *mut OfArena) -> Option<Held> {
        // SAFETY: the contract; an atomic word.
        let locked = unsafe { &(*of).locked };
        let taken = persist(|| locked.compare_exchange_weak(0, 1, Acquire, Relaxed).is_ok());
        taken.then(|| Held { of })
    }

    /// As [`Apart::hold`], if nobody else holds it now.
    ///
    /// # Safety
    /// As there.
    unsafe fn hold_now(&self, of: *mut OfArena) -> Option<Held> {
        // SAFETY: the contract; an atomic word.
        let taken = unsafe { (*of).locked.compare_exchange(0, 1, Acquire, Relaxed) };
        // Not `then_some`: a Held that is made unlocks when it is dropped.
        taken.is_ok().then(|| Held { of })
    }

    /// In a forked child: other threads of the parent may have held locks, and what they guard may be half done.
    pub fn only_this_thread(&self) {
        let broken = self.locked.swap(false, Relaxed);
        for number in 0..self.arenas_used.load(Relaxed).min(ARENAS) {
            // SAFETY: below `arenas_used`: in the table, zeroed or written; atomic words.
            unsafe {
                let of = self.arena(number);
                if broken || (*of).locked.swap(0, Relaxed) != 0 {
                    (*of).given_up.store(1, Relaxed);
                }
            }
        }
    }

    fn arena(&self, number: u32) -> *mut OfArena {
        (self.arenas as *mut OfArena).wrapping_add(number as usize)
    }

    /// An arena begins whose header lies at `header` and payload at `base`, with the number `id`. `check`: the function it shall call. `guarded`: its blocks end at guard
    /// pages. Null: it is not checked.
    pub fn create(&'static self, check: usize, [header, base, id]: [u64; 3], guarded: bool) -> *mut OfArena {
        let number = self.arenas_used.fetch_add(1, Relaxed);
        if number >= ARENAS {
            self.arenas_used.store(ARENAS, Relaxed);
            self.leave_arena();
            return core::ptr::null_mut();
        }
        let of = self.arena(number);
        // SAFETY: in the table, and `fetch_add` gave this row to us alone.
        unsafe {
            of.write(OfArena {
                check,
                apart: self,
                locked: AtomicU32::new(0),
                given_up: AtomicU32::new(0),
                header,
                base,
                id,
                next: 0,
                end: 0,
                plot: NONE,
                top: NONE,
                newest: NONE,
                oldest: NONE,
                guarded: u32::from(guarded),
                over: 0,
                number,
            });
        }
        of
    }

    /// An arena is left unchecked.
    pub fn leave_arena(&self) {
        self.unchecked_arenas.fetch_add(1, Relaxed);
    }

    fn leave_block(&self) -> u64 {
        self.unchecked_blocks.fetch_add(1, Relaxed);
        0
    }

    /// Where a block is to lie that would lie at `place`; 0: there. O(1) but for a new plot.
    ///
    /// # Safety
    /// `of` comes from [`Apart::create`], and its arena lives.
    pub unsafe fn alloc(&self, of: *mut OfArena, place: u64, size: u64, align: u64, sink: Sink<'_>) -> u64 {
        // SAFETY: the contract: the arena's thread, which alone changes what is used here; others read it, and look again where it differs.
        let of = unsafe { &mut *of };
        self.place_block(of, place, size, align, sink)
    }

    #[inline]
    fn place_block(&self, of: &mut OfArena, place: u64, size: u64, align: u64, sink: Sink<'_>) -> u64 {
        let start = up(of.next, align.max(UNIT));
        let data_end = start.wrapping_add(size);
        let end = up(data_end.wrapping_add(zone_behind(size)), UNIT);
        let entry = self.ground.entry(of.plot);
        // A size or an alignment that is too large for these sums is too large for the plot.
        if size >= PLOT_BYTES || align > PAGE || end > of.end || of.guarded != 0 {
            return self.place_elsewhere(of, place, size, align, sink);
        }
        // SAFETY: the arena's own plot, whose counts only its thread changes.
        let row = unsafe { (*entry).count };
        let far = in_units(of.base, place);
        if row >= ROWS || far >= u64::from(u32::MAX) {
            return self.place_elsewhere(of, place, size, align, sink);
        }
        // SAFETY: of.next..end lies in the arena's own plot behind its last zone: nobody's bytes.
        unsafe {
            if start > of.next {
                canary(of.next, start);
            }
            canary(data_end, end);
        }
        let first = self.ground.start(of.plot);
        let start_units = in_units(first, start) as u16;
        let new = Row {
            place: far as u32,
            size: size as u32,
            link: of.top,
            start: start_units,
            fate: Fate::Lives as u8,
            bits: 0,
        };
        self.enter_row(of, of.plot, row, in_units(first, end) as u32, new);
        of.next = end;
        start
    }

    #[inline]
    fn enter_row(&self, of: &mut OfArena, plot: u32, number: u32, end: u32, row: Row) {
        let entry = self.ground.entry(plot);
        // SAFETY: a plot of this arena; its table was opened with it. The row is whole before it counts, for those who look from outside.
        unsafe {
            self.ground.row(plot, number).write(row);
            (*entry).end = end;
            (*entry).living = (*entry).living.wrapping_add(1);
            compiler_fence(Release);
            (&raw mut (*entry).count).write_volatile(number.wrapping_add(1));
        }
        of.top = row_id(plot, number);
    }

    /// A new plot, a run of plots for a large block, or pages with a guard.
    #[cold]
    #[inline(never)]
    fn place_elsewhere(&self, of: &mut OfArena, place: u64, size: u64, align: u64, sink: Sink<'_>) -> u64 {
        if size > 1 << 36 || align > 1 << 30 || in_units(of.base, place) >= u64::from(u32::MAX) {
            return self.leave_block();
        }
        if of.guarded != 0 {
            let block = self.place_guarded(of, place, size, align, sink);
            if block != 0 {
                return block;
            }
        }
        let needed = up(align.wrapping_add(size).wrapping_add(zone_behind(size)).wrapping_add(64), 16);
        if needed > PLOT_BYTES / 2 || align > PAGE {
            return self.place_run(of, place, size, align, sink);
        }
        if !self.next_plot(of, sink) {
            return self.leave_block();
        }
        let guarded = core::mem::replace(&mut of.guarded, 0);
        let block = self.place_block(of, place, size, align, sink);
        of.guarded = guarded;
        block
    }

    /// Another plot for the arena's small blocks.
    fn next_plot(&self, of: &mut OfArena, sink: Sink<'_>) -> bool {
        self.make_room(of, sink);
        let Some(mut plots) = self.open() else { return false };
        let Some(plot) = plots.take(1, of.id, of.number) else { return false };
        let last = core::mem::replace(&mut of.plot, plot);
        if self.ground.plot(last).is_some_and(|last| last.living == 0) {
            plots.bury(last);
        }
        drop(plots);
        self.chain(of, plot);
        let start = self.ground.start(plot);
        sink(&Told::Plot(of.header, start, PLOT_BYTES));
        // SAFETY: the plot is the arena's own, and nothing lies in it yet.
        unsafe { canary(start, start.wrapping_add(16)) };
        of.next = start.wrapping_add(16);
        of.end = start.wrapping_add(PLOT_BYTES);
        true
    }

    fn place_run(&self, of: &mut OfArena, place: u64, size: u64, align: u64, sink: Sink<'_>) -> u64 {
        let zone = zone_behind(size);
        let bytes = 16u64.wrapping_add(align).wrapping_add(size).wrapping_add(zone).wrapping_add(16);
        let run = bytes.div_ceil(PLOT_BYTES);
        let taken = match self.open() {
            Some(mut plots) => u32::try_from(run).ok().and_then(|run| plots.take(run, of.id, of.number)),
            None => None,
        };
        let Some(plot) = taken else { return self.leave_block() };
        self.chain(of, plot);
        let first = self.ground.start(plot);
        sink(&Told::Plot(of.header, first, run * PLOT_BYTES));
        // The first block of a run begins at 512 KiB at most, for its row to hold that.
        let start = up(first.wrapping_add(16), align);
        let data_end = start.wrapping_add(size);
        let end = up(data_end.wrapping_add(zone), UNIT);
        // SAFETY: within the run, which is the arena's own; nothing lies in it yet.
        unsafe {
            canary(start.wrapping_sub(BEFORE).max(first), start);
            canary(data_end, end);
        }
        self.enter_large(of, plot, [start, end, size, place], 0)
    }

    fn enter_large(&self, of: &mut OfArena, plot: u32, span: [u64; 4], more: u8) -> u64 {
        let [start, end, size, place] = span;
        let first = self.ground.start(plot);
        let start_units = in_units(first, start);
        if start_units > u64::from(u16::MAX) {
            return self.leave_block();
        }
        // SAFETY: the arena's own plot.
        unsafe { (*self.ground.entry(plot)).size = size };
        let row = Row {
            place: in_units(of.base, place) as u32,
            size: size.min(u64::from(u32::MAX)) as u32,
            link: of.top,
            start: start_units as u16,
            fate: Fate::Lives as u8,
            bits: bits::LARGE | more,
        };
        self.enter_row(of, plot, 0, in_units(first, end) as u32, row);
        start
    }

    /// Pages of its own for a block, the last one guarded; 0: there is no guard to be had.
    fn place_guarded(&self, of: &mut OfArena, place: u64, size: u64, align: u64, sink: Sink<'_>) -> u64 {
        // The end is where it is asked for: only then is the first byte past it on the guard, so no alignment beyond the library's own.
        let align = align.max(UNIT);
        let pages = up(size.max(1), PAGE).wrapping_add(if align > PAGE { align } else { 0 }).wrapping_add(2 * PAGE);
        if align > PAGE || size == 0 {
            return 0;
        }
        if pages > PLOT_BYTES {
            let run = pages.div_ceil(PLOT_BYTES) as u32;
            let taken = self.open().and_then(|mut plots| plots.take(run, of.id, of.number));
            let Some(plot) = taken else { return 0 };
            self.chain(of, plot);
            let first = self.ground.start(plot);
            sink(&Told::Plot(of.header, first, u64::from(run) * PLOT_BYTES));
            let guard = first.wrapping_add(u64::from(run) * PLOT_BYTES).wrapping_sub(PAGE);
            let start = guard.wrapping_sub(size) & align.wrapping_neg();
            if !self.guard(guard, [start.wrapping_sub(BEFORE).max(first), start, size]) {
                return 0;
            }
            return self.enter_large(of, plot, [start, guard.wrapping_add(PAGE), size, place], bits::GUARDED);
        }
        let mut from = up(of.next, PAGE);
        let full = |of: &OfArena| self.ground.plot(of.plot).is_none_or(|plot| plot.count >= ROWS);
        if of.plot == NONE || from.wrapping_add(pages) > of.end || full(of) {
            if !self.next_plot(of, sink) {
                return 0;
            }
            from = up(of.next, PAGE);
        }
        let guard = from.wrapping_add(up(size, PAGE));
        let start = guard.wrapping_sub(size) & align.wrapping_neg();
        let number = self.ground.plot(of.plot).map_or(ROWS, |plot| plot.count);
        let end = guard.wrapping_add(PAGE);
        if number >= ROWS || end > of.end || !self.guard(guard, [of.next, start, size]) {
            return 0;
        }
        let first = self.ground.start(of.plot);
        let row = Row {
            place: in_units(of.base, place) as u32,
            size: size as u32,
            link: of.top,
            start: in_units(first, start) as u16,
            fate: Fate::Lives as u8,
            bits: bits::GUARDED,
        };
        self.enter_row(of, of.plot, number, in_units(first, end) as u32, row);
        of.next = end;
        start
    }

    /// Guards a page behind a block, and fills the bytes between; `from` is where the zone before it begins.
    fn guard(&self, page: u64, [from, start, size]: [u64; 3]) -> bool {
        let Some(plots) = self.open() else { return false };
        if !plots.guard_page(page, PAGE) {
            return false;
        }
        // SAFETY: from..page are bytes of the arena's own plot in which nothing lies yet.
        unsafe {
            canary(from, start);
            canary(start.wrapping_add(size), page);
        }
        true
    }

    fn chain(&self, of: &mut OfArena, plot: u32) {
        let older = core::mem::replace(&mut of.newest, plot);
        // SAFETY: plots of this arena: whose chain is theirs alone to whoever holds the arena's lock.
        unsafe {
            if let Some(entry) = self.ground.entry(plot).as_mut() {
                entry.older = older;
            }
            match self.ground.entry(older).as_mut() {
                Some(entry) => entry.newer = plot,
                None => of.oldest = plot,
            }
        }
    }

    /// Has the oldest dead plots closed beyond the budget, and forgets some of the arena's own that are.
    fn make_room(&self, of: &mut OfArena, sink: Sink<'_>) {
        for _ in 0..2 {
            let oldest = match self.open() {
                Some(plots) if plots.dead_plots > self.budget => plots.oldest_dead(),
                _ => None,
            };
            let Some(plot) = oldest else { break };
            // Its arena, or another thread, may be looking at it now, or have closed it.
            let Some(owner) = self.ground.plot(plot).map(|found| found.of) else { break };
            // SAFETY: a plot's arena is a row of the table.
            let Some(_held) = (unsafe { self.hold_now(self.arena(owner)) }) else { break };
            if self.ground.plot(plot).is_none_or(|found| found.stage != Stage::Dead || found.of != owner) {
                continue;
            }
            self.look_at_plot(plot, sink);
            if let Some(mut plots) = self.open()
                && let Some(found) = self.ground.plot(plot).filter(|found| found.stage == Stage::Dead)
            {
                plots.close(plot, found.run);
            }
        }
        // From the oldest on, so that each is passed about once.
        let mut plot = of.oldest;
        for _ in 0..4 {
            let Some(found) = self.ground.plot(plot) else { break };
            if found.stage == Stage::Closed {
                self.unchain(of, plot, &found);
                if let Some(mut plots) = self.open() {
                    plots.give_up(plot);
                }
            }
            plot = found.newer;
        }
    }

    fn unchain(&self, of: &mut OfArena, plot: u32, found: &Plot) {
        // SAFETY: as in `chain`.
        unsafe {
            match self.ground.entry(found.older).as_mut() {
                Some(older) => older.newer = found.newer,
                None => of.oldest = found.newer,
            }
            match self.ground.entry(found.newer).as_mut() {
                Some(newer) => newer.older = found.older,
                None => of.newest = found.older,
            }
        }
        debug_assert!(plot != of.plot);
    }

    /// The row of the block that begins at `block`, and its number.
    fn find(&self, block: u64) -> Option<(u32, Row)> {
        let (id, row) = self.row_near(block)?;
        let (plot, _) = row_of(id);
        (self.start_of(plot, &row) == block).then_some((id, row))
    }

    /// The last row of a plot that does not begin behind the address. O(log blocks of the plot).
    fn row_near(&self, address: u64) -> Option<(u32, Row)> {
        let mut plot = self.ground.at(address)?;
        let mut found = self.ground.plot(plot).filter(|found| found.stage != Stage::Fresh)?;
        if found.run == 0 {
            plot = plot.checked_sub(found.back)?;
            found = self.ground.plot(plot)?;
        }
        let at = in_units(self.ground.start(plot), address);
        let (mut low, mut high) = (0, found.count.min(ROWS));
        while low < high {
            let middle = low.wrapping_add(high) / 2;
            // SAFETY: below the plot's count: a row that was written.
            let start = unsafe { (*self.ground.row(plot, middle)).start };
            if u64::from(start) <= at { low = middle.wrapping_add(1) } else { high = middle }
        }
        let row = low.checked_sub(1)?;
        // SAFETY: as above.
        Some((row_id(plot, row), unsafe { self.ground.row(plot, row).read() }))
    }

    fn start_of(&self, plot: u32, row: &Row) -> u64 {
        self.ground.start(plot).wrapping_add(u64::from(row.start).wrapping_mul(UNIT))
    }

    /// Where a block would lie, a dead one too; `block` itself when it is none of ours. O(log blocks of a plot).
    pub fn place_of(&self, block: u64) -> u64 {
        self.find(block).map_or(block, |(id, row)| self.place_in(row_of(id).0, &row).unwrap_or(block))
    }

    /// Where a row's block would lie; `None`: it died below others.
    fn place_in(&self, plot: u32, row: &Row) -> Option<u64> {
        let of = self.arena(self.ground.plot(plot)?.of);
        // SAFETY: a plot's arena is a row of the table; a word that is written once.
        let base = unsafe { (*of).base };
        (row.bits & bits::BELOW == 0).then_some(base.wrapping_add(u64::from(row.place).wrapping_mul(UNIT)))
    }

    /// Bytes of a row's block.
    fn size_in(&self, plot: u32, row: &Row) -> u64 {
        match row.bits & bits::LARGE {
            0 => u64::from(row.size),
            _ => self.ground.plot(plot).map_or(0, |plot| plot.size),
        }
    }

    /// Where the address would lie, if it lies in a living block of this arena; 0: in none.
    ///
    /// # Safety
    /// As [`Apart::alloc`].
    pub unsafe fn inside(&self, of: *mut OfArena, address: u64) -> u64 {
        let Some((id, row)) = self.row_near(address) else { return 0 };
        let (plot, _) = row_of(id);
        let into = address.wrapping_sub(self.start_of(plot, &row));
        // SAFETY: the contract: a word that never changes.
        let arena = unsafe { (*of).id };
        let ours = self.ground.plot(plot).is_some_and(|plot| plot.arena == arena);
        if !ours || !row.lives() || into >= self.size_in(plot, &row) {
            return 0;
        }
        self.place_in(plot, &row).map_or(0, |place| place.wrapping_add(into))
    }

    /// A block is given back, by the arena's event of this order. Where it would lie; 0: it is dead already; itself: it is none of ours.
    ///
    /// # Safety
    /// As [`Apart::alloc`].
    pub unsafe fn free(&self, of: *mut OfArena, block: u64, order: u64, sink: Sink<'_>) -> u64 {
        // SAFETY: as in `alloc`.
        let of = unsafe { &mut *of };
        let Some((id, row)) = self.find(block) else { return block };
        let (plot, _) = row_of(id);
        if !row.lives() || self.ground.plot(plot).is_none_or(|plot| plot.arena != of.id) {
            return 0;
        }
        self.look_around(id, true, sink);
        let place = self.place_in(plot, &row).unwrap_or(block);
        self.kill(of, id, Fate::Freed, order);
        place
    }

    /// The block `old` of `old_size` bytes shall have `size` bytes, and would lie at `place`. Where it lies, with its contents; 0: it is none of
    /// ours.
    ///
    /// # Safety
    /// As [`Apart::alloc`]; `old` is a living block.
    #[allow(clippy::too_many_arguments, reason = "the facts of one request")]
    pub unsafe fn resize(
        &self,
        of: *mut OfArena,
        old: u64,
        place: u64,
        size: u64,
        align: u64,
        order: u64,
        sink: Sink<'_>,
    ) -> u64 {
        // SAFETY: as in `alloc`.
        let of = unsafe { &mut *of };
        let Some((id, row)) = self.find(old) else { return 0 };
        if !row.lives() {
            return 0;
        }
        self.look_around(id, true, sink);
        let (plot, number) = row_of(id);
        let (had, was) = (self.size_in(plot, &row), self.place_in(plot, &row));
        let fits = old & align.wrapping_sub(1) == 0 && was == Some(place);
        let entry = self.ground.entry(plot);
        let first = self.ground.start(plot);
        // The guard is where the block's last page ends.
        let same_guard =
            row.bits & bits::GUARDED == 0 || up(old.wrapping_add(size), PAGE) == up(old.wrapping_add(had), PAGE);
        if fits && size <= had && same_guard {
            // Smaller: the zone begins earlier.
            // SAFETY: the end of the block that its owner has given up, and its row.
            unsafe {
                canary(old.wrapping_add(size), old.wrapping_add(had));
                if row.bits & bits::LARGE != 0 {
                    (*entry).size = size;
                }
                (*self.ground.row(plot, number)).size = size.min(u64::from(u32::MAX)) as u32;
            }
            return old;
        }
        let end = up(old.wrapping_add(size).wrapping_add(zone_behind(size)), UNIT);
        let last = self.ground.plot(plot).is_some_and(|plot| plot.count == number.wrapping_add(1));
        if fits && row.bits == 0 && plot == of.plot && last && size < PLOT_BYTES && end <= of.end {
            // The last block of the plot grows in place.
            // SAFETY: old + had..end lies behind the plot's last block: nobody's bytes; its row.
            unsafe {
                canary(old.wrapping_add(size), end);
                (*entry).end = in_units(first, end) as u32;
                compiler_fence(Release);
                (&raw mut (*self.ground.row(plot, number)).size).write_volatile(size as u32);
            }
            of.next = end;
            return old;
        }
        let block = self.place_block(of, place, size, align, sink);
        let to = if block == 0 { place } else { block };
        // SAFETY: the old block has `had` bytes; the new one `size`, at its place of our own or in the region, where it would lie unchecked.
        unsafe { core::ptr::copy_nonoverlapping(old as *const u8, to as *mut u8, had.min(size) as usize) };
        if block != 0 && was == Some(place) {
            self.succeed(of, id);
        }
        self.kill(of, id, Fate::Moved, order);
        to
    }

    /// All is about to die: looks at the zones of living blocks. `over`: the arena ends, and nobody will look again: at its dead blocks, too.
    /// O(living blocks; with `over` the bytes of its plots).
    ///
    /// # Safety
    /// As [`Apart::alloc`].
    pub unsafe fn look(&self, of: *mut OfArena, over: bool, sink: Sink<'_>) {
        // SAFETY: the contract.
        if !over {
            // SAFETY: as in `alloc`.
            let of = unsafe { &mut *of };
            self.look_at_last_dead(of, sink);
            let mut id = of.top;
            while id != NONE {
                let row = self.row(id);
                if row.lives() {
                    self.look_around(id, !self.has_living_neighbour(id, &row), sink);
                }
                id = row.below();
            }
            return;
        }
        // SAFETY: the contract. Others may be looking at its dead plots, and closing them.
        let Some(_held) = (unsafe { self.hold(of) }) else { return };
        // SAFETY: as in `alloc`.
        let mut plot = unsafe { (*of).newest };
        while let Some(found) = self.ground.plot(plot) {
            if found.stage != Stage::Closed {
                self.look_at_plot(plot, sink);
            }
            plot = found.older;
        }
    }

    /// The arena was reset by the event of this order, after [`Apart::look`]. O(its living blocks).
    ///
    /// # Safety
    /// As [`Apart::alloc`].
    pub unsafe fn reset(&self, of: *mut OfArena, order: u64) {
        // SAFETY: as in `alloc`.
        let of = unsafe { &mut *of };
        while of.top != NONE {
            let id = of.top;
            let row = self.row(id);
            if row.lives() {
                self.kill(of, id, Fate::Reset, order);
            } else {
                of.top = row.below();
            }
        }
    }

    /// All blocks at or above `place` die by the arena's event of this order. O(blocks that die).
    ///
    /// # Safety
    /// As [`Apart::alloc`].
    pub unsafe fn back(&self, of: *mut OfArena, place: u64, order: u64, sink: Sink<'_>) {
        // SAFETY: as in `alloc`.
        let of = unsafe { &mut *of };
        self.look_at_last_dead(of, sink);
        while of.top != NONE {
            let id = of.top;
            let row = self.row(id);
            if !row.lives() {
                // Freed or moved before.
                of.top = row.below();
                continue;
            }
            if !self.reaches(id, &row, place) {
                break;
            }
            let passed = self.has_living_neighbour(id, &row) && self.reaches(row.link, &self.row(row.link), place);
            self.look_around(id, !passed, sink);
            self.kill(of, id, Fate::Rewound, order);
        }
    }

    /// The arena has ended, by the event of this order, after [`Apart::look`]: makes all that it has untouchable. O(its blocks).
    ///
    /// # Safety
    /// As [`Apart::alloc`]; the arena asks nothing any more.
    pub unsafe fn destroy(&self, of: *mut OfArena, order: u64) {
        // SAFETY: the contract.
        let Some(_held) = (unsafe { self.hold(of) }) else { return };
        // SAFETY: as in `alloc`.
        let of = unsafe { &mut *of };
        let mut plot = of.newest;
        // Neighbours are closed together.
        let (mut from, mut to) = (0, 0);
        while let Some(found) = self.ground.plot(plot) {
            if found.stage != Stage::Closed {
                self.end_rows(plot, order);
                let end = plot.wrapping_add(found.run);
                if end == from {
                    from = plot;
                } else {
                    self.close_all(from, to);
                    (from, to) = (plot, end);
                }
            } else {
                self.close_all(from, to);
                (from, to) = (0, 0);
                if let Some(mut plots) = self.open() {
                    plots.give_up(plot);
                }
            }
            plot = found.older;
        }
        self.close_all(from, to);
        (of.newest, of.oldest, of.plot, of.top, of.over) = (NONE, NONE, NONE, NONE, 1);
        (of.next, of.end) = (0, 0);
    }

    fn close_all(&self, from: u32, to: u32) {
        if from == to {
            return;
        }
        if let Some(mut plots) = self.open() {
            plots.close(from, to.wrapping_sub(from));
            let mut plot = from;
            while plot < to {
                let run = self.ground.plot(plot).map_or(1, |found| found.run.max(1));
                plots.give_up(plot);
                plot = plot.wrapping_add(run);
            }
        }
    }

    /// The living blocks of a plot end with their arena.
    fn end_rows(&self, plot: u32, order: u64) {
        let Some(found) = self.ground.plot(plot) else { return };
        for number in 0..found.count.min(ROWS) {
            // SAFETY: a row of a plot whose arena's lock is held.
            let row = unsafe { &mut *self.ground.row(plot, number) };
            if row.lives() {
                row.fate = Fate::Destroyed as u8;
                row.link = order as u32;
            }
        }
    }

    /// A block dies: its bytes are poisoned.
    fn kill(&self, of: &mut OfArena, id: u32, fate: Fate, order: u64) {
        let (plot, number) = row_of(id);
        // SAFETY: a living row of the arena, whose thread this is.
        let row = unsafe { &mut *self.ground.row(plot, number) };
        // SAFETY: the bytes of a block that its owner has given back.
        unsafe { poison(self.start_of(plot, row), self.size_in(plot, row).min(POISONED)) };
        if of.top == id {
            of.top = row.link;
            row.link = order as u32;
        } else {
            row.place = order as u32;
            row.bits |= bits::BELOW;
        }
        compiler_fence(Release);
        row.fate = fate as u8;
        let entry = self.ground.entry(plot);
        // SAFETY: the arena's own plot.
        let living = unsafe {
            (*entry).living = (*entry).living.saturating_sub(1);
            (*entry).living
        };
        if living == 0
            && plot != of.plot
            && let Some(mut plots) = self.open()
        {
            plots.bury(plot);
            drop(plots);
            let run = self.ground.plot(plot).map_or(0, |found| found.run);
            if u64::from(run) * PLOT_BYTES > POISONED {
                self.close_large(of, plot, run);
            }
        }
    }

    /// A large dead block gives its memory back at once, unless somebody is looking at it.
    #[cold]
    fn close_large(&self, of: &OfArena, plot: u32, run: u32) {
        // SAFETY: an arena of the table.
        let held = unsafe { self.hold_now(self.arena(of.number)) };
        if let (Some(_held), Some(mut plots)) = (held, self.open())
            && self.ground.plot(plot).is_some_and(|found| found.stage == Stage::Dead)
        {
            plots.close(plot, run);
        }
    }

    /// The arena's newest block takes the place of an older one in the order of places: what it would do if it had been resized in place.
    fn succeed(&self, of: &mut OfArena, old: u32) {
        let new = of.top;
        let (above, below) = (self.row(new).link, self.row(old).below());
        let set = |id: u32, link: u32| {
            let (plot, number) = row_of(id);
            // SAFETY: a row of the arena whose lock is held.
            unsafe { (*self.ground.row(plot, number)).link = link };
        };
        let mut at = above;
        if above != old {
            // Rare: a block that is not the last, and lies where its new alignment is not met.
            while at != NONE && self.row(at).below() != old {
                at = self.row(at).below();
            }
            if at == NONE {
                return;
            }
            set(at, new);
            of.top = above;
        }
        set(new, below);
    }

    /// Whether a living block has to end when its arena goes back to `place`. One that began below it does if it is newer: where a block was freed,
    /// the cursor stood lower for a while. A block of no bytes at the very place may be older, and stays.
    fn reaches(&self, id: u32, row: &Row, place: u64) -> bool {
        let (plot, _) = row_of(id);
        self.place_in(plot, row).is_some_and(|begin| begin.wrapping_add(self.size_in(plot, row)) > place)
    }

    /// True when the block's neighbour in the plot is the next below it in the arena: the zone between is looked at with that one.
    fn has_living_neighbour(&self, id: u32, row: &Row) -> bool {
        row_of(id).1 > 0 && row.link.wrapping_add(1) == id && self.row(row.link).lives()
    }

    /// A row that was written.
    fn row(&self, id: u32) -> Row {
        let (plot, number) = row_of(id);
        // SAFETY: a row's number is made where the row is written.
        unsafe { self.ground.row(plot, number).read() }
    }

    /// Copies the contents of all living blocks to where they would lie.
    ///
    /// # Safety
    /// As [`Apart::alloc`]; the region is there, and nobody uses it.
    pub unsafe fn show(&self, of: *mut OfArena) {
        // SAFETY: the contract.
        let Some(_held) = (unsafe { self.hold(of) }) else { return };
        // SAFETY: as in `alloc`.
        let mut plot = unsafe { (*of).newest };
        while let Some(found) = self.ground.plot(plot) {
            for number in 0..found.count.min(ROWS) {
                // SAFETY: a row of a plot of the arena whose lock is held.
                let row = unsafe { self.ground.row(plot, number).read() };
                if let (true, Some(place)) = (row.lives(), self.place_in(plot, &row)) {
                    let (start, bytes) = (self.start_of(plot, &row), self.size_in(plot, &row));
                    // SAFETY: a living block, and the place in the region that is its own (contract).
                    unsafe { core::ptr::copy_nonoverlapping(start as *const u8, place as *mut u8, bytes as usize) };
                }
            }
            plot = found.older;
        }
    }
}

fn in_units(from: u64, address: u64) -> u64 {
    address.wrapping_sub(from) / UNIT
}

/// Fills a zone.
///
/// # Safety
/// The bytes are ours.
#[inline]
unsafe fn canary(start: u64, end: u64) {
    const CANARIES: [u8; 16] = [CANARY; 16];
    let bytes = end.wrapping_sub(start);
    // SAFETY: the contract. Two stores that overlap fill 16 to 32 bytes.
    unsafe {
        match bytes {
            16..=32 => {
                (start as *mut [u8; 16]).write_unaligned(CANARIES);
                (end.wrapping_sub(16) as *mut [u8; 16]).write_unaligned(CANARIES);
            }
            _ => core::ptr::write_bytes(start as *mut u8, CANARY, bytes as usize),
        }
    }
}

/// Fills a dead block.
///
/// # Safety
/// The bytes are ours.
unsafe fn poison(start: u64, bytes: u64) {
    // SAFETY: the contract.
    unsafe { core::ptr::write_bytes(start as *mut u8, POISON, bytes as usize) };
}

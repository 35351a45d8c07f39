//! Check mode of our own arenas: the memory apart in which their blocks lie, with zones around each, dead ones kept.
//!
//! ```text
//!   a plot:  │zone│ block 1 │ zone │ block 2 │ zone │ block 3 │ zone │ …        zones hold CANARY, dead blocks POISON
//! ```
//! An arena of the library asks its checker where each block is to lie (`arenascope::CheckRequest`), and goes on as if nobody checked. So addresses
//! need not be given again: dead blocks keep theirs, first with their bytes poisoned, beyond a budget untouchable, and only
//! when the field is used up (64 GiB, or as much as the system has addresses for) the oldest of them come back.
//!
//! Relied on: all memory that is read or written here is the recorder's own and mapped, so that no event costs a system call; a block that has no
//! room, or whose arena's lock cannot be had, is told to lie where it would lie unchecked, and counted; nothing that is forgotten here
//! makes bytes somebody else's, so that what is found is true. Deliberately absent: the trace (what is found goes to a [`Sink`]), and the
//! library's types (the agent hands numbers on).
#![allow(unsafe_code, reason = "blocks, zones and tables in memory of our own, by address")]

mod ends;
mod look;
mod places;
mod plots;
mod touched;

use crate::check::{CANARY, POISON};
use crate::quiet;
use crate::reserve::{Reserve, Zeroed};
use arenascope_event::Zone;
use core::cell::{Cell, UnsafeCell};
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};
use plots::{Ground, NONE, Plots, ROWS, Row, Stage, UNIT, bits};
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
    /// From here on blocks of an arena may lie in memory of ours.
    Plot {
        /// Address of the arena's header.
        header: u64,
        /// First byte of that memory.
        start: u64,
        /// How many.
        bytes: u64,
        /// Dead blocks lay there before, which are forgotten: there were no other addresses.
        again: bool,
    },
    /// From here on blocks of the arena at this header end at guard pages no longer: the kernel refused one, or with `quiet` may not be asked.
    NoGuard {
        /// Address of the arena's header.
        header: u64,
        /// See above.
        quiet: bool,
    },
}

/// Takes what is told.
pub type Sink<'a> = &'a mut dyn FnMut(&Told);

/// One checked arena. Its address is what the arena knows its checker by. Cells are its thread's, and of nobody else but who ends it or holds its lock;
/// atomic words and what never changes are everybody's.
#[repr(C, align(128))]
pub struct OfArena {
    /// The function that the arena calls: `arenascope::Checker`.
    check: usize,
    /// What it is checked by.
    apart: *const Apart,
    /// The thread that holds it; 0: none.
    locked: AtomicU64,
    /// Not 0: nothing is placed here any more.
    given_up: AtomicU32,
    header: u64,
    /// First byte of the region's payload.
    base: u64,
    /// The arena's number in the process.
    id: u64,
    /// Where the next zone ends, and the plot.
    next: Cell<u64>,
    end: Cell<u64>,
    plot: Cell<u32>,
    /// The newest living block.
    top: Cell<u32>,
    newest: Cell<u32>,
    oldest: Cell<u32>,
    /// 1: blocks end at a guard page.
    guarded: Cell<u32>,
    /// 1: the arena is destroyed. Blocks that lived then ended with it.
    over: AtomicU32,
    /// The order of the event that did it.
    ended: AtomicU32,
    /// This one's number.
    number: u32,
}

const _: () = assert!(size_of::<OfArena>() == 128);

/// Check mode of a process. One, never dropped.
pub struct Apart {
    ground: Ground,
    /// The thread that holds the plots; 0: none.
    locked: AtomicU64,
    plots: UnsafeCell<Plots>,
    arenas: u64,
    arenas_used: AtomicU32,
    budget: u32,
    /// Arenas and blocks that are not checked, or not by the guard page that was wanted.
    unchecked_blocks: AtomicU64,
}

// SAFETY: `plots` is reached through `OpenPlots` alone, which is made by whoever moved `locked` from 0 to its own number; arenas through
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
        self.0.locked.store(0, Release);
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

/// This thread's number: where its control block lies, which is never 0, and no two threads' of a process.
#[inline]
fn me() -> u64 {
    let block: u64;
    // SAFETY: a load: the control block begins with its own address (psABI for x86-64, thread-local storage; both C libraries keep to it).
    unsafe {
        core::arch::asm!("mov {}, fs:0", out(reg) block, options(nostack, preserves_flags, readonly, pure));
    }
    block | 1
}

/// Takes a lock: tries often, but not where this very thread holds it. Then that is code that a signal handler has interrupted, which would
/// wait for itself; and a timer's handler that waits long enough is followed by the next one, for ever.
#[inline]
fn persist(lock: &AtomicU64) -> bool {
    let me = me();
    match lock.compare_exchange(0, me, Acquire, Relaxed) {
        Ok(_) => true,
        Err(holder) => holder != me && persist_slowly(lock, me),
    }
}

#[cold]
fn persist_slowly(lock: &AtomicU64, me: u64) -> bool {
    for round in 0..SPINS.1 {
        for _ in 0..SPINS.0 {
            if lock.load(Relaxed) == 0 && lock.compare_exchange_weak(0, me, Acquire, Relaxed).is_ok() {
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
            locked: AtomicU64::new(0),
            plots: UnsafeCell::new(plots),
            arenas: arenas.ok()? as u64,
            arenas_used: AtomicU32::new(0),
            budget: dead_plots,
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

    /// Blocks that are not checked, so far.
    pub fn unchecked(&self) -> u64 {
        self.unchecked_blocks.load(Relaxed)
    }

    /// How what left the quarantine is closed.
    pub fn closing(&self) -> Option<Closing> {
        self.open().map(|plots| plots.closing)
    }

    fn open(&self) -> Option<OpenPlots<'_>> {
        persist(&self.locked).then(|| OpenPlots(self))
    }

    /// # Safety
    /// `of` is null or an arena of this table.
    unsafe fn hold(&self, of: *mut OfArena) -> Option<Held> {
        // SAFETY: the contract; the words are atomic.
        let (locked, given_up) = unsafe { (&(*of).locked, &(*of).given_up) };
        if given_up.load(Relaxed) != 0 {
            return None;
        }
        if persist(locked) {
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
        persist(locked).then(|| Held { of })
    }

    /// As [`Apart::hold`], if nobody else holds it now.
    ///
    /// # Safety
    /// As there.
    unsafe fn hold_now(&self, of: *mut OfArena) -> Option<Held> {
        // SAFETY: the contract; an atomic word.
        let taken = unsafe { (*of).locked.compare_exchange(0, me(), Acquire, Relaxed) };
        // Not `then_some`: a Held that is made unlocks when it is dropped.
        taken.is_ok().then(|| Held { of })
    }

    /// In a forked child: other threads of the parent may have held locks, and what they guard may be half done.
    pub fn only_this_thread(&self) {
        let broken = self.locked.swap(0, Relaxed) != 0;
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

    /// An arena begins whose header lies at `header` and payload at `base`, with the number `id`. `check`: the function it shall call.
    /// `guarded`: its blocks end at guard pages. Null: it is not checked.
    pub fn create(&'static self, check: usize, [header, base, id]: [u64; 3], guarded: bool) -> *mut OfArena {
        let number = self.arenas_used.fetch_add(1, Relaxed);
        if number >= ARENAS {
            self.arenas_used.store(ARENAS, Relaxed);
            return core::ptr::null_mut();
        }
        let of = self.arena(number);
        // SAFETY: in the table, and `fetch_add` gave this row to us alone.
        unsafe {
            of.write(OfArena {
                check,
                apart: self,
                locked: AtomicU64::new(0),
                given_up: AtomicU32::new(0),
                header,
                base,
                id,
                next: Cell::new(0),
                end: Cell::new(0),
                plot: Cell::new(NONE),
                top: Cell::new(NONE),
                newest: Cell::new(NONE),
                oldest: Cell::new(NONE),
                guarded: Cell::new(u32::from(guarded)),
                over: AtomicU32::new(0),
                ended: AtomicU32::new(0),
                number,
            });
        }
        of
    }

    fn leave_block(&self) -> u64 {
        self.unchecked_blocks.fetch_add(1, Relaxed);
        0
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
        let found = self.ground.words(plot).filter(|found| found.stage() != Stage::Fresh)?;
        if found.run.load(Relaxed) == 0 {
            plot = plot.checked_sub(found.read().back)?;
        }
        let at = in_units(self.ground.start(plot), address);
        let (mut low, mut high) = (0, self.ground.words(plot)?.count().min(ROWS));
        while low < high {
            let middle = low.wrapping_add(high) / 2;
            // SAFETY: below the plot's count: a row that was written.
            let start = unsafe { self.ground.row(plot, middle) }.start();
            if u64::from(start) <= at { low = middle.wrapping_add(1) } else { high = middle }
        }
        let row = low.checked_sub(1)?;
        // SAFETY: as above.
        Some((row_id(plot, row), unsafe { self.ground.row(plot, row) }.read()))
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
        let of = self.arena(self.ground.words(plot)?.of.load(Relaxed));
        // SAFETY: a plot's arena is a row of the table; a word that is written once.
        let base = unsafe { (*of).base };
        (row.bits & bits::BELOW == 0).then_some(base.wrapping_add(u64::from(row.place).wrapping_mul(UNIT)))
    }

    /// Bytes of a row's block.
    fn size_in(&self, plot: u32, row: &Row) -> u64 {
        match row.bits & bits::LARGE {
            0 => u64::from(row.size),
            _ => self.ground.words(plot).map_or(0, |plot| plot.size.load(Relaxed)),
        }
    }

    /// True for an address in memory that this arena has for its blocks, and nobody had before, where none of them ever began.
    ///
    /// # Safety
    /// As [`Apart::alloc`].
    pub unsafe fn had_none(&self, of: *mut OfArena, address: u64) -> bool {
        // SAFETY: the contract: a word that never changes.
        let arena = unsafe { (*of).id };
        let plot = self.ground.at(address).and_then(|plot| self.ground.plot(plot));
        let ours = plot.is_some_and(|plot| plot.stage != Stage::Fresh && plot.arena == arena && plot.again == 0);
        ours && self.find(address).is_none()
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
        let ours = self.ground.words(plot).is_some_and(|plot| plot.is_of(arena));
        if !ours || !row.lives() || into >= self.size_in(plot, &row) {
            return 0;
        }
        self.place_in(plot, &row).map_or(0, |place| place.wrapping_add(into))
    }

    /// Copies the contents of all living blocks to where they would lie.
    ///
    /// # Safety
    /// As [`Apart::alloc`]; the region is there, and nobody uses it.
    pub unsafe fn show(&self, of: *mut OfArena) {
        // SAFETY: the contract.
        let Some(_held) = (unsafe { self.hold(of) }) else { return };
        // SAFETY: as in `alloc`.
        let mut plot = unsafe { (*of).newest.get() };
        while let Some(found) = self.ground.plot(plot) {
            for number in 0..found.count.min(ROWS) {
                // SAFETY: a row of a plot of the arena whose lock is held.
                let row = unsafe { self.ground.row(plot, number) }.read();
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

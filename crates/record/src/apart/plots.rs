//! The memory in which blocks of checked arenas lie: plots of 64 KiB, each of one arena, with a table of their blocks beside them.
//!
//! ```text
//!   field  │ plot 0 │ plot 1 │ plot 2 …          one reservation, opened from its beginning as it is needed
//!   rows   │ of 0   │ of 1   │ of 2 …            the same size: 4,096 rows of 16 bytes for a plot
//!   plots  │ 0 │ 1 │ 2 …                         whose it is, how many blocks live, which list it is in
//! ```
//! Relied on: addresses are handed out from the beginning, and again only when there are no others; then the plots that were
//! closed first. A block larger than a plot has a run of them, and the first one's table. Deliberately absent: arenas and what is written
//! into plots (`apart`), locks (the owner has one).
#![allow(unsafe_code, reason = "maps the field; rows and plots by index")]

use crate::quiet;
use core::sync::atomic::{
    AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release, fence,
};
use rustix::mm::{Advice, MapFlags, MprotectFlags, ProtFlags, madvise, mmap_anonymous, mprotect, munmap};

/// Bytes of a plot.
pub(crate) const PLOT_BYTES: u64 = 64 << 10;
/// Blocks in a plot at most: the smallest takes 16 bytes.
pub(crate) const ROWS: u32 = 4096;
/// Starts and ends of blocks are multiples of this, bytes.
pub(crate) const UNIT: u64 = 8;
/// Huge pages begin at multiples of this, bytes.
const HUGE: u64 = 2 << 20;
/// Plots of the largest field: 64 GiB.
pub(crate) const PLOTS: u32 = 1 << 20;
/// Plots of the smallest field that is worth having: 64 MiB.
const LEAST: u32 = 1 << 10;
/// Plots opened at once, first and at most.
const OPENED: (u32, u32) = (32, 1024);
/// MADV_GUARD_INSTALL and MADV_GUARD_REMOVE (include/uapi/asm-generic/mman-common.h, Linux 6.13).
const GUARD_INSTALL: i64 = 102;
const GUARD_REMOVE: i64 = 103;
/// Closed plots that are protected one by one where the kernel has no guards: each may cost a mapping, of which a process has 65,530.
const PROTECTED: u32 = 4096;
/// No plot.
pub(crate) const NONE: u32 = u32::MAX;

/// What became of a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Fate {
    /// It lives.
    Lives = 1,
    /// It was freed.
    Freed = 2,
    /// A scope around it ended, or the arena was rewound to before it.
    Rewound = 3,
    /// The arena was reset.
    Reset = 4,
    /// It was resized, and moved.
    Moved = 5,
    /// The arena was destroyed.
    Destroyed = 6,
    /// It was resized and moved, where it would have stayed if nobody checked: its owner may know that, and use it where it was.
    Outgrown = 7,
}

impl Fate {
    /// By its number; anything else lives.
    pub(crate) fn of(number: u8) -> Fate {
        match number {
            2 => Fate::Freed,
            3 => Fate::Rewound,
            4 => Fate::Reset,
            5 => Fate::Moved,
            6 => Fate::Destroyed,
            7 => Fate::Outgrown,
            _ => Fate::Lives,
        }
    }
}

/// One block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    /// Where it would lie if nobody checked, in [`UNIT`]s from the arena's base. Of a block that died below living ones: what `link` is of
    /// others.
    pub place: u32,
    /// Its bytes, as asked for; of a block with a run of plots: see [`Plot::size`].
    pub size: u32,
    /// The arena's block below it, when it was placed; [`NONE`] for none. Of a dead block: the order of the event that ended it.
    pub link: u32,
    /// In [`UNIT`]s from the plot's begin: its first byte.
    pub start: u16,
    /// A [`Fate`].
    pub fate: u8,
    /// See [`bits`].
    pub bits: u8,
}

/// Bits of a row.
pub(crate) mod bits {
    /// The page behind the block is a guard.
    pub const GUARDED: u8 = 1;
    /// It died below living blocks: `place` holds the order, `link` what it held.
    pub const BELOW: u8 = 2;
    /// Its plots are its own, and its size in the first one's entry.
    pub const LARGE: u8 = 4;
}

impl Row {
    /// True for a living block.
    pub fn lives(&self) -> bool {
        self.fate == Fate::Lives as u8
    }

    /// What was below it in the arena; for blocks in the chain only.
    pub fn below(&self) -> u32 {
        self.link
    }

    /// Of a dead block: the order of the event that ended it.
    pub fn ended(&self) -> u64 {
        u64::from(if self.bits & bits::BELOW != 0 { self.place } else { self.link })
    }
}

/// A row as it lies in its table: its arena's thread writes it, anybody may read it meanwhile. Whoever reads a fate reads what was written before it, and
/// what is written behind it is asked by its thread alone: `link` and `place` of a living block.
#[repr(C)]
pub(crate) struct RowWords {
    place: AtomicU32,
    size: AtomicU32,
    link: AtomicU32,
    start: AtomicU16,
    fate: AtomicU8,
    bits: AtomicU8,
}

impl RowWords {
    /// The row as it is now.
    #[inline]
    pub fn read(&self) -> Row {
        Row {
            // Acquire: pairs with the Release in `write` and `end`.
            fate: self.fate.load(Acquire),
            place: self.place.load(Relaxed),
            size: self.size.load(Relaxed),
            link: self.link.load(Relaxed),
            start: self.start.load(Relaxed),
            bits: self.bits.load(Relaxed),
        }
    }

    /// By its arena's thread alone.
    #[inline]
    pub fn write(&self, row: Row) {
        self.place.store(row.place, Relaxed);
        self.size.store(row.size, Relaxed);
        self.link.store(row.link, Relaxed);
        self.start.store(row.start, Relaxed);
        self.bits.store(row.bits, Relaxed);
        self.fate.store(row.fate, Release);
    }

    /// Its block has another size, and what lies behind it is in order: by its arena's thread alone.
    pub fn set_size(&self, size: u32) {
        self.size.store(size, Release);
    }

    /// As it says, by its arena's thread alone.
    pub fn set_link(&self, link: u32) {
        self.link.store(link, Relaxed);
    }

    /// Its block dies by the event of this order, as the newest of its arena.
    #[inline]
    pub fn end(&self, order: u32, fate: Fate) {
        self.link.store(order, Relaxed);
        self.fate.store(fate as u8, Release);
    }

    /// As [`RowWords::end`], below living blocks.
    #[inline]
    pub fn end_below(&self, order: u32, fate: Fate) {
        self.place.store(order, Relaxed);
        self.bits.store(self.bits.load(Relaxed) | bits::BELOW, Relaxed);
        self.fate.store(fate as u8, Release);
    }

    /// As [`Row::lives`].
    #[inline]
    pub fn lives(&self) -> bool {
        self.fate.load(Acquire) == Fate::Lives as u8
    }

    /// [`Row::start`], which never changes.
    #[inline]
    pub fn start(&self) -> u16 {
        self.start.load(Relaxed)
    }
}

const _: () = assert!(size_of::<RowWords>() == 16 && PLOT_BYTES == ROWS as u64 * 16);

/// Which list a plot is in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub(crate) enum Stage {
    /// Never used.
    Fresh = 0,
    /// Blocks live in it, or its arena places more there.
    Used = 1,
    /// All its blocks are dead; their bytes are poisoned.
    Dead = 2,
    /// Nobody can touch it.
    Closed = 3,
}

impl Stage {
    fn of(number: u32) -> Stage {
        match number {
            1 => Stage::Used,
            2 => Stage::Dead,
            3 => Stage::Closed,
            _ => Stage::Fresh,
        }
    }
}

/// One plot, as it was when it was read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plot {
    /// The arena's number in the process, which is never used twice.
    pub arena: u64,
    /// The arena's row.
    pub of: u32,
    pub stage: Stage,
    /// Blocks that were ever placed in it.
    pub count: u32,
    pub living: u32,
    /// How many plots a block of its own takes; 1 for a plot of small blocks; 0: not the first of a run.
    pub run: u32,
    /// How many plots before this one the run begins.
    pub back: u32,
    /// In [`UNIT`]s from the plot's begin: the end of its last zone.
    pub end: u32,
    /// 1: its addresses were blocks' before, of this arena or another.
    pub again: u32,
    /// Bytes of a block that has a run of plots.
    pub size: u64,
    /// The same arena's plots.
    pub older: u32,
    pub newer: u32,
    /// Neighbours in the list of dead ones, or of closed ones.
    pub next: u32,
    pub previous: u32,
}

/// A plot as it lies in its table, each word for itself: `count`, `living`, `end`, `size`, `older`, `newer` are written by its arena's thread, the
/// others under the lock of all plots; anybody may read them meanwhile.
#[repr(C)]
pub(crate) struct PlotWords {
    pub arena: AtomicU64,
    pub of: AtomicU32,
    stage: AtomicU32,
    count: AtomicU32,
    pub living: AtomicU32,
    pub run: AtomicU32,
    back: AtomicU32,
    end: AtomicU32,
    again: AtomicU32,
    pub size: AtomicU64,
    pub older: AtomicU32,
    pub newer: AtomicU32,
    next: AtomicU32,
    previous: AtomicU32,
}

impl PlotWords {
    /// All of it, word by word.
    pub fn read(&self) -> Plot {
        Plot {
            count: self.count(),
            arena: self.arena.load(Relaxed),
            of: self.of.load(Relaxed),
            stage: self.stage(),
            living: self.living.load(Relaxed),
            run: self.run.load(Relaxed),
            back: self.back.load(Relaxed),
            end: self.end(),
            again: self.again.load(Relaxed),
            size: self.size.load(Relaxed),
            older: self.older.load(Relaxed),
            newer: self.newer.load(Relaxed),
            next: self.next.load(Relaxed),
            previous: self.previous.load(Relaxed),
        }
    }

    fn write(&self, plot: &Plot) {
        // Who reads it meanwhile is to find nothing, not half of each: see `touched`.
        self.set_stage(Stage::Fresh);
        fence(Release);
        self.again.store(plot.again, Relaxed);
        self.arena.store(plot.arena, Relaxed);
        self.of.store(plot.of, Relaxed);
        self.living.store(plot.living, Relaxed);
        self.run.store(plot.run, Relaxed);
        self.back.store(plot.back, Relaxed);
        self.end.store(plot.end, Relaxed);
        self.size.store(plot.size, Relaxed);
        self.older.store(plot.older, Relaxed);
        self.newer.store(plot.newer, Relaxed);
        self.next.store(plot.next, Relaxed);
        self.previous.store(plot.previous, Relaxed);
        self.set_count(plot.count);
        self.set_stage(plot.stage);
    }

    /// How many rows were written: whoever reads it may read them.
    #[inline]
    pub fn count(&self) -> u32 {
        // Acquire: pairs with the Release in `set_count`.
        self.count.load(Acquire)
    }

    #[inline]
    pub fn set_count(&self, count: u32) {
        self.count.store(count, Release);
    }

    /// Where the last zone ends. Who sees a new one, and then asks again for the last block, sees the block or the size that it belongs to.
    #[inline]
    pub fn end(&self) -> u32 {
        // Acquire: pairs with the Release in `set_end`.
        self.end.load(Acquire)
    }

    /// After the block's row counts, or has its size.
    #[inline]
    pub fn set_end(&self, end: u32) {
        self.end.store(end, Release);
    }

    pub fn stage(&self) -> Stage {
        Stage::of(self.stage.load(Acquire))
    }

    fn set_stage(&self, stage: Stage) {
        self.stage.store(stage as u32, Release);
    }

    /// True for the arena of this number.
    #[inline]
    pub fn is_of(&self, arena: u64) -> bool {
        self.arena.load(Relaxed) == arena
    }
}

/// First and last of a list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct List {
    pub first: u32,
    pub last: u32,
}

impl List {
    pub const EMPTY: List = List { first: NONE, last: NONE };
}

/// How a plot is closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Closing {
    /// By guards in the page table.
    Guards,
    /// By protecting the memory, as long as that costs few mappings.
    Protection,
}

/// Where field and tables lie: numbers that never change.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ground {
    field: u64,
    rows: u64,
    plots: u64,
    /// Plots there are.
    count: u32,
}

impl Ground {
    /// First address of the field, and one past the last.
    pub fn range(&self) -> (u64, u64) {
        (self.field, self.field.wrapping_add(u64::from(self.count).wrapping_mul(PLOT_BYTES)))
    }

    /// True for an address in the field or in one of its tables.
    pub fn owns(&self, address: u64) -> bool {
        let bytes = u64::from(self.count).wrapping_mul(PLOT_BYTES);
        let plots = u64::from(self.count).wrapping_mul(size_of::<PlotWords>() as u64);
        let areas = [(self.field, bytes), (self.rows, bytes), (self.plots, plots)];
        areas.iter().any(|(start, bytes)| address.wrapping_sub(*start) < *bytes)
    }

    /// The plot that holds an address.
    pub fn at(&self, address: u64) -> Option<u32> {
        let number = address.checked_sub(self.field)? / PLOT_BYTES;
        (number < u64::from(self.count)).then_some(number as u32)
    }

    /// First byte of a plot.
    pub fn start(&self, plot: u32) -> u64 {
        self.field.wrapping_add(u64::from(plot).wrapping_mul(PLOT_BYTES))
    }

    /// A plot as it is now. Of one that was never handed out nothing is set.
    pub fn plot(&self, plot: u32) -> Option<Plot> {
        self.words(plot).map(PlotWords::read)
    }

    /// A plot's words.
    #[inline]
    pub fn words(&self, plot: u32) -> Option<&PlotWords> {
        // SAFETY: below `count`: in the table, which was mapped zeroed, is never unmapped, and is written through atomics alone.
        (plot < self.count).then(|| unsafe { &*(self.plots as *const PlotWords).wrapping_add(plot as usize) })
    }

    /// The row of a block.
    ///
    /// # Safety
    /// The plot was handed out, and is the first of its run: its table is open.
    #[inline]
    pub unsafe fn row(&self, plot: u32, row: u32) -> &RowWords {
        let start = self.rows.wrapping_add(u64::from(plot).wrapping_mul(PLOT_BYTES));
        // SAFETY: the contract; tables are never unmapped, and are written through atomics alone.
        unsafe { &*(start as *const RowWords).wrapping_add((row % ROWS) as usize) }
    }
}

/// All plots.
pub(crate) struct Plots {
    ground: Ground,
    /// How many can be used without a system call.
    opened: u32,
    /// How many were ever handed out.
    taken: u32,
    protected: u32,
    /// Dead ones, the oldest first.
    dead: List,
    /// Plots in it, those of runs included.
    pub dead_plots: u32,
    /// Closed ones that belong to nobody, the oldest first.
    closed: List,
    pub closing: Closing,
    huge: bool,
}

impl Plots {
    /// Reserves a field of at most `most` plots: what the system has addresses for. `None` when that is too little. `huge`: by huge pages.
    pub fn new(most: u32, huge: bool) -> Option<Plots> {
        let mut count = most;
        let (field, rows) = loop {
            match reserve(count) {
                Some(found) => break found,
                None if count / 2 < LEAST.min(most) => return None,
                None => count /= 2,
            }
        };
        let bytes = count as usize * size_of::<PlotWords>();
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: a fresh anonymous mapping at an address of the kernel's choice touches no existing memory.
        let plots = unsafe { mmap_anonymous(core::ptr::null_mut(), bytes, ProtFlags::READ | ProtFlags::WRITE, flags) };
        let plots = plots.ok()? as u64;
        for (start, bytes) in [(field, u64::from(count) * PLOT_BYTES), (rows, u64::from(count) * PLOT_BYTES)] {
            // SAFETY: the range was mapped above; the advice keeps it out of core dumps, where it would be as large as it is.
            let _ = unsafe { madvise(start as *mut _, bytes as usize, Advice::LinuxDontDump) };
        }
        let mut this = Plots {
            ground: Ground { field, rows, plots, count },
            opened: 0,
            taken: 0,
            protected: 0,
            dead: List::EMPTY,
            dead_plots: 0,
            closed: List::EMPTY,
            closing: Closing::Protection,
            huge,
        };
        this.open(1).then_some(())?;
        // A page of the field that nobody has yet tells what the kernel can do.
        if guard(field, 4096, GUARD_INSTALL) && guard(field, 4096, GUARD_REMOVE) {
            this.closing = Closing::Guards;
        }
        Some(this)
    }

    /// Where all that lies.
    pub fn ground(&self) -> Ground {
        self.ground
    }

    /// How many were ever handed out: those that can be asked for.
    pub fn taken(&self) -> u32 {
        self.taken
    }

    fn plot(&self, plot: u32) -> Option<Plot> {
        self.ground.plot(plot)
    }

    fn start(&self, plot: u32) -> u64 {
        self.ground.start(plot)
    }

    /// Hands out `run` plots side by side. `None`: there are none, or no system call may be made now. What they hold is not known.
    pub fn take(&mut self, run: u32, arena: u64, of: u32) -> Option<u32> {
        let wanted = self.taken.checked_add(run)?;
        let (first, again) = if wanted <= self.ground.count && (wanted <= self.opened || self.open(wanted)) {
            self.taken = wanted;
            (wanted.wrapping_sub(run), 0)
        } else if run == 1 {
            (self.take_again()?, 1)
        } else {
            return None;
        };
        for index in 0..run {
            let plot = Plot {
                arena,
                of,
                stage: Stage::Used,
                count: 0,
                living: 0,
                run: if index == 0 { run } else { 0 },
                back: index,
                end: 0,
                again,
                size: 0,
                older: NONE,
                newer: NONE,
                next: NONE,
                previous: NONE,
            };
            if let Some(words) = self.ground.words(first.wrapping_add(index)) {
                words.write(&plot);
            }
        }
        Some(first)
    }

    /// The plot that was closed first.
    #[cold]
    fn take_again(&mut self) -> Option<u32> {
        if quiet::is_on() {
            return None;
        }
        let mut first = self.closed.first;
        // Runs stay: what a large block has left is of no use to small ones without forgetting it.
        for _ in 0..64 {
            let plot = self.plot(first)?;
            if plot.run == 1 {
                self.unlink_closed(first);
                return self.reopen(first).then_some(first);
            }
            first = plot.next;
        }
        None
    }

    #[cold]
    fn open(&mut self, wanted: u32) -> bool {
        if quiet::is_on() {
            return false;
        }
        let step = self.opened.clamp(OPENED.0, OPENED.1);
        let end = wanted.max(self.opened.saturating_add(step)).min(self.ground.count);
        let (from, bytes) =
            (u64::from(self.opened) * PLOT_BYTES, u64::from(end.wrapping_sub(self.opened)) * PLOT_BYTES);
        for area in [self.ground.field, self.ground.rows] {
            let start = (area.wrapping_add(from)) as *mut _;
            let protection = MprotectFlags::READ | MprotectFlags::WRITE;
            // SAFETY: a part of our own reservation, which holds nothing yet.
            if unsafe { mprotect(start, bytes as usize, protection) }.is_err() {
                return false;
            }
            // Not the tables: a plot of large blocks has few rows, and a huge page clears the tables of 32 plots for them.
            if self.huge && area == self.ground.field {
                // SAFETY: as above; only advice.
                let _ = unsafe { madvise(start, bytes as usize, Advice::LinuxHugepage) };
            }
        }
        self.opened = end;
        true
    }

    /// All blocks of a plot, or of a run, are dead.
    pub fn bury(&mut self, plot: u32) {
        let Some(found) = self.plot(plot).filter(|found| found.stage == Stage::Used) else { return };
        self.dead_plots = self.dead_plots.wrapping_add(found.run);
        let mut list = self.dead;
        self.append(&mut list, plot);
        self.dead = list;
        self.set_stage(plot, Stage::Dead);
    }

    /// The plot that has been dead for the longest time.
    pub fn oldest_dead(&self) -> Option<u32> {
        (self.dead.first != NONE).then_some(self.dead.first)
    }

    /// Makes plots untouchable that follow each other, and gives their memory back. They keep their tables. False: their memory is gone, but they can
    /// be touched.
    pub fn close(&mut self, plot: u32, plots: u32) -> bool {
        let closed = self.shut(self.start(plot), u64::from(plots) * PLOT_BYTES);
        for plot in plot..plot.saturating_add(plots) {
            let Some(found) = self.plot(plot) else { continue };
            if found.stage == Stage::Dead && found.run > 0 {
                self.dead_plots = self.dead_plots.saturating_sub(found.run);
                let mut list = self.dead;
                self.unlink(&mut list, plot, found);
                self.dead = list;
            }
            self.set_stage(plot, Stage::Closed);
        }
        closed
    }

    fn shut(&mut self, start: u64, bytes: u64) -> bool {
        if quiet::is_on() {
            return false;
        }
        if self.closing == Closing::Guards && guard(start, bytes, GUARD_INSTALL) {
            return true;
        }
        // SAFETY: plots without a living block: nobody may read them. Memory that is locked stays as it is.
        let _ = unsafe { madvise(start as *mut _, bytes as usize, Advice::LinuxDontNeed) };
        if self.protected >= PROTECTED {
            return false;
        }
        self.protected = self.protected.wrapping_add(1);
        // SAFETY: as above.
        unsafe { mprotect(start as *mut _, bytes as usize, MprotectFlags::empty()) }.is_ok()
    }

    fn reopen(&mut self, plot: u32) -> bool {
        let start = self.start(plot);
        if self.closing == Closing::Guards && guard(start, PLOT_BYTES, GUARD_REMOVE) {
            return true;
        }
        let protection = MprotectFlags::READ | MprotectFlags::WRITE;
        // SAFETY: a part of our own reservation, which nobody has.
        unsafe { mprotect(start as *mut _, PLOT_BYTES as usize, protection) }.is_ok()
    }

    /// A closed plot whose arena has forgotten it: it may be used again when there are no others.
    pub fn give_up(&mut self, plot: u32) {
        let mut list = self.closed;
        self.append(&mut list, plot);
        self.closed = list;
    }

    fn unlink_closed(&mut self, plot: u32) {
        if let Some(found) = self.plot(plot) {
            let mut list = self.closed;
            self.unlink(&mut list, plot, found);
            self.closed = list;
        }
    }

    fn set_stage(&mut self, plot: u32, stage: Stage) {
        if let Some(words) = self.ground.words(plot) {
            words.set_stage(stage);
        }
    }

    /// Changes a plot's neighbours in its list; [`NONE`] has none.
    fn join(&mut self, plot: u32, next: u32) {
        if let Some(words) = self.ground.words(plot) {
            words.next.store(next, Relaxed);
        }
        if let Some(words) = self.ground.words(next) {
            words.previous.store(plot, Relaxed);
        }
    }

    fn append(&mut self, list: &mut List, plot: u32) {
        self.join(list.last, plot);
        self.join(plot, NONE);
        list.last = plot;
        if list.first == NONE {
            list.first = plot;
        }
    }

    fn unlink(&mut self, list: &mut List, plot: u32, found: Plot) {
        self.join(found.previous, found.next);
        if list.first == plot {
            list.first = found.next;
        }
        if list.last == plot {
            list.last = found.previous;
        }
    }

    /// Guards a page; false when the kernel cannot.
    pub fn guard_page(&self, start: u64, bytes: u64) -> bool {
        self.closing == Closing::Guards && !quiet::is_on() && guard(start, bytes, GUARD_INSTALL)
    }
}

/// Addresses for so many plots and their tables.
fn reserve(count: u32) -> Option<(u64, u64)> {
    let bytes = u64::from(count).checked_mul(PLOT_BYTES)?;
    let whole = bytes.checked_mul(2)?.checked_add(HUGE)?;
    let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
    // SAFETY: a fresh anonymous mapping at an address of the kernel's choice touches no existing memory.
    let start =
        unsafe { mmap_anonymous(core::ptr::null_mut(), whole as usize, ProtFlags::empty(), flags) }.ok()? as u64;
    let field = start.checked_next_multiple_of(HUGE)?;
    // What is left at both ends.
    for (from, to) in [(start, field), (field.wrapping_add(bytes).wrapping_add(bytes), start.wrapping_add(whole))] {
        if from < to {
            // SAFETY: an end of the mapping just made, which nobody knows of.
            let _ = unsafe { munmap(from as *mut _, to.wrapping_sub(from) as usize) };
        }
    }
    Some((field, field.wrapping_add(bytes)))
}

/// madvise (arch/x86/entry/syscalls/syscall_64.tbl), with advice that rustix does not know.
fn guard(start: u64, bytes: u64, advice: i64) -> bool {
    let result: i64;
    // SAFETY: guards are put on, or taken from, our own memory, in which no living block lies (the callers see to that).
    unsafe {
        core::arch::asm!(
            "syscall",
            inlateout("rax") 28i64 => result,
            in("rdi") start,
            in("rsi") bytes,
            in("rdx") advice,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result == 0
}

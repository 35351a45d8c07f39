//! The recorder of one process: facts in, records out.
//!
//! Hot: [`Recorder::alloc`], whose cost docs/performance.md has ("told straight", `cargo xtask bench record`). Everything else is cold and may make system calls. Callers
//! hold the calling thread's [`Thread`] exclusively and have set `busy`.
#![allow(unsafe_code, reason = "owns the table of threads, which hands out each row once")]

mod backtraces;
mod object_changes;
mod sampling;

use crate::arenas::{ARENA_SLOTS, ArenaTable, Entry, Grown, PageFilter};
use crate::checksum::{self, crc32c};
use crate::clock::ticks;
use crate::deep;
use crate::heap::{self, HeapSet};
use crate::last_stack::LastStack;
use crate::modules::{self, MODULES, Modules};
use crate::objects::{self, Objects};
use crate::quiet;
use crate::reserve::{Reserve, WipedOnFork, Zeroed, page_wiped_on_fork};
use crate::reused::Budget;
use crate::sites::{CACHE_SLOTS, CachedSite, CallFrame, CodeRanges, FRAMES_MAX, SITE_SLOTS, SiteTable, StubFrame};
use crate::space::{self, Space};
use crate::stacks::{CachedStack, STACK_SLOTS, STACK_THREADS, Worth};
use crate::system::{gettid, monotonic_ns};
use crate::thread::{Caches, Segment, Thread};
use crate::walk::{CachedRule, RULE_SLOTS};
use arenascope_trace::{
    MAX_RECORD_BYTES, NO_SITE, Record, SegmentEncoder, layout, layout::ClockPair, layout::SegmentKind,
};
use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};
pub(crate) use sampling::Passed;
pub use sampling::{draw, sample, sample_bytes};

/// Threads alive at once; more are counted as lost.
const THREADS: usize = 2048;
/// Bytes of a thread's scratch: the longest capture that stands inline.
pub(crate) const SCRATCH_BYTES: usize = 4096;
/// Events dropped between two questions to a full file system.
const PATIENCE: u32 = 1024;
/// Events dropped between two looks at memory that is full: the launcher may empty it at any moment, and looking takes no
/// system call but those of [`deep::run`].
const MEMORY_PATIENCE: u32 = 16;

/// Address space the recorder's tables need, bytes. Touched lazily: a small program touches well under 1 MiB.
pub const RESERVE_BYTES: usize = SITE_SLOTS * (size_of::<AtomicU64>() + size_of::<AtomicU32>())
    + ARENA_SLOTS * (size_of::<AtomicU64>() + size_of::<AtomicU32>() + size_of::<Entry>())
    + PageFilter::WORDS * size_of::<AtomicU64>()
    + MODULES * size_of::<modules::Row>()
    + THREADS * (size_of::<Row>() + SCRATCH_BYTES)
    + THREADS * CACHE_SLOTS * size_of::<CachedSite>()
    + STACK_THREADS * STACK_SLOTS * size_of::<CachedStack>()
    + THREADS * size_of::<LastStack>()
    + THREADS * RULE_SLOTS * size_of::<CachedRule>()
    + heap::SLOTS * 2 * size_of::<AtomicU64>()
    + objects::SLOTS * size_of::<objects::Seen>()
    + size_of::<Recorder>()
    // What aligning each of them may take.
    + 4096;

/// What a recorder is started with.
pub struct Start {
    /// The mapped trace; `None` records nothing.
    pub space: Option<Space>,
    /// This process.
    pub pid: u32,
    /// How a return into our stubs is recognised.
    pub stub: StubFrame,
    /// Return addresses kept, 1 to 64.
    pub frames: usize,
}

/// How things stood when a call on an arena was entered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entered {
    /// The arena's next order.
    pub order: u64,
    /// Events that this thread had recorded.
    pub events: u64,
}

const ROW_FRESH: u32 = 0;
const ROW_USED: u32 = 1;
const ROW_LEFT: u32 = 2;

/// One row of the thread table. Owned by whoever moved `state` to `ROW_USED`.
struct Row {
    state: AtomicU32,
    thread: UnsafeCell<MaybeUninit<Thread>>,
}

// SAFETY: a zeroed row is fresh and its thread uninitialised, which is a valid `MaybeUninit`.
unsafe impl Zeroed for Row {}
// SAFETY: `thread` is touched only by the owner of the row (see `Row`).
unsafe impl Sync for Row {}

// SAFETY: two integers.
unsafe impl Zeroed for CachedSite {}

/// The recorder. One per process, never dropped.
pub struct Recorder {
    wiped: &'static WipedOnFork,
    enabled: AtomicBool,
    space: UnsafeCell<Option<Space>>,
    epoch: AtomicU32,
    pid: AtomicU32,
    stub: StubFrame,
    frames: usize,
    code: CodeRanges,
    rows: &'static [Row],
    rows_used: AtomicU32,
    modules: Modules,
    site_caches: &'static [UnsafeCell<CachedSite>],
    stack_caches: &'static [UnsafeCell<CachedStack>],
    last_stacks: &'static [UnsafeCell<LastStack>],
    rule_caches: &'static [UnsafeCell<CachedRule>],
    scratches: &'static [UnsafeCell<u8>],
    thread_numbers: AtomicU32,
    module_numbers: AtomicU32,
    sites: SiteTable,
    arenas: ArenaTable,
    heap: HeapSet,
    objects: Objects,
    own: (u64, u64),
    pub(crate) captured_bytes: AtomicU64,
    pub(crate) budget: Budget,
}

// SAFETY: `space` is written only while one thread exists (`new`, `renew` in a forked child, before `enabled` is set);
// site caches and scratches are split into disjoint parts, one per row, touched by the row's owner alone.
unsafe impl Sync for Recorder {}
// SAFETY: as above; nothing is tied to the creating thread.
unsafe impl Send for Recorder {}

fn cells<T>(slice: &'static mut [T]) -> &'static [UnsafeCell<T>] {
    // SAFETY: UnsafeCell<T> has T's layout (repr(transparent)), and the exclusive borrow ends here for good.
    unsafe { &*(core::ptr::from_mut(slice) as *const [UnsafeCell<T>]) }
}

/// Part `index` of an array that is cut into parts of `length`.
///
/// # Safety
/// Each part is asked for once.
#[expect(clippy::mut_from_ref, reason = "the cells are split, each part for one owner")]
unsafe fn part<T>(all: &'static [UnsafeCell<T>], length: usize, index: usize) -> Option<&'static mut [T]> {
    let start = index.checked_mul(length)?;
    let cells = all.get(start..start.checked_add(length)?)?;
    // SAFETY: UnsafeCell<T> has T's layout; parts do not overlap, and this one is asked for once (contract).
    Some(unsafe { core::slice::from_raw_parts_mut(cells.as_ptr() as *mut T, cells.len()) })
}

impl Recorder {
    /// Builds a recorder in `reserve` (at least [`RESERVE_BYTES`]). `None` when that is too small or the kernel gives no
    /// page.
    pub fn new(reserve: &mut Reserve, start: Start) -> Option<&'static Recorder> {
        checksum::detect();
        let own = reserve.range();
        let sites = SiteTable::new(reserve.take(SITE_SLOTS)?, reserve.take(SITE_SLOTS)?);
        let arenas = ArenaTable::new(
            reserve.take(ARENA_SLOTS)?,
            reserve.take(ARENA_SLOTS)?,
            reserve.take(ARENA_SLOTS)?,
            reserve.take(PageFilter::WORDS)?,
        );
        let place: &'static mut MaybeUninit<Recorder> = reserve.take_one::<RecorderPlace>()?.as_place();
        let recorder = place.write(Recorder {
            wiped: page_wiped_on_fork()?,
            enabled: AtomicBool::new(start.space.is_some()),
            space: UnsafeCell::new(start.space),
            epoch: AtomicU32::new(1),
            pid: AtomicU32::new(start.pid),
            stub: start.stub,
            frames: start.frames.clamp(1, FRAMES_MAX),
            code: CodeRanges::new(),
            rows: reserve.take(THREADS)?,
            rows_used: AtomicU32::new(0),
            modules: Modules::new(reserve.take(MODULES)?),
            site_caches: cells(reserve.take(THREADS * CACHE_SLOTS)?),
            stack_caches: cells(reserve.take(STACK_THREADS * STACK_SLOTS)?),
            last_stacks: cells(reserve.take(THREADS)?),
            rule_caches: cells(reserve.take(THREADS * RULE_SLOTS)?),
            scratches: cells(reserve.take(THREADS * SCRATCH_BYTES)?),
            thread_numbers: AtomicU32::new(0),
            module_numbers: AtomicU32::new(0),
            sites,
            arenas,
            heap: HeapSet::new(reserve.take(heap::SLOTS)?, reserve.take(heap::SLOTS)?),
            objects: Objects::new(reserve.take(objects::SLOTS)?),
            own,
            captured_bytes: AtomicU64::new(0),
            budget: Budget::new(),
        });
        recorder.wiped.live.store(1, Relaxed);
        Some(recorder)
    }

    /// True when records go somewhere.
    #[inline]
    pub fn enabled(&self) -> bool {
        self.enabled.load(Relaxed)
    }

    /// False in a forked child that has not been renewed: its parent's trace is not mapped there.
    #[inline]
    pub fn alive(&self) -> bool {
        self.wiped.live.load(Relaxed) != 0
    }

    /// From now on the kernel may end this process for a system call: makes none any more, and with `strict` reads no
    /// time stamp counter either. Space for some MiB of events is made first; what no longer fits is counted as lost, and
    /// captures are not taken.
    pub fn go_quiet(&self, strict: bool) {
        deep::run(|| {
            if let Some(space) = self.space() {
                quiet::prepare(space);
                // The pair that later segments will begin with.
                space.word(layout::live::LATEST_TSC).store(ticks(), Relaxed);
                space.word(layout::live::LATEST_NS).store(monotonic_ns(), Relaxed);
            }
        });
        quiet::begin(strict);
    }

    /// The process this recorder writes for.
    pub fn pid(&self) -> u32 {
        self.pid.load(Relaxed)
    }

    /// True for an address in the recorder's own tables.
    pub fn owns(&self, address: u64) -> bool {
        self.own.0 <= address && address < self.own.1
    }

    /// The arenas seen so far.
    pub fn arenas(&self) -> &ArenaTable {
        &self.arenas
    }

    /// The malloc blocks recorded.
    pub fn heap(&self) -> &HeapSet {
        &self.heap
    }

    /// In a forked child, with one thread: writes go to `space` from now on (`None`: nowhere). What the parent's trace
    /// knew (sites, arenas) is defined anew when next met.
    pub fn renew(&self, space: Option<Space>, pid: u32, only: Option<&mut Thread>) {
        deep::only_this_thread();
        self.enabled.store(false, Relaxed);
        // SAFETY: the child of a fork has one thread, which is here (contract), and no reference into the old value
        // is held across this call.
        unsafe { *self.space.get() = space };
        self.pid.store(pid, Relaxed);
        sampling::draw_apart(pid);
        self.epoch.fetch_add(1, Relaxed);
        self.sites.clear();
        // Here and not when an arena is next met: then other threads may be numbering its events.
        for entry in self.arenas.all() {
            entry.order.store(0, Relaxed);
        }
        self.thread_numbers.store(0, Relaxed);
        self.module_numbers.store(0, Relaxed);
        self.modules.renew();
        self.captured_bytes.store(0, Relaxed);
        self.budget.renew();
        let survivor = only.as_ref().map(|thread| thread.writer);
        for (index, row) in self.rows.iter().enumerate().take(self.rows_used.load(Relaxed) as usize) {
            if Some(index as u32) != survivor && row.state.swap(ROW_LEFT, Relaxed) != ROW_FRESH {
                // SAFETY: the row was initialised when it left ROW_FRESH; its owner does not exist in this process.
                unsafe { (*row.thread.get()).assume_init_mut().renew(false) };
            }
        }
        self.wiped.live.store(1, Relaxed);
        self.enabled.store(space.is_some(), Relaxed);
        if let Some(thread) = only {
            thread.renew(false);
            self.name_thread(thread, 0);
        }
    }

    fn space(&self) -> Option<&Space> {
        // SAFETY: written only while one thread exists (see `Sync`); readers come after.
        unsafe { (*self.space.get()).as_ref() }
    }

    fn count(&self, word: usize, amount: u64) {
        if let Some(space) = self.space() {
            space.word(word).fetch_add(amount, Relaxed);
        }
    }

    /// An event came while its thread was inside the recorder.
    #[cold]
    pub fn lost_reentered(&self) {
        self.count(layout::live::LOST_REENTERED, 1);
    }

    /// A signal came that sets a mark, where none can be set: it is owed. Async-signal-safe.
    #[cold]
    pub fn owe_mark(&self, signal: u32) {
        if let Some(owed) = self.wiped.owed_marks.get(signal as usize) {
            owed.fetch_add(1, Relaxed);
            // Release: pairs with the Acquire in `take_owed_marks`, which then finds the number.
            self.wiped.owes_marks.store(1, Release);
        }
    }

    /// True when marks are owed.
    #[inline]
    pub fn owes_marks(&self) -> bool {
        self.wiped.owes_marks.load(Relaxed) != 0
    }

    /// Hands each signal that is owed a mark to `take`, with how many. O(signals).
    pub fn take_owed_marks(&self, mut take: impl FnMut(u32, u32)) {
        if self.wiped.owes_marks.swap(0, Acquire) == 0 {
            return;
        }
        for (signal, owed) in self.wiped.owed_marks.iter().enumerate() {
            let count = owed.swap(0, Relaxed);
            if count > 0 {
                take(signal as u32, count);
            }
        }
    }

    /// An event found a table full.
    #[cold]
    pub fn lost_table_full(&self) {
        self.count(layout::live::LOST_TABLE_FULL, 1);
    }

    /// A small malloc block was not recorded.
    pub fn skipped_heap(&self) {
        self.count(layout::live::LOST_HEAP_SKIPPED, 1);
    }

    /// A block is not checked, or no longer (check mode).
    pub fn unchecked(&self) {
        self.count(layout::live::UNCHECKED, 1);
    }

    /// The process is about to fork: the launcher will wait for the child, even when the parent has ended before it asks.
    pub fn fork_begins(&self) {
        self.count(layout::live::FORKS, 1);
    }

    /// No child came of it.
    pub fn fork_failed(&self) {
        self.count(layout::live::FORKS, u64::MAX);
    }

    pub(crate) fn lost_capture(&self, bytes: u64) {
        self.count(layout::live::LOST_CAPTURE_BYTES, bytes);
    }

    /// A state for the calling thread. `parent` is the number of the thread that created it, 0 when unknown.
    /// O(threads ever alive at once). `None` when the table is full.
    #[cold]
    pub fn thread_begin(&self, parent: u32) -> Option<&'static mut Thread> {
        deep::run(|| self.thread_begin_here(parent))
    }

    fn thread_begin_here(&self, parent: u32) -> Option<&'static mut Thread> {
        let left = self.rows.iter().take(self.rows_used.load(Relaxed) as usize).position(|row| {
            row.state.load(Relaxed) == ROW_LEFT
                // Acquire: pairs with the Release in `thread_end`; the next owner sees what the last one wrote.
                && row.state.compare_exchange(ROW_LEFT, ROW_USED, Acquire, Relaxed).is_ok()
        });
        let thread = match left {
            Some(index) => {
                let row = self.rows.get(index)?;
                // SAFETY: we own the row (moved it to ROW_USED) and it was initialised before it was left.
                let thread = unsafe { (*row.thread.get()).assume_init_mut() };
                thread.renew(true);
                thread
            }
            None => {
                let index = self.rows_used.fetch_add(1, Relaxed) as usize;
                let Some(row) = self.rows.get(index) else {
                    self.rows_used.store(THREADS as u32, Relaxed);
                    self.lost_table_full();
                    return None;
                };
                row.state.store(ROW_USED, Relaxed);
                // SAFETY: `fetch_add` gave this index to us alone, and with it part `index` of each array.
                let caches = unsafe {
                    Caches {
                        sites: part(self.site_caches, CACHE_SLOTS, index)?,
                        stacks: part(self.stack_caches, STACK_SLOTS, index).unwrap_or_default(),
                        worth: Worth::default(),
                        last: part(self.last_stacks, 1, index)?.first_mut()?,
                        rules: part(self.rule_caches, RULE_SLOTS, index)?.first_chunk_mut()?,
                    }
                };
                // SAFETY: as above.
                let scratch = unsafe { part(self.scratches, SCRATCH_BYTES, index) }?;
                // SAFETY: `fetch_add` gave this index to us alone.
                unsafe { (*row.thread.get()).write(Thread::new(index as u32, caches, scratch)) }
            }
        };
        self.name_thread(thread, parent);
        Some(thread)
    }

    /// Gives the state a number of its own and says so in the trace.
    fn name_thread(&self, thread: &mut Thread, parent: u32) {
        thread.number = self.thread_numbers.fetch_add(1, Relaxed).wrapping_add(1);
        thread.tid = if quiet::is_on() { 0 } else { gettid() };
        thread.epoch = self.epoch.load(Relaxed);
        let number = thread.number;
        if thread.segment.payload != 0 {
            self.write(thread, ticks(), NO_SITE, &Record::Thread { number });
        }
        self.note(thread, None, &Record::ThreadStart { tid: thread.tid, parent });
    }

    /// The thread is gone; its segment and caches go to the next one.
    pub fn thread_end(&self, thread: &'static mut Thread) {
        deep::run(|| self.thread_end_here(thread));
    }

    fn thread_end_here(&self, thread: &'static mut Thread) {
        self.note(thread, None, &Record::ThreadExit);
        let writer = thread.writer as usize;
        if let Some(row) = self.rows.get(writer) {
            // Release: pairs with the Acquire in `thread_begin`.
            row.state.store(ROW_LEFT, Release);
        }
    }

    /// A module is mapped. The first one is the program itself.
    pub fn module(&self, thread: &mut Thread, bias: u64, start: u64, end: u64, path: &[u8], build_id: &[u8]) {
        self.code.add(start, end);
        self.modules.changed();
        let number = self.module_numbers.fetch_add(1, Relaxed);
        self.note(thread, None, &Record::Module { number, bias, start, end, path, build_id });
    }

    // ---- the hot path ----

    /// How things stand as this thread enters a call on the arena at `object`.
    #[inline]
    pub fn entered(&self, thread: &Thread, object: u64) -> Entered {
        let order = match thread.cached_arena(object) {
            Some(entry) => entry.order.load(Relaxed),
            None => self.order_slowly(object),
        };
        Entered { order, events: thread.events }
    }

    #[cold]
    fn order_slowly(&self, object: u64) -> u64 {
        self.arenas.find(object).map_or(0, |entry| entry.order.load(Relaxed))
    }

    /// A call that was entered at `entered` has taken `order` for its event: tells when other threads' events took
    /// numbers meanwhile. This thread's own, made inside the call, are taken to be all of this arena: rather too few
    /// overlaps than one that was none.
    #[inline]
    pub fn note_overlap(&self, thread: &mut Thread, arena: u32, order: u64, entered: Entered) {
        if order != entered.order {
            self.note_overlap_slowly(thread, arena, order, entered);
        }
    }

    #[cold]
    fn note_overlap_slowly(&self, thread: &mut Thread, arena: u32, order: u64, entered: Entered) {
        let Some(taken) = order.checked_sub(entered.order) else { return };
        if taken > thread.events.wrapping_sub(entered.events) {
            // At no site: what looks sites up needs stack, of which there is little here.
            self.note_of(thread, NO_SITE, &Record::Overlapped { arena, since: entered.order });
        }
    }

    /// An alloc function, entered at `entered`, returned `block` (0: it refused) to `call`.
    #[inline]
    #[allow(clippy::too_many_arguments, reason = "the facts of one call, in registers")]
    pub fn alloc(
        &self,
        thread: &mut Thread,
        object: u64,
        block: u64,
        size: u64,
        align: u64,
        call: CallFrame,
        entered: Entered,
    ) {
        let Some(entry) = self.arena(thread, object) else { return };
        if block != 0 {
            if entry.looks.load(Relaxed) != 0 {
                self.look_at_new(thread, entry, block, size);
            }
            self.note_block(entry, block, size);
        }
        let site = self.site(thread, call);
        let order = entry.order.fetch_add(1, Relaxed);
        let key = entry.key.load(Relaxed);
        self.note_overlap(thread, key, order, entered);
        if object != 0 && sample_bytes() == 0 {
            self.look_at_object(thread, (key, object), order, block, size);
        }
        self.alloc_here(thread, key, order, site, [block, size, align]);
    }

    /// As [`Recorder::alloc`], of an arena whose bytes are not captured and whose calls may overlap.
    #[inline]
    pub fn alloc_of(&self, thread: &mut Thread, entry: &Entry, block: u64, size: u64, align: u64, call: CallFrame) {
        let site = self.site(thread, call);
        let order = entry.order.fetch_add(1, Relaxed);
        self.alloc_here(thread, entry.key.load(Relaxed), order, site, [block, size, align]);
    }

    #[inline]
    pub(crate) fn alloc_here(
        &self,
        thread: &mut Thread,
        key: u32,
        order: u64,
        site: u32,
        [block, size, align]: [u64; 3],
    ) {
        let tsc = ticks();
        if (thread.segment.used as usize + MAX_RECORD_BYTES > layout::SEGMENT_PAYLOAD || thread.segment.payload == 0)
            && !self.open_segment(thread, tsc)
        {
            self.count(layout::live::LOST_NO_SPACE, 1);
            return;
        }
        let room = space::payload(thread.segment.payload, thread.segment.used as usize);
        let Some(out) = room.first_chunk_mut::<MAX_RECORD_BYTES>() else { return };
        let used = thread.encoder.alloc(tsc, key, order, block, size, align, site, out);
        let crc = crc32c(thread.segment.crc, out.get(..used).unwrap_or(&[]));
        thread.segment.crc = crc;
        thread.segment.used = thread.segment.used.wrapping_add(used as u32);
        thread.events = thread.events.wrapping_add(1);
        space::commit(thread.segment.payload, thread.segment.used, crc);
    }

    /// Takes note of where a block of `entry` lies, so that its bytes can be captured.
    #[inline]
    pub fn note_block(&self, entry: &Entry, block: u64, size: u64) {
        if let Grown::New { from, to } = entry.note_block(block, size) {
            self.arenas.pages().add(from, to);
        }
    }

    /// The entry of the arena at `object` if this process's trace knows it already, and this thread has met it.
    #[inline]
    pub(crate) fn known(&self, thread: &Thread, object: u64) -> Option<&'static Entry> {
        match thread.cached_arena(object) {
            Some(entry) if entry.epoch.load(Relaxed) == thread.epoch => Some(entry),
            _ => self.known_slowly(object),
        }
    }

    #[cold]
    fn known_slowly(&self, object: u64) -> Option<&'static Entry> {
        self.arenas.find(object).filter(|entry| entry.epoch.load(Relaxed) == self.epoch.load(Relaxed))
    }

    /// The entry of the arena at `object`, announced in this process's trace.
    #[inline]
    pub fn arena(&self, thread: &mut Thread, object: u64) -> Option<&'static Entry> {
        match thread.cached_arena(object) {
            Some(entry) if entry.epoch.load(Relaxed) == thread.epoch => Some(entry),
            _ => self.arena_slowly(thread, object),
        }
    }

    #[cold]
    fn arena_slowly(&self, thread: &mut Thread, object: u64) -> Option<&'static Entry> {
        deep::run(|| self.arena_slowly_here(thread, object))
    }

    fn arena_slowly_here(&self, thread: &mut Thread, object: u64) -> Option<&'static Entry> {
        let Some(entry) = self.arenas.entry(object) else {
            self.lost_table_full();
            return None;
        };
        let epoch = self.epoch.load(Relaxed);
        if entry.epoch.swap(epoch, Relaxed) != epoch {
            self.note(thread, None, &Record::ArenaSeen { arena: entry.key.load(Relaxed), object });
        }
        thread.cache_arena(object, entry);
        Some(entry)
    }

    // ---- the cold path ----

    /// Records what `call` did at an earlier moment `tsc` of this thread, after which it recorded nothing.
    pub fn note_at(&self, thread: &mut Thread, tsc: u64, call: CallFrame, record: &Record<'_>) -> bool {
        if !self.enabled() {
            return false;
        }
        let site = self.site(thread, call);
        let written = self.write(thread, tsc, site, record);
        thread.events = thread.events.wrapping_add(u64::from(written));
        written
    }

    /// Records a fact. `call` adds its backtrace. False when it could not be written (and was counted).
    pub fn note(&self, thread: &mut Thread, call: Option<CallFrame>, record: &Record<'_>) -> bool {
        if !self.enabled() {
            return false;
        }
        let site = match call {
            Some(call) => self.site(thread, call),
            None => NO_SITE,
        };
        let written = self.write(thread, ticks(), site, record);
        thread.events = thread.events.wrapping_add(u64::from(written));
        written
    }

    /// Records a fact at a site that is known.
    pub(crate) fn note_of(&self, thread: &mut Thread, site: u32, record: &Record<'_>) -> bool {
        if !self.enabled() {
            return false;
        }
        let written = self.write(thread, ticks(), site, record);
        thread.events = thread.events.wrapping_add(u64::from(written));
        written
    }

    /// Writes a record, in a new segment if need be. A fact that does not fit is counted; definitions of sites are not
    /// facts: the event that wanted one says so itself.
    fn write(&self, thread: &mut Thread, tsc: u64, site: u32, record: &Record<'_>) -> bool {
        let room = record.max_bytes();
        if (thread.segment.used as usize + room > layout::SEGMENT_PAYLOAD || thread.segment.payload == 0)
            && !self.open_segment(thread, tsc)
        {
            if !matches!(record, Record::Site { .. } | Record::Place { .. } | Record::Thread { .. }) {
                self.count(layout::live::LOST_NO_SPACE, 1);
            }
            return false;
        }
        self.write_here(thread, tsc, site, record)
    }

    fn write_here(&self, thread: &mut Thread, tsc: u64, site: u32, record: &Record<'_>) -> bool {
        let out = space::payload(thread.segment.payload, thread.segment.used as usize);
        let used = thread.encoder.record(tsc, site, record, out);
        if used == 0 {
            return false;
        }
        let crc = crc32c(thread.segment.crc, out.get(..used).unwrap_or(&[]));
        thread.segment.crc = crc;
        thread.segment.used = thread.segment.used.wrapping_add(used as u32);
        space::commit(thread.segment.payload, thread.segment.used, crc);
        true
    }

    /// Begins a new segment for this thread. False when there is no room.
    #[cold]
    fn open_segment(&self, thread: &mut Thread, tsc: u64) -> bool {
        if thread.segment.patience > 0 {
            thread.segment.patience = thread.segment.patience.wrapping_sub(1);
            return false;
        }
        deep::run(|| self.open_segment_here(thread, tsc))
    }

    fn open_segment_here(&self, thread: &mut Thread, tsc: u64) -> bool {
        let Some(space) = self.space() else { return false };
        let slot = match thread.segment.owed_slot {
            _ if quiet::is_on() => 0,
            0 => match space.take_slots(1) {
                Some(slot) => slot,
                None => {
                    thread.segment.patience = MEMORY_PATIENCE;
                    thread.segment.payload = 0;
                    return false;
                }
            },
            owed => owed.wrapping_sub(1),
        };
        let ready = if quiet::is_on() { quiet::next_segment(space) } else { space.ready(slot) };
        let Some(address) = ready else {
            thread.segment.owed_slot = if quiet::is_on() { 0 } else { slot.wrapping_add(1) };
            thread.segment.patience = PATIENCE;
            thread.segment.payload = 0;
            return false;
        };
        let at = if quiet::is_on() {
            // The last reading of both clocks, as a pair.
            let word = |offset| space.word(offset).load(Relaxed);
            ClockPair { tsc: word(layout::live::LATEST_TSC), ns: word(layout::live::LATEST_NS) }
        } else {
            let at = ClockPair { tsc, ns: monotonic_ns() };
            space.word(layout::live::LATEST_TSC).store(at.tsc, Relaxed);
            space.word(layout::live::LATEST_NS).store(at.ns, Relaxed);
            at
        };
        let sequence = thread.segment.sequence;
        space::put(address, 0, &layout::segment_header(SegmentKind::Events, thread.writer, sequence, at));
        thread.segment = Segment { payload: address, sequence: sequence.wrapping_add(1), ..Segment::default() };
        thread.encoder = SegmentEncoder::new(tsc);
        let number = thread.number;
        self.write_here(thread, tsc, NO_SITE, &Record::Thread { number })
    }

    pub(crate) fn blob_space(&self) -> Option<&Space> {
        self.space()
    }
}

/// Zeroed room for a recorder.
struct RecorderPlace(MaybeUninit<Recorder>);

// SAFETY: uninitialised memory may hold zeros.
unsafe impl Zeroed for RecorderPlace {}

impl RecorderPlace {
    fn as_place(&'static mut self) -> &'static mut MaybeUninit<Recorder> {
        &mut self.0
    }
}

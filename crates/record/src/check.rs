//! Check mode: redzones behind the blocks of foreign arenas, and the fill of dead blocks, written and looked at.
//!
//! Relied on: the host's memory is read and written by the kernel for us, so that a page that went away is an error and
//! no fault; what is written lies in bytes that an alloc function has just handed out beyond what the program asked for,
//! or in a block that was just given back. All work is done on stacks of our own with signals blocked, under one lock
//! that nobody waits long for: who does not get it leaves a block unchecked, or, where a zone would have to be forgotten,
//! ends the checking. Deliberately absent: which argument is grown (the agent), and what a changed byte means (findings).
#![allow(unsafe_code, reason = "one table behind a lock, and bytes of the host")]

use crate::arenas::Entry;
use crate::deep;
use crate::freed;
use crate::parts::{self, Parts};
use crate::quiet;
use crate::recorder::Recorder;
use crate::reserve::{Reserve, Zeroed};
use crate::system::{PARTS, for_each_mapping, write_own_memory};
use crate::thread::Thread;
use crate::zones::{self, OfArena, Slot, ZONE_BYTES, Zoned, Zones};
use arenascope_event::Zone;
use arenascope_trace::Record;
use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};

/// What a redzone holds.
pub const CANARY: u8 = 0xe7;
/// What a dead block holds.
pub const POISON: u8 = 0xd5;
/// Zones of an arena that are looked at when something happens in it.
const BUDGET: usize = 24;
/// Longest part of a changed zone that is told, bytes (`arenascope_trace` cuts there too).
const FOUND_BYTES: usize = 64;
/// Dead bytes of one block that are looked at.
const DEAD_BYTES: u64 = 256;
/// Blocks that are watched after one event has ended them, the newest.
const WATCHED: usize = 64;
/// Refusals of a grown size, where the asked size was there, after which an arena's blocks are left as they are.
const REFUSALS: u32 = 8;
/// Blocks of this part of an arena's capacity, or larger ones, are not grown.
const LARGE_SHARE: u64 = 4;
/// Spins before a lock is given up: some 100 µs.
const SPINS: u32 = 20_000;

static CANARIES: [u8; ZONE_BYTES as usize] = [CANARY; ZONE_BYTES as usize];
static POISONS: [u8; ZONE_BYTES as usize] = [POISON; ZONE_BYTES as usize];

/// Address space that [`Check::new`] takes, bytes.
pub const CHECK_BYTES: usize = zones::SLOTS * size_of::<Slot>()
    + zones::ARENAS * size_of::<OfArena>()
    + zones::HEADS * 2 * size_of::<u32>()
    + freed::ARENAS * size_of::<freed::OfArena>()
    + size_of::<Check>()
    + 2 * size_of::<Page>()
    + 4096;

/// How much room a block of `size` bytes is asked beyond it: the alignment that its size promises stays, so that blocks
/// behind it lie as they would.
pub const fn growth(size: u64) -> u64 {
    match size {
        0 => 0,
        size if size.is_multiple_of(4096) => 4096,
        size if size.is_multiple_of(64) => 64,
        _ => 32,
    }
}

/// The zones of a process. One, never dropped.
pub struct Check {
    locked: AtomicBool,
    given_up: AtomicU32,
    /// One past the highest key with freed blocks; changed under the lock alone.
    freed_keys: AtomicU32,
    tables: UnsafeCell<Tables>,
}

/// What the lock guards.
struct Tables {
    zones: Zones,
    freed: &'static mut [freed::OfArena],
    /// Where bytes of the host are read to.
    page: &'static mut Page,
}

/// A page, so that the kernel pins one.
#[repr(C, align(4096))]
struct Page([u8; parts::BYTES]);

// SAFETY: bytes.
unsafe impl Zeroed for Page {}

impl Tables {
    /// A call of this arena returns: what its freed blocks hold now is what its allocator keeps there.
    fn remember_freed(&mut self, pid: u32, key: u32, since: u64) {
        let Some(freed) = self.freed.get_mut(key as usize) else { return };
        let mut parts = Parts::NONE;
        for row in freed.rows.iter().filter(|row| row.len != 0) {
            parts.add(row.block, row.len as usize);
        }
        if parts.list().is_empty() {
            return;
        }
        let mut read = parts.read(pid, &mut self.page.0);
        for row in freed.rows.iter_mut().filter(|row| row.len != 0) {
            row.known = 1;
            row.since = since;
            match read.next(row.block, row.len as usize) {
                Some(found) => row.bytes.iter_mut().zip(found).for_each(|(place, byte)| *place = *byte),
                None => row.len = 0,
            }
        }
    }
}

// SAFETY: `tables` is reached through `Held` alone, which is made by whoever moved `locked` from false to true.
unsafe impl Sync for Check {}

struct CheckPlace(MaybeUninit<Check>);

// SAFETY: uninitialised memory may hold zeros.
unsafe impl Zeroed for CheckPlace {}

/// The lock, held.
struct Held<'a>(&'a Check);

impl Held<'_> {
    fn tables(&mut self) -> &mut Tables {
        // SAFETY: `locked` is ours until this is dropped.
        unsafe { &mut *self.0.tables.get() }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        // Release: pairs with the Acquire in `hold`.
        self.0.locked.store(false, Release);
    }
}

/// What happens to an arena's blocks at an event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dying {
    /// None dies.
    None,
    /// The one at this address.
    Block(u64),
    /// Those newer than this mark.
    Since(u64),
    /// All.
    All,
}

impl Check {
    /// Checking begins, in `reserve` (at least [`CHECK_BYTES`]).
    pub fn new(reserve: &mut Reserve) -> Option<&'static Check> {
        let zones = Zones::new(
            reserve.take(zones::SLOTS)?,
            reserve.take(zones::ARENAS)?,
            reserve.take(zones::HEADS)?,
            reserve.take(zones::HEADS)?,
        );
        let freed = reserve.take(freed::ARENAS)?;
        let page = reserve.take_one()?;
        let place: &'static mut CheckPlace = reserve.take_one()?;
        Some(place.0.write(Check {
            locked: AtomicBool::new(false),
            given_up: AtomicU32::new(0),
            freed_keys: AtomicU32::new(0),
            tables: UnsafeCell::new(Tables { zones, freed, page }),
        }))
    }

    /// True while blocks are checked.
    pub fn works(&self) -> bool {
        self.given_up.load(Relaxed) == 0
    }

    /// A zone would have to be forgotten and cannot be: from here on its bytes say nothing.
    pub fn give_up(&self, recorder: &Recorder) {
        if self.given_up.swap(1, Relaxed) == 0 {
            recorder.unchecked();
        }
    }

    fn hold(&self) -> Option<Held<'_>> {
        for _ in 0..SPINS {
            if self.locked.compare_exchange_weak(false, true, Acquire, Relaxed).is_ok() {
                return Some(Held(self));
            }
            core::hint::spin_loop();
        }
        None
    }

    /// Does `work` with the zones. `must`: without it zones would tell of memory that is no longer what they say.
    fn with<R>(&self, recorder: &Recorder, must: bool, work: impl FnOnce(&mut Zones) -> R) -> Option<R> {
        self.with_all(recorder, must, |tables| work(&mut tables.zones))
    }

    fn with_all<R>(&self, recorder: &Recorder, must: bool, work: impl FnOnce(&mut Tables) -> R) -> Option<R> {
        if !self.works() {
            return None;
        }
        if quiet::is_on() {
            self.give_up(recorder);
            return None;
        }
        deep::run(|| match self.hold() {
            Some(mut held) => Some(work(held.tables())),
            None if must => {
                self.give_up(recorder);
                None
            }
            None => None,
        })
    }

    /// In a forked child: another thread of the parent may have held the lock.
    pub fn only_this_thread(&self) {
        if self.locked.swap(false, Relaxed) {
            self.given_up.store(1, Relaxed);
        }
    }

    /// A function of an arena is entered: looks at zones of the arena, and forgets those whose blocks die. Blocks of
    /// fewer bytes than the answer may be grown.
    pub fn entered(&self, recorder: &Recorder, thread: &mut Thread, entry: &Entry, dying: Dying) -> u64 {
        let key = entry.key.load(Relaxed);
        let order = entry.order.load(Relaxed);
        let look = |tables: &mut Tables| {
            let zones = &mut tables.zones;
            let mut freed = tables.freed.get_mut(key as usize);
            let mut no_rows = [];
            let rows: &mut [freed::Row] = freed.as_deref_mut().map_or(&mut no_rows, |freed| &mut freed.rows);
            let dies = match dying {
                Dying::Block(block) => zones.of_block(key, block, Zone::After),
                _ => None,
            };
            // Some of the zones and the one that dies, read with the freed blocks by one system call.
            let mut slots = [0u32; BUDGET + 1];
            let mut count = match dying {
                Dying::None | Dying::Block(_) => zones.due(key, slots.get_mut(..BUDGET).unwrap_or(&mut [])),
                Dying::Since(_) | Dying::All => 0,
            };
            if let (Some(slot), Some(place)) = (dies, slots.get_mut(count)) {
                *place = slot;
                count = count.wrapping_add(1);
            }
            let mut eyes = Eyes { recorder, thread, zones, page: &mut tables.page.0, order };
            eyes.look_at(key, rows, slots.get(..count).unwrap_or(&[]));
            if let Dying::Since(_) | Dying::All = dying {
                // Those go when the event has been told: see `ended`.
                eyes.look_at_all(key);
            }
            if let (Some(slot), Dying::Block(block)) = (dies, dying) {
                if let (Some(zone), Some(freed)) = (eyes.zones.get(slot), freed)
                    && zone.size > 0
                {
                    freed.add(block, zone.size, order);
                    // Release: pairs with the Acquire in `left`.
                    self.freed_keys.fetch_max(key.saturating_add(1), Release);
                }
                eyes.zones.remove(slot);
            }
            match eyes.zones.arena(key) {
                Some(arena) if arena.refused >= REFUSALS => 0,
                // A few large blocks may be meant to fill the arena to its last byte.
                Some(arena) if arena.capacity > 0 => arena.capacity / LARGE_SHARE,
                Some(_) => u64::MAX,
                None => 0,
            }
        };
        self.with_all(recorder, dying != Dying::None, look).unwrap_or(0)
    }

    /// A function of the arena has returned, and no block came of it: what its freed blocks hold now is what its allocator
    /// keeps there.
    pub fn left(&self, recorder: &Recorder, entry: &Entry) {
        let key = entry.key.load(Relaxed);
        let since = entry.order.load(Relaxed);
        if key < self.freed_keys.load(Acquire) {
            self.with_all(recorder, true, |tables| tables.remember_freed(recorder.pid(), key, since));
        }
    }

    /// A rewind, reset or destroy has been told and is about to happen: forgets the zones of the blocks that it ends. With
    /// `fill` those blocks are watched from now on; nothing may read them while they end. `spans`: where the arena's
    /// blocks lay; arenas that took their memory there end too.
    pub fn ended(&self, recorder: &Recorder, entry: &Entry, dying: Dying, fill: bool, spans: &[(u64, u64)]) {
        let key = entry.key.load(Relaxed);
        let next = entry.order.load(Relaxed);
        self.with_all(recorder, true, |tables| {
            if let Some(freed) = tables.freed.get_mut(key as usize) {
                freed.clear();
            }
            let zones = &mut tables.zones;
            let (stamp, sure) = match dying {
                Dying::Since(mark) => zones.back_to(key, mark),
                _ => (0, true),
            };
            let mut dead = [Zoned::default(); WATCHED];
            let mut count = 0usize;
            zones.take_from(key, stamp, |zone| {
                let kept = zone.zone() == Zone::After && zone.size > 0;
                if let (true, Some(place)) = (kept, dead.get_mut(count)) {
                    *place = *zone;
                    count = count.wrapping_add(1);
                }
            });
            match dying {
                Dying::Since(_) => zones.forget_marks_after(key, stamp),
                _ => zones.forget_marks(key),
            }
            for (low, high) in spans {
                if dying == Dying::All {
                    zones.take_inside(*low, *high, |_| {});
                }
            }
            if !fill || !sure {
                return;
            }
            // Oldest first, so that the order of stamps stays that of the blocks.
            for zone in dead.iter().take(count).rev() {
                let len = zone.size.min(DEAD_BYTES);
                let (start, end) = (zone.block, zone.block.saturating_add(len));
                let poisons = POISONS.get(..len as usize).unwrap_or(&[]);
                // SAFETY: the bytes are a block's that the host has just given back; the function that takes it back runs no
                // code that could read it (the caller's promise by `fill`), and the allocator's own words lie outside blocks.
                let written = unsafe { write_own_memory(recorder.pid(), start, poisons) };
                let (kind, ended) = (Zone::Dead as u8, next.saturating_sub(1));
                if written == poisons.len() {
                    zones.add(Zoned { start, end, since: next, ended, kind, ..*zone });
                }
            }
        });
    }

    /// The stamp of the next zone.
    pub fn stamp(&self, recorder: &Recorder) -> u64 {
        self.with(recorder, false, |zones| zones.next_stamp()).unwrap_or(0)
    }

    /// An arena was created at an object where there may have been another: zones before `stamp` are that one's.
    /// `capacity` is the size that the create call was given, 0 when none is known.
    pub fn created(&self, recorder: &Recorder, entry: &Entry, stamp: u64, capacity: u64) {
        let key = entry.key.load(Relaxed);
        self.with(recorder, true, |zones| {
            zones.take_before(key, stamp);
            if let Some(arena) = zones.arena(key) {
                arena.capacity = capacity;
                arena.refused = 0;
            }
        });
    }

    /// The allocator refused a grown size and took the asked one.
    pub fn refused(&self, recorder: &Recorder, entry: &Entry) {
        let key = entry.key.load(Relaxed);
        self.with(recorder, false, |zones| {
            if let Some(arena) = zones.arena(key) {
                arena.refused = arena.refused.saturating_add(1);
            }
        });
        recorder.unchecked();
    }

    /// A mark was taken.
    pub fn marked(&self, recorder: &Recorder, entry: &Entry, mark: u64) {
        let key = entry.key.load(Relaxed);
        self.with(recorder, true, |zones| zones.mark(key, mark));
    }

    /// An alloc or resize function handed out `block` of `size` bytes and `more` behind them, which nobody knows of. Does
    /// what [`Check::left`] does, too.
    pub fn handed_out(&self, recorder: &Recorder, entry: &Entry, thread: &Thread, block: u64, size: u64, more: u64) {
        let start = block.saturating_add(size);
        let end = start.saturating_add(more.min(ZONE_BYTES));
        let key = entry.key.load(Relaxed);
        let object = entry.object.load(Relaxed);
        let since = entry.order.load(Relaxed);
        let on_stack = thread.stack_low <= block && block < thread.stack_high;
        let added = self.with_all(recorder, true, |tables| {
            if let Some(freed) = tables.freed.get_mut(key as usize) {
                freed.forget_inside(block, start.saturating_add(more));
            }
            let zones = &mut tables.zones;
            // Whoever had these bytes before has them no longer.
            zones.take_inside(block, start.saturating_add(more), |_| {});
            let added = (more > 0 && !on_stack).then(|| {
                let kind = Zone::After as u8;
                let zone = Zoned { block, size, start, end, since, stamp: 0, ended: 0, arena: key, kind };
                if let Some(arena) = zones.arena(key) {
                    arena.object = object;
                }
                let canaries = CANARIES.get(..end.wrapping_sub(start) as usize).unwrap_or(&[]);
                // SAFETY: start..end lies in the `more` bytes behind the block that the allocator handed out because we asked
                // for them; the program knows of `size` bytes, and the allocator believes these to be the program's.
                let written = unsafe { write_own_memory(recorder.pid(), start, canaries) };
                written == canaries.len() && zones.add(zone)
            });
            tables.remember_freed(recorder.pid(), key, since);
            added.unwrap_or(more == 0)
        });
        if added == Some(false) {
            recorder.unchecked();
        }
    }

    /// `start..end` goes away or comes anew: looks at what lies there, and forgets it.
    pub fn range_goes(&self, recorder: &Recorder, thread: &mut Thread, start: u64, end: u64) {
        if !self.works() || !recorder.arenas().pages().may_hold(start, end) {
            return;
        }
        self.with_all(recorder, true, |tables| {
            let zones = &mut tables.zones;
            // As many as are read at once; what is beyond goes unseen.
            let mut slots = [0u32; PARTS];
            let count = zones.some_inside(start, end, &mut slots);
            let mut eyes = Eyes { recorder, thread, zones, page: &mut tables.page.0, order: 0 };
            eyes.look_at(0, &mut [], slots.get(..count).unwrap_or(&[]));
            eyes.zones.take_inside(start, end, |_| {});
            let keys = tables.freed.iter_mut().take(self.freed_keys.load(Relaxed) as usize);
            keys.for_each(|freed| freed.forget_inside(start, end));
        });
    }

    /// The process is about to fork: in shared memory the other side may write where it likes.
    pub fn forks(&self, recorder: &Recorder) {
        self.with(recorder, true, |zones| {
            for_each_mapping(|mapping| {
                if mapping.shared && mapping.protection & 2 != 0 {
                    zones.take_inside(mapping.start, mapping.end, |_| {});
                }
                true
            });
        });
    }

    /// The process ends: looks at everything.
    pub fn at_end(&self, recorder: &Recorder, thread: &mut Thread) {
        self.with_all(recorder, false, |tables| {
            let zones = &mut tables.zones;
            let mut from = 0u32;
            while let Some((key, object)) = zones.next_arena(from) {
                from = key.wrapping_add(1);
                let Some(entry) = recorder.arena(thread, object) else { continue };
                let order = entry.order.load(Relaxed);
                Eyes { recorder, thread, zones, page: &mut tables.page.0, order }.look_at_all(key);
            }
        });
    }
}

/// One look at zones.
struct Eyes<'a> {
    recorder: &'a Recorder,
    thread: &'a mut Thread,
    zones: &'a mut Zones,
    /// Where bytes are read to.
    page: &'a mut [u8],
    /// The arena's next order, for zones that are right; 0: not known.
    order: u64,
}

impl Eyes<'_> {
    fn look_at_all(&mut self, key: u32) {
        let mut next = self.zones.newest(key);
        while next.is_some() {
            let mut slots = [0u32; PARTS];
            let mut count = 0usize;
            while let (Some(slot), Some(place)) = (next, slots.get_mut(count)) {
                *place = slot;
                count = count.wrapping_add(1);
                next = self.zones.older(slot);
            }
            self.look_at(key, &mut [], slots.get(..count).unwrap_or(&[]));
        }
    }

    /// Reads freed blocks of the arena and the zones in these slots, by one system call where they fit into a page, and
    /// tells what differs. What differs, or cannot be read, is forgotten.
    fn look_at(&mut self, key: u32, rows: &mut [freed::Row], slots: &[u32]) {
        let page = core::mem::take(&mut self.page);
        let known = |row: &freed::Row| row.len != 0 && row.known != 0;
        let (mut rows, mut rest) = (rows, slots);
        while rows.iter().any(known) || !rest.is_empty() {
            let mut parts = Parts::NONE;
            for row in rows.iter().filter(|row| known(row)) {
                parts.add(row.block, row.len as usize);
            }
            let of_rows = parts.list().len();
            for slot in rest {
                // Of a slot without a zone nothing is read.
                let (start, len) = self.zones.get(*slot).map_or((0, 0), |zone| (zone.start, zone.bytes()));
                if !parts.add(start, len) {
                    break;
                }
            }
            let mut read = parts.read(self.recorder.pid(), page);
            for row in rows.iter_mut().filter(|row| known(row)) {
                match read.next(row.block, row.len as usize) {
                    Some(found) => self.compare_freed(key, row, found),
                    None => row.len = 0,
                }
            }
            rows = &mut [];
            let taken = parts.list().len().wrapping_sub(of_rows);
            for (slot, [start, len]) in rest.iter().take(taken).zip(parts.list().iter().skip(of_rows)) {
                match read.next(*start, *len as usize) {
                    Some(found) => self.compare(*slot, found),
                    // Nobody can read it: it is no zone any more.
                    None => self.zones.remove(*slot),
                }
            }
            rest = rest.get(taken.max(1)..).unwrap_or(&[]);
        }
        self.page = page;
    }

    /// Tells whether a freed block holds something else than the arena's last call left there, and forgets it then.
    fn compare_freed(&mut self, key: u32, row: &mut freed::Row, found: &[u8]) {
        let pairs = row.bytes.iter().zip(found);
        let Some((first, (before, now))) = pairs.enumerate().find(|(_, (before, now))| before != now) else { return };
        let record = Record::Damage {
            arena: key,
            block: row.block,
            size: row.size,
            zone: Zone::Dead,
            address: row.block.wrapping_add(first as u64),
            expected: *before,
            // The bytes behind it held each their own.
            found: &[*now],
            end: row.block.wrapping_add(u64::from(row.len)),
            since: row.since,
            ended: Some(row.ended),
        };
        self.recorder.note(self.thread, None, &record);
        row.len = 0;
    }

    fn compare(&mut self, slot: u32, found: &[u8]) {
        let Some(zone) = self.zones.get(slot).copied() else { return };
        let expected = if zone.zone() == Zone::Dead { POISON } else { CANARY };
        // All bytes at once: most zones are right.
        if found.iter().fold(0, |wrong, byte| wrong | (byte ^ expected)) == 0 {
            if self.order != 0 {
                self.zones.seen(slot, self.order);
            }
            return;
        }
        let Some(first) = found.iter().position(|byte| *byte != expected) else { return };
        let last = found.iter().rposition(|byte| *byte != expected).unwrap_or(first);
        let told = found.get(first..=last).unwrap_or(&[]);
        let record = Record::Damage {
            arena: zone.arena,
            block: zone.block,
            size: zone.size,
            zone: zone.zone(),
            address: zone.start.wrapping_add(first as u64),
            expected,
            found: told.get(..FOUND_BYTES).unwrap_or(told),
            end: zone.end,
            since: zone.since,
            ended: (zone.zone() == Zone::Dead).then_some(zone.ended),
        };
        self.recorder.note(self.thread, None, &record);
        self.zones.remove(slot);
    }
}

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
use crate::quiet;
use crate::recorder::Recorder;
use crate::reserve::{Reserve, Zeroed};
use crate::system::{PARTS, for_each_mapping, read_own_parts, write_own_memory};
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
/// Bytes read at once.
const READ_BYTES: usize = 4096;
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
    tables: UnsafeCell<Tables>,
}

/// What the lock guards.
struct Tables {
    zones: Zones,
    freed: &'static mut [freed::OfArena],
    /// One past the highest key with rows.
    freed_keys: usize,
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
        let place: &'static mut CheckPlace = reserve.take_one()?;
        Some(place.0.write(Check {
            locked: AtomicBool::new(false),
            given_up: AtomicU32::new(0),
            tables: UnsafeCell::new(Tables { zones, freed, freed_keys: 0 }),
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
            let mut eyes = Eyes { recorder, thread, zones: &mut tables.zones, order };
            let mut freed = tables.freed.get_mut(key as usize);
            if let Some(freed) = freed.as_deref_mut().filter(|freed| freed.any()) {
                eyes.look_at_freed(key, freed);
            }
            match dying {
                Dying::None => eyes.look_at_some(key),
                Dying::Block(block) => {
                    eyes.look_at_some(key);
                    if let Some(slot) = eyes.zones.of_block(key, block, Zone::After) {
                        eyes.look(&[slot]);
                        if let (Some(zone), Some(freed)) = (eyes.zones.get(slot), freed)
                            && zone.size > 0
                        {
                            freed.add(block, zone.size, order);
                            tables.freed_keys = tables.freed_keys.max(key as usize + 1);
                        }
                        eyes.zones.remove(slot);
                    }
                }
                // Those go when the event has been told: see `ended`.
                Dying::Since(_) | Dying::All => eyes.look_at_all(key),
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

    /// A function of the arena has returned: what its freed blocks hold now is what its allocator keeps there.
    pub fn left(&self, recorder: &Recorder, entry: &Entry) {
        let key = entry.key.load(Relaxed);
        let since = entry.order.load(Relaxed);
        self.with_all(recorder, true, |tables| {
            let Some(freed) = tables.freed.get_mut(key as usize) else { return };
            for row in freed.rows.iter_mut().filter(|row| row.len != 0) {
                let len = row.len as usize;
                let to = row.bytes.get_mut(..len).unwrap_or(&mut []);
                let got = read_own_parts(recorder.pid(), &[[row.block, len as u64]], to);
                row.known = 1;
                row.since = since;
                if got != len {
                    row.len = 0;
                }
            }
        });
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

    /// An alloc or resize function handed out `block` of `size` bytes and `more` behind them, which nobody knows of.
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
            if more == 0 || on_stack {
                return more == 0;
            }
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
            let mut eyes = Eyes { recorder, thread, zones, order: 0 };
            eyes.look(slots.get(..count).unwrap_or(&[]));
            eyes.zones.take_inside(start, end, |_| {});
            let keys = tables.freed.iter_mut().take(tables.freed_keys);
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
        self.with(recorder, false, |zones| {
            let mut from = 0u32;
            while let Some((key, object)) = zones.next_arena(from) {
                from = key.wrapping_add(1);
                let Some(entry) = recorder.arena(thread, object) else { continue };
                let order = entry.order.load(Relaxed);
                Eyes { recorder, thread, zones, order }.look_at_all(key);
            }
        });
    }
}

/// One look at zones.
struct Eyes<'a> {
    recorder: &'a Recorder,
    thread: &'a mut Thread,
    zones: &'a mut Zones,
    /// The arena's next order, for zones that are right; 0: not known.
    order: u64,
}

impl Eyes<'_> {
    fn look_at_some(&mut self, key: u32) {
        let mut slots = [0u32; BUDGET];
        let count = self.zones.due(key, &mut slots);
        self.look(slots.get(..count).unwrap_or(&[]));
    }

    fn look_at_all(&mut self, key: u32) {
        let mut next = self.zones.newest(key);
        while next.is_some() {
            let mut slots = [0u32; BUDGET];
            let mut count = 0usize;
            while let (Some(slot), Some(place)) = (next, slots.get_mut(count)) {
                *place = slot;
                count = count.wrapping_add(1);
                next = self.zones.older(slot);
            }
            self.look(slots.get(..count).unwrap_or(&[]));
        }
    }

    /// Reads the zones in these slots and tells what differs. Zones that differ, or cannot be read, are forgotten.
    fn look(&mut self, slots: &[u32]) {
        let mut rest = slots;
        while !rest.is_empty() {
            let mut parts = [[0u64; 2]; PARTS];
            let mut bytes = 0usize;
            let mut count = 0usize;
            for slot in rest {
                let Some(zone) = self.zones.get(*slot) else { break };
                let len = zone.end.wrapping_sub(zone.start) as usize;
                let Some(part) = parts.get_mut(count).filter(|_| bytes.saturating_add(len) <= READ_BYTES) else {
                    break;
                };
                *part = [zone.start, len as u64];
                bytes = bytes.saturating_add(len);
                count = count.wrapping_add(1);
            }
            // A slot without a zone is passed over.
            let passed = count.max(1);
            let mut buffer = [0u8; READ_BYTES];
            let to = buffer.get_mut(..bytes).unwrap_or(&mut []);
            let got = read_own_parts(self.recorder.pid(), parts.get(..count).unwrap_or(&[]), to);
            let mut at = 0usize;
            let mut read = 0usize;
            for (slot, part) in rest.iter().take(count).zip(&parts) {
                let [_, len] = *part;
                let Some(found) = buffer.get(at..at.saturating_add(len as usize)) else { break };
                at = at.saturating_add(len as usize);
                if at > got {
                    // Nobody can read it: it is no zone any more. The ones behind it are read anew.
                    self.zones.remove(*slot);
                    read = read.wrapping_add(1);
                    break;
                }
                self.compare(*slot, found);
                read = read.wrapping_add(1);
            }
            rest = rest.get(if count == 0 { passed } else { read }..).unwrap_or(&[]);
        }
    }

    /// Tells which freed blocks hold something else than the arena's last call left there, and forgets those.
    fn look_at_freed(&mut self, key: u32, freed: &mut freed::OfArena) {
        for row in freed.rows.iter_mut().filter(|row| row.len != 0 && row.known != 0) {
            let len = row.len as usize;
            let mut buffer = [0u8; freed::BYTES];
            let to = buffer.get_mut(..len).unwrap_or(&mut []);
            if read_own_parts(self.recorder.pid(), &[[row.block, len as u64]], to) != len {
                row.len = 0;
                continue;
            }
            let pairs = row.bytes.iter().zip(&buffer).take(len);
            let Some((first, (before, now))) = pairs.enumerate().find(|(_, (before, now))| before != now) else {
                continue;
            };
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
    }

    fn compare(&mut self, slot: u32, found: &[u8]) {
        let Some(zone) = self.zones.get(slot).copied() else { return };
        let expected = if zone.zone() == Zone::Dead { POISON } else { CANARY };
        let Some(first) = found.iter().position(|byte| *byte != expected) else {
            if self.order != 0 {
                self.zones.seen(slot, self.order);
            }
            return;
        };
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

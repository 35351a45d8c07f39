//! Which bytes of foreign arenas hold a known value: redzones behind living blocks, and dead blocks.
//!
//! ```text
//!   │ block 1 │ zone │ block 2 │ zone │        a zone is found by its arena (newest first), by its block's address,
//!   └─────────┴──────┴─────────┴──────┘        and by the memory it lies in
//! ```
//!
//! Numbers and links only, in memory reserved at the start: nothing here reads or writes the host. Relied on: every
//! operation is bounded, links are indices that are checked, a full table refuses and loses nothing else. Deliberately
//! absent: locks (the owner has one), what the bytes should be, and what it means when they are not.

use arenascope_event::Zone;

/// Zones kept at once, slot 0 left out.
pub(crate) const SLOTS: usize = 1 << 16;
/// Arenas whose zones are kept: those with the lowest keys.
pub(crate) const ARENAS: usize = 1 << 14;
/// Heads of the lists by address.
pub(crate) const HEADS: usize = 1 << 14;
/// No zone is longer, bytes.
pub(crate) const ZONE_BYTES: u64 = 1024;
/// Marks of one arena that are remembered, the last ones.
const MARKS: usize = 8;
/// Ranges of more pages are compared with every zone instead.
const PAGES: u64 = 1024;
/// The stamp of a mark that is no longer valid.
const GONE: u64 = u64::MAX;
/// Longer lists are a mistake of ours, and are not followed.
const LONGEST: usize = SLOTS;

/// One zone.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
#[repr(C)]
pub(crate) struct Zoned {
    /// The block it belongs to.
    pub block: u64,
    /// The block's bytes, as asked for.
    pub size: u64,
    /// First byte of the zone.
    pub start: u64,
    /// One past its last.
    pub end: u64,
    /// The zone was right when the arena's events before this order had happened.
    pub since: u64,
    /// Counts zones over the life of the process.
    pub stamp: u64,
    /// Of a dead block: the order of the event that took it back.
    pub ended: u64,
    /// The arena's key.
    pub arena: u32,
    /// [`Zone`]'s code.
    pub kind: u8,
}

impl Zoned {
    /// Its length; never more than [`ZONE_BYTES`].
    pub fn bytes(&self) -> usize {
        self.end.wrapping_sub(self.start) as usize
    }

    /// Where it lies, seen from its block.
    pub fn zone(&self) -> Zone {
        Zone::ALL.get(usize::from(self.kind)).copied().unwrap_or(Zone::After)
    }
}

#[derive(Clone, Copy, Default)]
#[repr(C)]
pub(crate) struct Slot {
    zone: Zoned,
    newer: u32,
    /// Of a slot that is not used: the next such one.
    older: u32,
    next_of_block: u32,
    next_of_page: u32,
    used: u32,
}

// SAFETY: integers.
#[allow(unsafe_code, reason = "marks a table row as valid when zeroed")]
unsafe impl crate::reserve::Zeroed for Slot {}

/// What is known of one arena.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub(crate) struct OfArena {
    newest: u32,
    /// Where the last look at older zones ended.
    resume: u32,
    /// How often the allocator refused a grown size and took the asked one.
    pub refused: u32,
    marked: u32,
    /// The arena object.
    pub object: u64,
    /// The size that its create call was given; 0: not known.
    pub capacity: u64,
    marks: [(u64, u64); MARKS],
}

// SAFETY: integers.
#[allow(unsafe_code, reason = "marks a table row as valid when zeroed")]
unsafe impl crate::reserve::Zeroed for OfArena {}

/// All zones.
pub(crate) struct Zones {
    slots: &'static mut [Slot],
    arenas: &'static mut [OfArena],
    by_block: &'static mut [u32],
    by_page: &'static mut [u32],
    /// Slots ever used, slot 0 included.
    high: u32,
    unused: u32,
    stamp: u64,
}

fn head_of(address: u64) -> usize {
    ((address >> 12).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 50) as usize & (HEADS - 1)
}

impl Zones {
    /// No zones, over zeroed memory.
    pub fn new(
        slots: &'static mut [Slot],
        arenas: &'static mut [OfArena],
        by_block: &'static mut [u32],
        by_page: &'static mut [u32],
    ) -> Zones {
        Zones { slots, arenas, by_block, by_page, high: 1, unused: 0, stamp: 1 }
    }

    /// The stamp that the next zone will get.
    pub fn next_stamp(&self) -> u64 {
        self.stamp
    }

    /// What is known of an arena; `None` for one beyond the table.
    pub fn arena(&mut self, key: u32) -> Option<&mut OfArena> {
        self.arenas.get_mut(key as usize)
    }

    /// The zone in a slot.
    pub fn get(&self, slot: u32) -> Option<&Zoned> {
        self.slots.get(slot as usize).filter(|slot| slot.used != 0).map(|slot| &slot.zone)
    }

    /// Adds a zone; its stamp is set here. False when there is no room, or the zone is empty or too long.
    pub fn add(&mut self, mut zone: Zoned) -> bool {
        let len = zone.end.wrapping_sub(zone.start);
        if len == 0 || len > ZONE_BYTES || zone.end < zone.start {
            return false;
        }
        let Some(arena) = self.arenas.get_mut(zone.arena as usize) else { return false };
        let slot = match self.unused {
            0 if (self.high as usize) < self.slots.len() => {
                self.high = self.high.wrapping_add(1);
                self.high.wrapping_sub(1)
            }
            0 => return false,
            unused => unused,
        };
        let older = arena.newest;
        arena.newest = slot;
        let Some(place) = self.slots.get_mut(slot as usize) else { return false };
        if slot == self.unused {
            self.unused = place.older;
        }
        zone.stamp = self.stamp;
        self.stamp = self.stamp.wrapping_add(1);
        *place = Slot { zone, newer: 0, older, next_of_block: 0, next_of_page: 0, used: 1 };
        if let Some(head) = self.by_block.get_mut(head_of(zone.block)) {
            place.next_of_block = core::mem::replace(head, slot);
        }
        if let Some(head) = self.by_page.get_mut(head_of(zone.start)) {
            place.next_of_page = core::mem::replace(head, slot);
        }
        if let Some(older) = self.slots.get_mut(older as usize) {
            older.newer = slot;
        }
        true
    }

    /// Takes a zone out.
    pub fn remove(&mut self, slot: u32) {
        let Some(gone) = self.slots.get(slot as usize).copied().filter(|gone| gone.used != 0) else { return };
        unlink(self.slots, self.by_block.get_mut(head_of(gone.zone.block)), slot, |slot| &mut slot.next_of_block);
        unlink(self.slots, self.by_page.get_mut(head_of(gone.zone.start)), slot, |slot| &mut slot.next_of_page);
        match gone.newer {
            0 => {
                if let Some(arena) = self.arenas.get_mut(gone.zone.arena as usize) {
                    arena.newest = gone.older;
                }
            }
            newer => {
                if let Some(newer) = self.slots.get_mut(newer as usize) {
                    newer.older = gone.older;
                }
            }
        }
        if gone.older != 0
            && let Some(older) = self.slots.get_mut(gone.older as usize)
        {
            older.newer = gone.newer;
        }
        if let Some(place) = self.slots.get_mut(slot as usize) {
            *place = Slot { older: self.unused, ..Slot::default() };
            self.unused = slot;
        }
    }

    /// The zone of this kind that belongs to the block at `block`.
    pub fn of_block(&self, arena: u32, block: u64, zone: Zone) -> Option<u32> {
        let mut slot = *self.by_block.get(head_of(block))?;
        for _ in 0..LONGEST {
            let found = self.slots.get(slot as usize).filter(|_| slot != 0)?;
            if found.zone.block == block && found.zone.arena == arena && found.zone.kind == zone as u8 {
                return Some(slot);
            }
            slot = found.next_of_block;
        }
        None
    }

    /// A zone that has bytes in `start..end`.
    fn inside(&self, start: u64, end: u64) -> Option<u32> {
        let touches = |zone: &Zoned| zone.start < end && start < zone.end;
        let first = start.saturating_sub(ZONE_BYTES) >> 12;
        let last = end.saturating_sub(1) >> 12;
        if last.wrapping_sub(first) > PAGES {
            let slots = self.slots.get(..self.high as usize)?;
            return slots.iter().position(|slot| slot.used != 0 && touches(&slot.zone)).map(|index| index as u32);
        }
        for page in first..=last {
            let mut slot = *self.by_page.get(head_of(page << 12))?;
            for _ in 0..LONGEST {
                let Some(found) = self.slots.get(slot as usize).filter(|_| slot != 0) else { break };
                if touches(&found.zone) {
                    return Some(slot);
                }
                slot = found.next_of_page;
            }
        }
        None
    }

    /// The zones that have bytes in `start..end`, as many as fit into `to`; how many.
    pub fn some_inside(&self, start: u64, end: u64, to: &mut [u32]) -> usize {
        let mut count = 0usize;
        let mut keep = |slot: u32, zone: &Zoned| {
            let touches = zone.start < end && start < zone.end;
            let known = to.get(..count).is_some_and(|kept| kept.contains(&slot));
            if let (true, false, Some(place)) = (touches, known, to.get_mut(count)) {
                *place = slot;
                count = count.wrapping_add(1);
            }
        };
        let first = start.saturating_sub(ZONE_BYTES) >> 12;
        let last = end.saturating_sub(1) >> 12;
        if last.wrapping_sub(first) > PAGES {
            let slots = self.slots.get(..self.high as usize).unwrap_or(&[]);
            let used = slots.iter().enumerate().filter(|(_, slot)| slot.used != 0);
            used.for_each(|(index, slot)| keep(index as u32, &slot.zone));
            return count;
        }
        for page in first..=last {
            let mut slot = self.by_page.get(head_of(page << 12)).copied().unwrap_or(0);
            for _ in 0..LONGEST {
                let Some(found) = self.slots.get(slot as usize).filter(|_| slot != 0) else { break };
                keep(slot, &found.zone);
                slot = found.next_of_page;
            }
        }
        count
    }

    /// Calls `each` with every zone that has bytes in `start..end`, and takes it out.
    pub fn take_inside(&mut self, start: u64, end: u64, mut each: impl FnMut(&Zoned)) {
        if start >= end || self.high <= 1 {
            return;
        }
        for _ in 0..SLOTS {
            let Some(slot) = self.inside(start, end) else { return };
            if let Some(zone) = self.get(slot) {
                each(zone);
            }
            self.remove(slot);
        }
    }

    /// The arena's newest zone, and the one before a zone.
    pub fn newest(&self, arena: u32) -> Option<u32> {
        self.arenas.get(arena as usize).map(|arena| arena.newest).filter(|slot| *slot != 0)
    }

    /// The zone of the same arena before this one.
    pub fn older(&self, slot: u32) -> Option<u32> {
        self.slots.get(slot as usize).filter(|slot| slot.used != 0).map(|slot| slot.older).filter(|older| *older != 0)
    }

    /// Which zones of an arena are to be looked at now: the newest half of `to`, and for the rest older ones in turn.
    /// How many.
    pub fn due(&mut self, arena: u32, to: &mut [u32]) -> usize {
        let mut count = 0usize;
        let mut next = self.newest(arena);
        let half = to.len() / 2;
        while let (Some(slot), true) = (next, count < half) {
            if let Some(place) = to.get_mut(count) {
                *place = slot;
            }
            count = count.wrapping_add(1);
            next = self.older(slot);
        }
        let Some(rest) = next else { return count };
        let resume = self.arenas.get(arena as usize).map_or(0, |arena| arena.resume);
        let valid = self.get(resume).is_some_and(|zone| {
            zone.arena == arena && self.get(rest).is_some_and(|oldest_new| zone.stamp <= oldest_new.stamp)
        });
        let mut next = Some(if valid { resume } else { rest });
        while let (Some(slot), true) = (next, count < to.len()) {
            if let Some(place) = to.get_mut(count) {
                *place = slot;
            }
            count = count.wrapping_add(1);
            next = self.older(slot);
        }
        if let Some(arena) = self.arenas.get_mut(arena as usize) {
            arena.resume = next.unwrap_or(0);
        }
        count
    }

    /// Says that a zone was right until `order`.
    pub fn seen(&mut self, slot: u32, order: u64) {
        if let Some(slot) = self.slots.get_mut(slot as usize) {
            slot.zone.since = order;
        }
    }

    /// A mark was taken: zones from now on are newer.
    pub fn mark(&mut self, arena: u32, value: u64) {
        let stamp = self.stamp;
        if let Some(arena) = self.arenas.get_mut(arena as usize) {
            let place = arena.marked as usize % MARKS;
            if let Some(place) = arena.marks.get_mut(place) {
                *place = (value, stamp);
            }
            arena.marked = arena.marked.wrapping_add(1);
        }
    }

    /// The arena goes back to `value`: the stamp from which its zones die, and whether that is sure. An address of a block
    /// means that block; a value that was never seen means all.
    pub fn back_to(&self, arena: u32, value: u64) -> (u64, bool) {
        let Some(known) = self.arenas.get(arena as usize) else { return (0, false) };
        let kept = (known.marked as usize).min(MARKS);
        let newest_first = (1..=kept).filter_map(|back| {
            let index = (known.marked as usize).wrapping_sub(back) % MARKS;
            known.marks.get(index)
        });
        let mut valid = newest_first.into_iter().filter(|(_, stamp)| *stamp != GONE);
        if let Some((_, stamp)) = valid.find(|(marked, _)| *marked == value) {
            return (*stamp, true);
        }
        match self.of_block(arena, value, Zone::After).and_then(|slot| self.get(slot)) {
            Some(zone) => (zone.stamp, false),
            None => (0, false),
        }
    }

    /// Forgets the marks of an arena that were taken after `stamp`.
    pub fn forget_marks_after(&mut self, arena: u32, stamp: u64) {
        if let Some(arena) = self.arenas.get_mut(arena as usize) {
            arena.marks.iter_mut().filter(|(_, taken)| *taken > stamp).for_each(|mark| *mark = (0, GONE));
        }
    }

    /// Forgets the marks of an arena.
    pub fn forget_marks(&mut self, arena: u32) {
        if let Some(arena) = self.arenas.get_mut(arena as usize) {
            arena.marked = 0;
        }
    }

    /// Calls `each` with the zones of an arena from `stamp` on, newest first, and takes them out.
    pub fn take_from(&mut self, arena: u32, stamp: u64, mut each: impl FnMut(&Zoned)) {
        for _ in 0..SLOTS {
            let Some(slot) = self.newest(arena) else { return };
            let Some(zone) = self.get(slot).copied().filter(|zone| zone.stamp >= stamp) else { return };
            each(&zone);
            self.remove(slot);
        }
    }

    /// Takes out the zones of an arena that are older than `stamp`.
    pub fn take_before(&mut self, arena: u32, stamp: u64) {
        let mut next = self.newest(arena);
        for _ in 0..SLOTS {
            let Some(slot) = next else { return };
            next = self.older(slot);
            if self.get(slot).is_some_and(|zone| zone.stamp < stamp) {
                self.remove(slot);
            }
        }
    }

    /// The arenas that have zones: key and object, from `from` on; the first such.
    pub fn next_arena(&self, from: u32) -> Option<(u32, u64)> {
        let rest = self.arenas.get(from as usize..)?;
        let index = rest.iter().position(|arena| arena.newest != 0)?;
        Some((from.wrapping_add(index as u32), rest.get(index)?.object))
    }
}

/// Takes `gone` out of one of the lists by address.
fn unlink(slots: &mut [Slot], head: Option<&mut u32>, gone: u32, link: impl Fn(&mut Slot) -> &mut u32) {
    let Some(head) = head else { return };
    let next = slots.get_mut(gone as usize).map_or(0, |slot| *link(slot));
    if *head == gone {
        *head = next;
        return;
    }
    let mut at = *head;
    for _ in 0..LONGEST {
        let Some(slot) = slots.get_mut(at as usize).filter(|_| at != 0) else { return };
        let place = link(slot);
        if *place == gone {
            *place = next;
            return;
        }
        at = *place;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::boxed::Box;
    use std::vec::Vec;

    fn leak<T: Clone + Default>(count: usize) -> &'static mut [T] {
        Box::leak(std::vec![T::default(); count].into_boxed_slice())
    }

    fn zones(slots: usize) -> Zones {
        Zones::new(leak(slots), leak(16), leak(HEADS), leak(HEADS))
    }

    fn zone(arena: u32, block: u64, size: u64) -> Zoned {
        let (start, end) = (block + size, block + size + 32);
        Zoned { block, size, start, end, arena, kind: Zone::After as u8, ..Zoned::default() }
    }

    fn blocks(zones: &Zones, arena: u32) -> Vec<u64> {
        let mut all = Vec::new();
        let mut next = zones.newest(arena);
        while let Some(slot) = next {
            all.push(zones.get(slot).unwrap().block);
            next = zones.older(slot);
        }
        all
    }

    #[test]
    fn zones_are_found_by_arena_block_and_memory() {
        let mut zones = zones(64);
        for number in 0..4u64 {
            assert!(zones.add(zone(1, 0x1000 + number * 64, 32)));
        }
        assert!(zones.add(zone(2, 0x9000, 32)));
        assert_eq!(blocks(&zones, 1), [0x10c0, 0x1080, 0x1040, 0x1000]);
        assert!(zones.of_block(1, 0x1040, Zone::After).is_some());
        assert!(zones.of_block(2, 0x1040, Zone::After).is_none() && zones.of_block(1, 0x1041, Zone::After).is_none());
        let mut taken = Vec::new();
        // The second zone alone has bytes there.
        zones.take_inside(0x1060, 0x1080, |zone| taken.push(zone.block));
        assert_eq!((taken, blocks(&zones, 1)), (Vec::from([0x1040]), Vec::from([0x10c0, 0x1080, 0x1000])));
        zones.take_inside(0, u64::MAX, |_| {});
        assert!(zones.newest(1).is_none() && zones.newest(2).is_none());
    }

    #[test]
    fn going_back_kills_what_is_newer_than_the_mark() {
        let mut zones = zones(64);
        zones.add(zone(1, 0x1000, 32));
        zones.mark(1, 77);
        zones.add(zone(1, 0x1040, 32));
        zones.add(zone(1, 0x1080, 32));
        zones.mark(1, 99);
        let (stamp, sure) = zones.back_to(1, 77);
        assert!(sure);
        zones.take_from(1, stamp, |_| {});
        zones.forget_marks_after(1, stamp);
        assert_eq!(blocks(&zones, 1), [0x1000]);
        assert_eq!(zones.back_to(1, 99), (0, false), "a mark that was taken later is gone");
        assert_eq!(zones.back_to(1, 0x1000), (1, false), "a block's address is a mark too");
        assert_eq!(zones.back_to(1, 12345), (0, false), "an unknown mark kills all");
        zones.forget_marks(1);
        assert_eq!(zones.back_to(1, 77), (0, false));
    }

    #[test]
    fn a_full_table_refuses_and_slots_come_back() {
        let mut zones = zones(4);
        for block in [0x1000, 0x2000, 0x3000] {
            assert!(zones.add(zone(1, block, 8)));
        }
        assert!(!zones.add(zone(1, 0x4000, 8)) && !zones.add(zone(99, 0x4000, 8)));
        zones.take_inside(0x2000, 0x2800, |_| {});
        assert!(zones.add(zone(1, 0x4000, 8)));
        assert_eq!(blocks(&zones, 1), [0x4000, 0x3000, 0x1000]);
    }

    #[test]
    fn all_zones_have_their_turn() {
        let mut zones = zones(256);
        for number in 0..100u64 {
            zones.add(zone(1, 0x1000 + number * 64, 32));
        }
        let mut seen: std::collections::BTreeSet<u32> = std::collections::BTreeSet::new();
        for _ in 0..12 {
            let mut to = [0u32; 16];
            let count = zones.due(1, &mut to);
            assert!((8..=16).contains(&count));
            seen.extend(to.get(..count).unwrap_or(&[]).iter().copied());
        }
        assert_eq!(seen.len(), 100);
    }

    #[test]
    fn agrees_with_a_plain_list() {
        let mut zones = zones(512);
        let mut plain: Vec<Zoned> = Vec::new();
        let mut seed = 1u64;
        let mut random = |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) % below
        };
        for _ in 0..20_000 {
            let (arena, block) = (random(3) as u32, 0x1000 + random(4000) * 16);
            match random(8) {
                0..=4 => {
                    let new = zone(arena, block, 16 + random(100));
                    if plain.len() < 500 {
                        let stamp = zones.next_stamp();
                        assert!(zones.add(new));
                        plain.push(Zoned { stamp, ..new });
                    }
                }
                5 => {
                    let end = block + random(3000);
                    zones.take_inside(block, end, |_| {});
                    plain.retain(|zone| !(zone.start < end && block < zone.end));
                }
                6 => {
                    let stamp = zones.next_stamp().saturating_sub(random(40));
                    zones.take_from(arena, stamp, |_| {});
                    plain.retain(|zone| zone.arena != arena || zone.stamp < stamp);
                }
                _ => {
                    let stamp = zones.next_stamp().saturating_sub(random(300));
                    zones.take_before(arena, stamp);
                    plain.retain(|zone| zone.arena != arena || zone.stamp >= stamp);
                }
            }
            for arena in 0..3 {
                let mut expected: Vec<&Zoned> = plain.iter().filter(|zone| zone.arena == arena).collect();
                expected.sort_by_key(|zone| core::cmp::Reverse(zone.stamp));
                assert_eq!(blocks(&zones, arena), expected.iter().map(|zone| zone.block).collect::<Vec<_>>());
            }
        }
    }
}

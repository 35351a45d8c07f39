//! What arena objects held when their last alloc returned: how a cursor that moved without an event is noticed. And what they
//! held around the last frees: whether an allocator took a block that is given back a second time.
//!
//! An alloc function moves its arena's cursor from the end of one block to the end of the next. Where a block does not begin
//! where the last one ended, the first words of the object, then and now, show which of them is the cursor and where it
//! stood. Relied on: objects are read only when an alloc of theirs has just returned, and only as far as the kernel could
//! read them before; that is asked anew whenever memory went. One look costs some ns, and no system call after the first.
//! Two threads in one arena may mix their words up: a rule asks who used it. Deliberately absent: any conclusion; the
//! global arena, which has no object; arenas at addresses that no word can lie at.
#![allow(unsafe_code, reason = "reads words of the host's arena objects")]

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// Words kept of an object.
pub const WORDS: usize = 8;
/// Arenas whose objects are kept at once; arenas whose keys are a multiple of this apart take each other's place.
pub const SLOTS: usize = 4096;
/// A block this close behind the last one followed it, bytes: alignment, headers, a few calls that nobody saw.
const FOLLOWS: u64 = 4096;
/// A cursor moves as far as the ends of the blocks do, give or take what is rounded, bytes.
const NEAR: u64 = 64;
/// Changes told of one object: an allocator that jumps about by its nature shall not fill the trace.
const TOLD: u32 = 32;
/// Frees of one arena that are remembered.
const FREES: usize = 4;
/// No word of the object can be read.
const UNREADABLE: u32 = u32::MAX;

/// What an object held.
#[derive(Default)]
#[repr(C)]
pub struct Seen {
    /// The object's address.
    object: AtomicU64,
    /// The arena's next order after that event.
    order: AtomicU64,
    /// One past the last byte of the block it handed out.
    end: AtomicU64,
    /// Times that memory had gone when the object was last known to be readable.
    went: AtomicU32,
    /// Words that can be read; 0 when not asked, [`UNREADABLE`] for none.
    words: AtomicU32,
    /// Changes told.
    told: AtomicU32,
    /// Frees noted: the next takes the row of the oldest.
    frees: AtomicU32,
    before: [AtomicU64; WORDS],
    freed: [Freed; FREES],
}

/// What the object held around one free.
#[derive(Default)]
#[repr(C)]
struct Freed {
    /// The block; 0 for none, and when it was handed out again.
    block: AtomicU64,
    order: AtomicU64,
    before: [AtomicU64; WORDS],
    after: [AtomicU64; WORDS],
    /// `after` is known: the call has returned, and no other event came meanwhile.
    known: AtomicU32,
    _pad: AtomicU32,
}

// SAFETY: nothing but atomic integers.
unsafe impl crate::reserve::Zeroed for Seen {}

/// The objects of all arenas.
pub struct Objects {
    slots: &'static [Seen],
    /// Counts unmaps.
    went: AtomicU32,
}

/// An object's words before and after, and how many of each.
pub struct Change {
    pub before: [u64; WORDS],
    pub after: [u64; WORDS],
    pub words: usize,
}

/// What [`Objects::look`] saw.
pub enum Look {
    /// Nothing to tell.
    Same,
    /// The object is new, or memory went: ask the kernel how many words can be read, say so to [`Objects::readable`], and
    /// look again.
    Ask,
    /// The block does not follow the last one.
    Jumped,
}

impl Objects {
    /// Over [`SLOTS`] zeroed slots.
    pub const fn new(slots: &'static [Seen]) -> Objects {
        Objects { slots, went: AtomicU32::new(1) }
    }

    /// Memory went: what could be read may not be any more.
    pub fn memory_went(&self) {
        self.went.fetch_add(1, Relaxed);
    }

    #[inline]
    fn slot(&self, key: u32) -> Option<&Seen> {
        self.slots.get(key as usize & (SLOTS - 1))
    }

    /// The event `order` of the arena at `object` handed out `block..end`. Keeps the object's words unless there is something
    /// to be done first.
    #[inline]
    pub fn look(&self, key: u32, object: u64, order: u64, block: u64, end: u64) -> Look {
        let Some(slot) = self.slot(key) else { return Look::Same };
        if slot.frees.load(Relaxed) != 0 {
            slot.freed
                .iter()
                .filter(|freed| freed.block.load(Relaxed) == block)
                .for_each(|freed| freed.block.store(0, Relaxed));
        }
        if slot.object.load(Relaxed) != object || slot.went.load(Relaxed) != self.went.load(Relaxed) {
            return Look::Ask;
        }
        let words = slot.words.load(Relaxed);
        if words == UNREADABLE {
            return Look::Same;
        }
        let follows = block.wrapping_sub(slot.end.load(Relaxed)) < FOLLOWS;
        if !follows && slot.order.load(Relaxed) == order {
            return Look::Jumped;
        }
        keep(slot, object, order, end, words);
        Look::Same
    }

    /// What the object of `slot` holds now, if it can be read.
    fn now(&self, slot: &Seen, object: u64) -> Option<[u64; WORDS]> {
        let words = slot.words.load(Relaxed);
        if slot.object.load(Relaxed) != object
            || slot.went.load(Relaxed) != self.went.load(Relaxed)
            || matches!(words, 0 | UNREADABLE)
        {
            return None;
        }
        let mut now = [0; WORDS];
        for (index, word) in now.iter_mut().enumerate().take(words as usize) {
            // SAFETY: `readable` was told that the kernel could read this many words from `object`, which is a multiple of 8,
            // and no memory that we know of went since; a free function of the arena works on this very object, or has just
            // done so. Volatile: another thread of the host may write it.
            *word = unsafe { (object as *const u64).add(index).read_volatile() };
        }
        Some(now)
    }

    /// A free function of the arena at `object` has returned, and `order` is the next event's: what the object holds, unless
    /// other events came meanwhile.
    pub fn freed(&self, key: u32, object: u64, order: u64) {
        let Some(slot) = self.slot(key) else { return };
        let of_this = |freed: &&Freed| {
            freed.block.load(Relaxed) != 0
                && freed.known.load(Relaxed) == 0
                && freed.order.load(Relaxed).wrapping_add(1) == order
        };
        if let Some(freed) = slot.freed.iter().find(of_this)
            && let Some(now) = self.now(slot, object)
        {
            freed.after.iter().zip(now).for_each(|(to, word)| to.store(word, Relaxed));
            freed.known.store(1, Relaxed);
        }
    }

    /// The event `order` frees `block` of the arena at `object`, and has not begun. Where an earlier free of the same block is
    /// remembered, and what it did to the object: that.
    pub fn freeing(&self, key: u32, object: u64, order: u64, block: u64) -> Option<Change> {
        let slot = self.slot(key).filter(|_| block != 0)?;
        let now = self.now(slot, object)?;
        let words = slot.words.load(Relaxed);
        if let Some(freed) = slot.freed.iter().find(|freed| freed.block.load(Relaxed) == block) {
            let known = freed.known.load(Relaxed) != 0 && slot.told.fetch_add(1, Relaxed) < TOLD;
            let mut change = Change { before: [0; WORDS], after: [0; WORDS], words: (words as usize).min(WORDS) };
            change.before.iter_mut().zip(&freed.before).for_each(|(to, word)| *to = word.load(Relaxed));
            change.after.iter_mut().zip(&freed.after).for_each(|(to, word)| *to = word.load(Relaxed));
            return known.then_some(change);
        }
        let row = slot.frees.fetch_add(1, Relaxed) as usize % FREES;
        if let Some(freed) = slot.freed.get(row) {
            freed.block.store(block, Relaxed);
            freed.order.store(order, Relaxed);
            freed.known.store(0, Relaxed);
            freed.before.iter().zip(now).for_each(|(to, word)| to.store(word, Relaxed));
        }
        None
    }

    /// The event `order` handed out nothing: the cursor stands where it stood.
    #[inline]
    pub fn refused(&self, key: u32, object: u64, order: u64) {
        if let Some(slot) = self.slot(key)
            && slot.object.load(Relaxed) == object
            && slot.order.load(Relaxed) == order
        {
            slot.order.store(order.wrapping_add(1), Relaxed);
        }
    }

    /// `bytes` bytes of `object` can be read.
    pub fn readable(&self, key: u32, object: u64, bytes: usize) {
        let Some(slot) = self.slot(key) else { return };
        if slot.object.swap(object, Relaxed) != object {
            slot.told.store(0, Relaxed);
            slot.freed.iter().for_each(|freed| freed.block.store(0, Relaxed));
            slot.order.store(u64::MAX, Relaxed);
        }
        let words = if object.is_multiple_of(8) { (bytes / 8).min(WORDS) as u32 } else { 0 };
        if slot.words.swap(if words == 0 { UNREADABLE } else { words }, Relaxed) != words {
            slot.order.store(u64::MAX, Relaxed);
        }
        slot.went.store(self.went.load(Relaxed), Relaxed);
    }

    /// After [`Look::Jumped`]: keeps the words, and returns what changed when a word moved as the ends of the blocks did:
    /// that one may be the cursor.
    pub fn jumped(&self, key: u32, object: u64, order: u64, end: u64) -> Option<Change> {
        let slot = self.slot(key)?;
        let words = slot.words.load(Relaxed);
        let last_end = slot.end.load(Relaxed);
        let mut change = Change { before: [0; WORDS], after: [0; WORDS], words: (words as usize).min(WORDS) };
        for (word, seen) in change.before.iter_mut().zip(&slot.before) {
            *word = seen.load(Relaxed);
        }
        keep(slot, object, order, end, words);
        for (word, seen) in change.after.iter_mut().zip(&slot.before) {
            *word = seen.load(Relaxed);
        }
        let moved = end.wrapping_sub(last_end);
        let pairs = change.before.iter().zip(&change.after).take(change.words);
        let cursor = |(before, after): (&u64, &u64)| {
            let halves = [0, 32].map(|shift| ((before >> shift) as u32, (after >> shift) as u32));
            before != after && near(after.wrapping_sub(*before), moved)
                || halves.iter().any(|(before, after)| {
                    let step = i64::from(after.wrapping_sub(*before).cast_signed()).cast_unsigned();
                    before != after && near(step, moved)
                })
        };
        let told = pairs.into_iter().any(cursor) && slot.told.fetch_add(1, Relaxed) < TOLD;
        told.then_some(change)
    }
}

/// True when two distances differ by less than alignment does.
fn near(left: u64, right: u64) -> bool {
    left.wrapping_sub(right).wrapping_add(NEAR) <= 2 * NEAR
}

#[inline]
fn keep(slot: &Seen, object: u64, order: u64, end: u64, words: u32) {
    for (index, seen) in slot.before.iter().enumerate().take(words as usize) {
        // SAFETY: `readable` was told that the kernel could read this many words from `object`, which is a multiple of 8;
        // no memory that we know of went since (`look` compares the counts), and the arena's own alloc function has just
        // returned from working on the object. Volatile: another thread of the host may write it.
        let word = unsafe { (object as *const u64).add(index).read_volatile() };
        seen.store(word, Relaxed);
    }
    slot.end.store(end, Relaxed);
    slot.order.store(order.wrapping_add(1), Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::{boxed::Box, vec::Vec};

    fn objects() -> Objects {
        Objects::new(Box::leak((0..SLOTS).map(|_| Seen::default()).collect::<Vec<Seen>>().into_boxed_slice()))
    }

    /// One alloc after the other: where the block lies and what the object holds then; what is told of each.
    fn tell(steps: &[(u64, u64, [u64; 3])]) -> Vec<Option<(u64, u64)>> {
        let objects = objects();
        let object: &'static mut [u64; 3] = Box::leak(Box::new([0; 3]));
        let place = object.as_ptr() as u64;
        let mut said = Vec::new();
        for (order, (block, end, words)) in steps.iter().enumerate() {
            for (word, value) in object.iter_mut().zip(words) {
                // SAFETY: a plain place of this test; volatile because it is read behind the compiler's back.
                unsafe { core::ptr::from_mut(word).write_volatile(*value) };
            }
            let mut look = objects.look(7, place, order as u64, *block, *end);
            if matches!(look, Look::Ask) {
                objects.readable(7, place, 24);
                look = objects.look(7, place, order as u64, *block, *end);
            }
            said.push(match look {
                Look::Jumped => {
                    let change = objects.jumped(7, place, order as u64, *end);
                    change.map(|change| (change.before[1], change.after[1]))
                }
                Look::Same => None,
                Look::Ask => panic!("asked and answered"),
            });
        }
        said
    }

    #[test]
    fn a_cursor_that_went_on_by_itself_is_nothing_to_tell() {
        assert_eq!(
            tell(&[(100, 132, [100, 32, 256]), (132, 164, [100, 64, 256]), (176, 180, [100, 80, 256])]),
            [None; 3]
        );
    }

    #[test]
    fn a_cursor_that_was_set_back_is_told_with_where_it_stood() {
        let steps = [(1000, 1032, [1000, 32, 256]), (1032, 1064, [1000, 64, 256]), (968, 1000, [1000, 0, 256])];
        assert_eq!(tell(&steps), [None, None, Some((64, 0))]);
    }

    #[test]
    fn a_block_from_a_list_moves_no_cursor() {
        let steps = [(1000, 1032, [1000, 32, 256]), (1032, 1064, [1000, 64, 256]), (1000, 1032, [1000, 64, 256])];
        assert_eq!(tell(&steps), [None; 3]);
    }

    #[test]
    fn half_a_word_may_be_the_cursor() {
        let high = |value: u32| u64::from(value) << 32 | 9;
        let steps = [(1000, 1032, [0, high(32), 0]), (1032, 1064, [0, high(64), 0]), (968, 1000, [0, high(0), 0])];
        assert_eq!(tell(&steps).last(), Some(&Some((high(64), high(0)))));
    }

    #[test]
    fn what_a_free_did_to_the_object_is_told_when_the_block_is_given_back_again() {
        let objects = objects();
        let place = Box::leak(Box::new([0_u64; 3])).as_mut_ptr();
        // SAFETY: a plain place of this test; volatile because it is read behind the compiler's back.
        let set = |value: u64| unsafe { place.write_volatile(value) };
        let told = |change: Option<Change>| change.map(|change| (change.before[0], change.after[0]));
        objects.readable(3, place as u64, 24);
        set(5);
        assert_eq!(told(objects.freeing(3, place as u64, 1, 0x40)), None);
        set(7);
        objects.freed(3, place as u64, 2);
        set(9);
        assert_eq!(told(objects.freeing(3, place as u64, 2, 0x40)), Some((5, 7)), "not what happened since");
        // Another event came before the call returned.
        assert_eq!(told(objects.freeing(3, place as u64, 3, 0x80)), None);
        objects.freed(3, place as u64, 5);
        assert_eq!(told(objects.freeing(3, place as u64, 5, 0x80)), None);
        // Handed out again, it may be freed again.
        let _ = objects.look(3, place as u64, 11, 0x40, 0x60);
        assert_eq!(told(objects.freeing(3, place as u64, 12, 0x40)), None);
    }

    #[test]
    fn an_object_at_an_odd_address_or_in_memory_that_went_is_not_read() {
        let objects = objects();
        assert!(matches!(objects.look(1, 0x1001, 0, 64, 96), Look::Ask));
        objects.readable(1, 0x1001, 64);
        assert!(matches!(objects.look(1, 0x1001, 1, 4096, 8192), Look::Same));
        let place = Box::leak(Box::new([5_u64; 8])).as_ptr() as u64;
        objects.readable(2, place, 64);
        assert!(matches!(objects.look(2, place, 0, 64, 96), Look::Same));
        objects.memory_went();
        assert!(matches!(objects.look(2, place, 1, 96, 128), Look::Ask));
        objects.readable(2, place, 0);
        assert!(matches!(objects.look(2, place, 2, 9000, 9001), Look::Same));
    }

    #[test]
    fn an_allocator_that_jumps_about_is_told_only_so_often() {
        let steps: Vec<_> = (0..200_u64)
            .map(|step| (4096 * (200 - step), 4096 * (200 - step) + 32, [0, 4096 * (200 - step) + 32, 0]))
            .collect();
        assert_eq!(tell(&steps).iter().filter(|said| said.is_some()).count(), TOLD as usize);
    }
}

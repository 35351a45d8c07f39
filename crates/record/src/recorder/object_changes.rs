//! What the object of an arena held around its calls, told where a rule may need it: a block that does not follow the one before,
//! and a block that is freed a second time.
//!
//! May be relied on: an alloc that follows the one before costs some loads and stores of the object's words; the rest is cold. Absent
//! on purpose: the table of what was seen (`objects`).

use super::Recorder;
use crate::deep;
use crate::objects::{self, Change, Look};
use crate::system::read_own_memory;
use crate::thread::Thread;
use arenascope_trace::Record;
use core::sync::atomic::Ordering::Relaxed;

impl Recorder {
    /// Keeps what the arena object holds after an alloc, and tells when its cursor had moved without an event.
    #[inline]
    pub(super) fn look_at_object(&self, thread: &mut Thread, arena: (u32, u64), order: u64, block: u64, size: u64) {
        let (key, object) = arena;
        if block == 0 {
            return self.objects.refused(key, object, order);
        }
        match self.objects.look(key, object, order, block, block.wrapping_add(size)) {
            Look::Same => {}
            _ => deep::run(|| self.look_closer(thread, arena, order, block, size)),
        }
    }

    #[cold]
    fn look_closer(&self, thread: &mut Thread, arena: (u32, u64), order: u64, block: u64, size: u64) {
        let (key, object) = arena;
        let end = block.wrapping_add(size);
        let mut look = self.objects.look(key, object, order, block, end);
        if matches!(look, Look::Ask) {
            let mut bytes = [0u8; objects::WORDS * 8];
            self.objects.readable(key, object, read_own_memory(self.pid(), object, &mut bytes));
            look = self.objects.look(key, object, order, block, end);
        }
        if matches!(look, Look::Jumped)
            && let Some(change) = self.objects.jumped(key, object, order, end)
        {
            self.note_change(thread, key, object, &change);
        }
    }

    /// The event `order` of the arena at `object` is about to free `block`. Where it was freed before, tells what that did.
    pub fn freeing(&self, thread: &mut Thread, key: u32, object: u64, order: u64, block: u64) {
        if object != 0
            && let Some(change) = self.objects.freeing(key, object, order, block)
        {
            deep::run(|| self.note_change(thread, key, object, &change));
        }
    }

    /// A free function of the arena at `object` has returned.
    pub fn freed(&self, thread: &mut Thread, object: u64) {
        if object != 0
            && let Some(entry) = self.arena(thread, object)
        {
            self.objects.freed(entry.key.load(Relaxed), object, entry.order.load(Relaxed));
        }
    }

    fn note_change(&self, thread: &mut Thread, key: u32, object: u64, change: &Change) {
        let (mut before, mut after) = ([0u8; objects::WORDS * 8], [0u8; objects::WORDS * 8]);
        for (bytes, words) in [(&mut before, change.before), (&mut after, change.after)] {
            for (to, word) in bytes.chunks_exact_mut(8).zip(words) {
                to.copy_from_slice(&word.to_le_bytes());
            }
        }
        let len = change.words.wrapping_mul(8);
        let (before, after) = (before.get(..len).unwrap_or(&[]), after.get(..len).unwrap_or(&[]));
        self.note(thread, None, &Record::ObjectChanged { arena: key, address: object, before, after });
    }

    /// Memory of the host went: arena objects in it may have gone with it.
    pub fn memory_went(&self) {
        self.objects.memory_went();
    }
}

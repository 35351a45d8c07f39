//! Bytes that a block shows of whoever had its memory before: looked at when the block has just been handed out, and what a
//! moved block left behind: looked at just after the move.
//!
//! Relied on: an arena that never took memory back costs one load for each block. Memory is read by the kernel, for a block just
//! handed out may lie in memory that nobody may read yet. Bounded: a few blocks after each reset, rewind or free, and so
//! many in the life of a process; what comes after that is not looked at, and is no loss of events. Deliberately absent: what
//! the bytes mean.

use crate::arenas::Entry;
use crate::deep;
use crate::recorder::{Recorder, SCRATCH_BYTES};
use crate::system::read_own_memory;
use crate::thread::Thread;
use arenascope_event::CaptureReason;
use arenascope_trace::Record;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Blocks looked at after an arena was emptied or went back.
const LOOKS: u32 = 16;
/// Bytes looked at in a new block.
const LOOK_BYTES: usize = 64;
/// Bytes looked at where a moved block lay.
const LEFT_BYTES: u64 = 1024;

/// What a process may still look at.
pub(crate) struct Budget {
    looks: AtomicU32,
    captures: AtomicU32,
    moves: AtomicU32,
}

impl Budget {
    const LOOKS: u32 = 1 << 14;
    const CAPTURES: u32 = 1 << 10;
    const MOVES: u32 = 1 << 10;

    pub(crate) const fn new() -> Budget {
        Budget {
            looks: AtomicU32::new(Budget::LOOKS),
            captures: AtomicU32::new(Budget::CAPTURES),
            moves: AtomicU32::new(Budget::MOVES),
        }
    }

    /// In a forked child, with one thread.
    pub(crate) fn renew(&self) {
        let Budget { looks, captures, moves } = Budget::new();
        self.looks.store(looks.into_inner(), Relaxed);
        self.captures.store(captures.into_inner(), Relaxed);
        self.moves.store(moves.into_inner(), Relaxed);
    }
}

/// One less, if there is one. Threads that ask at once may both get the last one.
fn take(count: &AtomicU32) -> bool {
    let left = count.load(Relaxed);
    count.store(left.saturating_sub(1), Relaxed);
    left > 0
}

impl Entry {
    /// The arena is about to be emptied or to go back: its next blocks may lie where others lay.
    pub fn goes_back(&self) {
        self.looks.store(LOOKS, Relaxed);
    }

    /// One block of it is about to be freed.
    pub fn takes_one_back(&self) {
        let looks = self.looks.load(Relaxed).saturating_add(1);
        self.looks.store(looks.min(LOOKS), Relaxed);
    }
}

impl Recorder {
    /// `entry` has just handed out `block`, and looks are left: saves its first bytes where they tell something.
    #[cold]
    pub(crate) fn look_at_new(&self, thread: &mut Thread, entry: &Entry, block: u64, size: u64) {
        if !take(&self.budget.looks) {
            entry.looks.store(0, Relaxed);
        } else if take(&entry.looks) && entry.was_used(block) {
            deep::run(|| self.look_here(thread, entry, block, size));
        }
    }

    fn look_here(&self, thread: &mut Thread, entry: &Entry, block: u64, size: u64) {
        let mut bytes = [0u8; LOOK_BYTES];
        let wanted = usize::try_from(size).unwrap_or(LOOK_BYTES).min(LOOK_BYTES);
        let got = bytes.get_mut(..wanted).map_or(0, |to| read_own_memory(self.pid(), block, to));
        let bytes = bytes.get(..got).unwrap_or(&[]);
        // All alike: wiped, filled by the allocator, or never written.
        let (Some(first), true) = (bytes.first(), self.enabled()) else { return };
        if bytes.iter().all(|byte| byte == first) || !take(&self.budget.captures) {
            return;
        }
        self.captured_bytes.fetch_add(got as u64, Relaxed);
        let arena = entry.key.load(Relaxed);
        let (reason, len) = (CaptureReason::Alloc, got as u64);
        self.note(thread, None, &Record::CaptureInline { arena, reason, base: block, len, bytes });
    }

    /// A block of `entry` has moved away from `old`, where at least `size` bytes or the block's own lay: saves what it left.
    /// The bytes past the old block's end, if it was the smaller one, are its neighbours'.
    pub fn look_at_left(&self, thread: &mut Thread, entry: &Entry, old: u64, size: u64) {
        if self.enabled() && size > 0 && take(&self.budget.moves) {
            deep::run(|| self.left_here(thread, entry, old, size.min(LEFT_BYTES)));
        }
    }

    fn left_here(&self, thread: &mut Thread, entry: &Entry, old: u64, size: u64) {
        let scratch = core::mem::take(&mut thread.scratch);
        let wanted = usize::try_from(size).unwrap_or(0).min(SCRATCH_BYTES);
        let got = scratch.get_mut(..wanted).map_or(0, |to| read_own_memory(self.pid(), old, to));
        let bytes = scratch.get(..got).unwrap_or(&[]);
        if !bytes.is_empty() {
            self.captured_bytes.fetch_add(got as u64, Relaxed);
            let arena = entry.key.load(Relaxed);
            let (reason, len) = (CaptureReason::Resize, got as u64);
            self.note(thread, None, &Record::CaptureInline { arena, reason, base: old, len, bytes });
        }
        thread.scratch = scratch;
    }
}

//! What lies at an address where the program faulted: which block of which arena, living or dead.
//!
//! Relied on: takes no lock, so that a signal handler may ask; numbers that are being changed meanwhile give a wrong answer at worst, and no
//! fault. Deliberately absent: where nothing of ours lies there.
#![allow(unsafe_code, reason = "reads rows without the lock")]

use super::plots::{ROWS, Stage, bits};
use super::{Apart, Fate, row_of};
use core::sync::atomic::{Ordering::Acquire, Ordering::Relaxed, fence};

/// A touched block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Touched {
    /// Address of the arena's header.
    pub header: u64,
    /// The arena's number in the process.
    pub arena: u64,
    /// True when the arena is destroyed.
    pub over: bool,
    /// The block's first byte.
    pub block: u64,
    /// Its bytes, as asked for.
    pub size: u64,
    /// What became of it.
    pub fate: Fate,
    /// Of a dead one: the order of the event that ended it.
    pub ended: u64,
    /// Where it was touched, from its first byte on: negative before it, `size` or more behind it.
    pub at: i64,
}

impl Apart {
    /// What lies at an address. O(log blocks of a plot).
    pub fn touched(&self, address: u64) -> Option<Touched> {
        let plot = self.ground.at(address)?;
        let found = self.ground.plot(plot).filter(|found| found.stage != Stage::Fresh)?;
        let first = plot.checked_sub(if found.run == 0 { found.back } else { 0 })?;
        let found = self.ground.plot(first)?;
        let lower = self.row_near(address).map(|(id, _)| row_of(id).1);
        let read = |number: u32| {
            // SAFETY: below the plot's count: a row that was written.
            (number < found.count.min(ROWS)).then(|| unsafe { self.ground.row(first, number) }.read())
        };
        let above = read(lower.map_or(0, |lower| lower.wrapping_add(1)));
        let below = lower.and_then(read);
        let past = |start: u64, size: u64| address.wrapping_sub(start.wrapping_add(size));
        let row = match (below, above) {
            (Some(below), Some(above)) => {
                let (start, size) = (self.start_of(first, &below), self.size_in(first, &below));
                let inside = address.wrapping_sub(start) < size;
                let nearer = past(start, size) <= self.start_of(first, &above).wrapping_sub(address);
                if inside || below.bits & bits::GUARDED != 0 || nearer { below } else { above }
            }
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => return None,
        };
        let block = self.start_of(first, &row);
        // SAFETY: a plot's arena is a row of the table that was written; words that are set once.
        let (header, id, over, end) = unsafe {
            let of = self.arena(found.of);
            ((*of).header, (*of).id, (*of).over.load(Acquire) != 0, (*of).ended.load(Relaxed))
        };
        // It was given anew while we were reading.
        fence(Acquire);
        let now = self.ground.plot(first)?;
        if now.stage == Stage::Fresh || now.arena != found.arena || now.count < found.count {
            return None;
        }
        Some(Touched {
            header,
            arena: found.arena,
            over: over || id != found.arena,
            block,
            size: self.size_in(first, &row),
            fate: if over && row.lives() { Fate::Destroyed } else { Fate::of(row.fate) },
            ended: if over && row.lives() { u64::from(end) } else { row.ended() },
            at: address.wrapping_sub(block) as i64,
        })
    }
}

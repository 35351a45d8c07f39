//! One private word for each handle of a shared mapping, which is 0 in a forked child: so that the child notices, at no cost to the parent.
//!
//! May be relied on: a word belongs to one handle of one process; a child's copy of the handle finds 0. Words are handed out without locks.
//! Deliberately absent: what the word means.
#![allow(unsafe_code)] // Uses words in mapped pages by pointer.

use crate::system;
use crate::{Error, process};
use core::cell::Cell;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

/// A page holds so many words, a line of the cache each.
const IN_PAGE: usize = 64;

const PAGES: usize = 64;

/// Pages that are zero in a child.
static MAPPED: [AtomicPtr<Line>; PAGES] = [const { AtomicPtr::new(core::ptr::null_mut()) }; PAGES];

/// Which words are taken: in memory that the child keeps, so that it does not give the words of its copied handles to others.
static TAKEN: [AtomicU64; PAGES] = [const { AtomicU64::new(0) }; PAGES];

#[repr(align(64))]
struct Line(Cell<u64>);

/// A handle's own word.
pub(crate) struct Hot {
    line: NonNull<Line>,
    page: usize,
    bit: u32,
}

impl Hot {
    /// A word that holds 0.
    ///
    /// # Errors
    /// [`Error::Os`] when the system has no page, or cannot wipe it in children, or all 4,096 words are taken.
    pub(crate) fn take() -> Result<Hot, Error> {
        for (page, (mapped, taken)) in MAPPED.iter().zip(&TAKEN).enumerate() {
            let mut bits = taken.load(Ordering::Relaxed);
            while bits != u64::MAX {
                let bit = bits.trailing_ones();
                match taken.compare_exchange_weak(bits, bits | 1 << bit, Ordering::Acquire, Ordering::Relaxed) {
                    Ok(_) => {
                        let Some(first) = page_of(mapped) else {
                            taken.fetch_and(!(1 << bit), Ordering::Release);
                            return Err(Error::Os(crate::sources::OUT_OF_MEMORY));
                        };
                        // SAFETY: bit < 64: inside the page.
                        let line = unsafe { first.add(bit as usize) };
                        let hot = Hot { line, page, bit };
                        hot.set(0);
                        return Ok(hot);
                    }
                    Err(now) => bits = now,
                }
            }
        }
        Err(Error::Os(crate::sources::OUT_OF_MEMORY))
    }

    #[inline(always)]
    pub(crate) fn get(&self) -> u64 {
        // SAFETY: the word is this handle's alone, in a page that is never unmapped. Volatile: the kernel wipes it behind the compiler's back.
        unsafe { (*self.line.as_ptr()).0.as_ptr().read_volatile() }
    }

    #[inline(always)]
    pub(crate) fn set(&self, value: u64) {
        // SAFETY: as in `get`.
        unsafe { (*self.line.as_ptr()).0.as_ptr().write_volatile(value) }
    }
}

impl Drop for Hot {
    fn drop(&mut self) {
        if let Some(taken) = TAKEN.get(self.page) {
            taken.fetch_and(!(1 << self.bit), Ordering::Release);
        }
    }
}

fn page_of(mapped: &AtomicPtr<Line>) -> Option<NonNull<Line>> {
    const { assert!(IN_PAGE * size_of::<Line>() == 4096) };
    if let Some(page) = NonNull::new(mapped.load(Ordering::Acquire)) {
        return Some(page);
    }
    // So that this process's number is known before it is asked for in a child.
    process::pid();
    let fresh = system::page_wiped_on_fork()?.cast::<Line>();
    match mapped.compare_exchange(core::ptr::null_mut(), fresh.as_ptr(), Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => Some(fresh),
        // Another thread was first. A page is lost, once.
        Err(first) => NonNull::new(first),
    }
}

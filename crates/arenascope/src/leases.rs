//! How spans of one region go to threads and processes, and come back: the atomics of shared arenas, and nothing else.
//!
//! May be relied on: no two takers get the same byte; what one holder wrote into a place before releasing it is seen by the next holder; a
//! taker that is stopped for ever between any two instructions, as by SIGKILL, leaves at worst a span that nobody uses.
//! Deliberately absent: memory, headers, threads; the words are handed in.
//!
//! The models in `tests/models/` compile this file again with other atomics, and run every order of its steps. Hence the
//! orderings have names: a model with a weaker one has to fail.
#![forbid(unsafe_code)]

use super::atomics::{AtomicU64, order};

/// A span of the region, in bytes from its base.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    /// First byte.
    pub start: u64,
    /// Past the last byte.
    pub end: u64,
}

/// What `owner` is when nobody holds the place.
pub const NOBODY: u64 = 0;

/// Spans begin and end at multiples of this: neighbours share no line of the cache, nor the pair of lines that is fetched at once.
pub const LEASE_GRAIN: u64 = 128;

/// A holder in one word: process and thread, never [`NOBODY`] for thread numbers from 1.
pub const fn holder(pid: u32, tid: u32) -> u64 {
    (pid as u64) << 32 | tid as u64
}

/// Takes `want` bytes, or all that is left if that is at least `least`. None when less than `least` is left; then nothing changed.
///
/// `least` ≤ `want`, both multiples of [`LEASE_GRAIN`], as is what `cursor` holds; `bound` < 2^63. One atomic exchange, again when
/// others were faster. By exchange and not by addition: a refused addition would have to be taken back, and would refuse others meanwhile.
pub fn take(cursor: &AtomicU64, bound: u64, least: u64, want: u64) -> Option<Span> {
    let mut start = cursor.load(order::TAKE);
    loop {
        let left = bound.checked_sub(start)? / LEASE_GRAIN * LEASE_GRAIN;
        if left < least || least == 0 {
            return None;
        }
        let end = start + want.min(left);
        match cursor.compare_exchange_weak(start, end, order::TAKE, order::TAKE) {
            Ok(_) => return Some(Span { start, end }),
            Err(now) => start = now,
        }
    }
}

/// Takes `bytes` behind a span that ends at `end`, if nobody has taken from there: the span then grows in place.
pub fn extend(cursor: &AtomicU64, bound: u64, end: u64, bytes: u64) -> Option<Span> {
    let to = end.checked_add(bytes).filter(|to| *to <= bound)?;
    cursor.compare_exchange(end, to, order::TAKE, order::TAKE).is_ok().then_some(Span { start: end, end: to })
}

/// Gives the span back, if nobody has taken behind it. False: it stays taken.
pub fn undo(cursor: &AtomicU64, span: Span) -> bool {
    cursor.compare_exchange(span.end, span.start, order::TAKE, order::TAKE).is_ok()
}

/// Makes `who` the holder of a place that has none. What earlier holders wrote into the place is seen after it.
pub fn claim(owner: &AtomicU64, who: u64) -> bool {
    owner.load(order::LOOK) == NOBODY && owner.compare_exchange(NOBODY, who, order::CLAIM, order::LOOK).is_ok()
}

/// The holder leaves the place.
pub fn release(owner: &AtomicU64) {
    owner.store(NOBODY, order::RELEASE);
}

/// Tells others where something lies that was written before: stores its place for `find`.
pub fn publish(place: &AtomicU64, offset: u64) {
    place.store(offset, order::PUBLISH);
}

/// Reads what `publish` stored; what was written before it is seen.
pub fn find(place: &AtomicU64) -> u64 {
    place.load(order::FIND)
}

/// As `publish`, if `current` is what stands there; else what does.
pub fn republish(place: &AtomicU64, current: u64, offset: u64) -> Result<(), u64> {
    place.compare_exchange(current, offset, order::PUBLISH, order::FIND).map(|_| ())
}

/// Makes `who` the holder of a place whose holder `gone` will not come back. As `claim`.
pub fn inherit(owner: &AtomicU64, gone: u64, who: u64) -> bool {
    gone != NOBODY && owner.compare_exchange(gone, who, order::CLAIM, order::LOOK).is_ok()
}

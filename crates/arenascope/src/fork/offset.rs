//! Positions in memory that several processes map: offsets from the arena's header, with the type of what lies there.
//!
//! May be relied on: an offset is eight bytes, means the same in every process, and is itself something that may lie in shared memory.
//! Deliberately absent: arithmetic on them; the arena checks bounds and alignment when it turns one into a reference, and that the offset is its own.
//!
//! # Why an offset names its memory
//! Where a `u64` lies in one memory, an `AtomicU64` may lie in another. If an offset could be used with the wrong one, safe code would get a `&u64` whose
//! value others change. So the memory's number stands in the upper bits of each offset that safe code gets. [`Offset::from_raw`] leaves it out: who calls
//! that has promised what the number shows.
#![allow(unsafe_code)] // Traits that promise something about memory.

use crate::atomics::AtomicU64;
use crate::fork::share_header::LARGEST;
use crate::leases;
use core::fmt;
use core::hash::{Hash, Hasher};
use core::marker::PhantomData;
use core::sync::atomic::{
    AtomicBool, AtomicI8, AtomicI16, AtomicI32, AtomicI64, AtomicIsize, AtomicU8, AtomicU16, AtomicU32, AtomicUsize,
};

/// Types that may lie in memory which other processes read and write by the same rules.
///
/// # Safety
/// Every pattern of bits is a value, no drop is needed, and it holds no pointer, reference or handle that means something in one process
/// only. Shared borrows of it are enough for other processes to change it only through atomics.
pub unsafe trait Shareable: Sync + 'static {}

macro_rules! shareable {
    ($($type:ty),*) => {
        $(
            // SAFETY: a number or an atomic number: any bits are a value, and no pointer is in it.
            unsafe impl Shareable for $type {}
        )*
    };
}

shareable!(u8, u16, u32, u64, u128, usize, i8, i16, i32, i64, i128, isize, f32, f64, ());
shareable!(
    AtomicU8,
    AtomicU16,
    AtomicU32,
    core::sync::atomic::AtomicU64,
    AtomicUsize,
    AtomicI8,
    AtomicI16,
    AtomicI32,
    AtomicI64,
    AtomicIsize
);

// SAFETY: an array is its items.
unsafe impl<T: Shareable, const N: usize> Shareable for [T; N] {}
// SAFETY: eight bytes of which any bits are a value; checked whenever it is used.
unsafe impl<T: ?Sized + 'static> Shareable for Offset<T> {}
// SAFETY: as above, twice.
unsafe impl<T: 'static> Shareable for SliceOffset<T> {}
// SAFETY: an atomic of such an offset.
unsafe impl<T: 'static> Shareable for AtomicOffset<T> {}

// An AtomicBool is none: not every byte is a bool.
const _: fn(AtomicBool) = |_| {};

/// Bits of an offset that say where: as many as the largest mapping needs. Those above are the memory's number, 0 for any.
const PLACE_BITS: u32 = LARGEST.ilog2();

/// Numbers of memories: 1 to this.
const NUMBERS: u64 = (1 << (64 - PLACE_BITS)) - 1;

/// Which of this process's memories have which number: one after another, and from 1 again when there are no more.
static NUMBERED: core::sync::atomic::AtomicU64 = core::sync::atomic::AtomicU64::new(0);

/// A number for new memory.
pub(crate) fn next_number() -> u64 {
    NUMBERED.fetch_add(1, core::sync::atomic::Ordering::Relaxed) % NUMBERS + 1
}

/// What the offsets of memory with this number have in their upper bits.
pub(crate) const fn marked(number: u64) -> u64 {
    number << PLACE_BITS
}

/// Where an offset leads in the memory whose offsets are marked so; None when it is another memory's.
#[inline(always)]
pub(crate) const fn place_in(mark: u64, bits: u64) -> Option<u64> {
    let place = place(bits);
    let marked = bits ^ place;
    if marked == 0 || marked == mark { Some(place) } else { None }
}

#[inline(always)]
const fn place(bits: u64) -> u64 {
    bits & (LARGEST - 1)
}

/// Where a `T` lies, in bytes from the arena's header, and in which memory. [`NULL`](Self::NULL) is nowhere.
///
/// With the wrong memory it leads nowhere: [`get`](crate::fork::ShareArena::get) is None. (The numbers of memories come again after two million that one
/// process has made, and a parent's and a child's may be equal that were made after the fork.) Two offsets are equal when they are as far from
/// their headers.
#[repr(transparent)]
pub struct Offset<T: ?Sized> {
    bits: u64,
    of: PhantomData<fn() -> *const T>,
}

impl<T: ?Sized> Offset<T> {
    /// Nowhere: what a zeroed place holds.
    pub const NULL: Self = Offset { bits: 0, of: PhantomData };

    /// From a number: from another process, say. It is checked no more whose it is.
    ///
    /// # Safety
    /// The number is of an offset of the same type in the same arena, or 0.
    pub const unsafe fn from_raw(bytes: u64) -> Self {
        Offset { bits: bytes, of: PhantomData }
    }

    /// As a number, to be sent to another process: bytes from the arena's header.
    pub const fn to_raw(self) -> u64 {
        place(self.bits)
    }

    /// True for [`NULL`](Self::NULL).
    pub const fn is_null(self) -> bool {
        self.to_raw() == 0
    }

    /// Of a place and the mark of its memory.
    pub(crate) const fn new(bits: u64) -> Self {
        Offset { bits, of: PhantomData }
    }

    pub(crate) const fn bits(self) -> u64 {
        self.bits
    }
}

impl<T: ?Sized> Clone for Offset<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: ?Sized> Copy for Offset<T> {}

impl<T: ?Sized> PartialEq for Offset<T> {
    fn eq(&self, other: &Self) -> bool {
        self.to_raw() == other.to_raw()
    }
}

impl<T: ?Sized> Eq for Offset<T> {}

impl<T: ?Sized> Hash for Offset<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.to_raw().hash(state);
    }
}

impl<T: ?Sized> fmt::Debug for Offset<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_null() { f.write_str("+null") } else { write!(f, "+{}", self.to_raw()) }
    }
}

impl<T: ?Sized> Default for Offset<T> {
    fn default() -> Self {
        Self::NULL
    }
}

/// Where so many `T` lie in a row.
#[repr(C)]
pub struct SliceOffset<T> {
    pub(crate) first: Offset<T>,
    pub(crate) count: u64,
}

impl<T> SliceOffset<T> {
    /// Where the first one lies; [`Offset::NULL`] when there is none: where it would lie, a block of another type may.
    pub const fn first(self) -> Offset<T> {
        if self.count == 0 { Offset::NULL } else { self.first }
    }

    /// How many there are.
    pub const fn len(self) -> usize {
        self.count as usize
    }

    /// True for none.
    pub const fn is_empty(self) -> bool {
        self.count == 0
    }
}

impl<T> Clone for SliceOffset<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for SliceOffset<T> {}

impl<T> fmt::Debug for SliceOffset<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} × {}", self.first, self.count)
    }
}

/// A place in shared memory through which processes tell each other where something lies.
#[repr(transparent)]
pub struct AtomicOffset<T> {
    bits: AtomicU64,
    of: PhantomData<fn() -> *const T>,
}

impl<T> AtomicOffset<T> {
    /// Holding `offset`.
    pub const fn new(offset: Offset<T>) -> Self {
        AtomicOffset { bits: AtomicU64::new(offset.bits), of: PhantomData }
    }

    /// Publishes what lies at `offset`: who finds it sees all that was written before.
    pub fn publish(&self, offset: Offset<T>) {
        leases::publish(&self.bits, offset.bits);
    }

    /// What was published last; [`Offset::NULL`] for a zeroed place.
    pub fn find(&self) -> Offset<T> {
        Offset::new(leases::find(&self.bits))
    }

    /// Publishes `new` if `current` stands there; else returns what does.
    ///
    /// # Errors
    /// What stands there.
    pub fn exchange(&self, current: Offset<T>, new: Offset<T>) -> Result<(), Offset<T>> {
        let mut expected = current.bits;
        loop {
            match leases::republish(&self.bits, expected, new.bits).map_err(Offset::new) {
                // The same place, with its memory's number or without.
                Err(now) if now == current && now.bits != expected => expected = now.bits,
                done => return done,
            }
        }
    }
}

impl<T> fmt::Debug for AtomicOffset<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.find().fmt(f)
    }
}

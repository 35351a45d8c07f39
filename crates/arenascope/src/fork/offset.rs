//! Positions in memory that several processes map: offsets from the arena's header, with the type of what lies there.
//!
//! May be relied on: an offset is eight bytes, means the same in every process, and is itself something that may lie in shared memory.
//! Deliberately absent: arithmetic on them; the arena checks bounds and alignment when it turns one into a reference.
#![allow(unsafe_code)] // Traits that promise something about memory.

use crate::atomics::AtomicU64;
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

/// Where a `T` lies, in bytes from the arena's header. 0 is nowhere.
#[repr(transparent)]
pub struct Offset<T: ?Sized> {
    bytes: u64,
    of: PhantomData<fn() -> *const T>,
}

impl<T: ?Sized> Offset<T> {
    /// Nowhere: what a zeroed place holds.
    pub const NULL: Self = Offset { bytes: 0, of: PhantomData };

    /// From a number: from another process, say.
    ///
    /// # Safety
    /// The number is of an offset of the same type in the same arena, or 0.
    pub const unsafe fn from_raw(bytes: u64) -> Self {
        Offset { bytes, of: PhantomData }
    }

    /// As a number, to be sent to another process.
    pub const fn to_raw(self) -> u64 {
        self.bytes
    }

    /// True for [`NULL`](Self::NULL).
    pub const fn is_null(self) -> bool {
        self.bytes == 0
    }

    pub(crate) const fn new(bytes: u64) -> Self {
        Offset { bytes, of: PhantomData }
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
        self.bytes == other.bytes
    }
}

impl<T: ?Sized> Eq for Offset<T> {}

impl<T: ?Sized> Hash for Offset<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.bytes.hash(state);
    }
}

impl<T: ?Sized> fmt::Debug for Offset<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_null() { f.write_str("+null") } else { write!(f, "+{}", self.bytes) }
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
    bytes: AtomicU64,
    of: PhantomData<fn() -> *const T>,
}

impl<T> AtomicOffset<T> {
    /// Holding `offset`.
    pub const fn new(offset: Offset<T>) -> Self {
        AtomicOffset { bytes: AtomicU64::new(offset.bytes), of: PhantomData }
    }

    /// Publishes what lies at `offset`: who finds it sees all that was written before.
    pub fn publish(&self, offset: Offset<T>) {
        leases::publish(&self.bytes, offset.bytes);
    }

    /// What was published last; [`Offset::NULL`] for a zeroed place.
    pub fn find(&self) -> Offset<T> {
        Offset::new(leases::find(&self.bytes))
    }

    /// Publishes `new` if `current` stands there; else returns what does.
    ///
    /// # Errors
    /// What stands there.
    pub fn exchange(&self, current: Offset<T>, new: Offset<T>) -> Result<(), Offset<T>> {
        leases::republish(&self.bytes, current.bytes, new.bytes).map_err(Offset::new)
    }
}

impl<T> fmt::Debug for AtomicOffset<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.find().fmt(f)
    }
}

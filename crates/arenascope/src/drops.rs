//! A scope's drop list: values that are dropped when the scope ends, linked through the arena itself.
//!
//! May be relied on: values are dropped exactly once, the last one first; one whose drop panics does not keep the others from
//! being dropped. Deliberately absent: when that happens (`scope`).
#![allow(unsafe_code)] // Drops values through untyped links.

use core::cell::Cell;
use core::ptr::NonNull;

/// The link in front of each value.
struct Link {
    /// The value allocated before this one.
    next: Option<NonNull<Link>>,
    /// Drops the value behind the link.
    drop: unsafe fn(NonNull<Link>),
}

/// A value in the list. `repr(C)`: the link comes first, so that its address is that of the whole.
#[repr(C)]
pub(crate) struct Held<T> {
    link: Link,
    value: T,
}

/// The list: its newest value.
#[derive(Default)]
pub(crate) struct Drops {
    newest: Cell<Option<NonNull<Link>>>,
}

impl Drops {
    /// Takes a value over into `place`, and returns where it is.
    ///
    /// # Safety
    /// `place` is a block for a `Held<T>` that nobody else uses until `run` has returned, and what T borrows lives until then.
    #[inline]
    pub(crate) unsafe fn hold<T>(&self, place: NonNull<Held<T>>, value: T) -> NonNull<T> {
        let link = Link { next: self.newest.get(), drop: drop_held::<T> };
        // SAFETY: the place is a block for it (the caller's condition).
        unsafe {
            place.write(Held { link, value });
            self.newest.set(Some(place.cast()));
            NonNull::new_unchecked(&raw mut (*place.as_ptr()).value)
        }
    }

    /// Drops every value, the newest first.
    ///
    /// # Safety
    /// Nobody refers to the values any more.
    #[inline(always)]
    pub(crate) unsafe fn run(&self) {
        let newest = self.newest.take();
        if newest.is_some() {
            // SAFETY: the caller's condition. The list goes by value: the scope's guard can stay in registers.
            unsafe { drop_all(newest) }
        }
    }
}

/// # Safety
/// `newest` begins a list written by `hold`, which nobody else has; nobody refers to its values.
#[inline(never)]
unsafe fn drop_all(newest: Option<NonNull<Link>>) {
    /// Goes on with the rest when a drop panics. (A second panic meanwhile aborts, as anywhere in Rust.)
    struct Rest(Option<NonNull<Link>>);
    impl Drop for Rest {
        fn drop(&mut self) {
            // SAFETY: the condition of the function around.
            unsafe { drop_all(self.0) }
        }
    }
    let mut rest = Rest(newest);
    while let Some(link) = rest.0 {
        // SAFETY: every link in the list was written by `hold`, and leaves the list here, before its value is dropped: so that
        // happens once. Nobody refers to the value (the caller's condition).
        unsafe {
            rest.0 = link.as_ref().next;
            (link.as_ref().drop)(link);
        }
    }
    core::mem::forget(rest);
}

/// # Safety
/// `link` is that of a living `Held<T>`, to which nobody refers.
unsafe fn drop_held<T>(link: NonNull<Link>) {
    // SAFETY: the link is the first field of a Held<T>, and was made from a pointer to all of it. The caller's condition.
    unsafe { (&raw mut (*link.cast::<Held<T>>().as_ptr()).value).drop_in_place() }
}

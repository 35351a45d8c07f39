//! Scopes: spans of allocations that end by rewinding, nested safely by the borrow checker.
//!
//! May be relied on: a block cannot outlive its scope, the blocks of outer scopes stay usable inside, and nothing can be allocated
//! in an outer scope while an inner one is open. A forgotten guard ends no scope, and costs memory only. Deliberately absent:
//! scopes that do not nest in the source text; see [`Arena::checkpoint`].
//!
//! # Why it is sound
//! - A scope begins by an exclusive borrow of its parent (`'outer`), so until it ends the parent hands out nothing: all that lies
//!   above the mark is the scope's own.
//! - Its blocks have the lifetime `'scope`, a borrow of the guard, so they are dead when the guard rewinds.
//! - What can move or free memory of the scope through a shared borrow, `&Arena` by deref and the allocator traits, borrows the
//!   handle, and so ends before an inner scope begins.
//! - A value in the drop list is dropped when blocks of the scope may already be dropped, so it may borrow only what lives
//!   for `'outer`. That lifetime is invariant: no handle can be talked into a shorter one.
#![allow(unsafe_code)] // Ends scopes; drops their lists.
#![allow(clippy::mut_from_ref)] // Each call returns a block of its own: I3.

use crate::alloc::Undropped;
use crate::boxed::ArenaBox;
use crate::calls::forward_calls;
use crate::drops::{Drops, Held};
use crate::rewind::ScopeMark;
use crate::text::CStrError;
use crate::zeroed::Zeroable;
use crate::{AllocOrInitError, Arena, Burst, Error, Owned};
use core::alloc::Layout;
use core::ffi::CStr;
use core::fmt;
use core::marker::PhantomData;
use core::mem::{MaybeUninit, needs_drop};
use core::ops::Deref;
use core::panic::Location;
use core::ptr::NonNull;

/// An open scope: everything that an arena can allocate, for as long as the scope.
///
/// It derefs to the arena, for looking at it. What is allocated through that, and by collections that allocate from `&Scope`,
/// lives only until the next inner scope begins; what the scope's own methods give lives until the scope ends.
///
/// `'scope` is the scope's own span, `'outer` the borrow of what it was begun from.
pub struct Scope<'scope, 'outer> {
    arena: &'scope Arena,
    drops: &'scope Drops,
    /// Invariant in 'outer: see the head.
    outer: PhantomData<fn(&'outer ()) -> &'outer ()>,
}

/// Ends its scope when it is dropped: drops the scope's list, the last value first, and rewinds.
pub struct ScopeGuard<'outer> {
    arena: &'outer Arena,
    mark: ScopeMark,
    drops: Drops,
    /// Where the scope began: the site of its end too, which no code of the user's marks.
    caller: &'static Location<'static>,
    /// Invariant in 'outer: what the list holds is promised to live that long.
    outer: PhantomData<fn(&'outer ()) -> &'outer ()>,
}

impl<'outer> ScopeGuard<'outer> {
    /// Begins a scope. Until the guard is dropped or forgotten, its holder allocates in no scope around it.
    #[inline(always)]
    #[track_caller]
    fn begin(arena: &'outer Arena) -> Self {
        ScopeGuard {
            arena,
            mark: arena.scope_enter(),
            drops: Drops::default(),
            caller: Location::caller(),
            outer: PhantomData,
        }
    }

    /// The scope, to allocate in. O(1).
    #[inline(always)]
    pub fn scope(&mut self) -> Scope<'_, 'outer> {
        Scope { arena: self.arena, drops: &self.drops, outer: PhantomData }
    }
}

impl Drop for ScopeGuard<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        /// Rewinds even if a value's drop panics.
        struct Exit<'g, 'o>(&'g ScopeGuard<'o>);
        impl Drop for Exit<'_, '_> {
            #[inline(always)]
            fn drop(&mut self) {
                let guard = self.0;
                // SAFETY: the mark is that of `begin`; inner scopes borrow this one, and have ended or are forgotten, and so are
                // blocks: they borrow the guard. A reset needs the arena's owner, which is borrowed for 'outer.
                unsafe { guard.arena.scope_exit(&guard.mark, Some(guard.caller)) };
            }
        }
        let exit = Exit(self);
        // SAFETY: references to the values borrow the guard, which nobody does any more.
        unsafe { exit.0.drops.run() };
    }
}

impl Owned<'_> {
    /// Runs `work` in a scope: what it allocates there is gone when it returns. O(1) beside `work` and the scope's drop list.
    ///
    /// ```
    /// let mut arena = arenascope::Arena::growing()?;
    /// let sum = arena.scope(|outer| {
    ///     let kept = outer.alloc(1);
    ///     let inner = outer.scope(|inner| {
    ///         let gone = inner.alloc(2);
    ///         *kept + *gone // blocks of outer scopes stay usable
    ///     });
    ///     *kept + inner
    /// });
    /// assert_eq!(sum, 4);
    /// assert_eq!(arena.offset(), 0);
    /// # Ok::<(), arenascope::Error>(())
    /// ```
    #[inline(always)]
    #[track_caller]
    pub fn scope<'outer, R>(&'outer mut self, work: impl for<'scope> FnOnce(&mut Scope<'scope, 'outer>) -> R) -> R {
        let mut guard = self.scope_guard();
        work(&mut guard.scope())
    }

    /// Begins a scope that ends when the guard is dropped: for spans that are no closure. O(1).
    ///
    /// ```
    /// let mut arena = arenascope::Arena::growing()?;
    /// let mut guard = arena.scope_guard();
    /// let scope = guard.scope();
    /// let text = scope.alloc_str("until the guard goes");
    /// assert_eq!(text.len(), 20);
    /// drop(guard);
    /// assert_eq!(arena.offset(), 0);
    /// # Ok::<(), arenascope::Error>(())
    /// ```
    #[inline(always)]
    #[track_caller]
    pub fn scope_guard(&mut self) -> ScopeGuard<'_> {
        ScopeGuard::begin(self)
    }
}

impl<'scope, 'outer> Scope<'scope, 'outer> {
    #[inline(always)]
    fn arena(&self) -> &'scope Arena {
        self.arena
    }

    /// Runs `work` in a scope within this one, as [`Owned::scope`].
    #[inline(always)]
    #[track_caller]
    pub fn scope<'here, R>(&'here mut self, work: impl for<'inner> FnOnce(&mut Scope<'inner, 'here>) -> R) -> R {
        let mut guard = self.scope_guard();
        work(&mut guard.scope())
    }

    /// Begins a scope within this one, as [`Owned::scope_guard`].
    #[inline(always)]
    #[track_caller]
    pub fn scope_guard(&mut self) -> ScopeGuard<'_> {
        ScopeGuard::begin(self.arena)
    }

    /// Moves `value` into the scope, and drops it when the scope ends: after the scope's code, before the memory is reused, the
    /// last value first. O(1); takes 16 bytes more than the value (none, and no drop, if the type needs none).
    ///
    /// The value may borrow what was there before the scope, blocks of outer scopes included; not blocks of the scope itself,
    /// for they may be dropped before it. (A checkpoint taken in the scope before this call must not be rewound to by
    /// [`Arena::rewind_unchecked`] after it: the list refers to the value.)
    ///
    /// # Panics
    /// When the block cannot be had.
    ///
    /// ```
    /// let mut arena = arenascope::Arena::growing()?;
    /// arena.scope(|scope| {
    ///     let lines = scope.alloc_drop(vec![String::from("a")]);
    ///     lines.push(String::from("b"));
    ///     assert_eq!(lines.len(), 2);
    /// }); // the vector and its strings are dropped here
    /// # Ok::<(), arenascope::Error>(())
    /// ```
    #[inline]
    #[track_caller]
    pub fn alloc_drop<T: 'outer>(&self, value: T) -> &'scope mut T {
        self.arena.granted(self.try_alloc_drop(value))
    }

    /// As [`alloc_drop`](Self::alloc_drop); gives an error, and drops `value`, when the block cannot be had.
    ///
    /// # Errors
    /// As [`Arena::try_alloc_layout`].
    #[inline]
    #[track_caller]
    pub fn try_alloc_drop<T: 'outer>(&self, value: T) -> Result<&'scope mut T, Error> {
        let mut place = if needs_drop::<T>() {
            let block = self.arena.try_block(Layout::new::<Held<T>>())?.cast::<Held<T>>();
            // SAFETY: I3 — the block is ours alone, until the scope is rewound; the guard runs the list before. What T borrows
            // lives for 'outer, and the guard, which is never dropped later than that, is invariant in it.
            unsafe { self.drops.hold(block, value) }
        } else {
            let block = self.arena.try_block(Layout::new::<T>())?.cast::<T>();
            // SAFETY: I3 — the block is ours alone, of T's size and alignment.
            unsafe { block.write(value) };
            block
        };
        // SAFETY: a living T, which nobody else refers to before the guard ends the scope, and 'scope with it.
        Ok(unsafe { place.as_mut() })
    }

    /// A burst in this scope: see [`Arena::burst`]. No inner scope can begin while it lives. O(1).
    #[inline(always)]
    pub fn burst(&self) -> Burst<'_, 'scope> {
        Burst::begin(self.arena)
    }
}

/// Looking at the arena; what is allocated through it borrows the handle.
impl Deref for Scope<'_, '_> {
    type Target = Arena;

    #[inline(always)]
    fn deref(&self) -> &Arena {
        self.arena
    }
}

impl fmt::Debug for Scope<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").field("depth", &self.arena.depth.get()).field("arena", &self.arena).finish()
    }
}

impl fmt::Debug for ScopeGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScopeGuard").field("depth", &self.mark.depth()).field("arena", &self.arena).finish()
    }
}

forward_calls! {
    /// With blocks that live as long as the scope, and not only as long as a borrow of its handle.
    impl['scope] Scope<'scope, '_>, 'scope, "scope"
}

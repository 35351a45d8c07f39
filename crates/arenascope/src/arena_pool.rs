//! A pool of arenas that are handed between threads: one for each request, connection or frame.
//!
//! May be relied on: taking an arena that waits and giving it back cost no system call and no page fault; what waits is bounded in count and in
//! bytes, and goes back to the system by name. Deliberately absent: waiting for an arena; when none waits, a new one is made.
//!
//! One lock, held for a push or a pop. It names its process's generation, so that the child of a fork takes it over from a thread that it does not have.
#![allow(unsafe_code)] // A list through arenas' headers, behind a lock.

use crate::lock::Lock;
use crate::{Arena, Builder, Error, HEADER_BYTES, KeptLimits, OwnedArena, slab};
use core::cell::Cell;
use core::fmt;
use core::mem::ManuallyDrop;
use core::ops::{Deref, DerefMut};
use core::panic::Location;
use core::ptr::{NonNull, null, null_mut};
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

/// Arenas that wait to be used again, for all threads of a program. `Sync`; can be a `static`.
///
/// ```
/// use arenascope::{Arena, ArenaPool, KeptLimits};
/// static REQUESTS: ArenaPool = ArenaPool::new(Arena::builder().capacity(64 << 10), KeptLimits { bytes: 16 << 20, count: 64 });
///
/// let arena = REQUESTS.take()?;
/// arena.alloc_str("GET /");
/// let thread = std::thread::spawn(move || arena.offset()); // it may end elsewhere
/// assert_eq!(thread.join().unwrap(), 8);
/// assert_eq!(REQUESTS.idle().count, 1); // emptied, and waiting
/// assert_eq!(REQUESTS.take()?.offset(), 0);
/// REQUESTS.release();
/// assert_eq!(REQUESTS.idle().bytes, 0);
/// # Ok::<(), arenascope::Error>(())
/// ```
pub struct ArenaPool {
    builder: Builder<'static>,
    limits: KeptLimits,
    lock: Lock,
    /// The arena that came back last; each leads to the one before. One store takes or puts one: the list is whole at any moment.
    newest: AtomicPtr<Arena>,
    /// Of those that wait. Written under the lock.
    bytes: AtomicUsize,
    count: AtomicUsize,
}

// SAFETY: the list is changed under the lock only, and arenas may be sent; the builder is plain data and references to what is Sync.
unsafe impl Sync for ArenaPool {}
// SAFETY: as above.
unsafe impl Send for ArenaPool {}

/// Where a waiting arena keeps its way to the next: a slot of a row uses its place in lists only when it is kept, other arenas their slab's.
fn next(arena: &Arena) -> &Cell<*mut u8> {
    if slab::is_slot(arena.class.get()) {
        let link = arena.listed.borrow_link();
        // SAFETY: a Cell of one thin pointer is one of another.
        unsafe { &*(&raw const *link).cast() }
    } else {
        &arena.link
    }
}

/// Memory that a waiting arena holds, in bytes.
fn held_bytes(arena: &Arena) -> usize {
    arena.committed.get() + HEADER_BYTES
}

impl ArenaPool {
    /// A pool of arenas that `builder` makes. No memory is taken yet.
    ///
    /// At most `limits.count` arenas wait, with at most `limits.bytes` of memory between them, headers included: what comes back beyond that
    /// ends. An arena that waits holds what it grew to, unless [`Builder::on_reset`] bounds that: a bounded one up to 64 KiB its
    /// capacity, rounded up by at most a half and to 256 bytes at least, and 512 bytes.
    pub const fn new(builder: Builder<'static>, limits: KeptLimits) -> Self {
        ArenaPool {
            builder,
            limits,
            lock: Lock::new(),
            newest: AtomicPtr::new(null_mut()),
            bytes: AtomicUsize::new(0),
            count: AtomicUsize::new(0),
        }
    }

    /// An empty arena: the one that came back last, or a new one. O(1).
    ///
    /// # Errors
    /// As [`Builder::build`], when none waits.
    #[inline]
    #[track_caller]
    pub fn take(&self) -> Result<Pooled<'_>, Error> {
        let arena = match self.pop() {
            Some(arena) => {
                arena.set_site(Location::caller());
                arena
            }
            None => self.builder.build()?,
        };
        Ok(Pooled { arena: ManuallyDrop::new(arena), pool: self })
    }

    /// What waits now.
    pub fn idle(&self) -> KeptLimits {
        KeptLimits { bytes: self.bytes.load(Ordering::Relaxed), count: self.count.load(Ordering::Relaxed) }
    }

    /// Ends all arenas that wait. Their memory goes back to the system, but for what this thread keeps for its next arenas
    /// ([`release_kept`](crate::release_kept)). O(arenas).
    pub fn release(&self) {
        while self.pop().is_some() {}
    }

    /// The arena that came back last.
    #[inline]
    pub(crate) fn pop(&self) -> Option<OwnedArena> {
        let take = || {
            let header = NonNull::new(self.newest.load(Ordering::Relaxed))?;
            // SAFETY: in the list: a living arena that nobody else has.
            let arena = unsafe { header.as_ref() };
            self.newest.store(next(arena).get().cast(), Ordering::Relaxed);
            if !slab::is_slot(arena.class.get()) {
                arena.link.set(null_mut());
            }
            self.set_idle(
                self.bytes.load(Ordering::Relaxed).wrapping_sub(held_bytes(arena)),
                self.count.load(Ordering::Relaxed).wrapping_sub(1),
            );
            // SAFETY: given up by `push`, and taken out of the list.
            Some(unsafe { OwnedArena::from_raw(header) })
        };
        if self.newest.load(Ordering::Relaxed).is_null() { None } else { self.lock.locked(take, || self.count_anew()) }
    }

    /// Puts an arena into the list; gives it back when the limits are reached.
    #[inline]
    pub(crate) fn push(&self, arena: OwnedArena) -> Option<OwnedArena> {
        let put = || {
            let bytes = held_bytes(&arena);
            let waiting = self.idle();
            let sum = waiting.bytes.saturating_add(bytes);
            if waiting.count >= self.limits.count || sum > self.limits.bytes {
                return Some(arena);
            }
            next(&arena).set(self.newest.load(Ordering::Relaxed).cast());
            self.newest.store(arena.into_raw().as_ptr(), Ordering::Release);
            self.set_idle(sum, waiting.count + 1);
            None
        };
        self.lock.locked(put, || self.count_anew())
    }

    /// Who took the arena may have watched it: the next one does not hear of that observer, nor it of the next one.
    #[inline(always)]
    fn observe_as_made(&self, arena: &Arena) {
        let made = self.builder.observer.map_or(null(), core::ptr::from_ref);
        if !core::ptr::eq(arena.observer.get(), made) {
            // SAFETY: who built the builder has promised what its observer needs.
            unsafe { arena.observe(self.builder.observer) }
        }
    }

    /// In the child of a fork that found the lock held by a thread that it does not have: the list is whole, the sums may not be.
    #[cold]
    fn count_anew(&self) {
        let (mut bytes, mut count) = (0, 0);
        let mut at = self.newest.load(Ordering::Relaxed);
        while let Some(header) = NonNull::new(at) {
            // SAFETY: in the list: a living arena that nobody else has.
            let arena = unsafe { header.as_ref() };
            bytes += held_bytes(arena);
            count += 1;
            at = next(arena).get().cast();
        }
        self.set_idle(bytes, count);
    }

    /// Under the lock: so plain stores are enough, and four exchanges of 5 ns each are saved on a life of 30 ns.
    #[inline(always)]
    fn set_idle(&self, bytes: usize, count: usize) {
        self.bytes.store(bytes, Ordering::Relaxed);
        self.count.store(count, Ordering::Relaxed);
    }
}

impl Drop for ArenaPool {
    fn drop(&mut self) {
        self.release();
    }
}

impl fmt::Debug for ArenaPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArenaPool").field("idle", &self.idle()).field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// An arena of a pool, empty when it is taken. Dropped, in whichever thread, it is emptied and waits for the next who takes it.
pub struct Pooled<'pool> {
    arena: ManuallyDrop<OwnedArena>,
    pool: &'pool ArenaPool,
}

impl Pooled<'_> {
    /// Takes the arena out of the pool for good.
    pub fn into_owned(self) -> OwnedArena {
        let mut this = ManuallyDrop::new(self);
        // SAFETY: taken once: `this` is never dropped.
        unsafe { ManuallyDrop::take(&mut this.arena) }
    }
}

impl Deref for Pooled<'_> {
    type Target = OwnedArena;

    #[inline(always)]
    fn deref(&self) -> &OwnedArena {
        &self.arena
    }
}

impl DerefMut for Pooled<'_> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut OwnedArena {
        &mut self.arena
    }
}

impl Drop for Pooled<'_> {
    #[inline]
    fn drop(&mut self) {
        self.arena.reset();
        self.pool.observe_as_made(&self.arena);
        // SAFETY: taken once: this is the end of `self`.
        let arena = unsafe { ManuallyDrop::take(&mut self.arena) };
        // What the pool does not take ends here, with no lock held.
        drop(self.pool.push(arena));
    }
}

impl fmt::Debug for Pooled<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self.arena, f)
    }
}

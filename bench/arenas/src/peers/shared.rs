//! Peers that threads share, and pools of peers' arenas.
#![allow(unsafe_code)] // Writes values into raw blocks.

use crate::loops::shared::Together;
use crate::memory::{Kind, Put};
use blink_alloc::{LocalBlinkAlloc, SyncBlinkAlloc};
use bump_scope::{BumpBox, BumpPool, BumpPoolGuard};
use bumpalo_herd::{Herd, Member};
use std::alloc::Layout;
use std::sync::Mutex;

impl<T: Copy, A: Put<T>> Put<T> for &A {
    #[inline(always)]
    fn put(&self, value: T) -> *mut T {
        A::put(self, value)
    }
}

/// blink-alloc's shared arena, through a thread's local proxy.
pub struct BlinkLocal(SyncBlinkAlloc);

impl Together for BlinkLocal {
    const NAME: &'static str = "blink-alloc, local";
    const KIND: Kind = Kind::Arena;
    type Handle<'a> = LocalBlinkAlloc<'a>;
    fn new(_threads: usize) -> Self {
        Self(SyncBlinkAlloc::new())
    }
    fn handle(&self, _thread: usize) -> LocalBlinkAlloc<'_> {
        self.0.local()
    }
    fn reset(&mut self) {
        self.0.reset();
    }
}

impl<T: Copy> Put<T> for LocalBlinkAlloc<'_> {
    #[inline(always)]
    fn put(&self, value: T) -> *mut T {
        match self.allocate(Layout::new::<T>()) {
            Ok(block) => {
                let place = block.as_ptr().cast::<T>();
                // SAFETY: a block of T's layout, of nobody else.
                unsafe { place.write(value) };
                place
            }
            Err(_) => std::alloc::handle_alloc_error(Layout::new::<T>()),
        }
    }
}

/// blink-alloc's shared arena itself.
pub struct BlinkShared(SyncBlinkAlloc);

impl Together for BlinkShared {
    const NAME: &'static str = "blink-alloc, shared";
    const KIND: Kind = Kind::Arena;
    type Handle<'a> = &'a Self;
    fn new(_threads: usize) -> Self {
        Self(SyncBlinkAlloc::new())
    }
    fn handle(&self, _thread: usize) -> &Self {
        self
    }
    fn reset(&mut self) {
        self.0.reset();
    }
}

impl<T: Copy> Put<T> for BlinkShared {
    #[inline(always)]
    fn put(&self, value: T) -> *mut T {
        match self.0.allocate(Layout::new::<T>()) {
            Ok(block) => {
                let place = block.as_ptr().cast::<T>();
                // SAFETY: as above.
                unsafe { place.write(value) };
                place
            }
            Err(_) => std::alloc::handle_alloc_error(Layout::new::<T>()),
        }
    }
}

/// bumpalo behind a lock.
pub struct Locked(Mutex<bumpalo::Bump>);

impl Together for Locked {
    const NAME: &'static str = "bumpalo, Mutex";
    const KIND: Kind = Kind::Arena;
    type Handle<'a> = &'a Self;
    fn new(_threads: usize) -> Self {
        Self(Mutex::new(bumpalo::Bump::new()))
    }
    fn handle(&self, _thread: usize) -> &Self {
        self
    }
    fn reset(&mut self) {
        self.0.get_mut().expect("no loop panics").reset();
    }
}

impl<T: Copy> Put<T> for Locked {
    #[inline(always)]
    fn put(&self, value: T) -> *mut T {
        self.0.lock().expect("no loop panics").alloc(value)
    }
}

/// bumpalo-herd: a pool of bumpalo's arenas whose blocks live as long as the pool.
pub struct Herded(pub Herd);

impl Together for Herded {
    const NAME: &'static str = "bumpalo-herd";
    const KIND: Kind = Kind::Arena;
    type Handle<'a> = Member<'a>;
    fn new(_threads: usize) -> Self {
        Self(Herd::new())
    }
    fn handle(&self, _thread: usize) -> Member<'_> {
        self.0.get()
    }
    fn reset(&mut self) {
        self.0.reset();
    }
}

impl<T: Copy> Put<T> for Member<'_> {
    #[inline(always)]
    fn put(&self, value: T) -> *mut T {
        self.alloc(value)
    }
}

/// bump-scope's pool: the same of its arenas.
pub struct Pooled(pub BumpPool);

impl Together for Pooled {
    const NAME: &'static str = "bump-scope, BumpPool";
    const KIND: Kind = Kind::Arena;
    type Handle<'a> = BumpPoolGuard<'a>;
    fn new(_threads: usize) -> Self {
        Self(BumpPool::new())
    }
    fn handle(&self, _thread: usize) -> BumpPoolGuard<'_> {
        self.0.get()
    }
    fn reset(&mut self) {
        self.0.reset();
    }
}

impl<T: Copy> Put<T> for BumpPoolGuard<'_> {
    #[inline(always)]
    fn put(&self, value: T) -> *mut T {
        BumpBox::into_raw(self.alloc(value)).as_ptr()
    }
}

//! Ours: the one file that knows arenascope's API.
//!
//! `new` is [`Arena::growing`], `with_capacity` is [`Arena::init`].
#![allow(unsafe_code)] // A rewind through a shared reference.

use crate::loops::shared::{Own, Together, rounds};
use crate::loops::{Took, cold, cycle, json, many, scope, timed, trees, vectors, warm};
use crate::memory::{Kind, Lay, Life, Put, Text, Vectors};
use crate::rows::Contender;
use arenascope::{Arena, ArenaPool, HugePages, KeptLimits, Local, OwnedArena, SharedArena};
use std::alloc::Layout;
use std::hint::black_box;

/// Our arena as it comes.
pub struct Ours(OwnedArena);

impl Life for Ours {
    const NAME: &'static str = "arenascope";
    const KIND: Kind = Kind::Ours;
    #[inline(always)]
    fn new() -> Self {
        Self(Arena::growing().expect("an arena"))
    }
    #[inline(always)]
    fn with_capacity(bytes: usize) -> Self {
        Self(Arena::init(bytes).expect("an arena"))
    }
    #[inline(always)]
    fn reset(&mut self) {
        self.0.reset();
    }
}

impl<T: Copy> Put<T> for Ours {
    #[inline(always)]
    fn put(&self, value: T) -> *mut T {
        self.0.alloc(value)
    }
}

impl Lay for Ours {
    #[inline(always)]
    fn lay(&self, layout: Layout) -> *mut u8 {
        self.0.alloc_layout(layout).as_ptr()
    }
}

impl Text for Ours {
    #[inline(always)]
    fn text(&self, text: &str) -> &str {
        self.0.alloc_str(text)
    }
}

impl Vectors for Ours {
    type Handle<'a> = &'a Arena;
    fn handle(&self) -> Self::Handle<'_> {
        &self.0
    }
}

/// Our arena without huge pages.
pub struct SmallPages(Ours);

impl Life for SmallPages {
    const NAME: &'static str = "arenascope, small pages";
    const KIND: Kind = Kind::Ours;
    fn new() -> Self {
        Self(Ours(Arena::builder().huge_pages(HugePages::Never).build().expect("an arena")))
    }
    fn with_capacity(bytes: usize) -> Self {
        Self(Ours(Arena::builder().huge_pages(HugePages::Never).capacity(bytes).build().expect("an arena")))
    }
    fn reset(&mut self) {
        self.0.reset();
    }
}

impl<T: Copy> Put<T> for SmallPages {
    #[inline(always)]
    fn put(&self, value: T) -> *mut T {
        self.0.put(value)
    }
}

fn ours(how: &str, run: fn(u64) -> Took) -> Contender {
    let name = if how.is_empty() { Ours::NAME.to_owned() } else { format!("{}, {how}", Ours::NAME) };
    Contender { name, kind: Kind::Ours, run }
}

/// Cold memory.
pub fn cold() -> Vec<Contender> {
    vec![ours("", cold::fill_and_drop::<Ours>), ours("small pages", cold::fill_and_drop::<SmallPages>)]
}

/// Whole lives.
pub fn lives<const BYTES: usize>() -> Vec<Contender> {
    vec![
        ours("growing", cycle::new::<Ours, BYTES>),
        ours("init", cycle::with_capacity::<Ours, BYTES>),
        ours("kept and reset", cycle::kept::<Ours, BYTES>),
    ]
}

/// JSON, fresh and reused.
pub fn json() -> Vec<Contender> {
    vec![ours("", json::arena::<Ours>), ours("reused", json::reused::<Ours>)]
}

/// binary-trees.
pub fn trees<const THREADS: u64>() -> Vec<Contender> {
    vec![ours("new", trees::new::<Ours, THREADS>), ours("reset", trees::reset::<Ours, THREADS>)]
}

/// Short strings.
pub fn text(run: fn(u64) -> Took) -> Vec<Contender> {
    vec![ours("", run)]
}

/// One vector.
pub fn vector() -> Vec<Contender> {
    vec![ours("", vectors::one::<Ours>)]
}

/// Two vectors.
pub fn vectors() -> Vec<Contender> {
    vec![ours("", vectors::two::<Ours>), ours("an arena each", vectors::two_arenas::<Ours>)]
}

/// Warm values.
pub fn warm<const WORDS: usize>() -> Vec<Contender> {
    vec![ours("", warm::values::<Ours, WORDS>), ours("burst", warm_burst::<WORDS>)]
}

/// As [`warm::values`], each batch in a burst.
fn warm_burst<const WORDS: usize>(units: u64) -> Took {
    let mut arena = Ours::with_capacity(warm::OPS as usize * WORDS * 8 + 4096);
    fill_by_burst::<WORDS>(&arena.0);
    arena.reset();
    let ns = timed(|| {
        for _ in 0..units {
            fill_by_burst::<WORDS>(&arena.0);
            arena.reset();
        }
    });
    Took { ns, ..Took::default() }
}

#[inline(never)]
fn fill_by_burst<const WORDS: usize>(arena: &Arena) {
    let mut burst = arena.burst();
    let mut left = warm::OPS;
    while left != 0 {
        black_box(burst.alloc([left; WORDS]));
        left -= 1;
    }
}

/// Layouts known at run time.
pub fn layouts() -> Vec<Contender> {
    vec![ours("", warm::layouts::<Ours>)]
}

/// Scopes.
pub fn scope() -> Vec<Contender> {
    vec![
        ours("scope", closure),
        ours("scope guard", guard),
        ours("checkpoint", checkpoint),
        ours("burst", burst),
        ours("reset", scope::reset::<Ours>),
    ]
}

fn closure(units: u64) -> Took {
    let mut arena = Arena::growing().expect("an arena");
    scope::repeat(units, |seed| arena.scope(|scope| scope::ten(seed, |block| scope.alloc(block))))
}

fn guard(units: u64) -> Took {
    let mut arena = Arena::growing().expect("an arena");
    scope::repeat(units, |seed| {
        let mut guard = arena.scope_guard();
        let scope = guard.scope();
        scope::ten(seed, |block| scope.alloc(block));
    })
}

fn burst(units: u64) -> Took {
    let mut arena = Arena::growing().expect("an arena");
    scope::repeat(units, |seed| {
        arena.scope(|scope| {
            let mut burst = scope.burst();
            scope::ten(seed, |block| burst.alloc(block));
        });
    })
}

fn checkpoint(units: u64) -> Took {
    let owned = Arena::growing().expect("an arena");
    scope::repeat(units, |seed| {
        // Code that is handed an arena has this, and not the owner's handle, whose place in memory would be read for each block.
        let arena: &Arena = &owned;
        let checkpoint = arena.checkpoint();
        scope::ten(seed, |block| arena.alloc(block));
        // SAFETY: of what was allocated since the checkpoint only an address is left.
        unsafe { arena.rewind_unchecked(&checkpoint) }.expect("the checkpoint is this arena's own");
    })
}

/// Our shared arena, through a thread's own handle.
pub struct ByLocal(SharedArena);

impl Together for ByLocal {
    const NAME: &'static str = "arenascope, local";
    const KIND: Kind = Kind::Ours;
    type Handle<'a> = Local<'a>;
    fn new(_threads: usize) -> Self {
        Self(SharedArena::growing().expect("an arena"))
    }
    fn handle(&self, _thread: usize) -> Local<'_> {
        self.0.local()
    }
    fn reset(&mut self) {
        self.0.reset();
    }
}

impl<T: Copy> Put<T> for Local<'_> {
    #[inline(always)]
    fn put(&self, value: T) -> *mut T {
        self.alloc(value)
    }
}

/// Our shared arena itself.
pub struct ByReference(SharedArena);

impl Together for ByReference {
    const NAME: &'static str = "arenascope, &SharedArena";
    const KIND: Kind = Kind::Ours;
    type Handle<'a> = &'a SharedArena;
    fn new(_threads: usize) -> Self {
        Self(SharedArena::growing().expect("an arena"))
    }
    fn handle(&self, _thread: usize) -> &SharedArena {
        &self.0
    }
    fn reset(&mut self) {
        self.0.reset();
    }
}

impl<T: Copy> Put<T> for SharedArena {
    #[inline(always)]
    fn put(&self, value: T) -> *mut T {
        self.alloc(value)
    }
}

/// One arena for all threads, and one for each.
pub fn shared<const THREADS: usize>() -> Vec<Contender> {
    vec![
        ours("local", rounds::<ByLocal, THREADS>),
        ours("&SharedArena", rounds::<ByReference, THREADS>),
        ours("own arenas", rounds::<Own<Ours>, THREADS>),
    ]
}

/// Arenas of pools, bounded and growing.
pub fn pool<const BYTES: usize>() -> Vec<Contender> {
    vec![
        ours("pool", |units| pooled::<BYTES>(units, &BOUNDED)),
        ours("pool of growing ones", |units| pooled::<BYTES>(units, &GROWING)),
    ]
}

const LIMITS: KeptLimits = KeptLimits { bytes: 16 << 20, count: 64 };

static BOUNDED: ArenaPool = ArenaPool::new(Arena::builder().capacity(16 << 10), LIMITS);

static GROWING: ArenaPool = ArenaPool::new(Arena::builder(), LIMITS);

fn pooled<const BYTES: usize>(units: u64, pool: &ArenaPool) -> Took {
    let life = || cycle::fill::<Arena>(&pool.take().expect("an arena"), BYTES);
    life();
    let ns = timed(|| (0..units).for_each(|_| life()));
    Took { ns, ..Took::default() }
}

impl<T: Copy> Put<T> for Arena {
    #[inline(always)]
    fn put(&self, value: T) -> *mut T {
        self.alloc(value)
    }
}

/// Very many arenas, for one small block, and for as much as a peer's first chunk holds.
pub fn many_lives() -> Vec<Contender> {
    vec![
        ours("init 64 B", |units| many::lives(units, || Ours::with_capacity(64))),
        ours("init 512 B", |units| many::lives(units, || Ours::with_capacity(512))),
    ]
}

/// What they take of memory.
pub fn many_memory() -> Vec<Contender> {
    vec![
        ours("init 64 B", |units| many::memory(units, || Ours::with_capacity(64))),
        ours("init 512 B", |units| many::memory(units, || Ours::with_capacity(512))),
    ]
}

/// What they take of mappings.
pub fn many_mappings() -> Vec<Contender> {
    vec![
        ours("init 64 B", |units| many::mappings(units, || Ours::with_capacity(64))),
        ours("init 512 B", |units| many::mappings(units, || Ours::with_capacity(512))),
    ]
}

//! Random programs of arena operations, run side by side on an arena and on a naive model that keeps every block in a list.
//!
//! The model knows the promises only: a block begins at the first multiple of its alignment (8 at least) at or after the
//! cursor, and is had exactly if its last byte lies within the capacity. After each operation, place, contents, offset and reported
//! events must agree. Used by tests and by fuzzing.
#![allow(unsafe_code)] // Calls free and resize; stores into `limit` as an outsider would.

use arenascope::{Arena, Checkpoint, Error, Event, EventKind, Observer, Owned, RewindError, Scope};
use std::alloc::Layout;
use std::cell::RefCell;
use std::ffi::c_void;
use std::ptr::NonNull;

/// One operation. Block and checkpoint numbers are taken modulo what there is.
#[derive(Clone, Copy, Debug)]
pub enum Op {
    Alloc {
        size: usize,
        align: usize,
    },
    Resize {
        block: usize,
        size: usize,
        align: usize,
    },
    Free {
        block: usize,
    },
    Checkpoint,
    Rewind {
        checkpoint: usize,
    },
    /// Only outside of scopes.
    Reset,
    /// Begins a scope.
    Enter,
    /// Ends the innermost scope.
    Exit,
    /// An outsider stores 0 into `limit`.
    Watch,
    /// An outsider stores 1 into `limit`.
    Release,
}

#[derive(Clone, Debug)]
struct Block {
    start: usize,
    size: usize,
    layout: Layout,
    fill: u8,
    /// Open scopes when it was handed out.
    depth: usize,
}

#[derive(Clone, Copy, Debug)]
struct Saved {
    checkpoint: Checkpoint,
    cursor: usize,
    /// Position in the history of rewinds.
    at: usize,
    /// Number of the scope it was taken in; 0 outside.
    scope: u64,
}

/// What an observer was told, or should have been.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Told {
    pub kind: EventKind,
    pub block: usize,
    pub size: usize,
    pub align: usize,
    pub old_block: usize,
    pub old_size: usize,
    pub offset: usize,
    pub depth: usize,
}

thread_local! {
    static TOLD: RefCell<Vec<(u64, Told)>> = const { RefCell::new(Vec::new()) };
}

unsafe extern "C" fn tell(context: *mut c_void, event: *const Event) {
    assert!(context.is_null());
    // SAFETY: valid during the call.
    let event = unsafe { &*event };
    if event.kind == EventKind::DESTROY {
        // By drop, whose place is not known.
        assert!(event.file.is_null() && event.line == 0);
        return;
    }
    check_caller(event);
    let told = Told {
        kind: event.kind,
        block: event.block.addr(),
        size: event.size,
        align: event.align,
        old_block: event.old_block.addr(),
        old_size: event.old_size,
        offset: event.offset,
        depth: event.depth as usize,
    };
    TOLD.with_borrow_mut(|all| all.push((event.number, told)));
}

fn check_caller(event: &Event) {
    // SAFETY: a file name lives forever.
    let file = unsafe { std::slice::from_raw_parts(event.file, event.file_bytes as usize) };
    assert!(std::str::from_utf8(file).is_ok_and(|file| file.ends_with(".rs")), "a file of ours");
    assert!(event.line > 0 && event.column > 0);
}

/// Keeps what it is told in a list of the thread.
pub static OBSERVER: Observer = Observer {
    version: arenascope::OBSERVER_VERSION,
    table_bytes: size_of::<Observer>() as u32,
    context: std::ptr::null_mut(),
    event: tell,
    sample_bytes: 0,
    next_sample: None,
    check: None,
};

/// Whether a source may refuse with an error of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusals {
    Never,
    Possible,
}

/// The address of an arena's `limit`, as an outsider finds it.
pub fn limit_of(arena: &Arena) -> *mut usize {
    (&raw const *arena).cast_mut().cast::<u8>().wrapping_add(32).cast()
}

fn up(value: usize, unit: usize) -> usize {
    value.div_ceil(unit) * unit
}

struct Model {
    base: usize,
    capacity: usize,
    cursor: usize,
    blocks: Vec<Block>,
    saved: Vec<Saved>,
    /// Every rewind and reset so far: where it went. A reset goes to 0, below every checkpoint.
    rewinds: Vec<usize>,
    /// Open scopes: number, and where the cursor stood.
    scopes: Vec<(u64, usize)>,
    scopes_ever: u64,
    watched: bool,
    expected: Vec<Told>,
    fills: u8,
    events: u64,
}

impl Model {
    /// Where a block would be, and the cursor after it.
    fn place(&self, layout: Layout) -> Option<(usize, usize)> {
        let start = up(self.cursor, layout.align().max(8));
        let bound = self.base + self.capacity;
        let bound = if layout.size() == 0 { up(bound, 8) } else { bound };
        let end = start as u128 + layout.size() as u128;
        (end <= bound as u128).then(|| (start, up(start + layout.size(), 8)))
    }

    fn offset(&self) -> usize {
        (self.cursor - self.base).min(self.capacity)
    }

    fn expect(&mut self, told: Told) {
        if self.watched {
            self.expected.push(Told { offset: self.offset(), depth: self.scopes.len(), ..told });
        }
    }

    fn is_last(&self, block: &Block) -> bool {
        up(block.start + block.size, 8) == self.cursor
    }

    fn stale(&self, saved: &Saved) -> bool {
        self.rewinds.get(saved.at..).is_some_and(|since| since.iter().any(|to| *to < saved.cursor))
    }

    fn scope(&self) -> u64 {
        self.scopes.last().map_or(0, |(number, _)| *number)
    }

    fn leave(&mut self) {
        let (_, mark) = self.scopes.pop().expect("a scope is open");
        let depth = self.scopes.len();
        self.blocks.retain(|block| block.depth <= depth);
        // An outer block freed inside may have left the cursor below the mark; it comes back.
        self.cursor = mark;
        self.expect(told(EventKind::SCOPE_EXIT, mark));
    }

    /// The arena may have forgotten a rewind: since the last reset there were more places at a time that rise than it remembers. (Those
    /// that a later rewind overtook included: what was forgotten before stays forgotten.)
    fn may_have_forgotten(&self) -> bool {
        let mut rising: Vec<usize> = Vec::new();
        let mut forgotten = false;
        for to in &self.rewinds {
            rising.retain(|kept| kept < to);
            match to {
                0 => forgotten = false,
                _ => rising.push(*to),
            }
            forgotten |= rising.len() > REMEMBERED;
        }
        forgotten
    }
}

/// Rewinds that an arena remembers.
const REMEMBERED: usize = 4;

fn told(kind: EventKind, block: usize) -> Told {
    Told { kind, block, size: 0, align: 0, old_block: 0, old_size: 0, offset: 0, depth: 0 }
}

/// Runs a program; panics at the first difference. `observed` gives the arena [`OBSERVER`].
pub fn run(arena: &mut Owned<'_>, ops: &[Op], refusals: Refusals, observed: bool) {
    TOLD.with_borrow_mut(Vec::clear);
    if observed {
        // SAFETY: the observer only touches this thread's list.
        unsafe { arena.observe(Some(&OBSERVER)) };
    }
    let base = arena.base().addr();
    let mut model = Model {
        base,
        capacity: arena.capacity(),
        cursor: base + arena.offset(),
        blocks: Vec::new(),
        saved: Vec::new(),
        rewinds: Vec::new(),
        scopes: Vec::new(),
        scopes_ever: 0,
        watched: observed,
        expected: Vec::new(),
        fills: 0,
        events: arena.stats().events,
    };
    let mut ops = ops.iter();
    while ops.len() > 0 {
        // An Exit with no scope open ends the loop inside, and nothing else.
        span(&mut Holder::Owner(arena), &mut model, &mut ops, refusals, observed);
    }
}

/// What is allocated in: the arena, or a scope of it.
enum Holder<'a, 'm, 's, 'o> {
    Owner(&'a mut Owned<'m>),
    Scope(&'a mut Scope<'s, 'o>),
}

impl Holder<'_, '_, '_, '_> {
    fn arena(&self) -> &Arena {
        match self {
            Holder::Owner(arena) => arena,
            Holder::Scope(scope) => scope,
        }
    }
}

/// Runs operations until the scope ends, or the program.
fn span(
    holder: &mut Holder<'_, '_, '_, '_>,
    model: &mut Model,
    ops: &mut std::slice::Iter<'_, Op>,
    refusals: Refusals,
    observed: bool,
) {
    while let Some(op) = ops.next() {
        match *op {
            Op::Exit => return,
            Op::Enter => {
                let mut guard = match holder {
                    Holder::Owner(arena) => arena.scope_guard(),
                    Holder::Scope(scope) => scope.scope_guard(),
                };
                model.scopes_ever += 1;
                model.scopes.push((model.scopes_ever, model.cursor));
                model.expect(told(EventKind::SCOPE_ENTER, model.cursor));
                let mut scope = guard.scope();
                compare(&scope, model, *op);
                span(&mut Holder::Scope(&mut scope), model, ops, refusals, observed);
                drop(guard);
                model.leave();
            }
            Op::Reset => {
                let Holder::Owner(arena) = holder else { continue };
                let before = model.cursor;
                arena.reset();
                // Told before it happens.
                model.expect(told(EventKind::RESET, before));
                model.cursor = model.base;
                model.blocks.clear();
                model.rewinds.push(0);
            }
            other => step(holder.arena(), model, other, refusals, observed),
        }
        compare(holder.arena(), model, *op);
    }
}

fn step(arena: &Arena, model: &mut Model, op: Op, refusals: Refusals, observed: bool) {
    match op {
        Op::Alloc { size, align } => {
            let Ok(layout) = Layout::from_size_align(size, align) else { return };
            match (model.place(layout), arena.try_alloc_layout(layout)) {
                (Some((start, end)), Ok(block)) => {
                    assert_eq!(block.addr().get(), start, "{op:?}");
                    model.cursor = end;
                    model.expect(Told { size, align, ..told(EventKind::ALLOC, start) });
                    fill(model, block, layout);
                }
                (Some(_), Err(Error::Os(_))) if refusals == Refusals::Possible => {
                    model.expect(Told { size, align, ..told(EventKind::REFUSED, 0) });
                }
                (None, Err(Error::Full)) => model.expect(Told { size, align, ..told(EventKind::REFUSED, 0) }),
                (expected, found) => panic!("{op:?}: expected {expected:?}, found {found:?}"),
            }
        }
        Op::Resize { block, size, align } => {
            let Ok(new) = Layout::from_size_align(size, align) else { return };
            if model.blocks.is_empty() {
                return;
            }
            let at = block % model.blocks.len();
            let old = model.blocks[at].clone();
            if old.depth < model.scopes.len() {
                // A block that grew past the mark of a scope around which it lives would not survive it: who resizes through a
                // raw pointer must know that, and the borrow checker forbids the rest.
                return;
            }
            let aligned = old.start.is_multiple_of(align);
            let expected = if aligned && model.is_last(&old) {
                let bound = model.base + model.capacity;
                let bound = if size == 0 { up(bound, 8) } else { bound };
                let fits = old.start as u128 + size as u128 <= bound as u128;
                fits.then(|| (old.start, up(old.start + size, 8)))
            } else if aligned && size <= old.size {
                Some((old.start, model.cursor))
            } else {
                model.place(new)
            };
            let pointer = arena.base().with_addr(old.start);
            // SAFETY: a living block with its layout.
            let found = unsafe { arena.try_resize(NonNull::new(pointer).expect("not null"), old.layout, new) };
            match (expected, found) {
                (Some((start, end)), Ok(moved)) => {
                    assert_eq!(moved.addr().get(), start, "{op:?} of {old:?}");
                    model.cursor = end;
                    model.expect(Told {
                        size,
                        align,
                        old_block: old.start,
                        old_size: old.size,
                        ..told(EventKind::RESIZE, start)
                    });
                    check_fill(moved.as_ptr(), old.size.min(size), old.fill);
                    model.blocks.remove(at);
                    fill(model, moved, new);
                }
                (Some(_), Err(Error::Os(_))) if refusals == Refusals::Possible => {
                    model.expect(Told { size, align, ..told(EventKind::REFUSED, 0) });
                }
                (None, Err(Error::Full)) => model.expect(Told { size, align, ..told(EventKind::REFUSED, 0) }),
                (expected, found) => panic!("{op:?} of {old:?}: expected {expected:?}, found {found:?}"),
            }
        }
        Op::Free { block } => {
            if model.blocks.is_empty() {
                return;
            }
            let at = block % model.blocks.len();
            let old = model.blocks.remove(at);
            let pointer = arena.base().with_addr(old.start);
            // SAFETY: a living block with its layout; the model forgets it.
            unsafe { arena.free(NonNull::new(pointer).expect("not null"), old.layout) };
            if model.is_last(&old) {
                model.cursor = old.start;
            }
            model.expect(Told { size: old.size, align: old.layout.align(), ..told(EventKind::FREE, old.start) });
        }
        Op::Checkpoint => {
            let checkpoint = arena.checkpoint();
            let scope = model.scope();
            model.saved.push(Saved { checkpoint, cursor: model.cursor, at: model.rewinds.len(), scope });
            model.expect(told(EventKind::CHECKPOINT, model.cursor));
        }
        Op::Rewind { checkpoint } => {
            if model.saved.is_empty() {
                return;
            }
            let saved = model.saved[checkpoint % model.saved.len()];
            let stale = model.stale(&saved) || saved.cursor > model.cursor;
            let here = saved.scope == model.scope();
            // SAFETY: the model forgets the blocks above the place.
            match unsafe { arena.rewind_unchecked(&saved.checkpoint) } {
                Ok(()) => {
                    let forgotten = model.may_have_forgotten() && saved.cursor <= model.cursor;
                    assert!(here && (!stale || forgotten), "{op:?}: went back to {saved:?}");
                    model.rewinds.push(saved.cursor);
                    model.cursor = saved.cursor;
                    model.blocks.retain(|block| block.start + block.size <= saved.cursor && block.start < saved.cursor);
                    model.expect(told(EventKind::REWIND, saved.cursor));
                }
                Err(RewindError::Stale) => assert!(stale || !here, "{op:?}: refused {saved:?}"),
                Err(error) => {
                    assert_eq!(error, RewindError::OutOfOrder);
                    // A scope around this one, or one that ended and was as deep: the two look alike.
                    assert!(!here && !model.scopes.is_empty());
                }
            }
        }
        // SAFETY: what anyone may do: an aligned store of 0 or 1.
        Op::Watch => unsafe {
            limit_of(arena).write_volatile(0);
            model.watched = observed;
        },
        // SAFETY: as above.
        Op::Release => unsafe {
            limit_of(arena).write_volatile(1);
            model.watched = false;
        },
        Op::Reset | Op::Enter | Op::Exit => unreachable!("operations of `span`"),
    }
}

fn fill(model: &mut Model, block: NonNull<u8>, layout: Layout) {
    model.fills = model.fills.wrapping_add(1);
    // SAFETY: a block of the arena's, as large as its layout. Large ones only at their ends.
    unsafe {
        for at in sampled(layout.size()) {
            block.as_ptr().add(at).write(model.fills);
        }
    }
    let start = block.addr().get();
    model.blocks.push(Block { start, size: layout.size(), layout, fill: model.fills, depth: model.scopes.len() });
}

/// All bytes of a small block, those at the ends of a large one.
fn sampled(size: usize) -> impl Iterator<Item = usize> {
    (0..size.min(64)).chain(size.saturating_sub(64).max(64).min(size)..size)
}

fn check_fill(block: *mut u8, size: usize, fill: u8) {
    for at in (0..size.min(64)).take_while(|at| *at < size) {
        // SAFETY: within the block.
        assert_eq!(unsafe { block.add(at).read() }, fill, "byte {at} of a block of {size}");
    }
}

fn compare(arena: &Arena, model: &mut Model, op: Op) {
    assert_eq!(arena.offset(), model.offset(), "{op:?}");
    assert_eq!(arena.remaining(), model.capacity - model.offset());
    let parts = arena.raw_parts();
    assert_eq!(parts.base.addr(), model.base);
    assert!(parts.offset <= parts.committed.min(parts.capacity) && parts.committed <= parts.reserved, "{parts:?}");
    assert!(arena.stats().peak_bytes >= parts.offset);
    for block in &model.blocks {
        let pointer = arena.base().with_addr(block.start);
        assert!(block.size == 0 || arena.contains(pointer));
        check_fill(pointer, block.size, block.fill);
    }
    TOLD.with_borrow_mut(|told| {
        assert_eq!(told.len(), model.expected.len(), "after {op:?}: {told:?} instead of {:?}", model.expected);
        for ((number, told), expected) in told.drain(..).zip(model.expected.drain(..)) {
            model.events += 1;
            assert_eq!(number, model.events, "no gaps");
            assert_eq!(told, expected, "after {op:?}");
        }
    });
}

//! Check mode: blocks that lie where a checker has put them, and not in the region.
//!
//! May be relied on: a checked arena answers every question as an unchecked one would: offset, capacity, refusals, checkpoints, scopes,
//! resizing in place. Its cursor moves over its own region by the same arithmetic. Only the addresses that it hands out are the
//! checker's, who keeps room around blocks, and dead blocks apart. Deliberately absent: what is kept there and what it means; a checker
//! does that. And a branch on the paths of arenas that nobody checks: `limit` is 0 as long as an arena is checked, so that all its calls
//! take the cold ways that a watched arena's take.
//!
//! # Why not room between the blocks of the region
//! A bounded arena of 64 bytes has none; `offset`, `remaining` and what C code reads from the header would differ; a rewind that does not
//! give addresses back would need checkpoints and limits of a second kind. With the blocks elsewhere none of that is touched, every
//! invariant of `header` holds as it stands, and the region is there if the checker has no room: then a block lies in it as ever.
//!
//! # What a program can see
//! Addresses. [`Arena::contains`], [`Arena::offset_of`], [`Owned::bytes`] and the dump ask the checker. A program that computes addresses from
//! [`Arena::base`] itself, finds another address there than it was given. So arenas whose blocks have to lie in their
//! memory are not checked: those in a caller's buffer, of a source of the program's own, of fork policies, and handles of shared arenas.
#![allow(unsafe_code)] // Calls the checker.

use crate::Arena;
use crate::header::{LIMIT_WATCH, flags};
use crate::probe::{EventKind, Observer};
use core::alloc::Layout;
use core::mem::offset_of;
use core::ptr::{NonNull, null_mut};

/// What an arena asks its checker. A number, so that newer ones can be passed through: an answer that is not given is the request
/// as it was.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct CheckKind(pub u32);

impl CheckKind {
    /// An arena was created. Answer: `checker`, or null to leave the arena alone. `size`: 1 if blocks have to lie in the region, which
    /// is told so that it can be counted, and then the answer has no effect. Asked by [`Observer::check`], all others by [`Checker::check`].
    pub const CREATE: CheckKind = CheckKind(1);
    /// A block of `size` bytes at a multiple of `align` would lie at `place`. Answer: `block`, where it is to lie; null: there.
    pub const ALLOC: CheckKind = CheckKind(2);
    /// Where would `block`, a block as the program names it, lie in the region? Answer: `place`, for dead blocks too; left
    /// as it is (the block itself) when it is not known.
    pub const PLACE: CheckKind = CheckKind(3);
    /// `old_block` of `old_size` bytes now has `size` bytes at a multiple of `align`, and would lie at `place`. Answer: `block`, with the contents
    /// in it; null: the block is not the checker's.
    pub const RESIZE: CheckKind = CheckKind(4);
    /// `block` of `size` bytes is given back. Answer: `place`, as for [`PLACE`](Self::PLACE); null: nothing shall happen to the arena.
    pub const FREE: CheckKind = CheckKind(5);
    /// All blocks at or above `place` are gone: a scope ended, the arena was rewound. `size`: the [`EventKind`].
    pub const BACK: CheckKind = CheckKind(6);
    /// All blocks are gone: the arena is reset. The observer has heard of it.
    pub const RESET: CheckKind = CheckKind(7);
    /// The arena has ended. The observer has heard of it. Nothing is asked after it.
    pub const DESTROY: CheckKind = CheckKind(8);
    /// In which living block does the address `block` lie? Answer: `place`, that address in the region; left null: in none.
    pub const INSIDE: CheckKind = CheckKind(9);
    /// The region is to be looked at: the contents of living blocks are to be copied to their places.
    pub const SHOW: CheckKind = CheckKind(10);
    /// All blocks are about to go, and the observer to hear of it: their bytes are still to be what they are. `size`: the [`EventKind`].
    pub const LOOK: CheckKind = CheckKind(11);
}

/// One question and its answer. Unused fields are 0 or null.
#[repr(C)]
#[derive(Debug)]
pub struct CheckRequest {
    /// What is asked.
    pub kind: CheckKind,
    /// `size_of::<CheckRequest>()`.
    pub request_bytes: u32,
    /// The arena's header.
    pub arena: *const Arena,
    /// An address in the region.
    pub place: *mut u8,
    /// The block, as the program knows it.
    pub block: *mut u8,
    /// Its size in bytes, as asked for.
    pub size: usize,
    /// Its alignment, as asked for.
    pub align: usize,
    /// Resize: the block before.
    pub old_block: *mut u8,
    /// Resize: its size before.
    pub old_size: usize,
    /// The answer to [`CheckKind::CREATE`].
    pub checker: *mut Checker,
}

/// Who checks an arena, from its creation to its end: the beginning of whatever the checker keeps for it.
#[repr(C)]
#[derive(Debug)]
pub struct Checker {
    /// Called for every question but the first, on the arena's thread, at most once at a time. It must not unwind, and not use the arena.
    pub check: unsafe extern "C" fn(checker: *mut Checker, request: *mut CheckRequest),
}

impl CheckRequest {
    fn new(kind: CheckKind, arena: &Arena) -> CheckRequest {
        CheckRequest {
            kind,
            request_bytes: size_of::<CheckRequest>() as u32,
            arena,
            place: null_mut(),
            block: null_mut(),
            size: 0,
            align: 0,
            old_block: null_mut(),
            old_size: 0,
            checker: null_mut(),
        }
    }
}

/// Puts the first question to an observer, if it has an ear for it.
///
/// # Safety
/// The observer is null, or a table that lives and is as long as it says.
pub(crate) unsafe fn ask_observer(observer: *const Observer, request: &mut CheckRequest) {
    // SAFETY: the caller's condition; a shorter table is an older one, without `check`.
    unsafe {
        let knows = offset_of!(Observer, check) + size_of::<usize>();
        if !observer.is_null()
            && (*observer).table_bytes as usize >= knows
            && let Some(ask) = (*observer).check
        {
            ask((*observer).context, request);
        }
    }
}

impl Arena {
    /// True while blocks are a checker's.
    #[inline]
    pub(crate) fn is_checked(&self) -> bool {
        self.flags.get() & flags::CHECKED != 0
    }

    /// Asks the observer whether it checks this arena, which has no blocks yet. `apart`: whether blocks may lie apart from the region.
    pub(crate) fn begin_checked(&self, observer: *const Observer, apart: bool) {
        let mut request = CheckRequest { size: usize::from(!apart), ..CheckRequest::new(CheckKind::CREATE, self) };
        // SAFETY: the table lives while the arena is watched: `observe` and `observe_all` had that promised.
        unsafe { ask_observer(observer, &mut request) };
        if !apart || request.checker.is_null() {
            return;
        }
        self.checker.set(request.checker);
        // The region holds nothing but what is copied there: it is not populated, and a block's memory is never known to be zero.
        self.flags.set((self.flags.get() | flags::CHECKED | flags::WATCHED) & !(flags::POPULATE | flags::KEEP));
        self.clean_from.set(usize::MAX);
        self.store_limit(LIMIT_WATCH);
    }

    /// Puts a question.
    #[cold]
    #[inline(never)]
    fn ask(&self, request: &mut CheckRequest) {
        let checker = self.checker.get();
        // SAFETY: not null in a checked arena; who gave it promised that it lives until the arena's end.
        unsafe { ((*checker).check)(checker, request) };
    }

    /// Whether the checker is to be asked: not by what an observer does to the arena while it is told of something. Such blocks lie in
    /// the region.
    fn asks(&self) -> bool {
        self.flags.get() & (flags::CHECKED | flags::REPORTING) == flags::CHECKED
    }

    /// Where the block lies that would lie at `place`.
    pub(crate) fn checked_block(&self, place: NonNull<u8>, layout: Layout) -> NonNull<u8> {
        if !self.asks() {
            return place;
        }
        let mut request = CheckRequest {
            place: place.as_ptr(),
            size: layout.size(),
            align: layout.align(),
            ..CheckRequest::new(CheckKind::ALLOC, self)
        };
        self.ask(&mut request);
        NonNull::new(request.block).unwrap_or(place)
    }

    /// Where a block of the program's would lie, as an address.
    pub(crate) fn checked_place(&self, block: usize) -> usize {
        if !self.is_checked() {
            return block;
        }
        let block = core::ptr::without_provenance_mut(block);
        let mut request = CheckRequest { block, place: block, ..CheckRequest::new(CheckKind::PLACE, self) };
        self.ask(&mut request);
        request.place.addr()
    }

    /// Where the resized block lies, with its contents; `place` is where it would. None when the block is not the checker's.
    pub(crate) fn checked_resize(
        &self,
        place: NonNull<u8>,
        block: NonNull<u8>,
        old: Layout,
        new: Layout,
    ) -> Option<NonNull<u8>> {
        let mut request = CheckRequest {
            place: place.as_ptr(),
            size: new.size(),
            align: new.align(),
            old_block: block.as_ptr(),
            old_size: old.size(),
            ..CheckRequest::new(CheckKind::RESIZE, self)
        };
        self.ask(&mut request);
        NonNull::new(request.block)
    }

    /// A block is given back: where it would lie, as an address; 0 when it is none.
    pub(crate) fn checked_free(&self, block: NonNull<u8>, size: usize) -> usize {
        if !self.is_checked() {
            return block.addr().get();
        }
        let block = block.as_ptr();
        let mut request = CheckRequest { block, place: block, size, ..CheckRequest::new(CheckKind::FREE, self) };
        self.ask(&mut request);
        request.place.addr()
    }

    /// Before the observer hears that a scope ended, or that the arena was rewound, or is to be reset or destroyed.
    pub(crate) fn checked_before(&self, kind: EventKind) {
        let what = match kind {
            EventKind::SCOPE_EXIT | EventKind::REWIND => CheckKind::BACK,
            EventKind::RESET | EventKind::DESTROY => CheckKind::LOOK,
            _ => return,
        };
        if self.is_checked() {
            let place = self.cursor.get();
            self.ask(&mut CheckRequest { place, size: kind.0 as usize, ..CheckRequest::new(what, self) });
        }
    }

    /// After it has heard of it.
    pub(crate) fn checked_after(&self, kind: EventKind) {
        if !self.is_checked() {
            return;
        }
        if kind == EventKind::RESET {
            self.ask(&mut CheckRequest { place: self.base.get(), ..CheckRequest::new(CheckKind::RESET, self) });
        }
        if kind == EventKind::DESTROY {
            self.ask(&mut CheckRequest::new(CheckKind::DESTROY, self));
            self.flags.set(self.flags.get() & !flags::CHECKED);
            self.checker.set(null_mut());
        }
    }

    /// An address of a living block as the address where it would lie; None: in no block.
    pub(crate) fn checked_inside(&self, address: *const u8) -> Option<usize> {
        let mut request = CheckRequest { block: address.cast_mut(), ..CheckRequest::new(CheckKind::INSIDE, self) };
        self.ask(&mut request);
        (!request.place.is_null()).then(|| request.place.addr())
    }

    /// Someone is about to look at the region's bytes.
    pub(crate) fn show_checked(&self) {
        if self.is_checked() {
            self.ask(&mut CheckRequest::new(CheckKind::SHOW, self));
        }
    }
}

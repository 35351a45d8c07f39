//! What one event did to the state: what a narrator or a rule needs and could no longer read from the state after.
//!
//! May be relied on: one [`Effect`] per event, also when nothing happened. Absent on purpose: text.

use crate::arena::ArenaId;
use crate::blocks::{Block, Place};
use alloc::vec::Vec;
use arenascope_event::SiteId;

/// What happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum What {
    /// Nothing that concerns arenas.
    Nothing,
    /// A create event: an arena was born, or one that its own creation had already touched got its facts
    /// (`adopted`).
    Created {
        /// True when the arena was there already: born by an event inside this very call.
        adopted: bool,
    },
    /// A block was handed out: see [`Effect::block`].
    Allocated,
    /// An alloc or resize returned NULL.
    Refused,
    /// An outer alloc function returned the block of an inner one: no new block. `from` is the inner call's site.
    HandedOn {
        /// Site of the inner call, as the block had it before.
        from: Option<SiteId>,
    },
    /// A block changed its size, and its place when `moved`.
    Resized {
        /// True when the address changed.
        moved: bool,
    },
    /// A block was given back. [`Effect::block`] is `None` when no such block was known.
    Freed,
    /// A mark was taken.
    Marked,
    /// A scope of our library's arena began.
    ScopeBegan,
    /// It ended.
    ScopeEnded,
    /// The arena went back.
    Rewound,
    /// The arena was emptied.
    Reset,
    /// The arena was destroyed.
    Destroyed,
    /// A free, rewind, reset or destroy of no living arena: nothing changed.
    NoArena,
    /// Memory came, went, or moved.
    Memory,
}

/// Blocks that an event killed, summed up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Died {
    /// How many.
    pub blocks: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What one event did.
#[derive(Clone, PartialEq, Debug)]
pub struct Effect {
    /// What happened.
    pub what: What,
    /// The arena concerned.
    pub arena: Option<ArenaId>,
    /// True when this event is the arena's birth.
    pub born: bool,
    /// The block concerned, as it is after the event (after a free: as it was).
    pub block: Option<Block>,
    /// The block as it was before a resize.
    pub before: Option<Block>,
    /// Where [`Effect::block`] lies (after a free: lay).
    pub place: Option<Place>,
    /// Blocks of that arena killed by this event (for memory events: of all arenas).
    pub died: Died,
    /// Blocks that an own event of the arena killed by going back over them: by rewind, reset, or because its block took
    /// their bytes. In order of placement. Those of a free are [`Effect::block`], those of an arena's end its portrait.
    pub dead: Vec<Block>,
    /// Arenas that this event ended, in order of id.
    pub ended: Vec<ArenaId>,
    /// Arenas that the thread's previous event had ended or struck and that live on after all: realloc moved the
    /// malloc block they lie in.
    pub revived: Vec<ArenaId>,
}

impl Effect {
    pub(crate) fn nothing() -> Effect {
        Effect::of(What::Nothing)
    }

    pub(crate) fn of(what: What) -> Effect {
        Effect {
            what,
            arena: None,
            born: false,
            block: None,
            before: None,
            place: None,
            died: Died::default(),
            dead: Vec::new(),
            ended: Vec::new(),
            revived: Vec::new(),
        }
    }
}

impl Died {
    pub(crate) fn add(&mut self, block: &Block) {
        self.blocks = self.blocks.saturating_add(1);
        self.bytes = self.bytes.saturating_add(block.footprint());
    }
}

//! What one function of a foreign allocator does: the role and the meaning of its arguments.
//!
//! Written by people (`alloc: arena_alloc(arena, size) -> block`), found by shape, kept in traces. Parsing lives in
//! `arenascope-roles`; where an argument sits in registers is `arenascope-plan`'s business.

use alloc::string::String;
use alloc::vec::Vec;

/// What a function does to an arena.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Role {
    /// Makes an arena, or fills in the arena object it is given.
    Create = 0,
    /// Hands out a block.
    Alloc = 1,
    /// Changes a block's size; may move it.
    Resize = 2,
    /// Takes one block back.
    Free = 3,
    /// Saves the cursor.
    Mark = 4,
    /// Goes back to a saved cursor.
    Rewind = 5,
    /// Empties the arena, keeps its memory.
    Reset = 6,
    /// Ends the arena.
    Destroy = 7,
}

impl Role {
    /// All roles, in the order of `interface.md`.
    pub const ALL: [Role; 8] =
        [Role::Create, Role::Alloc, Role::Resize, Role::Free, Role::Mark, Role::Rewind, Role::Reset, Role::Destroy];

    /// The word users type.
    pub const fn word(self) -> &'static str {
        match self {
            Role::Create => "create",
            Role::Alloc => "alloc",
            Role::Resize => "resize",
            Role::Free => "free",
            Role::Mark => "mark",
            Role::Rewind => "rewind",
            Role::Reset => "reset",
            Role::Destroy => "destroy",
        }
    }

    /// The role with this word, if any.
    pub fn from_word(word: &str) -> Option<Role> {
        Role::ALL.into_iter().find(|role| role.word() == word)
    }
}

/// What one argument of a function means.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Argument {
    /// `_`: of no interest.
    Ignored = 0,
    /// `arena`: the arena object.
    Arena = 1,
    /// `*arena`: points at a pointer to the arena; read after the call (`apr_pool_create(pool **new, …)`).
    ArenaOut = 2,
    /// `size`: bytes; multiplied by `count` when both are there.
    Size = 3,
    /// `count`: elements of `size` bytes.
    Count = 4,
    /// `block`: the block concerned.
    Block = 5,
    /// `align`: the alignment asked for, bytes.
    Align = 6,
    /// `parent`: the parent arena.
    Parent = 7,
    /// `name`: a NUL-terminated string that names the arena.
    Name = 8,
    /// `mark`: a saved cursor, passed by value in one machine word.
    Mark = 9,
    /// `*mark`: points at the saved cursor; its first word is read (before a rewind, after a mark).
    MarkAt = 10,
    /// `*block`: points at a pointer to the block; read after the call (`int alloc(arena, size, void **out)`).
    BlockOut = 11,
}

impl Argument {
    /// All meanings.
    pub const ALL: [Argument; 12] = [
        Argument::Ignored,
        Argument::Arena,
        Argument::ArenaOut,
        Argument::Size,
        Argument::Count,
        Argument::Block,
        Argument::Align,
        Argument::Parent,
        Argument::Name,
        Argument::Mark,
        Argument::MarkAt,
        Argument::BlockOut,
    ];

    /// The word users type.
    pub const fn word(self) -> &'static str {
        match self {
            Argument::Ignored => "_",
            Argument::Arena => "arena",
            Argument::ArenaOut => "*arena",
            Argument::Size => "size",
            Argument::Count => "count",
            Argument::Block => "block",
            Argument::Align => "align",
            Argument::Parent => "parent",
            Argument::Name => "name",
            Argument::Mark => "mark",
            Argument::MarkAt => "*mark",
            Argument::BlockOut => "*block",
        }
    }
}

/// What a function's result means.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
#[allow(non_camel_case_types, reason = "`Result` alone would shadow the prelude everywhere")]
pub enum Result_ {
    /// Nothing of interest.
    Ignored = 0,
    /// `-> arena`
    Arena = 1,
    /// `-> block`
    Block = 2,
    /// `-> mark`: one machine word.
    Mark = 3,
}

impl Result_ {
    /// The word users type.
    pub const fn word(self) -> &'static str {
        match self {
            Result_::Ignored => "_",
            Result_::Arena => "arena",
            Result_::Block => "block",
            Result_::Mark => "mark",
        }
    }
}

/// One function and its role.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct RoleDecl {
    /// What it does.
    pub role: Role,
    /// The function's name as the user wrote it: a symbol, a demangled C++ or Rust path, or `library.so!name`.
    pub function: String,
    /// The meaning of each argument, in source order.
    pub arguments: Vec<Argument>,
    /// The meaning of the result.
    pub result: Result_,
}

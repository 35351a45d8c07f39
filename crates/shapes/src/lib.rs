//! Hand-made arena allocators, found in a program's debug information and proved in its machine code.
//!
//! DWARF says which functions *could* allocate: they take a pointer to a structure and a size, and return a pointer.
//! The machine code says which *do*: the result comes out of a field of the structure, and that same field moves on by
//! the size. Only functions whose code shows this are chosen; names add a little to a score and decide nothing alone.
//!
//! Relied on: pure over the bytes given, any bytes; no panic, no files, no clock; the same bytes give the same answer.
//! Deliberately absent: opening files, finding separate debug files, mapping names to addresses and clones, reading
//! anything of a running process.
#![forbid(unsafe_code)]

mod allocs;
mod binary;
mod calls;
mod debug;
mod effects;
mod family;
mod known;
mod machine;
mod memory;
mod search;
mod survey;
mod value;
mod words;

use arenascope_event::RoleDecl;
use core::fmt;

/// How a function without a call left is told of, wherever that is found out; who must know it looks for these words.
pub const INLINED_EVERYWHERE: &str = "is inlined everywhere";

/// What was found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Candidates {
    /// None: nothing was found, `notes` says why. One: the choice. Two: the code fits both, and a person must say.
    pub readings: Vec<Reading>,
    /// Sentences for people: what could not be seen, and what to do about it.
    pub notes: Vec<String>,
    /// With no reading: the functions that came nearest, and why they were not chosen.
    pub considered: Vec<Scored>,
    /// With a reading: functions of its arenas whose calls matter and will not be seen.
    pub unwatched: Vec<Unwatched>,
}

/// A function of an arena that is not watched although its calls may end blocks or arenas, or hand out blocks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unwatched {
    /// The role its name speaks of. Without arguments where no role can say what the function does.
    pub decl: RoleDecl,
    /// Why it is not watched, and what that means for what is shown.
    pub why: String,
}

/// One way to read the program's allocators: roles that do not conflict with each other.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reading {
    /// The arena structures, as the source calls them, separated by `, `; `(global)` for functions without an arena
    /// argument.
    pub arena_type: String,
    /// The roles chosen. Arguments are one for each parameter of the source, in source order (`this` first; the hidden
    /// pointer of a structure returned by value is not counted).
    pub decls: Vec<RoleDecl>,
    /// Every function that was considered, chosen or not, best first.
    pub explain: Vec<Scored>,
}

/// One considered function.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Scored {
    /// The role it has, or came nearest to.
    pub decl: RoleDecl,
    /// Points: 3 for each fact proved in the code, 1 for each hint (a name, a usual type), less for counter-evidence.
    pub score: i32,
    /// Why, in plain sentences.
    pub because: Vec<String>,
    /// True when `decl` is one of the reading's roles.
    pub chosen: bool,
}

/// Why a file could not be searched at all.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FindError {
    /// Not an ELF file of 64 bits, little-endian, for x86-64.
    WrongFormat(String),
    /// The debug information is damaged beyond use.
    Damaged(String),
}

impl fmt::Display for FindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FindError::WrongFormat(what) => write!(f, "not an x86-64 ELF file: {what}"),
            FindError::Damaged(what) => write!(f, "the debug information cannot be read: {what}"),
        }
    }
}

impl core::error::Error for FindError {}

/// Searches a program or library for arena allocators.
///
/// `elf` is the file that runs; `debug` the separate debug file that belongs to it, if there is one. Time grows with the
/// size of the debug information and of the code; each function's analysis is bounded.
pub fn find(elf: &[u8], debug: Option<&[u8]>) -> Result<Candidates, FindError> {
    let binary = binary::Binary::parse(elf, debug)?;
    let sections = debug::Sections::load(elf, debug)?;
    let Some(sections) = sections else {
        return Ok(Candidates {
            readings: Vec::new(),
            notes: vec!["there is no debug information: compile with -g, or name the functions by role".to_string()],
            ..Candidates::default()
        });
    };
    let info = debug::Info::read(&sections, &binary);
    Ok(search::search(&info, &binary))
}

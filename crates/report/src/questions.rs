//! The questions about blocks and moments that people know from Unreal's memory tools, by name.
//!
//! ```text
//! active       at A              living at A
//! growth       A-B               allocated after A, still living at B
//! decline      A-B               living at A, gone at B
//! short-lived  A-B               allocated after A, gone at B
//! long-lived   A-B               living at A, still living at B
//! leak         A-B-C             allocated after A and not after B, still living at C
//! ```
//! May be relied on: answers are exact in blocks; in bytes too, but for short-lived blocks whose neighbours of the same
//! place were resized (these count with their last size). Absent: whether a leak is one; text.

use crate::diff::{Placed, Side, Sites, placed};
use crate::narrate::arena_name;
use crate::pattern::ArenaPattern;
use crate::view::{Moment, Site};
use arenascope_replay::{Arena, ArenaId, Block, default_name};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A question.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "each is told in the head of this file")]
pub enum Question {
    Active,
    Growth,
    Decline,
    ShortLived,
    LongLived,
    Leak,
}

impl Question {
    /// All of them, in the order in which they are listed to users.
    pub const ALL: [Question; 6] = [
        Question::Active,
        Question::Growth,
        Question::Decline,
        Question::ShortLived,
        Question::LongLived,
        Question::Leak,
    ];

    /// The word of the command line and of JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Question::Active => "active",
            Question::Growth => "growth",
            Question::Decline => "decline",
            Question::ShortLived => "short-lived",
            Question::LongLived => "long-lived",
            Question::Leak => "leak",
        }
    }

    /// How many moments it takes.
    pub const fn moments(self) -> usize {
        match self {
            Question::Active => 1,
            Question::Leak => 3,
            _ => 2,
        }
    }

    /// What it asks, with `{A}`, `{B}` and `{C}` for its moments.
    pub const fn asks(self) -> &'static str {
        match self {
            Question::Active => "living at {A}",
            Question::Growth => "allocated after {A}, still living at {B}",
            Question::Decline => "living at {A}, gone at {B}",
            Question::ShortLived => "allocated after {A}, gone at {B}",
            Question::LongLived => "living at {A}, still living at {B}",
            Question::Leak => "allocated after {A} and not after {B}, still living at {C}",
        }
    }
}

/// The blocks of one place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AnswerPlace {
    /// The place; `None` for blocks without a backtrace.
    pub site: Option<Arc<Site>>,
    /// How many blocks.
    pub blocks: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The first of them: its arena's number and name, and where it lay. `None` for short-lived ones, which are only counted.
    pub first: Option<(u64, String, Placed)>,
}

/// The answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// The question.
    pub question: Question,
    /// Its moments.
    pub moments: Vec<Moment>,
    /// Places, most bytes first.
    pub places: Vec<AnswerPlace>,
}

impl Answer {
    /// Blocks of all places.
    pub fn blocks(&self) -> u64 {
        self.places.iter().fold(0, |sum, place| sum.saturating_add(place.blocks))
    }

    /// Their bytes.
    pub fn bytes(&self) -> u64 {
        self.places.iter().fold(0, |sum, place| sum.saturating_add(place.bytes))
    }
}

/// Answers `question` from as many sides as it takes moments, in the order of time.
pub fn answer(question: Question, sides: &[Side<'_>], pattern: Option<&ArenaPattern>) -> Answer {
    let mut counting = Counting { sites: Sites::default(), places: BTreeMap::new() };
    let moments: Vec<Moment> = sides.iter().map(|side| side.point.moment).collect();
    let event = |index: usize| moments.get(index).map_or(0, |moment: &Moment| moment.event);
    let born = |block: &Block| if block.inherited { 0 } else { block.born.0 };
    let (a, b) = (event(0), event(1));
    match (question, sides) {
        (Question::Active, [side, ..]) => counting.living(side, pattern, |_, _| true),
        (Question::Growth, [_, later, ..]) => counting.living(later, pattern, |_, block| born(block) > a),
        (Question::LongLived, [side, later, ..]) => {
            // Not by their birth: a block may have changed hands between two arenas since.
            let before = numbers(side, pattern);
            counting.living(later, pattern, |arena, block| before.contains(&(arena.id, block.number)));
        }
        (Question::Decline, [side, later, ..]) => {
            let still = numbers(later, pattern);
            counting.living(side, pattern, |arena, block| !still.contains(&(arena.id, block.number)));
        }
        (Question::Leak, [_, _, last, ..]) => {
            counting.living(last, pattern, |_, block| born(block) > a && born(block) <= b);
        }
        (Question::ShortLived, [side, later, ..]) => counting.short_lived(side, later, pattern, a),
        _ => {}
    }
    let mut places: Vec<AnswerPlace> = counting.places.into_values().filter(|place| place.blocks > 0).collect();
    places.sort_by_key(|place| {
        (std::cmp::Reverse((place.bytes, place.blocks)), place.first.as_ref().map(|first| first.2.born))
    });
    Answer { question, moments, places }
}

fn numbers(side: &Side<'_>, pattern: Option<&ArenaPattern>) -> BTreeSet<(ArenaId, u64)> {
    let arenas = side.arenas(pattern);
    arenas.flat_map(|arena| arena.blocks().into_iter().map(|block| (arena.id, block.number))).collect()
}

struct Counting {
    sites: Sites,
    places: BTreeMap<usize, AnswerPlace>,
}

impl Counting {
    fn place(&mut self, stack: usize) -> &mut AnswerPlace {
        let place = self.sites.place_of(stack);
        let site = self.sites.shown(place);
        self.places.entry(place).or_insert(AnswerPlace { site, blocks: 0, bytes: 0, first: None })
    }

    fn living(&mut self, side: &Side<'_>, pattern: Option<&ArenaPattern>, wanted: impl Fn(&Arena, &Block) -> bool) {
        let default_name = default_name(&side.facts.hooks);
        for arena in side.arenas(pattern) {
            for block in arena.blocks().into_iter().filter(|block| wanted(arena, block)) {
                let stack = self.sites.stack(side, block.site, block.inherited);
                let told = self.place(stack);
                told.blocks += 1;
                told.bytes = told.bytes.saturating_add(block.size);
                if told.first.as_ref().is_none_or(|first| block.born.0 < first.2.born) {
                    let name = arena_name(arena, &default_name).to_owned();
                    told.first = Some((u64::from(arena.id.0), name, placed(block, arena)));
                }
            }
        }
    }

    /// What was handed out in between, less what of it still lives.
    fn short_lived(&mut self, side: &Side<'_>, later: &Side<'_>, pattern: Option<&ArenaPattern>, a: u64) {
        for ((arena, site), handed) in &later.point.handed {
            if !later.means(*arena, pattern) {
                continue;
            }
            let before = side.point.handed.get(&(*arena, *site)).copied().unwrap_or_default();
            let stack = self.sites.stack(later, *site, false);
            let told = self.place(stack);
            told.blocks += handed.blocks.saturating_sub(before.blocks);
            told.bytes = told.bytes.saturating_add(handed.bytes.saturating_sub(before.bytes));
        }
        for arena in later.arenas(pattern) {
            for block in arena.blocks().into_iter().filter(|block| !block.inherited && block.born.0 > a) {
                let stack = self.sites.stack(later, block.site, false);
                let told = self.place(stack);
                told.blocks = told.blocks.saturating_sub(1);
                told.bytes = told.bytes.saturating_sub(block.size);
            }
        }
    }
}

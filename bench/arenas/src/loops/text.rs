//! Short strings, 4 to 20 bytes, copied into a warm arena. A unit is [`WORDS`] strings and one reset.

use super::{Random, Took, timed};
use crate::memory::{Life, Text};
use std::hint::black_box;

/// Strings in a unit.
pub const WORDS: u64 = 10_000;

/// The row's work.
pub fn words<A: Life + Text>(units: u64) -> Took {
    let (text, ends) = source();
    let mut from = 0;
    let words: Vec<&str> = ends.iter().map(|&end| &text[std::mem::replace(&mut from, end)..end]).collect();
    let words = black_box(words);
    let mut arena = A::with_capacity(WORDS as usize * 24 + 4096);
    copy(&arena, &words);
    arena.reset();
    let ns = timed(|| {
        for _ in 0..units {
            copy(&arena, &words);
            arena.reset();
        }
    });
    Took { ns, ..Took::default() }
}

fn source() -> (String, Vec<usize>) {
    let mut random = Random::new(11);
    let mut text = String::new();
    let mut ends = Vec::new();
    for _ in 0..WORDS {
        for _ in 0..4 + random.below(17) {
            text.push(char::from(b'a' + random.below(26) as u8));
        }
        ends.push(text.len());
    }
    (text, ends)
}

#[inline(never)]
fn copy<A: Text>(arena: &A, words: &[&str]) {
    for word in words {
        black_box(arena.text(word).as_ptr());
    }
}

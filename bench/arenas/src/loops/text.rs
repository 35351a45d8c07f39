//! Short strings, 4 to 20 bytes, copied into a warm arena. A unit is [`WORDS`] strings and one reset.
//!
//! Copying them is mostly a matter of branches on the length. A processor learns the lengths of 10,000 strings that come in
//! the same order each time, and no text is like that: so the strings come in [`ORDERS`] orders by turns. The other way is a
//! row too.

#![allow(unsafe_code)] // The limit copies through raw pointers.

use super::{Random, Took, timed};
use crate::memory::{Life, Text};
use std::hint::black_box;

/// Strings in a unit.
pub const WORDS: u64 = 10_000;

/// Orders in which they come: 160,000 strings before anything repeats.
const ORDERS: usize = 16;

/// In changing order.
pub fn shuffled<A: Life + Text>(units: u64) -> Took {
    words::<A>(units, ORDERS)
}

/// Always in the same order.
pub fn learned<A: Life + Text>(units: u64) -> Took {
    words::<A>(units, 1)
}

fn words<A: Life + Text>(units: u64, orders: usize) -> Took {
    let (text, ends) = source();
    let mut from = 0;
    let mut words: Vec<&str> = ends.iter().map(|&end| &text[std::mem::replace(&mut from, end)..end]).collect();
    let mut random = Random::new(13);
    let orders: Vec<Vec<&str>> = (0..orders)
        .map(|_| {
            for at in (1..words.len()).rev() {
                words.swap(at, random.below(at as u64 + 1) as usize);
            }
            words.clone()
        })
        .collect();
    let orders = black_box(orders);
    let mut arena = A::with_capacity(WORDS as usize * 24 + 4096);
    for words in &orders {
        copy(&arena, words);
        arena.reset();
    }
    let ns = timed(|| {
        for words in orders.iter().cycle().take(units as usize) {
            copy(&arena, words);
            arena.reset();
        }
    });
    Took { ns, ..Took::default() }
}

/// No arena can beat: 24 bytes for each string, whatever its length, through a cursor in a register.
pub fn limit(units: u64) -> Took {
    let (mut text, ends) = source();
    text.push_str(&" ".repeat(LONGEST));
    let starts = [0].iter().chain(&ends);
    let mut spans: Vec<(usize, usize)> = starts.zip(&ends).map(|(&start, &end)| (start, end - start)).collect();
    for at in (1..spans.len()).rev() {
        spans.swap(at, Random::new(at as u64).below(at as u64 + 1) as usize);
    }
    let mut room = vec![0u8; text.len() + LONGEST];
    let ns = timed(|| (0..units).for_each(|_| copy_spans(&text, &spans, &mut room)));
    Took { ns, ..Took::default() }
}

/// Bytes copied for each string by the limit: the longest has 20.
const LONGEST: usize = 24;

#[inline(never)]
fn copy_spans(text: &str, spans: &[(usize, usize)], room: &mut [u8]) {
    let mut to = room.as_mut_ptr();
    for &(from, bytes) in spans {
        // SAFETY: the spans are disjoint parts of the text, which has LONGEST bytes more than their sum, and so has `room`.
        unsafe {
            to.copy_from_nonoverlapping(text.as_ptr().add(from), LONGEST);
            black_box(to);
            to = to.add(bytes);
        }
    }
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

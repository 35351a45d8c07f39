//! Names near a name that is not there.
//!
//! Relied on: the cheap look (identifiers inside linkage names) goes over all functions, demangling only over the few
//! that remain. Absent: certainty; this is for a sentence that asks "did you mean".

use crate::image::Image;
use crate::names::{self, last_identifier, plain};
use std::collections::BTreeSet;

/// Candidates that are demangled for each name asked for.
const SHORT_LIST: usize = 48;

/// Longest identifier that is compared, bytes.
const IDENTIFIER_LIMIT: usize = 128;

impl Image {
    /// At most `limit` names of functions that somebody who typed `name` may have meant, the likeliest first.
    /// O(number of symbols).
    pub fn nearest(&self, name: &str, limit: usize) -> Vec<String> {
        let typed = plain(name.trim());
        let wanted = match last_identifier(&typed) {
            identifier if identifier.is_empty() => typed.clone(),
            identifier => identifier,
        };
        let wanted = Spelling::of(&wanted);
        let mut short_list: Vec<(usize, &str)> = Vec::new();
        let functions = self.table().functions.iter().chain(&self.dwarf_only().functions);
        for function in functions.filter(|function| !function.is_ifunc) {
            let linkage = names::take_apart(&function.name);
            if linkage.never_entry {
                continue;
            }
            let distance = identifiers(linkage.base).filter_map(|identifier| wanted.distance(identifier)).min();
            short_list.extend(distance.map(|distance| (distance, linkage.base)));
            if short_list.len() >= SHORT_LIST * 8 {
                shorten(&mut short_list);
            }
        }
        shorten(&mut short_list);
        let mut scored: BTreeSet<(usize, String)> = BTreeSet::new();
        for (distance, base) in short_list {
            let display = names::display(base);
            let bare = names::without_templates(&plain(display.split('(').next().unwrap_or(&display)));
            scored.insert((distance.saturating_add(path_distance(&typed, &bare)), display));
        }
        scored.into_iter().map(|(_, display)| display).take(limit).collect()
    }
}

fn shorten(list: &mut Vec<(usize, &str)>) {
    list.sort_unstable();
    list.dedup();
    list.truncate(SHORT_LIST);
}

/// 0 when the typed path ends like the real one; more the more of its segments are elsewhere.
fn path_distance(typed: &str, real: &str) -> usize {
    let typed: Vec<&str> = typed.split("::").collect();
    let real: Vec<&str> = real.split("::").collect();
    let same = typed.iter().rev().zip(real.iter().rev()).take_while(|(one, two)| one == two).count();
    let missing = typed.iter().filter(|segment| !real.contains(segment)).count();
    if same == typed.len() { 0 } else { missing.saturating_add(real.len().saturating_sub(1).min(2)) }
}

/// Identifiers in a linkage name: the name itself, or those that a mangled name spells out.
fn identifiers(base: &str) -> impl Iterator<Item = &str> {
    let mangled = base.starts_with("_Z") || base.starts_with("_R");
    let whole = (!mangled).then_some(base);
    whole.into_iter().chain(SpelledOut { rest: if mangled { base } else { "" } })
}

/// `<length><identifier>` groups of a mangled name.
struct SpelledOut<'a> {
    rest: &'a str,
}

impl<'a> Iterator for SpelledOut<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        loop {
            let at = self.rest.find(|char: char| char.is_ascii_digit() && char != '0')?;
            let digits = self.rest.get(at..)?;
            let end = digits.find(|char: char| !char.is_ascii_digit())?;
            let length: usize = digits.get(..end)?.parse().ok().unwrap_or(usize::MAX);
            let after = digits.get(end..)?;
            // Rust separates by `_` an identifier that starts with a digit or `_`.
            match after.get(..length) {
                Some(identifier) => {
                    self.rest = after.get(length..)?;
                    return Some(identifier);
                }
                None => self.rest = after,
            }
        }
    }
}

/// An identifier prepared for many comparisons.
struct Spelling {
    lower: Vec<u8>,
    letters: u64,
    cutoff: usize,
}

impl Spelling {
    fn of(text: &str) -> Spelling {
        let lower: Vec<u8> = text.bytes().take(IDENTIFIER_LIMIT).map(|byte| byte.to_ascii_lowercase()).collect();
        let cutoff = (lower.len() / 3).clamp(1, 4);
        Spelling { letters: letters(&lower), lower, cutoff }
    }

    /// Edits between the two (twice their number, so that words that contain one another fit between); `None` when
    /// too many.
    fn distance(&self, other: &str) -> Option<usize> {
        if other.len() > IDENTIFIER_LIMIT || self.lower.is_empty() {
            return None;
        }
        let other = other.to_ascii_lowercase();
        let bytes = other.as_bytes();
        let difference = self.lower.len().abs_diff(bytes.len());
        if let Ok(text) = std::str::from_utf8(&self.lower)
            && text.len() >= 3
            && (other.contains(text) || (other.len() * 3 >= text.len() * 2 && text.contains(&other)))
        {
            return Some(difference.min(6).saturating_add(1));
        }
        let strange = (self.letters ^ letters(bytes)).count_ones() as usize;
        if difference > self.cutoff || strange > self.cutoff.saturating_mul(2) {
            return None;
        }
        let edits = edits(&self.lower, bytes);
        (edits <= self.cutoff).then(|| edits.saturating_mul(2))
    }
}

/// Which letters, digits and `_` occur.
fn letters(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |set, byte| set | 1u64 << (byte & 63))
}

/// Insertions, deletions, replacements and swaps of neighbours that turn one into the other (optimal string
/// alignment). O(product of the lengths).
fn edits(one: &[u8], two: &[u8]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=two.len()).collect();
    for (row, a) in one.iter().enumerate() {
        let mut current = Vec::with_capacity(last.len());
        current.push(row.saturating_add(1));
        for (column, b) in two.iter().enumerate() {
            let get = |line: &[usize], at: usize| line.get(at).copied().unwrap_or(usize::MAX / 2);
            let replaced = get(&last, column) + usize::from(a != b);
            let removed = get(&last, column + 1) + 1;
            let added = get(&current, column) + 1;
            let mut best = replaced.min(removed).min(added);
            let swapped = row > 0 && column > 0 && one.get(row - 1) == Some(b) && two.get(column - 1) == Some(a);
            if swapped {
                best = best.min(get(&before, column - 1) + 1);
            }
            current.push(best);
        }
        before = std::mem::replace(&mut last, current);
    }
    last.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_counted() {
        for (one, two, count) in [
            ("", "", 0),
            ("abc", "abc", 0),
            ("alloc", "allco", 1),
            ("alloc", "aloc", 1),
            ("alloc", "", 5),
            ("a", "xyz", 3),
        ] {
            assert_eq!(edits(one.as_bytes(), two.as_bytes()), count, "{one} {two}");
            assert_eq!(edits(two.as_bytes(), one.as_bytes()), count, "{two} {one}");
        }
    }

    #[test]
    fn identifiers_are_spelled_out() {
        let of = |name: &'static str| identifiers(name).collect::<Vec<_>>();
        assert_eq!(of("arena_alloc2"), ["arena_alloc2"]);
        assert_eq!(of("_ZN2ns5Arena5allocEm"), ["ns", "Arena", "alloc"]);
        assert_eq!(of("_ZN99999999999999999999999a"), [""; 0]);
        assert_eq!(of("_ZN5a"), [""; 0]);
    }

    proptest::proptest! {
        #[test]
        fn edits_are_symmetric_and_bounded(one in "[a-d]{0,9}", two in "[a-d]{0,9}") {
            let count = edits(one.as_bytes(), two.as_bytes());
            proptest::prop_assert_eq!(count, edits(two.as_bytes(), one.as_bytes()));
            proptest::prop_assert!(count <= one.len().max(two.len()));
            proptest::prop_assert!(count >= one.len().abs_diff(two.len()));
            proptest::prop_assert_eq!(count == 0, one == two);
        }
    }
}

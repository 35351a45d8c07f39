//! Parse a JSON text to a tree in memory, and free it. A unit is a MB of text (10^6 bytes).
//!
//! The tree is what a careful user writes: one type generic over its memory, strings copied, lists and objects in growing
//! vectors. On a general allocator dropping the tree frees every part; in an arena the tree is forgotten and the arena
//! dropped. The text is made by a fixed rule, the same on every machine.

use super::{Random, Took, timed};
use crate::memory::{Life, Text, Vectors};
use crate::peers::general::{General, Handle};
use allocator_api2::alloc::Allocator;
use allocator_api2::boxed::Box;
use allocator_api2::vec::Vec;
use std::hint::black_box;
use std::mem::forget;

/// A fresh arena, and its drop.
pub fn arena<A: Life + Text + Vectors>(units: u64) -> Took {
    let text = document(units);
    let ns = timed(|| {
        let arena = A::new();
        forget(black_box(Parser::new(&text, InArena(&arena)).document()));
    });
    Took { ns, ..Took::default() }
}

/// An arena that held such a tree before and was reset; the second parse and reset are timed.
pub fn reused<A: Life + Text + Vectors>(units: u64) -> Took {
    let text = document(units);
    let mut arena = A::new();
    forget(Parser::new(&text, InArena(&arena)).document());
    arena.reset();
    // Arenas of chunks keep the last chunk only: they need another turn to hold it all in one.
    forget(Parser::new(&text, InArena(&arena)).document());
    arena.reset();
    let ns = timed(|| {
        forget(black_box(Parser::new(&text, InArena(&arena)).document()));
        arena.reset();
    });
    Took { ns, ..Took::default() }
}

/// A general allocator.
pub fn general<G: General>(units: u64) -> Took {
    let text = document(units);
    let ns = timed(|| drop(black_box(Parser::new(&text, Freed::<G>(Handle::new())).document())));
    Took { ns, ..Took::default() }
}

/// Where a tree lives.
pub trait Memory: Copy {
    /// The allocator of lists and objects.
    type Lists: Allocator + Copy;
    /// An owned string.
    type Text;
    /// Lends the allocator.
    fn lists(self) -> Self::Lists;
    /// Copies a string.
    fn text(self, text: &str) -> Self::Text;
}

/// In an arena: strings are borrowed from it.
struct InArena<'a, A>(&'a A);

impl<A> Clone for InArena<'_, A> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<A> Copy for InArena<'_, A> {}

impl<'a, A: Text + Vectors> Memory for InArena<'a, A> {
    type Lists = A::Handle<'a>;
    type Text = &'a str;
    fn lists(self) -> Self::Lists {
        self.0.handle()
    }
    #[inline(always)]
    fn text(self, text: &str) -> &'a str {
        self.0.text(text)
    }
}

/// On a general allocator: strings own their bytes.
#[derive(Clone, Copy)]
struct Freed<G>(Handle<G>);

impl<G: General> Memory for Freed<G> {
    type Lists = Handle<G>;
    type Text = Box<[u8], Handle<G>>;
    fn lists(self) -> Self::Lists {
        self.0
    }
    #[inline(always)]
    fn text(self, text: &str) -> Self::Text {
        let mut bytes = Vec::with_capacity_in(text.len(), self.0);
        bytes.extend_from_slice(text.as_bytes());
        bytes.into_boxed_slice()
    }
}

/// A value of the tree. Its parts are written and freed, never read: that is the row.
#[cfg_attr(not(test), expect(dead_code, reason = "only memory is measured"))]
enum Value<M: Memory> {
    Null,
    Bool(bool),
    Number(f64),
    Text(M::Text),
    List(Vec<Value<M>, M::Lists>),
    Object(Vec<(M::Text, Value<M>), M::Lists>),
}

/// A parser for texts that are well-formed; anything else is a panic.
struct Parser<'t, M> {
    text: &'t str,
    at: usize,
    memory: M,
    unescaped: String,
}

impl<'t, M: Memory> Parser<'t, M> {
    fn new(text: &'t str, memory: M) -> Self {
        Self { text, at: 0, memory, unescaped: String::new() }
    }

    fn document(mut self) -> Value<M> {
        let value = self.value();
        self.space();
        assert_eq!(self.at, self.text.len(), "something follows the document");
        value
    }

    fn peek(&self) -> u8 {
        self.text.as_bytes().get(self.at).copied().unwrap_or(0)
    }

    fn space(&mut self) {
        while matches!(self.peek(), b' ' | b'\n' | b'\r' | b'\t') {
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8) {
        assert_eq!(self.peek(), byte, "at byte {}", self.at);
        self.at += 1;
    }

    fn word(&mut self, word: &str, value: Value<M>) -> Value<M> {
        assert!(self.text[self.at..].starts_with(word), "at byte {}", self.at);
        self.at += word.len();
        value
    }

    fn value(&mut self) -> Value<M> {
        self.space();
        match self.peek() {
            b'{' => self.object(),
            b'[' => self.list(),
            b'"' => Value::Text(self.string()),
            b't' => self.word("true", Value::Bool(true)),
            b'f' => self.word("false", Value::Bool(false)),
            b'n' => self.word("null", Value::Null),
            _ => self.number(),
        }
    }

    fn list(&mut self) -> Value<M> {
        let mut list = Vec::new_in(self.memory.lists());
        self.items(b'[', b']', |parser| {
            let value = parser.value();
            list.push(value);
        });
        Value::List(list)
    }

    fn object(&mut self) -> Value<M> {
        let mut object = Vec::new_in(self.memory.lists());
        self.items(b'{', b'}', |parser| {
            let key = parser.string();
            parser.space();
            parser.expect(b':');
            let value = parser.value();
            object.push((key, value));
        });
        Value::Object(object)
    }

    /// What stands between `open` and `close`, parted by commas.
    fn items(&mut self, open: u8, close: u8, mut item: impl FnMut(&mut Self)) {
        self.expect(open);
        self.space();
        if self.peek() == close {
            self.at += 1;
            return;
        }
        loop {
            self.space();
            item(self);
            self.space();
            if self.peek() == close {
                self.at += 1;
                return;
            }
            self.expect(b',');
        }
    }

    fn string(&mut self) -> M::Text {
        self.expect(b'"');
        let start = self.at;
        loop {
            match self.peek() {
                b'"' => {
                    let text = &self.text[start..self.at];
                    self.at += 1;
                    return self.memory.text(text);
                }
                b'\\' => return self.escaped(start),
                0 => panic!("a string without an end"),
                _ => self.at += 1,
            }
        }
    }

    /// The rest of a string with escapes, whose plain beginning starts at `start`.
    #[cold]
    fn escaped(&mut self, start: usize) -> M::Text {
        self.unescaped.clear();
        let mut plain = start;
        loop {
            match self.peek() {
                b'\\' => {
                    self.unescaped.push_str(&self.text[plain..self.at]);
                    self.at += 1;
                    self.unescaped.push(match self.peek() {
                        b'n' => '\n',
                        b't' => '\t',
                        b @ (b'"' | b'\\' | b'/') => char::from(b),
                        other => panic!("escape {other}"),
                    });
                    self.at += 1;
                    plain = self.at;
                }
                b'"' => {
                    self.unescaped.push_str(&self.text[plain..self.at]);
                    self.at += 1;
                    return self.memory.text(&self.unescaped);
                }
                0 => panic!("a string without an end"),
                _ => self.at += 1,
            }
        }
    }

    fn number(&mut self) -> Value<M> {
        let start = self.at;
        while matches!(self.peek(), b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E') {
            self.at += 1;
        }
        let digits = &self.text[start..self.at];
        // Integers of up to 15 digits are exact in an f64; the rest takes the standard library's road.
        if digits.len() <= 15 && digits.bytes().all(|b| b.is_ascii_digit()) {
            let value = digits.bytes().fold(0u64, |n, b| n * 10 + u64::from(b - b'0'));
            return Value::Number(value as f64);
        }
        match digits.parse() {
            Ok(value) => Value::Number(value),
            Err(error) => panic!("{digits:?}: {error}"),
        }
    }
}

/// A document of about `megabytes` × 10^6 bytes: a list of records as services exchange them.
pub fn document(megabytes: u64) -> String {
    use std::fmt::Write;
    const WORDS: &[&str] = &[
        "arena", "boundary", "cursor", "explicit", "lifetime", "local", "memory", "offset", "page", "quiet", "region",
        "scope", "thread", "under", "value", "window", "yellow", "zero", "a", "of", "the", "and", "to", "in",
    ];
    let bytes = megabytes as usize * 1_000_000;
    let mut random = Random::new(23);
    let mut text = String::with_capacity(bytes + 4096);
    let words = |text: &mut String, random: &mut Random, count: u64| {
        for i in 0..count {
            text.push_str(if i == 0 { "" } else { " " });
            text.push_str(WORDS[random.below(WORDS.len() as u64) as usize]);
        }
    };
    text.push('[');
    let mut id = 0;
    while text.len() < bytes {
        text.push_str(if id == 0 { "\n" } else { ",\n" });
        // Writing to a String cannot fail.
        let _ = write!(text, "{{\"id\": {id}, \"active\": {}, \"name\": \"", random.below(2) == 0);
        words(&mut text, &mut random, 2);
        let _ = write!(
            text,
            "\", \"score\": {}.{:03}, \"parent\": null, \"note\": \"",
            random.below(1000),
            random.below(1000)
        );
        let length = 3 + random.below(12);
        words(&mut text, &mut random, length);
        text.push_str(if random.below(16) == 0 { "\\n\\\"end\\\"\"" } else { "\"" });
        text.push_str(", \"tags\": [");
        for i in 0..random.below(7) {
            text.push_str(if i == 0 { "\"" } else { ", \"" });
            words(&mut text, &mut random, 1);
            text.push('"');
        }
        let (x, y) = (random.below(360_000), random.below(180_000));
        let _ = write!(
            text,
            "], \"position\": {{\"x\": -{}.{:03}, \"y\": {}.{:03}}}",
            x / 1000,
            x % 1000,
            y / 1000,
            y % 1000
        );
        text.push_str(", \"samples\": [");
        for i in 0..random.below(20) {
            let _ = write!(text, "{}{}", if i == 0 { "" } else { ", " }, random.below(10_000));
        }
        text.push_str("], \"friends\": [");
        for i in 0..random.below(4) {
            let _ = write!(text, "{}{{\"id\": {}, \"name\": \"", if i == 0 { "" } else { ", " }, random.below(1 + id));
            words(&mut text, &mut random, 2);
            text.push_str("\"}");
        }
        text.push_str("]}");
        id += 1;
    }
    text.push_str("\n]\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::general::Glibc;

    fn print<M: Memory<Text = Box<[u8], Handle<Glibc>>>>(value: &Value<M>) -> serde_json::Value {
        let text = |text: &Box<[u8], Handle<Glibc>>| String::from_utf8(text.to_vec()).expect("UTF-8");
        match value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(b) => (*b).into(),
            Value::Number(n) => (*n).into(),
            Value::Text(t) => text(t).into(),
            Value::List(list) => list.iter().map(print).collect::<std::vec::Vec<_>>().into(),
            Value::Object(object) => {
                serde_json::Value::Object(object.iter().map(|(key, value)| (text(key), print(value))).collect())
            }
        }
    }

    fn floats(value: serde_json::Value) -> serde_json::Value {
        match value {
            serde_json::Value::Number(n) => n.as_f64().into(),
            serde_json::Value::Array(list) => list.into_iter().map(floats).collect::<std::vec::Vec<_>>().into(),
            serde_json::Value::Object(map) => map.into_iter().map(|(k, v)| (k, floats(v))).collect(),
            other => other,
        }
    }

    #[test]
    fn the_tree_is_the_one_that_another_parser_sees() {
        let text = document(1);
        let ours = print(&Parser::new(&text, Freed::<Glibc>(Handle::new())).document());
        let theirs: serde_json::Value = serde_json::from_str(&text).expect("well-formed");
        assert!(ours == floats(theirs));
    }
}

//! Loads to count the instructions of sampling by: `sampled json|life|scopes UNITS [BYTES]`, watched with a sample every BYTES.
//!
//! `json`: a document of 100 KB is parsed into an arena of its own, strings copied, lists in growing vectors. `life`: an arena is made, filled with
//! 16 KiB and dropped. `scopes`: a scope with ten blocks of 24 bytes. `cargo xtask bench sample` runs them under callgrind.
#![allow(unsafe_code)] // Installs an observer.

use allocator_api2_04::vec::Vec;
use arenascope::{Arena, Event, Observer};
use std::ffi::c_void;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

static TOLD: AtomicU64 = AtomicU64::new(0);
static MEAN: AtomicUsize = AtomicUsize::new(0);
static RANDOM: AtomicU64 = AtomicU64::new(7);

unsafe extern "C" fn event(_: *mut c_void, _: *const Event) {
    TOLD.fetch_add(1, Relaxed);
}

unsafe extern "C" fn next_sample(_: *mut c_void, _: *const Arena) -> usize {
    let mut z = RANDOM.fetch_add(0x9e37_79b9_7f4a_7c15, Relaxed);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    let unit = (((z ^ (z >> 31)) >> 11) + 1) as f64 / (1u64 << 53) as f64;
    (-unit.ln() * MEAN.load(Relaxed) as f64) as usize
}

enum Value<'a> {
    Number(f64),
    Text(&'a str),
    List(Vec<Value<'a>, &'a Arena>),
    Object(Vec<(&'a str, Value<'a>), &'a Arena>),
}

/// Parses a document of numbers, texts without escapes, lists and objects.
struct Parser<'t, 'a> {
    text: &'t str,
    at: usize,
    arena: &'a Arena,
}

impl<'a> Parser<'_, 'a> {
    fn peek(&self) -> u8 {
        self.text.as_bytes().get(self.at).copied().unwrap_or(0)
    }

    fn string(&mut self) -> &'a str {
        self.at += 1;
        let start = self.at;
        while self.peek() != b'"' {
            self.at += 1;
        }
        self.at += 1;
        self.arena.alloc_str(&self.text[start..self.at - 1])
    }

    fn value(&mut self) -> Value<'a> {
        match self.peek() {
            b'"' => Value::Text(self.string()),
            open @ (b'[' | b'{') => {
                let (mut list, mut object) = (Vec::new_in(self.arena), Vec::new_in(self.arena));
                self.at += 1;
                while !matches!(self.peek(), b']' | b'}') {
                    if open == b'[' {
                        list.push(self.value());
                    } else {
                        let key = self.string();
                        self.at += 1;
                        object.push((key, self.value()));
                    }
                    self.at += usize::from(self.peek() == b',');
                }
                self.at += 1;
                if open == b'[' { Value::List(list) } else { Value::Object(object) }
            }
            _ => {
                let start = self.at;
                while self.peek().is_ascii_digit() {
                    self.at += 1;
                }
                Value::Number(
                    self.text[start..self.at].bytes().fold(0.0, |n, digit| n * 10.0 + f64::from(digit - b'0')),
                )
            }
        }
    }
}

fn size(value: &Value<'_>) -> f64 {
    match value {
        Value::Number(number) => *number,
        Value::Text(text) => text.len() as f64,
        Value::List(list) => list.iter().map(size).sum(),
        Value::Object(object) => object.iter().map(|(key, value)| key.len() as f64 + size(value)).sum(),
    }
}

fn document() -> String {
    let mut text = String::from("[");
    let mut id = 0u64;
    while text.len() < 100_000 {
        let samples: std::vec::Vec<String> =
            (0..id * 7 % 20).map(|sample| (sample * id * 31 % 9973).to_string()).collect();
        let note = ["arena", "boundary cursor", "explicit lifetime local", "memory"]
            .map(|word| word.repeat(1 + (id % 3) as usize));
        text.push_str(&format!(
            "{{\"id\":{id},\"name\":\"{}\",\"note\":\"{} {} {}\",\"position\":{{\"x\":{},\"y\":{}}},\"samples\":[{}]}},",
            note[0], note[1], note[2], note[3], id * 17, id * 23, samples.join(",")
        ));
        id += 1;
    }
    text.pop();
    text + "]"
}

fn main() {
    let words: std::vec::Vec<String> = std::env::args().skip(1).collect();
    let (load, units) = match words.as_slice() {
        [load, units, ..] => (load.as_str(), units.parse::<usize>().expect("units: a number")),
        _ => panic!("sampled json|life|scopes UNITS [BYTES]"),
    };
    if let Some(bytes) = words.get(2) {
        let bytes = bytes.parse().expect("BYTES: a number");
        MEAN.store(bytes, Relaxed);
        let observer: &'static Observer = Box::leak(Box::new(Observer {
            version: arenascope::OBSERVER_VERSION,
            table_bytes: size_of::<Observer>() as u32,
            context: std::ptr::null_mut(),
            event,
            sample_bytes: bytes,
            next_sample: Some(next_sample),
            check: None,
        }));
        // SAFETY: its functions use atomics, and it is never freed.
        unsafe { arenascope::observe_all(Some(observer)) };
    }
    match load {
        "json" => {
            let text = document();
            for _ in 0..units {
                let arena = Arena::growing().expect("an arena");
                let tree = Parser { text: &text, at: 0, arena: &arena }.value();
                black_box(size(&tree));
                // The arena takes all of it at once.
                std::mem::forget(tree);
            }
        }
        "life" => {
            for _ in 0..units {
                let arena = Arena::growing().expect("an arena");
                for i in 0..256u64 {
                    black_box(arena.alloc([i; 8]));
                }
            }
        }
        "scopes" => {
            let mut arena = Arena::growing().expect("an arena");
            for i in 0..units as u64 {
                arena.scope(|scope| {
                    for _ in 0..10 {
                        black_box(scope.alloc([i; 3]));
                    }
                });
            }
        }
        other => panic!("no load {other}"),
    }
    eprintln!("{} told", TOLD.load(Relaxed));
}

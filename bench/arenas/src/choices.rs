//! Our memory policies, each beside its other choices: what a program pays or saves by naming one. No peers, no bars to pass.
//!
//! May be relied on: in a row only the named choice differs, and where memory shall be cold no region is kept from the life before.
//! Deliberately absent: the comparison with others (`rows`, `ours`). Knows arenascope's API, as `ours` does.

use crate::loops::{Loop, Took, timed};
use crate::memory::Kind;
use crate::rows::{Against, Bar, Contender, Measure, Row, Scale, bar};
use arenascope::header::HEADER_BYTES;
use arenascope::{Arena, Builder, Colouring, HugePages, OnReset, OwnedArena, Populate};
use std::hint::black_box;

/// One block.
type Block = [u64; 8];

/// A life whose memory is cold.
const COLD_BYTES: usize = 16 << 20;

/// A short life.
const SHORT_BYTES: usize = 16 << 10;

/// What is filled between two resets.
const ROUND_BYTES: usize = 1 << 20;

/// What stays in use when a reset keeps some.
const KEPT_BYTES: usize = 256 << 10;

/// What each of two streams writes.
const STREAM_BYTES: usize = 256 << 10;

/// How far apart the two streams' arenas begin.
const STREAM_DISTANCE: usize = 8 << 30;

/// Every row.
pub fn all() -> Vec<Row> {
    vec![populate(), huge_pages(), commit_ahead(), keep(), on_reset(), colouring()]
}

fn populate() -> Row {
    Row {
        contenders: vec![
            usual("auto", |units| cold(units, |arena| arena)),
            other("never", |units| cold(units, |arena| arena.populate(Populate::Never))),
            other("always", |units| cold(units, |arena| arena.populate(Populate::Always))),
            other("small pages: auto", |units| cold(units, small_pages)),
            other("small pages: never", |units| cold(units, |arena| small_pages(arena).populate(Populate::Never))),
            other("small pages: always", |units| cold(units, |arena| small_pages(arena).populate(Populate::Always))),
        ],
        bars: vec![
            compared("populate auto, against never", &["auto"], &["never"]),
            compared("populate auto, against always", &["auto"], &["always"]),
            compared("populate auto, small pages, against never", &["small pages: auto"], &["small pages: never"]),
            compared("populate auto, small pages, against always", &["small pages: auto"], &["small pages: always"]),
        ],
        ..cold_row("policy-populate", "policy: when pages are populated; create and fill 16 MiB, and drop it")
    }
}

fn huge_pages() -> Row {
    Row {
        contenders: vec![
            usual("auto", |units| cold(units, |arena| arena)),
            other("never", |units| cold(units, small_pages)),
            other("always", |units| cold(units, |arena| arena.huge_pages(HugePages::Always))),
        ],
        bars: vec![
            compared("huge pages auto, against never", &["auto"], &["never"]),
            compared("huge pages auto, against always", &["auto"], &["always"]),
        ],
        ..cold_row("policy-huge", "policy: huge pages; create and fill 16 MiB, and drop it")
    }
}

fn commit_ahead() -> Row {
    Row {
        contenders: vec![
            usual("auto", |units| cold(units, small_pages)),
            other("nothing", |units| cold(units, |arena| small_pages(arena).commit_ahead(0))),
            other("16 KiB", |units| cold(units, |arena| small_pages(arena).commit_ahead(16 << 10))),
            other("1 MiB", |units| cold(units, |arena| small_pages(arena).commit_ahead(1 << 20))),
        ],
        bars: vec![
            compared("commit ahead auto, against nothing", &["auto"], &["nothing"]),
            compared("commit ahead auto, against 1 MiB", &["auto"], &["1 MiB"]),
        ],
        ..cold_row(
            "policy-ahead",
            "policy: how far memory is committed ahead; create and fill 16 MiB of small pages, and drop it",
        )
    }
}

fn keep() -> Row {
    Row {
        id: "policy-keep",
        title: "policy: whether regions are kept; create, fill 16 KiB, destroy",
        unit: "ns",
        scale: Scale::PerOperation(1.0),
        units: [10_000, 1000],
        rounds: [15, 3],
        second: None,
        touch_per_unit: 0,
        contenders: vec![
            usual("kept", |units| short(units, |arena| arena)),
            other("not kept", |units| short(units, |arena| arena.keep(false))),
            other("growing: kept", |units| growing(units, |arena| arena)),
            other("growing: not kept", |units| growing(units, |arena| arena.keep(false))),
        ],
        bars: vec![
            compared("regions kept, against not", &["kept"], &["not kept"]),
            compared("growing, regions kept, against not", &["growing: kept"], &["growing: not kept"]),
        ],
        ..cold_row("", "")
    }
}

fn on_reset() -> Row {
    Row {
        id: "policy-reset",
        title: "policy: what a reset keeps; fill 1 MiB, reset",
        units: [200, 20],
        rounds: [9, 3],
        second: None,
        touch_per_unit: 0,
        contenders: vec![
            usual("all", |units| rounds(units, |arena| arena)),
            other("256 KiB", |units| rounds(units, |arena| arena.on_reset(OnReset::KeepUpTo(KEPT_BYTES)))),
            other("nothing", |units| rounds(units, |arena| arena.on_reset(OnReset::Release))),
        ],
        bars: vec![
            compared("a reset keeps all, against 256 KiB", &["all"], &["256 KiB"]),
            compared("a reset keeps all, against nothing", &["all"], &["nothing"]),
        ],
        ..cold_row("", "")
    }
}

fn colouring() -> Row {
    Row {
        id: "policy-colour",
        title: "policy: where arenas begin in their pages; 8 B by turns into two arenas 8 GiB apart, 256 KiB each",
        unit: "ns",
        scale: Scale::PerOperation((2 * STREAM_BYTES / size_of::<u64>()) as f64),
        units: [200, 40],
        rounds: [15, 3],
        second: None,
        touch_per_unit: 0,
        contenders: vec![
            usual("auto", |units| streams(units, |arena| arena)),
            other("never", |units| streams(units, |arena| arena.colouring(Colouring::Never))),
        ],
        bars: vec![compared("colouring auto, against never", &["auto"], &["never"])],
        ..cold_row("", "")
    }
}

/// What most rows have in common.
fn cold_row(id: &'static str, title: &'static str) -> Row {
    Row {
        id,
        title,
        unit: "µs",
        scale: Scale::PerOperation(1000.0),
        units: [16, 4],
        rounds: [9, 3],
        apart: true,
        touch_per_unit: 8 << 20,
        counted_units: 0,
        second: Some("drop"),
        contenders: vec![],
        bars: vec![],
    }
}

fn usual(name: &str, run: Loop) -> Contender {
    Contender { name: name.to_owned(), kind: Kind::Ours, run }
}

fn other(name: &str, run: Loop) -> Contender {
    Contender { name: name.to_owned(), kind: Kind::Choice, run }
}

/// Two choices side by side, for the machine-readable file.
fn compared(title: &'static str, ours: &'static [&'static str], others: &'static [&'static str]) -> Bar {
    bar(title, Measure::Time, ours, Against::Named(others))
}

fn small_pages(arena: Builder<'_>) -> Builder<'_> {
    arena.huge_pages(HugePages::Never)
}

fn build(arena: Builder<'_>) -> OwnedArena {
    arena.build().expect("an arena")
}

/// Lives of fresh memory. The first time is creating and filling, the second the drop.
fn cold(units: u64, choose: fn(Builder<'_>) -> Builder<'_>) -> Took {
    let mut took = Took::default();
    for _ in 0..units {
        let mut arena = None;
        took.ns += timed(|| {
            let arena = arena.insert(build(choose(Arena::builder().capacity(COLD_BYTES).keep(false))));
            fill(arena, COLD_BYTES);
        });
        took.second_ns += timed(|| drop(arena));
    }
    took
}

/// Lives of a bounded arena.
fn short(units: u64, choose: fn(Builder<'_>) -> Builder<'_>) -> Took {
    repeat(units, || fill(&build(choose(Arena::builder().capacity(SHORT_BYTES))), SHORT_BYTES))
}

/// Lives of a growing arena.
fn growing(units: u64, choose: fn(Builder<'_>) -> Builder<'_>) -> Took {
    repeat(units, || fill(&build(choose(Arena::builder())), SHORT_BYTES))
}

/// One arena, filled and reset.
fn rounds(units: u64, choose: fn(Builder<'_>) -> Builder<'_>) -> Took {
    let mut arena = build(choose(Arena::builder().capacity(ROUND_BYTES)));
    repeat(units, || {
        fill(&arena, ROUND_BYTES);
        arena.reset();
    })
}

/// Two arenas that are appended to by turns.
fn streams(units: u64, choose: fn(Builder<'_>) -> Builder<'_>) -> Took {
    // With its header each takes 8 GiB of addresses, and the system puts one below the other.
    let one = || build(choose(small_pages(Arena::builder().reserve(STREAM_DISTANCE - HEADER_BYTES))));
    let (mut first, mut second) = (one(), one());
    repeat(units, || {
        fill_by_turns(&first, &second);
        first.reset();
        second.reset();
    })
}

/// `work` so many times, after once that does not count: it pays for what is paid once.
fn repeat(units: u64, mut work: impl FnMut()) -> Took {
    work();
    let ns = timed(|| (0..units).for_each(|_| work()));
    Took { ns, ..Took::default() }
}

#[inline(never)]
fn fill(arena: &Arena, bytes: usize) {
    let mut left = (bytes / size_of::<Block>()) as u64;
    while left != 0 {
        black_box(arena.alloc([left; 8]));
        left -= 1;
    }
}

#[inline(never)]
fn fill_by_turns(first: &Arena, second: &Arena) {
    let mut left = (STREAM_BYTES / size_of::<u64>()) as u64;
    while left != 0 {
        black_box(first.alloc(left));
        black_box(second.alloc(left));
        left -= 1;
    }
}

//! The table of rows: which work, which contenders, which bars.
//!
//! A bar compares one of ours with the best of some peers by one measure; *must* and *aim* are what the project has set
//! itself. Deliberately absent: how anything is run or printed.

use crate::choices;
use crate::loops::{Loop, cold, cycle, json, scope, text, trees, vectors, warm};
use crate::many;
use crate::memory::{Kind, Life};
use crate::ours;
use crate::peers::arenas::{Blink, BumpScope, Bumpalo, Oxc, Typed};
use crate::peers::c::{Apr, Obstack, Talloc};
use crate::peers::general::{General, Glibc, Listed, Mimalloc};
use crate::peers::limit::{Pages, Stores};

/// One of those compared in a row.
pub struct Contender {
    /// Unique in its row.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Its work.
    pub run: Loop,
}

/// What a number of a row is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Measure {
    /// The median time.
    Time,
    /// The median of the run's second time.
    Second,
    /// Instructions per operation.
    Instructions,
}

/// Whom a bar compares with: the best of these.
pub enum Against {
    /// All contenders of one of these kinds.
    Kinds(&'static [Kind]),
    /// Contenders whose names begin so.
    Named(&'static [&'static str]),
}

impl Against {
    /// Whether `contender` is one of them.
    pub fn includes(&self, contender: &Contender) -> bool {
        match self {
            Self::Kinds(kinds) => kinds.contains(&contender.kind),
            Self::Named(names) => names.iter().any(|name| contender.name.starts_with(name)),
        }
    }
}

/// What must and aim bound.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bounds {
    /// Ours divided by the peer's.
    Ratio,
    /// Our own value.
    Value,
}

/// A promise about a row.
pub struct Bar {
    /// What is promised, as the table prints it.
    pub title: &'static str,
    /// By which measure.
    pub measure: Measure,
    /// Ours: the best of these names.
    pub ours: &'static [&'static str],
    /// The peers.
    pub against: Against,
    /// What the two numbers bound.
    pub bounds: Bounds,
    /// The bar.
    pub must: Option<f64>,
    /// Where we want to be.
    pub aim: Option<f64>,
}

/// How a time becomes the row's number.
#[derive(Clone, Copy)]
pub enum Scale {
    /// Nanoseconds per operation; a unit has so many.
    PerOperation(f64),
    /// Milliseconds of the whole run.
    WholeRun,
    /// No time: what the run has counted, as it is.
    Count,
}

/// A row.
pub struct Row {
    /// For filters and file names.
    pub id: &'static str,
    /// As the page prints it.
    pub title: &'static str,
    /// What an operation is, or what the run is.
    pub unit: &'static str,
    /// From time to number.
    pub scale: Scale,
    /// Units of a run, and of a quick run.
    pub units: [u64; 2],
    /// Rounds, and quick rounds.
    pub rounds: [usize; 2],
    /// A process of its own for every run; else all contenders take turns in one.
    pub apart: bool,
    /// Memory to populate and free before each run, per unit.
    pub touch_per_unit: usize,
    /// Units for counting instructions; 0 counts none.
    pub counted_units: u64,
    /// What the run's second time is.
    pub second: Option<&'static str>,
    /// All compared.
    pub contenders: Vec<Contender>,
    /// All promised.
    pub bars: Vec<Bar>,
}

/// Every row.
pub fn all() -> Vec<Row> {
    let mut rows = vec![
        cold_row(),
        cycle_1m(),
        cycle_16k(),
        json_row(),
        trees_row::<1>("trees-1", "binary-trees 21, one thread", bar_pair(0.8, 0.7)),
        trees_row::<2>("trees-2", "binary-trees 21, two threads", bar_pair(1.2, 0.9)),
        text_row(),
        learned_text_row(),
        vector_row(),
        vectors_row(),
        warm_row::<1>("warm-8", "warm, 8 B", 9.0),
        warm_row::<3>("warm-24", "warm, 24 B", 11.0),
        warm_row::<8>("warm-64", "warm, 64 B", 16.0),
        layouts_row(),
        scope_row(),
    ];
    rows.extend(many::all());
    rows.extend(choices::all());
    rows
}

const PEERS: Against = Against::Kinds(&[Kind::Arena, Kind::C, Kind::Malloc]);
const ARENAS: Against = Against::Kinds(&[Kind::Arena]);

pub fn one<A: Life>(run: Loop) -> Contender {
    Contender { name: A::NAME.to_owned(), kind: A::KIND, run }
}

/// A contender used in a certain way.
pub fn way<A: Life>(how: &str, run: Loop) -> Contender {
    Contender { name: format!("{}, {how}", A::NAME), kind: A::KIND, run }
}

/// A contender used in another way than the row's.
pub fn aside<A: Life>(how: &str, run: Loop) -> Contender {
    Contender { kind: Kind::Aside, ..way::<A>(how, run) }
}

fn general<G: General>(run: Loop) -> Contender {
    Contender { name: G::NAME.to_owned(), kind: Kind::Malloc, run }
}

fn limit(run: Loop) -> Contender {
    Contender { name: Stores::NAME.to_owned(), kind: Kind::Limit, run }
}

/// A bar for a ratio, with neither must nor aim yet.
pub fn bar(title: &'static str, measure: Measure, ours: &'static [&'static str], against: Against) -> Bar {
    Bar { title, measure, ours, against, bounds: Bounds::Ratio, must: None, aim: None }
}

impl Bar {
    /// With what must be reached.
    pub fn must(self, must: f64) -> Self {
        Self { must: Some(must), ..self }
    }

    /// With where we want to be.
    pub fn aim(self, aim: f64) -> Self {
        Self { aim: Some(aim), ..self }
    }

    fn of_value(self) -> Self {
        Self { bounds: Bounds::Value, ..self }
    }
}

type BumpaloOne = Bumpalo<1>;
type BumpaloEight = Bumpalo<8>;
type Up = BumpScope<1, true>;
type Down = BumpScope<1, false>;
type UpEight = BumpScope<8, true>;
type DownEight = BumpScope<8, false>;

fn cold_row() -> Row {
    type Block = [u64; 8];
    let mut contenders = ours::cold();
    contenders.extend([
        one::<BumpaloOne>(cold::fill_and_drop::<BumpaloOne>),
        one::<Up>(cold::fill_and_drop::<Up>),
        one::<Down>(cold::fill_and_drop::<Down>),
        one::<Oxc>(cold::fill_and_drop::<Oxc>),
        one::<Blink>(cold::fill_and_drop::<Blink>),
        one::<Typed<Block>>(cold::fill_and_drop::<Typed<Block>>),
        one::<Apr>(cold::fill_and_drop::<Apr>),
        one::<Obstack>(cold::fill_and_drop::<Obstack>),
        one::<Listed<Mimalloc>>(cold::fill_and_drop::<Listed<Mimalloc>>),
        one::<Listed<Glibc>>(cold::fill_and_drop::<Listed<Glibc>>),
        limit(cold::limit),
    ]);
    Row {
        id: "cold-1g",
        title: "cold fill of 1 GiB in 64 B blocks, and its drop",
        unit: "ms",
        scale: Scale::WholeRun,
        units: [1024, 64],
        rounds: [9, 3],
        apart: true,
        touch_per_unit: 3 << 19,
        counted_units: 0,
        second: Some("drop"),
        contenders,
        bars: vec![
            bar("cold fill of 1 GiB, against arenas", Measure::Time, &["arenascope"], ARENAS).must(0.35).aim(0.28),
            bar("cold fill of 1 GiB, against mimalloc", Measure::Time, &["arenascope"], Against::Named(&["mimalloc"]))
                .must(0.8),
            bar(
                "cold fill of 1 GiB, against the limit",
                Measure::Time,
                &["arenascope"],
                Against::Kinds(&[Kind::Limit]),
            )
            .aim(1.1),
            bar("cold fill of 1 GiB, small pages", Measure::Time, &["arenascope, small pages"], ARENAS).must(0.9),
            bar("drop of that 1 GiB", Measure::Second, &["arenascope"], ARENAS).must(0.1).aim(0.04),
        ],
    }
}

/// Peers of a row of whole lives, each with both constructors.
fn lives<const BYTES: usize>() -> Vec<Contender> {
    type Block = [u64; 8];
    macro_rules! both {
        ($($arena:ty),*) => {
            [$(
                way::<$arena>("new", cycle::new::<$arena, BYTES>),
                way::<$arena>("with capacity", cycle::with_capacity::<$arena, BYTES>),
            )*]
        };
    }
    let mut contenders = Vec::from(both!(BumpaloOne, Up, Down, Oxc, Blink, Typed<Block>));
    contenders.extend([
        aside::<BumpaloOne>("kept and reset", cycle::kept::<BumpaloOne, BYTES>),
        one::<Apr>(cycle::new::<Apr, BYTES>),
        one::<Obstack>(cycle::new::<Obstack, BYTES>),
        one::<Talloc>(cycle::new::<Talloc, BYTES>),
        one::<Listed<Mimalloc>>(cycle::new::<Listed<Mimalloc>, BYTES>),
        one::<Listed<Glibc>>(cycle::new::<Listed<Glibc>, BYTES>),
        limit(cycle::kept::<Stores, BYTES>),
    ]);
    contenders
}

const NEW: Against = Against::Named(&[
    "bumpalo, new",
    "bump-scope up, new",
    "bump-scope down, new",
    "oxc_allocator, new",
    "blink-alloc, new",
    "typed-arena, new",
]);
const WITH_CAPACITY: Against = Against::Named(&[
    "bumpalo, with capacity",
    "bump-scope up, with capacity",
    "bump-scope down, with capacity",
    "oxc_allocator, with capacity",
    "blink-alloc, with capacity",
    "typed-arena, with capacity",
]);

fn cycle_1m() -> Row {
    const BYTES: usize = 1 << 20;
    let mut contenders = ours::lives::<BYTES>();
    contenders.extend(lives::<BYTES>());
    Row {
        id: "cycle-1m",
        title: "create, fill 1 MiB, destroy",
        unit: "µs",
        scale: Scale::PerOperation(1000.0),
        units: [200, 20],
        rounds: [9, 3],
        apart: true,
        touch_per_unit: 0,
        counted_units: 0,
        second: None,
        contenders,
        bars: vec![
            bar(
                "1 MiB life, against bumpalo's new",
                Measure::Time,
                &["arenascope, growing"],
                Against::Named(&["bumpalo, new"]),
            )
            .must(0.1),
            bar("1 MiB life, against with_capacity", Measure::Time, &["arenascope, init"], WITH_CAPACITY).must(0.9),
            bar("1 MiB life, against APR", Measure::Time, &["arenascope, init"], Against::Named(&["APR pool"]))
                .must(0.5),
        ],
    }
}

fn cycle_16k() -> Row {
    const BYTES: usize = 16 << 10;
    let mut contenders = ours::lives::<BYTES>();
    contenders.extend(lives::<BYTES>());
    Row {
        id: "cycle-16k",
        title: "create, fill 16 KiB, destroy",
        unit: "ns",
        scale: Scale::PerOperation(1.0),
        units: [10_000, 1000],
        rounds: [15, 3],
        apart: true,
        touch_per_unit: 0,
        counted_units: 50,
        second: None,
        contenders,
        bars: vec![
            bar("16 KiB life, against new", Measure::Time, &["arenascope, growing"], NEW).must(1.0).aim(0.8),
            bar("16 KiB life, against with_capacity", Measure::Time, &["arenascope, init"], WITH_CAPACITY).aim(1.0),
            bar("16 KiB life, instructions", Measure::Instructions, &["arenascope, growing"], NEW).must(0.85),
            bar(
                "16 KiB life, instructions, against with_capacity",
                Measure::Instructions,
                &["arenascope, init"],
                WITH_CAPACITY,
            )
            .aim(0.85),
        ],
    }
}

fn json_row() -> Row {
    let mut contenders = ours::json();
    contenders.extend([
        one::<BumpaloOne>(json::arena::<BumpaloOne>),
        one::<Up>(json::arena::<Up>),
        one::<Down>(json::arena::<Down>),
        one::<Oxc>(json::arena::<Oxc>),
        one::<Blink>(json::arena::<Blink>),
        general::<Mimalloc>(json::general::<Mimalloc>),
        general::<Glibc>(json::general::<Glibc>),
        aside::<BumpaloOne>("reused", json::reused::<BumpaloOne>),
        aside::<Up>("reused", json::reused::<Up>),
    ]);
    const REUSED: Against = Against::Named(&["bumpalo, reused", "bump-scope up, reused"]);
    Row {
        id: "json",
        title: "parse 56 MB of JSON to a tree, and free it",
        unit: "ms",
        scale: Scale::WholeRun,
        units: [56, 4],
        rounds: [9, 3],
        apart: true,
        touch_per_unit: 20_000_000,
        counted_units: 0,
        second: None,
        contenders,
        bars: vec![
            bar("JSON, against arenas", Measure::Time, &["arenascope"], ARENAS).must(0.65).aim(0.5),
            bar("JSON, against mimalloc", Measure::Time, &["arenascope"], Against::Named(&["mimalloc"]))
                .must(1.0)
                .aim(0.8),
            bar("JSON, reused arena, against arenas", Measure::Time, &["arenascope, reused"], ARENAS).must(0.5),
            bar("JSON, reused arena, against reused arenas", Measure::Time, &["arenascope, reused"], REUSED).aim(1.0),
        ],
    }
}

fn bar_pair(must: f64, aim: f64) -> Vec<Bar> {
    let title = if must < 1.0 { "binary-trees, one thread" } else { "binary-trees, two threads" };
    vec![bar(title, Measure::Time, &["arenascope, new", "arenascope, reset"], PEERS).must(must).aim(aim)]
}

fn trees_row<const THREADS: u64>(id: &'static str, title: &'static str, bars: Vec<Bar>) -> Row {
    let mut contenders = ours::trees::<THREADS>();
    macro_rules! both {
        ($($arena:ty),*) => {
            [$(
                way::<$arena>("new", trees::new::<$arena, THREADS>),
                way::<$arena>("reset", trees::reset::<$arena, THREADS>),
            )*]
        };
    }
    contenders.extend(both!(BumpaloOne, Up, Down, Oxc, Blink));
    contenders.extend([
        way::<Apr>("clear", trees::reset::<Apr, THREADS>),
        general::<Mimalloc>(trees::general::<Mimalloc, THREADS>),
        general::<Glibc>(trees::general::<Glibc, THREADS>),
        limit(trees::reset::<Pages, THREADS>),
    ]);
    Row {
        id,
        title,
        unit: "ms",
        scale: Scale::WholeRun,
        units: [21, 14],
        rounds: [5, 3],
        apart: true,
        touch_per_unit: 50 << 20,
        counted_units: 0,
        second: None,
        contenders,
        bars,
    }
}

fn text_row() -> Row {
    macro_rules! each {
        ($($arena:ty),*) => { [$(one::<$arena>(text::shuffled::<$arena>)),*] };
    }
    let mut contenders = ours::text(text::shuffled::<ours::Ours>);
    contenders.extend(each!(
        BumpaloOne,
        BumpaloEight,
        Up,
        Down,
        Oxc,
        Blink,
        Obstack,
        Apr,
        Listed<Mimalloc>,
        Listed<Glibc>
    ));
    contenders.push(limit(text::limit));
    text_of(
        "strings",
        "short strings, 4 to 20 B, in changing order",
        contenders,
        vec![
            bar("short strings", Measure::Time, &["arenascope"], PEERS).must(0.4),
            bar("short strings, instructions", Measure::Instructions, &["arenascope"], PEERS),
        ],
    )
}

fn learned_text_row() -> Row {
    macro_rules! each {
        ($($arena:ty),*) => { [$(one::<$arena>(text::learned::<$arena>)),*] };
    }
    let mut contenders = ours::text(text::learned::<ours::Ours>);
    contenders.extend(each!(BumpaloOne, BumpaloEight, Up, Down, Oxc, Blink, Obstack, Apr));
    contenders.push(limit(text::limit));
    text_of(
        "strings-learned",
        "short strings, 4 to 20 B, the same order again and again",
        contenders,
        vec![bar("short strings, lengths learned by the processor", Measure::Time, &["arenascope"], PEERS)],
    )
}

fn text_of(id: &'static str, title: &'static str, contenders: Vec<Contender>, bars: Vec<Bar>) -> Row {
    Row {
        id,
        title,
        unit: "ns",
        scale: Scale::PerOperation(text::WORDS as f64),
        units: [96, 32],
        rounds: [25, 5],
        apart: false,
        touch_per_unit: 0,
        counted_units: 16,
        second: None,
        contenders,
        bars,
    }
}

fn vector_row() -> Row {
    let mut contenders = ours::vector();
    contenders.extend([
        one::<BumpaloOne>(vectors::one::<BumpaloOne>),
        one::<Up>(vectors::one::<Up>),
        one::<Down>(vectors::one::<Down>),
        one::<Oxc>(vectors::one::<Oxc>),
        one::<Blink>(vectors::one::<Blink>),
        general::<Mimalloc>(vectors::general_one::<Mimalloc>),
        general::<Glibc>(vectors::general_one::<Glibc>),
        limit(vectors::sized_one),
    ]);
    vector_of(
        "vector",
        "one growing vector, a million pushes",
        vectors::PUSHES,
        contenders,
        vec![
            bar("one growing vector, instructions", Measure::Instructions, &["arenascope"], ARENAS).must(1.0),
            bar("one growing vector", Measure::Time, &["arenascope"], ARENAS),
        ],
    )
}

fn vectors_row() -> Row {
    let mut contenders = ours::vectors();
    contenders.extend([
        one::<BumpaloOne>(vectors::two::<BumpaloOne>),
        one::<Up>(vectors::two::<Up>),
        one::<Down>(vectors::two::<Down>),
        one::<Oxc>(vectors::two::<Oxc>),
        one::<Blink>(vectors::two::<Blink>),
        aside::<Up>("an arena each", vectors::two_arenas::<Up>),
        general::<Mimalloc>(vectors::general_two::<Mimalloc>),
        general::<Glibc>(vectors::general_two::<Glibc>),
        limit(vectors::sized_two),
    ]);
    vector_of(
        "vectors",
        "two vectors growing in turn, a million pushes each",
        2 * vectors::PUSHES,
        contenders,
        vec![
            bar("two growing vectors, instructions", Measure::Instructions, &["arenascope"], ARENAS).must(1.0),
            bar(
                "two growing vectors, a region each, instructions",
                Measure::Instructions,
                &["arenascope, an arena each"],
                ARENAS,
            )
            .aim(0.75),
            bar("two growing vectors, a region each", Measure::Time, &["arenascope, an arena each"], ARENAS),
        ],
    )
}

fn vector_of(id: &'static str, title: &'static str, pushes: u64, contenders: Vec<Contender>, bars: Vec<Bar>) -> Row {
    Row {
        id,
        title,
        unit: "ns",
        scale: Scale::PerOperation(pushes as f64),
        units: [4, 1],
        rounds: [15, 3],
        apart: true,
        touch_per_unit: 8 << 20,
        counted_units: 1,
        second: None,
        contenders,
        bars,
    }
}

fn warm_row<const WORDS: usize>(id: &'static str, title: &'static str, instructions: f64) -> Row {
    macro_rules! each {
        ($($arena:ty),*) => { [$(one::<$arena>(warm::values::<$arena, WORDS>)),*] };
    }
    let mut contenders = ours::warm::<WORDS>();
    contenders.extend(each!(
        BumpaloOne,
        BumpaloEight,
        Up,
        Down,
        UpEight,
        DownEight,
        Oxc,
        Blink,
        Typed<[u64; WORDS]>,
        Obstack,
        Apr,
        Talloc,
        Listed<Mimalloc>,
        Listed<Glibc>
    ));
    contenders.push(limit(warm::limit::<WORDS>));
    Row {
        id,
        title,
        unit: "ns",
        scale: Scale::PerOperation(warm::OPS as f64),
        units: [200, 40],
        rounds: [25, 5],
        apart: false,
        touch_per_unit: 0,
        counted_units: 2,
        second: None,
        contenders,
        bars: vec![
            bar(title, Measure::Time, &["arenascope"], PEERS).aim(1.0),
            bar("the same, instructions", Measure::Instructions, &["arenascope"], PEERS).of_value().must(instructions),
            bar("the same, in a burst", Measure::Time, &["arenascope, burst"], PEERS),
        ],
    }
}

fn layouts_row() -> Row {
    macro_rules! each {
        ($($arena:ty),*) => { [$(one::<$arena>(warm::layouts::<$arena>)),*] };
    }
    // The loop writes the first byte of each block: the lists' links stand further on.
    let mut contenders = ours::layouts();
    contenders.extend(each!(
        BumpaloOne,
        BumpaloEight,
        Up,
        Down,
        UpEight,
        DownEight,
        Oxc,
        Blink,
        Obstack,
        Apr,
        Talloc,
        Listed<Mimalloc, 8>,
        Listed<Glibc, 8>,
        Stores
    ));
    Row {
        id: "layouts",
        title: "warm, layouts known at run time",
        unit: "ns",
        scale: Scale::PerOperation(warm::OPS as f64),
        units: [200, 40],
        rounds: [25, 5],
        apart: false,
        touch_per_unit: 0,
        counted_units: 2,
        second: None,
        contenders,
        bars: vec![
            bar("run-time layouts, instructions", Measure::Instructions, &["arenascope"], PEERS)
                .of_value()
                .must(21.0)
                .aim(15.0),
            bar("run-time layouts", Measure::Time, &["arenascope"], PEERS),
        ],
    }
}

fn scope_row() -> Row {
    let mut contenders = ours::scope();
    contenders.extend([
        way::<Up>("closure", scope::closure::<1, true>),
        way::<Up>("guard", scope::guard::<1, true>),
        way::<Up>("checkpoint", scope::checkpoint::<1, true>),
        way::<Down>("closure", scope::closure::<1, false>),
        way::<Down>("guard", scope::guard::<1, false>),
        way::<Down>("checkpoint", scope::checkpoint::<1, false>),
        way::<UpEight>("closure", scope::closure::<8, true>),
        way::<DownEight>("closure", scope::closure::<8, false>),
        way::<BumpaloOne>("reset", scope::reset::<BumpaloOne>),
        way::<Oxc>("reset", scope::reset::<Oxc>),
        way::<Blink>("reset", scope::reset::<Blink>),
        way::<BumpaloOne>("new", scope::new::<BumpaloOne>),
        way::<Obstack>("mark", scope::obstack),
        way::<Apr>("child", scope::apr_child),
        way::<Apr>("clear", scope::reset::<Apr>),
        way::<Talloc>("child", scope::talloc_child),
        one::<Listed<Mimalloc>>(scope::reset::<Listed<Mimalloc>>),
        one::<Listed<Glibc>>(scope::reset::<Listed<Glibc>>),
        limit(scope::reset::<Stores>),
    ]);
    const SCOPES: Against = Against::Named(&["bump-scope "]);
    Row {
        id: "scope",
        title: "a scope with ten blocks of 24 B",
        unit: "ns",
        scale: Scale::PerOperation(scope::SCOPES as f64),
        units: [100, 20],
        rounds: [25, 5],
        apart: false,
        touch_per_unit: 0,
        counted_units: 2,
        second: None,
        contenders,
        bars: vec![
            bar("scope with 10 blocks, instructions", Measure::Instructions, &["arenascope, scope"], SCOPES).must(0.75),
            bar("scope with 10 blocks", Measure::Time, &["arenascope, scope"], SCOPES).must(1.0),
            bar("scope with 10 blocks in a burst", Measure::Time, &["arenascope, burst"], SCOPES).must(0.65),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_every_bar_finds_ours_and_its_peers() {
        for row in all() {
            let mut names: Vec<&str> = row.contenders.iter().map(|c| c.name.as_str()).collect();
            names.sort_unstable();
            let count = names.len();
            names.dedup();
            assert_eq!(names.len(), count, "{}", row.id);
            for bar in &row.bars {
                let peers = row.contenders.iter().filter(|c| bar.against.includes(c)).count();
                assert!(peers > 0, "{}: {}", row.id, bar.title);
                assert!(bar.ours.iter().all(|name| names.contains(name)), "{}: {}", row.id, bar.title);
                assert!(bar.measure != Measure::Instructions || row.counted_units > 0, "{}: {}", row.id, bar.title);
            }
        }
    }

    #[test]
    fn every_loop_runs() {
        for row in all() {
            let least = row.units[1].min(6);
            for contender in row.contenders {
                let number = (contender.run)(least).ns;
                // A few arenas may need no page or mapping more.
                let counts = row.id.starts_with("many-");
                assert!(number > 0.0 || counts && number == 0.0, "{}: {}", row.id, contender.name);
            }
        }
    }
}

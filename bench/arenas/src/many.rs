//! Rows of many: threads that share an arena, arenas that programs take from a pool and give back, a hundred thousand arenas at once.
//!
//! Deliberately absent: anything that a single thread does with a single arena (`rows`).

use crate::loops::shared::Together;
use crate::loops::shared::{OPS, Own, rounds};
use crate::loops::{Took, cycle, many, timed};
use crate::memory::{Kind, Life};
use crate::ours;
use crate::peers::arenas::{Blink, BumpScope, Bumpalo, Oxc};
use crate::peers::c::Apr;
use crate::peers::general::{Glibc, Listed, Mimalloc};
use crate::peers::shared::{BlinkLocal, BlinkShared, Herded, Locked, Pooled};
use crate::rows::{Against, Bar, Contender, Measure, Row, Scale, bar, one, way};

type BumpaloOne = Bumpalo<1>;
type Up = BumpScope<1, true>;
type Down = BumpScope<1, false>;

/// Every row.
pub fn all() -> Vec<Row> {
    vec![
        shared_row::<2>(
            "shared-2",
            "one shared arena, two threads, 24 B",
            vec![
                bar("one shared arena, two threads, against blink-alloc's local", Measure::Time, LOCAL, BLINK_LOCAL)
                    .must(0.25),
                bar("one shared arena, two threads, against own arenas", Measure::Time, LOCAL, OWN).must(1.4).aim(1.1),
                bar(
                    "one shared arena, two threads, against pools whose blocks outlive their users",
                    Measure::Time,
                    LOCAL,
                    POOLS,
                ),
                bar(
                    "one shared arena, two threads, without handles, against blink-alloc's",
                    Measure::Time,
                    REFERENCE,
                    BLINK_SHARED,
                ),
            ],
        ),
        shared_row::<1>(
            "shared-1",
            "one shared arena, one thread, 24 B",
            vec![
                bar(
                    "one shared arena, one thread, instructions, against an own arena",
                    Measure::Instructions,
                    LOCAL,
                    OWN,
                )
                .must(1.1),
                bar("one shared arena, one thread, against an own arena", Measure::Time, LOCAL, OWN),
                bar(
                    "one shared arena, one thread, without handles, against blink-alloc's",
                    Measure::Time,
                    REFERENCE,
                    BLINK_SHARED,
                ),
            ],
        ),
        pool_row::<{ 16 << 10 }>(
            "pool-16k",
            "an arena of a pool: take, fill 16 KiB, give back",
            vec![
                bar("pool, 16 KiB, against new and drop", Measure::Time, POOL, NEW).must(1.0),
                bar("pool, 16 KiB, instructions", Measure::Instructions, POOL, NEW).aim(1.0),
                bar("pool, 16 KiB, against peers' pools", Measure::Time, POOL, PEERS_POOLS).aim(1.0),
            ],
        ),
        pool_row::<64>(
            "pool-64",
            "an arena of a pool: take, one block of 64 B, give back",
            vec![
                bar("pool, one block, against new and drop", Measure::Time, POOL, NEW),
                bar("pool, one block, against peers' pools", Measure::Time, POOL, PEERS_POOLS).aim(1.0),
            ],
        ),
        pool_row::<0>(
            "pool-0",
            "an arena of a pool: take, give back",
            vec![
                bar("pool, no block, against new and drop", Measure::Time, POOL, NEW),
                bar("pool, no block, against peers' pools", Measure::Time, POOL, PEERS_POOLS),
            ],
        ),
        many_lives(),
        many_memory(),
        many_mappings(),
    ]
}

const LOCAL: &[&str] = &["arenascope, local"];
const REFERENCE: &[&str] = &["arenascope, &SharedArena"];
const OWN: Against = Against::Named(&["arenascope, own arenas"]);
const BLINK_LOCAL: Against = Against::Named(&["blink-alloc, local"]);
const BLINK_SHARED: Against = Against::Named(&["blink-alloc, shared"]);
const POOLS: Against = Against::Named(&["bumpalo-herd", "bump-scope, BumpPool"]);

const POOL: &[&str] = &["arenascope, pool", "arenascope, pool of growing ones"];
const NEW: Against = Against::Named(&[
    "bumpalo, new",
    "bump-scope up, new",
    "bump-scope down, new",
    "oxc_allocator, new",
    "blink-alloc, new",
]);
const PEERS_POOLS: Against = Against::Named(&["bumpalo-herd, get and reset", "bump-scope, BumpPool, get and reset"]);

/// What threads share, or have each to themselves.
fn together<S: Together, const THREADS: usize>() -> Contender {
    Contender { name: S::NAME.to_owned(), kind: S::KIND, run: rounds::<S, THREADS> }
}

fn own<A, const THREADS: usize>() -> Contender
where
    Own<A>: Together,
    A: Life,
{
    way::<A>("own", rounds::<Own<A>, THREADS>)
}

fn shared_row<const THREADS: usize>(id: &'static str, title: &'static str, bars: Vec<Bar>) -> Row {
    let mut contenders = ours::shared::<THREADS>();
    contenders.extend([
        together::<BlinkLocal, THREADS>(),
        together::<BlinkShared, THREADS>(),
        together::<Locked, THREADS>(),
        together::<Herded, THREADS>(),
        together::<Pooled, THREADS>(),
        own::<BumpaloOne, THREADS>(),
        own::<Up, THREADS>(),
        own::<Listed<Mimalloc>, THREADS>(),
        own::<Listed<Glibc>, THREADS>(),
    ]);
    Row {
        id,
        title,
        unit: "ns",
        // Wall-clock time of a thread's block: all threads do as many at once.
        scale: Scale::PerOperation(OPS as f64),
        units: [50, 10],
        rounds: [15, 3],
        apart: true,
        touch_per_unit: 0,
        // Threads that wait for each other have no count of their own.
        counted_units: if THREADS == 1 { 2 } else { 0 },
        second: None,
        contenders,
        bars,
    }
}

fn pool_row<const BYTES: usize>(id: &'static str, title: &'static str, bars: Vec<Bar>) -> Row {
    let mut contenders = ours::pool::<BYTES>();
    macro_rules! new {
        ($($arena:ty),*) => { [$(way::<$arena>("new", cycle::new::<$arena, BYTES>)),*] };
    }
    contenders.extend(new!(BumpaloOne, Up, Down, Oxc, Blink));
    contenders.extend([
        one::<Apr>(cycle::new::<Apr, BYTES>),
        pool("bumpalo-herd, get and reset", herd::<BYTES>),
        pool("bump-scope, BumpPool, get and reset", bump_pool::<BYTES>),
    ]);
    Row {
        id,
        title,
        unit: "ns",
        scale: Scale::PerOperation(1.0),
        units: [10_000, 1000],
        rounds: [15, 3],
        apart: true,
        touch_per_unit: 0,
        counted_units: 50,
        second: None,
        contenders,
        bars,
    }
}

/// A peer's pool. One arena of it can be emptied by emptying the pool only, which its user must have exclusively.
fn pool(name: &str, run: fn(u64) -> Took) -> Contender {
    Contender { name: name.to_owned(), kind: Kind::Aside, run }
}

fn herd<const BYTES: usize>(units: u64) -> Took {
    in_pool(units, Herded::new(1), |pool| cycle::fill(&pool.handle(0), BYTES))
}

fn bump_pool<const BYTES: usize>(units: u64) -> Took {
    in_pool(units, Pooled::new(1), |pool| cycle::fill(&pool.handle(0), BYTES))
}

fn in_pool<P: Together>(units: u64, mut pool: P, life: impl Fn(&P)) -> Took {
    life(&pool);
    pool.reset();
    let ns = timed(|| {
        for _ in 0..units {
            life(&pool);
            pool.reset();
        }
    });
    Took { ns, ..Took::default() }
}

macro_rules! of_peers {
    ($run:path) => {
        [
            one::<BumpaloOne>(|units| $run(units, BumpaloOne::new)),
            one::<Up>(|units| $run(units, Up::new)),
            one::<Down>(|units| $run(units, Down::new)),
            one::<Oxc>(|units| $run(units, Oxc::new)),
            one::<Blink>(|units| $run(units, Blink::new)),
            one::<Apr>(|units| $run(units, Apr::new)),
        ]
    };
}

const ARENAS: Against = Against::Kinds(&[Kind::Arena]);
const MANY: &[&str] = &["arenascope, init 64 B"];

fn many_lives() -> Row {
    let mut contenders = ours::many_lives();
    contenders.extend(of_peers!(many::lives));
    Row {
        id: "many",
        title: "100,000 arenas alive at once, one block of 8 B in each",
        unit: "ns",
        scale: Scale::PerOperation(1.0),
        second: Some("drop"),
        contenders,
        bars: vec![
            bar("100,000 arenas, creation and a block, each", Measure::Time, MANY, ARENAS),
            bar("100,000 arenas, drop, each", Measure::Second, MANY, ARENAS),
        ],
        ..many_row()
    }
}

fn many_memory() -> Row {
    let mut contenders = ours::many_memory();
    contenders.extend(of_peers!(many::memory));
    Row {
        id: "many-memory",
        title: "100,000 arenas alive at once: resident memory, each",
        unit: "B",
        scale: Scale::PerOperation(1.0),
        contenders,
        bars: vec![bar("100,000 arenas, resident memory, each", Measure::Time, MANY, ARENAS)],
        ..many_row()
    }
}

fn many_mappings() -> Row {
    let mut contenders = ours::many_mappings();
    contenders.extend(of_peers!(many::mappings));
    Row {
        id: "many-mappings",
        title: "100,000 arenas alive at once: mappings, all",
        unit: "mappings",
        scale: Scale::Count,
        contenders,
        bars: vec![bar("100,000 arenas, mappings, all", Measure::Time, MANY, ARENAS)],
        ..many_row()
    }
}

/// What these rows have in common.
fn many_row() -> Row {
    Row {
        id: "",
        title: "",
        unit: "",
        scale: Scale::Count,
        units: [100_000, 100_000],
        rounds: [9, 3],
        apart: true,
        touch_per_unit: 2048,
        counted_units: 0,
        second: None,
        contenders: vec![],
        bars: vec![],
    }
}

//! `--mode sample:BYTES`: what is recorded stands for all there was, in arenas of the library, hooked ones, and malloc's; and says so.
//!
//! Programs print what they allocated. An estimate may be off by five of its own errors: one run in two million.

use crate::harness::{Outcome, Place, accused, count, noted};
use serde_json::Value;
use std::path::Path;

const POOL: [&str; 10] = [
    "--mode",
    "sample:64K",
    "--alloc",
    "pool_alloc(arena, size) -> block",
    "--alloc",
    "pool_zalloc(arena, size) -> block",
    "--reset",
    "pool_reset(arena)",
    "--free",
    "pool_free(arena, block)",
];

fn numbers(text: &str) -> Vec<f64> {
    text.split_whitespace().map(|word| word.parse().unwrap_or_else(|_| panic!("numbers: {text}"))).collect()
}

/// Holds `estimate` (`bytes`, `blocks`, each with its error) against what there was.
fn holds(what: &str, estimate: &Value, bytes: f64, blocks: Option<f64>) {
    let figure = |key: &str| estimate[key].as_f64().unwrap_or_else(|| panic!("{what}: {key} of {estimate}"));
    let off = figure("bytes") - bytes;
    assert!(off.abs() <= 5.0 * figure("bytes_error") + 1.0, "{what}: {off:+} of {bytes} bytes: {estimate}");
    assert!(
        figure("bytes_error") > 0.0 && figure("bytes_error") < bytes,
        "{what}: an error that says something: {estimate}"
    );
    if let Some(blocks) = blocks {
        let off = figure("blocks") - blocks;
        assert!(off.abs() <= 5.0 * figure("blocks_error") + 1.0, "{what}: {off:+} of {blocks} blocks: {estimate}");
    }
}

/// Runs sampled: as without us, and nobody is accused.
fn sampled(place: &Place, flags: &[&str], program: &Path, arguments: &[&str]) -> (Outcome, String, Value) {
    let plain = place.plain(program, arguments);
    let (outcome, screen) = place.watch(flags, program, arguments);
    assert_eq!(outcome, plain, "{screen}");
    let trace = place.trace();
    let json = place.findings(&trace);
    assert!(accused(&json).is_empty() && noted(&json).is_empty(), "{json}");
    assert!(json["unasked_rules"].as_u64().is_some_and(|rules| rules > 20), "{json}");
    assert!(screen.contains("need every event and were not asked"), "{screen}");
    assert!(screen.contains("±") && screen.contains("one allocation in"), "{screen}");
    let shown = place.show(&trace, &[]);
    assert_eq!(shown["lost"]["events"], 0, "{screen}");
    (outcome, screen, shown)
}

#[test]
fn samples_of_a_hooked_pool_stand_for_all_its_blocks() {
    let place = Place::new();
    let program = place.cc("sampled_pool.c", &["-O1"]);
    let (outcome, screen, shown) = sampled(&place, &POOL, &program, &[]);
    let [bytes, blocks, large, living] = numbers(&outcome.stdout)[..] else { panic!("{outcome:?}") };
    assert!(!screen.contains("not seen"), "{screen}");
    let all = &shown["sampled"];
    assert_eq!(all["sample_bytes"], 65536);
    holds("all", &all["allocated"], bytes, Some(blocks));
    holds("living", &all["living"], living, None);
    let arenas = shown["arenas"].as_array().expect("arenas");
    assert_eq!(arenas.len(), 1, "{shown}");
    holds("the arena", &arenas[0]["sampled"]["allocated"], bytes, Some(blocks));
    // Large blocks are never passed over.
    let events = place.log(&place.trace());
    let sum: u64 = events.iter().filter_map(|event| event["size"].as_u64()).filter(|size| *size >= 65536).sum();
    assert_eq!(sum as f64, large, "{screen}");
    // Far fewer events than blocks.
    let told = count(&events, "alloc");
    assert!(told as f64 > bytes / 65536.0 * 0.8 && (told as f64) < blocks / 50.0, "{told} of {blocks}");
    assert!(
        events.iter().filter(|event| event["kind"] == "alloc").all(|event| event["stands_for"].as_f64() >= Some(1.0))
    );
    let log = place.arenascope(&["log".as_ref(), place.trace().as_os_str()]);
    assert!(log.stdout.contains("sampled, stands for"), "{}", log.stdout);
}

#[test]
fn samples_of_malloc_stand_for_all_its_blocks_in_all_threads() {
    let place = Place::new();
    let program = place.cc("sampled_malloc.c", &["-O1", "-fno-builtin"]);
    let flags = ["--watch", "malloc", "--mode", "sample:64K"];
    let (outcome, _, shown) = sampled(&place, &flags, &program, &[]);
    let [bytes, blocks, living] = numbers(&outcome.stderr)[..] else { panic!("{outcome:?}") };
    holds("all", &shown["sampled"]["allocated"], bytes, Some(blocks));
    holds("living", &shown["sampled"]["living"], living, None);
    // The places of the program, not of the C library, and the most bytes first.
    let places = shown["sampled"]["places"].as_array().expect("places");
    let bytes: Vec<f64> = places.iter().filter_map(|place| place["bytes"].as_f64()).collect();
    assert!(places.len() >= 4 && bytes.is_sorted_by(|one, two| one >= two), "{places:?}");
}

/// The program of the next test: this very file, run for this name alone. Arenas of the library: small lives, scopes, resets, bursts, blocks
/// that grow, large ones; 20,000 bytes of small blocks live on. Prints bytes, allocations, and bytes that live.
#[test]
fn a_program_on_the_library() {
    if !std::env::args().any(|word| word == "sampling::a_program_on_the_library") {
        return;
    }
    let layout = |size| std::alloc::Layout::from_size_align(size, 8).expect("a layout");
    let (mut bytes, mut blocks) = (0usize, 0usize);
    let mut took = |size: usize| {
        bytes += size;
        blocks += 1;
        layout(size)
    };
    let mut arena = arenascope::Arena::builder().name("main").build().expect("an arena");
    for round in 0..300usize {
        for i in 0..200 {
            arena.alloc_layout(took(8 + (i * 37 + round) % 300));
        }
        arena.scope(|scope| {
            for i in 0..100 {
                scope.alloc_layout(took(8 + i % 60));
            }
        });
        let mut burst = arena.burst();
        for _ in 0..100 {
            burst.alloc_layout(took(48));
        }
        drop(burst);
        arena.alloc_layout(took(64 << 10));
        arena.reset();
        let small = arenascope::Arena::builder().name("small").capacity(16 << 10).build().expect("an arena");
        for _ in 0..150 {
            small.alloc_layout(took(100));
        }
    }
    let kept = arenascope::Arena::builder().name("kept").build().expect("an arena");
    for _ in 0..20_000 {
        kept.alloc_layout(took(100));
    }
    eprintln!("took {bytes} {blocks} {}", 20_000 * 100);
    std::mem::forget(kept);
}

#[test]
fn samples_of_arenas_of_the_library_stand_for_all_their_blocks() {
    let place = Place::new();
    let program = std::env::current_exe().expect("this test's own file");
    let arguments = ["--exact", "sampling::a_program_on_the_library", "--nocapture", "--test-threads", "1"];
    let (outcome, screen) = place.watch(&["--mode", "sample:64K"], &program, &arguments);
    let said = outcome.stderr.lines().find_map(|line| line.strip_prefix("took "));
    let [bytes, blocks, living] = numbers(said.unwrap_or_else(|| panic!("{outcome:?}\n{screen}")))[..] else {
        panic!()
    };
    let trace = place.trace();
    let shown = place.show(&trace, &[]);
    holds("all", &shown["sampled"]["allocated"], bytes, Some(blocks));
    holds("living", &shown["sampled"]["living"], living, None);
    let arenas = shown["arenas"].as_array().expect("arenas");
    let named = |name: &str| arenas.iter().filter(|arena| arena["name"] == name).collect::<Vec<_>>();
    // 300 lives of 15,000 bytes: about one in five has a sample, and only those are told of.
    let small = named("small");
    assert!((20..=120).contains(&small.len()), "{}", small.len());
    let sum: f64 = small.iter().filter_map(|arena| arena["sampled"]["allocated"]["bytes"].as_f64()).sum();
    assert!((sum / (300.0 * 15_000.0) - 1.0).abs() < 0.65, "{sum}");
    assert!(small.iter().all(|arena| arena["capacity"] == 16 << 10 && arena["ended"]["how"] == "destroyed"), "{shown}");
    let line = |arena: &Value| arena["created"]["site"][0]["line"].as_u64();
    assert!(small.iter().all(|arena| line(arena) == line(small[0]) && line(arena) > Some(0)), "{shown}");
    let [main] = named("main")[..] else { panic!("{shown}") };
    assert!(main["sampled"]["living"]["bytes"] == 0 || main["ended"].is_object(), "{main}");
    assert_eq!(shown["lost"]["events"], 0, "{screen}");
    let json = place.findings(&trace);
    assert!(accused(&json).is_empty() && noted(&json).is_empty(), "{json}");
    assert!(screen.contains("sampling.rs"), "{screen}");
}

#[test]
fn traces_that_nobody_completed_say_that_they_hold_samples() {
    let place = Place::new();
    let program = place.cc("sampled_pool.c", &["-O1"]);
    let (_, screen) = place.watch(&POOL, &program, &[]);
    let trace = place.trace();
    let mut bytes = std::fs::read(&trace).expect("the trace");
    // Without its tail: what a launcher leaves that was killed.
    let tail = bytes.windows(8).rposition(|window| window == b"ASCTAIL\n");
    bytes.truncate(tail.expect("a tail"));
    std::fs::write(&trace, bytes).expect("the trace without its tail");
    let json = place.findings(&trace);
    assert!(accused(&json).is_empty(), "{json}\n{screen}");
    assert!(json["unasked_rules"].is_u64(), "{json}");
    assert!(place.show(&trace, &[])["sampled"]["allocated"]["bytes"].as_f64() > Some(1e6));
}

#[test]
fn a_distance_that_is_none_is_refused() {
    let place = Place::new();
    for (mode, said) in [
        ("sample:0", "a sample every 0 bytes is every block"),
        ("sample:many", "a number of bytes is wanted"),
        ("sample:", "a number of bytes is wanted"),
        ("samples", "record, sample[:BYTES], check, precise or off is wanted"),
    ] {
        let outcome = place.arenascope(&["run", "--mode", mode, "--", "true"]);
        assert_eq!(outcome.status, 2, "{outcome:?}");
        assert!(outcome.stderr.contains(said), "{outcome:?}");
    }
}

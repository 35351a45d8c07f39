//! How many bytes an event takes, and how fast events come back. `cargo test --release -- --nocapture size` prints both.

use crate::build::{File, Writer};
use arenascope_trace::{Record, Trace};
use std::time::Instant;

const COUNT: u64 = 1_000_000;

/// Writes `COUNT` allocs as `alloc` says: order → (arena, order, block, size, ns step, site).
fn measured(name: &str, alloc: impl Fn(u64) -> (u32, u64, u64, u64, u64, u32)) -> f64 {
    let mut file = File::new();
    let mut writer = Writer::new(0);
    let mut ns = 0;
    for index in 0..COUNT {
        let (arena, order, block, size, step, site) = alloc(index);
        ns += step;
        writer.put(&mut file, 1, ns, Some(site), &Record::Alloc { arena, order, block, size, align: 0 });
    }
    let bytes = file.bytes.len() as f64 / COUNT as f64;
    let begin = Instant::now();
    let trace = Trace::open(&file.bytes).unwrap();
    let opened = begin.elapsed();
    let begin = Instant::now();
    assert_eq!(trace.events().count() as u64, COUNT);
    let read = begin.elapsed();
    println!(
        "{name}: {bytes:.2} file bytes per event, opened in {opened:?}, {:.1} M events/s",
        COUNT as f64 / read.as_secs_f64() / 1e6
    );
    bytes
}

#[test]
fn size_of_an_alloc_event() {
    let same_site = measured("one arena, one site, one size", |i| (0, i, 0x7F00_0000_0000 + 32 * i, 32, 40, 7));
    let sizes = measured("one arena, changing sizes", |i| (0, i, 0x7F00_0000_0000 + 80 * i, 1 + i * 37 % 64, 40, 7));
    let sites = measured("8 arenas, changing sites", |i| {
        ((i % 8) as u32, i / 8, 0x7F00_0000_0000 + ((i % 8) << 32) + 64 * (i / 8), 64, 40, (i * 7 % 300) as u32)
    });
    let many = measured("1000 arenas", |i| {
        ((i % 1000) as u32, i / 1000, 0x7F00_0000_0000 + ((i % 1000) << 13) + 64 * (i / 1000), 64, 40, (i % 30) as u32)
    });
    assert!(same_site <= 3.0, "{same_site}");
    assert!(sizes <= 5.0, "{sizes}");
    assert!(sites <= 6.0, "{sites}");
    assert!(many <= 14.0, "{many}");
}

#[test]
fn size_of_a_shared_arena_s_events_with_eight_writers() {
    let mut file = File::new();
    let mut writers: Vec<Writer> = (0..8).map(Writer::new).collect();
    writers[0].put(&mut file, 1, 0, None, &Record::ArenaSeen { arena: 0, object: 8 });
    for order in 0..COUNT {
        let writer = (order * 7 / 3 % 8) as usize;
        let alloc = Record::Alloc { arena: 0, order, block: 0x7F00_0000_0000 + 32 * order, size: 32, align: 0 };
        writers[writer].put(&mut file, writer as u32 + 1, 16 * order, Some(1), &alloc);
    }
    let bytes = file.bytes.len() as f64 / COUNT as f64;
    let trace = Trace::open(&file.bytes).unwrap();
    let begin = Instant::now();
    let orders = trace.events().filter_map(|event| event.kind.arena_order()).map(|(_, order)| order);
    assert!(orders.eq(0..COUNT));
    println!(
        "eight writers, one arena: {bytes:.2} file bytes per event, {:.1} M events/s",
        COUNT as f64 / begin.elapsed().as_secs_f64() / 1e6
    );
    assert!(bytes <= 8.0, "{bytes}");
}

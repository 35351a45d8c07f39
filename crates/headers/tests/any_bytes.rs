//! Any bytes as memory, and real headers with bytes changed: nothing panics, and what is believed keeps the invariants.

use arenascope_headers::{Backing, Found, Limits, Mapping, Mappings, Memory, Place, Unread, find, layout};
use proptest::prelude::*;
use std::rc::Rc;

/// Where the made-up memory begins.
const BASE: u64 = 0x10000;

/// One mapping of bytes; half of it is a loaded file's data when `file` says so.
struct Made {
    bytes: Vec<u8>,
    mappings: Rc<Mappings>,
}

impl Made {
    fn new(bytes: Vec<u8>, file: bool) -> Made {
        let end = BASE + bytes.len() as u64;
        let middle = BASE + (bytes.len() as u64 / 2).next_multiple_of(4096).min(bytes.len() as u64);
        let of = |start, end, backing| Mapping { start, end, readable: true, writable: true, backing, own: false };
        let first = if file { Backing::File { path: "/a".into(), offset: 0 } } else { Backing::Anonymous };
        let second = Backing::Shared { name: "/memfd:arenascope".into(), identity: 7 };
        let mappings = Rc::new(Mappings::new(vec![of(BASE, middle, first), of(middle, end, second)]));
        Made { bytes, mappings }
    }
}

impl Memory for Made {
    fn mappings(&self) -> Rc<Mappings> {
        self.mappings.clone()
    }

    fn read(&self, at: u64, into: &mut [u8]) -> Result<(), Unread> {
        let from = at.checked_sub(BASE).and_then(|from| usize::try_from(from).ok()).ok_or(Unread::Unmapped)?;
        let bytes = self.bytes.get(from..).and_then(|rest| rest.get(..into.len())).ok_or(Unread::Unmapped)?;
        into.copy_from_slice(bytes);
        Ok(())
    }

    fn each_present(&self, start: u64, end: u64, visit: &mut dyn FnMut(u64, u64) -> bool) {
        visit(start, end);
    }
}

/// Fails when something was believed that cannot be.
fn check(made: &Made, found: &Found) {
    let inside = |start: u64, bytes: u64| made.mappings.cover(start, bytes);
    for arena in &found.arenas {
        assert!(arena.used <= arena.capacity && arena.peak <= arena.capacity && arena.committed <= arena.reserved);
        assert!(inside(arena.base, arena.reserved), "{arena:?}");
        assert!(arena.name.as_str().len() <= made.bytes.len() && arena.id != 0);
    }
    for shared in &found.shared {
        assert!(inside(shared.base, shared.capacity) && shared.lost <= shared.leased);
        for lease in &shared.leases {
            assert!(lease.used <= lease.capacity && lease.base >= shared.base);
            assert!(lease.base + lease.capacity <= shared.base + shared.capacity);
        }
        let _ = shared.used();
    }
    for between in &found.between {
        assert!(inside(between.address, between.mapping) && between.leased <= between.capacity);
        for held in &between.leases {
            assert!(held.start <= held.used && held.used <= held.end && held.end <= between.mapping);
        }
        let _ = between.used();
    }
}

fn look(bytes: Vec<u8>, file: bool) -> (Made, Found) {
    let made = Made::new(bytes, file);
    let found = find(&made, Limits { scan: u64::MAX, widest: u64::MAX });
    check(&made, &found);
    (made, found)
}

fn put(bytes: &mut [u8], at: usize, word: u64) {
    bytes[at..at + 8].copy_from_slice(&word.to_le_bytes());
}

fn put32(bytes: &mut [u8], at: usize, word: u32) {
    bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
}

/// A sound header at `at` of `bytes`, for `capacity` bytes.
fn write_arena(bytes: &mut [u8], at: usize, capacity: u64) {
    let base = BASE + at as u64 + 384;
    put(bytes, at, layout::MAGIC);
    put32(bytes, at + 8, 2);
    put32(bytes, at + 12, 384);
    put(bytes, at + 16, base + 16);
    put(bytes, at + 24, base);
    for field in [64, 72, 80] {
        put(bytes, at + field, capacity);
    }
    put(bytes, at + 88, 1);
}

/// Memory with one of each kind of header, at multiples of a page.
fn one_of_each() -> Vec<u8> {
    let mut bytes = vec![0; 16 << 12];
    write_arena(&mut bytes, 4096 + 256, 1000);
    let slab = 2 << 12;
    put(&mut bytes, slab, layout::MAGIC_SLAB);
    for (field, word) in [(8, 640), (16, 4), (24, 3)] {
        put(&mut bytes, slab + field, word);
    }
    for slot in 0..3 {
        write_arena(&mut bytes, slab + 128 + slot * 640, 256);
    }
    let shared = 4 << 12;
    put(&mut bytes, shared, layout::MAGIC_SHARED);
    put32(&mut bytes, shared + 8, 1);
    put32(&mut bytes, shared + 12, 8192);
    let base = BASE + shared as u64 + 8192;
    for (field, word) in [(16, 1024), (24, base), (32, 4096), (40, BASE + shared as u64 + 384), (48, 9)] {
        put(&mut bytes, shared + field, word);
    }
    put(&mut bytes, shared + 384 + 8, 15);
    let berth = shared + 384 + 128;
    put(&mut bytes, berth, 5 << 32 | 6);
    write_arena(&mut bytes, berth + 128, 512);
    put(&mut bytes, berth + 128 + 16, base + 64);
    put(&mut bytes, berth + 128 + 24, base);
    put32(&mut bytes, berth + 128 + 208, 256);
    let between = 8 << 12;
    put(&mut bytes, between, layout::MAGIC_SHARE);
    put32(&mut bytes, between + 8, 1);
    put32(&mut bytes, between + 12, 8192);
    for (field, word) in [(16, 8192 + 1024), (24, 16384), (32, 16384)] {
        put(&mut bytes, between + field, word);
    }
    put(&mut bytes, between + 128, 5 << 32 | 6);
    put(&mut bytes, between + 136, 64 | 4 << 36);
    put(&mut bytes, between + 144, 8192 + 100);
    bytes
}

/// Offsets of the five headers' beginnings.
const HEADERS: [usize; 5] = [4096 + 256, 2 << 12, (2 << 12) + 128, 4 << 12, 8 << 12];

#[test]
fn one_of_each_is_found() {
    let (_, found) = look(one_of_each(), false);
    assert_eq!((found.arenas.len(), found.shared.len(), found.between.len()), (4, 1, 1), "{found:#?}");
    assert_eq!(found.damaged, []);
    assert_eq!(found.shared[0].leases.len(), 1);
    assert_eq!((found.between[0].used(), found.shared[0].used()), (1024 - 412, 1024 - 448));
}

/// What is planted, and what must be said about it.
#[test]
fn each_contradiction_is_told() {
    let arena = 4096 + 256;
    let base = BASE + arena as u64 + 384;
    let plant = |field: usize, word: u64, wide: bool| {
        let mut bytes = one_of_each();
        if wide {
            put(&mut bytes, arena + field, word)
        } else {
            put32(&mut bytes, arena + field, word as u32)
        }
        bytes
    };
    for (bytes, told) in [
        (plant(8, 3, false), "layout version 3, and this program knows 2"),
        (plant(12, 0, false), "a header of 0 bytes"),
        (plant(16, base - 8, true), "cursor"),
        (plant(16, base + 1008, true), "cursor"),
        (plant(16, base + 4, true), "cursor"),
        (plant(16, 0, true), "cursor"),
        (plant(24, 0, true), "base 0x0 is no place"),
        (plant(64, 1 << 63, true), "a capacity of 9223372036854775808 bytes"),
        (plant(64, 2000, true), "a capacity of 2000 bytes in a reservation of 1000"),
        (plant(72, 1001, true), "1001 bytes in use of 1000 reserved"),
        (plant(80, 1 << 40, true), "are not all mapped"),
        (plant(80, u64::MAX, true), "a reservation of 18446744073709551615 bytes"),
        (plant(88, 0, true), "number 0"),
        (plant(152, u32::MAX.into(), false), "a name of 4294967295 bytes"),
        (plant(152, 5, false), "a name of 5 bytes that is nowhere"),
        (plant(136, 5, false), "a creation site's file of 5 bytes that is nowhere"),
    ] {
        let (_, found) = look(bytes, false);
        let [damaged] = found.damaged.as_slice() else { panic!("{told}: {found:#?}") };
        assert_eq!((damaged.address, damaged.what), (BASE + arena as u64, "arena"));
        assert!(damaged.why.contains(told), "{told}: {damaged:?}");
        assert_eq!(found.arenas.len(), 3);
    }
    // Nothing but a magic word, in the last eight bytes of the last page.
    let mut bytes = vec![0; 8 << 12];
    let last = bytes.len() - 128;
    put(&mut bytes, last, layout::MAGIC);
    let (_, found) = look(bytes, true);
    assert!(found.arenas.is_empty(), "{found:#?}");
    // An overwritten slot.
    let mut bytes = one_of_each();
    put(&mut bytes, (2 << 12) + 128 + 640, 0x4141_4141_4141_4141);
    let (_, found) = look(bytes, false);
    assert!(found.damaged[0].why.contains("begins with 0x4141414141414141"), "{found:#?}");
    // A text that cannot be read, and one that is none: told, and no damage.
    for (name, told) in [(0xdead_0000, "no memory is mapped there"), (BASE + 15 * 4096, "not UTF-8")] {
        let mut bytes = one_of_each();
        put(&mut bytes, arena + 144, name);
        put32(&mut bytes, arena + 152, 9);
        bytes[15 * 4096..15 * 4096 + 9].fill(0xff);
        let (_, found) = look(bytes, false);
        let seen = found.arenas.iter().find(|seen| seen.address == BASE + arena as u64).expect("found");
        assert!(format!("{:?}", seen.name).contains(told), "{seen:?}");
    }
}

#[test]
fn lists_that_lead_in_a_circle_or_astray_end() {
    for (next, told) in [(0x4_0000_0000, "breaks off"), (BASE + 4096 + 256 + 352, "in a circle"), (0x1234, "no header")]
    {
        let mut bytes = one_of_each();
        // A head in static data, and the arena's own link.
        put(&mut bytes, 64, BASE + 4096 + 256 + 352);
        put(&mut bytes, 4096 + 256 + 352, next);
        let (_, found) = look(bytes, true);
        assert!(found.searched.broken.iter().any(|why| why.contains(told)), "{told}: {found:#?}");
        assert!(found.arenas.iter().any(|arena| arena.place == Place::Alone));
    }
}

proptest! {
    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..20_000), file: bool) {
        look(bytes, file);
    }

    #[test]
    fn real_headers_with_fields_changed(
        changes in prop::collection::vec((0..5usize, 0..64usize, prop_oneof![
            Just(0), Just(u64::MAX), Just(1 << 63), any::<u64>(), BASE..BASE + 70_000, 0..10_000u64,
        ]), 1..6),
        file: bool,
        cut in 0..16usize,
    ) {
        let mut bytes = one_of_each();
        for (header, word, value) in changes {
            put(&mut bytes, HEADERS[header] + word * 8, value);
        }
        bytes.truncate(bytes.len() - cut * 4096);
        look(bytes, file);
    }

    #[test]
    fn real_headers_with_any_bytes_changed(changes in prop::collection::vec((0..16usize << 12, any::<u8>()), 1..200), file: bool) {
        let mut bytes = one_of_each();
        for (at, value) in changes {
            bytes[at] = value;
        }
        look(bytes, file);
    }
}

//! Random stories: event sequences over a small world, so that blocks, regions, keys and marks collide often.
//!
//! May be relied on: [`plays`] makes short programs of calls for proptest to shrink; [`play`] turns them into an event
//! table. Absent on purpose: plausibility. Real programs are a small part of what a trace may hold.

use crate::table::Table;
use alloc::vec;
use alloc::vec::Vec;
use arenascope_event::{Address, Event, EventKind};
use proptest::prelude::*;

/// One call, in small numbers.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "the names are those of `Table`'s methods")]
pub enum Play {
    Thread(u32),
    Create { key: u32, size: Option<u64>, nested: u64 },
    Alloc { key: u32, address: u64, size: u64 },
    Resize { key: u32, old: u64, new: u64, size: u64 },
    Free { key: u32, address: u64 },
    Mark { key: u32, value: u64 },
    Rewind { key: u32, value: u64 },
    Reset { key: u32 },
    Destroy { key: u32 },
    Map { page: u64, pages: u64, observed: bool },
    Unmap { page: u64, pages: u64 },
    Remap { old: u64, old_pages: u64, new: u64, new_pages: u64 },
    Malloc { slot: u64, size: u64 },
    HeapFree { slot: u64 },
    Realloc { slot: u64, to: u64, size: u64 },
}

/// The static memory of the one module, as `Model::new` wants it.
pub const MODULE: (u64, u64) = (0x30_0000, 0x30_4000);

const MAPPINGS: u64 = 0x1_0000;
const HEAP: u64 = 0x20_0000;
const NOWHERE: u64 = 0x40_0000;
const PAGE: u64 = 4096;

fn address() -> impl Strategy<Value = u64> {
    prop_oneof![
        6 => (0_u64..6, 0_u64..10).prop_map(|(page, step)| MAPPINGS + page * PAGE + step * 16),
        1 => (1_u64..8).prop_map(|page| MAPPINGS + page * PAGE - 8),
        4 => (0_u64..64).prop_map(|step| HEAP + step * 16),
        2 => (0_u64..24).prop_map(|step| MODULE.0 + step * 16),
        2 => (0_u64..6, 0_u64..6).prop_map(|(far, step)| NOWHERE + far * 0xc000 + step * 16),
    ]
}

fn size() -> impl Strategy<Value = u64> {
    prop_oneof![
        1 => Just(0_u64),
        8 => (1_u64..6).prop_map(|step| step * 8),
        2 => 1_u64..100,
        1 => Just(5000_u64),
    ]
}

fn key() -> impl Strategy<Value = u32> {
    0_u32..4
}

fn value() -> impl Strategy<Value = u64> {
    prop_oneof![
        1 => Just(0_u64),
        3 => (0_u64..16).prop_map(|step| step * 16),
        1 => Just(u64::MAX),
        4 => address(),
    ]
}

fn one() -> impl Strategy<Value = Play> {
    let alloc = |key, address, size| Play::Alloc { key, address, size };
    prop_oneof![
        2 => (1_u32..3).prop_map(Play::Thread),
        3 => (key(), prop::option::of(prop_oneof![size(), Just(4096_u64)]), 0_u64..4)
            .prop_map(|(key, size, nested)| Play::Create { key, size, nested }),
        16 => (key(), address(), size()).prop_map(move |(key, address, size)| alloc(key, address, size)),
        1 => (key(), size()).prop_map(move |(key, size)| alloc(key, 0, size)),
        3 => (key(), address(), prop_oneof![3 => address(), 1 => Just(0_u64)], size())
            .prop_map(|(key, old, new, size)| Play::Resize { key, old, new, size }),
        4 => (key(), address()).prop_map(|(key, address)| Play::Free { key, address }),
        3 => (key(), value()).prop_map(|(key, value)| Play::Mark { key, value }),
        3 => (key(), value()).prop_map(|(key, value)| Play::Rewind { key, value }),
        1 => key().prop_map(|key| Play::Reset { key }),
        1 => key().prop_map(|key| Play::Destroy { key }),
        4 => (0_u64..8, 1_u64..7, prop::bool::weighted(0.2))
            .prop_map(|(page, pages, observed)| Play::Map { page, pages, observed }),
        2 => (0_u64..8, 1_u64..4).prop_map(|(page, pages)| Play::Unmap { page, pages }),
        1 => (0_u64..3, 0_u64..3).prop_map(|(far, pages)| Play::Unmap {
            page: (NOWHERE - MAPPINGS) / PAGE + far * 12,
            pages: pages * 20,
        }),
        2 => (0_u64..8, 0_u64..4, 0_u64..12, 1_u64..5)
            .prop_map(|(old, old_pages, new, new_pages)| Play::Remap { old, old_pages, new, new_pages }),
        1 => (0_u64..8, 1_u64..4, 1_u64..5)
            .prop_map(|(old, old_pages, new_pages)| Play::Remap { old, old_pages, new: old, new_pages }),
        4 => (0_u64..8, 0_u64..9).prop_map(|(slot, size)| Play::Malloc { slot, size: size * 16 }),
        2 => (0_u64..8).prop_map(|slot| Play::HeapFree { slot }),
        2 => (0_u64..8, 0_u64..12, 0_u64..17).prop_map(|(slot, to, size)| Play::Realloc { slot, to, size: size * 16 }),
        2 => (0_u64..8, 0_u64..17).prop_map(|(slot, size)| Play::Realloc { slot, to: slot, size: size * 16 }),
    ]
}

/// Programs of at most `most` calls.
pub fn plays(most: usize) -> impl Strategy<Value = Vec<Play>> {
    prop::collection::vec(one(), 0..most)
}

/// The events of such a program. Key 0 is the global arena, key 1's object lies in a mapping, key 2's in the heap, key
/// 3's nowhere.
pub fn play(plays: &[Play]) -> Vec<Event> {
    let mut table = Table::new().seen(0, 0).seen(1, MAPPINGS + PAGE + 8).seen(2, HEAP + 0x88).seen(3, 0x7000_0000);
    let page = |page: u64| MAPPINGS + page * PAGE;
    for play in plays {
        table = match *play {
            Play::Thread(thread) => table.thread(thread),
            Play::Create { key, size: Some(size), nested } => table.create_nested(key, size, nested),
            Play::Create { key, size: None, .. } => table.create_named(key, "", None),
            Play::Alloc { key, address, size } => table.alloc(key, address, size),
            Play::Resize { key, old, new, size } => table.resize(key, old, new, size),
            Play::Free { key, address } => table.free(key, address),
            Play::Mark { key, value } => table.mark(key, value),
            Play::Rewind { key, value } => table.rewind(key, value),
            Play::Reset { key } => table.reset(key),
            Play::Destroy { key } => table.destroy(key),
            Play::Map { page: at, pages, observed: false } => table.map(page(at), pages * PAGE),
            Play::Map { page: at, pages, observed: true } => table.observe(page(at), pages * PAGE),
            Play::Unmap { page: at, pages } => table.unmap(page(at), (pages * PAGE).saturating_sub(100)),
            Play::Remap { old, old_pages, new, new_pages } => table.event(EventKind::Remap {
                old: Address(page(old)),
                old_len: old_pages * PAGE,
                new: Address(page(new)),
                new_len: new_pages * PAGE,
            }),
            Play::Malloc { slot, size } => table.malloc(HEAP + slot * 128, size),
            Play::HeapFree { slot } => table.heap_free(HEAP + slot * 128),
            Play::Realloc { slot, to, size } => table.realloc(77, HEAP + slot * 128, HEAP + to * 128, size),
        };
    }
    table.events()
}

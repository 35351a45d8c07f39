//! Any bytes as a process's memory, and real headers with bytes changed: the search ends, and what it believes lies in the memory.
#![no_main]

use arenascope_headers::{Backing, Limits, Mapping, Mappings, Memory, Unread, find, layout};
use libfuzzer_sys::fuzz_target;
use std::rc::Rc;

const BASE: u64 = 0x10000;

struct Made<'a> {
    bytes: &'a [u8],
    mappings: Rc<Mappings>,
}

impl Memory for Made<'_> {
    fn mappings(&self) -> Rc<Mappings> {
        self.mappings.clone()
    }

    fn read(&self, at: u64, into: &mut [u8]) -> Result<(), Unread> {
        let from = at.checked_sub(BASE).ok_or(Unread::Unmapped)? as usize;
        let bytes = self.bytes.get(from..).and_then(|rest| rest.get(..into.len())).ok_or(Unread::Unmapped)?;
        into.copy_from_slice(bytes);
        Ok(())
    }

    fn each_present(&self, start: u64, end: u64, visit: &mut dyn FnMut(u64, u64) -> bool) {
        visit(start, end);
    }
}

fuzz_target!(|input: &[u8]| {
    // A byte says which magic words stand where, so that the fuzzer need not guess eight bytes.
    let Some((&first, rest)) = input.split_first() else { return };
    let mut bytes = rest.to_vec();
    let magics = [layout::MAGIC, layout::MAGIC_SLAB, layout::MAGIC_SHARED, layout::MAGIC_SHARE, layout::MAGIC_KEPT];
    for at in 0..usize::from(first & 7) {
        let magic = magics[(usize::from(first >> 3) + at) % magics.len()];
        if let Some(place) = bytes.get_mut(at * 512..at * 512 + 8) {
            place.copy_from_slice(&magic.to_le_bytes());
        }
    }
    let end = BASE + bytes.len() as u64;
    let middle = BASE + bytes.len() as u64 / 2;
    let of = |start, end, backing| Mapping { start, end, readable: true, writable: true, backing, own: first & 0x80 != 0 };
    let file = Backing::File { path: String::new(), offset: 0 };
    let mappings = Rc::new(Mappings::new(vec![of(BASE, middle, file), of(middle, end, Backing::Anonymous)]));
    let found = find(&Made { bytes: &bytes, mappings: mappings.clone() }, Limits { scan: u64::MAX, widest: u64::MAX });
    for arena in &found.arenas {
        assert!(arena.used <= arena.capacity && arena.peak <= arena.capacity && arena.committed <= arena.reserved);
        assert!(mappings.cover(arena.base, arena.reserved));
    }
    for shared in &found.shared {
        assert!(mappings.cover(shared.base, shared.capacity) && shared.used() <= shared.leased);
        assert!(shared.leases.iter().all(|lease| lease.used <= lease.capacity));
    }
    for between in &found.between {
        assert!(mappings.cover(between.address, between.mapping) && between.used() <= between.capacity);
    }
});

//! Memory of others, for the verbs that look at arenas from outside: a living process's, a core dump's.
//!
//! May be relied on: reading only, and the process is not stopped; no page of it is touched that is not there. Deliberately absent: what an arena is
//! (`arenascope-headers`), and words for people (`report`).

pub mod core_file;
pub mod maps;
pub mod process;

use arenascope_headers::{Found, Memory};
use arenascope_report::outside::Bytes;

/// Bytes of an arena that are read to be shown: more than the lines of text hold.
const SHOWN_BYTES: u64 = 4096;

/// What the first bytes of each arena of `chosen` (first address, bytes used) are.
pub fn first_bytes(memory: &dyn Memory, chosen: impl Iterator<Item = (u64, u64)>) -> Vec<Bytes> {
    chosen
        .map(|(base, used)| {
            let wanted = used.min(SHOWN_BYTES);
            let mut bytes = vec![0; usize::try_from(wanted).unwrap_or(0)];
            // A shared page that nobody has written would be made by being read.
            let mut present = 0;
            if wanted > 0 {
                let page = base & !0xfff;
                memory.each_present(
                    page,
                    base.saturating_add(wanted).saturating_add(0xfff) & !0xfff,
                    &mut |from, to| {
                        let whole = from <= base.max(page + present);
                        present = if whole { to - page } else { present };
                        whole
                    },
                );
            }
            let there = (page_end(base, present)).saturating_sub(base).min(wanted);
            bytes.truncate(usize::try_from(there).unwrap_or(0));
            match memory.read(base, &mut bytes) {
                Ok(()) => Bytes { base, bytes, why: None },
                Err(why) => Bytes { base, bytes: Vec::new(), why: Some(why.to_string()) },
            }
        })
        .collect()
}

fn page_end(base: u64, present: u64) -> u64 {
    (base & !0xfff).saturating_add(present)
}

/// Number and name of everything that was found.
pub fn names(found: &Found) -> Vec<(u64, String)> {
    let arenas = found.arenas.iter().map(|arena| (arena.id, arena.name.as_str()));
    let shared = found.shared.iter().map(|arena| (arena.id, arena.name.as_str()));
    arenas.chain(shared).map(|(id, name)| (id, name.to_owned())).collect()
}

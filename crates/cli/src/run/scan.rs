//! Reads all memory of a process that waits for us, and finds the living blocks that nothing points at.
//!
//! What lives is replayed from the trace so far. Roots are everything that the process could take a pointer from: its writable and
//! changed mappings (stacks, also what lies below the stack pointer, static data, heaps, the arenas' own unused
//! bytes), and what the kernel keeps for epoll. The recorder's own tables are left out, or every block would be held.
//!
//! Refused, with the reason for the user, where an answer could be wrong: other threads run (their registers cannot be
//! read), events were lost, the process came from a fork, memory cannot be read or is more than the limit. Costs about a second
//! for a GiB, in the launcher; the process waits. Absent: what an unreached block means.

use crate::reading;
use crate::run::reach::Reach;
use crate::run::trace_file::MEMORY_NAME;
use arenascope_event::{Address, ArenaKey, Scan, ScannedArena, Unreached};
use arenascope_replay::Replay;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Living blocks; a process with more is not scanned.
const MOST_BLOCKS: usize = 8 << 20;
/// Unreached blocks that are kept of one arena.
const MOST_TOLD: usize = 4096;
/// Bytes read at once.
const PIECE: usize = 1 << 20;
const PAGE: u64 = 4096;
/// Smaller offsets stand in any memory by chance.
const LEAST_OFFSET: u64 = 1 << 10;

/// A part of the memory that is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Part {
    start: u64,
    end: u64,
    /// Only pages that are there can hold anything of the process's.
    sparse: bool,
    /// Bytes that are there, as the kernel counts them.
    filled: u64,
}

/// One living block.
struct Living {
    start: u64,
    end: u64,
    arena: ArenaKey,
    /// First bytes that offsets of its arena may count from.
    bases: [u64; 2],
}

/// Scans process `pid`, whose trace so far is `trace`. `mark`: of the user's marks, from 1; 0 at the end. `limit`: bytes.
///
/// # Errors
/// Why there is no answer, as the end of a sentence.
pub fn scan(pid: u32, trace: &Path, mark: u64, limit: u64) -> Result<Scan, String> {
    alone(pid)?;
    let (mut living, orders) = living(trace)?;
    let mut scan = Scan { mark: (mark > 0).then_some(mark), ..Scan::default() };
    if living.is_empty() {
        return Ok(scan);
    }
    living.sort_by_key(|block| Reach::order(&(block.start, block.end)));
    let memory = Memory::of(pid, trace, limit)?;
    let mut reach = Reach::new(living.iter().map(|block| (block.start, block.end)).collect());
    scan.bytes = memory.each(|base, bytes| reach.read(base, bytes))?;
    kept_by_epoll(pid).into_iter().for_each(|word| reach.root(word));
    let reached = reach.finish().ok_or("its blocks point at each other too often")?;
    // Pairs are in the order of the blocks.
    let unreached = living.iter().zip(&reached).filter(|(_, reached)| !**reached).map(|(block, _)| block);
    let by_offset = offsets(&memory, unreached)?;
    let mut arenas: BTreeMap<ArenaKey, ScannedArena> = BTreeMap::new();
    for (block, reached) in living.iter().zip(&reached) {
        let arena = arenas.entry(block.arena).or_insert_with(|| ScannedArena {
            arena: block.arena,
            before: orders.get(&block.arena).copied().unwrap_or(0),
            ..ScannedArena::default()
        });
        arena.blocks += 1;
        arena.reached += u64::from(*reached);
        if !reached && arena.unreached.len() < MOST_TOLD {
            let by_offset = by_offset.contains(&block.start);
            arena.unreached.push(Unreached { address: Address(block.start), by_offset });
        }
    }
    scan.arenas = arenas.into_values().collect();
    Ok(scan)
}

/// No other thread may be running.
fn alone(pid: u32) -> Result<(), String> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).map_err(|error| error.to_string())?.count();
    match threads {
        0 | 1 => Ok(()),
        2 => Err("another thread was running, and what its registers hold cannot be read".into()),
        more => Err(format!("{} other threads were running, and what their registers hold cannot be read", more - 1)),
    }
}

/// The living blocks of all arenas but malloc's, and each arena's next order.
fn living(trace: &Path) -> Result<(Vec<Living>, BTreeMap<ArenaKey, u64>), String> {
    let file = reading::TraceFile::open(trace).map_err(|error| error.to_string())?;
    let trace = file.trace().map_err(|error| error.to_string())?;
    let facts = trace.facts();
    if facts.fork_id != 0 {
        return Err("it came from a fork, and what it inherited is in another trace".into());
    }
    if facts.lost.events() > 0 {
        return Err(format!("{} events were lost, and blocks may have come and gone unseen", facts.lost.events()));
    }
    let mut replay = Replay::new(&facts);
    let mut orders = BTreeMap::new();
    for event in trace.events() {
        if let Some((arena, order)) = event.kind.arena_order() {
            orders.insert(arena, order.saturating_add(1));
        }
        replay.apply(&event);
    }
    let mut living = Vec::new();
    for arena in replay.state().living_arenas().filter(|arena| arena.malloc.is_none()) {
        let first = arena.extents().map(|extent| extent.bottom.0).min().unwrap_or(0);
        for block in arena.blocks() {
            let base = arena.extent(block.extent).map_or(first, |extent| extent.start.0);
            living.push(Living { start: block.address.0, end: block.end().0, arena: arena.key, bases: [base, first] });
        }
    }
    if living.len() > MOST_BLOCKS {
        return Err(format!("{} blocks live, and no more than {MOST_BLOCKS} can be looked for", living.len()));
    }
    Ok((living, orders))
}

/// The memory that is read.
struct Memory {
    pid: u32,
    file: File,
    parts: Vec<Part>,
}

impl Memory {
    fn of(pid: u32, trace: &Path, limit: u64) -> Result<Memory, String> {
        let cannot = |error: io::Error| format!("its memory cannot be read ({error})");
        let maps = fs::read(format!("/proc/{pid}/smaps")).map_err(cannot)?;
        let file = File::open(format!("/proc/{pid}/mem")).map_err(cannot)?;
        let trace = fs::canonicalize(trace).unwrap_or_else(|_| trace.to_owned());
        let parts = parts(&String::from_utf8_lossy(&maps), &trace.to_string_lossy());
        let filled = parts.iter().fold(0_u64, |sum, part| sum.saturating_add(part.filled));
        if filled > limit {
            return Err(format!(
                "it has {} MiB of memory, and {} MiB are the limit (--scan={}M)",
                filled >> 20,
                limit >> 20,
                (filled >> 20) + 64
            ));
        }
        Ok(Memory { pid, file, parts })
    }

    /// Hands all of it to `each`, piece by piece with address, as many as 7 bytes twice. The bytes that there were.
    fn each(&self, mut each: impl FnMut(u64, &[u8])) -> Result<u64, String> {
        let pages = File::open(format!("/proc/{}/pagemap", self.pid)).map_err(|error| format!("{error} (pagemap)"))?;
        let mut buffer = vec![0; PIECE + 8];
        let mut total = 0_u64;
        for part in &self.parts {
            let runs = if part.sparse { present(&pages, part.start, part.end)? } else { vec![(part.start, part.end)] };
            for (start, end) in runs {
                let mut at = start;
                while at < end {
                    // A word may begin in one piece and end in the next.
                    let want = usize::try_from(end - at).unwrap_or(PIECE).min(PIECE + 7);
                    let Some(room) = buffer.get_mut(..want) else { break };
                    self.file
                        .read_exact_at(room, at)
                        .map_err(|error| format!("its memory cannot be read ({error})"))?;
                    each(at, room);
                    let step = (end - at).min(PIECE as u64);
                    total += step;
                    at += step;
                }
            }
        }
        Ok(total)
    }
}

/// The runs of pages of `start..end` that are in memory or swapped out.
fn present(pages: &File, start: u64, end: u64) -> Result<Vec<(u64, u64)>, String> {
    let mut runs: Vec<(u64, u64)> = Vec::new();
    let mut buffer = vec![0; 8 << 10];
    let mut page = start / PAGE;
    while page < end / PAGE {
        let want = usize::try_from(end / PAGE - page).unwrap_or(usize::MAX).saturating_mul(8).min(buffer.len());
        let Some(room) = buffer.get_mut(..want) else { break };
        pages.read_exact_at(room, page * 8).map_err(|error| format!("{error} (pagemap)"))?;
        for entry in room.chunks_exact(8) {
            // Bit 63: in memory; bit 62: swapped out (Documentation/admin-guide/mm/pagemap.rst).
            let there = entry.get(7).is_some_and(|top| top & 0xc0 != 0);
            match runs.last_mut() {
                Some((_, last)) if there && *last == page * PAGE => *last += PAGE,
                _ if there => runs.push((page * PAGE, (page + 1) * PAGE)),
                _ => {}
            }
            page += 1;
        }
    }
    Ok(runs)
}

/// What of a memory map (smaps) may hold pointers of the program's: what it has written, or another process for it. Our own
/// reserves are known by their flags, which no mapping of the program's has together: they grow down and stay out of dumps.
fn parts(smaps: &str, trace: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut lines = smaps.lines().peekable();
    while let Some(line) = lines.next() {
        let Some((range, rest)) = line.split_once(' ') else { continue };
        let Some((start, end)) = range.split_once('-') else { continue };
        let (Ok(start), Ok(end)) = (u64::from_str_radix(start, 16), u64::from_str_radix(end, 16)) else { continue };
        let mut fields = rest.splitn(5, ' ');
        let rights = fields.next().unwrap_or("");
        let name = fields.nth(3).unwrap_or("").trim_start();
        let (mut there, mut own, mut flags) = (0_u64, 0_u64, "");
        while let Some(line) = lines.next_if(|line| line.split_once(':').is_some_and(|(word, _)| !word.contains(' '))) {
            let Some((word, value)) = line.split_once(':') else { continue };
            let kib =
                || value.trim().split(' ').next().and_then(|number| number.parse::<u64>().ok()).unwrap_or(0) << 10;
            match word {
                "Rss" => there = there.saturating_add(kib()),
                "Anonymous" | "Private_Hugetlb" | "Swap" => own = own.saturating_add(kib()),
                "Shared_Hugetlb" => there = there.saturating_add(kib()),
                "VmFlags" => flags = value,
                _ => {}
            }
        }
        let flag = |wanted: &str| flags.split_whitespace().any(|flag| flag == wanted);
        let in_memory = name.strip_prefix("/memfd:").is_some_and(|name| name.starts_with(MEMORY_NAME));
        let ours = flag("gd") && flag("dd") && name.is_empty() || name == trace || in_memory;
        let device = flag("io") || flag("pf") || name.starts_with("[v");
        if ours || device || end <= start {
            continue;
        }
        let shared = rights.ends_with('s');
        let huge = flag("ht");
        if shared && rights.starts_with("rw") && there > 0 {
            parts.push(Part { start, end, sparse: false, filled: end - start });
        } else if !shared && own > 0 {
            parts.push(Part { start, end, sparse: !huge, filled: if huge { end - start } else { own } });
        }
    }
    parts
}

/// Words that the kernel keeps for the process's epoll descriptors: often pointers.
fn kept_by_epoll(pid: u32) -> Vec<u64> {
    let entries = fs::read_dir(format!("/proc/{pid}/fdinfo")).into_iter().flatten().flatten();
    let texts = entries.filter_map(|entry| fs::read_to_string(entry.path()).ok());
    texts.flat_map(|text| epoll_words(&text)).collect()
}

/// `tfd: 5 events: 19 data: 7f12… pos:…` of an epoll descriptor.
fn epoll_words(text: &str) -> Vec<u64> {
    let watched = text.lines().filter(|line| line.starts_with("tfd:"));
    watched
        .filter_map(|line| u64::from_str_radix(line.split_once("data:")?.1.split_whitespace().next()?, 16).ok())
        .collect()
}

/// Which of the blocks are at a distance from the start of their arena's memory that stands somewhere as a 32-bit number, plain or
/// in units of 8 or 16 bytes: by their first byte.
fn offsets<'a>(memory: &Memory, blocks: impl Iterator<Item = &'a Living>) -> Result<HashSet<u64>, String> {
    let mut wanted: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
    for block in blocks {
        let mut numbers: BTreeSet<u32> = BTreeSet::new();
        for base in block.bases {
            let offset = block.start.saturating_sub(base);
            for unit in [1, 8, 16] {
                let number = u32::try_from(offset / unit).ok().filter(|number| u64::from(*number) >= LEAST_OFFSET);
                numbers.extend(number.filter(|_| offset.is_multiple_of(unit)));
            }
        }
        numbers.into_iter().for_each(|number| wanted.entry(number).or_default().push(block.start));
    }
    let mut found = HashSet::new();
    if wanted.is_empty() {
        return Ok(found);
    }
    // Most words are none of these: a bit for each value of the low 16 tells.
    let mut sieve = vec![false; 1 << 16];
    for number in wanted.keys() {
        if let Some(bit) = sieve.get_mut((number & 0xffff) as usize) {
            *bit = true;
        }
    }
    memory.each(|_, bytes| {
        for word in bytes.chunks_exact(4) {
            let Ok(word) = word.try_into() else { continue };
            let number = u32::from_le_bytes(word);
            if sieve.get((number & 0xffff) as usize) == Some(&true)
                && let Some(blocks) = wanted.get(&number)
            {
                found.extend(blocks.iter().copied());
            }
        }
    })?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMAPS: &str = "\
555500000000-555500001000 r-xp 00001000 fe:01 12 /usr/bin/my program\nRss: 4 kB\nAnonymous: 0 kB\nVmFlags: rd ex\n\
555500002000-555500003000 rw-p 00002000 fe:01 12 /usr/bin/my program\nRss: 4 kB\nAnonymous: 4 kB\nSwap: 0 kB\nVmFlags: rd wr\n\
7f0000000000-7f0040000000 rw-p 00000000 00:00 0\nRss: 64 kB\nAnonymous: 64 kB\nSwap: 8 kB\nVmFlags: rd wr nr\n\
7f0050000000-7f0050100000 rw-p 00000000 00:00 0\nRss: 64 kB\nAnonymous: 64 kB\nVmFlags: rd wr gd nr dd\n\
7f0060000000-7f0060010000 rw-s 00000000 fe:01 99 /tmp/prog.1.ascope\nRss: 64 kB\nAnonymous: 0 kB\nVmFlags: rd wr sh\n\
7f0070000000-7f0070010000 rw-s 00000000 00:01 98 /memfd:x (deleted)\nRss: 4 kB\nAnonymous: 0 kB\nVmFlags: rd wr sh\n\
7f0080000000-7f0080010000 r--p 00000000 00:01 97 /usr/lib/locale\nRss: 4 kB\nAnonymous: 0 kB\nVmFlags: rd\n\
7f0090000000-7f0090010000 rw-s 00000000 00:01 96 /memfd:arenascope-trace.fe01.99 (deleted)\nRss: 4 kB\nAnonymous: 0 kB\nVmFlags: rd wr sh\n\
7ffc00000000-7ffc00021000 rw-p 00000000 00:00 0 [stack]\nRss: 16 kB\nAnonymous: 16 kB\nVmFlags: rd wr gd\n\
7ffc00100000-7ffc00104000 r--p 00000000 00:00 0 [vvar]\nRss: 0 kB\nVmFlags: rd io dd pf\n";

    #[test]
    fn what_the_program_wrote_is_read_and_what_is_ours_is_not() {
        let part = |start, end, sparse, filled| Part { start, end, sparse, filled };
        assert_eq!(
            parts(SMAPS, "/tmp/prog.1.ascope"),
            [
                part(0x5555_0000_2000, 0x5555_0000_3000, true, 4096),
                part(0x7f00_0000_0000, 0x7f00_4000_0000, true, 72 << 10),
                part(0x7f00_7000_0000, 0x7f00_7001_0000, false, 0x10000),
                part(0x7ffc_0000_0000, 0x7ffc_0002_1000, true, 16 << 10),
            ]
        );
        assert_eq!(parts("nonsense\n:\n1-2\nzz-1 rw-p", ""), []);
    }

    #[test]
    fn epoll_tells_what_it_keeps() {
        let text = "pos:\t0\nflags:\t02\ntfd:        5 events:       19 data:     7f1234567890  pos:0 ino:7 sdev:9\n";
        assert_eq!(epoll_words(text), [0x7f12_3456_7890]);
        assert!(epoll_words("tfd: 5 data: zz\ndata: 12\n").is_empty());
    }

    #[test]
    fn our_own_memory_is_read_whole_and_once() {
        let here: Vec<u8> = (0..3 * PIECE).map(|index| (index / PIECE) as u8 + 1).collect();
        let base = here.as_ptr() as u64;
        let memory = Memory::of(std::process::id(), Path::new("/none"), u64::MAX).expect("our own memory");
        let mut seen = 0;
        // Other tests change their memory meanwhile: an end that is gone is no matter here.
        let _ = memory.each(|at, bytes| {
            let (from, to) = (at.max(base), (at + bytes.len() as u64).min(base + here.len() as u64));
            seen += to.saturating_sub(from);
        });
        assert!(seen >= here.len() as u64, "{seen}");
        let limited = Memory::of(std::process::id(), Path::new("/none"), 4096);
        assert!(limited.is_err_and(|why| why.contains("--scan=")));
    }
}

//! Arenas of the library in this very process, found and read as an outsider would: the layout here is the library's.

use arenascope::fork::ShareArena;
use arenascope::{Arena, SharedArena};
use arenascope_headers::{Backing, Found, Limits, Mapping, Mappings, Memory, Place, Text, Unread, find};
use std::fs::File;
use std::mem::MaybeUninit;
use std::os::unix::fs::FileExt;
use std::rc::Rc;
use std::sync::{Mutex, MutexGuard};

/// This process, by /proc/self.
struct Own {
    mappings: Rc<Mappings>,
    memory: File,
    pages: File,
}

impl Own {
    fn new() -> Own {
        let text = std::fs::read_to_string("/proc/self/maps").expect("our mappings");
        let mappings = text.lines().map(|line| {
            let mut words = line.splitn(6, ' ');
            let mut next = || words.next().unwrap_or_default().trim();
            let (range, rights, offset, _, inode, path) = (next(), next(), next(), next(), next(), next());
            let (start, end) = range.split_once('-').expect("a range");
            let number = |text: &str| u64::from_str_radix(text, 16).expect("a number");
            let backing = match (inode, path) {
                ("0", "") | (_, "[heap]" | "[stack]") => Backing::Anonymous,
                ("0", _) => Backing::Special,
                (_, path) if path.starts_with("/memfd:arenascope") => {
                    Backing::Shared { name: path.to_owned(), identity: inode.parse().expect("a number") }
                }
                (_, path) => Backing::File { path: path.to_owned(), offset: number(offset) },
            };
            Mapping {
                start: number(start),
                end: number(end),
                readable: rights.starts_with('r'),
                writable: rights.get(1..2) == Some("w"),
                backing,
                own: false,
            }
        });
        let mappings = Rc::new(Mappings::new(mappings.collect()));
        let open = |path| File::open(path).expect("our own memory");
        Own { mappings, memory: open("/proc/self/mem"), pages: open("/proc/self/pagemap") }
    }
}

impl Memory for Own {
    fn mappings(&self) -> Rc<Mappings> {
        self.mappings.clone()
    }

    fn read(&self, at: u64, into: &mut [u8]) -> Result<(), Unread> {
        self.memory.read_exact_at(into, at).map_err(|_| Unread::Unmapped)
    }

    fn each_present(&self, start: u64, end: u64, visit: &mut dyn FnMut(u64, u64) -> bool) {
        let mut words = vec![0; 8 << 10];
        let mut at = start;
        while at < end {
            let pages = ((end - at) / 4096).min(1 << 10) as usize;
            let words = &mut words[..pages * 8];
            if self.pages.read_exact_at(words, at / 4096 * 8).is_err() {
                return;
            }
            for (index, word) in words.chunks_exact(8).enumerate() {
                let page = at + index as u64 * 4096;
                if word[7] & 0xc0 != 0 && !visit(page, page + 4096) {
                    return;
                }
            }
            at += pages as u64 * 4096;
        }
    }
}

/// The tests look at all memory of one process: one at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn seen(scan: u64) -> Found {
    find(&Own::new(), Limits { scan, widest: 64 << 30 })
}

#[test]
fn every_kind_of_arena_is_found_by_the_lists_and_says_what_it_says_itself() {
    let _alone = alone();
    let small = Arena::builder().name("small").capacity(100).build().expect("memory");
    small.alloc([7u8; 33]);
    let bounded =
        Arena::builder().static_name("a name of more than thirty-two bytes").capacity(1 << 20).build().expect("memory");
    bounded.alloc_slice_fill_copy(5000, 1u8);
    let mut growing = Arena::growing().expect("memory");
    let line = line!() - 1;
    growing.alloc_slice_fill_copy(3 << 20, 2u8);
    growing.reset();
    growing.alloc(5u64);
    let found = seen(0);
    assert_eq!(found.damaged, []);
    assert_eq!(found.searched.broken, [""; 0]);
    for arena in [&*small, &*bounded, &*growing] {
        let seen =
            found.arenas.iter().find(|seen| seen.id == arena.id()).unwrap_or_else(|| panic!("{arena:?}: {found:#?}"));
        let (parts, stats) = (arena.raw_parts(), arena.stats());
        assert_eq!(seen.address, &raw const *arena as u64);
        assert_eq!(
            (seen.base, seen.used, seen.capacity),
            (parts.base as u64, parts.offset as u64, parts.capacity as u64)
        );
        assert_eq!((seen.committed, seen.reserved), (parts.committed as u64, parts.reserved as u64));
        assert_eq!((seen.peak, seen.generation, seen.depth), (stats.peak_bytes as u64, stats.generation, stats.depth));
        assert_eq!((seen.commits, seen.refusals, seen.events), (stats.commits, stats.refusals, stats.events));
        assert_eq!(
            (seen.name.as_str(), seen.growing, seen.watched),
            (arena.name(), arena.is_growing(), arena.is_watched())
        );
        assert_eq!((seen.site.file.as_str(), seen.site.line, seen.site.column), arena.created_at());
        assert_eq!(seen.pid, std::process::id());
        assert!(seen.settled && seen.owner_tid != 0);
    }
    let place = |id| found.arenas.iter().find(|seen| seen.id == id).map(|seen| seen.place);
    assert!(matches!(place(small.id()), Some(Place::Slab(_))), "{found:#?}");
    assert_eq!(place(growing.id()), Some(Place::Alone));
    assert!(
        found.arenas.iter().any(|seen| seen.site.line == line && seen.site.file.as_str().ends_with("own_memory.rs"))
    );
    assert_eq!(growing.stats().generation, 1);
}

#[test]
fn what_has_ended_is_not_found_and_what_is_kept_is_counted() {
    let _alone = alone();
    let ids: Vec<u64> =
        (0..40).map(|i| Arena::init(if i % 2 == 0 { 100 } else { 1 << 20 }).expect("memory").id()).collect();
    let found = seen(1 << 30);
    assert!(found.arenas.iter().all(|arena| !ids.contains(&arena.id)), "{found:#?}");
    assert!(found.searched.kept > 0, "{found:#?}");
    assert_eq!(found.damaged, []);
}

#[test]
fn ten_thousand_small_arenas_are_all_found() {
    let _alone = alone();
    let arenas: Vec<_> = (0..10_000).map(|i| Arena::init(i % 4000).expect("memory")).collect();
    for arena in &arenas {
        let _ = arena.try_alloc(1u8);
    }
    let found = seen(0);
    for arena in &arenas {
        let at = found.arenas.binary_search_by_key(&arena.id(), |seen| seen.id).expect("found");
        let seen = &found.arenas[at];
        assert_eq!((seen.capacity, seen.used), (arena.capacity() as u64, arena.offset() as u64));
    }
}

#[test]
fn a_shared_arena_and_its_leases() {
    let _alone = alone();
    let arena = Arena::builder().name("together").capacity(8 << 20).build_shared().expect("memory");
    let barrier = std::sync::Barrier::new(41);
    std::thread::scope(|scope| {
        // More threads than the first row has berths.
        for thread in 0..40 {
            let (arena, barrier) = (&arena, &barrier);
            scope.spawn(move || {
                let local = arena.local();
                for _ in 0..=thread {
                    local.alloc([1u64; 16]);
                }
                barrier.wait();
                barrier.wait();
            });
        }
        barrier.wait();
        for limit in [0, 1 << 30] {
            let found = seen(limit);
            assert_eq!(found.damaged, []);
            let seen = found.shared.iter().find(|seen| seen.id == arena.id()).expect("found");
            let stats = arena.stats();
            assert_eq!(
                (seen.name.as_str(), seen.base, seen.capacity),
                ("together", arena.base() as u64, arena.capacity() as u64)
            );
            assert_eq!(
                (seen.leased, seen.lost, seen.generation),
                (stats.leased_bytes, stats.lost_bytes, stats.generation)
            );
            assert_eq!(seen.leases.iter().filter(|lease| lease.owner.is_some()).count(), stats.held);
            assert_eq!((seen.leases.len(), stats.held), (stats.berths, 40));
            let mut own: Vec<_> = arena
                .leases()
                .map(|l| (l.parts.base as u64, l.parts.offset as u64, l.parts.capacity as u64, l.owner))
                .collect();
            own.sort_unstable();
            let mut theirs: Vec<_> = seen.leases.iter().map(|l| (l.base, l.used, l.capacity, l.owner)).collect();
            theirs.sort_unstable();
            assert_eq!(theirs, own);
            assert!(
                found.arenas.iter().all(|own| seen.leases.iter().all(|lease| lease.address != own.address)),
                "a lease is no arena"
            );
        }
        barrier.wait();
    });
    let id = arena.id();
    drop(arena);
    assert!(seen(1 << 30).shared.iter().all(|seen| seen.id != id));
}

#[test]
fn growing_shared_arenas_reserve_and_use() {
    let _alone = alone();
    let mut arena = SharedArena::growing().expect("memory");
    arena.local().alloc([1u8; 1000]);
    arena.reset();
    let found = seen(0);
    let seen = found.shared.iter().find(|seen| seen.id == arena.id()).expect("found");
    assert!(seen.growing && seen.capacity >= 1 << 30 && seen.leased == 0 && seen.touched > 0, "{seen:#?}");
    assert_eq!((seen.generation, seen.used()), (1, 0));
}

#[test]
fn memory_between_processes() {
    let _alone = alone();
    let arena = ShareArena::init(1 << 20).expect("memory");
    let local = arena.local().expect("a handle");
    for _ in 0..100 {
        local.alloc([1u64; 4]).expect("room");
    }
    let found = seen(0);
    let walk = arena.check().expect("whole");
    let seen = found.between.iter().find(|seen| seen.leased == walk.leased_bytes).expect("found");
    assert_eq!((seen.capacity, seen.lost, seen.pid), (1 << 20, walk.lost_bytes, std::process::id()));
    assert_eq!(seen.leases.iter().filter(|lease| lease.owner.is_some()).count(), walk.held);
    assert_eq!(seen.used(), walk.leased_bytes - walk.unused_bytes - walk.lost_bytes);
    assert!(seen.identity != 0);
}

#[test]
fn arenas_in_buffers_are_found_by_reading_all_memory() {
    let _alone = alone();
    let mut memory = vec![MaybeUninit::uninit(); 10_000];
    let arena = Arena::in_buffer(&mut memory).expect("room");
    arena.alloc(1u32);
    let id = arena.id();
    assert!(seen(0).arenas.iter().all(|seen| seen.id != id));
    let found = seen(1 << 30);
    let seen_arena = found.arenas.iter().find(|seen| seen.id == id).expect("found");
    assert_eq!((seen_arena.place, seen_arena.used, seen_arena.capacity), (Place::Buffer, 8, arena.capacity() as u64));
    drop(arena);
    assert!(seen(1 << 30).arenas.iter().all(|seen| seen.id != id), "it has ended");
}

#[test]
fn a_header_that_is_copied_is_no_arena_and_no_damage() {
    let _alone = alone();
    let arena = Arena::init(5000).expect("memory");
    #[repr(align(128))]
    struct Copy([u8; 384]);
    let mut copy = Box::new(Copy([0; 384]));
    let own = Own::new();
    own.read(&raw const *arena as u64, &mut copy.0).expect("readable");
    let found = seen(1 << 30);
    assert_eq!(found.damaged, []);
    assert_eq!(found.arenas.iter().filter(|seen| seen.id == arena.id()).count(), 1);
    assert!(found.searched.copies >= 1, "{found:#?}");
    assert_ne!(copy.0[0], 0);
}

#[test]
fn an_arena_that_children_do_not_have_is_found_and_told_as_such() {
    let _alone = alone();
    // SAFETY: this process makes no child.
    #[allow(unsafe_code, reason = "memory that children do not have is promised not to be shared with one")]
    let arena = unsafe { Arena::builder().name("secrets").capacity(9000).build_wiped() }.expect("memory");
    arena.get().alloc(7u64);
    let found = seen(1 << 30);
    let seen = found.arenas.iter().find(|seen| seen.name == Text::Known("secrets".into())).expect("found");
    assert_eq!((seen.place, seen.used), (Place::NotForked, 8));
    assert_eq!(found.damaged, []);
}

#[test]
fn an_arena_in_a_scope_and_one_that_ran_out() {
    let _alone = alone();
    let mut arena = Arena::init(64).expect("memory");
    assert!(arena.try_alloc([0u8; 65]).is_err());
    let id = arena.id();
    arena.scope(|scope| {
        scope.alloc(1u64);
        let found = seen(0);
        let seen = found.arenas.iter().find(|seen| seen.id == id).expect("found");
        assert_eq!((seen.depth, seen.refusals, seen.used), (1, 1, 8));
    });
}

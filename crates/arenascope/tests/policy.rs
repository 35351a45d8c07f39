//! What each choice about an arena's memory does, seen through the kernel's eyes: pages there, faults taken, places in a page.
//! On x86 only: the numbers are those of pages of 4 KiB.
#![cfg(any(target_arch = "x86_64", target_arch = "x86"))]
#![allow(unsafe_code)] // Asks the kernel; writes into raw blocks.

use arenascope::{Arena, Builder, Colouring, CommitAhead, HugePages, OnReset, Populate};
use std::alloc::Layout;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
const PAGE: usize = 4 << 10;

fn fill(arena: &Arena, bytes: usize) {
    let block = arena.alloc_layout(Layout::from_size_align(bytes, 8).unwrap());
    // SAFETY: the block is ours.
    unsafe { block.as_ptr().write_bytes(0xFF, bytes) };
}

/// Bytes of `from..to` (from `base`) whose pages are there.
fn resident(arena: &Arena, from: usize, to: usize) -> usize {
    let start = (arena.base().addr() + from) & !(PAGE - 1);
    let end = (arena.base().addr() + to).next_multiple_of(PAGE);
    let mut pages = vec![0u8; (end - start) / PAGE];
    let start = std::ptr::without_provenance_mut::<libc::c_void>(start);
    // SAFETY: asks about pages of the arena's region; one byte for each.
    let asked = unsafe { libc::mincore(start, pages.len() * PAGE, pages.as_mut_ptr()) };
    assert_eq!(asked, 0, "{}", std::io::Error::last_os_error());
    pages.iter().filter(|page| **page & 1 == 1).count() * PAGE
}

/// Faults that this thread takes during `work`.
fn faults(work: impl FnOnce()) -> libc::c_long {
    let count = || {
        // SAFETY: plain numbers, filled by the call.
        unsafe {
            let mut usage: libc::rusage = std::mem::zeroed();
            libc::getrusage(libc::RUSAGE_THREAD, &mut usage);
            usage.ru_minflt
        }
    };
    let before = count();
    work();
    count() - before
}

/// Fresh from the system, in small pages.
fn fresh() -> Builder<'static> {
    Arena::builder().keep(false).huge_pages(HugePages::Never)
}

/// With transparent huge pages for everybody the kernel takes 2 MiB where a page was touched, and counts no faults for the rest.
fn pages_come_one_by_one() -> bool {
    let enabled = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").unwrap_or_default();
    let so = !enabled.contains("[always]");
    if !so {
        eprintln!("not tried: this system uses huge pages for everything");
    }
    so
}

#[test]
fn pages_come_when_they_are_touched_ahead_of_it_or_all_at_once() {
    if !pages_come_one_by_one() {
        return;
    }
    for capacity in [60 * KIB, MIB, 5 * MIB] {
        let made = |populate: Populate| fresh().populate(populate).capacity(capacity).build().unwrap();
        let (never, auto, always) = (made(Populate::Never), made(Populate::Auto), made(Populate::Always));
        assert!(resident(&never, 0, capacity) <= 2 * PAGE, "{capacity}");
        assert!(resident(&auto, 0, capacity) <= 20 * KIB, "{capacity}");
        assert!(resident(&always, 0, capacity) >= capacity, "{capacity}");
        assert!(always.raw_parts().committed >= capacity);

        // Populating counts as faults too: so the block is asked for first, and written while faults are counted.
        let pages = (capacity / PAGE) as libc::c_long;
        let [never, auto, always] = [never, auto, always].map(|arena| {
            let block = arena.alloc_uninit_slice::<u8>(capacity);
            faults(|| block.fill(std::mem::MaybeUninit::new(0xFF)))
        });
        assert!(never >= pages - 2 && auto < 4 && always < 4, "{capacity}: {never} {auto} {always}");
    }
    // Kept regions, and those of small arenas, may be in use and yet have pages that were never touched.
    for capacity in [60 * KIB, MIB] {
        drop(Arena::builder().populate(false).capacity(capacity).build().unwrap());
        let always = Arena::builder().populate(Populate::Always).capacity(capacity).build().unwrap();
        assert!(resident(&always, 0, capacity) >= capacity, "{capacity}");
        assert!(faults(|| fill(&always, capacity)) < 4, "{capacity}");
    }
    // Nobody knows where a growing arena ends.
    let growing = fresh().populate(Populate::Always).reserve(64 * MIB).build().unwrap();
    assert!(resident(&growing, 0, 64 * MIB) <= 20 * KIB);
    assert!(Arena::builder().populate(Populate::Always).capacity(0).build().is_ok());
}

#[test]
fn so_much_is_taken_ahead_as_was_said() {
    let committed = |ahead: CommitAhead, bytes: usize| {
        let arena = fresh().reserve(64 * MIB).commit_ahead(ahead).build().unwrap();
        fill(&arena, bytes);
        (arena.raw_parts().committed, arena.stats().commits)
    };
    // Header and colour lie in the first page too, and count from before the base.
    let slack = 2 * PAGE;
    for bytes in [1, 10_000, 300 * KIB, 3 * MIB] {
        for ahead in [0, 1, 100_000, MIB, 10 * MIB] {
            let (committed, commits) = committed(CommitAhead::Bytes(ahead), bytes);
            let least = if commits == 0 { ahead } else { bytes + ahead };
            assert!(
                (least.max(PAGE) - PAGE..bytes + ahead + slack).contains(&committed),
                "{bytes} {ahead} {committed}"
            );
        }
    }
    assert_eq!(committed(CommitAhead::Auto, 1).0 / PAGE, 3, "16 KiB, less the page with the header");
    // All that there is, and not more.
    let arena = fresh().reserve(MIB).commit_ahead(usize::MAX).build().unwrap();
    assert!((MIB..=MIB + slack).contains(&arena.raw_parts().committed));

    let steps = |ahead: CommitAhead| {
        let arena = fresh().reserve(64 * MIB).commit_ahead(ahead).build().unwrap();
        (0..8192).for_each(|_| fill(&arena, KIB));
        arena.stats().commits
    };
    let (none, auto, much) =
        (steps(CommitAhead::Bytes(0)), steps(CommitAhead::Auto), steps(CommitAhead::Bytes(4 * MIB)));
    assert!(none >= 2000 && (40..100).contains(&auto) && much <= 2, "{none} {auto} {much}");
}

#[test]
fn steps_of_any_size_end_with_whole_huge_pages() {
    for ahead in [0, 300 * KIB, 3 * MIB] {
        let arena = Arena::builder().keep(false).capacity(16 * MIB).commit_ahead(ahead).build().unwrap();
        for _ in 0..14 {
            fill(&arena, MIB);
            let end = arena.base().addr() + arena.raw_parts().committed;
            assert!(end.is_multiple_of(2 * MIB) || arena.raw_parts().committed >= 16 * MIB, "{ahead} {end:x}");
        }
    }
}

/// Whether the system has a huge page for whoever asks for one, now.
fn huge_pages_are_there() -> bool {
    let bytes = 4 * MIB;
    // SAFETY: a fresh mapping of this function's own, unmapped whole; `pages` has a byte for each page asked about.
    let there = unsafe {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let at = libc::mmap(std::ptr::null_mut(), bytes, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0);
        assert_ne!(at, libc::MAP_FAILED, "{}", std::io::Error::last_os_error());
        libc::madvise(at, bytes, libc::MADV_HUGEPAGE);
        let huge = at.byte_add(at.addr().next_multiple_of(2 * MIB) - at.addr());
        huge.cast::<u8>().write_volatile(1);
        let mut pages = [0u8; 2];
        let asked = libc::mincore(huge.byte_add(MIB), 2 * PAGE, pages.as_mut_ptr());
        libc::munmap(at, bytes);
        asked == 0 && pages[0] & 1 == 1
    };
    if !there {
        eprintln!("not tried: this system has no huge page to give");
    }
    there
}

#[test]
fn huge_pages_serve_the_first_byte_and_the_last_as_far_as_half_of_one_is_used() {
    if !huge_pages_are_there() {
        return;
    }
    let made = |choice, capacity| Arena::builder().keep(false).huge_pages(choice).capacity(capacity).build().unwrap();
    let always = made(HugePages::Always, 16 * MIB);
    assert!(resident(&always, 0, MIB) >= MIB, "the first page is a huge one");
    // The last huge page of these is used as to an eighth and as to seven eighths.
    let (little, much) = (made(HugePages::Auto, 6 * MIB + MIB / 2), made(HugePages::Auto, 8 * MIB));
    let committed = |arena: &Arena| {
        fill(arena, arena.capacity());
        arena.stats().committed_bytes
    };
    let (little, much) = (committed(&little), committed(&much));
    assert!((6 * MIB + MIB / 2..6 * MIB + MIB / 2 + 8 * KIB).contains(&little), "{little}");
    assert!((8 * MIB..8 * MIB + MIB).contains(&much) && much > 8 * MIB + MIB / 8, "{much}");
}

#[test]
fn arenas_begin_at_different_places_of_a_page_or_at_the_same() {
    for capacity in [1000, 60 * KIB, MIB, 8 * MIB] {
        let places = |colouring: Colouring| {
            let builder = Arena::builder().colouring(colouring).capacity(capacity);
            let arenas: Vec<_> = (0..20).map(|_| builder.build().unwrap()).collect();
            let mut places: Vec<_> = arenas.iter().map(|arena| arena.base().addr() % PAGE).collect();
            places.sort_unstable();
            places.dedup();
            places
        };
        assert!(places(Colouring::Auto).len() >= 10, "{capacity}");
        assert_eq!(places(Colouring::Never), [arenascope::HEADER_BYTES], "{capacity}");
        // What an arena without colour leaves is nobody else's.
        assert!(places(Colouring::Auto).len() >= 10, "{capacity}");
    }
}

#[test]
fn a_reset_keeps_memory_or_gives_it_back_small_arenas_too() {
    for capacity in [20 * KIB, 60 * KIB, MIB, 8 * MIB] {
        let used = capacity - 100;
        let after_reset = |on_reset: OnReset| {
            let builder = Arena::builder().huge_pages(HugePages::Never).on_reset(on_reset).capacity(capacity);
            let mut row: Vec<_> = (0..3).map(|_| builder.build().unwrap()).collect();
            for arena in &row {
                fill(arena, used);
            }
            row[1].reset();
            let left = resident(&row[1], 0, used);
            for neighbour in [&row[0], &row[2]] {
                assert_eq!(resident(neighbour, 0, used) / PAGE, (used + neighbour.base().addr() % PAGE).div_ceil(PAGE));
                // SAFETY: handed out and written above.
                let bytes = unsafe { std::slice::from_raw_parts(neighbour.base(), used) };
                assert!(bytes.iter().all(|byte| *byte == 0xFF), "{capacity}: a neighbour lost its bytes");
            }
            let zeroes = row[1].alloc_zeroed_slice::<u8>(used);
            assert!(zeroes.iter().all(|byte| *byte == 0));
            zeroes.fill(0xEE);
            assert_eq!(row[1].remaining() / 8, 100 / 8);
            left
        };
        assert!(after_reset(OnReset::Keep) >= used);
        let some = after_reset(OnReset::KeepUpTo(10_000));
        assert!((10_000..10_000 + 3 * PAGE).contains(&some), "{capacity}: {some}");
        let none = after_reset(OnReset::Release);
        assert!(none <= 2 * PAGE, "{capacity}: {none}");
    }
}

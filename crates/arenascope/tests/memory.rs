//! Where memory comes from and goes to, seen through the kernel's eyes. One test: it looks at the whole process.
#![allow(unsafe_code)] // fork, and raw blocks.

use arenascope::{Arena, HugePages, KeptLimits, OnReset, OwnedArena, kept, release_kept, set_kept_limits};
use std::alloc::Layout;
use std::collections::HashSet;

const MIB: usize = 1 << 20;

fn fill(arena: &Arena, bytes: usize) {
    let block = arena.alloc_layout(Layout::from_size_align(bytes, 8).unwrap());
    // SAFETY: the block is ours.
    unsafe { block.as_ptr().write_bytes(0xFF, bytes) };
}

/// The line of /proc/self/smaps that begins with `what`, in bytes, for the mapping that holds an address; None without one.
fn smaps(address: usize, what: &str) -> Option<usize> {
    let text = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let mut inside = false;
    for line in text.lines() {
        if let Some((range, _)) = line.split_once(' ').filter(|(first, _)| first.contains('-')) {
            let (from, to) = range.split_once('-').unwrap();
            let parse = |text| usize::from_str_radix(text, 16).unwrap();
            inside = (parse(from)..parse(to)).contains(&address);
        } else if inside && line.starts_with(what) {
            let kib: String = line.chars().filter(char::is_ascii_digit).collect();
            return Some(kib.parse::<usize>().unwrap() << 10);
        }
    }
    None
}

fn is_mapped(address: usize) -> bool {
    smaps(address, "Size").is_some()
}

fn faults() -> i64 {
    // SAFETY: plain numbers, filled by the call.
    unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &mut usage);
        usage.ru_minflt
    }
}

/// Runs `work` in a forked child; its exit status, or signal.
fn in_fork(work: impl FnOnce() -> i32) -> i32 {
    // SAFETY: the child runs `work`, which touches no lock of another thread, and leaves.
    unsafe {
        let pid = libc::fork();
        if pid == 0 {
            libc::syscall(libc::SYS_exit, work());
        }
        let mut status = 0;
        assert_eq!(libc::waitpid(pid, &mut status, 0), pid);
        status
    }
}

fn header_u32(arena: &Arena, at: usize) -> u32 {
    // SAFETY: documented fields of the header.
    unsafe { (&raw const *arena).cast::<u8>().add(at).cast::<u32>().read() }
}

#[test]
fn memory() {
    creating_and_destroying_costs_no_system_call_and_no_fault();
    what_is_kept_is_bounded_and_given_back();
    slabs_go_when_all_their_arenas_went();
    a_vast_arena_gives_its_memory_back();
    memory_that_says_zero_is_zero();
    neighbours_begin_at_different_places_of_a_page();
    large_regions_use_huge_pages_and_small_use_does_not();
    a_forked_child_has_its_own_number();
}

fn creating_and_destroying_costs_no_system_call_and_no_fault() {
    let cycle = || {
        for _ in 0..100 {
            fill(&Arena::init(16 << 10).unwrap(), 16 << 10);
            fill(&Arena::init(MIB).unwrap(), MIB);
            fill(&Arena::growing().unwrap(), MIB);
        }
    };
    cycle();
    let before = faults();
    cycle();
    assert!(faults() - before < 10, "{} faults", faults() - before);
    let status = in_fork(|| {
        cycle();
        // SAFETY: from here on the kernel kills at any call but read, write and exit.
        unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_STRICT) };
        cycle();
        0
    });
    assert_eq!(status, 0, "killed by signal {}", status & 0x7F);
}

fn what_is_kept_is_bounded_and_given_back() {
    release_kept();
    assert_eq!(kept(), KeptLimits { bytes: 0, count: 0 });
    set_kept_limits(KeptLimits { bytes: 300_000, count: 10 });
    let make = |capacity| -> Vec<OwnedArena> { (0..30).map(|_| Arena::init(capacity).unwrap()).collect() };
    drop(make(1000));
    assert_eq!(kept().count, 10);
    release_kept();
    drop(make(60_000));
    assert!(kept().count <= 4 && kept().bytes <= 300_000, "{:?}", kept());
    drop(make(200_000));
    assert!(kept().bytes <= 300_000, "{:?}", kept());
    set_kept_limits(KeptLimits { bytes: 0, count: 4096 });
    release_kept();
    drop(make(1000));
    drop(make(MIB));
    assert_eq!(kept().count, 0);
    set_kept_limits(KeptLimits { bytes: 64 << 20, count: 4096 });
}

fn slabs_go_when_all_their_arenas_went() {
    let addresses = std::thread::spawn(|| {
        let arenas: Vec<_> = (0..2000).map(|_| Arena::init(3000).unwrap()).collect();
        let addresses: Vec<usize> = arenas.iter().map(|arena| arena.base().addr()).collect();
        assert!(addresses.iter().all(|address| is_mapped_quick(*address)));
        // Half of them end here, half in another thread, and this thread ends before that one.
        let (here, there): (Vec<_>, Vec<_>) = arenas.into_iter().enumerate().partition(|(i, _)| i % 2 == 0);
        drop(here);
        (addresses, there)
    })
    .join()
    .unwrap();
    let (addresses, there) = addresses;
    assert!(addresses.iter().step_by(100).all(|address| is_mapped(*address)));
    std::thread::spawn(move || drop(there)).join().unwrap();
    for address in addresses.iter().step_by(50) {
        assert!(!is_mapped(*address), "{address:x}");
    }
}

/// Without reading files: the page is ours if its residence can be asked.
fn is_mapped_quick(address: usize) -> bool {
    let mut resident = 0u8;
    let page = std::ptr::without_provenance_mut::<libc::c_void>(address & !4095);
    // SAFETY: asks about one page.
    unsafe { libc::mincore(page, 4096, &mut resident) == 0 }
}

fn a_vast_arena_gives_its_memory_back() {
    release_kept();
    let arena = Arena::growing().unwrap();
    let address = arena.base().addr() + 200 * MIB;
    fill(&arena, 256 * MIB);
    assert!(is_mapped(address));
    drop(arena);
    assert!(kept().bytes <= 64 * MIB, "{:?}", kept());
    let mut resident = 1u8;
    let page = std::ptr::without_provenance_mut::<libc::c_void>(address & !4095);
    // SAFETY: asks about one page, which may be unmapped.
    let asked = unsafe { libc::mincore(page, 4096, &mut resident) };
    assert!(asked != 0 || resident & 1 == 0, "the page is still there");
    release_kept();
    assert!(!is_mapped(address));
}

fn memory_that_says_zero_is_zero() {
    let check = |arena: &Arena, bytes: usize| {
        let zeroes = arena.alloc_zeroed_slice::<u8>(bytes);
        assert!(zeroes.iter().all(|byte| *byte == 0), "{arena:?}");
        zeroes.fill(0xFF);
    };
    for on_reset in [OnReset::Keep, OnReset::KeepUpTo(10_000), OnReset::Release] {
        for huge_pages in [HugePages::Auto, HugePages::Never] {
            for capacity in [Some(3000), Some(60_000), Some(300_000), Some(5 * MIB), None] {
                let builder = Arena::builder().on_reset(on_reset).huge_pages(huge_pages);
                let builder = capacity.map_or(builder, |capacity| builder.capacity(capacity));
                let bytes = capacity.unwrap_or(3 * MIB) / 2;
                for _ in 0..3 {
                    // The same regions again and again, dirty to different heights.
                    let mut arena = builder.build().unwrap();
                    // What others left below the kept part stays dirt, though this arena has touched nothing.
                    arena.reset();
                    check(&arena, bytes / 3);
                    let place = arena.checkpoint();
                    fill(&arena, bytes / 2);
                    arena.rewind(&place).unwrap();
                    check(&arena, bytes / 4);
                    check(&arena, bytes);
                    arena.reset();
                    check(&arena, bytes);
                    check(&arena, bytes / 2);
                }
            }
        }
    }
}

fn neighbours_begin_at_different_places_of_a_page() {
    for capacity in [1000, 4096, 16 << 10, 60_000, MIB, 8 * MIB] {
        let arenas: Vec<_> = (0..32).map(|_| Arena::init(capacity).unwrap()).collect();
        let places: HashSet<usize> = arenas.iter().map(|arena| arena.base().addr() % 4096).collect();
        assert!(places.len() >= 16, "{capacity}: {} places", places.len());
    }
}

fn large_regions_use_huge_pages_and_small_use_does_not() {
    let enabled = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").unwrap_or_default();
    release_kept();
    let small = Arena::growing().unwrap();
    fill(&small, 100_000);
    let resident = smaps(small.base().addr(), "Rss").unwrap();
    assert!(resident < 400_000 || enabled.contains("[always]"), "{resident} bytes for 100,000");
    let large = Arena::growing().unwrap();
    fill(&large, 16 * MIB);
    let huge = smaps(large.base().addr() + 8 * MIB, "AnonHugePages").unwrap();
    if enabled.contains("[madvise]") || enabled.contains("[always]") {
        assert!(huge >= 12 * MIB, "{huge} bytes in huge pages");
    } else {
        eprintln!("not tried: no transparent huge pages here");
    }
    let never = Arena::builder().huge_pages(HugePages::Never).keep(false).build().unwrap();
    fill(&never, 16 * MIB);
    if !enabled.contains("[always]") {
        assert_eq!(smaps(never.base().addr() + 8 * MIB, "AnonHugePages"), Some(0));
    }
}

fn a_forked_child_has_its_own_number() {
    let arena = Arena::init(100).unwrap();
    assert_eq!(header_u32(&arena, 116), std::process::id());
    let status = in_fork(|| {
        let own = Arena::init(100).unwrap();
        // SAFETY: system calls without arguments.
        let (pid, tid) = unsafe { (libc::getpid(), libc::syscall(libc::SYS_gettid)) };
        i32::from(header_u32(&own, 116) != pid as u32 || header_u32(&own, 112) as i64 != tid)
    });
    assert_eq!(status, 0);
}

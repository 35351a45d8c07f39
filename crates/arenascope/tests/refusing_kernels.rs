//! Kernels that say no: each limit is set in a child process, which must find a way or an error, and never end up worse.
#![allow(unsafe_code)] // setrlimit.

use arenascope::{Arena, Error};
use std::alloc::Layout;
use std::process::{Command, ExitStatus};

/// Set for the child: which of the functions below it shall run.
const CHILD: &str = "ARENASCOPE_TEST_CHILD";

const MIB: usize = 1 << 20;

fn in_child(name: &str) -> ExitStatus {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture", "--test-threads", "1"])
        .env(CHILD, name)
        .status()
        .unwrap()
}

fn limit(what: libc::__rlimit_resource_t, bytes: usize) {
    let limit = libc::rlimit { rlim_cur: bytes as u64, rlim_max: bytes as u64 };
    // SAFETY: the struct is valid during the call.
    assert_eq!(unsafe { libc::setrlimit(what, &limit) }, 0);
}

fn used_address_space() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').next().unwrap().parse::<usize>().unwrap() * 4096
}

/// Fills an arena with blocks of 4 KiB until it refuses, and checks that what was had can be used; the bytes that it gave.
fn fill(arena: &Arena, at_most: usize) -> (usize, Option<Error>) {
    let layout = Layout::from_size_align(4096, 8).unwrap();
    let mut bytes = 0;
    while bytes < at_most {
        let before = arena.raw_parts();
        match arena.try_alloc_layout(layout) {
            // SAFETY: the block is ours.
            Ok(block) => unsafe { block.as_ptr().write_bytes(0xEE, 4096) },
            Err(error) => {
                assert_eq!(arena.raw_parts(), before, "a refusal changes nothing");
                return (bytes, Some(error));
            }
        }
        bytes += 4096;
    }
    (bytes, None)
}

/// Plays the child; does nothing when run as a test.
#[test]
fn child() {
    match std::env::var(CHILD).as_deref() {
        Ok("address space") => {
            // 300 MiB more than there is.
            limit(libc::RLIMIT_AS, used_address_space() + 300 * MIB);
            let arena = Arena::growing().unwrap();
            let reserved = arena.capacity();
            assert!((30 * MIB..100 * MIB).contains(&reserved), "a quarter of what fits: {reserved}");
            assert_eq!(fill(&arena, 25 * MIB), (25 * MIB, None));
            let (bytes, error) = fill(&arena, usize::MAX);
            assert_eq!(error, Some(Error::Full));
            assert!(bytes + 25 * MIB <= reserved && bytes + 25 * MIB + 4096 > reserved);
            // The program and further arenas have room.
            let others = (Arena::init(100 * MIB), Arena::growing(), Arena::growing());
            assert!(others.0.is_ok() && others.1.is_ok() && others.2.is_ok());
            assert!(matches!(Arena::init(400 * MIB), Err(Error::Os(12))));
            assert!(Arena::init(1000).is_ok(), "small arenas still find room");
        }
        Ok("no address space") => {
            limit(libc::RLIMIT_AS, used_address_space());
            assert!(matches!(Arena::growing(), Err(Error::Os(12))));
            assert!(matches!(Arena::init(10 * MIB), Err(Error::Os(12))));
        }
        Ok("writable memory") => {
            // Counts private writable pages, touched or not: the lazy way is refused, as with overcommit_memory = 2.
            limit(libc::RLIMIT_DATA, 64 * MIB);
            let arena = Arena::growing().unwrap();
            assert!(arena.capacity() > 60 << 30, "all addresses, and memory in steps");
            assert_eq!(arena.stats().source, "system, stepwise");
            let (bytes, error) = fill(&arena, usize::MAX);
            assert_eq!(error, Some(Error::Os(12)));
            assert!((30 * MIB..64 * MIB).contains(&bytes), "{bytes}");
            drop(arena);
            arenascope::release_kept();
            let bounded = Arena::init(100 * MIB).unwrap();
            assert_eq!(fill(&bounded, 20 * MIB), (20 * MIB, None), "memory that was given back can be had again");
        }
        Ok("cgroup") => {
            let arena = Arena::growing().unwrap();
            assert!(arena.capacity() > 60 << 30, "addresses cost nothing");
            assert_eq!(fill(&arena, 40 * MIB), (40 * MIB, None));
            let mut arena = arena;
            arena.reset();
            assert_eq!(fill(&arena, 40 * MIB), (40 * MIB, None));
        }
        Ok("cgroup, too much") => {
            let arena = Arena::growing().unwrap();
            let (bytes, error) = fill(&arena, 500 * MIB);
            // Where the kernel kills, this line is not reached.
            assert!(matches!(error, Some(Error::Os(_))) && bytes < 64 * MIB, "{bytes} {error:?}");
        }
        _ => {}
    }
}

#[test]
fn under_a_limit_on_addresses_a_growing_arena_leaves_room_for_others() {
    assert!(in_child("address space").success());
}

#[test]
fn without_any_addresses_creation_is_an_error() {
    assert!(in_child("no address space").success());
}

#[test]
fn a_limit_on_writable_memory_leaves_the_addresses_and_commits_in_steps() {
    assert!(in_child("writable memory").success());
}

/// A memory cgroup of 64 MiB for one child; None where we may not make one.
fn in_cgroup(name: &str) -> Option<ExitStatus> {
    let roots = [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")];
    let (root, file) = roots.into_iter().find(|(root, _)| std::path::Path::new(root).join("cgroup.procs").exists())?;
    let group = format!("{root}/arenascope-test-{}-{}", std::process::id(), name.len());
    std::fs::create_dir(&group).ok()?;
    let status = std::fs::write(format!("{group}/{file}"), (64 * MIB).to_string()).ok().map(|()| {
        Command::new("sh")
            .args(["-c", &format!("echo $$ > {group}/cgroup.procs && exec \"$0\" \"$@\"")])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--nocapture", "--test-threads", "1"])
            .env(CHILD, name)
            .status()
            .unwrap()
    });
    let _ = std::fs::remove_dir(&group);
    status
}

#[test]
fn in_a_memory_cgroup_addresses_are_free_and_memory_is_what_is_used() {
    match in_cgroup("cgroup") {
        Some(status) => assert!(status.success(), "{status}"),
        None => eprintln!("not tried: no memory cgroup can be made here"),
    }
}

#[test]
fn past_a_cgroup_the_kernel_refuses_or_kills_and_no_arena_can_help_that() {
    use std::os::unix::process::ExitStatusExt;
    match in_cgroup("cgroup, too much") {
        Some(status) => assert!(status.success() || status.signal() == Some(9), "{status}"),
        None => eprintln!("not tried: no memory cgroup can be made here"),
    }
}

#[test]
#[ignore = "switches the whole machine to overcommit_memory = 2 for a moment: as root, on a machine of your own"]
fn without_overcommit_addresses_are_taken_first_and_memory_is_charged_in_steps() {
    const MODE: &str = "/proc/sys/vm/overcommit_memory";
    let before = std::fs::read_to_string(MODE).unwrap();
    std::fs::write(MODE, "2").unwrap();
    let made = std::panic::catch_unwind(|| {
        let arena = Arena::growing().unwrap();
        (fill(&arena, 10 * MIB), arena.stats().source)
    });
    std::fs::write(MODE, before).unwrap();
    assert_eq!(made.unwrap(), ((10 * MIB, None), "system, stepwise"));
}

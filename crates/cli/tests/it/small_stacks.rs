//! Hooked calls on small stacks: alternate signal stacks and coroutines run as they do without us, and are recorded.

use crate::harness::{Place, count};

/// What is watched: named, since it is `main` that makes the arena, by assignment.
const ROLES: [&str; 4] = ["--alloc", "arena_alloc(arena, size) -> block", "--reset", "arena_reset(arena)"];

fn same_and_recorded(arguments: &[&str], allocations: usize) {
    for flags in [&["-O0"][..], &["-O2", "-fno-inline"], &["-O2", "-fno-inline", "-g0"]] {
        let place = Place::new();
        let program = place.cc("small_stacks.c", flags);
        let plain = place.plain(&program, arguments);
        assert_eq!(plain.status, 0, "{flags:?} {arguments:?}: the program itself needs more: {plain:?}");
        let (watched, words) = place.watch(&ROLES, &program, arguments);
        assert!(
            plain == watched,
            "{flags:?} {arguments:?}: plain\n{plain:?}\nwatched\n{watched:?}\nour words\n{words}"
        );
        assert!(!words.contains("LOST"), "{words}");
        assert_eq!(place.traces().len(), 1, "{words}");
        assert_eq!(count(&place.log(&place.trace()), "alloc"), allocations, "{words}");
    }
}

#[test]
fn a_handler_on_an_alternate_stack_of_8_kib_or_less() {
    same_and_recorded(&["signal", "8192"], 1000);
    // The kernel's own signal frame is 1 to 3.4 KiB of that, after the CPU's vector registers.
    same_and_recorded(&["signal", "5120"], 1000);
}

#[test]
fn a_coroutine_on_3_kib() {
    same_and_recorded(&["coroutine", "3072"], 50_000);
}

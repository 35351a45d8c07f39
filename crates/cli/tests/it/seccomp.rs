//! Programs that forbid themselves system calls live as long as they do without us.

use crate::harness::{Place, count};

#[test]
fn walled_in_by_strict_mode_or_a_filter() {
    for flags in [&["-O0"][..], &["-O2"]] {
        for arguments in [&["strict"][..], &["prctl"], &["syscall"], &["probe"], &["prctl", "die"], &["strict", "die"]]
        {
            let place = Place::new();
            let program = place.cc("seccomp.c", flags);
            let plain = place.plain(&program, arguments);
            assert!(matches!(plain.stdout.as_str(), "walled in\n" | "probed\n"), "{arguments:?}: {plain:?}");
            let roles = ["--alloc", "arena_alloc(arena, size) -> block", "--reset", "arena_reset(arena)"];
            let (watched, words) = place.watch(&roles, &program, arguments);
            assert!(plain == watched, "{flags:?} {arguments:?}: {plain:?}\nwatched\n{watched:?}\nour words\n{words}");
            assert_eq!(place.traces().len(), 1, "{words}");
            let events = place.log(&place.trace());
            assert_eq!(count(&events, "alloc"), 100_002, "{flags:?} {arguments:?}: {words}");
        }
    }
}

//! The Rust part of a program in two languages; `part.c` is the other. Ends with a line, or panics with what is broken.
#![allow(unsafe_code)] // Calls C.

use arenascope_capi::arenascope::{Arena, Event, EventKind, OBSERVER_VERSION, Observer, OwnedArena};
use std::ffi::c_void;
use std::ptr::NonNull;
use std::sync::Mutex;

/// What the C part made: a list in the arena, newest first.
#[repr(C)]
struct Node {
    next: *const Node,
    value: u64,
}

// C knows the header's documented fields, and nothing of what follows them.
#[allow(improper_ctypes)]
unsafe extern "C" {
    fn part_push(arena: *const Arena, list: *const Node, value: u64) -> *const Node;
    fn part_fill(arena: *const Arena) -> usize;
    fn part_make(capacity: usize) -> *mut Arena;
    fn part_destroy(arena: *mut Arena);
    fn part_back(arena: *const Arena) -> i32;
}

static SEEN: Mutex<Vec<(u32, usize, String, u32)>> = Mutex::new(Vec::new());

unsafe extern "C" fn see(_: *mut c_void, event: *const Event) {
    // SAFETY: the arena passes a valid event with a file of valid UTF-8.
    let (event, file) = unsafe {
        let event = &*event;
        let file = if event.file.is_null() {
            ""
        } else {
            std::str::from_utf8_unchecked(std::slice::from_raw_parts(event.file, event.file_bytes as usize))
        };
        (event, file)
    };
    let file = file.rsplit('/').next().unwrap_or("");
    SEEN.lock().unwrap().push((event.kind.0, event.size, file.to_owned(), event.line));
}

static OBSERVER: Observer = Observer {
    version: OBSERVER_VERSION,
    table_bytes: size_of::<Observer>() as u32,
    context: std::ptr::null_mut(),
    event: see,
    sample_bytes: 0,
    next_sample: None,
    check: None,
};

fn main() {
    // Both push onto one list in one arena, by turns.
    let arena = Arena::builder().name("shared").capacity(4096).build().unwrap();
    let mut list: *const Node = std::ptr::null();
    for value in 0..40 {
        // SAFETY: the arena lives, and its blocks stay.
        list = if value % 2 == 0 {
            unsafe { part_push(&*arena, list, value) }
        } else {
            arena.alloc(Node { next: list, value })
        };
        assert_eq!(arena.offset(), (value as usize + 1) * size_of::<Node>());
        assert_eq!(arena.offset_of(list), Some(value as usize * size_of::<Node>()));
    }
    let mut expected = 40;
    while !list.is_null() {
        expected -= 1;
        // SAFETY: every node lies in the arena.
        let node = unsafe { &*list };
        assert_eq!(node.value, expected);
        list = node.next;
    }
    assert_eq!(expected, 0);

    // The C part marks, allocates, and rewinds; Rust sees it.
    let (offset, generation) = (arena.offset(), arena.stats().generation);
    // SAFETY: C refers to nothing that it gave back.
    assert_eq!(unsafe { part_back(&*arena) }, 0);
    assert_eq!((arena.offset(), arena.stats().generation), (offset, generation + 1));

    // The C part's calls reach a Rust observer with C's lines, Rust's with Rust's.
    // SAFETY: the observer may be called from here, and lives forever.
    unsafe { arena.observe(Some(&OBSERVER)) };
    arena.alloc(1u32);
    // SAFETY: as above.
    let left = unsafe { part_fill(&*arena) };
    assert_eq!(left, 0);
    assert!(arena.try_alloc(1u8).is_err());
    // SAFETY: ends it.
    unsafe { arena.observe(None) };
    let seen = std::mem::take(&mut *SEEN.lock().unwrap());
    assert_eq!(seen[0].0, EventKind::ALLOC.0);
    assert_eq!((seen[0].1, seen[0].2.as_str()), (4, "mixed.rs"));
    assert!(seen[1..seen.len() - 1].iter().all(|event| event.2 == "part.c" && event.3 > 10), "{seen:?}");
    assert_eq!(seen[seen.len() - 2].0, EventKind::REFUSED.0);
    assert_eq!(seen[seen.len() - 1].2, "mixed.rs");
    drop(arena);

    // Made in C, ended in Rust; and the other way round.
    // SAFETY: fresh, and nobody else owns it.
    let made = unsafe { OwnedArena::from_raw(NonNull::new(part_make(100)).unwrap()) };
    assert_eq!((made.capacity(), made.name()), (100, "made"));
    let (file, line, _) = made.created_at();
    assert!(file.ends_with("part.c") && line > 10, "{file}:{line}");
    made.alloc([7u8; 100]);
    drop(made);
    let lent = Arena::init(50).unwrap().into_raw();
    // SAFETY: handed over.
    unsafe { part_destroy(lent.as_ptr()) };
    println!("one arena, two languages");
}

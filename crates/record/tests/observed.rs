//! The library's structures as this crate mirrors them: field by field those of the library itself.

#![allow(unsafe_code, reason = "reads words of a living header")]

use arenascope::{Arena, CheckKind, Event, EventKind, OBSERVER_VERSION, Observer};
use arenascope_record::{CheckRequest, LibraryEvent, ObserverTable, check_kind, library_kind};
use std::mem::offset_of;

macro_rules! same_places {
    ($ours:ty, $theirs:ty: $($field:ident)*) => {
        $(assert_eq!(offset_of!($ours, $field), offset_of!($theirs, $field), stringify!($field));)*
    };
}

#[test]
fn the_observer_s_table_is_the_library_s() {
    assert_eq!(arenascope_record::OBSERVER_VERSION, OBSERVER_VERSION);
    assert_eq!(size_of::<ObserverTable>(), size_of::<Observer>());
    same_places!(ObserverTable, Observer: version table_bytes context event sample_bytes next_sample check);
}

#[test]
fn an_event_is_the_library_s() {
    assert_eq!(size_of::<LibraryEvent>(), size_of::<Event>());
    same_places!(LibraryEvent, Event: kind event_bytes number arena arena_id block size align old_block old_size offset
        generation depth line file file_bytes column);
    let kinds = [
        (library_kind::CREATE, EventKind::CREATE),
        (library_kind::ALLOC, EventKind::ALLOC),
        (library_kind::RESIZE, EventKind::RESIZE),
        (library_kind::FREE, EventKind::FREE),
        (library_kind::SCOPE_ENTER, EventKind::SCOPE_ENTER),
        (library_kind::SCOPE_EXIT, EventKind::SCOPE_EXIT),
        (library_kind::CHECKPOINT, EventKind::CHECKPOINT),
        (library_kind::REWIND, EventKind::REWIND),
        (library_kind::RESET, EventKind::RESET),
        (library_kind::DESTROY, EventKind::DESTROY),
        (library_kind::REFUSED, EventKind::REFUSED),
        (library_kind::LEASE, EventKind::LEASE),
        (library_kind::INHERITED, EventKind::INHERITED),
        (library_kind::GROWN, EventKind::GROWN),
        (library_kind::ENDED, EventKind::ENDED),
    ];
    for (ours, theirs) in kinds {
        assert_eq!(ours, theirs.0);
    }
}

#[test]
fn a_question_of_check_mode_is_the_library_s() {
    assert_eq!(size_of::<CheckRequest>(), size_of::<arenascope::CheckRequest>());
    same_places!(CheckRequest, arenascope::CheckRequest: kind request_bytes arena place block size align old_block old_size checker);
    let kinds = [
        (check_kind::CREATE, CheckKind::CREATE),
        (check_kind::ALLOC, CheckKind::ALLOC),
        (check_kind::PLACE, CheckKind::PLACE),
        (check_kind::RESIZE, CheckKind::RESIZE),
        (check_kind::FREE, CheckKind::FREE),
        (check_kind::BACK, CheckKind::BACK),
        (check_kind::RESET, CheckKind::RESET),
        (check_kind::DESTROY, CheckKind::DESTROY),
        (check_kind::INSIDE, CheckKind::INSIDE),
        (check_kind::SHOW, CheckKind::SHOW),
        (check_kind::LOOK, CheckKind::LOOK),
    ];
    for (ours, theirs) in kinds {
        assert_eq!(ours, theirs.0);
    }
}

/// The header is read by offsets that `arenascope::header` documents and holds by assertions of its own; here through the public face.
#[test]
fn the_header_s_words_are_where_they_are_read() {
    let arena = Arena::builder().name("a name").capacity(1000).build().unwrap();
    let word = |at: usize| {
        let header: *const Arena = &*arena;
        // SAFETY: aligned words of a living header of 384 bytes.
        unsafe { header.cast::<u8>().add(at).cast::<u64>().read_volatile() }
    };
    assert_eq!(word(0).to_le_bytes(), *b"ARENASC1");
    assert_eq!(word(8) as u32, arenascope::header::LAYOUT_VERSION);
    assert_eq!(word(24), arena.base() as u64);
    assert_eq!(word(64), 1000);
    assert_eq!(word(152) as u32, 6);
}

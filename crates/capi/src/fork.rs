//! The fork policies `wipe` and `absent` from C.
//!
//! May be relied on: the handles are safe to have in a child; each notices by itself that it is in one. Deliberately absent: `share` (module
//! `share`), and `copy`, which is what every arena does.
#![allow(unsafe_code)] // Hands arenas over as pointers.

use crate::create::{Options, builder, with_options};
use crate::errno;
use crate::heap;
use crate::site::Site;
use arenascope::fork::{AbsentArena, WipeArena};
use arenascope::{Arena, Observer};
use core::cell::Cell;
use core::ptr::NonNull;

/// `ascope_wiped`, opaque to C.
pub struct Wiped {
    arena: WipeArena,
    site: Site,
    observer: *const Observer,
    /// The generation whose header knows site and observer.
    known: Cell<Option<u64>>,
}

impl Wiped {
    /// The arena, revived where needed.
    fn get(&self) -> &Arena {
        let generation = self.arena.generation();
        let arena = self.arena.get();
        if self.known.get() != Some(generation) {
            self.known.set(Some(generation));
            self.site.write_to(arena);
            watch(arena, self.observer);
        }
        arena
    }
}

fn watch(arena: &Arena, observer: *const Observer) {
    // SAFETY: who gave the observer promised that it lives as long as the arena.
    if let Some(observer) = unsafe { observer.as_ref() } {
        // SAFETY: as above.
        unsafe { arena.observe(Some(observer)) };
    }
}

/// Makes an arena that is empty and new in a child; null and `errno` when it cannot be had.
///
/// # Safety
/// As [`ascope_create`](crate::ascope_create); in a child nobody uses what was allocated before the fork, nor the arena but by
/// [`ascope_wiped_arena`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ascope_wiped_create(asked: *const Options) -> *mut Wiped {
    let make = |options: &Options, site: Site| {
        // SAFETY: the caller's condition; the name is copied.
        let arena = unsafe { builder(options).build_wiped()? };
        let wiped = heap::put(Wiped { arena, site, observer: options.observer, known: Cell::new(None) })?;
        // SAFETY: made a line ago.
        unsafe { wiped.as_ref() }.get();
        Ok(wiped.as_ptr())
    };
    // SAFETY: the caller's condition.
    unsafe { with_options(asked, make) }
}

/// The arena: as it was left, or, when this is asked for the first time in a child, empty and new.
///
/// # Safety
/// The handle lives, and no other thread uses it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ascope_wiped_arena(wiped: *mut Wiped) -> *mut Arena {
    let Some(wiped) = NonNull::new(wiped) else { return errno::refuse(errno::EINVAL) };
    // SAFETY: the caller's condition.
    core::ptr::from_ref(unsafe { wiped.as_ref() }.get()).cast_mut()
}

/// Forks that the handle has gone through as the child's. Null: 0.
///
/// # Safety
/// As [`ascope_wiped_arena`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ascope_wiped_generation(wiped: *mut Wiped) -> u64 {
    // SAFETY: the caller's condition.
    unsafe { wiped.as_ref() }.map_or(0, |wiped| wiped.arena.generation())
}

/// Ends the arena and its handle, in this process. Null: nothing happens.
///
/// # Safety
/// The handle lives, and nobody uses it, its arena or its blocks any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ascope_wiped_destroy(wiped: *mut Wiped) {
    // SAFETY: the caller's condition.
    unsafe { heap::end(wiped) }
}

/// `ascope_absent`, opaque to C.
pub struct Absent(AbsentArena);

/// Makes an arena that children do not have; null and `errno` when it cannot be had.
///
/// # Safety
/// As [`ascope_create`](crate::ascope_create); in a child nobody uses the arena or what was allocated in it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ascope_absent_create(asked: *const Options) -> *mut Absent {
    let make = |options: &Options, site: Site| {
        // SAFETY: the caller's condition; the name is copied.
        let absent = unsafe { builder(options).build_absent()? };
        if let Some(arena) = absent.get() {
            site.write_to(arena);
            watch(arena, options.observer);
        }
        Ok(heap::put(Absent(absent))?.as_ptr())
    };
    // SAFETY: the caller's condition.
    unsafe { with_options(asked, make) }
}

/// The arena; null, errno untouched, in a child.
///
/// # Safety
/// The handle lives.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ascope_absent_arena(absent: *mut Absent) -> *mut Arena {
    let Some(absent) = NonNull::new(absent) else { return errno::refuse(errno::EINVAL) };
    // SAFETY: the caller's condition.
    let arena = unsafe { absent.as_ref() }.0.get();
    arena.map_or(core::ptr::null_mut(), |arena| core::ptr::from_ref(arena).cast_mut())
}

/// Ends the arena and its handle; in a child, the handle. Null: nothing happens.
///
/// # Safety
/// The handle lives, and nobody uses it, its arena or its blocks any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ascope_absent_destroy(absent: *mut Absent) {
    // SAFETY: the caller's condition.
    unsafe { heap::end(absent) }
}

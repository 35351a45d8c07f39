//! How a C program makes an arena and ends it.
//!
//! May be relied on: NULL leaves nothing behind, and `errno` says why. Deliberately absent: memory sources written in C.
#![allow(unsafe_code)] // Reads what C passes; hands arenas over as pointers.

use crate::errno;
use crate::site::{Site, text, with_first_site, with_last_site};
use arenascope::header::LAYOUT_VERSION;
use arenascope::{
    Arena, Builder, Colouring, CommitAhead, Error, Heap, HugePages, Observer, OnReset, OwnedArena, Populate, raw,
};
use core::ffi::c_char;
use core::mem::{ManuallyDrop, MaybeUninit};
use core::ptr::NonNull;

/// `ascope_options`: all that can be chosen about an arena. Zero is every field's default.
#[repr(C)]
pub struct Options {
    /// `sizeof(ascope_options)` of the caller's header.
    pub options_bytes: usize,
    /// `ASCOPE_LAYOUT_VERSION` of the caller's header.
    pub layout_version: u32,
    /// See [`options`].
    pub flags: u32,
    /// The exact bound in bytes; without meaning for a growing arena.
    pub capacity: usize,
    /// For a growing arena: bytes of addresses to reserve; 0: the library's choice.
    pub reserve: usize,
    /// For [`options::KEEP_UP_TO`]: bytes that a reset keeps.
    pub keep_bytes: usize,
    /// Null, or a terminated name; the header keeps its first 32 bytes.
    pub name: *const c_char,
    /// Null, or the creation site's file; lives as long as the arena.
    pub file: *const c_char,
    /// Null, or an observer that lives as long as the arena: watches it from its creation on.
    pub observer: *const Observer,
    /// The creation site's line, from 1; 0 when not known.
    pub line: u32,
    /// Bytes taken into use beyond what is needed, when the arena grows; 0: the library's choice.
    pub commit_ahead: usize,
}

/// Bits of [`Options::flags`].
pub mod options {
    /// The arena grows in place; without it, `capacity` bounds it.
    pub const GROWING: u32 = 1;
    /// Small pages only.
    pub const SMALL_PAGES: u32 = 2;
    /// Huge pages from the first byte on.
    pub const HUGE_PAGES: u32 = 4;
    /// Pages come one by one, when touched.
    pub const NO_POPULATE: u32 = 8;
    /// Memory fresh from the system, and back there at the end.
    pub const NO_KEEP: u32 = 16;
    /// Memory from the program's malloc.
    pub const HEAP: u32 = 32;
    /// A reset keeps the first `keep_bytes`.
    pub const KEEP_UP_TO: u32 = 64;
    /// A reset gives all whole pages back.
    pub const RELEASE: u32 = 128;
    /// The arena begins with its page, and not at a place of its own in it.
    pub const NO_COLOUR: u32 = 256;
    /// All pages of a bounded arena are taken when it is made.
    pub const POPULATE_ALL: u32 = 512;
}

impl Options {
    const fn plain(capacity: usize, flags: u32) -> Options {
        Options {
            options_bytes: size_of::<Options>(),
            layout_version: LAYOUT_VERSION,
            flags,
            capacity,
            reserve: 0,
            keep_bytes: 0,
            name: core::ptr::null(),
            file: core::ptr::null(),
            observer: core::ptr::null(),
            line: 0,
            commit_ahead: 0,
        }
    }

    /// The options of an older, shorter struct: the rest stays at its default.
    ///
    /// # Safety
    /// There are `bytes` bytes at `asked`, fewer than ours.
    #[cold]
    unsafe fn shorter(asked: *const u8, bytes: usize) -> Options {
        let mut options = Options::plain(0, 0);
        // SAFETY: the caller's condition; any bytes are valid for the fields.
        unsafe { core::ptr::copy_nonoverlapping(asked, (&raw mut options).cast::<u8>(), bytes) };
        options
    }
}

/// Makes an arena; null and `errno` when it cannot be had.
///
/// # Safety
/// `asked` points to `ascope_options` of the size that it states, with strings and an observer as described there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ascope_create(asked: *const Options) -> *mut Arena {
    // SAFETY: the caller's condition.
    unsafe {
        with_options(asked, |options, site| create(options, site).map(|arena| core::ptr::from_ref(arena).cast_mut()))
    }
}

/// What `make` makes of the options and the site in them; null, with errno, when they or it are refused.
///
/// # Safety
/// As [`ascope_create`].
#[inline]
pub(crate) unsafe fn with_options<T>(
    asked: *const Options,
    make: impl FnOnce(&Options, Site) -> Result<*mut T, Error>,
) -> *mut T {
    if asked.is_null() {
        return errno::refuse(errno::EINVAL);
    }
    // SAFETY: the first field is there in every version.
    let bytes = unsafe { (&raw const (*asked).options_bytes).read() };
    let older;
    let options = if bytes >= size_of::<Options>() {
        // SAFETY: the caller states that all our fields are there. They are plain numbers and pointers, for which any bytes are
        // valid. Of a larger, newer struct we read what we know.
        unsafe { &*asked }
    } else {
        // SAFETY: the caller states how many bytes there are.
        older = unsafe { Options::shorter(asked.cast(), bytes) };
        &older
    };
    if options.layout_version != LAYOUT_VERSION {
        return errno::refuse(errno::ENOTSUP);
    }
    // SAFETY: the caller's condition.
    let site = unsafe { Site::new(options.file, options.line) };
    match make(options, site) {
        Ok(made) => made,
        Err(error) => errno::refuse(errno::of(error)),
    }
}

/// # Safety
/// As [`ascope_create`].
#[inline]
pub(crate) unsafe fn create(options: &Options, site: Site) -> Result<&'static Arena, Error> {
    // SAFETY: the caller's condition.
    let builder = unsafe { builder(options) };
    with_first_site(options.observer, site, |observer| observed(builder, observer).build().map(hand_over))
}

/// All that the options say, but for site and observer.
///
/// # Safety
/// The name is null or a terminated string that lives as long as the builder.
#[inline]
pub(crate) unsafe fn builder<'n>(options: &Options) -> Builder<'n> {
    use self::options as bit;
    let has = |flag: u32| options.flags & flag != 0;
    // SAFETY: the caller's condition; the builder copies the name.
    let mut builder = Arena::builder()
        .name(unsafe { text(options.name) })
        .huge_pages(match (has(bit::SMALL_PAGES), has(bit::HUGE_PAGES)) {
            (true, _) => HugePages::Never,
            (_, true) => HugePages::Always,
            _ => HugePages::Auto,
        })
        .populate(match (has(bit::NO_POPULATE), has(bit::POPULATE_ALL)) {
            (true, _) => Populate::Never,
            (_, true) => Populate::Always,
            _ => Populate::Auto,
        })
        .commit_ahead(match options.commit_ahead {
            0 => CommitAhead::Auto,
            bytes => CommitAhead::Bytes(bytes),
        })
        .colouring(if has(bit::NO_COLOUR) { Colouring::Never } else { Colouring::Auto })
        .keep(!has(bit::NO_KEEP))
        .on_reset(match (has(bit::RELEASE), has(bit::KEEP_UP_TO)) {
            (true, _) => OnReset::Release,
            (_, true) => OnReset::KeepUpTo(options.keep_bytes),
            _ => OnReset::Keep,
        });
    builder = if has(bit::GROWING) { builder.reserve(options.reserve) } else { builder.capacity(options.capacity) };
    if has(bit::HEAP) {
        builder = builder.source(&Heap);
    }
    builder
}

/// An arena of exactly `capacity` bytes, without a creation site: for callers that do not include the header.
#[unsafe(no_mangle)]
pub extern "C" fn ascope_init(capacity: usize) -> *mut Arena {
    let options = Options::plain(capacity, 0);
    // SAFETY: no strings, no observer.
    give(unsafe { create(&options, Site::UNKNOWN) })
}

/// An arena that grows, without a creation site: for callers that do not include the header.
#[unsafe(no_mangle)]
pub extern "C" fn ascope_growing() -> *mut Arena {
    let options = Options::plain(0, options::GROWING);
    // SAFETY: no strings, no observer.
    give(unsafe { create(&options, Site::UNKNOWN) })
}

/// An arena in the caller's memory; null and `errno` when the header does not fit.
///
/// # Safety
/// The `bytes` bytes at `buffer` are writable, and nobody else uses them until the arena is destroyed. `file` as in [`Options`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ascope_in_buffer_at(
    buffer: *mut u8,
    bytes: usize,
    file: *const c_char,
    line: u32,
) -> *mut Arena {
    if buffer.is_null() || bytes > isize::MAX as usize {
        return errno::refuse(errno::EINVAL);
    }
    // SAFETY: the caller's condition.
    let site = unsafe { Site::new(file, line) };
    // SAFETY: the caller's condition; 'static stands for "until it is destroyed".
    let buffer = unsafe { core::slice::from_raw_parts_mut(buffer.cast::<MaybeUninit<u8>>(), bytes) };
    give(with_first_site(core::ptr::null(), site, |observer| {
        let builder = observed(Arena::builder(), observer);
        raw::in_buffer(buffer, &builder).map(hand_over)
    }))
}

/// The builder with the observer that a site's relay gave it.
fn observed<'n>(builder: Builder<'n>, observer: Option<&'static Observer>) -> Builder<'n> {
    match observer {
        // SAFETY: the relay passes events on to an observer whose owner promised that it may be called while arenas are watched.
        Some(observer) => unsafe { builder.observer(observer) },
        None => builder,
    }
}

/// Ends an arena, and gives its memory back. Null, or an arena that something else ends: nothing happens.
///
/// # Safety
/// The arena lives, and nobody uses it or its blocks any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ascope_destroy(arena: *mut Arena) {
    // SAFETY: the caller's condition.
    unsafe { ascope_destroy_at(arena, core::ptr::null(), 0) }
}

/// As [`ascope_destroy`], from a line.
///
/// # Safety
/// As there; `file` as in [`Options`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ascope_destroy_at(arena: *mut Arena, file: *const c_char, line: u32) {
    let Some(header) = NonNull::new(arena) else { return };
    // SAFETY: a living arena (the caller's condition).
    if raw::is_ended_by_another(unsafe { header.as_ref() }) {
        return;
    }
    // SAFETY: a living arena, and only we own it from here on (the caller's condition).
    unsafe {
        let site = Site::new(file, line);
        with_last_site(header, site, || drop(OwnedArena::from_raw(header)));
    }
}

/// From here on the arena belongs to C.
fn hand_over(arena: OwnedArena) -> &'static Arena {
    // SAFETY: the header lives until `ascope_destroy`, after which C may not use it.
    unsafe { arena.into_raw().as_ref() }
}

fn give(made: Result<&'static Arena, Error>) -> *mut Arena {
    match made {
        Ok(arena) => core::ptr::from_ref(arena).cast_mut(),
        Err(error) => errno::refuse(errno::of(error)),
    }
}

/// The handle that some calls of the Rust side want, without its drop.
///
/// # Safety
/// The arena lives.
pub(crate) unsafe fn owned(arena: NonNull<Arena>) -> ManuallyDrop<OwnedArena> {
    // SAFETY: the caller's condition; never dropped.
    ManuallyDrop::new(unsafe { OwnedArena::from_raw(arena) })
}

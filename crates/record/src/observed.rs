//! Events of the arena library, as it tells them to an observer, become records.
//!
//! May be relied on: one event of the library is one record (two where an arena is new or its bounds moved); the order among
//! an arena's records is that of its events. The library's structures are mirrored here field by field, since this crate and
//! that one import nothing of each other; a test holds them equal. Absent on purpose: who calls this, and how the library is found.
#![allow(
    unsafe_code,
    reason = "reads the event, the arena's header and the file's name, which the library lends for a call"
)]

use crate::arenas::Entry;
use crate::recorder::{Recorder, sample_bytes};
use crate::sites::{CallFrame, Place};
use crate::thread::Thread;
use arenascope_event::{BoundsKind, CaptureReason};
use arenascope_trace::Record;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Version of the library's observer table that is understood here.
pub const OBSERVER_VERSION: u32 = 2;
/// Layout of the library's headers that is understood here; of others only events are.
const LAYOUT_VERSION: u32 = 2;
/// Longest name read from a header, bytes.
const NAME_BYTES: usize = 1024;

/// `arenascope::Observer`, what the library calls.
#[repr(C)]
pub struct ObserverTable {
    /// [`OBSERVER_VERSION`].
    pub version: u32,
    /// Bytes of this table.
    pub table_bytes: u32,
    /// Handed to the call.
    pub context: u64,
    /// Address of the function that is told of events.
    pub event: unsafe extern "C" fn(context: u64, event: *const LibraryEvent),
    /// 0: everything is reported; else one allocation in about so many bytes.
    pub sample_bytes: AtomicUsize,
    /// Asked after each report for the distance to the next, if it is there.
    pub next_sample: Option<unsafe extern "C" fn(context: u64, arena: u64) -> usize>,
    /// Asked at each creation of an arena who checks it, if it is there.
    pub check: Option<unsafe extern "C" fn(context: u64, request: *mut CheckRequest)>,
}

/// `arenascope::CheckRequest`. Pointers are addresses.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs, reason = "the fields are those of arenascope::CheckRequest")]
pub struct CheckRequest {
    pub kind: u32,
    pub request_bytes: u32,
    pub arena: u64,
    pub place: u64,
    pub block: u64,
    pub size: u64,
    pub align: u64,
    pub old_block: u64,
    pub old_size: u64,
    pub checker: u64,
}

/// `arenascope::CheckKind`.
#[allow(missing_docs, reason = "the numbers are those of arenascope::CheckKind")]
pub mod check_kind {
    pub const CREATE: u32 = 1;
    pub const ALLOC: u32 = 2;
    pub const PLACE: u32 = 3;
    pub const RESIZE: u32 = 4;
    pub const FREE: u32 = 5;
    pub const BACK: u32 = 6;
    pub const RESET: u32 = 7;
    pub const DESTROY: u32 = 8;
    pub const INSIDE: u32 = 9;
    pub const SHOW: u32 = 10;
    pub const LOOK: u32 = 11;
}

/// What a header says that checking needs: base, number in the process, name. `None`: its layout is another.
///
/// # Safety
/// `arena` is a living header for as long as the result is used, and the calling thread its owner.
pub unsafe fn checked_header<'a>(arena: u64) -> Option<(u64, u64, &'a [u8])> {
    // SAFETY: the contract.
    let header = unsafe { header_at::<'a>(arena) }?;
    // SAFETY: as above: an aligned word of the header.
    let id = unsafe { (arena.wrapping_add(field::ID) as *const u64).read() };
    Some((header.base, id, header.name))
}

/// `arenascope::Event`. Pointers are addresses.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs, reason = "the fields are those of arenascope::Event")]
pub struct LibraryEvent {
    pub kind: u32,
    pub event_bytes: u32,
    pub number: u64,
    pub arena: u64,
    pub arena_id: u64,
    pub block: u64,
    pub size: u64,
    pub align: u64,
    pub old_block: u64,
    pub old_size: u64,
    pub offset: u64,
    pub generation: u64,
    pub depth: u32,
    pub line: u32,
    pub file: u64,
    pub file_bytes: u32,
    pub column: u32,
}

/// `arenascope::EventKind`.
#[allow(missing_docs, reason = "the numbers are those of arenascope::EventKind")]
pub mod kind {
    pub const CREATE: u32 = 1;
    pub const ALLOC: u32 = 2;
    pub const RESIZE: u32 = 3;
    pub const FREE: u32 = 4;
    pub const SCOPE_ENTER: u32 = 5;
    pub const SCOPE_EXIT: u32 = 6;
    pub const CHECKPOINT: u32 = 7;
    pub const REWIND: u32 = 8;
    pub const RESET: u32 = 9;
    pub const DESTROY: u32 = 10;
    pub const REFUSED: u32 = 11;
    pub const LEASE: u32 = 12;
    pub const INHERITED: u32 = 13;
    pub const GROWN: u32 = 14;
    pub const ENDED: u32 = 15;
}

/// Bits of a header's flags that matter here.
mod flags {
    pub const GROWING: u32 = 2;
    pub const LEASED: u32 = 256;
    pub const CHECKED: u32 = 1024;
}

/// Fields of `arenascope::Arena`, in bytes from the header; `arenascope::header` lists them all.
mod field {
    pub const LAYOUT_VERSION: u64 = 8;
    pub const BASE: u64 = 24;
    pub const LIMIT: u64 = 32;
    pub const CAPACITY: u64 = 64;
    pub const RESERVED: u64 = 80;
    pub const ID: u64 = 88;
    pub const SITE_FILE: u64 = 128;
    pub const SITE_FILE_BYTES: u64 = 136;
    pub const SITE_LINE: u64 = 140;
    pub const SITE_COLUMN: u64 = 156;
    pub const NAME: u64 = 144;
    pub const NAME_BYTES: u64 = 152;
    pub const FLAGS: u64 = 208;
}

/// What an outsider stores into `limit` to end watching (`arenascope::header::LIMIT_RELEASE`).
const LIMIT_RELEASE: u64 = 1;

/// What the header says.
#[derive(Clone, Copy)]
pub(crate) struct Header<'a> {
    address: u64,
    pub(crate) base: u64,
    pub(crate) capacity: u64,
    pub(crate) reserved: u64,
    flags: u32,
    pub(crate) name: &'a [u8],
    made_at: Option<Place<'a>>,
}

/// Reads the header of the event's arena; `None` when its layout is another.
pub(crate) fn header(event: &LibraryEvent) -> Option<Header<'_>> {
    // SAFETY: the event's arena is a living header for the length of the call (`arenascope::Observer::event`), and the calling thread the
    // one that writes it.
    unsafe { header_at(event.arena) }
}

/// # Safety
/// `arena` is 0, or a living header as long as the result is used, and the calling thread the one that writes it.
unsafe fn header_at<'a>(arena: u64) -> Option<Header<'a>> {
    let word = |at: u64| {
        // SAFETY: the contract: a header of 384 bytes, of which the fields above are aligned words.
        unsafe { (arena.wrapping_add(at) as *const u64).read() }
    };
    if arena == 0 || word(field::LAYOUT_VERSION) as u32 != LAYOUT_VERSION {
        return None;
    }
    let (name, bytes) = (word(field::NAME), (word(field::NAME_BYTES) as u32 as usize).min(NAME_BYTES));
    let name: &[u8] = if name == 0 || bytes == 0 {
        &[]
    } else {
        // SAFETY: the header's name: so many bytes that live as long as the arena (`arenascope::header`, +144).
        unsafe { core::slice::from_raw_parts(name as *const u8, bytes) }
    };
    let (file, bytes) = (word(field::SITE_FILE), word(field::SITE_FILE_BYTES) as u32 as usize);
    let half = |at: u64| (word(at & !7) >> (8 * (at & 7))) as u32;
    let made_at = (file != 0 && bytes > 0).then(|| Place {
        // SAFETY: the header's creation site: so many bytes that live forever (`arenascope::header`, +128).
        file: unsafe { core::slice::from_raw_parts(file as *const u8, bytes) },
        line: half(field::SITE_LINE),
        column: half(field::SITE_COLUMN),
    });
    Some(Header {
        address: arena,
        base: word(field::BASE),
        capacity: word(field::CAPACITY),
        reserved: word(field::RESERVED),
        flags: word(field::FLAGS) as u32,
        name,
        made_at,
    })
}

impl<'a> Header<'a> {
    /// Where the arena was made.
    pub(crate) fn made_at(&self) -> Option<Place<'a>> {
        self.made_at
    }

    /// Ends the watching of the arena, as an outsider may at any time: it goes back to full speed at its next event.
    pub(crate) fn release(&self) {
        // SAFETY: an aligned word of a living header into which anyone may store 1 (`arenascope::header`, I1).
        unsafe { (self.address.wrapping_add(field::LIMIT) as *mut u64).write_volatile(LIMIT_RELEASE) };
    }

    pub(crate) fn bounds(&self) -> BoundsKind {
        match self.flags {
            flags if flags & flags::LEASED != 0 => BoundsKind::Lease,
            flags if flags & flags::GROWING != 0 => BoundsKind::Growing,
            _ => BoundsKind::Bounded,
        }
    }
}

/// The place that the event names.
pub(crate) fn place(event: &LibraryEvent) -> Option<Place<'_>> {
    if event.line == 0 || event.file == 0 {
        return None;
    }
    // SAFETY: the event's file: so many bytes that live for the length of the call at least (`arenascope::Event::file`).
    let file = unsafe { core::slice::from_raw_parts(event.file as *const u8, event.file_bytes as usize) };
    Some(Place { file, line: event.line, column: event.column })
}

impl Recorder {
    /// Records an event of the library, told by `call`. `wanted` is asked about the name of an arena that is new; where it says no
    /// the arena is watched no longer.
    #[inline]
    pub fn observed(
        &self,
        thread: &mut Thread,
        event: &LibraryEvent,
        call: CallFrame,
        wanted: impl FnOnce(&[u8]) -> bool,
    ) {
        if sample_bytes() > 0 {
            return self.observed_sample(thread, event, call, wanted);
        }
        let known = self.known(thread, event.arena);
        if let (kind::ALLOC, Some(entry)) = (event.kind, known) {
            let site = self.site_at(thread, call, place(event));
            self.observed_block(thread, entry, event, site);
            return;
        }
        self.observed_slowly(thread, event, call, known, wanted);
    }

    #[inline]
    fn observed_block(&self, thread: &mut Thread, entry: &Entry, event: &LibraryEvent, site: u32) {
        if entry.looks.load(Relaxed) != 0 {
            self.look_at_new(thread, entry, event.block, event.size);
        }
        self.note_block(entry, event.block, event.size);
        let order = entry.order.fetch_add(1, Relaxed);
        self.alloc_here(thread, entry.key.load(Relaxed), order, site, [event.block, event.size, event.align]);
    }

    #[cold]
    fn observed_slowly(
        &self,
        thread: &mut Thread,
        event: &LibraryEvent,
        call: CallFrame,
        known: Option<&'static Entry>,
        wanted: impl FnOnce(&[u8]) -> bool,
    ) {
        if event.kind == kind::ENDED {
            // Only of an arena that we know; whether it has ended is for those to say who see all events.
            if let Some(entry) = known {
                let site = self.site_at(thread, call, place(event));
                self.note_of(thread, site, &Record::CalledEnded { arena: entry.key.load(Relaxed) });
            }
            return;
        }
        let header = header(event);
        if (event.kind == kind::CREATE || known.is_none())
            && let Some(header) = header
            && !header.name.is_empty()
            && !wanted(header.name)
        {
            header.release();
            return;
        }
        let Some(entry) = self.arena(thread, event.arena) else { return };
        let arena = entry.key.load(Relaxed);
        let site = self.site_at(thread, call, place(event));
        if event.kind == kind::CREATE {
            entry.clear_spans();
        } else if known.is_none()
            && let Some(header) = header
        {
            // An arena from before we watched: its memory is told of first.
            self.note_bounds(thread, arena, &header);
        }
        let order = || entry.order.fetch_add(1, Relaxed);
        // Check mode looks after blocks by itself, and gives no memory twice.
        let checked = header.is_some_and(|header| header.flags & flags::CHECKED != 0);
        match event.kind {
            kind::CREATE => {
                let size = header.filter(|header| header.bounds() == BoundsKind::Bounded).map(|header| header.capacity);
                let name = header.map(|header| header.name).filter(|name| !name.is_empty());
                let record = Record::Create { arena, order: order(), size, parent: None, name, nested: 0 };
                self.note_of(thread, site, &record);
                if let Some(header) = header.filter(|header| header.capacity > 0) {
                    self.note_bounds(thread, arena, &header);
                }
            }
            kind::ALLOC => self.observed_block(thread, entry, event, site),
            kind::REFUSED => {
                self.alloc_here(thread, arena, order(), site, [0, event.size, event.align]);
            }
            kind::RESIZE => {
                if event.old_block != event.block && event.old_block != 0 && !checked {
                    self.look_at_left(thread, entry, event.old_block, event.old_size);
                }
                self.note_block(entry, event.block, event.size);
                let (old, new, size) = (event.old_block, event.block, event.size);
                self.note_of(thread, site, &Record::Resize { arena, order: order(), old, new, size });
            }
            kind::FREE => {
                self.note_of(thread, site, &Record::Free { arena, order: order(), block: event.block });
                if !checked {
                    entry.takes_one_back();
                }
            }
            kind::SCOPE_ENTER => {
                self.note_of(thread, site, &Record::ScopeEnter { arena, order: order(), cursor: event.block });
            }
            kind::SCOPE_EXIT => {
                self.note_of(thread, site, &Record::ScopeExit { arena, order: order(), cursor: event.block });
                if !checked {
                    entry.goes_back();
                }
            }
            kind::CHECKPOINT => {
                self.note_of(thread, site, &Record::Mark { arena, order: order(), mark: event.block });
            }
            kind::REWIND => {
                self.note_of(thread, site, &Record::Rewind { arena, order: order(), mark: event.block });
                if !checked {
                    entry.goes_back();
                }
            }
            kind::RESET => {
                self.capture(thread, entry, CaptureReason::Reset);
                self.note_of(thread, site, &Record::Reset { arena, order: order() });
                entry.clear_spans();
                if !checked {
                    entry.goes_back();
                }
            }
            kind::DESTROY => {
                self.capture(thread, entry, CaptureReason::Destroy);
                self.note_of(thread, site, &Record::Destroy { arena, order: order() });
                entry.clear_spans();
            }
            kind::LEASE => {
                let (base, capacity) = (event.block, event.size);
                let record = Record::Bounds { arena, base, capacity, reserved: capacity, kind: BoundsKind::Lease };
                self.note(thread, None, &record);
            }
            kind::INHERITED => {
                if let Some(Header { base, capacity, reserved, .. }) = header {
                    let record = Record::Bounds { arena, base, capacity, reserved, kind: BoundsKind::Copied };
                    self.note(thread, None, &record);
                }
            }
            // Of a newer library: nothing that is known here changes.
            _ => {}
        }
    }

    pub(crate) fn note_bounds(&self, thread: &mut Thread, arena: u32, header: &Header<'_>) {
        let Header { base, capacity, reserved, .. } = *header;
        self.note(thread, None, &Record::Bounds { arena, base, capacity, reserved, kind: header.bounds() });
    }
}

//! Where in a C program a call stands, and how observers come to know it.
//!
//! May be relied on: every event that a call causes carries the C caller's file and line. Deliberately absent: reporting
//! itself; the arena does that, and would name a line of this crate. So while a call runs, an observer of ours stands in the
//! arena's header, puts the C site into each event, and passes it on.
#![allow(unsafe_code)] // Passes events on; reads C strings.

use arenascope::{Arena, CheckRequest, Event, EventKind, OBSERVER_VERSION, Observer, SharedArena, raw};
use core::cell::UnsafeCell;
use core::ffi::{CStr, c_char, c_void};
use core::mem::MaybeUninit;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering};

/// A line of a C file. The file's name is read when somebody wants it: most calls are not watched.
#[derive(Clone, Copy)]
pub(crate) struct Site {
    file: *const c_char,
    line: u32,
}

impl Site {
    /// No site: callers from other languages.
    pub(crate) const UNKNOWN: Site = Site { file: core::ptr::null(), line: 0 };

    /// # Safety
    /// `file` is null or a terminated string that lives as long as the arena: a literal.
    #[inline]
    pub(crate) unsafe fn new(file: *const c_char, line: u32) -> Site {
        Site { file, line }
    }

    fn file(self) -> &'static str {
        // SAFETY: the condition of `new`; 'static stands for "as long as the arena".
        unsafe { text(self.file) }
    }

    /// Makes it the creation site of an arena.
    #[inline]
    pub(crate) fn write_to(self, arena: &Arena) {
        let file = self.file();
        raw::set_site(arena, file, if file.is_empty() { 0 } else { self.line });
    }

    /// Makes it the creation site of a shared arena that no thread has a handle of yet.
    pub(crate) fn write_to_shared(self, arena: &SharedArena) {
        let file = self.file();
        raw::set_shared_site(arena, file, if file.is_empty() { 0 } else { self.line });
    }
}

/// A C string as text, up to the first byte that is no UTF-8; null is empty.
///
/// # Safety
/// `string` is null or terminated, and lives as long as the result is used.
#[inline]
pub(crate) unsafe fn text<'a>(string: *const c_char) -> &'a str {
    if string.is_null() {
        return "";
    }
    // SAFETY: the caller's condition.
    let bytes = unsafe { CStr::from_ptr(string) }.to_bytes();
    if bytes.is_ascii() {
        // SAFETY: ASCII is UTF-8.
        return unsafe { core::str::from_utf8_unchecked(bytes) };
    }
    beyond_ascii(bytes)
}

#[cold]
fn beyond_ascii(bytes: &[u8]) -> &str {
    match core::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let valid = bytes.get(..error.valid_up_to()).unwrap_or(&[]);
            core::str::from_utf8(valid).unwrap_or("")
        }
    }
}

/// An observer that stands in the header while a call runs. Begins with its table.
#[repr(C)]
struct Relay {
    table: Observer,
    inner: *const Observer,
    /// What stood in the header before.
    own: *const Observer,
    site: Site,
}

/// A place for a relay. Not on the stack: a signal handler that leaves a call by `siglongjmp` leaves the relay standing in the header, for
/// the arena's next call to find.
struct Place {
    /// An address in the frame of the call that has it; 0: free.
    frame: AtomicUsize,
    relay: UnsafeCell<MaybeUninit<Relay>>,
}

// SAFETY: `relay` is touched by whoever changed `frame` from 0, and by the calls it makes, until that is 0 again.
unsafe impl Sync for Place {}

/// Calls that are watched at once, those that were left included; of more, lines of this crate are told.
const PLACES: usize = 64;
static PLACE: [Place; PLACES] =
    [const { Place { frame: AtomicUsize::new(0), relay: UnsafeCell::new(MaybeUninit::uninit()) } }; PLACES];

/// Longest distance between two frames of one stack.
const STACK_BYTES: usize = 8 << 20;
/// Calls made by one function differ in depth by less. What a call under way calls, through an observer or a signal handler, lies further in: a
/// signal frame alone has 1 KiB.
const SLACK_BYTES: usize = 256;

impl Place {
    /// A free one, for the call whose frame holds `frame`.
    fn take(frame: usize) -> Option<&'static Place> {
        let first = (frame >> 6) ^ (frame >> 12);
        (0..PLACES).filter_map(|step| PLACE.get(first.wrapping_add(step) % PLACES)).find(|place| {
            // Acquire: pairs with the Release in `give_back`, so that the last owner's stores are over.
            place.frame.compare_exchange(0, frame, Ordering::Acquire, Ordering::Relaxed).is_ok()
        })
    }

    fn give_back(&self) {
        self.frame.store(0, Ordering::Release);
    }

    /// The place whose relay an arena's observer is.
    fn of(observer: *const Observer) -> Option<&'static Place> {
        let inside = observer.addr().wrapping_sub((&raw const PLACE).addr());
        let place = PLACE.get(inside / size_of::<Place>())?;
        core::ptr::eq(place.relay.get().cast::<Observer>(), observer).then_some(place)
    }

    /// Puts a relay there; its table.
    ///
    /// # Safety
    /// The place is the caller's (`take`), and `inner` points to an observer that may be called until it is given back.
    unsafe fn relay(&self, own: *const Observer, inner: *const Observer, site: Site) -> *const Observer {
        let place = self.relay.get().cast::<Relay>();
        let table = Observer {
            version: OBSERVER_VERSION,
            table_bytes: size_of::<Observer>() as u32,
            context: place.cast(),
            event: pass_on,
            // SAFETY: the caller's condition.
            sample_bytes: unsafe { (*inner).sample_bytes },
            next_sample: Some(pass_draw_on),
            check: Some(pass_question_on),
        };
        // SAFETY: the place is the caller's.
        unsafe { place.write(Relay { table, inner, own, site }) };
        place.cast()
    }
}

/// The arena's own observer. A call that was left for good, by `siglongjmp` out of a signal handler, has left its relay there, and the arena
/// in the midst of a report: both are undone. `here` is an address in the present frame.
fn own_observer(arena: &Arena, here: usize) -> *const Observer {
    let own = raw::own_observer(arena);
    let Some(place) = Place::of(own) else { return own };
    let frame = place.frame.load(Ordering::Relaxed);
    // A call that is still under way lies further out on the stack than what it calls.
    if frame == 0 || here.wrapping_add(SLACK_BYTES).wrapping_sub(frame) > STACK_BYTES {
        return own;
    }
    // SAFETY: its call is over, and its place was not given back, so it holds its relay; what it holds is what stood in the header before.
    let before = unsafe { (*place.relay.get().cast::<Relay>()).own };
    place.give_back();
    raw::end_report(arena);
    // SAFETY: as whoever put it there promised.
    unsafe { raw::set_own_observer(arena, before) };
    before
}

unsafe extern "C" fn pass_on(context: *mut c_void, event: *const Event) {
    // SAFETY: `context` is the Relay that `bind` put there, alive while the call runs; `event` is valid during this one.
    // An Event is plain data.
    unsafe {
        let relay = context.cast::<Relay>();
        let site = (*relay).site;
        let mut event = event.read();
        let file = site.file();
        event.file = if file.is_empty() { core::ptr::null() } else { file.as_ptr() };
        event.file_bytes = u32::try_from(file.len()).unwrap_or(0);
        event.line = if file.is_empty() { 0 } else { site.line };
        event.column = 0;
        if event.kind == EventKind::CREATE {
            site.write_to(&*event.arena);
        }
        let inner = (*relay).inner;
        ((*inner).event)((*inner).context, &event);
        (*relay).table.sample_bytes = (*inner).sample_bytes;
    }
}

unsafe extern "C" fn pass_draw_on(context: *mut c_void, arena: *const Arena) -> usize {
    // SAFETY: as in `pass_on`; a table of an older version ends before the field.
    unsafe {
        let inner = (*context.cast::<Relay>()).inner;
        let old = ((*inner).table_bytes as usize) < size_of::<Observer>();
        let draw = if old { None } else { (*inner).next_sample };
        draw.map_or((*inner).sample_bytes, |draw| draw((*inner).context, arena))
    }
}

unsafe extern "C" fn pass_question_on(context: *mut c_void, request: *mut CheckRequest) {
    // SAFETY: as in `pass_on`; the request is valid during the call.
    unsafe { raw::pass_question_on((*context.cast::<Relay>()).inner, &mut *request) };
}

/// The observer that an arena reports to: its own, or the process's; null when there is none.
fn observer_of(own: *const Observer) -> *const Observer {
    if own.is_null() { raw::everyones_observer() } else { own }
}

/// Runs `call` on a living arena; what it reports carries `site`.
#[inline]
pub(crate) fn with_site<R>(arena: &Arena, site: Site, call: impl FnOnce() -> R) -> R {
    if observer_of(raw::own_observer(arena)).is_null() { call() } else { with_relay(arena, site, call) }
}

#[cold]
fn with_relay<R>(arena: &Arena, site: Site, call: impl FnOnce() -> R) -> R {
    let mark = 0u8;
    let here = (&raw const mark).addr();
    let own = own_observer(arena, here);
    let inner = observer_of(own);
    if inner.is_null() {
        return call();
    }
    let Some(place) = Place::take(here) else { return call() };
    // SAFETY: the place was just taken; who installed the observer promised that it lives while arenas are watched.
    let table = unsafe { place.relay(own, inner, site) };
    // SAFETY: the table lives forever, and its relay until the place is given back, before which it leaves the header.
    unsafe { raw::set_own_observer(arena, table) };
    let result = call();
    // The observer may have changed the arena's observer: that stays.
    if core::ptr::eq(raw::own_observer(arena), table) {
        // SAFETY: what stood there before.
        unsafe { raw::set_own_observer(arena, own) };
    }
    place.give_back();
    result
}

/// Runs `call`, which ends the arena; what it reports carries `site`.
///
/// # Safety
/// The arena lives. (By pointer: a reference may not outlive it.)
pub(crate) unsafe fn with_last_site(arena: NonNull<Arena>, site: Site, call: impl FnOnce()) {
    let mark = 0u8;
    let here = (&raw const mark).addr();
    // SAFETY: the caller's condition.
    let own = own_observer(unsafe { arena.as_ref() }, here);
    let inner = observer_of(own);
    if inner.is_null() {
        return call();
    }
    let Some(place) = Place::take(here) else { return call() };
    // SAFETY: as in `with_relay`. The end of an arena that reports takes the table out of the header (`create::end_watched`).
    unsafe {
        let table = place.relay(own, inner, site);
        raw::set_own_observer(arena.as_ref(), table);
    }
    call();
    place.give_back();
}

/// Runs `call`, which makes an arena and takes the observer it is given; the arena ends up with `own` and with `site`.
pub(crate) fn with_first_site<E>(
    own: *const Observer,
    site: Site,
    call: impl FnOnce(Option<&'static Observer>) -> Result<&'static Arena, E>,
) -> Result<&'static Arena, E> {
    let mark = 0u8;
    let inner = observer_of(own);
    let place = if inner.is_null() { None } else { Place::take((&raw const mark).addr()) };
    let arena = match place {
        // SAFETY: who gave `own` promised that it lives while arenas are watched.
        None => call(unsafe { own.as_ref() })?,
        Some(place) => {
            // SAFETY: as in `with_relay`; the header forgets the table before the place is given back.
            let table = unsafe { place.relay(own, inner, site) };
            // SAFETY: as above: written a moment ago, and there until then.
            let made = call(Some(unsafe { &*table }));
            if let Ok(arena) = made
                && core::ptr::eq(raw::own_observer(arena), table)
            {
                // SAFETY: who gave `own` promised that it lives while arenas are watched.
                unsafe { raw::set_own_observer(arena, own) };
            }
            place.give_back();
            made?
        }
    };
    site.write_to(arena);
    Ok(arena)
}

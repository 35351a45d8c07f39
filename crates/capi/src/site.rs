//! Where in a C program a call stands, and how observers come to know it.
//!
//! May be relied on: every event that a call causes carries the C caller's file and line. Deliberately absent: reporting
//! itself; the arena does that, and would name a line of this crate. So while a call runs, an observer of ours stands in the
//! arena's header, puts the C site into each event, and passes it on.
#![allow(unsafe_code)] // Passes events on; reads C strings.

use arenascope::{Arena, CheckRequest, Event, EventKind, OBSERVER_VERSION, Observer, SharedArena, raw};
use core::ffi::{CStr, c_char, c_void};
use core::ptr::NonNull;

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

/// An observer that stands in the header while a call runs.
struct Relay {
    table: Observer,
    inner: *const Observer,
    site: Site,
}

impl Relay {
    /// # Safety
    /// `inner` points to an observer that may be called now.
    unsafe fn new(inner: *const Observer, site: Site) -> Relay {
        Relay {
            table: Observer {
                version: OBSERVER_VERSION,
                table_bytes: size_of::<Observer>() as u32,
                context: core::ptr::null_mut(),
                event: pass_on,
                // SAFETY: the caller's condition.
                sample_bytes: unsafe { (*inner).sample_bytes },
                next_sample: Some(pass_draw_on),
                check: Some(pass_question_on),
            },
            inner,
            site,
        }
    }
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
    let own = raw::own_observer(arena);
    // SAFETY: not null, as `with_site` saw; who installed it promised that it lives while arenas are watched.
    let mut relay = unsafe { Relay::new(observer_of(own), site) };
    let place = &raw mut relay;
    // SAFETY: `relay` lives until the end of this function, and is reached through `place` alone from here on.
    let table = unsafe {
        (*place).table.context = place.cast();
        &raw const (*place).table
    };
    // SAFETY: the relay lives until the end of this function, which takes its table out again.
    unsafe { raw::set_own_observer(arena, table) };
    let result = call();
    // The observer may have changed the arena's observer: that stays.
    if core::ptr::eq(raw::own_observer(arena), table) {
        // SAFETY: what stood there before.
        unsafe { raw::set_own_observer(arena, own) };
    }
    result
}

/// Runs `call`, which ends the arena; what it reports carries `site`.
///
/// # Safety
/// The arena lives. (By pointer: a reference may not outlive it.)
pub(crate) unsafe fn with_last_site(arena: NonNull<Arena>, site: Site, call: impl FnOnce()) {
    // SAFETY: the caller's condition.
    let inner = observer_of(raw::own_observer(unsafe { arena.as_ref() }));
    if inner.is_null() {
        return call();
    }
    // SAFETY: as in `with_relay`.
    let mut relay = unsafe { Relay::new(inner, site) };
    let place = &raw mut relay;
    // SAFETY: as in `with_relay`. The end of an arena that reports takes the table out of the header (`create::end_watched`).
    unsafe {
        (*place).table.context = place.cast();
        raw::set_own_observer(arena.as_ref(), &raw const (*place).table);
    }
    call();
}

/// Runs `call`, which makes an arena and takes the observer it is given; the arena ends up with `own` and with `site`.
pub(crate) fn with_first_site<E>(
    own: *const Observer,
    site: Site,
    call: impl FnOnce(Option<&'static Observer>) -> Result<&'static Arena, E>,
) -> Result<&'static Arena, E> {
    let inner = observer_of(own);
    let arena = if inner.is_null() {
        call(None)?
    } else {
        // SAFETY: as in `with_relay`.
        let mut relay = unsafe { Relay::new(inner, site) };
        let place = &raw mut relay;
        // SAFETY: as in `with_relay`; the header forgets the table two lines on, before `relay` ends.
        let table = unsafe {
            (*place).table.context = place.cast();
            let table = &raw const (*place).table;
            &*table
        };
        let arena = call(Some(table))?;
        if core::ptr::eq(raw::own_observer(arena), table) {
            // SAFETY: who gave `own` promised that it lives while arenas are watched.
            unsafe { raw::set_own_observer(arena, own) };
        }
        arena
    };
    site.write_to(arena);
    Ok(arena)
}

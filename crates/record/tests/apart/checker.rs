//! An observer that checks, as the agent is one: the library's questions become calls of [`Apart`].
#![allow(unsafe_code)] // Answers the library's questions.

use arenascope::{CheckKind, CheckRequest, Checker, Event, EventKind, Observer};
use arenascope_record::{Apart, Found, OfArena, Told};
use std::cell::{Cell, RefCell};
use std::ffi::c_void;
use std::sync::OnceLock;

thread_local! {
    /// What was found by this thread's arenas.
    pub static FOUND: RefCell<Vec<Found>> = const { RefCell::new(Vec::new()) };
    /// Plots that this thread's arenas were given, and that were said to have been others' before.
    pub static PLOTS: RefCell<Vec<(u64, bool)>> = const { RefCell::new(Vec::new()) };
    pub static GUARDED: Cell<bool> = const { Cell::new(false) };
    /// Numbers events, as a trace does.
    static ORDER: Cell<u64> = const { Cell::new(0) };
}

pub fn apart() -> &'static Apart {
    static APART: OnceLock<Apart> = OnceLock::new();
    APART.get_or_init(|| Apart::new(Apart::MOST_PLOTS, 256, false).expect("addresses"))
}

/// A field so small that its plots are used again and again.
pub fn small_apart() -> &'static Apart {
    static APART: OnceLock<Apart> = OnceLock::new();
    APART.get_or_init(|| Apart::new(256, 16, false).expect("addresses"))
}

fn keep(told: &Told) {
    match *told {
        Told::Found(found) => FOUND.with_borrow_mut(|all| all.push(found)),
        Told::Plot { start, again, .. } => PLOTS.with_borrow_mut(|all| all.push((start, again))),
        Told::NoGuard { .. } => {}
    }
}

/// What was found since the last time.
pub fn found() -> Vec<Found> {
    FOUND.with_borrow_mut(std::mem::take)
}

unsafe extern "C" fn create(context: *mut c_void, request: *mut CheckRequest) {
    // SAFETY: valid during the call; the context is an Apart that lives forever.
    let (request, apart) = unsafe { (&mut *request, &*context.cast::<Apart>()) };
    assert_eq!(request.kind, CheckKind::CREATE);
    if request.size != 0 {
        return;
    }
    // SAFETY: a living arena.
    let (id, base) = unsafe { ((*request.arena).id(), (*request.arena).base().addr() as u64) };
    let facts = [request.arena.addr() as u64, base, id];
    request.checker = apart.create(answer as *const () as usize, facts, GUARDED.get()).cast();
}

unsafe extern "C" fn answer(checker: *mut Checker, request: *mut CheckRequest) {
    let of = checker.cast::<OfArena>();
    // SAFETY: valid during the call.
    let request = unsafe { &mut *request };
    // SAFETY: `of` is what `create` gave to this arena, which lives.
    unsafe {
        let apart = Apart::of(of);
        let order = ORDER.get() + 1;
        ORDER.set(order);
        let sink = &mut keep;
        match request.kind {
            CheckKind::ALLOC => {
                let place = request.place.addr() as u64;
                request.block = apart.alloc(of, place, request.size as u64, request.align as u64, sink) as *mut u8;
            }
            CheckKind::PLACE => request.place = apart.place_of(request.block.addr() as u64) as *mut u8,
            CheckKind::INSIDE => request.place = apart.inside(of, request.block.addr() as u64) as *mut u8,
            CheckKind::FREE => request.place = apart.free(of, request.block.addr() as u64, order, sink) as *mut u8,
            CheckKind::RESIZE => {
                let (old, place) = (request.old_block.addr() as u64, request.place.addr() as u64);
                let (size, align) = (request.size as u64, request.align as u64);
                request.block = apart.resize(of, old, place, size, align, order, sink) as *mut u8;
            }
            CheckKind::BACK => apart.back(of, request.place.addr() as u64, order, sink),
            CheckKind::LOOK => apart.look(of, request.size == EventKind::DESTROY.0 as usize, sink),
            CheckKind::RESET => apart.reset(of, order),
            CheckKind::DESTROY => apart.destroy(of, order),
            CheckKind::SHOW => apart.show(of),
            other => panic!("{other:?}"),
        }
    }
}

unsafe extern "C" fn hear(_: *mut c_void, event: *const Event) {
    // SAFETY: valid during the call.
    assert_ne!(unsafe { (*event).kind }, EventKind(0));
}

/// An observer that checks by this Apart.
pub fn observer(apart: &'static Apart) -> &'static Observer {
    Box::leak(Box::new(Observer {
        version: arenascope::OBSERVER_VERSION,
        table_bytes: size_of::<Observer>() as u32,
        context: std::ptr::from_ref(apart).cast_mut().cast(),
        event: hear,
        sample_bytes: 0,
        next_sample: None,
        check: Some(create),
    }))
}

//! Processes and threads of the host: fork, exec, exit, thread creation, dlopen.
//!
//! A forked child gets a trace of its own from the launcher; the parent's is not even mapped there. The environment that
//! a program sees holds nothing of ours: the preload entry is taken out at the start and put back at exec.
#![allow(unsafe_code, reason = "reads argument vectors of the host and hands over thread arguments")]

use crate::ask;
use crate::handled_fault;
use crate::state::{self, Inside};
use crate::stubs::{self, Frame};
use arenascope_plan::{Purpose, Writer};
use arenascope_record::{Record, Thread, Zeroed, for_each_mapping, quiet, read_own_memory};
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

// ---- fork ----

static FORKS: AtomicU64 = AtomicU64::new(0);

/// The pid of who asks: not the recorder's in a child that shares its memory.
pub fn own_pid() -> u32 {
    if let (true, Some(recorder)) = (quiet::is_on(), state::recorder()) {
        return recorder.pid();
    }
    rustix::process::getpid().as_raw_nonzero().get() as u32
}

/// `fork` is entered: the number that will tie the two traces.
pub fn fork_enter(frame: &mut Frame) -> u32 {
    let pid = u64::from(own_pid());
    let fork_id = (pid << 32) | (FORKS.fetch_add(1, Relaxed).wrapping_add(1) & 0xffff_ffff);
    // A child that cannot ask (seccomp) is not waited for.
    let announced = match state::recorder() {
        Some(recorder) if recorder.enabled() && recorder.alive() && !quiet::is_on() => {
            recorder.fork_begins();
            if let Some(check) = crate::check::zones() {
                check.forks(recorder);
            }
            1
        }
        _ => 0,
    };
    frame.stash = [fork_id, announced, 0, 0, 0, 0, 0];
    crate::hooks::CALL
}

/// `fork` returned, in one of the two processes.
pub fn fork_exit(frame: &mut Frame) {
    let [fork_id, announced, ..] = frame.stash;
    match frame.rax as u32 as i32 {
        0 => child(fork_id),
        -1 if announced != 0 => {
            if let Some(recorder) = state::recorder() {
                recorder.fork_failed();
            }
        }
        child if child > 0 => {
            let Some(mut inside) = Inside::enter(frame.entry, false) else { return };
            let recorder = inside.recorder;
            let record = Record::Fork { child: child as u32, fork_id };
            recorder.note(inside.thread(), Some(frame.call()), &record);
        }
        _ => {}
    }
}

/// The first hook that runs in a child whose fork we did not see (a raw system call).
#[cold]
pub fn child_without_notice() {
    child(0);
}

/// In a forked child: asks for a trace of its own. Without one (the launcher is gone) the child goes on unrecorded.
#[cold]
fn child(fork_id: u64) {
    // The parent's other threads may have been on these stacks; they are not in this process.
    arenascope_record::only_this_thread();
    if let Some(check) = crate::check::zones() {
        check.only_this_thread();
    }
    crate::own_check::only_this_thread();
    arenascope_record::on_own_stack(|| child_here(fork_id));
}

#[inline(never)]
fn child_here(fork_id: u64) {
    let Some(recorder) = state::recorder() else { return };
    if !recorder.enabled() {
        return;
    }
    let pid = own_pid();
    let space = ask::ask(Purpose::ForkChild, fork_id).and_then(ask::Answer::map_trace);
    // SAFETY: null, or this thread's own state; it is the only thread of the child.
    let thread = unsafe { stubs::thread_word().as_mut() };
    recorder.renew(space, pid, thread);
    if space.is_some() {
        inherited();
    }
}

/// Tells the child's trace what it inherited: modules, mappings, and the malloc blocks in which arenas may live.
fn inherited() {
    let Some(mut inside) = Inside::enter(1, false) else { return };
    let recorder = inside.recorder;
    let thread = inside.thread();
    crate::sampling::tell(recorder, thread);
    ask::for_each_module(&mut |module| {
        recorder.module(thread, module.bias, module.start, module.end, module.path, &[]);
    });
    observe_mappings(recorder, thread);
    if crate::sampling::is_on() {
        // Those are no blocks that arenas live in, but samples of the parent's.
        return;
    }
    for (address, size) in recorder.heap().all() {
        if recorder.arenas().pages().may_hold(address, address.saturating_add(size)) {
            recorder.note(thread, None, &Record::HeapAlloc { address, size });
        }
    }
}

/// Records the writable memory that is there already.
pub fn observe_mappings(recorder: &arenascope_record::Recorder, thread: &mut Thread) {
    for_each_mapping(|mapping| {
        let writable = mapping.protection & 2 != 0;
        if writable
            && mapping.anonymous
            && !mapping.special
            && !recorder.owns(mapping.start)
            && !crate::own_check::apart().is_some_and(|apart| apart.owns(mapping.start))
        {
            let flags = if mapping.shared { 1 } else { 2 };
            let record = Record::Map {
                address: mapping.start,
                len: mapping.end.saturating_sub(mapping.start),
                protection: mapping.protection,
                flags,
                observed: true,
            };
            recorder.note(thread, None, &record);
        }
        true
    });
}

/// vfork and posix_spawn: the child borrows our memory until it executes something.
pub fn vfork(frame: &Frame) {
    let Some(mut inside) = Inside::enter(frame.entry, false) else { return };
    let recorder = inside.recorder;
    recorder.note(inside.thread(), Some(frame.call()), &Record::Vfork);
}

/// `_exit` is entered; every ordinary end of a process passes here.
pub fn exit_now(frame: &Frame) {
    let Some(mut inside) = Inside::enter(frame.entry, false) else { return };
    let recorder = inside.recorder;
    if recorder.pid() != own_pid() {
        // A vfork child that failed to execute: the memory, and the arenas in it, are its parent's.
        return;
    }
    crate::check::at_end(&mut inside);
    inside.pay_marks();
    handled_fault::tell(&mut inside, &handled_fault::End::Exit(frame.entry));
    crate::scan::at_end();
    let thread = inside.thread();
    crate::malloc::tell_all(recorder, thread);
    recorder.capture_all(thread, arenascope_event::CaptureReason::Exit);
    recorder.note(thread, Some(frame.call()), &Record::Exit { status: frame.rdi as u32 as i32 });
}

// ---- exec ----

/// What LD_PRELOAD must name for us to be loaded, with a NUL; empty until `remember_preload`.
static PRELOAD: AtomicPtr<u8> = AtomicPtr::new(core::ptr::null_mut());
static PRELOAD_BYTES: AtomicUsize = AtomicUsize::new(0);

/// Keeps the path of this object (without a NUL), for exec.
pub fn remember_preload(path: &'static [u8]) {
    PRELOAD_BYTES.store(path.len(), Relaxed);
    PRELOAD.store(path.as_ptr().cast_mut(), Relaxed);
}

/// The path of this object as the loader can open it.
pub fn preload_path() -> &'static [u8] {
    let start = PRELOAD.load(Relaxed);
    if start.is_null() {
        return &[];
    }
    // SAFETY: pointer and length were stored together by `remember_preload`, from a static slice.
    unsafe { core::slice::from_raw_parts(start, PRELOAD_BYTES.load(Relaxed)) }
}

/// execve is entered: (path, arguments, environment).
pub fn exec(frame: &mut Frame) {
    arenascope_record::on_own_stack(|| exec_here(frame));
}

fn exec_here(frame: &mut Frame) {
    let pid = own_pid();
    let mut room = [0u8; 1024];
    let got = read_own_memory(pid, frame.rdi, &mut room);
    let read = room.get(..got).unwrap_or(&[]);
    let end = read.iter().position(|byte| *byte == 0).unwrap_or(read.len());
    exec_of(frame, pid, read.get(..end).unwrap_or(&[]));
}

/// fexecve is entered: (descriptor, arguments, environment).
pub fn exec_descriptor(frame: &mut Frame) {
    arenascope_record::on_own_stack(|| exec_descriptor_here(frame));
}

fn exec_descriptor_here(frame: &mut Frame) {
    let mut room = [0u8; 32];
    let mut out = Writer::new(&mut room);
    out.raw(b"/proc/self/fd/");
    out.decimal(frame.rdi as u32);
    let used = out.finish().unwrap_or(0);
    exec_of(frame, own_pid(), room.get(..used).unwrap_or(&[]));
}

fn exec_of(frame: &mut Frame, pid: u32, path: &[u8]) {
    if let Some(mut inside) = Inside::enter(frame.entry, false) {
        let recorder = inside.recorder;
        if recorder.pid() == pid {
            recorder.note(inside.thread(), Some(frame.call()), &Record::Exec { path });
        }
    }
    if let Some(environment) = with_preload(frame.rdx, path) {
        frame.rdx = environment;
    }
}

const VARIABLE: &[u8] = b"LD_PRELOAD=";

/// A copy of the environment at `environment` in which LD_PRELOAD ends with us (see `start::take_preload`); its address.
/// `None`: leave it as it is (the launcher is gone or advises against it, there is no memory, the environment cannot be
/// read).
///
/// The copy lives in a mapping that exec discards; after a failed exec the next one reuses it.
fn with_preload(environment: u64, program: &[u8]) -> Option<u64> {
    let preload = preload_path();
    if preload.is_empty() || quiet::is_on() || !launcher_is_there() {
        return None;
    }
    // Another thread may be asking something: then the new program is taken for an ordinary one.
    let answer = ask::ask_before_exec(program);
    let advice = answer.as_ref().and_then(ask::ExecAnswer::preload);
    if advice.is_some_and(|advice| !advice.wanted) {
        return None;
    }
    let mut before = advice.map_or(&[][..], |advice| advice.before);
    let pid = own_pid();
    let mut count = 0u64;
    let mut existing = 0u64;
    if environment != 0 {
        loop {
            let string = read_word(pid, environment.wrapping_add(count.wrapping_mul(8)))?;
            if string == 0 {
                break;
            }
            let mut head = [0u8; 11];
            if read_own_memory(pid, string, &mut head) == head.len() && head == *VARIABLE {
                existing = string.wrapping_add(VARIABLE.len() as u64);
            }
            count = count.wrapping_add(1);
            if count > 1 << 20 {
                return None;
            }
        }
    }
    let existing_bytes = if existing == 0 { 0 } else { string_length(pid, existing)? };
    if existing_bytes > 0 {
        // What stands there comes first without us too, and a sanitizer says what it has to say about that.
        before = &[];
    }
    let vector_bytes = count.wrapping_add(2).wrapping_mul(8);
    let string_bytes = (VARIABLE.len() as u64)
        .wrapping_add(existing_bytes)
        .wrapping_add(b"::".len() as u64)
        .wrapping_add(before.len() as u64)
        .wrapping_add(preload.len() as u64)
        .wrapping_add(1);
    let memory = exec_memory(vector_bytes.wrapping_add(string_bytes))?;
    let string = memory.wrapping_add(vector_bytes);
    poke(string, VARIABLE);
    let mut at = string.wrapping_add(VARIABLE.len() as u64);
    if existing != 0 {
        copy(pid, existing, at, existing_bytes);
        at = at.wrapping_add(existing_bytes);
        poke(at, b"::");
        at = at.wrapping_add(2);
    }
    for part in [before, preload, b"\0"] {
        poke(at, part);
        at = at.wrapping_add(part.len() as u64);
    }
    let mut to = memory;
    for index in 0..count {
        let from = read_word(pid, environment.wrapping_add(index.wrapping_mul(8)))?;
        let is_ours = existing != 0 && from == existing.wrapping_sub(VARIABLE.len() as u64);
        let entry = if is_ours { string } else { from };
        poke(to, &entry.to_le_bytes());
        to = to.wrapping_add(8);
    }
    if existing == 0 {
        poke(to, &string.to_le_bytes());
        to = to.wrapping_add(8);
    }
    poke(to, &[0; 8]);
    Some(memory)
}

fn launcher_is_there() -> bool {
    let path = preload_path();
    let mut name = [0u8; 64];
    let Some(place) = name.get_mut(..path.len()) else { return false };
    place.copy_from_slice(path);
    let Ok(name) = core::ffi::CStr::from_bytes_until_nul(&name) else { return false };
    rustix::fs::access(name, rustix::fs::Access::READ_OK).is_ok()
}

fn read_word(pid: u32, address: u64) -> Option<u64> {
    let mut bytes = [0u8; 8];
    (read_own_memory(pid, address, &mut bytes) == 8).then(|| u64::from_le_bytes(bytes))
}

fn string_length(pid: u32, address: u64) -> Option<u64> {
    let mut length = 0u64;
    let mut bytes = [0u8; 256];
    while length < 1 << 17 {
        let got = read_own_memory(pid, address.wrapping_add(length), &mut bytes);
        if got == 0 {
            return None;
        }
        if let Some(end) = bytes.get(..got)?.iter().position(|byte| *byte == 0) {
            return Some(length.wrapping_add(end as u64));
        }
        length = length.wrapping_add(got as u64);
    }
    None
}

/// Room for a changed environment: kept from exec to exec by the thread, mapped anew when too small.
fn exec_memory(bytes: u64) -> Option<u64> {
    static ADDRESS: AtomicU64 = AtomicU64::new(0);
    static BYTES: AtomicU64 = AtomicU64::new(0);
    // SAFETY: null, or this thread's own state (a vfork child runs as its parent's suspended thread).
    let mut thread = unsafe { stubs::thread_word().as_mut() };
    let (address, room) = match &thread {
        Some(thread) => thread.exec_memory,
        // Without a recorder there is no thread state: one place for the process.
        None => (ADDRESS.swap(0, Relaxed), BYTES.load(Relaxed)),
    };
    let whole = bytes.checked_next_multiple_of(4096)?;
    let (address, room) = if address != 0 && room >= bytes {
        (address, room)
    } else {
        if address != 0 {
            // SAFETY: the mapping was made below by an earlier exec of this thread, which failed; nothing uses it.
            let _ = unsafe { munmap(address as *mut _, room as usize) };
        }
        // SAFETY: a fresh anonymous mapping at an address of the kernel's choice touches no existing memory.
        let fresh = unsafe {
            mmap_anonymous(core::ptr::null_mut(), whole as usize, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE)
        }
        .ok()?;
        (fresh as u64, whole)
    };
    match &mut thread {
        Some(thread) => thread.exec_memory = (address, room),
        None => {
            BYTES.store(room, Relaxed);
            ADDRESS.store(address, Relaxed);
        }
    }
    Some(address)
}

/// Writes into the memory of `exec_memory`.
fn poke(address: u64, bytes: &[u8]) {
    // SAFETY: callers write inside the room that `exec_memory` made for exactly these parts.
    unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), address as *mut u8, bytes.len()) }
}

fn copy(pid: u32, from: u64, to: u64, bytes: u64) {
    // SAFETY: as in `poke`.
    let place = unsafe { core::slice::from_raw_parts_mut(to as *mut u8, bytes as usize) };
    read_own_memory(pid, from, place);
}

// ---- threads ----

/// What a thread that is being created will run.
#[repr(C)]
pub struct Node {
    state: AtomicU32,
    parent: AtomicU32,
    start: AtomicU64,
    argument: AtomicU64,
}

// SAFETY: atomic integers.
unsafe impl Zeroed for Node {}

/// Threads that have been asked for and have not begun; beyond that a thread is seen at its first event instead.
pub const NODES: usize = 1024;
static NODE_TABLE: AtomicPtr<Node> = AtomicPtr::new(core::ptr::null_mut());

/// Sets the room for nodes. Once, at the start.
pub fn set_nodes(nodes: &'static mut [Node]) {
    if nodes.len() >= NODES {
        NODE_TABLE.store(nodes.as_mut_ptr(), Relaxed);
    }
}

fn nodes() -> &'static [Node] {
    let table = NODE_TABLE.load(Relaxed);
    if table.is_null() {
        return &[];
    }
    // SAFETY: `set_nodes` stored a static slice of at least NODES.
    unsafe { core::slice::from_raw_parts(table, NODES) }
}

/// `pthread_create(thread, attributes, start, argument)` is entered: the thread will begin with us.
pub fn pthread_create(frame: &mut Frame) {
    let Some(mut inside) = Inside::enter(frame.entry, false) else { return };
    let free = nodes().iter().find(|node| {
        node.state.load(Relaxed) == 0
            && node.state.compare_exchange(0, 1, core::sync::atomic::Ordering::Acquire, Relaxed).is_ok()
    });
    let Some(node) = free else { return };
    node.parent.store(inside.thread().number, Relaxed);
    node.start.store(frame.rdx, Relaxed);
    node.argument.store(frame.rcx, Relaxed);
    frame.rdx = stubs::thread_entry();
    frame.rcx = core::ptr::from_ref(node) as u64;
}

/// Where a new thread really begins.
#[repr(C)]
pub struct Beginning {
    start: u64,
    argument: u64,
}

/// The first code of a new thread, called by `ascope_thread_entry`.
pub extern "C" fn thread_begin(node: &'static Node) -> Beginning {
    let beginning = Beginning { start: node.start.load(Relaxed), argument: node.argument.load(Relaxed) };
    let parent = node.parent.load(Relaxed);
    // Release: pairs with the Acquire in `pthread_create`; the node is read before it is free again.
    node.state.store(0, core::sync::atomic::Ordering::Release);
    if let Some(recorder) = state::recorder()
        && recorder.alive()
        && recorder.enabled()
    {
        state::begin_thread(recorder, parent);
    }
    beginning
}

// ---- dlopen ----

/// `dlopen` returned: new modules may hold functions to watch.
pub fn dlopen_exit(frame: &Frame) {
    if frame.rax == 0 {
        return;
    }
    // SAFETY: errno of this thread; the host may look at it after dlopen.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: the place is valid for this thread's life.
    let before = unsafe { errno.read() };
    crate::start::new_modules(frame.entry);
    // SAFETY: as above.
    unsafe { errno.write(before) };
}

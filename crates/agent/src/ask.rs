//! The talk with the launcher: one connection a question, nothing kept open.
//!
//! An abstract socket named after the launcher's pid, so that neither chroot nor a changed user is in the way.
#![allow(unsafe_code, reason = "asks the dynamic linker, and lends the one message buffer")]

use crate::stubs;
use arenascope_plan::{
    Done, Failure, Hello, LibcFunction, MESSAGE_LIMIT, ModuleEntry, PlanReader, Preload, Purpose, Writer, write_done,
    write_hello_head, write_module,
};
use arenascope_record::Space;
use core::ffi::{CStr, c_int, c_void};
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags,
    SocketType, connect, recv, recvmsg, send, socket_with,
};

static LAUNCHER: AtomicU32 = AtomicU32::new(0);
static BUFFER: AtomicPtr<u8> = AtomicPtr::new(core::ptr::null_mut());
static BUFFER_LENT: AtomicBool = AtomicBool::new(false);

/// Sets the launcher's pid and the room for messages ([`MESSAGE_LIMIT`] bytes). Once, at the start.
pub fn set_launcher(pid: u32, buffer: &'static mut [u8]) {
    LAUNCHER.store(pid, Relaxed);
    if buffer.len() >= MESSAGE_LIMIT {
        BUFFER.store(buffer.as_mut_ptr(), Relaxed);
    }
}

/// The one message buffer, while borrowed.
struct Lent(&'static mut [u8]);

impl Lent {
    fn take() -> Option<Lent> {
        let start = BUFFER.load(Relaxed);
        if start.is_null() || BUFFER_LENT.swap(true, Acquire) {
            return None;
        }
        // SAFETY: `set_launcher` stored MESSAGE_LIMIT static bytes, and BUFFER_LENT makes this the only borrow.
        Some(Lent(unsafe { core::slice::from_raw_parts_mut(start, MESSAGE_LIMIT) }))
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        // Release: pairs with the Acquire in `take`.
        BUFFER_LENT.store(false, Release);
    }
}

/// How much of the trace is mapped from the start under Valgrind, which cannot map more later. In pieces of 64 MiB:
/// memcheck warns of ranges above 256 MiB.
const AHEAD_BYTES: u64 = 1 << 30;

/// The launcher's answer: a plan in the message buffer, and the trace file if one came along.
pub struct Answer {
    buffer: Lent,
    used: usize,
    socket: OwnedFd,
    files: Files,
}

/// Descriptors that came with a message, in order.
type Files = [Option<OwnedFd>; 2];

impl Answer {
    /// The plan, unless the answer is none.
    pub fn plan(&self) -> Option<PlanReader<'_>> {
        PlanReader::new(self.buffer.0.get(..self.used)?)
    }

    /// The trace, mapped; its descriptor closed. `Ok(None)`: the plan has none.
    pub fn map(&mut self) -> Result<Option<Space>, Errno> {
        let Some(plan) = self.plan().map(|reader| reader.plan) else { return Ok(None) };
        let [first, _] = &mut self.files;
        match first.take_if(|_| plan.trace_bytes > 0) {
            Some(file) if plan.record => {
                let space = Space::map(file.as_fd(), plan.trace_bytes, plan.allocated)?;
                if crate::valgrind::is_running() {
                    space.map_ahead(file.as_fd(), AHEAD_BYTES);
                }
                Ok(Some(space))
            }
            _ => Ok(None),
        }
    }

    /// The file of unwinding tables and its bytes; its descriptor leaves the answer. After [`Answer::map`].
    pub fn tables(&mut self) -> Option<(OwnedFd, u64)> {
        let bytes = self.plan()?.plan.tables_bytes;
        let [first, second] = &mut self.files;
        Some((second.take().or_else(|| first.take())?, bytes))
    }

    /// As [`Answer::map`], for a forked child, whose hooks are in place; tells the launcher and ends the talk.
    pub fn map_trace(mut self) -> Option<Space> {
        let mapped = self.map();
        let errno = mapped.as_ref().err().map_or(0, |errno| errno.raw_os_error() as u32);
        self.done(Done { trace_errno: errno }, core::iter::empty());
        mapped.ok().flatten()
    }

    /// Tells the launcher what became of its plan, and ends the talk.
    pub fn done(mut self, done: Done, failures: impl Iterator<Item = (u32, Failure)>) {
        let mut out = Writer::new(self.buffer.0);
        write_done(done, failures, &mut out);
        if let Some(used) = out.finish() {
            let _ = send_message(&self.socket, self.buffer.0.get(..used).unwrap_or(&[]));
        }
        self.used = 0;
    }
}

/// The answer before an exec, in the message buffer.
pub struct ExecAnswer {
    buffer: Lent,
    used: usize,
}

impl ExecAnswer {
    /// What it says.
    pub fn preload(&self) -> Option<Preload<'_>> {
        Preload::read(self.buffer.0.get(..self.used)?)
    }
}

/// Asks how to get into `program`, which is about to be executed.
pub fn ask_before_exec(program: &[u8]) -> Option<ExecAnswer> {
    let Answer { buffer, used, .. } = ask_about(Purpose::Exec, 0, 0, program)?;
    Some(ExecAnswer { buffer, used })
}

/// Asks the launcher. `None`: it is gone, or it is not ours, or the message does not fit.
pub fn ask(purpose: Purpose, fork_id: u64) -> Option<Answer> {
    let mut program = [0u8; 1024];
    ask_about(purpose, fork_id, 0, program_path(&mut program))
}

/// Asks for a scan, and waits until it is made: of the user's mark of this number, or 0 at the end.
pub fn ask_for_scan(mark: u64) {
    let _ = ask_about(Purpose::Scan, 0, mark, &[]);
}

fn ask_about(purpose: Purpose, fork_id: u64, mark: u64, program: &[u8]) -> Option<Answer> {
    if arenascope_record::quiet::is_on() {
        return None;
    }
    let buffer = Lent::take()?;
    let pid = rustix::process::getpid().as_raw_nonzero().get() as u32;
    let parent_pid = rustix::process::getppid().map_or(0, |parent| parent.as_raw_nonzero().get() as u32);
    let hello = Hello {
        purpose,
        pid,
        parent_pid,
        fork_id,
        mark,
        next_hook: crate::state::next_hook(),
        around: stubs::around(),
        before: stubs::before(),
        marker: stubs::marker(),
        program,
        libc: if purpose == Purpose::Start { libc_addresses() } else { [0; LibcFunction::COUNT] },
    };
    let mut out = Writer::new(buffer.0);
    write_hello_head(&hello, &mut out);
    if !matches!(purpose, Purpose::Exec | Purpose::Scan) {
        for_each_module(&mut |module| write_module(&module, &mut out));
    }
    let used = out.finish()?;
    let socket = reach_launcher()?;
    send_message(&socket, buffer.0.get(..used)?)?;
    let (used, files) = receive_message(&socket, buffer.0)?;
    Some(Answer { buffer, used, socket, files })
}

fn reach_launcher() -> Option<OwnedFd> {
    let mut name = [0u8; 32];
    let used = socket_name(LAUNCHER.load(Relaxed), &mut name);
    let address = SocketAddrUnix::new_abstract_name(name.get(..used)?).ok()?;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).ok()?;
    connect(&socket, &address).ok()?;
    Some(socket)
}

/// `arenascope.PID`, the abstract name the launcher listens on; its length.
fn socket_name(pid: u32, name: &mut [u8; 32]) -> usize {
    let mut out = Writer::new(name);
    out.raw(b"arenascope.");
    out.decimal(pid);
    out.finish().unwrap_or(0)
}

fn send_message(socket: &OwnedFd, bytes: &[u8]) -> Option<()> {
    let length = (bytes.len() as u32).to_le_bytes();
    for part in [&length[..], bytes] {
        let mut rest = part;
        while !rest.is_empty() {
            match send(socket, rest, SendFlags::NOSIGNAL) {
                Ok(sent) => rest = rest.get(sent..)?,
                Err(Errno::INTR) => {}
                Err(_) => return None,
            }
        }
    }
    Some(())
}

/// Reads one message into `buffer`; its length, and descriptors that came with its first bytes.
fn receive_message(socket: &OwnedFd, buffer: &mut [u8]) -> Option<(usize, Files)> {
    let mut length = [0u8; 4];
    let mut room = [MaybeUninit::<u8>::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut room);
    let mut received: Files = [None, None];
    let mut got = 0usize;
    while got < length.len() {
        let place = length.get_mut(got..)?;
        let mut parts = [rustix::io::IoSliceMut::new(place)];
        match recvmsg(socket, &mut parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
            Ok(message) if message.bytes == 0 => return None,
            Ok(message) => got = got.wrapping_add(message.bytes),
            Err(Errno::INTR) => continue,
            Err(_) => return None,
        }
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(files) = message {
                for (place, file) in received.iter_mut().zip(files) {
                    *place = Some(file);
                }
            }
        }
    }
    let length = u32::from_le_bytes(length) as usize;
    let place = buffer.get_mut(..length)?;
    let mut got = 0usize;
    while got < length {
        match recv(socket, place.get_mut(got..)?, RecvFlags::empty()) {
            Ok((_, 0)) => return None,
            Ok((_, more)) => got = got.wrapping_add(more),
            Err(Errno::INTR) => {}
            Err(_) => return None,
        }
    }
    Some((length, received))
}

fn program_path(room: &mut [u8; 1024]) -> &[u8] {
    let place = &mut room[..];
    // readlink: under valgrind only the link is answered right, the file behind it is valgrind's own.
    match rustix::fs::readlinkat_raw(rustix::fs::CWD, c"/proc/self/exe", place) {
        Ok(length) => room.get(..length).unwrap_or(&[]),
        Err(_) => &[],
    }
}

/// Where the functions of the C library are, as the program would be told. In a program at a fixed address it may be a stub of the
/// program's own; the launcher looks through it.
fn libc_addresses() -> [u64; LibcFunction::COUNT] {
    let mut addresses = [0u64; LibcFunction::COUNT];
    for (place, (_, name)) in addresses.iter_mut().zip(LibcFunction::ALL) {
        // SAFETY: dlsym with a NUL-terminated name; it only looks up.
        *place = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) } as u64;
    }
    addresses
}

/// Calls `each` for every module, the program first, ourselves and the kernel's page left out.
pub fn for_each_module(each: &mut dyn FnMut(ModuleEntry<'_>)) {
    let mut each = each;
    let data: *mut &mut dyn FnMut(ModuleEntry<'_>) = &mut each;
    // Not by its name: a sanitizer in the program may have its own, which must not be called before it has started.
    // SAFETY: dlsym with a NUL-terminated name; it only looks up.
    let function = unsafe { libc::dlsym(libc::RTLD_NEXT, c"dl_iterate_phdr".as_ptr()) };
    if function.is_null() {
        return;
    }
    type Iterate = unsafe extern "C" fn(OneModule, *mut c_void) -> c_int;
    // SAFETY: the C library's dl_iterate_phdr has this signature (link.h).
    let iterate = unsafe { core::mem::transmute::<*mut c_void, Iterate>(function) };
    // SAFETY: `one_module` casts `data` back to exactly this type; `each` outlives the call.
    unsafe { iterate(one_module, data.cast()) };
}

type OneModule = unsafe extern "C" fn(*mut libc::dl_phdr_info, usize, *mut c_void) -> c_int;

unsafe extern "C" fn one_module(info: *mut libc::dl_phdr_info, _: usize, data: *mut c_void) -> c_int {
    // SAFETY: the dynamic linker passes a valid record for the length of this call.
    let info = unsafe { &*info };
    // SAFETY: `data` is what `for_each_module` passed.
    let each = unsafe { &mut *data.cast::<&mut dyn FnMut(ModuleEntry<'_>)>() };
    let path: &[u8] = if info.dlpi_name.is_null() {
        &[]
    } else {
        // SAFETY: a NUL-terminated string owned by the dynamic linker.
        unsafe { CStr::from_ptr(info.dlpi_name) }.to_bytes()
    };
    if info.dlpi_phdr.is_null() || path.starts_with(b"linux-vdso") || path == crate::process::preload_path() {
        return 0;
    }
    // SAFETY: the linker's own table of `dlpi_phnum` program headers, mapped as long as the module is.
    let headers = unsafe { core::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) };
    let (mut start, mut end) = (u64::MAX, 0u64);
    for header in headers.iter().filter(|header| header.p_type == libc::PT_LOAD) {
        let low = info.dlpi_addr.wrapping_add(header.p_vaddr);
        start = start.min(low);
        end = end.max(low.wrapping_add(header.p_memsz));
    }
    if start < end {
        each(ModuleEntry { bias: info.dlpi_addr, start, end, path });
    }
    0
}

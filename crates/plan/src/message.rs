//! The three messages. Each travels as a `u32` byte count and that many bytes.

use crate::{Hook, PROTOCOL, Reader, Writer};

/// No message is longer, bytes. A plan for [`HOOKS`](crate::HOOKS) markers fits: 220 bytes each.
pub const MESSAGE_LIMIT: usize = 4 << 20;

/// Functions of the C library whose run-time addresses the agent looks up with the dynamic linker, in message order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
#[allow(missing_docs, reason = "each is named after the function")]
pub enum LibcFunction {
    Mmap = 0,
    Munmap,
    Mremap,
    Malloc,
    Calloc,
    Realloc,
    Memalign,
    AlignedAlloc,
    PosixMemalign,
    Free,
    PthreadCreate,
    Fork,
    Vfork,
    ExitNow,
    Execve,
    Fexecve,
    Dlopen,
    Sigaction,
    Signal,
    PosixSpawn,
    PosixSpawnp,
    Prctl,
    Syscall,
    Valloc,
    Pvalloc,
    StartMain,
    Exit,
}

impl LibcFunction {
    /// How many there are.
    pub const COUNT: usize = 27;

    /// In message order, with the dynamic symbol's name.
    pub const ALL: [(LibcFunction, &'static core::ffi::CStr); LibcFunction::COUNT] = [
        (LibcFunction::Mmap, c"mmap"),
        (LibcFunction::Munmap, c"munmap"),
        (LibcFunction::Mremap, c"mremap"),
        (LibcFunction::Malloc, c"malloc"),
        (LibcFunction::Calloc, c"calloc"),
        (LibcFunction::Realloc, c"realloc"),
        (LibcFunction::Memalign, c"memalign"),
        (LibcFunction::AlignedAlloc, c"aligned_alloc"),
        (LibcFunction::PosixMemalign, c"posix_memalign"),
        (LibcFunction::Free, c"free"),
        (LibcFunction::PthreadCreate, c"pthread_create"),
        (LibcFunction::Fork, c"fork"),
        (LibcFunction::Vfork, c"vfork"),
        (LibcFunction::ExitNow, c"_exit"),
        (LibcFunction::Execve, c"execve"),
        (LibcFunction::Fexecve, c"fexecve"),
        (LibcFunction::Dlopen, c"dlopen"),
        (LibcFunction::Sigaction, c"sigaction"),
        (LibcFunction::Signal, c"signal"),
        (LibcFunction::PosixSpawn, c"posix_spawn"),
        (LibcFunction::PosixSpawnp, c"posix_spawnp"),
        (LibcFunction::Prctl, c"prctl"),
        (LibcFunction::Syscall, c"syscall"),
        (LibcFunction::Valloc, c"valloc"),
        (LibcFunction::Pvalloc, c"pvalloc"),
        (LibcFunction::StartMain, c"__libc_start_main"),
        (LibcFunction::Exit, c"exit"),
    ];
}

/// Why the agent calls.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Purpose {
    /// A program image has just been loaded.
    Start = 0,
    /// `dlopen` brought new modules.
    NewModules = 1,
    /// This process is the child of a fork; it needs a trace file, its hooks are inherited.
    ForkChild = 2,
    /// This process is about to execute `program`; the answer is a [`Preload`].
    Exec = 3,
    /// This process waits while its memory is scanned, `Hello::mark` says when; the answer is of no interest.
    Scan = 4,
}

/// The agent's question.
#[derive(Clone, Copy, Debug)]
pub struct Hello<'a> {
    /// Why.
    pub purpose: Purpose,
    /// The asking process.
    pub pid: u32,
    /// Its parent.
    pub parent_pid: u32,
    /// Fork id when it comes from a fork, else 0.
    pub fork_id: u64,
    /// At a scan, the number of the user's mark from 1, or 0 at the end.
    pub mark: u64,
    /// The next free hook number.
    pub next_hook: u32,
    /// Entry of the stub for `Shape::Around`.
    pub around: u64,
    /// Entry of the stub for `Shape::Before`.
    pub before: u64,
    /// Entry of the stub for `Shape::Marker`.
    pub marker: u64,
    /// Path of the executable; before an exec, of the one that is to be.
    pub program: &'a [u8],
    /// Run-time addresses of [`LibcFunction::ALL`]; 0 when not found.
    pub libc: [u64; LibcFunction::COUNT],
}

/// One mapped module, as the dynamic linker tells it.
#[derive(Clone, Copy, Debug)]
pub struct ModuleEntry<'a> {
    /// Address in the process minus address in the file.
    pub bias: u64,
    /// First mapped address.
    pub start: u64,
    /// One past the last.
    pub end: u64,
    /// Path; empty for the executable itself.
    pub path: &'a [u8],
}

/// Writes everything of a hello but its modules, which follow with [`write_module`] to the message's end.
pub fn write_hello_head(hello: &Hello<'_>, out: &mut Writer<'_>) {
    out.u32(PROTOCOL);
    out.u8(hello.purpose as u8);
    out.u32(hello.pid);
    out.u32(hello.parent_pid);
    out.u64(hello.fork_id);
    out.u64(hello.mark);
    out.u32(hello.next_hook);
    out.u64(hello.around);
    out.u64(hello.before);
    out.u64(hello.marker);
    out.bytes(hello.program);
    for address in hello.libc {
        out.u64(address);
    }
}

/// Appends one module to a hello.
pub fn write_module(module: &ModuleEntry<'_>, out: &mut Writer<'_>) {
    out.u64(module.bias);
    out.u64(module.start);
    out.u64(module.end);
    out.bytes(module.path);
}

/// A hello being read.
pub struct HelloReader<'a> {
    /// The head.
    pub hello: Hello<'a>,
    rest: Reader<'a>,
}

impl<'a> HelloReader<'a> {
    /// Reads the head; `None` when the bytes are no hello of this protocol.
    pub fn new(bytes: &'a [u8]) -> Option<Self> {
        let mut from = Reader::new(bytes);
        if from.u32()? != PROTOCOL {
            return None;
        }
        let purpose = match from.u8()? {
            0 => Purpose::Start,
            1 => Purpose::NewModules,
            2 => Purpose::ForkChild,
            3 => Purpose::Exec,
            4 => Purpose::Scan,
            _ => return None,
        };
        let mut hello = Hello {
            purpose,
            pid: from.u32()?,
            parent_pid: from.u32()?,
            fork_id: from.u64()?,
            mark: from.u64()?,
            next_hook: from.u32()?,
            around: from.u64()?,
            before: from.u64()?,
            marker: from.u64()?,
            program: from.bytes()?,
            libc: [0; LibcFunction::COUNT],
        };
        for address in &mut hello.libc {
            *address = from.u64()?;
        }
        Some(HelloReader { hello, rest: from })
    }
}

impl<'a> Iterator for HelloReader<'a> {
    type Item = ModuleEntry<'a>;

    fn next(&mut self) -> Option<ModuleEntry<'a>> {
        Some(ModuleEntry {
            bias: self.rest.u64()?,
            start: self.rest.u64()?,
            end: self.rest.u64()?,
            path: self.rest.bytes()?,
        })
    }
}

/// The launcher's answer before an exec: how the agent gets into the new program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Preload<'a> {
    /// False: it must not (the program would not run as it does without us).
    pub wanted: bool,
    /// What must stand before the agent in LD_PRELOAD, each entry with a colon behind it; mostly empty.
    pub before: &'a [u8],
}

impl<'a> Preload<'a> {
    /// Writes the message.
    pub fn write(&self, out: &mut Writer<'_>) {
        out.u32(PROTOCOL);
        out.u8(self.wanted as u8);
        out.bytes(self.before);
    }

    /// Reads it.
    pub fn read(bytes: &'a [u8]) -> Option<Preload<'a>> {
        let mut from = Reader::new(bytes);
        if from.u32()? != PROTOCOL {
            return None;
        }
        Some(Preload { wanted: from.u8()? != 0, before: from.bytes()? })
    }
}

/// How the malloc family is recorded.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(u8)]
pub enum WatchMalloc {
    /// Its blocks are memory that arenas may live in.
    #[default]
    No = 0,
    /// They are blocks of glibc's arenas.
    Glibc = 1,
    /// They are blocks of an allocator that is not glibc's.
    Foreign = 2,
}

impl WatchMalloc {
    fn from_code(code: u8) -> Option<WatchMalloc> {
        match code {
            0 => Some(WatchMalloc::No),
            1 => Some(WatchMalloc::Glibc),
            2 => Some(WatchMalloc::Foreign),
            _ => None,
        }
    }
}

/// The head of the launcher's answer.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// False: stay quiet, record nothing, patch nothing.
    pub record: bool,
    /// Return addresses kept per site, 1 to 64.
    pub frames: u32,
    /// Record malloc blocks (arenas may live in them).
    pub heap: bool,
    /// Record them as blocks of the C library's arenas.
    pub malloc: WatchMalloc,
    /// Check mode: blocks grow by redzones, which are looked at.
    pub check: bool,
    /// Precise mode: memcheck is told about blocks, if the program runs under Valgrind.
    pub precise: bool,
    /// Signals that set a mark, bit n − 1 for signal n.
    pub mark_on: u64,
    /// The agent asks for a scan at marks and at the end.
    pub scan: bool,
    /// Bytes of the trace file, whose descriptor travels with this message; 0: there is none.
    pub trace_bytes: u64,
    /// True when all its space is allocated already (kernels without MADV_POPULATE_WRITE).
    pub allocated: bool,
    /// Bytes of the file of unwinding tables, whose descriptor travels behind the trace's; 0: there is none.
    pub tables_bytes: u64,
    /// Mean distance of samples in bytes; 0: everything is recorded.
    pub sample_bytes: u64,
    /// What their distances are drawn from.
    pub sample_seed: u64,
}

/// A module's code, and where the rules lie that its frames are unwound by. All modules of the process are told, in ascending order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unwinding {
    /// First byte of code.
    pub start: u64,
    /// One past the last.
    pub end: u64,
    /// Where its table begins in the file of tables: `count` places, then as many rules, of four bytes each.
    pub offset: u64,
    /// Rules; 0: nothing is known of its frames.
    pub count: u32,
}

/// Code to place in a page of its own.
#[derive(Clone, Copy, Debug)]
pub struct Placed<'a> {
    /// Page-aligned address that was free in the memory map.
    pub address: u64,
    /// The code. The agent maps whole pages.
    pub code: &'a [u8],
}

/// Five bytes to overwrite.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Patch {
    /// Where.
    pub address: u64,
    /// What must be there now.
    pub original: [u8; 5],
    /// What to write.
    pub patch: [u8; 5],
    /// The hook it serves.
    pub hook: u32,
}

/// A copy of the arena library, found by its note.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Library {
    /// Address of the word that points to the process's observer.
    pub observer: u64,
    /// The version of the observer's table that it knows.
    pub version: u32,
}

const ITEM_BUILD_ID: u8 = 1;
const ITEM_PLACED: u8 = 2;
const ITEM_HOOK: u8 = 3;
const ITEM_PATCH: u8 = 4;
const ITEM_LIBRARY: u8 = 5;
const ITEM_ONLY: u8 = 6;
const ITEM_UNWINDING: u8 = 20;
const ITEM_GUARDS: u8 = 7;

/// Writes a plan: the head, then items in any order. Code must come before the patches that lead to it.
pub struct PlanWriter<'a> {
    out: Writer<'a>,
}

impl<'a> PlanWriter<'a> {
    /// Writes the head.
    pub fn new(buffer: &'a mut [u8], plan: &Plan) -> Self {
        let mut out = Writer::new(buffer);
        out.u32(PROTOCOL);
        out.u8(plan.record as u8);
        out.u32(plan.frames);
        out.u8(plan.heap as u8);
        out.u8(plan.malloc as u8);
        out.u8(plan.check as u8);
        out.u8(plan.precise as u8);
        out.u64(plan.mark_on);
        out.u8(plan.scan as u8);
        out.u64(plan.trace_bytes);
        out.u8(plan.allocated as u8);
        out.u64(plan.tables_bytes);
        out.u64(plan.sample_bytes);
        out.u64(plan.sample_seed);
        PlanWriter { out }
    }

    /// The build id of the next module, in hello order.
    pub fn build_id(&mut self, id: &[u8]) {
        self.out.u8(ITEM_BUILD_ID);
        self.out.bytes(id);
    }

    /// Code to place.
    pub fn placed(&mut self, placed: &Placed<'_>) {
        self.out.u8(ITEM_PLACED);
        self.out.u64(placed.address);
        self.out.bytes(placed.code);
    }

    /// The next hook.
    pub fn hook(&mut self, hook: &Hook) {
        self.out.u8(ITEM_HOOK);
        hook.write(&mut self.out);
    }

    /// A patch.
    pub fn patch(&mut self, patch: &Patch) {
        self.out.u8(ITEM_PATCH);
        self.out.u64(patch.address);
        self.out.raw(&patch.original);
        self.out.raw(&patch.patch);
        self.out.u32(patch.hook);
    }

    /// A copy of the arena library.
    pub fn library(&mut self, library: Library) {
        self.out.u8(ITEM_LIBRARY);
        self.out.u64(library.observer);
        self.out.u32(library.version);
    }

    /// Arenas of the library whose names do not match are not watched. At most one.
    pub fn only(&mut self, pattern: &[u8]) {
        self.out.u8(ITEM_ONLY);
        self.out.bytes(pattern);
    }

    /// A module's rules.
    pub fn unwinding(&mut self, unwinding: &Unwinding) {
        self.out.u8(ITEM_UNWINDING);
        self.out.u64(unwinding.start);
        self.out.u64(unwinding.end);
        self.out.u64(unwinding.offset);
        self.out.u32(unwinding.count);
    }

    /// In check mode, blocks of the library's arenas whose names match end at guard pages. At most one.
    pub fn guards(&mut self, pattern: &[u8]) {
        self.out.u8(ITEM_GUARDS);
        self.out.bytes(pattern);
    }

    /// Bytes written, or `None` when the buffer was too small.
    pub fn finish(self) -> Option<usize> {
        self.out.finish()
    }
}

/// One item of a plan.
#[derive(Clone, Copy, Debug)]
pub enum PlanItem<'a> {
    /// The build id of the next module.
    BuildId(&'a [u8]),
    /// Code to place.
    Placed(Placed<'a>),
    /// The next hook.
    Hook(Hook),
    /// A patch.
    Patch(Patch),
    /// A copy of the arena library in one of the modules.
    Library(Library),
    /// Its arenas whose names do not match this pattern (`*`, `?`) are not watched.
    Only(&'a [u8]),
    /// A module's rules.
    Unwinding(Unwinding),
    /// In check mode, blocks of its arenas whose names match end at guard pages.
    Guards(&'a [u8]),
}

/// A plan being read.
#[derive(Clone, Copy)]
pub struct PlanReader<'a> {
    /// The head.
    pub plan: Plan,
    rest: Reader<'a>,
}

impl<'a> PlanReader<'a> {
    /// Reads the head; `None` when the bytes are no plan of this protocol.
    pub fn new(bytes: &'a [u8]) -> Option<Self> {
        let mut from = Reader::new(bytes);
        if from.u32()? != PROTOCOL {
            return None;
        }
        let plan = Plan {
            record: from.u8()? != 0,
            frames: from.u32()?,
            heap: from.u8()? != 0,
            malloc: WatchMalloc::from_code(from.u8()?)?,
            check: from.u8()? != 0,
            precise: from.u8()? != 0,
            mark_on: from.u64()?,
            scan: from.u8()? != 0,
            trace_bytes: from.u64()?,
            allocated: from.u8()? != 0,
            tables_bytes: from.u64()?,
            sample_bytes: from.u64()?,
            sample_seed: from.u64()?,
        };
        Some(PlanReader { plan, rest: from })
    }
}

impl<'a> Iterator for PlanReader<'a> {
    type Item = PlanItem<'a>;

    fn next(&mut self) -> Option<PlanItem<'a>> {
        match self.rest.u8()? {
            ITEM_BUILD_ID => Some(PlanItem::BuildId(self.rest.bytes()?)),
            ITEM_PLACED => Some(PlanItem::Placed(Placed { address: self.rest.u64()?, code: self.rest.bytes()? })),
            ITEM_HOOK => Some(PlanItem::Hook(Hook::read(&mut self.rest)?)),
            ITEM_PATCH => Some(PlanItem::Patch(Patch {
                address: self.rest.u64()?,
                original: self.rest.raw(5)?.try_into().ok()?,
                patch: self.rest.raw(5)?.try_into().ok()?,
                hook: self.rest.u32()?,
            })),
            ITEM_LIBRARY => Some(PlanItem::Library(Library { observer: self.rest.u64()?, version: self.rest.u32()? })),
            ITEM_ONLY => Some(PlanItem::Only(self.rest.bytes()?)),
            ITEM_UNWINDING => Some(PlanItem::Unwinding(Unwinding {
                start: self.rest.u64()?,
                end: self.rest.u64()?,
                offset: self.rest.u64()?,
                count: self.rest.u32()?,
            })),
            ITEM_GUARDS => Some(PlanItem::Guards(self.rest.bytes()?)),
            _ => None,
        }
    }
}

/// Why one hook could not be laid.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Failure {
    /// The page near the function could not be mapped.
    NoPage = 1,
    /// The bytes in memory are not those of the file.
    CodeDiffers = 2,
    /// The code could not be made writable.
    NotWritable = 3,
    /// The hook table is full.
    TableFull = 4,
}

impl Failure {
    fn from_code(code: u8) -> Option<Failure> {
        match code {
            1 => Some(Failure::NoPage),
            2 => Some(Failure::CodeDiffers),
            3 => Some(Failure::NotWritable),
            4 => Some(Failure::TableFull),
            _ => None,
        }
    }
}

/// What the agent did with a plan.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Done {
    /// errno of opening or mapping the trace; 0 when it is being written.
    pub trace_errno: u32,
}

/// Writes a done message: the head, then `(hook, failure)` pairs of those that failed.
pub fn write_done(done: Done, failures: impl Iterator<Item = (u32, Failure)>, out: &mut Writer<'_>) {
    out.u32(PROTOCOL);
    out.u32(done.trace_errno);
    for (hook, failure) in failures {
        out.u32(hook);
        out.u8(failure as u8);
    }
}

impl Done {
    /// Reads a done message; the iterator yields the failures.
    pub fn read(bytes: &[u8]) -> Option<(Done, impl Iterator<Item = (u32, Failure)> + '_)> {
        let mut from = Reader::new(bytes);
        if from.u32()? != PROTOCOL {
            return None;
        }
        let done = Done { trace_errno: from.u32()? };
        Some((done, core::iter::from_fn(move || Some((from.u32()?, Failure::from_code(from.u8()?)?)))))
    }
}

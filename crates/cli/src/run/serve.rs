//! Answers the agents: one process, one plan, one trace file.
//!
//! Runs in a thread of its own for as long as `run` lasts. Everything that must be parsed is parsed here, so that
//! nothing of the kind happens inside the target.

use crate::run::drain::Drains;
use crate::run::libc;
use crate::run::markers;
use crate::run::plan::{self, Loaded, Outcome, Request};
use crate::run::sanitizer::{self, Way};
use crate::run::scan;
use crate::run::trace_file::{self, TraceFile};
use crate::run::unwinding::Tables;
use crate::run::watch::Watching;
use arenascope_event::{HookFact, HookStatus, Mode, Module, RoleDecl, Scan, Watched};
use arenascope_plan::{
    Done, Failure, HelloReader, LibcFunction, MESSAGE_LIMIT, Patch, Placed, Plan, PlanWriter, Purpose, WatchMalloc,
};
use arenascope_symbols::Image;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Resource, getrlimit};
use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::{self, IoSlice, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Return addresses kept per site.
const FRAMES: u32 = 8;
/// Why blocks of malloc are not seen in a program with a sanitizer: its reports show who called malloc and free.
const SANITIZED: &str =
    "malloc is not watched: the program is built with a sanitizer, whose reports would show us as malloc's caller";
/// Check mode needs the ends of blocks of malloc for itself.
const UNCHECKED_MALLOC: &str = "nothing was checked: --check and --watch malloc do not go together in this version";
/// Why it is not checked either.
const UNCHECKED_SANITIZED: &str = "nothing was checked: the program is built with a sanitizer, which checks malloc itself; \
     build it without to check its arenas";
/// How long an agent may take over a message.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long children that were forked before the program's end may take to ask. One that was killed first is waited for
/// in vain.
const CHILD_PATIENCE: Duration = Duration::from_secs(1);
/// Address space of an agent: its tables, and the beginning of a trace.
const AGENT_BYTES: u64 = 88 << 20;
/// Between two looks at whether any is left.
const GLANCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };

/// One program image that ran in one process.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Process.
    pub pid: u32,
    /// Its parent.
    pub parent_pid: u32,
    /// Nonzero for a forked child.
    pub fork_id: u64,
    /// The program's file.
    pub program: String,
    /// Its trace; `None` when nothing is recorded.
    pub trace: Option<PathBuf>,
    /// Modules, in order of sight.
    pub modules: Vec<Module>,
    /// Roles and what became of them.
    pub hooks: Vec<HookFact>,
    /// How they were chosen.
    pub watched: Watched,
    /// Blocks of malloc were watched.
    pub malloc: WatchMalloc,
    /// How it is run.
    pub mode: Mode,
    /// Mean distance of samples, where only those are recorded.
    pub sampled: u64,
    /// What that mode cannot do here, a sentence each.
    pub mode_limits: Vec<String>,
    /// Paths of the modules with a copy of our arena library.
    pub libraries: Vec<String>,
    /// Behind the nops of its markers: what a backtrace from one begins with.
    pub marker_places: Vec<u64>,
    /// A patched place in each module that has one: its address, and what was written there.
    pub patched: Vec<(u64, [u8; 5])>,
    /// Scans of its memory.
    pub scans: Vec<Scan>,
    /// Things to tell the user about this process.
    pub remarks: Vec<String>,
}

/// What the server is told at its start.
pub struct Settings {
    /// The program's pid: its first recording image gets the main trace.
    pub main_pid: u32,
    /// The main trace, begun before the program ran.
    pub main_trace: Option<TraceFile>,
    /// Traces that lie in memory.
    pub drains: Arc<Drains>,
    /// Where and how other traces are named.
    pub naming: Naming,
    /// Which roles.
    pub watching: Watching,
    /// How processes are run.
    pub mode: Mode,
    /// In mode `Sample`: the mean distance of samples in bytes.
    pub sample_bytes: u64,
    /// Signals that set a mark, bit n − 1 for signal n.
    pub mark_on: u64,
    /// Arenas of our library by name: others are not watched.
    pub only: Option<String>,
    /// In check mode: arenas of our library by name whose blocks end at guard pages.
    pub guards: Option<String>,
    /// Memory is scanned if it has no more than so many bytes; `None`: it is not.
    pub scan: Option<u64>,
}

/// How traces are named.
#[derive(Clone, Debug)]
pub struct Naming {
    /// Folder for all but a main trace that `-o` names.
    pub folder: PathBuf,
    /// `-o FILE`: other processes' traces are named after it.
    pub output: Option<PathBuf>,
    /// Overwrite.
    pub force: bool,
}

impl Naming {
    /// The trace of a process: `NAME.PID.ascope`, or after `-o STEM.EXT`: `STEM.PID.EXT`.
    pub fn path(&self, program: &str, pid: u32, main: bool) -> PathBuf {
        match &self.output {
            Some(output) if main => output.clone(),
            Some(output) => {
                let stem = output.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
                let extension =
                    output.extension().map_or_else(|| "ascope".into(), |extension| extension.to_string_lossy());
                output.with_file_name(format!("{stem}.{pid}.{extension}"))
            }
            None => {
                let name = Path::new(program).file_name().map_or("program".into(), |name| name.to_string_lossy());
                self.folder.join(format!("{name}.{pid}.ascope"))
            }
        }
    }
}

/// Binds the socket that agents ask. Must exist before the program runs.
pub fn listen(launcher: u32) -> io::Result<UnixListener> {
    UnixListener::bind_addr(&SocketAddr::from_abstract_name(format!("arenascope.{launcher}"))?)
}

/// Ends [`serve`]: an empty message.
pub fn hang_up(launcher: u32) {
    if let Ok(address) = SocketAddr::from_abstract_name(format!("arenascope.{launcher}"))
        && let Ok(mut stream) = UnixStream::connect_addr(&address)
    {
        let _ = stream.write_all(&0u32.to_le_bytes());
    }
}

/// Answers until [`hang_up`], and then children that were forked before it. Returns everything that was seen.
pub fn serve(listener: &UnixListener, settings: Settings) -> Vec<Seen> {
    let main_pid = settings.main_pid;
    let mut server = Server { settings, seen: Vec::new(), images: RefCell::default(), tables: Tables::default() };
    let mut hung_up: Option<Instant> = None;
    loop {
        if let Some(since) = hung_up {
            // The main process may end between the birth of its child and the child's question.
            if since.elapsed() > CHILD_PATIENCE || !server.expects_children() {
                break;
            }
            if !asked_within(listener, GLANCE) {
                continue;
            }
        }
        let Ok((stream, _)) = listener.accept() else { break };
        let _ = stream.set_read_timeout(Some(PATIENCE));
        let _ = stream.set_write_timeout(Some(PATIENCE));
        match server.answer(&stream) {
            Ok(true) => {}
            Ok(false) => hung_up = Some(Instant::now()),
            // An agent that broke off (its process was killed) is its own affair.
            Err(_) => {}
        }
    }
    server.seen.extend(no_room(server.seen.is_empty(), main_pid));
    server.seen
}

/// Why nobody has asked, when it is a limit on address space: an agent without room for its tables is silent.
fn no_room(nobody: bool, pid: u32) -> Option<Seen> {
    let limit = getrlimit(Resource::As).current.filter(|limit| nobody && *limit < AGENT_BYTES)?;
    let (limit, need) = (limit >> 20, AGENT_BYTES >> 20);
    let remark = format!("address space is limited to {limit} MiB (ulimit -v), and we alone need {need} MiB: raise it");
    Some(Seen { pid, remarks: vec![remark], ..Seen::default() })
}

struct Server {
    settings: Settings,
    seen: Vec<Seen>,
    images: RefCell<HashMap<PathBuf, Option<Rc<Image>>>>,
    tables: Tables,
}

/// What a process draws its samples by: no two processes the same.
fn seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    (now.as_nanos() as u64) ^ u64::from(std::process::id()).rotate_left(40)
}

/// True when somebody asks within that time.
fn asked_within(listener: &UnixListener, time: Timespec) -> bool {
    matches!(poll(&mut [PollFd::new(listener, PollFlags::IN)], Some(&time)), Ok(1..))
}

/// The memory map of a process. Paths in it may be any bytes; they are of no interest here.
fn maps_of(pid: u32) -> String {
    let bytes = std::fs::read(format!("/proc/{pid}/maps")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn read_message(mut stream: &UnixStream) -> io::Result<Vec<u8>> {
    let mut length = [0u8; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length) as usize;
    if length > MESSAGE_LIMIT {
        return Err(io::Error::other("message too long"));
    }
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn write_message(mut stream: &UnixStream, bytes: &[u8], files: &[BorrowedFd<'_>]) -> io::Result<()> {
    let length = (bytes.len() as u32).to_le_bytes();
    let mut room = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut ancillary = rustix::net::SendAncillaryBuffer::new(&mut room);
    if !files.is_empty() {
        ancillary.push(rustix::net::SendAncillaryMessage::ScmRights(files));
    }
    let sent =
        rustix::net::sendmsg(stream, &[IoSlice::new(&length)], &mut ancillary, rustix::net::SendFlags::NOSIGNAL)?;
    stream.write_all(length.get(sent..).unwrap_or(&[]))?;
    stream.write_all(bytes)
}

impl Server {
    /// True while a process has forked more children than have asked for a trace.
    fn expects_children(&self) -> bool {
        // By process: forks begun less children seen.
        let mut left: HashMap<u32, i64> = HashMap::new();
        for seen in &self.seen {
            if let Some(trace) = &seen.trace {
                let begun = trace_file::forks_begun(trace, &self.settings.drains).unwrap_or(0);
                *left.entry(seen.pid).or_default() += i64::try_from(begun).unwrap_or(0);
            }
            if seen.fork_id != 0 {
                *left.entry((seen.fork_id >> 32) as u32).or_default() -= 1;
            }
        }
        left.into_values().any(|left| left > 0)
    }

    /// False: it was the hang-up.
    fn answer(&mut self, stream: &UnixStream) -> io::Result<bool> {
        let question = read_message(stream)?;
        if question.is_empty() {
            return Ok(false);
        }
        let Some(reader) = HelloReader::new(&question) else { return Ok(true) };
        let hello = reader.hello;
        // The kernel says who is asking; nobody answers for another.
        let peer = rustix::net::sockopt::socket_peercred(stream)?;
        if peer.pid.as_raw_nonzero().get() as u32 != hello.pid {
            return Ok(true);
        }
        let program = String::from_utf8_lossy(hello.program).into_owned();
        let modules: Vec<Loaded> = reader
            .enumerate()
            .map(|(index, entry)| {
                let path = if index == 0 && entry.path.is_empty() { hello.program } else { entry.path };
                let image = self.image(path);
                let path = String::from_utf8_lossy(path).into_owned();
                Loaded { bias: entry.bias, start: entry.start, end: entry.end, path, image, is_program: index == 0 }
            })
            .collect();
        match hello.purpose {
            Purpose::Start => self.start(stream, &hello, program, &modules)?,
            Purpose::NewModules => self.new_modules(stream, &hello, &modules)?,
            Purpose::ForkChild => self.fork_child(stream, &hello, &modules)?,
            Purpose::Exec => self.before_exec(stream, &hello)?,
            Purpose::Scan => self.scan(stream, &hello)?,
        }
        Ok(true)
    }

    /// The process waits: reads its memory.
    fn scan(&mut self, stream: &UnixStream, hello: &arenascope_plan::Hello<'_>) -> io::Result<()> {
        let seen = self.seen.iter_mut().rev().find(|seen| seen.pid == hello.pid);
        if let (Some(limit), Some(seen)) = (self.settings.scan, seen)
            && let Some(trace) = &seen.trace
            // What a forked process inherited is in another trace; documented, and nothing to say about each.
            && seen.fork_id == 0
        {
            self.settings.drains.sync(trace);
            match scan::scan(hello.pid, trace, hello.mark, limit) {
                Ok(scan) => seen.scans.push(scan),
                Err(why) => {
                    let when =
                        if hello.mark == 0 { "at the end".to_owned() } else { format!("at mark {}", hello.mark) };
                    seen.remarks.push(format!("memory was not scanned {when}: {why}"));
                }
            }
        }
        write_message(stream, &[], &[])
    }

    /// The file behind a path, which may be any bytes.
    fn image(&self, path: &[u8]) -> Option<Rc<Image>> {
        let path = Path::new(OsStr::from_bytes(path));
        self.images.borrow_mut().entry(path.to_owned()).or_insert_with(|| Image::open(path).ok().map(Rc::new)).clone()
    }

    fn start(
        &mut self,
        stream: &UnixStream,
        hello: &arenascope_plan::Hello<'_>,
        program: String,
        modules: &[Loaded],
    ) -> io::Result<()> {
        self.settings.drains.executed(hello.pid);
        let image = modules.first().and_then(|module| module.image.clone());
        let roles = self.settings.watching.roles_for(image.as_deref());
        let maps = maps_of(hello.pid);
        let fresh: Vec<usize> = (0..modules.len()).collect();
        let sanitized = modules.iter().filter_map(|module| module.image.as_deref()).any(sanitizer::replaces_malloc);
        let wanted = self.settings.watching.malloc && !sanitized;
        let libc = libc::functions(modules, &hello.libc);
        let (malloc, about_malloc) =
            if wanted { malloc_here(modules, &libc, &roles.decls) } else { Default::default() };
        let mut outcome = plan::make(&Request {
            modules,
            fresh: &fresh,
            decls: &roles.decls,
            libc: &libc,
            markers: self.watches_markers(),
            record: self.settings.watching.late || malloc != WatchMalloc::No,
            // Samples do without the blocks that arenas lie in.
            heap: !sanitized && (self.settings.mode != Mode::Sample || malloc != WatchMalloc::No),
            scan: self.settings.scan.is_some(),
            next_hook: hello.next_hook,
            around: hello.around,
            before: hello.before,
            marker: hello.marker,
            maps: &maps,
        });
        let program_path = modules.first().map_or("", |module| module.path.as_str());
        outcome.facts.extend(roles.unwatched.into_iter().map(|(decl, why)| HookFact {
            decl,
            module: program_path.to_owned(),
            address: arenascope_event::Address::NULL,
            status: HookStatus::NotWatched(why),
            synchronises: Default::default(),
            markers: None,
        }));
        let record = self.settings.watching.late
            || malloc != WatchMalloc::No
            || plan::sees_arenas(&outcome.facts)
            || !outcome.libraries.is_empty();
        let mut seen = Seen {
            pid: hello.pid,
            parent_pid: hello.parent_pid,
            program: program.clone(),
            modules: modules.iter().map(to_module).collect(),
            watched: roles.watched,
            malloc,
            ..Seen::default()
        };
        seen.remarks.extend(about_malloc);
        if sanitized && (record || self.settings.watching.malloc) {
            seen.remarks.push(SANITIZED.into());
        }
        self.choose_mode(&mut seen, &outcome, sanitized);
        let mut trace = None;
        if record {
            match self.trace_for(hello, &program, 0) {
                Ok(file) => trace = Some(file),
                Err(error) => seen.remarks.push(format!("process {} was not recorded: {error}", hello.pid)),
            }
        }
        let ids: Vec<Vec<u8>> = seen.modules.iter().map(|module| module.build_id.clone()).collect();
        self.tell(stream, outcome, record, trace, &ids, modules, seen)
    }

    /// Under memcheck functions are watched where they are named: it is told of blocks there, and a marker would contradict it.
    fn watches_markers(&self) -> bool {
        self.settings.mode != Mode::Precise || self.settings.watching.given.is_empty()
    }

    /// Decides how a new image is run, and what cannot be done about some of its functions.
    fn choose_mode(&self, seen: &mut Seen, outcome: &Outcome, sanitized: bool) {
        if self.settings.mode == Mode::Record {
            return;
        }
        if self.settings.mode == Mode::Sample {
            (seen.mode, seen.sampled) = (Mode::Sample, self.settings.sample_bytes);
            return;
        }
        if sanitized {
            // Frees of malloc are not seen there, and with them the end of memory that arenas lie in.
            seen.remarks.push(UNCHECKED_SANITIZED.into());
            return;
        }
        if self.settings.watching.malloc {
            seen.remarks.push(UNCHECKED_MALLOC.into());
            return;
        }
        seen.mode = self.settings.mode;
        seen.mode_limits.extend(outcome.unchecked(seen.mode));
    }

    /// A process is about to execute something: the way in. Its paths are its own: another folder, another root.
    fn before_exec(&mut self, stream: &UnixStream, hello: &arenascope_plan::Hello<'_>) -> io::Result<()> {
        let process = PathBuf::from(format!("/proc/{}", hello.pid));
        let named = Path::new(OsStr::from_bytes(hello.program));
        let path = match named.strip_prefix("/proc/self") {
            Ok(rest) => process.join(rest),
            Err(_) if named.is_absolute() => {
                // Through the link only where it leads elsewhere: libraries beside the program are named by its path.
                let root = process.join("root");
                let moved = std::fs::read_link(&root).is_ok_and(|target| target != Path::new("/"));
                if moved { root.join(named.strip_prefix("/").unwrap_or(named)) } else { named.to_owned() }
            }
            Err(_) => std::fs::read_link(process.join("cwd")).unwrap_or_default().join(named),
        };
        // The new environment is not known here; the launcher's own is what it mostly descends from.
        let way = sanitizer::way_into_file(&path, std::env::var_os("LD_LIBRARY_PATH").as_deref());
        let (wanted, before) = match &way {
            Way::Behind(before) => (true, before.as_slice()),
            Way::Barred(reason) => {
                let remarks = vec![format!("{} was executed and not watched: {reason}", named.display())];
                self.seen.push(Seen {
                    pid: hello.pid,
                    program: named.display().to_string(),
                    remarks,
                    ..Seen::default()
                });
                (false, &[][..])
            }
        };
        let mut buffer = vec![0u8; before.len() + 64];
        let mut writer = arenascope_plan::Writer::new(&mut buffer);
        arenascope_plan::Preload { wanted, before }.write(&mut writer);
        let used = writer.finish().unwrap_or(0);
        write_message(stream, buffer.get(..used).unwrap_or(&[]), &[])
    }

    fn new_modules(
        &mut self,
        stream: &UnixStream,
        hello: &arenascope_plan::Hello<'_>,
        modules: &[Loaded],
    ) -> io::Result<()> {
        let Some(mut seen) = self.seen.iter().rposition(|seen| seen.pid == hello.pid).map(|at| self.seen.remove(at))
        else {
            return Ok(());
        };
        // A library that was closed and opened again lies where it lay, without our patches.
        let still_patched = |module: &Loaded| {
            let inside = seen.patched.iter().filter(|(at, _)| module.start <= *at && *at < module.end);
            inside.into_iter().all(|(at, patch)| bytes_at(hello.pid, *at).is_none_or(|bytes| bytes == *patch))
        };
        let known = |module: &Loaded| {
            seen.modules.iter().any(|known| known.start.0 == module.start && known.path == module.path)
                && still_patched(module)
        };
        let fresh: Vec<usize> =
            modules.iter().enumerate().filter(|(_, module)| !known(module)).map(|(index, _)| index).collect();
        let decls = self.settings.watching.given.clone();
        let maps = maps_of(hello.pid);
        let mut outcome = plan::make(&Request {
            modules,
            fresh: &fresh,
            decls: &decls,
            libc: &[],
            markers: self.watches_markers() && seen.trace.is_some(),
            record: false,
            heap: false,
            scan: false,
            next_hook: hello.next_hook,
            around: hello.around,
            before: hello.before,
            marker: hello.marker,
            maps: &maps,
        });
        if seen.trace.is_none() {
            let with_markers = fresh
                .iter()
                .filter_map(|&index| modules.get(index))
                .filter(|module| module.image.as_deref().is_some_and(|image| markers::counts(image).is_some()));
            seen.remarks.extend(with_markers.map(|module| {
                format!(
                    "{} was loaded later and has markers, which were not watched: --late watches from the start",
                    module.path
                )
            }));
        }
        // 0 says "known": an id of one zero byte, which no linker makes.
        let ids: Vec<Vec<u8>> = modules
            .iter()
            .enumerate()
            .map(|(index, module)| if fresh.contains(&index) { to_module(module).build_id } else { vec![0] })
            .collect();
        if matches!(seen.mode, Mode::Check | Mode::Precise) {
            seen.mode_limits.extend(outcome.unchecked(seen.mode));
        }
        seen.modules.extend(fresh.iter().filter_map(|&index| modules.get(index)).map(to_module));
        let before = seen.hooks.len();
        for fact in &mut outcome.fact_of_hook {
            *fact = fact.map(|index| index + before);
        }
        let facts = std::mem::take(&mut outcome.facts);
        seen.hooks.extend(facts);
        let record = seen.trace.is_some();
        self.tell(stream, outcome, record, None, &ids, modules, seen)
    }

    fn fork_child(
        &mut self,
        stream: &UnixStream,
        hello: &arenascope_plan::Hello<'_>,
        modules: &[Loaded],
    ) -> io::Result<()> {
        let parent = self.seen.iter().rev().find(|seen| seen.pid == hello.parent_pid).cloned();
        let program = parent.as_ref().map_or_else(
            || modules.first().map_or_else(String::new, |module| module.path.clone()),
            |parent| parent.program.clone(),
        );
        let mut seen = Seen {
            pid: hello.pid,
            parent_pid: hello.parent_pid,
            fork_id: hello.fork_id,
            program: program.clone(),
            trace: None,
            modules: modules.iter().map(to_module).collect(),
            hooks: parent.as_ref().map_or_else(Vec::new, |parent| parent.hooks.clone()),
            watched: parent.as_ref().map_or(Watched::Nothing, |parent| parent.watched),
            malloc: parent.as_ref().map_or(WatchMalloc::No, |parent| parent.malloc),
            mode: parent.as_ref().map_or(Mode::Record, |parent| parent.mode),
            sampled: parent.as_ref().map_or(0, |parent| parent.sampled),
            mode_limits: parent.as_ref().map_or_else(Vec::new, |parent| parent.mode_limits.clone()),
            libraries: parent.as_ref().map_or_else(Vec::new, |parent| parent.libraries.clone()),
            marker_places: parent.as_ref().map_or_else(Vec::new, |parent| parent.marker_places.clone()),
            patched: parent.as_ref().map_or_else(Vec::new, |parent| parent.patched.clone()),
            scans: Vec::new(),
            remarks: Vec::new(),
        };
        let trace = match self.trace_for(hello, &program, hello.fork_id) {
            Ok(file) => Some(file),
            Err(error) => {
                seen.remarks.push(format!("the forked process {} was not recorded: {error}", hello.pid));
                None
            }
        };
        let record = trace.is_some();
        self.tell(stream, Outcome::default(), record, trace, &[], &[], seen)
    }

    /// The trace of a process that records; the main one for the program's own.
    fn trace_for(
        &mut self,
        hello: &arenascope_plan::Hello<'_>,
        program: &str,
        fork_id: u64,
    ) -> Result<TraceFile, crate::error::CliError> {
        if hello.pid == self.settings.main_pid
            && fork_id == 0
            && let Some(trace) = self.settings.main_trace.take()
        {
            return Ok(trace);
        }
        let naming = &self.settings.naming;
        let mut path = naming.path(program, hello.pid, false);
        // The same process may execute the same program again, and a pid may come back.
        let mut round = 2;
        while self.seen.iter().any(|seen| seen.trace.as_deref().and_then(Path::file_name) == path.file_name()) {
            let extension = format!("{round}.ascope");
            path = naming.path(program, hello.pid, false).with_extension(extension);
            round += 1;
        }
        let drains = &self.settings.drains;
        let program = program.as_bytes();
        trace_file::begin(&path, naming.force, drains, true, hello.pid, hello.parent_pid, fork_id, program)
    }

    /// Sends the plan, hears what became of it, and files the process. The rules of `modules` go along; a forked child has its parent's.
    #[expect(clippy::too_many_arguments, reason = "each is one part of the answer")]
    fn tell(
        &mut self,
        stream: &UnixStream,
        outcome: Outcome,
        record: bool,
        trace: Option<TraceFile>,
        ids: &[Vec<u8>],
        modules: &[Loaded],
        mut seen: Seen,
    ) -> io::Result<()> {
        let record = record && (trace.is_some() || seen.trace.is_some());
        let unwinding = if record { self.tables.of(modules, &mut seen.remarks) } else { Vec::new() };
        let tables = self.tables.file().filter(|_| !unwinding.is_empty());
        let mut buffer = vec![0u8; MESSAGE_LIMIT];
        let head = Plan {
            record,
            frames: FRAMES,
            heap: true,
            malloc: seen.malloc,
            check: seen.mode == Mode::Check,
            precise: seen.mode == Mode::Precise,
            mark_on: self.settings.mark_on,
            scan: self.settings.scan.is_some(),
            trace_bytes: trace.as_ref().map_or(0, |trace| trace.bytes),
            allocated: trace.as_ref().is_some_and(|trace| trace.allocated),
            tables_bytes: tables.map_or(0, |(_, bytes)| bytes),
            sample_bytes: seen.sampled,
            sample_seed: seed(),
        };
        let mut writer = PlanWriter::new(&mut buffer, &head);
        for id in ids {
            writer.build_id(id);
        }
        if head.record {
            if let Some(pattern) = &self.settings.only {
                writer.only(pattern.as_bytes());
            }
            if let (Some(pattern), Mode::Check) = (&self.settings.guards, seen.mode) {
                writer.guards(pattern.as_bytes());
            }
            for (library, path) in &outcome.libraries {
                writer.library(*library);
                seen.libraries.push(path.clone());
            }
            seen.libraries.dedup();
        }
        for hook in &outcome.hooks {
            writer.hook(hook);
        }
        for (address, code) in &outcome.placed {
            writer.placed(&Placed { address: *address, code });
        }
        for patch in &outcome.patches {
            writer.patch(patch);
        }
        for unwinding in &unwinding {
            writer.unwinding(unwinding);
        }
        let Some(used) = writer.finish() else {
            seen.remarks.push(format!("{} hooks are more than one plan can hold; none was laid", outcome.hooks.len()));
            self.seen.push(seen);
            return Ok(());
        };
        let files: Vec<BorrowedFd<'_>> = trace
            .as_ref()
            .map(TraceFile::mapped)
            .into_iter()
            .chain(tables.map(|(file, _)| file))
            .map(AsFd::as_fd)
            .collect();
        let started = trace.as_ref().map_or(Ok(()), |trace| trace.start(&self.settings.drains));
        let sent = started.and_then(|()| write_message(stream, buffer.get(..used).unwrap_or(&[]), &files));
        if !outcome.facts.is_empty() {
            seen.hooks = outcome.facts;
        }
        seen.remarks.extend(outcome.blind.iter().map(|reason| format!("not hooked: {reason}")));
        seen.marker_places.extend(&outcome.marker_places);
        let done = sent.and_then(|()| read_message(stream));
        if let Some(trace) = trace {
            seen.trace = Some(trace.path);
        }
        if let Ok(bytes) = &done
            && let Some((done, failures)) = Done::read(bytes)
        {
            if done.trace_errno != 0 {
                let error = io::Error::from_raw_os_error(done.trace_errno as i32);
                seen.remarks
                    .push(format!("process {} could not map its trace ({error}): nothing was recorded", seen.pid));
            }
            let first = outcome.patches.first().map_or(0, |patch| patch.hook);
            let failures: Vec<(u32, Failure)> = failures.collect();
            seen.patched.extend(one_a_module(&seen.modules, &outcome.patches, &failures));
            for (hook, failure) in failures {
                let fact = outcome.fact_of_hook.get(hook.wrapping_sub(first) as usize).copied().flatten();
                match fact.and_then(|index| seen.hooks.get_mut(index)) {
                    Some(HookFact { markers: Some(count), status, .. }) => {
                        count.seen = count.seen.saturating_sub(1);
                        *status = markers::status(
                            *count,
                            &[(sentence(failure).into(), count.all.saturating_sub(count.seen))],
                        );
                    }
                    Some(fact) => fact.status = HookStatus::NotWatched(sentence(failure).into()),
                    None => {
                        seen.remarks.push(format!("a function of the C library was not hooked: {}", sentence(failure)))
                    }
                }
            }
        }
        self.seen.push(seen);
        done.map(|_| ())
    }
}

/// Five bytes of a process; `None` when they cannot be read.
fn bytes_at(pid: u32, address: u64) -> Option<[u8; 5]> {
    let mut bytes = [0; 5];
    let memory = std::fs::File::open(format!("/proc/{pid}/mem")).ok()?;
    std::os::unix::fs::FileExt::read_exact_at(&memory, &mut bytes, address).ok()?;
    Some(bytes)
}

/// For each module that was patched, one patch.
fn one_a_module(modules: &[Module], patches: &[Patch], failures: &[(u32, Failure)]) -> Vec<(u64, [u8; 5])> {
    let done = || patches.iter().filter(|patch| failures.iter().all(|(hook, _)| *hook != patch.hook));
    let inside = |module: &Module| {
        done()
            .find(|patch| module.start.0 <= patch.address && patch.address < module.end.0)
            .map(|patch| (patch.address, patch.patch))
    };
    modules.iter().filter_map(inside).collect()
}

/// Whose malloc a process has, and what is to be said about it.
fn malloc_here(
    modules: &[Loaded],
    libc: &[u64; LibcFunction::COUNT],
    decls: &[RoleDecl],
) -> (WatchMalloc, Option<String>) {
    let own = |decl: &&RoleDecl| {
        let (_, name) = arenascope_roles::library_and_name(&decl.function);
        ["malloc", "calloc", "realloc", "free"].contains(&name)
    };
    if let Some(decl) = decls.iter().find(own) {
        let function = &decl.function;
        return (WatchMalloc::No, Some(format!("--watch malloc is left out: {function} has a role of its own")));
    }
    let address = libc.get(LibcFunction::Malloc as usize).copied().unwrap_or(0);
    let Some(module) = modules.iter().find(|module| module.start <= address && address < module.end) else {
        return (WatchMalloc::No, Some("malloc is not watched: it lies in no module that is known".into()));
    };
    let is_glibc = |image: &Rc<Image>| !image.find("gnu_get_libc_version").is_empty();
    if module.image.as_ref().is_some_and(is_glibc) {
        return (WatchMalloc::Glibc, None);
    }
    let whose = format!(
        "malloc here is not glibc's but that of {}: its blocks are shown as one arena's, whose bounds are unknown",
        module.path
    );
    (WatchMalloc::Foreign, Some(whose))
}

fn sentence(failure: Failure) -> &'static str {
    match failure {
        Failure::NoPage => "the memory near it was taken in the meantime",
        Failure::CodeDiffers => {
            "its code in memory differs from its file (changed since it was loaded, or patched by another tool)"
        }
        Failure::NotWritable => "its code cannot be made writable here (SELinux, seccomp)",
        Failure::TableFull => "too many functions are watched",
    }
}

fn to_module(loaded: &Loaded) -> Module {
    Module {
        path: loaded.path.clone(),
        bias: loaded.bias,
        start: arenascope_event::Address(loaded.start),
        end: arenascope_event::Address(loaded.end),
        build_id: loaded.image.as_ref().map_or_else(Vec::new, |image| image.build_id().to_vec()),
    }
}

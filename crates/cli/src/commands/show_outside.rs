//! `show --pid PID`, `show --core FILE`: the living arenas of a process, or of a core dump, from their own headers.

use crate::args::ShowArgs;
use crate::commands::ps::WIDEST;
use crate::error::CliError;
use crate::output::{self, Stdout};
use crate::outside::core_file::Core;
use crate::outside::process::{NotRead, Process};
use crate::outside::{first_bytes, names};
use crate::reading;
use arenascope_headers::{Found, Limits, Memory, find};
use arenascope_report::json_outside;
use arenascope_report::outside::{self, Chosen, View, Whose};
use arenascope_report::pattern::ArenaPattern;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;

/// Arenas told one by one in text; JSON has them all.
const MOST_ARENAS: usize = 16;
/// Memory that is read beyond the lists when nothing else is said, in bytes: half a second.
const SCAN: u64 = 1 << 30;
/// The same of a core, which nobody waits for.
const SCAN_CORE: u64 = 16 << 30;

/// `show --pid`.
pub fn of_process(args: &ShowArgs, pid: u32) -> Result<ExitCode, CliError> {
    let process = Process::open(pid, true).map_err(|why| complaint(pid, why))?;
    let found = find(&process, Limits { scan: args.scan.unwrap_or(SCAN), widest: WIDEST });
    let ended: BTreeSet<u32> = found
        .arenas
        .iter()
        .map(|arena| arena.owner_tid)
        .chain(found.shared.iter().flat_map(|shared| shared.leases.iter().filter_map(|lease| Some(lease.owner?.1))))
        .filter(|tid| process.has_thread(*tid) == Some(false))
        .collect();
    if !process.is_there() {
        return Err(CliError::trace(format!("process {pid} ended while it was read")));
    }
    let whose = Whose::Process { pid, inner_pid: process.inner_pid };
    let remarks = if process.knows_pages() {
        Vec::new()
    } else {
        vec!["which of its pages are there is not known (pagemap cannot be read): all were read".to_owned()]
    };
    tell(args, &process, &found, View { whose, program: process.told_program(), ended, ..empty(&found, remarks) })
}

/// `show --core`.
pub fn of_core(args: &ShowArgs, path: &Path) -> Result<ExitCode, CliError> {
    let core = Core::open(path, args.exe.as_deref())?;
    let found = find(&core, Limits { scan: args.scan.unwrap_or(SCAN_CORE), widest: u64::MAX });
    let whose = Whose::Core { path: path.display().to_string(), pid: core.pid, signal: core.signal };
    let remarks = core.remarks();
    tell(args, &core, &found, View { whose, program: core.program.clone(), ..empty(&found, remarks) })
}

fn empty(found: &Found, remarks: Vec<String>) -> View<'_> {
    View {
        whose: Whose::Process { pid: 0, inner_pid: 0 },
        program: String::new(),
        chosen: Chosen::default(),
        found,
        bytes: Vec::new(),
        ended: BTreeSet::new(),
        remarks,
    }
}

fn tell(args: &ShowArgs, memory: &dyn Memory, found: &Found, view: View<'_>) -> Result<ExitCode, CliError> {
    let pattern = match args.arena.as_deref() {
        None => None,
        Some(raw) => {
            let pattern = ArenaPattern::new(raw);
            if Chosen::of(found, Some(&pattern), usize::MAX).count() == 0 {
                return Err(reading::no_such_arena(raw, &names(found)));
            }
            Some(pattern)
        }
    };
    let most = if args.json || pattern.is_some() { usize::MAX } else { MOST_ARENAS };
    let chosen = Chosen::of(found, pattern.as_ref(), most);
    let bytes = first_bytes(memory, chosen.arenas.iter().map(|arena| (arena.base, arena.used)));
    let view = View { chosen, bytes, found, ..view };
    let mut out = Stdout::new();
    if args.json {
        out.bytes(json_outside::outside(&view).as_bytes())?;
    } else {
        let style = output::style(&std::io::stdout(), args.plain);
        // An error is kept by `Stdout` and handed out by `finish`.
        let _ = outside::write(&mut out, &view, &reading::current_directory(), &style);
    }
    out.finish()?;
    Ok(ExitCode::SUCCESS)
}

fn complaint(pid: u32, why: NotRead) -> CliError {
    let error = CliError::trace(format!("process {pid}: {why}"));
    match why {
        NotRead::Vanished => error.hint("arenascope ps lists the processes that have arenas"),
        NotRead::Forbidden(owner) => {
            let user = rustix::process::geteuid().as_raw();
            match owner {
                Some(owner) if owner != user => error.hint(format!("as its user (number {owner}), or as root")),
                _ => error.hint(
                    "as root: its memory is not open to others (kernel.yama.ptrace_scope, or a program that is not dumpable)",
                ),
            }
        }
        NotRead::Zombie | NotRead::Kernel | NotRead::Io(_) => error,
    }
}

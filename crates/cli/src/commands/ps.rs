//! `ps`: which processes have arenas of the library, how many and how big.
//!
//! Every process of /proc is looked at; those that cannot be read are counted by reason. Threads of the kernel and processes that have ended have no memory, and
//! hence no arenas: they are no reason.

use crate::args::PsArgs;
use crate::error::CliError;
use crate::output::{self, Stdout};
use crate::outside::process::{NotRead, Process};
use arenascope_headers::{Found, Limits, find};
use arenascope_report::json_outside;
use arenascope_report::outside::Chosen;
use arenascope_report::pattern::ArenaPattern;
use arenascope_report::processes::{self, Listing, ProcessView, Unread};
use std::collections::BTreeMap;
use std::process::ExitCode;

/// A stretch of more addresses than this is not asked which of its pages are there: 8 bytes each.
pub const WIDEST: u64 = 64 << 30;

/// Runs the verb.
pub fn ps(args: PsArgs) -> Result<ExitCode, CliError> {
    let pattern = args.arena.as_deref().map(ArenaPattern::new);
    let limits = Limits { scan: args.scan.unwrap_or(0), widest: WIDEST };
    let own = std::process::id();
    let user = rustix::process::geteuid().as_raw();
    let mut listing = Listing { scanned: limits.scan > 0, ..Listing::default() };
    let mut unread: BTreeMap<String, u64> = BTreeMap::new();
    for pid in all().map_err(|error| CliError::trace(format!("/proc: {error}")))? {
        if pid == own {
            continue;
        }
        let why = match Process::open(pid, false) {
            Ok(process) => {
                listing.looked_at += 1;
                let (process, found) = look(process, limits);
                listing.processes.extend(view(&process, &found, pattern.as_ref()));
                continue;
            }
            // Nothing to read, now or ever.
            Err(NotRead::Vanished | NotRead::Zombie | NotRead::Kernel) => continue,
            Err(NotRead::Forbidden(Some(owner))) if owner != user => "of other users not looked at".to_owned(),
            Err(NotRead::Forbidden(_)) => {
                "not looked at: the system forbids it (ptrace_scope, or not dumpable)".to_owned()
            }
            Err(NotRead::Io(error)) => format!("not looked at: {error}"),
        };
        *unread.entry(why).or_default() += 1;
    }
    listing.unread = unread.into_iter().map(|(why, count)| Unread { count, why }).collect();
    let mut out = Stdout::new();
    if args.json {
        out.bytes(json_outside::processes(&listing).as_bytes())?;
    } else {
        let style = output::style(&std::io::stdout(), args.plain);
        // An error is kept by `Stdout` and handed out by `finish`.
        let _ = processes::write(&mut out, &listing, &style);
    }
    out.finish()?;
    Ok(ExitCode::SUCCESS)
}

/// The numbers of all processes.
fn all() -> std::io::Result<Vec<u32>> {
    let entries = std::fs::read_dir("/proc")?;
    let mut pids: Vec<u32> = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
    pids.sort_unstable();
    Ok(pids)
}

/// Finds its arenas. What a fork does not copy costs a walk over the page tables: asked only of programs that have the library.
fn look(process: Process, limits: Limits) -> (Process, Found) {
    let found = find(&process, limits);
    if found.searched.noted + found.searched.rooted == 0 && found.is_empty() {
        return (process, found);
    }
    let process = process.with_flags();
    if process.has_own_mappings() {
        let found = find(&process, limits);
        return (process, found);
    }
    (process, found)
}

/// Its line, if it has one.
fn view(process: &Process, found: &Found, pattern: Option<&ArenaPattern>) -> Option<ProcessView> {
    let chosen = Chosen::of(found, pattern, usize::MAX);
    let arenas = chosen.count();
    let told = arenas > 0 || (pattern.is_none() && !found.damaged.is_empty());
    if !told || !process.is_there() {
        return None;
    }
    let copied = |pid: u32| pid != 0 && pid != process.inner_pid;
    let inherited = chosen.arenas.iter().filter(|arena| copied(arena.pid)).count()
        + chosen.shared.iter().filter(|arena| copied(arena.pid)).count();
    let mut by_size: Vec<(u64, &str)> =
        chosen.arenas.iter().map(|arena| (arena.committed, arena.name.as_str())).collect();
    by_size.extend(chosen.shared.iter().map(|arena| (arena.touched, arena.name.as_str())));
    by_size.sort_by(|a, b| b.cmp(a));
    let mut names: Vec<String> = Vec::new();
    let mut seen = std::collections::HashSet::new();
    for (_, name) in by_size {
        if !name.is_empty() && seen.insert(name) {
            names.push(name.to_owned());
        }
    }
    Some(ProcessView {
        pid: process.pid,
        program: process.told_program(),
        arenas,
        shared: chosen.shared.len() as u64,
        between: chosen.between.len() as u64,
        inherited: inherited as u64,
        totals: chosen.totals(),
        names,
        damaged: found.damaged.len() as u64,
        remarks: found.searched.broken.clone(),
    })
}

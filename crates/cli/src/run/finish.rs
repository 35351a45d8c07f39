//! The end of a trace: names for its sites, the fate of thrown-away results, what became of the hooks, how it ended.
//!
//! After this a trace can be read on another machine.

use crate::mapped::Mapped;
use crate::run::code_source::ModulesCode;
use crate::run::memcheck::{self, Memcheck};
use crate::run::place;
use crate::run::serve::Seen;
use crate::run::trace_file;
use arenascope_code::{CodeSource, NullFault, NullUse as Use, fate_along, null_use, synchronises};
use arenascope_event::{
    Address, ArenaKey, EventKind, Frame, Mode, NullUse, ProcessFacts, Registers, SiteFacts, SiteId, ThreadNumber,
};
use arenascope_plan::WatchMalloc;
use arenascope_symbols::Symbolizer;
use arenascope_trace::Trace;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;

/// Completes and seals the trace of `seen`. `arguments` and `wait_status` when the launcher knows them.
pub fn finish(
    seen: &Seen,
    arguments: &[String],
    wait_status: Option<i32>,
    memcheck: Option<&Memcheck>,
) -> io::Result<()> {
    let Some(path) = &seen.trace else { return Ok(()) };
    let at = trace_file::now();
    let facts = {
        let mapped = Mapped::new(&File::open(path)?)?;
        let trace = Trace::open(&mapped).map_err(|error| io::Error::other(error.to_string()))?;
        let mut facts = complete(seen, &trace, arguments, wait_status);
        if let Some(memcheck) = memcheck.filter(|_| seen.mode == Mode::Precise) {
            if seen.fork_id == 0 {
                add_reports(memcheck.reports(seen.pid), &mut facts, seen);
            } else {
                facts.mode_limits.push(
                    "memcheck reports nothing of processes that were forked and executed no program of their own"
                        .into(),
                );
            }
        }
        match trace_file::unchecked(path)? {
            0 => {}
            1 => facts.mode_limits.push("1 block has no redzone: it lies on a stack, or there was no room".into()),
            many => facts.mode_limits.push(format!(
                "{many} blocks have no redzone: they lie on a stack, or there was no room for it or for what is kept of it"
            )),
        }
        facts
    };
    trace_file::end(path, &facts, at)
}

fn add_reports(reports: memcheck::Reports, facts: &mut ProcessFacts, seen: &Seen) {
    let symbols = Symbolizer::new(&seen.modules);
    memcheck::add(reports, facts, |site| {
        for address in &site.addresses {
            site.frames.extend(symbols.frames(*address));
        }
        if let Some(frame) = site.frames.iter().find(|frame| !frame.file.is_empty()) {
            site.source = symbols.source_line(&frame.file, frame.line).unwrap_or_default();
        }
    });
}

fn complete(seen: &Seen, trace: &Trace<'_>, arguments: &[String], wait_status: Option<i32>) -> ProcessFacts {
    let mut facts = trace.facts();
    facts.pid = seen.pid;
    facts.parent_pid = seen.parent_pid;
    facts.fork_id = seen.fork_id;
    facts.program.clone_from(&seen.program);
    facts.arguments = arguments.to_vec();
    facts.wait_status = wait_status;
    facts.modules.clone_from(&seen.modules);
    facts.hooks.clone_from(&seen.hooks);
    facts.watched = seen.watched;
    facts.watches_malloc = seen.malloc != WatchMalloc::No;
    facts.libraries.clone_from(&seen.libraries);
    facts.mode = seen.mode;
    facts.sample_bytes = seen.sampled;
    facts.mode_limits.clone_from(&seen.mode_limits);
    facts.scans.clone_from(&seen.scans);
    resolve(&mut facts, trace, &seen.marker_places);
    facts
}

/// Adds what the modules' files tell: names, fates of results, whether functions keep threads apart, whether a fault used a NULL.
/// `marker_places`: behind the markers that were hooked, as far as that is known.
pub fn resolve(facts: &mut ProcessFacts, trace: &Trace<'_>, marker_places: &[u64]) {
    let symbols = Symbolizer::new(&facts.modules);
    let code = ModulesCode { symbols: &symbols };
    let markers: BTreeSet<u64> = marker_places.iter().copied().collect();
    let asked = Asked::of(trace, facts, &markers);
    let allocators = InlinedAllocators::of(marker_places, &symbols);
    for (id, site) in facts.sites.iter_mut().enumerate() {
        if asked.faults.contains(&(id as u32))
            && site.addresses.get(1).is_some_and(|word| is_return(*word, None, &code) == Some(false))
        {
            // The word on top of the stack at a fault was no return address.
            site.addresses.remove(1);
        }
        let called = |pair: &[Address]| is_return(pair[1], Some(pair[0]), &code) != Some(false);
        let kept = site.addresses.windows(2).take_while(|pair| called(pair)).count();
        site.addresses.truncate(kept + 1);
        for address in &site.addresses {
            site.frames.extend(symbols.frames(*address));
        }
        if site.addresses.first().is_some_and(|first| markers.contains(&first.0)) {
            allocators.leave_out(site);
        }
        place::begin_at_place(site);
        // The Rust call is inlined everywhere: the place that matters is its caller's.
        if site.frames.first().is_some_and(|frame| frame.inlined && frame.function == "arenascope::mark::mark") {
            site.frames.remove(0);
        }
        if let Some(frame) = site.frames.iter().find(|frame| !frame.file.is_empty()) {
            site.source = symbols.source_line(&frame.file, frame.line).unwrap_or_default();
        }
        if asked.results.contains(&(id as u32)) {
            decode(site, &code);
        }
    }
    if asked.overlapped {
        for hook in facts.hooks.iter_mut().filter(|hook| !hook.address.is_null()) {
            hook.synchronises = synchronises(&code, hook.address.0);
        }
    }
    if let Some(fault) = asked.fault {
        let (verdict, because) = fault.judge(facts, &code);
        facts.null_use = verdict;
        facts.null_use_because = because;
    }
}

/// A frame's function, file and line.
type Line = (String, String, u32);

/// Functions that markers are written in and that are the allocator's: of a site there, the place that matters is the caller's, as with a
/// hooked function.
///
/// A function is taken for one when it was inlined in different places, or out of another file, or stands in a header. A macro's marker is
/// in the function that used the macro, which stays.
struct InlinedAllocators(BTreeSet<Line>);

impl InlinedAllocators {
    /// `places`: behind each marker's nop. O(markers).
    fn of(places: &[u64], symbols: &Symbolizer) -> InlinedAllocators {
        let mut callers: BTreeMap<Line, BTreeSet<Line>> = BTreeMap::new();
        for place in places {
            let mut frames = symbols.frames(Address(*place));
            frames.retain(|frame| !is_marker_itself(frame));
            if let [inner, outer, ..] = frames.as_slice() {
                callers.entry(line_of(inner)).or_default().insert(line_of(outer));
            }
        }
        InlinedAllocators(callers.into_iter().filter(|(_, callers)| callers.len() > 1).map(|(line, _)| line).collect())
    }

    fn leave_out(&self, site: &mut SiteFacts) {
        let first = site.frames.iter().take_while(|frame| is_marker_itself(frame)).count();
        site.frames.drain(..first);
        let [inner, outer, ..] = site.frames.as_slice() else { return };
        let is_header = [".h", ".hh", ".hpp", ".hxx", ".h++", ".inl", ".ipp", ".tcc", ".inc"]
            .iter()
            .any(|ending| inner.file.ends_with(ending));
        // What calls a Drop is the standard library.
        let elsewhere = !outer.file.is_empty() && inner.file != outer.file && !outer.file.starts_with("/rustc/");
        let inlined_often = inner.inlined && self.0.contains(&line_of(inner));
        if inlined_often || elsewhere && (inner.inlined || is_header) {
            site.frames.remove(0);
        }
    }
}

/// A function of the Rust crate `arenascope-mark`, which is inlined everywhere.
fn is_marker_itself(frame: &Frame) -> bool {
    // Line tables alone name functions without their crate.
    let in_its_file = frame.file.ends_with("crates/mark/src/lib.rs")
        || frame.file.contains("/arenascope-mark-") && frame.file.ends_with("/src/lib.rs");
    frame.inlined && (in_its_file || frame.function.starts_with("arenascope_mark::"))
}

fn line_of(frame: &Frame) -> Line {
    (frame.function.clone(), frame.file.clone(), frame.line)
}

/// Whether a call or a signal leads to `address`: what a walk took for a caller and is not ends a backtrace. `inner` is the address of the
/// frame it was found from. `None`: its code cannot be read.
fn is_return(address: Address, inner: Option<Address>, code: &ModulesCode<'_>) -> Option<bool> {
    let before = code.code(address.0.wrapping_sub(7), 7)?;
    let at = |back: usize| before.len().checked_sub(back).and_then(|index| before.get(index)).copied();
    // Direct (e8), or indirect (ff /2, 2 to 7 bytes).
    let called = at(5) == Some(0xe8)
        || (2..=7).any(|back| at(back) == Some(0xff) && at(back - 1).is_some_and(|modrm| modrm & 0x38 == 0x10));
    Some(called || returns_from_signal(address, code) || inner.is_some_and(|inner| returns_from_signal(inner, code)))
}

/// `mov rax, 15; syscall`: where the kernel lets handlers return to (the C library's `__restore_rt`).
fn returns_from_signal(address: Address, code: &ModulesCode<'_>) -> bool {
    code.code(address.0, 9).is_some_and(|bytes| bytes == [0x48, 0xc7, 0xc0, 15, 0, 0, 0, 0x0f, 0x05])
}

/// Decodes what becomes of the result at a site.
pub fn decode(site: &mut SiteFacts, code: &ModulesCode<'_>) {
    let addresses: Vec<u64> = site.addresses.iter().map(|address| address.0).collect();
    site.fate = fate_along(code, &addresses);
}

/// What must be decoded.
#[derive(Default)]
struct Asked {
    /// Sites of allocs that returned a block.
    results: BTreeSet<u32>,
    /// Sites of faults.
    faults: BTreeSet<u32>,
    /// Calls of different threads overlapped.
    overlapped: bool,
    /// The last fault, when an alloc was refused before it on its thread.
    fault: Option<Fault>,
}

struct Fault {
    pc: Address,
    address: Address,
    registers: Registers,
    site: Option<SiteId>,
    refused_site: SiteId,
}

impl Asked {
    /// `markers`: places where no call returns, so no result is in a register there.
    fn of(trace: &Trace<'_>, facts: &ProcessFacts, markers: &BTreeSet<u64>) -> Asked {
        let mut asked = Asked::default();
        // By thread, where the last refused call came from; gone when a later call from there was served, for then
        // another value stood where the NULL had been.
        let mut refused: BTreeMap<ThreadNumber, SiteId> = BTreeMap::new();
        let caller = |site: SiteId| facts.sites.get(site.0 as usize).and_then(|site| site.addresses.first());
        // No rule asks what becomes of malloc's own blocks, and the sites are many. Those of our library are told from within it.
        let mut told_otherwise: BTreeSet<ArenaKey> = BTreeSet::new();
        // Our library tells of a block from within: what its caller does with the result is not in that code.
        let by_library = |site: SiteId| facts.sites.get(site.0 as usize).is_some_and(|site| site.place.is_some());
        for event in trace.events() {
            match event.kind {
                EventKind::HeapSegment { arena, .. } | EventKind::Bounds { arena, .. } => {
                    told_otherwise.insert(arena);
                }
                EventKind::Alloc { .. } | EventKind::Resize { .. } if event.site.is_some_and(by_library) => {}
                EventKind::Alloc { block: result, .. } | EventKind::Resize { new: result, .. } => {
                    // As in realloc, a size of 0 gives the block back.
                    let gave_back = matches!(event.kind, EventKind::Resize { size: 0, .. });
                    let Some(site) = event.site else { continue };
                    if caller(site).is_some_and(|place| markers.contains(&place.0)) {
                        continue;
                    }
                    if result.is_null() && !gave_back {
                        refused.insert(event.thread, site);
                        continue;
                    }
                    if refused.get(&event.thread).is_some_and(|old| *old == site || caller(*old) == caller(site)) {
                        refused.remove(&event.thread);
                    }
                    if matches!(event.kind, EventKind::Alloc { arena, .. } if !told_otherwise.contains(&arena)) {
                        asked.results.insert(site.0);
                    }
                }
                EventKind::Overlapped { .. } => asked.overlapped = true,
                EventKind::Fault { address, pc, synchronous, registers, .. } => {
                    asked.faults.extend(event.site.map(|site| site.0));
                    // An abort after a fault says nothing about it.
                    if !synchronous && asked.fault.is_some() {
                        continue;
                    }
                    let refused_site = refused.get(&event.thread).copied().filter(|_| synchronous);
                    asked.fault = refused_site.map(|refused_site| Fault {
                        pc,
                        address,
                        registers: *registers,
                        site: event.site,
                        refused_site,
                    });
                }
                _ => {}
            }
        }
        asked
    }
}

impl Fault {
    fn judge(&self, facts: &ProcessFacts, code: &ModulesCode<'_>) -> (NullUse, String) {
        let addresses = |site: SiteId| -> Vec<u64> {
            let site = facts.sites.get(site.0 as usize);
            site.map_or_else(Vec::new, |site| site.addresses.iter().map(|address| address.0).collect())
        };
        // The fault's own backtrace begins with the instruction itself.
        let backtrace: Vec<u64> = self.site.map_or_else(Vec::new, addresses).into_iter().skip(1).collect();
        let fault = NullFault {
            returned_to: &addresses(self.refused_site),
            pc: self.pc.0,
            address: self.address.0,
            registers: &self.registers,
            backtrace: &backtrace,
        };
        match null_use(code, &fault) {
            Use::Proven(because) => (NullUse::Proven, because),
            Use::Consistent(because) => (NullUse::Consistent, because),
            Use::No => (NullUse::Unknown, String::new()),
        }
    }
}

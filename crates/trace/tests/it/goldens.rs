//! Traces of every version stay readable: files of `tests/goldens`, and the words they were read as on the day the
//! version was made. The words are this file's own, so that renaming a type changes no golden.

use crate::build::File;
use arenascope_event::{
    Address, ArenaKey, Event, EventKind, Fate, HookStatus, Lost, ProcessFacts, Scan, ScannedArena, Unreached,
};
use arenascope_trace::Trace;
use std::fmt::Write as _;
use std::path::Path;

fn line(trace: &Trace<'_>, event: &Event) -> String {
    let mut text = format!("#{} {}ns t{}", event.number.0, event.time_ns, event.thread.0);
    if let Some(site) = event.site {
        write!(text, " s{}", site.0).unwrap();
    }
    write!(text, " {}", event.kind.word()).unwrap();
    if let Some((arena, order)) = event.kind.arena_order() {
        write!(text, " a{} order {order}", arena.0).unwrap();
    }
    let rest = match &event.kind {
        EventKind::Create { size, parent, name, nested, .. } => {
            format!(" size {size:?} parent {:?} name {name:?} nested {nested}", parent.map(|parent| parent.0))
        }
        EventKind::Alloc { block, size, align, .. } => format!(" {block} size {size} align {align:?}"),
        EventKind::Resize { old, new, size, .. } => format!(" {old} to {new} size {size}"),
        EventKind::Free { block, .. } => format!(" {block}"),
        EventKind::Mark { mark, .. } | EventKind::Rewind { mark, .. } => format!(" {:#x}", mark.0),
        EventKind::Reset { .. } | EventKind::Destroy { .. } | EventKind::ThreadExit | EventKind::Vfork => String::new(),
        EventKind::ArenaSeen { arena, object } => format!(" a{} {object}", arena.0),
        EventKind::Capture { arena, reason, base, len, bytes } => {
            let bytes = trace.blob(*bytes).unwrap();
            let sum = bytes.iter().fold(0u64, |sum, &byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)));
            format!(" a{} {} {base} {len}: {} bytes, sum {sum:x}", arena.0, reason.word(), bytes.len())
        }
        EventKind::Map { address, len, protection, flags, observed } => {
            format!(" {address} {len} protection {protection} flags {flags} observed {observed}")
        }
        EventKind::Unmap { address, len } => format!(" {address} {len}"),
        EventKind::Remap { old, old_len, new, new_len } => format!(" {old} {old_len} to {new} {new_len}"),
        EventKind::HeapAlloc { address, size } => format!(" {address} {size}"),
        EventKind::HeapFree { address } => format!(" {address}"),
        EventKind::ThreadStart { tid, parent } => format!(" {tid} parent {:?}", parent.map(|parent| parent.0)),
        EventKind::Fork { child, fork_id } => format!(" {child} {fork_id}"),
        EventKind::Exec { path } => format!(" {path:?}"),
        EventKind::Exit { status } => format!(" {status}"),
        EventKind::Fault { signal, address, pc, synchronous, registers } => {
            format!(" {signal} at {address} pc {pc} synchronous {synchronous} {registers:x?}")
        }
        EventKind::ModuleLoaded { module } => format!(" {module}"),
        EventKind::UserMark { name } => format!(" {name:?}"),
        EventKind::Damage { arena, block, size, zone, address, expected, found, end, since, ended } => {
            let zone = zone.word();
            format!(" a{} {block} {size} {zone} {address} {expected} {found:x?} {end} {since} {ended:?}", arena.0)
        }
        EventKind::Overlapped { arena, since } => format!(" a{} {since}", arena.0),
        EventKind::ObjectChanged { arena, address, before, after } => {
            format!(" a{} {address} {before:x?} {after:x?}", arena.0)
        }
        EventKind::ScopeEnter { cursor, .. } | EventKind::ScopeExit { cursor, .. } => format!(" {cursor}"),
        EventKind::Checked { arena, how } => format!("checked {} {}", arena.0, how.word()),
        EventKind::Touched { arena, block, size, at, fate, ended } => {
            format!("touched {} {block} {size} {at} {} {ended:?}", arena.0, fate.word())
        }
        EventKind::NoBlock { arena, address } => format!("no-block {} {address}", arena.0),
        EventKind::CalledEnded { arena } => format!("called-ended {}", arena.0),
        EventKind::Bounds { arena, base, capacity, reserved, kind } => {
            format!(" a{} {base} {capacity} {reserved} {}", arena.0, kind.word())
        }
        EventKind::HeapSegment { arena, start, len, top } => format!(" a{} {start} {len} {top}", arena.0),
        EventKind::Sampling { bytes } => format!(" {bytes}"),
    };
    text + &rest + "\n"
}

fn facts(facts: &ProcessFacts) -> String {
    let mut text = String::new();
    let Lost { no_space, reentered, table_full, heap_skipped, capture_bytes, damaged } = facts.lost;
    writeln!(text, "pid {} parent {} fork {}", facts.pid, facts.parent_pid, facts.fork_id).unwrap();
    writeln!(text, "program {} {:?} started {}", facts.program, facts.arguments, facts.started_unix_ns).unwrap();
    writeln!(text, "wait status {:?}", facts.wait_status).unwrap();
    writeln!(text, "null use {} {:?}", facts.null_use as u8, facts.null_use_because).unwrap();
    writeln!(text, "lost {no_space} {reentered} {table_full} {heap_skipped} {capture_bytes} {damaged}").unwrap();
    for module in &facts.modules {
        let (start, end) = (module.start, module.end);
        writeln!(text, "module {} {:#x} {start} {end} {:x?}", module.path, module.bias, module.build_id).unwrap();
    }
    writeln!(text, "watched {}", facts.watched as u8).unwrap();
    for hook in &facts.hooks {
        let (status, why) = match &hook.status {
            HookStatus::Watched => ("watched", ""),
            HookStatus::Partly(why) => ("partly", why.as_str()),
            HookStatus::NotWatched(why) => ("not watched", why.as_str()),
        };
        let arguments: Vec<&str> = hook.decl.arguments.iter().map(|argument| argument.word()).collect();
        let (role, function, result) = (hook.decl.role.word(), &hook.decl.function, hook.decl.result.word());
        writeln!(text, "hook {role} {function} {arguments:?} {result} {} {} {status} {why}", hook.module, hook.address)
            .unwrap();
    }
    for site in &facts.sites {
        let addresses: Vec<String> = site.addresses.iter().map(|address| address.to_string()).collect();
        let Fate { kind, depth, because } = &site.fate;
        writeln!(text, "site {addresses:?} {:?} fate {} {depth} {because:?}", site.source, *kind as u8).unwrap();
        for frame in &site.frames {
            let (at, inlined) = (frame.address, frame.inlined);
            writeln!(
                text,
                "  {at} {} {}:{} {} inlined {inlined}",
                frame.function, frame.file, frame.line, frame.module
            )
            .unwrap();
        }
    }
    for scan in &facts.scans {
        writeln!(text, "scan at {:?} of {} bytes", scan.mark, scan.bytes).unwrap();
        for arena in &scan.arenas {
            let (key, before, blocks, reached) = (arena.arena.0, arena.before, arena.blocks, arena.reached);
            writeln!(text, "  a{key} before {before}: {reached} of {blocks} reached").unwrap();
            for block in &arena.unreached {
                writeln!(text, "    not {} by offset {}", block.address, block.by_offset).unwrap();
            }
        }
    }
    text
}

fn check(name: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens");
    let bytes = std::fs::read(folder.join(name).with_extension("trace")).unwrap();
    let trace = Trace::open(&bytes).unwrap();
    assert_eq!(trace.check(), []);
    let events: String = trace.events().map(|event| line(&trace, &event)).collect();
    let found = events + &facts(&trace.facts());
    let words = folder.join(name).with_extension("txt");
    // A new golden's words are written by its first run and then read by a person.
    if !words.exists() && std::env::var_os("WRITE_NEW_GOLDENS").is_some() {
        std::fs::write(&words, &found).unwrap();
    }
    let expected = std::fs::read_to_string(words).unwrap();
    for (number, (found, expected)) in found.lines().zip(expected.lines()).enumerate() {
        assert_eq!(found, expected, "{name}, line {}", number + 1);
    }
    assert_eq!(found.len(), expected.len());
}

#[test]
fn version_1_of_a_run_that_was_killed() {
    check("v1/killed");
}

#[test]
fn version_1_of_a_sealed_run() {
    check("v1/sealed");
}

#[test]
fn version_1_of_a_scanned_run() {
    check("v1/scanned");
}

/// How `v1/scanned.trace` was made. Like the others it is never made again.
#[test]
fn a_golden_that_is_there_is_kept() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/v1/scanned.trace");
    if path.exists() || std::env::var_os("WRITE_NEW_GOLDENS").is_none() {
        return;
    }
    let unreached = |address, by_offset| Unreached { address: Address(address), by_offset };
    let arena = |arena, before, blocks, unreached: Vec<Unreached>| ScannedArena {
        arena: ArenaKey(arena),
        before,
        blocks,
        reached: blocks - unreached.len() as u64,
        unreached,
    };
    let half = vec![arena(0, 12, 10, vec![unreached(0x7f00_0000_1000, false)])];
    let all = vec![
        arena(0, 30, 28, vec![unreached(0x7f00_0000_1000, false), unreached(0x7f00_0000_0fc0, true)]),
        arena(7, 2, 1, vec![]),
    ];
    let scans = vec![
        Scan { mark: Some(1), bytes: 1 << 20, arenas: half },
        Scan { mark: Some(2), bytes: 0, arenas: vec![] },
        Scan { mark: None, bytes: (1 << 30) + 4096, arenas: all },
    ];
    let mut file = File::new();
    file.seal(&ProcessFacts { pid: 4711, scans, ..ProcessFacts::default() }, 500);
    std::fs::write(path, &file.bytes).unwrap();
}

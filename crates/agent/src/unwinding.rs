//! The rules by which frames are unwound, from the launcher to the recorder.
//!
//! The launcher's file of tables is mapped for reading, as far as this process's modules have tables in it: once at the start, and once
//! more where dlopen brought modules that no process had before. Mappings stay for the life of the process, since another thread may be
//! walking by them; no descriptor does. Absent on purpose: a look into any module.
#![allow(unsafe_code, reason = "maps the tables, and hands them out as slices")]

use crate::ask::Answer;
use arenascope_plan::{PlanItem, Unwinding};
use arenascope_record::{CodeModule, Recorder, Table};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};
use rustix::fd::{AsFd, OwnedFd};
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap};

/// Pieces of the file that a process may map: one at the start, one at each dlopen of something new. Modules of further ones have no
/// rules.
const WINDOWS: usize = 256;

/// A mapped piece of the file of tables: from where, up to where, at which address.
///
/// # Invariants
/// I1: in a window below `USED`, bytes `from..to` of the file are mapped for reading at `address`, for good, and nobody changes them (the
/// launcher only appends, and this process cannot write them).
struct Window {
    from: AtomicU64,
    to: AtomicU64,
    address: AtomicU64,
}

static MAPPED: [Window; WINDOWS] =
    [const { Window { from: AtomicU64::new(0), to: AtomicU64::new(0), address: AtomicU64::new(0) } }; WINDOWS];
static USED: AtomicU32 = AtomicU32::new(0);

/// Where a piece of the file lies, if it is mapped.
fn mapped(from: u64, to: u64) -> Option<u64> {
    let used = USED.load(Acquire) as usize;
    MAPPED.iter().take(used).find_map(|window| {
        let [start, end, address] = [&window.from, &window.to, &window.address].map(|word| word.load(Relaxed));
        (start <= from && to <= end).then(|| address.wrapping_add(from.wrapping_sub(start)))
    })
}

/// First and one past the last byte of a table in the file.
fn extent(unwinding: &Unwinding) -> (u64, u64) {
    (unwinding.offset, unwinding.offset.saturating_add(u64::from(unwinding.count).saturating_mul(8)))
}

/// Takes over what an answer says of all modules. One thread at a time: whoever has the answer.
pub fn take_over(recorder: &Recorder, answer: &mut Answer) {
    let file = answer.tables();
    let answer = &*answer;
    let all = || {
        answer.plan().into_iter().flatten().filter_map(|item| match item {
            PlanItem::Unwinding(unwinding) => Some(unwinding),
            _ => None,
        })
    };
    if all().next().is_none() {
        return;
    }
    let missing =
        all().map(|unwinding| extent(&unwinding)).filter(|(from, to)| from < to && mapped(*from, *to).is_none());
    let span = missing.reduce(|(low, high), (from, to)| (low.min(from), high.max(to)));
    if let (Some((from, to)), Some((file, bytes))) = (span, file)
        && to <= bytes
    {
        map(&file, from, to);
    }
    recorder.modules(all().map(|unwinding| CodeModule {
        start: unwinding.start,
        end: unwinding.end,
        table: table(&unwinding).unwrap_or_default(),
    }));
}

/// Maps one more piece of the file. `from` is the beginning of a page (the launcher aligns tables).
fn map(file: &OwnedFd, from: u64, to: u64) {
    let used = USED.load(Relaxed);
    let Some(window) = MAPPED.get(used as usize) else { return };
    // A page behind the file's end would be SIGBUS.
    if rustix::fs::fstat(file).map_or(0, |stat| stat.st_size as u64) < to {
        return;
    }
    let length = to.saturating_sub(from) as usize;
    // SAFETY: a fresh mapping at an address of the kernel's choice touches no existing memory.
    let Ok(address) =
        (unsafe { mmap(core::ptr::null_mut(), length, ProtFlags::READ, MapFlags::SHARED, file.as_fd(), from) })
    else {
        return;
    };
    // SAFETY: the mapping was made above; the advice only keeps it out of core dumps.
    let _ = unsafe { madvise(address, length, Advice::LinuxDontDump) };
    window.from.store(from, Relaxed);
    window.to.store(to, Relaxed);
    window.address.store(address as u64, Relaxed);
    // Release: pairs with the Acquire in `mapped`.
    USED.store(used.wrapping_add(1), Release);
}

fn table(unwinding: &Unwinding) -> Option<Table<'static>> {
    let (from, to) = extent(unwinding);
    let address = mapped(from, to)?;
    let count = unwinding.count as usize;
    if address & 3 != 0 {
        return None;
    }
    let starts = address as *const u32;
    // SAFETY: the whole extent is mapped (I1) and aligned.
    let starts = unsafe { core::slice::from_raw_parts(starts, count) };
    // SAFETY: as above; the extent has twice `count` words.
    let rules = unsafe { core::slice::from_raw_parts(starts.as_ptr().add(count), count) };
    Some(Table::new(starts, rules))
}

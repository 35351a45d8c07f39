//! Before everyone else: find the launcher, reserve memory, carry out its plan.
//!
//! Does nothing at all unless LD_PRELOAD ends with `/proc/PID/fd/N`, the launcher's way of handing us over.
#![allow(unsafe_code, reason = "edits the environment vector and patches code")]

use crate::ask::{self, Answer};
use crate::{check, library, own_check, precise, process, signals, state, stubs, unwinding, valgrind};
use arenascope_plan::{Done, Failure, HookKind, MESSAGE_LIMIT, Patch, Placed, PlanItem, Purpose};
use arenascope_record::{APART_BYTES, Apart, CHECK_BYTES, Check, DEEP_BYTES, RESERVE_BYTES, Recorder, Reserve, Start};
use core::ffi::{CStr, c_char};
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect};

const PAGE: u64 = 4096;
const VARIABLE: &[u8] = b"LD_PRELOAD=";

/// The agent's beginning. `environment` is the vector the kernel made.
#[cfg_attr(not(arenascope_agent_so), expect(dead_code, reason = "called by the shared object's constructor"))]
pub fn start(environment: *mut *mut c_char) {
    let Some((path, launcher)) = take_preload(environment) else { return };
    let Some(mut reserve) = Reserve::new(RESERVE_BYTES + DEEP_BYTES + MESSAGE_LIMIT + (4 << 20)) else { return };
    let (Some(buffer), Some(rows), Some(nodes)) =
        (reserve.take(MESSAGE_LIMIT), reserve.take(arenascope_plan::HOOKS), reserve.take(process::NODES))
    else {
        return;
    };
    arenascope_record::prepare_stacks(&mut reserve);
    process::remember_preload(path);
    ask::set_launcher(launcher, buffer);
    state::set_table(rows);
    process::set_nodes(nodes);
    let Some(mut answer) = ask::ask(Purpose::Start, 0) else { return };
    let missing = place_all(&answer);
    let mapped = answer.map();
    let errno = mapped.as_ref().err().map_or(0, |errno| errno.raw_os_error() as u32);
    let space = mapped.ok().flatten();
    let Some(plan) = answer.plan().map(|reader| reader.plan) else { return };
    let pid = rustix::process::getpid().as_raw_nonzero().get() as u32;
    let settings = Start { space, pid, stub: stubs::stub_frame(), frames: plan.frames as usize };
    if let Some(recorder) = Recorder::new(&mut reserve, settings) {
        state::set_recorder(recorder);
        // Taken only where it is wanted: the address space may be limited.
        if plan.check
            && let Some(mut reserve) = Reserve::new(CHECK_BYTES)
            && let Some(zones) = Check::new(&mut reserve)
        {
            check::set(zones);
        }
        // Huge pages are many small ones where some of them are guarded.
        if plan.check
            && let Some(mut reserve) = Reserve::new(APART_BYTES)
            && let Some(apart) = Apart::begin(&mut reserve, !wants_guards(&answer))
        {
            own_check::set(apart);
        }
        if plan.precise {
            precise::begin();
        }
        if space.is_some() {
            arenascope_record::sample(plan.sample_bytes, plan.sample_seed);
            crate::scan::set_wanted(plan.scan);
            crate::malloc::watch(plan.malloc, patched(&answer, HookKind::Malloc));
            crate::signal_marks::set(plan.mark_on);
            signals::install();
            state::make_thread_key();
            unwinding::take_over(recorder, &mut answer);
            first_facts(recorder, &answer);
        }
    }
    carry_out(answer, &missing, errno);
}

/// The first records of the trace: this thread, the modules, the memory that is there already.
fn first_facts(recorder: &'static Recorder, answer: &Answer) {
    let Some(mut inside) = state::Inside::enter(1, false) else { return };
    let thread = inside.thread();
    crate::sampling::tell(recorder, thread);
    let mut ids = answer.plan().into_iter().flatten().filter_map(|item| match item {
        PlanItem::BuildId(id) => Some(id),
        _ => None,
    });
    ask::for_each_module(&mut |module| {
        let id = ids.next().unwrap_or(&[]);
        recorder.module(thread, module.bias, module.start, module.end, module.path, id);
    });
    process::observe_mappings(recorder, thread);
}

/// Where the plan patches the first function of this kind; 0: nowhere. The program's own idea of the function's address may
/// be its PLT stub.
fn patched(answer: &Answer, kind: HookKind) -> u64 {
    let items = || answer.plan().into_iter().flatten();
    let mut hooks = items().filter_map(|item| match item {
        PlanItem::Hook(hook) => Some(hook.kind),
        _ => None,
    });
    let Some(number) = hooks.position(|hook| hook == kind) else { return 0 };
    let number = u64::from(state::next_hook()).wrapping_add(number as u64);
    let mut patches = items().filter_map(|item| match item {
        PlanItem::Patch(patch) if u64::from(patch.hook) == number => Some(patch.address),
        _ => None,
    });
    patches.next().unwrap_or(0)
}

/// After dlopen: asks about the modules that are mapped now. `stack_pointer` is the hook's.
pub fn new_modules(stack_pointer: u64) {
    arenascope_record::on_own_stack(|| new_modules_here(stack_pointer));
}

fn new_modules_here(stack_pointer: u64) {
    let Some(mut answer) = ask::ask(Purpose::NewModules, 0) else { return };
    let missing = place_all(&answer);
    // The launcher answers with the build ids of exactly those modules that it had not been told of, in our order, and
    // an empty one for each that it had.
    if let Some(mut inside) = state::Inside::enter(stack_pointer, false) {
        let recorder = inside.recorder;
        unwinding::take_over(recorder, &mut answer);
        let thread = inside.thread();
        let mut ids = answer.plan().into_iter().flatten().filter_map(|item| match item {
            PlanItem::BuildId(id) => Some(id),
            _ => None,
        });
        ask::for_each_module(&mut |module| match ids.next() {
            Some([0]) | None => {}
            Some(id) => recorder.module(thread, module.bias, module.start, module.end, module.path, id),
        });
    }
    carry_out(answer, &missing, 0);
}

/// Takes what the launcher (or `process::exec`) put into LD_PRELOAD out again: the program sees the environment it was
/// given. Returns our path and the launcher's pid.
///
/// Ours is the end of the value: `[VALUE::][RUNTIME:]/proc/PID/fd/N`, where VALUE is what was there before (nothing
/// before the two colons: it was there and empty) and RUNTIME what a sanitizer wants in front. The loader passes over
/// empty entries.
fn take_preload(environment: *mut *mut c_char) -> Option<(&'static [u8], u32)> {
    if environment.is_null() {
        return None;
    }
    let mut slot = environment;
    loop {
        // SAFETY: the vector ends with a null pointer, and we stop there.
        let string = unsafe { slot.read() };
        if string.is_null() {
            return None;
        }
        // SAFETY: the kernel's environment strings are NUL-terminated and stay for the life of the process.
        let bytes: &'static [u8] = unsafe { CStr::from_ptr(string) }.to_bytes();
        if let Some(value) = bytes.strip_prefix(VARIABLE) {
            let before_path = value.iter().rposition(|byte| *byte == b':').map_or(0, |colon| colon.wrapping_add(1));
            let path = value.get(before_path..)?;
            let launcher = launcher_of(path)?;
            // Programs that set their title overwrite this string later: keep a copy.
            let kept = remembered(path)?;
            let theirs = value.get(..before_path)?.windows(2).rposition(|pair| pair == b"::");
            let end = match theirs {
                Some(length) => VARIABLE.len().wrapping_add(length),
                None => {
                    remove(slot);
                    0
                }
            };
            // Zeros: /proc/self/environ shows these bytes too. The loader has read them for the last time.
            for index in end..bytes.len() {
                // SAFETY: within the string, which lies on the stack that execve built and is writable.
                unsafe { string.add(index).write_volatile(0) };
            }
            return Some((kept, launcher));
        }
        slot = slot.wrapping_add(1);
    }
}

/// Moves the rest of the environment vector down over `slot`.
fn remove(slot: *mut *mut c_char) {
    let mut from = slot;
    loop {
        // SAFETY: `slot` lies in the host's vector before its final null, at which this stops.
        let next = unsafe { from.add(1).read() };
        // SAFETY: as above; the vector is writable since execve built it on the stack.
        unsafe { from.write(next) };
        if next.is_null() {
            return;
        }
        from = from.wrapping_add(1);
    }
}

/// A copy of `path` that outlives the change of its string.
fn remembered(path: &[u8]) -> Option<&'static [u8]> {
    let mut reserve = Reserve::new(PAGE as usize)?;
    let room: &'static mut [u8] = reserve.take(path.len())?;
    room.copy_from_slice(path);
    Some(room)
}

/// The pid in `/proc/PID/fd/N`.
fn launcher_of(path: &[u8]) -> Option<u32> {
    let rest = path.strip_prefix(b"/proc/")?;
    let slash = rest.iter().position(|byte| *byte == b'/')?;
    let descriptor = rest.get(slash..)?.strip_prefix(b"/fd/")?;
    if descriptor.is_empty() || !descriptor.iter().all(u8::is_ascii_digit) {
        return None;
    }
    rest.get(..slash)?.iter().try_fold(0u32, |pid, byte| {
        let digit = (*byte as char).to_digit(10)?;
        pid.checked_mul(10)?.checked_add(digit)
    })
}

/// Regions of near code that a plan may have; more could not be told apart when they fail.
const REGIONS: usize = 64;

/// Near code that could not be placed: address and length of each region.
struct Missing {
    regions: [(u64, u64); REGIONS],
    count: usize,
}

impl Missing {
    fn holds(&self, address: u64) -> bool {
        self.regions.iter().take(self.count).any(|(start, len)| address.wrapping_sub(*start) < *len)
    }
}

/// Places the code of a plan. First of all: what we map ourselves must not take the room the launcher chose.
fn place_all(answer: &Answer) -> Missing {
    let mut missing = Missing { regions: [(0, 0); REGIONS], count: 0 };
    for item in answer.plan().into_iter().flatten() {
        let PlanItem::Placed(placed) = item else { continue };
        if place(&placed).is_none()
            && let Some(region) = missing.regions.get_mut(missing.count)
        {
            *region = (placed.address, placed.code.len() as u64);
            missing.count = missing.count.wrapping_add(1);
        }
    }
    missing
}

fn wants_guards(answer: &Answer) -> bool {
    answer.plan().is_some_and(|reader| reader.into_iter().any(|item| matches!(item, PlanItem::Guards(_))))
}

/// Adds hooks, patches, and tells the launcher what failed.
fn carry_out(answer: Answer, missing: &Missing, trace_errno: u32) {
    let mut failures = [(0u32, Failure::NoPage); 256];
    let mut failed = 0usize;
    let first = state::next_hook();
    let mut table_full = false;
    if let Some(reader) = answer.plan() {
        for item in reader {
            match item {
                PlanItem::BuildId(_) | PlanItem::Placed(_) | PlanItem::Unwinding(_) => {}
                PlanItem::Only(pattern) => library::set_only(pattern),
                PlanItem::Guards(pattern) => library::set_guards(pattern),
                PlanItem::Library(copy) => library::watch(&copy),
                PlanItem::Hook(hook) => table_full |= state::add_hook(hook).is_none(),
                PlanItem::Patch(patch) => {
                    let trampoline = state::hook(u64::from(patch.hook)).map_or(0, |hook| hook.trampoline);
                    let outcome = if table_full || patch.hook < first {
                        Err(Failure::TableFull)
                    } else if missing.holds(trampoline) {
                        Err(Failure::NoPage)
                    } else {
                        apply(&patch)
                    };
                    if let (Err(failure), Some(place)) = (outcome, failures.get_mut(failed)) {
                        *place = (patch.hook, failure);
                        failed = failed.wrapping_add(1);
                    }
                }
            }
        }
    }
    answer.done(Done { trace_errno }, failures.into_iter().take(failed));
}

/// Maps pages at an address the launcher found free, and puts the code there.
fn place(placed: &Placed<'_>) -> Option<()> {
    let bytes = (placed.code.len() as u64).checked_next_multiple_of(PAGE)? as usize;
    // SAFETY: NOREPLACE: either nothing was mapped there, or the call fails and nothing is touched.
    let page = unsafe {
        mmap_anonymous(
            placed.address as *mut _,
            bytes,
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::PRIVATE | MapFlags::FIXED_NOREPLACE,
        )
    }
    .ok()?;
    if page as u64 != placed.address {
        // A kernel before 4.17 takes the address as a hint.
        // SAFETY: the mapping was made above and is not used.
        let _ = unsafe { rustix::mm::munmap(page, bytes) };
        return None;
    }
    // SAFETY: the mapping above has room for the code, and nobody else knows of it.
    unsafe { core::ptr::copy_nonoverlapping(placed.code.as_ptr(), page.cast(), placed.code.len()) };
    // SAFETY: the range is the mapping above.
    unsafe { mprotect(page, bytes, MprotectFlags::READ | MprotectFlags::EXEC) }.ok()
}

/// Overwrites five bytes of a function's start, if they are still those of its file.
fn apply(patch: &Patch) -> Result<(), Failure> {
    let first = patch.address & !(PAGE - 1);
    let last = patch.address.wrapping_add(patch.patch.len() as u64 - 1) & !(PAGE - 1);
    let bytes = last.wrapping_sub(first).wrapping_add(PAGE) as usize;
    // SAFETY: the launcher gives addresses inside a module's code, which is mapped and readable.
    let present = unsafe { (patch.address as *const [u8; 5]).read_unaligned() };
    if present != patch.original {
        return Err(Failure::CodeDiffers);
    }
    let all = MprotectFlags::READ | MprotectFlags::WRITE | MprotectFlags::EXEC;
    // SAFETY: these pages hold code of a module; they stay executable for other threads all the time.
    unsafe { mprotect(first as *mut _, bytes, all) }.map_err(|_| Failure::NotWritable)?;
    // SAFETY: the five bytes lie in pages just made writable. At the start no other thread exists; after dlopen no other
    // thread can be in these functions' first instructions unless the module's own constructors started it.
    unsafe { (patch.address as *mut [u8; 5]).write_unaligned(patch.patch) };
    // SAFETY: as above; code is read and executed, as the loader mapped it.
    let _ = unsafe { mprotect(first as *mut _, bytes, MprotectFlags::READ | MprotectFlags::EXEC) };
    valgrind::code_changed(patch.address, patch.patch.len() as u64);
    Ok(())
}

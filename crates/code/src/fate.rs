//! What the code after a call does with the call's result: the fate of what is in rax at the return address.
//!
//! Decoded once per call site, offline, with nothing added to the running program. The verdict `Dropped` is an
//! accusation, so it is given only when every way through the code was followed to its end and none of them reads the
//! result; whatever is not understood is `Unknown`. Read means any use or copy, also into a variable that is never
//! looked at again: the claim is "thrown away", not "useless".
//!
//! Relied on: the System V calling convention (rax is no argument and is lost across calls into other modules).
//! Known gap: a function declared `preserve_most` or `no_caller_saved_registers` that lives in another module may keep
//! rax across the call, against that convention; in the same module it is looked into.
//! Deliberately absent: files and symbols (`CodeSource` has them), exceptions' landing pads, results other than rax.

use crate::fate_effect::{ALL_BYTES, Bytes};
use crate::fate_names::{bare, foreign_convention, unversioned, without_cold};
use crate::fate_source::CodeSource;
use crate::fate_walk::{Ending, Walk, decode, near_target, pointer_slot, stub_slot};
use arenascope_event::{Fate, FateKind};
use iced_x86::{Code, FlowControl, Mnemonic, Register};

/// How many callers are followed when each returns the result on.
const CHAIN: usize = 16;

/// What one function does with the result of one call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// The verdict.
    pub kind: FateKind,
    /// One plain sentence of evidence.
    pub because: String,
}

/// The fate of the result of the call that returns to `return_address`, within the calling function alone.
///
/// Cost: at most some thousand decoded instructions, usually fewer than ten.
pub fn fate(code: &dyn CodeSource, return_address: u64) -> Verdict {
    let frame = frame_fate(code, return_address, ALL_BYTES);
    let caller = function_name(code, return_address);
    Verdict { kind: frame.kind, because: frame.sentence(&caller, &[]) }
}

/// The fate of a result along its backtrace, innermost return address first: while the verdict is `Returned`, the
/// next caller is asked.
///
/// A backtrace made by frame pointers may skip a function that has none; a step outward is taken only when the code
/// proves it (the call before the next return address leads to this function, or this function keeps a frame
/// pointer). Otherwise the fate is `Unknown`. When the backtrace ends first it is `Returned`.
pub fn fate_along(code: &dyn CodeSource, return_addresses: &[u64]) -> Fate {
    let mut live = ALL_BYTES;
    let mut through: Vec<String> = Vec::new();
    let Some(&first) = return_addresses.first() else {
        return Fate { kind: FateKind::Unknown, depth: 0, because: "the caller is not known".to_string() };
    };
    let mut address = first;
    let mut depth = 0usize;
    loop {
        let caller = function_name(code, address);
        let frame = frame_fate(code, address, live);
        let at = u32::try_from(depth).unwrap_or(u32::MAX);
        if frame.kind != FateKind::Returned {
            return Fate { kind: frame.kind, depth: at, because: frame.sentence(&caller, &through) };
        }
        live = frame.returned;
        through.push(caller);
        let next = return_addresses.get(depth.saturating_add(1)).copied();
        let Some(next) = next.filter(|_| depth < CHAIN) else {
            return Fate {
                kind: FateKind::Returned,
                depth: at,
                because: format!("{}; who gets it was not recorded", chain(&through)),
            };
        };
        if !is_called_from(code, address, next) {
            return Fate {
                kind: FateKind::Unknown,
                depth: at,
                because: format!("{}, and its caller is not sure", chain(&through)),
            };
        }
        address = next;
        depth = depth.saturating_add(1);
    }
}

/// The verdict of one frame, before it is put into words.
struct FrameFate {
    kind: FateKind,
    returned: Bytes,
    /// What the function does, to stand after its name; empty for `Returned`.
    deed: String,
}

impl FrameFate {
    fn unknown(why: String) -> Self {
        FrameFate { kind: FateKind::Unknown, returned: 0, deed: why }
    }

    fn sentence(&self, caller: &str, through: &[String]) -> String {
        let direct = through.is_empty();
        let lead = if direct { String::new() } else { format!("{}, and ", chain(through)) };
        match self.kind {
            FateKind::Read if direct => format!("after the call {caller} {}", self.deed),
            FateKind::Read => format!("{lead}{caller} {}", self.deed),
            FateKind::Dropped if direct => format!("after the call {caller} {}", self.deed),
            FateKind::Dropped => format!("{lead}{caller} {}", self.deed),
            FateKind::Returned => chain(&[caller.to_string()]),
            FateKind::Unknown => format!("{lead}not sure in {caller}: {}", self.deed),
        }
    }
}

fn chain(through: &[String]) -> String {
    format!("the result is returned by {}", through.join(" and by "))
}

fn frame_fate(code: &dyn CodeSource, return_address: u64, live: Bytes) -> FrameFate {
    let inside = return_address.saturating_sub(1);
    if !code.system_v(return_address) {
        return FrameFate::unknown("its language has its own calling convention".to_string());
    }
    if let Some((start, end)) = code.function_bounds(inside) {
        if return_address >= end {
            return FrameFate::unknown("the call is the last instruction of its function".to_string());
        }
        if code.name(start).is_some_and(|name| foreign_convention(&name)) {
            return FrameFate::unknown("its language has its own calling convention".to_string());
        }
    }
    let ways = Walk::new(code).ways(return_address, live);
    if let Some(read) = ways.read {
        return FrameFate { kind: FateKind::Read, returned: 0, deed: read };
    }
    if let Some(why) = ways.unknown {
        return FrameFate::unknown(why);
    }
    if ways.returned != 0 {
        return FrameFate { kind: FateKind::Returned, returned: ways.returned, deed: String::new() };
    }
    match ways.drops.as_slice() {
        [] => FrameFate::unknown("no way comes to an end that shows it".to_string()),
        [first, rest @ ..] => {
            FrameFate { kind: FateKind::Dropped, returned: 0, deed: words_of_drop(code, first, !rest.is_empty()) }
        }
    }
}

fn words_of_drop(code: &dyn CodeSource, drop: &Ending, several: bool) -> String {
    let every = if several { "on every way " } else { "" };
    let calls = |verb: &str, callee: &Option<String>| {
        format!(
            "{verb} {}, and the result is {every}overwritten before anything reads it",
            callee.as_deref().map_or("another function", bare)
        )
    };
    match drop {
        Ending::Call { callee, .. } => calls("calls", callee),
        Ending::TailCall { callee, .. } => calls("goes on in", callee),
        Ending::Overwritten { at, text } => match next_call(code, *at) {
            Some(callee) => calls("calls", &Some(callee)),
            None => format!("{every}overwrites it ({text}) before anything reads it"),
        },
    }
}

/// The named function that the straight line of code from `at` on calls next: what the source line after the dropped
/// call most likely does.
fn next_call(code: &dyn CodeSource, at: u64) -> Option<String> {
    let mut ip = at;
    for _ in 0..12 {
        let instruction = decode(code, ip)?;
        match instruction.flow_control() {
            FlowControl::Next => ip = instruction.next_ip(),
            FlowControl::Call => return code.name(near_target(&instruction)?),
            FlowControl::IndirectCall => return code.slot_name(pointer_slot(&instruction)?),
            _ => return None,
        }
    }
    None
}

/// Name of the function around a return address, for sentences.
pub(crate) fn function_name(code: &dyn CodeSource, return_address: u64) -> String {
    code.function_bounds(return_address.saturating_sub(1))
        .and_then(|(start, _)| code.name(start))
        .map_or_else(|| format!("the code at {return_address:#x}"), |name| without_cold(bare(&name)).to_string())
}

/// True when the code proves that the function around `inner` returns to `outer`.
pub(crate) fn is_called_from(code: &dyn CodeSource, inner: u64, outer: u64) -> bool {
    let Some((start, _)) = code.function_bounds(inner.saturating_sub(1)) else {
        return false;
    };
    if keeps_frame_pointer(code, start) {
        return true;
    }
    let own = code.name(start);
    let own = own.as_deref().map(unversioned);
    let whole = own.map(without_cold);
    let leads_here = |address: u64| {
        let by_name = || {
            let name = code.name(address);
            name.is_some() && name.as_deref().map(unversioned) == whole
        };
        // By name only where the address must differ: through a PLT stub, or when this is a part moved away.
        address == start || ((whole != own || stub_slot(code, address).is_some()) && by_name())
    };
    // `call rel32` takes 5 bytes, `call [rip+x]` 6.
    let call_before = |len: u64| {
        let call = decode(code, outer.checked_sub(len)?)?;
        (call.next_ip() == outer).then_some(call)
    };
    if let Some(call) = call_before(5)
        && call.code() == Code::Call_rel32_64
        && let Some(target) = near_target(&call)
        && (leads_here(target) || jumps_on_to(code, target, &leads_here))
    {
        return true;
    }
    call_before(6).is_some_and(|call| {
        call.flow_control() == FlowControl::IndirectCall
            && pointer_slot(&call)
                .and_then(|slot| code.slot_name(slot))
                .is_some_and(|name| Some(unversioned(&name)) == whole)
    })
}

/// True when the function at `start` is left by a direct jump to an address that `leads_here` (a tail call).
fn jumps_on_to(code: &dyn CodeSource, start: u64, leads_here: &dyn Fn(u64) -> bool) -> bool {
    let Some((first, end)) = code.function_bounds(start) else {
        return false;
    };
    if first != start {
        return false;
    }
    let mut ip = start;
    for _ in 0..400 {
        if ip >= end {
            return false;
        }
        let Some(instruction) = decode(code, ip) else {
            return false;
        };
        if matches!(instruction.flow_control(), FlowControl::UnconditionalBranch | FlowControl::ConditionalBranch)
            && near_target(&instruction).is_some_and(leads_here)
        {
            return true;
        }
        ip = instruction.next_ip();
    }
    false
}

/// True when the function at `start` opens with `push rbp; mov rbp,rsp`: the frame-pointer chain then leads from it
/// to its caller.
fn keeps_frame_pointer(code: &dyn CodeSource, start: u64) -> bool {
    let mut ip = start;
    let mut pushed = false;
    for _ in 0..4 {
        let Some(instruction) = decode(code, ip) else {
            return false;
        };
        match instruction.mnemonic() {
            Mnemonic::Endbr64 | Mnemonic::Nop if !pushed => {}
            Mnemonic::Push if !pushed && instruction.op0_register() == Register::RBP => {
                pushed = true;
            }
            Mnemonic::Mov if pushed => {
                return instruction.op0_register() == Register::RBP && instruction.op1_register() == Register::RSP;
            }
            _ => return false,
        }
        ip = instruction.next_ip();
    }
    false
}
